//! One job that meets a fault or two, and what must come of it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::job::{ID, Job};
use crate::snapshots;
use crate::support::Test;
use crate::support::crash::{Chance, Story, assert_consistent, effects_of, facts, has_completed, whole_json};
use crate::support::process::Ran;
use crate::support::storage::{checkpoint_id, read_json};
use crate::trace::{self, Entry};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Error,
    Short,
    CrashBefore,
    CrashAfter,
    CrashTorn,
    PowerAll,
    PowerSome,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Error,
        Self::Short,
        Self::CrashBefore,
        Self::CrashAfter,
        Self::CrashTorn,
        Self::PowerAll,
        Self::PowerSome,
    ];

    /// Whether it is anything of its own at this operation.
    pub fn applies_to(self, operation: &Entry) -> bool {
        let is_write = matches!(operation, Entry::Operation { name, .. } if name == "write");
        is_write || !matches!(self, Self::Short | Self::CrashTorn)
    }

    pub fn is_error(self) -> bool {
        matches!(self, Self::Error | Self::Short)
    }
}

/// An error as the plan names it, from when on it comes, and the text that the user must see.
const ERRORS: [(&str, &str, &str); 4] = [
    ("", "eio", "Input/output error"),
    ("+", "enospc", "No space left on device"),
    ("+", "erofs", "Read-only file system"),
    ("", "eacces", "Permission denied"),
];

/// A fault at an operation.
#[derive(Debug, Clone)]
pub struct Fault {
    pub kind: Kind,
    pub number: u64,
    /// As the binary takes it.
    plan: String,
    /// The text that the user must see, when it is an error.
    shown: &'static str,
}

impl Fault {
    /// One of the faults of this kind at the operation `number`, which writes so many bytes.
    pub fn new(kind: Kind, number: u64, bytes: u64, chance: &mut Chance) -> Self {
        // The first byte, half, all but the end of the line.
        let part = chance.one_of(&[1.min(bytes), bytes / 2, bytes.saturating_sub(1)]);
        let (lasting, error, shown) = chance.one_of(&ERRORS);
        let plan = match kind {
            Kind::Error => format!("{number}{lasting}={error}"),
            Kind::Short => format!("{number}=short:{part}"),
            Kind::CrashBefore => format!("{number}=crash-before"),
            Kind::CrashAfter => format!("{number}=crash-after"),
            Kind::CrashTorn => format!("{number}=crash-torn:{part}"),
            Kind::PowerAll => format!("{number}=power"),
            Kind::PowerSome => format!("{number}=power:{}", chance.below(u64::MAX)),
        };
        let shown = if kind == Kind::Short { "No space left on device" } else { shown };
        Self { kind, number, plan, shown }
    }

    /// The text that the user must see, when it is an error.
    pub fn shown(&self) -> &'static str {
        self.shown
    }
}

/// How a killed job is named to `resume`.
#[derive(Debug, Clone, Copy)]
pub enum Name {
    Latest,
    Job,
    /// By the id of its newest checkpoint.
    Checkpoint,
}

/// One job and its faults.
#[derive(Debug, Clone)]
pub struct Case {
    pub job: Job,
    pub fault: Fault,
    /// While it is resumed for the first time.
    pub second: Option<Fault>,
    pub name: Name,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.second.as_ref().map(|fault| format!(", then {}", fault.plan)).unwrap_or_default();
        write!(f, "{:?}: {}{second}; resumed by {:?}", self.job, self.fault.plan, self.name)
    }
}

/// How a case went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Faults that the binary met.
    pub faults: usize,
    pub resumes: usize,
    /// Calls that take effect, by how often they did: not at all, once, more often.
    pub effects: [usize; 3],
}

/// Runs the job to its end without a fault; its conversations, and what it did to the disk.
/// # Panics
/// When it does not end well.
pub fn undisturbed(job: Job) -> (Vec<Story>, Vec<Entry>) {
    let test = job.place();
    let ran = run(&test, None, job.command()).0.assert_code(0);
    assert_eq!(ran.stdout, format!("{}\n", job.answer()));
    assert_consistent(&test, job.effects());
    let stories = Story::all(&test);
    assert_eq!(Story::all_in_doubt(&stories), [""; 0]);
    (stories, trace::read(&trace_file(&test)))
}

/// What the job did to the disk until its end, and the files that are never synced: checkpoints that follow from a log.
///
/// # Panics
/// When it does not end well.
pub fn traced(job: Job) -> (Vec<Entry>, BTreeSet<PathBuf>) {
    let test = job.place();
    run(&test, None, job.command()).0.assert_code(0);
    (trace::read(&trace_file(&test)), checkpoints_by_log(&test))
}

/// What the job did to the disk until it was killed after the operation `number`, and what it did then to its end; and
/// the files that are never synced.
///
/// # Panics
/// When it does not end well.
pub fn killed_after(job: Job, number: u64) -> ([Vec<Entry>; 2], BTreeSet<PathBuf>) {
    let test = job.place();
    let fault = Fault::new(Kind::CrashAfter, number, 0, &mut Chance(number));
    let (ran, _) = run(&test, Some(&fault), job.command());
    assert_eq!(ran.signal, Some(Signal::KILL.as_raw()), "{}", ran.stderr);
    let first = trace::read(&trace_file(&test));
    let has_begun = !facts(&test).is_empty();
    let command = if has_begun { &["resume", "latest"][..] } else { job.command() };
    run(&test, None, command).0.assert_code(0);
    ([first, trace::read(&trace_file(&test))], checkpoints_by_log(&test))
}

impl Case {
    /// Plays it to the end.
    ///
    /// # Panics
    /// When anything is not as it must be.
    pub fn play(&self, expected: &[Story]) -> Outcome {
        let test = self.job.place();
        let mut outcome = Outcome::default();
        let mut faults = vec![&self.fault];
        faults.extend(&self.second);
        let mut faults = faults.into_iter();
        // Each fault ends the job at most once; then it must come to its end.
        loop {
            let fault = faults.next();
            let command = self.command(&test);
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            outcome.resumes += usize::from(words != self.job.command());
            let (ran, met) = run(&test, fault, &words);
            outcome.faults += usize::from(met.is_some());
            assert_consistent(&test, self.job.effects());
            if self.is_at_its_end(&test, ran, fault, met) {
                break;
            }
        }
        self.check_end(&test, expected, &mut outcome);
        outcome
    }

    /// Starts the job, or goes on with it.
    fn command(&self, test: &Test) -> Vec<String> {
        if facts(test).is_empty() {
            return self.job.command().iter().map(|word| (*word).to_owned()).collect();
        }
        let newest = || test.storage().checkpoints().pop().map(|file| checkpoint_id(&file).to_owned());
        let name = match self.name {
            Name::Job => Some(ID.to_owned()),
            // A team's newest may be a delegate's, which is not resumed by itself; that of a job that moved may be the
            // one it came as, from where the user's message would have to be given again.
            Name::Checkpoint if self.job == Job::Alone => newest(),
            Name::Checkpoint | Name::Latest => None,
        };
        let name = name.unwrap_or_else(|| "latest".to_owned());
        vec!["resume".to_owned(), name]
    }

    /// Whether the job is over, after the binary did as it must when it meets `met`.
    fn is_at_its_end(&self, test: &Test, ran: Ran, fault: Option<&Fault>, met: Option<Entry>) -> bool {
        let (Some(fault), Some(met)) = (fault, met) else {
            assert_eq!(ran.assert_code(0).stdout, format!("{}\n", self.job.answer()));
            return true;
        };
        if fault.kind.is_error() {
            let Entry::Operation { name, path, .. } = &met else { panic!("a fault at {met:?}") };
            if is_idle(&ran, name, path) {
                assert_eq!(ran.assert_code(0).stdout, format!("{}\n", self.job.answer()));
                return true;
            }
            let ran = ran.assert_code(6).assert_stderr(["error: cannot ", fault.shown]);
            let is_named = path.ancestors().any(|path| ran.stderr.contains(path.to_str().unwrap()));
            assert!(is_named, "{} is not named:\n{}", path.display(), ran.stderr);
            assert_eq!(ran.stdout, "", "nothing is printed that is not stored");
        } else {
            assert_eq!(ran.signal, Some(Signal::KILL.as_raw()), "{}", ran.stderr);
        }
        // It died between its last write and its end: all is on record, and the answer counts as given.
        has_completed(test)
    }

    fn check_end(&self, test: &Test, expected: &[Story], outcome: &mut Outcome) {
        let stories = Story::all(test);
        let in_doubt = Story::all_in_doubt(&stories);
        for id in self.job.effects() {
            let times = effects_of(test, id);
            outcome.effects[times.min(2)] += 1;
            assert!(times == 1 || in_doubt.contains(id), "{id} took effect {times} times, which is not reported");
        }
        let repeatable: Vec<_> = in_doubt.iter().filter(|id| !self.job.effects().contains(id)).collect();
        assert!(repeatable.is_empty(), "could have been made again: {repeatable:?}");
        Story::assert_all(&stories, expected);
        let job = read_json(&test.storage().jobs()[0].join("job.json"));
        assert_eq!(job["status"], "completed");
        if self.job == Job::Kept {
            snapshots::check(test, outcome.faults, &mut Chance(self.fault.number));
        }
    }
}

/// Whether the failure of an operation need not concern anybody.
fn is_idle(ran: &Ran, name: &str, path: &Path) -> bool {
    let is_fine = ran.code == Some(0);
    match name {
        // What is left over is in nobody's way.
        "remove" => true,
        // The lock is emptied when it is taken, which must not fail, and when it is given back.
        "truncate" => is_fine && path.ends_with("lock"),
        // Around a storage folder that is there already: whoever may not look has made nothing there.
        "sync-folder" => is_fine && path == ran.workspace(),
        _ => false,
    }
}

/// The files of checkpoints that refer to a log, and are never synced.
fn checkpoints_by_log(test: &Test) -> BTreeSet<PathBuf> {
    let refers = |file: &PathBuf| whole_json(file).is_some_and(|json| json["log"].is_object());
    test.storage().checkpoints().into_iter().filter(refers).collect()
}

/// The file of the trace.
pub fn trace_file(test: &Test) -> PathBuf {
    test.root().join("trace")
}

/// Runs the binary; answers with the operation that met the fault, if it came so far.
pub fn run(test: &Test, fault: Option<&Fault>, words: &[&str]) -> (Ran, Option<Entry>) {
    let file = trace_file(test);
    // There is none before the first.
    let _ = fs::remove_file(&file);
    let mut command = Command::new("env");
    command.arg(format!("PERSTACK_FAULT_TRACE={}", file.display()));
    command.arg(format!("PERSTACK_FAULT={}", fault.map_or("", |fault| fault.plan.as_str())));
    command.arg(test.binary()).args(words);
    let ran = test.start(command).finish();
    let met = fault.and_then(|fault| {
        let is_met = |entry: &Entry| matches!(entry, Entry::Operation { number, .. } if *number == fault.number);
        trace::read(&file).into_iter().find(is_met)
    });
    (ran, met)
}
