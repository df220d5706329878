//! Jobs in an object store that others made: moto's server with S3's protocol, from `PyPI`.

use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::{python, servers};
use crate::support::s3::S3;
use crate::support::{Answer, Gate, Provider, Test, call, length};

const SERVER: &str = include_str!("object_store.py");

/// The server at work.
struct Moto {
    child: Child,
    address: String,
}

impl Moto {
    fn start() -> Option<Self> {
        let servers = servers()?;
        let mut command = Command::new(python(&servers, "python"));
        command.args(["-c", SERVER]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("Python");
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("http://"), "the server did not start: {address:?}");
        Some(Self { child, address: address.trim_end().to_owned() })
    }

    fn at(&self, test: Test) -> Test {
        test.env("AWS_ENDPOINT_URL", &self.address)
            .env("AWS_ACCESS_KEY_ID", "owl")
            .env("AWS_SECRET_ACCESS_KEY", "hoot")
            .env("AWS_REGION", "us-east-1")
    }

    /// The segments of a job. The server asks for no signature.
    fn segments(&self, job: &str) -> usize {
        let address = self.address.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let path = format!("/owls?list-type=2&prefix=nightly/jobs/{job}/segments/");
        write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.matches("<Key>").count()
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_killed_job_goes_on_from_another_machine() {
    let Some(server) = Moto::start() else { return };
    let gate = Gate::new();
    let check = Answer::calls([call("c1", "healthCheck", json!({}))]);
    let test = server
        .at(Test::with(Provider::Anthropic))
        .env("PERSTACK_STORAGE", "s3://owls/nightly")
        .env("PERSTACK_LEASE", "3s")
        .answers([check, Answer::text("Lost.").delay(&gate)]);
    let first = test.spawn(["run", "librarian", "q", "--job-id", "nest"]);
    first.wait_for_request(2);
    first.kill();
    gate.open();
    drop(first);
    let cache = test.root().join("b");
    fs::create_dir_all(&cache).unwrap();
    let cache = cache.to_str().unwrap().to_owned();
    let test = test.env("XDG_CACHE_HOME", &cache);
    test.server().script([Answer::text("Done.")]);
    assert_eq!(test.run(["resume", "nest"]).assert_code(0).stdout, "Done.\n");
    test.run(["job", "verify", "nest"]).assert_code(0);
    assert!(test.run(["log", "--jobs"]).assert_code(0).stdout.contains("nest"));
    server.end();
}

/// What a job has taken, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Taken {
    time: f64,
    cpu: f64,
}

/// Runs a job of so many steps before its answer.
fn job_of(test: &Test, steps: usize, id: &str) -> Taken {
    test.server().answer_by(move |request| match request.results().len() {
        done if done == steps => Answer::text("Done."),
        done => Answer::calls([call(&format!("c{done}"), "healthCheck", json!({}))]),
    });
    let mut shell = Command::new("bash");
    shell.args(["-c", "TIMEFORMAT='%3R %3U %3S'; time \"$@\"", "bash"]).arg(test.binary());
    shell.args(["run", "librarian", "q", "--quiet", "--job-id", id]);
    let ran = test.start(shell).finish().assert_code(0);
    let seconds: Vec<f64> = ran.stderr.lines().last().unwrap().split(' ').map(|text| text.parse().unwrap()).collect();
    Taken { time: seconds[0] * 1e3, cpu: (seconds[1] + seconds[2]) * 1e3 }
}

/// What each step of a job takes, beyond what a job without any does; the least of three.
fn a_step(test: &Test, steps: usize) -> Taken {
    let least = |steps: usize| {
        let jobs = (0..3).map(|job| job_of(test, steps, &format!("steps-{steps}-{job}")));
        jobs.reduce(|a, b| Taken { time: a.time.min(b.time), cpu: a.cpu.min(b.cpu) }).unwrap()
    };
    let (none, all, count) = (least(0), least(steps), f64::from(u32::try_from(steps).unwrap()));
    Taken { time: (all.time - none.time) / count, cpu: (all.cpu - none.cpu) / count }
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures are its result")]
fn a_step_has_two_puts_and_its_cost_is_shown_beside_the_folders() {
    let steps = length("PERSTACK_STEPS", 20);
    let Some(server) = Moto::start() else { return };
    let world = || Test::with(Provider::Anthropic);
    let stored = |test: Test| test.env("PERSTACK_STORAGE", "s3://owls/nightly");
    let (own, folder) = (S3::start(), a_step(&world(), steps));
    let in_memory = a_step(&stored(own.at(world())), steps);
    let moto = a_step(&stored(server.at(world())), steps);
    // The answer and the results of each step; the last answer with its checkpoint; the job's end.
    for job in 0..3 {
        assert_eq!(server.segments(&format!("steps-{steps}-{job}")), 2 * steps + 2);
    }
    assert_eq!(own.segments(), 3 * (2 + 2 * steps + 2));
    let line = |name: &str, taken: Taken| eprintln!("{name}: {:.1} ms, {:.1} ms of CPU", taken.time, taken.cpu);
    eprintln!("a step of {steps}, the time of model and tool within it:");
    line("in a folder, no put", folder);
    line("in an object store in memory, 2 puts", in_memory);
    line("in moto's, 2 puts", moto);
    server.end();
}
