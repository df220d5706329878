//! Finished spans in OTLP's messages, as bytes: those of `opentelemetry/proto/collector/trace/v1/trace_service.proto`
//! (<https://github.com/open-telemetry/opentelemetry-proto>), of which traces need few fields. `export` sends the bytes;
//! `protobuf` and `json` write the messages in the two encodings.

mod json;
mod protobuf;

use super::names::SpanOperation;
use super::settings::OtlpEncoding;
use super::span::TraceSpan;

/// The scope's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The flag of a sampled trace (W3C), that of a known origin of the parent, and that of a parent in another process.
const SAMPLED: u32 = 0x1;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Values of `SpanKind`.
const INTERNAL: u32 = 1;
const CLIENT: u32 = 3;

/// The value of `StatusCode` for what has failed.
const STATUS_ERROR: u32 = 2;

const NANOSECONDS: u64 = 1_000_000;

/// The value of the header `content-type`.
pub fn content_type(encoding: OtlpEncoding) -> &'static str {
    match encoding {
        OtlpEncoding::Protobuf => "application/x-protobuf",
        OtlpEncoding::Json => "application/json",
    }
}

/// The body of an export.
pub fn encode(spans: &[TraceSpan], resource: &[(String, String)], encoding: OtlpEncoding) -> Vec<u8> {
    match encoding {
        OtlpEncoding::Protobuf => protobuf::request(spans, resource, VERSION),
        OtlpEncoding::Json => json::request(spans, resource, VERSION).to_string().into_bytes(),
    }
}

/// The part of an export that a collector has rejected, though it took the rest.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    pub spans: usize,
    /// For people; may be empty.
    pub reason: String,
}

/// The rejection in the body of an answer; nothing is rejected where it holds none.
pub fn rejection(answer: &[u8], encoding: OtlpEncoding) -> Rejection {
    match encoding {
        OtlpEncoding::Protobuf => protobuf::rejection(answer),
        OtlpEncoding::Json => json::rejection(answer),
    }
}

/// The service behind a request is another program; all else happens here.
fn kind(span: &TraceSpan) -> u32 {
    if span.operation == SpanOperation::Chat { CLIENT } else { INTERNAL }
}

fn flags(span: &TraceSpan) -> u32 {
    SAMPLED | HAS_IS_REMOTE | if span.is_entry { IS_REMOTE } else { 0 }
}

fn nanoseconds(milliseconds: u64) -> u64 {
    milliseconds.saturating_mul(NANOSECONDS)
}

/// A count as the messages have it: signed.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::span::{AttributeValue, SpanError, SpanId, TraceId};
    use super::*;

    fn resource() -> [(String, String); 1] {
        [("service.name".to_owned(), "owl".to_owned())]
    }

    fn span() -> TraceSpan {
        TraceSpan {
            trace: TraceId([1; 16]),
            id: SpanId([2; 8]),
            parent: Some(SpanId([3; 8])),
            is_entry: true,
            operation: SpanOperation::Chat,
            subject: "a-model".to_owned(),
            began: 1_700_000_000_000,
            ended: 1_700_000_000_250,
            attributes: vec![
                ("gen_ai.request.model", "é".into()),
                ("gen_ai.response.finish_reasons", AttributeValue::Texts(vec!["stop".to_owned()])),
                ("gen_ai.usage.input_tokens", AttributeValue::Count(300)),
                ("gen_ai.usage.output_tokens", AttributeValue::Count(0)),
                ("gen_ai.response.time_to_first_chunk", AttributeValue::Seconds(0.25)),
                ("perstack.status", "".into()),
            ],
            error: Some(SpanError { kind: String::new(), message: "slow down".to_owned() }),
        }
    }

    /// The same message, serialized by OpenTelemetry's own library (`opentelemetry-proto` 1.45.2 from `PyPI`).
    const SERIALIZED: &str = "\
        0ae4020a170a150a0c736572766963652e6e616d6512050a036f776c12c8020a0d0a08706572737461636b12013112b6020a100101010101\
        010101010101010101010112080202020202020202220803030303030303032a0c6368617420612d6d6f64656c30033900002a36fe9c9717\
        4180b21045fe9c97174a1c0a1467656e5f61692e726571756573742e6d6f64656c12040a02c3a94a2c0a1e67656e5f61692e726573706f6e\
        73652e66696e6973685f726561736f6e73120a2a080a060a0473746f704a200a1967656e5f61692e75736167652e696e7075745f746f6b65\
        6e73120318ac024a200a1a67656e5f61692e75736167652e6f75747075745f746f6b656e73120218004a300a2367656e5f61692e72657370\
        6f6e73652e74696d655f746f5f66697273745f6368756e6b120921000000000000d03f4a150a0f706572737461636b2e7374617475731202\
        0a007a0d1209736c6f7720646f776e1802850101030000";

    #[test]
    fn protobuf_is_what_opentelemetrys_own_library_writes() {
        let written = protobuf::request(&[span()], &resource(), "1");
        assert_eq!(perstack::hex::digits(&written), SERIALIZED);
    }

    #[test]
    fn the_rejection_in_an_answer_is_read() {
        let rejected = |spans, reason: &str| Rejection { spans, reason: reason.to_owned() };
        for (answer, expected) in [
            (r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"old"}}"#, rejected(2, "old")),
            (r#"{"partialSuccess":{"rejectedSpans":3}}"#, rejected(3, "")),
            (r#"{"partialSuccess":{"errorMessage":"all is well"}}"#, rejected(0, "all is well")),
            ("{}", rejected(0, "")),
            ("", rejected(0, "")),
            ("<html>", rejected(0, "")),
        ] {
            assert_eq!(rejection(answer.as_bytes(), OtlpEncoding::Json), expected, "{answer}");
        }
        for (answer, expected) in [
            (b"\x0a\x08\x08\xac\x02\x12\x03old".as_slice(), rejected(300, "old")),
            // A field that is not known, before.
            (b"\x12\x01x\x0a\x02\x08\x03", rejected(3, "")),
            (b"", rejected(0, "")),
            (b"\x0a\x7f\x08", rejected(0, "")),
            (b"<html>", rejected(0, "")),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", rejected(0, "")),
        ] {
            assert_eq!(rejection(answer, OtlpEncoding::Protobuf), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_span_without_parent_and_failure_has_no_fields_for_them() {
        let plain = TraceSpan { parent: None, is_entry: false, error: None, attributes: Vec::new(), ..span() };
        let written = perstack::hex::digits(&protobuf::request(std::slice::from_ref(&plain), &resource(), "1"));
        assert!(!written.contains("0303030303030303") && !written.contains("7a0d"), "{written}");
        assert!(written.ends_with("850101010000"), "{written}");
        let written = json::request(&[plain], &resource(), "1");
        let span = &written["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert!(span.get("parentSpanId").is_none() && span.get("status").is_none(), "{span}");
    }

    #[test]
    fn json_has_ids_in_hex_and_large_numbers_as_texts() {
        let written = json::request(&[span()], &resource(), "1");
        let expected = serde_json::json!({ "resourceSpans": [{
            "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "owl" } }] },
            "scopeSpans": [{
                "scope": { "name": "perstack", "version": "1" },
                "spans": [{
                    "traceId": "01010101010101010101010101010101",
                    "spanId": "0202020202020202",
                    "parentSpanId": "0303030303030303",
                    "flags": 0x301,
                    "name": "chat a-model",
                    "kind": 3,
                    "startTimeUnixNano": "1700000000000000000",
                    "endTimeUnixNano": "1700000000250000000",
                    "attributes": [
                        { "key": "gen_ai.request.model", "value": { "stringValue": "é" } },
                        { "key": "gen_ai.response.finish_reasons",
                          "value": { "arrayValue": { "values": [{ "stringValue": "stop" }] } } },
                        { "key": "gen_ai.usage.input_tokens", "value": { "intValue": "300" } },
                        { "key": "gen_ai.usage.output_tokens", "value": { "intValue": "0" } },
                        { "key": "gen_ai.response.time_to_first_chunk", "value": { "doubleValue": 0.25 } },
                        { "key": "perstack.status", "value": { "stringValue": "" } },
                    ],
                    "status": { "message": "slow down", "code": 2 },
                }],
            }],
        }] });
        assert_eq!(written, expected);
    }
}
