//! `perstack why`: explains what a skill may do with a file, or why it may not connect to a host. It asks the containment
//! that a run would start the skill's programs with, and starts nothing.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use perstack::address::endpoint_fault;
use perstack::config::AgentSkill;
use perstack::domain_list::{DomainList, NetworkTarget, domain_fault};
use perstack::expert::{Expert, SkillSpec};
use perstack::proxy::ProxySettings;
use perstack::runtime::{SandboxRules, programs_of, with_agent_skills};
use perstack::skill::contain::{FileAccess, PathRule, Programs, declared_path};

use super::completions::candidates;
use super::failure::Failure;
use super::options::{ConfigArgs, ModelArgs};
use super::render::visible;
use super::setup::{ProjectNeed, Setup};
use super::{Exit, Process};

/// The port of a host that names none.
const USUAL_PORT: u16 = 443;

const AFTER_HELP: &str = "\
Examples:
  perstack why @perstack/base ~/notes          may commands read it?
  perstack why files ../shared --write         may the server of this skill change it?
  perstack why web api.example.com:8443        may it connect there?

The exit code is 0 if it is allowed, 1 if it is refused. Nothing is started. The rules of this program
are meant: permissions of the file itself, or a firewall, may refuse what they allow.";

/// Explains what a skill may read, change or connect to, and what would allow it
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct WhyArgs {
    /// The skill; @perstack/base for commands
    #[arg(add = candidates::skills())]
    skill: String,
    /// A path, or a host with or without a port. A word without a slash is a host if it has a dot or a port and no
    /// such file is there
    #[arg(value_name = "PATH|HOST")]
    target: String,
    /// The expert, where several have different skills of this name
    #[arg(long, add = candidates::experts())]
    expert: Option<String>,
    /// Ask whether the path may be changed; without it, whether it may be read
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// The thing that is asked about.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Path(PathBuf),
    Host(NetworkTarget),
}

/// The answer, for people.
struct Decision {
    is_allowed: bool,
    /// The rule, or the lack of one.
    reason: String,
    /// The line of the skill that would allow it.
    remedy: Option<String>,
}

impl Decision {
    fn allowed(reason: impl Into<String>) -> Self {
        Self { is_allowed: true, reason: reason.into(), remedy: None }
    }

    fn refused(reason: impl Into<String>) -> Self {
        Self { is_allowed: false, reason: reason.into(), remedy: None }
    }

    fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// Runs the command.
pub fn run(args: &WhyArgs, process: &Process) -> Result<Exit, Failure> {
    let setup = Setup::read(process, &args.config.place(), &ModelArgs::default(), ProjectNeed::Required)?;
    setup.print_warnings(process, false);
    let meant = Meant::find(&setup, &args.skill, args.expert.as_deref())?;
    let (expert, common) = (meant.expert, meant.declared.common());
    let asked = Asked::read(&args.target, &process.folder, &setup);
    let summary = super::trust::summary(&setup, process, args.config.place().trust)?;
    let is_trusted = summary.is_some_and(|summary| summary.is_trusted);
    let settings = if is_trusted { setup.trusted_settings() } else { &setup.settings };
    let proxies = ProxySettings::settle(setup.proxy.as_deref(), &setup.environment);
    let question =
        Question { setup: &setup, rules: setup.sandbox_rules(settings, &proxies), meant: &meant, write: args.write };
    let decision = question.decide(&asked);
    let verb = match (&asked, question.access(&asked)) {
        (Asked::Host(_), _) | (_, FileAccess::Connect) => "connect to",
        (_, FileAccess::Read) => "read",
        (_, FileAccess::Change) => "change",
    };
    let thing = match &asked {
        Asked::Path(path) => path.display().to_string(),
        Asked::Host(target) => target.to_string(),
    };
    let may = if decision.is_allowed { "may" } else { "may not" };
    let name = &common.name;
    let mut text = visible(&format!("skill {name} {may} {verb} {thing}: {}", decision.reason)) + "\n";
    if let Some(remedy) = &decision.remedy {
        let is_given_some = !common.access.is_empty() || meant.declared.allowed_domains().is_some();
        let besides = if is_given_some { ", besides what its lists have" } else { "" };
        let place =
            format!("to allow it, add {remedy} to skill {name} of expert {} in perstack.toml{besides}", expert.key);
        text.push_str(&(visible(&place) + "\n"));
    }
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(if decision.is_allowed { Exit::Completed } else { Exit::Failed }),
    }
}

/// The skill that is asked about.
struct Meant<'a> {
    expert: &'a Expert,
    /// As the configuration has it.
    declared: &'a SkillSpec,
    /// With what its programs get besides.
    spec: SkillSpec,
    /// The Agent Skills whose folders commands get; none of another skill.
    agent_skills: Vec<AgentSkill>,
}

impl<'a> Meant<'a> {
    /// The skill of this name: that of the named expert, or of the only expert that has one, or one that all have alike.
    fn find(setup: &'a Setup, name: &str, expert: Option<&str>) -> Result<Self, Failure> {
        let project = setup.project.as_ref().context("there is no configuration").map_err(Failure::usage)?;
        let experts: Vec<&Expert> = match expert {
            Some(key) => vec![project.expert(key).map_err(Failure::usage)?],
            None => project.experts.values().collect(),
        };
        let found = experts.iter().filter_map(|expert| Some(Self::of(setup, expert, expert.skills.get(name)?)));
        let mut found: Vec<Self> = found.collect::<Result<_, Failure>>()?;
        let Some(first) = found.first() else {
            let skills = experts.iter().flat_map(|expert| expert.skills.keys().map(String::as_str));
            let mut names: Vec<&str> = skills.collect();
            names.sort_unstable();
            names.dedup();
            let failure = Failure::usage(anyhow!("there is no skill {name:?}"));
            return Err(failure.help(format!("skills: {}", names.join(", "))));
        };
        if found.iter().any(|other| other.spec != first.spec) {
            let experts: Vec<&str> = found.iter().map(|other| other.expert.key.as_str()).collect();
            return Err(Failure::usage(anyhow!("several experts have a skill {name:?}, and not the same"))
                .help(format!("name one by --expert: {}", experts.join(", "))));
        }
        Ok(found.swap_remove(0))
    }

    /// # Errors
    /// An Agent Skill of the expert that is not there or is not right: its run would not begin either.
    fn of(setup: &Setup, expert: &'a Expert, declared: &'a SkillSpec) -> Result<Self, Failure> {
        let is_replaced = setup.project.as_ref().is_some_and(|project| project.base_skill_command.is_some());
        let runs_commands = declared.is_built_in_base() && !is_replaced;
        let agent_skills =
            if runs_commands { setup.agent_skills(expert).map_err(Failure::usage)?.skills } else { Vec::new() };
        let spec = with_agent_skills(declared, &agent_skills, &setup.workspace);
        Ok(Self { expert, declared, spec, agent_skills })
    }

    /// The list or the Agent Skill by which a path may be read.
    fn reads(&self, path: &Path) -> String {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        match self.agent_skills.iter().find(|skill| path.starts_with(&skill.folder)) {
            Some(skill) => format!("the folder of the Agent Skill {} ({})", skill.name, skill.shown),
            None => PathRule::Reads.to_string(),
        }
    }
}

impl Asked {
    fn read(text: &str, folder: &Path, setup: &Setup) -> Self {
        let path = declared_path(text, folder, &setup.environment).unwrap_or_else(|| folder.join(text));
        let looks_like_path = || text.contains('/') || text.starts_with(['~', '.']) || path.exists();
        let target = match url::Url::parse(text) {
            Ok(url) if text.contains("://") => {
                url.host_str().and_then(|host| NetworkTarget::new(host, url.port_or_known_default()?))
            }
            _ => (!looks_like_path()).then(|| host(text)).flatten(),
        };
        target.map_or(Self::Path(path), Self::Host)
    }
}

/// A word as a host: a name with a dot, this machine's, an address, or any with a port.
fn host(text: &str) -> Option<NetworkTarget> {
    let is_address = text.parse::<std::net::IpAddr>().is_ok() || text.ends_with(']');
    match text.rsplit_once(':').filter(|_| !is_address) {
        Some((host, port)) => NetworkTarget::new(host, port.parse().ok()?),
        None if is_address || text.contains('.') || text == "localhost" => NetworkTarget::new(text, USUAL_PORT),
        None => None,
    }
}

/// A question about a skill.
struct Question<'a> {
    setup: &'a Setup,
    rules: SandboxRules<'a>,
    meant: &'a Meant<'a>,
    write: bool,
}

impl Question<'_> {
    /// The use of the file that is meant.
    fn access(&self, asked: &Asked) -> FileAccess {
        match asked {
            Asked::Path(path) if is_socket(path) => FileAccess::Connect,
            _ if self.write => FileAccess::Change,
            _ => FileAccess::Read,
        }
    }

    fn decide(&self, asked: &Asked) -> Decision {
        let base_command = self.setup.project.as_ref().and_then(|project| project.base_skill_command.as_deref());
        let spec = &self.meant.spec;
        let Some(programs) = programs_of(spec, base_command, self.rules) else {
            return self.without_programs(asked);
        };
        match (programs, asked) {
            (Programs::Lifted, _) => Decision::allowed("sandbox = \"off\", so that it may do what you may"),
            (Programs::Guarded, _) => Decision::allowed(format!(
                "it is not contained with sandbox = \"{}\" on this system, so that it may do what you may",
                self.rules.sandbox
            )),
            (Programs::Refused(refusal), _) => Decision::refused(refusal.to_string()),
            (Programs::Unconnected(invalid), _) => Decision::refused(invalid.to_string()),
            (Programs::Contained(containment), Asked::Path(path)) => {
                let access = self.access(asked);
                if access == FileAccess::Change && spec.is_built_in_base() && self.setup.protects(path) {
                    let kept =
                        "it decides what later runs do; the file tools refuse it, and a command's change is put back";
                    return Decision::refused(format!("a protected file: {kept}"));
                }
                let decision = containment.decide(path, access);
                match (decision.rule, decision.credentials) {
                    _ if decision.is_kept => {
                        Decision::refused("records of jobs and hooks of git are kept from changes")
                    }
                    (Some(PathRule::Reads), _) => Decision::allowed(self.meant.reads(path)),
                    (Some(rule), _) => Decision::allowed(rule.to_string()),
                    (None, Some(grant)) => {
                        Decision::refused(format!("a place of secrets: {}", grant.shown())).with_remedy(decision.remedy)
                    }
                    (None, None) => Decision::refused("neither the rules for all nor its own lists have it")
                        .with_remedy(decision.remedy),
                }
            }
            (Programs::Contained(_), Asked::Host(target)) => match self.rules.enforced_list(spec) {
                Some(list) => listed(list, target),
                None if spec.allowed_domains().is_some() => {
                    Decision::allowed("its allowedDomains is not enforced on this system")
                }
                None => Decision::allowed("it has no allowedDomains, so that the network is open to it"),
            },
        }
    }

    /// The decision on a skill that starts nothing on this machine.
    fn without_programs(&self, asked: &Asked) -> Decision {
        match (self.meant.declared, asked) {
            (SkillSpec::McpSseSkill { .. }, Asked::Path(_)) => {
                Decision::refused("its server runs elsewhere, and has no files of this machine")
            }
            (SkillSpec::McpSseSkill { allowed_domains: Some(list), .. }, Asked::Host(target)) => listed(list, target),
            (SkillSpec::McpSseSkill { allow_private_endpoint, .. }, Asked::Host(target)) => {
                match endpoint_fault(&format!("https://{target}/"), *allow_private_endpoint) {
                    Some(_) => Decision::refused("it is no public https address"),
                    None => Decision::allowed("it has no allowedDomains: its requests go where its address leads"),
                }
            }
            _ => Decision::refused("it asks a person, and starts and reaches nothing"),
        }
    }
}

/// The decision of a list of hosts.
fn listed(list: &[String], target: &NetworkTarget) -> Decision {
    match DomainList::new(list).entry_for(target) {
        Some(entry) if target.address().is_some() => Decision::allowed(format!("{entry} of its allowedDomains")),
        Some(entry) => Decision::allowed(format!(
            "{entry} of its allowedDomains; a private address behind the name is refused unless it is listed too"
        )),
        None => {
            let host = target.host();
            let entry = if matches!(target.port, 80 | 443) { host } else { format!("{host}:{}", target.port) };
            let refused = Decision::refused("its allowedDomains does not have it");
            if domain_fault(&entry).is_some() {
                refused
            } else {
                refused.with_remedy(format!("allowedDomains = [\"{entry}\"]"))
            }
        }
    }
}

#[cfg(unix)]
fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    path.metadata().is_ok_and(|file| file.file_type().is_socket())
}

/// False: there are no sockets in this system's files.
#[cfg(not(unix))]
fn is_socket(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_hosts_with_and_without_ports() {
        let shown = |text: &str| host(text).map(|target| target.to_string());
        for (text, expected) in [
            ("api.example.com", "api.example.com:443"),
            ("api.example.com:8443", "api.example.com:8443"),
            ("localhost", "localhost:443"),
            ("db:5432", "db:5432"),
            ("10.1.2.3", "10.1.2.3:443"),
            ("::1", "[::1]:443"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["notes", "a b.c", "x:y", "x:99999", ""] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
