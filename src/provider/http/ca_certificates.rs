//! [`ExtraRoots`]: certificate authorities to trust besides the system's, e.g. that of a company's proxy.
//!
//! Loaded by the transport before its first TLS connection.

use std::path::{Path, PathBuf};

use reqwest::Certificate;

use crate::environment::Environment;

use crate::provider::http::error::{TransportError, TransportErrorKind};

/// The usual variable (OpenSSL's). Where the system's own certificates are files, the system's store is replaced by
/// this file; elsewhere the file is added to it.
const VARIABLE: &str = "SSL_CERT_FILE";
/// Most bytes of the file; a system's whole store has some 300 kilobytes.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// A PEM file with certificates, if there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtraRoots(Option<PathBuf>);

impl ExtraRoots {
    /// The file that `SSL_CERT_FILE` names, if it is set.
    pub fn of_environment(environment: &Environment) -> Self {
        Self(environment.get(VARIABLE).map(PathBuf::from))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or holds no certificate: requests would fail without showing that reason.
    pub fn load(&self) -> Result<Vec<Certificate>, TransportError> {
        let Some(path) = &self.0 else { return Ok(Vec::new()) };
        let pem = read(path).map_err(|reason| fault(path, &reason))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| fault(path, "it is not a PEM file"))?;
        if certificates.is_empty() {
            return Err(fault(path, "it holds no certificate in PEM form"));
        }
        Ok(certificates)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !size.is_file() || size.len() > FILE_LIMIT {
        return Err(format!("it is not a file of at most {FILE_LIMIT} bytes"));
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
    use std::io::{Read as _, Write as _};
    use std::sync::Arc;

    use super::*;
    use crate::provider::http::transport::{HttpRequest, HttpTransport, Transport as _};
    use crate::provider::testing::environment;

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
        assert!(load(folder.path()).unwrap_err().contains("it is not a file"));
        assert_eq!(ExtraRoots::default().load().map(|certificates| certificates.len()), Ok(0));
    }

    /// A server on this machine with the throwaway certificate, which serves one connection; its port.
    fn server() -> u16 {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        const KEY: &[u8] = include_bytes!("../../../tests/data/auth/throwaway_key.pem");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::from_pem_slice(KEY).unwrap())
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            // A client that does not trust the certificate hangs up here.
            if tls.read(&mut [0; 1024]).is_ok() {
                tls.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                tls.conn.send_close_notify();
                tls.flush().unwrap();
            }
        });
        port
    }

    const CERTIFICATE: &[u8] = include_bytes!("../../../tests/data/auth/throwaway_certificate.pem");

    async fn ask(environment: &Environment) -> Result<u16, TransportError> {
        let url = format!("https://127.0.0.1:{}/", server());
        let transport = HttpTransport::of_environment(None, environment).unwrap();
        let request = HttpRequest { url, headers: Vec::new(), body: Vec::new().into() };
        transport.send(request).await.map(|response| response.status)
    }

    #[tokio::test]
    async fn a_certificate_of_ones_own_is_trusted_when_it_is_named_and_only_then() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/auth/throwaway_certificate.pem");
        assert_eq!(ask(&environment(&[("SSL_CERT_FILE", path)])).await, Ok(204));
        let error = ask(&Environment::default()).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Certificate);
        assert!(error.message.starts_with("no secure connection to 127.0.0.1:"), "{}", error.message);
        assert!(error.message.contains("invalid peer certificate: UnknownIssuer; if a proxy"), "{}", error.message);
        let missing = ask(&environment(&[("SSL_CERT_FILE", "/no/such/file")])).await.unwrap_err();
        assert!(missing.message.starts_with("SSL_CERT_FILE names /no/such/file"), "{}", missing.message);
    }
}
