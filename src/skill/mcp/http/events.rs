//! [`Events`]: the events of a server's stream, cut out of the bytes that arrive. Called for every answer that is a
//! stream; the meaning of their data is left to `answer.rs`.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>

use std::collections::VecDeque;
use std::error::Error;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::Response;
use rmcp::transport::streamable_http_client::SseError;
use sse_stream::Sse;

/// The bytes that may open a text in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A stream of events.
pub(in super::super) type Events = BoxStream<'static, Result<Sse, SseError>>;

/// An event that is longer than the limit in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {} MiB", limit >> 20)]
pub(super) struct EventTooLarge {
    limit: usize,
}

impl EventTooLarge {
    /// The reason why a stream broke, if it is this one.
    pub(super) fn in_error(error: &SseError) -> Option<Self> {
        match error {
            SseError::Body(cause) => cause.downcast_ref().copied(),
            _ => None,
        }
    }
}

/// The events of `response`, none longer than `limit`, where `start` of its body has been read already.
pub(super) fn read(response: Response, start: &[u8], limit: usize) -> Events {
    let mut reading =
        Reading { response, reader: EventReader::new(limit), ready: VecDeque::new(), is_over: false, fault: None };
    reading.take(start);
    stream::unfold(reading, |mut reading| async move {
        let event = reading.next().await?;
        Some((event, reading))
    })
    .boxed()
}

struct Reading {
    response: Response,
    reader: EventReader,
    ready: VecDeque<Sse>,
    /// Nothing is read any more.
    is_over: bool,
    /// The reason for the end, after the events before it.
    fault: Option<SseError>,
}

impl Reading {
    fn take(&mut self, bytes: &[u8]) {
        if let Err(fault) = self.reader.push(bytes, &mut self.ready) {
            self.end(Some(broken(fault)));
        }
    }

    fn end(&mut self, fault: Option<SseError>) {
        self.is_over = true;
        self.fault = fault;
    }

    async fn next(&mut self) -> Option<Result<Sse, SseError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.is_over {
                return self.fault.take().map(Err);
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.take(&bytes),
                Ok(None) => {
                    self.end(None);
                    self.reader.finish(&mut self.ready);
                }
                Err(error) => self.end(Some(broken(error))),
            }
        }
    }
}

fn broken(error: impl Error + Send + Sync + 'static) -> SseError {
    SseError::Body(Box::new(error))
}

/// Cuts bytes into events, whatever the pieces they arrive in.
#[derive(Debug)]
struct EventReader {
    limit: usize,
    line: Vec<u8>,
    event: Sse,
    /// Bytes of the event's lines so far.
    size: usize,
    /// The last line ended with a carriage return, whose line feed may follow.
    after_return: bool,
    /// Nothing but blank lines has come.
    is_at_start: bool,
    /// It is no stream but one JSON text, under a stream's name.
    is_one_text: bool,
}

impl EventReader {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            event: Sse::default(),
            size: 0,
            after_return: false,
            is_at_start: true,
            is_one_text: false,
        }
    }

    fn push(&mut self, bytes: &[u8], events: &mut VecDeque<Sse>) -> Result<(), EventTooLarge> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_return) {
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
            let end = if self.is_one_text { None } else { rest.iter().position(is_break) };
            let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
            self.line.extend_from_slice(piece);
            if self.is_at_start {
                self.recognize();
            }
            if self.size.saturating_add(self.line.len()) > self.limit {
                return Err(EventTooLarge { limit: self.limit });
            }
            rest = after;
            if end.is_some() && self.is_one_text {
                self.line.extend(after.first());
                rest = after.get(1..).unwrap_or_default();
            } else if let Some((ending, after)) = after.split_first() {
                self.after_return = *ending == b'\r';
                rest = after;
                self.end_line(events);
            }
        }
        Ok(())
    }

    /// The rest after the last blank line: servers leave it out at the end.
    fn finish(&mut self, events: &mut VecDeque<Sse>) {
        if self.is_one_text {
            self.event.data = Some(String::from_utf8_lossy(&self.line).into_owned());
            self.line.clear();
        } else {
            self.end_line(events);
        }
        self.end_event(events);
    }

    fn recognize(&mut self) {
        if let Some(rest) = self.line.strip_prefix(BYTE_ORDER_MARK) {
            self.line = rest.to_vec();
        }
        if BYTE_ORDER_MARK.starts_with(&self.line) {
            return;
        }
        if let Some(first) = self.line.trim_ascii_start().first() {
            self.is_at_start = false;
            // No field of an event begins like this.
            self.is_one_text = matches!(first, b'{' | b'[');
        }
    }

    fn end_line(&mut self, events: &mut VecDeque<Sse>) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.end_event(events);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        if name.is_empty() {
            return;
        }
        self.size = self.size.saturating_add(line.len());
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match name {
            b"data" => match &mut self.event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(&value);
                }
                none => *none = Some(value.into_owned()),
            },
            b"event" => self.event.event = Some(value.into_owned()),
            b"id" if !value.contains('\0') => self.event.id = Some(value.into_owned()),
            b"retry" => self.event.retry = value.parse().ok().or(self.event.retry),
            _ => {}
        }
    }

    fn end_event(&mut self, events: &mut VecDeque<Sse>) {
        self.size = 0;
        let event = std::mem::take(&mut self.event);
        if event != Sse::default() {
            events.push_back(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> (Vec<Sse>, Result<(), EventTooLarge>) {
        let (mut reader, mut events) = (EventReader::new(limit), VecDeque::new());
        let mut read = Ok(());
        for piece in pieces {
            read = read.and_then(|()| reader.push(piece, &mut events));
        }
        if read.is_ok() {
            reader.finish(&mut events);
        }
        (events.into(), read)
    }

    fn data(bytes: &[u8]) -> Vec<String> {
        read([bytes], 1000).0.into_iter().map(|event| event.data.unwrap_or_default()).collect()
    }

    #[test]
    fn events_are_read_with_all_their_fields() {
        let bytes = b"\xef\xbb\xbf: hello\n\nevent: message\nid: 7\nretry: 20\ndata: {\"a\":\ndata:  1}\nother: x\n\n";
        let event = Sse::default().event("message").id("7").retry(20).data("{\"a\":\n 1}");
        assert_eq!(read([bytes.as_slice()], 1000), (vec![event], Ok(())));
    }

    #[test]
    fn lines_may_end_in_three_ways_and_the_last_not_at_all() {
        assert_eq!(data(b"data: a\n\ndata: b\r\n\r\ndata: c\r\rdata:d"), ["a", "b", "c", "d"]);
        assert_eq!(data(b"data: a\xff\n\n"), ["a\u{fffd}"]);
        assert_eq!(data(b"retry: soon\nid: a\0b\n\n"), Vec::<String>::new());
    }

    #[test]
    fn one_json_text_under_a_streams_name_is_one_event() {
        let text = "{\n\"a\": [1,\r\n\r\n 2]\n}\n";
        assert_eq!(data(format!("\n \n{text}").as_bytes()), [text]);
        assert_eq!(data(b"\xef\xbb\xbf[1]"), ["[1]"]);
    }

    #[test]
    fn an_event_has_a_limit_and_comments_do_not_count() {
        let (events, read_to) = read([b"data: 123456\n\ndata: 1234567\n\n".as_slice()], 12);
        assert_eq!((events.len(), read_to), (1, Err(EventTooLarge { limit: 12 })));
        assert!(read([b"data: 1\ndata: 2\n".as_slice()], 13).1.is_err());
        assert_eq!(
            read([b": ping\n: ping\n: ping\ndata: 1\n\n".as_slice()], 7),
            (vec![Sse::default().data("1")], Ok(()))
        );
        assert!(read([b"{\"a\": 1234}".as_slice()], 7).1.is_err());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            text in r"(\{|data: ?|id:|a|\n|\r|:| ){0,30}",
            is_marked in proptest::bool::ANY,
            splits in proptest::collection::vec(1_usize..5, 0..20),
        ) {
            let text = format!("{}{text}", if is_marked { "\u{feff}" } else { "" });
            let mut rest = text.as_bytes();
            let mut pieces = Vec::new();
            for split in splits {
                let (piece, after) = rest.split_at(split.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(read(pieces, 1000), read([text.as_bytes()], 1000));
        }
    }
}
