//! The options that commands share.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use perstack::budget::{self, Budgets, MIN_TOOL_REPETITIONS, Span};
use perstack::config::Overrides;
use perstack::config::lockfile::LockUse;
use perstack::config::read_output_schema;
use perstack::cost::Cost;
use perstack::id::AccountId;
use perstack::output_schema::OutputSchema;
use perstack::runtime::{CassetteMode, InDoubt};
use perstack::sandbox::Sandbox;
use perstack::setting::{MOST_PARALLEL_DELEGATES, ProviderName, ReasoningBudget};
use perstack::snapshot::SnapshotMode;
use perstack::workspace_source::WorkspaceSource;

use super::command_line::CommandLine;
use super::failure::Failure;

mod output;
mod permissions;

pub use output::{Format, ONCE_KNOWN_TYPES, OutputArgs};
pub use permissions::PermissionArgs;

/// The options of paths and proxy.
#[derive(Debug, Clone, Default, Args)]
pub struct PlaceArgs {
    /// Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the
    /// project's root: .env, jobs and experts' work are there
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// File with environment variables (repeatable); without it, the configuration's, else .env and .env.local
    #[arg(long, value_name = "PATH")]
    pub env_path: Vec<PathBuf>,
    /// Folder that experts work in [default: the configuration's, else the project's root]
    #[arg(long, value_name = "PATH")]
    pub workspace: Option<PathBuf>,
    /// Folder that jobs are stored in, or `s3://BUCKET/PREFIX` [default: perstack in the project's root]
    #[arg(long, value_name = "PATH")]
    pub storage: Option<PathBuf>,
    /// HTTP(S) or SOCKS proxy for requests to models and remote skills
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)
    #[arg(long)]
    pub trust: bool,
    /// Containment of commands and servers: off, auto, all servers, or required (refuses to run without)
    /// [default: the configuration's, else auto]
    #[arg(long, value_name = "WORD", value_parser = sandbox_parser())]
    pub sandbox: Option<Sandbox>,
}

/// The options of the configuration, for commands that run no job.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the
    /// project's root: .env, jobs and experts' work are there
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// File with environment variables (repeatable); without it, the configuration's, else .env and .env.local
    #[arg(long, value_name = "PATH")]
    env_path: Vec<PathBuf>,
    /// Folder that experts work in [default: the configuration's, else the project's root]
    #[arg(long, value_name = "PATH")]
    workspace: Option<PathBuf>,
    /// Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)
    #[arg(long)]
    trust: bool,
    /// Containment of commands and servers: off, auto, all servers, or required (refuses to run without)
    /// [default: the configuration's, else auto]
    #[arg(long, value_name = "WORD", value_parser = sandbox_parser())]
    sandbox: Option<Sandbox>,
}

impl ConfigArgs {
    /// The same as options of a job.
    pub fn place(&self) -> PlaceArgs {
        PlaceArgs {
            config: self.config.clone(),
            env_path: self.env_path.clone(),
            workspace: self.workspace.clone(),
            trust: self.trust,
            sandbox: self.sandbox,
            ..PlaceArgs::default()
        }
    }
}

/// The options of model and limits.
#[derive(Debug, Clone, Default, Args)]
pub struct ModelArgs {
    /// Model provider
    #[arg(long, value_name = "PROVIDER", value_parser = provider_parser())]
    pub provider: Option<ProviderName>,
    /// Model, as the provider spells it
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Reasoning of the model: none, minimal, low, medium, high or a number of tokens
    #[arg(long, value_name = "BUDGET", allow_negative_numbers = true)]
    pub reasoning_budget: Option<ReasoningBudget>,
    /// Steps of each chain of experts that call each other [default: the configuration's, else 100]
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub max_steps: Option<u64>,
    /// Repeats of a failed model call [default: the configuration's, else 5]
    #[arg(long, value_name = "N", value_parser = from_zero, allow_negative_numbers = true)]
    pub max_retries: Option<u32>,
    /// Time limit for one model call, in milliseconds [default: the configuration's, else 300000]
    #[arg(long, value_name = "MS", value_parser = positive, allow_negative_numbers = true)]
    pub timeout: Option<u64>,
    /// Delegates that work at the same time, at most 1000 [default: the configuration's, else 8]
    #[arg(long, value_name = "N", value_parser = parallel_delegates, allow_negative_numbers = true)]
    pub max_parallel_delegates: Option<u64>,
    #[command(flatten, next_help_heading = "Budgets")]
    pub budgets: BudgetArgs,
}

/// The budgets of the whole job: delegates included, and all that was spent before it is continued.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_field_names, reason = "they are the flags' names")]
pub struct BudgetArgs {
    /// Steps of all experts together
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub max_total_steps: Option<u64>,
    /// US dollars. The most that a request can cost is set aside before it is sent, so that no more is spent
    #[arg(long, value_name = "USD", value_parser = budget::dollars, allow_negative_numbers = true)]
    pub max_cost: Option<Cost>,
    /// Tokens of all prompts, cached parts included, and of all answers; set aside in the same way
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub max_tokens: Option<u64>,
    /// Working time, such as 90s, 10m or 1h30m. Requests and tools that still run then are stopped
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub max_duration: Option<Span>,
    /// Stop a run that makes the same call with the same result this many times in a row
    #[arg(long, value_name = "N", value_parser = repetitions, allow_negative_numbers = true)]
    pub max_tool_repetitions: Option<u64>,
    /// Delegates that the job may start [default: the configuration's, else 256]
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub max_delegates: Option<u64>,
}

/// The options of recording, replaying and questions.
#[derive(Debug, Clone, Default, Args)]
pub struct SessionArgs {
    /// Calls that were interrupted before their result was recorded: report them to the model, retry them, or stop
    /// [default: ask on a terminal, else report]
    #[arg(long, value_name = "CHOICE", value_enum)]
    pub in_doubt: Option<Doubt>,
    /// Record every model exchange and tool result in this file
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub record: Option<PathBuf>,
    /// Answer from this recorded session, without network or key. Calls that write or run are made only in a trusted
    /// folder, else answered from it too
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Take tool results from the recorded session too, instead of running tools
    #[arg(long, requires = "replay")]
    pub replay_tools: bool,
    /// Contain every local server too, and print at the end the lines for perstack.toml (reads, writes, allowedDomains) that
    /// would give each skill what its programs were refused, or reached
    #[arg(long, conflicts_with = "replay")]
    pub learn: bool,
    /// Store the state of the workspace with the job: never, where a run stops, or with every checkpoint
    /// [default: the configuration's, else off]
    #[arg(long, value_name = "WHEN", value_parser = snapshot_parser(), conflicts_with = "replay")]
    pub snapshot: Option<SnapshotMode>,
    /// Never ask on the terminal: a question stops the job with exit code 4
    #[arg(long)]
    pub no_interactive: bool,
}

/// The options of the lock.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct LockArgs {
    /// Refuse to run unless perstack.lock is there and fresh, and the configuration has no unknown keys (for CI)
    #[arg(long)]
    pub locked: bool,
    /// Use perstack.lock as it is, without checking that it is fresh
    #[arg(long, conflicts_with = "locked")]
    pub frozen: bool,
}

impl LockArgs {
    /// The use of the lock that the flags ask for.
    pub fn lock_use(self) -> LockUse {
        match (self.locked, self.frozen) {
            (true, _) => LockUse::Locked,
            (false, true) => LockUse::Frozen,
            (false, false) => LockUse::Auto,
        }
    }
}

/// The options of `run` and `resume`.
#[derive(Debug, Clone, Default, Args)]
pub struct JobArgs {
    #[command(flatten, next_help_heading = "Model")]
    pub model: ModelArgs,
    #[command(flatten, next_help_heading = "Places")]
    pub place: PlaceArgs,
    #[command(flatten, next_help_heading = "Output")]
    pub output: OutputArgs,
    #[command(flatten, next_help_heading = "Session")]
    pub session: SessionArgs,
    #[command(flatten, next_help_heading = "Permissions")]
    pub permissions: PermissionArgs,
    #[command(flatten, next_help_heading = "Lock")]
    pub lock: LockArgs,
    /// Check the answer against the JSON Schema in FILE, and have it given again until it is valid; print the document alone
    /// [default: the expert's outputSchema, if it has one]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub output_schema: Option<PathBuf>,
    /// Make the workspace from this: a folder, or a git repository (https://…, ssh://…, HOST:PATH) with #REVISION, a branch, a
    /// tag or a whole commit. It is in a folder of its own, or in that of --workspace, which is new or empty
    #[arg(long, value_name = "SOURCE", help_heading = "Places", conflicts_with = "replay")]
    pub workspace_from: Option<WorkspaceSource>,
    /// Run an expert with this instruction and the built-in tools, which no configuration has to define. What continues
    /// such a job needs it again
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,
    /// Draw on this account of the storage, together with all other jobs that do. --max-cost and --max-tokens are then its
    /// limits, from now on and for all of them; once it has limits, they need not be given again
    #[arg(long, value_name = "NAME", help_heading = "Budgets", conflicts_with_all = ["record", "replay"])]
    pub account: Option<AccountId>,
}

/// `--in-doubt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Doubt {
    Report,
    Retry,
    Stop,
}

impl From<Doubt> for InDoubt {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Report => Self::Report,
            Doubt::Retry => Self::Retry,
            Doubt::Stop => Self::Stop,
        }
    }
}

/// A whole number from 1.
pub fn positive(text: &str) -> Result<u64, String> {
    let refused = || format!("expected a whole number from 1 to {}", u64::MAX);
    text.parse().ok().filter(|number| *number > 0).ok_or_else(refused)
}

/// A number of repetitions.
fn repetitions(text: &str) -> Result<u64, String> {
    let refused = || format!("expected a whole number from {MIN_TOOL_REPETITIONS} to {}", u64::MAX);
    text.parse().ok().filter(|number| *number >= MIN_TOOL_REPETITIONS).ok_or_else(refused)
}

/// A number of delegates side by side.
fn parallel_delegates(text: &str) -> Result<u64, String> {
    let refused = || format!("expected a whole number from 1 to {MOST_PARALLEL_DELEGATES}");
    text.parse().ok().filter(|number| (1..=MOST_PARALLEL_DELEGATES).contains(number)).ok_or_else(refused)
}

/// A whole number from 0.
fn from_zero(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u32::MAX))
}

/// Accepts known names only, so that a near miss gets the right one as a hint.
pub fn provider_parser() -> impl TypedValueParser<Value = ProviderName> {
    PossibleValuesParser::new(ProviderName::ALL.map(ProviderName::as_str)).try_map(|name| name.parse::<ProviderName>())
}

fn snapshot_parser() -> impl TypedValueParser<Value = SnapshotMode> {
    PossibleValuesParser::new(SnapshotMode::WORDS.map(|(word, _)| word)).try_map(|word| word.parse::<SnapshotMode>())
}

fn sandbox_parser() -> impl TypedValueParser<Value = Sandbox> {
    PossibleValuesParser::new(Sandbox::WORDS.map(|(word, _)| word)).try_map(|word| word.parse::<Sandbox>())
}

impl PlaceArgs {
    fn add_to(&self, words: &mut CommandLine) {
        words.path("--config", self.config.as_deref());
        for path in &self.env_path {
            words.path("--env-path", Some(path));
        }
        words.path("--workspace", self.workspace.as_deref());
        words.path("--storage", self.storage.as_deref());
        // A proxy's address may hold a password, which must not end up in a build's log.
        words.value("--proxy", self.proxy.as_ref().filter(|url| !url.contains('@')));
        words.switch("--trust", self.trust);
        words.value("--sandbox", self.sandbox);
    }
}

impl ModelArgs {
    /// Adds the flags that were given.
    pub fn add_to(&self, words: &mut CommandLine) {
        words
            .value("--provider", self.provider)
            .value("--model", self.model.as_ref())
            .value("--reasoning-budget", self.reasoning_budget)
            .value("--max-steps", self.max_steps)
            .value("--max-retries", self.max_retries)
            .value("--timeout", self.timeout)
            .value("--max-parallel-delegates", self.max_parallel_delegates)
            .value("--max-total-steps", self.budgets.max_total_steps)
            .value("--max-cost", self.budgets.max_cost.map(Cost::usd))
            .value("--max-tokens", self.budgets.max_tokens)
            .value("--max-duration", self.budgets.max_duration)
            .value("--max-tool-repetitions", self.budgets.max_tool_repetitions)
            .value("--max-delegates", self.budgets.max_delegates);
    }

    /// The settings that the flags give.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            provider: self.provider,
            model: self.model.clone(),
            fallback: None,
            reasoning_budget: self.reasoning_budget,
            max_steps: self.max_steps,
            max_retries: self.max_retries,
            timeout_ms: self.timeout,
            max_parallel_delegates: self.max_parallel_delegates,
            budgets: Budgets {
                max_cost: self.budgets.max_cost,
                max_tokens: self.budgets.max_tokens,
                max_duration_ms: self.budgets.max_duration.map(Span::ms),
                max_steps: self.budgets.max_total_steps,
                max_tool_repetitions: self.budgets.max_tool_repetitions,
                max_delegates: self.budgets.max_delegates,
            },
            sandbox: None,
            snapshot: None,
        }
    }
}

impl SessionArgs {
    /// Recording or replay of the session; paths are relative to `folder`. With `effects`, a replay makes calls that
    /// write or run.
    pub fn cassette(&self, folder: &Path, effects: bool) -> CassetteMode {
        match (&self.record, &self.replay) {
            (_, Some(file)) => {
                CassetteMode::Replay { file: folder.join(file), tools: self.replay_tools, effects, part: None }
            }
            (Some(file), None) => CassetteMode::Record(folder.join(file)),
            (None, None) => CassetteMode::None,
        }
    }
}

impl JobArgs {
    /// The schema that was given for the answer; its path is relative to `folder`.
    ///
    /// # Errors
    /// There is no such file, or answers cannot be checked against it.
    pub fn output_schema(&self, folder: &Path) -> Result<Option<OutputSchema>, Failure> {
        let read = self.output_schema.as_ref().map(|file| read_output_schema(&folder.join(file)));
        read.transpose().map_err(Failure::usage)
    }

    /// Adds the flags that were given, for a command that continues the job. A recording alone is left out: it must not be
    /// overwritten by what follows it.
    pub fn add_to_continuation(&self, words: &mut CommandLine) {
        // The workspace is made by now, and `--workspace` names it.
        Self { workspace_from: None, ..self.clone() }.add_to(words);
        words.path("--replay", self.session.replay.as_deref()).switch("--replay-tools", self.session.replay_tools);
    }

    /// Adds the flags that were given, for a command that is run live: without a recorded session.
    pub fn add_to(&self, words: &mut CommandLine) {
        self.model.add_to(words);
        self.place.add_to(words);
        self.output.add_to(words);
        let choice = self.session.in_doubt.and_then(|doubt| doubt.to_possible_value());
        words.value("--in-doubt", choice.as_ref().map(clap::builder::PossibleValue::get_name));
        words.switch("--locked", self.lock.locked).switch("--frozen", self.lock.frozen);
        words.value("--snapshot", self.session.snapshot);
        words.switch("--learn", self.session.learn).switch("--no-interactive", self.session.no_interactive);
        self.permissions.add_to(words);
        words.path("--output-schema", self.output_schema.as_deref());
        words.value("--instruction", self.instruction.as_ref()).value("--account", self.account.as_ref());
        words.value("--workspace-from", self.workspace_from.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_that_were_given_come_back_as_words() {
        let args = JobArgs {
            model: ModelArgs {
                provider: Some(ProviderName::OpenAi),
                model: Some("gpt x".to_owned()),
                max_steps: Some(5),
                budgets: BudgetArgs {
                    max_cost: Cost::from_usd(0.25),
                    max_duration: "90s".parse().ok(),
                    ..BudgetArgs::default()
                },
                ..ModelArgs::default()
            },
            lock: LockArgs { locked: true, frozen: false },
            instruction: Some("You know owls.".to_owned()),
            output_schema: None,
            account: "nightly".parse().ok(),
            workspace_from: None,
            place: PlaceArgs {
                env_path: vec!["a.env".into(), "b.env".into()],
                proxy: Some("http://me:secret@proxy".to_owned()),
                ..PlaceArgs::default()
            },
            output: OutputArgs { output: Some(Format::Json), quiet: true, ..OutputArgs::default() },
            session: SessionArgs {
                in_doubt: Some(Doubt::Stop),
                no_interactive: true,
                replay: Some("c.jsonl".into()),
                replay_tools: true,
                ..SessionArgs::default()
            },
            permissions: PermissionArgs { read_only: true, ..PermissionArgs::default() },
        };
        let mut words = CommandLine::default();
        args.add_to(&mut words);
        assert_eq!(
            words.to_string(),
            "--provider openai --model 'gpt x' --max-steps 5 --max-cost 0.25 --max-duration 1m30s --env-path a.env --env-path b.env --output json --quiet \
             --in-doubt stop --locked --no-interactive --read-only --instruction 'You know owls.' --account nightly"
        );
    }
}
