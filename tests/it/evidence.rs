//! `perstack job verify`: records that fit, and every way in which one may not.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use perstack::hex::digits;
use perstack::runtime::history::{self, JobSelector, RecordFault, Verification};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::answer::Call;
use crate::support::signpost::Signpost;
use crate::support::storage::read_json;
use crate::support::{Answer, Provider, Test, call};

const TEAM: &str = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                    [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Does one task.\"\n";

fn append(id: &str, word: &str) -> Call {
    call(id, "appendTextFile", json!({"path": "owls.txt", "text": word}))
}

/// A job of three runs: a lead, its delegate, which calls a tool, and the lead again.
fn team() -> Test {
    let is_lead = |request: &crate::support::Request| request.contains("You lead.");
    let test = Test::new().toml(TEAM).file("owls.txt", "").provider(Provider::Anthropic).answers([
        Answer::calls([call("d1", "worker", json!({"query": "Count."}))])
            .when(move |request| is_lead(request) && request.results().is_empty()),
        Answer::calls([append("c1", "tawny\u{1b}")])
            .when(move |request| !is_lead(request) && request.results().is_empty()),
        Answer::text("One owl: \u{e9}.").when(move |request| !is_lead(request) && !request.results().is_empty()),
        Answer::text("All done.").when(move |request| is_lead(request) && !request.results().is_empty()),
    ]);
    test.run(["run", "lead", "Go.", "--job-id", "nest"]).assert_code(0);
    test
}

/// The log of the run that called a tool.
fn worker_log(test: &Test) -> PathBuf {
    let mut logs = test.storage().runs().into_iter().map(|run| run.join("log.jsonl"));
    logs.find(|log| fs::read_to_string(log).unwrap().contains("tawny")).expect("the worker's log")
}

fn storage(test: &Test) -> PathBuf {
    test.storage().jobs()[0].parent().unwrap().parent().unwrap().to_owned()
}

fn verify(storage: &Path) -> Verification {
    history::open(storage, JobSelector::Named("nest")).unwrap().unwrap().verify()
}

/// The first fault.
#[track_caller]
fn fault(storage: &Path) -> RecordFault {
    verify(storage).faults.into_iter().next().expect("a fault")
}

/// Every file of the job's record.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if !path.ends_with("lock") {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// The fault of the record with `bytes` in the place of the file's own.
#[track_caller]
fn fault_with(storage: &Path, file: &Path, bytes: &[u8]) -> RecordFault {
    let own = fs::read(file).unwrap();
    fs::write(file, bytes).unwrap();
    let found = verify(storage).faults.into_iter().next();
    fs::write(file, own).unwrap();
    found.unwrap_or_else(|| panic!("no fault in {}", file.display()))
}

#[test]
fn a_record_fits_and_is_shown_with_its_digest() {
    let test = team();
    let ran = test.run(["job", "verify", "latest"]).assert_code(0);
    assert!(ran.stdout.starts_with("job nest is as it was written: 3 runs, "), "{}", ran.stdout);
    let digest = ran.stdout.lines().last().unwrap().strip_prefix("digest ").unwrap().to_owned();
    assert_eq!(digest.len(), 64);
    test.run(["job", "verify", "nest", "--digest", &digest]).assert_code(0);
    let other = test.run(["job", "verify", "nest", "--digest", "ab"]).assert_code(1);
    assert!(other.stdout.contains("another digest"), "{}", other.stdout);
    let object = test.run(["job", "verify", "nest", "--json"]).assert_code(0).object();
    assert_eq!((&object["fits"], &object["chained"], &object["open"]), (&json!(true), &json!(true), &json!(false)));
    assert_eq!((&object["digest"], object["runs"].as_array().unwrap().len()), (&json!(digest), 3));
    assert_eq!(object["faults"], json!([]));
    // Reading changes nothing, and work that goes on is part of the record.
    test.server().script([Answer::text("Still here.")]);
    test.run(["resume", "nest", "And?"]).assert_code(0);
    let after = test.run(["job", "verify", "nest"]).assert_code(0);
    assert!(after.stdout.starts_with("job nest is as it was written: 4 runs, "), "{}", after.stdout);
    test.run(["job", "verify", "gone"]).assert_code(2);
}

#[test]
fn one_flipped_byte_is_named_wherever_it_is() {
    let test = team();
    let storage = storage(&test);
    assert_eq!(verify(&storage).faults, []);
    let mut seed = 7_u64;
    for file in files(&test.storage().jobs()[0]) {
        let own = fs::read(&file).unwrap();
        let is_log = file.ends_with("log.jsonl");
        // Every place of what is short, else places all over.
        let step = own.len() / 50 + 1;
        let last = own.len().saturating_sub(100)..own.len();
        for at in (0..own.len()).step_by(step).chain(last.step_by(7)).chain([own.len() - 1]) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut bytes = own.clone();
            bytes[at] ^= u8::try_from(seed >> 57).unwrap() | 1;
            fs::write(&file, &bytes).unwrap();
            let faults = verify(&storage).faults;
            let place = format!("byte {at} of {}: {faults:?}", file.display());
            let first = faults.first().expect(&place);
            assert_eq!(first.path, file, "{place}");
            if is_log {
                let line = own[..at].split(|byte| *byte == b'\n').count();
                assert_eq!(first.line, Some(u64::try_from(line).unwrap()), "{place}");
            }
        }
        fs::write(&file, &own).unwrap();
    }
    assert_eq!(verify(&storage).faults, []);
}

#[test]
fn the_program_names_the_record() {
    let test = team();
    let storage = storage(&test);
    let log = worker_log(&test);
    let own = fs::read_to_string(&log).unwrap();
    fs::write(&log, own.replacen("tawny", "tawni", 1)).unwrap();
    let ran = test.run(["job", "verify", "nest"]).assert_code(1);
    let place = log.strip_prefix(&storage).unwrap();
    let expected = format!("does not fit: {}, line ", place.display());
    assert!(ran.stdout.starts_with(&expected), "{expected:?} is not in\n{}", ran.stdout);
    assert!(ran.stdout.contains(" (generated of step "), "{}", ran.stdout);
    let object = test.run(["job", "verify", "nest", "--json"]).assert_code(1).object();
    assert_eq!((&object["fits"], &object["faults"][0]["file"]), (&json!(false), &json!(log)));
}

#[test]
fn lines_that_are_removed_swapped_or_cut_off_are_named() {
    let test = team();
    let storage = storage(&test);
    for run in test.storage().runs() {
        let log = run.join("log.jsonl");
        let whole = fs::read_to_string(&log).unwrap();
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        for at in 0..lines.len() {
            let mut without = lines.clone();
            without.remove(at);
            let found = fault_with(&storage, &log, without.concat().as_bytes());
            assert_eq!((found.path, found.line), (log.clone(), Some(at as u64 + 1)), "{}", found.what);
            if at + 1 < lines.len() {
                let mut swapped = lines.clone();
                swapped.swap(at, at + 1);
                let found = fault_with(&storage, &log, swapped.concat().as_bytes());
                assert_eq!((found.path, found.line), (log.clone(), Some(at as u64 + 1)), "{}", found.what);
            }
        }
        let last = lines.len() as u64;
        let found = fault_with(&storage, &log, &whole.as_bytes()[..whole.len() - 9]);
        assert_eq!((found.path, found.line), (log.clone(), Some(last)), "{}", found.what);
        // The last line and the checkpoint that was made of it.
        let checkpoint = files(&run).into_iter().rfind(|file| file.to_string_lossy().contains("checkpoint-")).unwrap();
        let bytes = fs::read(&checkpoint).unwrap();
        fs::remove_file(&checkpoint).unwrap();
        let found = fault_with(&storage, &log, lines[..lines.len() - 1].concat().as_bytes());
        assert_eq!((found.path, found.line), (log.clone(), Some(last)), "{}", found.what);
        fs::write(&checkpoint, bytes).unwrap();
    }
    assert_eq!(verify(&storage).faults, []);
}

#[test]
fn files_that_are_missing_or_replaced_are_named() {
    let test = team();
    let storage = storage(&test);
    let all = files(&test.storage().jobs()[0]);
    for file in &all {
        let own = fs::read(file).unwrap();
        // A step's checkpoint holds no messages: a power cut may take it, and the log has all of it.
        let is_of_step = file.to_string_lossy().contains("checkpoint-") && read_json(file).get("messages").is_none();
        for left in [None, Some(&b""[..]), Some(&own[..own.len() / 2])] {
            match left {
                None => fs::remove_file(file).unwrap(),
                Some(bytes) => fs::write(file, bytes).unwrap(),
            }
            let Verification { faults, notes, .. } = verify(&storage);
            assert_eq!(
                (faults.is_empty(), notes.len()),
                (is_of_step, usize::from(is_of_step)),
                "{faults:?}, {notes:?}"
            );
            let found = faults.first().or(notes.first()).expect("a fault or a note");
            assert_eq!(&found.path, file, "{}", found.what);
        }
        fs::write(file, own).unwrap();
    }
    // A log, and a setting, of another run; a whole run.
    let runs = test.storage().runs();
    for name in ["log.jsonl", "run-setting.json"] {
        let found = fault_with(&storage, &runs[1].join(name), &fs::read(runs[0].join(name)).unwrap());
        assert_eq!(found.path, runs[1].join(name), "{}", found.what);
    }
    let away = test.workspace().join("away");
    fs::rename(&runs[2], &away).unwrap();
    assert_eq!(fault(&storage).path, runs[2]);
    fs::rename(&away, &runs[2]).unwrap();
    // A checkpoint that was added.
    let added = runs[1].join("checkpoint-9-01a20244-7d8b-7008-bd08-3365e99a00b3.json");
    fs::copy(all.iter().find(|file| file.to_string_lossy().contains("checkpoint-")).unwrap(), &added).unwrap();
    assert_eq!(fault(&storage).path, added);
    fs::remove_file(&added).unwrap();
    assert_eq!(verify(&storage).faults, []);
}

#[test]
fn a_record_ties_expert_lock_and_configuration() {
    let test = team();
    let first = test.storage().facts().into_iter().find(|fact| fact["fact"] == "started").unwrap();
    let digests = &first["spec"]["surroundings"]["digests"];
    assert_eq!(digests["expert"].as_str().unwrap().len(), 64, "{digests}");
    assert!(digests["lock"].is_null());
    // Another instruction, under a seal that fits.
    let setting = test.storage().runs()[0].join("run-setting.json");
    let whole = fs::read_to_string(&setting).unwrap().replace("You lead.", "You bleed.");
    let (before, _) = whole.split_once(",\n  \"seal\"").unwrap();
    let seal = digits(&Sha256::digest(before));
    let found = fault_with(&storage(&test), &setting, format!("{before},\n  \"seal\": \"{seal}\"\n}}\n").as_bytes());
    assert_eq!(found.path, setting, "{found:?}");
}

#[test]
fn a_killed_job_is_verified_as_far_as_it_goes_and_after_its_recovery() {
    let test = Test::with(Provider::Anthropic).file("owls.txt", "");
    let sign = Signpost::at(&test.workspace(), "sign");
    let sleep = json!({"command": "sh", "args": ["-c", "echo > sign; sleep 600"], "env": {}, "cwd": ".",
        "stdout": true, "stderr": true});
    test.server().script([Answer::calls([append("c1", "a")]), Answer::calls([call("c2", "exec", sleep)])]);
    let running = test.spawn(["run", "librarian", "Count owls.", "--job-id", "nest"]);
    sign.wait();
    let live = test.run(["job", "verify", "nest"]).assert_code(0);
    assert!(live.stdout.contains("as far as it goes: the job has not ended"), "{}", live.stdout);
    running.kill();
    running.finish();
    let log = test.storage().runs()[0].join("log.jsonl");
    let own = fs::read(&log).unwrap();
    fs::write(&log, [&own[..], b"{\"at\":5,\"se"].concat()).unwrap();
    let torn = test.run(["job", "verify", "nest"]).assert_code(0);
    assert!(torn.stdout.contains("is not whole, as a crash leaves it"), "{}", torn.stdout);
    test.server().script([Answer::text("One owl.")]);
    test.run(["resume", "nest", "--in-doubt", "report"]).assert_code(0);
    let after = test.run(["job", "verify", "nest"]).assert_code(0);
    assert!(after.stdout.starts_with("job nest is as it was written: 1 run, "), "{}", after.stdout);
}

#[test]
fn a_job_that_was_imported_or_stopped_is_verified() {
    let test = team();
    let last = test.storage().last_checkpoint();
    let copy = test.workspace().join("copy.json");
    fs::copy(last, &copy).unwrap();
    test.run(["job", "rm", "nest", "--yes"]).assert_code(0);
    test.server().script([Answer::text("From elsewhere.")]);
    test.run(["resume", copy.to_str().unwrap(), "And?"]).assert_code(0);
    let storage = storage(&test);
    let ran = test.run(["job", "verify", "latest"]).assert_code(0);
    assert!(ran.stdout.contains(" is as it was written: 2 runs, "), "{}", ran.stdout);
    let imported = test.storage().checkpoints().remove(0);
    let whole = fs::read_to_string(&imported).unwrap().replace("One owl", "Two owls");
    fs::write(&imported, whole).unwrap();
    let which = JobSelector::Latest;
    let faults = history::open(&storage, which).unwrap().unwrap().verify().faults;
    assert_eq!(faults.first().map(|fault| &fault.path), Some(&imported), "{faults:?}");
}

/// Makes the job's record one of a version without digests.
fn make_old(test: &Test) {
    let without = |file: &Path, keys: &[&str]| {
        let mut value = read_json(file);
        value.as_object_mut().unwrap().retain(|key, _| !keys.contains(&key.as_str()));
        value
    };
    for run in test.storage().runs() {
        let mut old = vec!["{\"format\":\"perstack-log\",\"version\":1}".to_owned()];
        let log = run.join("log.jsonl");
        for line in fs::read_to_string(&log).unwrap().lines().skip(1) {
            let mut fact: Value = serde_json::from_str(line).unwrap();
            fact.as_object_mut().unwrap().shift_remove("chain");
            for key in ["spec", "resumption"] {
                if let Some(parameters) = fact.pointer_mut(&format!("/{key}/surroundings")) {
                    parameters.as_object_mut().unwrap().shift_remove("digests");
                }
            }
            old.push(fact.to_string());
        }
        let old: Vec<String> = old.into_iter().map(|line| line + "\n").collect();
        fs::write(&log, old.concat()).unwrap();
        for file in files(&run).iter().filter(|file| file.to_string_lossy().contains("checkpoint-")) {
            let mut value = without(file, &[]);
            let fields = value.as_object_mut().unwrap();
            if fields.contains_key("messages") {
                fields.shift_remove("log");
                fields["setting"].as_object_mut().unwrap().shift_remove("seal");
            } else {
                let facts = fields["log"]["facts"].as_u64().unwrap();
                let before = old[..=usize::try_from(facts).unwrap()].concat();
                fields["log"] =
                    json!({"facts": facts, "bytes": before.len(), "sha256": digits(&Sha256::digest(before))});
            }
            fs::write(file, value.to_string() + "\n").unwrap();
        }
        let setting = run.join("run-setting.json");
        fs::write(&setting, format!("{:#}\n", without(&setting, &["seal"]))).unwrap();
    }
    let job = test.storage().jobs()[0].join("job.json");
    fs::write(&job, format!("{:#}\n", without(&job, &["seal", "ends"]))).unwrap();
}

#[test]
fn a_record_of_an_older_version_is_read_and_reported_as_unchained() {
    let test = team();
    make_old(&test);
    let ran = test.run(["job", "verify", "nest"]).assert_code(0);
    assert!(ran.stdout.contains("unchained: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("job nest can be read, and is unchained in part or whole: 3 runs"), "{}", ran.stdout);
    let object = test.run(["job", "verify", "nest", "--json"]).assert_code(0).object();
    assert_eq!((&object["fits"], &object["chained"], &object["digest"]), (&json!(true), &json!(false), &Value::Null));
    // Its checkpoints follow from its logs all the same.
    let log = worker_log(&test);
    let whole = fs::read_to_string(&log).unwrap();
    let found = fault_with(&storage(&test), &log, whole.replace("tawny", "barn").as_bytes());
    let step = files(log.parent().unwrap()).into_iter().find(|file| file.to_string_lossy().contains("checkpoint-"));
    assert_eq!(Some(found.path), step, "{}", found.what);
    // It goes on, with digests from there on.
    test.server().script([Answer::text("Still here.")]);
    test.run(["resume", "nest", "And?"]).assert_code(0);
    let ran = test.run(["job", "verify", "nest"]).assert_code(0);
    assert!(ran.stdout.contains("digest "), "{}", ran.stdout);
    let log = history::open(&storage(&test), JobSelector::Latest).unwrap().unwrap();
    assert_eq!(log.visit(None, &mut |_| ControlFlow::Continue(())).len(), 0);
}

#[test]
fn a_job_is_compared_with_the_replay_of_its_cassette() {
    let test = Test::with(Provider::Anthropic).file("owl.txt", "An owl.").answers([
        Answer::calls([
            call("c1", "readTextFile", json!({"path": "owl.txt"})),
            call("c2", "exec", json!({"command": "pwd", "args": [], "env": {}, "cwd": "."})),
        ]),
        Answer::text("Done."),
    ]);
    test.run(["run", "librarian", "Go.", "--job-id", "nest", "--record", "c.cassette"]).assert_code(0);
    let ran = test.run(["job", "verify", "nest", "--replay", "c.cassette"]).assert_code(0);
    assert!(ran.stdout.contains("job nest has the same facts as its replay"), "{}", ran.stdout);
    // Another result in the cassette, with the request that has it.
    let whole = fs::read_to_string(test.workspace().join("c.cassette")).unwrap();
    fs::write(test.workspace().join("d.cassette"), whole.replace("An owl.", "A bee.")).unwrap();
    let ran = test.run(["job", "verify", "nest", "--replay", "d.cassette"]).assert_code(1);
    assert!(
        ran.stdout.contains("differs from its replay: run ") && ran.stdout.contains("line 4 of its log"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("toolReturned on record") && ran.stdout.contains("A bee."), "{}", ran.stdout);
    let object = test.run(["job", "verify", "nest", "--replay", "d.cassette", "--json"]).assert_code(1).object();
    assert_eq!((&object["fits"], &object["replay"]["same"]), (&json!(true), &json!(false)));
    // That of another job.
    test.server().script([Answer::text("Done.")]);
    test.run(["run", "librarian", "Go.", "--job-id", "other", "--record", "c.cassette"]).assert_code(0);
    let ran = test.run(["job", "verify", "nest", "--replay", "c.cassette"]).assert_code(2);
    assert!(ran.stderr.contains("is a recording of job other"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_read_is_no_record_that_was_changed() {
    let test = team();
    let log = test.storage().runs()[0].join("log.jsonl");
    let own = fs::read_to_string(&log).unwrap();
    fs::write(&log, own.replacen("\"version\":2", "\"version\":99", 1)).unwrap();
    let ran = test.run(["job", "verify", "latest"]).assert_code(6);
    assert!(
        ran.stdout.contains("cannot be checked: ") && ran.stdout.contains("could not be read as a whole"),
        "{}",
        ran.stdout
    );
    let object = test.run(["job", "verify", "latest", "--json"]).assert_code(6).object();
    assert_eq!((&object["fits"], &object["faults"][0]["unread"]), (&json!(false), &json!(true)));
    fs::write(&log, own).unwrap();
    test.run(["job", "verify", "latest"]).assert_code(0);
}
