//! Jobs in an object store that others made: moto's server with S3's protocol, from `PyPI`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::json;

use super::{python, servers};
use crate::support::{Answer, Gate, Provider, Test, call};

const SERVER: &str = include_str!("object_store.py");

#[test]
fn a_killed_job_goes_on_from_another_machine() {
    let Some(servers) = servers() else { return };
    let mut command = Command::new(python(&servers, "python"));
    command.args(["-c", SERVER]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = command.spawn().expect("Python");
    let mut address = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut address).unwrap();
    assert!(address.starts_with("http://"), "the server did not start: {address:?}");
    let gate = Gate::new();
    let check = Answer::calls([call("c1", "healthCheck", json!({}))]);
    let test = Test::with(Provider::Anthropic)
        .env("AWS_ENDPOINT_URL", address.trim_end())
        .env("AWS_ACCESS_KEY_ID", "owl")
        .env("AWS_SECRET_ACCESS_KEY", "hoot")
        .env("AWS_REGION", "us-east-1")
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
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
}
