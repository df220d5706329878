//! What is a secret, by role, name and look: kept out of requests, output and storage, while names and places stay.

use serde_json::json;

use crate::support::tool_server::{command_skill, program};
use crate::support::{Answer, Provider, Test, call};
use crate::trust::{attack, neighbour};

/// Everything that the run printed, sent and stored.
fn traces(test: &Test, ran: &crate::support::process::Ran) -> String {
    let mut all = format!("{}{}", ran.stdout, ran.stderr);
    for request in test.server().requests() {
        all += &String::from_utf8_lossy(&request.bytes);
    }
    let mut folders = vec![test.workspace().join("perstack")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
            }
        }
    }
    all
}

/// The traces of a run that reads a file with `secret` in it and repeats it.
fn repeated(variables: &[(&str, &str)], secret: &str) -> String {
    let read = call("c1", "readTextFile", json!({"path": "notes.txt"}));
    let test = Test::with(Provider::Anthropic).answers([Answer::calls([read]), Answer::text(secret)]);
    let test = variables.iter().fold(test.file("notes.txt", secret), |test, (name, value)| test.env(name, value));
    let ran = test.run(["run", "librarian", "q", "--output", "jsonl", "--full-events"]).assert_code(0);
    traces(&test, &ran)
}

#[test]
fn a_variable_is_secret_when_its_name_marks_one() {
    attack("a secret under a name that no vendor uses");
    neighbour("places, names and folders in the environment");
    let secrets = [("GH_PAT", "owl-ghp-4711"), ("DB_PASS", "hunter2hunter2"), ("SIGNING_KEY", "0123456789abcdef0123")];
    let all = repeated(&secrets, "owl-ghp-4711 hunter2hunter2 0123456789abcdef0123");
    assert!(all.contains("[redacted]"));
    for (name, value) in secrets {
        assert!(!all.contains(value), "{name}");
    }
    let places =
        [("CACHE_KEY", "main-branch-cache"), ("REGION", "eu-central-1"), ("SSH_KEY_FILE", "/home/owl/keys/one")];
    let all = repeated(&places, "main-branch-cache eu-central-1 /home/owl/keys/one");
    for (name, value) in places {
        assert!(all.contains(value), "{name}");
    }
}

#[test]
fn a_secret_is_found_in_hexadecimal_digits_and_wrapped_base64() {
    attack("a secret encoded, and wrapped, by a program");
    neighbour("digests and encoded files that hold no secret");
    let secret = [("SIGNING_KEY", "the-owl-flies-at-midnight-17")];
    let hex = "7468652d6f776c2d666c6965732d61742d6d69646e696768742d3137";
    let wrapped = "dGhlLW93bC1mbGll\ncy1hdC1taWRuaWdo\ndC0xNw==";
    let all = repeated(&secret, &format!("{hex} and {wrapped}"));
    assert!(!all.contains(hex) && !all.contains("cy1hdC1taWRuaWdo"));
    let other = "d41d8cd98f00b204e9800998ecf8427e and b3dscyBmbHkgYXQg\nbmlnaHQ=";
    assert!(repeated(&secret, other).contains("d41d8cd98f00b204e9800998ecf8427e"));
}

#[test]
fn a_skill_declares_only_variables_that_it_requires() {
    attack("secretEnv lists a variable that the skill does not require");
    let toml = |extra: &str| {
        let text = command_skill("s", program(), &["stdio"]);
        format!("[experts.librarian]\ninstruction = \"i\"\n{text}{extra}")
    };
    let check = |extra: &str| {
        let ran = Test::new().toml(&toml(extra)).run(["check"]);
        (ran.code, format!("{}{}", ran.stdout, ran.stderr))
    };
    let (code, wrong) = check("requiredEnv = [\"A\"]\nsecretEnv = [\"B\"]\n");
    assert_eq!(code, Some(2), "{wrong}");
    assert!(wrong.contains("B is not in requiredEnv: add it there too"), "{wrong}");
    let (_, both) = check("requiredEnv = [\"A\"]\nsecretEnv = [\"A\"]\npublicEnv = [\"A\"]\n");
    assert!(both.contains("A is in both secretEnv and publicEnv"), "{both}");
}

#[test]
fn public_env_never_unmasks_the_key_of_a_model() {
    attack("publicEnv lists the key of a model");
    neighbour("publicEnv lists a variable that looks like a secret");
    let (key, _) = Provider::Anthropic.credentials()[0];
    let secret = "sk-users-own-0123456789";
    let skill = |name: &str| {
        command_skill("owls", program(), &["polite"])
            + &format!("requiredEnv = [\"{name}\"]\npublicEnv = [\"{name}\"]\n")
    };
    let all = |name: &str, value: &str| {
        let toml = format!("[experts.librarian]\ninstruction = \"i\"\n{}", skill(name));
        let test = Test::new().toml(&toml).provider(Provider::Anthropic).env(name, value);
        let test = test.answers([Answer::text(value)]);
        let ran = test.run(["run", "librarian", "q", "--trust", "--output", "jsonl", "--full-events"]);
        traces(&test, &ran)
    };
    // The mock server takes one key only, so that another model's is used here.
    let (other, _) = Provider::OpenAi.credentials()[0];
    assert_ne!(key, other);
    let told = all(other, secret);
    assert!(told.contains("[redacted]") && !told.contains(secret));
    assert!(all("OWL_TOKEN", "owl-0123456789abcdef").contains("owl-0123456789abcdef"));
}

#[test]
fn a_setting_that_is_nothing_without_its_secret_is_not_stored() {
    attack("a secret in the place of a name, so that a setting would be stored as it is");
    neighbour("a secret in a definition's text, which is stored masked");
    let test = Test::with(Provider::Anthropic).env("OWL_TOKEN", "librarian");
    let ran = test.run(["run", "librarian", "q"]).assert_code(2);
    ran.assert_stderr(["expert librarian cannot be run", "is also a name"]);
    assert!(test.storage().jobs().is_empty());
    assert_eq!(test.server().requests().len(), 0);
    let test = Test::new().toml("[experts.librarian]\ninstruction = \"Use hoot-hoot-0123.\"\n");
    let test = test.provider(Provider::Anthropic).env("OWL_TOKEN", "hoot-hoot-0123").answers([Answer::text("Owls.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let setting = std::fs::read_to_string(test.storage().runs()[0].join("run-setting.json")).unwrap();
    assert!(setting.contains("Use [redacted].") && !setting.contains("hoot-hoot"), "{setting}");
}
