//! [`Closure`]: everything that an expert can do, by its own skills and by the experts that it can delegate to. `check` shows
//! it. It is put together from what is declared and from the rules of containment; nothing is started.

use std::collections::{HashSet, VecDeque};

use perstack::expert::{Expert, ExpertKey, SkillSpec};
use perstack::expert_map::ExpertMap;
use perstack::runtime::SandboxRules;
use perstack::skill::base::{FileUse, file_use};

/// The permission closure of experts.
pub struct Closure<'a> {
    pub experts: &'a ExpertMap,
    /// The command that replaces the built-in base skill.
    pub base_command: Option<&'a [String]>,
    pub rules: SandboxRules<'a>,
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

    /// The experts that `expert` can reach by delegation, each once, with the shortest way there.
    fn delegates(&self, expert: &'a Expert) -> Vec<(String, &'a Expert)> {
        let mut seen: HashSet<&ExpertKey> = HashSet::from([&expert.key]);
        let mut next = VecDeque::from([(String::new(), expert)]);
        let mut reached = Vec::new();
        while let Some((way, expert)) = next.pop_front() {
            // One that is not defined is a mistake, which the check shows.
            for delegate in expert.delegates.iter().filter_map(|key| self.experts.get(key).ok()) {
                if seen.insert(&delegate.key) {
                    let way =
                        if way.is_empty() { delegate.key.to_string() } else { format!("{way} → {}", delegate.key) };
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
        for (name, spec) in &expert.skills {
            match spec {
                SkillSpec::McpStdioSkill { common, .. } if spec.is_built_in_base() && self.base_command.is_none() => {
                    found.files = found.files.max(Files::of(file_use(common)));
                    if common.admits("exec") {
                        found.commands = true;
                        self.add_program(spec, "exec", &mut found);
                    }
                }
                SkillSpec::McpStdioSkill { .. } => self.add_program(spec, name, &mut found),
                SkillSpec::McpSseSkill { endpoint, allowed_domains, .. } => {
                    let host = url::Url::parse(endpoint).ok().and_then(|url| url.host_str().map(str::to_owned));
                    let hosts = allowed_domains.as_ref().map(|domains| domains.join(", ")).or(host);
                    found.others.push(format!("reach {} ({name})", hosts.unwrap_or_else(|| "its address".to_owned())));
                }
                SkillSpec::InteractiveSkill { .. } if may_ask => found.others.push(format!("ask you ({name})")),
                SkillSpec::InteractiveSkill { .. } => {}
            }
        }
        if !expert.provider_tools.is_empty() {
            found.others.push(format!("use {} of the provider", expert.provider_tools.join(", ")));
        }
        found
    }

    /// Adds what the programs of a skill can do, by the rules that they are started with.
    fn add_program(&self, spec: &SkillSpec, name: &str, found: &mut Abilities) {
        if !self.rules.contains(spec) {
            found.others.push(format!("do all that you can ({name}, not contained)"));
            return;
        }
        found.files = Files::Changed;
        found.others.extend(spec.common().access.lines().into_iter().map(|line| format!("{line} ({name})")));
        match self.rules.enforced_list(spec) {
            None => found.others.push(format!("reach anything on the network ({name})")),
            Some([]) => {}
            Some(hosts) => found.others.push(format!("reach {} ({name})", hosts.join(", "))),
        }
    }
}

/// The use that is made of the workspace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Files {
    #[default]
    Untouched,
    Read,
    Changed,
}

impl Files {
    fn of(used: FileUse) -> Self {
        match used {
            FileUse::Nothing => Self::Untouched,
            FileUse::Reading => Self::Read,
            FileUse::Changing => Self::Changed,
        }
    }
}

#[derive(Debug, Default)]
struct Abilities {
    files: Files,
    commands: bool,
    /// In the order of the skills.
    others: Vec<String>,
}

impl Abilities {
    /// Those that `other` has not.
    fn beyond(mut self, other: &Self) -> Self {
        if self.files <= other.files {
            self.files = Files::Untouched;
        }
        self.commands &= !other.commands;
        self.others.retain(|line| !other.others.contains(line));
        self
    }

    /// All of them in words, or `nothing` without any.
    fn text(&self, nothing: &str) -> String {
        let files = match self.files {
            Files::Untouched => None,
            Files::Read => Some("read ./"),
            Files::Changed => Some("write ./"),
        };
        let commands = self.commands.then_some("run commands");
        let all: Vec<&str> = files.into_iter().chain(commands).chain(self.others.iter().map(String::as_str)).collect();
        if all.is_empty() { nothing.to_owned() } else { all.join(", ") }
    }
}
