//! [`Server`], a model on this machine that answers at once and by a script, and notes when each request came.
//!
//! Every measurement starts one. It speaks the protocol of the path that it is asked at (`wire`), so that any agent can
//! be measured; it reads nothing of a request but its length, unless the script has to know who asks.

mod http;
mod wire;

use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

pub use wire::{Call, Turn};

/// How long a request may be waited for; under valgrind, a process is some fifty times slower.
const PATIENCE: Duration = Duration::from_mins(10);

/// The answers of the model.
#[derive(Debug, Clone)]
pub enum Script {
    /// The same call until the last answer, which is a text.
    Steps { answers: usize, call: Call },
    /// The first answer makes all of these calls; every other one is a text.
    Delegates { calls: Vec<Call> },
    /// One answer, streamed in this many equal pieces.
    Pieces { count: usize, piece: String, pause: Duration },
}

/// One request to the model.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// When its first byte was read.
    pub at: Instant,
    /// When the last byte of its answer was written.
    pub answered: Option<Instant>,
    /// Of its body.
    pub bytes: usize,
}

/// A running model, until it is dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Script,
    options: Options,
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
}

/// Of a server.
#[derive(Default)]
pub struct Options {
    /// Bodies to keep, from the first one on.
    pub keep: usize,
    /// The request whose answer waits until [`Server::release`].
    pub hold: Option<usize>,
    /// Speak TLS.
    pub tls: Option<Arc<ServerConfig>>,
}

#[derive(Default)]
struct State {
    arrivals: Vec<Arrival>,
    bodies: Vec<Vec<u8>>,
    is_released: bool,
}

impl Server {
    pub fn start(script: Script, options: Options) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port could be opened")?;
        let address = listener.local_addr()?;
        let stopped = AtomicBool::new(false);
        let shared = Arc::new(Shared { script, options, state: Mutex::default(), changed: Condvar::new(), stopped });
        let sharing = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if sharing.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&sharing);
                // A client that goes away in the middle of an answer is noticed by the requests that lack.
                thread::spawn(move || shared.accept(stream));
            }
        });
        Ok(Self { address, shared })
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.state().arrivals.clone()
    }

    /// The first bodies, as many as are kept.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.shared.state().bodies.clone()
    }

    /// Waits until this many requests have come.
    pub fn wait_for(&self, count: usize) -> Result<()> {
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| state.arrivals.len() < count);
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            bail!("request {count} did not come");
        }
        Ok(())
    }

    /// Lets the answer go that is held.
    pub fn release(&self) {
        self.shared.state().is_released = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.release();
        // Ends the wait for a connection; that it fails means that nobody waits.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        match &self.options.tls {
            Some(config) => {
                let session = ServerConnection::new(Arc::clone(config))?;
                self.converse(StreamOwned::new(session, stream))
            }
            None => self.converse(stream),
        }
    }

    /// Answers on one connection until the client closes it.
    fn converse(&self, stream: impl Read + Write) -> Result<()> {
        let mut stream = BufReader::with_capacity(64 * 1024, stream);
        let mut body = Vec::new();
        while let Some(request) = http::read(&mut stream, &mut body)? {
            let Some(protocol) = wire::Protocol::of_path(&request.path) else {
                http::answer(stream.get_mut(), "application/json", b"{}")?;
                continue;
            };
            let number = self.arrived(request.at, &body);
            let turn = self.script.turn(number);
            let frames = wire::frames(protocol, number, &turn);
            self.wait_if_held(number);
            let pause = match &self.script {
                Script::Pieces { pause, .. } => *pause,
                _ => Duration::ZERO,
            };
            http::stream(stream.get_mut(), "text/event-stream", &frames, pause)?;
            let now = Instant::now();
            if let Some(arrival) = self.state().arrivals.get_mut(number - 1) {
                arrival.answered = Some(now);
            }
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Notes a request; its number, from 1.
    fn arrived(&self, at: Instant, body: &[u8]) -> usize {
        let mut state = self.state();
        state.arrivals.push(Arrival { at, answered: None, bytes: body.len() });
        if state.bodies.len() < self.options.keep {
            state.bodies.push(body.to_vec());
        }
        self.changed.notify_all();
        state.arrivals.len()
    }

    fn wait_if_held(&self, number: usize) {
        if self.options.hold == Some(number) {
            let state = self.state();
            // Poisoned or not, the answer goes out.
            drop(self.changed.wait_while(state, |state| !state.is_released));
        }
    }
}

impl Script {
    /// Calls that read a small file, until the last answer.
    pub fn reading(answers: usize) -> Self {
        let arguments = serde_json::json!({"path": "owls.txt"});
        Self::Steps { answers, call: Call { name: "readTextFile".to_owned(), arguments } }
    }

    fn turn(&self, number: usize) -> Turn<'_> {
        match self {
            Self::Steps { answers, call } if number < *answers => Turn::Calls(std::slice::from_ref(call)),
            Self::Delegates { calls } if number == 1 => Turn::Calls(calls),
            Self::Pieces { count, piece, .. } => Turn::Text { piece, count: *count },
            _ => Turn::Text { piece: "Tawny owls.", count: 1 },
        }
    }
}

impl Call {
    pub fn new(name: &str, arguments: Value) -> Self {
        Self { name: name.to_owned(), arguments }
    }
}
