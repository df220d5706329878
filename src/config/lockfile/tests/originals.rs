//! Tests of locks that the original wrote.

use super::*;

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

pub(super) fn original() -> Lock {
    file::parse(ORIGINAL, Path::new("/x/perstack.lock")).unwrap()
}

#[test]
fn a_lock_of_the_original_is_used_while_its_skills_are_those_configured() {
    let (lock, project) = (original(), project(TOML));
    let definition = librarian(&project);
    let LockState::Fresh(entry) = lock.expert(&definition) else { panic!("not usable") };
    let LockChoice::UseLocked { tools, .. } = choose(&definition, Some(&lock), LockUse::Locked) else {
        panic!("not used")
    };
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
