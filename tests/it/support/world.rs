//! The builder: a test's own folder, home, environment and model server.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use perstack::skill::process::KernelAbility;
use tempfile::TempDir;

use super::KEY;
use super::answer::Answer;
use super::credentials::google_log_in;
use super::endpoint::VERTEX;
use super::process::{Ran, Running, Stdin};
use super::server::Server;
use super::sigv4::{ACCESS_KEY, REGION};
use super::storage::Storage;

/// How the binary is to reach the mock server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    Anthropic,
    /// OpenAI's Responses.
    OpenAi,
    /// OpenAI's Chat Completions.
    OpenAiChat,
    Google,
    DeepSeek,
    Azure,
    Bedrock,
    Vertex,
    Ollama,
}

impl Provider {
    pub const ALL: [Self; 9] = [
        Self::Anthropic,
        Self::OpenAi,
        Self::OpenAiChat,
        Self::Google,
        Self::DeepSeek,
        Self::Azure,
        Self::Bedrock,
        Self::Vertex,
        Self::Ollama,
    ];

    /// Those whose models write the arguments of calls as text, well or badly.
    pub const WRITING_ARGUMENTS: [Self; 6] =
        [Self::Anthropic, Self::OpenAi, Self::OpenAiChat, Self::DeepSeek, Self::Azure, Self::Bedrock];

    /// Runs this for every provider at once, as most of it is waiting; the results, in their order. One that fails
    /// is named, and the others are heard all the same.
    #[track_caller]
    pub fn each<T: Send>(body: impl Fn(Self) -> T + Sync) -> Vec<T> {
        let results = std::thread::scope(|scope| {
            let body = &body;
            let threads = Self::ALL.map(|provider| (provider, scope.spawn(move || body(provider))));
            threads.map(|(provider, thread)| (provider, thread.join()))
        });
        let failed: Vec<Self> =
            results.iter().filter(|(_, result)| result.is_err()).map(|(provider, _)| *provider).collect();
        assert!(failed.is_empty(), "it fails for {failed:?}, see above");
        results.into_iter().filter_map(|(_, result)| result.ok()).collect()
    }

    /// The name in configuration and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi | Self::OpenAiChat => "openai",
            Self::Google => "google",
            Self::DeepSeek => "deepseek",
            Self::Azure => "azure-openai",
            Self::Bedrock => "amazon-bedrock",
            Self::Vertex => "google-vertex",
            Self::Ollama => "ollama",
        }
    }

    /// Whether it can end an answer by a filter of what models may say. Ollama has none.
    pub fn has_filter(self) -> bool {
        self != Self::Ollama
    }

    /// The variable with its address, and the path of that address.
    pub fn address(self) -> (&'static str, &'static str) {
        match self {
            Self::Anthropic => ("ANTHROPIC_BASE_URL", "/v1"),
            Self::OpenAi | Self::OpenAiChat => ("OPENAI_BASE_URL", "/v1"),
            Self::Google => ("GOOGLE_GENERATIVE_AI_BASE_URL", "/v1beta"),
            Self::DeepSeek => ("DEEPSEEK_BASE_URL", "/deepseek/v1"),
            Self::Azure => ("AZURE_BASE_URL", "/openai"),
            Self::Bedrock => ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", ""),
            Self::Vertex => ("GOOGLE_VERTEX_BASE_URL", VERTEX),
            Self::Ollama => ("OLLAMA_BASE_URL", ""),
        }
    }

    /// The variables with its credentials, but for those that are a file.
    pub fn credentials(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Anthropic => &[("ANTHROPIC_API_KEY", KEY)],
            Self::OpenAi | Self::OpenAiChat => &[("OPENAI_API_KEY", KEY)],
            Self::Google => &[("GOOGLE_GENERATIVE_AI_API_KEY", KEY)],
            Self::DeepSeek => &[("DEEPSEEK_API_KEY", KEY)],
            Self::Azure => &[("AZURE_API_KEY", KEY)],
            Self::Bedrock => {
                &[("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", KEY), ("AWS_REGION", REGION)]
            }
            Self::Vertex | Self::Ollama => &[],
        }
    }

    fn toml(self) -> String {
        let api = match self {
            Self::OpenAi => "[provider.setting]\napi = \"responses\"\n",
            Self::OpenAiChat => "[provider.setting]\napi = \"chat\"\n",
            _ => "",
        };
        format!("\n[provider]\nproviderName = \"{}\"\n{api}", self.name())
    }
}

/// What a test and the processes it starts share. Its end is the test's end: then nothing may be left to complain of.
pub struct World {
    folder: TempDir,
    server: Server,
    expects_violations: AtomicBool,
    may_leave_answers: AtomicBool,
}

impl World {
    /// The folder that everything of the test is in.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that the binary is started in.
    pub fn workspace(&self) -> PathBuf {
        self.root().join("work")
    }

    /// The mock server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What the binary has stored in the workspace.
    pub fn storage(&self) -> Storage {
        Storage::new(self.workspace().join("perstack"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let violations = self.server.violations();
        if self.expects_violations.load(Ordering::Relaxed) {
            assert!(!violations.is_empty(), "the test expected the server to refuse something");
        } else {
            assert!(violations.is_empty(), "the server refused: {violations:#?}");
        }
        if !self.may_leave_answers.load(Ordering::Relaxed) {
            assert_eq!(self.server.answers_left(), 0, "answers that nobody asked for");
        }
    }
}

/// One test of the binary.
pub struct Test {
    world: Arc<World>,
    env: BTreeMap<String, String>,
    toml: Option<String>,
    provider: Option<Provider>,
    stdin: Stdin,
}

impl Test {
    /// An empty folder, an empty home, no environment but `PATH`, and a server without answers.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("perstack-it-").tempdir().expect("a temporary folder");
        let mut env = BTreeMap::new();
        for (name, child) in [
            ("HOME", "home"),
            ("XDG_CONFIG_HOME", "home/config"),
            ("XDG_DATA_HOME", "home/data"),
            ("XDG_CACHE_HOME", "home/cache"),
            ("TMPDIR", "tmp"),
        ] {
            let path = folder.path().join(child);
            fs::create_dir_all(&path).expect("a folder in a temporary one");
            env.insert(name.to_owned(), path.to_str().expect("a path in UTF-8").to_owned());
        }
        // Where the kernel cannot contain programs, every run would warn of it: those tests that are about containment
        // report that they are skipped, the others run without.
        if KernelAbility::lacking().is_some() {
            env.insert("PERSTACK_SANDBOX".to_owned(), "off".to_owned());
        }
        fs::create_dir(folder.path().join("work")).expect("a folder in a temporary one");
        let world = World {
            folder,
            server: Server::start(),
            expects_violations: AtomicBool::new(false),
            may_leave_answers: AtomicBool::new(false),
        };
        Self { world: Arc::new(world), env, toml: None, provider: None, stdin: Stdin::Closed }
    }

    /// A test with an expert named `librarian`, whose model is the mock server.
    pub fn with(provider: Provider) -> Self {
        Self::new().toml("[experts.librarian]\ninstruction = \"You find things in books.\"\n").provider(provider)
    }

    /// The text of `perstack.toml`. A provider is added when the test has one and the text has none.
    pub fn toml(mut self, text: &str) -> Self {
        self.toml = Some(text.to_owned());
        self
    }

    /// A file in the workspace; folders are made as needed.
    pub fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.world.workspace().join(path);
        fs::create_dir_all(path.parent().expect("a path with a parent")).expect("a folder in the workspace");
        fs::write(path, text).expect("a file in the workspace");
        self
    }

    /// A variable of the process's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Takes a variable out of the process's environment.
    pub fn unset(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// Points the binary at the mock server, by the vendor's own variables.
    pub fn provider(mut self, provider: Provider) -> Self {
        self.provider = Some(provider);
        let (variable, path) = provider.address();
        let base_url = self.world.server.url(path);
        let test = provider.credentials().iter().fold(self, |test, (name, value)| test.env(name, value));
        let test = test.env(variable, &base_url);
        if provider != Provider::Vertex {
            return test;
        }
        let log_in = test.root().join("home/log-in.json");
        fs::write(&log_in, google_log_in(&test.world.server.url(""))).expect("a file in the home");
        test.env("GOOGLE_APPLICATION_CREDENTIALS", log_in.to_str().expect("a path in UTF-8"))
    }

    /// Points the binary at a port where nobody listens: 1 is reserved, and no service uses it.
    pub fn nobody_listens(self) -> Self {
        let (variable, path) = self.provider.expect("a provider").address();
        self.env(variable, &format!("http://127.0.0.1:1{path}"))
    }

    /// The answers of the model, in this order.
    pub fn answers(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.world.server.script(answers);
        self
    }

    /// What standard input holds; without it, it is empty.
    pub fn stdin(mut self, text: &str) -> Self {
        self.stdin = Stdin::Text(text.to_owned());
        self
    }

    /// Standard input stays open and silent.
    pub fn silent_stdin(mut self) -> Self {
        self.stdin = Stdin::Silent;
        self
    }

    /// What standard input, a socket, holds.
    pub fn stdin_socket(mut self, text: &str) -> Self {
        self.stdin = Stdin::Socket(text.to_owned());
        self
    }

    /// The server must have refused something by the end.
    pub fn expecting_violations(self) -> Self {
        self.world.expects_violations.store(true, Ordering::Relaxed);
        self
    }

    /// The script may be longer than the run.
    pub fn may_leave_answers(self) -> Self {
        self.world.may_leave_answers.store(true, Ordering::Relaxed);
        self
    }

    /// The mock server.
    pub fn server(&self) -> &Server {
        &self.world.server
    }

    /// The folder that the binary is started in.
    pub fn workspace(&self) -> PathBuf {
        self.world.workspace()
    }

    /// Everything of the test: workspace, home, temporary files.
    pub fn root(&self) -> &Path {
        self.world.root()
    }

    /// What the binary has stored in the workspace.
    pub fn storage(&self) -> Storage {
        self.world.storage()
    }

    /// Runs the binary to its end.
    pub fn run<const N: usize>(&self, args: [&str; N]) -> Ran {
        self.spawn(args).finish()
    }

    /// Starts the binary.
    pub fn spawn<const N: usize>(&self, args: [&str; N]) -> Running {
        let mut command = Command::new(self.binary());
        command.args(args);
        self.start(command)
    }

    /// The binary, with its configuration in place.
    pub fn binary(&self) -> &'static Path {
        if let Some(toml) = &self.toml {
            let provider = self.provider.filter(|_| !toml.contains("[provider"));
            let text = format!("{toml}{}", provider.map_or_else(String::new, Provider::toml));
            fs::write(self.world.workspace().join("perstack.toml"), text).expect("a file in the workspace");
        }
        Path::new(env!("CARGO_BIN_EXE_perstack"))
    }

    /// Starts any program the way the binary is started.
    pub fn start(&self, mut command: Command) -> Running {
        command.current_dir(self.world.workspace()).env_clear().envs(&self.env);
        #[expect(clippy::disallowed_methods, reason = "commands of tests are found where the developer's are")]
        let path = std::env::var_os("PATH");
        let path = path.as_deref().unwrap_or(OsStr::new("/usr/bin:/bin"));
        // The tests' own programs can be started by contained ones only where installed programs are.
        let own = super::tool_server::folder();
        let folders = std::env::split_paths(path).chain([own]);
        command.env("PATH", std::env::join_paths(folders).expect("folders without a colon"));
        Running::start(command, &self.stdin, &self.world)
    }
}
