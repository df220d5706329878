//! [`Exit`]: the exit codes, in one table. `--help`, the manual pages and `docs/scripts.md` are made of it, and tests hold
//! them equal. Which end of a job has which code is left to `outcome`, and that of an error to `failure`.

use std::fmt::Write as _;
use std::process::ExitCode;

/// Declares the enum and the rows of its table: a code, what it means, and what to do next.
macro_rules! exits {
    ($($name:ident = $code:literal, $means:literal, $next:literal;)*) => {
        /// An exit code. The numbers are part of the product's interface and shown by `--help`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Exit {
            $(#[doc = $means] $name = $code,)*
        }

        /// Every code, in rising order.
        const ROWS: &[ExitRow] = &[$(ExitRow { exit: Exit::$name, means: $means, next: $next },)*];
    };
}

exits! {
    Completed = 0, "completed", "";
    Failed = 1, "stopped by error", "the cause is on standard error; `perstack resume` tries again";
    Usage = 2, "usage or configuration error", "nothing was begun; correct what is named";
    MaxSteps = 3, "max steps reached", "`perstack resume` with a larger `--max-steps`";
    Interactive = 4, "waiting for interactive input", "`perstack resume latest \"ANSWER\"`";
    Budget = 5, "budget reached", "`perstack resume` with a larger budget";
    Storage = 6, "state could not be stored or read, or is locked by another process", "mend the disk or wait, then `perstack resume`";
    Unverified = 7, "the gate before completion was not passed", "standard error shows the command and its end; `perstack resume` gives it fresh rounds";
    Interrupted = 130, "SIGINT", "`perstack resume`";
    Terminated = 143, "SIGTERM or SIGHUP", "`perstack resume`";
}

/// A row of the table.
struct ExitRow {
    exit: Exit,
    means: &'static str,
    /// The next thing to do, in Markdown; empty where nothing is.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is for the documents, which a test writes"))]
    next: &'static str,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The exit with this code.
    #[cfg(feature = "fleet")]
    pub fn of_code(code: u8) -> Option<Self> {
        ROWS.iter().map(|row| row.exit).find(|exit| *exit as u8 == code)
    }

    /// Its meaning in words.
    #[cfg(feature = "fleet")]
    pub fn means(self) -> &'static str {
        ROWS.iter().find(|row| row.exit == self).map_or("", |row| row.means)
    }
}

/// The table in `--help`.
pub fn help_lines() -> String {
    ROWS.iter().fold(String::new(), |mut text, row| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{:>5}  {}", row.exit as u8, row.means);
        text
    })
}

/// The table in `docs/scripts.md`.
#[cfg(test)]
pub fn markdown() -> String {
    let rows = ROWS.iter().map(|row| format!("| {} | {} | {} |\n", row.exit as u8, row.means, row.next));
    "| exit code | means | what to do |\n| --- | --- | --- |\n".to_owned()
        + &rows.collect::<String>().replace("|  |", "| |")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_given_once_and_rise() {
        assert!(ROWS.is_sorted_by(|row, next| (row.exit as u8) < (next.exit as u8)));
        assert!(help_lines().contains("\n    2  usage or configuration error\n"), "{}", help_lines());
        assert!(markdown().contains("| 0 | completed | |\n"), "{}", markdown());
    }
}
