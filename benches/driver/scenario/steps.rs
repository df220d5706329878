//! Jobs of some steps: the time of each, from one request's first byte to the next one's, and what the whole costs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Figures, millis};
use crate::instructions;
use crate::lab::{Client, Lab, Surroundings};
use crate::process;
use crate::server::{Arrival, Options, Script, Server};

/// Steps and bytes a step that make a megabyte.
const MEGABYTE_STEPS: usize = 100;
/// Jobs of more steps may not fit a model's context.
const ENDLESS_FROM: usize = 500;
const MEGABYTE_FILE: usize = 10_000;

pub fn plain(lab: &Lab, client: &Client, count: usize) -> Result<Option<Figures>> {
    if let (Client::Peer(_), ENDLESS_FROM..) = (client, count.saturating_sub(1)) {
        return Ok(None);
    }
    let around = if count > ENDLESS_FROM { Surroundings::endless() } else { Surroundings::default() };
    run(lab, client, count, &around).map(Some)
}

pub fn megabyte(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    let around = Surroundings { file_size: MEGABYTE_FILE, ..Surroundings::default() };
    run(lab, client, MEGABYTE_STEPS, &around).map(Some)
}

pub fn instructions(lab: &Lab, client: &Client, count: usize) -> Result<Option<Figures>> {
    if let Client::Peer(_) = client {
        return Ok(None);
    }
    let around = Surroundings::default();
    let folder = lab.folder(&around)?;
    let server = Server::start(Script::reading(count), Options::default())?;
    let kept = folder.path().join("callgrind");
    let command = lab.job(client, folder.path(), &server, &around)?;
    let counted = instructions::count(&mut instructions::under_valgrind(&command, &kept), folder.path(), &kept)?;
    Ok(Some(Figures::from([("instructions_m", counted as f64 / 1e6)])))
}

fn run(lab: &Lab, client: &Client, count: usize, around: &Surroundings) -> Result<Figures> {
    let folder = lab.folder(around)?;
    let server = Server::start(client.reading(count), Options::default())?;
    let ended = process::run(&mut lab.job(client, folder.path(), &server, around)?, folder.path(), |_| Ok(()))?;
    let arrivals = server.arrivals();
    // Others may ask more than the conversation needs.
    let is_right = if let Client::Peer(_) = client { arrivals.len() >= count } else { arrivals.len() == count };
    ensure!(is_right, "{} sent {} requests, not {count}", client.name(), arrivals.len());
    let first = arrivals.first().context("no request")?;
    let answered = arrivals.last().and_then(|last| last.answered).context("the last answer was not sent")?;
    let mut figures = step_times(&arrivals);
    figures.insert("first_request_ms", millis(ended.started, first.at));
    figures.insert("exit_ms", millis(answered, ended.finished));
    figures.insert("cpu_s", ended.cpu.as_secs_f64());
    figures.insert("wall_ms", ended.wall().as_secs_f64() * 1e3);
    let (files, bytes) = stored(&folder.path().join("perstack"))?;
    figures.insert("stored_files", files as f64);
    figures.insert("stored_mb", bytes as f64 / 1e6);
    if let Some(bytes) = median_checkpoint(&folder.path().join("perstack"))? {
        figures.insert("checkpoint_bytes", bytes as f64);
    }
    Ok(figures)
}

/// Mean, 95th percentile, and the means of the first and the last tenth.
fn step_times(arrivals: &[Arrival]) -> Figures {
    let times: Vec<Duration> =
        arrivals.windows(2).filter_map(|pair| Some(pair.get(1)?.at - pair.first()?.at)).collect();
    let mean = |times: &[Duration]| times.iter().sum::<Duration>().as_secs_f64() * 1e3 / times.len().max(1) as f64;
    if times.is_empty() {
        return Figures::new();
    }
    let tenth = times.len().div_ceil(10);
    let mut sorted = times.clone();
    sorted.sort();
    let p95 = sorted.get((sorted.len() * 95).div_ceil(100) - 1).copied().unwrap_or_default();
    Figures::from([
        ("step_ms", mean(&times)),
        ("step_p95_ms", p95.as_secs_f64() * 1e3),
        ("first_tenth_ms", mean(times.get(..tenth).unwrap_or_default())),
        ("last_tenth_ms", mean(times.get(times.len() - tenth..).unwrap_or_default())),
    ])
}

/// The median size of the files of checkpoints beneath a folder.
fn median_checkpoint(path: &Path) -> Result<Option<u64>> {
    let mut sizes = Vec::new();
    collect_checkpoints(path, &mut sizes)?;
    sizes.sort_unstable();
    Ok(sizes.get(sizes.len() / 2).copied())
}

fn collect_checkpoints(path: &Path, sizes: &mut Vec<u64>) -> Result<()> {
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect_checkpoints(&entry.path(), sizes)?;
        } else if entry.file_name().to_string_lossy().starts_with("checkpoint-") {
            sizes.push(entry.metadata()?.len());
        }
    }
    Ok(())
}

/// Files beneath a folder, and their bytes.
pub fn stored(path: &Path) -> Result<(u64, u64)> {
    let Ok(data) = fs::metadata(path) else { return Ok((0, 0)) };
    if !data.is_dir() {
        return Ok((1, data.len()));
    }
    let mut sum = (0, 0);
    for entry in fs::read_dir(path)? {
        let (files, bytes) = stored(&entry?.path())?;
        sum = (sum.0 + files, sum.1 + bytes);
    }
    Ok(sum)
}
