//! Killed at any instant, the job goes on: nothing that is on record is done again, nothing is lost, and it ends as if
//! nothing had happened.

mod cut;
mod elsewhere;
mod flock;
mod owls;

use std::time::Duration;

use rustix::process::Signal;

use crate::support::crash::{Chance, Story, assert_consistent, effects, effects_of, facts, has_completed};
use crate::support::process::{Ran, Running};
use crate::support::request::Request;
use crate::support::{Answer, Gate, Provider, Test, length};

/// How many kills all tests of this file make at least, unless `PERSTACK_CRASH_KILLS` has another number.
const KILLS: usize = 212;

/// Among how many tests they are shared out.
const TESTS: usize = 4;

/// A job, and how it should go.
pub struct Job {
    /// Its folder.
    folder: fn(Provider) -> Test,
    /// What its model answers, by the conversation alone.
    model: fn(&Request) -> Answer,
    /// How it is started.
    words: [&'static str; 3],
    /// What it answers.
    answer: &'static str,
    /// The calls that take effect each time they are made. Each adds its own id to `lines.txt`.
    effects: &'static [&'static str],
    /// How many results the conversation holds before each answer of the model, where there is but one conversation.
    turns: &'static [usize],
}

impl Job {
    /// Its folder, its model ready.
    fn place(&self, provider: Provider) -> Test {
        let test = (self.folder)(provider);
        test.server().answer_by(self.model);
        test
    }

    /// The stories of the job when nothing comes in between.
    fn undisturbed(&self, provider: Provider) -> Vec<Story> {
        let test = self.place(provider);
        let ran = test.run(self.words).assert_code(0);
        assert_eq!(ran.stdout, format!("{}\n", self.answer));
        let mut effects = effects(&test);
        effects.sort();
        let mut expected = self.effects.to_vec();
        expected.sort_unstable();
        assert_eq!(effects, expected);
        let stories = Story::all(&test);
        assert_eq!(Story::all_in_doubt(&stories), [""; 0]);
        stories
    }

    /// Starts the job, or goes on with it.
    fn go_on(&self, test: &Test) -> Running {
        if facts(test).is_empty() { test.spawn(self.words) } else { test.spawn(["resume", "latest"]) }
    }
}

/// What all kills of one test came to.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    jobs: usize,
    resumes: usize,
    in_doubt: usize,
    /// Calls that had taken effect never, once and more often when their job had completed.
    effects: [usize; 3],
}

impl Tally {
    /// Shown with `--nocapture`. A mismatch ends the test before.
    #[expect(clippy::print_stderr, reason = "a table for people")]
    fn print(&self, name: &str) {
        let Self { kills, jobs, resumes, in_doubt, effects: [never, once, more] } = self;
        eprintln!(
            "{name:<24} {jobs:>4} jobs {kills:>5} kills {resumes:>5} resumes | effects: never {never:>3} (in doubt \
             {in_doubt:>3}) once {once:>5} twice or more {more} | mismatches 0"
        );
    }
}

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
    /// When a tool has taken effect, recorded or not.
    Effect,
}

impl Moment {
    /// The next moment for a job that has had this many answers of its model.
    fn next(chance: &mut Chance, job: &Job, answers: usize) -> Self {
        // One of the next few, so that a job is killed more than once.
        let ahead: Vec<usize> = job.turns.iter().copied().skip(answers).take(4).collect();
        match chance.below(5) {
            0 if !ahead.is_empty() => Self::Asked(chance.one_of(&ahead)),
            1 => Self::Effect,
            2 => Self::Checkpoints(usize::try_from(chance.below(3)).unwrap() + 1),
            // A fact takes some hundred bytes, the first some thousand.
            _ => Self::Grown(chance.below(2500)),
        }
    }
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
        Moment::Effect => {
            let before = effects(test).len();
            running.poll(GLANCE, || effects(test).len() > before);
        }
    }
    running.kill();
    let ran = running.finish();
    gate.open();
    ran
}

/// Kills one job until it has completed.
fn kill_until_complete(job: &Job, provider: Provider, chance: &mut Chance, expected: &[Story], tally: &mut Tally) {
    let test = job.place(provider);
    tally.jobs += 1;
    loop {
        let facts = facts(&test);
        let moment = Moment::next(chance, job, facts.iter().filter(|fact| fact["fact"] == "generated").count());
        tally.resumes += usize::from(!facts.is_empty());
        let ran = kill_at(&test, job.go_on(&test), &moment, &Gate::new());
        assert_consistent(&test, job.effects);
        if ran.signal.is_none() {
            assert_eq!(ran.assert_code(0).stdout, format!("{}\n", job.answer), "{moment:?}");
            break;
        }
        assert_eq!(ran.signal, Some(Signal::KILL.as_raw()), "{moment:?}: {}", ran.stderr);
        tally.kills += 1;
        if has_completed(&test) {
            // Killed between its last write and its end.
            break;
        }
    }
    let stories = Story::all(&test);
    let in_doubt = Story::all_in_doubt(&stories);
    assert!(in_doubt.iter().all(|id| job.effects.contains(id)), "repeatable, but reported: {in_doubt:?}");
    for id in job.effects {
        let times = effects_of(&test, id);
        let is_in_doubt = in_doubt.contains(id);
        assert!(times == 1 || (times == 0 && is_in_doubt), "{id} took effect {times} times");
        tally.effects[times.min(2)] += 1;
    }
    tally.in_doubt += in_doubt.len();
    Story::assert_all(&stories, expected);
}

fn assert_survives_kills(name: &str, job: &Job, provider: Provider, seed: u64) {
    let wanted = length("PERSTACK_CRASH_KILLS", KILLS);
    let expected = job.undisturbed(provider);
    let (mut chance, mut tally) = (Chance(seed), Tally::default());
    while tally.kills < wanted.div_ceil(TESTS) {
        kill_until_complete(job, provider, &mut chance, &expected, &mut tally);
    }
    tally.print(name);
}

#[test]
fn a_job_killed_at_any_instant_completes_as_if_undisturbed() {
    assert_survives_kills("anthropic, twelve steps", &owls::JOB, Provider::Anthropic, 1);
}

#[test]
fn so_it_does_with_responses() {
    assert_survives_kills("responses, twelve steps", &owls::JOB, Provider::OpenAi, 2);
}

#[test]
fn so_it_does_with_chat_completions() {
    assert_survives_kills("chat, twelve steps", &owls::JOB, Provider::OpenAiChat, 3);
}

#[test]
fn so_it_does_with_four_delegates_at_once() {
    assert_survives_kills("four delegates at once", &flock::JOB, Provider::Anthropic, 4);
}
