//! [`LiveJob`]: a case that asks the model, with all that its jobs need, and one repetition of it: a fresh workspace, the job, and the
//! verdicts of expectations, command and judge. Which repetitions there are, and when, is [`runner`](super::runner)'s.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use perstack::budget::Reached;
use perstack::checkpoint::Status;
use perstack::config::{Expectations, LiveCase};
use perstack::event::{Event, EventBody, EventSink};
use perstack::fact::VerifyOutcome;
use perstack::message::Message;
use perstack::runtime::{self, CassetteMode, Options, Outcome, RunInput};
use perstack::test_results::{CaseNumbers, CaseStatus, Repetition};

use super::expected::{failures, too_long};
use super::judge;
use super::workspace;
use crate::cli::failure::Failure;
use crate::cli::input::QueryInput;
use crate::cli::outcome::is_out_of_budget;
use crate::cli::output_file::OutputFile;
use crate::cli::replay::temporary::JobFolder;
use crate::cli::telemetry::TracedJob;

/// Most characters of a command's output that are shown.
const MOST_CHARS: usize = 400;

/// The reason of repetitions that a signal stopped.
pub const STOPPED: &str = "stopped by a signal";

/// A case that asks the model, ready to be run.
pub struct LiveJob {
    /// Its place among all cases.
    pub index: usize,
    pub file: String,
    pub name: String,
    pub case: LiveCase,
    pub expected: Expectations,
    pub input: QueryInput,
    /// The options of its jobs, but for the workspace.
    pub options: Options,
    /// Those of its judge's jobs.
    pub judge_options: Options,
    /// The files and folders that no workspace gets.
    pub closed: Vec<PathBuf>,
    /// The recording to be made of the first repetition that passes.
    pub cassette: Option<OutputFile>,
    pub is_recorded: AtomicBool,
    pub repeat: u64,
    /// Of these, those that have to pass.
    pub required: u64,
}

/// The end of one repetition.
#[derive(Default)]
pub struct RepetitionEnd {
    pub repetition: Repetition,
    /// The budget of all cases, which was too small for it.
    pub out_of_budget: Option<Reached>,
    /// A recording was made of it.
    pub recorded: bool,
}

impl RepetitionEnd {
    /// A repetition without a verdict.
    pub fn not_run(reason: impl Into<String>) -> Self {
        let repetition =
            Repetition { status: CaseStatus::NotRun, reason: Some(reason.into()), ..Repetition::default() };
        Self { repetition, ..Self::default() }
    }

    /// A repetition that could not be made.
    pub fn failed(failure: impl Into<String>) -> Self {
        let repetition =
            Repetition { status: CaseStatus::Failed, failures: vec![failure.into()], ..Repetition::default() };
        Self { repetition, ..Self::default() }
    }

    /// Takes a job of it into account. Returns true if the job was stopped before there was a verdict.
    fn is_stopped_by(&mut self, outcome: &Outcome) -> bool {
        let numbers = of_outcome(outcome);
        self.repetition.numbers = Some(self.repetition.numbers.map_or(numbers, |before| before.plus(numbers)));
        let reason = if is_out_of_budget(outcome) {
            self.out_of_budget.clone_from(&outcome.budget);
            "the budget of all cases is spent"
        } else if outcome.status == Status::StoppedByCancellation {
            STOPPED
        } else {
            return false;
        };
        (self.repetition.status, self.repetition.reason) = (CaseStatus::NotRun, Some(reason.to_owned()));
        true
    }
}

/// The numbers of a job.
pub fn of_outcome(outcome: &Outcome) -> CaseNumbers {
    CaseNumbers {
        steps: outcome.steps,
        tokens: outcome.usage.total_tokens,
        cost: (!outcome.spend.is_unknown()).then_some(outcome.spend.cost),
        cost_is_complete: outcome.spend.is_complete,
        duration_ms: outcome.duration_ms,
    }
}

/// The tools that experts call, each once.
#[derive(Default)]
struct CalledTools(Mutex<Vec<String>>);

impl EventSink for CalledTools {
    fn emit(&self, event: &Event, _: &[Message]) {
        let EventBody::CallTools { tool_calls, .. } = &event.body else { return };
        let mut tools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for call in tool_calls {
            if !tools.contains(&call.tool_name) {
                tools.push(call.tool_name.clone());
            }
        }
    }
}

impl LiveJob {
    /// Runs the case once. `traced`: the job's spans, if they are exported.
    pub async fn run(self: Arc<Self>, traced: Option<TracedJob>) -> RepetitionEnd {
        let this = Arc::clone(&self);
        // Copying waits for the disk.
        let prepared = tokio::task::spawn_blocking(move || this.prepare()).await;
        let folder = match prepared {
            Ok(Ok(folder)) => folder,
            Ok(Err(failure)) => return RepetitionEnd::failed(failure.line()),
            Err(lost) => return RepetitionEnd::failed(format!("internal error: {lost}")),
        };
        let end = Box::pin(self.run_in(folder.path(), traced)).await;
        // So does removing it.
        let _ = tokio::task::spawn_blocking(move || drop(folder)).await;
        end
    }

    fn prepare(&self) -> Result<JobFolder, Failure> {
        let folder = JobFolder::open(None)?;
        let workspace = workspace_in(folder.path());
        fs::create_dir(&workspace).context("cannot make a workspace").map_err(Failure::other)?;
        if let Some(from) = &self.case.workspace {
            workspace::copy(from, &workspace, &self.closed).map_err(Failure::other)?;
        }
        Ok(folder)
    }

    async fn run_in(&self, folder: &Path, traced: Option<TracedJob>) -> RepetitionEnd {
        let tools = Arc::new(CalledTools::default());
        let cassette = folder.join("cassette");
        let mut options =
            Options { workspace: workspace_in(folder), sink: Arc::clone(&tools) as _, ..self.options.clone() };
        if self.cassette.is_some() {
            options.cassette = CassetteMode::Record(cassette.clone());
        }
        if let Some(traced) = &traced {
            options.sink = traced.around(options.sink);
        }
        let QueryInput { query, attached } = self.input.clone();
        let input = RunInput { attached, ..RunInput::new(self.case.expert.clone(), query) };
        let ended = runtime::run(input, &options).await;
        if let Some(traced) = traced {
            traced.end(ended.as_ref().map(|outcome| outcome.status).map_err(ToString::to_string));
        }
        let outcome = match ended {
            Ok(outcome) => outcome,
            Err(_) if options.cancel.is_cancelled() => return RepetitionEnd::not_run(STOPPED),
            Err(error) => return RepetitionEnd::failed(Failure::from(error).line()),
        };
        let tools = tools.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut end = self.judged(&outcome, &tools, &options).await;
        if end.repetition.status == CaseStatus::Passed {
            match self.record(&cassette) {
                Ok(recorded) => end.recorded = recorded,
                Err(failure) => {
                    end.repetition.status = CaseStatus::Failed;
                    end.repetition.failures.push(failure.line());
                }
            }
        }
        end
    }

    /// The verdicts on a job. The command and the judge are not asked about what has failed already: both may take long, and
    /// the judge costs.
    async fn judged(&self, outcome: &Outcome, tools: &[String], options: &Options) -> RepetitionEnd {
        let mut end = RepetitionEnd::default();
        end.repetition.job_id = Some(outcome.checkpoint.head.job_id.to_string());
        if end.is_stopped_by(outcome) {
            return end;
        }
        end.repetition.failures = failures(&self.expected, outcome, tools);
        end.repetition.failures.extend(too_long(&self.expected, outcome));
        if let Some(verify) = self.expected.command.as_ref().filter(|_| end.repetition.failures.is_empty()) {
            match runtime::verify_apart(&self.case.expert, verify, options).await {
                Ok(Some(VerifyOutcome { end: way, .. })) if way.code() == Some(0) => {}
                Ok(Some(VerifyOutcome { end: way, output })) => {
                    let shown = if output.trim().is_empty() { String::new() } else { format!("\n{}", tail(&output)) };
                    end.repetition.failures.push(format!("`{}` {way}{shown}", verify.command));
                }
                Ok(None) => {
                    (end.repetition.status, end.repetition.reason) = (CaseStatus::NotRun, Some(STOPPED.to_owned()));
                    return end;
                }
                Err(error) => end.repetition.failures.push(Failure::from(error).line()),
            }
        }
        if let Some(judge) = self.expected.judge.as_ref().filter(|_| end.repetition.failures.is_empty()) {
            let answer = outcome.checkpoint.text().unwrap_or_default();
            let options = Options { workspace: options.workspace.clone(), ..self.judge_options.clone() };
            match judge::ask(judge, &self.input.query, &answer, &options).await {
                Ok(judged) => {
                    end.repetition.judgement = Some(judged.judgement);
                    if end.is_stopped_by(&judged.outcome) {
                        return end;
                    }
                    end.repetition.failures.extend(judged.failure);
                }
                Err(error) => {
                    end.repetition.failures.push(format!("judge {}: {}", judge.expert, Failure::from(error).line()));
                }
            }
        }
        if !end.repetition.failures.is_empty() {
            end.repetition.status = CaseStatus::Failed;
        }
        end
    }

    /// Makes the recording of this repetition the case's, unless that of another is. Returns true if it did.
    fn record(&self, cassette: &Path) -> Result<bool, Failure> {
        let Some(file) = &self.cassette else { return Ok(false) };
        if self.is_recorded.swap(true, Ordering::Relaxed) {
            return Ok(false);
        }
        let cannot = || format!("cannot record to {}", file.shown());
        let bytes = fs::read(cassette).with_context(cannot).map_err(Failure::other)?;
        file.replace(&bytes).with_context(cannot).map_err(Failure::other)?;
        Ok(true)
    }
}

fn workspace_in(folder: &Path) -> PathBuf {
    folder.join("workspace")
}

/// The end of a text: there a command names what was wrong.
fn tail(text: &str) -> String {
    let text = text.trim_end();
    let count = text.chars().count();
    if count <= MOST_CHARS {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(count.saturating_sub(MOST_CHARS)).collect();
    format!("…{kept}")
}
