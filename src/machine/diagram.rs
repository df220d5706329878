//! The table of arrows and its drawing. The machine's property tests hold it equal to what `advance` does.

use std::fmt::Write as _;

use strum::IntoEnumIterator as _;

use crate::checkpoint::Status;

/// One arrow: in this state, told this, the machine goes there and tells these events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Arrow {
    pub from: &'static str,
    pub input: &'static str,
    pub to: &'static str,
    /// The event told on the way; empty for a silent hand-over.
    pub event: &'static str,
}

const fn arrow(from: &'static str, input: &'static str, to: &'static str, event: &'static str) -> Arrow {
    Arrow { from, input, to, event }
}

/// Every arrow there is.
pub const ARROWS: [Arrow; 48] = [
    arrow("Init", "started", "PreparingForStep", "startRun"),
    arrow("Init", "resumed", "PreparingForStep", "startRun"),
    arrow("Init", "resumed", "ResumingFromStop", "resumeFromStop"),
    arrow("ResumingFromStop", "proceed", "CallingMcpTools", ""),
    arrow("ResumingFromStop", "proceed", "CallingDelegates", ""),
    arrow("ResumingFromStop", "proceed", "CallingInteractiveTools", ""),
    arrow("ResumingFromStop", "proceed", "ResolvingToolResult", "resolveToolResults"),
    arrow("PreparingForStep", "proceed", "GeneratingToolCall", "startGeneration"),
    arrow("GeneratingToolCall", "generated", "CallingMcpTools", "callTools"),
    arrow("GeneratingToolCall", "generated", "FinishingStep", "retry"),
    arrow("GeneratingToolCall", "generated", "completed", "completeRun"),
    arrow("GeneratingToolCall", "generated", "stoppedByError", "stopRunByError"),
    arrow("GeneratingToolCall", "generated", "stoppedByBudget", "stopRunByBudget"),
    arrow("GeneratingToolCall", "generationFailed", "GeneratingToolCall", "retry"),
    arrow("GeneratingToolCall", "generationFailed", "stoppedByError", "stopRunByError"),
    arrow("GeneratingToolCall", "generated", "SummarizingContext", ""),
    arrow("GeneratingToolCall", "generationFailed", "SummarizingContext", ""),
    arrow("SummarizingContext", "summarized", "GeneratingToolCall", "contextSummarized"),
    arrow("SummarizingContext", "summarized", "SummarizingContext", "retry"),
    arrow("SummarizingContext", "summarized", "stoppedByError", "stopRunByError"),
    arrow("SummarizingContext", "generationFailed", "SummarizingContext", "retry"),
    arrow("SummarizingContext", "generationFailed", "stoppedByError", "stopRunByError"),
    arrow("SummarizingContext", "summarized", "stoppedByBudget", "stopRunByBudget"),
    arrow("SummarizingContext", "reserved", "SummarizingContext", ""),
    arrow("SummarizingContext", "budgetReached", "stoppedByBudget", "stopRunByBudget"),
    arrow("SummarizingContext", "budgetReached", "stoppedByExceededMaxSteps", "stopRunByExceededMaxSteps"),
    arrow("SummarizingContext", "interrupted", "stoppedByCancellation", "stopRunByCancellation"),
    arrow("SummarizingContext", "resumed", "GeneratingToolCall", "resumeFromStop"),
    arrow("GeneratingToolCall", "interrupted", "stoppedByCancellation", "stopRunByCancellation"),
    arrow("GeneratingToolCall", "resumed", "GeneratingToolCall", "resumeFromStop"),
    arrow("GeneratingToolCall", "toolsChanged", "GeneratingToolCall", ""),
    arrow("GeneratingToolCall", "reserved", "GeneratingToolCall", ""),
    arrow("GeneratingToolCall", "budgetReached", "stoppedByBudget", "stopRunByBudget"),
    arrow("GeneratingToolCall", "budgetReached", "stoppedByExceededMaxSteps", "stopRunByExceededMaxSteps"),
    arrow("CallingMcpTools", "toolReturned", "CallingMcpTools", ""),
    arrow("CallingMcpTools", "interrupted", "stoppedByCancellation", "stopRunByCancellation"),
    arrow("CallingMcpTools", "budgetReached", "stoppedByBudget", "stopRunByBudget"),
    arrow("CallingMcpTools", "resumed", "CallingMcpTools", "resumeFromStop"),
    arrow("CallingMcpTools", "proceed", "completed", "completeRun"),
    arrow("CallingMcpTools", "proceed", "CallingDelegates", ""),
    arrow("CallingMcpTools", "proceed", "ResolvingToolResult", "resolveToolResults"),
    arrow("CallingDelegates", "proceed", "stoppedByDelegate", "stopRunByDelegate"),
    arrow("CallingDelegates", "proceed", "CallingInteractiveTools", ""),
    arrow("CallingInteractiveTools", "proceed", "stoppedByInteractiveTool", "stopRunByInteractiveTool"),
    arrow("ResolvingToolResult", "proceed", "FinishingStep", "finishToolCall"),
    arrow("FinishingStep", "proceed", "PreparingForStep", "continueToNextStep"),
    arrow("FinishingStep", "proceed", "stoppedByExceededMaxSteps", "stopRunByExceededMaxSteps"),
    arrow("FinishingStep", "proceed", "stoppedByBudget", "stopRunByBudget"),
];

/// The arrows as a Mermaid state diagram. Labels: the input, then the event it leads to.
pub fn mermaid() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> Init\n");
    for arrow in &ARROWS {
        let event = if arrow.event.is_empty() { String::new() } else { format!(" / {}", arrow.event) };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {} --> {} : {}{}", arrow.from, arrow.to, arrow.input, event);
    }
    for status in Status::iter().filter(|status| status.is_terminal()) {
        let _ = writeln!(text, "    {} --> [*]", status.name());
    }
    text
}
