//! The folders of the system that contained programs may reach: programs, libraries and settings to read, temporary
//! folders to write, devices that give and take nothing of anybody's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::home::Home;
use crate::environment::Environment;

/// Folders that are read as a whole. `/proc` shows of other processes outside what their names and arguments are: the
/// kernel keeps a contained program from their environment, memory and open files.
const READS: [&str; 31] = [
    "/bin",
    "/etc/resolv.conf",
    "/etc/localtime",
    "/gnu",
    "/home/linuxbrew/.linuxbrew",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/opt",
    "/proc",
    "/run/booted-system",
    "/run/current-system",
    "/run/nscd",
    "/run/opengl-driver",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/run/wrappers",
    "/sbin",
    "/snap",
    "/sys",
    "/usr",
    "/var/cache/fontconfig",
    "/var/db",
    "/var/lib/alternatives",
    "/var/lib/apt/lists",
    "/var/lib/dpkg",
    "/var/lib/flatpak",
    "/var/lib/pacman",
    "/var/lib/rpm",
];

/// The settings of the system.
const SETTINGS: &str = "/etc";

const DEVICES: [&str; 8] =
    ["/dev/full", "/dev/null", "/dev/ptmx", "/dev/pts", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"];

/// Temporary folders, shared memory among them.
const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// The folders beside a `bin` of the search path that its programs need.
const BESIDE_PROGRAMS: [&str; 6] = ["include", "jre", "lib", "lib64", "libexec", "share"];

/// The folders and settings that are read. Of a folder that the home folder is in, that is what lies beside it.
pub(super) fn reads(home: Option<&Home>) -> Vec<PathBuf> {
    let folders = READS.iter().map(PathBuf::from).chain(settings().iter().cloned());
    let Some(home) = home.filter(|home| is_in_system(home)) else { return folders.collect() };
    folders.flat_map(|folder| beside(home, &folder)).collect()
}

/// Returns true if the home folder is in a folder of the system.
fn is_in_system(home: &Home) -> bool {
    static FOLDERS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let real = |folder: &str| Path::new(folder).canonicalize().ok();
    let folders = FOLDERS.get_or_init(|| READS.into_iter().chain([SETTINGS]).filter_map(real).collect());
    folders.iter().any(|folder| home.is_in(folder))
}

/// The part of `folder` that is neither the home folder nor on the way to it, as it is now.
fn beside(home: &Home, folder: &Path) -> Vec<PathBuf> {
    match folder.canonicalize() {
        Ok(real) if home.is(&real) => Vec::new(),
        Ok(real) if home.is_in(&real) => {
            // A link would lead anywhere, to the home folder and above it; what is in reach where it lies is so without it.
            let is_link = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_symlink());
            let entries = fs::read_dir(&real).into_iter().flatten().flatten().filter(|entry| !is_link(entry));
            entries.flat_map(|entry| beside(home, &entry.path())).collect()
        }
        _ => vec![folder.to_owned()],
    }
}

pub(super) fn devices() -> Vec<PathBuf> {
    DEVICES.iter().map(PathBuf::from).collect()
}

/// The temporary folders, but for one that is the home folder or holds it, as for users without a name in containers:
/// whoever may make files in it could read everything there.
pub(super) fn temporary(home: Option<&Home>) -> impl Iterator<Item = PathBuf> {
    TEMPORARY.iter().map(PathBuf::from).filter(move |folder| !is_too_wide(folder, home))
}

/// The temporary folder that programs have to be led to, where the usual one holds the home folder.
pub(super) fn other_temporary(environment: &Environment) -> Option<PathBuf> {
    let home = environment.users("HOME").and_then(Home::find);
    let [usual, ..] = TEMPORARY.map(Path::new);
    is_too_wide(usual, home.as_ref()).then(|| temporary(home.as_ref()).find(|folder| folder.is_dir())).flatten()
}

fn is_too_wide(folder: &Path, home: Option<&Home>) -> bool {
    home.is_some_and(|home| folder.canonicalize().is_ok_and(|real| home.is_in(&real)))
}

/// The settings that every user of the system may read. The permissions of the files keep the others from ordinary users;
/// root is kept from them here, two folders deep: password hashes, keys of the machine's services.
fn settings() -> &'static [PathBuf] {
    static FOUND: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(|| {
        if !is_root() {
            return vec![PathBuf::from(SETTINGS)];
        }
        let (public, _) = public_in(Path::new(SETTINGS));
        let mut found = Vec::new();
        for path in public {
            match path.is_dir().then(|| public_in(&path)) {
                Some((children, true)) => found.extend(children),
                _ => found.push(path),
            }
        }
        found
    })
}

/// The entries of a folder that everybody may read, and whether there are others.
fn public_in(folder: &Path) -> (Vec<PathBuf>, bool) {
    let mut public = Vec::new();
    let mut has_others = false;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Of what a link leads to.
        match path.metadata() {
            Ok(metadata) if is_public(&metadata) => public.push(path),
            Ok(_) => has_others = true,
            Err(_) => {}
        }
    }
    (public, has_others)
}

#[cfg(unix)]
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(unix)]
fn is_public(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o4 != 0
}

/// False: no rules are made here.
#[cfg(not(unix))]
pub(super) fn is_root() -> bool {
    false
}

/// True: no rules are made here.
#[cfg(not(unix))]
fn is_public(_: &fs::Metadata) -> bool {
    true
}

/// The folders of the search path `path` with what is beside them. A folder in which the home folder is holds more than
/// programs, and so do the folders beside `~/.local/bin` and `~/.cargo/bin`, which are known by name.
pub(super) fn program_folders(path: &str, home: Option<&Home>) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for folder in std::env::split_paths(path).filter(|folder| folder.is_absolute()) {
        let Ok(real) = folder.canonicalize() else { continue };
        let is_wide = |folder: &Path| folder.parent().is_none() || home.is_some_and(|home| home.is_near(folder));
        if real.parent().is_none() || home.is_some_and(|home| home.is_in(&real)) {
            continue;
        }
        if let Some(above) = real.parent().filter(|above| real.ends_with("bin") && !is_wide(above)) {
            folders.extend(BESIDE_PROGRAMS.iter().map(|name| above.join(name)));
        }
        folders.push(real);
    }
    folders
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn beside_a_home_folder_no_link_leads_to_it_above_it_or_around() {
        let folder = tempfile::tempdir().unwrap();
        let system = folder.path().canonicalize().unwrap();
        let at = |path: &str| system.join(path);
        fs::create_dir_all(at("apps/home/.ssh")).unwrap();
        fs::create_dir_all(at("apps/data")).unwrap();
        fs::create_dir_all(at("lib")).unwrap();
        for (target, link) in
            [("apps/home/.ssh", "keys"), ("..", "above"), ("apps", "apps/around"), ("lib", "apps/lib")]
        {
            symlink(at(target), at(link)).unwrap();
        }
        let home = Home::find(at("apps/home").to_str().unwrap()).unwrap();
        let given: BTreeSet<PathBuf> = beside(&home, &system).into_iter().collect();
        assert_eq!(given, BTreeSet::from([at("apps/data"), at("lib")]));
        assert_eq!(beside(&home, &at("lib")), [at("lib")]);
        assert!(beside(&home, &at("apps/home")).is_empty());
    }
}
