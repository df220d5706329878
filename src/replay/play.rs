//! [`ReplayTransport`] and [`ReplayTools`]: answers from a cassette, in place of a network and of tools.
//!
//! A request is answered by the first unused exchange whose request is equal, not simply by the next one: Runs beside
//! each other may send theirs in another order than they did. A request that none fits is an error that lists how it
//! differs from the next recorded one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cassette::{Record, RecordedAnswer, RecordedOffer, RecordedResponse, ToolExchange};
use super::conversations::Conversations;
use super::digest::Digest;
use super::index::{Place, digest_of, shown};
use super::outline::{OutlineUse, value_of};
use super::record::SentRequest;
use super::workspace::LocalPaths;
use super::{Cassette, ReplayError, difference};
use crate::expert::ExpertKey;
use crate::future::BoxFuture;
use crate::hint::ErrorHint as _;
use crate::id::RunId;
use crate::json_text::change_strings;
use crate::permission::CallDecision;
use crate::provider::http::request_body::RequestBody;
use crate::provider::http::transport::{
    Body, HttpRequest, HttpResponse, Transport, TransportError, TransportErrorKind,
};
use crate::tool::{ToolCall, ToolResult, ToolSpec};

/// The records of a kind that were not used yet, by their digests.
struct Unused {
    queues: HashMap<Digest, VecDeque<usize>>,
    used: Vec<bool>,
    /// All before this one are used.
    first: usize,
}

impl Unused {
    fn new(records: &[(Place, Digest)]) -> Self {
        let mut queues: HashMap<Digest, VecDeque<usize>> = HashMap::with_capacity(records.len());
        for (index, (_, digest)) in records.iter().enumerate() {
            queues.entry(*digest).or_default().push_back(index);
        }
        Self { queues, used: vec![false; records.len()], first: 0 }
    }

    /// Uses up the first unused record with this digest.
    fn take(&mut self, digest: Digest) -> Option<usize> {
        let index = self.queues.get_mut(&digest)?.pop_front()?;
        if let Some(used) = self.used.get_mut(index) {
            *used = true;
        }
        while self.used.get(self.first) == Some(&true) {
            self.first = self.first.saturating_add(1);
        }
        Some(index)
    }

    /// The unused records, in their order.
    fn rest(&self) -> impl Iterator<Item = usize> + '_ {
        (self.first..self.used.len()).filter(|index| self.used.get(*index) == Some(&false))
    }
}

/// Most exchanges that a request without an equal one is compared with.
const MOST_COMPARED: usize = 64;

/// The number of equal fields of two requests, and of equal items at the beginning of their lists.
fn likeness(one: &Value, other: &Value) -> usize {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else { return 0 };
    let alike = |(key, field): (&String, &Value)| match (field, other.get(key)) {
        (Value::Array(items), Some(Value::Array(others))) => {
            items.iter().zip(others).take_while(|(item, other)| item == other).count()
        }
        (field, other) => usize::from(other == Some(field)),
    };
    one.iter().map(alike).sum()
}

/// The first difference of a replay from its recording.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplayDifference {
    /// A request that the recording does not have.
    Request {
        /// Path and body of the request that was recorded in its place; none behind the last one.
        recorded: Option<(String, Value)>,
        /// Path and body of the request.
        now: (String, Value),
    },
    /// A server whose tools are not known, since it is not the one that was recorded.
    Server {
        expert: ExpertKey,
        /// The name of its skill.
        skill: String,
        /// The definition that was recorded under this name, if any.
        recorded: Option<Value>,
        now: Value,
    },
}

/// A transport that answers from a cassette.
pub struct ReplayTransport {
    cassette: Arc<Cassette>,
    paths: LocalPaths,
    asked: Mutex<Asked>,
    /// Gets the first request that was not recorded.
    difference: Option<Arc<OnceLock<ReplayDifference>>>,
}

struct Asked {
    conversations: Conversations,
    unused: Unused,
}

impl ReplayTransport {
    /// Answers from `cassette` for a job with these `paths`.
    pub fn new(cassette: Arc<Cassette>, paths: LocalPaths) -> Self {
        let unused = Unused::new(&cassette.exchanges);
        let asked = Mutex::new(Asked { conversations: Conversations::default(), unused });
        Self { cassette, paths, asked, difference: None }
    }

    /// Leaves the first request that was not recorded in `difference`.
    #[must_use]
    pub fn noting(self, difference: Option<Arc<OnceLock<ReplayDifference>>>) -> Self {
        Self { difference, ..self }
    }

    fn note(&self, path: &str, body: &RequestBody, recorded: Option<(String, Value)>) {
        if let Some(difference) = &self.difference {
            difference.get_or_init(|| {
                let now = (path.to_owned(), self.hidden(value_of(body)));
                ReplayDifference::Request { recorded, now }
            });
        }
    }

    fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, TransportError> {
        let SentRequest { path, body } = SentRequest::new(request);
        let found = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let placed = asked.conversations.place(&body, &|value| self.hidden(value), OutlineUse::Digest);
            let digest = placed.digest.at(&path);
            asked.unused.take(digest).ok_or_else(|| asked.unused.rest().take(MOST_COMPARED).collect::<Vec<_>>())
        };
        let index = found.map_err(|next| no_answer(&self.mismatch(&path, &body, &next)))?;
        match self.exchange(index).map_err(|error| no_answer(&error))? {
            RecordedAnswer::Failure(error) => Err(error),
            RecordedAnswer::Response(response) => self.respond(&response),
        }
    }

    /// Of the unused exchanges the one whose request has most in common with this one: Runs that go on side by side ask in
    /// another order than they were recorded in.
    fn nearest(
        &self,
        unused: &[usize],
        path: &str,
        now: &Value,
    ) -> Result<Option<(usize, String, Value)>, ReplayError> {
        let mut nearest: Option<((bool, usize), usize, String, Value)> = None;
        for index in unused {
            let Some((place, _)) = self.cassette.exchanges.get(*index) else { continue };
            let (recorded_path, recorded) = self.cassette.request(*place)?;
            let likeness = (recorded_path == path, likeness(&recorded, now));
            if nearest.as_ref().is_none_or(|(known, ..)| likeness > *known) {
                nearest = Some((likeness, *index, recorded_path, recorded));
            }
        }
        Ok(nearest.map(|(_, index, path, body)| (index, path, body)))
    }

    fn exchange(&self, index: usize) -> Result<RecordedAnswer, ReplayError> {
        let (place, _) = self.cassette.exchanges.get(index).ok_or_else(|| self.cassette.changed())?;
        self.cassette.answer(*place)
    }

    fn hidden(&self, value: Value) -> Value {
        self.paths.hidden(value)
    }

    fn respond(&self, response: &RecordedResponse) -> Result<HttpResponse, TransportError> {
        let bytes = response.body.bytes(&|text| self.paths.show(text)).map_err(|what| {
            let what = format!("cassette {} holds {what}", self.cassette.path.display());
            no_answer(&ReplayError::Mismatch(what))
        })?;
        let body = ReplayBody { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()), cut: response.cut.clone() };
        Ok(HttpResponse { status: response.status, headers: response.headers.clone(), body: Box::new(body) })
    }

    /// The error for a request that is none of the recorded ones; `unused` are those that it may be.
    fn mismatch(&self, path: &str, body: &RequestBody, unused: &[usize]) -> ReplayError {
        let name = self.cassette.path.display();
        let now = self.hidden(value_of(body));
        let (index, recorded_path, recorded) = match self.nearest(unused, path, &now) {
            Ok(Some(nearest)) => nearest,
            Ok(None) => {
                self.note(path, body, None);
                let count = self.cassette.exchanges.len();
                return ReplayError::Mismatch(format!(
                    "a request to {path} follows the last of {count} in cassette {name}"
                ));
            }
            Err(error) => return error,
        };
        self.note(path, body, Some((recorded_path.clone(), recorded.clone())));
        let lines = if recorded_path == path {
            difference::describe(&recorded, &now)
        } else {
            format!("\n  path: recorded {recorded_path}, now {path}")
        };
        let number = index.saturating_add(1);
        ReplayError::Mismatch(format!("a request differs from number {number} in cassette {name}:{lines}"))
    }
}

impl Transport for ReplayTransport {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(async move { self.answer(&request) })
    }
}

fn no_answer(error: &ReplayError) -> TransportError {
    TransportError { kind: TransportErrorKind::Replay, message: error.with_hint() }
}

/// A recorded body, in one piece, and then the end that it had.
struct ReplayBody {
    bytes: Option<Vec<u8>>,
    cut: Option<TransportError>,
}

impl Body for ReplayBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, TransportError>> {
        Box::pin(async move {
            match (self.bytes.take(), &self.cut) {
                (Some(bytes), _) => Ok(Some(bytes)),
                (None, Some(cut)) => Err(cut.clone()),
                (None, None) => Ok(None),
            }
        })
    }
}

/// People's decisions from a cassette, in place of asking.
pub struct ReplayDecisions {
    cassette: Arc<Cassette>,
    paths: LocalPaths,
    unused: Mutex<Unused>,
}

impl ReplayDecisions {
    /// Decides from `cassette` for a job with these `paths`.
    pub fn new(cassette: Arc<Cassette>, paths: LocalPaths) -> Self {
        let unused = Mutex::new(Unused::new(&cassette.decisions));
        Self { cassette, paths, unused }
    }

    /// The recorded decision about `call`: of the same id, tool and arguments. Each is used once; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub fn decision(&self, call: &ToolCall) -> Result<Option<CallDecision>, ReplayError> {
        let asked = hidden_call(call, &self.paths);
        let index = self.unused.lock().unwrap_or_else(PoisonError::into_inner).take(digest_of(&asked));
        let Some((place, _)) = index.and_then(|index| self.cassette.decisions.get(index)) else { return Ok(None) };
        match self.cassette.record(*place)? {
            Record::Permission(record) => Ok(Some(record.decision)),
            _ => Err(self.cassette.changed()),
        }
    }
}

/// The call as a recording has it.
fn hidden_call(call: &ToolCall, paths: &LocalPaths) -> ToolCall {
    let mut hidden = call.clone();
    hidden.args.values_mut().for_each(|value| change_strings(value, &|text| paths.hide(text)));
    hidden
}

/// Tool results from a cassette, in place of running tools.
pub struct ReplayTools {
    cassette: Arc<Cassette>,
    paths: LocalPaths,
    unused: Mutex<Unused>,
    /// The number of offers that were used, by expert.
    offered: Mutex<HashMap<ExpertKey, usize>>,
    /// The number of changes that were used, by Run and the number of its requests before.
    changed: Mutex<HashMap<(RunId, u64), usize>>,
}

impl ReplayTools {
    /// Answers from `cassette` for a job with these `paths`.
    pub fn new(cassette: Arc<Cassette>, paths: LocalPaths) -> Self {
        let unused = Mutex::new(Unused::new(&cassette.tools));
        Self { cassette, paths, unused, offered: Mutex::default(), changed: Mutex::default() }
    }

    /// The tools that the servers of `run` have had since it had sent so many requests, if they changed them then. Each change
    /// is used once.
    ///
    /// # Errors
    /// [`ReplayError::Mismatch`] when the record cannot be used.
    pub fn change(&self, run: &RunId, behind: u64) -> Result<Option<Vec<ToolSpec>>, ReplayError> {
        let key = (run.clone(), behind);
        let Some(places) = self.cassette.changes.get(&key) else { return Ok(None) };
        let place = {
            let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            let used = changed.entry(key).or_default();
            let place = places.get(*used);
            *used = used.saturating_add(1);
            place.copied()
        };
        let Some(place) = place else { return Ok(None) };
        let Record::Change(change) = self.cassette.record(place)? else { return Err(self.cassette.changed()) };
        self.shown(&change.tools).map(Some).map_err(|error| {
            let name = self.cassette.path.display();
            ReplayError::Mismatch(format!("the changed tools of run {run} in cassette {name} cannot be used ({error})"))
        })
    }

    /// The tools that the servers of `expert` offered, for one Run after the other; the last offer serves all further
    /// Runs. `None` when none was recorded, as in cassettes of the first version.
    ///
    /// # Errors
    /// [`ReplayError::Mismatch`] when the record cannot be used.
    pub fn offer(&self, expert: &ExpertKey) -> Result<Option<RecordedOffer>, ReplayError> {
        let Some(places) = self.cassette.offers.get(expert) else { return Ok(None) };
        let place = {
            let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
            let used = offered.entry(expert.clone()).or_default();
            let place = places.get(*used).or(places.last());
            *used = used.saturating_add(1);
            place.copied()
        };
        let Some(Record::Offer(offer)) = place.map(|place| self.cassette.record(place)).transpose()? else {
            return Err(self.cassette.changed());
        };
        let tools = self.shown(&offer.tools);
        tools.map(|tools| Some(RecordedOffer { tools, ..offer })).map_err(|error| {
            let name = self.cassette.path.display();
            ReplayError::Mismatch(format!("the tools of expert {expert} in cassette {name} cannot be used ({error})"))
        })
    }

    /// A recorded value with the path of the current workspace.
    fn shown<T: Serialize + DeserializeOwned>(&self, recorded: &T) -> serde_json::Result<T> {
        serde_json::from_value(self.paths.shown(serde_json::to_value(recorded)?))
    }

    /// The recorded result of `call`: of the same id, tool and arguments. Each recorded result is used once.
    ///
    /// # Errors
    /// [`ReplayError::Mismatch`] when there is none.
    pub fn result(&self, call: &ToolCall) -> Result<ToolResult, ReplayError> {
        let asked = hidden_call(call, &self.paths);
        let found = {
            let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
            unused.take(digest_of(&asked)).ok_or_else(|| unused.rest().collect())
        };
        let index = found.map_err(|rest: Vec<usize>| self.mismatch(&asked, &rest))?;
        let (recorded, has_placeholders) = self.exchange(index)?;
        if !has_placeholders {
            return Ok(recorded.result);
        }
        self.shown(&recorded.result).map_err(|error| {
            let name = self.cassette.path.display();
            ReplayError::Mismatch(format!(
                "the result of {} in cassette {name} cannot be used ({error})",
                call.tool_name
            ))
        })
    }

    fn exchange(&self, index: usize) -> Result<(ToolExchange, bool), ReplayError> {
        let (place, _) = self.cassette.tools.get(index).ok_or_else(|| self.cassette.changed())?;
        self.cassette.tool(*place)
    }

    /// The difference from the unused call with the same id, or else the first of the same tool.
    fn mismatch(&self, asked: &ToolCall, unused: &[usize]) -> ReplayError {
        let (name, tool) = (self.cassette.path.display(), &asked.tool_name);
        let mut near: Option<ToolCall> = None;
        for index in unused {
            let recorded = match self.exchange(*index) {
                Ok((recorded, _)) => recorded.call,
                Err(error) => return error,
            };
            if recorded.id == asked.id {
                near = Some(recorded);
                break;
            }
            if near.is_none() && recorded.tool_name == asked.tool_name {
                near = Some(recorded);
            }
        }
        let Some(near) = near else {
            return ReplayError::Mismatch(format!("cassette {name} holds no further result of {tool}"));
        };
        let lines = difference::describe(&shown(&near), &shown(asked));
        ReplayError::Mismatch(format!("a call of {tool} differs from that in cassette {name}:{lines}"))
    }
}
