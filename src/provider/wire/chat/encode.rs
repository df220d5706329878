//! [`ChatEncoder`]: requests to Chat Completions bodies.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::NAME;
use super::attached;
use super::dialect::{Dialect, SentReasoning};
use crate::content::{Content, ExpertPart, ResultPart};
use crate::generation::GenerateRequest;
use crate::message::Message;
use crate::provider::call_ids::CallIds;
use crate::provider::tool_names;
use crate::provider::wire::body_text::BodyText;
use crate::provider::wire::media::{Media, MediaLimits};
use crate::provider::wire::settled_text::{Edit, SettledText, json};
use crate::provider::wire::text_message;
use crate::provider::{EncodedRequest, Encoder};

/// The note in a result in place of an image or a file: tool messages are text.
const MOVED_NOTE: &str = "[an image or a file of this result is in the next user message]";

/// The fields of an answer before its reasoning: role and content.
const BEFORE_REASONING: usize = 2;

/// Writes the requests of one conversation. Of equal requests the bodies are equal byte for byte. Two requests of one
/// turn begin alike, as prompt caching needs it. Every message is settled at once, but for the reasoning of the turn
/// under way.
pub(super) struct ChatEncoder {
    dialect: Dialect,
    ids: CallIds,
    sent: SentReasoning,
    /// The list of tools; `None` without any.
    tools: Option<Bytes>,
    messages: SettledText,
    turn: OpenTurn,
}

/// The turn under way, which is what follows a message of the user.
#[derive(Default)]
struct OpenTurn {
    has_calls: bool,
    /// The removal of each reasoning when the turn ends, or its insertion when the turn has calls.
    edits: Vec<Edit>,
}

impl ChatEncoder {
    pub(super) fn new(request: &GenerateRequest<'_>, dialect: Dialect) -> Self {
        let tools = request.tools.iter().map(|spec| text_message::function(spec, &tool_names::short(&spec.name)));
        let tools: Vec<Value> = tools.collect();
        Self {
            dialect,
            ids: CallIds::for_model(request.model),
            sent: dialect.reasoning(request),
            tools: (!tools.is_empty()).then(|| json(&tools).into()),
            messages: SettledText::default(),
            turn: OpenTurn::default(),
        }
    }

    fn add_answer(&mut self, contents: &[ExpertPart], has_calls: bool) {
        if has_calls && !self.turn.has_calls {
            self.turn.has_calls = true;
            if self.sent == SentReasoning::OfTurnsWithCalls {
                self.messages.edit(std::mem::take(&mut self.turn.edits));
            }
        }
        let Some((message, reasoning)) = assistant(contents, self.dialect, self.ids) else { return };
        let field = ("reasoning_content", reasoning.as_str());
        match self.sent {
            SentReasoning::OfThisTurn if has_calls && !reasoning.is_empty() => {
                self.turn.edits.push(self.messages.push_object(&message, BEFORE_REASONING, field));
            }
            SentReasoning::OfTurnsWithCalls if self.turn.has_calls => {
                self.messages.push_object(&message, BEFORE_REASONING, field);
            }
            SentReasoning::OfTurnsWithCalls => {
                self.turn.edits.push(self.messages.push_object_without(&message, BEFORE_REASONING, field));
            }
            SentReasoning::OfThisTurn | SentReasoning::Never => self.messages.push_items(&[Value::Object(message)]),
        }
    }
}

impl Encoder for ChatEncoder {
    fn add(&mut self, message: &Message) {
        match message {
            Message::InstructionMessage { contents, .. } => {
                self.messages.push_items(&[text_message::instruction(contents)]);
            }
            Message::UserMessage { contents, .. } => {
                let ended = std::mem::take(&mut self.turn);
                if self.sent == SentReasoning::OfThisTurn {
                    self.messages.edit(ended.edits);
                }
                let parts = contents.iter().map(|content| sendable(content, self.dialect)).collect();
                let item = user_content(parts).map(|content| json!({"role": "user", "content": content}));
                self.messages.push_items(item.as_slice());
            }
            Message::ExpertMessage { contents, .. } => self.add_answer(contents, message.call_ids().next().is_some()),
            Message::ToolMessage { contents, .. } => {
                let mut items = Vec::new();
                results(contents, self.dialect, self.ids, &mut items);
                self.messages.push_items(&items);
            }
        }
    }

    fn request(&self, request: &GenerateRequest<'_>) -> EncodedRequest {
        let mut body = BodyText::new();
        body.field("model", request.model);
        body.field("stream", &true);
        // Without it most servers send no usage at all.
        body.field("stream_options", &json!({"include_usage": true}));
        if let Some(limit) = request.max_output_tokens {
            body.field(self.dialect.name_of_limit(request.model), &limit);
        }
        body.fields(&self.dialect.fields(request));
        if let Some(tools) = &self.tools {
            body.shared("tools", tools);
            // The word, not the object form, which some servers ignore.
            body.field("tool_choice", "auto");
        }
        body.list("messages", &self.messages);
        EncodedRequest { path: "/chat/completions".to_owned(), headers: Vec::new(), body: body.finish() }
    }
}

/// A part, or a note in its place where the server does not take it.
fn sendable(content: &Content, dialect: Dialect) -> Media<'_> {
    match Media::from_content(content, MediaLimits::USUAL) {
        Media::Image { mime_type, .. } if !dialect.takes_images() => {
            Media::Text(format!("[an image ({mime_type}) was left out: only text can be sent to this model]").into())
        }
        Media::ImageUrl(url) if !dialect.takes_images() => {
            Media::Text(format!("[an image that was not sent: {url}]").into())
        }
        Media::Pdf { .. } if !dialect.takes_files() => {
            Media::Text("[a PDF file was left out: this provider does not take files]".into())
        }
        // The protocol takes no file by its address.
        Media::PdfUrl(url) => Media::Text(format!("[a PDF file that was not sent: {url}]").into()),
        other => other,
    }
}

/// Text alone as a string, which every server takes; a list only where it must be one. `None` for nothing at all.
fn user_content(parts: Vec<Media<'_>>) -> Option<Value> {
    let parts: Vec<Media<'_>> =
        parts.into_iter().filter(|part| !matches!(part, Media::Text(text) if text.is_empty())).collect();
    if parts.is_empty() {
        return None;
    }
    let texts: Option<Vec<&str>> = parts.iter().map(as_text).collect();
    Some(match texts {
        Some(texts) => json!(texts.join("\n")),
        None => parts.iter().map(user_part).collect(),
    })
}

fn as_text<'a>(part: &'a Media<'_>) -> Option<&'a str> {
    match part {
        Media::Text(text) => Some(text),
        _ => None,
    }
}

fn user_part(part: &Media<'_>) -> Value {
    match part {
        Media::Text(text) => json!({"type": "text", "text": text}),
        Media::ImageUrl(url) => image_part(url),
        Media::Image { mime_type, data } => image_part(&format!("data:{mime_type};base64,{data}")),
        Media::PdfUrl(url) => json!({"type": "text", "text": url}),
        Media::Pdf { data } => {
            // The protocol asks for a name; the stored part has none.
            let data = format!("data:application/pdf;base64,{data}");
            json!({"type": "file", "file": {"filename": "file.pdf", "file_data": data}})
        }
    }
}

fn image_part(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url}})
}

/// An answer without its reasoning, and the reasoning. `None` for an answer of which nothing can be sent.
fn assistant(contents: &[ExpertPart], dialect: Dialect, ids: CallIds) -> Option<(Map<String, Value>, String)> {
    let (mut texts, mut reasoning, mut calls) = (Vec::new(), String::new(), Vec::new());
    for part in contents {
        match part {
            ExpertPart::ThinkingPart { thinking, .. } if thinking.protocol.as_deref() == Some(NAME) => {
                reasoning.push_str(&thinking.thinking);
            }
            ExpertPart::ThinkingPart { .. } | ExpertPart::OpaquePart { .. } => {}
            ExpertPart::TextPart { text, .. } => texts.push(text.as_str()),
            ExpertPart::ToolCallPart { tool_call_id, tool_name, args, .. } => {
                // Servers answer 500 to arguments that are no JSON object, each time the conversation is sent.
                let arguments = if args.is_object() { args.to_string() } else { "{}".to_owned() };
                let function = json!({"name": tool_names::short(tool_name), "arguments": arguments});
                calls.push(json!({"id": ids.wire(tool_call_id), "type": "function", "function": function}));
            }
        }
    }
    if texts.is_empty() && calls.is_empty() {
        return None;
    }
    let mut message = Map::new();
    message.insert("role".into(), json!("assistant"));
    // Empty, not null and not absent: those are a 500 on some servers.
    message.insert("content".into(), json!(texts.join("\n")));
    if dialect.attaches_fields() {
        for part in contents {
            if let ExpertPart::ThinkingPart { thinking, .. } = part
                && thinking.protocol.as_deref() == Some(NAME)
                && let Some(block) = &thinking.opaque
            {
                attached::restore(block, &mut message, &mut calls);
            }
        }
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), Value::Array(calls));
    }
    Some((message, reasoning))
}

/// All results follow the calls at once; parts that are not text come after them, in one user message.
fn results(parts: &[ResultPart], dialect: Dialect, ids: CallIds, items: &mut Vec<Value>) {
    let mut moved = Vec::new();
    for part in parts {
        let ResultPart::ToolResultPart { tool_call_id, .. } = part;
        let text = text_message::result_text(part, |content| sendable(content, dialect), MOVED_NOTE, &mut moved);
        items.push(json!({"role": "tool", "tool_call_id": ids.wire(tool_call_id), "content": text}));
    }
    items.extend(user_content(moved).map(|content| json!({"role": "user", "content": content})));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Thinking;
    use crate::generation::{NativeTools, Occasion};
    use crate::provider::Protocol as _;
    use crate::provider::wire::chat::ChatCompletions;
    use crate::provider::wire::openai::ERROR_NOTE;
    use crate::setting::ReasoningBudget;
    use crate::tool::{BASE_SKILL, ToolHints, ToolKind, ToolSpec};

    fn encode(dialect: Dialect, model: &str, messages: &[Message], tools: &[ToolSpec]) -> Value {
        let request = GenerateRequest {
            model,
            messages,
            tools,
            reasoning: ReasoningBudget::Medium,
            max_output_tokens: None,
            native: NativeTools::default(),
            occasion: Occasion { run: "run-1", at: 0 },
        };
        ChatCompletions { dialect }.encode(&request).body.json()
    }

    fn sent(messages: &[Message]) -> Value {
        sent_to(Dialect::Compatible, messages)
    }

    fn sent_to(dialect: Dialect, messages: &[Message]) -> Value {
        encode(dialect, "local", messages, &[])["messages"].take()
    }

    fn user(contents: Vec<Content>) -> Message {
        Message::UserMessage { id: String::new(), contents, cache: false }
    }

    fn expert(contents: Vec<ExpertPart>) -> Message {
        Message::ExpertMessage { id: String::new(), contents, cache: false }
    }

    fn tool_message(contents: Vec<ResultPart>) -> Message {
        Message::ToolMessage { id: String::new(), contents, cache: false }
    }

    fn call(id: &str, args: Value) -> ExpertPart {
        ExpertPart::ToolCallPart {
            id: String::new(),
            tool_call_id: id.to_owned(),
            tool_name: "search".to_owned(),
            args,
        }
    }

    fn thinking(protocol: &str) -> ExpertPart {
        let thinking =
            Thinking { thinking: "hm".to_owned(), protocol: Some(protocol.to_owned()), ..Thinking::default() };
        ExpertPart::ThinkingPart { id: String::new(), thinking }
    }

    fn result(id: &str, contents: Vec<Content>, is_error: bool) -> ResultPart {
        ResultPart::ToolResultPart {
            id: String::new(),
            tool_call_id: id.to_owned(),
            tool_name: "search".to_owned(),
            contents,
            is_error,
        }
    }

    fn image() -> Content {
        Content::ImageInlinePart {
            id: String::new(),
            encoded_data: "iVBORw0KGgo=".to_owned(),
            mime_type: "image/png".to_owned(),
        }
    }

    fn sent_call(id: &str, arguments: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": "search", "arguments": arguments}})
    }

    #[test]
    fn a_whole_request_is_as_documented() {
        let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]});
        let spec = ToolSpec {
            skill_name: BASE_SKILL.to_owned(),
            name: "search".to_owned(),
            description: Some("Finds".to_owned()),
            input_schema: schema.as_object().unwrap().clone(),
            kind: ToolKind::Mcp,
            hints: ToolHints::default(),
        };
        let bare = ToolSpec { name: "now".to_owned(), description: None, input_schema: Map::new(), ..spec.clone() };
        let system =
            Message::InstructionMessage { id: String::new(), contents: vec![Content::text("Be brief.")], cache: true };
        let body =
            encode(Dialect::OpenAi, "gpt-5-mini", &[system, user(vec![Content::text("Which file?")])], &[spec, bare]);
        let expected = json!({
            "model": "gpt-5-mini",
            "stream": true,
            "stream_options": {"include_usage": true},
            "reasoning_effort": "medium",
            "prompt_cache_key": "run-1",
            "tools": [
                {"type": "function", "function": {"name": "search", "description": "Finds", "parameters": schema}},
                {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
            ],
            "tool_choice": "auto",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Which file?"},
            ],
        });
        assert_eq!(body.to_string(), expected.to_string());
    }

    #[test]
    fn a_limit_on_the_answer_has_the_name_that_the_model_takes() {
        for (model, name, other) in
            [("gpt-5", "max_completion_tokens", "max_tokens"), ("llama", "max_tokens", "max_completion_tokens")]
        {
            let request = GenerateRequest {
                model,
                messages: &[],
                tools: &[],
                reasoning: ReasoningBudget::None,
                max_output_tokens: Some(2000),
                native: NativeTools::default(),
                occasion: Occasion::default(),
            };
            let body = ChatCompletions { dialect: Dialect::Compatible }.encode(&request).body.json();
            assert_eq!((&body[name], body.get(other)), (&json!(2000), None));
        }
    }

    #[test]
    fn effort_and_tools_are_left_out_where_there_are_none() {
        let expected = json!({
            "model": "llama", "stream": true, "stream_options": {"include_usage": true}, "messages": [],
        });
        assert_eq!(encode(Dialect::Compatible, "llama", &[], &[]), expected);
    }

    #[test]
    fn images_make_a_list_of_a_user_message_and_text_alone_a_string() {
        let messages = [
            user(vec![Content::text("a"), Content::text(""), Content::text("b")]),
            user(vec![Content::text("see"), image()]),
            user(vec![Content::text("")]),
        ];
        let expected = json!([
            {"role": "user", "content": "a\nb"},
            {"role": "user", "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
            ]},
        ]);
        assert_eq!(sent(&messages), expected);
    }

    #[test]
    fn calls_go_back_with_empty_content_and_valid_arguments() {
        let messages = [expert(vec![call("c1", json!({"q": 1})), call("c2", json!("{\"q"))])];
        let expected = json!([{
            "role": "assistant", "content": "", "tool_calls": [sent_call("c1", "{\"q\":1}"), sent_call("c2", "{}")],
        }]);
        assert_eq!(sent(&messages), expected);
    }

    #[test]
    fn reasoning_goes_back_within_its_turn_and_with_its_calls_only() {
        let answer = |protocol| expert(vec![thinking(protocol), call("c1", json!({}))]);
        let yes = ExpertPart::TextPart { id: String::new(), text: "yes".to_owned() };
        let messages = [
            user(vec![Content::text("1")]),
            answer(NAME),
            user(vec![Content::text("2")]),
            answer("anthropic-messages"),
            answer(NAME),
            expert(vec![thinking(NAME), yes]),
        ];
        let calls = json!([sent_call("c1", "{}")]);
        let expected = json!([
            {"role": "user", "content": "1"},
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "user", "content": "2"},
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": calls},
            {"role": "assistant", "content": "yes"},
        ]);
        assert_eq!(sent(&messages), expected);
    }

    #[test]
    fn deepseek_gets_all_reasoning_of_turns_with_calls_back() {
        let sent_reasoning = |parts: &[ExpertPart]| {
            let text = ExpertPart::TextPart { id: String::new(), text: "yes".to_owned() };
            expert(parts.iter().cloned().chain([text]).collect())
        };
        let messages = [
            user(vec![Content::text("1")]),
            sent_reasoning(&[thinking(NAME)]),
            user(vec![Content::text("2")]),
            expert(vec![thinking(NAME), call("c1", json!({}))]),
            tool_message(vec![result("c1", vec![Content::text("one")], false)]),
            sent_reasoning(&[thinking(NAME)]),
            user(vec![Content::text("3")]),
            expert(vec![thinking("anthropic-messages"), call("c1", json!({}))]),
        ];
        let calls = json!([sent_call("c1", "{}")]);
        let thought =
            |content: &str, hm: &str| json!({"role": "assistant", "content": content, "reasoning_content": hm});
        let mut called = [thought("", "hm"), thought("", "")];
        for message in &mut called {
            message["tool_calls"] = calls.clone();
        }
        let [first, second] = called;
        let expected = json!([
            {"role": "user", "content": "1"},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": "2"},
            first,
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            thought("yes", "hm"),
            {"role": "user", "content": "3"},
            second,
        ]);
        assert_eq!(sent_to(Dialect::DeepSeek, &messages), expected);
        let without = encode(Dialect::DeepSeek, "deepseek-chat", &messages, &[]).to_string();
        assert!(!without.contains("reasoning_content") && !without.contains("thinking"), "{without}");
        for dialect in [Dialect::OpenAi, Dialect::Azure] {
            assert!(!sent_to(dialect, &messages).to_string().contains("reasoning_content"), "{dialect:?}");
        }
    }

    #[test]
    fn what_a_server_does_not_take_is_replaced_by_a_note() {
        let pdf = || Content::FileInlinePart {
            id: String::new(),
            encoded_data: "JVBERi0=".to_owned(),
            mime_type: "application/pdf".to_owned(),
        };
        let url = Content::FileUrlPart {
            id: String::new(),
            url: "https://x/y.pdf".to_owned(),
            mime_type: "application/pdf".to_owned(),
        };
        let content = |dialect| sent_to(dialect, &[user(vec![image(), pdf(), url.clone()])])[0]["content"].take();
        let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
        let file = json!({"type": "file", "file": {"filename": "file.pdf",
                          "file_data": "data:application/pdf;base64,JVBERi0="}});
        let text = |text: &str| json!({"type": "text", "text": text});
        let (no_file, no_url) = (
            text("[a PDF file was left out: this provider does not take files]"),
            text("[a PDF file that was not sent: https://x/y.pdf]"),
        );
        assert_eq!(content(Dialect::OpenAi), json!([picture, file, no_url]));
        for dialect in [Dialect::Azure, Dialect::Compatible] {
            assert_eq!(content(dialect), json!([picture, no_file, no_url]), "{dialect:?}");
        }
        assert_eq!(
            content(Dialect::DeepSeek),
            "[an image (image/png) was left out: only text can be sent to this model]\n\
             [a PDF file was left out: this provider does not take files]\n\
             [a PDF file that was not sent: https://x/y.pdf]"
        );
    }

    #[test]
    fn images_of_results_follow_all_results_in_a_user_message() {
        let results = tool_message(vec![
            result("c1", vec![Content::text("one"), image(), image()], false),
            result("c2", vec![Content::text("two")], true),
            result("c3", Vec::new(), false),
        ]);
        let url = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
        let expected = json!([
            {"role": "tool", "tool_call_id": "c1", "content": format!("one\n{MOVED_NOTE}")},
            {"role": "tool", "tool_call_id": "c2", "content": format!("{ERROR_NOTE}\ntwo")},
            {"role": "tool", "tool_call_id": "c3", "content": ""},
            {"role": "user", "content": [{"type": "text", "text": "From the result of search (c1):"}, url, url]},
        ]);
        assert_eq!(sent(&[results]), expected);
    }
}
