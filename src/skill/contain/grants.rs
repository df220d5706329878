//! The files and sockets behind each word of `grants`.

use std::path::{Path, PathBuf};

use super::home::Home;
use crate::environment::Environment;
use crate::expert::AccessGrant;
use crate::skill::process::FileLists;

/// The variables with their values that `grants` hand to the programs: the places of sockets.
pub(in crate::skill) fn granted_variables(grants: &[AccessGrant], environment: &Environment) -> Vec<(String, String)> {
    let names = grants.iter().flat_map(|grant| variables(*grant));
    names.filter_map(|name| Some(((*name).to_owned(), environment.users(name)?.to_owned()))).collect()
}

fn variables(grant: AccessGrant) -> &'static [&'static str] {
    match grant {
        AccessGrant::Ssh => &["SSH_AUTH_SOCK"],
        AccessGrant::Docker => &["DOCKER_HOST"],
        _ => &[],
    }
}

/// Reads, writes and sockets of a grant; `~/` is the home folder.
fn parts(grant: AccessGrant) -> [&'static [&'static str]; 3] {
    match grant {
        AccessGrant::Aws => [&["~/.aws"], &["~/.aws/cli", "~/.aws/sso"], &[]],
        AccessGrant::Azure => [&[], &["~/.azure"], &[]],
        AccessGrant::Cargo => [&["~/.cargo/credentials", "~/.cargo/credentials.toml"], &[], &[]],
        AccessGrant::Docker => [
            &["~/.docker"],
            &["~/.docker/buildx"],
            &["/var/run/docker.sock", "/run/docker.sock", "~/.docker/run", "~/.docker/desktop"],
        ],
        AccessGrant::Gcloud => [&[], &["~/.config/gcloud"], &[]],
        AccessGrant::Gh => [&["~/.config/gh"], &["~/.local/state/gh"], &[]],
        AccessGrant::Git => [&["~/.git-credentials", "~/.config/git"], &[], &["~/.cache/git/credential"]],
        AccessGrant::Gpg => [&[], &["~/.gnupg"], &["~/.gnupg"]],
        AccessGrant::Kube => [&["~/.kube"], &["~/.kube/cache"], &[]],
        AccessGrant::Npm => [&["~/.npmrc", "~/.config/npm"], &[], &[]],
        AccessGrant::Pypi => [&["~/.pypirc", "~/.config/pip", "~/.config/uv", "~/.netrc"], &[], &[]],
        AccessGrant::Ssh => [&["~/.ssh"], &["~/.ssh/known_hosts"], &[]],
    }
}

/// Adds what `grant` gives.
pub(super) fn add(grant: AccessGrant, home: Option<&Home>, environment: &Environment, lists: &mut FileLists) {
    let [reads, writes, sockets] = parts(grant).map(|paths| {
        let place = |path: &&str| match path.strip_prefix("~/") {
            Some(rest) => home.map(|home| home.join(rest)),
            None => Some(PathBuf::from(path)),
        };
        paths.iter().filter_map(place).collect::<Vec<_>>()
    });
    lists.reads.extend(reads);
    lists.writes.extend(writes);
    lists.sockets.extend(sockets);
    for socket in variables(grant).iter().filter_map(|name| environment.users(name)) {
        lists.sockets.push(PathBuf::from(socket.strip_prefix("unix://").unwrap_or(socket)));
    }
    if grant == AccessGrant::Gpg {
        #[cfg(unix)]
        lists.sockets.push(format!("/run/user/{}/gnupg", rustix::process::geteuid().as_raw()).into());
    }
}

/// The grant that gives `path`, if one does.
pub(super) fn giving(path: &Path, home: Option<&Home>) -> Option<AccessGrant> {
    let is_in = |grant: AccessGrant| places(grant, home).any(|place| path.starts_with(place));
    AccessGrant::WORDS.into_iter().map(|(_, grant)| grant).find(|grant| is_in(*grant))
}

/// Returns true if something that `grant` gives is beneath `folder`.
pub(super) fn is_beneath(grant: AccessGrant, folder: &Path, home: Option<&Home>) -> bool {
    places(grant, home).any(|place| place.starts_with(folder))
}

/// All places of a grant, as they are named and without links.
fn places(grant: AccessGrant, home: Option<&Home>) -> impl Iterator<Item = PathBuf> {
    parts(grant).into_iter().flatten().flat_map(move |part| match part.strip_prefix("~/") {
        Some(rest) => home.map(|home| home.places(rest)).unwrap_or_default(),
        None => vec![PathBuf::from(part)],
    })
}
