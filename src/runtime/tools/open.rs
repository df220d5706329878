//! [`ToolsetBuilder`]: opens the skills of an expert. Servers are started all at once, before anything is added, and
//! added in the order of the configuration, so that the same tool wins whichever server is up first.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::AgentSkill;
use crate::config::lockfile::{self, Definition, DiscoveredTools, LockUse};
use crate::event::ServerInfo;
use crate::expert::{Expert, ExpertKey, SkillCommon, SkillSpec, ToolSearch, VerifyCommand};
use crate::proxy::ProxySettings;
use crate::redact::Redactor;
use crate::runtime::error::RunError;
use crate::runtime::job::backends::JobBackends;
use crate::runtime::options::{Options, VERSION};
use crate::runtime::run::events::EventEmitter;
use crate::runtime::stop::StopSignal;
use crate::runtime::tools::compared;
use crate::runtime::tools::containment::{self, SandboxRules, masked, with_agent_skills};
use crate::runtime::tools::lock::{self, LockedServers};
use crate::runtime::tools::notices::NoticeBoard;
use crate::runtime::tools::search::{self, SearchRule};
use crate::runtime::tools::servers::{OpenedServer, OpenedServers, ServerSetup, Servers, server_spec, skills};
use crate::runtime::tools::{Toolset, close, close_all};
use crate::skill::agent_skills::{self, AgentSkillFiles};
use crate::skill::base::{BaseSkill, Commands, Verifier, Warn, conversation_tools, offered_tools};
use crate::skill::contain::{LearnScope, Programs};
use crate::skill::mcp::{AskPerson, Network, Reply, SkillNotice, Timings};
use crate::skill::output::Outputs;
use crate::skill::tool_search::ToolFinder;
use crate::skill::{NameClaim, Skill, SkillSet, declare};
use crate::tool::{TOOL_SEARCH_SKILL, ToolSpec};

/// The original's text.
const REQUIRED_ENV_IGNORED: &str =
    "[perstack] requiredEnv is ignored for bundled @perstack/base. Pin a version to enable it.";

/// The source of the tools of servers.
#[derive(Clone, Copy)]
pub enum ToolSource<'a> {
    /// All servers are started and asked.
    Servers,
    /// The lock; a server is started when one of its tools is called.
    Lock(&'a LockedServers),
    /// These definitions: no server is started, ever.
    Definitions(&'a [ToolSpec]),
    /// The same, of a recording, in which servers may have changed them.
    Recorded(&'a [ToolSpec]),
}

/// Opens the tools of `expert` for a Run. With a lock that serves, no server is started before it is called; and none
/// at all where the tape has the results of their calls.
///
/// # Errors
/// As [`ToolsetBuilder::open`], or the lock must serve and cannot.
pub async fn open_tools(
    expert: &Expert,
    options: &Options,
    backends: &JobBackends,
    agent_skills: &[AgentSkill],
    stop: &StopSignal,
    emitter: &EventEmitter,
    is_delegate: bool,
) -> Result<Toolset, RunError> {
    let tape = &backends.tape;
    let recorded = tape.recorded_offer(&expert.key)?;
    // The lock among the options of a whole replay is that of a configuration that is compared, if there is one.
    let is_whole = backends.is_whole_replay;
    let lock = match &recorded {
        // What was recorded comes first, unless the lock is asked for: then a stale one is an error in a replay as
        // well.
        Some(_) if options.lock == LockUse::Auto && !is_whole => lock::LockUsage::default(),
        _ => lock::choose(expert, options)?,
    };
    let other = lock.servers.is_none().then(|| compared::other_server(expert, options, backends)).flatten();
    let is_unrecorded = other.is_some();
    if let (Some(difference), Some(other)) = (&options.difference, other) {
        difference.get_or_init(|| other);
    }
    // What is searched are the definitions of a lock, in a replay as in its recording.
    let is_locked = match &recorded {
        Some(offer) if !(is_whole && lock.servers.is_some()) => offer.is_locked,
        _ => lock.servers.is_some(),
    };
    let source = match (&recorded, &lock.servers) {
        (Some(_), Some(lock)) if is_whole => ToolSource::Definitions(lock.tools()),
        (Some(offer), _) => ToolSource::Recorded(&offer.tools),
        (None, Some(lock)) if tape.replays_servers() => ToolSource::Definitions(lock.tools()),
        (None, Some(lock)) => ToolSource::Lock(lock),
        // An older cassette, which does not have their tools: the next request differs from the recorded one.
        (None, None) if !tape.may_start_servers() => ToolSource::Definitions(&[]),
        (None, None) => ToolSource::Servers,
    };
    let builder = ToolsetBuilder::new(expert, options, stop.token(), &backends.redactor);
    let builder = builder.running_nothing(tape.runs_nothing());
    let notices = NoticeBoard::default();
    notices.attach(emitter, tape);
    let mut builder = builder.source(source).for_delegate(is_delegate).notices(notices);
    let rule = SearchRule::new(expert, options, backends)?;
    if is_locked {
        builder = builder.searching(rule);
    }
    let mut toolset = builder.agent_skills(agent_skills.to_vec()).open().await?;
    toolset.is_unrecorded = is_unrecorded;
    toolset.release_notices();
    if !is_delegate {
        toolset.warnings.extend(containment::warning(expert, options, &backends.sandbox_state(options))?);
    }
    toolset.warnings.extend(unmatched(expert, &toolset.skills));
    toolset.warnings.extend(lock.warnings);
    let base_command = options.base_skill_command.as_deref();
    if !is_locked && rule.setting != ToolSearch::Off {
        let (tokens, _) = search::measure(toolset.skills.tools(), search::is_searchable(expert, base_command));
        toolset.warnings.extend(rule.lacks_lock(expert, tokens));
    }
    if Definition::new(expert, base_command).servers().next().is_some() {
        tape.record_offer(&expert.key, is_locked, || server_tools(expert, base_command, &toolset.skills));
    }
    Ok(toolset)
}

/// The names in `pick` and `omit` that fit no tool of a server that was asked, a line each.
fn unmatched(expert: &Expert, skills: &SkillSet) -> Vec<String> {
    let lines = |skill: &Arc<dyn Skill>| {
        let (spec, listed) = expert.skills.get(skill.name()).zip(skill.listed())?;
        Some(lockfile::unmatched(spec.common(), listed.iter().map(String::as_str)))
    };
    skills.skills().iter().filter_map(lines).flatten().collect()
}

/// The tools of a server's skill among `tools`, as it admits them.
fn tools_of(skill: &SkillCommon, tools: &[ToolSpec]) -> Vec<ToolSpec> {
    let is_of_it = |tool: &&ToolSpec| tool.skill_name == skill.name && skill.admits(&tool.name);
    tools.iter().filter(is_of_it).cloned().collect()
}

/// The tools of those of `skills` that are servers.
pub fn server_tools(expert: &Expert, base_command: Option<&[String]>, skills: &SkillSet) -> Vec<ToolSpec> {
    let is_server = |skill: &&Arc<dyn Skill>| {
        expert.skills.get(skill.name()).is_some_and(|spec| server_spec(spec, base_command).is_some())
    };
    skills.skills().iter().filter(is_server).flat_map(|skill| skill.tools()).collect()
}

/// Opens the skills of `expert`, notes what they offer, and closes them again.
///
/// # Errors
/// As [`ToolsetBuilder::open`], or a skill that a Run would do without: a list is of all tools.
pub async fn discover(
    expert: &ExpertKey,
    options: &Options,
    source: ToolSource<'_>,
) -> Result<DiscoveredTools, RunError> {
    let expert = options.experts.get(expert)?;
    let builder = ToolsetBuilder::new(expert, options, &options.cancel, &options.redactor());
    let toolset = builder.source(source).open().await?;
    let protocol_of = |skill: &Arc<dyn Skill>| Some((skill.name().to_owned(), skill.protocol()?));
    let protocols = toolset.skills.skills().iter().filter_map(protocol_of).collect();
    // A Run shows these as events; here there is none.
    let warnings = toolset.warnings.into_iter().chain(toolset.notices.warnings()).collect();
    let skills = toolset.skills.skills();
    let named = |skill: &Arc<dyn Skill>| skill.name().to_owned();
    let found = DiscoveredTools {
        tools: toolset.skills.own_tools(),
        protocols,
        listed: skills.iter().filter_map(|skill| Some((named(skill), skill.listed()?))).collect(),
        left_out: skills.iter().map(|skill| (named(skill), skill.left_out())).collect(),
        unmatched: unmatched(expert, &toolset.skills),
        warnings,
    };
    close(&toolset.skills).await;
    match toolset.missing.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(found),
    }
}

/// The runner of `verify`, as the command that verifies the answers of `expert` would be run.
///
/// # Errors
/// The workspace or an Agent Skill cannot be opened, or commands must be contained and cannot.
pub fn command_verifier(
    expert: &Expert,
    verify: &VerifyCommand,
    options: &Options,
    redactor: &Redactor,
) -> Result<Arc<Verifier>, RunError> {
    containment::require(options, expert)?;
    let skills = options.agent_skills(expert)?.skills;
    ToolsetBuilder::new(expert, options, &options.cancel, redactor).agent_skills(skills).verifier_by(verify)
}

/// Opens the skills of one expert.
pub struct ToolsetBuilder<'a> {
    expert: &'a Expert,
    options: &'a Options,
    /// Fires to give up waiting for servers.
    cancel: CancellationToken,
    source: ToolSource<'a>,
    is_delegate: bool,
    runs_nothing: bool,
    /// The rule for a search of tools; none where there can be none.
    search: Option<SearchRule>,
    setup: Arc<ServerSetup>,
    /// Its Agent Skills, once they are loaded.
    agent_skills: Option<Vec<AgentSkill>>,
    toolset: Toolset,
}

impl<'a> ToolsetBuilder<'a> {
    /// The tools of `expert` as a coordinator, from its servers. `redactor`: of what comes up on the way to a server.
    pub fn new(expert: &'a Expert, options: &'a Options, cancel: &CancellationToken, redactor: &Redactor) -> Self {
        let outputs = Outputs::new(options.settings.max_tool_output);
        let setup = ServerSetup {
            workspace: options.workspace.clone(),
            root: options.root.clone(),
            storage: options.storage.clone(),
            environment: options.environment.clone(),
            sandbox: options.settings.sandbox,
            learning: options.learning.clone().map(|learning| LearnScope { learning, expert: expert.key.clone() }),
            outputs: Arc::clone(&outputs),
            person: options.person.clone().map(|ask| withdrawn_at(cancel.clone(), ask)),
            network: Network {
                proxy: ProxySettings::settle(options.proxy.as_deref(), &options.environment),
                logins: options.logins.clone(),
                redactor: redactor.clone(),
            },
        };
        let toolset = Toolset {
            skills: SkillSet::default(),
            delegates: Vec::new(),
            warnings: Vec::new(),
            missing: Vec::new(),
            notices: NoticeBoard::default(),
            outputs,
            verifier: None,
            searched: None,
            is_unrecorded: false,
        };
        let (cancel, source) = (cancel.clone(), ToolSource::Servers);
        Self {
            expert,
            options,
            cancel,
            source,
            is_delegate: false,
            runs_nothing: false,
            search: None,
            setup: Arc::new(setup),
            agent_skills: None,
            toolset,
        }
    }

    /// Takes the tools of servers from `source`.
    #[must_use]
    pub fn source(self, source: ToolSource<'a>) -> Self {
        Self { source, ..self }
    }

    /// With `is_delegate`, another expert called this one: no person is there for its questions.
    #[must_use]
    pub fn for_delegate(self, is_delegate: bool) -> Self {
        Self { is_delegate, ..self }
    }

    /// With `runs_nothing`, all tools are declared alone: their calls are answered from elsewhere.
    #[must_use]
    pub fn running_nothing(self, runs_nothing: bool) -> Self {
        Self { runs_nothing, ..self }
    }

    /// Has the model search for the tools of servers as `rule` has it: only for sources that are not the servers themselves.
    #[must_use]
    pub fn searching(self, rule: SearchRule) -> Self {
        Self { search: Some(rule), ..self }
    }

    /// With these Agent Skills, however their folders have changed since. Without a call, they are loaded.
    #[must_use]
    pub fn agent_skills(self, skills: Vec<AgentSkill>) -> Self {
        Self { agent_skills: Some(skills), ..self }
    }

    /// Has the skills report to `notices`.
    #[must_use]
    pub fn notices(mut self, notices: NoticeBoard) -> Self {
        self.toolset.notices = notices;
        self
    }

    /// Opens all skills. With the first that fails all others are closed again, unless it is one that may come late
    /// (`lazyInit`): its tools are missing then.
    ///
    /// # Errors
    /// A delegate that is not defined, a skill that cannot be opened, or [`RunError::StoppedAtStart`].
    pub async fn open(mut self) -> Result<Toolset, RunError> {
        if !self.runs_nothing {
            containment::require(self.options, self.expert)?;
        }
        // First, so that no server is started for an expert that cannot run.
        let delegates = self.options.experts.delegates(self.expert)?;
        if self.agent_skills.is_none() {
            self.agent_skills = Some(self.options.agent_skills(self.expert)?.skills);
        }
        self.toolset.verifier = self.verifier()?;
        let servers = self.start_servers()?;
        let mut opened = servers.wait(&self.cancel).await?;
        if let Err(error) = self.add_skills(&mut opened).and_then(|()| self.add_agent_skills()) {
            close(&self.toolset.skills).await;
            close_all(skills(opened)).await;
            return Err(error);
        }
        let finder = self.add_search();
        self.add_delegates(delegates);
        self.toolset.skills.assign_names();
        if let Some(finder) = finder {
            let skills = &mut self.toolset.skills;
            self.toolset.searched = Some(search::put_behind(self.expert, self.options, skills, &finder));
        }
        self.toolset.warnings.extend_from_slice(self.toolset.skills.warnings());
        Ok(self.toolset)
    }

    fn base_command(&self) -> Option<&'a [String]> {
        self.options.base_skill_command.as_deref()
    }

    /// Starts the servers among the skills, or what the source has in their place.
    fn start_servers(&self) -> Result<Servers, RunError> {
        let mut servers = Servers::default();
        for (at, (name, spec)) in self.expert.skills.iter().enumerate() {
            let Some(spec) = server_spec(spec, self.base_command()) else { continue };
            let notices = self.toolset.notices.for_skill(name);
            match self.source {
                ToolSource::Servers => servers.start(at, spec, &self.setup, notices),
                ToolSource::Lock(lock) => servers.prepare(at, &spec, &self.setup, notices, lock)?,
                ToolSource::Definitions(tools) => {
                    servers.put(at, OpenedServer::Declared(tools_of(spec.common(), tools)));
                }
                ToolSource::Recorded(tools) => {
                    servers.put(at, OpenedServer::Recorded(tools_of(spec.common(), tools)));
                }
            }
        }
        Ok(servers)
    }

    fn add_skills(&mut self, servers: &mut OpenedServers) -> Result<(), RunError> {
        let mut has_base = false;
        for (at, (name, spec)) in self.expert.skills.iter().enumerate() {
            if spec.is_base() && !std::mem::replace(&mut has_base, true) {
                self.add_loop_tools(spec);
            }
            match (servers.remove(&at), spec) {
                (Some(server), _) => self.add_server(server, spec),
                (None, SkillSpec::InteractiveSkill { .. }) => self.add_interactive(spec)?,
                (None, _) => self.add_built_in_base(name, spec)?,
            }
        }
        if !has_base {
            // Files and commands must be asked for; the tools that the loop handles are always there.
            self.declare(conversation_tools(), NameClaim::Base);
        }
        Ok(())
    }

    /// Declares the tools that the loop itself handles, where the base skill is a server: that one's are left out.
    fn add_loop_tools(&mut self, base: &SkillSpec) {
        if !base.is_built_in_base() || self.base_command().is_some() {
            let admitted = conversation_tools().into_iter().filter(|tool| base.common().admits(&tool.name));
            self.declare(admitted.collect(), NameClaim::Base);
        }
    }

    fn add_server(&mut self, server: OpenedServer, spec: &SkillSpec) {
        let claim = if spec.is_base() { NameClaim::Base } else { NameClaim::Server };
        match server {
            OpenedServer::Skill(skill) => self.toolset.skills.add(skill, claim),
            OpenedServer::Missing(error) => self.toolset.missing.push(error),
            OpenedServer::Declared(tools) => self.declare(tools, claim),
            OpenedServer::Recorded(tools) => self.toolset.skills.add_recorded(&spec.common().name, tools, claim),
        }
    }

    fn add_interactive(&mut self, spec: &SkillSpec) -> Result<(), RunError> {
        if !self.is_delegate {
            self.declare(declare::interactive(spec)?, NameClaim::Server);
        }
        Ok(())
    }

    fn add_agent_skills(&mut self) -> Result<(), RunError> {
        let skills = self.agent_skills.take().unwrap_or_default();
        if self.runs_nothing && !skills.is_empty() {
            let names: Vec<&str> = skills.iter().map(|skill| skill.name.as_str()).collect();
            self.declare(vec![agent_skills::tool(&names)], NameClaim::Base);
        } else if !skills.is_empty() {
            let folders = skills.into_iter().map(|skill| (skill.name, skill.folder, skill.handle)).collect();
            self.toolset.skills.add(AgentSkillFiles::open(folders, &self.toolset.outputs)?, NameClaim::Base);
        }
        Ok(())
    }

    /// Adds the tool that searches the tools of servers, where the rule has them searched.
    fn add_search(&mut self) -> Option<Arc<ToolFinder>> {
        let rule = self.search.filter(|rule| rule.setting != ToolSearch::Off)?;
        let is_searchable = search::is_searchable(self.expert, self.base_command());
        let (tokens, servers) = search::measure(&self.toolset.skills.own_tools(), is_searchable);
        if !rule.applies(tokens) {
            return None;
        }
        if self.expert.skills.contains_key(TOOL_SEARCH_SKILL) {
            self.toolset.warnings.push(format!(
                "toolSearch: a skill has the name {TOOL_SEARCH_SKILL}, so that tools are not searched; give it another"
            ));
            return None;
        }
        let finder = ToolFinder::new(servers);
        if self.runs_nothing {
            self.declare(finder.tools(), NameClaim::Base);
        } else {
            self.toolset.skills.add(Arc::clone(&finder) as Arc<dyn Skill>, NameClaim::Base);
        }
        Some(finder)
    }

    fn add_built_in_base(&mut self, name: &str, spec: &SkillSpec) -> Result<(), RunError> {
        if matches!(spec, SkillSpec::McpStdioSkill { required_env, .. } if !required_env.is_empty()) {
            self.toolset.warnings.push(REQUIRED_ENV_IGNORED.to_owned());
        }
        if self.runs_nothing {
            self.declare(offered_tools(spec.common()), NameClaim::Base);
        } else {
            let (workspace, environment) = (&self.options.workspace, &self.options.environment);
            let off_limits = self.options.all_off_limits();
            let (programs, warn) = self.programs(name, spec);
            let outputs = &self.toolset.outputs;
            let base = BaseSkill::open(spec.common(), workspace, environment, off_limits, outputs, programs, warn)?;
            self.toolset.skills.add(base, NameClaim::Base);
        }
        self.toolset.notices.for_skill(name)(SkillNotice::Connected {
            server: Some(ServerInfo { name: name.to_owned(), version: VERSION.to_owned() }),
            timings: Timings::default(),
        });
        Ok(())
    }

    /// The confinement of commands with the access of the base skill `spec`, and the receiver of what they did to protected
    /// files.
    fn programs(&self, name: &str, spec: &SkillSpec) -> (Programs, Warn) {
        let notices = self.toolset.notices.for_skill(name);
        let skills = self.agent_skills.as_deref().unwrap_or_default();
        let spec = with_agent_skills(spec, skills, &self.options.workspace);
        let programs = SandboxRules::new(self.options, &self.setup.network.proxy, self.setup.learning.as_ref())
            .commands(&spec, &masked(&notices, &self.setup.network.redactor));
        (programs, Arc::new(move |message| notices(SkillNotice::Warning { message })))
    }

    /// Runs the command that verifies the expert's answers, with the access of its base skill; of the usual one where it has
    /// none.
    fn verifier(&self) -> Result<Option<Arc<Verifier>>, RunError> {
        let Some(verify) = &self.expert.verify else { return Ok(None) };
        if self.runs_nothing {
            return Ok(Some(Verifier::idle(verify, &self.toolset.outputs)));
        }
        self.verifier_by(verify).map(Some)
    }

    /// The same for any command.
    fn verifier_by(&self, verify: &VerifyCommand) -> Result<Arc<Verifier>, RunError> {
        let usual = SkillSpec::base();
        let base = self.expert.skills.values().find(|spec| spec.is_base()).unwrap_or(&usual);
        let common = base.common();
        let (programs, warn) = self.programs(&common.name, base);
        let Options { workspace, environment, .. } = self.options;
        let off_limits = self.options.all_off_limits();
        let commands = Commands::open(common, workspace, environment, off_limits, programs, warn)?;
        Ok(Verifier::new(verify, commands, &self.toolset.outputs))
    }

    fn add_delegates(&mut self, delegates: Vec<&Expert>) {
        self.toolset.delegates = delegates.iter().map(|delegate| delegate.reference()).collect();
        self.declare(delegates.into_iter().map(declare::delegate).collect(), NameClaim::Server);
    }

    fn declare(&mut self, tools: Vec<ToolSpec>, claim: NameClaim) {
        self.toolset.skills.declare(tools, claim);
    }
}

/// As `ask`, but a question is withdrawn when `cancel` fires.
fn withdrawn_at(cancel: CancellationToken, ask: AskPerson) -> AskPerson {
    Arc::new(move |asked| {
        let (cancel, reply) = (cancel.clone(), ask(asked));
        Box::pin(async move { cancel.run_until_cancelled_owned(reply).await.unwrap_or(Reply::Cancelled) })
    })
}
