//! [`BlockTurns`]: the messages of the protocols whose messages are lists of content blocks in alternating roles,
//! Anthropic's and Bedrock's.
//!
//! Called by their encoders, to which the blocks are left. A turn is text as soon as another follows it; only the last
//! one can still grow.

use std::collections::VecDeque;

use serde_json::Value;

use super::body_text::BodyText;
use super::settled_text::SettledText;
use crate::json_text::write;

/// User turns with a cache breakpoint: the last, so that the next request finds all of this one cached, and the one
/// before, where this request finds what the previous one wrote even when more blocks came in between than Anthropic
/// looks back (20). With the last tool and the system prompt that makes four, the limit of both protocols.
pub const CACHED_USER_TURNS: usize = 2;

/// Bytes around the texts of a turn, and of a block.
const AROUND: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnRole {
    User,
    Assistant,
}

/// One message of the body.
#[derive(Debug, Clone)]
struct BlockTurn<B> {
    role: TurnRole,
    blocks: Vec<B>,
}

/// A block of a message, to be written once its turn has ended.
pub trait WireBlock: Clone {
    /// Writes it as JSON.
    fn write(&self, text: &mut Vec<u8>);

    /// Bytes that it has, about.
    fn length(&self) -> usize;

    /// Takes the white space off the end of its text, if it is a text.
    fn trim_end(&mut self);
}

impl WireBlock for Value {
    fn write(&self, text: &mut Vec<u8>) {
        write(text, self);
    }

    fn length(&self) -> usize {
        self.get("text").and_then(Self::as_str).map_or(0, str::len).saturating_add(AROUND)
    }

    fn trim_end(&mut self) {
        if let Some(Self::String(text)) = self.get_mut("text") {
            text.truncate(text.trim_end().len());
        }
    }
}

/// The differences between the protocols' blocks.
pub trait BlockForm: Clone {
    /// A block.
    type Block: WireBlock;

    /// A cache mark, as it is added to the text of a user's turn.
    const MARK: &'static str;
    /// The end of a user's turn, which is behind the mark.
    const BEHIND_MARK: &'static str;

    /// Returns true for a tool's result.
    fn is_result(block: &Self::Block) -> bool;

    /// Returns true for thinking of the model.
    fn is_thinking(block: &Self::Block) -> bool;

    /// Adds what a turn of these blocks lacks.
    fn complete(_blocks: &mut Vec<Self::Block>) {}

    /// Returns true when a user's turn of these blocks can have a cache mark.
    fn may_be_marked(&self, blocks: &[Self::Block]) -> bool;
}

/// The turns of a conversation.
#[derive(Clone)]
pub struct BlockTurns<F: BlockForm> {
    form: F,
    /// The text of the turns that have ended, each with the comma behind it, cut at the latest places of marks.
    ended: VecDeque<SettledText>,
    last: Option<BlockTurn<F::Block>>,
    /// The first answer since the user asked begins with thinking; `None` before it has ended.
    thinks: Option<bool>,
}

impl<F: BlockForm> BlockTurns<F> {
    /// No turn.
    pub fn new(form: F) -> Self {
        Self { form, ended: VecDeque::from([SettledText::default()]), last: None, thinks: None }
    }

    /// The role of the last turn.
    pub fn role(&self) -> Option<TurnRole> {
        self.last.as_ref().map(|turn| turn.role)
    }

    /// Adds a message's blocks: to the last turn when that has the same role, since roles must alternate, else as a turn
    /// of their own. A message without blocks is skipped.
    pub fn add(&mut self, role: TurnRole, blocks: Vec<F::Block>) {
        match &mut self.last {
            _ if blocks.is_empty() => {}
            Some(last) if last.role == role => last.blocks.extend(blocks),
            last => {
                if let Some(ended) = last.replace(BlockTurn { role, blocks }) {
                    self.end(ended);
                }
            }
        }
    }

    /// Writes the list of turns, with the marks of the last ones.
    pub fn write(&self, body: &mut BodyText) {
        let last = self.last.clone().map(|turn| trimmed(complete::<F>(turn)));
        let is_marked = last.as_ref().is_some_and(|turn| self.may_be_marked(turn));
        let marked = CACHED_USER_TURNS.saturating_sub(usize::from(is_marked));
        body.text("[");
        for (at, text) in self.ended.iter().enumerate() {
            if at > 0 && at.saturating_add(marked) >= self.ended.len() {
                body.text(F::MARK);
            }
            body.settled(text);
        }
        if let Some(last) = last {
            let mut text = last.to_text();
            if is_marked {
                let place = place_of_mark::<F>(&text, 0);
                text.splice(place..place, F::MARK.bytes());
            }
            body.piece(&text.into());
        }
        body.text("]");
    }

    /// Returns true when thinking can continue: a turn that called tools must have begun with thinking if it is to
    /// continue with it. It has not when another provider (or an imitator, without a signature) made it.
    pub fn is_thinking_continued(&self) -> bool {
        self.last.as_ref().map_or(self.thinks, |turn| self.thinks_after(turn)).unwrap_or(true)
    }

    fn end(&mut self, turn: BlockTurn<F::Block>) {
        let turn = complete::<F>(turn);
        self.thinks = self.thinks_after(&turn);
        let mut text = turn.to_text();
        text.push(b',');
        let is_marked = self.may_be_marked(&turn);
        let behind = text.split_off(if is_marked { place_of_mark::<F>(&text, 1) } else { text.len() });
        if let Some(ended) = self.ended.back_mut() {
            ended.push(text);
        }
        if is_marked {
            let mut next = SettledText::default();
            next.push(behind);
            self.ended.push_back(next);
        }
        // Marks only move on: places behind which there are enough others are none any more.
        if self.ended.len() > CACHED_USER_TURNS.saturating_add(1)
            && let (Some(mut first), Some(second)) = (self.ended.pop_front(), self.ended.pop_front())
        {
            first.append(second);
            self.ended.push_front(first);
        }
    }

    fn may_be_marked(&self, turn: &BlockTurn<F::Block>) -> bool {
        turn.role == TurnRole::User && self.form.may_be_marked(&turn.blocks)
    }

    fn thinks_after(&self, turn: &BlockTurn<F::Block>) -> Option<bool> {
        match turn.role {
            TurnRole::User if !turn.blocks.iter().any(F::is_result) => None,
            TurnRole::User => self.thinks,
            TurnRole::Assistant => self.thinks.or_else(|| Some(turn.blocks.first().is_some_and(F::is_thinking))),
        }
    }
}

impl<B: WireBlock> BlockTurn<B> {
    fn to_text(&self) -> Vec<u8> {
        let length = self.blocks.iter().map(WireBlock::length).fold(AROUND, usize::saturating_add);
        let mut text = Vec::with_capacity(length);
        text.extend_from_slice(match self.role {
            TurnRole::User => br#"{"role":"user","content":["#,
            TurnRole::Assistant => br#"{"role":"assistant","content":["#,
        });
        for (at, block) in self.blocks.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            block.write(&mut text);
        }
        text.extend_from_slice(b"]}");
        text
    }
}

/// The place of a mark in a turn's text, which has so many bytes of others behind it.
fn place_of_mark<F: BlockForm>(text: &[u8], others: usize) -> usize {
    text.len().saturating_sub(F::BEHIND_MARK.len()).saturating_sub(others)
}

/// The turn as it is sent. Results of tools must come first in their turn.
fn complete<F: BlockForm>(mut turn: BlockTurn<F::Block>) -> BlockTurn<F::Block> {
    turn.blocks.sort_by_key(|block| !F::is_result(block));
    F::complete(&mut turn.blocks);
    turn
}

/// Trims a text at the end of the conversation: it counts as the beginning of the answer, and must not end in white
/// space.
fn trimmed<B: WireBlock>(mut turn: BlockTurn<B>) -> BlockTurn<B> {
    if turn.role == TurnRole::Assistant
        && let Some(last) = turn.blocks.last_mut()
    {
        last.trim_end();
    }
    turn
}
