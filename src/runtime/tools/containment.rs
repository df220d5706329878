//! The programs of a skill that are contained, by the setting of the job and the skill's declaration. Called where skills
//! are opened; what containment keeps from a program is the skill layer's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::AgentSkill;
use crate::config::trust::is_found_beneath;
use crate::domain_list::DomainList;
use crate::environment::Environment;
use crate::expert::{Expert, SkillSpec};
use crate::expert_map::ExpertError;
use crate::proxy::ProxySettings;
use crate::redact::Redactor;
use crate::runtime::error::RunError;
use crate::runtime::options::Options;
use crate::sandbox::{Sandbox, SandboxState};
use crate::skill::contain::{Containment, LearnScope, ProgramPlace, Programs};
use crate::skill::egress::NetworkAccess;
use crate::skill::mcp::{Notices, SkillNotice};
use crate::skill::process::KernelAbility;

/// The setting of a job, and the place that its programs work in.
#[derive(Clone, Copy)]
pub struct SandboxRules<'a> {
    pub sandbox: Sandbox,
    pub workspace: &'a Path,
    /// The project's folder.
    pub root: &'a Path,
    pub storage: &'a Path,
    pub environment: &'a Environment,
    /// The user's own proxies, through which programs with a list of hosts reach them.
    pub proxies: &'a ProxySettings,
    /// With it, every program is contained, and its needs are noted there.
    pub learning: Option<&'a LearnScope>,
}

impl<'a> SandboxRules<'a> {
    /// The rules of a job with these options. `learning` is that of the expert.
    pub fn new(options: &'a Options, proxies: &'a ProxySettings, learning: Option<&'a LearnScope>) -> Self {
        let Options { settings, workspace, root, storage, environment, .. } = options;
        Self { sandbox: settings.sandbox, workspace, root, storage, environment, proxies, learning }
    }

    /// The confinement of the commands of the base skill.
    pub fn commands(self, base: &SkillSpec, notices: &Notices) -> Programs {
        self.programs(base, true, true, notices)
    }

    /// The confinement of a local server.
    pub fn server(self, spec: &SkillSpec, notices: &Notices) -> Programs {
        self.programs(spec, self.is_to_be_contained(spec), false, notices)
    }

    /// Returns true if the programs of a local skill are contained with this setting on this system.
    pub fn contains(self, spec: &SkillSpec) -> bool {
        self.sandbox != Sandbox::Off && KernelAbility::lacking().is_none() && self.is_to_be_contained(spec)
    }

    /// The hosts that the programs of a local skill are kept to; none where they are not.
    pub fn enforced_list(self, spec: &SkillSpec) -> Option<&[String]> {
        spec.allowed_domains().filter(|_| self.contains(spec) && KernelAbility::lacking_for_lists().is_none())
    }

    fn is_to_be_contained(self, spec: &SkillSpec) -> bool {
        self.sandbox >= Sandbox::All
            || self.learning.is_some()
            || spec.is_base()
            || !spec.common().access.is_empty()
            || spec.allowed_domains().is_some()
            || self.is_found_in_workspace(spec)
    }

    /// Returns true if the program of a local server may be one that a command has written.
    fn is_found_in_workspace(self, spec: &SkillSpec) -> bool {
        let path = self.environment.get("PATH").unwrap_or_default();
        is_found_beneath(&spec.command_words(), self.workspace, path)
    }

    fn programs(self, spec: &SkillSpec, is_contained: bool, is_watched: bool, notices: &Notices) -> Programs {
        if self.sandbox == Sandbox::Off {
            return Programs::Lifted;
        }
        if !is_contained || KernelAbility::lacking().is_some() {
            return Programs::Guarded;
        }
        let common = spec.common();
        let (Self { workspace, root, storage, environment, .. }, words) = (self, spec.command_words());
        let place = ProgramPlace { workspace, root, storage, environment, words: &words, is_watched };
        let needs = self.learning.map(|scope| scope.learning.needs(&scope.expert, &common.name));
        let access = needs.as_ref().map_or_else(|| common.access.clone(), |needs| needs.widened(&common.access));
        let containment = match Containment::new(&common.name, place, &access) {
            Ok(containment) => containment,
            Err(refusal) => return Programs::Refused(refusal),
        };
        let containment = match &needs {
            Some(needs) => containment.learning(Arc::clone(needs)),
            None => containment,
        };
        let list = match (spec.allowed_domains(), &needs) {
            (Some(list), None) => DomainList::new(list),
            (Some(list), Some(needs)) => DomainList::new(&needs.widened_hosts(list)),
            (None, Some(_)) => DomainList::open(),
            (None, None) => return Programs::Contained(Arc::new(containment)),
        };
        if KernelAbility::lacking_for_lists().is_some() {
            return Programs::Contained(Arc::new(containment));
        }
        let notices = Arc::clone(notices);
        let is_open = list.is_open();
        let report = Arc::new(move |access: NetworkAccess| {
            // What a list has is no need.
            let needs = needs.as_ref().filter(|_| is_open || access.refusal.is_some());
            needs.inspect(|needs| needs.add_host(&access));
            notices(SkillNotice::Access(access));
        });
        match containment.with_list(list, self.proxies, report) {
            Ok(containment) => Programs::Contained(Arc::new(containment)),
            Err(invalid) => Programs::Unconnected(invalid),
        }
    }
}

/// The base skill with what its commands get with Agent Skills: the right to read their folders. Those in the workspace they
/// have already, and could have put a link to elsewhere in their place.
pub fn with_agent_skills(base: &SkillSpec, skills: &[AgentSkill], workspace: &Path) -> SkillSpec {
    let workspace = workspace.canonicalize().unwrap_or_else(|_| workspace.to_owned());
    let is_elsewhere =
        |folder: &&PathBuf| !folder.starts_with(&workspace) && folder.canonicalize().is_ok_and(|real| real == **folder);
    let folders = skills.iter().map(|skill| &skill.folder).filter(is_elsewhere);
    let mut base = base.clone();
    base.common_mut().access.reads.extend(folders.map(|folder| folder.display().to_string()));
    base
}

/// The notices with the hosts of decisions masked: a program chooses them, and may put into one what it was given. Other texts
/// are masked where they are written.
pub fn masked(notices: &Notices, redactor: &Redactor) -> Notices {
    let (notices, redactor) = (Arc::clone(notices), redactor.clone());
    Arc::new(move |notice| {
        notices(match notice {
            SkillNotice::Access(access) => SkillNotice::Access(NetworkAccess {
                host: redactor.text(&access.host),
                refusal: access.refusal.map(|reason| redactor.text(&reason)),
                ..access
            }),
            other => other,
        });
    })
}

/// The containment that is in force with this setting.
pub fn state(sandbox: Sandbox) -> SandboxState {
    let lacking = KernelAbility::lacking().filter(|_| sandbox != Sandbox::Off);
    SandboxState {
        setting: sandbox,
        in_force: sandbox != Sandbox::Off && lacking.is_none(),
        lacking: lacking.map(str::to_owned),
    }
}

/// Checks that this system has the means that the setting requires for `expert`, and those to learn, where that is wanted.
///
/// # Errors
/// [`RunError::NotContained`], [`RunError::CannotLearn`] or [`RunError::NothingToLearn`].
pub fn require(options: &Options, expert: &Expert) -> Result<(), RunError> {
    let sandbox = options.settings.sandbox;
    if options.learning.is_some() {
        match KernelAbility::lacking_for_lists() {
            _ if sandbox == Sandbox::Off => return Err(RunError::NothingToLearn),
            Some(lacking) => return Err(RunError::CannotLearn { lacking }),
            None => {}
        }
    }
    let has_list = |spec: &SkillSpec| spec.starts_program() && spec.allowed_domains().is_some();
    let needs_lists = expert.skills.values().any(has_list);
    match if needs_lists { KernelAbility::lacking_for_lists() } else { KernelAbility::lacking() } {
        Some(lacking) if sandbox == Sandbox::Required => Err(RunError::NotContained { lacking }),
        _ => Ok(()),
    }
}

/// The warning of a job of `expert` whose programs should be contained and are not, by the containment in force.
///
/// # Errors
/// A delegate that is not defined.
pub fn warning(expert: &Expert, options: &Options, state: &SandboxState) -> Result<Option<String>, ExpertError> {
    let Some(lacking) = &state.lacking else { return Ok(None) };
    let experts = options.experts.reachable(&expert.key)?;
    let starts_program =
        |expert: &&Expert| expert.verify.is_some() || expert.skills.values().any(SkillSpec::starts_program);
    let is_needed = experts.iter().any(starts_program);
    Ok(is_needed.then(|| format!("commands and servers are not contained: this system lacks {lacking}")))
}
