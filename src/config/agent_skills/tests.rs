//! Skills as they are found: right ones of many shapes, and those with a mistake, each with its place.

use std::fs;

use super::*;
use crate::hint::ErrorHint as _;

/// A project with these files.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn load_from(root: &Path, items: &[&str], users: &[PathBuf]) -> Result<AgentSkills, String> {
    let items: Vec<String> = items.iter().map(|item| (*item).to_owned()).collect();
    let places = SkillPlaces { root, users, home: None, closed: &[] };
    load_agent_skills(&items, places).map_err(|error| error.with_hint().replace(&root.display().to_string(), ""))
}

/// The only skill, with this head, in a folder `owls`.
fn read(head: &str) -> Result<AgentSkills, String> {
    let root = project(&[(".agents/skills/owls/SKILL.md", &format!("---\n{head}\n---\n\n# Owls\n"))]);
    load_from(root.path(), &["owls"], &[])
}

fn names(skills: &AgentSkills) -> Vec<&str> {
    skills.skills.iter().map(|skill| skill.name.as_str()).collect()
}

fn plain(name: &str) -> String {
    format!("---\nname: {name}\ndescription: About {name}.\n---\nRead.\n")
}

#[test]
fn skills_of_the_shapes_that_are_in_use_are_read() {
    for (head, description) in [
        ("name: owls\ndescription: Counts owls. Use when birds of the night are asked about.", "Counts owls. Use when"),
        ("name: owls\ndescription: \"Counts owls: all of them.\"\nlicense: MIT", "Counts owls: all"),
        ("name: owls\ndescription: 'Owl''s calls.'\nlicense: Complete terms in LICENSE.txt", "Owl's calls."),
        ("name: owls\ndescription: >\n  Counts owls\n  by night.\n", "Counts owls by night."),
        ("name: owls\ndescription: |\n  Counts owls.\n\n  - barn\n  - tawny", "Counts owls.\n\n- barn\n- tawny"),
        ("description: Counts\n  owls.\nname: owls", "Counts owls."),
        ("name: owls\ndescription: Counts.\nmetadata:\n  author: someone\n  version: \"1.0\"", "Counts."),
        ("name: owls\ndescription: Counts.\nallowed-tools: Bash(git:*) Read", "Counts."),
        ("name: owls\ndescription: Counts.\nallowed-tools:\n  - Read\n  - Write", "Counts."),
        ("name: owls\ndescription: Counts.\ncompatibility: Needs git and a network", "Counts."),
        (
            "name: owls\ndescription: Counts.\nmetadata:\n  version: 1.2.0\n  tags: [birds, night]\n  words:\n    - owl\n  \
             by:\n    name: someone\n  why: >\n    All of\n    them.\nlicense: MIT",
            "Counts.",
        ),
        ("# By someone\nname: owls\n\ndescription: Counts.  # all of them", "Counts."),
        ("name: owls\ndescription:\n  Counts owls.\nhooks:\n  before:\n    - run: x", "Counts owls."),
        ("name: owls\ndescription: \"Counts owls:\n  all of them.\"", "Counts owls: all of them."),
        ("name: \"owls\"\ndescription: Counts.\nversion: 1.2.0\ntags: [birds, night]", "Counts."),
    ] {
        let found = read(head).unwrap_or_else(|error| panic!("{head}: {error}"));
        assert!(found.skills[0].description.starts_with(description), "{head}: {found:?}");
    }
    let noted = read("name: owls\ndescription: d\nversion: 1.2.0\nallowed-tools: Read").unwrap().notes;
    assert!(
        noted[0].ends_with(".agents/skills/owls/SKILL.md:4: version is no field of the format, and ignored"),
        "{noted:?}"
    );
    assert!(noted[1].contains("allowed-tools allows nothing here"), "{noted:?}");
}

#[test]
fn mistakes_have_their_place() {
    let long = format!("name: owls\ndescription: {}", "ü".repeat(1025));
    let most = format!("name: owls\ndescription: {}", "ü".repeat(1024));
    let wide = format!("name: owls\ndescription: d\ncompatibility: {}", "x".repeat(501));
    for (head, expected) in [
        ("description: d", "SKILL.md:1: name is missing"),
        ("name: owls", "SKILL.md:1: description is missing"),
        ("name: Owls\ndescription: d", "SKILL.md:2: name: expected a name of 1 to 64 lower-case letters"),
        ("name: mice\ndescription: d", "SKILL.md:2: name: expected the folder's name, \"owls\", received \"mice\""),
        ("name: 12\ndescription: d", "SKILL.md:2: name: expected a text: put \"12\" in quotes"),
        ("name: owls\ndescription:", "SKILL.md:3: description: expected a text, received none"),
        ("name: owls\ndescription: [a]", "SKILL.md:3: description: expected a text"),
        ("name: owls\ndescription: Use when: asked", "SKILL.md:3: expected no colon and blank"),
        (&long, "SKILL.md:3: description: expected 1 to 1024 characters, received 1025"),
        (&wide, "SKILL.md:4: compatibility: expected 1 to 500 characters"),
        ("name: owls\ndescription: d\nmetadata: x", "SKILL.md:4: metadata: expected names with texts"),
    ] {
        let refused = read(head).unwrap_err();
        assert!(refused.contains(&format!("/.agents/skills/owls/{expected}")), "{head}: {refused}");
    }
    assert!(read(&most).is_ok());
    for name in ["-a", "a-", "a--b", "a_b", "", &"a".repeat(65)] {
        assert!(name_problem(name).is_some(), "{name}");
    }
    assert!(name_problem(&"a".repeat(64)).is_none() && name_problem("pdf-2-text").is_none());
}

#[test]
fn a_file_without_front_matter_or_of_ten_megabytes_is_refused() {
    let root = project(&[(".agents/skills/owls/SKILL.md", "# Owls\n")]);
    let refused = load_from(root.path(), &["owls"], &[]).unwrap_err();
    assert!(refused.contains("SKILL.md:1: no front matter"), "{refused}");
    let root = project(&[(".agents/skills/owls/SKILL.md", &format!("{}{}", plain("owls"), "x".repeat(10 << 20)))]);
    let refused = load_from(root.path(), &["owls"], &[]).unwrap_err();
    assert!(refused.contains("larger than 262144 bytes"), "{refused}");
}

#[test]
fn skills_are_found_by_name_by_path_and_all_at_once() {
    let users = project(&[("mice/SKILL.md", &plain("mice")), ("owls/SKILL.md", &plain("owls"))]);
    let root = project(&[
        (".agents/skills/owls/SKILL.md", &plain("owls")),
        (".claude/skills/bees/SKILL.md", &plain("bees")),
        ("tools/ants/SKILL.md", &plain("ants")),
        ("tools/note.txt", ""),
    ]);
    let users = [users.path().to_owned()];
    let found = |items: &[&str]| load_from(root.path(), items, &users);
    assert_eq!(names(&found(&[]).unwrap()), [""; 0]);
    assert_eq!(names(&found(&["mice", "bees"]).unwrap()), ["mice", "bees"]);
    assert_eq!(names(&found(&["./tools", "tools/ants/"]).unwrap()), ["ants"]);
    let all = found(&["*"]).unwrap();
    assert_eq!(names(&all), ["owls", "bees", "mice"]);
    assert!(all.notes[0].starts_with("two skills are called owls: .agents/skills/owls is used, "), "{:?}", all.notes);
    assert_eq!(all.skills.iter().map(|skill| skill.is_projects).collect::<Vec<_>>(), [true, true, false]);
    let missing = found(&["wasps"]).unwrap_err();
    assert!(missing.contains("there is no skill wasps (looked in /.agents/skills, /.claude/skills"), "{missing}");
    assert!(found(&["./none"]).unwrap_err().contains("there is no SKILL.md in it"));
}

#[test]
fn two_skills_of_one_name_that_are_both_named_are_a_mistake() {
    let root = project(&[("a/owls/SKILL.md", &plain("owls")), ("b/owls/SKILL.md", &plain("owls"))]);
    let refused = load_from(root.path(), &["./a", "./b"], &[]).unwrap_err();
    assert!(refused.contains("a/owls is a skill called owls too"), "{refused}");
    assert_eq!(names(&load_from(root.path(), &["./a", "a/owls"], &[]).unwrap()), ["owls"]);
}

#[test]
#[cfg(unix)]
fn links_out_of_the_folder_are_refused_and_those_within_are_not() {
    use std::os::unix::fs::symlink;
    let elsewhere = project(&[("secret", "x"), ("owls/SKILL.md", &plain("owls"))]);
    let root = project(&[(".agents/skills/owls/SKILL.md", &plain("owls"))]);
    let folder = root.path().join(".agents/skills/owls");
    symlink("SKILL.md", folder.join("again.md")).unwrap();
    assert!(load_from(root.path(), &["owls"], &[]).is_ok());
    symlink(elsewhere.path().join("secret"), folder.join("notes.md")).unwrap();
    let refused = load_from(root.path(), &["owls"], &[]).unwrap_err();
    assert!(refused.contains("notes.md leads to ") && refused.contains("out of the skill's folder"), "{refused}");
    fs::remove_dir_all(&folder).unwrap();
    symlink(elsewhere.path().join("owls"), &folder).unwrap();
    let refused = load_from(root.path(), &["owls"], &[]).unwrap_err();
    assert!(refused.contains("outside of the project"), "{refused}");
    // Named by its path, it is meant.
    let item = format!("{}/owls", elsewhere.path().display());
    assert_eq!(names(&load_from(root.path(), &[&item], &[]).unwrap()), ["owls"]);
}

#[test]
#[cfg(unix)]
fn a_link_in_a_named_folder_of_the_project_stays_in_the_project() {
    use std::os::unix::fs::symlink;
    let elsewhere = project(&[("owls/SKILL.md", &plain("owls"))]);
    let root = project(&[("skills/mice/SKILL.md", &plain("mice")), ("more/bees/SKILL.md", &plain("bees"))]);
    symlink(root.path().join("more/bees"), root.path().join("skills/bees")).unwrap();
    assert_eq!(names(&load_from(root.path(), &["./skills"], &[]).unwrap()), ["bees", "mice"]);
    symlink(elsewhere.path().join("owls"), root.path().join("skills/owls")).unwrap();
    let refused = load_from(root.path(), &["./skills"], &[]).unwrap_err();
    let real = elsewhere.path().canonicalize().unwrap().join("owls");
    let expected = format!(
        "/skills/owls: it leads to {}, outside of the project: name that folder in agentSkills",
        real.display()
    );
    assert!(refused.contains(&expected), "{refused}");
    // A link that is named itself is asked about as one to elsewhere, and one of the user's is the user's.
    assert_eq!(names(&load_from(root.path(), &["./skills/owls"], &[]).unwrap()), ["owls"]);
    let users = project(&[]);
    symlink(elsewhere.path().join("owls"), users.path().join("owls")).unwrap();
    assert_eq!(names(&load_from(root.path(), &["owls"], &[users.path().to_owned()]).unwrap()), ["owls"]);
}

#[test]
#[cfg(unix)]
fn a_loaded_skill_is_that_of_its_folder_whatever_its_path_leads_to_later() {
    let root = project(&[("skills/owls/SKILL.md", &plain("owls")), ("other/owls/SKILL.md", "Secret.")]);
    let found = load_from(root.path(), &["./skills"], &[]).unwrap();
    fs::rename(root.path().join("skills"), root.path().join("moved")).unwrap();
    std::os::unix::fs::symlink("other", root.path().join("skills")).unwrap();
    let text = found.skills[0].handle.as_ref().unwrap().read_to_string(SKILL_FILE).unwrap();
    assert_eq!(text, plain("owls"));
}

#[test]
fn a_folder_with_keys_or_records_is_no_skill() {
    let root = project(&[("owls/SKILL.md", &plain("owls")), ("owls/.env", "KEY=1"), (".env", "KEY=1")]);
    let load = |closed: &str| {
        let closed = [root.path().join(closed)];
        let places = SkillPlaces { root: root.path(), users: &[], home: None, closed: &closed };
        load_agent_skills(&["./owls".to_owned()], places).map_err(|error| error.with_hint())
    };
    // The storage is not there before the first job.
    for closed in ["owls/.env", "owls/perstack/jobs"] {
        let refused = load(closed).unwrap_err();
        assert!(refused.contains(&format!("{closed} is in it, with keys or records")), "{refused}");
    }
    assert!(load(".env").is_ok() && load("owls-old/.env").is_ok());
}

#[test]
fn a_skill_has_at_most_so_many_bytes_in_all() {
    let root = project(&[("skills/owls/SKILL.md", &plain("owls")), ("skills/owls/data/a.bin", "")]);
    let file = fs::File::options().write(true).open(root.path().join("skills/owls/data/a.bin")).unwrap();
    file.set_len(60 << 20).unwrap();
    assert!(load_from(root.path(), &["./skills"], &[]).is_ok());
    file.set_len(7 << 40).unwrap();
    let refused = load_from(root.path(), &["./skills"], &[]).unwrap_err();
    let expected = "/skills/owls: with data/a.bin (7696581394432 bytes) its files have more than 64 MiB together";
    let others = "/skills/owls: with SKILL.md ";
    assert!(refused.contains(expected) || refused.contains(others), "{refused}");
}

#[test]
fn a_skill_that_nobody_named_and_that_is_not_right_is_left_out() {
    let users = project(&[("mice/SKILL.md", "# Mice\n"), ("bees/SKILL.md", &plain("bees"))]);
    let root = project(&[(".agents/skills/owls/SKILL.md", &plain("owls"))]);
    let users = [users.path().to_owned()];
    let all = load_from(root.path(), &["*"], &users).unwrap();
    assert_eq!(names(&all), ["owls", "bees"]);
    let [note] = &all.notes[..] else { panic!("{:?}", all.notes) };
    assert!(note.contains("mice/SKILL.md:1: no front matter") && note.ends_with(": this skill is left out"), "{note}");
    assert!(load_from(root.path(), &["mice"], &users).unwrap_err().contains("no front matter"));
}

#[test]
#[cfg(unix)]
fn a_folder_that_cannot_be_listed_is_noted() {
    use std::os::unix::fs::symlink;
    let root = project(&[(".agents/skills/owls/SKILL.md", &plain("owls"))]);
    fs::create_dir(root.path().join(".claude")).unwrap();
    // A circle of links: also for a user who may list anything.
    symlink("skills", root.path().join(".claude/skills")).unwrap();
    let all = load_from(root.path(), &["*"], &[]).unwrap();
    assert_eq!(names(&all), ["owls"]);
    assert!(all.notes[0].starts_with("cannot look for skills in ") && all.notes.len() == 1, "{:?}", all.notes);
}

#[test]
#[cfg(unix)]
fn a_script_without_its_run_bit_is_noted() {
    use std::os::unix::fs::PermissionsExt as _;
    let script = ".agents/skills/owls/scripts/count.sh";
    let root = project(&[(".agents/skills/owls/SKILL.md", &plain("owls")), (script, "#!/bin/sh\n")]);
    let notes = load_from(root.path(), &["owls"], &[]).unwrap().notes;
    assert!(notes[0].starts_with("skill owls: scripts/count.sh may not be run: chmod +x it"), "{notes:?}");
    let digest = || digest(load_from(root.path(), &["owls"], &[]).unwrap().skills[0].handle.as_ref().unwrap());
    let before = digest();
    fs::set_permissions(root.path().join(script), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(load_from(root.path(), &["owls"], &[]).unwrap().notes, [""; 0]);
    let after = digest();
    assert_ne!(before, after);
    fs::write(root.path().join(script), "#!/bin/sh\nrm -rf x\n").unwrap();
    assert_ne!(after, digest());
}

#[test]
fn the_keys_items_have_their_form() {
    let read = |list: &str| {
        let text = format!("[experts.e]\ninstruction = \"i\"\nagentSkills = {list}\n");
        crate::config::parse(&text, Path::new("p.toml"))
    };
    let project = read("[\"*\", \"owls\", \"./skills\", \"~/skills/owls\", \"owls\"]").unwrap();
    assert_eq!(project.expert("e").unwrap().agent_skills, ["*", "owls", "./skills", "~/skills/owls"]);
    for bad in ["", "Owls", "a b", "a/*", "~x/y", "https://x/y"] {
        let problem = read(&format!("[{bad:?}]")).unwrap_err().to_string();
        assert!(problem.contains("experts.e.agentSkills.0: expected the name of a skill"), "{problem}");
    }
}
