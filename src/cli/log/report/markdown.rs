//! The page in Markdown: a job in brief, for a comment on a pull request or a summary of CI.

use std::io::{self, Write};

use super::Report;
use super::escape::{cell, cut, fenced};
use crate::cli::log::head::{ending, job_lines, status};
use crate::cli::log::tree::{TreeRow, tree_rows};

/// Most bytes of an answer or an error.
const MOST: usize = 4_000;
/// Most Runs, and most tools, of a table.
const MOST_ROWS: usize = 30;

/// Writes the page.
///
/// # Errors
/// When it cannot be written.
pub fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let Report { record, page, course, way_on } = report;
    writeln!(out, "### Job {}: {}\n", cell(record.short_id()), status(record.entry().state))?;
    for line in job_lines(record, Some(course.runs.tool_calls()), page.local()).iter().skip(1) {
        match line.split_once(": ") {
            Some((key, value)) => writeln!(out, "- {key}: {}", cell(value))?,
            None => writeln!(out, "- {}", cell(line))?,
        }
    }
    if let Some(latest) = record.latest()
        && let Some((title, lines)) = ending(record.entry().state, &latest, Some(usize::MAX))
    {
        let text = lines.join("\n");
        let (kept, left) = cut(&text, MOST);
        let title = title.split_once(':').map_or(title.as_str(), |(title, _)| title);
        writeln!(out, "\n**{title}**\n\n{}", fenced(kept))?;
        if left > 0 {
            writeln!(out, "{left} bytes are left out.\n")?;
        }
    }
    let rows = tree_rows(record, &course.runs);
    writeln!(
        out,
        "\n| run | expert | state | steps | tokens | cost | time |\n| --- | --- | --- | --- | --- | --- | --- |"
    )?;
    for TreeRow { depth, columns, .. } in rows.iter().take(MOST_ROWS) {
        let cells: Vec<String> = columns.iter().take(7).map(|column| filled(column)).collect();
        writeln!(out, "| {}{} |", "↳ ".repeat((*depth).min(8)), cells.join(" | "))?;
    }
    left_out(rows.len(), "runs", out)?;
    if !course.tools.is_empty() {
        writeln!(out, "\n| tool | calls | failed |\n| --- | --- | --- |")?;
        for (name, figures) in course.tools.iter().take(MOST_ROWS) {
            writeln!(out, "| {} | {} | {} |", cell(name), figures.calls, figures.errors)?;
        }
        left_out(course.tools.len(), "tools", out)?;
    }
    if let Some((title, command)) = way_on {
        writeln!(out, "\n{title}:\n\n{}", fenced(command).trim_end())?;
    }
    Ok(())
}

fn filled(column: &str) -> String {
    if column.is_empty() { String::new() } else { cell(column) }
}

fn left_out(all: usize, what: &str, out: &mut dyn Write) -> io::Result<()> {
    match all.saturating_sub(MOST_ROWS) {
        0 => Ok(()),
        left => writeln!(out, "\n{left} more {what}."),
    }
}
