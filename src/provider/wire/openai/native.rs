//! Tools that the provider runs itself, and the items of their calls.
//!
//! Called by `encode` and `items`.

use serde_json::{Map, Value, json};

use super::string;
use crate::generation::NativeTools;
use crate::provider::NativeSupport;
use crate::provider::native::vector_stores;

/// The tools that can be requested; a server, OpenAI's or Azure's, refuses those that it does not run.
pub(super) const SUPPORT: NativeSupport = NativeSupport {
    tools: &["webSearch", "webSearchPreview", "fileSearch", "codeInterpreter", "imageGeneration"],
    skills: false,
};

/// The tools asked for, as the request has them.
pub(super) fn tools(native: NativeTools<'_>) -> Vec<Value> {
    native.tools.iter().filter_map(|name| tool(name, native.options)).collect()
}

fn tool(name: &str, options: Option<&Value>) -> Option<Value> {
    let option = |pointer: &str| options.and_then(|options| options.pointer(pointer));
    let mut tool = Map::new();
    match name {
        "webSearch" => {
            tool.insert("type".into(), json!("web_search"));
            if let Some(domains) = option("/webSearch/allowedDomains") {
                tool.insert("filters".into(), json!({"allowed_domains": domains}));
            }
        }
        "webSearchPreview" => _ = tool.insert("type".into(), json!("web_search_preview")),
        "fileSearch" => {
            tool.insert("type".into(), json!("file_search"));
            tool.insert("vector_store_ids".into(), vector_stores(options)?.clone());
            if let Some(count) = option("/fileSearch/maxNumResults") {
                tool.insert("max_num_results".into(), count.clone());
            }
        }
        "codeInterpreter" => {
            tool.insert("type".into(), json!("code_interpreter"));
            tool.insert("container".into(), json!({"type": "auto"}));
        }
        "imageGeneration" => _ = tool.insert("type".into(), json!("image_generation")),
        _ => return None,
    }
    Some(Value::Object(tool))
}

/// The extra fields to request: results of calls are sent only on request, and without them calls cannot be sent back.
pub(super) fn include(tools: &[Value]) -> Vec<&'static str> {
    let of_type = |kind: &str| tools.iter().any(|tool| string(tool, "type") == kind);
    let wanted = [("file_search", "file_search_call.results"), ("code_interpreter", "code_interpreter_call.outputs")];
    wanted.into_iter().filter(|(kind, _)| of_type(kind)).map(|(_, field)| field).collect()
}

/// The fields of each kind of call that a request takes.
const CALLS: [(&str, &[&str]); 4] = [
    ("web_search_call", &["type", "id", "status", "action"]),
    ("file_search_call", &["type", "id", "status", "queries", "results"]),
    ("code_interpreter_call", &["type", "id", "status", "code", "container_id", "outputs"]),
    ("image_generation_call", &["type", "id", "status", "result"]),
];

/// Returns true for an item that is such a call.
pub(super) fn is_call(item: &Value) -> bool {
    CALLS.iter().any(|(kind, _)| string(item, "type") == *kind)
}

/// A call as it is sent back; `None` for another block and for a call that never ended. Nothing is kept at the
/// provider, so an image without its data could not be found there.
pub(super) fn call_item(block: &Value) -> Option<Value> {
    let kind = string(block, "type");
    let (_, fields) = CALLS.iter().find(|(known, _)| *known == kind)?;
    let has_ended = matches!(string(block, "status"), "completed" | "failed" | "incomplete");
    if !has_ended || (kind == "image_generation_call" && string(block, "result").is_empty()) {
        return None;
    }
    let field = |key: &&str| block.get(*key).map(|value| ((*key).to_owned(), value.clone()));
    Some(Value::Object(fields.iter().filter_map(field).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(names: &[&str], options: &Value) -> Vec<Value> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        tools(NativeTools { tools: &names, options: Some(options), skills: None })
    }

    #[test]
    fn each_tool_is_asked_for_with_its_options() {
        assert_eq!(
            asked(SUPPORT.tools, &json!({})),
            [
                json!({"type": "web_search"}),
                json!({"type": "web_search_preview"}),
                json!({"type": "code_interpreter", "container": {"type": "auto"}}),
                json!({"type": "image_generation"}),
            ]
        );
        let options = json!({
            "webSearch": {"maxUses": 3, "allowedDomains": ["owls.example"]},
            "fileSearch": {"vectorStoreIds": ["vs_1"], "maxNumResults": 4},
        });
        let tools = asked(&["webSearch", "fileSearch", "googleSearch"], &options);
        assert_eq!(
            tools,
            [
                json!({"type": "web_search", "filters": {"allowed_domains": ["owls.example"]}}),
                json!({"type": "file_search", "vector_store_ids": ["vs_1"], "max_num_results": 4}),
            ]
        );
        assert_eq!(include(&tools), ["file_search_call.results"]);
        assert_eq!(include(&asked(&["codeInterpreter"], &json!({}))), ["code_interpreter_call.outputs"]);
    }

    #[test]
    fn calls_go_back_whole_or_not_at_all() {
        let cases = [
            (
                json!({"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "aW1n",
                       "revised_prompt": "an owl", "size": "1024x1024"}),
                Some(json!({"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "aW1n"})),
            ),
            (json!({"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": null}), None),
            (json!({"type": "web_search_call", "id": "ws_1", "status": "searching"}), None),
            (
                json!({"type": "code_interpreter_call", "id": "ci_1", "status": "failed", "code": "1/0",
                       "container_id": "cntr_1", "outputs": null}),
                Some(json!({"type": "code_interpreter_call", "id": "ci_1", "status": "failed", "code": "1/0",
                            "container_id": "cntr_1", "outputs": null})),
            ),
            (json!({"type": "mcp_call", "id": "m_1", "status": "completed"}), None),
        ];
        for (block, expected) in cases {
            assert_eq!(call_item(&block), expected, "{block}");
        }
    }
}
