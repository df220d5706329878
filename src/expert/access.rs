//! [`SkillAccess`]: the files and sockets that a contained program is given besides those that all are. A skill declares it;
//! the skill layer makes rules of it, and the trust of a folder shows it.

use serde::{Deserialize, Serialize};

/// `reads`, `writes`, `unixSockets` and `grants` of a skill. Paths are as written: absolute, beginning with `~/`, or
/// relative to the project's root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SkillAccess {
    /// Files and folders that may be read, with all beneath.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    /// Files and folders that may be read and changed, with all beneath.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<String>,
    /// Sockets of other programs that may be connected to, and folders of such.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unix_sockets: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<AccessGrant>,
}

impl SkillAccess {
    /// Returns true if nothing is declared.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// All paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        [&self.reads, &self.writes, &self.unix_sockets].into_iter().flatten().map(String::as_str)
    }

    /// A line for each kind of what is declared, for people.
    pub fn lines(&self) -> Vec<String> {
        let listed = |verb: &str, paths: &[String]| {
            let line = format!("{verb} {}", paths.join(", "));
            (!paths.is_empty()).then_some(line)
        };
        let granted = (!self.grants.is_empty()).then(|| {
            let names: Vec<&str> = self.grants.iter().map(|grant| grant.shown()).collect();
            format!("use {}", names.join(", "))
        });
        let lists = [
            listed("read", &self.reads),
            listed("write", &self.writes),
            listed("connect to", &self.unix_sockets),
            granted,
        ];
        lists.into_iter().flatten().collect()
    }
}

/// A named set of files and sockets that programs of daily work need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AccessGrant {
    Aws,
    Azure,
    Cargo,
    Docker,
    Gcloud,
    Gh,
    Git,
    Gpg,
    Kube,
    Npm,
    Pypi,
    Ssh,
}

impl AccessGrant {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 12] = [
        ("aws", Self::Aws),
        ("azure", Self::Azure),
        ("cargo", Self::Cargo),
        ("docker", Self::Docker),
        ("gcloud", Self::Gcloud),
        ("gh", Self::Gh),
        ("git", Self::Git),
        ("gpg", Self::Gpg),
        ("kube", Self::Kube),
        ("npm", Self::Npm),
        ("pypi", Self::Pypi),
        ("ssh", Self::Ssh),
    ];

    /// Its word in the configuration.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, grant)| *grant == self).map_or("", |(word, _)| word)
    }

    /// Its words for people: what it amounts to.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Aws => "aws (credentials of AWS)",
            Self::Azure => "azure (credentials of Azure)",
            Self::Cargo => "cargo (tokens of crates.io)",
            Self::Docker => "docker (everything on this machine)",
            Self::Gcloud => "gcloud (credentials of Google Cloud)",
            Self::Gh => "gh (token of GitHub)",
            Self::Git => "git (stored passwords of git)",
            Self::Gpg => "gpg (keys of GnuPG)",
            Self::Kube => "kube (credentials of Kubernetes)",
            Self::Npm => "npm (tokens of npm)",
            Self::Pypi => "pypi (tokens of PyPI)",
            Self::Ssh => "ssh (keys and agent of SSH)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grant_has_its_word_also_in_json() {
        for (word, grant) in AccessGrant::WORDS {
            assert_eq!(grant.as_str(), word);
            assert_eq!(serde_json::to_value(grant).ok(), Some(word.into()));
        }
    }

    #[test]
    fn what_is_declared_is_shown_in_lines() {
        let access = SkillAccess {
            reads: vec!["~/a".to_owned(), "/b".to_owned()],
            grants: vec![AccessGrant::Docker],
            ..SkillAccess::default()
        };
        assert_eq!(access.lines(), ["read ~/a, /b", "use docker (everything on this machine)"]);
        assert!(!access.is_empty() && SkillAccess::default().lines().is_empty());
    }
}
