//! `perstack fleet worker`: offers the project's experts to the engine, and runs what it is asked for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use perstack::expert::ExpertKey;
use restate_sdk::endpoint::Endpoint;
use restate_sdk::hyper::HyperEndpoint;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::board::{Board, TICK};
use super::child::{END, TurnRunner};
use super::ingress::Engine;
use super::label::{Label, service_of};
use super::service::JobService;
use super::source::SourceRule;
use super::turn::ProjectFiles;
use crate::cli::failure::Failure;
use crate::cli::job_runner::async_runtime;
use crate::cli::options::{JobArgs, LockArgs, ModelArgs, PermissionArgs, PlaceArgs};
use crate::cli::setup::{ProjectNeed, Setup};
use crate::cli::signals::Signals;
use crate::cli::workspace_from::own_folder;
use crate::cli::{Exit, Process, trust};

/// The address that the engine's documents use for services.
const ADDRESS: &str = "127.0.0.1:9080";

/// Turns at a time where nothing else is asked for.
const PARALLEL: u32 = 4;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// The time that connections have to end once the turns have.
const FAREWELL: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  perstack fleet worker --storage s3://BUCKET/PREFIX --register http://127.0.0.1:9070
  perstack fleet worker --label gpu --listen 127.0.0.1:9081 --register http://127.0.0.1:9070
  perstack fleet worker --listen 0.0.0.0:9080 --identity-key publickeyv1_...

Several workers on one machine may have the same address. Who may speak to a worker, or to the
engine's ingress, or write to the storage, may have its experts run: see docs/scale.md.";

/// Runs the jobs that the engine has for it
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct WorkerArgs {
    /// The address that the engine speaks to. One that other machines can reach needs --identity-key
    #[arg(long, value_name = "ADDRESS", default_value = ADDRESS)]
    listen: SocketAddr,
    /// Take the jobs of this label, and no others
    #[arg(long, value_name = "LABEL")]
    label: Option<Label>,
    /// Jobs at a time
    #[arg(long, value_name = "N", default_value_t = PARALLEL, value_parser = clap::value_parser!(u32).range(1..=1024))]
    parallel: u32,
    /// Make workspaces for jobs that ask for one of their own (`submit --workspace-from`) from this git repository; one that
    /// ends with `/` or `:` stands for all whose addresses begin so (repeatable). The worker's own git and credentials are used
    #[arg(long, value_name = "ADDRESS")]
    workspace_source: Vec<SourceRule>,
    /// The engine's public key: requests that are not signed by it are refused (repeatable)
    #[arg(long, value_name = "KEY")]
    identity_key: Vec<String>,
    /// Make the worker known to the engine with this address for administration
    #[arg(long, value_name = "URL")]
    register: Option<String>,
    /// The address that the engine is to use [default: that of --listen]
    #[arg(long, value_name = "URL", requires = "register")]
    advertise: Option<String>,
    #[command(flatten, next_help_heading = "Places")]
    place: PlaceArgs,
    #[command(flatten, next_help_heading = "Permissions")]
    permissions: PermissionArgs,
    #[command(flatten, next_help_heading = "Lock")]
    lock: LockArgs,
}

/// Runs the command.
pub fn run(args: &WorkerArgs, process: &Process) -> Result<Exit, Failure> {
    if !args.listen.ip().is_loopback() && args.identity_key.is_empty() {
        return Err(Failure::usage(anyhow!(
            "{} can be reached from other machines, and whoever reaches it can have jobs run",
            args.listen
        ))
        .help("give the engine's public key with --identity-key, or listen to 127.0.0.1"));
    }
    let job = JobArgs {
        place: args.place.clone(),
        permissions: args.permissions.clone(),
        lock: args.lock,
        ..JobArgs::default()
    };
    let setup = Setup::read(process, &args.place, &ModelArgs::default(), ProjectNeed::Required)?;
    setup.print_warnings(process, false);
    setup.print_unusable(process, false);
    let setup = setup.with_lock(args.lock, process, &args.place, false)?;
    let experts: Vec<ExpertKey> = setup.project.iter().flat_map(|project| project.experts.keys().cloned()).collect();
    trust::require_for_job(&setup, process, &job, &experts)?;
    let closing = CancellationToken::new();
    let places = usize::try_from(args.parallel).unwrap_or(Semaphore::MAX_PERMITS);
    let board = Arc::new(Board::new(process, places));
    if !args.workspace_source.is_empty() && own_folder(process).is_none() {
        return Err(Failure::usage(anyhow!("there is no cache folder for the workspaces of jobs"))
            .help("set HOME or XDG_CACHE_HOME"));
    }
    let service = JobService {
        runner: TurnRunner { process: process.clone(), args: job, takes_over: setup.remote.is_some() },
        sources: args.workspace_source.clone(),
        project: ProjectFiles::of(&setup),
        places: Semaphore::new(places),
        closing: closing.clone(),
        board: Arc::clone(&board),
    };
    let name = service_of(args.label.as_ref());
    let mut endpoint = Endpoint::builder().bind(service.offered_as(&name).map_err(Failure::other)?);
    for key in &args.identity_key {
        endpoint =
            endpoint.identity_key(key).map_err(|error| Failure::usage(anyhow!("--identity-key {key}: {error}")))?;
    }
    let endpoint = HyperEndpoint::new(endpoint.build());
    let engine = args.register.as_ref().map(|url| Engine::at(url, "--register", &setup)).transpose()?;
    let worker = Worker { args, name, closing, board };
    let ended = async_runtime()?.block_on(worker.serve(endpoint, engine));
    worker.board.close();
    ended
}

/// A worker that is to serve.
struct Worker<'a> {
    args: &'a WorkerArgs,
    /// The engine's name of its service.
    name: String,
    /// Fired when it ends.
    closing: CancellationToken,
    board: Arc<Board>,
}

impl Worker<'_> {
    async fn serve(&self, endpoint: HyperEndpoint, engine: Option<Engine>) -> Result<Exit, Failure> {
        let Self { args, name, closing, board } = self;
        let mut signals = Signals::listen().context("cannot listen to signals").map_err(Failure::other)?;
        let listener =
            listen(args.listen).with_context(|| format!("cannot listen to {}", args.listen)).map_err(Failure::usage)?;
        // Port 0 is one that is free.
        let own = listener.local_addr().context("the listener has no address").map_err(Failure::other)?;
        let connections = TaskTracker::new();
        let register = async {
            let Some(engine) = &engine else { return Ok(()) };
            let address = args.advertise.clone().unwrap_or_else(|| format!("http://{own}"));
            engine.register(&address).await
        };
        let mut accept = std::pin::pin!(self.accept(&listener, endpoint, &connections));
        tokio::select! {
            // The engine asks the worker what it offers before it answers.
            registered = register => registered?,
            () = &mut accept => {}
            signal = signals.next() => return Ok(signal.exit()),
        }
        board.report(&format!("{name} on {own}: waiting for jobs"));
        let signal = tokio::select! {
            () = &mut accept => return Ok(Exit::Failed),
            () = keep_drawing(board) => return Ok(Exit::Failed),
            signal = signals.next() => signal,
        };
        board.is_ending();
        closing.cancel();
        connections.close();
        // Turns record their state and give their jobs back.
        tokio::select! {
            () = connections.wait() => {}
            () = keep_drawing(board) => {}
            () = tokio::time::sleep(END + FAREWELL) => {}
            _ = signals.next() => {}
        }
        Ok(signal.exit())
    }

    /// Serves connections. Each has as many streams as jobs may run, so that the engine opens more of them, which the system
    /// spreads over the workers at this address.
    async fn accept(&self, listener: &TcpListener, endpoint: HyperEndpoint, connections: &TaskTracker) {
        let streams = self.args.parallel;
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // No more files, mostly: others are closed in time.
                    self.board.report(&format!("a connection cannot be accepted: {error}"));
                    tokio::time::sleep(FAREWELL).await;
                    continue;
                }
            };
            let (endpoint, closing) = (endpoint.clone(), self.closing.clone());
            connections.spawn(async move {
                let connection = http2::Builder::new(TokioExecutor::new())
                    .max_concurrent_streams(streams)
                    .serve_connection(TokioIo::new(stream), endpoint);
                let mut connection = std::pin::pin!(connection);
                let ended = tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = closing.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                if let Err(error) = ended {
                    tracing::debug!("a connection of the engine has ended: {error}");
                }
            });
        }
    }
}

/// Draws what moves with time, and never ends.
async fn keep_drawing(board: &Board) {
    loop {
        tokio::time::sleep(TICK).await;
        board.tick();
    }
}

/// Listens, beside other workers at the same address.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    {
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
