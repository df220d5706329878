//! Measures the perstack binary as a whole process, beside the floor: `benches/run` builds both and calls this.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is the output, and progress goes beside it")]

mod gate;
mod instructions;
mod lab;
mod peers;
mod process;
mod report;
mod rows;
mod scenario;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use lab::{Client, Lab, Sizes};
use peers::Peer;
use report::Samples;
use rows::{ROWS, Row};
use scenario::Scenario;

const USAGE: &str = "\
usage: bench table --bin PATH [--scratch FOLDER] [--rounds N] [--steps N] [--jobs N]
                   [--peers FILE] [--json FILE] [ROW]...
       bench gate --bin PATH [--scratch FOLDER] [--record REASON] [WORK]...

ROW is a part of a row's name; without any, all rows are measured. WORK is the name of a piece of work, likewise.
--steps and --jobs make the long job and the list of jobs shorter than 10,000. --peers names a file that
describes other agents, --json one that all samples are written to.";
/// Rounds of other agents, most of which take long.
const PEER_ROUNDS: usize = 5;
/// The gate's record.
const RECORD: &str = "benches/instructions.toml";

struct Arguments {
    command: String,
    binary: PathBuf,
    scratch: PathBuf,
    rounds: usize,
    sizes: Sizes,
    reason: Option<String>,
    peers: Vec<Peer>,
    json: Option<PathBuf>,
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
    let mut clients = vec![Client::Floor, Client::Log2, Client::Ours];
    clients.extend(arguments.peers.iter().cloned().map(Client::Peer));
    let mut scenarios: Vec<Scenario> = rows.iter().flat_map(|row| row.parts).map(|part| part.scenario).collect();
    scenarios.sort();
    scenarios.dedup();
    let machine = report::machine();
    let mut samples = Samples::default();
    for scenario in scenarios {
        measure(lab, scenario, &clients, arguments.rounds, &mut samples)?;
    }
    println!("{machine}\n{}", report::markdown(&rows, &clients, &samples));
    if let Some(file) = &arguments.json {
        std::fs::write(file, format!("{:#}\n", samples.json()))?;
    }
    Ok(())
}

/// Measures a scenario round by round, each client in turn.
fn measure(lab: &Lab, scenario: Scenario, clients: &[Client], most: usize, samples: &mut Samples) -> Result<()> {
    let rounds = scenario.rounds();
    let measured = rounds.measured.min(most);
    for round in 0..rounds.warm_up + measured {
        eprintln!("{scenario:?}, round {} of {}", round + 1, rounds.warm_up + measured);
        for client in clients {
            if matches!(client, Client::Peer(_)) && round >= rounds.warm_up + PEER_ROUNDS {
                continue;
            }
            let figures = scenario.measure(lab, client).with_context(|| format!("{scenario:?}, {}", client.name()))?;
            if let (true, Some(figures)) = (round >= rounds.warm_up, figures) {
                samples.add(scenario, client, figures);
            }
        }
    }
    Ok(())
}

fn arguments() -> Result<Arguments> {
    let mut words = std::env::args().skip(1);
    let command = words.next().filter(|word| word == "table" || word == "gate").context(USAGE)?;
    let scratch = PathBuf::from("target/benches");
    let mut binary = None;
    let sizes = Sizes { steps: 10_000, jobs: 10_000 };
    let (rounds, peers, names) = (usize::MAX, Vec::new(), Vec::new());
    let mut arguments =
        Arguments { command, binary: PathBuf::new(), scratch, rounds, sizes, reason: None, peers, json: None, names };
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value\n{USAGE}"));
        match word.as_str() {
            "--bin" => binary = Some(PathBuf::from(value()?)),
            "--scratch" => arguments.scratch = PathBuf::from(value()?),
            "--rounds" => arguments.rounds = value()?.parse().context("--rounds needs a number")?,
            "--steps" => arguments.sizes.steps = value()?.parse().context("--steps needs a number")?,
            "--jobs" => arguments.sizes.jobs = value()?.parse().context("--jobs needs a number")?,
            "--peers" => arguments.peers = peers::read(value()?.as_ref())?,
            "--json" => arguments.json = Some(PathBuf::from(value()?)),
            "--record" => arguments.reason = Some(value()?),
            _ if word.starts_with('-') => bail!("{word} is not known\n{USAGE}"),
            _ => arguments.names.push(word),
        }
    }
    arguments.binary = binary.context(USAGE)?;
    Ok(arguments)
}
