//! [`OllamaDecoder`]: a chat stream to deltas. It has one JSON object per line, the last one with `done`.

use serde_json::Value;

use super::with_remedy;
use crate::generation::{Delta, FailureKind, FinishReason, GenerationFailure};
use crate::provider::wire::reported_error::ReportedError;
use crate::provider::wire::typed_event::at;
use crate::provider::wire::usage_counts::UsageCounts;
use crate::provider::{Decoder, Frame, failure};
use crate::usage::UsageReport;

/// Reasoning and text are one part each; calls follow in the order in which they come.
const THINKING_INDEX: u64 = 0;
const TEXT_INDEX: u64 = 1;
const FIRST_CALL_INDEX: u64 = 2;

/// Turns one stream's lines into deltas.
#[derive(Debug, Default)]
pub(super) struct OllamaDecoder {
    /// The number of calls so far. They arrive whole, several in a line or one per line.
    calls: u64,
}

impl Decoder for OllamaDecoder {
    fn frame(&mut self, frame: &Frame) -> Result<Vec<Delta>, GenerationFailure> {
        let data = frame.data.trim();
        if data.is_empty() {
            return Ok(Vec::new());
        }
        let line: Value = serde_json::from_str(data).map_err(|error| malformed(&format!("no JSON: {error}")))?;
        if !line.is_object() {
            return Err(malformed("no object"));
        }
        if line.get("error").is_some_and(|error| !error.is_null()) {
            let failure = ReportedError::from_value(&line).into_failure();
            return Err(GenerationFailure { message: with_remedy(&failure.message), ..failure });
        }
        let mut deltas = Vec::new();
        let text = |pointer: &str| at(&line, pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(text) = text("/message/thinking") {
            deltas.push(Delta::Thinking { index: THINKING_INDEX, text: text.to_owned() });
        }
        if let Some(text) = text("/message/content") {
            deltas.push(Delta::Text { index: TEXT_INDEX, text: text.to_owned() });
        }
        for call in at(&line, "/message/tool_calls").and_then(Value::as_array).into_iter().flatten() {
            self.call(call, &mut deltas);
        }
        if line.get("done").and_then(Value::as_bool) == Some(true) {
            deltas.extend(usage(&line));
            deltas.push(Delta::Finish(finish(text("/done_reason").unwrap_or_default())));
            deltas.push(Delta::End);
        }
        Ok(deltas)
    }
}

impl OllamaDecoder {
    /// Older servers send no ids; they stay empty here.
    fn call(&mut self, call: &Value, deltas: &mut Vec<Delta>) {
        let index = FIRST_CALL_INDEX.saturating_add(self.calls);
        self.calls = self.calls.saturating_add(1);
        let text = |pointer: &str| at(call, pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        deltas.push(Delta::ToolCall { index, id: text("/id"), name: text("/function/name") });
        let json = match at(call, "/function/arguments") {
            Some(Value::String(json)) => json.clone(),
            Some(arguments) if !arguments.is_null() => arguments.to_string(),
            _ => return,
        };
        deltas.push(Delta::ToolArgumentsWhole { index, json });
    }
}

fn finish(reason: &str) -> FinishReason {
    match reason {
        // Servers before 0.1.29 sent none.
        "stop" | "" => FinishReason::Stop,
        "length" => FinishReason::Length,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// The counts of the last line. A server that kept the whole prompt from before may leave out the prompt's, which is
/// unknown then.
fn usage(line: &Value) -> Option<Delta> {
    let mut counts = UsageCounts::new(Some(line))?;
    let input = counts.get("/prompt_eval_count");
    let output = counts.get("/eval_count");
    let report = counts.into_report(UsageReport { input, output, ..UsageReport::default() });
    (report != UsageReport::default()).then_some(Delta::Usage(report))
}

fn malformed(problem: &str) -> GenerationFailure {
    failure::retryable(FailureKind::Malformed, format!("the provider's stream is damaged: a line has {problem}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::provider::assemble::Assembler;
    use crate::provider::http::frame::{FRAME_LIMIT, Framer};
    use crate::provider::wire::ollama::OllamaChat;
    use crate::provider::wire::recorded;
    use crate::provider::{Framing, Protocol};

    macro_rules! recording {
        ($name:literal) => {
            include_str!(concat!("../../../../tests/data/ollama-chat/", $name, ".ndjson"))
        };
    }

    const RECORDINGS: [&str; 5] = [
        recording!("text"),
        recording!("thinking-call"),
        recording!("parallel-calls"),
        recording!("length"),
        recording!("error"),
    ];

    fn text(text: &str) -> Delta {
        Delta::Text { index: TEXT_INDEX, text: text.into() }
    }

    fn thinking(text: &str) -> Delta {
        Delta::Thinking { index: THINKING_INDEX, text: text.into() }
    }

    fn call(index: u64, id: &str, name: &str, json: &str) -> [Delta; 2] {
        let whole = Delta::ToolArgumentsWhole { index, json: json.into() };
        [Delta::ToolCall { index, id: id.into(), name: name.into() }, whole]
    }

    fn usage(input: u64, output: u64) -> Delta {
        Delta::Usage(UsageReport { input: Some(input), output: Some(output), ..UsageReport::default() })
    }

    fn ended(usage: Delta, reason: FinishReason) -> [Delta; 3] {
        [usage, Delta::Finish(reason), Delta::End]
    }

    fn deltas(recording: &str) -> Vec<Delta> {
        recorded::deltas(&OllamaChat, recording)
    }

    #[test]
    fn text_streams_and_characters_of_many_bytes_come_through() {
        let mut expected = vec![text("The owl file "), text("ist „eule.md“ 🦉.")];
        expected.extend(ended(usage(26, 9), FinishReason::Stop));
        assert_eq!(deltas(recording!("text")), expected);
    }

    #[test]
    fn thinking_comes_apart_and_calls_come_whole() {
        let mut expected = vec![thinking("Owls are "), thinking("birds.")];
        expected.extend(call(2, "call_1", "search", r#"{"q":"owl"}"#));
        expected.extend(ended(usage(140, 31), FinishReason::Stop));
        assert_eq!(deltas(recording!("thinking-call")), expected);
    }

    #[test]
    fn parallel_calls_keep_apart_without_ids() {
        let mut expected = vec![text("Both at once.")];
        expected.extend(call(2, "", "search", r#"{"q":"owl"}"#));
        expected.extend(call(3, "", "now", "{}"));
        expected.extend(call(4, "", "search", r#"{"q":"ibis"}"#));
        expected.extend(ended(usage(151, 44), FinishReason::Stop));
        assert_eq!(deltas(recording!("parallel-calls")), expected);
    }

    #[test]
    fn the_limit_is_reported() {
        let mut expected = vec![text("Owls hunt at")];
        expected.extend(ended(usage(30, 4), FinishReason::Length));
        assert_eq!(deltas(recording!("length")), expected);
    }

    #[test]
    fn an_error_in_mid_stream_is_a_failure_that_can_pass() {
        let failure = failure::retryable(FailureKind::Provider, "an error was encountered while running the model");
        let expected = (vec![text("The owl")], Some(failure));
        assert_eq!(recorded::decode(&OllamaChat, recording!("error")), expected);
    }

    #[test]
    fn torn_lines_do_no_harm() {
        for recording in RECORDINGS {
            recorded::assert_torn_frames_do_no_harm(&OllamaChat, recording);
        }
    }

    #[test]
    fn what_older_servers_and_imitators_leave_out_is_not_missed() {
        let of = |line: &Value| OllamaDecoder::default().frame(&Frame::event(None, line.to_string()));
        let bare = vec![Delta::Finish(FinishReason::Stop), Delta::End];
        assert_eq!(of(&json!({"done": true})), Ok(bare));
        assert_eq!(of(&json!({"done": false, "message": {"content": ""}, "error": null})), Ok(Vec::new()));
        let loaded = vec![Delta::Finish(FinishReason::Other("load".into())), Delta::End];
        assert_eq!(of(&json!({"done": true, "done_reason": "load"})), Ok(loaded));
        let cached = of(&json!({"done": true, "done_reason": "stop", "eval_count": 4})).unwrap();
        assert_eq!(cached[0], Delta::Usage(UsageReport { output: Some(4), ..UsageReport::default() }));
        let calls = json!({"message": {"tool_calls": [
            {"function": {"name": "a", "arguments": "{\"q\":1}"}}, {"function": {"name": "b"}},
        ]}});
        let mut expected = call(2, "", "a", r#"{"q":1}"#).to_vec();
        expected.push(Delta::ToolCall { index: 3, id: String::new(), name: "b".into() });
        assert_eq!(of(&calls), Ok(expected));
    }

    /// The whole answer of a recording whose bytes are cut at these places.
    fn assembled(recording: &str, cuts: &[usize]) -> Result<crate::generation::Generation, GenerationFailure> {
        let mut framer = Framer::new(Framing::Ndjson, FRAME_LIMIT);
        let mut lines = Vec::new();
        for pair in cuts.windows(2) {
            framer.push(&recording.as_bytes()[pair[0]..pair[1]], &mut lines).unwrap();
        }
        lines.extend(framer.finish());
        let mut decoder = OllamaChat.decoder();
        let mut assembler = Assembler::new(OllamaChat.name());
        for line in lines {
            for delta in decoder.frame(&line)? {
                assembler.push(delta);
            }
        }
        assembler.finish()
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_answer(
            which in 0..RECORDINGS.len(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let recording = RECORDINGS[which];
            let ends = [0, recording.len()];
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(recording.len() + 1)).chain(ends).collect();
            cuts.sort_unstable();
            prop_assert_eq!(assembled(recording, &cuts), assembled(recording, &ends));
        }
    }
}
