//! Secrets in a text that comes in pieces, as a model's answer does: one that is split over pieces is found too.

use std::sync::PoisonError;

use super::Redactor;

/// Holds back what may be the beginning of a secret until it is known whether it is.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    held: String,
}

impl Pieces {
    /// Takes the next piece; what can be told now, without secrets. May be empty.
    pub fn push(&mut self, redactor: &Redactor, piece: &str) -> String {
        self.held.push_str(piece);
        let safe = redactor.decided(&self.held);
        let rest = self.held.split_off(safe);
        redactor.text(&std::mem::replace(&mut self.held, rest))
    }

    /// The rest, when nothing follows.
    pub fn finish(self, redactor: &Redactor) -> String {
        redactor.text(&self.held)
    }
}

impl Redactor {
    /// How many bytes of `text` are not part of a secret that what follows may complete.
    fn decided(&self, text: &str) -> usize {
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        let secrets = || learned.iter().chain(&self.secrets);
        let mut safe = secrets().map(|secret| text.len() - overlap(text, secret)).min().unwrap_or(text.len());
        // A whole secret that reaches beyond the cut is not cut in two.
        while let Some(earlier) = secrets().filter_map(|secret| straddles(text, secret, safe)).min() {
            safe = earlier;
        }
        safe
    }
}

/// Bytes of the longest end of `text` that `secret`, which is longer, begins with.
fn overlap(text: &str, secret: &str) -> usize {
    let longest = secret.len().saturating_sub(1).min(text.len());
    let mut ends = (1..=longest).rev().filter_map(|len| text.get(text.len() - len..));
    ends.find(|end| secret.starts_with(end)).map_or(0, str::len)
}

/// Where a `secret` begins that stands on both sides of `at`. Counted from the beginning, as when secrets are replaced:
/// some overlap with themselves.
fn straddles(text: &str, secret: &str, at: usize) -> Option<usize> {
    let mut found = text.match_indices(secret).map(|(start, _)| start);
    found.find(|start| *start < at && start + secret.len() > at)
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

    fn told(pieces: &[&str]) -> Vec<String> {
        let redactor = redactor();
        let mut state = Pieces::default();
        let mut told: Vec<String> = pieces.iter().map(|piece| state.push(&redactor, piece)).collect();
        told.push(state.finish(&redactor));
        told
    }

    #[test]
    fn nothing_is_held_back_that_begins_no_secret() {
        assert_eq!(told(&["An owl", " sees", ""]), ["An owl", " sees", "", ""]);
    }

    #[test]
    fn a_secret_in_pieces_is_never_told() {
        assert_eq!(told(&["key zz", "zzz", "zzz!"]), ["key ", "", "[redacted]!", ""]);
        assert_eq!(told(&["abcabcab", "d."]), ["", "[redacted].", ""]);
        assert_eq!(told(&["abcabcab"]), ["", "[redacted]"]);
    }

    #[test]
    fn what_only_began_like_one_is_told_in_the_end() {
        assert_eq!(told(&["abca", "x", "zz"]), ["", "abcax", "", "zz"]);
    }

    proptest! {
        #[test]
        fn however_a_text_is_cut_no_secret_is_told(
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
            let whole = told(&pieces).concat();
            for secret in SECRETS {
                prop_assert!(!whole.contains(secret), "{} in {} from {}", secret, whole, text);
            }
            if SECRETS.iter().all(|secret| !text.contains(secret)) {
                prop_assert_eq!(whole, text);
            }
        }
    }
}
