//! [`Verifier`]: runs the command that verifies an expert's answers, contained as `exec`'s commands are. A Run calls it when
//! there is an answer; what follows from the end of the command is the machine's.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::commands::Commands;
use super::exec::{self, Exec, Executed, HINT, MAX_OUTPUT};
use crate::expert::VerifyCommand;
use crate::fact::{VerifyEnd, VerifyOutcome};
use crate::redact::Redactor;
use crate::skill::output::{CallOutput, Outputs};

/// The name by which outputs that are too long for the model are kept.
const NAME: &str = "verify";

/// Runs the command that verifies an expert's answers.
pub struct Verifier {
    verify: VerifyCommand,
    /// Absent where the ends of commands come from a recording.
    commands: Option<Commands>,
    outputs: Arc<Outputs>,
}

impl Verifier {
    /// A verifier whose command is run as `commands` are. What is too long for the model goes to `outputs`.
    pub fn new(verify: &VerifyCommand, commands: Commands, outputs: &Arc<Outputs>) -> Arc<Self> {
        Arc::new(Self { verify: verify.clone(), commands: Some(commands), outputs: Arc::clone(outputs) })
    }

    /// A verifier that runs nothing, for a replay that has the ends of the command.
    pub fn idle(verify: &VerifyCommand, outputs: &Arc<Outputs>) -> Arc<Self> {
        Arc::new(Self { verify: verify.clone(), commands: None, outputs: Arc::clone(outputs) })
    }

    /// The output of the next round, not there yet.
    pub fn next_output(&self) -> CallOutput {
        self.outputs.of_call(NAME, &Redactor::default())
    }

    /// Runs the command. When `cancel` fires it is ended, and nothing is known of the answer then. It is ended with all
    /// that it started when this is dropped.
    pub async fn run(&self, output: CallOutput, cancel: &CancellationToken) -> Option<VerifyOutcome> {
        let Some(commands) = &self.commands else {
            let reason = "a replay runs no commands".to_owned();
            return Some(VerifyOutcome { end: VerifyEnd::NotRun { reason }, output: String::new() });
        };
        let exec = Exec::shell(&self.verify.command, self.verify.timeout_ms);
        let limit_ms = self.verify.timeout_ms;
        let conclude = move |executed: Executed| outcome(executed, limit_ms, &output);
        match exec::execute(commands, exec, (), cancel, conclude).await {
            Ok(outcome) => outcome,
            Err(not_started) => {
                let lines = std::iter::once(not_started.message).chain(not_started.reason);
                let reason = lines.collect::<Vec<_>>().join("; ");
                Some(VerifyOutcome { end: VerifyEnd::NotRun { reason }, output: String::new() })
            }
        }
    }
}

/// The outcome of a command that was not cancelled. Waits for the disk.
fn outcome(executed: Executed, limit_ms: u64, output: &CallOutput) -> Option<VerifyOutcome> {
    let Executed { end, streams: [stdout, stderr], reason, .. } = executed;
    let end = match end {
        exec::End::Exited(status) => ended(status),
        exec::End::TimedOut => VerifyEnd::TimedOut { limit_ms },
        exec::End::Cancelled => return None,
        exec::End::TooMuch(stream) => {
            VerifyEnd::Flooded { stream: stream.to_owned(), limit_bytes: u64::try_from(MAX_OUTPUT).unwrap_or(u64::MAX) }
        }
        exec::End::Unwaitable(error) => VerifyEnd::NotRun { reason: format!("its end cannot be waited for: {error}") },
    };
    let mut text = stdout;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&stderr);
    let mut output = output.bound(text, output.limit(), "", HINT);
    if let Some(reason) = reason {
        if !output.is_empty() && !output.ends_with('\n') {
            output.push('\n');
        }
        output.push_str(&reason);
    }
    Some(VerifyOutcome { end, output })
}

fn ended(status: std::process::ExitStatus) -> VerifyEnd {
    if let Some(code) = status.code() {
        return VerifyEnd::Exited { code };
    }
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return VerifyEnd::Killed { signal };
    }
    VerifyEnd::NotRun { reason: format!("it ended in an unknown way: {status}") }
}
