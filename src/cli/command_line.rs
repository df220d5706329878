//! Command lines made for a person to copy: the flags that were given, as words, quoted for a shell.

use std::path::Path;

/// A command line in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine(Vec<String>);

impl CommandLine {
    /// Starts with these words.
    pub fn new<const N: usize>(words: [&str; N]) -> Self {
        Self(words.into_iter().map(str::to_owned).collect())
    }

    /// The words, for a process that is started.
    #[cfg(feature = "fleet")]
    pub fn into_words(self) -> Vec<String> {
        self.0
    }

    /// Adds a word.
    pub fn word(&mut self, word: impl Into<String>) -> &mut Self {
        self.0.push(word.into());
        self
    }

    /// Adds a flag without a value, if it was given.
    pub fn switch(&mut self, flag: &str, given: bool) -> &mut Self {
        if given {
            self.word(flag);
        }
        self
    }

    /// Adds a flag with its value, if it was given.
    pub fn value(&mut self, flag: &str, value: Option<impl ToString>) -> &mut Self {
        if let Some(value) = value {
            self.word(flag).word(value.to_string());
        }
        self
    }

    /// Adds a flag with a path, if it was given.
    pub fn path(&mut self, flag: &str, path: Option<&Path>) -> &mut Self {
        self.value(flag, path.map(Path::display))
    }
}

/// The line, safe to paste into a POSIX shell.
impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, word) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&quoted(word))?;
        }
        Ok(())
    }
}

/// A word as a shell reads it back. Control characters would act on the terminal that the line is shown on, so a word
/// that has any is written in the `$'…'` form.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if !word.chars().any(char::is_control) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let mut text = "$'".to_owned();
    for c in word.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\'' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                text.extend(c.encode_utf8(&mut bytes).bytes().map(|b| format!("\\x{b:02x}")));
            }
            c => text.push(c),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        let mut words = CommandLine::new(["perstack", "run"]);
        words.word("@team/reader@1.0.0").word("what's new?").word("").word("$(rm -rf .)");
        assert_eq!(words.to_string(), r"perstack run @team/reader@1.0.0 'what'\''s new?' '' '$(rm -rf .)'");
    }

    #[test]
    fn control_characters_are_spelt_out() {
        let mut words = CommandLine::default();
        words.word("a\n\u{1b}[31m'\\\u{9b}é");
        assert_eq!(words.to_string(), r"$'a\n\x1b[31m\'\\\xc2\x9bé'");
    }

    #[test]
    fn flags_that_were_not_given_leave_no_trace() {
        let mut words = CommandLine::new(["perstack"]);
        words.switch("--quiet", false).value("--model", None::<&str>).path("--config", Some(Path::new("a b.toml")));
        assert_eq!(words.to_string(), "perstack --config 'a b.toml'");
    }
}
