//! [`Pieces`]: masks secrets in a text that arrives in pieces, as a model's answer does, also one that is split over
//! pieces.

use std::sync::PoisonError;

use super::{Redactor, broken};

/// Holds back text that may be the beginning of a secret until more of it has arrived.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    held: String,
}

impl Pieces {
    /// Adds the next piece; returns the text that can be shown now, without secrets. May be empty.
    pub fn push(&mut self, redactor: &Redactor, piece: &str) -> String {
        self.held.push_str(piece);
        let safe = redactor.decided(&self.held);
        let rest = self.held.split_off(safe);
        redactor.text(&std::mem::replace(&mut self.held, rest))
    }

    /// Returns the rest, when no piece follows.
    pub fn finish(self, redactor: &Redactor) -> String {
        redactor.text(&self.held)
    }
}

impl Redactor {
    /// The number of bytes at the start of `text` that cannot be part of a secret which later pieces complete.
    fn decided(&self, text: &str) -> usize {
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        let secrets = || learned.iter().chain(&self.secrets);
        let mut safe = secrets().map(|secret| text.len() - overlap(text, secret)).min().unwrap_or(text.len());
        let cut = secrets().filter_map(|secret| {
            broken::occurrences(text, secret).find(|(_, end)| end.is_none()).map(|(start, _)| start)
        });
        safe = cut.min().map_or(safe, |start| start.min(safe));
        // The cut must not split a whole secret either: its first half would be shown unmasked.
        let crossing = |at| secrets().filter_map(move |secret| straddles(text, secret, at)).min();
        while let Some(earlier) = crossing(safe) {
            safe = earlier;
        }
        safe
    }
}

/// The length of the longest end of `text` that is a proper beginning of `secret`.
fn overlap(text: &str, secret: &str) -> usize {
    let longest = secret.len().saturating_sub(1).min(text.len());
    let mut ends = (1..=longest).rev().filter_map(|len| text.get(text.len() - len..));
    ends.find(|end| secret.starts_with(end)).map_or(0, str::len)
}

/// The start of an occurrence of `secret` that crosses `at`. Occurrences are found from the beginning, in the same way
/// as they are replaced: a secret may overlap with itself.
fn straddles(text: &str, secret: &str, at: usize) -> Option<usize> {
    let mut found = text.match_indices(secret).map(|(start, _)| start);
    let whole = found.find(|start| *start < at && start + secret.len() > at);
    let mut with_breaks = broken::occurrences(text, secret).filter_map(|(start, end)| Some((start, end?)));
    whole.or_else(|| with_breaks.find(|(start, end)| *start < at && *end > at).map(|(start, _)| start))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRETS: [&str; 4] = ["abcabcabd", "abcabcab", "bdäöüxyz", "zzzzzzzz"];

    fn redactor() -> Redactor {
        let mut redactor = Redactor::default();
        for secret in SECRETS {
            redactor.add(secret);
        }
        redactor
    }

    fn shown(pieces: &[&str]) -> Vec<String> {
        let redactor = redactor();
        let mut state = Pieces::default();
        let mut shown: Vec<String> = pieces.iter().map(|piece| state.push(&redactor, piece)).collect();
        shown.push(state.finish(&redactor));
        shown
    }

    #[test]
    fn text_that_begins_no_secret_is_not_held_back() {
        assert_eq!(shown(&["An owl", " sees", ""]), ["An owl", " sees", "", ""]);
    }

    #[test]
    fn a_secret_in_pieces_is_never_shown() {
        assert_eq!(shown(&["key zz", "zzz", "zzz!"]), ["key ", "", "[redacted]!", ""]);
        assert_eq!(shown(&["abcabcab", "d."]), ["", "[redacted].", ""]);
        assert_eq!(shown(&["abcabcab"]), ["", "[redacted]"]);
    }

    #[test]
    fn text_that_only_began_like_a_secret_is_shown_later() {
        assert_eq!(shown(&["abca", "x", "zz"]), ["", "abcax", "", "zz"]);
    }

    proptest! {
        #[test]
        fn however_a_text_is_cut_no_secret_is_shown(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::sample::select(SECRETS.to_vec()).prop_map(str::to_owned),
                    "[abcdzxyäöü]{0,4}",
                ],
                0..12,
            ),
            size in 1..5_usize,
        ) {
            let text = parts.concat();
            let chars: Vec<char> = text.chars().collect();
            let pieces: Vec<String> = chars.chunks(size).map(|chunk| chunk.iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let whole = shown(&pieces).concat();
            for secret in SECRETS {
                prop_assert!(!whole.contains(secret), "{} in {} from {}", secret, whole, text);
            }
            if SECRETS.iter().all(|secret| !text.contains(secret)) {
                prop_assert_eq!(whole, text);
            }
        }
    }
}
