//! The program of `mcp_server/`, as tests start it: as a skill of an expert, or as a server to connect to.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

use super::{Provider, Test};

/// The program's path. Builds it when it is older than its source, as it is where Cargo was asked for this one test
/// target only.
pub fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = folder();
        let program = folder.join(format!("mcp_server{}", std::env::consts::EXE_SUFFIX));
        if changed(&program).is_none_or(|built| newest_source() > built) {
            build(folder.parent().expect("target/PROFILE/examples"));
        }
        assert!(program.is_file(), "not built: {}", program.display());
        program.to_str().expect("a path in UTF-8").to_owned()
    })
}

/// The folder of the program.
pub fn folder() -> PathBuf {
    let this = std::env::current_exe().expect("this program's path");
    this.ancestors().nth(2).expect("target/PROFILE/deps/PROGRAM").join("examples")
}

fn build(folder: &Path) {
    let profile = match folder.file_name().and_then(|name| name.to_str()).expect("a profile's folder") {
        "debug" => "dev",
        other => other,
    };
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--offline", "--example", "mcp_server", "--profile", profile]);
    command.arg("--target-dir").arg(folder.parent().expect("target/PROFILE"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(command.status().expect("cargo").success(), "cargo build --example mcp_server");
}

fn newest_source() -> SystemTime {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/mcp_server");
    let files = fs::read_dir(folder).expect("the program's source").map(|entry| entry.expect("a file").path());
    files.filter_map(|file| changed(&file)).max().expect("a file")
}

fn changed(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|metadata| metadata.modified()).ok()
}

/// A test with an expert named `librarian`, who has these skills and no base skill.
pub fn librarian(skills: &str) -> Test {
    Test::new()
        .toml(&format!("[experts.librarian]\ninstruction = \"You find things in books.\"\n{skills}"))
        .provider(Provider::Anthropic)
}

/// A skill called `name` that starts the program with these arguments. More settings of the skill may follow.
pub fn stdio_skill<const N: usize>(name: &str, args: [&str; N]) -> String {
    command_skill(name, program(), &args)
}

/// A skill called `name` that starts any program.
pub fn command_skill(name: &str, command: &str, args: &[&str]) -> String {
    format!(
        "[experts.librarian.skills.{name}]\ntype = \"mcpStdioSkill\"\ncommand = {}\nargs = {}\n",
        serde_json::json!(command),
        serde_json::json!(args)
    )
}

/// A skill called `name` at this address. More settings of the skill may follow.
pub fn remote_skill(name: &str, endpoint: &str) -> String {
    format!("[experts.librarian.skills.{name}]\ntype = \"mcpSseSkill\"\nendpoint = \"{endpoint}\"\n")
}

/// The program as an HTTP server. Ends with this value.
pub struct HttpServer {
    child: Child,
    url: String,
}

impl HttpServer {
    /// Starts it with these arguments.
    pub fn start<const N: usize>(args: [&str; N]) -> Self {
        let mut command = Command::new(program());
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the built program");
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut url).expect("the server's address");
        assert!(url.starts_with("http://127.0.0.1:"), "the server said {url:?}");
        Self { child, url: url.trim_end().to_owned() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file in a test's workspace that a skill writes to, by lines; none when there is no such file.
pub fn lines(test: &Test, name: &str) -> Vec<String> {
    let path: PathBuf = test.workspace().join(name);
    fs::read_to_string(path).map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
}
