//! Programs that give credentials: the user's own, started without any key.

use std::fs;

use crate::support::{Answer, Provider, Test};
use crate::trust::{attack, neighbour};

#[test]
fn a_credential_process_gets_what_programs_need_and_no_key() {
    attack("a credential_process reads other vendors' keys");
    neighbour("a credential_process finds its programs and files");
    let test = Test::with(Provider::Bedrock).answers([Answer::text("Owls.")]);
    let [(id_name, id), (secret_name, secret), ..] = Provider::Bedrock.credentials() else { panic!("two keys") };
    let home = test.root().join("home");
    let keys = format!(r#"{{"Version": 1, "AccessKeyId": "{id}", "SecretAccessKey": "{secret}"}}"#);
    fs::write(home.join("get.sh"), format!("env > {0}/seen\necho '{keys}'\n", home.display())).unwrap();
    fs::write(home.join("aws"), format!("[default]\ncredential_process = sh {}/get.sh\n", home.display())).unwrap();
    let test = test.unset(id_name).unset(secret_name).env("AWS_EC2_METADATA_DISABLED", "true");
    let test = test.env("AWS_CONFIG_FILE", home.join("aws").to_str().unwrap());
    let test = test.env("ANTHROPIC_API_KEY", "sk-ant-other").env("OPENAI_API_KEY", "sk-other");
    let ran = test.run(["run", "librarian", "q"]).assert_code(0);
    assert_eq!(ran.stdout, "Owls.\n");
    let seen = fs::read_to_string(home.join("seen")).unwrap();
    assert!(seen.contains("PATH=") && seen.contains("HOME=") && seen.contains("AWS_CONFIG_FILE="), "{seen}");
    assert!(!seen.contains("_API_KEY"), "{seen}");
}
