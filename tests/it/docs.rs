//! Documents that are made from the code or that repeat it, kept current, and the book as a whole.

mod book;
mod configurations;
mod errors;
mod fleet_options;
mod getting_started;
mod readme;

use std::fs;
use std::path::Path;

/// `docs/state-machine.md`. `UPDATE_DOCS=1 cargo test --test it docs` writes it anew.
#[test]
fn the_state_diagram_is_current() {
    use perstack::machine::{JOB_STATE_NOTES, STATE_NOTES, job_mermaid, mermaid, state_table};
    let page = format!(
        "# The state machines\n\n\
         Generated from `perstack::machine`; a test keeps it current \
         (`UPDATE_DOCS=1 cargo test --test it docs` writes it anew).\n\n\
         ## A Run\n\n\
         States that need nothing from outside answer `proceed`; the other inputs are facts, one line each in a \
         Run's log. Behind the `/` is the event that reports the arrow. States marked † are not the original's.\n\n\
         {}\n```mermaid\n{}```\n\n\
         ## A job\n\n\
         The machine of a job starts the Runs of delegates and continues those that waited for them. Its inputs are \
         the ends of Runs and the request to stop.\n\n\
         {}\n```mermaid\n{}```\n",
        state_table(&STATE_NOTES),
        mermaid(),
        state_table(&JOB_STATE_NOTES),
        job_mermaid()
    );
    current("docs/state-machine.md", &page);
}

fn current(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap_or_default(), text, "{name} is not current");
}
