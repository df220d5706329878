//! [`Permissions`]: the calls that an expert may make, makes after a person agreed, or may not make. Configuration and
//! command line read them, a Run decides its calls by [`PermissionRules`]; how a call is carried out is left to `skill`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::ToolCallId;
use crate::tool::{ToolKind, ToolSpec};

mod argument;
mod pattern;
mod program_call;
mod question;
mod shell_text;
mod shell_word;
mod wrappers;

pub use argument::{CallArgument, CallPath};
pub use pattern::{InvalidPattern, PermissionPattern};
pub use program_call::ProgramCall;
pub use question::{AskPermission, PermissionAnswer, PermissionQuestion};

/// Lists of patterns of calls. `deny` goes before `ask`, and `ask` before `allow`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Permissions {
    /// Calls that are made without a question: exceptions to wider patterns of `ask`, and to nothing of `deny`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<PermissionPattern>,
    /// Calls that a person is asked about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ask: Vec<PermissionPattern>,
    /// Calls that are not made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<PermissionPattern>,
}

impl Permissions {
    /// Returns true if there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.ask.is_empty() && self.deny.is_empty()
    }

    /// Returns true if calls that no pattern names are asked about: those of `allow` alone are meant to be made.
    fn is_closed(&self) -> bool {
        !self.allow.is_empty() && self.ask.is_empty()
    }

    /// All patterns, each with the name of its list.
    pub fn patterns(&self) -> impl Iterator<Item = (&'static str, &PermissionPattern)> {
        let lists = [("allow", &self.allow), ("ask", &self.ask), ("deny", &self.deny)];
        lists.into_iter().flat_map(|(list, patterns)| patterns.iter().map(move |pattern| (list, pattern)))
    }
}

/// The permissions that the command line gives: they hold for all experts of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunPermissions {
    pub lists: Permissions,
    /// Only tools that change nothing outside may be called.
    pub read_only: bool,
}

impl RunPermissions {
    /// Returns true if nothing was given.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty() && !self.read_only
    }
}

/// The source of a rule. A later one has more authority than an earlier: no pattern of a project makes an exception to
/// one of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleSource {
    Project,
    /// The user's own configuration.
    User,
    CommandLine,
}

/// The rules for the calls of one expert: those of the run, of its user, of the project and of the expert itself.
#[derive(Debug, Clone, Copy)]
pub struct PermissionRules<'a> {
    pub run: &'a RunPermissions,
    pub user: &'a Permissions,
    pub project: &'a Permissions,
    pub expert: &'a Permissions,
}

/// A call, as rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct CallSubject<'a> {
    /// The tool under the name that it is offered by.
    pub tool: &'a ToolSpec,
    /// The name that its skill gives it.
    pub own_name: &'a str,
    pub argument: &'a CallArgument,
}

/// The verdict of rules on a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermissionVerdict {
    /// It is made; the pattern of `allow` that names it, if one does.
    Allowed(Option<String>),
    /// A person is asked; the rule.
    Asks(String),
    /// It is not made; the rule.
    Denied(String),
}

/// A rule that asks, with its weight against exceptions.
struct AskRule {
    source: RuleSource,
    width: u8,
    text: String,
}

impl<'a> PermissionRules<'a> {
    /// Returns true if no call is decided by them.
    pub fn is_empty(&self) -> bool {
        self.run.is_empty() && self.user.is_empty() && self.project.is_empty() && self.expert.is_empty()
    }

    fn tables(&self) -> [(RuleSource, &'a Permissions); 4] {
        [
            (RuleSource::CommandLine, &self.run.lists),
            (RuleSource::User, self.user),
            (RuleSource::Project, self.expert),
            (RuleSource::Project, self.project),
        ]
    }

    /// Decides a call.
    pub fn decide(&self, call: &CallSubject<'_>) -> PermissionVerdict {
        for (source, table) in self.tables() {
            if let Some(pattern) = table.deny.iter().find(|pattern| pattern.catches(call)) {
                return PermissionVerdict::Denied(rule_text(source, "deny", pattern));
            }
        }
        if self.run.read_only && call.tool.kind == ToolKind::Mcp && !call.tool.hints.read_only {
            return PermissionVerdict::Denied("--read-only".to_owned());
        }
        let allows = self.allowing(call);
        let asks = self.asking(call).into_iter();
        let exempts =
            |ask: &AskRule| allows.iter().any(|(source, pattern)| *source >= ask.source && pattern.width() > ask.width);
        match asks.into_iter().find(|ask| !exempts(ask)) {
            Some(ask) => PermissionVerdict::Asks(ask.text),
            None => {
                PermissionVerdict::Allowed(allows.first().map(|(source, pattern)| rule_text(*source, "allow", pattern)))
            }
        }
    }

    /// The patterns of `allow` that name a call.
    fn allowing(&self, call: &CallSubject<'_>) -> Vec<(RuleSource, &'a PermissionPattern)> {
        let mut found = Vec::new();
        for (source, table) in self.tables() {
            // What hides behind a wrapper has to be allowed too, by a table of the same or more authority.
            let others: Vec<&PermissionPattern> = self
                .tables()
                .into_iter()
                .filter(|(other, _)| *other >= source)
                .flat_map(|(_, table)| table.allow.iter())
                .collect();
            found.extend(table.allow.iter().filter(|pattern| pattern.covers(call, &others)).map(|it| (source, it)));
        }
        found
    }

    /// The rules that ask about a call, those of the command line first, then the user's.
    fn asking(&self, call: &CallSubject<'_>) -> Vec<AskRule> {
        let mut asks = Vec::new();
        for (source, table) in self.tables() {
            asks.extend(table.ask.iter().filter(|pattern| pattern.catches(call)).map(|pattern| AskRule {
                source,
                width: pattern.width(),
                text: rule_text(source, "ask", pattern),
            }));
            // Delegates are decided by their own calls, and a question to a person is none to be asked about.
            if table.is_closed() && call.tool.kind == ToolKind::Mcp {
                let list = match source {
                    RuleSource::CommandLine => "--allow names other calls",
                    RuleSource::User => "allow of your config.toml names other calls",
                    RuleSource::Project => "allow of the configuration names other calls",
                };
                asks.push(AskRule { source, width: 0, text: list.to_owned() });
            }
        }
        asks
    }

    /// The verdict on a tool as far as it is known without a call's arguments, and whether some calls are decided
    /// otherwise.
    pub fn decide_tool(&self, tool: &ToolSpec, own_name: &str) -> (PermissionVerdict, bool) {
        let of_any = self.decide(&CallSubject { tool, own_name, argument: &CallArgument::Any });
        let differs = self.tables().into_iter().any(|(_, table)| {
            table
                .patterns()
                .any(|(list, pattern)| pattern.has_argument() && pattern.names(tool, own_name, list != "allow"))
        });
        (of_any, differs)
    }
}

fn rule_text(source: RuleSource, list: &str, pattern: &PermissionPattern) -> String {
    match source {
        RuleSource::CommandLine => format!("--{list} {pattern}"),
        RuleSource::User => format!("{list} = {pattern} of your config.toml"),
        RuleSource::Project => format!("{list} = {pattern} of the configuration"),
    }
}

/// A decision about one call: a part of a fact, and of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CallDecision {
    pub tool_call_id: ToolCallId,
    pub tool_name: String,
    pub decision: CallVerdict,
    pub by: DecidedBy,
    /// The rule that decided, or that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The person wants no more such questions in this run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always: bool,
    /// The result of a call that is not made, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The outcome of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum CallVerdict {
    Allowed,
    Denied,
}

/// The authority behind a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum DecidedBy {
    /// No rule names the call.
    Default,
    Rule,
    Person,
    /// The Run has read text from strangers, and the tool is none of those that may be called then.
    Untrusted,
}

impl CallDecision {
    /// Returns true for a call that is not made.
    pub fn is_denied(&self) -> bool {
        self.decision == CallVerdict::Denied
    }
}

impl fmt::Display for CallDecision {
    /// A line for people: the tool and the decision about its call.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_denied() { "denied" } else { "allowed" };
        let by = match self.by {
            DecidedBy::Default => "",
            DecidedBy::Rule => " by a rule",
            DecidedBy::Person if self.always => " by a person, always in this run",
            DecidedBy::Person => " by a person",
            DecidedBy::Untrusted => ", as the run has read untrusted text",
        };
        write!(f, "{}: {verdict}{by}", self.tool_name)?;
        match &self.rule {
            Some(rule) => write!(f, " ({rule})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
