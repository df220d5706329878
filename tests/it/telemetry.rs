//! Traces, as a collector gets them: the tree of a job, what it holds and does not hold, and collectors that fail.

use std::collections::BTreeSet;
use std::io::{BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::mcp::tool_results;
use crate::streams::{GLANCE, by_shell, fill, unread};
use crate::support::http::{self, RawRequest};
use crate::support::tool_server::{librarian, stdio_skill};
use crate::support::{Answer, KEY, Provider, Test, call};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TOKEN: &str = "collector-token-77123";

/// An answer to every export.
#[derive(Clone, Copy)]
enum Reply {
    Status(u16),
    /// None: the connection stays open.
    Silence,
}

/// A collector that keeps what it is sent.
struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<RawRequest>>,
    connections: AtomicUsize,
    /// Kept open where nothing is answered.
    held: Mutex<Vec<TcpStream>>,
    is_closing: AtomicBool,
}

impl Collector {
    fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let listening = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    if shared.is_closing.load(Ordering::SeqCst) {
                        return;
                    }
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || serve(stream.unwrap(), reply, &shared));
                }
            }
        });
        Self { address, shared, listening: Some(listening) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The exports in JSON.
    fn exports(&self) -> Vec<Value> {
        let requests = self.shared.requests.lock().unwrap();
        let decode = |request: &RawRequest| {
            assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/traces"));
            assert_eq!(header(request, "content-type").as_deref(), Some("application/json"));
            serde_json::from_slice(&request.body).unwrap()
        };
        requests.iter().map(decode).collect()
    }

    fn spans(&self) -> Vec<Value> {
        let list = |value: &Value| value.as_array().unwrap().clone();
        let of_resources = self.exports().into_iter().flat_map(|export| list(&export["resourceSpans"]));
        let of_scopes = of_resources.flat_map(|of| list(&of["scopeSpans"]));
        of_scopes.flat_map(|of| list(&of["spans"])).collect()
    }

    /// The names of the spans as a tree.
    fn tree(&self) -> Vec<String> {
        fn add(lines: &mut Vec<String>, spans: &[Value], parent: &Value, depth: usize) {
            let mut children: Vec<&Value> = spans.iter().filter(|span| span["parentSpanId"] == *parent).collect();
            children.sort_by_key(|span| (time(span, "startTimeUnixNano"), time(span, "endTimeUnixNano")));
            for child in children {
                add_with_children(lines, spans, child, depth);
            }
        }
        fn add_with_children(lines: &mut Vec<String>, spans: &[Value], span: &Value, depth: usize) {
            let error = Some(text(span, "error.type")).filter(|error| !error.is_empty());
            let error = error.map(|error| format!(" !{error}")).unwrap_or_default();
            lines.push(format!("{}{}{error}", "  ".repeat(depth), span["name"].as_str().unwrap()));
            add(lines, spans, &span["spanId"], depth + 1);
        }
        let spans = self.spans();
        let is_known = |id: &Value| spans.iter().any(|span| span["spanId"] == *id);
        let mut lines = Vec::new();
        for root in spans.iter().filter(|span| !is_known(&span["parentSpanId"])) {
            add_with_children(&mut lines, &spans, root, 0);
        }
        assert_eq!(lines.len(), spans.len(), "all of them are in the tree: {spans:#?}");
        lines
    }

    /// All that was sent, as text.
    fn shown(&self) -> String {
        self.exports().iter().map(Value::to_string).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.listening.take().map(thread::JoinHandle::join);
    }
}

fn serve(mut stream: TcpStream, reply: Reply, shared: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Ok(Some(request)) = http::read(&mut reader) {
        shared.requests.lock().unwrap().push(request);
        match reply {
            Reply::Status(status) => {
                let head = format!("HTTP/1.1 {status} Status\r\ncontent-length: 0\r\n\r\n");
                if stream.write_all(head.as_bytes()).is_err() {
                    return;
                }
            }
            Reply::Silence => return shared.held.lock().unwrap().push(stream),
        }
    }
}

fn header(request: &RawRequest, name: &str) -> Option<String> {
    request.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
}

/// An attribute as text; empty where there is none.
fn text(holder: &Value, name: &str) -> String {
    let found = holder["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == name);
    let value = found.and_then(|attribute| attribute["value"].as_object()?.values().next());
    value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default()
}

fn time(span: &Value, name: &str) -> u64 {
    span[name].as_str().unwrap().parse().unwrap()
}

fn shell(script: &str) -> Answer {
    let arguments = json!({
        "command": "sh", "args": ["-c", script], "env": {}, "cwd": ".", "stdout": true, "stderr": true,
    });
    Answer::calls([call("c1", "exec", arguments)])
}

/// `test`, with traces to `collector` in JSON.
fn traced(test: Test, collector: &Collector) -> Test {
    test.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()).env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
}

/// A job of one call, `sh -c script`, whose traces go to `collector`.
fn job(collector: &Collector, script: &str) -> Test {
    traced(Test::with(Provider::Anthropic), collector).answers([shell(script), Answer::text("Done.")])
}

/// A job that calls a tool and a delegate.
pub fn team() -> Test {
    const TEAM: &str = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                        [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Does one task.\"\n";
    Test::new().toml(TEAM).provider(Provider::Anthropic).env("TRACEPARENT", PARENT).answers([
        Answer::calls([
            call("t1", "todo", json!({"newTodos": ["x"]})),
            call("d1", "worker", json!({"query": "Task."})),
        ]),
        Answer::text("Result."),
        Answer::text("All done."),
    ])
}

#[test]
fn a_job_with_a_tool_and_a_delegate_is_a_tree_beneath_its_parent() {
    let collector = Collector::start(Reply::Status(200));
    let test = traced(team(), &collector)
        .env("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer%20{TOKEN}"))
        .env("OTEL_RESOURCE_ATTRIBUTES", &format!("team=owls,note=for%20{TOKEN}"));
    assert_eq!(test.run(["run", "lead", "Go."]).assert_code(0).stdout, "All done.\n");
    let tree = collector.tree();
    assert_eq!(tree[..2], ["invoke_workflow lead", "  invoke_agent lead"], "{tree:#?}");
    let model = tree[2].trim().strip_prefix("chat ").unwrap();
    let expected = [
        format!("    chat {model}"),
        "    execute_tool todo".to_owned(),
        "    invoke_agent worker".to_owned(),
        format!("      chat {model}"),
        format!("    chat {model}"),
    ];
    assert_eq!(tree[2..], expected, "{tree:#?}");
    let spans = collector.spans();
    for span in &spans {
        assert_eq!(span["traceId"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(text(span, "gen_ai.operation.name"), span["name"].as_str().unwrap().split(' ').next().unwrap());
        let began = time(span, "startTimeUnixNano");
        assert!(began <= time(span, "endTimeUnixNano") && began > 1 << 60);
    }
    let find = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap();
    assert_eq!(find("invoke_workflow lead")["parentSpanId"], "b7ad6b7169203331");
    let agent = find("invoke_agent lead");
    assert_eq!(text(agent, "gen_ai.provider.name"), "anthropic");
    assert_eq!(text(agent, "gen_ai.usage.input_tokens"), "200");
    assert_eq!(text(agent, "perstack.status"), "completed");
    let resource = &collector.exports()[0]["resourceSpans"][0]["resource"];
    assert_eq!((text(resource, "service.name"), text(resource, "team")), ("perstack".into(), "owls".into()));
    assert_eq!(text(resource, "note"), "for [redacted]");
    let requests = collector.shared.requests.lock().unwrap();
    assert!(requests.iter().all(|it| header(it, "authorization") == Some(format!("Bearer {TOKEN}"))));
}

/// The bytes are compared with those of OpenTelemetry's own library beside the code, and read by it in `interop`.
#[test]
fn traces_are_protobuf_unless_json_is_asked_for() {
    let collector = Collector::start(Reply::Status(200));
    let test = team().env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/elsewhere", collector.url()));
    test.run(["run", "lead", "Go."]).assert_code(0);
    let requests = collector.shared.requests.lock().unwrap();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(header(request, "content-type").as_deref(), Some("application/x-protobuf"));
    assert_eq!(request.path, "/elsewhere");
    let holds = |text: &str| request.body.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds("invoke_workflow lead") && holds("invoke_agent worker"));
}

#[test]
fn each_row_of_a_batch_is_a_trace() {
    let collector = Collector::start(Reply::Status(200));
    let test = traced(Test::with(Provider::Anthropic), &collector).file("rows.jsonl", "\"a\"\n\"b\"\n\"c\"\n");
    test.server().answer_by(|_| Answer::text("Done."));
    let ran = test.run(["each", "librarian", "rows.jsonl"]).assert_code(0);
    assert!(!ran.stderr.contains("warning:"), "{}", ran.stderr);
    let spans = collector.spans();
    let different = |name: &str| {
        let values: BTreeSet<String> = spans.iter().map(|span| span[name].to_string()).collect();
        values.len()
    };
    assert_eq!((spans.len(), different("traceId"), different("spanId")), (9, 3, 9));
    let roots = collector.tree().iter().filter(|line| *line == "invoke_workflow librarian").count();
    assert_eq!(roots, 3);
    // A collector that is down is one warning.
    let dead = test.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let ran = dead.run(["each", "librarian", "rows.jsonl", "--batch", "again"]).assert_code(0);
    ran.assert_stderr(["warning: telemetry: 9 of 9 spans were not delivered: cannot connect to 127.0.0.1:1"]);
}

#[test]
fn content_and_secrets_are_kept_back() {
    const CAPTURE: &str = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
    let script = format!("echo barn-owl {KEY} {TOKEN}");
    for captures in [false, true] {
        let collector = Collector::start(Reply::Status(200));
        let test = job(&collector, &script)
            .env("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer {TOKEN}"))
            .env(CAPTURE, if captures { "true" } else { "" });
        test.run(["run", "librarian", "Tawny?"]).assert_code(0);
        let shown = collector.shown();
        assert_eq!(shown.contains("barn-owl") && shown.contains("Tawny?") && shown.contains("Done."), captures);
        assert_eq!(["barn-owl", "Tawny?", "Done."].iter().any(|text| shown.contains(text)), captures, "{shown}");
        assert!(!shown.contains(KEY) && !shown.contains(TOKEN), "{shown}");
        assert_eq!(shown.contains("[redacted]"), captures);
    }
}

#[test]
fn children_get_none_of_the_variables() {
    let collector = Collector::start(Reply::Status(200));
    let variables = |test: Test| {
        traced(test, &collector)
            .env("OTEL_EXPORTER_OTLP_HEADERS", "a=b")
            .env("OTEL_SERVICE_NAME", "owl")
            .env("RUST_LOG", "perstack=warn")
            .env("TRACEPARENT", PARENT)
    };
    let test = variables(job(&collector, "env > seen.txt"));
    test.run(["run", "librarian", "q"]).assert_code(0);
    let seen = std::fs::read_to_string(test.workspace().join("seen.txt")).unwrap();
    let has = |seen: &str, name: &str| seen.lines().any(|line| line.starts_with(name));
    assert!(has(&seen, "PATH="), "{seen}");
    assert!(!["OTEL_", "TRACEPARENT", "RUST_LOG"].iter().any(|name| has(&seen, name)), "{seen}");
    assert_eq!(collector.tree()[..2], ["invoke_workflow librarian", "  invoke_agent librarian"]);

    // A server has those that its skill names.
    let skill = format!("{}requiredEnv = [\"OTEL_SERVICE_NAME\"]\n", stdio_skill("owls", ["polite"]));
    let test = variables(librarian(&skill));
    let test = test.answers([Answer::calls([call("c1", "environment", json!({}))]), Answer::text("Done.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let (seen, is_error) = tool_results(&test.server().requests()[1]).remove(0);
    assert!(!is_error && seen.contains("OTEL_SERVICE_NAME") && seen.contains("PATH"), "{seen}");
    assert!(!["OTEL_EXPORTER", "TRACEPARENT", "RUST_LOG"].iter().any(|name| seen.contains(name)), "{seen}");
}

#[test]
fn a_collector_that_fails_changes_nothing_but_a_warning() {
    for (reply, warning) in [
        (
            Reply::Status(401),
            "the collector refused them with status 401: the key is to be in OTEL_EXPORTER_OTLP_HEADERS",
        ),
        (Reply::Status(503), "the collector refused them with status 503"),
        // It never answers: that the program ends at all is the proof that it does not wait for it.
        (Reply::Silence, "no answer within 800 ms of the job's end"),
    ] {
        let collector = Collector::start(reply);
        let ran = job(&collector, "true").run(["run", "librarian", "q"]).assert_code(0);
        assert_eq!(ran.stdout, "Done.\n");
        assert_eq!(ran.stderr.matches("warning:").count(), 1, "{}", ran.stderr);
        ran.assert_stderr(["telemetry: 5 of 5 spans were not delivered: ", warning]);
        assert_eq!(collector.connections(), 1);
        let quiet = job(&collector, "true").run(["run", "librarian", "q", "--quiet"]).assert_code(0);
        assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("Done.\n", ""));
    }
    let dead = Test::with(Provider::Anthropic).env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let ran = dead.answers([Answer::text("Done.")]).run(["run", "librarian", "q"]).assert_code(0);
    assert_eq!(ran.stderr.matches("warning:").count(), 1, "{}", ran.stderr);
    ran.assert_stderr(["telemetry: 3 of 3 spans were not delivered: cannot connect to 127.0.0.1:1"]);
}

#[test]
fn a_signal_ends_a_program_whose_warning_is_not_read() {
    let prepare = |collector: &Collector| {
        let test = traced(Test::with(Provider::Anthropic), collector).file("rows.jsonl", "\"a\"\n");
        test.answers([Answer::text("Done.")])
    };
    for command in [["run", "librarian", "q"], ["each", "librarian", "rows.jsonl"]] {
        let read = prepare(&Collector::start(Reply::Status(401))).run(command);
        let collector = Collector::start(Reply::Status(401));
        let test = prepare(&collector);
        let pipe = unread(&test, "pipe");
        // All but the warning, which is longer than what is left then.
        fill(&pipe, read.stderr.find("warning:").unwrap() + 50);
        let running = by_shell(&test, &format!("exec \"$0\" {} 2> pipe", command.join(" ")));
        let mut glances = 0;
        running.poll(GLANCE, || {
            glances += collector.connections();
            glances > 50
        });
        // However far it has come: a signal before the warning has to be followed by another.
        running.poll(GLANCE, || {
            // It may have ended meanwhile.
            let _ = kill_process(Pid::from_raw(running.pid()).unwrap(), Signal::INT);
            false
        });
        running.finish().assert_code(130);
    }
}

#[test]
fn the_exit_code_is_the_jobs_own_and_its_error_is_in_the_spans() {
    for reply in [Reply::Status(200), Reply::Silence] {
        let collector = Collector::start(reply);
        let test = traced(Test::with(Provider::Anthropic), &collector).answers([shell("true")]);
        test.run(["run", "librarian", "q", "--max-steps", "1"]).assert_code(3);
        let tree = collector.tree();
        assert_eq!(tree[0], "invoke_workflow librarian !stoppedByExceededMaxSteps");
        assert_eq!(tree[1], "  invoke_agent librarian !stoppedByExceededMaxSteps");
    }
}

#[test]
fn nothing_is_sent_that_was_not_asked_for() {
    let collector = Collector::start(Reply::Status(200));
    let url = collector.url();
    for variables in [
        &[("OTEL_SERVICE_NAME", "owl"), ("TRACEPARENT", PARENT)][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), ("OTEL_SDK_DISABLED", "true")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), ("OTEL_TRACES_EXPORTER", "none")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), ("OTEL_TRACES_SAMPLER", "always_off")],
    ] {
        let test = Test::with(Provider::Anthropic).answers([Answer::text("Done.")]);
        let test = variables.iter().fold(test, |test, (name, value)| test.env(name, value));
        let ran = test.run(["run", "librarian", "q"]).assert_code(0);
        assert!(!ran.stderr.contains("warning:"), "{}", ran.stderr);
    }
    // A project's own file is none of the user's.
    let test = Test::with(Provider::Anthropic).answers([Answer::text("Done.")]);
    let test = test.file(".env", format!("OTEL_EXPORTER_OTLP_ENDPOINT={url}\n"));
    test.run(["run", "librarian", "q"]).assert_code(0);
    // gRPC is not what is listened for.
    let test = Test::with(Provider::Anthropic).answers([Answer::text("Done.")]);
    let test = test.env("OTEL_EXPORTER_OTLP_ENDPOINT", &url).env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    test.run(["run", "librarian", "q"]).assert_code(0).assert_stderr(["OTEL_EXPORTER_OTLP_PROTOCOL=grpc"]);
    assert_eq!(collector.connections(), 0);
}

#[test]
fn a_recording_is_traced_and_its_replay_is_not() {
    let collector = Collector::start(Reply::Status(200));
    let test = traced(Test::with(Provider::Anthropic), &collector).answers([Answer::text("Done.")]);
    test.run(["run", "librarian", "q", "--record", "tape.jsonl"]).assert_code(0);
    assert_eq!((collector.connections(), collector.spans().len()), (1, 3));
    test.run(["run", "librarian", "q", "--replay", "tape.jsonl", "--storage", "replayed"]).assert_code(0);
    assert_eq!(collector.connections(), 1);
}
