//! What each provider's failures must lead to.

use std::time::Duration;

use super::rows::{Cell, completed, events_of};
use crate::support::{Answer, KEY, Provider, Test, reports_wait};

/// The run completes although the first answer fails in this way; both requests are the same.
fn survived(provider: Provider, failure: Answer) -> Cell {
    let test = Test::with(provider).answers([failure, Answer::text("Owls.")]);
    completed(&test);
    let requests = test.server().requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body, requests[1].body, "a retry leaves no trace in the conversation");
    Cell::Does
}

/// An empty answer is asked for again.
pub fn empty(provider: Provider) -> Cell {
    let test = Test::with(provider).answers([Answer::text(""), Answer::text("Owls.")]);
    completed(&test);
    assert_eq!(test.server().requests().len(), 2);
    Cell::Does
}

pub fn cut(provider: Provider) -> Cell {
    survived(provider, Answer::text("Half an answer is none, however long it may be.").cut_after(400))
}

pub fn failed(provider: Provider) -> Cell {
    survived(provider, Answer::text("Half an answer").then_fails("overloaded_error", "Overloaded"))
}

pub fn overloaded(provider: Provider) -> Cell {
    survived(provider, Answer::status(503))
}

pub fn broken(provider: Provider) -> Cell {
    survived(provider, Answer::status(500))
}

/// The provider's own wait is kept where it names one.
pub fn busy(provider: Provider) -> Cell {
    let test = Test::with(provider).answers([Answer::busy(3000), Answer::text("Owls.")]);
    let ran = test.run(["run", "librarian", "q", "--json"]).assert_code(0);
    let events = ran.events();
    let retries = events_of(&events, "retry");
    assert_eq!(retries.len(), 1);
    let delay = retries[0]["delayMs"].as_u64().unwrap();
    let expected = if reports_wait(test.server().requests()[0].service) { 3000..=3000 } else { 1000..=2000 };
    assert!(expected.contains(&delay), "{delay} ms");
    Cell::Does
}

/// The provider's own message, and what to check.
pub fn refused_key(provider: Provider) -> Cell {
    let test = Test::with(provider)
        .env("OLLAMA_API_KEY", KEY)
        .answers([Answer::refused_key(&format!("Owls do not know {KEY}."))]);
    let ran = test.run(["run", "librarian", "q"]).assert_code(1);
    let check = match provider {
        Provider::Anthropic => "ANTHROPIC_API_KEY",
        Provider::OpenAi | Provider::OpenAiChat => "OPENAI_API_KEY",
        Provider::Google => "GOOGLE_GENERATIVE_AI_API_KEY",
        Provider::DeepSeek => "DEEPSEEK_API_KEY",
        Provider::Azure => "AZURE_API_KEY",
        Provider::Bedrock => "the AWS credentials in use",
        Provider::Vertex => "the Google credentials in use",
        Provider::Ollama => "OLLAMA_API_KEY",
    };
    let ran = ran.assert_stderr(["Owls do not know [redacted].", &format!("(check {check}")]);
    assert!(!ran.stderr.contains(KEY), "{}", ran.stderr);
    assert_eq!(test.server().requests().len(), 1);
    Cell::Does
}

pub fn unknown_model(provider: Provider) -> Cell {
    let test = Test::with(provider).answers([Answer::status(404).message("There is no such owl.")]);
    let ran = test.run(["run", "librarian", "q", "--model", "owl-1"]).assert_code(1);
    ran.assert_stderr(["There is no such owl.", "check the model owl-1"]);
    assert_eq!(test.server().requests()[0].model, "owl-1");
    Cell::Does
}

/// Something in between that is no model server.
pub fn page(provider: Provider) -> Cell {
    let html = "<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>";
    let test = Test::with(provider).answers([Answer::html(502, html)]);
    let ran = test.run(["run", "librarian", "q", "--max-retries", "0"]).assert_code(1);
    let ran = ran.assert_stderr(["502 Bad Gateway"]);
    assert!(!ran.stderr.contains("</"), "{}", ran.stderr);
    Cell::Does
}

/// Data that keeps coming does not keep a run alive for ever.
pub fn drip(provider: Provider) -> Cell {
    let slow =
        Answer::text("This takes long, far too long for anybody to wait.").dripping(1, Duration::from_millis(50));
    let test = Test::with(provider).answers([slow]);
    let ran = test.run(["run", "librarian", "q", "--max-retries", "0", "--timeout", "700"]).assert_code(1);
    ran.assert_stderr(["timeout: "]);
    Cell::Does
}
