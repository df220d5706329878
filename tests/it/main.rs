//! The tests that need more than one module: the binary against a mock model server, and the house's own rules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and may look at its own environment"
)]

mod support;

mod against;
mod agent_skills;
mod answers;
mod budget;
mod ci;
mod closure;
mod completion;
mod contracts;
mod delegation;
mod context;
mod cost;
mod crash;
mod disk;
mod docs;
mod dry_run;
mod each;
mod errors;
mod evidence;
mod evidence_crashes;
mod evals;
mod example;
mod fallback;
mod foreign_state;
mod forms;
mod guidance;
mod from_original;
mod live_cases;
mod live_replay;
mod lockfile;
mod long_output;
mod help;
mod include;
mod input;
mod instruction_files;
mod interactive;
mod interop;
mod job;
mod locking;
mod log;
mod mcp;
mod mock_server;
mod models;
mod native_tools;
mod object_store;
mod object_store_accounts;
mod odd_workspaces;
mod output;
mod output_file;
mod permissions;
mod process;
mod program_log;
mod providers;
mod recovery;
mod replay;
mod replay_interrupted;
mod report;
mod resume;
mod root;
mod run;
mod screens;
mod secrets;
mod signals;
mod snapshot_names;
mod streams;

#[cfg(feature = "telemetry")]
mod telemetry;
mod tidy;
mod tool_search;
mod trust;
mod untrusted;
mod vendors;
mod verify;
mod way_in;
mod why;
mod workspace_from;
mod workspace_snapshots;
