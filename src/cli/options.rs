//! The options that commands share.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use perstack::budget::{self, Budgets, MIN_TOOL_REPETITIONS, Span};
use perstack::config::lockfile::LockUse;
use perstack::config::{Overrides, nearest};
use perstack::cost::Cost;
use perstack::event::{Detail, TYPES};
use perstack::permission::{InvalidPattern, PermissionPattern, Permissions, RunPermissions};
use perstack::runtime::{CassetteMode, InDoubt};
use perstack::sandbox::Sandbox;
use perstack::setting::{MOST_PARALLEL_DELEGATES, ProviderName, ReasoningBudget};

use super::command_line::CommandLine;
use super::failure::Failure;

/// Event types of the original that this program does not emit, its older versions' included.
pub const ONCE_KNOWN_TYPES: [&str; 13] = [
    "attemptCompletion",
    "callDelegate",
    "callInteractiveTool",
    "completeReasoning",
    "dockerBuildProgress",
    "dockerContainerStatus",
    "errorRun",
    "finishAllToolCalls",
    "finishRun",
    "finishStep",
    "resumeToolCalls",
    "startReasoning",
    "startRunResult",
];

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
    /// Folder that jobs are stored in [default: perstack in the project's root]
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

/// The options of the output.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct OutputArgs {
    /// Content of stdout: the final text, one JSON object at the end, or every event as a line of JSON
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub output: Option<Format>,
    /// Same as --output jsonl
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
    /// Only events of these types, separated by commas; implies --output jsonl
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = PossibleValuesParser::new(TYPES.iter().copied().chain(ONCE_KNOWN_TYPES)),
          hide_possible_values = true)]
    pub filter: Vec<String>,
    /// Every event with its whole messages and checkpoints; implies --output jsonl
    #[arg(long)]
    pub full_events: bool,
    /// Write to FILE what stdout would have, and nothing to stdout. The answer or the object replaces the file as a whole at
    /// the end, unless the job failed or was interrupted, which leaves an older file as it was; events are appended as they
    /// happen
    #[arg(long, value_name = "FILE", conflicts_with = "stream")]
    pub output_file: Option<PathBuf>,
    /// Append a short summary in Markdown to FILE, such as `$GITHUB_STEP_SUMMARY`: the end, its numbers, the beginning of the
    /// answer, and the command that continues the job
    #[arg(long, value_name = "FILE")]
    pub summary_file: Option<PathBuf>,
    /// Show errors only
    #[arg(long, short, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show more: reasoning and skills' messages as they come, the text beside calls, edits and the head of outputs
    #[arg(long, short)]
    pub verbose: bool,
    /// Print the answer as it comes, in a pipe too. It is for eyes: it may hold text beside calls, and pieces of a try
    /// that is repeated, each of which is a line on stderr. Without it, a pipe gets the answer alone, at the end
    #[arg(long)]
    pub stream: bool,
    /// On a terminal, print the answer as the model wrote it: neither word-wrapped nor Markdown shown as styles
    #[arg(long)]
    pub plain: bool,
    /// Ring the terminal's bell at the end of a job that took more than a minute
    #[arg(long)]
    pub bell: bool,
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
    /// Never ask on the terminal: a question stops the job with exit code 4
    #[arg(long)]
    pub no_interactive: bool,
}

/// The permissions of a run, which hold for all its experts.
#[derive(Debug, Clone, Default, Args)]
pub struct PermissionArgs {
    /// Make the calls of this pattern without a question, such as exec(git status*), writeTextFile(src/**) or web.*
    /// (repeatable); without --ask, calls of tools that no --allow names are asked about
    #[arg(long, value_name = "PATTERN", value_parser = permission)]
    pub allow: Vec<PermissionPattern>,
    /// Ask a person before each call of this pattern (repeatable); where nobody can be asked it is not made
    #[arg(long, value_name = "PATTERN", value_parser = permission)]
    pub ask: Vec<PermissionPattern>,
    /// Make no call of this pattern (repeatable). It goes before --ask, and --ask before --allow
    #[arg(long, value_name = "PATTERN", value_parser = permission)]
    pub deny: Vec<PermissionPattern>,
    /// Make no call of a tool that may change something
    #[arg(long)]
    pub read_only: bool,
}

impl PermissionArgs {
    /// The permissions that the flags give.
    pub fn given(&self) -> RunPermissions {
        let lists = Permissions { allow: self.allow.clone(), ask: self.ask.clone(), deny: self.deny.clone() };
        RunPermissions { lists, read_only: self.read_only }
    }

    fn add_to(&self, words: &mut CommandLine) {
        for (flag, patterns) in [("--allow", &self.allow), ("--ask", &self.ask), ("--deny", &self.deny)] {
            for pattern in patterns {
                words.value(flag, Some(pattern));
            }
        }
        words.switch("--read-only", self.read_only);
    }
}

/// A pattern of calls; a misspelt tool gets the nearest name.
fn permission(text: &str) -> Result<PermissionPattern, String> {
    text.parse().map_err(|error: InvalidPattern| {
        let (name, known) = error.unknown.clone().unwrap_or_default();
        let hint = nearest(&name, known.iter().copied());
        let hint = hint.map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default();
        format!("{error}{hint}")
    })
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
    /// Run an expert with this instruction and the built-in tools, which no configuration has to define. What continues
    /// such a job needs it again
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,
}

/// The form of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
    Jsonl,
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
fn positive(text: &str) -> Result<u64, String> {
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
    fn add_to(&self, words: &mut CommandLine) {
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
        }
    }
}

impl OutputArgs {
    fn add_to(&self, words: &mut CommandLine) {
        let format = self.output.and_then(|f| f.to_possible_value());
        words.value("--output", format.as_ref().map(clap::builder::PossibleValue::get_name));
        words.switch("--json", self.json);
        words.value("--filter", (!self.filter.is_empty()).then(|| self.filter.join(",")));
        words.switch("--full-events", self.full_events);
        words.path("--output-file", self.output_file.as_deref());
        // Not --summary-file: what a person continues is not on the page of the CI's job.
        words.switch("--quiet", self.quiet).switch("--verbose", self.verbose);
        words.switch("--stream", self.stream).switch("--plain", self.plain).switch("--bell", self.bell);
    }

    /// The form of stdout that was asked for.
    ///
    /// # Errors
    /// When options for events are given together with another format.
    pub fn format(&self) -> Result<Format, Failure> {
        let wants_events = self.json || self.full_events || !self.filter.is_empty();
        if self.stream && (wants_events || !matches!(self.output, None | Some(Format::Text))) {
            return Err(Failure::usage(anyhow::anyhow!("--stream is for text"))
                .help("events come as they happen with --output jsonl; leave out one of the two"));
        }
        match self.output {
            Some(Format::Text | Format::Json) if wants_events => {
                Err(Failure::usage(anyhow::anyhow!("--json, --filter and --full-events are for events"))
                    .help("use them with --output jsonl, or without --output"))
            }
            Some(format) => Ok(format),
            None if wants_events => Ok(Format::Jsonl),
            None => Ok(Format::Text),
        }
    }

    /// The types in `--filter` that only the original emits.
    pub fn once_known_types(&self) -> impl Iterator<Item = &str> {
        self.filter.iter().map(String::as_str).filter(|kind| ONCE_KNOWN_TYPES.contains(kind))
    }

    /// The amount of history that events repeat.
    pub fn detail(&self) -> Detail {
        if self.full_events { Detail::Full } else { Detail::New }
    }
}

impl SessionArgs {
    /// Recording or replay of the session; paths are relative to `folder`. With `effects`, a replay makes calls that
    /// write or run.
    pub fn cassette(&self, folder: &Path, effects: bool) -> CassetteMode {
        match (&self.record, &self.replay) {
            (_, Some(file)) => CassetteMode::Replay { file: folder.join(file), tools: self.replay_tools, effects },
            (Some(file), None) => CassetteMode::Record(folder.join(file)),
            (None, None) => CassetteMode::None,
        }
    }
}

impl JobArgs {
    /// Adds the flags that were given, for a command that continues the job. A recording alone is left out: it must not be
    /// overwritten by what follows it.
    pub fn add_to_continuation(&self, words: &mut CommandLine) {
        self.add_to(words);
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
        words.switch("--no-interactive", self.session.no_interactive);
        self.permissions.add_to(words);
        words.value("--instruction", self.instruction.as_ref());
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
             --in-doubt stop --locked --no-interactive --read-only --instruction 'You know owls.'"
        );
    }

    #[test]
    fn options_for_events_imply_events_and_contradict_other_formats() {
        let format = |args: OutputArgs| args.format().ok();
        assert_eq!(format(OutputArgs::default()), Some(Format::Text));
        assert_eq!(format(OutputArgs { json: true, ..OutputArgs::default() }), Some(Format::Jsonl));
        let filter = vec!["completeRun".to_owned()];
        assert_eq!(format(OutputArgs { filter: filter.clone(), ..OutputArgs::default() }), Some(Format::Jsonl));
        let output = Some(Format::Text);
        assert_eq!(format(OutputArgs { output, filter, ..OutputArgs::default() }), None);
    }
}
