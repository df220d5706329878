//! `README.md`: its picture of a run is what its first command prints.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::Test;

/// The parts around the picture, and the picture.
fn picture(page: &str) -> (&str, &str, &str) {
    let (before, rest) = page.split_once("```text\n").unwrap();
    let (picture, after) = rest.split_once("\n```").unwrap();
    (before, picture, after)
}

/// `UPDATE_DOCS=1 cargo test --test it docs` takes the picture anew.
#[test]
fn the_picture_is_what_the_first_command_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("README.md");
    let page = fs::read_to_string(&file).unwrap();
    let command = page.lines().find_map(|line| line.strip_prefix("cargo run --locked -- ")).unwrap();
    let test = Test::new();
    let mut bash = Command::new("bash");
    let storage = test.root().join("storage");
    let script = format!("cd \"$1\" && exec \"$2\" {command} --storage \"$3\" 2>&1");
    bash.args(["-c", &script, "bash"]).arg(root).arg(test.binary()).arg(&storage);
    let ran = test.start(bash).finish().assert_code(0);
    // The first line names the folder of the checkout, and the storage that this test has of its own.
    let lines = ran.stdout.lines().filter(|line| !line.starts_with("replaying a recorded session"));
    let printed = lines.map(str::trim_end).collect::<Vec<_>>().join("\n");
    let (before, shown, after) = picture(&page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, format!("{before}```text\n{printed}\n```{after}")).unwrap();
        return;
    }
    assert_eq!(shown, printed);
}
