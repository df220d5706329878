//! Tests of Runs that begin with a checkpoint of a Run which was read before them.

use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::fact::ParentCheckpoint;
use crate::store::JobStore;

fn job_in(store: &Store) -> JobStore {
    let job = json!({"id": "j", "status": "running", "coordinatorExpertKey": "owl", "totalSteps": 0, "startedAt": 1,
        "usage": crate::usage::Usage::default()});
    store.create_job(&serde_json::from_value(job).unwrap()).unwrap()
}

/// Stores a Run with these facts.
fn add_run(job: &JobStore, id: &str, facts: &[Value]) {
    let setting = json!({"model": "m", "providerConfig": {"providerName": "anthropic"}, "jobId": "j", "runId": id,
        "expertKey": "owl", "experts": {}, "reasoningBudget": "low", "maxSteps": 9, "maxRetries": 5,
        "timeout": 300_000, "startedAt": 1, "updatedAt": 1});
    let mut run = job.create_run(&serde_json::from_value(setting).unwrap()).unwrap();
    for fact in facts {
        run.append(&serde_json::from_value(fact.clone()).unwrap()).unwrap();
    }
}

fn resumed(run: &str, parent: &ParentCheckpoint, at: u64) -> Value {
    json!({"at": at, "seed": 1, "fact": "resumed", "resumption": {"runId": run, "parent": parent,
        "surroundings": {"tools": [], "limits": {"maxSteps": 9, "maxRetries": 1}}}})
}

/// The facts of a Run that reads a file in its first step, and answers in its second.
fn reading() -> [Value; 4] {
    let usage = crate::usage::Usage::default();
    let generated = |at: u64, part: Value, finish: &str| {
        json!({"at": at, "seed": at, "fact": "generated",
            "generation": {"parts": [part], "finish": finish, "usage": usage, "contextTokens": 1}})
    };
    let call =
        json!({"type": "toolCall", "id": "t", "name": "readTextFile", "arguments": {"valid": {"path": "owls.txt"}}});
    [
        json!({"at": 1, "seed": 1, "fact": "started", "input": [{"type": "textPart", "id": "", "text": "Which owls?"}],
            "spec": {"jobId": "j", "runId": "r", "expert": {"key": "owl", "name": "owl", "version": "1.0.0"},
                "instruction": "Find.", "firstStep": 1, "surroundings": {
                    "tools": [{"name": "readTextFile", "skillName": "@perstack/base", "kind": "mcp"}],
                    "limits": {"maxSteps": 9, "maxRetries": 1}}}}),
        generated(2, call, "toolCalls"),
        json!({"at": 3, "seed": 3, "fact": "toolReturned", "result": {"id": "t", "skillName": "@perstack/base",
            "toolName": "readTextFile", "result": [{"type": "textPart", "id": "", "text": "Tawny."}]}}),
        generated(4, json!({"type": "text", "text": "One."}), "stop"),
    ]
}

#[test]
fn a_run_that_continues_one_just_read_begins_with_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let parent = ParentCheckpoint { run_id: "r".parse().unwrap(), checkpoint_id: "c".parse().unwrap() };
    add_run(&job_in(&store), "s", &[resumed("s", &parent, 1)]);
    let (job, run) = ("j".parse().unwrap(), "s".parse().unwrap());
    // The log of the Run before is not looked at: it is not even there.
    let expert = serde_json::from_value(json!({"key": "owl", "name": "owl", "version": "1.0.0"})).unwrap();
    let mut head = CheckpointHead::fresh("c".parse().unwrap(), "j".parse().unwrap(), "r".parse().unwrap(), expert);
    head.status = Status::StoppedByDelegate;
    let mut ends = RunEnds::default();
    ends.insert(Checkpoint { head, messages: Vec::new() });
    let reader = RunReader::open(&store, &job, &run, &mut ends);
    assert_eq!((reader.due(), ends.len(), reader.problems().len()), (Some(1), 0, 0));
    assert_eq!(RunReader::open(&store, &job, &run, &mut ends).problems().len(), 1, "nor anything else of it");
}

#[test]
fn runs_that_fork_from_one_just_read_begin_with_its_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let (job, run): (JobId, RunId) = ("j".parse().unwrap(), "r".parse().unwrap());
    let job_store = job_in(&store);
    let facts = reading();
    add_run(&job_store, "r", &facts[..3]);
    let last_save = || recorded_run::read_run(&store, &job, &run).unwrap().unwrap().last_save.unwrap().head;
    let first_step = ParentCheckpoint { run_id: run.clone(), checkpoint_id: last_save().id };
    fs::remove_dir_all(store.layout().run(&job, &run)).unwrap();
    add_run(&job_store, "r", &facts);
    let end = ParentCheckpoint { run_id: run.clone(), checkpoint_id: last_save().id };
    assert_ne!(first_step, end);
    let read_alone = [&first_step, &first_step, &end].map(|at| recorded_run::read_parent(&store, &job, at).unwrap());

    let mut ends = RunEnds::wanted_by([&first_step, &first_step, &end].into_iter());
    let mut reader = RunReader::open(&store, &job, &run, &mut ends);
    while reader.due().is_some() {
        assert!(reader.visit(&mut ends, &mut |_| ControlFlow::Continue(())).is_continue());
    }
    reader.hand_over(&mut ends);
    assert_eq!(ends.len(), 2);
    let kept = [&first_step, &first_step, &end].map(|at| ends.take(&at.checkpoint_id).unwrap());
    assert_eq!((kept, ends.len()), (read_alone, 0));

    // Each is read without a look at the Run before, which is not even there.
    let mut ends = RunEnds::wanted_by([&first_step].into_iter());
    let mut reader = RunReader::open(&store, &job, &run, &mut ends);
    while reader.due().is_some() {
        let _ = reader.visit(&mut ends, &mut |_| ControlFlow::Continue(()));
    }
    fs::remove_dir_all(store.layout().run(&job, &run)).unwrap();
    add_run(&job_store, "s", &[resumed("s", &first_step, 9)]);
    let fork = "s".parse().unwrap();
    let reader = RunReader::open(&store, &job, &fork, &mut ends);
    assert_eq!((reader.due(), ends.len(), reader.problems().len()), (Some(9), 0, 0));
    assert_eq!(RunReader::open(&store, &job, &fork, &mut ends).problems().len(), 1);
}

/// A Run of so many steps with a call each, and an answer.
fn long_run(steps: u64) -> Vec<Value> {
    let [started, called, returned, answered] = reading();
    let mut facts = vec![started];
    for step in 1..=steps {
        let (mut called, mut returned) = (called.clone(), returned.clone());
        let id = json!(format!("t{step}"));
        called["generation"]["parts"][0]["id"] = id.clone();
        returned["result"]["id"] = id;
        returned["accesses"] = json!([{"at": 10 * step, "skillName": "@perstack/base", "domain": "example.com",
            "port": 443, "count": 1}]);
        for (fact, at) in [(&mut called, 10 * step), (&mut returned, 10 * step + 1)] {
            fact["at"] = json!(at);
            fact["seed"] = json!(at);
            facts.push(fact.clone());
        }
    }
    let mut answered = answered;
    answered["at"] = json!(10 * steps + 10);
    facts.push(answered);
    facts
}

/// The events that are visited, those that are only counted before one of them, and the tool calls in all.
fn visited(store: &Store, counted_to: u64) -> (Vec<String>, u64, u64) {
    let (job, run): (JobId, RunId) = ("j".parse().unwrap(), "r".parse().unwrap());
    let mut reader = RunReader::open_near_end(store, &job, &run, &mut RunEnds::default(), counted_to);
    let (mut events, mut passed, mut calls) = (Vec::new(), 0, 0);
    let mut visit = |item: HistoryItem<'_>| {
        match item {
            HistoryItem::Event(event) => {
                events.push(serde_json::to_string(&event.to_outline().unwrap()).unwrap());
                calls += event.tool_call_count() as u64;
            }
            HistoryItem::Passed { events, tool_calls, .. } => {
                passed += events;
                calls += tool_calls;
            }
            HistoryItem::End { .. } => {}
        }
        ControlFlow::Continue(())
    };
    while reader.due().is_some() {
        assert!(reader.visit(&mut RunEnds::default(), &mut visit).is_continue());
    }
    assert!(reader.visit_passed(&mut visit).is_continue());
    assert_eq!(reader.problems().len(), 0);
    (events, passed, calls)
}

#[test]
fn events_that_are_only_counted_are_as_many_and_those_behind_them_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let steps = 6;
    add_run(&job_in(&store), "r", &long_run(steps));
    let (all, passed, calls) = visited(&store, 0);
    assert_eq!((passed, calls), (0, steps));
    for counted_to in 1..steps + 4 {
        let (events, passed, calls) = visited(&store, counted_to);
        assert_eq!((events.len() as u64 + passed, calls), (all.len() as u64, steps), "{counted_to}");
        // But for those of the first fact, and of the step in which events are made again.
        let tail = all.iter().rev().zip(events.iter().rev()).take_while(|(one, other)| one == other).count();
        let is_whole = |step: &u64| *step > counted_to;
        let whole = (1..=steps + 1).filter(is_whole).count();
        assert!(tail >= whole && (passed > 0) == (counted_to > 1), "{counted_to}: {tail} of {whole}, {passed} passed");
    }
}
