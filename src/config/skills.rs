//! The `skills` tables of an expert: MCP servers, local and remote, and questions to a person. `experts` calls it;
//! starting what they describe is left to the skill layer.
//!
//! The lengths that only the original's API demanded (of rules, names, lists) are not demanded here.

use indexmap::IndexMap;
use serde_json::Value;

use super::Endpoints;
use super::error::{quoted, shown};
use super::keys::skill_tables::{OAUTH, QUESTION, SKILL, skill as keys_of};
use super::keys::values::{GRANTS, SKILL_KINDS, SKILL_TIMEOUT, SkillKind};
use super::reader::{Diagnostics, Key, Node, Table};
use crate::address::endpoint_fault;
use crate::domain_list::domain_fault;
use crate::expert::{AccessGrant, Grant, InteractiveTool, OAuth, SkillAccess, SkillCommon, SkillSpec};
use crate::tool::BASE_TOOLS;

/// Reads a `skills` table, by name and in the order of the file.
pub(super) fn skills(
    node: &Node<'_>,
    endpoints: Endpoints,
    diagnostics: &mut Diagnostics,
) -> IndexMap<String, SkillSpec> {
    let Some(table) = node.table(diagnostics) else { return IndexMap::new() };
    table
        .iter()
        .filter_map(|(key, node)| {
            Some((key.name.to_owned(), skill(&key, &node.table(diagnostics)?, endpoints, diagnostics)?))
        })
        .collect()
}

fn skill(key: &Key<'_>, table: &Table<'_>, endpoints: Endpoints, diagnostics: &mut Diagnostics) -> Option<SkillSpec> {
    let expected = "one of \"mcpStdioSkill\", \"mcpSseSkill\", \"interactiveSkill\"";
    let kind = table.required("type", expected, diagnostics)?.choice(&SKILL_KINDS, diagnostics)?;
    table.warn_unknown_beside(&[SKILL.tag], keys_of(kind), diagnostics);
    let common = common(key.name, table, diagnostics);
    let spec = match kind {
        SkillKind::Stdio => stdio(server(common, table, diagnostics), table, diagnostics),
        SkillKind::Sse => sse(server(common, table, diagnostics), table, endpoints, diagnostics),
        SkillKind::Interactive => interactive(common, table, diagnostics),
    };
    if let Some(tools) = spec.as_ref().and_then(known_tools) {
        for node in ["pick", "omit"].into_iter().filter_map(|key| table.get(key)) {
            check_names(&node, &tools, diagnostics);
        }
    }
    spec
}

/// The tools of a skill without a server of its own. Those of servers are known when they are started.
fn known_tools(spec: &SkillSpec) -> Option<Vec<&str>> {
    match spec {
        SkillSpec::InteractiveSkill { tools, .. } => Some(tools.keys().map(String::as_str).collect()),
        spec => spec.is_built_in_base().then(|| BASE_TOOLS.to_vec()),
    }
}

/// Reports names in `pick` or `omit` that no tool has: what they were meant to admit or to keep away is not.
fn check_names(node: &Node<'_>, tools: &[&str], diagnostics: &mut Diagnostics) {
    // Items that are no strings are reported already.
    for item in node.items() {
        if let Some(name) = item.as_str().filter(|name| !tools.contains(name)) {
            let reason = format!("the skill has no tool {}", quoted(name));
            diagnostics.unfit_word(item.spot(), name, tools.iter().copied(), &reason);
        }
    }
}

fn common(name: &str, table: &Table<'_>, diagnostics: &mut Diagnostics) -> SkillCommon {
    SkillCommon {
        name: name.to_owned(),
        description: text(table, "description", diagnostics),
        rule: text(table, "rule", diagnostics),
        pick: strings(table, "pick", diagnostics),
        omit: strings(table, "omit", diagnostics),
        idempotent: strings(table, "idempotent", diagnostics),
        untrusted: boolean(table, "untrusted", diagnostics),
        ..SkillCommon::default()
    }
}

/// The keys that servers of both kinds have: time limits, and whether they are given the workspace as their root.
fn server(common: SkillCommon, table: &Table<'_>, diagnostics: &mut Diagnostics) -> SkillCommon {
    let roots = boolean(table, "roots", diagnostics);
    let mut limit = |name| table.get(name).and_then(|node| node.whole(&SKILL_TIMEOUT, diagnostics));
    SkillCommon { roots, start_timeout_ms: limit("startTimeout"), call_timeout_ms: limit("callTimeout"), ..common }
}

fn stdio(common: SkillCommon, table: &Table<'_>, diagnostics: &mut Diagnostics) -> Option<SkillSpec> {
    let command = table.required("command", "string", diagnostics).and_then(|node| node.filled(diagnostics));
    let args = strings(table, "args", diagnostics);
    // The original treats an empty name as absent.
    let package_name = text(table, "packageName", diagnostics).filter(|name| !name.is_empty());
    let fault = match (&package_name, args.len()) {
        (None, 0) if table.get("args").is_none() => Some("has no packageName or args. Please provide one of them."),
        (Some(_), 1..) => Some("has both packageName and args. Please provide only one of them."),
        (None, _) | (Some(_), 0) => None,
    };
    if let Some(fault) = fault {
        table.problem(format!("Skill {} {fault}", shown(&common.name)), diagnostics);
    }
    let required_env = strings(table, "requiredEnv", diagnostics);
    let [secret_env, public_env] =
        ["secretEnv", "publicEnv"].map(|key| declared(table, key, &required_env, diagnostics));
    for name in public_env.iter().filter(|name| secret_env.contains(name)) {
        table.problem(format!("{name} is in both secretEnv and publicEnv: leave out one of the two"), diagnostics);
    }
    let common = SkillCommon { secret_env, public_env, ..common };
    let common = SkillCommon { access: access(table, diagnostics), ..common };
    let lazy_init = boolean(table, "lazyInit", diagnostics);
    let allowed_domains = allowed_domains(table, diagnostics);
    let command = command?.to_owned();
    Some(SkillSpec::McpStdioSkill { common, command, package_name, args, required_env, lazy_init, allowed_domains })
}

/// The files and sockets that the server is given when it is contained.
fn access(table: &Table<'_>, diagnostics: &mut Diagnostics) -> SkillAccess {
    let mut paths = |key| {
        let items = table.get(key).and_then(|node| node.list(diagnostics)).unwrap_or_default();
        let path = |item: &Node<'_>| {
            let path = item.string(diagnostics)?;
            if let Some(fault) = path_fault(path) {
                item.problem(fault, diagnostics);
            }
            Some(path.to_owned())
        };
        items.iter().filter_map(path).collect()
    };
    let [reads, writes, unix_sockets] = ["reads", "writes", "unixSockets"].map(&mut paths);
    let grants = table.get("grants").and_then(|node| node.list(diagnostics)).unwrap_or_default();
    let grants = grants.iter().filter_map(|item| item.choice(&AccessGrant::WORDS, diagnostics)).collect();
    SkillAccess { reads, writes, unix_sockets, grants }
}

/// The mistake in a path of these lists, if there is one. Nothing in it is expanded but the home folder.
fn path_fault(path: &str) -> Option<String> {
    let home = path.strip_prefix('~');
    let fault = if path.is_empty() || path.contains('\0') {
        "expected a path"
    } else if path.contains('$') {
        "variables are not expanded: write the path, or ~/ for the home folder"
    } else if path.contains(['*', '?']) {
        "patterns are not expanded: name the folder, which counts with all beneath it"
    } else if home.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) {
        "only one's own home folder can be named, as ~/"
    } else {
        return None;
    };
    Some(fault.to_owned())
}

/// The names in `secretEnv` or `publicEnv`, which `requiredEnv` must list too.
fn declared(table: &Table<'_>, key: &str, required: &[String], diagnostics: &mut Diagnostics) -> Vec<String> {
    let mut names = Vec::new();
    for item in table.get(key).and_then(|node| node.list(diagnostics)).unwrap_or_default() {
        let Some(name) = item.string(diagnostics) else { continue };
        if !required.iter().any(|other| other == name) {
            item.problem(format!("{} is not in requiredEnv: add it there too", shown(name)), diagnostics);
        }
        names.push(name.to_owned());
    }
    names
}

fn sse(
    common: SkillCommon,
    table: &Table<'_>,
    endpoints: Endpoints,
    diagnostics: &mut Diagnostics,
) -> Option<SkillSpec> {
    let allow_private_endpoint = boolean(table, "allowPrivateEndpoint", diagnostics);
    let allowed_domains = allowed_domains(table, diagnostics);
    let node = table.required("endpoint", "an https URL", diagnostics)?;
    let endpoint = node.string(diagnostics)?.to_owned();
    if let Some(fault) = endpoint_fault(&endpoint, allow_private_endpoint || endpoints == Endpoints::PrivateToo) {
        node.problem(fault, diagnostics);
    }
    let authorization_env = text(table, "authorizationEnv", diagnostics).filter(|name| !name.is_empty());
    let oauth = table.get("oauth").and_then(|node| oauth(&node, authorization_env.is_some(), diagnostics));
    Some(SkillSpec::McpSseSkill { common, endpoint, allowed_domains, allow_private_endpoint, authorization_env, oauth })
}

fn oauth(node: &Node<'_>, has_token: bool, diagnostics: &mut Diagnostics) -> Option<OAuth> {
    let table = node.table(diagnostics)?;
    table.warn_unknown(&OAUTH, diagnostics);
    if has_token {
        table.problem("authorizationEnv names a token already: leave out one of the two", diagnostics);
    }
    let grant = table.get("grant").and_then(|node| node.choice(&GRANTS, diagnostics)).unwrap_or_default();
    let filled = |name: &str, diagnostics: &mut Diagnostics| {
        table.get(name).and_then(|node| node.filled(diagnostics)).map(str::to_owned)
    };
    let client_id = filled("clientId", diagnostics);
    let client_id_env = filled("clientIdEnv", diagnostics);
    let client_secret_env = filled("clientSecretEnv", diagnostics);
    let has_id = client_id.is_some() || client_id_env.is_some();
    if client_id.is_some() && client_id_env.is_some() {
        table.problem("clientId and clientIdEnv both name the client: leave out one of the two", diagnostics);
    }
    match grant {
        Grant::ClientCredentials if !has_id || client_secret_env.is_none() => {
            table.problem("clientCredentials needs clientId or clientIdEnv, and clientSecretEnv", diagnostics);
        }
        Grant::AuthorizationCode if client_secret_env.is_some() && !has_id => {
            table.problem("clientSecretEnv needs clientId or clientIdEnv", diagnostics);
        }
        Grant::ClientCredentials | Grant::AuthorizationCode => {}
    }
    let scopes = strings(&table, "scopes", diagnostics);
    Some(OAuth { grant, client_id, client_id_env, client_secret_env, scopes })
}

fn interactive(common: SkillCommon, table: &Table<'_>, diagnostics: &mut Diagnostics) -> Option<SkillSpec> {
    let tools = table.required("tools", "a table of tools", diagnostics)?.table(diagnostics)?;
    let tools =
        tools.iter().filter_map(|(key, node)| Some((key.name.to_owned(), question(&node, diagnostics)?))).collect();
    Some(SkillSpec::InteractiveSkill { common, tools })
}

fn question(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<InteractiveTool> {
    let table = node.table(diagnostics)?;
    table.warn_unknown(&QUESTION, diagnostics);
    let description = text(&table, "description", diagnostics);
    let node = table.required("inputJsonSchema", "a JSON Schema as JSON text", diagnostics)?;
    let schema = node.string(diagnostics)?;
    match serde_json::from_str::<Value>(schema) {
        Err(error) => node.problem(format!("expected JSON text: {error}"), diagnostics),
        Ok(value) if value.get("type").and_then(Value::as_str) != Some("object") => {
            node.problem("expected a JSON Schema with \"type\": \"object\"", diagnostics);
        }
        Ok(_) => {}
    }
    Some(InteractiveTool { description, input_json_schema: schema.to_owned() })
}

fn allowed_domains(table: &Table<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<String>> {
    let mut domains = Vec::new();
    for item in table.get("allowedDomains")?.list(diagnostics)? {
        let Some(domain) = item.string(diagnostics) else { continue };
        if let Some(fault) = domain_fault(domain) {
            item.problem(fault, diagnostics);
        }
        domains.push(domain.to_owned());
    }
    Some(domains)
}

fn text(table: &Table<'_>, name: &str, diagnostics: &mut Diagnostics) -> Option<String> {
    table.get(name)?.string(diagnostics).map(str::to_owned)
}

fn strings(table: &Table<'_>, name: &str, diagnostics: &mut Diagnostics) -> Vec<String> {
    table.get(name).and_then(|node| node.strings(diagnostics)).unwrap_or_default()
}

fn boolean(table: &Table<'_>, name: &str, diagnostics: &mut Diagnostics) -> bool {
    table.get(name).and_then(|node| node.boolean(diagnostics)).unwrap_or(false)
}

#[cfg(test)]
mod tests {

    use std::path::Path;

    use super::super::{ConfigError, parse};
    use super::*;

    /// The skill `s` with these keys, and the warnings.
    fn skill(keys: &str) -> Result<(SkillSpec, Vec<String>), ConfigError> {
        let text = format!("[experts.e]\ninstruction = \"i\"\n[experts.e.skills.s]\n{keys}\n");
        let project = parse(&text, Path::new("p.toml"))?;
        let spec = project.expert("e")?.skills.get("s").cloned().unwrap();
        Ok((spec, project.warnings))
    }

    fn problem(keys: &str) -> String {
        skill(keys).unwrap_err().to_string()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn every_key_of_a_local_server_is_read() {
        let keys = r#"
            type = "mcpStdioSkill"
            description = "d"
            rule = "r"
            pick = ["p"]
            omit = ["o"]
            idempotent = ["i"]
            command = "uvx"
            args = ["server", "--flag"]
            requiredEnv = ["TOKEN"]
            reads = ["~/.config/owls", "../books"]
            writes = ["/srv/owls"]
            unixSockets = ["/run/owls.sock"]
            grants = ["ssh", "docker"]
            lazyInit = true
            allowedDomains = ["*.example.com"]
            roots = true
            startTimeout = 5000
            callTimeout = 120000
        "#;
        let common = SkillCommon {
            name: "s".to_owned(),
            description: Some("d".to_owned()),
            rule: Some("r".to_owned()),
            pick: words(&["p"]),
            omit: words(&["o"]),
            idempotent: words(&["i"]),
            access: SkillAccess {
                reads: words(&["~/.config/owls", "../books"]),
                writes: words(&["/srv/owls"]),
                unix_sockets: words(&["/run/owls.sock"]),
                grants: vec![AccessGrant::Ssh, AccessGrant::Docker],
            },
            roots: true,
            start_timeout_ms: Some(5_000),
            call_timeout_ms: Some(120_000),
            ..SkillCommon::default()
        };
        let spec = SkillSpec::McpStdioSkill {
            common,
            command: "uvx".to_owned(),
            package_name: None,
            args: words(&["server", "--flag"]),
            required_env: words(&["TOKEN"]),
            lazy_init: true,
            allowed_domains: Some(words(&["*.example.com"])),
        };
        assert_eq!(skill(keys).unwrap(), (spec, Vec::new()));
    }

    #[test]
    fn paths_that_would_be_expanded_elsewhere_are_mistakes() {
        let problem = |path: &str| {
            problem(&format!("type = \"mcpStdioSkill\"\ncommand = \"c\"\nargs = [\"a\"]\nreads = [\"{path}\"]"))
        };
        let place = "p.toml:7:10: experts.e.skills.s.reads.0: ";
        for (path, fault) in [
            ("", "expected a path"),
            ("$HOME/x", "variables are not expanded: write the path, or ~/ for the home folder"),
            ("docs/*", "patterns are not expanded: name the folder, which counts with all beneath it"),
            ("~owl/x", "only one's own home folder can be named, as ~/"),
        ] {
            assert_eq!(problem(path), format!("{place}{fault}"));
        }
    }

    #[test]
    fn every_key_of_a_remote_server_is_read() {
        let keys = "type = \"mcpSseSkill\"\nendpoint = \"http://127.0.0.1:9/sse\"\nallowPrivateEndpoint = true\nauthorizationEnv = \"KEY\"";
        let spec = SkillSpec::McpSseSkill {
            common: SkillCommon { name: "s".to_owned(), ..SkillCommon::default() },
            endpoint: "http://127.0.0.1:9/sse".to_owned(),
            allowed_domains: None,
            allow_private_endpoint: true,
            authorization_env: Some("KEY".to_owned()),
            oauth: None,
        };
        assert_eq!(skill(keys).unwrap(), (spec, Vec::new()));
    }

    /// The result of reading these keys of `oauth`, and the warnings.
    fn oauth(keys: &str) -> Result<(OAuth, Vec<String>), ConfigError> {
        let keys = format!("type = \"mcpSseSkill\"\nendpoint = \"https://example.com/mcp\"\n{keys}");
        let (spec, warnings) = skill(&keys)?;
        let SkillSpec::McpSseSkill { oauth, .. } = spec else { panic!("another kind") };
        Ok((oauth.unwrap(), warnings))
    }

    #[test]
    fn oauth_is_a_login_unless_the_client_has_a_secret_of_its_own() {
        let (login, warnings) = oauth("oauth = { clientId = \"c\", scopes = [\"read\"], scope = 1 }").unwrap();
        let expected = OAuth { client_id: Some("c".to_owned()), scopes: vec!["read".to_owned()], ..OAuth::default() };
        assert_eq!(login, expected);
        assert_eq!(warnings, ["p.toml:6:46: experts.e.skills.s.oauth.scope: unknown key; did you mean \"scopes\"?"]);
        let keys = "oauth = { grant = \"clientCredentials\", clientIdEnv = \"ID\", clientSecretEnv = \"SECRET\" }";
        let (machine, _) = oauth(keys).unwrap();
        assert_eq!(machine.grant, Grant::ClientCredentials);
        assert_eq!(machine.variables().collect::<Vec<_>>(), ["ID", "SECRET"]);
    }

    #[test]
    fn missing_and_contradicting_keys_of_oauth_are_reported() {
        let problem = |keys: &str| {
            let error = oauth(keys).unwrap_err().to_string();
            error.split_once("s.oauth").map(|(_, message)| message.to_owned()).unwrap()
        };
        assert_eq!(
            problem("oauth = { grant = \"clientCredentials\", clientId = \"c\" }"),
            ": clientCredentials needs clientId or clientIdEnv, and clientSecretEnv"
        );
        assert_eq!(problem("oauth.clientSecretEnv = \"S\""), ": clientSecretEnv needs clientId or clientIdEnv");
        assert_eq!(
            problem("oauth = { clientId = \"c\", clientIdEnv = \"C\" }"),
            ": clientId and clientIdEnv both name the client: leave out one of the two"
        );
        assert_eq!(
            problem("authorizationEnv = \"T\"\noauth = {}"),
            ": authorizationEnv names a token already: leave out one of the two"
        );
        assert!(problem("oauth.grant = \"password\"").contains("expected one of \"authorizationCode\""));
    }

    #[test]
    fn questions_are_read_in_their_order() {
        let keys = r#"
            type = "interactiveSkill"
            [experts.e.skills.s.tools.second]
            inputJsonSchema = '{"type":"object"}'
            [experts.e.skills.s.tools.first]
            name = "first"
            description = "d"
            inputJsonSchema = '{"type":"object"}'
        "#;
        let (spec, warnings) = skill(keys).unwrap();
        let SkillSpec::InteractiveSkill { tools, .. } = spec else { panic!("another kind") };
        let tool = |description: Option<&str>| InteractiveTool {
            description: description.map(str::to_owned),
            input_json_schema: "{\"type\":\"object\"}".to_owned(),
        };
        let tools: Vec<_> = tools.into_iter().collect();
        assert_eq!(tools, [("second".to_owned(), tool(None)), ("first".to_owned(), tool(Some("d")))]);
        assert_eq!(warnings, ["p.toml:9:13: experts.e.skills.s.tools.first.name: unknown key"]);
    }

    #[test]
    fn private_endpoints_need_permission() {
        let text = "[experts.e]\ninstruction = \"i\"\n[experts.e.skills.s]\ntype = \"mcpSseSkill\"\n\
                    endpoint = \"https://10.0.0.1/x\"\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        std::fs::write(&path, text).unwrap();
        let error = super::super::load(&path).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{}:5:12: experts.e.skills.s.endpoint: SSE endpoint must be a public HTTPS URL", path.display())
        );
        assert!(super::super::load_with(&path, Endpoints::PrivateToo).is_ok());
    }

    #[test]
    fn a_package_or_arguments_but_one_of_them() {
        let with = |keys: &str| problem(&format!("type = \"mcpStdioSkill\"\ncommand = \"npx\"\n{keys}"));
        let none = "p.toml:3:19: experts.e.skills.s: Skill s has no packageName or args. Please provide one of them.";
        assert_eq!(with(""), none);
        assert_eq!(with("packageName = \"\""), none);
        assert!(
            skill("type = \"mcpStdioSkill\"\ncommand = \"server\"\nargs = []").is_ok(),
            "a command alone, by intent"
        );
        assert_eq!(
            with("packageName = \"p\"\nargs = [\"a\"]"),
            "p.toml:3:19: experts.e.skills.s: Skill s has both packageName and args. Please provide only one of them."
        );
    }

    #[test]
    fn mistakes_are_located() {
        assert_eq!(
            problem("type = \"mcpSdtioSkill\""),
            "p.toml:4:8: experts.e.skills.s.type: expected one of \"mcpStdioSkill\", \"mcpSseSkill\", \
             \"interactiveSkill\", received \"mcpSdtioSkill\"; did you mean \"mcpStdioSkill\"?"
        );
        assert_eq!(
            problem(""),
            "p.toml:3:19: experts.e.skills.s.type: missing, expected one of \"mcpStdioSkill\", \"mcpSseSkill\", \
             \"interactiveSkill\""
        );
        assert_eq!(
            problem("type = \"mcpStdioSkill\"\nargs = [\"a\"]\nallowedDomains = [\"x.com\", \"x.com:443\"]"),
            "p.toml:3:19: experts.e.skills.s.command: missing, expected string\n\
             p.toml:6:28: experts.e.skills.s.allowedDomains.1: Invalid domain pattern. Use exact domain (example.com) or \
             wildcard prefix (*.example.com)"
        );
        assert_eq!(
            problem("type = \"interactiveSkill\""),
            "p.toml:3:19: experts.e.skills.s.tools: missing, expected a table of tools"
        );
    }

    #[test]
    fn schemas_are_json_of_objects() {
        let with = |schema: &str| {
            problem(&format!("type = \"interactiveSkill\"\ntools.ask.inputJsonSchema = '{schema}'"))
                .split_once("inputJsonSchema: ")
                .map(|(_, message)| message.to_owned())
        };
        let no_object = Some("expected a JSON Schema with \"type\": \"object\"".to_owned());
        assert_eq!(with("{"), Some("expected JSON text: EOF while parsing an object at line 1 column 1".to_owned()));
        assert_eq!(with("[]"), no_object);
        assert_eq!(with("{\"type\":\"string\"}"), no_object);
    }
}
