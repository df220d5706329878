//! Skill folders of the shapes that people publish, each found, described, and read on demand by the built binary.

use std::fs;

use serde_json::json;

use super::may_run;
use crate::support::{Answer, Provider, Test, call};

/// A skill's folder: its name, the head of its `SKILL.md`, and its other files.
pub struct Shape {
    pub name: &'static str,
    pub head: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// What the model is told of it.
    described: &'static str,
}

/// The body of each.
const BODY: &str = "\n# How it is done\n\nStep by step.\n";

pub const SHAPES: [Shape; 12] = [
    Shape {
        name: "nest-maps",
        head: "name: nest-maps\ndescription: Draws maps of nests. Use when a place is asked for.\nlicense: Apache-2.0",
        files: &[("LICENSE.txt", "Apache."), ("references/north/map.md", "North."), ("references/south.md", "South.")],
        described: "Draws maps of nests.",
    },
    Shape {
        name: "pellet-lab",
        head: "name: pellet-lab\ndescription: |\n  Takes pellets apart:\n\n  - bones\n  - fur\nlicense: Terms are in LICENSE.txt",
        files: &[("scripts/sort.py", "#!/usr/bin/env python3\nprint(1)\n"), ("scripts/lib/bones.py", "BONES = 3\n")],
        described: "Takes pellets apart:\n\n- bones\n- fur",
    },
    Shape {
        name: "ring-numbers",
        head: "name: ring-numbers\ndescription: >\n  Reads the numbers\n  on rings.\nmetadata:\n  author: someone\n  version: \"2.1\"",
        files: &[("assets/ring.svg", "<svg/>"), ("templates/report.md.tmpl", "{{number}}")],
        described: "Reads the numbers on rings.",
    },
    Shape {
        name: "call-book",
        head: "name: \"call-book\"\ndescription: \"Names calls: \\\"hoo\\\" and others.\"\ncompatibility: Needs sox, and a microphone",
        files: &[("examples/hoo.txt", "hoo")],
        described: "Names calls: \"hoo\" and others.",
    },
    Shape {
        name: "night-watch",
        head: "name: night-watch\ndescription: Watches by night.\nallowed-tools: Bash(git:*) Read",
        files: &[("scripts/watch.sh", "#!/bin/sh\necho on\n")],
        described: "Watches by night.",
    },
    Shape {
        name: "moult-notes",
        head: "name: moult-notes\ndescription: 'Keeps the bird''s moult.'\nallowed-tools:\n  - Read\n  - Grep",
        files: &[("reference.md", "Further."), ("forms.md", "Forms.")],
        described: "Keeps the bird's moult.",
    },
    Shape {
        name: "feather-index",
        head: "name: feather-index\ndescription: Finds feathers.\nmetadata:\n  tags:\n    - feather\n    - index\n  by:\n    name: someone",
        files: &[("references/a/b/c/deep.md", "Deep.")],
        described: "Finds feathers.",
    },
    Shape {
        name: "barn-survey",
        head: "name: barn-survey\ndescription: Surveys barns.\nmetadata:\n  tags: [barn, survey]\n  level: 2",
        files: &[],
        described: "Surveys barns.",
    },
    Shape {
        name: "egg-scale",
        head: "name: egg-scale\ndescription: Weighs eggs.\nversion: 1.0.0\nuser-invocable: true\nmodel: large",
        files: &[("package.json", "{}"), ("src/index.js", "1")],
        described: "Weighs eggs.",
    },
    Shape {
        name: "a-name-as-long-as-a-name-may-be-with-all-of-its-sixty-four-signs",
        head: "name: a-name-as-long-as-a-name-may-be-with-all-of-its-sixty-four-signs\ndescription:\n  Has a long name,\n  and goes on.",
        files: &[(".hidden/notes.md", "Hidden.")],
        described: "Has a long name, and goes on.",
    },
    Shape {
        name: "owl-words",
        head: "name: owl-words\ndescription: Übersetzt 'Eule' → 猫头鹰. Uses a < b.\nlicense: MIT # for all",
        files: &[("data/words.csv", "Eule,owl\n")],
        described: "Übersetzt 'Eule' → 猫头鹰. Uses a < b.",
    },
    Shape {
        name: "3d-perch",
        head: "# Made by a tool\n\nname: 3d-perch\n\ndescription: Prints perches.   \nlicense: Proprietary\ncompatibility: \"git: any, node >= 20\"",
        files: &[("scripts/setup", "#!/bin/sh\n"), ("scripts/README.md", "Scripts.")],
        described: "Prints perches.",
    },
];

impl Shape {
    pub fn skill_file(&self) -> String {
        format!("---\n{}\n---\n{BODY}", self.head)
    }
}

fn project() -> Test {
    let toml = "[experts.librarian]\ninstruction = \"You find things.\"\nagentSkills = [\"*\"]\n";
    let mut test = Test::new().toml(toml).provider(Provider::Anthropic);
    for shape in &SHAPES {
        let folder = format!(".agents/skills/{}", shape.name);
        test = test.file(&format!("{folder}/SKILL.md"), shape.skill_file());
        for (path, text) in shape.files {
            test = test.file(&format!("{folder}/{path}"), text);
        }
    }
    // All scripts of one may be run, and none of another.
    may_run(&test.workspace().join(".agents/skills/pellet-lab/scripts/sort.py"));
    test
}

#[test]
fn skills_of_all_shapes_are_listed_described_and_read_on_demand() {
    let test = project();
    let checked = test.run(["check"]).stdout;
    let listed = test.run(["list-tools", "librarian", "--json"]).assert_code(0).stdout;
    let dry = test.run(["run", "librarian", "q", "--dry-run", "--output", "json"]).assert_code(0).object();
    let files: Vec<&str> = dry["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    for shape in &SHAPES {
        let name = shape.name;
        assert!(checked.contains(&format!("{name} (.agents/skills/{name})")), "{name}\n{checked}");
        assert!(listed.contains(name), "{name}");
        assert!(files.contains(&format!(".agents/skills/{name}/SKILL.md").as_str()), "{name} {files:?}");
        let described = format!("<skill name=\"{name}\">\n{}", shape.described);
        assert!(dry["instruction"].as_str().unwrap().contains(&described), "{described}");
    }
    let unrun = "skill night-watch: scripts/watch.sh may not be run";
    assert!(checked.contains(unrun) && !checked.contains("sort.py may not be run"), "{checked}");

    let mut answers = Vec::new();
    for shape in &SHAPES {
        let name = shape.name;
        let mut calls = vec![call(&format!("{name}-body"), "readSkillFile", json!({"skill": name}))];
        for (path, _) in shape.files {
            let id = format!("{name}-{}", calls.len());
            calls.push(call(&id, "readSkillFile", json!({"skill": name, "path": path})));
        }
        answers.push(Answer::calls(calls));
    }
    answers.push(Answer::text("Read."));
    test.server().script(answers);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let results = test.server().requests().pop().unwrap().results();
    let result = |id: &str| &results.iter().find(|(other, _)| other == id).unwrap().1;
    for shape in &SHAPES {
        let body = result(&format!("{}-body", shape.name));
        assert!(body.contains("# How it is done"), "{body}");
        for (at, (path, text)) in shape.files.iter().enumerate() {
            assert!(body.contains(path), "{path} is not listed: {body}");
            assert_eq!(result(&format!("{}-{}", shape.name, at + 1)), text);
        }
    }
}

#[cfg(unix)]
#[test]
fn a_file_with_keys_is_in_no_skill_under_another_name() {
    let test = project().file(".env", "OWL_KEY=secret\n").file("shared.md", "Shared.");
    let folder = test.workspace().join(".agents/skills/nest-maps");
    // A file with a second name that holds no keys is one of the skill's.
    fs::hard_link(test.workspace().join("shared.md"), folder.join("shared.md")).unwrap();
    let toml = "[experts.librarian]\ninstruction = \"You find things.\"\nagentSkills = [\"nest-maps\"]\n";
    let test = test.toml(toml);
    test.server().script([
        Answer::calls([call("c1", "readSkillFile", json!({"skill": "nest-maps", "path": "shared.md"}))]),
        Answer::text("Read."),
    ]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    assert_eq!(test.server().requests()[1].results()[0].1, "Shared.");
    fs::hard_link(test.workspace().join(".env"), folder.join("notes.txt")).unwrap();
    let asked = test.server().requests().len();
    test.run(["run", "librarian", "q"])
        .assert_code(2)
        .assert_stderr(["notes.txt is ", "by another name (a hard link)"]);
    assert_eq!(test.server().requests().len(), asked);
}
