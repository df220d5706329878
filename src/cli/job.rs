//! `perstack job`: acts on recorded jobs.

mod diff;
mod rm;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::{Exit, Process};

/// Compares recorded jobs, or removes them
#[derive(Debug, Args)]
pub struct JobCommandArgs {
    #[command(subcommand)]
    action: JobAction,
}

#[derive(Debug, Subcommand)]
enum JobAction {
    Diff(diff::DiffArgs),
    Rm(rm::RmArgs),
}

/// Runs the command.
pub fn run(args: &JobCommandArgs, process: &Process) -> Result<Exit, Failure> {
    match &args.action {
        JobAction::Diff(args) => diff::run(args, process),
        JobAction::Rm(args) => rm::run(args, process),
    }
}
