//! Recording a job, and replaying it.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Figures, fixtures, memory};
use crate::lab::{Client, Lab, Surroundings};
use crate::process;

/// Between two looks at a process's memory.
const INTERVAL: Duration = Duration::from_millis(2);

/// A job of this many steps, recorded and replayed with its tools' results.
pub fn recorded_and_replayed(lab: &Lab, client: &Client, steps: usize) -> Result<Option<Figures>> {
    if *client != Client::Ours {
        return Ok(None);
    }
    let folder = lab.folder(&Surroundings::endless())?;
    let conversation = fixtures::recorded_job(lab, folder.path(), steps)?;
    let cassette = fs::metadata(folder.path().join("owls.cassette")).context("no cassette")?.len();
    let mut peak = 0.0_f64;
    let mut command = lab.ours();
    let ended = process::run(command.args(fixtures::REPLAY), folder.path(), |process| {
        // A process that has ended has no memory any more.
        while let Ok(text) = fs::read_to_string(format!("/proc/{process}/status")) {
            let Ok(kilobytes) = memory::kilobytes(&text, "VmHWM:") else { break };
            peak = peak.max(kilobytes / 1e3);
            thread::sleep(INTERVAL);
        }
        Ok(())
    })?;
    Ok(Some(Figures::from([
        ("cassette_mb", cassette as f64 / 1e6),
        ("cassette_times_conversation", cassette as f64 / conversation as f64),
        ("replayed_a_second", steps as f64 / ended.wall().as_secs_f64()),
        ("replay_peak_mb", peak),
    ])))
}
