//! Vendors beyond the first two: how each is found, addressed and shown its credentials.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use serde_json::json;

use crate::support::{Answer, KEY, Test, call};

const EXPERT: &str = "[experts.librarian]\ninstruction = \"You find things in books.\"\n";

fn with(provider: &str) -> Test {
    Test::new().toml(&format!("{EXPERT}\n[provider]\nproviderName = \"{provider}\"\n"))
}

/// A server that gives one token; its address, and what it was asked.
fn token_server(token: &str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = json!({"access_token": token, "expires_in": 3600}).to_string();
    let (tell, asked) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
        while reader.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            head.push_str(&line);
            line.clear();
        }
        let mut form = vec![0; length];
        reader.read_exact(&mut form).unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).unwrap();
        tell.send(head + &String::from_utf8(form).unwrap()).unwrap();
    });
    (url, asked)
}

#[test]
fn deepseek_is_asked_in_chat_with_a_key() {
    let test = with("deepseek").answers([Answer::text("Owls.")]);
    let base_url = test.server().base_url();
    let test = test.env("DEEPSEEK_API_KEY", KEY).env("DEEPSEEK_BASE_URL", &base_url);
    assert_eq!(test.run(["run", "librarian", "q"]).assert_code(0).stdout, "Owls.\n");
    assert_eq!(test.server().requests()[0].body["model"], "deepseek-flash");
}

#[test]
fn fireworks_has_chat_completions_with_a_key() {
    let test = with("fireworks").answers([Answer::text("Owls.")]);
    let base_url = test.server().base_url();
    let test = test.env("FIREWORKS_API_KEY", KEY).env("FIREWORKS_BASE_URL", &base_url);
    assert_eq!(test.run(["run", "librarian", "q"]).assert_code(0).stdout, "Owls.\n");
    assert_eq!(test.server().requests()[0].body["model"], "accounts/fireworks/models/gpt-oss-120b");
}

#[test]
fn a_key_in_the_environment_is_enough() {
    let test = Test::new().toml(EXPERT).answers([Answer::text("Owls.")]);
    let base_url = test.server().base_url();
    let test = test.env("DEEPSEEK_API_KEY", KEY).env("DEEPSEEK_BASE_URL", &base_url);
    assert_eq!(test.run(["run", "librarian", "q"]).assert_code(0).stdout, "Owls.\n");
}

#[test]
fn azure_is_asked_for_a_token_once_and_the_token_stays_secret() {
    let (url, asked) = token_server(KEY);
    let unauthorized = Answer::status(401).message(&format!("Wrong token {KEY}"));
    let test = with("azure-openai")
        .answers([Answer::calls([call("c1", "writeTextFile", json!({"path": "a.txt", "text": "a"}))]), unauthorized]);
    let base_url = test.server().url("/openai");
    let test = test
        .env("AZURE_BASE_URL", &base_url)
        .env("AZURE_TENANT_ID", "nest")
        .env("AZURE_CLIENT_ID", "owl")
        .env("AZURE_CLIENT_SECRET", "hoot-hoot-hoot")
        .env("AZURE_AUTHORITY_HOST", &url);
    let ran = test.run(["run", "librarian", "q", "--model", "nest-4"]).assert_code(1);
    ran.snapshot("vendors/azure-is-asked-for-a-token-once-and-the-token-stays-secret");
    let asked = asked.recv().unwrap();
    assert!(asked.starts_with("POST /nest/oauth2/v2.0/token ") && asked.contains("client_secret=hoot"), "{asked}");
    let paths: Vec<_> = test.server().requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/openai/v1/chat/completions?api-version=v1"; 2]);
}

#[test]
fn what_is_missing_is_named_with_what_to_set() {
    let missing = |test: Test, case: &str| {
        let ran = test.run(["run", "librarian", "q"]).assert_code(2);
        ran.snapshot(&format!("vendors/missing-{case}"));
    };
    missing(with("azure-openai"), "azure-resource");
    missing(with("deepseek"), "deepseek-key");
    missing(with("fireworks"), "fireworks-key");
    missing(with("google-vertex"), "vertex-project");
    missing(with("amazon-bedrock"), "bedrock-region");
    missing(Test::new().toml(EXPERT), "every-key");
}

#[test]
fn a_check_without_keys_warns() {
    let ran = with("azure-openai").run(["check"]).assert_code(0);
    assert!(ran.stdout.contains("! provider: AZURE_RESOURCE_NAME or baseUrl is not set"), "{}", ran.stdout);
}
