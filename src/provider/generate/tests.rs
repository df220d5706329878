//! Streams as a scripted server sends them, and the answers that they make.

mod bodies;
mod refusals;

use std::future::Future;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::generation::{Arguments, FinishReason, GeneratedPart};
use crate::provider::GenerationTimeouts;
use crate::provider::http::transport::TransportErrorKind;
use crate::provider::testing::{Chunk, Script, ScriptedReply, bare_request, environment};
use crate::setting::{ProviderName, ProviderSetting};
use crate::usage::Usage;

const KEY: &str = "sk-very-secret-key";
/// Ends tests that would hang; long enough for a busy machine.
const AMPLE: Duration = Duration::from_mins(1);

const STREAM: &str = concat!(
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n",
    ": keep-alive\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"Eulen 🦉\"}}]}\r\n\r\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\" höchst\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"function\":{\"name\":\"see\",",
    "\"arguments\":\"{\\\"ü\\\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n",
    "data: [DONE]\n\n",
);

fn whole_answer() -> Generation {
    Generation {
        parts: vec![
            GeneratedPart::Text { text: "Eulen 🦉 höchst".to_owned() },
            GeneratedPart::ToolCall {
                id: "c1".to_owned(),
                name: "see".to_owned(),
                arguments: Arguments::parse("{\"ü\":1}"),
            },
        ],
        finish: FinishReason::ToolCalls,
        usage: Some(Usage { input_tokens: 3, output_tokens: 2, total_tokens: 5, ..Usage::default() }),
        context_tokens: Some(5),
    }
}

fn request() -> GenerateRequest<'static> {
    bare_request("owl-1")
}

/// Asks a provider whose transport answers with `reply`.
async fn ask(
    reply: ScriptedReply,
    timeout: Duration,
    limits: GenerationTimeouts,
) -> Result<Generation, GenerationFailure> {
    let setting = ProviderSetting { base_url: Some("http://127.0.0.1:9/v1".to_owned()), ..ProviderSetting::default() };
    let transport = Arc::new(Script::from_reply(reply));
    let environment = environment(&[("OPENAI_API_KEY", KEY)]);
    let provider = Provider::connect(ProviderName::OpenAi, &setting, &environment, transport).unwrap();
    provider.with_timeouts(limits).generate(&request(), timeout, &mut |_| {}).await
}

async fn answer(reply: ScriptedReply) -> Result<Generation, GenerationFailure> {
    ask(reply, AMPLE, GenerationTimeouts::default()).await
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn cut() -> Chunk {
    Chunk::Fails(TransportError { kind: TransportErrorKind::Connection, message: "cut off".to_owned() })
}

#[tokio::test]
async fn a_stream_becomes_one_answer() {
    assert_eq!(answer(ScriptedReply::stream([Chunk::text(STREAM)])).await, Ok(whole_answer()));
}

#[tokio::test]
async fn pings_of_a_protocol_are_no_data() {
    let ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    let reply = ScriptedReply::stream([Chunk::Forever(ping)]);
    let environment = environment(&[("ANTHROPIC_API_KEY", KEY)]);
    let setting = ProviderSetting::default();
    let transport = Arc::new(Script::from_reply(reply));
    let limits = GenerationTimeouts { first_data: Duration::from_millis(20), ..GenerationTimeouts::default() };
    let provider = Provider::connect(ProviderName::Anthropic, &setting, &environment, transport).unwrap();
    let timeout = Duration::from_millis(40);
    let failure = provider.with_timeouts(limits).generate(&request(), timeout, &mut |_| {}).await.unwrap_err();
    let message = "timeout: the provider sent no data within 20ms; a longer timeout allows more";
    assert_eq!(failure, failure::retryable(FailureKind::Timeout, message));
}

#[tokio::test]
async fn nothing_is_awaited_after_the_end_mark() {
    assert_eq!(answer(ScriptedReply::stream([Chunk::text(STREAM), Chunk::Never])).await, Ok(whole_answer()));
}

#[tokio::test]
async fn deltas_are_passed_on_in_order() {
    let transport = Arc::new(Script::from_reply(ScriptedReply::stream([Chunk::text(STREAM)])));
    let environment = environment(&[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")]);
    let setting = ProviderSetting::default();
    let provider = Provider::connect(ProviderName::OpenAi, &setting, &environment, transport.clone()).unwrap();
    let mut texts = Vec::new();
    let mut on_delta = |delta: &Delta| {
        if let Delta::Text { text, .. } = delta {
            texts.push(text.clone());
        }
    };
    assert!(provider.generate(&request(), AMPLE, &mut on_delta).await.is_ok());
    assert_eq!(texts, ["Eulen 🦉", " höchst"]);
    let urls: Vec<String> = transport.requests().into_iter().map(|request| request.url).collect();
    assert_eq!(urls, ["http://127.0.0.1:9/v1/chat/completions"]);
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_answer(
        cuts in prop::collection::vec(0..=STREAM.len(), 0..40),
    ) {
        let mut cuts = cuts;
        cuts.extend([0, STREAM.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| Chunk::Bytes(STREAM.as_bytes()[pair[0]..pair[1]].to_vec()));
        prop_assert_eq!(run(answer(ScriptedReply::stream(chunks))), Ok(whole_answer()));
    }

    #[test]
    fn a_stream_cut_before_its_reason_is_a_failure_that_can_pass(
        end in 0..STREAM.find("\"finish_reason\"").unwrap_or(0),
    ) {
        let chunk = Chunk::Bytes(STREAM.as_bytes()[..end].to_vec());
        let failure = run(answer(ScriptedReply::stream([chunk]))).unwrap_err();
        prop_assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Connection, true));
    }
}

#[tokio::test]
async fn a_cut_or_a_stall_after_the_reason_loses_nothing_but_usage() {
    let (start, _) = STREAM.split_at(STREAM.find("data: {\"choices\":[],").unwrap());
    let expected = Generation { usage: None, context_tokens: None, ..whole_answer() };
    assert_eq!(answer(ScriptedReply::stream([Chunk::text(start), cut()])).await, Ok(expected.clone()));
    let limits = GenerationTimeouts { after_finish: Duration::from_millis(10), ..GenerationTimeouts::default() };
    assert_eq!(ask(ScriptedReply::stream([Chunk::text(start), Chunk::Never]), AMPLE, limits).await, Ok(expected));
}

#[tokio::test]
async fn a_cut_in_mid_answer_shows_its_cause() {
    let (half, _) = STREAM.split_at(200);
    let failure = answer(ScriptedReply::stream([Chunk::text(half), cut()])).await.unwrap_err();
    assert_eq!(failure, failure::retryable(FailureKind::Connection, "cut off"));
}

#[tokio::test]
async fn silence_ends_at_its_limit_before_and_between_data() {
    let short = Duration::from_millis(20);
    let message = async |reply, timeout, limits| ask(reply, timeout, limits).await.unwrap_err().message;
    let limits = GenerationTimeouts { first_data: short, ..GenerationTimeouts::default() };
    let first = "timeout: the provider sent no data within 20ms; a longer timeout allows more";
    assert_eq!(message(ScriptedReply::silent(), short * 2, limits).await, first);
    assert_eq!(message(ScriptedReply::stream([Chunk::Never]), short * 2, limits).await, first);
    let limits = GenerationTimeouts { between_data: short, ..GenerationTimeouts::default() };
    let start = Chunk::text("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n");
    let stalled = "timeout: the answer stalled, no data for 20ms; a longer timeout allows more";
    assert_eq!(message(ScriptedReply::stream([start, Chunk::Never]), short * 4, limits).await, stalled);
}

#[tokio::test]
async fn keep_alives_are_no_data_however_many_come() {
    let limits = GenerationTimeouts { between_data: Duration::from_millis(20), ..GenerationTimeouts::default() };
    let start = Chunk::text("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n: keep-alive\n\n");
    let reply = ScriptedReply::stream([start, Chunk::Forever(": keep-alive\n\n")]);
    let failure = ask(reply, limits.between_data * 4, limits).await.unwrap_err();
    let message = "timeout: the answer stalled, no data for 20ms (only keep-alives came); a longer timeout allows more";
    assert_eq!(failure, failure::retryable(FailureKind::Timeout, message));
}

#[tokio::test]
async fn the_whole_ends_at_its_limit_though_data_comes() {
    let reply = ScriptedReply::stream([Chunk::Forever("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n")]);
    let failure = ask(reply, Duration::from_millis(20), GenerationTimeouts::default()).await.unwrap_err();
    let message = "timeout: the answer was not complete within 20ms; a longer timeout allows more";
    assert_eq!(failure, failure::retryable(FailureKind::Timeout, message));
}

#[tokio::test]
async fn halves_of_a_character_in_two_chunks_are_joined() {
    let chunk = |content: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n");
    let stream = [chunk("Hi \\ud83d"), chunk("\\ude00 \\ud83d"), "data: [DONE]\n\n".to_owned()].concat();
    let parts = answer(ScriptedReply::stream([Chunk::text(&stream)])).await.unwrap().parts;
    assert_eq!(parts, [GeneratedPart::Text { text: "Hi 😀 \u{fffd}".to_owned() }]);
}

#[tokio::test]
async fn an_empty_stream_is_a_failure() {
    let failure = answer(ScriptedReply::stream([])).await.unwrap_err();
    assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Connection, true));
}
