//! Plain English, as far as counting can hold it: ceilings that only fall.
//!
//! Lower a ceiling to the count that the test reports; never raise one.

use super::source::Source;

/// Doc lines of `src/` that begin with a word of `QUESTIONS`.
const DOC_LINES: usize = 0;
/// Lines of `src/` with a word of `SPEECH`, code and comments alike.
const SPOKEN_LINES: usize = 0;
/// Functions of `src/` and `tests/` with a word of `SPEECH` in their names. The tests' `says` and `told`, what a request
/// to a model contains and which results it holds.
const SPOKEN_NAMES: usize = 0;

/// A doc line is a noun phrase or a sentence in the third person, not half a question.
const QUESTIONS: [&str; 6] = ["What", "Who", "Whom", "Whose", "Whether", "Where"];
/// A program reports, returns, sends, shows, prints and records.
const SPEECH: [&str; 5] = ["tell", "tells", "told", "says", "said"];

/// The first lines of the paragraphs in a file's doc comments, with their numbers.
fn doc_openings(text: &str) -> Vec<(usize, &str)> {
    let mut openings = Vec::new();
    let mut is_within = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim);
        if let Some(doc) = doc.filter(|doc| !doc.is_empty() && !is_within) {
            openings.push((at + 1, doc));
        }
        is_within = doc.is_some_and(|doc| !doc.is_empty());
    }
    openings
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// Fails when there are more than the ceiling, with all places.
#[track_caller]
fn assert_at_most(ceiling: usize, places: &[String], rule: &str) {
    assert!(places.len() <= ceiling, "{} of at most {ceiling}: {rule}\n{}", places.len(), places.join("\n"));
}

#[test]
fn doc_lines_state_and_do_not_ask() {
    let mut places = Vec::new();
    for source in Source::all("src") {
        for (number, line) in doc_openings(&source.text) {
            if words(line).next().is_some_and(|word| QUESTIONS.contains(&word)) {
                places.push(format!("src/{}:{number}: {line}", source.path));
            }
        }
    }
    assert_at_most(DOC_LINES, &places, "start a doc line with a noun phrase or a verb");
}

#[test]
fn programs_report_and_do_not_speak() {
    let mut places = Vec::new();
    for source in Source::all("src") {
        for (at, line) in source.text.lines().enumerate() {
            if words(line).any(|word| SPEECH.contains(&word)) {
                places.push(format!("src/{}:{}: {}", source.path, at + 1, line.trim()));
            }
        }
    }
    assert_at_most(SPOKEN_LINES, &places, "write report, return, send, show, print or record");
}

#[test]
fn names_of_functions_report_and_do_not_speak() {
    let mut places = Vec::new();
    for folder in ["src", "tests"] {
        for source in Source::all(folder) {
            for line in source.text.lines() {
                let Some((_, rest)) = line.split_once("fn ") else { continue };
                let name = words(rest).next().unwrap_or_default();
                if name.split('_').any(|word| SPEECH.contains(&word)) {
                    places.push(format!("{folder}/{}: {name}", source.path));
                }
            }
        }
    }
    assert_at_most(SPOKEN_NAMES, &places, "name what is reported, shown or printed");
}

#[test]
fn only_the_opening_of_a_doc_paragraph_counts() {
    let text = "//! One.\n//! Who continues.\n//!\n//! What opens.\n\n/// Three.\nfn f() {} // Who\n    /// Four.\n";
    let openings: Vec<_> = doc_openings(text).into_iter().map(|(number, _)| number).collect();
    assert_eq!(openings, [1, 4, 6, 8]);
}
