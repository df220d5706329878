//! The variables a run may use: the process's, then those of environment files.

use std::path::{Path, PathBuf};

use super::bounded::read_text;
use super::dotenv::parse;
use super::error::ConfigError;
use crate::environment::Environment;

/// The files that are read when nobody names others (the original's).
pub const DEFAULT_ENV_FILES: [&str; 2] = [".env", ".env.local"];

/// Variables that a file cannot set: a project that one merely downloaded must not divert model requests, nor say whose
/// certificates are trusted on the way.
const PROCESS_ONLY: [&str; 2] = ["PERSTACK_PROXY_URL", "SSL_CERT_FILE"];

/// Merges variables: `process` > first file > later files; empty values of the process count as not set. Relative
/// `files` are below `folder`; missing ones are skipped, so are folders (`.env` is a usual name for one) and
/// `/dev/null`. Within a file the last of several values counts. Errors name file and line, never a value.
pub fn environment(
    process: impl IntoIterator<Item = (String, String)>,
    folder: &Path,
    files: &[PathBuf],
) -> Result<Environment, ConfigError> {
    let mut environment: Environment = process.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    for file in files {
        let path = folder.join(file);
        if path.is_dir() || path == Path::new("/dev/null") {
            continue;
        }
        let Some(text) = read_text(&path)? else { continue };
        let pairs =
            parse(&text).map_err(|fault| ConfigError::EnvFile { path, line: fault.line, reason: fault.reason })?;
        let file: Environment = pairs.into_iter().collect();
        for (name, value) in file.iter().filter(|(name, _)| !PROCESS_ONLY.contains(name)) {
            environment.set_if_absent(name, value);
        }
    }
    Ok(environment)
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
    fn proxy_and_certificates_are_the_process_s_business() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), "PERSTACK_PROXY_URL=http://elsewhere\nSSL_CERT_FILE=ca.pem\n")
            .unwrap();
        let merged = environment([], folder.path(), &defaults()).unwrap();
        assert_eq!(merged.iter().count(), 0);
    }

    #[test]
    fn a_malformed_line_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        std::fs::write(&path, "A=1\nsk-secret-key\n").unwrap();
        let error = environment([], folder.path(), &defaults()).unwrap_err();
        assert_eq!(error.to_string(), format!("{}:2: expected NAME=value", path.display()));
    }
}
