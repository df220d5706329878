//! Recordings of jobs that something outside stopped, and that were continued into the same file: a replay stops where the
//! job did, and goes on to its end.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::recovery::append;
use crate::support::process::Running;
use crate::support::signpost::Signpost;
use crate::support::tool_server::{librarian, stdio_skill};
use crate::support::{Answer, Gate, Provider, Test, call};

/// Replays the recording twice where there is nothing else, and compares it with the configuration; `parts` is the number of
/// its parts.
#[track_caller]
fn assert_replays(test: &Test, parts: usize, answer: &str) {
    let whole = fs::read_to_string(test.workspace().join("c.cassette")).unwrap();
    assert_eq!(whole.matches("{\"record\":\"start\"").count(), parts, "{whole}");
    let place = Test::new().file("c.cassette", &whole);
    let replays = [(); 2].map(|()| place.run(["replay", "c.cassette", "--output", "jsonl"]).assert_code(0));
    assert_eq!(replays[0].stdout, replays[1].stdout);
    let completed = replays[0].events().into_iter().rfind(|event| event["type"] == "completeRun");
    assert_eq!(completed.expect("a completed run")["text"], answer);
    place.run(["replay", "c.cassette", "--storage", "kept"]).assert_code(0);
    place.run(["job", "verify", "latest", "--storage", "kept"]).assert_code(0);
    let asked = test.server().requests().len();
    test.run(["replay", "c.cassette", "--against", "perstack.toml"]).assert_code(0);
    assert_eq!(test.server().requests().len(), asked);
}

fn resume(test: &Test, answers: impl IntoIterator<Item = Answer>) {
    test.server().script(answers);
    test.run(["resume", "latest", "--record", "c.cassette"]).assert_code(0);
}

fn record(test: &Test) -> Running {
    test.spawn(["run", "librarian", "Count owls.", "--record", "c.cassette", "--job-id", "nest"])
}

/// Ends a program as `signal` does.
fn end(running: Running, signal: Signal) {
    running.signal(signal);
    let ran = running.finish();
    assert!(ran.code == Some(130) || ran.signal == Some(Signal::KILL.as_raw()), "{}", ran.stderr);
}

/// A shell's call.
fn shell(id: &str, script: &str) -> crate::support::answer::Call {
    call(id, "exec", json!({"command": "sh", "args": ["-c", script], "env": {}, "cwd": "."}))
}

#[test]
fn a_job_that_was_stopped_while_it_waited_for_its_model() {
    for signal in [Signal::KILL, Signal::INT] {
        let gate = Gate::new();
        let waiting = [append("c1", "a"), append("c2", "b"), Answer::text("Never.").delay(&gate)];
        let test = Test::with(Provider::Anthropic).file("owls.txt", "").answers(waiting).may_leave_answers();
        let running = record(&test);
        running.wait_for_request(3);
        end(running, signal);
        gate.open();
        resume(&test, [append("c3", "c"), Answer::text("Three.")]);
        assert_replays(&test, 2, "Three.");
    }
}

#[test]
fn a_job_with_snapshots_that_its_replay_does_not_take() {
    for signal in [Signal::KILL, Signal::INT] {
        let gate = Gate::new();
        let waiting = [append("c1", "a"), append("c2", "b"), Answer::text("Never.").delay(&gate)];
        let test = Test::with(Provider::Anthropic).file("owls.txt", "").answers(waiting).may_leave_answers();
        let test = test.env("PERSTACK_SNAPSHOT", "every");
        let running = record(&test);
        running.wait_for_request(3);
        end(running, signal);
        gate.open();
        resume(&test, [append("c3", "c"), Answer::text("Three.")]);
        assert_replays(&test, 2, "Three.");
        test.run(["job", "verify", "nest", "--replay", "c.cassette"]).assert_code(0);
    }
}

#[test]
fn a_job_that_was_stopped_twice_and_begun_with_its_first_request() {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic).file("owls.txt", "").may_leave_answers();
    test.server().script([Answer::text("Never.").delay(&gate)]);
    let running = record(&test);
    running.wait_for_request(1);
    end(running, Signal::KILL);
    test.server().script([append("c1", "a"), Answer::text("Never.").delay(&gate)]);
    let running = test.spawn(["resume", "nest", "--record", "c.cassette"]);
    running.wait_for_request(3);
    end(running, Signal::INT);
    gate.open();
    resume(&test, [Answer::text("One.")]);
    assert_replays(&test, 3, "One.");
}

#[test]
fn a_job_that_was_stopped_while_one_of_two_tools_was_at_work() {
    for signal in [Signal::KILL, Signal::INT] {
        let test = Test::with(Provider::Anthropic).file("owls.txt", "").may_leave_answers();
        let sign = Signpost::at(&test.workspace(), "sign");
        let quick = call("c1", "appendTextFile", json!({"path": "owls.txt", "text": "a"}));
        test.server().script([Answer::calls([shell("c2", "echo > sign; exec sleep 600"), quick])]);
        let running = record(&test);
        sign.wait();
        let log = || fs::read_to_string(test.storage().runs()[0].join("log.jsonl")).unwrap_or_default();
        running.poll(Duration::from_millis(1), || log().contains("toolReturned"));
        end(running, signal);
        resume(&test, [Answer::text("One.")]);
        assert_replays(&test, 2, "One.");
    }
}

#[test]
fn a_job_whose_time_was_up() {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic).file("owls.txt", "").may_leave_answers();
    test.server().script([append("c1", "a"), Answer::text("Never.").delay(&gate)]);
    test.run(["run", "librarian", "Count owls.", "--record", "c.cassette", "--max-duration", "3s"]).assert_code(5);
    gate.open();
    test.server().script([Answer::text("One.")]);
    test.run(["resume", "latest", "--record", "c.cassette", "--max-duration", "10m"]).assert_code(0);
    assert_replays(&test, 2, "One.");
}

const TEAM: &str = "[experts.librarian]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                    [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Works.\"\n";

#[test]
fn a_job_that_was_stopped_among_its_delegates() {
    for signal in [Signal::KILL, Signal::INT] {
        let gate = Gate::new();
        let test = Test::new().toml(TEAM).provider(Provider::Anthropic).may_leave_answers();
        let worker = |name: &str, answer: Answer| {
            let query = format!("Task {name}.");
            answer.when(move |request| request.contains(&query) && request.contains("You work."))
        };
        let delegate = |name: &str| call(name, "worker", json!({"query": format!("Task {name}.")}));
        let lead = |results: usize, answer: Answer| {
            answer.when(move |request| request.contains("You lead.") && request.results().len() == results)
        };
        // The first is done, the second waits, the third has not begun.
        test.server().script([
            lead(0, Answer::calls([delegate("d1"), delegate("d2"), delegate("d3")])),
            worker("d1", Answer::text("One.")),
            worker("d2", Answer::calls([call("t1", "todo", json!({"newTodos": ["Work"]}))])),
            worker("d2", Answer::text("Never.").delay(&gate)),
        ]);
        let running =
            test.spawn(["run", "librarian", "Go.", "--record", "c.cassette", "--max-parallel-delegates", "1"]);
        running.wait_for_request(4);
        end(running, signal);
        gate.open();
        resume(
            &test,
            [worker("d2", Answer::text("Two.")), worker("d3", Answer::text("Three.")), lead(3, Answer::text("All."))],
        );
        assert_replays(&test, 2, "All.");
    }
}

#[test]
fn delegates_that_worked_side_by_side_stop_where_each_was() {
    for signal in [Signal::KILL, Signal::INT] {
        let gate = Gate::new();
        let test = Test::new().toml(TEAM).provider(Provider::Anthropic).may_leave_answers();
        let worker = |name: &str, steps: usize, answer: Answer| {
            let query = format!("Task {name}.");
            answer.when(move |request| {
                request.contains(&query) && request.contains("You work.") && request.results().len() == steps
            })
        };
        let todo = |id: &str| Answer::calls([call(id, "todo", json!({"newTodos": ["Work"]}))]);
        let delegate = |name: &str| call(name, "worker", json!({"query": format!("Task {name}.")}));
        let lead = |results: usize, answer: Answer| {
            answer.when(move |request| request.contains("You lead.") && request.results().len() == results)
        };
        test.server().script([
            lead(0, Answer::calls([delegate("d1"), delegate("d2")])),
            worker("d1", 0, todo("t1")),
            worker("d1", 1, todo("t2")),
            worker("d2", 0, todo("t3")),
            worker("d1", 2, Answer::text("Never.").delay(&gate)),
            worker("d2", 1, Answer::text("Never.").delay(&gate)),
        ]);
        let running = test.spawn(["run", "librarian", "Go.", "--record", "c.cassette"]);
        running.wait_for_request(6);
        end(running, signal);
        gate.open();
        resume(
            &test,
            [
                worker("d1", 2, Answer::text("One.")),
                worker("d2", 1, Answer::text("Two.")),
                lead(2, Answer::text("Both.")),
            ],
        );
        assert_replays(&test, 2, "Both.");
    }
}

#[test]
fn a_stopped_job_that_was_not_continued_stops_there_again() {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic).file("owls.txt", "").may_leave_answers();
    test.server().script([append("c1", "a"), Answer::text("Never.").delay(&gate)]);
    let running = record(&test);
    running.wait_for_request(2);
    end(running, Signal::INT);
    gate.open();
    let whole = fs::read_to_string(test.workspace().join("c.cassette")).unwrap();
    let ran = Test::new().file("c.cassette", whole).run(["replay", "c.cassette"]).assert_code(1);
    assert!(ran.stderr.contains("replayed: stoppedByCancellation, 2 steps"), "{}", ran.stderr);
}

#[test]
fn a_job_whose_server_had_changed_its_tools_before_it_was_stopped() {
    for signal in [Signal::KILL, Signal::INT] {
        let (relisted, gate) = (Gate::new(), Gate::new());
        let test = librarian(&stdio_skill("owls", ["rough", "list=growing", "relisted=relisted"])).may_leave_answers();
        test.server().script([
            Answer::calls([call("c1", "grow", json!({}))]),
            Answer::calls([call("c2", "echo", json!({"text": "a"}))]).delay(&relisted),
            // By the answer to this call, the list that came before it over the same pipe is known.
            Answer::calls([call("c3", "echo", json!({"text": "b"}))]),
            Answer::calls([call("c4", "grown", json!({"text": "c"}))]),
            Answer::text("Never.").delay(&gate),
        ]);
        let sign = Signpost::at(&test.workspace(), "relisted");
        let running = record(&test);
        running.wait_for_request(2);
        sign.wait();
        relisted.open();
        running.wait_for_request(5);
        end(running, signal);
        gate.open();
        assert!(test.server().requests()[4].tools().contains(&"grown"));
        resume(&test, [Answer::text("One.")]);
        let whole = fs::read_to_string(test.workspace().join("c.cassette")).unwrap();
        assert_eq!(whole.matches("{\"record\":\"change\"").count(), 1, "{whole}");
        assert_replays(&test, 2, "One.");
    }
}
