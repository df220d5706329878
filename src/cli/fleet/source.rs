//! [`SourceRule`]: the repositories that workspaces of jobs may be made from, by the worker's word; and [`repository`], the
//! sources that mean the same on every machine.

use std::str::FromStr;

use perstack::workspace_source::{GitSource, WorkspaceSource, WorkspaceSourceError};

/// A repository, or all those whose addresses begin in this way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRule(String);

/// The reason why a text is no such rule.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSourceRule {
    #[error(transparent)]
    Source(#[from] WorkspaceSourceError),
    #[error("{0:?} is no address of a repository, or its beginning up to a `/` or a `:`, without a revision")]
    NoAddress(String),
}

impl FromStr for SourceRule {
    type Err = InvalidSourceRule;

    fn from_str(text: &str) -> Result<Self, InvalidSourceRule> {
        let no_address = || InvalidSourceRule::NoAddress(text.chars().take(200).collect());
        // A beginning is read as an address below it.
        let whole = if text.ends_with(['/', ':']) { format!("{text}x") } else { text.to_owned() };
        match whole.parse()? {
            WorkspaceSource::Git(GitSource { revision: None, .. }) => Ok(Self(text.to_owned())),
            WorkspaceSource::Git(_) | WorkspaceSource::Folder(_) => Err(no_address()),
        }
    }
}

impl SourceRule {
    /// Returns whether the repository at `address` is among them.
    pub fn covers(&self, address: &str) -> bool {
        let Some(rest) = address.strip_prefix(&self.0) else { return false };
        // Whoever reads the address may take a step up, written either way, out of what the rule names.
        let is_below = !rest.contains(['%', '\\']) && rest.split('/').all(|part| !matches!(part, "." | ".."));
        rest.is_empty() || (self.0.ends_with(['/', ':']) && is_below)
    }
}

/// The repository that a workspace is made from, on whichever machine takes the job.
///
/// # Errors
/// With the reason: it is a folder, or names no revision.
pub fn repository(source: &WorkspaceSource) -> Result<&GitSource, String> {
    match source {
        WorkspaceSource::Git(git) if git.revision.is_some() => Ok(git),
        WorkspaceSource::Git(git) => Err(format!(
            "{} names no revision, so that a worker that takes the job over might find other files there",
            git.address
        )),
        WorkspaceSource::Folder(folder) => {
            Err(format!("{} is a folder, and a worker elsewhere has another one or none", folder.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_covers_a_repository_or_those_below_a_beginning() {
        let covers = |rule: &str, address: &str| rule.parse::<SourceRule>().unwrap().covers(address);
        for (rule, address) in [
            ("https://example.com/owls", "https://example.com/owls"),
            ("https://example.com/", "https://example.com/owls/barn.git"),
            ("git@example.com:", "git@example.com:owls.git"),
            ("git@example.com:owls/", "git@example.com:owls/barn.git"),
        ] {
            assert!(covers(rule, address), "{rule} {address}");
        }
        for (rule, address) in [
            ("https://example.com/owls", "https://example.com/owls-of-others"),
            ("https://example.com/owls", "https://example.com/owls/barn"),
            ("https://example.com/owls/", "https://example.com/owls/../bees"),
            ("https://example.com/owls/", "https://example.com/owls/%2e%2e/bees"),
            ("https://example.com/owls/", "https://example.com/owls/..\\bees"),
            ("https://example.com/", "https://example.com.evil/owls"),
            ("https://example.com/", "ssh://example.com/owls"),
        ] {
            assert!(!covers(rule, address), "{rule} {address}");
        }
    }

    #[test]
    fn a_rule_is_an_address_of_repositories() {
        for text in ["owls", "/srv/owls", "https://example.com/owls#v1", "http://example.com/", "ext::sh", "", "/", ":"]
        {
            assert!(text.parse::<SourceRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_source_means_the_same_on_every_machine_or_is_refused() {
        let refusal = |text: &str| repository(&text.parse().unwrap()).err().unwrap_or_default();
        assert_eq!(refusal("https://example.com/owls#v1"), "");
        assert!(refusal("https://example.com/owls").contains("names no revision"));
        assert!(refusal("../owls").contains("is a folder"));
    }
}
