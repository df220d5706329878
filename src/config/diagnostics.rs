//! [`Diagnostics`]: the problems and warnings found in the files of one configuration, each with its place. The readers
//! of this folder add to it; turning it into an error or printable lines happens once, at the end.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use toml::de::DeTable;

use super::ConfigError;
use super::error::{Problem, position, quoted};
use super::reader::{Document, Key};
use super::suggest::nearest;

/// Most problems, and most warnings, that are shown.
const MAX_SHOWN: usize = 100;

/// The findings so far.
#[derive(Default)]
pub(super) struct Diagnostics {
    /// The files in the order they were read: positions are counted in their texts.
    sources: Vec<Source>,
    problems: Vec<Finding>,
    warnings: Vec<Finding>,
    unknown_keys: Vec<Finding>,
}

struct Source {
    path: PathBuf,
    text: Rc<str>,
}

/// A place in one of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceSpan {
    /// The number of the file in the order of reading, from 0.
    pub(super) file: usize,
    /// Bytes from the file's start.
    pub(super) at: usize,
    /// Keys from the top, joined by dots; list items by number from 0.
    pub(super) path: String,
}

#[derive(Clone)]
struct Finding {
    spot: SourceSpan,
    message: String,
}

impl Diagnostics {
    /// Parses the text of the file at `path`. All mistakes of syntax are found; none is quoted, as the text may hold a
    /// secret.
    pub fn document<'a>(&mut self, path: &Path, text: &'a Rc<str>) -> Document<'a> {
        let file = self.sources.len();
        self.sources.push(Source { path: path.to_owned(), text: Rc::clone(text) });
        let (document, errors) = DeTable::parse_recoverable(text);
        let is_sound = errors.is_empty();
        for error in errors {
            let at = error.span().map_or(text.len(), |span| span.start);
            self.problem(SourceSpan { file, at, path: String::new() }, error.message());
        }
        Document { table: document.into_inner(), file, is_sound }
    }

    /// Adds a problem, which makes the configuration unusable.
    pub fn problem(&mut self, spot: SourceSpan, message: impl Into<String>) {
        self.problems.push(Finding { spot, message: message.into() });
    }

    /// Adds a warning, which stops no run.
    pub fn warning(&mut self, spot: SourceSpan, message: impl Into<String>) {
        self.warnings.push(Finding { spot, message: message.into() });
    }

    /// Adds a warning about a key without a meaning here.
    pub fn unknown_key(&mut self, key: &Key<'_>, known: &[&str], reason: &str) {
        let hint = self.hint(key.name, known.iter().copied());
        let finding = Finding { spot: key.spot(), message: format!("{reason}, ignored{hint}") };
        self.unknown_keys.push(finding.clone());
        self.warnings.push(finding);
    }

    /// Adds a warning about a key of older versions, which old files still have.
    pub fn obsolete_key(&mut self, key: &Key<'_>) {
        self.warning(key.spot(), "no longer used, ignored");
    }

    /// `; did you mean "X"?` when a known word is near, otherwise nothing.
    pub fn hint<'a>(&self, word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
        self.hint_with(|| nearest(word, known))
    }

    /// `; did you mean "X"?` when `search` finds a word. Once more was found than is shown, nothing is searched for: a
    /// file of a million mistakes must not cost a million searches.
    pub fn hint_with<'a>(&self, search: impl FnOnce() -> Option<&'a str>) -> String {
        if self.problems.len().max(self.warnings.len()) > MAX_SHOWN {
            return String::new();
        }
        search().map(|near| format!("; did you mean {}?", quoted(near))).unwrap_or_default()
    }

    /// The place as `file:line:column`.
    pub fn place(&self, spot: &SourceSpan) -> String {
        let Problem { file, line, column, .. } = self.located(Finding { spot: spot.clone(), message: String::new() });
        format!("{}:{line}:{column}", file.display())
    }

    /// Returns the warnings as lines, and separately those about unknown keys; or all problems, when there are any.
    /// `file`: the configuration's first file.
    pub fn conclude(mut self, file: &Path) -> Result<(Vec<String>, Vec<String>), ConfigError> {
        let problems = std::mem::take(&mut self.problems);
        if !problems.is_empty() {
            let omitted = problems.len().saturating_sub(MAX_SHOWN);
            return Err(ConfigError::Invalid { path: file.to_owned(), problems: self.first(problems), omitted });
        }
        let (warnings, unknown_keys) = (std::mem::take(&mut self.warnings), std::mem::take(&mut self.unknown_keys));
        let omitted = warnings.len().saturating_sub(MAX_SHOWN);
        let lines = |diagnostics| self.first(diagnostics).iter().map(ToString::to_string).collect();
        let mut warnings: Vec<String> = lines(warnings);
        if omitted > 0 {
            warnings.push(format!("{}: and {omitted} more warnings", file.display()));
        }
        Ok((warnings, lines(unknown_keys)))
    }

    /// The first diagnostics, in the order of the files and of their texts.
    fn first(&self, mut diagnostics: Vec<Finding>) -> Vec<Problem> {
        diagnostics.sort_by_key(|finding| (finding.spot.file, finding.spot.at));
        diagnostics.truncate(MAX_SHOWN);
        diagnostics.into_iter().map(|finding| self.located(finding)).collect()
    }

    fn located(&self, Finding { spot, message }: Finding) -> Problem {
        let source = self.sources.get(spot.file);
        let (line, column) = position(source.map(|source| &*source.text).unwrap_or_default(), spot.at);
        let file = source.map(|source| source.path.clone()).unwrap_or_default();
        Problem { file, line, column, path: spot.path, message }
    }
}
