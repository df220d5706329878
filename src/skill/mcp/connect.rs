//! The steps from a declared server to an open connection: started or reached, greeted in its mode, its tools listed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rmcp::model::ProtocolVersion;

use super::client::{Client, Era};
use super::connection::{Connection, ConnectionFailure};
use super::health::Health;
use super::launch::Launch;
use super::locked::Locked;
use super::remote::Remote;
use super::server::Server;
use super::sse::SseTransport;
use super::stdio::StdioTransport;
use super::watch_tools::follow;
use super::{DEFAULT_START_TIMEOUT, LiveConnection, McpError, McpSkill, Origin, SkillNotice, Timings};
use crate::event::ServerInfo;
use crate::skill::{SkillError, limit};

/// The mode of a connection to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionMode {
    /// In a session; remote ones over Streamable HTTP.
    Sessions,
    /// Every request by itself.
    Stateless,
    /// In a session, over the transport before Streamable HTTP.
    EventStream,
}

impl SessionMode {
    /// The mode that a lock implies; none when it names no revision, or one that is not supported here.
    pub(super) fn on_record(locked: &Locked, origin: &Origin) -> Option<Self> {
        let revision = revision(locked)?;
        Some(match origin {
            _ if !revision.has_initialize() => Self::Stateless,
            // Streamable HTTP came with the revision after it.
            Origin::Remote(_) if revision == ProtocolVersion::V_2024_11_05 => Self::EventStream,
            Origin::Local(_) | Origin::Remote(_) => Self::Sessions,
        })
    }
}

/// The revision that a lock names, if it is supported here.
fn revision(locked: &Locked) -> Option<ProtocolVersion> {
    let name = locked.protocol.as_deref()?;
    ProtocolVersion::KNOWN_VERSIONS.iter().find(|known| known.as_str() == name).cloned()
}

impl McpSkill {
    /// The connection; a new one when there is none that works. Callers that wait for a start share its outcome.
    pub(super) async fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, McpError> {
        // Counted before the wait: a start that failed meanwhile is this call's failure too, or twenty waiting calls would
        // start a broken server twenty times, one after the other.
        let failed_before = self.state().failed_starts;
        let _gate = self.start_gate.lock().await;
        if self.closing.is_cancelled() {
            return Err(McpError::Closed { skill: self.common.name.clone() });
        }
        let lost = {
            let mut state = self.state();
            if let Some(live) = &state.live
                && !live.connection.is_over()
            {
                return Ok(Arc::clone(&live.connection));
            }
            state.live.take()
        };
        if let Some(lost) = lost {
            lost.connection.close().await;
            self.reporter.send(SkillNotice::Disconnected);
        }
        {
            let state = self.state();
            if let Some(error) = &state.last_failure
                && state.failed_starts != failed_before
            {
                return Err(error.clone());
            }
        }
        let opened = self.open_in_time().await;
        let mut state = self.state();
        match opened {
            Ok(connection) => {
                let connection = Arc::new(connection);
                let follower = tokio::spawn(follow(Arc::downgrade(self), Arc::downgrade(&connection))).abort_handle();
                state.live = Some(LiveConnection { connection: Arc::clone(&connection), follower });
                Ok(connection)
            }
            Err(error) => {
                state.failed_starts = state.failed_starts.wrapping_add(1);
                state.last_failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Connects and lists the tools within the skill's time, unless it is closed meanwhile.
    async fn open_in_time(&self) -> Result<Connection, McpError> {
        let limit = self.start_timeout();
        tokio::select! {
            biased;
            () = self.closing.cancelled() => Err(McpError::Closed { skill: self.common.name.clone() }),
            opened = limit::within(limit, self.open(limit)) => opened.unwrap_or_else(|| {
                Err(McpError::TimedOut {
                    skill: self.common.name.clone(),
                    seconds: limit.as_secs_f64(),
                    stderr: self.reporter.last_lines(),
                })
            }),
        }
    }

    /// Connects and lists the tools, without a limit of its own.
    async fn open(&self, limit: Duration) -> Result<Connection, McpError> {
        let failed = |why: String| self.not_started(&why);
        let (connection, mode, spawn) = match &self.origin {
            Origin::Local(launch) => self.open_local(launch, limit).await?,
            // Boxed: with the parts that fetch tokens, this future is larger than all others here together.
            Origin::Remote(remote) => match Box::pin(self.open_remote(remote, limit)).await {
                Ok((connection, mode)) => (connection, mode, Duration::ZERO),
                Err(ConnectionFailure::Unauthorized { status, scope }) => {
                    let skill = self.common.name.clone();
                    let scope = scope.map(|scope| format!(" (it asks for the scope {scope})")).unwrap_or_default();
                    let remedy = self.reporter.fit(&format!("{}{scope}", remote.remedy(&skill)));
                    return Err(McpError::Unauthorized { skill, status, remedy });
                }
                Err(failure) => return Err(failed(failure.text())),
            },
        };
        // Remembered before the tools are listed: the greeting was accepted, whatever becomes of the list.
        self.state().mode = Some(mode);
        let began = Instant::now();
        if let Err(fault) = self.list(&connection, limit).await {
            connection.close().await;
            return Err(failed(format!("its tools cannot be listed: {}", self.words(&fault))));
        }
        if let Some(locked) = &self.locked {
            let live = self.state().list.tools.clone();
            match locked.check(&self.common.name, connection.protocol().as_deref(), &live, &self.reporter) {
                Ok(drift) => self.state().drift = drift,
                Err(drift) => {
                    connection.close().await;
                    return Err(drift);
                }
            }
        }
        let timings = Timings { spawn, handshake: connection.handshake, discovery: began.elapsed() };
        self.reporter.send(SkillNotice::Connected { server: self.server_info(&connection), timings });
        Ok(connection)
    }

    /// The error of a server that did not come up, with the way on where its containment may be why.
    fn not_started(&self, why: &str) -> McpError {
        let stderr = self.reporter.last_lines();
        let remedy = match &self.origin {
            Origin::Local(launch) => {
                let guess = launch.programs.reason(&stderr.join("\n"), &launch.workspace);
                let refused = launch.programs.refused_since(self.state().mark_of_start);
                refused.into_iter().chain(guess).reduce(|lines, line| lines + "\n" + &line)
            }
            Origin::Remote(_) => None,
        };
        McpError::NotStarted { skill: self.common.name.clone(), why: self.reporter.fit(why), stderr, remedy }
    }

    async fn open_local(
        &self,
        launch: &Launch,
        limit: Duration,
    ) -> Result<(Connection, SessionMode, Duration), McpError> {
        let is_stateless = self.mode() == Some(SessionMode::Stateless);
        let eras = if is_stateless { [Era::Stateless, Era::Sessions] } else { [Era::Sessions, Era::Stateless] };
        let mut first: Option<String> = None;
        for era in eras {
            let (shaking, spawn) = self.start_process(launch, era).await?;
            let is_last = first.is_some();
            let shaken = if is_stateless && !is_last {
                // One that does not know the greeting may leave it unanswered; half the time is left for the other one.
                let silent = || Err(ConnectionFailure::OtherTransport("its server does not answer".to_owned()));
                limit::within(limit / 2, shaking).await.unwrap_or_else(silent)
            } else {
                shaking.await
            };
            let failure = match shaken {
                Ok(connection) => {
                    let mode = if era == Era::Stateless { SessionMode::Stateless } else { SessionMode::Sessions };
                    return Ok((connection, mode, spawn));
                }
                Err(failure) => failure,
            };
            let is_refused = matches!(failure, ConnectionFailure::Refused(_));
            // For a server that understands neither greeting, the first failure explains more.
            let why = first.unwrap_or_else(|| failure.text());
            // Servers of sessions refuse another greeting, or end.
            if is_last || !(is_refused || is_stateless) {
                return Err(self.not_started(&why));
            }
            first = Some(why);
        }
        Err(McpError::Closed { skill: self.common.name.clone() })
    }

    /// Starts the server's process. Gives the handshake to wait for, and how long the start took.
    async fn start_process(
        &self,
        launch: &Launch,
        era: Era,
    ) -> Result<(impl Future<Output = Result<Connection, ConnectionFailure>>, Duration), McpError> {
        self.state().mark_of_start = launch.programs.network_mark();
        self.reporter.send(SkillNotice::Starting { command: launch.command.clone(), args: launch.args.clone() });
        let began = Instant::now();
        let health = Arc::new(Health::default());
        let started = Server::start(launch, Arc::clone(&self.reporter), Arc::clone(&health)).await;
        let started =
            started.map_err(|error| McpError::Spawn { skill: self.common.name.clone(), why: causes(&error) })?;
        let spawn = began.elapsed();
        let reporter = Arc::clone(&self.reporter);
        let transport = StdioTransport::new(started.stdout, started.stdin, reporter, Arc::clone(&health));
        Ok((Connection::open(self.client(), era, transport, Some(started.server), health), spawn))
    }

    /// Streamable HTTP in either era, else the transport before it. What is on record goes first.
    async fn open_remote(
        &self,
        remote: &Remote,
        limit: Duration,
    ) -> Result<(Connection, SessionMode), ConnectionFailure> {
        // Judged at every start, not only when the skill was made: the name may lead elsewhere by now.
        remote.check().await.map_err(ConnectionFailure::Broken)?;
        // A server that gave up the recorded mode may leave the greeting unanswered; most of the time is kept for the rest.
        match self.mode() {
            Some(SessionMode::Stateless) => {
                match limit::within(limit / 3, self.over_http(remote, Era::Stateless)).await {
                    Some(Ok(connection)) => return Ok((connection, SessionMode::Stateless)),
                    Some(Err(failure @ (ConnectionFailure::Broken(_) | ConnectionFailure::Unauthorized { .. }))) => {
                        return Err(failure);
                    }
                    Some(Err(ConnectionFailure::Refused(_) | ConnectionFailure::OtherTransport(_))) | None => {}
                }
            }
            Some(SessionMode::EventStream) => {
                if let Some(Ok(connection)) = limit::within(limit / 3, self.over_events(remote)).await {
                    return Ok((connection, SessionMode::EventStream));
                }
            }
            Some(SessionMode::Sessions) | None => {}
        }
        // A server of the older kind may leave the request unanswered; half the time is left for it.
        let first = match limit::within(limit / 2, self.over_http(remote, Era::Sessions)).await {
            Some(Ok(connection)) => return Ok((connection, SessionMode::Sessions)),
            Some(Err(failure @ (ConnectionFailure::Broken(_) | ConnectionFailure::Unauthorized { .. }))) => {
                return Err(failure);
            }
            Some(Err(refusal @ ConnectionFailure::Refused(_))) => {
                let connection = self.over_http(remote, Era::Stateless).await.map_err(|_| refusal)?;
                return Ok((connection, SessionMode::Stateless));
            }
            Some(Err(ConnectionFailure::OtherTransport(why))) => why,
            None => "no answer".to_owned(),
        };
        let older = self.over_events(remote).await;
        let connection = older.map_err(|failure| match failure {
            ConnectionFailure::Unauthorized { .. } => failure,
            other => {
                let why = other.text();
                let both = format!("its endpoint answers neither Streamable HTTP ({first}) nor HTTP with SSE ({why})");
                ConnectionFailure::Broken(both)
            }
        })?;
        Ok((connection, SessionMode::EventStream))
    }

    async fn over_http(&self, remote: &Remote, era: Era) -> Result<Connection, ConnectionFailure> {
        Connection::open(self.client(), era, remote.streamable(), None, Arc::new(Health::default())).await
    }

    async fn over_events(&self, remote: &Remote) -> Result<Connection, ConnectionFailure> {
        let health = Arc::new(Health::default());
        let transport = SseTransport::open(remote, Arc::clone(&health)).await?;
        Connection::open(self.client(), Era::Sessions, transport, None, health).await
    }

    fn mode(&self) -> Option<SessionMode> {
        self.state().mode
    }

    /// Our side, asking for the revision that is locked where a session is begun.
    fn client(&self) -> Client {
        let locked = self.locked.as_ref().and_then(revision).filter(ProtocolVersion::has_initialize);
        let client = Client::new(&self.common.name, Arc::clone(&self.reporter), Arc::clone(&self.replies));
        match locked {
            Some(revision) => client.asking_for(revision),
            None => client,
        }
    }

    /// The server's own name and version, fit to be shown.
    fn server_info(&self, connection: &Connection) -> Option<ServerInfo> {
        let ServerInfo { name, version } = connection.server_info()?;
        Some(ServerInfo { name: self.reporter.fit(&name), version: self.reporter.fit(&version) })
    }

    pub(super) fn start_timeout(&self) -> Duration {
        self.common.start_timeout_ms.map_or(DEFAULT_START_TIMEOUT, Duration::from_millis)
    }
}

/// An error and its causes in one line.
fn causes(error: &SkillError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
