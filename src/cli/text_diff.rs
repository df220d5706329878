//! [`difference`]: two texts as the lines that differ, with a few around them. The log shows edits with it, `job diff`
//! messages.

use std::time::Duration;

use similar::{Algorithm, ChangeTag, TextDiff};

use super::render::{Paint, visible_lines};

/// Equal lines shown before and after those that differ.
const CONTEXT: usize = 3;

/// The longest that is looked for a short difference, of texts that hardly have a line in common.
const MAX_TIME: Duration = Duration::from_millis(200);

/// The lines, each with its sign: `-` of the old text alone, `+` of the new one alone, blank of both. `…` is in the place
/// of equal lines that are left out.
pub fn difference(old: &str, new: &str, paint: Paint) -> Vec<String> {
    let (old, new) = (visible_lines(old), visible_lines(new));
    let (old, new): (Vec<&str>, Vec<&str>) =
        (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).timeout(MAX_TIME).diff_slices(&old, &new);
    let mut lines = Vec::new();
    let mut end = 0;
    for group in diff.grouped_ops(CONTEXT) {
        let start = group.first().map_or(end, |op| op.old_range().start);
        if start > end {
            lines.push(paint.dim("  …"));
        }
        end = group.last().map_or(end, |op| op.old_range().end);
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let text = change.value();
            lines.push(match change.tag() {
                ChangeTag::Equal => format!("  {text}").trim_end().to_owned(),
                ChangeTag::Delete => paint.red(format!("- {text}").trim_end()),
                ChangeTag::Insert => paint.green(format!("+ {text}").trim_end()),
            });
        }
    }
    if !lines.is_empty() && end < old.len() {
        lines.push(paint.dim("  …"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(old: &str, new: &str) -> String {
        difference(old, new, Paint::plain()).join("\n")
    }

    #[test]
    fn only_what_differs_is_shown_with_its_surroundings() {
        let old = (1..=12).fold(String::new(), |text, n| text + &format!("{n}\n"));
        let new = old.replace("6\n", "six\nand\n");
        assert_eq!(lines(&old, &new), "  …\n  3\n  4\n  5\n- 6\n+ six\n+ and\n  7\n  8\n  9\n  …");
        assert_eq!(lines("a\nb", "a\nb"), "");
        assert_eq!(lines("", "a\n\nb"), "+ a\n+\n+ b");
    }

    #[test]
    fn characters_that_act_on_a_terminal_are_escapes() {
        assert_eq!(lines("a\x1b[2J", "b\u{202e}"), "- a\\x1b[2J\n+ b\\u{202e}");
    }
}
