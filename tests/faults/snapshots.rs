//! A job whose workspace is stored with every step, with faults at every operation on what snapshots are stored in. Whatever
//! comes, each state that its facts name is there to the byte, by pictures that the test took without the product.

use std::collections::BTreeMap;
use std::fs;

use perstack::runtime::snapshots::restoring::restore_elsewhere;
use perstack::runtime::snapshots::stored::StoredSnapshots;
use perstack::runtime::snapshots::timeline::{SnapshotPoint, timeline};
use perstack::store::Store;
use rustix::process::Signal;

use crate::case::{self, Case, Fault, Kind, Name};
use crate::every::{assert_none, play};
use crate::job::{ID, Job};
use crate::support::Test;
use crate::support::crash::{Chance, assert_consistent, facts};
use crate::trace::{self, Entry};
use crate::{kept, picture};

/// The steps of a job.
const STEPS: usize = 9;

/// Those of the expert that the job began with, from which it can go on.
const FORKED: [u64; 5] = [1, 2, 3, 7, 8];

/// The number of the request that is sent behind a step: the seventh is the end of the call of a delegate, without a request
/// of its own.
fn request_behind(step: u64) -> usize {
    usize::try_from(step).unwrap() - usize::from(step > 6)
}

/// Fails unless all states that a job which has completed names are there, and those of its steps are what the workspace was;
/// by chance the one of a step in the workspace too, by `resume --restore`. A step is without a state only where
/// its process died before that was stored: `deaths` at most.
#[track_caller]
pub fn check(test: &Test, deaths: usize, chance: &mut Chance) {
    let id = ID.parse().unwrap();
    let store = Store::new(&test.workspace().join("perstack"));
    let points = timeline(&store, &id).unwrap();
    let stored = StoredSnapshots::open(&store, &id).unwrap();
    let mut restored = BTreeMap::new();
    let mut steps = BTreeMap::new();
    for point in &points {
        let found = restored.entry(&point.snapshot).or_insert_with(|| {
            let folder = test.root().join("state");
            restore_elsewhere(&stored, &point.snapshot, &folder).unwrap();
            let found = picture::of(&folder);
            fs::remove_dir_all(folder).unwrap();
            found
        });
        let Some(step) = point.step else { continue };
        assert_eq!(*found, kept::before_request(test, request_behind(step)), "step {step}");
        assert!(steps.insert(step, point).is_none(), "step {step} twice");
    }
    assert!(steps.len() + deaths >= STEPS, "{} steps have a state", steps.len());
    // The rest takes as long as the job itself.
    if chance.below(3) > 0 {
        return;
    }
    let forked: Vec<u64> = FORKED.into_iter().filter(|step| steps.contains_key(step)).collect();
    let step = chance.one_of(&forked);
    fork(test, steps[&step], request_behind(step));
}

/// Changes the workspace, then goes on from a step with its files: the model finds the workspace as the request of this number
/// had found it, and what was there instead can be had back.
#[track_caller]
fn fork(test: &Test, from: &SnapshotPoint, number: usize) {
    let workspace = test.workspace();
    let expected = kept::before_request(test, number);
    fs::write(workspace.join("stray.md"), "stray").unwrap();
    fs::write(workspace.join("notes.txt"), "changed").unwrap();
    let _ = fs::remove_file(workspace.join("nest/large"));
    let disturbed = picture::of(&workspace);
    kept::forget(test);
    let checkpoint = from.checkpoint.as_ref().unwrap();
    let ran = test.run(["resume", checkpoint.as_str(), "--restore"]).assert_code(0);
    assert_eq!(ran.stdout, format!("{}\n", kept::ANSWER));
    assert_eq!(kept::before_request(test, number), expected, "{from:?}");
    test.run(["job", "verify", ID]).assert_code(0);
    let kept_as = ran.stderr.split("--snapshot ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let folder = test.root().join("disturbed");
    let back = ["job", "restore", ID, "--snapshot", kept_as.unwrap(), "--to", folder.to_str().unwrap()];
    test.run(back).assert_code(0);
    assert_eq!(picture::of(&folder), disturbed);
}

/// Whether an operation is about what snapshots are stored in.
pub fn is_of_snapshots(entry: &Entry) -> bool {
    matches!(entry, Entry::Operation { path, .. } if path.components().any(|part| part.as_os_str() == "snapshots"))
}

#[test]
fn every_fault_at_every_operation_on_snapshots_leaves_all_states_whole() {
    let (expected, trace) = case::undisturbed(Job::Kept);
    let mut chance = Chance(2);
    let mut cases = Vec::new();
    for operation in trace.iter().filter(|entry| is_of_snapshots(entry)) {
        let Entry::Operation { number, bytes, .. } = operation else { continue };
        for kind in Kind::ALL.into_iter().filter(|kind| kind.applies_to(operation)) {
            let fault = Fault::new(kind, *number, *bytes, &mut chance);
            cases.push(Case { job: Job::Kept, fault, second: None, name: Name::Job });
        }
    }
    // A folder, and five states that differ.
    assert!(cases.len() > 120, "{}", cases.len());
    let (tally, mismatches) = play(&cases, &[(Job::Kept, expected)]);
    println!("\n{} faults of snapshots\n{tally}", cases.len());
    assert_none(&mismatches);
}

#[test]
fn power_that_goes_in_the_middle_of_a_pack_leaves_no_part_of_it_and_the_job_goes_on() {
    // More than what is written to a pack at a time.
    let place = || {
        let test = Job::Kept.place();
        kept::set_size(&test, 1_100_000);
        test
    };
    let undisturbed = place();
    case::run(&undisturbed, None, Job::Kept.command()).0.assert_code(0);
    let trace = trace::read(&case::trace_file(&undisturbed));
    let is_write = |entry: &&Entry| matches!(entry, Entry::Operation { name, .. } if name == "write");
    let writes: Vec<&Entry> = trace.iter().filter(|entry| is_of_snapshots(entry)).filter(is_write).collect();
    let is_same_pack = |pair: &&[&Entry]| pair[1].number() == pair[0].number().map(|number| number + 1);
    // The pack that is written in more than one go.
    let second = writes.windows(2).find(is_same_pack).expect("a pack with two writes")[1].number().unwrap();
    let mut chance = Chance(3);
    // Of what was written, nothing, all or a part is left; torn, the process alone dies.
    for kind in [Kind::PowerAll, Kind::PowerSome, Kind::PowerSome, Kind::PowerSome, Kind::CrashTorn] {
        let test = place();
        let fault = Fault::new(kind, second, 1000, &mut chance);
        let (ran, _) = case::run(&test, Some(&fault), Job::Kept.command());
        assert_eq!(ran.signal, Some(Signal::KILL.as_raw()), "{}", ran.stderr);
        assert_consistent(&test, Job::Kept.effects());
        assert_eq!(packs(&test).0, 2, "those before it");
        let states = facts(&test).iter().filter(|fact| fact["fact"] == "snapshotTaken").count();
        assert_eq!(states, 1);
        case::run(&test, None, &["resume", "latest"]).0.assert_code(0);
        // The state that was not stored is that of no step; the one that the job goes on with is the same.
        assert_eq!(packs(&test), (5, 0));
        check(&test, 1, &mut chance);
    }
}

/// The numbers of packs and of temporary files.
fn packs(test: &Test) -> (usize, usize) {
    let entries = fs::read_dir(test.storage().jobs()[0].join("snapshots")).unwrap();
    let names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let temporary = names.iter().filter(|name| name.starts_with('.')).count();
    (names.len() - temporary, temporary)
}

#[test]
fn a_restoration_that_meets_any_fault_leaves_the_workspace_or_restores_it_and_is_finished_later() {
    let made = Job::Kept.place();
    case::run(&made, None, Job::Kept.command()).0.assert_code(0);
    let store = Store::new(&made.workspace().join("perstack"));
    let points = timeline(&store, &ID.parse().unwrap()).unwrap();
    let step = points.iter().find(|point| point.step == Some(2)).unwrap();
    let wanted = kept::before_request(&made, 2);
    let command = ["job", "restore", step.checkpoint.as_ref().unwrap().as_str()];
    fs::write(made.workspace().join("stray.md"), "stray").unwrap();
    let before = picture::of(&made.workspace());
    let copied = || {
        let test = Job::Kept.place();
        fs::remove_dir_all(test.workspace()).unwrap();
        let copied = std::process::Command::new("cp").arg("-a").arg(made.workspace()).arg(test.root()).status();
        assert!(copied.is_ok_and(|status| status.success()));
        test
    };
    let undisturbed = copied();
    case::run(&undisturbed, None, &command).0.assert_code(0);
    assert_eq!(picture::of(&undisturbed.workspace()), wanted);
    let trace = trace::read(&case::trace_file(&undisturbed));
    assert!(trace.iter().filter(|entry| is_of_snapshots(entry)).count() >= 5, "{trace:?}");
    let mut chance = Chance(4);
    for operation in trace.iter().filter(|entry| is_of_snapshots(entry)) {
        let Entry::Operation { number, bytes, path, name } = operation else { continue };
        for kind in Kind::ALL.into_iter().filter(|kind| kind.applies_to(operation)) {
            let test = copied();
            let fault = Fault::new(kind, *number, *bytes, &mut chance);
            let what = format!("{kind:?} at {name} {}", path.display());
            let (ran, _) = case::run(&test, Some(&fault), &command);
            let now = picture::of(&test.workspace());
            if ran.code == Some(0) {
                assert_eq!(now, wanted, "{what}");
            } else if kind.is_error() {
                assert_eq!(ran.assert_code(6).assert_stderr(["error: cannot ", fault.shown()]).stdout, "");
                assert_eq!(now, before, "{what}");
            } else {
                assert_eq!(ran.signal, Some(Signal::KILL.as_raw()), "{what}: {}", ran.stderr);
                assert!(now == before || now == wanted, "{what}");
            }
            test.run(["job", "verify", ID]).assert_code(0);
            case::run(&test, None, &command).0.assert_code(0);
            assert_eq!(picture::of(&test.workspace()), wanted, "{what}");
        }
    }
}
