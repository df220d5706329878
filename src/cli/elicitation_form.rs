//! [`asker`]: the questions of servers in the middle of a call, asked on the terminal: the message, the fields one by
//! one, and consent to send the answers.

use std::fmt::Write as _;
use std::io::BufRead;
use std::sync::Arc;

use perstack::skill::mcp::{AskPerson, Asked, Choice, Elicitation, Field, FieldKind, Reply};
use serde_json::{Map, Value};

use super::asking::{Asking, line};
use super::render::{shortened, visible};

/// Most characters of one text of a server.
const TEXT_WIDTH: usize = 2_000;

/// Most choices that are shown of one field.
const MAX_SHOWN: usize = 100;

/// The line that refuses to send anything.
const REFUSAL: &str = "!";

/// Asks on the terminal, one question at a time, with the progress out of the way.
pub fn asker(terminal: Asking) -> AskPerson {
    Arc::new(move |asked| {
        let terminal = terminal.clone();
        Box::pin(async move {
            let answered = terminal.ask(|| Reply::Declined, move |input, show| converse(&asked, input, show)).await;
            answered.unwrap_or(Reply::Cancelled)
        })
    })
}

/// Puts the question and reads until all of it is answered, refused or left.
fn converse(asked: &Elicitation, input: &mut impl BufRead, show: &dyn Fn(&str)) -> Reply {
    let skill = visible(&asked.skill);
    show(&format!("? {skill} asks: {}\n", shown(&asked.message)));
    let fields = match &asked.asked {
        Asked::Form(fields) => fields.as_slice(),
        Asked::Visit(address) => {
            show(&format!("  it wants you to open, in a browser: {}\n", visible(address)));
            return confirm("do you agree?", Map::new(), input, show);
        }
    };
    if !fields.is_empty() {
        show(&format!(
            "  ({REFUSAL} sends nothing; an empty line takes the default, or leaves out what is not needed)\n"
        ));
    }
    let mut values = Map::new();
    for field in fields {
        show(&described(field));
        loop {
            show("> ");
            let Some(typed) = line(input, show) else { return Reply::Cancelled };
            if typed.trim() == REFUSAL {
                return Reply::Declined;
            }
            match field.read(&typed) {
                Ok(Some(value)) => {
                    values.insert(field.name.clone(), value);
                    break;
                }
                Ok(None) => break,
                Err(problem) => show(&format!("  {}: once more\n", visible(&problem))),
            }
        }
    }
    let values_shown = Value::Object(values.clone()).to_string();
    if !values.is_empty() {
        show(&format!("  to be sent: {}\n", shown(&values_shown)));
    }
    confirm(&format!("send this to {skill}?"), values, input, show)
}

/// Asks for consent to what was asked.
fn confirm(question: &str, values: Map<String, Value>, input: &mut impl BufRead, show: &dyn Fn(&str)) -> Reply {
    loop {
        show(&format!("  {question} (y/n)\n> "));
        let Some(typed) = line(input, show) else { return Reply::Cancelled };
        match typed.trim().to_lowercase().as_str() {
            "y" | "yes" => return Reply::Accepted(values),
            "n" | "no" | REFUSAL => return Reply::Declined,
            _ => {}
        }
    }
}

/// A field as it is asked for.
fn described(field: &Field) -> String {
    let mut text = format!("  {}", shown(field.title.as_ref().unwrap_or(&field.name)));
    if let Some(description) = &field.description {
        // Writing to a String does not fail.
        let _ = write!(text, ": {}", shown(description));
    }
    let needed = if field.is_required { "needed" } else { "may be left out" };
    let _ = write!(text, " ({}; {needed}", field.wanted());
    if let Some(default) = &field.default {
        let _ = write!(text, "; default {}", shown(&default.to_string()));
    }
    text.push_str(")\n");
    if let FieldKind::One(choices) | FieldKind::Some { choices, .. } = &field.kind {
        for (number, choice) in (1..).zip(choices.iter().take(MAX_SHOWN)) {
            let _ = writeln!(text, "    {number}. {}", name_of(choice));
        }
        if choices.len() > MAX_SHOWN {
            let _ = writeln!(text, "    … {} more", choices.len() - MAX_SHOWN);
        }
    }
    text
}

fn name_of(choice: &Choice) -> String {
    shown(choice.title.as_ref().unwrap_or(&choice.value))
}

/// A server's text, fit for the terminal.
fn shown(text: &str) -> String {
    shortened(&visible(text), TEXT_WIDTH)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::json;

    use super::*;

    fn field(name: &str, kind: FieldKind, is_required: bool) -> Field {
        Field { name: name.to_owned(), title: None, description: None, is_required, kind, default: None }
    }

    fn asked(asked: Asked) -> Elicitation {
        Elicitation { skill: "owls".to_owned(), message: "Which\u{1b}[2J one?".to_owned(), asked }
    }

    /// The reply to a question by typing this, and the text shown.
    fn converse_over(asked: &Elicitation, typed: &str) -> (Reply, String) {
        let output = RefCell::new(String::new());
        let show = |text: &str| output.borrow_mut().push_str(text);
        let reply = converse(asked, &mut typed.as_bytes(), &show);
        (reply, output.into_inner())
    }

    fn form() -> Elicitation {
        let choice = |value: &str, title: &str| Choice { value: value.to_owned(), title: Some(title.to_owned()) };
        let kinds = FieldKind::One(vec![choice("b", "Barn owl"), choice("t", "Tawny owl")]);
        let age = FieldKind::Integer { min: Some(0.0), max: None };
        asked(Asked::Form(vec![field("kind", kinds, true), field("age", age, false)]))
    }

    #[test]
    fn fields_are_asked_one_by_one_and_sent_with_consent() {
        let (reply, output) = converse_over(&form(), "2\nold\n7\ny\n");
        let Reply::Accepted(values) = reply else { panic!("{reply:?}") };
        assert_eq!(Value::Object(values), json!({"kind": "t", "age": 7}));
        assert_eq!(
            output,
            [
                "? owls asks: Which\\x1b[2J one?",
                "  (! sends nothing; an empty line takes the default, or leaves out what is not needed)",
                "  kind (one of the choices, by number or text; needed)",
                "    1. Barn owl",
                "    2. Tawny owl",
                ">   age (a whole number, at least 0; may be left out)",
                ">   that is not a whole number, at least 0: once more",
                ">   to be sent: {\"kind\":\"t\",\"age\":7}",
                "  send this to owls? (y/n)",
                "> ",
            ]
            .join("\n")
        );
    }

    #[test]
    fn nothing_is_sent_without_consent() {
        for (typed, reply) in [
            ("1\n\nn\n", Reply::Declined),
            ("1\n\n!\n", Reply::Declined),
            ("!\n", Reply::Declined),
            ("1\n", Reply::Cancelled),
            ("1\n\nperhaps\n", Reply::Cancelled),
            ("", Reply::Cancelled),
        ] {
            assert_eq!(converse_over(&form(), typed).0, reply, "{typed:?}");
        }
    }

    #[test]
    fn an_address_is_shown_and_agreed_to() {
        let visit = asked(Asked::Visit("https://owls.example/sign-in".to_owned()));
        let (reply, output) = converse_over(&visit, "y\n");
        assert_eq!(reply, Reply::Accepted(Map::new()));
        assert!(
            output.contains("open, in a browser: https://owls.example/sign-in\n  do you agree? (y/n)\n"),
            "{output}"
        );
        assert_eq!(converse_over(&visit, "no\n").0, Reply::Declined);
    }
}
