//! [`Questions`]: the questions that a stopped job waits for, asked on the terminal. Called by `job_runner`, which
//! continues the job with the answer.
//!
//! The terminal stays in its ordinary line mode, so there is nothing to put in order however the program ends.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::Arc;

use perstack::checkpoint::CheckpointHead;
use perstack::expert::{InteractiveTool, SkillSpec};
use perstack::runtime::Options;
use perstack::tool::ToolCall;
use serde_json::json;
use tokio::sync::oneshot;

use super::Process;
use super::options::{Format, JobArgs};
use super::render::{Question, Screen};

/// Most bytes of an answer: far more than a person types.
const MAX_ANSWER: usize = 1024 * 1024;

/// Bytes of a line, its end included, from which on a terminal in line mode drops what is typed: `N_TTY_BUF_SIZE` of
/// Linux, `MAX_CANON` elsewhere. A Windows console has no such limit below ours.
const FULL_LINE: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    4096
} else if cfg!(unix) {
    1024
} else {
    MAX_ANSWER
};

/// The answer of a person.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Given(String),
    /// Nothing: the job is to stop here.
    Left,
}

/// The tools that a stopped job may wait for, and permission to ask.
pub struct Questions {
    options: Arc<Options>,
    /// True if the questions may be asked on the terminal.
    asks: bool,
}

impl Questions {
    /// Asks on the terminal, or does not.
    pub fn new(asks: bool, options: Arc<Options>) -> Self {
        Self { options, asks }
    }

    /// The question of `call`.
    pub fn question(&self, head: &CheckpointHead, call: &ToolCall) -> Question {
        Question::new(call, self.tool(head, call).as_ref())
    }

    /// The call to ask now, if there is one and the terminal is free to ask.
    pub fn to_ask<'a>(&self, head: &'a CheckpointHead) -> Option<&'a ToolCall> {
        head.pending_tool_calls.first().filter(|_| self.asks && !is_in_background())
    }

    /// A tool's definition: the configuration's, else the one kept with the checkpoint.
    fn tool(&self, head: &CheckpointHead, call: &ToolCall) -> Option<InteractiveTool> {
        let key = &head.expert.key;
        let kept = || {
            let setting = self.options.store().setting(&head.job_id, &head.run_id).ok()?;
            setting.experts.into_values().find(|expert| expert.key == *key)
        };
        let expert = self.options.experts.get(key).ok().cloned().or_else(kept)?;
        match expert.skills.get(&call.skill_name)? {
            SkillSpec::InteractiveSkill { tools, .. } => tools.get(&call.tool_name).cloned(),
            SkillSpec::McpStdioSkill { .. } | SkillSpec::McpSseSkill { .. } => None,
        }
    }
}

/// Returns true if a person can be asked: the question is seen, an answer can be typed, and no option forbids it.
pub fn may_ask(process: &Process, args: &JobArgs, format: Format) -> bool {
    let refused = process.variable("PERSTACK_NO_INTERACTIVE").is_some_and(|value| value != "0");
    matches!(format, Format::Text | Format::Json)
        && !args.output.quiet
        && !args.session.no_interactive
        && !refused
        && io::stdin().is_terminal()
        && io::stderr().is_terminal()
}

/// The form of an answer that names its call.
pub fn named_answer(call: &ToolCall, text: &str) -> String {
    json!({"toolCallId": call.id, "toolName": call.tool_name, "skillName": call.skill_name, "text": text}).to_string()
}

/// Asks on the terminal, and waits for as long as it takes.
pub async fn ask(question: Question, screen: Arc<Screen>) -> Answer {
    let answer = at_terminal(screen, move |input, show| converse(&question, input, show)).await;
    answer.unwrap_or(Answer::Left)
}

/// Has `talk` read from the terminal and write to it, with the progress out of the way. `None` when it came to no end.
pub async fn at_terminal<T: Send + 'static>(
    screen: Arc<Screen>,
    talk: impl FnOnce(&mut io::StdinLock<'static>, &dyn Fn(&str)) -> T + Send + 'static,
) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    // A thread of its own: a read that does not return keeps it, and ends with the process.
    std::thread::spawn(move || {
        screen.set_aside();
        drop_typed_ahead();
        let answer = talk(&mut io::stdin().lock(), &|text| {
            // When the terminal is gone, reading ends too.
            let _ = io::stderr().lock().write_all(text.as_bytes());
        });
        screen.come_back();
        // After a signal the receiver is gone.
        let _ = sender.send(answer);
    });
    answer.await.ok()
}

/// Puts the question and reads until there is an answer that can be taken, or none.
fn converse(question: &Question, input: &mut impl BufRead, show: &dyn Fn(&str)) -> Answer {
    let by_number = if question.has_options() { "an option's number, or a text" } else { "a text" };
    let mut text = format!("? {}\n", question.title());
    for line in question.numbered() {
        text.push_str(&line);
        text.push('\n');
    }
    show(&format!("{text}  ({by_number}; a \\ at a line's end adds a line; an empty line stops here)\n"));
    loop {
        show("> ");
        match read(input, show) {
            Ok(Some(typed)) if typed.trim().is_empty() => return Answer::Left,
            Ok(Some(typed)) => return Answer::Given(question.answer(&typed)),
            Ok(None) => {
                show("\n");
                return Answer::Left;
            }
            Err(problem) => show(&format!("  {problem}: once more\n")),
        }
    }
}

/// The reason why a typed line is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypedProblem {
    #[error("a line of {FULL_LINE} bytes is more than the terminal passes on, so some of it is lost")]
    FullLine,
    #[error("an answer has at most {MAX_ANSWER} bytes")]
    TooLong,
    #[error("the line has a key that is no text (arrow keys do not work here)")]
    Key,
    #[error("that is not UTF-8 text")]
    NotText,
}

/// Reads a line, and more while they end with `\`; `None` at the input's end.
pub fn read(input: &mut impl BufRead, show: &dyn Fn(&str)) -> Result<Option<String>, TypedProblem> {
    let mut typed = String::new();
    loop {
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_ANSWER).unwrap_or(u64::MAX);
        // A terminal that cannot be read any more is at its end.
        if input.take(limit).read_until(b'\n', &mut line).is_err() || !line.ends_with(b"\n") {
            return if line.len() >= MAX_ANSWER { Err(TypedProblem::TooLong) } else { Ok(None) };
        }
        if line.len() >= FULL_LINE {
            return Err(TypedProblem::FullLine);
        }
        let line = String::from_utf8(line).map_err(|_| TypedProblem::NotText)?;
        let line = line.trim_end_matches(['\r', '\n']);
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(TypedProblem::Key);
        }
        if typed.len() + line.len() > MAX_ANSWER {
            return Err(TypedProblem::TooLong);
        }
        // Two of them at the end are two backslashes.
        let Some(head) = line.strip_suffix('\\').filter(|head| !head.ends_with('\\')) else {
            typed.push_str(line);
            return Ok(Some(typed));
        };
        typed.push_str(head);
        typed.push('\n');
        show("… ");
    }
}

/// Drops the text typed before the question was shown: it cannot be meant as the answer.
#[cfg(unix)]
pub fn drop_typed_ahead() {
    // Where that cannot be done, the person sees what was taken for the answer.
    let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
}

#[cfg(not(unix))]
pub fn drop_typed_ahead() {}

/// Returns true while the terminal belongs to another job of the shell: reading from it would stop the process.
#[cfg(unix)]
pub fn is_in_background() -> bool {
    // Both are 0 where terminal and group come from outside this namespace of processes.
    nix::unistd::tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground != nix::unistd::getpgrp())
}

#[cfg(not(unix))]
pub fn is_in_background() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::render::fixture::call;
    use super::*;

    /// The answer to what is typed, and everything that was shown.
    fn converse_over(typed: &[u8]) -> (Answer, String) {
        let tool = InteractiveTool {
            description: None,
            input_json_schema: r#"{"properties":{"question":{},"options":{}}}"#.to_owned(),
        };
        let mut asked = call("c1", "askUser", "question", "Which owl?");
        asked.args.insert("options".to_owned(), json!(["barn", "tawny"]));
        let shown = RefCell::new(String::new());
        let mut typed = typed;
        let show = |text: &str| shown.borrow_mut().push_str(text);
        let answer = converse(&Question::new(&asked, Some(&tool)), &mut typed, &show);
        (answer, shown.into_inner())
    }

    fn given(text: &str) -> Answer {
        Answer::Given(text.to_owned())
    }

    #[test]
    fn a_question_is_put_once_and_its_answer_taken() {
        let (answer, shown) = converse_over(b"2\nmore\n");
        assert_eq!(answer, given("tawny"));
        assert_eq!(
            shown,
            "? askUser\n  question: Which owl?\n  options:\n    1. barn\n    2. tawny\n  \
             (an option's number, or a text; a \\ at a line's end adds a line; an empty line stops here)\n> "
        );
    }

    #[test]
    fn a_text_is_taken_as_it_was_typed() {
        assert_eq!(converse_over(b" none of \xc3\xa4ll\tthese \r\n").0, given(" none of äll\tthese "));
        assert_eq!(converse_over(b"{\"a\": 1}\n").0, given("{\"a\": 1}"));
    }

    #[test]
    fn a_backslash_at_a_lines_end_adds_a_line() {
        let (answer, shown) = converse_over(b"one\\\n\\\ntwo\n");
        assert_eq!(answer, given("one\n\ntwo"));
        assert!(shown.ends_with("> … … "), "{shown}");
        assert_eq!(converse_over(b"C:\\\\\n").0, given("C:\\\\"));
    }

    #[test]
    fn an_empty_line_leaves_the_question_unanswered() {
        for typed in [&b"\n"[..], b" \t\n", b"\\\n\n", b"", b"half a li", b"one\\\n"] {
            assert_eq!(converse_over(typed).0, Answer::Left, "{:?}", String::from_utf8_lossy(typed));
        }
    }

    #[test]
    fn what_is_no_text_or_was_cut_is_asked_for_again() {
        let full = "x".repeat(FULL_LINE - 1) + "\nanswer\n";
        for (typed, problem) in [
            (&b"\x1b[D\nanswer\n"[..], TypedProblem::Key),
            (b"\xff\nanswer\n", TypedProblem::NotText),
            (full.as_bytes(), TypedProblem::FullLine),
        ] {
            let (answer, shown) = converse_over(typed);
            assert_eq!(answer, given("answer"));
            assert!(shown.contains(&format!("> {}", "  ".to_owned() + &problem.to_string())), "{shown}");
        }
    }

    #[test]
    fn an_answer_has_an_end() {
        let line = "x".repeat(1_000) + "\\\n";
        let typed = line.repeat(MAX_ANSWER / 1_000 + 1) + "\n";
        assert_eq!(read(&mut typed.as_bytes(), &|_| {}), Err(TypedProblem::TooLong));
    }

    #[test]
    fn an_answer_names_its_call() {
        let text = named_answer(&call("c1", "askUser", "question", "q"), "a \"b\"");
        assert_eq!(text, r#"{"toolCallId":"c1","toolName":"askUser","skillName":"@perstack/base","text":"a \"b\""}"#);
    }
}
