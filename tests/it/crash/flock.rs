//! A job to be killed: four delegates at once, each with an effect of its own, and one more effect when they are done.

use serde_json::json;

use super::Job;
use crate::support::crash::calls::{append, read, shell};
use crate::support::request::Request;
use crate::support::{Answer, Provider, Test, call};

const TEAM: &str = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                    [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Counts one shelf.\"\n";

/// The whole of it. Its delegates ask the model in any order, so that there is no list of turns.
pub const JOB: Job = Job {
    folder,
    model: answer,
    words: ["run", "lead", "Count all shelves."],
    answer: "Four shelves.",
    effects: &["d0", "d1", "d2", "d3", "z"],
    turns: &[],
};

const SHELVES: usize = 4;

fn folder(provider: Provider) -> Test {
    Test::new().toml(TEAM).provider(provider).file("lines.txt", "").file("shelf.md", "tawny\n")
}

fn answer(request: &Request) -> Answer {
    let results = request.results().len();
    if request.contains("You lead.") {
        return match results {
            0 => Answer::calls(
                (0..SHELVES)
                    .map(|n| call(&format!("t{n}"), "worker", json!({"query": format!("Count shelf #{n}#.")})))
                    .collect::<Vec<_>>(),
            ),
            SHELVES => Answer::calls([append("z")]),
            _ => Answer::text(JOB.answer),
        };
    }
    let shelf = (0..SHELVES).find(|n| request.contains(&format!("shelf #{n}#."))).expect("a shelf");
    let id = format!("d{shelf}");
    match results {
        0 if shelf % 2 == 0 => Answer::calls([append(&id)]),
        0 => Answer::calls([shell(&id)]),
        1 => Answer::calls([read(&format!("r{shelf}"), "shelf.md")]),
        _ => Answer::text(&format!("Shelf {shelf}: one owl.")),
    }
}
