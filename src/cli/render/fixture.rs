//! Hand-made events for the renderers' tests.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use perstack::budget::{Budgets, Spent};
use perstack::checkpoint::{Checkpoint, CheckpointHead, DelegateTo, DelegatedBy, Status};
use perstack::content::ExpertPart;
use perstack::cost::{Cost, Spend};
use perstack::event::{Event, EventBody, EventCheckpoint, SCHEMA_VERSION, Step};
use perstack::expert::ExpertRef;
use perstack::message::Message;
use perstack::runtime::Outcome;
use perstack::sandbox::{Sandbox, SandboxState};
use perstack::tool::{BASE_SKILL, ToolCall};
use perstack::usage::Usage;
use serde_json::{Map, Value};

/// A writer that keeps what is written, to be read while it is in use.
#[derive(Clone, Default)]
pub struct KeptOutput(Arc<Mutex<Vec<u8>>>);

impl KeptOutput {
    /// The text so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for KeptOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn expert(name: &str) -> ExpertRef {
    ExpertRef { key: name.parse().unwrap(), name: name.to_owned(), version: "1.0.0".to_owned() }
}

/// The state of `researcher`'s Run, proceeding.
pub fn head(run: &str, step_number: u64) -> CheckpointHead {
    let fresh =
        CheckpointHead::fresh("c1".parse().unwrap(), "j1".parse().unwrap(), run.parse().unwrap(), expert("researcher"));
    CheckpointHead { status: Status::Proceeding, step_number, ..fresh }
}

/// The same for an expert that `parent` called.
pub fn delegated(head: CheckpointHead, name: &str, parent: &str) -> CheckpointHead {
    let delegated_by = DelegatedBy {
        expert: head.expert,
        tool_call_id: "c1".to_owned(),
        tool_name: name.to_owned(),
        checkpoint_id: "c1".parse().unwrap(),
        run_id: parent.parse().unwrap(),
        untrusted: false,
    };
    CheckpointHead { expert: expert(name), delegated_by: Some(delegated_by), ..head }
}

/// The state of the Run of `name` that answers a Run's call.
pub fn child(run: &str, step_number: u64, name: &str, (parent, call): (&str, &str)) -> CheckpointHead {
    let mut head = delegated(head(run, step_number), name, parent);
    if let Some(by) = &mut head.delegated_by {
        call.clone_into(&mut by.tool_call_id);
    }
    head
}

/// The state of a Run that stopped to have these calls answered by these experts.
pub fn awaiting(head: CheckpointHead, delegates: &[(&str, &str)]) -> CheckpointHead {
    let delegate_to = delegates.iter().map(|(call, name)| DelegateTo {
        expert: expert(name),
        tool_call_id: (*call).to_owned(),
        tool_name: (*name).to_owned(),
        query: "q".to_owned(),
    });
    CheckpointHead { status: Status::StoppedByDelegate, delegate_to: delegate_to.collect(), ..head }
}

/// The second failure of a model call in a row.
pub fn retry(reason: &str, delay_ms: Option<u64>) -> EventBody {
    EventBody::Retry {
        reason: reason.to_owned(),
        new_messages: Vec::new(),
        tool_calls: Vec::new(),
        tool_results: Vec::new(),
        usage: Usage::default(),
        spend: Spend::default(),
        delay_ms,
        retry_count: 2,
    }
}

/// A change to another model.
pub fn fall_back(reason: &str) -> EventBody {
    EventBody::FallBack {
        from_model: "anthropic/some-model".parse().unwrap(),
        to_model: "openai/other".parse().unwrap(),
        reason: reason.to_owned(),
        usage: Usage::default(),
        spend: Spend::default(),
    }
}

/// A checkpoint within an event.
pub fn event_checkpoint(head: CheckpointHead) -> EventCheckpoint {
    EventCheckpoint { head: Box::new(head), messages: 0 }
}

/// An event of a Run.
pub fn event(run: &str, body: EventBody) -> Event {
    Event {
        body,
        id: "e1".to_owned(),
        timestamp: 0,
        job_id: "j1".parse().unwrap(),
        run_id: run.parse().unwrap(),
        expert_key: None,
        step_number: None,
        sequence: None,
        schema_version: SCHEMA_VERSION,
    }
}

/// A Run of `name` before its skills start.
pub fn initialize(name: &str) -> EventBody {
    EventBody::InitializeRuntime {
        runtime_version: "0.1.0".to_owned(),
        runtime: "local".to_owned(),
        expert_name: name.to_owned(),
        experts: vec![name.to_owned()],
        provider: "anthropic".to_owned(),
        model: "some-model".to_owned(),
        max_steps: 100,
        max_retries: 5,
        timeout: 300_000,
        fallback: Vec::new(),
        query: None,
        interactive_tool_call: None,
        context_window: None,
        sandbox: SandboxState { setting: Sandbox::Auto, in_force: true, lacking: None },
    }
}

/// A call with one argument.
pub fn call(id: &str, tool: &str, argument: &str, value: &str) -> ToolCall {
    let args = Map::from_iter([(argument.to_owned(), Value::from(value))]);
    ToolCall { id: id.to_owned(), skill_name: BASE_SKILL.to_owned(), tool_name: tool.to_owned(), args }
}

/// A step in which these calls were made.
pub fn step(step_number: u64, tool_calls: Vec<ToolCall>) -> Step {
    Step { step_number, tool_calls, ..Step::default() }
}

/// A job that ended after its second step, `text` being the model's last.
pub fn outcome(status: Status, text: &str) -> Outcome {
    let part = ExpertPart::TextPart { id: String::new(), text: text.to_owned() };
    let usage = Usage { input_tokens: 1200, output_tokens: 34, total_tokens: 1234, ..Usage::default() };
    let spend = Spend::known(Cost::from_picodollars(4_110_000_000));
    Outcome {
        max_steps: 3,
        checkpoint: Checkpoint {
            head: CheckpointHead { status, usage, spend, ..head("r1", 2) },
            messages: vec![Message::ExpertMessage { id: String::new(), contents: vec![part], cache: false }],
        },
        status,
        path: "/work/perstack/jobs/j1/runs/r1/checkpoint-2-c1.json".into(),
        duration_ms: 5,
        steps: 2,
        usage,
        spend,
        budgets: Budgets::default(),
        spent: Spent::default(),
        budget: None,
        account: None,
    }
}
