//! [`BatchReport`]: the results of a batch on standard output or in a file, in the order of the rows, and its progress on
//! standard error. `runner` hands over what there is to write, and goes on meanwhile.

use std::io::{self, IsTerminal as _, Write};

use perstack::budget::Spent;
use perstack::checkpoint::Status;
use perstack::cost::Spend;
use perstack::runtime::{AccountEnd, JobResult, Outcome};
use serde::Serialize;

use crate::cli::Process;
use crate::cli::failure::Failure;
use crate::cli::outcome::{account_line, is_out_of_budget};
use crate::cli::output_file::OutputFile;
use crate::cli::render::{LiveLines, MARGIN, Paint, Stderr, money, shortened, steps, visible};

/// Most characters of an error on the line of a row.
const MAX_ERROR: usize = 300;

/// A line of the results.
#[derive(Serialize)]
struct ResultLine<'a> {
    /// From 1.
    row: u64,
    #[serde(flatten)]
    result: JobResult<'a>,
}

/// The line of a row that no job was run for.
#[derive(Serialize)]
struct NotRunLine<'a> {
    row: u64,
    status: &'static str,
    error: NotRunError<'a>,
}

#[derive(Serialize)]
struct NotRunError<'a> {
    message: &'a str,
}

/// The end of a row.
pub enum RowEnd {
    /// Its job ended, however it did.
    Job(Box<Outcome>),
    /// It has no query, or its job could not be run.
    NotRun(String),
}

/// The numbers of a batch so far.
#[derive(Debug, Clone, Default)]
pub struct BatchCounts {
    /// Rows that came to an end.
    pub ended: u64,
    pub completed: u64,
    /// Of these, those that had completed before.
    pub completed_before: u64,
    /// Those that failed, wait for an answer, or could not be run.
    pub failed: u64,
    /// Those that were stopped, by a signal or by the budget of all.
    pub stopped: u64,
    pub running: usize,
    spend: Option<Spend>,
    account: Option<AccountEnd>,
}

impl BatchCounts {
    /// Counts the end of a row.
    pub fn add(&mut self, end: &RowEnd) {
        self.ended += 1;
        let RowEnd::Job(outcome) = end else {
            self.failed += 1;
            return;
        };
        match outcome.status {
            Status::Completed => {
                self.completed += 1;
                self.completed_before += u64::from(is_from_before(outcome));
            }
            Status::StoppedByCancellation => self.stopped += 1,
            _ if is_out_of_budget(outcome) => self.stopped += 1,
            _ => self.failed += 1,
        }
        self.spend = Some(self.spend.map_or(outcome.spend, |spend| spend.plus(outcome.spend)));
        let spent = |account: &AccountEnd| (account.spent.cost, account.spent.tokens);
        // Rows may come back in another order than that in which the account had them.
        if let Some(account) = &outcome.account
            && self.account.as_ref().is_none_or(|known| spent(known) < spent(account))
        {
            self.account = Some(account.clone());
        }
    }

    /// The sum that is spent of the account of all rows.
    pub fn spent(&self) -> Spent {
        let spent = self.account.as_ref().map(|account| account.spent).unwrap_or_default();
        Spent { tokens: spent.tokens, cost: spent.cost, ..Spent::default() }
    }

    /// All numbers on a line.
    pub fn line(&self) -> String {
        let before = match self.completed_before {
            0 => String::new(),
            before => format!(" ({before} before)"),
        };
        let mut parts = vec![format!("{} completed{before}", self.completed)];
        for (number, what) in [(self.failed, "failed"), (self.stopped, "stopped")] {
            parts.extend((number > 0).then(|| format!("{number} {what}")));
        }
        parts.extend((self.running > 0).then(|| format!("{} running", self.running)));
        match &self.account {
            Some(account) => parts.push(account_line(account)),
            None => parts.extend(self.spend.and_then(money)),
        }
        parts.join(", ")
    }
}

/// Returns true if nothing was done for a job that had completed before.
fn is_from_before(outcome: &Outcome) -> bool {
    outcome.steps == 0 && outcome.duration_ms == 0
}

/// The text to be written at a time.
#[derive(Default)]
pub struct Lines {
    /// Results, whole lines.
    results: String,
    /// Lines on standard error.
    notes: String,
}

/// Writes results and progress.
pub struct BatchReport {
    name: String,
    file: Option<OutputFile>,
    /// Standard output, or the file once there is a result.
    out: Option<Box<dyn Write + Send>>,
    live: Option<LiveLines>,
    quiet: bool,
    paint: Paint,
}

impl BatchReport {
    /// Of the batch of this name.
    pub fn new(process: &Process, name: String, file: Option<OutputFile>, quiet: bool) -> Self {
        // Log lines would go between the lines that are drawn.
        let draws =
            !quiet && process.log.is_none() && io::stderr().is_terminal() && process.variable("TERM") != Some("dumb");
        // Results that a terminal shows go between the lines that are drawn.
        let draws = draws && (file.is_some() || !io::stdout().is_terminal());
        Self {
            name,
            file,
            out: None,
            live: draws.then(|| LiveLines::new(Stderr)),
            quiet,
            paint: Paint::of_stderr(process),
        }
    }

    /// The name of the place of the results, for messages.
    pub fn destination(&self) -> String {
        self.file.as_ref().map_or("standard output".to_owned(), |file| file.shown().to_owned())
    }

    /// Adds the end of a row to what is to be written.
    pub fn add(&self, lines: &mut Lines, row: u64, end: &RowEnd) -> serde_json::Result<()> {
        let (json, note, is_error) = match end {
            RowEnd::Job(outcome) => {
                let result = JobResult::from(&**outcome);
                let why = result.error.map(|error| format!(": {} ({})", error.message, error.name));
                let why = why.or_else(|| outcome.budget.as_ref().map(|reached| format!(": {reached}")));
                let used = match (is_from_before(outcome), money(outcome.spend)) {
                    (true, _) => "before".to_owned(),
                    (false, Some(money)) => format!("{}, {money}", steps(outcome.steps)),
                    (false, None) => steps(outcome.steps),
                };
                let note = match outcome.status {
                    Status::Completed => format!("row {row}: completed ({used})"),
                    status => format!("row {row}: {}{}", status.name(), why.unwrap_or_default()),
                };
                let is_error = !matches!(outcome.status, Status::Completed | Status::StoppedByCancellation);
                (serde_json::to_string(&ResultLine { row, result })?, note, is_error)
            }
            RowEnd::NotRun(why) => {
                let line = NotRunLine { row, status: "notRun", error: NotRunError { message: why } };
                (serde_json::to_string(&line)?, format!("row {row}: not run: {why}"), true)
            }
        };
        lines.results += &json;
        lines.results.push('\n');
        // A terminal has the numbers of all rows, and lines for those that went wrong.
        if is_error || (!self.quiet && self.live.is_none()) {
            lines.notes += &shortened(&visible(&note), MAX_ERROR);
            lines.notes.push('\n');
        }
        Ok(())
    }

    /// Adds a line that is no error to what is to be written; nothing with `--quiet`.
    pub fn note(&self, lines: &mut Lines, text: &str) {
        if !self.quiet {
            lines.notes += text;
            lines.notes.push('\n');
        }
    }

    /// Writes `lines`, and draws the numbers below them.
    ///
    /// # Errors
    /// When the results cannot be written.
    pub fn write(&mut self, lines: &Lines, counts: &BatchCounts) -> io::Result<()> {
        if let Some(live) = &mut self.live {
            let columns = live.size().0.saturating_sub(MARGIN);
            let status = shortened(&format!("{}: {}", self.name, counts.line()), columns);
            live.draw(&lines.notes, &[status]);
        } else {
            // With stderr closed there is no place left to report to.
            let _ = io::stderr().lock().write_all(lines.notes.as_bytes());
        }
        if lines.results.is_empty() {
            return Ok(());
        }
        let out = match &mut self.out {
            Some(out) => out,
            out => out.insert(match &self.file {
                Some(file) => Box::new(file.open_to_rewrite()?),
                None => Box::new(io::stdout()),
            }),
        };
        out.write_all(lines.results.as_bytes())?;
        out.flush()
    }

    /// Writes a line that is no error; nothing with `--quiet`.
    pub fn info(&mut self, text: &str) {
        if !self.quiet {
            self.print(text);
        }
    }

    /// Writes a warning; nothing with `--quiet`.
    pub fn warn(&mut self, text: &str) {
        self.info(&format!("{} {}", self.paint.yellow("warning:"), visible(text)));
    }

    /// Writes a line, `--quiet` or not.
    pub fn print(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Reports a failure that ended the batch.
    pub fn failure(&mut self, failure: &Failure) {
        self.clear();
        failure.print(self.paint);
    }

    /// The numbers of the end; nothing with `--quiet`.
    pub fn end(&mut self, counts: &BatchCounts) {
        let rows = if counts.ended == 1 { "1 row" } else { &format!("{} rows", counts.ended) };
        self.info(&format!("{}: {rows}: {}", self.name, counts.line()));
    }

    fn clear(&mut self) {
        if let Some(live) = &mut self.live {
            live.clear();
        }
    }
}
