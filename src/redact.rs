//! The one funnel that keeps known secrets out of everything that is stored, shown or sent back to a model.

use crate::content::Content;
use crate::environment::Environment;

/// Shorter values are not treated as secrets: they would blank out ordinary text.
const MIN_SECRET: usize = 8;

/// What stands in a secret's place.
const MASK: &str = "[redacted]";

/// Knows the secrets of this process.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Vec<String>,
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

    /// Adds one secret (a header's value, say).
    pub fn add(&mut self, secret: &str) {
        if secret.len() >= MIN_SECRET && !self.secrets.iter().any(|s| s == secret) {
            self.secrets.push(secret.to_owned());
            // Longest first, so that a secret that contains another goes whole.
            self.secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        }
    }

    /// `text` without secrets.
    pub fn text(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| {
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

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
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
}
