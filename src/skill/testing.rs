//! A skill for tests that never comes to an end.

use std::future::pending;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Skill;
use crate::future::BoxFuture;
use crate::tool::{ToolCall, ToolHints, ToolKind, ToolResult, ToolSpec};

/// Answers no call, ignores cancellation, and does not close.
pub struct Deaf;

impl Skill for Deaf {
    fn name(&self) -> &'static str {
        "deaf"
    }

    fn tools(&self) -> Vec<ToolSpec> {
        vec![ToolSpec {
            skill_name: "deaf".to_owned(),
            name: "wait".to_owned(),
            description: None,
            input_schema: std::sync::Arc::default(),
            kind: ToolKind::Mcp,
            hints: ToolHints::default(),
        }]
    }

    fn tools_revision(&self) -> u64 {
        0
    }

    fn call(self: Arc<Self>, _: ToolCall, _: CancellationToken) -> BoxFuture<'static, ToolResult> {
        Box::pin(pending())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(pending())
    }
}
