//! Skill folders before the format's own validator, `agentskills` of the package `skills-ref`, and before `perstack check`.

use std::fs;
use std::process::Command;

use super::{python, servers};
use crate::agent_skills::shapes::SHAPES;
use crate::support::{Provider, Test};

/// Heads on which the two differ, or which both refuse: whether the validator accepts it, whether we do.
const OTHERS: [(&str, bool, bool); 14] = [
    ("description: d", false, false),
    ("name: owls", false, false),
    ("name: Owls\ndescription: d", false, false),
    ("name: mice\ndescription: d", false, false),
    ("name: owls\ndescription: \"\"", false, false),
    ("name: owls\ndescription: Use when: asked", false, false),
    ("name: owls\nname: owls\ndescription: d", false, false),
    ("name: owls\ndescription: d\ncompatibility:\n  - a", false, false),
    // Fields of other products are in use, and are ignored with a warning.
    ("name: owls\ndescription: d\nversion: 1.0.0", false, true),
    // Brackets are YAML, which the validator's reader leaves out.
    ("name: owls\ndescription: d\nallowed-tools: [Read, Grep]", false, true),
    // The format's text has names with texts in metadata, and 1 to 500 characters of compatibility.
    ("name: owls\ndescription: d\nmetadata: x", true, false),
    ("name: owls\ndescription: d\ncompatibility: \"\"", true, false),
    // Other readers of YAML take these for a number and a truth value.
    ("name: owls\ndescription: 12", true, false),
    ("name: owls\ndescription: true", true, false),
];

#[test]
fn the_validator_and_the_check_agree_but_where_noted() {
    let Some(servers) = servers() else { return };
    let program = python(&servers, "agentskills");
    let toml = "[experts.librarian]\ninstruction = \"You find things.\"\nagentSkills = [\"./skill/\"]\n";
    let differs = |name: &str| ["egg-scale", "barn-survey"].contains(&name);
    let shapes = SHAPES.iter().map(|shape| (shape.name, shape.skill_file(), !differs(shape.name), true));
    let others =
        OTHERS.iter().map(|(head, theirs, ours)| ("owls", format!("---\n{head}\n---\nBody.\n"), *theirs, *ours));
    for (name, text, theirs, ours) in shapes.chain(others) {
        let test = Test::new().toml(toml).provider(Provider::Anthropic);
        let folder = test.workspace().join("skill").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("SKILL.md"), &text).unwrap();
        let judged = Command::new(&program).arg("validate").arg(&folder).output().unwrap();
        let said = String::from_utf8_lossy(&[judged.stdout, judged.stderr].concat()).into_owned();
        assert_eq!(judged.status.success(), theirs, "{text}\n{said}");
        let dry = test.run(["run", "librarian", "q", "--dry-run"]);
        assert_eq!(dry.code == Some(0), ours, "{text}\n{}", dry.stderr);
    }
}
