//! `perstack log JOB --html` and `--markdown`: the pages, and what hostile text can do in them.

use std::fs;

use serde_json::json;

use crate::support::answer::Call;
use crate::support::{Answer, Provider, Test, call};

/// Texts that end elements, attributes, comments, cells and fences, or load something, where they are not escaped.
const ATTACKS: [&str; 12] = [
    "</pre></details><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "' onfocus='alert(1)' autofocus='",
    "<!-- --><iframe src=https://evil.example></iframe>",
    "</style><link rel=stylesheet href=//evil.example>",
    "<a href=\"javascript:alert(1)\">x</a>",
    "]]><meta http-equiv=refresh content=\"0;url=//evil.example\">",
    "&lt;b&gt; &#60;script&#62;",
    "| a | b |\n| --- | --- |\n```\n# heading\n![i](https://evil.example/i.png) [l](https://evil.example) @somebody",
    "\u{202e}reversed \u{2066}isolate",
    "${alert(1)} {{7*7}} \\u003cscript\\u003e",
];

fn hostile() -> String {
    ATTACKS.join("\n")
}

fn append(id: &str, text: &str) -> Call {
    call(id, "appendTextFile", json!({"path": "owls.txt", "text": text, ATTACKS[0]: ATTACKS[1]}))
}

/// A job with hostile text in the question, an answer's text, arguments, results, an error and an edit.
fn attacked() -> Test {
    attacked_by(&hostile())
}

/// The same with another hostile text.
pub fn attacked_by(hostile: &str) -> Test {
    let test = Test::with(Provider::Anthropic).file("owls.txt", hostile).answers([
        Answer::calls([
            append("c1", hostile),
            call("c2", "readTextFile", json!({"path": "owls.txt"})),
            call("c3", "readTextFile", json!({"path": ATTACKS[1]})),
            call("c4", "editTextFile", json!({"path": "owls.txt", "oldText": ATTACKS[3], "newText": ATTACKS[2]})),
        ])
        .and_text(hostile),
        Answer::text(hostile),
    ]);
    test.run(["run", "librarian", hostile, "--job-id", "nest"]).assert_code(0);
    test
}

/// A start tag: its name and its attributes.
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

/// The start tags of a page, read as strictly as the page is written; panics where an element is not closed in order.
fn tags(page: &str) -> Vec<Tag> {
    const VOID: [&str; 3] = ["meta", "input", "!doctype"];
    let (mut all, mut open, mut rest): (Vec<Tag>, Vec<String>, &str) = (Vec::new(), Vec::new(), page);
    while let Some((_, behind)) = rest.split_once('<') {
        let (tag, after) = behind.split_once('>').expect("a whole tag");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "an element that is not open is closed");
            continue;
        }
        let is_closed = tag.ends_with('/');
        let tag = tag.trim_end_matches('/');
        let (name, mut given) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut attributes = Vec::new();
        while !given.trim().is_empty() {
            given = given.trim_start();
            let (key, value, left) = match given.split_once("=\"") {
                Some((key, value)) if !key.contains(' ') => {
                    let (value, left) = value.split_once('"').expect("a closed attribute");
                    (key, value, left)
                }
                _ => given.split_once(' ').map_or((given, "", ""), |(key, left)| (key, "", left)),
            };
            attributes.push((key.to_owned(), value.to_owned()));
            given = left;
        }
        let name = name.to_lowercase();
        if name == "script" || name == "style" {
            let (_, after) = rest.split_once(&format!("</{name}>")).expect("an end");
            rest = after;
        } else if !is_closed && !VOID.contains(&name.as_str()) {
            open.push(name.clone());
        }
        all.push(Tag { name, attributes });
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    all
}

#[test]
fn a_page_stands_for_itself_and_hostile_text_is_text() {
    let test = attacked();
    let page = test.run(["log", "nest", "--html"]).assert_code(0).stdout;
    let tags = tags(&page);
    let known = [
        "!doctype", "html", "head", "meta", "title", "style", "script", "body", "a", "main", "h1", "h2", "h3", "ul",
        "li", "pre", "code", "div", "table", "thead", "tbody", "tr", "th", "td", "svg", "text", "rect", "line",
        "polyline", "p", "span", "label", "input", "select", "option", "button", "details", "summary",
    ];
    let attributes = [
        "html",
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "href",
        "id",
        "hidden",
        "type",
        "value",
        "open",
        "role",
        "aria-label",
        "aria-hidden",
        "tabindex",
        "scope",
        "viewBox",
        "x",
        "y",
        "x1",
        "y1",
        "x2",
        "y2",
        "width",
        "height",
        "points",
        "text-anchor",
        "data-run",
        "data-bad",
    ];
    for tag in &tags {
        assert!(known.contains(&tag.name.as_str()), "<{}>", tag.name);
        for (key, value) in &tag.attributes {
            assert!(attributes.contains(&key.as_str()), "<{} {key}=\"{value}\">", tag.name);
            assert!(key != "href" || value == "#steps", "a link to {value}");
        }
    }
    let count = |name: &str| tags.iter().filter(|tag| tag.name == name).count();
    assert_eq!((count("script"), count("style"), count("h1")), (1, 1, 1));
    let metas = tags.iter().filter(|tag| tag.name == "meta");
    let policy = metas.flat_map(|tag| &tag.attributes).find(|(_, value)| value.starts_with("default-src")).unwrap();
    assert!(policy.1.starts_with("default-src 'none'; style-src 'sha256-"), "{}", policy.1);
    assert!(!policy.1.contains("unsafe") && policy.1.contains("; script-src 'sha256-"), "{}", policy.1);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && !page.contains('\u{202e}'));
    // Honest text is there as it is, an edit as what it changes.
    assert!(page.contains("<span class=\"add\">+ &quot;&gt;&lt;svg onload=alert(1)&gt;"), "no edit");
    for part in ["Time</h2>", "Tokens of each step", "Cost so far", "To ask further", "perstack resume nest"] {
        assert!(page.contains(part), "no {part}");
    }
}

#[test]
fn markdown_is_brief_and_nothing_leaves_its_cell_or_fence() {
    let test = attacked();
    let page = test.run(["log", "nest", "--markdown"]).assert_code(0).stdout;
    assert!(page.starts_with("### Job <code>nest</code>: completed\n"), "{page}");
    let (outside, inside): (Vec<_>, Vec<_>) = page.split("\n````").enumerate().partition(|(at, _)| at % 2 == 0);
    let outside: String = outside.into_iter().map(|(_, text)| text).collect();
    for mark in ["<script", "<img", "![", "](", "@somebody", "https://", "# heading"] {
        assert!(!outside.contains(mark), "{mark} in\n{outside}");
    }
    assert!(inside.iter().any(|(_, text)| text.contains("# heading")), "{page}");
    assert!(page.contains("| <code>readTextFile</code> | 2 | 1 |"), "{page}");
    assert!(page.len() < 20_000, "{} bytes", page.len());
}

#[test]
fn a_page_is_written_to_a_file_as_a_whole() {
    let test = attacked();
    let before = fs::read_dir(test.workspace()).unwrap().count();
    let ran = test.run(["log", "nest", "--html", "job.html"]).assert_code(0);
    assert_eq!((ran.stdout.as_str(), fs::read_dir(test.workspace()).unwrap().count()), ("", before + 1));
    let file = fs::read_to_string(test.workspace().join("job.html")).unwrap();
    assert!(file.starts_with("<!DOCTYPE html>\n") && file.ends_with("</html>\n"));
    test.run(["log", "nest", "--markdown", "job.md"]).assert_code(0);
    test.run(["log", "nest", "--html", "no/such/folder.html"]).assert_code(2);
    test.run(["log", "nest", "--html", "perstack/job.html"]).assert_code(2).assert_stderr(["is in the storage"]);
    for other in ["--markdown", "--json", "--steps", "--errors", "--jobs"] {
        test.run(["log", "--html", "-", other]).assert_code(2);
    }
    test.run(["log", "gone", "--html"]).assert_code(2);
}

#[test]
fn long_texts_are_folded_and_cut_with_a_note() {
    let long = "owl ".repeat(70_000);
    let test = Test::with(Provider::Anthropic).answers([Answer::text(&long)]);
    test.run(["run", "librarian", "Sing.", "--job-id", "nest"]).assert_code(0);
    let page = test.run(["log", "nest", "--html"]).assert_code(0).stdout;
    assert!(page.contains("more characters</summary>"), "nothing is folded");
    assert!(page.contains(" bytes are left out here"), "nothing is cut");
    assert!(page.len() < 500_000, "{} bytes", page.len());
    let brief = test.run(["log", "nest", "--markdown"]).assert_code(0).stdout;
    assert!(brief.contains(" bytes are left out.") && brief.len() < 10_000, "{} bytes", brief.len());
}

#[test]
fn a_job_that_has_not_ended_or_cost_nothing_has_a_page() {
    let test = Test::with(Provider::Anthropic).answers([Answer::status(400)]);
    test.run(["run", "librarian", "Sing.", "--job-id", "nest"]).assert_code(1);
    let page = test.run(["log", "nest", "--html"]).assert_code(0).stdout;
    assert!(page.contains("stopped by an error") && page.contains("data-bad=\"1\""), "{page}");
    tags(&page);
    assert!(test.run(["log", "nest", "--markdown"]).assert_code(0).stdout.contains("**Error**"));
}
