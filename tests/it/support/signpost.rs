//! A sign that a tool's own process gives when it has got somewhere: a named pipe that it writes to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use super::PATIENCE;

/// A named pipe in the workspace; a shell passes it by `echo > NAME`.
pub struct Signpost(PathBuf);

impl Signpost {
    /// Puts one up.
    pub fn at(workspace: &Path, name: &str) -> Self {
        let path = workspace.join(name);
        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success(), "no named pipe at {}", path.display());
        Self(path)
    }

    /// Waits until somebody passes.
    #[track_caller]
    pub fn wait(&self) {
        let (passed, waiting) = mpsc::channel();
        let path = self.0.clone();
        thread::spawn(move || {
            // Opening blocks until there is a writer.
            let _ = passed.send(fs::read_to_string(path));
        });
        waiting.recv_timeout(PATIENCE).expect("somebody to pass").expect("a readable pipe");
    }

    /// Passes, so that somebody who waits at it goes on; waits for them to come.
    #[track_caller]
    pub fn pass(&self) {
        let (written, waiting) = mpsc::channel();
        let path = self.0.clone();
        thread::spawn(move || {
            // Opening blocks until there is a reader.
            let _ = written.send(fs::write(path, "\n"));
        });
        waiting.recv_timeout(PATIENCE).expect("somebody to wait").expect("a writable pipe");
    }
}
