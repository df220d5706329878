//! [`Tree`]: the active Runs of a job, each delegate below the Run that called it.

use indexmap::IndexMap;
use perstack::checkpoint::{CheckpointHead, DelegateTo};
use perstack::cost::Spend;
use perstack::id::RunId;
use perstack::usage::Usage;

use super::run_view::{Awaited, RunView, Waiting};
use super::text::visible;

/// The active Runs, each before its delegates.
#[derive(Debug, Default)]
pub struct Tree {
    runs: IndexMap<RunId, RunView>,
}

impl Tree {
    /// The active Runs, from the top.
    pub fn ids(&self) -> impl Iterator<Item = &RunId> {
        self.runs.keys()
    }

    /// The number of active Runs.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// A Run.
    pub fn get(&self, id: &RunId) -> Option<&RunView> {
        self.runs.get(id)
    }

    /// A Run, to be changed.
    pub fn get_mut(&mut self, id: &RunId) -> Option<&mut RunView> {
        self.runs.get_mut(id)
    }

    /// The number of Runs that wait for this one. Bounded by their number, so that ids that go in a circle end too.
    pub fn depth(&self, id: &RunId) -> usize {
        let parent_of = |id: &RunId| self.runs.get(id).and_then(|run| run.parent.as_ref());
        std::iter::successors(parent_of(id), |parent| parent_of(parent)).take(self.runs.len()).count()
    }

    /// The usage of a Run, with that of its delegates.
    pub fn used(&self, id: &RunId) -> (Usage, Spend) {
        let Some(run) = self.runs.get(id) else { return (Usage::default(), Spend::default()) };
        let is_below = |other: &RunId| {
            let parent_of = |id: &RunId| self.runs.get(id).and_then(|run| run.parent.as_ref());
            std::iter::successors(parent_of(other), |parent| parent_of(parent)).take(self.runs.len()).any(|up| up == id)
        };
        let delegates = self.runs.iter().filter(|(other, _)| *other != id && is_below(other)).map(|(_, run)| run);
        delegates.fold((run.usage, run.spend), |(usage, spend), run| (usage.plus(run.usage), spend.plus(run.spend)))
    }

    /// Adds a Run of `expert` that gets ready. Its caller is only known when it begins, so until then it is shown below
    /// a Run that waits for such an expert, or beside the one that it seems to continue.
    pub fn announce(&mut self, id: &RunId, expert: &str) -> &mut RunView {
        let expert = visible(expert);
        if !self.runs.contains_key(id) {
            let run = self.guess(&expert).unwrap_or_default();
            self.runs.insert(id.clone(), run);
            self.move_below_parent(id);
        }
        let run = self.runs.entry(id.clone()).or_default();
        if run.label.is_empty() {
            run.label.clone_from(&expert);
        }
        run.expert = expert;
        run
    }

    fn guess(&mut self, expert: &str) -> Option<RunView> {
        for (id, run) in &mut self.runs {
            let Some(waiting) = &mut run.waiting else { continue };
            if let Some(awaited) = waiting.awaited.iter_mut().find(|a| !a.has_begun && a.expert == expert) {
                awaited.has_begun = true;
                return Some(RunView::answering(&awaited.label, Some(id), Some(&awaited.call)));
            }
        }
        let continued = |run: &&RunView| {
            run.expert == expert && run.waiting.as_ref().is_some_and(|waiting| waiting.awaited.is_empty())
        };
        let continued = self.runs.values().find(continued)?;
        Some(RunView::answering(&continued.label, continued.parent.as_ref(), continued.call.as_ref()))
    }

    /// Returns true if a Run with this state answers a Run that waits for it, or goes on as one that waited.
    pub fn is_awaited(&self, head: &CheckpointHead) -> bool {
        let by = head.delegated_by.as_ref();
        let is_asked = by
            .and_then(|by| Some((by, self.runs.get(&by.run_id)?.waiting.as_ref()?)))
            .is_some_and(|(by, waiting)| waiting.awaited.iter().any(|awaited| awaited.call == by.tool_call_id));
        let expert = visible(&head.expert.name);
        let goes_on = |run: &RunView| {
            run.waiting.is_some() && run.expert == expert && run.call.as_ref() == by.map(|by| &by.tool_call_id)
        };
        is_asked || self.runs.values().any(goes_on)
    }

    /// A Run begins or goes on. One that waited for its delegates may go on as a new Run, which then takes its place.
    pub fn begin(&mut self, id: &RunId, head: &CheckpointHead) -> &mut RunView {
        let expert = visible(&head.expert.name);
        let (parent, call) = match &head.delegated_by {
            Some(by) => (Some(by.run_id.clone()), Some(by.tool_call_id.clone())),
            None => (None, None),
        };
        let label = self.awaited(parent.as_ref(), call.as_ref()).map(|awaited| {
            awaited.has_begun = true;
            awaited.label.clone()
        });
        let goes_on_itself = self.runs.get(id).is_some_and(|run| run.waiting.is_some());
        let predecessor = self
            .runs
            .iter()
            .position(|(_, run)| {
                run.waiting.is_some() && run.expert == expert && run.parent == parent && run.call == call
            })
            .filter(|_| !goes_on_itself);
        self.runs.entry(id.clone()).or_default();
        let at = self.runs.get_index_of(id).unwrap_or_default();
        let is_placed = predecessor.is_some();
        if let Some(place) = predecessor {
            if place < at {
                self.runs.move_index(at, place);
            }
            let over = if place < at { place + 1 } else { place };
            if let Some((waited, _)) = self.runs.shift_remove_index(over) {
                // A Run that got ready and failed to begin has no event of its end.
                self.runs.retain(|other, run| other == id || run.parent.as_ref() != Some(&waited));
            }
        }
        let run = self.runs.entry(id.clone()).or_default();
        run.label = label.unwrap_or_else(|| expert.clone());
        run.expert = expert;
        run.parent = parent;
        run.call = call;
        run.waiting = None;
        run.activity.end();
        run.take(head);
        if !is_placed {
            self.move_below_parent(id);
        }
        self.runs.entry(id.clone()).or_default()
    }

    /// A Run stops until its delegates have answered.
    pub fn wait(&mut self, id: &RunId, delegates: &[DelegateTo]) {
        let names: Vec<String> = delegates.iter().map(|to| visible(&to.expert.name)).collect();
        let awaited = delegates.iter().zip(&names).enumerate().map(|(at, (to, name))| {
            let namesakes = names.iter().filter(|other| *other == name).count();
            let number = names.iter().take(at + 1).filter(|other| *other == name).count();
            Awaited {
                call: to.tool_call_id.clone(),
                expert: name.clone(),
                label: if namesakes > 1 { format!("{name} #{number}") } else { name.clone() },
                has_begun: false,
            }
        });
        let waiting = Waiting { delegates: names.len(), awaited: awaited.collect() };
        if let Some(run) = self.runs.get_mut(id) {
            run.waiting = Some(waiting);
        }
    }

    /// Removes a Run that has ended.
    pub fn end(&mut self, id: &RunId) {
        let Some(run) = self.runs.shift_remove(id) else { return };
        let Some(parent) = run.parent.and_then(|parent| self.runs.get_mut(&parent)) else { return };
        // Until the parent goes on, whose own account then has it.
        parent.usage = parent.usage.plus(run.usage);
        parent.spend = parent.spend.plus(run.spend);
        if let Some(waiting) = &mut parent.waiting {
            waiting.awaited.retain(|awaited| Some(&awaited.call) != run.call.as_ref());
        }
    }

    fn awaited(&mut self, parent: Option<&RunId>, call: Option<&String>) -> Option<&mut Awaited> {
        let waiting = self.runs.get_mut(parent?)?.waiting.as_mut()?;
        waiting.awaited.iter_mut().find(|awaited| Some(&awaited.call) == call)
    }

    /// The place of a Run among the delegates that its parent waits for, by the order of the calls.
    fn rank(&self, run: &RunView) -> Option<usize> {
        let waiting = self.runs.get(run.parent.as_ref()?)?.waiting.as_ref()?;
        waiting.awaited.iter().position(|awaited| Some(&awaited.call) == run.call.as_ref())
    }

    /// Puts a delegate behind its parent and those of its other delegates that were called before it.
    fn move_below_parent(&mut self, id: &RunId) {
        let Some(from) = self.runs.get_index_of(id) else { return };
        let Some(parent) = self.runs.get(id).and_then(|run| run.parent.clone()) else { return };
        let Some(parent_at) = self.runs.get_index_of(&parent) else { return };
        let parent_depth = self.depth(&parent);
        let rank = self.runs.get(id).and_then(|run| self.rank(run));
        let is_later = |other: &RunId| {
            let other = self.runs.get(other).filter(|run| run.parent.as_ref() == Some(&parent));
            matches!((other.and_then(|run| self.rank(run)), rank), (Some(other), Some(own)) if other > own)
        };
        let family = self
            .runs
            .keys()
            .skip(parent_at + 1)
            .take_while(|other| *other != id && self.depth(other) > parent_depth && !is_later(other))
            .count();
        let to = parent_at + 1 + family;
        if to < from {
            self.runs.move_index(from, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use perstack::checkpoint::{CheckpointHead, RunFailure};
    use perstack::cost::Spend;
    use perstack::event::EventBody;
    use perstack::usage::Usage;

    use super::super::fixture::{awaiting, call, child, event, event_checkpoint, head, initialize, retry, step};
    use super::super::text::Paint;
    use super::super::view::{Verbosity, View};

    /// A job as it is watched: the lines that stay, and those of the active Runs.
    struct Watched(View, Vec<String>);

    impl Watched {
        fn new() -> Self {
            Self(View::new(Verbosity::Normal), Vec::new())
        }

        fn see(&mut self, run: &str, body: EventBody) {
            let notes = self.0.apply(&event(run, body), 0);
            self.1.extend(notes.iter().map(|note| note.line(Paint::plain(), usize::MAX)));
        }

        fn start(&mut self, head: &CheckpointHead) {
            let initial_checkpoint = event_checkpoint(head.clone());
            self.see(head.run_id.as_str(), EventBody::StartRun { initial_checkpoint, input_messages: Vec::new() });
        }

        fn resume(&mut self, head: CheckpointHead) {
            self.see(head.run_id.clone().as_str(), EventBody::ResumeFromStop { checkpoint: event_checkpoint(head) });
        }

        fn wait(&mut self, head: &CheckpointHead, delegates: &[(&str, &str)]) {
            let checkpoint = event_checkpoint(awaiting(head.clone(), delegates));
            let step = step(head.step_number, Vec::new());
            self.see(head.run_id.as_str(), EventBody::StopRunByDelegate { checkpoint, step });
        }

        fn complete(&mut self, head: &CheckpointHead) {
            let step = step(head.step_number, Vec::new());
            let usage = Usage { total_tokens: 1_200, ..Usage::default() };
            let checkpoint = event_checkpoint(CheckpointHead { usage, ..head.clone() });
            self.see(
                head.run_id.as_str(),
                EventBody::CompleteRun { checkpoint, step, text: "x".to_owned(), usage, spend: Spend::default() },
            );
        }

        fn fail(&mut self, head: &CheckpointHead, message: &str) {
            let (name, message) = ("E".to_owned(), message.to_owned());
            let error = RunFailure { name, message, status_code: None, is_retryable: false };
            let step = step(head.step_number, Vec::new());
            self.see(
                head.run_id.as_str(),
                EventBody::StopRunByError { checkpoint: event_checkpoint(head.clone()), step, error },
            );
        }

        fn lines(&self) -> Vec<String> {
            self.0.active().filter_map(|id| self.0.line(id, 0, usize::MAX)).collect()
        }
    }

    #[test]
    fn three_delegates_at_once_two_deep_are_a_tree() {
        let mut job = Watched::new();
        let top = head("r1", 1);
        job.see("r1", initialize("researcher"));
        job.start(&top);
        job.wait(&top, &[("a", "reader"), ("b", "writer"), ("c", "checker")]);
        let reader = child("r2", 2, "reader", ("r1", "a"));
        let writer = child("r3", 2, "writer", ("r1", "b"));
        let checker = child("r4", 2, "checker", ("r1", "c"));
        for (run, name) in [("r4", "checker"), ("r2", "reader"), ("r3", "writer")] {
            job.see(run, initialize(name));
        }
        assert_eq!(
            job.lines(),
            [
                "researcher  step 1/100  waits for 3 of 3: reader, writer, checker",
                "  reader  getting ready",
                "  writer  getting ready",
                "  checker  getting ready",
            ],
            "a delegate is below its parent before it begins"
        );
        for delegate in [&checker, &reader, &writer] {
            job.start(delegate);
        }
        // The reader asks two more; the writer's provider asks it to wait; the checker fails.
        job.wait(&reader, &[("d", "scanner"), ("e", "scanner")]);
        let first = child("r5", 3, "scanner", ("r2", "d"));
        let second = child("r6", 3, "scanner", ("r2", "e"));
        job.start(&second);
        job.start(&first);
        job.see("r3", retry("slow down", Some(3_200)));
        job.see("r6", EventBody::StartGeneration { messages: 2 });
        job.fail(&checker, "no key");
        assert_eq!(
            job.lines(),
            [
                "researcher  step 1/100  waits for 2 of 3: reader, writer",
                "  reader  step 2/100  waits for 2 of 2: scanner #1, scanner #2",
                "    scanner #1  step 3",
                "    scanner #2  step 3  asking the model",
                "  writer  step 2/100  retry 2 in 4 s",
            ]
        );
        job.complete(&second);
        job.complete(&first);
        assert_eq!(job.lines()[1], "  reader  step 2/100  has its delegates' answers  2.4k tokens");
        let reader_on = child("r7", 4, "reader", ("r1", "a"));
        job.see("r7", initialize("reader"));
        job.resume(reader_on.clone());
        assert_eq!(job.lines()[1..], ["  reader  step 4/100", "  writer  step 2/100  retry 2 in 4 s"]);
        job.complete(&reader_on);
        job.complete(&writer);
        job.resume(head("r8", 5));
        assert_eq!(job.lines(), ["researcher  step 5"]);
        assert_eq!(
            job.1,
            [
                "▸ researcher, at most 100 steps",
                "▸ step 1  delegated to reader  \"q\"",
                "▸ step 1  delegated to writer  \"q\"",
                "▸ step 1  delegated to checker  \"q\"",
                "  ▸ reader  step 2  delegated to scanner #1  \"q\"",
                "  ▸ reader  step 2  delegated to scanner #2  \"q\"",
                "  ↻ writer  retry 2 in 3.2 s: slow down",
                "  ✗ checker  stopped by error: no key",
                "    ✓ scanner #2  answered  1.2k tokens",
                "    ✓ scanner #1  answered  1.2k tokens",
                "  ✓ reader  answered  1.2k tokens",
                "  ✓ writer  answered  1.2k tokens",
            ]
        );
    }

    #[test]
    fn namesakes_that_wait_go_on_each_in_its_own_place() {
        let mut job = Watched::new();
        let top = head("r1", 1);
        job.start(&top);
        job.wait(&top, &[("a", "reader"), ("b", "reader")]);
        let (one, two) = (child("r2", 2, "reader", ("r1", "a")), child("r3", 2, "reader", ("r1", "b")));
        for reader in [&one, &two] {
            job.start(reader);
            job.wait(reader, &[("s", "scanner")]);
        }
        let scanner = child("r5", 3, "scanner", ("r3", "s"));
        job.start(&scanner);
        job.complete(&scanner);
        job.resume(child("r6", 4, "reader", ("r1", "b")));
        assert_eq!(
            job.lines()[1..],
            ["  reader #1  step 2  waits for scanner", "  reader #2  step 4"],
            "the second's work must not end the first's line"
        );
    }

    #[test]
    fn a_delegate_that_never_began_goes_with_its_parents_wait() {
        let mut job = Watched::new();
        let top = head("r1", 1);
        job.start(&top);
        job.wait(&top, &[("a", "reader")]);
        job.see("r2", initialize("reader"));
        assert_eq!(job.lines()[1], "  reader  getting ready");
        job.resume(head("r3", 2));
        assert_eq!(job.lines(), ["researcher  step 2"]);
    }

    #[test]
    fn the_coordinator_is_named_while_it_is_not_alone() {
        let mut job = Watched::new();
        let top = head("r1", 1);
        job.start(&top);
        job.see("r1", EventBody::RuntimeWarning { message: "one".to_owned() });
        job.wait(&top, &[("a", "reader")]);
        job.start(&child("r2", 2, "reader", ("r1", "a")));
        job.see("r1", EventBody::RuntimeWarning { message: "two".to_owned() });
        assert_eq!(job.1[1], "! one");
        assert_eq!(job.1[3], "! researcher  two");
    }

    #[test]
    fn a_delegate_is_shown_even_where_its_parent_is_not_shown() {
        let mut job = Watched::new();
        let orphan = child("r2", 3, "reader", ("r1", "a"));
        job.resume(orphan.clone());
        job.see(
            "r2",
            EventBody::CallTools {
                new_message: perstack::message::Message::ExpertMessage {
                    id: String::new(),
                    contents: Vec::new(),
                    cache: false,
                },
                tool_calls: vec![call("c1", "readTextFile", "path", "a.md")],
                usage: Usage::default(),
                spend: Spend::UNKNOWN,
            },
        );
        assert_eq!(job.lines(), ["  reader  step 3  readTextFile a.md"]);
        job.fail(&orphan, "no key");
        assert_eq!(job.1, ["  ▸ reader  goes on at step 3", "  ✗ reader  stopped by error: no key"]);
    }
}
