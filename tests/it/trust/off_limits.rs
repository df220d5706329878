//! The files that decide what an expert may do, and those that record what it did: the file tools refuse them wherever
//! they lie and whatever name they are met under, and everything else goes on.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Answer, Call, Provider, Test, call};
use crate::trust::{attack, neighbour};

/// Runs the calls in one turn and returns the results by call.
fn results<const N: usize>(test: &Test, arguments: [&str; N], calls: Vec<Call>) -> Vec<String> {
    test.server().script([Answer::calls(calls), Answer::text("Done.")]);
    test.run(arguments).assert_code(0);
    let requests = test.server().requests();
    requests.last().unwrap().results().into_iter().map(|(_, text)| text).collect()
}

fn librarian() -> Test {
    Test::with(Provider::Anthropic)
}

/// Every tool that changes the file or folder at `path`.
fn changes(path: &str) -> Vec<Call> {
    [
        ("writeTextFile", json!({"path": path, "text": "x"})),
        ("appendTextFile", json!({"path": path, "text": "x"})),
        ("editTextFile", json!({"path": path, "oldText": "i", "newText": "x"})),
        ("moveFile", json!({"source": path, "destination": "moved"})),
        ("deleteFile", json!({"path": path})),
        ("deleteDirectory", json!({"path": path, "recursive": true})),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, (tool, arguments)): (usize, (&str, Value))| call(&format!("c{number}"), tool, arguments))
    .collect()
}

fn assert_refused(results: &[String], what: &str) {
    for result in results {
        assert!(result.contains("Access denied") || result.contains("is a directory"), "{what}: {result}");
    }
}

#[test]
fn configuration_and_lock_are_read_and_not_changed() {
    attack("a tool that rewrites what the expert may do");
    neighbour("reading the configuration, and writing beside it");
    let toml = "include = [\"experts/more.toml\"]\n[experts.librarian]\ninstruction = \"i\"\n";
    let test = librarian().toml(toml).file("experts/more.toml", "[experts.second]\ninstruction = \"i\"\n");
    test.run(["install"]).assert_code(0);
    fs::hard_link(test.workspace().join("perstack.toml"), test.workspace().join("other-name")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("perstack.toml", test.workspace().join("link")).unwrap();
    let files = ["perstack.toml", "perstack.lock", "experts/more.toml"];
    let before = files.map(|file| fs::read(test.workspace().join(file)).unwrap());
    for path in ["perstack.toml", "./perstack.toml", "perstack.lock", "experts/more.toml", "other-name", "experts"] {
        let made = results(&test, ["run", "librarian", "q"], changes(path));
        // Deleting or moving another name of the file changes nothing of it, and is refused all the same.
        assert_refused(&made, path);
    }
    // Through a link to it too; the link itself is a file like any other.
    #[cfg(unix)]
    assert_refused(&results(&test, ["run", "librarian", "q"], changes("link")[..3].to_vec()), "link");
    assert!(before == files.map(|file| fs::read(test.workspace().join(file)).unwrap()));
    let read = vec![
        call("c1", "readTextFile", json!({"path": "perstack.toml"})),
        call("c2", "writeTextFile", json!({"path": "experts/notes.md", "text": "A note."})),
        call("c3", "deleteFile", json!({"path": "experts/notes.md"})),
        call("c4", "writeTextFile", json!({"path": "perstack.toml.example", "text": "A note."})),
    ];
    let made = results(&test, ["run", "librarian", "q"], read);
    assert!(made[0].contains("include = "), "{made:?}");
    assert!(made.iter().all(|result| !result.contains("Access denied")), "{made:?}");
}

#[test]
fn the_storage_is_off_limits_wherever_it_lies() {
    attack("a tool that changes what is on record, wherever it lies");
    neighbour("files beside a moved storage");
    let test = librarian().answers([Answer::text("One.")]);
    test.run(["run", "librarian", "q", "--storage", "state/of/jobs", "--job-id", "older"]).assert_code(0);
    let job = "state/of/jobs/jobs/older/job.json";
    let before = fs::read(test.workspace().join(job)).unwrap();
    let arguments = ["run", "librarian", "q", "--storage", "state/of/jobs"];
    for path in [job, "state/of/jobs/jobs/older", "state/of/jobs", "state/of", "state"] {
        assert_refused(&results(&test, arguments, changes(path)), path);
    }
    let look = vec![
        call("c1", "readTextFile", json!({"path": job})),
        call("c2", "listDirectory", json!({"path": "state/of/jobs"})),
        call("c3", "writeTextFile", json!({"path": "state/notes.md", "text": "A note."})),
        call("c4", "listDirectory", json!({"path": "state"})),
    ];
    let made = results(&test, arguments, look);
    assert_refused(&made[..2], "reading");
    assert!(made[2..].iter().all(|result| !result.contains("Access denied")), "{made:?}");
    assert_eq!(fs::read(test.workspace().join(job)).unwrap(), before);
}

#[test]
fn loaded_environment_files_and_the_cassette_are_closed() {
    attack("a tool that reads loaded keys or the cassette in use");
    neighbour("environment files that the run does not use");
    let test = librarian().file(".env", "NOTHING=1\n").file("keys.env", "NOTHING=2\n").file("notes.env", "Notes.");
    let closed = |path: &str| [changes(path), vec![call("r", "readTextFile", json!({"path": path}))]].concat();
    assert_refused(&results(&test, ["run", "librarian", "q"], closed(".env")), ".env");
    let named = ["run", "librarian", "q", "--env-path", "keys.env", "--record", "tape.jsonl"];
    assert_refused(&results(&test, named, closed("keys.env")), "keys.env");
    assert_refused(&results(&test, named, closed("tape.jsonl")), "tape.jsonl");
    // Files that this run does not use are files like any other.
    let others = vec![
        call("c1", "readTextFile", json!({"path": ".env"})),
        call("c2", "appendTextFile", json!({"path": "notes.env", "text": "More."})),
    ];
    let made = results(&test, named, others);
    assert!(made[0].contains("NOTHING=1") && !made[1].contains("Access denied"), "{made:?}");
}
