//! `perstack test`: recorded jobs as regression tests of a configuration, without asking a model.
//!
//! This file reads the options and runs the cases one after the other; [`judge`] compares what comes of one with what is
//! expected, [`report`] writes the results, [`search`] finds the files.

mod judge;
mod report;
mod search;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use perstack::config::{TestCase, read_test_cases};

use self::judge::failures;
use self::report::{CaseResult, TestReport};
use self::search::found;
use super::failure::Failure;
use super::options::{Format, ModelArgs, PlaceArgs};
use super::output_file::OutputFile;
use super::render::{Paint, visible};
use super::replay::compare::{Candidate, Comparison, compare};
use super::replay::load;
use super::setup::{ProjectNeed, Setup};
use super::{Exit, Process};

const EXAMPLES: &str = "\
Examples:
  perstack run researcher \"Which owls hunt at night?\" --record owls.cassette
  perstack test
  perstack test owls.test.toml --junit results.xml

A file of tests:
  [cases.night]
  cassette = \"owls.cassette\"
  [cases.night.expect]
  contains = [\"tawny owl\"]
  tools = [\"readTextFile\"]
  maxCost = 0.05

Each case is the recorded job with the present configuration. It passes when every request is
the recorded one, the job completes, and all that is expected holds. No model is asked.

Exit codes:
  0 all cases passed, 1 some did not, 2 a mistake in a file or the command; 130 Ctrl-C.";

/// Runs recorded jobs as tests of the configuration
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
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
}

/// Runs the command.
pub fn run(args: &TestArgs, process: &Process) -> Result<Exit, Failure> {
    let format = if args.output == "json" { Format::Json } else { Format::Text };
    let files = if args.files.is_empty() { found(process)? } else { args.files.clone() };
    let mut cases: Vec<(String, TestCase)> = Vec::new();
    for file in &files {
        let path = process.folder.join(file);
        let shown = visible(&file.display().to_string());
        fs::metadata(&path).with_context(|| format!("cannot read {shown}")).map_err(Failure::usage)?;
        let read = read_test_cases(&path).map_err(Failure::usage)?;
        cases.extend(read.into_iter().map(|case| (shown.clone(), case)));
    }
    if cases.is_empty() {
        return Err(Failure::usage(anyhow!("there is no case in {}", shown_files(&files)))
            .help("add a table [cases.NAME] with a cassette"));
    }
    // A configuration that cannot be read is none of a case.
    let place = PlaceArgs { config: args.config.clone(), ..PlaceArgs::default() };
    let setup = Setup::read(process, &place, &ModelArgs::default(), ProjectNeed::Required)?;
    setup.print_warnings(process, false);
    let check = |path: &PathBuf| OutputFile::check("--junit", path, &process.folder, &setup.storage);
    let junit = args.junit.as_ref().map(check).transpose()?;
    let mut report = TestReport::default();
    for (file, case) in cases {
        match run_case(&case, args.config.as_deref(), process) {
            Ok(Ended::Judged { failures, numbers }) => {
                report.add(CaseResult { file, name: case.name, failures, numbers });
            }
            Ok(Ended::Stopped(exit)) => return Ok(exit),
            // It is about this recording, or the expert that it runs: the other cases go on.
            Err(failure) => {
                report.add(CaseResult { file, name: case.name, failures: vec![failure.line()], numbers: None });
            }
        }
    }
    let cannot = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| {
            Failure::other(anyhow::Error::new(error).context(format!("cannot write to {what}")))
        }
    };
    if let Some(file) = &junit {
        file.replace(report.junit().as_bytes()).map_err(cannot(file.shown()))?;
    }
    report.print(format == Format::Json, Paint::of_stdout(process)).map_err(cannot("standard output"))?;
    Ok(if report.all_passed() { Exit::Completed } else { Exit::Failed })
}

fn shown_files(files: &[PathBuf]) -> String {
    files.iter().map(|file| visible(&file.display().to_string())).collect::<Vec<_>>().join(", ")
}

/// The end of a case.
enum Ended {
    Judged { failures: Vec<String>, numbers: Option<report::CaseNumbers> },
    Stopped(Exit),
}

fn run_case(case: &TestCase, config: Option<&Path>, process: &Process) -> Result<Ended, Failure> {
    let recorded = load(&case.cassette, &case.cassette)?;
    let candidate = Candidate { config: config.map(Path::to_owned), model: case.model.clone() };
    Ok(match compare(&recorded, &candidate, process)? {
        Comparison::Stopped(signal) => Ended::Stopped(signal.exit()),
        Comparison::Differs(differs) => Ended::Judged { failures: vec![differs.text(Paint::plain())], numbers: None },
        Comparison::Same(same) => {
            let numbers = Some(report::CaseNumbers::from(&same.end.outcome));
            Ended::Judged { failures: failures(&case.expected, &same), numbers }
        }
    })
}
