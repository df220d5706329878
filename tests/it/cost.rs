//! What calls cost: each protocol's tokens at the catalogue's prices, summed over steps, runs and delegates.

use serde_json::{Value, json};

use crate::support::answer::Tokens;
use crate::support::process::Ran;
use crate::support::storage::read_json;
use crate::support::{Answer, Provider, Test, call};

/// What the usual answer costs with `claude-sonnet-4-5`: 100 tokens at 3 and 20 at 15 dollars per million.
const USUAL: f64 = 0.0006;

fn todo(id: &str) -> Answer {
    Answer::calls([call(id, "todo", json!({"newTodos": ["read"]}))])
}

fn job(ran: &Ran) -> Value {
    read_json(&ran.storage().jobs()[0].join("job.json"))
}

/// The amount, which sums of doubles would miss by their last digit.
#[track_caller]
fn assert_cost(holder: &Value, usd: f64) {
    let cost = holder["cost"].as_f64().unwrap_or_else(|| panic!("no cost in {holder:#}"));
    assert!((cost - usd).abs() < 1e-12, "{cost} is not {usd}");
    assert_ne!(holder["costIsComplete"], false, "{holder:#}");
}

#[test]
fn cached_tokens_are_paid_for_once_with_every_protocol() {
    let tokens = Tokens { input: 1_000, cached: 800, output: 50, reasoning: 10 };
    for provider in Provider::ALL {
        let (model, expected) = match provider {
            // 200 at 3, 800 at 0.3, 50 at 15 dollars per million.
            Provider::Anthropic => ("claude-sonnet-4-5-20250929", 0.001_59),
            // 200 at 0.25, 800 at 0.025, 50 at 2.
            Provider::OpenAi | Provider::OpenAiChat | Provider::Azure => ("gpt-5-mini", 0.000_17),
            // 200 at 0.3, 800 at 0.03, 50 at 2.5.
            Provider::Google | Provider::Vertex => ("gemini-2.5-flash", 0.000_209),
            // 200 at 0.3, 800 at 0.006, 50 at 1.2.
            Provider::DeepSeek => ("deepseek-flash", 0.000_124_8),
            // 200 at 1, 800 at 0.1, 50 at 5.
            Provider::Bedrock => ("global.anthropic.claude-haiku-4-5-20251001-v1:0", 0.000_53),
            Provider::Ollama => ("gpt-oss:20b", 0.0),
        };
        let test = Test::with(provider).answers([Answer::text("Owls.").usage(tokens)]);
        let ran = test.run(["run", "librarian", "Birds?", "--model", model, "--output", "json"]).assert_code(0);
        assert_cost(&ran.object(), expected);
        assert_eq!(ran.object()["costIsComplete"], true);
        assert_cost(&job(&ran), expected);
    }
}

#[test]
fn steps_and_runs_have_their_cost_in_events_checkpoints_and_words() {
    let test = Test::with(Provider::Anthropic).answers([todo("c1"), Answer::text("Owls."), Answer::text("Two.")]);
    let ran = test.run(["run", "librarian", "Birds?", "--output", "jsonl"]).assert_code(0);
    let events = ran.events();
    let event = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap();
    assert_cost(event("callTools"), USUAL);
    assert_cost(&event("continueToNextStep")["step"], USUAL);
    assert_cost(&event("continueToNextStep")["checkpoint"], USUAL);
    assert_cost(event("completeRun"), USUAL);
    assert_cost(&event("completeRun")["checkpoint"], 2.0 * USUAL);
    assert_cost(&job(&ran), 2.0 * USUAL);

    // What was spent before a job is continued stays on its account.
    let ran = test.run(["resume", "latest", "How many?"]).assert_code(0);
    ran.snapshot("cost/steps-and-runs-have-their-cost-in-events-checkpoints-and-words");
    assert_cost(&read_json(test.storage().checkpoints().last().unwrap()), 3.0 * USUAL);
}

#[test]
fn delegates_are_on_the_jobs_account() {
    let toml = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Does one task.\"\n\
                defaultModelTier = \"low\"\n";
    let test = Test::new().toml(toml).provider(Provider::Anthropic).answers([
        Answer::calls([call("d1", "worker", json!({"query": "Go."}))]),
        Answer::text("Done."),
        Answer::text("All done."),
    ]);
    let ran = test.run(["run", "lead", "Go.", "--output", "json"]).assert_code(0);
    let models: Vec<Value> = test.server().requests().iter().map(|request| request.body["model"].clone()).collect();
    assert_eq!(models, ["claude-sonnet-4-5", "claude-haiku-4-5", "claude-sonnet-4-5"]);
    // Haiku: 100 at 1, 20 at 5.
    assert_cost(&ran.object(), 2.0 * USUAL + 0.0002);
    assert_cost(&job(&ran), 2.0 * USUAL + 0.0002);
}

#[test]
fn an_unknown_model_works_and_is_warned_of_once_with_what_may_be_meant() {
    let toml = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Does one task.\"\n";
    let test = Test::new().toml(toml).provider(Provider::Anthropic).answers([
        Answer::calls([call("d1", "worker", json!({"query": "Go."}))]),
        Answer::text("Done."),
        Answer::text("All done."),
    ]);
    let ran = test.run(["run", "lead", "Go.", "--output", "json", "--model", "claude-sonet-4-5"]).assert_code(0);
    let warnings: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("catalogue")).collect();
    assert_eq!(warnings.len(), 1, "{}", ran.stderr);
    assert!(warnings[0].contains("claude-sonet-4-5") && warnings[0].contains("did you mean claude-sonnet-4-5?"));
    let object = ran.object();
    assert_eq!((&object["cost"], &object["costIsComplete"]), (&Value::Null, &json!(false)));
    assert_eq!(job(&ran).get("cost"), None);
}

#[test]
fn a_gateways_own_model_is_no_mistake() {
    let test = Test::with(Provider::OpenAiChat).answers([Answer::text("Owls.")]);
    let ran = test.run(["run", "librarian", "Birds?", "--model", "house-blend"]).assert_code(0);
    assert!(!ran.stderr.contains("catalogue") && !ran.stderr.contains('$'), "{}", ran.stderr);
}

#[test]
fn a_call_that_may_be_charged_for_without_being_known_makes_the_cost_a_minimum() {
    let refused = Answer::status(529).header("retry-after-ms", "1");
    let cut = Answer::text("Owls, of which there are many.").cut_after(200);
    for (failure, is_complete) in [(refused, true), (cut, false)] {
        let test = Test::with(Provider::Anthropic).answers([todo("c1"), failure, Answer::text("Owls.")]);
        let ran = test.run(["run", "librarian", "Birds?", "--output", "json"]).assert_code(0);
        let object = ran.object();
        assert_eq!((&object["cost"], &object["costIsComplete"]), (&json!(0.0012), &json!(is_complete)));
        assert_eq!(ran.stderr.contains("≥$0.0012"), !is_complete, "{}", ran.stderr);
    }
}

#[test]
fn usage_that_is_not_reported_is_not_taken_for_zero() {
    let test = Test::with(Provider::OpenAiChat).answers([todo("c1"), Answer::text("Owls.").without_usage()]);
    let ran = test.run(["run", "librarian", "Birds?", "--model", "gpt-5", "--output", "json"]).assert_code(0);
    let object = ran.object();
    // 100 at 1.25, 20 at 10 dollars per million, for the first call.
    assert_eq!((&object["cost"], &object["costIsComplete"]), (&json!(0.000_325), &json!(false)));
    assert_eq!(job(&ran)["costIsComplete"], false);
}

#[test]
fn a_replay_costs_what_was_recorded_with_the_models_of_the_experts_tiers() {
    let toml = "model = \"claude-opus-4-5\"\n[experts.librarian]\ninstruction = \"You find things.\"\n\
                defaultModelTier = \"low\"\n";
    let test = Test::new().toml(toml).provider(Provider::Anthropic).answers([Answer::text("Owls.")]);
    let run = |session: [&str; 2]| {
        let [how, file] = session;
        test.run(["run", "librarian", "Birds?", "--output", "json", how, file]).assert_code(0).object()
    };
    let recorded = run(["--record", "a.cassette"]);
    assert_eq!(test.server().requests()[0].body["model"], "claude-haiku-4-5");
    std::fs::remove_dir_all(test.workspace().join("perstack")).unwrap();
    let replayed = run(["--replay", "a.cassette"]);
    assert_cost(&recorded, 0.0002);
    assert_cost(&replayed, 0.0002);
}
