//! OTLP's messages in JSON (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>): ids in hexadecimal digits,
//! enums as numbers, and numbers of 64 bits as texts. Called by `otlp`.

use serde_json::{Value, json};

use super::super::names;
use super::super::span::{AttributeValue, TraceSpan};
use super::{Rejection, STATUS_ERROR, flags, kind, nanoseconds, signed};

/// `ExportTraceServiceRequest`.
pub fn request(spans: &[TraceSpan], resource: &[(String, String)], version: &str) -> Value {
    let attributes = resource.iter().map(|(name, value)| attribute(name, &json!({ "stringValue": value })));
    let attributes: Vec<Value> = attributes.collect();
    let spans: Vec<Value> = spans.iter().map(span_value).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes },
        "scopeSpans": [{ "scope": { "name": names::SCOPE, "version": version }, "spans": spans }],
    }] })
}

/// That of an `ExportTraceServiceResponse`.
pub fn rejection(answer: &[u8]) -> Rejection {
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else { return Rejection::default() };
    let field = |name: &str| answer.pointer("/partialSuccess").and_then(|partial| partial.get(name));
    let count = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    Rejection {
        spans: field("rejectedSpans").and_then(count).map_or(0, |spans| usize::try_from(spans).unwrap_or(usize::MAX)),
        reason: field("errorMessage").and_then(Value::as_str).unwrap_or_default().to_owned(),
    }
}

fn span_value(span: &TraceSpan) -> Value {
    let attributes = span.attributes.iter().map(|(name, value)| attribute(name, &any_value(value)));
    let mut written = json!({
        "traceId": perstack::hex::digits(&span.trace.0),
        "spanId": perstack::hex::digits(&span.id.0),
        "flags": flags(span),
        "name": span.name(),
        "kind": kind(span),
        "startTimeUnixNano": nanoseconds(span.began).to_string(),
        "endTimeUnixNano": nanoseconds(span.ended).to_string(),
        "attributes": attributes.collect::<Vec<Value>>(),
    });
    if let Value::Object(fields) = &mut written {
        if let Some(parent) = span.parent {
            fields.insert("parentSpanId".to_owned(), perstack::hex::digits(&parent.0).into());
        }
        if let Some(error) = &span.error {
            fields.insert("status".to_owned(), json!({ "message": error.message, "code": STATUS_ERROR }));
        }
    }
    written
}

fn attribute(name: &str, value: &Value) -> Value {
    json!({ "key": name, "value": value })
}

fn any_value(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::Text(text) => json!({ "stringValue": text }),
        AttributeValue::Count(count) => json!({ "intValue": signed(*count).to_string() }),
        AttributeValue::Seconds(seconds) => json!({ "doubleValue": seconds }),
        AttributeValue::Texts(texts) => {
            let values: Vec<Value> = texts.iter().map(|text| json!({ "stringValue": text })).collect();
            json!({ "arrayValue": { "values": values } })
        }
    }
}
