//! `healthCheck`: the state of the tools.

use std::time::Instant;

use serde_json::{Value, json};

use super::workspace::Workspace;

/// Returns the workspace, the time since `opened`, and where the system reports it, the process's memory.
pub(super) fn check(workspace: &Workspace, opened: Instant) -> Value {
    let mut report = json!({
        "status": "ok",
        "workspace": workspace.path().to_string_lossy(),
        "uptime": format!("{}s", opened.elapsed().as_secs()),
    });
    if let Some(report) = report.as_object_mut() {
        if let Some((used, total)) = memory() {
            report.insert("memory".to_owned(), json!({ "heapUsed": used, "heapTotal": total }));
        }
        report.insert("pid".to_owned(), json!(std::process::id()));
    }
    report
}

/// Memory in use and memory asked for, under the original's names.
fn memory() -> Option<(String, String)> {
    // Linux only; proc(5).
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let megabytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(format!("{}MB", kilobytes.div_ceil(1024)))
    };
    Some((megabytes("VmRSS:")?, megabytes("VmData:")?))
}
