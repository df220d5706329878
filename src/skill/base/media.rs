//! Images and PDF files, handed to the model as they are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::contents;
use super::describe::megabytes;
use super::failure::FileFailure;
use super::workspace::{LastLink, Workspace};
use crate::content::Content;

/// Largest image, in bytes (the original's limit).
pub const MAX_IMAGE: u64 = 15 << 20;

/// Largest PDF file, in bytes (the original's limit).
pub const MAX_PDF: u64 = 30 << 20;

/// How far into a PDF file its header may begin, in bytes (what readers in use accept).
const PDF_HEADER_WITHIN: usize = 1024;

/// `readImageFile`, `readPdfFile`.
#[derive(Debug, Deserialize)]
pub(super) struct MediaArgs {
    path: String,
}

impl MediaArgs {
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.to_owned() }
    }
}

/// Reads an image.
pub(super) fn read_image(workspace: &Workspace, args: &MediaArgs) -> Result<Content, FileFailure> {
    let place = workspace.resolve(&args.path, LastLink::Follow)?;
    let file = contents::open(&place, &args.path)?;
    let mime_type = image_type(&args.path).ok_or_else(|| FileFailure::NotSupported(args.path.clone()))?;
    let bytes =
        contents::read(&file, &args.path, MAX_IMAGE)?.map_err(|size| FileFailure::ImageTooLarge(megabytes(size)))?;
    if !is_image_of(mime_type, &bytes) {
        return Err(FileFailure::OtherContent { path: args.path.clone(), expected: mime_type });
    }
    Ok(Content::ImageInlinePart {
        id: String::new(),
        encoded_data: STANDARD.encode(bytes),
        mime_type: mime_type.to_owned(),
    })
}

/// Reads a PDF file.
pub(super) fn read_pdf(workspace: &Workspace, args: &MediaArgs) -> Result<Content, FileFailure> {
    let place = workspace.resolve(&args.path, LastLink::Follow)?;
    let file = contents::open(&place, &args.path)?;
    if extension(&args.path) != "pdf" {
        return Err(FileFailure::NotPdf(args.path.clone()));
    }
    let bytes =
        contents::read(&file, &args.path, MAX_PDF)?.map_err(|size| FileFailure::PdfTooLarge(megabytes(size)))?;
    if !is_pdf(&bytes) {
        return Err(FileFailure::NotPdf(args.path.clone()));
    }
    Ok(Content::FileInlinePart {
        id: String::new(),
        encoded_data: STANDARD.encode(bytes),
        mime_type: "application/pdf".to_owned(),
    })
}

/// Returns true if the first bytes are those of a PDF file.
fn is_pdf(bytes: &[u8]) -> bool {
    bytes.windows(5).take(PDF_HEADER_WITHIN).any(|window| window == b"%PDF-")
}

/// The type of a file that models take as it is, by its first bytes: an image or a PDF; `None` for others.
pub fn media_type(bytes: &[u8]) -> Option<&'static str> {
    sniffed_type(bytes).or_else(|| is_pdf(bytes).then_some("application/pdf"))
}

fn extension(path: &str) -> String {
    path.rsplit_once('.').map_or_else(String::new, |(_, extension)| extension.to_ascii_lowercase())
}

fn image_type(path: &str) -> Option<&'static str> {
    Some(match extension(path).as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        _ => return None,
    })
}

/// Returns true when the first bytes are those of the type: providers refuse a whole request for one mislabelled image.
fn is_image_of(mime_type: &str, bytes: &[u8]) -> bool {
    sniffed_type(bytes) == Some(mime_type)
}

/// The type of an image by its first bytes; none for other files.
pub(super) fn sniffed_type(bytes: &[u8]) -> Option<&'static str> {
    let is_of = |mime_type: &str| match mime_type {
        "image/png" => bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
        "image/jpeg" => bytes.starts_with(b"\xff\xd8\xff"),
        "image/gif" => bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a"),
        _ => bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"),
    };
    ["image/png", "image/jpeg", "image/gif", "image/webp"].into_iter().find(|mime_type| is_of(mime_type))
}
