//! [`explain`]: words for commands and flags of the original that do not exist here. `main` asks when the arguments cannot
//! be parsed; everything else is clap's to report.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::failure::Failure;

/// Commands of the original, with what to do instead.
const COMMANDS: [(&str, &str); 10] = [
    ("start", "`perstack run EXPERT QUERY` shows progress on a terminal and asks there; `perstack resume` goes on"),
    ("publish", NO_REGISTRY),
    ("unpublish", NO_REGISTRY),
    ("tag", NO_REGISTRY),
    ("status", NO_REGISTRY),
    ("expert", NO_REGISTRY),
    ("application", NO_REGISTRY),
    ("add", NO_REGISTRY),
    ("remove", NO_REGISTRY),
    ("search", NO_REGISTRY),
];

/// Experts are files here.
const NO_REGISTRY: &str = "there is no registry here: share perstack.toml with its experts as files, and name those of others in \
    `include`";

/// Flags of the original, with what to do instead.
const FLAGS: [(&str, &str); 2] = [
    ("--runtime", "leave it out: there is one runtime, this program"),
    (
        "--env",
        "leave it out: a skill gets the variables in its requiredEnv from the environment; --env-path names a file of them",
    ),
];

/// The failure for arguments that the original would have understood; `None` for all others.
pub fn explain(error: &clap::Error) -> Option<Failure> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let command = word(ContextKind::InvalidSubcommand)?;
            let (_, instead) = COMMANDS.iter().find(|(name, _)| *name == command)?;
            Some(gone(&format!("the command `{command}` of the TypeScript version does not exist here"), instead))
        }
        ErrorKind::UnknownArgument => {
            let flag = word(ContextKind::InvalidArg)?;
            let flag = flag.split('=').next().unwrap_or(flag);
            let (_, instead) = FLAGS.iter().find(|(name, _)| *name == flag)?;
            Some(gone(&format!("the option {flag} of the TypeScript version does not exist here"), instead))
        }
        _ => None,
    }
}

fn gone(message: &str, instead: &str) -> Failure {
    Failure::usage(anyhow::anyhow!("{message}")).help(instead)
}
