//! [`TrustRecord`]: the agreements that a person has given for one folder, a file each in the user's configuration folder.
//!
//! Read and written by the command line, which holds the record's lock while it asks, so that several runs at once ask
//! once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{DangerousParts, TrustPart, hex_digest};

/// The version of the file's form.
const FORMAT_VERSION: u32 = 1;

/// Agreements kept for one folder: a configuration that goes back and forth (branches) is not asked about each time.
const MAX_AGREEMENTS: usize = 20;

/// Most bytes of a record.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// An agreement to the dangerous parts of one configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agreement {
    /// The configuration's name in the folder.
    pub config: String,
    pub digest: String,
    pub parts: Vec<TrustPart>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contents {
    format_version: u32,
    folder: String,
    agreements: Vec<Agreement>,
}

/// The record of one folder, locked against other runs.
pub struct TrustRecord {
    path: PathBuf,
    folder: String,
    agreements: Vec<Agreement>,
    /// Holds the lock until it is dropped.
    _lock: File,
}

impl TrustRecord {
    /// Opens the record of `folder` (a real path) in `records`, and waits while another run asks about the same folder;
    /// `on_wait` is called before the wait.
    ///
    /// # Errors
    /// When `records` cannot be made or its files opened. A record that cannot be read counts as empty: the person is
    /// asked again.
    pub fn open(records: &Path, folder: &Path, on_wait: &dyn Fn()) -> io::Result<Self> {
        make_private_folder(records)?;
        let (path, lock) = paths(records, folder);
        let lock = private_file(&lock, OpenOptions::new().create(true).truncate(false).write(true))?;
        if lock.try_lock().is_err() {
            on_wait();
            lock.lock()?;
        }
        let agreements = read(&path, folder);
        Ok(Self { path, folder: folder.to_string_lossy().into_owned(), agreements, _lock: lock })
    }

    /// Returns true if `records` has an agreement to `digest` for `folder`. Makes no file and waits for no lock.
    pub fn has_agreement(records: &Path, folder: &Path, digest: &str) -> bool {
        read(&paths(records, folder).0, folder).iter().any(|agreement| agreement.digest == digest)
    }

    /// The latest agreement for the configuration of this name.
    pub fn latest(&self, config: &str) -> Option<&Agreement> {
        self.agreements.iter().rev().find(|agreement| agreement.config == config)
    }

    /// Returns true if there is an agreement to `digest`.
    pub fn has(&self, digest: &str) -> bool {
        self.agreements.iter().any(|agreement| agreement.digest == digest)
    }

    /// Adds an agreement and writes the record.
    ///
    /// # Errors
    /// When it cannot be written, or the parts have no digest.
    pub fn agree(&mut self, config: &str, parts: &DangerousParts) -> io::Result<()> {
        let Some(digest) = parts.digest() else {
            let problem = parts.unread().map_or_else(String::new, |part| format!("the folder {}", part.text));
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
        };
        self.agreements.retain(|agreement| agreement.digest != digest);
        self.agreements.push(Agreement { config: config.to_owned(), digest, parts: parts.parts().to_vec() });
        let excess = self.agreements.len().saturating_sub(MAX_AGREEMENTS);
        self.agreements.drain(..excess);
        let contents = Contents {
            format_version: FORMAT_VERSION,
            folder: self.folder.clone(),
            agreements: self.agreements.clone(),
        };
        let temporary = self.path.with_extension("new");
        let mut file = private_file(&temporary, OpenOptions::new().create(true).truncate(true).write(true))?;
        file.write_all(&serde_json::to_vec_pretty(&contents)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)
    }

    /// Removes all agreements; returns true if there were any.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn revoke(self) -> io::Result<bool> {
        match fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The files of a folder's record and lock. The folder's path is digested: it may be longer than a file's name.
fn paths(records: &Path, folder: &Path) -> (PathBuf, PathBuf) {
    let name = hex_digest(folder.as_os_str().as_encoded_bytes());
    (records.join(format!("{name}.json")), records.join(format!("{name}.lock")))
}

fn read(path: &Path, folder: &Path) -> Vec<Agreement> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    let contents = read.ok().and_then(|_| serde_json::from_slice::<Contents>(&bytes).ok());
    let is_ours =
        |contents: &Contents| contents.format_version == FORMAT_VERSION && contents.folder == folder.to_string_lossy();
    contents.filter(is_ours).map(|contents| contents.agreements).unwrap_or_default()
}

pub(super) fn make_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

pub(super) fn private_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::super::PartKind;
    use super::*;

    fn parts(text: &str) -> DangerousParts {
        DangerousParts::new(vec![TrustPart {
            kind: PartKind::Command,
            text: text.to_owned(),
            digest: hex_digest(text.as_bytes()),
            experts: Vec::new(),
            refusal: None,
            is_unread: false,
        }])
    }

    #[test]
    fn an_agreement_is_kept_for_its_folder_and_digest() {
        let home = tempfile::tempdir().unwrap();
        let records = home.path().join("config/trust");
        let folder = Path::new("/work/owls");
        let mut record = TrustRecord::open(&records, folder, &|| {}).unwrap();
        record.agree("perstack.toml", &parts("starts a")).unwrap();
        record.agree("perstack.toml", &parts("starts b")).unwrap();
        drop(record);
        let has = |folder: &str, text: &str| {
            TrustRecord::has_agreement(&records, Path::new(folder), &parts(text).digest().unwrap())
        };
        assert!(has("/work/owls", "starts a") && has("/work/owls", "starts b"));
        assert!(!has("/work/owls", "starts c") && !has("/work", "starts a"));
        let record = TrustRecord::open(&records, folder, &|| {}).unwrap();
        assert_eq!(record.latest("perstack.toml").map(|last| last.parts[0].text.as_str()), Some("starts b"));
        assert_eq!(record.latest("other.toml"), None);
        assert!(record.revoke().unwrap());
        assert!(!has("/work/owls", "starts a"));
    }

    #[cfg(unix)]
    #[test]
    fn the_record_is_the_users_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let records = home.path().join("trust");
        TrustRecord::open(&records, Path::new("/w"), &|| {}).unwrap().agree("p", &parts("x")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&records), 0o700);
        assert!(fs::read_dir(&records).unwrap().all(|entry| mode(&entry.unwrap().path()) == 0o600));
    }
}
