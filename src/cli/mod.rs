//! [`main`]: the command line, from arguments to an exit code. A file per command, shared options, and all output.
//!
//! Called by `main.rs` alone. It decides nothing about a Run, which is left to the library; it is the only place that
//! prints, reads the process's environment, and knows flags.

mod account;
mod bug;
mod check;
mod closure;
mod completions;
mod dry_run;
mod each;
mod in_doubt;
mod job;
mod job_runner;
mod job_summary;
mod outcome;
mod output_file;
mod owners;
mod places;
mod failure;
#[cfg(feature = "fleet")]
mod fleet;
mod exit;
mod experts;
mod gone;
mod info;
mod init;
#[cfg(unix)]
mod asking;
#[cfg(unix)]
mod elicitation_form;
mod permission_check;
#[cfg(unix)]
mod permission_question;
mod input;
mod install;
mod learn;
mod list_tools;
mod lock;
mod log;
mod login;
mod models;
#[cfg(not(feature = "telemetry"))]
mod no_telemetry;
mod options;
mod hardening;
mod program;
mod program_log;
mod prompt;
#[cfg(test)]
mod reference;
mod render;
mod replay;
mod resume;
mod run;
mod schema;
mod setup;
mod storage;
mod signals;
#[cfg(feature = "telemetry")]
mod telemetry;
mod test;
mod text_diff;
mod tool_names;
mod user_folder;
mod warning;
mod trust;
mod command_line;
mod why;
mod workspace_from;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ColorChoice, CommandFactory, Parser, Subcommand};

pub use self::exit::Exit;
use self::failure::Failure;
#[cfg(not(feature = "telemetry"))]
use self::no_telemetry as telemetry;
use self::program_log::ProgramLog;

/// The end of the help of the program and of the commands that run jobs.
fn after_help() -> String {
    format!("{STREAMS}\n\nExit codes:\n{}{CONTRACT}", exit::help_lines())
}

const STREAMS: &str = "\
Streams:
  stdout carries the result and nothing else: the final text, one JSON object, or an event
  a line (--output). On a terminal the text streams as it comes; elsewhere it is printed at
  the end, unless --stream. With --output-file it is empty, and the file has the result.
  stderr carries progress, warnings and errors. A closed stdout stops the job gracefully:
  exit code 0 when it had completed, else 1.";

const CONTRACT: &str = "\
On every stop but 0 and 2, the last line on stderr is the command that continues the job.

Signals:
  The first SIGINT, SIGTERM or SIGHUP (a closed terminal; not under nohup) stops the job: tools
  get a few seconds to end, what was done is recorded. The second ends the program at once.
  SIGQUIT ends it at once, without a core file. Ctrl-Z stops the program alone: tools that run
  go on, and time limits count only while the program runs.

Environment:
  PERSTACK_CONFIG      the configuration file, unless --config is given
  PERSTACK_STORAGE     where jobs are stored, unless --storage is given (also PERSTACK_STORAGE_PATH)
  PERSTACK_LEASE       in an object store, how long a silent process keeps its job [default: 30s]
  PERSTACK_TAKE_OVER   1: there, a job is taken at once, also from a process that has not let go of it
  PERSTACK_PROXY_URL   proxy for models and remote skills, unless --proxy is given
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY  proxies, where none is named for all
  PERSTACK_NO_INTERACTIVE  1: never ask on the terminal, as --no-interactive
  PERSTACK_TRUST       1: trust every folder, as --trust; a digest: only that state of a folder
  PERSTACK_SANDBOX     containment of commands and servers, unless --sandbox is given
  PERSTACK_CONFIG_DIR  the folder of the user's own defaults, config.toml, models,
                       models.toml, and logins
  PERSTACK_PROVIDER, PERSTACK_MODEL, PERSTACK_REASONING_BUDGET, PERSTACK_MAX_STEPS,
  PERSTACK_MAX_TOTAL_STEPS, PERSTACK_MAX_RETRIES, PERSTACK_TIMEOUT, PERSTACK_MAX_COST, PERSTACK_MAX_TOKENS,
  PERSTACK_MAX_DURATION, PERSTACK_MAX_TOOL_REPETITIONS,
  PERSTACK_MAX_DELEGATES, PERSTACK_MAX_PARALLEL_DELEGATES  the values of the flags of these names, where those are absent
  PERSTACK_PAGER, PAGER  the pager of `log` and `job diff`: cat or nothing for none
  NO_COLOR, CLICOLOR_FORCE are honoured, unless --color is given.
  OTEL_EXPORTER_OTLP_ENDPOINT and the other variables of OpenTelemetry, TRACEPARENT  traces of jobs, and where they
                       are sent (docs/telemetry.md)
  RUST_LOG             the program's own log lines on stderr: perstack=debug

Documentation:
  perstack help COMMAND  a command with all its options and examples; also as manual pages in man/ of the
                         source (man perstack-run, where they are installed)
  perstack schema        every key of perstack.toml with its meaning, as a JSON Schema for editors;
                         perstack schema events, result, job, checkpoint: what scripts read
  docs/ of the source    the book; docs/getting-started.md is its beginning";

/// The answer to `--version`, as the parser gives it.
const VERSION_LINE: &str = concat!("perstack ", env!("CARGO_PKG_VERSION"), "\n");

/// Runs declarative AI experts, and never loses work.
#[derive(Debug, Parser)]
#[command(name = "perstack", version, arg_required_else_help = true, after_help = after_help())]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// The same, with no other command than `run`.
#[derive(Debug, Parser)]
#[command(name = "perstack", version)]
struct RunLine {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: RunCommand,
}

#[derive(Debug, Subcommand)]
enum RunCommand {
    Run(run::RunArgs),
}

/// The options that stand before any command.
#[derive(Debug, Args)]
struct GlobalArgs {
    /// Colours: always, never, or by the terminal and the environment
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t, hide_default_value = true)]
    color: ColorChoice,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Resume(resume::ResumeArgs),
    Each(each::EachArgs),
    Replay(replay::ReplayArgs),
    Test(test::TestArgs),
    Init(init::InitArgs),
    Experts(experts::ExpertsArgs),
    ListTools(list_tools::ListToolsArgs),
    Install(install::InstallArgs),
    Check(check::CheckArgs),
    Info(info::InfoArgs),
    Models(models::ModelsArgs),
    Log(log::LogArgs),
    Job(job::JobCommandArgs),
    #[cfg(feature = "fleet")]
    Fleet(fleet::FleetArgs),
    Login(login::LoginArgs),
    Trust(trust::show::TrustCommandArgs),
    Why(why::WhyArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
}

/// The environment and folder that the process was started with.
#[derive(Clone)]
pub struct Process {
    /// The environment's variables, but for those that are no UTF-8.
    pub variables: Vec<(String, String)>,
    /// The current folder. Paths on the command line are relative to it.
    pub folder: PathBuf,
    /// The colours that the command line asks for.
    pub color: ColorChoice,
    /// The program's own log lines, where they are asked for.
    pub log: Option<ProgramLog>,
}

impl Process {
    /// Reads environment and current folder, once.
    fn read(color: ColorChoice) -> anyhow::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the process's environment")]
        let variables = std::env::vars_os();
        Ok(Self {
            variables: variables
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            folder: std::env::current_dir().context("cannot find the current folder")?,
            color,
            log: None,
        })
    }

    /// A variable's value; an empty one counts as not set.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }
}

/// Returns true if the version is all that is asked for: scripts ask often, and the parser takes longer to be made than to
/// answer.
fn is_version_asked() -> bool {
    let mut words = std::env::args_os().skip(1);
    let word = words.next();
    word.is_some_and(|word| word == "--version" || word == "-V") && words.next().is_none()
}

/// Parses the arguments, program and all. For `run`, the command that is started most, the parser of all commands is made
/// only where its own does not take the line: to explain it.
fn parse(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    if words.get(1).is_some_and(|word| word == "run")
        && let Ok(RunLine { global, command: RunCommand::Run(args) }) = RunLine::try_parse_from(&words)
    {
        return Ok(Cli { global, command: Command::Run(args) });
    }
    Cli::try_parse_from(words)
}

/// Parses the arguments and runs the command they name.
pub fn main() -> ExitCode {
    bug::end_on_panics();
    // While there is one thread.
    perstack::skill::process::share_one_heap();
    perstack::skill::process::wipe_environment_block();
    hardening::hide_memory();
    completions::answer(Cli::command);
    if is_version_asked() {
        // A reader that has gone away is no error.
        let _ = std::io::stdout().write_all(VERSION_LINE.as_bytes());
        return Exit::Completed.into();
    }
    let cli = match parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(asked) => {
            if let Some(failure) = gone::explain(&asked) {
                failure.print(render::Paint::plain());
                return failure.exit().into();
            }
            // Help and version go to stdout, everything else to stderr. A reader that has gone away is no error.
            let _ = asked.print();
            return if asked.use_stderr() { Exit::Usage.into() } else { Exit::Completed.into() };
        }
    };
    let mut process = match Process::read(cli.global.color) {
        Ok(process) => process,
        Err(error) => {
            Failure::usage(error).print(render::Paint::plain());
            return Exit::Usage.into();
        }
    };
    #[cfg(feature = "fleet")]
    fleet::child::end_with_parent(&mut process);
    process.log = ProgramLog::start(&process);
    let ended = match cli.command {
        Command::Run(args) => run::run(&args, &process),
        Command::Resume(args) => resume::run(&args, &process),
        Command::Each(args) => each::run(&args, &process),
        Command::Replay(args) => replay::run(&args, &process),
        Command::Test(args) => test::run(&args, &process),
        Command::Init(args) => init::run(&args, &process),
        Command::Experts(args) => experts::run(&args, &process),
        Command::ListTools(args) => list_tools::run(&args, &process),
        Command::Install(args) => install::run(&args, &process),
        Command::Check(args) => check::run(&args, &process),
        Command::Info(args) => info::run(&args, &process),
        Command::Models(args) => models::run(&args, &process),
        Command::Log(args) => log::run(&args, &process),
        Command::Job(args) => job::run(&args, &process),
        #[cfg(feature = "fleet")]
        Command::Fleet(args) => fleet::run(&args, &process),
        Command::Login(args) => login::run(&args, &process),
        Command::Trust(args) => trust::show::run(&args, &process),
        Command::Why(args) => why::run(&args, &process),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print(render::Paint::of_stderr(&process));
            failure.exit().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_line_of_run_is_parsed_as_among_all_commands() {
        for line in [
            "perstack run expert query --color never --max-steps 3 --trust",
            "perstack run --instruction text query -q --file a --file b --replay c",
            "perstack run expert --ensure --job-id j1 --env-path .env --output json",
        ] {
            let words = || line.split(' ').map(OsString::from);
            let alone = parse(words().collect()).map(|cli| format!("{cli:?}")).map_err(|error| error.to_string());
            let among_all = Cli::try_parse_from(words()).map(|cli| format!("{cli:?}"));
            assert_eq!(alone, among_all.map_err(|error| error.to_string()), "{line}");
            assert!(RunLine::try_parse_from(words()).is_ok(), "{line}");
        }
        // What it does not take, all of them explain.
        for line in ["perstack run --max-step 3", "perstack run --help", "perstack run"] {
            let words = || line.split(' ').map(OsString::from);
            let explained = |parsed: Result<Cli, clap::Error>| parsed.err().map(|error| error.to_string());
            assert_eq!(explained(parse(words().collect())), explained(Cli::try_parse_from(words())), "{line}");
        }
    }

    #[test]
    fn the_version_is_shown_as_the_parser_shows_it() {
        assert_eq!(Cli::command().render_version(), VERSION_LINE);
    }

    #[test]
    fn help_documents_every_exit_code_and_the_streams() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains(&format!("Exit codes:\n{}", exit::help_lines())), "{help}");
        assert!(help.contains("stdout carries the result and nothing else"), "{help}");
    }

    #[test]
    fn a_misspelt_word_gets_the_nearest_right_one() {
        let tip = |words: &[&str]| Cli::try_parse_from(words).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(tip(&["perstack", "runn", "x"]).contains("'run'"));
        assert!(tip(&["perstack", "run", "x", "q", "--max-step", "3"]).contains("'--max-steps'"));
        assert!(tip(&["perstack", "run", "x", "q", "--provider", "antropic"]).contains("'anthropic'"));
        assert!(tip(&["perstack", "run", "x", "q", "--filter", "completRun"]).contains("'completeRun'"));
    }

    #[test]
    fn junk_numbers_and_contradictions_are_refused() {
        for rest in [
            &["--max-steps", "0"][..],
            &["--max-steps", "12abc"],
            &["--max-steps", "-3"],
            &["--max-retries", "x"],
            &["--timeout", "0"],
            &["--max-parallel-delegates", "0"],
            &["--max-parallel-delegates", "1001"],
            &["--max-cost", "0"],
            &["--max-cost", "-1"],
            &["--max-tokens", "1.5"],
            &["--max-duration", "10"],
            &["--max-tool-repetitions", "1"],
            &["--timeout", "1.5"],
            &["--reasoning-budget", "huge"],
            &["--job-id", "../x"],
            &["--resume-from", "c1"],
            &["--continue", "--continue-job", "j1"],
            &["--json", "--output", "text"],
            &["--replay-tools"],
            &["--record", "a", "--replay", "b"],
            &["--quiet", "--verbose"],
            &["--locked", "--frozen"],
        ] {
            let words = ["perstack", "run", "expert", "query"].iter().chain(rest);
            let refused = Cli::try_parse_from(words).err().map(|e| e.use_stderr());
            assert_eq!(refused, Some(true), "{rest:?}");
        }
    }
}
