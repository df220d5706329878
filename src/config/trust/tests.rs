//! Tests of the dangerous parts: what a configuration leads to, line by line.

use super::*;
use crate::config::{self, Overrides, Project};
use crate::environment::{Environment, VariableSource, VendorVariables};
use crate::setting::ProviderName;

fn project(text: &str) -> Project {
    config::parse(text, std::path::Path::new("/nowhere/perstack.toml")).unwrap()
}

fn vendors() -> [VendorVariables; 1] {
    [VendorVariables {
        keys: vec![vec!["MODEL_KEY"]],
        beside: vec!["MODEL_URL"],
        users_own: Vec::new(),
        needs_no_key: Box::new(|_, _| false),
    }]
}

fn parts_in(text: &str, environment: &Environment) -> DangerousParts {
    let project = project(text);
    let none = Overrides::default();
    let settings = config::settle(&none, &none, Some(&project), &none).unwrap();
    let vendors = vendors();
    let inputs = TrustInputs {
        project: &project,
        settings: &settings,
        environment,
        vendors: VendorRules {
            variables: &vendors,
            is_own_address: |_, url| url.contains("vendor.example"),
            users_credential: |name, environment| {
                (name == ProviderName::OpenAi).then_some("MODEL_KEY").filter(|key| environment.users(key).is_some())
            },
        },
        workspace: std::path::Path::new("/nowhere"),
        env_files: &[],
    };
    inputs.parts()
}

fn environment(names: &[&str]) -> Environment {
    names.iter().map(|name| ((*name).to_owned(), "value".to_owned())).collect()
}

/// Each part's line, and its refusal behind `!`.
fn lines(text: &str, environment: &Environment) -> Vec<String> {
    let parts = parts_in(text, environment);
    let line = |part: &TrustPart| match &part.refusal {
        Some(refusal) => format!("{} ! {refusal}", part.text),
        None => part.text.clone(),
    };
    parts.parts().iter().map(line).collect()
}

const EXPERT: &str = "[experts.\"r\"]\ninstruction = \"x\"\n";
const QUIET: &str = "[experts.\"r\"]\ninstruction = \"x\"\n[experts.\"r\".skills]\n";

fn skill(name: &str, fields: &str) -> String {
    format!("{QUIET}[experts.\"r\".skills.\"{name}\"]\n{fields}\n")
}

fn provider(fields: &str) -> String {
    format!("[provider]\nproviderName = \"openai\"\n[provider.setting]\n{fields}\n{QUIET}")
}

#[test]
fn an_expert_without_skills_may_run_commands_and_one_with_none_has_no_part() {
    assert_eq!(lines(EXPERT, &Environment::default()), ["expert r may run commands (exec)"]);
    assert_eq!(lines(QUIET, &Environment::default()), [""; 0]);
    let without = skill(
        "@perstack/base",
        "type = \"mcpStdioSkill\"\ncommand = \"npx\"\npackageName = \"@perstack/base\"\nomit = [\"exec\"]",
    );
    assert_eq!(lines(&without, &Environment::default()), [""; 0]);
}

#[test]
fn a_command_shows_what_it_is_given_and_no_secret() {
    let text = skill(
        "s",
        "type = \"mcpStdioSkill\"\ncommand = \"uvx\"\nargs = [\"server\", \"--api-key\", \"sk-1\", \"--token=t\"]\nrequiredEnv = [\"A\", \"MODEL_KEY\"]",
    );
    let shown = "uvx server --api-key … --token=…";
    assert_eq!(
        lines(&text, &environment(&["A", "MODEL_KEY"])),
        [
            format!("gives A, MODEL_KEY to {shown} ! requiredEnv gives MODEL_KEY, the key of a model, to {shown}"),
            format!("starts {shown} (no version: whatever is published that day)"),
        ]
    );
    // The key is the folder's own, and so is no loss of the user's.
    let mut folders = environment(&["A"]);
    folders.set_if_absent("MODEL_KEY", "theirs", VariableSource::Folder);
    assert!(lines(&text, &folders).iter().all(|line| !line.contains('!')));
}

#[test]
fn a_secret_in_the_words_of_a_command_counts_in_the_digest() {
    let text = |key: &str| skill("s", &format!("type = \"mcpStdioSkill\"\ncommand = \"s\"\nargs = [\"--key={key}\"]"));
    let digest = |text: &str| parts_in(text, &Environment::default()).digest();
    assert_ne!(digest(&text("a")), digest(&text("b")));
    assert_eq!(digest(&text("a")), digest(&format!("# a comment\n{}", text("a"))));
}

#[test]
fn packages_with_a_version_are_no_surprise() {
    let note = |command: &str, args: &str| {
        let text = skill("s", &format!("type = \"mcpStdioSkill\"\ncommand = \"{command}\"\nargs = [{args}]"));
        lines(&text, &Environment::default()).join("").contains("whatever is published")
    };
    for (command, args) in [
        ("npx", "\"-y\", \"@org/server\""),
        ("npx", "\"server@latest\""),
        ("bunx", "\"server@^1.2.3\""),
        ("uvx", "\"--from\", \"owls\", \"serve\""),
        ("uv", "\"tool\", \"run\", \"owls\""),
        ("pnpm", "\"dlx\", \"owls\""),
    ] {
        assert!(note(command, args), "{command} {args}");
    }
    for (command, args) in [
        ("npx", "\"-y\", \"@org/server@1.2.3\""),
        ("uvx", "\"owls==1.2.3\""),
        ("uvx", "\"--from\", \"owls@1.2.3-rc.1\", \"serve\""),
        ("python3", "\"server.py\""),
    ] {
        assert!(!note(command, args), "{command} {args}");
    }
}

#[test]
fn an_address_takes_the_users_key_only_elsewhere_than_at_home_or_here() {
    let with_key = environment(&["MODEL_KEY"]);
    let address = |url: &str| lines(&provider(&format!("baseUrl = \"{url}\"")), &with_key);
    assert_eq!(
        address("https://other.example/v1"),
        [
            "sends prompts and your openai key to https://other.example/v1 ! baseUrl sends MODEL_KEY to https://other.example/v1"
        ]
    );
    assert_eq!(address("http://10.0.0.1/v1")[0].matches('!').count(), 1, "a private address is any other");
    assert_eq!(address("https://api.vendor.example/v1"), ["asks openai models at https://api.vendor.example/v1"]);
    assert_eq!(address("http://127.0.0.1:8080/v1"), [""; 0]);
    let without = lines(&provider("baseUrl = \"https://other.example/v1\""), &Environment::default());
    assert_eq!(without, ["sends prompts and your openai key to https://other.example/v1"]);
    assert_eq!(lines(&provider("headers = { X-A = \"1\" }"), &with_key), ["sends the header X-A to openai"]);
}

#[test]
fn a_remote_skill_takes_no_variable_of_the_user_elsewhere_than_here() {
    let remote = |url: &str, more: &str| {
        let fields = format!("type = \"mcpSseSkill\"\nendpoint = \"{url}\"\nallowPrivateEndpoint = true\n{more}");
        lines(&skill("s", &fields), &environment(&["TOKEN", "MODEL_KEY"]))
    };
    let away = "https://mcp.example/x";
    assert_eq!(remote("https://mcp.example/x?k=1", ""), ["connects to https://mcp.example/x?…"]);
    assert_eq!(
        remote(away, "authorizationEnv = \"TOKEN\""),
        [format!("sends TOKEN to {away} ! skill s sends TOKEN to {away}"), format!("connects to {away}"),]
    );
    assert_eq!(remote(away, "authorizationEnv = \"OTHER\"")[0], format!("sends OTHER to {away}"));
    let here = "http://127.0.0.1:9/x";
    assert_eq!(remote(here, ""), [""; 0]);
    assert_eq!(remote(here, "authorizationEnv = \"TOKEN\""), [format!("sends TOKEN to {here}")]);
    assert!(remote(here, "authorizationEnv = \"MODEL_KEY\"")[0].contains('!'), "a model's key goes to no skill");
}

#[test]
fn a_key_of_the_folder_is_shown() {
    let mut folders = Environment::default();
    folders.set_if_absent("MODEL_KEY", "theirs", VariableSource::Folder);
    folders.set_if_absent("MODEL_URL", "https://u:p@other.example/", VariableSource::Folder);
    assert_eq!(
        lines(QUIET, &folders),
        [
            "sets MODEL_URL to https://other.example/",
            "brings the model key MODEL_KEY: what experts read goes to its account",
        ]
    );
}

#[test]
fn refusals_are_those_of_the_experts_in_use() {
    let text = format!(
        "{}[experts.\"other\"]\ninstruction = \"x\"\n[experts.\"other\".skills]\n",
        skill("s", "type = \"mcpStdioSkill\"\ncommand = \"s\"\nargs = [\"x\"]\nrequiredEnv = [\"MODEL_KEY\"]")
    );
    let parts = parts_in(&text, &environment(&["MODEL_KEY"]));
    let refusals = |key: &str| parts.refusals(&[key.parse().unwrap()].into(), true).len();
    assert_eq!((refusals("r"), refusals("other")), (1, 0));
}

#[test]
fn a_change_is_added_changed_or_removed() {
    let text = |args: &str, name: &str| {
        skill("s", &format!("type = \"mcpStdioSkill\"\ncommand = \"{name}\"\nargs = [{args}]"))
    };
    let none = Environment::default();
    let earlier = parts_in(&text("\"--key=a\"", "s"), &none);
    assert_eq!(
        parts_in(&text("\"--key=b\"", "s"), &none).changes_since(earlier.parts()),
        [PartChange::Changed("starts s --key=…".to_owned())]
    );
    assert_eq!(
        parts_in(&text("\"x\"", "t"), &none).changes_since(earlier.parts()),
        [PartChange::Added("starts t x".to_owned()), PartChange::Removed("starts s --key=…".to_owned())]
    );
    assert_eq!(earlier.changes_since(earlier.parts()), []);
}

#[test]
fn lifted_containment_and_lists_that_lead_out_are_refused_where_nobody_is_asked() {
    let none = Environment::default();
    assert_eq!(
        lines(&format!("sandbox = \"off\"\n{QUIET}"), &none),
        [
            "lifts the containment of commands and servers (sandbox = \"off\") ! sandbox = \"off\" lifts the containment of \
          commands and servers"
        ]
    );
    assert_eq!(lines(&format!("sandbox = \"required\"\n{QUIET}"), &none), [""; 0]);
    let text = |lists: &str| skill("s", &format!("type = \"mcpStdioSkill\"\ncommand = \"s\"\nargs = [\"x\"]\n{lists}"));
    assert_eq!(lines(&text("reads = [\"docs\"]\nwrites = [\"./out\"]"), &none).len(), 3);
    assert!(lines(&text("reads = [\"docs\"]"), &none).iter().all(|line| !line.contains('!')));
    for lists in ["reads = [\"~/.ssh\"]", "writes = [\"../x\"]", "reads = [\"/etc\"]", "grants = [\"docker\"]"] {
        let lines = lines(&text(lists), &none);
        assert!(
            lines.iter().any(|line| line.starts_with("lets skill s ") && line.contains(" ! skill s may ")),
            "{lines:?}"
        );
    }
    let digest = |lists: &str| parts_in(&text(lists), &none).digest();
    assert_ne!(digest("reads = [\"~/a\"]"), digest("reads = [\"~/b\"]"));
}
