//! The reference page of the keys, made from the tables.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;

use super::provider_tables::provider_setting;
use super::provider_tool_tables::{FILE_SEARCH, PROVIDER_SKILL, WEB_FETCH, WEB_SEARCH};
use super::skill_tables::{OAUTH, QUESTION, SKILL};
use super::tables::{EXPERT, PERMISSIONS, TOP, USER, VERIFY};
use super::{ConfigKey, KeyKind, KeyTable, KeyUnion, MAX_NUMBER, Presence};
use crate::setting::ProviderName;

/// `docs/reference/keys.md`. `UPDATE_DOCS=1 cargo test --lib config::keys` writes it anew.
#[test]
#[expect(clippy::disallowed_methods, reason = "asks for the file to be written anew")]
fn the_reference_of_keys_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/keys.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), page, "{} is not current", file.display());
}

fn page() -> String {
    let mut page = "# Keys\n\n\
        Made from the tables that the reader uses; a test keeps this page current. `perstack schema` prints the same as a \
        JSON Schema. A key that is not here is ignored with a warning when running, and is a mistake for `perstack check` \
        and under `--locked`.\n"
        .to_owned();
    let intro = "The file `perstack.toml` of a project. Included files have `experts` and `include` alone.";
    section(&mut page, "At the top of perstack.toml", intro, &TOP, None);
    section(&mut page, "Experts", "A table per expert: `[experts.\"NAME\"]`.", &EXPERT, None);
    subsection(&mut page, "`permissions` of an expert, and of all at the top", &PERMISSIONS, None);
    subsection(&mut page, "`verify` of an expert", &VERIFY, None);
    let intro = "A table per skill: `[experts.\"NAME\".skills.\"SKILL\"]`. Its `type` decides which keys it has.";
    let _ = write!(page, "\n## Skills\n\n{intro}\n");
    for (word, keys) in (SKILL.cases)() {
        let title = format!("`type = \"{word}\"`");
        subsection(&mut page, &title, keys, Some((&SKILL, word)));
    }
    subsection(&mut page, "`oauth` of a remote skill", &OAUTH, None);
    subsection(&mut page, "A question: `tools.NAME` of an interactive skill", &QUESTION, None);
    page.push_str("\n## What a model's provider runs\n");
    for (word, keys) in (PROVIDER_SKILL.cases)() {
        subsection(
            &mut page,
            &format!("An item of `providerSkills`, `type = \"{word}\"`"),
            keys,
            Some((&PROVIDER_SKILL, word)),
        );
    }
    for (tool, keys) in [("webSearch", &WEB_SEARCH), ("webFetch", &WEB_FETCH), ("fileSearch", &FILE_SEARCH)] {
        subsection(&mut page, &format!("`providerToolOptions.{tool}`"), keys, None);
    }
    let names = ProviderName::ALL.map(|name| format!("`\"{name}\"`")).join(", ");
    let _ = write!(
        page,
        "\n## Provider\n\n`[provider]` has `providerName`, one of {names}, and a table `setting` whose keys depend on it. \
         Those of another provider are ignored with a warning.\n"
    );
    let (mut known, mut others) = (Vec::new(), Vec::new());
    for provider in ProviderName::ALL {
        let keys = provider_setting(provider);
        if keys.title == provider.as_str() { known.push(keys) } else { others.push((provider, keys)) }
    }
    for keys in known {
        subsection(&mut page, &format!("`[provider.setting]` of {}", keys.title), keys, None);
    }
    let names: Vec<&str> = others.iter().map(|(provider, _)| provider.as_str()).collect();
    if let Some((_, keys)) = others.first() {
        subsection(&mut page, &format!("`[provider.setting]` of {}", names.join(", ")), keys, None);
    }
    let intro = "Your own defaults, in the platform's folder of configurations (`PERSTACK_CONFIG_DIR` moves it). Unknown keys \
                 are mistakes there.";
    section(&mut page, "config.toml", intro, &USER, None);
    page
}

fn section(page: &mut String, title: &str, intro: &str, keys: &KeyTable, tag: Option<(&KeyUnion, &str)>) {
    let _ = write!(page, "\n## {title}\n\n{intro}\n\n");
    rows(page, keys, tag);
}

fn subsection(page: &mut String, title: &str, keys: &KeyTable, tag: Option<(&KeyUnion, &str)>) {
    let _ = write!(page, "\n### {title}\n\n");
    rows(page, keys, tag);
}

fn rows(page: &mut String, keys: &KeyTable, tag: Option<(&KeyUnion, &str)>) {
    page.push_str("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
    if let Some((KeyUnion { tag, doc, .. }, word)) = tag {
        let _ = writeln!(page, "| `{tag}` | `\"{word}\"` | required | {doc} |");
    }
    for ConfigKey { name, kind, presence, default, doc } in keys.keys() {
        let default = match (presence, *default) {
            (Presence::Required, _) => "required".to_owned(),
            (_, "") => String::new(),
            (_, default) => format!("`{default}`"),
        };
        let value = if *presence == Presence::Obsolete { "anything".to_owned() } else { value(kind) };
        let _ = writeln!(page, "| `{name}` | {value} | {default} | {doc} |");
    }
}

/// The values that a kind admits, in words.
fn value(kind: &KeyKind) -> String {
    match kind {
        KeyKind::Flag => "`true` or `false`".to_owned(),
        KeyKind::Whole(range) => whole(range),
        KeyKind::Dollars => "number above 0".to_owned(),
        KeyKind::Text(length) => match (length.start(), length.end()) {
            (0, _) => "text".to_owned(),
            (_, &usize::MAX) => "text, not empty".to_owned(),
            (least, most) => format!("text of {least} to {most} characters"),
        },
        KeyKind::Form(form) => format!("{}, such as `{}`", form.words, form.example),
        KeyKind::FormOrWhole(form, range) => {
            format!("{}, such as `{}`, or a {}", form.words, form.example, whole(range))
        }
        KeyKind::Choice(words) => choice(&words()),
        KeyKind::ChoiceOrWhole(words, range) => format!("{}, or a {}", choice(&words()), whole(range)),
        KeyKind::Suggestion(words) => format!("text, such as {}", choice(&words())),
        KeyKind::JsonSchema => "path of a file, or a table".to_owned(),
        KeyKind::List(item) => format!("list: {}", value(item)),
        KeyKind::Map(Some(form), _) => format!("table; a key is a {}", form.words),
        KeyKind::Map(None, _) | KeyKind::Table(_) | KeyKind::Tagged(_) => "table, see below".to_owned(),
    }
}

fn whole(range: &RangeInclusive<u64>) -> String {
    match *range.end() {
        MAX_NUMBER => format!("whole number, {} or more", range.start()),
        most => format!("whole number from {} to {most}", range.start()),
    }
}

fn choice(words: &[&str]) -> String {
    words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
}
