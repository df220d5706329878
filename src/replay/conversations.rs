//! [`Conversations`]: the latest body of each conversation whose requests are recorded or asked for.
//!
//! `record` learns from it what a request adds to an earlier one, `play` the digest of a request that mostly repeats one.

use serde_json::Value;

use super::digest::Digest;
use super::outline::{Clean, Differences, Outline, OutlineUse};
use crate::provider::http::request_body::RequestBody;

/// Most conversations that are known at a time: more Runs than work side by side. The one that was not used for longest
/// gives way to a new one.
const MAX_OPEN: usize = 128;

/// The conversations, each known by its number, from 1 on.
#[derive(Default)]
pub(super) struct Conversations {
    open: Vec<Open>,
    /// Bodies that were placed so far.
    placed: u64,
}

struct Open {
    outline: Outline,
    /// The number of bodies before its own latest one.
    used: u64,
}

/// The place of a body.
pub(super) struct PlacedBody {
    pub conversation: usize,
    /// The digest of the cleaned body.
    pub digest: Digest,
    pub content: Description,
}

/// A body, as what was known lets it be described.
pub(super) enum Description {
    Whole(Value),
    /// The differences from the latest body of a conversation, mostly its own.
    Differences {
        from: usize,
        differences: Differences,
    },
}

impl Conversations {
    /// Makes `body` the latest of the conversation that it goes on with: the one whose pieces it shares, as what encodes
    /// the requests of a conversation keeps its text, and shares it with no other. Without one it begins a conversation,
    /// which is described by its differences from the one that begins most like it: a Run that continues has its own
    /// history again, and delegates of one expert have the same tools.
    pub fn place(&mut self, body: &RequestBody, clean: Clean<'_>, wanted: OutlineUse) -> PlacedBody {
        self.placed = self.placed.saturating_add(1);
        let found = self.open.iter().position(|open| open.outline.shares_memory_with(body));
        if let Some(index) = found
            && let Some(open) = self.open.get_mut(index)
        {
            open.used = self.placed;
            let content = match open.outline.advance(body, clean, wanted) {
                Some(differences) => Description::Differences { from: index.saturating_add(1), differences },
                None => Description::Whole(begin(&mut open.outline, body, clean)),
            };
            return PlacedBody { conversation: index.saturating_add(1), digest: open.outline.digest(), content };
        }
        let nearest = self.open.iter().enumerate().max_by_key(|(_, open)| open.outline.shared_prefix(body));
        let described = nearest.map(|(index, open)| (index, open.outline.clone())).and_then(|(index, mut outline)| {
            let differences = outline.advance(body, clean, wanted)?;
            Some((outline, Description::Differences { from: index.saturating_add(1), differences }))
        });
        let (outline, content) = described.unwrap_or_else(|| {
            let (outline, value) = Outline::new(body.clone(), clean);
            (outline, Description::Whole(value))
        });
        let digest = outline.digest();
        let index = self.open(Open { outline, used: self.placed });
        PlacedBody { conversation: index.saturating_add(1), digest, content }
    }

    fn open(&mut self, open: Open) -> usize {
        if self.open.len() < MAX_OPEN {
            self.open.push(open);
            return self.open.len().saturating_sub(1);
        }
        let oldest = self.open.iter_mut().enumerate().min_by_key(|(_, open)| open.used);
        oldest.map_or(0, |(index, place)| {
            *place = open;
            index
        })
    }
}

fn begin(outline: &mut Outline, body: &RequestBody, clean: Clean<'_>) -> Value {
    let (new, value) = Outline::new(body.clone(), clean);
    *outline = new;
    value
}
