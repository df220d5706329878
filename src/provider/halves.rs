//! [`HalfJoiner`]: joins the two halves of a character that arrive in two pieces of an answer.
//!
//! Some servers cut text at UTF-16 units, so that `\ud83d` ends one chunk and `\ude00` begins the next. `generate` marks
//! such halves in a frame before it is decoded, as [`mark`]s, and passes the deltas through the joiner. A half that stays
//! alone becomes U+FFFD.

use std::borrow::Cow;

use serde_json::Value;

use crate::generation::Delta;
use crate::json_text;
use crate::provider::Frame;

/// The private-use characters that stand for UTF-16 halves between decoding and joining: one for each of the 2048. A text
/// that has such a character of its own is affected only in a frame with an unpaired half.
const FIRST_MARK: u32 = 0x0010_F800;
const FIRST_HALF: u32 = 0xD800;

/// The character that stands for a half.
fn mark(half: u16) -> char {
    char::from_u32(FIRST_MARK - FIRST_HALF + u32::from(half)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The half that a character stands for.
fn marked(character: char) -> Option<u16> {
    let half = u32::from(character).checked_sub(FIRST_MARK)?.checked_add(FIRST_HALF)?;
    u16::try_from(half).ok()
}

/// A frame whose JSON has marks for unpaired halves; `None` for a frame without any, which is nearly every one.
pub(super) fn with_marks(frame: &Frame) -> Option<Frame> {
    match json_text::replace_halves(&frame.data, mark) {
        Cow::Borrowed(_) => None,
        Cow::Owned(data) => Some(Frame { data, ..frame.clone() }),
    }
}

/// Joins marked halves within the deltas of one answer.
#[derive(Debug, Default)]
pub(super) struct HalfJoiner {
    /// The first half at the end of the latest piece, with that piece emptied.
    held: Option<(Delta, u16)>,
}

impl HalfJoiner {
    /// Passes a delta on with its marks resolved. `has_marks`: its frame had any. A half at the end of a piece is held
    /// back until the next piece of the same part, or until another delta shows that there is none.
    pub(super) fn pass(&mut self, mut delta: Delta, has_marks: bool) -> Vec<Delta> {
        let mut passed = Vec::new();
        let mut first = None;
        if let Some((mut part, half)) = self.held.take() {
            if matches!(delta, Delta::Usage { .. }) {
                self.held = Some((part, half));
                return vec![delta];
            }
            if is_same_part(&part, &delta) {
                first = Some(half);
            } else if let Some(text) = piece(&mut part) {
                text.push(char::REPLACEMENT_CHARACTER);
                passed.push(part);
            }
        }
        if !has_marks && first.is_none() {
            passed.push(delta);
            return passed;
        }
        let Some(text) = piece(&mut delta) else {
            passed.push(resolved(delta));
            return passed;
        };
        let (joined, rest) = join(first, text, has_marks);
        *text = String::new();
        let empty = delta.clone();
        if let Some(text) = piece(&mut delta).filter(|_| !joined.is_empty()) {
            *text = joined;
            passed.push(delta);
        }
        self.held = rest.map(|half| (empty, half));
        passed
    }
}

/// `text` after a first half, with marks resolved; and the half that it ends with.
fn join(first: Option<u16>, text: &str, has_marks: bool) -> (String, Option<u16>) {
    let mut joined = String::with_capacity(text.len());
    let mut open = first;
    for character in text.chars() {
        let half = marked(character).filter(|_| has_marks);
        if let Some(high) = open.take() {
            let pair = half.and_then(|low| char::decode_utf16([high, low]).next()?.ok());
            if let Some(whole) = pair {
                joined.push(whole);
                continue;
            }
            joined.push(char::REPLACEMENT_CHARACTER);
        }
        match half {
            None => joined.push(character),
            Some(high) if high < 0xDC00 => open = Some(high),
            Some(_) => joined.push(char::REPLACEMENT_CHARACTER),
        }
    }
    (joined, open)
}

/// `text` with marks resolved, complete in itself.
fn whole(text: &str) -> String {
    let (mut joined, rest) = join(None, text, true);
    joined.extend(rest.map(|_| char::REPLACEMENT_CHARACTER));
    joined
}

/// The text of a delta that goes on with a part.
fn piece(delta: &mut Delta) -> Option<&mut String> {
    match delta {
        Delta::Text { text, .. } | Delta::Thinking { text, .. } => Some(text),
        Delta::ToolArguments { json, .. } => Some(json),
        _ => None,
    }
}

fn is_same_part(one: &Delta, other: &Delta) -> bool {
    match (one, other) {
        (Delta::Text { index, .. }, Delta::Text { index: other, .. })
        | (Delta::Thinking { index, .. }, Delta::Thinking { index: other, .. })
        | (Delta::ToolArguments { index, .. }, Delta::ToolArguments { index: other, .. }) => index == other,
        _ => false,
    }
}

/// A delta that arrives whole, with marks resolved.
fn resolved(delta: Delta) -> Delta {
    match delta {
        Delta::ToolArgumentsWhole { index, json } => Delta::ToolArgumentsWhole { index, json: whole(&json) },
        Delta::ToolCall { index, id, name } => Delta::ToolCall { index, id: whole(&id), name: whole(&name) },
        Delta::Opaque { index, block } => Delta::Opaque { index, block: value(block) },
        Delta::ThinkingOpaque { index, block } => Delta::ThinkingOpaque { index, block: value(block) },
        Delta::ThinkingSignature { index, signature } => {
            Delta::ThinkingSignature { index, signature: whole(&signature) }
        }
        other => other,
    }
}

fn value(json: Value) -> Value {
    match json {
        Value::String(text) => Value::String(whole(&text)),
        Value::Array(items) => items.into_iter().map(value).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, field)| (whole(&key), value(field))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::generation::FinishReason;

    /// The deltas of texts in JSON, each a piece of part 0.
    fn passed(pieces: &[&str]) -> Vec<Delta> {
        let mut joiner = HalfJoiner::default();
        let mut all = Vec::new();
        for json in pieces {
            let frame = Frame::event(None, (*json).to_owned());
            let marked = with_marks(&frame);
            let text: String = serde_json::from_str(&marked.as_ref().unwrap_or(&frame).data).unwrap();
            all.extend(joiner.pass(Delta::Text { index: 0, text }, marked.is_some()));
        }
        all.extend(joiner.pass(Delta::Finish(FinishReason::Stop), false));
        all
    }

    fn texts(pieces: &[&str]) -> String {
        let text = |delta: Delta| if let Delta::Text { text, .. } = delta { text } else { String::new() };
        passed(pieces).into_iter().map(text).collect()
    }

    #[test]
    fn halves_in_two_pieces_are_joined_and_a_half_alone_is_replaced() {
        let cases: [(&[&str], &str); 7] = [
            (&[r#""Hi \ud83d""#, r#""\ude00 there""#], "Hi 😀 there"),
            (&[r#""\ud83d""#, r#""\ude00\ud83d""#, r#""\ude00""#], "😀😀"),
            (&[r#""a\ud83d""#, r#"" b""#], "a\u{fffd} b"),
            (&[r#""a\ud83d""#], "a\u{fffd}"),
            (&[r#""\ude00\ud83d""#, r#""\ud83d""#, r#""\ude00""#], "\u{fffd}\u{fffd}😀"),
            // A private-use character of the model's own stays where no half is near.
            (&["\"\u{10f83d}\""], "\u{10f83d}"),
            (&[r#""\ud83d\ude00 whole""#], "😀 whole"),
        ];
        for (pieces, expected) in cases {
            assert_eq!(texts(pieces), expected, "{pieces:?}");
        }
    }

    #[test]
    fn a_half_waits_for_its_own_part_only() {
        let mut joiner = HalfJoiner::default();
        let text = |index, text: &str| Delta::Text { index, text: text.to_owned() };
        assert_eq!(joiner.pass(text(0, &mark(0xD83D).to_string()), true), []);
        assert_eq!(joiner.pass(text(1, "b"), false), [text(0, "\u{fffd}"), text(1, "b")]);
    }

    #[test]
    fn whole_values_are_mended_in_place() {
        let mut joiner = HalfJoiner::default();
        let block = json!({"a": [mark(0xDE00).to_string()]});
        let expected = Delta::Opaque { index: 0, block: json!({"a": ["\u{fffd}"]}) };
        assert_eq!(joiner.pass(Delta::Opaque { index: 0, block }, true), [expected]);
    }
}
