//! [`ToolIndex`]: tools ranked by how well they fit a few words. The search tool asks it.
//!
//! The measure is Okapi BM25 over the words of a tool's name, its server's name, its description and its parameters' names, in
//! whole numbers: the same words find the same tools in the same order on every machine, as a replay needs it.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::tool::ToolSpec;

/// The weight of a word in a tool's own name, against one in its description: a name is a summary.
const IN_NAME: u64 = 4;
/// The weight of a word in the server's name.
const IN_SKILL: u64 = 2;
/// BM25's usual `k1` (1.2) and `b` (0.75), in thousandths.
const K1: u64 = 1200;
const B: u64 = 750;
/// Most levels of a schema whose parameters' names count: below, they hardly distinguish tools.
const DEPTH: usize = 3;

/// Words that are of any tool. They count only where a query has no others.
const COMMON: [&str; 38] = [
    "a", "an", "and", "any", "are", "as", "at", "be", "by", "can", "do", "for", "from", "get", "how", "i", "if", "in",
    "into", "is", "it", "me", "my", "of", "on", "or", "please", "some", "that", "the", "this", "to", "tool", "use",
    "want", "what", "which", "with",
];

/// Tools by their words.
#[derive(Debug, Default)]
pub struct ToolIndex {
    /// For each word the tools that have it, by their places, and its weight there.
    places: HashMap<String, Vec<(usize, u64)>>,
    /// The weight of all words of each tool.
    lengths: Vec<u64>,
    names: Vec<String>,
    /// Of all lengths; at least 1.
    mean_length: u64,
}

impl ToolIndex {
    /// Reads the words of `tools`.
    pub fn new<'a>(tools: impl IntoIterator<Item = &'a ToolSpec>) -> Self {
        let mut index = Self::default();
        for tool in tools {
            index.add(tool);
        }
        let count = u64::try_from(index.lengths.len()).unwrap_or(u64::MAX).max(1);
        index.mean_length = (index.lengths.iter().fold(0, |sum: u64, it| sum.saturating_add(*it)) / count).max(1);
        index
    }

    fn add(&mut self, tool: &ToolSpec) {
        let at = self.lengths.len();
        let mut weights: HashMap<String, u64> = HashMap::new();
        let mut count = |text: &str, weight: u64| {
            for word in words(text) {
                *weights.entry(word).or_default() += weight;
            }
        };
        count(&tool.name, IN_NAME);
        count(&tool.skill_name, IN_SKILL);
        count(tool.description.as_deref().unwrap_or_default(), 1);
        let mut parameters = Vec::new();
        parameter_names(&tool.input_schema, DEPTH, &mut parameters);
        for name in parameters {
            count(name, 1);
        }
        self.lengths.push(weights.values().sum());
        self.names.push(tool.name.to_lowercase());
        for (word, weight) in weights {
            self.places.entry(word).or_default().push((at, weight));
        }
    }

    /// The places of the tools that fit `query`, the best first; of those that fit equally well the earlier first. A tool whose
    /// name is the query is the best.
    pub fn ranked(&self, query: &str) -> Vec<usize> {
        let mut scores: HashMap<usize, u64> = HashMap::new();
        for word in distinct_words(query) {
            let Some(places) = self.places.get(&word) else { continue };
            let rarity = self.rarity(places.len());
            for (at, weight) in places {
                let score = scores.entry(*at).or_default();
                *score = score.saturating_add(rarity.saturating_mul(self.frequency(*at, *weight)));
            }
        }
        let name = query.trim().to_lowercase();
        if let Some(at) = self.names.iter().position(|other| *other == name) {
            scores.insert(at, u64::MAX);
        }
        let mut found: Vec<(usize, u64)> = scores.into_iter().collect();
        found.sort_unstable_by(|(at, score), (other, than)| than.cmp(score).then(at.cmp(other)));
        found.into_iter().map(|(at, _)| at).collect()
    }

    /// The logarithm of how rare a word is that so many tools have, in 1/65536.
    fn rarity(&self, having: usize) -> u64 {
        let (all, having) = (self.lengths.len() as u64, having as u64);
        // 1 + (N − n + ½) / (n + ½)
        log2(((2 * all + 2) << 16) / (2 * having + 1))
    }

    /// How much a word of this weight counts in the tool at `at`, in thousandths.
    fn frequency(&self, at: usize, weight: u64) -> u64 {
        let length = self.lengths.get(at).copied().unwrap_or(1);
        let norm = K1 * (1000 - B) / 1000 + K1 * B / 1000 * length / self.mean_length;
        weight * 1000 * (K1 + 1000) / (weight * 1000 + norm)
    }
}

/// The binary logarithm of a number in 1/65536, in the same; linear between powers of two. At least 1.
fn log2(number: u64) -> u64 {
    let Some(power) = number.checked_ilog2().filter(|power| *power >= 16) else { return 1 };
    let fraction = (number >> (power - 16)).saturating_sub(1 << 16);
    (u64::from(power - 16) << 16).saturating_add(fraction).max(1)
}

/// The words of a query that distinguish tools, each once.
fn distinct_words(query: &str) -> Vec<String> {
    let all = split(query);
    let is_rare = |word: &&String| !COMMON.contains(&word.as_str());
    let chosen: Vec<&String> = all.iter().filter(is_rare).collect();
    let chosen = if chosen.is_empty() { all.iter().collect() } else { chosen };
    let mut words: Vec<String> = chosen.into_iter().map(|word| stem(word)).collect();
    words.sort_unstable();
    words.dedup();
    words
}

fn words(text: &str) -> impl Iterator<Item = String> {
    split(text).into_iter().map(|word| stem(&word))
}

/// The words of a text in lower case. Names are taken apart: `readTextFile`, `read_text_file` and `HTTPServer2` have three each.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut letters = text.chars().peekable();
    let mut before: Option<char> = None;
    while let Some(letter) = letters.next() {
        if !letter.is_alphanumeric() {
            words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
            before = None;
            continue;
        }
        let begins = before.is_some_and(|before| {
            let rises = before.is_lowercase() && letter.is_uppercase();
            let ends_capitals = before.is_uppercase()
                && letter.is_uppercase()
                && letters.peek().is_some_and(|next| next.is_lowercase());
            rises || ends_capitals || before.is_numeric() != letter.is_numeric()
        });
        if begins {
            words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
        }
        word.extend(letter.to_lowercase());
        before = Some(letter);
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// The word without an English ending, so that `creating issues` finds `createIssue`.
fn stem(word: &str) -> String {
    if !word.is_ascii() {
        return word.to_owned();
    }
    let has_vowel = |text: &str| text.contains(['a', 'e', 'i', 'o', 'u', 'y']);
    let without = |ending: &str| word.strip_suffix(ending).filter(|rest| rest.len() > 2 && has_vowel(rest));
    if let Some(rest) = without("ies") {
        return format!("{rest}y");
    }
    let stem = if let Some(rest) = without("ing").or_else(|| without("ed")) {
        let mut letters = rest.chars().rev();
        let doubled = letters.next().filter(|last| letters.next() == Some(*last) && !"lsz".contains(*last));
        doubled.and_then(|last| rest.strip_suffix(last)).unwrap_or(rest)
    } else {
        let is_plural = !["ss", "us", "is"].iter().any(|ending| word.ends_with(ending));
        without("s").filter(|_| is_plural).unwrap_or(word)
    };
    let stem = stem.strip_suffix('e').filter(|rest| rest.len() > 2).unwrap_or(stem);
    stem.to_owned()
}

/// Collects the names of parameters, and of fields within them.
fn parameter_names<'a>(schema: &'a Map<String, Value>, depth: usize, names: &mut Vec<&'a str>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for (name, parameter) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        names.push(name);
        let items = parameter.get("items").unwrap_or(parameter);
        if let Some(inner) = items.as_object() {
            parameter_names(inner, depth, names);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tool::{ToolHints, ToolKind};

    fn tool(skill: &str, name: &str, description: &str, parameters: &[&str]) -> ToolSpec {
        let properties: Map<String, Value> =
            parameters.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
        ToolSpec {
            skill_name: skill.to_owned(),
            name: name.to_owned(),
            description: Some(description.to_owned()),
            input_schema: Map::from_iter([("properties".to_owned(), properties.into())]).into(),
            kind: ToolKind::Mcp,
            hints: ToolHints::default(),
        }
    }

    fn tools() -> Vec<ToolSpec> {
        vec![
            tool("git", "git_log", "Shows the commit logs", &["repo_path", "max_count"]),
            tool("git", "git_commit", "Records changes to the repository", &["repo_path", "message"]),
            tool("tracker", "createIssue", "Opens a new ticket for the project", &["title", "labels"]),
            tool("tracker", "listIssues", "Lists tickets", &["state"]),
            tool("clock", "convert_time", "Converts time between timezones", &["source_timezone", "time"]),
            tool("memory", "read_graph", "Reads the entire knowledge graph", &[]),
        ]
    }

    fn names(query: &str) -> Vec<String> {
        let tools = tools();
        ToolIndex::new(&tools).ranked(query).into_iter().map(|at| tools[at].name.clone()).collect()
    }

    #[test]
    fn the_tool_that_fits_best_is_first() {
        for (query, first) in [
            ("creating an issue", "createIssue"),
            ("list the issues", "listIssues"),
            ("what time is it in another timezone", "convert_time"),
            ("commit changes", "git_commit"),
            ("commit logs", "git_log"),
            ("knowledge graphs", "read_graph"),
            ("labels", "createIssue"),
            ("GIT_LOG", "git_log"),
            ("readGraph", "read_graph"),
        ] {
            assert_eq!(names(query).first().map(String::as_str), Some(first), "{query}");
        }
    }

    #[test]
    fn a_servers_name_finds_all_its_tools_and_equal_ones_keep_their_order() {
        assert_eq!(names("tracker").len(), 2);
        let same: Vec<ToolSpec> = ["one", "two", "three"].map(|name| tool("s", name, "Paints walls", &[])).to_vec();
        assert_eq!(ToolIndex::new(&same).ranked("walls"), [0, 1, 2]);
        assert_eq!(ToolIndex::new(&same).ranked("three walls"), [2, 0, 1]);
    }

    #[test]
    fn words_that_fit_nothing_find_nothing() {
        for query in ["", "  ", "weather", "the weather of the day", "!?", "🦉"] {
            assert_eq!(names(query), [""; 0], "{query}");
        }
        assert_eq!(ToolIndex::new(&[]).ranked("anything"), [0; 0]);
        // A query of common words alone is taken as it is.
        assert_eq!(names("which"), [""; 0]);
        assert_eq!(names("the").len(), 4);
    }

    #[test]
    fn names_are_taken_apart() {
        for (text, expected) in [
            ("readTextFile", &["read", "text", "file"][..]),
            ("read_text-file", &["read", "text", "file"]),
            ("HTTPServer2", &["http", "server", "2"]),
            ("äÖ öl", &["ä", "ö", "öl"]),
            ("", &[]),
        ] {
            assert_eq!(split(text), expected);
        }
        let one = |text| words(text).next().unwrap();
        for (a, b) in [
            ("creating", "create"),
            ("files", "file"),
            ("directories", "directory"),
            ("searches", "search"),
            ("running", "run"),
            ("calling", "call"),
            ("deleted", "delete"),
        ] {
            assert_eq!(one(a), one(b), "{a} {b}");
        }
        assert_eq!(one("status"), "status");
        assert_eq!(one("string"), "string");
    }
}
