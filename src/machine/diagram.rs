//! The table of arrows and its drawing. The machine's property tests hold it equal to what `advance` does.

use std::fmt::Write as _;

use strum::IntoEnumIterator as _;

use crate::checkpoint::Status;

/// One arrow: a state, an input, the state that follows, and the event that reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Arrow {
    pub from: &'static str,
    pub input: &'static str,
    pub to: &'static str,
    /// The event that reports it; empty where there is none.
    pub event: &'static str,
}

const fn arrow(from: &'static str, input: &'static str, to: &'static str, event: &'static str) -> Arrow {
    Arrow { from, input, to, event }
}

/// Every arrow there is.
pub const ARROWS: [Arrow; 130] = [
    arrow("Init", "started", "PreparingForStep", "startRun"),
    arrow("Init", "resumed", "PreparingForStep", "startRun"),
    arrow("Init", "resumed", "ResumingFromStop", "resumeFromStop"),
    arrow("Init", "resumed", "ResumingFromStop", "startRun"),
    arrow("ResumingFromStop", "proceed", "CheckingAnswer", ""),
    arrow("ResumingFromStop", "proceed", "StartingVerification", ""),
    arrow("ResumingFromStop", "proceed", "completed", "completeRun"),
    arrow("ResumingFromStop", "proceed", "DecidingCalls", ""),
    arrow("ResumingFromStop", "proceed", "CallingMcpTools", ""),
    arrow("ResumingFromStop", "proceed", "CallingDelegates", ""),
    arrow("ResumingFromStop", "proceed", "CallingInteractiveTools", ""),
    arrow("ResumingFromStop", "proceed", "ResolvingToolResult", "resolveToolResults"),
    arrow("PreparingForStep", "proceed", "GeneratingToolCall", "startGeneration"),
    arrow("GeneratingToolCall", "generated", "DecidingCalls", "callTools"),
    arrow("GeneratingToolCall", "generated", "CallingMcpTools", "callTools"),
    arrow("GeneratingToolCall", "generated", "CheckingAnswer", ""),
    arrow("GeneratingToolCall", "generated", "StartingVerification", ""),
    arrow("GeneratingToolCall", "generated", "FinishingStep", "retry"),
    arrow("GeneratingToolCall", "generated", "completed", "completeRun"),
    arrow("GeneratingToolCall", "generated", "stoppedByError", "stopRunByError"),
    arrow("GeneratingToolCall", "generated", "stoppedByBudget", "stopRunByBudget"),
    arrow("GeneratingToolCall", "generationFailed", "GeneratingToolCall", "retry"),
    arrow("GeneratingToolCall", "generationFailed", "GeneratingToolCall", "fallBack"),
    arrow("GeneratingToolCall", "generationFailed", "stoppedByError", "stopRunByError"),
    arrow("GeneratingToolCall", "generated", "SummarizingContext", ""),
    arrow("GeneratingToolCall", "generationFailed", "SummarizingContext", ""),
    arrow("SummarizingContext", "summarized", "GeneratingToolCall", "contextSummarized"),
    arrow("SummarizingContext", "summarized", "SummarizingContext", "retry"),
    arrow("SummarizingContext", "summarized", "stoppedByError", "stopRunByError"),
    arrow("SummarizingContext", "generationFailed", "SummarizingContext", "retry"),
    arrow("SummarizingContext", "generationFailed", "GeneratingToolCall", "fallBack"),
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
    arrow("DecidingCalls", "callsDecided", "DecidingCalls", "decideToolCalls"),
    arrow("DecidingCalls", "callsDecided", "CallingMcpTools", "decideToolCalls"),
    arrow("DecidingCalls", "interrupted", "stoppedByCancellation", "stopRunByCancellation"),
    arrow("DecidingCalls", "budgetReached", "stoppedByBudget", "stopRunByBudget"),
    arrow("DecidingCalls", "resumed", "DecidingCalls", "resumeFromStop"),
    arrow("CallingMcpTools", "toolReturned", "CallingMcpTools", ""),
    arrow("CallingMcpTools", "interrupted", "stoppedByCancellation", "stopRunByCancellation"),
    arrow("CallingMcpTools", "budgetReached", "stoppedByBudget", "stopRunByBudget"),
    arrow("CallingMcpTools", "resumed", "CallingMcpTools", "resumeFromStop"),
    arrow("CallingMcpTools", "proceed", "CheckingAnswer", ""),
    arrow("CallingMcpTools", "proceed", "StartingVerification", ""),
    arrow("CallingMcpTools", "proceed", "completed", "completeRun"),
    arrow("CallingMcpTools", "proceed", "CallingDelegates", ""),
    arrow("CallingMcpTools", "proceed", "ResolvingToolResult", "resolveToolResults"),
    arrow("CheckingAnswer", "answerChecked", "StartingVerification", ""),
    arrow("CheckingAnswer", "answerChecked", "completed", "completeRun"),
    arrow("CheckingAnswer", "answerChecked", "FinishingStep", "refuseAnswer"),
    arrow("CheckingAnswer", "answerChecked", "CallingMcpTools", "refuseAnswer"),
    arrow("CheckingAnswer", "answerChecked", "stoppedByError", "stopRunByError"),
    arrow("CheckingAnswer", "interrupted", "stoppedByCancellation", "stopRunByCancellation"),
    arrow("CheckingAnswer", "budgetReached", "stoppedByBudget", "stopRunByBudget"),
    arrow("CheckingAnswer", "resumed", "CheckingAnswer", "resumeFromStop"),
    arrow("CheckingAnswer", "resumed", "FinishingStep", "resumeFromStop"),
    arrow("CheckingAnswer", "resumed", "CallingMcpTools", "resumeFromStop"),
    arrow("StartingVerification", "proceed", "VerifyingAnswer", "startVerification"),
    arrow("StartingVerification", "proceed", "completed", "completeRun"),
    arrow("VerifyingAnswer", "answerVerified", "ConcludingVerification", "finishVerification"),
    arrow("VerifyingAnswer", "interrupted", "stoppedByCancellation", "stopRunByCancellation"),
    arrow("VerifyingAnswer", "budgetReached", "stoppedByBudget", "stopRunByBudget"),
    arrow("VerifyingAnswer", "resumed", "StartingVerification", "resumeFromStop"),
    arrow("VerifyingAnswer", "resumed", "CheckingAnswer", "resumeFromStop"),
    arrow("VerifyingAnswer", "resumed", "FinishingStep", "resumeFromStop"),
    arrow("VerifyingAnswer", "resumed", "CallingMcpTools", "resumeFromStop"),
    arrow("ConcludingVerification", "proceed", "completed", "completeRun"),
    arrow("ConcludingVerification", "proceed", "FinishingStep", ""),
    arrow("ConcludingVerification", "proceed", "CallingMcpTools", ""),
    arrow("ConcludingVerification", "proceed", "stoppedByVerification", "stopRunByVerification"),
    arrow("CallingDelegates", "proceed", "stoppedByDelegate", "stopRunByDelegate"),
    arrow("CallingDelegates", "proceed", "CallingInteractiveTools", ""),
    arrow("CallingInteractiveTools", "proceed", "stoppedByInteractiveTool", "stopRunByInteractiveTool"),
    arrow("ResolvingToolResult", "proceed", "FinishingStep", "finishToolCall"),
    arrow("FinishingStep", "proceed", "PreparingForStep", "continueToNextStep"),
    arrow("FinishingStep", "proceed", "stoppedByExceededMaxSteps", "stopRunByExceededMaxSteps"),
    arrow("FinishingStep", "proceed", "stoppedByBudget", "stopRunByBudget"),
    arrow("ResumingFromStop", "proceed", "TakingSnapshot", ""),
    arrow("GeneratingToolCall", "generated", "TakingSnapshot", ""),
    arrow("GeneratingToolCall", "generationFailed", "TakingSnapshot", ""),
    arrow("SummarizingContext", "summarized", "TakingSnapshot", ""),
    arrow("SummarizingContext", "generationFailed", "TakingSnapshot", ""),
    arrow("SummarizingContext", "budgetReached", "TakingSnapshot", ""),
    arrow("SummarizingContext", "interrupted", "TakingSnapshot", ""),
    arrow("GeneratingToolCall", "interrupted", "TakingSnapshot", ""),
    arrow("GeneratingToolCall", "budgetReached", "TakingSnapshot", ""),
    arrow("DecidingCalls", "interrupted", "TakingSnapshot", ""),
    arrow("DecidingCalls", "budgetReached", "TakingSnapshot", ""),
    arrow("CallingMcpTools", "interrupted", "TakingSnapshot", ""),
    arrow("CallingMcpTools", "budgetReached", "TakingSnapshot", ""),
    arrow("CallingMcpTools", "proceed", "TakingSnapshot", ""),
    arrow("CheckingAnswer", "answerChecked", "TakingSnapshot", ""),
    arrow("CheckingAnswer", "interrupted", "TakingSnapshot", ""),
    arrow("CheckingAnswer", "budgetReached", "TakingSnapshot", ""),
    arrow("StartingVerification", "proceed", "TakingSnapshot", ""),
    arrow("VerifyingAnswer", "interrupted", "TakingSnapshot", ""),
    arrow("VerifyingAnswer", "budgetReached", "TakingSnapshot", ""),
    arrow("ConcludingVerification", "proceed", "TakingSnapshot", ""),
    arrow("CallingDelegates", "proceed", "TakingSnapshot", ""),
    arrow("CallingInteractiveTools", "proceed", "TakingSnapshot", ""),
    arrow("FinishingStep", "proceed", "TakingSnapshot", ""),
    arrow("TakingSnapshot", "snapshotTaken", "completed", "completeRun"),
    arrow("TakingSnapshot", "proceed", "completed", "completeRun"),
    arrow("TakingSnapshot", "snapshotTaken", "stoppedByError", "stopRunByError"),
    arrow("TakingSnapshot", "proceed", "stoppedByError", "stopRunByError"),
    arrow("TakingSnapshot", "snapshotTaken", "stoppedByBudget", "stopRunByBudget"),
    arrow("TakingSnapshot", "proceed", "stoppedByBudget", "stopRunByBudget"),
    arrow("TakingSnapshot", "snapshotTaken", "stoppedByExceededMaxSteps", "stopRunByExceededMaxSteps"),
    arrow("TakingSnapshot", "proceed", "stoppedByExceededMaxSteps", "stopRunByExceededMaxSteps"),
    arrow("TakingSnapshot", "snapshotTaken", "stoppedByCancellation", "stopRunByCancellation"),
    arrow("TakingSnapshot", "proceed", "stoppedByCancellation", "stopRunByCancellation"),
    arrow("TakingSnapshot", "snapshotTaken", "stoppedByVerification", "stopRunByVerification"),
    arrow("TakingSnapshot", "proceed", "stoppedByVerification", "stopRunByVerification"),
    arrow("TakingSnapshot", "snapshotTaken", "stoppedByDelegate", "stopRunByDelegate"),
    arrow("TakingSnapshot", "proceed", "stoppedByDelegate", "stopRunByDelegate"),
    arrow("TakingSnapshot", "snapshotTaken", "stoppedByInteractiveTool", "stopRunByInteractiveTool"),
    arrow("TakingSnapshot", "proceed", "stoppedByInteractiveTool", "stopRunByInteractiveTool"),
    arrow("TakingSnapshot", "snapshotTaken", "PreparingForStep", "continueToNextStep"),
    arrow("TakingSnapshot", "proceed", "PreparingForStep", "continueToNextStep"),
];

/// Every arrow of a job as a whole. They report no events: those of a job are its Runs'.
pub const JOB_ARROWS: [Arrow; 17] = [
    arrow("Init", "began", "Working", ""),
    arrow("Init", "interrupted", "Finished", ""),
    arrow("Working", "runEnded", "Working", ""),
    arrow("Working", "runEnded", "Stopping", ""),
    arrow("Working", "runEnded", "Finished", ""),
    arrow("Working", "runFailed", "Working", ""),
    arrow("Working", "runFailed", "Finished", ""),
    arrow("Working", "runPostponed", "Stopping", ""),
    arrow("Working", "runPostponed", "Finished", ""),
    arrow("Working", "interrupted", "Stopping", ""),
    arrow("Stopping", "interrupted", "Stopping", ""),
    arrow("Stopping", "runEnded", "Stopping", ""),
    arrow("Stopping", "runEnded", "Finished", ""),
    arrow("Stopping", "runFailed", "Stopping", ""),
    arrow("Stopping", "runFailed", "Finished", ""),
    arrow("Stopping", "runPostponed", "Stopping", ""),
    arrow("Stopping", "runPostponed", "Finished", ""),
];

/// A state of the diagram, explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateNote {
    pub name: &'static str,
    /// The original has it, by this name or another.
    pub is_original: bool,
    pub text: &'static str,
}

const fn note(name: &'static str, text: &'static str) -> StateNote {
    StateNote { name, is_original: true, text }
}

const fn own(name: &'static str, text: &'static str) -> StateNote {
    StateNote { name, is_original: false, text }
}

/// Every state of a Run.
pub const STATE_NOTES: [StateNote; 24] = [
    note("Init", "The Run has not begun; a restored one holds its checkpoint."),
    own("ResumingFromStop", "A stopped turn goes on with its open calls."),
    note("PreparingForStep", "A step begins."),
    note("GeneratingToolCall", "The model is asked, and asked again after failures that pass."),
    own("SummarizingContext", "The model is asked to summarise older steps, as the conversation no longer fits."),
    own(
        "DecidingCalls",
        "There are permissions: rules and people decide about the turn's calls, none of which was made yet.",
    ),
    note("CallingMcpTools", "The turn's MCP calls are under way; their results are recorded one by one."),
    own("CheckingAnswer", "There is a schema for the answer, which is checked before the Run completes with it."),
    own(
        "StartingVerification",
        "There is a command for the answer, which is to succeed before the Run completes with it.",
    ),
    own("VerifyingAnswer", "The command runs."),
    own(
        "ConcludingVerification",
        "The command has ended: the answer counts, or goes back to the model, or the Run stops.",
    ),
    note("CallingDelegates", "The turn's delegates are next: the Run stops for them, and a new one continues it."),
    note("CallingInteractiveTools", "The turn's questions to people are next: the Run stops for them."),
    note("ResolvingToolResult", "Every call is answered, and the answers go into the conversation."),
    note("FinishingStep", "The step is over, and the limits of steps and repetitions are checked."),
    own(
        "TakingSnapshot",
        "Snapshots are wanted: the state of the workspace is stored, for the checkpoint that is next to name it.",
    ),
    note("completed", "The Run has an answer."),
    note("stoppedByInteractiveTool", "The Run waits for people's answers."),
    note("stoppedByDelegate", "The Run waits for its delegates' answers."),
    note("stoppedByExceededMaxSteps", "The limit of steps is reached."),
    note("stoppedByError", "The model could not be asked, or gave nothing that can be used."),
    note("stoppedByCancellation", "The user, or the program around, stopped the Run."),
    own("stoppedByBudget", "A budget of the job is used up, or the Run repeats itself."),
    own(
        "stoppedByVerification",
        "The command that verifies answers did not succeed in any round, or could not be run.",
    ),
];

/// Every state of a job as a whole; the original has no machine for it.
pub const JOB_STATE_NOTES: [StateNote; 4] = [
    own("Init", "Nothing has begun."),
    own("Working", "Runs are driven, and others start as they are called for."),
    own("Stopping", "The Runs under way come to their ends, and none starts."),
    own("Finished", "The job is over."),
];

/// The states as a Markdown table; those that the original has not are marked.
pub fn state_table(notes: &[StateNote]) -> String {
    let mut text = String::from("| State | Meaning |\n| --- | --- |\n");
    for StateNote { name, is_original, text: meaning } in notes {
        let mark = if *is_original { "" } else { " †" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{name}`{mark} | {meaning} |");
    }
    text
}

/// A Run's arrows as a Mermaid state diagram. Labels: the input, then the event that reports the arrow.
pub fn mermaid() -> String {
    let last = Status::iter().filter(|status| status.is_terminal()).map(Status::name);
    drawing(&ARROWS, &last.collect::<Vec<_>>())
}

/// A job's arrows as a Mermaid state diagram.
pub fn job_mermaid() -> String {
    drawing(&JOB_ARROWS, &["Finished"])
}

fn drawing(arrows: &[Arrow], last: &[&str]) -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> Init\n");
    for arrow in arrows {
        let event = if arrow.event.is_empty() { String::new() } else { format!(" / {}", arrow.event) };
        let _ = writeln!(text, "    {} --> {} : {}{}", arrow.from, arrow.to, arrow.input, event);
    }
    for state in last {
        let _ = writeln!(text, "    {state} --> [*]");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_state_is_explained() {
        for (arrows, notes) in [(&ARROWS[..], &STATE_NOTES[..]), (&JOB_ARROWS, &JOB_STATE_NOTES)] {
            let drawn: BTreeSet<&str> = arrows.iter().flat_map(|arrow| [arrow.from, arrow.to]).collect();
            let explained: BTreeSet<&str> = notes.iter().map(|note| note.name).collect();
            assert_eq!(drawn, explained);
            assert_eq!(explained.len(), notes.len());
        }
    }
}
