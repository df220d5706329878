//! `--filter`: one comparison with a field of an event's JSON, `.path OP value`.

use std::str::FromStr;

use serde_json::{Map, Value};

/// A comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    path: Vec<Part>,
    operator: Operator,
    value: Literal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Key(String),
    /// `[]`: any element.
    Any,
    /// `[2]`.
    At(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// In the order in which they are looked for: none is the beginning of a later one.
const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    (">", Operator::Above),
    ("<", Operator::Below),
];

#[derive(Debug, Clone, PartialEq)]
enum Literal {
    Bool(bool),
    Number(f64),
    Text(String),
}

/// A text that is no filter expression, in the original's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid filter expression: {0} (use .path OP value, OP one of == != > >= < <=)")]
pub struct InvalidExpression(String);

impl Expression {
    /// Returns true if the event's field matches. A missing one never does; of an array, any element may.
    pub fn fits(&self, event: &Map<String, Value>) -> bool {
        match self.path.split_first() {
            Some((Part::Key(key), rest)) => event.get(key).is_some_and(|value| self.fits_below(value, rest)),
            _ => false,
        }
    }

    fn fits_below(&self, value: &Value, path: &[Part]) -> bool {
        match (path.split_first(), value) {
            (None, Value::Array(elements)) => elements.iter().any(|element| self.compare(element)),
            (None, value) => self.compare(value),
            (Some((Part::Key(key), rest)), Value::Object(fields)) => {
                fields.get(key).is_some_and(|value| self.fits_below(value, rest))
            }
            (Some((Part::Any, rest)), Value::Array(elements)) => {
                elements.iter().any(|element| self.fits_below(element, rest))
            }
            (Some((Part::At(at), rest)), Value::Array(elements)) => {
                elements.get(*at).is_some_and(|element| self.fits_below(element, rest))
            }
            _ => false,
        }
    }

    fn compare(&self, value: &Value) -> bool {
        match self.operator {
            Operator::Equal => self.value.is(value),
            Operator::NotEqual => !self.value.is(value),
            Operator::AtLeast => self.ordered(value, |a, b| a >= b),
            Operator::AtMost => self.ordered(value, |a, b| a <= b),
            Operator::Above => self.ordered(value, |a, b| a > b),
            Operator::Below => self.ordered(value, |a, b| a < b),
        }
    }

    fn ordered(&self, value: &Value, holds: fn(f64, f64) -> bool) -> bool {
        match (value.as_f64(), &self.value) {
            (Some(value), Literal::Number(number)) => holds(value, *number),
            _ => false,
        }
    }
}

impl Literal {
    /// Strictly: a text is never a number.
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Bool(flag) => value.as_bool() == Some(*flag),
            #[expect(
                clippy::float_cmp,
                reason = "both sides are read from decimal text; equal texts are equal numbers"
            )]
            Self::Number(number) => value.as_f64().is_some_and(|value| value == *number),
            Self::Text(text) => value.as_str() == Some(text),
        }
    }

    fn read(text: &str) -> Self {
        let quoted = |quote| text.len() >= 2 && text.starts_with(quote) && text.ends_with(quote);
        match text {
            "true" => Self::Bool(true),
            "false" => Self::Bool(false),
            _ if quoted('"') || quoted('\'') => {
                Self::Text(text.get(1..text.len().saturating_sub(1)).unwrap_or_default().to_owned())
            }
            _ => match text.parse::<f64>() {
                // `inf` and `nan` are words like any other.
                Ok(number) if number.is_finite() => Self::Number(number),
                _ => Self::Text(text.to_owned()),
            },
        }
    }
}

impl FromStr for Expression {
    type Err = InvalidExpression;

    fn from_str(text: &str) -> Result<Self, InvalidExpression> {
        Self::read(text.trim()).ok_or_else(|| InvalidExpression(text.to_owned()))
    }
}

impl Expression {
    fn read(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('.')?;
        let is_of_path = |c: char| c.is_ascii_alphanumeric() || "_.[]".contains(c);
        let (path, rest) = rest.split_at(rest.find(|c| !is_of_path(c))?);
        let rest = rest.trim_start();
        let (operator, value) =
            OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?.trim())))?;
        if value.is_empty() || !path.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return None;
        }
        Some(Self { path: read_path(path)?, operator, value: Literal::read(value) })
    }
}

/// `toolCalls[].args.path`, `items[2]`.
fn read_path(text: &str) -> Option<Vec<Part>> {
    let mut path = Vec::new();
    for piece in text.split('.') {
        let (key, mut brackets) = piece.split_at(piece.find('[').unwrap_or(piece.len()));
        if key.contains(']') || (key.is_empty() && brackets.is_empty()) {
            return None;
        }
        if !key.is_empty() {
            path.push(Part::Key(key.to_owned()));
        }
        while !brackets.is_empty() {
            let (index, rest) = brackets.strip_prefix('[')?.split_once(']')?;
            path.push(if index.is_empty() { Part::Any } else { Part::At(index.parse().ok()?) });
            brackets = rest;
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fits(expression: &str) -> bool {
        let event = json!({
            "type": "callTools", "stepNumber": 3, "ratio": 0.5, "flag": true, "none": null, "tags": ["a", "b"],
            "toolCalls": [
                {"toolName": "exec", "args": {"command": "ls", "args": ["-l"]}},
                {"toolName": "readTextFile", "args": {"path": "a b.txt", "limit": 10}},
            ],
        });
        let Value::Object(event) = event else { panic!("an object") };
        expression.parse::<Expression>().unwrap_or_else(|error| panic!("{error}")).fits(&event)
    }

    #[test]
    fn fields_are_compared_strictly() {
        for (expression, expected) in [
            (".type == callTools", true),
            (".type == \"callTools\"", true),
            (".type=='callTools'", true),
            (".type != \"retry\"", true),
            (".stepNumber == 3", true),
            (".stepNumber == \"3\"", false),
            (".stepNumber == 3.0", true),
            (".flag == true", true),
            (".flag == \"true\"", false),
            (".flag != false", true),
            (".ratio == 0.5", true),
            (".none == null", false),
        ] {
            assert_eq!(fits(expression), expected, "{expression}");
        }
    }

    #[test]
    fn only_numbers_have_an_order() {
        for (expression, expected) in [
            (".stepNumber >= 3", true),
            (".stepNumber > 3", false),
            (".stepNumber<=3", true),
            (".stepNumber <2.5", false),
            (".type > a", false),
            (".type < 5", false),
            (".stepNumber >= \"3\"", false),
        ] {
            assert_eq!(fits(expression), expected, "{expression}");
        }
    }

    #[test]
    fn of_an_array_any_element_serves() {
        for (expression, expected) in [
            (".toolCalls[].toolName == exec", true),
            (".toolCalls[].toolName == other", false),
            (".toolCalls[1].toolName == exec", false),
            (".toolCalls[0].args.args[] == -l", true),
            (".toolCalls[].args.limit > 9", true),
            (".toolCalls[].args.path == 'a b.txt'", true),
            (".tags == b", true),
            (".tags[] != a", true),
            (".toolCalls.toolName == exec", false),
        ] {
            assert_eq!(fits(expression), expected, "{expression}");
        }
    }

    #[test]
    fn what_is_missing_never_fits() {
        for expression in
            [".gone == 1", ".gone != 1", ".toolCalls[].gone != x", ".toolCalls[7].toolName != x", ".type[] == x"]
        {
            assert!(!fits(expression), "{expression}");
        }
    }

    #[test]
    fn anything_else_is_refused_in_the_originals_words() {
        for text in [
            "",
            "type == x",
            ".type",
            ".type =",
            ".type = x",
            ".type ==",
            ".1 == x",
            "..a == x",
            ".a[ == x",
            ".a] == 1",
            ".a b == 1",
            ".a[x] == 1",
        ] {
            let error = text.parse::<Expression>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("Invalid filter expression: {text} ")), "{error}");
        }
    }
}
