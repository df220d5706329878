//! [`ReplayTransport`] and [`ReplayTools`]: answers from a cassette, in place of a network and of tools.
//!
//! A request is answered by the first unused exchange whose request is equal, not simply by the next one: Runs beside
//! each other may send theirs in another order than they did. A request that none fits is an error that lists how it
//! differs from the next recorded one.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::cassette::{Exchange, RecordedAnswer, RecordedRequest, RecordedResponse, ToolExchange};
use super::workspace::{WorkspacePaths, map_strings};
use super::{Cassette, ReplayError, difference};
use crate::expert::ExpertKey;
use crate::future::BoxFuture;
use crate::hint::ErrorHint as _;
use crate::provider::http::transport::{
    Body, HttpRequest, HttpResponse, Transport, TransportError, TransportErrorKind,
};
use crate::tool::{ToolCall, ToolResult, ToolSpec};

/// The records of a list that were not used yet.
struct Unused(Mutex<Vec<bool>>);

impl Unused {
    fn new(count: usize) -> Self {
        Self(Mutex::new(vec![true; count]))
    }

    /// Uses up the first unused record that fits; otherwise returns the unused ones, by index.
    fn take<'a, T>(&self, records: &'a [T], fits: impl Fn(&T) -> bool) -> Result<&'a T, Vec<(usize, &'a T)>> {
        let mut unused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (record, flag) in records.iter().zip(unused.iter_mut()) {
            if *flag && fits(record) {
                *flag = false;
                return Ok(record);
            }
        }
        Err(records
            .iter()
            .enumerate()
            .zip(unused.iter())
            .filter(|(_, flag)| **flag)
            .map(|(record, _)| record)
            .collect())
    }
}

/// A transport that answers from a cassette.
pub struct ReplayTransport {
    cassette: Arc<Cassette>,
    workspace: WorkspacePaths,
    unused: Unused,
}

impl ReplayTransport {
    /// Answers from `cassette` for a job in `workspace`.
    pub fn new(cassette: Arc<Cassette>, workspace: &Path) -> Self {
        let unused = Unused::new(cassette.exchanges.len());
        Self { cassette, workspace: WorkspacePaths::new(workspace), unused }
    }

    fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, TransportError> {
        let RecordedRequest { path, body } = RecordedRequest::new(request);
        let request = RecordedRequest { path, body: map_strings(body, &|text| self.workspace.hide(text)) };
        let exchange = self
            .unused
            .take(&self.cassette.exchanges, |exchange| exchange.request == request)
            .map_err(|unused| no_answer(&self.mismatch(&request, unused.first().copied())))?;
        match &exchange.answer {
            RecordedAnswer::Failure(error) => Err(error.clone()),
            RecordedAnswer::Response(response) => self.respond(response),
        }
    }

    fn respond(&self, response: &RecordedResponse) -> Result<HttpResponse, TransportError> {
        let bytes = response.body.bytes(|text| self.workspace.show(text)).map_err(|error| {
            let what = format!("cassette {} holds a body that is no base64 ({error})", self.cassette.path.display());
            no_answer(&ReplayError::Mismatch(what))
        })?;
        let body = ReplayBody { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()), cut: response.cut.clone() };
        Ok(HttpResponse { status: response.status, headers: response.headers.clone(), body: Box::new(body) })
    }

    fn mismatch(&self, asked: &RecordedRequest, next: Option<(usize, &Exchange)>) -> ReplayError {
        let name = self.cassette.path.display();
        let Some((index, exchange)) = next else {
            let count = self.cassette.exchanges.len();
            let path = &asked.path;
            return ReplayError::Mismatch(format!(
                "a request to {path} follows the last of {count} in cassette {name}"
            ));
        };
        let recorded = &exchange.request;
        let lines = if recorded.path == asked.path {
            difference::describe(&recorded.body, &asked.body)
        } else {
            format!("\n  path: recorded {}, now {}", recorded.path, asked.path)
        };
        let number = index + 1;
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

/// Tool results from a cassette, in place of running tools.
pub struct ReplayTools {
    cassette: Arc<Cassette>,
    workspace: WorkspacePaths,
    unused: Unused,
    unused_offers: Unused,
}

impl ReplayTools {
    /// Answers from `cassette` for a job in `workspace`.
    pub fn new(cassette: Arc<Cassette>, workspace: &Path) -> Self {
        let (unused, unused_offers) = (Unused::new(cassette.tools.len()), Unused::new(cassette.offers.len()));
        Self { cassette, workspace: WorkspacePaths::new(workspace), unused, unused_offers }
    }

    /// The tools that the servers of `expert` offered, for one Run after the other; the last offer serves all further
    /// Runs. `None` when none was recorded, as in cassettes of the first version.
    ///
    /// # Errors
    /// [`ReplayError::Mismatch`] when the record cannot be used.
    pub fn offer(&self, expert: &ExpertKey) -> Result<Option<Vec<ToolSpec>>, ReplayError> {
        let offers = &self.cassette.offers;
        let next = self.unused_offers.take(offers, |offer| offer.expert == *expert).ok();
        let Some(offer) = next.or_else(|| offers.iter().rfind(|offer| offer.expert == *expert)) else {
            return Ok(None);
        };
        self.shown(&offer.tools).map(Some).map_err(|error| {
            let name = self.cassette.path.display();
            ReplayError::Mismatch(format!("the tools of expert {expert} in cassette {name} cannot be used ({error})"))
        })
    }

    /// A recorded value with the path of the current workspace.
    fn shown<T: Serialize + DeserializeOwned>(&self, recorded: &T) -> serde_json::Result<T> {
        let value = map_strings(serde_json::to_value(recorded)?, &|text| self.workspace.show(text));
        serde_json::from_value(value)
    }

    /// The recorded result of `call`: of the same id, tool and arguments. Each recorded result is used once.
    ///
    /// # Errors
    /// [`ReplayError::Mismatch`] when there is none.
    pub fn result(&self, call: &ToolCall) -> Result<ToolResult, ReplayError> {
        let args: Map<String, Value> = call
            .args
            .iter()
            .map(|(key, value)| (key.clone(), map_strings(value.clone(), &|text| self.workspace.hide(text))))
            .collect();
        let asked = ToolCall { args, ..call.clone() };
        let found = self
            .unused
            .take(&self.cassette.tools, |tool| is_same(&tool.call, &asked))
            .map_err(|unused| self.mismatch(&asked, &unused))?;
        self.shown(&found.result).map_err(|error| {
            let name = self.cassette.path.display();
            ReplayError::Mismatch(format!(
                "the result of {} in cassette {name} cannot be used ({error})",
                call.tool_name
            ))
        })
    }

    fn mismatch(&self, asked: &ToolCall, unused: &[(usize, &ToolExchange)]) -> ReplayError {
        let (name, tool) = (self.cassette.path.display(), &asked.tool_name);
        let same_id = unused.iter().find(|(_, tool)| tool.call.id == asked.id);
        let same_tool = unused.iter().find(|(_, tool)| tool.call.tool_name == asked.tool_name);
        let Some((_, near)) = same_id.or(same_tool) else {
            return ReplayError::Mismatch(format!("cassette {name} holds no further result of {tool}"));
        };
        let show = |call: &ToolCall| json!({"id": call.id, "toolName": call.tool_name, "args": call.args});
        let lines = difference::describe(&show(&near.call), &show(asked));
        ReplayError::Mismatch(format!("a call of {tool} differs from that in cassette {name}:{lines}"))
    }
}

fn is_same(recorded: &ToolCall, asked: &ToolCall) -> bool {
    recorded.id == asked.id && recorded.tool_name == asked.tool_name && recorded.args == asked.args
}
