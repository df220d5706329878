//! Tools that the model's provider runs itself: asked for, reported, and sent back where they were.

use serde_json::{Value, json};

use crate::support::{Answer, Provider, Test};

const PAUSED: &str = include_str!("../data/anthropic-messages/pause.sse");
const SEARCHED: &str = include_str!("../data/openai-responses/web-search.sse");
const MADE: &str = include_str!("../data/openai-responses/code-and-image.sse");

/// A librarian whose provider is to run these tools.
fn test(provider: Provider, tools: &str) -> Test {
    let toml = format!("[experts.librarian]\ninstruction = \"You find things.\"\nproviderTools = {tools}\n");
    Test::with(provider).toml(&toml)
}

/// The blocks of the last message of a request to Anthropic.
fn last_blocks(body: &Value) -> (&Value, &[Value]) {
    let last = body["messages"].as_array().unwrap().last().unwrap();
    (&last["role"], last["content"].as_array().unwrap())
}

#[test]
fn a_turn_that_the_provider_paused_goes_on_where_it_stopped() {
    let test = test(Provider::Anthropic, "[\"webSearch\", \"webFetch\"]").answers([
        Answer::raw_sse(PAUSED),
        Answer::raw_sse(PAUSED.replace("srvtoolu_01", "srvtoolu_02")),
        Answer::text("Owls."),
    ]);
    let ran = test.run(["run", "librarian", "Which birds?", "--json"]).assert_code(0);
    assert_eq!(ran.state_events().iter().filter(|event| *event == "retry").count(), 2);
    let requests = test.server().requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0].header("anthropic-beta"), Some("web-fetch-2025-09-10"));
    assert_eq!(requests[0].body["tools"][0], json!({"type": "web_search_20250305", "name": "web_search"}));
    let part = |id: &str| {
        [
            json!({"type": "text", "text": "Searching the web."}),
            json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": "owl"}}),
            json!({"type": "web_search_tool_result", "tool_use_id": id, "content": []}),
            json!({"type": "text", "text": "More to come."}),
        ]
    };
    let (first, second) = (part("srvtoolu_01"), part("srvtoolu_02"));
    assert_eq!(last_blocks(&requests[1].body), (&json!("assistant"), first.as_slice()));
    assert_eq!(last_blocks(&requests[2].body), (&json!("assistant"), [first, second].concat().as_slice()));
}

#[test]
fn what_a_run_found_is_there_when_it_is_resumed() {
    for (stream, kinds) in
        [(SEARCHED, vec!["web_search_call"]), (MADE, vec!["code_interpreter_call", "image_generation_call"])]
    {
        let test = test(Provider::OpenAi, "[\"webSearch\", \"codeInterpreter\", \"imageGeneration\"]")
            .answers([Answer::raw_sse(stream), Answer::text("Yes.")]);
        test.run(["run", "librarian", "Which birds?"]).assert_code(0);
        test.run(["resume", "latest", "Sure?"]).assert_code(0);
        let requests = test.server().requests();
        let input = requests[1].body["input"].as_array().unwrap();
        let found: Vec<&str> =
            input.iter().filter_map(|item| item["type"].as_str()).filter(|kind| *kind != "message").collect();
        assert_eq!(found, kinds);
        // Both are requests of the same conversation, each of a Run of its own.
        for request in &requests {
            assert!(request.body["prompt_cache_key"].as_str().is_some_and(|key| !key.is_empty()));
        }
        if stream == SEARCHED {
            assert_eq!(
                input[3],
                json!({"type": "message", "role": "assistant", "content": "Owls: see owls.example.",
                                        "phase": "final_answer"})
            );
        }
    }
}

#[test]
fn what_the_provider_does_not_run_is_a_warning_and_not_asked_for() {
    let answers = || [Answer::calls([crate::support::call("c1", "todo", json!({}))]), Answer::text("Owls.")];
    for (provider, names, told) in [
        (Provider::Anthropic, "[\"codeInterpreter\"]", "provider anthropic does not run the tool codeInterpreter here"),
        (Provider::OpenAi, "[\"fileSearch\"]", "OpenAI fileSearch tool requires vectorStoreIds."),
        (Provider::OpenAiChat, "[\"webSearch\"]", "provider openai does not run the tool webSearch here"),
    ] {
        let test = test(provider, names).answers(answers());
        let ran = test.run(["run", "librarian", "q", "--json"]).assert_code(0);
        let warnings: Vec<String> = ran
            .events()
            .iter()
            .filter(|event| event["type"] == "runtimeWarning")
            .map(|event| event["message"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(warnings.len(), 1, "{provider:?}: {warnings:?}");
        assert!(warnings[0].starts_with(told), "{warnings:?}");
        assert!(!test.server().requests()[0].body["tools"].to_string().contains("search\""));
    }
}

#[test]
fn a_refusal_has_its_reason() {
    let refused = PAUSED
        .replace("\"stop_reason\":\"pause_turn\"", "\"stop_reason\":\"refusal\",\"stop_details\":{\"type\":\"refusal\",\"category\":\"bio\",\"explanation\":\"Not that.\"}")
        .replace("Searching the web.", "")
        .replace("More to come.", "");
    let test = Test::with(Provider::Anthropic).answers([Answer::raw_sse(refused)]);
    test.run(["run", "librarian", "q"]).assert_code(1).snapshot("native-tools/a-refusal-says-why");
}
