//! [`Closure`]: everything that an expert can do, by its own skills and by the experts that it can delegate to. `check` shows
//! it. It is put together from what is declared, from permissions and from the rules of containment; nothing is started.

use std::collections::{HashMap, HashSet, VecDeque};

use perstack::config::AgentSkill;
use perstack::config::lockfile::Lock;
use perstack::expert::{Expert, ExpertKey, SkillSpec};
use perstack::permission::{PermissionRules, PermissionVerdict};
use perstack::runtime::{SandboxRules, with_agent_skills};
use perstack::skill::declare;
use perstack::tool::{ToolHints, ToolKind, ToolSpec};

use super::permission_check::{StandingPermissions, known_tools};

/// The permission closure of experts.
pub struct Closure<'a> {
    pub permissions: &'a StandingPermissions<'a>,
    /// The tools of servers, as far as they are known.
    pub lock: Option<&'a Lock>,
    pub rules: SandboxRules<'a>,
    /// The Agent Skills of experts, as far as they are right.
    pub agent_skills: &'a HashMap<ExpertKey, Vec<AgentSkill>>,
}

impl<'a> Closure<'a> {
    /// A line on what `expert` can do: `can: write ./, run commands; through writer: reach api.example.com (web)`. Of an
    /// expert that it delegates to, it has what is new.
    pub fn line(&self, expert: &'a Expert) -> String {
        let own = self.abilities(expert, true);
        let mut parts = vec![format!("can: {}", own.text("answer, and nothing else"))];
        for (way, delegate) in self.delegates(expert) {
            let more = self.abilities(delegate, false).beyond(&own);
            parts.push(format!("through {way}: {}", more.text("nothing more")));
        }
        parts.join("; ")
    }

    /// The experts that `expert` can reach by delegation, each once, with the freest way there, of those the
    /// shortest.
    fn delegates(&self, expert: &'a Expert) -> Vec<(String, &'a Expert)> {
        let mut seen: HashSet<&ExpertKey> = HashSet::from([&expert.key]);
        let mut reached = Vec::new();
        for least in [Leave::Free, Leave::InPart, Leave::Asked] {
            let ways = self.ways(expert, least);
            reached.extend(ways.into_iter().filter(|(_, delegate)| seen.insert(&delegate.key)));
        }
        reached
    }

    /// The experts that `expert` can reach by calls that there is at least this leave for, with the shortest way there.
    fn ways(&self, expert: &'a Expert, least: Leave) -> Vec<(String, &'a Expert)> {
        let mut seen: HashSet<&ExpertKey> = HashSet::from([&expert.key]);
        let mut next = VecDeque::from([(String::new(), expert)]);
        let mut reached = Vec::new();
        while let Some((way, expert)) = next.pop_front() {
            let rules = self.permissions.rules(expert);
            // One that is not defined is a mistake, which the check shows.
            for delegate in expert.delegates.iter().filter_map(|key| self.permissions.project.experts.get(key).ok()) {
                let leave = Leave::to_call(&rules, &[declare::delegate(delegate)]);
                let Some(leave) = leave.filter(|leave| *leave >= least) else { continue };
                if seen.insert(&delegate.key) {
                    let step = leave.marked(delegate.key.as_str());
                    let way = if way.is_empty() { step } else { format!("{way} → {step}") };
                    reached.push((way.clone(), delegate));
                    next.push_back((way, delegate));
                }
            }
        }
        reached
    }

    /// A person answers the questions of an expert alone that no other one called.
    fn abilities(&self, expert: &Expert, may_ask: bool) -> Abilities {
        let mut found = Abilities::default();
        let (rules, project) = (self.permissions.rules(expert), self.permissions.project);
        let known = known_tools(project, expert, self.lock).tools;
        for (name, spec) in &expert.skills {
            let mut tools: Vec<ToolSpec> = known.iter().filter(|tool| tool.skill_name == *name).cloned().collect();
            let is_base = spec.is_built_in_base() && project.base_skill_command.is_none();
            if tools.is_empty() && !is_base {
                tools.push(any_tool(name));
            }
            let leave = Leave::to_call(&rules, &tools);
            match spec {
                SkillSpec::McpStdioSkill { .. } if is_base => {
                    let (commands, files): (Vec<_>, Vec<_>) = tools.into_iter().partition(|tool| tool.name == "exec");
                    found.files = found.files.max(Files::reached_by(&rules, files));
                    if let Some(leave) = Leave::to_call(&rules, &commands) {
                        found.commands = Some(leave);
                        self.add_commands(expert, spec, "exec", leave, &mut found);
                    }
                }
                // It is started in any case, and acts by itself.
                SkillSpec::McpStdioSkill { .. } => {
                    let calls = leave.map_or_else(|| ", calls denied".to_owned(), |leave| leave.after(", "));
                    self.add_program(spec, &format!("{name}{calls}"), Leave::Free, &mut found);
                }
                SkillSpec::McpSseSkill { endpoint, allowed_domains, .. } => {
                    let Some(leave) = leave else { continue };
                    let host = url::Url::parse(endpoint).ok().and_then(|url| url.host_str().map(str::to_owned));
                    let hosts = allowed_domains.as_ref().map(|domains| domains.join(", ")).or(host);
                    let hosts = hosts.unwrap_or_else(|| "its address".to_owned());
                    found.others.push(format!("reach {hosts} ({name}{})", leave.after(", ")));
                }
                SkillSpec::InteractiveSkill { .. } => {
                    if let Some(leave) = leave.filter(|_| may_ask) {
                        found.others.push(format!("ask you ({name}{})", leave.after(", ")));
                    }
                }
            }
        }
        if let Some(verify) = &expert.verify {
            found.others.push(format!("run `{}` before it answers (verify)", verify.command));
            if !matches!(found.commands, Some(Leave::Free)) {
                let usual = SkillSpec::base();
                let base = expert.skills.values().find(|spec| spec.is_base()).unwrap_or(&usual);
                self.add_commands(expert, base, "verify", Leave::Free, &mut found);
            }
        }
        if !expert.provider_tools.is_empty() {
            found.others.push(format!("use {} of the provider", expert.provider_tools.join(", ")));
        }
        found
    }

    /// Adds what commands can do: besides what the base skill gives its programs, the Agent Skills of the expert.
    fn add_commands(&self, expert: &Expert, base: &SkillSpec, name: &str, leave: Leave, found: &mut Abilities) {
        let skills = self.agent_skills.get(&expert.key).map(Vec::as_slice).unwrap_or_default();
        self.add_program(&with_agent_skills(base, skills, self.rules.workspace), name, leave, found);
    }

    /// Adds what the programs of a skill, which are started with this leave, can do by the rules that they are started with.
    fn add_program(&self, spec: &SkillSpec, name: &str, leave: Leave, found: &mut Abilities) {
        if !self.rules.contains(spec) {
            found.others.push(format!("do all that you can ({name}, not contained)"));
            return;
        }
        found.files = found.files.max(Files::Changed(leave));
        found.others.extend(spec.common().access.lines().into_iter().map(|line| format!("{line} ({name})")));
        match self.rules.enforced_list(spec) {
            None => found.others.push(format!("reach anything on the network ({name})")),
            Some([]) => {}
            Some(hosts) => found.others.push(format!("reach {} ({name})", hosts.join(", "))),
        }
    }
}

/// Stands for the tools of a server that nobody has asked for them: patterns of its skill and `*` name it.
fn any_tool(skill: &str) -> ToolSpec {
    ToolSpec {
        skill_name: skill.to_owned(),
        name: String::new(),
        description: None,
        input_schema: std::sync::Arc::default(),
        kind: ToolKind::Mcp,
        hints: ToolHints::default(),
    }
}

/// The leave to make calls that are not denied, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leave {
    /// A person is asked about each.
    Asked,
    /// About some calls.
    InPart,
    Free,
}

impl Leave {
    /// The leave to call any of `tools`; none where all are denied, or there are none.
    fn to_call(rules: &PermissionRules<'_>, tools: &[ToolSpec]) -> Option<Self> {
        let leave = |tool: &ToolSpec| match rules.decide_tool(tool, &tool.name) {
            (PermissionVerdict::Denied(_), _) => None,
            (PermissionVerdict::Asks(_), false) => Some(Self::Asked),
            (PermissionVerdict::Allowed(_), false) => Some(Self::Free),
            (_, true) => Some(Self::InPart),
        };
        tools.iter().filter_map(leave).reduce(|one, other| if one == other { one } else { Self::InPart })
    }

    /// Its words behind `between`; nothing for the most.
    fn after(self, between: &str) -> String {
        match self {
            Self::Asked => format!("{between}asks"),
            Self::InPart => format!("{between}by permissions"),
            Self::Free => String::new(),
        }
    }

    /// Its words in brackets behind a thing.
    fn marked(self, thing: &str) -> String {
        if self == Self::Free { thing.to_owned() } else { format!("{thing} ({})", self.after("")) }
    }
}

/// The use that is made of the workspace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Files {
    #[default]
    Untouched,
    Read(Leave),
    Changed(Leave),
}

impl Files {
    /// That of the file tools among `tools`.
    fn reached_by(rules: &PermissionRules<'_>, tools: Vec<ToolSpec>) -> Self {
        let (reading, changing): (Vec<_>, Vec<_>) = tools.into_iter().partition(|tool| tool.hints.read_only);
        match (Leave::to_call(rules, &changing), Leave::to_call(rules, &reading)) {
            (Some(leave), _) => Self::Changed(leave),
            (None, Some(leave)) => Self::Read(leave),
            (None, None) => Self::Untouched,
        }
    }
}

#[derive(Debug, Default)]
struct Abilities {
    files: Files,
    commands: Option<Leave>,
    /// In the order of the skills.
    others: Vec<String>,
}

impl Abilities {
    /// Those that `other` has not.
    fn beyond(mut self, other: &Self) -> Self {
        if self.files <= other.files {
            self.files = Files::Untouched;
        }
        if self.commands <= other.commands {
            self.commands = None;
        }
        self.others.retain(|line| !other.others.contains(line));
        self
    }

    /// All of them in words, or `nothing` without any.
    fn text(&self, nothing: &str) -> String {
        let files = match self.files {
            Files::Untouched => None,
            Files::Read(leave) => Some(leave.marked("read ./")),
            Files::Changed(leave) => Some(leave.marked("write ./")),
        };
        let commands = self.commands.map(|leave| leave.marked("run commands"));
        let all: Vec<String> = files.into_iter().chain(commands).chain(self.others.iter().cloned()).collect();
        if all.is_empty() { nothing.to_owned() } else { all.join(", ") }
    }
}
