//! Experts, a lock and a sink of one's own, without any file of configuration: `cargo run --example in_code`.
//!
//! Neither key nor network is needed: the tools of two experts are listed and locked, and the lock is used. With
//! `ANTHROPIC_API_KEY` in the environment, the lead is asked a question as well.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that shows what happens, with a key of its own"
)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use perstack::config::lockfile::{self, Definition, Lock, LockUse};
use perstack::event::{Event, EventSink};
use perstack::expert::{Expert, InvalidExpertKey};
use perstack::expert_map::ExpertMap;
use perstack::message::Message;
use perstack::runtime::{self, Options, RunInput};
use perstack::setting::ProviderName;

/// Counts events, and prints the kind of each.
#[derive(Default)]
struct Counter(AtomicUsize);

impl EventSink for Counter {
    fn emit(&self, event: &Event, _history: &[Message]) {
        self.0.fetch_add(1, Ordering::Relaxed);
        println!("{}", event.body.type_name());
    }
}

/// A lead with a poet to delegate to. Neither has a table of skills, so that both have the base skill.
fn experts() -> Result<ExpertMap, InvalidExpertKey> {
    let poet = Expert {
        description: Some("Writes one line about a subject.".to_owned()),
        ..Expert::new("poet".parse()?, "Write one line about the subject you are given.")
    };
    let lead = Expert {
        delegates: vec![poet.key.clone()],
        ..Expert::new("lead".parse()?, "Ask the poet for a line, and answer with it.")
    };
    Ok(ExpertMap::from([lead, poet]))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("perstack-in-code-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let sink = Arc::new(Counter::default());
    let options = Options { sink: sink.clone(), ..Options::new(experts()?, folder.clone()) };

    let lock = lock(&options, &folder.join("perstack.toml")).await?;
    let options = Options { lock: LockUse::Locked, lockfile: Some(Arc::new(lock)), ..options };
    for expert in options.experts.keys() {
        let tools = runtime::tools(expert, &options).await?;
        println!("{expert}: {}", tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", "));
    }

    if let Ok(key) = std::env::var("ANTHROPIC_API_KEY") {
        let options = options.with_provider(ProviderName::Anthropic, "claude-sonnet-4-5", &key);
        // The ids are the caller's to choose; without them, both are made anew.
        let input = RunInput::new("lead".parse()?, "A line about owls, please.");
        let input = RunInput { job_id: Some("poem".parse()?), run_id: Some("poem-1".parse()?), ..input };
        let answer = perstack::run(input, &options).await?;
        println!("{}", answer.text().unwrap_or_default());
    }
    println!("{} events", sink.0.load(Ordering::Relaxed));
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Discovers the tools of all experts, writes them to the lock beside `config`, and reads it back.
async fn lock(options: &Options, config: &Path) -> Result<Lock, Box<dyn Error>> {
    let mut found = Vec::new();
    for expert in options.experts.values() {
        found.push((Definition::new(expert, None), runtime::discover_tools(&expert.key, options).await?));
    }
    let lock = Lock::from_experts(config, 0, found.iter().map(|(definition, tools)| (*definition, tools)));
    lockfile::write(lock.path(), &lock)?;
    lockfile::read(lock.path())?.ok_or_else(|| "the lock was written".into())
}
