//! [`Servers`]: the MCP servers of one expert on their way up, all at once. The builder of a toolset starts them; what
//! they are connected by is the skill's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;
use crate::expert::SkillSpec;
use crate::runtime::error::RunError;
use crate::runtime::tools::close_all;
use crate::runtime::tools::containment::{SandboxRules, masked};
use crate::runtime::tools::lock::LockedServers;
use crate::sandbox::Sandbox;
use crate::skill::SkillError;
use crate::skill::base::conversation_tools;
use crate::skill::contain::{LearnScope, Programs};
use crate::skill::mcp::{AskPerson, McpContext, McpSkill, Network, Notices, SkillNotice};
use crate::skill::output::Outputs;
use crate::tool::ToolSpec;

/// The setup that all servers of an expert share. Owned, since each is started in a task of its own.
pub struct ServerSetup {
    pub workspace: PathBuf,
    /// The project's folder.
    pub root: PathBuf,
    pub storage: PathBuf,
    pub environment: Environment,
    pub sandbox: Sandbox,
    /// Collects the needs of the servers.
    pub learning: Option<LearnScope>,
    pub outputs: Arc<Outputs>,
    /// Asks a person for what a server wants to know.
    pub person: Option<AskPerson>,
    pub network: Network,
}

impl ServerSetup {
    /// The notices, of which a job that learns sees whether the server comes up.
    fn noting(&self, spec: &SkillSpec, notices: Notices) -> Notices {
        let Some(scope) = self.learning.as_ref().filter(|_| spec.starts_program()) else { return notices };
        let needs = scope.learning.needs(&scope.expert, &spec.common().name);
        Arc::new(move |notice| {
            match notice {
                SkillNotice::Starting { .. } => needs.set_up(false),
                SkillNotice::Connected { .. } => needs.set_up(true),
                _ => {}
            }
            notices(notice);
        })
    }

    fn context(&self, spec: &SkillSpec, notices: &Notices) -> McpContext<'_> {
        let Self { sandbox, workspace, root, storage, environment, .. } = self;
        let (proxies, learning) = (&self.network.proxy, self.learning.as_ref());
        McpContext {
            workspace,
            environment,
            programs: SandboxRules { sandbox: *sandbox, workspace, root, storage, environment, proxies, learning }
                .server(spec, &masked(notices, &self.network.redactor)),
            outputs: &self.outputs,
            person: self.person.as_ref(),
            network: &self.network,
        }
    }
}

/// A server once it is up, or its replacement.
pub enum OpenedServer {
    /// It runs, or is started by its first call.
    Skill(Arc<McpSkill>),
    /// It failed, and its expert does without it.
    Missing(SkillError),
    /// Its tools alone: it is never started.
    Declared(Vec<ToolSpec>),
    /// The same of one that was recorded.
    Recorded(Vec<ToolSpec>),
}

/// Servers that are up, by their places among the skills.
pub type OpenedServers = BTreeMap<usize, OpenedServer>;

/// Servers on their way up.
#[derive(Default)]
pub struct Servers {
    starting: JoinSet<(usize, Result<OpenedServer, SkillError>)>,
    opened: OpenedServers,
}

impl Servers {
    /// Starts the server of the skill at `at`, in a task.
    pub fn start(&mut self, at: usize, spec: SkillSpec, setup: &Arc<ServerSetup>, notices: Notices) {
        let setup = Arc::clone(setup);
        self.starting.spawn(async move {
            let notices = setup.noting(&spec, notices);
            let context = setup.context(&spec, &notices);
            (at, opened(&spec, McpSkill::start(&spec, context, notices).await))
        });
    }

    /// Prepares a server that is started by its first call.
    ///
    /// # Errors
    /// A mistake in its configuration or environment, unless it may be missing.
    pub fn prepare(
        &mut self,
        at: usize,
        spec: &SkillSpec,
        setup: &ServerSetup,
        notices: Notices,
        lock: &LockedServers,
    ) -> Result<(), RunError> {
        let notices = setup.noting(spec, notices);
        let prepared = McpSkill::locked(spec, setup.context(spec, &notices), notices, lock.for_skill(spec.common()));
        self.opened.insert(at, opened(spec, prepared)?);
        Ok(())
    }

    /// Puts the tools of a server that is never started in its place.
    pub fn put(&mut self, at: usize, server: OpenedServer) {
        self.opened.insert(at, server);
    }

    /// Waits for all of them. With the first failure that counts, or when `cancel` fires, everything is ended.
    ///
    /// # Errors
    /// That failure, or [`RunError::StoppedAtStart`].
    pub async fn wait(mut self, cancel: &CancellationToken) -> Result<OpenedServers, RunError> {
        let failure = loop {
            let joined = tokio::select! {
                biased;
                () = cancel.cancelled() => break RunError::StoppedAtStart,
                joined = self.starting.join_next() => joined,
            };
            match joined {
                None => return Ok(self.opened),
                Some(Ok((at, Ok(server)))) => {
                    self.opened.insert(at, server);
                }
                Some(Ok((_, Err(error)))) => break error.into(),
                Some(Err(error)) => break RunError::Internal(format!("a skill's start ended early: {error}")),
            }
        };
        // A server that is still starting is ended with its task; its children die with it.
        self.starting.shutdown().await;
        close_all(skills(self.opened)).await;
        Err(failure)
    }
}

/// Those of `servers` that have to be closed.
pub fn skills(servers: OpenedServers) -> impl Iterator<Item = Arc<McpSkill>> {
    servers.into_values().filter_map(|server| match server {
        OpenedServer::Skill(skill) => Some(skill),
        OpenedServer::Missing(_) | OpenedServer::Declared(_) | OpenedServer::Recorded(_) => None,
    })
}

/// The outcome of a start. A server that may come late (`lazyInit`) may also be missing.
fn opened(spec: &SkillSpec, outcome: Result<Arc<McpSkill>, SkillError>) -> Result<OpenedServer, SkillError> {
    match outcome {
        Ok(skill) => Ok(OpenedServer::Skill(skill)),
        Err(error) if matches!(spec, SkillSpec::McpStdioSkill { lazy_init: true, .. }) => {
            Ok(OpenedServer::Missing(error))
        }
        Err(error) => Err(error),
    }
}

/// The server to start for `spec`, when it is one. A base skill of another make (`perstackBaseSkillCommand`, or a
/// pinned version) is a server like others, without the tools that the loop itself handles.
pub fn server_spec(spec: &SkillSpec, base_command: Option<&[String]>) -> Option<SkillSpec> {
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

/// The confinement that a run would start the programs of a skill with; none for a skill without programs. `base_command` is
/// the command that replaces the built-in base skill.
pub fn programs_of(spec: &SkillSpec, base_command: Option<&[String]>, rules: SandboxRules<'_>) -> Option<Programs> {
    let server = server_spec(spec, base_command);
    let is_built_in = server.is_none() && spec.is_built_in_base();
    let spec = server.as_ref().unwrap_or(spec);
    let unheard: Notices = Arc::new(|_| {});
    if is_built_in {
        return Some(rules.commands(spec, &unheard));
    }
    spec.starts_program().then(|| rules.server(spec, &unheard))
}

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
        match server_spec(spec, base_command)? {
            SkillSpec::McpStdioSkill { common, command, package_name, args, lazy_init, .. } => {
                assert_eq!(
                    common.omit,
                    ["todo", "clearTodo", "attemptCompletion"],
                    "the tools that the loop handles stay its own"
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
