//! Cassettes as tests take lines out of them, and as older versions wrote them.

use serde_json::Value;

/// The same cassette without lines that are written by what differs from another: each stands by itself.
pub fn whole(cassette: &str) -> String {
    let lines: Vec<&str> = cassette.lines().collect();
    let whole = |line: &&str| {
        let value: Value = serde_json::from_str(line).unwrap();
        let Some(like) = value["like"].as_u64() else { return format!("{line}\n") };
        let mut whole: Value = serde_json::from_str(lines[usize::try_from(like).unwrap() - 1]).unwrap();
        for (pointer, other) in value["with"].as_object().unwrap() {
            *whole.pointer_mut(pointer).unwrap() = other.clone();
        }
        format!("{whole}\n")
    };
    lines.iter().map(whole).collect()
}
