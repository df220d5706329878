//! [`read`]: the text on stdin, which never waits for ever on an open, silent one unless that is asked for. Called by
//! `input`.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::{MAX_QUERY, MendedText};

/// The time that stdin may be silent when no argument asks for it to be read: long enough for any program
/// that is already writing, short enough for a CI job that left stdin open.
pub const ASSUMED_SILENCE: Duration = Duration::from_secs(10);

/// The same, when `-` asks for it as the query. Another model may be writing it.
pub const ASKED_SILENCE: Duration = Duration::from_mins(1);

/// The silence after which a line shows what is awaited.
const UNEXPLAINED: Duration = Duration::from_secs(1);

/// Bytes read at once (a pipe's usual size on Linux).
const CHUNK: usize = 64 * 1024;

/// The way on from a query that did not come.
pub const HELP: &str = "give the query as an argument, or pipe it in and end it";

/// The reason why stdin gave no text.
#[derive(Debug, thiserror::Error)]
pub enum StdinError {
    #[error("no query: standard input is open, but was silent for {} s", .silence.as_secs())]
    Silent { silence: Duration },
    #[error("the query on standard input broke off: silent for {} s after {bytes} bytes, without an end", .silence.as_secs())]
    BrokenOff { silence: Duration, bytes: usize },
    #[error("the text on standard input is longer than {} MiB", MAX_QUERY / 1024 / 1024)]
    TooLong,
    #[error("standard input holds bytes that are no text")]
    NotText,
    #[error("cannot read standard input")]
    Unreadable(#[source] io::Error),
}

/// The patience with stdin.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// The longest silence before the first byte; `None`: for ever.
    first: Option<Duration>,
    /// The longest silence after it.
    later: Option<Duration>,
    /// It is the query itself that is read: a silence is an error.
    is_query: bool,
}

impl Wait {
    /// For a query, which must come.
    pub fn for_query(silence: Duration) -> Self {
        Self { first: Some(silence), later: Some(silence), is_query: true }
    }

    /// For what may be piped in beside a query. What has begun is read to its end.
    pub fn beside_query() -> Self {
        Self { first: Some(ASSUMED_SILENCE), later: None, is_query: false }
    }

    /// For what is piped in beside a query and was asked for.
    pub fn without_limit() -> Self {
        Self { first: None, later: None, is_query: false }
    }

    /// The line about a wait, once `bytes` were read.
    fn line(&self, bytes: usize) -> String {
        let awaited = match (self.is_query, bytes) {
            (true, _) => "waiting for the query on standard input",
            (false, 0) => "waiting for standard input",
            (false, _) => "waiting for standard input to end",
        };
        let limit = if bytes == 0 { self.first } else { self.later };
        let at_most = limit.map(|limit| format!(", at most {} s", limit.as_secs())).unwrap_or_default();
        let way_out = if self.is_query { "" } else { "; --no-stdin sends the query alone" };
        format!("{awaited}{at_most}{way_out}")
    }
}

/// Reads stdin to its end. `None`: it was silent for as long as it may be beside a query. `show` gets a line about a wait
/// that takes longer than a second.
///
/// # Errors
/// Silence where a query must come, and text that is too long, none, or cannot be read.
pub fn read(wait: Wait, show: &dyn Fn(&str)) -> Result<Option<MendedText>, StdinError> {
    if is_null_device() {
        // Empty, as reading shows too: in a thread of its own, which takes longer to start than a job to be set up.
        return Ok(Some(MendedText::default()));
    }
    let chunks = chunks_of(io::stdin());
    match collect(&chunks, wait, UNEXPLAINED, show)? {
        Some(bytes) => MendedText::new(bytes).map(Some).ok_or(StdinError::NotText),
        None => Ok(None),
    }
}

/// Returns true for `/dev/null`, which scripts and supervisors give to programs that have no input.
#[cfg(unix)]
fn is_null_device() -> bool {
    use rustix::fs::{FileType, fstat, stat};
    let is_device = |it: &rustix::fs::Stat| FileType::from_raw_mode(it.st_mode) == FileType::CharacterDevice;
    match (fstat(io::stdin()), stat("/dev/null")) {
        (Ok(ours), Ok(null)) => is_device(&ours) && is_device(&null) && ours.st_rdev == null.st_rdev,
        _ => false,
    }
}

/// Returns false: an empty input ends at once here, too.
#[cfg(not(unix))]
fn is_null_device() -> bool {
    false
}

/// Returns true if nothing will come: the other end is closed, and all was read.
pub fn is_at_end() -> bool {
    #[cfg(unix)]
    {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let stdin = io::stdin();
        let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let is_polled = poll(&mut polled, Some(&now)).is_ok();
        is_polled
            && polled.iter().all(|fd| {
                let seen = fd.revents();
                seen.contains(PollFlags::HUP) && !seen.contains(PollFlags::IN)
            })
    }
    #[cfg(not(unix))]
    false
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
fn collect(
    chunks: &Receiver<io::Result<Vec<u8>>>,
    wait: Wait,
    unexplained: Duration,
    show: &dyn Fn(&str),
) -> Result<Option<Vec<u8>>, StdinError> {
    let mut bytes = Vec::new();
    // Whether the wait for the first byte, and that for the end, were shown.
    let mut shown = [false, false];
    loop {
        let (limit, shown) = if bytes.is_empty() { (wait.first, &mut shown[0]) } else { (wait.later, &mut shown[1]) };
        let quiet = if *shown { Duration::ZERO } else { limit.map_or(unexplained, |limit| unexplained.min(limit)) };
        let mut next = chunks.recv_timeout(quiet);
        if matches!(next, Err(RecvTimeoutError::Timeout)) && limit.is_none_or(|limit| limit > quiet) {
            if !*shown {
                show(&wait.line(bytes.len()));
                *shown = true;
            }
            next = match limit {
                Some(limit) => chunks.recv_timeout(limit.saturating_sub(quiet)),
                None => chunks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
        }
        match next {
            Ok(Ok(chunk)) if bytes.len() + chunk.len() > MAX_QUERY => return Err(StdinError::TooLong),
            Ok(Ok(chunk)) => bytes.extend(chunk),
            Ok(Err(error)) => return Err(StdinError::Unreadable(error)),
            Err(RecvTimeoutError::Disconnected) => return Ok(Some(bytes)),
            Err(RecvTimeoutError::Timeout) => {
                let silence = limit.unwrap_or_default();
                return match (wait.is_query, bytes.len()) {
                    (true, 0) => Err(StdinError::Silent { silence }),
                    (true, bytes) => Err(StdinError::BrokenOff { silence, bytes }),
                    (false, _) => Ok(None),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Reads with a limit on silence in seconds for a query; `None`: beside one.
    fn read(chunks: &Receiver<io::Result<Vec<u8>>>, wait: Wait) -> Result<Option<String>, StdinError> {
        let read = collect(chunks, wait, Duration::ZERO, &|_| {})?;
        Ok(read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    const AT_ONCE: Wait = Wait { first: Some(Duration::ZERO), later: None, is_query: false };

    #[test]
    fn a_pipe_is_read_to_its_end() {
        assert_eq!(read(&chunks_of(&b"a\nb"[..]), Wait::beside_query()).unwrap().as_deref(), Some("a\nb"));
        assert_eq!(read(&chunks_of(&b"a\nb"[..]), Wait::without_limit()).unwrap().as_deref(), Some("a\nb"));
        assert_eq!(read(&chunks_of(io::empty()), Wait::beside_query()).unwrap().as_deref(), Some(""));
    }

    #[test]
    fn a_silent_stdin_is_distinguished_from_one_that_broke_off() {
        let (sender, chunks) = sync_channel(1);
        let query = Wait::for_query(Duration::ZERO);
        assert!(matches!(read(&chunks, query), Err(StdinError::Silent { .. })));
        sender.send(Ok(b"half".to_vec())).unwrap();
        assert!(matches!(read(&chunks, query), Err(StdinError::BrokenOff { bytes: 4, .. })));
    }

    #[test]
    fn beside_a_query_silence_is_no_error_and_what_has_begun_is_read_to_its_end() {
        let (sender, chunks) = sync_channel(1);
        assert_eq!(read(&chunks, AT_ONCE).unwrap(), None);
        sender.send(Ok(b"be".to_vec())).unwrap();
        // The rest comes only once its end is waited for, which the line about the wait shows.
        let rest = RefCell::new(Some(sender));
        let lines = RefCell::new(Vec::new());
        let show = |line: &str| {
            lines.borrow_mut().push(line.to_owned());
            rest.borrow_mut().take().unwrap().send(Ok(b"gun".to_vec())).unwrap();
        };
        assert_eq!(collect(&chunks, AT_ONCE, Duration::ZERO, &show).unwrap(), Some(b"begun".to_vec()));
        assert_eq!(*lines.borrow(), ["waiting for standard input to end; --no-stdin sends the query alone"]);
    }

    #[test]
    fn a_wait_is_shown_with_its_limit_and_the_way_out() {
        assert_eq!(
            Wait::beside_query().line(0),
            "waiting for standard input, at most 10 s; --no-stdin sends the query alone"
        );
        assert_eq!(Wait::without_limit().line(0), "waiting for standard input; --no-stdin sends the query alone");
        assert_eq!(Wait::for_query(ASKED_SILENCE).line(3), "waiting for the query on standard input, at most 60 s");
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert!(matches!(read(&chunks_of(io::repeat(b'x')), Wait::beside_query()), Err(StdinError::TooLong)));
    }
}
