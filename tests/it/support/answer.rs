//! The mock model's answers. An [`Answer`] is written once and rendered to whichever protocol the request used.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::gate::Gate;
use super::request::Request;

/// One response: what it holds, how it is delivered, and to which request.
#[derive(Clone)]
pub struct Answer {
    pub(super) body: Body,
    pub(super) delivery: Delivery,
    pub(super) wanted: Option<Wanted>,
}

/// Whether a request is one that an answer waits for.
pub type Wanted = Arc<dyn Fn(&Request) -> bool + Send + Sync>;

#[derive(Clone)]
pub enum Body {
    /// A turn of the model, as a stream.
    Turn(Turn),
    /// A response of another status than 200, or of another type than a stream.
    Plain(Plain),
    /// These bytes as a stream.
    Sse(Vec<u8>),
    /// Nothing, ever; the connection stays open.
    Silence,
    /// The connection is closed without a byte.
    HangUp,
}

#[derive(Clone, Default)]
pub struct Turn {
    pub thinking: Option<Thinking>,
    pub text: String,
    pub calls: Vec<Call>,
    pub tokens: Option<Tokens>,
    pub stop: Option<Stop>,
    /// Instead of an ending, an error event: its type and message.
    pub failure: Option<(String, String)>,
}

/// A reasoning block; the signature is what the provider wants back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thinking {
    pub text: String,
    pub signature: String,
}

#[derive(Clone)]
pub struct Plain {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// The message of the vendor's own error body.
    pub message: String,
    /// How long the vendor asks to wait, where it asks at all.
    pub retry_ms: Option<u64>,
    /// The status is the vendor's own for a key that it does not know.
    pub refuses_key: bool,
    /// Replaces the protocol's own error body: content type and text.
    pub body: Option<(String, String)>,
}

/// How the bytes of a response leave.
#[derive(Clone, Default)]
pub struct Delivery {
    /// Before the first byte.
    pub before: Option<Gate>,
    /// After this many bytes of the body.
    pub midway: Option<(usize, Gate)>,
    /// At most this many bytes of the body at a time.
    pub piece: Option<usize>,
    /// The wait after each piece.
    pub pace: Option<Duration>,
    pub ending: Ending,
}

#[derive(Clone, Copy, Default)]
pub enum Ending {
    #[default]
    Complete,
    /// Nothing more after this many bytes of the body, but the connection stays open.
    Stalled { after: usize, comments: bool },
    /// The connection is closed after this many bytes of the body.
    Cut { after: usize },
}

/// A tool call of the model.
#[derive(Debug, Clone)]
pub struct Call {
    pub(super) id: String,
    pub(super) tool: String,
    /// As the model wrote them: JSON, or what it took for JSON.
    pub(super) arguments: String,
}

/// A call of `tool` with `arguments`.
#[expect(clippy::needless_pass_by_value, reason = "scripts are written with literals")]
pub fn call(id: &str, tool: &str, arguments: Value) -> Call {
    raw_call(id, tool, &arguments.to_string())
}

/// A call whose arguments are exactly this text, JSON or not.
pub fn raw_call(id: &str, tool: &str, arguments: &str) -> Call {
    Call { id: id.to_owned(), tool: tool.to_owned(), arguments: arguments.to_owned() }
}

/// Why a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    End,
    Calls,
    Length,
    /// The context window is full; only Anthropic and Bedrock have a word for it.
    Window,
    Filtered,
}

/// What a turn cost, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// Including `cached`, as OpenAI counts; Anthropic gets the rest.
    pub input: u64,
    pub cached: u64,
    /// Including `reasoning`.
    pub output: u64,
    pub reasoning: u64,
}

impl Tokens {
    /// What a turn costs when the test does not say.
    pub const USUAL: Self = Self { input: 100, cached: 0, output: 20, reasoning: 0 };
}

impl Answer {
    fn new(body: Body) -> Self {
        Self { body, delivery: Delivery::default(), wanted: None }
    }

    fn turn(turn: Turn) -> Self {
        Self::new(Body::Turn(Turn { tokens: Some(Tokens::USUAL), ..turn }))
    }

    /// A turn of text, which completes a run.
    pub fn text(text: &str) -> Self {
        Self::turn(Turn { text: text.to_owned(), ..Turn::default() })
    }

    /// A turn of tool calls.
    pub fn calls(calls: impl Into<Vec<Call>>) -> Self {
        Self::turn(Turn { calls: calls.into(), ..Turn::default() })
    }

    /// An error response with the protocol's own body. A 200 takes [`Answer::body`].
    pub fn status(status: u16) -> Self {
        Self::new(Body::Plain(Plain::new(status, format!("the mock server answers {status}"))))
    }

    /// The vendor does not know the key, and answers with its own status.
    pub fn refused_key(message: &str) -> Self {
        Self::status(401).message(message).with_plain(|plain| plain.refuses_key = true)
    }

    /// Too many requests; the vendor asks to wait if it ever does.
    pub fn busy(milliseconds: u64) -> Self {
        Self::status(429).with_plain(|plain| plain.retry_ms = Some(milliseconds))
    }

    /// A page from something that is no model server.
    pub fn html(status: u16, page: &str) -> Self {
        Self::status(status).body("text/html; charset=utf-8", page)
    }

    /// Status 200 and these bytes as the protocol's kind of stream.
    pub fn raw_sse(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(Body::Sse(bytes.into()))
    }

    /// No byte at all, over an open connection.
    pub fn silence() -> Self {
        Self::new(Body::Silence)
    }

    /// A connection closed without a byte.
    pub fn hang_up() -> Self {
        Self::new(Body::HangUp)
    }

    /// Thinks before it speaks.
    pub fn thinking(self, text: &str, signature: &str) -> Self {
        let thinking = Thinking { text: text.to_owned(), signature: signature.to_owned() };
        self.with_turn(|turn| turn.thinking = Some(thinking))
    }

    /// Thinks before it speaks, and shows only what is to come back.
    pub fn hidden_thinking(self, data: &str) -> Self {
        self.thinking("", data)
    }

    /// Speaks before it calls.
    pub fn and_text(self, text: &str) -> Self {
        self.with_turn(|turn| text.clone_into(&mut turn.text))
    }

    /// The usage that is reported for the turn.
    pub fn usage(self, tokens: Tokens) -> Self {
        self.with_turn(|turn| turn.tokens = Some(tokens))
    }

    /// Never reports what the turn cost, as some compatible servers do.
    pub fn without_usage(self) -> Self {
        self.with_turn(|turn| turn.tokens = None)
    }

    /// Another ending than follows from the content.
    pub fn stop_reason(self, stop: Stop) -> Self {
        self.with_turn(|turn| turn.stop = Some(stop))
    }

    /// Breaks off with an error event after the content, under status 200.
    pub fn then_fails(self, kind: &str, message: &str) -> Self {
        self.with_turn(|turn| turn.failure = Some((kind.to_owned(), message.to_owned())))
    }

    /// A header of an error response.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with_plain(|plain| plain.headers.push((name.to_owned(), value.to_owned())))
    }

    /// The message in the protocol's own error body.
    pub fn message(self, message: &str) -> Self {
        self.with_plain(|plain| message.clone_into(&mut plain.message))
    }

    /// Another body than the protocol's own.
    pub fn body(self, content_type: &str, text: &str) -> Self {
        self.with_plain(|plain| plain.body = Some((content_type.to_owned(), text.to_owned())))
    }

    /// Holds the whole response back until the gate opens.
    pub fn delay(mut self, gate: &Gate) -> Self {
        self.delivery.before = Some(gate.clone());
        self
    }

    /// Holds the rest of the body back after `bytes` of it, until the gate opens.
    pub fn pause_after(mut self, bytes: usize, gate: &Gate) -> Self {
        self.delivery.midway = Some((bytes, gate.clone()));
        self
    }

    /// Goes silent after `bytes` of the body; the connection stays open.
    pub fn stall_after(mut self, bytes: usize) -> Self {
        self.delivery.ending = Ending::Stalled { after: bytes, comments: false };
        self
    }

    /// As [`Answer::stall_after`], but with keep-alive comments, which are no data.
    pub fn stall_with_comments_after(mut self, bytes: usize) -> Self {
        self.delivery.ending = Ending::Stalled { after: bytes, comments: true };
        self
    }

    /// Closes the connection after `bytes` of the body.
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.delivery.ending = Ending::Cut { after: bytes };
        self
    }

    /// Sends the body in pieces of `bytes`, wherever that splits characters, lines and events.
    pub fn in_chunks_of(mut self, bytes: usize) -> Self {
        assert!(bytes > 0, "a piece has at least one byte");
        self.delivery.piece = Some(bytes);
        self
    }

    /// Sends the body in pieces of `bytes`, so slowly that its end is out of reach.
    pub fn dripping(mut self, bytes: usize, pace: Duration) -> Self {
        self.delivery.pace = Some(pace);
        self.in_chunks_of(bytes)
    }

    /// Is given only to a request that fits. Where requests run side by side, each finds its own answer.
    pub fn when(mut self, fits: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        self.wanted = Some(Arc::new(fits));
        self
    }

    pub(super) fn fits(&self, request: &Request) -> bool {
        self.wanted.as_ref().is_none_or(|fits| fits(request))
    }

    fn with_turn(mut self, change: impl FnOnce(&mut Turn)) -> Self {
        match &mut self.body {
            Body::Turn(turn) => change(turn),
            _ => panic!("only a turn of the model has content"),
        }
        self
    }

    fn with_plain(mut self, change: impl FnOnce(&mut Plain)) -> Self {
        match &mut self.body {
            Body::Plain(plain) => change(plain),
            _ => panic!("only a response by status has headers and a body of its own"),
        }
        self
    }
}

impl Plain {
    /// An error in the vendor's own words.
    pub(super) fn new(status: u16, message: String) -> Self {
        Self { status, headers: Vec::new(), message, retry_ms: None, refuses_key: false, body: None }
    }
}

impl Thinking {
    /// Nothing of it is shown.
    pub fn is_hidden(&self) -> bool {
        self.text.is_empty()
    }
}

impl Call {
    /// The arguments where a protocol has them as a value. The server takes no others there.
    pub(super) fn value(&self) -> Value {
        serde_json::from_str(&self.arguments).unwrap_or_default()
    }
}

impl Delivery {
    /// Where the body breaks off, if it does.
    pub(super) fn end(&self) -> Option<usize> {
        match self.ending {
            Ending::Complete => None,
            Ending::Stalled { after, .. } | Ending::Cut { after } => Some(after),
        }
    }
}

impl Turn {
    /// Why the turn ended: as set, else as its content implies.
    pub(super) fn ending(&self) -> Stop {
        self.stop.unwrap_or(if self.calls.is_empty() { Stop::End } else { Stop::Calls })
    }
}
