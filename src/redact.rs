//! The one funnel that keeps known secrets out of everything that is stored, shown or sent back to a model.

use std::sync::{Arc, PoisonError, RwLock};

use crate::content::Content;
use crate::environment::Environment;

/// Shorter values are not treated as secrets: they would blank out ordinary text.
const MIN_SECRET: usize = 8;

/// What stands in a secret's place.
const MASK: &str = "[redacted]";

/// Knows the secrets of this process. Clones learn from each other.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Vec<String>,
    /// Those that came up later (tokens are fetched and renewed in mid-run), known to all clones.
    learned: Arc<RwLock<Vec<String>>>,
}

impl Redactor {
    /// Takes for secret every variable whose name says so (`…_API_KEY`, `…_TOKEN`, `…_SECRET…`, `…PASSWORD…`).
    pub fn of_environment(environment: &Environment) -> Self {
        let mut redactor = Self::default();
        for (name, value) in environment.iter() {
            let name = name.to_ascii_uppercase();
            if ["API_KEY", "APIKEY", "ACCESS_KEY", "SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL"]
                .iter()
                .any(|mark| name.contains(mark))
            {
                redactor.add(value);
            }
        }
        redactor
    }

    /// The same secrets; and from now on what either learns, the other knows too.
    #[must_use]
    pub fn learning_with(self, other: &Self) -> Self {
        Self { learned: Arc::clone(&other.learned), ..self }
    }

    /// Adds one secret (a header's value, say).
    pub fn add(&mut self, secret: &str) {
        insert(&mut self.secrets, secret);
    }

    /// Takes for secret from now on, here and in all clones, what came up while they were at work.
    pub fn learn(&self, secret: &str) {
        insert(&mut self.learned.write().unwrap_or_else(PoisonError::into_inner), secret);
    }

    /// `text` without secrets.
    pub fn text(&self, text: &str) -> String {
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        learned.iter().chain(&self.secrets).fold(text.to_owned(), |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), MASK) } else { text }
        })
    }

    /// Takes secrets out of text parts.
    pub fn contents(&self, contents: &mut [Content]) {
        for part in contents {
            if let Content::TextPart { text, .. } = part {
                *text = self.text(text);
            }
        }
    }
}

/// Longest first, so that a secret that contains another goes whole.
fn insert(secrets: &mut Vec<String>, secret: &str) {
    if secret.len() >= MIN_SECRET && !secrets.iter().any(|s| s == secret) {
        secrets.push(secret.to_owned());
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner).len();
        write!(f, "Redactor({} secrets)", self.secrets.len() + learned)
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
    fn what_one_learns_its_clones_know() {
        let session = Redactor::default();
        let clone = session.clone();
        let mut skill = Redactor::default().learning_with(&session);
        skill.add("of-the-skill");
        skill.learn("token-0123456789");
        let text = "token-0123456789 of-the-skill";
        assert_eq!(skill.text(text), "[redacted] [redacted]");
        assert_eq!(clone.text(text), "[redacted] of-the-skill");
    }
}
