//! [`RequestBody`]: a request's body in pieces, which requests of one conversation share.
//!
//! The encoders make it, the transport sends its pieces as they are, and a recorder sees by [`RequestBody::shared_prefix`]
//! what a request adds to an earlier one. The text of a conversation is thereby in memory once, however often it is sent.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The bytes of a body, in pieces. Bodies are equal when their bytes are, however they are cut. A copy shares the bytes.
#[derive(Clone, Default)]
pub struct RequestBody {
    /// None of them empty.
    pieces: Vec<Bytes>,
    len: usize,
}

impl RequestBody {
    /// The body of these pieces, one after the other.
    pub fn new(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let pieces: Vec<Bytes> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let len = pieces.iter().map(Bytes::len).sum();
        Self { pieces, len }
    }

    /// The pieces, none of them empty.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true for a body without any byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy of all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    /// The number of bytes at the beginning that are those of `earlier`. Pieces that both share are known by their place
    /// in memory, so that the cost follows what is new.
    pub fn shared_prefix(&self, earlier: &Self) -> usize {
        let (mut own, mut others) = (self.pieces.iter(), earlier.pieces.iter());
        let (mut left, mut right): (&[u8], &[u8]) = (&[], &[]);
        let mut shared: usize = 0;
        loop {
            if left.is_empty() {
                left = own.next().map_or(&[], |piece| piece);
            }
            if right.is_empty() {
                right = others.next().map_or(&[], |piece| piece);
            }
            let length = left.len().min(right.len());
            let ((start, left_rest), (other, right_rest)) = (left.split_at(length), right.split_at(length));
            let equal = if std::ptr::eq(start, other) || start == other {
                length
            } else {
                start.iter().zip(other).take_while(|(byte, other)| byte == other).count()
            };
            shared = shared.saturating_add(equal);
            if length == 0 || equal < length {
                return shared;
            }
            (left, right) = (left_rest, right_rest);
        }
    }
}

impl From<Vec<u8>> for RequestBody {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new([Bytes::from(bytes)])
    }
}

#[cfg(test)]
impl RequestBody {
    /// The content of a body that is JSON.
    pub(in crate::provider) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.to_vec()).unwrap()
    }
}

#[cfg(test)]
impl From<serde_json::Value> for RequestBody {
    fn from(body: serde_json::Value) -> Self {
        body.to_string().into_bytes().into()
    }
}

impl PartialEq for RequestBody {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.shared_prefix(other) == self.len
    }
}

impl Eq for RequestBody {}

/// Shows the size alone: the content is a whole conversation.
impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len)
    }
}

/// The body as the HTTP client takes it: its length is known, so that it is announced by `content-length`.
impl From<RequestBody> for reqwest::Body {
    fn from(body: RequestBody) -> Self {
        let left = u64::try_from(body.len).unwrap_or(u64::MAX);
        Self::wrap(Sending { pieces: body.pieces.into_iter(), left })
    }
}

/// A body while it is sent.
struct Sending {
    pieces: std::vec::IntoIter<Bytes>,
    /// Bytes that were not taken yet.
    left: u64,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let piece = self.pieces.next();
        let length = piece.as_ref().map_or(0, |piece| u64::try_from(piece.len()).unwrap_or(u64::MAX));
        self.left = self.left.saturating_sub(length);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(pieces: &[&'static str]) -> RequestBody {
        RequestBody::new(pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())))
    }

    #[test]
    fn bodies_are_equal_by_their_bytes_however_they_are_cut() {
        let whole = body(&["owls hunt"]);
        assert_eq!(whole, body(&["", "owls ", "", "h", "unt"]));
        assert_eq!(whole, RequestBody::from(b"owls hunt".to_vec()));
        assert_eq!((whole.len(), whole.pieces().len(), whole.to_vec()), (9, 1, b"owls hunt".to_vec()));
        assert_ne!(whole, body(&["owls hunT"]));
        assert_ne!(whole, body(&["owls hunt", "s"]));
        assert_ne!(whole, RequestBody::default());
        assert!(body(&[""]).is_empty() && RequestBody::default() == body(&[""]));
    }

    #[test]
    fn what_is_new_begins_where_an_earlier_body_differs() {
        let earlier = body(&["{\"m\":[", "1", ",2", "]}"]);
        for (later, shared) in [
            (body(&["{\"m\":[", "1,2", ",3]}"]), 9),
            (body(&["{\"m\":[1,2]}"]), 11),
            (body(&["{\"m\":[1,2]} "]), 11),
            (body(&["{\"m\"", ":[1"]), 7),
            (body(&["[]"]), 0),
            (RequestBody::default(), 0),
        ] {
            assert_eq!((later.shared_prefix(&earlier), earlier.shared_prefix(&later)), (shared, shared), "{later:?}");
        }
    }
}
