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
    let blocks = match result.get("content") {
        Some(Value::Array(blocks)) => blocks.as_slice(),
        // One block that is in no list.
        Some(block @ (Value::Object(_) | Value::String(_))) => std::slice::from_ref(block),
        _ => &[],
    };
    let mut parts: Vec<Content> = blocks.iter().take(MAX_PARTS).map(part).collect();
    if blocks.len() > MAX_PARTS {
        parts.push(Content::text(format!("[{} further parts were left out; {HINT}]", blocks.len() - MAX_PARTS)));
    }
    if parts.is_empty() {
        parts.push(match result.get("structuredContent").or_else(|| bare(result)) {
            Some(structured) if !structured.is_null() => Content::text(structured.to_string()),
            _ => Content::text(nothing(call)),
        });
    } else if let Some(structured) = result.get("structuredContent").filter(|structured| !structured.is_null()) {
        // Servers should repeat it as text; those that only summarize it would keep the data from the model.
        if !parts.iter().any(|part| is_same_data(part, structured)) {
            parts.push(Content::text(structured.to_string()));
        }
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

/// The whole result, where it is an object of the server's own making.
fn bare(result: &Value) -> Option<&Value> {
    const KNOWN: [&str; 5] = ["content", "structuredContent", "isError", "_meta", "resultType"];
    let members = result.as_object()?;
    members.keys().any(|name| !KNOWN.contains(&name.as_str())).then_some(result)
}

/// Returns true when `part` is `data` as JSON text, or a text that stands in it.
fn is_same_data(part: &Content, data: &Value) -> bool {
    let Some(text) = part.as_text() else { return false };
    let is_it = |value: &Value| value.as_str() == Some(text);
    serde_json::from_str::<Value>(text).is_ok_and(|value| value == *data)
        || is_it(data)
        || data.as_object().is_some_and(|data| data.len() == 1 && data.values().any(is_it))
}

/// The original's text.
fn nothing(call: &ToolCall) -> String {
    let arguments = Value::Object(call.args.clone()).to_string();
    format!("Tool {} returned nothing with arguments: {arguments}", call.tool_name)
}

fn part(block: &Value) -> Content {
    if let Value::String(text) = block {
        return Content::text(text.clone());
    }
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
    let left_out = |why: &str| Content::text(format!("[{name} of type {mime_type} was left out: it {why}]"));
    // Some servers break the lines of their base64.
    let data: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = match STANDARD.decode(&data) {
        Err(_) => return left_out("is no valid base64"),
        Ok(bytes) if bytes.is_empty() => return left_out("is empty"),
        Ok(bytes) if bytes.len() > MAX_FILE => {
            return left_out(&format!("has {} bytes, more than 30 MiB", bytes.len()));
        }
        Ok(bytes) => bytes,
    };
    let (id, encoded_data) = (String::new(), data);
    let mut mime_type = mime_type.trim().to_ascii_lowercase();
    if mime_type.starts_with("image/") {
        // Providers refuse a whole request for one image that is not of its type, so the bytes decide.
        match (base::image_type(&bytes), String::from_utf8(bytes)) {
            (Some(sniffed), _) => sniffed.clone_into(&mut mime_type),
            (None, Ok(text)) if mime_type.contains("svg") => return Content::text(text),
            (None, _) => return left_out("is no PNG, JPEG, GIF or WebP image"),
        }
        return Content::ImageInlinePart { id, encoded_data, mime_type };
    }
    if is_text(&mime_type)
        && let Ok(text) = String::from_utf8(bytes)
    {
        return Content::text(text);
    }
    Content::FileInlinePart { id, encoded_data, mime_type }
}

/// Returns true for the types of texts, whatever they describe.
fn is_text(mime_type: &str) -> bool {
    let kind = mime_type.split(';').next().unwrap_or_default().trim();
    let is_known = matches!(
        kind,
        "application/json"
            | "application/xml"
            | "application/yaml"
            | "application/x-yaml"
            | "application/javascript"
            | "application/toml"
            | "application/sql"
            | "application/graphql"
            | "application/x-ndjson"
    );
    kind.starts_with("text/")
        || is_known
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || kind.ends_with("+yaml")
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

    /// The beginning of a PNG file.
    const PNG: &str = "iVBORw0KGgpvd2w=";

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
            encoded_data: PNG.to_owned(),
            mime_type: "image/png".to_owned(),
        };
        let pdf = Content::FileInlinePart {
            id: String::new(),
            encoded_data: "AAAA".to_owned(),
            mime_type: "application/pdf".to_owned(),
        };
        let blocks = json!([
            {"type": "text", "text": "hello"},
            {"type": "image", "data": PNG, "mimeType": "image/png"},
            {"type": "resource", "resource": {"uri": "f:///a", "text": "inside", "blob": "AAAA"}},
            {"type": "resource", "resource": {"uri": "f:///b", "blob": "AAAA", "mimeType": "application/pdf"}},
            {"type": "resource", "resource": {"uri": "f:///c", "blob": PNG, "mimeType": "image/png"}},
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
        let both = |text: &str| {
            read(&call(), &json!({"content": [{"type": "text", "text": text}], "structuredContent": {"x": 1}}))
        };
        assert_eq!(both("x is 1").result, [Content::text("x is 1"), Content::text("{\"x\":1}")]);
        assert_eq!(both("{ \"x\": 1 }").result.len(), 1, "the data once");
        let none = read(&call(), &json!({"content": [], "structuredContent": null}));
        assert_eq!(none.result, [Content::text("Tool t returned nothing with arguments: {\"a\":1}")]);
    }

    #[test]
    fn what_a_server_returned_in_no_list_is_shown() {
        for (result, expected) in [
            (json!({"messageId": "7"}), "{\"messageId\":\"7\"}"),
            (json!({"content": "sent"}), "sent"),
            (json!({"content": {"type": "text", "text": "sent"}}), "sent"),
            (json!({"content": ["sent"]}), "sent"),
        ] {
            assert_eq!(read(&call(), &result).result, [Content::text(expected)], "{result}");
        }
    }

    #[test]
    fn files_are_what_their_bytes_are() {
        let blob = |mime_type: &str, bytes: &[u8]| {
            let blob = STANDARD.encode(bytes);
            contents(&json!([{"type": "resource", "resource": {"uri": "f:///a", "blob": blob, "mimeType": mime_type}}]))
                .remove(0)
        };
        for mime_type in ["application/json", "text/csv; charset=utf-8", "application/ld+json", "image/svg+xml"] {
            assert_eq!(blob(mime_type, b"{}"), Content::text("{}"), "{mime_type}");
        }
        let image = |mime_type: &str| Content::ImageInlinePart {
            id: String::new(),
            encoded_data: PNG.to_owned(),
            mime_type: mime_type.to_owned(),
        };
        for written in ["image/jpeg", "IMAGE/PNG", "image/x-png"] {
            assert_eq!(blob(written, &STANDARD.decode(PNG).unwrap()), image("image/png"), "{written}");
        }
        let broken =
            json!([{"type": "image", "data": format!("{}\n{}", &PNG[..4], &PNG[4..]), "mimeType": "image/png"}]);
        assert_eq!(contents(&broken), [image("image/png")]);
        let note = "[f:///a of type image/png was left out: it is no PNG, JPEG, GIF or WebP image]";
        assert_eq!(blob("image/png", b"<html>"), Content::text(note));
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
        let half = format!("{}{}", &PNG[..12], "A".repeat(24 << 20));
        let blocks = json!([
            {"type": "image", "data": half, "mimeType": "image/png"},
            {"type": "image", "data": half, "mimeType": "image/png"},
        ]);
        let parts = contents(&blocks);
        assert!(matches!(parts.first(), Some(Content::ImageInlinePart { .. })));
        assert!(parts[1].as_text().is_some_and(|text| text.contains("larger than 30 MiB")));
    }
}
