//! The judgement whether a name marks a secret, and whether a value looks like one. `Redactor` asks it about variables,
//! arguments and parts of addresses whose role alone does not decide.

/// Parts of a name that mark a secret, however the parts are joined.
const MARKS_ANYWHERE: [&str; 8] =
    ["APIKEY", "ACCESSKEY", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "PRIVATEKEY"];

/// Words of a name that mark a secret.
const MARKING_WORDS: [&str; 9] = ["KEY", "TOKEN", "PAT", "SK", "PASS", "PWD", "JWT", "BEARER", "COOKIE"];

/// Words before `KEY` that make it something else than a secret: what a cache, a table or a message is found by, and the
/// half of a pair that everybody may know.
const HARMLESS_KEYS: [&str; 8] =
    ["CACHE", "SORT", "PRIMARY", "PARTITION", "FOREIGN", "ROUTING", "PUBLIC", "PUBLISHABLE"];

/// Last words of names that say where a secret is or what it is like, and not what it is.
const ABOUT: [&str; 19] = [
    "FILE", "PATH", "DIR", "FOLDER", "NAME", "USER", "USERNAME", "URL", "URI", "ENDPOINT", "HOST", "PORT", "SOCK",
    "TTL", "LIMIT", "COUNT", "SIZE", "TYPE", "EXPIRY",
];

/// Beginnings of the keys of well-known services.
const KEY_BEGINNINGS: [&str; 22] = [
    "sk-",
    "sk_",
    "rk_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "eyJ",
    "hf_",
    "npm_",
    "pypi-",
    "dop_v1_",
    "-----BEGIN",
];

/// Shortest value that may look like a secret. Shorter ones are more often words.
const LONG: usize = 16;

/// Returns whether a variable, option or parameter of this name holds a secret: `GH_PAT`, `exaApiKey`, `--token`.
pub fn marks_secret(name: &str) -> bool {
    let words = words(name);
    let last = words.last().map(String::as_str).unwrap_or_default();
    let joined = words.concat();
    // Where the shell is, and was.
    if ABOUT.contains(&last) || joined == "PWD" || joined == "OLDPWD" {
        return false;
    }
    if last == "ID" {
        return joined.ends_with("ACCESSKEYID");
    }
    if MARKS_ANYWHERE.iter().any(|mark| joined.contains(mark)) {
        return true;
    }
    let before = |at: usize| at.checked_sub(1).and_then(|at| words.get(at)).map(String::as_str);
    words.iter().enumerate().any(|(at, word)| {
        let is_mark = MARKING_WORDS.contains(&word.as_str()) || word.ends_with("TOKEN");
        is_mark && !(word == "KEY" && before(at).is_some_and(|before| HARMLESS_KEYS.contains(&before)))
    })
}

/// Returns whether a value is a path or an address, which no name makes a secret.
pub fn is_place(value: &str) -> bool {
    let is_path = ["/", "~/", "./", "../"].iter().any(|start| value.starts_with(start));
    value.contains("://") || is_path && !value.split('/').any(looks_secret)
}

/// Returns whether a value looks like a secret: long, and random or of a well-known service.
pub fn looks_secret(value: &str) -> bool {
    if value.len() < LONG || value.contains("://") {
        return false;
    }
    KEY_BEGINNINGS.iter().any(|beginning| value.starts_with(beginning))
        || !value.contains(char::is_whitespace) && value.split(|c: char| !c.is_ascii_alphanumeric()).any(is_random)
}

/// Returns whether a run of letters and digits is no word with a number: hexadecimal digits, or a mix of all classes.
fn is_random(run: &str) -> bool {
    let digits = run.bytes().filter(u8::is_ascii_digit).count();
    if run.len() < LONG || digits < 3 || digits == run.len() {
        return false;
    }
    let class = |byte: u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase());
    let changes = run.bytes().zip(run.bytes().skip(1)).filter(|(a, b)| class(*a) != class(*b)).count();
    // A third to two thirds of the neighbours in random text differ in class, far fewer in names.
    changes >= run.len() / 4 || digits >= 4 && run.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The words of a name in upper case: `exaApiKey`, `EXA_API_KEY` and `--exa-api-key` have the same.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut was_lower = false;
    for c in name.chars() {
        if (!c.is_alphanumeric() || (was_lower && c.is_uppercase())) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_uppercase());
        }
        was_lower = c.is_lowercase();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mark_secrets_however_they_are_spelled() {
        for name in [
            "ANTHROPIC_API_KEY",
            "GH_PAT",
            "STRIPE_SK",
            "DB_PASS",
            "SIGNING_KEY",
            "exaApiKey",
            "--api-key",
            "apikey",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "GITHUBTOKEN",
            "MAP_TOKEN",
            "client_secret",
            "PGPASSWORD",
            "SESSION_COOKIE",
            "token",
        ] {
            assert!(marks_secret(name), "{name}");
        }
        for name in [
            "GITHUB_REPO",
            "AWS_REGION",
            "PWD",
            "OLDPWD",
            "PATH",
            "HOME",
            "KEYBOARD",
            "CACHE_KEY",
            "SSH_PUBLIC_KEY",
            "TOKENIZERS_PARALLELISM",
            "MAX_TOKENS",
            "GOOGLE_CREDENTIALS_FILE",
            "SECRET_NAME",
            "TOKEN_URL",
            "COMPASS",
            "CLIENT_ID",
            "PATTERN",
            "BYPASS",
        ] {
            assert!(!marks_secret(name), "{name}");
        }
    }

    #[test]
    fn values_look_like_secrets_when_they_are_long_and_random() {
        for value in [
            "sk-test-123456789",
            "ghp_0123456789abcdef",
            "0123456789abcdef0123",
            "exa-url-0123456789abcdef",
            "Xk29vQ7pLm3RtZ8wBn4c",
            "eyJhbGciOiJIUzI1NiJ9.e30.x",
        ] {
            assert!(looks_secret(value), "{value}");
        }
        for value in [
            "owl-lovers/field-guide",
            "eu-central-1",
            "behind-the-old-oak",
            "/home/owl/projects/field-guide-2024",
            "https://owls.example/0123456789abcdef",
            "arn:aws:iam::123456789012:role/ReadOnly",
            "gpt-4o-2024-08-06",
            "ServiceAccount2024Production",
            "projects/123456789012/locations/europe-west1",
            "20260101T000000000000",
            "an owl, 3 mice and 4 voles",
        ] {
            assert!(!looks_secret(value), "{value}");
        }
        assert!(is_place("/run/secrets/key.json") && !is_place("/0123456789abcdef0123"));
    }
}
