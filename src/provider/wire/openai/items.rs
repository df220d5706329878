//! [`Items`]: the output items of one answer, and the search for the item that an event belongs to.
//!
//! Called by `decode`. Servers that imitate the protocol leave out ids or indices, number every item 0 or send an item
//! twice, and gateways change ids in every event. So an item is searched by everything that an event has.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{native, string};
use crate::provider::wire::typed_event::TypedEvent;

/// The kinds of items that are read; others are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemKind {
    Message,
    Reasoning,
    Call,
    /// A call of a tool that the provider ran itself.
    Native,
}

impl ItemKind {
    pub(super) fn from_item(item: &Value) -> Option<Self> {
        match string(item, "type") {
            "message" => Some(Self::Message),
            "reasoning" => Some(Self::Reasoning),
            "function_call" => Some(Self::Call),
            _ if native::is_call(item) => Some(Self::Native),
            _ => None,
        }
    }
}

/// An item, as far as it has arrived. Missing texts are empty.
pub(super) struct Item {
    pub(super) kind: ItemKind,
    id: String,
    output_index: Option<u64>,
    /// A part's index in deltas: the place in the order of appearance, the one number that is always right.
    pub(super) index: u64,
    pub(super) call_id: String,
    pub(super) tool_name: String,
    /// The content or summary parts of which text has arrived.
    pub(super) seen_parts: BTreeSet<u64>,
    /// Everything has arrived: later events are repetitions.
    pub(super) is_done: bool,
}

/// The items so far.
#[derive(Default)]
pub(super) struct Items(Vec<Item>);

impl Items {
    /// Opens the item that is announced; `None` when it is known. An item with the same output index may be another.
    pub(super) fn announced(&mut self, kind: ItemKind, item: &Value, output_index: Option<u64>) -> Option<&mut Item> {
        let id = string(item, "id");
        let is_known = self.named(kind, id, string(item, "call_id")).is_some();
        if is_known { None } else { Some(self.at_or_open(None, kind, id, output_index)) }
    }

    /// The item that an event has whole.
    pub(super) fn ended(&mut self, kind: ItemKind, item: &Value, output_index: Option<u64>) -> &mut Item {
        let (id, call_id) = (string(item, "id"), string(item, "call_id"));
        let known = self.named(kind, id, call_id).or_else(|| self.unfinished(kind, id, call_id, output_index));
        self.at_or_open(known, kind, id, output_index)
    }

    /// The item that an event within one belongs to; `None` when that one has ended.
    pub(super) fn meant_or_new(&mut self, kind: ItemKind, event: &TypedEvent) -> Option<&mut Item> {
        let (id, output_index) = (event.text("/item_id"), event.number("/output_index"));
        let known = self.meant(kind, id, output_index);
        Some(self.at_or_open(known, kind, id, output_index)).filter(|item| !item.is_done)
    }

    /// The call that an event within one belongs to; `None` when it was not announced or has ended.
    pub(super) fn meant_call(&self, event: &TypedEvent) -> Option<&Item> {
        let place = self.meant(ItemKind::Call, event.text("/item_id"), event.number("/output_index"))?;
        self.0.get(place).filter(|item| !item.is_done)
    }

    /// Returns true when one of the items is a call.
    pub(super) fn have_call(&self) -> bool {
        self.0.iter().any(|item| item.kind == ItemKind::Call)
    }

    /// Returns true while no item has any content.
    pub(super) fn have_no_content(&self) -> bool {
        self.0.iter().all(|item| !item.is_done && item.seen_parts.is_empty())
    }

    fn at_or_open(&mut self, known: Option<usize>, kind: ItemKind, id: &str, output_index: Option<u64>) -> &mut Item {
        let place = known.unwrap_or_else(|| self.open(kind, id, output_index));
        #[expect(clippy::indexing_slicing, reason = "every place is one that a search or `open` found in the list")]
        &mut self.0[place]
    }

    fn open(&mut self, kind: ItemKind, id: &str, output_index: Option<u64>) -> usize {
        let place = self.0.len();
        self.0.push(Item {
            kind,
            id: id.to_owned(),
            output_index,
            index: u64::try_from(place).unwrap_or(u64::MAX),
            call_id: String::new(),
            tool_name: String::new(),
            seen_parts: BTreeSet::new(),
            is_done: false,
        });
        place
    }

    /// The item of this id, or the call of this call id.
    fn named(&self, kind: ItemKind, id: &str, call_id: &str) -> Option<usize> {
        self.0.iter().rposition(|item| {
            let is_same_item = !id.is_empty() && item.id == id;
            let is_same_call = !call_id.is_empty() && item.call_id == call_id;
            item.kind == kind && (is_same_item || is_same_call)
        })
    }

    /// The unfinished item that may be the one with these data: at the same output index, or, without indices, when one
    /// of the two has no id.
    fn unfinished(&self, kind: ItemKind, id: &str, call_id: &str, output_index: Option<u64>) -> Option<usize> {
        self.0.iter().rposition(|item| {
            let is_there = match (output_index, item.output_index) {
                (Some(given), Some(known)) => given == known,
                _ => id.is_empty() || item.id.is_empty(),
            };
            let is_other_call = !call_id.is_empty() && !item.call_id.is_empty();
            item.kind == kind && !item.is_done && is_there && !is_other_call
        })
    }

    /// Finds an item by id (some servers put the call's there), by output index, or the latest for an event with
    /// neither.
    fn meant(&self, kind: ItemKind, id: &str, output_index: Option<u64>) -> Option<usize> {
        let is_of_kind = |item: &Item| item.kind == kind;
        self.named(kind, id, id).or_else(|| match output_index {
            Some(_) => self.0.iter().rposition(|item| is_of_kind(item) && item.output_index == output_index),
            None if id.is_empty() => self.0.iter().rposition(is_of_kind),
            None => None,
        })
    }
}
