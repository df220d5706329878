//! As much of S3's protocol as a storage needs: objects in memory, with conditional puts and lists of folders.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::http::{RawRequest, read};
use super::world::Test;

/// The one bucket.
const BUCKET: &str = "/owls";

/// A server with S3's protocol.
#[derive(Clone)]
pub struct S3 {
    address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// By their keys, with a number for each version.
    objects: Mutex<BTreeMap<String, (u64, Vec<u8>)>>,
    versions: AtomicUsize,
    /// The puts of segments, seals included.
    segments: AtomicUsize,
    /// Requests are answered with this status.
    refuses: AtomicUsize,
    tap: Mutex<Option<Tap>>,
    /// Since the tap was set.
    requests: AtomicUsize,
}

/// Somebody between the clients and the store, who sees each request and may keep it as long as they like.
type Tap = Arc<dyn Fn(&Passing<'_>) -> Fate + Send + Sync>;

/// A request on its way.
pub struct Passing<'a> {
    /// From 1.
    pub number: usize,
    pub request: &'a RawRequest,
    /// What the store has answered, once it has; the client has not heard of it.
    pub status: Option<usize>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Passes,
    /// The connection is closed: nothing was done, or the answer is lost.
    CutOff,
    /// It is done once more, and the second answer counts.
    Doubled,
}

impl S3 {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    /// The test with this server's address and a key to it.
    pub fn at(&self, test: Test) -> Test {
        test.env("AWS_ENDPOINT_URL", &self.address)
            .env("AWS_ACCESS_KEY_ID", "owl")
            .env("AWS_SECRET_ACCESS_KEY", "hoot-3f9a1c")
            .env("AWS_REGION", "us-east-1")
    }

    /// Answers everything with this status from here on; with 0, as it should.
    pub fn refuse(&self, status: usize) {
        self.state.refuses.store(status, Ordering::SeqCst);
    }

    /// Has somebody see all requests from here on.
    pub fn tap(&self, tap: impl Fn(&Passing<'_>) -> Fate + Send + Sync + 'static) {
        let mut current = self.state.tap.lock().expect("no panic before");
        self.state.requests.store(0, Ordering::SeqCst);
        *current = Some(Arc::new(tap));
    }

    /// The puts of segments so far.
    pub fn segments(&self) -> usize {
        self.state.segments.load(Ordering::SeqCst)
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<String> {
        self.state.objects.lock().expect("no panic before").keys().cloned().collect()
    }

    /// The object of this key.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.state.objects.lock().expect("no panic before").get(key).map(|(_, bytes)| bytes.clone())
    }

    /// Puts an object, as somebody else may.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        let version = self.state.versions.fetch_add(1, Ordering::SeqCst) as u64 + 1;
        self.state.objects.lock().expect("no panic before").insert(key.to_owned(), (version, bytes.to_vec()));
    }

    /// The text of all objects.
    pub fn text(&self) -> String {
        let objects = self.state.objects.lock().expect("no panic before");
        objects.values().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

fn serve(stream: TcpStream, state: &State) {
    let Ok(mut out) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = read(&mut reader) {
        let Some(answer) = pass(&request, state) else { return };
        if respond(&mut out, &answer).is_err() {
            return;
        }
    }
}

/// A response.
struct Response {
    status: usize,
    etag: Option<String>,
    body: Vec<u8>,
}

impl Response {
    fn new(status: usize, body: &[u8]) -> Self {
        Self { status, etag: None, body: body.to_vec() }
    }

    fn of_version(version: u64, body: &[u8]) -> Self {
        Self { etag: Some(etag(version)), ..Self::new(200, body) }
    }
}

/// The answer to a request, with the tap on its way; `None` for one that gets none.
fn pass(request: &RawRequest, state: &State) -> Option<Response> {
    let tap = state.tap.lock().ok()?.clone();
    let Some(tap) = tap else { return Some(answer(request, state)) };
    let number = state.requests.fetch_add(1, Ordering::SeqCst) + 1;
    let first = tap(&Passing { number, request, status: None });
    if first == Fate::CutOff {
        return None;
    }
    let mut response = answer(request, state);
    if first == Fate::Doubled {
        response = answer(request, state);
    }
    let second = tap(&Passing { number, request, status: Some(response.status) });
    (second != Fate::CutOff).then_some(response)
}

fn answer(request: &RawRequest, state: &State) -> Response {
    let refuses = state.refuses.load(Ordering::SeqCst);
    if refuses != 0 {
        return Response::new(refuses, b"<Error><Code>Refused</Code><Message>not today</Message></Error>");
    }
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let Some(key) = path.strip_prefix(BUCKET) else {
        return Response::new(404, b"<Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>");
    };
    let key = key.trim_start_matches('/').to_owned();
    let header = |name: &str| request.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let mut objects = state.objects.lock().expect("no panic before");
    match request.method.as_str() {
        "GET" if query.contains("list-type=2") => Response::new(200, list(&objects, query).as_bytes()),
        "GET" => match objects.get(&key) {
            Some((version, bytes)) => Response::of_version(*version, bytes),
            None => Response::new(404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"),
        },
        "PUT" => {
            let known = objects.get(&key).map(|(version, _)| etag(*version));
            let is_refused = header("if-none-match").is_some() && known.is_some()
                || header("if-match").is_some_and(|wanted| known.as_deref() != Some(wanted));
            if is_refused {
                return Response::new(412, b"<Error><Code>PreconditionFailed</Code></Error>");
            }
            state.segments.fetch_add(usize::from(key.contains("/segments/")), Ordering::SeqCst);
            let version = state.versions.fetch_add(1, Ordering::SeqCst) as u64 + 1;
            objects.insert(key, (version, request.body.clone()));
            Response::of_version(version, b"")
        }
        _ => Response::new(405, b""),
    }
}

fn etag(version: u64) -> String {
    format!("\"{version:032x}\"")
}

/// The folders below a prefix.
fn list(objects: &BTreeMap<String, (u64, Vec<u8>)>, query: &str) -> String {
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    let prefix = pairs.into_owned().find(|(name, _)| name == "prefix").map(|(_, value)| value).unwrap_or_default();
    let below = objects.keys().filter_map(|key| key.strip_prefix(&prefix)?.split_once('/'));
    let mut folders: Vec<&str> = below.map(|(folder, _)| folder).collect();
    folders.dedup();
    let mut text = "<ListBucketResult><IsTruncated>false</IsTruncated>".to_owned();
    for folder in folders {
        let _ = write!(text, "<CommonPrefixes><Prefix>{prefix}{folder}/</Prefix></CommonPrefixes>");
    }
    text + "</ListBucketResult>"
}

fn respond(out: &mut TcpStream, response: &Response) -> io::Result<()> {
    let Response { status, etag, body } = response;
    let etag = etag.as_ref().map_or_else(String::new, |etag| format!("etag: {etag}\r\n"));
    let head = format!("HTTP/1.1 {status} Answer\r\ncontent-length: {}\r\n{etag}\r\n", body.len());
    out.write_all(&[head.as_bytes(), body].concat())
}
