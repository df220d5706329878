//! [`OutputSchema`]: the JSON Schema that the answer of an expert has to be valid against, and the check of an answer.
//!
//! Configuration makes it of files and tables, the command line of a file; a Run's driver checks each answer with it. How
//! often a refused answer may be given again is left to the machine.

use std::error::Error as StdError;

use boon::{CompileError, Compiler, ErrorKind, SchemaIndex, Schemas, UrlLoader, ValidationError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod closed;
mod document;
mod endless;

/// Most bytes of a schema as JSON text. Our own choice: every request to the model carries it, and larger ones leave little
/// room for anything else.
pub const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// Most bytes of one pattern. Our own choice: whoever reads it rewrites it once for each class such as `\s` in it, in a time that
/// grows with the square, and honest ones have a line.
const MAX_PATTERN: usize = 1024;
/// The address that a schema has for its own references. Nothing is there; a name that is relative to it is outside.
const ADDRESS: &str = "schema://answer/";
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

/// A schema in the form that documents are checked with.
struct Validator {
    schemas: Schemas,
    root: SchemaIndex,
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
    #[error("a pattern has more than {MAX_PATTERN} bytes: describe less")]
    LongPattern,
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
        if has_long_pattern(&self.0) {
            return Err(InvalidOutputSchema::LongPattern);
        }
        Validator::new(&self.0).map_err(|error| InvalidOutputSchema::Invalid { problem: compile_problem(&error) })
    }

    /// Checks an answer: the text is to be one JSON document, bare or as a whole in one code fence, that is valid.
    ///
    /// # Errors
    /// The problems, for the model that gave the answer.
    pub fn check(&self, answer: &str) -> Result<ValidAnswer, Vec<String>> {
        let text = document::unfenced(answer);
        let document = document::parse(text).map_err(|problem| vec![problem])?;
        let validator = self.validator().map_err(|error| vec![format!("it cannot be checked: {error}")])?;
        validator.check(&document)?;
        Ok(ValidAnswer { text: text.to_owned(), is_closed: closed::is_closed(&self.0) })
    }
}

impl Validator {
    fn new(schema: &Value) -> Result<Self, Box<CompileError>> {
        let mut compiler = Compiler::new();
        compiler.enable_format_assertions();
        compiler.use_loader(Box::new(Nothing));
        compiler.add_resource(ADDRESS, schema.clone())?;
        let mut schemas = Schemas::new();
        let root = compiler.compile(ADDRESS, &mut schemas)?;
        Ok(Self { schemas, root })
    }

    fn check(&self, document: &Value) -> Result<(), Vec<String>> {
        let Err(error) = self.schemas.validate(document, self.root) else { return Ok(()) };
        let mut problems = Vec::new();
        collect(&error, &mut problems);
        if problems.len() > MAX_PROBLEMS {
            problems.truncate(MAX_PROBLEMS);
            problems.push("and more".to_owned());
        }
        Err(problems)
    }
}

fn has_long_pattern(schema: &Value) -> bool {
    let is_long = |pattern: &str| pattern.len() > MAX_PATTERN;
    match schema {
        Value::Object(keys) => keys.iter().any(|(key, value)| match (key.as_str(), value) {
            ("pattern", Value::String(pattern)) => is_long(pattern),
            ("patternProperties", Value::Object(patterns)) => {
                patterns.iter().any(|(pattern, schema)| is_long(pattern) || has_long_pattern(schema))
            }
            _ => has_long_pattern(value),
        }),
        Value::Array(items) => items.iter().any(has_long_pattern),
        _ => false,
    }
}

/// Adds the problems of an error: those that it consists of, but for a choice, whose alternatives are one problem.
fn collect(error: &ValidationError<'_, '_>, problems: &mut Vec<String>) {
    if problems.len() > MAX_PROBLEMS {
        return;
    }
    let is_choice = matches!(error.kind, ErrorKind::AnyOf | ErrorKind::OneOf(_));
    if error.causes.is_empty() || is_choice {
        problems.push(problem(error));
    } else {
        error.causes.iter().for_each(|cause| collect(cause, problems));
    }
}

/// A problem with its place in the document.
fn problem(error: &ValidationError<'_, '_>) -> String {
    let place = error.instance_location.to_string();
    let mut text = if place.is_empty() { error.kind.to_string() } else { format!("at {place}: {}", error.kind) };
    let mut reasons = Vec::new();
    error.causes.iter().for_each(|cause| collect(cause, &mut reasons));
    if !reasons.is_empty() {
        text = format!("{text} ({})", reasons.join("; "));
    }
    shortened(&text)
}

/// The problem with a schema, and its place.
fn compile_problem(error: &CompileError) -> String {
    let text = match error {
        CompileError::ValidationError { src, .. } => {
            let mut problems = Vec::new();
            collect(src, &mut problems);
            problems.join("; ")
        }
        // The alternate form has the cause.
        error => format!("{error:#}"),
    };
    shortened(&text.replace(ADDRESS, ""))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_PROBLEM) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Loads nothing: neither a file nor an address is opened because a schema names it.
struct Nothing;

impl UrlLoader for Nothing {
    fn load(&self, url: &str) -> Result<Value, Box<dyn StdError>> {
        let name = url.strip_prefix(ADDRESS).unwrap_or(url);
        Err(format!("nothing is fetched from {name}: put it below $defs of the schema itself").into())
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
            (
                json!({"properties": {"owl": {"minimum": "2"}}}),
                "at /properties/owl/minimum: want number, but got string",
            ),
            (json!({"pattern": "("}), "no JSON Schema"),
            (json!({"pattern": "(?=owl)"}), "look-around"),
            (json!({"$ref": "#/$defs/none"}), "no JSON Schema"),
            (json!({"$schema": "https://example.com/mine"}), "nothing is fetched from https://example.com/mine"),
            (json!({"const": "x".repeat(MAX_SCHEMA_BYTES)}), "65548 bytes"),
            (json!({"items": {"pattern": "\\s".repeat(MAX_PATTERN)}}), "a pattern has more than 1024 bytes"),
            (json!({"patternProperties": {"\\d".repeat(MAX_PATTERN): true}}), "a pattern has more than 1024 bytes"),
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
        assert!(refused(json!({"$ref": "other.json"})).contains("nothing is fetched from other.json:"));
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
        assert_eq!(problems, ["missing properties 'owl'", "at /wings: want integer, but got string"]);
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

    #[test]
    fn a_choice_is_one_problem_with_its_reasons() {
        let schema = OutputSchema::new(json!({"properties": {"owl": {"anyOf": [{"type": "string"}, {"minimum": 3}]}}}));
        let problems = schema.unwrap().check(r#"{"owl": 2}"#).unwrap_err();
        assert_eq!(
            problems,
            ["at /owl: anyOf failed (at /owl: want string, but got number; at /owl: must be >=3, but got 2)"]
        );
    }

    /// The judge of answers finds what another implementation finds.
    #[test]
    fn another_implementation_judges_alike() {
        let documents = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(2),
            json!(2.5),
            json!(3.0),
            json!(1e300),
            json!(""),
            json!("a"),
            json!("owl"),
            json!("öwl"),
            json!("2026-11-27"),
            json!("2026-02-30"),
            json!("12:00:00Z"),
            json!("a@b.example"),
            json!("https://owls.example/a?b"),
            json!("not a uri"),
            json!("8f6d1a1e-9d1c-4a53-8d0e-0f3c4f7d1a2b"),
            json!([]),
            json!([1]),
            json!([1, 1]),
            json!([1, "a", null]),
            json!(["a", "b", "c"]),
            json!({}),
            json!({"a": 1}),
            json!({"b": "x"}),
            json!({"a": 1, "b": "x", "c": []}),
            json!({"a": {"a": {"a": 1}}}),
            json!({"a": [{"b": 2}], "extra": true}),
        ];
        let schemas = [
            json!({"type": "integer"}),
            json!({"type": ["string", "null"]}),
            json!({"enum": [2, "owl", null, {"a": 1}]}),
            json!({"const": [1, 1]}),
            json!({"minimum": 2, "exclusiveMaximum": 3}),
            json!({"multipleOf": 0.5}),
            json!({"minLength": 1, "maxLength": 3}),
            json!({"pattern": "^[a-z]+$"}),
            json!({"pattern": "\\d{4}-\\p{L}?"}),
            json!({"format": "date"}),
            json!({"format": "time"}),
            json!({"format": "email"}),
            json!({"format": "uri"}),
            json!({"format": "uuid"}),
            json!({"format": "no such format"}),
            json!({"items": {"type": "integer"}}),
            json!({"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}),
            json!({"contains": {"type": "string"}}),
            json!({"contains": {"const": 1}, "minContains": 2}),
            json!({"uniqueItems": true}),
            json!({"minItems": 1, "maxItems": 2}),
            json!({"required": ["a"], "properties": {"a": {"type": "integer"}}}),
            json!({"additionalProperties": false, "properties": {"a": {}}}),
            json!({"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": {"type": "string"}}),
            json!({"propertyNames": {"maxLength": 1}}),
            json!({"minProperties": 1, "maxProperties": 2}),
            json!({"dependentRequired": {"a": ["b"]}}),
            json!({"dependentSchemas": {"a": {"required": ["c"]}}}),
            json!({"allOf": [{"type": "object"}, {"required": ["a"]}]}),
            json!({"anyOf": [{"type": "string"}, {"type": "array"}]}),
            json!({"oneOf": [{"type": "integer"}, {"minimum": 2}]}),
            json!({"not": {"type": "object"}}),
            json!({"if": {"type": "object"}, "then": {"required": ["b"]}, "else": {"type": "string"}}),
            json!({"properties": {"a": {"$ref": "#"}}, "type": ["object", "integer"]}),
            json!({"$ref": "#/$defs/owl", "$defs": {"owl": {"properties": {"a": {"type": "integer"}}}}}),
            json!({"$ref": "#owl", "$defs": {"x": {"$anchor": "owl", "type": "object"}}}),
            json!({"properties": {"a": true}, "unevaluatedProperties": false}),
            json!({"allOf": [{"properties": {"a": true}}], "unevaluatedProperties": false}),
            json!({"prefixItems": [true], "unevaluatedItems": {"type": "integer"}}),
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}], "additionalItems": false}),
        ];
        for schema in schemas {
            let other = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
            let own = OutputSchema::new(schema.clone()).unwrap();
            for document in &documents {
                let problems = own.check(&document.to_string()).err();
                assert_eq!(problems.is_none(), other.is_valid(document), "{schema} {document}: {problems:?}");
            }
        }
    }
}
