//! `perstack fleet`: jobs on many machines, through the Restate engine: `worker` runs them, `submit`, `wait`, `answer` and
//! `cancel` speak to the engine's ingress.
//!
//! The storage alone decides who may write to a job; the engine decides which worker is asked, and asks another one when that is
//! gone. [`turn`] is what travels, [`service`] what a worker offers to the engine, [`child`] the process in which it
//! runs a turn, [`ingress`] the client.

mod answer;
mod board;
mod cancel;
pub mod child;
mod ingress;
mod label;
mod service;
mod source;
mod submit;
mod turn;
mod wait;
mod worker;

use std::io::Write as _;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::render::visible;
use super::{Exit, Process};

/// Runs jobs on many machines, through the Restate engine
#[derive(Debug, Args)]
pub struct FleetArgs {
    #[command(subcommand)]
    action: FleetAction,
}

#[derive(Debug, Subcommand)]
enum FleetAction {
    Worker(worker::WorkerArgs),
    Submit(submit::SubmitArgs),
    Wait(wait::WaitArgs),
    Answer(answer::AnswerArgs),
    Cancel(cancel::CancelArgs),
}

/// Runs the command.
pub fn run(args: &FleetArgs, process: &Process) -> Result<Exit, Failure> {
    match &args.action {
        FleetAction::Worker(args) => worker::run(args, process),
        FleetAction::Submit(args) => submit::run(args, process),
        FleetAction::Wait(args) => wait::run(args, process),
        FleetAction::Answer(args) => answer::run(args, process),
        FleetAction::Cancel(args) => cancel::run(args, process),
    }
}

/// Writes a line to standard error.
fn report(line: &str) {
    // With stderr closed there is no place left to report to.
    let _ = writeln!(std::io::stderr().lock(), "{}", visible(line));
}
