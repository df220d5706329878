//! [`Media`]: a content part as text, as a JPEG, PNG, GIF or WebP image, or as a PDF file.
//!
//! Called by the encoders. Any other part becomes a note, so that the model knows of it. The form on the wire is left
//! to each protocol.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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
        mime_type: &'a str,
        data: &'a str,
    },
    /// A PDF as base64.
    Pdf {
        data: &'a str,
    },
}

impl<'a> Media<'a> {
    pub fn from_content(content: &'a Content) -> Self {
        match content {
            Content::TextPart { text, .. } => Self::Text(Cow::Borrowed(text)),
            Content::ImageUrlPart { url, mime_type, .. } => Self::of_url(url, mime_type, true),
            Content::FileUrlPart { url, mime_type, .. } => {
                Self::of_url(url, mime_type, mime_type.starts_with("image/"))
            }
            Content::ImageInlinePart { encoded_data: data, mime_type, .. }
            | Content::ImageBinaryPart { data, mime_type, .. }
            | Content::FileInlinePart { encoded_data: data, mime_type, .. }
            | Content::FileBinaryPart { data, mime_type, .. } => Self::of_data(data, mime_type),
        }
    }

    /// The type of an image behind an address is left to the provider.
    fn of_url(url: &'a str, mime_type: &str, is_image: bool) -> Self {
        if let Some((mime_type, data)) = url.strip_prefix("data:").and_then(|url| url.split_once(";base64,")) {
            return Self::of_data(data, mime_type);
        }
        match mime_type {
            _ if is_image => Self::ImageUrl(url),
            "application/pdf" => Self::PdfUrl(url),
            _ => Self::Text(format!("{}: {url}", left_out(mime_type)).into()),
        }
    }

    fn of_data(data: &'a str, mime_type: &'a str) -> Self {
        match mime_type {
            "image/jpeg" | "image/png" | "image/gif" | "image/webp" => Self::Image { mime_type, data },
            "application/pdf" => Self::Pdf { data },
            _ => Self::Text(text_file(data, mime_type).unwrap_or_else(|| left_out(mime_type)).into()),
        }
    }
}

fn text_file(data: &str, mime_type: &str) -> Option<String> {
    let bytes = if mime_type.starts_with("text/") { STANDARD.decode(data).ok()? } else { return None };
    String::from_utf8(bytes).ok()
}

fn left_out(mime_type: &str) -> String {
    format!("[a file of type {mime_type} was left out: only JPEG, PNG, GIF, WebP, PDF and plain text can be sent]")
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (file("aGk=", "image/png"), Media::Image { mime_type: "image/png", data: "aGk=" }),
            (file("aGk=", "application/pdf"), Media::Pdf { data: "aGk=" }),
            (file("aGk=", "text/markdown"), Media::Text("hi".into())),
        ];
        for (content, media) in cases {
            assert_eq!(Media::from_content(&content), media);
        }
    }

    #[test]
    fn addresses_stay_addresses_unless_they_hold_the_data() {
        let cases = [
            (image_at("https://x/y"), Media::ImageUrl("https://x/y")),
            (file_at("https://x/y", "image/webp"), Media::ImageUrl("https://x/y")),
            (file_at("https://x/y", "application/pdf"), Media::PdfUrl("https://x/y")),
            (image_at("data:image/gif;base64,aGk="), Media::Image { mime_type: "image/gif", data: "aGk=" }),
        ];
        for (content, media) in cases {
            assert_eq!(Media::from_content(&content), media);
        }
    }

    #[test]
    fn what_cannot_be_sent_is_replaced_by_a_note() {
        let note = |mime_type: &str, end: &str| {
            let note = "was left out: only JPEG, PNG, GIF, WebP, PDF and plain text can be sent]";
            Media::Text(format!("[a file of type {mime_type} {note}{end}").into())
        };
        assert_eq!(Media::from_content(&file("aGk=", "image/tiff")), note("image/tiff", ""));
        assert_eq!(Media::from_content(&file("not base64!", "text/plain")), note("text/plain", ""));
        assert_eq!(Media::from_content(&file("/w==", "text/plain")), note("text/plain", ""));
        assert_eq!(Media::from_content(&file_at("https://x/y", "audio/ogg")), note("audio/ogg", ": https://x/y"));
    }
}
