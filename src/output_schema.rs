//! [`OutputSchema`]: the JSON Schema that the answer of an expert has to be valid against, and the check of an answer.
//!
//! Configuration makes it of files and tables, the command line of a file; a Run's driver checks each answer with it. How
//! often a refused answer may be given again is left to the machine.

use std::error::Error as StdError;

use jsonschema::{Retrieve, Uri, ValidationError, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod closed;
mod document;
mod endless;

/// Most bytes of a schema as JSON text. Our own choice: every request to the model carries it, and larger ones leave little
/// room for anything else.
pub const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// Most problems of one answer that are reported to the model.
const MAX_PROBLEMS: usize = 20;
/// Most characters of one problem: it quotes the answer.
const MAX_PROBLEM: usize = 500;

/// A JSON Schema for an answer. Draft 2020-12, unless its `$schema` names another one; `format` is checked.
///
/// One that is read back from storage is taken as it is: it was checked when it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OutputSchema(Value);

/// An answer that is valid against its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidAnswer {
    /// The document, without the code fence that it may have come in.
    pub text: String,
    /// The schema leaves no room for free text.
    pub is_closed: bool,
}

/// A value that cannot be the schema of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOutputSchema {
    #[error("a JSON Schema is an object, such as {{ \"type\": \"object\" }}")]
    NotAnObject,
    #[error("it has {bytes} bytes, and a schema for answers has at most {MAX_SCHEMA_BYTES}: describe less")]
    TooLarge { bytes: usize },
    #[error("{at} refers to itself without end: put the reference below a property or an item, or remove it")]
    Endless { at: String },
    #[error("it is no JSON Schema, or refers to something outside of itself: {problem}")]
    Invalid { problem: String },
}

impl OutputSchema {
    /// A schema that answers can be checked against.
    ///
    /// # Errors
    /// It is none, is too large, refers to itself without end, or to anything outside of itself: nothing is fetched.
    pub fn new(schema: Value) -> Result<Self, InvalidOutputSchema> {
        let schema = Self(schema);
        schema.validator()?;
        Ok(schema)
    }

    /// Checks that answers can be checked against it, as [`OutputSchema::new`] does.
    ///
    /// # Errors
    /// As [`OutputSchema::new`].
    pub fn verify(&self) -> Result<(), InvalidOutputSchema> {
        self.validator().map(drop)
    }

    /// The schema itself.
    pub fn as_value(&self) -> &Value {
        &self.0
    }

    fn validator(&self) -> Result<Validator, InvalidOutputSchema> {
        if !self.0.is_object() {
            return Err(InvalidOutputSchema::NotAnObject);
        }
        let bytes = self.0.to_string().len();
        if bytes > MAX_SCHEMA_BYTES {
            return Err(InvalidOutputSchema::TooLarge { bytes });
        }
        if let Some(at) = endless::circle(&self.0) {
            return Err(InvalidOutputSchema::Endless { at });
        }
        let options = jsonschema::options().with_retriever(Nothing).should_validate_formats(true);
        options.build(&self.0).map_err(|error| InvalidOutputSchema::Invalid { problem: problem(&error) })
    }

    /// Checks an answer: the text is to be one JSON document, bare or as a whole in one code fence, that is valid.
    ///
    /// # Errors
    /// The problems, for the model that gave the answer.
    pub fn check(&self, answer: &str) -> Result<ValidAnswer, Vec<String>> {
        let text = document::unfenced(answer);
        let document = document::parse(text).map_err(|problem| vec![problem])?;
        let validator = self.validator().map_err(|error| vec![format!("it cannot be checked: {error}")])?;
        let mut problems: Vec<String> =
            validator.iter_errors(&document).take(MAX_PROBLEMS + 1).map(|error| problem(&error)).collect();
        if problems.len() > MAX_PROBLEMS {
            problems.truncate(MAX_PROBLEMS);
            problems.push("and more".to_owned());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(ValidAnswer { text: text.to_owned(), is_closed: closed::is_closed(&self.0) })
    }
}

/// A problem with its place in the document.
fn problem(error: &ValidationError<'_>) -> String {
    let place = error.instance_path().as_str();
    let text = error.to_string();
    let text = if place.is_empty() { text } else { format!("at {place}: {text}") };
    match text.char_indices().nth(MAX_PROBLEM) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Retrieves nothing: neither a file nor an address is opened because a schema names it.
struct Nothing;

impl Retrieve for Nothing {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn StdError + Send + Sync>> {
        Err(format!("nothing is fetched from {uri}: put it below $defs of the schema itself").into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(schema: Value) -> String {
        OutputSchema::new(schema).unwrap_err().to_string()
    }

    fn owl() -> OutputSchema {
        let properties = json!({"owl": {"type": "string"}, "wings": {"type": "integer"}});
        OutputSchema::new(json!({"type": "object", "properties": properties, "required": ["owl"]})).unwrap()
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for (schema, expected) in [
            (json!([1]), "is an object"),
            (json!("https://example.com/x.json"), "is an object"),
            (json!({"type": "strin"}), "at /type"),
            (json!({"pattern": "("}), "no JSON Schema"),
            (json!({"$ref": "#/$defs/none"}), "no JSON Schema"),
            (json!({"$schema": "https://example.com/mine"}), "Unknown meta-schema"),
            (json!({"const": "x".repeat(MAX_SCHEMA_BYTES)}), "65548 bytes"),
        ] {
            let problem = refused(schema.clone());
            assert!(problem.contains(expected), "{schema}: {problem}");
        }
    }

    #[test]
    fn nothing_outside_is_opened() {
        for reference in ["https://example.com/x.json", "http://127.0.0.1:1/x", "file:///etc/passwd"] {
            let problem = refused(json!({"$ref": reference}));
            assert!(problem.contains("nothing is fetched"), "{problem}");
        }
        assert!(refused(json!({"$ref": "other.json"})).contains("outside of itself"));
        let inside = json!({"$ref": "#/$defs/owl", "$defs": {"owl": {"type": "string"}}});
        assert!(OutputSchema::new(inside).is_ok());
    }

    #[test]
    fn an_answer_is_one_valid_document() {
        let valid = owl().check(r#"{"owl": "tawny", "wings": 2}"#).unwrap();
        assert_eq!(valid.text, r#"{"owl": "tawny", "wings": 2}"#);
        let fenced = owl().check("```json\n{\"owl\": \"tawny\"}\n```\n").unwrap();
        assert_eq!(fenced.text, r#"{"owl": "tawny"}"#);
        let problems = owl().check(r#"{"wings": "two"}"#).unwrap_err();
        assert_eq!(problems, [r#""owl" is a required property"#, r#"at /wings: "two" is not of type "integer""#]);
    }

    #[test]
    fn formats_are_checked_and_another_draft_is_its_own() {
        let date = OutputSchema::new(json!({"type": "string", "format": "date"})).unwrap();
        assert!(date.check(r#""2026-02-30""#).is_err());
        assert!(date.check(r#""2026-02-28""#).is_ok());
        let draft7 = json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]});
        let draft7 = OutputSchema::new(draft7).unwrap();
        assert!(draft7.check("[1]").is_err());
        assert!(draft7.check(r#"["a"]"#).is_ok());
    }

    #[test]
    fn problems_are_few_and_short() {
        let schema = OutputSchema::new(json!({"items": {"type": "integer"}})).unwrap();
        let problems = schema.check(&json!(vec!["owl".repeat(1000); 100]).to_string()).unwrap_err();
        assert_eq!(problems.len(), MAX_PROBLEMS + 1);
        assert!(problems.iter().all(|problem| problem.chars().count() <= MAX_PROBLEM + 1));
    }
}
