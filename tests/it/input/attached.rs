//! Images and PDF files that are sent along with the query that continues a job: they are on record like the query, and
//! a job that is killed goes on with them.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::signpost::Signpost;
use crate::support::{Answer, Gate, Provider, Test, call};

const IMAGE: &[u8] = b"\x89PNG\r\n\x1a\nowl";

const PDF: &[u8] = b"%PDF-1.7 owls";

/// An expert that can ask, with an image, a PDF and a text at hand.
fn librarian(provider: Provider) -> Test {
    let toml = "[experts.librarian]\ninstruction = \"You find things in books.\"\n\
                [experts.librarian.skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \"npx\"\npackageName = \"@perstack/base\"\n\
                [experts.librarian.skills.ask]\ntype = \"interactiveSkill\"\n\
                [experts.librarian.skills.ask.tools.askUser]\ndescription = \"Asks.\"\n\
                inputJsonSchema = '{\"type\":\"object\",\"properties\":{\"question\":{\"type\":\"string\"}}}'\n";
    let test = Test::new().toml(toml).provider(provider);
    test.file("owl.png", IMAGE).file("owls.pdf", PDF).file("notes.md", "barn\n")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The parts of the last request's last message, in the words of Anthropic's protocol: texts as they are, others by type.
fn last_parts(test: &Test) -> Vec<String> {
    let request = test.server().requests().pop().expect("a request");
    let messages = request.body["messages"].as_array().expect("messages").clone();
    let parts = messages.last().expect("a message")["content"].as_array().expect("parts").clone();
    parts.iter().map(|part| if part["type"] == "text" { text(&part["text"]) } else { text(&part["type"]) }).collect()
}

#[test]
fn a_further_message_takes_images_and_files_along() {
    Provider::each(|provider| {
        let test =
            librarian(provider).answers([Answer::text("Ask."), Answer::text("A barn owl."), Answer::text("Yes.")]);
        test.run(["run", "librarian", "q"]).assert_code(0);
        let ran = test.run(["resume", "latest", "And this?", "--file", "owl.png"]).assert_code(0);
        ran.assert_stderr(["sent along: owl.png (image/png, 11 bytes)\n"]);
        // DeepSeek's models take no images: a note is sent in their place.
        let takes_images = provider != Provider::DeepSeek;
        let image = STANDARD.encode(IMAGE);
        assert_eq!(test.server().requests()[1].contains(&image), takes_images, "{provider:?}");
        test.run(["run", "librarian", "Still?", "--continue", "--file", "owl.png", "--file", "notes.md"])
            .assert_code(0);
        let last = test.server().requests().pop().unwrap();
        let images = last.body.to_string().matches(&image).count();
        assert_eq!(images, if takes_images { 2 } else { 0 }, "{provider:?}: of this message and of the one before");
        assert!(last.contains("Still?\n\nbarn\n\n[The line above is the file notes.md.]"), "{provider:?}");
    });
}

#[test]
fn files_of_a_further_message_are_behind_its_text() {
    let test = librarian(Provider::Anthropic).answers([Answer::text("Ask."), Answer::text("Owls.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    test.run(["resume", "latest", "And these?", "--file", "owls.pdf", "--file", "owl.png"]).assert_code(0);
    assert_eq!(last_parts(&test), ["And these?", "document", "image"]);
}

#[test]
fn a_message_with_an_image_survives_a_kill() {
    let gate = Gate::new();
    let test = librarian(Provider::Anthropic).answers([Answer::text("Ask."), Answer::hang_up().delay(&gate)]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let running = test.spawn(["resume", "latest", "And this?", "--file", "owl.png"]);
    running.wait_for_request(2);
    running.kill();
    running.finish();
    gate.open();
    test.server().script([Answer::text("A barn owl.")]);
    assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "A barn owl.\n");
    assert_eq!(last_parts(&test), ["And this?", "image"]);
}

#[test]
fn an_image_given_while_calls_are_open_joins_behind_their_results() {
    let test = librarian(Provider::Anthropic);
    let sign = Signpost::at(&test.workspace(), "sign");
    let held = json!({
        "command": "sh", "args": ["-c", "echo > sign; sleep 600"], "env": {}, "cwd": ".", "stdout": true, "stderr": true,
    });
    let ask = call("q1", "askUser", json!({"question": "Which owl?"}));
    test.server().script([Answer::calls([call("c1", "exec", held), ask])]);
    let running = test.spawn(["run", "librarian", "Find it."]);
    sign.wait();
    running.kill();
    running.finish();
    // The image waits in the checkpoint until the question is answered.
    test.run(["resume", "latest", "Like this.", "--file", "owl.png"]).assert_code(4);
    test.server().script([Answer::text("Found.")]);
    assert_eq!(test.run(["resume", "latest", "The barn owl."]).assert_code(0).stdout, "Found.\n");
    assert_eq!(last_parts(&test), ["tool_result", "tool_result", "Like this.", "image"]);
}

#[test]
fn a_running_question_to_the_model_takes_the_image_too() {
    let gate = Gate::new();
    let test = librarian(Provider::Anthropic).answers([Answer::hang_up().delay(&gate)]);
    let running = test.spawn(["run", "librarian", "q"]);
    running.wait_for_request(1);
    running.kill();
    running.finish();
    gate.open();
    test.server().script([Answer::text("Found.")]);
    test.run(["resume", "latest", "Like this.", "--file", "owl.png"]).assert_code(0);
    assert_eq!(last_parts(&test), ["q", "Like this.", "image"]);
}

#[test]
fn an_answer_takes_files_along_as_a_part_of_it() {
    for (answer, option) in [
        ("This one.", None),
        ("This one.", Some("-i")),
        (r#"{"toolCallId":"c1","toolName":"askUser","skillName":"ask","text":"This one."}"#, Some("-i")),
    ] {
        let question = Answer::calls([call("c1", "askUser", json!({"question": "Which owl?"}))]);
        let test = librarian(Provider::Anthropic).answers([question, Answer::text("So be it.")]);
        test.run(["run", "librarian", "q"]).assert_code(4);
        let command = ["resume", "latest", answer, "--file", "owl.png", "--file", "notes.md"];
        let mut process = std::process::Command::new(test.binary());
        process.args(command).args(option);
        test.start(process).finish().assert_code(0);
        let request = test.server().requests().pop().unwrap();
        let result = request.body["messages"].as_array().unwrap().last().unwrap()["content"][0].clone();
        let texts: Vec<_> = result["content"].as_array().unwrap().iter().map(|part| text(&part["text"])).collect();
        assert!(texts[0].starts_with("This one."), "{option:?}: {result}");
        assert!(texts.iter().any(|text| text.ends_with("barn\n\n[The line above is the file notes.md.]")), "{result}");
        assert!(result["content"].as_array().unwrap().iter().any(|part| part["type"] == "image"), "{result}");
    }
}

#[test]
fn a_resumption_with_an_image_is_replayed() {
    let test = librarian(Provider::Anthropic).answers([Answer::text("Ask."), Answer::text("A barn owl.")]);
    test.run(["run", "librarian", "q", "--job-id", "nest"]).assert_code(0);
    let copied =
        std::process::Command::new("cp").args(["-r", "perstack", "again"]).current_dir(test.workspace()).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let words = ["resume", "nest", "And this?", "--file"];
    let [a, b, c, d] = words;
    test.run([a, b, c, d, "owl.png", "--record", "c.cassette"]).assert_code(0);
    let ran = test.run([a, b, c, d, "owl.png", "--replay", "c.cassette", "--storage", "again"]).assert_code(0);
    assert_eq!(ran.stdout, "A barn owl.\n");
    assert_eq!(test.server().requests().len(), 2, "the replay asks nobody");
    // Another image is another request.
    fs::write(test.workspace().join("owl.png"), [IMAGE, b"s"].concat()).unwrap();
    fs::remove_dir_all(test.workspace().join("again")).unwrap();
    let ran = test.run([a, b, c, d, "owl.png", "--replay", "c.cassette", "--storage", "again"]);
    assert_ne!(ran.code, Some(0));
}

#[test]
fn a_file_without_a_query_is_refused_and_changes_nothing() {
    let test = librarian(Provider::Anthropic).answers([Answer::text("Ask.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let facts = test.storage().facts().len();
    test.run(["resume", "--file", "owl.png"]).assert_code(2).snapshot("input/a-file-without-a-query-is-refused");
    // A query in the place of the job's name.
    let ran = test.run(["resume", "And this?", "--file", "owl.png"]).assert_code(2);
    ran.assert_stderr(["perstack resume latest QUERY --file PATH"]);
    assert_eq!(test.storage().facts().len(), facts);
}

#[test]
fn ensuring_a_job_with_another_image_is_refused() {
    let test = librarian(Provider::Anthropic).answers([Answer::text("An owl.")]);
    let words = ["run", "librarian", "q", "--job-id", "nest", "--ensure", "--file", "owl.png"];
    test.run(words).assert_code(0);
    assert_eq!(test.run(words).assert_code(0).stdout, "An owl.\n");
    fs::write(test.workspace().join("owl.png"), [IMAGE, b"s"].concat()).unwrap();
    test.run(words).assert_code(2).assert_stderr(["was started with another query or other files"]);
}
