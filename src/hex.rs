//! [`digits`]: bytes as hexadecimal digits. Whoever shows or stores a digest calls it.

use std::fmt::Write as _;

/// Two lower-case digits for each byte.
pub fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(digits(&[0, 9, 0xab, 0xff]), "0009abff");
        assert_eq!(digits(&[]), "");
    }
}
