//! The storage as a whole; each file's own behaviour is tested beside it.

use crate::hint::ErrorHint as _;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::checkpoint::{Checkpoint, CheckpointHead};
use crate::cost::Spend;
use crate::fact::FactBody;
use crate::job::JobStatus;
use crate::message::Message;
use crate::usage::Usage;

/// A fact that differs from others by its time.
pub(super) fn fact(at: u64) -> Fact {
    let failed = json!({"at": at, "seed": u64::MAX, "fact": "generationFailed", "failure": {
        "kind": "provider", "message": "överloaded\n", "isRetryable": true}});
    serde_json::from_value(failed).unwrap()
}

/// Facts at 1, 2, …
pub(super) fn facts(count: u64) -> Vec<Fact> {
    (1..=count).map(fact).collect()
}

fn started(run: &str, delegated: bool) -> Fact {
    let mut fact = json!({"at": 1, "seed": 1, "fact": "started", "input": [], "spec": {
        "jobId": "j1", "runId": run, "instruction": "i", "firstStep": 1, "budgets": {"maxTokens": 7},
        "expert": {"key": "librarian", "name": "librarian", "version": "1.0.0"},
        "surroundings": {"tools": [], "limits": {"maxSteps": 3, "maxRetries": 1}}}});
    if delegated {
        fact["spec"]["delegatedBy"] = json!({"expert": {"key": "boss", "name": "boss", "version": "1.0.0"},
            "toolCallId": "t", "toolName": "librarian", "checkpointId": "c", "runId": "r"});
    }
    serde_json::from_value(fact).unwrap()
}

fn resumed(run: &str, parent: &str) -> Fact {
    let fact = json!({"at": 1, "seed": 1, "fact": "resumed", "resumption": {
        "runId": run, "parent": {"runId": parent, "checkpointId": "c"},
        "surroundings": {"tools": [], "limits": {"maxSteps": 3, "maxRetries": 1}}}});
    serde_json::from_value(fact).unwrap()
}

pub(super) fn job(id: &str, started_at: u64) -> Job {
    let usage = Usage::default();
    Job {
        format_version: 1,
        id: id.parse().unwrap(),
        status: JobStatus::Running,
        coordinator_expert_key: "librarian".parse().unwrap(),
        total_steps: 0,
        max_steps: None,
        usage,
        spend: Spend::default(),
        started_at,
        finished_at: None,
        last_run_at: None,
        ends: BTreeMap::new(),
        replayed: false,
        workspace_from: None,
        budget: crate::job::JobBudget::default(),
    }
}

pub(super) fn setting(job: &str, run: &str, started_at: u64) -> RunSetting {
    serde_json::from_value(json!({
        "formatVersion": 1, "model": "m", "providerConfig": {"providerName": "anthropic"}, "jobId": job, "runId": run,
        "expertKey": "librarian", "experts": {}, "reasoningBudget": "low", "maxSteps": 100, "maxRetries": 5,
        "timeout": 300_000, "startedAt": started_at, "updatedAt": started_at}))
    .unwrap()
}

/// The example of a stored checkpoint in the original's format.
fn original(id: &str, step: u64) -> Value {
    json!({"id": id, "jobId": "j1", "runId": "r1", "status": "stoppedByInteractiveTool", "stepNumber": step,
        "messages": [
            {"id": "m1", "type": "instructionMessage",
             "contents": [{"id": "p1", "type": "textPart", "text": "…"}], "cache": true},
            {"id": "m2", "type": "userMessage", "contents": [{"id": "p2", "type": "textPart", "text": "Which owl?"}]}],
        "expert": {"key": "librarian", "name": "librarian", "version": "1.0.0"},
        "usage": {"inputTokens": 3000, "outputTokens": 200, "reasoningTokens": 0, "totalTokens": 3200,
                  "cachedInputTokens": 0},
        "contextWindow": 200_000, "contextWindowUsage": 0.016, "unknownToUs": {"kept": false},
        "pendingToolCalls": [{"id": "tc3", "skillName": "ask", "toolName": "askUser",
                              "args": {"question": "Which owl?"}}], "retryCount": 0})
}

pub(super) fn head(run: &str, id: &str, step: u64) -> CheckpointHead {
    let mut head: CheckpointHead = serde_json::from_value(original(id, step)).unwrap();
    head.format_version = 1;
    head.run_id = run.parse().unwrap();
    head
}

pub(super) fn messages() -> Vec<Message> {
    serde_json::from_value(original("c1", 1)["messages"].clone()).unwrap()
}

/// The jobs of which something can be read, in the order of lists.
fn jobs(world: &World) -> Vec<Job> {
    world.store.job_times().unwrap().iter().filter_map(|times| world.store.job(&times.id).ok()).collect()
}

pub(super) struct World {
    folder: TempDir,
    pub(super) store: Store,
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().canonicalize().unwrap().join("perstack"));
        Self { folder, store }
    }

    /// A Run with one fact and these mid-run checkpoints.
    fn run(job: &JobStore, id: &str, started_at: u64, first: &Fact, checkpoints: &[(u64, &str)]) -> RunStore {
        let mut run = job.create_run(&setting(job.id().as_str(), id, started_at)).unwrap();
        run.append(first).unwrap();
        for (step, checkpoint) in checkpoints {
            run.write_checkpoint_by_log(&head(id, checkpoint, *step), run.position()).unwrap();
        }
        run
    }

    fn found(&self, target: &str) -> Result<(String, Option<String>), String> {
        match self.store.find(target) {
            Ok(Found::Run { run, checkpoint, .. }) => {
                Ok((format!("run {run}"), checkpoint.map(|entry| entry.id.to_string())))
            }
            Ok(Found::Checkpoint(entry)) => Ok(("checkpoint".to_owned(), Some(entry.id.to_string()))),
            Ok(Found::File(path)) => Ok((format!("file {}", path.display()), None)),
            Err(error) => Err(error.with_hint()),
        }
    }

    fn write_original(&self, job: &str, id: &str, step: u64) -> PathBuf {
        let folder = self.store.layout().original_checkpoints(&job.parse().unwrap());
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{id}.json"));
        fs::write(&path, original(id, step).to_string()).unwrap();
        path
    }
}

#[test]
fn a_run_is_read_back_as_it_was_written() {
    let world = World::new();
    let job_store = world.store.create_job(&job("j1", 1)).unwrap();
    let mut run = job_store.create_run(&setting("j1", "r1", 1)).unwrap();
    for fact in facts(2) {
        run.append(&fact).unwrap();
    }
    let at_two = run.position();
    run.append(&fact(3)).unwrap();
    let mid = run.write_checkpoint_by_log(&head("r1", "c1", 1), at_two.clone()).unwrap();
    let (flush, last) = run.final_checkpoint(&head("r1", "c2", 2), &messages(), &setting("j1", "r1", 1)).unwrap();
    flush.perform().unwrap();

    assert_eq!(world.store.read_facts(&mid.job, run.id()).unwrap(), facts(3));
    assert_eq!(run.setting().unwrap(), setting("j1", "r1", 1));
    let body = CheckpointBody::Log(at_two.clone());
    let stored = StoredCheckpoint { head: head("r1", "c1", 1), body, log_end: None, setting: None };
    assert_eq!(world.store.read_checkpoint(&mid.path).unwrap(), stored);
    assert_eq!(fs::read_to_string(&mid.path).unwrap().lines().count(), 1);
    let mut log = world.store.open_log(&mid.job, run.id()).unwrap();
    let before: Vec<Fact> = std::iter::from_fn(|| log.next_before(&at_two).unwrap()).collect();
    assert_eq!(before, facts(2));
    let body = CheckpointBody::Inline(messages());
    let stored = StoredCheckpoint {
        head: head("r1", "c2", 2),
        body,
        log_end: Some(run.position()),
        setting: Some(setting("j1", "r1", 1)),
    };
    assert_eq!(world.store.read_checkpoint(&last.path).unwrap(), stored);
    let whole: Checkpoint = serde_json::from_slice(&fs::read(&last.path).unwrap()).unwrap();
    assert_eq!(whole, Checkpoint { head: head("r1", "c2", 2), messages: messages() });
    assert_eq!(world.store.checkpoints(&mid.job).unwrap(), [mid, last]);
}

#[test]
fn the_checkpoint_of_a_run_that_waited_is_made_whole_once() {
    let world = World::new();
    let job_store = world.store.create_job(&job("j1", 1)).unwrap();
    let run = World::run(&job_store, "r1", 1, &fact(1), &[(1, "c1")]);
    let entry = world.store.newest_checkpoint(job_store.id(), run.id()).unwrap().unwrap();
    let checkpoint = Checkpoint { head: head("r1", "c1", 1), messages: messages() };
    job_store.complete_checkpoint(&checkpoint).unwrap();
    let stored = world.store.read_checkpoint(&entry.path).unwrap();
    assert_eq!((stored.head, stored.body), (checkpoint.head.clone(), CheckpointBody::Inline(messages())));
    assert_eq!(stored.setting, Some(setting("j1", "r1", 1)));
    job_store.complete_checkpoint(&Checkpoint { messages: Vec::new(), ..checkpoint }).unwrap();
    assert_eq!(world.store.read_checkpoint(&entry.path).unwrap().body, CheckpointBody::Inline(messages()));
}

#[test]
fn a_damaged_part_of_a_checkpoint_is_named() {
    let world = World::new();
    let job_store = world.store.create_job(&job("j1", 1)).unwrap();
    let _run = World::run(&job_store, "r1", 1, &fact(1), &[(1, "c1")]);
    let [entry] = &world.store.checkpoints(job_store.id()).unwrap()[..] else { panic!("one") };
    let whole = fs::read_to_string(&entry.path).unwrap();
    for (from, to, expected) in [
        ("\"facts\":1", "\"facts\":true", "is damaged: its \"log\" cannot be read (invalid type: boolean `true`"),
        ("\"log\":", "\"block\":", "is damaged: it has neither messages nor a log"),
        ("\"stepNumber\":1", "\"stepNumber\":-1", "is damaged: it cannot be read ("),
        ("\"stepNumber\":1", "\"stepNumber\"", "is damaged: it is no JSON object ("),
    ] {
        fs::write(&entry.path, whole.replacen(from, to, 1)).unwrap();
        let error = world.store.read_checkpoint(&entry.path).unwrap_err();
        assert!(error.is_damaged() && error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn the_originals_checkpoints_are_read() {
    let world = World::new();
    let path = world.write_original("j1", "c9f3", 4);
    let mut expected = head("r1", "c9f3", 4);
    expected.format_version = 0;
    let body = CheckpointBody::Inline(messages());
    let stored = world.store.read_checkpoint(&path).unwrap();
    assert_eq!(stored, StoredCheckpoint { head: expected, body, log_end: None, setting: None });
    assert_eq!(world.found("c9f3"), Ok(("checkpoint".to_owned(), Some("c9f3".to_owned()))));
    assert_eq!(world.found("j1"), world.found("c9f3"));
    let rebuilt = world.store.job(&"j1".parse().unwrap()).unwrap();
    assert_eq!((rebuilt.status, rebuilt.total_steps), (JobStatus::StoppedByInteractiveTool, 4));
}

#[test]
fn a_newer_checkpoint_is_refused_and_a_damaged_one_points_at_the_newest_good_one() {
    let world = World::new();
    let job_store = world.store.create_job(&job("j1", 1)).unwrap();
    let _run = World::run(&job_store, "r1", 1, &fact(1), &[(1, "c1"), (2, "c2"), (3, "c3")]);
    let [first, second, third] = &world.store.checkpoints(job_store.id()).unwrap()[..] else { panic!("three") };
    fs::write(&third.path, "").unwrap();
    let torn = fs::read_to_string(&second.path).unwrap();
    fs::write(&second.path, &torn[..torn.len() / 2]).unwrap();
    let error = world.store.read_checkpoint(&third.path).unwrap_err();
    let expected = format!(
        "{} is damaged: it is empty; continue from the newest good checkpoint of this job, {}",
        third.path.display(),
        first.path.display()
    );
    assert_eq!(error.with_hint(), expected);
    fs::write(&first.path, r#"{"formatVersion": 99}"#).unwrap();
    assert!(matches!(world.store.read_checkpoint(&first.path), Err(StoreError::Newer { version: 99, .. })));
}

#[test]
fn a_job_has_one_writer_until_its_last_run_is_dropped() {
    let world = World::new();
    let job_store = world.store.create_job(&job("j1", 1)).unwrap();
    let id = job_store.id().clone();
    let run = World::run(&job_store, "r1", 1, &fact(1), &[]);
    for holder in [Some(job_store), None] {
        let error = world.store.open_job(&id).err().unwrap();
        assert!(matches!(&error, StoreError::Locked { pid: Some(pid), .. } if *pid == std::process::id()), "{error}");
        assert!(error.is_locked());
        drop(holder);
    }
    drop(run);
    assert_eq!(world.store.open_job(&id).unwrap().open_run(&"r1".parse().unwrap()).unwrap().position().facts, 1);
}

#[test]
fn a_job_or_run_with_facts_is_not_created_again() {
    let world = World::new();
    let job_store = world.store.create_job(&job("j1", 1)).unwrap();
    drop(World::run(&job_store, "r1", 1, &fact(1), &[]));
    assert!(matches!(job_store.create_run(&setting("j1", "r1", 2)).err(), Some(StoreError::RunExists { .. })));
    drop(job_store);
    assert!(matches!(world.store.create_job(&job("j1", 2)).err(), Some(StoreError::JobExists { .. })));
    assert_eq!(world.store.job(&"j1".parse().unwrap()).unwrap(), job("j1", 1));
}

#[test]
fn a_job_or_run_without_a_fact_is_created_again() {
    let world = World::new();
    let job_store = world.store.create_job(&job("j1", 1)).unwrap();
    drop(job_store.create_run(&setting("j1", "r1", 1)).unwrap());
    assert_eq!(job_store.create_run(&setting("j1", "r1", 2)).unwrap().setting().unwrap(), setting("j1", "r1", 2));
    drop(job_store);
    drop(world.store.create_job(&job("j1", 3)).unwrap());
    assert_eq!(jobs(&world), [job("j1", 3)]);
}

#[test]
fn a_replayed_job_gives_way_to_another_replay_only() {
    let world = World::new();
    let replayed = Job { replayed: true, ..job("j1", 1) };
    let job_store = world.store.create_job(&replayed).unwrap();
    drop(World::run(&job_store, "r1", 1, &fact(1), &[(1, "c1")]));
    drop(job_store);
    assert!(world.store.create_job(&job("j1", 1)).is_err());
    let again = world.store.create_job(&replayed).unwrap();
    assert_eq!(world.store.runs(again.id()).unwrap(), []);
}

#[test]
fn jobs_are_listed_newest_first_and_rebuilt_when_their_file_is_gone() {
    let world = World::new();
    for (id, started_at) in [("j1", 10), ("j3", 30), ("j2", 20)] {
        let job_store = world.store.create_job(&job(id, started_at)).unwrap();
        drop(World::run(&job_store, "r1", started_at, &fact(1), &[(7, "c1")]));
    }
    let layout = world.store.layout();
    fs::write(layout.job_file(&"j2".parse().unwrap()), "{\"id\":").unwrap();
    fs::create_dir_all(layout.jobs().join("empty")).unwrap();
    fs::write(layout.jobs().join("file"), "").unwrap();
    let rebuilt = Job {
        status: JobStatus::StoppedByInteractiveTool,
        total_steps: 7,
        max_steps: Some(100),
        usage: head("r1", "c1", 7).usage,
        spend: Spend::UNKNOWN,
        ..job("j2", 20)
    };
    assert_eq!(jobs(&world), [job("j3", 30), rebuilt, job("j1", 10)]);
}

#[test]
fn a_job_is_rebuilt_from_its_newest_readable_checkpoint_or_its_log_alone() {
    let world = World::new();
    let job_store = world.store.create_job(&job("j1", 10)).unwrap();
    drop(World::run(&job_store, "r1", 10, &started("r1", false), &[(1, "c1"), (2, "c2")]));
    let id = job_store.id().clone();
    let layout = world.store.layout();
    fs::remove_file(layout.job_file(&id)).unwrap();
    fs::write(layout.checkpoint(&id, &"r1".parse().unwrap(), 2, &"c2".parse().unwrap()), "").unwrap();
    assert_eq!(world.store.job(&id).unwrap().total_steps, 1);
    fs::write(layout.checkpoint(&id, &"r1".parse().unwrap(), 1, &"c1".parse().unwrap()), "").unwrap();
    fs::remove_file(layout.setting(&id, &"r1".parse().unwrap())).unwrap();
    let rebuilt = world.store.job(&id).unwrap();
    assert_eq!((rebuilt.status, rebuilt.coordinator_expert_key.as_str()), (JobStatus::Running, "librarian"));
    assert_eq!((rebuilt.budget.limits.max_tokens, rebuilt.max_steps), (Some(7), Some(3)));
}

#[test]
fn a_run_whose_log_cannot_be_read_is_not_passed_over() {
    let world = World::new();
    let job_store = world.store.create_job(&job("j1", 1)).unwrap();
    drop(World::run(&job_store, "r1", 10, &started("r1", false), &[(1, "c1")]));
    drop(World::run(&job_store, "r2", 20, &resumed("r2", "r1"), &[]));
    fs::write(world.store.layout().log(job_store.id(), &"r2".parse().unwrap()), "noise\nand more\n").unwrap();
    assert_eq!(world.found("latest"), Ok(("run r2".to_owned(), None)));
}

#[test]
fn jobs_are_named_by_their_id_its_beginning_or_its_end() {
    let world = World::new();
    for id in ["nest", "nest-2", "burrow"] {
        drop(world.store.create_job(&job(id, 1)).unwrap());
    }
    let found = |text: &str| world.store.find_job_id(text).map(|id| id.to_string()).map_err(|error| error.with_hint());
    assert_eq!(found("nest"), Ok("nest".to_owned()));
    assert_eq!(found("b"), Ok("burrow".to_owned()));
    assert_eq!(found("row"), Ok("burrow".to_owned()));
    assert_eq!(found("ne"), Err("\"ne\" fits several jobs: nest, nest-2; give more of the id".to_owned()));
    assert!(found("burow").unwrap_err().ends_with("did you mean burrow?"));
    assert!(found("").unwrap_err().starts_with("there is no job \"\" in "));
}

#[test]
fn names_find_files_checkpoints_runs_and_jobs() {
    let world = World::new();
    let job_store = world.store.create_job(&job("j1", 1)).unwrap();
    drop(World::run(&job_store, "run-a", 1, &started("run-a", false), &[(1, "c1111a"), (10, "c1112b"), (9, "c9")]));
    let checkpoint = |id: &str| Ok(("checkpoint".to_owned(), Some(id.to_owned())));
    let run = |run: &str, id: Option<&str>| Ok((format!("run {run}"), id.map(str::to_owned)));
    for (target, expected) in [
        ("c9", checkpoint("c9")),
        ("c1111", checkpoint("c1111a")),
        ("11a", checkpoint("c1111a")),
        ("1", run("run-a", Some("c1112b"))),
        ("n-a", run("run-a", Some("c1112b"))),
        ("j1", run("run-a", Some("c1112b"))),
        ("run-a", run("run-a", Some("c1112b"))),
        ("latest", run("run-a", Some("c1112b"))),
    ] {
        assert_eq!(world.found(target), expected, "{target}");
    }
    let entry = &world.store.checkpoints(job_store.id()).unwrap()[0];
    let path = entry.path.to_str().unwrap();
    assert_eq!(world.store.find(path).unwrap(), Found::Checkpoint(entry.clone()));
    let copy = world.folder.path().join("checkpoint-1-c1111a.json");
    fs::copy(path, &copy).unwrap();
    assert_eq!(world.store.find(copy.to_str().unwrap()).unwrap(), Found::File(copy));
}

#[test]
fn a_text_that_fits_a_job_and_what_is_in_it_means_the_job() {
    let world = World::new();
    let one = world.store.create_job(&job("0192-one", 1)).unwrap();
    drop(World::run(&one, "0192-run-a", 1, &started("0192-run-a", false), &[(1, "0193-c-a"), (2, "0193-c-b")]));
    assert_eq!(world.found("0192"), Ok(("run 0192-run-a".to_owned(), Some("0193-c-b".to_owned()))));
    assert_eq!(world.found("0192-r"), world.found("0192"));
    let several = world.found("0193").unwrap_err();
    assert!(several.contains("fits several checkpoints: 0193-c-a (job 0192-one), 0193-c-b"), "{several}");
    let two = world.store.create_job(&job("0192-two", 1)).unwrap();
    drop(World::run(&two, "run-b", 1, &started("run-b", false), &[]));
    let several = world.found("0192").unwrap_err();
    let all = "job 0192-one, job 0192-two, run 0192-run-a (job 0192-one)";
    assert_eq!(several, format!("\"0192\" fits several jobs, runs and checkpoints: {all}; give more of the id"));
}

#[test]
fn a_missing_name_gets_a_suggestion() {
    let world = World::new();
    assert!(world.store.find("latest").unwrap_err().is_not_found());
    let job_store = world.store.create_job(&job("j1", 1)).unwrap();
    drop(World::run(&job_store, "run-a", 1, &fact(1), &[(1, "c1111a"), (2, "c1112b")]));
    let root = world.store.layout().root().display().to_string();
    for (target, expected) in [
        ("c111", "\"c111\" fits several checkpoints: c1111a (job j1), c1112b (job j1); give more of the id, or the file's path".to_owned()),
        ("111", format!("\"111\" names no checkpoint, run or job in {root}; the newest job is j1")),
        ("run-b", format!("\"run-b\" names no checkpoint, run or job in {root}; did you mean run-a?")),
        ("../j1", "there is no file ../j1; the newest job is j1".to_owned()),
        ("gone.json", "there is no file gone.json; the newest job is j1".to_owned()),
    ] {
        assert_eq!(world.found(target), Err(expected), "{target}");
    }
    let odd = world.store.find("..").unwrap_err();
    assert!(odd.is_not_found() && odd.to_string().contains("is not valid"), "{odd}");
}

#[test]
fn a_run_killed_in_its_first_step_is_found() {
    let world = World::new();
    let job_store = world.store.create_job(&job("j1", 1)).unwrap();
    drop(World::run(&job_store, "r1", 1, &started("r1", false), &[]));
    assert_eq!(world.found("latest"), Ok(("run r1".to_owned(), None)));
    assert_eq!(world.found("j1"), world.found("latest"));
}

#[test]
fn a_job_means_its_coordinators_newest_run() {
    let world = World::new();
    let job_store = world.store.create_job(&job("j1", 1)).unwrap();
    drop(World::run(&job_store, "r1", 10, &started("r1", false), &[(1, "c1")]));
    drop(World::run(&job_store, "child", 20, &started("child", true), &[(5, "c5")]));
    drop(World::run(&job_store, "child-on", 30, &resumed("child-on", "child"), &[(6, "c6")]));
    assert_eq!(world.found("j1"), Ok(("run r1".to_owned(), Some("c1".to_owned()))));
    drop(World::run(&job_store, "r2", 25, &resumed("r2", "r1"), &[]));
    drop(job_store.create_run(&setting("j1", "r3", 40)).unwrap());
    assert_eq!(world.found("j1"), Ok(("run r2".to_owned(), None)));
}

#[test]
fn the_latest_is_the_job_that_was_worked_on_last() {
    let world = World::new();
    for (id, run, started_at) in [("j1", "r1", 10), ("j2", "r2", 20)] {
        let job_store = world.store.create_job(&job(id, started_at)).unwrap();
        drop(World::run(&job_store, run, started_at, &started(run, false), &[]));
    }
    assert_eq!(world.found("latest"), Ok(("run r2".to_owned(), None)));
    let again = world.store.open_job(&"j1".parse().unwrap()).unwrap();
    drop(World::run(&again, "r3", 30, &resumed("r3", "r1"), &[]));
    assert_eq!(world.found("latest"), Ok(("run r3".to_owned(), None)));
}

#[test]
fn a_job_that_does_not_exist_is_not_made_by_opening_it() {
    let world = World::new();
    let error = world.store.open_job(&"gone".parse().unwrap()).err().unwrap();
    assert!(error.is_not_found() && !error.is_locked());
    assert!(!world.store.layout().root().exists());
}

#[test]
fn facts_are_never_lost_between_an_interruption_and_a_resumption() {
    let world = World::new();
    let job_store = world.store.create_job(&job("j1", 1)).unwrap();
    drop(World::run(&job_store, "r1", 1, &started("r1", false), &[]));
    drop(job_store);
    let id: JobId = "j1".parse().unwrap();
    let mut run = world.store.open_job(&id).unwrap().open_run(&"r1".parse().unwrap()).unwrap();
    let interrupted = Fact { body: FactBody::Interrupted, ..fact(5) };
    run.append(&interrupted).unwrap();
    run.flush().perform().unwrap();
    assert_eq!(world.store.read_facts(&id, run.id()).unwrap(), [started("r1", false), interrupted]);
}
