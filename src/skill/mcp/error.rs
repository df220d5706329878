//! [`McpError`]: the reasons for which an MCP server cannot be used. The tools' owner sees it when a job begins, the model
//! when a server has to be started again.

use std::borrow::Cow;

use crate::hint::ErrorHint;

/// The reason why an MCP skill could not be started, or not again.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum McpError {
    /// A variable that the skill must have is not set.
    #[error("Skill {skill} requires environment variable {variable}")]
    MissingVariable { skill: String, variable: String },
    /// The configuration names the program's arguments twice.
    #[error("Skill {skill} has both packageName and args")]
    Command { skill: String },
    /// The skill is of another kind.
    #[error("skill {skill} is no MCP server")]
    NoServer { skill: String },
    /// The address of a remote server is not allowed.
    #[error("skill {skill}: {fault}")]
    Endpoint { skill: String, fault: String },
    /// Requests are to go through a proxy that cannot be used.
    #[error("skill {skill} cannot be reached: {why}")]
    Proxy { skill: String, why: String },
    /// The server lets nobody in, or not with this token.
    #[error("skill {skill} did not start: its server demands authorization (HTTP status {status})")]
    Unauthorized { skill: String, status: u16, remedy: String },
    /// A person could not be logged in.
    #[error("no login for skill {skill}: {why}")]
    Login { skill: String, why: String },
    /// The server's program could not be started.
    #[error("skill {skill} cannot be started: {why}")]
    Spawn { skill: String, why: String },
    /// The server did not come up in time.
    #[error("skill {skill} did not start within {seconds} s{}", last_lines(stderr))]
    TimedOut { skill: String, seconds: f64, stderr: Vec<String> },
    /// The server ended, or answered with what is no MCP.
    #[error("skill {skill} did not start: {why}{}", last_lines(stderr))]
    NotStarted { skill: String, why: String, stderr: Vec<String>, remedy: Option<String> },
    /// The server differs from its lock: in its tools, or in the revision of the protocol.
    #[error("skill {skill}: its server differs from perstack.lock ({differences})")]
    Drift { skill: String, differences: String },
    /// The skill has been closed.
    #[error("skill {skill} has been closed")]
    Closed { skill: String },
}

impl ErrorHint for McpError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        let hint = match self {
            Self::MissingVariable { .. } => "set it, or put it into an .env file",
            Self::Command { .. } => "provide only one of them",
            Self::Endpoint { .. } => {
                "for development, allowPrivateEndpoint = true permits private addresses and plain http to them"
            }
            Self::Unauthorized { remedy, .. } => remedy,
            Self::NotStarted { remedy, .. } => return remedy.as_deref().map(Cow::from),
            Self::TimedOut { .. } => "check that its server works, or raise startTimeout",
            Self::Drift { .. } => "run `perstack install` to lock it as it is now, or put back the one that was locked",
            Self::Spawn { .. } => "check that its command is installed, executable and on PATH",
            Self::NoServer { .. } | Self::Proxy { .. } | Self::Login { .. } | Self::Closed { .. } => return None,
        };
        Some(hint.into())
    }
}

/// The last lines on stderr, as part of an error.
fn last_lines(stderr: &[String]) -> String {
    if stderr.is_empty() { String::new() } else { format!("\nits last lines on stderr: {}", stderr.join(" | ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_the_servers_last_lines() {
        let error = |stderr: &[&str]| {
            McpError::NotStarted {
                skill: "web".to_owned(),
                why: "its process ended (exit status: 1)".to_owned(),
                stderr: stderr.iter().map(|line| (*line).to_owned()).collect(),
                remedy: None,
            }
            .to_string()
        };
        assert_eq!(error(&[]), "skill web did not start: its process ended (exit status: 1)");
        assert_eq!(
            error(&["no module", "bye"]),
            "skill web did not start: its process ended (exit status: 1)\nits last lines on stderr: no module | bye"
        );
    }
}
