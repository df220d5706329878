//! Servers that others made, contained: each gets the lines that `install --learn` and `run --learn` propose for it, works with
//! them, and has nothing else of its user's.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{node, python, servers};
use crate::mcp::tool_results;
use crate::support::tool_server::{command_skill, librarian};
use crate::support::{Answer, Test, call};
use crate::trust::contained::{SECRET, can_contain};

/// A home folder with notes and a key, which is no temporary one: those are within reach.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (path, text) in [("notes/owls.txt", "tawny\n"), (".ssh/id", SECRET)] {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    home
}

/// A server that learns from its start and from `calls`, and then makes them with the lines that it got. Returns the lines and
/// the results.
#[track_caller]
fn learned(
    home: &Path,
    skill: &str,
    variables: &[(&str, &str)],
    calls: &[(&str, Value)],
) -> (String, Vec<(String, bool)>) {
    let test = |lines: &str| {
        let test = librarian(&format!("{skill}{lines}")).env("HOME", home.to_str().unwrap());
        let test = test.env("PERSTACK_TRUST", "1").env("PERSTACK_SANDBOX", "required");
        variables.iter().fold(test, |test, (name, value)| test.env(name, value))
    };
    let called: Vec<_> =
        calls.iter().enumerate().map(|(at, (tool, args))| call(&format!("c{at}"), tool, args.clone())).collect();
    let answers = || [Answer::calls(called.clone()), Answer::text("Done.")];
    let mut lines = proposed(&test("").run(["install", "--learn"]).assert_code(0).stdout);
    // Each refusal of a call shows once what it needs.
    for _ in 0..5 {
        let learning: Test = test(&lines).answers(answers());
        let more = proposed(&learning.run(["run", "librarian", "Look.", "--learn"]).assert_code(0).stderr);
        if more.is_empty() {
            break;
        }
        lines = merged(&lines, &more);
    }
    let test = test(&lines).answers(answers());
    test.run(["install"]).assert_code(0);
    test.run(["run", "librarian", "Look.", "--locked"]).assert_code(0);
    (lines, tool_results(&test.server().requests()[1]))
}

/// The lines of TOML among proposals.
fn proposed(text: &str) -> String {
    let is_line = |line: &&str| ["reads = ", "writes = ", "allowedDomains = "].iter().any(|key| line.starts_with(key));
    text.lines().filter(is_line).flat_map(|line| [line, "\n"]).collect()
}

/// The lines with those that take the place of others.
fn merged(lines: &str, more: &str) -> String {
    let key = |line: &str| line.split(" = ").next().unwrap_or_default().to_owned();
    let is_replaced = |line: &&str| more.lines().any(|other| key(other) == key(line));
    let kept: String = lines.lines().filter(|line| !is_replaced(line)).flat_map(|line| [line, "\n"]).collect();
    kept + more
}

#[test]
fn filesystem_works_contained_in_the_folder_that_it_is_given() {
    let (Some(servers), true) = (servers(), can_contain()) else { return };
    let home = home();
    let notes = home.path().join("notes");
    let keys = home.path().join(".ssh");
    let folders = [&notes, &keys].map(|folder| folder.to_str().unwrap());
    let skill = command_skill("files", "node", &[&node(&servers, "server-filesystem"), folders[0], folders[1]]);
    let owls = json!({"path": notes.join("owls.txt")});
    let made = json!({"path": notes.join("made.txt"), "content": "barn\n"});
    let key = json!({"path": keys.join("id")});
    let calls = [("read_text_file", owls), ("write_file", made), ("read_text_file", key)];
    let (lines, results) = learned(home.path(), &skill, &[], &calls);
    assert!(lines.contains("~/notes") && !lines.contains(".ssh"), "{lines}");
    assert!(!results[0].1 && results[0].0.contains("tawny"), "{lines}{results:?}");
    assert!(!results[1].1, "{lines}{results:?}");
    assert_eq!(fs::read_to_string(notes.join("made.txt")).unwrap(), "barn\n");
    assert!(results[2].1 && !results[2].0.contains(SECRET), "{results:?}");
}

#[test]
fn memory_works_contained_with_the_file_that_it_is_given() {
    let (Some(servers), true) = (servers(), can_contain()) else { return };
    let home = home();
    let memory = home.path().join("notes/memory.jsonl");
    fs::write(&memory, "").unwrap();
    let skill = command_skill("memory", "node", &[&node(&servers, "server-memory")]);
    let skill = format!("{skill}requiredEnv = [\"MEMORY_FILE_PATH\"]\n");
    let owl = json!({"name": "tawny owl", "entityType": "bird", "observations": ["hunts at night"]});
    let calls = [("create_entities", json!({"entities": [owl]})), ("read_graph", json!({}))];
    let (lines, results) = learned(home.path(), &skill, &[("MEMORY_FILE_PATH", memory.to_str().unwrap())], &calls);
    assert!(lines.contains("writes = [\"~/notes"), "{lines}");
    assert!(results.iter().all(|(_, is_error)| !is_error), "{lines}{results:?}");
    assert!(fs::read_to_string(&memory).unwrap().contains("tawny owl"), "{lines}");
}

#[test]
fn git_works_contained_in_a_repository_outside_of_the_workspace() {
    let (Some(servers), true) = (servers(), can_contain()) else { return };
    let home = home();
    let repository = home.path().join("repository");
    let made = Command::new("git").args(["init", "--quiet"]).arg(&repository).status().unwrap();
    assert!(made.success(), "git init");
    fs::write(repository.join("owls.txt"), "tawny\n").unwrap();
    let path = repository.to_str().unwrap();
    let skill = command_skill("git", &python(&servers, "mcp-server-git"), &["--repository", path]);
    let (lines, results) = learned(home.path(), &skill, &[], &[("git_status", json!({"repo_path": path}))]);
    assert!(lines.contains("~/repository"), "{lines}");
    assert!(!results[0].1 && results[0].0.contains("owls.txt"), "{lines}{results:?}");
}

#[test]
fn fetch_reaches_the_host_that_it_is_given_and_no_other() {
    let (Some(servers), true) = (servers(), can_contain()) else { return };
    let home = home();
    let page = Page::start();
    let skill =
        command_skill("web", &python(&servers, "mcp-server-fetch"), &["--ignore-robots-txt", "--allow-private-ips"]);
    let url = |host: &str| json!({"url": format!("http://{host}:{}/owls", page.port), "raw": true});
    let (lines, results) = learned(home.path(), &skill, &[], &[("fetch", url("127.0.0.1"))]);
    let list = format!("allowedDomains = [\"127.0.0.1:{}\"]\n", page.port);
    assert!(lines.contains(&list), "{lines}");
    assert!(!results[0].1 && results[0].0.contains("tawny owl"), "{results:?}");
    let elsewhere = lines.replace(&list, "allowedDomains = [\"owls.example\"]\n");
    let test = librarian(&format!("{skill}{elsewhere}"));
    let test = test.env("HOME", home.path().to_str().unwrap()).env("PERSTACK_TRUST", "1");
    let test = test.answers([Answer::calls([call("c1", "fetch", url("127.0.0.1"))]), Answer::text("Done.")]);
    test.run(["run", "librarian", "Look."]).assert_code(0);
    let (result, is_error) = tool_results(&test.server().requests()[1])[0].clone();
    assert!(is_error && !result.contains("tawny owl") && result.contains("allowedDomains of skill web"), "{result}");
}

/// A page on this machine.
struct Page {
    port: u16,
}

impl Page {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head);
                let body = "<p>tawny owl</p>";
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
            }
        });
        Self { port }
    }
}
