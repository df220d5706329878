//! The forms in which programs write a secret: plain, in a JSON string, in an address, in base64, in
//! hexadecimal digits, in small letters as names of hosts are.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Bytes that base64 writes as [`GROUP`] characters.
const BYTES: usize = 3;
/// See [`BYTES`].
const GROUP: usize = 4;

/// The length from which on a secret is masked in small letters too. A shorter one may be a common word in these.
const SMALL_LETTERS_FROM: usize = 12;

/// The forms of `secret`, without repetitions.
pub fn forms(secret: &str) -> Vec<String> {
    let upper = percent_encoded(secret, "0123456789ABCDEF");
    let lower = percent_encoded(secret, "0123456789abcdef");
    let spaces = upper.replace("%20", "+");
    let mut forms = vec![secret.to_owned(), in_json(secret), upper, lower, spaces];
    forms.push(hexadecimal(secret, false));
    forms.push(hexadecimal(secret, true));
    if secret.len() >= SMALL_LETTERS_FROM {
        forms.push(secret.to_ascii_lowercase());
    }
    for before in 0..BYTES {
        let plain = [vec![0; before], secret.as_bytes().to_vec()].concat();
        forms.push(own_part(STANDARD_NO_PAD.encode(&plain), before, plain.len()));
        forms.push(own_part(URL_SAFE_NO_PAD.encode(&plain), before, plain.len()));
    }
    forms.sort();
    forms.dedup();
    forms
}

fn hexadecimal(secret: &str, is_upper: bool) -> String {
    secret.bytes().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = if is_upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
        text
    })
}

/// The text between the quotes of a JSON string.
fn in_json(secret: &str) -> String {
    let quoted = serde_json::Value::from(secret).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(secret).to_owned()
}

/// As in an address (RFC 3986): all but unreserved characters encoded.
fn percent_encoded(secret: &str, digits: &str) -> String {
    let digits = digits.as_bytes();
    let digit = |value: u8| digits.get(usize::from(value)).copied().map_or('?', char::from);
    let mut text = String::new();
    for byte in secret.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            // Writing to a string cannot fail.
            other => drop(write!(text, "%{}{}", digit(other >> 4), digit(other & 15))),
        }
    }
    text
}

/// The text behind percent signs; `None` when it is no UTF-8 or nothing is encoded.
pub fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return None;
    }
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend(before.bytes());
        // A sign is no digit.
        let code = after.get(..2).filter(|code| code.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        rest = after.get(2..)?;
    }
    bytes.extend(rest.bytes());
    String::from_utf8(bytes).ok()
}

/// The characters of a base64 text that the secret alone decides: those that it shares with `before` bytes in front of
/// it, or with whatever may follow, are left out.
fn own_part(text: String, before: usize, bytes: usize) -> String {
    let shared = [0, 2, 3].get(before).copied().unwrap_or_default();
    // Six bits a character.
    let decided = bytes / BYTES * GROUP + [0, 1, 2].get(bytes % BYTES).copied().unwrap_or_default();
    text.get(shared..decided).map(str::to_owned).unwrap_or(text)
}
