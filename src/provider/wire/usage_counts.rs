//! [`UsageCounts`]: reads the counts of a usage object, in whatever form a server writes them.
//!
//! Called by the decoders; what the counts are worth is decided by [`UsageReport::resolve`].

use serde_json::Value;

use crate::provider::wire::typed_event::at;
use crate::usage::UsageReport;

/// The counts of one usage object. Notes when one of them cannot be read.
pub struct UsageCounts<'a> {
    object: &'a Value,
    is_doubtful: bool,
}

impl<'a> UsageCounts<'a> {
    /// The counts of `value`; `None` where there are none.
    pub fn new(value: Option<&'a Value>) -> Option<Self> {
        let object = value.filter(|value| !value.is_null())?;
        Some(Self { object, is_doubtful: !object.is_object() })
    }

    /// The count at `pointer`; absent when it is not there or null.
    pub fn get(&mut self, pointer: &str) -> Option<u64> {
        let value = at(self.object, pointer).filter(|value| !value.is_null())?;
        let count = value.as_u64().or_else(|| whole(value.as_f64()?));
        self.is_doubtful |= count.is_none();
        count
    }

    /// The largest of the counts at `pointers`, which are names for the same thing.
    pub fn largest(&mut self, pointers: &[&str]) -> Option<u64> {
        pointers.iter().filter_map(|pointer| self.get(pointer)).max()
    }

    /// The count at `own`. A count at `other`, another API's name for it, is not taken in its place, but a different one
    /// shows that either may be wrong. Gateways fill in zeros there.
    pub fn get_unless_contradicted(&mut self, own: &str, other: &str) -> Option<u64> {
        let count = self.get(own);
        let contradicts = self.get(other).is_some_and(|other| other != 0 && count.is_some_and(|count| count != other));
        self.is_doubtful |= contradicts;
        count
    }

    /// `report`, doubtful if a count was.
    pub fn into_report(self, report: UsageReport) -> UsageReport {
        UsageReport { is_doubtful: report.is_doubtful || self.is_doubtful, ..report }
    }
}

/// A count that a server wrote as a decimal fraction, `12.0`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a whole number in range")]
fn whole(number: f64) -> Option<u64> {
    // 2^53: beyond it, not every whole number has a form of its own.
    (number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Option<UsageReport> {
        let mut counts = UsageCounts::new(Some(value))?;
        let input = counts.get_unless_contradicted("/prompt", "/input");
        Some(counts.into_report(UsageReport { input, ..UsageReport::default() }))
    }

    #[test]
    fn counts_are_whole_numbers_in_any_form() {
        for count in [json!(12), json!(12.0)] {
            let expected = UsageReport { input: Some(12), ..UsageReport::default() };
            assert_eq!(read(&json!({"prompt": count})), Some(expected));
            assert_eq!(read(&json!({"prompt": count, "input": 12})), Some(expected));
            assert_eq!(read(&json!({"prompt": count, "input": 0})), Some(expected));
        }
        assert_eq!(read(&json!(null)), None);
        assert_eq!(read(&json!({"prompt": null})), Some(UsageReport::default()));
        assert_eq!(read(&json!({"input": 9})), Some(UsageReport::default()), "another API's name");
    }

    #[test]
    fn what_cannot_be_read_or_is_contradicted_is_doubtful() {
        for value in [
            json!({"prompt": "12"}),
            json!({"prompt": -1}),
            json!({"prompt": 1.5}),
            json!({"prompt": 1e300}),
            json!({"prompt": 12, "input": 13}),
            json!({"prompt": [12]}),
            json!("12 tokens"),
        ] {
            assert!(read(&value).unwrap().is_doubtful, "{value}");
        }
    }
}
