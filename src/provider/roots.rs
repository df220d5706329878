//! Certificate authorities to trust besides the system's: a company's own, whose proxy opens every connection.

use std::path::{Path, PathBuf};

use reqwest::Certificate;

use crate::environment::Environment;

use super::transport::{TransportError, TransportErrorKind};

/// The usual variable (OpenSSL's). Where the system's own certificates are files, the system's store is replaced by this
/// file; elsewhere the file is added to it.
const VARIABLE: &str = "SSL_CERT_FILE";
/// Most bytes of the file; a system's whole store has some 300 kilobytes.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// A PEM file with certificates, if there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ExtraRoots(Option<PathBuf>);

impl ExtraRoots {
    /// What `SSL_CERT_FILE` names.
    pub(super) fn of_environment(environment: &Environment) -> Self {
        Self(environment.get(VARIABLE).map(PathBuf::from))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or holds no certificate: requests would fail for a reason that nobody sees.
    pub(super) fn load(&self) -> Result<Vec<Certificate>, TransportError> {
        let Some(path) = &self.0 else { return Ok(Vec::new()) };
        let pem = read(path).map_err(|reason| fault(path, &reason))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| fault(path, "it is no PEM file"))?;
        if certificates.is_empty() {
            return Err(fault(path, "it holds no certificate in PEM form"));
        }
        Ok(certificates)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !size.is_file() || size.len() > FILE_LIMIT {
        return Err(format!("it is no file of at most {FILE_LIMIT} bytes"));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

fn fault(path: &Path, reason: &str) -> TransportError {
    TransportError {
        kind: TransportErrorKind::Certificate,
        message: format!("{VARIABLE} names {}, which cannot be used: {reason}; correct or unset it", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(path: &Path) -> Result<usize, String> {
        ExtraRoots(Some(path.to_owned())).load().map(|certificates| certificates.len()).map_err(|error| error.message)
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = load(&folder.path().join("ca.pem")).unwrap_err();
        assert!(missing.starts_with("SSL_CERT_FILE names ") && missing.contains("ca.pem"), "{missing}");
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        assert!(load(&empty).unwrap_err().contains("holds no certificate"));
        assert!(load(folder.path()).unwrap_err().contains("it is no file"));
        assert_eq!(ExtraRoots::default().load().map(|certificates| certificates.len()), Ok(0));
    }
}
