//! System calls and flushes of a step, by strace: those of a longer job less those of a shorter one.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Figures;
use crate::lab::{Client, Lab, Surroundings};
use crate::process;
use crate::server::{Options, Script, Server};

/// Steps of the two jobs.
const SHORT: usize = 10;
const LONG: usize = 60;
/// Calls that wait for the disk.
const FLUSHES: [&str; 5] = ["fsync", "fdatasync", "sync_file_range", "syncfs", "msync"];

pub fn of_a_step(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    if let Client::Peer(_) = client {
        return Ok(None);
    }
    let (short, long) = (count(lab, client, SHORT)?, count(lab, client, LONG)?);
    let a_step = |short: u64, long: u64| (long as f64 - short as f64) / (LONG - SHORT) as f64;
    Ok(Some(Figures::from([("calls", a_step(short.0, long.0)), ("flushes", a_step(short.1, long.1))])))
}

/// All calls of a job, and the flushes among them.
fn count(lab: &Lab, client: &Client, steps: usize) -> Result<(u64, u64)> {
    let around = Surroundings::default();
    let folder = lab.folder(&around)?;
    let server = Server::start(Script::reading(steps), Options::default())?;
    let command = lab.job(client, folder.path(), &server, &around)?;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o", "strace.txt"]).arg(command.get_program()).args(command.get_args());
    strace.env_clear().env("PATH", "/usr/bin:/bin");
    strace.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    process::run(&mut strace, folder.path(), |_| Ok(()))?;
    let text = fs::read_to_string(folder.path().join("strace.txt"))?;
    let (mut calls, mut flushes) = (None, 0);
    for line in text.lines() {
        // % time, seconds, usecs/call, calls, errors (often blank), name
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (Some(count), Some(name)) = (words.get(3).and_then(|word| word.parse().ok()), words.last()) else {
            continue;
        };
        if *name == "total" {
            calls = Some(count);
        } else if FLUSHES.contains(name) {
            flushes += count;
        }
    }
    Ok((calls.with_context(|| format!("strace counted nothing:\n{text}"))?, flushes))
}
