//! [`compose`]: the text of a Run's instruction message. It has the model's role, how the loop works, place and time,
//! then the expert's own instruction, its skills' rules and its delegates. Called once as a Run begins; the machine
//! keeps the message.

use std::fmt::Write as _;
use std::path::Path;

use crate::expert::{Expert, VerifyCommand};
use crate::expert_map::ExpertMap;
use crate::message::Message;
use crate::output_schema::OutputSchema;
use crate::runtime::run::check::answer_form;
use crate::runtime::run::verify::verify_notice;

/// The parts of an instruction message besides the experts themselves.
#[derive(Debug, Clone, Copy)]
pub struct InstructionContext<'a> {
    /// The Run's start, in milliseconds since the epoch.
    pub started_at: u64,
    pub workspace: &'a Path,
    /// Another expert called this one.
    pub is_delegate: bool,
}

const IDENTITY: &str = "You are Perstack, an expert that solves the user's task with all the tools it is given.\n\
    What follows first is general information on how you work.";

const LOOP: &str = "How you work:\n\
    - Read the first message and find out what is to be done. Where something is unclear, form a hypothesis, go on, \
    and check it.\n\
    - You work in a loop: look at what happened, choose a tool, wait for its result, repeat. Keep calling tools until \
    the task is done: an answer without a tool call ends the loop.\n\
    - When the task is done, call attemptCompletion alone, with your final answer in `result`.\n\
    - Finish at once when the task is done, when the request lies outside your field (then say what your field is), or \
    when it cannot be understood.";

const COORDINATION: &str = "- Calls that do not depend on each other belong in one turn: they run at the same time.\n\
    - Split large tasks into parts that can be done on their own. A delegate sees nothing but the query you give it: \
    say what is wanted, where to find it, and what to return.";

/// The line between two parts.
pub const PART: &str = "\n---\n";

/// The heading of the list of delegates.
pub const DELEGATES: &str = "The following experts can be called as tools:";

/// The beginning of a part about the answer.
pub const ANSWER: &str = "Your final answer ";

/// Before the path of the folder that an expert works in.
const WORKS_IN: &str = "\n- Current working directory: ";

/// The folder that the expert works in, by the text of its instruction.
pub fn working_directory(instruction: &str) -> Option<&Path> {
    let (_, rest) = instruction.split_once(WORKS_IN)?;
    rest.lines().next().map(Path::new)
}

/// Composes the message for `expert`; `experts` are those it may find its delegates among.
pub fn compose(expert: &Expert, experts: &ExpertMap, scene: InstructionContext<'_>) -> String {
    let mut text = format!("{IDENTITY}\n\n{LOOP}\n");
    if !scene.is_delegate {
        let _ = writeln!(text, "{COORDINATION}");
    }
    let _ = write!(
        text,
        "\nEnvironment:\n- Current time: {}{WORKS_IN}{}\n",
        iso_utc(scene.started_at),
        scene.workspace.display()
    );
    let _ = write!(text, "\n---\nYour task as the expert {}:\n\n{}\n", expert.name, expert.instruction.trim());
    let rules = expert.skills.iter().filter_map(|(name, skill)| Some((name, skill.common().rule.as_deref()?.trim())));
    let rules = rules.filter(|(_, rule)| !rule.is_empty());
    section(&mut text, "Rules for your skills:", rules.map(|(name, rule)| format!("\"{name}\" skill rules:\n{rule}")));
    let delegates = expert.delegates.iter().filter_map(|key| Some((key, experts.get(key).ok()?)));
    let delegates = delegates.map(|(key, delegate)| {
        let about = delegate.description.as_deref().unwrap_or("(no description)");
        format!("{} ({}): {}", delegate.name, key.tool_name(), about.trim())
    });
    section(&mut text, DELEGATES, delegates);
    text
}

/// Composes the message with all that belongs to it: the sections of files and skills, the form of the answer, and the
/// command that verifies it.
pub fn compose_whole(
    expert: &Expert,
    experts: &ExpertMap,
    scene: InstructionContext<'_>,
    sections: Vec<String>,
    schema: Option<&OutputSchema>,
    verify: Option<&VerifyCommand>,
) -> String {
    let parts = sections.into_iter().chain(schema.map(answer_form)).chain(verify.map(verify_notice));
    parts.fold(compose(expert, experts, scene), |text, part| format!("{text}{PART}{part}\n"))
}

/// The text of a conversation's instruction.
pub fn instruction_of(messages: &[Message]) -> Option<&str> {
    messages.iter().find_map(|message| match message {
        Message::InstructionMessage { contents, .. } => contents.first()?.as_text(),
        _ => None,
    })
}

/// Adds a heading with its entries; without entries nothing, since a model takes an empty heading for a mistake.
fn section(text: &mut String, heading: &str, entries: impl Iterator<Item = String>) {
    let mut entries = entries.peekable();
    if entries.peek().is_some() {
        let _ = writeln!(text, "{PART}{heading}");
    }
    for entry in entries {
        let _ = write!(text, "\n{entry}\n");
    }
}

/// ISO 8601 in UTC with milliseconds, e.g. `2026-02-13T16:26:40.000Z`.
fn iso_utc(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    // Out of range only for a clock some thousands of years ahead.
    at.map_or_else(|| format!("{at_ms} ms since 1970"), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::expert::{ExpertKey, SkillCommon, SkillSpec};

    fn expert(key: &str) -> Expert {
        let key: ExpertKey = key.parse().unwrap();
        Expert {
            name: key.as_str().to_owned(),
            version: "1.0.0".to_owned(),
            min_runtime_version: None,
            description: Some(format!("What {key} does.")),
            instruction: format!("Be {key}."),
            fallback: None,
            default_model_tier: None,
            context_limit: None,
            tool_search: None,
            output_schema: None,
            verify: None,
            context: Vec::new(),
            agent_skills: Vec::new(),
            skills: IndexMap::new(),
            delegates: Vec::new(),
            tags: Vec::new(),
            permissions: crate::permission::Permissions::default(),
            after_untrusted: None,
            provider_tools: Vec::new(),
            provider_skills: None,
            provider_tool_options: None,
            key,
        }
    }

    #[test]
    fn sections_come_in_order_with_their_facts() {
        let mut lead = expert("lead");
        lead.delegates = vec!["@lead/helper".parse().unwrap()];
        let common =
            SkillCommon { name: "web".to_owned(), rule: Some("Few searches.".to_owned()), ..SkillCommon::default() };
        lead.skills.insert(
            "web".to_owned(),
            SkillSpec::McpSseSkill {
                common,
                endpoint: "https://example.com/sse".to_owned(),
                allowed_domains: None,
                allow_private_endpoint: false,
                authorization_env: None,
                oauth: None,
            },
        );
        let helper = expert("@lead/helper");
        let experts = ExpertMap::from([helper]);
        let scene = InstructionContext {
            started_at: 1_771_000_000_000,
            workspace: Path::new("/work/here"),
            is_delegate: false,
        };
        let text = compose(&lead, &experts, scene);
        let order = [
            "You are Perstack",
            "attemptCompletion",
            "2026-02-13T16:26:40.000Z",
            "/work/here",
            "Be lead.",
            "\"web\" skill rules:\nFew searches.",
            "@lead/helper (helper): What @lead/helper does.",
        ];
        let places: Vec<Option<usize>> = order.iter().map(|part| text.find(part)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}\n{text}");
    }

    #[test]
    fn a_section_without_entries_has_no_heading() {
        let scene = InstructionContext { started_at: 0, workspace: Path::new("/work"), is_delegate: false };
        let mut alone = expert("alone");
        let blank = SkillCommon { name: "web".to_owned(), rule: Some(" \n".to_owned()), ..SkillCommon::default() };
        alone.skills.insert("web".to_owned(), SkillSpec::InteractiveSkill { common: blank, tools: IndexMap::new() });
        alone.delegates = vec!["gone".parse().unwrap()];
        let text = compose(&alone, &ExpertMap::default(), scene);
        assert!(text.ends_with("Your task as the expert alone:\n\nBe alone.\n"), "{text}");
    }
}
