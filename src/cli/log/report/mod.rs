//! A job as a page: `log JOB --html` and `--markdown`. `log` calls [`write`]; [`html`] and [`markdown`] are the two forms.
//!
//! The text of models and tools reaches a page through [`escape`] alone. Secrets are not in it, as they are not in the log.

mod escape;
mod figures;
mod html;
mod markdown;
mod svg;

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;

use clap::Args;
use perstack::runtime::history::{JobLog, ReadProblem};

use super::head::{WayOn, WayPlaces, way_on};
use super::page::Page;
use crate::cli::failure::Failure;
use crate::cli::output_file::OutputFile;
use crate::cli::{Exit, Process};

use figures::Course;

/// The options of the page.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The whole job as one HTML file, which loads nothing; without FILE, or with `-`, to stdout
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", conflicts_with_all = ["markdown", "jobs",
          "run", "checkpoint", "ChoiceArgs", "NarrowArgs", "PageArgs", "ViewArgs", "FormArgs"])]
    html: Option<PathBuf>,
    /// The job in brief as Markdown, for a comment or a summary of CI; FILE as for --html
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", conflicts_with_all = ["jobs", "run",
          "checkpoint", "ChoiceArgs", "NarrowArgs", "PageArgs", "ViewArgs", "FormArgs"])]
    markdown: Option<PathBuf>,
}

impl ReportArgs {
    /// Returns whether a page is asked for.
    pub fn is_any(&self) -> bool {
        self.html.is_some() || self.markdown.is_some()
    }
}

/// A job, and all that its page shows besides its record.
struct Report<'a> {
    record: &'a JobLog,
    page: &'a Page,
    course: Course,
    /// The command that goes on with the job, with its title.
    way_on: Option<(&'static str, String)>,
}

/// A form of the page.
type WriteReport = fn(&Report<'_>, &mut dyn Write) -> io::Result<()>;

/// Writes the page that the options ask for. Problems of reading are added to `problems`.
///
/// # Errors
/// A file or a terminal that cannot be written to.
pub fn write(
    args: &ReportArgs,
    record: &JobLog,
    places: &WayPlaces,
    mut page: Page,
    process: &Process,
    problems: &mut Vec<ReadProblem>,
) -> Result<Exit, Failure> {
    let (flag, path, write): (_, _, WriteReport) = match (&args.html, &args.markdown) {
        (Some(path), _) => ("--html", path, html::write),
        (None, Some(path)) => ("--markdown", path, markdown::write),
        (None, None) => return page.close(Ok(Exit::Completed)),
    };
    let is_stdout = path.as_os_str() == "-";
    if is_stdout && args.html.is_some() && io::stdout().is_terminal() {
        return Err(
            Failure::usage(anyhow::anyhow!("an HTML page is not for a terminal")).help("name a file: --html job.html")
        );
    }
    let file = if is_stdout { None } else { Some(OutputFile::check(flag, path, &process.folder, record.storage())?) };
    let mut course = Course::read(record);
    problems.append(&mut course.problems);
    let on = way_on(record, || record.latest().map(|latest| latest.head), places);
    let way_on = on.map(|WayOn { title, command }| (title, command.to_string()));
    let mut text = Vec::new();
    let report = Report { record, page: &page, course, way_on };
    let Some(file) = file else {
        // Whole at first: the page is also what knows the zone of the times.
        let written = write(&report, &mut text).and_then(|()| page.writer().write_all(&text));
        return page.close(written.map(|()| Exit::Completed));
    };
    let written = file.replace_with(&mut |file| {
        let mut out = BufWriter::new(file);
        write(&report, &mut out).and_then(|()| out.flush())
    });
    match written {
        Ok(()) => Ok(Exit::Completed),
        Err(error) => {
            let what = format!("cannot write {}", file.shown());
            Err(Failure::other(anyhow::Error::new(error).context(what)))
        }
    }
}
