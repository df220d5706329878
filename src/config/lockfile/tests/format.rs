//! Tests of the written file and of reading it back.

use std::fs;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn a_lock_is_the_originals_format_and_more() {
    let project = project(TOML);
    let scribe = Definition::new(project.expert("scribe").unwrap(), None);
    let experts = [(librarian(&project), &found()), (scribe, &DiscoveredTools::default())];
    let lock = Lock::from_experts(Path::new("/x/perstack.toml"), 1_771_000_000_000, experts);
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
fn a_written_lock_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    assert_eq!(read(&path).unwrap(), None);
    let lock = lock(&project(TOML), 7);
    assert_eq!(write(&path, &lock).unwrap(), Written::Replaced);
    let back = read(&path).unwrap().unwrap();
    assert_eq!(back.digest().len(), 64);
    assert_eq!(Lock { path: lock.path.clone(), text_digest: String::new(), ..back.clone() }, lock);
    assert_eq!(text(&back), text(&lock), "what is read is written the same");
    let specs: Vec<ToolSpec> = back.experts["librarian"].tools_of("index").map(LockedTool::to_spec).collect();
    assert_eq!(specs, found().tools[1..3], "schemas with null come back whole");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_equivalent_file_is_left_alone_with_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let project = project(TOML);
    write(&path, &lock(&project, 1)).unwrap();
    // As a checkout may leave it.
    let before = fs::read_to_string(&path).unwrap().replace('\n', "\r\n") + "# a note\r\n";
    fs::write(&path, &before).unwrap();
    let mut later = found();
    later.tools.swap(1, 2);
    let later = Lock::from_experts(Path::new("perstack.toml"), 2, [(librarian(&project), &later)]);
    assert_eq!(write(&path, &later).unwrap(), Written::UpToDate);
    assert_eq!(fs::read_to_string(&path).unwrap(), before);

    let other = Lock::from_experts(Path::new("perstack.toml"), 3, [(librarian(&project), &DiscoveredTools::default())]);
    assert_eq!(write(&path, &other).unwrap(), Written::Replaced);
    assert_eq!(read(&path).unwrap().unwrap().generated_at, 3);
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
        let found = DiscoveredTools { tools: vec![tool("index", "any", json!({ "x": value }))], ..DiscoveredTools::default() };
        let lock = Lock::from_experts(Path::new("perstack.toml"), 1, [(librarian(&project), &found)]);
        let text = text(&lock);
        let back = file::parse_toml(&text, Path::new("")).unwrap();
        if let Some(quick) = file::parse_written(&text) {
            prop_assert_eq!(json!(quick).to_string(), json!(back).to_string());
        }
        prop_assert!(back.is_equivalent_to(&lock));
        prop_assert_eq!(&text, &self::text(&back));
        prop_assert!(matches!(back.expert(&librarian(&project)), LockState::Fresh(_)));
        let LockChoice::UseLocked { tools, .. } = choose(&librarian(&project), Some(&back), LockUse::Locked) else {
            panic!("not used")
        };
        prop_assert_eq!(back.experts["librarian"].drift("index", &found.tools), []);
        prop_assert_eq!(digest::canonical(&json!(tools[0].input_schema)), digest::canonical(&json!(found.tools[0].input_schema)));
    }
}
