//! The table of attacks and of their honest neighbours: `cargo test --test it trust:: -- --nocapture` prints it.

use crate::tidy::source::Source;

/// Subjects outside this folder whose tests are named in the same way.
const ELSEWHERE: [&str; 7] = [
    "foreign_state.rs",
    "mcp/locked.rs",
    "mcp/names.rs",
    "mcp/oauth.rs",
    "mcp/processes.rs",
    "mcp/remote.rs",
    "secrets.rs",
];

/// The texts that a source gives to a function which names cases.
fn named<'a>(source: &'a Source, function: &str) -> Vec<&'a str> {
    let opening = format!(" {function}(\"");
    source.text.split(&opening).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is for whoever asks for it")]
fn attacks_and_honest_neighbours_are_counted() {
    let (mut tests, mut attacks, mut neighbours, mut lines) = (0, 0, 0, Vec::new());
    for source in Source::all("tests/it") {
        let is_here = source.path.starts_with("trust/") && source.path != "trust/table.rs";
        if !is_here && !ELSEWHERE.contains(&source.path.as_str()) {
            continue;
        }
        let (bad, good) = (named(&source, "attack"), named(&source, "neighbour"));
        assert_eq!(bad.is_empty(), good.is_empty(), "{}: an attack has an honest neighbour", source.path);
        let mut names: Vec<_> = bad.iter().chain(&good).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), bad.len() + good.len(), "{} names a case twice", source.path);
        let count = source.text.matches("#[test]").count();
        (tests, attacks, neighbours) = (tests + count, attacks + bad.len(), neighbours + good.len());
        lines.push(row(source.path.trim_end_matches(".rs"), count, bad.len(), good.len()));
        lines.extend(bad.iter().map(|what| format!("    attack     {what}")));
        lines.extend(good.iter().map(|what| format!("    neighbour  {what}")));
    }
    println!("{:<24} {:>6} {:>8} {:>11}\n{}", "subject", "tests", "attacks", "neighbours", lines.join("\n"));
    println!("{}", row("all", tests, attacks, neighbours));
}

fn row(subject: &str, tests: usize, attacks: usize, neighbours: usize) -> String {
    format!("{subject:<24} {tests:>6} {attacks:>8} {neighbours:>11}")
}
