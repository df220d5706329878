//! The terminal device: the question of trust goes there and its answer comes from there, whatever standard input and
//! output are. Called by [`super::require`].

use super::super::failure::Failure;

/// The lines of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Yes,
    No,
    /// Show everything and ask again.
    All,
}

fn reply(typed: &str) -> Option<Reply> {
    match typed.trim().to_lowercase().as_str() {
        "y" | "yes" => Some(Reply::Yes),
        "" | "n" | "no" => Some(Reply::No),
        "a" | "all" => Some(Reply::All),
        _ => None,
    }
}

#[cfg(unix)]
mod unix {
    use std::fs::{File, OpenOptions};
    use std::io::{BufReader, Write as _};

    use anyhow::Context as _;
    use nix::unistd::{getpgrp, tcgetpgrp};
    use rustix::termios::{QueueSelector, tcflush};

    use super::{Failure, Reply, reply};
    use crate::cli::prompt::read;

    const PATH: &str = "/dev/tty";

    fn open() -> std::io::Result<File> {
        OpenOptions::new().read(true).write(true).open(PATH)
    }

    /// Returns true if there is a terminal and this process is in its foreground group: reading from it in the
    /// background would stop the process.
    pub fn is_ours() -> bool {
        open().is_ok_and(|device| tcgetpgrp(&device).is_ok_and(|foreground| foreground == getpgrp()))
    }

    /// Shows `question` and waits for yes or no; `everything` is shown on request.
    ///
    /// # Errors
    /// When the device cannot be used.
    pub fn ask(question: &str, everything: &str) -> Result<bool, Failure> {
        let unusable = |error| Failure::usage(error);
        let device = open().with_context(|| format!("cannot open {PATH}")).map_err(unusable)?;
        let mut screen = device.try_clone().with_context(|| format!("cannot use {PATH}")).map_err(unusable)?;
        let show = |mut screen: &File, text: &str| {
            // With the terminal gone, reading ends too.
            let _ = screen.write_all(text.as_bytes());
        };
        // Text typed before the question was shown cannot be meant as its answer.
        let _ = tcflush(&device, QueueSelector::IFlush);
        let mut lines = BufReader::new(device);
        show(&screen, question);
        loop {
            show(&screen, "trust this folder? (yes, no, or all to see everything) ");
            let typed = match read(&mut lines, &|text| show(&screen, text)) {
                Ok(Some(typed)) => typed,
                Ok(None) => {
                    show(&screen, "\n");
                    return Ok(false);
                }
                Err(_) => continue,
            };
            match reply(&typed) {
                Some(Reply::Yes) => return Ok(true),
                Some(Reply::No) => return Ok(false),
                Some(Reply::All) => show(&screen, everything),
                None => {}
            }
            screen.flush().ok();
        }
    }
}

#[cfg(unix)]
pub use unix::{ask, is_ours};

/// False: this system has no device to ask on.
#[cfg(not(unix))]
pub fn is_ours() -> bool {
    false
}

/// Refuses: there is no device to ask on.
#[cfg(not(unix))]
pub fn ask(_question: &str, _everything: &str) -> Result<bool, Failure> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert_eq!(["y", " YES "].map(reply), [Some(Reply::Yes), Some(Reply::Yes)]);
        assert_eq!(["", "no"].map(reply), [Some(Reply::No), Some(Reply::No)]);
        assert_eq!((reply("all"), reply("yess"), reply("1")), (Some(Reply::All), None, None));
    }
}
