//! Accounts that jobs share over an object store: machines that draw on one wall, and one that dies while it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::each::{dollars, metered, rows_text};
use crate::object_store::{check, elsewhere, world};
use crate::support::answer::Tokens;
use crate::support::s3::S3;
use crate::support::{Answer, Gate, Test};

/// The tokens that each answer takes.
const TURN: Tokens = Tokens { input: 100, cached: 0, output: 1000, reasoning: 0 };
const MODEL: &str = "claude-sonnet-4-5";

/// The account `nightly` in the object store.
fn account(s3: &S3) -> Value {
    serde_json::from_slice(&s3.object("nightly/accounts/nightly.json").expect("an account")).unwrap()
}

/// Tokens of the budgets of all jobs, by their records.
fn recorded(test: &Test, jobs: &[&str]) -> u64 {
    let of = |job: &&str| {
        let log = test.run(["log", job, "--json"]).assert_code(0).stdout;
        let log: Value = serde_json::from_str(&log).unwrap();
        log["job"]["budget"]["spent"]["tokens"].as_u64().unwrap_or_else(|| panic!("{log:#}"))
    };
    jobs.iter().map(of).sum()
}

#[test]
fn jobs_of_two_machines_share_an_account_and_its_wall() {
    let (s3, test) = world();
    let test = test.file("rows.jsonl", rows_text(1..=30)).file("more.jsonl", rows_text(31..=60));
    let meter = metered(&test);
    let args = |file| {
        let rows = ["each", "librarian", file, "--query", "Row {n}."];
        let model = ["--account", "nightly", "--max-cost", "0.4", "--model", MODEL];
        [rows[0], rows[1], rows[2], rows[3], rows[4], model[0], model[1], model[2], model[3], model[4], model[5]]
    };
    let one = test.spawn(args("rows.jsonl"));
    let test = elsewhere(test, "b");
    let two = test.spawn(args("more.jsonl"));
    let (one, two) = (one.finish().assert_code(5), two.finish().assert_code(5));
    let spent = dollars(&meter);
    assert!(spent <= 0.4 && spent > 0.2, "{spent}");
    let there = account(&s3);
    assert!((there["spent"]["cost"].as_f64().unwrap() - spent).abs() < 1e-9, "{there}");
    assert_eq!(there["blocks"], json!({}));
    assert!(!one.stdout.is_empty() && !two.stdout.is_empty());
    // A third machine finds it used up without a limit of its own, and goes on with a larger one.
    let test = elsewhere(test, "c");
    let ran = test.run(["run", "librarian", "Row 99.", "--account", "nightly", "--model", MODEL]).assert_code(5);
    assert!(ran.stderr.contains("account nightly: $0."), "{}", ran.stderr);
    let ran = test.run(["run", "librarian", "Row 99.", "--account", "nightly", "--model", MODEL, "--max-cost", "0.6"]);
    assert_eq!(ran.assert_code(0).stdout, "n99\n");
}

/// A model that answers the first job's second request behind a gate, once.
fn losing(test: &Test, gate: &Gate) {
    let (gate, is_lost) = (gate.clone(), Arc::new(AtomicBool::new(false)));
    test.server().answer_by(move |request| {
        let is_first = request.contains("First.");
        if is_first && !request.contains("tool_result") {
            return check("c1").usage(TURN);
        }
        let answer = Answer::text("Done.").usage(TURN);
        if is_first && !is_lost.swap(true, Ordering::SeqCst) { answer.delay(&gate) } else { answer }
    });
}

#[test]
fn a_killed_jobs_block_is_settled_by_its_records_and_the_sum_is_exact() {
    let gate = Gate::new();
    let (s3, test) = world();
    let test = test.env("PERSTACK_LEASE", "3s");
    losing(&test, &gate);
    let run = |query, job| {
        let account = ["--account", "nightly", "--max-tokens", "60000", "--model", MODEL];
        [
            "run",
            "librarian",
            query,
            "--job-id",
            job,
            account[0],
            account[1],
            account[2],
            account[3],
            account[4],
            account[5],
        ]
    };
    let first = test.spawn(run("First.", "one"));
    first.wait_for_request(2);
    let test = elsewhere(test, "b");
    // The first job holds all that is left: the other waits, until it is found dead.
    let second = test.spawn(run("Second.", "two"));
    first.kill();
    drop(first);
    let second = second.finish().assert_code(0);
    assert_eq!(second.stdout, "Done.\n");
    assert!(second.stderr.contains("job one was worked on by process "), "{}", second.stderr);
    assert_eq!(account(&s3)["blocks"], json!({}));
    gate.open();
    let test = elsewhere(test, "c");
    let resumed = test.run(["resume", "one", "--account", "nightly", "--model", MODEL]).assert_code(0);
    assert_eq!(resumed.stdout, "Done.\n");
    let there = account(&s3);
    // Of the answer that nobody received nothing is on record.
    assert_eq!(there["spent"]["tokens"], json!(3 * (TURN.input + TURN.output)), "{there}");
    assert_eq!(recorded(&test, &["one", "two"]), 3 * (TURN.input + TURN.output));
    assert_eq!(there["blocks"], json!({}));
    for job in ["one", "two"] {
        test.run(["job", "verify", job]).assert_code(0);
    }
}

#[test]
fn the_next_owner_of_a_job_goes_on_with_its_block_and_the_one_before_draws_nothing_more() {
    let gate = Gate::new();
    let (s3, test) = world();
    let test = test.env("PERSTACK_LEASE", "3s");
    losing(&test, &gate);
    let account_of = ["--account", "nightly", "--max-tokens", "60000", "--model", MODEL];
    let first = test.spawn([
        "run",
        "librarian",
        "First.",
        "--job-id",
        "one",
        account_of[0],
        account_of[1],
        account_of[2],
        account_of[3],
        account_of[4],
        account_of[5],
    ]);
    first.wait_for_request(2);
    assert_eq!(account(&s3)["blocks"]["one"]["epoch"], 1);
    first.signal(Signal::STOP);
    let test = elsewhere(test, "b");
    let resumed = test.run(["resume", "one", "--account", "nightly", "--model", MODEL]).assert_code(0);
    assert_eq!(resumed.stdout, "Done.\n");
    let before = account(&s3);
    gate.open();
    first.signal(Signal::CONT);
    let fenced = first.finish().assert_code(6);
    assert!(fenced.stderr.contains("no longer this process's"), "{}", fenced.stderr);
    assert_eq!(account(&s3), before);
    assert_eq!((&before["spent"]["tokens"], &before["blocks"]), (&json!(2 * 1100), &json!({})));
    assert_eq!(recorded(&test, &["one"]), 2 * 1100);
}

#[test]
fn an_account_elsewhere_needs_limits_and_an_unreachable_one_stops_the_job_at_its_beginning() {
    let (s3, test) = world();
    let ran = test.run(["run", "librarian", "q", "--account", "nightly", "--model", MODEL]).assert_code(2);
    assert!(ran.stderr.contains("account nightly has no limits yet"), "{}", ran.stderr);
    assert!(s3.object("nightly/accounts/nightly.json").is_none(), "nothing is made of nothing");
    let dry = ["run", "librarian", "q", "--account", "nightly", "--max-tokens", "9000", "--dry-run", "--model", MODEL];
    test.run(dry).assert_code(0);
    assert!(s3.keys().is_empty(), "{:?}", s3.keys());
    s3.put("nightly/accounts/nightly.json", b"{\"formatVersion\": 1");
    let ran = test.run(["run", "librarian", "q", "--account", "nightly", "--max-tokens", "9000", "--model", MODEL]);
    assert!(ran.assert_code(6).stderr.contains("nightly/accounts/nightly.json in the object store is damaged"));
    assert_eq!(s3.object("nightly/accounts/nightly.json").unwrap(), b"{\"formatVersion\": 1");
    s3.refuse(403);
    let ran = test.run(["run", "librarian", "q", "--account", "nightly", "--max-tokens", "9000", "--model", MODEL]);
    assert!(ran.assert_code(6).stderr.contains("AWS_"));
    assert!(test.server().requests().is_empty());
}

#[test]
fn a_batch_is_one_on_all_machines_and_its_rows_are_run_once() {
    let (s3, test) = world();
    let test = test.file("rows.jsonl", rows_text(1..=6)).file("more.jsonl", rows_text(1..=8));
    metered(&test);
    let args = |file| ["each", "librarian", file, "--query", "Row {n}.", "--batch", "owls", "--model", MODEL];
    let first = test.run(args("rows.jsonl")).assert_code(0);
    assert_eq!(first.stdout.lines().count(), 6);
    assert!(s3.object("nightly/batches/owls.json").is_some());
    // Elsewhere, with more rows: only those are asked about.
    let test = elsewhere(test, "b");
    let more = test.run(args("more.jsonl")).assert_code(0);
    assert_eq!(more.stdout.lines().count(), 8);
    assert_eq!(test.server().requests().len(), 8);
    let ran = test.run(["each", "librarian", "more.jsonl", "--query", "{n}?", "--batch", "owls", "--model", MODEL]);
    assert!(ran.assert_code(2).stderr.contains("batch owls was begun with another template of the query"));
}
