//! [`BlockTurn`]: a message of the protocols whose messages are lists of content blocks in alternating roles, Anthropic's and
//! Bedrock's.
//!
//! Called by their encoders, to which the blocks are left.

use serde_json::{Value, json};

/// User turns with a cache breakpoint: the last, so that the next request finds all of this one cached, and the one
/// before, where this request finds what the previous one wrote even when more blocks came in between than Anthropic
/// looks back (20). With the last tool and the system prompt that makes four, the limit of both protocols.
pub const CACHED_USER_TURNS: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TurnRole {
    User,
    Assistant,
}

/// One message of the body.
pub struct BlockTurn {
    pub role: TurnRole,
    pub blocks: Vec<Value>,
}

impl BlockTurn {
    pub fn into_value(self) -> Value {
        let role = match self.role {
            TurnRole::User => "user",
            TurnRole::Assistant => "assistant",
        };
        json!({"role": role, "content": self.blocks})
    }
}

/// Adds a message's blocks: to the last turn when that has the same role, since roles must alternate, else as a turn of
/// their own. A message without blocks is skipped.
pub fn add(turns: &mut Vec<BlockTurn>, role: TurnRole, blocks: Vec<Value>) {
    match turns.last_mut() {
        _ if blocks.is_empty() => {}
        Some(last) if last.role == role => last.blocks.extend(blocks),
        _ => turns.push(BlockTurn { role, blocks }),
    }
}

/// Trims a text at the end of the conversation: it counts as the beginning of the answer, and must not end in white
/// space.
pub fn trim_final_answer(turns: &mut [BlockTurn]) {
    let Some(BlockTurn { role: TurnRole::Assistant, blocks }) = turns.last_mut() else { return };
    if let Some(Value::String(text)) = blocks.last_mut().and_then(|block| block.get_mut("text")) {
        text.truncate(text.trim_end().len());
    }
}
