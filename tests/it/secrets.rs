//! No key reaches disk or streams, whatever is run, and in whatever form it is given.

use std::fmt::Write as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::process::Ran;
use crate::support::storage::files_with;
use crate::support::tool_server::{program, stdio_skill};
use crate::support::{Answer, KEY, Provider, Test, call};
use crate::trust::{attack, neighbour};

/// A skill's own secret, with characters that every way of writing changes.
const TOKEN: &str = "ow/l+\"9\\ é&x-7261==";
/// A key that only the `.env` file holds.
const FILED: &str = "filed-key-5d2e8f01c7";

/// A secret as programs may write it.
fn forms(secret: &str) -> Vec<String> {
    let json = json!(secret).to_string();
    let mut percent = String::new();
    for byte in secret.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            percent.push(char::from(byte));
        } else {
            write!(percent, "%{byte:02X}").unwrap();
        }
    }
    let base64 = |before: &str, skip: usize| {
        let text = STANDARD.encode(format!("{before}{secret}"));
        // Its end depends on what follows.
        let end = text.trim_end_matches('=').len() - 2;
        text[skip..end].to_owned()
    };
    let mut forms = vec![secret.to_owned(), json.trim_matches('"').to_owned(), percent.clone(), percent.to_lowercase()];
    forms.extend([base64("", 0), base64("a", 4), base64("ab", 4)]);
    forms
}

fn all_forms() -> Vec<String> {
    [KEY, TOKEN, FILED].into_iter().flat_map(forms).collect()
}

/// Fails when a secret was printed. Pieces of a stream of events are put together first.
#[track_caller]
fn assert_silent(ran: &Ran, what: &str) {
    let mut told = format!("{}\n{}\n", ran.stdout, ran.stderr);
    for kind in ["streamReasoning", "streamRunResult"] {
        let events = ran.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let deltas = events.filter(|event| event["type"] == kind);
        told.extend(deltas.filter_map(|event| event["delta"].as_str().map(str::to_owned)));
        told.push('\n');
    }
    for form in all_forms() {
        assert!(!told.contains(&form), "{what} told {form:?}:\n{told}");
    }
}

fn shell(id: &str, script: &str) -> crate::support::answer::Call {
    let arguments = json!({
        "command": "sh", "args": ["-c", script], "env": {}, "cwd": ".", "stdout": true, "stderr": true,
    });
    call(id, "exec", arguments)
}

/// A place with all three secrets, and an expert with every kind of tool.
fn place() -> Test {
    let skill = stdio_skill("owls", ["polite"]);
    let toml = format!(
        "[experts.librarian]\ninstruction = \"You look.\"\ndelegates = [\"worker\"]\n{skill}requiredEnv = \
         [\"OWL_TOKEN\"]\n[experts.librarian.skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \
         \"npx\"\npackageName = \"@perstack/base\"\n[experts.worker]\ninstruction = \"You work.\"\ndescription = \
         \"Works.\"\n"
    );
    // What the shell makes of the file is the key alone.
    Test::new()
        .toml(&toml)
        .provider(Provider::Anthropic)
        .env("OWL_TOKEN", TOKEN)
        .file(".env", format!("FILED_API_KEY={FILED}\n"))
}

/// A session in which everything that can print a secret does.
fn session() -> Vec<Answer> {
    let lead = |answer: Answer| answer.when(|request| request.contains("You look."));
    vec![
        lead(
            Answer::calls([
                shell("c1", "env; cat .env; base64 .env; tr 'a-z' 'a-z' < .env >&2; exit 3"),
                call("c2", "environment", json!({})),
                call("c3", "echo", json!({"text": format!("{KEY} {TOKEN}")})),
            ])
            .and_text(&format!("I was given {KEY} and {TOKEN}.")),
        ),
        lead(Answer::status(500).message(&format!("no {KEY} {}", STANDARD.encode(KEY))).header("retry-after", "0")),
        lead(Answer::calls([call("d1", "worker", json!({"query": format!("Use {TOKEN} and {KEY}.")}))])),
        Answer::text(&format!("Used {KEY}, {TOKEN} and {}.", STANDARD.encode(TOKEN))).when(|r| r.contains("You work.")),
        lead(
            Answer::text(&format!("Your key is {KEY}; in base64, {}.", STANDARD.encode(format!("k:{KEY}"))))
                .thinking(&format!("The key is {KEY}, the token {TOKEN}"), "c2ln"),
        ),
    ]
}

#[test]
fn no_key_is_printed_or_stored_by_any_command() {
    attack("a key in what any command prints, sends or stores");
    neighbour("every command works with its keys");
    let test = place();
    program();
    let query = format!("Look with {KEY} and {TOKEN}.");
    for (storage, flags) in [
        ("a", &["--verbose"][..]),
        ("b", &["--output", "jsonl", "--verbose"]),
        ("c", &["--json", "--full-events", "--record", "tape"]),
        ("d", &["--output", "json"]),
    ] {
        test.server().script(session());
        let mut command = std::process::Command::new(test.binary());
        command.args(["run", "librarian", &query, "--storage", storage]).args(flags);
        let ran = test.start(command).finish().assert_code(0);
        assert_silent(&ran, storage);
        test.server().script([Answer::text(&format!("Again {KEY}."))]);
        let ran = test.run(["resume", "latest", &query, "--storage", storage, "-v"]).assert_code(0);
        assert_silent(&ran, "resume");
    }
    for tools in ["--replay-tools", "--json"] {
        let storage = format!("e{tools}");
        let ran = test.run(["run", "librarian", &query, "--replay", "tape", tools, "--storage", &storage, "-v"]);
        assert_silent(&ran, "replay");
    }
    for words in [&["list-tools", "--json"][..], &["install"], &["check"], &["list-tools", "librarian"]] {
        let mut command = std::process::Command::new(test.binary());
        command.args(words);
        assert_silent(&test.start(command).finish().assert_code(0), words[0]);
    }
    test.server().script([Answer::status(401).message(&format!("invalid key {KEY}, {TOKEN}"))]);
    assert_silent(&test.run(["run", "librarian", &query, "--json"]).assert_code(1), "a refused key");
    let address = format!("http://user:{KEY}@127.0.0.1:1");
    // No proxy is used for this machine.
    let test = test.env("ANTHROPIC_BASE_URL", "https://owls.invalid/v1");
    let proxied = test.run(["run", "librarian", "q", "--proxy", &address, "--max-retries", "0", "-v"]).assert_code(1);
    assert_silent(&proxied, "a proxy");
    let test = test.env("ANTHROPIC_BASE_URL", &format!("{address}/v1"));
    assert_silent(&test.run(["run", "librarian", "q", "-v"]).assert_code(2), "an address");

    let own = test.workspace().join(".env");
    for form in all_forms() {
        let files: Vec<PathBuf> = files_with(test.root(), &form).into_iter().filter(|file| *file != own).collect();
        assert!(files.is_empty(), "{form:?} is in {files:?}");
    }
}
