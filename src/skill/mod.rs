//! Skills: what can be called. Interactive and delegate tools are declared only; a call of theirs stops the Run.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::future::BoxFuture;
use crate::tool::{ToolCall, ToolResult, ToolSpec};

/// A source of tools that run.
pub trait Skill: Send + Sync {
    /// The skill's name in the configuration.
    fn name(&self) -> &str;

    /// Its tools, after `omit` and `pick`.
    fn tools(&self) -> Vec<ToolSpec>;

    /// Answers one call. Every failure is a result marked as error, for the model to see. When `cancel` fires, the
    /// call should end soon; dropping the future ends it at once, with everything it started.
    fn call(self: Arc<Self>, call: ToolCall, cancel: CancellationToken) -> BoxFuture<'static, ToolResult>;

    /// Ends the skill's process or connection.
    fn close(&self) -> BoxFuture<'_, ()>;
}
