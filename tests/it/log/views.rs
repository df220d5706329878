//! The views for people: recent jobs, a job, a step, an answer; what they select, and how they follow a job.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::{append, assert_has, killed, team};
use crate::interactive::at_new_terminal;
use crate::support::process::Ran;
use crate::support::screen::last_screen;
use crate::support::settle::assert_snapshot;
use crate::support::storage::checkpoint_id;
use crate::support::{Answer, Gate, Provider, Test, call};

const LONG: &str = "The barn owl hunts by ear.\n\nIts face is a dish.\n\n- it is white\n- it is quiet\n- it is rare\n\n\
                    Its last word is here.";

fn run(test: &Test, words: &[&str]) -> Ran {
    let mut command = Command::new(test.binary());
    command.args(words);
    test.start(command).finish()
}

/// Jobs that ended in different ways, named so that they are listed in a known order.
fn several() -> Test {
    let test = Test::with(Provider::Anthropic).file("owls.txt", "barn\n").env("TZ", "UTC");
    let edit = json!({"path": "owls.txt", "oldText": "barn", "newText": "barn\ntawny"});
    let answers =
        [Answer::calls([call("c1", "editTextFile", edit)]), Answer::text(LONG), Answer::refused_key("invalid key")];
    test.server().script(answers);
    test.run(["run", "librarian", "Which owls hunt at night, and how do they find their prey?", "--job-id", "nest"])
        .assert_code(0);
    test.run(["run", "librarian", "Which bees?", "--job-id", "hive"]).assert_code(1);
    test.server().script([Answer::calls([append("c1", "tawny")])]);
    test.run(["run", "librarian", "Count them.", "--job-id", "burrow", "--max-steps", "1"]).assert_code(3);
    test
}

/// The screen of a terminal of this width, on which nothing is paged.
fn screen(test: &Test, width: usize, words: &str) -> Option<String> {
    let line = format!("stty cols {width} rows 200; PERSTACK_TRUST=1 exec '{}' {words}", test.binary().display());
    let ran = at_new_terminal(test, &line)?.finish();
    Some(last_screen(&ran.stdout, width))
}

#[test]
fn every_view_fits_its_terminal() {
    let test = several().env("TERM", "xterm");
    let of_nest = test.storage().checkpoints().into_iter().find(|file| file.iter().any(|name| name == "nest")).unwrap();
    let first = checkpoint_id(&of_nest).to_owned();
    let test = test.silent_stdin();
    for width in [60, 100] {
        for (view, words) in [
            ("recent", "log"),
            ("job", "log nest"),
            ("step", "log nest --step 2"),
            ("steps", "log nest --steps"),
            ("diff", &format!("job diff {first} nest")),
        ] {
            let Some(screen) = screen(&test, width, words) else { return };
            assert_snapshot(test.root(), &format!("log-views/{view}-{width}"), &screen);
        }
    }
}

#[test]
fn the_views_are_the_same_in_a_pipe() {
    let test = several();
    test.run(["log"]).assert_code(0).snapshot("log-views/recent-pipe");
    test.run(["log", "hive"]).assert_code(0).snapshot("log-views/error-pipe");
    test.run(["log", "nest", "--step", "1"]).assert_code(0).snapshot("log-views/step-pipe");
    test.run(["job", "diff", "nest", "burrow"]).assert_code(0).snapshot("log-views/diff-pipe");
    let team = team();
    let ran = team.run(["log", "nest"]).assert_code(0);
    assert_has(
        &ran,
        [
            "\nSteps: 5\nTool calls: 2\n",
            "  lead  handed to delegates  step 1  ",
            "    ",
            "  worker  completed  step 2  ",
        ],
    );
}

#[test]
fn the_whole_answer_is_there_and_nothing_else() {
    let test = several();
    assert_eq!(test.run(["log", "nest", "--text"]).assert_code(0).stdout, format!("{LONG}\n"));
    test.run(["log", "hive", "--text"]).assert_code(1).snapshot("log-views/no-answer");
    let ran = test.run(["log", "nest", "-v"]).assert_code(0);
    assert_has(&ran, ["    The barn owl hunts by ear.\n", "    Its last word is here.\n"]);
    // A short one is not cut where a job is looked at.
    assert_has(
        &test.run(["log", "nest"]).assert_code(0),
        ["\nAnswer:\n  The barn owl hunts by ear.\n", "  Its last word is here.\n"],
    );
}

#[test]
fn jobs_and_events_are_narrowed_alike() {
    let test = several();
    let rows = |words: &[&str]| {
        let ran = run(&test, words).assert_code(0);
        ran.stdout.lines().skip(1).map(|line| line.split_whitespace().next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rows(&["log", "--grep", "BEES"]), ["hive"]);
    assert_eq!(rows(&["log", "--grep", "its last word"]), ["nest"], "an answer is searched too");
    assert_eq!(rows(&["log", "--since", "1d"]), ["burrow", "hive", "nest"]);
    assert_eq!(rows(&["log", "--jobs", "--last", "1"]), ["burrow", "(showing"]);
    assert_eq!(run(&test, &["log", "--since", "2999-01-01"]).assert_code(0).stdout, "No data found\n");
    let events = |words: &[&str]| run(&test, words).assert_code(0).object()["totalEventsBeforeLimit"].as_u64().unwrap();
    assert_eq!(events(&["log", "nest", "--grep", "tawny", "--type", "callTools", "--json"]), 1);
    assert_eq!(events(&["log", "nest", "--since", "2999-01-01", "--json"]), 0);
    let last = run(&test, &["log", "nest", "--last", "2", "--json"]).assert_code(0).object();
    assert_eq!(super::types(&last), ["startGeneration", "completeRun"]);
    for (words, text) in [
        (&["log", "--since", "soon"][..], "\"soon\" is no time"),
        (&["log", "--last", "x"], "Invalid value for --last"),
        (&["log", "--last", "1", "--take", "1"], "cannot be used with"),
        (&["log", "--text", "--json"], "cannot be used with"),
        (&["log", "--follow", "--pretty"], "cannot be used with"),
    ] {
        let ran = run(&test, words).assert_code(2);
        assert!(ran.stderr.contains(text), "{words:?}: {}", ran.stderr);
    }
}

#[test]
fn a_step_is_shown_as_far_as_it_came() {
    let test = killed();
    let ran = test.run(["log", "nest", "--step", "2"]).assert_code(0);
    assert_has(
        &ran,
        ["  ▸ exec  [@perstack/base]\n      command: sh\n", "    … no result in this step\n  … not ended\n"],
    );
    assert_has(&test.run(["log", "nest", "--step", "9"]).assert_code(0), ["(no such step: the job has 2 steps)"]);
}

#[test]
fn numbers_of_a_job_count_its_delegates() {
    let test = team();
    let object = test.run(["log", "--json"]).assert_code(0).object();
    assert_eq!((&object["job"]["totalSteps"], &object["summary"]["toolCallCount"]), (&json!(5), &json!(2)));
    let of_runs: u64 =
        object["runs"].as_array().unwrap().iter().map(|run| run["usage"]["totalTokens"].as_u64().unwrap()).sum();
    assert_eq!(object["job"]["usage"]["totalTokens"], of_runs);
    let listed = test.run(["log", "--jobs", "--json"]).assert_code(0).object();
    assert_eq!(
        (&listed[0]["totalSteps"], &listed[0]["usage"]),
        (&object["job"]["totalSteps"], &object["job"]["usage"])
    );
    // Of a job that was killed, its Runs have the numbers.
    let killed = killed();
    let object = killed.run(["log", "--json"]).assert_code(0).object();
    assert_eq!((&object["job"]["totalSteps"], &object["job"]["usage"]["totalTokens"]), (&json!(2), &json!(240)));
}

#[test]
fn a_job_is_followed_over_a_crash_until_it_ends() {
    let first = Gate::new();
    let test = Test::with(Provider::Anthropic)
        .file("owls.txt", "")
        .answers([Answer::calls([append("c1", "a")]), Answer::hang_up().delay(&first)]);
    let running = test.spawn(["run", "librarian", "Count owls.", "--job-id", "nest"]);
    running.wait_for_request(2);
    let mut follow = Command::new(test.binary());
    follow.args(["log", "nest", "--follow"]);
    let following = test.start(follow);
    following.wait_for_stdout("[Step 2] startGeneration");
    running.kill();
    running.finish();
    first.open();
    following.wait_for_stdout("── job nest: interrupted, can be resumed");
    test.server().script([Answer::text("One owl.")]);
    test.run(["resume", "nest"]).assert_code(0);
    let ran = following.finish().assert_code(0);
    assert_has(&ran, ["  Result: One owl.\n"]);
    assert!(ran.stdout.ends_with("── job nest: completed\n"), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("[Step 1] startRun").count(), 1, "nothing is shown twice\n{}", ran.stdout);
    // One that has ended is shown and left.
    let ended = test.run(["log", "--follow", "--json"]).assert_code(0);
    assert_eq!(ended.events().last().unwrap()["type"], "completeRun");
}

#[cfg(unix)]
#[test]
fn only_the_users_own_environment_names_a_pager() {
    let test = several().env("TERM", "xterm").silent_stdin();
    let pager = |name: &str| format!("sh -c 'echo PAGER {name}; cat'");
    fs::write(
        test.workspace().join(".env"),
        format!("PAGER=\"{}\"\nPERSTACK_PAGER=\"{}\"\n", pager("folder"), pager("folder")),
    )
    .unwrap();
    let shown = |rows: usize, before: &str, more: &str| {
        let line = format!("stty cols 80 rows {rows}; {before} exec '{}' log nest {more}", test.binary().display());
        Some(at_new_terminal(&test, &line)?.finish().assert_code(0).stdout)
    };
    let named = format!("PERSTACK_PAGER=\"{}\"", pager("mine"));
    let Some(through) = shown(10, &named, "") else { return };
    assert!(through.contains("PAGER mine") && through.contains("To ask further"), "{through}");
    for (rows, before, more) in
        [(200, named.as_str(), ""), (10, &named, "--no-pager"), (10, "PAGER=cat", ""), (10, "TERM=dumb", "")]
    {
        let shown = shown(rows, before, more).unwrap();
        assert!(!shown.contains("PAGER") && shown.contains("To ask further"), "{before} {more}: {shown}");
    }
    // In a pipe there is none.
    let mut command = Command::new(test.binary());
    command.args(["log", "nest", "--events"]).env("PERSTACK_PAGER", "echo PAGER");
    assert!(!test.start(command).finish().assert_code(0).stdout.contains("PAGER"));
    let missing = shown(10, "PAGER=no-such-pager", "").unwrap();
    assert!(
        missing.contains("the pager no-such-pager cannot be started") && missing.contains("To ask further"),
        "{missing}"
    );
}

#[test]
fn usage_that_was_not_reported_is_not_zero_tokens() {
    let look = Answer::calls([call("c1", "healthCheck", json!({}))]).without_usage();
    let test = Test::with(Provider::OpenAiChat).answers([look, Answer::text("Two owls.").without_usage()]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    for view in [["log", "latest"], ["log", "--steps"], ["log", "--events"], ["log", "--step=1"]] {
        let shown = test.run(view).assert_code(0).stdout;
        assert!(!shown.contains(" 0 tokens") && !shown.contains("Tokens: 0"), "{shown}");
    }
}

/// Only the last events are made, and all others counted, as far as the names of checkpoints show where those are.
#[test]
fn the_last_events_are_those_of_the_whole_record() {
    let answers = (1..=9).map(|step| Answer::calls([super::append(&format!("c{step}"), "owl")]));
    let test = Test::with(Provider::Anthropic)
        .file("owls.txt", "")
        .answers(answers.chain([Answer::text("Nine."), Answer::text("Ten.")]));
    test.run(["run", "librarian", "Count owls.", "--job-id", "nest"]).assert_code(0);
    test.run(["resume", "nest", "And by day?"]).assert_code(0);
    let page = |args: &[&str]| {
        let ran = run(&test, &[&["log", "nest", "--events"], args].concat()).assert_code(0);
        let (head, events) = ran.stdout.split_once("\nEvents:\n").unwrap();
        let (_, runs) = head.split_once("\nRuns:\n").unwrap();
        let calls = head.lines().find(|line| line.starts_with("Tool calls: ")).unwrap();
        let events = events.lines().filter(|line| line.starts_with('[')).map(str::to_owned);
        let count = ran.stdout.lines().find(|line| line.starts_with("(showing ")).map(str::to_owned);
        ([calls, runs].map(str::to_owned), events.collect::<Vec<_>>(), count)
    };
    let check = || {
        let (head, all, count) = page(&["--take", "0"]);
        assert!(all.len() > 40 && count.is_none(), "{all:?}");
        for last in [1, 2, 5, 12, 30] {
            let (own_head, events, count) = page(&["--last", &last.to_string()]);
            assert_eq!((own_head, &events[..]), (head.clone(), &all[all.len() - last..]), "{last}");
            assert_eq!(count, Some(format!("(showing {last} of {} matched events)", all.len())));
        }
    };
    check();
    // The name of a file that is none of the Run's leads nowhere.
    let last = test.storage().last_checkpoint();
    for run in fs::read_dir(last.parent().unwrap().parent().unwrap()).unwrap() {
        fs::write(run.unwrap().path().join("checkpoint-900-x.json"), "").unwrap();
    }
    check();
}
