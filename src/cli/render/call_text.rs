//! [`CallText`]: a call in the words of a person: its tool and its most telling argument; and what came of it.
//!
//! Called by `view` and `run_view`. Pure; everything here is on one line and without characters that act on a terminal.
//! Cutting to a width is left to `note`.

use perstack::content::Content;
use perstack::tool::{BASE_SKILL, CONVERSATION_TOOLS, ToolCall, ToolResult};
use serde_json::{Map, Value};

use super::text::{shortened, visible, visible_lines};

/// Most characters of an argument or a reason; more than the widest terminal shows.
const TEXT_WIDTH: usize = 400;

/// Most lines of a result, or of a text that was written, that are shown.
const HEAD_LINES: usize = 8;

/// Most lines of an edit that are shown.
const DIFF_LINES: usize = 40;

/// Most cells of the table that a difference is found by; beyond, only what is equal at both ends is left out.
const DIFF_CELLS: usize = 1 << 20;

/// The arguments that are most telling, in this order, where the tool is not one of the base skill's.
const TELLING: [&str; 22] = [
    "command",
    "cmd",
    "query",
    "q",
    "search",
    "path",
    "file",
    "filename",
    "filepath",
    "file_path",
    "url",
    "uri",
    "source",
    "pattern",
    "sql",
    "question",
    "prompt",
    "name",
    "title",
    "id",
    "message",
    "text",
];

/// The arguments whose text is a person's words, and is quoted.
const WORDS: [&str; 9] = ["query", "q", "search", "question", "prompt", "title", "message", "text", "pattern"];

/// The ends of the names of arguments that are places, and are not quoted.
const PLACES: [&str; 6] = ["path", "file", "url", "uri", "source", "name"];

/// A call as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallText {
    /// The tool; with its skill, where that is not the base skill.
    pub tool: String,
    /// The most telling argument; empty if there is none.
    pub argument: String,
    /// A short addition: the number of lines changed, the folder.
    pub extra: String,
}

impl CallText {
    /// The text of `call`.
    pub fn new(call: &ToolCall) -> Self {
        let (argument, extra) = if is_base(call) { base_argument(call) } else { (telling(&call.args), String::new()) };
        Self { tool: tool_name(call), argument: shortened(&argument, TEXT_WIDTH), extra }
    }
}

/// A line of a call's result, or of what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DetailLine {
    Plain(String),
    Added(String),
    Removed(String),
}

/// Returns true if the call is for the base skill, or for one of the loop's own tools.
fn is_base(call: &ToolCall) -> bool {
    call.skill_name == BASE_SKILL || CONVERSATION_TOOLS.contains(&call.tool_name.as_str())
}

/// The tool's name, behind its skill's where it does not name that itself. A delegate's skill is its expert's key.
fn tool_name(call: &ToolCall) -> String {
    let (skill, tool) = (visible(&call.skill_name), visible(&call.tool_name));
    let says_it = skill.is_empty() || tool.starts_with(&skill) || skill.contains(&tool);
    if is_base(call) || says_it { tool } else { format!("{skill}.{tool}") }
}

/// The main argument of a base tool, and the addition to it.
fn base_argument(call: &ToolCall) -> (String, String) {
    let args = &call.args;
    let text = |key: &str| args.get(key).and_then(Value::as_str).unwrap_or_default();
    let path = || visible(text("path"));
    let plain = |argument: String| (argument, String::new());
    match call.tool_name.as_str() {
        "exec" => {
            let folder = Some(visible(text("cwd"))).filter(|folder| !matches!(folder.as_str(), "" | "." | "./"));
            (command_line(args), folder.map(|folder| format!("in {folder}")).unwrap_or_default())
        }
        "editTextFile" => {
            let (added, removed) = changed_lines(text("oldText"), text("newText"));
            (path(), format!("+{added} −{removed}"))
        }
        "writeTextFile" | "appendTextFile" => (path(), format!("+{}", text("text").lines().count())),
        "readTextFile" => {
            let number = |key: &str| args.get(key).and_then(Value::as_u64);
            let lines = match (number("from"), number("to")) {
                (None, None) => String::new(),
                (from, Some(to)) => format!("lines {}–{to}", from.unwrap_or(0).saturating_add(1)),
                (Some(from), None) => format!("from line {}", from.saturating_add(1)),
            };
            (path(), lines)
        }
        "moveFile" => plain(format!("{} → {}", visible(text("source")), visible(text("destination")))),
        "deleteDirectory" if args.get("recursive") == Some(&Value::Bool(true)) => (path(), "with all in it".to_owned()),
        "listDirectory" if text("path").is_empty() => plain(".".to_owned()),
        "todo" => plain(todos(args)),
        // Its text is the answer, which is shown as that.
        "attemptCompletion" | "clearTodo" | "healthCheck" => plain(String::new()),
        _ => plain(telling(args)),
    }
}

/// The tasks that are added, and the number of those that are done.
fn todos(args: &Map<String, Value>) -> String {
    let list = |key: &str| args.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let added = list("newTodos").iter().filter_map(Value::as_str).map(visible).collect::<Vec<_>>().join("; ");
    let done = list("completedTodos").len();
    match (added.is_empty(), done) {
        (_, 0) => added,
        (true, done) => format!("{done} done"),
        (false, done) => format!("{done} done; {added}"),
    }
}

/// A program with its arguments as they would be typed; of a shell that is given a script, the script alone.
fn command_line(args: &Map<String, Value>) -> String {
    let command = args.get("command").and_then(Value::as_str).unwrap_or_default();
    let words: Vec<&str> = match args.get("args") {
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let program = command.rsplit('/').next().unwrap_or_default();
    let is_shell = matches!(program, "sh" | "bash" | "dash" | "zsh" | "ash" | "ksh");
    let line = match words.as_slice() {
        [flag, script] if is_shell && flag.starts_with('-') && !flag.starts_with("--") && flag.ends_with('c') => {
            one_line(script)
        }
        _ => {
            let words = words.into_iter().map(|word| one_line(&typed(word)));
            std::iter::once(one_line(command)).chain(words).collect::<Vec<_>>().join(" ")
        }
    };
    let variables = args.get("env").and_then(Value::as_object).into_iter().flatten();
    let set = variables
        .map(|(name, value)| format!("{}={} ", visible(name), one_line(&typed(value.as_str().unwrap_or_default()))));
    set.collect::<String>() + &line
}

/// A word in quotes, where a shell would need them.
fn typed(word: &str) -> String {
    let needs_none = |c: char| c.is_alphanumeric() || "-_./:@%+=,~^".contains(c);
    if !word.is_empty() && word.chars().all(needs_none) {
        word.to_owned()
    } else if word.contains('\'') && !word.contains(['"', '$', '`', '\\', '!']) {
        format!("\"{word}\"")
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A script on one line; a line's end is shown as a mark.
fn one_line(script: &str) -> String {
    let lines = script.lines().map(visible).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ↵ ")
}

/// The most telling argument: by its name, else the first text, else the first of all.
fn telling(args: &Map<String, Value>) -> String {
    if args.get("command").is_some_and(Value::is_string) && args.get("args").is_none_or(Value::is_array) {
        return command_line(args);
    }
    let is_called = |key: &str, name: &str| key.eq_ignore_ascii_case(name);
    let shown = |key: &str, value: &Value| argument_text(key, value).filter(|text| !text.is_empty());
    let by_name =
        || TELLING.iter().find_map(|name| args.iter().find_map(|(k, v)| shown(k, v).filter(|_| is_called(k, name))));
    let by_ending = || {
        args.iter().find_map(|(key, value)| {
            let key_end = key.to_ascii_lowercase();
            shown(key, value)
                .filter(|_| ["path", "url", "uri", "query", "name"].iter().any(|end| key_end.ends_with(end)))
        })
    };
    let first_text = || args.iter().find_map(|(key, value)| shown(key, value).filter(|_| value.is_string()));
    let first = || {
        args.iter().find_map(|(key, value)| {
            let text = shown(key, value)?;
            Some(format!("{}={text}", visible(key)))
        })
    };
    by_name().or_else(by_ending).or_else(first_text).or_else(first).unwrap_or_default()
}

fn argument_text(key: &str, value: &Value) -> Option<String> {
    match value {
        Value::String(text) => {
            let text = visible(text);
            let key = key.to_ascii_lowercase();
            let is_place = PLACES.iter().any(|end| key.ends_with(end));
            let is_words = WORDS.contains(&key.as_str()) || (text.contains(' ') && !is_place);
            // Quotes around nothing are no help.
            Some(if is_words && !text.is_empty() { format!("\"{text}\"") } else { text })
        }
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Array(items) => {
            let words: Vec<String> = items.iter().filter_map(Value::as_str).map(visible).collect();
            (!words.is_empty()).then(|| words.join(", "))
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// The start of a query to a delegate, in quotes.
pub fn query_text(query: &str) -> String {
    let text = visible(query);
    if text.is_empty() { text } else { format!("\"{}\"", shortened(&text, TEXT_WIDTH)) }
}

/// The first line of the reason of a failed call.
pub fn failure_text(result: &ToolResult) -> String {
    let text = result_text(result);
    let mut lines = text.lines().map(visible).filter(|line| !line.is_empty()).peekable();
    let first = lines.next().unwrap_or_default();
    // `exec` begins with the command line, which is shown already.
    let reason =
        if first.starts_with("Command failed: ") { lines.next().unwrap_or_else(|| "failed".to_owned()) } else { first };
    if reason.is_empty() { "failed".to_owned() } else { shortened(&reason, TEXT_WIDTH) }
}

/// The telling part of a result: of an object its error, output, content or message, else its whole text.
fn result_text(result: &ToolResult) -> String {
    let text = result.result.iter().filter_map(Content::as_text).collect::<Vec<_>>().join("\n");
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(&text) else { return text };
    let of = |key: &str| object.get(key).and_then(Value::as_str);
    // The original's errors have their class in `error`, and the text in `message`.
    let found = if object.contains_key("error") {
        of("message").or_else(|| of("error"))
    } else {
        ["output", "content", "text", "message", "result"].iter().find_map(|key| of(key))
    };
    found.map_or(text, str::to_owned)
}

/// The lines below a call with `-v`: of an edit what it changed, else the head of its result.
pub fn details(call: &ToolCall, result: Option<&ToolResult>) -> Vec<DetailLine> {
    let has_failed = result.is_some_and(|result| result.is_error);
    let text = |key: &str| call.args.get(key).and_then(Value::as_str).unwrap_or_default();
    if is_base(call) && !has_failed {
        match call.tool_name.as_str() {
            "editTextFile" => return cut(diff(text("oldText"), text("newText")), DIFF_LINES),
            "writeTextFile" | "appendTextFile" => {
                return cut(visible_lines(text("text")).into_iter().map(DetailLine::Added).collect(), HEAD_LINES);
            }
            _ if CONVERSATION_TOOLS.contains(&call.tool_name.as_str()) => return Vec::new(),
            _ => {}
        }
    }
    let Some(result) = result else { return Vec::new() };
    let lines = visible_lines(&result_text(result)).into_iter().filter(|line| !line.trim().is_empty());
    // The line of a failure that is on the call's own line, and the command line of `exec`, which is there too.
    let own = if has_failed { failure_text(result) } else { String::new() };
    let is_there = |line: &str| has_failed && (visible(line) == own || line.starts_with("Command failed: "));
    cut(lines.filter(|line| !is_there(line)).map(DetailLine::Plain).collect(), HEAD_LINES)
}

fn cut(mut lines: Vec<DetailLine>, most: usize) -> Vec<DetailLine> {
    let all = lines.len();
    // A line that counts one line would save nothing.
    if all > most + 1 {
        lines.truncate(most);
        lines.push(DetailLine::Plain(format!("… {} more lines", all - most)));
    }
    lines
}

/// The numbers of lines that an edit adds and removes.
fn changed_lines(old: &str, new: &str) -> (usize, usize) {
    let lines = diff(old, new);
    let count = |is: fn(&DetailLine) -> bool| lines.iter().filter(|line| is(line)).count();
    (count(|line| matches!(line, DetailLine::Added(_))), count(|line| matches!(line, DetailLine::Removed(_))))
}

/// The lines of both texts, those that only one has marked; equal ones at both ends are left out.
fn diff(old: &str, new: &str) -> Vec<DetailLine> {
    let (old, new) = (visible_lines(old), visible_lines(new));
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (old.get(head..).unwrap_or_default(), new.get(head..).unwrap_or_default());
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let old = old.get(..old.len() - tail).unwrap_or_default();
    let new = new.get(..new.len() - tail).unwrap_or_default();
    let (removed, added) =
        (|line: &String| DetailLine::Removed(line.clone()), |line: &String| DetailLine::Added(line.clone()));
    if old.len().saturating_mul(new.len()) > DIFF_CELLS {
        return old.iter().map(removed).chain(new.iter().map(added)).collect();
    }
    // The longest common part of what is behind each pair of places.
    let width = new.len() + 1;
    let mut common = vec![0_usize; (old.len() + 1) * width];
    let at = |common: &[usize], row: usize, column: usize| common.get(row * width + column).copied().unwrap_or(0);
    for row in (0..old.len()).rev() {
        for column in (0..new.len()).rev() {
            let value = if old.get(row) == new.get(column) {
                at(&common, row + 1, column + 1) + 1
            } else {
                at(&common, row + 1, column).max(at(&common, row, column + 1))
            };
            if let Some(cell) = common.get_mut(row * width + column) {
                *cell = value;
            }
        }
    }
    let (mut row, mut column, mut lines) = (0, 0, Vec::new());
    loop {
        match (old.get(row), new.get(column)) {
            (Some(line), Some(other)) if line == other => {
                lines.push(DetailLine::Plain(line.clone()));
                (row, column) = (row + 1, column + 1);
            }
            (Some(line), other) if other.is_none() || at(&common, row + 1, column) >= at(&common, row, column + 1) => {
                lines.push(removed(line));
                row += 1;
            }
            (_, Some(line)) => {
                lines.push(added(line));
                column += 1;
            }
            (_, None) => return lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(skill: &str, tool: &str, args: Value) -> ToolCall {
        let Value::Object(args) = args else { panic!("an object") };
        ToolCall { id: "c1".to_owned(), skill_name: skill.to_owned(), tool_name: tool.to_owned(), args }
    }

    fn text(skill: &str, tool: &str, args: Value) -> String {
        let CallText { tool, argument, extra } = CallText::new(&call(skill, tool, args));
        [tool, argument, extra].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
    }

    fn base(tool: &str, args: Value) -> String {
        text(BASE_SKILL, tool, args)
    }

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let exec = |args| base("exec", args);
        assert_eq!(
            exec(json!({"command": "ls", "args": ["-l", "my file", "it's"]})),
            r#"exec  ls -l 'my file' "it's""#
        );
        let script = json!({"command": "/bin/bash", "args": ["-lc", "rm -rf build && make"], "cwd": "sub/"});
        assert_eq!(exec(script), "exec  rm -rf build && make  in sub/");
        assert_eq!(exec(json!({"command": "sh", "args": ["-c", "cd a\n\nmake"]})), "exec  cd a ↵ make");
        assert_eq!(exec(json!({"command": "sh", "args": ["run.sh"]})), "exec  sh run.sh");
        assert_eq!(exec(json!({"command": "make", "args": [], "env": {"CC": "my cc"}})), "exec  CC='my cc' make");
        assert_eq!(
            exec(json!({"command": "printf", "args": ["a\u{1b}[2J", "$(x)'"]})),
            r"exec  printf 'a\x1b[2J' '$(x)'\'''"
        );
    }

    #[test]
    fn each_base_tool_shows_what_it_is_about() {
        let edit = json!({"path": "src/a.rs", "oldText": "a\nb\nc", "newText": "a\nB\nBB\nc"});
        assert_eq!(base("editTextFile", edit), "editTextFile  src/a.rs  +2 −1");
        assert_eq!(base("writeTextFile", json!({"path": "a", "text": "1\n2\n"})), "writeTextFile  a  +2");
        assert_eq!(base("readTextFile", json!({"path": "a", "from": 9, "to": 20})), "readTextFile  a  lines 10–20");
        assert_eq!(base("moveFile", json!({"source": "a", "destination": "b"})), "moveFile  a → b");
        assert_eq!(base("listDirectory", json!({})), "listDirectory  .");
        assert_eq!(
            base("deleteDirectory", json!({"path": "d", "recursive": true})),
            "deleteDirectory  d  with all in it"
        );
        assert_eq!(base("todo", json!({"newTodos": ["one", "two"], "completedTodos": [1]})), "todo  1 done; one; two");
        assert_eq!(base("attemptCompletion", json!({"result": "Owls."})), "attemptCompletion");
    }

    #[test]
    fn other_tools_show_their_most_telling_argument() {
        assert_eq!(text("web", "search", json!({"limit": 3, "query": "barn owls"})), "web.search  \"barn owls\"");
        assert_eq!(text("web", "fetch", json!({"raw": true, "URL": "https://a.b/c"})), "web.fetch  https://a.b/c");
        assert_eq!(text("db", "run", json!({"db": "main", "sqlQuery": "select 1"})), "db.run  \"select 1\"");
        assert_eq!(text("x", "x_do", json!({"first": "one", "second": "two"})), "x_do  one");
        assert_eq!(text("x", "count", json!({"from": null, "n": 3})), "x.count  n=3");
        assert_eq!(text("x", "tags", json!({"list": ["a", "b"]})), "x.tags  list=a, b");
        assert_eq!(text("x", "go", json!({"name": {"deep": 1}})), "x.go");
        assert_eq!(text("@team/reader", "reader", json!({"query": "Read\nit."})), "reader  \"Read it.\"");
        assert_eq!(text("sh", "run", json!({"command": "make", "args": ["all"]})), "sh.run  make all");
    }

    #[test]
    fn a_failure_is_its_first_telling_line() {
        let failed = |text: &str| failure_text(&ToolResult::error(&call("s", "t", json!({})), text));
        assert_eq!(failed("\nno such file\nat line 3"), "no such file");
        assert_eq!(
            failed(r#"{"error":"Command failed: sh -c 'exit 1'\n\nsh: no\u001b[2J\n","stderr":"x"}"#),
            r"sh: no\x1b[2J"
        );
        assert_eq!(failed(r#"{"error":"Command failed: false\n"}"#), "failed");
        assert_eq!(failed(r#"{"error":"Error","message":"File a does not exist."}"#), "File a does not exist.");
        assert_eq!(failed(""), "failed");
    }

    #[test]
    fn an_edit_is_shown_as_what_it_changes() {
        let edit = json!({"path": "a", "oldText": "same\none\ntwo\nend", "newText": "same\nONE\ntwo\nthree\nend"});
        let lines = details(&call(BASE_SKILL, "editTextFile", edit), None);
        let plain = |line: &str| DetailLine::Plain(line.to_owned());
        let (added, removed) =
            (|line: &str| DetailLine::Added(line.to_owned()), |line: &str| DetailLine::Removed(line.to_owned()));
        assert_eq!(lines, [removed("one"), added("ONE"), plain("two"), added("three")]);
        assert_eq!(changed_lines("", "a\nb"), (2, 0));
        assert_eq!(changed_lines("a\nb", ""), (0, 2));
        let many = "line\n".repeat(3_000);
        assert_eq!(changed_lines(&many, &many.replace("line", "other")), (3_000, 3_000));
    }

    #[test]
    fn a_result_is_shown_by_its_head() {
        let made = call(BASE_SKILL, "exec", json!({"command": "seq"}));
        let output = (1..=20).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        let result = ToolResult::new(&made, vec![Content::text(json!({ "output": output }).to_string())]);
        let lines = details(&made, Some(&result));
        assert_eq!((lines.len(), lines.last()), (9, Some(&DetailLine::Plain("… 12 more lines".to_owned()))));
        let failed = ToolResult::error(&made, "why\nmore");
        assert_eq!(details(&made, Some(&failed)), [DetailLine::Plain("more".to_owned())]);
    }
}
