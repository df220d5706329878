//! The forms in which addresses and commands are shown to whoever is asked to trust them: without what may be a secret, and
//! with a word where a package has no version.

use url::Url;

use super::programs::program_name;

/// An address without what may be a secret: user, password, query and fragment.
pub(super) fn shown_address(text: &str) -> String {
    let Ok(mut url) = Url::parse(text.trim()) else { return text.to_owned() };
    let has_more = url.query().is_some() || url.fragment().is_some();
    // Addresses without a host have no user to remove.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    let end = if has_more { "?…" } else { "" };
    format!("{url}{end}")
}

/// Parts of the names of options whose values are secrets.
const SECRET_NAMES: [&str; 6] = ["key", "token", "secret", "password", "passwd", "auth"];

/// A command as a shell would take it, without the values of options that are named for secrets.
pub(super) fn shown_command(words: &[String]) -> String {
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        SECRET_NAMES.iter().any(|part| name.contains(part))
    };
    let mut hides_next = false;
    let shown = words.iter().map(|word| {
        let hides = std::mem::take(&mut hides_next) && !word.starts_with('-');
        match word.split_once('=') {
            _ if hides => "…".to_owned(),
            Some((name, value)) if is_secret(name) && !value.is_empty() => format!("{}=…", quoted(name)),
            _ => {
                hides_next = word.starts_with('-') && !word.contains('=') && is_secret(word);
                quoted(word)
            }
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@=+,%^~".contains(c);
    if word.is_empty() || !word.chars().all(is_plain) {
        format!("'{}'", word.replace('\'', "'\\''"))
    } else {
        word.to_owned()
    }
}

/// Returns true if the words fetch a package from a registry without naming its version.
pub(super) fn has_no_version(words: &[String]) -> bool {
    let Some((command, arguments)) = words.split_first() else { return false };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, rest) = (program_name(command), arguments.as_slice());
    let (("npx" | "bunx" | "pnpx" | "uvx", rest)
    | ("npm", ["exec" | "x", rest @ ..])
    | ("pnpm" | "yarn", ["dlx", rest @ ..])
    | ("bun", ["x", rest @ ..])
    | ("uv", ["tool", "run", rest @ ..])
    | ("pipx" | "deno", ["run", rest @ ..])) = (name, rest)
    else {
        return false;
    };
    let named = rest
        .iter()
        .zip(rest.iter().skip(1))
        .find(|(flag, _)| matches!(**flag, "--from" | "-p" | "--package" | "--spec"));
    let package = match named {
        Some((_, package)) => Some(*package),
        None => rest.iter().find_map(|word| {
            let value = word.strip_prefix("--package=").or_else(|| word.strip_prefix("--from="));
            value.or(Some(*word).filter(|word| !word.starts_with('-')))
        }),
    };
    package.is_some_and(|package| !names_version(package))
}

/// Returns true for `name@1.2.3`, `name==1.2.3`, a file or an address with a revision.
fn names_version(package: &str) -> bool {
    if package.starts_with(['.', '/']) {
        return true;
    }
    let version = package.rsplit_once("==").or_else(|| package.rsplit_once('@').filter(|(name, _)| !name.is_empty()));
    version.is_some_and(|(_, version)| {
        let version = version.trim_start_matches('v');
        let parts: Vec<&str> = version.split(['.', '-', '+']).collect();
        let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_revision = version.len() >= 40 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_revision || (parts.len() >= 3 && parts.iter().take(3).all(is_number))
    })
}
