//! [`BodyText`]: a request's body while it is written, an object whose large values are texts that requests share.
//!
//! Called by the encoders.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::settled_text::{SettledText, write_field};
use crate::json_text::write;
use crate::provider::http::request_body::RequestBody;

/// Most bytes of a piece that is copied rather than sent as a piece of its own: the client sends so many pieces at once.
const COPIED: usize = 512;

/// A body under construction.
pub struct BodyText {
    pieces: Vec<Bytes>,
    /// The text behind the pieces.
    open: Vec<u8>,
    has_fields: bool,
}

impl BodyText {
    /// An object without fields.
    pub fn new() -> Self {
        Self { pieces: Vec::new(), open: vec![b'{'], has_fields: false }
    }

    /// Adds a field.
    pub fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        self.separate();
        write_field(&mut self.open, key, value);
    }

    /// Adds fields.
    pub fn fields(&mut self, fields: &Map<String, Value>) {
        for (key, value) in fields {
            self.field(key, value);
        }
    }

    /// Adds a field whose value, which is text already, follows.
    pub fn key(&mut self, key: &str) {
        self.separate();
        write(&mut self.open, key);
        self.open.push(b':');
    }

    /// Adds a field whose value is this text.
    pub fn shared(&mut self, key: &str, value: &Bytes) {
        self.key(key);
        self.piece(value);
    }

    /// Adds a field whose value is a list of these items.
    pub fn list(&mut self, key: &str, items: &SettledText) {
        self.key(key);
        self.text("[");
        self.settled(items);
        self.text("]");
    }

    /// Goes on with a text.
    pub fn text(&mut self, text: impl AsRef<[u8]>) {
        self.open.extend_from_slice(text.as_ref());
    }

    /// Goes on with a text that is shared.
    pub fn piece(&mut self, piece: &Bytes) {
        if piece.len() <= COPIED {
            return self.text(piece);
        }
        if !self.open.is_empty() {
            self.pieces.push(std::mem::take(&mut self.open).into());
        }
        self.pieces.push(piece.clone());
    }

    /// Goes on with settled text.
    pub fn settled(&mut self, text: &SettledText) {
        text.pieces().iter().for_each(|piece| self.piece(piece));
    }

    /// The body.
    pub fn finish(mut self) -> RequestBody {
        self.open.push(b'}');
        RequestBody::new(self.pieces.into_iter().chain([self.open.into()]))
    }

    fn separate(&mut self) {
        if self.has_fields {
            self.open.push(b',');
        }
        self.has_fields = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_values_are_shared_pieces_of_the_body() {
        let (small, large) = (Bytes::from("[1]"), Bytes::from(format!("{:?}", "o".repeat(COPIED))));
        let mut settled = SettledText::default();
        settled.push(large.clone());
        let mut body = BodyText::new();
        body.field("model", "owl");
        body.shared("tools", &small);
        body.list("messages", &settled);
        body.fields(&Map::from_iter([("n".to_owned(), 1.into()), ("x".to_owned(), Value::Null)]));
        let body = body.finish();
        let expected = format!(r#"{{"model":"owl","tools":[1],"messages":[{:?}],"n":1,"x":null}}"#, "o".repeat(COPIED));
        assert_eq!(String::from_utf8(body.to_vec()).unwrap(), expected);
        assert_eq!(body.pieces().len(), 3);
        assert_eq!(body.pieces()[1].as_ptr(), large.as_ptr());
        assert_eq!(BodyText::new().finish().to_vec(), b"{}");
    }
}
