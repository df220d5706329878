//! [`SkillSet`]: all tools of one expert under the names that its model calls them by, and the skill behind each.
//!
//! `runtime/tools` fills it, and a Run calls tools through it. A name that models do not take, or that is taken, is
//! replaced here and translated back in calls; shortening for a provider's own limit is left to `provider`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::future::BoxFuture;
use crate::skill::Skill;
use crate::skill::offered::OfferedTools;
use crate::tool::{CONVERSATION_TOOLS, LONGEST_NAME, TOOL_SEARCH_SKILL, ToolCall, ToolKind, ToolResult, ToolSpec};

/// The claim that a source of running tools has to their names. The loop's own tools go before all others, then
/// delegates, then questions, whatever their source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameClaim {
    /// The base skill.
    Base,
    /// A server; those that were added earlier go first.
    Server,
}

/// The tools of an expert in the order they were added, each under a name of its own.
#[derive(Clone, Default)]
pub struct SkillSet {
    sources: Vec<(NameClaim, Source)>,
    skills: Vec<Arc<dyn Skill>>,
    /// Under the names that are offered.
    tools: Vec<ToolSpec>,
    /// The offered name of every tool that there ever was, by its skill and own name. A name stays with its tool when
    /// servers change theirs: a server that adds a tool in the middle of a Run must not get the calls meant for another.
    names: HashMap<(String, String), String>,
    warnings: Vec<String>,
    /// The skills' revisions when their tools were read.
    revisions: Vec<u64>,
    /// Those that requests have, where others are behind a search.
    offered: Option<OfferedTools>,
}

/// A change of the tools that skills offer.
#[derive(Debug, PartialEq, Eq)]
pub struct ToolsChange {
    /// The skills whose tools are others now.
    pub skills: Vec<String>,
    /// The warnings that are new with it.
    pub warnings: Vec<String>,
}

/// A source of tools.
#[derive(Clone)]
enum Source {
    Skill(Arc<dyn Skill>),
    /// Nothing here runs these.
    Declared(Vec<ToolSpec>),
    /// Those of a recorded server, which may have changed them in the middle of a Run.
    Recorded {
        skill: String,
        tools: Vec<ToolSpec>,
    },
}

impl SkillSet {
    /// Adds a skill that runs, with its tools. They are offered once [`SkillSet::assign_names`] is called.
    pub fn add(&mut self, skill: Arc<dyn Skill>, claim: NameClaim) {
        self.skills.push(Arc::clone(&skill));
        self.add_source(claim, Source::Skill(skill));
    }

    /// Adds tools that nothing here runs; offered as those of [`SkillSet::add`].
    pub fn declare(&mut self, tools: Vec<ToolSpec>, claim: NameClaim) {
        self.add_source(claim, Source::Declared(tools));
    }

    /// Adds the tools of a recorded server; offered as those of [`SkillSet::add`].
    pub fn add_recorded(&mut self, skill: &str, tools: Vec<ToolSpec>, claim: NameClaim) {
        self.add_source(claim, Source::Recorded { skill: skill.to_owned(), tools });
    }

    fn add_source(&mut self, claim: NameClaim, source: Source) {
        self.sources.push((claim, source));
    }

    /// Names the tools of all sources, after the last was added: one that comes later may have the better claim.
    pub fn assign_names(&mut self) {
        self.names.clear();
        self.assign();
    }

    /// Reads the skills' tools anew where they may have changed. `None` when no tool has.
    pub fn refresh(&mut self) -> Option<ToolsChange> {
        if self.skills.iter().map(|skill| skill.tools_revision()).eq(self.revisions.iter().copied()) {
            return None;
        }
        self.assign_anew()
    }

    /// Gives recorded servers the tools that they changed theirs to. `None` when no tool is another.
    pub fn change_recorded(&mut self, now: &[ToolSpec]) -> Option<ToolsChange> {
        for (_, source) in &mut self.sources {
            if let Source::Recorded { skill, tools } = source {
                *tools = now.iter().filter(|tool| tool.skill_name == *skill).cloned().collect();
            }
        }
        self.assign_anew()
    }

    fn assign_anew(&mut self) -> Option<ToolsChange> {
        let tools = std::mem::take(&mut self.tools);
        let warnings = std::mem::take(&mut self.warnings);
        self.assign();
        if tools == self.tools {
            return None;
        }
        let of = |tools: &[ToolSpec], skill: &str| -> Vec<ToolSpec> {
            tools.iter().filter(|tool| tool.skill_name == skill).cloned().collect()
        };
        let skills = self.sources.iter().filter_map(|(_, source)| source.skill());
        let changed = skills.filter(|skill| of(&tools, skill) != of(&self.tools, skill));
        Some(ToolsChange {
            skills: changed.map(str::to_owned).collect(),
            warnings: self.warnings.iter().filter(|warning| !warnings.contains(warning)).cloned().collect(),
        })
    }

    /// A warning for each tool that is offered under another name than its own, or left out.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// All tools, under the names that are offered.
    pub fn tools(&self) -> &[ToolSpec] {
        &self.tools
    }

    /// Puts the tools that `is_behind` is true for behind a search, once all have their names. Of skills that change their
    /// tools none can be: these are those of a lock.
    pub fn put_behind_search(&mut self, is_behind: impl Fn(&ToolSpec) -> bool) {
        self.offered = Some(OfferedTools::new(&self.tools, is_behind));
    }

    /// The tools that requests have, and how many at their end were found by a search.
    pub fn offered(&self) -> (&[ToolSpec], usize) {
        self.offered.as_ref().map_or((&self.tools, 0), |offered| (offered.tools(), offered.found()))
    }

    /// Offers the tools of these names, of all that searches have found so far. Returns true if there are more tools now.
    pub fn offer_found(&mut self, found: &[String]) -> bool {
        self.offered.as_mut().is_some_and(|offered| offered.offer(found))
    }

    /// Returns true for the tool that searches others.
    pub fn is_search(&self, name: &str) -> bool {
        self.offered.is_some() && self.tool(name).is_some_and(|tool| tool.skill_name == TOOL_SEARCH_SKILL)
    }

    /// All tools under their own names, as a lock keeps them.
    pub fn own_tools(&self) -> Vec<ToolSpec> {
        self.sources.iter().flat_map(|(_, source)| source.tools()).collect()
    }

    /// The tool offered as `name`.
    pub fn tool(&self, name: &str) -> Option<&ToolSpec> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// The name that its skill gives the tool offered as `name`.
    pub fn own_name(&self, name: &str) -> Option<&str> {
        let skill = &self.tool(name)?.skill_name;
        let own = self.names.iter().find(|((of, _), offered)| of == skill && *offered == name);
        own.map(|((_, own), _)| own.as_str())
    }

    /// The names that skills give their tools, by those that are offered.
    pub fn own_names(&self) -> HashMap<&str, &str> {
        self.names.iter().map(|((_, own), offered)| (offered.as_str(), own.as_str())).collect()
    }

    /// Returns true for a tool that runs here and changes nothing outside, as it declares itself.
    pub fn only_reads(&self, name: &str) -> bool {
        let runs_here = |tool: &&ToolSpec| self.skills.iter().any(|skill| skill.name() == tool.skill_name);
        self.tool(name).filter(runs_here).is_some_and(|tool| tool.hints.read_only)
    }

    /// Starts a call of a tool by its offered name; `None` when nothing here runs it. The call begins at once, not when
    /// its future is first polled.
    pub fn call(&self, call: &ToolCall, cancel: CancellationToken) -> Option<BoxFuture<'static, ToolResult>> {
        let tool = self.tool(&call.tool_name)?;
        let skill = self.skills.iter().find(|skill| skill.name() == tool.skill_name)?;
        let offered = call.tool_name.clone();
        let own = self.names.iter().find(|((skill, _), name)| *skill == tool.skill_name && **name == offered);
        let own = own.map_or_else(|| offered.clone(), |((_, own), _)| own.clone());
        let answer = Arc::clone(skill).call(ToolCall { tool_name: own, ..call.clone() }, cancel);
        // A model that knows the name, from an instruction or a summary, need not search for it; it has the definition then.
        let is_found = self.offered.as_ref().is_some_and(|tools| tools.is_behind(&offered));
        Some(Box::pin(async move {
            let mut result = ToolResult { tool_name: offered, ..answer.await };
            if is_found {
                result.found_tools = Box::from([result.tool_name.clone()]);
            }
            result
        }))
    }

    /// The skills that run.
    pub fn skills(&self) -> &[Arc<dyn Skill>] {
        &self.skills
    }

    /// Gives every tool a name, those with the better claim first, and lists the tools in the order of their sources.
    fn assign(&mut self) {
        // Before the tools: a change in between is seen at the next refresh.
        self.revisions = self.skills.iter().map(|skill| skill.tools_revision()).collect();
        let mut warnings = Vec::new();
        let mut tools: Vec<(usize, NameClaim, ToolSpec)> = Vec::new();
        let mut seen = HashSet::new();
        for (claim, source) in &self.sources {
            for tool in source.tools() {
                if seen.insert((tool.skill_name.clone(), tool.name.clone())) {
                    tools.push((tools.len(), *claim, tool));
                } else {
                    warnings
                        .push(format!("{} lists its tool {} twice; the first one is used", tool.skill_name, tool.name));
                }
            }
        }
        // The sort is stable: of equal claims the earlier goes first. A name that fits as it is goes before one that has
        // to be rewritten.
        tools.sort_by_key(|(_, claim, tool)| (rank(tool.kind), *claim, tool.name != accepted(&tool.name)));
        let mut taken: HashMap<String, String> =
            self.names.iter().map(|((skill, _), name)| (name.clone(), skill.clone())).collect();
        for (_, _, tool) in &mut tools {
            let key = (tool.skill_name.clone(), tool.name.clone());
            let name = match self.names.get(&key) {
                Some(name) => name.clone(),
                None => free_name(tool, &taken),
            };
            if name != tool.name {
                warnings.push(renamed(tool, &name, &taken));
            }
            taken.insert(name.clone(), tool.skill_name.clone());
            self.names.insert(key, name.clone());
            tool.name = name;
        }
        tools.sort_by_key(|(at, ..)| *at);
        self.tools = tools.into_iter().map(|(_, _, tool)| tool).collect();
        self.warnings = warnings;
    }
}

impl Source {
    fn tools(&self) -> Vec<ToolSpec> {
        match self {
            Self::Skill(skill) => skill.tools(),
            Self::Declared(tools) | Self::Recorded { tools, .. } => tools.clone(),
        }
    }

    /// The name of a skill whose tools may change.
    fn skill(&self) -> Option<&str> {
        match self {
            Self::Skill(skill) => Some(skill.name()),
            Self::Declared(_) => None,
            Self::Recorded { skill, .. } => Some(skill),
        }
    }
}

fn rank(kind: ToolKind) -> u8 {
    match kind {
        ToolKind::Conversation => 0,
        ToolKind::Delegate => 1,
        ToolKind::Interactive => 2,
        ToolKind::Mcp => 3,
    }
}

/// `name` as models take it: letters, digits, `_` and `-` alone, at most [`LONGEST_NAME`] of them.
fn accepted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).take(LONGEST_NAME).collect();
    if name.is_empty() { "tool".to_owned() } else { name }
}

/// The name that `tool` is offered by: its own if that is free, else one that begins with its skill's.
fn free_name(tool: &ToolSpec, taken: &HashMap<String, String>) -> String {
    // The machine knows the loop's own tools by these names, so they are nobody else's even where they are omitted.
    let is_reserved = |name: &str| tool.kind != ToolKind::Conversation && CONVERSATION_TOOLS.contains(&name);
    let is_free = |name: &str| !taken.contains_key(name) && !is_reserved(name);
    let own = accepted(&tool.name);
    if is_free(&own) {
        return own;
    }
    let skill = accepted(&tool.skill_name);
    let skill = skill.trim_matches('_');
    for number in 1_u32.. {
        let end = if number == 1 { String::new() } else { format!("_{number}") };
        let longer = format!("{skill}_{own}{end}");
        let name = match longer.len().checked_sub(LONGEST_NAME) {
            None | Some(0) => longer,
            // Of a long name the beginning of the skill's is kept, and as much of the tool's as there is room for.
            Some(excess) => {
                let skill = skill.get(..skill.len().saturating_sub(excess).max(1)).unwrap_or("s");
                let own = own.get(..LONGEST_NAME - skill.len() - 1 - end.len()).unwrap_or(&own);
                format!("{skill}_{own}{end}")
            }
        };
        if is_free(&name) {
            return name;
        }
    }
    own
}

fn renamed(tool: &ToolSpec, name: &str, taken: &HashMap<String, String>) -> String {
    let (own, skill) = (&tool.name, &tool.skill_name);
    let reason = match taken.get(&accepted(own)) {
        _ if *own != accepted(own) => "models take only letters, digits, _ and - in a name".to_owned(),
        Some(other) if other != skill => format!("{other} has a tool of that name; omit one of them to choose"),
        _ => "the name is taken".to_owned(),
    };
    format!("tool {own} of {skill} is offered as {name}: {reason}")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::Map;

    use super::*;
    use crate::content::Content;
    use crate::tool::{BASE_SKILL, ToolHints};

    fn tool(skill: &str, name: &str, kind: ToolKind) -> ToolSpec {
        ToolSpec {
            skill_name: skill.to_owned(),
            name: name.to_owned(),
            description: None,
            input_schema: std::sync::Arc::default(),
            kind,
            hints: ToolHints::default(),
        }
    }

    /// A server that answers with its own name and that of the tool it was called by.
    struct Echo(&'static str, Mutex<Vec<&'static str>>);

    impl Echo {
        fn new(name: &'static str, tools: &[&'static str]) -> Arc<Self> {
            Arc::new(Self(name, Mutex::new(tools.to_vec())))
        }
    }

    impl Skill for Echo {
        fn name(&self) -> &str {
            self.0
        }

        fn tools(&self) -> Vec<ToolSpec> {
            self.1.lock().unwrap().iter().map(|name| tool(self.0, name, ToolKind::Mcp)).collect()
        }

        fn tools_revision(&self) -> u64 {
            let names = self.1.lock().unwrap().join(" ");
            names.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
        }

        fn call(self: Arc<Self>, call: ToolCall, _: CancellationToken) -> BoxFuture<'static, ToolResult> {
            let answer = Content::text(format!("{} {}", self.0, call.tool_name));
            Box::pin(async move { ToolResult::new(&call, vec![answer]) })
        }

        fn close(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    fn names(set: &SkillSet) -> Vec<&str> {
        set.tools().iter().map(|tool| tool.name.as_str()).collect()
    }

    /// The name in the result of a call, and what answered it.
    async fn called(set: &SkillSet, name: &str) -> (String, String) {
        let call = ToolCall {
            id: "c".to_owned(),
            skill_name: set.tool(name).unwrap().skill_name.clone(),
            tool_name: name.to_owned(),
            args: Map::new(),
        };
        let result = set.call(&call, CancellationToken::new()).unwrap().await;
        (result.tool_name.clone(), result.result[0].as_text().unwrap().to_owned())
    }

    #[tokio::test]
    async fn of_two_tools_with_one_name_both_can_be_called() {
        let mut set = SkillSet::default();
        set.add(Echo::new("a", &["x", "exec"]), NameClaim::Server);
        set.add(Echo::new("b/c", &["x"]), NameClaim::Server);
        set.add(Echo::new(BASE_SKILL, &["exec"]), NameClaim::Base);
        set.assign_names();
        assert_eq!(names(&set), ["x", "a_exec", "b_c_x", "exec"]);
        assert_eq!(
            set.warnings(),
            [
                "tool exec of a is offered as a_exec: @perstack/base has a tool of that name; omit one of them to choose",
                "tool x of b/c is offered as b_c_x: a has a tool of that name; omit one of them to choose",
            ]
        );
        for (name, answer) in [("x", "a x"), ("b_c_x", "b/c x"), ("exec", "@perstack/base exec"), ("a_exec", "a exec")]
        {
            assert_eq!(called(&set, name).await, (name.to_owned(), answer.to_owned()));
        }
        assert_eq!(
            set.own_tools().iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(),
            ["x", "exec", "x", "exec"]
        );
    }

    #[test]
    fn the_loops_own_tools_then_delegates_then_questions_have_their_names() {
        let mut set = SkillSet::default();
        set.add(Echo::new("s", &["todo", "helper", "ask", "attemptCompletion"]), NameClaim::Server);
        set.declare(
            vec![tool("q", "helper", ToolKind::Interactive), tool("q", "ask", ToolKind::Interactive)],
            NameClaim::Server,
        );
        set.declare(vec![tool("@org/helper", "helper", ToolKind::Delegate)], NameClaim::Server);
        set.declare(vec![tool(BASE_SKILL, "todo", ToolKind::Conversation)], NameClaim::Base);
        set.assign_names();
        assert_eq!(
            names(&set),
            ["s_todo", "s_helper", "s_ask", "s_attemptCompletion", "q_helper", "ask", "helper", "todo"]
        );
    }

    #[tokio::test]
    async fn a_server_that_changes_its_tools_takes_no_name_over() {
        let first = Echo::new("a", &["x"]);
        let mut set = SkillSet::default();
        set.add(Arc::clone(&first) as Arc<dyn Skill>, NameClaim::Server);
        set.add(Echo::new("b", &["y"]), NameClaim::Server);
        set.assign_names();
        assert_eq!(set.refresh(), None);
        *first.1.lock().unwrap() = vec!["y", "x"];
        let warning = "tool y of a is offered as a_y: b has a tool of that name; omit one of them to choose";
        let changed = |warnings: &[&str]| ToolsChange {
            skills: vec!["a".to_owned()],
            warnings: warnings.iter().map(|warning| (*warning).to_owned()).collect(),
        };
        assert_eq!(set.refresh(), Some(changed(&[warning])));
        assert_eq!(names(&set), ["a_y", "x", "y"]);
        assert_eq!(called(&set, "y").await.1, "b y");
        // A tool that went away and comes back has its name again.
        *first.1.lock().unwrap() = vec!["x"];
        assert_eq!(set.refresh(), Some(changed(&[])));
        *first.1.lock().unwrap() = vec!["y"];
        set.refresh().unwrap();
        assert_eq!(names(&set), ["a_y", "y"]);
    }

    #[tokio::test]
    async fn names_that_models_do_not_take_are_rewritten_reversibly() {
        let long: &'static str = "n".repeat(LONGEST_NAME + 5).leak();
        let mut set = SkillSet::default();
        set.add(
            Echo::new("s", &["repo.list", "repo/list", "repo_list", "ö", long, "twice", "twice"]),
            NameClaim::Server,
        );
        set.assign_names();
        assert_eq!(names(&set)[..4], ["s_repo_list", "s_repo_list_2", "repo_list", "_"]);
        assert!(names(&set).iter().all(|name| name.len() <= LONGEST_NAME));
        for (name, own) in
            [("s_repo_list", "s repo.list"), ("s_repo_list_2", "s repo/list"), ("repo_list", "s repo_list")]
        {
            assert_eq!(called(&set, name).await.1, own);
        }
        assert_eq!(set.warnings()[0], "s lists its tool twice twice; the first one is used");
        // Two long names that collide stay within the limit too.
        let mut set = SkillSet::default();
        for skill in ["one", "two", "three"] {
            set.add(Echo::new(skill, &[long]), NameClaim::Server);
        }
        set.assign_names();
        assert!(names(&set).iter().all(|name| name.len() == LONGEST_NAME), "{:?}", names(&set));
    }
}
