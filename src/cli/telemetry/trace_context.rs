//! [`TraceParent`]: the span that a job is part of, as `TRACEPARENT` names it (W3C Trace Context), and [`Sampler`]: the
//! decision whether a trace is exported. `settings` reads both; `spans` obeys them.

use sha2::{Digest, Sha256};

use super::span::{SpanId, TraceId};

/// The span that started this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent {
    pub trace: TraceId,
    pub span: SpanId,
    pub is_sampled: bool,
}

impl TraceParent {
    /// Reads `00-TRACE-SPAN-FLAGS`; none where it is not of that form. Later versions may have more behind it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = bytes::<1>(version)?;
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let (trace, span, [flags]) = (bytes::<16>(trace)?, bytes::<8>(span)?, bytes::<1>(flags)?);
        let is_valid = trace != [0; 16] && span != [0; 8];
        is_valid.then_some(Self { trace: TraceId(trace), span: SpanId(span), is_sampled: flags & 1 == 1 })
    }
}

/// Bytes in lower-case hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() != 2 * N || !is_hex {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// The ids of one trace and its spans. They derive from a text that is unique, so that nothing here draws randomness.
#[derive(Debug)]
pub struct SpanIds {
    seed: String,
    made: u64,
}

impl SpanIds {
    /// Ids that derive from `seed`.
    pub fn new(seed: &str) -> Self {
        Self { seed: seed.to_owned(), made: 0 }
    }

    /// The trace's id, where no parent has given one.
    pub fn trace(&self) -> TraceId {
        let digest: [u8; 32] = Sha256::digest(format!("trace {}", self.seed)).into();
        let (id, _) = digest.split_first_chunk().unwrap_or((&[1; 16], &[]));
        TraceId(*id)
    }

    /// The next span's id.
    pub fn span(&mut self) -> SpanId {
        self.made = self.made.saturating_add(1);
        let digest: [u8; 32] = Sha256::digest(format!("span {} {}", self.made, self.seed)).into();
        let (id, _) = digest.split_first_chunk().unwrap_or((&[1; 8], &[]));
        SpanId(*id)
    }
}

/// The share of traces that is exported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// A trace that has a parent is exported if the parent is.
    pub follows_parent: bool,
    /// The share of the others: 0 to 1.
    pub share: f64,
}

impl Default for Sampler {
    /// `parentbased_always_on`, the specification's own.
    fn default() -> Self {
        Self { follows_parent: true, share: 1.0 }
    }
}

impl Sampler {
    /// Reads the names of `OTEL_TRACES_SAMPLER`, with `OTEL_TRACES_SAMPLER_ARG`; none for another name or a share that is
    /// none.
    pub fn parse(name: &str, argument: Option<&str>) -> Option<Self> {
        let (follows_parent, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let share = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => argument.map_or(Ok(1.0), str::parse).ok().filter(|share| (0.0..=1.0).contains(share))?,
            _ => return None,
        };
        Some(Self { follows_parent, share })
    }

    /// Returns whether this trace is exported. The share is taken of the ids, so that all parts of a trace agree.
    pub fn takes(&self, trace: TraceId, parent: Option<&TraceParent>) -> bool {
        if let Some(parent) = parent.filter(|_| self.follows_parent) {
            return parent.is_sampled;
        }
        let TraceId([.., a, b, c, d]) = trace;
        f64::from(u32::from_be_bytes([a, b, c, d])) < self.share * (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_or_is_none() {
        let parent = TraceParent::parse(PARENT).unwrap();
        assert_eq!(perstack::hex::digits(&parent.trace.0), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(perstack::hex::digits(&parent.span.0), "b7ad6b7169203331");
        assert!(parent.is_sampled);
        assert!(!TraceParent::parse(&PARENT.replace("-01", "-00")).unwrap().is_sampled);
        assert_eq!(TraceParent::parse(&PARENT.replace("00-0a", "01-0a").replace("-01", "-01-more")), Some(parent));
        for text in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c8031-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ids_are_unique_and_the_same_for_the_same_seed() {
        let mut ids = SpanIds::new("e1");
        let spans: Vec<SpanId> = (0..100).map(|_| ids.span()).collect();
        let unique: std::collections::HashSet<SpanId> = spans.iter().copied().collect();
        assert_eq!(unique.len(), 100);
        assert_eq!(SpanIds::new("e1").span(), spans[0]);
        assert_ne!(SpanIds::new("e2").span(), spans[0]);
        assert_eq!(SpanIds::new("e1").trace(), ids.trace());
        assert_ne!(SpanIds::new("e2").trace(), ids.trace());
    }

    #[test]
    fn a_sampler_follows_the_parent_or_takes_its_share() {
        let parent = TraceParent::parse(PARENT).unwrap();
        let unsampled = TraceParent { is_sampled: false, ..parent.clone() };
        let takes = |name, argument, parent: Option<&TraceParent>| {
            Sampler::parse(name, argument).unwrap().takes(TraceId([9; 16]), parent)
        };
        assert!(takes("always_on", None, Some(&unsampled)) && !takes("always_off", None, Some(&parent)));
        assert!(takes("parentbased_always_off", None, Some(&parent)));
        assert!(!takes("parentbased_always_on", None, Some(&unsampled)));
        assert!(takes("parentbased_always_on", None, None) && !takes("parentbased_always_off", None, None));
        assert!(takes("traceidratio", None, None) && !takes("traceidratio", Some("0"), None));
        assert_eq!(Sampler::parse("parentbased_always_on", None), Some(Sampler::default()));
        for (name, argument) in [("jaeger_remote", None), ("traceidratio", Some("2")), ("traceidratio", Some("half"))] {
            assert_eq!(Sampler::parse(name, argument), None, "{name} {argument:?}");
        }
        let sampler = Sampler::parse("traceidratio", Some("0.25")).unwrap();
        let count = (0..1000).filter(|n| sampler.takes(SpanIds::new(&n.to_string()).trace(), None)).count();
        assert!((150..350).contains(&count), "{count}");
    }
}
