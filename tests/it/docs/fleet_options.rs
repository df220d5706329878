//! `docs/scale.md`: what becomes of each option of `run` that a job is submitted with.

use std::fs;

use crate::support::Test;

#[test]
fn the_table_of_submitted_jobs_has_each_option_of_run() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scale.md");
    let page = fs::read_to_string(page).unwrap();
    let table =
        page.split("### What a submitted job keeps of `run`").nth(1).unwrap().split("\n**Trust.**").next().unwrap();
    let help = Test::new().run(["run", "--help"]).assert_code(0).stdout;
    let (mut heading, mut seen) = ("", 0);
    for line in help.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            heading = name;
        }
        // Before a flag there is room for its short form.
        let flag = line.get(2..6).filter(|short| short.trim().is_empty() || short.starts_with('-')).map(|_| &line[6..]);
        let Some(name) = flag.and_then(|flag| flag.strip_prefix("--")?.split([' ', '[']).next()) else { continue };
        // The model's and all budgets are one row.
        if heading == "Model" || name.starts_with("max-") || ["color", "help"].contains(&name) {
            continue;
        }
        seen += 1;
        assert!(table.contains(&format!("`--{name}`")), "--{name}");
    }
    assert!(seen > 35, "{seen} options were found in:\n{help}");
}
