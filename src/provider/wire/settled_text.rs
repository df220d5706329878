//! [`SettledText`]: the encoded text of messages that requests repeat, in pieces which they share.
//!
//! The encoders add what a message is on the wire once it is known. What a later message changes of it after all is an
//! [`Edit`]; what every later message changes, the encoders keep elsewhere until it is settled.

use std::ops::Range;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::json_text::write;

/// Bytes of a piece that is not joined with others any more. Our own choice: the HTTP client takes some 400 KiB at once,
/// however few pieces they are in, and copies of large texts leave holes in memory.
const WHOLE_PIECE: usize = 64 << 10;

/// A piece is joined with the one before unless that is this many times as long: so a text of any length has few pieces,
/// and each byte is copied a few times at most.
const GROWTH: usize = 4;

/// Text that is sent again with every request. A copy shares it.
#[derive(Debug, Clone, Default)]
pub struct SettledText {
    pieces: Vec<Bytes>,
    len: usize,
}

/// A change of settled text: other text in the place of a range, in bytes from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub range: Range<usize>,
    pub text: Vec<u8>,
}

impl SettledText {
    /// Adds text at the end.
    pub fn push(&mut self, text: impl Into<Bytes>) {
        let text = text.into();
        self.len = self.len.saturating_add(text.len());
        let (mut kept, mut length) = (self.pieces.len(), text.len());
        for piece in self.pieces.iter().rev().map(Bytes::len) {
            if piece >= length.saturating_mul(GROWTH) || piece.saturating_add(length) > WHOLE_PIECE {
                break;
            }
            (kept, length) = (kept.saturating_sub(1), length.saturating_add(piece));
        }
        if length == text.len() {
            self.pieces.push(text);
            return;
        }
        let mut joined = Vec::with_capacity(length);
        self.pieces.drain(kept..).for_each(|piece| joined.extend_from_slice(&piece));
        joined.extend_from_slice(&text);
        self.pieces.push(joined.into());
    }

    /// Adds all of `other` at the end.
    pub fn append(&mut self, other: Self) {
        other.pieces.into_iter().for_each(|piece| self.push(piece));
    }

    /// Adds items of a list, with a comma before each that is not the first.
    pub fn push_items(&mut self, items: &[Value]) {
        let mut text = Vec::new();
        for item in items {
            if self.len > 0 || !text.is_empty() {
                text.push(b',');
            }
            write(&mut text, item);
        }
        if !text.is_empty() {
            self.push(text);
        }
    }

    /// Adds an object as the next item, with one more field behind its first `before`. Returns the removal of that field.
    pub fn push_object(&mut self, fields: &Map<String, Value>, before: usize, (key, value): (&str, &str)) -> Edit {
        let (mut text, tail) = self.split_item(fields, before);
        let start = self.len.saturating_add(text.len());
        text.push(b',');
        write_field(&mut text, key, value);
        let end = self.len.saturating_add(text.len());
        text.extend_from_slice(&tail);
        self.push(text);
        Edit { range: start..end, text: Vec::new() }
    }

    /// Adds an object as the next item. Returns the insertion of one more field behind its first `before`.
    pub fn push_object_without(
        &mut self,
        fields: &Map<String, Value>,
        before: usize,
        (key, value): (&str, &str),
    ) -> Edit {
        let (mut text, tail) = self.split_item(fields, before);
        let place = self.len.saturating_add(text.len());
        text.extend_from_slice(&tail);
        self.push(text);
        let mut field = vec![b','];
        write_field(&mut field, key, value);
        Edit { range: place..place, text: field }
    }

    fn split_item(&self, fields: &Map<String, Value>, before: usize) -> (Vec<u8>, Vec<u8>) {
        let (head, tail) = split_object(fields, before);
        let comma: &[u8] = if self.len > 0 { b"," } else { b"" };
        ([comma, &head].concat(), tail)
    }

    /// Makes edits, which follow one another. All behind the first is copied.
    pub fn edit(&mut self, edits: Vec<Edit>) {
        let Some(first) = edits.first().map(|edit| edit.range.start) else { return };
        let mut from = self.len;
        let mut kept = self.pieces.len();
        while from > first && kept > 0 {
            kept = kept.saturating_sub(1);
            from = from.saturating_sub(self.pieces.get(kept).map_or(0, Bytes::len));
        }
        let old = self.pieces.split_off(kept).concat();
        let mut new = Vec::with_capacity(old.len());
        let mut at: usize = 0;
        for Edit { range, text } in edits {
            let (start, end) = (range.start.saturating_sub(from), range.end.saturating_sub(from));
            new.extend_from_slice(old.get(at..start).unwrap_or_default());
            new.extend_from_slice(&text);
            at = end;
        }
        new.extend_from_slice(old.get(at..).unwrap_or_default());
        self.len = from;
        self.push(new);
    }

    /// The text, in pieces.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }
}

/// A value as JSON.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut text = Vec::new();
    write(&mut text, value);
    text
}

/// An object as JSON in two parts, of which the first ends behind so many fields.
fn split_object(fields: &Map<String, Value>, count: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut head, mut tail) = (vec![b'{'], Vec::new());
    for (at, (key, value)) in fields.iter().enumerate() {
        let text = if at < count { &mut head } else { &mut tail };
        if at > 0 {
            text.push(b',');
        }
        write_field(text, key, value);
    }
    tail.push(b'}');
    (head, tail)
}

/// Writes the field of an object.
pub fn write_field<T: Serialize + ?Sized>(text: &mut Vec<u8>, key: &str, value: &T) {
    write(text, key);
    text.push(b':');
    write(text, value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(settled: &SettledText) -> String {
        String::from_utf8(settled.pieces().concat()).unwrap()
    }

    #[test]
    fn long_texts_have_few_pieces_and_older_ones_stay_where_they_are() {
        let mut settled = SettledText::default();
        let mut whole = String::new();
        let mut copied = 0;
        for number in 0..20_000 {
            let before = settled.pieces().to_vec();
            let added = format!("{number:0200},");
            whole.push_str(&added);
            settled.push(added.into_bytes());
            let is_old = |piece: &&Bytes| before.iter().any(|old| old.as_ptr() == piece.as_ptr());
            copied += settled.pieces().iter().filter(|piece| !is_old(piece)).map(Bytes::len).sum::<usize>();
            let most = 16 + 4 * whole.len() / WHOLE_PIECE;
            assert!(settled.pieces().len() <= most, "{} of {most}", settled.pieces().len());
        }
        assert_eq!((text(&settled), settled.len), (whole.clone(), whole.len()));
        assert!(copied < 20 * whole.len(), "{copied} bytes for {}", whole.len());
    }

    #[test]
    fn items_are_a_list_and_edits_change_what_is_settled() {
        let mut settled = SettledText::default();
        settled.push_items(&[]);
        settled.push_items(&[json!("aa"), json!(1)]);
        settled.push_items(&[json!({"b": 2})]);
        assert_eq!(text(&settled), r#""aa",1,{"b":2}"#);
        settled.push(vec![b'.'; 4096]);
        let change = |range: Range<usize>, text: &str| Edit { range, text: text.into() };
        settled.edit(vec![change(1..2, ""), change(6..6, "0"), change(8..11, "owl")]);
        assert_eq!(text(&settled).trim_end_matches('.'), r#""a",10,{owl:2}"#);
        assert_eq!(settled.len, text(&settled).len());
        settled.edit(Vec::new());
        let mut other = SettledText::default();
        other.push("!");
        settled.append(other);
        assert!(text(&settled).ends_with(".!"));
    }

    #[test]
    fn an_object_is_cut_behind_a_field() {
        let object = json!({"a": 1, "b": "2", "c": [3]});
        let cut = |count| {
            let (head, tail) = split_object(object.as_object().unwrap(), count);
            [head, tail].map(|text| String::from_utf8(text).unwrap())
        };
        assert_eq!(cut(2), [r#"{"a":1,"b":"2""#, r#","c":[3]}"#]);
        assert_eq!(cut(9), [r#"{"a":1,"b":"2","c":[3]"#, "}"]);
    }
}
