//! Servers that demand a token: the client's own, a person's login, and what is done when there is none.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{assert_refused, calling, script, tool_results};
use crate::support::process::Running;
use crate::support::tool_server::{HttpServer, librarian, remote_skill};
use crate::support::{Answer, Test};
use crate::trust::{attack, neighbour};

/// How a CI job gets its token.
const CLIENT: &str =
    "oauth = { grant = \"clientCredentials\", clientIdEnv = \"OWL_ID\", clientSecretEnv = \"OWL_PASS\" }\n";

/// An expert with a server at this address.
fn at(server: &HttpServer, more: &str) -> Test {
    let skill = remote_skill("owls", server.url());
    librarian(&format!("{skill}startTimeout = 20000\n{more}"))
        .env("PERSTACK_ALLOW_PRIVATE_ENDPOINTS", "1")
        .env("OWL_ID", "ci-client")
        .env("OWL_PASS", "ci-secret-0123456789")
}

/// What the server wrote down.
fn diary(test: &Test) -> Vec<String> {
    let written = fs::read_to_string(diary_file(test.root())).unwrap_or_default();
    written.lines().map(str::to_owned).collect()
}

fn diary_file(folder: &Path) -> PathBuf {
    folder.join("diary")
}

/// All that is stored of a test's jobs.
fn stored(test: &Test) -> String {
    fn collect(folder: &Path, found: &mut String) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                collect(&entry.path(), found);
            } else {
                found.push_str(&String::from_utf8_lossy(&fs::read(entry.path()).unwrap()));
            }
        }
    }
    let mut found = String::new();
    collect(&test.workspace().join("perstack"), &mut found);
    found
}

/// Where a browser that opens `url` is sent.
fn opened(url: &str) -> String {
    let answer = visit(url);
    let place = answer.lines().find_map(|line| line.strip_prefix("location: "));
    place.unwrap_or_else(|| panic!("no redirect: {answer}")).to_owned()
}

/// The answer to a browser that goes to `url`.
fn visit(url: &str) -> String {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The address that a login prints.
fn page(login: &Running) -> String {
    let told = login.wait_for_stderr("waiting for the browser");
    told.lines().find(|line| line.contains("/authorize?")).unwrap().trim().to_owned()
}

/// Logs in as a person does with a browser on this machine.
#[track_caller]
fn log_in(test: &Test) {
    let login = test.spawn(["login", "owls"]);
    let back = opened(&page(&login));
    let answer = visit(&back);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    login.finish().assert_code(0).snapshot("mcp-oauth/log-in");
}

/// The file of the login.
#[track_caller]
fn login_file(test: &Test) -> PathBuf {
    let folder = test.root().join("home/config/perstack/logins");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    assert_eq!(files.len(), 1, "{files:?}");
    files.pop().unwrap()
}

#[test]
fn a_client_with_a_secret_gets_its_own_token_which_is_not_shown() {
    neighbour("a client with a secret of its own");
    let server = HttpServer::start(["guarded"]);
    let calls = [("echo", json!({"text": "owl"})), ("echo", json!({"text": "of BEARER"}))];
    let test = at(&server, CLIENT).answers(script(calls));
    let ran = test.run(["run", "librarian", "Look.", "--output", "jsonl"]).assert_code(0);
    let requests = test.server().requests();
    let results = tool_results(&requests[2]);
    assert_eq!(results, [("echo: owl".to_owned(), false), ("echo: of [redacted]".to_owned(), false)]);
    for (place, text) in [("events", &ran.stdout), ("messages", &ran.stderr), ("storage", &stored(&test))] {
        assert!(!text.contains("access-") && !text.contains("ci-secret"), "a token in {place}: {text}");
    }
    let list = test.run(["list-tools", "--json"]).assert_code(0);
    assert!(list.stdout.contains("echo"));
}

#[test]
fn tokens_that_expire_are_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let diary = diary_file(folder.path());
    // Too short to be used at all twice.
    let server = HttpServer::start(["guarded", "expires=1", &format!("diary={}", diary.display())]);
    let (_test, requests) = calling(at(&server, CLIENT), [("echo", json!({"text": "owl"}))]);
    assert_eq!(tool_results(&requests[1])[0].0, "echo: owl");
    let written = fs::read_to_string(&diary).unwrap();
    assert!(written.matches("gave for client_credentials").count() > 1, "{written}");
    assert!(!written.contains("turned away"), "{written}");
}

#[test]
fn a_wrong_secret_is_reported_without_it() {
    let server = HttpServer::start(["guarded"]);
    let test = at(&server, CLIENT).env("OWL_PASS", "wrong-secret-0123456789");
    let ran = test.run(["run", "librarian", "Look."]);
    assert_refused(&ran, &["owls", "no token was given", "invalid_client"]);
    assert!(!ran.stderr.contains("wrong-secret"), "{}", ran.stderr);
    let test = at(&server, CLIENT).env("OWL_PASS", "");
    assert_refused(&test.run(["run", "librarian", "Look."]), &["requires environment variable OWL_PASS"]);
    test.run(["check"]).assert_code(2);
}

#[test]
fn a_missing_login_is_an_error_that_shows_how() {
    let server = HttpServer::start(["guarded"]);
    let ran = at(&server, "").run(["run", "librarian", "Look."]);
    assert_refused(&ran, &["skill owls", "HTTP status 401", "run `perstack login owls`"]);
    let ran = at(&server, "authorizationEnv = \"OWL_PASS\"\n").run(["run", "librarian", "Look."]);
    assert_refused(&ran, &["HTTP status 401", "it refuses the token in OWL_PASS"]);
}

#[test]
fn a_person_logs_in_once_and_out_again() {
    neighbour("a person logs in");
    let server = HttpServer::start(["guarded"]);
    let test = at(&server, "");
    log_in(&test);
    let kept = login_file(&test);
    assert!(fs::read_to_string(&kept).unwrap().contains("access-"));
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&kept).unwrap().permissions()) & 0o777, 0o600);
    let (test, requests) = calling(test, [("echo", json!({"text": "BEARER"}))]);
    assert_eq!(tool_results(&requests[1])[0].0, "echo: [redacted]");
    assert!(!stored(&test).contains("access-"));
    test.run(["login", "owls", "--logout"]).assert_code(0).snapshot("mcp-oauth/a-person-logs-in-once-and-out-again-1");
    assert!(!kept.exists());
    test.run(["login", "owls", "--logout"]).assert_code(0).snapshot("mcp-oauth/a-person-logs-in-once-and-out-again-2");
    assert_refused(&test.run(["run", "librarian", "Look."]), &["run `perstack login owls`"]);
}

#[test]
fn an_address_that_is_pasted_will_do_and_a_token_that_expired_is_renewed() {
    let test = Test::new();
    let diary_at = format!("diary={}", diary_file(test.root()).display());
    let server = HttpServer::start(["guarded", "expires=1", &diary_at]);
    let toml = format!("[experts.librarian]\ninstruction = \"Look.\"\n{}", remote_skill("owls", server.url()));
    let test = test
        .toml(&toml)
        .provider(crate::support::Provider::Anthropic)
        .env("PERSTACK_ALLOW_PRIVATE_ENDPOINTS", "1")
        .silent_stdin();
    let login = test.spawn(["login", "owls"]);
    let back = opened(&page(&login));
    login.type_in(&format!("{}\n", back.replace("state=", "state=x")));
    login.wait_for_stderr("it answers another login");
    login.type_in(&format!("{back}\n"));
    login.finish().assert_code(0);
    let before = fs::read_to_string(login_file(&test)).unwrap();
    let (test, requests) = calling(test, [("echo", json!({"text": "owl"}))]);
    assert_eq!(tool_results(&requests[1])[0].0, "echo: owl");
    let after = fs::read_to_string(login_file(&test)).unwrap();
    assert!(before.contains("refresh-2-") && after.contains("refresh-3-"), "{before}\n{after}");
    let expected = ["registered", "agreed to owls.read for registered-1", "gave for authorization_code"];
    let written = diary(&test);
    assert_eq!(written[..3], expected, "{written:?}");
    assert_eq!(written[3..], ["gave for refresh_token"], "the renewed one is kept and used");
}

#[test]
fn a_token_that_is_refused_is_renewed_once() {
    let server = HttpServer::start(["guarded", "revoked"]);
    let test = at(&server, "");
    log_in(&test);
    let (_test, requests) = calling(test, [("echo", json!({"text": "owl"}))]);
    assert_eq!(tool_results(&requests[1])[0].0, "echo: owl");
}

#[test]
fn a_login_that_cannot_be_renewed_asks_for_another() {
    let server = HttpServer::start(["guarded", "expires=1"]);
    let test = at(&server, "");
    log_in(&test);
    let file = login_file(&test);
    let forged = fs::read_to_string(&file).unwrap().replace("refresh-2-", "refresh-9-");
    fs::write(&file, forged).unwrap();
    let ran = test.run(["run", "librarian", "Look."]);
    assert_refused(&ran, &["it refuses the login", "run `perstack login owls` once more"]);
}

#[test]
fn a_login_that_is_refused_is_reported() {
    let server = HttpServer::start(["guarded", "denied"]);
    let test = at(&server, "");
    let login = test.spawn(["login", "owls"]);
    visit(&opened(&page(&login)));
    login.finish().assert_code(1).snapshot("mcp-oauth/a-login-that-is-refused-is-reported");
}

#[test]
fn a_client_is_registered_or_named() {
    let server = HttpServer::start(["guarded", "closed"]);
    at(&server, "").run(["login", "owls"]).assert_code(2).snapshot("mcp-oauth/a-client-is-registered-or-named");
    let test = at(&server, "oauth = { clientId = \"known-client\", scopes = [\"owls.feed\"] }\n");
    let login = test.spawn(["login", "owls"]);
    let page = page(&login);
    assert!(page.contains("client_id=known-client") && page.contains("scope=owls.feed"), "{page}");
    visit(&opened(&page));
    login.finish().assert_code(0);
}

#[test]
fn an_authorization_server_leads_nowhere_that_the_skill_may_not_go() {
    attack("an authorization server that leads to a private address");
    // Whoever connects here has been led astray.
    let trap = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    trap.set_nonblocking(true).unwrap();
    let inward = format!("elsewhere=http://{}/.well-known/oauth-authorization-server", trap.local_addr().unwrap());
    for (way, words) in [
        (inward.as_str(), "rejected"),
        ("elsewhere=http://192.0.2.1/metadata", "rejected"),
        ("token-at=http://192.0.2.1/token", "may not be reached"),
        ("token-at=ftp://192.0.2.1/token", "may not be reached"),
    ] {
        let server = HttpServer::start(["guarded", way]);
        let ran = at(&server, CLIENT).run(["run", "librarian", "Look."]);
        assert_refused(&ran, &["owls", "no token was given", words]);
    }
    let visited = trap.accept().map(|_| ());
    assert_eq!(visited.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_login_that_cannot_begin_has_its_reason() {
    let server = HttpServer::start(["guarded"]);
    at(&server, CLIENT)
        .run(["login", "owls"])
        .assert_code(2)
        .snapshot("mcp-oauth/a-login-that-cannot-begin-has-its-reason-1");
    let test = at(&server, "authorizationEnv = \"OWL_PASS\"\n");
    test.run(["login", "owls"]).assert_code(2).snapshot("mcp-oauth/a-login-that-cannot-begin-has-its-reason-2");
    test.run(["login", "owl"]).assert_code(2).snapshot("mcp-oauth/a-login-that-cannot-begin-has-its-reason-3");
    let polite = HttpServer::start(["status", "404"]);
    at(&polite, "")
        .run(["login", "owls"])
        .assert_code(2)
        .snapshot("mcp-oauth/a-login-that-cannot-begin-has-its-reason-4");
}

#[test]
fn a_lock_holds_no_secret() {
    attack("a token in the lock");
    let server = HttpServer::start(["guarded"]);
    let test = at(&server, CLIENT).answers([Answer::text("Done.")]);
    test.run(["install"]).assert_code(0);
    let lock = fs::read_to_string(test.workspace().join("perstack.lock")).unwrap();
    assert!(!lock.contains("ci-") && !lock.contains("access-"), "{lock}");
    test.run(["run", "librarian", "Look.", "--locked"]).assert_code(0);
}
