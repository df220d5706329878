//! [`ShellWord`]: a word of a command line, as far as it is known without a shell.

/// A word of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellWord {
    text: String,
    is_known: bool,
}

impl ShellWord {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_known: true }
    }

    /// A word that only a shell can work out.
    pub(super) fn unknown() -> Self {
        Self { text: String::new(), is_known: false }
    }

    /// The word; `None` when only a shell can work it out.
    pub(super) fn known(&self) -> Option<&str> {
        self.is_known.then_some(&self.text)
    }
}
