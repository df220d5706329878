//! Bounds, words and forms of the values that keys take. The readers demand these, the tables show them.

use std::ops::RangeInclusive;

use super::{MAX_NUMBER, TextForm};
use crate::budget::MIN_TOOL_REPETITIONS;
use crate::expert::{ContextLimit, Grant, MAX_SKILL_TIMEOUT_MS, MOST_VERIFY_ROUNDS, ModelTier, ToolSearch};
use crate::setting::{MIN_TOOL_OUTPUT, MOST_PARALLEL_DELEGATES, OpenAiApi, ProviderName, ReasoningBudget};

// Bounds.

/// Numbers of which there must be one.
pub(in crate::config) const COUNT: RangeInclusive<u64> = 1..=MAX_NUMBER;
pub(in crate::config) const RETRIES: RangeInclusive<u64> = 0..=u32::MAX as u64;
pub(in crate::config) const REPETITIONS: RangeInclusive<u64> = MIN_TOOL_REPETITIONS..=MAX_NUMBER;
pub(in crate::config) const PARALLEL_DELEGATES: RangeInclusive<u64> = 1..=MOST_PARALLEL_DELEGATES;
/// Tokens to think with.
pub(in crate::config) const REASONING_TOKENS: RangeInclusive<u64> = 0..=MAX_NUMBER;
/// Bytes. The upper bound is our own choice: twice what the largest context windows hold.
pub(in crate::config) const TOOL_OUTPUT: RangeInclusive<u64> = MIN_TOOL_OUTPUT as u64..=10_000_000;
/// Milliseconds.
pub(in crate::config) const SKILL_TIMEOUT: RangeInclusive<u64> = 1..=MAX_SKILL_TIMEOUT_MS;
pub(in crate::config) const VERIFY_ROUNDS: RangeInclusive<u64> = 1..=MOST_VERIFY_ROUNDS as u64;
/// Milliseconds; a day at most, as for `exec`.
pub(in crate::config) const VERIFY_TIMEOUT: RangeInclusive<u64> = 1..=86_400_000;
/// Most characters of an expert's name, version and tags (the original's limits).
pub(in crate::config) const MAX_NAME: usize = 255;
/// Characters of a description (the original's limits).
pub(in crate::config) const DESCRIPTION: RangeInclusive<usize> = 1..=2048;
/// Characters of an instruction (the original's limits).
pub(in crate::config) const INSTRUCTION: RangeInclusive<usize> = 1..=20_480;

// Words, each with its meaning.

pub(in crate::config) const TIERS: [(&str, ModelTier); 3] =
    [("low", ModelTier::Low), ("middle", ModelTier::Middle), ("high", ModelTier::High)];

pub(in crate::config) const CONTEXT_LIMITS: [(&str, ContextLimit); 2] =
    [("stop", ContextLimit::Stop), ("summarize", ContextLimit::Summarize)];

pub(in crate::config) const TOOL_SEARCHES: [(&str, ToolSearch); 3] =
    [("off", ToolSearch::Off), ("auto", ToolSearch::Auto), ("on", ToolSearch::On)];

pub(in crate::config) const REASONING: [(&str, ReasoningBudget); 5] = [
    ("none", ReasoningBudget::None),
    ("minimal", ReasoningBudget::Minimal),
    ("low", ReasoningBudget::Low),
    ("medium", ReasoningBudget::Medium),
    ("high", ReasoningBudget::High),
];

pub(in crate::config) const OPENAI_APIS: [(&str, OpenAiApi); 2] =
    [("responses", OpenAiApi::Responses), ("chat", OpenAiApi::Chat)];

pub(in crate::config) const GRANTS: [(&str, Grant); 2] =
    [("authorizationCode", Grant::AuthorizationCode), ("clientCredentials", Grant::ClientCredentials)];

/// The kinds of skills.
#[derive(Clone, Copy)]
pub(in crate::config) enum SkillKind {
    Stdio,
    Sse,
    Interactive,
}

/// The values of a skill's `type`.
pub(in crate::config) const SKILL_KINDS: [(&str, SkillKind); 3] = [
    ("mcpStdioSkill", SkillKind::Stdio),
    ("mcpSseSkill", SkillKind::Sse),
    ("interactiveSkill", SkillKind::Interactive),
];

/// The values of `type` in `providerSkills`; true for those with a definition of their own.
pub(in crate::config) const PROVIDER_SKILL_KINDS: [(&str, bool); 2] = [("builtin", false), ("custom", true)];

/// The kinds of documents that Anthropic's own skills write.
pub(in crate::config) const BUILTIN_SKILLS: [(&str, &str); 4] =
    [("pdf", "pdf"), ("docx", "docx"), ("pptx", "pptx"), ("xlsx", "xlsx")];

/// Every tool that any provider runs (the original's lists, joined).
pub(in crate::config) const PROVIDER_TOOLS: [&str; 11] = [
    "webSearch",
    "webFetch",
    "codeExecution",
    "fileSearch",
    "codeInterpreter",
    "imageGeneration",
    "googleSearch",
    "urlContext",
    "googleMaps",
    "webSearchPreview",
    "enterpriseWebSearch",
];

/// The words of a list of words with their meanings.
pub(super) fn words<T>(options: &[(&'static str, T)]) -> Vec<&'static str> {
    options.iter().map(|(word, _)| *word).collect()
}

pub(super) fn provider_names() -> Vec<&'static str> {
    ProviderName::ALL.map(ProviderName::as_str).to_vec()
}

// Forms of texts. The readers' own parsers decide; the patterns are for editors, and a test compares the two.

pub(super) const SPAN: TextForm = TextForm {
    words: "length of time with the units h, m, s and ms, largest first",
    pattern: r"^\s*(?=[0-9])(?=.*[1-9])([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?\s*$",
    longest: None,
    example: "1h30m",
};
pub(super) const MODEL_NAME: TextForm = TextForm {
    words: "provider, a slash and a model",
    pattern: "^(anthropic|openai|google|deepseek|fireworks|azure-openai|amazon-bedrock|google-vertex|ollama)/[!-~]+$",
    longest: None,
    example: "openai/gpt-5-mini",
};
pub(super) const COMMAND: TextForm = TextForm {
    words: "shell command",
    pattern: r"^[^\u0000]*[^\s\u0000][^\u0000]*$",
    longest: None,
    example: "cargo test",
};
pub(super) const HTTPS_URL: TextForm = TextForm {
    words: "https address",
    pattern: "^[hH][tT][tT][pP][sS]:.",
    longest: None,
    example: "https://example.com",
};
pub(super) const URL: TextForm = TextForm {
    words: "https address, or an http one of this machine or a private network",
    pattern: "^[hH][tT][tT][pP][sS]?:.",
    longest: None,
    example: "https://example.com/v1",
};
pub(super) const EXPERT_NAME: TextForm = TextForm {
    words: "name of lower-case letters, digits, - and _, with an optional @scope/ before",
    pattern: "^(@[a-z0-9][a-z0-9_-]*/)?[a-z0-9][a-z0-9_-]*$",
    longest: Some(MAX_NAME),
    example: "reviewer",
};
pub(super) const DELEGATE: TextForm = TextForm {
    words: "name of an expert, with an optional @version or @tag behind",
    pattern: concat!(
        "^(@[a-z0-9][a-z0-9_.-]*/)?[a-z0-9][a-z0-9_.-]*",
        r"(@((0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[A-Za-z0-9_.-]+)?(\+[A-Za-z0-9_.-]+)?|[a-z0-9][a-z0-9_.-]*))?$"
    ),
    longest: Some(511),
    example: "reviewer",
};
pub(super) const VERSION: TextForm = TextForm {
    words: "semantic version",
    pattern: r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[A-Za-z0-9_.-]+)?(\+[A-Za-z0-9_.-]+)?$",
    longest: Some(MAX_NAME),
    example: "1.2.0",
};
pub(super) const TAG: TextForm = TextForm {
    words: "tag of lower-case letters, digits, - and _",
    pattern: "^[a-z0-9][a-z0-9_-]*$",
    longest: Some(MAX_NAME),
    example: "docs",
};
pub(super) const FILES: TextForm = TextForm {
    words: "path, in which * stands for any characters of a name, ? for one, ** for any folders",
    pattern: r"^(?![\s\S]*://)[\s\S]+$",
    longest: None,
    example: "experts/*.toml",
};
pub(super) const DOMAIN: TextForm = TextForm {
    words: "domain, or *. and a domain, or an address; with a port (`:8443`) where it is neither 80 nor 443",
    pattern: concat!(
        r"^((\*\.)?(?![Xx][Nn]--)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?",
        r"(\.(?![Xx][Nn]--)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:.]+\])",
        "(:(?!(80|443)$)([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$"
    ),
    longest: None,
    example: "*.example.com",
};
pub(super) const ACCESS_PATH: TextForm = TextForm {
    words: "file or folder: absolute, beneath the home folder (`~/`), or relative to the project's root",
    pattern: r"^(~(/[^$*?\u0000]*)?|[^~$*?\u0000][^$*?\u0000]*)$",
    longest: None,
    example: "~/.config/owls",
};
pub(super) const CONTEXT_PATH: TextForm = TextForm {
    words: "relative path of a file beneath the workspace, without `..`",
    pattern: r"^(?![/~])(?!([\s\S]*/)?\.\.(/|$))(?![\s\S]*//)[^\\*?\u0000]*[^\\*?/\u0000]$",
    longest: None,
    example: "AGENTS.md",
};
pub(super) const AGENT_SKILL: TextForm = TextForm {
    words: "skill's name, a path with a slash in it, or *",
    pattern: concat!(
        r"^(\*|(?=.{1,64}$)[a-z0-9]+(-[a-z0-9]+)*",
        r"|(?![\s\S]*://)(~(?=/)|[^~*?\\\u0000/]|(?=/))[^*?\\\u0000/]*/[^*?\\\u0000]*)$"
    ),
    longest: None,
    example: "./skills",
};
pub(super) const HEADER_NAME: TextForm = TextForm {
    words: "name of an HTTP header",
    pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
    longest: None,
    example: "X-Team",
};
pub(super) const HEADER_VALUE: TextForm = TextForm {
    words: "header's value, without line breaks and control characters",
    pattern: r"^[^\u0000-\u0008\u000a-\u001f\u007f]*$",
    longest: None,
    example: "owls",
};
pub(super) const OBJECT_SCHEMA: TextForm = TextForm {
    words: "JSON Schema as JSON text",
    pattern: r"^\s*\{[\s\S]*\}\s*$",
    longest: None,
    example: r#"{ "type": "object" }"#,
};
pub(super) const JSON: TextForm = TextForm { words: "JSON text", pattern: r"\S", longest: None, example: "{}" };
