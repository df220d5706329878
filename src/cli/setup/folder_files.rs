//! The files of the folder that decide what a job may do: environment files, configuration, lock. Reads the first, and
//! names those that tools stay out of.

use std::path::{Path, PathBuf};

use perstack::config::lockfile;
use perstack::config::{self, ConfigError, FolderFiles, LeftOut, Overrides, Project};
use perstack::environment::Environment;
use perstack::provider::vendor_variables;
use perstack::skill::base::OffLimits;

use crate::cli::Process;
use crate::cli::failure::Failure;
use crate::cli::options::PlaceArgs;
use crate::cli::owners::OwnerCheck;
use crate::cli::places::Places;

/// Adds the variables that these files of the folder may set.
pub fn add_folder_files(
    environment: &mut Environment,
    process: &Process,
    project: Option<&Project>,
    files: &[PathBuf],
    user: &Overrides,
    owners: &OwnerCheck,
) -> Result<Vec<LeftOut>, Failure> {
    let skills =
        || project.into_iter().flat_map(|project| project.experts.values()).flat_map(|expert| expert.skills.values());
    let is_named_by_skill = |name: &str| skills().any(|skill| skill.variables().contains(&name));
    let is_trusted_owner = |owner| owners.trusts(owner);
    let rules = FolderFiles {
        vendors: &vendor_variables(),
        user,
        is_named_by_skill: &is_named_by_skill,
        is_trusted_owner: &is_trusted_owner,
    };
    rules.add_to(environment, &process.folder, files).map_err(|error| match error {
        ConfigError::ForeignOwner { .. } => Failure::usage(error)
            .help("if it can be trusted, name it with --env-path, or use --trust or PERSTACK_TRUST=1"),
        other => Failure::usage(other),
    })
}

/// The environment files in the root: those that the configuration names, else the usual ones. Relative where the root is
/// the current folder.
pub fn folder_files(process: &Process, places: &Places, project: Option<&Project>) -> Vec<PathBuf> {
    let named = project.and_then(|project| project.env_path.clone());
    let files = named.unwrap_or_else(|| config::DEFAULT_ENV_FILES.iter().map(PathBuf::from).collect());
    if places.root == process.folder {
        return files;
    }
    files.into_iter().map(|file| places.root.join(file)).collect()
}

/// The files that decide what this job and the next may do, or hold its keys.
pub fn off_limits(
    process: &Process,
    place: &PlaceArgs,
    places: &Places,
    project: Option<&Project>,
    workspace: &Path,
) -> OffLimits {
    let here = |path: &Path| process.folder.join(path);
    let files = if place.env_path.is_empty() { folder_files(process, places, project) } else { place.env_path.clone() };
    // `.env` is also a usual name for a folder, which is not loaded.
    let (closed, mut noticed): (Vec<PathBuf>, Vec<PathBuf>) =
        files.iter().map(|file| here(file)).partition(|file| file.is_file());
    let mut read_only: Vec<PathBuf> = Vec::new();
    let mut include_folders: Vec<PathBuf> = Vec::new();
    if let Some(project) = project {
        read_only.extend([here(&project.path), here(&lockfile::find(&project.path))]);
        read_only.extend(project.included.iter().map(|file| here(file)));
        let folders = project.included.iter().filter_map(|file| file.parent());
        // Beside the configuration itself lie settings of all kinds.
        let folders = folders.filter(|folder| Some(*folder) != project.path.parent());
        include_folders.extend(folders.map(here));
    }
    // A run that starts in the workspace would find these before those in use.
    let own = [workspace, &places.root].map(|folder| folder.join(config::FILE_NAME));
    noticed.extend(own.iter().flat_map(|file| [file.clone(), lockfile::find(file)]));
    noticed.retain(|file| !file.exists());
    OffLimits { closed, read_only, noticed, include_folders, ..OffLimits::default() }
}
