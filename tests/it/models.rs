//! `perstack models`, and the user's own catalogue.

use serde_json::{Value, json};

use crate::support::{Answer, Provider, Test};

const OWN: &str = "[anthropic]\nlow = \"house-model\"\n\n[anthropic.models]\n\
                   house-model = { contextWindow = 100_000, price = { input = 1, output = 10 } }\n";

fn with_models(test: Test, models: &str) -> Test {
    test.env("PERSTACK_CONFIG_DIR", "settings").file("settings/models.toml", models)
}

fn rows(test: &Test) -> Vec<Value> {
    let ran = test.run(["models", "--json"]).assert_code(0);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn models_are_listed_without_configuration_or_key() {
    let test = Test::new();
    let ran = test.run(["models"]).assert_code(0);
    for words in ["claude-sonnet-4-5", "gpt-5-mini", "gemini-2.5-pro", "MODEL", "2026-", "middle", "per million"] {
        assert!(ran.stdout.contains(words), "no {words} in {}", ran.stdout);
    }
    assert_eq!(ran.stderr, "");
    let one = test.run(["models", "deepseek"]).assert_code(0).stdout;
    assert!(one.contains("deepseek-chat") && !one.contains("claude"), "{one}");
    test.run(["models", "deepseak"]).assert_code(2).snapshot("models/models-are-listed-without-configuration-or-key");
}

#[test]
fn json_has_prices_with_their_source_and_day() {
    let rows = rows(&Test::new());
    let row = rows.iter().find(|row| row["id"] == "claude-sonnet-4-5").unwrap();
    assert_eq!(row["provider"], "anthropic");
    assert_eq!(row["contextWindow"], 200_000);
    let price = json!({"input": 3.0, "cachedInput": 0.3, "cacheWrite": 3.75, "output": 15.0});
    assert_eq!(row["price"], price);
    assert_eq!(row["tiers"], json!(["middle"]));
    assert!(row["source"].as_str().unwrap().starts_with("https://") && row["checked"].is_string(), "{row}");
    assert!(rows.iter().any(|row| row["provider"] == "google-vertex" && row["id"] == "gemini-2.5-pro"));
}

#[test]
fn the_users_own_models_are_listed_and_used() {
    let test = with_models(Test::with(Provider::Anthropic), OWN).answers([Answer::text("Owls.")]);
    let own = rows(&test).into_iter().find(|row| row["id"] == "house-model").unwrap();
    assert_eq!((&own["tiers"], &own["maxOutputTokens"]), (&json!(["low"]), &Value::Null));
    assert!(own["source"].as_str().unwrap().ends_with("models.toml"), "{own}");
    let args = ["run", "librarian", "Birds?", "--model", "house-model", "--output", "json"];
    let ran = test.run(args).assert_code(0);
    // 100 at 1, 20 at 10 dollars per million.
    assert_eq!((&ran.object()["cost"], &ran.object()["costIsComplete"]), (&json!(0.0003), &json!(true)));
    assert!(!ran.stderr.contains("catalogue"), "{}", ran.stderr);
}

#[test]
fn a_mistake_in_the_users_models_is_reported_with_its_place() {
    let broken = OWN.replace("output = 10", "outptu = 10");
    let test = with_models(Test::with(Provider::Anthropic), &broken);
    for args in [&["models"][..], &["run", "librarian", "Birds?"], &["check"]] {
        let mut command = std::process::Command::new(test.binary());
        command.args(args);
        let ran = test.start(command).finish().assert_code(2);
        // A check prints its findings on standard output.
        let told = ran.stdout + &ran.stderr;
        assert!(told.contains("models.toml:5:") && told.contains("outptu"), "{told}");
    }
    assert_eq!(test.server().requests().len(), 0);
}
