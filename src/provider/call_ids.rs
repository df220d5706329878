//! [`CallIds`]: ids of calls in the form that a server takes.
//!
//! A conversation keeps the ids of whichever server made its calls; another may refuse their form. Call and result are
//! rewritten alike, always in the same way, so that they fit each other in every request: by the encoder of Chat
//! Completions for models whose form is known, by `repair` once a server has refused the usual one.

use std::borrow::Cow;

use crate::provider::tool_names::fingerprint;

/// Characters of an id that Mistral takes, letters and digits alone.
const MISTRAL_LENGTH: usize = 9;

/// Most characters of an id that OpenAI takes.
const USUAL_LENGTH: usize = 40;

/// The form of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallIds {
    Usual,
    /// Nine letters and digits.
    Mistral,
}

impl CallIds {
    /// The form for a model, by its name: gateways pass ids on to the model's own servers.
    pub(super) fn for_model(model: &str) -> Self {
        let name = model.to_ascii_lowercase();
        let families = ["mistral", "mixtral", "magistral", "ministral", "codestral", "devstral", "pixtral", "voxtral"];
        if families.iter().any(|family| name.contains(family)) { Self::Mistral } else { Self::Usual }
    }

    /// The id to send.
    pub(super) fn wire(self, id: &str) -> Cow<'_, str> {
        match self {
            Self::Usual if id.len() <= USUAL_LENGTH => Cow::Borrowed(id),
            Self::Usual => Cow::Owned(format!("call_{}", letters(id, 2 * MISTRAL_LENGTH))),
            Self::Mistral if id.len() == MISTRAL_LENGTH && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Cow::Borrowed(id)
            }
            Self::Mistral => Cow::Owned(letters(id, MISTRAL_LENGTH)),
        }
    }
}

/// So many letters and digits made of the whole id.
fn letters(id: &str, count: usize) -> String {
    const LETTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    // Two numbers: one alone has too few bits for eighteen letters.
    let mut rest = u128::from(fingerprint(id)) << 64 | u128::from(fingerprint(&format!("{id}\0")));
    let mut text = String::with_capacity(count);
    for _ in 0..count {
        let at = usize::try_from(rest % 62).unwrap_or_default();
        text.push(LETTERS.get(at).map_or('0', |letter| char::from(*letter)));
        rest /= 62;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistral_gets_nine_letters_and_digits_and_different_ids_stay_different() {
        let ids = CallIds::for_model("mistralai/Mistral-Large-2411");
        assert_eq!(ids.wire("aB3456789"), "aB3456789");
        let mut sent: Vec<String> = (0..1000).map(|number| ids.wire(&format!("toolu_{number}")).into_owned()).collect();
        assert!(sent.iter().all(|id| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())));
        sent.sort();
        sent.dedup();
        assert_eq!(sent.len(), 1000);
        assert_eq!(ids.wire("toolu_1"), ids.wire("toolu_1"));
    }

    #[test]
    fn other_servers_get_ids_unchanged_unless_they_are_too_long() {
        let ids = CallIds::for_model("gpt-4.1");
        assert_eq!(ids.wire("toolu_01VpEm654HvfMoRcrE3Hgdc6"), "toolu_01VpEm654HvfMoRcrE3Hgdc6");
        assert_eq!(ids.wire(&"x".repeat(60)).len(), 23);
    }
}
