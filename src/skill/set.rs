//! All tools of one expert, and the skill behind each.

use std::sync::Arc;

use crate::skill::Skill;
use crate::tool::ToolSpec;

/// Tools in the order they were added; of two with one name the first counts.
#[derive(Clone, Default)]
pub struct SkillSet {
    sources: Vec<Source>,
    skills: Vec<Arc<dyn Skill>>,
    tools: Vec<ToolSpec>,
    /// Most characters of a name, where that is limited.
    longest_name: Option<usize>,
}

/// A source of tools.
#[derive(Clone)]
enum Source {
    Skill(Arc<dyn Skill>),
    /// Nothing here runs these.
    Declared(Vec<ToolSpec>),
}

impl SkillSet {
    /// Adds a skill that runs, with its tools. Returns a warning for each tool whose name was taken.
    pub fn add(&mut self, skill: Arc<dyn Skill>) -> Vec<String> {
        self.skills.push(Arc::clone(&skill));
        self.add_source(Source::Skill(skill))
    }

    /// Adds tools that nothing here runs. Returns a warning for each whose name was taken.
    pub fn declare(&mut self, tools: Vec<ToolSpec>) -> Vec<String> {
        self.add_source(Source::Declared(tools))
    }

    fn add_source(&mut self, source: Source) -> Vec<String> {
        let mut warnings = Vec::new();
        take_in(&source, self.longest_name, &mut self.tools, &mut warnings);
        self.sources.push(source);
        warnings
    }

    /// Leaves out tools whose names have more characters, from now on. Returns a warning for each that is left out.
    pub fn limit_names(&mut self, longest: usize) -> Vec<String> {
        self.longest_name = Some(longest);
        let (fits, too_long): (Vec<ToolSpec>, _) =
            std::mem::take(&mut self.tools).into_iter().partition(|tool| tool.name.len() <= longest);
        self.tools = fits;
        too_long.iter().map(|tool| too_long_name(tool, longest)).collect()
    }

    /// Reads the skills' tools anew. Returns a warning for each tool whose name is taken, or `None` when nothing
    /// has changed.
    pub fn refresh(&mut self) -> Option<Vec<String>> {
        let (mut tools, mut warnings) = (Vec::new(), Vec::new());
        for source in &self.sources {
            take_in(source, self.longest_name, &mut tools, &mut warnings);
        }
        if tools == self.tools {
            return None;
        }
        self.tools = tools;
        Some(warnings)
    }

    /// All tools.
    pub fn tools(&self) -> &[ToolSpec] {
        &self.tools
    }

    /// The tool called `name`.
    pub fn tool(&self, name: &str) -> Option<&ToolSpec> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// The skill that runs the tool called `name`.
    pub fn skill_of(&self, name: &str) -> Option<&Arc<dyn Skill>> {
        let tool = self.tool(name)?;
        self.skills.iter().find(|skill| skill.name() == tool.skill_name)
    }

    /// The skills that run.
    pub fn skills(&self) -> &[Arc<dyn Skill>] {
        &self.skills
    }
}

fn too_long_name(tool: &ToolSpec, longest: usize) -> String {
    format!(
        "tool {} of {} is left out: its name has more than the {longest} characters that a tool may have; rename it",
        tool.name, tool.skill_name
    )
}

/// Adds the tools of `source` whose names are free and not too long.
fn take_in(source: &Source, longest: Option<usize>, tools: &mut Vec<ToolSpec>, warnings: &mut Vec<String>) {
    let offered = match source {
        Source::Skill(skill) => skill.tools(),
        Source::Declared(tools) => tools.clone(),
    };
    for tool in offered {
        if let Some(longest) = longest.filter(|longest| tool.name.len() > *longest) {
            warnings.push(too_long_name(&tool, longest));
            continue;
        }
        match tools.iter().find(|known| known.name == tool.name) {
            Some(known) => warnings.push(format!(
                "tool {} of {} is hidden by the one of {}: use pick or omit to choose",
                tool.name, tool.skill_name, known.skill_name
            )),
            None => tools.push(tool),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::{ToolHints, ToolKind};

    fn tool(skill: &str, name: &str) -> ToolSpec {
        ToolSpec {
            skill_name: skill.to_owned(),
            name: name.to_owned(),
            description: None,
            input_schema: serde_json::Map::new(),
            kind: ToolKind::Interactive,
            hints: ToolHints::default(),
        }
    }

    #[test]
    fn of_two_tools_with_one_name_the_first_counts_and_the_second_is_reported() {
        let mut set = SkillSet::default();
        assert_eq!(set.declare(vec![tool("a", "x"), tool("a", "y")]), Vec::<String>::new());
        assert_eq!(
            set.declare(vec![tool("b", "x")]),
            ["tool x of b is hidden by the one of a: use pick or omit to choose"]
        );
        assert_eq!(set.tool("x").map(|tool| tool.skill_name.as_str()), Some("a"));
        assert_eq!(set.tools().len(), 2);
    }

    #[test]
    fn names_that_are_too_long_are_left_out_now_and_later() {
        let warning = "tool long of a is left out: its name has more than the 3 characters that a tool may have; \
                       rename it";
        let mut set = SkillSet::default();
        set.declare(vec![tool("a", "long"), tool("a", "x")]);
        assert_eq!(set.limit_names(3), [warning]);
        assert_eq!(set.declare(vec![tool("b", "other"), tool("b", "y")]).len(), 1);
        assert_eq!(set.tools().iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(set.refresh(), None, "nothing has changed");
    }
}
