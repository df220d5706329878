//! [`split`]: reads the definitions of tools out of a lock's text at a fraction of the cost of TOML's parser. They are
//! nearly all of the file, and the start of a run waits for them. `file` calls it, and reads the rest as TOML.
//!
//! It knows no more than the form in which `install` writes a lock. Where it meets anything else (a comment, a dotted
//! key, tables in another order, a mistake) it gives up: then TOML's parser reads the whole file and decides.

use std::sync::Arc;

use serde_json::Value;

use super::LockedTool;
use super::open_tables::OpenTables;
use super::text_reader::TextReader;

/// A lock's text in two parts.
#[derive(Debug, Default)]
pub(super) struct SplitLock {
    /// The text without definitions. In the place of each list is one empty definition, which is [`marked`] with the list's
    /// number: so TOML's parser judges whether a list may be there, and shows whose it is.
    pub rest: String,
    /// The lists of definitions, in their order in the text.
    pub lists: Vec<Vec<LockedTool>>,
}

/// Splits the text of a lock; `None` where it is not in the form that `install` writes.
pub(super) fn split(text: &str) -> Option<SplitLock> {
    let mut reader = TextReader::new(text);
    let mut split = SplitLock::default();
    while let Some(byte) = reader.peek() {
        let start = reader.position();
        match byte {
            b'\n' => reader.skip(1),
            b'[' => {
                let line = reader.line();
                if let Some(path) = list_of_definitions(line) {
                    let number = split.lists.len();
                    let mark = format!("{line}\nskillName = \"{number}\"\nname = \"\"\ninputSchema = {{}}\n");
                    split.rest.push_str(&mark);
                    split.lists.push(definitions(&mut reader, path)?);
                    continue;
                }
            }
            _ => _ = reader.statement()?,
        }
        split.rest.push_str(text.get(start..reader.position())?);
    }
    Some(split)
}

/// The number of the list that an empty definition is left for.
pub(super) fn marked(tool: &LockedTool) -> Option<usize> {
    tool.skill_name.parse().ok().filter(|_| tool.name.is_empty())
}

/// The path in a header of the form `[[experts.KEY.toolDefinitions]]`.
fn list_of_definitions(line: &str) -> Option<&str> {
    let (path, is_list) = header(line)?;
    let key = path.strip_prefix("experts.")?.strip_suffix(".toolDefinitions")?;
    let mut reader = TextReader::new(key);
    reader.key()?;
    (is_list && reader.peek().is_none()).then_some(path)
}

/// The path of a header, and whether it adds to a list of tables.
fn header(line: &str) -> Option<(&str, bool)> {
    let inner = line.strip_prefix('[')?.strip_suffix(']')?;
    match inner.strip_prefix('[') {
        Some(inner) => Some((inner.strip_suffix(']')?, true)),
        None => Some((inner, false)),
    }
}

/// The list of definitions at `path`, behind the header of its first one.
fn definitions(reader: &mut TextReader<'_>, path: &str) -> Option<Vec<LockedTool>> {
    let mut tools = Vec::new();
    let mut open = OpenTables::default();
    while let Some(byte) = reader.peek() {
        match byte {
            b'\n' => reader.skip(1),
            b'[' => {
                let start = reader.clone();
                let (found, is_list) = header(reader.line())?;
                match found.strip_prefix(path) {
                    Some("") if is_list => tools.push(definition(std::mem::take(&mut open))?),
                    Some(beneath) if beneath.starts_with('.') => open.open(beneath, is_list)?,
                    _ => {
                        *reader = start;
                        break;
                    }
                }
            }
            _ => {
                let (key, value) = reader.statement()?;
                open.insert(key.into_owned(), value)?;
            }
        }
    }
    tools.push(definition(open)?);
    Some(tools)
}

/// A definition with the known keys and no others.
fn definition(tables: OpenTables<'_>) -> Option<LockedTool> {
    let mut entries = tables.finish()?;
    let mut text = |key: &str| match entries.swap_remove(key) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text)),
        Some(_) => None,
    };
    let (skill_name, name) = (text("skillName")??, text("name")??);
    let (description, digest, input_schema_json) = (text("description")?, text("digest")?, text("inputSchemaJson")?);
    let Some(Value::Object(input_schema)) = entries.swap_remove("inputSchema") else { return None };
    let kind = entries.swap_remove("kind").map(serde_json::from_value).transpose().ok()?;
    let hints = entries.swap_remove("hints").map(serde_json::from_value).transpose().ok()?;
    let input_schema = Arc::new(input_schema);
    let tool = LockedTool { skill_name, name, description, kind, hints, digest, input_schema_json, input_schema };
    entries.is_empty().then_some(tool)
}
