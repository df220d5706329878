//! The rough server over streamable HTTP, behind OAuth: it lets in who has a token, and is its own authorization server
//! (<https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization>).
//!
//! Whoever comes to its page in a browser has agreed already. In what it sends, `BEARER` becomes the token it got.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::fault::Faults;
use crate::plain_http::{self, Request};
use crate::rough::Rough;

/// The client that may ask for itself.
const CLIENT: (&str, &str) = ("ci-client", "ci-secret-0123456789");
const PAGES: &str = "/.well-known/oauth-authorization-server";
const RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp";

/// What it does otherwise, as its arguments say.
#[derive(Clone, Default)]
struct Ways {
    /// `open`: lets everybody in. `revoked`: refuses the first token that it has given out. `closed`: registers no
    /// clients. `denied`: the person does not agree.
    words: Vec<String>,
    /// Seconds that tokens last but for renewed ones, which last an hour.
    expires: Option<u32>,
    /// Where the authorization server's description is said to be.
    elsewhere: Option<String>,
    /// Where tokens are said to be.
    token_at: Option<String>,
    /// A file to which each request of note is appended.
    diary: Option<String>,
}

impl Ways {
    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|known| known == word)
    }
}

#[derive(Default)]
struct Given {
    number: u32,
    /// By code: the challenge and the redirect.
    codes: HashMap<String, (String, String)>,
    access: HashSet<String>,
    refresh: HashSet<String>,
}

#[derive(Clone)]
struct Guarded {
    ways: Ways,
    given: Arc<Mutex<Given>>,
    rough: Arc<Mutex<Rough>>,
}

/// A status line, header lines and a body.
type Reply = (&'static str, String, String);

pub fn serve(options: &[&str]) {
    let mut ways = Ways::default();
    for option in options {
        match option.split_once('=') {
            None if ["open", "revoked", "closed", "denied"].contains(option) => ways.words.push((*option).to_owned()),
            Some(("expires", seconds)) => ways.expires = Some(seconds.parse().expect("seconds")),
            Some(("elsewhere", url)) => ways.elsewhere = Some(url.to_owned()),
            Some(("token-at", url)) => ways.token_at = Some(url.to_owned()),
            Some(("diary", file)) => ways.diary = Some(file.to_owned()),
            _ => panic!("no such way: {option}"),
        }
    }
    let rough = Arc::new(Mutex::new(Rough::new(Faults::default())));
    let guarded = Guarded { ways, given: Arc::default(), rough };
    plain_http::listen("/mcp", move |stream| guarded.converse(stream));
}

impl Guarded {
    fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = plain_http::read(&mut reader)? {
            let (status, headers, body) = self.reply(&request);
            write!(stream, "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())?;
        }
        Ok(())
    }

    fn reply(&self, request: &Request) -> Reply {
        let base = format!("http://{}", request.header("host").expect("a host"));
        // Who takes it for a proxy sends the whole address.
        let target = request.target.strip_prefix(&base).unwrap_or(&request.target);
        let url = Url::parse(&format!("{base}{target}")).expect("a target");
        match (request.method.as_str(), url.path()) {
            ("POST", "/mcp") => self.message(request, &base),
            ("GET", "/mcp") if self.token(request).is_none() => challenge(&base),
            ("GET" | "DELETE", "/mcp") => ("405 Method Not Allowed", String::new(), String::new()),
            ("GET", RESOURCE) => json_of(&json!({"resource": format!("{base}/mcp"), "authorization_servers": [base],
                    "scopes_supported": ["owls.read"]})),
            ("GET", PAGES) => self.description(&base),
            ("POST", "/register") => {
                self.note("registered");
                let asked: Value = serde_json::from_slice(&request.body).expect("JSON");
                json_of(&json!({"client_id": "registered-1", "redirect_uris": asked["redirect_uris"]}))
            }
            ("GET", "/authorize") => self.agree(&url, &base),
            ("POST", "/token") => self.give(&request.body, &base),
            _ => ("404 Not Found", String::new(), String::new()),
        }
    }

    /// The token of a request that is let in.
    fn token(&self, request: &Request) -> Option<String> {
        if self.ways.has("open") {
            return Some("none".to_owned());
        }
        let token = request.header("authorization")?.strip_prefix("Bearer ")?;
        self.given.lock().unwrap().access.contains(token).then(|| token.to_owned())
    }

    fn message(&self, request: &Request, base: &str) -> Reply {
        if self.ways.has("open") {
            self.note(&format!("asked for {}", request.target));
        }
        let Some(token) = self.token(request) else {
            self.note("turned away");
            return challenge(base);
        };
        let message: Value = serde_json::from_slice(&request.body).expect("clients speak JSON");
        let mut events = Vec::new();
        let mut say = |line: &str| events.push(format!("data: {}\n\n", line.replace("BEARER", &token)));
        self.rough.lock().unwrap().take(&message, &mut say);
        if events.is_empty() {
            return ("202 Accepted", String::new(), String::new());
        }
        ("200 OK", "content-type: text/event-stream\r\n".to_owned(), events.concat())
    }

    fn description(&self, base: &str) -> Reply {
        if let Some(url) = &self.ways.elsewhere {
            return ("302 Found", format!("location: {url}\r\n"), String::new());
        }
        let token = self.ways.token_at.clone().unwrap_or_else(|| format!("{base}/token"));
        let mut description = json!({"issuer": base, "authorization_endpoint": format!("{base}/authorize"),
            "token_endpoint": token, "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"], "authorization_response_iss_parameter_supported": true});
        if !self.ways.has("closed") {
            description["registration_endpoint"] = json!(format!("{base}/register"));
        }
        json_of(&description)
    }

    /// Sends the browser back with a code.
    fn agree(&self, url: &Url, base: &str) -> Reply {
        let asked: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!((asked["response_type"].as_str(), asked["code_challenge_method"].as_str()), ("code", "S256"));
        assert_eq!(asked["resource"], format!("{base}/mcp"));
        let mut back = Url::parse(&asked["redirect_uri"]).expect("a redirect");
        back.query_pairs_mut().append_pair("state", &asked["state"]).append_pair("iss", base);
        if self.ways.has("denied") {
            back.query_pairs_mut().append_pair("error", "access_denied");
        } else {
            let mut given = self.given.lock().unwrap();
            given.number += 1;
            let code = format!("code-{}", given.number);
            given.codes.insert(code.clone(), (asked["code_challenge"].clone(), asked["redirect_uri"].clone()));
            back.query_pairs_mut().append_pair("code", &code);
        }
        self.note(&format!("agreed to {} for {}", asked.get("scope").map_or("", String::as_str), asked["client_id"]));
        ("302 Found", format!("location: {back}\r\n"), String::new())
    }

    /// Gives a token, if what is shown for it is good.
    fn give(&self, body: &[u8], base: &str) -> Reply {
        let form = format!("{base}/?{}", std::str::from_utf8(body).expect("a form"));
        let asked: HashMap<String, String> = Url::parse(&form).expect("a form").query_pairs().into_owned().collect();
        let show = |name: &str| asked.get(name).map_or("", String::as_str);
        self.note(&format!("gave for {}", show("grant_type")));
        let mut given = self.given.lock().unwrap();
        let is_good = match show("grant_type") {
            "authorization_code" => given.codes.remove(show("code")).is_some_and(|(challenge, redirect)| {
                let proof = URL_SAFE_NO_PAD.encode(Sha256::digest(show("code_verifier")));
                proof == challenge && redirect == show("redirect_uri")
            }),
            "refresh_token" => given.refresh.remove(show("refresh_token")),
            "client_credentials" => (show("client_id"), show("client_secret")) == CLIENT,
            _ => false,
        };
        if !is_good || show("resource") != format!("{base}/mcp") {
            let error = if show("grant_type") == "client_credentials" { "invalid_client" } else { "invalid_grant" };
            let (_, headers, body) = json_of(&json!({"error": error, "error_description": "no such owl"}));
            return ("400 Bad Request", headers, body);
        }
        given.number += 1;
        let [access, refresh] = ["access", "refresh"].map(|kind| format!("{kind}-{}-0123456789abcdef", given.number));
        if !(self.ways.has("revoked") && given.access.is_empty() && show("grant_type") != "refresh_token") {
            given.access.insert(access.clone());
        }
        let renewed = show("grant_type") == "refresh_token";
        let expires = self.ways.expires.filter(|_| !renewed).unwrap_or(3600);
        let mut answer = json!({"access_token": access, "token_type": "Bearer", "expires_in": expires});
        if show("grant_type") != "client_credentials" {
            given.refresh.insert(refresh.clone());
            answer["refresh_token"] = json!(refresh);
        }
        json_of(&answer)
    }

    fn note(&self, text: &str) {
        if let Some(file) = &self.ways.diary {
            let mut diary = OpenOptions::new().append(true).create(true).open(file).expect("a diary");
            writeln!(diary, "{text}").expect("a diary");
        }
    }
}

fn challenge(base: &str) -> Reply {
    let metadata = format!("{base}{RESOURCE}");
    ("401 Unauthorized", format!("www-authenticate: Bearer resource_metadata=\"{metadata}\"\r\n"), String::new())
}

fn json_of(value: &Value) -> Reply {
    ("200 OK", "content-type: application/json\r\n".to_owned(), value.to_string())
}
