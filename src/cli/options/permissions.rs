//! [`PermissionArgs`]: the flags by which calls are allowed, asked about and denied.

use clap::Args;
use perstack::config::nearest;
use perstack::permission::{InvalidPattern, PermissionPattern, Permissions, RunPermissions};

use crate::cli::command_line::CommandLine;

/// The permissions of a run, which hold for all its experts.
#[derive(Debug, Clone, Default, Args)]
pub struct PermissionArgs {
    /// Make the calls of this pattern without a question, such as exec(git status*), writeTextFile(src/**) or web.*
    /// (repeatable); without --ask, calls of tools that no --allow names are asked about
    #[arg(long, value_name = "PATTERN", value_parser = permission)]
    pub allow: Vec<PermissionPattern>,
    /// Ask a person before each call of this pattern (repeatable); where nobody can be asked it is not made
    #[arg(long, value_name = "PATTERN", value_parser = permission)]
    pub ask: Vec<PermissionPattern>,
    /// Make no call of this pattern (repeatable). It goes before --ask, and --ask before --allow
    #[arg(long, value_name = "PATTERN", value_parser = permission)]
    pub deny: Vec<PermissionPattern>,
    /// Make no call of a tool that may change something
    #[arg(long)]
    pub read_only: bool,
}

impl PermissionArgs {
    /// The permissions that the flags give.
    pub fn given(&self) -> RunPermissions {
        let lists = Permissions { allow: self.allow.clone(), ask: self.ask.clone(), deny: self.deny.clone() };
        RunPermissions { lists, read_only: self.read_only }
    }

    /// The flags that give these permissions.
    pub fn of(given: &RunPermissions) -> Self {
        let Permissions { allow, ask, deny } = given.lists.clone();
        Self { allow, ask, deny, read_only: given.read_only }
    }

    pub(super) fn add_to(&self, words: &mut CommandLine) {
        for (flag, patterns) in [("--allow", &self.allow), ("--ask", &self.ask), ("--deny", &self.deny)] {
            for pattern in patterns {
                words.value(flag, Some(pattern));
            }
        }
        words.switch("--read-only", self.read_only);
    }
}

/// A pattern of calls; a misspelt tool gets the nearest name.
fn permission(text: &str) -> Result<PermissionPattern, String> {
    text.parse().map_err(|error: InvalidPattern| {
        let (name, known) = error.unknown.clone().unwrap_or_default();
        let hint = nearest(&name, known.iter().copied());
        let hint = hint.map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default();
        format!("{error}{hint}")
    })
}
