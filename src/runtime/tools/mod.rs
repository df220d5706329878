//! The tools each expert sees: its skills opened, its questions and delegates declared.

pub mod lock;
pub mod notices;
pub mod open;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;
use crate::event::ServerInfo;
use crate::expert::{Expert, ExpertRef, SkillSpec};
use crate::expert_map::ExpertMap;
use crate::runtime::VERSION;
use crate::runtime::error::RunError;
use crate::runtime::job::backends::Tape;
use crate::runtime::run::events::EventEmitter;
use crate::runtime::tools::lock::LockedServers;
use crate::runtime::tools::notices::NoticeBoard;
use crate::skill::base::{BaseSkill, conversation_tools};
use crate::skill::mcp::{self, AskPerson, McpSkill, Network, Reply, SkillNotice, Timings};
use crate::skill::output::Outputs;
use crate::skill::{Skill, SkillError, SkillSet, declare};
use crate::tool::ToolSpec;

/// The original's text.
const REQUIRED_ENV_IGNORED: &str =
    "[perstack] requiredEnv is ignored for bundled @perstack/base. Pin a version to enable it.";

/// What an expert's tools are opened with.
#[derive(Clone, Copy)]
pub struct ToolsetOptions<'a> {
    pub workspace: &'a Path,
    pub environment: &'a Environment,
    /// `perstackBaseSkillCommand`: what is started in the place of the built-in base skill.
    pub base_command: Option<&'a [String]>,
    /// Most bytes of one tool result's text that reach the model.
    pub max_tool_output: usize,
    /// Fires to give up waiting for servers.
    pub cancel: &'a CancellationToken,
    /// Whether another expert called this one: then nobody is there to be asked.
    pub is_delegate: bool,
    /// Asks a person what a server wants to know of one.
    pub person: Option<&'a AskPerson>,
    /// Where the tools of servers come from.
    pub source: ToolSource<'a>,
    /// How servers elsewhere are reached.
    pub network: &'a Network,
}

/// Where the tools of servers come from.
#[derive(Clone, Copy)]
pub enum ToolSource<'a> {
    /// All servers are started and asked.
    Servers,
    /// The lock; a server is started when one of its tools is called.
    Lock(&'a LockedServers),
    /// These definitions: no server is started, ever.
    Definitions(&'a [ToolSpec]),
}

/// An expert's tools, ready to be called.
pub struct Toolset {
    pub skills: SkillSet,
    /// The experts behind the delegate tools.
    pub delegates: Vec<ExpertRef>,
    /// What the owner should know: tools that another of the same name hides, settings that do not apply.
    pub warnings: Vec<String>,
    /// Skills that may be missing, and why they are.
    pub missing: Vec<SkillError>,
    /// What the skills say of themselves.
    pub notices: NoticeBoard,
    /// What the skills returned beyond what the model takes; kept once the Run says where.
    pub outputs: Arc<Outputs>,
}

/// Opens the skills of `expert`: all servers at once, unless a lock stands in for them. With the first that fails all
/// others are closed again, unless it is one that may come later (`lazyInit`): its tools are missing then.
///
/// # Errors
/// A delegate that is not defined, a skill that cannot be opened, or [`RunError::StoppedAtStart`].
pub async fn open(expert: &Expert, experts: &ExpertMap, place: ToolsetOptions<'_>) -> Result<Toolset, RunError> {
    let delegates = experts.delegates(expert)?;
    let person = place.person.map(|ask| withdrawn_at(place.cancel.clone(), Arc::clone(ask)));
    let place = ToolsetOptions { person: person.as_ref(), ..place };
    let mut toolset = Toolset {
        skills: SkillSet::default(),
        delegates: delegates.iter().map(|delegate| delegate.reference()).collect(),
        warnings: Vec::new(),
        missing: Vec::new(),
        notices: NoticeBoard::default(),
        outputs: Outputs::new(place.max_tool_output),
    };
    let mut servers = Servers::default();
    let mut read: BTreeMap<usize, Vec<ToolSpec>> = BTreeMap::new();
    for (at, (name, spec)) in expert.skills.iter().enumerate() {
        let Some(spec) = server(spec, place.base_command) else { continue };
        match place.source {
            ToolSource::Servers => servers.start(at, spec, &place, &toolset.notices.for_skill(name), &toolset.outputs),
            ToolSource::Lock(lock) => {
                servers.prepare(
                    at,
                    &spec,
                    mcp_place(&place, &toolset.outputs),
                    &toolset.notices.for_skill(name),
                    lock,
                )?;
            }
            ToolSource::Definitions(tools) => {
                let common = spec.common();
                let is_of_it = |tool: &&ToolSpec| tool.skill_name == common.name && common.admits(&tool.name);
                read.insert(at, tools.iter().filter(is_of_it).cloned().collect());
            }
        }
    }
    let mut started = servers.all(place.cancel).await?;
    let mut has_base = false;
    let mut add = || -> Result<(), RunError> {
        for (at, (name, spec)) in expert.skills.iter().enumerate() {
            let is_base = spec.is_base();
            if is_base && !has_base && !(spec.is_built_in_base() && place.base_command.is_none()) {
                // A base skill of another make has these too; but they are the loop's own.
                let own = conversation_tools().into_iter().filter(|tool| spec.common().admits(&tool.name));
                toolset.warnings.extend(toolset.skills.declare(own.collect()));
            }
            has_base |= is_base;
            if let Some(tools) = read.remove(&at) {
                toolset.warnings.extend(toolset.skills.declare(tools));
                continue;
            }
            match (started.remove(&at), spec) {
                (Some(Ok(skill)), _) => toolset.warnings.extend(toolset.skills.add(skill)),
                (Some(Err(error)), _) => toolset.missing.push(error),
                (None, SkillSpec::InteractiveSkill { .. }) if place.is_delegate => {}
                (None, SkillSpec::InteractiveSkill { .. }) => {
                    toolset.warnings.extend(toolset.skills.declare(declare::interactive(spec)?));
                }
                (None, _) => {
                    if matches!(spec, SkillSpec::McpStdioSkill { required_env, .. } if !required_env.is_empty()) {
                        toolset.warnings.push(REQUIRED_ENV_IGNORED.to_owned());
                    }
                    let base = BaseSkill::open(spec.common(), place.workspace, place.environment, &toolset.outputs)?;
                    toolset.warnings.extend(toolset.skills.add(base));
                    toolset.notices.for_skill(name)(SkillNotice::Connected {
                        server: Some(ServerInfo { name: name.clone(), version: VERSION.to_owned() }),
                        timings: Timings::default(),
                    });
                }
            }
        }
        Ok(())
    };
    if let Err(error) = add() {
        close(&toolset.skills).await;
        close_all(started.into_values().filter_map(Result::ok)).await;
        return Err(error);
    }
    if !has_base {
        // Files and commands must be asked for; the loop's own tools are always there.
        toolset.warnings.extend(toolset.skills.declare(conversation_tools()));
    }
    let tools = delegates.into_iter().map(declare::delegate).collect();
    toolset.warnings.extend(toolset.skills.declare(tools));
    Ok(toolset)
}

impl Toolset {
    /// Tells what happened to the skills so far, and from now on what happens to them.
    pub fn announce(&self, emitter: &EventEmitter, tape: &Tape) {
        let order: Vec<String> = self.skills.skills().iter().map(|skill| skill.name().to_owned()).collect();
        self.notices.attach(emitter, tape, &order);
    }
}

/// What those of `skills` offer that are servers.
pub fn offer(expert: &Expert, base_command: Option<&[String]>, skills: &SkillSet) -> Vec<ToolSpec> {
    let is_server = |skill: &&Arc<dyn Skill>| {
        expert.skills.get(skill.name()).is_some_and(|spec| server(spec, base_command).is_some())
    };
    skills.skills().iter().filter(is_server).flat_map(|skill| skill.tools()).collect()
}

/// `skills` closed, all at once.
pub async fn close(skills: &SkillSet) {
    close_all(skills.skills().iter().cloned()).await;
}

async fn close_all<S: Skill + ?Sized + 'static>(skills: impl IntoIterator<Item = Arc<S>>) {
    let mut closing = JoinSet::new();
    for skill in skills {
        closing.spawn(async move { skill.close().await });
    }
    while closing.join_next().await.is_some() {}
}

/// What to start for `spec`, when it is a server.
fn server(spec: &SkillSpec, base_command: Option<&[String]>) -> Option<SkillSpec> {
    let mut spec = spec.clone();
    let is_built_in = spec.is_built_in_base();
    let is_base = spec.is_base();
    let SkillSpec::McpStdioSkill { common, command, package_name, args, lazy_init, .. } = &mut spec else {
        return matches!(spec, SkillSpec::McpSseSkill { .. }).then_some(spec);
    };
    if is_built_in {
        let (program, rest) = base_command?.split_first()?;
        command.clone_from(program);
        *package_name = None;
        *args = rest.to_vec();
    }
    if is_base {
        *lazy_init = false;
        common.omit.extend(conversation_tools().into_iter().map(|tool| tool.name));
    }
    Some(spec)
}

fn may_be_missing(spec: &SkillSpec) -> bool {
    matches!(spec, SkillSpec::McpStdioSkill { lazy_init: true, .. })
}

/// As `ask`, but a question is withdrawn when `cancel` fires.
fn withdrawn_at(cancel: CancellationToken, ask: AskPerson) -> AskPerson {
    Arc::new(move |asked| {
        let (cancel, reply) = (cancel.clone(), ask(asked));
        Box::pin(async move { cancel.run_until_cancelled_owned(reply).await.unwrap_or(Reply::Cancelled) })
    })
}

/// Where a server works.
fn mcp_place<'a>(place: &ToolsetOptions<'a>, outputs: &'a Arc<Outputs>) -> mcp::McpContext<'a> {
    mcp::McpContext {
        workspace: place.workspace,
        environment: place.environment,
        outputs,
        person: place.person,
        network: place.network,
    }
}

/// Servers on their way up, by their place among the skills.
#[derive(Default)]
struct Servers {
    starting: JoinSet<(usize, bool, Result<Arc<McpSkill>, SkillError>)>,
    /// Those that may be missing are kept as errors.
    started: BTreeMap<usize, Result<Arc<McpSkill>, SkillError>>,
}

impl Servers {
    fn start(
        &mut self,
        at: usize,
        spec: SkillSpec,
        place: &ToolsetOptions<'_>,
        notices: &mcp::Notices,
        outputs: &Arc<Outputs>,
    ) {
        let (workspace, environment) = (place.workspace.to_owned(), place.environment.clone());
        let (notices, outputs, person) = (Arc::clone(notices), Arc::clone(outputs), place.person.cloned());
        let network = place.network.clone();
        let may_be_missing = may_be_missing(&spec);
        self.starting.spawn(async move {
            let place = mcp::McpContext {
                workspace: &workspace,
                environment: &environment,
                outputs: &outputs,
                person: person.as_ref(),
                network: &network,
            };
            (at, may_be_missing, McpSkill::start(&spec, place, notices).await)
        });
    }

    /// A server that is started when it is called.
    ///
    /// # Errors
    /// What is wrong with its configuration or environment, unless it may be missing.
    fn prepare(
        &mut self,
        at: usize,
        spec: &SkillSpec,
        place: mcp::McpContext<'_>,
        notices: &mcp::Notices,
        lock: &LockedServers,
    ) -> Result<(), RunError> {
        match McpSkill::locked(spec, place, Arc::clone(notices), lock.for_skill(spec.common())) {
            Err(error) if !may_be_missing(spec) => return Err(error.into()),
            prepared => self.started.insert(at, prepared),
        };
        Ok(())
    }

    /// Waits for all of them. With the first failure that counts, or when `cancel` fires, everything is ended.
    async fn all(mut self, cancel: &CancellationToken) -> Result<Started, RunError> {
        let failure = loop {
            let joined = tokio::select! {
                biased;
                () = cancel.cancelled() => break RunError::StoppedAtStart,
                joined = self.starting.join_next() => joined,
            };
            match joined {
                None => return Ok(self.started),
                Some(Ok((_, false, Err(error)))) => break error.into(),
                Some(Ok((at, _, result))) => {
                    self.started.insert(at, result);
                }
                Some(Err(error)) => break RunError::Internal(format!("a skill's start ended early: {error}")),
            }
        };
        // What is still starting is ended with its task; children die with it.
        self.starting.shutdown().await;
        close_all(self.started.into_values().filter_map(Result::ok)).await;
        Err(failure)
    }
}

type Started = BTreeMap<usize, Result<Arc<McpSkill>, SkillError>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expert::SkillCommon;
    use crate::tool::BASE_SKILL;

    fn base(package: &str) -> SkillSpec {
        SkillSpec::McpStdioSkill {
            common: SkillCommon { name: BASE_SKILL.to_owned(), ..SkillCommon::default() },
            command: "npx".to_owned(),
            package_name: Some(package.to_owned()),
            args: Vec::new(),
            required_env: Vec::new(),
            lazy_init: true,
            allowed_domains: None,
        }
    }

    /// Command, package, arguments and laziness of what is started.
    fn started(
        spec: &SkillSpec,
        base_command: Option<&[String]>,
    ) -> Option<(String, Option<String>, Vec<String>, bool)> {
        match server(spec, base_command)? {
            SkillSpec::McpStdioSkill { common, command, package_name, args, lazy_init, .. } => {
                assert_eq!(
                    common.omit,
                    ["todo", "clearTodo", "attemptCompletion"],
                    "the loop's own tools stay its own"
                );
                Some((command, package_name, args, lazy_init))
            }
            _ => None,
        }
    }

    #[test]
    fn a_base_skill_of_another_make_is_a_server() {
        let command = ["node", "base.js"].map(str::to_owned);
        assert_eq!(started(&base("@perstack/base"), None), None);
        let replaced = Some(("node".to_owned(), None, vec!["base.js".to_owned()], false));
        assert_eq!(started(&base("@perstack/base"), Some(&command)), replaced);
        assert_eq!(started(&SkillSpec::base(), Some(&command)), replaced);
        let pinned = Some(("npx".to_owned(), Some("@perstack/base@0.0.40".to_owned()), Vec::new(), false));
        assert_eq!(started(&base("@perstack/base@0.0.40"), None), pinned);
        assert_eq!(started(&base("@perstack/base@0.0.40"), Some(&command)), pinned);
    }
}
