//! A bound of the tokens that a request may have, before it is sent: never fewer than the provider will count.
//!
//! The tokens that an answer's usage reported are taken as they are; only what came after it is counted here, by bytes.

use serde_json::{Map, Value};

use crate::checkpoint::MeasuredTokens;
use crate::content::{Content, Thinking};
use crate::message::Message;
use crate::token_estimate::TokenWeights;
use crate::tool::ToolSpec;

/// Tokens that a provider adds when there are tools: its own instruction for them. Anthropic lists up to 530
/// ("Tool use", pricing).
const TOOLS_INSTRUCTION: u64 = 600;
/// Tokens of one image. The most that any model known here counts is 4784, of Claude Opus 4.7 ("Vision").
const IMAGE: u64 = 5000;
/// Tokens of a PDF page, as text and as image: 3000 and 1600 (Anthropic, "PDF support").
const PDF_PAGE: u64 = 4600;
/// Most pages of a PDF that a request may have (Anthropic, "PDF support").
const PDF_PAGES: u64 = 100;

/// The tokens of the conversation up to one of its messages, as the provider reported them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownPrompt {
    tokens: u64,
    /// Messages before the answer that reported it, or with it.
    messages: usize,
    /// The tools may have been others then.
    other_tools: bool,
}

impl KnownPrompt {
    /// As an answer behind this many messages reports it.
    pub fn new(tokens: u64, messages: usize) -> Self {
        Self { tokens, messages, other_tools: false }
    }

    /// As a checkpoint holds it. Its last message may or may not be the answer that reported it, so it counts again
    /// unless it is one.
    pub fn from_checkpoint(measured: MeasuredTokens) -> Self {
        Self { tokens: measured.tokens, messages: measured.messages.saturating_sub(1), other_tools: true }
    }

    /// The next request may have other tools than the one that was counted.
    pub fn tools_changed(&mut self) {
        self.other_tools = true;
    }
}

/// The bounds of a conversation's messages and of the tools beside them, each counted once. Its owner begins with new ones
/// when earlier messages change.
#[derive(Debug, Default)]
pub struct PromptBounds {
    /// For each message, the sum of those up to it.
    sums: Vec<u64>,
    /// Of the tools; `None` while they are not counted.
    tools: Option<u64>,
}

impl PromptBounds {
    /// Counts the tools anew at the next request.
    pub fn tools_changed(&mut self) {
        self.tools = None;
    }

    /// The most tokens that a request's prompt can have, of which `known` was counted by the provider.
    pub(super) fn prompt(&mut self, known: Option<&KnownPrompt>, messages: &[Message], tools: &[ToolSpec]) -> u64 {
        let KnownPrompt { tokens, messages: from, other_tools } =
            known.copied().unwrap_or(KnownPrompt { tokens: 0, messages: 0, other_tools: true });
        // The answer that reported is counted in what it reported.
        let answer = matches!(messages.get(from), Some(Message::ExpertMessage { .. }));
        let bound = tokens.saturating_add(self.since(from.saturating_add(usize::from(answer)), messages));
        if !other_tools {
            return bound;
        }
        bound.saturating_add(*self.tools.get_or_insert_with(|| tools_tokens(tools)))
    }

    /// The bound of the messages behind the first `from`.
    fn since(&mut self, from: usize, messages: &[Message]) -> u64 {
        for message in messages.get(self.sums.len()..).unwrap_or_default() {
            let sum = self.sums.last().copied().unwrap_or(0);
            self.sums.push(sum.saturating_add(AtMost::message(message)));
        }
        let up_to = |count: usize| count.checked_sub(1).and_then(|at| self.sums.get(at)).copied().unwrap_or(0);
        up_to(messages.len()).saturating_sub(up_to(from.min(messages.len())))
    }
}

/// The most tokens that these messages can have as a prompt of their own, without tools.
pub fn messages_bound(messages: &[Message]) -> u64 {
    messages.iter().map(AtMost::message).fold(0, u64::saturating_add)
}

/// The most tokens that a text can be expected to have: digits may be a token each, of other text two bytes are one.
/// English has about four bytes a token, Chinese and Japanese about two and a half, base64 about two.
pub fn text_tokens(text: &str) -> u64 {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let rest = text.len().saturating_sub(digits);
    u64::try_from(digits.saturating_add(rest.div_ceil(2))).unwrap_or(u64::MAX)
}

fn tools_tokens(tools: &[ToolSpec]) -> u64 {
    if tools.is_empty() {
        return 0;
    }
    tools.iter().map(AtMost::tool).fold(TOOLS_INSTRUCTION, u64::saturating_add)
}

/// As many tokens as any provider counts.
struct AtMost;

impl TokenWeights for AtMost {
    /// OpenAI's cookbook counts 3 to 4 for a message; the rest is room for other providers.
    const FRAME: u64 = 16;
    const RESULT_FRAME: u64 = 16;

    fn text(text: &str) -> u64 {
        text_tokens(text)
    }

    fn call_id(id: &str) -> u64 {
        text_tokens(id)
    }

    /// With what a provider hides in it.
    fn thinking(thinking: &Thinking) -> u64 {
        text_tokens(&serde_json::to_string(thinking).unwrap_or_default())
    }

    fn file(content: &Content) -> u64 {
        match content {
            Content::TextPart { text, .. } => text_tokens(text),
            Content::ImageUrlPart { .. } | Content::ImageInlinePart { .. } | Content::ImageBinaryPart { .. } => IMAGE,
            Content::FileUrlPart { url, mime_type, .. } => {
                file_tokens(mime_type, PDF_PAGE * PDF_PAGES, text_tokens(url))
            }
            Content::FileInlinePart { encoded_data: data, mime_type, .. }
            | Content::FileBinaryPart { data, mime_type, .. } => {
                // A page has at least some bytes: a short file has few pages.
                let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
                file_tokens(mime_type, (PDF_PAGE * PDF_PAGES).min(bytes.saturating_add(PDF_PAGE)), bytes)
            }
        }
    }

    fn schema(schema: &Map<String, Value>) -> u64 {
        text_tokens(&serde_json::to_string(schema).unwrap_or_default())
    }
}

fn file_tokens(mime_type: &str, pdf: u64, other: u64) -> u64 {
    match mime_type {
        "application/pdf" => pdf,
        _ if mime_type.starts_with("image/") => IMAGE,
        _ => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_counts_by_its_bytes_and_digits_each() {
        assert_eq!(text_tokens(""), 0);
        assert_eq!(text_tokens("owls"), 2);
        assert_eq!(text_tokens("1234"), 4);
        assert_eq!(text_tokens("梟"), 2);
        assert_eq!(text_tokens("a 1"), 2);
    }

    #[test]
    fn only_what_came_after_the_count_of_the_provider_is_counted_here_and_once() {
        let user =
            |text: &str| Message::UserMessage { id: String::new(), contents: vec![Content::text(text)], cache: false };
        let expert = || Message::ExpertMessage { id: String::new(), contents: Vec::new(), cache: false };
        let tool = ToolSpec {
            skill_name: "s".to_owned(),
            name: "read".to_owned(),
            description: None,
            input_schema: std::sync::Arc::default(),
            kind: crate::tool::ToolKind::Mcp,
            hints: crate::tool::ToolHints::default(),
        };
        let tools = [tool];
        let messages = [user("owls"), expert(), user("and 7 ibises"), user("")];
        let mut bounds = PromptBounds::default();
        let whole = bounds.prompt(None, &messages[..1], &tools);
        assert_eq!(whole, messages_bound(&messages[..1]) + tools_tokens(&tools));
        for (known, new) in [
            (KnownPrompt::new(100, 1), &messages[2..]),
            (KnownPrompt::new(100, 0), &messages[..]),
            (KnownPrompt::new(100, 3), &messages[3..]),
            (KnownPrompt::new(100, 9), &[]),
        ] {
            assert_eq!(bounds.prompt(Some(&known), &messages, &tools), 100 + messages_bound(new), "{known:?}");
        }
        let mut known = KnownPrompt::new(100, 3);
        known.tools_changed();
        bounds.tools_changed();
        assert_eq!(bounds.prompt(Some(&known), &messages, &[]), 100 + messages_bound(&messages[3..]));
    }

    #[test]
    fn files_count_by_their_kind() {
        let file = |data: &str, mime_type: &str| {
            AtMost::content(&Content::FileInlinePart {
                id: String::new(),
                encoded_data: data.to_owned(),
                mime_type: mime_type.to_owned(),
            })
        };
        assert_eq!(file("aGk=", "image/png"), AtMost::FRAME + IMAGE);
        assert_eq!(file("aGk=", "application/pdf"), AtMost::FRAME + PDF_PAGE + 4);
        assert_eq!(file(&"a".repeat(10_000_000), "application/pdf"), AtMost::FRAME + PDF_PAGE * PDF_PAGES);
        assert_eq!(file("aGk=", "text/plain"), AtMost::FRAME + 4);
    }
}
