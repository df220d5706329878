//! [`Scan`]: a place in the JSON text of a request's body, which is in pieces.
//!
//! `outline` finds with it where the fields of a body and the items of its lists are, without reading what an earlier
//! body has as well.

use bytes::Bytes;

/// A place in a text, from which it is read on.
#[derive(Clone)]
pub(super) struct Scan<'a> {
    /// The pieces behind `rest`.
    pieces: std::slice::Iter<'a, Bytes>,
    rest: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    /// The place so many bytes behind the beginning.
    pub fn new(pieces: &'a [Bytes], at: usize) -> Self {
        let mut scan = Self { pieces: pieces.iter(), rest: &[], at: 0 };
        scan.refill();
        scan.skip(at);
        scan
    }

    /// The bytes before this place.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next byte, unless the text has ended.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Passes a number of bytes.
    pub fn skip(&mut self, mut count: usize) {
        while count > 0 && !self.rest.is_empty() {
            let part = count.min(self.rest.len());
            self.pass(part);
            count = count.saturating_sub(part);
        }
    }

    /// Passes white space, and then `wanted`; returns whether that was there.
    pub fn take(&mut self, wanted: u8) -> bool {
        self.space();
        let is_there = self.peek() == Some(wanted);
        if is_there {
            self.pass(1);
        }
        is_there
    }

    /// Passes white space.
    pub fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.pass(1);
        }
    }

    /// Passes the bytes, `most` of them, that `other` has as well. Text that both share is known by its place in memory,
    /// so that the cost follows what is new.
    pub fn pass_same(&mut self, other: &mut Scan<'_>, most: usize) -> usize {
        let mut same: usize = 0;
        loop {
            let length = self.rest.len().min(other.rest.len()).min(most.saturating_sub(same));
            let (Some(own), Some(others)) = (self.rest.get(..length), other.rest.get(..length)) else { return same };
            let equal = if std::ptr::eq(own, others) || own == others {
                length
            } else {
                own.iter().zip(others).take_while(|(own, other)| own == other).count()
            };
            self.pass(equal);
            other.pass(equal);
            same = same.saturating_add(equal);
            if length == 0 || equal < length {
                return same;
            }
        }
    }

    /// Passes a value and adds its text to `text`. `None` when the text ends before it does.
    pub fn value(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let mut depth: usize = 0;
        loop {
            match self.peek()? {
                b'"' => self.string(text)?,
                b'{' | b'[' => {
                    depth = depth.saturating_add(1);
                    self.byte(text);
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.byte(text);
                }
                _ if depth == 0 => {
                    while !matches!(self.peek(), None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')) {
                        self.byte(text);
                    }
                }
                _ => self.byte(text),
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn string(&mut self, text: &mut Vec<u8>) -> Option<()> {
        self.byte(text);
        loop {
            let end = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(self.rest.len());
            text.extend_from_slice(self.rest.get(..end).unwrap_or_default());
            self.pass(end);
            match self.peek()? {
                b'"' => {
                    self.byte(text);
                    return Some(());
                }
                b'\\' => {
                    self.byte(text);
                    self.peek()?;
                    self.byte(text);
                }
                // The next piece.
                _ => {}
            }
        }
    }

    fn byte(&mut self, text: &mut Vec<u8>) {
        text.extend(self.peek());
        self.pass(1);
    }

    fn pass(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
        self.at = self.at.saturating_add(count);
        self.refill();
    }

    fn refill(&mut self) {
        while self.rest.is_empty()
            && let Some(piece) = self.pieces.next()
        {
            self.rest = piece;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(texts: &[&'static str]) -> Vec<Bytes> {
        texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
    }

    #[test]
    fn values_are_found_however_the_text_is_cut() {
        let text = r#" {"a\"}":[1,"]\\"]} ,true]"#;
        for cut in 0..text.len() {
            let (left, right) = text.split_at(cut);
            let pieces = pieces(&[left, right]);
            let mut scan = Scan::new(&pieces, 0);
            scan.space();
            let mut value = Vec::new();
            scan.value(&mut value).unwrap();
            assert_eq!(std::str::from_utf8(&value).unwrap(), r#"{"a\"}":[1,"]\\"]}"#);
            assert!(scan.take(b','));
            value.clear();
            scan.value(&mut value).unwrap();
            assert_eq!((value.as_slice(), scan.peek()), (&b"true"[..], Some(b']')));
        }
        for torn in ["\"a", "\"a\\", "{\"a\":1", "", "]"] {
            let pieces = pieces(&[torn]);
            assert_eq!(Scan::new(&pieces, 0).value(&mut Vec::new()), None, "{torn}");
        }
    }

    #[test]
    fn what_two_texts_share_is_passed_in_both() {
        let (one, other) = (pieces(&["ab", "cdef"]), pieces(&["xabc", "dxx"]));
        let (mut own, mut others) = (Scan::new(&one, 0), Scan::new(&other, 1));
        assert_eq!(own.pass_same(&mut others, 3), 3);
        assert_eq!(own.pass_same(&mut others, 9), 1);
        assert_eq!((own.at(), own.peek(), others.at(), others.peek()), (4, Some(b'e'), 5, Some(b'x')));
    }
}
