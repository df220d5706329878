//! `perstack test --live`: cases that ask the model, each repetition in a workspace of its own; their commands, judges, repetitions
//! and common budget; recordings, baselines, and mistakes that are found before anything is asked.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::each::{dollars, metered};
use crate::interactive::on_terminal;
use crate::support::contracts::assert_tests;
use crate::support::process::Ran;
use crate::support::{Answer, Gate, Provider, Request, Test, call};

const TOML: &str =
    "[experts.librarian]\ninstruction = \"You know owls.\"\n[experts.critic]\ninstruction = \"You judge.\"\n";

/// A test with one file of cases.
fn live(cases: &str) -> Test {
    Test::new().toml(TOML).provider(Provider::Anthropic).file("owls.test.toml", cases)
}

fn case(keys: &str, expect: &str) -> String {
    format!("[cases.c]\nexpert = \"librarian\"\nquery = \"Row 1.\"\n{keys}\n[cases.c.expect]\n{expect}\n")
}

/// The results as an object that is valid by its schema.
fn results(ran: &Ran) -> Value {
    let object = ran.object();
    assert_tests(&object);
    object
}

fn is_judge(request: &Request) -> bool {
    request.contains("Judge the answer in this object")
}

#[test]
fn a_case_works_in_a_copy_of_its_workspace() {
    let cases = case("workspace = \"nest\"\nfiles = [\"note.md\"]", "contains = \"Done\"\ntools = [\"writeTextFile\"]");
    let test = live(&cases).file("nest/owl.txt", "An owl.").file("note.md", "A note.").file("mine.txt", "mine");
    let call = |id: &str, tool: &str, args: Value| Answer::calls([call(id, tool, args)]);
    let test = test.answers([
        call("c1", "readTextFile", json!({"path": "owl.txt"})),
        call("c2", "readTextFile", json!({"path": "mine.txt"})),
        call("c3", "writeTextFile", json!({"path": "owl.txt", "text": "Another owl."})),
        Answer::text("Done."),
    ]);
    let ran = test.run(["test", "--live"]).assert_code(0);
    assert!(ran.stdout.starts_with("passed owls.test.toml: c\n  4 steps"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("1 passed, 0 failed\n"), "{}", ran.stdout);
    assert!(ran.stderr.contains("owls.test.toml: c: passed (4 steps"), "{}", ran.stderr);
    let requests = test.server().requests();
    assert!(requests[0].contains("A note."), "the file goes along");
    let answered = requests[3].results();
    assert!(answered[0].1.contains("An owl.") && !answered[1].1.contains("\"mine\""), "{answered:?}");
    assert_eq!(fs::read_to_string(test.workspace().join("nest/owl.txt")).unwrap(), "An owl.");
    assert_eq!(test.storage().jobs().len(), 1, "the job is kept for `perstack log`");
}

#[test]
fn without_the_flag_cases_are_skipped_aloud() {
    let test = live(&case("", "contains = \"owl\""));
    let ran = test.run(["test"]).assert_code(2);
    assert!(ran.stdout.contains("skipped owls.test.toml: c: it asks a model"), "{}", ran.stdout);
    ran.assert_stderr(["nothing was tested: skipped 1 case, as a model would be asked", "--live asks it"]);
    // Beside a recorded case they change nothing but the count.
    let test = test.answers([Answer::text("An owl.")]);
    test.run(["run", "librarian", "Go.", "--record", "owls.cassette"]).assert_code(0);
    let test = test.file("b.test.toml", "[cases.r]\ncassette = \"owls.cassette\"\n");
    let ran = test.run(["test", "--output", "json"]).assert_code(0);
    assert!(ran.stderr.contains("skipped 1 case, as a model would be asked; --live asks it"), "{}", ran.stderr);
    let object = results(&ran);
    let numbers = ["passed", "skipped", "cost"].map(|key| object[key].as_f64());
    assert_eq!(numbers, [Some(1.0), Some(1.0), Some(0.0)]);
    assert_eq!(object["cases"][1]["status"], "skipped");
    test.run(["test", "--repeat", "2"]).assert_code(2).assert_stderr(["--live"]);
    assert_eq!(test.server().requests().len(), 1);
}

#[test]
fn repetitions_are_counted_and_estimated() {
    let test = live(&case("repeat = 5\npasses = 4", "contains = \"owl\""));
    let asked = Arc::new(AtomicU64::new(0));
    let odd = Arc::clone(&asked);
    test.server().answer_by(move |_| Answer::text(if odd.fetch_add(1, Ordering::SeqCst) == 2 { "bee" } else { "owl" }));
    let ran = test.run(["test", "--live", "--output", "json", "--junit", "r.xml"]).assert_code(0);
    let found = &results(&ran)["cases"][0];
    assert_eq!(
        (&found["status"], &found["requiredPasses"], &found["failures"]),
        (&json!("passed"), &json!(4), &json!([]))
    );
    let estimates = [(0.8, 0.8), (1.0, 0.6), (1.0, 0.4), (1.0, 0.2), (1.0, 0.0)];
    let expected: Vec<Value> =
        (1..).zip(estimates).map(|(k, (any, all))| json!({"k": k, "any": any, "all": all})).collect();
    assert_eq!(found["estimates"], json!(expected));
    let repetitions = found["repetitions"].as_array().unwrap();
    assert_eq!(repetitions.iter().filter(|it| it["status"] == "failed").count(), 1);
    assert!(repetitions.iter().all(|it| it["jobId"].is_string() && it["steps"] == 1), "{repetitions:?}");
    assert_eq!((&found["steps"], test.storage().jobs().len()), (&json!(5), 5));
    let xml = fs::read_to_string(test.workspace().join("r.xml")).unwrap();
    assert!(xml.contains("<property name=\"passes\" value=\"4\"/>"), "{xml}");
    // The same answers are too few for another requirement.
    asked.store(0, Ordering::SeqCst);
    let test = test.file("owls.test.toml", case("repeat = 5\nminPassRate = 0.9", "contains = \"owl\""));
    let ran = test.run(["test", "--live"]).assert_code(1);
    for part in [
        "4 of 5 repetitions passed, 5 needed; pass@1 0.8",
        "pass^2 0.6",
        ": the answer does not contain \"owl\": \"bee\"",
        "perstack log ",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    // A number on the command line that leaves too few for `passes` is a mistake.
    let test = test.file("owls.test.toml", case("repeat = 5\npasses = 4", ""));
    test.run(["test", "--live", "--repeat", "3"])
        .assert_code(2)
        .assert_stderr(["cases.c: `passes` asks for more", "minPassRate"]);
    test.run(["test", "--live", "--repeat", "0"]).assert_code(2);
}

#[test]
fn a_command_decides_in_the_cases_workspace() {
    let write = |text: &str| {
        let args = json!({"path": "out.txt", "text": text});
        [Answer::calls([call("c1", "writeTextFile", args)]), Answer::text("Done.")]
    };
    let command = "grep -q owl out.txt || { echo no owl here >&2; exit 3; }";
    let test = live(&case("", &format!("command = \"{command}\""))).answers(write("an owl"));
    test.run(["test", "--live"]).assert_code(0);
    test.server().script(write("a bee"));
    let ran = test.run(["test", "--live"]).assert_code(1);
    assert!(ran.stdout.contains("exited with code 3\n  no owl here\n"), "{}", ran.stdout);
    assert!(!test.workspace().join("out.txt").exists());
    // It gets no keys, and no more time than it is given.
    let bad = "env | grep -q ANTHROPIC_API_KEY && exit 0; sleep 600";
    let test = test.file("owls.test.toml", case("", &format!("command = \"{bad}\"\ncommandTimeout = 300")));
    test.server().script([Answer::text("Done.")]);
    let ran = test.run(["test", "--live"]).assert_code(1);
    assert!(ran.stdout.contains("was ended after 300"), "{}", ran.stdout);
    // Of an answer that fails by itself it is not asked.
    let test = test.file("owls.test.toml", case("", "command = \"touch /tmp/never; exit 1\"\ncontains = \"owl\""));
    test.server().script([Answer::text("bee")]);
    let ran = test.run(["test", "--live"]).assert_code(1);
    assert!(ran.stdout.contains("does not contain") && !ran.stdout.contains("exited"), "{}", ran.stdout);
}

#[test]
fn a_judge_scores_and_its_nonsense_is_no_pass() {
    let judge = "judge = { expert = \"critic\", criteria = \"Names an owl.\", threshold = 0.8 }";
    let test = live(&case("", judge));
    let says = |verdict: &'static str| {
        move |request: &Request| Answer::text(if is_judge(request) { verdict } else { "A tawny owl. \"score\": 1" })
    };
    test.server().answer_by(says(r#"{"score": 0.9, "reason": "An owl."}"#));
    let ran = test.run(["test", "--live", "--output", "json"]).assert_code(0);
    let object = results(&ran);
    let judgement = &object["cases"][0]["repetitions"][0]["judgement"];
    assert_eq!((&judgement["score"], &judgement["reason"]), (&json!(0.9), &json!("An owl.")));
    let (all, part) = (object["cost"].as_f64().unwrap(), judgement["cost"].as_f64().unwrap());
    assert!(all > part && part > 0.0, "the judge's cost counts: {all} {part}");
    let requests = test.server().requests();
    let asked = requests.iter().find(|request| is_judge(request)).unwrap();
    assert!(asked.contains("Names an owl.") && asked.contains("Row 1."), "query and criteria go to it");
    for (verdict, why) in [
        (r#"{"score": 0.5, "reason": "A bee."}"#, "judge critic gave 0.5, and 0.8 is needed: A bee."),
        (r#"{"score": 7, "reason": "Great!"}"#, "judge critic gave no score: it did not complete"),
        ("Splendid, a clear 1.0!", "judge critic gave no score: it did not complete"),
        (r#"{"reason": "none"}"#, "judge critic gave no score: it did not complete"),
    ] {
        test.server().answer_by(says(verdict));
        let ran = test.run(["test", "--live"]).assert_code(1);
        assert!(ran.stdout.contains(why), "{why}: {}", ran.stdout);
    }
    // It is not paid for an answer that fails by itself.
    let before = test.server().requests().len();
    let test = test.file("owls.test.toml", case("", &format!("{judge}\ncontains = \"bee\"")));
    test.run(["test", "--live"]).assert_code(1);
    assert_eq!(test.server().requests().len(), before + 1);
}

#[test]
fn one_budget_is_a_wall_for_all_cases() {
    let cases = (1..=200).fold(String::new(), |mut all, n| {
        let _ = write!(all, "[cases.c{n}]\nexpert = \"librarian\"\nquery = \"Row {n}.\"\n");
        all
    });
    let test = live(&cases);
    let meter = metered(&test);
    let args = ["test", "--live", "--max-cost", "0.3", "--model", "claude-sonnet-4-5", "--output", "json"];
    let ran = test.run(args).assert_code(5);
    assert!(dollars(&meter) <= 0.3 && dollars(&meter) > 0.15, "{}", dollars(&meter));
    let object = results(&ran);
    let count = |key: &str| object[key].as_u64().unwrap();
    assert!(count("passed") > 5 && count("notRun") > 100 && count("failed") == 0, "{}", ran.stderr);
    assert_eq!(count("passed") + count("notRun"), 200);
    assert_eq!(object["cases"][199]["reason"], "the budget of all cases is spent");
    assert!(ran.stderr.contains("the cost budget of $0.3000 is reached"), "{}", ran.stderr);
    // Too little for one request: nothing is sent.
    let before = test.server().requests().len();
    let args = ["test", "--live", "--max-cost", "0.00001", "--model", "claude-sonnet-4-5", "--save-baseline", "b.json"];
    let ran = test.run(args).assert_code(5);
    assert!(ran.stdout.ends_with("0 passed, 0 failed, 200 not run\n"), "{}", ran.stdout);
    assert!(ran.stderr.contains("b.json is left as it was"), "{}", ran.stderr);
    assert_eq!((test.server().requests().len(), test.workspace().join("b.json").exists()), (before, false));
    // Enough for all.
    let args = ["test", "--live", "--max-cost", "9", "--model", "claude-sonnet-4-5", "--parallel", "16", "--quiet"];
    let ran = test.run(args).assert_code(0);
    assert!(ran.stdout.ends_with("200 passed, 0 failed\n") && ran.stderr.is_empty(), "{}", ran.stderr);
}

#[test]
fn what_has_no_price_has_no_budget() {
    let test = live(&case("model = \"my-own-model\"", "maxCost = 1.0"));
    test.run(["test", "--live", "--max-cost", "1"]).assert_code(2).assert_stderr(["cases.c: ", "my-own-model"]);
    test.server().script([Answer::text("Owls.")]);
    let ran = test.run(["test", "--live"]).assert_code(1);
    assert!(ran.stdout.contains("its cost is not known"), "{}", ran.stdout);
    // The flag goes before the case's model.
    test.server().script([Answer::text("Owls.")]);
    test.run(["test", "--live", "--max-cost", "1", "--model", "claude-sonnet-4-5"]).assert_code(0);
}

#[test]
fn a_recording_is_made_of_what_passes_and_holds_then() {
    let cases = case(
        "cassette = \"owls.cassette\"\nworkspace = \"nest\"\nrepeat = 2\npasses = 1",
        "contains = \"owl\"\nmaxTime = \"10m\"",
    );
    let test = live(&cases).file("nest/AGENTS.md", "Whisper.").file("nest/owl.txt", "An owl.");
    let toml = TOML.replace("[experts.critic]", "context = [\"AGENTS.md\"]\n[experts.critic]");
    let test = test.toml(&toml);
    let ran = test.run(["test"]).assert_code(1);
    assert!(ran.stdout.contains("perstack test --live --record makes it"), "{}", ran.stdout);
    let read = || Answer::calls([call("c1", "readTextFile", json!({"path": "owl.txt"}))]);
    // The first answer fails, and is not recorded.
    test.server().script([Answer::text("A bee."), read(), Answer::text("An owl.")]);
    let ran = test.run(["test", "--live", "--record", "--parallel", "1"]).assert_code(0);
    assert!(ran.stderr.contains("repetition 2: passed, recorded"), "{}", ran.stderr);
    let asked = test.server().requests().len();
    let ran = test.run(["test"]).assert_code(0);
    let lines = "passed owls.test.toml: c\n  not looked at without --live: maxTime\n1 passed, 0 failed\n";
    assert_eq!((ran.stdout.as_str(), test.server().requests().len()), (lines, asked));
    // A failed repetition leaves the recording alone.
    test.server().script([Answer::text("A bee."), Answer::text("A bee.")]);
    test.run(["test", "--live", "--record"]).assert_code(1);
    test.run(["test"]).assert_code(0);
    fs::write(test.workspace().join("nest/AGENTS.md"), "Shout.").unwrap();
    let ran = test.run(["test"]).assert_code(1);
    assert!(ran.stdout.contains("step 1 of expert librarian differs: context file AGENTS.md"), "{}", ran.stdout);
    test.run(["test", "--live", "--record", "--max-cost", "1"]).assert_code(2);
    let test = test.file("owls.test.toml", case("", ""));
    test.run(["test", "--live", "--record"]).assert_code(2).assert_stderr(["no case has an expert and a cassette"]);
}

#[test]
fn a_baseline_names_what_changed_and_why() {
    let cases = "[cases.r]\ncassette = \"owls.cassette\"\n".to_owned()
        + &case("repeat = 2\nminPassRate = 0.5", "contains = \"owl\"");
    let test = live(&cases).answers([Answer::text("An owl.")]);
    test.run(["run", "librarian", "Go.", "--record", "owls.cassette"]).assert_code(0);
    test.server().answer_by(|_| Answer::text("owl"));
    let ran = test.run(["test", "--live", "--save-baseline", "b.json", "--output", "json"]).assert_code(0);
    assert_eq!(fs::read_to_string(test.workspace().join("b.json")).unwrap(), ran.stdout, "it is that JSON");
    let ran = test.run(["test", "--live", "--baseline", "b.json"]).assert_code(0);
    assert!(
        ran.stdout.contains("compared with b.json: 0 worse, 0 better, 0 new, 0 gone, 2 the same\n"),
        "{}",
        ran.stdout
    );
    let asked = Arc::new(AtomicU64::new(0));
    test.server()
        .answer_by(move |_| Answer::text(if asked.fetch_add(1, Ordering::SeqCst) == 0 { "bee" } else { "owl" }));
    let test = test.file("other.toml", TOML.replace("know owls", "know bees"));
    let args = ["test", "--live", "--config", "other.toml", "--baseline", "b.json", "--output", "json"];
    let ran = test.run(args).assert_code(1);
    let changes = &results(&ran)["baseline"];
    let worse = changes["worse"].as_array().unwrap();
    assert_eq!((worse.len(), &worse[0]["name"], &worse[0]["before"]), (2, &json!("r"), &json!("passed")));
    assert_eq!(worse[0]["why"], json!(["step 1 of expert librarian differs: instruction"]));
    assert_eq!((&worse[1]["name"], &worse[1]["now"]), (&json!("c"), &json!("passed (1 of 2 repetitions)")));
    for (text, why) in [
        ("{\"schemaVersion\": 2}", "is of version 2, and this perstack reads version 1"),
        ("{\"schemaVersion\": 1, \"passed\"", "is damaged or no result"),
        ("passed", "is damaged or no result"),
    ] {
        fs::write(test.workspace().join("b.json"), text).unwrap();
        test.run(["test", "--baseline", "b.json"]).assert_code(2).assert_stderr([why, "--save-baseline"]);
    }
    test.run(["test", "--baseline", "none.json"]).assert_code(2).assert_stderr(["none.json cannot be read"]);
}

#[test]
fn mistakes_are_found_before_anything_is_asked() {
    let judge = |expert: &str| format!("judge = {{ expert = \"{expert}\", criteria = \"c\", threshold = 1 }}");
    let good = "[cases.good]\nexpert = \"librarian\"\nquery = \"q\"\n";
    for (cases, why) in [
        (case("", "").replace("librarian", "librarina"), "cases.c: expert \"librarina\""),
        (case("", &judge("critci")), "did you mean \"critic\"?"),
        (case("", &judge("librarian")), "librarian would judge its own answer"),
        (case("files = [\"none.md\"]", ""), "none.md"),
        (case("workspace = \"none\"", ""), "workspace"),
        (case("workspace = \"perstack.toml\"", ""), "is no folder"),
        (case("repeat = 0", ""), "owls.test.toml:7:10: cases.c.repeat: expected a whole number from 1 to 1000"),
        (case("repaet = 2", ""), "owls.test.toml:7:1: cases.c.repaet: unknown key; did you mean \"repeat\"?"),
        (case("", "comand = \"make\""), "did you mean \"command\"?"),
    ] {
        let test = live(&format!("{good}{cases}"));
        let ran = test.run(["test", "--live"]).assert_code(2);
        assert!(ran.stderr.contains(why) && ran.stdout.is_empty(), "{why}: {}", ran.stderr);
        assert!(test.server().requests().is_empty() && ran.stderr.contains("owls.test.toml"), "{}", ran.stderr);
    }
    let test = live("").file("owls.test.toml", b"[cases.c]\nquery = \"\xff\"\n");
    test.run(["test", "--live"]).assert_code(2).assert_stderr(["owls.test.toml"]);
    let test = live(&case("", "")).unset("ANTHROPIC_API_KEY");
    let ran = test.run(["test", "--live"]).assert_code(2);
    assert!(ran.stderr.contains("cases.c: ") && ran.stderr.contains("ANTHROPIC_API_KEY"), "{}", ran.stderr);
}

#[test]
fn a_signal_ends_all_and_what_was_done_is_reported() {
    let cases: String =
        (1..=3).map(|n| case("", "").replace(".c", &format!(".c{n}")).replace("Row 1", &format!("Row {n}"))).collect();
    let test = live(&cases);
    let gate = Gate::new();
    let held = gate.clone();
    test.server().answer_by(move |request| {
        let answer = Answer::text("owl");
        if request.contains("Row 2.") { answer.delay(&held) } else { answer }
    });
    let running = test.spawn(["test", "--live", "--parallel", "1", "--junit", "r.xml"]);
    running.wait_for_request(2);
    running.signal(Signal::INT);
    let ran = running.finish().assert_code(130);
    gate.open();
    assert!(ran.stdout.starts_with("passed owls.test.toml: c1\n"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("1 passed, 0 failed, 2 not run\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("not run owls.test.toml: c3: stopped by a signal"), "{}", ran.stdout);
    let xml = fs::read_to_string(test.workspace().join("r.xml")).unwrap();
    assert!(xml.contains("failures=\"0\" errors=\"2\""), "{xml}");
}

#[test]
fn on_a_terminal_the_numbers_are_drawn_and_commands_need_trust() {
    let test = live(&case("repeat = 3", "")).env("TERM", "xterm");
    test.server().answer_by(|_| Answer::text("owl"));
    let Some(running) = on_terminal(&test, "test --live") else { return };
    let ran = running.finish().assert_code(0);
    assert!(ran.stdout.contains("of 3: "), "{}", ran.stdout);
    // Of a folder whose experts can do no harm nothing is asked, and the command is the case's own.
    let base = "[experts.librarian.skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \"npx\"\n\
        packageName = \"@perstack/base\"\nomit = [\"exec\"]\n";
    let toml = format!("[experts.librarian]\ninstruction = \"You know owls.\"\n{base}");
    let test = test.toml(&toml).file("owls.test.toml", case("", "command = \"true\""));
    let line = format!("exec '{}' test --live", test.binary().display());
    let Some(running) = crate::interactive::at_new_terminal(&test, &line) else { return };
    let ran = running.finish().assert_code(2);
    assert!(ran.stdout.contains("refused in a folder that is not trusted: the case has a command"), "{}", ran.stdout);
    let Some(running) = crate::interactive::at_new_terminal(&test, &format!("{line} --trust")) else { return };
    running.finish().assert_code(0);
}
