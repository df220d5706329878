//! `perstack log`: what it shows of jobs that completed, run, or were killed; [`damaged`] of those whose files are not whole.

mod damaged;
mod views;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::answer::Call;
use crate::support::process::Ran;
use crate::support::signpost::Signpost;
use crate::support::storage::{checkpoint_id, read_json};
use crate::support::{Answer, Gate, Provider, Test, call};

const TEAM: &str = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                    [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Does one task.\"\n";

fn append(id: &str, word: &str) -> Call {
    call(id, "appendTextFile", json!({"path": "owls.txt", "text": word}))
}

fn shell(id: &str, script: &str) -> Call {
    let arguments = json!({
        "command": "sh", "args": ["-c", script], "env": {}, "cwd": ".", "stdout": true, "stderr": true,
    });
    call(id, "exec", arguments)
}

/// Three steps, the second with a call that fails; what `run` printed of them.
fn completed() -> (Test, Ran) {
    let missing = call("c2", "readTextFile", json!({"path": "missing.txt"}));
    let test = Test::with(Provider::Anthropic).file("owls.txt", "").answers([
        Answer::calls([append("c1", "tawny")]),
        Answer::calls([missing, append("c3", "barn")]),
        Answer::text("Two owls."),
    ]);
    let ran = test.run(["run", "librarian", "Count owls.", "--job-id", "nest", "--json"]).assert_code(0);
    (test, ran)
}

/// A job that was killed in its second step, while its tool was at work.
fn killed() -> Test {
    let test = Test::with(Provider::Anthropic).file("owls.txt", "");
    let sign = Signpost::at(&test.workspace(), "sign");
    test.server().script([Answer::calls([append("c1", "a")]), Answer::calls([shell("c2", "echo > sign; sleep 600")])]);
    let running = test.spawn(["run", "librarian", "Count owls.", "--job-id", "nest"]);
    sign.wait();
    running.kill();
    running.finish();
    test
}

/// A lead that hands out two tasks and then closes.
fn team() -> Test {
    let task = |n: usize| call(&format!("d{n}"), "worker", json!({"query": format!("Task #{n}#.")}));
    let done = |n: usize| {
        Answer::text(&format!("Result {n}."))
            .when(move |request| request.contains(&format!("Task #{n}#.")) && !request.contains("You lead."))
    };
    let test = Test::new().toml(TEAM).provider(Provider::Anthropic).answers([
        Answer::calls([task(0), task(1)]).when(|request| request.contains("You lead.") && request.results().is_empty()),
        Answer::text("All done.").when(|request| request.contains("You lead.") && !request.results().is_empty()),
        done(0),
        done(1),
    ]);
    test.run(["run", "lead", "Go.", "--job-id", "nest"]).assert_code(0);
    test
}

fn run_file(test: &Test, name: &str) -> PathBuf {
    test.storage().runs()[0].join(name)
}

/// Every file of the storage with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            all.insert(path, bytes);
        }
    }
    all
}

/// The types of the events of `--json`.
fn types(object: &Value) -> Vec<&str> {
    object["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// The heads of the events of the text form: step and type.
fn heads(ran: &Ran) -> Vec<String> {
    let lines = ran.stdout.lines().filter(|line| line.starts_with("[Step "));
    lines.map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")).collect()
}

#[track_caller]
fn assert_has<const N: usize>(ran: &Ran, texts: [&str; N]) {
    for text in texts {
        assert!(ran.stdout.contains(text), "no {text:?} in\n{}", ran.stdout);
    }
}

#[test]
fn a_completed_job_is_logged_as_it_was_shown_while_it_ran() {
    let (test, ran) = completed();
    let told: Vec<Value> = ran.events().into_iter().filter(|event| event["sequence"].is_u64()).collect();
    let before = contents(&test.storage().jobs()[0]);
    let object = test.run(["log", "--json", "--take", "0"]).assert_code(0).object();
    assert_eq!(object["events"], json!(told));
    let mut job = read_json(&test.storage().jobs()[0].join("job.json"));
    assert!(job.as_object_mut().unwrap().shift_remove("seal").is_some());
    assert_eq!(object["job"], job);
    assert_eq!((&object["isLatestJob"], &object["standing"]), (&json!(true), &json!("stopped")));
    assert_eq!((&object["totalEventsBeforeLimit"], &object["matchedAfterPagination"]), (&json!(13), &json!(13)));
    let expected = json!({"totalEvents": 13, "errorCount": 0, "toolCallCount": 3, "delegationCount": 0,
        "stepRange": {"min": 1, "max": 3}});
    assert_eq!(object["summary"], expected);
    assert_eq!(object["runs"][0]["status"], "completed");
    assert!(object.get("problems").is_none() && object.get("checkpoints").is_none());
    assert_eq!(contents(&test.storage().jobs()[0]), before, "nothing is written, not even the lock");
}

#[test]
fn text_shows_the_job_its_runs_and_its_events() {
    let (test, _) = completed();
    let ran = test.run(["log", "--events"]).assert_code(0);
    assert!(ran.stdout.starts_with("(showing latest job)\n\nStorage: "), "{}", ran.stdout);
    assert_has(
        &ran,
        ["\n\nJob: nest (completed)\nExpert: librarian\nQuery: ", "\nStarted: 20", "\nSteps: 3\nTool calls: 3\n"],
    );
    assert_has(
        &ran,
        ["\nTokens: 360 (300 in, 60 out)\n", "\n\nRuns:\n  ", "  librarian  completed  steps 1-3  360 tokens  "],
    );
    assert_has(
        &ran,
        [
            "  Query: \"Count owls.\"\n",
            "  Tools: readTextFile, appendTextFile\n",
            "  ✗ readTextFile: ",
            "  ✓ appendTextFile: ",
        ],
    );
    assert!(ran.stdout.ends_with("  Result: Two owls.\n\n──────────────────────────────────────────────────\n"));
    assert!(!ran.stdout.contains('\u{1b}') && ran.stderr.is_empty(), "{}", ran.stderr);
    assert_eq!(heads(&ran).len(), 13);
    let named = test.run(["log", "ne", "--events"]).assert_code(0);
    assert!(
        named.stdout.starts_with("Storage: ") && named.stdout.contains("Job: nest (completed)"),
        "{}",
        named.stdout
    );
}

#[test]
fn steps_show_their_calls_with_arguments_and_results() {
    let (test, _) = completed();
    let ran = test.run(["log", "nest", "--steps", "--step", "2"]).assert_code(0);
    assert_eq!(heads(&ran), ["[Step 2] librarian"]);
    assert_has(
        &ran,
        ["  ✗ readTextFile path=missing.txt: ", "  ✓ appendTextFile path=owls.txt text=barn: ", "  120 tokens, "],
    );
    let object = test.run(["log", "nest", "--steps", "--json"]).assert_code(0).object();
    let steps = object["steps"].as_array().unwrap();
    assert_eq!(steps.iter().map(|step| step["stepNumber"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(steps[1]["toolCalls"][0]["toolName"], "readTextFile");
    assert!(steps[1]["callDurationsMs"]["c2"].is_u64() && steps[1]["callDurationsMs"]["c3"].is_u64());
    assert_eq!(object["checkpoints"].as_array().map(Vec::len), Some(3));
}

#[test]
fn filters_combine_and_pages_are_cut_from_what_they_leave() {
    let (test, _) = completed();
    let shown = |words: &[&str]| {
        let mut command = Command::new(test.binary());
        command.args(["log", "--json"]).args(words);
        let object = test.start(command).finish().assert_code(0).object();
        let (types, matched) = (types(&object).join(" "), object["totalEventsBeforeLimit"].as_u64().unwrap());
        (types, matched)
    };
    let expect = |text: &str, matched| (text.to_owned(), matched);
    assert_eq!(shown(&["--type", "callTools"]), expect("callTools callTools", 2));
    assert_eq!(shown(&["--tools", "--step", ">=2"]), expect("callTools resolveToolResults", 2));
    assert_eq!(shown(&["--tools", "--errors"]), expect("", 0));
    assert_eq!(shown(&["--filter", ".toolCalls[].toolName == readTextFile"]), expect("callTools", 1));
    assert_eq!(
        shown(&["--filter", ".toolResults[].isError == true", "--step", "1-3"]),
        expect("resolveToolResults", 1)
    );
    assert_eq!(shown(&["--tools", "--take", "1", "--offset", "2"]), expect("callTools", 4));
    let around = "startGeneration callTools resolveToolResults";
    assert_eq!(shown(&["--tools", "--take", "1", "--offset", "2", "--context", "1"]), expect(around, 4));
    assert_eq!(shown(&["--offset", "99"]), expect("", 13));

    let paged = test.run(["log", "--tools", "--take", "1", "--context", "1", "--summary"]).assert_code(0);
    assert_has(
        &paged,
        ["Summary:\n  Total Events: 3\n  Errors: 0\n  Tool Calls: 1\n  Delegations: 0\n  Step Range: 1 - 1\n"],
    );
    let cut =
        "(showing 1 of 4 matched events (+2 context))\nUse --take and --offset to paginate, or --take 0 for all\n";
    assert!(paged.stdout.ends_with(cut), "{}", paged.stdout);
    let beyond = test.run(["log", "--offset", "99"]).assert_code(0);
    assert!(beyond.stdout.ends_with("\n(13 events available, use --offset to view)\n"), "{}", beyond.stdout);
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let (test, _) = completed();
    let refused = |words: &[&str], text: &str| {
        let mut command = Command::new(test.binary());
        command.arg("log").args(words);
        let ran = test.start(command).finish().assert_code(2);
        assert!(ran.stderr.contains(text) && ran.stdout.is_empty(), "{words:?}: {}{}", ran.stdout, ran.stderr);
    };
    refused(&["--take", "x"], "Invalid value for --take: \"x\" is not a valid number");
    refused(&["--offset", "-1"], "Invalid value for --offset: \"-1\" must be non-negative");
    refused(&["--context", "99999999"], "Invalid value for --context: \"99999999\" must be at most");
    refused(&["--step", "9-3"], "Invalid step range: 9-3 (min 9 > max 3)");
    refused(&["--step", "two"], "Invalid step filter: two");
    refused(&["--filter", "type = x"], "Invalid filter expression: type = x");
    refused(&["--type", "callTool"], "'callTools'");
    refused(&["--checkpoint", "gone"], "checkpoint not found: gone");
    refused(&["--run", "gone"], "run not found: gone");
    refused(&["best"], "there is no job \"best\"");
    refused(&["nesd"], "did you mean nest?");
    refused(&["../nest"], "there is no job");
    refused(&["nest", "--job", "nest"], "cannot be used with");
}

#[test]
fn a_prefix_that_fits_several_jobs_is_not_guessed() {
    let (test, _) = completed();
    test.server().script([Answer::text("One.")]);
    test.run(["run", "librarian", "q", "--job-id", "nest-2"]).assert_code(0);
    test.run(["log", "nes"]).assert_code(2).snapshot("log/a-prefix-that-fits-several-jobs-is-not-guessed");
    assert_has(&test.run(["log", "nest"]).assert_code(0), ["Job: nest (completed)"]);
    assert_has(&test.run(["log", "--job", "nest-"]).assert_code(0), ["Job: nest-2 (completed)"]);
}

#[test]
fn jobs_are_listed_newest_first() {
    let (test, _) = completed();
    test.server().script([Answer::text("One.")]);
    test.run(["run", "librarian", "q", "--job-id", "burrow", "--max-steps", "1"]).assert_code(0);
    let ran = test.run(["log", "--jobs"]).assert_code(0);
    let rows: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["JOB", "AGE", "STATUS", "EXPERT", "QUERY", "STEPS", "COST"]);
    assert_eq!(rows[1][0], "burrow");
    assert_eq!(rows[1][rows[1].len() - 5..], ["completed", "librarian", "q", "1", "$0.000600"]);
    assert_eq!(rows[2][0], "nest");
    assert_eq!(rows[2][rows[2].len() - 6..], ["completed", "librarian", "Count", "owls.", "3", "$0.0018"]);
    let page = test.run(["log", "--list", "--take", "1", "--offset", "1"]).assert_code(0);
    assert!(page.stdout.contains("\nnest ") && page.stdout.ends_with("(showing 1 of 2 jobs)\n"), "{}", page.stdout);
    let all = test.run(["log", "--jobs", "--json"]).assert_code(0).object();
    let ids: Vec<&Value> = all.as_array().unwrap().iter().map(|job| &job["id"]).collect();
    assert_eq!(ids, ["burrow", "nest"]);
    assert_eq!(all[0]["standing"], "stopped");
}

#[test]
fn a_storage_without_jobs_has_nothing_to_show() {
    let test = Test::new();
    assert_eq!(test.run(["log", "--events"]).assert_code(0).stdout, "No data found\n");
    assert_eq!(test.run(["log", "--jobs"]).assert_code(0).stdout, "No data found\n");
    assert_eq!(test.run(["log", "--jobs", "--json"]).assert_code(0).object(), json!([]));
    assert_eq!(test.run(["log", "latest", "--pretty"]).assert_code(0).object()["events"], json!([]));
    assert!(!test.workspace().join("perstack").exists(), "reading makes no folders");
}

#[test]
fn a_broken_configuration_is_in_nobodys_way() {
    let (test, _) = completed();
    fs::write(test.workspace().join("perstack.toml"), "experts = nonsense [").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_perstack"));
    command.args(["log", "latest", "--storage", "perstack"]);
    assert_has(&test.start(command).finish().assert_code(0), ["Job: nest (completed)"]);
}

#[test]
fn delegates_are_below_their_caller() {
    let test = team();
    let ran = test.run(["log", "--delegations"]).assert_code(0);
    let tree = ran.stdout.split_once("Runs:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let rows: Vec<(usize, Vec<&str>)> = tree
        .lines()
        .map(|line| {
            (line.len() - line.trim_start().len(), line.split("  ").filter(|part| !part.is_empty()).skip(1).collect())
        })
        .collect();
    let shape: Vec<(usize, &str, &str)> = rows.iter().map(|(indent, parts)| (*indent, parts[0], parts[1])).collect();
    let expected = [
        (2, "lead", "handed to delegates"),
        (4, "worker", "completed"),
        (4, "worker", "completed"),
        (2, "lead", "completed"),
    ];
    assert_eq!(shape, expected);
    assert!(rows[3].1.last().unwrap().starts_with("continues "));
    assert_has(&ran, ["[Step 1] stopRunByDelegate       ", "  lead\n  Delegate to: worker\n  Delegate to: worker\n"]);

    // One delegate alone, by its run.
    let object = test.run(["log", "nest", "--json"]).assert_code(0).object();
    let worker = object["runs"].as_array().unwrap().iter().find(|run| run["expertKey"] == "worker").unwrap();
    assert_eq!(worker["delegatedBy"]["expert"]["key"], "lead");
    let run = worker["id"].as_str().unwrap();
    let alone = test.run(["log", "--run", run, "--json"]).assert_code(0).object();
    assert_eq!(types(&alone), ["startRun", "startGeneration", "completeRun"]);
    assert!(alone["events"].as_array().unwrap().iter().all(|event| event["runId"] == run));
    let times: Vec<u64> =
        object["events"].as_array().unwrap().iter().map(|event| event["timestamp"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_checkpoint_is_shown_with_its_messages_and_its_run() {
    let (test, _) = completed();
    let first = test.storage().checkpoints().remove(0);
    let id = checkpoint_id(&first);
    let ran = test.run(["log", "--checkpoint", id, "--messages", "--type", "startRun"]).assert_code(0);
    assert_has(&ran, [&format!("Checkpoint: {id}\nStatus: under way\nStep: 1\nExpert: librarian\n\nMessages:\n")]);
    assert_has(&ran, ["  [userMessage] Count owls.\n", "  [expertMessage] calls appendTextFile\n", "  [toolMessage] "]);
    assert_eq!(heads(&ran), ["[Step 1] startRun"]);
    let object = test.run(["log", "--checkpoint", id, "--json"]).assert_code(0).object();
    assert_eq!(object["checkpoint"]["messages"].as_array().map(Vec::len), Some(4));
}

#[test]
fn a_job_that_runs_is_shown_without_disturbing_it() {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic)
        .file("owls.txt", "")
        .answers([Answer::calls([append("c1", "a")]), Answer::text("Done.").delay(&gate)]);
    let running = test.spawn(["run", "librarian", "Count owls.", "--job-id", "nest"]);
    running.wait_for_request(2);
    let ran = test.run(["log", "--events"]).assert_code(0);
    assert_has(
        &ran,
        [&format!("Job: nest (running, process {})\n", running.pid()), "  running: asking the model  steps 1-2  "],
    );
    assert_eq!(heads(&ran).last().map(String::as_str), Some("[Step 2] startGeneration"));
    assert_has(&test.run(["log", "--jobs"]).assert_code(0), [" running "]);
    assert_has(&test.run(["log", "nest"]).assert_code(0), ["\nTo watch:  ", "perstack log nest --follow\n"]);
    let object = test.run(["log", "--json"]).assert_code(0).object();
    assert_eq!((&object["standing"], &object["pid"]), (&json!("running"), &json!(running.pid())));
    gate.open();
    running.finish().assert_code(0);
    assert_has(&test.run(["log", "--events"]).assert_code(0), ["Job: nest (completed)\n"]);
}

#[test]
fn a_killed_job_is_interrupted_and_shown_up_to_where_it_came() {
    let test = killed();
    let log = run_file(&test, "log.jsonl");
    let mut torn = fs::read(&log).unwrap();
    torn.extend(b"{\"at\":177100000");
    fs::write(&log, torn).unwrap();
    let before = contents(&test.storage().jobs()[0]);
    let ran = test.run(["log", "--events"]).assert_code(0);
    assert_has(
        &ran,
        ["Job: nest (interrupted, can be resumed)\n", "\nTokens: 240 ", "  interrupted: calling exec  steps 1-2  "],
    );
    assert_eq!(heads(&ran).last().map(String::as_str), Some("[Step 2] callTools"));
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
    assert_has(&test.run(["log", "--jobs"]).assert_code(0), [" interrupted "]);
    let object = test.run(["log", "--json"]).assert_code(0).object();
    assert_eq!((&object["standing"], &object["pid"]), (&json!("interrupted"), &Value::Null));
    assert_eq!(object["runs"][0]["openToolCalls"][0]["toolName"], "exec");
    assert_eq!(contents(&test.storage().jobs()[0]), before);
    // And it can.
    test.server().script([Answer::text("One.")]);
    test.run(["resume", "latest"]).assert_code(0);
    let ran = test.run(["log", "--events"]).assert_code(0);
    assert_has(&ran, ["Job: nest (completed)\n", "resumeFromStop", "  ✗ exec: "]);
}

#[test]
fn the_originals_jobs_are_shown_with_their_events() {
    let checkpoint = json!({"id": "c9f3", "jobId": "j7d2k9", "runId": "r4m1x8", "status": "completed", "stepNumber": 2,
        "messages": [{"id": "m2", "type": "userMessage", "contents": [{"id": "p2", "type": "textPart", "text": "Which owl?"}]}],
        "expert": {"key": "librarian", "name": "librarian", "version": "1.0.0"},
        "usage": {"inputTokens": 3000, "outputTokens": 200, "reasoningTokens": 0, "totalTokens": 3200, "cachedInputTokens": 0}});
    let event = |kind: &str, at: u64, more: Value| {
        let mut event = json!({"type": kind, "id": "e1", "expertKey": "librarian", "timestamp": at, "jobId": "j7d2k9",
            "runId": "r4m1x8", "stepNumber": 1});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let tool = json!({"id": "tc1", "skillName": "index", "toolName": "search", "args": {"q": "owl"}});
    let events = [
        event("startRun", 1_771_000_000_000, json!({"inputMessages": []})),
        event("callTools", 1_771_000_000_100, json!({"toolCalls": [tool]})),
        event("dreamtOfOwls", 1_771_000_000_200, json!({})),
        event(
            "completeRun",
            1_771_000_001_000,
            json!({"text": "The barn owl.", "checkpoint": checkpoint,
            "step": {"stepNumber": 1, "usage": checkpoint["usage"]}}),
        ),
    ];
    let mut test = Test::new().file("perstack/jobs/j7d2k9/checkpoints/c9f3.json", checkpoint.to_string());
    for event in &events {
        let name = format!("event-{}-1-{}.json", event["timestamp"], event["type"].as_str().unwrap());
        test = test.file(&format!("perstack/jobs/j7d2k9/runs/r4m1x8/{name}"), event.to_string());
    }
    let ran = test.run(["log", "--events"]).assert_code(0);
    assert_has(
        &ran,
        [
            "Job: j7d2k9 (completed)\nExpert: librarian\n",
            "  r4m1x8  librarian  completed  step 1  3.2k tokens  1.0 s\n",
        ],
    );
    assert_has(
        &ran,
        [
            "[Step 1] callTools               16:26:40\n  Tools: search\n",
            "[Step 1] dreamtOfOwls ",
            "  Result: The barn owl.\n",
        ],
    );
    let object = test.run(["log", "--json"]).assert_code(0).object();
    assert_eq!(object["events"], json!(events));
    assert_has(&test.run(["log", "--checkpoint", "c9", "--messages"]).assert_code(0), ["  [userMessage] Which owl?\n"]);
    fs::write(test.workspace().join("perstack/jobs/j7d2k9/runs/r4m1x8/event-1771000000100-1-callTools.json"), "{")
        .unwrap();
    test.run(["log", "--events"]).assert_code(6).snapshot("log/the-originals-jobs-are-shown-with-their-events");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let (test, _) = completed();
    for form in ["", "--json", "--pretty", "--steps"] {
        let mut command = Command::new("sh");
        // A pipe that nobody reads from any more.
        let script = "rm -f gone; mkfifo gone; exec 4<>gone 5>gone 4<&-; \"$0\" log $1 >&5; echo \"code $?\"";
        command.args(["-c", script]).arg(test.binary()).arg(form);
        let ran = test.start(command).finish().assert_code(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("code 0\n", ""), "{form}");
    }
}
