//! Agent Skills: two experts with one skill, its files on demand, its scripts contained, and skills that are not right.

pub mod shapes;

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Answer, Provider, Test, call};
use crate::trust::{attack, neighbour};

const SKILL: &str = "---\nname: count-birds\ndescription: Counts birds in lists. Use when asked for numbers of owls.\nlicense: MIT\n\
                     metadata:\n  author: someone\n---\n\n# Counting\n\nRun scripts/count.sh with the list.\n";

const SCRIPT: &str = "#!/bin/sh\nwc -l < \"$1\" | tr -d ' '\n";

fn toml(items: &str) -> String {
    format!(
        "[experts.librarian]\ninstruction = \"You find things.\"\ndelegates = [\"helper\"]\nagentSkills = {items}\n\
         [experts.helper]\ninstruction = \"You help.\"\nagentSkills = {items}\n"
    )
}

/// A project whose two experts have this skill.
fn project(folder: &str) -> Test {
    let test = Test::new().toml(&toml("[\"count-birds\"]")).provider(Provider::Anthropic);
    let test = test.file(&format!("{folder}/count-birds/SKILL.md"), SKILL).file("list.txt", "barn\ntawny\nsnowy\n");
    let test = test.file(&format!("{folder}/count-birds/scripts/count.sh"), SCRIPT);
    may_run(&test.workspace().join(folder).join("count-birds/scripts/count.sh"));
    test
}

#[cfg(unix)]
fn may_run(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[cfg(not(unix))]
fn may_run(_: &Path) {}

fn exec(id: &str, command: &str) -> Answer {
    Answer::calls([call(id, "exec", json!({"command": command, "args": ["list.txt"]}))])
}

#[test]
fn a_skill_is_described_read_on_demand_and_its_script_is_run_by_two_experts() {
    let test = project(".claude/skills");
    let script = test.workspace().canonicalize().unwrap().join(".claude/skills/count-birds/scripts/count.sh");
    let script = script.to_str().unwrap();
    test.server().script([
        Answer::calls([call("c1", "helper", json!({"query": "q"}))]),
        Answer::calls([call("c2", "readSkillFile", json!({"skill": "count-birds"}))]),
        exec("c3", script),
        Answer::text("Helped."),
        Answer::calls([call("c4", "readSkillFile", json!({"skill": "count-birds", "path": "scripts/count.sh"}))]),
        exec("c5", script),
        Answer::text("Three."),
    ]);
    assert_eq!(test.run(["run", "librarian", "q"]).assert_code(0).stdout, "Three.\n");
    let requests = test.server().requests();
    for request in [&requests[0], &requests[1]] {
        assert!(request.tools().contains(&"readSkillFile"));
        assert!(request.contains("<skill name=\"count-birds\">\nCounts birds in lists."));
        assert!(!request.contains("# Counting"), "the body is read on demand");
    }
    assert!(requests[2].contains("# Counting") && requests[2].contains("Its other files: scripts/count.sh"));
    let ran = |at: usize| requests[at].results().pop().unwrap().1;
    assert!(ran(3).contains("3\\n") && ran(6).contains("3\\n"), "{}\n{}", ran(3), ran(6));
    assert!(requests[5].contains("wc -l"));
}

#[test]
fn an_expert_without_the_key_has_no_skill_and_no_tool() {
    let test = Test::with(Provider::Anthropic).file(".claude/skills/count-birds/SKILL.md", SKILL);
    test.server().script([Answer::text("One.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let request = &test.server().requests()[0];
    assert!(!request.tools().contains(&"readSkillFile") && !request.contains("count-birds"));
}

#[test]
fn the_users_own_skills_are_found_and_their_scripts_may_be_run_contained() {
    let test = Test::new().toml(&toml("[\"*\"]")).provider(Provider::Anthropic).file("list.txt", "barn\ntawny\n");
    let folder = test.root().join("home/.agents/skills/count-birds");
    fs::create_dir_all(folder.join("scripts")).unwrap();
    fs::write(folder.join("SKILL.md"), SKILL).unwrap();
    fs::write(folder.join("scripts/count.sh"), SCRIPT).unwrap();
    may_run(&folder.join("scripts/count.sh"));
    let script = folder.canonicalize().unwrap().join("scripts/count.sh");
    test.server().script([exec("c1", script.to_str().unwrap()), Answer::text("Two.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let requests = test.server().requests();
    assert!(requests[1].contains("2\\n"), "{:?}", requests[1].results());
}

#[test]
fn check_and_list_tools_show_the_skills() {
    let test = project(".agents/skills");
    let stdout = test.run(["check"]).stdout;
    let line = "✓ expert librarian, agentSkills: count-birds (.agents/skills/count-birds): Counts birds in lists.";
    assert!(stdout.contains(line), "{stdout}");
    let listed = test.run(["list-tools", "librarian", "--json"]).assert_code(0).stdout;
    assert!(listed.contains("readSkillFile") && listed.contains("count-birds"), "{listed}");
}

#[test]
fn a_skill_that_is_not_right_ends_a_run_before_any_request() {
    for (head, expected) in [
        ("# Counting\n", "SKILL.md:1: no front matter"),
        ("---\nname: owls\ndescription: d\n---\n", "SKILL.md:2: name: expected the folder's name, \"count-birds\""),
        ("---\nname: count-birds\ndescription: Use when: asked\n---\n", "SKILL.md:3: expected no colon and blank"),
    ] {
        let test = project(".agents/skills").file(".agents/skills/count-birds/SKILL.md", head);
        test.run(["run", "librarian", "q"]).assert_code(2).assert_stderr([expected]);
        let checked = test.run(["check"]).assert_code(2);
        assert!(checked.stdout.contains(expected), "{}", checked.stdout);
    }
    let test = Test::new().toml(&toml("[\"count-birds\"]")).provider(Provider::Anthropic);
    test.run(["run", "librarian", "q"]).assert_code(2).assert_stderr(["there is no skill count-birds (looked in "]);
}

#[test]
#[cfg(unix)]
fn a_skill_leads_to_no_file_of_the_users() {
    attack("a project's skill has a link to a file of the user's, and one names the user's folders");
    neighbour("a link within the skill is followed");
    let test = project(".agents/skills");
    fs::write(test.root().join("home/secret"), "Secret.").unwrap();
    let folder = test.workspace().join(".agents/skills/count-birds");
    std::os::unix::fs::symlink("SKILL.md", folder.join("again.md")).unwrap();
    test.server().script([
        Answer::calls([call("c1", "readSkillFile", json!({"skill": "count-birds", "path": "again.md"}))]),
        Answer::calls([call("c2", "readSkillFile", json!({"skill": "count-birds", "path": "../../../perstack.toml"}))]),
        Answer::text("Done."),
    ]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let requests = test.server().requests();
    assert!(requests[1].contains("# Counting") && requests[2].contains("outside of the skill's folder"));
    std::os::unix::fs::symlink(test.root().join("home/secret"), folder.join("notes.md")).unwrap();
    test.run(["run", "librarian", "q"])
        .assert_code(2)
        .assert_stderr(["notes.md leads to ", "out of the skill's folder"]);
    let test = Test::new().toml(&toml("[\"~/mine\"]")).provider(Provider::Anthropic);
    let stdout = test.run(["check"]).stdout;
    assert!(stdout.contains("lets expert librarian use the skills of ~/mine"), "{stdout}");
}

#[test]
#[cfg(unix)]
fn a_command_does_not_change_the_skills_of_later_runs() {
    attack("a command puts a link in a skill's place, or a broken SKILL.md");
    neighbour("a delegate reads the skill that the job began with");
    let plant = "mv skills/count-birds old && ln -s ../home/secret skills/count-birds";
    for command in [plant, "printf x > skills/count-birds/SKILL.md"] {
        let test = project("skills").toml(&toml("[\"./skills\"]"));
        fs::create_dir_all(test.root().join("home/secret")).unwrap();
        fs::write(test.root().join("home/secret/SKILL.md"), SKILL.replace("# Counting", "# Secret")).unwrap();
        test.server().script([
            Answer::calls([call("c1", "exec", json!({"command": "sh", "args": ["-c", command]}))]),
            Answer::calls([call("c2", "helper", json!({"query": "q"}))]),
            Answer::calls([call("c3", "readSkillFile", json!({"skill": "count-birds"}))]),
            Answer::text("Helped."),
            Answer::text("Done."),
        ]);
        assert_eq!(test.run(["run", "librarian", "q"]).assert_code(0).stdout, "Done.\n");
        let requests = test.server().requests();
        let read = requests[3].results().pop().unwrap().1;
        assert!(!read.contains("# Secret") && read.contains("This skill's folder is "), "{read}");
        assert_eq!(read.contains("# Counting"), command == plant, "{read}");
        assert!(test.workspace().join("old").exists() || command != plant, "the command has had its effect");
    }
}

#[test]
fn a_changed_script_is_a_change_of_what_was_agreed_to() {
    attack("a script of a skill changes behind an agreement");
    neighbour("one that is as it was needs no new agreement");
    let test = project(".agents/skills");
    let shown = |test: &Test| {
        let stdout = test.run(["check"]).stdout;
        stdout.lines().find(|line| line.contains("this folder is ")).unwrap_or_default().to_owned()
    };
    let before = shown(&test);
    assert!(before.contains("digest") && before == shown(&test), "{before}");
    fs::write(test.workspace().join(".agents/skills/count-birds/scripts/count.sh"), "#!/bin/sh\nrm x\n").unwrap();
    assert_ne!(before, shown(&test));
}

#[test]
fn the_use_of_the_users_own_skills_is_shown_and_not_refused() {
    let shown = |items: &str, is_projects: bool| {
        let test = if is_projects { project(".agents/skills") } else { Test::new() }.toml(&toml(items));
        let folder = test.root().join("home/.agents/skills/count-birds");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("SKILL.md"), SKILL).unwrap();
        test.run(["trust", "--show"]).assert_code(0).stdout
    };
    for (items, is_projects, line) in [
        ("[\"*\"]", true, "lets expert librarian use all your own Agent Skills (*)"),
        ("[\"count-birds\"]", false, "lets expert librarian use your own Agent Skill (count-birds)"),
    ] {
        let shown = shown(items, is_projects);
        assert!(shown.contains(line) && !shown.contains("refused"), "{shown}");
    }
    neighbour("a name that is the project's, as one of the user's is not reached by it");
    let shown = shown("[\"count-birds\"]", true);
    assert!(shown.contains("has the skill count-birds") && !shown.contains("your own"), "{shown}");
}

#[test]
fn a_changed_description_is_used_on_resume() {
    let test = project(".agents/skills").answers([Answer::text("One."), Answer::text("Two."), Answer::text("Three.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let file = test.workspace().join(".agents/skills/count-birds/SKILL.md");
    fs::write(&file, SKILL.replace("# Counting", "# Other")).unwrap();
    test.run(["resume", "latest", "And?"]).assert_code(0);
    fs::write(&file, SKILL.replace("Counts birds in lists.", "Counts mice.")).unwrap();
    let ran = test.run(["resume", "latest", "And?"]).assert_code(0);
    ran.assert_stderr([".agents/skills/count-birds/SKILL.md has changed"]);
    let requests = test.server().requests();
    let system = |at: usize| requests[at].body["system"].to_string();
    assert_eq!(system(0), system(1), "only the body had changed");
    assert!(system(2).contains("Counts mice.") && !system(2).contains("Counts birds"));
}

#[test]
fn a_recording_is_replayed_without_the_skill() {
    let test = project(".agents/skills").answers([
        Answer::calls([call("c1", "readSkillFile", json!({"skill": "count-birds"}))]),
        Answer::text("Three."),
    ]);
    test.run(["run", "librarian", "q", "--record", "c.jsonl"]).assert_code(0);
    fs::remove_dir_all(test.workspace().join(".agents")).unwrap();
    let ran = test.run(["replay", "c.jsonl"]).assert_code(0);
    assert_eq!(ran.stdout, "Three.\n");
}
