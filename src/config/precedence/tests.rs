//! Tests of which of the sources of a setting wins.

use std::path::Path;

use super::super::parse;
use super::*;
use crate::cost::Cost;
use crate::expert::{ContextLimit, ToolSearch};
use crate::hint::ErrorHint as _;
use crate::setting::ReasoningBudget;

fn at_level(provider: Option<ProviderName>, model: Option<&str>) -> Overrides {
    Overrides { provider, model: model.map(str::to_owned), ..Overrides::default() }
}

fn none() -> Overrides {
    Overrides::default()
}

#[test]
fn built_in_values_apply_where_no_source_sets_one() {
    assert_eq!(settle(&none(), &none(), None, &none()).unwrap(), Settings::default());
}

#[test]
fn the_stronger_source_wins_value_by_value() {
    let steps = |n| Overrides { max_steps: Some(n), ..Overrides::default() };
    let flags = steps(1);
    let environment = Overrides { max_retries: Some(2), ..steps(2) };
    let file = "maxSteps = 3\nmaxRetries = 3\ntimeout = 3\nmaxToolOutput = 3000\ncontextLimit = \"summarize\"\ntoolSearch = \"auto\"\n";
    let project = parse(file, Path::new("perstack.toml")).unwrap();
    let user = Overrides {
        max_retries: Some(4),
        timeout_ms: Some(4),
        reasoning_budget: Some(ReasoningBudget::High),
        ..steps(4)
    };
    let settled = settle(&flags, &environment, Some(&project), &user).unwrap();
    let expected = Settings {
        reasoning_budget: ReasoningBudget::High,
        limits: Limits { max_steps: 1, max_retries: 2 },
        budgets: Budgets::default(),
        timeout_ms: 3,
        max_tool_output: 3000,
        context_limit: ContextLimit::Summarize,
        tool_search: ToolSearch::Auto,
        origins: Origins {
            reasoning_budget: Origin::User,
            max_steps: Origin::Flag,
            max_retries: Origin::Environment,
            timeout: Origin::File,
            ..Origins::default()
        },
        ..Settings::default()
    };
    assert_eq!(settled, expected);
}

#[test]
fn models_and_settings_follow_their_provider() {
    let file = "model = \"of-file\"\n[provider]\nproviderName = \"anthropic\"\n\
                [provider.setting]\nbaseUrl = \"https://gateway.example\"\n";
    let project = parse(file, Path::new("perstack.toml")).unwrap();
    let user = at_level(Some(ProviderName::OpenAi), Some("of-user"));
    let settled = |flags: Overrides| {
        let settings = settle(&flags, &none(), Some(&project), &user).unwrap();
        (settings.model, settings.provider_setting == project.provider_setting, settings.model_is_explicit)
    };
    let model = |name: &str| Some(name.to_owned());
    assert_eq!(settled(none()), (model("of-file"), true, false));
    assert_eq!(settled(at_level(Some(ProviderName::Anthropic), None)), (model("of-file"), true, false));
    assert_eq!(settled(at_level(Some(ProviderName::OpenAi), None)), (model("of-user"), false, false));
    assert_eq!(settled(at_level(Some(ProviderName::Google), None)), (None, false, false));
    assert_eq!(settled(at_level(Some(ProviderName::Google), Some("g"))), (model("g"), false, true));
    assert_eq!(settled(at_level(None, Some("m"))), (model("m"), true, true));
}

#[test]
fn a_model_without_a_provider_goes_with_any() {
    let project = parse("model = \"m\"\n", Path::new("perstack.toml")).unwrap();
    let settings = settle(&at_level(Some(ProviderName::OpenAi), None), &none(), Some(&project), &none()).unwrap();
    assert_eq!(settings.model.as_deref(), Some("m"));
    assert_eq!((settings.origins.provider, settings.origins.model), (Origin::Flag, Origin::File));
}

#[test]
fn budgets_of_a_folder_that_is_not_trusted_are_tighter_than_the_users_or_none() {
    let budgets = |amount: u64| Budgets {
        max_cost: Some(Cost::from_picodollars(amount)),
        max_tokens: Some(amount),
        max_duration_ms: Some(amount * 1000),
        max_steps: Some(amount),
        max_tool_repetitions: Some(amount),
        max_delegates: Some(amount),
    };
    let limits = |amount: u64| Overrides {
        max_steps: Some(amount),
        max_parallel_delegates: Some(amount),
        budgets: budgets(amount),
        ..none()
    };
    let settled = |amount: u64, flags: Overrides, trust| {
        let project = Project { overrides: limits(amount), ..parse("", Path::new("perstack.toml")).unwrap() };
        let settings = settle_in_folder(&flags, &none(), Some(&project), &limits(5), trust).unwrap();
        (settings.limits.max_steps, settings.max_parallel_delegates, settings.budgets)
    };
    assert_eq!(settled(9, none(), FolderTrust::Untrusted), (5, 5, budgets(5)));
    assert_eq!(settled(3, none(), FolderTrust::Untrusted), (3, 3, budgets(3)));
    assert_eq!(settled(9, none(), FolderTrust::Trusted), (9, 9, budgets(9)));
    assert_eq!(settled(9, limits(7), FolderTrust::Untrusted), (7, 7, budgets(7)));
    // What the user does not limit, the folder may.
    let project = parse("maxTokens = 9\n", Path::new("perstack.toml")).unwrap();
    let settings = settle_in_folder(&none(), &none(), Some(&project), &none(), FolderTrust::Untrusted).unwrap();
    assert_eq!(settings.budgets.max_tokens, Some(9));
}

#[test]
fn a_file_tightens_the_containment_and_lifts_it_only_when_trusted() {
    use FolderTrust::{Trusted, Untrusted};
    use Sandbox::{All, Auto, Off, Required};
    let settled = |file: &str, flag, variable, user, trust| {
        let project = parse(&format!("sandbox = \"{file}\"\n"), Path::new("perstack.toml")).unwrap();
        let [flags, environment, user] = [flag, variable, user].map(|sandbox| Overrides { sandbox, ..none() });
        let settings = settle_in_folder(&flags, &environment, Some(&project), &user, trust).unwrap();
        (settings.sandbox, settings.origins.sandbox)
    };
    for (file, user, trust, expected) in [
        ("required", None, Untrusted, (Required, Origin::File)),
        ("off", None, Untrusted, (Auto, Origin::BuiltIn)),
        ("off", None, Trusted, (Off, Origin::File)),
        ("off", Some(All), Untrusted, (All, Origin::User)),
        ("auto", Some(All), Trusted, (All, Origin::User)),
        ("auto", Some(Off), Untrusted, (Auto, Origin::File)),
    ] {
        assert_eq!(settled(file, None, None, user, trust), expected, "{file} {user:?} {trust:?}");
    }
    assert_eq!(settled("required", Some(Off), Some(All), None, Untrusted), (Off, Origin::Flag));
    assert_eq!(settled("required", None, Some(Off), None, Untrusted), (Off, Origin::Environment));
}

#[test]
fn a_job_needs_a_step() {
    let flags = Overrides { max_steps: Some(0), ..none() };
    let error = settle(&flags, &none(), None, &none()).unwrap_err();
    assert_eq!(error.with_hint(), "maxSteps is 0 in the options given; use a whole number of at least 1");
}

#[test]
fn variables_are_read_by_type() {
    let variables = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Overrides::from_environment(&pairs.collect()).map_err(|error| error.to_string())
    };
    let all = [
        ("PERSTACK_PROVIDER", "ollama"),
        ("PERSTACK_MODEL", "m"),
        ("PERSTACK_REASONING_BUDGET", "512"),
        ("PERSTACK_MAX_STEPS", "9"),
        ("PERSTACK_MAX_RETRIES", "0"),
        ("PERSTACK_TIMEOUT", ""),
        ("PERSTACK_MAX_COST", "0.5"),
        ("PERSTACK_MAX_TOKENS", "1000"),
        ("PERSTACK_MAX_DURATION", "10m"),
        ("PERSTACK_MAX_TOOL_REPETITIONS", "3"),
        ("PERSTACK_MAX_DELEGATES", "4"),
        ("PERSTACK_MAX_PARALLEL_DELEGATES", "64"),
        ("PERSTACK_SANDBOX", "required"),
        ("PERSTACK_SNAPSHOT", "every"),
    ];
    let expected = Overrides {
        provider: Some(ProviderName::Ollama),
        fallback: None,
        model: Some("m".to_owned()),
        reasoning_budget: Some(ReasoningBudget::Tokens(512)),
        max_steps: Some(9),
        max_retries: Some(0),
        timeout_ms: None,
        max_parallel_delegates: Some(64),
        budgets: Budgets {
            max_cost: Cost::from_usd(0.5),
            max_tokens: Some(1000),
            max_duration_ms: Some(600_000),
            max_steps: None,
            max_tool_repetitions: Some(3),
            max_delegates: Some(4),
        },
        sandbox: Some(Sandbox::Required),
        snapshot: Some(crate::snapshot::SnapshotMode::Every),
    };
    assert_eq!(variables(&all), Ok(expected));
    for (name, value, message) in [
        ("PERSTACK_MAX_STEPS", "0", "PERSTACK_MAX_STEPS: expected a whole number of at least 1, received \"0\""),
        ("PERSTACK_MAX_RETRIES", "-1", "PERSTACK_MAX_RETRIES: expected a whole number of at least 0, received \"-1\""),
        (
            "PERSTACK_MAX_PARALLEL_DELEGATES",
            "1001",
            "PERSTACK_MAX_PARALLEL_DELEGATES: expected a whole number from 1 to 1000, received \"1001\"",
        ),
        (
            "PERSTACK_MAX_COST",
            "-1",
            "PERSTACK_MAX_COST: \"-1\" is no amount of US dollars above 0: write a number, such as 0.50",
        ),
        (
            "PERSTACK_MAX_DURATION",
            "10",
            "PERSTACK_MAX_DURATION: \"10\" is no length of time: write a number with h, m, s or ms, such as 90s, 10m or \
             1h30m",
        ),
        ("PERSTACK_TIMEOUT", "5m", "PERSTACK_TIMEOUT: expected a whole number of at least 1, received \"5m\""),
        (
            "PERSTACK_REASONING_BUDGET",
            "huge",
            "PERSTACK_REASONING_BUDGET: \"huge\" is no reasoning budget: use none, minimal, low, medium, high or a \
             number of tokens",
        ),
        (
            "PERSTACK_PROVIDER",
            "gogle",
            "PERSTACK_PROVIDER: unknown provider \"gogle\": use anthropic, openai, google, deepseek, fireworks, azure-openai, \
             amazon-bedrock, google-vertex or ollama; did you mean \"google\"?",
        ),
    ] {
        assert_eq!(variables(&[(name, value)]), Err(message.to_owned()));
    }
}
