//! Experts that call experts: side by side, in depth, failing, mixed with other calls, interrupted and killed.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::answer::Call;
use crate::support::storage::read_json;
use crate::support::{Answer, Gate, Provider, Test, call};

const TEAM: &str = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                    [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Does one task.\"\n";

fn team() -> Test {
    Test::new().toml(TEAM).provider(Provider::Anthropic)
}

fn task(n: usize) -> Call {
    call(&format!("d{n}"), "worker", json!({"query": format!("Task #{n}#.")}))
}

/// The worker's answer to task `n`.
fn done(n: usize) -> Answer {
    Answer::text(&format!("Result {n}."))
        .when(move |request| request.contains(&format!("Task #{n}#.")) && is_worker(request))
}

fn is_worker(request: &crate::support::request::Request) -> bool {
    request.contains("You work.") && !request.contains("You lead.")
}

/// The lead's answers: it hands out `n` tasks in one turn, then closes.
fn lead(n: usize) -> [Answer; 2] {
    let tasks = (0..n).map(task).collect::<Vec<_>>();
    [
        Answer::calls(tasks).when(|request| request.contains("You lead.") && request.results().is_empty()),
        Answer::text("All done.").when(|request| request.contains("You lead.") && !request.results().is_empty()),
    ]
}

/// The results that the lead's model saw, in its last request.
fn results(test: &Test) -> Vec<(String, String)> {
    let requests = test.server().requests();
    requests.iter().rev().find(|request| request.contains("You lead.")).unwrap().results()
}

#[test]
fn delegates_answer_in_call_order_however_many_there_are() {
    for n in [1, 2, 8, 64] {
        let test = team();
        test.server().script(lead(n));
        test.server().script((0..n).map(done));
        assert_eq!(test.run(["run", "lead", "Go."]).assert_code(0).stdout, "All done.\n");
        let expected: Vec<(String, String)> = (0..n).map(|i| (format!("d{i}"), format!("Result {i}."))).collect();
        assert_eq!(results(&test), expected);
        // The lead's two Runs and one of each delegate; all tokens are on the job's account.
        assert_eq!(test.storage().runs().len(), n + 2);
        let job = read_json(&test.storage().jobs()[0].join("job.json"));
        assert_eq!(job["usage"]["inputTokens"], json!(100 * (n + 2)));
        assert_eq!((&job["status"], &job["totalSteps"]), (&json!("completed"), &json!(n + 3)));
    }
}

#[test]
fn as_many_delegates_work_at_the_same_time_as_the_limit_allows() {
    for (toml, variable, flag, most) in [
        ("maxParallelDelegates = 1\n", "", "--quiet", 1),
        ("maxParallelDelegates = 9\n", "3", "--quiet", 3),
        ("maxParallelDelegates = 1\n", "9", "--max-parallel-delegates=3", 3),
        ("", "", "--quiet", 8),
    ] {
        let tasks = most + 3;
        let test = team().toml(&format!("{toml}{TEAM}")).env("PERSTACK_MAX_PARALLEL_DELEGATES", variable);
        let gates: Vec<Gate> = (0..tasks).map(|_| Gate::new()).collect();
        test.server().script(lead(tasks));
        test.server().script(gates.iter().enumerate().map(|(n, gate)| done(n).delay(gate)));
        let running = test.spawn(["run", "lead", "Go.", flag]);
        for (ended, gate) in gates.iter().enumerate() {
            // The lead's request, one of each that has ended, and one of each that is at work.
            let expected = 1 + tasks.min(ended + most);
            running.wait_for_request(expected);
            assert_eq!(test.server().requests().len(), expected, "{ended} of {tasks} have ended, {most} at a time");
            gate.open();
        }
        assert_eq!(running.finish().assert_code(0).stdout, "All done.\n");
        assert_eq!(test.storage().runs().len(), tasks + 2, "all are started: {most}");
    }
}

#[test]
fn sixty_four_delegates_can_work_at_the_same_time() {
    let test = team();
    let gate = Gate::new();
    test.server().script(lead(64));
    test.server().script((0..64).map(|n| done(n).delay(&gate)));
    let running = test.spawn(["run", "lead", "Go.", "--max-parallel-delegates", "64"]);
    running.wait_for_request(65);
    gate.open();
    assert_eq!(running.finish().assert_code(0).stdout, "All done.\n");
}

#[test]
fn a_limit_on_delegates_at_the_same_time_is_refused_out_of_range() {
    for number in ["0", "1001", "-1", "\"many\""] {
        let ran = team().toml(&format!("maxParallelDelegates = {number}\n{TEAM}")).run(["check"]).assert_code(2);
        let expected = "maxParallelDelegates: expected a whole number from 1 to 1000";
        assert!(ran.stdout.contains(expected), "{number}: {}", ran.stdout);
    }
    let ran = team().env("PERSTACK_MAX_PARALLEL_DELEGATES", "1001").run(["run", "lead", "Go."]);
    ran.assert_code(2).assert_stderr(["PERSTACK_MAX_PARALLEL_DELEGATES: expected a whole number from 1 to 1000"]);
    team().toml(&format!("maxParallelDelegates = 1000\n{TEAM}")).run(["check"]).assert_code(0);
}

#[test]
fn a_delegate_sees_its_query_and_nothing_else() {
    let test = team();
    test.server().script(lead(1));
    test.server().script([done(0)]);
    let ran = test.run(["run", "lead", "A secret plan.", "--output", "jsonl"]).assert_code(0);
    let worker = test.server().requests().into_iter().find(is_worker).unwrap();
    assert!(!worker.contains("A secret plan.") && !worker.tools().contains(&"worker"));
    let ends: Vec<Value> = ran.events().into_iter().filter(|event| event["type"] == "completeRun").collect();
    let experts: Vec<&Value> = ends.iter().map(|event| &event["expertKey"]).collect();
    assert_eq!(experts, ["worker", "lead"]);
    assert_ne!(ends[0]["runId"], ends[1]["runId"]);
    let by = &ends[0]["checkpoint"]["delegatedBy"];
    assert_eq!((&by["expert"]["key"], &by["toolCallId"]), (&json!("lead"), &json!("d0")));
}

#[test]
fn a_failed_delegate_is_an_error_result_of_its_parent() {
    let test = team();
    test.server().script(lead(2));
    let refuses = Answer::status(400).message("no such thing").when(|r| r.contains("Task #0#.") && is_worker(r));
    test.server().script([refuses, done(1)]);
    assert_eq!(test.run(["run", "lead", "Go."]).assert_code(0).stdout, "All done.\n");
    let results = results(&test);
    assert!(results[0].1.contains("Delegation to worker failed: no such thing"), "{results:?}");
    assert_eq!(results[1].1, "Result 1.");
}

#[test]
fn delegation_goes_deep_and_is_bounded() {
    let toml = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"lead\"]\n";
    let test = Test::new().toml(toml).provider(Provider::Anthropic);
    // The coordinator and ten levels below it delegate; the last gets the result that it goes no deeper.
    let down =
        (0..11).map(|n| Answer::calls([call(&format!("c{n}"), "lead", json!({"query": format!("Level {n}.")}))]));
    test.server().script(down);
    test.server().script((0..11).map(|n| Answer::text(&format!("Up {n}."))));
    assert_eq!(test.run(["run", "lead", "Go."]).assert_code(0).stdout, "Up 10.\n");
    let requests = test.server().requests();
    assert!(requests[11].results()[0].1.contains("10 levels deep"), "{:?}", requests[11].results());
    assert_eq!(requests[12].results()[0].1, "Up 0.");
}

#[test]
fn a_turn_that_mixes_all_kinds_of_calls_answers_them_in_order() {
    let toml = format!(
        "{TEAM}[experts.lead.skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \"npx\"\n\
         packageName = \"@perstack/base\"\n[experts.lead.skills.person]\ntype = \"interactiveSkill\"\n\
         [experts.lead.skills.person.tools.ask]\ninputJsonSchema = '{{\"type\":\"object\"}}'\n"
    );
    let test = Test::new().toml(&toml).provider(Provider::Anthropic).file("a.txt", "here");
    test.server().script([
        Answer::calls([
            call("q", "ask", json!({"question": "Which?"})),
            call("d0", "worker", json!({"query": "Task #0#."})),
            call("r", "readTextFile", json!({"path": "a.txt"})),
        ])
        .when(|request| request.contains("You lead.")),
        done(0),
    ]);
    let ran = test.run(["run", "lead", "Go.", "--output", "jsonl"]).assert_code(4);
    let types: Vec<String> = ran.state_events();
    let expected = [
        "startRun",
        "startGeneration",
        "callTools",
        "stopRunByDelegate",
        "startRun",
        "startGeneration",
        "completeRun",
        "resumeFromStop",
        "stopRunByInteractiveTool",
    ];
    assert_eq!(types, expected);
    test.server().script([Answer::text("Thank you.")]);
    assert_eq!(test.run(["resume", "latest", "That one."]).assert_code(0).stdout, "Thank you.\n");
    let results = results(&test);
    let ids: Vec<&str> = results.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["r", "d0", "q"]);
    assert_eq!((results[1].1.as_str(), results[2].1.as_str()), ("Result 0.", "That one."));
}

#[test]
fn a_checkpoint_that_waits_for_delegates_refers_to_its_log_until_the_job_stops() {
    let test = team().may_leave_answers();
    let gate = Gate::new();
    test.server().script(lead(1));
    test.server().script([done(0).delay(&gate)]);
    let running = test.spawn(["run", "lead", "Go."]);
    running.wait_for_request(2);
    let waiting = test.storage().last_checkpoint();
    let json = read_json(&waiting);
    assert_eq!(json["status"], "stoppedByDelegate");
    assert!(json["log"].is_object() && json["messages"].is_null(), "{json}");
    running.signal(Signal::INT);
    running.finish().assert_code(130);
    gate.open();
    // Nothing goes on behind it any more: it can be gone on from elsewhere.
    let json = read_json(&waiting);
    assert!(json["log"].is_object() && json["messages"].is_array(), "{json}");
    let away = team().file("moved.json", std::fs::read(&waiting).unwrap());
    away.server().script([Answer::text("Without them.")]);
    assert_eq!(away.run(["resume", "moved.json"]).assert_code(0).stdout, "Without them.\n");
}

#[test]
fn delegations_in_turn_write_no_history_again() {
    const TURNS: usize = 12;
    let test = team();
    let filler = "owl ".repeat(500);
    for n in 0..TURNS {
        let asks = Answer::calls([task(n)]).and_text(&filler);
        test.server()
            .script([asks.when(move |request| request.contains("You lead.") && request.results().len() == n), done(n)]);
    }
    test.server().script([
        Answer::text("All done.").when(|request| request.contains("You lead.") && request.results().len() == TURNS)
    ]);
    assert_eq!(test.run(["run", "lead", "Go."]).assert_code(0).stdout, "All done.\n");
    let waiting = |file: &std::path::PathBuf| read_json(file)["status"] == "stoppedByDelegate";
    let files: Vec<_> = test.storage().checkpoints().into_iter().filter(waiting).collect();
    assert_eq!(files.len(), TURNS);
    for file in files {
        assert!(std::fs::metadata(&file).unwrap().len() < 2000, "{}", file.display());
    }
    assert_eq!(results(&test).len(), TURNS);
    // Each refers to a log whose beginning is another's end.
    test.run(["log", "--events"]).assert_code(0);
    let last = test.storage().checkpoints().into_iter().rev().find(waiting).unwrap();
    test.server().script([Answer::text("Otherwise.").when(|request| request.contains("Stop."))]);
    let id = crate::support::storage::checkpoint_id(&last).to_owned();
    assert_eq!(test.run(["resume", &id, "Stop."]).assert_code(0).stdout, "Otherwise.\n");
}

/// Waits until `n` delegates have completed on disk.
fn wait_for_completed(test: &Test, n: usize) {
    let limit = Instant::now() + Duration::from_mins(1);
    loop {
        let files = test.storage().checkpoints();
        let completed = files.iter().filter(|file| {
            // A file that is just being renamed is there the next time.
            std::fs::read(file).is_ok_and(|bytes| {
                serde_json::from_slice::<Value>(&bytes).is_ok_and(|checkpoint| checkpoint["status"] == "completed")
            })
        });
        if completed.count() >= n {
            return;
        }
        assert!(Instant::now() < limit, "{n} delegates were expected to complete");
        std::thread::yield_now();
    }
}

#[test]
fn delegates_that_had_finished_are_not_run_again() {
    for signal in [Signal::KILL, Signal::INT] {
        let test = team();
        let gate = Gate::new();
        test.server().script(lead(8));
        test.server().script((0..4).map(done));
        test.server().script((4..8).map(|n| done(n).delay(&gate)));
        let running = test.spawn(["run", "lead", "Go."]);
        running.wait_for_request(9);
        wait_for_completed(&test, 4);
        running.signal(signal);
        running.finish();
        gate.open();
        let before = test.server().requests().len();
        test.server().script((4..8).map(done));
        assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "All done.\n", "{signal:?}");
        let again: Vec<_> = test.server().requests().split_off(before);
        assert_eq!(again.iter().filter(|request| is_worker(request)).count(), 4, "{signal:?}");
        let expected: Vec<(String, String)> = (0..8).map(|i| (format!("d{i}"), format!("Result {i}."))).collect();
        assert_eq!(results(&test), expected, "{signal:?}");
    }
}
