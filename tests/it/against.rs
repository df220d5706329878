//! `perstack replay FILE --against CONFIG`: the same, or the first step that differs, with both values and the cause.

use serde_json::{Value, json};

use crate::support::tool_server::{command_skill, program};
use crate::support::{Answer, Provider, Test, call};

const TOML: &str = r#"
[experts.librarian]
instruction = "You lead."
delegates = ["worker"]
context = ["AGENTS.md"]
[experts.librarian.skills."@perstack/base"]
type = "mcpStdioSkill"
command = "npx"
packageName = "@perstack/base"
pick = ["readTextFile", "exec", "attemptCompletion"]
[experts.worker]
instruction = "You work."
description = "Does one task."
"#;

/// A job that reads a file in its first step, asks a delegate in the second, and ends in the fourth.
fn recorded() -> Test {
    let test = Test::new().toml(TOML).provider(Provider::Anthropic);
    let test = test.file("owl.txt", "An owl.").file("AGENTS.md", "Hoot twice.");
    let test = test.answers([
        Answer::calls([call("c1", "readTextFile", json!({"path": "owl.txt"}))]),
        Answer::calls([call("d1", "worker", json!({"query": "Count."}))]),
        Answer::text("One."),
        Answer::text("Done."),
    ]);
    test.run(["run", "librarian", "Go.", "--record", "c.cassette"]).assert_code(0);
    test
}

/// The difference from a configuration with this change, as JSON.
fn difference(test: &Test, from: &str, to: &str) -> Value {
    let changed = TOML.replacen(from, to, 1);
    assert_ne!(changed, TOML, "{from}");
    std::fs::write(test.workspace().join("other.toml"), changed).unwrap();
    let ran = test.run(["replay", "c.cassette", "--against", "other.toml", "--output", "json"]).assert_code(1);
    let object = ran.object();
    assert_eq!(object["same"], false);
    object["difference"].clone()
}

fn place(difference: &Value) -> (&str, u64, &str, &str) {
    let text = |key: &str| difference[key].as_str().unwrap_or_default();
    (text("expert"), difference["step"].as_u64().unwrap(), text("cause"), text("name"))
}

#[test]
fn a_recording_that_was_cut_short_is_never_the_same() {
    let test = recorded();
    let whole = std::fs::read_to_string(test.workspace().join("c.cassette")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    for kept in [lines.len() - 1, lines.len() - 2] {
        std::fs::write(test.workspace().join("c.cassette"), lines[..kept].join("\n") + "\n").unwrap();
        let ran = test.run(["replay", "c.cassette", "--against", "perstack.toml"]).assert_code(1);
        assert!(ran.stdout.contains(&format!("cut short: the last whole line is {kept}")), "{}", ran.stdout);
    }
}

#[test]
fn the_same_configuration_is_the_same_and_nothing_is_asked() {
    let test = recorded();
    let ran = test.run(["replay", "c.cassette", "--against", "perstack.toml"]).assert_code(0);
    assert!(ran.stdout.starts_with("same: ") && ran.stdout.ends_with("as recorded\n"), "{}", ran.stdout);
    // What no request has makes no difference.
    std::fs::write(test.workspace().join("other.toml"), format!("maxSteps = 50\n{TOML}")).unwrap();
    let ran = test.run(["replay", "c.cassette", "--against", "other.toml", "--output", "json"]).assert_code(0);
    assert_eq!(ran.object(), json!({"same": true}));
    assert_eq!(test.server().requests().len(), 4);
}

#[test]
fn each_change_is_named_with_its_step_and_cause() {
    let test = recorded();
    let found = difference(&test, "You lead.", "You follow.");
    assert_eq!(place(&found), ("librarian", 1, "instruction", ""));
    assert!(found["recorded"].as_str().unwrap().contains("You lead."));
    assert!(found["now"].as_str().unwrap().contains("You follow."));
    let found = difference(&test, "You work.", "You rest.");
    assert_eq!(place(&found), ("worker", 3, "instruction", ""));
    let found = difference(&test, "\"exec\", ", "");
    assert_eq!(place(&found), ("librarian", 1, "tool definition", "exec"));
    assert!(found["now"].as_str().unwrap().is_empty());
    let found = difference(
        &test,
        "[experts.librarian]\n",
        "permissions = { deny = [\"readTextFile\"] }\n[experts.librarian]\n",
    );
    assert_eq!(place(&found), ("librarian", 2, "tool result", ""));
    assert!(found["now"].as_str().unwrap().contains("denied by"), "{found}");
    let found = difference(&test, "[experts.librarian]\n", "maxSteps = 2\n[experts.librarian]\n");
    assert_eq!((found["cause"].as_str(), found["recorded"].as_str()), (Some("end"), Some("completed")));
}

#[test]
fn a_server_that_was_not_recorded_differs_until_its_tools_are_locked() {
    let skill = |arguments: &[&str]| command_skill("owls", program(), arguments);
    let test = Test::new().toml(&format!("{TOML}{}", skill(&["rough"]))).provider(Provider::Anthropic);
    let test = test.file("owl.txt", "An owl.").file("AGENTS.md", "Hoot twice.");
    let test = test.answers([Answer::calls([call("c1", "echo", json!({"text": "owl"}))]), Answer::text("Done.")]);
    test.run(["run", "librarian", "Go.", "--trust", "--record", "c.cassette"]).assert_code(0);
    let test = test.file("a.test.toml", "[cases.night]\ncassette = \"c.cassette\"\n");
    let against = |toml: &str| {
        std::fs::write(test.workspace().join("other.toml"), toml).unwrap();
        let ran = test.run(["replay", "c.cassette", "--against", "other.toml", "--output", "json"]);
        let tested = test.run(["test", "--config", "other.toml"]);
        assert_eq!(ran.code, tested.code, "{}", tested.stdout);
        ran
    };
    // The recorded one, with fewer of its tools than it has, and with other words about it.
    let same = format!("{TOML}{}", skill(&["rough"]));
    against(&same).assert_code(0);
    against(&format!("{same}startTimeout = 5000\n")).assert_code(0);
    let fewer = against(&format!("{same}pick = [\"echo\"]\n")).assert_code(1).object();
    assert_ne!(fewer["difference"]["name"], "owls", "{fewer}");
    // Another, under the same name and a new one.
    for (toml, recorded) in [
        (format!("{TOML}{}", skill(&["rough", "pages=2"])), true),
        (format!("{same}{}", command_skill("bees", "no-such-server", &["x"])), false),
        (
            format!(
                "{same}[experts.librarian.skills.far]\ntype = \"mcpSseSkill\"\nendpoint = \"https://owls.example/mcp\"\n"
            ),
            false,
        ),
    ] {
        let found = against(&toml).assert_code(1).object()["difference"].clone();
        let (expert, step, cause, name) = place(&found);
        assert_eq!((expert, step, cause), ("librarian", 1, "tool definition"), "{found}");
        assert!(["owls", "bees", "far"].contains(&name), "{found}");
        assert!(found["hint"].as_str().unwrap().contains("perstack install"), "{found}");
        assert_eq!(found["recorded"].as_str().unwrap().is_empty(), !recorded, "{found}");
    }
    assert!(
        test.run(["test", "--config", "other.toml"]).stdout.contains("hint: neither the recording nor a fresh lock")
    );
    // With its tools in a lock it is like any other.
    let other = command_skill("owls", "sh", &["-c", &format!("exec '{}' rough", program())]);
    against(&format!("{TOML}{other}")).assert_code(1);
    test.run(["install", "--config", "other.toml", "--trust"]).assert_code(0);
    test.run(["replay", "c.cassette", "--against", "other.toml"]).assert_code(0);
}

#[test]
fn a_model_and_a_context_file_are_causes_too() {
    let test = recorded();
    let ran =
        test.run(["replay", "c.cassette", "--against", "perstack.toml", "--model", "claude-haiku-4-5"]).assert_code(1);
    assert!(ran.stdout.starts_with("step 1 of expert librarian differs: model\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("+ claude-haiku-4-5\n"), "{}", ran.stdout);
    let test = test.file("AGENTS.md", "Hoot once.");
    let ran = test.run(["replay", "c.cassette", "--against", "perstack.toml"]).assert_code(1);
    assert!(ran.stdout.contains("differs: context file AGENTS.md\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("- Hoot twice.\n+ Hoot once.\n"), "{}", ran.stdout);
}

#[test]
fn a_model_that_the_recording_was_asked_for_is_kept() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("Done.")]);
    test.run(["run", "librarian", "Go.", "--record", "c.cassette", "--model", "claude-haiku-4-5"]).assert_code(0);
    test.run(["replay", "c.cassette", "--against", "perstack.toml"]).assert_code(0);
    test.run(["replay", "c.cassette", "--against", "perstack.toml", "--model", "claude-opus-4-5"]).assert_code(1);
}

#[test]
fn a_configuration_that_cannot_be_used_is_no_difference() {
    let test = recorded();
    std::fs::write(test.workspace().join("other.toml"), "[experts.owl]\ninstruction = \"x\"\n").unwrap();
    let ran = test.run(["replay", "c.cassette", "--against", "other.toml"]).assert_code(2);
    assert!(ran.stderr.contains("librarian"), "{}", ran.stderr);
    test.run(["replay", "c.cassette", "--against", "nowhere.toml"]).assert_code(2);
    test.run(["replay", "c.cassette", "--model", "m"]).assert_code(2);
    test.run(["replay", "c.cassette", "--against", "perstack.toml", "--output", "jsonl"]).assert_code(2);
}

#[test]
fn every_cause_is_named_whatever_the_protocol() {
    let toml = format!("model = \"m\"\nreasoningBudget = \"low\"\n{TOML}");
    Provider::each(|provider| {
        let test = Test::new().toml(&toml).provider(provider);
        let test = test.file("owl.txt", "An owl.").file("AGENTS.md", "Hoot twice.");
        let test = test.answers([
            Answer::calls([call("c1", "readTextFile", json!({"path": "owl.txt"}))]),
            Answer::calls([call("d1", "worker", json!({"query": "Count."}))]),
            Answer::text("One."),
            Answer::text("Done."),
        ]);
        test.run(["run", "librarian", "Go.", "--record", "c.cassette"]).assert_code(0);
        let toml = std::fs::read_to_string(test.workspace().join("perstack.toml")).unwrap();
        let against = |text: &str| {
            std::fs::write(test.workspace().join("other.toml"), text).unwrap();
            let ran = test.run(["replay", "c.cassette", "--against", "other.toml", "--output", "json"]);
            let object = ran.object();
            (ran.code, object["difference"].clone())
        };
        assert_eq!(against(&toml).0, Some(0));
        let deny = "permissions = { deny = [\"readTextFile\"] }\n";
        for (from, to, step, cause, name) in [
            ("model = \"m\"", "model = \"other\"", 1, "model", ""),
            ("You lead.", "You follow.", 1, "instruction", ""),
            ("description = \"Does one task.\"", "description = \"Does two.\"", 1, "delegate", "worker"),
            ("delegates = [\"worker\"]", "delegates = []", 1, "delegate", "worker"),
            ("context = [\"AGENTS.md\"]", "context = [\"AGENTS.md\", \"owl.txt\"]", 1, "context file", "owl.txt"),
            ("context = [\"AGENTS.md\"]\n", "", 1, "context file", "AGENTS.md"),
            ("\"exec\", ", "", 1, "tool definition", "exec"),
            ("model = \"m\"", &format!("{deny}model = \"m\""), 2, "tool result", ""),
            ("model = \"m\"", "maxSteps = 2\nmodel = \"m\"", 4, "end", ""),
        ] {
            let changed = toml.replacen(from, to, 1);
            assert_ne!(changed, toml, "{from}");
            let (code, found) = against(&changed);
            assert_eq!((code, place(&found)), (Some(1), ("librarian", step, cause, name)), "{to}: {found}");
        }
        let changed = toml.replacen("You work.", "You rest.", 1);
        assert_eq!(place(&against(&changed).1), ("worker", 3, "instruction", ""));
        // The file itself.
        std::fs::write(test.workspace().join("AGENTS.md"), "Hoot once.").unwrap();
        assert_eq!(place(&against(&toml).1), ("librarian", 1, "context file", "AGENTS.md"));
        std::fs::write(test.workspace().join("AGENTS.md"), "Hoot twice.").unwrap();
        // A setting: not every protocol has a field for it, and none calls it anything else.
        let (code, found) = against(&toml.replacen("\"low\"", "\"high\"", 1));
        assert!(code == Some(0) || place(&found).2 == "setting", "{found}");

        // A request behind the last one that was recorded.
        let short = Test::new().toml(&format!("maxSteps = 1\n{TOML}")).provider(provider).file("owl.txt", "An owl.");
        let read = Answer::calls([call("c1", "readTextFile", json!({"path": "owl.txt"}))]);
        let short = short.file("AGENTS.md", "Hoot.").answers([read]);
        short.run(["run", "librarian", "Go.", "--record", "c.cassette"]).assert_code(3);
        let toml = std::fs::read_to_string(short.workspace().join("perstack.toml")).unwrap();
        std::fs::write(short.workspace().join("other.toml"), toml.replacen("maxSteps = 1\n", "", 1)).unwrap();
        let ran = short.run(["replay", "c.cassette", "--against", "other.toml", "--output", "json"]).assert_code(1);
        assert_eq!(place(&ran.object()["difference"]), ("librarian", 2, "conversation", ""));
    });
}

#[test]
fn flags_of_the_recorded_command_are_a_part_of_its_input() {
    let test =
        Test::new().toml(TOML).provider(Provider::Anthropic).file("AGENTS.md", "Hoot.").file("owl.txt", "An owl.");
    let owl = test.workspace().join("owl.txt").display().to_string();
    let read = Answer::calls([call("c1", "readTextFile", json!({"path": owl}))]);
    let test = test.answers([read.clone(), read.clone(), Answer::text("Done.")]);
    // With a limit that ends it, and one that is in its requests.
    let deny = format!("readTextFile({owl})");
    let arguments = [
        "run",
        "librarian",
        "Go.",
        "--record",
        "c.cassette",
        "--reasoning-budget",
        "2000",
        "--max-steps",
        "2",
        "--deny",
        &deny,
    ];
    let ran = test.run(arguments).assert_code(3);
    assert!(ran.stderr.contains("denied"), "{}", ran.stderr);
    test.run(["replay", "c.cassette", "--against", "perstack.toml"]).assert_code(0);
    // What a configuration has is compared: it has another budget of reasoning for those without the flag.
    std::fs::write(test.workspace().join("other.toml"), format!("maxSteps = 9\nreasoningBudget = \"high\"\n{TOML}"))
        .unwrap();
    test.run(["replay", "c.cassette", "--against", "other.toml"]).assert_code(0);
    test.run(["run", "librarian", "Go.", "--record", "d.cassette", "--reasoning-budget", "2000"]).assert_code(0);
    test.run(["replay", "d.cassette", "--against", "other.toml"]).assert_code(0);
}

#[test]
fn the_address_of_a_provider_is_no_part_of_the_comparison() {
    for provider in [Provider::Anthropic, Provider::Google, Provider::Azure, Provider::Bedrock, Provider::Vertex] {
        let test = Test::with(provider).answers([Answer::text("Done.")]);
        test.run(["run", "librarian", "Go.", "--record", "c.cassette"]).assert_code(0);
        let (variable, _) = provider.address();
        let test = test.env(variable, "https://gateway.example.org/some/where");
        test.run(["replay", "c.cassette", "--against", "perstack.toml"]).assert_code(0);
        test.run(["replay", "c.cassette", "--against", "perstack.toml", "--model", "other"]).assert_code(1);
    }
}

#[test]
fn no_name_of_a_server_is_recorded() {
    let toml = "[experts.librarian]\ninstruction = \"You lead.\"\n[experts.librarian.skills.far]\ntype = \"mcpSseSkill\"\n\
                endpoint = \"https://owls.corp.example/mcp\"\n";
    let test = Test::new().toml(toml).provider(Provider::Ollama);
    let port = test.server().url("").rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    let test = test.unset("OLLAMA_BASE_URL").env("OLLAMA_HOST", &format!("localhost:{port}"));
    let test = test.env("AZURE_RESOURCE_NAME", "owls-corp");
    // The skill is not there, which ends the job behind what is recorded of its beginning.
    test.run(["run", "librarian", "Go.", "--record", "c.cassette", "--trust"]).assert_code(2);
    let whole = std::fs::read_to_string(test.workspace().join("c.cassette")).unwrap();
    for hidden in ["owls.corp", "localhost", &port] {
        assert!(!whole.contains(hidden), "{hidden} in {whole}");
    }
}
