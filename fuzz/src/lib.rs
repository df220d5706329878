//! What the fuzz targets share: a model's server that answers with the fuzzer's bytes, and a file that holds them.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use perstack::environment::Environment;
use perstack::future::BoxFuture;
use perstack::generation::{Generation, GenerationFailure, GenerateRequest, NativeTools, Occasion};
use perstack::provider::Provider;
use perstack::provider::http::transport::{Body, HttpRequest, HttpResponse, Transport, TransportError};
use perstack::setting::{ProviderName, ProviderSetting, ReasoningBudget};
use serde_json::Value;

/// Most bytes of an answer in one piece.
const LARGEST_PIECE: usize = 64;

/// Longer than any answer of the fuzzer takes: nothing here waits for a network.
const LIMIT: Duration = Duration::from_secs(60);

struct Answer(Mutex<Option<HttpResponse>>);

impl Transport for Answer {
    fn send(&self, _: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let response = self.0.lock().expect("one thread").take().expect("one request");
        Box::pin(async { Ok(response) })
    }
}

struct Pieces(std::vec::IntoIter<Vec<u8>>);

impl Body for Pieces {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, TransportError>> {
        let next = self.0.next();
        Box::pin(async { Ok(next) })
    }
}

/// Reads `bytes` as the answer of `provider`, whole and in pieces: two generations must be the same.
pub fn answer(provider: ProviderName, setting: &ProviderSetting, content_type: &str, bytes: &[u8]) {
    let piece = bytes.first().map_or(1, |byte| usize::from(*byte) % LARGEST_PIECE + 1);
    let whole = generation(provider, setting, content_type, vec![bytes.to_vec()]);
    let split = generation(provider, setting, content_type, bytes.chunks(piece).map(<[u8]>::to_vec).collect());
    // A fault behind the answer's end may or may not be met with it, by the pieces; so only two answers are compared.
    if let (Ok(whole), Ok(split)) = (whole, split) {
        assert_eq!(whole, split, "in pieces of {piece} bytes");
    }
}

fn generation(
    provider: ProviderName,
    setting: &ProviderSetting,
    content_type: &str,
    pieces: Vec<Vec<u8>>,
) -> Result<Generation, GenerationFailure> {
    let headers = vec![("content-type".to_owned(), content_type.to_owned())];
    let response = HttpResponse { status: 200, headers, body: Box::new(Pieces(pieces.into_iter())) };
    let transport = Arc::new(Answer(Mutex::new(Some(response))));
    let environment = Environment::default();
    let provider =
        Provider::connect_without_key(provider, setting, &environment, transport).expect("a provider without a key");
    let request = GenerateRequest {
        model: "m",
        messages: &[],
        tools: &[],
        reasoning: ReasoningBudget::None,
        max_output_tokens: Some(1000),
        native: NativeTools::default(),
        occasion: Occasion::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(provider.generate(&request, LIMIT, &mut |_| {}))
}

/// The AWS event stream of readable lines, `{"event": name, "payload": ..}`; other lines go in as they are. The
/// framing itself is fuzzed by a target of its own.
pub fn event_stream(lines: &[u8]) -> Vec<u8> {
    lines.split(|byte| *byte == b'\n').flat_map(message).collect()
}

fn message(line: &[u8]) -> Vec<u8> {
    let Ok(value) = serde_json::from_slice::<Value>(line) else { return line.to_vec() };
    let name = value["event"].as_str().or(value["exception"].as_str()).unwrap_or_default();
    let kind = if value["exception"].is_string() { "exception" } else { "event" };
    let type_header = if kind == "exception" { ":exception-type" } else { ":event-type" };
    let mut headers = Vec::new();
    for (key, text) in [(type_header, name), (":message-type", kind)] {
        let Ok(length) = u16::try_from(text.len()) else { return line.to_vec() };
        headers.push(u8::try_from(key.len()).expect("a short name"));
        headers.extend(key.as_bytes());
        headers.push(7);
        headers.extend(length.to_be_bytes());
        headers.extend(text.as_bytes());
    }
    let payload = value["payload"].to_string();
    let total = u32::try_from(16 + headers.len() + payload.len()).expect("a small message");
    let mut message = total.to_be_bytes().to_vec();
    message.extend(u32::try_from(headers.len()).expect("short headers").to_be_bytes());
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message.extend(headers);
    message.extend(payload.as_bytes());
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message
}

/// A file of this process that holds `bytes`. The same one each time.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("perstack-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the input");
    let path = folder.join(name);
    fs::write(&path, bytes).expect("a file for the input");
    path
}
