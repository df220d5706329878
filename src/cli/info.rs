//! `perstack info`: where everything of a project is and what is in force, with the origin of each.
//!
//! Starts nothing and asks no model. As a run would, it looks for a local Ollama server where no provider is named and no
//! key is set.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use perstack::checkpoint::FORMAT_VERSION;
use perstack::config::lockfile;
use perstack::config::{Origin, Project};
use perstack::environment::Environment;
use perstack::expert::ModelTier;
use perstack::permission::Permissions;
use perstack::provider::http::transport::HttpTransport;
use perstack::provider::vendor::vendor;
use perstack::provider::{Provider, ProviderError, find};
use perstack::runtime::VERSION;
use perstack::sandbox::Sandbox;
use perstack::setting::ProviderName;
use perstack::skill::process::KernelAbility;
use perstack::store::Store;
use serde::Serialize;

use super::failure::Failure;
use super::job_runner::async_runtime;
use super::options::{ModelArgs, PlaceArgs};
use super::places::PlaceOrigin;
use super::render::json_for;
use super::setup::{ProjectNeed, Setup};
use super::{Exit, Process, trust};

mod fallbacks;
mod text;

use fallbacks::Fallbacks;
use text::lines;

/// Shows where everything is and what is in force: configuration, storage, provider, model, trust, sandbox
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// All that is shown. The names are those of the JSON form, which only grows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    configuration: Option<Configuration>,
    root: PathBuf,
    workspace: Place,
    storage: Storage,
    /// The files that variables were read from.
    environment_files: Vec<PathBuf>,
    lock: Option<PathBuf>,
    user_folder: Option<UserFolder>,
    provider: Chosen,
    model: Chosen,
    #[serde(skip_serializing_if = "Fallbacks::is_empty")]
    fallback: Fallbacks,
    parallel_delegates: ParallelDelegates,
    /// An address without what may be secret in it.
    proxy: Option<String>,
    trust: Trust,
    /// The tables of permissions in `perstack.toml` and the user's `config.toml`.
    permissions: PermissionInfo,
    sandbox: SandboxInfo,
    versions: Versions,
}

/// The permissions that the configuration has; those of the command line are a run's own.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PermissionInfo {
    /// Those of the user, for all runs.
    user: Permissions,
    /// Those for all experts.
    project: Permissions,
    /// Those of single experts, by key.
    experts: BTreeMap<String, Permissions>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    path: PathBuf,
    origin: PlaceOrigin,
    included: Vec<PathBuf>,
    experts: usize,
    /// Experts that cannot be used.
    mistaken: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    path: PathBuf,
    origin: PlaceOrigin,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Storage {
    /// The folder; of an object store, its working copy, with the jobs that were last seen there.
    path: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    origin: PlaceOrigin,
    jobs: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UserFolder {
    path: PathBuf,
    origin: PlaceOrigin,
    /// Those of its files that are there.
    files: Vec<&'static str>,
}

/// A provider or a model, and the reason for it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Chosen {
    name: Option<String>,
    /// The source that names it; `builtIn` where none does.
    origin: Origin,
    /// The variable that holds the provider's key, and whether it is the environment's or a file's.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    /// The reason why there is none, or why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    variable: &'static str,
    origin: &'static str,
}

/// The delegates that work at the same time.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ParallelDelegates {
    most: u64,
    origin: Origin,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Trust {
    /// `nothingToTrust`, `trusted` or `notTrusted`.
    state: &'static str,
    digest: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a means of its own that the system has or lacks")]
struct SandboxInfo {
    setting: Sandbox,
    origin: Origin,
    /// The files of commands are contained.
    contained: bool,
    /// The means that the system lacks to enforce the `allowedDomains` of commands and servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    lacking_for_lists: Option<&'static str>,
    /// The means that the system lacks for it.
    lacking: Option<&'static str>,
    landlock_abi: Option<u32>,
    seccomp: bool,
    user_namespaces: bool,
    /// The storage is read-only to contained programs, and to servers git's hooks, by mounts of their own.
    mounts: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    perstack: &'static str,
    /// The format of stored files.
    storage_format: u32,
    system: String,
}

/// The files of the user's folder.
const USER_FILES: [&str; 4] = ["config.toml", "models.toml", "logins", "trust"];

/// Runs the command.
pub fn run(args: &InfoArgs, process: &Process) -> Result<Exit, Failure> {
    let setup = Setup::read(process, &args.place, &ModelArgs::default(), ProjectNeed::IfFound)?;
    let info = collect(&setup, process, args.place.trust)?;
    let text = if args.json {
        let text = serde_json::to_string_pretty(&info).map_err(Failure::other)? + "\n";
        json_for(&text, io::stdout().is_terminal()).into_owned()
    } else {
        lines(&info)
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(Exit::Completed),
    }
}

fn collect(setup: &Setup, process: &Process, flag: bool) -> Result<Info, Failure> {
    let (provider, model) = chosen(setup)?;
    let trust = trust_state(setup, process, flag)?;
    let ability = KernelAbility::of_system();
    // Those that a run would have: what a folder loosens does not hold before it is trusted.
    let settings = if trust.state == "trusted" { setup.trusted_settings() } else { &setup.settings };
    let setting = settings.sandbox;
    let env_files = setup.env_files.iter().map(|file| process.folder.join(file)).filter(|file| file.is_file());
    let project = setup.project.as_ref();
    Ok(Info {
        configuration: project.map(|project| configuration(project, setup)),
        root: setup.places.root.clone(),
        workspace: Place { path: setup.workspace.clone(), origin: setup.workspace_origin },
        storage: Storage {
            path: setup.storage.clone(),
            address: setup.remote.as_ref().map(|remote| remote.address().to_string()),
            origin: setup.storage_origin,
            jobs: Store::new(&setup.storage).job_ids().map_or(0, |jobs| jobs.len()),
        },
        environment_files: env_files.collect(),
        lock: project.map(|project| lockfile::find(&project.path)).filter(|path| path.exists()),
        user_folder: setup.user_folder.as_ref().map(|folder| user_folder(folder, process)),
        provider,
        model,
        fallback: Fallbacks::new(settings, project),
        proxy: setup.proxy.as_ref().map(|proxy| without_user(proxy)),
        parallel_delegates: ParallelDelegates {
            most: settings.max_parallel_delegates,
            origin: settings.origins.max_parallel_delegates,
        },
        trust,
        permissions: permission_info(project, &setup.user_permissions),
        sandbox: SandboxInfo {
            setting,
            origin: settings.origins.sandbox,
            contained: setting != Sandbox::Off && KernelAbility::lacking().is_none(),
            lacking_for_lists: KernelAbility::lacking_for_lists(),
            lacking: KernelAbility::lacking(),
            landlock_abi: ability.landlock,
            seccomp: ability.seccomp,
            user_namespaces: KernelAbility::has_user_namespaces(),
            mounts: KernelAbility::lacking().is_none() && KernelAbility::has_mounts(),
        },
        versions: Versions {
            perstack: VERSION,
            storage_format: FORMAT_VERSION,
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        },
    })
}

fn permission_info(project: Option<&Project>, user: &Permissions) -> PermissionInfo {
    let experts = project.iter().flat_map(|project| project.experts.values());
    let own = experts.filter(|expert| !expert.permissions.is_empty());
    PermissionInfo {
        user: user.clone(),
        project: project.map(|project| project.permissions.clone()).unwrap_or_default(),
        experts: own.map(|expert| (expert.key.to_string(), expert.permissions.clone())).collect(),
    }
}

fn configuration(project: &Project, setup: &Setup) -> Configuration {
    Configuration {
        path: project.path.clone(),
        origin: setup.places.origin,
        included: project.included.clone(),
        experts: project.experts.len(),
        mistaken: project.mistakes.by_expert().into_keys().map(str::to_owned).collect(),
    }
}

fn user_folder(folder: &Path, process: &Process) -> UserFolder {
    let is_named = process.variable("PERSTACK_CONFIG_DIR").is_some();
    UserFolder {
        path: folder.to_owned(),
        origin: if is_named { PlaceOrigin::Environment } else { PlaceOrigin::BuiltIn },
        files: USER_FILES.into_iter().filter(|file| folder.join(file).exists()).collect(),
    }
}

fn trust_state(setup: &Setup, process: &Process, flag: bool) -> Result<Trust, Failure> {
    Ok(match trust::summary(setup, process, flag)? {
        None => Trust { state: "nothingToTrust", digest: None },
        Some(summary) => {
            Trust { state: if summary.is_trusted { "trusted" } else { "notTrusted" }, digest: summary.digest }
        }
    })
}

/// The provider and the model that a run would use.
fn chosen(setup: &Setup) -> Result<(Chosen, Chosen), Failure> {
    let (settings, environment) = (&setup.settings, &setup.environment);
    let setting = &settings.provider_setting;
    let mut model = Chosen { name: settings.model.clone(), origin: settings.origins.model, ..Chosen::default() };
    let mut provider = Chosen { origin: settings.origins.provider, ..Chosen::default() };
    let runtime = async_runtime()?;
    let found = HttpTransport::of_environment(setup.proxy.as_deref(), environment).and_then(|transport| {
        let name = runtime.block_on(find(settings.provider, setting, environment, &transport))?;
        Ok((name, Arc::new(transport)))
    });
    let (name, transport) = match found {
        Ok(found) => found,
        Err(error) => {
            provider.error = Some(in_a_line(error));
            return Ok((provider, model));
        }
    };
    provider.name = Some(name.as_str().to_owned());
    provider.key = key(name, environment);
    match Provider::connect(name, setting, environment, transport) {
        Ok(connected) if model.name.is_none() => {
            let connected = connected.with_catalogue(Arc::clone(&setup.catalogue));
            match connected.default_model(ModelTier::Middle) {
                Ok(default) => model.name = Some(default.to_owned()),
                Err(error) => model.error = Some(in_a_line(error)),
            }
        }
        Ok(_) => {}
        Err(error) => provider.error = Some(in_a_line(error)),
    }
    Ok((provider, model))
}

fn key(provider: ProviderName, environment: &Environment) -> Option<Key> {
    let variable = vendor(provider).key(environment)?.0.0;
    let origin = if environment.users(variable).is_some() { "environment" } else { "file" };
    Some(Key { variable, origin })
}

fn in_a_line(error: ProviderError) -> String {
    Failure::usage(error).line()
}

/// An address without name and password.
fn without_user(address: &str) -> String {
    match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{place}"),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_password_is_not_shown() {
        assert_eq!(without_user("http://me:secret@proxy:3128"), "http://proxy:3128");
        assert_eq!(without_user("http://proxy:3128"), "http://proxy:3128");
    }
}
