//! [`Environment`]: the variables that a run may use, those of the process merged with `.env` files. Everything below
//! the command line reads variables from it; they are never written back to the process.
//!
//! A variable keeps its source. A folder's own `.env` may set few of them (`config` decides which); the others reach
//! only the skills that name them.

use std::collections::BTreeMap;
use std::fmt;

/// Variables that every child may see (`getFilteredEnv` of the original): those with which programs are found, find
/// their user, and reach the network. No keys.
pub const SAFE_VARIABLES: [&str; 14] = [
    "PATH",
    "HOME",
    "SHELL",
    "TERM",
    "NODE_PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "PERSTACK_PROXY_URL",
    "NPM_CONFIG_PROXY",
    "NPM_CONFIG_HTTPS_PROXY",
];

/// Variables that only the user may set, compared in upper case (the original's list): each decides which code a child
/// runs.
pub const PROTECTED_VARIABLES: [&str; 12] = [
    "PATH",
    "HOME",
    "SHELL",
    "NODE_PATH",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    "DYLD_LIBRARY_PATH",
    "NODE_OPTIONS",
    "PYTHONPATH",
    "PERL5LIB",
    "RUBYLIB",
];

/// Names, in upper case, that a folder may not set even for a skill that requires them: besides the protected and the
/// safe ones, those that start other code, replace what is fetched, or change which servers a child trusts.
const FOLDER_MAY_NOT_SET: [&str; 23] = [
    "ALL_PROXY",
    "AWS_CA_BUNDLE",
    "BASH_ENV",
    "CURL_CA_BUNDLE",
    "DBUS_SESSION_BUS_ADDRESS",
    "ENV",
    "GIT_ASKPASS",
    "GIT_EDITOR",
    "GIT_EXEC_PATH",
    "GIT_PAGER",
    "JAVA_TOOL_OPTIONS",
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "PERL5OPT",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "REQUESTS_CA_BUNDLE",
    "RUBYOPT",
    "SSH_AUTH_SOCK",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "USERPROFILE",
    "ZDOTDIR",
];

/// Prefixes of such names, in upper case: settings of the loader, of git, of package managers, and of where
/// programs keep theirs.
const FOLDER_MAY_NOT_BEGIN: [&str; 8] = ["LD_", "DYLD_", "GIT_CONFIG", "GIT_SSH", "NPM_CONFIG_", "PIP_", "UV_", "XDG_"];

/// Returns whether a variable is the user's alone: a folder's `.env` sets it for no program and no skill.
pub fn is_users_own(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    PROTECTED_VARIABLES.contains(&name.as_str())
        || SAFE_VARIABLES.contains(&name.as_str())
        || FOLDER_MAY_NOT_SET.contains(&name.as_str())
        || FOLDER_MAY_NOT_BEGIN.iter().any(|beginning| name.starts_with(beginning))
}

/// The source of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariableSource {
    /// The process, or a file that the user named.
    User,
    /// A file of the folder, which may set it.
    Folder,
    /// A file of the folder, which may not set it for this program: only a skill that names it gets it.
    FolderForSkills,
}

/// Names and values. Values may be secrets, so `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, (String, VariableSource)>);

impl Environment {
    /// The value of `name`; empty values count as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entry(name).filter(|(_, source)| *source != VariableSource::FolderForSkills).map(|(value, _)| value)
    }

    /// The value of `name` that is the user's own, not a folder's.
    pub fn users(&self, name: &str) -> Option<&str> {
        self.entry(name).filter(|(_, source)| *source == VariableSource::User).map(|(value, _)| value)
    }

    /// The variables that are the user's own.
    #[must_use]
    pub fn of_user(&self) -> Self {
        let own = self.0.iter().filter(|(_, (_, source))| *source == VariableSource::User);
        Self(own.map(|(name, entry)| (name.clone(), entry.clone())).collect())
    }

    /// The value that a folder's own file gave `name`, for this program to use.
    pub fn folders(&self, name: &str) -> Option<&str> {
        self.entry(name).filter(|(_, source)| *source == VariableSource::Folder).map(|(value, _)| value)
    }

    /// The value of `name` for a skill that names it (`requiredEnv`, `authorizationEnv`, `oauth`).
    pub fn for_skill(&self, name: &str) -> Option<&str> {
        let may_have = |source| source != VariableSource::FolderForSkills || !is_users_own(name);
        self.entry(name).filter(|(_, source)| may_have(*source)).map(|(value, _)| value)
    }

    fn entry(&self, name: &str) -> Option<(&str, VariableSource)> {
        self.0.get(name).map(|(value, source)| (value.as_str(), *source)).filter(|(value, _)| !value.is_empty())
    }

    /// Sets `name` to a value of the user's own, whatever it was before.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), (value.into(), VariableSource::User));
    }

    /// Sets `name` unless it has a value already.
    pub fn set_if_absent(&mut self, name: impl Into<String>, value: impl Into<String>, source: VariableSource) {
        let name = name.into();
        if self.entry(&name).is_none() {
            self.0.insert(name, (value.into(), source));
        }
    }

    /// All pairs with a value that this program may use.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.known().filter(|(name, _)| self.get(name).is_some())
    }

    /// All pairs with a value, those for skills included: secrets to be masked.
    pub fn known(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(|(_, (value, _))| !value.is_empty())
            .map(|(name, (value, _))| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Environment {
    /// Collects variables of the user's own.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name, (value, VariableSource::User))).collect())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    /// Variables given in code, an API key for example, as the user's own.
    fn from(pairs: [(&str, &str); N]) -> Self {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A judgement of a variable, by its name and value.
pub type AddressCheck = Box<dyn Fn(&str, &str) -> bool>;

/// The variables of one model vendor, as far as a folder's `.env` is concerned.
pub struct VendorVariables {
    /// Sets of variables that are a key together; most have one member.
    pub keys: Vec<Vec<&'static str>>,
    /// The variables that may be set beside a key: address, region, project, resource, version.
    pub beside: Vec<&'static str>,
    /// Variables that only the user may set: files and profiles of credentials, and the servers that credentials are
    /// sent to or come from.
    pub users_own: Vec<&'static str>,
    /// Returns true if this value of a variable in `beside` needs no key: an address on this machine, of a vendor without one.
    pub needs_no_key: AddressCheck,
}

impl VendorVariables {
    /// All of them.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().flatten().chain(&self.beside).chain(&self.users_own).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_variable_reaches_what_its_source_allows() {
        let mut environment: Environment =
            [("A".to_owned(), "user".to_owned()), ("E".to_owned(), String::new())].into_iter().collect();
        environment.set_if_absent("A", "folder", VariableSource::Folder);
        environment.set_if_absent("B", "folder", VariableSource::Folder);
        environment.set_if_absent("E", "folder", VariableSource::FolderForSkills);
        environment.set_if_absent("NODE_PATH", "folder", VariableSource::FolderForSkills);
        let views = |name: &str| (environment.get(name), environment.users(name), environment.for_skill(name));
        assert_eq!(views("A"), (Some("user"), Some("user"), Some("user")));
        assert_eq!(views("B"), (Some("folder"), None, Some("folder")));
        assert_eq!(views("E"), (None, None, Some("folder")));
        assert_eq!(views("NODE_PATH"), (None, None, None));
        assert_eq!(environment.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(environment.known().count(), 4);
    }

    #[test]
    fn what_decides_code_and_network_is_the_users_own() {
        for name in [
            "PATH",
            "path",
            "https_proxy",
            "all_proxy",
            "LD_AUDIT",
            "npm_config_registry",
            "GIT_SSH_COMMAND",
            "SSL_CERT_FILE",
        ] {
            assert!(is_users_own(name), "{name}");
        }
        for name in ["GITHUB_TOKEN", "AWS_PROFILE", "DATABASE_URL", "NPM_TOKEN", "OPENAI_API_KEY"] {
            assert!(!is_users_own(name), "{name}");
        }
    }
}
