//! The base skill: the tools that every expert may have, run within this process.
//!
//! Files and directories of the workspace, programs, and the loop's own tools, which are only declared here: the state
//! machine answers them. Call order, confinement and the shape of answers are kept here and in the modules below; when
//! calls are made is left to the runner.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use self::call_argument::call_argument;
pub use self::commands::Commands;
pub use self::exec::DEFAULT_TIMEOUT_MS as DEFAULT_EXEC_TIMEOUT_MS;
use self::exec::ExecEnd;
use self::failure::FileFailure;
pub use self::media::{MAX_IMAGE, MAX_PDF, media_type};
pub use self::off_limits::OffLimits;
use self::order::{Order, Ticket};
use self::request::{BaseRequest, FileRequest};
pub use self::verifier::Verifier;
use self::workspace::Workspace;
use crate::content::Content;
use crate::environment::Environment;
use crate::expert::SkillCommon;
use crate::future::BoxFuture;
use crate::redact::Redactor;
use crate::skill::contain::Programs;
use crate::skill::output::Outputs;
use crate::skill::{Skill, SkillError};
use crate::tool::{BASE_SKILL, ToolCall, ToolKind, ToolResult, ToolSpec};

mod arguments;
mod call_argument;
mod commands;
mod contents;
mod describe;
mod directories;
mod exec;
mod failure;
mod files;
mod health;
mod media;
mod off_limits;
mod order;
mod protected;
mod request;
mod text;
mod tools;
mod verifier;
mod workspace;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

/// The loop's own tools: `todo`, `clearTodo`, `attemptCompletion`. The state machine answers them.
pub fn conversation_tools() -> Vec<ToolSpec> {
    tools::conversation(BASE_SKILL)
}

/// The tools that run, as the skill `name` has them.
pub fn running_tools(name: &str) -> Vec<ToolSpec> {
    tools::running(name)
}

/// All tools that the skill offers with this declaration.
pub fn offered_tools(common: &SkillCommon) -> Vec<ToolSpec> {
    let mut tools = tools::conversation(&common.name);
    tools.extend(tools::running(&common.name));
    tools.retain(|tool| common.admits(&tool.name));
    for tool in &mut tools {
        tool.hints.idempotent |= common.idempotent.contains(&tool.name);
    }
    tools
}

/// The tool that reads kept outputs.
const READER: &str = "readTextFile";

/// The file at `path` of the directory `workspace`, as the tool called `tool` hands it to a model; `None` when it is no
/// tool that does. For base skills of another make, which only name the file that is meant.
///
/// # Errors
/// Why there is no such file, or not for the tools, in words for the model.
pub(in crate::skill) fn media(tool: &str, workspace: &Path, path: &str) -> Option<Result<Content, String>> {
    let read = match tool {
        "readImageFile" => media::read_image,
        "readPdfFile" => media::read_pdf,
        _ => return None,
    };
    let opened = Workspace::open(workspace, None, OffLimits::default()).map_err(|error| error.to_string());
    Some(
        opened.and_then(|workspace| {
            read(&workspace, &media::MediaArgs::new(path)).map_err(|failure| failure.to_string())
        }),
    )
}

/// The type of an image by its first bytes, where it is one that models take.
pub(in crate::skill) fn image_type(bytes: &[u8]) -> Option<&'static str> {
    media::sniffed_type(bytes)
}

/// Receives a line that the job's owner should know.
pub type Warn = Arc<dyn Fn(String) + Send + Sync>;

/// The base skill of one expert.
pub struct BaseSkill {
    name: String,
    tools: Vec<ToolSpec>,
    workspace: Arc<Workspace>,
    commands: Commands,
    outputs: Arc<Outputs>,
    order: Order,
    opened: Instant,
}

impl BaseSkill {
    /// Opens the skill on the directory `workspace`. Of `environment`, programs see the safe variables only, and paths
    /// use `HOME` for `~`. What is too long for the model goes to `outputs`, and can be read from there. `programs` bounds
    /// what `exec` starts, and `warn` receives what its commands did to protected files.
    ///
    /// # Errors
    /// The workspace cannot be opened.
    pub fn open(
        common: &SkillCommon,
        workspace: &Path,
        environment: &Environment,
        off_limits: OffLimits,
        outputs: &Arc<Outputs>,
        programs: Programs,
        warn: Warn,
    ) -> Result<Arc<Self>, SkillError> {
        let commands = Commands::open(common, workspace, environment, off_limits, programs, warn)?;
        let tools = offered_tools(common);
        if tools.iter().any(|tool| tool.name == READER) {
            outputs.can_be_read();
        }
        Ok(Arc::new(Self {
            name: common.name.clone(),
            tools,
            workspace: Arc::clone(&commands.workspace),
            commands,
            outputs: Arc::clone(outputs),
            order: Order::default(),
            opened: Instant::now(),
        }))
    }

    /// Reads a call.
    ///
    /// # Errors
    /// In words for the model.
    fn read(&self, call: &ToolCall) -> Result<(BaseRequest, &ToolSpec), String> {
        let name = &call.tool_name;
        let refused = |why: String| format!("Error calling tool {name}: MCP error -32602: {why}");
        let tool = self.tools.iter().find(|tool| tool.name == *name);
        let tool = tool.ok_or_else(|| refused(format!("Tool {name} not found")))?;
        if tool.kind == ToolKind::Conversation {
            return Err(refused(format!("Tool {name} is answered by the run itself")));
        }
        let request = BaseRequest::read(tool, &call.args)
            .map_err(|why| refused(format!("Invalid arguments for tool {name}: {why}")))?;
        Ok((request, tool))
    }
}

impl Skill for BaseSkill {
    fn name(&self) -> &str {
        &self.name
    }

    fn tools(&self) -> Vec<ToolSpec> {
        self.tools.clone()
    }

    fn tools_revision(&self) -> u64 {
        0
    }

    fn call(self: Arc<Self>, call: ToolCall, cancel: CancellationToken) -> BoxFuture<'static, ToolResult> {
        let (request, is_reading, note) = match self.read(&call) {
            Ok((request, tool)) => (request, tool.hints.read_only, arguments::unknown(&tool.input_schema, &call.args)),
            Err(message) => return Box::pin(async move { ToolResult::error(&call, message) }),
        };
        // Here, and not in the future: the order of calls is the order of effects. A program only waits for the
        // changes before it, so it queues among the readers and leaves the queue when it starts.
        let ticket = match &request {
            BaseRequest::File(_) if !is_reading => self.order.mutating(),
            _ => self.order.reading(),
        };
        // Numbers follow the order of the calls too.
        let output = self.outputs.of_call(&call.tool_name, &Redactor::default());
        let answered = async move {
            match request {
                BaseRequest::HealthCheck => {
                    answer(&call, Ok(Content::text(health::check(&self.workspace, self.opened).to_string())))
                }
                BaseRequest::File(request) => answer(&call, on_files(&self, request, ticket, &cancel).await),
                BaseRequest::Exec(args) => {
                    let turn = tokio::select! {
                        biased;
                        () = cancel.cancelled() => return answer(&call, Err(FileFailure::Cancelled)),
                        turn = ticket.turn() => turn,
                    };
                    let ExecEnd { answer: answered, reason } =
                        exec::run(&self.commands, args, output, turn, &cancel).await;
                    let mut result = match answered {
                        Ok(output) => answer(&call, Ok(Content::text(output.to_string()))),
                        Err(report) => ToolResult::error(&call, report.to_string()),
                    };
                    result.result.extend(reason.map(Content::text));
                    result
                }
            }
        };
        Box::pin(async move {
            let mut result = answered.await;
            result.result.extend(note.map(Content::text));
            result
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        // Programs end with their calls; nothing else is running.
        Box::pin(std::future::ready(()))
    }
}

/// Does work on files in its turn. Once begun it is finished, whether or not anyone still waits, and keeps its turn until
/// then.
async fn on_files(
    skill: &BaseSkill,
    request: FileRequest,
    ticket: Ticket,
    cancel: &CancellationToken,
) -> Result<Content, FileFailure> {
    let turn = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(FileFailure::Cancelled),
        turn = ticket.turn() => turn,
    };
    let (workspace, outputs) = (Arc::clone(&skill.workspace), Arc::clone(&skill.outputs));
    let work = move || {
        let outcome = request.perform(&workspace, &outputs);
        drop(turn);
        outcome
    };
    tokio::task::spawn_blocking(work).await.map_err(|source| FileFailure::Ended { source })?
}

fn answer(call: &ToolCall, outcome: Result<Content, FileFailure>) -> ToolResult {
    match outcome {
        Ok(content) => ToolResult::new(call, vec![content]),
        Err(failure) => {
            let report: Value = json!({ "error": "Error", "message": failure.message() });
            ToolResult::error(call, report.to_string())
        }
    }
}
