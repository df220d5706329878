//! The habits of the servers of Chat Completions, as a table of servers and habits. Each cell is a run of the binary
//! against the mock server, which answers as that server, or one of the same engine, does after public reports; the
//! servers themselves were not asked. The table is printed by `cargo test --test it providers::servers -- --nocapture`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::habits::{HABITS, Habit};
use crate::support::{Answer, Provider, Ran, Request, Test};

/// The columns: servers, with the model that they are asked for.
const SERVERS: [(&str, Provider, &str); 18] = [
    ("OpenAI", Provider::OpenAiChat, "gpt-4.1"),
    ("Azure", Provider::Azure, "my-gpt"),
    ("Mistral", Provider::OpenAiChat, "mistral-large-latest"),
    ("xAI", Provider::OpenAiChat, "grok-4"),
    ("Groq", Provider::OpenAiChat, "llama-3.3-70b-versatile"),
    ("OpenRouter", Provider::OpenAiChat, "qwen/qwen3-32b"),
    ("Together", Provider::OpenAiChat, "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    ("Fireworks", Provider::OpenAiChat, "accounts/fireworks/models/kimi-k2p5"),
    ("DeepSeek", Provider::DeepSeek, "deepseek-chat"),
    ("vLLM", Provider::OpenAiChat, "Qwen/Qwen3-8B"),
    ("SGLang", Provider::OpenAiChat, "Qwen/Qwen3-8B"),
    ("llama.cpp", Provider::OpenAiChat, "qwen3"),
    ("LM Studio", Provider::OpenAiChat, "qwen3-8b"),
    ("LiteLLM", Provider::OpenAiChat, "team-model"),
    ("Gemini", Provider::OpenAiChat, "gemini-2.5-flash"),
    ("Ollama", Provider::OpenAiChat, "qwen3:8b"),
    ("Moonshot", Provider::OpenAiChat, "kimi-k2-turbo-preview"),
    ("Z.ai", Provider::OpenAiChat, "glm-4.7"),
];

/// The binary's runs at one time: most of each is waiting.
const AT_ONCE: usize = 6;

#[test]
fn every_habit_of_every_server_is_understood() {
    let cells: Vec<(usize, usize)> =
        (0..HABITS.len()).flat_map(|row| HABITS[row].servers.iter().map(move |server| (row, column(server)))).collect();
    let left = Mutex::new(cells.clone());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((row, column)) = left.lock().unwrap().pop() else { return };
                    let played = std::panic::catch_unwind(|| play(&HABITS[row], column));
                    if played.is_err() {
                        failed.lock().unwrap().push(format!("{}: {}", SERVERS[column].0, HABITS[row].name));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "these fail, see above: {failed:#?}");
    show(&drawing(&cells));
}

fn column(server: &str) -> usize {
    SERVERS.iter().position(|(name, ..)| *name == server).unwrap_or_else(|| panic!("no server {server}"))
}

fn play(habit: &Habit, column: usize) {
    let (_, provider, model) = SERVERS[column];
    let test = Test::with(provider).file("a.txt", "tawny owl").answers((habit.answers)());
    let ran = test.run(["run", "librarian", "Which birds?", "--model", model, "--output", "json"]);
    (habit.check)(&ran, &test.server().requests());
}

fn drawing(cells: &[(usize, usize)]) -> String {
    let mut rows: BTreeMap<usize, [bool; SERVERS.len()]> = BTreeMap::new();
    for (row, column) in cells {
        rows.entry(*row).or_default()[*column] = true;
    }
    let mut text = format!("\n{:<44}", "");
    for (name, ..) in SERVERS {
        write!(text, "{name:<11}").expect("writing to a string");
    }
    for (row, columns) in rows {
        write!(text, "\n{:<44}", HABITS[row].name).expect("writing to a string");
        for has in columns {
            write!(text, "{:<11}", if has { "yes" } else { "·" }).expect("writing to a string");
        }
    }
    text + "\n\nyes: the server has the habit, and it is understood · ·: it is not known to have it\n"
}

#[expect(clippy::print_stdout, reason = "the table is for whoever asks to see what tests print")]
fn show(table: &str) {
    println!("{table}");
}

/// The run completes with one request.
pub fn text(ran: &Ran, requests: &[Request]) {
    completed(ran);
    assert_eq!(requests.len(), 1);
}

/// The answer was broken off: the same is asked once more.
pub fn asked_again(ran: &Ran, requests: &[Request]) {
    completed(ran);
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body, requests[1].body, "a retry leaves no trace in the conversation");
}

/// The file was read as often as there are results, each once.
pub fn one_call(ran: &Ran, requests: &[Request]) {
    calls(ran, requests, 1);
}

pub fn two_calls(ran: &Ran, requests: &[Request]) {
    calls(ran, requests, 2);
}

fn calls(ran: &Ran, requests: &[Request], count: usize) {
    completed(ran);
    assert_eq!(requests.len(), 2);
    let results = requests[1].results();
    assert_eq!(results.len(), count, "{results:?}");
    assert!(results.iter().all(|(id, text)| !id.is_empty() && text.contains("tawny owl")), "{results:?}");
}

/// What the server attached to a call or its message goes back with it.
pub fn attached(ran: &Ran, requests: &[Request]) {
    one_call(ran, requests);
    assert!(requests[1].contains("U0lHTkVE"), "{}", requests[1].body);
}

/// The last request has nine letters and digits as ids.
pub fn nine_letters(ran: &Ran, requests: &[Request]) {
    completed(ran);
    let results = requests.last().unwrap().results();
    let is_nine = |id: &str| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    assert!(!results.is_empty() && results.iter().all(|(id, _)| is_nine(id)), "{results:?}");
}

/// The tokens of the answer are known.
pub fn usage(ran: &Ran, requests: &[Request]) {
    text(ran, requests);
    let usage = &ran.object()["usage"];
    assert_eq!((&usage["inputTokens"], &usage["outputTokens"]), (&json!(100), &json!(20)), "{usage}");
}

/// The tokens are not known, which is not none.
pub fn no_usage(ran: &Ran, requests: &[Request]) {
    text(ran, requests);
    assert_eq!(ran.object()["costIsComplete"], false);
}

/// The run ends by an error that shows the server's words.
pub fn refused(ran: &Ran, requests: &[Request]) {
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert_eq!(requests.len(), 1);
    assert!(ran.stderr.contains("No such owls."), "{}", ran.stderr);
}

/// The answer was cut, and is asked to go on.
pub fn continued(ran: &Ran, requests: &[Request]) {
    completed(ran);
    assert_eq!(requests.len(), 2);
    assert_ne!(requests[0].body, requests[1].body);
}

fn completed(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    let object: Value = ran.object();
    assert_eq!((&object["status"], &object["text"]), (&json!("completed"), &json!("Owls.")));
}

/// The answer that ends a run after another one.
pub fn owls() -> Answer {
    Answer::text("Owls.")
}
