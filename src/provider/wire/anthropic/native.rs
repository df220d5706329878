//! [`RequestedNative`]: tools that the provider runs itself, the skills that it loads for them, and their container.
//!
//! Documentation: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/server-tools>, skills
//! <https://platform.claude.com/docs/en/build-with-claude/skills-guide>. Of each tool the newest version is
//! requested that all models with the tool support: later versions of the web tools need code execution beside them.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::NAME;
use super::block::is_of_type;
use crate::content::{ExpertPart, Opaque};
use crate::generation::NativeTools;
use crate::message::Message;
use crate::provider::NativeSupport;
use crate::provider::native::CustomSkill;

/// The tools and skills that can be requested.
pub(super) const SUPPORT: NativeSupport =
    NativeSupport { tools: &["webSearch", "webFetch", "codeExecution"], skills: true };

/// Beta names, which servers require until a feature is general; afterwards they ignore them.
const WEB_FETCH_BETA: &str = "web-fetch-2025-09-10";
const CODE_EXECUTION_BETA: &str = "code-execution-2025-08-25";
const SKILLS_BETA: &str = "skills-2025-10-02";

/// The type of the stored block for the container of the tools. Not the protocol's: there the container is beside the
/// blocks.
pub(super) const CONTAINER: &str = "container";

/// A container that expires sooner is not used again: the request takes time, too. Our own choice.
const EXPIRY_MARGIN_MS: i64 = 60_000;

/// The provider's tools and skills in one request.
#[derive(Debug, Default, PartialEq)]
pub(super) struct RequestedNative {
    pub(super) tools: Vec<Value>,
    pub(super) betas: Vec<&'static str>,
    skills: Vec<Value>,
    runs_code: bool,
}

impl RequestedNative {
    pub(super) fn new(native: NativeTools<'_>) -> Self {
        let mut asked = Self { skills: skills(native.skills), ..Self::default() };
        let option = |pointer: &str| native.options.and_then(|options| options.pointer(pointer)).cloned();
        let asks = |name: &str| native.tools.iter().any(|asked| asked == name);
        if asks("webSearch") {
            let max_uses = option("/webSearch/maxUses");
            let domains = option("/webSearch/allowedDomains");
            let tool = json!({"type": "web_search_20250305", "name": "web_search"});
            asked.tools.push(with(tool, [("max_uses", max_uses), ("allowed_domains", domains)]));
        }
        if asks("webFetch") {
            asked.betas.push(WEB_FETCH_BETA);
            let tool = json!({"type": "web_fetch_20250910", "name": "web_fetch"});
            asked.tools.push(with(tool, [("max_uses", option("/webFetch/maxUses")), ("allowed_domains", None)]));
        }
        // Skills are run by it.
        if asks("codeExecution") || !asked.skills.is_empty() {
            asked.runs_code = true;
            asked.betas.push(CODE_EXECUTION_BETA);
            asked.tools.push(json!({"type": "code_execution_20250825", "name": "code_execution"}));
        }
        if !asked.skills.is_empty() {
            asked.betas.push(SKILLS_BETA);
        }
        asked
    }

    /// The container to use at `now` (milliseconds since the epoch): the conversation's last one, whose block is `last`,
    /// while it lasts, with the skills.
    pub(super) fn container(&self, last: Option<&Value>, now: u64) -> Option<Value> {
        let id = last.filter(|_| self.runs_code).and_then(|block| lasting(block, now));
        match (id, self.skills.is_empty()) {
            (None, true) => None,
            (Some(id), true) => Some(json!(id)),
            (None, false) => Some(json!({"skills": self.skills})),
            (Some(id), false) => Some(json!({"id": id, "skills": self.skills})),
        }
    }
}

fn with<const N: usize>(tool: Value, options: [(&str, Option<Value>); N]) -> Value {
    let mut fields = match tool {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    fields.extend(options.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    Value::Object(fields)
}

/// The skills to load. Unreadable ones are skipped; a warning was shown before.
fn skills(asked: Option<&Value>) -> Vec<Value> {
    let entries = asked.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| match CustomSkill::read(entry) {
            Ok(Some(skill)) => Some(json!({"type": "custom", "skill_id": skill.id, "version": skill.version})),
            Ok(None) => {
                let id = entry.get("skillId")?;
                Some(json!({"type": "anthropic", "skill_id": id, "version": "latest"}))
            }
            Err(_) => None,
        })
        .collect()
}

/// The blocks of this protocol in a message.
fn blocks(message: &Message) -> impl Iterator<Item = &Value> {
    let parts = match message {
        Message::ExpertMessage { contents, .. } => contents.as_slice(),
        _ => &[],
    };
    parts.iter().filter_map(|part| match part {
        ExpertPart::OpaquePart { opaque: Opaque { protocol, block }, .. } if protocol == NAME => Some(block),
        _ => None,
    })
}

/// The block of the container that an answer was made in.
pub(super) fn container_block(message: &Message) -> Option<&Value> {
    blocks(message).find(|block| is_of_type(block, &[CONTAINER]))
}

/// The id of a container, unless it has expired.
fn lasting(container: &Value, now: u64) -> Option<&str> {
    let expires_at: Timestamp = container.get("expires_at")?.as_str()?.parse().ok()?;
    let left = expires_at.as_millisecond().saturating_sub(i64::try_from(now).ok()?);
    container.get("id")?.as_str().filter(|_| left > EXPIRY_MARGIN_MS)
}

/// The calls of the provider's tools so far. A result needs its call before it, and a call its result, unless its turn is
/// still open and the provider continues it.
#[derive(Default)]
pub(super) struct NativeCalls {
    called: HashSet<String>,
    /// Those without a result.
    open: HashSet<String>,
}

impl NativeCalls {
    /// Returns true when the next block of an answer is sent back, if it is no call that is abandoned later.
    pub(super) fn admit(&mut self, block: &Value) -> bool {
        match (called(block), answered(block)) {
            (Some(id), _) => {
                self.called.insert(id.to_owned());
                self.open.insert(id.to_owned());
                true
            }
            (None, Some(id)) => {
                self.open.remove(id);
                self.called.contains(id)
            }
            (None, None) => is_of_type(block, &["container_upload"]),
        }
    }

    /// Returns true while a call has no result.
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Ends the turn: the calls that have no result are not sent back any more.
    pub(super) fn abandon(&mut self) -> HashSet<String> {
        let abandoned = std::mem::take(&mut self.open);
        self.called.retain(|id| !abandoned.contains(id));
        abandoned
    }
}

/// Returns true for the call of this id.
pub(super) fn is_call(block: &Value, id: &str) -> bool {
    called(block) == Some(id)
}

/// Returns true for a block type of the provider's own.
pub(super) fn is_native(kind: &str) -> bool {
    matches!(kind, "server_tool_use" | "container_upload") || kind.ends_with("_tool_result")
}

fn called(block: &Value) -> Option<&str> {
    if is_of_type(block, &["server_tool_use"]) { block.get("id")?.as_str() } else { None }
}

fn answered(block: &Value) -> Option<&str> {
    let kind = block.get("type")?.as_str()?;
    if kind.ends_with("_tool_result") { block.get("tool_use_id")?.as_str() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(names: &[&str], options: &Value, skills: &Value) -> RequestedNative {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        RequestedNative::new(NativeTools { tools: &names, options: Some(options), skills: Some(skills) })
    }

    fn container(asked: &RequestedNative, messages: Value, at: u64) -> Option<Value> {
        let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
        asked.container(messages.iter().rev().find_map(container_block), at)
    }

    #[test]
    fn each_tool_is_asked_for_in_its_version_with_its_options_and_feature() {
        let options =
            json!({"webSearch": {"maxUses": 3, "allowedDomains": ["owls.example"]}, "webFetch": {"maxUses": 2}});
        let all = asked(&["codeExecution", "webFetch", "webSearch", "googleSearch"], &options, &json!([]));
        assert_eq!(
            all.tools,
            [
                json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 3,
                       "allowed_domains": ["owls.example"]}),
                json!({"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 2}),
                json!({"type": "code_execution_20250825", "name": "code_execution"}),
            ]
        );
        assert_eq!(all.betas, [WEB_FETCH_BETA, CODE_EXECUTION_BETA]);
        assert_eq!(asked(&[], &json!({}), &json!([])), RequestedNative::default());
    }

    #[test]
    fn skills_are_loaded_and_bring_what_runs_them() {
        let skills = json!([
            {"type": "builtin", "skillId": "pdf"},
            {"type": "custom", "name": "owls", "definition": "{\"skill_id\":\"skill_1\",\"version\":\"17\"}"},
            {"type": "custom", "name": "broken", "definition": "{"},
        ]);
        let asked = asked(&[], &json!({}), &skills);
        let sent = json!({"skills": [
            {"type": "anthropic", "skill_id": "pdf", "version": "latest"},
            {"type": "custom", "skill_id": "skill_1", "version": "17"},
        ]});
        assert_eq!(container(&asked, json!([]), 0), Some(sent));
        assert_eq!(asked.betas, [CODE_EXECUTION_BETA, SKILLS_BETA]);
        assert_eq!(asked.tools, [json!({"type": "code_execution_20250825", "name": "code_execution"})]);
    }

    #[test]
    fn the_last_container_is_worked_in_while_it_lasts() {
        let block = |id: &str, expires_at: &str| {
            json!({"type": "expertMessage", "id": "e", "contents": [{"type": "opaquePart", "id": "p", "protocol": NAME,
                   "block": {"type": "container", "id": id, "expires_at": expires_at}}]})
        };
        let messages =
            json!([block("container_1", "2026-10-02T10:00:00Z"), block("container_2", "2026-10-02T08:20:00Z")]);
        let code = asked(&["codeExecution"], &json!({}), &json!([]));
        // 2026-10-02T08:00:00Z
        let now = 1_790_928_000_000;
        assert_eq!(container(&code, messages.clone(), now), Some(json!("container_2")));
        assert_eq!(container(&code, messages.clone(), now + 20 * 60_000), None);
        let skilled = asked(&[], &json!({}), &json!([{"type": "builtin", "skillId": "pdf"}]));
        assert_eq!(container(&skilled, messages.clone(), now).unwrap()["id"], "container_2");
        assert_eq!(container(&asked(&["webSearch"], &json!({}), &json!([])), messages, now), None);
        assert_eq!(container(&code, json!([block("container_3", "soon")]), now), None);
    }
}
