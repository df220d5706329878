//! [`TraceSpan`]: a finished span, before it is encoded. `spans` makes them, `otlp` encodes them.

use perstack::redact::Redactor;

use super::names::{self, SpanOperation};

/// The id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// The id of a span within its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    Text(String),
    Texts(Vec<String>),
    Count(u64),
    Seconds(f64),
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for AttributeValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for AttributeValue {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

/// The failure of a span's operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanError {
    /// Of few values: [`names::ERROR_TYPE`].
    pub kind: String,
    /// For people; may be empty.
    pub message: String,
}

impl SpanError {
    /// A failure without more to report about it.
    pub fn new(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: String::new() }
    }
}

/// A finished span. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSpan {
    pub trace: TraceId,
    pub id: SpanId,
    pub parent: Option<SpanId>,
    /// The parent is a span of another process.
    pub is_entry: bool,
    pub operation: SpanOperation,
    /// The rest of the name: that of an expert, a model or a tool.
    pub subject: String,
    pub began: u64,
    pub ended: u64,
    pub attributes: Vec<(&'static str, AttributeValue)>,
    pub error: Option<SpanError>,
}

impl TraceSpan {
    /// The whole name.
    pub fn name(&self) -> String {
        let operation = self.operation.name();
        if self.subject.is_empty() { operation.to_owned() } else { format!("{operation} {}", self.subject) }
    }

    /// Sets an attribute that is not set yet.
    pub fn set(&mut self, name: &'static str, value: impl Into<AttributeValue>) {
        self.attributes.push((name, value.into()));
    }

    /// Marks the operation as failed.
    pub fn fail(&mut self, error: SpanError) {
        self.set(names::ERROR_TYPE, error.kind.clone());
        self.error = Some(error);
    }

    /// About the number of bytes that it takes up.
    pub fn size(&self) -> usize {
        let of_value = |value: &AttributeValue| match value {
            AttributeValue::Text(text) => text.len(),
            AttributeValue::Texts(texts) => texts.iter().map(String::len).sum(),
            AttributeValue::Count(_) | AttributeValue::Seconds(_) => 8,
        };
        let of_attributes: usize = self.attributes.iter().map(|(name, value)| name.len() + of_value(value)).sum();
        let of_error = self.error.as_ref().map_or(0, |error| error.kind.len() + error.message.len());
        size_of::<Self>() + self.subject.len() + of_attributes + of_error
    }

    /// Takes known secrets out of all texts.
    pub fn mask(&mut self, redactor: &Redactor) {
        self.subject = redactor.text(&self.subject);
        if let Some(error) = &mut self.error {
            error.kind = redactor.text(&error.kind);
            error.message = redactor.text(&error.message);
        }
        for (_, value) in &mut self.attributes {
            match value {
                AttributeValue::Text(text) => *text = redactor.text(text),
                AttributeValue::Texts(texts) => texts.iter_mut().for_each(|text| *text = redactor.text(text)),
                AttributeValue::Count(_) | AttributeValue::Seconds(_) => {}
            }
        }
    }
}
