//! How the binary gets along with model servers, good and bad.

use serde_json::json;

use crate::support::{Answer, Provider, Stop, Test, call, raw_call};

mod doors;
mod habits;
mod repairs;
mod rows;
mod servers;
mod table;
mod trouble;

/// The run completes although the first answer fails in this way; both requests are the same.
#[track_caller]
fn assert_survived(failure: &Answer) {
    Provider::each(|provider| {
        let test = Test::with(provider).answers([failure.clone(), Answer::text("Owls.")]);
        let ran = test.run(["run", "librarian", "Which birds?", "--timeout", "3000"]).assert_code(0);
        assert_eq!(ran.stdout, "Owls.\n", "{provider:?}");
        let requests = test.server().requests();
        assert_eq!(requests.len(), 2, "{provider:?}");
        assert_eq!(requests[0].body, requests[1].body, "{provider:?}: a retry leaves no trace in the conversation");
    });
}

#[test]
fn busy_servers_are_asked_again() {
    // The table has 429, 500 and 503.
    for status in [408, 529] {
        assert_survived(&Answer::status(status).header("retry-after", "0"));
    }
}

#[test]
fn servers_that_hang_up_are_asked_again() {
    assert_survived(&Answer::hang_up());
}

#[test]
fn stalled_streams_are_given_up_and_asked_for_again() {
    assert_survived(&Answer::text("Half an answer is none").stall_after(300));
}

#[test]
fn comments_do_not_keep_a_stalled_stream_alive() {
    assert_survived(&Answer::text("Half an answer is none").stall_with_comments_after(300));
}

#[test]
fn servers_that_never_answer_are_given_up_and_asked_again() {
    assert_survived(&Answer::silence());
}

#[test]
fn retries_end() {
    let failures = [(); 3].map(|()| Answer::status(429).header("retry-after", "0").message("owls are busy"));
    let test = Test::with(Provider::Anthropic).answers(failures);
    let ran = test.run(["run", "librarian", "q", "--max-retries", "2"]).assert_code(1);
    ran.snapshot("providers/retries-end");
}

#[test]
fn each_retry_is_an_event() {
    let test = Test::with(Provider::Anthropic)
        .answers([Answer::status(429).header("retry-after", "0"), Answer::text("Owls.")]);
    let ran = test.run(["run", "librarian", "q", "--json"]).assert_code(0);
    assert_eq!(ran.state_events(), ["startRun", "startGeneration", "retry", "completeRun"]);
}

#[test]
fn a_refused_connection_is_a_failure_with_an_address() {
    let test = Test::with(Provider::OpenAiChat).nobody_listens();
    test.run(["run", "librarian", "q", "--max-retries", "0"])
        .assert_code(1)
        .snapshot("providers/a-refused-connection-is-a-failure-with-an-address");
}

#[test]
fn streams_may_be_split_anywhere() {
    Provider::each(|provider| {
        let test = Test::with(provider).answers([
            Answer::calls([call("c1", "writeTextFile", json!({"path": "käuze.txt", "text": "Käuzchen ✓"}))])
                .thinking("Wörter…", "c2ln")
                .in_chunks_of(1),
            Answer::text("Käuze ✓").in_chunks_of(1),
        ]);
        let ran = test.run(["run", "librarian", "q"]).assert_code(0);
        assert_eq!(ran.stdout, "Käuze ✓\n", "{provider:?}");
        assert_eq!(std::fs::read_to_string(ran.workspace().join("käuze.txt")).unwrap(), "Käuzchen ✓", "{provider:?}");
    });
}

#[test]
fn thinking_goes_back_only_to_the_model_that_made_it() {
    for (next, is_sent) in [("claude-sonnet-4-5", true), ("claude-opus-4-5", false)] {
        let thought = Answer::text("Owls.").thinking("Hm.", "c2ln");
        let test = Test::with(Provider::Anthropic).answers([thought, Answer::text("More.")]);
        test.run(["run", "librarian", "q", "--reasoning-budget", "low", "--model", "claude-sonnet-4-5"]).assert_code(0);
        test.run(["resume", "latest", "Go on.", "--reasoning-budget", "low", "--model", next]).assert_code(0);
        let request = test.server().requests().remove(1);
        assert_eq!((request.contains("c2ln"), request.contains("Owls.")), (is_sent, true), "{next}: {}", request.body);
    }
}

#[test]
fn answers_without_usage_are_answers() {
    Provider::each(|provider| {
        let test = Test::with(provider).answers([Answer::text("Owls.").without_usage()]);
        assert_eq!(test.run(["run", "librarian", "q"]).assert_code(0).stdout, "Owls.\n", "{provider:?}");
    });
}

#[test]
fn arguments_cut_off_by_the_output_limit_do_not_spoil_the_history() {
    for provider in Provider::WRITING_ARGUMENTS {
        let cut =
            Answer::calls([raw_call("c1", "writeTextFile", "{\"path\": \"a.txt\", \"te")]).stop_reason(Stop::Length);
        let test = Test::with(provider).answers([cut, Answer::text("Shorter, then.")]);
        assert_eq!(test.run(["run", "librarian", "q"]).assert_code(0).stdout, "Shorter, then.\n", "{provider:?}");
    }
}

#[test]
fn a_picked_tool_is_the_only_one_of_its_skill() {
    let toml = "[experts.librarian]\ninstruction = \"You read.\"\n\
                [experts.librarian.skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \"npx\"\n\
                args = [\"-y\", \"@perstack/base\"]\npick = [\"readTextFile\", \"attemptCompletion\"]\n";
    Provider::each(|provider| {
        let test = Test::new().toml(toml).provider(provider).answers([Answer::text("Read.")]);
        test.run(["run", "librarian", "q"]).assert_code(0);
        let request = test.server().requests().remove(0);
        let mut tools = request.tools();
        tools.sort_unstable();
        assert_eq!(tools, ["attemptCompletion", "readTextFile"], "{provider:?}");
    });
}
