//! [`LineReader`]: the lines of a stream, none longer than a limit.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Reads lines. May be dropped between any two waits: what was read stays.
pub(super) struct LineReader<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    limit: usize,
    is_cut: bool,
}

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub bytes: Vec<u8>,
    /// It was longer than the limit; the rest is dropped.
    pub is_cut: bool,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads the lines of `from`, of at most `limit` bytes each.
    pub(super) fn new(from: R, limit: usize) -> Self {
        Self { from: BufReader::new(from), line: Vec::new(), limit, is_cut: false }
    }

    /// The next line; `None` at the end. The rest after the last line end is a line too.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let available = self.from.fill_buf().await?;
            if available.is_empty() {
                let is_rest = !self.line.is_empty() || self.is_cut;
                return Ok(is_rest.then(|| self.take()));
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let piece = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            let room = self.limit.saturating_sub(self.line.len());
            self.is_cut |= piece.len() > room;
            self.line.extend_from_slice(piece.get(..room).unwrap_or(piece));
            let used = piece.len() + usize::from(end.is_some());
            self.from.consume(used);
            if end.is_some() {
                return Ok(Some(self.take()));
            }
        }
    }

    fn take(&mut self) -> Line {
        let mut bytes = std::mem::take(&mut self.line);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Line { bytes, is_cut: std::mem::take(&mut self.is_cut) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn all<R: AsyncRead + Unpin>(mut lines: LineReader<R>) -> Vec<(String, bool)> {
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push((String::from_utf8(line.bytes).unwrap(), line.is_cut));
        }
        all
    }

    #[tokio::test]
    async fn lines_end_with_either_line_end_and_with_the_stream() {
        let lines = all(LineReader::new(&b"one\r\n\ntwo\nrest"[..], 10)).await;
        let expected = ["one", "", "two", "rest"].map(|line| (line.to_owned(), false));
        assert_eq!(lines, expected);
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_the_next_is_whole() {
        let lines = all(LineReader::new(&b"abcdef\nabcd\nxy"[..], 4)).await;
        assert_eq!(lines, [("abcd".to_owned(), true), ("abcd".to_owned(), false), ("xy".to_owned(), false)]);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(text in "[a\n]{0,40}", splits in proptest::collection::vec(1_usize..7, 0..20)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (whole, pieces) = runtime.block_on(async {
                let whole = all(LineReader::new(text.as_bytes(), 5)).await;
                let (mut writer, reader) = tokio::io::duplex(64);
                let text = text.clone();
                let write = async move {
                    let mut rest = text.as_bytes();
                    for split in splits {
                        let (piece, after) = rest.split_at(split.min(rest.len()));
                        writer.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                        rest = after;
                    }
                    writer.write_all(rest).await.unwrap();
                };
                let ((), pieces) = tokio::join!(write, all(LineReader::new(reader, 5)));
                (whole, pieces)
            });
            prop_assert_eq!(whole, pieces);
        }
    }
}
