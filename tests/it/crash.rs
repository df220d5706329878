//! Killed at any instant, the job goes on: nothing that is on record is done again, nothing is lost, and it ends as if
//! nothing had happened.

mod cut;
mod owls;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use self::owls::{ANSWER, EFFECTS, Story, TURNS, effects_of};
use crate::support::process::{Ran, Running};
use crate::support::storage::read_json;
use crate::support::{Answer, Gate, Provider, Test};

/// How many kills each provider's test makes at least, unless `PERSTACK_CRASH_KILLS` says otherwise.
const KILLS: usize = 40;

/// How often the log's size is looked at: short against the time that a step takes.
const GLANCE: Duration = Duration::from_micros(100);

/// When to kill.
#[derive(Debug)]
enum Moment {
    /// When the model is asked with this many results, and has not answered.
    Asked(usize),
    /// When the logs have grown by this many bytes.
    Grown(u64),
    /// When this many more checkpoints are there.
    Checkpoints(usize),
}

/// Numbers that look random and are the same in every test run (`SplitMix64`).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }

    /// The next moment for a job that has had this many answers of its model.
    fn moment(&mut self, answers: usize) -> Moment {
        // One of the next few, so that a job is killed more than once.
        let ahead: Vec<usize> = TURNS.into_iter().skip(answers).take(4).collect();
        match self.below(4) {
            0 if !ahead.is_empty() => Moment::Asked(ahead[usize::try_from(self.below(ahead.len() as u64)).unwrap()]),
            1 => Moment::Checkpoints(usize::try_from(self.below(3)).unwrap() + 1),
            // A fact takes some hundred bytes, the first some thousand.
            _ => Moment::Grown(self.below(2500)),
        }
    }
}

/// The results on record: each call's, and whether the runner knew it.
#[track_caller]
fn results(test: &Test) -> BTreeMap<String, bool> {
    let mut results = BTreeMap::new();
    for fact in test.storage().log_lines().concat().iter().filter(|fact| fact["fact"] == "toolReturned") {
        let result = &fact["result"];
        let id = result["id"].as_str().unwrap().to_owned();
        let twice = results.insert(id.clone(), result["isError"] != true);
        assert_eq!(twice, None, "two results of {id}");
    }
    results
}

/// What must hold after a kill, whenever it came.
#[track_caller]
fn check_what_is_left(test: &Test) {
    for file in stored_files(&test.workspace().join("perstack")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => drop(read_json(&file)),
            Some("tmp") => assert!(name.starts_with('.'), "{name} may be taken for something"),
            _ => assert!(matches!(name, "log.jsonl" | "lock"), "{}", file.display()),
        }
    }
    let known = results(test);
    for id in EFFECTS {
        let times = effects_of(test, id);
        match known.get(id) {
            Some(true) => assert_eq!(times, 1, "{id} is on record"),
            Some(false) | None => assert!(times <= 1, "{id} took effect {times} times"),
        }
    }
}

fn stored_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { stored_files(&path) } else { vec![path] }).collect()
}

/// Lets the process come as far as the moment, then kills it; it may have ended before.
fn kill_at(test: &Test, running: Running, moment: &Moment, gate: &Gate) -> Ran {
    let storage = test.storage();
    match moment {
        Moment::Asked(results) => {
            let asked = *results;
            // What is heard of a dead process's question is nothing.
            test.server().script([Answer::hang_up().delay(gate).when(move |r| r.results().len() == asked)]);
            running.poll(GLANCE, || test.server().answers_left() == 0);
        }
        Moment::Grown(bytes) => {
            let goal = storage.log_bytes() + bytes;
            running.poll(GLANCE, || storage.log_bytes() > goal);
        }
        Moment::Checkpoints(more) => {
            let goal = storage.checkpoints().len() + more;
            running.poll(GLANCE, || storage.checkpoints().len() >= goal);
        }
    }
    running.kill();
    let ran = running.finish();
    gate.open();
    ran
}

/// Starts the job, or goes on with it.
fn go_on(test: &Test) -> Running {
    let has_begun = test.storage().log_lines().iter().any(|lines| lines.len() > 1);
    if has_begun { test.spawn(["resume", "latest"]) } else { test.spawn(["run", "librarian", "Which owls?"]) }
}

/// Kills one job until it has completed; how often that was.
fn kill_until_complete(provider: Provider, seeded: &mut Seeded, expected: &Story) -> usize {
    let test = owls::place(provider);
    let mut kills = 0;
    loop {
        let facts = test.storage().log_lines().concat();
        let moment = seeded.moment(facts.iter().filter(|fact| fact["fact"] == "generated").count());
        let ran = kill_at(&test, go_on(&test), &moment, &Gate::new());
        check_what_is_left(&test);
        if ran.signal.is_none() {
            assert_eq!(ran.assert_code(0).stdout, format!("{ANSWER}\n"));
            break;
        }
        assert_eq!(ran.signal, Some(Signal::KILL.as_raw()), "{moment:?}: {}", ran.stderr);
        kills += 1;
        let jobs = test.storage().jobs();
        if jobs.last().is_some_and(|job| job.join("job.json").exists() && has_completed(job)) {
            // Killed between its last word to the disk and its end.
            break;
        }
    }
    let story = Story::of(&test);
    let in_doubt = &story.in_doubt;
    assert!(in_doubt.iter().all(|id| EFFECTS.contains(&id.as_str())), "repeatable, but reported: {in_doubt:?}");
    for id in EFFECTS.iter().filter(|id| !in_doubt.iter().any(|doubt| doubt == *id)) {
        assert_eq!(effects_of(&test, id), 1, "{id}");
    }
    story.assert_is(expected);
    kills
}

fn has_completed(job: &Path) -> bool {
    read_json(&job.join("job.json"))["status"] == "completed"
}

fn assert_survives_kills(provider: Provider, seed: u64) {
    #[expect(clippy::disallowed_methods, reason = "a knob for people and nightly builds")]
    let wanted = std::env::var("PERSTACK_CRASH_KILLS").ok().and_then(|number| number.parse().ok()).unwrap_or(KILLS);
    let expected = owls::undisturbed(provider);
    let mut seeded = Seeded(seed);
    let mut kills = 0;
    while kills < wanted {
        kills += kill_until_complete(provider, &mut seeded, &expected);
    }
}

#[test]
fn a_job_killed_at_any_instant_completes_as_if_undisturbed() {
    assert_survives_kills(Provider::Anthropic, 1);
}

#[test]
fn so_it_does_with_responses() {
    assert_survives_kills(Provider::OpenAi, 2);
}

#[test]
fn so_it_does_with_chat_completions() {
    assert_survives_kills(Provider::OpenAiChat, 3);
}
