//! A conversation that fills the model's context window: reported in time, then stopped or summarised, never lost.

pub mod summary;

use serde_json::Value;

use crate::support::answer::{Stop, Tokens};
use crate::support::process::Ran;
use crate::support::storage::read_json;
use crate::support::{Answer, Provider, Test, call};

/// Models whose windows are small enough to fill.
fn models(provider: Provider) -> String {
    format!(
        "[{}.models]\nsmall = {{ contextWindow = 20_000 }}\nroomy = {{ contextWindow = 90_000 }}\n",
        provider.name()
    )
}

/// Some 3000 tokens.
const LONG: usize = 12_000;

/// An expert with few tools whose model is `small`. `limit`: its `contextLimit`.
fn place(provider: Provider, limit: &str) -> Test {
    let toml = format!(
        "model = \"small\"\nreasoningBudget = \"none\"\nmaxRetries = 1\n[experts.librarian]\ninstruction = \"You find things.\"\n{limit}\n\
         [experts.librarian.skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \"npx\"\n\
         packageName = \"@perstack/base\"\npick = [\"readTextFile\", \"todo\"]\n"
    );
    let test = Test::new().toml(&toml).provider(provider).env("PERSTACK_CONFIG_DIR", "settings");
    let mut test = test.file("settings/models.toml", models(provider));
    for name in ["barn", "tawny", "snowy", "eagle", "pygmy"] {
        test = test.file(&format!("{name}.txt"), format!("{name} ").repeat(LONG / (name.len() + 1)));
    }
    test
}

/// The model reads a file, in a conversation of so many tokens.
fn read(name: &str, tokens: u64) -> Answer {
    let path = serde_json::json!({"path": format!("{name}.txt")});
    full(Answer::calls([call(&format!("c-{name}"), "readTextFile", path)]), tokens)
}

/// An answer that takes the conversation to so many tokens.
fn full(answer: Answer, tokens: u64) -> Answer {
    answer.usage(Tokens { input: tokens - 20, cached: 0, output: 20, reasoning: 0 })
}

fn warnings(ran: &Ran) -> Vec<&str> {
    ran.stderr.lines().filter(|line| line.contains("context window is")).collect()
}

/// The failure in the newest checkpoint.
fn error(test: &Test) -> Value {
    read_json(&test.storage().last_checkpoint())["error"].clone()
}

#[test]
fn a_window_that_fills_up_is_reported_once() {
    for (limit, what) in [("", "the run stops"), ("contextLimit = \"summarize\"", "older steps are summarised")] {
        let test = place(Provider::Anthropic, limit);
        let todo = |id: &str, tokens| full(Answer::calls([call(id, "todo", serde_json::json!({}))]), tokens);
        test.server().script([todo("c1", 15_900), todo("c2", 16_100), todo("c3", 16_900), Answer::text("Owls.")]);
        let ran = test.run(["run", "librarian", "Which?"]).assert_code(0);
        assert_eq!(warnings(&ran).len(), 1, "{}", ran.stderr);
        assert!(warnings(&ran)[0].contains("80 % full (16100 of 20000 tokens)"), "{}", ran.stderr);
        assert!(warnings(&ran)[0].contains(what), "{}", ran.stderr);
    }
}

#[test]
fn a_request_that_cannot_fit_is_not_sent_and_a_larger_model_goes_on() {
    for provider in Provider::ALL {
        let test = place(provider, "");
        test.server().script([read("barn", 9_000), read("tawny", 16_000)]);
        let ran = test.run(["run", "librarian", "Which?", "--output", "json"]).assert_code(1);
        assert_eq!(ran.object()["status"], "stoppedByError");
        let error = error(&test);
        assert_eq!((&error["name"], &error["isRetryable"]), (&"ContextWindowExceededError".into(), &false.into()));
        let message = error["message"].as_str().unwrap();
        for words in ["about 19", "20000", "% full", "larger window", "contextLimit = \"summarize\"", "maxToolOutput"] {
            assert!(message.contains(words), "no {words:?} in {message}");
        }
        ran.assert_stderr(["perstack resume"]);
        assert_eq!(test.server().requests().len(), 2);

        test.server().script([Answer::text("Two owls.")]);
        let ran = test.run(["resume", "latest", "--model", "roomy"]).assert_code(0);
        assert_eq!(ran.stdout, "Two owls.\n");
        let request = test.server().requests().pop().unwrap();
        assert_eq!(request.results().len(), 2, "nothing was lost");
    }
}

#[test]
fn the_same_model_again_stops_again() {
    let test = place(Provider::Anthropic, "");
    test.server().script([read("barn", 9_000), read("tawny", 16_000)]);
    test.run(["run", "librarian", "Which?"]).assert_code(1);
    test.run(["resume", "latest"]).assert_code(1).snapshot("context/the-same-model-again-stops-again");
    assert_eq!(test.server().requests().len(), 2);
}

#[test]
fn a_first_question_that_is_too_long_is_not_sent() {
    let test = place(Provider::Anthropic, "contextLimit = \"summarize\"");
    let ran = test.run(["run", "librarian", &"owl ".repeat(30_000)]).assert_code(1);
    ran.snapshot("context/a-first-question-that-is-too-long-is-not-sent");
    assert_eq!(test.server().requests().len(), 0);
}

#[test]
fn an_answer_is_limited_to_what_the_window_leaves_room_for() {
    let models = "[anthropic.models]\nsmall = { contextWindow = 20_000, maxOutput = 10_000 }\n";
    let test = place(Provider::Anthropic, "").file("settings/models.toml", models);
    test.server().script([read("barn", 9_000), read("tawny", 13_000), Answer::text("Owls.")]);
    test.run(["run", "librarian", "Which?"]).assert_code(0);
    let limits: Vec<u64> = test.server().requests().iter().map(|r| r.body["max_tokens"].as_u64().unwrap()).collect();
    assert_eq!(limits[0], 10_000);
    assert!((6_500..8_000).contains(&limits[1]) && limits[2] < 4_000, "{limits:?}");
}

#[test]
fn a_providers_refusal_stops_with_the_same_error() {
    for provider in Provider::ALL {
        let refusal = Answer::status(400).message("prompt is too long: 208310 tokens > 200000 maximum");
        let test = place(provider, "").answers([read("barn", 900), refusal]);
        test.run(["run", "librarian", "Which?", "--model", "house-blend"]).assert_code(1);
        let error = error(&test);
        assert_eq!(error["name"], "ContextWindowExceededError");
        assert_eq!(error["statusCode"], 400);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("208310") && message.contains("contextLimit"), "{message}");
    }
}

#[test]
fn an_answer_that_the_window_cuts_off_stops_with_the_same_error_and_is_paid_for() {
    let cut = full(Answer::text("The owls are"), 19_999).stop_reason(Stop::Window);
    let test = place(Provider::Anthropic, "").answers([cut]);
    let ran = test.run(["run", "librarian", "Which?", "--output", "json"]).assert_code(1);
    assert_eq!(ran.object()["usage"]["outputTokens"], 20);
    assert_eq!(error(&test)["name"], "ContextWindowExceededError");
}

/// A conversation that takes up most of the window, so that its owner is warned.
pub fn nearly_full() -> Test {
    let todo = Answer::calls([call("c1", "todo", serde_json::json!({}))]);
    place(Provider::Anthropic, "").answers([full(todo, 16_100), Answer::text("Owls.")])
}

/// A conversation that is summarised.
pub fn small_window() -> Test {
    let test = summary::filled(Provider::Anthropic);
    test.server().script([full(Answer::text("Owls were found."), 9_500), Answer::text("Owls.")]);
    test
}
