//! The folder of the user's own defaults, and the models that one of its files adds to the catalogue. A project's setup, `models`
//! and completion ask for them.

use std::path::PathBuf;
use std::sync::Arc;

use perstack::config;
use perstack::model::Catalogue;
use perstack::provider::catalog;

use super::Process;
use super::failure::Failure;

/// The models that come with the program, and those of the user's own `models.toml`.
///
/// # Errors
/// With the exit code for usage, when that file is not right.
pub fn catalogue(process: &Process) -> Result<Arc<Catalogue>, Failure> {
    let users = match models_file(process) {
        Some(file) => config::user_models(&file).map_err(Failure::usage)?,
        None => None,
    };
    Ok(match users {
        Some(users) => Arc::new(Catalogue::clone(&catalog::built_in()).with(users)),
        None => catalog::built_in(),
    })
}

/// The path of the user's own models.
pub fn models_file(process: &Process) -> Option<PathBuf> {
    Some(user_folder(process)?.join("models.toml"))
}

/// The folder of the user's cache that is this program's. `variable` reads the environment.
pub fn cache_folder<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Option<PathBuf> {
    let named = |name: &str| variable(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    Some(cache?.join("perstack"))
}

/// The folder of the user's own defaults: the platform's for configuration.
pub fn user_folder(process: &Process) -> Option<PathBuf> {
    match process.variable("PERSTACK_CONFIG_DIR") {
        Some(folder) => Some(process.folder.join(folder)),
        None => Some(directories::ProjectDirs::from("", "", "perstack")?.config_dir().to_owned()),
    }
}
