//! The query of `run` and `resume`: an argument, or the text on stdin. Never waits for ever on an open, silent stdin.

use std::io::{self, IsTerminal, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::failure::Failure;

/// Seconds that stdin may be silent when no argument asks for it to be read: long enough for any program
/// that is already writing, short enough for a CI job that left stdin open.
const ASSUMED_SILENCE_S: u64 = 10;

/// The same, when `-` asks for it. Another model may be writing the query.
const ASKED_SILENCE_S: u64 = 60;

/// Most bytes of a query: far beyond any context window.
const MAX_QUERY: usize = 16 * 1024 * 1024;

/// Bytes read at once (a pipe's usual size on Linux).
const CHUNK: usize = 64 * 1024;

/// The reason why there is no query.
#[derive(Debug, thiserror::Error)]
enum NoQuery {
    #[error("the query is missing")]
    Missing,
    #[error("the query is empty")]
    Empty,
    #[error("no query: standard input is open, but was silent for {seconds} s")]
    Silent { seconds: u64 },
    #[error("the query on standard input broke off: silent for {seconds} s after {bytes} bytes, without an end")]
    BrokenOff { seconds: u64, bytes: usize },
    #[error("the query on standard input is longer than {} MiB", MAX_QUERY / 1024 / 1024)]
    TooLong,
    #[error("the query on standard input is not UTF-8 text")]
    NotText,
    #[error("cannot read the query from standard input")]
    Unreadable(#[source] io::Error),
}

impl From<NoQuery> for Failure {
    fn from(error: NoQuery) -> Self {
        Self::usage(error).help("give the query as an argument, or pipe it in and end it")
    }
}

/// The query of a command that needs one: the argument, or stdin when it is `-` or absent.
///
/// # Errors
/// When there is none: absent on a terminal, blank, or stdin gave none in time.
pub fn required(argument: Option<&str>) -> Result<String, Failure> {
    match argument {
        Some("-") => from_stdin(ASKED_SILENCE_S),
        Some(text) => Ok(not_blank(text.to_owned())?),
        None if io::stdin().is_terminal() => Err(NoQuery::Missing.into()),
        None => from_stdin(ASSUMED_SILENCE_S),
    }
}

/// The query of a command that can do without one: stdin is read only when the argument is `-`.
///
/// # Errors
/// As [`required`], for a query that is there.
pub fn optional(argument: Option<&str>) -> Result<Option<String>, Failure> {
    argument.map(|_| required(argument)).transpose()
}

fn from_stdin(silence_s: u64) -> Result<String, Failure> {
    Ok(not_blank(collect(&chunks_of(io::stdin()), silence_s)?)?)
}

fn not_blank(text: String) -> Result<String, NoQuery> {
    if text.trim().is_empty() { Err(NoQuery::Empty) } else { Ok(text) }
}

/// Reads on a thread of its own, which a read that never returns keeps: it ends with the process.
fn chunks_of(mut stdin: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, chunks) = sync_channel(1);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(buffer.get(..count).unwrap_or_default().to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.send(read).is_err() || failed {
                return;
            }
        }
    });
    chunks
}

/// Puts chunks together until they end.
fn collect(chunks: &Receiver<io::Result<Vec<u8>>>, silence_s: u64) -> Result<String, NoQuery> {
    let mut bytes = Vec::new();
    loop {
        match chunks.recv_timeout(Duration::from_secs(silence_s)) {
            Ok(Ok(chunk)) if bytes.len() + chunk.len() > MAX_QUERY => return Err(NoQuery::TooLong),
            Ok(Ok(chunk)) => bytes.extend(chunk),
            Ok(Err(error)) => return Err(NoQuery::Unreadable(error)),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if bytes.is_empty() => return Err(NoQuery::Silent { seconds: silence_s }),
            Err(RecvTimeoutError::Timeout) => {
                return Err(NoQuery::BrokenOff { seconds: silence_s, bytes: bytes.len() });
            }
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| NoQuery::NotText)?;
    // A shell's `echo` and editors end a text with a line end that is not part of the query.
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_from_a_pipe_comes_without_its_last_line_end() {
        assert_eq!(collect(&chunks_of(&b"a\nb\r\n"[..]), 5).ok(), Some("a\nb".to_owned()));
    }

    #[test]
    fn a_silent_stdin_is_distinguished_from_one_that_broke_off() {
        let (sender, chunks) = sync_channel(1);
        assert!(matches!(collect(&chunks, 0), Err(NoQuery::Silent { seconds: 0 })));
        sender.send(Ok(b"half".to_vec())).unwrap();
        assert!(matches!(collect(&chunks, 0), Err(NoQuery::BrokenOff { bytes: 4, .. })));
    }

    #[test]
    fn what_is_no_text_or_too_long_is_refused() {
        assert!(matches!(collect(&chunks_of(&b"\xff\xfe"[..]), 5), Err(NoQuery::NotText)));
        assert!(matches!(collect(&chunks_of(io::repeat(b'x')), 5), Err(NoQuery::TooLong)));
    }

    #[test]
    fn blank_queries_are_refused() {
        assert!(required(Some(" \n\t")).is_err());
        assert!(required(Some("")).is_err());
        assert_eq!(required(Some("why?")).ok(), Some("why?".to_owned()));
        assert!(matches!(optional(None), Ok(None)));
    }
}
