//! A job to be killed: twelve steps with every kind of tool, whose model answers by the conversation alone.

use serde_json::json;

use super::Job;
use crate::support::crash::calls::{append, read, shell, write};
use crate::support::request::Request;
use crate::support::{Answer, Provider, Test, call};

/// The whole of it.
pub const JOB: Job =
    Job { folder, model, words: ["run", "librarian", "Which owls?"], answer: ANSWER, effects: &EFFECTS, turns: &TURNS };

/// What the job answers.
pub const ANSWER: &str = "Six owls.";

/// The calls that take effect each time they are made. Each adds its own id to `lines.txt`.
pub const EFFECTS: [&str; 8] = ["a1", "a2", "a4", "b4", "e5", "a6", "a9", "e10"];

/// How many results the conversation holds before each answer of the model.
const TURNS: [usize; 12] = [0, 1, 2, 5, 6, 8, 9, 11, 12, 14, 15, 17];

/// The model's answer after this many results.
fn answer(results: usize) -> Answer {
    match results {
        0 => Answer::calls([write("w0", "tawny")]),
        1 => Answer::calls([append("a1")]).and_text("I take notes."),
        2 => Answer::calls([read("r2", "notes.txt"), append("a2"), read("l2", "shelf/birds.md")]),
        5 => Answer::calls([call("t3", "todo", json!({"newTodos": ["look again"]}))]),
        6 => Answer::calls([append("a4"), append("b4")]),
        8 => Answer::calls([shell("e5")]),
        9 => Answer::calls([write("w6", "barn"), append("a6")]),
        11 => Answer::calls([call("t7", "todo", json!({"completedTodos": [0]}))]),
        12 => Answer::calls([read("r8", "shelf/birds.md"), read("l8", "shelf/bees.md")]),
        14 => Answer::calls([append("a9")]),
        15 => Answer::calls([shell("e10"), write("w10", "snowy")]),
        17 => Answer::text(ANSWER),
        other => panic!("nobody asks after {other} results"),
    }
}

fn model(request: &Request) -> Answer {
    answer(request.results().len())
}

fn folder(provider: Provider) -> Test {
    Test::with(provider).file("lines.txt", "").file("shelf/birds.md", "tawny\n").file("shelf/bees.md", "none\n")
}
