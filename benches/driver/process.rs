//! [`run`]: one process from its start to its end, with the times and the processor's work between.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// A process that has ended.
pub struct Ended {
    pub started: Instant,
    pub finished: Instant,
    /// Of the process and of the children that it waited for.
    pub cpu: Duration,
    /// When the first byte of its output came.
    pub first_output: Option<Instant>,
    pub output_bytes: usize,
}

impl Ended {
    pub fn wall(&self) -> Duration {
        self.finished - self.started
    }
}

/// Runs a program in this folder; `meanwhile` gets its id as soon as it runs. Its standard error stays in the folder.
///
/// # Errors
/// When it cannot be started, or ends with another code than 0.
pub fn run(command: &mut Command, folder: &Path, meanwhile: impl FnOnce(u32) -> Result<()>) -> Result<Ended> {
    let errors = folder.join("stderr.txt");
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&errors)?);
    let before = children_cpu()?;
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{command:?} did not start"))?;
    let mut stdout = child.stdout.take().context("no standard output")?;
    let reading = thread::spawn(move || {
        let (mut first, mut count, mut buffer) = (None, 0, vec![0; 64 * 1024]);
        while let Ok(read @ 1..) = stdout.read(&mut buffer) {
            first.get_or_insert_with(Instant::now);
            count += read;
        }
        (first, count)
    });
    let watched = meanwhile(child.id());
    if watched.is_err() {
        // It may wait for ever; its end is not the error to report.
        let _ = child.kill();
    }
    let status = child.wait()?;
    let finished = Instant::now();
    let cpu = children_cpu()?.saturating_sub(before);
    let (first_output, output_bytes) = reading.join().unwrap_or((None, 0));
    watched?;
    if !status.success() {
        let text = std::fs::read_to_string(&errors).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        bail!(
            "{command:?} ended with {status}:\n{}",
            lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n")
        );
    }
    Ok(Ended { started, finished, cpu, first_output, output_bytes })
}

/// The processor's work of all children so far that were waited for.
fn children_cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.try_into()?))
}
