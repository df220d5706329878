//! Bounding what tools return, so that one result cannot flood a model's context.

/// Most bytes of a tool's text that reach the model. About 25,000 tokens at four bytes each: an eighth of the usual
/// 200,000-token context window.
pub const DEFAULT_LIMIT: usize = 100_000;

/// Bounds `text` to about `limit` bytes (a note of some 100 bytes comes on top): head and tail stay, cut between
/// characters, with a note in between that tells how much was left out and, by `hint`, how to read it.
///
/// The head gets two thirds: beginnings explain, ends conclude.
pub fn bound(text: String, limit: usize, hint: &str) -> String {
    if text.len() <= limit {
        return text;
    }
    let head_end = text.floor_char_boundary(limit / 3 * 2);
    let tail_start = text.ceil_char_boundary(text.len() - limit / 3);
    let (head, rest) = text.split_at(head_end);
    let (omitted, tail) = rest.split_at(tail_start - head_end);
    let first_line = head.matches('\n').count();
    let last_line = first_line + omitted.matches('\n').count();
    format!(
        "{head}\n[... {} bytes left out, from within line {first_line} to within line {last_line}, counted from 0; \
         {hint} ...]\n{tail}",
        omitted.len(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_within_the_limit_stays_as_it_is() {
        assert_eq!(bound("äbc".to_owned(), 4, "x"), "äbc");
    }

    #[test]
    fn longer_text_keeps_head_and_tail_and_says_what_is_missing() {
        let text = "ab\ncd\nef\ngh\nij\nkl\n".to_owned();
        assert_eq!(
            bound(text, 9, "use less"),
            "ab\ncd\n\n[... 9 bytes left out, from within line 2 to within line 5, counted from 0; use less ...]\nkl\n"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_cut_between_characters_and_accounted_for(text in "\\PC{0,200}", limit in 0_usize..150) {
            let cut = bound(text.clone(), limit, "");
            if text.len() <= limit {
                prop_assert_eq!(cut, text);
            } else {
                let (head, rest) = cut.split_once("\n[... ").unwrap();
                let (note, tail) = rest.rsplit_once(" ...]\n").unwrap();
                let omitted: usize = note.split_once(' ').unwrap().0.parse().unwrap();
                prop_assert!(text.starts_with(head) && text.ends_with(tail));
                prop_assert!(head.len() + tail.len() <= limit);
                prop_assert_eq!(head.len() + omitted + tail.len(), text.len());
            }
        }
    }
}
