//! [`Fact`]: what came to a Run from outside. The log holds a line per fact; everything else follows from them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use strum::VariantNames as _;

use crate::access_count::AccessCount;
use crate::budget::{Budgets, Reached, Reservation, Span};
use crate::checkpoint::DelegatedBy;
use crate::content::Content;
use crate::cost::{Price, Spend};
use crate::expert::{ContextFile, ContextLimit, ExpertRef, VerifyCommand};
use crate::fallback::ChainModel;
use crate::generation::{Generation, GenerationFailure};
use crate::id::{CheckpointId, JobId, RunId};
use crate::message::UserInput;
use crate::output_schema::OutputSchema;
use crate::permission::CallDecision;
use crate::setting::{Limits, RunDigests};
use crate::snapshot::{SnapshotId, SnapshotMode};
use crate::tool::{ToolResult, ToolRoute};
use crate::usage::Usage;

/// The time of a fact, and the randomness that came with it: the only way either enters a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Milliseconds since the epoch.
    #[serde(with = "crate::count::Count")]
    pub at: u64,
    /// 64 random bits; ids made while the fact is worked on derive from them.
    pub seed: u64,
}

/// The source of stamps.
pub trait Clock: Send + Sync {
    /// A new stamp.
    fn stamp(&self) -> Stamp;
}

/// Makes ids out of a [`Stamp`]: the same stamp gives the same ids in the same order.
#[derive(Debug, Clone, PartialEq)]
pub struct IdGenerator {
    stamp: Stamp,
    made: u64,
}

impl IdGenerator {
    /// Starts over with `stamp`.
    pub fn new(stamp: Stamp) -> Self {
        Self { stamp, made: 0 }
    }

    /// The time of the stamp, in milliseconds since the epoch.
    pub fn at(&self) -> u64 {
        self.stamp.at
    }

    /// The next id: a UUIDv7 of the stamp's time, with a counter (so that names sort as they were made) and bits
    /// derived from its seed.
    pub fn uuid(&mut self) -> uuid::Uuid {
        let [.., hi, lo] = self.made.to_be_bytes();
        let mut random = [0_u8; 10];
        let tail = split_mix(self.stamp.seed ^ self.made.wrapping_mul(0xA076_1D64_78BD_642F)).to_be_bytes();
        for (to, from) in random.iter_mut().zip([hi, lo].into_iter().chain(tail)) {
            *to = from;
        }
        self.made += 1;
        uuid::Builder::from_unix_timestamp_millis(self.stamp.at, &random).into_uuid()
    }

    /// Passes over ids that nobody will see.
    pub fn skip(&mut self, ids: u64) {
        self.made = self.made.saturating_add(ids);
    }

    /// The next id as text.
    pub fn id(&mut self) -> String {
        self.uuid().hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).to_owned()
    }
}

/// `SplitMix64`'s finalizer (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
pub(crate) fn split_mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A fact with its stamp: one line of `log.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fact {
    #[serde(flatten)]
    pub stamp: Stamp,
    #[serde(flatten)]
    pub body: FactBody,
    /// The connections of skills' programs that were judged since the fact before. Nothing in a Run follows from them:
    /// they are kept for those who read its record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accesses: Vec<AccessCount>,
    /// It came from a recording that the job has left since: nothing was asked or made for it, and it took nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
}

impl Fact {
    /// A fact without connections.
    pub fn new(stamp: Stamp, body: FactBody) -> Self {
        Self { stamp, body, accesses: Vec::new(), recorded: false }
    }

    /// The parameters of the Run that the fact begins or goes on with.
    pub fn into_parameters(self) -> Option<RunParameters> {
        match self.body {
            FactBody::Started { spec, .. } => Some(spec.parameters),
            FactBody::Resumed { resumption } => Some(resumption.parameters),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Fact {
    /// In one pass, whatever the order of the keys. Serde's own code for a flattened value with a tag first builds a
    /// tree of all that it holds; a log has a fact for every answer and every result, and is read whole.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut fields = Fields::deserialize(from)?;
        let stamp = Stamp { at: fields.at, seed: fields.seed };
        let (accesses, recorded) = (std::mem::take(&mut fields.accesses), fields.recorded);
        Ok(Self { stamp, body: fields.into_body()?, accesses, recorded })
    }
}

/// The keys of all kinds of fact.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(with = "crate::count::Count")]
    at: u64,
    seed: u64,
    fact: Kind,
    #[serde(default)]
    accesses: Vec<AccessCount>,
    #[serde(default)]
    recorded: bool,
    spec: Option<Box<RunSpec>>,
    input: Option<Vec<Content>>,
    resumption: Option<Box<Resumption>>,
    generation: Option<Generation>,
    failure: Option<GenerationFailure>,
    #[serde(default, with = "crate::count::OptionalCount")]
    retry_in_ms: Option<u64>,
    #[serde(default, with = "crate::count::OptionalCount")]
    received_bytes: Option<u64>,
    replaced: Option<usize>,
    #[serde(default, with = "crate::count::OptionalCount")]
    tokens_before: Option<u64>,
    #[serde(default, with = "crate::count::OptionalCount")]
    tokens_after: Option<u64>,
    result: Option<ToolResult>,
    decisions: Option<Vec<CallDecision>>,
    check: Option<AnswerCheck>,
    outcome: Option<VerifyOutcome>,
    tools: Option<Vec<ToolRoute>>,
    reservation: Option<Reservation>,
    reached: Option<Reached>,
    snapshot: Option<SnapshotId>,
}

impl Fields {
    fn into_body<E: serde::de::Error>(self) -> Result<FactBody, E> {
        Ok(match self.fact {
            Kind::Started => {
                FactBody::Started { spec: needed(self.spec, "spec")?, input: needed(self.input, "input")? }
            }
            Kind::Resumed => FactBody::Resumed { resumption: needed(self.resumption, "resumption")? },
            Kind::Generated => FactBody::Generated { generation: needed(self.generation, "generation")? },
            Kind::GenerationFailed => FactBody::GenerationFailed {
                failure: needed(self.failure, "failure")?,
                retry_in_ms: self.retry_in_ms,
                received_bytes: self.received_bytes,
            },
            Kind::Summarized => FactBody::Summarized {
                generation: needed(self.generation, "generation")?,
                replaced: needed(self.replaced, "replaced")?,
                tokens_before: needed(self.tokens_before, "tokensBefore")?,
                tokens_after: needed(self.tokens_after, "tokensAfter")?,
            },
            Kind::CallsDecided => FactBody::CallsDecided { decisions: needed(self.decisions, "decisions")? },
            Kind::AnswerChecked => FactBody::AnswerChecked { check: needed(self.check, "check")? },
            Kind::AnswerVerified => FactBody::AnswerVerified { outcome: needed(self.outcome, "outcome")? },
            Kind::ToolReturned => FactBody::ToolReturned { result: needed(self.result, "result")? },
            Kind::ToolsChanged => FactBody::ToolsChanged { tools: needed(self.tools, "tools")? },
            Kind::Reserved => FactBody::Reserved { reservation: needed(self.reservation, "reservation")? },
            Kind::BudgetReached => FactBody::BudgetReached { reached: needed(self.reached, "reached")? },
            Kind::SnapshotTaken => FactBody::SnapshotTaken { snapshot: needed(self.snapshot, "snapshot")? },
            Kind::Interrupted => FactBody::Interrupted,
        })
    }
}

fn needed<T, E: serde::de::Error>(field: Option<T>, name: &'static str) -> Result<T, E> {
    field.ok_or_else(|| E::missing_field(name))
}

/// The kinds of fact.
#[derive(Debug, Clone, PartialEq, Serialize, strum::IntoStaticStr, strum::EnumDiscriminants)]
#[strum_discriminants(name(Kind), vis(), derive(Deserialize, strum::VariantNames))]
#[strum_discriminants(serde(rename_all = "camelCase"), strum(serialize_all = "camelCase"))]
#[serde(tag = "fact", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum FactBody {
    /// A fresh Run was asked for. The first fact of its log.
    Started { spec: Box<RunSpec>, input: Vec<Content> },
    /// Work goes on: first fact of a Run that continues from a checkpoint, or, within a log, the mark that another
    /// process took over after the one before it died.
    Resumed { resumption: Box<Resumption> },
    /// The model answered.
    Generated { generation: Generation },
    /// The model call failed. `retry_in_ms`: the wait before the next try, absent when there is to be none.
    GenerationFailed {
        failure: GenerationFailure,
        #[serde(default, with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
        /// The bytes of text that the answer had when it broke off; absent when it had not begun.
        #[serde(default, with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
        received_bytes: Option<u64>,
    },
    /// The model summarised the `replaced` messages behind the first question. Tokens of the whole request before and
    /// with the summary in their place, as estimated.
    Summarized {
        generation: Generation,
        replaced: usize,
        #[serde(with = "crate::count::Count")]
        tokens_before: u64,
        #[serde(with = "crate::count::Count")]
        tokens_after: u64,
    },
    /// Calls were decided, by rules or by a person: they may be made, or their result is the reason why not.
    CallsDecided { decisions: Vec<CallDecision> },
    /// The answer that the Run is to complete with was checked against its schema.
    AnswerChecked { check: AnswerCheck },
    /// The command ended that has to succeed before the answer counts.
    AnswerVerified { outcome: VerifyOutcome },
    /// A tool answered.
    ToolReturned { result: ToolResult },
    /// A server's tools are others than before. From here on these are the Run's.
    ToolsChanged { tools: Vec<ToolRoute> },
    /// Of the job's budgets this much is set aside for the request that is sent next.
    Reserved { reservation: Reservation },
    /// A budget of the job is used up.
    BudgetReached { reached: Reached },
    /// The state of the workspace is stored under this name. It has no randomness, and nothing derives from its
    /// time: ids and times are the same without it.
    SnapshotTaken { snapshot: SnapshotId },
    /// The Run is to stop: by a signal, or by an embedding program.
    Interrupted,
}

/// The name of every kind of fact, as the log spells it.
pub const KINDS: &[&str] = Kind::VARIANTS;

impl FactBody {
    /// The name of the kind, as the log spells it.
    pub fn kind(&self) -> &'static str {
        self.into()
    }
}

/// The outcome of the check of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum AnswerCheck {
    /// It is valid: `text` is the document.
    Valid {
        text: String,
        /// Its schema leaves no room for free text.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_closed: bool,
    },
    /// It is refused, for these reasons.
    Refused { problems: Vec<String> },
}

/// The end of a command that verifies an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyOutcome {
    pub end: VerifyEnd,
    /// The output, bounded: its standard error behind its standard output.
    pub output: String,
}

/// The way in which a command that verifies an answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum VerifyEnd {
    /// By itself; the answer is verified if the code is 0.
    Exited { code: i32 },
    /// By a signal.
    Killed { signal: i32 },
    /// It took longer than it may, and was ended.
    TimedOut {
        #[serde(with = "crate::count::Count")]
        limit_ms: u64,
    },
    /// It printed more than is kept of one stream, and was ended.
    Flooded {
        stream: String,
        #[serde(with = "crate::count::Count")]
        limit_bytes: u64,
    },
    /// It was not run, for this reason.
    NotRun { reason: String },
}

impl VerifyEnd {
    /// The exit code, of a command that ended by itself.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Exited { code } => Some(*code),
            _ => None,
        }
    }
}

impl fmt::Display for VerifyEnd {
    /// Behind the command: `exited with code 101`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What a shell ends with (POSIX, 2.8.2).
            Self::Exited { code: 127 } => f.write_str("exited with code 127: a program that it names was not found"),
            Self::Exited { code: 126 } => f.write_str("exited with code 126: a program that it names cannot be run"),
            Self::Exited { code } => write!(f, "exited with code {code}"),
            Self::Killed { signal } => write!(f, "was killed by signal {signal}"),
            Self::TimedOut { limit_ms } => write!(f, "was ended after {}", Span::from_ms(*limit_ms)),
            Self::Flooded { stream, limit_bytes } => {
                write!(f, "was ended as it printed more than {} MiB to {stream}", limit_bytes >> 20)
            }
            Self::NotRun { reason } => write!(f, "was not run: {reason}"),
        }
    }
}

/// Everything that a machine needs to know of a fresh Run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSpec {
    pub job_id: JobId,
    pub run_id: RunId,
    pub expert: ExpertRef,
    /// The whole text of the instruction message.
    pub instruction: String,
    /// The number of the first step: 1, or one above the delegating step.
    #[serde(with = "crate::count::Count")]
    pub first_step: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegated_by: Option<DelegatedBy>,
    #[serde(rename = "surroundings")]
    pub parameters: RunParameters,
    /// The job's budgets, in case a power cut takes the files that name them before they are synced.
    #[serde(default, skip_serializing_if = "Budgets::is_empty")]
    pub budgets: Budgets,
    /// The input comes from strangers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
    /// The state of the workspace that it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
}

/// The parameters of a Run, which may be others when it is resumed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunParameters {
    pub tools: Vec<ToolRoute>,
    /// The experts behind the tools of kind [`crate::tool::ToolKind::Delegate`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegates: Vec<ExpertRef>,
    pub limits: Limits,
    /// The model's context window in tokens, when known.
    #[serde(default, with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// The reaction to a conversation that no longer fits the window.
    #[serde(default, skip_serializing_if = "ContextLimit::is_default")]
    pub context_limit: ContextLimit,
    /// The price of the model, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The models that the Run may ask, in order, where it has fallbacks. The window and price above are those of the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ChainModel>,
    /// [`crate::budget::Budgets::max_tool_repetitions`].
    #[serde(default, with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub max_tool_repetitions: Option<u64>,
    /// There are permissions: every call is decided before the calls of its turn are made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub decides_calls: bool,
    /// The skills whose results come from strangers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrusted_skills: Vec<String>,
    /// The schema that the answer has to be valid against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<OutputSchema>,
    /// The command that has to succeed before the answer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifyCommand>,
    /// The files whose texts are in the instruction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context_files: Vec<ContextFile>,
    /// The folders beneath the workspace in which the job's experts look for such files too: those of the files that were
    /// sent along. Delegates have them as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context_folders: Vec<String>,
    /// The moments at which the state of the workspace is stored.
    #[serde(default, skip_serializing_if = "SnapshotMode::is_off")]
    pub snapshots: SnapshotMode,
    /// Digests of what it works with. Nothing follows from them: they tie the record to it. Absent in older logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digests: Option<RunDigests>,
}

/// The way a Run goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumption {
    /// The Run that goes on: a new one when it continues from a checkpoint, the same one after a crash.
    pub run_id: RunId,
    /// The checkpoint continued from, and its Run. Absent when the same Run goes on after a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentCheckpoint>,
    /// A message that the user adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<UserInput>,
    /// Answers to calls that the checkpoint has pending: from people, from delegates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<ToolResult>,
    /// The highest step number that the delegates behind the answers reached; the next step has one above it.
    #[serde(default, with = "crate::count::Count")]
    pub reached_step: u64,
    /// The usage of those delegates.
    #[serde(default)]
    pub delegated_usage: Usage,
    /// The cost of those delegates.
    #[serde(default)]
    pub delegated_spend: Spend,
    /// The query or an answer comes from strangers, or from a delegate that had read text of theirs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
    /// The text that replaces the checkpoint's instruction message: of a checkpoint that was read from a file outside the
    /// storage, and where files that belong to the instruction have changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// The state of the workspace that it goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    #[serde(rename = "surroundings")]
    pub parameters: RunParameters,
}

/// A checkpoint by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentCheckpoint {
    pub run_id: RunId,
    pub checkpoint_id: CheckpointId,
}

#[cfg(test)]
mod tests;
