//! [`Failure`]: an error as it is printed: the message, its cause and what to do, in one to three lines. Made by every
//! command; the exit codes of library errors are chosen here.

use std::error::Error;
use std::io::Write;

use perstack::config::ConfigError;
use perstack::expert::ExpertKey;
use perstack::runtime::{ErrorClass, RunError};

use super::Exit;
use super::render::{Paint, visible, visible_lines};

/// An error on its way to stderr.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
    help: Option<String>,
}

impl Failure {
    /// The command line, the configuration or the environment is not right.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, error: error.into(), help: None }
    }

    /// Any other failure.
    pub fn other(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Failed, error: error.into(), help: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(visible(&help.into()));
        self
    }

    /// Names the expert that it is about.
    #[must_use]
    pub fn in_expert(self, expert: &ExpertKey) -> Self {
        Self { error: self.error.context(format!("cannot list the tools of {expert}")), ..self }
    }

    /// The code that the program ends with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The message, then its causes on one line; a cause that the text before it already contains is left out.
    pub fn lines(&self) -> Vec<String> {
        let message = self.error.to_string();
        let mut shown = message.clone();
        let mut causes: Vec<String> = Vec::new();
        let mut cause: Option<&(dyn Error + 'static)> = self.error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !shown.contains(text.trim()) {
                shown.push_str(&text);
                causes.push(visible_lines(&text).join(" "));
            }
            cause = error.source();
        }
        let mut lines = visible_lines(message.trim());
        if !causes.is_empty() {
            lines.push(format!("because: {}", causes.join(": ")));
        }
        lines
    }

    /// The error with its causes and what to do on one line, for a list or a warning.
    pub fn line(&self) -> String {
        let text = self.lines().join(" ");
        match self.remedy() {
            Some(remedy) => format!("{text}; {remedy}"),
            None => text,
        }
    }

    /// The advice: the command's own, which has its options in it, or else the library's.
    fn remedy(&self) -> Option<String> {
        self.help.clone().or_else(|| perstack::hint(self.error.as_ref()).map(|hint| visible(&hint)))
    }

    /// The mistakes of a configuration file, a line each, if the error is about them.
    pub fn mistakes(&self) -> Option<Vec<String>> {
        let error = self.error.downcast_ref::<ConfigError>()?;
        matches!(error, ConfigError::Invalid { .. }).then(|| self.lines())
    }

    /// Writes the error to stderr.
    pub fn print(&self, paint: Paint) {
        // With stderr closed there is no place left to report to.
        let _ = std::io::stderr().lock().write_all(self.text(paint).as_bytes());
    }

    /// The lines, each with its end.
    pub fn text(&self, paint: Paint) -> String {
        let help = self.remedy().map(|help| format!("{} {help}", paint.cyan("help:")));
        let lines: Vec<String> = self.lines().into_iter().chain(help).collect();
        format!("{} {}\n", paint.red("error:"), lines.join("\n  "))
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let exit = match error.class() {
            ErrorClass::Usage => Exit::Usage,
            ErrorClass::Budget => Exit::Budget,
            ErrorClass::Storage => Exit::Storage,
            ErrorClass::Other => Exit::Failed,
        };
        Self { exit, error: error.into(), help: None }
    }
}

#[cfg(test)]
mod tests {
    use perstack::replay::ReplayError;
    use perstack::store::StoreError;

    use super::*;

    #[test]
    fn an_error_shows_what_why_and_what_to_do() {
        let cause = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let error = anyhow::Error::new(cause).context("cannot read perstack.toml");
        let failure = Failure::usage(error).help("create it, or name another with --config");
        assert_eq!(
            failure.text(Paint::plain()),
            "error: cannot read perstack.toml\n  because: no such file\n  help: create it, or name another with --config\n"
        );
        assert_eq!(failure.exit(), Exit::Usage);
    }

    #[test]
    fn the_librarys_remedy_is_shown_unless_the_command_has_its_own() {
        let failure = || Failure::from(RunError::EmptyQuery);
        let text = "error: the query is empty\n  help: give the expert something to do\n";
        assert_eq!(failure().text(Paint::plain()), text);
        assert_eq!(failure().line(), "the query is empty; give the expert something to do");
        let own = failure().help("perstack run EXPERT QUERY");
        assert_eq!(own.text(Paint::plain()), "error: the query is empty\n  help: perstack run EXPERT QUERY\n");
        let behind = anyhow::Error::new(RunError::EmptyQuery).context("cannot run owl");
        let text = "error: cannot run owl\n  because: the query is empty\n  help: give the expert something to do\n";
        assert_eq!(Failure::other(behind).text(Paint::plain()), text);
    }

    #[test]
    fn a_cause_already_shown_is_not_repeated() {
        let error = anyhow::anyhow!("disk full").context("cannot write log.jsonl: disk full");
        assert_eq!(Failure::other(error).text(Paint::plain()), "error: cannot write log.jsonl: disk full\n");
    }

    #[test]
    fn further_lines_are_indented_and_control_characters_shown() {
        let failure = Failure::other(anyhow::anyhow!("bad key \u{1b}[31m\n at line 3"));
        assert_eq!(failure.text(Paint::plain()), "error: bad key \\x1b[31m\n   at line 3\n");
    }

    #[test]
    fn kinds_of_run_errors_have_their_exit_codes() {
        let exit = |e: RunError| Failure::from(e).exit();
        assert_eq!(exit(RunError::EmptyQuery), Exit::Usage);
        assert_eq!(exit(RunError::CallsInDoubt { tools: vec!["exec".into()] }), Exit::Failed);
        let path = "job.json".into();
        assert_eq!(exit(StoreError::Poisoned { path }.into()), Exit::Storage);
        let path = "tape".into();
        assert_eq!(exit(ReplayError::Broken { path }.into()), Exit::Storage);
        let path = "notes.txt".into();
        assert_eq!(exit(ReplayError::WouldOverwrite { path }.into()), Exit::Usage);
        let what = "there is no job".into();
        assert_eq!(exit(StoreError::NotFound { what, suggestion: None }.into()), Exit::Usage);
    }
}
