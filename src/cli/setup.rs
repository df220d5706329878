//! [`Setup`]: flags, environment and files, read and combined before anything is run. Called by every command that
//! needs the configuration; precedence and parsing are left to the library's `config`.

mod folder_files;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use perstack::config::lockfile::{Lock, LockUse};
use perstack::config::{
    self, AgentSkills, ConfigError, Endpoints, FileOwner, FolderTrust, LeftOut, Overrides, Project, Settings,
    SkillPlaces, UserDefaults,
};
use perstack::environment::Environment;
use perstack::event::EventSink;
use perstack::expert::{Expert, ExpertKey, SkillSpec};
use perstack::model::Catalogue;
use perstack::output_schema::OutputSchema;
use perstack::permission::{Permissions, RunPermissions};
use perstack::proxy::ProxySettings;
use perstack::runtime::{AccountUse, BeyondRecording, CassetteMode, InDoubt, Options, SandboxRules};
use perstack::sandbox::Sandbox;
use perstack::skill::base::OffLimits;
use perstack::skill::process::KernelAbility;
use perstack::snapshot::SnapshotMode;
use perstack::store::remote::RemoteStorage;
use perstack::workspace_source::MadeFrom;
use tokio_util::sync::CancellationToken;

use self::folder_files::{add_folder_files, folder_files, off_limits};
use super::Process;
use super::account::SplitLimits;
use super::failure::Failure;
use super::options::{ModelArgs, PlaceArgs};
use super::owners::OwnerCheck;
use super::places::{PlaceOrigin, Places};
pub use super::places::{ProjectNeed, open_storage, storage_folder, storage_place};
use super::user_folder::{catalogue, user_folder};
use super::warning::note;
pub use super::warning::warn;
use super::workspace_from::MadeWorkspace;

/// The name of an expert that the command line defines.
const OWN_EXPERT: &str = "assistant";

/// Returns true if `expert` is as `--instruction` makes one.
pub fn is_own_expert(expert: &Expert) -> bool {
    let number = expert.key.as_str().strip_prefix(OWN_EXPERT);
    let is_so_named = number.is_some_and(|rest| {
        let number = rest.strip_prefix('-').unwrap_or_default();
        rest.is_empty() || (!number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
    });
    is_so_named && *expert == Expert::new(expert.key.clone(), &expert.instruction)
}

/// Configuration, environment and flags, settled.
pub struct Setup {
    pub project: Option<Project>,
    pub environment: Environment,
    /// Those of a folder that is not trusted, until [`Setup::trust`].
    pub settings: Settings,
    /// Those of the same folder once it is trusted.
    trusted_settings: Settings,
    pub trust: FolderTrust,
    /// Configuration and root.
    pub places: Places,
    /// The folder that experts work in; absolute.
    pub workspace: PathBuf,
    pub workspace_origin: PlaceOrigin,
    /// The folder that holds `jobs/`; absolute.
    pub storage: PathBuf,
    /// The storage in an object store, whose working copy the folder is then.
    pub remote: Option<RemoteStorage>,
    pub storage_origin: PlaceOrigin,
    /// The files of this job's configuration and keys, which the file tools refuse.
    off_limits: OffLimits,
    pub proxy: Option<String>,
    /// The keys of the folder's budgets above the user's own.
    looser_budgets: Vec<&'static str>,
    /// The folder that keeps people's logins to remote skills.
    pub logins: Option<PathBuf>,
    /// The user's own configuration folder.
    pub user_folder: Option<PathBuf>,
    /// Folders that the user's configuration trusts with all beneath them.
    pub trust_folders: Vec<String>,
    /// The permissions of the user's configuration.
    pub user_permissions: Permissions,
    pub lock: LockUse,
    pub lockfile: Option<Arc<Lock>>,
    /// The models that come with the program, and the user's.
    pub catalogue: Arc<Catalogue>,
    /// Environment files that were named by a flag and are not there.
    missing_env_files: Vec<PathBuf>,
    /// The environment files of the folder, or those that its configuration names.
    pub env_files: Vec<PathBuf>,
    /// The variables that a folder's own environment files may not set.
    left_out: Vec<LeftOut>,
    /// An expert that the command line defines.
    own_expert: Option<Expert>,
    /// The text that is sent along comes from strangers.
    pub untrusted_input: bool,
    /// The user's own folders of Agent Skills.
    pub user_skills: Vec<PathBuf>,
    /// The folders of the files that are sent along.
    pub context_folders: Vec<PathBuf>,
    /// The schema that was given for the answer.
    pub output_schema: Option<OutputSchema>,
    /// The account that its jobs share.
    pub account: Option<AccountUse>,
    /// The source that the workspace was made from.
    pub workspace_from: Option<MadeFrom>,
}

impl Setup {
    /// Reads what the options name.
    ///
    /// # Errors
    /// With the exit code for usage, when a file is missing or not right.
    pub fn read(process: &Process, place: &PlaceArgs, model: &ModelArgs, need: ProjectNeed) -> Result<Self, Failure> {
        Self::read_beside_account(process, place, &SplitLimits::none(model), need)
    }

    /// The same for jobs that share an account, whose limits are not those of each job.
    ///
    /// # Errors
    /// As [`Setup::read`].
    pub fn read_beside_account(
        process: &Process,
        place: &PlaceArgs,
        split: &SplitLimits,
        need: ProjectNeed,
    ) -> Result<Self, Failure> {
        // The process and the files that the command line names: the user's own settings.
        let mut environment =
            config::environment(process.variables.clone(), &process.folder, &place.env_path).map_err(Failure::usage)?;
        let endpoints = match environment.users("PERSTACK_ALLOW_PRIVATE_ENDPOINTS") {
            Some("1") => Endpoints::PrivateToo,
            _ => Endpoints::PublicOnly,
        };
        let owners = OwnerCheck::new(process, place.trust);
        let places = Places::find(process, place.config.as_deref(), need)?;
        let project = match &places.config {
            Some(path) => Some(load(path, endpoints, &owners, places.is_named())?),
            None => None,
        };
        let missing_env_files = place.env_path.iter().filter(|path| !process.folder.join(path).exists()).cloned();
        let user_folder = user_folder(process);
        let user = match &user_folder {
            Some(folder) => config::user_defaults(&folder.join("config.toml")).map_err(Failure::usage)?,
            None => UserDefaults::default(),
        };
        let env_files =
            if place.env_path.is_empty() { folder_files(process, &places, project.as_ref()) } else { Vec::new() };
        let left_out =
            add_folder_files(&mut environment, process, project.as_ref(), &env_files, &user.overrides, &owners)?;
        let catalogue = catalogue(process)?;
        let variables = split.left(Overrides::from_environment(&environment).map_err(Failure::usage)?, &environment);
        let flags = Overrides { sandbox: place.sandbox, ..split.model.overrides() };
        let settle = |trust| {
            config::settle_in_folder(&flags, &variables, project.as_ref(), &user.overrides, trust)
                .map_err(Failure::usage)
        };
        let (settings, trusted_settings) = (settle(FolderTrust::Untrusted)?, settle(FolderTrust::Trusted)?);
        let looser_budgets = project.as_ref().map(|project| project.overrides.budgets_looser_than(&user.overrides));
        let looser_budgets = looser_budgets.unwrap_or_default();
        let (workspace, workspace_origin) = places.workspace(process, place, project.as_ref())?;
        let off_limits = off_limits(process, place, &places, project.as_ref(), &workspace);
        let (storage_place, storage_origin) = places.storage(process, place.storage.as_deref(), &owners)?;
        // From the user alone: a project must not redirect its user's requests.
        let proxy = place.proxy.clone().or_else(|| environment.users("PERSTACK_PROXY_URL").map(str::to_owned));
        let storage = storage_place.open(process, &environment, proxy.as_deref())?;
        Ok(Self {
            project,
            environment,
            settings,
            trusted_settings,
            trust: FolderTrust::Untrusted,
            looser_budgets,
            places,
            workspace,
            workspace_origin,
            storage: storage.folder,
            remote: storage.remote,
            storage_origin,
            missing_env_files: missing_env_files.collect(),
            env_files,
            left_out,
            off_limits,
            proxy,
            user_skills: user_skills(process, user_folder.as_deref()),
            logins: user_folder.as_ref().map(|folder| folder.join("logins")),
            user_folder,
            trust_folders: user.trust_folders,
            user_permissions: user.permissions,
            lock: LockUse::default(),
            lockfile: None,
            catalogue,
            own_expert: None,
            untrusted_input: false,
            context_folders: Vec::new(),
            output_schema: None,
            account: None,
            workspace_from: None,
        })
    }
}

impl Setup {
    /// Prints the parts of the configuration that are ignored or not enforced, and [`Setup::env_file_warnings`], unless
    /// `quiet`.
    pub fn print_warnings(&self, process: &Process, quiet: bool) {
        // A run goes on without an unknown key; to `check` and --locked it is an error.
        let as_ignored = |project: &Project, warning: &String| {
            if project.unknown_keys.contains(warning) { format!("{warning} (ignored)") } else { warning.clone() }
        };
        let ignored =
            self.project.iter().flat_map(|project| project.warnings.iter().map(|warning| as_ignored(project, warning)));
        for warning in ignored.chain(self.env_file_warnings()).chain(self.unenforced_lists(&self.settings)) {
            warn(process, quiet, &warning);
        }
    }

    /// Takes the decision about the folder: in one that is trusted its own budgets hold, else a warning names those that
    /// do not, unless `quiet`.
    #[must_use]
    pub fn with_trust(mut self, trust: FolderTrust, process: &Process, quiet: bool) -> Self {
        self.trust = trust;
        match (trust, self.budget_warning()) {
            (FolderTrust::Trusted, _) => {
                let before = self.unenforced_lists(&self.settings);
                self.settings = self.trusted_settings.clone();
                // Of a folder that lifts containment itself.
                for warning in self.unenforced_lists(&self.settings).iter().filter(|warning| !before.contains(warning))
                {
                    warn(process, quiet, warning);
                }
            }
            (FolderTrust::Untrusted, Some(warning)) => warn(process, quiet, &warning),
            (FolderTrust::Untrusted, None) => {}
        }
        self
    }

    /// Takes the moments for snapshots that a flag names.
    pub fn set_snapshot(&mut self, given: Option<SnapshotMode>) {
        let Some(mode) = given else { return };
        for settings in [&mut self.settings, &mut self.trusted_settings] {
            (settings.snapshot, settings.origins.snapshot) = (mode, config::Origin::Flag);
        }
    }

    /// The settings of the same folder once it is trusted.
    pub fn trusted_settings(&self) -> &Settings {
        &self.trusted_settings
    }

    /// The folder's budgets that exceed the user's own, and do not hold before the folder is trusted.
    pub fn budget_warning(&self) -> Option<String> {
        let path = &self.project.as_ref()?.path;
        if self.looser_budgets.is_empty() {
            return None;
        }
        let keys = self.looser_budgets.join(", ");
        Some(format!(
            "{}: ignored {keys}: above those of your config.toml, in a folder that is not trusted; set them by flags, or \
             use --trust",
            path.display()
        ))
    }

    /// Prints the names of experts that have mistakes, unless `quiet`: this command does without them.
    pub fn print_unusable(&self, process: &Process, quiet: bool) {
        for project in self.project.iter().filter(|project| !project.mistakes.is_empty()) {
            let names: Vec<&str> = project.mistakes.by_expert().into_keys().collect();
            let (names, path) = (names.join(", "), project.path.display());
            let warning =
                format!("{path}: mistakes in experts that cannot be used: {names}; `perstack check` shows them");
            warn(process, quiet, &warning);
        }
    }

    /// The environment files that were named and are not there, and the variables that the folder's own may not set.
    pub fn env_file_warnings(&self) -> Vec<String> {
        let missing = self.missing_env_files.iter().map(|path| format!("--env-path {}: no such file", path.display()));
        let left_out = self.left_out.iter().map(|LeftOut { file, names }| {
            let (file, names) = (file.display(), names.join(", "));
            format!(
                "{file}: ignored {names}: a file that the command line does not name may only set models' keys with their \
                 addresses, and variables that skills require; set the others in the environment, or use the whole \
                 file with --env-path {file}"
            )
        });
        missing.chain(left_out).collect()
    }

    /// The skills whose `allowedDomains` are not enforced with these settings on this system. Those of remote skills are.
    pub fn unenforced_lists(&self, settings: &Settings) -> Vec<String> {
        let experts = self.project.iter().flat_map(|project| project.experts.values());
        let skills = experts.flat_map(|expert| expert.skills.values().map(move |skill| (expert, skill)));
        let mut listed =
            skills.filter(|(_, skill)| skill.starts_program() && skill.allowed_domains().is_some()).peekable();
        // Most projects have no list, and the system is not tried for nothing.
        if listed.peek().is_none() {
            return Vec::new();
        }
        let why = match KernelAbility::lacking_for_lists() {
            _ if settings.sandbox == Sandbox::Off => "the sandbox is off".to_owned(),
            Some(lacking) => format!("this system lacks {lacking}"),
            None => return Vec::new(),
        };
        let warning = |(expert, skill): (&Expert, &SkillSpec)| {
            format!(
                "expert {}, skill {}: allowedDomains is not enforced: the skill can reach any address, as {why}",
                expert.key,
                skill.common().name
            )
        };
        listed.map(warning).collect()
    }

    /// The expert that the configuration has by this key.
    ///
    /// # Errors
    /// When it has none; with the nearest key.
    pub fn expert(&self, key: &str) -> Result<ExpertKey, Failure> {
        match &self.project {
            Some(project) => project.expert(key).map(|expert| expert.key.clone()).map_err(Failure::usage),
            None => Err(Failure::usage(anyhow::anyhow!("expert {key:?} is not known: there is no configuration"))),
        }
    }

    /// Adds an expert with this instruction and the built-in tools, under a name that the configuration does not use.
    ///
    /// # Errors
    /// When the instruction is empty.
    pub fn add_own_expert(&mut self, instruction: &str) -> Result<ExpertKey, Failure> {
        if instruction.trim().is_empty() {
            return Err(Failure::usage(anyhow::anyhow!("--instruction is empty"))
                .help("describe the expert in a sentence or two"));
        }
        let names = std::iter::once(OWN_EXPERT.to_owned()).chain((2..).map(|number| format!("{OWN_EXPERT}-{number}")));
        let keys = names.filter_map(|name| name.parse::<ExpertKey>().ok());
        let is_free = |key: &ExpertKey| self.project.iter().all(|project| !project.experts.contains(key));
        let Some(key) = keys.into_iter().find(is_free) else {
            return Err(Failure::usage(anyhow::anyhow!("every name for the expert of --instruction is taken")));
        };
        self.own_expert = Some(Expert::new(key.clone(), instruction));
        Ok(key)
    }

    /// The experts that have this skill.
    pub fn experts_with(&self, skill: &SkillSpec) -> Vec<ExpertKey> {
        let experts = self.project.iter().flat_map(|project| project.experts.values());
        let has = |expert: &&Expert| expert.skills.values().any(|other| other == skill);
        experts.filter(has).map(|expert| expert.key.clone()).collect()
    }

    /// All experts of the configuration, in its order.
    ///
    /// # Errors
    /// When one of them has a mistake.
    pub fn experts(&self) -> Result<Vec<ExpertKey>, Failure> {
        let Some(project) = &self.project else { return Ok(Vec::new()) };
        if !project.mistakes.is_empty() {
            return Err(Failure::usage(project.mistakes.error(&project.path)));
        }
        Ok(project.experts.keys().cloned().collect())
    }

    /// Returns true if `path` is a file that decides later runs, or is in a folder of such.
    pub fn protects(&self, path: &Path) -> bool {
        let OffLimits { hidden, closed, read_only, .. } = &self.off_limits;
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let path = real(path);
        [hidden, closed, read_only].into_iter().flatten().any(|kept| path.starts_with(real(kept)))
    }

    /// Has the file tools refuse a further folder.
    pub fn hide(&mut self, folder: PathBuf) {
        self.off_limits.hidden.push(folder);
    }

    /// The files and folders that hold keys and records.
    pub fn closed_files(&self) -> Vec<PathBuf> {
        let OffLimits { hidden, closed, .. } = &self.off_limits;
        [hidden.as_slice(), closed, std::slice::from_ref(&self.storage)].concat()
    }

    /// The Agent Skills of `expert`.
    ///
    /// # Errors
    /// A skill that is not there or is not right.
    pub fn agent_skills(&self, expert: &Expert) -> Result<AgentSkills, ConfigError> {
        let home = self.environment.users("HOME").map(Path::new);
        let closed = self.closed_files();
        let places = SkillPlaces { root: &self.places.root, users: &self.user_skills, home, closed: &closed };
        config::load_agent_skills(&expert.agent_skills, places)
    }

    /// The rules by which programs are contained with these settings.
    pub fn sandbox_rules<'a>(&'a self, settings: &Settings, proxies: &'a ProxySettings) -> SandboxRules<'a> {
        SandboxRules {
            sandbox: settings.sandbox,
            workspace: &self.workspace,
            root: &self.places.root,
            storage: &self.storage,
            environment: &self.environment,
            proxies,
            learning: None,
        }
    }

    /// The same in a workspace that was made for the job, which is about to begin.
    #[must_use]
    pub fn with_workspace(mut self, made: Option<MadeWorkspace>, quiet: bool) -> Self {
        if let Some(made) = made {
            note(quiet, &format!("the workspace is {}", made.folder().display()));
            self.workspace_from = Some(made.keep());
        }
        self
    }

    /// The options for the library.
    pub fn options(
        self,
        sink: Arc<dyn EventSink>,
        cancel: CancellationToken,
        in_doubt: InDoubt,
        cassette: CassetteMode,
    ) -> Options {
        let of_project = |project: Project| (project.experts, project.base_skill_command, project.permissions);
        let (mut experts, base_skill_command, permissions) = self.project.map(of_project).unwrap_or_default();
        if let Some(expert) = self.own_expert {
            experts.insert(expert);
        }
        Options {
            settings: self.settings,
            experts,
            base_skill_command,
            environment: self.environment,
            workspace: self.workspace,
            root: self.places.root,
            context_folders: self.context_folders,
            recorded_context: None,
            user_skills: self.user_skills,
            storage: self.storage,
            remote: self.remote,
            off_limits: self.off_limits,
            proxy: self.proxy,
            logins: self.logins,
            sink,
            cancel,
            in_doubt,
            cassette,
            lock: self.lock,
            lockfile: self.lockfile,
            catalogue: self.catalogue,
            person: None,
            permissions,
            user_permissions: self.user_permissions,
            run_permissions: RunPermissions::default(),
            untrusted_input: self.untrusted_input,
            output_schema: self.output_schema,
            approver: None,
            learning: None,
            difference: None,
            beyond: BeyondRecording::Nothing,
            account: self.account,
            workspace_from: self.workspace_from,
        }
    }
}

/// The user's folders of Agent Skills: this program's own, and those that other agents use too.
fn user_skills(process: &Process, user_folder: Option<&Path>) -> Vec<PathBuf> {
    let own = user_folder.map(|folder| folder.join("skills"));
    let home = process.variable("HOME").map(|home| process.folder.join(home));
    let shared = home.into_iter().flat_map(|home| [".agents/skills", ".claude/skills"].map(|folder| home.join(folder)));
    own.into_iter().chain(shared).collect()
}

/// Reads the project, and accepts its files unless they are another user's and nothing names them.
fn load(path: &Path, endpoints: Endpoints, owners: &OwnerCheck, is_named: bool) -> Result<Project, Failure> {
    let way_on = "name it with --config";
    if !is_named {
        // Before it is parsed: mistakes in another's file are none of the user's.
        owners.accept_path(path, way_on)?;
    }
    let project = config::load_with(path, endpoints).map_err(Failure::usage)?;
    if !is_named {
        for FileOwner { path, owner } in &project.owners {
            owners.accept(path, *owner, way_on)?;
        }
    }
    Ok(project)
}
