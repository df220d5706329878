//! The explanations of `perstack why`.
#![cfg(target_os = "linux")]

use std::fs;

use crate::support::{Ran, Test};

const TEAM: &str = r#"
[experts.reviewer]
instruction = "You review."

[experts.reviewer.skills."@perstack/base"]
type = "mcpStdioSkill"
command = "npx"
packageName = "@perstack/base"
reads = ["~/notes"]
grants = ["gh"]

[experts.reviewer.skills.web]
type = "mcpStdioSkill"
command = "sh"
args = ["-c", "true"]
allowedDomains = ["api.exa.ai", "*.example.com:8443", "10.1.2.3"]

[experts.reviewer.skills.plain]
type = "mcpStdioSkill"
command = "sh"
args = ["-c", "true"]

[experts.reviewer.skills.far]
type = "mcpSseSkill"
endpoint = "https://tools.example.com/mcp"

[experts.writer]
instruction = "You write."

[experts.writer.skills.web]
type = "mcpStdioSkill"
command = "cat"
args = ["-u"]
"#;

/// A folder with a home outside of the temporary ones, which all programs may reach.
struct Place {
    home: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/target").unwrap();
        for folder in ["notes", ".ssh", "docs"] {
            fs::create_dir(home.path().join(folder)).unwrap();
        }
        fs::write(home.path().join("docs/a.txt"), "").unwrap();
        Self { home }
    }

    fn why(&self, words: &[&str]) -> Ran {
        let home = self.home.path().to_str().unwrap();
        let words: Vec<String> = words.iter().map(|word| word.replace("HOME", home)).collect();
        let test = Test::new().toml(TEAM).env("HOME", home).file("owls.txt", "barn owl\n");
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [skill, target] => test.run(["why", skill, target]),
            [skill, target, flag] => test.run(["why", skill, target, flag]),
            [skill, option, value, target] => test.run(["why", skill, option, value, target]),
            _ => panic!("no such line"),
        }
    }
}

#[test]
fn allowed_things_are_shown_with_their_rule() {
    let place = Place::new();
    for (words, rule) in [
        (&["@perstack/base", "/usr/bin"][..], "may read /usr/bin: programs and settings of the system"),
        (&["@perstack/base", "owls.txt"], "owls.txt: the workspace"),
        (&["@perstack/base", "new/file.txt", "--write"], "the workspace"),
        (&["@perstack/base", "/var/tmp/x", "--write"], "a temporary folder"),
        (&["@perstack/base", "/dev/null", "--write"], "a device that holds nobody's data"),
        (&["@perstack/base", "HOME/notes/today.md"], "reads of the skill"),
        (&["@perstack/base", "~/notes/today.md"], "reads of the skill"),
        (&["@perstack/base", "~/.config/gh/hosts.yml"], "grants = [\"gh\"]"),
        (&["@perstack/base", "HOME/.npm/x", "--write"], "a cache of a package manager"),
        (&["@perstack/base", "anything.example:25"], "it has no allowedDomains"),
        (
            &["web", "--expert", "reviewer", "api.exa.ai"],
            "may connect to api.exa.ai:443: api.exa.ai of its allowedDomains",
        ),
        (&["web", "--expert", "reviewer", "https://a.example.com:8443/x"], "*.example.com:8443 of its allowedDomains"),
        (&["web", "--expert", "reviewer", "10.1.2.3:80"], "10.1.2.3 of its allowedDomains"),
        (&["plain", "~/docs/a.txt"], "it is not contained with sandbox = \"auto\""),
        (&["plain", "~/docs/a.txt", "--sandbox", "off"], "sandbox = \"off\""),
        (&["far", "tools.example.com"], "it has no allowedDomains"),
    ] {
        let ran = place.why(words).assert_code(0);
        assert!(ran.stdout.contains(rule) && ran.stdout.lines().count() == 1, "{words:?}: {}", ran.stdout);
    }
    assert!(!place.home.path().join(".npm").exists());
}

#[test]
fn refused_things_are_shown_with_the_line_that_would_allow_them() {
    let place = Place::new();
    let add = |line: &str, skill: &str| {
        format!("to allow it, add {line} to skill {skill} of expert reviewer in perstack.toml")
    };
    for (words, line) in [
        (&["@perstack/base", "~/docs/a.txt"][..], add("reads = [\"~/docs/a.txt\"]", "@perstack/base")),
        (&["@perstack/base", "~/docs/a.txt", "--write"], add("writes = [\"~/docs\"]", "@perstack/base")),
        (&["@perstack/base", "~/notes/new.md", "--write"], add("writes = [\"~/notes\"]", "@perstack/base")),
        (&["@perstack/base", "/usr/share", "--write"], add("writes = [\"/usr/share\"]", "@perstack/base")),
        (&["@perstack/base", "~/.ssh/id"], "a place of secrets: ssh (keys and agent of SSH)".to_owned()),
        (&["@perstack/base", "~/.ssh/id"], add("grants = [\"ssh\"]", "@perstack/base")),
        (&["@perstack/base", "perstack.toml", "--write"], "a protected file".to_owned()),
        (&["web", "--expert", "reviewer", "exa.ai"], add("allowedDomains = [\"exa.ai\"]", "web")),
        (&["web", "--expert", "reviewer", "api.exa.ai:8080"], add("allowedDomains = [\"api.exa.ai:8080\"]", "web")),
        (&["web", "--expert", "reviewer", "localhost:80"], add("allowedDomains = [\"localhost\"]", "web")),
        (&["plain", "~/docs/a.txt", "--sandbox", "all"], add("reads = [\"~/docs/a.txt\"]", "plain")),
        (&["far", "/etc/hosts"], "has no files of this machine".to_owned()),
        (&["far", "127.0.0.1"], "it is no public https address".to_owned()),
    ] {
        let ran = place.why(words).assert_code(1);
        assert!(ran.stdout.contains("may not ") && ran.stdout.contains(&line), "{words:?}: {}", ran.stdout);
    }
}

#[test]
fn commands_may_read_the_agent_skills_of_their_own_expert() {
    let place = Place::new();
    let (home, skill) = (place.home.path().canonicalize().unwrap(), place.home.path().join("skills/owls"));
    fs::create_dir_all(&skill).unwrap();
    fs::write(skill.join("SKILL.md"), "---\nname: owls\ndescription: Counts owls.\n---\n").unwrap();
    let toml = "[experts.keeper]\ninstruction = \"You keep.\"\nagentSkills = [\"~/skills\"]\n\n\
                [experts.visitor]\ninstruction = \"You visit.\"\n";
    let test = Test::new().toml(toml).env("HOME", home.to_str().unwrap());
    let why = |expert, path: &str, flag| test.run(["why", "@perstack/base", "--expert", expert, path, flag]);
    let file = "~/skills/owls/SKILL.md";
    let ran = why("keeper", file, "--trust").assert_code(0);
    assert!(ran.stdout.contains("the folder of the Agent Skill owls"), "{}", ran.stdout);
    why("keeper", file, "--write").assert_code(1);
    why("keeper", "~/skills", "--trust").assert_code(1);
    let ran = why("visitor", file, "--trust").assert_code(1);
    assert!(ran.stdout.contains("add reads = [\"~/skills/owls/SKILL.md\"]"), "{}", ran.stdout);
    let ran = test.run(["why", "@perstack/base", file]).assert_code(2);
    assert!(ran.stderr.contains("and not the same") && ran.stderr.contains("keeper, visitor"), "{}", ran.stderr);
    let checked = test.run(["check", "--trust"]).stdout;
    let can = |expert: &str| {
        let subject = format!("expert {expert}: can:");
        checked.lines().find(|line| line.contains(&subject)).unwrap_or_else(|| panic!("{checked}")).to_owned()
    };
    let read = format!("read {}/skills/owls (exec)", home.display());
    assert!(can("keeper").contains(&read), "{checked}");
    assert!(!can("visitor").contains("skills"), "{checked}");
    // An expert whose skill is gone does not begin; that other one is as it was.
    fs::remove_dir_all(&skill).unwrap();
    let ran = why("keeper", file, "--trust").assert_code(2);
    assert!(ran.stderr.contains("there is no SKILL.md"), "{}", ran.stderr);
    why("visitor", file, "--trust").assert_code(1);
}

#[test]
fn a_skill_has_to_be_meant_by_its_name() {
    let place = Place::new();
    let ran = place.why(&["web", "exa.ai"]).assert_code(2);
    assert!(ran.stderr.contains("name one by --expert: reviewer, writer"), "{}", ran.stderr);
    let ran = place.why(&["wep", "exa.ai"]).assert_code(2);
    assert!(
        ran.stderr.contains("there is no skill \"wep\"") && ran.stderr.contains("far, plain, web"),
        "{}",
        ran.stderr
    );
}
