//! The end of the program by a bug of its own: a panic. [`main`](super::main) calls it first.
//!
//! Nothing goes on behind a panic. The state of the program is no longer what its code assumes, while what a job has
//! recorded is whole at every moment, as behind `kill -9`. So the release build has no code to unwind with, and is
//! smaller by a seventh.

use std::io::Write as _;
use std::{io, panic, process};

use super::Exit;

/// Printed behind the message of a panic.
const ADVICE: &str = "\
perstack has a bug, and has ended. Please report it with the lines above. What was recorded is kept; a job goes on with:
perstack resume";

/// Ends the program, with the code of an error, behind the message of the first panic of any thread.
pub fn end_on_panics() {
    let print_message = panic::take_hook();
    panic::set_hook(Box::new(move |bug| {
        print_message(bug);
        // It may be closed.
        let _ = writeln!(io::stderr(), "{ADVICE}");
        process::exit(i32::from(Exit::Failed as u8));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set in the process that this test starts.
    const INNER: &str = "PERSTACK_TEST_OF_PANICS";

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the process that the test starts is its own")]
    fn a_panic_of_any_thread_ends_the_program_with_advice() {
        if std::env::var_os(INNER).is_some() {
            end_on_panics();
            let _ = std::thread::spawn(|| panic!("an owl is no bird")).join();
            process::exit(0);
        }
        let mut own = process::Command::new(std::env::current_exe().unwrap());
        own.args(["--exact", "cli::bug::tests::a_panic_of_any_thread_ends_the_program_with_advice", "--nocapture"]);
        let ended = own.env(INNER, "1").output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("an owl is no bird") && stderr.contains("src/cli/bug.rs:"), "{stderr}");
        assert_eq!(stderr.lines().last(), Some("perstack resume"), "{stderr}");
    }
}
