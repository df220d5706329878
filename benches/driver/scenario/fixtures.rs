//! Jobs that are there before a measurement begins.

use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, bail};

use crate::lab::{Client, Lab, Surroundings};
use crate::process;
use crate::server::{Options, Script, Server};

/// Processes that make many jobs.
const MAKERS: usize = 4;
/// The arguments that replay what [`recorded_job`] made.
pub const REPLAY: [&str; 8] =
    ["run", "librarian", "Which owls?", "--replay", "owls.cassette", "--replay-tools", "--storage", "replays"];

/// A job of this many steps in this folder's storage.
pub fn job(lab: &Lab, folder: &Path, around: &Surroundings, steps: usize) -> Result<()> {
    let server = Server::start(Script::reading(steps), Options::default())?;
    process::run(&mut lab.job(&Client::Ours, folder, &server, around)?, folder, |_| Ok(()))?;
    Ok(())
}

/// The same, and its recording. Returns the bytes of the last request, which has the whole conversation.
pub fn recorded_job(lab: &Lab, folder: &Path, steps: usize) -> Result<usize> {
    let server = Server::start(Script::reading(steps), Options::default())?;
    let mut command = lab.job(&Client::Ours, folder, &server, &Surroundings::default())?;
    process::run(command.args(["--record", "owls.cassette"]), folder, |_| Ok(()))?;
    Ok(server.arrivals().last().context("no request")?.bytes)
}

/// This many jobs of one step each in this folder's storage.
pub fn jobs(lab: &Lab, folder: &Path, count: usize) -> Result<()> {
    let server = Server::start(Script::reading(1), Options::default())?;
    thread::scope(|scope| {
        let make = |number: usize| {
            let server = &server;
            move || -> Result<()> {
                // Standard error has a file in a folder of each maker's own.
                let own = folder.join(format!("maker-{number}"));
                std::fs::create_dir(&own)?;
                for _ in (number..count).step_by(MAKERS) {
                    let mut command = lab.job(&Client::Ours, folder, server, &Surroundings::default())?;
                    command
                        .arg("--config")
                        .arg(folder.join("perstack.toml"))
                        .arg("--storage")
                        .arg(folder.join("perstack"));
                    process::run(&mut command, &own, |_| Ok(()))?;
                }
                Ok(())
            }
        };
        let makers: Vec<_> = (0..MAKERS).map(|number| scope.spawn(make(number))).collect();
        makers.into_iter().try_for_each(|maker| maker.join().unwrap_or_else(|_| bail!("a maker ended")))
    })
}
