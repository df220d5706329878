//! `perstack test`: recorded jobs as regression tests of a configuration, without asking a model; and cases that do ask it, with
//! `--live`.
//!
//! This file reads the options, runs the recorded cases one after the other, and reports. [`prepare`] and [`runner`] are for those
//! that ask the model: [`live`] is one repetition of such a case, with its [`workspace`] and its [`judge`]. [`expected`] compares what
//! comes of a case with what is expected, [`baseline`] all results with earlier ones; [`report`] and [`junit`] write them,
//! [`search`] finds the files.

mod baseline;
mod expected;
mod judge;
mod junit;
mod live;
mod prepare;
mod report;
mod runner;
mod search;
mod workspace;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use clap::Args;
use perstack::budget;
use perstack::config::{REPEATS, read_test_cases};
use perstack::cost::{Cost, Spend};
use perstack::setting::ProviderName;
use perstack::test_results::{CaseDifference, CaseResult, CaseStatus, TEST_SCHEMA_VERSION, TestResults};
use tokio_util::sync::CancellationToken;

use self::expected::failures;
use self::live::{STOPPED, of_outcome};
use self::prepare::NamedCase;
use self::runner::{LiveEnd, LiveStop, spend_of};
use self::search::found;
use super::failure::Failure;
use super::options::{ModelArgs, PlaceArgs, positive, provider_parser};
use super::output_file::OutputFile;
use super::render::{Paint, visible};
use super::replay::compare::{Candidate, Comparison, compare};
use super::replay::load;
use super::replay::temporary::JobFolder;
use super::setup::{ProjectNeed, Setup, warn};
use super::signals::Signal;
use super::trust::cassettes;
use super::{Exit, Process};

/// Jobs at a time where nothing else is asked for.
const PARALLEL: u64 = 4;

/// Most jobs at a time: each has servers and connections of its own.
const MOST_PARALLEL: u64 = 256;

const EXAMPLES: &str = "\
Examples:
  perstack run researcher \"Which owls hunt at night?\" --record owls.cassette
  perstack test
  perstack test owls.test.toml --junit results.xml
  perstack test --live --max-cost 2 --save-baseline main.json
  perstack test --live --max-cost 2 --baseline main.json

A file of tests:
  [cases.night]
  cassette = \"owls.cassette\"
  [cases.night.expect]
  contains = [\"tawny owl\"]
  tools = [\"readTextFile\"]
  maxCost = 0.05

  [cases.day]
  expert = \"researcher\"
  query = \"Which owls hunt by day?\"
  repeat = 5
  passes = 4
  [cases.day.expect]
  judge = { expert = \"critic\", criteria = \"Names two owls.\", threshold = 0.8 }

A case with a cassette is the recorded job with the present configuration. It passes when every
request is the recorded one, the job completes, and all that is expected holds. No model is
asked. A case with expert and query asks the model, with --live alone; else it is skipped.

Exit codes:
  0 all cases passed (those that were skipped aside), 1 some did not, 2 a mistake in a file or the
  command, or nothing but skipped cases; 5 the budget of all cases is spent, 130 Ctrl-C: what was
  done is reported.";

/// Runs recorded jobs as tests of the configuration, and cases that ask the model
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct TestArgs {
    /// Files of cases [default: all *.test.toml below this folder]
    #[arg(value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// Configuration file; without it, perstack.toml of this folder or the nearest one above
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Content of stdout: a line for each case, or one JSON object
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    output: String,
    /// Write the results to FILE as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Compare with an earlier result, as --save-baseline or --output json writes it: which cases are worse, better, new or
    /// gone. The exit code is that of the cases
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write the results to FILE for --baseline, unless cases were not run
    #[arg(long, value_name = "FILE")]
    save_baseline: Option<PathBuf>,
    /// Show errors and results only
    #[arg(long, short)]
    quiet: bool,
    /// Run the cases that have an expert and a query, too: they ask the model
    #[arg(long, help_heading = "Live cases")]
    live: bool,
    /// Make the cassette of each case that has both, an expert and a cassette, of its first repetition that passes
    #[arg(long, requires = "live", conflicts_with_all = ["max_cost", "max_tokens"], help_heading = "Live cases")]
    record: bool,
    /// Repetitions of each case [default: its own `repeat`, else 1]
    #[arg(long, value_name = "N", requires = "live", value_parser = clap::value_parser!(u64).range(REPEATS), help_heading = "Live cases")]
    repeat: Option<u64>,
    /// Jobs at a time, at most 256 [default: 4]
    #[arg(long, value_name = "N", requires = "live", value_parser = clap::value_parser!(u64).range(1..=MOST_PARALLEL), help_heading = "Live cases")]
    parallel: Option<u64>,
    /// US dollars that all cases may cost together, judges included
    #[arg(long, value_name = "USD", requires = "live", value_parser = budget::dollars, allow_negative_numbers = true, help_heading = "Live cases")]
    max_cost: Option<Cost>,
    /// Tokens of all cases together
    #[arg(long, value_name = "N", requires = "live", value_parser = positive, allow_negative_numbers = true, help_heading = "Live cases")]
    max_tokens: Option<u64>,
    /// Model provider; judges keep the configuration's
    #[arg(long, value_name = "PROVIDER", requires = "live", value_parser = provider_parser(), help_heading = "Live cases")]
    provider: Option<ProviderName>,
    /// Model, in the place of the cases' and the configuration's; judges keep the configuration's
    #[arg(long, value_name = "MODEL", requires = "live", help_heading = "Live cases")]
    model: Option<String>,
    /// File with environment variables (repeatable); without it, the configuration's, else .env and .env.local
    #[arg(long, value_name = "PATH", requires = "live", help_heading = "Live cases")]
    env_path: Vec<PathBuf>,
    /// Folder that the jobs are stored in [default: perstack in the project's root]
    #[arg(long, value_name = "PATH", requires = "live", help_heading = "Live cases")]
    storage: Option<PathBuf>,
    /// Trust this folder for this run, with all that its configuration and its cases start and send (see `perstack trust`)
    #[arg(long, requires = "live", help_heading = "Live cases")]
    trust: bool,
}

impl TestArgs {
    fn place(&self) -> PlaceArgs {
        PlaceArgs {
            config: self.config.clone(),
            env_path: self.env_path.clone(),
            storage: self.storage.clone(),
            trust: self.trust,
            ..PlaceArgs::default()
        }
    }
}

/// The files that results are written to, checked before anything is run.
struct ResultFiles {
    junit: Option<OutputFile>,
    baseline: Option<OutputFile>,
}

/// Runs the command.
pub fn run(args: &TestArgs, process: &Process) -> Result<Exit, Failure> {
    let cases = read_cases(args, process)?;
    // A configuration that cannot be read is none of a case.
    let setup = Setup::read(process, &args.place(), &ModelArgs::default(), ProjectNeed::Required)?;
    setup.print_warnings(process, args.quiet);
    let check = |flag: &'static str, path: &Option<PathBuf>| {
        path.as_ref().map(|path| OutputFile::check(flag, path, &process.folder, &setup.storage)).transpose()
    };
    let files =
        ResultFiles { junit: check("--junit", &args.junit)?, baseline: check("--save-baseline", &args.save_baseline)? };
    let before = args.baseline.as_ref().map(|file| baseline::read(&process.folder.join(file), file)).transpose()?;
    let asks = |case: &NamedCase| args.live && case.case.live.is_some();
    let live: Vec<_> = (0..).zip(&cases).filter_map(|(at, case)| Some((at, case, case.case.live.as_ref()?))).collect();
    if args.record && !live.iter().any(|(_, case, _)| case.case.cassette.is_some()) {
        return Err(Failure::usage(anyhow!("--record: no case has an expert and a cassette"))
            .help("add `cassette = \"FILE\"` to a case with an expert and a query"));
    }
    let cancel = CancellationToken::new();
    let asked = if args.live { live } else { Vec::new() };
    let jobs = if asked.is_empty() { Vec::new() } else { prepare::live_jobs(&asked, args, process, &cancel)? };
    let began = Instant::now();
    let mut results: Vec<Option<CaseResult>> = Vec::new();
    let mut signal = None;
    for case in &cases {
        let result = match signal {
            _ if asks(case) => None,
            Some(_) => Some(not_run(case)),
            None => Some(run_without_model(case, args, process, &mut signal)),
        };
        results.push(result);
    }
    let parallel = usize::try_from(args.parallel.unwrap_or(PARALLEL)).unwrap_or(usize::MAX);
    let is_over = signal.is_some() || jobs.is_empty();
    let ended = if is_over { None } else { Some(runner::run(jobs, parallel, cancel, process, args.quiet)?) };
    let mut stop = signal.map(LiveStop::Signal);
    let mut workers = None;
    if let Some(LiveEnd { results: live, stop: stopped, undelivered, workers: running }) = ended {
        for (at, result) in live {
            if let Some(slot) = results.get_mut(at) {
                *slot = Some(result);
            }
        }
        if let Some(warning) = undelivered {
            warn(process, args.quiet, &warning);
        }
        (stop, workers) = (stopped, Some(running));
    }
    let results = results.into_iter().zip(&cases).map(|(result, case)| result.unwrap_or_else(|| not_run(case)));
    let mut all = summed(results.collect(), began);
    if let (Some(before), Some(file)) = (&before, &args.baseline) {
        all.baseline = Some(baseline::changes(before, &all, file));
    }
    if args.record {
        let made = cases.iter().filter(|case| asks(case)).filter_map(|case| case.case.cassette.as_ref());
        for file in made.filter(|file| file.exists()) {
            cassettes::remember(setup.user_folder.as_deref(), process, args.quiet, file);
        }
    }
    let exit = report(&all, stop, &files, args, process);
    if let Some(workers) = workers {
        // Threads that still block must not keep the program from ending.
        workers.shutdown_background();
    }
    exit
}

/// The cases of all files.
fn read_cases(args: &TestArgs, process: &Process) -> Result<Vec<NamedCase>, Failure> {
    let files = if args.files.is_empty() { found(process)? } else { args.files.clone() };
    let mut cases = Vec::new();
    for file in &files {
        let path = process.folder.join(file);
        let shown = visible(&file.display().to_string());
        fs::metadata(&path).with_context(|| format!("cannot read {shown}")).map_err(Failure::usage)?;
        let read = read_test_cases(&path).map_err(Failure::usage)?;
        cases.extend(read.into_iter().map(|case| NamedCase { file: shown.clone(), case }));
    }
    if cases.is_empty() {
        return Err(Failure::usage(anyhow!("there is no case in {}", shown_files(&files)))
            .help("add a table [cases.NAME] with a cassette, or with an expert and a query"));
    }
    Ok(cases)
}

/// Adds up the results.
fn summed(cases: Vec<CaseResult>, began: Instant) -> TestResults {
    let count = |status| cases.iter().filter(|case| case.status == status).count().try_into().unwrap_or(u64::MAX);
    let spent = cases.iter().filter(|case| case.live).filter_map(|case| case.numbers.as_ref()).map(spend_of);
    let spent = spent.reduce(Spend::plus).unwrap_or(Spend::known(Cost::ZERO));
    TestResults {
        passed: count(CaseStatus::Passed),
        failed: count(CaseStatus::Failed),
        skipped: count(CaseStatus::Skipped),
        not_run: count(CaseStatus::NotRun),
        cost: (!spent.is_unknown()).then_some(spent.cost),
        cost_is_complete: spent.is_complete,
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        baseline: None,
        schema_version: TEST_SCHEMA_VERSION,
        cases,
    }
}

/// Writes the results, and what is to be known of those that are missing.
fn report(
    all: &TestResults,
    stop: Option<LiveStop>,
    files: &ResultFiles,
    args: &TestArgs,
    process: &Process,
) -> Result<Exit, Failure> {
    let cannot = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| {
            Failure::other(anyhow::Error::new(error).context(format!("cannot write to {what}")))
        }
    };
    if let Some(file) = &files.junit {
        file.replace(junit::junit(all).as_bytes()).map_err(cannot(file.shown()))?;
    }
    match &files.baseline {
        // What a later run is compared with is to have all cases.
        Some(file) if all.not_run > 0 => {
            warn(process, args.quiet, &format!("{} is left as it was: cases were not run", file.shown()));
        }
        Some(file) => {
            let text = report::json(all).map_err(Failure::other)?;
            file.replace(text.as_bytes()).map_err(cannot(file.shown()))?;
        }
        None => {}
    }
    report::print(all, args.output == "json", Paint::of_stdout(process)).map_err(cannot("standard output"))?;
    let cases = |number: u64| if number == 1 { "1 case".to_owned() } else { format!("{number} cases") };
    match stop {
        Some(LiveStop::Signal(signal)) => return Ok(signal.exit()),
        Some(LiveStop::Budget(reached)) => {
            warn(process, false, &format!("stopped: {reached}; not run to the end: {}", cases(all.not_run)));
            return Ok(Exit::Budget);
        }
        None => {}
    }
    if all.skipped > 0 {
        let skipped = cases(all.skipped);
        if all.passed + all.failed + all.not_run == 0 {
            return Err(Failure::usage(anyhow!("nothing was tested: skipped {skipped}, as a model would be asked"))
                .help("--live asks it"));
        }
        warn(process, args.quiet, &format!("skipped {skipped}, as a model would be asked; --live asks it"));
    }
    Ok(if all.failed + all.not_run == 0 { Exit::Completed } else { Exit::Failed })
}

/// The result of a case without a verdict.
fn not_run(NamedCase { file, case }: &NamedCase) -> CaseResult {
    CaseResult {
        file: file.clone(),
        name: case.name.clone(),
        status: CaseStatus::NotRun,
        reason: Some(STOPPED.to_owned()),
        ..CaseResult::default()
    }
}

/// The result of a recorded case, or of one that is skipped. `signal`: one that came meanwhile.
fn run_without_model(named: &NamedCase, args: &TestArgs, process: &Process, signal: &mut Option<Signal>) -> CaseResult {
    let NamedCase { file, case } = named;
    let result = CaseResult { file: file.clone(), name: case.name.clone(), ..CaseResult::default() };
    let Some(cassette) = &case.cassette else {
        let reason = Some("it asks a model, and --live was not given".to_owned());
        return CaseResult { status: CaseStatus::Skipped, live: true, reason, ..result };
    };
    let unchecked = case.expected.of_live_jobs().into_iter().map(str::to_owned).collect();
    let result = CaseResult { unchecked, ..result };
    let failed =
        |failures, difference| CaseResult { status: CaseStatus::Failed, failures, difference, ..result.clone() };
    match run_recorded(named, cassette, args.config.as_deref(), process) {
        Ok(Comparison::Stopped(stopped)) => {
            *signal = Some(stopped);
            not_run(named)
        }
        Ok(Comparison::Differs(differs, _)) => {
            let (expert, step, cause) = (differs.expert.clone(), differs.step, differs.cause.to_owned());
            let difference = CaseDifference { expert, step, cause, name: differs.name.clone() };
            failed(vec![differs.text(Paint::plain())], Some(difference))
        }
        Ok(Comparison::Same(same)) => {
            let outcome = &same.end.outcome;
            let failures = failures(&case.expected, outcome, &same.tools);
            let status = if failures.is_empty() { CaseStatus::Passed } else { CaseStatus::Failed };
            CaseResult { status, failures, numbers: Some(of_outcome(outcome)), ..result }
        }
        // It is about this recording, or the expert that it runs: the other cases go on.
        Err(failure) if case.live.is_some() && !cassette.exists() => {
            let failure = failure.help("perstack test --live --record makes it");
            failed(vec![failure.line()], None)
        }
        Err(failure) => failed(vec![failure.line()], None),
    }
}

fn run_recorded(
    NamedCase { case, .. }: &NamedCase,
    cassette: &Path,
    config: Option<&Path>,
    process: &Process,
) -> Result<Comparison, Failure> {
    let recorded = load(cassette, cassette)?;
    // A recording of a case that asks the model was made in a workspace of its own.
    let empty =
        case.live.as_ref().filter(|live| live.workspace.is_none()).map(|_| JobFolder::open(None)).transpose()?;
    let workspace = case.live.as_ref().and_then(|live| live.workspace.clone());
    let workspace = workspace.or_else(|| empty.as_ref().map(|folder| folder.path().to_owned()));
    let candidate =
        Candidate { config: config.map(Path::to_owned), model: case.model.clone(), workspace, trust: false };
    compare(&recorded, &candidate, process)
}

fn shown_files(files: &[PathBuf]) -> String {
    files.iter().map(|file| visible(&file.display().to_string())).collect::<Vec<_>>().join(", ")
}
