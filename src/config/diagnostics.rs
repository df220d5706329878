//! What is wrong, or odd, about the files of one configuration, each with its place.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use toml::de::DeTable;

use super::ConfigError;
use super::error::{Problem, position, quoted};
use super::reader::{Document, Key};
use super::suggest::nearest;

/// Problems, and warnings, that are shown at most.
const MAX_SHOWN: usize = 100;

/// What was found wrong so far.
#[derive(Default)]
pub(super) struct Diagnostics {
    /// In the order they were read, for lines and columns.
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
    /// Which of the files that were read, from 0.
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
    /// Parses the text of the file at `path`. All mistakes of syntax are found, and none is quoted.
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

    /// Notes what is wrong.
    pub fn problem(&mut self, spot: SourceSpan, message: impl Into<String>) {
        self.problems.push(Finding { spot, message: message.into() });
    }

    /// Notes what is odd.
    pub fn warning(&mut self, spot: SourceSpan, message: impl Into<String>) {
        self.warnings.push(Finding { spot, message: message.into() });
    }

    /// Notes a key that means nothing here.
    pub fn unknown_key(&mut self, key: &Key<'_>, known: &[&str], why: &str) {
        let hint = self.hint(key.name, known.iter().copied());
        let finding = Finding { spot: key.spot(), message: format!("{why}, ignored{hint}") };
        self.unknown_keys.push(finding.clone());
        self.warnings.push(finding);
    }

    /// Notes a key that once meant something, so that old files have it.
    pub fn obsolete_key(&mut self, key: &Key<'_>) {
        self.warning(key.spot(), "no longer used, ignored");
    }

    /// `; did you mean "X"?`, when a known word is near.
    pub fn hint<'a>(&self, word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
        self.hint_with(|| nearest(word, known))
    }

    /// `; did you mean "X"?`, when `search` finds one. It is not asked once more was found than is shown, so that a
    /// file with endless mistakes costs no endless search.
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

    /// The warnings as lines, and those of them that are about unknown keys; or all problems, when there are any.
    /// `file`: the one that everything began with.
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
