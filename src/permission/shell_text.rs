//! [`commands`]: the commands in a text for a POSIX shell, as far as it can be read without one.

use super::shell_word::ShellWord;

/// A command of a shell.
pub(super) struct ShellCommand {
    pub words: Vec<ShellWord>,
    /// Variables are set for it, or its input or output goes elsewhere.
    pub is_altered: bool,
}

/// Words in front of a command that are none of its own.
const BEFORE: [&str; 11] = ["if", "then", "else", "elif", "do", "while", "until", "!", "{", "}", "time"];
/// Words that end something, or list what is no command.
const ALONE: [&str; 5] = ["fi", "done", "for", "select", "esac"];
/// Commands whose effect on the rest of the text cannot be read.
const UNREADABLE: [&str; 9] = ["eval", "source", ".", "case", "function", "trap", "alias", "coproc", "exec"];

/// A part of a shell's text.
enum Token {
    Word(ShellWord),
    /// The end of a command.
    End,
    /// A redirection; the word behind it is none of the command's.
    Redirection,
}

/// The commands of the text; `None` when it cannot be read: it substitutes commands, or defines what others mean.
pub(super) fn commands(text: &str) -> Option<Vec<ShellCommand>> {
    let mut commands = Vec::new();
    let mut words = Vec::new();
    let mut is_altered = false;
    let mut skips_next = false;
    for token in tokens(text)?.into_iter().chain([Token::End]) {
        match token {
            Token::Word(_) if std::mem::take(&mut skips_next) => {}
            Token::Word(word) => words.push(word),
            Token::Redirection => (is_altered, skips_next) = (true, true),
            Token::End => {
                let altered = std::mem::take(&mut is_altered);
                commands.extend(command(std::mem::take(&mut words), altered)?);
            }
        }
    }
    Some(commands)
}

/// The command that these words are, if they are one; `None` when it cannot be read.
fn command(words: Vec<ShellWord>, mut is_altered: bool) -> Option<Vec<ShellCommand>> {
    let mut words = std::collections::VecDeque::from(words);
    while let Some(first) = words.front() {
        let Some(text) = first.known() else { break };
        if UNREADABLE.contains(&text) {
            return None;
        }
        if ALONE.contains(&text) {
            return Some(alone(is_altered));
        }
        if is_assignment(text) {
            is_altered = true;
        } else if !BEFORE.contains(&text) {
            break;
        }
        words.pop_front();
    }
    let command = ShellCommand { words: words.into(), is_altered };
    Some(if command.words.is_empty() { alone(command.is_altered) } else { vec![command] })
}

/// An altered command without a name, for words that are none and yet write a file or set a variable for those behind them.
fn alone(is_altered: bool) -> Vec<ShellCommand> {
    let nameless = ShellCommand { words: vec![ShellWord::new("")], is_altered: true };
    if is_altered { vec![nameless] } else { Vec::new() }
}

/// Returns true for `NAME=value`.
fn is_assignment(text: &str) -> bool {
    let Some((name, _)) = text.split_once('=') else { return false };
    let name = name.strip_suffix('+').unwrap_or(name);
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The text cut into words and marks; `None` when it cannot be read.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut word: Option<(String, bool)> = None;
    let mut chars = text.chars().peekable();
    let end_word = |word: &mut Option<(String, bool)>, tokens: &mut Vec<Token>| {
        if let Some((text, is_known)) = word.take() {
            tokens.push(Token::Word(if is_known { ShellWord::new(text) } else { ShellWord::unknown() }));
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\n') => {}
                next => word.get_or_insert_with(fresh).0.extend(next),
            },
            '\'' => {
                let slot = word.get_or_insert_with(fresh);
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => slot.0.push(c),
                    }
                }
            }
            '"' => {
                let slot = word.get_or_insert_with(fresh);
                loop {
                    match chars.next()? {
                        '"' => break,
                        '`' => return None,
                        '$' => variable(&mut chars, slot)?,
                        '\\' => slot.0.push(chars.next()?),
                        c => slot.0.push(c),
                    }
                }
            }
            '$' => variable(&mut chars, word.get_or_insert_with(fresh))?,
            '`' => return None,
            '#' if word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' | '&' | '|' | '(' | ')' | '\n' => {
                // `&>` sends output elsewhere.
                let is_redirection = c == '&' && chars.peek() == Some(&'>');
                end_word(&mut word, &mut tokens);
                if !is_redirection {
                    tokens.push(Token::End);
                }
            }
            '<' | '>' => {
                // A number in front is a descriptor.
                if word.as_ref().is_some_and(|(text, _)| text.chars().all(|c| c.is_ascii_digit())) {
                    word = None;
                }
                end_word(&mut word, &mut tokens);
                if chars.peek() == Some(&'(') || (c == '<' && chars.peek() == Some(&'<')) {
                    return None;
                }
                while chars.next_if(|c| matches!(c, '<' | '>' | '&' | '|')).is_some() {}
                tokens.push(Token::Redirection);
            }
            c if c.is_whitespace() => end_word(&mut word, &mut tokens),
            c => {
                let slot = word.get_or_insert_with(fresh);
                // Names of files take its place.
                slot.1 &= !matches!(c, '*' | '?' | '[' | '{' | '~');
                slot.0.push(c);
            }
        }
    }
    end_word(&mut word, &mut tokens);
    Some(tokens)
}

fn fresh() -> (String, bool) {
    (String::new(), true)
}

/// Reads what follows a `$`: the value of a variable is not known; what a command prints cannot be read.
fn variable(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, word: &mut (String, bool)) -> Option<()> {
    match chars.peek() {
        Some('(' | '\'' | '"') => return None,
        Some('{') => {
            for c in chars.by_ref() {
                match c {
                    '}' => break,
                    '$' | '`' | '(' => return None,
                    _ => {}
                }
            }
        }
        Some(c) if c.is_alphanumeric() || matches!(c, '_' | '?' | '@' | '*' | '#' | '!' | '$' | '-') => {
            while chars.next_if(|c| c.is_alphanumeric() || matches!(c, '_' | '?' | '@' | '*' | '#' | '!')).is_some() {}
        }
        _ => {
            word.0.push('$');
            return Some(());
        }
    }
    word.1 = false;
    Some(())
}
