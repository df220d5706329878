//! `examples/fleet/github-actions.yaml`: its matrix, each job on a machine of its own, as GitHub's runner starts it.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{documents, filled, project, source, start};
use crate::support::answer::Tokens;
use crate::support::process::Running;
use crate::support::s3::S3;
use crate::support::{Answer, Gate, Test, call};

const EXPRESSION: [&str; 2] = ["${{", "}}"];
const TURN: Tokens = Tokens { input: 100, cached: 0, output: 1000, reasoning: 0 };

/// The only job of the recipe.
fn recipe() -> Value {
    documents(&source("examples/fleet/github-actions.yaml")).remove(0)["jobs"]["review"].take()
}

/// A store with the bucket of the recipe's, and the project that is checked out.
fn world() -> (S3, Test) {
    let s3 = S3::start();
    let test = s3.at(project("")).env("GITHUB_RUN_ID", "7");
    (s3, test)
}

/// The parts of the matrix.
fn parts() -> Vec<String> {
    let parts = recipe()["strategy"]["matrix"]["part"].as_array().unwrap().clone();
    parts.iter().map(|part| part.as_str().unwrap().to_owned()).collect()
}

/// Starts the job of a part on a machine that has run none before.
fn on_a_machine(test: &Test, machine: &str, part: &str) -> Running {
    let recipe = recipe();
    let step = recipe["steps"].as_array().unwrap().iter().find(|step| step["name"] == "Review").unwrap();
    let mut values: BTreeMap<String, String> = BTreeMap::from([("matrix.part".to_owned(), part.to_owned())]);
    // The keys are the test's own.
    let keys = ["ANTHROPIC_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    values.extend(keys.map(|key| (format!("secrets.{key}"), format!("${key}"))));
    let variables = [&recipe["env"], &step["env"]].into_iter().flat_map(|env| env.as_object().unwrap());
    let exports = variables.map(|(name, value)| {
        // The server of the test has one bucket.
        let value = filled(value.as_str().unwrap(), EXPRESSION, &values).replace("s3://reviews/", "s3://owls/");
        format!("export {name}=\"{value}\"\n")
    });
    let root = test.root().join(machine);
    fs::create_dir_all(&root).unwrap();
    let own = format!("export XDG_CACHE_HOME='{0}' GITHUB_STEP_SUMMARY='{0}/summary'\n", root.display());
    start(test, &format!("{}{own}{}", exports.collect::<String>(), step["run"].as_str().unwrap()))
}

fn account(s3: &S3) -> Value {
    serde_json::from_slice(&s3.object("nightly/accounts/reviews-7.json").expect("an account")).unwrap()
}

#[test]
fn the_jobs_of_the_matrix_share_the_store_and_the_account() {
    let (s3, test) = world();
    let gate = Gate::new();
    test.server().answer_by({
        let gate = gate.clone();
        move |_| Answer::text("Fine.").usage(TURN).delay(&gate)
    });
    let mut jobs: Vec<Running> = Vec::new();
    for part in parts() {
        let job = on_a_machine(&test, &part, &part);
        // All are at work at the same time.
        job.wait_for_request(jobs.len() + 1);
        jobs.push(job);
    }
    gate.open();
    for job in jobs {
        assert_eq!(job.finish().assert_code(0).stdout, "Fine.\n");
    }
    for part in parts() {
        let summary = fs::read_to_string(test.root().join(&part).join("summary")).unwrap();
        assert!(summary.contains("reviewer"), "{summary}");
    }
    let there = account(&s3);
    assert_eq!((&there["spent"]["tokens"], &there["blocks"]), (&json!(3 * 1100), &json!({})), "{there:#}");
    // Run again, it has its answers without a model.
    let asked = test.server().requests().len();
    for part in parts() {
        assert_eq!(on_a_machine(&test, &format!("again-{part}"), &part).finish().assert_code(0).stdout, "Fine.\n");
    }
    assert_eq!(test.server().requests().len(), asked);
}

#[test]
fn a_job_of_the_matrix_that_was_cancelled_goes_on_when_it_is_run_again() {
    let gate = Gate::new();
    let (s3, test) = world();
    let reads = Answer::calls([call("c1", "readTextFile", json!({"path": "perstack.toml"}))]);
    let lost = Answer::text("Cut off.").usage(TURN).delay(&gate);
    let test = test.answers([reads.usage(TURN), lost, Answer::text("Fine.").usage(TURN)]);
    let cancelled = on_a_machine(&test, "first", "api");
    cancelled.wait_for_request(2);
    cancelled.signal(Signal::TERM);
    cancelled.finish().assert_code(143);
    gate.open();
    assert_eq!(on_a_machine(&test, "second", "api").finish().assert_code(0).stdout, "Fine.\n");
    let requests = test.server().requests();
    assert_eq!(requests.len(), 3, "the first step was taken again");
    assert_eq!(requests[2].results().len(), 1);
    assert_eq!(account(&s3)["blocks"], json!({}));
}
