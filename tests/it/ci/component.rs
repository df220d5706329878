//! `templates/perstack.yml`: its script with the variables that GitLab's runner gives it.

use std::fs;

use super::{documents, filled, inputs, project, source, start};
use crate::support::{Answer, Ran, Test};

const INPUT: [&str; 2] = ["$[[", "]]"];

#[track_caller]
fn run(mut test: Test, given: &[(&str, &str)]) -> (Test, Ran) {
    let documents = documents(&source("templates/perstack.yml"));
    let [spec, jobs]: [_; 2] = documents.try_into().unwrap();
    let values = inputs(&spec["spec"]["inputs"], given);
    let (name, job) = jobs.as_object().unwrap().iter().next().unwrap();
    assert_eq!(filled(name, INPUT, &values), "perstack");
    for (name, value) in job["variables"].as_object().unwrap() {
        let value = value.as_str().or(value["value"].as_str()).unwrap();
        test = test.env(name, &filled(value, INPUT, &values));
    }
    let script = job["script"][0].as_str().unwrap();
    assert!(!script.contains("$[["), "an input is a part of the script");
    let ran = start(&test, script).finish();
    (test, ran)
}

#[test]
fn the_answer_is_in_its_file() {
    let world = || project("").file("change.diff", "+tawny\n");
    let given = [("expert", "reviewer"), ("query", "Review $HOME \"this\"."), ("image", "owls")];
    let with_input = [&given[..], &[("input-file", "change.diff"), ("arguments", "--untrusted\n--read-only")]].concat();
    for (given, is_sent) in [(&given[..], false), (&with_input[..], true)] {
        let (test, ran) = run(world().answers([Answer::text("Fine.")]), given);
        ran.assert_code(0);
        assert_eq!(fs::read_to_string(test.workspace().join("answer.txt")).unwrap(), "Fine.\n");
        let request = test.server().requests()[0].clone();
        assert!(request.contains("Review $HOME"));
        assert_eq!(request.contains("+tawny"), is_sent);
    }
}

#[test]
fn a_job_with_an_id_is_brought_to_its_end_once() {
    let given = [("expert", "migrator"), ("query", "q"), ("image", "owls"), ("job-id", "port-7")];
    let test = project("").answers([Answer::text("Ported.")]);
    let (test, ran) = run(test, &given);
    ran.assert_code(0);
    let (test, ran) = run(test, &given);
    ran.assert_code(0);
    assert_eq!(test.server().requests().len(), 1);
}

#[test]
fn a_failed_job_fails() {
    let given = [("expert", "reviewer"), ("query", "q"), ("image", "owls")];
    let (test, ran) = run(project("").answers([Answer::status(400)]), &given);
    ran.assert_code(1);
    assert!(!test.workspace().join("answer.txt").exists());
}
