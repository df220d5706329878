//! The protocol over a local server's standard streams: a JSON message a line, and what is none put aside.
//!
//! Servers print banners and logs where only messages belong. Such lines are shown and skipped; a server that sends
//! nothing else is given up. Which process is behind the streams is left to `server.rs`.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;

use super::dialect::messages;
use super::health::Health;
use super::lines::{Line, LineReader};
use super::notice::Reporter;

/// Most bytes of one message: two of the largest files that the base skill reads, in base64.
const MAX_MESSAGE: usize = 64 << 20;

/// Most lines in a row that are no messages: longer than any banner, short enough to be noticed at once.
const MAX_STRAY: usize = 200;

/// The two streams of a server.
pub(super) struct StdioTransport<R, W> {
    lines: LineReader<R>,
    /// Messages of a batch that were not handed out yet.
    batch: VecDeque<ServerJsonRpcMessage>,
    writer: Arc<Mutex<Option<W>>>,
    stray: usize,
    reporter: Arc<Reporter>,
    health: Arc<Health>,
}

impl<R: AsyncRead + Unpin, W> StdioTransport<R, W> {
    pub(super) fn new(reader: R, writer: W, reporter: Arc<Reporter>, health: Arc<Health>) -> Self {
        Self {
            lines: LineReader::new(reader, MAX_MESSAGE),
            batch: VecDeque::new(),
            writer: Arc::new(Mutex::new(Some(writer))),
            stray: 0,
            reporter,
            health,
        }
    }

    /// Takes one line in.
    ///
    /// # Errors
    /// Why nothing further can be read.
    fn take(&mut self, line: &Line) -> Result<(), String> {
        if line.is_cut {
            return Err(format!("it sent a message of more than {} MiB", MAX_MESSAGE >> 20));
        }
        let bytes = line.bytes.as_slice();
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let messages = messages(bytes);
        if !messages.is_empty() {
            self.stray = 0;
            self.batch.extend(messages);
            return Ok(());
        }
        self.stray += 1;
        let text = String::from_utf8_lossy(bytes);
        let text = self.reporter.fit(&text);
        self.reporter.line(&format!("stdout: {text}"));
        if self.stray > MAX_STRAY {
            return Err(format!(
                "its standard output is no MCP: {MAX_STRAY} lines in a row are no messages, the last: {text:?}"
            ));
        }
        Ok(())
    }
}

impl<R, W> Transport<RoleClient> for StdioTransport<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Error = io::Error;

    fn send(&mut self, message: ClientJsonRpcMessage) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let writer = Arc::clone(&self.writer);
        async move {
            let mut line = serde_json::to_vec(&message)?;
            line.push(b'\n');
            let mut writer = writer.lock().await;
            let Some(writer) = writer.as_mut() else { return Err(io::ErrorKind::NotConnected.into()) };
            writer.write_all(&line).await?;
            writer.flush().await
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            if let Some(message) = self.batch.pop_front() {
                return Some(message);
            }
            let taken = match self.lines.next().await {
                Ok(Some(line)) => self.take(&line),
                Ok(None) => Err("it closed its standard output".to_owned()),
                Err(error) => Err(format!("its standard output could not be read: {error}")),
            };
            if let Err(why) = taken {
                self.health.lost(why);
                return None;
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        // A message that the server does not read must not keep its end from being noticed.
        if let Ok(mut writer) = self.writer.try_lock() {
            writer.take();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::notice::SkillNotice;
    use super::super::notice::tests::listening;
    use super::*;

    /// The messages and notices that a client gets from `stream`, and why it ended.
    async fn received(stream: &[u8]) -> (Vec<String>, Vec<SkillNotice>, Option<String>) {
        let (reporter, seen) = listening();
        let health = Arc::new(Health::default());
        let mut transport = StdioTransport::new(stream, tokio::io::sink(), reporter, Arc::clone(&health));
        let mut messages = Vec::new();
        while let Some(message) = transport.receive().await {
            messages.push(serde_json::to_string(&message).unwrap());
        }
        let seen = seen.lock().unwrap().clone();
        (messages, seen, health.loss())
    }

    #[tokio::test]
    async fn what_is_no_message_is_shown_and_skipped() {
        let stream = b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\r\n\
                       Server ready \x1b[1m!\n\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"x\":1}}\n[1]\n{\"a\":";
        let (messages, seen, loss) = received(stream).await;
        assert_eq!(
            messages,
            [
                r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
                r#"{"jsonrpc":"2.0","id":1,"result":{"x":1}}"#
            ]
        );
        let line = |line: &str| SkillNotice::Stderr { line: format!("stdout: {line}") };
        assert_eq!(seen, [line("Server ready !"), line("[1]"), line("{\"a\":")]);
        assert_eq!(loss.as_deref(), Some("it closed its standard output"));
    }

    #[tokio::test]
    async fn batches_and_malformed_answers_reach_whoever_waits() {
        let stream = br#"[{"jsonrpc":"2.0","id":1,"result":{}},{"id":2,"error":"oops"}]
{"jsonrpc":"2.0","id":3,"error":"oops"}
{"jsonrpc":"2.0","id":4}
"#;
        let (messages, seen, _) = received(stream).await;
        let failed =
            |id: u8, why: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32603,"message":"{why}"}}}}"#);
        let no_response = failed(2, "the server's answer is no JSON-RPC 2.0 response");
        assert_eq!(messages, [r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, &no_response, &failed(3, "oops")]);
        assert_eq!(seen.len(), 1);
    }

    #[tokio::test]
    async fn a_server_that_never_sends_a_message_is_given_up() {
        let stream = "hello\n".repeat(MAX_STRAY + 50);
        let (messages, seen, loss) = received(stream.as_bytes()).await;
        assert!(messages.is_empty());
        assert_eq!(seen.len(), MAX_STRAY + 1);
        assert!(loss.is_some_and(|why| why.contains("is no MCP") && why.ends_with("the last: \"hello\"")));
    }
}
