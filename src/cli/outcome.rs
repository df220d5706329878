//! [`JobReporter`]: the report of a job's end on stderr, its exit code, and the command that continues it. Called by
//! `job_runner`; the result on stdout is left to `render::result`.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use clap::ColorChoice;
use perstack::budget::{Charge, Reached, Span, Spent};
use perstack::checkpoint::{CheckpointHead, Status};
use perstack::cost::Cost;
use perstack::generation::FailureKind;
use perstack::id::ToolCallId;
use perstack::runtime::{AccountEnd, Outcome, RunError};
use perstack::setting::DEFAULT_MAX_STEPS;
use perstack::store::StoreError;

use super::Exit;
use super::command_line::CommandLine;
use super::failure::Failure;
use super::job_summary::{self, JobSummary};
use super::options::JobArgs;
use super::prompt::Questions;
use super::render::{Screen, count, money, steps, visible};
use super::signals::Signal;

/// The time that the terminal has to be cleared when the program ends at once.
pub const FAREWELL: Duration = Duration::from_millis(500);

/// The time of a job from which on its end rings the bell.
const RINGS_AFTER: Duration = Duration::from_mins(1);

/// Most lines of an error's details: a replay's differences with room to spare.
const MAX_ERROR_LINES: usize = 6;

/// Reports the end of a job; made before it starts.
pub struct JobReporter {
    pub args: JobArgs,
    pub screen: Arc<Screen>,
    /// The file that a summary of the end is appended to.
    pub summary: Option<JobSummary>,
    /// Of this invocation.
    pub questions: Questions,
    /// The colours that the command line asks for.
    pub color: ColorChoice,
    /// The time at which the job began.
    pub began: Instant,
}

/// The end of the work on a job.
pub struct JobEnd {
    pub job: Result<Outcome, RunError>,
    /// The signal that ended it, if one did.
    pub signal: Option<Signal>,
    /// The call whose question was shown on the terminal and not answered.
    pub unanswered: Option<ToolCallId>,
}

impl JobReporter {
    /// Reports a job that returned; `written` is the outcome of writing its result.
    pub fn returned(&self, end: JobEnd, written: io::Result<()>) -> Exit {
        let JobEnd { job, signal, unanswered } = end;
        let exit = match job {
            Ok(outcome) => self.with_outcome(&outcome, written, signal, unanswered.as_ref()),
            Err(error) => self.without_outcome(error, signal),
        };
        self.ring();
        exit
    }

    /// Rings the terminal's bell if that is asked for, and the person may have turned away meanwhile.
    fn ring(&self) {
        if self.args.output.bell && io::stderr().is_terminal() {
            ring_after(self.began.elapsed(), &mut io::stderr().lock());
        }
    }

    /// Adds the colours that were asked for to a command that continues the job.
    fn colored(&self, mut words: CommandLine) -> CommandLine {
        let color = Some(self.color).filter(|color| *color != ColorChoice::Auto);
        words.value("--color", color);
        words
    }

    /// Reports that the program ends before the job has returned. The terminal may be the cause, so it has a limit too.
    pub fn forced(&self, signal: Option<Signal>) -> Exit {
        let words = self.job_continuation(&self.args);
        let screen = self.screen.clone();
        let (sender, done) = sync_channel::<()>(1);
        std::thread::spawn(move || {
            screen.close();
            screen.info("stopped at once: the steps recorded so far are kept");
            print_continuation(&screen, words.as_ref());
            drop(sender);
        });
        // The wait ends either way.
        let _ = done.recv_timeout(FAREWELL);
        signal.map_or(Exit::Failed, Signal::exit)
    }

    fn with_outcome(
        &self,
        outcome: &Outcome,
        written: io::Result<()>,
        signal: Option<Signal>,
        unanswered: Option<&ToolCallId>,
    ) -> Exit {
        let output = self.output_failure(written, outcome);
        if let Some(failure) = &output {
            failure.print(self.screen.paint());
        }
        self.print_status(outcome, signal, unanswered);
        if let Some(account) = &outcome.account {
            self.screen.info(&account_line(account));
        }
        if let Some(line) = self.screen.file_line(outcome).filter(|_| output.is_none()) {
            self.screen.info(&line);
        }
        let exit = exit_of(outcome.status, signal);
        let words = (exit != Exit::Completed).then(|| self.colored(continuation(outcome, &self.args)));
        let summary = self.append_summary(|| {
            let questions = head_questions(&self.questions, &outcome.checkpoint.head);
            job_summary::of_outcome(outcome, &questions, words.as_ref())
        });
        print_continuation(&self.screen, words.as_ref());
        match output.or(summary) {
            Some(failure) if exit == Exit::Completed => failure.exit(),
            _ => exit,
        }
    }

    fn without_outcome(&self, error: RunError, signal: Option<Signal>) -> Exit {
        let help = self.help(&error);
        let mut args = self.args.clone();
        if matches!(error, RunError::CallsInDoubt { .. }) {
            // The same choice again would stop at the same place.
            args.session.in_doubt = None;
        }
        let failure = match help {
            Some(help) => Failure::from(error).help(help),
            None => Failure::from(error),
        };
        failure.print(self.screen.paint());
        let exit = match (failure.exit(), signal) {
            (Exit::Usage, _) => return Exit::Usage,
            (Exit::Failed, Some(signal)) => signal.exit(),
            (exit, _) => exit,
        };
        let words = self.job_continuation(&args);
        self.append_summary(|| job_summary::of_failure(&failure, words.as_ref()));
        print_continuation(&self.screen, words.as_ref());
        exit
    }

    /// Appends a summary to the file that it was asked for in. Returns the failure to, once it is printed.
    fn append_summary(&self, text: impl FnOnce() -> String) -> Option<Failure> {
        let failure = self.summary.as_ref()?.append(&text()).err()?;
        failure.print(self.screen.paint());
        Some(failure)
    }

    /// The remedy for an error, if it has flags in it.
    fn help(&self, error: &RunError) -> Option<String> {
        match error {
            RunError::CallsInDoubt { .. } => {
                Some("--in-doubt report reports them to the model; --in-doubt retry makes them again".to_owned())
            }
            RunError::Store(StoreError::JobExists { job }) if self.args.session.replay.is_some() => Some(format!(
                "a replay has the ids of its recording, and job {job} is not a replay; store the replay elsewhere: --storage FOLDER"
            )),
            RunError::Store(StoreError::JobExists { job }) => {
                let mut words = CommandLine::new(["perstack", "resume", job.as_str(), "QUERY"]);
                self.args.add_to_continuation(&mut words);
                Some(self.colored(words).to_string())
            }
            RunError::ExpertOfJob { key, .. } if self.args.instruction.is_none() => Some(format!(
                "define {key} in perstack.toml, resume where it is defined, or give the --instruction that the job began with"
            )),
            _ => None,
        }
    }

    /// Prints how the job ended.
    fn print_status(&self, outcome: &Outcome, signal: Option<Signal>, unanswered: Option<&ToolCallId>) {
        let head = &outcome.checkpoint.head;
        match outcome.status {
            Status::Completed => {
                // The numbers of steps go on from one Run to the next; those of delegates at work together are the same.
                let in_all = head.step_number.max(outcome.spent.steps);
                let all = if outcome.steps < in_all { format!("; in all {}", steps(in_all)) } else { String::new() };
                let used = [tokens_of(outcome), cost_of(outcome)].into_iter().flatten();
                let used = used.collect::<Vec<_>>().join(", ");
                let used = if used.is_empty() { "the provider reported no usage".to_owned() } else { used };
                self.screen.info(&format!("completed: {}{all}, {used}", steps(outcome.steps)));
            }
            Status::StoppedByExceededMaxSteps | Status::StoppedByBudget => {
                let reason = outcome.budget.as_ref().map_or_else(
                    || format!("the maximum of {} is reached", steps(outcome.max_steps)),
                    |reached| visible(&reached.to_string()),
                );
                self.screen.info(&format!("stopped: {reason}"));
            }
            Status::StoppedByInteractiveTool => {
                if let Some(signal) = signal {
                    self.screen.info(&format!("stopped by {}", signal.name()));
                }
                self.print_questions(head, unanswered);
            }
            Status::StoppedByCancellation => match signal {
                Some(signal) => self.screen.info(&format!("stopped by {}", signal.name())),
                None => self.screen.info(&format!("stopped: {} takes no more events", self.screen.destination())),
            },
            Status::StoppedByError
            | Status::StoppedByVerification
            | Status::Init
            | Status::Proceeding
            | Status::StoppedByDelegate => {
                error_of(head).print(self.screen.paint());
            }
        }
    }

    /// Prints the questions that the job waits for; one that was just shown is only named. Also with `--quiet`: without
    /// the question there is no way to find the answer that goes into the command below.
    fn print_questions(&self, head: &CheckpointHead, unanswered: Option<&ToolCallId>) {
        for call in &head.pending_tool_calls {
            let question = self.questions.question(head, call);
            let lines = if unanswered == Some(&call.id) { Vec::new() } else { question.listed() };
            let first = format!("waiting for an answer: {}", question.title());
            self.screen.print(&std::iter::once(first).chain(lines).collect::<Vec<_>>().join("\n"));
        }
        if head.pending_tool_calls.len() > 1 {
            self.screen.info("answers are given one at a time, in the order of the questions");
        }
    }

    /// The failure to write the result. A reader that has gone away is no error: the program ends quietly.
    fn output_failure(&self, written: io::Result<()>, outcome: &Outcome) -> Option<Failure> {
        let error = written.err().or_else(|| self.screen.stream_error())?;
        if error.kind() == io::ErrorKind::BrokenPipe {
            return None;
        }
        let error = anyhow::Error::new(error).context(format!("cannot write to {}", self.screen.destination()));
        Some(Failure::other(error).help(format!("the job's result is kept in {}", outcome.path.display())))
    }

    /// The command that continues a job that left no checkpoint here, if it had begun.
    fn job_continuation(&self, args: &JobArgs) -> Option<CommandLine> {
        let mut words = CommandLine::new(["perstack", "resume", self.screen.job()?.as_str()]);
        args.add_to_continuation(&mut words);
        Some(self.colored(words))
    }
}

/// The questions that a job waits for, and their options, a line each.
fn head_questions(questions: &Questions, head: &CheckpointHead) -> Vec<String> {
    let questions = head.pending_tool_calls.iter().map(|call| questions.question(head, call));
    questions.flat_map(|question| std::iter::once(question.title().to_owned()).chain(question.listed())).collect()
}

/// Rings the bell of `terminal` after a job that took so long.
fn ring_after(took: Duration, terminal: &mut impl Write) {
    if took > RINGS_AFTER {
        // A terminal that is gone needs no bell.
        let _ = terminal.write_all(b"\x07");
    }
}

/// The exit code of a job's final checkpoint.
pub fn exit_of(status: Status, signal: Option<Signal>) -> Exit {
    match status {
        Status::Completed => Exit::Completed,
        Status::StoppedByExceededMaxSteps => Exit::MaxSteps,
        Status::StoppedByBudget => Exit::Budget,
        Status::StoppedByVerification => Exit::Unverified,
        Status::StoppedByInteractiveTool => signal.map_or(Exit::Interactive, Signal::exit),
        Status::StoppedByCancellation => signal.map_or(Exit::Failed, Signal::exit),
        Status::StoppedByError | Status::Init | Status::Proceeding | Status::StoppedByDelegate => Exit::Failed,
    }
}

/// Tokens, of how many where that is limited; none if none were reported, since no answer takes none.
fn tokens_of(outcome: &Outcome) -> Option<String> {
    match outcome.budgets.max_tokens {
        Some(limit) => Some(format!("{} of {} tokens", count(outcome.spent.tokens), count(limit))),
        None if outcome.usage.total_tokens == 0 => None,
        None => Some(format!("{} tokens", count(outcome.usage.total_tokens))),
    }
}

/// The cost, of how much where that is limited.
fn cost_of(outcome: &Outcome) -> Option<String> {
    match outcome.budgets.max_cost {
        Some(limit) => Some(format!("{} of {limit}", outcome.spent.cost)),
        None => money(outcome.spend),
    }
}

/// The command that continues from a checkpoint, with the flags that were given and those that the stop asks for: a
/// larger budget, or an answer.
pub fn continuation(outcome: &Outcome, args: &JobArgs) -> CommandLine {
    let head = &outcome.checkpoint.head;
    let mut words = CommandLine::new(["perstack", "resume", head.id.as_str()]);
    let mut args = args.clone();
    match (&outcome.budget, outcome.status) {
        (Some(reached), _) => raise(&mut args, reached, &spent_against(reached, outcome)),
        (None, Status::StoppedByExceededMaxSteps) => {
            let more = outcome.max_steps.max(DEFAULT_MAX_STEPS);
            args.model.max_steps = Some(head.step_number.saturating_add(more));
        }
        (None, Status::StoppedByInteractiveTool) => {
            words.word("ANSWER").word("-i");
        }
        _ => {}
    }
    args.add_to_continuation(&mut words);
    words
}

/// The amounts spent against the budget that was reached: the job's, or that of the account that it shares.
fn spent_against(reached: &Reached, outcome: &Outcome) -> Spent {
    let of_account = outcome.account.as_ref().filter(|account| account.is_used_up);
    match (of_account, reached) {
        (Some(AccountEnd { spent: Charge { tokens, cost }, .. }), Reached::Cost { .. } | Reached::Tokens { .. }) => {
            Spent { tokens: *tokens, cost: *cost, ..outcome.spent }
        }
        _ => outcome.spent,
    }
}

/// An account that jobs share, with what is spent of it: `account nightly: $0.1200 of $5.0000`.
pub fn account_line(account: &AccountEnd) -> String {
    let cost = account.limits.max_cost.map(|limit| format!("{} of {limit}", account.spent.cost));
    let tokens =
        account.limits.max_tokens.map(|limit| format!("{} of {} tokens", count(account.spent.tokens), count(limit)));
    let parts: Vec<String> = cost.into_iter().chain(tokens).collect();
    format!("account {}: {}", account.id, parts.join(", "))
}

/// Returns true if the account that a job shares has too little left for it to go on.
pub fn is_out_of_budget(outcome: &Outcome) -> bool {
    outcome.status == Status::StoppedByBudget && outcome.account.as_ref().is_some_and(|account| account.is_used_up)
}

/// Doubles the budget that was reached, and more if that is not enough for the next request.
pub fn raise(args: &mut JobArgs, reached: &Reached, spent: &Spent) {
    let budgets = &mut args.model.budgets;
    match reached {
        Reached::Cost { limit, next, .. } => {
            let needed = spent.cost.plus(*next).plus(*next);
            let wanted = limit.plus(*limit).max(needed).picodollars();
            // Whole millionths of a dollar, so that the number is short.
            budgets.max_cost = Some(Cost::from_picodollars(wanted.div_ceil(1_000_000).saturating_mul(1_000_000)));
        }
        Reached::Tokens { limit, next, .. } => {
            let needed = spent.tokens.saturating_add(next.saturating_mul(2));
            budgets.max_tokens = Some(limit.saturating_mul(2).max(needed));
        }
        Reached::Duration { limit_ms, .. } => {
            budgets.max_duration =
                Some(Span::from_ms(limit_ms.saturating_mul(2).max(spent.active_ms.saturating_mul(2))));
        }
        Reached::Steps { limit, .. } => {
            budgets.max_total_steps = Some(spent.steps.saturating_add((*limit).max(DEFAULT_MAX_STEPS)));
        }
        Reached::ToolRepetitions { limit, .. } => budgets.max_tool_repetitions = Some(limit.saturating_mul(2)),
    }
}

/// Ends stderr with the command that continues the job, also with `--quiet`.
fn print_continuation(screen: &Screen, words: Option<&CommandLine>) {
    if let Some(words) = words {
        screen.info("to continue:");
        screen.print(&words.to_string());
    }
}

/// The error that stopped a Run, with its place.
pub fn error_of(head: &CheckpointHead) -> Failure {
    let place = format!("in expert {}, step {}", head.expert.key, head.step_number);
    let Some(error) = &head.error else {
        return Failure::other(anyhow::anyhow!("the job ended without a result\n{place}"));
    };
    let kind = match error.status_code {
        Some(status) => format!("({}, status {status})", error.name),
        None => format!("({})", error.name),
    };
    let mut lines = error.message.lines().map(visible).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let rest: String = lines.take(MAX_ERROR_LINES).fold(String::new(), |rest, line| rest + &line + "\n");
    let failure = Failure::other(anyhow::anyhow!("{first} {kind}\n{rest}{place}"));
    if error.name == FailureKind::Timeout.name() {
        return failure.help("--timeout MS, or `timeout` in perstack.toml, allows more time");
    }
    failure
}

#[cfg(test)]
mod tests;
