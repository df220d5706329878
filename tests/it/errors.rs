//! Errors: the text that a person reads, and the exit code that a script gets.

use serde_json::json;

use crate::support::storage::checkpoint_id;
use crate::support::{Answer, Gate, KEY, Provider, Test, call, raw_call};

#[test]
fn an_unknown_expert_gets_a_suggestion() {
    let ran = Test::with(Provider::Anthropic).run(["run", "librarain", "q"]).assert_code(2);
    ran.snapshot("errors/an-unknown-expert-gets-a-suggestion");
}

#[test]
fn an_unknown_option_gets_a_suggestion() {
    Test::with(Provider::Anthropic)
        .run(["run", "librarian", "q", "--max-step", "3"])
        .assert_code(2)
        .snapshot("errors/an-unknown-option-gets-a-suggestion");
}

#[test]
fn an_empty_query_is_refused() {
    for (query, name) in [("", "empty"), (" \n", "blank")] {
        let ran = Test::with(Provider::Anthropic).run(["run", "librarian", query]).assert_code(2);
        ran.snapshot(&format!("errors/an-empty-query-is-refused-{name}"));
    }
}

#[test]
fn a_missing_configuration_is_named() {
    let ran = Test::new().provider(Provider::Anthropic).run(["run", "librarian", "q"]).assert_code(2);
    ran.snapshot("errors/a-missing-configuration-is-named");
}

#[test]
fn a_malformed_configuration_is_shown_with_its_place() {
    let toml = "[experts.librarian]\ninstruction = \n";
    let ran = Test::new().toml(toml).provider(Provider::Anthropic).run(["run", "librarian", "q"]).assert_code(2);
    ran.snapshot("errors/a-malformed-configuration-is-shown-with-its-place");
}

#[test]
fn a_huge_configuration_is_refused() {
    let test = Test::new().file("perstack.toml", "# owls\n".repeat(10 << 20)).provider(Provider::Anthropic);
    test.run(["run", "librarian", "q"]).assert_code(2).snapshot("errors/a-huge-configuration-is-refused");
}

#[test]
fn a_missing_key_is_named() {
    let test = Test::with(Provider::Anthropic).env("ANTHROPIC_API_KEY", "");
    test.run(["run", "librarian", "q"]).assert_code(2).snapshot("errors/a-missing-key-is-named");
}

#[test]
fn a_silent_standard_input_does_not_hold_the_program() {
    let ran = Test::with(Provider::Anthropic).silent_stdin().run(["run", "librarian"]).assert_code(2);
    ran.snapshot("errors/a-silent-standard-input-does-not-hold-the-program");
}

#[test]
fn ids_that_could_leave_the_storage_are_refused() {
    for args in [
        ["run", "librarian", "q", "--job-id", "../../escape"],
        ["run", "librarian", "q", "--job-id", "/tmp/escape"],
        ["run", "librarian", "q", "--continue-job", "..\\escape"],
        ["run", "../librarian", "q", "--job-id", "j1"],
    ] {
        let test = Test::with(Provider::Anthropic);
        test.run(args).assert_code(2);
        assert_eq!(test.storage().jobs(), Vec::<std::path::PathBuf>::new(), "{args:?}");
    }
}

#[test]
fn a_refused_key_stops_at_once_and_is_not_shown() {
    Provider::each(|provider| {
        let message = format!("invalid key: {KEY}");
        // Ollama asks for a key where its makers run it.
        let test = Test::with(provider).env("OLLAMA_API_KEY", KEY).answers([Answer::refused_key(&message)]);
        let ran = test.run(["run", "librarian", "q"]).assert_code(1).assert_stderr(["invalid key", "perstack resume"]);
        assert!(!ran.stderr.contains(KEY), "{provider:?}: {}", ran.stderr);
        assert_eq!(test.server().requests().len(), 1, "{provider:?}");
    });
}

#[test]
fn a_page_instead_of_an_answer_is_shown_shortened() {
    let page = format!("<html><body><h1>No models here</h1>{}</body></html>", "<p>filler</p>".repeat(10_000));
    let test = Test::with(Provider::Anthropic).answers([Answer::html(404, &page)]);
    let ran = test
        .run(["run", "librarian", "q"])
        .assert_code(1)
        .snapshot("errors/a-page-instead-of-an-answer-is-shown-shortened");
    assert!(ran.stderr.len() < 4096, "{} bytes on standard error", ran.stderr.len());
}

#[test]
fn streams_that_make_no_sense_are_failures() {
    for stream in
        ["", "\n\n", "data: {\"type\": oops\n\n", "event: ghost\ndata: {}\n\n", "\u{0}\u{1}\u{2}", "<html></html>"]
    {
        Provider::each(|provider| {
            let test = Test::with(provider).answers([Answer::raw_sse(stream)]);
            let ran = test.run(["run", "librarian", "q", "--max-retries", "0"]).assert_code(1);
            assert!(!ran.stderr.contains("panicked"), "{provider:?} {stream:?}: {}", ran.stderr);
        });
    }
}

#[test]
fn calls_that_cannot_be_made_are_answered_and_the_job_goes_on() {
    for provider in Provider::WRITING_ARGUMENTS {
        let test = Test::with(provider).answers([
            Answer::calls([
                call("c1", "fetchOwl", json!({})),
                raw_call("c2", "readTextFile", "{\"path\": \"ow"),
                call("c3", "readTextFile", json!({"path": 7})),
                call("c4", "readTextFile", json!({"path": "../../../etc/passwd"})),
                call("c5", "readTextFile", json!({"path": "missing.txt"})),
            ]),
            Answer::text("Never mind."),
        ]);
        assert_eq!(test.run(["run", "librarian", "q"]).assert_code(0).stdout, "Never mind.\n", "{provider:?}");
        let results = test.server().requests()[1].results();
        let ids: Vec<_> = results.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["c1", "c2", "c3", "c4", "c5"], "{provider:?}");
        assert!(results[0].1.contains("fetchOwl"), "{results:?}");
        assert!(results[3].1.contains("Access denied"), "{results:?}");
        assert!(results[4].1.contains("missing.txt"), "{results:?}");
    }
}

#[test]
fn a_damaged_checkpoint_points_to_the_newest_good_one() {
    let note = |id: &str| Answer::calls([call(id, "healthCheck", json!({}))]);
    let test = Test::with(Provider::Anthropic).answers([note("c1"), note("c2"), note("c3")]);
    test.run(["run", "librarian", "q", "--max-steps", "3"]).assert_code(3);
    let checkpoints = test.storage().checkpoints();
    let [.., good, last] = checkpoints.as_slice() else { panic!("checkpoints: {checkpoints:?}") };
    let whole = std::fs::read(last).unwrap();
    std::fs::write(last, &whole[..1]).unwrap();
    let ran = test.run(["resume", last.to_str().unwrap(), "Go on.", "--max-steps", "9"]).assert_code(6);
    let ran = ran.snapshot("errors/a-damaged-checkpoint-points-to-the-newest-good-one");
    assert!(ran.stderr.contains(checkpoint_id(good)), "{}", ran.stderr);
}

#[test]
fn a_job_in_work_is_locked() {
    let gate = Gate::new();
    let note = |id: &str| Answer::calls([call(id, "healthCheck", json!({}))]);
    let test = Test::with(Provider::Anthropic).answers([note("c1"), note("c2"), Answer::text("Done.").delay(&gate)]);
    let first = test.spawn(["run", "librarian", "q", "--job-id", "nest"]);
    first.wait_for_request(3);
    let second = test.run(["resume", "nest", "Me too."]).assert_code(6);
    let second = second.snapshot("errors/a-job-in-work-is-locked");
    assert!(second.stderr.contains(&format!("process {}\n", first.pid())), "{}", second.stderr);
    gate.open();
    first.finish().assert_code(0);
}
