//! Tests of the reading of front matter.

use super::*;

fn read(head: &str) -> Result<Vec<(String, HeadField)>, String> {
    let fields = FrontMatter::read(&format!("---\n{head}\n---\nBody.\n"), |key| key != "unknown");
    let fields = fields.map_err(|Mistake { line, problem }| format!("{line}: {problem}"))?;
    Ok(fields.0.into_iter().map(|(key, _, field)| (key, field)).collect())
}

fn text(text: &str) -> HeadField {
    HeadField::Text { text: text.to_owned(), is_text: true }
}

#[test]
fn texts_of_every_form_are_read() {
    for (head, expected) in [
        ("a: Plain text, with a # in it: no", Some("Plain text, with a")),
        ("a: Plain text", Some("Plain text")),
        ("a: Plain text  # a comment", Some("Plain text")),
        ("a: It's https://x.y/z#part", Some("It's https://x.y/z#part")),
        ("a: one\n  two\n    three", Some("one two three")),
        ("a: \"q: \\\"x\\\" \\u00fc # y\" # c", Some("q: \"x\" ü # y")),
        ("a: 'it''s: x'", Some("it's: x")),
        ("a: |\n  one\n    two\n\n  three\n", Some("one\n  two\n\nthree")),
        ("a: >-\n  one\n  two\n\n  three", Some("one two\nthree")),
        ("a: >\n  key: value # kept", Some("key: value # kept")),
        ("a:\n  one\n  two", Some("one two")),
        ("a:  # why\n  \"one: x\"", Some("one: x")),
        ("a: \"one\n  two: x\n\n  three\" # c", Some("one two: x\nthree")),
        ("a: 'one''s\n  two'", Some("one's two")),
        ("a: \"one\\\n  two\"", Some("onetwo")),
    ] {
        let read = read(head).map(|mut fields| fields.remove(0).1);
        assert_eq!(read.ok(), expected.map(text), "{head}");
    }
}

#[test]
fn lists_and_maps_have_one_level() {
    let strings = |items: &[&str]| HeadField::List(items.iter().map(|item| (*item).to_owned()).collect());
    assert_eq!(read("a: [b, \"c, d\", e]").unwrap()[0].1, strings(&["b", "c, d", "e"]));
    assert_eq!(read("a: []").unwrap()[0].1, strings(&[]));
    assert_eq!(read("a:\n- b\n- 'c'\nd: x").unwrap()[0].1, strings(&["b", "c"]));
    assert_eq!(read("a:\n  # why\n  - b\n\n  - c").unwrap()[0].1, strings(&["b", "c"]));
    let map = HeadField::Map(vec![("b".to_owned(), "1.0".to_owned()), ("c".to_owned(), "x".to_owned())]);
    assert_eq!(read("a:\n  b: \"1.0\"\n  c: x\nd: y").unwrap()[0].1, map);
    let empty = HeadField::Text { text: String::new(), is_text: false };
    assert_eq!(read("a:\nb: x").unwrap(), [("a".to_owned(), empty), ("b".to_owned(), text("x"))]);
}

#[test]
fn what_yaml_reads_as_something_else_is_known() {
    for word in ["1.0", "2048", "true", "Null", "~", "2026-01-02", "0x1F", "-1_000", "1e5", ".5", "12:30"] {
        assert_eq!(
            read(&format!("a: {word}")).unwrap()[0].1,
            HeadField::Text { text: word.to_owned(), is_text: false }
        );
    }
    for word in ["v1.0", "3d-printing", "3d", "2fa", "12-34", "e5", "truecolor"] {
        assert_eq!(read(&format!("a: {word}")).unwrap()[0].1, text(word));
    }
}

#[test]
fn the_values_of_unknown_fields_are_passed_over() {
    for value in ["{b: c}", "\n  b:\n    - c: d\n\n  e: x", "\n- b: c\n  d: e", " use when: asked", " [b,\n  c]"] {
        let read = read(&format!("unknown: {value}\nb: x")).unwrap();
        assert_eq!((read.len(), &read[1]), (2, &("b".to_owned(), text("x"))), "{value}");
    }
}

#[test]
fn everything_beyond_is_refused_with_its_line() {
    for (head, expected) in [
        ("a: x\n b: y: z", "3: expected no colon and blank"),
        ("a: use when: asked", "2: expected no colon and blank"),
        ("a: x\na: y", "3: a is there twice"),
        ("a: &anchor x", "2: expected a plain text"),
        ("a: *anchor", "2: expected a plain text"),
        ("a: !!str x", "2: expected a plain text"),
        ("a: {b: c}", "2: expected"),
        ("a: [b, [c]]", "2: expected a text in the list"),
        ("a: [b,\n c]", "2: expected ] on the same line"),
        ("a: \"open", "2: expected the closing quote"),
        ("a: \"x\" y", "2: expected the end of the line"),
        ("a: \"\\q\"", "2: expected one of"),
        ("a:\n  - b\n   - c", "4: expected a plain text"),
        ("a: |2\n  x", "2: expected the end of the line"),
        ("a: >\n  x\n    y", "4: expected the indentation of the lines before"),
        ("just words", "2: expected a name, a colon and a blank"),
        ("a:x", "2: expected a name, a colon and a blank"),
        ("\"a\": x", "2: expected a name"),
        ("<<: x", "2: expected a name"),
        ("\ta: x", "2: expected a name"),
        ("  a: x", "2: expected a field at the beginning"),
        ("a: x\n  # why\n  y", "3: expected no comment within a text"),
    ] {
        let refused = read(head).unwrap_err();
        assert!(refused.starts_with(expected), "{head:?}: {refused}");
    }
    for (text, expected) in [("# Title\n", "no front matter"), ("", "no front matter"), ("---\na: x\n", "no end")] {
        assert!(FrontMatter::read(text, |_| true).unwrap_err().problem.contains(expected), "{text:?}");
    }
    assert!(FrontMatter::read("\u{feff}---\r\na: x\r\n---\r\n", |_| true).is_ok());
}
