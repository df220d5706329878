//! [`Outline`]: the fields and list items of a request's body, with their places and digests.
//!
//! `conversations` keeps one of the latest body of each conversation. Of the next body only what differs is read. A body
//! that is no JSON object has no outline but its digest.

use serde_json::{Map, Value};

use super::change::ValueChange;
use super::digest::Digest;
use super::scan::Scan;
use crate::provider::http::request_body::RequestBody;

/// Removes from a value what is not to be in a cassette.
pub(super) type Clean<'a> = &'a dyn Fn(Value) -> Value;

/// The outline of a body. Values and digests are of what is left after cleaning.
#[derive(Clone)]
pub(super) struct Outline {
    body: RequestBody,
    /// `None` for a body that is no object.
    fields: Option<Vec<Field>>,
    digest: Digest,
}

#[derive(Clone)]
struct Field {
    key: String,
    /// The place of the value, in bytes.
    start: usize,
    len: usize,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Value(Digest),
    List(Vec<Item>),
}

#[derive(Clone, Copy)]
struct Item {
    /// The place behind the item, from the beginning of the list.
    end: usize,
    digest: Digest,
    /// The digest of the list up to this item.
    list: Digest,
}

impl Field {
    fn digest(&self) -> Digest {
        match &self.content {
            Content::Value(digest) => *digest,
            Content::List(items) => digest_of(items),
        }
    }
}

fn digest_of(items: &[Item]) -> Digest {
    items.last().map_or(Digest::EMPTY_LIST, |item| item.list)
}

/// The difference of a body from an earlier one, by field.
pub(super) type Differences = Vec<(String, Difference)>;

/// The difference of a field.
pub(super) enum Difference {
    Gone,
    Value(Value),
    /// A list with the same first items.
    List {
        keep: usize,
        items: Vec<ItemDifference>,
    },
}

/// The difference of an item from the one at its place in an earlier list.
pub(super) enum ItemDifference {
    Same,
    /// `earlier`: what was there; `None` where nothing was, or where it is not what it was when it was written.
    Other {
        earlier: Option<Value>,
        now: Value,
    },
}

/// The use that is made of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutlineUse {
    /// Its digest, and its differences from an earlier one.
    Differences,
    /// Its digest alone: of the differences there may be less than all.
    Digest,
}

impl Difference {
    /// The difference as it is written.
    pub fn into_change(self) -> ValueChange {
        match self {
            Self::Gone => ValueChange::gone(),
            Self::Value(value) => ValueChange::to(value),
            Self::List { keep, items } => {
                let changes = items.into_iter().map(|item| match item {
                    ItemDifference::Same => ValueChange::default(),
                    ItemDifference::Other { earlier: Some(earlier), now } => ValueChange::between(&earlier, &now),
                    ItemDifference::Other { earlier: None, now } => ValueChange::to(now),
                });
                ValueChange::list(keep, changes.collect())
            }
        }
    }
}

impl Outline {
    /// The outline of a body, and its value.
    pub fn new(body: RequestBody, clean: Clean<'_>) -> (Self, Value) {
        let read = read((&RequestBody::default(), Vec::new()), &body, clean, OutlineUse::Differences);
        let Some((fields, differences)) = read else {
            let value = clean(value_of(&body));
            let digest = Digest::of_body(&value);
            return (Self { body, fields: None, digest }, value);
        };
        let fields_of_value = differences.into_iter().filter_map(|(key, difference)| match difference {
            Difference::Value(value) => Some((key, value)),
            // There is no earlier list.
            Difference::Gone | Difference::List { .. } => None,
        });
        let value = Value::Object(fields_of_value.collect::<Map<_, _>>());
        (Self { body, digest: digest_of_fields(&fields), fields: Some(fields) }, value)
    }

    /// Makes this the outline of a later body. Returns the differences from the earlier one; `None`, and nothing is
    /// changed, when they cannot be described.
    pub fn advance(&mut self, body: &RequestBody, clean: Clean<'_>, wanted: OutlineUse) -> Option<Differences> {
        let earlier = self.fields.take()?;
        // Reading takes the items of the earlier lists over: a copy would cost as much as all of them.
        let Some((fields, differences)) = read((&self.body, earlier), body, clean, wanted) else {
            *self = Self::new(self.body.clone(), clean).0;
            return None;
        };
        *self = Self { body: body.clone(), digest: digest_of_fields(&fields), fields: Some(fields) };
        Some(differences)
    }

    /// The digest of the body.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns whether this body and another have a piece in common, not just one of equal text.
    pub fn shared_prefix(&self, body: &RequestBody) -> usize {
        body.shared_prefix(&self.body)
    }

    pub fn shares_memory_with(&self, other: &RequestBody) -> bool {
        let own = self.body.pieces();
        let is_same = |own: &[u8], other: &[u8]| std::ptr::eq(own, other);
        other.pieces().iter().any(|piece| own.iter().any(|own| is_same(own, piece)))
    }
}

/// The JSON of a body; a string when it is none.
pub(super) fn value_of(body: &RequestBody) -> Value {
    let body = body.to_vec();
    serde_json::from_slice(&body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()))
}

fn digest_of_fields(fields: &[Field]) -> Digest {
    Digest::of_object(fields.iter().map(|field| (field.key.as_str(), field.digest())))
}

/// The fields of a body, and their differences from those of an earlier one. `None` when it is no object.
fn read(
    (earlier, mut before): (&RequestBody, Vec<Field>),
    body: &RequestBody,
    clean: Clean<'_>,
    wanted: OutlineUse,
) -> Option<(Vec<Field>, Differences)> {
    let mut scan = Scan::new(body.pieces(), 0);
    let (mut fields, mut differences): (Vec<Field>, Differences) = (Vec::new(), Vec::new());
    let mut is_open = scan.take(b'{').then_some(!scan.take(b'}'))?;
    while is_open {
        let key = key(&mut scan).filter(|key| fields.iter().all(|field| field.key != *key))?;
        let place = before.iter().position(|field| field.key == key);
        let before = place.map(|place| before.remove(place));
        let (field, difference) = read_field(key, (earlier, before), &mut scan, clean, wanted)?;
        differences.extend(difference.map(|difference| (field.key.clone(), difference)));
        fields.push(field);
        is_open = scan.take(b',');
        if !is_open && !scan.take(b'}') {
            return None;
        }
    }
    scan.space();
    differences.extend(before.into_iter().map(|field| (field.key, Difference::Gone)));
    scan.peek().is_none().then_some((fields, differences))
}

fn key(scan: &mut Scan<'_>) -> Option<String> {
    scan.space();
    let mut text = Vec::new();
    scan.value(&mut text)?;
    let key = serde_json::from_slice(&text).ok()?;
    let is_field = scan.take(b':');
    scan.space();
    is_field.then_some(key)
}

fn read_field(
    key: String,
    (earlier, before): (&RequestBody, Option<Field>),
    scan: &mut Scan<'_>,
    clean: Clean<'_>,
    wanted: OutlineUse,
) -> Option<(Field, Option<Difference>)> {
    let start = scan.at();
    let mut before_list = None;
    let mut before_digest = None;
    let mut keep = 0;
    if let Some(field) = before {
        let mut ahead = scan.clone();
        let same = ahead.pass_same(&mut Scan::new(earlier.pieces(), field.start), field.len);
        let is_end = is_end(&ahead);
        if same == field.len && is_end {
            *scan = ahead;
            return Some((Field { start, ..field }, None));
        }
        match field.content {
            Content::Value(digest) => before_digest = Some(digest),
            Content::List(items) => {
                keep = items.partition_point(|item| item.end < same || item.end == same && is_end);
                before_list = Some((field.start, items));
            }
        }
    }
    if scan.peek() != Some(b'[') {
        let value = clean(value(scan)?);
        let digest = Digest::of_value(&value);
        let field = Field { key, start, len: scan.at().checked_sub(start)?, content: Content::Value(digest) };
        return Some((field, (before_digest != Some(digest)).then_some(Difference::Value(value))));
    }
    let Some((before_start, mut list)) = before_list else {
        let mut list = Vec::new();
        let nothing = EarlierItems { items: [].iter(), scan: Scan::new(&[], 0), start: 0 };
        let items = read_items(&mut list, nothing, scan, clean, wanted)?;
        let items = items.into_iter().filter_map(|item| match item {
            ItemDifference::Other { now, .. } => Some(now),
            ItemDifference::Same => None,
        });
        let items = items.collect();
        let field = Field { key, start, len: scan.at().checked_sub(start)?, content: Content::List(list) };
        return Some((field, Some(Difference::Value(Value::Array(items)))));
    };
    let behind = list.split_off(keep);
    let place = before_start.saturating_add(list.last().map_or(0, |item| item.end));
    let earlier = EarlierItems { items: behind.iter(), scan: Scan::new(earlier.pieces(), place), start: before_start };
    let items = read_items(&mut list, earlier, scan, clean, wanted)?;
    let field = Field { key, start, len: scan.at().checked_sub(start)?, content: Content::List(list) };
    let is_same = behind.is_empty() && items.is_empty();
    Some((field, (!is_same).then_some(Difference::List { keep, items })))
}

fn value(scan: &mut Scan<'_>) -> Option<Value> {
    let mut text = Vec::new();
    scan.value(&mut text)?;
    serde_json::from_slice(&text).ok()
}

/// Reads the items of a list behind those in `list`, adds their places to it, and returns their differences from those of
/// the earlier list.
fn read_items(
    list: &mut Vec<Item>,
    mut earlier: EarlierItems<'_>,
    scan: &mut Scan<'_>,
    clean: Clean<'_>,
    wanted: OutlineUse,
) -> Option<Vec<ItemDifference>> {
    let start = scan.at();
    scan.skip(list.last().map_or(0, |item| item.end));
    let mut items = Vec::new();
    let mut is_open = if list.is_empty() { scan.take(b'[').then_some(!scan.take(b']'))? } else { scan.take(b',') };
    if !is_open && !list.is_empty() {
        scan.take(b']').then_some(())?;
    }
    while is_open {
        scan.space();
        let (digest, difference) = match earlier.next() {
            Some(item) if item.pass_same(scan) => (item.digest, ItemDifference::Same),
            item => {
                let now = clean(value(scan)?);
                let earlier = item.filter(|_| wanted == OutlineUse::Differences).and_then(|item| item.value(clean));
                (Digest::of_value(&now), ItemDifference::Other { earlier, now })
            }
        };
        list.push(Item { end: scan.at().checked_sub(start)?, digest, list: digest_of(list).and(digest) });
        items.push(difference);
        is_open = scan.take(b',');
        if !is_open && !scan.take(b']') {
            return None;
        }
    }
    Some(items)
}

/// The last items of an earlier list.
struct EarlierItems<'a> {
    items: std::slice::Iter<'a, Item>,
    /// The place behind the item before.
    scan: Scan<'a>,
    /// The beginning of the list.
    start: usize,
}

/// An item of an earlier list.
struct EarlierItem<'a> {
    scan: Scan<'a>,
    len: usize,
    digest: Digest,
}

impl<'a> EarlierItems<'a> {
    fn next(&mut self) -> Option<EarlierItem<'a>> {
        let item = self.items.next()?;
        if !self.scan.take(b',') && !self.scan.take(b'[') {
            return None;
        }
        self.scan.space();
        let scan = self.scan.clone();
        let len = self.start.saturating_add(item.end).checked_sub(scan.at())?;
        self.scan.skip(len);
        Some(EarlierItem { scan, len, digest: item.digest })
    }
}

impl EarlierItem<'_> {
    /// Passes the same text, if it is there: an item that is not read again.
    fn pass_same(&self, scan: &mut Scan<'_>) -> bool {
        let mut ahead = scan.clone();
        let is_same = ahead.pass_same(&mut self.scan.clone(), self.len) == self.len && is_end(&ahead);
        if is_same {
            *scan = ahead;
        }
        is_same
    }

    /// The value; `None` if its digest is another one now, since a secret was learned that it has.
    fn value(mut self, clean: Clean<'_>) -> Option<Value> {
        value(&mut self.scan).map(clean).filter(|value| Digest::of_value(value) == self.digest)
    }
}

/// Returns whether a value can have ended here.
fn is_end(scan: &Scan<'_>) -> bool {
    matches!(scan.peek(), None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn as_it_is(value: Value) -> Value {
        value
    }

    fn outline(text: &str) -> Outline {
        Outline::new(text.as_bytes().to_vec().into(), &as_it_is).0
    }

    #[test]
    fn a_later_body_is_described_by_what_differs() {
        let earlier =
            r#"{"model":"m","max":100,"system":[{"t":"s"}],"messages":[1,{"a":"]","mark":1},"x"],"old":null}"#;
        for (later, expected) in [
            (earlier, "[]"),
            (
                r#"{"model":"m","max":100,"system":[{"t":"s"}],"messages":[1,{"a":"]","mark":1},"x","y"],"old":null}"#,
                r#"[["messages",{"keep":3,"items":[{"now":"y"}]}]]"#,
            ),
            (
                r#"{"max":99,"model":"m", "messages" : [1,{"a":"]"},"x" , "y"],"system":[{"t":"s"}]}"#,
                r#"[["max",{"now":99}],["messages",{"keep":1,"items":[{"fields":{"mark":{"gone":true}}},{},{"now":"y"}]}],["old",{"gone":true}]]"#,
            ),
            (
                r#"{"model":"m","max":1000,"system":[],"messages":[12],"old":[]}"#,
                r#"[["max",{"now":1000}],["system",{"keep":0}],["messages",{"keep":0,"items":[{"now":12}]}],["old",{"now":[]}]]"#,
            ),
            (
                r#"{"messages":{"a":1}}"#,
                r#"[["messages",{"now":{"a":1}}],["model",{"gone":true}],["max",{"gone":true}],["system",{"gone":true}],["old",{"gone":true}]]"#,
            ),
        ] {
            let mut advanced = outline(earlier);
            let differences =
                advanced.advance(&later.as_bytes().to_vec().into(), &as_it_is, OutlineUse::Differences).unwrap();
            let changes: Vec<_> =
                differences.into_iter().map(|(key, difference)| (key, difference.into_change())).collect();
            assert_eq!(serde_json::to_string(&changes).unwrap(), expected);
            assert!(advanced.digest() == outline(later).digest(), "{later}");
            let value: Value = serde_json::from_str(later).unwrap();
            assert!(advanced.digest() == Digest::of_body(&value), "{later}");
            // And from there on.
            advanced.advance(&earlier.as_bytes().to_vec().into(), &as_it_is, OutlineUse::Digest).unwrap();
            assert!(advanced.digest() == outline(earlier).digest());
        }
    }

    #[test]
    fn a_body_that_is_no_object_is_described_whole() {
        for text in [
            "",
            "1",
            "[1]",
            "no JSON",
            "{\"a\":1",
            "{\"a\":1}}",
            "{\"a\":1,}",
            "{\"a\":[1,]}",
            "{\"a\" 1}",
            "{\"a\":1,\"a\":2}",
        ] {
            let (other, value) = Outline::new(text.as_bytes().to_vec().into(), &as_it_is);
            assert_eq!(value, value_of(&text.as_bytes().to_vec().into()));
            assert!(other.digest() == Digest::of_body(&value));
            let mut object = outline("{\"a\":[1]}");
            assert!(
                object.advance(&text.as_bytes().to_vec().into(), &as_it_is, OutlineUse::Digest).is_none(),
                "{text}"
            );
            assert!(object.digest() == outline("{\"a\":[1]}").digest(), "nothing is changed");
            assert!(object.advance(&b"{\"a\":[1,2]}".to_vec().into(), &as_it_is, OutlineUse::Digest).is_some());
        }
    }

    #[test]
    fn an_item_with_a_secret_learned_since_is_no_basis() {
        let hidden = |value: Value| if value == json!("s") { json!("[redacted]") } else { value };
        let mut list = outline(r#"{"m":["s"]}"#);
        let differences = list.advance(&br#"{"m":["s1"]}"#.to_vec().into(), &hidden, OutlineUse::Differences).unwrap();
        let [(_, Difference::List { keep: 0, items })] = &differences[..] else { panic!("another difference") };
        assert!(matches!(&items[..], [ItemDifference::Other { earlier: None, .. }]));
    }

    #[test]
    fn bodies_of_one_conversation_share_memory() {
        let piece = Bytes::from("[\"owl\"]");
        let body = |pieces: [Bytes; 3]| RequestBody::new(pieces);
        let own = Outline::new(body([Bytes::from("{\"a\":"), piece.clone(), Bytes::from("}")]), &as_it_is).0;
        assert!(own.shares_memory_with(&body([Bytes::from("{\"b\":"), piece, Bytes::from("}")])));
        assert!(!own.shares_memory_with(&b"{\"a\":[\"owl\"]}".to_vec().into()));
    }
}
