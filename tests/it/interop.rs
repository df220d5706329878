//! MCP servers that others made, as skills. `.ci/interop` installs them and sets where they are; without it these tests prove
//! nothing, and say so.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::mcp::{calling, tool_results};
use crate::support::tool_server::{command_skill, librarian, remote_skill};
use crate::support::{Answer, Test, call, skipped};

mod agent_skills;
mod browser;
mod contained;
#[cfg(feature = "s3")]
mod fleet;
#[cfg(feature = "s3")]
mod object_store;
mod popular;
mod recipes;
#[cfg(feature = "telemetry")]
mod telemetry;

/// The variable that names the folder of the installed servers.
const SERVERS: &str = "PERSTACK_INTEROP_SERVERS";

/// The folder of the installed servers, if there is one.
fn servers() -> Option<PathBuf> {
    path_in(SERVERS, ".ci/interop")
}

/// The path that a variable names, which `command` sets.
#[expect(clippy::disallowed_methods, reason = "a setting of these tests alone")]
fn path_in(variable: &str, command: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    if path.is_none() {
        skipped(&format!("{variable} names nothing; {command} sets it"));
    }
    path
}

/// The program of a server from npm, for `node`.
fn node(servers: &Path, name: &str) -> String {
    file(&servers.join("node/node_modules/@modelcontextprotocol").join(name).join("dist/index.js"))
}

/// The program of a server from `PyPI`.
fn python(servers: &Path, name: &str) -> String {
    file(&servers.join("python/bin").join(name))
}

fn file(path: &Path) -> String {
    assert!(path.is_file(), "not installed: {}", path.display());
    path.to_str().unwrap().to_owned()
}

/// What `everything` does over each transport.
#[track_caller]
fn everything(test: Test) {
    let calls = [
        ("echo", json!({"message": "owl ✓"})),
        ("get-sum", json!({"a": 2, "b": 3})),
        ("get-tiny-image", json!({})),
        ("echo", json!({})),
        // Twice the limit for calls, but with a sign of life every half second.
        ("trigger-long-running-operation", json!({"duration": 4, "steps": 8})),
        ("get-structured-content", json!({"location": "Chicago"})),
        ("get-resource-links", json!({"count": 1})),
        ("get-resource-reference", json!({"resourceType": "Text", "resourceId": 1})),
    ];
    let (_test, requests) = calling(test, calls);
    let results = tool_results(&requests[8]);
    assert_eq!(results[0], ("Echo: owl ✓".to_owned(), false));
    assert_eq!(results[1], ("The sum of 2 and 3 is 5.".to_owned(), false));
    let body = requests[8].body.to_string();
    assert!(body.contains("\"type\":\"image\"") && requests[8].contains("iVBORw0KGgo"), "the image came as one");
    assert!(results[3].1 && results[3].0.contains("expected string"), "{:?}", results[3]);
    assert!(!results[4].1 && results[4].0.contains("operation completed"), "{:?}", results[4]);
    assert!(!results[5].1 && results[5].0.contains("temperature"), "{:?}", results[5]);
    assert!(results[6].0.contains("demo://resource/"), "{:?}", results[6]);
    assert!(!results[7].1 && results[7].0.contains("demo://resource/"), "{:?}", results[7]);
}

#[test]
fn everything_over_stdio() {
    let Some(servers) = servers() else { return };
    let skill = command_skill("everything", "node", &[&node(&servers, "server-everything"), "stdio"]);
    everything(librarian(&format!("{skill}callTimeout = 2000\n")));
}

#[test]
fn everything_sees_no_key() {
    let Some(servers) = servers() else { return };
    let skill = command_skill("everything", "node", &[&node(&servers, "server-everything"), "stdio"]);
    let (_test, requests) = calling(librarian(&skill), [("get-env", json!({}))]);
    let (seen, is_error) = tool_results(&requests[1]).pop().unwrap();
    assert!(!is_error && seen.contains("\"PATH\"") && !seen.contains("ANTHROPIC"), "{seen}");
}

#[test]
fn everything_over_streamable_http() {
    let Some(servers) = servers() else { return };
    let server = Listening::start(&servers, "streamableHttp");
    everything(server.expert("mcp"));
}

#[test]
fn everything_over_the_older_transport() {
    let Some(servers) = servers() else { return };
    let server = Listening::start(&servers, "sse");
    everything(server.expert("sse"));
}

#[test]
fn filesystem_reads_where_it_may() {
    let Some(servers) = servers() else { return };
    // Roots are not announced, so it reads the folders of its own arguments.
    let skill = command_skill("files", "node", &[&node(&servers, "server-filesystem"), "."]);
    let test = librarian(&skill).file("owls.txt", "tawny\n");
    let calls = [("read_text_file", json!({"path": "owls.txt"})), ("read_text_file", json!({"path": "/etc/passwd"}))];
    let (_test, requests) = calling(test, calls);
    let results = tool_results(&requests[2]);
    assert!(!results[0].1 && results[0].0.trim_end() == "tawny", "{results:?}");
    assert!(results[1].1 && results[1].0.contains("Access denied"), "{results:?}");
}

#[test]
fn memory_keeps_what_it_is_given() {
    let Some(servers) = servers() else { return };
    let skill = command_skill("memory", "node", &[&node(&servers, "server-memory")]);
    let test = librarian(&format!("{skill}requiredEnv = [\"MEMORY_FILE_PATH\"]\n"));
    let memory = test.root().join("memory.jsonl");
    let test = test.env("MEMORY_FILE_PATH", memory.to_str().unwrap());
    let owl = json!({"name": "tawny owl", "entityType": "bird", "observations": ["hunts at night"]});
    let calls = [
        ("create_entities", json!({"entities": [owl]})),
        ("read_graph", json!({})),
        ("search_nodes", json!({"query": "bee"})),
    ];
    let (_test, requests) = calling(test, calls);
    let results = tool_results(&requests[3]);
    assert!(results.iter().all(|(_, is_error)| !is_error), "{results:?}");
    assert!(results[1].0.contains("hunts at night") && !results[2].0.contains("tawny"), "{results:?}");
    assert!(std::fs::read_to_string(memory).unwrap().contains("tawny owl"));
}

#[test]
fn time_is_converted() {
    let Some(servers) = servers() else { return };
    let skill = command_skill("time", &python(&servers, "mcp-server-time"), &["--local-timezone", "UTC"]);
    // Neither of them has a summer time.
    let calls = [
        ("convert_time", json!({"source_timezone": "Asia/Kolkata", "time": "12:00", "target_timezone": "Asia/Tokyo"})),
        ("convert_time", json!({"source_timezone": "Mars/Base", "time": "12:00", "target_timezone": "Asia/Tokyo"})),
    ];
    let (_test, requests) = calling(librarian(&skill), calls);
    let results = tool_results(&requests[2]);
    assert!(!results[0].1 && results[0].0.contains("15:30:00+09:00"), "{results:?}");
    assert!(results[1].1 && results[1].0.contains("Mars/Base"), "{results:?}");
}

#[test]
fn git_returns_the_status_of_a_repository() {
    let Some(servers) = servers() else { return };
    let test = Test::new();
    let repository = test.root().join("repository");
    let made = Command::new("git").args(["init", "--quiet"]).arg(&repository).status().unwrap();
    assert!(made.success(), "git init");
    std::fs::write(repository.join("owls.txt"), "tawny\n").unwrap();
    let path = repository.to_str().unwrap();
    let skill = command_skill("git", &python(&servers, "mcp-server-git"), &["--repository", path]);
    let calls = [("git_status", json!({"repo_path": path})), ("git_status", json!({"repo_path": "/"}))];
    let (_test, requests) = calling(librarian(&skill), calls);
    let results = tool_results(&requests[2]);
    assert!(!results[0].1 && results[0].0.contains("owls.txt"), "{results:?}");
    assert!(results[1].1, "{results:?}");
}

/// `everything` as an HTTP server. Ends with this value.
struct Listening {
    child: Child,
    port: u16,
}

impl Listening {
    /// Starts it, again when somebody else was faster to take the port.
    #[track_caller]
    fn start(servers: &Path, transport: &str) -> Self {
        let program = node(servers, "server-everything");
        (0..5).find_map(|_| Self::try_start(&program, transport)).expect("a server that listens")
    }

    fn try_start(program: &str, transport: &str) -> Option<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new("node");
        command.args([program, transport]).env("PORT", port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("node");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let listens = lines.any(|line| line.contains(&format!("on port {port}")));
        // Read on, so that it never waits for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let server = Self { child, port };
        listens.then_some(server)
    }

    /// An expert with this server, private addresses allowed.
    fn expert(&self, path: &str) -> Test {
        let skill = remote_skill("everything", &format!("http://127.0.0.1:{}/{path}", self.port));
        librarian(&format!("{skill}callTimeout = 2000\n")).env("PERSTACK_ALLOW_PRIVATE_ENDPOINTS", "1")
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Servers that `.ci/interop` installs, all at once.
fn seven(servers: &Path) -> String {
    let node = |name: &str, program: &str, rest: &[&str]| {
        let program = node(servers, program);
        command_skill(name, "node", &[&[program.as_str()], rest].concat())
    };
    let python = |name: &str, program: &str, rest: &[&str]| command_skill(name, &python(servers, program), rest);
    [
        node("everything", "server-everything", &["stdio"]),
        node("files", "server-filesystem", &["."]),
        node("memory", "server-memory", &[]),
        node("thinking", "server-sequential-thinking", &[]),
        python("time", "mcp-server-time", &["--local-timezone", "UTC"]),
        python("git", "mcp-server-git", &[]),
        python("fetch", "mcp-server-fetch", &[]),
    ]
    .concat()
}

#[test]
fn seven_servers_are_searched_and_one_of_them_starts() {
    let Some(servers) = servers() else { return };
    let skills = seven(&servers);
    let convert =
        ("convert_time", json!({"source_timezone": "Asia/Kolkata", "time": "12:00", "target_timezone": "Asia/Tokyo"}));
    let search = ("searchTools", json!({"query": "convert a time to another timezone"}));
    let mut ends = Vec::new();
    for setting in ["off", "on"] {
        let expert = "[experts.librarian]\ninstruction = \"You find things in books.\"";
        let test = librarian("").toml(&format!("toolSearch = \"{setting}\"\n{expert}\n{skills}"));
        test.run(["install"]).assert_code(0);
        let calls: Vec<_> = if setting == "on" { vec![search.clone(), convert.clone()] } else { vec![convert.clone()] };
        let turns = calls.into_iter().enumerate();
        let turns = turns.map(|(at, (tool, args))| Answer::calls([call(&format!("c{at}"), tool, args)]));
        test.server().script(turns.chain([Answer::text("Done.")]));
        let events = test.run(["run", "librarian", "Look.", "--output", "jsonl"]).assert_code(0).events();
        let started: Vec<_> = events.iter().filter(|event| event["type"] == "skillStarting").collect();
        assert_eq!((started.len(), &started[0]["skillName"]), (1, &json!("time")));
        let requests = test.server().requests();
        let (result, is_error) = tool_results(requests.last().unwrap()).pop().unwrap();
        assert!(!is_error && result.contains("15:30:00+09:00"), "{result}");
        ends.push((requests[0].tools().len(), requests[0].body["tools"].to_string().len()));
    }
    let [(all, bytes), (few, less)] = ends[..] else { panic!("{ends:?}") };
    assert!(all > 40 && few == 4 && less * 10 < bytes, "{ends:?}");
}
