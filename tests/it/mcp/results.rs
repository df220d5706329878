//! What a tool returns is what the model is told.

use serde_json::{Value, json};

use super::{calling, tool_results};
use crate::support::tool_server::{librarian, stdio_skill};
use crate::support::{Answer, Provider, Test, call};

/// An expert with the polite server alone.
fn polite() -> Test {
    librarian(&stdio_skill("owls", ["polite"]))
}

/// The only result of one call to the polite server: its text and whether it is an error.
#[track_caller]
fn result_of(tool: &str, arguments: Value) -> (String, bool) {
    let (_test, requests) = calling(polite(), [(tool, arguments)]);
    tool_results(&requests[1]).pop().unwrap()
}

#[test]
fn a_result_reaches_the_models_next_request_with_every_protocol() {
    Provider::each(|provider| {
        let toml = format!("[experts.librarian]\ninstruction = \"You look.\"\n{}", stdio_skill("owls", ["polite"]));
        let turn = Answer::calls([call("c1", "echo", json!({"text": "tawny ✓"}))]);
        let test = Test::new().toml(&toml).provider(provider).answers([turn, Answer::text("Done.")]);
        assert_eq!(test.run(["run", "librarian", "Look."]).assert_code(0).stdout, "Done.\n");
        let requests = test.server().requests();
        assert!(requests[0].tools().contains(&"echo"), "{provider:?}: {:?}", requests[0].tools());
        assert_eq!(requests[1].results(), [("c1".to_owned(), "echo: tawny ✓".to_owned())], "{provider:?}");
    });
}

#[test]
fn both_kinds_of_revision_work() {
    for args in [["polite", "sessions"].as_slice(), &["polite", "newest"], &["polite"], &["rough"]] {
        let skill = crate::support::tool_server::command_skill("owls", crate::support::tool_server::program(), args);
        let (_test, requests) = calling(librarian(&skill), [("echo", json!({"text": "owl"}))]);
        assert_eq!(tool_results(&requests[1]), [("echo: owl".to_owned(), false)], "{args:?}");
    }
}

#[test]
fn calls_of_one_turn_are_answered_in_their_order() {
    let calls = [
        call("c1", "count", json!({"to": 50})),
        call("c2", "echo", json!({"text": "a"})),
        call("c3", "fail", json!({})),
        call("c4", "echo", json!({"text": "b"})),
    ];
    let test = polite().answers([Answer::calls(calls), Answer::text("Done.")]);
    test.run(["run", "librarian", "Look."]).assert_code(0);
    let results = test.server().requests()[1].results();
    let told: Vec<(&str, &str)> = results.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
    assert_eq!(told, [("c1", "counted to 50"), ("c2", "echo: a"), ("c3", "no owl on shelf 3"), ("c4", "echo: b")]);
}

#[test]
fn an_error_of_the_tool_is_marked_as_one() {
    assert_eq!(result_of("fail", json!({})), ("no owl on shelf 3".to_owned(), true));
}

#[test]
fn an_error_of_the_protocol_is_shown_to_the_model() {
    let (text, is_error) = result_of("refuse", json!({}));
    assert!(is_error && text.contains("refuse") && text.contains("-32602"), "{text}");
    assert!(text.contains("shelf must be a number"), "{text}");
}

#[test]
fn an_unknown_tool_is_reported_to_the_model() {
    let (text, is_error) = result_of("fly", json!({}));
    assert!(is_error && text.contains("fly"), "{text}");
}

#[test]
fn an_image_reaches_the_model_as_one() {
    let (_test, requests) = calling(polite(), [("image", json!({}))]);
    let body = requests[1].body.to_string();
    assert!(body.contains("\"type\":\"image\"") && body.contains("image/png"), "{body}");
    assert!(requests[1].contains("iVBORw0KGgo") && requests[1].contains("one pixel"), "{body}");
}

#[test]
fn resources_links_and_sounds_are_described() {
    let (text, is_error) = result_of("resource", json!({}));
    assert!(!is_error && text.contains("tawny\nbarn\n"), "{text}");
    let (text, _) = result_of("link", json!({}));
    assert!(text.contains("https://owls.example/tawny"), "{text}");
    let (text, _) = result_of("audio", json!({}));
    assert!(text.contains("audio/wav") && !text.contains("aG9vdA=="), "{text}");
}

#[test]
fn a_binary_resource_is_no_text() {
    let (_test, requests) = calling(polite(), [("blob", json!({}))]);
    let [(text, is_error)] = tool_results(&requests[1]).try_into().unwrap();
    assert!(!is_error && !text.contains("JVBERi0xLjQK"), "{text}");
    assert!(requests[1].contains("application/pdf"), "{}", requests[1].body);
}

#[test]
fn structured_content_reaches_the_model_beside_its_summary() {
    let (text, _) = result_of("structured", json!({}));
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"owls": 2, "grey": [true, false]}));
    let (text, is_error) = result_of("both", json!({}));
    assert!(!is_error && text.starts_with("two owls") && text.len() > "two owls".len(), "{text}");
}

#[test]
fn no_content_is_put_in_words() {
    let (text, is_error) = result_of("nothing", json!({"text": "owl"}));
    assert_eq!((text.as_str(), is_error), (r#"Tool nothing returned nothing with arguments: {"text":"owl"}"#, false));
}

#[test]
fn questions_to_the_user_are_declined() {
    let newest = librarian(&stdio_skill("owls", ["polite", "newest"]));
    let (_test, requests) = calling(newest, [("ask", json!({}))]);
    let results = tool_results(&requests[1]);
    // There a question is half a result: the call may end with it, or be repeated with an answer.
    assert!(results[0].1 || results[0].0.contains("decline"), "{results:?}");
    let test = librarian(&stdio_skill("owls", ["rough"]));
    let (_test, requests) = calling(test, [("elicit", json!({})), ("sample", json!({}))]);
    let results = tool_results(&requests[2]);
    assert!(results[0].0.starts_with("the client said "), "{results:?}");
    assert!(results[0].0.contains("decline") || results[0].0.contains("-32601"), "{results:?}");
    assert!(results[1].0.contains("\"code\":-"), "sampling is refused: {results:?}");
}

#[test]
fn the_workspace_is_the_clients_root_where_the_skill_asks_for_that() {
    let test = librarian(&stdio_skill("owls", ["rough"]));
    let (_test, requests) = calling(test, [("roots", json!({}))]);
    let answer = &tool_results(&requests[1])[0].0;
    assert!(answer.contains("-32601") && !answer.contains("file://"), "{answer}");
    let test = librarian(&format!("{}roots = true\n", stdio_skill("owls", ["rough"])));
    let (test, requests) = calling(test, [("roots", json!({}))]);
    let workspace = std::fs::canonicalize(test.workspace()).unwrap();
    let answer = &tool_results(&requests[1])[0].0;
    assert!(answer.contains(&format!("file://{}", workspace.display())), "{answer}");
}

#[test]
fn a_flood_is_cut_and_kept_in_a_file() {
    let test = librarian(&stdio_skill("owls", ["rough"]));
    let (_test, requests) = calling(test, [("flood", json!({"bytes": 1_000_000}))]);
    let [(result, is_error)] = tool_results(&requests[1]).try_into().unwrap();
    assert!(!is_error && result.len() < 150_000, "{} bytes", result.len());
    assert!(result.starts_with("STARTx") && result.ends_with("xEND"), "head and tail stay");
    assert!(result.contains("left out"), "what is missing is said");
}

#[test]
fn fifty_megabytes_neither_kill_the_run_nor_reach_the_model() {
    let test = librarian(&stdio_skill("owls", ["rough"]));
    let (_test, requests) = calling(test, [("flood", json!({"bytes": 50_000_000})), ("echo", json!({"text": "owl"}))]);
    let results = tool_results(&requests[2]);
    assert!(results[0].0.len() < 150_000, "{} bytes", results[0].0.len());
    assert_eq!(results[1], ("echo: owl".to_owned(), false), "the server still answers");
}
