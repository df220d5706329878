//! [`QueryTemplate`]: the query of a row, made of its fields. The reader of the rows calls it.

use anyhow::anyhow;
use perstack::config::nearest;
use serde_json::Value;

use crate::cli::failure::Failure;

/// The field that has the query of a row where there is no template.
const QUERY_FIELD: &str = "query";

/// The form of a row's query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryTemplate {
    /// The row itself, or its field `query`.
    Row,
    /// Text with fields in it.
    Pieces(Vec<Piece>),
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Field(String),
}

/// A row that has no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRowQuery {
    #[error("there is no field {field:?}{}", hint.as_ref().map(|near| format!("; did you mean {near:?}?")).unwrap_or_default())]
    UnknownField { field: String, hint: Option<String> },
    #[error("it is neither a text nor an object")]
    NotARow,
    #[error("the query is empty")]
    Empty,
}

impl QueryTemplate {
    /// Reads a template: `{field}` is a field, `{{` and `}}` are braces.
    ///
    /// # Errors
    /// With the exit code for usage: a brace that is alone, or a field without a name.
    pub fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text else { return Ok(Self::Row) };
        let wrong = |what: &str| {
            Err(Failure::usage(anyhow!("--query {text:?}: {what}"))
                .help("{field} is a field of the row; {{ and }} are braces"))
        };
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some((name, after)) = from.strip_prefix('{').and_then(|from| from.split_once('}')) {
                let name = name.trim();
                if name.is_empty() || name.contains('{') {
                    return wrong("a field has no name");
                }
                pieces.extend((!plain.is_empty()).then(|| Piece::Text(std::mem::take(&mut plain))));
                pieces.push(Piece::Field(name.to_owned()));
                rest = after;
            } else {
                return wrong("a brace is alone");
            }
        }
        plain.push_str(rest);
        pieces.extend((!plain.is_empty()).then_some(Piece::Text(plain)));
        Ok(Self::Pieces(pieces))
    }

    /// The query of a row.
    ///
    /// # Errors
    /// [`NoRowQuery`].
    pub fn query(&self, row: &Value) -> Result<String, NoRowQuery> {
        let text = match (self, row) {
            (Self::Row, Value::String(text)) => text.clone(),
            (Self::Row, row) => value_text(field(row, QUERY_FIELD)?),
            (Self::Pieces(pieces), row) => pieces.iter().try_fold(String::new(), |text, piece| {
                Ok(match piece {
                    Piece::Text(piece) => text + piece,
                    Piece::Field(name) => text + &value_text(field(row, name)?),
                })
            })?,
        };
        if text.trim().is_empty() { Err(NoRowQuery::Empty) } else { Ok(text) }
    }
}

/// A text as it is, anything else as JSON.
fn value_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The field of this name, or at this path: `user.name`.
fn field<'a>(row: &'a Value, name: &str) -> Result<&'a Value, NoRowQuery> {
    let Value::Object(fields) = row else { return Err(NoRowQuery::NotARow) };
    let by_path = || name.split('.').try_fold(row, |value, part| value.get(part));
    fields.get(name).or_else(by_path).ok_or_else(|| NoRowQuery::UnknownField {
        field: name.to_owned(),
        hint: nearest(name, fields.keys().map(String::as_str)).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn query(template: Option<&str>, row: &Value) -> Result<String, String> {
        QueryTemplate::parse(template).unwrap().query(row).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_are_put_in_once_and_braces_escaped() {
        let row = json!({"text": "an {id} owl", "id": 7, "user": {"name": "Ann"}, "a.b": true, "none": null});
        assert_eq!(query(Some("{id}: {text}"), &row), Ok("7: an {id} owl".to_owned()));
        assert_eq!(query(Some("{{\"by\": \"{user.name}\"}}"), &row), Ok("{\"by\": \"Ann\"}".to_owned()));
        assert_eq!(query(Some("{ a.b } {user} {none}"), &row), Ok("true {\"name\":\"Ann\"} null".to_owned()));
        assert_eq!(query(Some("the same"), &row), Ok("the same".to_owned()));
    }

    #[test]
    fn a_row_may_be_its_own_query() {
        assert_eq!(query(None, &json!("Owls?")), Ok("Owls?".to_owned()));
        assert_eq!(query(None, &json!({"query": "Owls?", "id": 1})), Ok("Owls?".to_owned()));
        assert_eq!(
            query(None, &json!({"quary": "Owls?"})),
            Err("there is no field \"query\"; did you mean \"quary\"?".to_owned())
        );
        assert_eq!(query(None, &json!([1])), Err("it is neither a text nor an object".to_owned()));
        assert_eq!(query(None, &json!("  ")), Err("the query is empty".to_owned()));
        assert_eq!(
            query(Some("{tex}"), &json!({"text": ""})),
            Err("there is no field \"tex\"; did you mean \"text\"?".to_owned())
        );
    }

    #[test]
    fn a_template_with_a_lone_brace_is_refused() {
        for text in ["{", "}", "a {b", "a } b", "{}", "{ }", "{a{b}}"] {
            assert!(QueryTemplate::parse(Some(text)).is_err(), "{text}");
        }
    }
}
