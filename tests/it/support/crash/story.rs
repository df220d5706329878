//! [`Story`]: the conversation of a Run that has completed, for comparison with that of a Run that nothing disturbed.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::Test;
use crate::support::storage::read_json;

use super::whole_json;

/// The beginning of a result that the runtime puts in the place of one it does not know.
const IN_DOUBT: &str = "interrupted: ";

/// A conversation without what differs between Runs of the same job.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    messages: Vec<Value>,
    /// The calls whose effect the runtime did not know, in order.
    pub in_doubt: Vec<String>,
}

impl Story {
    /// The conversation of the test's job, which has completed.
    #[track_caller]
    pub fn read(test: &Test) -> Self {
        Self::of(&test.storage().last_checkpoint())
    }

    /// The conversation of a job that has completed, from its last checkpoint.
    #[track_caller]
    pub fn of(checkpoint: &Path) -> Self {
        let last = read_json(checkpoint);
        assert_eq!(last["status"], "completed");
        Self::from_checkpoint(&last)
    }

    /// The conversations of all Runs that have completed, in an order that does not depend on time.
    #[track_caller]
    pub fn all(test: &Test) -> Vec<Self> {
        let checkpoints = test.storage().checkpoints().into_iter().filter_map(|file| whole_json(&file));
        let completed = checkpoints.filter(|checkpoint| checkpoint["status"] == "completed");
        let mut stories: Vec<Self> = completed.map(|checkpoint| Self::from_checkpoint(&checkpoint)).collect();
        stories.sort_by_key(|story| story.messages[0].to_string());
        stories
    }

    /// The calls in doubt of all these conversations.
    pub fn all_in_doubt(stories: &[Self]) -> Vec<&str> {
        stories.iter().flat_map(|story| &story.in_doubt).map(String::as_str).collect()
    }

    fn from_checkpoint(checkpoint: &Value) -> Self {
        let mut story = Self { messages: Vec::new(), in_doubt: Vec::new() };
        // The first message names the folder and the time.
        for message in checkpoint["messages"].as_array().unwrap().iter().skip(1) {
            let parts = message["contents"].as_array().unwrap().iter().map(|part| story.part(part)).collect::<Vec<_>>();
            story.messages.push(json!({"type": message["type"], "contents": parts}));
        }
        story
    }

    fn part(&mut self, part: &Value) -> Value {
        let mut part = part.clone();
        let object = part.as_object_mut().unwrap();
        object.remove("id");
        if object["type"] == "toolResultPart" {
            let texts: Vec<&str> =
                object["contents"].as_array().unwrap().iter().map(|part| part["text"].as_str().unwrap()).collect();
            let text = texts.join("\n");
            if text.starts_with(IN_DOUBT) {
                self.in_doubt.push(object["toolCallId"].as_str().unwrap().to_owned());
            }
            object.insert("contents".to_owned(), text.into());
        }
        part
    }

    /// Fails unless these are the expected conversations, but for the results that were in doubt here.
    #[track_caller]
    pub fn assert_all(stories: &[Self], expected: &[Self]) {
        assert_eq!(stories.len(), expected.len(), "conversations that have completed");
        for (story, expected) in stories.iter().zip(expected) {
            story.assert_is(expected);
        }
    }

    /// Fails unless the other story is the same, but for the results that were in doubt here.
    #[track_caller]
    pub fn assert_is(&self, other: &Self) {
        let (here, there) = (self.clone().without(&self.in_doubt), other.clone().without(&self.in_doubt));
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(here, there);
        }
        assert_eq!(here.len(), there.len());
    }

    /// The messages with the results of these calls left open.
    fn without(mut self, ids: &[String]) -> Vec<Value> {
        for message in &mut self.messages {
            for part in message["contents"].as_array_mut().unwrap() {
                let is_open = ids.iter().any(|id| part["toolCallId"] == id.as_str());
                if part["type"] == "toolResultPart" && is_open {
                    *part = json!({"type": "toolResultPart", "toolCallId": part["toolCallId"]});
                }
            }
        }
        self.messages
    }
}
