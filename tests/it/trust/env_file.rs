//! An environment file that the command line does not name: it sets its own keys with their addresses, and what skills
//! require. It diverts no key of the user's, starts nothing and switches nothing off.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::mcp::{calling, tool_results};
use crate::support::tool_server::{HttpServer, command_skill, librarian, program, remote_skill};
use crate::support::{Answer, Provider, Test, call};
use crate::trust::{attack, neighbour};

/// A proxy at a port where nobody listens: nothing of a test leaves this machine.
const NOBODY: &str = "http://127.0.0.1:1";

/// The variable of the provider's address in a file's form, set to the mock server.
fn address_line(test: &Test, provider: Provider) -> String {
    let (variable, path) = provider.address();
    format!("{variable}={}\n", test.server().url(path))
}

#[test]
fn an_address_without_its_key_takes_no_request() {
    attack("an address for the user's own key");
    Provider::each(|provider| {
        let (variable, _) = provider.address();
        let test =
            Test::with(provider).unset(variable).env("HTTPS_PROXY", NOBODY).env("OLLAMA_API_KEY", "owl-cloud-key");
        let test = test.env("AZURE_RESOURCE_NAME", "owls").env("GOOGLE_VERTEX_PROJECT", "nest");
        let line = address_line(&test, provider);
        let test = test.env("GOOGLE_VERTEX_LOCATION", "europe-west4").file(".env", line);
        let ran = test.run(["run", "librarian", "q", "--max-retries", "0", "--timeout", "5000"]).assert_code(1);
        assert!(ran.stderr.contains(&format!("warning: .env: ignored {variable}: ")), "{provider:?}: {}", ran.stderr);
        assert_eq!(test.server().requests().len(), 0, "{provider:?}");
    });
}

#[test]
fn key_and_address_of_one_folder_belong_together() {
    neighbour("a key and its address in one file");
    Provider::each(|provider| {
        if provider == Provider::Vertex {
            // It has no key, only files of credentials.
            return;
        }
        let (variable, _) = provider.address();
        let test = Test::with(provider).unset(variable).answers([Answer::text("Owls.")]);
        let mut file = address_line(&test, provider);
        let test = provider.credentials().iter().fold(test, |test, (name, value)| {
            writeln!(file, "{name}={value}").unwrap();
            test.unset(name)
        });
        let ran = test.file(".env", file).run(["run", "librarian", "q"]).assert_code(0);
        assert_eq!(ran.stdout, "Owls.\n", "{provider:?}");
        assert!(!ran.stderr.contains("ignored "), "{provider:?}: {}", ran.stderr);
    });
}

#[test]
fn a_key_alone_goes_to_the_address_of_the_user() {
    neighbour("a key for the address that the user chose");
    let (name, key) = Provider::OpenAi.credentials()[0];
    let test = Test::with(Provider::OpenAi).unset(name).file(".env", format!("{name}={key}\n"));
    test.answers([Answer::text("Owls.")]).run(["run", "librarian", "q"]).assert_code(0);
}

#[test]
fn the_users_other_variable_for_an_address_stays_in_force() {
    attack("an address under another of the vendor's names");
    let pairs = [
        (Provider::OpenAi, "OPENAI_API_BASE"),
        (Provider::Google, "GOOGLE_GEMINI_BASE_URL"),
        (Provider::Azure, "AZURE_OPENAI_ENDPOINT"),
        (Provider::Bedrock, "AWS_ENDPOINT_URL"),
        (Provider::Ollama, "OLLAMA_HOST"),
    ];
    for (provider, users) in pairs {
        let (variable, path) = provider.address();
        let test = Test::with(provider).unset(variable).file(".env", format!("{variable}={NOBODY}\n"));
        let url = test.server().url(path);
        test.env(users, &url).answers([Answer::text("Owls.")]).run(["run", "librarian", "q"]).assert_code(0);
    }
}

#[test]
fn a_key_of_blanks_opens_no_way_for_the_users_login() {
    attack("a blank key that opens the way for an address");
    let (variable, _) = Provider::Bedrock.address();
    let test = Test::with(Provider::Bedrock).unset(variable).env("HTTPS_PROXY", NOBODY);
    let file = format!("AWS_BEARER_TOKEN_BEDROCK=\" \"\n{}", address_line(&test, Provider::Bedrock));
    let test = test.file(".env", file);
    test.run(["run", "librarian", "q", "--max-retries", "0"])
        .assert_code(1)
        .snapshot("trust-env-file/a-key-of-blanks-opens-no-way-for-the-users-login");
    assert_eq!(test.server().requests().len(), 0);
}

#[test]
fn the_users_key_decides_on_the_provider() {
    attack("a key that would choose the provider");
    let test = Test::new().toml("[experts.librarian]\ninstruction = \"You find things.\"\n");
    let (name, key) = Provider::DeepSeek.credentials()[0];
    let test = test.env(name, key);
    let url = test.server().url("/deepseek/v1");
    let file = format!("ANTHROPIC_API_KEY=owl-folder-key\nANTHROPIC_BASE_URL={}\n", test.server().url("/v1"));
    let test = test.env("DEEPSEEK_BASE_URL", &url).file(".env", file).answers([Answer::text("Owls.")]);
    let ran = test.run(["run", "librarian", "q"]).assert_code(0);
    assert_eq!(ran.stdout, "Owls.\n");
}

#[test]
fn no_command_is_started_and_no_provider_chosen() {
    attack("a profile with a command");
    neighbour("the same file, named by the user");
    let test = Test::with(Provider::Anthropic).file("awscfg", "[default]\ncredential_process = sh theirs.sh\n");
    let test = test.file("theirs.sh", "env > ran\nexit 1\n").answers([Answer::text("Owls.")]);
    let test = test.env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", NOBODY);
    let file = "PERSTACK_PROVIDER=amazon-bedrock\nAWS_REGION=us-east-1\nAWS_CONFIG_FILE=awscfg\n\
                AWS_EC2_METADATA_DISABLED=true\n";
    let test = test.file(".env", file);
    let ran = test.run(["run", "librarian", "q"]).assert_code(0);
    ran.snapshot("trust-env-file/no-command-is-started-and-no-provider-chosen");
    assert!(!test.workspace().join("ran").exists());
    // The user may: the same file, named.
    test.run(["run", "librarian", "q", "--max-retries", "0", "--env-path", ".env"]).assert_code(1);
    assert!(test.workspace().join("ran").exists());
}

#[test]
fn proxies_are_the_users_business() {
    attack("a proxy in the way");
    neighbour("a proxy in a file that the user names");
    let file = format!("HTTP_PROXY={NOBODY}\nhttp_proxy={NOBODY}\nALL_PROXY={NOBODY}\n");
    let test = Test::with(Provider::OpenAi).file(".env", file).answers([Answer::text("Owls.")]);
    test.run(["run", "librarian", "q"]).assert_code(0).snapshot("trust-env-file/proxies-are-the-users-business");
    assert_eq!(test.server().requests().len(), 1);
    assert_goes_by_proxy(test);
}

#[test]
fn a_named_file_sets_everything() {
    attack("a proxy of the program's own");
    neighbour("the same in a file that the user names");
    let file = "PERSTACK_PROXY_URL=http://127.0.0.1:1\n";
    let test = Test::with(Provider::OpenAi).file(".env", file).answers([Answer::text("Owls.")]);
    test.run(["run", "librarian", "q"]).assert_code(0).snapshot("trust-env-file/a-named-file-sets-everything");
    assert_goes_by_proxy(test);
}

/// A request goes by the proxy of the file when its model is not on this machine.
fn assert_goes_by_proxy(test: Test) {
    let test = test.env("OPENAI_BASE_URL", "http://10.0.0.1:9/v1");
    let ran = test.run(["run", "librarian", "q", "--max-retries", "0", "--env-path", ".env"]).assert_code(1);
    assert!(ran.stderr.contains("10.0.0.1:9 (a proxy is set)"), "{}", ran.stderr);
}

#[test]
fn private_addresses_are_opened_by_the_user_alone() {
    attack("private addresses opened by a folder");
    neighbour("private addresses opened by the user");
    let server = HttpServer::start(["polite-http"]);
    let test = librarian(&remote_skill("owls", server.url()));
    let test = test.file(".env", "PERSTACK_ALLOW_PRIVATE_ENDPOINTS=1\n").answers([Answer::text("Owls.")]);
    test.run(["run", "librarian", "q"]).assert_code(2);
    let (name, key) = Provider::Anthropic.credentials()[0];
    test.env(name, key).run(["run", "librarian", "q", "--env-path", ".env"]).assert_code(0);
}

#[test]
fn a_command_of_the_model_sees_nothing_of_the_file() {
    attack("variables for the commands of the model");
    let arguments = json!({"command": "env", "args": [], "env": {}, "cwd": ".", "stdout": true, "stderr": true});
    let file =
        "NODE_PATH=./owl-modules\nSHELL=/owl-shell\nTERM=owl\nNPM_CONFIG_PROXY=http://127.0.0.1:9/owl\nOTHER=owl\n";
    let test = Test::with(Provider::Anthropic).env("TERM", "grey").file(".env", file);
    let (_test, requests) = calling(test, [("exec", arguments)]);
    let (seen, _) = tool_results(&requests[1]).pop().unwrap();
    assert!(seen.contains("PATH=") && seen.contains("TERM=grey") && !seen.contains("owl"), "{seen}");
}

#[test]
fn a_skill_gets_what_it_requires_unless_it_is_the_users_own() {
    attack("code loaded into a server");
    neighbour("a variable that a skill requires");
    let skill = command_skill("owls", program(), &["polite"]);
    let required = "requiredEnv = [\"OWL_COLOUR\", \"AWS_PROFILE\"]\n";
    let test = librarian(&format!("{skill}{required}")).file(".env", "OWL_COLOUR=grey\nAWS_PROFILE=barn\nOTHER=x\n");
    let (_test, requests) = calling(test, [("environment", json!({}))]);
    let (seen, _) = tool_results(&requests[1]).pop().unwrap();
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert!(seen["variables"]["OWL_COLOUR"].is_string() && seen["variables"]["AWS_PROFILE"].is_string(), "{seen}");
    assert_eq!(seen["variables"]["OTHER"], Value::Null);

    let test =
        librarian(&format!("{skill}requiredEnv = [\"NODE_OPTIONS\"]\n")).file(".env", "NODE_OPTIONS=--require=x\n");
    test.run(["run", "librarian", "q"])
        .assert_code(2)
        .snapshot("trust-env-file/a-skill-gets-what-it-requires-unless-it-is-the-users-own");
    let ran = test.run(["check"]).assert_code(2);
    assert!(ran.stdout.contains("NODE_OPTIONS is not set: set it in the environment\n"), "{}", ran.stdout);
}

#[test]
fn what_is_required_for_a_skill_is_not_used_for_the_model() {
    attack("a protected variable named as a skill's");
    let skill = command_skill("owls", program(), &["polite"]);
    let toml = format!("{skill}requiredEnv = [\"ALL_PROXY\", \"ANTHROPIC_BASE_URL\", \"PERSTACK_PROVIDER\"]\n");
    let test = librarian(&toml).unset("ANTHROPIC_BASE_URL").env("HTTPS_PROXY", NOBODY).env("ALL_PROXY", NOBODY);
    let file = format!("{}PERSTACK_PROVIDER=openai\n", address_line(&test, Provider::Anthropic));
    let test = test.file(".env", file);
    test.run(["run", "librarian", "q", "--max-retries", "0"]).assert_code(1);
    assert_eq!(test.server().requests().len(), 0);
}

#[test]
fn a_login_of_a_skill_may_be_in_the_file() {
    neighbour("the token of a skill");
    let skill = format!("{}authorizationEnv = \"OWL_TOKEN\"\n", remote_skill("owls", "https://owls.example.com/mcp"));
    let test = librarian(&skill).file(".env", "OWL_TOKEN=owl-0123456789\n");
    let ran = test.run(["check"]);
    assert!(!ran.stdout.contains("OWL_TOKEN is not set"), "{}", ran.stdout);
}

#[test]
fn limits_are_tightened_and_not_loosened() {
    attack("a limit above the user's");
    neighbour("a limit below the user's");
    let arguments = json!({"path": "."});
    let more = || Answer::calls([call("c1", "listDirectory", arguments.clone())]);
    let test = Test::with(Provider::Anthropic).env("PERSTACK_CONFIG_DIR", "settings").answers([more()]);
    let test = test.file("settings/config.toml", "maxSteps = 1\n").file(".env", "PERSTACK_MAX_STEPS=50\n");
    test.run(["run", "librarian", "q"]).assert_code(3).snapshot("trust-env-file/limits-are-tightened-and-not-loosened");
    let test = Test::with(Provider::Anthropic).file(".env", "PERSTACK_MAX_STEPS=1\n").answers([more()]);
    test.run(["run", "librarian", "q"]).assert_code(3);
}

#[test]
fn every_command_names_the_file_and_the_variables_but_no_value() {
    attack("a value of .env in a warning");
    let toml = "envPath = [\"keys.env\"]\n[experts.librarian]\ninstruction = \"You find things in books.\"\n";
    let file = "HTTPS_PROXY=http://owl.invalid:9\nSSL_CERT_FILE=owl.pem\nDATABASE_URL=owl\n";
    let test = Test::new().toml(toml).provider(Provider::Anthropic).file("keys.env", file);
    let test = test.answers([Answer::text("Owls.")]);
    let assert_warned = |shown: &str| {
        assert!(shown.contains("keys.env: ignored HTTPS_PROXY, SSL_CERT_FILE: "), "{shown}");
        assert!(!shown.contains("owl"), "{shown}");
    };
    assert_warned(&test.run(["list-tools"]).stderr);
    assert_warned(&test.run(["install"]).stderr);
    assert_warned(&test.run(["check"]).assert_code(0).stdout);
    assert_warned(&test.run(["run", "librarian", "q"]).assert_code(0).stderr);
    assert_warned(&test.run(["resume", "nowhere"]).stderr);
}

#[test]
fn no_way_to_write_a_variable_diverts_the_users_key() {
    attack("an address behind a byte order mark, an export, a colon, other line ends or an empty key");
    neighbour("a key behind the same");
    let (variable, _) = Provider::OpenAi.address();
    let (key, value) = Provider::OpenAi.credentials()[0];
    let ways = [
        "\u{feff}{}\r\n",
        "export {}\r",
        "\n\t export\t{}",
        "A='x\ny'\n{}\n",
        "OPENAI_API_KEY=\nOTHER=1\n{}\n",
        "OPENAI_API_KEY=   # none\n{}\n",
    ];
    for way in ways {
        let test = Test::with(Provider::OpenAi).unset(variable).env("HTTPS_PROXY", NOBODY);
        let file = way.replace("{}", address_line(&test, Provider::OpenAi).trim_end());
        let ran = test.file(".env", file).run(["run", "librarian", "q", "--max-retries", "0"]).assert_code(1);
        assert!(ran.stderr.contains(&format!("ignored {variable}")), "{way:?}: {}", ran.stderr);
        let file = way.replace("OPENAI_API_KEY=", "OWL=").replace("{}", &format!("{key}={value}"));
        let test = Test::with(Provider::OpenAi).unset(key).file(".env", file).answers([Answer::text("Owls.")]);
        test.run(["run", "librarian", "q"]).assert_code(0);
    }
    let colon = format!("{variable}: {NOBODY}\n{variable}={NOBODY}\n");
    let test = Test::with(Provider::OpenAi).unset(variable).env("HTTPS_PROXY", NOBODY).file(".env", colon);
    test.run(["run", "librarian", "q", "--max-retries", "0"]).assert_code(1).assert_stderr(["ignored", variable]);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_at_once() {
    attack("a pipe or a device in the place of a file of the folder");
    neighbour("a folder in the place of .env");
    for name in [".env", "perstack.toml", "perstack.lock", "more.toml", "c.cassette"] {
        let test = Test::new().toml("include = [\"more.toml\"]\n[experts.librarian]\ninstruction = \"x\"\n");
        let test = test.provider(Provider::OpenAi).file("more.toml", "");
        test.binary();
        let path = test.workspace().join(name);
        let _ = std::fs::remove_file(&path);
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        // As `Test::run`, without the test's own perstack.toml.
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_perstack"));
        command.args(["run", "librarian", "q"]);
        if name == "c.cassette" {
            command.args(["--replay", name]);
        } else if name == "perstack.lock" {
            command.arg("--locked");
        }
        let ran = test.start(command).finish().assert_code(2);
        assert!(ran.stderr.contains(name), "{name}: {}", ran.stderr);
        assert_eq!(test.server().requests().len(), 0);
    }
    let test = Test::with(Provider::OpenAi).file(".env/pyvenv.cfg", "").answers([Answer::text("Owls.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
}
