//! [`Media`]: a content part as text, as a JPEG, PNG, GIF or WebP image, or as a PDF file.
//!
//! Called by the encoders. Any other part becomes a note, so that the model knows of it. The form on the wire is left
//! to each protocol.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::image_header::{Sniffed, sniff};
use crate::content::Content;

/// A content part, by the form in which it can be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Media<'a> {
    /// A text, the text of a file, or a note that a part was left out.
    Text(Cow<'a, str>),
    ImageUrl(&'a str),
    PdfUrl(&'a str),
    /// An image as base64.
    Image {
        mime_type: &'static str,
        data: Cow<'a, str>,
    },
    /// A PDF as base64.
    Pdf {
        data: Cow<'a, str>,
    },
}

/// The largest files that a protocol's servers take; larger ones become a note.
#[derive(Debug, Clone, Copy)]
pub struct MediaLimits {
    /// Characters of an image in base64.
    pub image: usize,
    /// Pixels of an image's width or height.
    pub side: u32,
    /// Characters of a PDF in base64.
    pub pdf: usize,
}

impl MediaLimits {
    /// Limits that the larger services share: 20 MiB for an image, 50 MiB for a request.
    pub const USUAL: Self = Self { image: 20 << 20, side: 16_384, pdf: 50 << 20 };
}

impl<'a> Media<'a> {
    pub fn from_content(content: &'a Content, limits: MediaLimits) -> Self {
        match content {
            Content::TextPart { text, .. } => Self::Text(Cow::Borrowed(text)),
            Content::ImageUrlPart { url, mime_type, .. } => Self::of_url(url, mime_type, true, limits),
            Content::FileUrlPart { url, mime_type, .. } => {
                Self::of_url(url, mime_type, mime_type.starts_with("image/"), limits)
            }
            Content::ImageInlinePart { encoded_data: data, mime_type, .. }
            | Content::ImageBinaryPart { data, mime_type, .. }
            | Content::FileInlinePart { encoded_data: data, mime_type, .. }
            | Content::FileBinaryPart { data, mime_type, .. } => Self::of_data(data, mime_type, limits),
        }
    }

    /// The type of an image behind an address is left to the provider.
    fn of_url(url: &'a str, mime_type: &str, is_image: bool, limits: MediaLimits) -> Self {
        if let Some((mime_type, data)) = url.strip_prefix("data:").and_then(|url| url.split_once(";base64,")) {
            return Self::of_data(data, mime_type, limits);
        }
        match mime_type {
            _ if is_image => Self::ImageUrl(url),
            "application/pdf" => Self::PdfUrl(url),
            _ => Self::Text(format!("{}: {url}", left_out(mime_type)).into()),
        }
    }

    /// The first bytes decide, not the type that is given: a request with a wrong one would be refused, and every later
    /// one of the conversation with it.
    fn of_data(data: &'a str, mime_type: &str, limits: MediaLimits) -> Self {
        let kind = mime_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let note = |problem: &str| Self::Text(format!("[a file of type {mime_type} was left out: {problem}]").into());
        let Some(data) = standard_base64(data) else { return note("it is not valid base64") };
        let Some(Sniffed { mime_type: sniffed, size }) = sniff(&beginning(&data)) else {
            let is_named = kind.starts_with("image/") || kind == "application/pdf";
            return match text_file(&data, &kind) {
                Some(text) if !is_named || kind == "image/svg+xml" => Self::Text(text.into()),
                _ if SENT.contains(&kind.as_str()) => note("its content is of another type"),
                _ => Self::Text(left_out(mime_type).into()),
            };
        };
        let (width, height) = size.unwrap_or((1, 1));
        match sniffed {
            "application/pdf" if data.len() > limits.pdf => note("it is larger than this provider takes"),
            "application/pdf" => Self::Pdf { data },
            _ if data.len() > limits.image => {
                note(&format!("it has {} bytes, more than this provider takes; make it smaller", data.len() / 4 * 3))
            }
            _ if width.max(height) > limits.side => note(&format!(
                "it has {width} by {height} pixels, more than the {} that this provider takes; scale it down",
                limits.side
            )),
            _ if width.min(height) == 0 => note("it has no pixels"),
            mime_type => Self::Image { mime_type, data },
        }
    }
}

/// Types that can be sent as files.
const SENT: [&str; 6] = ["image/jpeg", "image/jpg", "image/png", "image/gif", "image/webp", "application/pdf"];

/// Characters of base64 that are decoded to know a file: headers of photographs may be behind large metadata.
const BEGINNING: usize = 256 * 1024;

fn beginning(data: &str) -> Vec<u8> {
    // A multiple of four characters is whole bytes.
    let part = data.get(..data.len().min(BEGINNING)).unwrap_or_default();
    STANDARD.decode(part).unwrap_or_default()
}

/// `data` in the standard alphabet with padding and without line breaks; `None` when it is not base64. Tools write each
/// of the other forms, which providers refuse.
fn standard_base64(data: &str) -> Option<Cow<'_, str>> {
    let is_standard = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let body = data.trim_end_matches('=');
    let is_sound = |body: &str| body.len() % 4 != 1;
    if body.bytes().all(is_standard) && data.len().is_multiple_of(4) && data.len() - body.len() <= 2 {
        return (!body.is_empty() && is_sound(body)).then_some(Cow::Borrowed(data));
    }
    let mut text: String = data.chars().filter(|c| !c.is_whitespace()).collect();
    text = text.trim_end_matches('=').replace('-', "+").replace('_', "/");
    if text.is_empty() || !text.bytes().all(is_standard) || !is_sound(&text) {
        return None;
    }
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    Some(Cow::Owned(text))
}

/// The text of a file whose type is one of text.
fn text_file(data: &str, kind: &str) -> Option<String> {
    let is_text = kind.starts_with("text/")
        || ["json", "xml", "yaml", "toml", "javascript", "typescript", "sql", "csv", "markdown", "graphql"]
            .iter()
            .any(|name| kind.ends_with(&format!("/{name}")) || kind.ends_with(&format!("/x-{name}")))
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || kind.ends_with("+yaml");
    let bytes = if is_text { STANDARD.decode(data).ok()? } else { return None };
    String::from_utf8(bytes).ok()
}

fn left_out(mime_type: &str) -> String {
    format!("[a file of type {mime_type} was left out: only JPEG, PNG, GIF, WebP, PDF and plain text can be sent]")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &str = "iVBORw0KGgo=";
    const PDF: &str = "JVBERi0=";

    fn media(content: &Content) -> Media<'_> {
        Media::from_content(content, MediaLimits::USUAL)
    }

    fn file(encoded_data: &str, mime_type: &str) -> Content {
        Content::FileInlinePart { id: String::new(), encoded_data: encoded_data.into(), mime_type: mime_type.into() }
    }

    fn file_at(url: &str, mime_type: &str) -> Content {
        Content::FileUrlPart { id: String::new(), url: url.into(), mime_type: mime_type.into() }
    }

    fn image_at(url: &str) -> Content {
        Content::ImageUrlPart { id: String::new(), url: url.into(), mime_type: String::new() }
    }

    #[test]
    fn data_goes_by_its_type_whatever_the_part_is_called() {
        let cases = [
            (file(PNG, "image/png"), Media::Image { mime_type: "image/png", data: PNG.into() }),
            (file(PNG, "image/jpg"), Media::Image { mime_type: "image/png", data: PNG.into() }),
            (file(PNG, "application/octet-stream"), Media::Image { mime_type: "image/png", data: PNG.into() }),
            (file(PDF, "APPLICATION/PDF; version=1"), Media::Pdf { data: PDF.into() }),
            (file("eyJhIjoxfQ==", "application/ld+json"), Media::Text("{\"a\":1}".into())),
            (file("aGk=", "text/markdown"), Media::Text("hi".into())),
        ];
        for (content, media) in cases {
            assert_eq!(Media::from_content(&content, MediaLimits::USUAL), media);
        }
    }

    #[test]
    fn addresses_stay_addresses_unless_they_hold_the_data() {
        let cases = [
            (image_at("https://x/y"), Media::ImageUrl("https://x/y")),
            (file_at("https://x/y", "image/webp"), Media::ImageUrl("https://x/y")),
            (file_at("https://x/y", "application/pdf"), Media::PdfUrl("https://x/y")),
            (
                image_at("data:image/gif;base64,R0lGODlh"),
                Media::Image { mime_type: "image/gif", data: "R0lGODlh".into() },
            ),
        ];
        for (content, media) in cases {
            assert_eq!(Media::from_content(&content, MediaLimits::USUAL), media);
        }
    }

    #[test]
    fn what_cannot_be_sent_is_replaced_by_a_note() {
        let note = |mime_type: &str, end: &str| {
            let note = "was left out: only JPEG, PNG, GIF, WebP, PDF and plain text can be sent]";
            Media::Text(format!("[a file of type {mime_type} {note}{end}").into())
        };
        assert_eq!(media(&file("aGk=", "image/tiff")), note("image/tiff", ""));
        let broken = "[a file of type text/plain was left out: it is not valid base64]";
        assert_eq!(media(&file("not base64!", "text/plain")), Media::Text(broken.into()));
        assert_eq!(media(&file("/w==", "text/plain")), note("text/plain", ""));
        assert_eq!(media(&file_at("https://x/y", "audio/ogg")), note("audio/ogg", ": https://x/y"));
    }

    #[test]
    fn a_file_that_is_not_its_type_or_too_large_is_replaced_by_a_note() {
        let noted = |data: &str, mime_type: &str, limits: MediaLimits| match Media::from_content(
            &file(data, mime_type),
            limits,
        ) {
            Media::Text(note) => note.into_owned(),
            other => format!("{other:?}"),
        };
        let html = "PGh0bWw+NDA0PC9odG1sPg==";
        let note = "[a file of type image/png was left out: its content is of another type]";
        assert_eq!(noted(html, "image/png", MediaLimits::USUAL), note);
        for data in ["", "=", "a", "(((("] {
            let note = "[a file of type image/png was left out: it is not valid base64]";
            assert_eq!(noted(data, "image/png", MediaLimits::USUAL), note, "{data:?}");
        }
        let small = MediaLimits { image: 8, ..MediaLimits::USUAL };
        assert!(noted(PNG, "image/png", small).contains("more than this provider takes"));
        // 258 by 3 pixels.
        let wide = "iVBORw0KGgoAAAANSUhEUgAAAQIAAAAD";
        let narrow = MediaLimits { side: 256, ..MediaLimits::USUAL };
        assert!(noted(wide, "image/png", narrow).contains("it has 258 by 3 pixels"));
        assert!(matches!(media(&file(wide, "image/png")), Media::Image { .. }));
        assert!(matches!(
            Media::from_content(&file(PDF, "application/pdf"), MediaLimits { pdf: 4, ..small }),
            Media::Text(_)
        ));
    }

    #[test]
    fn other_forms_of_base64_become_the_standard_one() {
        for (data, expected) in [("iVBO\r\nRw0KGgo=\n", PNG), ("iVBORw0KGgo", PNG), ("_9j_4AAQ", "/9j/4AAQ")] {
            let content = file(data, "image/png");
            let Media::Image { data: sent, .. } = media(&content) else { panic!("{data:?}") };
            assert_eq!(sent, expected);
        }
    }
}
