//! Requests to a model and its answers: the language between the loop and the provider layer.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::content::{Opaque, Thinking};
use crate::cost::BilledTokens;
use crate::json_text;
use crate::message::Message;
use crate::setting::ReasoningBudget;
use crate::tool::ToolSpec;
use crate::usage::{Usage, UsageReport};

/// One question to a model: the whole conversation and the tools it may call.
#[derive(Debug, Clone, Copy)]
pub struct GenerateRequest<'a> {
    /// The model's id as the provider spells it.
    pub model: &'a str,
    pub messages: &'a [Message],
    pub tools: &'a [ToolSpec],
    /// The number of those at the end of `tools` that a search has found: a later request has more, the others stay.
    pub found: usize,
    pub reasoning: ReasoningBudget,
    /// Most tokens to answer with, reasoning included; absent where neither the protocol nor a budget asks for a limit.
    pub max_output_tokens: Option<u64>,
    /// The tools that the provider is to run itself.
    pub native: NativeTools<'a>,
    pub occasion: Occasion<'a>,
}

impl<'a> GenerateRequest<'a> {
    /// The tools that all requests of the conversation have, and those that were found.
    pub fn split_tools(&self) -> (&'a [ToolSpec], &'a [ToolSpec]) {
        self.tools.split_at(self.tools.len().saturating_sub(self.found))
    }
}

/// The Run and the time of a request; in a replay the same as in the recording.
#[derive(Debug, Clone, Copy, Default)]
pub struct Occasion<'a> {
    /// The Run's id; empty for none. Requests of one Run begin alike, which some providers take a key for.
    pub run: &'a str,
    /// The time of the latest fact, in milliseconds since the epoch; 0 for none.
    pub at: u64,
}

/// Tools and skills that a provider runs on its own servers, as the expert names them; a protocol takes those it knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct NativeTools<'a> {
    /// `providerTools`: names, e.g. `webSearch`.
    pub tools: &'a [String],
    /// `providerToolOptions`: a table per tool name.
    pub options: Option<&'a Value>,
    /// `providerSkills`: a list of tables with a `type`.
    pub skills: Option<&'a Value>,
}

/// A model's whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// Its parts, in the order in which they came.
    pub parts: Vec<GeneratedPart>,
    pub finish: FinishReason,
    /// As reported; `None` when that is not known, which is not zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Tokens that the whole conversation now takes up in the context window: the prompt with all its cached parts,
    /// and the answer.
    #[serde(default, with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
}

impl Generation {
    /// Returns true if it asks for tools to be called.
    pub fn has_calls(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, GeneratedPart::ToolCall { .. }))
    }

    /// The tokens by what they are charged as; `None` when the provider reported too little.
    ///
    /// [`Usage::input_tokens`] holds the cached ones with some providers and not with others, so the prompt's size is
    /// taken from [`Generation::context_tokens`], which is the same thing for all.
    pub fn billed(&self) -> Option<BilledTokens> {
        let usage = self.usage?;
        let output = usage.output_tokens;
        let (cached_input, cache_write) = (usage.cached_input_tokens, usage.cache_write_input_tokens);
        let cached = cached_input.saturating_add(cache_write);
        let input = match self.context_tokens {
            // The results of a provider's own tools are in the input alone, and are charged as well.
            Some(context) => {
                let of_context = context.saturating_sub(output).saturating_sub(cached);
                of_context.max(usage.input_tokens.saturating_sub(cached))
            }
            None if cached == 0 => usage.input_tokens,
            None => return None,
        };
        Some(BilledTokens { input, cached_input, cache_write, output })
    }

    /// The reason of a refusal in the provider's words, from a block of type `refusal` with an `explanation` or a `category`.
    pub fn refusal(&self) -> Option<&str> {
        let of_type = |block: &&Value| block.get("type").and_then(Value::as_str) == Some("refusal");
        let mut blocks = self.parts.iter().filter_map(|part| match part {
            GeneratedPart::Opaque { opaque } => Some(&opaque.block),
            _ => None,
        });
        let block = blocks.find(of_type)?;
        ["explanation", "category"].into_iter().find_map(|key| block.get(key).and_then(Value::as_str))
    }
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, strum::EnumDiscriminants)]
#[strum_discriminants(name(GeneratedPartKind), vis(), derive(Deserialize), serde(rename_all = "camelCase"))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum GeneratedPart {
    Thinking {
        #[serde(flatten)]
        thinking: Thinking,
    },
    Text {
        text: String,
    },
    Opaque {
        #[serde(flatten)]
        opaque: Opaque,
    },
    /// `id` as the provider gave it, empty when it gave none.
    ToolCall {
        id: String,
        name: String,
        arguments: Arguments,
    },
}

/// The keys of all kinds of [`GeneratedPart`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartFields {
    #[serde(rename = "type")]
    kind: GeneratedPartKind,
    text: Option<String>,
    #[serde(default)]
    thinking: String,
    signature: Option<String>,
    protocol: Option<String>,
    made_by: Option<String>,
    opaque: Option<Value>,
    #[serde(default, deserialize_with = "json_text::present")]
    block: Option<Value>,
    id: Option<String>,
    name: Option<String>,
    arguments: Option<Arguments>,
}

impl<'de> Deserialize<'de> for GeneratedPart {
    /// In one pass, as the parts of messages.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let fields = PartFields::deserialize(from)?;
        let missing = D::Error::missing_field;
        Ok(match fields.kind {
            GeneratedPartKind::Text => Self::Text { text: fields.text.ok_or_else(|| missing("text"))? },
            GeneratedPartKind::ToolCall => Self::ToolCall {
                id: fields.id.ok_or_else(|| missing("id"))?,
                name: fields.name.ok_or_else(|| missing("name"))?,
                arguments: fields.arguments.ok_or_else(|| missing("arguments"))?,
            },
            GeneratedPartKind::Thinking => {
                let PartFields { thinking, signature, protocol, made_by, opaque, .. } = fields;
                Self::Thinking { thinking: Thinking { thinking, signature, protocol, made_by, opaque } }
            }
            GeneratedPartKind::Opaque => {
                let protocol = fields.protocol.ok_or_else(|| missing("protocol"))?;
                Self::Opaque { opaque: Opaque { protocol, block: fields.block.ok_or_else(|| missing("block"))? } }
            }
        })
    }
}

/// A call's arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Arguments {
    /// A JSON object.
    Valid(Map<String, Value>),
    /// Text that is no JSON object: broken, cut off, or another JSON value. Never sent back to a model as arguments.
    Invalid(String),
}

impl Arguments {
    /// Reads what a model wrote. Nothing at all, `null` and the empty list that some servers write for an empty object
    /// are `{}`; a text within the text is read once more, since some servers quote the arguments twice.
    pub fn parse(text: &str) -> Self {
        if text.trim().is_empty() {
            return Self::Valid(Map::new());
        }
        let value = json_text::parse(text).map(|value| match value {
            Value::String(inner) => json_text::parse(&inner).unwrap_or(Value::String(inner)),
            value => value,
        });
        match value {
            Ok(Value::Object(map)) => Self::Valid(map),
            Ok(Value::Null) => Self::Valid(Map::new()),
            Ok(Value::Array(list)) if list.is_empty() => Self::Valid(Map::new()),
            _ => Self::Invalid(text.to_owned()),
        }
    }
}

/// The reason for which a model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FinishReason {
    /// The answer is complete.
    Stop,
    /// The model wants tools called.
    ToolCalls,
    /// The output limit was reached.
    Length,
    /// The context window was reached.
    ContextWindow,
    /// The provider's filter, or the model itself, refused.
    ContentFilter,
    /// The provider paused a long turn; sending the conversation back continues it.
    Pause,
    /// A reason this version does not know, as the provider spelled it.
    Other(String),
}

impl std::fmt::Display for FinishReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stop => "stop",
            Self::ToolCalls => "tool-calls",
            Self::Length => "length",
            Self::ContextWindow => "context-window",
            Self::ContentFilter => "content-filter",
            Self::Pause => "pause",
            Self::Other(name) => name,
        })
    }
}

/// A piece of an answer as it streams in. `index` distinguishes the parts of one answer; any number will do as long as all
/// deltas of a part share it and no other part does.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Text of part `index` goes on.
    Text { index: u64, text: String },
    /// Readable reasoning of part `index` goes on.
    Thinking { index: u64, text: String },
    /// The signature of reasoning part `index` goes on.
    ThinkingSignature { index: u64, signature: String },
    /// Reasoning part `index` has this provider-made block to be sent back as it is (replaces an earlier one).
    ThinkingOpaque { index: u64, block: Value },
    /// Part `index` is this block of the provider's own (replaces an earlier one).
    Opaque { index: u64, block: Value },
    /// Part `index` is a tool call. Sent again, it assigns (some servers repeat id and name in every chunk).
    ToolCall { index: u64, id: String, name: String },
    /// The JSON text of call `index`'s arguments goes on.
    ToolArguments { index: u64, json: String },
    /// The whole JSON text of call `index`'s arguments, replacing what had streamed.
    ToolArgumentsWhole { index: u64, json: String },
    /// A report on usage; later ones add to it.
    Usage(UsageReport),
    /// The model stopped.
    Finish(FinishReason),
    /// The protocol's end-of-stream mark came: nothing follows, and nothing is missing.
    End,
    /// Something about the request that its owner should know; no part of the answer.
    Warning { message: String },
}

/// The reason for which no answer came. Serialized into the log, so it holds no secret and no unbounded body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct GenerationFailure {
    pub kind: FailureKind,
    /// The provider's own message, or what happened on the way.
    pub message: String,
    /// The HTTP status, when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// True if the same request may succeed later.
    pub is_retryable: bool,
    /// The wait that the provider asked for, in milliseconds.
    #[serde(default, with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl GenerationFailure {
    /// Returns true if the provider may charge an unknown amount for the call: it was at work when the answer
    /// broke off. A request that it refused costs nothing, nor does one that was not sent.
    pub fn may_be_charged(&self) -> bool {
        let was_refused = self.status_code.is_some_and(|status| status >= 400);
        let broke_off = match self.kind {
            FailureKind::Provider | FailureKind::Timeout | FailureKind::Malformed => true,
            // Where nothing can be sent, another try would not help.
            FailureKind::Connection => self.is_retryable,
            _ => false,
        };
        broke_off && !was_refused
    }

    /// Returns true if the failure is of the provider's state, as it is asked now: another model may answer the same
    /// request. A wrong key, a model that is not there and a request that is refused are mistakes to be corrected.
    pub fn is_of_the_provider(&self) -> bool {
        match self.kind {
            // An account without means, or for longer than is waited, is a state, too.
            FailureKind::RateLimit => true,
            FailureKind::Provider | FailureKind::Connection | FailureKind::Timeout | FailureKind::Malformed => {
                self.is_retryable
            }
            FailureKind::Authentication
            | FailureKind::NotFound
            | FailureKind::InvalidRequest
            | FailureKind::ContextOverflow
            | FailureKind::Replay => false,
        }
    }
}

/// The kinds of [`GenerationFailure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailureKind {
    /// The key is missing, wrong or may not do this (401, 403).
    Authentication,
    /// No such model or endpoint (404).
    NotFound,
    /// The request was refused as it is (400, 413, 422).
    InvalidRequest,
    /// The conversation does not fit the model's context window: as the provider reports, or as was estimated before
    /// anything was sent.
    ContextOverflow,
    /// Too many requests or an exhausted quota (429, 402).
    RateLimit,
    /// The provider is overloaded or failed (5xx, 529, an error in mid-stream).
    Provider,
    /// No connection, a connection cut, or a stream that ended too soon.
    Connection,
    /// A time limit passed.
    Timeout,
    /// The reply is not what the protocol defines: HTML, broken SSE, wrong JSON.
    Malformed,
    /// A replayed session has no answer to this request.
    Replay,
}

impl FailureKind {
    /// The error name of events and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authentication => "AuthenticationError",
            Self::NotFound => "NotFoundError",
            Self::InvalidRequest => "InvalidRequestError",
            Self::ContextOverflow => "ContextWindowExceededError",
            Self::RateLimit => "RateLimitError",
            Self::Provider => "ProviderError",
            Self::Connection => "ConnectionError",
            Self::Timeout => "TimeoutError",
            Self::Malformed => "MalformedResponseError",
            Self::Replay => "ReplayMismatchError",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(usage: Option<Usage>, context_tokens: Option<u64>) -> Generation {
        Generation { parts: Vec::new(), finish: FinishReason::Stop, usage, context_tokens }
    }

    #[test]
    fn arguments_whose_meaning_is_clear_are_an_object() {
        for text in ["", " ", "null", "[]", "{}", "\"{}\"", "\"null\""] {
            assert_eq!(Arguments::parse(text), Arguments::Valid(Map::new()), "{text:?}");
        }
        let expected = Map::from_iter([("q".to_owned(), Value::from("a\u{fffd}"))]);
        for text in [r#"{"q": "a\ud83d"}"#, r#""{\"q\": \"a\\ud83d\"}""#] {
            assert_eq!(Arguments::parse(text), Arguments::Valid(expected.clone()), "{text:?}");
        }
        for text in ["7", "[1]", "{\"q", "\"owl\"", "{} {}"] {
            assert_eq!(Arguments::parse(text), Arguments::Invalid(text.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn each_token_is_billed_once_however_the_provider_counts() {
        let anthropic = Usage {
            input_tokens: 5,
            cached_input_tokens: 1000,
            cache_write_input_tokens: 200,
            output_tokens: 30,
            ..Usage::default()
        };
        let openai = Usage { input_tokens: 1205, ..anthropic };
        let billed = BilledTokens { input: 5, cached_input: 1000, cache_write: 200, output: 30 };
        assert_eq!(generation(Some(anthropic), Some(1235)).billed(), Some(billed));
        assert_eq!(generation(Some(openai), Some(1235)).billed(), Some(billed));
    }

    #[test]
    fn what_the_provider_did_not_report_is_not_guessed() {
        let cached = Usage { input_tokens: 9, cached_input_tokens: 3, ..Usage::default() };
        let plain = Usage { input_tokens: 9, output_tokens: 1, ..Usage::default() };
        assert_eq!(generation(None, Some(7)).billed(), None);
        assert_eq!(generation(Some(cached), None).billed(), None);
        let expected = BilledTokens { input: 9, output: 1, ..BilledTokens::default() };
        assert_eq!(generation(Some(plain), None).billed(), Some(expected));
    }
}
