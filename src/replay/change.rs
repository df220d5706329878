//! [`ValueChange`]: the difference of a JSON value from an earlier one, as the requests of a cassette have it.
//!
//! `outline` makes changes, `kept` applies them. A string is in a change whole or not at all, never cut: what has
//! to be removed from the strings of a cassette cannot lie across a cut.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json_text;

/// Most levels at which differences are looked for; what is below is written whole. A change is nested deeper than its
/// value, and readers of JSON limit the depth.
const MAX_DEPTH: usize = 12;

/// The difference of a value from an earlier one. Without any field there is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValueChange {
    /// The value, whole.
    #[serde(default, deserialize_with = "json_text::present", skip_serializing_if = "Option::is_none")]
    pub now: Option<Value>,
    /// A field of an object that is no more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gone: bool,
    /// The fields of an object that differ; the others are as they were.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub fields: IndexMap<String, ValueChange>,
    /// A list that begins with so many items of the earlier one, and goes on with `items`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<usize>,
    /// The items behind those, each as it differs from the earlier list's item at its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<ValueChange>,
}

/// A change that does not fit the value that it is to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misfit;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

impl ValueChange {
    /// Another value in the place of the earlier one, if any.
    pub fn to(value: Value) -> Self {
        Self { now: Some(value), ..Self::default() }
    }

    /// The end of a field.
    pub fn gone() -> Self {
        Self { gone: true, ..Self::default() }
    }

    /// A list of this many earlier items and others behind them.
    pub fn list(keep: usize, items: Vec<Self>) -> Self {
        Self { keep: Some(keep), items, ..Self::default() }
    }

    /// Returns whether there is no difference.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The difference of `new` from `old`.
    pub fn between(old: &Value, new: &Value) -> Self {
        Self::within(old, new, MAX_DEPTH)
    }

    fn within(old: &Value, new: &Value, depth: usize) -> Self {
        if old == new {
            return Self::default();
        }
        let Some(depth) = depth.checked_sub(1) else { return Self::to(new.clone()) };
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => {
                let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Self::gone()));
                let others = new.iter().filter_map(|(key, value)| {
                    let change =
                        old.get(key).map_or_else(|| Self::to(value.clone()), |old| Self::within(old, value, depth));
                    (!change.is_none()).then(|| (key.clone(), change))
                });
                Self { fields: gone.chain(others).collect(), ..Self::default() }
            }
            (Value::Array(old), Value::Array(new)) => {
                let kept = old.iter().zip(new).take_while(|(old, new)| old == new).count();
                let mut old = old.iter().skip(kept);
                let items = new
                    .iter()
                    .skip(kept)
                    .map(|new| old.next().map_or_else(|| Self::to(new.clone()), |old| Self::within(old, new, depth)));
                Self::list(kept, items.collect())
            }
            _ => Self::to(new.clone()),
        }
    }

    /// `old` with this change; `None` where nothing was. The result is `None` for what is gone.
    ///
    /// # Errors
    /// [`Misfit`].
    pub fn apply(self, old: Option<Value>) -> Result<Option<Value>, Misfit> {
        if self.gone {
            return old.map(|_| None).ok_or(Misfit);
        }
        if let Some(now) = self.now {
            return Ok(Some(now));
        }
        match old {
            Some(Value::Array(mut list)) if self.keep.is_some() => {
                let keep = self.keep.filter(|keep| *keep <= list.len()).ok_or(Misfit)?;
                let mut earlier = list.split_off(keep).into_iter();
                for item in self.items {
                    list.push(item.apply(earlier.next())?.ok_or(Misfit)?);
                }
                Ok(Some(Value::Array(list)))
            }
            Some(Value::Object(mut object)) if self.keep.is_none() => {
                for (key, change) in self.fields {
                    let old = object.shift_remove(&key);
                    if let Some(value) = change.apply(old)? {
                        object.insert(key, value);
                    }
                }
                Ok(Some(Value::Object(object)))
            }
            Some(other) if self.keep.is_none() && self.fields.is_empty() => Ok(Some(other)),
            _ => Err(Misfit),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn change(text: &str) -> ValueChange {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_change_has_what_differs_alone() {
        let old = json!([{"role": "user", "content": [{"text": "long", "mark": {"a": 1}}]}, {"role": "owl"}]);
        let new = json!([{"role": "user", "content": [{"text": "long"}]}, {"role": "owl"}, null]);
        let between = ValueChange::between(&old, &new);
        let expected = r#"{"keep":0,"items":[{"fields":{"content":{"keep":0,"items":[{"fields":{"mark":{"gone":true}}}]}}},{},{"now":null}]}"#;
        assert_eq!(serde_json::to_string(&between).unwrap(), expected);
        assert_eq!(change(expected).apply(Some(old)), Ok(Some(new)));
    }

    #[test]
    fn a_change_of_something_else_is_none() {
        for (old, text) in [
            (None, "{}"),
            (None, r#"{"gone":true}"#),
            (Some(json!(1)), r#"{"fields":{"a":{"now":1}}}"#),
            (Some(json!({})), r#"{"keep":0}"#),
            (Some(json!({})), r#"{"fields":{"a":{}}}"#),
            (Some(json!([1])), r#"{"keep":2}"#),
            (Some(json!([1])), r#"{"keep":1,"items":[{}]}"#),
            (Some(json!([1])), r#"{"keep":0,"items":[{"gone":true}]}"#),
        ] {
            assert_eq!(change(text).apply(old), Err(Misfit), "{text}");
        }
    }

    #[test]
    fn what_is_deep_is_written_whole() {
        let nested = |text: &str| (0..40).fold(json!(text), |value, _| json!({"a": value}));
        let between = ValueChange::between(&nested("old"), &nested("new"));
        assert!(serde_json::to_string(&between).unwrap().contains(r#"{"now":{"a":"#));
        assert_eq!(between.apply(Some(nested("old"))), Ok(Some(nested("new"))));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), (0..3_i64).prop_map(Value::from)];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[abc]", inner), 0..4).prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn an_earlier_value_with_its_change_is_the_later_one((old, new) in (any_value(), any_value())) {
            let written = serde_json::to_string(&ValueChange::between(&old, &new)).unwrap();
            prop_assert_eq!(change(&written).apply(Some(old)), Ok(Some(new)));
        }
    }
}
