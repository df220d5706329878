//! A person's login, kept in a file of its own that only its owner may read, and that is whole at any time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use rmcp::transport::auth::StoredCredentials;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The version of the files' shape.
const FORMAT: u32 = 1;

/// Most bytes of a file that is read; tokens have a few thousand.
const MAX_FILE: u64 = 1 << 20;

/// Most characters of a host's name in a file's name.
const MAX_HOST: usize = 80;

/// How long to wait for another process that renews the same login: longer than its requests may take.
const LOCK_TIMEOUT: Duration = Duration::from_secs(45);

/// How often to look whether it is done.
const LOCK_GLANCE: Duration = Duration::from_millis(50);

/// A login as it is stored.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredLogin {
    pub format_version: u32,
    /// The server that the login is for.
    pub endpoint: String,
    /// Of a client that was registered for this login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    pub redirect_uri: String,
    /// The tokens, as the library keeps them.
    pub credentials: StoredCredentials,
}

impl StoredLogin {
    pub(super) fn new(
        endpoint: &Url,
        client_secret: Option<String>,
        redirect_uri: String,
        credentials: StoredCredentials,
    ) -> Self {
        Self {
            format_version: FORMAT,
            endpoint: endpoint.as_str().to_owned(),
            client_secret,
            redirect_uri,
            credentials,
        }
    }

    /// The token to send.
    pub(super) fn token(&self) -> Option<String> {
        named(&self.credentials.token_response, "access_token")
    }

    /// The values that must be shown nowhere.
    pub(super) fn secrets(&self) -> Vec<String> {
        let tokens = ["refresh_token", "id_token"].map(|name| named(&self.credentials.token_response, name));
        [self.token()].into_iter().chain(tokens).chain([self.client_secret.clone()]).flatten().collect()
    }
}

/// A text of an authorization server's answer. (The library shows its fields by traits of a crate below it.)
pub(super) fn named(answer: &impl Serialize, name: &str) -> Option<String> {
    serde_json::to_value(answer).ok()?.get(name)?.as_str().map(str::to_owned)
}

/// The file of a login.
#[derive(Debug, Clone)]
pub(super) struct LoginFile {
    path: PathBuf,
    endpoint: String,
}

impl LoginFile {
    /// The file in `folder` for `endpoint`, as that client, where there is one from the configuration.
    pub(super) fn new(folder: &Path, endpoint: &Url, client_id: Option<&str>) -> Self {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        let host = endpoint.host_str().unwrap_or_default();
        let host: String = host.chars().take(MAX_HOST).map(|c| if is_plain(c) { c } else { '_' }).collect();
        let digest = Sha256::digest(format!("{endpoint}\n{}", client_id.unwrap_or_default()));
        let digest = digest.as_slice().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Self { path: folder.join(format!("{host}-{digest:016x}.json")), endpoint: endpoint.as_str().to_owned() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The login, if there is one.
    ///
    /// # Errors
    /// A file that cannot be read, or is none of this version's.
    pub(super) fn read(&self) -> io::Result<Option<StoredLogin>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut text)?;
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        // Where a text does not fit, the reader's error could quote it.
        let kept: StoredLogin = serde_json::from_slice(&text)
            .map_err(|error| wrong(format!("line {}, column {}: no login", error.line(), error.column())))?;
        if kept.format_version > FORMAT {
            return Err(wrong(format!("its format {} is newer than this program", kept.format_version)));
        }
        if kept.endpoint != self.endpoint {
            return Err(wrong("it is the login for another address".to_owned()));
        }
        Ok(Some(kept))
    }

    /// Keeps the login in the place of what was there. To be called with the [lock](LoginFile::lock) held.
    ///
    /// # Errors
    /// The file then is as it was.
    pub(super) fn write(&self, kept: &StoredLogin) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(kept)?;
        text.push(b'\n');
        let temporary = self.beside("tmp");
        // What a crash left behind: whoever holds the lock is the only one who writes.
        remove(&temporary)?;
        let written = private(OpenOptions::new().write(true).create_new(true)).open(&temporary).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_data()?;
            fs::rename(&temporary, &self.path)
        });
        if written.is_err() {
            // Only tidiness.
            let _ = fs::remove_file(&temporary);
        }
        written.and_then(|()| self.path.parent().map_or(Ok(()), sync_folder))
    }

    /// Forgets the login. Tells whether there was one.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(super) fn remove(&self) -> io::Result<bool> {
        remove(&self.path)
    }

    /// Keeps other processes from renewing the login until the result is dropped.
    ///
    /// # Errors
    /// The lock's file cannot be made, or another process does not let go.
    pub(super) async fn lock(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            private_folder(folder)?;
        }
        let file = private(OpenOptions::new().write(true).create(true).truncate(false)).open(self.beside("lock"))?;
        let waiting = async {
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(()),
                    Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_GLANCE).await,
                    Err(fs::TryLockError::Error(error)) => return Err(error),
                }
            }
        };
        let held_up = || Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds it"));
        tokio::time::timeout(LOCK_TIMEOUT, waiting).await.unwrap_or_else(|_| held_up())?;
        Ok(file)
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.path.with_extension(ending)
    }
}

fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600)
}

/// Elsewhere the folder of a user's configuration is the user's own.
#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Only Unix lets a program open a folder to sync it.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(endpoint: &Url, token: &str) -> StoredLogin {
        let credentials = serde_json::from_value(serde_json::json!({
            "client_id": "c",
            "token_response": {"access_token": token, "token_type": "bearer", "refresh_token": "refresh-1"},
        }));
        let secret = Some("client-secret".to_owned());
        StoredLogin::new(endpoint, secret, "http://127.0.0.1:1/callback".to_owned(), credentials.unwrap())
    }

    #[tokio::test]
    async fn a_login_is_its_owners_alone_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Url::parse("https://mcp.example.com/mcp").unwrap();
        let file = LoginFile::new(&folder.path().join("config/logins"), &endpoint, None);
        assert!(file.read().unwrap().is_none() && !file.remove().unwrap());
        let lock = file.lock().await.unwrap();
        file.write(&kept(&endpoint, "token-1")).unwrap();
        fs::write(file.beside("tmp"), "{").unwrap();
        file.write(&kept(&endpoint, "token-2")).unwrap();
        drop(lock);
        assert_eq!(file.read().unwrap().unwrap().secrets(), ["token-2", "refresh-1", "client-secret"]);
        assert!(!file.beside("tmp").exists());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(file.path()), mode(file.path().parent().unwrap())), (0o600, 0o700));
        }
        assert!(file.remove().unwrap() && file.read().unwrap().is_none());
    }

    #[tokio::test]
    async fn logins_differ_by_address_and_client_and_are_not_mixed_up() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] =
            ["https://mcp.example.com/a", "https://mcp.example.com/b"].map(|url| Url::parse(url).unwrap());
        let file = |url: &Url, client| LoginFile::new(folder.path(), url, client);
        assert_ne!(file(&one, None).path(), file(&other, None).path());
        assert_ne!(file(&one, None).path(), file(&one, Some("c")).path());
        let _lock = file(&one, None).lock().await.unwrap();
        file(&one, None).write(&kept(&one, "token-1")).unwrap();
        fs::copy(file(&one, None).path(), file(&other, None).path()).unwrap();
        let error = file(&other, None).read().err().unwrap().to_string();
        assert_eq!(error, "it is the login for another address");
        fs::write(file(&other, None).path(), "{\"formatVersion\": \"hunter2\"").unwrap();
        assert_eq!(file(&other, None).read().err().unwrap().to_string(), "line 1, column 27: no login");
    }
}
