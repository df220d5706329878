//! The chain of digests in a log, made and checked as its documentation has it, apart from the product's own code.

use sha2::{Digest, Sha256};

/// The digest at the end of a log's text, each line of which continues the chain.
#[track_caller]
pub fn digest(text: &str) -> String {
    assert_eq!(chained(text), text, "the chain is broken");
    let last = text.lines().last().unwrap_or_default();
    split(last).map_or_else(|| sha256(&[text]), |(_, digest)| digest.to_owned())
}

/// The log's text with the digests that its lines should have, after some of them were changed, added or removed. The
/// first line is the header; what is no JSON object stays as it is.
pub fn chained(text: &str) -> String {
    let (header, facts) = text.split_once('\n').unwrap_or((text, ""));
    let mut chained = format!("{header}\n");
    let mut digest = sha256(&[&chained]);
    for line in facts.split_inclusive('\n') {
        let Some(object) = line.strip_suffix("}\n") else {
            chained.push_str(line);
            continue;
        };
        let body = split(line.trim_end()).map_or(object, |(body, _)| body);
        digest = sha256(&[&digest, body]);
        chained.extend([body, ",\"chain\":\"", &digest, "\"}\n"]);
    }
    chained
}

/// The log's text as the version before chains would have written it.
pub fn unchained(text: &str) -> String {
    let line = |line: &str| split(line).map_or_else(|| line.to_owned(), |(body, _)| format!("{body}}}")) + "\n";
    text.replacen("\"version\":2", "\"version\":1", 1).lines().map(line).collect()
}

/// A line's text before its chain, and its digest.
fn split(line: &str) -> Option<(&str, &str)> {
    let (body, digest) = line.strip_suffix("\"}")?.rsplit_once(",\"chain\":\"")?;
    (digest.len() == 64).then_some((body, digest))
}

/// SHA-256 of all parts, in hexadecimal.
pub fn sha256(parts: &[&str]) -> String {
    let digest = parts.iter().fold(Sha256::new(), Sha256::chain_update).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}
