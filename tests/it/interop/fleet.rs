//! Jobs on workers behind the engine that others made: Restate's server, from npm. The workers are the binary with the feature
//! `fleet`; their storage is an object store.

mod series;
mod workspaces;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{path_in, servers};
use crate::interactive::asking;
use crate::support::answer::Tokens;
use crate::support::process::{Ran, Running};
use crate::support::s3::S3;
use crate::support::storage::Storage;
use crate::support::{Answer, Gate, PATIENCE, Test, call};

/// The tokens of an answer.
const TURN: Tokens = Tokens { input: 100, cached: 0, output: 1000, reasoning: 0 };

/// The variable that names the binary with the feature.
const BINARY: &str = "PERSTACK_INTEROP_FLEET";

/// The engine. Ends with this value; what it has stored stays for the next.
struct Engine {
    child: Child,
    folder: PathBuf,
    program: PathBuf,
    /// Between nodes, ingress, administration.
    ports: [u16; 3],
}

impl Engine {
    fn start(program: &Path, folder: &Path, ports: [u16; 3]) -> Self {
        let mut command = Command::new(program);
        let [node, ingress, admin] = ports.map(|port| port.to_string());
        command
            .args(["--no-logo", "--node-name", "n1", "--base-dir"])
            .arg(folder)
            .envs([("RESTATE_LISTEN_MODE", "tcp"), ("RESTATE_BIND_IP", "127.0.0.1"), ("RESTATE_BIND_PORT", &node)])
            .envs([("RESTATE_INGRESS__BIND_PORT", &ingress), ("RESTATE_ADMIN__BIND_PORT", &admin)])
            .envs([("RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE", "128MB"), ("RESTATE_DEFAULT_NUM_PARTITIONS", "1")])
            // By its own rules it would lay a turn aside after the third failure.
            .env("RESTATE_DEFAULT_RETRY_POLICY__MAX_ATTEMPTS", "3")
            .env("RESTATE_DISABLE_TELEMETRY", "true")
            .current_dir(folder.parent().unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("the engine");
        let engine = Self { child, folder: folder.to_owned(), program: program.to_owned(), ports };
        for port in ports {
            let began = std::time::Instant::now();
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(began.elapsed() < PATIENCE, "the engine does not listen");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        engine
    }

    /// Kills it, and starts it again on what it has stored.
    fn restart(mut self) -> Self {
        self.end();
        let (folder, program, ports) = (self.folder.clone(), self.program.clone(), self.ports);
        drop(self);
        Self::start(&program, &folder, ports)
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn end(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

/// An engine, a store, and the places of workers.
struct Fleet {
    engine: Option<Engine>,
    test: Test,
    binary: PathBuf,
    address: String,
    admin: String,
    s3: S3,
}

/// Ports that nobody has. They are free for a moment, so that two tests may choose the same: they run one after the other.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// The answer to JSON that is posted, with its head.
fn ask(address: &str, path: &str, body: &serde_json::Value) -> String {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = "content-type: application/json\r\naccept: application/json\r\nconnection: close";
    write!(stream, "POST {path} HTTP/1.1\r\nhost: {address}\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

impl Fleet {
    fn start(answers: impl IntoIterator<Item = Answer>) -> Option<Self> {
        Self::in_world(asking(), answers)
    }

    fn in_world(world: Test, answers: impl IntoIterator<Item = Answer>) -> Option<Self> {
        let (servers, binary) = (servers()?, path_in(BINARY, ".ci/interop")?);
        let [node, ingress, admin, own] = free_ports();
        let program = servers.join("node/node_modules/@restatedev/restate-server-linux-x64/bin/restate-server");
        assert!(program.is_file(), "not installed: {}", program.display());
        let s3 = S3::start();
        let test = s3
            .at(world)
            .env("PERSTACK_STORAGE", "s3://owls/nightly")
            .env("PERSTACK_INGRESS", &format!("http://127.0.0.1:{ingress}"))
            .env("PERSTACK_TRUST", "1")
            .answers(answers);
        let engine = Engine::start(&program, &test.root().join("engine"), [node, ingress, admin]);
        Some(Self {
            engine: Some(engine),
            test,
            binary,
            address: format!("127.0.0.1:{own}"),
            admin: format!("http://127.0.0.1:{admin}"),
            s3,
        })
    }

    fn start_command(&self, words: &[&str]) -> Running {
        let mut command = Command::new(&self.binary);
        command.arg("fleet").args(words);
        self.test.start(command)
    }

    fn fleet(&self, words: &[&str]) -> Ran {
        self.start_command(words).finish()
    }

    /// A worker that takes jobs.
    fn worker(&self) -> Running {
        let worker = self.start_command(&["worker", "--listen", &self.address, "--register", &self.admin]);
        worker.wait_for_stderr("waiting for jobs");
        worker
    }

    /// The engine's answer to a request without a client.
    fn ask_ingress(&self, path: &str, body: &serde_json::Value) -> String {
        ask(&format!("127.0.0.1:{}", self.engine.as_ref().unwrap().ports[1]), path, body)
    }

    /// The account `nightly` in the store.
    fn account(&self) -> serde_json::Value {
        serde_json::from_slice(&self.s3.object("nightly/accounts/nightly.json").expect("an account")).unwrap()
    }

    /// The tries of a job's turn so far, by the engine's own tables.
    fn tries(&self, job: &str) -> u64 {
        let query = format!("SELECT retry_count FROM sys_invocation WHERE target_service_key = '{job}'");
        let answer = ask(self.admin.strip_prefix("http://").unwrap(), "/query", &json!({ "query": query }));
        let count = answer.split("\"retry_count\":").nth(1).unwrap_or_default();
        count.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or_default()
    }

    fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.test.server().script(answers);
    }

    /// What is stored of a job, as another machine reads it.
    fn copy(&self, job: &str) -> PathBuf {
        let cache = self.test.root().join("elsewhere").join(job);
        fs::create_dir_all(&cache).unwrap();
        let mut command = Command::new("env");
        command.arg(format!("XDG_CACHE_HOME={}", cache.display())).arg(self.test.binary());
        command.args(["job", "verify", job]);
        self.test.start(command).finish().assert_code(0);
        fs::read_dir(cache.join("perstack/stores")).unwrap().next().unwrap().unwrap().path()
    }

    /// The facts of the job, as another machine reads them.
    fn facts(&self) -> Vec<serde_json::Value> {
        Storage::new(self.copy("nest")).facts()
    }
}

fn check(id: &str) -> Answer {
    Answer::calls([call(id, "healthCheck", json!({}))])
}

fn calls_made(facts: &[serde_json::Value]) -> usize {
    facts.iter().filter(|fact| fact["fact"] == "toolReturned").count()
}

#[test]
fn a_submitted_job_is_run_by_a_worker_and_one_id_is_one_job() {
    let Some(fleet) = Fleet::start([check("c1"), Answer::text("Two owls.")]) else { return };
    let _worker = fleet.worker();
    let submitted = fleet.fleet(&["submit", "librarian", "How many owls?", "--job-id", "nest"]).assert_code(0);
    assert_eq!(submitted.stdout, "nest\n");
    assert_eq!(fleet.fleet(&["wait", "nest"]).assert_code(0).stdout, "Two owls.\n");
    // The answer is on record: the model is not asked again.
    fleet.fleet(&["submit", "librarian", "How many owls?", "--job-id", "nest"]).assert_code(0);
    let object = fleet.fleet(&["wait", "nest", "--output", "json"]).assert_code(0).object();
    assert_eq!((&object["text"], &object["jobId"]), (&json!("Two owls."), &json!("nest")));
    assert_eq!(calls_made(&fleet.facts()), 1);
    assert!(!fleet.s3.text().contains(crate::support::KEY));
}

#[test]
fn a_second_job_of_the_same_id_is_refused_and_the_first_goes_on() {
    let gate = Gate::new();
    let Some(fleet) = Fleet::start([check("c1"), Answer::text("Two owls.").delay(&gate)]) else { return };
    let worker = fleet.worker();
    let submit = |query: &str, more: &[&str]| {
        fleet.fleet(&[&["submit", "librarian", query, "--job-id", "nest"][..], more].concat())
    };
    let is_refused = || {
        let ran = submit("How many bees?", &[]).assert_code(2);
        assert_eq!(ran.stdout, "");
        ran.assert_stderr(["job nest: a job of this id was submitted before, with another query", "choose another id"]);
    };
    submit("How many owls?", &[]).assert_code(0);
    worker.wait_for_request(2);
    is_refused();
    // The very same job is at work already: nothing is queued behind it that a cancellation would not reach.
    submit("How many owls?", &[]).assert_code(0);
    let waiting = fleet.start_command(&["wait", "nest"]);
    waiting.wait_for_stderr("waiting for nest");
    fleet.fleet(&["cancel", "nest"]).assert_code(0);
    waiting.finish().assert_code(143);
    gate.open();
    is_refused();
    fleet.fleet(&["wait", "nest"]).assert_code(143);
    fleet.script([Answer::text("Two owls.")]);
    submit("How many owls?", &["--max-steps", "9"]).assert_code(0);
    assert_eq!(fleet.fleet(&["wait", "nest"]).assert_code(0).stdout, "Two owls.\n");
    is_refused();
    // One that comes by another way than `submit` is refused by the worker, and changes nothing.
    let body = json!({"formatVersion": 1, "expert": "librarian", "query": "How many bees?", "project": "d"});
    let answer = fleet.ask_ingress("/perstack/nest/work", &body);
    assert!(answer.contains("with another query") && answer.contains("\"exit\":2"), "{answer}");
    let waited = fleet.fleet(&["wait", "nest"]).assert_code(0);
    assert_eq!(waited.stdout, "Two owls.\n");
    waited.assert_stderr(["warning: another submission as nest was refused"]);
    // A new id is a job of its own.
    fleet.script([Answer::text("Three bees.")]);
    fleet.fleet(&["submit", "librarian", "How many bees?", "--job-id", "hive"]).assert_code(0);
    assert_eq!(fleet.fleet(&["wait", "hive"]).assert_code(0).stdout, "Three bees.\n");
    assert_eq!(calls_made(&fleet.facts()), 1);
}

#[test]
fn submitted_jobs_draw_on_one_account_and_the_next_worker_has_what_is_left() {
    let gate = Gate::new();
    let lost = Answer::text("Lost.").usage(TURN).delay(&gate);
    let Some(fleet) = Fleet::start([check("c1").usage(TURN), lost]) else { return };
    let first = fleet.worker();
    let submit = |query: &str, id: &str, more: &[&str]| {
        let words = ["submit", "librarian", query, "--job-id", id, "--account", "nightly"];
        fleet.fleet(&[&words[..], &["--model", "claude-sonnet-4-5"], more].concat()).assert_code(0)
    };
    submit("First.", "nest", &["--max-tokens", "200000"]);
    first.wait_for_request(2);
    let there = fleet.account();
    assert!(there["blocks"]["nest"].is_object(), "{there:#}");
    fleet.script([Answer::text("Done.").usage(TURN), Answer::text("Done.").usage(TURN)]);
    let second = fleet.worker();
    first.kill();
    gate.open();
    drop(first);
    assert_eq!(fleet.fleet(&["wait", "nest"]).assert_code(0).stdout, "Done.\n");
    // The second job has no limit of its own.
    submit("Second.", "hive", &[]);
    assert_eq!(fleet.fleet(&["wait", "hive"]).assert_code(0).stdout, "Done.\n");
    let there = fleet.account();
    assert_eq!((&there["blocks"], &there["spent"]["tokens"]), (&json!({}), &json!(3 * 1100)), "{there:#}");
    submit("Third.", "barn", &["--max-tokens", "3300"]);
    fleet.fleet(&["wait", "barn"]).assert_code(5).assert_stderr(["the token budget of 3300 is reached: 3300 spent"]);
    drop(second);
}

#[test]
fn a_killed_worker_is_followed_at_once_and_no_recorded_call_is_made_again() {
    let gate = Gate::new();
    let Some(fleet) = Fleet::start([check("c1"), Answer::text("Lost.").delay(&gate)]) else { return };
    let first = fleet.worker();
    fleet.fleet(&["submit", "librarian", "q", "--job-id", "nest"]).assert_code(0);
    first.wait_for_request(2);
    fleet.script([Answer::text("Done.")]);
    let second = fleet.worker();
    first.kill();
    gate.open();
    drop(first);
    assert_eq!(fleet.fleet(&["wait", "nest"]).assert_code(0).stdout, "Done.\n");
    assert_eq!(calls_made(&fleet.facts()), 1);
    drop(second);
}

#[test]
fn a_killed_engine_loses_no_job() {
    let gate = Gate::new();
    let Some(mut fleet) = Fleet::start([check("c1"), Answer::text("Lost.").delay(&gate)]) else { return };
    let worker = fleet.worker();
    fleet.fleet(&["submit", "librarian", "q", "--job-id", "nest"]).assert_code(0);
    worker.wait_for_request(2);
    fleet.script([Answer::text("Done.")]);
    let waiting = fleet.start_command(&["wait", "nest"]);
    waiting.wait_for_stderr("waiting for nest");
    fleet.engine = fleet.engine.take().map(Engine::restart);
    gate.open();
    assert_eq!(waiting.finish().assert_code(0).stdout, "Done.\n");
    assert_eq!(calls_made(&fleet.facts()), 1);
}

#[test]
fn a_question_waits_without_a_process_and_is_answered_once() {
    let question = Answer::calls([call("c1", "askUser", json!({"question": "Which owl?"}))]);
    let Some(fleet) = Fleet::start([question]) else { return };
    let worker = fleet.worker();
    fleet.fleet(&["submit", "librarian", "q", "--job-id", "nest"]).assert_code(0);
    let waits = fleet.fleet(&["wait", "nest"]).assert_code(4);
    assert!(waits.stderr.contains("Which owl?") && waits.stderr.ends_with("perstack fleet answer nest \"ANSWER\"\n"));
    fleet.script([Answer::text("A tawny owl.")]);
    fleet.fleet(&["answer", "nest", "The tawny owl."]).assert_code(0);
    assert_eq!(fleet.fleet(&["wait", "nest"]).assert_code(0).stdout, "A tawny owl.\n");
    fleet.fleet(&["answer", "nest", "Another."]).assert_code(2).assert_stderr(["does not wait for an answer"]);
    drop(worker);
}

#[test]
fn a_cancelled_job_stops_and_goes_on_when_it_is_submitted_again() {
    let gate = Gate::new();
    let Some(fleet) = Fleet::start([check("c1"), Answer::text("Lost.").delay(&gate)]) else { return };
    let worker = fleet.worker();
    fleet.fleet(&["submit", "librarian", "q", "--job-id", "nest"]).assert_code(0);
    worker.wait_for_request(2);
    fleet.fleet(&["cancel", "nest"]).assert_code(0);
    fleet.fleet(&["wait", "nest"]).assert_code(143).assert_stderr(["perstack fleet submit ... --job-id nest"]);
    gate.open();
    fleet.fleet(&["cancel", "nest"]).assert_code(2).assert_stderr(["is not at work"]);
    fleet.script([Answer::text("Done.")]);
    fleet.fleet(&["submit", "librarian", "q", "--job-id", "nest"]).assert_code(0);
    assert_eq!(fleet.fleet(&["wait", "nest"]).assert_code(0).stdout, "Done.\n");
    assert_eq!(calls_made(&fleet.facts()), 1);
}

#[test]
fn a_job_waits_for_a_place_as_long_as_it_takes_and_can_be_cancelled() {
    let gate = Gate::new();
    let answers = [Answer::text("Done.").delay(&gate), Answer::text("Done.")];
    let Some(fleet) = Fleet::start(answers) else { return };
    let words = ["worker", "--parallel", "1", "--listen", &fleet.address, "--register", &fleet.admin];
    let worker = fleet.start_command(&words);
    worker.wait_for_stderr("waiting for jobs");
    fleet.fleet(&["submit", "librarian", "q", "--job-id", "nest"]).assert_code(0);
    worker.wait_for_request(1);
    fleet.fleet(&["submit", "librarian", "q", "--job-id", "second"]).assert_code(0);
    let waiting = fleet.start_command(&["wait", "second"]);
    // Once the worker has had no place for it.
    waiting.poll(Duration::from_millis(100), || fleet.fleet(&["cancel", "second"]).code == Some(0));
    waiting.finish().assert_code(143).assert_stderr(["perstack fleet submit ... --job-id second"]);
    fleet.fleet(&["submit", "librarian", "q", "--job-id", "third"]).assert_code(0);
    worker.poll(Duration::from_millis(100), || fleet.tries("third") > 5);
    gate.open();
    for job in ["nest", "third"] {
        assert_eq!(fleet.fleet(&["wait", job]).assert_code(0).stdout, "Done.\n");
    }
}

#[test]
fn a_job_keeps_its_limits_and_they_can_be_raised() {
    let Some(fleet) = Fleet::start([check("c1")]) else { return };
    let worker = fleet.worker();
    fleet.fleet(&["submit", "librarian", "q", "--job-id", "nest", "--max-steps", "1"]).assert_code(0);
    fleet.fleet(&["wait", "nest"]).assert_code(3).assert_stderr(["nest: max steps reached"]);
    fleet.script([Answer::text("Done.")]);
    fleet.fleet(&["submit", "librarian", "q", "--job-id", "nest", "--max-steps", "5"]).assert_code(0);
    assert_eq!(fleet.fleet(&["wait", "nest"]).assert_code(0).stdout, "Done.\n");
    drop(worker);
}

#[test]
fn what_cannot_be_is_refused_with_the_way_on() {
    let Some(fleet) = Fleet::start([]) else { return };
    fleet
        .fleet(&["worker", "--listen", "0.0.0.0:0"])
        .assert_code(2)
        .assert_stderr(["0.0.0.0:0 can be reached from other machines", "--identity-key"]);
    fleet.fleet(&["worker", "--label", "a/b"]).assert_code(2).assert_stderr(["is no label"]);
    fleet.fleet(&["worker", "--listen", "[::1]:0", "--identity-key", "owl"]).assert_code(2).assert_stderr(["owl"]);
    // Nobody has offered this service.
    fleet
        .fleet(&["submit", "librarian", "q", "--label", "gpu"])
        .assert_code(1)
        .assert_stderr(["'perstack.gpu'", "perstack fleet worker --register"]);
    let worker = fleet.worker();
    fleet.fleet(&["submit", "owl", "q"]).assert_code(2).assert_stderr(["\"owl\" is not defined"]);
    fleet.fleet(&["submit", "librarian", "q", "--to", "ftp://owls"]).assert_code(2).assert_stderr(["ftp://owls"]);
    fleet.fleet(&["answer", "nest", "a"]).assert_code(2).assert_stderr(["does not wait for an answer"]);
    fleet.fleet(&["wait", "nest"]).assert_code(2).assert_stderr(["no job nest was submitted here"]);
    drop(worker);
    // It waits for a worker, which then has another project.
    fleet.fleet(&["submit", "librarian", "q", "--job-id", "nest"]).assert_code(0);
    let config = fleet.test.workspace().join("perstack.toml");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("You ask.", "You beg.")).unwrap();
    let worker = fleet.worker();
    fleet.fleet(&["wait", "nest"]).assert_code(2).assert_stderr(["another state of the project"]);
    drop(worker);
    assert!(fleet.test.server().requests().is_empty());
}

#[test]
fn labelled_jobs_go_to_workers_of_their_label() {
    let Some(fleet) = Fleet::start([Answer::text("By a GPU.")]) else { return };
    let [port] = free_ports();
    let listen = format!("127.0.0.1:{port}");
    let words = ["worker", "--label", "gpu", "--listen", &listen, "--register", &fleet.admin];
    let gpu = fleet.start_command(&words);
    gpu.wait_for_stderr("waiting for jobs");
    let plain = fleet.worker();
    fleet.fleet(&["submit", "librarian", "q", "--job-id", "nest", "--label", "gpu"]).assert_code(0);
    assert_eq!(fleet.fleet(&["wait", "nest", "--label", "gpu"]).assert_code(0).stdout, "By a GPU.\n");
    gpu.wait_for_stderr("nest: completed");
    drop(plain);
}
