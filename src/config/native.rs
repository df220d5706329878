//! Tools and skills that a model's provider runs itself: `providerTools`, `providerSkills`, `providerToolOptions`.
//! `experts` calls it; the values are checked and kept as JSON, and their meaning is left to the providers.

use serde_json::{Map, Value, json};

use super::error::quoted;
use super::keys::KeyTable;
use super::keys::provider_tool_tables::{
    FILE_SEARCH, PROVIDER_SKILL, TOOL_OPTIONS, WEB_FETCH, WEB_SEARCH, provider_skill,
};
use super::keys::values::{BUILTIN_SKILLS, COUNT, PROVIDER_SKILL_KINDS, PROVIDER_TOOLS};
use super::reader::{Diagnostics, Node, Table};

/// The names in `providerTools`. One that no provider knows gets a warning and is kept: a newer model may have it.
pub(super) fn tools(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for item in node.list(diagnostics)? {
        let Some(name) = item.string(diagnostics) else { continue };
        if !PROVIDER_TOOLS.contains(&name) {
            let hint = diagnostics.hint(name, PROVIDER_TOOLS);
            item.warning(format!("no provider has a tool {}, ignored{hint}", quoted(name)), diagnostics);
        }
        names.push(name.to_owned());
    }
    Some(names)
}

/// The entries of `providerSkills`.
pub(super) fn skills(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Value> {
    let items = node.list(diagnostics)?;
    Some(items.iter().filter_map(|item| skill(item, diagnostics)).collect())
}

fn skill(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Value> {
    let table = node.table(diagnostics)?;
    let is_custom = table
        .required("type", "one of \"builtin\", \"custom\"", diagnostics)?
        .choice(&PROVIDER_SKILL_KINDS, diagnostics)?;
    table.warn_unknown_beside(&[PROVIDER_SKILL.tag], provider_skill(is_custom), diagnostics);
    if is_custom {
        let name = table.required("name", "non-empty string", diagnostics).and_then(|node| node.filled(diagnostics));
        let definition =
            table.required("definition", "JSON text", diagnostics).and_then(|node| definition(&node, diagnostics));
        Some(json!({ "type": "custom", "name": name?, "definition": definition? }))
    } else {
        let id = table.required("skillId", "string", diagnostics)?.choice(&BUILTIN_SKILLS, diagnostics)?;
        Some(json!({ "type": "builtin", "skillId": id }))
    }
}

fn definition<'a>(node: &Node<'a>, diagnostics: &mut Diagnostics) -> Option<&'a str> {
    let text = node.filled(diagnostics)?;
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        node.problem(format!("expected JSON text: {error}"), diagnostics);
        return None;
    }
    Some(text)
}

/// The tables of `providerToolOptions`.
pub(super) fn tool_options(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Value> {
    let table = node.table(diagnostics)?;
    table.warn_unknown(&TOOL_OPTIONS, diagnostics);
    let mut options = Map::new();
    let mut read = |tool: &str, known: &KeyTable, count: &str, list: Option<&str>| {
        let tool_table = table.get(tool).and_then(|node| node.table(diagnostics));
        if let Some(tool_table) = tool_table {
            options.insert(tool.to_owned(), one_tool(&tool_table, known, count, list, diagnostics));
        }
    };
    read("webSearch", &WEB_SEARCH, "maxUses", Some("allowedDomains"));
    read("webFetch", &WEB_FETCH, "maxUses", None);
    read("fileSearch", &FILE_SEARCH, "maxNumResults", Some("vectorStoreIds"));
    Some(Value::Object(options))
}

/// A tool's options: a number greater than 0, and for some a list of strings.
fn one_tool(
    table: &Table<'_>,
    known: &KeyTable,
    count: &str,
    list: Option<&str>,
    diagnostics: &mut Diagnostics,
) -> Value {
    table.warn_unknown(known, diagnostics);
    let mut options = Map::new();
    if let Some(number) = table.get(count).and_then(|node| node.whole(&COUNT, diagnostics)) {
        options.insert(count.to_owned(), number.into());
    }
    let strings = list.and_then(|name| Some((name, table.get(name)?.strings(diagnostics)?)));
    if let Some((name, strings)) = strings {
        options.insert(name.to_owned(), strings.into());
    }
    Value::Object(options)
}

#[cfg(test)]
mod tests {

    use std::path::Path;

    use serde_json::json;

    use super::super::{ConfigError, parse};
    use crate::expert::Expert;

    /// An expert with `keys`, and the warnings.
    fn expert(keys: &str) -> Result<(Expert, Vec<String>), ConfigError> {
        let text = format!("[experts.e]\ninstruction = \"i\"\n{keys}\n");
        let project = parse(&text, Path::new("p.toml"))?;
        let expert = project.expert("e")?.clone();
        Ok((expert, project.warnings))
    }

    #[test]
    fn tools_skills_and_options_are_kept() {
        let keys = r#"
            providerTools = ["webSearch"]
            providerSkills = [{ type = "builtin", skillId = "pdf" }, { type = "custom", name = "n", definition = "{}" }]
            [experts.e.providerToolOptions.webSearch]
            maxUses = 5
            allowedDomains = ["a.example"]
            [experts.e.providerToolOptions.fileSearch]
            vectorStoreIds = ["v"]
            maxNumResults = 8
        "#;
        let (expert, warnings) = expert(keys).unwrap();
        assert_eq!(expert.provider_tools, ["webSearch"]);
        assert_eq!(
            expert.provider_skills,
            Some(json!([
                { "type": "builtin", "skillId": "pdf" },
                { "type": "custom", "name": "n", "definition": "{}" },
            ]))
        );
        assert_eq!(
            expert.provider_tool_options,
            Some(json!({
                "webSearch": { "maxUses": 5, "allowedDomains": ["a.example"] },
                "fileSearch": { "maxNumResults": 8, "vectorStoreIds": ["v"] },
            }))
        );
        assert_eq!(warnings, [] as [&str; 0]);
    }

    #[test]
    fn an_unknown_tool_gets_a_warning() {
        let (_, warnings) = expert("providerTools = [\"webSerch\"]").unwrap();
        assert_eq!(
            warnings,
            ["p.toml:3:18: experts.e.providerTools.0: no provider has a tool \"webSerch\", ignored; \
              did you mean \"webSearch\"?"]
        );
    }

    #[test]
    fn mistakes_are_located() {
        let error = |keys: &str| expert(keys).unwrap_err().to_string();
        assert_eq!(
            error("providerSkills = [{ type = \"builtin\", skillId = \"odt\" }, { type = \"custom\", name = \"\" }]"),
            "p.toml:3:49: experts.e.providerSkills.0.skillId: expected one of \"pdf\", \"docx\", \"pptx\", \"xlsx\", \
             received \"odt\"\n\
             p.toml:3:58: experts.e.providerSkills.1.definition: missing, expected JSON text\n\
             p.toml:3:84: experts.e.providerSkills.1.name: expected a non-empty string"
        );
        assert_eq!(
            error("providerToolOptions.webSearch.maxUses = 0"),
            "p.toml:3:41: experts.e.providerToolOptions.webSearch.maxUses: expected a whole number from 1 to \
             9007199254740991, received another number"
        );
    }
}
