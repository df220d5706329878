//! [`Diagnostics`]: the problems and warnings found in the files of one configuration, each with its place. The readers
//! of this folder add to it; turning it into an error or printable lines happens once, at the end.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::error::{Problem, position, quoted};
use super::suggest::nearest;
use super::{ConfigError, ExpertMistakes};

/// Most problems, and most warnings, that are shown.
const MAX_SHOWN: usize = 100;

/// The findings so far.
#[derive(Default)]
pub(super) struct Diagnostics {
    /// The files in the order they were read: positions are counted in their texts.
    sources: Vec<Source>,
    problems: Vec<Finding>,
    /// The expert whose table is being read: its problems are its own.
    expert: Option<String>,
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
    /// The expert that it is about, if it concerns no other.
    expert: Option<String>,
}

/// The findings in files that can be used, be it without some of their experts.
pub(super) struct Conclusion {
    /// Ready to print.
    pub(super) warnings: Vec<String>,
    /// Those among the warnings that are about unknown keys.
    pub(super) unknown_keys: Vec<String>,
    pub(super) mistakes: ExpertMistakes,
}

impl Diagnostics {
    /// Adds the file at `path`, which is read now; returns its number in the order of reading.
    pub fn add_source(&mut self, path: &Path, text: &Rc<str>) -> usize {
        self.sources.push(Source { path: path.to_owned(), text: Rc::clone(text) });
        self.sources.len() - 1
    }

    /// Makes the problems that follow those of one expert, or of the whole configuration again.
    pub fn set_expert(&mut self, name: Option<&str>) {
        self.expert = name.map(str::to_owned);
    }

    /// Adds a problem. One of an expert makes that expert unusable, any other the whole configuration.
    pub fn problem(&mut self, spot: SourceSpan, message: impl Into<String>) {
        self.problems.push(Finding { spot, message: message.into(), expert: self.expert.clone() });
    }

    /// Adds a warning, which stops no run.
    pub fn warning(&mut self, spot: SourceSpan, message: impl Into<String>) {
        self.warnings.push(Finding { spot, message: message.into(), expert: None });
    }

    /// Adds a warning about a word that fits nothing: a key without a meaning, or the name of a tool that a skill does not
    /// have. It is a mistake to whoever checks the file.
    pub fn unfit_word<'a>(
        &mut self,
        spot: SourceSpan,
        word: &str,
        known: impl IntoIterator<Item = &'a str>,
        reason: &str,
    ) {
        let hint = self.hint(word, known);
        let finding = Finding { spot, message: format!("{reason}{hint}"), expert: None };
        self.unknown_keys.push(finding.clone());
        self.warnings.push(finding);
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
        let Problem { file, line, column, .. } =
            self.located(Finding { spot: spot.clone(), message: String::new(), expert: None });
        format!("{}:{line}:{column}", file.display())
    }

    /// Concludes the reading: all problems, when one of them is not an expert's own. `file`: the configuration's first.
    pub fn conclude(mut self, file: &Path) -> Result<Conclusion, ConfigError> {
        let problems = std::mem::take(&mut self.problems);
        let is_general = problems.iter().any(|problem| problem.expert.is_none());
        let mistakes = self.mistakes(problems);
        if is_general {
            return Err(mistakes.error(file));
        }
        let (warnings, unknown_keys) = (std::mem::take(&mut self.warnings), std::mem::take(&mut self.unknown_keys));
        let omitted = warnings.len().saturating_sub(MAX_SHOWN);
        let lines = |diagnostics| self.first(diagnostics).iter().map(ToString::to_string).collect();
        let mut warnings: Vec<String> = lines(warnings);
        if omitted > 0 {
            warnings.push(format!("{}: and {omitted} more warnings", file.display()));
        }
        Ok(Conclusion { warnings, unknown_keys: lines(unknown_keys), mistakes })
    }

    fn mistakes(&self, mut problems: Vec<Finding>) -> ExpertMistakes {
        problems.sort_by_key(|finding| (finding.spot.file, finding.spot.at));
        let mut mistakes = ExpertMistakes::default();
        for finding in problems {
            let name = finding.expert.clone().unwrap_or_default();
            if mistakes.problems.len() < MAX_SHOWN {
                mistakes.problems.push((name, self.located(finding)));
            } else {
                mistakes.omitted.push(name);
            }
        }
        mistakes
    }

    /// The first diagnostics, in the order of the files and of their texts.
    fn first(&self, mut diagnostics: Vec<Finding>) -> Vec<Problem> {
        diagnostics.sort_by_key(|finding| (finding.spot.file, finding.spot.at));
        diagnostics.truncate(MAX_SHOWN);
        diagnostics.into_iter().map(|finding| self.located(finding)).collect()
    }

    fn located(&self, Finding { spot, message, .. }: Finding) -> Problem {
        let source = self.sources.get(spot.file);
        let (line, column) = position(source.map(|source| &*source.text).unwrap_or_default(), spot.at);
        let file = source.map(|source| source.path.clone()).unwrap_or_default();
        Problem { file, line, column, path: spot.path, message }
    }
}
