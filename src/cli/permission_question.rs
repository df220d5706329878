//! [`approver`]: the question for permission, asked on the terminal with the whole call: the command with its folder, or the
//! difference that a write or an edit makes.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use perstack::permission::{AskPermission, PermissionAnswer, PermissionQuestion};
use serde_json::{Map, Value};

use super::asking::{Asking, line};
use super::command_line::CommandLine;
use super::render::{Paint, shortened, visible};
use super::text_diff::difference;

/// Most characters of a line. A person must be able to read the whole of what is asked, so this only keeps a flood off.
const LINE_WIDTH: usize = 2_000;

/// Most lines of a call, for the same reason.
const MAX_LINES: usize = 300;

/// Most bytes of a file that a difference is made of.
const MAX_FILE: u64 = 1 << 20;

/// Asks on the terminal, unless an earlier answer was for the whole run.
pub fn approver(terminal: Asking) -> AskPermission {
    let standing: Arc<Mutex<HashSet<String>>> = Arc::default();
    Arc::new(move |question: PermissionQuestion| {
        let (terminal, standing) = (terminal.clone(), Arc::clone(&standing));
        Box::pin(async move {
            let key = question.scope_key();
            // Before it takes the terminal.
            if is_standing(&standing, &key) {
                return PermissionAnswer::Always;
            }
            let unanswered = PermissionAnswer::Denied { reason: None };
            let talk = move |input: &mut _, show: &dyn Fn(&str)| {
                // Here, when it is this question's turn: the one before it may have been answered for both.
                if is_standing(&standing, &key) {
                    return PermissionAnswer::Always;
                }
                // Not locked meanwhile: others look before they wait for their turn, on threads that must not wait.
                let answer = converse(&question, input, show);
                if answer == PermissionAnswer::Always {
                    standing.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
                }
                answer
            };
            let nobody = || PermissionAnswer::Denied { reason: Some(BACKGROUND.to_owned()) };
            terminal.ask(nobody, talk).await.unwrap_or(unanswered)
        })
    })
}

/// Returns true if an earlier answer was for the whole run, and for this scope.
fn is_standing(standing: &Mutex<HashSet<String>>, key: &str) -> bool {
    standing.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
}

/// The reason where the program runs in the background.
const BACKGROUND: &str = "the run is in the background, where nobody can be asked";

/// Puts the question and reads until it is answered.
fn converse(question: &PermissionQuestion, input: &mut impl BufRead, show: &dyn Fn(&str)) -> PermissionAnswer {
    let (expert, tool) = (visible(&question.expert), visible(&question.call.tool_name));
    let mut text = format!("? {expert} wants to call {tool} ({})\n", visible(&question.rule));
    for line in described(question) {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {}", shortened(&line, LINE_WIDTH));
    }
    let scope = visible(&question.scope());
    let _ = write!(text, "  (y: once; a: always in this run, {scope}; n: no, or n and a reason for the model)\n> ");
    show(&text);
    loop {
        let Some(typed) = line(input, show) else { return PermissionAnswer::Denied { reason: None } };
        let typed = typed.trim();
        let (word, rest) = typed.split_once(|c: char| c.is_whitespace() || c == ',').unwrap_or((typed, ""));
        match (word.to_lowercase().as_str(), rest.trim()) {
            ("y" | "yes" | "once", "") => return PermissionAnswer::Once,
            ("a" | "always", "") => return PermissionAnswer::Always,
            ("n" | "no", "") => {
                show("  because (an empty line gives no reason)\n> ");
                let reason = line(input, show).map(|reason| reason.trim().to_owned());
                return PermissionAnswer::Denied { reason: reason.filter(|reason| !reason.is_empty()) };
            }
            ("n" | "no", reason) => return PermissionAnswer::Denied { reason: Some(reason.to_owned()) },
            _ => show("  y, a or n\n> "),
        }
    }
}

/// The call, line by line.
fn described(question: &PermissionQuestion) -> Vec<String> {
    let args = &question.call.args;
    let text = |name: &str| args.get(name).and_then(Value::as_str);
    let mut lines = match (question.call.tool_name.as_str(), text("command"), text("path")) {
        (_, Some(program), _) if question.is_exact => command(program, args, &question.workspace),
        ("editTextFile", _, Some(path)) => {
            let changed = difference(text("oldText").unwrap_or(""), text("newText").unwrap_or(""), Paint::plain());
            [vec![format!("path: {}", visible(path))], changed].concat()
        }
        ("writeTextFile", _, Some(path)) => {
            let old = content(&question.workspace, path);
            let head = if old.is_some() { "path" } else { "new file" };
            let changed = difference(&old.unwrap_or_default(), text("text").unwrap_or(""), Paint::plain());
            [vec![format!("{head}: {}", visible(path))], changed].concat()
        }
        ("appendTextFile", _, Some(path)) => {
            let added = difference("", text("text").unwrap_or(""), Paint::plain());
            [vec![format!("path: {}", visible(path))], added].concat()
        }
        _ => laid_out(args),
    };
    let left_out = lines.len().saturating_sub(MAX_LINES);
    if left_out > 0 {
        lines.truncate(MAX_LINES);
        lines.push(format!("… {left_out} more lines: the log has them all"));
    }
    lines
}

fn command(program: &str, args: &Map<String, Value>, workspace: &Path) -> Vec<String> {
    let mut words = CommandLine::new([program]);
    match args.get("args") {
        Some(Value::Array(given)) => given.iter().for_each(|word| {
            words.word(word.as_str().map_or_else(|| word.to_string(), str::to_owned));
        }),
        None | Some(Value::Null) => {}
        Some(other) => drop(words.word(other.to_string())),
    }
    let folder =
        args.get("cwd").and_then(Value::as_str).map_or_else(|| workspace.to_owned(), |cwd| workspace.join(cwd));
    let mut lines = vec![
        format!("command: {}", visible(&words.to_string())),
        format!("folder: {}", visible(&folder.display().to_string())),
    ];
    let rest = args.iter().filter(|(name, _)| !matches!(name.as_str(), "command" | "args" | "cwd"));
    lines.extend(rest.map(|(name, value)| format!("{}: {}", visible(name), visible(&value.to_string()))));
    lines
}

fn laid_out(args: &Map<String, Value>) -> Vec<String> {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    args.iter().map(|(name, value)| format!("{}: {}", visible(name), visible(&shown(value)))).collect()
}

/// The text of a file of the workspace, to compare with what is to be written.
fn content(workspace: &Path, path: &str) -> Option<String> {
    let root = workspace.canonicalize().ok()?;
    let file: PathBuf = root.join(path).canonicalize().ok()?;
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file() && metadata.len() <= MAX_FILE)?;
    if !file.starts_with(&root) || metadata.len() > MAX_FILE {
        return None;
    }
    fs::read_to_string(file).ok()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::json;

    use super::super::render::fixture::call;
    use super::*;

    fn question(tool: &str, args: &Value, workspace: &Path) -> PermissionQuestion {
        let mut asked = call("c1", tool, "x", "y");
        asked.args = args.as_object().cloned().unwrap();
        let (expert, rule) = ("owl".to_owned(), format!("--ask {tool}"));
        PermissionQuestion { expert, rule, is_exact: tool == "exec", call: asked, workspace: workspace.to_owned() }
    }

    fn asked(question: &PermissionQuestion, typed: &str) -> (PermissionAnswer, String) {
        let output = RefCell::new(String::new());
        let show = |text: &str| output.borrow_mut().push_str(text);
        let answer = converse(question, &mut typed.as_bytes(), &show);
        (answer, output.into_inner())
    }

    #[test]
    fn a_command_is_shown_whole() {
        let args =
            json!({"command": "git", "args": ["commit", "-m", "a b\n\u{1b}[2Jc"], "cwd": "src", "env": {"A": "b"}});
        let (answer, shown) = asked(&question("exec", &args, Path::new("/work")), "y\n");
        assert_eq!(answer, PermissionAnswer::Once);
        assert_eq!(
            shown,
            "? owl wants to call exec (--ask exec)\n  command: git commit -m $'a b\\n\\x1b[2Jc'\n  folder: /work/src\n  \
             env: {\"A\":\"b\"}\n  (y: once; a: always in this run, exactly this command; n: no, or n and a reason for the \
             model)\n> "
        );
    }

    #[test]
    fn a_write_is_shown_as_the_difference_that_it_makes() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), "one\ntwo\n").unwrap();
        let write = |path| question("writeTextFile", &json!({"path": path, "text": "one\nthree\n"}), folder.path());
        assert!(asked(&write("a.txt"), "a\n").1.contains("\n  path: a.txt\n    one\n  - two\n  + three\n"));
        assert!(asked(&write("b.txt"), "a\n").1.contains("\n  new file: b.txt\n  + one\n  + three\n"));
        let edit = json!({"path": "a.txt", "oldText": "two", "newText": "2"});
        let edit = question("editTextFile", &edit, folder.path());
        assert!(asked(&edit, "a\n").1.contains("\n  path: a.txt\n  - two\n  + 2\n"));
    }

    #[test]
    fn a_refusal_has_its_reason() {
        let question = question("get", &json!({"url": "u"}), Path::new("/"));
        let denied = |reason: Option<&str>| PermissionAnswer::Denied { reason: reason.map(str::to_owned) };
        for (typed, answer) in [
            ("n\nnot today\n", denied(Some("not today"))),
            ("no, not today\n", denied(Some("not today"))),
            ("n because it is late\n", denied(Some("because it is late"))),
            ("n\n\n", denied(None)),
            ("", denied(None)),
            ("perhaps\nA\n", PermissionAnswer::Always),
        ] {
            assert_eq!(asked(&question, typed).0, answer, "{typed:?}");
        }
    }
}
