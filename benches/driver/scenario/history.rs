//! A long job and many jobs on disk: going on with them, and looking at them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Figures, millis, steps};
use crate::lab::{Client, Lab};
use crate::process;
use crate::server::{Options, Script, Server};

/// A further message to a long job: to its end, and to a checkpoint of an earlier step.
pub fn resume_and_fork(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    if *client != Client::Ours {
        return Ok(None);
    }
    let folder = lab.long_job()?;
    let (resumed, resumed_bytes) = go_on(lab, &folder, "latest".as_ref())?;
    let checkpoint = checkpoint_at(&folder, lab.sizes.steps / 10 * 9)?;
    let (forked, forked_bytes) = go_on(lab, &folder, &checkpoint)?;
    Ok(Some(Figures::from([
        ("resume_ms", resumed),
        ("resume_kb", resumed_bytes / 1e3),
        ("fork_ms", forked),
        ("fork_kb", forked_bytes / 1e3),
    ])))
}

/// Milliseconds up to the first request, and the bytes that were stored until then.
fn go_on(lab: &Lab, folder: &Path, from: &Path) -> Result<(f64, f64)> {
    let server = Server::start(Script::reading(1), Options { hold: Some(1), ..Options::default() })?;
    let mut command = lab.ours();
    Lab::lead_to(&mut command, &server);
    command.arg("resume").arg(from).arg("And by day?");
    let before = steps::stored(&folder.join("perstack"))?.1;
    let mut after = before;
    let ended = process::run(&mut command, folder, |_| {
        server.wait_for(1)?;
        after = steps::stored(&folder.join("perstack"))?.1;
        server.release();
        Ok(())
    })?;
    let first = server.arrivals().first().context("no request")?.at;
    Ok((millis(ended.started, first), after.saturating_sub(before) as f64))
}

/// The file of the first run's checkpoint at this step.
fn checkpoint_at(folder: &Path, step: usize) -> Result<PathBuf> {
    let start = format!("checkpoint-{step}-");
    let mut found = Vec::new();
    for job in fs::read_dir(folder.join("perstack/jobs"))? {
        for run in fs::read_dir(job?.path().join("runs"))? {
            for file in fs::read_dir(run?.path())? {
                let path = file?.path();
                if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)) {
                    found.push(path);
                }
            }
        }
    }
    found.into_iter().next().with_context(|| format!("no checkpoint of step {step}"))
}

/// The last page of a long job's log.
pub fn last_page(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    if *client != Client::Ours {
        return Ok(None);
    }
    let folder = lab.long_job()?;
    let page = timed(lab, &folder, &["log", "latest", "--events", "--last", "100"])?;
    Ok(Some(Figures::from([("page_ms", page)])))
}

/// Lists among many jobs, and going on with the latest one.
pub fn lists(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    if *client != Client::Ours {
        return Ok(None);
    }
    let folder = lab.many_jobs()?;
    let log = timed(lab, &folder, &["log"])?;
    let jobs = timed(lab, &folder, &["log", "--jobs"])?;
    let (resumed, _) = go_on(lab, &folder, "latest".as_ref())?;
    Ok(Some(Figures::from([("log_ms", log), ("jobs_ms", jobs), ("resume_latest_ms", resumed)])))
}

fn timed(lab: &Lab, folder: &Path, words: &[&str]) -> Result<f64> {
    let ended = process::run(lab.ours().args(words), folder, |_| Ok(()))?;
    Ok(ended.wall().as_secs_f64() * 1e3)
}
