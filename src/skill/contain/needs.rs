//! [`Learning`]: everything that the contained programs of a job were refused, or reached where the network was open, by
//! expert and skill. A job that learns has one; the judge of file calls and the reports of the network add to it.
//! Showing the proposals is left to the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::address::Host;
use crate::domain_list::domain_fault;
use crate::expert::{AccessGrant, ExpertKey, SkillAccess};
use crate::skill::egress::NetworkAccess;

/// Most files, and most hosts, that are kept for a skill: a program in a loop must not fill the memory.
const MAX_KEPT: usize = 2_000;

/// Files of one folder from which on the folder is proposed in their place.
const FOLDER_FROM: usize = 4;

/// The needs of all skills of a job.
#[derive(Debug, Default)]
pub struct Learning(Mutex<BTreeMap<(ExpertKey, String), Arc<SkillNeeds>>>);

impl Learning {
    /// The needs of one skill of an expert.
    pub fn needs(&self, expert: &ExpertKey, skill: &str) -> Arc<SkillNeeds> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((expert.clone(), skill.to_owned())).or_default())
    }

    /// The proposals of all skills that were started, by expert and skill.
    pub fn proposals(&self) -> Vec<(ExpertKey, String, Proposal)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|((expert, skill), needs)| (expert.clone(), skill.clone(), needs.proposal())).collect()
    }

    /// Gives each skill what it needs and is no risk, for the starts to come. Returns the experts of those that were given
    /// something new.
    pub fn give_needs(&self) -> BTreeSet<ExpertKey> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let given = all.iter().filter(|(_, needs)| needs.give());
        given.map(|((expert, _), _)| expert.clone()).collect()
    }
}

/// A job's learning, for the skills of one expert.
#[derive(Debug, Clone)]
pub struct LearnScope {
    pub learning: Arc<Learning>,
    pub expert: ExpertKey,
}

/// A file that a program needs and may not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileNeed {
    /// The path of the line, without links.
    pub path: PathBuf,
    /// The same for people: `~/…` in the home folder.
    pub shown: String,
    pub changes: bool,
    /// It is not there, and has to be made before a line can give it.
    pub is_missing: bool,
    pub risk: Option<FileRisk>,
    /// Its folder, in both forms, where that could be given as well.
    pub folder: Option<(PathBuf, String)>,
}

/// The reason why a file is not given without a second look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileRisk {
    Credentials(AccessGrant),
    Other(&'static str),
}

/// A need that is a risk: the line of the skill that would meet it, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RiskyNeed {
    pub key: &'static str,
    pub value: String,
    pub reason: String,
}

/// The lines that would give a skill what its programs needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proposal {
    pub reads: Vec<String>,
    pub writes: Vec<String>,
    pub hosts: Vec<String>,
    /// The paths among them that are not there.
    pub missing: Vec<String>,
    pub risky: Vec<RiskyNeed>,
    /// Addresses that were connected to without the proxy, which a list of hosts does not allow to programs that look up
    /// names themselves.
    pub direct: Vec<String>,
    /// There were more needs than are kept.
    pub is_cut: bool,
    /// The server was started and did not come up.
    pub has_failed: bool,
}

impl Proposal {
    /// Returns true if the programs were refused nothing besides what containment gives.
    pub fn is_empty(&self) -> bool {
        *self == Self { has_failed: self.has_failed, ..Self::default() }
    }
}

/// The needs of one skill's programs.
#[derive(Debug, Default)]
pub struct SkillNeeds(Mutex<Needs>);

#[derive(Debug, Default)]
struct Needs {
    files: BTreeMap<(PathBuf, bool), FileNeed>,
    /// Entries of `allowedDomains`.
    hosts: BTreeSet<String>,
    direct: BTreeSet<String>,
    risky: BTreeSet<RiskyNeed>,
    given: SkillAccess,
    given_hosts: Vec<String>,
    is_cut: bool,
    has_failed: bool,
}

impl SkillNeeds {
    /// Adds a file.
    pub(super) fn add_file(&self, need: FileNeed) {
        let mut needs = self.needs();
        if needs.files.len() < MAX_KEPT {
            needs.files.entry((need.path.clone(), need.changes)).or_insert(need);
        } else {
            needs.is_cut = true;
        }
    }

    /// Notes that a server is on its way up, and has failed unless it comes up.
    pub fn set_up(&self, is_up: bool) {
        self.needs().has_failed = !is_up;
    }

    /// Adds a socket of another program, with the grant that would give it: it is named, and never proposed.
    pub(super) fn add_socket(&self, shown: &str, grant: Option<AccessGrant>) {
        let need = if let Some(grant) = grant {
            let reason = format!("{} for {shown}", grant.shown());
            RiskyNeed { key: "grants", value: grant.as_str().to_owned(), reason }
        } else {
            let reason = "a socket of another program, by which it can do what that can".to_owned();
            RiskyNeed { key: "unixSockets", value: shown.to_owned(), reason }
        };
        let mut needs = self.needs();
        if needs.risky.len() < MAX_KEPT {
            needs.risky.insert(need);
        } else {
            needs.is_cut = true;
        }
    }

    /// Adds the host of a connection, whether it was made or refused.
    pub fn add_host(&self, access: &NetworkAccess) {
        let NetworkAccess { host, port, refusal, .. } = access;
        let entry = if matches!(port, 80 | 443) { host.clone() } else { format!("{host}:{port}") };
        let mut needs = self.needs();
        if needs.hosts.len() + needs.direct.len() + needs.risky.len() >= MAX_KEPT {
            needs.is_cut = true;
            return;
        }
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let risk = match address.map(Host::of_address) {
            Some(Host::LinkLocal) => Some("the cloud's own services and their secrets are at such addresses"),
            _ if domain_fault(&entry).is_some() => Some("no entry of allowedDomains can name it"),
            _ => None,
        };
        if let Some(reason) = risk {
            let (value, reason) = (entry, reason.to_owned());
            needs.risky.insert(RiskyNeed { key: "allowedDomains", value, reason });
        } else if refusal.is_none() && address.is_some_and(|address| Host::of_address(address) == Host::Public) {
            needs.direct.insert(format!("{host}:{port}"));
        } else {
            needs.hosts.insert(entry);
        }
    }

    /// The access of a skill that declares `declared`, with what it was given meanwhile.
    pub fn widened(&self, declared: &SkillAccess) -> SkillAccess {
        let needs = self.needs();
        let mut access = declared.clone();
        access.reads.extend(needs.given.reads.iter().cloned());
        access.writes.extend(needs.given.writes.iter().cloned());
        access
    }

    /// The hosts of a skill that declares `declared`, with what it was given meanwhile.
    pub fn widened_hosts(&self, declared: &[String]) -> Vec<String> {
        declared.iter().chain(&self.needs().given_hosts).cloned().collect()
    }

    /// Gives what is needed and no risk. Returns true if that is more than before.
    fn give(&self) -> bool {
        let Proposal { reads, writes, hosts, missing, .. } = self.proposal();
        let is_there = |path: &String| !missing.contains(path);
        let reads: Vec<String> = reads.into_iter().filter(is_there).collect();
        let writes: Vec<String> = writes.into_iter().filter(is_there).collect();
        let mut needs = self.needs();
        let is_more = needs.given.reads != reads || needs.given.writes != writes || needs.given_hosts != hosts;
        (needs.given.reads, needs.given.writes, needs.given_hosts) = (reads, writes, hosts);
        is_more
    }

    /// The lines that would meet the needs.
    pub fn proposal(&self) -> Proposal {
        let needs = self.needs();
        let safe =
            |changes: bool| needs.files.values().filter(move |need| need.changes == changes && need.risk.is_none());
        let writes = joined(&safe(true));
        let is_given = |path: &Path| writes.iter().any(|(given, _)| path.starts_with(given));
        let reads: Vec<_> = joined(&safe(false)).into_iter().filter(|(path, _)| !is_given(path)).collect();
        let shown = |paths: &[(PathBuf, String)]| paths.iter().map(|(_, shown)| shown.clone()).collect::<Vec<_>>();
        let (reads, writes) = (shown(&reads), shown(&writes));
        let is_listed = |shown: &String| reads.contains(shown) || writes.contains(shown);
        let missing =
            safe(true).filter(|need| need.is_missing).map(|need| need.shown.clone()).filter(is_listed).collect();
        let mut risky = needs.risky.clone();
        for need in needs.files.values() {
            let (key, value, reason) = match need.risk {
                None => continue,
                Some(FileRisk::Credentials(grant)) if !need.changes => {
                    ("grants", grant.as_str().to_owned(), format!("{} for {}", grant.shown(), need.shown))
                }
                Some(FileRisk::Credentials(grant)) => ("writes", need.shown.clone(), grant.shown().to_owned()),
                Some(FileRisk::Other(reason)) => {
                    (if need.changes { "writes" } else { "reads" }, need.shown.clone(), reason.to_owned())
                }
            };
            risky.insert(RiskyNeed { key, value, reason });
        }
        Proposal {
            missing,
            hosts: needs.hosts.iter().cloned().collect(),
            risky: risky.into_iter().collect(),
            direct: needs.direct.iter().cloned().collect(),
            is_cut: needs.is_cut,
            has_failed: needs.has_failed,
            reads,
            writes,
        }
    }

    fn needs(&self) -> MutexGuard<'_, Needs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The paths that give all of `needs`: folders where several files of one are needed, and none beneath another.
fn joined<'a>(needs: &(impl Iterator<Item = &'a FileNeed> + Clone)) -> Vec<(PathBuf, String)> {
    let in_folder = |folder: &Path| needs.clone().filter(|need| need.path.parent() == Some(folder)).count();
    let mut paths: BTreeMap<PathBuf, String> = BTreeMap::new();
    for need in needs.clone() {
        match &need.folder {
            Some((folder, shown)) if in_folder(folder) >= FOLDER_FROM => paths.insert(folder.clone(), shown.clone()),
            _ => paths.insert(need.path.clone(), need.shown.clone()),
        };
    }
    let is_beneath = |path: &Path| path.ancestors().skip(1).any(|above| paths.contains_key(above));
    paths.iter().filter(|(path, _)| !is_beneath(path)).map(|(path, shown)| (path.clone(), shown.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(path: &str, changes: bool, risk: Option<FileRisk>) -> FileNeed {
        let path = PathBuf::from(path);
        let folder = path.parent().map(|folder| (folder.to_owned(), folder.display().to_string()));
        FileNeed { shown: path.display().to_string(), path, changes, is_missing: false, risk, folder }
    }

    #[test]
    fn files_are_joined_into_folders_and_what_is_written_is_not_read_besides() {
        let needs = SkillNeeds::default();
        for path in ["/data/a", "/data/b", "/data/c", "/data/d", "/one/x", "/out/r", "/out/sub/deep"] {
            needs.add_file(need(path, false, None));
        }
        for path in ["/out", "/log/today"] {
            needs.add_file(need(path, true, None));
        }
        let proposal = needs.proposal();
        assert_eq!(
            (proposal.reads, proposal.writes),
            (vec!["/data".to_owned(), "/one/x".to_owned()], vec!["/log/today".to_owned(), "/out".to_owned()],)
        );
        assert!(needs.give() && !needs.give(), "the second time there is nothing new");
        let given = needs.widened(&SkillAccess { reads: vec!["/own".to_owned()], ..SkillAccess::default() });
        assert_eq!(given.reads, ["/own", "/data", "/one/x"]);
    }

    #[test]
    fn a_socket_is_named_and_a_server_that_failed_is_known() {
        let needs = SkillNeeds::default();
        needs.set_up(false);
        assert!(needs.proposal().is_empty() && needs.proposal().has_failed);
        needs.add_socket("/run/docker.sock", Some(AccessGrant::Docker));
        needs.add_socket("/run/owl", None);
        needs.set_up(true);
        let proposal = needs.proposal();
        let named: Vec<_> = proposal.risky.iter().map(|need| (need.key, need.value.as_str())).collect();
        assert_eq!(named, [("grants", "docker"), ("unixSockets", "/run/owl")]);
        assert!(!proposal.is_empty() && !proposal.has_failed && !needs.give());
    }

    #[test]
    fn a_risk_is_never_among_the_lines_nor_given() {
        let needs = SkillNeeds::default();
        needs.add_file(need("/home/me/.ssh/id", false, Some(FileRisk::Credentials(AccessGrant::Ssh))));
        needs.add_file(need("/home/me", false, Some(FileRisk::Other("wide"))));
        needs.add_file(FileNeed { is_missing: true, ..need("/home/me/.owl", true, None) });
        assert!(!needs.give(), "none of it can be given");
        let proposal = needs.proposal();
        let risk =
            |key, value: &str, reason: &str| RiskyNeed { key, value: value.to_owned(), reason: reason.to_owned() };
        let ssh = risk("grants", "ssh", "ssh (keys and agent of SSH) for /home/me/.ssh/id");
        assert_eq!(proposal.risky, [ssh, risk("reads", "/home/me", "wide")]);
        assert!(proposal.reads.is_empty());
        assert_eq!(
            (&proposal.writes, &proposal.missing),
            (&vec!["/home/me/.owl".to_owned()], &vec!["/home/me/.owl".to_owned()])
        );
        assert!(needs.widened(&SkillAccess::default()).is_empty(), "not even one that is still to be made");
    }

    #[test]
    fn hosts_are_entries_of_a_list_and_addresses_that_need_care_are_apart() {
        let needs = SkillNeeds::default();
        let access = |host: &str, port: u16, refusal: Option<&str>| NetworkAccess {
            host: host.to_owned(),
            port,
            rule: None,
            refusal: refusal.map(str::to_owned),
        };
        for (host, port) in [("api.example.com", 443), ("db.example.com", 5432), ("127.0.0.1", 6379), ("[fd00::1]", 80)]
        {
            needs.add_host(&access(host, port, None));
        }
        needs.add_host(&access("new.example.com", 443, Some("not listed")));
        needs.add_host(&access("169.254.169.254", 80, Some("not listed")));
        needs.add_host(&access("xn--e1afmkfd.com", 443, None));
        needs.add_host(&access("8.8.8.8", 443, None));
        let proposal = needs.proposal();
        assert_eq!(
            proposal.hosts,
            ["127.0.0.1:6379", "[fd00::1]", "api.example.com", "db.example.com:5432", "new.example.com"]
        );
        assert_eq!(proposal.direct, ["8.8.8.8:443"]);
        let risky: Vec<&str> = proposal.risky.iter().map(|need| need.value.as_str()).collect();
        assert_eq!(risky, ["169.254.169.254", "xn--e1afmkfd.com"]);
        for entry in &proposal.hosts {
            assert_eq!(domain_fault(entry), None, "{entry}");
        }
    }
}
