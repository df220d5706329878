//! The configurations that the documents show are read without a mistake or a warning.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

use super::book::{docs, pages};

/// Beginnings of blocks that are no `perstack.toml`.
const OTHER_FILES: [&str; 1] = ["[openai]\nlow"];

/// The beginning of a skill, for blocks that show a key within one.
const SKILL: &str = "[experts.e.skills.s]\ntype = \"mcpSseSkill\"\nendpoint = \"https://mcp.example.com\"\n";

/// The TOML blocks of a document, with what a fragment leaves out.
fn configurations(page: &str) -> Vec<String> {
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let blocks = blocks.filter(|block| !OTHER_FILES.iter().any(|other| block.starts_with(other)));
    blocks.map(whole).collect()
}

fn whole(block: &str) -> String {
    let text = if block.starts_with(' ') { format!("{SKILL}{}", block.trim()) } else { block.to_owned() };
    let mut table: Table = text.parse().unwrap_or_else(|error| panic!("{error} in\n{text}"));
    let Some(Value::Table(experts)) = table.get_mut("experts") else { return text };
    for (_, expert) in experts.iter_mut() {
        let expert = expert.as_table_mut().unwrap();
        expert.entry("instruction").or_insert_with(|| "Answer.".into());
    }
    table.to_string()
}

#[test]
fn configurations_in_documents_are_read_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("p/experts/a.toml", ""),
        ("p/triage.schema.json", "{}"),
        ("team/reviewer.toml", "[experts.reviewer]\ninstruction = \"R.\"\n"),
    ] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut read = 0;
    for page in pages(&docs()).into_iter().chain([root.join("README.md")]) {
        for text in configurations(&fs::read_to_string(&page).unwrap()) {
            let project = perstack::config::parse(&text, &folder.path().join("p/perstack.toml"));
            let project = project.unwrap_or_else(|error| panic!("{}: {error}\n{text}", page.display()));
            assert_eq!(project.warnings, [""; 0], "{}\n{text}", page.display());
            read += 1;
        }
    }
    assert!(read >= 10, "{read} blocks were found");
}
