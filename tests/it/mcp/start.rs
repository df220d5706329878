//! Servers that do not start as they should: the run says which and why, in time, and leaves nothing behind.

use serde_json::json;

use super::{assert_gone, assert_refused, calling, processes, tool_results};
use crate::support::process::Ran;
use crate::support::tool_server::{command_skill, librarian, stdio_skill};
use crate::support::{Answer, Test};

/// Runs an expert whose only server is rough in this way, with a second to start.
fn start(fault: &str) -> (Test, Ran) {
    let skill = stdio_skill("owls", ["rough", fault, "processes=ids"]);
    let test = librarian(&format!("{skill}startTimeout = 1000\n"));
    let ran = test.run(["run", "librarian", "Look."]);
    assert_eq!(test.server().requests().len(), 0, "no model was asked");
    (test, ran)
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    for fault in ["start=hang", "list=hang"] {
        let (test, ran) = start(fault);
        assert_refused(&ran, &["owls"]);
        assert_gone(processes(&test, "ids"));
    }
}

#[test]
fn a_server_that_exits_is_quoted() {
    let (test, ran) = start("start=exit");
    assert_refused(&ran, &["owls", "no database at owls.db"]);
    assert_gone(processes(&test, "ids"));
}

#[test]
fn a_few_lines_of_noise_are_passed_over() {
    let test = librarian(&stdio_skill("owls", ["rough", "start=noise"]));
    let (_test, requests) = calling(test, [("echo", json!({"text": "owl"}))]);
    assert_eq!(tool_results(&requests[1]), [("echo: owl".to_owned(), false)]);
}

#[test]
fn noise_without_end_is_no_server() {
    for fault in ["start=babble", "start=endless"] {
        let (test, ran) = start(fault);
        assert_refused(&ran, &["owls"]);
        assert_gone(processes(&test, "ids"));
    }
}

#[test]
fn a_refusal_is_quoted() {
    for (fault, words) in [("start=refuse", "the library is closed"), ("list=refuse", "the catalogue is closed")] {
        let (test, ran) = start(fault);
        assert_refused(&ran, &["owls", words]);
        assert_gone(processes(&test, "ids"));
    }
}

#[test]
fn an_unknown_revision_is_named() {
    let (test, ran) = start("start=version");
    assert_refused(&ran, &["owls", "1999-12-31"]);
    assert_gone(processes(&test, "ids"));
}

#[test]
fn a_list_without_end_ends() {
    // Long enough for any bound on pages to be reached first.
    let test =
        librarian(&stdio_skill("owls", ["rough", "list=endless"])).answers([Answer::text("Done.")]).may_leave_answers();
    let ran = test.run(["run", "librarian", "Look."]);
    assert!(matches!(ran.code, Some(0..=2)), "{:?}\n{}", ran.code, ran.stderr);
    assert!(ran.stderr.contains("owls"), "whether cut or refused, it is told:\n{}", ran.stderr);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let test = librarian(&command_skill("owls", "no-such-owl-server", &["--now"]));
    assert_refused(&test.run(["run", "librarian", "Look."]), &["owls", "no-such-owl-server"]);
}

#[test]
fn a_variable_that_is_missing_is_named() {
    let skill = stdio_skill("owls", ["polite"]);
    let test = librarian(&format!("{skill}requiredEnv = [\"OWL_TOKEN\"]\n"));
    assert_refused(&test.run(["run", "librarian", "Look."]), &["owls", "OWL_TOKEN"]);
}

#[test]
fn one_that_fails_takes_the_others_along() {
    let good = stdio_skill("good", ["rough", "processes=ids"]);
    let bad = stdio_skill("bad", ["rough", "start=refuse"]);
    for skills in [format!("{good}{bad}"), format!("{bad}{good}")] {
        let test = librarian(&skills);
        assert_refused(&test.run(["run", "librarian", "Look."]), &["bad"]);
        // The good one may not even have come to its first line.
        if test.workspace().join("ids").exists() {
            assert_gone(processes(&test, "ids"));
        }
    }
}

#[test]
fn a_lazy_server_that_fails_is_a_warning_and_its_tools_are_missing() {
    let skills = format!(
        "{}{}lazyInit = true\nstartTimeout = 1000\n",
        stdio_skill("good", ["polite"]),
        stdio_skill("bad", ["rough", "start=hang"])
    );
    let (_test, requests) = {
        let test = librarian(&skills).answers([Answer::text("Done.")]);
        let ran = test.run(["run", "librarian", "Look."]).assert_code(0);
        assert!(ran.stderr.contains("bad"), "{}", ran.stderr);
        let requests = test.server().requests();
        (test, requests)
    };
    let tools = requests[0].tools();
    assert!(tools.contains(&"structured") && !tools.contains(&"dieOnce"), "{tools:?}");
}

#[test]
fn a_lazy_server_that_starts_is_as_good_as_any() {
    let test = librarian(&format!("{}lazyInit = true\n", stdio_skill("owls", ["polite"])));
    let (_test, requests) = calling(test, [("echo", json!({"text": "owl"}))]);
    assert_eq!(tool_results(&requests[1]), [("echo: owl".to_owned(), false)]);
}
