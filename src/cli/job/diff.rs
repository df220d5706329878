//! `perstack job diff`: two states of conversations, message by message.

use std::io;
use std::ops::Range;
use std::path::Path;

use clap::Args;
use perstack::checkpoint::{Checkpoint, CheckpointHead};
use perstack::message::Message;
use perstack::runtime::history;
use perstack::store::{Store, short_id};
use serde::Serialize;
use serde_json::{Map, Value, json};
use similar::{Algorithm, DiffTag, capture_diff_slices};

use crate::cli::completions::candidates;
use crate::cli::failure::Failure;
use crate::cli::log::head::spent;
use crate::cli::log::options::{Form, FormArgs, RecordsArgs};
use crate::cli::log::page::{Page, laid_out};
use crate::cli::log::step_text::contents_lines;
use crate::cli::log::tree::status_text;
use crate::cli::log::values::argument_lines;
use crate::cli::owners::OwnerCheck;
use crate::cli::render::{Paint, count, visible};
use crate::cli::setup::storage_folder;
use crate::cli::text_diff::difference;
use crate::cli::{Exit, Process};

const AFTER_HELP: &str = "\
A and B are checkpoints, runs or jobs: a file, an id, a beginning or an end of one that no other
has, or `latest`. A job or a run is taken as it is now. Ids within messages are not compared.

Examples:
  perstack job diff 0244ac3f 99b017de
  perstack job diff ./checkpoint-2-01a20244-7d8b-7008-bd08-3365e99a00b3.json latest
  perstack job diff 0244ac3f 99b017de --json";

/// Compares two checkpoints or jobs, message by message
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct DiffArgs {
    /// The one that differences are from
    #[arg(add = candidates::resumable())]
    a: String,
    /// The one that they are to
    #[arg(add = candidates::resumable())]
    b: String,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    records: RecordsArgs,
}

/// Runs the command.
pub fn run(args: &DiffArgs, process: &Process) -> Result<Exit, Failure> {
    let storage = storage_folder(process, args.records.storage.as_deref(), None, &OwnerCheck::without_flag(process))?;
    let a = history::read_state(&storage, &args.a)?;
    let b = history::read_state(&storage, &args.b)?;
    let parts = compare(&a.messages, &b.messages);
    let form = args.form.form();
    let mut page =
        if args.records.no_pager || form != Form::Text { Page::stdout(process) } else { Page::paged(process) };
    let written = match form {
        Form::Text => write_text(&storage, &a, &b, &parts, &mut page),
        Form::Json | Form::PrettyJson => {
            laid_out(&to_json(&a, &b, &parts), form).and_then(|text| page.raw(&(text + "\n")))
        }
    };
    page.close(written.map(|()| Exit::Completed))
}

/// A part of two conversations: messages that are the same, or that stand in each other's place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DiffPart {
    is_same: bool,
    a: Range<usize>,
    b: Range<usize>,
}

fn compare(a: &[Message], b: &[Message]) -> Vec<DiffPart> {
    let (a, b): (Vec<String>, Vec<String>) = (a.iter().map(likeness).collect(), b.iter().map(likeness).collect());
    let ops = capture_diff_slices(Algorithm::Myers, &a, &b);
    ops.iter()
        .map(|op| DiffPart { is_same: op.tag() == DiffTag::Equal, a: op.old_range(), b: op.new_range() })
        .collect()
}

/// A message without what differs between jobs that had the same conversation: ids, signatures, hints for caches.
fn likeness(message: &Message) -> String {
    let mut value = serde_json::to_value(message).unwrap_or_default();
    strip(&mut value);
    value.to_string()
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in ["id", "toolCallId", "cache", "signature", "opaque", "madeBy"] {
                fields.shift_remove(key);
            }
            // Arguments are what the model made them.
            fields.iter_mut().filter(|(key, _)| *key != "args").for_each(|(_, value)| strip(value));
        }
        Value::Array(all) => all.iter_mut().for_each(strip),
        _ => {}
    }
}

fn write_text(storage: &Path, a: &Checkpoint, b: &Checkpoint, parts: &[DiffPart], page: &mut Page) -> io::Result<()> {
    let paint = page.paint();
    page.wrapped_line(&paint.red(&format!("--- {}", title(storage, a))))?;
    page.wrapped_line(&paint.green(&format!("+++ {}", title(storage, b))))?;
    for part in parts {
        page.line("")?;
        if part.is_same {
            page.line(&paint.dim(&format!("= {}, the same", numbered(&part.a))))?;
            continue;
        }
        let (old, new) = (slice(&a.messages, &part.a), slice(&b.messages, &part.b));
        for (at, pair) in pairs(old, new).into_iter().enumerate() {
            if at > 0 {
                page.line("")?;
            }
            for line in pair_lines(&pair, part, paint) {
                page.wrapped_line(&line)?;
            }
        }
    }
    page.line("")?;
    page.line(&sum(parts))
}

/// `job nest, run 5d2f5c3b, step 3, completed, 7 messages, 360 tokens, $0.0018`.
fn title(storage: &Path, checkpoint: &Checkpoint) -> String {
    let CheckpointHead { job_id, run_id, step_number, status, usage, spend, .. } = &checkpoint.head;
    let store = Store::new(storage);
    let jobs = store.job_ids().unwrap_or_default();
    let runs = store.run_ids(job_id).unwrap_or_default();
    let job = short_id(job_id.as_str(), jobs.iter().map(perstack::id::JobId::as_str));
    let run = short_id(run_id.as_str(), runs.iter().map(perstack::id::RunId::as_str));
    let messages = counted(checkpoint.messages.len());
    let tokens = count(usage.total_tokens);
    let cost = spent(*spend).map(|cost| format!(", {cost}")).unwrap_or_default();
    let status = status_text(*status);
    format!("job {job}, run {run}, step {step_number}, {status}, {messages}, {tokens} tokens{cost}")
}

/// `message 3`, `messages 3 to 5`, counted from 1.
fn numbered(range: &Range<usize>) -> String {
    match range.len() {
        1 => format!("message {}", range.start + 1),
        _ => format!("messages {} to {}", range.start + 1, range.end),
    }
}

fn slice<'a>(messages: &'a [Message], range: &Range<usize>) -> &'a [Message] {
    messages.get(range.clone()).unwrap_or_default()
}

/// Messages in each other's place, by their places in the part.
struct MessagePair<'a> {
    old: Option<(usize, &'a Message)>,
    new: Option<(usize, &'a Message)>,
}

/// The messages side by side, as far as they are of one kind.
fn pairs<'a>(old: &'a [Message], new: &'a [Message]) -> Vec<MessagePair<'a>> {
    let mut pairs = Vec::new();
    let (mut old, mut new) = (old.iter().enumerate().peekable(), new.iter().enumerate().peekable());
    while let (Some((_, a)), Some((_, b))) = (old.peek(), new.peek()) {
        if role(a) != role(b) {
            break;
        }
        pairs.push(MessagePair { old: old.next(), new: new.next() });
    }
    pairs.extend(old.map(|message| MessagePair { old: Some(message), new: None }));
    pairs.extend(new.map(|message| MessagePair { old: None, new: Some(message) }));
    pairs
}

fn role(message: &Message) -> &'static str {
    match message {
        Message::InstructionMessage { .. } => "instruction",
        Message::UserMessage { .. } => "user",
        Message::ExpertMessage { .. } => "expert",
        Message::ToolMessage { .. } => "tool results",
    }
}

fn pair_lines(pair: &MessagePair<'_>, part: &DiffPart, paint: Paint) -> Vec<String> {
    let number = |start: usize, at: usize| start + at + 1;
    let (old, new) = (pair.old.map(|(_, message)| text_of(message)), pair.new.map(|(_, message)| text_of(message)));
    let title = match (pair.old, pair.new) {
        (Some((a, message)), Some((b, _))) => {
            let (a, b) = (number(part.a.start, a), number(part.b.start, b));
            let numbers = if a == b { format!("message {a}") } else { format!("message {a}, now {b}") };
            format!("~ {numbers}, {}", role(message))
        }
        (Some((a, message)), None) => format!("- message {}, {}, in A alone", number(part.a.start, a), role(message)),
        (None, Some((b, message))) => format!("+ message {}, {}, in B alone", number(part.b.start, b), role(message)),
        (None, None) => return Vec::new(),
    };
    let lines = difference(&old.unwrap_or_default(), &new.unwrap_or_default(), paint);
    std::iter::once(paint.cyan(&title))
        .chain(lines.into_iter().map(|line| format!("  {line}").trim_end().to_owned()))
        .collect()
}

/// A message as text: what it holds, calls with their arguments.
fn text_of(message: &Message) -> String {
    let value = serde_json::to_value(message).unwrap_or_default();
    let parts = value.get("contents").and_then(Value::as_array).into_iter().flatten();
    parts.flat_map(part_lines).collect::<Vec<_>>().join("\n")
}

fn part_lines(part: &Value) -> Vec<String> {
    let plain = Paint::plain();
    let text = |key: &str| visible(part.get(key).and_then(Value::as_str).unwrap_or_default());
    let below = |title: String, lines: Vec<String>| {
        std::iter::once(title).chain(lines.into_iter().map(|line| format!("  {line}"))).collect()
    };
    match part.get("type").and_then(Value::as_str) {
        Some("toolCallPart") => {
            let args = part.get("args").and_then(Value::as_object);
            below(
                format!("calls {}", text("toolName")),
                args.map(|args| argument_lines(args, plain)).unwrap_or_default(),
            )
        }
        Some("toolResultPart") => {
            let failed = if part.get("isError").is_some_and(|flag| flag == true) { ", an error" } else { "" };
            below(
                format!("{} returned{failed}", text("toolName")),
                contents_lines(part.get("contents"), Some(&Map::new()), plain),
            )
        }
        _ => contents_lines(Some(&json!([part])), None, plain),
    }
}

fn sum(parts: &[DiffPart]) -> String {
    let (mut same, mut changed, mut removed, mut added) = (0, 0, 0, 0);
    for part in parts {
        let (a, b) = (part.a.len(), part.b.len());
        if part.is_same {
            same += a;
        } else {
            changed += a.min(b);
            removed += a.saturating_sub(b);
            added += b.saturating_sub(a);
        }
    }
    if changed + removed + added == 0 {
        return format!("no difference in {}", counted(same));
    }
    format!("{} the same, {changed} changed, {removed} in A alone, {added} in B alone", counted(same))
}

fn counted(messages: usize) -> String {
    if messages == 1 { "1 message".to_owned() } else { format!("{messages} messages") }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Side<'a> {
    job_id: &'a str,
    run_id: &'a str,
    checkpoint_id: &'a str,
    step_number: u64,
    status: perstack::checkpoint::Status,
    usage: perstack::usage::Usage,
    messages: usize,
}

fn side(checkpoint: &Checkpoint) -> Side<'_> {
    let head = &checkpoint.head;
    Side {
        job_id: head.job_id.as_str(),
        run_id: head.run_id.as_str(),
        checkpoint_id: head.id.as_str(),
        step_number: head.step_number,
        status: head.status,
        usage: head.usage,
        messages: checkpoint.messages.len(),
    }
}

/// `parts`: in order; of those that differ, the messages. Places count from 0.
fn to_json(a: &Checkpoint, b: &Checkpoint, parts: &[DiffPart]) -> Value {
    let parts = parts.iter().map(|part| {
        let mut object = json!({
            "same": part.is_same,
            "a": {"from": part.a.start, "count": part.a.len()},
            "b": {"from": part.b.start, "count": part.b.len()},
        });
        if !part.is_same
            && let Value::Object(fields) = &mut object
        {
            for (key, messages) in [("a", slice(&a.messages, &part.a)), ("b", slice(&b.messages, &part.b))] {
                if let Some(Value::Object(side)) = fields.get_mut(key) {
                    side.insert("messages".to_owned(), json!(messages));
                }
            }
        }
        object
    });
    json!({"a": side(a), "b": side(b), "parts": parts.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(value: Value) -> Vec<Message> {
        serde_json::from_value(value).unwrap()
    }

    fn user(id: &str, text: &str) -> Value {
        json!({"type": "userMessage", "id": id, "contents": [{"id": id, "type": "textPart", "text": text}]})
    }

    fn call(id: &str, args: &Value) -> Value {
        let part = json!({"type": "toolCallPart", "id": id, "toolCallId": id, "toolName": "exec", "args": args});
        json!({"type": "expertMessage", "id": id, "contents": [part]})
    }

    #[test]
    fn ids_make_no_difference_and_arguments_do() {
        let a = messages(json!([user("1", "Which owl?"), call("2", &json!({"id": 1}))]));
        let b = messages(json!([user("3", "Which owl?"), call("4", &json!({"id": 2}))]));
        let parts = compare(&a, &b);
        let expected = [DiffPart { is_same: true, a: 0..1, b: 0..1 }, DiffPart { is_same: false, a: 1..2, b: 1..2 }];
        assert_eq!(parts, expected);
        assert_eq!(sum(&parts), "1 message the same, 1 changed, 0 in A alone, 0 in B alone");
        let pairs = pairs(&a[1..], &b[1..]);
        let lines = pair_lines(&pairs[0], &parts[1], Paint::plain());
        assert_eq!(lines, ["~ message 2, expert", "    calls exec", "  -   id: 1", "  +   id: 2"]);
    }

    #[test]
    fn messages_of_different_kinds_are_not_set_against_each_other() {
        let a = messages(json!([user("1", "a")]));
        let b = messages(json!([call("2", &json!({})), user("3", "b")]));
        let pairs = pairs(&a, &b);
        assert_eq!(
            pairs.iter().map(|pair| (pair.old.is_some(), pair.new.is_some())).collect::<Vec<_>>(),
            [(true, false), (false, true), (false, true)]
        );
    }

    #[test]
    fn the_same_conversation_has_no_difference() {
        let a = messages(json!([user("1", "a"), user("2", "b")]));
        assert_eq!(sum(&compare(&a, &a)), "no difference in 2 messages");
    }
}
