//! The limits of what a folder, a file, a server or a model may decide: each attack beside what must go on working.
//!
//! A test here begins with [`attack`] or [`neighbour`], or both; [`table`] counts them.

#[cfg(target_os = "linux")]
mod attacks;
pub mod contained;
#[cfg(feature = "aws")]
mod credentials;
mod env_file;
mod folder;
mod learn;
mod limits;
mod network;
mod off_limits;
mod recorded;
mod secrets;
#[cfg(target_os = "linux")]
mod servers;
#[cfg(unix)]
mod owner;
mod screen;
mod processes;
#[cfg(unix)]
mod store;
mod table;

/// Names the attack that a test makes: shown when it fails, and counted.
#[expect(clippy::print_stdout, reason = "the test runner keeps it for a test that fails")]
pub fn attack(what: &str) {
    println!("attack: {what}");
}

/// Names the honest neighbour of an attack, which must go on working: shown when it fails, and counted.
#[expect(clippy::print_stdout, reason = "the test runner keeps it for a test that fails")]
pub fn neighbour(what: &str) {
    println!("honest neighbour: {what}");
}
