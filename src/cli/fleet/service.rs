//! [`JobService`]: what a worker offers to the engine. A job is an object of the engine, whose turns come one after the other;
//! looks at it and its cancellation come beside them.
//!
//! The engine's code generation gives a service one fixed name; here it depends on the worker's label, so that the few lines
//! that it would write are written by hand.

use std::sync::Arc;
use std::time::Duration;

use perstack::workspace_source::{WorkspaceSource, WorkspaceSourceError};
use restate_sdk::context::{
    ContextAwakeables as _, ContextClient as _, ContextReadState as _, ContextWriteState as _, ObjectContext,
    SharedObjectContext,
};
use restate_sdk::discovery::{
    Handler, HandlerName, HandlerType, InputPayload, OutputPayload, Service as Described, ServiceName, ServiceType,
};
use restate_sdk::endpoint::{ContextInternal, Error, ServiceOptions};
use restate_sdk::errors::{HandlerError, HandlerResult, TerminalError};
use restate_sdk::serde::Json;
use restate_sdk::service::macro_support::{ServiceBoxFuture, service_definition};
use restate_sdk::service::{Service, ServiceDefinition};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::child::{ProcessEnd, TurnRunner};
use super::source::{SourceRule, repository};
use super::turn::{FORMAT_VERSION, FleetJobState, ProjectFiles, TurnEnd, TurnInput, parse_flags};

/// The handlers' names.
pub const WORK: &str = "work";
pub const END: &str = "end";
pub const STATE: &str = "state";
pub const CANCEL: &str = "cancel";

/// The key of [`FleetJobState`] in the object.
const KEY: &str = "job";

/// The wait for a place on a full worker, before the engine is to ask again: another may be idle. Short, since who waits
/// keeps others out of the connection, those that only look at a job or cancel it included.
const PATIENCE: Duration = Duration::from_millis(250);

/// A turn may be silent for as long as it takes: its end, or that of the connection, is what counts.
const SILENCE: Duration = Duration::from_hours(365 * 24);

/// The pauses between tries of a turn. The engine's own would grow to a minute and more.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The tries of a turn: the engine must never come to an end of them. By its own rules it would lay a turn aside after 70, which is
/// less than a minute without a place or a storage.
const MOST_TRIES: u64 = 1 << 32;

/// The time for which the engine knows of turns that have ended. Jobs are kept by the storage.
const KEPT: Duration = Duration::from_hours(7 * 24);

/// A worker's offer.
pub struct JobService {
    pub runner: TurnRunner,
    /// The repositories that jobs may have their workspaces made from.
    pub sources: Vec<SourceRule>,
    /// The worker's project.
    pub project: ProjectFiles,
    /// The turns that may run at the same time.
    pub places: Semaphore,
    /// Fired when the worker ends.
    pub closing: CancellationToken,
    pub board: Arc<Board>,
}

impl JobService {
    /// The offer under the name `service`.
    ///
    /// # Errors
    /// The name is none that the engine knows.
    pub fn offered_as(self, service: &str) -> anyhow::Result<ServiceDefinition> {
        let handler = |name: &str, ty: HandlerType, input: InputPayload| -> anyhow::Result<Handler> {
            let mut handler: Handler = serde_json::from_value(serde_json::json!({ "name": name }))?;
            handler.name = HandlerName::try_from(name.to_owned())?;
            (handler.ty, handler.input) = (Some(ty), Some(input));
            handler.output = Some(OutputPayload::from_metadata::<Json<Value>>());
            Ok(handler)
        };
        let mut described: Described = serde_json::from_value(serde_json::json!({
            "name": service, "ty": ServiceType::VirtualObject, "handlers": []
        }))?;
        described.name = ServiceName::try_from(service.to_owned())?;
        described.handlers = vec![
            handler(WORK, HandlerType::Exclusive, InputPayload::from_metadata::<Json<Value>>())?,
            handler(END, HandlerType::Exclusive, InputPayload::empty())?,
            handler(STATE, HandlerType::Shared, InputPayload::empty())?,
            handler(CANCEL, HandlerType::Shared, InputPayload::empty())?,
        ];
        let options = ServiceOptions::new()
            .inactivity_timeout(SILENCE)
            .journal_retention(KEPT)
            .idempotency_retention(KEPT)
            .retry_policy_initial_interval(FIRST_PAUSE)
            .retry_policy_exponentiation_factor(2.0)
            .retry_policy_max_interval(LONGEST_PAUSE)
            .retry_policy_max_attempts(MOST_TRIES);
        Ok(service_definition(Dispatcher(Arc::new(self)), described).options(options))
    }

    async fn work(&self, ctx: ObjectContext<'_>, input: Value) -> HandlerResult<Json<TurnEnd>> {
        let input: TurnInput = match serde_json::from_value(input) {
            Ok(input) => input,
            Err(error) => return Ok(Json(TurnEnd::refused(format!("the job cannot be read: {error}")))),
        };
        let known = ctx.get::<Json<FleetJobState>>(KEY).await?.map(Json::into_inner);
        if let Some((known, refusal)) = known.and_then(|known| known.refusal(&input).map(|refusal| (known, refusal))) {
            // What the engine knows of the job stays as it is.
            ctx.set(KEY, Json(FleetJobState { refused: Some(refusal.clone()), ..known }));
            return Ok(Json(TurnEnd::refused(refusal)));
        }
        let invocation = ctx.invocation_id().to_owned();
        let mut state = FleetJobState { invocation, input: input.clone(), end: None, refused: None };
        ctx.set(KEY, Json(state.clone()));
        let (_, cancelled) = ctx.awakeable::<()>();
        let stop = self.closing.child_token();
        let end = {
            let mut turn = std::pin::pin!(self.turn(ctx.key(), &input, &stop));
            tokio::select! {
                biased;
                // Nobody completes it: what comes is the engine's cancellation.
                _ = cancelled => {
                    stop.cancel();
                    // It may have come to its end in the same moment.
                    turn.await.unwrap_or_else(|_| TurnEnd::cancelled())
                }
                end = &mut turn => end?,
            }
        };
        state.end = Some(end.clone());
        ctx.set(KEY, Json(state));
        Ok(Json(end))
    }

    /// The source of the workspace that the job is to have of its own.
    fn source(&self, input: &TurnInput) -> Result<Option<WorkspaceSource>, String> {
        let Some(text) = &input.workspace_from else { return Ok(None) };
        let source: WorkspaceSource = text.parse().map_err(|error: WorkspaceSourceError| error.to_string())?;
        let address = &repository(&source)?.address;
        if !self.sources.iter().any(|rule| rule.covers(address)) {
            return Err(format!(
                "the worker makes no workspace from {address}: `fleet worker --workspace-source` names the repositories that \
                 jobs may use"
            ));
        }
        Ok(Some(source))
    }

    /// Runs a turn, or refuses it.
    async fn turn(&self, key: &str, input: &TurnInput, stop: &CancellationToken) -> Result<TurnEnd, HandlerError> {
        if input.format_version > FORMAT_VERSION {
            return Ok(TurnEnd::refused(format!(
                "the job has format version {}, and this worker reads up to {FORMAT_VERSION}: update the workers",
                input.format_version
            )));
        }
        if input.project != self.project.digest()? {
            return Ok(TurnEnd::refused(
                "the job was submitted from another state of the project than the workers have: their perstack.toml, what it \
                 includes and perstack.lock have to be the same",
            ));
        }
        let Ok(job) = key.parse() else { return Ok(TurnEnd::refused(format!("{key:?} is no id of a job"))) };
        let model = match parse_flags(&input.flags) {
            Ok(model) => model,
            Err(text) => return Ok(TurnEnd::refused(text)),
        };
        let source = match self.source(input) {
            Ok(source) => source,
            Err(text) => return Ok(TurnEnd::refused(text)),
        };
        let place = tokio::select! {
            biased;
            // A place that becomes free while the worker ends is nobody's.
            () = stop.cancelled() => return Err("the worker ends".into()),
            place = tokio::time::timeout(PATIENCE, self.places.acquire()) => place,
        };
        let Ok(Ok(_place)) = place else {
            self.board.has_no_place();
            return Err("the worker is full".into());
        };
        let shown = self.board.begins(key, &input.expert);
        match self.runner.run(&job, input, (model, source), stop).await? {
            // Stopped with the worker: another one goes on.
            ProcessEnd::Turn(_) if self.closing.is_cancelled() => {
                shown.given_back(None);
                Err("the worker ends".into())
            }
            ProcessEnd::Turn(end) => {
                shown.ended(&end);
                Ok(end)
            }
            ProcessEnd::Again(why) => {
                shown.given_back(Some(&why));
                Err(why.into())
            }
        }
    }
}

/// Calls the handlers by their names.
struct Dispatcher(Arc<JobService>);

impl Service for Dispatcher {
    type Future = ServiceBoxFuture;

    fn handle(&self, ctx: ContextInternal) -> Self::Future {
        let service = Arc::clone(&self.0);
        Box::pin(async move {
            match ctx.handler_name() {
                WORK => {
                    let (Json(input), metadata) = ctx.input::<Json<Value>>().await;
                    let ended = service.work((&ctx, metadata).into(), input).await;
                    ctx.handle_handler_result(ended);
                }
                // The engine lets in END once all turns that were handed over before have ended, and STATE at any time.
                END | STATE => {
                    let ((), metadata) = ctx.input::<()>().await;
                    ctx.handle_handler_result(state((&ctx, metadata).into()).await);
                }
                CANCEL => {
                    let ((), metadata) = ctx.input::<()>().await;
                    ctx.handle_handler_result(cancel((&ctx, metadata).into()).await);
                }
                other => return Err(Error::unknown_handler(ctx.service_name(), other)),
            }
            ctx.end();
            Ok(())
        })
    }
}

async fn read_state(ctx: &SharedObjectContext<'_>) -> Result<Option<FleetJobState>, TerminalError> {
    Ok(ctx.get::<Json<FleetJobState>>(KEY).await?.map(Json::into_inner))
}

async fn state(ctx: SharedObjectContext<'_>) -> HandlerResult<Json<Option<FleetJobState>>> {
    Ok(Json(read_state(&ctx).await?))
}

/// Cancels the turn that is at work. Returns whether there is one.
async fn cancel(ctx: SharedObjectContext<'_>) -> HandlerResult<Json<bool>> {
    let at_work = read_state(&ctx).await?.filter(|state| state.end.is_none());
    if let Some(state) = &at_work {
        ctx.invocation_handle(state.invocation.clone()).cancel();
    }
    Ok(Json(at_work.is_some()))
}
