//! The book in `docs/`: its pages are in its summary, and its links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

pub fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// The Markdown files below `folder`.
pub fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|end| end == "md") {
            found.push(path);
        }
    }
    found
}

/// The text outside blocks of code.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The targets of the links of a page.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let parts = prose.split("](").skip(1);
    parts.filter_map(|part| part.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// The anchors that headings make, as mdBook and GitHub write them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text);
    let headings = headings
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
        plain
    })
}

#[test]
fn every_page_is_in_the_summary_and_the_other_way_round() {
    let summary = docs().join("SUMMARY.md");
    let listed: BTreeSet<PathBuf> =
        links(&fs::read_to_string(&summary).unwrap()).iter().map(|link| docs().join(link)).collect();
    let there: BTreeSet<PathBuf> = pages(&docs()).into_iter().filter(|page| *page != summary).collect();
    assert_eq!(listed, there);
}

#[test]
fn links_lead_to_pages_and_headings() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let mut wrong = Vec::new();
    for page in pages(&docs()).into_iter().chain([readme]) {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { page.clone() } else { plain(&page.parent().unwrap().join(file)) };
            let has_anchor = |anchor| fs::read_to_string(&target).is_ok_and(|text| anchors(&text).contains(anchor));
            if !target.exists() || !anchor.is_none_or(has_anchor) {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}

#[test]
fn links_and_anchors_are_found() {
    let text = "# A `b` c\n[x](y.md#z) and [w](v)\n```\n# no\n[no](no)\n```\n## D, e!\n";
    assert_eq!(links(text), ["y.md#z", "v"]);
    assert_eq!(anchors(text), BTreeSet::from(["a-b-c".to_owned(), "d-e".to_owned()]));
}
