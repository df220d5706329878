//! Documents that are made from the code, kept current.

use std::fs;
use std::path::Path;

/// `docs/state-machine.md`. `UPDATE_DOCS=1 cargo test --test it docs` writes it anew.
#[test]
fn the_state_diagram_is_current() {
    let page = format!(
        "# The state machine of a Run\n\n\
         Generated from `perstack::machine::ARROWS`; a test keeps it current \
         (`UPDATE_DOCS=1 cargo test --test it docs` writes it anew).\n\n\
         States that need nothing from outside answer `Proceed`; the other inputs are facts, one line each in a \
         Run's log. Behind the `/` stands the event that is told.\n\n```mermaid\n{}```\n",
        perstack::machine::mermaid()
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
