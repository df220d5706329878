//! [`read`]: a file that the command line sends along with the query (`--file`). Called by `input`.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use perstack::content::Content;
use perstack::skill::base::{MAX_IMAGE, MAX_PDF, media_type};

use super::{MAX_QUERY, MendedText, counted};
use crate::cli::failure::Failure;

/// The type of PDF files.
const PDF: &str = "application/pdf";

/// The bytes by which a file's kind is known: a PDF's header may begin anywhere in its first kilobyte.
const HEAD: u64 = 2048;

/// A file to be sent along.
#[derive(Debug, PartialEq)]
pub enum Attachment {
    /// Text, which becomes a part of the query.
    Text { path: String, text: String, mended: usize },
    /// An image or a PDF, by its path with kind and size.
    Media { shown: String, content: Content },
}

/// The line about it.
impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { path, text, .. } => {
                let (lines, size) = (counted(text.lines().count(), "line"), counted(text.len(), "byte"));
                write!(f, "{path} (text, {lines}, {size})")
            }
            Self::Media { shown, .. } => f.write_str(shown),
        }
    }
}

/// Reads the file at `path`, relative to `folder`.
///
/// # Errors
/// With the exit code for usage: it cannot be read, is too large, empty, or of a kind that models do not take.
pub fn read(folder: &Path, path: &Path) -> Result<Attachment, Failure> {
    let shown = path.display().to_string();
    let refused = |reason: String, help: &str| Failure::usage(anyhow!("--file {shown}: {reason}")).help(help);
    let opened = File::open(folder.join(path)).with_context(|| format!("--file {shown}: cannot be opened"));
    let mut file = opened.map_err(Failure::usage)?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(refused("is a folder".to_owned(), "name its files, or let the expert read them"));
    }
    let mut bytes = Vec::new();
    let mut read_to = |limit: u64, bytes: &mut Vec<u8>| {
        let rest = limit.saturating_sub(bytes.len() as u64);
        // One more than is allowed, so that more is noticed.
        let read = file.by_ref().take(rest.saturating_add(1)).read_to_end(bytes);
        read.map(|_| ()).with_context(|| format!("--file {shown}: cannot be read")).map_err(Failure::usage)
    };
    read_to(HEAD, &mut bytes)?;
    let kind = media_type(&bytes);
    let (name, limit) = match kind {
        Some(PDF) => ("a PDF", MAX_PDF),
        Some(_) => ("an image", MAX_IMAGE),
        None => ("a text", MAX_QUERY as u64),
    };
    read_to(limit, &mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(refused(
            format!("is larger than {} MiB, the most for {name}", limit >> 20),
            "send a part of it, or let the expert read it",
        ));
    }
    if let Some(kind) = kind {
        let content = media(kind, &bytes);
        return Ok(Attachment::Media { shown: format!("{shown} ({kind}, {})", counted(bytes.len(), "byte")), content });
    }
    let Some(MendedText { text, mended }) = MendedText::new(bytes) else {
        return Err(refused(
            "is neither a text nor a PNG, JPEG, GIF, WebP or PDF file".to_owned(),
            "convert it, or let the expert work on it",
        ));
    };
    if text.trim().is_empty() {
        return Err(refused("is empty".to_owned(), "leave it out"));
    }
    Ok(Attachment::Text { path: shown, text, mended })
}

fn media(kind: &str, bytes: &[u8]) -> Content {
    let (id, encoded_data, mime_type) = (String::new(), STANDARD.encode(bytes), kind.to_owned());
    if kind == PDF {
        Content::FileInlinePart { id, encoded_data, mime_type }
    } else {
        Content::ImageInlinePart { id, encoded_data, mime_type }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(name: &str, bytes: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let read = read(folder.path(), Path::new(name));
        read.map(|it| it.to_string()).map_err(|failure| failure.lines().join(" "))
    }

    #[test]
    fn a_file_is_what_its_bytes_are() {
        assert_eq!(sent("notes.md", b"two\nlines\n").unwrap(), "notes.md (text, 2 lines, 9 bytes)");
        assert_eq!(sent("owl", b"\x89PNG\r\n\x1a\nrest").unwrap(), "owl (image/png, 12 bytes)");
        assert_eq!(sent("owls.pdf", b"%PDF-1.7").unwrap(), "owls.pdf (application/pdf, 8 bytes)");
        assert_eq!(sent("old.txt", b"Gr\xfc\xdfe").unwrap(), "old.txt (text, 1 line, 9 bytes)");
    }

    #[test]
    fn what_no_model_takes_is_refused_with_its_path() {
        let zip = sent("a.zip", b"PK\x03\x04\0\0").unwrap_err();
        assert_eq!(zip, "--file a.zip: is neither a text nor a PNG, JPEG, GIF, WebP or PDF file");
        assert_eq!(sent("empty.txt", b"\n").unwrap_err(), "--file empty.txt: is empty");
        let mut large = b"\x89PNG\r\n\x1a\n".to_vec();
        large.resize(usize::try_from(MAX_IMAGE).unwrap() + 1, b'x');
        assert_eq!(
            sent("huge.png", &large).unwrap_err(),
            "--file huge.png: is larger than 15 MiB, the most for an image"
        );
        let folder = tempfile::tempdir().unwrap();
        let lines = |path: &str| read(folder.path(), Path::new(path)).map_err(|it| it.lines().join(" ")).unwrap_err();
        assert_eq!(lines("."), "--file .: is a folder");
        assert!(lines("none").starts_with("--file none: cannot be opened because: No such file"), "{}", lines("none"));
    }
}
