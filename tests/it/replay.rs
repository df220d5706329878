//! `perstack replay`: a recorded job once more, from its cassette alone: the same each time, without configuration, network,
//! processes or the workspace; and files that are no whole recording.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::support::process::Ran;
use crate::support::tool_server::{command_skill, lines, program};
use crate::support::{Answer, KEY, Provider, Test, call};

const TEAM: &str = r#"
[experts.librarian]
instruction = "You lead."
delegates = ["worker"]
context = ["AGENTS.md"]
verify = { command = "echo verified >> diary" }
[experts.librarian.skills."@perstack/base"]
type = "mcpStdioSkill"
command = "npx"
packageName = "@perstack/base"
[experts.worker]
instruction = "You work."
description = "Does one task."
"#;

/// A job with everything that reaches outside: a server, files, commands, delegates and a verified answer. Recorded with
/// its events, in the order of a replay.
fn recorded() -> (Test, Ran) {
    let skill = command_skill("owls", "sh", &["server.sh"]);
    let test = Test::new().toml(&format!("{TEAM}{skill}")).provider(Provider::Anthropic);
    let test = test
        .file("server.sh", format!("exec '{}' rough diary=diary\n", program()))
        .file("owl.txt", format!("An owl ({KEY})."));
    let test = test.file("AGENTS.md", "Hoot twice.");
    let worker = |n: u32| {
        let query = format!("Task #{n}#.");
        Answer::text(&format!("Result {n}."))
            .when(move |request| request.contains(&query) && request.contains("You work."))
    };
    let lead = |answer: Answer, results: usize| {
        answer.when(move |request| request.contains("You lead.") && request.results().len() == results)
    };
    test.server().script([
        lead(
            Answer::calls([
                call("c1", "echo", json!({"text": "owl"})),
                call("c2", "readTextFile", json!({"path": "owl.txt"})),
            ]),
            0,
        ),
        lead(
            Answer::calls([
                call("d1", "worker", json!({"query": "Task #1#."})),
                call("d2", "worker", json!({"query": "Task #2#."})),
            ]),
            2,
        ),
        worker(1),
        worker(2),
        lead(
            Answer::calls([call(
                "c3",
                "exec",
                json!({"command": "sh", "args": ["-c", "echo $HOME/secret.txt; pwd"], "env": {}, "cwd": "."}),
            )]),
            4,
        ),
        lead(Answer::text("All done."), 5),
    ]);
    let ran = test.run([
        "run",
        "librarian",
        "Go.",
        "--record",
        "c.cassette",
        "--output",
        "jsonl",
        "--max-parallel-delegates",
        "1",
        "--trust",
    ]);
    (test, ran.assert_code(0))
}

fn cassette(test: &Test) -> PathBuf {
    test.workspace().join("c.cassette")
}

/// A place with this cassette and nothing else: no configuration, no key, no server.
fn elsewhere(cassette: &str) -> Test {
    Test::new().file("c.cassette", cassette)
}

fn files(test: &Test) -> Vec<String> {
    let entries = fs::read_dir(test.workspace()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_replay_needs_nothing_but_its_cassette_and_is_the_same_anywhere() {
    let (test, recorded) = recorded();
    let before = lines(&test, "diary");
    let whole = fs::read_to_string(cassette(&test)).unwrap();
    assert!(whole.contains("Hoot twice."));
    let (one, other) = (elsewhere(&whole), elsewhere(&whole));
    let replays = [&one, &other].map(|place| place.run(["replay", "c.cassette", "--output", "jsonl"]).assert_code(0));
    assert_eq!(replays[0].stdout, replays[1].stdout);
    assert_eq!(files(&one), ["c.cassette"]);
    assert_eq!(one.run(["replay", "c.cassette"]).assert_code(0).stdout, "All done.\n");
    assert_eq!(lines(&test, "diary"), before, "nothing was started");

    // The events are those of the recording, but for the times of servers and the paths of its machine.
    let kinds =
        |ran: &Ran| ran.events().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let of_job = |kinds: Vec<String>| kinds.into_iter().filter(|kind| !kind.starts_with("skill")).collect::<Vec<_>>();
    assert_eq!(of_job(kinds(&replays[0])), of_job(kinds(&recorded)));
    let last = |ran: &Ran| ran.events().pop().unwrap();
    let (then, now) = (last(&recorded), last(&replays[0]));
    for field in ["runId", "jobId", "stepNumber", "text", "usage", "cost"] {
        assert_eq!(then[field], now[field], "{field}");
    }
}

#[test]
fn the_result_is_the_recorded_one_and_the_job_is_kept_only_where_that_is_asked_for() {
    let (test, _) = recorded();
    let place = elsewhere(&fs::read_to_string(cassette(&test)).unwrap());
    let result = place.run(["replay", "c.cassette", "--output", "json"]).assert_code(0).object();
    assert_eq!((result["status"].as_str(), result["text"].as_str()), (Some("completed"), Some("All done.")));
    assert!(result["checkpoint"].as_str().unwrap().starts_with("jobs/"), "{result}");
    place.run(["replay", "c.cassette", "--storage", "kept"]).assert_code(0);
    let mut found = files(&place);
    found.sort();
    assert_eq!(found, ["c.cassette", "kept"]);
    let logged = place.run(["log", "--storage", "kept"]).assert_code(0).stdout;
    assert!(logged.contains("All done."), "{logged}");
}

#[test]
fn secrets_and_the_folders_of_a_user_are_not_recorded() {
    let (test, _) = recorded();
    let whole = fs::read_to_string(cassette(&test)).unwrap();
    let (workspace, home) = (test.workspace().display().to_string(), test.root().join("home").display().to_string());
    for hidden in [KEY, &workspace, &home, "127.0.0.1"] {
        assert!(!whole.contains(hidden), "{hidden}");
    }
    assert!(whole.contains("{home}/secret.txt") && whole.contains("{workspace}"));
    // The file that was read had the key.
    assert!(whole.contains("An owl ("));
}

#[test]
fn paths_that_came_in_pieces_or_behind_an_escape_are_placeholders_too() {
    let test = Test::with(Provider::Anthropic).file("owl.txt", "An owl.");
    let (workspace, home) = (test.workspace().display().to_string(), test.root().join("home").display().to_string());
    // The answers come in events of a few letters.
    test.server().script([
        Answer::calls([call("c1", "readTextFile", json!({"path": format!("{workspace}/owl.txt")}))]),
        Answer::calls([call("c2", "readTextFile", json!({"path": "owl.txt"}))])
            .and_text(&format!("Files:\n{workspace}/owl.txt\n{home}/other.txt, -I{home}/inc")),
        Answer::text("Done."),
    ]);
    test.run(["run", "librarian", "Look.", "--record", "c.cassette"]).assert_code(0);
    let whole = fs::read_to_string(cassette(&test)).unwrap();
    for hidden in [&workspace, &home, test.root().file_name().unwrap().to_str().unwrap()] {
        assert!(!whole.contains(hidden), "{hidden} in {whole}");
    }
    let replays = [elsewhere(&whole), elsewhere(&whole)]
        .map(|place| place.run(["replay", "c.cassette", "--output", "jsonl"]).assert_code(0).stdout);
    assert_eq!(replays[0], replays[1]);
    // In its own folder the paths are real, and their file is read.
    let ran = test.run(["run", "librarian", "Look.", "--replay", "c.cassette", "--storage", "s"]).assert_code(0);
    assert_eq!(ran.stdout, "Done.\n");
}

#[test]
fn a_recording_is_not_lost_to_a_continuation_that_cannot_be_added() {
    let test = asked();
    let whole = fs::read_to_string(cassette(&test)).unwrap();
    let parts: Vec<usize> = whole.match_indices("{\"record\":\"start\"").map(|(at, _)| at).collect();
    let checkpoint = |test: &Test| test.run(["log", "latest", "--json"]).assert_code(0).stdout;
    let before = checkpoint(&test);
    // Without an answer that the job has, and damaged: both stay as they are.
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let lacking = lines[..lines.len() - 2].concat();
    for (kept, reason) in
        [(lacking, "lacks answers of this job"), (whole.replacen("{\"record", "{record", 1), "is damaged")]
    {
        fs::write(cassette(&test), &kept).unwrap();
        let ran = test.run(["resume", "latest", "More.", "--record", "c.cassette"]).assert_code(2);
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
        assert_eq!(fs::read_to_string(cassette(&test)).unwrap(), kept);
    }
    assert_eq!(checkpoint(&test), before, "nothing was begun");
    // Without its last line end, with a torn line behind it, or without its last line, it is whole up to there.
    for torn in [Some(""), Some("\n{\"record\":\"start\",\"jobI"), None] {
        let test = asked();
        let whole = fs::read_to_string(cassette(&test)).unwrap();
        let kept = match torn {
            Some(torn) => whole.trim_end().to_owned() + torn,
            None => whole.trim_end().rsplit_once('\n').unwrap().0.to_owned() + "\n",
        };
        fs::write(cassette(&test), kept).unwrap();
        test.server().script([Answer::text("Three.")]);
        test.run(["resume", "latest", "More.", "--record", "c.cassette"]).assert_code(0);
        let place = elsewhere(&fs::read_to_string(cassette(&test)).unwrap());
        assert_eq!(place.run(["replay", "c.cassette"]).assert_code(0).stdout, "Three.\n");
    }
    // That of another job is replaced, as it is named to be.
    let other = self::asked();
    fs::write(cassette(&other), &whole[..parts[1]]).unwrap();
    other.server().script([Answer::text("Four.")]);
    other.run(["resume", "latest", "More.", "--record", "c.cassette"]).assert_code(0);
    let recorded = fs::read_to_string(cassette(&other)).unwrap();
    assert_eq!(recorded.matches("\"record\":\"start\"").count(), 1, "the other job's parts are gone");
}

/// A job that asks twice, and whose answers were given later. The first part is recorded, and the others behind it.
fn asked() -> Test {
    let toml = "[experts.librarian]\ninstruction = \"You ask.\"\n[experts.librarian.skills.ask]\ntype = \"interactiveSkill\"\n\
                [experts.librarian.skills.ask.tools.askUser]\ndescription = \"Asks.\"\n\
                inputJsonSchema = '{\"type\": \"object\", \"properties\": {\"question\": {\"type\": \"string\"}}}'\n";
    let test = Test::new().toml(toml).provider(Provider::Anthropic);
    let question = |id: &str, text: &str| Answer::calls([call(id, "askUser", json!({"question": text}))]);
    let test = test.answers([question("q1", "Which?"), question("q2", "How many?"), Answer::text("Two barn owls.")]);
    test.run(["run", "librarian", "Order owls.", "--record", "c.cassette"]).assert_code(4);
    test.run(["resume", "latest", "Barn owls.", "-i", "--record", "c.cassette"]).assert_code(4);
    test.run(["resume", "latest", "Two.", "-i", "--record", "c.cassette"]).assert_code(0);
    test
}

#[test]
fn a_job_with_a_persons_answers_is_replayed_to_its_end() {
    let test = asked();
    let whole = fs::read_to_string(cassette(&test)).unwrap();
    assert_eq!(whole.matches("\"record\":\"start\"").count(), 3);
    let place = elsewhere(&whole);
    let replays = [(); 2].map(|()| place.run(["replay", "c.cassette", "--output", "jsonl"]).assert_code(0).stdout);
    assert_eq!(replays[0], replays[1]);
    assert_eq!(replays[0].matches("\"completeRun\"").count(), 1);
    let ran = place.run(["replay", "c.cassette"]).assert_code(0);
    assert_eq!(ran.stdout, "Two barn owls.\n");

    // A part that is missing ends the job where its recording does.
    let first: String = whole.split_inclusive('\n').take_while(|line| !line.contains("\"from\":")).collect();
    elsewhere(&first).run(["replay", "c.cassette"]).assert_code(4);
}

#[test]
fn a_recording_of_another_job_is_replaced_and_not_continued() {
    let test = asked();
    test.server().script([Answer::text("Hello."), Answer::text("Again.")]);
    test.run(["run", "librarian", "Hi.", "--job-id", "other"]).assert_code(0);
    let asked = fs::read_to_string(cassette(&test)).unwrap();
    assert!(asked.matches("\"record\":\"start\"").count() == 3 && !asked.contains("\"jobId\":\"other\""));
    test.run(["resume", "other", "Once more.", "--record", "c.cassette"]).assert_code(0);
    let continued = fs::read_to_string(cassette(&test)).unwrap();
    let starts: Vec<&str> = continued.lines().filter(|line| line.starts_with("{\"record\":\"start\"")).collect();
    assert!(starts.len() == 1 && starts[0].contains("\"jobId\":\"other\""), "{starts:?}");
    let ran = elsewhere(&continued).run(["replay", "c.cassette"]).assert_code(2);
    assert!(ran.stderr.contains("begins in the middle of job other"), "{}", ran.stderr);
    // So does a new job.
    test.server().script([Answer::text("Hello.")]);
    test.run(["run", "librarian", "Hi.", "--record", "c.cassette"]).assert_code(0);
    let place = elsewhere(&fs::read_to_string(cassette(&test)).unwrap());
    assert_eq!(place.run(["replay", "c.cassette"]).assert_code(0).stdout, "Hello.\n");
}

#[test]
fn files_that_are_no_whole_recording_are_refused_or_named() {
    let test = asked();
    let whole = fs::read_to_string(cassette(&test)).unwrap();
    let older: String =
        whole.split_inclusive('\n').filter(|line| !line.contains("\"start\"") && !line.contains("\"end\"")).collect();
    let refused = |contents: &str, expected: &str| {
        let ran = elsewhere(contents).run(["replay", "c.cassette"]).assert_code(2);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
        ran.stderr
    };
    let told = refused(&older.replacen("\"version\":5", "\"version\":3", 1), "does not have the experts, the query");
    assert!(told.contains("perstack run EXPERT QUERY --replay c.cassette --replay-tools"), "{told}");
    refused(&whole.replacen("\"version\":5", "\"version\":9", 1), "has version 9, this perstack reads up to 5");
    refused("Owls.\n", "is no cassette");
    refused(
        &whole.replacen("\"record\":\"tool\"", "\"record\":\"toll\"", 1).replacen("\"exchange\"", "\"exchang\"", 1),
        "is damaged",
    );
    refused(&whole.replacen("\"experts\":", "\"expert\":", 1), "cannot be read");
    let missing = Test::new().run(["replay", "c.cassette"]).assert_code(2);
    assert!(missing.stderr.contains("name a file that `perstack run --record FILE` has written"), "{}", missing.stderr);

    // The later parts alone.
    let test = self::asked();
    test.server().script([Answer::text("More.")]);
    test.run(["resume", "latest", "And?", "--record", "later.cassette"]).assert_code(0);
    let later = fs::read_to_string(test.workspace().join("later.cassette")).unwrap();
    let told = refused(&later, "begins in the middle of job");
    assert!(told.contains("--replay c.cassette --replay-tools"), "{told}");
}

#[test]
fn a_recording_that_was_cut_short_is_replayed_as_far_as_it_goes() {
    let (test, _) = recorded();
    let whole = fs::read_to_string(cassette(&test)).unwrap();
    let exchanges: Vec<usize> = whole.match_indices("{\"record\":\"exchange\"").map(|(at, _)| at).collect();
    let torn = &whole[..exchanges[3] + 40];
    let ran = elsewhere(torn).run(["replay", "c.cassette"]).assert_code(1);
    assert!(ran.stderr.contains("c.cassette was cut short: its last whole line is"), "{}", ran.stderr);
    assert!(ran.stderr.contains("follows the last of 3"), "{}", ran.stderr);
    // Only the mark of the end is missing.
    let unended = whole.trim_end().rsplit_once('\n').unwrap().0;
    let ran = elsewhere(&format!("{unended}\n")).run(["replay", "c.cassette"]).assert_code(0);
    assert!(ran.stderr.contains("was cut short"), "{}", ran.stderr);
}

#[test]
fn what_differs_from_the_recording_is_named() {
    let (test, _) = recorded();
    let whole = fs::read_to_string(cassette(&test)).unwrap();
    let changed = whole.replacen("\"instruction\":\"You lead.\"", "\"instruction\":\"You follow.\"", 1);
    assert_ne!(changed, whole);
    let ran = elsewhere(&changed).run(["replay", "c.cassette"]).assert_code(1);
    assert!(ran.stderr.contains("a request differs from number 1"), "{}", ran.stderr);
    let ended = whole.replacen("\"status\":\"completed\"}", "\"status\":\"stoppedByExceededMaxSteps\"}", 1);
    assert_ne!(ended, whole);
    let ran = elsewhere(&ended).run(["replay", "c.cassette"]).assert_code(1);
    assert!(ran.stderr.contains("the replay does not follow the recording"), "{}", ran.stderr);
}
