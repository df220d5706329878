//! The order of writes, by the binary's own trace: what has to be durable before what.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::case;
use crate::job::Job;
use crate::trace::Entry;

/// What was written and not synced.
#[derive(Default)]
struct Unsynced {
    data: BTreeSet<PathBuf>,
    /// The folders with new names.
    names: BTreeSet<PathBuf>,
}

impl Unsynced {
    fn note(&mut self, name: &str, path: &Path) {
        let folder = path.parent().unwrap();
        match name {
            "write" | "truncate" => drop(self.data.insert(path.to_owned())),
            "create" | "create-folder" | "rename" | "remove" => drop(self.names.insert(folder.to_owned())),
            "sync" => drop(self.data.remove(path)),
            "sync-folder" => drop(self.names.remove(path)),
            "open" => {}
            other => panic!("unknown: {other}"),
        }
    }

    /// All but the lock, whose contents are for people, and what has no name for a reader.
    fn all(&self) -> Vec<&PathBuf> {
        let is_read = |path: &&PathBuf| !path.ends_with("lock") && path.extension().is_none_or(|end| end != "tmp");
        self.data.iter().filter(is_read).chain(&self.names).collect()
    }
}

#[test]
fn everything_is_durable_before_a_tool_starts_and_before_an_end_is_reported() {
    let (_, trace) = case::undisturbed(Job::Alone);
    let (mut unsynced, mut tools) = (Unsynced::default(), 0);
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
        let mut unsynced = Unsynced::default();
        let traces = case::killed_after(Job::Alone, number);
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
fn a_file_is_synced_before_it_gets_its_name() {
    for job in Job::ALL {
        let (_, trace) = case::undisturbed(job);
        let mut unsynced = BTreeSet::new();
        for entry in &trace {
            let Entry::Operation { name, path, .. } = entry else { continue };
            match name.as_str() {
                "write" => drop(unsynced.insert(path)),
                "sync" => drop(unsynced.remove(path)),
                "rename" => {
                    let prefix = format!(".{}.", path.file_name().unwrap().to_str().unwrap());
                    let is_of_it = |file: &&&PathBuf| {
                        file.parent() == path.parent()
                            && file.file_name().unwrap().to_str().unwrap().starts_with(&prefix)
                    };
                    assert_eq!(unsynced.iter().find(is_of_it), None, "{}", path.display());
                }
                _ => {}
            }
        }
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
                let next = &trace[at + 1];
                let is_synced =
                    matches!(next, Entry::Operation { name, path: synced, .. } if name == "sync" && synced == path);
                assert!(is_synced, "after a result: {next:?}");
                results += 1;
            }
            _ => {}
        }
    }
    assert_eq!(results, 15);
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
