//! The jobs that meet faults: one expert with every kind of tool, one that delegates, and one whose workspace is stored with
//! every step. Their models answer by the conversation alone.

use std::fs;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::kept;
use crate::support::answer::Call;
use crate::support::crash::calls::{append, read, shell, write};
use crate::support::request::Request;
use crate::support::tool_server::program;
use crate::support::{Answer, Provider, Test, call};

/// What the jobs are called.
pub const ID: &str = "nest";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Twelve steps: tools that take effect, tools that only read, tools that can be called twice; some at once.
    Alone,
    /// An expert that delegates, once to one and once to two at a time, to experts that take effect.
    Team,
    /// The first job, come from elsewhere as a file after ten steps.
    Moved,
    /// Two experts that change, make and remove files, with a snapshot of the workspace for every checkpoint.
    Kept,
}

impl Job {
    pub const ALL: [Self; 4] = [Self::Alone, Self::Team, Self::Moved, Self::Kept];

    /// The calls that take effect each time they are made. Each adds its own id to `lines.txt`.
    pub fn effects(self) -> &'static [&'static str] {
        match self {
            Self::Alone => &["a1", "a2", "m4", "b4", "e5", "m8", "a9", "a11", "m11"],
            Self::Moved => &["a11", "m11"],
            Self::Team => &["a0", "b2", "k1", "k2", "k3"],
            Self::Kept => kept::EFFECTS,
        }
    }

    /// What the job answers.
    pub fn answer(self) -> &'static str {
        match self {
            Self::Alone | Self::Moved => "Nine owls.",
            Self::Team => "All done.",
            Self::Kept => kept::ANSWER,
        }
    }

    /// The command that begins it.
    pub fn command(self) -> &'static [&'static str] {
        match self {
            Self::Alone => &["run", "librarian", "Which owls?", "--job-id", ID],
            Self::Team => &["run", "lead", "Which owls?", "--job-id", ID],
            Self::Moved => &["resume", "moved.json", "Go on.", "--max-steps", "99"],
            Self::Kept => &["run", "keeper", "Which owls?", "--job-id", ID],
        }
    }

    /// A place for it, its model ready.
    pub fn place(self) -> Test {
        let test = Test::new();
        let toml = match self {
            Self::Alone | Self::Moved => alone(&test),
            Self::Team => TEAM.to_owned(),
            Self::Kept => kept::TOML.to_owned(),
        };
        let test = test.toml(&toml).provider(Provider::Anthropic).file("lines.txt", "").file("shelf.md", "tawny\n");
        let test = if self == Self::Moved { test.file("moved.json", moved()) } else { test };
        match self {
            Self::Alone | Self::Moved => test.server().answer_by(|request| alone_answers(request.results().len())),
            Self::Team => test.server().answer_by(team_answers),
            Self::Kept => kept::answer(&test),
        }
        test
    }
}

/// Every call is decided before its turn's calls are made, and one is denied.
const TEAM: &str = "permissions = { deny = [\"deleteFile\"] }\n[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                    [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Does one task.\"\n";

fn alone(test: &Test) -> String {
    let file = test.workspace().join("lines.txt");
    format!(
        "[experts.librarian]\ninstruction = \"You find things in books.\"\n\
         [experts.librarian.skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \"npx\"\n\
         packageName = \"@perstack/base\"\n\
         [experts.librarian.skills.effects]\ntype = \"mcpStdioSkill\"\ncommand = {}\nargs = {}\n\
         idempotent = [\"put\"]\n",
        json!(program()),
        json!(["effects", file.to_str().unwrap()])
    )
}

/// What the job stopped with elsewhere.
fn moved() -> &'static [u8] {
    static MOVED: OnceLock<Vec<u8>> = OnceLock::new();
    MOVED.get_or_init(|| {
        let elsewhere = Job::Alone.place();
        elsewhere.run(["run", "librarian", "Which owls?", "--job-id", ID, "--max-steps", "10"]).assert_code(3);
        fs::read(elsewhere.storage().last_checkpoint()).unwrap()
    })
}

/// A call of the server's tools.
fn remote(id: &str, tool: &str) -> Call {
    call(id, tool, json!({"text": id}))
}

/// The answer of the lone expert's model after this many results.
fn alone_answers(results: usize) -> Answer {
    match results {
        0 => Answer::calls([write("w0", "tawny")]),
        1 => Answer::calls([append("a1")]).and_text("I take notes."),
        2 => Answer::calls([read("r2", "notes.txt"), append("a2"), read("l2", "shelf.md")]),
        5 => Answer::calls([call("t3", "todo", json!({"newTodos": ["look again"]}))]),
        6 => Answer::calls([remote("m4", "add"), append("b4")]),
        8 => Answer::calls([shell("e5")]),
        9 => Answer::calls([remote("q6", "look")]),
        10 => Answer::calls([remote("p7", "put"), remote("m8", "add")]),
        12 => Answer::calls([write("w9", "barn"), append("a9")]),
        14 => Answer::calls([call("t10", "todo", json!({"completedTodos": [0]}))]),
        15 => Answer::calls([append("a11"), remote("m11", "add")]),
        17 => Answer::text(Job::Alone.answer()),
        other => panic!("nobody asks after {other} results"),
    }
}

fn task(n: usize) -> Call {
    let query: Value = json!({"query": format!("Task #{n}#.")});
    call(&format!("d{n}"), "worker", query)
}

fn team_answers(request: &Request) -> Answer {
    let results = request.results().len();
    if request.contains("You lead.") {
        return match results {
            0 => Answer::calls([append("a0"), call("x0", "deleteFile", json!({"path": "shelf.md"}))]),
            2 => Answer::calls([task(1)]),
            3 => Answer::calls([task(2), append("b2"), task(3)]),
            6 => Answer::text(Job::Team.answer()),
            other => panic!("nobody asks after {other} results"),
        };
    }
    let n = (1..=3).find(|n| request.contains(&format!("Task #{n}#."))).expect("a task");
    match results {
        0 => Answer::calls([append(&format!("k{n}"))]),
        _ => Answer::text(&format!("Result {n}.")),
    }
}
