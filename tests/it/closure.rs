//! Everything that an expert can do, itself and through others, as `perstack check` shows it.
#![cfg(target_os = "linux")]

use serde_json::Value;

use crate::support::Test;

const TEAM: &str = r#"
[experts.researcher]
instruction = "You look things up."
delegates = ["writer", "gone"]

[experts.researcher.skills."@perstack/base"]
type = "mcpStdioSkill"
command = "npx"
packageName = "@perstack/base"
pick = ["readTextFile"]

[experts.researcher.skills.web]
type = "mcpStdioSkill"
command = "sh"
args = ["-c", "true"]
allowedDomains = ["api.exa.ai"]
reads = ["/usr/share/dict"]
grants = ["gh"]

[experts.researcher.skills.plain]
type = "mcpStdioSkill"
command = "sh"
args = ["-c", "true"]

[experts.writer]
instruction = "You write."
delegates = ["editor"]

[experts.editor]
instruction = "You edit."
delegates = ["researcher", "editor"]

[experts.editor.skills."@perstack/base"]
type = "mcpStdioSkill"
command = "npx"
packageName = "@perstack/base"
omit = ["exec"]

[experts.editor.skills.far]
type = "mcpSseSkill"
endpoint = "https://tools.example.com/mcp"
"#;

/// The lines of the experts with this setting.
fn lines(setting: &str) -> Vec<String> {
    let toml = format!("{setting}\n{}", TEAM.replace(", \"gone\"", ""));
    let ran = Test::new().toml(&toml).run(["check", "--json", "--trust"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let is_closure = |finding: &&Value| finding["message"].as_str().unwrap().starts_with("can: ");
    let line =
        |finding: &Value| format!("{} {}", finding["subject"].as_str().unwrap(), finding["message"].as_str().unwrap());
    findings.filter(is_closure).map(line).collect()
}

#[test]
fn the_reach_of_an_expert_is_shown_with_that_of_its_delegates() {
    let web = "read /usr/share/dict (web), use gh (token of GitHub) (web), reach api.exa.ai (web)";
    assert_eq!(
        lines(""),
        [
            format!(
                "expert researcher can: write ./, {web}, do all that you can (plain, not contained); through writer: run \
                 commands, reach anything on the network (exec); through writer → editor: reach tools.example.com (far)"
            ),
            format!(
                "expert writer can: write ./, run commands, reach anything on the network (exec); through editor: reach \
                 tools.example.com (far); through editor → researcher: {web}, do all that you can (plain, not contained)"
            ),
            format!(
                "expert editor can: write ./, reach tools.example.com (far); through researcher: {web}, do all that you can \
                 (plain, not contained); through researcher → writer: run commands, reach anything on the network (exec)"
            ),
        ]
    );
}

#[test]
fn the_reach_is_that_of_the_containment_in_force() {
    let all = lines("sandbox = \"all\"");
    assert!(all[0].contains("reach anything on the network (plain)") && !all[0].contains("not contained"), "{all:?}");
    let off = lines("sandbox = \"off\"");
    assert!(off[1].contains("run commands, do all that you can (exec, not contained)"), "{off:?}");
}

#[test]
fn what_permissions_deny_is_not_shown_and_questions_are() {
    let of = |toml: &str| {
        let ran = Test::new().toml(toml).run(["check", "--json", "--trust"]);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let found = report["findings"].as_array().unwrap().iter().filter_map(|finding| finding["message"].as_str());
        found.filter(|line| line.starts_with("can: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let expert = |permissions: &str| of(&format!("permissions = {permissions}\n[experts.a]\ninstruction = \"x\"\n"));
    let reach = "reach anything on the network (exec)";
    for (permissions, line) in [
        ("{}", format!("can: write ./, run commands, {reach}")),
        ("{ deny = [\"exec\"] }", "can: write ./".to_owned()),
        ("{ deny = [\"*\"] }", "can: answer, and nothing else".to_owned()),
        ("{ ask = [\"exec\"] }", format!("can: write ./, run commands (asks), {reach}")),
        ("{ deny = [\"exec(rm *)\"] }", format!("can: write ./, run commands (by permissions), {reach}")),
        ("{ allow = [\"readTextFile\"] }", format!("can: write ./ (asks), run commands (asks), {reach}")),
    ] {
        assert_eq!(expert(permissions), [line], "{permissions}");
    }
    let ways = of(
        "[experts.lead]\ninstruction = \"x\"\ndelegates = [\"writer\", \"helper\"]\npermissions = { ask = [\"writer\"] }\n\
                   [experts.writer]\ninstruction = \"x\"\n\
                   [experts.helper]\ninstruction = \"x\"\ndelegates = [\"writer\"]\n",
    );
    assert!(ways[0].ends_with("through helper: nothing more; through helper → writer: nothing more"), "{ways:?}");
    let team = of(&format!(
        "permissions = {{ ask = [\"writer\"], deny = [\"web.*\", \"far.*\"] }}\n{}",
        TEAM.replace(", \"gone\"", "")
    ));
    assert!(team[0].contains("reach api.exa.ai (web, calls denied)"), "{team:?}");
    assert!(team[0].contains("; through writer (asks): run commands,"), "{team:?}");
    assert!(!team.iter().any(|line| line.contains("tools.example.com")), "{team:?}");
    let cut = of(&format!("permissions = {{ deny = [\"writer\"] }}\n{}", TEAM.replace(", \"gone\"", "")));
    assert!(!cut[0].contains("through"), "{cut:?}");
}
