//! Series: workers that are killed at any moment, an engine that is, and many jobs at the same time. They are short unless a
//! variable has another number; the figures are shown with `--nocapture`.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::Fleet;
use crate::support::crash::calls::append;
use crate::support::crash::{Chance, Story, effects};
use crate::support::owners::Owners;
use crate::support::process::Running;
use crate::support::s3::Fate;
use crate::support::storage::Storage;
use crate::support::{Answer, call, length};

/// How often something is looked for.
const GLANCE: Duration = Duration::from_millis(1);

/// The steps of a job that is disturbed.
const STEPS: usize = 30;

#[expect(clippy::print_stderr, reason = "the figures of a series are its result")]
fn print(text: &str) {
    eprintln!("{text}");
}

/// The children of a process.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let files = threads.flatten().map(|thread| thread.path().join("children"));
    let texts: Vec<String> = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
    texts.iter().flat_map(|text| text.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

/// The resident memory of a process, in bytes.
fn resident(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib =
        text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Has the model call a tool that takes effect, step by step, and the owners noted.
fn step_by_step(fleet: &Fleet) -> Arc<Owners> {
    let owners = Arc::new(Owners::default());
    fleet.s3.tap({
        let owners = Arc::clone(&owners);
        move |passing| {
            owners.note(passing);
            Fate::Passes
        }
    });
    fleet.test.server().answer_by({
        let owners = Arc::clone(&owners);
        move |request| {
            owners.note_question();
            match request.results().len() {
                STEPS => Answer::text("Done."),
                step => Answer::calls([append(&format!("c{step}"))]),
            }
        }
    });
    owners
}

/// Hands a job over whose calls are counted from here on, and waits for its end elsewhere.
fn begin(fleet: &Fleet, job: &str) -> Running {
    fs::write(fleet.test.workspace().join("lines.txt"), "").unwrap();
    fleet.fleet(&["submit", "librarian", "q", "--job-id", job]).assert_code(0);
    let waiting = fleet.start_command(&["wait", job]);
    waiting.wait_for_stderr("waiting for");
    waiting
}

/// The calls in doubt of a job that has completed, where all others took effect once.
#[track_caller]
fn assert_no_call_twice(fleet: &Fleet, job: &str) -> usize {
    let checkpoint = Storage::new(fleet.copy(job)).last_checkpoint();
    let in_doubt = Story::of(&checkpoint).in_doubt;
    let effects = effects(&fleet.test);
    for step in 0..STEPS {
        let id = format!("c{step}");
        let times = effects.iter().filter(|effect| **effect == id).count();
        assert!(times == 1 || (times == 0 && in_doubt.contains(&id)), "{job}: {id} took effect {times} times");
    }
    in_doubt.len()
}

#[test]
fn workers_killed_at_any_moment_are_followed_and_no_call_is_made_twice() {
    let wanted = length("PERSTACK_FLEET_KILLS", 6);
    let Some(fleet) = Fleet::start([]) else { return };
    let owners = step_by_step(&fleet);
    let mut workers = [fleet.worker(), fleet.worker()];
    let mut chance = Chance(7);
    let (mut kills, mut jobs, mut in_doubt, mut gaps) = (0, 0, 0, Vec::new());
    while kills < wanted {
        jobs += 1;
        let job = format!("nest-{jobs}");
        let mut before = owners.count();
        let waiting = begin(&fleet, &job);
        let mut killed: Option<Instant> = None;
        loop {
            waiting.poll(GLANCE, || owners.is_at_work_after(before));
            if !owners.is_at_work_after(before) {
                break;
            }
            gaps.extend(killed.map(|killed| killed.elapsed()));
            let more = usize::try_from(chance.below(8)).unwrap() + 1;
            waiting.poll(GLANCE, || owners.questions() >= more);
            // Anywhere between two questions.
            std::thread::sleep(Duration::from_micros(chance.below(30_000)));
            let Some(at_work) = workers.iter().position(|worker| !children(worker.pid()).is_empty()) else { break };
            before = owners.count();
            let turns = children(workers[at_work].pid());
            workers[at_work].kill();
            // As when the machine dies; otherwise the job has to notice.
            if chance.below(2) == 0 {
                for turn in turns {
                    let _ = kill_process(Pid::from_raw(turn).unwrap(), Signal::KILL);
                }
            }
            killed = Some(Instant::now());
            kills += 1;
            workers[at_work] = fleet.worker();
        }
        assert_eq!(waiting.finish().assert_code(0).stdout, "Done.\n");
        in_doubt += assert_no_call_twice(&fleet, &job);
    }
    gaps.sort();
    print(&format!(
        "{jobs} jobs of {STEPS} steps, {kills} workers killed: at work again after {:.2?} (median), {:.2?} (95 %), {:.2?} \
         (longest); {in_doubt} calls in doubt, none made twice",
        gaps.get(gaps.len() / 2).copied().unwrap_or_default(),
        gaps.get(gaps.len() * 95 / 100).copied().unwrap_or_default(),
        gaps.last().copied().unwrap_or_default(),
    ));
}

#[test]
fn an_engine_killed_again_and_again_loses_no_job() {
    let kills = length("PERSTACK_FLEET_RESTARTS", 2);
    let Some(mut fleet) = Fleet::start([]) else { return };
    let owners = step_by_step(&fleet);
    let _workers = [fleet.worker(), fleet.worker()];
    for kill in 0..kills {
        let job = format!("nest-{kill}");
        let before = owners.count();
        let waiting = begin(&fleet, &job);
        // At another step each time.
        waiting.poll(GLANCE, || owners.is_at_work_after(before) && owners.questions() > kill % STEPS);
        fleet.engine = fleet.engine.take().map(super::Engine::restart);
        assert_eq!(waiting.finish().assert_code(0).stdout, "Done.\n");
        assert_no_call_twice(&fleet, &job);
    }
    print(&format!("{kills} jobs of {STEPS} steps, the engine killed in each: all complete, no call made twice"));
}

#[test]
fn all_jobs_of_four_workers_complete_while_workers_are_killed() {
    let jobs = length("PERSTACK_FLEET_JOBS", 20);
    let Some(mut fleet) = Fleet::start([]) else { return };
    fleet.test.server().answer_by(|_| Answer::text("Done."));
    let mut workers: Vec<Running> = (0..4).map(|_| fleet.worker()).collect();
    let began = Instant::now();
    let id = |number: usize| format!("nest-{number}");
    for number in 0..jobs {
        fleet.fleet(&["submit", "librarian", "q", "--job-id", &id(number)]).assert_code(0);
    }
    for number in 0..jobs {
        fleet.test.server().wait_for_request(number + 1);
        if number % 5 == 1 {
            let worker = workers.remove(0);
            worker.kill();
            workers.push(fleet.worker());
        }
    }
    for number in 0..jobs {
        assert_eq!(fleet.fleet(&["wait", &id(number)]).assert_code(0).stdout, "Done.\n");
    }
    let each = began.elapsed() / u32::try_from(jobs).unwrap();
    let mut command = std::process::Command::new(fleet.test.binary());
    command.args(["log", "--jobs", "--take", "0"]);
    let listed = fleet.test.start(command).finish().assert_code(0).stdout;
    assert_eq!(listed.matches("completed").count(), jobs, "{listed}");
    print(&format!(
        "{jobs} jobs on four workers, {} of them killed: {each:.0?} a job, submitted and waited for one by one",
        jobs.div_ceil(5),
    ));
    fleet.engine = None;
}

#[test]
fn jobs_that_wait_for_an_answer_cost_no_process() {
    let jobs = length("PERSTACK_FLEET_JOBS", 20);
    let Some(fleet) = Fleet::start([]) else { return };
    fleet.test.server().answer_by(|request| match request.results().len() {
        0 => Answer::calls([call("c1", "askUser", json!({"question": "Which owl?"}))]),
        _ => Answer::text("A tawny owl."),
    });
    let worker = fleet.worker();
    let memory = || (resident(fleet.engine.as_ref().unwrap().pid()), resident(worker.pid()));
    let before = memory();
    let id = |number: usize| format!("nest-{number}");
    for number in 0..jobs {
        fleet.fleet(&["submit", "librarian", "q", "--job-id", &id(number)]).assert_code(0);
    }
    for number in 0..jobs {
        fleet.test.server().wait_for_request(number + 1);
    }
    for number in 0..jobs {
        fleet.fleet(&["wait", &id(number)]).assert_code(4);
    }
    // The last one's process may be at its end.
    worker.poll(GLANCE, || children(worker.pid()).is_empty());
    let after = memory();
    for number in 0..jobs {
        fleet.fleet(&["answer", &id(number), "The tawny owl."]).assert_code(0);
    }
    for number in 0..jobs {
        fleet.test.server().wait_for_request(jobs + number + 1);
    }
    for number in 0..jobs {
        assert_eq!(fleet.fleet(&["wait", &id(number)]).assert_code(0).stdout, "A tawny owl.\n");
    }
    let each = |before: u64, after: u64| after.saturating_sub(before) / 1024 / jobs as u64;
    print(&format!(
        "{jobs} jobs that wait for an answer: no process; {} KiB of the engine's memory and {} KiB of the worker's for \
         each",
        each(before.0, after.0),
        each(before.1, after.1)
    ));
}
