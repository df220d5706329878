//! [`QueryInput`]: the query of `run` and `resume` with all that is sent along: an argument, the text on stdin, and files.
//!
//! Called by the two commands after everything else about them was checked. Reading stdin is left to [`stdin`], the
//! question whose stdin it is to [`shared`], files to [`file`].

mod file;
mod shared;
mod stdin;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use perstack::content::Content;

use self::file::Attachment;
use self::stdin::{StdinError, Wait};
use super::command_line::CommandLine;
use super::failure::Failure;
use super::render::visible;

/// Most bytes of a query with all text that is sent along: far beyond any context window.
const MAX_QUERY: usize = 16 * 1024 * 1024;

/// The word that stands for stdin.
const STDIN: &str = "-";

/// The options of what is sent along with the query.
#[derive(Debug, Clone, Default, Args)]
pub struct InputArgs {
    /// Send this file along with the query (repeatable): a text, an image (PNG, JPEG, GIF, WebP) or a PDF
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Leave standard input alone. Without it, what is piped in is sent behind the query
    #[arg(long)]
    no_stdin: bool,
    /// Standard input and the files come from strangers: once read, only tools that read, or those that the expert's
    /// afterUntrusted names, may be called
    #[arg(long)]
    pub untrusted: bool,
}

impl InputArgs {
    /// Adds the flags that were given.
    pub fn add_to(&self, words: &mut CommandLine) {
        for file in &self.files {
            words.path("--file", Some(file));
        }
        words.switch("--no-stdin", self.no_stdin).switch("--untrusted", self.untrusted);
    }

    /// The folders of the files that are sent along; paths begin at `folder`.
    pub fn folders(&self, folder: &Path) -> Vec<PathBuf> {
        self.files.iter().filter_map(|file| folder.join(file).parent().map(Path::to_owned)).collect()
    }
}

/// The input of a job: its query, with all text that is sent along, and the images and PDF files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryInput {
    pub query: String,
    pub attached: Vec<Content>,
}

/// A query with these files, without standard input and without a word about it.
///
/// # Errors
/// As [`InputSources::required`].
pub fn query_with_files(query: &str, files: &[PathBuf], folder: &Path) -> Result<QueryInput, Failure> {
    let args = InputArgs { no_stdin: true, ..InputArgs::default() };
    let sources = InputSources { query: None, with_stdin: false, is_answer: false, args: &args, folder, quiet: true };
    let files = files.iter().map(|path| file::read(folder, path)).collect::<Result<Vec<_>, Failure>>()?;
    sources.with_files(not_blank(query.to_owned())?, files)
}

/// The places that the input comes from, as the command line names them.
pub struct InputSources<'a> {
    /// The query's argument.
    pub query: Option<&'a str>,
    /// `-` stands beside the query.
    pub with_stdin: bool,
    /// The query answers a call: it is sent as it is, unless `-` stands beside it.
    pub is_answer: bool,
    pub args: &'a InputArgs,
    /// The folder that paths are relative to.
    pub folder: &'a Path,
    /// No lines about what is awaited and sent along.
    pub quiet: bool,
}

/// The reason why there is no query.
#[derive(Debug, thiserror::Error)]
enum NoQuery {
    #[error("the query is missing")]
    Missing,
    #[error("the query is empty")]
    Empty,
    #[error("the query with all that is sent along is longer than {} MiB", MAX_QUERY / 1024 / 1024)]
    TooLong,
    #[error("--file goes along with a query, and there is none")]
    OfFiles,
    #[error("`-` asks for standard input, and --no-stdin leaves it alone")]
    Contradiction,
    #[error("--untrusted is about standard input and files, and there is neither")]
    NothingUntrusted,
}

impl From<NoQuery> for Failure {
    fn from(error: NoQuery) -> Self {
        let help = match error {
            NoQuery::TooLong => "send less, or put it into files that the expert reads",
            NoQuery::Contradiction => "leave one of them out",
            NoQuery::NothingUntrusted => "pipe the text in, or name its file with --file",
            NoQuery::OfFiles => "name the job first: perstack resume latest QUERY --file PATH",
            NoQuery::Missing | NoQuery::Empty => stdin::HELP,
        };
        Self::usage(error).help(help)
    }
}

impl InputSources<'_> {
    /// The input of a command that needs a query: the argument, or stdin when that is `-` or absent.
    ///
    /// # Errors
    /// When there is no query: absent on a terminal, blank, or stdin gave none in time; and when a file cannot be sent.
    pub fn required(&self) -> Result<QueryInput, Failure> {
        if self.args.no_stdin && (self.with_stdin || self.query == Some(STDIN)) {
            return Err(NoQuery::Contradiction.into());
        }
        self.check_untrusted()?;
        // Before stdin is waited for, so that a misspelt path is reported at once.
        let files = self.args.files.iter().map(|path| file::read(self.folder, path));
        let files = files.collect::<Result<Vec<_>, Failure>>()?;
        let query = match self.query {
            Some(STDIN) => self.query_on_stdin(Wait::for_query(stdin::ASKED_SILENCE))?,
            Some(text) => self.beside(&not_blank(text.to_owned())?)?,
            None if self.args.no_stdin || io::stdin().is_terminal() => return Err(NoQuery::Missing.into()),
            None => self.query_on_stdin(Wait::for_query(stdin::ASSUMED_SILENCE))?,
        };
        self.with_files(query, files)
    }

    /// The input of a command that can do without a query: stdin is looked at only beside one, or for `-`.
    ///
    /// # Errors
    /// As [`InputSources::required`], for a query that is there; files without one.
    pub fn optional(&self) -> Result<Option<QueryInput>, Failure> {
        if self.query.is_none() && !self.args.files.is_empty() {
            return Err(NoQuery::OfFiles.into());
        }
        if self.query.is_none() {
            self.check_untrusted()?;
        }
        self.query.map(|_| self.required()).transpose()
    }

    /// Refuses a mark for a text that cannot come.
    fn check_untrusted(&self) -> Result<(), NoQuery> {
        let has_stdin = matches!(self.query, Some(STDIN)) || self.with_stdin;
        let may_have_stdin = has_stdin || (!self.args.no_stdin && !io::stdin().is_terminal());
        let is_empty = self.args.files.is_empty() && !may_have_stdin;
        if self.args.untrusted && is_empty { Err(NoQuery::NothingUntrusted) } else { Ok(()) }
    }

    fn query_on_stdin(&self, wait: Wait) -> Result<String, Failure> {
        let text = stdin::read(wait, &|line| self.print(line))?.unwrap_or_default();
        self.report_mended(text.mended, "the query on standard input");
        Ok(not_blank(text.text)?)
    }

    /// The query with what is piped in beside it.
    fn beside(&self, query: &str) -> Result<String, Failure> {
        let wait = if self.with_stdin {
            Wait::without_limit()
        } else if self.args.no_stdin || self.is_answer || io::stdin().is_terminal() {
            // An answer may be an object that is read, which nothing may be added to.
            return Ok(query.to_owned());
        } else if shared::is_anothers() {
            if !stdin::is_at_end() {
                self.print(
                    "standard input is left to the shell, which reads it too; `-` behind the query sends it along",
                );
            }
            return Ok(query.to_owned());
        } else {
            Wait::beside_query()
        };
        let Some(text) = stdin::read(wait, &|line| self.print(line))? else {
            let silence = stdin::ASSUMED_SILENCE.as_secs();
            self.print(&format!("went on without standard input: silent for {silence} s"));
            return Ok(query.to_owned());
        };
        if text.text.trim().is_empty() {
            return Ok(query.to_owned());
        }
        let (lines, size) = (counted(text.text.lines().count(), "line"), counted(text.text.len(), "byte"));
        self.print(&format!("sent along: standard input ({lines}, {size})"));
        self.report_mended(text.mended, "standard input");
        Ok(joined(query, &text.text, "what was piped in on standard input"))
    }

    /// The query with the files' texts behind it, and the other files beside it. Beside an answer, which may be an object
    /// that is read, all files are.
    fn with_files(&self, mut query: String, files: Vec<Attachment>) -> Result<QueryInput, Failure> {
        let mut attached = Vec::new();
        for file in files {
            self.print(&format!("sent along: {file}"));
            match file {
                Attachment::Text { path, text, mended } => {
                    self.report_mended(mended, &path);
                    let origin = format!("the file {path}");
                    if self.is_answer {
                        attached.push(Content::text(marked(&text, &origin)));
                    } else {
                        query = joined(&query, &text, &origin);
                    }
                }
                Attachment::Media { content, .. } => attached.push(content),
            }
        }
        if query.len() > MAX_QUERY {
            return Err(NoQuery::TooLong.into());
        }
        Ok(QueryInput { query, attached })
    }

    fn report_mended(&self, mended: usize, subject: &str) {
        if mended > 0 {
            let places = counted(mended, "place");
            self.print(&format!("{subject} is not all UTF-8 text: {places} replaced by \u{fffd}"));
        }
    }

    /// Writes a line to stderr.
    fn print(&self, line: &str) {
        if !self.quiet {
            // With stderr closed there is no place left to report to.
            let _ = writeln!(io::stderr().lock(), "{}", visible(line));
        }
    }
}

fn not_blank(text: String) -> Result<String, NoQuery> {
    if text.trim().is_empty() { Err(NoQuery::Empty) } else { Ok(text) }
}

/// A query with a text behind it, marked as what it is.
fn joined(query: &str, text: &str, origin: &str) -> String {
    format!("{query}\n\n{}", marked(text, origin))
}

/// A text with the mark of what it is. The mark counts lines and comes last, so that nothing in the text can pass for
/// the query.
fn marked(text: &str, origin: &str) -> String {
    match text.lines().count() {
        1 => format!("{text}\n\n[The line above is {origin}.]"),
        count => format!("{text}\n\n[The {count} lines above are {origin}.]"),
    }
}

/// A number with its unit: `1 line`, `2 lines`.
fn counted(count: usize, unit: &str) -> String {
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A text, and the number of places in it that were no UTF-8 and are replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct MendedText {
    text: String,
    mended: usize,
}

impl MendedText {
    /// The text of `bytes`, without the line ends behind it, which a shell's `echo` and editors add; `None` for bytes
    /// that are no text in any encoding that texts are kept in here.
    fn new(bytes: Vec<u8>) -> Option<Self> {
        if bytes.contains(&0) {
            return None;
        }
        let (mut text, mended) = match String::from_utf8(bytes) {
            Ok(text) => (text, 0),
            Err(error) => {
                let mended = error.as_bytes().utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count();
                (String::from_utf8_lossy(error.as_bytes()).into_owned(), mended)
            }
        };
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        if text.starts_with('\u{feff}') {
            text.remove(0);
        }
        Some(Self { text, mended })
    }
}

impl From<StdinError> for Failure {
    fn from(error: StdinError) -> Self {
        let help = match error {
            StdinError::NotText => "send images and PDF files with --file",
            _ => stdin::HELP,
        };
        Self::usage(error).help(help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources<'a>(query: Option<&'a str>, args: &'a InputArgs) -> InputSources<'a> {
        InputSources { query, with_stdin: false, is_answer: false, args, folder: Path::new("/"), quiet: true }
    }

    #[test]
    fn blank_queries_are_refused() {
        let args = InputArgs { no_stdin: true, ..InputArgs::default() };
        assert!(sources(Some(" \n\t"), &args).required().is_err());
        assert!(sources(Some(""), &args).required().is_err());
        assert!(sources(None, &args).required().is_err());
        let input = QueryInput { query: "why?".to_owned(), attached: Vec::new() };
        assert_eq!(sources(Some("why?"), &args).required().ok(), Some(input));
        assert!(matches!(sources(None, &args).optional(), Ok(None)));
    }

    #[test]
    fn asking_for_stdin_and_leaving_it_alone_is_a_contradiction() {
        let args = InputArgs { no_stdin: true, ..InputArgs::default() };
        assert!(sources(Some("-"), &args).required().is_err());
        assert!(InputSources { with_stdin: true, ..sources(Some("q"), &args) }.required().is_err());
    }

    #[test]
    fn joined_text_is_marked_behind_it() {
        assert_eq!(joined("Why?", "a\nb", "owls"), "Why?\n\na\nb\n\n[The 2 lines above are owls.]");
        assert_eq!(joined("Why?", "a", "owls"), "Why?\n\na\n\n[The line above is owls.]");
    }

    #[test]
    fn text_that_is_not_unicode_is_mended_and_bytes_that_are_no_text_are_not() {
        let text = |bytes: &[u8]| MendedText::new(bytes.to_vec()).map(|it| (it.text, it.mended));
        assert_eq!(text(b"a\nb\r\n"), Some(("a\nb".to_owned(), 0)));
        assert_eq!(text(b"Gr\xfc\xdfe"), Some(("Gr\u{fffd}\u{fffd}e".to_owned(), 2)));
        assert_eq!(text("\u{feff}owl".as_bytes()), Some(("owl".to_owned(), 0)));
        assert_eq!(text(b"\x7fELF\0\0"), None);
    }
}
