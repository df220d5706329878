//! The JSON Schemas of what scripts read, made from the types: events, the result, `job.json` and checkpoints. Only tests
//! have this module, so that the program carries the finished text alone, which `perstack schema` prints;
//! `UPDATE_DOCS=1 cargo test --lib contracts::` writes it anew, with the copies in `docs/`.
//!
//! Events and results are described as they are written. Job and checkpoint files are described as they are read: what the
//! original left out may be absent.

use std::fs;
use std::path::Path;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::checkpoint::FORMAT_VERSION;
use crate::cost::{Cost, Spend};
use crate::count::{Count, OptionalCount};
use crate::event::{self, Event};
use crate::expert::ExpertKey;
use crate::id::{CheckpointId, JobId, RunId};
use crate::job::Job;
use crate::message::UserInput;
use crate::model_name::ModelName;
use crate::permission::PermissionPattern;
use crate::runtime::{DRY_RUN_SCHEMA_VERSION, DryRun, JobResult, RESULT_SCHEMA_VERSION};
use crate::sandbox::Sandbox;
use crate::store::WrittenCheckpoint;
use crate::test_results::{TEST_SCHEMA_VERSION, TestResults};

/// Schemas of types that write and read themselves.
macro_rules! schemas {
    ($($type:ty, $name:literal: $schema:tt;)*) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })*
    };
}

schemas! {
    JobId, "JobId": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$" };
    RunId, "RunId": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$" };
    CheckpointId, "CheckpointId": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$" };
    ExpertKey, "ExpertKey": {
        "description": "An expert: `name` or `@scope/name`, with an optional `@version` or `@tag` behind.",
        "type": "string", "minLength": 1, "maxLength": 511,
    };
    ModelName, "ModelName": { "description": "A model of a provider: `provider/model`.", "type": "string" };
    Count, "Count": { "type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_991_u64 };
    OptionalCount, "OptionalCount": { "type": ["integer", "null"], "minimum": 0, "maximum": 9_007_199_254_740_991_u64 };
    Cost, "Cost": { "description": "US dollars.", "type": "number", "minimum": 0 };
    Spend, "Spend": {
        "type": "object",
        "properties": {
            "cost": { "description": "US dollars, as far as they are known; absent where nothing is known.", "type": "number", "minimum": 0 },
            "costIsComplete": { "description": "False where `cost` is a lower bound; absent where it is not.", "type": "boolean" },
        },
    };
    PermissionPattern, "PermissionPattern": {
        "description": "A pattern of calls: a tool's name, or a tool with a part of its arguments in brackets.",
        "type": "string",
    };
    Sandbox, "Sandbox": { "type": "string", "enum": ["off", "auto", "all", "required"] };
}

impl JsonSchema for UserInput {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UserInput".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let content = generator.subschema_for::<crate::content::Content>();
        json_schema!({
            "description": "A message of the user that has not joined the conversation yet: a text, or one with images and files.",
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": { "text": { "type": "string" }, "attached": { "type": "array", "items": content } },
                    "required": ["text", "attached"],
                },
            ],
        })
    }
}

/// Makes schemas of types into those for readers of JSON: descriptions without links into the library and of one
/// paragraph, no formats that are Rust's.
#[derive(Clone)]
struct ForReaders;

impl Transform for ForReaders {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(text) = schema.get("description").and_then(Value::as_str) {
            let first = text.split("\n\n").next().unwrap_or_default();
            let plain = first.replace("[`", "`").replace("`]", "`");
            let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
            schema.insert("description".to_owned(), plain.into());
        }
        if schema.get("type").is_some_and(|kind| kind != "string") {
            schema.remove("format");
        }
        transform_subschemas(self, schema);
    }
}

fn schema_of<T: JsonSchema>(settings: SchemaSettings, title: &str, description: &str) -> Value {
    let mut schema = settings.with_transform(ForReaders).into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema.insert("description".to_owned(), description.into());
    schema.to_value()
}

/// Every contract with its name on the command line.
fn contracts() -> [(&'static str, Value); 6] {
    let written = || SchemaSettings::draft2020_12().for_serialize();
    let read = || SchemaSettings::draft2020_12().for_deserialize();
    let mut checkpoint = schema_of::<WrittenCheckpoint<'static>>(
        read(),
        "Checkpoint of perstack",
        &format!(
            "A checkpoint file, formatVersion {FORMAT_VERSION}; without it, one of the TypeScript version. It has its messages, or \
             its place in the log of its run."
        ),
    );
    let mut job = schema_of::<Job>(
        read(),
        "Job of perstack",
        &format!("A `job.json`, formatVersion {FORMAT_VERSION}; without it, one of the TypeScript version."),
    );
    job["properties"]["seal"] = json!({
        "description": "SHA-256 of all bytes before the comma in front of it, in hexadecimal digits. Absent in older files.",
        "type": "string",
    });
    checkpoint["anyOf"] = json!([{ "required": ["messages"] }, { "required": ["log"] }]);
    [
        (
            "events",
            schema_of::<Event>(
                written(),
                "Event of perstack",
                &format!("A line of `--output jsonl`, schemaVersion {}.", event::SCHEMA_VERSION),
            ),
        ),
        (
            "result",
            schema_of::<JobResult<'static>>(
                written(),
                "Result of perstack",
                &format!("The object of `--output json`, schemaVersion {RESULT_SCHEMA_VERSION}."),
            ),
        ),
        (
            "dry-run",
            schema_of::<DryRun>(
                written(),
                "Dry run of perstack",
                &format!("The object of `--dry-run --output json`, schemaVersion {DRY_RUN_SCHEMA_VERSION}."),
            ),
        ),
        ("job", job),
        ("checkpoint", checkpoint),
        (
            "tests",
            schema_of::<TestResults>(
                written(),
                "Results of perstack test",
                &format!("The object of `perstack test --output json`, schemaVersion {TEST_SCHEMA_VERSION}."),
            ),
        ),
    ]
}

#[test]
#[expect(clippy::disallowed_methods, reason = "asks for the files to be written anew")]
fn the_schemas_are_those_of_the_types() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let contracts = contracts();
    let lines: Vec<String> = contracts.iter().map(|(name, schema)| format!("\"{name}\":{schema}")).collect();
    let whole = ("src/cli/schema/contracts.json".to_owned(), format!("{{\n{}\n}}\n", lines.join(",\n")));
    let copies = contracts.iter().map(|(name, schema)| (format!("docs/{name}.schema.json"), format!("{schema:#}\n")));
    for (file, text) in copies.chain([whole]) {
        let path = root.join(&file);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "{file}: UPDATE_DOCS=1 cargo test --lib contracts:: renews it");
    }
}

#[test]
fn the_schemas_are_schemas() {
    for (name, schema) in contracts() {
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
        jsonschema::validator_for(&schema).unwrap();
    }
}
