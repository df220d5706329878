//! The root of a project: the folder of the `perstack.toml` found upwards, from any folder below it.

use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::process::Ran;
use crate::support::{Answer, KEY, Provider, Test, call};

/// Runs the binary in a folder of the workspace.
fn run_in(test: &Test, folder: &str, args: &[&str]) -> Ran {
    let mut command = Command::new("sh");
    command.args(["-c", "cd \"$1\" && shift && exec \"$@\"", "sh", folder]).arg(test.binary()).args(args);
    test.start(command).finish()
}

fn project() -> Test {
    Test::with(Provider::Anthropic).file("sub/deep/x.txt", "")
}

fn write(path: &str) -> Answer {
    Answer::calls([call("c1", "writeTextFile", json!({"path": path, "text": "owl"}))])
}

#[test]
fn from_a_folder_below_everything_is_the_roots() {
    let test = project().unset("ANTHROPIC_API_KEY").file(".env", format!("ANTHROPIC_API_KEY={KEY}\n"));
    let test = test.answers([write("owl.txt"), Answer::text("Written.")]);
    run_in(&test, "sub/deep", &["run", "librarian", "q", "--no-stdin"]).assert_code(0);
    assert_eq!(std::fs::read_to_string(test.workspace().join("owl.txt")).unwrap(), "owl");
    assert_eq!(test.storage().jobs().len(), 1);
    assert!(!test.workspace().join("sub/deep/perstack").exists());
    let below = run_in(&test, "sub/deep", &["log", "--jobs", "--json"]).assert_code(0).stdout;
    assert_eq!(below, test.run(["log", "--jobs", "--json"]).assert_code(0).stdout);
}

#[test]
fn paths_on_the_command_line_are_relative_to_where_one_is() {
    let test = project().file("sub/notes.md", "barn").answers([write("owl.txt"), Answer::text("Written.")]);
    let args = ["run", "librarian", "q", "--workspace", "deep", "--storage", "jobs", "--file", "notes.md"];
    run_in(&test, "sub", &args).assert_code(0).assert_stderr(["sent along: notes.md"]);
    assert!(test.workspace().join("sub/deep/owl.txt").exists() && test.workspace().join("sub/jobs/jobs").is_dir());
    let ran = run_in(&test, "sub", &["run", "librarian", "q", "--workspace", "none"]).assert_code(2);
    ran.assert_stderr(["--workspace none: cannot be used"]);
}

#[test]
fn a_file_that_is_named_moves_nothing() {
    let test = project().answers([write("owl.txt"), Answer::text("Written.")]);
    run_in(&test, "sub", &["run", "librarian", "q", "--config", "../perstack.toml"]).assert_code(0);
    assert!(test.workspace().join("sub/owl.txt").exists() && test.workspace().join("sub/perstack/jobs").is_dir());
}

const LIBRARIAN: &str = "[experts.librarian]\ninstruction = \"You find things in books.\"\n";

#[test]
fn the_file_chooses_a_workspace_beneath_itself_alone() {
    let with = |workspace: &str| {
        let toml = format!("workspace = \"{workspace}\"\n{LIBRARIAN}");
        Test::new().toml(&toml).provider(Provider::Anthropic).file("docs/x.txt", "")
    };
    let test = with("docs").answers([write("owl.txt"), Answer::text("Written.")]);
    run_in(&test, "docs", &["run", "librarian", "q"]).assert_code(0);
    assert!(test.workspace().join("docs/owl.txt").exists() && test.workspace().join("perstack/jobs").is_dir());
    let elsewhere = with("link");
    symlink(elsewhere.root(), elsewhere.workspace().join("link")).unwrap();
    for test in [with(".."), with("/"), with("docs/../.."), elsewhere] {
        test.run(["run", "librarian", "q"]).assert_code(2).assert_stderr(["is not beneath", "--workspace"]);
    }
    with("none").run(["run", "librarian", "q"]).assert_code(2).assert_stderr(["workspace = \"none\": cannot be used"]);
}

#[test]
fn a_file_in_the_home_folder_gives_experts_alone() {
    let test = project().file(".env", "ANTHROPIC_API_KEY=sk-of-the-home\n");
    let home = test.workspace();
    let test = test.env("HOME", home.to_str().unwrap()).answers([write("owl.txt"), Answer::text("Written.")]);
    run_in(&test, "sub/deep", &["run", "librarian", "q"]).assert_code(0);
    assert!(test.workspace().join("sub/deep/owl.txt").exists() && test.workspace().join("sub/deep/perstack").is_dir());
}

#[test]
fn a_repository_below_is_a_project_of_its_own() {
    let test = project().file("repo/.git/HEAD", "");
    run_in(&test, "repo", &["run", "librarian", "q"]).assert_code(2).assert_stderr(["perstack.toml not found"]);
}

#[test]
fn what_is_in_force_is_shown_with_its_origin() {
    let test = project().env("PERSTACK_MODEL", "some-model");
    let mut ran = test.run(["info"]).assert_code(0);
    // What the kernel offers differs from machine to machine.
    let (before, sandbox) = ran.stdout.split_once("sandbox").unwrap();
    assert!(sandbox.contains("auto: "), "{sandbox}");
    ran.stdout = before.to_owned();
    ran.snapshot("root/info");
    let shown: Value = run_in(&test, "sub", &["info", "--json", "--storage", "jobs"]).assert_code(0).object();
    let path = |path: &str| json!(test.workspace().canonicalize().unwrap().join(path));
    assert_eq!(
        (&shown["root"], &shown["storage"]["path"]),
        (&path("").as_str().unwrap().trim_end_matches('/').into(), &path("sub/jobs"))
    );
    let configuration = &shown["configuration"];
    assert_eq!((&configuration["path"], &configuration["origin"]), (&path("perstack.toml"), &json!("found")));
    assert_eq!(shown["storage"]["origin"], "flag");
    assert_eq!(shown["model"], json!({"name": "some-model", "origin": "environment"}));
    let key = json!({"variable": "ANTHROPIC_API_KEY", "origin": "environment"});
    assert_eq!(shown["provider"], json!({"name": "anthropic", "origin": "file", "key": key}));
    assert!(!shown.to_string().contains(KEY));
}

#[test]
fn without_anything_info_still_shows_the_way_on() {
    let test = Test::new().env("OLLAMA_HOST", "127.0.0.1:1");
    let ran = test.run(["info"]).assert_code(0);
    assert!(ran.stdout.contains("none: `perstack init` writes one"), "{}", ran.stdout);
}
