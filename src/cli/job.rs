//! `perstack job`: acts on recorded jobs.

mod diff;
mod rm;
mod verify;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::{Exit, Process};

/// Compares recorded jobs, checks or removes them
#[derive(Debug, Args)]
pub struct JobCommandArgs {
    #[command(subcommand)]
    action: JobAction,
}

#[derive(Debug, Subcommand)]
enum JobAction {
    Diff(diff::DiffArgs),
    Rm(rm::RmArgs),
    Verify(verify::VerifyArgs),
}

/// Runs the command.
pub fn run(args: &JobCommandArgs, process: &Process) -> Result<Exit, Failure> {
    match &args.action {
        JobAction::Diff(args) => diff::run(args, process),
        JobAction::Rm(args) => rm::run(args, process),
        JobAction::Verify(args) => verify::run(args, process),
    }
}
