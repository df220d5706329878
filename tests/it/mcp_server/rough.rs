//! A server written by hand, without a library that would keep it from breaking the rules. Speaks the session-based
//! revisions (<https://modelcontextprotocol.io/specification/2025-11-25>).

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::fault::{Faults, List, Start};
use crate::listing;

/// The newest revision that begins with `initialize`.
const VERSION: &str = "2025-11-25";
/// Between two steps of `slow`.
const PAUSE: Duration = Duration::from_millis(200);

/// Writes one line, a message or not.
pub type Say<'a> = &'a mut dyn FnMut(&str);

/// A conversation with one client.
pub struct Rough {
    faults: Faults,
    /// The call that waits for the client's answer to a question.
    asking: Option<Value>,
    has_grown: bool,
    listings: u32,
}

/// Serves the client at standard input and output.
pub fn over_stdio(faults: Faults) {
    begin(&faults);
    let stubborn = faults.stubborn;
    let mut rough = Rough::new(faults);
    let mut say = |line: &str| {
        let mut out = std::io::stdout().lock();
        // A client that has gone away is noticed at the end of standard input.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    };
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let message = serde_json::from_str(&line).expect("clients speak JSON");
        rough.take(&message, &mut say);
    }
    if stubborn {
        loop {
            std::thread::park();
        }
    }
}

/// What happens before the first message, whatever the transport.
pub fn begin(faults: &Faults) {
    if faults.stubborn {
        ignore_sigterm();
    }
    for number in 1..=faults.stderr {
        eprintln!("loading shelf {number}");
    }
    if let Some(file) = &faults.processes {
        #[expect(clippy::zombie_processes, reason = "left behind on purpose")]
        let grandchild = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().expect("sleep");
        let text = format!("{} {}\n", std::process::id(), grandchild.id());
        // Whoever finds the file finds it whole.
        let unfinished = format!("{file}.new");
        fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, file)).expect("a file of processes");
    }
    match faults.start {
        Start::Exit => {
            eprintln!("no database at owls.db");
            std::process::exit(7);
        }
        Start::Noise => println!("Loading owls…\n\n{{not json\n[1, 2]\n\"ready\""),
        Start::Babble => while writeln!(std::io::stdout(), "Loading owls…").is_ok() {},
        Start::Endless => while write!(std::io::stdout(), "Loading owls… ").is_ok() {},
        Start::Fine | Start::Hang | Start::Refuse | Start::Version => {}
    }
}

impl Rough {
    pub fn new(faults: Faults) -> Self {
        Self { faults, asking: None, has_grown: false, listings: 0 }
    }

    /// Takes a message of the client, and says what it answers.
    pub fn take(&mut self, message: &Value, say: Say<'_>) {
        let id = &message["id"];
        match message["method"].as_str() {
            _ if self.faults.start == Start::Hang => {}
            Some("initialize") => self.initialize(message, say),
            Some("tools/list") => self.list(message, say),
            Some("tools/call") => self.call(message, say),
            Some("notifications/cancelled") => self.note("cancelled"),
            Some(method) if method.starts_with("notifications/") => {}
            Some("ping") => answer(id, &json!({}), say),
            Some(method) => fail(id, -32601, &format!("no method {method}"), say),
            None => self.hear(message, say),
        }
    }

    fn initialize(&self, message: &Value, say: Say<'_>) {
        let id = &message["id"];
        let version = match self.faults.start {
            Start::Refuse => return fail(id, -32603, "the library is closed", say),
            Start::Version => "1999-12-31",
            _ => VERSION,
        };
        let info = json!({"name": "rough", "version": "0.9.0"});
        let capabilities = json!({"tools": {"listChanged": true}});
        answer(id, &json!({"protocolVersion": version, "capabilities": capabilities, "serverInfo": info}), say);
    }

    fn list(&mut self, message: &Value, say: Say<'_>) {
        self.listings += 1;
        self.note("listed");
        let cursor = message["params"]["cursor"].as_str();
        match listing::page(&self.faults, cursor, self.has_grown) {
            Some(Ok(page)) => answer(&message["id"], &page, say),
            Some(Err(error)) => fail(&message["id"], -32603, error, say),
            None => {}
        }
        if self.listings == 2
            && let Some(pipe) = &self.faults.relisted
        {
            // Opening waits for the reader.
            drop(OpenOptions::new().write(true).open(pipe));
        }
    }

    fn call(&mut self, message: &Value, say: Say<'_>) {
        let (id, params) = (&message["id"], &message["params"]);
        let (name, arguments) = (params["name"].as_str().expect("a tool's name"), &params["arguments"]);
        self.note(&format!("called {name}"));
        match name {
            "refuse" => fail(id, -32000, "no such owl", say),
            "hang" => {}
            "die" => std::process::exit(9),
            "dieOnce" | "readDyingOnce" if File::create_new("died").is_ok() => std::process::exit(9),
            "dieOnce" | "readDyingOnce" => answer_text(id, "alive again", say),
            "flood" => {
                let size = usize::try_from(arguments["bytes"].as_u64().expect("a number of bytes")).unwrap();
                answer_text(id, &format!("START{}END", "x".repeat(size)), say);
            }
            "slow" => {
                for step in 1..=arguments["steps"].as_u64().expect("a number of steps") {
                    std::thread::sleep(PAUSE);
                    progress(params, step, say);
                }
                answer_text(id, "slow and sure", say);
            }
            "stall" => progress(params, 1, say),
            "babble" => {
                say("searching…");
                say("{\"jsonrpc\":");
                answer_text(id, "found it", say);
            }
            "misaddress" => {
                answer_text(&json!("somebody else's"), "not yours", say);
                answer_text(id, "yours", say);
            }
            "odd" => answer(id, &json!({"content": odd_contents()}), say),
            "nothing" => answer(id, &json!({"content": []}), say),
            "elicit" => {
                let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
                self.ask(id, "elicitation/create", &json!({"message": "Who?", "requestedSchema": schema}), say);
            }
            "sample" => {
                let text = json!({"role": "user", "content": {"type": "text", "text": "Who?"}});
                self.ask(id, "sampling/createMessage", &json!({"messages": [text], "maxTokens": 10}), say);
            }
            "roots" => self.ask(id, "roots/list", &json!({}), say),
            "grow" if self.faults.list == List::Growing => {
                self.has_grown = true;
                say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}).to_string());
                answer_text(id, "grew", say);
            }
            // Whatever `echo` is called.
            _ => answer_text(id, &format!("{name}: {}", arguments["text"].as_str().unwrap_or_default()), say),
        }
    }

    /// Asks the client something on behalf of a call.
    fn ask(&mut self, call: &Value, method: &str, params: &Value, say: Say<'_>) {
        self.asking = Some(call.clone());
        say(&json!({"jsonrpc": "2.0", "id": "question", "method": method, "params": params}).to_string());
    }

    /// The client's answer is the result of the call that asked.
    fn hear(&mut self, message: &Value, say: Say<'_>) {
        let heard = message.get("result").or_else(|| message.get("error"));
        if let (Some(call), Some(heard)) = (self.asking.take(), heard) {
            answer_text(&call, &format!("the client said {heard}"), say);
        }
    }

    fn note(&self, line: &str) {
        if let Some(diary) = &self.faults.diary {
            let mut file = OpenOptions::new().create(true).append(true).open(diary).expect("a diary");
            writeln!(file, "{line}").expect("a line in the diary");
        }
    }
}

fn answer(id: &Value, result: &Value, say: Say<'_>) {
    say(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
}

fn answer_text(id: &Value, text: &str, say: Say<'_>) {
    answer(id, &json!({"content": [{"type": "text", "text": text}]}), say);
}

fn fail(id: &Value, code: i32, message: &str, say: Say<'_>) {
    say(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}).to_string());
}

/// Reports progress to a client that asked for it.
fn progress(params: &Value, step: u64, say: Say<'_>) {
    if let Some(token) = params["_meta"].get("progressToken") {
        let params = json!({"progressToken": token, "progress": step, "message": format!("step {step}")});
        say(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).to_string());
    }
}

fn odd_contents() -> Value {
    json!([
        {"type": "text", "text": "before"},
        {"type": "hologram", "beams": 3},
        {"type": "image", "mimeType": "image/png"},
        {"type": "text", "text": "after"},
    ])
}

fn ignore_sigterm() {
    let (told, ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut signals = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
            told.send(()).unwrap();
            while signals.recv().await.is_some() {}
        });
    });
    ready.recv().expect("a thread that hears signals");
}
