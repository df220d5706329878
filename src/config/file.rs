//! `perstack.toml`: reads it with its includes, and checks the whole. The command line and the library's
//! users call [`load`]; the tables within are read by the other files of this folder.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::diagnostics::Conclusion;
use super::error::ConfigError;
use super::include::{Includes, warn_ignored};
use super::keys::tables::TOP;
use super::keys::values::{COUNT, PARALLEL_DELEGATES, REASONING, REASONING_TOKENS, REPETITIONS, RETRIES, TOOL_OUTPUT};
use super::output_schema::SchemaFolders;
use super::read_file::{OwnedText, read_owned};
use super::reader::{Diagnostics, Document, Node, Table};
use super::{Endpoints, ExpertMistakes, FileOwner, Overrides, Project, experts, graph, provider};
use crate::budget::{Budgets, Span};
use crate::cost::Cost;
use crate::expert_map::ExpertMap;
use crate::model_name::ModelName;
use crate::permission::Permissions;
use crate::sandbox::Sandbox;
use crate::setting::{DEFAULT_API_BASE_URL, ProviderSetting, ReasoningBudget};
use crate::snapshot::SnapshotMode;

/// Reads the file at `path` (at most 4 MiB of UTF-8) and those that it includes, with public endpoints only.
pub fn load(path: &Path) -> Result<Project, ConfigError> {
    load_with(path, Endpoints::PublicOnly)?.sound()
}

/// Reads the file at `path` (at most 4 MiB of UTF-8) and those that it includes. Mistakes of single experts are left in the
/// project ([`Project::mistakes`]): they stop only runs that reach these experts.
pub fn load_with(path: &Path, endpoints: Endpoints) -> Result<Project, ConfigError> {
    let OwnedText { text, owner } = read_owned(path)?.ok_or_else(|| ConfigError::Missing { path: path.to_owned() })?;
    let mut project = parse_with(&text, path, endpoints)?;
    project.owners.insert(0, FileOwner { path: path.to_owned(), owner });
    Ok(project)
}

/// Reads the text of a file, with public endpoints only. `path` is for messages and for finding included files. The
/// error lists every mistake, not only the first.
pub fn parse(text: &str, path: &Path) -> Result<Project, ConfigError> {
    parse_with(text, path, Endpoints::PublicOnly)?.sound()
}

fn parse_with(text: &str, path: &Path, endpoints: Endpoints) -> Result<Project, ConfigError> {
    let mut diagnostics = Diagnostics::default();
    let mut project = empty();
    let mut includes = Includes::default();
    let mut declarations = Vec::new();
    let text = Rc::from(text);
    let document = Document::parse(path, &text, &mut diagnostics);
    let project_folder = path.parent().unwrap_or(Path::new(""));
    let folders = SchemaFolders { own: project_folder, project: project_folder };
    let mut is_whole = document.is_sound;
    if let Some(root) = document.root() {
        project = settings(&root, &mut diagnostics);
        let own_model = own_model(&project.overrides);
        declarations = experts::experts(&root, endpoints, folders, own_model.as_ref(), &mut diagnostics);
        includes.add(&root, path, 0, &mut diagnostics);
    }
    while let Some(file) = includes.next(&mut diagnostics) {
        let document = Document::parse(&file.path, &file.text, &mut diagnostics);
        is_whole &= document.is_sound;
        let Some(root) = document.root() else { continue };
        warn_ignored(&root, &mut diagnostics);
        let folders = SchemaFolders { own: file.path.parent().unwrap_or(Path::new("")), ..folders };
        let own_model = own_model(&project.overrides);
        declarations.extend(experts::experts(&root, endpoints, folders, own_model.as_ref(), &mut diagnostics));
        includes.add(&root, &file.path, file.depth, &mut diagnostics);
    }
    // With a file missing, every delegate that it defines would be reported as a mistake too.
    if is_whole && !includes.has_gaps() {
        project.experts = graph::connect(declarations, &mut diagnostics);
    }
    let Conclusion { warnings, unknown_keys, mistakes } = diagnostics.conclude(path)?;
    for (name, mistakes) in mistakes.by_expert() {
        // A name that is no key cannot be reached.
        if let Ok(key) = name.parse() {
            project.experts.set_unusable(key, mistakes);
        }
    }
    path.clone_into(&mut project.path);
    project.owners = includes.into_read();
    project.included = project.owners.iter().map(|file| file.path.clone()).collect();
    Ok(Project { mistakes, warnings, unknown_keys, ..project })
}

/// The project of an empty file.
fn empty() -> Project {
    Project {
        path: PathBuf::new(),
        included: Vec::new(),
        owners: Vec::new(),
        overrides: Overrides::default(),
        provider_setting: ProviderSetting::default(),
        env_path: None,
        workspace: None,
        max_tool_output: None,
        context_limit: None,
        tool_search: None,
        permissions: Permissions::default(),
        api_base_url: DEFAULT_API_BASE_URL.to_owned(),
        base_skill_command: None,
        experts: ExpertMap::default(),
        mistakes: ExpertMistakes::default(),
        warnings: Vec::new(),
        unknown_keys: Vec::new(),
    }
}

/// Reads everything of the first file except its experts and includes.
fn settings(root: &Table<'_>, diagnostics: &mut Diagnostics) -> Project {
    root.warn_unknown(&TOP, diagnostics);
    let mut project = empty();
    project.overrides = limits(root, diagnostics);
    if let Some((name, setting)) = root.get("provider").and_then(|node| provider::provider(&node, diagnostics)) {
        project.overrides.provider = Some(name);
        project.provider_setting = setting;
    }
    let own_model = own_model(&project.overrides);
    project.overrides.fallback =
        root.get("fallback").and_then(|node| provider::fallback(&node, own_model.as_ref(), diagnostics));
    let env_path = root.get("envPath").and_then(|node| node.strings(diagnostics));
    project.env_path = env_path.map(|files| files.into_iter().map(PathBuf::from).collect());
    project.workspace = root.get("workspace").and_then(|node| node.filled(diagnostics)).map(PathBuf::from);
    project.max_tool_output = root.get("maxToolOutput").and_then(|node| max_tool_output(&node, diagnostics));
    project.context_limit = root.get("contextLimit").and_then(|node| experts::context_limit(&node, diagnostics));
    project.tool_search = root.get("toolSearch").and_then(|node| experts::tool_search(&node, diagnostics));
    project.permissions =
        root.get("permissions").map(|node| experts::permissions(&node, diagnostics)).unwrap_or_default();
    if let Some(url) = root.get("perstackApiBaseUrl").and_then(|node| api_base_url(&node, diagnostics)) {
        project.api_base_url = url;
    }
    project.base_skill_command =
        root.get("perstackBaseSkillCommand").and_then(|node| base_skill_command(&node, diagnostics));
    project
}

/// The model that the file names, with its provider.
pub(super) fn own_model(overrides: &Overrides) -> Option<ModelName> {
    Some(ModelName { provider: overrides.provider?, model: overrides.model.clone()? })
}

/// The run options that `perstack.toml` and the user's `config.toml` share: all but the provider and the fallbacks.
pub(super) fn limits(root: &Table<'_>, diagnostics: &mut Diagnostics) -> Overrides {
    Overrides {
        provider: None,
        model: root.get("model").and_then(|node| node.filled(diagnostics)).map(str::to_owned),
        fallback: None,
        reasoning_budget: root.get("reasoningBudget").and_then(|node| reasoning_budget(&node, diagnostics)),
        max_steps: root.get("maxSteps").and_then(|node| node.whole(&COUNT, diagnostics)),
        max_retries: root
            .get("maxRetries")
            .and_then(|node| node.whole(&RETRIES, diagnostics))
            .and_then(|number| number.try_into().ok()),
        timeout_ms: root.get("timeout").and_then(|node| node.whole(&COUNT, diagnostics)),
        max_parallel_delegates: root
            .get("maxParallelDelegates")
            .and_then(|node| node.whole(&PARALLEL_DELEGATES, diagnostics)),
        budgets: budgets(root, diagnostics),
        sandbox: root.get("sandbox").and_then(|node| node.choice(&Sandbox::WORDS, diagnostics)),
        snapshot: root.get("snapshot").and_then(|node| node.choice(&SnapshotMode::WORDS, diagnostics)),
    }
}

fn budgets(root: &Table<'_>, diagnostics: &mut Diagnostics) -> Budgets {
    Budgets {
        max_cost: root.get("maxCost").and_then(|node| dollars(&node, diagnostics)),
        max_tokens: root.get("maxTokens").and_then(|node| node.whole(&COUNT, diagnostics)),
        max_duration_ms: root.get("maxDuration").and_then(|node| length_of_time(&node, diagnostics)),
        max_steps: root.get("maxTotalSteps").and_then(|node| node.whole(&COUNT, diagnostics)),
        max_tool_repetitions: root.get("maxToolRepetitions").and_then(|node| node.whole(&REPETITIONS, diagnostics)),
        max_delegates: root.get("maxDelegates").and_then(|node| node.whole(&COUNT, diagnostics)),
    }
}

pub(super) fn dollars(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Cost> {
    let usd = node.float("an amount of US dollars above 0", diagnostics)?;
    let cost = Cost::from_usd(usd).filter(|cost| *cost > Cost::ZERO);
    if cost.is_none() {
        node.problem("expected an amount of US dollars above 0, received another number", diagnostics);
    }
    cost
}

fn length_of_time(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<u64> {
    match node.string(diagnostics)?.parse::<Span>() {
        Ok(span) => Some(span.ms()),
        Err(error) => {
            node.problem(error.to_string(), diagnostics);
            None
        }
    }
}

fn max_tool_output(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<usize> {
    node.whole(&TOOL_OUTPUT, diagnostics).and_then(|bytes| bytes.try_into().ok())
}

fn reasoning_budget(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<ReasoningBudget> {
    if node.is_number() {
        return node.whole(&REASONING_TOKENS, diagnostics).map(ReasoningBudget::from_tokens);
    }
    node.choice_or("a number of tokens", &REASONING, diagnostics)
}

fn api_base_url(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<String> {
    let text = node.string(diagnostics)?;
    let scheme = url::Url::parse(text).ok().map(|url| url.scheme().to_owned());
    match scheme.as_deref() {
        Some("https") => return Some(text.to_owned()),
        Some(_) => node.problem("perstackApiBaseUrl must use HTTPS", diagnostics),
        None => node.problem("Invalid URL: write an absolute address, such as https://host", diagnostics),
    }
    None
}

fn base_skill_command(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<String>> {
    let command = node.strings(diagnostics)?;
    if command.first().is_some_and(String::is_empty) {
        node.problem("expected the name of a program first", diagnostics);
    }
    (!command.is_empty()).then_some(command)
}

#[cfg(test)]
mod tests {

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::expert::{ContextLimit, ToolSearch};
    use crate::hint::ErrorHint as _;
    use crate::setting::ProviderName;

    fn read(text: &str) -> Result<Project, ConfigError> {
        parse(text, Path::new("p.toml"))
    }

    fn problems(text: &str) -> Vec<String> {
        read(text).unwrap_err().to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        assert_eq!(read("").unwrap(), Project { path: PathBuf::from("p.toml"), ..empty() });
    }

    #[test]
    fn every_key_at_the_top_is_read() {
        let text = r#"
            model = "m"
            reasoningBudget = 3000
            maxSteps = 25
            maxRetries = 0
            timeout = 9e4
            maxToolOutput = 5000
            contextLimit = "summarize"
            toolSearch = "on"
            envPath = ["a.env", "b.env"]
            maxCost = 1.5
            maxTokens = 500_000
            maxDuration = "1h30m"
            maxToolRepetitions = 4
            maxDelegates = 12
            maxParallelDelegates = 64
            fallback = ["anthropic/m"]
            sandbox = "all"
            snapshot = "every"
            perstackApiBaseUrl = "https://api.example"
            perstackBaseSkillCommand = ["base", "--quiet"]
            [provider]
            providerName = "google"
        "#;
        let expected = Project {
            path: PathBuf::from("p.toml"),
            overrides: Overrides {
                provider: Some(ProviderName::Google),
                model: Some("m".to_owned()),
                fallback: Some(vec!["anthropic/m".parse().unwrap()]),
                reasoning_budget: Some(ReasoningBudget::Tokens(3000)),
                max_steps: Some(25),
                max_retries: Some(0),
                timeout_ms: Some(90_000),
                max_parallel_delegates: Some(64),
                budgets: Budgets {
                    max_cost: Cost::from_usd(1.5),
                    max_tokens: Some(500_000),
                    max_duration_ms: Some(5_400_000),
                    max_steps: None,
                    max_tool_repetitions: Some(4),
                    max_delegates: Some(12),
                },
                sandbox: Some(Sandbox::All),
                snapshot: Some(SnapshotMode::Every),
            },
            max_tool_output: Some(5000),
            context_limit: Some(ContextLimit::Summarize),
            tool_search: Some(ToolSearch::On),
            env_path: Some(vec![PathBuf::from("a.env"), PathBuf::from("b.env")]),
            api_base_url: "https://api.example".to_owned(),
            base_skill_command: Some(vec!["base".to_owned(), "--quiet".to_owned()]),
            ..empty()
        };
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn all_mistakes_are_reported_at_once_each_with_its_place() {
        let text = "model = 3\nmaxSteps = \"ten\"\nreasoningBudget = \"hihg\"\nmaxRetries = -1\ntimeout = 1.5\n\
                    perstackApiBaseUrl = \"http://api\"\nenvPath = [1]\nperstackBaseSkillCommand = [\"\"]\n\
                    experts = \"none\"\n[provider]\n";
        assert_eq!(
            problems(text),
            [
                "p.toml:1:9: model: expected string, received number",
                "p.toml:2:12: maxSteps: expected a whole number from 1 to 9007199254740991, received string",
                "p.toml:3:19: reasoningBudget: expected one of \"none\", \"minimal\", \"low\", \"medium\", \"high\" or a \
                 number of tokens, received \"hihg\"; did you mean \"high\"?",
                "p.toml:4:14: maxRetries: expected a whole number from 0 to 4294967295, received another number",
                "p.toml:5:11: timeout: expected a whole number from 1 to 9007199254740991, received another number",
                "p.toml:6:22: perstackApiBaseUrl: perstackApiBaseUrl must use HTTPS",
                "p.toml:7:12: envPath.0: expected string, received number",
                "p.toml:8:28: perstackBaseSkillCommand: expected the name of a program first",
                "p.toml:9:11: experts: expected table, received string",
                "p.toml:10:2: provider.providerName: missing, expected a provider, such as \"anthropic\"",
            ]
        );
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for text in [
            "maxToolOutput = 999",
            "maxToolOutput = 1e8",
            "maxSteps = 0",
            "maxSteps = 1e300",
            "maxSteps = nan",
            "maxSteps = 99999999999999999999",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_keys_are_ignored_with_a_warning() {
        let project = read("runtime = \"docker\"\ntemperature = 0.3\nmaxStep = 4\n").unwrap();
        assert_eq!(
            project.warnings,
            [
                "p.toml:1:1: runtime: no longer used, ignored",
                "p.toml:2:1: temperature: unknown key",
                "p.toml:3:1: maxStep: unknown key; did you mean \"maxSteps\"?",
            ]
        );
        assert_eq!(project.unknown_keys, project.warnings[1..]);
        assert_eq!(project.overrides, Overrides::default());
    }

    #[test]
    fn syntax_errors_come_first_and_quote_nothing() {
        let lines = problems("model = 3\nkey = \"sk-secret\nmaxSteps = 2\nmaxSteps = 3\n");
        assert_eq!(lines, ["p.toml:2:17: invalid basic string, expected `\"`", "p.toml:4:1: duplicate key",]);
    }

    #[test]
    fn endless_mistakes_are_counted() {
        let text = (0..103).map(|n| format!("[experts.e{n}]")).collect::<Vec<_>>().join("\n");
        let lines = problems(&text);
        assert_eq!(lines.len(), 101);
        assert_eq!(lines.last().map(String::as_str), Some("p.toml: and 3 more problems"));
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        assert!(read(&format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000))).is_err());
        assert!(read(&format!("[{}]", vec!["a"; 100_000].join("."))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_with_places_in_it(pieces in vec(select(&PIECES), 0..30)) {
            let text = pieces.concat();
            if let Err(error) = read(&text) {
                let ConfigError::Invalid { problems, .. } = error else { panic!("another kind: {error}") };
                prop_assert!(!problems.is_empty());
                prop_assert!(problems.iter().all(|problem| problem.line <= text.lines().count() + 1));
            }
        }
    }

    /// Shreds of files, to be put together at random.
    const PIECES: [&str; 22] = [
        "[experts.a]\n",
        "[experts.\"@a/b\"]\n",
        "[experts.a.skills.s]\n",
        "[provider]\n",
        "[provider.setting]\n",
        "[[experts]]\n",
        "instruction = \"i\"\n",
        "delegates = [\"a\", \"@a/b\"]\n",
        "skills = {}\n",
        "type = \"mcpStdioSkill\"\n",
        "type = \"interactiveSkill\"\n",
        "type = \"mcpSseSkill\"\n",
        "endpoint = \"https://[::1]\"\n",
        "tools = { a = { inputJsonSchema = \"{}\" } }\n",
        "providerName = \"openai\"\n",
        "baseUrl = \"http://\"\n",
        "model = 1979-05-27\n",
        "maxSteps = 0x10\n",
        "= ",
        "\"",
        "]",
        "ü\r\n",
    ];

    #[test]
    fn a_file_that_does_not_exist_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.toml");
        assert_eq!(
            load(&path).unwrap_err().with_hint(),
            format!("Given config path \"{}\" is not found; check its spelling and the current folder", path.display())
        );
    }

    #[test]
    fn a_read_file_remembers_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("perstack.toml");
        std::fs::write(&path, "\u{feff}model = \"m\"\r\n").unwrap();
        let project = load(&path).unwrap();
        assert_eq!((project.path, project.overrides.model.as_deref()), (path, Some("m")));
    }
}
