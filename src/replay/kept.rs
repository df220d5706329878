//! [`KeptBody`]: the body of a conversation's latest request, as a cassette's records give it.
//!
//! `index` keeps one of each conversation while it reads a cassette. The items of lists are kept as text, which is far
//! smaller than values; only those that change are parsed.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::change::{Misfit, ValueChange};
use super::digest::Digest;

/// A body.
#[derive(Clone)]
pub(super) enum KeptBody {
    Object(IndexMap<String, KeptField>),
    Other(Value),
}

#[derive(Clone)]
pub(super) enum KeptField {
    Value(Value, Digest),
    List(Vec<KeptItem>),
}

#[derive(Clone)]
pub(super) struct KeptItem {
    text: Arc<str>,
    digest: Digest,
    /// The digest of the list up to this item.
    list: Digest,
}

impl KeptBody {
    /// A body, whole.
    pub fn new(body: Value) -> Self {
        match body {
            Value::Object(fields) => {
                Self::Object(fields.into_iter().map(|(key, value)| (key, KeptField::new(value))).collect())
            }
            other => Self::Other(other),
        }
    }

    /// Makes this the next body.
    ///
    /// # Errors
    /// [`Misfit`]; the body is of no use then.
    pub fn change(&mut self, changes: IndexMap<String, ValueChange>) -> Result<(), Misfit> {
        let Self::Object(fields) = self else { return Err(Misfit) };
        for (key, change) in changes {
            match (fields.get_mut(&key), change) {
                (Some(_), ValueChange { gone: true, .. }) => {
                    fields.shift_remove(&key);
                }
                (_, ValueChange { now: Some(value), .. }) => {
                    fields.insert(key, KeptField::new(value));
                }
                (Some(KeptField::List(list)), ValueChange { keep: Some(keep), items, .. }) => {
                    change_list(list, keep, items)?;
                }
                (Some(field @ KeptField::Value(..)), change) => {
                    let value = change.apply(Some(field.to_value()?))?.ok_or(Misfit)?;
                    *field = KeptField::new(value);
                }
                _ => return Err(Misfit),
            }
        }
        Ok(())
    }

    /// The digest of the body.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Object(fields) => Digest::of_object(fields.iter().map(|(key, field)| (key.as_str(), field.digest()))),
            Self::Other(value) => Digest::of_body(value),
        }
    }

    /// The body.
    ///
    /// # Errors
    /// None for what was made of values.
    pub fn to_value(&self) -> Result<Value, Misfit> {
        match self {
            Self::Object(fields) => {
                let fields = fields.iter().map(|(key, field)| Ok((key.clone(), field.to_value()?)));
                fields.collect::<Result<_, Misfit>>().map(Value::Object)
            }
            Self::Other(value) => Ok(value.clone()),
        }
    }
}

impl KeptField {
    fn new(value: Value) -> Self {
        match value {
            Value::Array(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in &items {
                    push(&mut list, item);
                }
                Self::List(list)
            }
            other => {
                let digest = Digest::of_value(&other);
                Self::Value(other, digest)
            }
        }
    }

    fn digest(&self) -> Digest {
        match self {
            Self::Value(_, digest) => *digest,
            Self::List(items) => digest_of(items),
        }
    }

    fn to_value(&self) -> Result<Value, Misfit> {
        match self {
            Self::Value(value, _) => Ok(value.clone()),
            Self::List(items) => items.iter().map(KeptItem::to_value).collect::<Result<_, _>>().map(Value::Array),
        }
    }
}

impl KeptItem {
    fn to_value(&self) -> Result<Value, Misfit> {
        serde_json::from_str(&self.text).map_err(|_| Misfit)
    }
}

fn digest_of(items: &[KeptItem]) -> Digest {
    items.last().map_or(Digest::EMPTY_LIST, |item| item.list)
}

fn push(list: &mut Vec<KeptItem>, item: &Value) {
    let digest = Digest::of_value(item);
    list.push(KeptItem { text: item.to_string().into(), digest, list: digest_of(list).and(digest) });
}

fn change_list(list: &mut Vec<KeptItem>, keep: usize, items: Vec<ValueChange>) -> Result<(), Misfit> {
    if keep > list.len() {
        return Err(Misfit);
    }
    let mut earlier = list.split_off(keep).into_iter();
    for change in items {
        match earlier.next() {
            Some(item) if change.is_none() => list.push(KeptItem { list: digest_of(list).and(item.digest), ..item }),
            earlier => {
                let earlier = earlier.map(|item| item.to_value()).transpose()?;
                push(list, &change.apply(earlier)?.ok_or(Misfit)?);
            }
        }
    }
    Ok(())
}
