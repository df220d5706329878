//! The table of arrows and its drawing. The machine's property tests hold it equal to what `advance` does.

use std::fmt::Write as _;

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
    arrow("Init", "Started", "PreparingForStep", "startRun"),
    arrow("Init", "Resumed", "PreparingForStep", "startRun"),
    arrow("Init", "Resumed", "ResumingFromStop", "resumeFromStop"),
    arrow("ResumingFromStop", "Proceed", "CallingMcpTools", ""),
    arrow("ResumingFromStop", "Proceed", "CallingDelegates", ""),
    arrow("ResumingFromStop", "Proceed", "CallingInteractiveTools", ""),
    arrow("ResumingFromStop", "Proceed", "ResolvingToolResult", "resolveToolResults"),
    arrow("PreparingForStep", "Proceed", "GeneratingToolCall", "startGeneration"),
    arrow("GeneratingToolCall", "Generated", "CallingMcpTools", "callTools"),
    arrow("GeneratingToolCall", "Generated", "FinishingStep", "retry"),
    arrow("GeneratingToolCall", "Generated", "completed", "completeRun"),
    arrow("GeneratingToolCall", "Generated", "stoppedByError", "stopRunByError"),
    arrow("GeneratingToolCall", "Generated", "stoppedByBudget", "stopRunByBudget"),
    arrow("GeneratingToolCall", "GenerationFailed", "GeneratingToolCall", "retry"),
    arrow("GeneratingToolCall", "GenerationFailed", "stoppedByError", "stopRunByError"),
    arrow("GeneratingToolCall", "Generated", "SummarizingContext", ""),
    arrow("GeneratingToolCall", "GenerationFailed", "SummarizingContext", ""),
    arrow("SummarizingContext", "Summarized", "GeneratingToolCall", "contextSummarized"),
    arrow("SummarizingContext", "Summarized", "SummarizingContext", "retry"),
    arrow("SummarizingContext", "Summarized", "stoppedByError", "stopRunByError"),
    arrow("SummarizingContext", "GenerationFailed", "SummarizingContext", "retry"),
    arrow("SummarizingContext", "GenerationFailed", "stoppedByError", "stopRunByError"),
    arrow("SummarizingContext", "Summarized", "stoppedByBudget", "stopRunByBudget"),
    arrow("SummarizingContext", "Reserved", "SummarizingContext", ""),
    arrow("SummarizingContext", "BudgetReached", "stoppedByBudget", "stopRunByBudget"),
    arrow("SummarizingContext", "BudgetReached", "stoppedByExceededMaxSteps", "stopRunByExceededMaxSteps"),
    arrow("SummarizingContext", "Interrupted", "stoppedByCancellation", "stopRunByCancellation"),
    arrow("SummarizingContext", "Resumed", "GeneratingToolCall", "resumeFromStop"),
    arrow("GeneratingToolCall", "Interrupted", "stoppedByCancellation", "stopRunByCancellation"),
    arrow("GeneratingToolCall", "Resumed", "GeneratingToolCall", "resumeFromStop"),
    arrow("GeneratingToolCall", "ToolsChanged", "GeneratingToolCall", ""),
    arrow("GeneratingToolCall", "Reserved", "GeneratingToolCall", ""),
    arrow("GeneratingToolCall", "BudgetReached", "stoppedByBudget", "stopRunByBudget"),
    arrow("GeneratingToolCall", "BudgetReached", "stoppedByExceededMaxSteps", "stopRunByExceededMaxSteps"),
    arrow("CallingMcpTools", "ToolReturned", "CallingMcpTools", ""),
    arrow("CallingMcpTools", "Interrupted", "stoppedByCancellation", "stopRunByCancellation"),
    arrow("CallingMcpTools", "BudgetReached", "stoppedByBudget", "stopRunByBudget"),
    arrow("CallingMcpTools", "Resumed", "CallingMcpTools", "resumeFromStop"),
    arrow("CallingMcpTools", "Proceed", "completed", "completeRun"),
    arrow("CallingMcpTools", "Proceed", "CallingDelegates", ""),
    arrow("CallingMcpTools", "Proceed", "ResolvingToolResult", "resolveToolResults"),
    arrow("CallingDelegates", "Proceed", "stoppedByDelegate", "stopRunByDelegate"),
    arrow("CallingDelegates", "Proceed", "CallingInteractiveTools", ""),
    arrow("CallingInteractiveTools", "Proceed", "stoppedByInteractiveTool", "stopRunByInteractiveTool"),
    arrow("ResolvingToolResult", "Proceed", "FinishingStep", "finishToolCall"),
    arrow("FinishingStep", "Proceed", "PreparingForStep", "continueToNextStep"),
    arrow("FinishingStep", "Proceed", "stoppedByExceededMaxSteps", "stopRunByExceededMaxSteps"),
    arrow("FinishingStep", "Proceed", "stoppedByBudget", "stopRunByBudget"),
];

/// The terminal states.
const TERMINAL: [&str; 7] = [
    "completed",
    "stoppedByError",
    "stoppedByExceededMaxSteps",
    "stoppedByInteractiveTool",
    "stoppedByDelegate",
    "stoppedByCancellation",
    "stoppedByBudget",
];

/// The arrows as a Mermaid state diagram. Labels: the input, then the event it leads to.
pub fn mermaid() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> Init\n");
    for arrow in &ARROWS {
        let event = if arrow.event.is_empty() { String::new() } else { format!(" / {}", arrow.event) };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {} --> {} : {}{}", arrow.from, arrow.to, arrow.input, event);
    }
    for state in TERMINAL {
        let _ = writeln!(text, "    {state} --> [*]");
    }
    text
}
