//! [`Play`]: a job that is played to a builder of spans, and readers of the spans that come of it.

use std::collections::HashMap;

use perstack::content::Content;
use perstack::cost::Spend;
use perstack::event::EventCheckpoint;
use perstack::fact::{ParentCheckpoint, RunParameters, Stamp};
use perstack::generation::{Arguments, FinishReason, GeneratedPart, Generation};
use perstack::message::Message;
use perstack::tool::{ToolCall, ToolKind, ToolResult, ToolRoute};
use perstack::usage::Usage;

use super::super::super::super::render::fixture::{awaiting, call, event, event_checkpoint, head, initialize, step};
use super::super::super::span::AttributeValue;
use super::super::*;

/// A job that is played to a builder.
pub struct Play {
    builder: SpanBuilder,
    spans: Vec<TraceSpan>,
    events: u64,
    /// Facts come from a recording.
    pub is_recorded: bool,
}

pub fn run(id: &str) -> RunId {
    id.parse().unwrap()
}

pub fn route(name: &str, kind: ToolKind) -> ToolRoute {
    ToolRoute { name: name.to_owned(), skill_name: "s".to_owned(), kind }
}

pub fn parameters() -> RunParameters {
    let tools = vec![
        route("exec", ToolKind::Mcp),
        route("todo", ToolKind::Conversation),
        route("helper", ToolKind::Delegate),
        route("ask", ToolKind::Interactive),
    ];
    RunParameters { tools, ..RunParameters::default() }
}

pub fn generation(finish: FinishReason) -> Generation {
    let usage = Usage {
        input_tokens: 10,
        output_tokens: 5,
        total_tokens: 15,
        cached_input_tokens: 40,
        reasoning_tokens: 2,
        ..Usage::default()
    };
    let text = GeneratedPart::Text { text: "Owls.".to_owned() };
    let arguments = Arguments::parse(r#"{"a":1}"#);
    let called = GeneratedPart::ToolCall { id: "x".to_owned(), name: "exec".to_owned(), arguments };
    Generation { parts: vec![text, called], finish, usage: Some(usage), context_tokens: Some(55) }
}

pub fn checkpoint(head: CheckpointHead) -> EventCheckpoint {
    event_checkpoint(head)
}

impl Play {
    pub fn new(settings: TraceSettings) -> Self {
        Self {
            builder: SpanBuilder::new(settings, "seed".to_owned()),
            spans: Vec::new(),
            events: 0,
            is_recorded: false,
        }
    }

    pub fn event(&mut self, id: &str, at: u64, body: EventBody) {
        self.events += 1;
        let mut event = event(id, body);
        event.id = format!("e{}", self.events);
        event.timestamp = at;
        event.step_number = Some(1);
        let history = [Message::UserMessage { id: "m".into(), contents: vec![Content::text("Query.")], cache: false }];
        self.builder.event(&event, &history);
        self.spans.extend(self.builder.take_finished());
    }

    pub fn fact(&mut self, id: &str, at: u64, body: FactBody) {
        let fact = Fact { recorded: self.is_recorded, ..Fact::new(Stamp { at, seed: 1 }, body) };
        self.builder.fact(&run(id), &fact);
        self.spans.extend(self.builder.take_finished());
    }

    /// Run `id` begins and asks the model.
    pub fn start(&mut self, id: &str, at: u64, head: CheckpointHead) {
        self.event(id, at, initialize(&head.expert.name));
        let spec = RunSpec {
            job_id: "j1".parse().unwrap(),
            run_id: run(id),
            expert: head.expert.clone(),
            instruction: String::new(),
            first_step: 1,
            delegated_by: head.delegated_by.clone(),
            parameters: parameters(),
            budgets: perstack::budget::Budgets::default(),
            untrusted: false,
            snapshot: None,
        };
        self.fact(id, at, FactBody::Started { spec: Box::new(spec), input: Vec::new() });
        let initial_checkpoint = checkpoint(head);
        self.event(id, at, EventBody::StartRun { initial_checkpoint, input_messages: Vec::new() });
        self.ask(id, at);
    }

    pub fn ask(&mut self, id: &str, at: u64) {
        self.event(id, at, EventBody::StartGeneration { messages: 1 });
    }

    /// The model calls tools.
    pub fn calls(&mut self, id: &str, at: u64, tool_calls: Vec<ToolCall>) {
        self.fact(id, at, FactBody::Generated { generation: generation(FinishReason::ToolCalls) });
        let new_message = Message::ExpertMessage { id: "m".into(), contents: Vec::new(), cache: false };
        let (usage, spend) = (Usage::default(), Spend::default());
        self.event(id, at, EventBody::CallTools { new_message, tool_calls, usage, spend });
    }

    pub fn returned(&mut self, id: &str, at: u64, call: &ToolCall, is_error: bool) {
        let mut result = ToolResult::new(call, vec![Content::text("Output.")]);
        result.is_error = is_error;
        self.fact(id, at, FactBody::ToolReturned { result });
    }

    pub fn complete(&mut self, id: &str, at: u64, head: CheckpointHead) {
        self.fact(id, at, FactBody::Generated { generation: generation(FinishReason::Stop) });
        let checkpoint = checkpoint(CheckpointHead { status: Status::Completed, ..head });
        let (usage, spend) = (Usage::default(), Spend::default());
        let (step, text) = (step(1, Vec::new()), "Owls.".to_owned());
        self.event(id, at, EventBody::CompleteRun { checkpoint, step, text, usage, spend });
    }

    pub fn resume(&mut self, id: &str, at: u64, parent: Option<&str>, head: CheckpointHead) {
        self.event(id, at, initialize(&head.expert.name));
        let resumption = Resumption {
            run_id: run(id),
            parent: parent.map(|parent| ParentCheckpoint { run_id: run(parent), checkpoint_id: "c1".parse().unwrap() }),
            query: None,
            answers: Vec::new(),
            reached_step: 0,
            delegated_usage: Usage::default(),
            delegated_spend: Spend::default(),
            untrusted: false,
            instruction: None,
            snapshot: None,
            parameters: parameters(),
        };
        self.fact(id, at, FactBody::Resumed { resumption: Box::new(resumption) });
        self.event(id, at, EventBody::ResumeFromStop { checkpoint: checkpoint(head) });
    }

    /// Run `id` waits for a delegate.
    pub fn delegate(&mut self, id: &str, at: u64, call: ToolCall) {
        let stopped = checkpoint(awaiting(head(id, 1), &[(&call.id, &call.tool_name)]));
        self.calls(id, at, vec![call]);
        self.event(id, at, EventBody::StopRunByDelegate { checkpoint: stopped, step: step(1, Vec::new()) });
    }

    pub fn cancel(&mut self, id: &str, at: u64, head: CheckpointHead) {
        let stopped = CheckpointHead { status: Status::StoppedByCancellation, ..head };
        let (checkpoint, step) = (checkpoint(stopped), step(1, Vec::new()));
        self.event(id, at, EventBody::StopRunByCancellation { checkpoint, step });
    }

    pub fn end(mut self, outcome: Result<Status, &str>) -> Vec<TraceSpan> {
        self.spans.extend(self.builder.end(outcome.map_err(str::to_owned)));
        for span in &self.spans {
            assert!(span.attributes.iter().all(|(name, _)| names::ATTRIBUTES.contains(name)), "{span:?}");
        }
        self.spans
    }
}

/// The spans as a tree: names, times, and errors.
pub fn tree(spans: &[TraceSpan]) -> Vec<String> {
    let ids: HashMap<SpanId, &TraceSpan> = spans.iter().map(|span| (span.id, span)).collect();
    assert_eq!(ids.len(), spans.len(), "ids are unique");
    let mut lines = Vec::new();
    let roots = spans.iter().filter(|span| span.parent.is_none_or(|parent| !ids.contains_key(&parent)));
    for root in roots {
        add_to_tree(&mut lines, spans, root, 0);
    }
    lines
}

fn add_to_tree(lines: &mut Vec<String>, spans: &[TraceSpan], span: &TraceSpan, depth: usize) {
    let error = span.error.as_ref().map(|error| format!(" !{}", error.kind)).unwrap_or_default();
    lines.push(format!("{}{} {}-{}{error}", "  ".repeat(depth), span.name(), span.began, span.ended));
    let mut children: Vec<&TraceSpan> = spans.iter().filter(|child| child.parent == Some(span.id)).collect();
    children.sort_by_key(|child| (child.began, child.ended, child.name()));
    for child in children {
        add_to_tree(lines, spans, child, depth + 1);
    }
}

pub fn attribute<'a>(span: &'a TraceSpan, name: &str) -> Option<&'a AttributeValue> {
    let mut found = span.attributes.iter().filter(|(other, _)| *other == name);
    let value = found.next().map(|(_, value)| value);
    assert!(found.next().is_none(), "{name} is set once");
    value
}

pub fn text(span: &TraceSpan, name: &str) -> String {
    match attribute(span, name) {
        Some(AttributeValue::Text(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}

pub fn exec(id: &str) -> ToolCall {
    call(id, "exec", "command", "ls")
}
