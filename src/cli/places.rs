//! [`Places`]: where a command finds its project: the configuration, the root, the workspace, the storage. Called by `setup`
//! and by the commands that need no more than one of them; the search itself is left to the library's `config`.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use perstack::config::{self, ConfigError, Discovered, Project};
use serde::Serialize;

use super::Process;
use super::failure::Failure;
use super::options::PlaceArgs;
use super::owners::OwnerCheck;
use super::storage::{OpenStorage, StoragePlace};

/// The folder in the root that holds `jobs/` (the original's).
const DEFAULT_STORAGE: &str = "perstack";

/// A command's need of a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectNeed {
    Required,
    /// A file that is named must be there; one that is only looked for need not.
    IfFound,
}

/// The configuration and the root of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The configuration file, if there is one; absolute.
    pub config: Option<PathBuf>,
    pub origin: PlaceOrigin,
    /// The folder that `.env`, storage and workspace lie in unless they are moved; absolute.
    pub root: PathBuf,
}

/// The origin of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PlaceOrigin {
    Flag,
    Environment,
    /// `perstack.toml`.
    File,
    /// Found by looking from the current folder upwards.
    Found,
    BuiltIn,
}

impl Places {
    /// Finds configuration and root. A file that is named moves nothing: the root is then the current folder.
    ///
    /// # Errors
    /// With the exit code for usage, when a file is needed and there is none.
    pub fn find(process: &Process, flag: Option<&Path>, need: ProjectNeed) -> Result<Self, Failure> {
        let variable = process.variable("PERSTACK_CONFIG").map(Path::new);
        let named = flag.map(|path| (path, PlaceOrigin::Flag));
        let named = named.or_else(|| variable.map(|path| (path, PlaceOrigin::Environment)));
        let here = process.folder.clone();
        if let Some((path, origin)) = named {
            // The original fetches such a file; here a configuration, which starts programs, comes from the user's disk alone.
            if path.to_str().is_some_and(|path| path.starts_with("https://") || path.starts_with("http://")) {
                let path = path.display();
                return Err(Failure::usage(anyhow!("{path} is an address, and the configuration is read from a file"))
                    .help("save it, read it, and name its path"));
            }
            return Ok(Self { config: Some(here.join(path)), origin, root: here });
        }
        match config::discover(&here, process.variable("HOME").map(Path::new)) {
            Ok(Discovered { path, root }) => Ok(Self { config: Some(path), origin: PlaceOrigin::Found, root }),
            Err(ConfigError::NotFound { .. }) if need == ProjectNeed::IfFound => {
                Ok(Self { config: None, origin: PlaceOrigin::BuiltIn, root: here })
            }
            Err(error @ ConfigError::NotFound { .. }) => Err(Failure::usage(error).help(
                "`perstack init` writes one; `perstack run --instruction \"You ...\" \"query\"` needs none; --config names \
                 another",
            )),
            Err(error) => Err(Failure::usage(error)),
        }
    }

    /// Returns true if the user named the configuration.
    pub fn is_named(&self) -> bool {
        matches!(self.origin, PlaceOrigin::Flag | PlaceOrigin::Environment)
    }

    /// The folder that experts work in, and its origin: named by the flag, else by the configuration, else the root.
    /// Absolute.
    ///
    /// # Errors
    /// With the exit code for usage, when it is no folder, or the configuration names one that is not beneath its own: a
    /// folder that was downloaded must not open others to its experts.
    pub fn workspace(
        &self,
        process: &Process,
        place: &PlaceArgs,
        project: Option<&Project>,
    ) -> Result<(PathBuf, PlaceOrigin), Failure> {
        if let Some(flag) = &place.workspace {
            let folder = real_folder(&process.folder.join(flag), &format!("--workspace {}", flag.display()))?;
            return Ok((folder, PlaceOrigin::Flag));
        }
        let named = project.and_then(|project| Some((project, project.workspace.as_ref()?)));
        let Some((project, named)) = named else { return Ok((self.root.clone(), self.root_origin())) };
        let subject = format!("{}: workspace = \"{}\"", project.path.display(), named.display());
        let own = real_folder(project.path.parent().unwrap_or(Path::new("/")), &subject)?;
        let folder = real_folder(&own.join(named), &subject)?;
        if !folder.starts_with(&own) {
            return Err(Failure::usage(anyhow!("{subject}: is not beneath the folder of the file"))
                .help("only you can choose another: name it with --workspace"));
        }
        Ok((folder, PlaceOrigin::File))
    }

    /// The place that jobs are stored in, and its origin: named by a flag, else by the environment, else the default folder
    /// in the root.
    ///
    /// # Errors
    /// With the exit code for usage, for an address that cannot be used, or when nothing names the folder and it is a link,
    /// which a downloaded folder may have brought along, or belongs to another user.
    pub fn storage(
        &self,
        process: &Process,
        flag: Option<&Path>,
        owners: &OwnerCheck,
    ) -> Result<(StoragePlace, PlaceOrigin), Failure> {
        let variable = process.variable("PERSTACK_STORAGE").or_else(|| process.variable("PERSTACK_STORAGE_PATH"));
        if let Some(flag) = flag {
            return Ok((StoragePlace::named(flag, process)?, PlaceOrigin::Flag));
        }
        if let Some(variable) = variable {
            return Ok((StoragePlace::named(Path::new(variable), process)?, PlaceOrigin::Environment));
        }
        let folder = self.root.join(DEFAULT_STORAGE);
        if folder.is_symlink() {
            let shown = folder.display();
            let word = if self.root == process.folder { DEFAULT_STORAGE.to_owned() } else { shown.to_string() };
            return Err(Failure::usage(anyhow!(
                "{shown} is a link, and jobs are stored through one only where you name it: --storage {word}, or \
                 PERSTACK_STORAGE={word}; or remove it"
            )));
        }
        owners.accept_path(&folder, "name it with --storage")?;
        Ok((StoragePlace::Folder(folder), self.root_origin()))
    }

    /// The origin of what lies in the root for want of a name.
    fn root_origin(&self) -> PlaceOrigin {
        match self.origin {
            PlaceOrigin::Found => PlaceOrigin::Found,
            // A configuration that is named moves nothing: its root is the current folder.
            _ => PlaceOrigin::BuiltIn,
        }
    }
}

/// The place of the storage, for commands that read no configuration.
///
/// # Errors
/// As [`Places::storage`].
pub fn storage_place(process: &Process, flag: Option<&Path>, owners: &OwnerCheck) -> Result<StoragePlace, Failure> {
    let mut places = Places::find(process, None, ProjectNeed::IfFound)?;
    // A file that another user has put above this folder makes no project of it.
    if places.config.as_ref().is_some_and(|path| !owners.trusts_path(path)) {
        places.root.clone_from(&process.folder);
    }
    Ok(places.storage(process, flag, owners)?.0)
}

/// The storage, for commands that read no configuration. That of an object store is not brought up yet.
///
/// # Errors
/// As [`storage_place`] and [`StoragePlace::open`].
pub fn open_storage(process: &Process, flag: Option<&Path>, owners: &OwnerCheck) -> Result<OpenStorage, Failure> {
    let place = storage_place(process, flag, owners)?;
    let environment = config::environment(process.variables.clone(), &process.folder, &[]).map_err(Failure::usage)?;
    place.open(process, &environment, environment.users("PERSTACK_PROXY_URL"))
}

/// The storage's folder, for commands that read the job `name`, or all, and no configuration.
///
/// # Errors
/// As [`open_storage`] and [`OpenStorage::fetch`].
pub fn storage_folder(
    process: &Process,
    flag: Option<&Path>,
    name: Option<&str>,
    owners: &OwnerCheck,
) -> Result<PathBuf, Failure> {
    let storage = open_storage(process, flag, owners)?;
    storage.fetch(name)?;
    Ok(storage.folder)
}

fn real_folder(path: &Path, subject: &str) -> Result<PathBuf, Failure> {
    match path.canonicalize() {
        Ok(folder) if folder.is_dir() => Ok(folder),
        Ok(_) => Err(Failure::usage(anyhow!("{subject}: is no folder"))),
        Err(error) => Err(Failure::usage(anyhow::Error::new(error).context(format!("{subject}: cannot be used")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(folder: &Path, pairs: &[(&str, &str)]) -> Process {
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Process { variables, folder: folder.to_owned(), color: clap::ColorChoice::Auto, log: None }
    }

    #[test]
    fn the_storage_comes_from_flags_then_variables_then_the_root() {
        let folder = Path::new("/nowhere/work");
        let places = Places { config: None, origin: PlaceOrigin::BuiltIn, root: "/nowhere".into() };
        let storage = |pairs: &[(&str, &str)], flag: Option<&str>| {
            let (folder, origin) = {
                let process = process(folder, pairs);
                places.storage(&process, flag.map(Path::new), &OwnerCheck::new(&process, false)).unwrap()
            };
            let StoragePlace::Folder(folder) = folder else { panic!("an address") };
            (folder.display().to_string(), origin)
        };
        let place = |folder: &str, origin| (folder.to_owned(), origin);
        let both = [("PERSTACK_STORAGE_PATH", "old"), ("PERSTACK_STORAGE", "/new")];
        assert_eq!(storage(&both, Some("flag")), place("/nowhere/work/flag", PlaceOrigin::Flag));
        assert_eq!(storage(&both, None), place("/new", PlaceOrigin::Environment));
        assert_eq!(storage(&both[..1], None), place("/nowhere/work/old", PlaceOrigin::Environment));
        assert_eq!(storage(&[("PERSTACK_STORAGE", "")], None), place("/nowhere/perstack", PlaceOrigin::BuiltIn));
    }

    #[test]
    fn a_file_that_is_named_moves_nothing() {
        let top = tempfile::tempdir().unwrap();
        let (root, below) = (top.path().canonicalize().unwrap(), top.path().canonicalize().unwrap().join("below"));
        std::fs::create_dir(&below).unwrap();
        std::fs::write(root.join("perstack.toml"), "").unwrap();
        let find = |pairs: &[(&str, &str)], flag: Option<&str>| {
            Places::find(&process(&below, pairs), flag.map(Path::new), ProjectNeed::IfFound).unwrap()
        };
        let config = Some(root.join("perstack.toml"));
        let expected = Places { config, origin: PlaceOrigin::Found, root: root.clone() };
        assert_eq!(find(&[], None), expected);
        let config = Some(below.join("../perstack.toml"));
        let expected = Places { config: config.clone(), origin: PlaceOrigin::Flag, root: below.clone() };
        assert_eq!(find(&[], Some("../perstack.toml")), expected);
        let expected = Places { config, origin: PlaceOrigin::Environment, root: below.clone() };
        assert_eq!(find(&[("PERSTACK_CONFIG", "../perstack.toml")], None), expected);
        let process = process(&below, &[]);
        let storage = expected.storage(&process, None, &OwnerCheck::new(&process, false)).unwrap();
        assert_eq!(storage, (StoragePlace::Folder(below.join(DEFAULT_STORAGE)), PlaceOrigin::BuiltIn));
        let workspace = expected.workspace(&process, &PlaceArgs::default(), None).unwrap();
        assert_eq!(workspace, (below, PlaceOrigin::BuiltIn));
    }
}
