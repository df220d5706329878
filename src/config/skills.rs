//! The `skills` tables of an expert: MCP servers, local and remote, and questions to a person.
//!
//! The lengths that only the original's API demanded (of rules, names, lists) are not demanded here.

use indexmap::IndexMap;
use serde_json::Value;

use super::address::{domain_fault, endpoint_fault};
use super::error::shown;
use super::file::Endpoints;
use super::reader::{Findings, Key, Node, Table};
use crate::expert::{InteractiveTool, SkillCommon, SkillSpec};

/// Keys that every kind of skill has.
const COMMON: [&str; 6] = ["type", "description", "rule", "pick", "omit", "idempotent"];
const STDIO: [&str; 6] = ["command", "packageName", "args", "requiredEnv", "lazyInit", "allowedDomains"];
const SSE: [&str; 3] = ["endpoint", "allowedDomains", "allowPrivateEndpoint"];
const INTERACTIVE: [&str; 1] = ["tools"];

#[derive(Clone, Copy)]
enum Kind {
    Stdio,
    Sse,
    Interactive,
}

/// What `type` may say.
const KINDS: [(&str, Kind); 3] =
    [("mcpStdioSkill", Kind::Stdio), ("mcpSseSkill", Kind::Sse), ("interactiveSkill", Kind::Interactive)];

/// Reads a `skills` table, by name and in the order of the file.
pub(super) fn skills(node: &Node<'_>, endpoints: Endpoints, findings: &mut Findings) -> IndexMap<String, SkillSpec> {
    let Some(table) = node.table(findings) else { return IndexMap::new() };
    table
        .iter()
        .filter_map(|(key, node)| {
            Some((key.name.to_owned(), skill(&key, &node.table(findings)?, endpoints, findings)?))
        })
        .collect()
}

fn skill(key: &Key<'_>, table: &Table<'_>, endpoints: Endpoints, findings: &mut Findings) -> Option<SkillSpec> {
    let expected = "one of \"mcpStdioSkill\", \"mcpSseSkill\", \"interactiveSkill\"";
    let kind = table.required("type", expected, findings)?.choice(&KINDS, findings)?;
    let own: &[&str] = match kind {
        Kind::Stdio => &STDIO,
        Kind::Sse => &SSE,
        Kind::Interactive => &INTERACTIVE,
    };
    table.warn_unknown(&[&COMMON, own].concat(), findings);
    let common = common(key.name, table, findings);
    match kind {
        Kind::Stdio => stdio(common, table, findings),
        Kind::Sse => sse(common, table, endpoints, findings),
        Kind::Interactive => interactive(common, table, findings),
    }
}

fn common(name: &str, table: &Table<'_>, findings: &mut Findings) -> SkillCommon {
    SkillCommon {
        name: name.to_owned(),
        description: text(table, "description", findings),
        rule: text(table, "rule", findings),
        pick: strings(table, "pick", findings),
        omit: strings(table, "omit", findings),
        idempotent: strings(table, "idempotent", findings),
    }
}

fn stdio(common: SkillCommon, table: &Table<'_>, findings: &mut Findings) -> Option<SkillSpec> {
    let command = table.required("command", "string", findings).and_then(|node| node.filled(findings));
    let args = table.get("args").map(|node| node.list(findings).map(|items| items.len()));
    // An empty name counted as none to the original.
    let package_name = text(table, "packageName", findings).filter(|name| !name.is_empty());
    let name = shown(&common.name);
    match (&package_name, args.flatten().unwrap_or(0)) {
        (None, 0) => {
            table.problem(format!("Skill {name} has no packageName or args. Please provide one of them."), findings)
        }
        (Some(_), 1..) => table
            .problem(format!("Skill {name} has both packageName and args. Please provide only one of them."), findings),
        (None, 1..) | (Some(_), 0) => {}
    }
    Some(SkillSpec::McpStdioSkill {
        common,
        command: command?.to_owned(),
        package_name,
        args: strings(table, "args", findings),
        required_env: strings(table, "requiredEnv", findings),
        lazy_init: boolean(table, "lazyInit", findings),
        allowed_domains: allowed_domains(table, findings),
    })
}

fn sse(common: SkillCommon, table: &Table<'_>, endpoints: Endpoints, findings: &mut Findings) -> Option<SkillSpec> {
    let allow_private_endpoint = boolean(table, "allowPrivateEndpoint", findings);
    let allowed_domains = allowed_domains(table, findings);
    let node = table.required("endpoint", "an https URL", findings)?;
    let endpoint = node.string(findings)?.to_owned();
    if let Some(fault) = endpoint_fault(&endpoint, allow_private_endpoint || endpoints == Endpoints::PrivateToo) {
        node.problem(fault, findings);
    }
    Some(SkillSpec::McpSseSkill { common, endpoint, allowed_domains, allow_private_endpoint })
}

fn interactive(common: SkillCommon, table: &Table<'_>, findings: &mut Findings) -> Option<SkillSpec> {
    let tools = table.required("tools", "a table of tools", findings)?.table(findings)?;
    let tools =
        tools.iter().filter_map(|(key, node)| Some((key.name.to_owned(), question(&node, findings)?))).collect();
    Some(SkillSpec::InteractiveSkill { common, tools })
}

fn question(node: &Node<'_>, findings: &mut Findings) -> Option<InteractiveTool> {
    let table = node.table(findings)?;
    table.warn_unknown(&["description", "inputJsonSchema"], findings);
    let description = text(&table, "description", findings);
    let node = table.required("inputJsonSchema", "a JSON Schema as JSON text", findings)?;
    let schema = node.string(findings)?;
    match serde_json::from_str::<Value>(schema) {
        Err(error) => node.problem(format!("expected JSON text: {error}"), findings),
        Ok(value) if value.get("type").and_then(Value::as_str) != Some("object") => {
            node.problem("expected a JSON Schema with \"type\": \"object\"", findings);
        }
        Ok(_) => {}
    }
    Some(InteractiveTool { description, input_json_schema: schema.to_owned() })
}

fn allowed_domains(table: &Table<'_>, findings: &mut Findings) -> Option<Vec<String>> {
    let mut domains = Vec::new();
    for item in table.get("allowedDomains")?.list(findings)? {
        let Some(domain) = item.string(findings) else { continue };
        if let Some(fault) = domain_fault(domain) {
            item.problem(fault, findings);
        }
        domains.push(domain.to_owned());
    }
    Some(domains)
}

fn text(table: &Table<'_>, name: &str, findings: &mut Findings) -> Option<String> {
    table.get(name)?.string(findings).map(str::to_owned)
}

fn strings(table: &Table<'_>, name: &str, findings: &mut Findings) -> Vec<String> {
    table.get(name).and_then(|node| node.strings(findings)).unwrap_or_default()
}

fn boolean(table: &Table<'_>, name: &str, findings: &mut Findings) -> bool {
    table.get(name).and_then(|node| node.boolean(findings)).unwrap_or(false)
}
