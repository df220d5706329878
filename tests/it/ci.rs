//! What a CI system is given: the recipes of `docs/ci.md`, the action, the component and the workflow, each run the way
//! the CI system runs it, against the mock model.

mod action;
mod component;
mod recipes;
mod release;
mod shared_store;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::process::Running;
use crate::support::{Provider, Test};

/// A world with experts of the recipes' names, more of the configuration, and its lock.
fn project(more: &str) -> Test {
    let names = ["auditor", "migrator", "reporter", "reviewer", "summarizer"];
    let experts = names.map(|name| format!("[experts.{name}]\ninstruction = \"You are a {name}.\"\n")).concat();
    let test = Test::new().toml(&format!("{experts}{more}")).provider(Provider::Anthropic);
    test.run(["install"]).assert_code(0);
    test
}

fn source(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Starts a script in `bash`, with the binary on its `PATH` behind the test's own `bin`.
fn start(test: &Test, script: &str) -> Running {
    let mut bash = Command::new("bash");
    let script = format!("PATH=\"$PWD/bin:$1:$PATH\"\nshift\n{script}");
    bash.args(["--noprofile", "--norc", "-euo", "pipefail", "-c", &script, "bash"]);
    bash.arg(test.binary().parent().unwrap());
    test.start(bash)
}

/// The documents of a YAML file.
fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// `text` with each `OPEN name CLOSE` as the value of that name.
#[track_caller]
fn filled(text: &str, [open, close]: [&str; 2], values: &BTreeMap<String, String>) -> String {
    let mut parts = text.split(open);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(close).unwrap();
        filled += values.get(name.trim()).unwrap_or_else(|| panic!("no value for {name:?}"));
        filled += rest;
    }
    filled
}

/// The defaults of declared inputs, with `given` over them. One that has neither is empty where it may be left out.
#[track_caller]
fn inputs(declared: &Value, given: &[(&str, &str)]) -> BTreeMap<String, String> {
    let declared = declared.as_object().unwrap();
    let mut values: BTreeMap<String, String> = declared
        .iter()
        .map(|(name, input)| (format!("inputs.{name}"), input["default"].as_str().unwrap_or_default().to_owned()))
        .collect();
    for (name, value) in given {
        assert!(declared.contains_key(*name), "no input {name}");
        values.insert(format!("inputs.{name}"), (*value).to_owned());
    }
    values
}
