//! `action.yml`: its scripts with the variables that GitHub's runner gives them.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::{documents, filled, inputs, project, source, start};
use crate::support::{Answer, Ran, Test, call};

const EXPRESSION: [&str; 2] = ["${{", "}}"];

fn action() -> Value {
    documents(&source("action.yml")).remove(0)
}

fn steps() -> Vec<Value> {
    action()["runs"]["steps"].as_array().unwrap().clone()
}

fn world() -> Test {
    in_runner(project(""))
}

/// The world with the variables of GitHub's runner.
pub fn in_runner(test: Test) -> Test {
    let at = |name: &str| test.root().join(name).to_str().unwrap().to_owned();
    let (output, summary, path) = (at("output"), at("summary"), at("path"));
    let root = at("");
    let test = test.env("GITHUB_OUTPUT", &output).env("GITHUB_STEP_SUMMARY", &summary).env("GITHUB_PATH", &path);
    test.env("RUNNER_TEMP", &root)
}

/// Runs the step of this name with these inputs.
#[track_caller]
pub fn run(mut test: Test, step: &str, given: &[(&str, &str)], github: &[(&str, &str)]) -> (Test, Ran) {
    let step = steps().into_iter().find(|each| each["name"] == step).unwrap();
    let mut values = inputs(&action()["inputs"], given);
    values.extend(github.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    for (name, value) in step["env"].as_object().unwrap() {
        test = test.env(name, &filled(value.as_str().unwrap(), EXPRESSION, &values));
    }
    let ran = start(&test, step["run"].as_str().unwrap()).finish();
    (test, ran)
}

/// The outputs in the runner's file: `NAME=VALUE`, or `NAME<<END` with the lines up to the end.
fn outputs(test: &Test) -> BTreeMap<String, String> {
    let file = fs::read_to_string(test.root().join("output")).unwrap();
    let mut lines = file.lines();
    let mut outputs = BTreeMap::new();
    while let Some(line) = lines.next() {
        let (name, value) = match line.split_once("<<") {
            Some((name, end)) => {
                let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
                (name, value.join("\n"))
            }
            None => line.split_once('=').map(|(name, value)| (name, value.to_owned())).unwrap(),
        };
        outputs.insert(name.to_owned(), value);
    }
    outputs
}

#[test]
fn no_input_is_a_part_of_a_script() {
    let mut scripts: Vec<String> = steps().iter().filter_map(|step| step["run"].as_str().map(str::to_owned)).collect();
    for job in documents(&source(".github/workflows/release.yml"))[0]["jobs"].as_object().unwrap().values() {
        let steps = job["steps"].as_array().unwrap();
        scripts.extend(steps.iter().filter_map(|step| step["run"].as_str().map(str::to_owned)));
    }
    assert!(scripts.len() > 4);
    for script in scripts {
        assert!(!script.contains("${{"), "{script}");
    }
}

#[test]
fn the_answer_and_the_end_are_outputs() {
    let hostile = "Two.\nexit-code=0\nanswer<<end\nplanted";
    let test = world().file("change.diff", "+tawny\n").answers([Answer::text(hostile)]);
    let given = [("expert", "reviewer"), ("query", "Review $(touch planted) \"this\"."), ("input-file", "change.diff")];
    let (test, ran) = run(test, "Run", &[&given[..], &[("arguments", "--untrusted\n--max-cost=0.50\n")]].concat(), &[]);
    ran.assert_code(0);
    let outputs = outputs(&test);
    assert_eq!(outputs["answer"], hostile);
    assert_eq!((outputs["exit-code"].as_str(), outputs["status"].as_str()), ("0", "completed"));
    assert_eq!(outputs["job"], test.storage().job_id());
    assert!(outputs["checkpoint"].contains("checkpoint-"), "{outputs:?}");
    let declared = action()["outputs"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for name in declared {
        assert!(outputs.contains_key(&name), "{name}");
    }
    let request = test.server().requests()[0].clone();
    assert!(request.contains("$(touch planted)") && request.contains("+tawny"));
    assert!(!test.workspace().join("planted").exists());
    assert!(fs::read_to_string(test.root().join("summary")).unwrap().contains("reviewer"));
}

#[test]
fn the_step_fails_unless_the_code_is_named() {
    let reads = || Answer::calls([call("c1", "readTextFile", json!({"path": "perstack.toml"}))]);
    let given = [("expert", "auditor"), ("query", "q"), ("arguments", "--max-steps=1")];
    let (test, ran) = run(world().answers([reads()]), "Run", &given, &[]);
    ran.assert_code(3);
    assert_eq!(outputs(&test)["exit-code"], "3");
    let given = [&given[..], &[("finishes-with", "3 5")]].concat();
    let (test, ran) = run(world().answers([reads()]), "Run", &given, &[]);
    ran.assert_code(0);
    let outputs = outputs(&test);
    assert_eq!((outputs["exit-code"].as_str(), outputs["answer"].as_str()), ("3", ""));
    assert_eq!(outputs["status"], "stoppedByExceededMaxSteps");
    // An expert that is not there: nothing ran, and nothing of an earlier run is taken for its result.
    let (_, ran) = run(test, "Run", &[("expert", "nobody"), ("query", "q")], &[]);
    ran.assert_code(2);
}

#[test]
fn a_job_with_an_id_is_brought_to_its_end_once() {
    let given = [("expert", "migrator"), ("query", "q"), ("job-id", "port-7")];
    let (test, ran) = run(world().answers([Answer::text("Ported.")]), "Run", &given, &[]);
    ran.assert_code(0);
    let (test, ran) = run(test, "Run", &given, &[]);
    ran.assert_code(0);
    assert_eq!(outputs(&test)["answer"], "Ported.");
    assert_eq!(test.server().requests().len(), 1);
    assert_eq!(test.storage().job_id(), "port-7");
}
