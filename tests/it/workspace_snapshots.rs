//! States of the workspace that are stored with a job: `--snapshot`.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::answer::Call;
use crate::support::storage::read_json;
use crate::support::{Answer, Provider, Test, call};

const TOML: &str = "[experts.writer]\ninstruction = \"You write.\"\n";

fn write(id: &str, path: &str, text: &str) -> Call {
    call(id, "writeTextFile", json!({"path": path, "text": text}))
}

fn expert() -> Test {
    Test::new().toml(TOML).file("kept.txt", "kept").provider(Provider::Anthropic)
}

/// An expert that writes a file in each of two steps, and reads one in a step between them.
fn writer() -> Test {
    expert().answers([
        Answer::calls([write("c1", "a.txt", "one")]),
        Answer::calls([call("c2", "readTextFile", json!({"path": "a.txt"}))]),
        Answer::calls([write("c3", "b.txt", "two")]),
        Answer::text("Done."),
    ])
}

/// The snapshots that the job's checkpoints name, by step.
fn named(test: &Test) -> Vec<Option<String>> {
    let mut heads: Vec<Value> = test.storage().checkpoints().iter().map(|path| read_json(path)).collect();
    heads.sort_by_key(|head| head["stepNumber"].as_u64());
    heads.iter().map(|head| head["snapshot"].as_str().map(str::to_owned)).collect()
}

fn packs(test: &Test) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(test.storage().jobs()[0].join("snapshots")) else { return Vec::new() };
    let mut packs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    packs.sort();
    packs
}

#[test]
fn every_checkpoint_names_the_state_and_a_step_that_changed_nothing_the_one_before() {
    let test = writer();
    test.run(["run", "writer", "Go.", "--snapshot", "every"]).assert_code(0);
    let named = named(&test);
    let [Some(first), Some(second), Some(third), Some(last)] = &named[..] else { panic!("{named:?}") };
    assert!(first == second && second != third && third == last, "{named:?}");
    // One for the beginning.
    assert_eq!(packs(&test).len(), 3);
    let facts = test.storage().facts();
    let begun = facts.iter().find_map(|fact| fact["spec"]["snapshot"].as_str()).unwrap();
    assert!(begun != first);
    let ran = test.run(["job", "verify", "latest"]).assert_code(0);
    assert!(ran.stdout.contains("is as it was written"), "{}", ran.stdout);
    let step = test.run(["log", "--step", "3"]).assert_code(0).stdout;
    assert!(step.contains(&format!("snapshot {}", &third[..12])), "{step}");
    // The product's own files, the storage among them, are not in it.
    let all: Vec<u8> = packs(&test).iter().flat_map(|pack| fs::read(pack).unwrap()).collect();
    assert!(!String::from_utf8_lossy(&all).contains("perstack.toml"));
}

#[test]
fn with_stop_the_last_checkpoint_alone_names_a_state() {
    let test = writer();
    test.run(["run", "writer", "Go."]).assert_code(0);
    assert_eq!((named(&test), packs(&test).len()), (vec![None; 4], 0), "off unless it is wanted");
    for by_file in [false, true] {
        let test = writer();
        let ran = if by_file {
            let toml = format!("snapshot = \"stop\"\n{TOML}");
            test.toml(&toml).run(["run", "writer", "Go."])
        } else {
            test.env("PERSTACK_SNAPSHOT", "stop").run(["run", "writer", "Go."])
        };
        let ran = ran.assert_code(0);
        let mut heads: Vec<Value> = ran.storage().checkpoints().iter().map(|path| read_json(path)).collect();
        heads.sort_by_key(|head| head["stepNumber"].as_u64());
        let has: Vec<bool> = heads.iter().map(|head| head["snapshot"].is_string()).collect();
        assert_eq!(has, [false, false, false, true]);
    }
}

#[test]
fn a_state_that_was_changed_or_is_missing_is_named() {
    let test = writer();
    test.run(["run", "writer", "Go.", "--snapshot", "every"]).assert_code(0);
    for pack in packs(&test) {
        let whole = fs::read(&pack).unwrap();
        let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
        let name_at = whole.iter().position(|byte| *byte == b'\n').unwrap() + 12;
        // The name of the first object, and the last byte of the last.
        for at in [name_at, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&pack, flipped).unwrap();
            let ran = test.run(["job", "verify", "latest"]).assert_code(1);
            assert!(ran.stdout.contains("does not fit") && ran.stdout.contains(&name), "{at}: {}", ran.stdout);
        }
        fs::remove_file(&pack).unwrap();
        let ran = test.run(["job", "verify", "latest"]).assert_code(1);
        assert!(ran.stdout.contains("has nothing with the digest"), "{}", ran.stdout);
        fs::write(&pack, whole).unwrap();
    }
    test.run(["job", "verify", "latest"]).assert_code(0);
    test.run(["job", "rm", &test.storage().job_id(), "--yes"]).assert_code(0);
    assert!(test.storage().jobs().is_empty());
}

#[test]
fn a_fact_that_names_a_state_and_was_changed_is_named_and_not_the_checkpoint_behind_it() {
    let test = writer();
    test.run(["run", "writer", "Go.", "--snapshot", "every"]).assert_code(0);
    let log = test.storage().runs()[0].join("log.jsonl");
    let whole = fs::read(&log).unwrap();
    let facts = String::from_utf8(whole.clone()).unwrap();
    let is_named = |line: &&str| line.contains("\"fact\":\"snapshotTaken\"");
    let first = facts.lines().position(|line| is_named(&line)).unwrap();
    let last = facts.lines().count() - 1;
    assert!(facts.lines().next_back().is_some_and(|line| is_named(&line)));
    for (line, step) in [(first, 9), (last, 31)] {
        let begin: usize = facts.lines().take(line).map(|line| line.len() + 1).sum();
        let end = begin + facts.lines().nth(line).unwrap().len();
        // With the end of the line.
        for at in (begin..end).step_by(step).chain([end]) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&log, flipped).unwrap();
            let ran = test.run(["job", "verify", "latest"]).assert_code(1);
            let place = format!("log.jsonl, line {}", line + 1);
            assert!(ran.stdout.contains(&place), "byte {} of {line}: {}", at - begin, ran.stdout);
        }
    }
}

#[test]
fn a_recording_with_snapshots_is_replayed_without_any() {
    let test = writer();
    test.run(["run", "writer", "Go.", "--snapshot", "every", "--record", "c.jsonl"]).assert_code(0);
    let replay = ["run", "writer", "Go.", "--replay", "c.jsonl", "--replay-tools", "--storage", "again"];
    let ran = test.env("PERSTACK_SNAPSHOT", "every").run(replay).assert_code(0);
    assert_eq!(ran.stdout, "Done.\n");
    assert!(
        fs::read_dir(ran.workspace().join("again/jobs"))
            .unwrap()
            .all(|job| { !job.unwrap().path().join("snapshots").exists() })
    );
}

#[test]
fn a_job_that_went_on_with_snapshots_alone_holds() {
    let test = expert().answers([
        Answer::calls([write("c1", "a.txt", "one")]),
        Answer::text("Done."),
        Answer::calls([write("c2", "b.txt", "two")]),
        Answer::text("Done again."),
    ]);
    test.run(["run", "writer", "Go."]).assert_code(0);
    test.run(["resume", "latest", "More.", "--snapshot", "every"]).assert_code(0);
    let has: Vec<bool> = named(&test).iter().map(Option::is_some).collect();
    assert_eq!(has, [false, false, true, true]);
    test.run(["job", "verify", "latest"]).assert_code(0);
}

/// The files of the workspace that experts and their user wrote.
fn texts(test: &Test) -> Vec<(String, String)> {
    let mut texts: Vec<(String, String)> = fs::read_dir(test.workspace())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".txt"))
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    texts.sort();
    texts
}

/// The id of the checkpoint of a step.
fn checkpoint(test: &Test, step: u64) -> String {
    let heads = test.storage().checkpoints();
    let of_step = heads.iter().map(|path| read_json(path)).find(|head| head["stepNumber"] == step);
    of_step.unwrap()["id"].as_str().unwrap().to_owned()
}

fn pairs(texts: &[(&str, &str)]) -> Vec<(String, String)> {
    texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn a_fork_restores_the_files_and_what_was_there_is_kept() {
    let test = expert().answers([
        Answer::calls([write("c1", "a.txt", "one")]),
        Answer::calls([call("c2", "readTextFile", json!({"path": "a.txt"}))]),
        Answer::calls([write("c3", "b.txt", "two")]),
        Answer::text("Done."),
        Answer::text("Forked."),
        Answer::text("Forked again."),
    ]);
    test.run(["run", "writer", "Go.", "--snapshot", "every"]).assert_code(0);
    let first = checkpoint(&test, 1);
    fs::write(test.workspace().join("mine.txt"), "mine").unwrap();
    let all = pairs(&[("a.txt", "one"), ("b.txt", "two"), ("kept.txt", "kept"), ("mine.txt", "mine")]);
    let ran = test.run(["resume", &first]).assert_code(0);
    ran.assert_stderr(["the workspace is not as the checkpoint had it (b.txt, mine.txt)", "--restore"]);
    assert_eq!(texts(&test), all, "nothing is changed without the option");
    let ran = test.run(["resume", &first, "--restore"]).assert_code(0);
    assert_eq!(texts(&test), pairs(&[("a.txt", "one"), ("kept.txt", "kept")]));
    let line = ran.stderr.lines().find(|line| line.contains("what was there is kept")).unwrap().to_owned();
    let words: Vec<&str> = line.split("perstack ").nth(1).unwrap().split(' ').collect();
    test.run(<[&str; 5]>::try_from(words).unwrap()).assert_code(0);
    assert_eq!(texts(&test), all);
    test.run(["job", "verify", "latest"]).assert_code(0);
}

#[test]
fn a_state_fills_another_folder_and_only_an_empty_one() {
    let test = writer();
    test.run(["run", "writer", "Go.", "--snapshot", "every"]).assert_code(0);
    let first = checkpoint(&test, 1);
    test.run(["job", "restore", &first, "--to", "../then"]).assert_code(0);
    let then = test.workspace().parent().unwrap().join("then");
    assert_eq!(fs::read_to_string(then.join("a.txt")).unwrap(), "one");
    assert!(!then.join("b.txt").exists() && !then.join("perstack.toml").exists());
    let ran = test.run(["job", "restore", &first, "--to", "../then"]).assert_code(2);
    assert!(ran.stderr.contains("is not empty"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_restored_leaves_the_workspace_as_it_is() {
    let test = writer();
    test.run(["run", "writer", "Go."]).assert_code(0);
    let ran = test.run(["job", "restore", "latest"]).assert_code(2);
    assert!(ran.stderr.contains("has no snapshot of the workspace"), "{}", ran.stderr);
    let ran = test.run(["resume", "latest", "More.", "--restore"]).assert_code(2);
    assert!(ran.stderr.contains("has no snapshot of the workspace"), "{}", ran.stderr);
    let test = writer();
    test.run(["run", "writer", "Go.", "--snapshot", "every"]).assert_code(0);
    let first = checkpoint(&test, 1);
    let before = texts(&test);
    for pack in packs(&test) {
        let whole = fs::read(&pack).unwrap();
        let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        fs::write(&pack, flipped).unwrap();
        let ran = test.run(["job", "restore", &first]);
        assert!(ran.code == Some(0) || ran.code == Some(6) && ran.stderr.contains(&name), "{}", ran.stderr);
        fs::write(&pack, whole).unwrap();
        if ran.code == Some(6) {
            assert_eq!(texts(&test), before);
        }
        test.run(["job", "restore", "latest"]).assert_code(0);
    }
}

/// Whether the file that the third step writes is there: the command fails after it.
const FAILS_AT_THIRD: &str = "test ! -e b.txt";

#[test]
fn bisect_names_the_step_its_calls_and_its_changes() {
    let test = writer();
    test.run(["run", "writer", "Go.", "--snapshot", "every"]).assert_code(0);
    let before = texts(&test);
    // As a power cut leaves a Run that had just begun.
    fs::create_dir(test.storage().jobs()[0].join("runs/01a22232-40eb-7000-83d9-46fd623c3f31")).unwrap();
    let command = format!("touch junk; chmod -w .; {FAILS_AT_THIRD}");
    let ran = test.run(["job", "bisect", "latest", "--test", &command]).assert_code(0);
    for part in
        ["the command fails first", "step 3 of writer", "exited with code 1", "writeTextFile", "+ b.txt", "+ two"]
    {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let ran = test.run(["job", "bisect", "latest", "--test", FAILS_AT_THIRD, "--json"]).assert_code(0);
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&found["outcome"], &found["first"]["stepNumber"]), (&json!("found"), &json!(3)));
    assert_eq!(found["changes"][0]["path"], "b.txt");
    assert_eq!(found["toolCalls"][0]["toolName"], "writeTextFile");
    assert_eq!(texts(&test), before);
    assert!(!test.workspace().join("junk").exists());
}

#[test]
fn bisect_reports_why_there_is_nothing_to_find() {
    let test = writer();
    test.run(["run", "writer", "Go.", "--snapshot", "every"]).assert_code(0);
    for (command, code, text) in [
        ("true", 1, "passes at the end too"),
        ("false", 1, "fails at the beginning already"),
        ("exit 125", 1, "does not judge the state"),
        ("kill -9 $$", 1, "fails at the beginning already"),
        ("no-such-program-here", 2, "cannot be run"),
        (" ", 2, "the command is empty"),
        ("[ ! -e a.txt ] || { [ -e b.txt ] && exit 1; exit 125; }", 1, "one of these steps"),
    ] {
        let ran = test.run(["job", "bisect", "latest", "--test", command]).assert_code(code);
        assert!(ran.stdout.contains(text) || ran.stderr.contains(text), "{command}: {}{}", ran.stdout, ran.stderr);
    }
    let hangs = ["job", "bisect", "latest", "--test", "[ ! -e a.txt ] || sleep 1000", "--time", "200ms"];
    let ran = test.run(hangs).assert_code(0);
    assert!(ran.stdout.contains("step 1 of writer") && ran.stdout.contains("was ended after"), "{}", ran.stdout);
    let test = writer();
    test.run(["run", "writer", "Go.", "--snapshot", "stop"]).assert_code(0);
    let ran = test.run(["job", "bisect", "latest", "--test", "true"]).assert_code(1);
    assert!(ran.stdout.contains("the job has 1 state"), "{}", ran.stdout);
    test.run(["job", "bisect", "no-such-job", "--test", "true"]).assert_code(2);
}

#[test]
fn delegates_that_write_side_by_side_have_one_line_of_states() {
    let toml = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Does one task.\"\n";
    let delegate = |id: &str, query: &str| call(id, "worker", json!({"query": query}));
    let is_asked = |text: &'static str| {
        move |request: &crate::support::Request| {
            !request.contains("You lead.") && request.contains(text) && request.results().is_empty()
        }
    };
    let test = Test::new().toml(toml).provider(Provider::Anthropic).answers([
        Answer::calls([delegate("d1", "Alpha."), delegate("d2", "Beta.")])
            .when(|request| request.contains("You lead.") && request.results().is_empty()),
        Answer::calls([write("c1", "alpha.txt", "x")]).when(is_asked("Alpha.")),
        Answer::calls([write("c2", "beta.txt", "x")]).when(is_asked("Beta.")),
        Answer::text("Written.").when(|request| !request.contains("You lead.") && !request.results().is_empty()),
        Answer::text("Written.").when(|request| !request.contains("You lead.") && !request.results().is_empty()),
        Answer::text("All done.").when(|request| request.contains("You lead.") && !request.results().is_empty()),
    ]);
    test.run(["run", "lead", "Go.", "--snapshot", "every"]).assert_code(0);
    test.run(["job", "verify", "latest"]).assert_code(0);
    let ran = test.run(["job", "bisect", "latest", "--test", "test ! -e beta.txt"]).assert_code(0);
    assert!(ran.stdout.contains("of worker") && ran.stdout.contains("beta.txt"), "{}", ran.stdout);
}
