//! Older steps summarised: what the model is asked, what stays, and that no failure or crash loses anything.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{error, full, place, read};
use crate::support::request::Request;
use crate::support::storage::{checkpoint_id, read_json};
use crate::support::{Answer, Gate, Provider, Test, call};

const LIMIT: &str = "contextLimit = \"summarize\"";
const SUMMARY: &str = "Barn owls and tawny owls were found.";

/// How often to look at what the binary has stored.
const GLANCE: Duration = Duration::from_millis(5);

/// Four files are read; the fifth request does not fit.
pub fn filled(provider: Provider) -> Test {
    let answers = [read("barn", 5_000), read("tawny", 8_000), read("snowy", 12_000), read("eagle", 15_000)];
    place(provider, LIMIT).answers(answers)
}

/// A job that has gone on behind a summary.
pub fn summarised() -> Test {
    let test = filled(Provider::Anthropic);
    test.server().script([full(Answer::text(SUMMARY), 9_500), full(Answer::text("Owls."), 9_000)]);
    test.run(["run", "librarian", "Which?"]).assert_code(0);
    test
}

/// A completed job whose conversation leaves no room for a long question.
pub fn almost_filled() -> Test {
    let answers =
        [read("barn", 5_000), read("tawny", 8_000), read("snowy", 12_000), full(Answer::text("Owls."), 13_000)];
    let test = place(Provider::Anthropic, LIMIT).answers(answers);
    test.run(["run", "librarian", "Which?"]).assert_code(0);
    test
}

fn asks_for_summary(request: &Request) -> bool {
    request.contains("You keep the memory of an agent")
}

/// Whether the conversation of a request is the one behind the summary.
#[track_caller]
fn assert_summarised(request: &Request) {
    assert!(request.contains("Which?") && request.contains(SUMMARY), "{}", request.body);
    let ids: Vec<String> = request.results().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["c-eagle"], "the latest step stays, and no other");
    assert!(request.tools().contains(&"readTextFile"));
}

#[test]
fn older_steps_give_way_to_a_summary() {
    for provider in Provider::ALL {
        let test = filled(provider);
        test.server().script([full(Answer::text(SUMMARY), 9_500).when(asks_for_summary), Answer::text("Owls.")]);
        let ran = test.run(["run", "librarian", "Which?", "--output", "jsonl"]).assert_code(0);
        let requests = test.server().requests();
        assert_eq!(requests.len(), 6);
        let asked = &requests[4];
        assert_eq!(asked.tools(), [""; 0]);
        assert!(asked.contains("barn barn") && asked.contains("snowy snowy") && !asked.contains("eagle eagle"));
        assert!(asked.contains("Agent calls readTextFile: {\"path\":\"barn.txt\"}"));
        assert_summarised(&requests[5]);

        let events = ran.events();
        let told: Vec<&Value> = events.iter().filter(|event| event["type"] == "contextSummarized").collect();
        assert_eq!(told.len(), 1);
        assert_eq!((&told[0]["messagesBefore"], &told[0]["messagesAfter"]), (&json!(10), &json!(5)));
        assert_eq!(told[0]["stepNumber"], 5);
        let tokens = |key: &str| told[0][key].as_u64().unwrap();
        assert!(tokens("tokensBefore") > 17_500 && tokens("tokensAfter") < 7_000, "{:#}", told[0]);
        // Streamed text is the run's answer, which a summary is not.
        let streamed = |event: &&Value| event["type"] == "completeStreamingRunResult";
        assert_eq!(events.iter().filter(streamed).map(|event| &event["text"]).collect::<Vec<_>>(), ["Owls."]);

        let last = read_json(&test.storage().last_checkpoint());
        let kinds: Vec<&str> =
            last["messages"].as_array().unwrap().iter().map(|m| m["type"].as_str().unwrap()).collect();
        assert_eq!(
            kinds,
            ["instructionMessage", "userMessage", "userMessage", "expertMessage", "toolMessage", "expertMessage"]
        );
        let output = 20 * 6;
        assert_eq!(last["usage"]["outputTokens"], output, "the summary is paid for");
        let facts = test.storage().facts();
        assert!(facts.iter().any(|fact| fact.to_string().contains("barn barn")), "the originals are on record");
        assert_eq!(facts.iter().filter(|fact| fact["fact"] == "summarized").count(), 1);
    }
}

#[test]
fn a_job_goes_on_behind_its_summary_and_forks_before_it() {
    let test = filled(Provider::Anthropic).answers([Answer::text(SUMMARY), Answer::text("Owls.")]);
    let ran = test.run(["run", "librarian", "Which?"]).assert_code(0);
    ran.snapshot("context-summary/a-job-goes-on-behind-its-summary-and-forks-before-it");
    test.server().script([Answer::text("Three.")]);
    test.run(["resume", "latest", "How many?"]).assert_code(0);
    let request = test.server().requests().pop().unwrap();
    assert_summarised(&request);
    assert!(request.contains("How many?"));

    // The checkpoint behind the second step is older than the summary.
    let before = test.storage().checkpoints().remove(1);
    test.server().script([Answer::text("Barn and tawny.")]);
    test.run(["resume", checkpoint_id(&before), "So far?"]).assert_code(0);
    let request = test.server().requests().pop().unwrap();
    assert!(!request.contains(SUMMARY));
    assert_eq!(request.results().len(), 2);
    assert!(request.contains("barn barn"));
}

#[test]
fn tasks_outlive_the_messages_that_set_them() {
    let test = place(Provider::Anthropic, LIMIT);
    let todo = |id: &str, args| full(Answer::calls([call(id, "todo", args)]), 3_000);
    test.server().script([
        todo("t1", json!({"newTodos": ["Read about owls", "Write"]})),
        todo("t2", json!({"completedTodos": [0]})),
        read("barn", 9_000),
        read("tawny", 16_000),
        Answer::text("Read."),
        todo("t3", json!({"completedTodos": [1]})),
        Answer::text("Done."),
    ]);
    test.run(["run", "librarian", "Which?"]).assert_code(0);
    let requests = test.server().requests();
    assert!(requests[5].contains("- [x] 0: Read about owls\n- [ ] 1: Write"), "{}", requests[5].body);
    let (_, answer) = requests[6].results().pop().unwrap();
    assert_eq!(answer.matches("\"completed\":true").count(), 2, "{answer}");
}

#[test]
fn a_provider_that_refuses_is_asked_again_with_a_summary() {
    for provider in Provider::ALL {
        let refusal = Answer::status(400).message("This model's maximum context length is 8192 tokens.");
        let test = place(provider, LIMIT);
        test.server().script([read("barn", 900), read("tawny", 950), read("snowy", 990), refusal]);
        test.server().script([Answer::text(SUMMARY).when(asks_for_summary), Answer::text("Owls.")]);
        // Nobody knows this model's window.
        let ran = test.run(["run", "librarian", "Which?", "--model", "house-blend"]).assert_code(0);
        assert_eq!(ran.stdout, "Owls.\n");
        let request = test.server().requests().pop().unwrap();
        assert!(request.contains(SUMMARY) && !request.contains("barn barn"));
    }
}

#[test]
fn a_summary_that_does_not_help_is_not_tried_again_and_again() {
    let refusal = || Answer::status(400).message("This model's maximum context length is 8192 tokens.");
    let test = place(Provider::Anthropic, LIMIT);
    test.server().script([read("barn", 900), read("tawny", 950), refusal(), Answer::text(SUMMARY), refusal()]);
    test.run(["run", "librarian", "Which?", "--model", "house-blend"]).assert_code(1);
    let message = error(&test)["message"].to_string();
    assert!(message.contains("8192") && message.contains("summarised only just before"), "{message}");
    assert_eq!(test.server().requests().len(), 5);
}

#[test]
fn a_summary_that_fails_is_tried_once_more() {
    let busy = || Answer::status(529).header("retry-after-ms", "1");
    let empty = || Answer::text(" ");
    for failure in [busy(), empty()] {
        let test = filled(Provider::OpenAiChat).answers([failure, Answer::text(SUMMARY), Answer::text("Owls.")]);
        test.run(["run", "librarian", "Which?"]).assert_code(0);
        assert_summarised(&test.server().requests().pop().unwrap());
    }
    for failures in [[busy(), empty()], [empty(), busy()]] {
        let test = filled(Provider::OpenAiChat).answers(failures);
        let ran = test.run(["run", "librarian", "Which?", "--output", "jsonl"]).assert_code(1);
        assert_eq!(ran.events().iter().filter(|event| event["type"] == "retry").count(), 1);
        let error = error(&test);
        assert_eq!(error["name"], "ContextWindowExceededError");
        assert!(error["message"].to_string().contains("could not be summarised"), "{error}");
        // Nothing is lost: another try is the user's to make.
        test.server().script([Answer::text(SUMMARY).when(asks_for_summary), Answer::text("Owls.")]);
        assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "Owls.\n");
        assert_summarised(&test.server().requests().pop().unwrap());
    }
}

#[test]
fn a_failure_that_cannot_pass_ends_the_try_at_once() {
    let test = filled(Provider::Anthropic).answers([Answer::status(400).message("No.")]);
    test.run(["run", "librarian", "Which?"])
        .assert_code(1)
        .snapshot("context-summary/a-failure-that-cannot-pass-ends-the-try-at-once");
    assert_eq!(test.server().requests().len(), 5);
}

#[test]
fn a_summary_is_set_aside_and_paid_for_like_any_request() {
    let test = filled(Provider::OpenAi);
    test.server()
        .script([full(Answer::text(SUMMARY), 9_500).when(asks_for_summary), full(Answer::text("Owls."), 6_000)]);
    test.run(["run", "librarian", "Which?", "--max-tokens", "500000"]).assert_code(0);
    let facts: Vec<Value> = test.storage().facts();
    let summary = facts.iter().position(|fact| fact["fact"] == "summarized").unwrap();
    let reserved = &facts[summary - 1];
    assert_eq!(reserved["fact"], "reserved", "{reserved}");
    assert_eq!(reserved["reservation"]["outputTokens"], 4_096);
    let requests = test.server().requests();
    assert_eq!(requests[4].body["max_output_tokens"], 4_096);
    let job = read_json(&test.storage().jobs()[0].join("job.json"));
    assert_eq!(job["budget"]["spent"]["tokens"], 5_000 + 8_000 + 12_000 + 15_000 + 9_500 + 6_000);
    // The summary's step is the one whose request did not fit.
    assert_eq!(job["budget"]["spent"]["steps"], 5);
}

#[test]
fn a_summary_that_the_budget_has_no_room_for_is_not_asked_for() {
    // The first is of no use, and paid for.
    let test = filled(Provider::Anthropic).answers([full(Answer::text(" "), 9_500)]);
    let ran = test.run(["run", "librarian", "Which?", "--max-tokens", "62000"]).assert_code(5);
    ran.snapshot("context-summary/a-summary-that-the-budget-has-no-room-for-is-not-asked-for");
    assert_eq!(test.server().requests().len(), 5);
    test.server().script([Answer::text(SUMMARY).when(asks_for_summary), Answer::text("Owls.")]);
    let ran = test.run(["resume", "latest", "--max-tokens", "500000"]).assert_code(0);
    assert_eq!(ran.stdout, "Owls.\n");
    assert_summarised(&test.server().requests().pop().unwrap());
}

#[test]
fn a_job_killed_in_its_summary_summarises_when_it_is_resumed() {
    let test = filled(Provider::Anthropic);
    let gate = Gate::new();
    test.server().script([Answer::text("Nobody hears this.").delay(&gate)]);
    let running = test.spawn(["run", "librarian", "Which?"]);
    running.wait_for_request(5);
    running.kill();
    running.finish();
    gate.open();
    test.server().script([Answer::text(SUMMARY).when(asks_for_summary), Answer::text("Owls.")]);
    let ran = test.run(["resume", "latest", "--output", "json"]).assert_code(0);
    assert_eq!(ran.object()["text"], "Owls.");
    // What the dead process had asked may be charged for.
    assert_eq!(ran.object()["costIsComplete"], false);
    assert_summarised(&test.server().requests().pop().unwrap());
    assert_eq!(test.storage().runs().len(), 1);
}

#[test]
fn a_job_killed_behind_its_summary_goes_on_with_it() {
    let test = filled(Provider::Anthropic);
    let gate = Gate::new();
    let again = read("pygmy", 11_000);
    test.server().script([Answer::text(SUMMARY), again, Answer::text("Nobody hears this.").delay(&gate)]);
    let running = test.spawn(["run", "librarian", "Which?"]);
    running.wait_for_request(7);
    // It is written while the model is asked.
    running.poll(GLANCE, || test.storage().checkpoints().len() == 5);
    running.kill();
    running.finish();
    gate.open();
    for _ in 0..2 {
        test.server().script([Answer::text("Owls.")]);
        let point = test.storage().checkpoints().pop().unwrap();
        test.run(["resume", checkpoint_id(&point), "More."]).assert_code(0);
        let request = test.server().requests().pop().unwrap();
        assert!(request.contains(SUMMARY) && !request.contains("barn barn"));
        let ids: Vec<String> = request.results().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["c-eagle", "c-pygmy"]);
    }
}

#[test]
fn a_summary_can_be_interrupted() {
    let test = filled(Provider::Anthropic);
    let gate = Gate::new();
    test.server().script([Answer::text("Nobody hears this.").delay(&gate)]);
    let running = test.spawn(["run", "librarian", "Which?"]);
    running.wait_for_request(5);
    running.signal(Signal::INT);
    running.finish().assert_code(130).snapshot("context-summary/a-summary-can-be-interrupted");
    gate.open();
    // A larger model needs no summary.
    test.server().script([Answer::text("Owls.")]);
    test.run(["resume", "latest", "--model", "roomy"]).assert_code(0);
    assert_eq!(test.server().requests().pop().unwrap().results().len(), 4);
}

#[test]
fn a_recorded_summary_replays_the_same_every_time() {
    let test = filled(Provider::Anthropic).answers([Answer::text(SUMMARY), Answer::text("Owls.")]);
    let run = |session: [&str; 2]| {
        let [how, file] = session;
        let ran = test.run(["run", "librarian", "Which?", "--output", "jsonl", "--job-id", "nest", how, file]);
        let checkpoint = std::fs::read(test.storage().last_checkpoint()).unwrap();
        std::fs::remove_dir_all(test.workspace().join("perstack")).unwrap();
        (ran.assert_code(0).stdout, checkpoint)
    };
    let (recorded, _) = run(["--record", "a.cassette"]);
    assert!(recorded.contains("contextSummarized"));
    let first = run(["--replay", "a.cassette"]);
    assert!(first.0.contains("contextSummarized"));
    assert!(first == run(["--replay", "a.cassette"]));
    assert_eq!(test.server().requests().len(), 6);
}

/// The model, as one who decides by what it is shown.
fn reads_on(request: &Request) -> Answer {
    if asks_for_summary(request) {
        return full(Answer::text(SUMMARY), 9_500);
    }
    if request.contains(SUMMARY) {
        return Answer::text("Owls.");
    }
    let files = [("barn", 5_000), ("tawny", 8_000), ("snowy", 12_000), ("eagle", 15_000)];
    let (name, tokens) = files[request.results().len()];
    read(name, tokens)
}

#[test]
fn a_log_cut_at_any_fact_leads_to_the_same_conversation() {
    let test = place(Provider::Anthropic, LIMIT);
    test.server().answer_by(reads_on);
    test.run(["run", "librarian", "Which?"]).assert_code(0);
    let (job_file, log_file) = (test.storage().jobs()[0].join("job.json"), test.storage().runs()[0].join("log.jsonl"));
    let log = std::fs::read_to_string(&log_file).unwrap();
    let mut job = read_json(&job_file);
    job["status"] = json!("running");
    let ends = log.match_indices('\n').map(|(at, _)| at + 1).skip(1);
    let kinds: Vec<Value> = test.storage().facts().iter().map(|fact| fact["fact"].clone()).collect();
    assert!(kinds.contains(&json!("summarized")) && kinds.contains(&json!("generationFailed")), "{kinds:?}");
    for end in ends {
        for checkpoint in test.storage().checkpoints() {
            std::fs::remove_file(checkpoint).unwrap();
        }
        std::fs::write(&log_file, &log[..end]).unwrap();
        std::fs::write(&job_file, job.to_string()).unwrap();
        let ran = test.run(["resume", "latest"]).assert_code(0);
        assert_eq!(ran.stdout, "Owls.\n", "{end} bytes");
        assert_summarised(&test.server().requests().pop().unwrap());
        let last = read_json(&test.storage().last_checkpoint());
        assert_eq!(last["messages"].as_array().unwrap().len(), 6, "{end} bytes");
        assert_eq!(last["stepNumber"], 5, "{end} bytes");
    }
}
