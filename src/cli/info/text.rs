//! The text of `perstack info`: a line for each thing.

use std::fmt::Write as _;
use std::path::PathBuf;

use perstack::config::Origin;
use perstack::permission::Permissions;
use perstack::sandbox::Sandbox;

use super::{Chosen, Configuration, Info, Key, ParallelDelegates, PermissionInfo, SandboxInfo, Trust, UserFolder};
use crate::cli::places::PlaceOrigin;
use crate::cli::render::visible;

/// Columns of the names.
const NAMES: usize = 14;

/// The form for people: a line for each thing.
pub(super) fn lines(info: &Info) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:NAMES$}  {}", visible(&value));
    };
    line(
        "perstack",
        format!(
            "{}, {}, storage format {}",
            info.versions.perstack, info.versions.system, info.versions.storage_format
        ),
    );
    line(
        "configuration",
        info.configuration.as_ref().map_or_else(|| "none: `perstack init` writes one".to_owned(), configuration_text),
    );
    line("root", info.root.display().to_string());
    line("workspace", format!("{}{}", info.workspace.path.display(), because(info.workspace.origin, "--workspace")));
    let jobs = if info.storage.jobs == 1 { "1 job".to_owned() } else { format!("{} jobs", info.storage.jobs) };
    let place = match &info.storage.address {
        Some(address) => format!("{address}, copied to {}", info.storage.path.display()),
        None => info.storage.path.display().to_string(),
    };
    line("storage", format!("{place}: {jobs}{}", because(info.storage.origin, "--storage")));
    line("variables", listed(&info.environment_files, "from the environment alone"));
    line("lock", info.lock.as_ref().map_or_else(|| "none".to_owned(), |lock| lock.display().to_string()));
    line("user folder", info.user_folder.as_ref().map_or_else(|| "none".to_owned(), user_folder_text));
    line("provider", provider_text(&info.provider));
    line("model", model_text(&info.model));
    if !info.fallback.is_empty() {
        line("fallback", info.fallback.text());
    }
    line("delegates", delegates_text(&info.parallel_delegates));
    if let Some(proxy) = &info.proxy {
        line("proxy", proxy.clone());
    }
    line("trust", trust_text(&info.trust));
    line("permissions", permission_text(&info.permissions));
    line("sandbox", sandbox_text(&info.sandbox));
    text
}

fn configuration_text(configuration: &Configuration) -> String {
    let Configuration { path, origin, included, experts, mistaken } = configuration;
    let experts = if *experts == 1 { "1 expert".to_owned() } else { format!("{experts} experts") };
    let files = if included.is_empty() { String::new() } else { format!(" in {} files", included.len() + 1) };
    let mistaken = match mistaken.as_slice() {
        [] => String::new(),
        names => format!("; mistakes in {}", names.join(", ")),
    };
    format!("{}: {experts}{files}{mistaken}{}", path.display(), because(*origin, "--config"))
}

/// The origin of a place, where it is not the usual one.
fn because(origin: PlaceOrigin, flag: &str) -> String {
    match origin {
        PlaceOrigin::Flag => format!(" (by {flag})"),
        PlaceOrigin::Environment => " (by the environment)".to_owned(),
        PlaceOrigin::File => " (by perstack.toml)".to_owned(),
        PlaceOrigin::Found | PlaceOrigin::BuiltIn => String::new(),
    }
}

fn listed(files: &[PathBuf], otherwise: &str) -> String {
    match files {
        [] => otherwise.to_owned(),
        files => files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
    }
}

fn user_folder_text(folder: &UserFolder) -> String {
    let files = if folder.files.is_empty() { "nothing there".to_owned() } else { folder.files.join(", ") };
    format!("{}: {files}{}", folder.path.display(), because(folder.origin, ""))
}

fn provider_text(provider: &Chosen) -> String {
    let error = || provider.error.clone().unwrap_or_default();
    let Some(name) = &provider.name else { return format!("none: {}", error()) };
    let origin = match (provider.origin, &provider.key) {
        (Origin::BuiltIn, Some(_)) => "by its key".to_owned(),
        (Origin::BuiltIn, None) => "found on this machine".to_owned(),
        (origin, _) => format!("by {origin}"),
    };
    let key = match &provider.key {
        Some(Key { variable, origin }) => format!("; key {variable} from the {origin}"),
        None if provider.error.is_some() => format!("; {}", error()),
        None => String::new(),
    };
    format!("{name} ({origin}{key})")
}

fn model_text(model: &Chosen) -> String {
    match (&model.name, model.origin) {
        (Some(name), Origin::BuiltIn) => format!("{name} (the provider's default; experts may ask for another)"),
        (Some(name), origin) => format!("{name} (by {origin})"),
        (None, _) => format!("none{}", model.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default()),
    }
}

fn delegates_text(delegates: &ParallelDelegates) -> String {
    let text = format!("at most {} at the same time", delegates.most);
    match delegates.origin {
        Origin::BuiltIn => text,
        origin => format!("{text} (by {origin})"),
    }
}

fn trust_text(trust: &Trust) -> String {
    let state = match trust.state {
        "trusted" => "trusted",
        "notTrusted" => "not trusted yet: `perstack trust --show` lists what there is to trust",
        _ => "nothing to trust",
    };
    trust.digest.as_ref().map_or_else(|| state.to_owned(), |digest| format!("{state} (digest {digest})"))
}

fn sandbox_text(sandbox: &SandboxInfo) -> String {
    let landlock = sandbox.landlock_abi.map_or_else(|| "no Landlock".to_owned(), |abi| format!("Landlock ABI {abi}"));
    let seccomp = if sandbox.seccomp { "seccomp" } else { "no seccomp" };
    let namespaces = if sandbox.user_namespaces { "user namespaces" } else { "no user namespaces" };
    let contained = match (sandbox.setting, sandbox.lacking) {
        (Sandbox::Off, _) => "nothing is contained".to_owned(),
        (_, Some(lacking)) => format!("nothing is contained for want of {lacking}"),
        (Sandbox::Auto, None) => "files of commands are contained, and of servers that need it".to_owned(),
        (Sandbox::All | Sandbox::Required, None) => "files of commands and servers are contained".to_owned(),
    };
    let origin = match sandbox.origin {
        Origin::BuiltIn => String::new(),
        origin => format!(" (by {origin})"),
    };
    let mounts = if sandbox.mounts { "mounts" } else { "no mounts" };
    let is_enforced = sandbox.setting != Sandbox::Off && sandbox.lacking_for_lists.is_none();
    let lists = if is_enforced { "is enforced" } else { "is not enforced" };
    format!(
        "{}{origin}: {contained}; allowedDomains {lists}; this system has {landlock}, {seccomp}, {namespaces}, {mounts}",
        sandbox.setting
    )
}

fn permission_text(info: &PermissionInfo) -> String {
    let lists = |table: &Permissions| {
        table.patterns().map(|(list, pattern)| format!("{list} {pattern}")).collect::<Vec<_>>().join(", ")
    };
    let user = (!info.user.is_empty()).then(|| format!("{} (your config.toml, all runs)", lists(&info.user)));
    let project = (!info.project.is_empty()).then(|| format!("{} (perstack.toml, all experts)", lists(&info.project)));
    let experts = info.experts.iter().map(|(key, table)| format!("{} (perstack.toml, expert {key})", lists(table)));
    let all: Vec<String> = user.into_iter().chain(project).chain(experts).collect();
    if all.is_empty() { "every call is allowed (no permissions are set)".to_owned() } else { all.join("; ") }
}
