//! Fallbacks: the models that are asked when an expert's own has failed, when they are asked, and what is on record of it.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::storage::{files_with, read_json};
use crate::support::{Answer, Gate, KEY, Protocol, Provider, Request, Test, call};

const HEAD: &str = "model = \"claude-sonnet-4-5\"\n[provider]\nproviderName = \"anthropic\"\n";
const EXPERT: &str = "[experts.librarian]\ninstruction = \"You find things.\"\n";
const FALLBACK: &str = "fallback = [\"openai/gpt-5-mini\"]\n";

/// Both vendors, with the first in the file.
fn test(experts: &str) -> Test {
    Test::new().provider(Provider::OpenAiChat).provider(Provider::Anthropic).toml(&format!("{HEAD}{experts}"))
}

/// An expert of Anthropic's with a fallback of OpenAI's.
fn with_fallback() -> Test {
    test(&format!("{EXPERT}{FALLBACK}"))
}

/// The same, whose first model is overloaded.
pub fn fallen_back() -> Test {
    with_fallback().answers([overloaded(), chat(Answer::text("Owls."))])
}

fn overloaded() -> Answer {
    Answer::status(529).when(|request| request.protocol == Protocol::Messages)
}

fn of(answer: Answer, protocol: Protocol) -> Answer {
    answer.when(move |request| request.protocol == protocol)
}

fn chat(answer: Answer) -> Answer {
    of(answer, Protocol::Chat)
}

fn messages(answer: Answer) -> Answer {
    of(answer, Protocol::Messages)
}

fn note(id: &str) -> Answer {
    Answer::calls([call(id, "healthCheck", json!({}))])
}

fn asked(test: &Test) -> Vec<Protocol> {
    test.server().requests().iter().map(|request| request.protocol).collect()
}

fn events(events: &[Value], kind: &str) -> Vec<Value> {
    events.iter().filter(|event| event["type"] == kind).cloned().collect()
}

/// Without retries of its own, so that no test waits.
const AT_ONCE: [&str; 2] = ["--max-retries", "0"];

#[test]
fn a_fallback_answers_once_the_models_own_retries_are_used_up() {
    let test = with_fallback().answers([overloaded(), overloaded(), chat(Answer::text("Owls."))]);
    let ran = test.run(["run", "librarian", "q", "--max-retries", "1", "--max-cost", "1", "--output", "json"]);
    let object = ran.assert_code(0).object();
    assert_eq!(asked(&test), [Protocol::Messages, Protocol::Messages, Protocol::Chat]);
    let models: Vec<String> = test.server().requests().into_iter().map(|request| request.model).collect();
    assert_eq!(models, ["claude-sonnet-4-5", "claude-sonnet-4-5", "gpt-5-mini"]);
    assert_eq!(object["text"], "Owls.");
    // 100 and 20 tokens at gpt-5-mini's price.
    assert_eq!((&object["cost"], &object["costIsComplete"]), (&json!(0.000_065), &json!(true)));
    assert_eq!(object["fallback"]["model"], "openai/gpt-5-mini");
    assert_eq!(object["fallback"]["failed"][0]["model"], "anthropic/claude-sonnet-4-5");
    let job = read_json(&test.storage().jobs()[0].join("job.json"));
    assert_eq!(job["cost"], json!(0.000_065));
    let spent = &job["budget"]["spent"];
    assert_eq!(spent["charged"]["cost"].as_f64().or(spent["cost"].as_f64()), Some(0.000_065), "{spent}");
}

#[test]
fn the_change_is_shown_recorded_and_logged() {
    let test = fallen_back();
    let ran = test.run(["run", "librarian", "q", AT_ONCE[0], AT_ONCE[1]]).assert_code(0);
    assert_eq!(ran.stdout, "Owls.\n");
    ran.assert_stderr(["anthropic/claude-sonnet-4-5 failed", "going on with openai/gpt-5-mini"]);
    let log = test.run(["log", "--events"]).assert_code(0).stdout;
    assert!(log.contains("fallBack") && log.contains("anthropic/claude-sonnet-4-5 → openai/gpt-5-mini"), "{log}");
    let step = test.run(["log", "--step", "1"]).assert_code(0).stdout;
    assert!(step.contains("anthropic/claude-sonnet-4-5 failed, openai/gpt-5-mini was asked"), "{step}");
    let checkpoint = read_json(&test.storage().last_checkpoint());
    assert_eq!(checkpoint["fallback"]["model"], "openai/gpt-5-mini");
}

#[test]
fn the_run_stays_with_its_fallback_and_a_resumption_tries_the_first_again() {
    let test = with_fallback().answers([overloaded(), chat(note("c1")), chat(note("c2")), chat(Answer::text("Owls."))]);
    test.run(["run", "librarian", "q", AT_ONCE[0], AT_ONCE[1]]).assert_code(0);
    test.server().script([messages(Answer::text("More owls."))]);
    let resumed = test.run(["resume", "latest", "And more?", "--output", "json"]).assert_code(0).object();
    assert!(resumed.get("fallback").is_none(), "{resumed}");
    let (first, second) = (Protocol::Messages, Protocol::Chat);
    assert_eq!(asked(&test), [first, second, second, second, first]);
}

#[test]
fn it_stays_with_it_behind_its_delegates_which_have_models_of_their_own() {
    let toml = format!(
        "[experts.librarian]\ninstruction = \"You lead.\"\n{FALLBACK}delegates = [\"worker\"]\n\
         [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Works.\"\n"
    );
    let delegated = Answer::calls([call("d1", "worker", json!({"query": "Count."}))]);
    let test = test(&toml).answers([
        overloaded(),
        chat(delegated),
        messages(Answer::text("Three.")),
        chat(Answer::text("There are three.")),
    ]);
    let ran = test.run(["run", "librarian", "q", AT_ONCE[0], AT_ONCE[1]]).assert_code(0);
    assert_eq!(ran.stdout, "There are three.\n");
}

#[test]
fn where_all_fail_the_run_stops_with_all_reasons() {
    let failing = Answer::status(503).message("the second is down");
    let test = with_fallback().answers([overloaded(), chat(failing)]);
    let ran = test.run(["run", "librarian", "q", AT_ONCE[0], AT_ONCE[1]]).assert_code(1);
    let ran = ran.assert_stderr([
        "openai/gpt-5-mini: the second is down",
        "before it, anthropic/claude-sonnet-4-5: the mock server answers 529",
        "perstack resume",
    ]);
    assert_eq!(ran.stdout, "");
    test.server().script([messages(Answer::text("Owls."))]);
    assert_eq!(test.run(["resume"]).assert_code(0).stdout, "Owls.\n");
}

#[test]
fn a_used_up_account_and_a_cut_answer_lead_to_the_fallback() {
    for failing in [
        Answer::status(402),
        Answer::busy(600_000),
        Answer::hang_up(),
        Answer::text("Owls, of which there are many.").cut_after(200),
        Answer::text("So").then_fails("overloaded_error", "Overloaded"),
    ] {
        let test = with_fallback().answers([messages(failing), chat(Answer::text("Owls."))]);
        let ran = test.run(["run", "librarian", "q", AT_ONCE[0], AT_ONCE[1]]).assert_code(0);
        assert_eq!(ran.stdout, "Owls.\n");
        assert_eq!(asked(&test), [Protocol::Messages, Protocol::Chat]);
    }
}

#[test]
fn a_mistake_is_no_reason_to_ask_another_model() {
    for failing in [Answer::refused_key("no such key"), Answer::status(400), Answer::status(404)] {
        let test = with_fallback().answers([messages(failing)]);
        test.run(["run", "librarian", "q", AT_ONCE[0], AT_ONCE[1]]).assert_code(1);
        assert_eq!(asked(&test), [Protocol::Messages]);
    }
}

#[test]
fn an_answer_that_one_model_began_is_ended_by_no_other() {
    let begun = Answer::text("Owls are").stop_reason(crate::support::Stop::Length);
    let test = with_fallback().answers([messages(begun), overloaded()]);
    let ran = test.run(["run", "librarian", "q", AT_ONCE[0], AT_ONCE[1]]);
    let ran = ran.assert_code(1).assert_stderr(["the mock server answers 529"]);
    assert!(!ran.stderr.contains("going on with"), "{}", ran.stderr);
}

#[test]
fn another_vendor_sees_the_conversation_without_the_firsts_thoughts() {
    let test = with_fallback().answers([
        messages(note("c1").thinking("The librarian's thought.", "c2lnbmF0dXJl")),
        overloaded(),
        chat(Answer::text("Owls.")),
    ]);
    test.run(["run", "librarian", "q", AT_ONCE[0], AT_ONCE[1], "--reasoning-budget", "low"]).assert_code(0);
    let requests = test.server().requests();
    let has_thought = |request: &Request| request.contains("The librarian's thought.") || request.contains("c2ln");
    assert!(has_thought(&requests[1]) && !has_thought(&requests[2]), "{:#}", requests[2].body);
    assert_eq!(requests[2].results().len(), 1);
    assert_eq!(requests[1].tools().len(), requests[2].tools().len());
}

#[test]
fn a_job_killed_with_its_fallback_goes_on_with_the_first_model() {
    let gate = Gate::new();
    let test = with_fallback().answers([overloaded(), chat(note("c1")), chat(Answer::hang_up()).delay(&gate)]);
    let running = test.spawn(["run", "librarian", "q", AT_ONCE[0], AT_ONCE[1]]);
    running.wait_for_request(3);
    running.kill();
    assert_eq!(running.finish().signal, Some(Signal::KILL.as_raw()));
    gate.open();
    test.server().script([messages(Answer::text("Owls."))]);
    let resumed = test.run(["resume", "latest", "--output", "json"]).assert_code(0).object();
    assert_eq!(resumed["text"], "Owls.");
    assert!(resumed.get("fallback").is_none(), "{resumed}");
    // The call of the first process is answered from its record.
    assert_eq!(test.server().requests()[3].results().len(), 1);
}

#[test]
fn an_answer_that_a_fallback_began_is_ended_by_it_after_a_kill_and_a_stop_too() {
    let begun = || chat(Answer::text("Owls are").stop_reason(crate::support::Stop::Length));
    for signal in [Signal::KILL, Signal::INT] {
        let gate = Gate::new();
        let test = with_fallback().answers([overloaded(), begun(), chat(Answer::hang_up()).delay(&gate)]);
        let running = test.spawn(["run", "librarian", "q", AT_ONCE[0], AT_ONCE[1]]);
        running.wait_for_request(3);
        running.signal(signal);
        running.finish();
        gate.open();
        test.server().script([chat(Answer::text(" birds."))]);
        let resumed = test.run(["resume", "latest", "--output", "json"]).assert_code(0).object();
        assert_eq!(resumed["text"], "Owls are birds.");
        assert_eq!(resumed["fallback"]["model"], "openai/gpt-5-mini");
        // Something new to answer is the first model's again.
        test.server().script([messages(Answer::text("More owls."))]);
        test.run(["resume", "latest", "And more?"]).assert_code(0);
    }
}

#[test]
fn a_recorded_change_is_replayed_without_keys() {
    let test = fallen_back();
    let run = |test: &Test, how: &str| {
        let ran = test.run(["run", "librarian", "q", "--max-retries", "0", "--output", "jsonl", how, "a.cassette"]);
        ran.assert_code(0)
    };
    let recorded = run(&test, "--record");
    fs::remove_dir_all(test.workspace().join("perstack")).unwrap();
    assert!(files_with(&test.workspace(), KEY).is_empty());
    let test = test.unset("OPENAI_API_KEY").unset("ANTHROPIC_API_KEY");
    let replayed = run(&test, "--replay");
    let state = |ran: &crate::support::Ran| {
        let mut all = ran.events();
        all.retain(|event| !event["sequence"].is_null());
        all
    };
    assert_eq!(state(&recorded), state(&replayed));
    assert_eq!(events(&replayed.events(), "fallBack").len(), 1);
    assert_eq!(test.server().requests().len(), 2);
}

#[test]
fn a_fallback_that_could_not_answer_is_refused_before_anything_is_asked() {
    let test = with_fallback().unset("OPENAI_API_KEY");
    let ran = test.run(["run", "librarian", "q"]).assert_code(2);
    ran.assert_stderr(["the fallback openai/gpt-5-mini of expert librarian cannot be used", "OPENAI_API_KEY"]);
    assert!(test.storage().jobs().is_empty());
    test.run(["check"]).assert_code(2);
    // Without any key the check says no more of a fallback than of the model itself.
    let test = test.unset("ANTHROPIC_API_KEY");
    test.run(["check"]).assert_code(0);
    let test = self::test(&format!("{EXPERT}fallback = [\"opnai/gpt-5-mini\", \"openai\"]\n"));
    let mistakes = ["perstack.toml:6:13", "did you mean \"openai\"?", "received \"openai\""];
    test.run(["run", "librarian", "q"]).assert_code(2).assert_stderr(mistakes);
    // At OpenAI's own address the models are known.
    let test = self::test(&format!("{EXPERT}fallback = [\"openai/gpt-5-mimi\"]\n")).unset("OPENAI_BASE_URL");
    let hints = ["openai has no such model in the catalogue; did you mean gpt-5-mini?", "models.toml"];
    test.run(["run", "librarian", "q"]).assert_code(2).assert_stderr(hints);
    let check = test.run(["check"]).assert_code(2).stdout;
    assert!(check.contains("fallback openai/gpt-5-mimi") && check.contains("did you mean gpt-5-mini?"), "{check}");
}

#[test]
fn a_fallback_whose_cost_is_not_known_is_refused_with_a_limit_on_it() {
    let test = test(&format!("{EXPERT}fallback = [\"openai/house-blend\"]\n"));
    let ran = test.run(["run", "librarian", "q", "--max-cost", "1"]).assert_code(2);
    ran.assert_stderr(["house-blend", "models.toml"]);
    test.server().script([overloaded(), chat(Answer::text("Owls."))]);
    test.run(["run", "librarian", "q", AT_ONCE[0], AT_ONCE[1]]).assert_code(0);
}

#[test]
fn a_fallback_with_too_small_a_window_is_passed_over_with_the_reason() {
    let models = "[openai.models]\ntiny = { contextWindow = 1000, maxOutput = 500 }\n";
    let test = test(&format!("{EXPERT}fallback = [\"openai/tiny\", \"openai/gpt-5-mini\"]\n"))
        .env("PERSTACK_CONFIG_DIR", "settings")
        .file("settings/models.toml", models)
        .answers([overloaded(), chat(Answer::text("Owls."))]);
    let ran = test.run(["run", "librarian", "q", AT_ONCE[0], AT_ONCE[1], "--output", "jsonl"]).assert_code(0);
    let changes = events(&ran.events(), "fallBack");
    let models: Vec<&Value> = changes.iter().map(|event| &event["toModel"]).collect();
    assert_eq!(models, ["openai/tiny", "openai/gpt-5-mini"]);
    assert!(changes[1]["reason"].as_str().unwrap().contains("more than the 1000 that it has"), "{changes:?}");
    assert_eq!(test.server().requests()[1].model, "gpt-5-mini");
}

#[test]
fn an_experts_own_list_replaces_the_one_for_all() {
    let toml = "[experts.librarian]\ninstruction = \"You find things.\"\nfallback = []\n\
                [experts.reader]\ninstruction = \"You read.\"\n";
    let test = Test::new()
        .provider(Provider::OpenAiChat)
        .provider(Provider::Anthropic)
        .toml(&format!("{FALLBACK}{HEAD}{toml}"))
        .answers([overloaded(), overloaded(), chat(Answer::text("Owls."))]);
    test.run(["run", "librarian", "q", AT_ONCE[0], AT_ONCE[1]]).assert_code(1);
    // A fallback that is the model itself is none, whatever names the model.
    test.run(["run", "reader", "q", AT_ONCE[0], AT_ONCE[1]]).assert_code(0);
    test.server().script([chat(Answer::status(529))]);
    let own = ["run", "reader", "q", "--provider", "openai", "--model", "gpt-5-mini", AT_ONCE[0], AT_ONCE[1]];
    test.run(own).assert_code(1);
    let info = test.run(["info"]).assert_code(0).stdout;
    assert!(info.contains("openai/gpt-5-mini (by perstack.toml); none (perstack.toml, expert librarian)"), "{info}");
}
