//! `perstack job`: acts on recorded jobs.

mod bisect;
mod diff;
pub mod restore;
mod rm;
mod verify;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::{Exit, Process};

/// Compares recorded jobs, checks, restores, bisects or removes them
#[derive(Debug, Args)]
pub struct JobCommandArgs {
    #[command(subcommand)]
    action: JobAction,
}

#[derive(Debug, Subcommand)]
enum JobAction {
    Bisect(bisect::BisectArgs),
    Diff(diff::DiffArgs),
    Restore(restore::RestoreArgs),
    Rm(rm::RmArgs),
    Verify(verify::VerifyArgs),
}

/// Runs the command.
pub fn run(args: &JobCommandArgs, process: &Process) -> Result<Exit, Failure> {
    match &args.action {
        JobAction::Bisect(args) => bisect::run(args, process),
        JobAction::Diff(args) => diff::run(args, process),
        JobAction::Restore(args) => restore::run(args, process),
        JobAction::Rm(args) => rm::run(args, process),
        JobAction::Verify(args) => verify::run(args, process),
    }
}
