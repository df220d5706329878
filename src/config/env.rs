//! The variables that a run may use: the process's, then those of environment files.
//!
//! A file that the user named counts as much as the process. One that was found in the folder, or that `perstack.toml`
//! names, sets only the variables listed here ([`FolderFiles::add_to`]): a project that was merely downloaded must not
//! divert model requests, choose whose credentials are used, or decide which code runs. The command line calls this
//! before a job; the syntax of the files is left to `dotenv`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Overrides;
use super::dotenv::parse;
use super::error::ConfigError;
use super::read_file::{OwnedText, read_owned};
use super::trust::owner::user_name;
use crate::environment::{Environment, VariableSource, VendorVariables, is_users_own};

/// The files that are read unless others are named (the original's).
pub const DEFAULT_ENV_FILES: [&str; 2] = [".env", ".env.local"];

/// The run options that a folder's file may set. [`Overrides::looser_than`] bounds the limits among them.
const FOLDER_OPTIONS: [&str; 12] = [
    "PERSTACK_MODEL",
    "PERSTACK_REASONING_BUDGET",
    "PERSTACK_MAX_STEPS",
    "PERSTACK_MAX_TOTAL_STEPS",
    "PERSTACK_MAX_RETRIES",
    "PERSTACK_TIMEOUT",
    "PERSTACK_MAX_PARALLEL_DELEGATES",
    "PERSTACK_MAX_COST",
    "PERSTACK_MAX_TOKENS",
    "PERSTACK_MAX_DURATION",
    "PERSTACK_MAX_TOOL_REPETITIONS",
    "PERSTACK_MAX_DELEGATES",
];

/// Merges variables: `process` > first file > later files, all of them trusted as the user's own. Empty values of the
/// process count as not set. Relative `files` are below `folder`; missing ones are skipped, and so are folders (a
/// Python environment is often called `.env`) and `/dev/null`. Within a file the last of several values counts. Errors
/// name file and line, never a value.
///
/// # Errors
/// A file that cannot be read, or a line that is none.
pub fn environment(
    process: impl IntoIterator<Item = (String, String)>,
    folder: &Path,
    files: &[PathBuf],
) -> Result<Environment, ConfigError> {
    let mut environment: Environment = process.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    for file in files {
        for (name, value) in pairs(&folder.join(file))? {
            environment.set_if_absent(name, value, VariableSource::User);
        }
    }
    Ok(environment)
}

fn pairs(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    Ok(owned_pairs(path)?.0)
}

/// The variables of a file, with its owner; those of an absent one have none.
fn owned_pairs(path: &Path) -> Result<(BTreeMap<String, String>, Option<u32>), ConfigError> {
    if path.is_dir() || path == Path::new("/dev/null") {
        return Ok((BTreeMap::new(), None));
    }
    let Some(OwnedText { text, owner }) = read_owned(path)? else { return Ok((BTreeMap::new(), None)) };
    let fault = |fault: super::dotenv::DotenvError| ConfigError::EnvFile {
        path: path.to_owned(),
        line: fault.line,
        reason: fault.reason,
    };
    let pairs = parse(&text).map_err(fault)?;
    // Collecting keeps the last value of a name; emptiness is judged after that, so that a last `NAME=` unsets it.
    let pairs: BTreeMap<String, String> = pairs.into_iter().collect();
    Ok((pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect(), owner))
}

/// The variables of a folder's file that it may not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The file as it was found or named.
    pub file: PathBuf,
    /// The variables that would have had an effect.
    pub names: Vec<String>,
}

/// Decides what a folder's files may set.
pub struct FolderFiles<'a> {
    pub vendors: &'a [VendorVariables],
    /// The user's own defaults, whose limits no folder loosens.
    pub user: &'a Overrides,
    /// A skill of the configuration names this variable.
    pub is_named_by_skill: &'a dyn Fn(&str) -> bool,
    /// Returns true if files of this owner are used.
    pub is_trusted_owner: &'a dyn Fn(Option<u32>) -> bool,
}

impl FolderFiles<'_> {
    /// Adds the variables of `files` to `environment`, which holds the user's own; paths are as in [`environment()`].
    /// Variables that only skills may have are kept for them. Returns what was left out, an entry for each file.
    ///
    /// # Errors
    /// As [`environment()`], a limit of the wrong kind, and a file of another user.
    pub fn add_to(
        &self,
        environment: &mut Environment,
        folder: &Path,
        files: &[PathBuf],
    ) -> Result<Vec<LeftOut>, ConfigError> {
        let read = files.iter().map(|file| Ok((file, self.pairs(&folder.join(file))?)));
        let read = read.collect::<Result<Vec<_>, ConfigError>>()?;
        let mut values = BTreeMap::new();
        for (name, value) in read.iter().flat_map(|(_, pairs)| pairs) {
            if environment.users(name).is_none() {
                values.entry(name.as_str()).or_insert(value.as_str());
            }
        }
        let admitted = self.admitted(environment, &values)?;
        let mut left_out = Vec::new();
        for (file, pairs) in &read {
            let is_left_out = |name: &&String| {
                values.contains_key(name.as_str()) && !admitted.contains(name.as_str()) && self.matters(name)
            };
            let names: Vec<String> = pairs.keys().filter(is_left_out).cloned().collect();
            if !names.is_empty() {
                left_out.push(LeftOut { file: (*file).clone(), names });
            }
        }
        for (name, value) in values {
            let is_admitted = admitted.contains(name);
            let source = if is_admitted { VariableSource::Folder } else { VariableSource::FolderForSkills };
            environment.set_if_absent(name, value, source);
        }
        Ok(left_out)
    }

    fn pairs(&self, path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
        let (pairs, owner) = owned_pairs(path)?;
        if (self.is_trusted_owner)(owner) {
            return Ok(pairs);
        }
        let owner = owner.map(user_name).unwrap_or_default();
        Err(ConfigError::ForeignOwner { path: path.to_owned(), owner })
    }

    /// The variables of `values`, which the user does not set, that this program may use.
    fn admitted<'v>(
        &self,
        user: &Environment,
        values: &BTreeMap<&'v str, &'v str>,
    ) -> Result<BTreeSet<&'v str>, ConfigError> {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for vendor in self.vendors {
            names.extend(of_vendor(vendor, user, values));
        }
        let options = values.iter().filter(|(name, _)| FOLDER_OPTIONS.contains(name));
        let limits: Environment = options.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let looser = Overrides::from_environment(&limits)?.looser_than(self.user);
        names.extend(FOLDER_OPTIONS.iter().filter(|name| !looser.contains(name)));
        Ok(values.keys().copied().filter(|name| names.contains(name)).collect())
    }

    /// Returns whether `name`, which is left out, would have had an effect: other programs' variables have none, and a
    /// warning about each of them would bury the one that matters.
    fn matters(&self, name: &str) -> bool {
        if is_users_own(name) {
            return true;
        }
        let of_vendors = || {
            let mut names = self.vendors.iter().flat_map(VendorVariables::names);
            names.any(|other| other == name)
        };
        !(self.is_named_by_skill)(name) && (name.starts_with("PERSTACK_") || of_vendors())
    }
}

/// The variables that a folder may set for `vendor`: a whole key of its own with what belongs to it, when the user has
/// no key; an address that needs no key, when the user names no endpoint either. A value of blanks is no key: with one
/// the user's own login would be used after all.
fn of_vendor(vendor: &VendorVariables, user: &Environment, values: &BTreeMap<&str, &str>) -> Vec<&'static str> {
    let of_user = |name: &&str| user.users(name).is_some();
    let of_folder = |name: &&str| values.get(name).is_some_and(|value| !value.trim().is_empty());
    if vendor.keys.iter().any(|key| key.iter().all(of_user)) {
        return Vec::new();
    }
    let keys: Vec<&Vec<&str>> = vendor.keys.iter().filter(|key| key.iter().all(of_folder)).collect();
    if !keys.is_empty() {
        return keys.into_iter().flatten().chain(&vendor.beside).copied().collect();
    }
    if vendor.beside.iter().any(of_user) {
        return Vec::new();
    }
    let needs_no_key = |name: &&&str| values.get(**name).is_some_and(|value| (vendor.needs_no_key)(name, value));
    vendor.beside.iter().filter(needs_no_key).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn defaults() -> [PathBuf; 2] {
        DEFAULT_ENV_FILES.map(PathBuf::from)
    }

    #[test]
    fn the_process_beats_the_first_file_and_that_the_later() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), "A=file\nB=file\nC=one\nC=two\nEMPTY=file\n").unwrap();
        std::fs::write(folder.path().join(".env.local"), "B=local\nD=local\n").unwrap();
        let merged = environment(pairs(&[("A", "process"), ("EMPTY", "")]), folder.path(), &defaults()).unwrap();
        assert_eq!(
            merged.iter().collect::<Vec<_>>(),
            [("A", "process"), ("B", "file"), ("C", "two"), ("D", "local"), ("EMPTY", "file")]
        );
    }

    #[test]
    fn missing_files_and_folders_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".env")).unwrap();
        let files = [".env", ".env.local", "/dev/null"].map(PathBuf::from);
        let merged = environment(pairs(&[("A", "1")]), folder.path(), &files).unwrap();
        assert_eq!(merged.iter().collect::<Vec<_>>(), [("A", "1")]);
    }

    #[test]
    fn a_malformed_line_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        std::fs::write(&path, "A=1\nsk-secret-key\n").unwrap();
        let error = environment([], folder.path(), &defaults()).unwrap_err();
        assert_eq!(error.to_string(), format!("{}:2: expected NAME=value", path.display()));
    }

    /// Two vendors: one with a key, one that needs none when `ADDRESS_B` is `here`.
    fn vendors() -> [VendorVariables; 2] {
        let keyed = VendorVariables {
            keys: vec![vec!["KEY_A"], vec!["ID_A", "SECRET_A"]],
            beside: vec!["ADDRESS_A", "REGION_A"],
            users_own: vec!["PROFILE_A"],
            needs_no_key: Box::new(|_, _| false),
        };
        let keyless = VendorVariables {
            keys: vec![vec!["KEY_B"]],
            beside: vec!["ADDRESS_B", "HOST_B"],
            users_own: Vec::new(),
            needs_no_key: Box::new(|_, value| value == "here"),
        };
        [keyed, keyless]
    }

    /// The program's variables from one file beside the process's, and those left out; `SKILL_` names are a
    /// skill's.
    fn seen(process: &[(&str, &str)], file: &str) -> (Vec<String>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), file).unwrap();
        let mut all: Environment = pairs(process).into_iter().collect();
        let user = Overrides { max_steps: Some(10), ..Overrides::default() };
        let rules = FolderFiles {
            vendors: &vendors(),
            user: &user,
            is_named_by_skill: &|name| name.starts_with("SKILL_") || name == "PROFILE_A",
            is_trusted_owner: &|_| true,
        };
        let left_out = rules.add_to(&mut all, folder.path(), &defaults()).unwrap();
        let names = all.iter().filter(|(name, _)| all.users(name).is_none()).map(|(name, _)| name.to_owned());
        (names.collect(), left_out.into_iter().flat_map(|left_out| left_out.names).collect())
    }

    #[track_caller]
    fn assert_seen(process: &[(&str, &str)], file: &str, used: &[&str], left_out: &[&str]) {
        let seen = seen(process, file);
        assert_eq!((seen.0.as_slice(), seen.1.as_slice()), (&owned(used)[..], &owned(left_out)[..]), "{file}");
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_address_counts_beside_a_key_of_the_same_folder() {
        let own = "KEY_A=k\nADDRESS_A=a\nREGION_A=r\n";
        assert_seen(&[], own, &["ADDRESS_A", "KEY_A", "REGION_A"], &[]);
        assert_seen(&[], "ID_A=i\nSECRET_A=s\nADDRESS_A=a\n", &["ADDRESS_A", "ID_A", "SECRET_A"], &[]);
        assert_seen(&[("KEY_A", "u")], own, &[], &["ADDRESS_A", "REGION_A"]);
        // Another key of the same vendor is the user's.
        assert_seen(&[("KEY_A", "u")], "ID_A=i\nSECRET_A=s\nADDRESS_A=a\n", &[], &["ADDRESS_A", "ID_A", "SECRET_A"]);
        assert_seen(&[("ID_A", "u"), ("SECRET_A", "u")], own, &[], &["ADDRESS_A", "KEY_A", "REGION_A"]);
    }

    #[test]
    fn half_a_key_and_a_blank_one_are_none() {
        assert_seen(&[], "ADDRESS_A=a\n", &[], &["ADDRESS_A"]);
        assert_seen(&[], "KEY_A=\" \"\nADDRESS_A=a\n", &[], &["ADDRESS_A", "KEY_A"]);
        assert_seen(&[], "KEY_A=\nADDRESS_A=a\n", &[], &["ADDRESS_A"]);
        assert_seen(&[], "ID_A=i\nADDRESS_A=a\n", &[], &["ADDRESS_A", "ID_A"]);
        assert_seen(&[("SECRET_A", "u")], "ID_A=i\nSECRET_A=s\nADDRESS_A=a\n", &[], &["ADDRESS_A", "ID_A"]);
        // Another vendor's key is none of this one.
        assert_seen(&[], "KEY_B=k\nADDRESS_A=a\n", &["KEY_B"], &["ADDRESS_A"]);
    }

    #[test]
    fn an_address_that_needs_no_key_does_not_beat_the_users_own() {
        assert_seen(&[], "ADDRESS_B=here\n", &["ADDRESS_B"], &[]);
        assert_seen(&[], "ADDRESS_B=elsewhere\n", &[], &["ADDRESS_B"]);
        assert_seen(&[], "ADDRESS_B=elsewhere\nKEY_B=k\n", &["ADDRESS_B", "KEY_B"], &[]);
        assert_seen(&[("KEY_B", "u")], "ADDRESS_B=here\n", &[], &["ADDRESS_B"]);
        assert_seen(&[("HOST_B", "u")], "ADDRESS_B=here\n", &[], &["ADDRESS_B"]);
    }

    #[test]
    fn unread_variables_get_no_warning_and_skills_get_theirs() {
        assert_seen(&[], "DATABASE_URL=d\nSKILL_TOKEN=t\nPROFILE_A=p\n", &[], &[]);
        assert_seen(
            &[],
            "SKILL_X=x\nNODE_PATH=n\nhttp_proxy=p\nPERSTACK_PROVIDER=o\n",
            &[],
            &["NODE_PATH", "PERSTACK_PROVIDER", "http_proxy"],
        );
    }

    #[test]
    fn a_folder_does_not_loosen_the_users_limits() {
        assert_seen(&[], "PERSTACK_MAX_STEPS=10\nPERSTACK_MODEL=m\n", &["PERSTACK_MAX_STEPS", "PERSTACK_MODEL"], &[]);
        assert_seen(
            &[],
            "PERSTACK_MAX_STEPS=11\nPERSTACK_MAX_TOKENS=5\n",
            &["PERSTACK_MAX_TOKENS"],
            &["PERSTACK_MAX_STEPS"],
        );
    }

    #[test]
    fn key_and_address_may_be_in_different_files_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), "ADDRESS_A=a\nPATH=p\n").unwrap();
        std::fs::write(folder.path().join(".env.local"), "KEY_A=k\nPATH=p\nHOME=h\n").unwrap();
        let mut all: Environment = pairs(&[("HOME", "/home")]).into_iter().collect();
        let (vendors, user) = (vendors(), Overrides::default());
        let rules =
            FolderFiles { vendors: &vendors, user: &user, is_named_by_skill: &|_| false, is_trusted_owner: &|_| true };
        let left_out = rules.add_to(&mut all, folder.path(), &defaults()).unwrap();
        assert_eq!((all.get("ADDRESS_A"), all.get("KEY_A"), all.get("PATH")), (Some("a"), Some("k"), None));
        let expected = [".env", ".env.local"].map(|file| LeftOut { file: file.into(), names: owned(&["PATH"]) });
        assert_eq!(left_out, expected);
    }
}
