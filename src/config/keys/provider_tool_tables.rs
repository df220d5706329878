//! The keys of what a model's provider runs itself: `providerSkills`, `providerToolOptions`.

use super::KeyKind::{Choice, Form, List, Table, Whole};
use super::values::{BUILTIN_SKILLS, COUNT, JSON, PROVIDER_SKILL_KINDS, words};
use super::{ConfigKey, FILLED, KeyTable, KeyUnion, Presence, TEXT};

/// An item of `providerSkills`.
pub(in crate::config) static PROVIDER_SKILL: KeyUnion = KeyUnion {
    tag: "type",
    doc: "A skill of the provider's own, or one with a definition.",
    cases: || PROVIDER_SKILL_KINDS.map(|(word, is_custom)| (word, provider_skill(is_custom))).to_vec(),
};

/// The keys of an item of `providerSkills`.
pub(in crate::config) fn provider_skill(is_custom: bool) -> &'static KeyTable {
    static BUILTIN: KeyTable = KeyTable::new(
        "builtin",
        &[&[ConfigKey::new(
            "skillId",
            Choice(|| words(&BUILTIN_SKILLS)),
            "The kind of document that the skill writes.",
        )
        .is(Presence::Required)]],
    );
    static CUSTOM: KeyTable = KeyTable::new(
        "custom",
        &[&[
            ConfigKey::new("name", FILLED, "The skill's name.").is(Presence::Required),
            ConfigKey::new("definition", Form(&JSON), "The skill's definition, as JSON text.").is(Presence::Required),
        ]],
    );
    if is_custom { &CUSTOM } else { &BUILTIN }
}

/// `providerToolOptions`.
pub(in crate::config) static TOOL_OPTIONS: KeyTable = KeyTable::new(
    "providerToolOptions",
    &[&[
        ConfigKey::new("webSearch", Table(&WEB_SEARCH), "Options of `webSearch`."),
        ConfigKey::new("webFetch", Table(&WEB_FETCH), "Options of `webFetch`."),
        ConfigKey::new("fileSearch", Table(&FILE_SEARCH), "Options of `fileSearch`."),
    ]],
);

const MAX_USES: ConfigKey = ConfigKey::new("maxUses", Whole(COUNT), "Most calls in one answer.");

pub(in crate::config) static WEB_SEARCH: KeyTable = KeyTable::new(
    "webSearch",
    &[&[MAX_USES, ConfigKey::new("allowedDomains", List(&TEXT), "The only domains that are searched.")]],
);
pub(in crate::config) static WEB_FETCH: KeyTable = KeyTable::new("webFetch", &[&[MAX_USES]]);
pub(in crate::config) static FILE_SEARCH: KeyTable = KeyTable::new(
    "fileSearch",
    &[&[
        ConfigKey::new("maxNumResults", Whole(COUNT), "Most results of one search."),
        ConfigKey::new("vectorStoreIds", List(&TEXT), "The vector stores that are searched."),
    ]],
);
