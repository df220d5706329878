//! [`Proxy`]: listens on a port of this machine alone, for HTTP and SOCKS5 alike, and serves those who have its token.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::client::HEAD_TIMEOUT;
use super::dial::Dialler;
use super::http::Opened;
use super::{http, socks};

/// Most connections at once. Further ones wait to be taken.
const MAX_CONNECTIONS: usize = 256;

/// How long one direction of a connection goes on when the other has ended.
const HALF_OPEN: Duration = Duration::from_mins(5);

/// How long and how much is read from a client that was refused, so that the refusal reaches it.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGER: u64 = 256 << 10;

/// The first byte of SOCKS5.
const SOCKS5: u8 = 5;

/// A running proxy. It ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    token: Arc<str>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts one, within a tokio runtime.
    ///
    /// # Errors
    /// It cannot listen, or there is no randomness or no runtime.
    pub(super) fn start(dialler: Arc<Dialler>) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let token: Arc<str> = token()?.into();
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let task = runtime.spawn(serve_all(listener, Arc::clone(&token), dialler));
        Ok(Self { address, token, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address with the token, as the usual variables have it. Clients send a user only with a password.
    pub(super) fn url(&self) -> String {
        format!("http://{}:x@{}", self.token, self.address)
    }

    /// Returns false once its runtime is gone.
    pub(super) fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

fn token() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    default_provider().secure_random.fill(&mut bytes).map_err(|_| io::Error::other("no randomness for a token"))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

async fn serve_all(listener: TcpListener, token: Arc<str>, dialler: Arc<Dialler>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (token, dialler) = (Arc::clone(&token), Arc::clone(&dialler));
                connections.spawn(async move {
                    // A client that is gone needs no answer.
                    let _ = serve(stream, &token, &dialler).await;
                    drop(place);
                });
            }
            // Of the connection that was to be taken, or for want of descriptors, which others have to close.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(mut client: TcpStream, token: &str, dialler: &Dialler) -> io::Result<()> {
    let _ = client.set_nodelay(true);
    let mut first = [0];
    if timeout(HEAD_TIMEOUT, client.peek(&mut first)).await.unwrap_or(Ok(0))? == 0 {
        return Ok(());
    }
    let opened = match first {
        [SOCKS5] => {
            within_limit(async {
                Ok(socks::open(&mut client, token, dialler).await?.map(|server| Opened { server, most: None }))
            })
            .await
        }
        _ => within_limit(http::open(&mut client, token, dialler)).await,
    };
    match opened? {
        Some(opened) => relay(client, opened).await,
        None => linger(client).await,
    }
}

/// Bounds a request, its look-up and its connection together. The parts of the last have limits of their own.
async fn within_limit(opening: impl Future<Output = io::Result<Option<Opened>>>) -> io::Result<Option<Opened>> {
    timeout(HEAD_TIMEOUT + Duration::from_mins(2), opening)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Carries bytes both ways until both ends are closed.
async fn relay(mut client: TcpStream, Opened { mut server, most }: Opened) -> io::Result<()> {
    let _ = server.set_nodelay(true);
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        if let Some(most) = most {
            let _ = tokio::io::copy(&mut (&mut from_client).take(most), &mut to_server).await;
            // What else comes goes nowhere; the end of it is waited for.
            let _ = tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await;
            return;
        }
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        let _ = to_server.shutdown().await;
    };
    let down = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    tokio::select! {
        () = &mut up => drop(timeout(HALF_OPEN, down).await),
        () = &mut down => drop(timeout(HALF_OPEN, up).await),
    }
    Ok(())
}

/// Reads on for a moment: a connection that is closed with bytes unread takes the answer along.
async fn linger(mut client: TcpStream) -> io::Result<()> {
    client.shutdown().await?;
    let rest = async { tokio::io::copy(&mut (&mut client).take(MAX_LINGER), &mut tokio::io::sink()).await };
    drop(timeout(LINGER, rest).await);
    Ok(())
}
