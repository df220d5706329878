//! [`WindowGauge`]: the size of the next request against the model's context window, and [`ModelLimits`], which it must
//! keep. [`ModelRequests`](super::requests::ModelRequests) asks before each request; what follows from a conversation
//! that does not fit is the machine's.
//!
//! The provider reports with every answer what the conversation took; what came after it is estimated.

use crate::checkpoint::MeasuredTokens;
use crate::expert::ContextLimit;
use crate::generation::{FailureKind, Generation, GenerationFailure};
use crate::machine::RunMachine;
use crate::runtime::job::models::RunModel;
use crate::setting::ReasoningBudget;
use crate::token_estimate::{message_tokens, tools_tokens};
use crate::tool::ToolSpec;

/// Tokens that an answer must have room for, its reasoning not counted: enough for a call that writes a file of some
/// hundred lines. Our own choice.
const LEAST_ANSWER: u64 = 4096;
/// The most of the window that this room may be, as its divisor: small models have small windows.
const ROOM_SHARE: u64 = 8;
/// The part of the window that may be full before a warning, in percent.
const WARNING_PERCENT: u64 = 80;
/// The part kept free where tokens are estimated, as a divisor of the estimate.
const DOUBT: u64 = 4;

/// The size of a request, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptSize {
    pub tokens: u64,
    /// The estimated ones among them.
    pub estimated: u64,
}

/// Counts the tokens of a conversation. Each message is counted once, and so are the tools until they change.
#[derive(Debug, Default)]
pub struct WindowGauge {
    measured: Option<MeasuredTokens>,
    /// Messages that are measured or counted.
    counted: usize,
    /// Tokens of those that are not measured.
    estimated: u64,
    /// Tokens of the tools' definitions; `None` while they are not counted.
    defined: Option<u64>,
    /// The same at the latest request, and at the one that was measured.
    tools: u64,
    measured_tools: u64,
}

impl WindowGauge {
    /// Counts the tools anew at the next request.
    pub fn tools_changed(&mut self) {
        self.defined = None;
    }

    /// The size of the next request.
    pub fn read(&mut self, machine: &RunMachine, tools: &[ToolSpec]) -> PromptSize {
        let measured = machine.head().context;
        let defined = *self.defined.get_or_insert_with(|| tools_tokens(tools));
        if measured != self.measured {
            let is_first = self.measured.is_none() && self.counted == 0;
            self.measured_tools = if is_first { defined } else { self.tools };
            self.measured = measured;
            self.counted = measured.map_or(0, |measured| measured.messages);
            self.estimated = 0;
        }
        self.tools = defined;
        let new = machine.messages().get(self.counted..).unwrap_or_default();
        self.estimated = new.iter().map(message_tokens).fold(self.estimated, u64::saturating_add);
        self.counted = machine.messages().len();
        let (known, tools) = match self.measured {
            Some(measured) => (measured.tokens, defined.saturating_sub(self.measured_tools)),
            None => (0, defined),
        };
        let estimated = self.estimated.saturating_add(tools);
        PromptSize { tokens: known.saturating_add(estimated), estimated }
    }
}

/// The limits of a model on a request and its answer, in tokens.
#[derive(Debug, Clone, Copy)]
pub struct ModelLimits {
    /// The context window; `None` where it is not known.
    pub window: Option<u64>,
    pub reasoning: ReasoningBudget,
    /// The most that may be asked for: what is set aside for the answer, or else the model's own limit.
    pub most_answer: Option<u64>,
    /// The most that the answer can have if no limit is sent.
    pub answer_bound: u64,
}

/// The limits of a model on its answers, in tokens.
#[derive(Debug, Clone, Copy)]
pub struct AnswerLimits {
    /// Its own limit, where one is sent.
    most: Option<u64>,
    /// The most that an answer can have if no limit is sent.
    bound: u64,
}

impl AnswerLimits {
    /// Those of `model`.
    pub fn of(model: &RunModel, reasoning: ReasoningBudget) -> Self {
        let RunModel { provider, model } = model;
        let most = provider.max_output_tokens(model, reasoning);
        Self { most, bound: provider.output_bound(model, reasoning) }
    }
}

impl ModelLimits {
    /// The limits on the next request of `machine`, to a model with these limits on its answers.
    pub fn of(answers: AnswerLimits, machine: &RunMachine, reasoning: ReasoningBudget) -> Self {
        let reserved = machine.reserved().map(|held| held.output_tokens);
        Self {
            window: machine.parameters().context_window,
            reasoning,
            most_answer: reserved.or(answers.most),
            answer_bound: answers.bound,
        }
    }

    /// The failure of a request that cannot fit and is not sent. `None` where the window is not known.
    pub fn overflow(&self, size: PromptSize) -> Option<GenerationFailure> {
        let window = self.window?;
        let room = self.room(window);
        if size.tokens.saturating_add(room) <= window {
            return None;
        }
        let message = format!(
            "about {} tokens, and at least {room} for the answer, are more than the {window} that it has ({} % full)",
            size.tokens,
            percent(size.tokens, window)
        );
        Some(GenerationFailure {
            kind: FailureKind::ContextOverflow,
            message,
            status_code: None,
            is_retryable: false,
            retry_after_ms: None,
        })
    }

    /// The limit on the answer to send: no more than the window has room for, as providers refuse that.
    pub fn answer(&self, size: PromptSize) -> Option<u64> {
        let most = self.most_answer?;
        let Some(window) = self.window else { return Some(most) };
        let left = window.saturating_sub(size.tokens).saturating_sub(size.estimated / DOUBT);
        Some(most.min(left.max(self.room(window))))
    }

    /// Tokens that must be left for an answer.
    fn room(&self, window: u64) -> u64 {
        LEAST_ANSWER.saturating_add(self.reasoning.tokens().unwrap_or(0)).min(window / ROOM_SHARE)
    }
}

/// A warning when an answer takes the conversation past [`WARNING_PERCENT`]; once, and again only after a summary.
pub fn warning(machine: &RunMachine, generation: &Generation) -> Option<String> {
    let (head, parameters) = (machine.head(), machine.parameters());
    let (window, tokens) = (parameters.context_window?, generation.context_tokens?);
    let is_full = |tokens: u64| percent(tokens, window) >= WARNING_PERCENT;
    if !is_full(tokens) || head.context.is_some_and(|before| is_full(before.tokens)) {
        return None;
    }
    let next = match parameters.context_limit {
        ContextLimit::Stop => {
            "when it is full, the run stops; with contextLimit = \"summarize\", older steps are summarised instead"
        }
        ContextLimit::Summarize => "when it is full, older steps are summarised",
    };
    let percent = percent(tokens, window);
    Some(format!("the context window is {percent} % full ({tokens} of {window} tokens): {next}"))
}

fn percent(tokens: u64, window: u64) -> u64 {
    tokens.saturating_mul(100) / window.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(tokens: u64) -> PromptSize {
        PromptSize { tokens, estimated: 0 }
    }

    fn limits(window: u64, reasoning: ReasoningBudget) -> ModelLimits {
        ModelLimits { window: Some(window), reasoning, most_answer: Some(64_000), answer_bound: 64_000 }
    }

    #[test]
    fn an_answer_needs_room_for_itself_and_its_reasoning_but_never_much_of_a_small_window() {
        let room = |window, reasoning| limits(window, reasoning).room(window);
        assert_eq!(room(200_000, ReasoningBudget::None), 4096);
        assert_eq!(room(200_000, ReasoningBudget::High), 14_096);
        assert_eq!(room(8_000, ReasoningBudget::High), 1000);
    }

    #[test]
    fn a_request_fits_as_long_as_there_is_room_for_an_answer() {
        let limits = limits(200_000, ReasoningBudget::None);
        let fits = |tokens| limits.overflow(measured(tokens)).is_none();
        assert!(fits(195_904));
        assert!(!fits(195_905));
        let failure = limits.overflow(measured(240_000)).unwrap();
        assert_eq!(
            failure.message,
            "about 240000 tokens, and at least 4096 for the answer, are more than the 200000 that it has (120 % full)"
        );
        assert!(!failure.may_be_charged());
    }

    #[test]
    fn an_answer_may_be_as_long_as_the_window_leaves_room_for() {
        let limits = limits(200_000, ReasoningBudget::None);
        let limit = |tokens, estimated| limits.answer(PromptSize { tokens, estimated });
        assert_eq!(limit(136_000, 0), Some(64_000));
        assert_eq!(limit(150_000, 0), Some(50_000));
        assert_eq!(limit(150_000, 8_000), Some(48_000));
        assert_eq!(limit(195_000, 8_000), Some(4096));
    }
}
