//! A finished job's log cut short at every fact, and within one: what any crash could have left, one by one.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::owls::{self, ANSWER, EFFECTS};
use crate::support::crash::{Story, effects, effects_of, stored_files};
use crate::support::storage::{checkpoint_id, read_json};
use crate::support::{Provider, Test};

/// Which checkpoints a crash left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// All that were due.
    Due,
    /// None at all, as when somebody has tidied up: the log has what they held.
    Nothing,
}

/// A job that has completed, to be put back to where it was at any time.
struct Finished {
    test: Test,
    story: Story,
    files: Vec<(PathBuf, Vec<u8>)>,
    log: PathBuf,
}

impl Finished {
    fn new() -> Self {
        let test = owls::JOB.place(Provider::Anthropic);
        test.run(["run", "librarian", "Which owls?"]).assert_code(0);
        let story = Story::read(&test);
        let stored = stored_files(&test.workspace().join("perstack"));
        let files = stored.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect();
        let log = test.storage().runs()[0].join("log.jsonl");
        Self { test, story, files, log }
    }

    /// The whole log.
    fn bytes(&self) -> &[u8] {
        &self.files.iter().find(|(file, _)| *file == self.log).unwrap().1
    }

    /// Where each line ends, from the first fact's on.
    fn ends(&self) -> Vec<usize> {
        let ends = self.bytes().iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        ends.skip(1).collect()
    }

    /// The facts in the first `len` bytes.
    fn facts(&self, len: usize) -> Vec<Value> {
        let text = std::str::from_utf8(&self.bytes()[..len]).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The calls with an effect that were on record after `len` bytes, and those of them that had returned.
    fn effects(&self, len: usize) -> (Vec<&'static str>, Vec<&'static str>) {
        let facts = self.facts(len);
        let asked = |id: &str| {
            let mut parts = facts.iter().flat_map(|fact| fact["generation"]["parts"].as_array().into_iter().flatten());
            parts.any(|part| part["id"] == id)
        };
        let returned = |id: &str| facts.iter().any(|fact| fact["result"]["id"] == id);
        let asked: Vec<_> = EFFECTS.into_iter().filter(|id| asked(id)).collect();
        (asked.clone(), asked.into_iter().filter(|id| returned(id)).collect())
    }

    /// Puts everything back to where it was when the log had `len` bytes and the process died.
    fn cut(&self, len: usize, left: Left) {
        fs::remove_dir_all(self.test.workspace().join("perstack")).unwrap();
        for (file, bytes) in &self.files {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
        for file in self.test.storage().checkpoints() {
            let built_on = read_json(&file)["log"]["bytes"].as_u64().unwrap_or(u64::MAX);
            if left == Left::Nothing || built_on > len as u64 {
                fs::remove_file(file).unwrap();
            }
        }
        fs::write(&self.log, &self.bytes()[..len]).unwrap();
        self.unconclude();
        let lines: Vec<String> = self.effects(len).1.iter().map(|id| format!("{id}\n")).collect();
        fs::write(self.test.workspace().join("lines.txt"), lines.concat()).unwrap();
        // Its text when it was last read.
        fs::write(self.test.workspace().join("notes.txt"), "tawny").unwrap();
    }

    /// `job.json` as it is while a process works on the job.
    fn unconclude(&self) {
        let file = self.test.storage().jobs()[0].join("job.json");
        let mut job = read_json(&file);
        job["status"] = json!("running");
        job.as_object_mut().unwrap().remove("finishedAt");
        fs::write(file, job.to_string()).unwrap();
    }

    /// Goes on after a cut and checks the whole rest.
    #[track_caller]
    fn assert_recovers(&self, len: usize, left: Left) {
        let (asked, returned) = self.effects(len);
        let doubtful: Vec<_> = asked.into_iter().filter(|id| !returned.contains(id)).collect();
        self.cut(len, left);
        let ran = self.test.run(["resume", "latest"]).assert_code(0);
        assert_eq!(ran.stdout, format!("{ANSWER}\n"), "{len} bytes, {left:?}");
        let story = Story::read(&self.test);
        assert_eq!(story.in_doubt, doubtful, "{len} bytes, {left:?}");
        story.assert_is(&self.story);
        for id in EFFECTS {
            let times = usize::from(!doubtful.contains(&id));
            assert_eq!(effects_of(&self.test, id), times, "{id} after {len} bytes, {left:?}");
        }
        assert_eq!(self.test.storage().runs().len(), 1, "a killed run goes on as itself");
        let job = read_json(&self.test.storage().jobs()[0].join("job.json"));
        assert_eq!((&job["status"], &job["totalSteps"]), (&json!("completed"), &json!(12)));
    }

    /// The first end at which a call is on record and its result is not.
    fn end_with_doubt(&self) -> usize {
        let in_doubt = |len: &usize| self.effects(*len).0.len() > self.effects(*len).1.len();
        self.ends().into_iter().find(in_doubt).unwrap()
    }
}

#[test]
fn a_log_cut_at_any_fact_leads_to_the_same_end() {
    let finished = Finished::new();
    for (number, end) in finished.ends().into_iter().enumerate() {
        finished.assert_recovers(end, if number % 2 == 0 { Left::Due } else { Left::Nothing });
    }
}

#[test]
fn a_log_torn_within_a_fact_leads_to_the_same_end() {
    let finished = Finished::new();
    let ends = finished.ends();
    for (number, (end, next)) in ends.iter().zip(&ends[1..]).enumerate() {
        // The first byte, all but the line's end, and places between.
        let torn = [end + 1, next - 1, usize::midpoint(*end, *next), end + (next - end) / 7 + 1][number % 4];
        finished.assert_recovers(torn, if number % 3 == 0 { Left::Nothing } else { Left::Due });
    }
}

#[test]
fn an_ending_that_was_stored_and_never_printed_is_printed() {
    let finished = Finished::new();
    let requests = finished.test.server().requests().len();
    let last = finished.test.storage().last_checkpoint();
    for name in [checkpoint_id(&last), "latest"] {
        finished.unconclude();
        let ran = finished.test.run(["resume", name]).assert_code(0);
        assert_eq!(ran.stdout, format!("{ANSWER}\n"), "{name}");
        assert_eq!(finished.test.server().requests().len(), requests);
    }
    let again = finished.test.run(["resume", "latest"]).assert_code(2);
    again.snapshot("crash-cut/an-ending-that-was-stored-and-never-printed-is-printed");
}

#[test]
fn calls_in_doubt_are_made_again_when_the_user_asks_for_it() {
    let finished = Finished::new();
    let len = finished.end_with_doubt();
    finished.cut(len, Left::Due);
    let ran = finished.test.run(["resume", "latest", "--in-doubt", "retry"]).assert_code(0);
    assert_eq!(ran.stdout, format!("{ANSWER}\n"));
    assert_eq!(effects(&finished.test), EFFECTS);
    assert_eq!(Story::read(&finished.test), finished.story);
}

#[test]
fn calls_in_doubt_stop_the_job_when_the_user_asks_for_it_and_nothing_is_recorded() {
    let finished = Finished::new();
    let len = finished.end_with_doubt();
    finished.cut(len, Left::Due);
    for _ in 0..2 {
        let ran = finished.test.run(["resume", "latest", "More.", "--in-doubt", "stop"]).assert_code(1);
        ran.snapshot("crash-cut/calls-in-doubt-stop-the-job-when-the-user-asks-for-it");
        assert_eq!(fs::read(&finished.log).unwrap(), &finished.bytes()[..len]);
    }
    finished.test.run(["resume", "latest", "--in-doubt", "report"]).assert_code(0);
    assert_eq!(Story::read(&finished.test).in_doubt, ["a1"]);
}
