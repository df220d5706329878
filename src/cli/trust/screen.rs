//! The text of the question of trust: one screen at 80 columns, the costly parts first. Pure.

use std::fmt::Write as _;
use std::path::Path;

use perstack::config::trust::record::Agreement;
use perstack::config::trust::{DangerousParts, PartChange};

use crate::cli::render::{shortened, visible};

/// Most lines of parts, so that the question fits a terminal of 24 lines.
const MAX_LINES: usize = 16;

/// Most characters of a part on the screen; `all` shows it whole.
const WIDTH: usize = 76;

/// The question about a folder: its parts, or their differences from the `earlier` agreement.
pub fn question(folder: &Path, config: &str, parts: &DangerousParts, earlier: Option<&Agreement>) -> String {
    let folder = visible(&folder.display().to_string());
    let config = visible(config);
    let (head, lines) = match earlier {
        None => (
            format!(
                "This folder is new: {folder}\n{config} can do the following, and a program of it can do all that you can:\n"
            ),
            parts.parts().iter().map(|part| visible(&part.text)).collect(),
        ),
        Some(earlier) => (
            format!("This folder has changed since you trusted it: {folder}\n{config} differs in:\n"),
            parts.changes_since(&earlier.parts).iter().map(change_line).collect::<Vec<String>>(),
        ),
    };
    let left_out = lines.len().saturating_sub(MAX_LINES);
    let mut text = head;
    for line in lines.iter().take(MAX_LINES) {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {}", shortened(line, WIDTH));
    }
    if left_out > 0 {
        let _ = writeln!(text, "  … and {left_out} more (all shows them)");
    }
    text
}

/// All parts, whole, with the digest.
pub fn everything(parts: &DangerousParts) -> String {
    let lines = parts.parts().iter().map(|part| format!("  {}", visible(&part.text)));
    let digest = parts.digest().unwrap_or_else(|| "none, as a file is too large: each run asks".to_owned());
    let lines = lines.chain([format!("digest: {digest}\n")]);
    lines.collect::<Vec<_>>().join("\n")
}

fn change_line(change: &PartChange) -> String {
    match change {
        PartChange::Added(text) => format!("+ {}", visible(text)),
        PartChange::Changed(text) => format!("~ {} (changed)", visible(text)),
        PartChange::Removed(text) => format!("- {}", visible(text)),
    }
}
