//! [`EventEmitter`]: events that no machine derives, about the process and of an answer as it streams in
//! ([`AnswerStream`]). They are in no log; events that follow from facts are the
//! [`Recorder`](super::recorder::Recorder)'s.

use std::sync::Arc;

use crate::event::{Event, EventBody, EventSink, SCHEMA_VERSION};
use crate::expert::ExpertKey;
use crate::fact::{Clock, IdGenerator};
use crate::generation::Delta;
use crate::id::{JobId, RunId};
use crate::redact::{Pieces, Redactor};

/// Emits events of one Run.
#[derive(Clone)]
pub struct EventEmitter {
    pub sink: Arc<dyn EventSink>,
    pub clock: Arc<dyn Clock>,
    pub job_id: JobId,
    pub run_id: RunId,
    pub expert: ExpertKey,
}

impl EventEmitter {
    /// Emits an event about the process, and returns its time.
    pub fn emit(&self, body: EventBody) -> u64 {
        self.emit_in(body, None)
    }

    fn emit_in(&self, body: EventBody, step: Option<u64>) -> u64 {
        let mut ids = IdGenerator::new(self.clock.stamp());
        let event = Event {
            body,
            id: ids.id(),
            timestamp: ids.at(),
            job_id: self.job_id.clone(),
            run_id: self.run_id.clone(),
            expert_key: step.map(|_| self.expert.clone()),
            step_number: step,
            sequence: None,
            schema_version: SCHEMA_VERSION,
        };
        self.sink.emit(&event, &[]);
        event.timestamp
    }

    /// Ends the text of an answer, given the events that follow from the answer: as the Run's result, or as something else.
    /// Called before those events are emitted. A result that was no text of the answer is emitted as well.
    pub fn conclude_text(&self, open: Option<OpenText>, events: &[Event]) {
        let result = events.iter().find_map(|event| match &event.body {
            EventBody::CompleteRun { text, .. } if !text.is_empty() => Some((event.step_number, text)),
            _ => None,
        });
        if let Some((step, text)) = result {
            self.emit_in(EventBody::StartStreamingRunResult, step);
            self.emit_in(EventBody::StreamRunResult { delta: text.clone() }, step);
            self.emit_in(EventBody::CompleteStreamingRunResult { text: text.clone() }, step);
        } else if let Some(OpenText { step, text, is_held }) = open {
            if is_held {
                self.emit_in(EventBody::StartStreamingText, Some(step));
            }
            self.emit_in(EventBody::CompleteStreamingText { text }, Some(step));
        }
    }

    /// The stream of one answer of the model in step `step`, without the secrets that `redactor` knows. Its text is held back
    /// if `is_held`: it may be refused, and nobody is to take it for the result before it was checked.
    pub fn answer<'a>(&'a self, step: u64, redactor: &'a Redactor, is_held: bool) -> AnswerStream<'a> {
        AnswerStream { emitter: self, redactor, step, is_held, reasoning: None, text: None }
    }
}

/// Emits the pieces of one answer: reasoning, then text, each with a beginning and an end.
pub struct AnswerStream<'a> {
    emitter: &'a EventEmitter,
    redactor: &'a Redactor,
    step: u64,
    is_held: bool,
    reasoning: Option<Strand>,
    text: Option<Strand>,
}

/// Text of an answer that was emitted, and may be the Run's result.
pub struct OpenText {
    step: u64,
    text: String,
    /// None of it was emitted.
    is_held: bool,
}

/// Reasoning or text that was emitted, and what is held back because it may be the beginning of a secret.
#[derive(Default)]
struct Strand {
    sent: String,
    pieces: Pieces,
}

impl AnswerStream<'_> {
    /// Emits the reasoning or text in `delta`.
    pub fn delta(&mut self, delta: &Delta) {
        match delta {
            Delta::Thinking { text, .. } if !text.is_empty() => {
                if self.reasoning.is_none() {
                    self.emit(EventBody::StartStreamingReasoning);
                }
                let strand = self.reasoning.get_or_insert_default();
                let delta = strand.pieces.push(self.redactor, text);
                strand.sent.push_str(&delta);
                self.emit_reasoning(delta);
            }
            Delta::Text { text, .. } if !text.is_empty() => {
                self.end_reasoning();
                if self.text.is_none() && !self.is_held {
                    self.emit(EventBody::StartStreamingText);
                }
                let strand = self.text.get_or_insert_default();
                let delta = strand.pieces.push(self.redactor, text);
                strand.sent.push_str(&delta);
                self.emit_text(delta);
            }
            _ => {}
        }
    }

    /// Ends what was begun, also when the answer broke off. The text stays open until the machine has decided what the
    /// answer is.
    pub fn end(mut self) -> Option<OpenText> {
        self.end_reasoning();
        let strand = self.text.take()?;
        let rest = strand.pieces.finish(self.redactor);
        let text = strand.sent + &rest;
        self.emit_text(rest);
        Some(OpenText { step: self.step, text, is_held: self.is_held })
    }

    fn end_reasoning(&mut self) {
        if let Some(strand) = self.reasoning.take() {
            let rest = strand.pieces.finish(self.redactor);
            let text = strand.sent + &rest;
            self.emit_reasoning(rest);
            self.emit(EventBody::CompleteStreamingReasoning { text });
        }
    }

    fn emit_reasoning(&self, delta: String) {
        if !delta.is_empty() {
            self.emit(EventBody::StreamReasoning { delta });
        }
    }

    fn emit_text(&self, delta: String) {
        if !delta.is_empty() && !self.is_held {
            self.emit(EventBody::StreamText { delta });
        }
    }

    fn emit(&self, body: EventBody) {
        self.emitter.emit_in(body, Some(self.step));
    }
}
