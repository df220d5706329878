//! `perstack init`: a first configuration, with comments, and the command that uses it.
//!
//! Writes nothing over anything. What it writes is trusted as written: the user has just asked for it.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context, anyhow};
use clap::Args;
use perstack::config::{ContextPlaces, SCHEMA_FILE, SCHEMA_LINE, read_context, schema};
use perstack::expert::ExpertKey;
use perstack::provider::{choose, key_variable};
use perstack::setting::ProviderName;

use super::failure::Failure;
use super::options::{ModelArgs, PlaceArgs, provider_parser};
use super::render::visible;
use super::setup::{ProjectNeed, Setup, warn};
use super::{Exit, Process, trust};

/// The configuration's name.
const FILE_NAME: &str = "perstack.toml";

/// The file in which many projects keep what agents have to know.
const CONTEXT_FILE: &str = "AGENTS.md";

/// The file with the names that git leaves out.
const IGNORE_FILE: &str = ".gitignore";

/// The lines in it: recorded jobs, and keys.
const IGNORED: [&str; 3] = ["/perstack/", ".env", ".env.local"];

/// Writes a first perstack.toml into this folder, with comments
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Name of the expert
    #[arg(long, value_name = "NAME", default_value = "assistant")]
    expert: ExpertKey,
    /// Model provider [default: none is named, and each run takes the first whose key is set]
    #[arg(long, value_name = "PROVIDER", value_parser = provider_parser())]
    provider: Option<ProviderName>,
}

/// Runs the command.
pub fn run(args: &InitArgs, process: &Process) -> Result<Exit, Failure> {
    if args.expert.version_or_tag().is_some() {
        return Err(Failure::usage(anyhow!("--expert {}: a name is wanted, without a version", args.expert)));
    }
    let config = process.folder.join(FILE_NAME);
    if !write_new(&config, &configuration(args, has_context(&process.folder)))? {
        return Err(Failure::usage(anyhow!("{} is there already: nothing was written", config.display()))
            .help("`perstack experts` lists its experts; edit it, or go to another folder"));
    }
    let has_schema = write_new(&process.folder.join(SCHEMA_FILE), &format!("{:#}\n", schema()))?;
    let ignored = match ignore(&process.folder.join(IGNORE_FILE)) {
        Ok(added) => added,
        Err(error) => {
            warn(process, false, &format!("{IGNORE_FILE}: {error}; add these lines yourself: {}", IGNORED.join(" ")));
            Vec::new()
        }
    };
    // The file alone: an `.env` that lies here was written by somebody else.
    let alone = PlaceArgs { env_path: vec!["/dev/null".into()], ..place(&config) };
    let setup = Setup::read(process, &alone, &ModelArgs::default(), ProjectNeed::Required)?;
    trust::agree_as_written(&setup, process);
    let text = report(args, process, &config, has_schema, &ignored);
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(Exit::Completed),
    }
}

/// Returns true where the folder has a file with instructions that a run would read: one that ends each run is not named.
fn has_context(folder: &Path) -> bool {
    let places = ContextPlaces { workspace: folder, folders: &[], closed: &[] };
    read_context(&[CONTEXT_FILE.to_owned()], places).is_ok_and(|read| !read.files.is_empty())
}

fn place(config: &Path) -> PlaceArgs {
    PlaceArgs { config: Some(config.to_owned()), ..PlaceArgs::default() }
}

/// The text about what was written, and the way on.
fn report(args: &InitArgs, process: &Process, config: &Path, has_schema: bool, ignored: &[&str]) -> String {
    let mut text = format!("wrote {FILE_NAME} with the expert {}\n", visible(args.expert.as_str()));
    if has_schema {
        let _ = writeln!(text, "wrote {SCHEMA_FILE}, by which editors complete and check it");
    }
    if !ignored.is_empty() {
        let _ = writeln!(text, "added to {IGNORE_FILE}: {}", ignored.join(" "));
    }
    text.push_str("next:\n");
    if let Some(key) = missing_key(args, process, config) {
        let _ = writeln!(text, "  export {key}=...   # or as a line in .env");
    }
    let _ = writeln!(text, "  perstack run {} \"What is in this folder?\"", args.expert);
    text
}

/// The variable to set before a run, where no key is known.
fn missing_key(args: &InitArgs, process: &Process, config: &Path) -> Option<&'static str> {
    let wanted = args.provider.unwrap_or(ProviderName::Anthropic);
    let setup = Setup::read(process, &place(config), &ModelArgs::default(), ProjectNeed::Required).ok();
    let environment = setup.map(|setup| setup.environment).unwrap_or_default();
    let is_there = match args.provider {
        Some(provider) => key_variable(provider).is_none_or(|key| environment.get(key).is_some()),
        None => choose(&environment).is_ok(),
    };
    key_variable(wanted).filter(|_| !is_there && args.provider != Some(ProviderName::Ollama))
}

/// Writes a file that must not be there; returns false if it is.
fn write_new(path: &Path, text: &str) -> Result<bool, Failure> {
    let written = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => Err(error),
    };
    written.with_context(|| format!("cannot write {}", path.display())).map_err(Failure::usage)?;
    Ok(true)
}

/// Adds the lines that are missing, and returns them. A link is not written through.
fn ignore(path: &Path) -> io::Result<Vec<&'static str>> {
    if path.is_symlink() {
        return Err(io::Error::other("is a link"));
    }
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let has = |line: &str| text.lines().any(|other| other.trim().trim_matches('/') == line.trim_matches('/'));
    let missing: Vec<&str> = IGNORED.into_iter().filter(|line| !has(line)).collect();
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    if !missing.is_empty() {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(format!("{gap}{}\n", missing.join("\n")).as_bytes())?;
    }
    Ok(missing)
}

/// The file's text.
fn configuration(args: &InitArgs, has_context: bool) -> String {
    let expert = &args.expert;
    let context = if has_context { "" } else { "# " };
    let provider = match args.provider {
        Some(provider) => format!("[provider]\nproviderName = \"{provider}\"\n"),
        None => "# Without these lines, each run takes the first provider whose key is set.\n\
                 # [provider]\n# providerName = \"anthropic\"\n"
            .to_owned(),
    };
    let key = args.provider.and_then(key_variable).unwrap_or("ANTHROPIC_API_KEY");
    format!(
        r#"{SCHEMA_LINE}
# The experts of this folder. `perstack experts` lists them, `perstack check` finds mistakes.
# Keys come from the environment or from .env: {key}, for example.

# model = "..."        # by default the provider's own choice; `perstack models` lists them
# maxSteps = 100       # steps after which a job stops
# maxCost = 1.0        # US dollars that a job may cost

# Where the tools of servers take much of the model's context window, it searches for them (after `perstack install`).
toolSearch = "auto"

{provider}
[experts."{expert}"]
# For people, and for experts that delegate to this one.
description = "Answers questions about the files of this folder, and works on them."
instruction = """
You work in this folder for the person who asks.
Look at the files before you answer, and name those that the answer comes from.
Change files and run commands only where the task asks for it.
"""
{context}context = ["{CONTEXT_FILE}"]   # files of this folder that belong to the instruction
# delegates = ["another"]   # experts that it may call

# The built-in tools read and write files here, and run commands. To allow some of them alone:
# [experts."{expert}".skills."@perstack/base"]
# type = "mcpStdioSkill"
# command = "npx"
# packageName = "@perstack/base"
# pick = ["attemptCompletion", "todo", "clearTodo", "readTextFile", "listDirectory"]

# Tools of an MCP server, which is started here:
# [experts."{expert}".skills."web"]
# type = "mcpStdioSkill"
# command = "npx"
# packageName = "exa-mcp-server"
# requiredEnv = ["EXA_API_KEY"]
"#
    )
}

#[cfg(test)]
mod tests {
    use perstack::config::parse;

    use super::*;

    fn args(provider: Option<ProviderName>) -> InitArgs {
        InitArgs { expert: "owl".parse().unwrap(), provider }
    }

    #[test]
    fn what_is_written_has_no_mistakes_as_it_is_and_with_its_comments_taken_up() {
        for provider in ProviderName::ALL.map(Some).into_iter().chain([None]) {
            let text = configuration(&args(provider), false);
            assert!(text.contains("\n# context = [\"AGENTS.md\"]"), "{text}");
            let project = parse(&text, Path::new("perstack.toml")).unwrap();
            assert_eq!((project.overrides.provider, &project.warnings[..]), (provider, &[][..]));
            let taken_up = text.replace("# [", "[").replace("# type", "type").replace("# command", "command");
            let taken_up =
                taken_up.replace("# package", "package").replace("# pick", "pick").replace("# required", "required");
            let taken_up = taken_up
                .replace("# context", "context")
                .replace("# max", "max")
                .replace("# model", "model")
                .replace("# providerName", "providerName");
            let project = parse(&taken_up, Path::new("perstack.toml")).unwrap();
            assert_eq!((project.warnings.len(), project.overrides.max_steps), (0, Some(100)), "{:?}", project.warnings);
            let expert = project.experts.values().next().unwrap();
            assert_eq!((expert.skills.len(), &expert.context[..]), (2, &["AGENTS.md".to_owned()][..]));
            let with_file = parse(&configuration(&args(provider), true), Path::new("perstack.toml")).unwrap();
            assert_eq!(with_file.experts.values().next().unwrap().context, ["AGENTS.md"]);
        }
    }

    #[test]
    fn lines_are_added_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".gitignore");
        assert_eq!(ignore(&path).unwrap(), IGNORED);
        assert_eq!(ignore(&path).unwrap(), [""; 0]);
        fs::write(&path, "target\nperstack").unwrap();
        assert_eq!(ignore(&path).unwrap(), [".env", ".env.local"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "target\nperstack\n.env\n.env.local\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join(".gitignore"), folder.path().join("target"));
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(ignore(&path).is_err() && !target.exists());
    }
}
