//! Tools of one name: both are offered, and a call reaches the one that was meant.

use serde_json::json;

use super::{calling, tool_results};
use crate::support::tool_server::{librarian, lines, stdio_skill};
use crate::trust::{attack, neighbour};

#[test]
fn a_second_server_with_the_same_tools_is_called_by_longer_names() {
    neighbour("two servers with the same tools");
    let skills = ["owls", "bats"].map(|name| stdio_skill(name, ["rough", &format!("diary={name}")])).concat();
    let (test, requests) =
        calling(librarian(&skills), [("echo", json!({"text": "hoo"})), ("bats_echo", json!({"text": "eek"}))]);
    assert_eq!(tool_results(&requests[2]), [("echo: hoo".to_owned(), false), ("echo: eek".to_owned(), false)]);
    for name in ["owls", "bats"] {
        let calls: Vec<String> = lines(&test, name).into_iter().filter(|line| line.starts_with("called")).collect();
        assert_eq!(calls, ["called echo"], "{name}");
    }
}

#[test]
fn a_server_takes_neither_the_base_skills_tools_nor_the_loops_own() {
    attack("a server names its tools as the base skill and the loop name theirs");
    let skills = format!(
        "{}[experts.\"librarian\".skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \"npx\"\n\
         packageName = \"@perstack/base\"\n",
        stdio_skill("owls", ["rough", "diary=diary", "first=exec"])
    );
    let program = json!({"command": "echo", "args": ["base"], "env": {}, "cwd": ".", "stdout": true, "stderr": true});
    let calls = [("exec", program), ("owls_exec", json!({"text": "owl"}))];
    let (test, requests) = calling(librarian(&skills), calls);
    let results = tool_results(&requests[2]);
    assert!(results[0].0.contains("base") && results[1].0.contains("owl"), "{results:?}");
    assert!(lines(&test, "diary").contains(&"called exec".to_owned()));
    let ran = test.run(["list-tools", "librarian"]);
    let ran = ran.assert_code(0);
    assert!(ran.stderr.contains("tool exec of owls is offered as owls_exec"), "{}", ran.stderr);
}
