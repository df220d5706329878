//! [`TestCase`]: the cases of a file of tests, as `perstack test` runs them. The command line reads the files; what comes of
//! a case is judged there.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use regex::Regex;
use serde_json::Value;

use super::ConfigError;
use super::output_schema::read_output_schema;
use super::read_file::read_text;
use super::reader::{Diagnostics, Document, Node, Table};
use super::verify::{command_line, length_of_time};
use crate::cost::Cost;
use crate::expert::{ExpertKey, VerifyCommand};
use crate::output_schema::OutputSchema;

const FILE_KEYS: [&str; 1] = ["cases"];

/// The keys of a case that asks a model.
const LIVE_KEYS: [&str; 7] = ["expert", "query", "files", "workspace", "repeat", "passes", "minPassRate"];
const CASE_KEYS: [&str; 10] =
    ["cassette", "expert", "query", "files", "workspace", "model", "repeat", "passes", "minPassRate", "expect"];
const EXPECT_KEYS: [&str; 15] = [
    "equals",
    "contains",
    "lacks",
    "regex",
    "schema",
    "json",
    "tools",
    "noTools",
    "maxSteps",
    "maxTokens",
    "maxCost",
    "maxTime",
    "command",
    "commandTimeout",
    "judge",
];
const JUDGE_KEYS: [&str; 3] = ["expert", "criteria", "threshold"];

/// The expectations that need a case which asks a model.
const LIVE_EXPECT_KEYS: [&str; 4] = ["maxTime", "command", "commandTimeout", "judge"];

/// The repetitions of a case: enough for an estimate, and a misspelt number costs no fortune.
pub const REPEATS: RangeInclusive<u64> = 1..=1000;

/// A job, and what is expected of it with the configuration at hand. It has a recording, a way to ask the model, or both: then
/// the one is made by the other.
#[derive(Debug, Clone)]
pub struct TestCase {
    pub name: String,
    /// The recording; relative paths begin at the file's folder.
    pub cassette: Option<PathBuf>,
    pub live: Option<LiveCase>,
    /// The model, in the place of the configuration's.
    pub model: Option<String>,
    pub expected: Expectations,
}

/// A job that asks the model. Relative paths begin at the file's folder.
#[derive(Debug, Clone)]
pub struct LiveCase {
    pub expert: ExpertKey,
    pub query: String,
    /// The files that are sent with the query.
    pub files: Vec<PathBuf>,
    /// The folder that each repetition gets a copy of; without one, an empty folder.
    pub workspace: Option<PathBuf>,
    /// The number of times that it is run.
    pub repeat: u64,
    pub needs: NeededPasses,
}

/// The repetitions of a case that have to pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NeededPasses {
    All,
    AtLeast(u64),
    /// A share of them, above 0 and at most 1.
    Rate(f64),
}

impl NeededPasses {
    /// The number of passes among `repeat` repetitions; `None` where there are too few of them.
    pub fn of(self, repeat: u64) -> Option<u64> {
        match self {
            Self::All => Some(repeat),
            Self::AtLeast(passes) => (passes <= repeat).then_some(passes),
            // Compared as the quotient that people compute: 0.8 of 5 is 4, whatever its binary digits are.
            Self::Rate(rate) => (1..=repeat).find(|passes| share_of(*passes, repeat) >= rate),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "repetitions are few")]
fn share_of(passes: u64, repeat: u64) -> f64 {
    passes as f64 / repeat as f64
}

/// Conditions on a job. Without any, it has to complete, and one that is recorded as it was recorded.
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
    /// Of a job that asks the model, in milliseconds.
    pub max_time_ms: Option<u64>,
    /// The command that has to succeed in the workspace of a job that asks the model.
    pub command: Option<VerifyCommand>,
    pub judge: Option<Judge>,
}

impl Expectations {
    /// The keys of those that only a job which asks the model can meet.
    pub fn of_live_jobs(&self) -> Vec<&'static str> {
        let all = [
            ("maxTime", self.max_time_ms.is_some()),
            ("command", self.command.is_some()),
            ("judge", self.judge.is_some()),
        ];
        all.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key).collect()
    }
}

/// An expert that scores answers by criteria.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge {
    pub expert: ExpertKey,
    pub criteria: String,
    /// The score from which on an answer passes, 0 to 1.
    pub threshold: f64,
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
    let is_live = LIVE_KEYS.iter().any(|key| table.get(key).is_some());
    let cassette = if is_live {
        table.get("cassette")
    } else {
        table.required("cassette", "the path of a recording, or `expert` and `query` to ask the model", diagnostics)
    };
    let cassette = cassette.map(|node| node.filled(diagnostics).map(|path| folder.join(path)));
    let live = is_live.then(|| live_case(table, folder, diagnostics));
    let model = table.get("model").and_then(|node| node.filled(diagnostics)).map(str::to_owned);
    let expect = table.get("expect").and_then(|node| node.table(diagnostics));
    let expected = expect.as_ref().map(|table| expectations(table, folder, diagnostics)).unwrap_or_default();
    if let Some(expect) = expect.filter(|_| !is_live) {
        let unmet = expect.iter().filter(|(key, _)| LIVE_EXPECT_KEYS.contains(&key.name));
        for (key, _) in unmet {
            key.problem(
                "a recording does not have it: the case needs `expert` and `query` to ask the model",
                diagnostics,
            );
        }
    }
    // A mistake in one of them is noted above.
    let (cassette, live) =
        (cassette.map_or(Some(None), |path| path.map(Some))?, live.map_or(Some(None), |it| it.map(Some))?);
    if let (Some(live), Some(judge)) = (&live, &expected.judge)
        && live.expert == judge.expert
        && let Some(node) = table.get("expect")
    {
        node.problem(
            format!("judge.expert: {} would judge its own answer; name another expert", judge.expert),
            diagnostics,
        );
    }
    Some(TestCase { name: name.to_owned(), cassette, live, model, expected })
}

fn live_case(table: &Table<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Option<LiveCase> {
    let expert = table.required("expert", "the expert that is asked", diagnostics);
    let expert = expert.and_then(|node| expert_key(&node, diagnostics));
    let query = table.required("query", "the query", diagnostics).and_then(|node| {
        let text = node.string(diagnostics)?;
        if text.trim().is_empty() {
            node.problem("expected a query, received an empty text", diagnostics);
        }
        Some(text.to_owned())
    });
    let files = table.get("files").map(|node| node.strings(diagnostics).unwrap_or_default()).unwrap_or_default();
    let workspace = table.get("workspace").and_then(|node| node.filled(diagnostics)).map(|path| folder.join(path));
    let repeat = table.get("repeat").and_then(|node| node.whole(&REPEATS, diagnostics)).unwrap_or(1);
    let needs = needed_passes(table, repeat, diagnostics);
    Some(LiveCase {
        expert: expert?,
        query: query?,
        files: files.into_iter().map(|file| folder.join(file)).collect(),
        workspace,
        repeat,
        needs,
    })
}

fn needed_passes(table: &Table<'_>, repeat: u64, diagnostics: &mut Diagnostics) -> NeededPasses {
    let passes = table.get("passes").and_then(|node| Some((node.whole(&REPEATS, diagnostics)?, node)));
    let rate = table.get("minPassRate").and_then(|node| Some((share(&node, diagnostics)?, node)));
    match (passes, rate) {
        (Some(_), Some((_, node))) => {
            node.problem("`passes` is given too; give one of them", diagnostics);
            NeededPasses::All
        }
        (Some((passes, node)), None) => {
            if passes > repeat {
                node.problem(format!("{passes} of {repeat} repetitions cannot pass; raise `repeat`"), diagnostics);
            }
            NeededPasses::AtLeast(passes)
        }
        (None, Some((rate, node))) => {
            if rate <= 0.0 {
                node.problem("expected a share above 0", diagnostics);
            }
            NeededPasses::Rate(rate)
        }
        (None, None) => NeededPasses::All,
    }
}

/// A number from 0 to 1.
fn share(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<f64> {
    let number = node.float("a number from 0 to 1", diagnostics)?;
    if !(0.0..=1.0).contains(&number) {
        node.problem("expected a number from 0 to 1, received another number", diagnostics);
        return None;
    }
    Some(number)
}

fn expert_key(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<ExpertKey> {
    let parsed = node.filled(diagnostics)?.parse::<ExpertKey>();
    parsed.map_err(|error| node.problem(error.to_string(), diagnostics)).ok()
}

fn judge(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Judge> {
    let table = node.table(diagnostics)?;
    refuse_unknown(&table, &JUDGE_KEYS, diagnostics);
    let expert = table.required("expert", "the expert that judges", diagnostics);
    let expert = expert.and_then(|node| expert_key(&node, diagnostics));
    let criteria = table.required("criteria", "what a good answer is like", diagnostics);
    let criteria = criteria.and_then(|node| node.filled(diagnostics));
    let threshold = table.required("threshold", "the lowest score that passes, from 0 to 1", diagnostics);
    let threshold = threshold.and_then(|node| share(&node, diagnostics));
    Some(Judge { expert: expert?, criteria: criteria?.to_owned(), threshold: threshold? })
}

/// The command that has to succeed.
fn command(table: &Table<'_>, diagnostics: &mut Diagnostics) -> Option<VerifyCommand> {
    let timeout = table.get("commandTimeout");
    if let Some(node) = timeout.as_ref().filter(|_| table.get("command").is_none()) {
        node.problem("there is no `command` that it could end", diagnostics);
    }
    let timeout_ms = timeout.and_then(|node| length_of_time(&node, diagnostics));
    let usual = VerifyCommand::new(table.get("command").and_then(|node| command_line(&node, diagnostics))?);
    Some(VerifyCommand { timeout_ms: timeout_ms.unwrap_or(usual.timeout_ms), ..usual })
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
        max_time_ms: table.get("maxTime").and_then(|node| length_of_time(&node, diagnostics)),
        command: command(table, diagnostics),
        judge: table.get("judge").and_then(|node| judge(&node, diagnostics)),
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
        assert!(cases[0].cassette.as_ref().is_some_and(|path| path.is_absolute()) && cases[1].expected.regex.is_none());
        assert!(cases[0].live.is_none());
    }

    #[test]
    fn a_case_may_ask_the_model() {
        let cases = read(
            "[cases.night]\nexpert = \"librarian\"\nquery = \"Owls?\"\nfiles = [\"a.md\"]\nworkspace = \"nest\"\nrepeat = 5\n\
             passes = 4\n[cases.night.expect]\nmaxTime = \"1m30s\"\ncommand = \"make\"\ncommandTimeout = 500\n\
             judge = { expert = \"critic\", criteria = \"Kind.\", threshold = 1 }\n[cases.day]\nexpert = \"owl\"\nquery = \"q\"\n",
        );
        let cases = cases.unwrap();
        let live = cases[0].live.as_ref().unwrap();
        assert_eq!((live.expert.as_str(), live.repeat, live.needs), ("librarian", 5, NeededPasses::AtLeast(4)));
        assert!(live.files[0].ends_with("a.md") && live.workspace.as_ref().unwrap().is_absolute());
        let expected = &cases[0].expected;
        assert_eq!(expected.max_time_ms, Some(90_000));
        assert_eq!(expected.command.as_ref().map(|command| command.timeout_ms), Some(500));
        let judge = Judge { expert: "critic".parse().unwrap(), criteria: "Kind.".to_owned(), threshold: 1.0 };
        assert_eq!(expected.judge, Some(judge));
        assert_eq!(expected.of_live_jobs(), ["maxTime", "command", "judge"]);
        let day = cases[1].live.as_ref().unwrap();
        assert_eq!((day.repeat, day.needs, cases[1].cassette.is_none()), (1, NeededPasses::All, true));
    }

    #[test]
    fn passes_are_counted_or_a_share() {
        assert_eq!(
            (NeededPasses::All.of(5), NeededPasses::AtLeast(4).of(5), NeededPasses::AtLeast(4).of(3)),
            (Some(5), Some(4), None)
        );
        let rates = [(0.8, 5, 4), (0.81, 5, 5), (0.1, 3, 1), (1.0, 7, 7), (1.0 / 3.0, 3, 1), (0.7, 10, 7)];
        for (rate, repeat, passes) in rates {
            assert_eq!(NeededPasses::Rate(rate).of(repeat), Some(passes), "{rate} of {repeat}");
        }
    }

    #[test]
    fn mistakes_of_cases_that_ask_have_their_place() {
        let live = |rest: &str| format!("[cases.a]\nexpert = \"owl\"\nquery = \"q\"\n{rest}\n");
        for (text, expected) in [
            ("[cases.a]\nexpert = \"owl\"\n".to_owned(), "cases.a.query: missing"),
            ("[cases.a]\nquery = \"q\"\n".to_owned(), "cases.a.expert: missing"),
            ("[cases.a]\nquery = \"q\"\nexpert = \"an owl\"\n".to_owned(), "owls.test.toml:3:10: cases.a.expert"),
            ("[cases.a]\nexpert = \"owl\"\nquery = \" \"\n".to_owned(), "received an empty text"),
            (live("repeat = 0"), "cases.a.repeat: expected a whole number from 1 to 1000"),
            (live("repaet = 2"), "owls.test.toml:4:1: cases.a.repaet: unknown key; did you mean \"repeat\"?"),
            (live("passes = 2"), "2 of 1 repetitions cannot pass; raise `repeat`"),
            (live("repeat = 2\npasses = 1\nminPassRate = 0.5"), "`passes` is given too"),
            (live("minPassRate = 1.5"), "expected a number from 0 to 1"),
            (live("minPassRate = nan"), "expected a number from 0 to 1"),
            (live("minPassRate = 0"), "expected a share above 0"),
            (
                live("expect = { judge = { expert = \"owl\", criteria = \"c\", threshold = 1 } }"),
                "owl would judge its own answer",
            ),
            (live("expect = { judge = { expert = \"bee\", criteria = \"c\" } }"), "judge.threshold: missing"),
            (
                live("expect = { judge = { expert = \"bee\", criteria = \"c\", threshold = 1, exprt = 1 } }"),
                "did you mean \"expert\"?",
            ),
            (live("expect = { command = \" \" }"), "expected a shell command"),
            (live("expect = { commandTimeout = 5 }"), "there is no `command`"),
            (live("expect = { maxTime = \"soon\" }"), "cases.a.expect.maxTime"),
            ("[cases.a]\ncassette = \"x\"\nexpect = { command = \"make\" }\n".to_owned(), "needs `expert` and `query`"),
            ("[cases.a]\ncassette = \"x\"\nrepeat = 3\n".to_owned(), "cases.a.expert: missing"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
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
