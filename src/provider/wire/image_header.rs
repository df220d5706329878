//! [`sniff`]: the true type and size of an image or PDF, from its first bytes.
//!
//! Called by `media`: the type that a tool's server names is often wrong, and providers refuse a request for it.

/// A file of a type that providers take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sniffed {
    pub mime_type: &'static str,
    /// Width and height in pixels, where the header has them.
    pub size: Option<(u32, u32)>,
}

/// Reads the beginning of a file; `None` for a file of another type.
pub fn sniff(bytes: &[u8]) -> Option<Sniffed> {
    let (mime_type, size) = match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => ("image/png", png_size(bytes)),
        [0xff, 0xd8, 0xff, ..] => ("image/jpeg", jpeg_size(bytes)),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => ("image/gif", gif_size(bytes)),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => ("image/webp", webp_size(bytes)),
        // Some programs write a few bytes before the mark.
        _ if bytes.get(..1024).unwrap_or(bytes).windows(5).any(|five| five == b"%PDF-") => ("application/pdf", None),
        _ => return None,
    };
    Some(Sniffed { mime_type, size })
}

/// The size in the header chunk, which is the first (PNG, section 11.2.1).
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    (bytes.get(12..16)? == b"IHDR").then_some(())?;
    Some((big(bytes.get(16..20)?), big(bytes.get(20..24)?)))
}

fn gif_size(bytes: &[u8]) -> Option<(u32, u32)> {
    Some((little(bytes.get(6..8)?), little(bytes.get(8..10)?)))
}

/// The size in the frame header, behind segments of other kinds (JPEG, annex B).
fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut rest = bytes.get(2..)?;
    loop {
        let [0xff, marker, segment @ ..] = rest else { return None };
        match marker {
            0xff => rest = rest.get(1..)?,
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                return Some((big(segment.get(5..7)?), big(segment.get(3..5)?)));
            }
            _ => rest = segment.get(usize::try_from(big(segment.get(..2)?)).ok()?..)?,
        }
    }
}

/// The size in the first chunk, in each of its three forms (WebP container specification).
fn webp_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let chunk = bytes.get(20..)?;
    match bytes.get(12..16)? {
        b"VP8X" => Some((little(chunk.get(4..7)?).saturating_add(1), little(chunk.get(7..10)?).saturating_add(1))),
        b"VP8 " => Some((little(chunk.get(6..8)?) & 0x3fff, little(chunk.get(8..10)?) & 0x3fff)),
        b"VP8L" => {
            let bits = little(chunk.get(1..5)?);
            Some(((bits & 0x3fff).saturating_add(1), (bits >> 14 & 0x3fff).saturating_add(1)))
        }
        _ => None,
    }
}

fn big(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn little(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_known_by_its_first_bytes_with_its_size() {
        type Case = (&'static [u8], &'static str, Option<(u32, u32)>);

        let jpeg: &[u8] = b"\xff\xd8\xff\xe0\0\x04xx\xff\xff\xc4\0\x02\xff\xc2\0\x0b\x08\0\x02\x01\x03\x01";
        let cases: [Case; 9] = [
            (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x02\0\0\0\x03", "image/png", Some((258, 3))),
            (b"\x89PNG\r\n\x1a\n", "image/png", None),
            (jpeg, "image/jpeg", Some((259, 2))),
            (b"\xff\xd8\xff", "image/jpeg", None),
            (b"GIF89a\x02\x01\x03\0", "image/gif", Some((258, 3))),
            (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x01\0\0\x02\0\0", "image/webp", Some((2, 3))),
            (b"RIFF\0\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\x02\0\x03\x40", "image/webp", Some((2, 3))),
            (b"RIFF\0\0\0\0WEBPVP8L\x05\0\0\0\x2f\x01\x80\0\0", "image/webp", Some((2, 3))),
            (b"\n%PDF-1.7", "application/pdf", None),
        ];
        for (bytes, mime_type, size) in cases {
            assert_eq!(sniff(bytes), Some(Sniffed { mime_type, size }), "{mime_type}");
        }
    }

    #[test]
    fn other_files_and_beginnings_are_none_and_no_size_is_invented() {
        for bytes in [&b""[..], b"<html>404</html>", b"BM\0\0", b"II*\0", b"\0\0\0\x18ftypavif", b"GIF", b"\xff\xd8"] {
            assert_eq!(sniff(bytes), None, "{bytes:?}");
        }
        let endless = [&b"\xff\xd8\xff"[..], &[0xff; 4000]].concat();
        assert_eq!(sniff(&endless).unwrap().size, None);
        assert_eq!(sniff(b"\xff\xd8\xff\xe0\0\0\xff\xe0\0\0").unwrap().size, None);
    }
}
