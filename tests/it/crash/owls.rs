//! The job that is killed: nine steps with every kind of tool, whose model answers by the conversation alone.

use serde_json::{Value, json};

use crate::support::storage::read_json;
use crate::support::{Answer, Provider, Test, call};

/// What the job answers.
pub const ANSWER: &str = "Six owls.";

/// The calls that take effect each time they are made. Each adds its own id to `lines.txt`.
pub const EFFECTS: [&str; 6] = ["a1", "a2", "a4", "b4", "e5", "a6"];

/// How many results the conversation holds before each answer of the model.
pub const TURNS: [usize; 9] = [0, 1, 2, 5, 6, 8, 9, 11, 12];

/// How an answer of the runner begins that stands for a result nobody knows.
const IN_DOUBT: &str = "interrupted: ";

/// What the model says after this many results.
pub fn answer(results: usize) -> Answer {
    let append = |id: &str| call(id, "appendTextFile", json!({"path": "lines.txt", "text": format!("{id}\n")}));
    let write = |id: &str, text: &str| call(id, "writeTextFile", json!({"path": "notes.txt", "text": text}));
    match results {
        0 => Answer::calls([write("w0", "tawny")]),
        1 => Answer::calls([append("a1")]).and_text("I take notes."),
        2 => Answer::calls([
            call("r2", "readTextFile", json!({"path": "notes.txt"})),
            append("a2"),
            call("l2", "readTextFile", json!({"path": "shelf/birds.md"})),
        ]),
        5 => Answer::calls([call("t3", "todo", json!({"newTodos": ["look again"]}))]),
        6 => Answer::calls([append("a4"), append("b4")]),
        8 => {
            let arguments = json!({
                "command": "sh", "args": ["-c", "echo e5 >> lines.txt; echo heard"], "env": {}, "cwd": ".",
                "stdout": true, "stderr": true,
            });
            Answer::calls([call("e5", "exec", arguments)])
        }
        9 => Answer::calls([write("w6", "barn"), append("a6")]),
        11 => Answer::calls([call("t7", "todo", json!({"completedTodos": [0]}))]),
        12 => Answer::text(ANSWER),
        other => panic!("nobody asks after {other} results"),
    }
}

/// A place for the job, its model ready.
pub fn place(provider: Provider) -> Test {
    let test = Test::with(provider).file("lines.txt", "").file("shelf/birds.md", "tawny\n");
    test.server().answer_by(|request| answer(request.results().len()));
    test
}

/// The effects so far.
pub fn lines(test: &Test) -> Vec<String> {
    let file = std::fs::read_to_string(test.workspace().join("lines.txt")).unwrap();
    file.lines().map(str::to_owned).collect()
}

/// How often a call took effect.
pub fn effects_of(test: &Test, id: &str) -> usize {
    lines(test).iter().filter(|line| *line == id).count()
}

/// A conversation without what differs between runs of the same job.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    pub messages: Vec<Value>,
    /// The calls whose effect the runner did not know, in order.
    pub in_doubt: Vec<String>,
}

impl Story {
    /// The conversation of a job that has completed, from its last checkpoint.
    #[track_caller]
    pub fn of(test: &Test) -> Self {
        let last = read_json(&test.storage().last_checkpoint());
        assert_eq!(last["status"], "completed");
        let mut story = Self { messages: Vec::new(), in_doubt: Vec::new() };
        // The first message names the folder and the time.
        for message in last["messages"].as_array().unwrap().iter().skip(1) {
            let parts = message["contents"].as_array().unwrap().iter().map(|part| story.part(part)).collect::<Vec<_>>();
            story.messages.push(json!({"type": message["type"], "contents": parts}));
        }
        story
    }

    fn part(&mut self, part: &Value) -> Value {
        let mut part = part.clone();
        let object = part.as_object_mut().unwrap();
        object.remove("id");
        if object["type"] == "toolResultPart" {
            let texts: Vec<&str> =
                object["contents"].as_array().unwrap().iter().map(|part| part["text"].as_str().unwrap()).collect();
            let text = texts.join("\n");
            if text.starts_with(IN_DOUBT) {
                self.in_doubt.push(object["toolCallId"].as_str().unwrap().to_owned());
            }
            object.insert("contents".to_owned(), text.into());
        }
        part
    }

    /// Fails unless the other story is the same, but for the results that were in doubt here.
    #[track_caller]
    pub fn assert_is(&self, other: &Self) {
        let (here, there) = (self.clone().without(&self.in_doubt), other.clone().without(&self.in_doubt));
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(here, there);
        }
        assert_eq!(here.len(), there.len());
    }

    /// The messages with the results of these calls left open.
    fn without(mut self, ids: &[String]) -> Vec<Value> {
        for message in &mut self.messages {
            for part in message["contents"].as_array_mut().unwrap() {
                let is_open = ids.iter().any(|id| part["toolCallId"] == id.as_str());
                if part["type"] == "toolResultPart" && is_open {
                    *part = json!({"type": "toolResultPart", "toolCallId": part["toolCallId"]});
                }
            }
        }
        self.messages
    }
}

/// The story of the job when nothing comes in between.
pub fn undisturbed(provider: Provider) -> Story {
    let test = place(provider);
    let ran = test.run(["run", "librarian", "Which owls?"]).assert_code(0);
    assert_eq!(ran.stdout, format!("{ANSWER}\n"));
    assert_eq!(lines(&test), EFFECTS);
    let story = Story::of(&test);
    assert_eq!(story.in_doubt, [""; 0]);
    story
}
