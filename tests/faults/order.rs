//! The order of writes, by the binary's own trace: what has to be durable before what.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::case;
use crate::job::Job;
use crate::snapshots::is_of_snapshots;
use crate::trace::Entry;

/// What was written and not synced.
#[derive(Default)]
struct Unsynced {
    data: BTreeSet<PathBuf>,
    /// The folders with new names.
    names: BTreeSet<PathBuf>,
    /// Files that are not to be synced.
    exempt: BTreeSet<PathBuf>,
}

impl Unsynced {
    fn new(exempt: &BTreeSet<PathBuf>) -> Self {
        Self { exempt: exempt.clone(), ..Self::default() }
    }

    fn note(&mut self, name: &str, path: &Path) {
        let folder = path.parent().unwrap();
        match name {
            "write" | "truncate" => drop(self.data.insert(path.to_owned())),
            // A temporary name is nobody's until it is replaced by the file's own.
            "create" if is_temporary(path) => {}
            "rename" => {
                // What had the name before is gone.
                self.data.remove(path);
                let temporary = self.data.iter().find(|data| is_temporary_of(data, path)).cloned();
                if temporary.is_some_and(|temporary| self.data.remove(&temporary)) {
                    self.data.insert(path.to_owned());
                }
                if !self.exempt.contains(path) {
                    self.names.insert(folder.to_owned());
                }
            }
            "create" | "create-folder" | "remove" => drop(self.names.insert(folder.to_owned())),
            "sync" => drop(self.data.remove(path)),
            "sync-folder" => drop(self.names.remove(path)),
            "open" => {}
            other => panic!("unknown: {other}"),
        }
    }

    /// All but the lock, whose contents are for people, and what has no name for a reader.
    fn all(&self) -> Vec<&PathBuf> {
        let is_read = |path: &&PathBuf| !path.ends_with("lock") && !is_temporary(path) && !self.exempt.contains(*path);
        self.data.iter().filter(is_read).chain(&self.names).collect()
    }
}

fn is_temporary(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "tmp")
}

fn is_temporary_of(path: &Path, of: &Path) -> bool {
    let prefix = format!(".{}.", of.file_name().unwrap().to_str().unwrap());
    path.parent() == of.parent() && path.file_name().unwrap().to_str().unwrap().starts_with(&prefix)
}

#[test]
fn everything_is_durable_before_a_tool_starts_and_before_an_end_is_reported() {
    let (trace, by_log) = case::traced(Job::Alone);
    let (mut unsynced, mut tools) = (Unsynced::new(&by_log), 0);
    for entry in &trace {
        match entry {
            Entry::Operation { name, path, .. } => unsynced.note(name, path),
            Entry::Mark { what, of } if is_promise(what, of) => {
                tools += usize::from(what == "tool");
                assert_eq!(unsynced.all(), [""; 0], "when {what} {of} comes");
            }
            Entry::Mark { .. } => {}
        }
    }
    // But for the two that the conversation answers itself.
    assert_eq!(tools, 15);
    assert_eq!(unsynced.all(), [""; 0], "at the end");
}

/// Whether tools may start, and a Run's end may be reported.
fn is_promise(what: &str, of: &str) -> bool {
    what == "tool" || (what == "reported" && of == "completeRun")
}

#[test]
fn what_a_killed_process_left_unsynced_is_synced_before_the_next_goes_on() {
    let (_, trace) = case::undisturbed(Job::Alone);
    // Wherever a name has just been made or data been written; as far as the first tools.
    let numbers = trace.iter().take_while(|entry| !matches!(entry, Entry::Mark { what, .. } if what == "tool"));
    let numbers: Vec<u64> = numbers.filter_map(Entry::number).collect();
    assert!(numbers.len() > 20, "{numbers:?}");
    for number in numbers {
        let (traces, by_log) = case::killed_after(Job::Alone, number);
        let mut unsynced = Unsynced::new(&by_log);
        let run = traces[1].iter().find_map(Entry::run).unwrap();
        for (nth, trace) in traces.iter().enumerate() {
            for entry in trace {
                match entry {
                    Entry::Operation { name, path, .. } => unsynced.note(name, path),
                    Entry::Mark { what, of } if is_promise(what, of) => {
                        // A Run that came to no fact is nobody's.
                        let left = unsynced.all();
                        let left: Vec<_> =
                            left.iter().filter(|path| run.starts_with(path) || path.starts_with(run)).collect();
                        assert!(left.is_empty(), "killed after {number}, {nth}: {left:?} when {what} {of} comes");
                    }
                    Entry::Mark { .. } => {}
                }
            }
        }
    }
}

#[test]
fn a_pack_of_snapshots_is_durable_before_the_next_fact_also_that_of_a_killed_process() {
    let (_, trace) = case::undisturbed(Job::Kept);
    let numbers: Vec<u64> = trace.iter().filter(|entry| is_of_snapshots(entry)).filter_map(Entry::number).collect();
    assert!(numbers.len() > 20, "{numbers:?}");
    for number in numbers {
        let (traces, _) = case::killed_after(Job::Kept, number);
        let mut unsynced = Unsynced::default();
        for (nth, entry) in traces.iter().enumerate().flat_map(|(nth, trace)| trace.iter().map(move |it| (nth, it))) {
            let Entry::Operation { name, path, .. } = entry else { continue };
            if is_of_snapshots(entry) || name == "sync-folder" {
                unsynced.note(name, path);
            } else if name == "write" && path.ends_with("log.jsonl") {
                assert_eq!(unsynced.all(), [""; 0], "killed after {number}, in process {nth}");
            }
        }
    }
}

#[test]
fn a_file_is_synced_before_it_gets_its_name() {
    for job in Job::ALL {
        let (trace, by_log) = case::traced(job);
        let (mut unsynced, mut named) = (BTreeSet::new(), BTreeSet::new());
        for entry in &trace {
            let Entry::Operation { name, path, .. } = entry else { continue };
            match name.as_str() {
                "write" => drop(unsynced.insert(path)),
                "sync" => drop(unsynced.remove(path)),
                "rename" => {
                    let torn = unsynced.iter().find(|file| is_temporary_of(file, path));
                    // What a job and its runs begin with is synced with the first answer, as another test has it.
                    let is_beginning =
                        named.insert(path) && (path.ends_with("job.json") || path.ends_with("run-setting.json"));
                    assert!(torn.is_none() || is_beginning || by_log.contains(path), "{}", path.display());
                }
                _ => {}
            }
        }
        assert!(!by_log.is_empty());
    }
}

#[test]
fn a_result_is_durable_on_arrival() {
    let (_, trace) = case::undisturbed(Job::Alone);
    let (mut is_calling, mut results) = (false, 0);
    for (at, entry) in trace.iter().enumerate() {
        match entry {
            Entry::Mark { what, .. } if what == "tool" => is_calling = true,
            Entry::Mark { what, .. } if what == "request" => is_calling = false,
            Entry::Operation { name, path, .. } if is_calling && name == "write" && path.ends_with("log.jsonl") => {
                // Those that arrive together are synced together.
                let mut next = trace[at + 1..].iter();
                let next = next.find(|next| !matches!(next, Entry::Operation { name, path: other, .. } if name == "write" && other == path));
                let is_synced = matches!(next, Some(Entry::Operation { name, path: synced, .. }) if name == "sync" && synced == path);
                assert!(is_synced, "after a result: {next:?}");
                results += 1;
            }
            _ => {}
        }
    }
    assert_eq!(results, 15);
}

#[test]
fn a_step_is_flushed_twice() {
    let (trace, _) = case::traced(Job::Alone);
    // From the second step on: the first one's flush takes along what the job begins with.
    let second = trace.iter().enumerate().filter(|(_, entry)| is_request(entry)).nth(1).unwrap().0;
    let steps: Vec<&[Entry]> = trace[second + 1..].split(is_request).collect();
    let (last, steps) = steps.split_last().unwrap();
    let count = |step: &[Entry], is: fn(&Entry) -> bool| step.iter().filter(|entry| is(entry)).count();
    let (mut flushes, mut most) = (0, 0);
    for step in steps {
        flushes += count(step, |entry| matches!(entry, Entry::Operation { name, .. } if name.starts_with("sync")));
        // The answer, and the results, which share a flush only if they arrive together.
        most += 1 + count(step, |entry| matches!(entry, Entry::Mark { what, .. } if what == "tool"));
        // A step without a tool is flushed with the next one's answer at the latest.
        assert!(flushes <= most, "{step:?}");
    }
    assert!(
        last.iter().any(|entry| matches!(entry, Entry::Operation { name, .. } if name == "sync-folder")),
        "the end"
    );
}

fn is_request(entry: &Entry) -> bool {
    matches!(entry, Entry::Mark { what, .. } if what == "request")
}

#[test]
fn a_request_does_not_wait_for_the_checkpoint_of_the_step_before() {
    let (_, trace) = case::undisturbed(Job::Alone);
    let requests =
        trace.iter().enumerate().filter(|(_, entry)| matches!(entry, Entry::Mark { what, .. } if what == "request"));
    let is_checkpoint = |entry: &Entry| {
        matches!(entry, Entry::Operation { name, path, .. } if name == "rename"
            && path.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-"))
    };
    // After every request but the first, the checkpoint of the step before comes first of all.
    for (at, _) in requests.skip(1) {
        let next: Vec<&Entry> =
            trace[at + 1..].iter().take_while(|entry| !matches!(entry, Entry::Mark { .. })).collect();
        assert!(next.iter().any(|entry| is_checkpoint(entry)), "after entry {at}: {next:?}");
    }
}
