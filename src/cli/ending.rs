//! The end of a job: what is told of it, its exit code, and the command that continues it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use perstack::checkpoint::{CheckpointHead, Status};
use perstack::id::ToolCallId;
use perstack::runtime::{Outcome, RunError};

use super::Exit;
use super::failure::Failure;
use super::options::JobArgs;
use super::prompt::Questions;
use super::render::{Screen, count, steps, visible};
use super::signals::Signal;
use super::words::Words;

/// How long the terminal may take to be put in order when the program ends at once.
pub const FAREWELL: Duration = Duration::from_millis(500);

/// What is known of a job before it has ended.
pub struct Ending {
    pub args: JobArgs,
    pub screen: Arc<Screen>,
    /// Of this invocation.
    pub max_steps: u64,
    pub questions: Questions,
}

/// How the work on a job came to its end.
pub struct Returned {
    pub job: Result<Outcome, RunError>,
    /// What ended it, if a signal did.
    pub signal: Option<Signal>,
    /// The call that a person was asked about on the terminal and left unanswered.
    pub left: Option<ToolCallId>,
}

impl Ending {
    /// The job returned, and its result was written or not.
    pub fn returned(&self, returned: Returned, written: io::Result<()>) -> Exit {
        let Returned { job, signal, left } = returned;
        match job {
            Ok(outcome) => self.with_outcome(&outcome, written, signal, left.as_ref()),
            Err(error) => self.without_outcome(&error.into(), signal),
        }
    }

    /// The program ends before the job has returned. The terminal may be what blocks, so it gets a limit too.
    pub fn forced(&self, signal: Option<Signal>) -> Exit {
        let words = self.job_continuation();
        let screen = self.screen.clone();
        let (sender, done) = sync_channel::<()>(1);
        std::thread::spawn(move || {
            screen.close();
            screen.say("stopped at once: what was recorded is kept");
            tell_continuation(&screen, words.as_ref());
            drop(sender);
        });
        // Either way the wait ends: told, or too late to be told.
        let _ = done.recv_timeout(FAREWELL);
        signal.map_or(Exit::Failed, Signal::exit)
    }

    fn with_outcome(
        &self,
        outcome: &Outcome,
        written: io::Result<()>,
        signal: Option<Signal>,
        left: Option<&ToolCallId>,
    ) -> Exit {
        let head = &outcome.checkpoint.head;
        let output = self.output_failure(written, outcome);
        if let Some(failure) = &output {
            failure.print(self.screen.paint());
        }
        self.tell(outcome, signal, left);
        match (exit_of(head.status, signal), output) {
            (Exit::Completed, Some(failure)) => failure.exit(),
            (Exit::Completed, None) => Exit::Completed,
            (exit, _) => {
                tell_continuation(&self.screen, Some(&continuation(head, &self.args, self.max_steps)));
                exit
            }
        }
    }

    fn without_outcome(&self, failure: &Failure, signal: Option<Signal>) -> Exit {
        failure.print(self.screen.paint());
        let exit = match (failure.exit(), signal) {
            (Exit::Usage, _) => return Exit::Usage,
            (Exit::Failed, Some(signal)) => signal.exit(),
            (exit, _) => exit,
        };
        tell_continuation(&self.screen, self.job_continuation().as_ref());
        exit
    }

    /// Says how the job ended.
    fn tell(&self, outcome: &Outcome, signal: Option<Signal>, left: Option<&ToolCallId>) {
        let head = &outcome.checkpoint.head;
        match head.status {
            Status::Completed => {
                let tokens = count(head.usage.total_tokens);
                self.screen.say(&format!("completed: {}, {tokens} tokens", steps(outcome.steps)));
            }
            Status::StoppedByExceededMaxSteps => {
                self.screen.say(&format!("stopped: the maximum of {} is reached", steps(self.max_steps)));
            }
            Status::StoppedByInteractiveTool => {
                if let Some(signal) = signal {
                    self.screen.say(&format!("stopped by {}", signal.name()));
                }
                self.tell_questions(head, left);
            }
            Status::StoppedByCancellation => match signal {
                Some(signal) => self.screen.say(&format!("stopped by {}", signal.name())),
                None => self.screen.say("stopped: the events could not be written to standard output"),
            },
            Status::StoppedByError | Status::Init | Status::Proceeding | Status::StoppedByDelegate => {
                error_of(head).print(self.screen.paint());
            }
        }
    }

    /// Says what the job waits for; the question that a person has just seen is only named.
    fn tell_questions(&self, head: &CheckpointHead, left: Option<&ToolCallId>) {
        for call in &head.pending_tool_calls {
            let question = self.questions.question(head, call);
            let lines = if left == Some(&call.id) { Vec::new() } else { question.told() };
            let first = format!("waiting for an answer: {}", question.title());
            self.screen.say(&std::iter::once(first).chain(lines).collect::<Vec<_>>().join("\n"));
        }
        if head.pending_tool_calls.len() > 1 {
            self.screen.say("answers are given one at a time, the first question's first");
        }
    }

    /// What went wrong with stdout. A reader that has gone away is no error: the program ends quietly.
    fn output_failure(&self, written: io::Result<()>, outcome: &Outcome) -> Option<Failure> {
        let error = written.err().or_else(|| self.screen.events_error())?;
        if error.kind() == io::ErrorKind::BrokenPipe {
            return None;
        }
        let error = anyhow::Error::new(error).context("cannot write to standard output");
        Some(Failure::other(error).help(format!("the job's result is kept in {}", outcome.path.display())))
    }

    /// The command that continues a job that left no checkpoint here, if it had begun.
    fn job_continuation(&self) -> Option<Words> {
        let mut words = Words::new(["perstack", "resume", self.screen.job()?.as_str()]);
        self.args.add_to(&mut words);
        Some(words)
    }
}

/// The exit code of a job's final checkpoint.
fn exit_of(status: Status, signal: Option<Signal>) -> Exit {
    match status {
        Status::Completed => Exit::Completed,
        Status::StoppedByExceededMaxSteps => Exit::MaxSteps,
        Status::StoppedByInteractiveTool => signal.map_or(Exit::Interactive, Signal::exit),
        Status::StoppedByCancellation => signal.map_or(Exit::Failed, Signal::exit),
        Status::StoppedByError | Status::Init | Status::Proceeding | Status::StoppedByDelegate => Exit::Failed,
    }
}

/// The command that continues from a checkpoint, with the flags that were given and what the stop asks for: more
/// steps, or an answer.
fn continuation(head: &CheckpointHead, args: &JobArgs, max_steps: u64) -> Words {
    let mut words = Words::new(["perstack", "resume", head.id.as_str()]);
    let mut args = args.clone();
    match head.status {
        Status::StoppedByExceededMaxSteps => {
            args.model.max_steps = Some(head.step_number.saturating_add(max_steps));
        }
        Status::StoppedByInteractiveTool => {
            words.word("ANSWER").word("-i");
        }
        _ => {}
    }
    args.add_to(&mut words);
    words
}

/// Ends stderr with the command that continues the job, `--quiet` or not.
fn tell_continuation(screen: &Screen, words: Option<&Words>) {
    if let Some(words) = words {
        screen.say("to continue:");
        screen.tell(&words.to_string());
    }
}

/// Why a Run stopped by error, and where.
fn error_of(head: &CheckpointHead) -> Failure {
    let place = format!("in expert {}, step {}", head.expert.key, head.step_number);
    let what = match &head.error {
        Some(error) => match error.status_code {
            Some(status) => format!("{} ({}, status {status})", visible(&error.message), error.name),
            None => format!("{} ({})", visible(&error.message), error.name),
        },
        None => "the job ended without a result".to_owned(),
    };
    Failure::other(anyhow::anyhow!("{what}\n{place}"))
}

#[cfg(test)]
mod tests {
    use perstack::checkpoint::RunFailure;

    use super::super::options::ModelArgs;
    use super::super::render::fixture::head;
    use super::*;

    #[test]
    fn every_status_has_its_exit_code() {
        let exit = |status| exit_of(status, None);
        assert_eq!(exit(Status::Completed), Exit::Completed);
        assert_eq!(exit(Status::StoppedByError), Exit::Failed);
        assert_eq!(exit(Status::StoppedByExceededMaxSteps), Exit::MaxSteps);
        assert_eq!(exit(Status::StoppedByInteractiveTool), Exit::Interactive);
        assert_eq!(exit(Status::StoppedByCancellation), Exit::Failed);
        assert_eq!(exit_of(Status::StoppedByCancellation, Some(Signal::Interrupt)), Exit::Interrupted);
        assert_eq!(exit_of(Status::StoppedByCancellation, Some(Signal::HangUp)), Exit::Terminated);
        assert_eq!(exit_of(Status::StoppedByInteractiveTool, Some(Signal::Interrupt)), Exit::Interrupted);
        assert_eq!(exit_of(Status::Completed, Some(Signal::Interrupt)), Exit::Completed);
    }

    #[test]
    fn the_continuation_repeats_the_flags_and_adds_what_the_stop_asks_for() {
        let model = ModelArgs { model: Some("m".to_owned()), max_steps: Some(3), ..ModelArgs::default() };
        let args = JobArgs { model, ..JobArgs::default() };
        let line = |status| continuation(&CheckpointHead { status, ..head("r1", 5) }, &args, 3).to_string();
        assert_eq!(line(Status::StoppedByError), "perstack resume c1 --model m --max-steps 3");
        assert_eq!(line(Status::StoppedByExceededMaxSteps), "perstack resume c1 --model m --max-steps 8");
        assert_eq!(line(Status::StoppedByInteractiveTool), "perstack resume c1 ANSWER -i --model m --max-steps 3");
    }

    #[test]
    fn an_error_names_its_kind_and_place() {
        let error = RunFailure {
            name: "AuthenticationError".to_owned(),
            message: "invalid key".to_owned(),
            status_code: Some(401),
            is_retryable: false,
        };
        let failure = error_of(&CheckpointHead { error: Some(error), ..head("r1", 3) });
        assert_eq!(
            failure.text(super::super::render::Paint::plain()),
            "error: invalid key (AuthenticationError, status 401)\n  in expert researcher, step 3\n"
        );
    }
}
