//! How much a Claude model is to think, and how that is asked for: models differ in the form they accept and refuse
//! the other one.

use crate::generation::GenerateRequest;

/// Fewest tokens of a thinking budget (documentation of `thinking.budget_tokens`).
const MIN_BUDGET: u64 = 1024;

/// Tokens that a budget leaves for the answer itself. The protocol asks for one; this is room for a tool call.
const MIN_ANSWER: u64 = 1024;

/// `max_tokens` for a Claude model that the catalogue does not know: the smallest maximum of any model since Claude 3.7 (Opus 4 and 4.1).
const CLAUDE_MAX_TOKENS: u64 = 32_000;

/// `max_tokens` for models of which nothing is known (the original's value).
const UNKNOWN_MAX_TOKENS: u64 = 4096;

/// What a request says about thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThinkingMode {
    /// Nothing.
    Off,
    /// A number of tokens.
    Budget(u64),
    /// The model decides, guided by an effort.
    Adaptive(&'static str),
}

/// Thinking and answering share one limit, so they are planned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) max_tokens: u64,
    pub(super) mode: ThinkingMode,
}

/// Plans a request. `is_continued` is false when the turn under way began without thinking, which a budget forbids to
/// change; adaptive thinking does not mind.
pub(super) fn plan(request: &GenerateRequest<'_>, is_continued: bool) -> Plan {
    let model = Model::of(request.model);
    let limit = request.max_output_tokens;
    let max_tokens = limit.unwrap_or(model.max_tokens);
    let off = Plan { max_tokens, mode: ThinkingMode::Off };
    let (Some(tokens), Some(effort)) = (request.reasoning.tokens(), request.reasoning.effort()) else { return off };
    match model.form {
        Form::Adaptive => Plan { max_tokens, mode: ThinkingMode::Adaptive(effort) },
        Form::Budget if is_continued => {
            let wanted = tokens.max(MIN_BUDGET);
            let max_tokens = limit.unwrap_or(max_tokens.max(wanted.saturating_add(UNKNOWN_MAX_TOKENS)));
            let budget = wanted.min(max_tokens.saturating_sub(MIN_ANSWER));
            if budget < MIN_BUDGET { off } else { Plan { max_tokens, mode: ThinkingMode::Budget(budget) } }
        }
        Form::Budget | Form::None => off,
    }
}

/// What a model's name tells.
struct Model {
    form: Form,
    max_tokens: u64,
}

/// How a model is asked to think.
enum Form {
    /// Not at all: before Claude 3.7.
    None,
    /// By a budget: until Claude 4.5, and models that are not Claude.
    Budget,
    /// Adaptively: since Claude 4.6, where budgets are deprecated, and refused since 4.7.
    Adaptive,
}

impl Model {
    /// Names carry their version behind the family (`claude-opus-4-6`) or before it (`claude-3-7-sonnet-20250219`);
    /// gateways put a prefix in front (`anthropic/claude-opus-4.6`).
    fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let Some((_, name)) = name.split_once("claude-") else {
            return Self { form: Form::Budget, max_tokens: UNKNOWN_MAX_TOKENS };
        };
        match version(name) {
            Some(version) if version < (3, 7) => Self { form: Form::None, max_tokens: UNKNOWN_MAX_TOKENS },
            Some(version) if version < (4, 6) => Self { form: Form::Budget, max_tokens: CLAUDE_MAX_TOKENS },
            Some(_) => Self { form: Form::Adaptive, max_tokens: CLAUDE_MAX_TOKENS },
            // `claude-mythos-preview` is the one newer model without a version.
            None if name.starts_with("mythos") => Self { form: Form::Adaptive, max_tokens: CLAUDE_MAX_TOKENS },
            None => Self { form: Form::Budget, max_tokens: UNKNOWN_MAX_TOKENS },
        }
    }
}

/// The first one or two short numbers of a name; longer ones are dates.
fn version(name: &str) -> Option<(u8, u8)> {
    let number = |word: &str| if word.len() <= 2 { word.parse::<u8>().ok() } else { None };
    let mut words = name.split(['-', '.', '@', ':']).skip_while(|word| number(word).is_none());
    let major = words.next().and_then(number)?;
    Some((major, words.next().and_then(number).unwrap_or(0)))
}
