//! `perstack test`: recorded jobs as tests of a configuration: what is expected of answers, tools and numbers, changes of the
//! configuration, the forms of the results, and mistakes in the files.

use std::fs;

use serde_json::json;

use crate::support::{Answer, Provider, Test, call};

const TOML: &str = "[experts.librarian]\ninstruction = \"You know owls.\"\n";

/// A folder with a recording of a job that reads a file, and answers in JSON.
fn recorded() -> Test {
    let test = Test::new().toml(TOML).provider(Provider::Anthropic).file("owl.txt", "An owl.");
    let read = Answer::calls([call("c1", "readTextFile", json!({"path": "owl.txt"}))]);
    let test = test.answers([read, Answer::text("{\"owls\": [\"barn owl\"]}")]);
    test.run(["run", "librarian", "Go.", "--record", "owls.cassette"]).assert_code(0);
    test
}

fn case(name: &str, expect: &str) -> String {
    format!("[cases.{name}]\ncassette = \"owls.cassette\"\n[cases.{name}.expect]\n{expect}\n")
}

#[test]
fn everything_that_can_be_expected_passes_and_fails() {
    let test = recorded();
    let good = [
        "equals = '{\"owls\": [\"barn owl\"]}'",
        "contains = [\"barn\", \"owl\"]",
        "lacks = \"bee\"",
        "regex = '^\\{.*owl'",
        "schema = { type = \"object\", required = [\"owls\"] }",
        "json = { \"/owls/0\" = \"barn owl\" }",
        "tools = [\"readTextFile\"]",
        "noTools = [\"exec\"]",
        "maxSteps = 2\nmaxTokens = 100000\nmaxCost = 1.0",
    ];
    let all: String = good.iter().enumerate().map(|(at, expect)| case(&format!("c{at}"), expect)).collect();
    let test = test.file("good.test.toml", all);
    let ran = test.run(["test"]).assert_code(0);
    assert!(ran.stdout.ends_with("9 passed, 0 failed\n"), "{}", ran.stdout);
    for (expect, reason) in [
        ("equals = \"owl\"", "and \"owl\" is expected"),
        ("contains = \"bee\"", "the answer does not contain \"bee\""),
        ("lacks = [\"barn\"]", "the answer contains \"barn\""),
        ("regex = \"^owl\"", "the answer does not match \"^owl\""),
        ("schema = { type = \"array\" }", "the answer is not valid against the schema"),
        ("json = { \"/owls/0\" = \"tawny owl\" }", "/owls/0 is \"barn owl\", and \"tawny owl\" is expected"),
        ("json = { \"/bees\" = 1 }", "the answer has no /bees"),
        ("tools = [\"exec\"]", "exec was not called: called were readTextFile"),
        ("noTools = [\"readTextFile\"]", "readTextFile was called"),
        ("maxSteps = 1", "2 steps, and at most 1 are expected"),
        ("maxTokens = 1", "tokens, and at most 1 are expected"),
        ("maxCost = 0.0000001", "is expected"),
    ] {
        fs::write(test.workspace().join("bad.test.toml"), case("c", expect)).unwrap();
        let ran = test.run(["test", "bad.test.toml"]).assert_code(1);
        assert!(ran.stdout.contains(reason), "{reason}: {}", ran.stdout);
    }
    assert_eq!(test.server().requests().len(), 2, "nothing is asked");
}

#[test]
fn a_changed_prompt_fails_with_its_place_and_cause() {
    let test = recorded().file("nest/owls.test.toml", "[cases.night]\ncassette = \"../owls.cassette\"\n");
    assert_eq!(test.run(["test"]).assert_code(0).stdout, "passed nest/owls.test.toml: night\n1 passed, 0 failed\n");
    let changed = TOML.replace("You know owls.", "You know bees.");
    fs::write(test.workspace().join("other.toml"), changed).unwrap();
    let ran = test.run(["test", "--config", "other.toml", "--junit", "results.xml"]).assert_code(1);
    assert!(
        ran.stdout
            .starts_with("failed nest/owls.test.toml: night\n  step 1 of expert librarian differs: instruction\n"),
        "{}",
        ran.stdout
    );
    let xml = fs::read_to_string(test.workspace().join("results.xml")).unwrap();
    assert!(
        xml.contains("failures=\"1\"")
            && xml.contains("<failure message=\"step 1 of expert librarian differs: instruction\">"),
        "{xml}"
    );
    let ran = test.run(["test", "--output", "json"]).assert_code(0);
    let object = ran.object();
    assert_eq!((&object["passed"], &object["failed"]), (&json!(1), &json!(0)));
    let case = &object["cases"][0];
    assert_eq!((&case["name"], &case["steps"], &case["failures"]), (&json!("night"), &json!(2), &json!([])));
}

#[test]
fn a_cost_that_is_not_known_is_no_low_cost() {
    let test = Test::new().toml(TOML).provider(Provider::Anthropic).answers([Answer::text("Owls.")]);
    test.run(["run", "librarian", "Go.", "--record", "owls.cassette", "--model", "my-own-model"]).assert_code(0);
    let test = test.file("a.test.toml", case("c", "maxCost = 1.0"));
    let ran = test.run(["test"]).assert_code(1);
    assert!(ran.stdout.contains("its cost is not known"), "{}", ran.stdout);
}

#[test]
fn mistakes_are_no_failed_cases_and_a_missing_recording_is_one() {
    let test = recorded();
    let ran = test.run(["test"]).assert_code(2);
    assert!(ran.stderr.contains("there is no file *.test.toml below this folder"), "{}", ran.stderr);
    test.run(["test", "none.test.toml"]).assert_code(2);
    let test = test.file("a.test.toml", "[cases.c]\ncasette = \"owls.cassette\"\n");
    let ran = test.run(["test"]).assert_code(2);
    assert!(
        ran.stderr.contains("a.test.toml:1:") && ran.stderr.contains("cases.c.cassette: missing"),
        "{}",
        ran.stderr
    );
    let test = test.file("a.test.toml", "[cases.c]\ncassette = \"owls.cassette\"\nmodle = \"m\"\n");
    let ran = test.run(["test"]).assert_code(2);
    assert!(
        ran.stderr.contains("a.test.toml:3:1: cases.c.modle: unknown key; did you mean \"model\"?"),
        "{}",
        ran.stderr
    );
    let test = test.file(
        "a.test.toml",
        "[cases.gone]\ncassette = \"gone.cassette\"\n[cases.here]\ncassette = \"owls.cassette\"\n",
    );
    let ran = test.run(["test"]).assert_code(1);
    assert!(
        ran.stdout.contains("failed a.test.toml: gone") && ran.stdout.ends_with("1 passed, 1 failed\n"),
        "{}",
        ran.stdout
    );
    let empty = test.file("empty.test.toml", "[cases]\n");
    let ran = empty.run(["test", "empty.test.toml"]).assert_code(2);
    assert!(ran.stderr.contains("there is no case in empty.test.toml"), "{}", ran.stderr);
    let test = empty;
    fs::write(test.workspace().join("broken.toml"), "[experts.librarian]\n").unwrap();
    let ran = test.run(["test", "--config", "broken.toml"]).assert_code(1);
    assert!(ran.stdout.contains("instruction"), "{}", ran.stdout);
    test.run(["test", "--config", "nowhere.toml"]).assert_code(2);
}

#[test]
fn the_search_names_what_it_passes_over_and_leaves_out_what_programs_made() {
    let case = "[cases.night]\ncassette = \"/none\"\n";
    let test = recorded().file("nest/owls.test.toml", "[cases.night]\ncassette = \"../owls.cassette\"\n");
    let test = test.file("target/own.test.toml", "[cases.own]\ncassette = \"../owls.cassette\"\n");
    for made in [".hidden/a.test.toml", "node_modules/a/a.test.toml", "built/debug/a.test.toml"] {
        let path = test.workspace().join(made);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, case).unwrap();
    }
    fs::write(test.workspace().join("built/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55").unwrap();
    // A loop, a link to a file, and one to nothing.
    std::os::unix::fs::symlink("..", test.workspace().join("nest/up")).unwrap();
    std::os::unix::fs::symlink("owls.test.toml", test.workspace().join("nest/again.test.toml")).unwrap();
    std::os::unix::fs::symlink("nowhere", test.workspace().join("nest/gone")).unwrap();
    let deep = ["d"; 18].join("/");
    fs::create_dir_all(test.workspace().join(&deep)).unwrap();
    let ran = test.run(["test"]).assert_code(0);
    assert_eq!(ran.stdout, "passed nest/owls.test.toml: night\npassed target/own.test.toml: own\n2 passed, 0 failed\n");
    let told: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("was not searched")).collect();
    let deepest = ["d"; 17].join("/");
    assert_eq!(
        told,
        [
            format!("warning: {deepest} was not searched for tests: it is more than 16 folders deep"),
            "warning: nest/again.test.toml was not searched for tests: it is a link; name the file to run it"
                .to_owned(),
            "warning: nest/up was not searched for tests: it is a link; name the file to run it".to_owned(),
        ]
    );
    // What was left out is named where nothing else is found.
    for gone in ["nest", "target", "d"] {
        fs::remove_dir_all(test.workspace().join(gone)).unwrap();
    }
    let ran = test.run(["test"]).assert_code(2);
    assert!(ran.stderr.contains("below this folder (left out: .hidden, built, node_modules"), "{}", ran.stderr);
}
