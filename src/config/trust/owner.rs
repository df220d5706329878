//! [`FileOwners`]: the users whose files the program uses unasked. A file of another user of the machine is refused unless
//! the command line names it. Called by the command line for configuration, `.env`, lock and storage.

use std::path::Path;

/// The range of a user namespace that maps every user to itself (`user_namespaces(7)`).
const WHOLE_MAP: [&str; 3] = ["0", "0", "4294967295"];

/// The users that are trusted with files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOwners {
    users: Vec<u32>,
}

impl FileOwners {
    /// The runner and root, and for root: the user behind `sudo`, and the owner of the current folder (root of a container
    /// works in a folder that is mounted from elsewhere). Users that this namespace does not map all have one number, which
    /// is no user's here.
    pub fn new(runner: u32, sudo_user: Option<u32>, folder_owner: Option<u32>, unmapped: Option<u32>) -> Self {
        let for_root = [sudo_user, folder_owner].into_iter().flatten().filter(|_| runner == 0);
        Self { users: [runner, 0].into_iter().chain(for_root).chain(unmapped).collect() }
    }

    /// Those of this process; `sudo_user` is the value of `SUDO_UID`.
    #[cfg(unix)]
    pub fn of_process(folder: &Path, sudo_user: Option<&str>) -> Self {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
        let unmapped = overflow.and_then(|text| text.trim().parse().ok()).filter(|_| !maps_all(&map));
        let runner = rustix::process::geteuid().as_raw();
        Self::new(runner, sudo_user.and_then(|text| text.parse().ok()), owner(folder), unmapped)
    }

    /// Returns true if files of `owner` are used; `None` where files have no owner.
    pub fn trusts(&self, owner: Option<u32>) -> bool {
        owner.is_none_or(|owner| self.users.contains(&owner))
    }
}

/// Returns true for the map of a namespace without users that are left out; also for a system that has none.
fn maps_all(map: &str) -> bool {
    map.trim().is_empty() || map.split_whitespace().collect::<Vec<_>>() == WHOLE_MAP
}

/// The owner of the file or folder at `path`, links followed; `None` if there is none.
#[cfg(unix)]
pub fn owner(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Some(std::fs::metadata(path).ok()?.uid())
}

/// None: this system's owners are no numbers.
#[cfg(not(unix))]
pub fn owner(_path: &Path) -> Option<u32> {
    None
}

/// A user for a message: the name in the system's list, or the number.
pub fn user_name(user: u32) -> String {
    let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user)).then(|| name.to_owned())
    });
    name.map_or_else(|| format!("user {user}"), |name| format!("user {name} ({user})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_runner_and_root_are_used_and_no_others() {
        let owners = FileOwners::new(1000, Some(1001), Some(1001), None);
        assert_eq!([1000, 0, 1001].map(|user| owners.trusts(Some(user))), [true, true, false]);
        assert!(owners.trusts(None));
    }

    #[test]
    fn root_uses_files_of_the_user_behind_it_and_of_its_folder() {
        let owners = FileOwners::new(0, Some(1000), Some(2000), None);
        assert_eq!([0, 1000, 2000, 3000].map(|user| owners.trusts(Some(user))), [true, true, true, false]);
    }

    #[test]
    fn unmapped_users_count_only_in_a_namespace_that_has_them() {
        assert!(FileOwners::new(1000, None, None, Some(65534)).trusts(Some(65534)));
        assert!(maps_all("         0          0 4294967295\n") && maps_all(""));
        assert!(!maps_all("0 1000 1\n1 100000 65536\n"));
    }
}
