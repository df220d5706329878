//! [`SearchRule`]: whether the model of an expert searches for the tools of servers, in place of being sent them all. The
//! opening of tools asks it; the search itself is the skill layer's.

use crate::expert::{Expert, ExpertKey, SkillSpec, ToolSearch};
use crate::permission::PermissionVerdict;
use crate::runtime::error::RunError;
use crate::runtime::job::backends::JobBackends;
use crate::runtime::job::context::rules;
use crate::runtime::options::Options;
use crate::runtime::tools::servers::server_spec;
use crate::runtime::tools::{SearchedTools, lock};
use crate::skill::SkillSet;
use crate::skill::tool_search::{SEARCH_TOOLS, SearchedServer, ToolFinder, names_of};
use crate::token_estimate::tools_tokens;
use crate::tool::{ToolKind, ToolSpec};

/// The part of the context window that definitions may take before `auto` has them searched, as its divisor.
const SHARE: u64 = 10;
/// The window that is assumed where the model's is not known: small for a hosted model, large for one on this machine.
const ASSUMED_WINDOW: u64 = 100_000;

/// The rule for the tools of one expert.
#[derive(Debug, Clone, Copy)]
pub struct SearchRule {
    pub setting: ToolSearch,
    /// The most tokens of definitions that `auto` sends.
    pub most_tokens: u64,
}

impl SearchRule {
    /// The rule for `expert`, by the window of its model.
    ///
    /// # Errors
    /// No model is known for the expert.
    pub fn new(expert: &Expert, options: &Options, backends: &JobBackends) -> Result<Self, RunError> {
        let first = backends.models_for(expert, &options.settings)?.first;
        Ok(Self::for_window(expert, options, first.provider.context_window(&first.model)))
    }

    /// The rule for `expert` with a model that has this window.
    pub fn for_window(expert: &Expert, options: &Options, window: Option<u64>) -> Self {
        let setting = expert.tool_search.unwrap_or(options.settings.tool_search);
        Self { setting, most_tokens: window.unwrap_or(ASSUMED_WINDOW) / SHARE }
    }

    /// Returns true if definitions of so many tokens are searched.
    pub fn applies(self, tokens: u64) -> bool {
        match self.setting {
            ToolSearch::Off => false,
            ToolSearch::Auto => tokens > self.most_tokens,
            ToolSearch::On => tokens > 0,
        }
    }

    /// The warning of a Run whose servers were asked for their tools, which take so many tokens: only a lock is searched.
    pub fn lacks_lock(self, expert: &Expert, tokens: u64) -> Option<String> {
        self.applies(tokens).then(|| no_lock(expert, self.setting))
    }
}

/// The reason why nothing is searched where a search is wanted.
pub fn no_lock(expert: &Expert, setting: ToolSearch) -> String {
    format!(
        "toolSearch is {:?} for expert {}, and there is no fresh perstack.lock to search: every request has the definitions \
         of all tools; run `perstack install` to write it",
        setting.word(),
        expert.key
    )
}

/// Returns the test for tools that a search can stand for: those of servers, not of the base skill, and no delegates or questions.
pub fn is_searchable<'a>(expert: &'a Expert, base_command: Option<&'a [String]>) -> impl Fn(&ToolSpec) -> bool + 'a {
    let is_server = move |spec: &SkillSpec| !spec.is_base() && server_spec(spec, base_command).is_some();
    move |tool| tool.kind == ToolKind::Mcp && expert.skills.get(&tool.skill_name).is_some_and(is_server)
}

/// The tokens of those of `tools` that can be searched, and their servers.
pub fn measure(tools: &[ToolSpec], is_searchable: impl Fn(&ToolSpec) -> bool) -> (u64, Vec<SearchedServer>) {
    let searched: Vec<ToolSpec> = tools.iter().filter(|tool| is_searchable(tool)).cloned().collect();
    (tools_tokens(&searched), SearchedServer::of(&searched))
}

/// The search for the tools of one expert, as far as it is known before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchState {
    /// It is off, or there is no server.
    Off,
    /// There is no lock to search.
    NoLock { setting: ToolSearch, warning: String },
    /// Definitions take so few tokens that they are sent; the most that are.
    Sent { tokens: u64, most_tokens: u64 },
    /// Tools are searched.
    InForce { setting: ToolSearch, tools: usize, tokens: u64, servers: Vec<SearchedServer> },
}

impl SearchState {
    /// The state for `expert`, by the lock and the model of `options`. Of a model that is not known a usual window is assumed.
    ///
    /// # Errors
    /// The expert is not defined, or the lock must serve and cannot.
    pub fn new(expert: &ExpertKey, options: &Options) -> Result<Self, RunError> {
        let expert = options.experts.get(expert)?;
        let base_command = options.base_skill_command.as_deref();
        let backends = JobBackends::without_asking(options, expert).ok();
        let rule = backends.and_then(|backends| SearchRule::new(expert, options, &backends).ok());
        let rule = rule.unwrap_or_else(|| SearchRule::for_window(expert, options, None));
        let is_server = |spec: &SkillSpec| !spec.is_base() && server_spec(spec, base_command).is_some();
        if rule.setting == ToolSearch::Off || !expert.skills.values().any(is_server) {
            return Ok(Self::Off);
        }
        let Some(lock) = lock::choose(expert, options)?.servers else {
            return Ok(Self::NoLock { setting: rule.setting, warning: no_lock(expert, rule.setting) });
        };
        let (tokens, servers) = measure(lock.tools(), is_searchable(expert, base_command));
        if !rule.applies(tokens) {
            return Ok(Self::Sent { tokens, most_tokens: rule.most_tokens });
        }
        let tools = servers.iter().map(|server| server.tools).sum();
        Ok(Self::InForce { setting: rule.setting, tools, tokens, servers })
    }

    /// The servers whose tools are searched.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        let servers = if let Self::InForce { servers, .. } = self { servers.as_slice() } else { &[] };
        servers.iter().map(|server| server.name.as_str())
    }

    /// A warning where a search is wanted without exception and there is no lock.
    pub fn warning(&self) -> Option<String> {
        match self {
            Self::NoLock { setting: ToolSearch::On, warning } => Some(warning.clone()),
            _ => None,
        }
    }

    /// A line for people; none where there is no search.
    pub fn line(&self) -> Option<String> {
        Some(match self {
            Self::Off => return None,
            Self::NoLock { warning, .. } => warning.clone(),
            Self::Sent { tokens, most_tokens } => format!(
                "toolSearch is \"auto\": the tools of its servers take about {tokens} tokens, and up to {most_tokens} are sent \
                 as they are"
            ),
            Self::InForce { setting, tools, tokens, servers } => format!(
                "toolSearch is {:?}: {tools} tools (about {tokens} tokens) are not sent; the model finds them with \
                 {SEARCH_TOOLS}: {}",
                setting.word(),
                names_of(servers)
            ),
        })
    }
}

/// Puts the tools of servers behind the search of `finder`. Those that no rule lets the expert call are not found.
pub fn put_behind(expert: &Expert, options: &Options, skills: &mut SkillSet, finder: &ToolFinder) -> SearchedTools {
    let is_searchable = is_searchable(expert, options.base_skill_command.as_deref());
    let (tokens, _) = measure(skills.tools(), &is_searchable);
    let (rules, own_names) = (rules(options, expert), skills.own_names());
    let may_be_called = |tool: &&ToolSpec| {
        let own_name = own_names.get(tool.name.as_str()).copied().unwrap_or(&tool.name);
        !matches!(rules.decide_tool(tool, own_name), (PermissionVerdict::Denied(_), false))
    };
    let searched = skills.tools().iter().filter(|tool| is_searchable(tool));
    let names = searched.clone().map(|tool| tool.name.clone()).collect();
    let findable: Vec<ToolSpec> = searched.filter(may_be_called).cloned().collect();
    finder.set_tools(findable);
    skills.put_behind_search(is_searchable);
    SearchedTools { names, tokens }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::expert_map::ExpertMap;

    #[test]
    fn auto_searches_what_takes_more_than_a_tenth_of_the_window() {
        let expert = |setting| Expert { tool_search: setting, ..Expert::new("owl".parse().unwrap(), "Hoot.") };
        let options = Options::new(ExpertMap::default(), PathBuf::new());
        for (setting, window, tokens, expected) in [
            (None, Some(1_000), 5_000, false),
            (Some(ToolSearch::Off), Some(1_000), 5_000, false),
            (Some(ToolSearch::Auto), Some(1_000), 100, false),
            (Some(ToolSearch::Auto), Some(1_000), 101, true),
            (Some(ToolSearch::Auto), None, 10_000, false),
            (Some(ToolSearch::Auto), None, 10_001, true),
            (Some(ToolSearch::On), Some(1_000_000), 1, true),
            (Some(ToolSearch::On), None, 0, false),
        ] {
            let rule = SearchRule::for_window(&expert(setting), &options, window);
            assert_eq!(rule.applies(tokens), expected, "{setting:?} {window:?} {tokens}");
        }
        let mut options = options;
        options.settings.tool_search = ToolSearch::On;
        assert_eq!(SearchRule::for_window(&expert(None), &options, None).setting, ToolSearch::On);
        assert_eq!(SearchRule::for_window(&expert(Some(ToolSearch::Off)), &options, None).setting, ToolSearch::Off);
    }
}
