//! `perstack run`: whole jobs against each protocol.

use serde_json::json;

use crate::support::storage::{files_with, read_json};
use crate::support::{Answer, KEY, Provider, Test, call};

/// Four steps with tools, two of them side by side, and an answer.
fn five_steps() -> [Answer; 5] {
    [
        Answer::calls([call("c1", "writeTextFile", json!({"path": "owls.txt", "text": "tawny\n"}))])
            .and_text("I take notes."),
        Answer::calls([
            call("c2", "readTextFile", json!({"path": "owls.txt"})),
            call("c3", "listDirectory", json!({"path": "."})),
        ]),
        Answer::calls([call("c4", "appendTextFile", json!({"path": "owls.txt", "text": "barn\n"}))]),
        Answer::calls([call("c5", "todo", json!({"newTodos": ["look again"]}))]),
        Answer::text("Two owls ✓."),
    ]
}

#[test]
fn a_job_of_five_steps_completes_with_every_protocol() {
    Provider::each(|provider| {
        let test = Test::with(provider).answers(five_steps());
        let ran = test.run(["run", "librarian", "Which owls?"]).assert_code(0);
        assert_eq!(ran.stdout, "Two owls ✓.\n", "{provider:?}");
        let requests = test.server().requests();
        assert_eq!(requests.len(), 5, "{provider:?}");
        assert!(
            requests[0].contains("You find things in books.") && requests[0].contains("Which owls?"),
            "{provider:?}"
        );
        let ids: Vec<_> = requests[4].results().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["c1", "c2", "c3", "c4", "c5"], "{provider:?}");
        let notes = std::fs::read_to_string(ran.workspace().join("owls.txt")).unwrap();
        assert_eq!(notes, "tawny\nbarn\n", "{provider:?}");
        let steps: Vec<_> =
            test.storage().checkpoints().iter().map(|file| read_json(file)["stepNumber"].clone()).collect();
        assert_eq!(steps, [1, 2, 3, 4, 5], "{provider:?}");
        let last = read_json(&test.storage().last_checkpoint());
        assert_eq!(
            (&last["status"], &last["usage"]["inputTokens"]),
            (&json!("completed"), &json!(500)),
            "{provider:?}"
        );
    });
}

#[test]
fn attempt_completion_gives_the_answer() {
    let answers = [Answer::calls([call("c1", "attemptCompletion", json!({"result": "Owls."}))])];
    let ran = Test::with(Provider::Anthropic).answers(answers).run(["run", "librarian", "Which birds?"]);
    assert_eq!(ran.assert_code(0).stdout, "Owls.\n");
}

#[test]
fn completion_waits_for_open_todos() {
    let answers = [
        Answer::calls([call("c1", "todo", json!({"newTodos": ["read"]}))]),
        Answer::calls([call("c2", "attemptCompletion", json!({"result": "Too early."}))]),
        Answer::calls([call("c3", "todo", json!({"completedTodos": [0]}))]),
        Answer::calls([call("c4", "attemptCompletion", json!({"result": "Read."}))]),
    ];
    let test = Test::with(Provider::Anthropic).answers(answers);
    assert_eq!(test.run(["run", "librarian", "Read."]).assert_code(0).stdout, "Read.\n");
    let results = test.server().requests()[2].results();
    assert!(results[1].1.contains("remainingTodos"), "{results:?}");
}

#[test]
fn the_query_comes_from_standard_input_too() {
    let test = Test::with(Provider::Anthropic)
        .stdin("Which owls are grey?")
        .answers([Answer::text("Some."), Answer::text("Others.")]);
    assert_eq!(test.run(["run", "librarian", "-"]).assert_code(0).stdout, "Some.\n");
    assert_eq!(test.run(["run", "librarian"]).assert_code(0).stdout, "Others.\n");
    for request in test.server().requests() {
        assert!(request.contains("Which owls are grey?"));
    }
}

#[test]
fn delegates_answer_their_parent() {
    let toml = "[experts.editor]\ninstruction = \"You edit.\"\ndelegates = [\"reader\", \"writer\"]\n\
                [experts.reader]\ninstruction = \"You read.\"\ndescription = \"Reads.\"\n\
                [experts.writer]\ninstruction = \"You write.\"\ndescription = \"Writes.\"\n";
    let test = Test::new().toml(toml).provider(Provider::Anthropic).answers([
        Answer::calls([
            call("c1", "reader", json!({"query": "Read it."})),
            call("c2", "writer", json!({"query": "Write it."})),
        ])
        .when(|request| request.contains("You edit.")),
        Answer::text("It was read.").when(|request| request.contains("You read.")),
        Answer::text("It was written.").when(|request| request.contains("You write.")),
        Answer::text("Done.").when(|request| request.contains("It was written.")),
    ]);
    assert_eq!(test.run(["run", "editor", "Edit."]).assert_code(0).stdout, "Done.\n");
    let requests = test.server().requests();
    let results = requests[3].results();
    assert!(results[0].1.contains("It was read.") && results[1].1.contains("It was written."), "{results:?}");
}

#[test]
fn the_key_is_nowhere_but_in_the_requests() {
    let show = json!({"command": "env", "args": [], "env": {}, "cwd": ".", "stdout": true, "stderr": true});
    Provider::each(|provider| {
        let test = Test::with(provider).env("OLLAMA_API_KEY", KEY).answers([
            Answer::calls([call("c1", "exec", show.clone())]),
            Answer::status(500).message(&format!("broken for {KEY}")).header("retry-after", "0"),
            Answer::text("Looked."),
        ]);
        let ran =
            test.run(["run", "librarian", "Show the environment.", "--output", "jsonl", "--verbose"]).assert_code(0);
        assert!(!ran.stdout.contains(KEY) && !ran.stderr.contains(KEY), "{provider:?}: the key is in the output");
        assert_eq!(files_with(test.root(), KEY), Vec::<std::path::PathBuf>::new(), "{provider:?}");
        let results = test.server().requests()[2].results();
        assert!(results[0].1.contains("PATH=") && !results[0].1.contains(KEY), "{provider:?}: {results:?}");
    });
}
