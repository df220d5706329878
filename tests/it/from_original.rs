//! Files, flags and habits of the original's users: what they mean here, or how their absence is explained.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::process::Ran;
use crate::support::storage::checkpoint_id;
use crate::support::{Answer, Provider, Test, call};

const TWO: &str = "[experts.lead]\ninstruction = \"Lead.\"\ndelegates = [\"@org/nothere\"]\n\
                   [experts.alone]\ninstruction = \"Alone.\"\n";

/// The events of these types, in order.
fn of_types(events: &[Value], types: &[&str]) -> Vec<String> {
    let types = events.iter().filter_map(|event| event["type"].as_str()).filter(|kind| types.contains(kind));
    types.map(str::to_owned).collect()
}

fn run(test: &Test, arguments: &[&str]) -> Ran {
    let mut command = Command::new(test.binary());
    command.args(arguments);
    test.start(command).finish()
}

#[test]
fn a_mistake_in_one_expert_stops_only_runs_that_reach_it() {
    for (mistake, name) in [
        ("delegates = [\"@org/nothere\"]\n", "delegate"),
        ("version = \"one\"\n", "version"),
        ("minRuntimeVersion = \"v2.0\"\n", "minimum"),
        ("[experts.lead.skills.s]\ntype = \"telepathy\"\n", "type"),
        ("[experts.lead.skills.s]\ntype = \"mcpStdioSkill\"\ncommand = \"x\"\n", "command"),
    ] {
        let toml = format!(
            "[experts.alone]\ninstruction = \"Alone.\"\n[experts.above]\ninstruction = \"Above.\"\ndelegates = [\"lead\"]\n\
             [experts.lead]\ninstruction = \"Lead.\"\n{mistake}"
        );
        let test = Test::new().toml(&toml).provider(Provider::Anthropic).answers([Answer::text("Here.")]);
        let ran = test.run(["run", "alone", "q"]).assert_code(0);
        assert_eq!(ran.stdout, "Here.\n");
        ran.snapshot(&format!("from-original/mistake-elsewhere-{name}"));
        for expert in ["lead", "above"] {
            let ran = test.run(["run", expert, "q"]).assert_code(2);
            ran.snapshot(&format!("from-original/mistake-{name}-{expert}"));
        }
        test.run(["check"]).assert_code(2);
        assert_eq!(test.server().requests().len(), 1, "nothing is asked for an expert with mistakes");
    }
}

#[test]
fn a_mistake_outside_experts_stops_every_run() {
    for toml in
        [format!("maxSteps = 0\n{TWO}"), format!("{TWO}[experts.alone]\n"), format!("include = [\"no.toml\"]\n{TWO}")]
    {
        let test = Test::new().toml(&toml).provider(Provider::Anthropic);
        test.run(["run", "alone", "q"]).assert_code(2);
        assert_eq!(test.server().requests().len(), 0);
    }
}

#[test]
fn commands_about_all_experts_name_the_mistakes_of_each() {
    let test = Test::new().toml(TWO).provider(Provider::Anthropic);
    for command in ["install", "list-tools"] {
        test.run([command]).assert_code(2).snapshot(&format!("from-original/all-experts-{command}"));
    }
    assert!(test.run(["list-tools", "alone"]).assert_code(0).stdout.contains("readTextFile"));
}

#[test]
fn a_minimum_runtime_version_is_on_the_originals_scale() {
    for (version, code) in [("v1.0", 0), ("1.0.0", 0), ("v0.9", 0), ("0.0.111", 0), ("v1", 0), ("v1.1", 2), ("2", 2)] {
        let toml = format!("[experts.e]\ninstruction = \"i\"\nminRuntimeVersion = \"{version}\"\n");
        let test = Test::new().toml(&toml).provider(Provider::Anthropic);
        test.server().answer_by(|_| Answer::text("Done."));
        test.run(["run", "e", "q"]).assert_code(code);
    }
}

#[test]
fn gone_commands_and_options_are_explained() {
    let test = Test::with(Provider::Anthropic);
    for (command, name) in [
        (&["start"][..], "start"),
        (&["start", "librarian", "q", "--max-steps", "3"], "start-with-options"),
        (&["publish", "librarian"], "publish"),
        (&["expert", "list"], "expert"),
        (&["run", "librarian", "q", "--runtime", "local"], "runtime"),
        (&["run", "librarian", "q", "--runtime=docker"], "runtime-docker"),
        (&["run", "librarian", "q", "--env", "TOKEN"], "env"),
        (&["run", "librarian", "q", "--config", "https://example.com/perstack.toml"], "config-address"),
        // A neighbour that is only misspelt is clap's to explain.
        (&["rum", "librarian", "q"], "misspelt"),
    ] {
        run(&test, command).assert_code(2).snapshot(&format!("from-original/gone-{name}"));
    }
    assert_eq!(test.server().requests().len(), 0);
}

#[test]
fn a_filter_may_name_types_that_only_the_original_emits() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("One."), Answer::text("Two.")]);
    let ran = test.run(["run", "librarian", "q", "--filter", "completeRun,callDelegate"]).assert_code(0);
    assert_eq!(of_types(&ran.events(), &["completeRun"]), ["completeRun"]);
    assert_eq!(ran.events().len(), 1);
    assert!(ran.stderr.contains("warning: --filter callDelegate"), "{}", ran.stderr);
    let ran = test.run(["run", "librarian", "q", "--filter", "dockerBuildProgress"]).assert_code(0);
    assert_eq!(ran.stdout, "", "such a filter alone is still a filter");
    let ran = test.run(["run", "librarian", "q", "--filter", "completeRub"]).assert_code(2);
    ran.snapshot("from-original/an-unknown-type-gets-a-suggestion");
}

#[test]
fn a_time_limit_of_nothing_is_refused_wherever_it_is_set() {
    let expert = "[experts.librarian]\ninstruction = \"i\"\n";
    let test = Test::new().toml(&format!("timeout = 0\n{expert}")).provider(Provider::Anthropic);
    test.run(["run", "librarian", "q"]).assert_code(2).snapshot("from-original/no-time-in-file");
    let test = Test::with(Provider::Anthropic).env("PERSTACK_TIMEOUT", "0");
    test.run(["run", "librarian", "q"]).assert_code(2).snapshot("from-original/no-time-in-variable");
    let test = Test::new().toml(&format!("timeout = 60000\n{expert}")).provider(Provider::Anthropic);
    test.server().script([Answer::text("Done.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
}

#[test]
fn continue_and_resume_from_work_together() {
    let test =
        Test::with(Provider::Anthropic).answers([Answer::text("One."), Answer::text("Two."), Answer::text("Again.")]);
    test.run(["run", "librarian", "q", "--job-id", "old"]).assert_code(0);
    test.run(["run", "librarian", "q", "--job-id", "new"]).assert_code(0);
    let ran = test.run(["run", "librarian", "again", "--continue", "--resume-from", "01234567-nope"]).assert_code(2);
    ran.snapshot("from-original/resume-from-an-unknown-checkpoint");
    assert_eq!(test.server().requests().len(), 2, "nothing is asked");
    let newest =
        test.storage().checkpoints().into_iter().find(|file| file.to_string_lossy().contains("/new/")).unwrap();
    let id = checkpoint_id(&newest);
    let ran = test.run(["run", "librarian", "again", "--continue", "--resume-from", id]).assert_code(0);
    assert_eq!(ran.stdout, "Again.\n");
    let ran = test.run(["run", "librarian", "q", "--resume-from", "x"]).assert_code(2);
    ran.snapshot("from-original/resume-from-alone");
}

#[test]
fn an_empty_completion_is_asked_for_its_result_once() {
    let empty = |id: &str, arguments: Value| Answer::calls([call(id, "attemptCompletion", arguments)]);
    let test = Test::with(Provider::Anthropic).answers([empty("c1", json!({})), Answer::text("The final words.")]);
    assert_eq!(test.run(["run", "librarian", "q"]).assert_code(0).stdout, "The final words.\n");

    let blank = empty("c1", json!({"result": "  "}));
    let test = Test::with(Provider::Anthropic).answers([blank, empty("c2", json!({"result": "Late."}))]);
    assert_eq!(test.run(["run", "librarian", "q"]).assert_code(0).stdout, "Late.\n");

    // Neighbours: a result, or text beside the call, is the answer at once; a model that stays silent ends.
    let test = Test::with(Provider::Anthropic).answers([empty("c1", json!({})).and_text("Beside.")]);
    assert_eq!(test.run(["run", "librarian", "q"]).assert_code(0).stdout, "Beside.\n");
    let test = Test::with(Provider::Anthropic).answers([empty("c1", json!({})), empty("c2", json!({}))]);
    test.run(["run", "librarian", "q"]).assert_code(0);
}

#[test]
fn what_streams_as_the_result_is_the_result() {
    const TEXT: [&str; 7] = [
        "startStreamingText",
        "streamText",
        "completeStreamingText",
        "startStreamingRunResult",
        "streamRunResult",
        "completeStreamingRunResult",
        "completeRun",
    ];
    let read = || call("c1", "readTextFile", json!({"path": "owls.txt"}));
    let test = Test::with(Provider::Anthropic).file("owls.txt", "Owls.").answers([
        Answer::calls([read()]).and_text("Thinking."),
        Answer::calls([call("c2", "attemptCompletion", json!({"result": "The answer."}))]),
    ]);
    let events = test.run(["run", "librarian", "q", "--output", "jsonl"]).assert_code(0).events();
    let result = ["startStreamingRunResult", "streamRunResult", "completeStreamingRunResult", "completeRun"];
    let thinking = ["startStreamingText", "streamText", "completeStreamingText"];
    assert_eq!(of_types(&events, &TEXT), [&thinking[..], &result[..]].concat());
    let field_of = |kind: &str, field: &str| events.iter().find(|event| event["type"] == kind).unwrap()[field].clone();
    assert_eq!(field_of("completeStreamingText", "text"), "Thinking.");
    assert_eq!(
        [field_of("streamRunResult", "delta"), field_of("completeStreamingRunResult", "text")],
        ["The answer."; 2]
    );

    let test = Test::with(Provider::Anthropic).answers([Answer::text("Owls.")]);
    let events = test.run(["run", "librarian", "q", "--output", "jsonl"]).assert_code(0).events();
    let mut streamed = of_types(&events, &TEXT);
    streamed.dedup();
    assert_eq!(streamed, [&["startStreamingText", "streamText"][..], &result[..]].concat());
}

#[test]
fn a_run_is_announced_before_a_skill_that_fails() {
    let toml = "[experts.librarian]\ninstruction = \"i\"\n[experts.librarian.skills.s]\ntype = \"mcpStdioSkill\"\n\
                command = \"sh\"\nargs = [\"-c\", \"echo broken >&2; exit 3\"]\n";
    let test = Test::new().toml(toml).provider(Provider::Anthropic);
    let ran = test.run(["run", "librarian", "q", "--output", "jsonl"]);
    let types = of_types(&ran.events(), &["initializeRuntime", "skillStarting", "skillConnected", "startRun"]);
    assert_eq!(types, ["initializeRuntime", "skillStarting"]);
    assert!(test.storage().jobs().is_empty(), "a job whose tools cannot be opened is not begun");
}

#[test]
fn ensure_starts_continues_and_repeats_the_answer() {
    let test = Test::with(Provider::Anthropic);
    let ensure = ["run", "librarian", "q", "--job-id", "nightly", "--ensure", "--output", "text"];
    test.server().script([Answer::status(400).message("no")]);
    test.run(ensure).assert_code(1);
    test.server().script([Answer::text("Done.")]);
    assert_eq!(test.run(ensure).assert_code(0).stdout, "Done.\n");
    let asked = test.server().requests().len();
    assert_eq!(test.run(ensure).assert_code(0).stdout, "Done.\n");
    let as_events = ["run", "librarian", "q", "--job-id", "nightly", "--ensure", "--output", "jsonl"];
    let events = test.run(as_events).assert_code(0).events();
    assert_eq!(of_types(&events, &["completeRun"]), ["completeRun"]);
    assert_eq!(test.server().requests().len(), asked, "the answer on record is printed");
    let other = test.run(["run", "librarian", "another", "--job-id", "nightly", "--ensure"]).assert_code(2);
    other.snapshot("from-original/ensure-with-another-query");
    let nameless = test.run(["run", "librarian", "q", "--ensure"]).assert_code(2);
    nameless.snapshot("from-original/ensure-without-an-id");
    let again = test.run(["run", "librarian", "q", "--job-id", "nightly"]).assert_code(2);
    again.snapshot("from-original/a-completed-job-is-not-started-again");
}

#[test]
fn names_that_fit_no_tool_are_a_warning_to_run_and_a_mistake_to_check() {
    let toml = |pick: &str| {
        format!(
            "[experts.librarian]\ninstruction = \"i\"\n[experts.librarian.skills.\"@perstack/base\"]\n\
             type = \"mcpStdioSkill\"\ncommand = \"npx\"\npackageName = \"@perstack/base\"\n{pick}\n"
        )
    };
    for key in ["pick", "omit"] {
        let toml = toml(&format!("{key} = [\"readTextFiel\"]"));
        let test = Test::new().toml(&toml).provider(Provider::Anthropic).answers([Answer::text("Done.")]);
        let place = format!("{key}.0: the skill has no tool \"readTextFiel\"; did you mean \"readTextFile\"?");
        test.run(["run", "librarian", "q"]).assert_code(0).snapshot(&format!("from-original/no-such-tool-{key}"));
        let checked = test.run(["check"]).assert_code(2);
        assert!(checked.stdout.contains(&format!("{place}\n")), "{}", checked.stdout);
        let locked = test.run(["run", "librarian", "q", "--locked"]).assert_code(2);
        locked.snapshot(&format!("from-original/no-such-tool-{key}-locked"));
    }
    let test = Test::new().toml(&toml("pick = [\"readTextFile\", \"todo\"]")).provider(Provider::Anthropic);
    assert!(!test.run(["check"]).stdout.contains("no tool"));
}
