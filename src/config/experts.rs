//! The `[experts]` tables: reads one file's experts, without yet resolving their delegates. `file` calls it for each
//! file; `graph` connects the results, `skills` and `native` read the tables within.

use indexmap::IndexMap;

use super::diagnostics::SourceSpan;
use super::error::{quoted, shown};
use super::graph::Declaration;
use super::keys::tables::{EXPERT, PERMISSIONS};
use super::keys::values::{CONTEXT_LIMITS, DESCRIPTION, INSTRUCTION, MAX_NAME, TIERS, TOOL_SEARCHES};
use super::output_schema::SchemaFolders;
use super::reader::{Diagnostics, Key, Node, Table};
use super::suggest::nearest;
use super::{Endpoints, agent_skills, context_files, native, output_schema, provider, skills, verify};
use crate::expert::{ContextLimit, DEFAULT_VERSION, Expert, ExpertKey, SkillSpec, ToolSearch, is_version};
use crate::model_name::ModelName;
use crate::permission::{PermissionPattern, Permissions};
use crate::tool::BASE_SKILL;

/// This runtime on the original's scale of runtime versions, which `minRuntimeVersion` is on. (Its packages count from 0.0.)
const RUNTIME_VERSION: [u64; 3] = [1, 0, 0];

/// Reads the experts of one file. Delegates are resolved when all files are read.
pub(super) fn experts(
    root: &Table<'_>,
    endpoints: Endpoints,
    folders: SchemaFolders<'_>,
    own_model: Option<&ModelName>,
    diagnostics: &mut Diagnostics,
) -> Vec<Declaration> {
    let mut declarations = Vec::new();
    let Some(table) = root.get("experts").and_then(|node| node.table(diagnostics)) else { return declarations };
    for (key, node) in table.iter() {
        diagnostics.set_expert(Some(key.name));
        let expert_key = expert_key(&key, diagnostics);
        let Some(table) = node.table(diagnostics) else { continue };
        let delegates = delegates(&table, diagnostics);
        let expert = expert(expert_key, &table, endpoints, folders, own_model, diagnostics);
        declarations.push(Declaration { name: key.name.to_owned(), spot: key.spot(), expert, delegates });
    }
    diagnostics.set_expert(None);
    declarations
}

/// The key of an expert in a file: a name without dots, version or tag.
fn expert_key(key: &Key<'_>, diagnostics: &mut Diagnostics) -> Option<ExpertKey> {
    let sound = key.name.len() <= MAX_NAME && !key.name.contains('.');
    let parsed = key.name.parse::<ExpertKey>().ok().filter(|key| sound && key.version_or_tag().is_none());
    if parsed.is_none() {
        key.problem(
            format!(
                "Invalid expert key format: {} (use up to {MAX_NAME} lower-case letters, digits, - and _, with an \
                 optional @scope/ before; no dots, no version)",
                shown(key.name)
            ),
            diagnostics,
        );
    }
    parsed
}

fn expert(
    key: Option<ExpertKey>,
    table: &Table<'_>,
    endpoints: Endpoints,
    folders: SchemaFolders<'_>,
    own_model: Option<&ModelName>,
    diagnostics: &mut Diagnostics,
) -> Option<Expert> {
    table.warn_unknown(&EXPERT, diagnostics);
    let instruction = table
        .required("instruction", "string", diagnostics)
        .and_then(|node| node.text(&INSTRUCTION, diagnostics))
        .map(str::to_owned);
    let description = table.get("description").and_then(|node| node.text(&DESCRIPTION, diagnostics)).map(str::to_owned);
    let min_runtime_version = table.get("minRuntimeVersion").and_then(|node| min_runtime_version(&node, diagnostics));
    let default_model_tier = table.get("defaultModelTier").and_then(|node| node.choice(&TIERS, diagnostics));
    // With a tier of its own, the file's model is not this expert's.
    let own_model = own_model.filter(|_| default_model_tier.is_none());
    let fallback = table.get("fallback").and_then(|node| provider::fallback(&node, own_model, diagnostics));
    let context_limit = table.get("contextLimit").and_then(|node| context_limit(&node, diagnostics));
    let tool_search = table.get("toolSearch").and_then(|node| tool_search(&node, diagnostics));
    let output_schema = table.get("outputSchema").and_then(|node| output_schema::schema(&node, folders, diagnostics));
    let verify = table.get("verify").and_then(|node| verify::verify(&node, diagnostics));
    let context = table.get("context").map(|node| context_files::paths(&node, diagnostics)).unwrap_or_default();
    let agent_skills = table.get("agentSkills").map(|node| agent_skills::items(&node, diagnostics)).unwrap_or_default();
    let version = table.get("version").and_then(|node| version(&node, diagnostics));
    let tags = table.get("tags").map(|node| tags(&node, diagnostics)).unwrap_or_default();
    let skills = match table.get("skills") {
        Some(node) => skills::skills(&node, endpoints, diagnostics),
        None => IndexMap::from([(BASE_SKILL.to_owned(), SkillSpec::base())]),
    };
    let permissions = table.get("permissions").map(|node| permissions(&node, diagnostics)).unwrap_or_default();
    let after_untrusted = table.get("afterUntrusted").and_then(|node| patterns(&node, diagnostics));
    let provider_tools =
        table.get("providerTools").and_then(|node| native::tools(&node, diagnostics)).unwrap_or_default();
    let provider_skills = table.get("providerSkills").and_then(|node| native::skills(&node, diagnostics));
    let provider_tool_options =
        table.get("providerToolOptions").and_then(|node| native::tool_options(&node, diagnostics));
    let (key, instruction) = (key?, instruction?);
    Some(Expert {
        name: key.as_str().to_owned(),
        key,
        version: version.unwrap_or_else(|| DEFAULT_VERSION.to_owned()),
        min_runtime_version,
        description,
        instruction,
        default_model_tier,
        fallback,
        context_limit,
        tool_search,
        output_schema,
        verify,
        context,
        agent_skills,
        skills,
        // `graph::connect` fills them in when all experts are known.
        delegates: Vec::new(),
        tags,
        permissions,
        after_untrusted,
        provider_tools,
        provider_skills,
        provider_tool_options,
    })
}

/// `contextLimit`, of an expert or of all.
pub(super) fn context_limit(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<ContextLimit> {
    node.choice(&CONTEXT_LIMITS, diagnostics)
}

/// `toolSearch`, of an expert or of all.
pub(super) fn tool_search(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<ToolSearch> {
    node.choice(&TOOL_SEARCHES, diagnostics)
}

/// The version of the original's scale that an expert needs. A higher one than this runtime's is a mistake.
fn min_runtime_version(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<String> {
    let text = node.string(diagnostics)?;
    let numbers = text.strip_prefix('v').unwrap_or(text).split('.').map(|part| part.parse::<u64>().ok());
    match numbers.collect::<Option<Vec<u64>>>() {
        // Shorter ones compare right as they are: 1 is less than 1.0.
        Some(wanted) if wanted.as_slice() > RUNTIME_VERSION.as_slice() => {
            let [major, minor, _] = RUNTIME_VERSION;
            let message = format!("needs a runtime of version {}, and this one is v{major}.{minor}", quoted(text));
            node.problem(message, diagnostics);
        }
        Some(_) => {}
        None => node.warning(format!("{} is no version such as \"v1.0\", ignored", quoted(text)), diagnostics),
    }
    Some(text.to_owned())
}

/// `permissions`, of an expert or of all.
pub(super) fn permissions(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Permissions {
    let Some(table) = node.table(diagnostics) else { return Permissions::default() };
    table.warn_unknown(&PERMISSIONS, diagnostics);
    let mut list = |key| table.get(key).and_then(|node| patterns(&node, diagnostics)).unwrap_or_default();
    Permissions { allow: list("allow"), ask: list("ask"), deny: list("deny") }
}

fn patterns(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<PermissionPattern>> {
    let items = node.list(diagnostics)?;
    Some(items.iter().filter_map(|item| pattern(item, diagnostics)).collect())
}

fn pattern(item: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<PermissionPattern> {
    match item.string(diagnostics)?.parse::<PermissionPattern>() {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let (name, known) = error.unknown.clone().unwrap_or_default();
            let hint = nearest(&name, known.iter().copied());
            let hint = hint.map(|hint| format!("; did you mean {}?", quoted(hint))).unwrap_or_default();
            item.problem(format!("{error}{hint}"), diagnostics);
            None
        }
    }
}

fn version(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<String> {
    let text = node.string(diagnostics)?;
    if text.len() > MAX_NAME || !is_version(text) {
        node.problem(format!("expected a version such as \"1.2.3\", received {}", quoted(text)), diagnostics);
        return None;
    }
    Some(text.to_owned())
}

fn tags(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Vec<String> {
    let mut tags = Vec::new();
    for item in node.list(diagnostics).unwrap_or_default() {
        let Some(tag) = item.string(diagnostics) else { continue };
        if !is_tag(tag) {
            let expected = "expected a tag of lower-case letters, digits, - and _";
            item.problem(format!("{expected}, received {}", quoted(tag)), diagnostics);
        }
        tags.push(tag.to_owned());
    }
    tags
}

/// `[a-z0-9][a-z0-9_-]*`
fn is_tag(text: &str) -> bool {
    text.len() <= MAX_NAME
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

/// The entries of `delegates`, with their places.
fn delegates(table: &Table<'_>, diagnostics: &mut Diagnostics) -> Vec<(SourceSpan, ExpertKey)> {
    let mut delegates = Vec::new();
    for item in table.get("delegates").and_then(|node| node.list(diagnostics)).unwrap_or_default() {
        let Some(text) = item.string(diagnostics) else { continue };
        match text.parse::<ExpertKey>() {
            Err(_) => item.problem(format!("Invalid expert key format: {}", shown(text)), diagnostics),
            Ok(key) => delegates.push((item.spot(), key)),
        }
    }
    delegates
}

#[cfg(test)]
mod tests {
    use crate::expert_map::ExpertMap;

    use std::path::Path;

    use super::super::{ConfigError, Project, parse};
    use super::*;
    use crate::expert::ModelTier;

    fn read(text: &str) -> Result<Project, ConfigError> {
        parse(text, Path::new("p.toml"))
    }

    fn problems(text: &str) -> Vec<String> {
        read(text).unwrap_err().to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_expert_without_skills_has_the_base_skill() {
        let expected = Expert {
            key: "hello".parse().unwrap(),
            name: "hello".to_owned(),
            version: "1.0.0".to_owned(),
            min_runtime_version: None,
            description: None,
            instruction: "Greet.".to_owned(),
            default_model_tier: None,
            fallback: None,
            context_limit: None,
            tool_search: None,
            output_schema: None,
            verify: None,
            context: Vec::new(),
            agent_skills: Vec::new(),
            skills: IndexMap::from([("@perstack/base".to_owned(), SkillSpec::base())]),
            delegates: Vec::new(),
            tags: Vec::new(),
            permissions: Permissions::default(),
            after_untrusted: None,
            provider_tools: Vec::new(),
            provider_skills: None,
            provider_tool_options: None,
        };
        let project = read("[experts.hello]\ninstruction = \"Greet.\"\n").unwrap();
        assert_eq!(project.experts, ExpertMap::from([expected]));
    }

    #[test]
    fn every_key_of_an_expert_is_read() {
        let text = r#"
            [experts.plan]
            version = "2.4.0-rc.1+build.7"
            minRuntimeVersion = "v1.0"
            description = "Plans."
            instruction = "Plan."
            defaultModelTier = "high"
            fallback = ["openai/gpt-5-mini"]
            contextLimit = "summarize"
            toolSearch = "auto"
            delegates = ["@plan/write", "@plan/write"]
            tags = ["docs", "a_b"]
            permissions = { allow = ["readTextFile"], ask = ["exec(git *)"], deny = [] }
            afterUntrusted = ["readTextFile"]
            skills = {}
            [experts."@plan/write"]
            instruction = "Write."
        "#;
        let project = read(text).unwrap();
        let expected = Expert {
            key: "plan".parse().unwrap(),
            name: "plan".to_owned(),
            version: "2.4.0-rc.1+build.7".to_owned(),
            min_runtime_version: Some("v1.0".to_owned()),
            description: Some("Plans.".to_owned()),
            instruction: "Plan.".to_owned(),
            default_model_tier: Some(ModelTier::High),
            fallback: Some(vec!["openai/gpt-5-mini".parse().unwrap()]),
            context_limit: Some(ContextLimit::Summarize),
            tool_search: Some(ToolSearch::Auto),
            output_schema: None,
            verify: None,
            context: Vec::new(),
            agent_skills: Vec::new(),
            skills: IndexMap::new(),
            delegates: vec!["@plan/write".parse().unwrap()],
            tags: vec!["docs".to_owned(), "a_b".to_owned()],
            permissions: Permissions {
                allow: vec!["readTextFile".parse().unwrap()],
                ask: vec!["exec(git *)".parse().unwrap()],
                deny: Vec::new(),
            },
            after_untrusted: Some(vec!["readTextFile".parse().unwrap()]),
            provider_tools: Vec::new(),
            provider_skills: None,
            provider_tool_options: None,
        };
        assert_eq!(project.expert("plan").unwrap(), &expected);
        assert_eq!(project.warnings, ["p.toml:11:41: experts.plan.delegates.1: listed twice, ignored"]);
    }

    #[test]
    fn keys_are_plain_names() {
        let hint = "(use up to 255 lower-case letters, digits, - and _, with an optional @scope/ before; no dots, no \
                    version)";
        for key in ["Upper", "a.b", "a@1.0.0", "@a.b/c", "a b", "@a", ""] {
            let lines = problems(&format!("[experts.{key:?}]\ninstruction = \"i\"\n"));
            assert_eq!(lines.len(), 1);
            assert!(lines[0].ends_with(&format!("Invalid expert key format: {key} {hint}")), "{lines:?}");
        }
        let longest = "a".repeat(MAX_NAME);
        assert!(read(&format!("[experts.{longest}]\ninstruction = \"i\"\n")).is_ok());
        assert!(read(&format!("[experts.{longest}a]\ninstruction = \"i\"\n")).is_err());
    }

    #[test]
    fn mistakes_are_located() {
        let text = "[experts.e]\nversion = \"1.0\"\ndescription = \"\"\ndefaultModelTier = \"max\"\n\
                    contextLimit = \"grow\"\n\
                    delegates = [\"No\"]\ntags = [\"Docs\"]\nskills = 1\n";
        assert_eq!(
            problems(text),
            [
                "p.toml:1:10: experts.e.instruction: missing, expected string",
                "p.toml:2:11: experts.e.version: expected a version such as \"1.2.3\", received \"1.0\"",
                "p.toml:3:15: experts.e.description: expected 1 to 2048 characters, received 0",
                "p.toml:4:20: experts.e.defaultModelTier: expected one of \"low\", \"middle\", \"high\", received \"max\"",
                "p.toml:5:16: experts.e.contextLimit: expected one of \"stop\", \"summarize\", received \"grow\"",
                "p.toml:6:14: experts.e.delegates.0: Invalid expert key format: No",
                "p.toml:7:9: experts.e.tags.0: expected a tag of lower-case letters, digits, - and _, received \"Docs\"",
                "p.toml:8:10: experts.e.skills: expected table, received number",
            ]
        );
    }

    #[test]
    fn instructions_have_a_length_in_characters() {
        let of = |length: usize| read(&format!("[experts.e]\ninstruction = \"{}\"\n", "ü".repeat(length)));
        assert!(of(20_480).is_ok());
        assert_eq!(
            of(20_481).unwrap_err().to_string(),
            "p.toml:2:15: experts.e.instruction: expected 1 to 20480 characters, received 20481"
        );
    }
}
