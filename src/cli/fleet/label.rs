//! [`Label`]: the workers that a job is for.

use std::fmt;
use std::str::FromStr;

/// The service of workers without a label.
const SERVICE: &str = "perstack";

/// The bytes of a label.
const MAX_LEN: usize = 40;

/// A label of workers, such as `gpu`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(String);

/// A text that is no label.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no label: use up to {MAX_LEN} letters, digits, - and _, a letter or digit first")]
pub struct InvalidLabel(String);

impl FromStr for Label {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let is_valid = text.len() <= MAX_LEN
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidLabel(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The engine's service for jobs of this label, or of none.
pub fn service_of(label: Option<&Label>) -> String {
    label.map_or_else(|| SERVICE.to_owned(), |label| format!("{SERVICE}.{label}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_part_of_a_services_name_and_no_way_to_another() {
        assert_eq!(service_of(None), "perstack");
        assert_eq!(service_of(Some(&"gpu-2".parse().unwrap())), "perstack.gpu-2");
        for text in ["", "-gpu", "a/b", "a.b", "..", "gpu ", "größe", &"x".repeat(41)] {
            assert!(text.parse::<Label>().is_err(), "{text}");
        }
    }
}
