//! The facts about a job that its views begin with, its answer in brief, and the way on.

use std::path::{Path, PathBuf};

use perstack::checkpoint::{Checkpoint, CheckpointHead};
use perstack::config::{Endpoints, load_with};
use perstack::cost::Spend;
use perstack::job::{Job, JobStatus};
use perstack::runtime::history::{JobLog, JobState};
use perstack::setting::DEFAULT_MAX_STEPS;
use perstack::tool::ToolCall;

use super::local_time::LocalTime;
use super::wrap::wrapped;
use crate::cli::command_line::CommandLine;
use crate::cli::options::JobArgs;
use crate::cli::outcome::raise;
use crate::cli::render::{count, money, visible};
use crate::cli::setup::is_own_expert;

/// Columns of a text where there is no terminal.
const PLAIN_WIDTH: usize = 100;

/// Most columns of a query in the head.
const QUERY: usize = 200;

/// The job, its question, times and counts. `tool_calls`: of all its Runs, if they were counted.
pub fn job_lines(record: &JobLog, tool_calls: Option<u64>, local: &LocalTime) -> Vec<String> {
    let mut lines = vec![format!("Job: {} ({})", record.id(), status(record.entry().state))];
    let Some(job) = record.job() else { return lines };
    lines.push(format!("Expert: {}", visible(job.coordinator_expert_key.as_str())));
    lines.extend(
        record.query().map(|query| format!("Query: {}", crate::cli::render::shortened(&visible(&query), QUERY))),
    );
    lines.push(format!("Started: {} ({})", local.date(job.started_at), local.age(job.started_at)));
    lines.extend(job.finished_at.map(|finished_at| format!("Finished: {}", local.date(finished_at))));
    lines.push(format!("Steps: {}", job.total_steps));
    lines.extend(tool_calls.map(|calls| format!("Tool calls: {calls}")));
    let usage = job.usage;
    let cached = match usage.cached_input_tokens {
        0 => String::new(),
        cached => format!(", {} cached", count(cached)),
    };
    let (input, output) = (count(usage.input_tokens), count(usage.output_tokens));
    lines.push(match usage.total_tokens {
        // No answer takes none.
        0 => "Tokens: none reported".to_owned(),
        total => format!("Tokens: {} ({input} in, {output} out{cached})", count(total)),
    });
    lines.extend(spent(job.spend).map(|cost| format!("Cost: {cost}")));
    lines
}

/// The amount spent; none if it is zero or unknown.
pub fn spent(spend: Spend) -> Option<String> {
    money(spend)
}

/// The state of a job in words.
pub fn status(state: JobState) -> String {
    let text = match state {
        JobState::Running(holder) => match holder.pid {
            Some(pid) => return format!("running, process {pid}"),
            None => "running",
        },
        JobState::Interrupted => "interrupted, can be resumed",
        JobState::Unknown => "unknown",
        JobState::Stopped(status) => match status {
            JobStatus::Running => "running",
            JobStatus::Completed => "completed",
            JobStatus::StoppedByMaxSteps => "stopped at the maximum of steps",
            JobStatus::StoppedByInteractiveTool => "waiting for an answer",
            JobStatus::StoppedByError => "stopped by an error",
            JobStatus::StoppedByCancellation => "stopped by a signal",
            JobStatus::StoppedByBudget => "stopped by a budget",
            JobStatus::StoppedByVerification => "stopped: its answer was not verified",
        },
    };
    text.to_owned()
}

/// The end of a job as a title and lines of text: its answer, its error, the question that it waits for.
pub fn ending(state: JobState, latest: &Checkpoint, width: Option<usize>) -> Option<(String, Vec<String>)> {
    let width = width.map_or(PLAIN_WIDTH, |width| width.saturating_sub(2).max(20));
    let head = &latest.head;
    match state {
        JobState::Stopped(JobStatus::Completed) => Some(("Answer:".to_owned(), wrapped(&latest.text()?, width))),
        JobState::Stopped(JobStatus::StoppedByError | JobStatus::StoppedByVerification) => {
            let error = head.error.as_ref()?;
            Some((format!("Error: {}", visible(&error.name)), wrapped(error.message.trim(), width)))
        }
        JobState::Stopped(JobStatus::StoppedByInteractiveTool) => {
            let calls = head.pending_tool_calls.iter().map(question);
            Some(("Waiting for:".to_owned(), calls.flat_map(|call| wrapped(&call, width)).collect()))
        }
        JobState::Stopped(_) => {
            let reached = head.budget.as_ref()?;
            Some(("Stopped:".to_owned(), wrapped(&reached.to_string(), width)))
        }
        JobState::Running(_) | JobState::Interrupted | JobState::Unknown => None,
    }
}

fn question(call: &ToolCall) -> String {
    let values = call.args.iter().map(|(key, value)| match value.as_str() {
        Some(text) => format!("{key}: {text}"),
        None => format!("{key}: {value}"),
    });
    format!("{}  {}", call.tool_name, values.collect::<Vec<_>>().join("  "))
}

/// The command that goes on with a job, and its title.
pub struct WayOn {
    pub title: &'static str,
    pub command: CommandLine,
}

/// The places that a way on depends on.
#[derive(Debug, Clone, Default)]
pub struct WayPlaces {
    /// The storage that was named on the command line.
    pub storage: Option<PathBuf>,
    /// The configuration that a command of this folder would read.
    pub config: Option<PathBuf>,
}

/// The way on from a job in this state. `latest`: reads the state that it came to, which is asked for only where the way
/// depends on it: it may be long.
pub fn way_on(record: &JobLog, latest: impl FnOnce() -> Option<CheckpointHead>, places: &WayPlaces) -> Option<WayOn> {
    let id = record.short_id();
    let mut args = JobArgs::default();
    args.place.storage.clone_from(&places.storage);
    args.instruction = own_instruction(record, places.config.as_deref());
    let mut command = CommandLine::new(["perstack", "resume", id]);
    let title = match record.entry().state {
        JobState::Running(_) => {
            let mut command = CommandLine::new(["perstack", "log", id, "--follow"]);
            command.path("--storage", places.storage.as_deref());
            return Some(WayOn { title: "To watch", command });
        }
        JobState::Unknown => return None,
        JobState::Stopped(JobStatus::Completed) => {
            command.word("QUERY");
            "To ask further"
        }
        JobState::Stopped(JobStatus::StoppedByInteractiveTool) => {
            command.word("ANSWER").word("-i");
            "To answer"
        }
        JobState::Interrupted | JobState::Stopped(_) => {
            if let (Some(job), Some(head)) = (record.job(), latest()) {
                make_room(&mut args, job, &head);
            }
            "To continue"
        }
    };
    args.add_to(&mut command);
    Some(WayOn { title, command })
}

/// The text of `--instruction` that the job was begun with: what continues it needs it again. A configuration that
/// defines an expert of that name has the job's expert instead.
fn own_instruction(record: &JobLog, config: Option<&Path>) -> Option<String> {
    let expert = record.expert().filter(is_own_expert)?;
    let project = config.and_then(|path| load_with(path, Endpoints::PrivateToo).ok());
    let is_defined = project.is_some_and(|project| project.experts.contains(&expert.key));
    (!is_defined).then_some(expert.instruction)
}

/// Raises the limit that stopped the job: without that it would stop at the same place.
fn make_room(args: &mut JobArgs, job: &Job, head: &CheckpointHead) {
    match &head.budget {
        Some(reached) => raise(args, reached, &job.budget.spent.unwrap_or_default()),
        None if job.status == JobStatus::StoppedByMaxSteps => {
            let more = job.max_steps.unwrap_or(DEFAULT_MAX_STEPS).max(DEFAULT_MAX_STEPS);
            args.model.max_steps = Some(head.step_number.saturating_add(more));
        }
        None => {}
    }
}
