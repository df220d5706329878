//! From a declared server to an open connection: started or reached, greeted in the way that it speaks, its tools listed.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::client::{Client, Era};
use super::connection::{Connection, Failure};
use super::following::follow;
use super::health::Health;
use super::launch::Launch;
use super::remote::Remote;
use super::server::Server;
use super::sse::SseTransport;
use super::stdio::StdioTransport;
use super::{DEFAULT_START_TIMEOUT, Live, McpError, McpSkill, Origin, SkillNotice, Timings};
use crate::skill::SkillError;

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
        *live = Some(Live { connection: Arc::clone(&connection), follower });
        Ok(connection)
    }

    /// Connects and lists the tools within the skill's time, unless it is closed meanwhile.
    async fn open_in_time(&self) -> Result<Connection, McpError> {
        let limit = self.start_timeout();
        tokio::select! {
            biased;
            () = self.closing.cancelled() => Err(McpError::Closed { skill: self.common.name.clone() }),
            opened = tokio::time::timeout(limit, self.open(limit)) => opened.unwrap_or_else(|_| {
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
        let (connection, spawn) = match &self.origin {
            Origin::Local(launch) => self.open_local(launch).await?,
            Origin::Remote(remote) => (self.open_remote(remote, limit).await.map_err(failed)?, Duration::ZERO),
        };
        let began = Instant::now();
        if let Err(fault) = self.list(&connection, limit).await {
            connection.close().await;
            return Err(failed(format!("its tools cannot be listed: {}", self.words(&fault))));
        }
        if let Some(locked) = &self.locked {
            let live = self.tools.read().unwrap_or_else(PoisonError::into_inner).clone();
            if let Err(drift) = locked.check(&self.common.name, &live, &self.reporter) {
                connection.close().await;
                return Err(drift);
            }
        }
        let timings = Timings { spawn, handshake: connection.handshake, discovery: began.elapsed() };
        self.reporter.tell(SkillNotice::Connected { server: connection.server_info(), timings });
        Ok(connection)
    }

    async fn open_local(&self, launch: &Launch) -> Result<(Connection, Duration), McpError> {
        let skill = || self.common.name.clone();
        let mut refusal = None;
        for era in [Era::Sessions, Era::Stateless] {
            self.reporter.tell(SkillNotice::Starting { command: launch.command.clone(), args: launch.args.clone() });
            let began = Instant::now();
            let health = Arc::new(Health::default());
            let started = Server::start(launch, Arc::clone(&self.reporter), Arc::clone(&health)).await;
            let started = started.map_err(|error| McpError::Spawn { skill: skill(), why: causes(&error) })?;
            let spawn = began.elapsed();
            let reporter = Arc::clone(&self.reporter);
            let transport = StdioTransport::new(started.stdout, started.stdin, reporter, Arc::clone(&health));
            match Connection::open(self.client(era), era, transport, Some(started.server), health).await {
                Ok(connection) => return Ok((connection, spawn)),
                Err(failure @ Failure::Refused(_)) if era == Era::Sessions => refusal = Some(failure),
                Err(failure) => {
                    // The first refusal tells more of a server that speaks neither.
                    let why = refusal.unwrap_or(failure).text();
                    return Err(McpError::NotStarted {
                        skill: skill(),
                        why: self.reporter.fit(&why),
                        stderr: self.reporter.last_words(),
                    });
                }
            }
        }
        Err(McpError::Closed { skill: skill() })
    }

    /// Streamable HTTP in either era, else the transport before it.
    async fn open_remote(&self, remote: &Remote, limit: Duration) -> Result<Connection, String> {
        let streamable =
            |era: Era| Connection::open(self.client(era), era, remote.streamable(), None, Arc::new(Health::default()));
        // A server of the older kind may leave the request unanswered; half the time is left for it.
        let first = match tokio::time::timeout(limit / 2, streamable(Era::Sessions)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(Failure::Broken(why))) => return Err(why),
            Ok(Err(Failure::Refused(error))) => {
                let refusal = Failure::Refused(error).text();
                return streamable(Era::Stateless).await.map_err(|_| refusal);
            }
            Ok(Err(Failure::OtherTransport(why))) => why,
            Err(_) => "no answer".to_owned(),
        };
        let health = Arc::new(Health::default());
        let older = match SseTransport::open(remote, Arc::clone(&health)).await {
            Ok(transport) => {
                let client = self.client(Era::Sessions);
                Connection::open(client, Era::Sessions, transport, None, health).await.map_err(|failure| failure.text())
            }
            Err(why) => Err(why),
        };
        older.map_err(|why| format!("its endpoint speaks neither Streamable HTTP ({first}) nor HTTP with SSE ({why})"))
    }

    fn client(&self, era: Era) -> Client {
        Client::new(&self.common.name, era, &self.workspace, Arc::clone(&self.reporter))
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
