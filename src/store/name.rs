//! [`named`] and [`short_id`]: ids as people write them. `find` resolves names with them, the runtime's history too; the
//! command line shows ids by [`short_id`].
//!
//! New ids begin with their time, so that those of one minute begin alike: a short form is the random end.

use std::collections::HashMap;

use super::StoreError;

/// Most candidates that a message lists.
const MAX_CANDIDATES: usize = 8;

/// Longest id that is shown whole: a person chose it.
const MAX_WHOLE: usize = 20;

/// Shortest end of an id that is shown for it: its first half would do for a storage of some thousand jobs.
const MIN_END: usize = 8;

/// Returns true if `text` is the beginning or the end of `id`.
pub fn is_part(text: &str, id: &str) -> bool {
    !text.is_empty() && (id.starts_with(text) || id.ends_with(text))
}

/// The one item whose id is `text`, or alone begins or ends with it; `None` when there is none.
///
/// # Errors
/// [`StoreError::AmbiguousName`] when `text` is part of several; `kind` is their kind, in the plural.
pub fn named<'a, T>(
    text: &str,
    kind: &'static str,
    all: impl Iterator<Item = (T, &'a str)>,
) -> Result<Option<T>, StoreError> {
    let mut found: Vec<(T, &str)> = Vec::new();
    for (item, id) in all {
        if id == text {
            return Ok(Some(item));
        }
        if is_part(text, id) {
            found.push((item, id));
        }
    }
    if found.len() < 2 {
        return Ok(found.pop().map(|(item, _)| item));
    }
    let candidates = candidates(found.iter().map(|(_, id)| (*id).to_owned()));
    Err(StoreError::AmbiguousName { what: kind, prefix: text.to_owned(), candidates })
}

/// The candidates that a message lists, and the number of the others.
pub(super) fn candidates(all: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let more = all.len().saturating_sub(MAX_CANDIDATES);
    let rest = (more > 0).then(|| format!("and {more} more"));
    all.take(MAX_CANDIDATES).chain(rest).collect()
}

/// A short form of `id` that [`named`] resolves to it among `all`: a chosen name itself, else the shortest end of eight
/// characters or more that is part of no other id.
pub fn short_id<'a>(id: &'a str, all: impl Iterator<Item = &'a str>) -> &'a str {
    if id.len() <= MAX_WHOLE {
        return id;
    }
    let others: Vec<&str> = all.filter(|other| *other != id).collect();
    let ends = (MIN_END..id.len()).filter_map(|length| id.get(id.len() - length..));
    // A word that begins with a hyphen is an option.
    let mut ends = ends.filter(|end| !end.starts_with('-'));
    let is_unique = |end: &&str| others.iter().all(|other| !is_part(end, other));
    ends.find(is_unique).unwrap_or(id)
}

/// The short forms of many ids among `all`, each as [`short_id`] has it.
pub struct ShortIds<'a> {
    all: Vec<&'a str>,
    /// The number of ids with this beginning or end of [`MIN_END`] characters; one with both counts once.
    parts: HashMap<&'a str, usize>,
}

impl<'a> ShortIds<'a> {
    /// The short forms among these ids.
    pub fn new(all: impl Iterator<Item = &'a str>) -> Self {
        let all: Vec<&str> = all.collect();
        let mut parts = HashMap::with_capacity(2 * all.len());
        for id in &all {
            let (first, last) = (id.get(..MIN_END), end_of(id));
            for part in first.into_iter().chain(last.filter(|last| first != Some(*last))) {
                *parts.entry(part).or_insert(0) += 1;
            }
        }
        Self { all, parts }
    }

    /// The short form of `id`, which is one of them.
    pub fn of<'b>(&'b self, id: &'b str) -> &'b str {
        match end_of(id) {
            Some(end) if id.len() > MAX_WHOLE && !end.starts_with('-') && self.parts.get(end) == Some(&1) => end,
            _ => short_id(id, self.all.iter().copied()),
        }
    }
}

fn end_of(id: &str) -> Option<&str> {
    id.get(id.len().checked_sub(MIN_END)?..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hint::ErrorHint as _;

    const JOBS: [&str; 4] = [
        "0192f0c4-7f3a-7cc1-8000-5d2f5c3b9a11",
        "0192f0c4-7f3a-7cc1-8000-aaaaac3b9a11",
        "0192f0c4-7f3b-7cc1-8000-5d2f5c3b0000",
        "nest",
    ];

    fn found(text: &str) -> Result<Option<&'static str>, String> {
        named(text, "jobs", JOBS.into_iter().map(|id| (id, id))).map_err(|error| error.with_hint())
    }

    #[test]
    fn a_unique_beginning_or_end_names_its_id() {
        assert_eq!(found("nest"), Ok(Some("nest")));
        assert_eq!(found("ne"), Ok(Some("nest")));
        assert_eq!(found("t"), Ok(Some("nest")));
        assert_eq!(found("5c3b0000"), Ok(Some(JOBS[2])));
        assert_eq!(found("0192f0c4-7f3b"), Ok(Some(JOBS[2])));
        assert_eq!(found("7cc1"), Ok(None), "the middle is no name");
        assert_eq!(found(""), Ok(None));
        let several = found("c3b9a11").unwrap_err();
        let expected = format!("\"c3b9a11\" fits several jobs: {}, {}; give more of the id", JOBS[0], JOBS[1]);
        assert_eq!(several, expected);
    }

    #[test]
    fn an_id_that_is_part_of_another_is_still_named_by_itself() {
        let ids = ["nest", "nest-2", "my-nest"];
        assert_eq!(named("nest", "jobs", ids.into_iter().map(|id| (id, id))).unwrap(), Some("nest"));
    }

    #[test]
    fn short_forms_are_unique_ends_and_lead_back() {
        let short = |id| short_id(id, JOBS.into_iter());
        assert_eq!(JOBS.map(short), ["5c3b9a11", "ac3b9a11", "5c3b0000", "nest"]);
        for id in JOBS {
            assert_eq!(found(short(id)), Ok(Some(id)));
        }
    }

    #[test]
    fn a_short_form_is_no_option_and_no_part_of_another_id() {
        let ids = [
            "0192f0c4-7f3a-7cc1-8000-aaaabbbbcccc",
            "0192f0c4-7f3b-7cc1-8000-bbbbbbbbcccc",
            "bbbbbcccc-and-more-of-it",
            "a-name-that-is-long-1234567",
        ];
        let short = |at: usize| short_id(ids[at], ids.into_iter());
        assert_eq!((short(0), short(1), short(3)), ("abbbbcccc", "bbbbbbcccc", "g-1234567"));
    }

    proptest! {
        #[test]
        fn many_short_forms_are_those_of_one_at_a_time(ids in prop::collection::btree_set("[ab-]{0,2}[ab]{7,13}[ab-]{8}", 0..8)) {
            let all = || ids.iter().map(String::as_str);
            let short = ShortIds::new(all());
            for id in all() {
                prop_assert_eq!(short.of(id), short_id(id, all()));
            }
        }
    }

    #[test]
    fn a_long_list_of_candidates_is_cut() {
        let ids: Vec<String> = (0..12).map(|n| format!("job-{n}")).collect();
        let error = named("job-", "jobs", ids.iter().map(|id| (id, id.as_str()))).unwrap_err().with_hint();
        assert!(error.ends_with("job-7, and 4 more; give more of the id"), "{error}");
    }
}
