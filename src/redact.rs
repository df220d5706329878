//! [`Redactor`]: keeps known secrets out of everything that is stored, shown or sent back to a model. The runtime, the
//! skills and the command line pass their texts through it.
//!
//! A secret is known in the forms that programs write it in (`forms`), and also found in a text that arrives in pieces
//! (`pieces`).

mod forms;
mod pieces;

pub use pieces::Pieces;

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use crate::content::Content;
use crate::environment::Environment;
use crate::generation::{Arguments, FinishReason, GeneratedPart, Generation};

/// Shortest value that is treated as a secret, in bytes: masking shorter ones would mask ordinary text.
const MIN_SECRET: usize = 8;

/// The text that replaces a secret.
const MASK: &str = "[redacted]";

/// The known secrets of this process. Clones learn from each other.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Every form of every secret, longest first, so that a secret that contains another is masked whole.
    secrets: Vec<String>,
    /// The secrets learned later (tokens are fetched and renewed in mid-run), shared by all clones.
    learned: Arc<RwLock<Vec<String>>>,
}

impl Redactor {
    /// Treats as secret every variable whose name marks one (`…_API_KEY`, `…_TOKEN`, `…_SECRET…`, `…PASSWORD…`), and
    /// the password in every variable that is an address.
    pub fn of_environment(environment: &Environment) -> Self {
        let mut redactor = Self::default();
        for (name, value) in environment.known() {
            let name = name.to_ascii_uppercase();
            if ["API_KEY", "APIKEY", "ACCESS_KEY", "SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL"]
                .iter()
                .any(|mark| name.contains(mark))
            {
                redactor.add(value);
            }
            redactor.add_address(value);
        }
        redactor
    }

    /// The same secrets, with the learned ones shared with `other` from now on.
    #[must_use]
    pub fn learning_with(self, other: &Self) -> Self {
        Self { learned: Arc::clone(&other.learned), ..self }
    }

    /// Adds one secret (a header's value, say).
    pub fn add(&mut self, secret: &str) {
        insert(&mut self.secrets, secret);
    }

    /// Adds a secret here and in all clones, in the middle of a run.
    pub fn learn(&self, secret: &str) {
        insert(&mut self.learned.write().unwrap_or_else(PoisonError::into_inner), secret);
    }

    /// Adds the password in an address such as `http://user:password@proxy:8080`, if it has one.
    pub fn add_address(&mut self, address: &str) {
        let Some((_, rest)) = address.split_once("://") else { return };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        if let Some((_, password)) = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
            self.add(password);
            if let Some(plain) = forms::percent_decoded(password) {
                self.add(&plain);
            }
        }
    }

    /// `text` without secrets.
    pub fn text(&self, text: &str) -> String {
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        learned.iter().chain(&self.secrets).fold(text.to_owned(), |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), MASK) } else { text }
        })
    }

    /// `value` without secrets in any string or key.
    pub fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(key, field)| (self.text(&key), self.value(field))).collect()
            }
            other => other,
        }
    }

    /// Masks secrets in text parts.
    pub fn contents(&self, contents: &mut [Content]) {
        for part in contents {
            if let Content::TextPart { text, .. } = part {
                *text = self.text(text);
            }
        }
    }

    /// Masks secrets in a model's answer: thinking, text, and the arguments of calls. A provider may refuse thinking
    /// that was changed; that is rare, as no secret is sent to a model in the first place.
    pub fn generation(&self, generation: &mut Generation) {
        for part in &mut generation.parts {
            match part {
                GeneratedPart::Thinking { thinking } => {
                    thinking.thinking = self.text(&thinking.thinking);
                    thinking.opaque = thinking.opaque.take().map(|block| self.value(block));
                }
                GeneratedPart::Text { text } | GeneratedPart::ToolCall { arguments: Arguments::Invalid(text), .. } => {
                    *text = self.text(text);
                }
                GeneratedPart::Opaque { opaque } => opaque.block = self.value(opaque.block.take()),
                GeneratedPart::ToolCall { arguments: Arguments::Valid(map), .. } => {
                    if let Value::Object(clean) = self.value(Value::Object(std::mem::take(map))) {
                        *map = clean;
                    }
                }
            }
        }
        if let FinishReason::Other(reason) = &mut generation.finish {
            *reason = self.text(reason);
        }
    }
}

/// Inserts the forms of a secret, keeping the longest first.
fn insert(secrets: &mut Vec<String>, secret: &str) {
    // Values from headers and files often end in a line end that is no part of the secret.
    let secret = secret.trim();
    if secret.len() < MIN_SECRET {
        return;
    }
    for form in forms::forms(secret) {
        if !secrets.contains(&form) {
            secrets.push(form);
        }
    }
    secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner).len();
        write!(f, "Redactor({} forms of secrets)", self.secrets.len() + learned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_secrets_of_the_environment_out_of_text() {
        let environment: Environment = [
            ("ANTHROPIC_API_KEY".to_owned(), "sk-ant-0123456789".to_owned()),
            ("HOME".to_owned(), "/home/someone".to_owned()),
            ("SHORT_TOKEN".to_owned(), "abc".to_owned()),
        ]
        .into_iter()
        .collect();
        let redactor = Redactor::of_environment(&environment);
        assert_eq!(redactor.text("key sk-ant-0123456789 in /home/someone abc"), "key [redacted] in /home/someone abc");
    }

    #[test]
    fn clones_share_learned_secrets() {
        let session = Redactor::default();
        let clone = session.clone();
        let mut skill = Redactor::default().learning_with(&session);
        skill.add("of-the-skill");
        skill.learn("token-0123456789");
        let text = "token-0123456789 of-the-skill";
        assert_eq!(skill.text(text), "[redacted] [redacted]");
        assert_eq!(clone.text(text), "[redacted] of-the-skill");
    }

    #[test]
    fn a_secret_is_found_in_the_forms_that_programs_write_it_in() {
        let mut redactor = Redactor::default();
        redactor.add("ow/l+\"9\\ é&x");
        for text in [
            "raw ow/l+\"9\\ é&x.",
            r#"{"json":"ow/l+\"9\\ é&x"}"#,
            "?key=ow%2Fl%2B%229%5C%20%C3%A9%26x&b",
            "?key=ow%2fl%2b%229%5c%20%c3%a9%26x&b",
            "form=ow%2Fl%2B%229%5C+%C3%A9%26x",
        ] {
            let clean = redactor.text(text);
            assert!(clean.contains(MASK) && !clean.contains("ow"), "{clean}");
        }
    }

    #[test]
    fn a_secret_in_base64_is_found_at_any_offset() {
        use base64::Engine as _;
        let secret = "sk-ant-0123456789";
        let mut redactor = Redactor::default();
        redactor.add(secret);
        for before in ["", "a", "ab", "user:", "username:"] {
            for after in ["", "!", "\n", "and so on"] {
                let whole = format!("{before}{secret}{after}");
                let text = base64::engine::general_purpose::STANDARD.encode(&whole);
                let clean = redactor.text(&text);
                assert!(clean.contains(MASK), "{whole}: {text} -> {clean}");
                // The rest does not give the secret away.
                let left: String = clean.replace(MASK, "");
                assert!(left.len() <= text.len() - secret.len(), "{clean}");
            }
        }
    }

    #[test]
    fn the_password_of_an_address_is_a_secret() {
        let pairs = [
            ("HTTPS_PROXY", "http://me:hunter%2Fhunter@proxy.test:8080"),
            ("DATABASE_URL", "postgres://me:owl-owl-owl@db/owls?x=http://a:b@c"),
            ("HOME", "/home/me:12345678@x"),
        ];
        let environment: Environment =
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        let redactor = Redactor::of_environment(&environment);
        assert_eq!(redactor.text("me hunter%2Fhunter hunter/hunter"), "me [redacted] [redacted]");
        assert_eq!(redactor.text(pairs[1].1), "postgres://me:[redacted]@db/owls?x=http://a:b@c");
        assert_eq!(redactor.text(pairs[2].1), pairs[2].1);
    }

    #[test]
    fn an_answer_that_repeats_a_secret_is_cleaned() {
        let mut redactor = Redactor::default();
        redactor.add("sk-ant-0123456789");
        let prose = |text: &str| GeneratedPart::Text { text: text.to_owned() };
        let called = |text: &str| GeneratedPart::ToolCall {
            id: "c".to_owned(),
            name: "exec".to_owned(),
            arguments: Arguments::parse(&serde_json::json!({ "args": ["-c", text] }).to_string()),
        };
        let answer = |text: &str| Generation {
            parts: vec![prose(text), called(text)],
            finish: FinishReason::Stop,
            usage: None,
            context_tokens: None,
        };
        let mut generation = answer("Your key is sk-ant-0123456789.");
        redactor.generation(&mut generation);
        assert_eq!(generation, answer("Your key is [redacted]."));
    }
}
