//! [`read_output_schema`]: the file of a JSON Schema for answers; and the key `outputSchema` of an expert, which names one or
//! is the schema itself. The command line and the reader of experts call it.

use std::error::Error as _;
use std::path::Path;

use super::error::{ConfigError, quoted};
use super::read_file::read_text;
use super::reader::{Diagnostics, Node};
use crate::hint::ErrorHint as _;
use crate::output_schema::OutputSchema;

/// The folders of a file of experts.
#[derive(Debug, Clone, Copy)]
pub(super) struct SchemaFolders<'a> {
    /// That of the file itself, which paths begin at.
    pub own: &'a Path,
    /// That of the configuration's first file. Paths lead to a file in one of the two.
    pub project: &'a Path,
}

/// Reads the JSON Schema in the file at `path`.
///
/// # Errors
/// There is no such file, or it holds no schema that answers can be checked against.
pub fn read_output_schema(path: &Path) -> Result<OutputSchema, ConfigError> {
    let text = read_text(path)?.ok_or_else(|| ConfigError::NoOutputSchema { path: path.to_owned() })?;
    // Nothing of the file is quoted: it may be another than was meant.
    let parsed = serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(&text)).map_err(|error| {
        let (path, line, column) = (path.to_owned(), error.line(), error.column());
        ConfigError::NoJson { path, line, column }
    })?;
    OutputSchema::new(parsed).map_err(|problem| ConfigError::OutputSchema { path: path.to_owned(), problem })
}

/// `outputSchema` of an expert.
pub(super) fn schema(
    node: &Node<'_>,
    folders: SchemaFolders<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<OutputSchema> {
    let read = match node.as_str() {
        Some("") => Err("expected the path of a file".to_owned()),
        Some(path) if path.contains("://") => {
            Err(format!("{} is an address, and only local files are read: save it and name its path", quoted(path)))
        }
        Some(path) => of_file(path, folders),
        None if node.is_table() => {
            OutputSchema::new(node.json(diagnostics)?).map_err(|error| format!("not usable: {error}"))
        }
        None => {
            node.mismatch("path of a JSON Schema, or the schema as a table", diagnostics);
            return None;
        }
    };
    read.map_err(|problem| node.problem(problem, diagnostics)).ok()
}

fn of_file(path: &str, folders: SchemaFolders<'_>) -> Result<OutputSchema, String> {
    let here = |folder: &Path| if folder.as_os_str().is_empty() { Path::new(".") } else { folder }.canonicalize();
    let file = folders.own.join(path);
    // Links are followed: the schema goes to the model, and a file of the user's elsewhere must not.
    let is_outside =
        |file: &Path| [folders.own, folders.project].iter().all(|it| here(it).is_ok_and(|it| !file.starts_with(it)));
    if file.canonicalize().is_ok_and(|file| is_outside(&file)) {
        return Err(format!("{} is outside of the configuration's folder: copy the schema into it", quoted(path)));
    }
    read_output_schema(&file).map_err(|error| {
        let cause = error.source().map(|cause| format!(" ({cause})")).unwrap_or_default();
        format!("{}{cause}", error.with_hint())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::super::load;

    /// The schema of an expert with this key, in a folder with this file.
    fn read(key: &str, schema: &str) -> Result<serde_json::Value, String> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("project/perstack.toml");
        fs::create_dir_all(folder.path().join("project/experts")).unwrap();
        fs::write(&config, "include = [\"experts/e.toml\"]\n").unwrap();
        fs::write(folder.path().join("outside.json"), "{}").unwrap();
        fs::write(folder.path().join("project/s.json"), schema).unwrap();
        fs::write(folder.path().join("project/experts/own.json"), schema).unwrap();
        fs::write(folder.path().join("project/experts/e.toml"), format!("[experts.e]\ninstruction = \"i\"\n{key}\n"))
            .unwrap();
        let project =
            load(&config).map_err(|error| error.to_string().replace(&folder.path().display().to_string(), ""))?;
        Ok(project.expert("e").unwrap().output_schema.as_ref().unwrap().as_value().clone())
    }

    #[test]
    fn a_schema_is_a_table_or_a_file_relative_to_the_one_that_names_it() {
        let expected = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": -1}}});
        let table = "outputSchema = { type = \"object\", properties = { n = { type = \"integer\", minimum = -1 } } }";
        assert_eq!(read(table, "").unwrap(), expected);
        for path in ["own.json", "../s.json"] {
            assert_eq!(read(&format!("outputSchema = {path:?}"), &expected.to_string()).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_located_and_never_quoted() {
        for (key, schema, expected) in [
            ("\"none.json\"", "", "/project/experts/none.json does not exist"),
            ("\"\"", "", "expected the path of a file"),
            ("3", "", "expected path of a JSON Schema, or the schema as a table, received number"),
            ("\"own.json\"", "{\"secret\": \"sk-owl\",", "/project/experts/own.json:1:20: not JSON"),
            ("\"own.json\"", "[1]", "/project/experts/own.json is no schema for answers: a JSON Schema is an object"),
            ("\"../../outside.json\"", "", "\"../../outside.json\" is outside of the configuration's folder"),
            ("\"https://example.com/x.json\"", "", "\"https://example.com/x.json\" is an address"),
            ("{ \"$ref\" = \"https://example.com/x\" }", "", "not usable: it is no JSON Schema"),
            ("{ minimum = 99999999999999999999 }", "", "expected a whole number of 64 bits"),
        ] {
            let problem = read(&format!("outputSchema = {key}"), schema).unwrap_err();
            assert!(problem.contains("experts.e.outputSchema") && problem.contains(expected), "{key}: {problem}");
            assert!(!problem.contains("sk-owl"), "{problem}");
        }
    }
}
