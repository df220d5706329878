//! [`OfferedTools`]: the tools of a set that requests have, where others are behind a search. The set keeps it.

use std::collections::HashMap;

use crate::tool::ToolSpec;

/// The tools that requests have: those that are not behind the search, and then those that were found, in the order in which
/// they were. Nothing in the list ever moves, so that a provider's cache of its beginning serves all requests.
#[derive(Debug, Clone, Default)]
pub struct OfferedTools {
    /// Those not found yet, by the names that they are called by.
    behind: HashMap<String, ToolSpec>,
    tools: Vec<ToolSpec>,
    /// The number of those at the end of `tools` that were found.
    found: usize,
    /// Names of found tools that were looked at.
    taken: usize,
}

impl OfferedTools {
    /// Puts those of `tools` behind the search that `is_behind` is true for.
    pub fn new(tools: &[ToolSpec], is_behind: impl Fn(&ToolSpec) -> bool) -> Self {
        let (behind, tools): (Vec<ToolSpec>, _) = tools.iter().cloned().partition(is_behind);
        let behind = behind.into_iter().map(|tool| (tool.name.clone(), tool)).collect();
        Self { behind, tools, found: 0, taken: 0 }
    }

    /// Adds the tools of all names in `found` that it was not given before; names of others are passed over. Returns true if
    /// there are more tools now.
    pub fn offer(&mut self, found: &[String]) -> bool {
        let before = self.found;
        for name in found.get(self.taken..).unwrap_or_default() {
            if let Some(tool) = self.behind.remove(name) {
                self.tools.push(tool);
                self.found += 1;
            }
        }
        self.taken = self.taken.max(found.len());
        self.found > before
    }

    pub fn tools(&self) -> &[ToolSpec] {
        &self.tools
    }

    /// The number of those at the end of the tools that were found.
    pub fn found(&self) -> usize {
        self.found
    }

    /// Returns true for the name of a tool that requests do not have yet.
    pub fn is_behind(&self, name: &str) -> bool {
        self.behind.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::{ToolHints, ToolKind};

    fn tool(name: &str) -> ToolSpec {
        ToolSpec {
            skill_name: "s".to_owned(),
            name: name.to_owned(),
            description: None,
            input_schema: std::sync::Arc::default(),
            kind: ToolKind::Mcp,
            hints: ToolHints::default(),
        }
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn found_tools_join_at_the_end_in_the_order_in_which_they_were_found() {
        let all = ["a", "base", "b", "c"].map(tool);
        let mut offered = OfferedTools::new(&all, |tool| tool.name != "base");
        let names =
            |offered: &OfferedTools| offered.tools().iter().map(|tool| tool.name.clone()).collect::<Vec<String>>();
        assert_eq!((names(&offered), offered.found()), (list(&["base"]), 0));
        assert!(offered.offer(&list(&["c"])));
        assert!(offered.offer(&list(&["c", "a", "gone", "a", "base"])));
        assert!(!offered.offer(&list(&["c", "a", "gone", "a", "base"])));
        assert_eq!((names(&offered), offered.found()), (list(&["base", "c", "a"]), 2));
        assert_eq!((offered.is_behind("b"), offered.is_behind("c"), offered.is_behind("base")), (true, false, false));
    }
}
