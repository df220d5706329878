//! [`gate`]: the instructions of a few pieces of work against those on record. `benches/run gate` and CI call it.
//!
//! The record, `benches/instructions.toml`, keeps a line for each count that was ever agreed to, with its reason; the
//! last line of a piece of work is the one in force.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::instructions;
use crate::lab::{Client, Lab, Surroundings};
use crate::scenario::fixtures;
use crate::server::{Options, Script, Server};

/// Shares of the recorded count: more fails, and as much less is worth a record.
const TOLERANCE: f64 = 0.05;
/// The share that counts differ by from run to run at most; no line is recorded for less.
const NOISE: f64 = 0.005;
/// Measured at a time; valgrind runs one thread of a process at a time.
const WORKERS: usize = 2;
const HEADER: &str = "\
# Instructions of the binary, built with the profile `fast`, as callgrind counts them. `benches/run gate` fails where a
# piece of work takes over 5 % more than its last line. A line is added, never changed, by
#     benches/run gate --record \"REASON\" [WORK]...
# Another compiler counts otherwise: a change of the toolchain is a reason of its own.
";

/// A piece of work, from the process's start to its end.
#[derive(Clone, Copy)]
enum Work {
    Version,
    /// A job of this many steps.
    Job(usize),
    /// One step more, after a job of this many.
    Resume(usize),
    /// A recorded job of this many steps again, its tools' results included.
    Replay(usize),
    /// The list of the latest jobs, among this many.
    List(usize),
}

/// By their names in the record; the longest first, so that none is waited for at the end.
const WORKS: [(&str, Work); 7] = [
    ("job-100", Work::Job(100)),
    ("list-1000", Work::List(1000)),
    ("replay-100", Work::Replay(100)),
    ("resume-300", Work::Resume(300)),
    ("job-10", Work::Job(10)),
    ("job-1", Work::Job(1)),
    ("version", Work::Version),
];

/// A line of the record.
#[derive(Debug, PartialEq, Deserialize)]
struct Agreed {
    count: u64,
    reason: String,
}

/// The lines of each work, the last of which is in force.
type Record = BTreeMap<String, Vec<Agreed>>;

/// A count beside the one in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing is on record.
    Unknown,
    TooMany,
    Good,
    /// Less by so much that a record would keep it.
    Better,
}

/// Counts the works of these names, or all. With a reason, counts that differ are recorded; without one, those above
/// the record are reported, and false is returned.
pub fn gate(lab: &Lab, names: &[String], reason: Option<&str>, file: &Path, kept: &Path) -> Result<bool> {
    let is_meant = |name: &str| names.is_empty() || names.iter().any(|meant| meant == name);
    let works: Vec<_> = WORKS.into_iter().filter(|(name, _)| is_meant(name)).collect();
    ensure!(!works.is_empty(), "no such work; there are: {}", WORKS.map(|(name, _)| name).join(", "));
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut record: Record = toml::from_str(&text).with_context(|| format!("{}", file.display()))?;
    let counts = count_all(lab, &works, kept)?;
    let mut is_good = true;
    for (name, _) in works {
        let count = counts.get(name).copied().with_context(|| format!("{name} was not counted"))?;
        let lines = record.entry(name.to_owned()).or_default();
        let agreed = lines.last().map(|line| line.count);
        let verdict = judge(count, agreed);
        println!("{}", line(name, count, agreed, verdict));
        if let Some(reason) = reason {
            if agreed.is_none_or(|agreed| share(count, agreed).abs() > NOISE) {
                lines.push(Agreed { count, reason: reason.to_owned() });
            }
        } else if matches!(verdict, Verdict::TooMany | Verdict::Unknown) {
            is_good = false;
            println!("  by function: callgrind_annotate {}", callgrind_file(kept, name).display());
            println!("  if it is meant: benches/run gate --record \"why it costs more\" {name}");
        }
    }
    if reason.is_some() {
        fs::write(file, written(&record))?;
        println!("recorded in {}", file.display());
    }
    Ok(is_good)
}

fn judge(count: u64, agreed: Option<u64>) -> Verdict {
    match agreed.map(|agreed| share(count, agreed)) {
        None => Verdict::Unknown,
        Some(share) if share > TOLERANCE => Verdict::TooMany,
        Some(share) if share < -TOLERANCE => Verdict::Better,
        Some(_) => Verdict::Good,
    }
}

fn line(name: &str, count: u64, agreed: Option<u64>, verdict: Verdict) -> String {
    let millions = |count: u64| count as f64 / 1e6;
    let against = agreed.map_or_else(
        || "none on record".to_owned(),
        |agreed| format!("{:+.1} % to the record of {:.2} M", share(count, agreed) * 100.0, millions(agreed)),
    );
    let judged = match verdict {
        Verdict::Unknown => "FAILED: record it",
        Verdict::TooMany => "FAILED: too many",
        Verdict::Good => "ok",
        Verdict::Better => "ok; record it, so that it stays",
    };
    format!("{name}: {:.2} M instructions, {against}: {judged}", millions(count))
}

/// How much more this is, as a share.
fn share(count: u64, agreed: u64) -> f64 {
    count as f64 / agreed as f64 - 1.0
}

fn written(record: &Record) -> String {
    let mut text = HEADER.to_owned();
    for (name, lines) in record {
        let _ = write!(text, "\n{name} = [\n");
        for line in lines {
            let reason = toml::Value::from(line.reason.as_str());
            let _ = writeln!(text, "  {{ count = {}, reason = {reason} }},", line.count);
        }
        text += "]\n";
    }
    text
}

fn callgrind_file(kept: &Path, name: &str) -> PathBuf {
    kept.join(format!("callgrind.{name}"))
}

/// Counts several works at a time.
fn count_all(lab: &Lab, works: &[(&'static str, Work)], kept: &Path) -> Result<HashMap<&'static str, u64>> {
    let waiting = Mutex::new(works.iter());
    let counts = Mutex::new(HashMap::new());
    thread::scope(|scope| {
        let work = || -> Result<()> {
            loop {
                let next = waiting.lock().ok().and_then(|mut works| works.next().copied());
                let Some((name, work)) = next else { return Ok(()) };
                let count = work.count(lab, &callgrind_file(kept, name)).with_context(|| name.to_owned())?;
                if let Ok(mut counts) = counts.lock() {
                    counts.insert(name, count);
                }
            }
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| anyhow::bail!("a worker ended")))
    })?;
    Ok(counts.into_inner().unwrap_or_default())
}

impl Work {
    fn count(self, lab: &Lab, kept: &Path) -> Result<u64> {
        let around = Surroundings::default();
        let folder = lab.folder(&around)?;
        let at = folder.path();
        let answers = if let Self::Job(steps) = self { steps } else { 1 };
        let server = Server::start(Script::reading(answers), Options::default())?;
        let mut command = lab.ours();
        Lab::lead_to(&mut command, &server);
        match self {
            Self::Job(_) => command = lab.job(&Client::Ours, at, &server, &around)?,
            Self::Version => _ = command.arg("--version"),
            Self::Resume(steps) => {
                fixtures::job(lab, at, &around, steps)?;
                command.args(["resume", "latest", "And by day?"]);
            }
            Self::Replay(steps) => {
                fixtures::recorded_job(lab, at, steps)?;
                command.args(fixtures::REPLAY);
            }
            Self::List(jobs) => {
                fixtures::jobs(lab, at, jobs)?;
                command.args(["log", "--jobs"]);
            }
        }
        instructions::count(&mut instructions::under_valgrind(&command, kept), at, kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_twentieth_above_the_record_is_too_many() {
        assert_eq!(judge(1_051, Some(1_000)), Verdict::TooMany);
        assert_eq!(judge(1_049, Some(1_000)), Verdict::Good);
        assert_eq!(judge(951, Some(1_000)), Verdict::Good);
        assert_eq!(judge(949, Some(1_000)), Verdict::Better);
        assert_eq!(judge(949, None), Verdict::Unknown);
    }

    #[test]
    fn a_record_keeps_every_line_and_its_reason() {
        let line = |count, reason: &str| Agreed { count, reason: reason.to_owned() };
        let lines = vec![line(10, "first"), line(20, "the \"log\" has digests")];
        let record = Record::from([("job-10".to_owned(), lines), ("version".to_owned(), vec![line(1, "first")])]);
        let read: Record = toml::from_str(&written(&record)).unwrap();
        assert_eq!(read, record);
    }
}
