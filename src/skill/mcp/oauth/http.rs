//! The client that OAuth's own requests are made with: no address that the skill itself may not have, no redirect
//! followed unseen, nothing without a limit.

use std::error::Error;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rmcp::transport::auth::{OAuthHttpClient, OAuthHttpClientFuture, OAuthHttpRequest};

use super::super::connection::chain;
use super::super::network::Route;

/// How long one request may take in all: the library's own limit.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of an answer: the library's own limit.
const MAX_ANSWER: usize = 1 << 20;

/// Sends OAuth's requests along a skill's route.
pub(super) struct GuardedHttp {
    route: Route,
    /// One for each scheme, built when it is needed.
    plain: OnceLock<Client>,
    secure: OnceLock<Client>,
    /// Why the last request got no answer. The library's error does not always name it.
    failure: Mutex<Option<String>>,
}

impl GuardedHttp {
    pub(super) fn new(route: Route) -> Self {
        Self { route, plain: OnceLock::new(), secure: OnceLock::new(), failure: Mutex::default() }
    }

    /// Why the last request got no answer, if it got none.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks that the route leads to `url`.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) async fn check(&self, url: &Url) -> Result<(), String> {
        self.route.check(url).await
    }

    fn client(&self, url: &Url) -> Result<Client, String> {
        let cell = if url.scheme() == "http" { &self.plain } else { &self.secure };
        if let Some(client) = cell.get() {
            return Ok(client.clone());
        }
        // The library asks again where a redirect leads, if it may be followed.
        let client = self.route.client(url, HeaderMap::new(), Policy::none()).map_err(|error| chain(&error))?;
        Ok(cell.get_or_init(|| client).clone())
    }

    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, String> {
        let request = reqwest::Request::try_from(request).map_err(|error| chain(&error))?;
        self.check(request.url()).await?;
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let at = |error: &reqwest::Error| format!("{host}: {}", chain(error));
        let mut response = self.client(request.url())?.execute(request).await.map_err(|error| at(&error))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| at(&error))? {
            if chunk.len() > MAX_ANSWER - body.len() {
                return Err(format!("{host}: its answer is larger than {} MiB", MAX_ANSWER >> 20));
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = http::Response::new(body);
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }
}

impl OAuthHttpClient for GuardedHttp {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move {
            let answer = tokio::time::timeout(REQUEST_TIMEOUT, self.send(request.request)).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("no answer in {} s", REQUEST_TIMEOUT.as_secs())));
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = answer.as_ref().err().cloned();
            answer.map_err(Box::<dyn Error + Send + Sync>::from)
        })
    }
}
