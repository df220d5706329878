//! Storages in an object store: what one machine stored, another reads and goes on with.

use std::fs;
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::support::s3::{Fate, S3};
use crate::support::storage::{Storage, read_json};
use crate::support::{Answer, Gate, Provider, Test, call};

const STORE: &str = "s3://owls/nightly";

pub fn check(id: &str) -> Answer {
    Answer::calls([call(id, "healthCheck", json!({}))])
}

/// Two machines and a store.
pub fn world() -> (S3, Test) {
    let s3 = S3::start();
    let test = s3.at(Test::with(Provider::Anthropic)).env("PERSTACK_STORAGE", STORE);
    (s3, test)
}

/// The same world from another machine, which has no working copy.
pub fn elsewhere(test: Test, name: &str) -> Test {
    let cache = test.root().join(name);
    fs::create_dir_all(&cache).unwrap();
    let cache = cache.to_str().unwrap().to_owned();
    test.env("XDG_CACHE_HOME", &cache)
}

/// The working copy of the other machine of this name.
fn copy(test: &Test, name: &str) -> Storage {
    let stores = test.root().join(name).join("perstack/stores");
    Storage::new(fs::read_dir(stores).unwrap().next().unwrap().unwrap().path())
}

#[test]
fn a_job_is_read_and_continued_on_another_machine() {
    let (s3, test) = world();
    let test = test.answers([check("c1"), Answer::text("Two owls.")]);
    test.run(["run", "librarian", "How many owls?", "--job-id", "nest"]).assert_code(0);
    assert!(!test.workspace().join("perstack").exists(), "nothing is stored in the project's folder");
    let here = test.run(["log", "nest", "--json"]).assert_code(0).stdout;
    let test = elsewhere(test, "b");
    let there = test.run(["log", "nest", "--json"]).assert_code(0).stdout;
    let without_places = |text: &str, test: &Test| text.replace(test.root().to_str().unwrap(), "ROOT");
    let events = |text: &str| {
        let json: serde_json::Value = serde_json::from_str(&without_places(text, &test)).unwrap();
        json["events"].clone()
    };
    assert_eq!(events(&here), events(&there));
    test.run(["job", "verify", "nest"]).assert_code(0);
    assert!(test.run(["log", "--jobs"]).assert_code(0).stdout.contains("How many owls?"));
    test.server().script([Answer::text("Both at night.")]);
    assert_eq!(test.run(["resume", "latest", "When?"]).assert_code(0).stdout, "Both at night.\n");
    let test = elsewhere(test, "c");
    test.server().script([Answer::text("By ear.")]);
    assert_eq!(test.run(["resume", "nest", "How?"]).assert_code(0).stdout, "By ear.\n");
    test.run(["job", "verify", "nest"]).assert_code(0);
    // The answer of a job that has one costs no request, wherever it is asked for.
    let test = elsewhere(test, "d");
    let again = test.run(["run", "librarian", "How many owls?", "--job-id", "nest", "--ensure"]);
    assert_eq!(again.assert_code(0).stdout, "By ear.\n");
    assert!(s3.keys().iter().all(|key| key.starts_with("nightly/")), "{:?}", s3.keys());
    assert!(!s3.text().contains("hoot-3f9a1c"), "the key to the store is not in it");
}

#[test]
fn a_step_is_two_segments() {
    let (s3, test) = world();
    let test = test.answers([check("c1"), check("c2"), check("c3"), Answer::text("Done.")]);
    test.run(["run", "librarian", "q", "--job-id", "nest"]).assert_code(0);
    // For each of three steps the answer and the results; the last answer with its checkpoint; the job's end.
    assert_eq!(s3.segments(), 3 * 2 + 1 + 1);
}

#[test]
fn a_killed_process_is_followed_by_another_machine_that_makes_no_call_twice() {
    let gate = Gate::new();
    let (_s3, test) = world();
    let test = test.env("PERSTACK_LEASE", "3s").answers([check("c1"), Answer::text("Lost.").delay(&gate)]);
    let first = test.spawn(["run", "librarian", "q", "--job-id", "nest"]);
    first.wait_for_request(2);
    first.kill();
    gate.open();
    drop(first);
    let test = elsewhere(test, "b");
    test.server().script([Answer::text("Done.")]);
    let ran = test.run(["resume", "nest"]).assert_code(0);
    assert_eq!(ran.stdout, "Done.\n");
    assert!(ran.stderr.contains("has not let go of it: waiting 3 s for it"), "{}", ran.stderr);
    let facts = copy(&test, "b").facts();
    let returned = facts.iter().filter(|fact| fact["fact"] == "toolReturned").count();
    assert_eq!(returned, 1, "the recorded call is not made again: {facts:#?}");
    test.run(["job", "verify", "nest"]).assert_code(0);
}

#[test]
fn a_job_in_work_elsewhere_is_not_taken() {
    let gate = Gate::new();
    let (_s3, test) = world();
    let test = test.env("PERSTACK_LEASE", "9s").answers([check("c1"), Answer::text("Done.").delay(&gate)]);
    let first = test.spawn(["run", "librarian", "q", "--job-id", "nest"]);
    first.wait_for_request(2);
    let test = elsewhere(test, "b");
    let ran = test.run(["resume", "nest", "Me too."]).assert_code(6);
    assert!(ran.stderr.contains("job nest is being worked on by process "), "{}", ran.stderr);
    let ran = test.run(["run", "librarian", "Me too.", "--job-id", "nest"]).assert_code(2);
    assert!(ran.stderr.contains("job nest exists already"), "{}", ran.stderr);
    assert!(test.run(["log", "nest"]).assert_code(0).stdout.contains("running"));
    gate.open();
    assert_eq!(first.finish().assert_code(0).stdout, "Done.\n");
    assert!(test.run(["log", "nest"]).assert_code(0).stdout.contains("completed"));
}

#[test]
fn who_takes_over_waits_for_nobody_and_the_owner_before_records_nothing_more() {
    let gate = Gate::new();
    let (_s3, test) = world();
    let test = test.answers([check("c1"), Answer::text("Lost.").delay(&gate)]);
    let first = test.spawn(["run", "librarian", "q", "--job-id", "nest"]);
    first.wait_for_request(2);
    let test = elsewhere(test, "b").env("PERSTACK_TAKE_OVER", "1");
    test.server().script([Answer::text("Done.")]);
    let ran = test.run(["resume", "nest"]).assert_code(0);
    assert_eq!(ran.stdout, "Done.\n");
    assert!(!ran.stderr.contains("waiting"), "{}", ran.stderr);
    gate.open();
    first.finish().assert_code(6);
    assert!(test.run(["log", "nest"]).assert_code(0).stdout.contains("Done."));
    test.run(["job", "verify", "nest"]).assert_code(0);
}

#[test]
fn a_replay_leaves_the_object_store_alone() {
    let (s3, test) = world();
    let test = test.answers([Answer::text("Done.")]);
    test.run(["run", "librarian", "q", "--job-id", "nest", "--record", "c.cassette"]).assert_code(0);
    let before = s3.keys();
    s3.refuse(403);
    test.run(["replay", "c.cassette"]).assert_code(0);
    test.run(["replay", "c.cassette", "--against", "perstack.toml"]).assert_code(0);
    s3.refuse(0);
    assert_eq!(s3.keys(), before);
    for words in [
        &["replay", "c.cassette", "--storage", STORE][..],
        &["replay", "c.cassette", "--against", "perstack.toml", "--model", "claude-opus-4-1", "--live", "--trust"],
    ] {
        let mut command = std::process::Command::new(test.binary());
        command.args(words);
        let ran = test.start(command).finish().assert_code(2);
        assert!(ran.stderr.contains("a replay is not possible with s3://owls/nightly"), "{}", ran.stderr);
    }
    assert!(!test.workspace().join("s3:").exists());
}

#[test]
fn a_store_that_fails_stops_the_job_with_a_way_on() {
    let gate = Gate::new();
    let (s3, test) = world();
    let test = test.env("PERSTACK_LEASE", "3s").answers([check("c1"), Answer::text("Done.").delay(&gate)]);
    let running = test.spawn(["run", "librarian", "q", "--job-id", "nest"]);
    running.wait_for_request(2);
    s3.refuse(403);
    gate.open();
    let ran = running.finish().assert_code(6);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("perstack"), "{}", ran.stderr);
    s3.refuse(0);
    let test = elsewhere(test, "b");
    test.server().script([Answer::text("Done.")]);
    assert_eq!(test.run(["resume", "nest"]).assert_code(0).stdout, "Done.\n");
}

#[test]
fn a_job_that_cannot_be_kept_stops_while_the_model_is_asked_and_names_the_reason() {
    let gate = Gate::new();
    let (s3, test) = world();
    let test = test.env("PERSTACK_LEASE", "9s").answers([check("c1"), Answer::text("Lost.").delay(&gate)]);
    let running = test.spawn(["run", "librarian", "q", "--job-id", "nest"]);
    running.wait_for_request(2);
    s3.tap(|passing| if passing.request.path.ends_with("/owner.json") { Fate::CutOff } else { Fate::Passes });
    let ran = running.finish().assert_code(6);
    gate.open();
    // Where the stop comes in time to be recorded, or too late for that.
    let reasons = ["job nest is no longer this process's", "cannot write nightly/jobs/nest/owner.json"];
    assert!(reasons.iter().any(|reason| ran.stderr.contains(reason)), "{}", ran.stderr);
    s3.tap(|_| Fate::Passes);
    let test = elsewhere(test, "b");
    test.server().script([Answer::text("Done.")]);
    assert_eq!(test.run(["resume", "nest"]).assert_code(0).stdout, "Done.\n");
}

#[test]
fn faults_of_a_store_are_shown_before_a_request_is_sent() {
    let (s3, test) = world();
    let failed = |test: &Test, code: i32, words: &[&str]| {
        let ran = test.run(["run", "librarian", "q"]).assert_code(code);
        for word in words {
            assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
        }
    };
    s3.refuse(403);
    failed(&test, 6, &["nightly/jobs/", "403", "AWS_"]);
    s3.refuse(0);
    let test = test.env("PERSTACK_STORAGE", "s3://ravens/nightly");
    failed(&test, 6, &["nightly/probe", "AWS_"]);
    let test = test.env("PERSTACK_STORAGE", "gs://owls");
    failed(&test, 2, &["gs://owls", "s3://"]);
    let test = test.env("PERSTACK_STORAGE", STORE).env("AWS_ENDPOINT_URL", "http://192.0.2.1:9");
    failed(&test, 6, &["without encryption", "AWS_ALLOW_HTTP"]);
}

#[test]
fn the_key_of_a_profile_is_used_where_the_variables_have_none() {
    let (s3, test) = world();
    let aws = test.root().join("home/.aws");
    fs::create_dir_all(&aws).unwrap();
    fs::write(aws.join("credentials"), "[owls]\naws_access_key_id = AKIDOWL\naws_secret_access_key = s\n").unwrap();
    fs::write(aws.join("config"), "[profile owls]\nregion = eu-north-1\n").unwrap();
    let of_variables = test.env("AWS_PROFILE", "owls").answers([Answer::text("Done."), Answer::text("Done.")]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    s3.tap({
        let seen = Arc::clone(&seen);
        move |passing| {
            let headers = passing.request.headers.iter();
            let value = headers.filter(|(name, _)| name == "authorization").map(|(_, value)| value.clone());
            seen.lock().unwrap().extend(value.map(|value| value.split(", ").next().unwrap_or_default().to_owned()));
            Fate::Passes
        }
    });
    let all_are = |key: &str, region: &str| {
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert!(!seen.is_empty());
        for header in seen {
            assert!(header.contains(&format!("Credential={key}/")) && header.contains(region), "{header}");
        }
    };
    of_variables.run(["run", "librarian", "q"]).assert_code(0);
    all_are("owl", "/us-east-1/");
    let of_profile = of_variables.unset("AWS_ACCESS_KEY_ID").unset("AWS_SECRET_ACCESS_KEY").unset("AWS_REGION");
    of_profile.run(["run", "librarian", "q"]).assert_code(0);
    all_are("AKIDOWL", "/eu-north-1/");
    let nobody = of_profile.env("AWS_PROFILE", "ravens").env("AWS_EC2_METADATA_DISABLED", "true");
    nobody
        .run(["run", "librarian", "q"])
        .assert_code(6)
        .assert_stderr(["no credentials for the object store", "AWS_PROFILE"]);
}

#[test]
fn what_only_a_folder_can_do_is_refused_and_nothing_is_begun() {
    let (s3, test) = world();
    let ran = test.run(["job", "rm", "nest", "--yes"]);
    assert_ne!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("folder"), "{}", ran.stderr);
    assert_eq!(s3.segments(), 0);
}

#[test]
fn a_folder_whose_name_looks_alike_is_a_folder() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("Done.")]);
    test.run(["run", "librarian", "q", "--storage", "./s3:owls"]).assert_code(0);
    assert!(test.workspace().join("s3:owls/jobs").is_dir());
}

#[test]
fn another_machine_gets_the_files_back_for_the_end_of_a_job_and_for_a_fork() {
    let (_s3, test) = world();
    let write = |id, text| Answer::calls([call(id, "writeTextFile", json!({"path": "a.txt", "text": text}))]);
    let test = test.answers([write("c1", "one"), write("c2", "two"), Answer::text("Done.")]);
    test.run(["run", "librarian", "Go.", "--job-id", "nest", "--snapshot", "every"]).assert_code(0);
    // Elsewhere there is the project as it was before the job.
    let read = |test: &Test| fs::read_to_string(test.workspace().join("a.txt")).unwrap_or_default();
    let test = elsewhere(test, "b");
    fs::remove_file(test.workspace().join("a.txt")).unwrap();
    test.server().script([Answer::text("Two.")]);
    test.run(["resume", "nest", "And?", "--restore", "--snapshot", "every"]).assert_code(0);
    assert_eq!(read(&test), "two");
    fs::remove_file(test.workspace().join("a.txt")).unwrap();
    test.server().script([Answer::text("Two.")]);
    let ran = test.run(["resume", "nest", "And?"]).assert_code(0);
    assert!(ran.stderr.contains("(a.txt): --restore brings it back"), "{}", ran.stderr);
    let test = elsewhere(test, "c");
    // The checkpoint of a step is known by its id, though no file of it is stored.
    let checkpoints = copy(&test, "home/cache").checkpoints();
    let heads: Vec<serde_json::Value> = checkpoints.iter().map(|path| read_json(path)).collect();
    let first = heads.iter().find(|head| head["stepNumber"] == 1).expect("that of the first step");
    test.server().script([Answer::text("One.")]);
    test.run(["resume", first["id"].as_str().unwrap(), "And then?", "--restore"]).assert_code(0);
    assert_eq!(read(&test), "one");
    test.run(["job", "verify", "nest"]).assert_code(0);
}
