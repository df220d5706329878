//! Messages of the protocols whose tool results are text, Chat Completions and Ollama's.
//!
//! Called by their encoders, to which users' messages and answers are left.

use serde_json::{Map, Value, json};

use super::media::Media;
use super::openai::ERROR_NOTE;
use super::schema;
use crate::content::{Content, ResultPart};
use crate::tool::ToolSpec;

/// The system message.
pub fn instruction(contents: &[Content]) -> Value {
    let texts: Vec<&str> = contents.iter().filter_map(Content::as_text).collect();
    json!({"role": "system", "content": texts.join("\n")})
}

/// A tool, under the name that is sent.
pub fn function(spec: &ToolSpec, name: &str) -> Value {
    let mut function = Map::new();
    function.insert("name".into(), json!(name));
    if let Some(description) = &spec.description {
        function.insert("description".into(), json!(description));
    }
    let parameters = schema::parameters(&spec.input_schema, schema::any_name);
    function.insert("parameters".into(), Value::Object(parameters.into_owned()));
    json!({"type": "function", "function": function})
}

/// The text of a result. Its other parts are added to `moved`, which follow all results in one user message;
/// `moved_note` is put in the place of the first.
pub fn result_text<'a>(
    result: &'a ResultPart,
    sendable: impl Fn(&'a Content) -> Media<'a>,
    moved_note: &str,
    moved: &mut Vec<Media<'a>>,
) -> String {
    let ResultPart::ToolResultPart { tool_call_id, tool_name, contents, is_error, .. } = result;
    let mut lines = Vec::new();
    if *is_error {
        lines.push(ERROR_NOTE.to_owned());
    }
    let mut is_first = true;
    for content in contents {
        match sendable(content) {
            Media::Text(text) => lines.push(text.into_owned()),
            other => {
                if std::mem::take(&mut is_first) {
                    lines.push(moved_note.to_owned());
                    moved.push(Media::Text(format!("From the result of {tool_name} ({tool_call_id}):").into()));
                }
                moved.push(other);
            }
        }
    }
    lines.join("\n")
}
