//! Servers over HTTP: both transports, and the addresses that are refused.

use std::net::{IpAddr, ToSocketAddrs};

use serde_json::json;

use super::{assert_refused, calling, script, tool_results};
use crate::support::tool_server::{HttpServer, librarian, remote_skill};
use crate::support::{Test, skipped};
use crate::trust::{attack, neighbour};

/// An expert with a server at this address, private ones allowed.
fn at(url: &str) -> Test {
    librarian(&format!("{}startTimeout = 5000\n", remote_skill("owls", url)))
        .env("PERSTACK_ALLOW_PRIVATE_ENDPOINTS", "1")
}

#[test]
fn every_transport_carries_calls() {
    neighbour("servers of every transport");
    for args in [["polite-http"].as_slice(), &["polite-http", "sessions"], &["polite-http", "newest"], &["rough-sse"]] {
        let server = match args {
            [kind] => HttpServer::start([kind]),
            [kind, option] => HttpServer::start([kind, option]),
            _ => unreachable!("one or two words"),
        };
        let calls = [("echo", json!({"text": "owl ✓"})), ("refuse", json!({})), ("echo", json!({"text": "again"}))];
        let (_test, requests) = calling(at(server.url()), calls);
        let results = tool_results(&requests[3]);
        assert_eq!(results[0], ("echo: owl ✓".to_owned(), false), "{args:?}");
        assert!(results[1].1, "{args:?}: {results:?}");
        assert_eq!(results[2], ("echo: again".to_owned(), false), "{args:?}");
    }
}

#[test]
fn progress_and_questions_come_over_the_wire() {
    let server = HttpServer::start(["polite-http", "newest"]);
    let (_test, requests) = calling(at(server.url()), [("count", json!({"to": 20})), ("ask", json!({}))]);
    let results = tool_results(&requests[2]);
    assert_eq!(results[0].0, "counted to 20");
    assert!(results[1].1 || results[1].0.contains("decline"), "{results:?}");
    let server = HttpServer::start(["rough-sse"]);
    let (_test, requests) = calling(at(server.url()), [("slow", json!({"steps": 2})), ("elicit", json!({}))]);
    let results = tool_results(&requests[2]);
    assert_eq!(results[0].0, "slow and sure");
    assert!(results[1].0.starts_with("the client said "), "{results:?}");
}

#[test]
fn a_skill_may_allow_its_own_private_address() {
    neighbour("a private address that its skill allows");
    let server = HttpServer::start(["polite-http"]);
    let skill = format!("{}allowPrivateEndpoint = true\n", remote_skill("owls", server.url()));
    let (_test, requests) = calling(librarian(&skill), [("echo", json!({"text": "owl"}))]);
    assert_eq!(tool_results(&requests[1])[0].0, "echo: owl");
}

#[test]
fn private_addresses_are_refused_unless_allowed() {
    attack("a skill at an address of this network");
    let server = HttpServer::start(["polite-http"]);
    let port = server.url().rsplit_once(':').unwrap().1;
    let hosts =
        ["http://127.0.0.1", "https://127.0.0.1", "https://localhost", "https://[::1]", "https://[::ffff:7f00:1]"];
    for host in hosts.into_iter().chain(["https://169.254.169.254", "https://10.0.0.1", "https://2130706433"]) {
        let test = librarian(&remote_skill("owls", &format!("{host}:{port}")));
        let ran = test.run(["run", "librarian", "Look."]).assert_code(2);
        assert!(ran.stderr.contains("owls") || ran.stderr.contains("endpoint"), "{host}: {}", ran.stderr);
        assert_eq!(test.server().requests().len(), 0, "{host}");
    }
}

#[test]
fn plain_http_to_the_outside_is_refused_even_then() {
    attack("a skill at a public address by plain http");
    // Refused before the name, which nobody can have, is looked up.
    let test = at("http://owls.example/mcp");
    assert_refused(&test.run(["run", "librarian", "Look."]), &["endpoint"]);
}

/// A name that says nothing of where it leads. Which of them lead inward differs from machine to machine.
fn name_that_leads_inward() -> Option<String> {
    let own = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let names = [own.trim(), "ip6-loopback", "ip6-localhost"].map(str::to_owned);
    let leads_inward = |name: &String| {
        let addresses = (name.as_str(), 443).to_socket_addrs().ok();
        addresses.into_iter().flatten().any(|address| match address.ip() {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        })
    };
    names.into_iter().filter(|name| !name.is_empty()).find(leads_inward)
}

#[test]
fn a_name_that_leads_inward_is_refused_when_it_is_looked_up() {
    attack("a name that is looked up to a private address");
    let Some(name) = name_that_leads_inward() else {
        skipped("no name of this machine leads inward");
        return;
    };
    let server = HttpServer::start(["polite-http"]);
    let port = server.url().rsplit_once(':').unwrap().1;
    let test = librarian(&remote_skill("owls", &format!("https://{name}:{port}")));
    assert_refused(&test.run(["run", "librarian", "Look."]), &["owls"]);
}

#[test]
fn a_redirect_to_where_no_skill_may_go_is_not_followed() {
    attack("a redirect to where no skill may go");
    for target in ["http://192.0.2.1/mcp", "file:///etc/passwd"] {
        let server = HttpServer::start(["elsewhere", target]);
        assert_refused(&at(server.url()).run(["run", "librarian", "Look."]), &["owls"]);
    }
}

#[test]
fn a_redirect_that_never_ends_ends() {
    let test = |url: &str| at(url).run(["run", "librarian", "Look."]);
    let server = HttpServer::start(["elsewhere", "/mcp"]);
    assert_refused(&test(server.url()), &["owls"]);
}

#[test]
fn the_older_transport_writes_to_its_own_server_only() {
    attack("an older server names another server to write to");
    let other = HttpServer::start(["rough-sse"]);
    let address = format!("endpoint={}", other.url().replace("/sse", "/messages?session=owl-1"));
    for endpoint in [address.as_str(), "endpoint=http://192.0.2.1/messages", "endpoint=file:///etc/passwd"] {
        let server = HttpServer::start(["rough-sse", endpoint]);
        assert_refused(&at(server.url()).run(["run", "librarian", "Look."]), &["owls"]);
    }
}

#[test]
fn a_server_that_refuses_is_quoted_with_its_status() {
    for status in ["401", "403", "404", "500"] {
        let server = HttpServer::start(["status", status]);
        assert_refused(&at(server.url()).run(["run", "librarian", "Look."]), &["owls", status]);
    }
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let server = HttpServer::start(["mute"]);
    let skill = format!("{}startTimeout = 1000\nallowPrivateEndpoint = true\n", remote_skill("owls", server.url()));
    assert_refused(&librarian(&skill).run(["run", "librarian", "Look."]), &["owls"]);
}

#[test]
fn a_missing_server_is_reported() {
    // Port 1 is reserved, and no service uses it.
    assert_refused(&at("http://127.0.0.1:1/mcp").run(["run", "librarian", "Look."]), &["owls"]);
}

#[test]
fn a_server_that_goes_away_is_an_error_of_the_call() {
    let server = HttpServer::start(["rough-sse"]);
    let skill = format!("{}callTimeout = 5000\n", remote_skill("owls", server.url()));
    let test = librarian(&skill).env("PERSTACK_ALLOW_PRIVATE_ENDPOINTS", "1").answers(script([("die", json!({}))]));
    test.run(["run", "librarian", "Look."]).assert_code(0);
    let results = tool_results(&test.server().requests()[1]);
    assert!(results[0].1 && results[0].0.contains("die"), "{results:?}");
}
