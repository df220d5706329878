//! `docs/ci.md`: each recipe as typed.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::Signal;
use serde_json::json;

use super::{project, source, start};
use crate::support::process::Running;
use crate::support::{Answer, Gate, call};

/// The recipes by their headings: the blocks of each.
fn recipes() -> BTreeMap<String, Vec<String>> {
    let page = source("docs/ci.md");
    let sections = page.split("\n## ").skip(1);
    let recipes = sections.map(|section| {
        let (heading, text) = section.split_once('\n').unwrap();
        let blocks = text.split("\n```sh\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0.to_owned());
        (heading.to_owned(), blocks.collect::<Vec<_>>())
    });
    recipes.filter(|(_, blocks)| !blocks.is_empty()).collect()
}

/// The only block of a recipe.
#[track_caller]
fn recipe(heading: &str) -> String {
    let mut recipes = recipes();
    let blocks = recipes.remove(heading).unwrap_or_else(|| panic!("no recipe {heading:?}"));
    let [block]: [String; 1] = blocks.try_into().unwrap();
    block
}

fn question() -> Answer {
    Answer::calls([call("q1", "ask", json!({"question": "Which release?"}))])
}

#[test]
fn each_recipe_has_its_test() {
    let tested = [
        "A decision by exit code",
        "A job that was cancelled",
        "A matrix with one budget",
        "A nightly run",
        "A review of a diff",
        "An answer in a variable",
    ];
    assert_eq!(recipes().into_keys().collect::<Vec<_>>(), tested);
}

#[test]
fn an_answer_in_a_variable() {
    let script = recipe("An answer in a variable");
    let test = project("").answers([Answer::text("Owls hunt by ear.")]);
    let ran = start(&test, &script).finish().assert_code(0);
    assert_eq!(ran.stdout, "Release notes: Owls hunt by ear.\n");
    // A job that failed has no answer: nothing after it runs.
    let test = project("").answers([Answer::status(400)]);
    assert_eq!(start(&test, &script).finish().assert_code(1).stdout, "");
}

#[test]
fn a_decision_by_exit_code() {
    let script = recipe("A decision by exit code");
    let test = project("").answers([Answer::text("It may.")]);
    assert_eq!(start(&test, &script).finish().assert_code(0).stdout, "It may.\n");

    let calls =
        |number| Answer::calls([call(&format!("c{number}"), "todo", json!({"newTodos": [format!("{number}")]}))]);
    let test = project("").answers((0..20).map(calls));
    start(&test, &script).finish().assert_code(1).assert_stderr(["The audit needs a larger limit"]);

    let asking = "[experts.auditor.skills.person]\ntype = \"interactiveSkill\"\n[experts.auditor.skills.person.tools.ask]\n\
                  description = \"Asks.\"\ninputJsonSchema = '{\"type\": \"object\"}'\n";
    let test = project(asking).answers([question()]);
    start(&test, &script).finish().assert_code(1).assert_stderr(["The audit asks something"]);

    let test = project("").answers([Answer::status(400)]);
    start(&test, &script).finish().assert_code(1);
}

#[test]
fn a_review_of_a_diff() {
    let plants = call("c1", "writeTextFile", json!({"path": "planted", "text": "text"}));
    let test = project("").answers([Answer::calls([plants]), Answer::text("It is **fine**.")]);
    let repository = "git init -q -b main\ngit config user.name t\ngit config user.email t@example.com\n\
                      echo barn > owls\ngit add owls\ngit commit -qm first\ngit update-ref refs/remotes/origin/main HEAD\n\
                      echo tawny >> owls\ngit commit -qam second\n";
    let script = format!("{repository}{}", recipe("A review of a diff"));
    start(&test, &script).finish().assert_code(0);
    assert!(test.server().requests()[0].contains("+tawny"), "the change is not in the request");
    assert!(!test.workspace().join("planted").exists(), "a reviewer wrote a file");
    assert_eq!(fs::read_to_string(test.workspace().join("review.md")).unwrap(), "It is **fine**.\n");
    assert!(fs::read_to_string(test.workspace().join("summary.md")).unwrap().contains("reviewer"));
}

#[test]
fn a_matrix_with_one_budget() {
    let script = recipe("A matrix with one budget");
    let test = project("").env("BUILD_ID", "7").answers((0..3).map(|_| Answer::text("Fine.")));
    start(&test, &script).finish().assert_code(0);
    for part in ["api", "web", "docs"] {
        assert_eq!(fs::read_to_string(test.workspace().join(format!("{part}.md"))).unwrap(), "Fine.\n");
    }
    // What is spent is gone for all of them.
    let small = script.replace("--max-cost 2", "--max-cost 0.000001");
    let ran = start(&test, &small).finish().assert_code(5);
    assert!(ran.stderr.contains("review-7"), "{}", ran.stderr);
    assert_eq!(test.server().requests().len(), 3);
}

#[test]
fn a_job_that_was_cancelled() {
    let blocks = recipes().remove("A job that was cancelled").unwrap();
    let [take_back, run, keep]: [String; 3] = blocks.try_into().unwrap();
    let gate = Gate::new();
    let reads = call("c1", "readTextFile", json!({"path": "perstack.toml"}));
    let test = project("").env("BUILD_ID", "7").answers([
        Answer::calls([reads]),
        Answer::text("Cut off.").delay(&gate),
        Answer::text("Ported."),
    ]);
    let job = || -> Running { start(&test, &format!("{take_back}\n{run}")) };
    let cancelled = job();
    cancelled.wait_for_request(2);
    // As the CI system does it: to the shell alone.
    cancelled.signal(Signal::TERM);
    cancelled.finish().assert_code(143);
    gate.open();
    // Another machine has the archive alone.
    let moves = format!("{keep}\nrm -r perstack");
    start(&test, &moves).finish().assert_code(0);
    assert_eq!(job().finish().assert_code(0).stdout, "Ported.\n");
    let requests = test.server().requests();
    assert_eq!(requests.len(), 3, "the first step was taken again");
    assert_eq!(requests[2].results().len(), 1);
    // And once it has completed, its answer is there without a model.
    start(&test, &moves).finish().assert_code(0);
    assert_eq!(job().finish().assert_code(0).stdout, "Ported.\n");
    assert_eq!(test.server().requests().len(), 3);
}

#[test]
fn a_nightly_run() {
    // The date of a test does not change at midnight.
    let date = "mkdir bin\nprintf '#!/bin/sh\\necho 2026-11-27\\n' > bin/date\nchmod +x bin/date\n";
    let test = project("").answers([Answer::text("Two failed.")]);
    let report = test.workspace().join("report.md");
    for before in [date, "rm report.md\n"] {
        start(&test, &format!("{before}{}", recipe("A nightly run"))).finish().assert_code(0);
        assert_eq!(fs::read_to_string(&report).unwrap(), "Two failed.\n");
    }
    assert_eq!(test.server().requests().len(), 1);
    assert_eq!(test.storage().job_id(), "nightly-2026-11-27");
}
