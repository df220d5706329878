//! What a job's experts went through, without what differs between jobs that went the same way.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::Test;
use crate::support::storage::read_json;

/// How an answer of the runner begins that stands for a result nobody knows.
const IN_DOUBT: &str = "interrupted: ";

/// The conversations of all Runs that completed, by expert and query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Story {
    pub conversations: BTreeMap<String, Vec<Value>>,
    /// The calls whose effect the runner did not know.
    pub in_doubt: Vec<String>,
}

impl Story {
    /// The story of a job, from the checkpoints that its Runs completed with.
    #[track_caller]
    pub fn read(test: &Test) -> Self {
        let mut story = Self::default();
        for file in test.storage().checkpoints() {
            let checkpoint = read_json(&file);
            if checkpoint["status"] != "completed" {
                continue;
            }
            // The first message names the folder and the time.
            let messages = checkpoint["messages"].as_array().unwrap().iter().skip(1);
            let messages: Vec<Value> = messages.map(|message| story.message(message)).collect();
            let key = format!("{}: {}", checkpoint["expert"]["key"], messages[0]["contents"][0]["text"]);
            let twice = story.conversations.insert(key.clone(), messages);
            assert_eq!(twice, None, "{key} was answered twice");
        }
        story
    }

    fn message(&mut self, message: &Value) -> Value {
        let parts = message["contents"].as_array().unwrap().iter().map(|part| self.part(part)).collect::<Vec<_>>();
        json!({"type": message["type"], "contents": parts})
    }

    fn part(&mut self, part: &Value) -> Value {
        let mut part = part.clone();
        let object = part.as_object_mut().unwrap();
        object.remove("id");
        if object["type"] == "toolResultPart" {
            let texts = object["contents"].as_array().unwrap().iter().map(|part| part["text"].as_str().unwrap());
            let text = texts.collect::<Vec<_>>().join("\n");
            if text.starts_with(IN_DOUBT) {
                self.in_doubt.push(object["toolCallId"].as_str().unwrap().to_owned());
            }
            object.insert("contents".to_owned(), text.into());
        }
        part
    }

    /// Fails unless the other story is the same, but for the results that were in doubt here.
    #[track_caller]
    pub fn assert_is(&self, other: &Self) {
        let (here, there) = (self.clone().without(&self.in_doubt), other.clone().without(&self.in_doubt));
        assert_eq!(here.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>());
        for (key, messages) in &here {
            assert_eq!(messages, &there[key], "{key}");
        }
    }

    /// The conversations with the results of these calls left open.
    fn without(mut self, ids: &[String]) -> BTreeMap<String, Vec<Value>> {
        for message in self.conversations.values_mut().flatten() {
            for part in message["contents"].as_array_mut().unwrap() {
                let is_open = ids.iter().any(|id| part["toolCallId"] == id.as_str());
                if part["type"] == "toolResultPart" && is_open {
                    *part = json!({"type": "toolResultPart", "toolCallId": part["toolCallId"]});
                }
            }
        }
        self.conversations
    }
}
