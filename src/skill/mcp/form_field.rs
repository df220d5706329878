//! One field of a form: what may be put into it, and reading what a person typed.

use reqwest::Url;
use serde_json::Value;

/// Most characters of a text that a person types into a field.
const MAX_TEXT: u64 = 10_000;

/// One value that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    pub title: Option<String>,
    pub description: Option<String>,
    pub is_required: bool,
    pub kind: FieldKind,
    /// The value when nothing is typed.
    pub default: Option<Value>,
}

/// The values that a field takes.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldKind {
    /// A text of so many characters, in one of the protocol's formats (`email`, `uri`, `date`, `date-time`).
    Text {
        min: u64,
        max: u64,
        format: Option<String>,
    },
    Number {
        min: Option<f64>,
        max: Option<f64>,
    },
    /// A whole number.
    Integer {
        min: Option<f64>,
        max: Option<f64>,
    },
    Boolean,
    /// One of these.
    One(Vec<Choice>),
    /// Some of these, so many.
    Some {
        choices: Vec<Choice>,
        min: u64,
        max: u64,
    },
}

/// A value to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub value: String,
    /// The text that a person is shown in its place.
    pub title: Option<String>,
}

impl Field {
    /// Reads a field's schema; none when it is of no kind that the protocol knows.
    pub(super) fn from_schema(name: &str, schema: &Value, is_required: bool) -> Option<Self> {
        let text = |key: &str| schema.get(key).and_then(Value::as_str).map(str::to_owned);
        let whole = |key: &str| schema.get(key).and_then(Value::as_u64);
        let number = |key: &str| schema.get(key).and_then(Value::as_f64);
        let kind = match schema.get("type").and_then(Value::as_str)? {
            "string" => match choices(schema, "oneOf") {
                Some(choices) => FieldKind::One(choices),
                None => FieldKind::Text {
                    min: whole("minLength").unwrap_or(0),
                    max: whole("maxLength").map_or(MAX_TEXT, |max| max.min(MAX_TEXT)),
                    format: text("format"),
                },
            },
            "number" => FieldKind::Number { min: number("minimum"), max: number("maximum") },
            "integer" => FieldKind::Integer { min: number("minimum"), max: number("maximum") },
            "boolean" => FieldKind::Boolean,
            "array" => {
                let choices = choices(schema.get("items")?, "anyOf")?;
                let count = u64::try_from(choices.len()).unwrap_or(u64::MAX);
                FieldKind::Some {
                    choices,
                    min: whole("minItems").unwrap_or(0),
                    max: whole("maxItems").map_or(count, |max| max.min(count)),
                }
            }
            _ => return None,
        };
        let default = schema.get("default").filter(|default| !default.is_null()).cloned();
        let (title, description) = (text("title"), text("description"));
        Some(Self { name: name.to_owned(), title, description, is_required, kind, default })
    }

    /// The value that was typed; none when the field is left out.
    ///
    /// # Errors
    /// A text with what is wanted instead.
    pub fn read(&self, typed: &str) -> Result<Option<Value>, String> {
        let word = typed.trim();
        if word.is_empty() {
            return match (&self.default, self.is_required) {
                (Some(default), _) => Ok(Some(default.clone())),
                (None, false) => Ok(None),
                (None, true) => Err("a value is needed".to_owned()),
            };
        }
        let value = match &self.kind {
            FieldKind::Text { min, max, format } => read_text(word, *min, *max, format.as_deref()),
            FieldKind::Number { min, max } => {
                let number = word.parse::<f64>().ok().filter(|number| is_within(*number, *min, *max));
                number.map(Value::from)
            }
            FieldKind::Integer { min, max } => {
                #[expect(clippy::cast_precision_loss, reason = "bounds of whole numbers are given as floats")]
                let number = word.parse::<i64>().ok().filter(|number| is_within(*number as f64, *min, *max));
                number.map(Value::from)
            }
            FieldKind::Boolean => match word.to_lowercase().as_str() {
                "y" | "yes" | "true" => Some(Value::Bool(true)),
                "n" | "no" | "false" => Some(Value::Bool(false)),
                _ => None,
            },
            FieldKind::One(choices) => chosen(word, choices).map(Value::from),
            FieldKind::Some { choices, min, max } => {
                let words = word.split(',').map(str::trim).filter(|word| !word.is_empty());
                let mut values = words.map(|word| chosen(word, choices)).collect::<Option<Vec<&str>>>();
                if let Some(values) = &mut values {
                    let mut seen = Vec::new();
                    values.retain(|value| {
                        !seen.contains(value) && {
                            seen.push(*value);
                            true
                        }
                    });
                }
                let count = |values: &Vec<&str>| u64::try_from(values.len()).unwrap_or(u64::MAX);
                values.filter(|values| (*min..=*max).contains(&count(values))).map(Value::from)
            }
        };
        value.map(Some).ok_or_else(|| format!("that is not {}", self.wanted()))
    }

    /// The values that may be typed, in words: `a whole number, 0 to 150`.
    pub fn wanted(&self) -> String {
        match &self.kind {
            FieldKind::Text { min, max, format } => {
                let kind = match format.as_deref() {
                    Some("email") => "an e-mail address",
                    Some("uri") => "an address (URI)",
                    Some("date") => "a date (YYYY-MM-DD)",
                    Some("date-time") => "a date and time (ISO 8601, with offset)",
                    _ => "a text",
                };
                match (*min, *max) {
                    (0, MAX_TEXT) => kind.to_owned(),
                    (0, max) => format!("{kind} of at most {max} characters"),
                    (min, MAX_TEXT) => format!("{kind} of at least {min} characters"),
                    (min, max) => format!("{kind} of {min} to {max} characters"),
                }
            }
            FieldKind::Number { min, max } => bounded("a number", *min, *max),
            FieldKind::Integer { min, max } => bounded("a whole number", *min, *max),
            FieldKind::Boolean => "yes or no".to_owned(),
            FieldKind::One(_) => "one of the choices, by number or text".to_owned(),
            FieldKind::Some { min, max, .. } => {
                format!("{min} to {max} of the choices, by number or text, with commas between them")
            }
        }
    }
}

fn bounded(kind: &str, min: Option<f64>, max: Option<f64>) -> String {
    match (min, max) {
        (None, None) => kind.to_owned(),
        (Some(min), None) => format!("{kind}, at least {min}"),
        (None, Some(max)) => format!("{kind}, at most {max}"),
        (Some(min), Some(max)) => format!("{kind}, {min} to {max}"),
    }
}

fn is_within(number: f64, min: Option<f64>, max: Option<f64>) -> bool {
    number.is_finite() && min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max)
}

fn read_text(text: &str, min: u64, max: u64, format: Option<&str>) -> Option<Value> {
    let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    let fits = match format {
        Some("email") => {
            let parts = text.split_once('@');
            parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
                && !text.contains(char::is_whitespace)
        }
        Some("uri") => Url::parse(text).is_ok(),
        Some("date") => text.parse::<jiff::civil::Date>().is_ok() && text.len() == "2026-07-28".len(),
        Some("date-time") => text.parse::<jiff::Timestamp>().is_ok(),
        _ => true,
    };
    (fits && (min..=max).contains(&length)).then(|| Value::from(text))
}

/// The choice that a word names: by its value or title, else by its number.
fn chosen<'a>(word: &str, choices: &'a [Choice]) -> Option<&'a str> {
    let named = choices.iter().find(|choice| choice.value == word || choice.title.as_deref() == Some(word));
    let numbered = || choices.get(word.parse::<usize>().ok()?.checked_sub(1)?);
    named.or_else(numbered).map(|choice| choice.value.as_str())
}

/// The values that a schema enumerates, in any of the protocol's three spellings; none when it enumerates nothing.
fn choices(schema: &Value, constants: &str) -> Option<Vec<Choice>> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    if let Some(choices) = schema.get(constants).and_then(Value::as_array) {
        let choice = |choice: &Value| Some(Choice { value: text(choice, "const")?, title: text(choice, "title") });
        return choices.iter().map(choice).collect();
    }
    let values = schema.get("enum")?.as_array()?;
    let titles = schema.get("enumNames").and_then(Value::as_array);
    let title = |at: usize| titles?.get(at)?.as_str().map(str::to_owned);
    values
        .iter()
        .enumerate()
        .map(|(at, value)| Some(Choice { value: value.as_str()?.to_owned(), title: title(at) }))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(schema: &Value) -> Field {
        Field::from_schema("f", schema, true).unwrap()
    }

    /// The values that these are read as; none where one is refused.
    fn read<const N: usize>(schema: &Value, typed: [&str; N]) -> [Option<Value>; N] {
        typed.map(|typed| field(schema).read(typed).ok().flatten())
    }

    #[test]
    fn numbers_keep_to_their_bounds() {
        let schema = json!({"type": "integer", "minimum": 0, "maximum": 150});
        assert_eq!(
            read(&schema, ["7", " 150 ", "151", "-1", "1.5", "owl"]),
            [Some(json!(7)), Some(json!(150)), None, None, None, None]
        );
        assert_eq!(field(&schema).read("owl"), Err("that is not a whole number, 0 to 150".to_owned()));
        let schema = json!({"type": "number", "minimum": 0.5});
        assert_eq!(
            read(&schema, ["0.5", "1e3", "0.4", "NaN", "inf"]),
            [Some(json!(0.5)), Some(json!(1000.0)), None, None, None]
        );
    }

    #[test]
    fn texts_keep_to_their_length_and_format() {
        let plain = json!({"type": "string", "minLength": 2, "maxLength": 3});
        assert_eq!(read(&plain, ["ää", "a", "abcd"]), [Some(json!("ää")), None, None]);
        let of = |format: &str| json!({"type": "string", "format": format});
        assert_eq!(
            read(&of("email"), ["a@b.c", "a b@c", "@c", "a@"]).map(|value| value.is_some()),
            [true, false, false, false]
        );
        assert_eq!(read(&of("uri"), ["https://a.b/c", "owl"]).map(|value| value.is_some()), [true, false]);
        assert_eq!(
            read(&of("date"), ["2026-07-28", "2026-02-30", "28.7."]).map(|value| value.is_some()),
            [true, false, false]
        );
        let times = ["2026-07-28T10:00:00Z", "2026-07-28T10:00:00+02:00", "2026-07-28"];
        assert_eq!(read(&of("date-time"), times).map(|value| value.is_some()), [true, true, false]);
    }

    #[test]
    fn choices_are_named_by_value_title_or_number() {
        let spellings = [
            json!({"type": "string", "enum": ["b", "t"], "enumNames": ["Barn", "Tawny"]}),
            json!({"type": "string", "oneOf": [{"const": "b", "title": "Barn"}, {"const": "t", "title": "Tawny"}]}),
        ];
        for schema in spellings {
            let expected = [Some(json!("t")), Some(json!("t")), Some(json!("t")), None, None];
            assert_eq!(read(&schema, ["t", "Tawny", "2", "3", "0"]), expected);
        }
        let numbers = json!({"type": "string", "enum": ["2", "1"]});
        assert_eq!(read(&numbers, ["1"]), [Some(json!("1"))], "a value goes before a number");
        let some = json!({"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string", "enum": ["a", "b", "c"]}});
        assert_eq!(
            read(&some, ["a, 3", "1,a", "a,b,c", "d", ","]),
            [Some(json!(["a", "c"])), Some(json!(["a"])), None, None, None]
        );
    }

    #[test]
    fn nothing_typed_is_the_default_or_nothing() {
        let schema = json!({"type": "boolean", "default": true});
        assert_eq!(field(&schema).read(" "), Ok(Some(json!(true))));
        assert_eq!(read(&schema, ["No", "y", "perhaps"]), [Some(json!(false)), Some(json!(true)), None]);
        let schema = json!({"type": "boolean"});
        assert_eq!(field(&schema).read(""), Err("a value is needed".to_owned()));
        assert_eq!(Field { is_required: false, ..field(&schema) }.read(""), Ok(None));
    }
}
