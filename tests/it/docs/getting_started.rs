//! `docs/getting-started.md`: its blocks are run as a reader types them, against the mock model.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::{Answer, Provider, Test, call, skipped};

/// The blocks of shell commands of a page.
fn blocks(page: &str) -> Vec<String> {
    let blocks = page.split("\n```sh\n").skip(1).filter_map(|rest| rest.split_once("\n```"));
    blocks.map(|(block, _)| block.to_owned()).collect()
}

#[test]
fn each_block_works_as_typed() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped("the page's skill needs python3");
    }
    let short = "The barn owl hunts at night by ear.";
    let test = Test::new().provider(Provider::Anthropic).answers([
        Answer::text(short),
        Answer::calls([call("toolu_1", "countWords", json!({"text": short}))]),
        Answer::text(short),
        Answer::text("Barn owls hunt by ear."),
        Answer::text("Owls hunt nightly."),
    ]);
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/getting-started.md")).unwrap();
    let blocks = blocks(&page);
    assert_eq!(blocks.len(), 10, "a block more or less needs its answer here");
    let script = format!("PATH=\"$1:$PATH\"\n{}\n", blocks.join("\n"));
    let mut bash = Command::new("bash");
    bash.args(["-euc", &script, "bash"]).arg(test.binary().parent().unwrap());
    let ran = test.start(bash).finish().assert_code(0);
    for text in ["countWords", "Barn owls hunt by ear.", "Owls hunt nightly.", "completed"] {
        assert!(ran.stdout.contains(text) || ran.stderr.contains(text), "{text}\n{}\n{}", ran.stdout, ran.stderr);
    }
    let results = test.server().requests()[2].results();
    assert_eq!(results, [("toolu_1".to_owned(), "8 words".to_owned())]);
}
