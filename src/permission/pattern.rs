//! [`PermissionPattern`]: a pattern of calls, `tool`, `skill.*`, `exec(git status*)` or `writeTextFile(src/**)`, and the
//! two ways it is compared with a call.
//!
//! A pattern that allows has to fit all of a call; one that asks or denies catches a call of which any part may fit, what
//! cannot be read included.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::CallSubject;
use super::argument::{CallArgument, CallPath};
use super::program_call::ProgramCall;
use super::shell_word::ShellWord;
use crate::tool::{BASE_SKILL, BASE_TOOLS, CONVERSATION_TOOLS, ToolSpec};

/// The tool that takes a program with its arguments.
const PROGRAM_TOOL: &str = "exec";

/// Most bytes of a pattern. Our own choice: far more than a command line that is worth a rule.
const LONGEST: usize = 4096;

/// A pattern of calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PermissionPattern {
    /// As it was written.
    text: String,
    name: Glob,
    argument: Argument,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidPattern {
    message: String,
    /// The name of a tool that was misspelt, and the names that it may have meant.
    pub unknown: Option<(String, &'static [&'static str])>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Argument {
    /// Every call of the tool.
    Any,
    Program(Vec<Glob>),
    Path(PathGlob),
}

/// A word in which `*` means any characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Glob(Vec<GlobPart>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GlobPart {
    Char(char),
    /// Any one character.
    One,
    /// Any characters.
    Star,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PathGlob {
    is_absolute: bool,
    names: Vec<PathName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PathName {
    /// `**`: any number of names.
    Any,
    Name(Glob),
}

impl PermissionPattern {
    /// A measure of how narrow it is: of two, the narrower one has the higher number.
    pub(super) fn width(&self) -> u8 {
        match (&self.argument, self.name.is_plain()) {
            (Argument::Any, _) if self.name.is_star() => 1,
            (Argument::Any, false) => 2,
            (Argument::Any, true) => 3,
            (Argument::Program(_) | Argument::Path(_), _) => 4,
        }
    }

    /// Returns true if it is about some calls of its tool only.
    pub fn has_argument(&self) -> bool {
        self.argument != Argument::Any
    }

    /// Returns true if it names the tool. Loosely, the name that a tool has in its own skill counts too: a tool that is
    /// offered under another name is still what a rule against it means.
    pub fn names(&self, tool: &ToolSpec, own_name: &str, is_loose: bool) -> bool {
        let in_skill = |name: &str| format!("{}.{name}", tool.skill_name);
        self.name.fits(&tool.name)
            || self.name.fits(&in_skill(&tool.name))
            || self.name.fits(&in_skill(own_name))
            || (is_loose && self.name.fits(own_name))
    }

    /// Returns true if the pattern, as one that allows, covers all of the call. `others` are the patterns that may allow
    /// the commands within it.
    pub fn covers(&self, call: &CallSubject<'_>, others: &[&Self]) -> bool {
        if !self.names(call.tool, call.own_name, false) {
            return false;
        }
        match (&self.argument, call.argument) {
            (Argument::Any, _) => true,
            (Argument::Program(words), CallArgument::Program(program)) => covers_program(words, program, others),
            (Argument::Path(glob), CallArgument::Paths { paths, .. }) => {
                !paths.is_empty() && paths.iter().all(|path| glob.covers(path))
            }
            _ => false,
        }
    }

    /// Returns true if the pattern, as one that asks or denies, catches the call.
    pub(super) fn catches(&self, call: &CallSubject<'_>) -> bool {
        if !self.names(call.tool, call.own_name, true) {
            return false;
        }
        match (&self.argument, call.argument) {
            (Argument::Any, _) | (_, CallArgument::Unreadable) => true,
            (Argument::Program(words), CallArgument::Program(program)) => catches_program(words, program),
            (Argument::Path(glob), CallArgument::Paths { paths, is_tree }) => {
                paths.iter().any(|path| glob.catches(path, *is_tree))
            }
            _ => false,
        }
    }

    /// The words of a pattern for programs.
    fn program(&self) -> Option<&[Glob]> {
        match &self.argument {
            Argument::Program(words) => Some(words),
            Argument::Any | Argument::Path(_) => None,
        }
    }
}

/// Returns true if a pattern that allows fits the program with all that it starts in its turn.
fn covers_program(words: &[Glob], program: &ProgramCall, others: &[&PermissionPattern]) -> bool {
    if program.is_altered || !fits_exactly(words, program) {
        return false;
    }
    let is_literal = |word: &str| words.iter().any(|glob| glob.literal().as_deref() == Some(word));
    if words.iter().all(Glob::is_plain) || program.code_option.as_deref().is_some_and(is_literal) {
        // Its author wrote this command, or wrote that code is run.
        return true;
    }
    let is_covered = |inner: &ProgramCall| {
        others.iter().filter_map(|other| other.program()).any(|words| covers_program(words, inner, others))
    };
    !program.is_opaque && program.inner.iter().all(is_covered)
}

/// Returns true if the words are those of the program: one each, and any more behind a last one that ends in `*`.
fn fits_exactly(words: &[Glob], program: &ProgramCall) -> bool {
    let Some((first, rest)) = words.split_first() else { return false };
    let Some(name) = program.words.first().and_then(ShellWord::known) else { return false };
    // A star in a program's name is one name: what lies in other folders is another program.
    let is_same_depth = name.matches('/').count() == first.0.iter().filter(|p| **p == GlobPart::Char('/')).count();
    if !first.fits(name) || !is_same_depth || name.split('/').any(|part| part == "..") {
        return false;
    }
    if program.is_elsewhere && name.contains('/') && !name.starts_with('/') {
        return false;
    }
    let args: Option<Vec<&str>> = program.words.iter().skip(1).map(ShellWord::known).collect();
    let Some(args) = args else { return false };
    let is_open = words.last().is_some_and(Glob::is_open);
    // A star alone stands for no word, too.
    let needed = if rest.last().is_some_and(Glob::is_star) { rest.len() - 1 } else { rest.len() };
    if args.len() < needed || (!is_open && args.len() > rest.len()) {
        return false;
    }
    let mut pairs = rest.iter().zip(&args);
    let open_part = args.iter().skip(rest.len());
    pairs.all(|(glob, word)| glob.fits(word) && (glob.is_plain() || is_harmless(glob, word)))
        && (is_find(name) || !open_part.into_iter().any(|word| is_operator(word)))
}

/// Returns true for the program to which `;` is a word like others.
fn is_find(name: &str) -> bool {
    name.rsplit('/').next() == Some("find")
}

/// Returns true unless a star hides the end of a command: `status*` does not mean `status; rm`.
fn is_harmless(glob: &Glob, word: &str) -> bool {
    if glob.is_star() {
        return !is_operator(word);
    }
    let literal = |part: &GlobPart| matches!(part, GlobPart::Char(c) if is_shell_mark(*c));
    glob.0.iter().any(literal) || !word.contains(is_shell_mark)
}

fn is_shell_mark(c: char) -> bool {
    matches!(c, ';' | '|' | '&' | '<' | '>' | '`' | '$' | '\n' | '\r')
}

/// Returns true for a word that only a shell would understand.
fn is_operator(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| matches!(c, ';' | '|' | '&' | '<' | '>'))
}

/// Returns true if the program, or what it starts in its turn, may be what a pattern asks about or denies.
fn catches_program(words: &[Glob], program: &ProgramCall) -> bool {
    program.is_opaque || fits_loosely(words, program) || program.inner.iter().any(|inner| catches_program(words, inner))
}

/// Returns true if the words may be those of the program, by whatever path it is named.
fn fits_loosely(words: &[Glob], program: &ProgramCall) -> bool {
    let Some((first, rest)) = words.split_first() else { return false };
    let Some(name) = program.words.first().and_then(ShellWord::known) else { return true };
    let base = name.rsplit(['/', '\\']).next().unwrap_or(name).to_lowercase();
    let base = base.strip_suffix(".exe").unwrap_or(&base);
    let lower = first.lower();
    if !(lower.fits(&name.to_lowercase()) || lower.fits(base)) {
        return false;
    }
    // The program alone means all that it does.
    if rest.is_empty() {
        return true;
    }
    let args = program.words.get(1..).unwrap_or_default();
    let is_open = words.last().is_some_and(Glob::is_open);
    let needed = if rest.last().is_some_and(Glob::is_star) { rest.len() - 1 } else { rest.len() };
    let has_length = args.len() >= needed && (is_open || args.len() <= rest.len());
    has_length && rest.iter().zip(args).all(|(glob, word)| word.known().is_none_or(|word| glob.fits(word)))
}

impl Glob {
    /// Returns true for a text that it describes.
    fn fits(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut part, mut at, mut back) = (0, 0, None);
        while at < text.len() {
            match self.0.get(part) {
                Some(GlobPart::Star) => {
                    back = Some((part + 1, at));
                    part += 1;
                }
                Some(GlobPart::One) => (part, at) = (part + 1, at + 1),
                Some(GlobPart::Char(c)) if text.get(at) == Some(c) => (part, at) = (part + 1, at + 1),
                _ => match &mut back {
                    Some((after_star, from)) => {
                        *from += 1;
                        (part, at) = (*after_star, *from);
                    }
                    None => return false,
                },
            }
        }
        self.0.get(part..).unwrap_or_default().iter().all(|part| *part == GlobPart::Star)
    }

    fn is_star(&self) -> bool {
        self.0 == [GlobPart::Star]
    }

    /// Returns true if it ends in a star.
    fn is_open(&self) -> bool {
        self.0.last() == Some(&GlobPart::Star)
    }

    /// Returns true if it describes one text only.
    fn is_plain(&self) -> bool {
        self.0.iter().all(|part| matches!(part, GlobPart::Char(_)))
    }

    /// The one text that it describes.
    fn literal(&self) -> Option<String> {
        let char_of = |part: &GlobPart| match part {
            GlobPart::Char(c) => Some(*c),
            GlobPart::One | GlobPart::Star => None,
        };
        self.0.iter().map(char_of).collect()
    }

    fn lower(&self) -> Self {
        let lower = |part: &GlobPart| match part {
            GlobPart::Char(c) => c.to_lowercase().map(GlobPart::Char).collect(),
            other => vec![*other],
        };
        Self(self.0.iter().flat_map(lower).collect())
    }

    /// A word with `*`, and `?` where that means something.
    fn new(text: &str, has_marks: bool) -> Self {
        let part = |c| match c {
            '*' => GlobPart::Star,
            '?' if has_marks => GlobPart::One,
            c => GlobPart::Char(c),
        };
        Self(text.chars().map(part).collect())
    }
}

impl PathGlob {
    fn covers(&self, path: &CallPath) -> bool {
        path.forms(self.is_absolute)
            .iter()
            .all(|form| form.as_ref().is_some_and(|names| fits_names(&self.names, names)))
    }

    fn catches(&self, path: &CallPath, is_tree: bool) -> bool {
        path.forms(self.is_absolute)
            .iter()
            .flatten()
            .any(|names| fits_names(&self.names, names) || (is_tree && self.lies_beneath(names)))
    }

    /// Returns true if what it describes may lie beneath a folder.
    fn lies_beneath(&self, folder: &[String]) -> bool {
        for (at, name) in folder.iter().enumerate() {
            match self.names.get(at) {
                Some(PathName::Any) => return true,
                Some(PathName::Name(glob)) if glob.fits(name) => {}
                _ => return false,
            }
        }
        true
    }
}

/// Returns true for names that the pattern describes. As [`Glob::fits`] does, it goes back to the last `**` alone: a path of
/// many names costs its length times the pattern's.
fn fits_names(pattern: &[PathName], names: &[String]) -> bool {
    let (mut part, mut at, mut back) = (0, 0, None);
    while let Some(name) = names.get(at) {
        match pattern.get(part) {
            Some(PathName::Any) => {
                back = Some((part + 1, at));
                part += 1;
            }
            Some(PathName::Name(glob)) if glob.fits(name) => (part, at) = (part + 1, at + 1),
            _ => match &mut back {
                Some((after_any, from)) => {
                    *from += 1;
                    (part, at) = (*after_any, *from);
                }
                None => return false,
            },
        }
    }
    pattern.get(part..).unwrap_or_default().iter().all(|part| *part == PathName::Any)
}

impl FromStr for PermissionPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let refused = |message: &str| InvalidPattern { message: message.to_owned(), unknown: None };
        if text.trim().is_empty() {
            return Err(refused("a pattern is empty: write a tool such as exec, skill.*, or exec(git status*)"));
        }
        if text.len() > LONGEST {
            return Err(refused("a pattern is longer than 4096 bytes"));
        }
        let (name, argument) = match text.split_once('(') {
            None if text.contains(')') => return Err(refused("a pattern has a ) without a (")),
            None => (text, None),
            Some((name, rest)) => match rest.strip_suffix(')') {
                Some(argument) => (name, Some(argument)),
                None => return Err(refused("a pattern ends within its (: write the closing ) last")),
            },
        };
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(refused("a pattern begins with the name of a tool, without white space: exec(git status*)"));
        }
        let argument = match argument {
            None => Argument::Any,
            Some(argument) => of_argument(name, argument)?,
        };
        Ok(Self { text: text.to_owned(), name: Glob::new(name, false), argument })
    }
}

/// Returns true for the tools whose arguments patterns look at: all of the base skill that name a program or paths.
fn takes_argument(tool: &str) -> bool {
    BASE_TOOLS.contains(&tool) && !CONVERSATION_TOOLS.contains(&tool) && tool != "healthCheck"
}

fn of_argument(name: &str, argument: &str) -> Result<Argument, InvalidPattern> {
    let refused = |message: &str| InvalidPattern { message: message.to_owned(), unknown: None };
    let tool = name.strip_prefix(BASE_SKILL).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name);
    let argument = argument.trim();
    if !takes_argument(tool) {
        return Err(InvalidPattern {
            message: format!("{name:?} takes no pattern of arguments: only exec and the file tools do"),
            unknown: Some((tool.to_owned(), &BASE_TOOLS)),
        });
    }
    if argument.is_empty() {
        return Err(refused("a pattern has nothing within its (): leave them out for every call of the tool"));
    }
    if tool == PROGRAM_TOOL {
        let words = program_words(argument).map_err(|message| refused(&message))?;
        // `exec(*)` is every call.
        return Ok(if matches!(words.as_slice(), [word] if word.is_star()) {
            Argument::Any
        } else {
            Argument::Program(words)
        });
    }
    if argument.starts_with('~') {
        return Err(refused("a path of a pattern is relative to the workspace, or absolute; ~ has no meaning in it"));
    }
    let is_absolute = argument.starts_with('/');
    let mut names = Vec::new();
    for part in argument.split('/').filter(|part| !part.is_empty() && *part != ".") {
        names.push(match part {
            ".." => return Err(refused("a path of a pattern has no .. in it: name the folder itself")),
            "**" => PathName::Any,
            part if part.contains("**") => {
                return Err(refused("** of a path pattern is a whole name: src/**/x, not src/**x"));
            }
            part => PathName::Name(Glob::new(part, true)),
        });
    }
    Ok(Argument::Path(PathGlob { is_absolute, names }))
}

/// The words of a pattern for programs. Quotes and `\` keep white space and stars as they are.
fn program_words(text: &str) -> Result<Vec<Glob>, String> {
    let mut words = Vec::new();
    let mut word: Option<Glob> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let open = |word: &mut Option<Glob>, part| word.get_or_insert_default().0.push(part);
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match chars.next() {
                Some(c) => open(&mut word, GlobPart::Char(c)),
                None => return Err("a pattern ends with a \\".to_owned()),
            },
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '*') => open(&mut word, GlobPart::Star),
            (_, c) => open(&mut word, GlobPart::Char(c)),
        }
    }
    if quote.is_some() {
        return Err("a pattern ends within its quotes".to_owned());
    }
    words.extend(word);
    Ok(words)
}

impl fmt::Display for PermissionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for PermissionPattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        text.parse()
    }
}

impl From<PermissionPattern> for String {
    fn from(pattern: PermissionPattern) -> Self {
        pattern.text
    }
}
