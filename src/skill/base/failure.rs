//! Why a base tool could not do what it was asked. The texts are the original's where it has one: experts' instructions
//! and users' scripts know them.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// A failure, for the model to see. Paths are as the model gave them, unless the text gives an absolute one.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileFailure {
    #[error("Access denied - perstack directory is not allowed")]
    Protected,
    #[error("Access denied - {0} holds keys or a recording of this run, and is off limits")]
    Closed(String),
    #[error("Access denied - {0} decides or records what this run does: its owner changes it, not a tool")]
    ReadOnly(String),
    #[error("Access denied - path outside allowed directories: {} not in {}", path.display(), workspace.display())]
    Outside { path: PathBuf, workspace: PathBuf },
    #[error("Access denied - symlink target outside allowed directories")]
    LinkOutside,
    #[error("Access denied - parent directory outside allowed directories")]
    ParentOutside,
    #[error("Too many levels of symbolic links: {0}")]
    TooManyLinks(String),
    #[error("Operation denied: target is a symbolic link")]
    IsLink,
    #[error("Operation denied: {0} is the workspace itself")]
    IsWorkspace(String),
    #[error("Cannot expand {0}: HOME is not set")]
    NoHome(String),
    #[error("Parent directory does not exist: {}", .0.display())]
    NoParent(PathBuf),
    #[error("Parent directory {} is not writable", .0.display())]
    ParentNotWritable(PathBuf),
    #[error("File {0} does not exist.")]
    NoFile(String),
    #[error("File {0} is not writable")]
    FileNotWritable(String),
    #[error("Path {0} is a directory. Use listDirectory tool instead.")]
    ReadsDirectory(String),
    #[error("Path {0} is a directory. Choose the path of a file.")]
    WritesDirectory(String),
    #[error("Path {0} is a directory. Use delete directory tool instead.")]
    DeletesDirectory(String),
    #[error("File {0} is not a regular file.")]
    NotRegular(String),
    #[error("File {0} is not UTF-8 text.")]
    NotText(String),
    #[error(
        "Text file too large ({size}). Maximum supported size is {limit}. Read a part of it with exec, by sed or head."
    )]
    TextTooLarge { size: String, limit: String },
    #[error("File {0} is not supported.")]
    NotSupported(String),
    #[error("File {path} is named as {expected}, but its content is something else.")]
    OtherContent { path: String, expected: &'static str },
    #[error("File {0} is not a PDF file.")]
    NotPdf(String),
    #[error("Image file too large ({0}). Maximum supported size is 15MB. Please use a smaller image file.")]
    ImageTooLarge(String),
    #[error("PDF file too large ({0}). Maximum supported size is 30MB. Please use a smaller PDF file.")]
    PdfTooLarge(String),
    #[error("Could not find exact match for oldText in file {}", .0.display())]
    NoMatch(PathBuf),
    #[error("Source file {0} does not exist.")]
    NoSource(String),
    #[error("Source file {0} is not writable")]
    SourceNotWritable(String),
    #[error("Destination {0} already exists.")]
    DestinationExists(String),
    #[error("File or directory {0} does not exist")]
    NoEntry(String),
    #[error("Directory {0} does not exist.")]
    NoDirectory(String),
    #[error("Directory {0} already exists")]
    DirectoryExists(String),
    #[error("Directory {0} is not writable")]
    DirectoryNotWritable(String),
    #[error("Path {0} is not a directory.")]
    NotDirectory(String),
    #[error("Path {0} is not a directory. Use deleteFile tool instead.")]
    DeletesFile(String),
    #[error("The call was cancelled before it began; nothing was changed.")]
    Cancelled,
    #[error("Cannot {action} {path}")]
    Io { action: &'static str, path: String, source: io::Error },
    #[error("The tool ended unexpectedly")]
    Ended { source: tokio::task::JoinError },
}

impl FileFailure {
    /// For `map_err`: the system refused to `action` the file at `path`.
    pub(super) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().display().to_string();
        move |source| Self::Io { action, path, source }
    }

    /// The failure with its causes, in one line.
    pub(super) fn message(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        text
    }
}
