//! [`Elicitation`]: a server's question to a person in the middle of a call, a form of a few fields or an address to visit.
//! <https://modelcontextprotocol.io/specification/2025-11-25/client/elicitation>

use std::sync::Arc;

use reqwest::Url;
use rmcp::model::ElicitRequestParams;
use serde_json::{Map, Value};

use super::form_field::Field;
use crate::future::BoxFuture;

/// Most fields of a form; more is no question for a terminal.
const MAX_FIELDS: usize = 50;

/// Puts a question to a person. A question whose future is dropped is withdrawn.
pub type AskPerson = Arc<dyn Fn(Elicitation) -> BoxFuture<'static, Reply> + Send + Sync>;

/// A server's question to a person. Its texts are the server's own: not fit to be shown on a terminal as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Elicitation {
    /// The skill whose server asks.
    pub skill: String,
    pub message: String,
    pub asked: Asked,
}

/// The content of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// Values for these fields; for none, only consent.
    Form(Vec<Field>),
    /// To visit this address, where the server goes on asking by itself. `http` or `https`.
    Visit(String),
}

/// A person's reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Consent, with the values of a form's fields by name.
    Accepted(Map<String, Value>),
    /// No.
    Declined,
    /// Nothing: the person is gone, or was not asked to the end.
    Cancelled,
}

impl Elicitation {
    /// Reads a question; none when it is of a kind that nobody can be asked.
    pub(super) fn from_params(skill: &str, params: &ElicitRequestParams) -> Option<Self> {
        let (message, asked) = match params {
            ElicitRequestParams::FormElicitationParams { message, requested_schema, .. } => {
                (message, Asked::Form(fields(&serde_json::to_value(requested_schema).ok()?)?))
            }
            ElicitRequestParams::UrlElicitationParams { message, url, .. } => {
                let parsed = Url::parse(url).ok()?;
                matches!(parsed.scheme(), "http" | "https").then_some((message, Asked::Visit(parsed.into())))?
            }
            _ => return None,
        };
        Some(Self { skill: skill.to_owned(), message: message.clone(), asked })
    }
}

fn fields(schema: &Value) -> Option<Vec<Field>> {
    let properties = schema.get("properties")?.as_object()?;
    let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_required = |name: &str| required.iter().any(|required| required == name);
    if properties.len() > MAX_FIELDS {
        return None;
    }
    properties.iter().map(|(name, schema)| Field::from_schema(name, schema, is_required(name))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::form_field::FieldKind;
    use super::*;

    fn read(params: Value) -> Option<Elicitation> {
        Elicitation::from_params("s", &serde_json::from_value(params).unwrap())
    }

    #[test]
    fn a_form_is_read_in_its_own_order() {
        let schema = json!({"type": "object", "required": ["age"], "properties": {
            "name": {"type": "string", "title": "Name"}, "age": {"type": "integer"}, "sure": {"type": "boolean"}}});
        let read = read(json!({"message": "Who?", "requestedSchema": schema})).unwrap();
        assert_eq!((read.skill.as_str(), read.message.as_str()), ("s", "Who?"));
        let Asked::Form(fields) = read.asked else { panic!("a form") };
        let read: Vec<_> = fields.iter().map(|field| (field.name.as_str(), field.is_required)).collect();
        assert_eq!(read, [("name", false), ("age", true), ("sure", false)]);
        assert_eq!(fields[2].kind, FieldKind::Boolean);
    }

    #[test]
    fn only_addresses_of_the_web_are_visited() {
        let visit = |url: &str| read(json!({"mode": "url", "message": "m", "url": url, "elicitationId": "1"}));
        let read = visit("https://owls.example/key?a=b").unwrap();
        assert_eq!(read.asked, Asked::Visit("https://owls.example/key?a=b".to_owned()));
        assert_eq!(visit("javascript:alert(1)"), None);
        assert_eq!(visit("file:///etc/passwd"), None);
        assert_eq!(visit("somewhere"), None);
    }

    #[test]
    fn a_form_without_end_is_nobodys() {
        let fields: Map<String, Value> =
            (0..=MAX_FIELDS).map(|n| (format!("f{n}"), json!({"type": "boolean"}))).collect();
        let schema = json!({"type": "object", "properties": fields});
        assert_eq!(read(json!({"message": "m", "requestedSchema": schema})), None);
    }
}
