//! [`Connection::call`]: a call from the request to its result. From 2026-07-28 a server that needs to know more answers
//! with half a result, and the call is made again with the answers to its questions.
//! <https://modelcontextprotocol.io/specification/draft/basic/patterns/mrtr>

use std::time::Duration;

use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest, InputRequiredResult};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::Era;
use super::connection::{CallFailure, Connection, Patience};

/// Most half results of one call, as in the protocol's own libraries.
const MAX_ROUNDS: u32 = 10;

/// How long to wait before a call is made again of which the server wants nothing but that.
const PAUSE: Duration = Duration::from_millis(100);

/// The code of a call that cannot be continued: that of an invalid request.
const GIVEN_UP: i32 = -32600;

impl Connection {
    /// The result of one call, as the server gives it in the end.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        patience: Patience,
        cancel: &CancellationToken,
    ) -> Result<Value, CallFailure> {
        // One allowance of time for all rounds: a server that always asks once more must not hold a call for ever.
        let began = Instant::now();
        let mut params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        for _ in 0..=MAX_ROUNDS {
            let left = patience.total.saturating_sub(began.elapsed());
            let request = ClientRequest::CallToolRequest(CallToolRequest::new(params.clone()));
            let result = self.ask(request, tool, Patience { total: left, ..patience }, cancel).await?;
            // In a session servers ask by requests of their own.
            let Some(half) = half_result(&result).filter(|_| self.era == Era::Stateless) else { return Ok(result) };
            let requests = half.input_requests.unwrap_or_default();
            let is_only_pause = requests.is_empty();
            let replies = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(CallFailure::Cancelled),
                () = tokio::time::sleep(PAUSE), if is_only_pause => Ok(None),
                replies = self.replies.to_all(requests, cancel), if !is_only_pause => replies.map(Some),
            };
            params.input_responses =
                replies.map_err(|error| CallFailure::Refused { code: GIVEN_UP, message: error.to_string() })?;
            // The server keeps nothing between rounds; it gets its own state back, unread.
            params.request_state = half.request_state;
        }
        let message = format!("it asked for more input {MAX_ROUNDS} times without returning a result");
        Err(CallFailure::Refused { code: GIVEN_UP, message })
    }
}

fn half_result(result: &Value) -> Option<InputRequiredResult> {
    if result.get("resultType").and_then(Value::as_str) != Some("input_required") {
        return None;
    }
    serde_json::from_value(result.clone()).ok()
}
