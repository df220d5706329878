//! The mock model server: real wire formats over real sockets on a free port, scripted by the test.
//!
//! Answers are given in the order of the script. A request that a real server would refuse gets status 400 (401
//! without the key) and is kept as a violation, which fails the test at its end.

use std::collections::VecDeque;
use std::io::BufReader;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::PATIENCE;
use super::answer::{Answer, Body, Delivery, Plain};
use super::conversation::{self, Given};
use super::credentials;
use super::endpoint::{Endpoint, Service};
use super::http::{self, RawRequest, Response};
use super::render;
use super::request::Request;
use super::saved;

/// A running server; it ends with this value.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<thread::JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The answers of a model that decides by the conversation.
type Mind = Box<dyn Fn(&Request) -> Answer + Send>;

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    mind: Option<Mind>,
    requests: Vec<Request>,
    violations: Vec<String>,
    given: Given,
    connections: Vec<TcpStream>,
    is_closing: bool,
}

/// What a connection does next.
enum Reply {
    Send(Response),
    Silence,
    HangUp,
}

impl Server {
    /// Starts a server on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("the port's number");
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let listening = thread::spawn({
            let shared = Arc::clone(&shared);
            move || listen(&listener, &shared)
        });
        Self { address, shared, listening: Some(listening) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL as clients want it, version segment included.
    pub fn base_url(&self) -> String {
        self.url("/v1")
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Adds to the end of the script.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.state().script.extend(answers);
    }

    /// Answers by the conversation whatever the script has no answer to, as often as it is asked.
    pub fn answer_by(&self, mind: impl Fn(&Request) -> Answer + Send + 'static) {
        self.shared.state().mind = Some(Box::new(mind));
    }

    /// Every request so far that was one to a model, refused ones included.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// Waits until this many requests have come, and gives the last of them.
    #[track_caller]
    pub fn wait_for_request(&self, number: usize) -> Request {
        self.wait_for_request_unless(number, || false)
    }

    /// As [`Server::wait_for_request`], but fails at once when no more can come; see [`Server::bell`].
    #[track_caller]
    pub fn wait_for_request_unless(&self, number: usize, is_over: impl Fn() -> bool) -> Request {
        let state = self.shared.state();
        let goes_on = |state: &mut State| state.requests.len() < number && !is_over();
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, goes_on);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (come, request) = (state.requests.len(), state.requests.get(number - 1).cloned());
        // A test that fails here still has to end the server.
        drop(state);
        match request {
            Some(request) => request,
            None => panic!("{come} requests came, not {number}"),
        }
    }

    /// Makes those who wait for a request look up, without keeping the server alive.
    pub fn bell(&self) -> impl FnOnce() + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move || {
            // Under the lock, so that nobody is between looking and waiting.
            let _state = shared.state();
            shared.changed.notify_all();
        }
    }

    /// What clients did that a real server would have refused, and what the test forgot.
    pub fn violations(&self) -> Vec<String> {
        self.shared.state().violations.clone()
    }

    /// How many answers of the script nobody has asked for.
    pub fn answers_left(&self) -> usize {
        self.shared.state().script.len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let connections = {
            let mut state = self.shared.state();
            state.is_closing = true;
            std::mem::take(&mut state.connections)
        };
        for connection in connections {
            // The other side may have closed it before.
            let _ = connection.shutdown(Shutdown::Both);
        }
        // Wakes the listener, which then sees that it is to end.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(listening) = self.listening.take().filter(|_| woken) {
            let _ = listening.join();
        }
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().map_while(Result::ok) {
        let mut state = shared.state();
        if state.is_closing {
            return;
        }
        if let Ok(copy) = stream.try_clone() {
            state.connections.push(copy);
        }
        drop(state);
        let shared = Arc::clone(shared);
        thread::spawn(move || converse(stream, &shared));
    }
}

/// Serves one connection until either side closes it. A client that goes away in mid-response is no failure.
fn converse(mut stream: TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let Ok(copy) = stream.try_clone() else { return };
    let mut reader = BufReader::new(copy);
    while let Ok(Some(request)) = http::read(&mut reader) {
        let (reply, delivery) = shared.reply(request);
        if let Some(gate) = &delivery.before
            && !gate.pass()
        {
            shared.state().violations.push("a gate was never opened".to_owned());
            break;
        }
        let goes_on = match reply {
            Reply::Send(response) => http::write(&mut stream, &response, &delivery).unwrap_or(false),
            Reply::Silence => {
                http::stall(&mut stream, b"");
                false
            }
            Reply::HangUp => false,
        };
        if !goes_on {
            break;
        }
    }
    // The listener holds a copy of the socket, so that dropping this one would not close it.
    let _ = stream.shutdown(Shutdown::Both);
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the request and decides on the answer.
    fn reply(&self, raw: RawRequest) -> (Reply, Delivery) {
        let mut state = self.state();
        if (raw.method.as_str(), raw.path.as_str()) == ("POST", "/token") {
            let (status, body) = credentials::token(&raw.body);
            let plain =
                Plain { body: Some(("application/json".to_owned(), body)), ..Plain::new(status, String::new()) };
            return (Reply::Send(render::plain(&plain, Service::Vertex)), Delivery::default());
        }
        let Some(endpoint) = Endpoint::parse(&raw.method, &raw.path) else {
            let finding = format!("{} {} is no endpoint", raw.method, raw.path);
            return state.refuse(404, Service::OpenAi, vec![finding]);
        };
        let service = endpoint.service;
        let request = match Request::new(endpoint, raw) {
            Ok(request) => request.naming_calls(&state.given),
            Err(error) => return state.refuse(400, service, vec![format!("the body is no JSON: {error}")]),
        };
        state.requests.push(request.clone());
        let number = state.requests.len();
        self.changed.notify_all();
        if let Some(finding) = credentials::check(&request) {
            let status = credentials::refusal_status(service);
            return state.refuse(status, service, vec![format!("request {number}: {finding}")]);
        }
        let findings = conversation::check(&request, &state.given);
        if !findings.is_empty() {
            let findings = findings.into_iter().map(|finding| format!("request {number}: {finding}"));
            return state.refuse(400, service, findings.collect());
        }
        saved::save(&request);
        let scripted = state.script.iter().position(|answer| answer.fits(&request));
        let scripted = scripted.and_then(|at| state.script.remove(at));
        let Some(answer) = scripted.or_else(|| state.mind.as_ref().map(|mind| mind(&request))) else {
            return state.refuse(400, service, vec![format!("request {number}: the script has no answer to it")]);
        };
        let reply = match &answer.body {
            Body::Turn(turn) => {
                if request.protocol.has_whole_arguments()
                    && let Some(call) = turn.calls.iter().find(|call| !call.value().is_object())
                {
                    let finding = format!("{:?} has no words for the call {call:?}", request.protocol);
                    return state.refuse(400, service, vec![finding]);
                }
                state.given.keep(turn);
                let response = render::turn(turn, &request, number);
                // Only imitators keep silent about what a turn cost.
                if turn.tokens.is_some() {
                    saved::save_answer(request.protocol, &response.body);
                }
                Reply::Send(response)
            }
            Body::Plain(plain) => Reply::Send(render::plain(plain, service)),
            Body::Sse(bytes) => Reply::Send(render::raw(bytes.clone(), request.protocol)),
            Body::Silence => Reply::Silence,
            Body::HangUp => Reply::HangUp,
        };
        if let (Reply::Send(response), Some(end)) = (&reply, answer.delivery.end())
            && end >= response.body.len()
        {
            let finding = format!("a body of {} bytes cannot break off after {end}", response.body.len());
            return state.refuse(400, service, vec![finding]);
        }
        (reply, answer.delivery)
    }
}

impl State {
    fn refuse(&mut self, status: u16, service: Service, findings: Vec<String>) -> (Reply, Delivery) {
        let message = findings.join("; ");
        self.violations.extend(findings);
        (Reply::Send(render::plain(&Plain::new(status, message), service)), Delivery::default())
    }
}
