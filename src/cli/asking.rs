//! [`Asking`]: questions on the terminal in the middle of a job, one at a time. The forms of servers and the questions for
//! permission use it; a question that is no longer awaited is withdrawn.
//!
//! Reading is done in short waits, so that a withdrawn question frees the terminal.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{Mutex, oneshot};
use tokio_util::sync::CancellationToken;

use super::prompt::{drop_typed_ahead, is_in_background, read};
use super::render::Screen;

/// The interval at which a waiting question checks that it was not withdrawn.
const GLANCE: Duration = Duration::from_millis(100);

/// The terminal, for one question at a time.
#[derive(Clone)]
pub struct Asking {
    screen: Arc<Screen>,
    turn: Arc<Mutex<()>>,
}

impl Asking {
    /// Asks with the progress of `screen` out of the way.
    pub fn new(screen: Arc<Screen>) -> Self {
        Self { screen, turn: Arc::default() }
    }

    /// Has `talk` ask when it is its turn. In the background nothing can be asked: then `otherwise` answers. `None` when the
    /// question came to no end.
    pub async fn ask<T: Send + 'static>(
        self,
        otherwise: impl FnOnce() -> T,
        talk: impl FnOnce(&mut BufReader<Typed>, &dyn Fn(&str)) -> T + Send + 'static,
    ) -> Option<T> {
        let Self { screen, turn } = self;
        let turn = turn.lock_owned().await;
        if is_in_background() {
            return Some(otherwise());
        }
        let (sender, reply) = oneshot::channel();
        let mut question = Put { withdrawn: CancellationToken::new(), is_answered: false };
        let withdrawn = question.withdrawn.clone();
        std::thread::spawn(move || {
            screen.set_aside();
            drop_typed_ahead();
            let reply = talk(&mut BufReader::new(Typed { withdrawn }), &show);
            screen.come_back();
            // The next question may be asked; the receiver of this one may be gone.
            drop(turn);
            let _ = sender.send(reply);
        });
        let reply = reply.await.ok();
        question.is_answered = true;
        reply
    }
}

/// A question on the terminal. Dropped before it is answered, it is withdrawn.
struct Put {
    withdrawn: CancellationToken,
    is_answered: bool,
}

impl Drop for Put {
    fn drop(&mut self) {
        if !self.is_answered {
            self.withdrawn.cancel();
            // Printed here, not by the reading thread: the report of the job's end must come after it.
            show("\n  (not asked any more)\n");
        }
    }
}

fn show(text: &str) {
    // When the terminal is gone, reading ends too.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The typed text, until the question is withdrawn.
pub struct Typed {
    withdrawn: CancellationToken,
}

impl Read for Typed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        let glance = Timespec { tv_sec: 0, tv_nsec: i64::from(GLANCE.subsec_nanos()) };
        loop {
            if self.withdrawn.is_cancelled() {
                return Ok(0);
            }
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&glance)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                // The terminal passes on whole lines, so this does not wait.
                Ok(_) => return Ok(rustix::io::read(&stdin, &mut *buffer)?),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The typed line; none at the input's end, or when the question is withdrawn.
pub fn line(input: &mut impl BufRead, show: &dyn Fn(&str)) -> Option<String> {
    loop {
        match read(input, show) {
            Ok(typed) => return typed,
            Err(problem) => show(&format!("  {problem}: once more\n> ")),
        }
    }
}
