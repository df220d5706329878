//! Which tools of a server the model is offered.

use serde_json::json;

use super::{calling, tool_results};
use crate::support::signpost::Signpost;
use crate::support::tool_server::{librarian, lines, stdio_skill};
use crate::support::{Answer, Gate, Provider, Test, call};

/// The tools that the model of a test is offered, without the loop's own.
#[track_caller]
fn offered(test: Test) -> (Vec<String>, String) {
    let test = test.answers([Answer::text("Done.")]);
    let ran = test.run(["run", "librarian", "Look."]).assert_code(0);
    let requests = test.server().requests();
    let own = ["attemptCompletion", "todo", "clearTodo"];
    let tools = requests[0].tools().into_iter().filter(|tool| !own.contains(tool)).map(str::to_owned).collect();
    (tools, ran.stderr)
}

#[test]
fn every_page_is_asked_for() {
    let (tools, _) = offered(librarian(&stdio_skill("owls", ["rough", "list=pages"])));
    assert_eq!((tools[0].as_str(), tools[1].as_str(), tools.last().unwrap().as_str()), ("echo", "refuse", "roots"));
    assert_eq!(tools, offered(librarian(&stdio_skill("owls", ["rough"]))).0);
}

#[test]
fn a_server_without_tools_is_no_failure() {
    let (tools, _) = offered(librarian(&stdio_skill("owls", ["rough", "list=none"])));
    assert_eq!(tools, Vec::<String>::new());
}

#[test]
fn tools_that_no_model_could_use_are_left_out_and_named() {
    let (tools, stderr) = offered(librarian(&stdio_skill("owls", ["rough", "list=odd"])));
    assert_eq!(tools.iter().filter(|tool| *tool == "echo").count(), 1, "{tools:?}");
    assert!(tools.contains(&"bare".to_owned()) && !tools.contains(&"untyped".to_owned()), "{tools:?}");
    let is_sound = |name: &String| {
        (1..=128).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    assert!(tools.iter().all(is_sound), "{tools:?}");
    for name in ["find owls!", "untyped"] {
        assert!(stderr.contains(name), "no warning of {name}:\n{stderr}");
    }
}

#[test]
fn a_name_that_is_too_long_for_a_provider_is_shortened_there() {
    let name = "hoot".repeat(20);
    let skill = || stdio_skill("owls", ["rough", &format!("first={name}")]);
    let all = librarian(&skill()).run(["list-tools"]).assert_code(0).stdout;
    assert!(all.contains(&name), "{all}");
    let (tools, stderr) = offered(librarian(&skill()).provider(Provider::OpenAiChat));
    let short = tools.iter().find(|tool| tool.starts_with("hoot")).unwrap();
    assert_eq!(short.len(), 64, "{tools:?}");
    assert!(!stderr.contains("left out"), "{stderr}");
}

#[test]
fn pick_and_omit_choose() {
    let skill = stdio_skill("owls", ["polite"]);
    let (tools, _) = offered(librarian(&format!("{skill}pick = [\"image\", \"echo\", \"unknown\"]\n")));
    assert_eq!(tools, ["echo", "image"]);
    let (tools, _) = offered(librarian(&format!("{skill}pick = [\"image\", \"echo\"]\nomit = [\"echo\"]\n")));
    assert_eq!(tools, ["image"]);
    let (tools, _) = offered(librarian(&format!("{skill}omit = [\"echo\"]\n")));
    assert!(!tools.contains(&"echo".to_owned()) && tools.contains(&"fail".to_owned()), "{tools:?}");
}

#[test]
fn a_name_that_fits_no_tool_is_a_warning_and_a_mistake_for_install_and_check() {
    let skill = |lists: &str| librarian(&format!("{}{lists}", stdio_skill("owls", ["polite"])));
    let misspelt = "pick = [\"ecko\", \"image\"]\nomit = [\"fial\"]\n";
    let words = [
        "pick names \"ecko\", which is no tool of its server: did you mean \"echo\"?",
        "omit names \"fial\", which is no tool of its server: did you mean \"fail\"?",
    ];
    let (tools, stderr) = offered(skill(misspelt));
    assert_eq!(tools, ["image"]);
    let test = skill(misspelt);
    let listed = test.run(["list-tools"]).assert_code(0).stderr;
    let refused = test.run(["install"]).assert_code(2).stderr;
    assert!(!test.workspace().join("perstack.lock").exists());
    for word in words {
        for text in [&stderr, &listed, &refused] {
            assert!(text.contains(word), "no {word}:\n{text}");
        }
    }
    let right = skill("pick = [\"echo\", \"image\"]\nomit = [\"fail\"]\n");
    let installed = right.run(["install"]).assert_code(0).stderr;
    let checked = right.run(["check"]).assert_code(0).stdout;
    let listed = right.run(["list-tools"]).assert_code(0).stderr;
    for text in [installed, checked, listed] {
        assert!(!text.contains("no tool of its server"), "{text}");
    }
    // The names are corrected, locked, and misspelt again.
    let lock = |test: &Test| test.workspace().join("perstack.lock");
    std::fs::copy(lock(&right), lock(&test)).unwrap();
    let checked = test.run(["check"]).assert_code(2).stdout;
    for word in words {
        assert!(checked.contains(word), "no {word}:\n{checked}");
    }
}

#[test]
fn tools_that_are_left_out_are_reported_wherever_they_would_be_listed() {
    let test = librarian(&stdio_skill("owls", ["rough", "list=odd"])).answers([Answer::text("Done.")]);
    let live = test.run(["list-tools", "--live"]).assert_code(0).stderr;
    let installed = test.run(["install"]).assert_code(0).stderr;
    let listed = test.run(["list-tools"]).assert_code(0).stderr;
    let checked = test.run(["check"]).assert_code(0).stdout;
    let ran = test.run(["run", "--locked", "librarian", "Look."]).assert_code(0).stderr;
    for text in [live, installed, listed, checked, ran] {
        for word in ["the input schema of tool untyped is not of type \"object\"; the tool is left out", "tool listed"]
        {
            assert!(text.contains(word), "no {word}:\n{text}");
        }
    }
}

#[test]
fn of_two_tools_with_one_name_the_first_counts_and_the_other_is_named() {
    let skills = format!(
        "{}pick = [\"count\", \"echo\"]\n{}",
        stdio_skill("numbers", ["polite"]),
        stdio_skill("shelves", ["rough", "first=count", "diary=diary"])
    );
    let test =
        librarian(&skills).answers([Answer::calls([call("c1", "count", json!({"to": 2}))]), Answer::text("Done.")]);
    let ran = test.run(["run", "librarian", "Look."]).assert_code(0);
    for word in ["count", "numbers", "shelves"] {
        assert!(ran.stderr.contains(word), "no {word}:\n{}", ran.stderr);
    }
    let requests = test.server().requests();
    assert_eq!(requests[0].tools().iter().filter(|tool| **tool == "count").count(), 1);
    assert_eq!(requests[1].results()[0].1, "counted to 2");
    assert!(!lines(&test, "diary").contains(&"called count".to_owned()));
}

/// A server whose tools change with its first call, and what the model was asked after the new list was fetched.
#[track_caller]
fn growing(last: &str) -> Vec<crate::support::request::Request> {
    let skill = stdio_skill("owls", ["rough", "list=growing", "relisted=relisted"]);
    let relisted = Gate::new();
    let test = librarian(&skill).answers([
        Answer::calls([call("c1", "grow", json!({}))]),
        Answer::calls([call("c2", "echo", json!({"text": "a"}))]).delay(&relisted),
        // By the answer to this call, the list that came before it over the same pipe is known.
        Answer::calls([call("c3", "echo", json!({"text": "b"}))]),
        Answer::calls([call("c4", last, json!({"text": "c"}))]),
        Answer::text("Done."),
    ]);
    let signpost = Signpost::at(&test.workspace(), "relisted");
    let running = test.spawn(["run", "librarian", "Look."]);
    running.wait_for_request(2);
    signpost.wait();
    relisted.open();
    running.finish().assert_code(0);
    test.server().requests()
}

#[test]
fn a_server_that_reports_changed_tools_is_asked_again() {
    let requests = growing("echo");
    assert_eq!(tool_results(&requests[4]).pop().unwrap(), ("echo: c".to_owned(), false));
}

#[test]
fn tools_that_come_later_are_offered() {
    let requests = growing("grown");
    assert!(!requests[0].tools().contains(&"grown"));
    assert!(requests[3].tools().contains(&"grown"), "{:?}", requests[3].tools());
    assert_eq!(tool_results(&requests[4]).pop().unwrap(), ("grown: c".to_owned(), false));
}

#[test]
fn list_tools_shows_them() {
    let test = librarian(&format!("{}pick = [\"echo\", \"fail\"]\n", stdio_skill("owls", ["polite"])));
    let ran = test.run(["list-tools", "--json"]).assert_code(0);
    let rows = ran.object();
    let rows: Vec<_> = rows.as_array().unwrap().iter().filter(|row| row["skill"] == "owls").collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["expert"], "librarian");
    assert_eq!((&rows[0]["name"], &rows[0]["description"]), (&json!("echo"), &json!("Says what it is told")));
    assert_eq!(rows[0]["inputSchema"]["properties"]["text"]["type"], "string");
    assert_eq!(rows[0]["kind"], "mcp");
    assert_eq!((&rows[0]["hints"]["readOnly"], &rows[1]["hints"]["readOnly"]), (&json!(true), &json!(false)));
    let table = test.run(["list-tools"]).assert_code(0).stdout;
    assert!(table.lines().any(|line| line.contains("owls") && line.contains("Returns an error")), "{table}");
}

#[test]
fn list_tools_names_the_server_that_fails_and_leaves_none_behind() {
    let skills = format!("{}startTimeout = 1000\n", stdio_skill("owls", ["rough", "start=hang", "processes=ids"]));
    let test = librarian(&skills);
    super::assert_refused(&test.run(["list-tools"]), &["owls"]);
    super::assert_gone(super::processes(&test, "ids"));
}

#[test]
fn the_base_skill_and_a_server_go_together() {
    let base = "[experts.librarian.skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \"npx\"\n\
                packageName = \"@perstack/base\"\npick = [\"writeTextFile\"]\n";
    let test = librarian(&format!("{base}{}", stdio_skill("owls", ["polite"])));
    let calls = [("writeTextFile", json!({"path": "owl.txt", "text": "owl"})), ("echo", json!({"text": "owl"}))];
    let (test, requests) = calling(test, calls);
    assert_eq!(std::fs::read_to_string(test.workspace().join("owl.txt")).unwrap(), "owl");
    assert_eq!(tool_results(&requests[2])[1].0, "echo: owl");
}
