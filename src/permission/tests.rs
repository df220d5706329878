//! Verdicts on calls: by patterns of names, of commands and of paths, and by the order of lists and sources.

use std::path::PathBuf;

use super::*;
use crate::tool::{BASE_SKILL, ToolHints};

fn tool(skill: &str, name: &str, read_only: bool) -> ToolSpec {
    ToolSpec {
        skill_name: skill.to_owned(),
        name: name.to_owned(),
        description: None,
        input_schema: std::sync::Arc::default(),
        kind: ToolKind::Mcp,
        hints: ToolHints { read_only, ..ToolHints::default() },
    }
}

fn patterns(texts: &[&str]) -> Vec<PermissionPattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn lists(allow: &[&str], ask: &[&str], deny: &[&str]) -> Permissions {
    Permissions { allow: patterns(allow), ask: patterns(ask), deny: patterns(deny) }
}

/// The verdict on a call by lists of the project alone: `allow`, `ask` or `deny`.
fn verdict(table: &Permissions, tool: &ToolSpec, argument: &CallArgument) -> &'static str {
    by(&RunPermissions::default(), table, tool, argument)
}

fn by(run: &RunPermissions, project: &Permissions, tool: &ToolSpec, argument: &CallArgument) -> &'static str {
    let none = Permissions::default();
    let rules = PermissionRules { run, user: &none, project, expert: &none };
    match rules.decide(&CallSubject { tool, own_name: &tool.name, argument }) {
        PermissionVerdict::Allowed(_) => "allow",
        PermissionVerdict::Asks(_) => "ask",
        PermissionVerdict::Denied(_) => "deny",
    }
}

/// The verdict on a command, its words divided by spaces but for those in the last, quoted, one.
fn command(table: &Permissions, words: &[&str]) -> &'static str {
    let args: Vec<String> = words[1..].iter().map(|word| (*word).to_owned()).collect();
    let program = ProgramCall::new(words[0], &args, false, false);
    verdict(table, &tool(BASE_SKILL, "exec", false), &CallArgument::Program(program))
}

fn path(table: &Permissions, name: &str, written: &str, real: &str) -> &'static str {
    let roots = [PathBuf::from("/work"), PathBuf::from("/given")];
    let path = CallPath { written: written.into(), real: real.into(), roots };
    let is_tree = name == "deleteDirectory";
    verdict(table, &tool(BASE_SKILL, name, false), &CallArgument::Paths { paths: vec![path], is_tree })
}

#[test]
fn without_patterns_everything_is_allowed() {
    assert_eq!(command(&Permissions::default(), &["rm", "-rf", "."]), "allow");
}

#[test]
fn deny_goes_before_ask_and_ask_before_allow() {
    let exec = ["exec"];
    assert_eq!(command(&lists(&exec, &exec, &exec), &["ls"]), "deny");
    assert_eq!(command(&lists(&exec, &exec, &[]), &["ls"]), "ask");
    assert_eq!(command(&lists(&exec, &["*"], &[]), &["ls"]), "allow", "an exception to a wider pattern");
    assert_eq!(command(&lists(&["exec(ls)"], &["exec"], &[]), &["ls"]), "allow");
    assert_eq!(command(&lists(&["exec(ls)"], &["exec(ls)"], &[]), &["ls"]), "ask");
    assert_eq!(command(&lists(&["exec(rm x)"], &[], &["exec"]), &["rm", "x"]), "deny", "no exception to deny");
}

#[test]
fn without_ask_calls_that_allow_does_not_name_are_asked_about() {
    let read = tool(BASE_SKILL, "readTextFile", true);
    let only = lists(&["readTextFile"], &[], &[]);
    assert_eq!(verdict(&only, &read, &CallArgument::None), "allow");
    assert_eq!(command(&only, &["ls"]), "ask");
    assert_eq!(command(&lists(&["readTextFile"], &["web.*"], &[]), &["ls"]), "allow");
    let delegate = ToolSpec { kind: ToolKind::Delegate, ..tool("helper", "helper", false) };
    assert_eq!(verdict(&only, &delegate, &CallArgument::None), "allow", "a delegate's own calls are decided");
    assert_eq!(verdict(&lists(&[], &[], &["helper"]), &delegate, &CallArgument::None), "deny");
}

#[test]
fn a_projects_pattern_makes_no_exception_to_the_command_lines() {
    let exec = tool(BASE_SKILL, "exec", false);
    let ls = CallArgument::Program(ProgramCall::new("ls", &[], false, false));
    let run = |allow: &[&str], ask: &[&str]| RunPermissions { lists: lists(allow, ask, &[]), read_only: false };
    assert_eq!(by(&run(&[], &["exec"]), &lists(&["exec(ls)"], &[], &[]), &exec, &ls), "ask");
    assert_eq!(by(&run(&["exec(ls)"], &[]), &lists(&[], &["exec"], &[]), &exec, &ls), "allow");
    assert_eq!(by(&run(&["exec"], &[]), &lists(&[], &["exec"], &[]), &exec, &ls), "ask", "a project may tighten");
    assert_eq!(by(&run(&["exec"], &[]), &lists(&[], &[], &["exec(ls)"]), &exec, &ls), "deny");
}

#[test]
fn read_only_denies_tools_that_do_not_declare_it() {
    let run = RunPermissions { read_only: true, ..RunPermissions::default() };
    let none = Permissions::default();
    for (skill, read_only, expected) in [("web", true, "allow"), ("web", false, "deny"), (BASE_SKILL, false, "deny")] {
        assert_eq!(by(&run, &none, &tool(skill, "t", read_only), &CallArgument::None), expected);
    }
    let delegate = ToolSpec { kind: ToolKind::Delegate, ..tool("helper", "helper", false) };
    assert_eq!(by(&run, &none, &delegate, &CallArgument::None), "allow");
}

#[test]
fn names_are_those_of_tools_and_of_skills_with_tools() {
    for (pattern, skill, name, is_named) in [
        ("get", "web", "get", true),
        ("web.get", "web", "get", true),
        ("web.*", "web", "get", true),
        ("web.*", "website", "get", false),
        ("web", "web", "get", false),
        ("ge*", "web", "get", true),
        ("Get", "web", "get", false),
        ("*", "web", "größe", true),
        ("größe", "web", "größe", true),
        ("@perstack/base.*", BASE_SKILL, "exec", true),
        ("a.b.c", "a.b", "c", true),
    ] {
        let tool = tool(skill, name, false);
        let found = verdict(&lists(&[], &[], &[pattern]), &tool, &CallArgument::None);
        assert_eq!(found == "deny", is_named, "{pattern} and {skill}.{name}");
    }
}

#[test]
fn a_tool_offered_under_another_name_is_denied_by_its_own_and_not_allowed_by_it() {
    let tool = tool("files", "files_exec", false);
    let decide = |table: &Permissions| {
        let (run, none) = (RunPermissions::default(), Permissions::default());
        let rules = PermissionRules { run: &run, user: &none, project: table, expert: &none };
        rules.decide(&CallSubject { tool: &tool, own_name: "exec", argument: &CallArgument::None })
    };
    assert!(matches!(decide(&lists(&[], &[], &["exec"])), PermissionVerdict::Denied(_)));
    assert!(matches!(decide(&lists(&["exec"], &[], &[])), PermissionVerdict::Asks(_)));
    assert!(matches!(decide(&lists(&["files.exec"], &[], &[])), PermissionVerdict::Allowed(_)));
}

#[test]
fn an_allowed_command_is_that_command_and_no_other() {
    let status = lists(&["exec(git status*)"], &["exec"], &[]);
    let allowed: [&[&str]; 4] =
        [&["git", "status"], &["git", "status", "-s"], &["git", "status", "--", "a b", "ü"], &["git", "status", "a;b"]];
    for words in allowed {
        assert_eq!(command(&status, words), "allow", "{words:?}");
    }
    let asked: [&[&str]; 17] = [
        &["git"],
        &["git", "push"],
        &["git", "-c", "x=y", "status"],
        &["git", "status;", "rm"],
        &["git", "status; rm -rf ."],
        &["git", "status\nrm"],
        &["git", "status", ";", "rm"],
        &["git", "status", "&&", "rm"],
        &["git status"],
        &["git status; rm", "x"],
        &["/tmp/git", "status"],
        &["./git", "status"],
        &["GIT", "status"],
        &["sh", "-c", "git status"],
        &["env", "git", "status"],
        &["xargs", "git", "status"],
        &["timeout", "5", "git", "status"],
    ];
    for words in asked {
        assert_eq!(command(&status, words), "ask", "{words:?}");
    }
    let exec = tool(BASE_SKILL, "exec", false);
    let altered = ProgramCall::new("git", &["status".to_owned()], true, false);
    assert_eq!(verdict(&status, &exec, &CallArgument::Program(altered)), "ask", "variables are set for it");
    assert_eq!(verdict(&status, &exec, &CallArgument::Unreadable), "ask");
}

#[test]
fn a_wrapper_is_allowed_only_with_what_it_starts() {
    let table = lists(
        &[
            "exec(env *)",
            "exec(find *)",
            "exec(sh *)",
            "exec(python3 *)",
            "exec(timeout *)",
            "exec(ls*)",
            "exec(node -e *)",
        ],
        &["exec"],
        &[],
    );
    let allowed: [&[&str]; 13] = [
        &["env"],
        &["env", "-S", "ls -l"],
        &["env", "-uS", "ls"],
        &["sh", "-euo", "pipefail", "-c", "ls -l"],
        &["python3", "-W", "ignore", "-u", "build.py", "-c"],
        &["env", "ls", "-l"],
        &["find", ".", "-name", "*.rs"],
        &["find", ".", "-exec", "ls", "{}", ";"],
        &["sh", "build.sh"],
        &["sh", "-c", "ls -l; ls"],
        &["python3", "build.py", "-c"],
        &["timeout", "-k", "1", "5", "ls"],
        &["node", "-e", "1"],
    ];
    for words in allowed {
        assert_eq!(command(&table, words), "allow", "{words:?}");
    }
    let asked: [&[&str]; 26] = [
        &["sh", "-c", "(ls) > x"],
        &["sh", "-c", "{ ls; } > x"],
        &["sh", "-c", "if ls; then ls; fi > x"],
        &["sh", "-c", "> x; ls"],
        &["sh", "-c", "PATH=/tmp; ls"],
        &["sh", "-euo", "pipefail", "-c", "rm x"],
        &["sh", "+eo", "posix", "-c", "rm x"],
        &["env", "-S", "env rm", "x"],
        &["env", "-S", "sh -c", "ls; rm x"],
        &["env", "-vS", "rm x"],
        &["env", "--split-string=env", "rm"],
        &["python3", "-W", "ignore", "-c", "1"],
        &["python3", "--odd", "value", "-c", "1"],
        &["python3", "-Ic", "1"],
        &["env", "watch", "-d", "ls; rm", "x"],
        &["env", "su", "owl", "-c", "rm x"],
        &["env", "rm", "x"],
        &["env", "A=b", "rm", "x"],
        &["find", ".", "-exec", "rm", "{}", ";"],
        &["sh", "-c", "ls; rm x"],
        &["sh", "-c", "ls > x"],
        &["sh", "-ec", "$(cat x)"],
        &["sh", "-c", "PATH=/tmp ls"],
        &["python3", "-c", "1"],
        &["timeout", "5", "rm"],
        &["timeout", "--odd", "ls", "rm"],
    ];
    for words in asked {
        assert_eq!(command(&table, words), "ask", "{words:?}");
    }
}

#[test]
fn a_denied_command_is_found_behind_what_starts_it() {
    let table = lists(&[], &[], &["exec(rm *)"]);
    let denied: [&[&str]; 37] = [
        &["bash", "-euo", "pipefail", "-c", "rm -rf ."],
        &["env", "-S", "env rm", "x"],
        &["perl", "-I", "lib", "-e", "unlink"],
        &["node", "--require", "./x", "-e", "1"],
        &["php", "-d", "a=b", "-r", "1"],
        &["su", "root", "-c", "rm x"],
        &["parallel", "-k", "rm {}", ":::", "a"],
        &["rm"],
        &["rm", "-rf", "."],
        &["/bin/rm", "x"],
        &["RM", "x"],
        &["rm.exe", "x"],
        &["sh", "-c", "rm x"],
        &["/bin/bash", "-lc", "cd a && rm x"],
        &["sh", "-c", "echo a; 'r'm x"],
        &["sh", "-c", "true | xargs rm"],
        &["sh", "-c", "if true; then rm x; fi"],
        &["sh", "-c", "for i in a; do rm $i; done"],
        &["sh", "-c", "A=b rm x"],
        &["sh", "-c", "(rm x)"],
        &["sh", "-c", "echo a\nrm x"],
        &["sh", "-c", "$X y"],
        &["sh", "-c", "echo $(rm x)"],
        &["sh", "-c", "eval \"$X\""],
        &["sh", "-c", "echo 'unterminated"],
        &["env", "-i", "A=b", "rm", "x"],
        &["env", "-S", "rm x"],
        &["nice", "-n", "5", "rm", "x"],
        &["nice", "-n5", "rm", "x"],
        &["timeout", "-s", "KILL", "5", "rm", "x"],
        &["xargs", "-0", "-n", "1", "rm"],
        &["find", ".", "-name", "x", "-exec", "rm", "{}", "+"],
        &["sudo", "-u", "owl", "rm", "x"],
        &["busybox", "rm", "x"],
        &["nohup", "env", "timeout", "5", "sh", "-c", "rm x"],
        &["python3", "-c", "import os"],
        &["watch", "ls;", "rm", "x"],
    ];
    for words in denied {
        assert_eq!(command(&table, words), "deny", "{words:?}");
    }
    let allowed: [&[&str]; 13] = [
        &["ls"],
        &["echo", "rm", "x"],
        &["rmdir", "x"],
        &["git", "rm", "x"],
        &["sh", "-c", "echo rm; ls \"$HOME\" > out # rm"],
        &["sh", "rm.sh"],
        &["env"],
        &["timeout", "5", "echo", "rm"],
        &["find", ".", "-name", "rm"],
        &["python3", "x.py", "-c", "rm"],
        &["awk", "{print $1}", "x"],
        &["grep", "rm *", "x"],
        &["xargs", "grep", "rm"],
    ];
    for words in allowed {
        assert_eq!(command(&table, words), "allow", "{words:?}");
    }
}

#[test]
fn a_program_alone_is_denied_with_all_arguments_and_allowed_without() {
    assert_eq!(command(&lists(&[], &[], &["exec(rm)"]), &["rm", "x"]), "deny");
    let ls = lists(&["exec(ls)"], &["exec"], &[]);
    assert_eq!((command(&ls, &["ls"]), command(&ls, &["ls", "-l"])), ("allow", "ask"));
    let message = lists(&["exec(git commit -m \"a *\")"], &["exec"], &[]);
    assert_eq!(command(&message, &["git", "commit", "-m", "a *"]), "allow", "a star in quotes is a star");
    assert_eq!(command(&message, &["git", "commit", "-m", "a b"]), "ask");
}

#[test]
fn deep_nesting_is_not_followed_and_denied() {
    let deny = lists(&[], &[], &["exec(rm *)"]);
    let words: Vec<&str> = std::iter::repeat_n("env", 10_000).chain(["true"]).collect();
    assert_eq!(command(&deny, &words), "deny");
}

#[test]
fn paths_are_compared_as_written_and_without_links() {
    let table = lists(&["writeTextFile(src/**)"], &["writeTextFile"], &["writeTextFile(src/keys/*.pem)"]);
    for (written, real, expected) in [
        ("/work/src/a.rs", "/work/src/a.rs", "allow"),
        ("/work/src/a/b/ü.rs", "/work/src/a/b/ü.rs", "allow"),
        ("/work/srcs/a.rs", "/work/srcs/a.rs", "ask"),
        ("/work/a.rs", "/work/a.rs", "ask"),
        ("/etc/src/a.rs", "/etc/src/a.rs", "ask"),
        ("/work/src/link/a.rs", "/work/other/a.rs", "ask"),
        ("/work/link/a.rs", "/work/src/a.rs", "ask"),
        ("/given/src/a.rs", "/work/src/a.rs", "allow"),
        ("/work/src/keys/a.pem", "/work/src/keys/a.pem", "deny"),
        ("/work/src/link/a.pem", "/work/src/keys/a.pem", "deny"),
        ("/work/src/keys/deep/a.pem", "/work/src/keys/deep/a.pem", "allow"),
    ] {
        assert_eq!(path(&table, "writeTextFile", written, real), expected, "{written}");
    }
    let trees = lists(&[], &[], &["deleteDirectory(src/keys/**)", "deleteFile(src/keys/**)"]);
    for (name, written, expected) in [
        ("deleteDirectory", "/work/src/keys", "deny"),
        ("deleteDirectory", "/work/src", "deny"),
        ("deleteDirectory", "/work", "deny"),
        ("deleteDirectory", "/work/docs", "allow"),
        ("deleteFile", "/work/src/keys/a", "deny"),
        ("deleteFile", "/work/src/a", "allow"),
    ] {
        assert_eq!(path(&trees, name, written, written), expected, "{name} {written}");
    }
    let absolute = lists(&[], &[], &["readTextFile(/etc/**)"]);
    assert_eq!(path(&absolute, "readTextFile", "/work/link", "/etc/passwd"), "deny");
    assert_eq!(path(&absolute, "readTextFile", "/work/etc/passwd", "/work/etc/passwd"), "allow");
}

#[test]
fn a_long_path_is_compared_at_once() {
    let table = lists(&[], &[], &[&format!("readTextFile({}b)", "**/a/".repeat(12))]);
    let names = "/a".repeat(400);
    assert_eq!(path(&table, "readTextFile", &format!("/work{names}"), &format!("/work{names}")), "allow");
    assert_eq!(path(&table, "readTextFile", &format!("/work{names}/b"), &format!("/work{names}/b")), "deny");
}

#[test]
fn what_is_no_pattern_is_refused_with_the_reason() {
    for (text, begins) in [
        ("", "a pattern is empty"),
        (" ", "a pattern is empty"),
        ("exec(", "a pattern ends within its ("),
        ("exec)", "a pattern has a ) without a ("),
        ("exec()", "a pattern has nothing within its ()"),
        ("exec(a) b", "a pattern ends within its ("),
        ("(a)", "a pattern begins with the name of a tool"),
        ("my tool", "a pattern begins with the name of a tool"),
        ("exec(\"a)", "a pattern ends within its quotes"),
        ("exec(a\\)", "a pattern ends with a \\"),
        ("exce(rm)", "\"exce\" takes no pattern of arguments"),
        ("web.get(a)", "\"web.get\" takes no pattern of arguments"),
        ("writeTextFile(../a)", "a path of a pattern has no .. in it"),
        ("writeTextFile(~/a)", "a path of a pattern is relative to the workspace"),
        ("writeTextFile(a**)", "** of a path pattern is a whole name"),
    ] {
        let error = text.parse::<PermissionPattern>().unwrap_err();
        assert!(error.to_string().starts_with(begins), "{text:?}: {error}");
    }
    assert_eq!("exce(rm)".parse::<PermissionPattern>().unwrap_err().unknown.unwrap().0, "exce");
    for text in ["*", "exec(*)", "@perstack/base.exec(rm *)", "writeTextFile(./src//x)", "exec(a(b))"] {
        assert_eq!(text.parse::<PermissionPattern>().unwrap().to_string(), text);
    }
    let all = "exec(*)".parse::<PermissionPattern>().unwrap();
    assert!(!all.has_argument());
}

#[test]
fn permissions_read_back_as_they_were_written() {
    let table = lists(&["exec(git status*)"], &[], &["*"]);
    let text = serde_json::to_string(&table).unwrap();
    assert_eq!(text, r#"{"allow":["exec(git status*)"],"deny":["*"]}"#);
    assert_eq!(serde_json::from_str::<Permissions>(&text).unwrap(), table);
    assert!(serde_json::from_str::<Permissions>(r#"{"deny":["exec("]}"#).is_err());
}

#[test]
fn no_pattern_of_a_project_makes_an_exception_to_one_of_its_user_and_flags_do() {
    let exec = tool(BASE_SKILL, "exec", false);
    let decide = |run: &Permissions, user: &Permissions, project: &Permissions| {
        let (run, none) = (RunPermissions { lists: run.clone(), read_only: false }, Permissions::default());
        let rules = PermissionRules { run: &run, user, project, expert: &none };
        rules.decide(&CallSubject { tool: &exec, own_name: "exec", argument: &CallArgument::None })
    };
    let none = Permissions::default();
    let (allows, asks, denies) = (lists(&["exec"], &[], &[]), lists(&[], &["*"], &[]), lists(&[], &[], &["exec"]));
    assert_eq!(decide(&none, &asks, &allows), PermissionVerdict::Asks("ask = * of your config.toml".to_owned()));
    assert_eq!(decide(&allows, &asks, &none), PermissionVerdict::Allowed(Some("--allow exec".to_owned())));
    assert_eq!(
        decide(&none, &denies, &allows),
        PermissionVerdict::Denied("deny = exec of your config.toml".to_owned())
    );
    assert!(matches!(decide(&allows, &denies, &none), PermissionVerdict::Denied(_)), "a denial has no exceptions");
    let by_user = Some("allow = exec of your config.toml".to_owned());
    assert_eq!(decide(&none, &allows, &asks), PermissionVerdict::Allowed(by_user));
    assert!(matches!(decide(&none, &allows, &denies), PermissionVerdict::Denied(_)));
    let closed = lists(&["readTextFile"], &[], &[]);
    let names_others = "allow of your config.toml names other calls".to_owned();
    assert_eq!(decide(&none, &closed, &allows), PermissionVerdict::Asks(names_others));
}
