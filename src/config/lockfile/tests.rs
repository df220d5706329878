//! What a lock looks like, what it survives, and when it is used.

use std::fs;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::config::{ConfigError, Project, parse};
use crate::expert::{Expert, SkillSpec};
use crate::tool::{ToolHints, ToolKind, ToolSpec};

const TOML: &str = r#"
[experts.librarian]
version = "1.2.0"
description = "Finds passages."
instruction = """
Search the workspace.
Quote what you find.
"""
delegates = ["scribe"]
tags = ["search"]

[experts.librarian.skills."@perstack/base"]
type = "mcpStdioSkill"
command = "npx"
packageName = "@perstack/base"

[experts.librarian.skills.index]
type = "mcpStdioSkill"
command = "index-server"
args = ["--db", "index.db"]
requiredEnv = ["INDEX_KEY"]
omit = ["drop_index"]

[experts.librarian.skills.ask]
type = "interactiveSkill"
[experts.librarian.skills.ask.tools.choose]
inputJsonSchema = '{"type":"object"}'

[experts.scribe]
instruction = "Write."
"#;

fn project(text: &str) -> Project {
    parse(text, Path::new("perstack.toml")).unwrap()
}

fn schema(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("no object: {value}") };
    map
}

fn tool(skill: &str, name: &str, input_schema: Value) -> ToolSpec {
    ToolSpec {
        skill_name: skill.to_owned(),
        name: name.to_owned(),
        description: Some(format!("Does {name}.")),
        input_schema: schema(input_schema),
        kind: ToolKind::Mcp,
        hints: ToolHints::default(),
    }
}

fn search() -> ToolSpec {
    let input = json!({
        "type": "object",
        "properties": {
            "q": { "type": "string", "minLength": 1 },
            "sort": { "anyOf": [{ "type": "string", "enum": ["asc", null] }, { "type": "null" }], "default": null },
        },
        "required": ["q"],
    });
    let hints = ToolHints { read_only: true, open_world: true, ..ToolHints::default() };
    ToolSpec { hints, ..tool("index", "search", input) }
}

fn found() -> Surveyed {
    let question = ToolSpec { kind: ToolKind::Interactive, ..tool("ask", "choose", json!({"type": "object"})) };
    let delegate = ToolSpec { kind: ToolKind::Delegate, ..tool("scribe", "scribe", json!({"type": "object"})) };
    Surveyed {
        tools: vec![
            tool("@perstack/base", "readTextFile", json!({"type": "object"})),
            search(),
            tool("index", "count", json!({"type": "object", "additionalProperties": false})),
            question,
            delegate,
        ],
        protocols: [("index".to_owned(), "2025-06-18".to_owned())].into(),
        warnings: Vec::new(),
    }
}

fn librarian(project: &Project) -> Definition<'_> {
    Definition::new(project.expert("librarian").unwrap(), None)
}

fn lock(project: &Project, at: u64) -> Lock {
    Lock::of(Path::new("/x/perstack.toml"), at, [(librarian(project), &found())])
}

fn text(lock: &Lock) -> String {
    toml::to_string_pretty(lock).unwrap()
}

fn stale(state: LockState<'_>) -> String {
    let LockState::Stale { why } = state else { panic!("not stale: {state:?}") };
    why
}

fn edited(lock: &Lock, from: &str, to: &str) -> Lock {
    let text = text(lock);
    assert!(text.contains(from), "{from:?} is not in:\n{text}");
    file::parse(&text.replace(from, to), Path::new("/x/perstack.lock")).unwrap()
}

#[test]
fn a_lock_is_the_originals_format_and_more() {
    let project = project(TOML);
    let scribe = Definition::new(project.expert("scribe").unwrap(), None);
    let experts = [(librarian(&project), &found()), (scribe, &Surveyed::default())];
    let lock = Lock::of(Path::new("/x/perstack.toml"), 1_771_000_000_000, experts);
    insta::assert_snapshot!(text(&lock), @r#"
    version = "1"
    generatedAt = 1771000000000
    configPath = "perstack.toml"

    [experts.librarian]
    key = "librarian"
    name = "librarian"
    version = "1.2.0"
    description = "Finds passages."
    instruction = """
    Search the workspace.
    Quote what you find.
    """
    digest = "sha256:ca6123cbfadcf14ab65a1468663ff1175d010805b2c48ea86c409e7ffdfc11b1"
    delegates = ["scribe"]
    tags = ["search"]

    [experts.librarian.skills."@perstack/base"]
    type = "mcpStdioSkill"
    name = "@perstack/base"
    pick = []
    omit = []
    command = "npx"
    packageName = "@perstack/base"
    args = []
    requiredEnv = []
    lazyInit = false
    toolsDigest = "sha256:eadfbbf5b5180bc43401125cd80a6755c60494c9debfdef5da568a8922612280"

    [experts.librarian.skills.index]
    type = "mcpStdioSkill"
    name = "index"
    pick = []
    omit = ["drop_index"]
    command = "index-server"
    args = [
        "--db",
        "index.db",
    ]
    requiredEnv = ["INDEX_KEY"]
    lazyInit = false
    protocol = "2025-06-18"
    toolsDigest = "sha256:fdc4f5f4181a62356e9fc335cbe7ca83e7f7e9f4cdc1b20667d9d9e91bd0d415"

    [experts.librarian.skills.ask]
    type = "interactiveSkill"
    name = "ask"
    toolsDigest = "sha256:2fdb50527732f5e072ee9d16b2c07e0f5274fa208d3ed2ac3e5858c6c0a7ce71"

    [experts.librarian.skills.ask.tools.choose]
    name = "choose"
    inputJsonSchema = '{"type":"object"}'

    [[experts.librarian.toolDefinitions]]
    skillName = "@perstack/base"
    name = "readTextFile"
    description = "Does readTextFile."
    kind = "mcp"
    hints = []
    digest = "sha256:ca1c41a029c8a1bac5e064e9811b27d5099c5fb833df33c74069baf2dc3fe698"

    [experts.librarian.toolDefinitions.inputSchema]
    type = "object"

    [[experts.librarian.toolDefinitions]]
    skillName = "index"
    name = "search"
    description = "Does search."
    kind = "mcp"
    hints = [
        "readOnly",
        "openWorld",
    ]
    digest = "sha256:a6cbea1b1ffb535c94676e26c8359717e565a98bbb6fed8a78b90636c3026b9e"
    inputSchemaJson = '{"properties":{"q":{"minLength":1,"type":"string"},"sort":{"anyOf":[{"enum":["asc",null],"type":"string"},{"type":"null"}],"default":null}},"required":["q"],"type":"object"}'

    [experts.librarian.toolDefinitions.inputSchema]
    type = "object"
    required = ["q"]

    [experts.librarian.toolDefinitions.inputSchema.properties.q]
    type = "string"
    minLength = 1

    [[experts.librarian.toolDefinitions.inputSchema.properties.sort.anyOf]]
    type = "string"
    enum = ["asc"]

    [[experts.librarian.toolDefinitions.inputSchema.properties.sort.anyOf]]
    type = "null"

    [[experts.librarian.toolDefinitions]]
    skillName = "index"
    name = "count"
    description = "Does count."
    kind = "mcp"
    hints = []
    digest = "sha256:6d5e59d7fb19c80288db087bb609d822458b0ca4b95ee491d2293e5e1837f279"

    [experts.librarian.toolDefinitions.inputSchema]
    type = "object"
    additionalProperties = false

    [[experts.librarian.toolDefinitions]]
    skillName = "ask"
    name = "choose"
    description = "Does choose."
    kind = "interactive"
    hints = []
    digest = "sha256:4cf6ed21963d298d5e0b0c2110eb869a3a52b7a4aaa254e35cdb9d040be6d7a2"

    [experts.librarian.toolDefinitions.inputSchema]
    type = "object"

    [experts.scribe]
    key = "scribe"
    name = "scribe"
    version = "1.0.0"
    instruction = "Write."
    digest = "sha256:3ee1bc11798f67d8c001d1439d17736caaebd82cbaf96f804a3f5da845566157"
    delegates = []
    tags = []
    toolDefinitions = []

    [experts.scribe.skills."@perstack/base"]
    type = "mcpStdioSkill"
    name = "@perstack/base"
    description = "Base skill"
    pick = []
    omit = []
    command = "npx"
    args = [
        "-y",
        "@perstack/base",
    ]
    requiredEnv = []
    lazyInit = false
    toolsDigest = "sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
    "#);
}

#[test]
fn the_digest_of_a_definition_stays_the_same_over_versions() {
    // A change here makes every lock there is stale.
    assert_eq!(
        librarian(&project(TOML)).digest(),
        "sha256:ca6123cbfadcf14ab65a1468663ff1175d010805b2c48ea86c409e7ffdfc11b1"
    );
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    assert_eq!(read(&path).unwrap(), None);
    let lock = lock(&project(TOML), 7);
    assert_eq!(write(&path, &lock).unwrap(), Written::Replaced);
    let back = read(&path).unwrap().unwrap();
    assert_eq!(Lock { path: lock.path.clone(), ..back.clone() }, lock);
    assert_eq!(text(&back), text(&lock), "what is read is written the same");
    let specs: Vec<ToolSpec> = back.experts["librarian"].tools_of("index").map(LockedTool::to_spec).collect();
    assert_eq!(specs, found().tools[1..3], "schemas with null come back whole");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_says_the_same_is_left_alone_with_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let project = project(TOML);
    write(&path, &lock(&project, 1)).unwrap();
    // As a checkout may leave it.
    let before = fs::read_to_string(&path).unwrap().replace('\n', "\r\n") + "# a note\r\n";
    fs::write(&path, &before).unwrap();
    let mut later = found();
    later.tools.swap(1, 2);
    let later = Lock::of(Path::new("perstack.toml"), 2, [(librarian(&project), &later)]);
    assert_eq!(write(&path, &later).unwrap(), Written::UpToDate);
    assert_eq!(fs::read_to_string(&path).unwrap(), before);

    let other = Lock::of(Path::new("perstack.toml"), 3, [(librarian(&project), &Surveyed::default())]);
    assert_eq!(write(&path, &other).unwrap(), Written::Replaced);
    assert_eq!(read(&path).unwrap().unwrap().generated_at, 3);
}

#[test]
fn an_entry_is_fresh_until_its_expert_changes() {
    let before = project(TOML);
    let lock = lock(&before, 1);
    assert_eq!(lock.expert(&librarian(&before)), LockState::Fresh(&lock.experts["librarian"]));
    for (from, to, why) in [
        ("Quote what", "Cite what", "changed since: instruction"),
        ("index.db", "other.db", "changed since: skill index"),
        ("skills.index]", "skills.catalog]", "changed since: skill catalog (new), skill index (gone)"),
        ("tags = [", "defaultModelTier = \"low\"\ntags = [", "the expert's definition changed"),
        ("[\"scribe\"]", "[]", "changed since: delegates"),
    ] {
        let after = project(&TOML.replace(from, to));
        assert_eq!(stale(lock.expert(&librarian(&after))), why);
    }
    let command = ["base".to_owned()];
    let with_command = Definition::new(before.expert("librarian").unwrap(), Some(&command));
    assert_eq!(stale(lock.expert(&with_command)), "the expert's definition changed");
    let scribe = Definition::new(before.expert("scribe").unwrap(), None);
    assert_eq!(lock.expert(&scribe), LockState::Missing);
}

#[test]
fn a_checkout_with_other_line_ends_is_as_fresh() {
    let lock = lock(&project(TOML), 1);
    let crlf = project(&TOML.replace('\n', "\r\n"));
    assert_eq!(lock.expert(&librarian(&crlf)), LockState::Fresh(&lock.experts["librarian"]));
}

#[test]
fn definitions_changed_by_hand_are_seen() {
    let project = project(TOML);
    let lock = lock(&project, 1);
    let by_hand = "the definition of tool search of skill index was changed by hand";
    for (from, to) in [
        ("Does search.", "Does anything."),
        ("minLength = 1", "minLength = 2"),
        (r#""enum":["asc",null]"#, r#""enum":["asc","up"]"#),
        ("\"readOnly\"", "\"idempotent\""),
        ("\"openWorld\",", ""),
    ] {
        assert_eq!(stale(edited(&lock, from, to).expert(&librarian(&project))), by_hand, "{from}");
    }
    let missing = "the tools of skill index are not those that were written: something is missing";
    let renamed = edited(&lock, "skillName = \"index\"\nname = \"count\"", "skillName = \"gone\"\nname = \"count\"");
    assert_eq!(stale(renamed.expert(&librarian(&project))), missing);
}

/// A file cut anywhere never passes for a whole one.
#[test]
fn a_truncated_lock_is_never_fresh() {
    let project = project(TOML);
    let lock = lock(&project, 1);
    let text = text(&lock);
    // What follows is the interactive skill's, which a run takes from the configuration.
    let last_of_servers = "additionalProperties = false";
    let end = text.find(last_of_servers).unwrap() + last_of_servers.len();
    for cut in (0..end).filter(|at| text.is_char_boundary(*at)) {
        let Ok(read) = file::parse(&text[..cut], Path::new("l")) else { continue };
        let state = read.expert(&librarian(&project));
        assert!(!matches!(state, LockState::Fresh(_)), "fresh when cut at {cut}:\n{}", &text[..cut]);
    }
}

#[test]
fn what_is_no_lock_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let error = |text: &str| {
        fs::write(&path, text).unwrap();
        read(&path).unwrap_err().to_string().replace(&format!("{}", path.display()), "L")
    };
    assert_eq!(
        error("version = \"1\"\ngeneratedAt = \n"),
        "L:2:15: not a usable lock: string values must be quoted, expected literal string; run `perstack install` to \
         make it anew"
    );
    assert_eq!(
        error("version = \"1\"\nconfigPath = \"p\"\n[experts]\n"),
        "L:1:1: not a usable lock: missing field `generatedAt`; run `perstack install` to make it anew"
    );
    assert_eq!(
        error("version = \"2\"\nshape = \"other\"\n"),
        "L has version \"2\", and this program reads version \"1\": use a newer program, or remove the file and run \
         `perstack install`"
    );
    assert!(error("version = 2\n").contains("not a usable lock"));
    assert!(error(&format!("x = {}", "[".repeat(100_000))).contains("not a usable lock"));
    // A newer lock is not overwritten by accident, a broken one is replaced.
    fs::write(&path, "version = \"2\"\n").unwrap();
    let new = lock(&project(TOML), 1);
    assert!(matches!(write(&path, &new), Err(ConfigError::LockVersion { .. })));
    fs::write(&path, b"\xff").unwrap();
    assert_eq!(write(&path, &new).unwrap(), Written::Replaced);
}

#[test]
fn a_schema_too_deep_for_the_format_is_refused_and_the_old_file_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let project = project(TOML);
    write(&path, &lock(&project, 1)).unwrap();
    let before = fs::read(&path).unwrap();
    let deep = (0..100).fold(json!({"type": "object"}), |inner, _| json!({ "not": inner }));
    let found = Surveyed { tools: vec![tool("index", "deep", deep)], ..Surveyed::default() };
    let new = Lock::of(Path::new("perstack.toml"), 2, [(librarian(&project), &found)]);
    assert!(matches!(write(&path, &new), Err(ConfigError::LockUnwritable { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// As the original wrote it: another order, other quotes, none of our fields.
const ORIGINAL: &str = r#"
version = "1"
generatedAt = 1771000000000
configPath = "perstack.toml"

[experts.librarian]
key = "librarian"
name = "librarian"
version = "1.0.0"
instruction = "An older instruction."
delegates = []
tags = [ "search" ]

[experts.librarian.skills."@perstack/base"]
type = "mcpStdioSkill"
name = "@perstack/base"
pick = []
omit = []
command = "npx"
packageName = "@perstack/base"
args = []
requiredEnv = []
lazyInit = false

[experts.librarian.skills.index]
type = "mcpStdioSkill"
name = "index"
pick = []
omit = [ "drop_index" ]
command = "index-server"
args = [ "--db", "index.db" ]
requiredEnv = [ "INDEX_KEY" ]
lazyInit = false

[experts.librarian.skills.ask]
type = "interactiveSkill"
name = "ask"
[experts.librarian.skills.ask.tools.choose]
name = "choose"
inputJsonSchema = "{}"

[[experts.librarian.toolDefinitions]]
skillName = "@perstack/base"
name = "readTextFile"
[experts.librarian.toolDefinitions.inputSchema]
type = "object"

[[experts.librarian.toolDefinitions]]
skillName = "index"
name = "search"
description = "Does search."
[experts.librarian.toolDefinitions.inputSchema]
required = [ "q" ]
type = "object"
[experts.librarian.toolDefinitions.inputSchema.properties.q]
type = "string"
minLength = 1
[experts.librarian.toolDefinitions.inputSchema.properties.sort]
anyOf = [ { type = "string", enum = [ "asc" ] }, { type = "null" } ]

[[experts.librarian.toolDefinitions]]
skillName = "index"
name = "drop_index"
[experts.librarian.toolDefinitions.inputSchema]
type = "object"
"#;

fn original() -> Lock {
    file::parse(ORIGINAL, Path::new("/x/perstack.lock")).unwrap()
}

#[test]
fn a_lock_of_the_original_is_used_while_its_skills_are_those_configured() {
    let (lock, project) = (original(), project(TOML));
    let definition = librarian(&project);
    let LockState::Fresh(entry) = lock.expert(&definition) else { panic!("not usable") };
    let LockChoice::UseLocked(tools) = choose(&definition, Some(&lock), LockUse::Locked) else { panic!("not used") };
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["search"], "only what a server offers, after the current omit");
    assert!(!tools[0].hints.is_repeatable(), "nothing is promised of it");
    let drop = tool("index", "drop_index", json!({"type": "object"}));
    let live = [search(), ToolSpec { description: None, ..drop }];
    assert_eq!(entry.drift("index", &live), [], "what the lock cannot know is no drift");

    for (from, to, why) in [
        ("index.db", "other.db", "skill index changed"),
        ("omit = [\"drop_index\"]", "", "skill index changed"),
        ("skills.index]", "skills.catalog]", "skill index is no longer there"),
    ] {
        let after = self::project(&TOML.replace(from, to));
        assert_eq!(stale(lock.expert(&librarian(&after))), why);
    }
}

fn warning(choice: LockChoice) -> Option<String> {
    let LockChoice::Discover { warning } = choice else { panic!("no discovery: {choice:?}") };
    warning
}

fn refusal(choice: LockChoice) -> String {
    let LockChoice::Refuse(error) = choice else { panic!("no refusal: {choice:?}") };
    error.to_string()
}

#[test]
fn a_fresh_lock_gives_the_tools_of_servers() {
    let project = project(TOML);
    let lock = lock(&project, 1);
    for how in [LockUse::Auto, LockUse::Locked, LockUse::Frozen] {
        let LockChoice::UseLocked(tools) = choose(&librarian(&project), Some(&lock), how) else { panic!("{how:?}") };
        assert_eq!(tools, found().tools[1..3], "{how:?}");
    }
}

#[test]
fn a_stale_lock_is_told_refused_or_used_as_it_is() {
    let lock = lock(&project(TOML), 1);
    let after = project(&TOML.replace("index.db", "other.db").replace("omit =", "idempotent = [\"count\"]\npick ="));
    let definition = librarian(&after);
    assert_eq!(
        warning(choose(&definition, Some(&lock), LockUse::Auto)).unwrap(),
        "/x/perstack.lock is stale for expert librarian (changed since: skill index): its skills are started instead; \
         run `perstack install` to renew it"
    );
    assert_eq!(
        refusal(choose(&definition, Some(&lock), LockUse::Locked)),
        "/x/perstack.lock is stale for expert librarian (changed since: skill index): run `perstack install` to renew it"
    );
    let LockChoice::UseLocked(tools) = choose(&definition, Some(&lock), LockUse::Frozen) else { panic!("not used") };
    assert_eq!(tools, [], "the current pick applies");
    let idempotent = project(&TOML.replace("omit =", "idempotent = [\"count\"]\nomit ="));
    let choice = choose(&librarian(&idempotent), Some(&lock), LockUse::Frozen);
    let LockChoice::UseLocked(tools) = choice else { panic!("not used") };
    assert_eq!(tools.iter().map(|tool| tool.hints.idempotent).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_frozen_lock_must_know_every_skill() {
    let lock = lock(&project(TOML), 1);
    let after = project(&TOML.replace("skills.index]", "skills.catalog]"));
    assert_eq!(
        refusal(choose(&librarian(&after), Some(&lock), LockUse::Frozen)),
        "/x/perstack.lock is stale for expert librarian (it has no skill catalog): run `perstack install` to renew it"
    );
}

#[test]
fn without_a_lock_or_an_entry_skills_are_started_unless_the_lock_must_serve() {
    let project = project(TOML);
    let definition = librarian(&project);
    assert_eq!(warning(choose(&definition, None, LockUse::Auto)), None);
    let empty = Lock::of(Path::new("/x/perstack.toml"), 1, []);
    assert!(warning(choose(&definition, Some(&empty), LockUse::Auto)).unwrap().contains("it has no entry"));
    for how in [LockUse::Locked, LockUse::Frozen] {
        assert_eq!(
            refusal(choose(&definition, None, how)),
            "there is no perstack.lock to take the tools of expert librarian from: run `perstack install`"
        );
        assert!(refusal(choose(&definition, Some(&empty), how)).contains("it has no entry"));
    }
}

#[test]
fn an_expert_without_servers_is_not_warned_of() {
    let project = project(TOML);
    let scribe: &Expert = project.expert("scribe").unwrap();
    let empty = Lock::of(Path::new("/x/perstack.toml"), 1, []);
    assert_eq!(warning(choose(&Definition::new(scribe, None), Some(&empty), LockUse::Auto)), None);
    // A command in the place of the built-in base skill is a server like any other.
    let command = ["base".to_owned()];
    let definition = Definition::new(scribe, Some(&command));
    assert_eq!(definition.servers().collect::<Vec<_>>(), [&SkillSpec::base()]);
    assert!(warning(choose(&definition, Some(&empty), LockUse::Auto)).is_some());
}

#[test]
fn drift_is_told_tool_by_tool() {
    let project = project(TOML);
    let lock = lock(&project, 1);
    let entry = &lock.experts["librarian"];
    assert_eq!(entry.drift("index", &found().tools), []);
    let mut changed = search();
    changed.description = Some("Finds.".to_owned());
    changed.hints.read_only = false;
    changed.input_schema["properties"]["q"]["minLength"] = json!(2);
    changed.input_schema["properties"]["lang"] = json!({"type": "string"});
    changed.input_schema.shift_remove("required");
    let live = [tool("index", "erase", json!({"type": "object"})), changed];
    let lines: Vec<String> = entry.drift("index", &live).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "skill index: tool search changed: description \"Does search.\" is now \"Finds.\"; hints [ReadOnly, OpenWorld] \
             are now [OpenWorld]; inputSchema.properties.q.minLength 1 is now 2; inputSchema.properties.lang is new; \
             inputSchema.required is gone",
            "skill index: tool count removed",
            "skill index: tool erase added",
        ]
    );
}

#[test]
fn two_locks_are_compared_line_by_line() {
    let before = project(TOML);
    let old = lock(&before, 1);
    assert_eq!(differences(&old, &lock(&before, 2)), Vec::<String>::new());
    let after = project(&TOML.replace("Quote", "Cite"));
    let mut now = found();
    now.tools.remove(2);
    now.protocols.insert("index".to_owned(), "2025-11-25".to_owned());
    let scribe = Definition::new(after.expert("scribe").unwrap(), None);
    let new = Lock::of(Path::new("perstack.toml"), 2, [(librarian(&after), &now), (scribe, &Surveyed::default())]);
    assert_eq!(
        differences(&old, &new),
        [
            "expert librarian: changed: instruction",
            "expert librarian: skill index: protocol 2025-06-18 is now 2025-11-25",
            "expert librarian: skill index: tool count removed",
            "expert scribe added",
        ]
    );
    assert_eq!(differences(&edited(&old, "Quote", "Cite"), &old), ["expert librarian: the entry was changed by hand"]);
    assert_eq!(differences(&original(), &old)[0], "expert librarian: the entry has no digests");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_schema_comes_back_whole(value in any_json()) {
        let project = project(TOML);
        let found = Surveyed { tools: vec![tool("index", "any", json!({ "x": value }))], ..Surveyed::default() };
        let lock = Lock::of(Path::new("perstack.toml"), 1, [(librarian(&project), &found)]);
        let text = text(&lock);
        let back = file::parse(&text, Path::new("perstack.lock")).unwrap();
        prop_assert!(back.says_the_same_as(&lock));
        prop_assert_eq!(&text, &self::text(&back));
        prop_assert!(matches!(back.expert(&librarian(&project)), LockState::Fresh(_)));
        let LockChoice::UseLocked(tools) = choose(&librarian(&project), Some(&back), LockUse::Locked) else {
            panic!("not used")
        };
        prop_assert_eq!(back.experts["librarian"].drift("index", &found.tools), []);
        prop_assert_eq!(digest::canonical(&json!(tools[0].input_schema)), digest::canonical(&json!(found.tools[0].input_schema)));
    }
}
