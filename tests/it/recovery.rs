//! What else can have happened to a job before it is resumed: files gone, damaged, newer, from elsewhere, or no room left.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::log::{sha256, unchained};
use crate::support::signpost::Signpost;
use crate::support::storage::{checkpoint_id, read_json};
use crate::support::{Answer, Gate, Provider, Test, call};

pub fn append(id: &str, word: &str) -> Answer {
    Answer::calls([call(id, "appendTextFile", json!({"path": "owls.txt", "text": word}))])
}

fn shell(id: &str, script: &str) -> crate::support::answer::Call {
    let arguments = json!({
        "command": "sh", "args": ["-c", script], "env": {}, "cwd": ".", "stdout": true, "stderr": true,
    });
    call(id, "exec", arguments)
}

fn owls(test: &Test) -> String {
    fs::read_to_string(test.workspace().join("owls.txt")).unwrap()
}

/// A job that was killed while it waited for its third answer: two steps are done.
pub fn killed() -> Test {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic).file("owls.txt", "").answers([
        append("c1", "a"),
        append("c2", "b"),
        Answer::hang_up().delay(&gate),
    ]);
    let running = test.spawn(["run", "librarian", "Count owls.", "--job-id", "nest"]);
    running.wait_for_request(3);
    // The second step's checkpoint is written while the request is under way.
    running.poll(std::time::Duration::from_millis(1), || test.storage().checkpoints().len() == 2);
    running.kill();
    assert_eq!(running.finish().signal, Some(Signal::KILL.as_raw()));
    gate.open();
    test
}

/// The only job's file of this name.
fn job_file(test: &Test) -> PathBuf {
    test.storage().jobs()[0].join("job.json")
}

/// A file of the first run.
fn run_file(test: &Test, name: &str) -> PathBuf {
    test.storage().runs()[0].join(name)
}

/// Goes on with the job of [`killed`] and checks that it ends as it should.
#[track_caller]
fn assert_goes_on(test: &Test) {
    test.server().script([append("c3", "c"), Answer::text("Three.")]);
    assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "Three.\n");
    assert_eq!(owls(test), "abc");
    let ids: Vec<_> = test.server().requests().pop().unwrap().results().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["c1", "c2", "c3"]);
}

/// Changes one key of a JSON file.
fn set(file: &Path, key: &str, value: Value) {
    let mut json = read_json(file);
    json[key] = value;
    fs::write(file, json.to_string()).unwrap();
}

/// Every file below a folder with its bytes, but for the lock, which names the last process that looked.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else if !path.ends_with("lock") {
            let bytes = fs::read(&path).unwrap();
            all.insert(path, bytes);
        }
    }
    all
}

#[test]
fn a_job_without_its_own_file_goes_on() {
    let test = killed();
    fs::remove_file(job_file(&test)).unwrap();
    assert_goes_on(&test);
    let job = read_json(&job_file(&test));
    assert_eq!((&job["id"], &job["status"], &job["totalSteps"]), (&json!("nest"), &json!("completed"), &json!(4)));
}

#[test]
fn a_run_whose_setting_is_missing_or_torn_goes_on_and_has_one_again() {
    for torn in [None, Some("{\"model\": \"clau"), Some("")] {
        let test = killed();
        let file = run_file(&test, "run-setting.json");
        let started_at = read_json(&file)["startedAt"].as_u64().unwrap();
        match torn {
            None => fs::remove_file(&file).unwrap(),
            Some(rest) => fs::write(&file, rest).unwrap(),
        }
        assert_goes_on(&test);
        let setting = read_json(&file);
        let first_fact = test.storage().facts()[1]["at"].as_u64().unwrap();
        assert!(first_fact >= started_at);
        assert_eq!((&setting["startedAt"], &setting["expertKey"]), (&json!(first_fact), &json!("librarian")));
    }
}

#[test]
fn what_a_newer_version_wrote_is_refused_and_left_alone() {
    for name in ["job.json", "run-setting.json", "checkpoint", "log.jsonl"] {
        let test = killed();
        let file = match name {
            "job.json" => job_file(&test),
            "checkpoint" => test.storage().last_checkpoint(),
            name => run_file(&test, name),
        };
        if name == "log.jsonl" {
            let facts = fs::read_to_string(&file).unwrap();
            fs::write(&file, facts.replacen("\"version\":2", "\"version\":99", 1)).unwrap();
        } else {
            set(&file, "formatVersion", json!(99));
        }
        let before = contents(&test.storage().jobs()[0]);
        // The newest checkpoint of a killed run is only a place in its log, which has all that is in it: its version
        // matters when it is asked for itself, as a file from elsewhere.
        fs::copy(&file, test.workspace().join("copied.json")).unwrap();
        let target = if name == "checkpoint" { "copied.json" } else { "latest" };
        let ran = test.run(["resume", target]).assert_code(6);
        ran.snapshot(&format!("recovery/a-newer-version-wrote-{name}"));
        assert_eq!(contents(&test.storage().jobs()[0]), before, "{name}");
    }
}

#[test]
fn a_checkpoint_whose_file_is_missing_or_torn_follows_from_its_log() {
    for torn in [None, Some(""), Some("{\"formatVersion\":1,\"id\":\"01")] {
        let test = killed();
        let [first, second] = &test.storage().checkpoints()[..] else { panic!("two") };
        let (one, two) = (checkpoint_id(first), checkpoint_id(second));
        let before = test.run(["job", "diff", one, two]).assert_code(0).stdout;
        let shown = test.run(["log", "--checkpoint", one, "--json"]).assert_code(0).object();
        match torn {
            None => fs::remove_file(first).unwrap(),
            Some(rest) => fs::write(first, rest).unwrap(),
        }
        assert_eq!(test.run(["job", "diff", one, two]).assert_code(0).stdout, before, "{torn:?}");
        let again = test.run(["log", "--checkpoint", one, "--json"]).assert_code(0).object();
        assert_eq!(again["checkpoint"], shown["checkpoint"], "{torn:?}");
        // By its end, as it is shown, and by a whole id.
        for name in [&one[one.len() - 8..], one] {
            test.server().script([Answer::text("One.")]);
            assert_eq!(test.run(["resume", name, "Stop."]).assert_code(0).stdout, "One.\n", "{torn:?}");
            assert_eq!(test.server().requests().pop().unwrap().results().len(), 1);
        }
        // The fork's own parent is the one without a file.
        test.server().script([Answer::text("Two.")]);
        assert_eq!(test.run(["resume", "latest", "And?"]).assert_code(0).stdout, "Two.\n");
        test.run(["resume", "0192f0c4-none"]).assert_code(2);
    }
}

#[test]
fn the_last_of_the_checkpoints_that_a_power_cut_took_is_written_again() {
    let test = killed();
    let last = test.storage().last_checkpoint();
    let bytes = fs::read(&last).unwrap();
    for file in test.storage().checkpoints() {
        fs::remove_file(file).unwrap();
    }
    assert_goes_on(&test);
    assert_eq!(fs::read(&last).unwrap(), bytes, "as it was: {}", last.display());
}

#[test]
fn the_checkpoint_that_a_run_stopped_with_is_whole_and_damage_to_it_is_reported() {
    let test = Test::with(Provider::Anthropic).file("owls.txt", "").answers([append("c1", "a")]);
    test.run(["run", "librarian", "q", "--max-steps", "1"]).assert_code(3);
    let last = test.storage().last_checkpoint();
    let whole = fs::read_to_string(&last).unwrap();
    assert!(whole.lines().count() == 1 && read_json(&last)["messages"].is_array());
    fs::write(&last, &whole[..whole.len() / 2]).unwrap();
    test.run(["resume", checkpoint_id(&last), "Go on."]).assert_code(6).assert_stderr(["is damaged: it is no JSON"]);
    // The job's log has all of it.
    test.server().script([Answer::text("One.")]);
    assert_eq!(test.run(["resume", "latest", "--max-steps", "9"]).assert_code(0).stdout, "One.\n");
}

/// Makes the only Run of a job what the version before chains left behind.
fn make_unchained(test: &Test) {
    let log = run_file(test, "log.jsonl");
    let log_text = fs::read_to_string(&log).unwrap();
    for checkpoint in test.storage().checkpoints() {
        let mut json = read_json(&checkpoint);
        if let Some(bytes) = json["log"]["bytes"].as_u64() {
            let before = unchained(&log_text[..usize::try_from(bytes).unwrap()]);
            json["log"] = json!({"facts": json["log"]["facts"], "bytes": before.len(), "sha256": sha256(&[&before])});
            fs::write(checkpoint, json.to_string()).unwrap();
        }
    }
    fs::write(log, unchained(&log_text)).unwrap();
}

#[test]
fn a_job_of_the_version_without_chains_goes_on() {
    let test = killed();
    make_unchained(&test);
    let old = fs::read_to_string(run_file(&test, "log.jsonl")).unwrap();
    let first = test.storage().checkpoints().remove(0);
    assert!(!old.contains("chain"));
    test.server().script([append("c3", "c"), Answer::text("Three.")]);
    assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "Three.\n");
    let new = fs::read_to_string(run_file(&test, "log.jsonl")).unwrap();
    let added = new.strip_prefix(&old).unwrap();
    assert!(!added.is_empty() && added.lines().all(|line| line.contains(",\"chain\":\"")));
    // From its old checkpoint, and from what was added.
    for checkpoint in [first, test.storage().last_checkpoint()] {
        test.server().script([Answer::text("Four.")]);
        let ran = test.run(["resume", checkpoint_id(&checkpoint), "Go on."]).assert_code(0);
        assert_eq!(ran.stdout, "Four.\n");
    }
    test.run(["log", "--events"]).assert_code(0);
}

#[test]
fn a_log_damaged_behind_its_checkpoint_is_not_passed_over() {
    let test = killed();
    let log = run_file(&test, "log.jsonl");
    let facts = fs::read_to_string(&log).unwrap();
    // The second step's answer: what follows it is a result that must not be forgotten.
    let damaged = facts.rfind("{\"at\"").and_then(|last| facts[..last].rfind("{\"at\"")).unwrap();
    fs::write(&log, format!("{}{}", &facts[..damaged], facts[damaged..].replacen("{\"at\"", "{at", 1))).unwrap();
    let checkpoints = test.storage().checkpoints();
    let ran = test.run(["resume", "latest"]).assert_code(6);
    let ran = ran.snapshot("recovery/a-log-damaged-behind-its-checkpoint-is-not-passed-over");
    assert!(ran.stderr.contains(checkpoint_id(&checkpoints[0])), "{}", ran.stderr);
    assert_eq!(test.storage().runs().len(), 1, "nothing was begun");
    // Going on from before the damage is the user's own decision.
    test.server().script([Answer::text("One.")]);
    let ran = test.run(["resume", checkpoint_id(&checkpoints[0])]).assert_code(0);
    assert_eq!(ran.stdout, "One.\n");
    assert_eq!(test.server().requests().pop().unwrap().results().len(), 1);
}

#[test]
fn a_damaged_log_does_not_matter_once_its_run_has_ended() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("First.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let log = run_file(&test, "log.jsonl");
    fs::write(&log, "nothing but noise\nand more\n").unwrap();
    test.server().script([Answer::text("Second.")]);
    assert_eq!(test.run(["resume", "latest", "Again."]).assert_code(0).stdout, "Second.\n");
    assert!(test.server().requests()[1].contains("First."));
}

#[test]
fn a_killed_run_named_by_its_newest_checkpoint_repeats_nothing_that_came_after() {
    let test = killed();
    // As if the kill had come before the second step's checkpoint: its call and result are on record.
    fs::remove_file(test.storage().last_checkpoint()).unwrap();
    test.server().script([append("c3", "c"), Answer::text("Three.")]);
    let newest = test.storage().last_checkpoint();
    assert_eq!(test.run(["resume", checkpoint_id(&newest)]).assert_code(0).stdout, "Three.\n");
    assert_eq!((owls(&test).as_str(), test.storage().runs().len()), ("abc", 1));
}

#[test]
fn a_fork_whose_parent_file_is_gone_goes_on() {
    let test = killed();
    let first = test.storage().checkpoints().remove(0);
    let gate = Gate::new();
    test.server().script([append("d1", "d"), Answer::hang_up().delay(&gate)]);
    let running = test.spawn(["resume", checkpoint_id(&first), "Another way."]);
    running.wait_for_request(5);
    running.kill();
    running.finish();
    gate.open();
    for file in test.storage().checkpoints() {
        fs::remove_file(file).unwrap();
    }
    test.server().script([Answer::text("Two.")]);
    assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "Two.\n");
    let request = test.server().requests().pop().unwrap();
    let ids: Vec<_> = request.results().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["c1", "d1"]);
    assert!(request.contains("Another way."));
    assert_eq!(owls(&test), "abd");
}

#[test]
fn a_fork_leaves_everything_before_it_as_it_is() {
    let test = Test::with(Provider::Anthropic).file("owls.txt", "").answers([
        append("c1", "a"),
        append("c2", "b"),
        Answer::text("First."),
    ]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let old = test.storage().runs().remove(0);
    let before = contents(&old);
    for number in [0, 1, 2] {
        let checkpoint = fs::canonicalize(old.join(test.storage().checkpoints().remove(number))).unwrap();
        test.server().script([append(&format!("d{number}"), "d"), Answer::text("Another.")]);
        let ran = test.run(["resume", checkpoint_id(&checkpoint), "Stop here.", "--output", "json"]).assert_code(0);
        let object = ran.object();
        assert_eq!(object["steps"], 2, "those of this invocation, from checkpoint {number}");
        assert_eq!(contents(&old), before);
        for file in test.storage().checkpoints().into_iter().filter(|file| !before.contains_key(file)) {
            fs::remove_file(file).unwrap();
        }
    }
}

#[test]
fn steps_of_a_resumed_run_are_those_of_the_invocation() {
    let test = killed();
    test.server().script([append("c3", "c"), Answer::text("Three.")]);
    let object = test.run(["resume", "latest", "--output", "json"]).assert_code(0).object();
    assert_eq!(object["steps"], 2, "the third, which was under way, and the fourth");
}

#[test]
fn a_file_from_elsewhere_resumes_twice() {
    let home = Test::with(Provider::Anthropic).file("owls.txt", "").answers([append("c1", "a")]);
    home.run(["run", "librarian", "Count owls.", "--max-steps", "1", "--job-id", "nest"]).assert_code(3);
    let checkpoint = fs::read(home.storage().last_checkpoint()).unwrap();
    let away = Test::with(Provider::Anthropic).file("copied.json", checkpoint);
    for (answer, more) in [("One.", "Go on."), ("Uno.", "In Spanish.")] {
        away.server().script([Answer::text(answer)]);
        let ran = away.run(["resume", "copied.json", more, "--max-steps", "9"]).assert_code(0);
        assert_eq!(ran.stdout, format!("{answer}\n"));
        let request = away.server().requests().pop().unwrap();
        assert!(request.contains("Count owls.") && request.contains(more));
        assert_eq!(request.results().len(), 1);
    }
    // The one imported, and one for each time it was continued.
    assert_eq!(away.storage().runs().len(), 3);
    assert!(!away.server().requests().pop().unwrap().contains("One."), "the second does not know of the first");
    let taken = away.run(["run", "librarian", "q", "--job-id", "nest"]).assert_code(2);
    taken.snapshot("recovery/a-file-from-elsewhere-resumes-twice");
}

#[test]
fn a_file_from_where_the_same_run_came_further_is_imported() {
    let test = killed();
    // The whole job went to another machine, ended there, and its last checkpoint comes back.
    let away = Test::with(Provider::Anthropic).file("owls.txt", "ab");
    for (path, bytes) in contents(&test.workspace().join("perstack")) {
        let path = away.workspace().join(path.strip_prefix(test.workspace()).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    away.server().script([Answer::text("Two.")]);
    away.run(["resume", "nest"]).assert_code(0);
    fs::copy(away.storage().last_checkpoint(), test.workspace().join("back.json")).unwrap();
    test.server().script([Answer::text("Indeed.")]);
    assert_eq!(test.run(["resume", "back.json", "Sure?"]).assert_code(0).stdout, "Indeed.\n");
    assert!(test.server().requests().pop().unwrap().contains("Two."));
}

#[test]
fn a_job_folder_copied_under_another_name_is_its_own() {
    let test = killed();
    let (from, to) = (test.storage().jobs().remove(0), test.workspace().join("perstack/jobs/twig"));
    for (path, bytes) in contents(&from) {
        let path = to.join(path.strip_prefix(&from).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::remove_dir_all(from).unwrap();
    test.server().script([Answer::text("Two.")]);
    let checkpoint = test.storage().checkpoints().remove(0);
    assert_eq!(test.run(["resume", checkpoint.to_str().unwrap(), "q"]).assert_code(0).stdout, "Two.\n");
}

/// A checkpoint as the original stores it, stopped by an interactive tool with another tool's result collected.
fn original() -> Value {
    json!({"id": "c9f3", "jobId": "j7d2k9", "runId": "r4m1x8", "status": "stoppedByInteractiveTool", "stepNumber": 4,
        "messages": [
            {"id": "m1", "type": "instructionMessage",
             "contents": [{"id": "p1", "type": "textPart", "text": "You find things in books."}], "cache": true},
            {"id": "m2", "type": "userMessage", "contents": [{"id": "p2", "type": "textPart", "text": "Which owl?"}]},
            {"id": "m3", "type": "expertMessage", "contents": [
                {"id": "p3", "type": "toolCallPart", "toolCallId": "tc2", "toolName": "search", "args": {"q": "owl"}},
                {"id": "p4", "type": "toolCallPart", "toolCallId": "tc3", "toolName": "askUser",
                 "args": {"question": "Which owl?"}}]}],
        "expert": {"key": "librarian", "name": "librarian", "version": "1.0.0"},
        "usage": {"inputTokens": 3000, "outputTokens": 200, "reasoningTokens": 0, "totalTokens": 3200,
                  "cachedInputTokens": 0},
        "contextWindow": 200_000, "contextWindowUsage": 0.016,
        "pendingToolCalls": [{"id": "tc3", "skillName": "ask", "toolName": "askUser",
                              "args": {"question": "Which owl?"}}],
        "partialToolResults": [{"id": "tc2", "skillName": "index", "toolName": "search",
                                "result": [{"id": "p5", "type": "textPart", "text": "birds.md:12"}]}],
        "retryCount": 0})
}

const ASKING: &str = "[experts.librarian]\ninstruction = \"You ask.\"\n\
    [experts.librarian.skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \"npx\"\npackageName = \"@perstack/base\"\n\
    [experts.librarian.skills.ask]\ntype = \"interactiveSkill\"\n\
    [experts.librarian.skills.ask.tools.askUser]\ndescription = \"Asks.\"\n\
    inputJsonSchema = '{\"type\":\"object\",\"properties\":{\"question\":{\"type\":\"string\"}}}'\n";

#[test]
fn the_originals_checkpoints_resume_from_where_they_lie_and_as_files() {
    let stored = "perstack/jobs/j7d2k9/checkpoints/c9f3.json";
    for (place, target) in [(stored, "j7d2k9"), (stored, "c9f3"), (stored, "latest"), ("old.json", "old.json")] {
        let test = Test::new().toml(ASKING).provider(Provider::Anthropic).file(place, original().to_string());
        let before = fs::read(test.workspace().join(place)).unwrap();
        test.server().script([Answer::text("The barn owl, then.")]);
        let ran = test.run(["resume", target, "The barn owl.", "--output", "json"]).assert_code(0);
        let results = test.server().requests().remove(0).results();
        let result = |id: &str, text: &str| (id.to_owned(), text.to_owned());
        assert_eq!(results, [result("tc2", "birds.md:12"), result("tc3", "The barn owl.")], "{target}");
        let last = read_json(ran.object()["checkpoint"].as_str().unwrap().as_ref());
        // The answers take a step of their own, as in the original.
        assert_eq!((&last["jobId"], &last["stepNumber"]), (&json!("j7d2k9"), &json!(6)), "{target}");
        assert_eq!(fs::read(test.workspace().join(place)).unwrap(), before);
    }
}

#[test]
fn a_message_given_to_a_killed_job_joins_the_conversation() {
    let test = killed();
    test.server().script([Answer::text("Two, both grey.")]);
    test.run(["resume", "latest", "Only the grey ones."]).assert_code(0);
    assert!(test.server().requests().pop().unwrap().contains("Only the grey ones."));
}

#[test]
fn a_message_given_in_mid_turn_survives_a_question_to_a_person() {
    let test = Test::new().toml(ASKING).provider(Provider::Anthropic);
    let sign = Signpost::at(&test.workspace(), "sign");
    let ask = call("q1", "askUser", json!({"question": "Which owl?"}));
    test.server().script([Answer::calls([shell("c1", "echo > sign; sleep 600"), ask])]);
    let running = test.spawn(["run", "librarian", "Find it."]);
    sign.wait();
    running.kill();
    running.finish();
    test.run(["resume", "latest", "Hurry."]).assert_code(4);
    test.server().script([Answer::text("Found.")]);
    assert_eq!(test.run(["resume", "latest", "The barn owl."]).assert_code(0).stdout, "Found.\n");
    let request = test.server().requests().pop().unwrap();
    assert!(request.contains("Hurry."), "{}", request.body);
    assert_eq!(request.results()[1], ("q1".to_owned(), "The barn owl.".to_owned()));
}

#[test]
fn a_job_killed_before_its_first_fact_has_nothing_to_go_on_with() {
    let test = killed();
    fs::write(run_file(&test, "log.jsonl"), "{\"format\":\"perst").unwrap();
    for checkpoint in test.storage().checkpoints() {
        fs::remove_file(checkpoint).unwrap();
    }
    test.run(["resume", "nest"])
        .assert_code(2)
        .snapshot("recovery/a-job-killed-before-its-first-fact-has-nothing-to-go-on-with");
    // Nothing was done under the id, so it is free.
    test.server().script([Answer::text("Fresh.")]);
    assert_eq!(test.run(["run", "librarian", "q", "--job-id", "nest"]).assert_code(0).stdout, "Fresh.\n");
}

#[test]
fn a_full_disk_stops_the_job_and_loses_nothing() {
    let word = |word: &str| word.repeat(3000);
    let answers = (1..=9).map(|n| append(&format!("c{n}"), &word(&n.to_string())));
    let test = Test::with(Provider::Anthropic).file("owls.txt", "").answers(answers);
    // Files of at most 40 blocks of 512 bytes (POSIX), or 1024 in some shells: less than the log of nine steps takes.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 40; exec \"$0\" run librarian q"]).arg(test.binary());
    let ran = test.start(limited).finish().assert_code(6);
    assert!(ran.stderr.contains("ulimit -f") && ran.stderr.contains("perstack resume"), "{}", ran.stderr);
    let log = fs::read_to_string(run_file(&test, "log.jsonl")).unwrap();
    assert!(!log.ends_with('\n'), "the last line is torn, for this to be a test of it");
    assert!(!ran.stdout.contains("Done."));
    assert!(test.server().answers_left() > 0, "the disk was large enough");
    test.server().script([Answer::text("Done.")]);
    assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "Done.\n");
    let owls = owls(&test);
    for n in 1..=9 {
        assert!(owls.matches(&n.to_string()).count() <= 3000, "{n} was done twice");
    }
    let results = test.server().requests().pop().unwrap().results();
    assert_eq!(results.len(), 9, "every call is answered");
    for (id, text) in results.iter().filter(|(_, text)| !text.starts_with("interrupted: ")) {
        assert_eq!(owls.matches(&id[1..]).count(), 3000, "{id}: {text}");
    }
}

#[test]
fn a_storage_that_goes_away_ends_the_job_at_once() {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic)
        .answers([
            Answer::calls([shell("c1", "mv perstack gone")]),
            // The model is not asked any more; else it would not answer.
            Answer::text("Back.").delay(&gate),
        ])
        .may_leave_answers();
    let ran = test.run(["run", "librarian", "q", "--sandbox", "off"]).assert_code(6);
    ran.snapshot("recovery/a-storage-that-goes-away-ends-the-job-at-once");
    gate.open();
    fs::rename(test.workspace().join("gone"), test.workspace().join("perstack")).unwrap();
    test.server().script([Answer::text("Back.")]);
    assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "Back.\n");
}
