//! `perstack each`: one expert on many inputs, a job for each, some at a time.
//!
//! This file reads the options; [`rows`] and [`template`] make queries of the input, [`runner`] runs the jobs, [`report`]
//! writes results and progress.

mod report;
mod rows;
mod runner;
mod template;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use perstack::event::Event;
use perstack::id::{AccountId, BatchId};
use perstack::message::Message;
use perstack::runtime::{CassetteMode, InDoubt};
use perstack::store::{BatchRecord, Store};
use tokio_util::sync::CancellationToken;

use self::report::BatchReport;
use self::rows::RowFormat;
use self::runner::Batch;
use self::template::QueryTemplate;
use super::account::SplitLimits;
use super::command_line::CommandLine;
use super::completions::candidates;
use super::failure::Failure;
use super::options::{Doubt, JobArgs, LockArgs, ModelArgs, OutputArgs, PermissionArgs, PlaceArgs, SessionArgs};
use super::output_file::OutputFile;
use super::program_log::print_log_line;
use super::setup::{ProjectNeed, Setup};
use super::{Exit, Process, trust};

/// Jobs at a time where nothing else is asked for.
const PARALLEL: u64 = 4;

/// Most jobs at a time: each has servers and connections of its own.
const MOST_PARALLEL: u64 = 256;

/// The word for standard input.
const STDIN: &str = "-";

const EXAMPLES: &str = "\
Examples:
  perstack each classifier tickets.jsonl --query \"Classify: {text}\" > classes.jsonl
  perstack each classifier tickets.csv --query \"{subject}: {body}\" --parallel 8 --max-cost 5
  gh issue list --json title | jq -c '.[]' | perstack each triage - --query \"{title}\"

Results:
  A JSON object a line, in the order of the rows: that of `perstack run --output json`, with the
  row's number; a row that could not be run has status notRun and an error. The same command again
  runs no row that has completed; it continues those that were stopped, and prints all results
  anew. A row is known by its place, its query and its batch: by default the batch is named by
  expert, template, file and --output-schema.

Exit codes:
  0 all rows completed, 1 a row failed, 5 the budget of all rows is reached, 130 Ctrl-C; the others
  as of `perstack run`.
  On every end but 0 and 2 the last line on stderr is the command that goes on.";

/// Runs an expert on many inputs, a job for each
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct EachArgs {
    /// The expert that works on each row
    #[arg(add = candidates::experts())]
    expert: String,
    /// The rows: a file with a JSON value a line, or of comma-separated values (.csv) whose first line names them; `-`:
    /// standard input
    input: PathBuf,
    /// The query of a row, with its fields: "Classify: {text}" ({user.name}: a field within one; {{ and }}: braces).
    /// Without it, a row is a text, or has a field `query`
    #[arg(long, value_name = "TEMPLATE")]
    query: Option<String>,
    /// The form of the rows [default: csv for a file whose name ends so, else jsonl]
    #[arg(long, value_name = "FORMAT", value_enum)]
    rows: Option<RowsWord>,
    /// Jobs at a time, at most 256
    #[arg(long, value_name = "N", default_value_t = PARALLEL, value_parser = clap::value_parser!(u64).range(1..=MOST_PARALLEL))]
    parallel: u64,
    /// The batch: another name runs all rows anew [default: made of expert, template, file and schema]
    #[arg(long, value_name = "NAME")]
    batch: Option<BatchId>,
    /// The rows come from strangers: only tools that read, or those that the expert's afterUntrusted names, may be called
    #[arg(long)]
    untrusted: bool,
    /// Write the results to FILE, from its beginning and as they come, and nothing to stdout
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    output_file: Option<PathBuf>,
    /// Check each answer against the JSON Schema in FILE, and have it given again until it is valid
    /// [default: the expert's outputSchema, if it has one]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    output_schema: Option<PathBuf>,
    /// Show errors only
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,
    /// Calls of a row that were interrupted before their result was recorded: report them to the model, retry them, or
    /// leave the row
    #[arg(long, value_name = "CHOICE", value_enum, default_value = "report", help_heading = "Session")]
    in_doubt: Doubt,
    /// The account that all rows draw on, when --max-cost or --max-tokens is given or it has limits: other jobs may share
    /// it [default: one of the batch's own]
    #[arg(long, value_name = "NAME", help_heading = "Budgets")]
    account: Option<AccountId>,
    #[command(flatten, next_help_heading = "Model")]
    model: ModelArgs,
    #[command(flatten, next_help_heading = "Places")]
    place: PlaceArgs,
    #[command(flatten, next_help_heading = "Permissions")]
    permissions: PermissionArgs,
    #[command(flatten, next_help_heading = "Lock")]
    lock: LockArgs,
}

/// `--rows`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RowsWord {
    Jsonl,
    Csv,
}

impl EachArgs {
    /// The options as of a single job.
    fn job(&self) -> JobArgs {
        JobArgs {
            model: self.model.clone(),
            place: self.place.clone(),
            output: OutputArgs { quiet: self.quiet, ..OutputArgs::default() },
            session: SessionArgs { no_interactive: true, ..SessionArgs::default() },
            permissions: self.permissions.clone(),
            lock: self.lock,
            output_schema: self.output_schema.clone(),
            instruction: None,
            account: self.account.clone(),
            workspace_from: None,
        }
    }

    fn is_stdin(&self) -> bool {
        self.input == Path::new(STDIN)
    }

    fn row_format(&self) -> RowFormat {
        let is_csv = self.input.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv"));
        match self.rows {
            Some(RowsWord::Csv) => RowFormat::Csv,
            None if is_csv => RowFormat::Csv,
            Some(RowsWord::Jsonl) | None => RowFormat::Jsonl,
        }
    }

    /// The same command, with the flags of `job`.
    fn command(&self, job: &JobArgs) -> CommandLine {
        let mut words = CommandLine::new(["perstack", "each", &self.expert]);
        words.word(self.input.display().to_string()).value("--query", self.query.as_ref());
        let rows = self.rows.and_then(|rows| rows.to_possible_value());
        words.value("--rows", rows.as_ref().map(clap::builder::PossibleValue::get_name));
        words.value("--parallel", (self.parallel != PARALLEL).then_some(self.parallel));
        words.value("--batch", self.batch.as_ref()).switch("--untrusted", self.untrusted);
        words.path("--output-file", self.output_file.as_deref());
        let doubt = (self.in_doubt != Doubt::Report).then_some(self.in_doubt).and_then(|it| it.to_possible_value());
        words.value("--in-doubt", doubt.as_ref().map(clap::builder::PossibleValue::get_name));
        let mut job = job.clone();
        // A command of its own never asks.
        job.session.no_interactive = false;
        job.add_to(&mut words);
        words
    }
}

/// Runs the command.
pub fn run(args: &EachArgs, process: &Process) -> Result<Exit, Failure> {
    let template = QueryTemplate::parse(args.query.as_deref())?;
    let job = args.job();
    let split = SplitLimits::new(&args.model, &args.place, process)?;
    let mut setup = Setup::read_beside_account(process, &args.place, &split, ProjectNeed::Required)?;
    setup.output_schema = job.output_schema(&process.folder)?;
    let check = |path: &PathBuf| OutputFile::check("--output-file", path, &process.folder, &setup.storage);
    let file = args.output_file.as_ref().map(check).transpose()?;
    setup.untrusted_input = args.untrusted;
    setup.print_warnings(process, args.quiet);
    let expert = setup.expert(&args.expert)?;
    setup.print_unusable(process, args.quiet);
    let setup = setup.with_lock(args.lock, process, &args.place, args.quiet)?;
    let trust = trust::require_for_job(&setup, process, &job, std::slice::from_ref(&expert))?;
    let mut setup = setup.with_trust(trust, process, args.quiet);
    let (input, shown) = open_input(args, process)?;
    let record = BatchRecord::new(expert.clone(), args.query.clone(), shown, setup.output_schema.as_ref());
    let own = args.batch.clone().or_else(|| record.own_id());
    let id = own.ok_or_else(|| Failure::other(anyhow!("the batch has no name")))?;
    let store = Store::at(&setup.storage, setup.remote.as_ref());
    let refused = |error| Failure::from(perstack::runtime::RunError::from(error));
    let batch = store.open_batch(&id, &record).map_err(refused)?;
    setup.account = account(args, &split, &id);
    let mut options = setup.options(
        Arc::new(|_: &Event, _: &[Message]| {}),
        CancellationToken::new(),
        InDoubt::from(args.in_doubt),
        CassetteMode::None,
    );
    options.run_permissions = args.permissions.given();
    if let Some(log) = &process.log {
        log.attach(options.redactor(), print_log_line);
    }
    let ahead = usize::try_from(args.parallel).unwrap_or(usize::MAX);
    let rows = rows::read(input, args.row_format(), template, ahead)?;
    let report = BatchReport::new(process, id.to_string(), file, args.quiet);
    let again = |raised: &JobArgs| args.command(raised);
    runner::run(Batch { store: batch, expert, options, rows, parallel: ahead }, report, &job, &again)
}

/// The account of all rows; none where nothing limits them.
fn account(args: &EachArgs, split: &SplitLimits, id: &BatchId) -> Option<perstack::runtime::AccountUse> {
    match &args.account {
        Some(account) => Some(split.account(account.clone())),
        None if split.limits.are_reserved() => id.as_str().parse().ok().map(|id| split.account(id)),
        None => None,
    }
}

/// The input, and its name as a batch is known by it: the real path of a file.
fn open_input(args: &EachArgs, process: &Process) -> Result<(Box<dyn std::io::Read + Send>, String), Failure> {
    if args.is_stdin() {
        return Ok((Box::new(std::io::stdin()), STDIN.to_owned()));
    }
    let path = process.folder.join(&args.input);
    let input = rows::open(&path, &super::render::visible(&args.input.display().to_string()))?;
    let real = path.canonicalize().unwrap_or(path);
    Ok((input, real.display().to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: EachArgs,
    }

    /// The flags that are this command's own, with values that need quotes.
    const OWN: [&[&str]; 10] = [
        &["--query", "Classify: {it's}"],
        &["--rows", "csv"],
        &["--parallel", "9"],
        &["--batch", "nightly"],
        &["--untrusted"],
        &["--output-file", "the results.jsonl"],
        &["--in-doubt", "stop"],
        &["--output-schema", "it's.json"],
        &["--quiet"],
        &["--account", "all"],
    ];

    /// Some of those of a job; `run` has a test of all.
    const OF_JOB: [&[&str]; 4] = [&["--max-cost", "0.5"], &["--storage", "$(jobs)"], &["--read-only"], &["--locked"]];

    #[test]
    fn the_command_that_goes_on_is_the_same() {
        for flags in OWN.iter().chain(&OF_JOB) {
            let words = ["each", "owl", "my rows.csv"].iter().chain(*flags);
            let args = EachArgs::from_arg_matches(&Alone::command().get_matches_from(words)).unwrap();
            let mut expected = CommandLine::new(["perstack", "each", "owl", "my rows.csv"]);
            for flag in *flags {
                expected.word(*flag);
            }
            assert_eq!(args.command(&args.job()), expected);
        }
    }

    #[test]
    fn every_flag_of_its_own_has_its_row() {
        let known = |command: &clap::Command| -> BTreeSet<String> {
            command.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect()
        };
        let of_job = ["model", "places", "permissions", "lock"];
        let command = Alone::command();
        let own = known(&command);
        let of_others = command.get_arguments().filter(|arg| {
            let heading = arg.get_help_heading().unwrap_or_default().to_lowercase();
            of_job.contains(&heading.as_str()) || (heading == "budgets" && arg.get_long() != Some("account"))
        });
        let of_others: BTreeSet<String> = of_others.filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect();
        let rows: BTreeSet<String> = OWN.iter().map(|flags| flags[0].to_owned()).collect();
        assert_eq!(own.difference(&of_others).cloned().collect::<BTreeSet<_>>(), rows);
    }

    #[test]
    fn the_form_of_the_rows_is_that_of_the_files_name() {
        let format = |words: &[&str]| {
            let words = ["each", "owl"].iter().chain(words);
            EachArgs::from_arg_matches(&Alone::command().get_matches_from(words)).unwrap().row_format()
        };
        assert_eq!(format(&["a.csv"]), RowFormat::Csv);
        assert_eq!(format(&["A.CSV"]), RowFormat::Csv);
        assert_eq!(format(&["a.jsonl"]), RowFormat::Jsonl);
        assert_eq!(format(&["-"]), RowFormat::Jsonl);
        assert_eq!(format(&["-", "--rows", "csv"]), RowFormat::Csv);
        assert_eq!(format(&["a.csv", "--rows", "jsonl"]), RowFormat::Jsonl);
    }
}
