//! A server's result as parts that a model takes: bounded, and nothing in it dropped without a note.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::content::Content;
use crate::skill::base;
use crate::skill::output::CallOutput;
use crate::tool::{ToolCall, ToolResult};

/// Most parts of one result.
const MAX_PARTS: usize = 200;

/// Most bytes of a file or image, before base64: the largest that the base skill reads.
const MAX_FILE: usize = 30 << 20;

/// How to see what was left out of a text.
const HINT: &str = "ask the tool for less at a time to see more";

/// Reads the result of `call`. What is too long for the model goes to `output`, waiting for the disk. An image or PDF
/// file that a base skill of another make names is handed over, if it is one of the `workspace`.
pub(super) fn read(call: &ToolCall, result: &Value, output: &CallOutput, workspace: Option<&Path>) -> ToolResult {
    if result.get("resultType").and_then(Value::as_str) == Some("input_required") {
        return ToolResult::error(
            call,
            format!("{} asks for input from a person or a model, which is declined here", call.tool_name),
        );
    }
    let blocks = result.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut parts: Vec<Content> = blocks.iter().take(MAX_PARTS).map(part).collect();
    if blocks.len() > MAX_PARTS {
        parts.push(Content::text(format!("[{} further parts were left out; {HINT}]", blocks.len() - MAX_PARTS)));
    }
    if parts.is_empty() {
        parts.push(match result.get("structuredContent") {
            Some(structured) if !structured.is_null() => Content::text(structured.to_string()),
            _ => Content::text(nothing(call)),
        });
    }
    if let Some(workspace) = workspace {
        for part in &mut parts {
            if let Some(file) = part.as_text().and_then(|text| named_file(&call.tool_name, text, workspace)) {
                *part = file;
            }
        }
    }
    bound_all(&mut parts, output);
    let is_error = result.get("isError").and_then(Value::as_bool).unwrap_or(false);
    ToolResult { is_error, ..ToolResult::new(call, parts) }
}

/// The file that `text` describes, where `tool` means one: the original's base skill only names the file, and the
/// runner reads it.
fn named_file(tool: &str, text: &str, workspace: &Path) -> Option<Content> {
    let named: Value = serde_json::from_str(text).ok()?;
    let path = named.get("path")?.as_str()?;
    if !named.get("mimeType").is_some_and(Value::is_string) || !named.get("size").is_some_and(Value::is_number) {
        return None;
    }
    let read = base::media(tool, workspace, path)?;
    Some(read.unwrap_or_else(|why| Content::text(format!("Failed to read file \"{path}\": {why}"))))
}

/// The original's text.
fn nothing(call: &ToolCall) -> String {
    let arguments = Value::Object(call.args.clone()).to_string();
    format!("Tool {} returned nothing with arguments: {arguments}", call.tool_name)
}

fn part(block: &Value) -> Content {
    let text = |key: &str| block.get(key).and_then(Value::as_str);
    match text("type") {
        Some("text") => Content::text(match text("text") {
            None | Some("") => "Error: No content",
            Some(text) => text,
        }),
        Some("image") => match (text("data"), text("mimeType")) {
            (Some(data), Some(mime_type)) => file(data, mime_type, "an image"),
            _ => Content::text("Image part must have both data and mimeType"),
        },
        Some("audio") => {
            let mime_type = text("mimeType").unwrap_or("unknown");
            let size = text("data").map_or(0, |data| data.len() / 4 * 3);
            Content::text(format!("[audio of type {mime_type}, about {size} bytes, which cannot be passed on]"))
        }
        Some("resource") => resource(block.get("resource").unwrap_or(&Value::Null)),
        Some("resource_link") => {
            let details = ["name", "title", "description", "mimeType"]
                .iter()
                .filter_map(|key| text(key).map(|value| format!("; {key}: {value}")));
            let uri = text("uri").unwrap_or("without address");
            Content::text(format!("[link to a resource: {uri}{}]", details.collect::<String>()))
        }
        kind => Content::text(format!("[content of the unknown type {:?} was left out]", kind.unwrap_or_default())),
    }
}

fn resource(resource: &Value) -> Content {
    let text = |key: &str| resource.get(key).and_then(Value::as_str);
    match (text("text"), text("blob")) {
        (Some(text), _) => Content::text(text),
        (None, Some(blob)) => {
            let name = text("uri").unwrap_or("a resource");
            file(blob, text("mimeType").unwrap_or("application/octet-stream"), name)
        }
        (None, None) => Content::text(format!("Unsupported resource type: {resource}")),
    }
}

/// A file as base64. One that no provider would take is described instead: it would spoil every later request.
fn file(data: &str, mime_type: &str, name: &str) -> Content {
    let why_not = match STANDARD.decode(data) {
        Err(_) => Some("is no valid base64".to_owned()),
        Ok(bytes) if bytes.is_empty() => Some("is empty".to_owned()),
        Ok(bytes) if bytes.len() > MAX_FILE => Some(format!("has {} bytes, more than 30 MiB", bytes.len())),
        Ok(_) => None,
    };
    if let Some(why_not) = why_not {
        return Content::text(format!("[{name} of type {mime_type} was left out: it {why_not}]"));
    }
    let (id, encoded_data, mime_type) = (String::new(), data.to_owned(), mime_type.to_owned());
    if mime_type.starts_with("image/") {
        Content::ImageInlinePart { id, encoded_data, mime_type }
    } else {
        Content::FileInlinePart { id, encoded_data, mime_type }
    }
}

/// Bounds all texts and all files together. Earlier ones come first.
fn bound_all(parts: &mut [Content], output: &CallOutput) {
    let (mut text_room, mut file_room) = (output.limit(), MAX_FILE / 3 * 4 + 4);
    for (number, part) in (1..).zip(parts) {
        match part {
            Content::TextPart { text, .. } => {
                let name = if number == 1 { String::new() } else { format!("part-{number}") };
                *text = output.bound(std::mem::take(text), text_room, &name, HINT);
                text_room = text_room.saturating_sub(text.len());
            }
            Content::ImageInlinePart { encoded_data, mime_type, .. }
            | Content::FileInlinePart { encoded_data, mime_type, .. } => {
                if let Some(rest) = file_room.checked_sub(encoded_data.len()) {
                    file_room = rest;
                } else {
                    let note = format!("[a file of type {mime_type} was left out: the result is larger than 30 MiB]");
                    *part = Content::text(note);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::redact::Redactor;
    use crate::skill::output::{DEFAULT_LIMIT, Outputs};

    fn call() -> ToolCall {
        ToolCall {
            id: "c1".parse().unwrap(),
            skill_name: "s".to_owned(),
            tool_name: "t".to_owned(),
            args: json!({"a": 1}).as_object().unwrap().clone(),
        }
    }

    fn read(call: &ToolCall, result: &Value) -> ToolResult {
        super::read(call, result, &Outputs::new(DEFAULT_LIMIT).of_call("t", &Redactor::default()), None)
    }

    #[test]
    fn a_file_that_a_base_skill_names_is_handed_over_if_it_is_of_the_workspace() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, outside) = (folder.path().join("work/owl.png"), folder.path().join("owl.png"));
        std::fs::create_dir(folder.path().join("work")).unwrap();
        for path in [&inside, &outside] {
            std::fs::write(path, b"\x89PNG\r\n\x1a\nowl").unwrap();
        }
        let workspace = folder.path().join("work");
        let named = |tool: &str, text: String, workspace: Option<&Path>| {
            let call = ToolCall { tool_name: tool.to_owned(), ..call() };
            let result = json!({"content": [{"type": "text", "text": text}]});
            let output = Outputs::new(DEFAULT_LIMIT).of_call("t", &Redactor::default());
            super::read(&call, &result, &output, workspace).result.remove(0)
        };
        let text = |path: &Path| json!({"path": path, "mimeType": "image/png", "size": 11}).to_string();
        let image = Content::ImageInlinePart {
            id: String::new(),
            encoded_data: STANDARD.encode(b"\x89PNG\r\n\x1a\nowl"),
            mime_type: "image/png".to_owned(),
        };
        assert_eq!(named("readImageFile", text(&inside), Some(&workspace)), image);
        let refused = named("readImageFile", text(&outside), Some(&workspace));
        let refused = refused.as_text().unwrap();
        assert!(refused.starts_with("Failed to read file \"") && refused.contains("Access denied"), "{refused}");
        let missing = named("readPdfFile", text(&workspace.join("owl.pdf")), Some(&workspace));
        assert!(missing.as_text().unwrap().contains("owl.pdf does not exist."), "{missing:?}");
        // Another tool's, a remote server's, and what names no file.
        for (tool, text, workspace) in [
            ("readTextFile", text(&inside), Some(&*workspace)),
            ("readImageFile", text(&inside), None),
            ("readImageFile", "{\"error\":\"Error\",\"message\":\"no\"}".to_owned(), Some(&*workspace)),
        ] {
            assert_eq!(named(tool, text.clone(), workspace), Content::text(text));
        }
    }

    fn contents(blocks: &Value) -> Vec<Content> {
        read(&call(), &json!({ "content": blocks })).result
    }

    fn texts(blocks: &Value) -> Vec<String> {
        contents(blocks).iter().map(|part| part.as_text().unwrap_or("no text").to_owned()).collect()
    }

    #[test]
    fn every_kind_of_content_has_a_part() {
        let image = Content::ImageInlinePart {
            id: String::new(),
            encoded_data: "AAAA".to_owned(),
            mime_type: "image/png".to_owned(),
        };
        let pdf = Content::FileInlinePart {
            id: String::new(),
            encoded_data: "AAAA".to_owned(),
            mime_type: "application/pdf".to_owned(),
        };
        let blocks = json!([
            {"type": "text", "text": "hello"},
            {"type": "image", "data": "AAAA", "mimeType": "image/png"},
            {"type": "resource", "resource": {"uri": "f:///a", "text": "inside", "blob": "AAAA"}},
            {"type": "resource", "resource": {"uri": "f:///b", "blob": "AAAA", "mimeType": "application/pdf"}},
            {"type": "resource", "resource": {"uri": "f:///c", "blob": "AAAA", "mimeType": "image/png"}},
        ]);
        assert_eq!(contents(&blocks), [Content::text("hello"), image.clone(), Content::text("inside"), pdf, image]);
    }

    #[test]
    fn what_cannot_be_passed_on_is_described() {
        let blocks = json!([
            {"type": "text", "text": ""},
            {"type": "image", "data": "AAAA"},
            {"type": "image", "data": "no base64!", "mimeType": "image/png"},
            {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"},
            {"type": "resource_link", "uri": "f:///d", "name": "d", "mimeType": "text/plain"},
            {"type": "resource", "resource": {"uri": "f:///e"}},
            {"type": "hologram"},
            7,
        ]);
        assert_eq!(
            texts(&blocks),
            [
                "Error: No content",
                "Image part must have both data and mimeType",
                "[an image of type image/png was left out: it is no valid base64]",
                "[audio of type audio/wav, about 3 bytes, which cannot be passed on]",
                "[link to a resource: f:///d; name: d; mimeType: text/plain]",
                "Unsupported resource type: {\"uri\":\"f:///e\"}",
                "[content of the unknown type \"hologram\" was left out]",
                "[content of the unknown type \"\" was left out]",
            ]
        );
    }

    #[test]
    fn structured_content_counts_where_there_is_no_other() {
        let one = read(&call(), &json!({"structuredContent": {"x": 1}}));
        assert_eq!(one.result, [Content::text("{\"x\":1}")]);
        let both =
            read(&call(), &json!({"content": [{"type": "text", "text": "x is 1"}], "structuredContent": {"x": 1}}));
        assert_eq!(both.result, [Content::text("x is 1")]);
        let none = read(&call(), &json!({"content": [], "structuredContent": null}));
        assert_eq!(none.result, [Content::text("Tool t returned nothing with arguments: {\"a\":1}")]);
    }

    #[test]
    fn errors_stay_errors() {
        let failed = read(&call(), &json!({"content": [{"type": "text", "text": "no"}], "isError": true}));
        assert!(failed.is_error);
        assert!(read(&call(), &json!({"resultType": "input_required"})).is_error);
        assert!(!read(&call(), &json!({})).is_error);
    }

    #[test]
    fn a_flood_is_cut_whatever_its_shape() {
        let long = "x".repeat(DEFAULT_LIMIT);
        let blocks: Vec<Value> = (0..MAX_PARTS + 10).map(|_| json!({"type": "text", "text": long})).collect();
        let all: usize = texts(&Value::Array(blocks)).iter().map(String::len).sum();
        assert!(all < DEFAULT_LIMIT + (MAX_PARTS + 1) * 200, "{all} bytes");
        let half = "A".repeat(24 << 20);
        let blocks = json!([
            {"type": "image", "data": half, "mimeType": "image/png"},
            {"type": "image", "data": half, "mimeType": "image/png"},
        ]);
        let parts = contents(&blocks);
        assert!(matches!(parts.first(), Some(Content::ImageInlinePart { .. })));
        assert!(parts[1].as_text().is_some_and(|text| text.contains("larger than 30 MiB")));
    }
}
