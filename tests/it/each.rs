//! `perstack each`: many inputs, a job for each, and the account that jobs share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use perstack::cost::Cost;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::interactive::at_new_terminal;
use crate::support::answer::Tokens;
use crate::support::process::Ran;
use crate::support::screen::last_screen;
use crate::support::storage::read_json;
use crate::support::{Answer, Gate, Provider, Request, Test};

/// The template of most tests.
const QUERY: &str = "Row {n}.";

/// A test whose rows are `{"n": 1}` and on, in `rows.jsonl`.
fn numbered(rows: std::ops::RangeInclusive<u64>) -> Test {
    Test::with(Provider::Anthropic).file("rows.jsonl", rows_text(rows))
}

pub fn rows_text(rows: std::ops::RangeInclusive<u64>) -> String {
    rows.map(|n| json!({"n": n}).to_string() + "\n").collect()
}

/// US dollars.
pub fn dollars(meter: &AtomicU64) -> f64 {
    Cost::from_picodollars(meter.load(Ordering::SeqCst)).usd()
}

/// The number of the row that a request is about.
fn row_of(request: &Request) -> u64 {
    let text = request.body.to_string();
    let (_, rest) = text.split_once("Row ").expect("a row");
    rest.split_once('.').expect("its end").0.parse().expect("a number")
}

/// A model that answers each row with its number.
fn echoing(test: &Test) {
    test.server().answer_by(|request| Answer::text(&format!("n{}", row_of(request))));
}

fn results(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Row, status and answer of each result.
fn answers(ran: &Ran) -> Vec<(u64, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    results(ran).iter().map(|it| (it["row"].as_u64().unwrap(), text(&it["status"]), text(&it["text"]))).collect()
}

fn completed(rows: std::ops::RangeInclusive<u64>) -> Vec<(u64, String, String)> {
    rows.map(|n| (n, "completed".to_owned(), format!("n{n}"))).collect()
}

/// The only account of the storage.
fn account(test: &Test) -> Value {
    let folder = test.storage().jobs()[0].parent().unwrap().parent().unwrap().join("accounts");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    read_json(&files[0])
}

/// Carries out the command that standard error ended with.
fn go_on(test: &Test, ran: &Ran) -> Ran {
    let line = ran.stderr.lines().last().unwrap().strip_prefix("perstack ").expect("a command").to_owned();
    let mut command = Command::new("bash");
    command.arg("-c").arg(format!("exec {} {line}", test.binary().display()));
    test.start(command).finish()
}

#[test]
fn each_row_is_a_job_and_results_come_in_the_order_of_the_rows() {
    let test = numbered(1..=12);
    // The first answer is the last to come.
    let gate = Gate::new();
    let held = gate.clone();
    let served = Arc::new(AtomicU64::new(0));
    test.server().answer_by(move |request| {
        let row = row_of(request);
        if served.fetch_add(1, Ordering::SeqCst) == 11 {
            held.open();
        }
        let answer = Answer::text(&format!("n{row}"));
        if row == 1 { answer.delay(&held) } else { answer }
    });
    let args = ["each", "librarian", "rows.jsonl", "--query", QUERY];
    let ran = test.run(args).assert_code(0);
    assert_eq!(answers(&ran), completed(1..=12));
    assert_eq!((test.server().requests().len(), test.storage().jobs().len()), (12, 12));
    assert!(ran.stderr.contains("12 rows: 12 completed"), "{}", ran.stderr);
    // Again: nothing is asked, the results are the same.
    let again = test.run(args).assert_code(0);
    assert_eq!(answers(&again), completed(1..=12));
    assert_eq!(test.server().requests().len(), 12);
    assert!(again.stderr.contains("12 completed (12 before)"), "{}", again.stderr);
    // Under another name all rows are run anew.
    let named = test.run(["each", "librarian", "rows.jsonl", "--query", QUERY, "--batch", "second"]).assert_code(0);
    assert_eq!((answers(&named), test.server().requests().len()), (completed(1..=12), 24));
    drop(gate);
}

#[test]
fn rows_that_are_wrong_fail_alone_and_duplicates_are_rows() {
    let rows = "{\"n\": 1}\nno json\n{\"m\": 3}\n\n{\"n\": 1}\n[4]\n{\"n\": 6}";
    let test = Test::with(Provider::Anthropic).file("rows.jsonl", rows);
    echoing(&test);
    let ran = test.run(["each", "librarian", "rows.jsonl", "--query", QUERY]).assert_code(1);
    let states: Vec<String> =
        answers(&ran).into_iter().map(|(row, status, text)| format!("{row} {status} {text}")).collect();
    assert_eq!(states, ["1 completed n1", "2 notRun ", "3 notRun ", "4 completed n1", "5 notRun ", "6 completed n6"]);
    let errors: Vec<Value> = results(&ran).iter().map(|row| row["error"]["message"].clone()).collect();
    assert!(errors[1].as_str().unwrap().starts_with("it is no JSON"), "{errors:?}");
    assert_eq!(errors[2], "there is no field \"n\"");
    assert_eq!(results(&ran)[1].as_object().unwrap().keys().collect::<Vec<_>>(), ["row", "status", "error"]);
    assert_eq!((test.server().requests().len(), test.storage().jobs().len()), (3, 3));
    assert!(ran.stderr.contains("row 2: not run: it is no JSON"), "{}", ran.stderr);
    // With the rows mended only they are run.
    std::fs::write(
        test.workspace().join("rows.jsonl"),
        rows.replace("no json", "{\"n\": 2}").replace('m', "n").replace("[4]", "{\"n\": 5}"),
    )
    .unwrap();
    let ran = test.run(["each", "librarian", "rows.jsonl", "--query", QUERY]).assert_code(0);
    let texts: Vec<String> = answers(&ran).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!((texts.join(" "), test.server().requests().len()), ("n1 n2 n3 n1 n5 n6".to_owned(), 6));
}

#[test]
fn rows_come_from_csv_and_from_standard_input() {
    let csv = "n,text\n1,\"a \"\"night\"\" owl,\nby night\"\n2,bee\n";
    let test = Test::with(Provider::Anthropic).file("rows.csv", csv);
    echoing(&test);
    let ran = test.run(["each", "librarian", "rows.csv", "--query", "Row {n}. {text}"]).assert_code(0);
    assert_eq!(answers(&ran), completed(1..=2));
    assert!(test.server().requests().iter().any(|request| request.contains("a \"night\" owl,\nby night")));
    let test = Test::with(Provider::Anthropic).stdin("\"Row 1.\"\n{\"query\": \"Row 2.\"}\n");
    echoing(&test);
    assert_eq!(answers(&test.run(["each", "librarian", "-"]).assert_code(0)), completed(1..=2));
}

#[test]
fn a_file_may_be_empty_or_grow_meanwhile() {
    let test = Test::with(Provider::Anthropic).file("rows.jsonl", "");
    let ran = test.run(["each", "librarian", "rows.jsonl", "--query", QUERY]).assert_code(0);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("0 rows"), "{}", ran.stderr);
    // The model's answers are appended to the rows: those are for the next time.
    let test = numbered(1..=3);
    let file = test.workspace().join("rows.jsonl");
    let growing = file.clone();
    test.server().answer_by(move |request| {
        let row = row_of(request);
        let grown = std::fs::read_to_string(&growing).unwrap() + &rows_text(row + 3..=row + 3);
        if row <= 3 {
            std::fs::write(&growing, grown).unwrap();
        }
        Answer::text(&format!("n{row}"))
    });
    let args = ["each", "librarian", "rows.jsonl", "--query", QUERY, "--parallel", "1"];
    assert_eq!(answers(&test.run(args).assert_code(0)), completed(1..=3));
    assert_eq!(answers(&test.run(args).assert_code(0)), completed(1..=6));
    assert_eq!(test.server().requests().len(), 6);
}

#[test]
fn a_template_about_other_rows_is_refused_before_anything_is_asked() {
    let test = numbered(1..=3);
    let ran = test.run(["each", "librarian", "rows.jsonl", "--query", "{m}"]).assert_code(2);
    assert!(ran.stderr.contains("there is no field \"m\"") && ran.stdout.is_empty(), "{}", ran.stderr);
    test.run(["each", "librarian", "rows.jsonl", "--query", "{m"]).assert_code(2).assert_stderr(["a brace is alone"]);
    test.run(["each", "librarian", "missing.jsonl"]).assert_code(2).assert_stderr(["cannot read missing.jsonl"]);
    test.run(["each", "librarian", "."]).assert_code(2).assert_stderr(["is a folder"]);
    test.run(["each", "librarina", "rows.jsonl"]).assert_code(2).assert_stderr(["did you mean \"librarian\""]);
    assert_eq!(test.server().requests().len(), 0);
}

#[test]
fn a_failed_row_is_tried_again_by_the_same_command() {
    let test = numbered(1..=3);
    let refuses = Arc::new(AtomicU64::new(1));
    let asked = refuses.clone();
    test.server().answer_by(move |request| {
        let row = row_of(request);
        if row == 2 && asked.swap(0, Ordering::SeqCst) == 1 {
            Answer::status(400)
        } else {
            Answer::text(&format!("n{row}"))
        }
    });
    let args = ["each", "librarian", "rows.jsonl", "--query", QUERY, "--output-file", "out.jsonl"];
    let ran = test.run(args).assert_code(1);
    assert_eq!(ran.stdout, "");
    let written = |test: &Test| std::fs::read_to_string(test.workspace().join("out.jsonl")).unwrap();
    assert_eq!(written(&test).lines().count(), 3);
    assert!(ran.stderr.contains("row 2: stoppedByError: "), "{}", ran.stderr);
    let ran = go_on(&test, &ran).assert_code(0);
    assert!(ran.stderr.contains("3 completed (2 before)"), "{}", ran.stderr);
    assert!(written(&test).lines().count() == 3 && !written(&test).contains("stoppedByError"), "{}", written(&test));
    assert_eq!((test.server().requests().len(), test.storage().jobs().len()), (4, 3));
}

#[test]
fn a_batch_that_is_killed_goes_on_without_its_completed_rows() {
    let test = numbered(1..=6);
    let gate = Gate::new();
    let held = gate.clone();
    test.server().answer_by(move |request| {
        let row = row_of(request);
        let answer = Answer::text(&format!("n{row}"));
        if row == 4 { answer.delay(&held) } else { answer }
    });
    let args = ["each", "librarian", "rows.jsonl", "--query", QUERY, "--parallel", "1", "--max-tokens", "100000000"];
    let running = test.spawn(args);
    running.wait_for_stdout("n3");
    test.server().wait_for_request(4);
    // Another of the same is refused meanwhile.
    test.run(args).assert_code(6).assert_stderr(["is being worked on by process"]);
    running.kill();
    let killed = running.finish();
    assert_eq!(answers(&killed), completed(1..=3));
    gate.open();
    let ran = test.run(args).assert_code(0);
    assert_eq!(answers(&ran), completed(1..=6));
    assert!(ran.stderr.contains("6 completed (3 before)"), "{}", ran.stderr);
    let mut rows: BTreeMap<u64, usize> = BTreeMap::new();
    test.server().requests().iter().for_each(|request| *rows.entry(row_of(request)).or_default() += 1);
    assert_eq!(rows, BTreeMap::from([(1, 1), (2, 1), (3, 1), (4, 2), (5, 1), (6, 1)]));
    // What the killed process had set aside is settled.
    assert_eq!(account(&test)["open"], json!({}));
}

#[test]
fn a_signal_stops_all_rows_in_order() {
    let test = numbered(1..=8);
    let gate = Gate::new();
    let held = gate.clone();
    test.server().answer_by(move |request| {
        let row = row_of(request);
        let answer = Answer::text(&format!("n{row}"));
        if row > 2 { answer.delay(&held) } else { answer }
    });
    let running = test.spawn(["each", "librarian", "rows.jsonl", "--query", QUERY, "--parallel", "3"]);
    running.wait_for_stdout("n2");
    test.server().wait_for_request(5);
    running.signal(Signal::INT);
    let ran = running.finish().assert_code(130);
    let states: Vec<String> = answers(&ran).into_iter().map(|(row, status, _)| format!("{row} {status}")).collect();
    let stopped = |row: u64| format!("{row} stoppedByCancellation");
    assert_eq!(states, ["1 completed".to_owned(), "2 completed".to_owned(), stopped(3), stopped(4), stopped(5)]);
    assert!(
        ran.stderr.contains("2 completed, 3 stopped") && ran.stderr.contains("stopped by SIGINT"),
        "{}",
        ran.stderr
    );
    gate.open();
    assert_eq!(answers(&go_on(&test, &ran).assert_code(0)), completed(1..=8));
}

/// What each answer takes: $0.0153 at the prices of `claude-sonnet-4-5`.
const TURN: Tokens = Tokens { input: 100, cached: 0, output: 1000, reasoning: 0 };

/// Answers each row with its number, and counts picodollars.
pub fn metered(test: &Test) -> Arc<AtomicU64> {
    let spent = Arc::new(AtomicU64::new(0));
    let meter = spent.clone();
    test.server().answer_by(move |request| {
        let limit = request.body["max_tokens"].as_u64().unwrap();
        let tokens = Tokens { output: TURN.output.min(limit), ..TURN };
        meter.fetch_add(tokens.input * 3_000_000 + tokens.output * 15_000_000, Ordering::SeqCst);
        Answer::text(&format!("n{}", row_of(request))).usage(tokens)
    });
    spent
}

#[test]
fn the_budget_is_a_wall_for_all_rows_and_they_go_on_with_a_larger_one() {
    let test = numbered(1..=40);
    let meter = metered(&test);
    let args =
        ["each", "librarian", "rows.jsonl", "--query", QUERY, "--max-cost", "0.3", "--model", "claude-sonnet-4-5"];
    let ran = test.run(args).assert_code(5);
    assert!(dollars(&meter) <= 0.3 && dollars(&meter) > 0.15, "{}", dollars(&meter));
    assert!((account(&test)["spent"]["cost"].as_f64().unwrap() - dollars(&meter)).abs() < 1e-9, "{}", account(&test));
    assert!(
        ran.stderr.contains("the cost budget of $0.3000 is reached") && ran.stderr.contains("account each-"),
        "{}",
        ran.stderr
    );
    let ended = answers(&ran);
    let done = ended.iter().filter(|(_, status, _)| status == "completed").count();
    // Completed rows, then those that were under way; none behind them was begun.
    assert!(ended.iter().enumerate().all(|(at, (row, _, _))| *row == at as u64 + 1), "{ended:?}");
    assert!(done > 5 && ended.len() - done <= 4, "{ended:?}");
    assert_eq!(test.storage().jobs().len(), ended.len());
    assert_eq!(account(&test)["open"], json!({}));
    let more = go_on(&test, &ran);
    assert!(dollars(&meter) <= 0.6, "{}", dollars(&meter));
    assert!(more.stderr.contains("before)"), "{}", more.stderr);
    let all = test.run(["each", "librarian", "rows.jsonl", "--query", QUERY, "--max-cost", "5"]).assert_code(0);
    assert_eq!(answers(&all), completed(1..=40));
    // Refused requests are not sent, so each row was asked once.
    assert_eq!(test.server().requests().len(), 40);
}

#[test]
fn a_limit_in_a_file_of_variables_is_a_wall_for_all_rows_too() {
    let test = numbered(1..=40).file("limits.env", "PERSTACK_MAX_COST=0.3\n");
    let meter = metered(&test);
    let model = ["--model", "claude-sonnet-4-5", "--env-path", "limits.env"];
    let ran = test.run(["each", "librarian", "rows.jsonl", "--query", QUERY, model[0], model[1], model[2], model[3]]);
    let ran = ran.assert_code(5);
    assert!(dollars(&meter) <= 0.3 && dollars(&meter) > 0.15, "{}", dollars(&meter));
    assert!(ran.stderr.contains("the cost budget of $0.3000 is reached"), "{}", ran.stderr);
    assert_eq!(account(&test)["limits"]["maxCost"], json!(0.3));
    // A job that shares no account has the limit for itself.
    let ran = test.run(["run", "librarian", "Row 99.", model[0], model[1], model[2], model[3]]).assert_code(0);
    assert_eq!(ran.stdout, "n99\n");
}

#[test]
fn a_limit_in_the_folders_own_file_stays_each_rows_beside_a_wall_for_all() {
    let test = numbered(1..=3).file(".env", "PERSTACK_MAX_COST=0.000001\n");
    metered(&test);
    let ran = test.run([
        "each",
        "librarian",
        "rows.jsonl",
        "--query",
        QUERY,
        "--model",
        "claude-sonnet-4-5",
        "--max-cost",
        "5",
    ]);
    let stopped = answers(&ran.assert_code(1)).into_iter().map(|(_, status, _)| status).collect::<Vec<_>>();
    assert_eq!(stopped, ["stoppedByBudget"; 3]);
    assert_eq!(account(&test)["limits"]["maxCost"], json!(5));
    assert!(test.server().requests().is_empty());
}

#[test]
fn each_answer_is_checked_against_the_schema_of_the_batch() {
    let test = numbered(1..=3).file("number.json", "{\"type\": \"object\"}").file("list.json", "{\"type\": \"array\"}");
    test.server().answer_by(|request| {
        let is_second = row_of(request) == 2;
        Answer::text(if is_second { "[2]" } else { "{\"n\": 1}" })
    });
    let each =
        |schema: &str| test.run(["each", "librarian", "rows.jsonl", "--query", QUERY, "--output-schema", schema]);
    let ran = each("number.json").assert_code(1);
    let ends: Vec<(u64, String)> = answers(&ran).into_iter().map(|(row, status, _)| (row, status)).collect();
    let ended = |row, status: &str| (row, status.to_owned());
    assert_eq!(ends, [ended(1, "completed"), ended(2, "stoppedByError"), ended(3, "completed")]);
    assert_eq!(answers(&ran)[0].2, "{\"n\": 1}");
    // The second answer was refused three times.
    assert_eq!(test.server().requests().len(), 5);
    // Other answers are those of another batch: none that was checked otherwise is taken for one of these.
    let ran = each("list.json").assert_code(1);
    let completed: Vec<u64> =
        answers(&ran).into_iter().filter(|(_, status, _)| status == "completed").map(|(row, ..)| row).collect();
    assert_eq!(completed, [2]);
    test.run(["each", "librarian", "rows.jsonl", "--query", QUERY, "--output-schema", "none.json"]).assert_code(2);
}

#[test]
fn rows_without_end_are_read_no_further_than_the_wall() {
    let test = numbered(1..=1);
    let meter = metered(&test);
    let mut command = Command::new("bash");
    let each = "each librarian - --query 'Row {n}.' --max-cost 0.1 --model claude-sonnet-4-5";
    command.arg("-c").arg(format!("yes '{{\"n\": 1}}' | {} {each}", test.binary().display()));
    let ran = test.start(command).finish().assert_code(5);
    assert!(dollars(&meter) <= 0.1, "{}", dollars(&meter));
    assert_eq!(test.storage().jobs().len(), answers(&ran).len());
}

#[test]
fn of_many_rows_none_behind_the_wall_is_begun() {
    let test = numbered(1..=20_000);
    let meter = metered(&test);
    let model = ["--max-cost", "0.1", "--model", "claude-sonnet-4-5"];
    let ran = test.run(["each", "librarian", "rows.jsonl", "--query", QUERY, model[0], model[1], model[2], model[3]]);
    let ended = answers(&ran.assert_code(5));
    assert!(dollars(&meter) <= 0.1, "{}", dollars(&meter));
    assert!(ended.iter().enumerate().all(|(at, (row, ..))| *row == at as u64 + 1), "{ended:?}");
    assert!(!ended.is_empty() && ended.len() < 20, "{ended:?}");
}

#[test]
fn a_terminal_has_the_numbers_of_all_rows_on_one_line() {
    let test = numbered(1..=12).env("TERM", "xterm").silent_stdin();
    echoing(&test);
    let binary = test.binary().display().to_string();
    let each = "each librarian rows.jsonl --query 'Row {n}.' --batch owls --output-file out.jsonl";
    let Some(running) =
        at_new_terminal(&test, &format!("stty cols 80 rows 24; PERSTACK_TRUST=1 exec '{binary}' {each}"))
    else {
        return;
    };
    let shown = running.finish().assert_code(0).stdout;
    assert!(shown.contains("owls: "), "{shown:?}");
    let screen = last_screen(&shown, 80);
    assert_eq!(screen.lines().filter(|line| line.starts_with("owls: ")).count(), 1, "{screen}");
    assert!(screen.contains("owls: 12 rows: 12 completed"), "{screen}");
    assert_eq!(std::fs::read_to_string(test.workspace().join("out.jsonl")).unwrap().lines().count(), 12);
}

#[test]
fn processes_share_an_account_and_its_wall() {
    let test = numbered(1..=30).file("more.jsonl", rows_text(31..=60));
    let meter = metered(&test);
    let each = |file| {
        let model = ["--account", "nightly", "--max-cost", "0.4", "--model", "claude-sonnet-4-5"];
        test.spawn([
            "each",
            "librarian",
            file,
            "--query",
            QUERY,
            model[0],
            model[1],
            model[2],
            model[3],
            model[4],
            model[5],
        ])
    };
    let (one, two) = (each("rows.jsonl"), each("more.jsonl"));
    let (one, two) = (one.finish().assert_code(5), two.finish().assert_code(5));
    let spent = dollars(&meter);
    assert!(spent <= 0.4 && spent > 0.2, "{spent}");
    assert!((account(&test)["spent"]["cost"].as_f64().unwrap() - spent).abs() < 1e-9, "{}", account(&test));
    assert!(!one.stdout.is_empty() && !two.stdout.is_empty());
    // A job of its own draws on it too, and has no need to give the limits again.
    let ran = test.run(["run", "librarian", "Row 99.", "--account", "nightly"]).assert_code(5);
    assert!(ran.stderr.contains("account nightly: $0."), "{}", ran.stderr);
    let ran = go_on(&test, &ran).assert_code(0);
    assert_eq!(ran.stdout, "n99\n");
}

#[test]
fn an_account_needs_limits_and_is_no_part_of_a_recording() {
    let test = Test::with(Provider::Anthropic);
    let ran = test.run(["run", "librarian", "Row 1.", "--account", "nightly"]).assert_code(2);
    assert!(ran.stderr.contains("account nightly has no limits yet"), "{}", ran.stderr);
    test.run(["run", "librarian", "Row 1.", "--account", "a/b", "--max-tokens", "5"]).assert_code(2);
    test.run(["run", "librarian", "Row 1.", "--account", "a", "--record", "r.jsonl"]).assert_code(2);
    assert_eq!(test.server().requests().len(), 0);
}

#[test]
fn a_failure_that_all_rows_would_meet_ends_the_batch() {
    let test = numbered(1..=50).unset("ANTHROPIC_API_KEY");
    let ran = test.run(["each", "librarian", "rows.jsonl", "--query", QUERY]).assert_code(2);
    assert!(ran.stderr.contains("ANTHROPIC_API_KEY") && ran.stdout.is_empty(), "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(test.server().requests().len(), 0);
}
