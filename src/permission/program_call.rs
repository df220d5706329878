//! [`ProgramCall`]: a program with its arguments, and the programs that it starts in its turn as far as its arguments
//! show them: behind a shell's `-c`, `env`, `timeout`, `xargs`, `find -exec` and their like.
//!
//! The list of such programs has an end: a rule about commands is a fence against mistakes, containment is the wall.

use super::shell_text::{self, ShellCommand};
use super::shell_word::ShellWord;
use super::wrappers::{self, Wrapped};

/// Most programs within programs that are looked into; what lies deeper counts as unreadable.
const DEEPEST: usize = 8;

/// A program with its arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgramCall {
    /// The program first.
    pub(super) words: Vec<ShellWord>,
    /// Variables are set for it, or its input or output goes elsewhere.
    pub(super) is_altered: bool,
    /// It is started in another folder than the workspace.
    pub(super) is_elsewhere: bool,
    /// The programs that it starts in its turn.
    pub(super) inner: Vec<Self>,
    /// It starts what its arguments do not show.
    pub(super) is_opaque: bool,
    /// The option by which it was handed code.
    pub(super) code_option: Option<String>,
}

impl ProgramCall {
    /// Reads a call of a program. `sets_variables`: variables are set for it alone; `is_elsewhere`: it is started in
    /// another folder than the workspace.
    pub fn new(program: &str, args: &[String], sets_variables: bool, is_elsewhere: bool) -> Self {
        let words = std::iter::once(program).chain(args.iter().map(String::as_str)).map(ShellWord::new).collect();
        Self { is_altered: sets_variables, is_elsewhere, ..Self::read(words, 0) }
    }

    fn read(words: Vec<ShellWord>, depth: usize) -> Self {
        let Some(program) = words.first().and_then(ShellWord::known) else {
            return Self { is_opaque: true, words, ..Self::default() };
        };
        let mut call = Self::default();
        let args = words.get(1..).unwrap_or_default();
        match wrappers::wrapped(program, args) {
            Wrapped::Nothing => {}
            _ if depth >= DEEPEST => call.is_opaque = true,
            Wrapped::Commands(commands) => {
                call.inner = commands.into_iter().map(|words| Self::read(words, depth + 1)).collect();
            }
            Wrapped::ShellText { option, text } => {
                call.code_option = option;
                match text.known().and_then(shell_text::commands) {
                    Some(commands) => {
                        call.inner = commands.into_iter().map(|command| Self::of_shell(command, depth + 1)).collect();
                    }
                    None => call.is_opaque = true,
                }
            }
            Wrapped::Code { option } => {
                call.code_option = option;
                call.is_opaque = true;
            }
        }
        call.words = words;
        call
    }

    fn of_shell(command: ShellCommand, depth: usize) -> Self {
        Self { is_altered: command.is_altered, ..Self::read(command.words, depth) }
    }
}
