//! [`ToolFinder`]: the tool by which a model searches the tools of servers, which its requests do not have. `runtime/tools` adds
//! it where tool search is in force; what it finds, the machine keeps and requests have from then on.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use self::ranking::ToolIndex;
use super::Skill;
use crate::content::Content;
use crate::future::BoxFuture;
use crate::tool::{TOOL_SEARCH_SKILL, ToolCall, ToolHints, ToolKind, ToolResult, ToolSpec};

mod ranking;

/// The tool's name.
pub const SEARCH_TOOLS: &str = "searchTools";

/// Tools of one result where the call names no number: enough for a choice, and few definitions for the requests that follow.
const USUAL_RESULTS: usize = 5;
/// Most tools of one result.
const MOST_RESULTS: usize = 20;
/// Most characters of a description in a result: the whole one is in the definition.
const SHOWN_DESCRIPTION: usize = 200;
/// Most servers that are named. Their names show what there is to search for; a list of hundreds would cost what the search saves.
const MOST_SERVERS: usize = 40;

/// A server of which tools can be found, and their number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchedServer {
    pub name: String,
    pub tools: usize,
}

impl SearchedServer {
    /// The servers of `tools`, in their order.
    pub fn of(tools: &[ToolSpec]) -> Vec<Self> {
        let mut servers: Vec<Self> = Vec::new();
        for tool in tools {
            match servers.iter_mut().find(|server| server.name == tool.skill_name) {
                Some(server) => server.tools += 1,
                None => servers.push(Self { name: tool.skill_name.clone(), tools: 1 }),
            }
        }
        servers
    }
}

/// The tool by which a model searches.
pub struct ToolFinder {
    servers: Vec<SearchedServer>,
    /// The tools that can be found, under the names that they are called by.
    tools: OnceLock<Vec<ToolSpec>>,
    /// Made by the first search.
    index: OnceLock<ToolIndex>,
}

impl ToolFinder {
    /// A finder of the tools of `servers`. It finds none before it has them.
    pub fn new(servers: Vec<SearchedServer>) -> Arc<Self> {
        Arc::new(Self { servers, tools: OnceLock::new(), index: OnceLock::new() })
    }

    /// Gives it the tools that it can find, under the names that they are called by. They stay what they are.
    pub fn set_tools(&self, tools: Vec<ToolSpec>) {
        // Set twice only by a mistake; the first ones are those that a description was made of.
        let _ = self.tools.set(tools);
    }

    fn found(&self, args: &Map<String, Value>) -> Result<(String, Vec<String>), String> {
        let query = args.get("query").and_then(Value::as_str).map(str::trim).filter(|query| !query.is_empty());
        let Some(query) = query else {
            return Err(format!("query: expected a few words on what the tool does. {}", self.what_there_is()));
        };
        let most = match args.get("maxResults") {
            None | Some(Value::Null) => USUAL_RESULTS,
            Some(number) => number
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| (1..=MOST_RESULTS).contains(number))
                .ok_or_else(|| format!("maxResults: expected a whole number from 1 to {MOST_RESULTS}"))?,
        };
        let tools = self.tools.get().map(Vec::as_slice).unwrap_or_default();
        let ranked = self.index.get_or_init(|| ToolIndex::new(tools)).ranked(query);
        if ranked.is_empty() {
            return Ok((self.nothing(query), Vec::new()));
        }
        let shown: Vec<&ToolSpec> = ranked.iter().filter_map(|at| tools.get(*at)).take(most).collect();
        let more = ranked.len() - shown.len();
        let mut text = String::from("These tools can be called from now on, the one that fits best first:\n");
        for tool in &shown {
            let about = first_line(tool.description.as_deref().unwrap_or_default());
            // Writing to a text does not fail.
            let _ = writeln!(
                text,
                "- {} ({}){}{about}",
                tool.name,
                tool.skill_name,
                if about.is_empty() { "" } else { ": " }
            );
        }
        if more > 0 {
            let _ = write!(text, "{more} more fit less well: search with other words, or with a greater maxResults.");
        }
        Ok((text.trim_end().to_owned(), shown.into_iter().map(|tool| tool.name.clone()).collect()))
    }

    fn nothing(&self, query: &str) -> String {
        let query: String = query.chars().take(SHOWN_DESCRIPTION).collect();
        format!("No tool fits {query:?}. {}", self.what_there_is())
    }

    fn what_there_is(&self) -> String {
        format!(
            "Search by words for what a tool does or works on, or by a server's name. The servers: {}",
            names_of(&self.servers)
        )
    }
}

/// The names of servers with the numbers of their tools.
pub fn names_of(servers: &[SearchedServer]) -> String {
    let named = servers.iter().take(MOST_SERVERS).map(|SearchedServer { name, tools }| format!("{name} ({tools})"));
    let more = servers.len().saturating_sub(MOST_SERVERS);
    let more = (more > 0).then(|| format!("and {more} more"));
    named.chain(more).collect::<Vec<String>>().join(", ")
}

/// The first line of a description, shortened.
fn first_line(description: &str) -> String {
    let line = description.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let mut letters = line.chars();
    let mut text: String = letters.by_ref().take(SHOWN_DESCRIPTION).collect();
    if letters.next().is_some() {
        text.push('…');
    }
    text
}

impl Skill for ToolFinder {
    fn name(&self) -> &str {
        TOOL_SEARCH_SKILL
    }

    fn tools(&self) -> Vec<ToolSpec> {
        vec![tool(&self.servers)]
    }

    fn tools_revision(&self) -> u64 {
        0
    }

    fn call(self: Arc<Self>, call: ToolCall, _: CancellationToken) -> BoxFuture<'static, ToolResult> {
        Box::pin(async move {
            match self.found(&call.args) {
                Ok((text, found)) => {
                    ToolResult { found_tools: found.into(), ..ToolResult::new(&call, vec![Content::text(text)]) }
                }
                Err(why) => ToolResult::error(&call, why),
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// The tool by which the tools of `servers` are searched.
pub fn tool(servers: &[SearchedServer]) -> ToolSpec {
    let schema = json!({
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "description": "A few words on what the tool does or works on, a tool's name, or a server's.",
            },
            "maxResults": {
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_RESULTS,
                "description": format!("Most tools to find; {USUAL_RESULTS} when left out."),
            },
        },
        "required": ["query"],
    });
    let description = format!(
        "Search for further tools. There are more than are listed: those of the servers {}. The ones that are found can be \
         called from your next turn on. Search before you report that something cannot be done.",
        names_of(servers)
    );
    ToolSpec {
        skill_name: TOOL_SEARCH_SKILL.to_owned(),
        name: SEARCH_TOOLS.to_owned(),
        description: Some(description),
        input_schema: schema.as_object().cloned().unwrap_or_default().into(),
        kind: ToolKind::Mcp,
        hints: ToolHints { read_only: true, idempotent: true, destructive: false, open_world: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_tool(skill: &str, name: &str, description: &str) -> ToolSpec {
        ToolSpec {
            skill_name: skill.to_owned(),
            name: name.to_owned(),
            description: Some(description.to_owned()),
            input_schema: Arc::default(),
            kind: ToolKind::Mcp,
            hints: ToolHints::default(),
        }
    }

    fn finder() -> Arc<ToolFinder> {
        let tools = vec![
            server_tool("git", "git_log", "Shows commits.\nSecond line."),
            server_tool("git", "git_add", "Stages files"),
            server_tool("clock", "now", ""),
        ];
        let finder = ToolFinder::new(SearchedServer::of(&tools));
        finder.set_tools(tools);
        finder
    }

    fn search(args: &Value) -> Result<(String, Vec<String>), String> {
        finder().found(args.as_object().unwrap())
    }

    #[test]
    fn a_result_names_the_tools_and_carries_them() {
        let (text, found) = search(&json!({"query": "commits"})).unwrap();
        assert_eq!(found, ["git_log"]);
        insta::assert_snapshot!(text, @r"
        These tools can be called from now on, the one that fits best first:
        - git_log (git): Shows commits.
        ");
        let (text, found) = search(&json!({"query": "git", "maxResults": 1})).unwrap();
        assert_eq!(found.len(), 1);
        assert!(
            text.ends_with("1 more fit less well: search with other words, or with a greater maxResults."),
            "{text}"
        );
        assert_eq!(search(&json!({"query": "now"})).unwrap().1, ["now"]);
    }

    #[test]
    fn where_nothing_fits_the_servers_are_named() {
        let (text, found) = search(&json!({"query": "weather"})).unwrap();
        assert!(found.is_empty());
        insta::assert_snapshot!(text, @r#"No tool fits "weather". Search by words for what a tool does or works on, or by a server's name. The servers: git (2), clock (1)"#);
    }

    #[test]
    fn a_call_that_cannot_be_a_search_is_an_error() {
        for (args, expected) in [
            (json!({}), "query: expected"),
            (json!({"query": " \n"}), "query: expected"),
            (json!({"query": 7}), "query: expected"),
            (json!({"query": "git", "maxResults": 0}), "maxResults: expected a whole number from 1 to 20"),
            (json!({"query": "git", "maxResults": 21}), "maxResults"),
            (json!({"query": "git", "maxResults": "all"}), "maxResults"),
        ] {
            let why = search(&args).unwrap_err();
            assert!(why.starts_with(expected), "{args}: {why}");
        }
        assert_eq!(search(&json!({"query": "git", "maxResults": null})).unwrap().1.len(), 2);
    }

    #[test]
    fn of_many_servers_some_are_named() {
        let tools: Vec<ToolSpec> = (0..50).map(|n| server_tool(&format!("s{n}"), "t", "")).collect();
        assert!(names_of(&SearchedServer::of(&tools)).ends_with("s39 (1), and 10 more"));
    }
}
