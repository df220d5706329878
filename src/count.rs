//! Counts, step numbers and times as stored files hold them: at most [`MAX`], both ways. Used by the types that are
//! stored, as `#[serde(with = "crate::count::Count")]`; adding them up in memory is left to those types, which saturate.
//!
//! A number beyond the limit is no count of anything that happened, so a file that holds one is damaged. What is written
//! is held to the limit as well: a file of ours can always be read again.

use serde::{Deserialize, Deserializer, Serializer};

/// The largest: 2^53 - 1, the largest whole number that every JSON reader takes exactly (RFC 8259, section 6).
pub const MAX: u64 = (1 << 53) - 1;

/// A count, for `#[serde(with = …)]`. (A type, as derived schemas want one there.)
#[derive(Debug)]
pub struct Count;

impl Count {
    /// Writes at most [`MAX`].
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(count: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64((*count).min(MAX))
    }

    /// Reads at most [`MAX`].
    ///
    /// # Errors
    /// No whole number, or a larger one.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        within(u64::deserialize(from)?)
    }
}

fn within<E: serde::de::Error>(count: u64) -> Result<u64, E> {
    if count > MAX { Err(E::custom(format!("{count} is out of range: {MAX} is the most"))) } else { Ok(count) }
}

/// The same for a field that may be absent; with `#[serde(default)]`.
#[derive(Debug)]
pub struct OptionalCount;

impl OptionalCount {
    /// Writes at most [`MAX`].
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(count: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        match count {
            Some(count) => Count::serialize(count, to),
            None => to.serialize_none(),
        }
    }

    /// Reads at most [`MAX`].
    ///
    /// # Errors
    /// No whole number, or a larger one.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        Option::<u64>::deserialize(from)?.map(within).transpose()
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Numbers {
        #[serde(with = "crate::count::Count")]
        step: u64,
        #[serde(default, with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
        at: Option<u64>,
    }

    #[test]
    fn what_is_beyond_the_limit_is_refused_and_never_written() {
        let read = |json| serde_json::from_value::<Numbers>(json).map_err(|error| error.to_string());
        assert_eq!(read(json!({"step": MAX})), Ok(Numbers { step: MAX, at: None }));
        assert_eq!(read(json!({"step": 1, "at": MAX})), Ok(Numbers { step: 1, at: Some(MAX) }));
        for number in [MAX + 1, 1 << 63, u64::MAX] {
            assert!(read(json!({"step": number})).is_err_and(|error| error.contains("out of range")));
            assert!(read(json!({"step": 1, "at": number})).is_err_and(|error| error.contains("out of range")));
        }
        for number in [json!(-1), json!(1.5), json!("1"), json!(1e300)] {
            assert!(read(json!({"step": number})).is_err());
        }
        let written = serde_json::to_value(Numbers { step: u64::MAX, at: Some(u64::MAX) }).unwrap();
        assert_eq!(written, json!({"step": MAX, "at": MAX}));
    }
}
