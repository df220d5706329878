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
use crate::provider::{Framing, Provider, failure, thinking, tool_names};

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
        let own = thinking::without_foreign(request.messages, &self.origin(request));
        let mut repaired = 0;
        loop {
            let messages = self.repairs().apply(&own);
            let attempt = GenerateRequest { messages: &messages, ..*request };
            let refused = match self.attempt(&attempt, Watch::start(timeout, self.limits), on_delta).await {
                Ok(generation) => return Ok(generation),
                Err(refused) => refused,
            };
            let RefusedAttempt { failure, code } = refused;
            // Nothing has streamed when a request is refused, so that another one gives no piece twice.
            let body = || self.protocol.encode(&attempt).body;
            let is_repaired = repaired < REPAIR_LIMIT
                && repair::is_about_a_part(&failure, code.as_deref())
                && self.repairs().learn(attempt.messages, &body(), &failure, code.as_deref());
            if !is_repaired {
                return Err(GenerationFailure { message: self.redacted(&failure.message), ..failure });
            }
            repaired += 1;
        }
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
        mut watch: Watch,
        on_delta: &mut (dyn FnMut(&Delta) + Send),
    ) -> Result<Generation, RefusedAttempt> {
        let http = watch.within(self.authorized(self.protocol.encode(request))).await??;
        let mut response = watch.within(self.transport.send(http)).await??;
        if !(200..300).contains(&response.status) {
            return Err(self.refusal(&mut response, request.model).await);
        }
        if is_page(response.header("content-type").unwrap_or_default(), self.protocol.framing()) {
            let body = error_body(response.body.as_mut()).await;
            return Err(failure::of_page(response.status, &body).into());
        }
        let reading = Reading::new(self.protocol.as_ref(), watch);
        let answer = reading.read(response.status, response.body.as_mut(), on_delta).await?;
        Ok(thinking::marked(tool_names::restored(answer, request.tools), &self.origin(request)))
    }

    /// The failure for an error status, with a remedy where one is known.
    async fn refusal(&self, response: &mut HttpResponse, model: &str) -> RefusedAttempt {
        let body = error_body(response.body.as_mut()).await;
        let reported = self.protocol.read_error(&body);
        let code = reported.as_ref().and_then(|error| error.code.clone());
        let failure = failure::of_status(response.status, |name| response.header(name), &body, reported);
        let message = match failure.kind {
            FailureKind::Authentication => format!("{} (check {})", failure.message, self.credentials.hint()),
            FailureKind::NotFound => format!("{} (check the model {model} and the base URL)", failure.message),
            _ => failure.message,
        };
        RefusedAttempt { failure: GenerationFailure { message, ..failure }, code }
    }
}

/// An attempt without an answer.
struct RefusedAttempt {
    failure: GenerationFailure,
    /// The provider's code, when it refused the request.
    code: Option<String>,
}

impl From<GenerationFailure> for RefusedAttempt {
    fn from(failure: GenerationFailure) -> Self {
        Self { failure, code: None }
    }
}

impl From<TransportError> for RefusedAttempt {
    fn from(error: TransportError) -> Self {
        GenerationFailure::from(error).into()
    }
}

/// Returns true for a content type that no server of models gives an answer.
fn is_page(content_type: &str, framing: Framing) -> bool {
    let content_type = content_type.to_ascii_lowercase();
    content_type.starts_with("text/html") || (content_type.starts_with("text/") && framing == Framing::AwsEventStream)
}
