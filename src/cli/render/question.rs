//! A question to a person, as the call of an interactive tool asks it: the tool, its arguments laid out, and what may
//! be answered.

use perstack::expert::InteractiveTool;
use perstack::tool::ToolCall;
use serde_json::{Map, Value};

use super::text::{shortened, visible, visible_lines};

/// Most characters of a tool's description.
const DESCRIPTION_WIDTH: usize = 300;

/// Most characters of a line. A person must be able to read the whole of what is asked, so this only keeps a flood off.
const LINE_WIDTH: usize = 2_000;

/// Most lines of arguments, for the same reason.
const MAX_LINES: usize = 200;

/// Most values of an enumeration that are shown.
const ENUMERATED: usize = 20;

/// The question of an interactive call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The tool, and what it is for.
    title: String,
    /// The arguments before and after the options, line by line.
    before: Vec<String>,
    after: Vec<String>,
    /// The options to choose from, if the tool offers them.
    options: Option<Options>,
}

/// The argument that lists what may be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    name: String,
    choices: Vec<Choice>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    shown: String,
    /// The answer that choosing it gives.
    answer: String,
}

/// The marks in front of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marks {
    Numbers,
    Dashes,
}

impl Question {
    /// Reads the question from `call`; `tool` is its definition, if that is known.
    pub fn new(call: &ToolCall, tool: Option<&InteractiveTool>) -> Self {
        let schema = tool.and_then(|tool| serde_json::from_str::<Value>(&tool.input_json_schema).ok());
        let properties = schema.as_ref().and_then(|schema| schema.get("properties")).and_then(Value::as_object);
        let name = visible(&call.tool_name);
        let title = match tool.and_then(|tool| tool.description.as_deref()).map(visible) {
            Some(text) if !text.is_empty() => format!("{name}: {}", shortened(&text, DESCRIPTION_WIDTH)),
            _ => name,
        };
        let options = properties.and_then(|properties| options_of(call, properties));
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let mut lines = &mut before;
        for (name, value) in &call.args {
            if options.as_ref().is_some_and(|options| options.name == *name) {
                lines = &mut after;
                continue;
            }
            lines.extend(laid_out(name, value, values_of(properties, name).as_deref()));
        }
        for name in properties.into_iter().flat_map(Map::keys).filter(|name| !call.args.contains_key(*name)) {
            if let Some(values) = values_of(properties, name) {
                lines.push(format!("{}: ({values})", visible(name)));
            }
        }
        Self { title, before, after, options }
    }

    /// The tool, and what it is for.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Returns true if a number is understood as an answer.
    pub fn has_options(&self) -> bool {
        self.options.is_some()
    }

    /// The lines below the title for a person who answers at once, and may do so by an option's number.
    pub fn numbered(&self) -> Vec<String> {
        self.lines(Marks::Numbers)
    }

    /// The lines below the title for a person who answers later.
    pub fn listed(&self) -> Vec<String> {
        self.lines(Marks::Dashes)
    }

    fn lines(&self, marks: Marks) -> Vec<String> {
        let options = self.options.iter().flat_map(|options| {
            let choices = options.choices.iter().enumerate().map(move |(at, choice)| match marks {
                Marks::Numbers => format!("  {}. {}", at + 1, choice.shown),
                Marks::Dashes => format!("  - {}", choice.shown),
            });
            std::iter::once(format!("{}:", visible(&options.name))).chain(choices)
        });
        let all: Vec<String> = self.before.iter().cloned().chain(options).chain(self.after.iter().cloned()).collect();
        let left_out = all.len().saturating_sub(MAX_LINES);
        let mut lines: Vec<String> =
            all.into_iter().take(MAX_LINES).map(|line| format!("  {}", shortened(&line, LINE_WIDTH))).collect();
        if left_out > 0 {
            lines.push(format!("  … {left_out} more lines: the checkpoint has them all"));
        }
        lines
    }

    /// The answer that `typed` gives: an option where it is the number of one and not itself an option's text, else the
    /// text itself.
    pub fn answer(&self, typed: &str) -> String {
        let choices = self.options.as_ref().map(|options| options.choices.as_slice()).unwrap_or_default();
        let word = typed.trim();
        let is_an_answer = choices.iter().any(|choice| choice.answer == word);
        let chosen = word.parse::<usize>().ok().and_then(|number| choices.get(number.checked_sub(1)?));
        match chosen {
            Some(choice) if !is_an_answer => choice.answer.clone(),
            _ => typed.to_owned(),
        }
    }
}

/// The one argument that lists options: named so, known to the schema, and a list of plain values or objects.
fn options_of(call: &ToolCall, properties: &Map<String, Value>) -> Option<Options> {
    let mut named = call.args.iter().filter(|(name, _)| {
        let lower = name.to_lowercase();
        (lower.ends_with("options") || lower.ends_with("choices")) && properties.contains_key(*name)
    });
    let (name, value) = named.next()?;
    if named.next().is_some() {
        return None;
    }
    let choices = value.as_array()?.iter().map(choice).collect::<Option<Vec<Choice>>>()?;
    (!choices.is_empty()).then(|| Options { name: name.clone(), choices })
}

/// An option: a plain value, or an object with a label, a value or both.
fn choice(option: &Value) -> Option<Choice> {
    let Some(object) = option.as_object() else {
        let answer = scalar(option)?;
        return Some(Choice { shown: visible(&answer), answer });
    };
    let first = |keys: &[&str]| keys.iter().find_map(|key| object.get(*key).and_then(scalar));
    let label = first(&["label", "title", "name", "text", "value", "id"])?;
    let answer = first(&["value", "id"]).unwrap_or_else(|| label.clone());
    let shown = match first(&["description"]) {
        Some(description) => format!("{} ({})", visible(&label), visible(&description)),
        None => visible(&label),
    };
    Some(Choice { shown, answer })
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// The values that the schema allows for a property, or for each item of it.
fn values_of(properties: Option<&Map<String, Value>>, name: &str) -> Option<String> {
    let schema = properties?.get(name)?;
    let allowed = schema.get("enum").or_else(|| schema.get("items")?.get("enum"))?.as_array()?;
    let mut values: Vec<String> = allowed.iter().take(ENUMERATED).map(compact).collect();
    if allowed.len() > ENUMERATED {
        values.push("…".to_owned());
    }
    Some(format!("one of: {}", values.join(", ")))
}

/// An argument, `allowed` behind its name.
fn laid_out(name: &str, value: &Value, allowed: Option<&str>) -> Vec<String> {
    let name = match allowed {
        Some(allowed) => format!("{} ({allowed})", visible(name)),
        None => visible(name),
    };
    let below = |lines: Vec<String>| {
        let indented = lines.into_iter().map(|line| format!("  {line}"));
        std::iter::once(format!("{name}:")).chain(indented).collect()
    };
    match value {
        Value::String(text) => match visible_lines(text.trim_end()).as_slice() {
            [] => vec![format!("{name}:")],
            [line] => vec![format!("{name}: {line}")],
            lines => below(lines.to_vec()),
        },
        Value::Array(items) if !items.is_empty() => {
            below(items.iter().map(|item| format!("- {}", compact(item))).collect())
        }
        Value::Object(fields) if !fields.is_empty() => {
            below(fields.iter().map(|(name, value)| format!("{}: {}", visible(name), compact(value))).collect())
        }
        other => vec![format!("{name}: {}", compact(other))],
    }
}

/// A value on one line: text as it is, anything else as JSON.
fn compact(value: &Value) -> String {
    visible(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(args: &Value) -> ToolCall {
        let args = args.as_object().cloned().unwrap();
        ToolCall { id: "c1".to_owned(), skill_name: "ask".to_owned(), tool_name: "askUser".to_owned(), args }
    }

    fn question(properties: &Value, args: &Value) -> Question {
        let input_json_schema = json!({"type": "object", "properties": properties}).to_string();
        Question::new(
            &call(args),
            Some(&InteractiveTool { description: Some("Asks.\nA lot.".to_owned()), input_json_schema }),
        )
    }

    #[test]
    fn arguments_are_laid_out_by_their_kind() {
        let args = json!({
            "question": "Which\u{1b}[2J owl?", "plan": "one\n\ttwo\n", "tags": ["a", {"b": 1}],
            "more": {"x": [1], "y": "z"}, "sure": true, "nothing": null,
        });
        let asked = Question::new(&call(&args), None);
        assert_eq!(asked.title(), "askUser");
        assert_eq!(
            asked.listed().join("\n"),
            r#"  question: Which\x1b[2J owl?
  plan:
    one
        two
  tags:
    - a
    - {"b":1}
  more:
    x: [1]
    y: z
  sure: true
  nothing: null"#
        );
    }

    #[test]
    fn what_the_schema_allows_is_shown_for_what_was_given_and_what_was_not() {
        let properties = json!({
            "question": {"type": "string"}, "urgency": {"enum": ["low", "high"]}, "reply": {"enum": ["yes", "no", 3]},
        });
        let asked = question(&properties, &json!({"urgency": "low", "question": "Go?"}));
        assert_eq!(asked.title(), "askUser: Asks. A lot.");
        assert_eq!(
            asked.listed(),
            ["  urgency (one of: low, high): low", "  question: Go?", "  reply: (one of: yes, no, 3)"]
        );
        assert_eq!(asked.answer("1"), "1");
    }

    #[test]
    fn an_options_number_stands_for_it() {
        let properties = json!({"question": {}, "options": {"type": "array"}, "note": {}});
        let options = json!(["barn owl", 7, {"label": "Tawny", "value": "tawny owl", "description": "brown"}]);
        let asked = question(&properties, &json!({"question": "Which?", "options": options, "note": "n"}));
        let numbered =
            ["  question: Which?", "  options:", "    1. barn owl", "    2. 7", "    3. Tawny (brown)", "  note: n"];
        assert_eq!(asked.numbered(), numbered);
        assert_eq!(asked.listed()[2..5], ["    - barn owl", "    - 7", "    - Tawny (brown)"]);
        let answers = ["1", " 3 ", "7", "0", "4", "-1", "1.", "barn", " 1 or 3"].map(|typed| asked.answer(typed));
        assert_eq!(answers, ["barn owl", "tawny owl", "7", "0", "4", "-1", "1.", "barn", " 1 or 3"]);
    }

    #[test]
    fn only_a_list_that_the_schema_knows_is_numbered() {
        let args = json!({"options": ["a", "b"]});
        assert!(question(&json!({"options": {}}), &args).has_options());
        assert!(question(&json!({"answerChoices": {}}), &json!({"answerChoices": ["a"]})).has_options());
        assert!(!Question::new(&call(&args), None).has_options());
        assert!(!question(&json!({"question": {}}), &args).has_options());
        assert!(!question(&json!({"options": {}}), &json!({"options": []})).has_options());
        assert!(!question(&json!({"options": {}}), &json!({"options": [["a"]]})).has_options());
        let two = json!({"options": {}, "choices": {}});
        assert!(!question(&two, &json!({"options": ["a"], "choices": ["b"]})).has_options());
    }

    #[test]
    fn a_flood_is_cut_with_a_note() {
        let lines = Question::new(&call(&json!({"plan": "x\n".repeat(1_000)})), None).listed();
        assert_eq!(lines.len(), MAX_LINES + 1);
        assert_eq!(lines.last().map(String::as_str), Some("  … 801 more lines: the checkpoint has them all"));
    }
}
