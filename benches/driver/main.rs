//! Measures the perstack binary as a whole process, beside the floor: `benches/run` builds both and calls this.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is the output, and progress goes beside it")]

mod gate;
mod instructions;
mod lab;
mod process;
mod report;
mod rows;
mod scenario;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use lab::{Client, Lab, Sizes};
use report::Samples;
use rows::{ROWS, Row};
use scenario::Scenario;

const USAGE: &str = "\
usage: bench table --bin PATH [--scratch FOLDER] [--rounds N] [--steps N] [--jobs N] [ROW]...
       bench gate --bin PATH [--scratch FOLDER] [--record REASON] [WORK]...

ROW is a part of a row's name; without any, all rows are measured. WORK is the name of a piece of work, likewise.
--steps and --jobs make the long job and the list of jobs shorter than 10,000.";
/// The gate's record.
const RECORD: &str = "benches/instructions.toml";

struct Arguments {
    command: String,
    binary: PathBuf,
    scratch: PathBuf,
    rounds: usize,
    sizes: Sizes,
    reason: Option<String>,
    names: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = arguments()?;
    let lab = Lab::new(&arguments.binary, &arguments.scratch, arguments.sizes)?;
    if arguments.command == "table" {
        table(&lab, &arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    let scratch = arguments.scratch.canonicalize()?;
    let is_good = gate::gate(&lab, &arguments.names, arguments.reason.as_deref(), Path::new(RECORD), &scratch)?;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(lab: &Lab, arguments: &Arguments) -> Result<()> {
    let wanted =
        |row: &Row| arguments.names.is_empty() || arguments.names.iter().any(|part| row.name.contains(part.as_str()));
    let rows: Vec<&Row> = ROWS.iter().filter(|row| wanted(row)).collect();
    if rows.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        bail!("no row has this in its name; the rows are:\n  {}", names.join("\n  "));
    }
    let clients = [Client::Floor, Client::Log2, Client::Ours];
    let mut scenarios: Vec<Scenario> = rows.iter().flat_map(|row| row.parts).map(|part| part.scenario).collect();
    scenarios.sort();
    scenarios.dedup();
    let mut samples = Samples::default();
    for scenario in scenarios {
        let rounds = scenario.rounds();
        let measured = rounds.measured.min(arguments.rounds);
        eprintln!("{scenario:?}, {measured} rounds");
        for round in 0..rounds.warm_up + measured {
            for client in &clients {
                let figures = scenario.measure(lab, client).with_context(|| format!("{scenario:?}, {client:?}"))?;
                if let (true, Some(figures)) = (round >= rounds.warm_up, figures) {
                    samples.add(scenario, client, figures);
                }
            }
        }
    }
    print!("{}", report::markdown(&rows, &clients, &samples));
    Ok(())
}

fn arguments() -> Result<Arguments> {
    let mut words = std::env::args().skip(1);
    let command = words.next().filter(|word| word == "table" || word == "gate").context(USAGE)?;
    let scratch = PathBuf::from("target/benches");
    let mut binary = None;
    let sizes = Sizes { steps: 10_000, jobs: 10_000 };
    let (rounds, names) = (usize::MAX, Vec::new());
    let mut arguments = Arguments { command, binary: PathBuf::new(), scratch, rounds, sizes, reason: None, names };
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value\n{USAGE}"));
        match word.as_str() {
            "--bin" => binary = Some(PathBuf::from(value()?)),
            "--scratch" => arguments.scratch = PathBuf::from(value()?),
            "--rounds" => arguments.rounds = value()?.parse().context("--rounds needs a number")?,
            "--steps" => arguments.sizes.steps = value()?.parse().context("--steps needs a number")?,
            "--jobs" => arguments.sizes.jobs = value()?.parse().context("--jobs needs a number")?,
            "--record" => arguments.reason = Some(value()?),
            _ if word.starts_with('-') => bail!("{word} is not known\n{USAGE}"),
            _ => arguments.names.push(word),
        }
    }
    arguments.binary = binary.context(USAGE)?;
    Ok(arguments)
}
