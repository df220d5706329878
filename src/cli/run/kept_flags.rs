//! The command that continues a job has every flag that the job was begun with, but for those that are about its beginning.

use std::collections::BTreeSet;

use clap::{CommandFactory, FromArgMatches, Parser};
use perstack::checkpoint::Status;

use super::RunArgs;
use crate::cli::command_line::CommandLine;
use crate::cli::outcome::continuation;
use crate::cli::render::fixture::outcome;

/// Flags that are kept, with values that need quotes where any value may stand.
const KEPT: [&[&str]; 45] = [
    &["--provider", "openai"],
    &["--model", "it's \"new\""],
    &["--reasoning-budget", "high"],
    &["--max-steps", "7"],
    &["--max-retries", "2"],
    &["--timeout", "9000"],
    &["--max-total-steps", "50"],
    &["--max-cost", "0.5"],
    &["--max-tokens", "900"],
    &["--max-duration", "2m"],
    &["--max-tool-repetitions", "4"],
    &["--max-delegates", "3"],
    &["--max-parallel-delegates", "2"],
    &["--config", "my project/perstack.toml"],
    &["--env-path", "a.env", "--env-path", "b c.env"],
    &["--workspace", "../owls & bees"],
    &["--storage", "$(jobs)"],
    &["--proxy", "http://proxy:3128"],
    &["--trust"],
    &["--sandbox", "required"],
    &["--output", "json"],
    &["--json"],
    &["--filter", "completeRun,retry"],
    &["--full-events"],
    &["--output-file", "the answer.txt"],
    &["--quiet"],
    &["--verbose"],
    &["--stream"],
    &["--plain"],
    &["--bell"],
    &["--in-doubt", "stop"],
    &["--snapshot", "every"],
    &["--replay", "a session.jsonl"],
    &["--replay", "a session.jsonl", "--replay-tools"],
    &["--learn"],
    &["--no-interactive"],
    &["--allow", "exec(git status*)", "--allow", "it's"],
    &["--ask", "exec"],
    &["--deny", "web.*"],
    &["--read-only"],
    &["--locked"],
    &["--account", "nightly"],
    &["--frozen"],
    &["--output-schema", "the owl.json"],
    &["--instruction", "You're \"an owl\".\n\tHoot; $HOME `ls` \\ é"],
];

/// Flags that are not: those of a beginning, of its input, and what must not be written twice or shown.
const LEFT_OUT: [&[&str]; 13] = [
    &["--dry-run"],
    &["--untrusted"],
    &["--file", "owl.png"],
    &["--no-stdin"],
    &["--interactive-tool-call-result"],
    &["--job-id", "nest"],
    &["--job-id", "nest", "--ensure"],
    &["--continue"],
    &["--continue-job", "nest"],
    &["--continue", "--resume-from", "c1"],
    &["--record", "session.jsonl"],
    &["--summary-file", "summary.md"],
    &["--workspace-from", "https://example.com/owls#v1"],
];

#[derive(Debug, Parser)]
struct Alone {
    #[command(flatten)]
    args: RunArgs,
}

/// The command that continues a job which was begun with these flags.
fn continued(flags: &[&str]) -> String {
    let words = ["run", "owl", "q"].iter().chain(flags);
    // With --instruction there is no expert.
    let words = words.filter(|word| **word != "owl" || flags[0] != "--instruction");
    let matches = Alone::command().get_matches_from(words);
    let args = RunArgs::from_arg_matches(&matches).unwrap();
    continuation(&outcome(Status::StoppedByError, ""), &args.job).to_string()
}

#[test]
fn flags_are_kept_or_left_out_for_a_reason() {
    for flags in KEPT {
        let mut words = CommandLine::new(["perstack", "resume", "c1"]);
        for flag in flags {
            words.word(*flag);
        }
        assert_eq!(continued(flags), words.to_string());
    }
    for flags in LEFT_OUT.into_iter().chain([["--proxy", "http://me:secret@proxy"].as_slice()]) {
        assert_eq!(continued(flags), "perstack resume c1", "{flags:?}");
    }
}

#[test]
fn every_flag_has_its_row() {
    let command = Alone::command();
    let known: BTreeSet<String> =
        command.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect();
    let rows = KEPT.iter().chain(&LEFT_OUT).flat_map(|flags| flags.iter()).filter(|word| word.starts_with("--"));
    let rows: BTreeSet<String> = rows.map(|word| (*word).to_owned()).collect();
    assert_eq!(known, rows);
}

#[test]
fn a_shell_reads_the_words_back() {
    for flags in KEPT {
        let line = continued(flags).replacen("perstack", "printf '%s\\0'", 1);
        let Ok(ran) = std::process::Command::new("bash").args(["-c", &line]).output() else { return };
        let words: Vec<String> =
            ran.stdout.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        assert_eq!(words[2..words.len() - 1], *flags, "{line}");
    }
}
