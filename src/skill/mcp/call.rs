//! A call: made once, and again after a loss only where that is safe.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::connection::{CallFailure, Patience};
use super::{DEFAULT_CALL_TIMEOUT, MAX_CALL, McpSkill, Origin, result};
use crate::content::Content;
use crate::hint::ErrorHint as _;
use crate::skill::Skill as _;
use crate::skill::contain::{NetworkMark, Programs};
use crate::skill::output::CallOutput;
use crate::tool::{ToolCall, ToolResult};

/// Codes that the original's protocol library gives to failures of its own.
const CONNECTION_CLOSED: i32 = -32000;
const REQUEST_TIMEOUT: i32 = -32001;

impl McpSkill {
    fn patience(&self) -> Patience {
        let silence = self.common.call_timeout_ms.map_or(DEFAULT_CALL_TIMEOUT, Duration::from_millis).min(MAX_CALL);
        Patience { silence, total: MAX_CALL }
    }

    /// The place at present in the record of what a local server was refused on the network.
    fn network_mark(&self) -> NetworkMark {
        match &self.origin {
            Origin::Local(launch) => launch.programs.network_mark(),
            Origin::Remote(_) => NetworkMark::default(),
        }
    }

    fn refused_since(&self, mark: NetworkMark) -> Option<String> {
        match &self.origin {
            Origin::Local(launch) => launch.programs.refused_since(mark),
            Origin::Remote(_) => None,
        }
    }

    fn is_repeatable(&self, tool: &str) -> bool {
        // What the expert was shown counts: a server that differs from its lock may promise more than was locked.
        self.tools().iter().any(|known| known.name == tool && known.hints.is_repeatable())
    }

    /// A failure in the original's words.
    pub(super) fn words(&self, fault: &CallFailure) -> String {
        let (code, message) = match fault {
            CallFailure::Refused { code, message } => (*code, message.clone()),
            CallFailure::Unauthorized(status) => {
                let remedy = match &self.origin {
                    Origin::Remote(remote) => format!(": {}", remote.remedy(&self.common.name)),
                    Origin::Local(_) => String::new(),
                };
                (i32::from(*status), format!("Its server demands authorization{remedy}"))
            }
            CallFailure::TimedOut(after) => {
                let after = after.as_secs();
                // What is the most of any call, callTimeout does not raise.
                let key = if after < MAX_CALL.as_secs() { "callTimeout" } else { "the most for any call" };
                (REQUEST_TIMEOUT, format!("Request timed out after {after} s without an answer (limit: {key})"))
            }
            CallFailure::Cancelled => (CONNECTION_CLOSED, "The call was cancelled; its effect is unknown".to_owned()),
            CallFailure::Lost(why) => (CONNECTION_CLOSED, format!("Connection closed: {why}")),
        };
        format!("MCP error {code}: {}", self.reporter.fit(&message))
    }

    /// Makes the call. A connection that is lost meanwhile is replaced once; the call is made again only where that is
    /// safe.
    pub(super) async fn answer(
        self: Arc<Self>,
        call: ToolCall,
        output: CallOutput,
        cancel: CancellationToken,
    ) -> ToolResult {
        let mark = self.network_mark();
        let failed = |fault: &str| {
            let mut result = ToolResult::error(&call, format!("Error calling tool {}: {fault}", call.tool_name));
            result.result.extend(self.refused_since(mark).map(Content::text));
            result
        };
        let mut lost: Option<String> = None;
        loop {
            let connection = tokio::select! {
                biased;
                () = cancel.cancelled() => return failed(&self.words(&CallFailure::Cancelled)),
                connection = self.connection() => match connection {
                    Ok(connection) => connection,
                    Err(error) => {
                        let before = lost.map(|lost| format!("{lost}; ")).unwrap_or_default();
                        return failed(&format!("{before}{}", error.with_hint()));
                    }
                },
            };
            // Only after the connection is back: the model learns in the same answer that the skill works again.
            if let Some(lost) = &lost
                && !self.is_repeatable(&call.tool_name)
            {
                return failed(&format!(
                    "{lost}. Whether the call took effect is unknown; the skill has been started again. Check before \
                     you call it again"
                ));
            }
            // Judged once the server runs, since a lazy start is what finds the differences.
            if let Some(refusal) = self.refusal(&call.tool_name) {
                return failed(&refusal.with_hint());
            }
            let answer = connection.call(&call.tool_name, call.args.clone(), self.patience(), &cancel).await;
            match answer {
                Ok(answer) => {
                    // A long result goes to the disk, which is waited for off the runtime's threads.
                    let (own, redactor) = (call.clone(), self.reporter.redactor().clone());
                    // A server elsewhere does not see this machine's files, and must not name them.
                    let workspace = matches!(self.origin, Origin::Local(_)).then(|| self.workspace.clone());
                    let programs = self.local_programs();
                    let read = move || {
                        let mut result = result::read(&own, &answer, &output, workspace.as_deref());
                        if let (true, Some(programs), Some(folder)) = (result.is_error, &programs, &workspace) {
                            let texts: Vec<&str> = result.result.iter().filter_map(Content::as_text).collect();
                            let reasons = [programs.refused_since(mark), programs.reason(&texts.join("\n"), folder)];
                            result.result.extend(reasons.into_iter().flatten().map(Content::text));
                        }
                        redactor.contents(&mut result.result);
                        result
                    };
                    return match tokio::task::spawn_blocking(read).await {
                        Ok(result) => result,
                        Err(error) => failed(&format!("its result could not be read: {error}")),
                    };
                }
                Err(fault @ CallFailure::Lost(_)) if lost.is_none() => lost = Some(self.words(&fault)),
                Err(fault) => {
                    let mut result = failed(&self.words(&fault));
                    if let CallFailure::Refused { message, .. } = &fault {
                        let reason =
                            self.local_programs().and_then(|programs| programs.reason(message, &self.workspace));
                        result.result.extend(reason.map(Content::text));
                    }
                    return result;
                }
            }
        }
    }

    /// The confinement of a local server, which may be why it fails.
    fn local_programs(&self) -> Option<Programs> {
        match &self.origin {
            Origin::Local(launch) => Some(launch.programs.clone()),
            Origin::Remote(_) => None,
        }
    }
}
