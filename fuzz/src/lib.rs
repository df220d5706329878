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

/// Reads `bytes` as the answer of `provider`, whole and in pieces: the two must end alike.
pub fn answer(provider: ProviderName, setting: &ProviderSetting, content_type: &str, bytes: &[u8]) {
    let piece = bytes.first().map_or(1, |byte| usize::from(*byte) % LARGEST_PIECE + 1);
    let whole = generation(provider, setting, content_type, vec![bytes.to_vec()]);
    let split = generation(provider, setting, content_type, bytes.chunks(piece).map(<[u8]>::to_vec).collect());
    assert_eq!(whole, split, "in pieces of {piece} bytes");
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
        found: 0,
        occasion: Occasion::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(provider.generate(&request, LIMIT, &mut |_| {}))
}

/// A file of this process that holds `bytes`. The same one each time.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("perstack-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the input");
    let path = folder.join(name);
    fs::write(&path, bytes).expect("a file for the input");
    path
}
