//! Remote servers behind a proxy.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::json;

use super::{assert_refused, calling, tool_results};
use crate::support::Test;
use crate::support::tool_server::{HttpServer, librarian, remote_skill};

/// A proxy that lets nobody through: its address, and the first line of every request.
fn refusing() -> (String, Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, lines) = channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            if reader.read_line(&mut line).is_err() || sender.send(line.trim_end().to_owned()).is_err() {
                return;
            }
            let mut header = String::from("unread");
            while !header.trim_end().is_empty() {
                header.clear();
                if reader.read_line(&mut header).is_err() {
                    return;
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
        }
    });
    (address, lines)
}

/// An expert with a server of a name that only a proxy could know.
fn unknown(endpoint: &str) -> Test {
    librarian(&format!("{}startTimeout = 20000\n", remote_skill("owls", endpoint)))
}

#[test]
fn a_tunnel_is_asked_of_the_proxy_unless_the_name_is_excepted() {
    for variable in ["HTTPS_PROXY", "ALL_PROXY", "PERSTACK_PROXY_URL"] {
        let (proxy, lines) = refusing();
        // The model is on this machine, and reached without it.
        let test = unknown("https://owls.invalid/mcp").env(variable, &proxy).env("NO_PROXY", "127.0.0.1");
        assert_refused(&test.run(["run", "librarian", "Look."]), &["owls"]);
        assert_eq!(lines.recv().unwrap(), "CONNECT owls.invalid:443 HTTP/1.1", "{variable}");
    }
    let (proxy, lines) = refusing();
    let test = unknown("https://owls.invalid/mcp").env("HTTPS_PROXY", &proxy).env("NO_PROXY", ".invalid");
    assert_refused(&test.run(["run", "librarian", "Look."]), &["owls"]);
    assert!(lines.try_recv().is_err(), "an excepted name was asked of the proxy");
}

#[test]
fn plain_requests_go_through_the_proxy_and_this_machine_is_reached_without() {
    let folder = tempfile::tempdir().unwrap();
    let diary = folder.path().join("diary");
    let server = HttpServer::start(["guarded", "open", &format!("diary={}", diary.display())]);
    let proxy = server.url().trim_end_matches("/mcp");
    let test = unknown("http://owls.internal/mcp")
        .env("PERSTACK_ALLOW_PRIVATE_ENDPOINTS", "1")
        .env("HTTP_PROXY", proxy)
        .env("NO_PROXY", "127.0.0.1");
    let (_test, requests) = calling(test, [("echo", json!({"text": "owl"}))]);
    assert_eq!(tool_results(&requests[1])[0].0, "echo: owl");
    let written = std::fs::read_to_string(&diary).unwrap();
    assert!(written.lines().all(|line| line == "asked for http://owls.internal/mcp"), "{written}");

    let (proxy, lines) = refusing();
    let test = unknown(server.url()).env("PERSTACK_ALLOW_PRIVATE_ENDPOINTS", "1").env("HTTP_PROXY", &proxy);
    test.run(["list-tools"]).assert_code(0);
    assert!(lines.try_recv().is_err(), "this machine was asked of the proxy");
}

#[test]
fn a_proxy_opens_no_way_inward() {
    let (proxy, lines) = refusing();
    for endpoint in ["https://10.0.0.1/mcp", "https://localhost/mcp", "https://169.254.169.254/mcp"] {
        let test = unknown(endpoint).env("HTTPS_PROXY", &proxy);
        test.run(["run", "librarian", "Look."]).assert_code(2);
    }
    assert!(lines.try_recv().is_err(), "the proxy was asked");
    let test = unknown("https://owls.invalid/mcp").env("HTTPS_PROXY", "ftp://proxy:1");
    assert_refused(&test.run(["list-tools"]), &["owls", "the proxy's address cannot be used"]);
}
