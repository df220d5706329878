//! The schema and the reader accept and refuse the same files: files made from the tables, files of the repository, and
//! random joins of both kinds.

use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::{Map, Value, json};

use super::schema::{SCHEMA_FILE, SCHEMA_LINE, schema};
use super::tables::TOP;
use super::{ConfigKey, KeyKind, KeyTable, KeyUnion, MAX_NUMBER, Presence, TextForm};
use crate::config::parse;
use crate::setting::{
    DEFAULT_API_BASE_URL, DEFAULT_MAX_PARALLEL_DELEGATES, DEFAULT_MAX_RETRIES, DEFAULT_MAX_STEPS,
    DEFAULT_MAX_TOOL_OUTPUT, DEFAULT_TIMEOUT_MS,
};

/// A value to try, and whether it is right.
#[derive(Debug, Clone)]
struct Sample {
    value: Value,
    is_right: bool,
}

fn right(value: impl Into<Value>) -> Sample {
    Sample { value: value.into(), is_right: true }
}

fn wrong(value: impl Into<Value>) -> Sample {
    Sample { value: value.into(), is_right: false }
}

/// Values of a kind at its bounds and beside them, and values of other kinds.
fn samples(kind: &KeyKind) -> Vec<Sample> {
    let mut samples = match kind {
        KeyKind::JsonSchema => vec![right(json!({"type": "object"})), wrong(1), wrong(""), wrong(json!([]))],
        KeyKind::Flag => vec![right(true), right(false), wrong("true"), wrong(1)],
        KeyKind::Whole(range) => numbers(*range.start(), *range.end()),
        KeyKind::Dollars => {
            vec![right(1), right(0.05), right(1e7), wrong(0), wrong(-1), wrong(2e7), wrong("1"), wrong(true)]
        }
        KeyKind::Text(length) => {
            let (least, most) = (*length.start(), *length.end());
            let mut samples = vec![right("ü".repeat(least.max(1))), wrong(1), wrong(true), wrong(json!(["a"]))];
            samples.push(if least == 0 { right("") } else { wrong("a".repeat(least - 1)) });
            if most < usize::MAX {
                samples.extend([right("ü".repeat(most)), wrong("a".repeat(most + 1))]);
            }
            samples
        }
        KeyKind::Form(form) => forms(form),
        KeyKind::FormOrWhole(form, range) => {
            let numbers = numbers(*range.start(), *range.end()).into_iter().filter(|sample| !sample.value.is_string());
            let texts = forms(form).into_iter().filter(|sample| !sample.value.is_number());
            texts.chain(numbers).collect()
        }
        KeyKind::Choice(words) => word_samples(&words()),
        KeyKind::ChoiceOrWhole(words, range) => {
            let mut samples = word_samples(&words());
            samples.retain(|sample| !sample.value.is_number());
            samples
                .extend(numbers(*range.start(), *range.end()).into_iter().filter(|sample| !sample.value.is_string()));
            samples
        }
        KeyKind::Suggestion(words) => vec![right(words()[0]), right("another"), wrong(1)],
        KeyKind::List(item) => {
            let of = |sample: Sample| Sample { value: json!([sample.value]), ..sample };
            let mut samples = vec![right(json!([])), wrong("a"), wrong(json!({}))];
            samples.extend(self::samples(item).into_iter().map(of));
            samples
        }
        KeyKind::Map(names, kind) => {
            let name = names.map_or("any name", |form| form.example);
            let mut samples = vec![right(json!({})), wrong("a"), wrong(json!([]))];
            let good = self::samples(kind).into_iter().find(|sample| sample.is_right).unwrap().value;
            samples.extend(self::samples(kind).into_iter().map(|sample| under(name, sample)));
            for form in names.iter().flat_map(|form| forms(form)).filter(|form| form.value.is_string()) {
                samples.push(Sample { value: json!({ form.value.as_str().unwrap(): good.clone() }), ..form });
            }
            samples
        }
        KeyKind::Table(table) => tables(table, &Map::new()),
        KeyKind::Tagged(union) => unions(union),
    };
    // A date is a kind of its own in TOML and text in JSON.
    samples.retain(|sample| !sample.value.is_null());
    samples
}

fn under(name: &str, Sample { value, is_right }: Sample) -> Sample {
    Sample { value: json!({ name: value }), is_right }
}

fn numbers(least: u64, most: u64) -> Vec<Sample> {
    let mut samples = vec![right(least), right(most), wrong(-1), wrong(0.5), wrong("1"), wrong(true)];
    if least > 0 {
        samples.push(wrong(least - 1));
    }
    if most < MAX_NUMBER {
        samples.push(right(f64::from(u32::try_from(most).unwrap())));
    }
    samples.push(wrong(most + 1));
    samples
}

fn word_samples(words: &[&str]) -> Vec<Sample> {
    let mut samples: Vec<Sample> = words.iter().map(|word| right(*word)).collect();
    samples.extend([wrong(""), wrong(words[0].to_uppercase()), wrong("another"), wrong(1), wrong(true)]);
    samples
}

/// Texts of a form and of none.
fn forms(form: &TextForm) -> Vec<Sample> {
    let (good, bad): (&[&str], &[&str]) = match form.words.split([' ', ',']).next().unwrap() {
        "length" => {
            (&["90s", "500ms", "1h30m", "1h1m1s1ms", "0h1s", " 10m "], &["", "10", "0s", "1.5h", "1m1h", "h", "1d"])
        }
        "shell" => (&["cargo test", "a && b", " x\ny "], &["", " \n"]),
        "https" if form.pattern.contains("[sS]:") => (&["https://h", "HTTPS://h/p"], &["", "http://h", "h", "ftp://h"]),
        "https" => (&["https://example.com/", "HTTPS://example.com:8443/x"], &["", "example.com", "ftp://example.com"]),
        "name" if form.pattern.contains("/)?") && form.words.contains("version") => {
            (&["reviewer", "reviewer@latest", "reviewer@1.0.0"], &["", "Reviewer", "a b", "@a", "a@", "a@B", "a@1+"])
        }
        "name" if form.pattern.contains("/)?") => {
            (&["a", "0-_", "@a/b", "@a_/b-"], &["", "A", "a.b", "@a", "a@1.0.0", "@a.b/c", "a/b", "ä"])
        }
        "name" => (&["X-A", "x_a.b!"], &["", "a b", "a:", "ä"]),
        "semantic" => (
            &["1.2.3", "0.0.0", "1.0.0-rc.1+build.7", "1.0.0+b-1"],
            &["", "1.0", "01.0.0", "1.0.0-", "1.0.0+a+b", "v1.0.0"],
        ),
        "provider" => (
            &["openai/gpt-5", "fireworks/a/b", "google-vertex/m-1.5:x"],
            &["", "openai", "openai/", "/m", "opnai/m", "openai/a b", "openai/ä"],
        ),
        "tag" => (&["a", "0_-"], &["", "A", "-a", "a b"]),
        "path" => (&["none/*.toml", "none-[?].toml"], &["", "https://example.com/x.toml"]),
        "file" => (&["/a", "~/a b", "~", "../a", "a"], &["", "~a/b", "$HOME/a", "a/*", "a?"]),
        "domain" => (
            &["example.com", "*.example.com", "a-b.c", "a.example:8443", "10.1.2.3", "[fd00::1]:65535"],
            &[
                "",
                "*",
                "a.*.com",
                "x.com:443",
                "x.com:65536",
                "[::1]:80",
                "-a.com",
                "a-.com",
                "xn--a.com",
                "a.XN--b.com",
                "a..b",
                "https://a.com",
            ],
        ),
        "relative" => (
            &["AGENTS.md", "./a b/c.md", "..a", "a/..b"],
            &["", "/a", "~/a", "~", "..", "../a", "a/../b", "a//b", "a/", "a\\b", "*.md", "a?", "https://h/a"],
        ),
        "skill's" => (
            &["*", "owls", "pdf-2-text", "./skills", "skills/owls", "/opt/skills", "~/skills", "../a"],
            &["", "Owls", "a_b", "-a", "a--b", "a b", "~", "~x/y", "a/*", "https://h/a", "a\\b/"],
        ),
        "header's" => (&["", "a b\tc", "ä"], &["a\nb", "\u{1}", "\u{7f}"]),
        "JSON" if form.words.contains("Schema") => {
            (&["{ \"type\": \"object\" }", "\n{\"type\":\"object\"}\n"], &["", "[]", "x"])
        }
        "JSON" => (&["{}", "1"], &["", "  "]),
        other => panic!("no samples of {other}"),
    };
    let mut samples: Vec<Sample> = good.iter().map(|text| right(*text)).collect();
    samples.extend(bad.iter().map(|text| wrong(*text)));
    if let Some(longest) = form.longest.filter(|_| form.words.split(' ').next() != Some("semantic")) {
        samples.push(wrong("a".repeat(longest + 1)));
    }
    samples.extend([wrong(1), wrong(true)]);
    samples
}

/// Keys without which a table with `tag` is refused by a rule, and keys that the samples refer to.
fn beside(title: &str) -> Map<String, Value> {
    let keys = match title {
        "perstack.toml" => json!({ "experts": { "reviewer": { "instruction": "i" } } }),
        "mcpStdioSkill" => json!({ "args": ["a"], "requiredEnv": ["S", "P"] }),
        _ => json!({}),
    };
    keys.as_object().unwrap().clone()
}

/// Samples of keys whose values have a meaning in other keys, in the place of those of their kinds.
fn related(title: &str, key: &str) -> Option<Vec<Sample>> {
    let strings = |samples: Vec<Sample>| Some([samples, vec![wrong("a"), wrong(json!([1]))]].concat());
    match (title, key) {
        ("mcpStdioSkill", "requiredEnv") => strings(vec![right(json!(["S", "P"])), right(json!(["S", "P", "X"]))]),
        ("mcpStdioSkill", "secretEnv") => strings(vec![right(json!([])), right(json!(["S"]))]),
        ("mcpStdioSkill", "publicEnv") => strings(vec![right(json!([])), right(json!(["P"]))]),
        // The tools of these skills are known.
        ("interactiveSkill", "pick" | "omit") => strings(vec![right(json!([])), right(json!(["any name"]))]),
        ("perstack.toml", "perstackBaseSkillCommand") => strings(vec![right(json!([])), right(json!(["a", ""]))]),
        // A newer version than this runtime's is refused.
        ("experts.NAME", "minRuntimeVersion") => Some(vec![right("v1.0"), right("0.9"), right("any"), wrong(1)]),
        _ => None,
    }
}

/// Tables with each sample of each key, and with each required key missing. `tag`: the key by which it differs from others.
fn tables(table: &KeyTable, tag: &Map<String, Value>) -> Vec<Sample> {
    let mut least = beside(table.title);
    least.extend(tag.clone());
    let required = || table.keys().filter(|key| key.presence == Presence::Required);
    for key in required() {
        least.insert(key.name.to_owned(), first(table, key));
    }
    let mut samples = vec![right(Value::Object(least.clone())), wrong("a"), wrong(json!([]))];
    for key in required() {
        let mut keys = least.clone();
        keys.remove(key.name);
        samples.push(wrong(Value::Object(keys)));
    }
    let unknown = table.keys().next().unwrap().name.to_uppercase();
    let unknown: Map<_, _> = [(unknown, json!(1))].into_iter().chain(least.clone()).collect();
    samples.push(wrong(Value::Object(unknown)));
    for key in table.keys() {
        for sample in related(table.title, key.name).unwrap_or_else(|| self::samples(&key.kind)) {
            let is_right = sample.is_right || key.presence == Presence::Obsolete;
            samples.push(Sample { value: with(&least, table, key, sample.value), is_right });
        }
    }
    samples
}

/// The right value of a key that all others are tried with.
fn first(table: &KeyTable, key: &ConfigKey) -> Value {
    let samples = related(table.title, key.name).unwrap_or_else(|| samples(&key.kind));
    samples.into_iter().find(|sample| sample.is_right && sample.value != json!({})).unwrap().value
}

/// The table `least` with another key, without those that it excludes.
fn with(least: &Map<String, Value>, table: &KeyTable, key: &ConfigKey, value: Value) -> Value {
    let mut keys = least.clone();
    match (table.title, key.name) {
        ("mcpStdioSkill", "packageName") if value != "" => drop(keys.remove("args")),
        ("oauth", "clientSecretEnv") => drop(keys.insert("clientId".to_owned(), json!("c"))),
        ("oauth", "grant") if value == "clientCredentials" => {
            keys.extend([("clientId".to_owned(), json!("c")), ("clientSecretEnv".to_owned(), json!("S"))]);
        }
        ("perstack.toml", "experts") => {
            if let (Some(Value::Object(old)), Value::Object(new)) = (keys.get("experts"), &value) {
                let both = old.clone().into_iter().chain(new.clone()).collect();
                keys.insert(key.name.to_owned(), Value::Object(both));
                return Value::Object(keys);
            }
        }
        _ => {}
    }
    keys.insert(key.name.to_owned(), value);
    Value::Object(keys)
}

fn unions(union: &KeyUnion) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (word, table) in (union.cases)() {
        samples.extend(tables(table, &Map::from_iter([(union.tag.to_owned(), json!(word))])));
    }
    samples.extend([wrong(json!({})), wrong(json!({ union.tag: "another" })), wrong(json!({ union.tag: 1 }))]);
    samples
}

/// All files that the tables yield.
fn files() -> Vec<Sample> {
    tables(&TOP, &Map::new()).into_iter().filter(|sample| sample.value.is_object()).collect()
}

fn validator() -> &'static Validator {
    static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| jsonschema::validator_for(&schema()).unwrap());
    &VALIDATOR
}

/// The reader's judgement, as `perstack check` has it: no mistakes and no unknown keys. On a refusal its reason.
fn read(text: &str) -> Result<(), String> {
    // Includes are looked for beside the file.
    let project = parse(text, Path::new("/nowhere/perstack.toml")).map_err(|error| error.to_string())?;
    if project.unknown_keys.is_empty() { Ok(()) } else { Err(project.unknown_keys.join("\n")) }
}

fn json_of(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

fn toml_of(value: &Value) -> String {
    toml::to_string(value).unwrap()
}

#[test]
fn each_key_is_accepted_and_refused_alike_at_its_bounds() {
    let validator = validator();
    let files = files();
    for Sample { value, is_right } in &files {
        let text = toml_of(value);
        let read = read(&text);
        assert_eq!(read.is_ok(), *is_right, "the reader, by the tables: {read:?}\n{text}");
        assert_eq!(validator.is_valid(value), *is_right, "the schema, by the tables\n{text}");
    }
    assert!(files.len() > 800, "{}", files.len());
}

#[test]
fn rules_on_several_keys_are_in_the_schema() {
    let skill = |keys: &str| format!("[experts.e]\ninstruction = \"i\"\n[experts.e.skills.s]\n{keys}\n");
    let stdio = |keys: &str| skill(&format!("type = \"mcpStdioSkill\"\ncommand = \"c\"\n{keys}"));
    let sse = |keys: &str| skill(&format!("type = \"mcpSseSkill\"\nendpoint = \"https://example.com\"\n{keys}"));
    let validator = validator();
    for (text, is_right) in [
        (stdio(""), false),
        (stdio("packageName = \"\""), false),
        (stdio("packageName = \"p\""), true),
        (stdio("args = []"), true),
        (stdio("args = []\npackageName = \"p\""), true),
        (stdio("args = [\"a\"]\npackageName = \"\""), true),
        (stdio("args = [\"a\"]\npackageName = \"p\""), false),
        (sse("authorizationEnv = \"T\""), true),
        (sse("authorizationEnv = \"T\"\noauth = {}"), false),
        (sse("authorizationEnv = \"\"\noauth = {}"), true),
        (sse("oauth = { clientId = \"c\", clientIdEnv = \"C\" }"), false),
        (sse("oauth = { clientSecretEnv = \"S\" }"), false),
        (sse("oauth = { clientSecretEnv = \"S\", clientId = \"c\" }"), true),
        (sse("oauth = { grant = \"clientCredentials\", clientId = \"c\" }"), false),
        (sse("oauth = { grant = \"clientCredentials\", clientSecretEnv = \"S\" }"), false),
        (sse("oauth = { grant = \"clientCredentials\", clientIdEnv = \"c\", clientSecretEnv = \"S\" }"), true),
    ] {
        assert_eq!(read(&text).is_ok(), is_right, "the reader\n{text}");
        assert_eq!(validator.is_valid(&json_of(&text)), is_right, "the schema\n{text}");
    }
}

/// Files that the reader refuses and the schema cannot: each with the reason.
#[test]
fn the_schema_accepts_too_much_only_where_it_cannot_know() {
    let expert = |keys: &str| format!("[experts.e]\ninstruction = \"i\"\n{keys}\n");
    let skill = |keys: &str| expert(&format!("[experts.e.skills.s]\n{keys}"));
    let stdio = |keys: &str| skill(&format!("type = \"mcpStdioSkill\"\ncommand = \"c\"\nargs = []\n{keys}"));
    let sse = |keys: &str| skill(&format!("type = \"mcpSseSkill\"\n{keys}"));
    let question = |schema: &str| skill(&format!("type = \"interactiveSkill\"\ntools.q.inputJsonSchema = '{schema}'"));
    let validator = validator();
    for (reason, text) in [
        ("a delegate is a key of another table", expert("delegates = [\"nobody\"]")),
        ("versions are compared as numbers", expert("minRuntimeVersion = \"1.1\"")),
        ("a list's members are those of another list", stdio("secretEnv = [\"S\"]")),
        (
            "members of two lists exclude each other",
            stdio("requiredEnv = [\"S\"]\nsecretEnv = [\"S\"]\npublicEnv = [\"S\"]"),
        ),
        ("a tool is a key of another table", format!("{}omit = [\"no\"]", question("{\"type\":\"object\"}"))),
        ("JSON within a text", question("{]}")),
        ("a JSON Schema within a text", question("{\"type\":\"string\"}")),
        ("JSON within a text", expert("providerSkills = [{ type = \"custom\", name = \"n\", definition = \"{\" }]")),
        ("addresses are judged by their kind", sse("endpoint = \"https://10.0.0.1\"")),
        ("addresses are judged by their kind", sse("endpoint = \"http://example.com\"")),
        ("addresses are parsed", sse("endpoint = \"https://[\"")),
        (
            "addresses are judged by their kind",
            "[provider]\nproviderName = \"openai\"\nsetting.baseUrl = \"http://example.com\"".to_owned(),
        ),
        ("the first item of a list, in both drafts", "perstackBaseSkillCommand = [\"\"]".to_owned()),
        ("files are looked for", "include = [\"none.toml\"]".to_owned()),
        ("numbers are added", "maxDuration = \"9999999999999999h\"".to_owned()),
        ("numbers are rounded to a picodollar", "maxCost = 1e-13".to_owned()),
    ] {
        assert!(read(&text).is_err(), "the reader accepts it ({reason})\n{text}");
        assert!(validator.is_valid(&json_of(&text)), "the schema knows ({reason})\n{text}");
    }
}

/// Files that the reader accepts and the schema does not: spellings that only a parser sees through.
#[test]
fn the_schema_refuses_too_much_only_in_odd_spellings_of_addresses() {
    let text = "perstackApiBaseUrl = \" ht\\ntps://example.com\"";
    assert!(read(text).is_ok());
    assert!(!validator().is_valid(&json_of(text)));
}

#[test]
fn the_line_for_editors_names_the_file() {
    assert!(SCHEMA_LINE.ends_with(SCHEMA_FILE));
}

#[test]
fn files_of_the_repository_are_judged_alike() {
    let validator = validator();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The seed of the fuzz targets has a key that its kind of skill does not have.
    for (name, is_right) in [("perstack.toml.example", true), ("fuzz/seeds/perstack.toml", false)] {
        let text = std::fs::read_to_string(root.join(name)).unwrap();
        assert_eq!(read(&text).is_ok(), is_right, "{name}");
        assert_eq!(validator.is_valid(&json_of(&text)), is_right, "{name}");
    }
}

#[test]
fn defaults_are_those_that_apply() {
    let default = |name: &str| TOP.get(name).unwrap().default;
    assert_eq!(default("maxSteps"), DEFAULT_MAX_STEPS.to_string());
    assert_eq!(default("maxRetries"), DEFAULT_MAX_RETRIES.to_string());
    assert_eq!(default("timeout"), DEFAULT_TIMEOUT_MS.to_string());
    assert_eq!(default("maxParallelDelegates"), DEFAULT_MAX_PARALLEL_DELEGATES.to_string());
    assert_eq!(default("maxToolOutput"), DEFAULT_MAX_TOOL_OUTPUT.to_string());
    assert_eq!(default("perstackApiBaseUrl"), format!("{DEFAULT_API_BASE_URL:?}"));
    assert_eq!(default("envPath"), format!("{:?}", crate::config::DEFAULT_ENV_FILES));
}

/// Joins tables key by key; of other values the later one stays.
fn join(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Object(mut first), Value::Object(second)) => {
            for (key, value) in second {
                let value = match first.remove(&key) {
                    Some(old) => join(old, value),
                    None => value,
                };
                first.insert(key, value);
            }
            Value::Object(first)
        }
        (_, second) => second,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn joined_files_are_accepted_and_refused_alike(parts in subsequence(files(), 1..6)) {
        let validator = validator();
        let joined = parts.into_iter().map(|sample| sample.value).reduce(join).unwrap();
        let text = toml_of(&joined);
        let read = read(&text);
        prop_assert_eq!(validator.is_valid(&joined), read.is_ok(), "{:?}\n{}", read, text);
    }
}

/// `docs/perstack.schema.json`. `UPDATE_DOCS=1 cargo test --lib config::keys` writes it anew.
#[test]
#[expect(clippy::disallowed_methods, reason = "asks for the file to be written anew")]
fn the_schema_in_the_repository_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(SCHEMA_FILE);
    let text = format!("{:#}\n", schema());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), text, "{} is not current", file.display());
}
