//! [`Turn`]: one turn's calls, with the answers that have come, in call order.
//!
//! The machine's states hold it. Calls that need nobody outside are answered here; the others are the driver's.

use std::collections::HashSet;

use crate::checkpoint::{CheckpointHead, TodoList};
use crate::content::{Content, ExpertPart, ResultPart};
use crate::fact::{IdGenerator, RunParameters};
use crate::generation::Arguments;
use crate::id::ToolCallId;
use crate::machine::messages;
use crate::machine::todo::{self, ATTEMPT_COMPLETION, Completion};
use crate::message::Message;
use crate::permission::CallDecision;
use crate::tool::{TOOL_SEARCH_SKILL, ToolCall, ToolKind, ToolResult};

/// Skill name of calls to tools that do not exist.
const NO_SKILL: &str = "unknown";

/// Most characters of broken arguments that are shown to the model again.
const SHOWN_ARGUMENTS: usize = 500;

/// The answer of calls that were open in a checkpoint from elsewhere.
const NOT_MADE: &str = "not made: the conversation continues here from a file, and calls that were open in it are not \
    made. Their effect where the file comes from is unknown. Call again what is still needed";

/// The answer of a completion that brings no result, the first time.
const NO_RESULT: &str = "The task is not completed yet: `result` is empty, and there is no text beside the call. Reply \
    with your final answer to the user as plain text";

/// Returns whether the conversation ends with a completion that was asked for its result.
pub fn is_asked_for_result(messages: &[Message]) -> bool {
    let Some(Message::ToolMessage { contents, .. }) = messages.last() else { return false };
    contents.iter().any(|ResultPart::ToolResultPart { contents, .. }| {
        contents.iter().any(|part| part.as_text() == Some(NO_RESULT))
    })
}

/// The calls of one model answer, in the order MCP, delegates, interactive (stable otherwise).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Turn {
    slots: Vec<Slot>,
    /// The final text, when `attemptCompletion` was accepted.
    pub completion: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Slot {
    call: ToolCall,
    kind: ToolKind,
    answer: Option<ToolResult>,
    /// It may be made.
    is_decided: bool,
}

/// A call as a model made it.
#[derive(Debug)]
pub struct AskedCall<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub arguments: &'a Arguments,
}

impl Turn {
    /// Reads the calls of an answer: gives each a unique id and its skill, and answers at once what needs
    /// nobody outside (unknown tools, broken arguments, the conversation's own tools, which work on `todos`).
    ///
    /// `text` is the text beside the calls: the final answer when `attemptCompletion` brings none. Without it, the model
    /// is asked for one.
    pub fn new(
        asked: &[AskedCall<'_>],
        text: Option<&str>,
        parameters: &RunParameters,
        todos: &mut TodoList,
        used_ids: &HashSet<String>,
        ids: &mut IdGenerator,
    ) -> Self {
        let mut taken: HashSet<String> = HashSet::new();
        let asked_calls = asked.len();
        let mut slots: Vec<Slot> = asked
            .iter()
            .map(|asked| {
                let free = !asked.id.is_empty() && !used_ids.contains(asked.id) && !taken.contains(asked.id);
                let id = if free { asked.id.to_owned() } else { format!("call_{}", ids.uuid().simple()) };
                if asked_calls > 1 {
                    taken.insert(id.clone());
                }
                Slot::new(id, asked, parameters)
            })
            .collect();
        slots.sort_by_key(|slot| match slot.kind {
            ToolKind::Mcp | ToolKind::Conversation => 0,
            ToolKind::Delegate => 1,
            ToolKind::Interactive => 2,
        });
        let mut turn = Self { slots, completion: None };
        turn.answer_conversation_tools(text, todos);
        turn
    }

    fn answer_conversation_tools(&mut self, beside: Option<&str>, todos: &mut TodoList) {
        for slot in self.slots.iter_mut().filter(|slot| slot.is_open(ToolKind::Conversation)) {
            if slot.call.tool_name != ATTEMPT_COMPLETION {
                slot.answer = Some(todo::answer(&slot.call, todos));
            }
        }
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.is_open(ToolKind::Conversation)) else { return };
        match todo::attempt_completion(&slot.call, todos) {
            Completion::Accepted { answer, text } => {
                let result = text
                    .filter(|text| !text.trim().is_empty())
                    .or_else(|| beside.map(|beside| beside.trim().to_owned()));
                slot.answer = Some(match result {
                    Some(_) => answer,
                    None => ToolResult::new(&slot.call, vec![Content::text(NO_RESULT)]),
                });
                self.completion = result;
            }
            Completion::Refused(answer) => slot.answer = Some(answer),
        }
        // As in the original, completion is the only call; unlike it, the other calls are answered, so that no id is
        // left open.
        for slot in self.slots.iter_mut().filter(|slot| slot.answer.is_none()) {
            slot.answer = Some(ToolResult::error(
                &slot.call,
                "not run: attemptCompletion was called in the same turn. Call it alone, after all other work",
            ));
        }
    }

    /// Has the call that was to complete the Run answered with the reasons for which it does not.
    pub fn refuse_completion(&mut self, reason: &str) {
        self.completion = None;
        let is_completion =
            |slot: &&mut Slot| slot.call.tool_name == ATTEMPT_COMPLETION && slot.kind == ToolKind::Conversation;
        if let Some(slot) = self.slots.iter_mut().find(is_completion) {
            slot.answer = Some(ToolResult::error(&slot.call, reason));
        }
    }

    /// Rebuilds the turn that a checkpoint was stopped in: the calls of its last expert message, with the answers on
    /// record and those brought along. Empty when that message has none.
    pub fn rebuild(
        messages: &[Message],
        head: &CheckpointHead,
        answers: &[ToolResult],
        parameters: &RunParameters,
    ) -> Self {
        let Some(Message::ExpertMessage { contents, .. }) = messages.last() else { return Self::default() };
        let mut slots = Vec::new();
        for part in contents {
            let ExpertPart::ToolCallPart { tool_call_id, tool_name, args, .. } = part else { continue };
            let route = parameters.tools.iter().find(|route| route.name == *tool_name);
            let pending = head.pending_tool_calls.iter().find(|call| call.id == *tool_call_id);
            let delegated = head.delegate_to.iter().find(|to| to.tool_call_id == *tool_call_id);
            let call = pending.cloned().unwrap_or_else(|| ToolCall {
                id: tool_call_id.clone(),
                skill_name: match (delegated, route) {
                    (Some(to), _) => to.expert.key.as_str().to_owned(),
                    (None, Some(route)) => route.skill_name.clone(),
                    (None, None) => NO_SKILL.to_owned(),
                },
                tool_name: tool_name.clone(),
                args: args.as_object().cloned().unwrap_or_default(),
            });
            let recorded = head.partial_tool_results.iter().chain(answers).find(|result| result.id == call.id);
            let kind = match (delegated, route) {
                (Some(_), _) => ToolKind::Delegate,
                (None, Some(route)) => route.kind,
                (None, None) => ToolKind::Mcp,
            };
            let answer = recorded.cloned().or_else(|| {
                if head.from_elsewhere && kind != ToolKind::Interactive {
                    return Some(ToolResult::error(&call, NOT_MADE));
                }
                let lost = pending.is_none() && delegated.is_none();
                if lost || kind == ToolKind::Conversation || (route.is_none() && delegated.is_none()) {
                    let unknown = format!("no result of {tool_name} was recorded; its effect is unknown");
                    return Some(ToolResult::error(&call, unknown));
                }
                if kind == ToolKind::Delegate { delegate_problem(&call, parameters) } else { None }
            });
            let is_decided = head.deciding.as_ref().is_none_or(|decided| decided.contains(&call.id));
            slots.push(Slot { call, kind, answer, is_decided });
        }
        Self { slots, completion: None }
    }

    /// Returns true if there is no call at all.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All calls, in order.
    pub fn iter(&self) -> impl Iterator<Item = &ToolCall> {
        self.slots.iter().map(|slot| &slot.call)
    }

    /// Copies of all calls, in order.
    pub fn calls(&self) -> Vec<ToolCall> {
        self.iter().cloned().collect()
    }

    /// Calls of `kind` without an answer, in order.
    pub fn open(&self, kind: ToolKind) -> Vec<ToolCall> {
        self.slots.iter().filter(|slot| slot.is_open(kind)).map(|slot| slot.call.clone()).collect()
    }

    /// Returns true if a call of `kind` has no answer.
    pub fn has_open(&self, kind: ToolKind) -> bool {
        self.slots.iter().any(|slot| slot.is_open(kind))
    }

    /// Returns true if a call has no answer.
    pub fn has_unanswered(&self) -> bool {
        self.slots.iter().any(|slot| slot.answer.is_none())
    }

    /// All calls without an answer, in order.
    pub fn unanswered(&self) -> Vec<ToolCall> {
        self.slots.iter().filter(|slot| slot.answer.is_none()).map(|slot| slot.call.clone()).collect()
    }

    /// The answers so far, in call order.
    pub fn answers(&self) -> Vec<ToolResult> {
        self.slots.iter().filter_map(|slot| slot.answer.clone()).collect()
    }

    /// The same of a turn that is over.
    pub fn into_answers(self) -> Vec<ToolResult> {
        self.slots.into_iter().filter_map(|slot| slot.answer).collect()
    }

    /// Returns true if `id` is an MCP call still waiting for its answer.
    pub fn awaits(&self, id: &str) -> bool {
        self.slots.iter().any(|slot| slot.is_open(ToolKind::Mcp) && slot.call.id == id)
    }

    /// The skill that a call is to.
    pub fn skill_of(&self, id: &str) -> Option<&str> {
        self.slots.iter().find(|slot| slot.call.id == id).map(|slot| slot.call.skill_name.as_str())
    }

    /// Takes the answer of an MCP call that [`Self::awaits`] it; any other is dropped.
    pub fn take(&mut self, mut result: ToolResult, ids: &mut IdGenerator) {
        let open = self.slots.iter_mut().find(|slot| slot.is_open(ToolKind::Mcp) && slot.call.id == result.id);
        if let Some(slot) = open {
            result.result = messages::with_ids(result.result, ids);
            slot.answer = Some(result);
        }
    }

    /// Calls that nobody decided about yet, in order.
    pub fn undecided(&self) -> Vec<ToolCall> {
        self.slots.iter().filter(|slot| slot.is_undecided()).map(|slot| slot.call.clone()).collect()
    }

    /// The ids of the calls that may be made and have no answer.
    pub fn decided(&self) -> Vec<ToolCallId> {
        let decided = self.slots.iter().filter(|slot| slot.answer.is_none() && slot.is_decided);
        decided.map(|slot| slot.call.id.clone()).collect()
    }

    /// Returns true if `decisions` are about calls that wait for one, and there is one at least.
    pub fn awaits_all(&self, decisions: &[CallDecision]) -> bool {
        let awaits = |decision: &CallDecision| {
            self.slots.iter().any(|slot| slot.is_undecided() && slot.call.id == decision.tool_call_id)
        };
        !decisions.is_empty() && decisions.iter().all(awaits)
    }

    /// Takes a decision: the call may be made, or its reason is the answer.
    pub fn decide(&mut self, decision: &CallDecision, ids: &mut IdGenerator) {
        let slot = self.slots.iter_mut().find(|slot| slot.is_undecided() && slot.call.id == decision.tool_call_id);
        let Some(slot) = slot else { return };
        slot.is_decided = true;
        if decision.is_denied() {
            let reason = decision.reason.clone().unwrap_or_else(|| format!("{} is denied", slot.call.tool_name));
            let mut refusal = ToolResult::error(&slot.call, reason);
            refusal.result = messages::with_ids(refusal.result, ids);
            slot.answer = Some(refusal);
        }
    }

    /// Answers the calls of delegates that a process with other parameters can no longer make.
    pub fn adapt(&mut self, parameters: &RunParameters) {
        for slot in self.slots.iter_mut().filter(|slot| slot.is_open(ToolKind::Delegate)) {
            slot.answer = delegate_problem(&slot.call, parameters);
        }
    }

    /// Gives ids to the parts of all answers that have none.
    pub fn name_answers(&mut self, ids: &mut IdGenerator) {
        for answer in self.slots.iter_mut().filter_map(|slot| slot.answer.as_mut()) {
            answer.result = messages::with_ids(std::mem::take(&mut answer.result), ids);
        }
    }
}

impl Slot {
    fn new(id: String, asked: &AskedCall<'_>, parameters: &RunParameters) -> Self {
        let route = parameters.tools.iter().find(|route| route.name == asked.name);
        let mut call = ToolCall {
            id,
            skill_name: route.map_or_else(|| NO_SKILL.to_owned(), |route| route.skill_name.clone()),
            tool_name: asked.name.to_owned(),
            args: serde_json::Map::new(),
        };
        let answer = match (route, asked.arguments) {
            (None, arguments) => {
                if let Arguments::Valid(args) = arguments {
                    call.args.clone_from(args);
                }
                Some(ToolResult::error(&call, unknown_tool(asked.name, parameters)))
            }
            (Some(_), Arguments::Invalid(raw)) => Some(ToolResult::error(&call, invalid_arguments(asked.name, raw))),
            (Some(route), Arguments::Valid(args)) => {
                call.args.clone_from(args);
                if route.kind == ToolKind::Delegate { delegate_problem(&call, parameters) } else { None }
            }
        };
        let kind = route.map_or(ToolKind::Mcp, |route| route.kind);
        Self { call, kind, answer, is_decided: !parameters.decides_calls }
    }

    fn is_open(&self, kind: ToolKind) -> bool {
        self.kind == kind && self.answer.is_none()
    }

    fn is_undecided(&self) -> bool {
        self.answer.is_none() && !self.is_decided
    }
}

/// The error for a call of a delegate without a query, or of an expert that is not known.
fn delegate_problem(call: &ToolCall, parameters: &RunParameters) -> Option<ToolResult> {
    let has_query = call.args.get("query").and_then(|q| q.as_str()).is_some_and(|q| !q.trim().is_empty());
    let is_known = parameters.delegates.iter().any(|expert| expert.key.as_str() == call.skill_name);
    match (has_query, is_known) {
        (false, _) => Some(ToolResult::error(call, format!("{} needs a query that is not empty", call.tool_name))),
        (_, false) => Some(ToolResult::error(call, format!("no expert {} is defined", call.skill_name))),
        _ => None,
    }
}

fn unknown_tool(name: &str, parameters: &RunParameters) -> String {
    if let Some(search) = parameters.tools.iter().find(|route| route.skill_name == TOOL_SEARCH_SKILL) {
        return format!("there is no tool {name:?}. Search for the one that is meant with {}", search.name);
    }
    let known: Vec<&str> = parameters.tools.iter().map(|route| route.name.as_str()).collect();
    format!("there is no tool {name:?}. The tools are: {}", known.join(", "))
}

fn invalid_arguments(name: &str, raw: &str) -> String {
    let shown: String = raw.chars().take(SHOWN_ARGUMENTS).collect();
    let cut = if shown.len() < raw.len() { " (cut)" } else { "" };
    format!("the arguments for {name} were not a JSON object, so it was not called. They were{cut}: {shown}")
}
