//! [`Redactor`]: keeps known secrets out of everything that is stored, shown or sent back to a model. The runtime, the
//! skills and the command line pass their texts through it.
//!
//! A secret is known in the forms that programs write it in (`forms`), and also found in a text that arrives in pieces
//! (`pieces`).

mod broken;
mod forms;
mod judge;
mod pieces;

pub use forms::percent_decoded;
pub use pieces::Pieces;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use self::judge::{is_place, looks_secret, marks_secret};

use crate::content::Content;
use crate::environment::Environment;
use crate::expert::SkillSpec;
use crate::generation::{Arguments, FinishReason, GeneratedPart, Generation};
use crate::json_text;

/// Shortest value that is treated as a secret, in bytes: masking shorter ones would mask ordinary text.
const MIN_SECRET: usize = 8;

/// The text that replaces a secret.
const MASK: &str = "[redacted]";

/// The text that replaces a secret in the name of a tool.
const MASKED_NAME: &str = "redacted";

/// The known secrets of this process. Clones learn from each other.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Every form of every secret, longest first, so that a secret that contains another is masked whole.
    secrets: Vec<String>,
    /// The secrets learned later (tokens are fetched and renewed in mid-run), shared by all clones.
    learned: Arc<RwLock<Vec<String>>>,
}

impl Redactor {
    /// The secrets of variables alone: those whose name marks a secret, and the userinfo of addresses.
    pub fn of_environment(environment: &Environment) -> Self {
        Self::for_skills(environment, &[], &[])
    }

    /// The secrets of a session with these skills, by role and name: `model_keys`, tokens and clients' secrets always;
    /// required variables when the name marks one, the value looks like one or `secretEnv` lists it; other variables
    /// when the name marks one; and those that the declarations themselves contain, in arguments and addresses.
    /// `publicEnv` exempts a variable that its skill requires, but none that is secret by its role.
    pub fn for_skills(environment: &Environment, skills: &[&SkillSpec], model_keys: &[&str]) -> Self {
        let secret = skills.iter().flat_map(|skill| skill.secret_variables()).chain(model_keys.iter().copied());
        let secret: BTreeSet<&str> = secret.collect();
        let public = skills.iter().flat_map(|skill| skill.public_variables()).filter(|name| !secret.contains(name));
        let public: BTreeSet<&str> = public.collect();
        let mut redactor = Self::default();
        for (name, value) in environment.known() {
            if marks_secret(name) && !is_place(value) && !public.contains(name) {
                redactor.add(value);
            }
            redactor.add_address(value);
            if name.starts_with("OTEL_EXPORTER_OTLP_") && name.ends_with("HEADERS") {
                redactor.add_headers(value);
            }
        }
        for name in secret {
            environment.for_skill(name).into_iter().for_each(|value| redactor.add(value));
        }
        for skill in skills {
            for name in skill.variables().into_iter().filter(|name| !public.contains(name)) {
                environment
                    .for_skill(name)
                    .filter(|value| looks_secret(value))
                    .into_iter()
                    .for_each(|value| redactor.add(value));
            }
            redactor.add_declaration(skill);
        }
        redactor
    }

    /// The secrets that a skill's declaration itself contains.
    pub fn of_declaration(skill: &SkillSpec) -> Self {
        let mut redactor = Self::default();
        redactor.add_declaration(skill);
        redactor
    }

    fn add_declaration(&mut self, skill: &SkillSpec) {
        match skill {
            SkillSpec::McpStdioSkill { args, .. } => {
                let mut before = "";
                for arg in args {
                    self.add_argument(before, arg);
                    before = arg;
                }
            }
            SkillSpec::McpSseSkill { endpoint, .. } => self.add_address(endpoint),
            SkillSpec::InteractiveSkill { .. } => {}
        }
    }

    /// Adds the secret in an argument, if it has one: `--token=X`, `X` after `--token`, `Authorization: Bearer X`.
    fn add_argument(&mut self, before: &str, arg: &str) {
        self.add_address(arg);
        if before.starts_with('-')
            && !before.contains('=')
            && marks_secret(before)
            && !arg.starts_with('-')
            && !is_place(arg)
        {
            self.add(arg);
        }
        match arg.split_once(['=', ':']) {
            Some((name, value)) if self.add_named(name, value) => {}
            _ if looks_secret(arg) => self.add(arg),
            _ => {}
        }
    }

    /// Adds the value of a header, option or parameter when it is a secret; returns whether it is.
    pub fn add_named(&mut self, name: &str, value: &str) -> bool {
        let value = value.trim();
        let secret = value.split_once(' ').map_or(value, |(scheme, rest)| match scheme {
            "Bearer" | "Basic" | "Token" | "bearer" | "basic" | "token" => rest,
            _ => value,
        });
        let is_secret = (marks_secret(name) || name.trim().eq_ignore_ascii_case("authorization")) && !is_place(secret)
            || looks_secret(secret);
        if is_secret {
            self.add(secret);
        }
        is_secret
    }

    /// Adds the secrets in a list of headers as `OTEL_EXPORTER_OTLP_HEADERS` has it: `NAME=VALUE,NAME=VALUE`, values
    /// percent-encoded.
    fn add_headers(&mut self, list: &str) {
        for (name, value) in list.split(',').filter_map(|header| header.split_once('=')) {
            self.add_named(name, value);
            if let Some(plain) = percent_decoded(value) {
                self.add_named(name, &plain);
            }
        }
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

    /// Adds the secrets in an address such as `http://user:password@proxy:8080/?key=…`, if it has any: the password, a
    /// user that looks like a token, and parts of path and query that are secret by name or look.
    pub fn add_address(&mut self, address: &str) {
        let Some((_, rest)) = address.split_once("://") else { return };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        if let Some((user, _)) = authority.rsplit_once('@') {
            match user.split_once(':') {
                Some((_, password)) => self.add_encoded(password),
                None if looks_secret(user) => self.add_encoded(user),
                None => {}
            }
        }
        let Ok(url) = Url::parse(address) else { return };
        for pair in url.query().unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or(("", pair));
            if marks_secret(name) || looks_secret(value) {
                self.add_encoded(value);
            }
        }
        for segment in url.path().split('/').filter(|segment| looks_secret(segment)) {
            self.add_encoded(segment);
        }
    }

    /// Adds a part of an address as it is written and as it is meant.
    fn add_encoded(&mut self, part: &str) {
        self.add(part);
        if let Some(plain) = percent_decoded(part) {
            self.add(&plain);
        }
    }

    /// `text` without secrets.
    pub fn text(&self, text: &str) -> String {
        self.masked_text(text).unwrap_or_else(|| text.to_owned())
    }

    /// `text` without secrets; `None` if there are none in it.
    pub fn masked_text(&self, text: &str) -> Option<String> {
        // No form of a secret is shorter.
        if text.len() < MIN_SECRET {
            return None;
        }
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        let has_breaks = broken::has_breaks(text);
        let mut masked: Option<String> = None;
        for secret in learned.iter().chain(&self.secrets) {
            let current = masked.as_deref().unwrap_or(text);
            if current.contains(secret.as_str()) {
                masked = Some(current.replace(secret.as_str(), MASK));
            }
            if has_breaks && let Some(replaced) = broken::replaced(masked.as_deref().unwrap_or(text), secret, MASK) {
                masked = Some(replaced);
            }
        }
        masked
    }

    /// `value` without secrets in any string or key.
    pub fn value(&self, mut value: Value) -> Value {
        json_text::change_strings(&mut value, &|text| self.masked_text(text));
        value
    }

    /// Returns whether no secret is known.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.learned.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// A copy of `item` without secrets in any of its texts.
    ///
    /// # Errors
    /// A secret is in the place of a name or a keyword, so that nothing is left without it.
    pub fn masked<T: Serialize + DeserializeOwned>(&self, item: &T) -> serde_json::Result<T> {
        serde_json::from_value(self.value(serde_json::to_value(item)?))
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
            if let GeneratedPart::ToolCall { name, .. } = part {
                // Without the brackets, which no vendor allows in a name.
                *name = self.text(name).replace(MASK, MASKED_NAME);
            }
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
    fn no_form_is_shorter_than_the_shortest_secret() {
        for secret in ["01234567", "012345678", "0123456789", "a b c+/=", "ääää", "\u{1}\"\\\n\t\r,;"] {
            assert!(secret.len() >= MIN_SECRET);
            assert!(forms::forms(secret).iter().all(|form| form.len() >= MIN_SECRET), "{:?}", forms::forms(secret));
        }
    }

    #[test]
    fn a_secret_is_found_in_a_host_whose_name_is_in_small_letters() {
        let mut redactor = Redactor::default();
        redactor.add("Owl4711Hoots9aX");
        assert_eq!(redactor.text("owl4711hoots9ax.example.com:443"), "[redacted].example.com:443");
        let mut short = Redactor::default();
        short.add("Nightowls");
        assert_eq!(short.text("nightowls hunt"), "nightowls hunt", "a common word stays as it is");
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
