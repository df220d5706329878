//! The job whose workspace is stored with every step: what its model answers, and the picture that it takes of the workspace
//! before each answer, apart from what the product stores.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::picture::{self, Picture};
use crate::support::answer::Call;
use crate::support::crash::calls::{append, read, write};
use crate::support::{Answer, Test, call};

pub const TOML: &str = "snapshot = \"every\"\n[experts.keeper]\ninstruction = \"You keep.\"\ndelegates = [\"worker\"]\n\
                        [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Does one task.\"\n";

pub const EFFECTS: &[&str] = &["a1", "e2", "k1", "e5"];

pub const ANSWER: &str = "All kept.";

/// Makes folders, a link, a program and a file as large as `size.txt` has it, and removes a file.
const MAKES: &str = "echo e2 >> lines.txt && mkdir -p nest/deep nest/empty && echo barn > nest/deep/owl.md \
                     && ln -sf deep/owl.md nest/link && chmod 700 nest/deep/owl.md && rm -f shelf.md \
                     && head -c \"$(cat size.txt)\" /dev/urandom > nest/large";

/// Removes a folder, and puts a file in the place of another. As the first, it succeeds whatever became of what is before it.
const REMOVES: &str = "echo e5 >> lines.txt && mkdir -p nest && rm -rf nest/deep nest/empty && echo tawny > nest/deep";

/// The requests of a job in their order: the expert's first letter, and the number of results.
const REQUESTS: [&str; 8] = ["k0", "k2", "k3", "k4", "w0", "w1", "k5", "k6"];

/// Has the model answer, and picture the workspace before it does.
pub fn answer(test: &Test) {
    let (workspace, pictures) = (test.workspace(), pictures(test));
    fs::create_dir_all(&pictures).unwrap();
    set_size(test, 2_000);
    test.server().answer_by(move |request| {
        let results = request.results().len();
        let is_worker = request.contains("You work.");
        let name = format!("{}{results}", if is_worker { "w" } else { "k" });
        take(&pictures, &name, &picture::of(&workspace));
        if is_worker { worker_answers(results) } else { keeper_answers(results) }
    });
}

/// Sets the size of the largest file that the job makes.
pub fn set_size(test: &Test, bytes: usize) {
    fs::write(test.workspace().join("size.txt"), bytes.to_string()).unwrap();
}

fn pictures(test: &Test) -> PathBuf {
    test.root().join("pictures")
}

/// Keeps a picture. A request that is sent again finds the workspace as the first found it.
fn take(pictures: &Path, name: &str, picture: &Picture) {
    let file = pictures.join(name);
    let text = serde_json::to_string_pretty(picture).unwrap();
    if let Ok(before) = fs::read_to_string(&file) {
        assert_eq!(text, before, "before {name}");
    }
    fs::write(file, text).unwrap();
}

/// The workspace before the request of this number, from 0; behind the last, as it is now.
pub fn before_request(test: &Test, number: usize) -> Picture {
    let Some(name) = REQUESTS.get(number) else { return picture::of(&test.workspace()) };
    let found = fs::read_to_string(pictures(test).join(name));
    serde_json::from_str(&found.unwrap_or_else(|error| panic!("{name}: {error}"))).unwrap()
}

/// Forgets all pictures.
pub fn forget(test: &Test) {
    fs::remove_dir_all(pictures(test)).unwrap();
    fs::create_dir(pictures(test)).unwrap();
}

fn shell(id: &str, script: &str) -> Call {
    let arguments = json!({
        "command": "sh", "args": ["-c", script], "env": {}, "cwd": ".", "stdout": true, "stderr": true,
    });
    call(id, "exec", arguments)
}

fn keeper_answers(results: usize) -> Answer {
    match results {
        0 => Answer::calls([write("w0", "tawny"), append("a1")]),
        2 => Answer::calls([shell("e2", MAKES)]),
        3 => Answer::calls([read("r3", "notes.txt")]),
        4 => Answer::calls([call("d4", "worker", json!({"query": "Work."}))]),
        5 => Answer::calls([shell("e5", REMOVES)]),
        6 => Answer::text(ANSWER),
        other => panic!("nobody asks after {other} results"),
    }
}

fn worker_answers(results: usize) -> Answer {
    match results {
        0 => Answer::calls([append("k1")]),
        _ => Answer::text("Worked."),
    }
}
