//! Experts from several files, and experts named with a version.

use crate::support::{Answer, Provider, Test};

const TEAM: &str = "include = [\"experts/*.toml\", \"team/reviewer.toml\"]\n";

fn expert(key: &str, version: &str) -> String {
    format!("[experts.{key:?}]\nversion = {version:?}\ninstruction = \"You are {key}.\"\n")
}

/// A test of a configuration that includes two files.
fn team() -> Test {
    Test::new()
        .toml(TEAM)
        .file("experts/owls.toml", expert("owls", "1.2.3"))
        .file("team/reviewer.toml", expert("@org/reviewer", "2.0.0"))
        .provider(Provider::Anthropic)
}

#[test]
fn an_expert_of_an_included_file_runs_by_any_form_of_its_key() {
    for key in ["@org/reviewer", "@org/reviewer@2.0.0", "@org/reviewer@latest"] {
        let test = team().answers([Answer::text("Fine.")]);
        let ran = test.run(["run", key, "q"]).assert_code(0);
        assert_eq!(ran.stdout, "Fine.\n", "{key}");
        let request = test.server().requests().remove(0);
        assert!(request.contains("You are @org/reviewer."), "{key}");
    }
}

#[test]
fn another_version_is_refused_before_anything_is_asked() {
    let test = team();
    let ran = test.run(["run", "owls@9.0.0", "q"]).assert_code(2);
    ran.snapshot("include/another-version-is-refused-before-anything-is-asked");
    assert_eq!(test.server().requests().len(), 0);
    assert_eq!(test.storage().jobs(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_mistake_in_an_included_file_is_shown_with_its_place() {
    let test = team().file("experts/owls.toml", "[experts.owls]\n\ninstruction = 3\n");
    test.run(["run", "owls", "q"])
        .assert_code(2)
        .snapshot("include/a-mistake-in-an-included-file-is-shown-with-its-place");
}

#[test]
fn an_included_file_that_is_not_there_is_shown_where_it_is_named() {
    let test = Test::new().toml("include = [\"nowhere.toml\"]\n").provider(Provider::Anthropic);
    let ran = test.run(["run", "owls", "q"]).assert_code(2);
    ran.snapshot("include/an-included-file-that-is-not-there-is-shown-where-it-is-named");
}

#[test]
fn tools_of_experts_in_all_files_are_listed() {
    let ran = team().run(["list-tools"]).assert_code(0);
    for expert in ["owls", "@org/reviewer"] {
        assert!(ran.stdout.contains(expert), "{}", ran.stdout);
    }
}
