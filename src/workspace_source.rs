//! [`WorkspaceSource`]: what a job's workspace is made from, as people name it (`--workspace-from`), and [`MadeFrom`], as the job's
//! record has it. Making it is the command line's.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

/// A folder, or a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkspaceSource {
    Folder(PathBuf),
    Git(GitSource),
}

/// A git repository that can be asked over the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// `https://…`, `ssh://…` or `HOST:PATH`, without a password.
    pub address: String,
    /// A branch, a tag or a whole commit; the repository's own branch where there is none.
    pub revision: Option<String>,
}

/// The source that the workspace of a job was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum MadeFrom {
    Folder { path: String },
    Git { address: String, commit: String },
}

/// The reason why a text names no source of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkspaceSourceError {
    #[error("{text:?} is no source of a workspace: {why}")]
    Address { text: String, why: &'static str },
    #[error("{revision:?} is no revision: name a branch, a tag or a whole commit")]
    Revision { revision: String },
}

const FORMS: &str = "name a folder, or a git repository as https://…, ssh://… or HOST:PATH";

impl FromStr for WorkspaceSource {
    type Err = WorkspaceSourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |why| WorkspaceSourceError::Address { text: text.chars().take(200).collect(), why };
        if text.is_empty() || text.starts_with('-') {
            return Err(refused(FORMS));
        }
        if text.chars().any(char::is_control) {
            return Err(refused("it has control characters"));
        }
        // `ext::`, `fd::` and others start programs.
        let is_helper = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if text.split_once("::").is_some_and(|(name, _)| is_helper(name)) && !is_path(text) {
            return Err(refused("a helper of git's may start any program; only https and ssh are used"));
        }
        let is_url = text.contains("://");
        if !is_url && (is_path(text) || !text.contains(':')) {
            return Ok(Self::Folder(PathBuf::from(text)));
        }
        let (address, revision) = match text.rsplit_once('#') {
            Some((address, revision)) => (address, Some(revision)),
            None => (text, None),
        };
        if is_url { check_url(address) } else { check_host_and_path(address) }.map_err(refused)?;
        let revision = revision.map(check_revision).transpose()?;
        Ok(Self::Git(GitSource { address: address.to_owned(), revision }))
    }
}

/// Returns true for what is written as a path.
fn is_path(text: &str) -> bool {
    text.starts_with(['/', '.', '~'])
}

fn check_url(address: &str) -> Result<(), &'static str> {
    let url = Url::parse(address).map_err(|_| FORMS)?;
    match url.scheme() {
        "https" | "ssh" => {}
        "file" => return Err("name the folder itself, without file://"),
        _ => return Err("only https and ssh are used"),
    }
    if url.password().is_some() || url.scheme() == "https" && !url.username().is_empty() {
        return Err("it has a user or a password in it; git's own credential helpers are asked for those");
    }
    if url.query().is_some() {
        return Err("it has a query");
    }
    let host = url.host_str().unwrap_or_default();
    if host.is_empty() || host.starts_with('-') || url.username().starts_with('-') {
        return Err("it names no host");
    }
    Ok(())
}

/// `[USER@]HOST:PATH`.
fn check_host_and_path(address: &str) -> Result<(), &'static str> {
    let (host, path) = address.split_once(':').ok_or(FORMS)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._@".contains(c);
    if host.is_empty() || host.starts_with(['-', '@']) || !host.chars().all(is_name) || host.contains("@-") {
        return Err("it names no host");
    }
    if path.is_empty() || path.starts_with('-') || path.contains(char::is_whitespace) {
        return Err("it names no repository");
    }
    Ok(())
}

/// A name that git takes for nothing but a name: no range, no pair of names, no option.
fn check_revision(revision: &str) -> Result<String, WorkspaceSourceError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._/-@+".contains(c);
    let begins = revision.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && revision.len() <= 200 && revision.chars().all(is_plain) && !revision.contains("..") {
        Ok(revision.to_owned())
    } else {
        Err(WorkspaceSourceError::Revision { revision: revision.chars().take(200).collect() })
    }
}

impl fmt::Display for WorkspaceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Git(GitSource { address, revision: None }) => f.write_str(address),
            Self::Git(GitSource { address, revision: Some(revision) }) => write!(f, "{address}#{revision}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_or_a_repository_is_read_and_written_back() {
        for text in ["owls", "./a:b", "../owls", "/srv/owls#1", "~/owls"] {
            let source: WorkspaceSource = text.parse().unwrap();
            assert_eq!(source, WorkspaceSource::Folder(PathBuf::from(text)));
        }
        for text in [
            "https://example.com/owls.git",
            "https://example.com/owls#v1.0+2",
            "ssh://git@example.com:2222/owls.git#feature/a-b",
            "git@example.com:owls/barn.git#0123456789012345678901234567890123456789",
            "example.com:owls",
            "https://[2001:db8::1]/a::b",
        ] {
            let source: WorkspaceSource = text.parse().unwrap();
            assert!(matches!(source, WorkspaceSource::Git(_)), "{text}");
            assert_eq!(source.to_string(), text);
        }
    }

    #[test]
    fn whatever_could_start_a_program_or_lead_elsewhere_is_refused() {
        for (text, why) in [
            ("", "name a folder"),
            ("--upload-pack=touch /tmp/x", "name a folder"),
            ("-u", "name a folder"),
            ("ext::sh -c 'touch x'", "start any program"),
            ("fd::17", "start any program"),
            ("file:///srv/owls", "without file://"),
            ("http://example.com/owls", "only https and ssh"),
            ("git://example.com/owls", "only https and ssh"),
            ("https://owl:hoot@example.com/owls", "credential helpers"),
            ("https://token@example.com/owls", "credential helpers"),
            ("https://example.com/owls?x=1", "a query"),
            ("ssh://-oProxyCommand=touch/owls", "no host"),
            ("-oProxyCommand=x:owls", "name a folder"),
            ("git@-oProxyCommand=x:owls", "no host"),
            ("host:--upload-pack=x", "no repository"),
            ("https://example.com/a\nb", "control characters"),
            ("https://example.com/owls#--upload-pack=x", "no revision"),
            ("https://example.com/owls#main:refs/heads/x", "no revision"),
            ("https://example.com/owls#+main", "no revision"),
            ("https://example.com/owls#a..b", "no revision"),
            ("https://example.com/owls#", "no revision"),
        ] {
            let error = text.parse::<WorkspaceSource>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
