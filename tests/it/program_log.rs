//! The program's own log lines, as `RUST_LOG` asks for them.

use crate::support::process::Ran;
use crate::support::tool_server::{librarian, program, stdio_skill};
use crate::support::{Answer, KEY, Provider, Test};

/// The lines of the log, without their times.
fn log(ran: &Ran) -> Vec<&str> {
    let lines = ran.stderr.lines().filter_map(|line| line.split_once("Z DEBUG perstack::"));
    lines.map(|(_, rest)| rest).collect()
}

#[test]
fn requests_retries_servers_and_locks_are_logged_without_secrets() {
    let test = librarian(&stdio_skill("owls", ["polite"]))
        .env("RUST_LOG", "perstack=debug")
        .answers([Answer::status(500).header("retry-after", "0"), Answer::text("Done.")]);
    // The storage's name is in the path that is locked.
    let ran = test.run(["run", "librarian", "q", "--storage", KEY]).assert_code(0);
    assert_eq!(ran.stdout, "Done.\n");
    let lines = log(&ran);
    let model = test.server().address().to_string();
    let server = format!("skill::mcp::server: server {}", program());
    for expected in [
        format!("provider::http::transport: POST {model}: status 500 after "),
        format!("provider::http::transport: POST {model}: status 200 after "),
        "runtime::run::requests: the model's answer failed (".to_owned(),
        format!("{server}: started"),
        format!("{server}: its process ended ("),
    ] {
        assert!(lines.iter().any(|line| line.starts_with(&expected)), "{expected}\n{}", ran.stderr);
    }
    let locked = lines.iter().find(|line| line.ends_with("/lock is locked")).expect("a lock");
    assert!(locked.contains("[redacted]"), "{locked}");
    assert!(!ran.stderr.contains(KEY), "{}", ran.stderr);
    let ran = test.run(["list-tools", "librarian", "--live"]).assert_code(0);
    assert!(log(&ran).contains(&format!("{server}: started").as_str()), "{}", ran.stderr);
}

#[test]
fn nothing_is_logged_that_was_not_asked_for() {
    for filter in ["", "perstack=info", "off", "perstack::store=info,hyper=trace,rmcp=trace"] {
        let test = Test::with(Provider::Anthropic).env("RUST_LOG", filter).answers([Answer::text("Done.")]);
        let ran = test.run(["run", "librarian", "q", "--quiet"]).assert_code(0);
        assert_eq!(ran.stderr, "", "{filter}");
    }
    // A folder's own file does not choose it.
    let test = Test::with(Provider::Anthropic).answers([Answer::text("Done.")]);
    let test = test.file(".env", "RUST_LOG=perstack=debug\n");
    assert_eq!(log(&test.run(["run", "librarian", "q"]).assert_code(0)), Vec::<&str>::new());
}

#[test]
fn a_filter_that_is_none_is_a_warning() {
    let test = Test::with(Provider::Anthropic).env("RUST_LOG", "perstack=loud").answers([Answer::text("Done.")]);
    let ran = test.run(["run", "librarian", "q"]).assert_code(0);
    assert_eq!(ran.stdout, "Done.\n");
    assert_eq!(log(&ran), Vec::<&str>::new());
    ran.assert_stderr(["warning: RUST_LOG=perstack=loud: ", "no logs are printed; a filter is perstack=debug"]);
}
