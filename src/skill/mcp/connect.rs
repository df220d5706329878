//! From a declared server to an open connection: started or reached, greeted in the way that it speaks, its tools listed.

use std::sync::{Arc, PoisonError};
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

/// How a server is spoken to.
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
    /// What a lock has of it; none when it does not say, or names a revision that is not spoken here.
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

/// The revision that a lock has, among those that are spoken here.
fn revision(locked: &Locked) -> Option<ProtocolVersion> {
    let name = locked.protocol.as_deref()?;
    ProtocolVersion::KNOWN_VERSIONS.iter().find(|known| known.as_str() == name).cloned()
}

impl McpSkill {
    /// The connection; a new one when there is none that works. Who asks while a start is under way shares its outcome.
    pub(super) async fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, McpError> {
        let failed_before = self.failed.read().unwrap_or_else(PoisonError::into_inner).0;
        let mut live = self.live.lock().await;
        if self.closing.is_cancelled() {
            return Err(McpError::Closed { skill: self.common.name.clone() });
        }
        if let Some(live) = &*live
            && !live.connection.is_over()
        {
            return Ok(Arc::clone(&live.connection));
        }
        if let Some(gone) = live.take() {
            gone.connection.close().await;
            self.reporter.tell(SkillNotice::Disconnected);
        }
        if let (failures, Some(error)) = &*self.failed.read().unwrap_or_else(PoisonError::into_inner)
            && *failures != failed_before
        {
            return Err(error.clone());
        }
        let connection = match self.open_in_time().await {
            Ok(connection) => Arc::new(connection),
            Err(error) => {
                let mut failed = self.failed.write().unwrap_or_else(PoisonError::into_inner);
                *failed = (failed.0.wrapping_add(1), Some(error.clone()));
                return Err(error);
            }
        };
        let follower = tokio::spawn(follow(Arc::downgrade(self), Arc::downgrade(&connection))).abort_handle();
        *live = Some(LiveConnection { connection: Arc::clone(&connection), follower });
        Ok(connection)
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
                    stderr: self.reporter.last_words(),
                })
            }),
        }
    }

    /// Connects and lists the tools, without a limit of its own.
    async fn open(&self, limit: Duration) -> Result<Connection, McpError> {
        let failed = |why: String| McpError::NotStarted {
            skill: self.common.name.clone(),
            why: self.reporter.fit(&why),
            stderr: self.reporter.last_words(),
        };
        let (connection, mode, spawn) = match &self.origin {
            Origin::Local(launch) => self.open_local(launch, limit).await?,
            // Boxed: with what fetches tokens it is larger than all else here together.
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
        *self.mode.write().unwrap_or_else(PoisonError::into_inner) = Some(mode);
        let began = Instant::now();
        if let Err(fault) = self.list(&connection, limit).await {
            connection.close().await;
            return Err(failed(format!("its tools cannot be listed: {}", self.words(&fault))));
        }
        if let Some(locked) = &self.locked {
            let live = self.tools.read().unwrap_or_else(PoisonError::into_inner).clone();
            match locked.check(&self.common.name, connection.protocol().as_deref(), &live, &self.reporter) {
                Ok(drift) => *self.drift.write().unwrap_or_else(PoisonError::into_inner) = drift,
                Err(drift) => {
                    connection.close().await;
                    return Err(drift);
                }
            }
        }
        let timings = Timings { spawn, handshake: connection.handshake, discovery: began.elapsed() };
        self.reporter.tell(SkillNotice::Connected { server: self.server_info(&connection), timings });
        Ok(connection)
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
            // The first failure tells more of a server that speaks neither.
            let why = first.unwrap_or_else(|| failure.text());
            // Servers of sessions refuse another greeting, or end.
            if is_last || !(is_refused || is_stateless) {
                return Err(McpError::NotStarted {
                    skill: self.common.name.clone(),
                    why: self.reporter.fit(&why),
                    stderr: self.reporter.last_words(),
                });
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
        self.reporter.tell(SkillNotice::Starting { command: launch.command.clone(), args: launch.args.clone() });
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
        remote.check().await.map_err(ConnectionFailure::Broken)?;
        // What is not spoken any more may be left unanswered; most of the time is left for the rest.
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
                let both = format!("its endpoint speaks neither Streamable HTTP ({first}) nor HTTP with SSE ({why})");
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
        *self.mode.read().unwrap_or_else(PoisonError::into_inner)
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

    /// Who the server says it is, fit to be shown.
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
