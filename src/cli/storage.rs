//! [`StoragePlace`]: where jobs are stored, a folder or an object store, and the way to open either. Called by `setup` and by
//! the commands that read no configuration.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use perstack::environment::Environment;
use perstack::runtime::RunError;
use perstack::store::remote::{RemoteAddress, RemoteStorage};

use super::Process;
use super::failure::Failure;

/// The place of a storage, as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoragePlace {
    /// Absolute.
    Folder(PathBuf),
    Remote(RemoteAddress),
}

/// A storage that can be read and written.
#[derive(Debug, Clone)]
pub struct OpenStorage {
    /// The folder; of an object store, its working copy.
    pub folder: PathBuf,
    pub remote: Option<RemoteStorage>,
}

impl StoragePlace {
    /// The place that `text` names, relative to the current folder.
    ///
    /// # Errors
    /// With the exit code for usage, for an address that cannot be used.
    pub fn named(text: &Path, process: &Process) -> Result<Self, Failure> {
        match text.to_str().filter(|text| RemoteAddress::is_meant(text)) {
            Some(text) => text.parse().map(Self::Remote).map_err(Failure::usage),
            None => Ok(Self::Folder(process.folder.join(text))),
        }
    }

    /// The folder, for a command that only a folder can serve.
    ///
    /// # Errors
    /// With the exit code for usage, for an object store.
    pub fn only_folder(self, what: &str) -> Result<PathBuf, Failure> {
        match self {
            Self::Folder(folder) => Ok(folder),
            Self::Remote(address) => Err(not_remote(what, &address)),
        }
    }

    /// Opens it. Nothing is asked of an object store yet.
    ///
    /// # Errors
    /// The variables for the object store cannot be used, or this build has no object stores.
    pub fn open(
        self,
        process: &Process,
        environment: &Environment,
        proxy: Option<&str>,
    ) -> Result<OpenStorage, Failure> {
        match self {
            Self::Folder(folder) => Ok(OpenStorage { folder, remote: None }),
            Self::Remote(address) => {
                let remote = remote::open(&address, process, environment, proxy)?;
                Ok(OpenStorage { folder: remote.folder().to_owned(), remote: Some(remote) })
            }
        }
    }
}

impl OpenStorage {
    /// Brings the working copy up for a command that reads what `name` names, or all jobs.
    ///
    /// # Errors
    /// The object store cannot be asked, or what it has is damaged.
    pub fn fetch(&self, name: Option<&str>) -> Result<(), Failure> {
        let fetched = self.remote.as_ref().map_or(Ok(()), |remote| remote.fetch(name));
        fetched.map_err(|error| Failure::from(RunError::from(error)))
    }
}

/// The refusal of something that only a folder can serve.
pub fn not_remote(what: &str, address: &RemoteAddress) -> Failure {
    Failure::usage(anyhow!("{what} is not possible with {address}")).help("use a folder as storage for it (--storage)")
}

#[cfg(feature = "s3")]
mod remote {
    use std::sync::Arc;
    use std::time::Duration;

    use anyhow::anyhow;
    use perstack::budget::Span;
    use perstack::environment::Environment;
    use perstack::fact::Clock as _;
    use perstack::hex;
    use perstack::runtime::object_store::connect;
    use perstack::runtime::{RunError, SystemClock};
    use perstack::store::remote::{LEASE, RemoteAddress, RemoteOptions, RemoteStorage};
    use sha2::{Digest as _, Sha256};

    use crate::cli::Process;
    use crate::cli::failure::Failure;
    use crate::cli::user_folder::cache_folder;
    use crate::cli::warning::warn;

    /// The shortest lease: an owner renews three times in it.
    const SHORTEST: Duration = Duration::from_secs(3);
    /// The folder in the user's cache that working copies are in.
    const COPIES: &str = "stores";

    pub fn open(
        address: &RemoteAddress,
        process: &Process,
        environment: &Environment,
        proxy: Option<&str>,
    ) -> Result<RemoteStorage, Failure> {
        let failed = |error| Failure::from(RunError::from(error));
        let bucket = connect(address, environment, proxy).map_err(failed)?;
        let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().find_map(|name| environment.users(name));
        // The same address at another service is another storage.
        let name = hex::digits(&Sha256::digest(format!("{address} {}", endpoint.unwrap_or_default())));
        let cache = cache_folder(|name| environment.users(name)).ok_or_else(|| {
            Failure::usage(anyhow!("there is no cache folder for the working copy of {address}"))
                .help("set HOME or XDG_CACHE_HOME")
        })?;
        let (process, stamp) = (process.clone(), SystemClock.stamp());
        let options = RemoteOptions {
            folder: cache.join(COPIES).join(name.get(..16).unwrap_or_default()),
            lease: lease(environment)?,
            worker: format!("process {} on {}", std::process::id(), host()),
            nonce: format!("{}-{:x}-{}", stamp.at, stamp.seed, std::process::id()),
            takes_over: environment.users("PERSTACK_TAKE_OVER") == Some("1"),
            notice: Arc::new(move |notice: &str| warn(&process, false, notice)),
        };
        RemoteStorage::new(address.clone(), bucket, options).map_err(failed)
    }

    /// The time for which a silent process keeps its job: what is given, or the default.
    fn lease(environment: &Environment) -> Result<Duration, Failure> {
        let Some(text) = environment.users("PERSTACK_LEASE") else { return Ok(LEASE) };
        let wrong = || {
            Failure::usage(anyhow!("PERSTACK_LEASE: {text} is no time of at least {SHORTEST:?}"))
                .help("for example 30s")
        };
        let given: Span = text.parse().map_err(|_| wrong())?;
        let lease = Duration::from_millis(given.ms());
        if lease < SHORTEST { Err(wrong()) } else { Ok(lease) }
    }

    #[cfg(unix)]
    fn host() -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    #[cfg(not(unix))]
    fn host() -> String {
        "another machine".to_owned()
    }
}

#[cfg(not(feature = "s3"))]
mod remote {
    use anyhow::anyhow;
    use perstack::environment::Environment;
    use perstack::store::remote::{RemoteAddress, RemoteStorage};

    use crate::cli::Process;
    use crate::cli::failure::Failure;

    pub fn open(
        address: &RemoteAddress,
        _process: &Process,
        _environment: &Environment,
        _proxy: Option<&str>,
    ) -> Result<RemoteStorage, Failure> {
        Err(Failure::usage(anyhow!("{address}: this build has no object stores"))
            .help("build it with the feature s3, or use a folder"))
    }
}
