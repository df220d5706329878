//! [`TestCase`]: the cases of a file of tests, as `perstack test` runs them. The command line reads the files; what comes of
//! a case is judged there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use regex::Regex;
use serde_json::Value;

use super::ConfigError;
use super::output_schema::read_output_schema;
use super::read_file::read_text;
use super::reader::{Diagnostics, Document, Node, Table};
use crate::cost::Cost;
use crate::output_schema::OutputSchema;

const FILE_KEYS: [&str; 1] = ["cases"];
const CASE_KEYS: [&str; 3] = ["cassette", "model", "expect"];
const EXPECT_KEYS: [&str; 11] =
    ["equals", "contains", "lacks", "regex", "schema", "json", "tools", "noTools", "maxSteps", "maxTokens", "maxCost"];

/// A recorded job, and what is expected of it with the configuration at hand.
#[derive(Debug, Clone)]
pub struct TestCase {
    pub name: String,
    /// The recording; relative paths begin at the file's folder.
    pub cassette: PathBuf,
    /// The model, in the place of the configuration's.
    pub model: Option<String>,
    pub expected: Expectations,
}

/// Conditions on a job. Without any, it has to complete as it was recorded.
#[derive(Debug, Clone, Default)]
pub struct Expectations {
    /// The whole answer, but for space around it.
    pub equals: Option<String>,
    pub contains: Vec<String>,
    pub lacks: Vec<String>,
    pub regex: Option<Regex>,
    pub schema: Option<OutputSchema>,
    /// Values in the answer's JSON, by JSON pointers.
    pub json: BTreeMap<String, Value>,
    /// Tools that are called.
    pub tools: Vec<String>,
    /// Tools that are not.
    pub no_tools: Vec<String>,
    pub max_steps: Option<u64>,
    pub max_tokens: Option<u64>,
    pub max_cost: Option<Cost>,
}

/// Reads the cases in the file at `path`.
///
/// # Errors
/// There is no such file, or it has mistakes; unknown keys are some.
pub fn read_test_cases(path: &Path) -> Result<Vec<TestCase>, ConfigError> {
    let text = read_text(path)?.ok_or_else(|| ConfigError::Missing { path: path.to_owned() })?;
    let text: Rc<str> = text.into();
    let mut diagnostics = Diagnostics::default();
    let document = Document::parse(path, &text, &mut diagnostics);
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut cases = Vec::new();
    if let Some(root) = document.root() {
        refuse_unknown(&root, &FILE_KEYS, &mut diagnostics);
        let table = root.required("cases", "a table for each case: [cases.NAME]", &mut diagnostics);
        for (key, node) in table.and_then(|node| node.table(&mut diagnostics)).iter().flat_map(Table::iter) {
            let Some(table) = node.table(&mut diagnostics) else { continue };
            cases.extend(case(key.name, &table, &folder, &mut diagnostics));
        }
    }
    let found = diagnostics.conclude(path)?;
    if found.unknown_keys.is_empty() { Ok(cases) } else { Err(ConfigError::UnknownKeys { keys: found.unknown_keys }) }
}

fn refuse_unknown(table: &Table<'_>, known: &[&str], diagnostics: &mut Diagnostics) {
    for (key, _) in table.iter().filter(|(key, _)| !known.contains(&key.name)) {
        key.unknown(known, "unknown key", diagnostics);
    }
}

fn case(name: &str, table: &Table<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Option<TestCase> {
    refuse_unknown(table, &CASE_KEYS, diagnostics);
    let cassette = table.required("cassette", "the path of a recording", diagnostics);
    let cassette = cassette.and_then(|node| node.filled(diagnostics));
    let model = table.get("model").and_then(|node| node.filled(diagnostics)).map(str::to_owned);
    let expected = table.get("expect").and_then(|node| node.table(diagnostics));
    let expected = expected.map(|table| expectations(&table, folder, diagnostics)).unwrap_or_default();
    Some(TestCase { name: name.to_owned(), cassette: folder.join(cassette?), model, expected })
}

fn expectations(table: &Table<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Expectations {
    refuse_unknown(table, &EXPECT_KEYS, diagnostics);
    let strings = |key: &str, diagnostics: &mut Diagnostics| match table.get(key) {
        Some(node) if node.as_str().is_some() => node.filled(diagnostics).map(str::to_owned).into_iter().collect(),
        Some(node) => node.strings(diagnostics).unwrap_or_default(),
        None => Vec::new(),
    };
    let ceiling = |key: &str, diagnostics: &mut Diagnostics| {
        table.get(key).and_then(|node| node.whole(&(1..=super::keys::MAX_NUMBER), diagnostics))
    };
    Expectations {
        equals: table.get("equals").and_then(|node| node.string(diagnostics)).map(str::to_owned),
        contains: strings("contains", diagnostics),
        lacks: strings("lacks", diagnostics),
        regex: table.get("regex").and_then(|node| pattern(&node, diagnostics)),
        schema: table.get("schema").and_then(|node| schema(&node, folder, diagnostics)),
        json: table.get("json").map(|node| pointers(&node, diagnostics)).unwrap_or_default(),
        tools: strings("tools", diagnostics),
        no_tools: strings("noTools", diagnostics),
        max_steps: ceiling("maxSteps", diagnostics),
        max_tokens: ceiling("maxTokens", diagnostics),
        max_cost: table.get("maxCost").and_then(|node| super::file::dollars(&node, diagnostics)),
    }
}

fn pattern(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Regex> {
    let compiled = Regex::new(node.filled(diagnostics)?);
    // Its text shows the place by a line below the pattern; the last line is the reason.
    let reason = |error: &regex::Error| error.to_string().lines().last().unwrap_or_default().trim().to_owned();
    compiled.map_err(|error| node.problem(format!("no regular expression: {}", reason(&error)), diagnostics)).ok()
}

fn schema(node: &Node<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Option<OutputSchema> {
    let read = if node.is_table() {
        OutputSchema::new(node.json(diagnostics)?).map_err(|error| error.to_string())
    } else {
        read_output_schema(&folder.join(node.filled(diagnostics)?)).map_err(|error| error.to_string())
    };
    read.map_err(|problem| node.problem(problem, diagnostics)).ok()
}

fn pointers(node: &Node<'_>, diagnostics: &mut Diagnostics) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for (key, node) in node.table(diagnostics).iter().flat_map(Table::iter) {
        if !key.name.is_empty() && !key.name.starts_with('/') {
            key.problem("expected a JSON pointer, such as \"/owls/0/name\"", diagnostics);
        } else if let Some(value) = node.json(diagnostics) {
            found.insert(key.name.to_owned(), value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<TestCase>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("owls.test.toml");
        std::fs::write(&file, text).unwrap();
        read_test_cases(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn a_case_has_its_recording_and_expectations() {
        let cases = read(
            "[cases.night]\ncassette = \"a\"\nmodel = \"m\"\n[cases.night.expect]\ncontains = \"owl\"\nregex = \"^O\"\n\
             tools = [\"exec\"]\nmaxSteps = 3\nmaxCost = 0.5\njson = { \"/a/0\" = 1 }\n[cases.day]\ncassette = \"b\"\n",
        );
        let cases = cases.unwrap();
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["night", "day"]);
        let expected = &cases[0].expected;
        assert_eq!(
            (expected.contains.as_slice(), expected.tools.as_slice()),
            (&["owl".to_owned()][..], &["exec".to_owned()][..])
        );
        assert_eq!((expected.max_steps, expected.json.get("/a/0")), (Some(3), Some(&Value::from(1))));
        assert!(cases[0].cassette.is_absolute() && cases[1].expected.regex.is_none());
    }

    #[test]
    fn mistakes_have_their_place_and_the_nearest_word() {
        for (text, expected) in [
            ("[cases.a]\ncasette = \"x\"\n", "cases.a.cassette: missing"),
            (
                "[cases.a]\ncassette = \"x\"\nmodle = \"x\"\n",
                "owls.test.toml:3:1: cases.a.modle: unknown key; did you mean \"model\"?",
            ),
            ("[cases.a]\ncassette = \"x\"\nexpect = { contain = \"x\" }\n", "did you mean \"contains\"?"),
            ("[case.a]\ncassette = \"x\"\n", "cases: missing"),
            (
                "[cases.a]\ncassette = \"x\"\nexpect = { regex = \"(\" }\n",
                "no regular expression: error: unclosed group",
            ),
            ("[cases.a]\ncassette = \"x\"\nexpect = { json = { a = 1 } }\n", "expected a JSON pointer"),
            ("[cases.a]\ncassette = \"x\"\nexpect = { maxSteps = 0 }\n", "cases.a.expect.maxSteps"),
            ("[cases.a]\ncassette = \"x\"\nexpect = { schema = \"none.json\" }\n", "none.json"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
