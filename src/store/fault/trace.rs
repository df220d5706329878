//! [`Trace`]: every operation as it begins, and marks between them, a JSON object a line. The tests read it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use super::plan::Fault;

/// The trace's destination.
pub enum Trace {
    Off,
    To(File),
    /// The file cannot be opened; the first write to it returns the error.
    Broken(Option<io::Error>),
}

/// A line of the trace.
pub enum TraceEntry<'a> {
    Operation { number: u64, name: &'static str, path: &'a Path, bytes: usize, fault: Option<Fault> },
    Mark { what: &'static str, of: &'a str },
}

impl Trace {
    /// Opens the file at `path`, to append to it.
    pub fn open(path: Option<&Path>) -> Self {
        let Some(path) = path else { return Self::Off };
        match OpenOptions::new().create(true).append(true).open(path) {
            Ok(file) => Self::To(file),
            Err(error) => Self::Broken(Some(error)),
        }
    }

    /// Writes one line.
    ///
    /// # Errors
    /// When it cannot be written: a trace with holes proves nothing.
    pub fn add(&mut self, entry: &TraceEntry<'_>) -> io::Result<()> {
        let file = match self {
            Self::Off => return Ok(()),
            Self::To(file) => file,
            Self::Broken(error) => return Err(error.take().unwrap_or_else(|| io::ErrorKind::Other.into())),
        };
        let line = match entry {
            TraceEntry::Operation { number, name, path, bytes, fault } => json!({
                "number": number, "operation": name, "path": path, "bytes": bytes,
                "fault": fault.map(|fault| format!("{fault:?}")),
            }),
            TraceEntry::Mark { what, of } => json!({"mark": what, "of": of}),
        };
        // In one call, so that a dying process leaves no half of a line.
        file.write_all(format!("{line}\n").as_bytes())
    }
}
