//! Every fault at every operation, or as many of them as there is time for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;

use crate::case::{self, Case, Fault, Kind, Name};
use crate::job::Job;
use crate::support::crash::{Chance, Story};
use crate::tally::Tally;
use crate::trace::Entry;

/// How many cases are tried unless `PERSTACK_FAULTS` has another number: two busy cores take two minutes for them.
const CASES: usize = 500;

/// Cases at a time: each waits for the disk as much as for the processor.
const AT_A_TIME: usize = 4;

/// The operations of a resumption among which the second fault is looked for: at most what a whole job has.
const FURTHER: u64 = 120;

/// All faults that a job can meet.
fn cases(job: Job, trace: &[Entry], chance: &mut Chance) -> Vec<Case> {
    let mut cases = Vec::new();
    for operation in trace {
        let Entry::Operation { number, bytes, .. } = operation else { continue };
        for kind in Kind::ALL.into_iter().filter(|kind| kind.applies_to(operation)) {
            let fault = Fault::new(kind, *number, *bytes, chance);
            // As a plan for writes also fails what is none, any kind will do.
            let second = chance.one_of(&Kind::ALL);
            let number = chance.below(FURTHER) + 1;
            let second = Some(Fault::new(second, number, 200, chance)).filter(|_| chance.below(3) == 0);
            let name = chance.one_of(&[Name::Latest, Name::Job, Name::Checkpoint]);
            cases.push(Case { job, fault, second, name });
        }
    }
    cases
}

/// Plays all cases; the tally, and what went wrong.
pub fn play(cases: &[Case], stories: &[(Job, Vec<Story>)]) -> (Tally, Vec<String>) {
    let next = Mutex::new(cases.iter());
    let results = Mutex::new((Tally::default(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some(case) = next.lock().unwrap().next() else { return };
                    let expected = &stories.iter().find(|(job, _)| *job == case.job).unwrap().1;
                    let played = catch_unwind(AssertUnwindSafe(|| case.play(expected)));
                    let (tally, mismatches) = &mut *results.lock().unwrap();
                    tally.add(case, played.as_ref().ok().copied());
                    if let Err(panic) = played {
                        let text = panic.downcast_ref::<String>().map(String::as_str);
                        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
                        mismatches.push(format!("{case}\n{text}"));
                    }
                }
            });
        }
    });
    results.into_inner().unwrap()
}

/// Fails with what went wrong, if anything did.
#[track_caller]
pub fn assert_none(mismatches: &[String]) {
    assert!(mismatches.is_empty(), "{} cases went wrong:\n\n{}", mismatches.len(), mismatches.join("\n\n"));
}

/// Puts items into another order.
fn shuffle<T>(items: &mut [T], chance: &mut Chance) {
    for last in (1..items.len()).rev() {
        items.swap(last, usize::try_from(chance.below(last as u64 + 1)).unwrap());
    }
}

#[test]
fn a_job_that_meets_any_fault_ends_as_if_there_had_been_none() {
    let wanted = match std::env::var("PERSTACK_FAULTS").as_deref() {
        Err(_) => CASES,
        Ok("all") => usize::MAX,
        Ok(number) => number.parse().expect("PERSTACK_FAULTS is a number, or all"),
    };
    let mut chance = Chance(1);
    let (mut all, mut stories) = (Vec::new(), Vec::new());
    for job in Job::ALL {
        let (expected, trace) = case::undisturbed(job);
        all.extend(cases(job, &trace, &mut chance));
        stories.push((job, expected));
    }
    let there_are = all.len();
    shuffle(&mut all, &mut chance);
    all.truncate(wanted);
    let (tally, mismatches) = play(&all, &stories);
    println!("\n{} of {there_are} faults\n{tally}", all.len());
    assert_none(&mismatches);
}
