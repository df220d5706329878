//! [`Chain`]: the digests that tie each line of a log to all lines before it. `log` makes one as it writes, `log_reader`
//! checks it as it reads; a checkpoint refers to a log by a [`LogPosition`].
//!
//! A fact's line ends in `,"chain":"…"}` and a newline, with 64 lower-case hexadecimal digits: SHA-256 of the digest
//! before it, as its 64 digits, and of the line's bytes before `,"chain":`. The digest before the first such line is
//! SHA-256 of all bytes before that line. In a new log this is the header; in one that a version without chains began
//! (header version 1), also the facts which that version wrote. So the digest at a point of a log can be taken from the
//! end of the line there, and everything can be checked with the raw bytes alone, whatever the order of keys.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Between a fact's own keys and the digest.
const KEY: &[u8] = b",\"chain\":\"";
/// Behind the digest.
const END: &[u8] = b"\"}\n";
/// The digits of a digest.
const DIGITS: usize = 64;
/// The bytes of a line from its chain on.
const SEAL: usize = KEY.len() + DIGITS + END.len();

/// A point in a log, and the digest of everything before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LogPosition {
    /// Facts before this point.
    pub facts: u64,
    /// Bytes before this point, the header line included.
    pub bytes: u64,
    /// The chain's digest at this point. (Versions without chains wrote SHA-256 of all bytes before it, as `sha256`:
    /// in a log without chained lines that is the same.)
    #[serde(alias = "sha256")]
    pub chain: String,
}

/// The chain of a log up to some line, with the counts of what is before it.
#[derive(Debug, Clone)]
pub struct Chain {
    facts: u64,
    bytes: u64,
    last: Last,
}

/// The digest so far.
#[derive(Debug, Clone)]
enum Last {
    /// No line was chained yet: of all bytes.
    Unchained(Sha256),
    /// Of the last line.
    Line(LineDigest),
}

/// A digest as its digits.
type LineDigest = [u8; DIGITS];

/// The fault of a line that does not continue the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainFault {
    /// It has no digest.
    Missing,
    /// Its digest is that of another line, or of other lines before it.
    Wrong,
}

impl Default for Chain {
    fn default() -> Self {
        Self { facts: 0, bytes: 0, last: Last::Unchained(Sha256::new()) }
    }
}

impl Chain {
    /// Facts so far.
    pub fn facts(&self) -> u64 {
        self.facts
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The point that it has come to.
    pub fn position(&self) -> LogPosition {
        let digest = self.digest();
        LogPosition {
            facts: self.facts,
            bytes: self.bytes,
            chain: digest.iter().map(|digit| char::from(*digit)).collect(),
        }
    }

    /// Takes the header in, or another line of a version without chains.
    pub fn add_unchained(&mut self, line: &[u8]) {
        if let Last::Unchained(digest) = &mut self.last {
            digest.update(line);
        }
        self.bytes = self.bytes.saturating_add(length(line));
    }

    /// Ends a fact's JSON object with its digest and a newline. The line is taken in once it is written, by
    /// [`Chain::add_sealed`].
    pub fn seal(&self, object: &mut Vec<u8>) {
        object.pop();
        let digest = digest_of(&self.digest(), object);
        object.extend_from_slice(KEY);
        object.extend_from_slice(&digest);
        object.extend_from_slice(END);
    }

    /// Takes in a line that [`Chain::seal`] has ended.
    pub fn add_sealed(&mut self, line: &[u8]) {
        if let Some((_, digest)) = split(line) {
            self.last = Last::Line(digest);
        }
        self.count(line);
    }

    /// Takes in a fact's line that was read. `may_be_unchained`: the log was begun by a version without chains.
    ///
    /// # Errors
    /// It does not continue the chain.
    pub fn add(&mut self, line: &[u8], may_be_unchained: bool) -> Result<(), ChainFault> {
        match (split(line), &mut self.last) {
            (Some((body, digest)), _) => {
                if digest_of(&self.digest(), body) != digest {
                    return Err(ChainFault::Wrong);
                }
                self.last = Last::Line(digest);
            }
            (None, Last::Unchained(digest)) if may_be_unchained => digest.update(line),
            (None, _) => return Err(ChainFault::Missing),
        }
        self.count(line);
        Ok(())
    }

    fn count(&mut self, line: &[u8]) {
        self.bytes = self.bytes.saturating_add(length(line));
        self.facts = self.facts.saturating_add(1);
    }

    fn digest(&self) -> LineDigest {
        match &self.last {
            Last::Unchained(digest) => digits(digest.clone()),
            Last::Line(digest) => *digest,
        }
    }
}

fn length(line: &[u8]) -> u64 {
    u64::try_from(line.len()).unwrap_or(u64::MAX)
}

/// The digest at the end of a log, by its last bytes; `None` where the last line has none.
pub(super) fn last_digest(tail: &[u8]) -> Option<String> {
    let (_, digest) = split(tail)?;
    Some(digest.iter().map(|digit| char::from(*digit)).collect())
}

/// The number of bytes that [`last_digest`] needs.
pub(super) const TAIL: usize = SEAL;

/// Returns whether `rest` is what a fact's line ends in, behind the fact's own keys: what may be its digest, or, in a log
/// without chains, nothing more.
pub(super) fn is_end(rest: &[u8]) -> bool {
    rest == b"}\n" || split(rest).is_some_and(|(body, _)| body.is_empty())
}

/// A line's bytes before its chain, and its digest; `None` when it has no chain.
fn split(line: &[u8]) -> Option<(&[u8], LineDigest)> {
    let (body, seal) = line.split_at_checked(line.len().checked_sub(SEAL)?)?;
    let digest = seal.strip_prefix(KEY)?.strip_suffix(END)?;
    Some((body, digest.try_into().ok()?))
}

fn digest_of(before: &LineDigest, body: &[u8]) -> LineDigest {
    digits(Sha256::new().chain_update(before).chain_update(body))
}

fn digits(digest: Sha256) -> LineDigest {
    const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| HEXADECIMAL.get(usize::from(value)).copied().unwrap_or_default();
    let mut digits = [0; DIGITS];
    // Not as text: a line of a log must not cost an allocation.
    for (pair, byte) in digits.chunks_exact_mut(2).zip(digest.finalize()) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(chain: &mut Chain, object: &str) -> Vec<u8> {
        let mut line = object.as_bytes().to_vec();
        chain.seal(&mut line);
        chain.add_sealed(&line);
        line
    }

    #[test]
    fn a_line_is_tied_to_the_digits_before_it() {
        let mut chain = Chain::default();
        chain.add_unchained(b"{}\n");
        // printf '{}\n' | sha256sum
        let header = "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356";
        assert_eq!(chain.position(), LogPosition { facts: 0, bytes: 3, chain: header.to_owned() });
        let line = sealed(&mut chain, r#"{"at":1}"#);
        // printf '%s{"at":1' ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356 | sha256sum
        let digest = "1c988af696acbd1d75ea5d56aa358eff18b9216ad29899ebed6cd0d861b05b9d";
        assert_eq!(String::from_utf8(line).unwrap(), format!("{{\"at\":1,\"chain\":\"{digest}\"}}\n"));
        assert_eq!(chain.position(), LogPosition { facts: 1, bytes: 87, chain: digest.to_owned() });
    }

    #[test]
    fn a_changed_moved_or_missing_line_breaks_the_chain() {
        let mut chain = Chain::default();
        let lines: Vec<Vec<u8>> = (1..4).map(|at| sealed(&mut chain, &format!("{{\"at\":{at}}}"))).collect();
        let [one, two, three] = &lines[..] else { panic!("{lines:?}") };
        let read = |lines: &[&Vec<u8>]| {
            let mut chain = Chain::default();
            lines.iter().try_for_each(|line| chain.add(line, false)).map(|()| chain.position())
        };
        assert_eq!(read(&[one, two, three]), Ok(chain.position()));
        let changed = String::from_utf8(two.clone()).unwrap().replacen('2', "3", 1).into_bytes();
        for lines in [&[one, &changed][..], &[one, three], &[two], &[one, one]] {
            assert_eq!(read(lines), Err(ChainFault::Wrong), "{lines:?}");
        }
        assert_eq!(read(&[one, &b"{\"at\":2}\n".to_vec()]), Err(ChainFault::Missing));
    }

    #[test]
    fn a_log_that_was_begun_without_a_chain_goes_on_with_one() {
        let (mut chain, mut whole) = (Chain::default(), Sha256::new());
        for line in [&b"{}\n"[..], b"{\"at\":1}\n"] {
            whole.update(line);
            chain.add(line, true).unwrap();
        }
        assert_eq!(chain.position().chain.as_bytes(), digits(whole));
        let mut reader = chain.clone();
        let line = sealed(&mut chain, "{\"at\":2}");
        reader.add(&line, true).unwrap();
        assert_eq!(reader.position(), chain.position());
        assert_eq!(reader.add(b"{\"at\":3}\n", true), Err(ChainFault::Missing), "once chained, always chained");
    }

    #[test]
    fn a_position_of_an_older_version_is_one() {
        let old = serde_json::json!({"facts": 1, "bytes": 2, "sha256": "ab"});
        let position = LogPosition { facts: 1, bytes: 2, chain: "ab".to_owned() };
        assert_eq!(serde_json::from_value::<LogPosition>(old).unwrap(), position);
    }
}
