//! [`ContextFile`]: a file that belongs to the instruction of a Run, as the Run's record has it. The configuration reads
//! such files; a resumed Run compares those that it had with those of now.

use serde::{Deserialize, Serialize};

/// A file whose text is a part of a Run's instruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ContextFile {
    /// Its path from the workspace.
    pub path: String,
    /// The folder that it was looked for in, from the workspace; empty for the workspace itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub folder: String,
    /// SHA-256 of the text that the instruction has, as hexadecimal digits.
    pub digest: String,
    /// The file's bytes.
    #[serde(with = "crate::count::Count")]
    pub bytes: u64,
    /// Those at its end that the instruction does not have.
    #[serde(default, with = "crate::count::Count", skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}
