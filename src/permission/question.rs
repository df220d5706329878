//! [`PermissionQuestion`]: a call that a person is asked about. A Run asks it, the program around a job answers it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::future::BoxFuture;
use crate::tool::ToolCall;

/// A call that a person is asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct PermissionQuestion {
    /// The key of the expert that makes it.
    pub expert: String,
    pub call: ToolCall,
    /// The rule that asks.
    pub rule: String,
    /// An answer for the whole run is about exactly this call, not about all that the rule asks about.
    pub is_exact: bool,
    /// The folder that the expert works in.
    pub workspace: PathBuf,
}

impl PermissionQuestion {
    /// The calls that an answer for the whole run is about, in words.
    pub fn scope(&self) -> String {
        let name = &self.call.tool_name;
        if self.is_exact {
            "exactly this command".to_owned()
        } else {
            format!("{name}, as often as {} asks", self.rule)
        }
    }

    /// A text that is the same for the calls of one scope.
    pub fn scope_key(&self) -> String {
        let args =
            if self.is_exact { serde_json::to_string(&self.call.args).unwrap_or_default() } else { String::new() };
        [&self.expert, &self.call.tool_name, &self.rule, &args].map(|part| format!("{}:{part}", part.len())).concat()
    }
}

/// The answer of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermissionAnswer {
    /// This call may be made.
    Once,
    /// This one, and all of the question's scope as long as the program runs.
    Always,
    /// It is not made; the reason is for the model.
    Denied { reason: Option<String> },
}

/// Asks a person. A question is withdrawn by dropping its future.
pub type AskPermission = Arc<dyn Fn(PermissionQuestion) -> BoxFuture<'static, PermissionAnswer> + Send + Sync>;
