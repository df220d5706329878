//! [`Provider::generate`]: sends one request, reads its answer within time limits and assembles it.
//!
//! Called by `runtime` for every generation. Whether a failed request is sent again is left to the caller
//! ([`retry::delay`](crate::provider::retry::delay)).

mod reading;
#[cfg(test)]
mod tests;

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use crate::generation::{Delta, FailureKind, GenerateRequest, Generation, GenerationFailure};

use crate::provider::http::transport::{HttpResponse, TransportError};
use crate::provider::repair::{self, REPAIR_LIMIT, Repairs};
use crate::provider::timeouts::Watch;
use crate::provider::vendor::base_url::BaseUrl;
use crate::provider::{EncodedConversation, EncodedRequest, Framing, Provider, failure, thinking, tool_names};

use reading::{Reading, error_body};

impl Provider {
    /// Requests one answer and passes each piece to `on_delta` as it arrives. `timeout` limits the whole answer,
    /// [`GenerationTimeouts`](crate::provider::GenerationTimeouts) limit the silence within it.
    ///
    /// Dropping the future closes the connection and leaves nothing behind.
    ///
    /// # Errors
    /// [`GenerationFailure`], without secrets. The pieces that had streamed before are lost.
    pub async fn generate(
        &self,
        request: &GenerateRequest<'_>,
        timeout: Duration,
        on_delta: &mut (dyn FnMut(&Delta) + Send),
    ) -> Result<Generation, GenerationFailure> {
        self.generate_in(&mut EncodedConversation::default(), request, timeout, on_delta).await
    }

    /// The same for a conversation of which earlier requests may have been made: only the messages that are new in
    /// `request` are encoded.
    ///
    /// # Errors
    /// As [`Provider::generate`].
    pub async fn generate_in(
        &self,
        conversation: &mut EncodedConversation,
        request: &GenerateRequest<'_>,
        timeout: Duration,
        on_delta: &mut (dyn FnMut(&Delta) + Send),
    ) -> Result<Generation, GenerationFailure> {
        let origin = self.origin(request);
        let mut repaired = 0;
        loop {
            let (encoded, known) = {
                let repairs = self.repairs();
                (conversation.request(self.protocol.as_ref(), request, &origin, &repairs), repairs.count())
            };
            let RefusedAttempt { failure, code, .. } = match self.ask(request, &encoded, timeout, on_delta).await {
                Ok(generation) => return Ok(generation),
                Err(refused) => refused,
            };
            // Nothing has streamed when a request is refused, so that another one gives no piece twice.
            let is_repairable = repaired < REPAIR_LIMIT && repair::is_about_a_part(&failure, code.as_deref());
            if is_repairable && self.repairs().count() != known {
                // Another Run has learned meanwhile, mostly of the same refusal. This request did not know it.
                repaired += 1;
                continue;
            }
            let repair = is_repairable.then(|| {
                let own = thinking::without_foreign(request.messages, &origin);
                let body = serde_json::from_slice(&encoded.body.to_vec()).unwrap_or_default();
                let mut repairs = self.repairs();
                let sent = repairs.apply(&own).into_owned();
                repairs.learn(&sent, &body, &failure, code.as_deref())
            });
            let Some(repair) = repair.flatten() else {
                return Err(GenerationFailure { message: self.redacted(&failure.message), ..failure });
            };
            if let Some(warning) = repair.warning {
                on_delta(&Delta::Warning { message: self.redacted(&warning) });
            }
            repaired += 1;
        }
    }

    /// Asks where the server is, or where it may be.
    async fn ask(
        &self,
        request: &GenerateRequest<'_>,
        encoded: &EncodedRequest,
        timeout: Duration,
        on_delta: &mut (dyn FnMut(&Delta) + Send),
    ) -> Result<Generation, RefusedAttempt> {
        let (first, second) = self.server.places();
        let mut place = first;
        // On the heap: the future of a Run is within those of the job.
        let mut answer =
            Box::pin(self.attempt(request, encoded, place, Watch::start(timeout, self.limits), on_delta)).await;
        if let Some(second) = second
            && answer.as_ref().is_err_and(|refused| refused.is_nowhere)
        {
            let again =
                Box::pin(self.attempt(request, encoded, second, Watch::start(timeout, self.limits), on_delta)).await;
            // The place that the user named is the one to show.
            if again.as_ref().is_ok() || again.as_ref().is_err_and(RefusedAttempt::is_from_a_server) {
                (place, answer) = (second, again);
            }
        }
        if answer.is_ok() {
            self.server.found_at(place);
        }
        answer
    }

    /// The provider and the model, as thinking is marked with.
    fn origin(&self, request: &GenerateRequest<'_>) -> String {
        format!("{}/{}", self.vendor.name, request.model)
    }

    fn repairs(&self) -> MutexGuard<'_, Repairs> {
        self.repairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn attempt(
        &self,
        request: &GenerateRequest<'_>,
        encoded: &EncodedRequest,
        place: &BaseUrl,
        mut watch: Watch,
        on_delta: &mut (dyn FnMut(&Delta) + Send),
    ) -> Result<Generation, RefusedAttempt> {
        let http = watch.within(self.authorized(encoded.clone(), place)).await??;
        let address = http.url.split('?').next().unwrap_or_default().to_owned();
        let mut response = watch.within(self.transport.send(http)).await??;
        if !(200..300).contains(&response.status) {
            return Err(self.refusal(&mut response, &address, request.model).await);
        }
        if is_page(response.header("content-type").unwrap_or_default(), self.protocol.framing()) {
            let body = error_body(response.body.as_mut()).await;
            return Err(page(failure::of_page(response.status, &body), &address));
        }
        let reading = Reading::new(self.protocol.as_ref(), watch);
        let answer = reading.read(response.status, response.body.as_mut(), on_delta).await.map_err(|failure| {
            // Of the failures of reading, only a page has the status of the answer.
            if failure.status_code.is_some() { page(failure, &address) } else { failure.into() }
        })?;
        Ok(thinking::marked(tool_names::restored(answer, request.tools), &self.origin(request)))
    }

    /// The failure for an error status, with a remedy where one is known.
    async fn refusal(&self, response: &mut HttpResponse, address: &str, model: &str) -> RefusedAttempt {
        let body = error_body(response.body.as_mut()).await;
        let reported = self.protocol.read_error(&body);
        let code = reported.as_ref().and_then(|error| error.code.clone());
        let failure = failure::of_status(response.status, |name| response.header(name), &body, reported);
        let message = match failure.kind {
            FailureKind::Authentication => format!("{} (check {})", failure.message, self.credentials.hint()),
            FailureKind::NotFound => {
                format!("{} (asked {address}; check the model {model} and the base URL)", failure.message)
            }
            _ => failure.message,
        };
        let is_nowhere = matches!(response.status, 404 | 405);
        RefusedAttempt { failure: GenerationFailure { message, ..failure }, code, is_nowhere }
    }
}

/// An attempt without an answer.
struct RefusedAttempt {
    failure: GenerationFailure,
    /// The provider's code, when it refused the request.
    code: Option<String>,
    /// No model's server is at this address.
    is_nowhere: bool,
}

impl RefusedAttempt {
    /// Returns true when a model's server refused the request.
    fn is_from_a_server(&self) -> bool {
        !self.is_nowhere && self.failure.status_code.is_some()
    }
}

impl From<GenerationFailure> for RefusedAttempt {
    fn from(failure: GenerationFailure) -> Self {
        Self { failure, code: None, is_nowhere: false }
    }
}

impl From<TransportError> for RefusedAttempt {
    fn from(error: TransportError) -> Self {
        GenerationFailure::from(error).into()
    }
}

/// The failure of an attempt that was answered with a page.
fn page(mut failure: GenerationFailure, address: &str) -> RefusedAttempt {
    failure.message = format!("{} (asked {address}; check the base URL)", failure.message);
    RefusedAttempt { failure, code: None, is_nowhere: true }
}

/// Returns true for a content type that no server of models gives an answer.
fn is_page(content_type: &str, framing: Framing) -> bool {
    let content_type = content_type.to_ascii_lowercase();
    content_type.starts_with("text/html") || (content_type.starts_with("text/") && framing == Framing::AwsEventStream)
}
