//! [`ContentLayout`]: the order and signatures of an answer's parts, which Google wants back and messages have no place
//! for.
//!
//! Written by `decode`, read by `contents`.
//!
//! A message keeps thinking, text and calls, in this order. Gemini mixes them, signs single ones (`thoughtSignature`)
//! and adds parts of its own (code that it ran, searches). The layout is stored as an opaque thinking block beside the
//! parts and points at them, so that nothing is stored twice: a slice of the texts by its length, a call by its tool's
//! name.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The parts of one answer, in their order. JSON: `{"parts":[{"text":11,"thoughtSignature":"…"}, …]}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ContentLayout {
    pub(super) parts: Vec<Placed>,
}

/// One part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Placed {
    #[serde(flatten)]
    pub(super) part: LayoutPart,
    #[serde(rename = "thoughtSignature", default, skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<String>,
}

/// The content of a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum LayoutPart {
    /// The next so many bytes (UTF-8) of the thoughts.
    Thought(usize),
    /// The next so many bytes (UTF-8) of the texts.
    Text(usize),
    /// The next call of this tool.
    Call {
        name: String,
        /// The call's id, when Google gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// A part of Google's own, unchanged.
    Part(Value),
}

impl ContentLayout {
    /// Adds a part. Adjacent slices of one kind without signatures are joined: they only arrived in pieces.
    pub(super) fn push(&mut self, part: LayoutPart, signature: Option<String>) {
        let last = self.parts.last_mut().filter(|last| last.signature.is_none() && signature.is_none());
        match (last.map(|last| &mut last.part), &part) {
            (Some(LayoutPart::Text(length)), LayoutPart::Text(more))
            | (Some(LayoutPart::Thought(length)), LayoutPart::Thought(more)) => {
                *length = length.saturating_add(*more);
            }
            _ => self.parts.push(Placed { part, signature }),
        }
    }

    /// Returns true when the layout has more than a message keeps by itself.
    pub(super) fn is_needed(&self) -> bool {
        let has_more = |placed: &Placed| {
            let is_own = matches!(placed.part, LayoutPart::Part(_) | LayoutPart::Call { id: Some(_), .. });
            is_own || placed.signature.is_some()
        };
        self.parts.iter().any(has_more) || !self.parts.is_sorted_by_key(|placed| placed.part.rank())
    }

    /// The stored form.
    pub(super) fn to_block(&self) -> Option<Value> {
        serde_json::to_value(self).ok()
    }

    /// Reads a stored block; `None` for anything else.
    pub(super) fn from_block(block: &Value) -> Option<Self> {
        Self::deserialize(block).ok()
    }

    /// Returns true when the slices cover these thoughts and texts, cut at characters.
    pub(super) fn covers(&self, thoughts: &str, texts: &str) -> bool {
        let (mut thought_end, mut text_end) = (0_usize, 0_usize);
        let is_within = self.parts.iter().all(|placed| {
            let (end, length, whole) = match &placed.part {
                LayoutPart::Thought(length) => (&mut thought_end, *length, thoughts),
                LayoutPart::Text(length) => (&mut text_end, *length, texts),
                LayoutPart::Call { .. } | LayoutPart::Part(_) => return true,
            };
            *end = end.saturating_add(length);
            whole.is_char_boundary(*end)
        });
        is_within && thought_end == thoughts.len() && text_end == texts.len()
    }
}

impl LayoutPart {
    /// The order of kinds in a message.
    fn rank(&self) -> u8 {
        match self {
            Self::Thought(_) => 0,
            Self::Text(_) => 1,
            Self::Call { .. } | Self::Part(_) => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn layout(parts: impl IntoIterator<Item = (LayoutPart, Option<&'static str>)>) -> ContentLayout {
        let mut layout = ContentLayout::default();
        for (what, signature) in parts {
            layout.push(what, signature.map(str::to_owned));
        }
        layout
    }

    fn call(id: Option<&str>) -> LayoutPart {
        LayoutPart::Call { name: "search".into(), id: id.map(str::to_owned) }
    }

    #[test]
    fn the_stored_form_is_read_back() {
        let layout = layout([
            (LayoutPart::Thought(3), None),
            (LayoutPart::Thought(4), None),
            (LayoutPart::Text(5), Some("s1")),
            (LayoutPart::Text(6), None),
            (LayoutPart::Part(json!({"executableCode": {"code": "1"}})), None),
            (call(Some("c1")), Some("s2")),
            (call(None), None),
        ]);
        let block = json!({"parts": [
            {"thought": 7},
            {"text": 5, "thoughtSignature": "s1"},
            {"text": 6},
            {"part": {"executableCode": {"code": "1"}}},
            {"call": {"name": "search", "id": "c1"}, "thoughtSignature": "s2"},
            {"call": {"name": "search"}},
        ]});
        assert_eq!(layout.to_block(), Some(block.clone()));
        assert_eq!(ContentLayout::from_block(&block), Some(layout));
        assert_eq!(ContentLayout::from_block(&json!({"type": "reasoning"})), None);
    }

    #[test]
    fn it_covers_only_the_texts_it_was_made_of() {
        let layout =
            layout([(LayoutPart::Text(2), None), (LayoutPart::Thought(3), None), (LayoutPart::Text(2), Some("s"))]);
        assert!(layout.covers("abc", "éé"));
        assert!(layout.covers("abc", "éab"));
        assert!(!layout.covers("abc", "aéb"));
        assert!(!layout.covers("abc", "é"));
        assert!(!layout.covers("", "éé"));
        let endless =
            ContentLayout::from_block(&json!({"parts": [{"text": usize::MAX}, {"text": usize::MAX}]})).unwrap();
        assert!(!endless.covers("", "éé"));
    }

    #[test]
    fn it_is_needed_for_signatures_ids_own_parts_and_another_order() {
        let text = || (LayoutPart::Text(1), None);
        assert!(!layout([(LayoutPart::Thought(1), None), text(), (call(None), None)]).is_needed());
        assert!(layout([(LayoutPart::Text(0), Some("s"))]).is_needed());
        assert!(layout([(call(Some("c")), None)]).is_needed());
        assert!(layout([(LayoutPart::Part(json!({})), None)]).is_needed());
        assert!(layout([text(), (LayoutPart::Thought(1), None)]).is_needed());
    }
}
