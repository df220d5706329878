//! Text files: read, write, append, edit.

use std::fs::File;
use std::io;

use serde::Deserialize;
use serde_json::{Value, json};

use super::contents;
use super::describe;
use super::failure::FileFailure;
use super::workspace::{LastLink, Workspace, WorkspacePath};
use crate::skill::output::{DEFAULT_LIMIT, MAX_OUTPUT_FILE, Outputs, bound};

/// Largest text file read, in bytes: held in memory whole, and far beyond what a model can take in.
const MAX_TEXT: u64 = 32 << 20;

/// `readTextFile`.
#[derive(Debug, Deserialize)]
pub(super) struct ReadArgs {
    path: String,
    /// First line, from 0.
    from: Option<usize>,
    /// The line before which to stop.
    to: Option<usize>,
}

/// `writeTextFile`, `appendTextFile`.
#[derive(Debug, Deserialize)]
pub(super) struct WriteArgs {
    path: String,
    text: String,
}

/// `editTextFile`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EditArgs {
    path: String,
    new_text: String,
    old_text: String,
}

/// Returns the lines `[from, to)` of a file in the workspace, or of a kept output; too many are bounded, head and tail
/// kept.
pub(super) fn read(workspace: &Workspace, outputs: &Outputs, args: &ReadArgs) -> Result<Value, FileFailure> {
    let text = match outputs.open(&args.path) {
        Some(Ok(file)) => text_of(&file, &args.path, MAX_OUTPUT_FILE)?,
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FileFailure::NoFile(args.path.clone()));
        }
        Some(Err(error)) => return Err(FileFailure::io("open", &args.path)(error)),
        None => read_text(&workspace.resolve(&args.path, LastLink::Follow)?, &args.path)?,
    };
    let lines: Vec<&str> = text.split('\n').collect();
    let from = args.from.unwrap_or(0);
    let to = args.to.unwrap_or(lines.len());
    let chosen = lines.get(from.min(lines.len())..to.min(lines.len())).unwrap_or_default().join("\n");
    let content =
        bound(chosen, outputs.limit(), "line 0 is the first of those asked for; read fewer at once by from and to");
    Ok(json!({ "path": args.path, "content": content, "from": from, "to": to }))
}

/// Creates or overwrites a file.
pub(super) fn write(workspace: &Workspace, args: &WriteArgs) -> Result<Value, FileFailure> {
    let place = workspace.resolve_to_change(&args.path, LastLink::Follow)?;
    contents::check_writable(&place, &args.path)?;
    contents::replace(&place, &args.path, args.text.as_bytes())?;
    Ok(json!({ "path": args.path, "text": echo(&args.text) }))
}

/// Adds text to the end of a file as it is, without a line break of its own.
pub(super) fn append(workspace: &Workspace, args: &WriteArgs) -> Result<Value, FileFailure> {
    let place = existing(workspace, &args.path)?;
    contents::append(&place, &args.path, args.text.as_bytes())?;
    Ok(json!({ "path": args.path, "text": echo(&args.text) }))
}

/// Replaces the first match of a text. A line end matches any other; those outside the match stay as they are, and new
/// ones are written like those that they replace.
pub(super) fn edit(workspace: &Workspace, args: &EditArgs) -> Result<Value, FileFailure> {
    let place = existing(workspace, &args.path)?;
    let text = read_text(&place, &args.path)?;
    let [plain, old, new] = [&text, &args.old_text, &args.new_text].map(|text| text.replace("\r\n", "\n"));
    let from = plain.find(&old).ok_or_else(|| FileFailure::NoMatch(place.absolute().to_owned()))?;
    let (from, to) = (place_in(&text, from), place_in(&text, from + old.len()));
    let (before, rest) = text.split_at(from);
    let (replaced, after) = rest.split_at(to - from);
    let sample = if replaced.contains('\n') { replaced } else { &text };
    let is_crlf = sample.find('\n').is_some_and(|at| sample.get(..at).is_some_and(|line| line.ends_with('\r')));
    let new = if is_crlf { new.replace('\n', "\r\n") } else { new };
    contents::replace(&place, &args.path, [before, &new, after].concat().as_bytes())?;
    Ok(json!({ "path": args.path, "newText": echo(&args.new_text), "oldText": echo(&args.old_text) }))
}

/// The place in `text` of what is at `at` once all its CR LF are LF.
fn place_in(text: &str, at: usize) -> usize {
    let (mut raw, mut plain) = (0, 0);
    while plain < at {
        raw += if text.get(raw..).is_some_and(|rest| rest.starts_with("\r\n")) {
            plain += 1;
            2
        } else {
            let width = text.get(raw..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
            plain += width;
            width
        };
    }
    raw
}

/// The model's own text, returned to it, bounded.
fn echo(text: &str) -> String {
    bound(text.to_owned(), DEFAULT_LIMIT, "taken whole")
}

/// The place of a file that exists and may be written to.
fn existing(workspace: &Workspace, path: &str) -> Result<WorkspacePath, FileFailure> {
    let place = workspace.resolve_to_change(path, LastLink::Follow)?;
    contents::check_writable(&place, path)?;
    if place.metadata().is_none() {
        return Err(FileFailure::NoFile(path.to_owned()));
    }
    Ok(place)
}

fn read_text(place: &WorkspacePath, path: &str) -> Result<String, FileFailure> {
    text_of(&contents::open(place, path)?, path, MAX_TEXT)
}

/// All of `file`, which may have `limit` bytes.
fn text_of(file: &File, path: &str, limit: u64) -> Result<String, FileFailure> {
    let bytes = contents::read(file, path, limit)?.map_err(|size| FileFailure::TextTooLarge {
        size: describe::megabytes(size),
        limit: describe::megabytes(limit),
    })?;
    String::from_utf8(bytes).map_err(|_| FileFailure::NotText(path.to_owned()))
}
