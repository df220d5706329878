//! Text made fit to be shown: without characters that act on a terminal, short, and in colour where that is wanted.

use std::borrow::Cow;
use std::io::IsTerminal;

use clap::ColorChoice;
use perstack::cost::{Cost, Spend};

use super::unseen::{spelt, spelt_json};
use crate::cli::Process;

/// A choice of colours or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// No colours.
    pub const fn plain() -> Self {
        Self { on: false }
    }

    /// Colours on stderr: `--color` decides, else `NO_COLOR` forbids them, `CLICOLOR_FORCE` demands them, else a terminal has them.
    pub fn of_stderr(process: &Process) -> Self {
        Self::new(process, std::io::stderr().is_terminal())
    }

    /// Colours on stdout, by the same rules.
    pub fn of_stdout(process: &Process) -> Self {
        Self::new(process, std::io::stdout().is_terminal())
    }

    fn new(process: &Process, is_terminal: bool) -> Self {
        match process.color {
            ColorChoice::Always => return Self { on: true },
            ColorChoice::Never => return Self { on: false },
            ColorChoice::Auto => {}
        }
        let set = |name| process.variable(name).is_some_and(|value| value != "0");
        let refused = process.variable("CLICOLOR") == Some("0") || process.variable("TERM") == Some("dumb");
        Self { on: process.variable("NO_COLOR").is_none() && (set("CLICOLOR_FORCE") || (is_terminal && !refused)) }
    }

    /// Returns true if colours are written.
    pub fn is_on(self) -> bool {
        self.on
    }

    /// For errors.
    pub fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    /// For successes.
    pub fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    /// For warnings.
    pub fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    /// For hints and names.
    pub fn cyan(self, text: &str) -> String {
        self.with("36", text)
    }

    /// For details.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `text` on one line: white space becomes single spaces, characters that cannot be seen are escapes.
pub fn visible(text: &str) -> String {
    text.split_whitespace().map(spelt).collect::<Vec<_>>().join(" ")
}

/// The lines of `text`, with characters that cannot be seen as escapes.
pub fn visible_lines(text: &str) -> Vec<String> {
    text.lines().map(|line| spelt(&line.replace('\t', "    "))).collect()
}

/// JSON for stdout: on a terminal, characters that act on it are JSON's escapes; a file or pipe gets the text as it is.
pub fn json_for(json: &str, is_terminal: bool) -> Cow<'_, str> {
    if is_terminal { Cow::Owned(spelt_json(json)) } else { Cow::Borrowed(json) }
}

/// At most `width` characters, the last an ellipsis when something was left out.
pub fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

/// The amount spent; none if it is zero or unknown.
pub fn money(spend: Spend) -> Option<String> {
    (spend.cost > Cost::ZERO).then(|| spend.to_string())
}

/// A number of tokens in a few characters: `812`, `12.3k`, `1.2M`.
pub fn count(tokens: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", tokens / unit, tokens % unit / (unit / 10));
    match tokens {
        0..1_000 => tokens.to_string(),
        1_000..1_000_000 => tenths(1_000) + "k",
        _ => tenths(1_000_000) + "M",
    }
}

/// Milliseconds in a few characters: `80 ms`, `3.2 s`, `2 min 5 s`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// `1 step`, `2 steps`.
pub fn steps(count: u64) -> String {
    if count == 1 { "1 step".to_owned() } else { format!("{count} steps") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_act_on_a_terminal_are_spelt_out() {
        assert_eq!(visible("a\x1b[2Jb\u{7}\u{9b}\u{202e}c\n\t d"), r"a\x1b[2Jb\x07\u{9b}\u{202e}c d");
        assert_eq!(visible_lines("a\n\tb\x08\r\n"), ["a", "    b\\x08"]);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0, 999, 1_000, 12_345, 1_250_000].map(count), ["0", "999", "1.0k", "12.3k", "1.2M"]);
        assert_eq!([80, 3_249, 125_000].map(duration), ["80 ms", "3.2 s", "2 min 5 s"]);
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("äbc def", 5), "äbc…");
    }

    #[test]
    fn colours_follow_the_variables_before_the_terminal() {
        let colored = |color, pairs: &[(&str, &str)], is_terminal| {
            let variables = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            Paint::new(&Process { variables, folder: "/".into(), color, log: None }, is_terminal).is_on()
        };
        let paint = |pairs: &[(&str, &str)], is_terminal| colored(ColorChoice::Auto, pairs, is_terminal);
        assert!(paint(&[], true));
        assert!(!paint(&[], false));
        assert!(!paint(&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], true));
        assert!(paint(&[("CLICOLOR_FORCE", "1")], false));
        assert!(!paint(&[("CLICOLOR_FORCE", "0")], false));
        assert!(!paint(&[("TERM", "dumb")], true));
        assert!(colored(ColorChoice::Always, &[("NO_COLOR", "1")], false));
        assert!(!colored(ColorChoice::Never, &[("CLICOLOR_FORCE", "1")], true));
    }
}
