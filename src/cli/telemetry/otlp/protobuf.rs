//! OTLP's messages in protobuf (<https://protobuf.dev/programming-guides/encoding/>). Called by `otlp`; field numbers are
//! those of OpenTelemetry's `.proto` files, named beside each.

use super::super::names;
use super::super::span::{AttributeValue, TraceSpan};
use super::{Rejection, STATUS_ERROR, flags, kind, nanoseconds, signed};

/// Wire types: the lowest three bits of a field's tag.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

/// The bytes of a message so far.
#[derive(Default)]
struct MessageBytes(Vec<u8>);

impl MessageBytes {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            let [low, ..] = value.to_le_bytes();
            self.0.push(low | 0x80);
            value >>= 7;
        }
        let [last, ..] = value.to_le_bytes();
        self.0.push(last);
    }

    fn tag(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    fn fixed_64(&mut self, field: u64, bytes: [u8; 8]) {
        self.tag(field, FIXED_64);
        self.0.extend(bytes);
    }

    fn fixed_32(&mut self, field: u64, value: u32) {
        self.tag(field, FIXED_32);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.tag(field, LENGTH_DELIMITED);
        self.varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.extend(bytes);
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        let mut message = Self::default();
        write(&mut message);
        self.bytes(field, &message.0);
    }
}

/// `ExportTraceServiceRequest`.
pub fn request(spans: &[TraceSpan], resource: &[(String, String)], version: &str) -> Vec<u8> {
    let mut request = MessageBytes::default();
    // resource_spans
    request.message(1, |of_resource| {
        // resource, and its attributes
        of_resource.message(1, |message| {
            for (name, value) in resource {
                attribute(message, 1, name, |held| held.bytes(1, value.as_bytes()));
            }
        });
        // scope_spans
        of_resource.message(2, |of_scope| {
            // scope: name, version
            of_scope.message(1, |scope| {
                scope.bytes(1, names::SCOPE.as_bytes());
                scope.bytes(2, version.as_bytes());
            });
            // spans
            for span in spans {
                of_scope.message(2, |message| write_span(message, span));
            }
        });
    });
    request.0
}

/// That of an `ExportTraceServiceResponse`.
pub fn rejection(mut answer: &[u8]) -> Rejection {
    let mut rejection = Rejection::default();
    while let Some((number, value)) = read_field(&mut answer) {
        // partial_success
        let (1, FieldValue::Bytes(mut partial)) = (number, value) else { continue };
        while let Some(field) = read_field(&mut partial) {
            match field {
                // rejected_spans, error_message
                (1, FieldValue::Number(spans)) => rejection.spans = usize::try_from(spans).unwrap_or(usize::MAX),
                (2, FieldValue::Bytes(reason)) => rejection.reason = String::from_utf8_lossy(reason).into_owned(),
                _ => {}
            }
        }
    }
    rejection
}

/// The value of a field that was read.
enum FieldValue<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Reads the number and the value of the next field. None at the end, and where another type of field is or no message.
fn read_field<'a>(message: &mut &'a [u8]) -> Option<(u64, FieldValue<'a>)> {
    let tag = read_varint(message)?;
    let value = match tag & 7 {
        VARINT => FieldValue::Number(read_varint(message)?),
        LENGTH_DELIMITED => {
            let length = usize::try_from(read_varint(message)?).ok()?;
            FieldValue::Bytes(message.split_off(..length)?)
        }
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn read_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *message.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn write_span(message: &mut MessageBytes, span: &TraceSpan) {
    // trace_id, span_id, parent_span_id
    message.bytes(1, &span.trace.0);
    message.bytes(2, &span.id.0);
    if let Some(parent) = span.parent {
        message.bytes(4, &parent.0);
    }
    // name, kind
    message.bytes(5, span.name().as_bytes());
    message.number(6, kind(span).into());
    // start_time_unix_nano, end_time_unix_nano
    message.fixed_64(7, nanoseconds(span.began).to_le_bytes());
    message.fixed_64(8, nanoseconds(span.ended).to_le_bytes());
    // attributes
    for (name, value) in &span.attributes {
        attribute(message, 9, name, |held| any_value(held, value));
    }
    // status: message, code
    if let Some(error) = &span.error {
        message.message(15, |status| {
            status.bytes(2, error.message.as_bytes());
            status.number(3, STATUS_ERROR.into());
        });
    }
    // flags
    message.fixed_32(16, flags(span));
}

/// `KeyValue`: key, value.
fn attribute(message: &mut MessageBytes, field: u64, name: &str, value: impl FnOnce(&mut MessageBytes)) {
    message.message(field, |pair| {
        pair.bytes(1, name.as_bytes());
        pair.message(2, value);
    });
}

/// `AnyValue`: one of its fields, which is written though it be empty or 0.
fn any_value(held: &mut MessageBytes, value: &AttributeValue) {
    match value {
        // string_value
        AttributeValue::Text(text) => held.bytes(1, text.as_bytes()),
        // int_value
        AttributeValue::Count(count) => held.number(3, signed(*count).unsigned_abs()),
        // double_value
        AttributeValue::Seconds(seconds) => held.fixed_64(4, seconds.to_le_bytes()),
        // array_value: values
        AttributeValue::Texts(texts) => held.message(5, |array| {
            for text in texts {
                array.message(1, |held| held.bytes(1, text.as_bytes()));
            }
        }),
    }
}
