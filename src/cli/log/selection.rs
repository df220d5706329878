//! [`Chooser`]: selects the events to show: those that match, a page of them, and their context.

use std::collections::VecDeque;

use perstack::event::Detail;
use perstack::runtime::history::LoggedEvent;

use serde_json::Value;

use super::expression::Expression;
use super::step_filter::StepFilter;

/// The conditions that an event must meet, all of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Criteria {
    pub step: Option<StepFilter>,
    pub kind: Option<String>,
    pub groups: Vec<EventGroup>,
    pub expression: Option<Expression>,
    /// A step ends with it.
    pub ends_step: bool,
    /// It happened then or later; milliseconds since the epoch.
    pub since: Option<u64>,
    pub word: Option<Word>,
}

/// A word that is looked for, in large and small letters alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word(String);

impl Word {
    /// Looks for this text.
    pub fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    /// Returns true if a text holds the word.
    pub fn is_in(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.0)
    }

    /// Returns true if any text of an event holds the word: of its messages, calls, results, error.
    pub fn is_in_event(&self, event: &LoggedEvent<'_>) -> bool {
        event.to_outline().is_ok_and(|json| json.iter().any(|(key, value)| self.is_in_value(key, value)))
    }

    fn is_in_value(&self, key: &str, value: &Value) -> bool {
        match value {
            // Ids are not what a person looks for, and their letters are found everywhere.
            Value::String(text) => !key.ends_with("id") && !key.ends_with("Id") && self.is_in(text),
            Value::Array(all) => all.iter().any(|value| self.is_in_value(key, value)),
            Value::Object(fields) => fields.iter().any(|(key, value)| self.is_in_value(key, value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
}

/// Types of event that belong together, as the original has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventGroup {
    Errors,
    Tools,
    Delegations,
}

impl EventGroup {
    /// Returns true if events of a type belong to the group.
    pub fn has(self, kind: &str) -> bool {
        match self {
            Self::Errors => matches!(kind, "stopRunByError" | "stopRunByVerification" | "retry" | "fallBack"),
            Self::Tools => {
                matches!(kind, "callTools" | "decideToolCalls" | "resolveToolResults" | "callInteractiveTool")
            }
            Self::Delegations => matches!(kind, "callDelegate" | "stopRunByDelegate"),
        }
    }
}

impl Criteria {
    /// Returns true if an event meets all conditions.
    pub fn fit(&self, event: &LoggedEvent<'_>) -> bool {
        let kind = event.type_name();
        self.step.is_none_or(|filter| filter.fits(event.step_number()))
            && self.kind.as_deref().is_none_or(|wanted| wanted == kind)
            && self.groups.iter().all(|group| group.has(kind))
            && (!self.ends_step || event.ends_step())
            && self.since.is_none_or(|since| event.timestamp() >= since)
            && self.word.as_ref().is_none_or(|word| word.is_in_event(event))
            && self
                .expression
                .as_ref()
                .is_none_or(|expression| event.to_json(Detail::New).is_ok_and(|json| expression.fits(&json)))
    }
}

/// The page of the matching events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// `None`: all.
    pub take: Option<u64>,
    /// The number of matches skipped first.
    pub offset: u64,
    /// The number of events shown before and after each match.
    pub context: usize,
}

impl Range {
    /// The number of `count` matches that are on the page.
    pub fn shown(self, count: u64) -> u64 {
        let left = count.saturating_sub(self.offset);
        self.take.map_or(left, |take| take.min(left))
    }

    /// The page with the last `number` of `count` matches.
    #[must_use]
    pub fn last(self, number: u64, count: u64) -> Self {
        Self { take: Some(number), offset: count.saturating_sub(number), ..self }
    }

    /// The things of a list that are on the page.
    pub fn slice<T>(self, all: &[T]) -> &[T] {
        let from = usize::try_from(self.offset).unwrap_or(usize::MAX).min(all.len());
        let rest = all.get(from..).unwrap_or_default();
        let take = self.take.map_or(rest.len(), |take| usize::try_from(take).unwrap_or(usize::MAX));
        rest.get(..take.min(rest.len())).unwrap_or_default()
    }
}

/// Chooses while events go by. What is shown of each is made by the caller, and only when it may be shown.
pub struct Chooser<'a, T> {
    criteria: &'a Criteria,
    range: Range,
    /// Events so far that fit.
    matched: u64,
    /// Events that are still shown because one before them was.
    after: usize,
    /// The latest that were not shown, for the next one that is.
    held: VecDeque<T>,
}

impl<'a, T> Chooser<'a, T> {
    /// Nothing has gone by.
    pub fn new(criteria: &'a Criteria, range: Range) -> Self {
        Self { criteria, range, matched: 0, after: 0, held: VecDeque::new() }
    }

    /// Takes the next event; hands those to `show` that are to be shown now.
    ///
    /// # Errors
    /// The error of `show`.
    pub fn take<E>(
        &mut self,
        event: &LoggedEvent<'_>,
        make: impl FnOnce(&LoggedEvent<'_>) -> T,
        show: &mut dyn FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        let fits = self.criteria.fit(event);
        self.decide(fits, || make(event), show)
    }

    fn decide<E>(
        &mut self,
        fits: bool,
        make: impl FnOnce() -> T,
        show: &mut dyn FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        let is_shown = fits && self.is_on_page();
        self.matched += u64::from(fits);
        if is_shown {
            self.held.drain(..).try_for_each(&mut *show)?;
            self.after = self.range.context;
            return show(make());
        }
        if self.after > 0 {
            self.after -= 1;
            return show(make());
        }
        if self.range.context > 0 && !self.is_full() {
            if self.held.len() == self.range.context {
                self.held.pop_front();
            }
            self.held.push_back(make());
        }
        Ok(())
    }

    /// Counts events that fit and are not on the page.
    pub fn pass(&mut self, events: u64) {
        self.matched = self.matched.saturating_add(events);
    }

    fn is_on_page(&self) -> bool {
        self.matched >= self.range.offset && !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.range.take.is_some_and(|take| self.matched >= self.range.offset.saturating_add(take))
    }

    /// Returns true if nothing further will be shown.
    pub fn is_done(&self) -> bool {
        self.is_full() && self.after == 0
    }

    /// Events so far that fit.
    pub fn matched(&self) -> u64 {
        self.matched
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// The numbers from 0 to 19 that are shown when these match.
    fn shown(fitting: &[u64], range: Range) -> (Vec<u64>, u64) {
        let criteria = Criteria::default();
        let mut chooser = Chooser::new(&criteria, range);
        let mut shown = Vec::new();
        for number in 0..20 {
            let mut show = |number| {
                shown.push(number);
                Ok::<(), Infallible>(())
            };
            chooser.decide(fitting.contains(&number), || number, &mut show).unwrap();
        }
        (shown, chooser.matched())
    }

    const ALL: Range = Range { take: None, offset: 0, context: 0 };

    #[test]
    fn a_page_is_cut_out_of_what_fits() {
        let fitting = [1, 3, 5, 7, 9];
        assert_eq!(shown(&fitting, ALL), (vec![1, 3, 5, 7, 9], 5));
        assert_eq!(shown(&fitting, Range { take: Some(2), offset: 1, ..ALL }), (vec![3, 5], 5));
        assert_eq!(shown(&fitting, Range { take: Some(9), offset: 4, ..ALL }), (vec![9], 5));
        assert_eq!(shown(&fitting, Range { offset: 5, ..ALL }), (vec![], 5));
        for (take, offset, expected) in [(None, 0, 5), (Some(2), 1, 2), (Some(9), 4, 1), (None, 7, 0)] {
            assert_eq!(Range { take, offset, context: 0 }.shown(5), expected);
        }
    }

    #[test]
    fn context_is_of_all_events_and_shown_once() {
        let context = Range { context: 2, ..ALL };
        assert_eq!(shown(&[5], context).0, [3, 4, 5, 6, 7]);
        assert_eq!(shown(&[5, 7], context).0, [3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(shown(&[0, 10, 19], context).0, [0, 1, 2, 8, 9, 10, 11, 12, 17, 18, 19]);
    }

    #[test]
    fn what_fits_but_is_not_on_the_page_is_context_like_any_other() {
        let range = Range { take: Some(1), offset: 1, context: 1 };
        assert_eq!(shown(&[4, 5, 6, 12], range), (vec![4, 5, 6], 4));
    }

    #[test]
    fn nothing_is_read_for_a_page_that_is_full() {
        let criteria = Criteria::default();
        let mut chooser = Chooser::new(&criteria, Range { take: Some(1), offset: 0, context: 1 });
        let mut show = |_: u64| Ok::<(), Infallible>(());
        chooser.decide(true, || 1, &mut show).unwrap();
        assert!(!chooser.is_done(), "one more as context");
        chooser.decide(false, || 2, &mut show).unwrap();
        assert!(chooser.is_done());
    }

    #[test]
    fn groups_are_the_originals() {
        let members = |group: EventGroup| {
            let types = perstack::event::TYPES.iter().copied().chain(["callInteractiveTool", "callDelegate"]);
            types.filter(|kind| group.has(kind)).collect::<Vec<_>>()
        };
        assert_eq!(members(EventGroup::Errors), ["retry", "fallBack", "stopRunByError", "stopRunByVerification"]);
        assert_eq!(
            members(EventGroup::Tools),
            ["callTools", "decideToolCalls", "resolveToolResults", "callInteractiveTool"]
        );
        assert_eq!(members(EventGroup::Delegations), ["stopRunByDelegate", "callDelegate"]);
    }

    #[test]
    fn a_word_is_found_in_any_text_but_ids() {
        let word = Word::new("Owl");
        let found = |value: Value| word.is_in_value("", &value);
        assert!(found(serde_json::json!({"messages": [{"id": "x", "text": "three OWLS"}]})));
        assert!(!found(serde_json::json!({"id": "owl", "runId": "owl", "owl": 1, "text": "bees"})));
    }

    #[test]
    fn the_last_of_a_list_are_a_page() {
        let all = Range { take: None, offset: 0, context: 1 };
        assert_eq!(all.last(2, 5), Range { take: Some(2), offset: 3, context: 1 });
        assert_eq!(all.last(9, 5), Range { take: Some(9), offset: 0, context: 1 });
    }

    #[test]
    fn lists_have_pages_too() {
        let all = [1, 2, 3, 4];
        assert_eq!(Range { take: Some(2), offset: 1, context: 0 }.slice(&all), [2, 3]);
        assert_eq!(Range { take: None, offset: 9, context: 0 }.slice(&all), [0; 0]);
    }
}
