//! `verify`, the table of an expert with the command that has to succeed before its answers count. `experts` reads it.

use super::error::quoted;
use super::keys::tables::VERIFY;
use super::keys::values::{VERIFY_ROUNDS, VERIFY_TIMEOUT};
use super::reader::{Diagnostics, Node};
use crate::budget::Span;
use crate::expert::VerifyCommand;

/// Reads the table.
pub(super) fn verify(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<VerifyCommand> {
    let table = node.table(diagnostics)?;
    table.warn_unknown(&VERIFY, diagnostics);
    let command = table.required("command", "a shell command", diagnostics);
    let command = command.and_then(|node| command_line(&node, diagnostics));
    let max_rounds = table.get("maxRounds").map(|node| rounds(&node, diagnostics));
    let timeout_ms = table.get("timeout").map(|node| length_of_time(&node, diagnostics));
    let usual = VerifyCommand::new(command?);
    Some(VerifyCommand {
        max_rounds: max_rounds.unwrap_or(Some(usual.max_rounds))?,
        timeout_ms: timeout_ms.unwrap_or(Some(usual.timeout_ms))?,
        ..usual
    })
}

/// The text of a shell command.
pub(super) fn command_line(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<String> {
    let text = node.string(diagnostics)?;
    if text.contains('\0') {
        node.problem("expected a shell command, received a text with a NUL character", diagnostics);
        return None;
    }
    if text.trim().is_empty() {
        node.problem("expected a shell command, received an empty text", diagnostics);
        return None;
    }
    Some(text.to_owned())
}

fn rounds(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<u32> {
    node.whole(&VERIFY_ROUNDS, diagnostics).and_then(|rounds| rounds.try_into().ok())
}

/// Milliseconds, or a length of time in words.
pub(super) fn length_of_time(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<u64> {
    if node.is_number() {
        return node.whole(&VERIFY_TIMEOUT, diagnostics);
    }
    match node.string(diagnostics)?.parse::<Span>() {
        Ok(span) if VERIFY_TIMEOUT.contains(&span.ms()) => Some(span.ms()),
        Ok(span) => {
            let most = Span::from_ms(*VERIFY_TIMEOUT.end());
            node.problem(format!("expected at most {most}, received {}", quoted(&span.to_string())), diagnostics);
            None
        }
        Err(error) => {
            node.problem(error.to_string(), diagnostics);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;
    use super::*;

    fn read(table: &str) -> Result<Option<VerifyCommand>, Vec<String>> {
        let text = format!("[experts.e]\ninstruction = \"i\"\n[experts.e.verify]\n{table}");
        match parse(&text, Path::new("p.toml")) {
            Ok(project) if project.unknown_keys.is_empty() => Ok(project.expert("e").unwrap().verify.clone()),
            Ok(project) => Err(project.unknown_keys),
            Err(error) => Err(error.to_string().lines().map(str::to_owned).collect()),
        }
    }

    #[test]
    fn limits_are_numbers_or_lengths_of_time() {
        let usual = VerifyCommand { command: "make && make check".to_owned(), max_rounds: 3, timeout_ms: 600_000 };
        assert_eq!(read("command = \"make && make check\""), Ok(Some(usual.clone())));
        for timeout in ["\"1m30s\"", "90000", "9e4"] {
            let text = format!("command = \"make && make check\"\nmaxRounds = 1\ntimeout = {timeout}");
            assert_eq!(read(&text), Ok(Some(VerifyCommand { max_rounds: 1, timeout_ms: 90_000, ..usual.clone() })));
        }
    }

    #[test]
    fn mistakes_are_located() {
        for (table, problem) in [
            ("maxRounds = 3", "p.toml:3:12: experts.e.verify.command: missing, expected a shell command"),
            (
                "command = \"\"",
                "p.toml:4:11: experts.e.verify.command: expected a shell command, received an empty text",
            ),
            (
                "command = \" \\n\"",
                "p.toml:4:11: experts.e.verify.command: expected a shell command, received an empty text",
            ),
            ("command = [\"a\"]", "p.toml:4:11: experts.e.verify.command: expected string, received array"),
            (
                "command = \"a\\u0000b\"",
                "p.toml:4:11: experts.e.verify.command: expected a shell command, received a text with a NUL character",
            ),
            (
                "command = \"a\"\nmaxRounds = 0",
                "p.toml:5:13: experts.e.verify.maxRounds: expected a whole number from 1 to 100, received another number",
            ),
            (
                "command = \"a\"\ntimeout = 0",
                "p.toml:5:11: experts.e.verify.timeout: expected a whole number from 1 to 86400000, received another number",
            ),
            (
                "command = \"a\"\ntimeout = \"25h\"",
                "p.toml:5:11: experts.e.verify.timeout: expected at most 24h, received \"25h\"",
            ),
            (
                "command = \"a\"\nmaxRound = 2",
                "p.toml:5:1: experts.e.verify.maxRound: unknown key; did you mean \"maxRounds\"?",
            ),
        ] {
            assert_eq!(read(table), Err(vec![problem.to_owned()]));
        }
        let soon = read("command = \"a\"\ntimeout = \"soon\"").unwrap_err();
        assert!(soon[0].starts_with("p.toml:5:11: experts.e.verify.timeout: "), "{soon:?}");
    }
}
