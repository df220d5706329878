//! [`Assembler`]: folds deltas into one [`Generation`].
//!
//! Driven by `generate`, which reads the bytes, keeps the time and decides when an answer is over.

use indexmap::IndexMap;
use serde_json::Value;

use crate::content::{Opaque, Thinking};
use crate::generation::{Arguments, Delta, FailureKind, FinishReason, GeneratedPart, Generation, GenerationFailure};
use crate::usage::UsageReport;

use crate::provider::failure;

/// An answer under construction.
#[derive(Debug)]
pub struct Assembler {
    protocol: &'static str,
    /// In order of first appearance.
    parts: IndexMap<PartKey, Part>,
    usage: UsageReport,
    finish: Option<FinishReason>,
    ended: bool,
}

/// Deltas of one kind and index make one part; a server that mixes kinds under one index gets two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum PartKey {
    Text(u64),
    Thinking(u64),
    Opaque(u64),
    Call(u64),
}

#[derive(Debug, Default)]
struct Part {
    /// Text, readable reasoning, or the JSON of a call's arguments.
    text: String,
    signature: String,
    opaque: Option<Value>,
    id: String,
    name: String,
}

impl Assembler {
    /// Returns an empty answer; `protocol` is the [`crate::provider::Protocol::name`] that thinking parts are marked
    /// with.
    pub fn new(protocol: &'static str) -> Self {
        Self { protocol, parts: IndexMap::new(), usage: UsageReport::default(), finish: None, ended: false }
    }

    /// Adds the next delta.
    pub fn push(&mut self, delta: Delta) {
        match delta {
            Delta::Text { index, text } => self.part(PartKey::Text(index)).text.push_str(&text),
            Delta::Thinking { index, text } => self.part(PartKey::Thinking(index)).text.push_str(&text),
            Delta::ThinkingSignature { index, signature } => {
                self.part(PartKey::Thinking(index)).signature.push_str(&signature);
            }
            Delta::ThinkingOpaque { index, block } => self.part(PartKey::Thinking(index)).opaque = Some(block),
            Delta::Opaque { index, block } => self.part(PartKey::Opaque(index)).opaque = Some(block),
            Delta::ToolCall { index, id, name } => {
                let part = self.part(PartKey::Call(index));
                part.id = id;
                part.name = name;
            }
            Delta::ToolArguments { index, json } => self.part(PartKey::Call(index)).text.push_str(&json),
            Delta::ToolArgumentsWhole { index, json } => self.part(PartKey::Call(index)).text = json,
            Delta::Usage(report) => self.usage.merge(report),
            // Some servers end once more, for their usage. What was cut off stays so.
            Delta::Finish(FinishReason::Stop) if self.is_cut() => {}
            Delta::Finish(reason) => self.finish = Some(reason),
            Delta::End => self.ended = true,
            Delta::Warning { .. } => {}
        }
    }

    /// Returns true after the end-of-stream mark: nothing follows.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns true once the model's reason to stop is known: what may follow (usage, the end mark) changes no part.
    pub fn has_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// The whole answer.
    ///
    /// # Errors
    /// A retryable failure when the stream was cut (no reason to stop and no end mark, or an end mark and nothing else), or
    /// when a call has no name.
    pub fn finish(self) -> Result<Generation, GenerationFailure> {
        let (protocol, ended) = (self.protocol, self.ended);
        let parts: Vec<GeneratedPart> =
            self.parts.into_iter().filter_map(|(key, part)| part.finish(key, protocol)).collect();
        let has_calls = parts.iter().any(|part| matches!(part, GeneratedPart::ToolCall { .. }));
        let finish = match self.finish {
            Some(FinishReason::Other(reason)) if is_broken_off(&reason) => {
                return Err(too_soon(&format!("the provider broke the answer off: it ended with {reason:?}")));
            }
            Some(reason) => reason,
            None if !ended => return Err(too_soon("the stream ended too soon: the answer has no end")),
            None if parts.is_empty() => return Err(too_soon("the stream ended too soon: the answer is empty")),
            None => FinishReason::Stop,
        };
        // Some servers send "stop" although the answer has calls.
        let finish = if has_calls && finish == FinishReason::Stop { FinishReason::ToolCalls } else { finish };
        if parts.iter().any(|part| matches!(part, GeneratedPart::ToolCall { name, .. } if name.is_empty())) {
            return Err(failure::retryable(FailureKind::Malformed, "the answer has a tool call without a name"));
        }
        let (usage, context_tokens) = self.usage.resolve(!parts.is_empty()).unzip();
        Ok(Generation { parts, finish, usage, context_tokens })
    }

    fn is_cut(&self) -> bool {
        use FinishReason::{ContentFilter, ContextWindow, Length};
        matches!(self.finish, Some(Length | ContentFilter | ContextWindow))
    }

    fn part(&mut self, key: PartKey) -> &mut Part {
        self.parts.entry(key).or_default()
    }
}

impl Part {
    /// `None` for an empty part: providers refuse empty text when it is sent back.
    fn finish(self, key: PartKey, protocol: &str) -> Option<GeneratedPart> {
        match key {
            PartKey::Text(_) if self.text.is_empty() => None,
            PartKey::Text(_) => Some(GeneratedPart::Text { text: self.text }),
            PartKey::Thinking(_) if self.text.is_empty() && self.signature.is_empty() && self.opaque.is_none() => None,
            PartKey::Thinking(_) => Some(GeneratedPart::Thinking {
                thinking: Thinking {
                    thinking: self.text,
                    signature: Some(self.signature).filter(|signature| !signature.is_empty()),
                    protocol: Some(protocol.to_owned()),
                    made_by: None,
                    opaque: self.opaque,
                },
            }),
            PartKey::Opaque(_) => {
                let of_protocol = |block| Opaque { protocol: protocol.to_owned(), block };
                self.opaque.map(|block| GeneratedPart::Opaque { opaque: of_protocol(block) })
            }
            PartKey::Call(_) => {
                Some(GeneratedPart::ToolCall { id: self.id, name: self.name, arguments: Arguments::parse(&self.text) })
            }
        }
    }
}

/// Returns true if an answer that ended with this reason is only a part of one, by a fault that passes. The engines
/// `vLLM` and `SGLang` end with `abort` what they drop, gateways with `error` what their upstream did not finish, `Z.ai`
/// with `network_error`.
fn is_broken_off(reason: &str) -> bool {
    const REASONS: [&str; 9] =
        ["abort", "aborted", "cancelled", "canceled", "engine_error", "error", "failed", "network_error", "timeout"];
    REASONS.iter().any(|known| known.eq_ignore_ascii_case(reason))
}

fn too_soon(message: &str) -> GenerationFailure {
    failure::retryable(FailureKind::Connection, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn assemble(deltas: impl IntoIterator<Item = Delta>) -> Result<Generation, GenerationFailure> {
        let mut assembler = Assembler::new("test-protocol");
        for delta in deltas {
            assembler.push(delta);
        }
        assembler.finish()
    }

    fn text(index: u64, text: &str) -> Delta {
        Delta::Text { index, text: text.to_owned() }
    }

    fn call(index: u64, id: &str, name: &str) -> Delta {
        Delta::ToolCall { index, id: id.to_owned(), name: name.to_owned() }
    }

    fn arguments(index: u64, json: &str) -> Delta {
        Delta::ToolArguments { index, json: json.to_owned() }
    }

    fn generation(parts: Vec<GeneratedPart>, finish: FinishReason) -> Generation {
        Generation { parts, finish, usage: None, context_tokens: None }
    }

    fn object(value: &Value) -> Arguments {
        Arguments::parse(&value.to_string())
    }

    #[test]
    fn an_answer_that_was_cut_stays_so_when_its_end_comes_twice() {
        use FinishReason::{ContentFilter, Length, Stop};
        let finish = |reasons: &[FinishReason]| {
            let reasons = reasons.iter().cloned().map(Delta::Finish);
            assemble([text(0, "a")].into_iter().chain(reasons)).map(|answer| answer.finish)
        };
        assert_eq!(finish(&[Length, Stop]), Ok(Length));
        assert_eq!(finish(&[ContentFilter, Stop, Stop]), Ok(ContentFilter));
        assert_eq!(finish(&[Stop, Length]), Ok(Length));
        assert_eq!(finish(&[Stop, Stop]), Ok(Stop));
    }

    #[test]
    fn parts_stand_in_order_of_first_appearance_and_empty_ones_are_dropped() {
        let answer = assemble([
            Delta::Thinking { index: 9, text: "hm".to_owned() },
            text(4, ""),
            call(7, "c1", "search"),
            text(1, "a"),
            Delta::ThinkingSignature { index: 9, signature: "si".to_owned() },
            arguments(7, "{\"q\":"),
            text(1, "b"),
            Delta::ThinkingSignature { index: 9, signature: "g".to_owned() },
            arguments(7, "1}"),
            Delta::Thinking { index: 3, text: String::new() },
            Delta::ThinkingSignature { index: 3, signature: String::new() },
            Delta::Finish(FinishReason::ToolCalls),
        ]);
        let thinking = Thinking {
            thinking: "hm".to_owned(),
            signature: Some("sig".to_owned()),
            protocol: Some("test-protocol".to_owned()),
            made_by: None,
            opaque: None,
        };
        let expected = vec![
            GeneratedPart::Thinking { thinking },
            GeneratedPart::ToolCall {
                id: "c1".to_owned(),
                name: "search".to_owned(),
                arguments: object(&json!({ "q": 1 })),
            },
            GeneratedPart::Text { text: "ab".to_owned() },
        ];
        assert_eq!(answer, Ok(generation(expected, FinishReason::ToolCalls)));
    }

    #[test]
    fn a_providers_own_block_keeps_its_place_and_its_last_value() {
        let answer = assemble([
            Delta::Opaque { index: 0, block: json!({"status": "running"}) },
            text(0, "Found."),
            Delta::Opaque { index: 0, block: json!({"status": "done"}) },
            Delta::Finish(FinishReason::Stop),
        ]);
        let opaque = Opaque { protocol: "test-protocol".to_owned(), block: json!({"status": "done"}) };
        let expected = vec![GeneratedPart::Opaque { opaque }, GeneratedPart::Text { text: "Found.".to_owned() }];
        assert_eq!(answer, Ok(generation(expected, FinishReason::Stop)));
    }

    #[test]
    fn a_repeated_call_assigns_and_whole_arguments_replace() {
        let answer = assemble([
            call(0, "c1", "search"),
            arguments(0, "{\"q\""),
            call(0, "c1", "search"),
            Delta::ToolArgumentsWhole { index: 0, json: "{\"q\":2}".to_owned() },
            Delta::Finish(FinishReason::Stop),
        ]);
        let expected = GeneratedPart::ToolCall {
            id: "c1".to_owned(),
            name: "search".to_owned(),
            arguments: object(&json!({ "q": 2 })),
        };
        assert_eq!(answer, Ok(generation(vec![expected], FinishReason::ToolCalls)));
    }

    #[test]
    fn arguments_that_were_cut_off_are_kept_as_text_and_the_length_stays_the_reason() {
        let answer = assemble([call(0, "c1", "search"), arguments(0, "{\"q"), Delta::Finish(FinishReason::Length)]);
        let expected = GeneratedPart::ToolCall {
            id: "c1".to_owned(),
            name: "search".to_owned(),
            arguments: Arguments::Invalid("{\"q".to_owned()),
        };
        assert_eq!(answer, Ok(generation(vec![expected], FinishReason::Length)));
    }

    #[test]
    fn reports_of_usage_add_up_and_one_that_contradicts_the_answer_is_unknown() {
        let report = |input, output| UsageReport { input: Some(input), output: Some(output), ..UsageReport::default() };
        let used = |reports: &[UsageReport]| {
            let reports = reports.iter().map(|report| Delta::Usage(*report));
            let deltas = [text(0, "Owls.")].into_iter().chain(reports).chain([Delta::Finish(FinishReason::Stop)]);
            let generation = assemble(deltas).unwrap();
            (generation.usage.map(|usage| usage.total_tokens), generation.context_tokens)
        };
        assert_eq!(used(&[report(9, 1), report(0, 6)]), (Some(15), Some(15)));
        assert_eq!(used(&[report(9, 0)]), (None, None));
        assert_eq!(used(&[]), (None, None));
    }

    #[test]
    fn what_has_neither_reason_nor_end_is_cut_off() {
        for deltas in [vec![text(0, "half")], vec![call(0, "c1", "search")], Vec::new()] {
            let failure = assemble(deltas).unwrap_err();
            assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Connection, true));
        }
    }

    #[test]
    fn what_was_broken_off_is_cut_off_and_any_other_reason_is_not() {
        let ended = |reason: &str| assemble([text(0, "half"), Delta::Finish(FinishReason::Other(reason.to_owned()))]);
        for reason in ["abort", "error", "ERROR", "network_error"] {
            let failure = ended(reason).unwrap_err();
            assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Connection, true), "{reason}");
            assert!(failure.message.contains(reason), "{failure}");
        }
        assert!(ended("recitation").is_ok());
    }

    #[test]
    fn an_end_mark_makes_up_for_a_missing_reason_unless_nothing_came() {
        let parts = vec![GeneratedPart::Text { text: "done".to_owned() }];
        assert_eq!(assemble([text(0, "done"), Delta::End]), Ok(generation(parts, FinishReason::Stop)));
        let failure = assemble([text(0, ""), Delta::End]).unwrap_err();
        assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Connection, true));
    }

    #[test]
    fn an_empty_answer_with_a_reason_is_an_answer() {
        assert_eq!(
            assemble([Delta::Finish(FinishReason::ContentFilter), Delta::End]),
            Ok(generation(Vec::new(), FinishReason::ContentFilter))
        );
    }

    #[test]
    fn a_call_without_a_name_is_a_failure_that_can_pass() {
        let failure = assemble([arguments(0, "{}"), Delta::Finish(FinishReason::ToolCalls)]).unwrap_err();
        assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Malformed, true));
    }

    proptest! {
        #[test]
        fn any_split_of_the_texts_gives_the_same_answer(
            texts in prop::collection::vec((0_u64..3, "[a-c{}é🦉]{1,12}"), 1..6),
        ) {
            let whole: Vec<Delta> = texts
                .iter()
                .flat_map(|(index, piece)| [text(*index, piece), arguments(*index, piece)])
                .collect();
            let split: Vec<Delta> = texts
                .iter()
                .flat_map(|(index, piece)| {
                    let pieces = piece.chars().map(|c| text(*index, &c.to_string()));
                    pieces.chain(piece.chars().map(|c| arguments(*index, &c.to_string()))).collect::<Vec<_>>()
                })
                .collect();
            let named = |deltas: Vec<Delta>| {
                assemble((0..3).map(|i| call(i, "c", "t")).chain(deltas).chain([Delta::End]))
            };
            prop_assert_eq!(named(whole), named(split));
        }
    }
}
