//! Tests of freshness, and of the choice that follows from it.

use super::*;
use crate::hint::ErrorHint as _;

#[test]
fn an_entry_is_fresh_until_its_expert_changes() {
    let before = project(TOML);
    let lock = lock(&before, 1);
    assert_eq!(lock.expert(&librarian(&before)), LockState::Fresh(&lock.experts["librarian"]));
    for (from, to, why) in [
        ("Quote what", "Cite what", "changed since: instruction"),
        ("index.db", "other.db", "changed since: skill index"),
        ("skills.index]", "skills.catalog]", "changed since: skill catalog (new), skill index (gone)"),
        ("tags = [", "defaultModelTier = \"low\"\ntags = [", "the expert's definition changed"),
        ("[\"scribe\"]", "[]", "changed since: delegates"),
    ] {
        let after = project(&TOML.replace(from, to));
        assert_eq!(stale(lock.expert(&librarian(&after))), why);
    }
    let command = ["base".to_owned()];
    let with_command = Definition::new(before.expert("librarian").unwrap(), Some(&command));
    assert_eq!(stale(lock.expert(&with_command)), "the expert's definition changed");
    let scribe = Definition::new(before.expert("scribe").unwrap(), None);
    assert_eq!(lock.expert(&scribe), LockState::Missing);
}

#[test]
fn a_checkout_with_other_line_ends_is_fresh() {
    let lock = lock(&project(TOML), 1);
    let crlf = project(&TOML.replace('\n', "\r\n"));
    assert_eq!(lock.expert(&librarian(&crlf)), LockState::Fresh(&lock.experts["librarian"]));
}

fn warning(choice: LockChoice) -> Option<String> {
    let LockChoice::Discover { warning } = choice else { panic!("no discovery: {choice:?}") };
    warning
}

fn refusal(choice: LockChoice) -> String {
    let LockChoice::Refuse(error) = choice else { panic!("no refusal: {choice:?}") };
    error.with_hint()
}

#[test]
fn a_fresh_lock_gives_the_tools_of_servers() {
    let project = project(TOML);
    let lock = lock(&project, 1);
    for how in [LockUse::Auto, LockUse::Locked, LockUse::Frozen] {
        let LockChoice::UseLocked { tools, .. } = choose(&librarian(&project), Some(&lock), how) else {
            panic!("{how:?}")
        };
        assert_eq!(tools, found().tools[1..3], "{how:?}");
    }
}

#[test]
fn a_stale_lock_is_reported_refused_or_used_as_it_is() {
    let lock = lock(&project(TOML), 1);
    let after = project(&TOML.replace("index.db", "other.db").replace("omit =", "idempotent = [\"count\"]\npick ="));
    let definition = librarian(&after);
    assert_eq!(
        warning(choose(&definition, Some(&lock), LockUse::Auto)).unwrap(),
        "/x/perstack.lock is stale for expert librarian (changed since: skill index): its skills are started instead; \
         run `perstack install` to renew it"
    );
    assert_eq!(
        refusal(choose(&definition, Some(&lock), LockUse::Locked)),
        "/x/perstack.lock is stale for expert librarian (changed since: skill index); run `perstack install` to renew it"
    );
    let LockChoice::UseLocked { tools, .. } = choose(&definition, Some(&lock), LockUse::Frozen) else {
        panic!("not used")
    };
    assert_eq!(tools, [], "the current pick applies");
    let idempotent = project(&TOML.replace("omit =", "idempotent = [\"count\"]\nomit ="));
    let choice = choose(&librarian(&idempotent), Some(&lock), LockUse::Frozen);
    let LockChoice::UseLocked { tools, .. } = choice else { panic!("not used") };
    assert_eq!(tools.iter().map(|tool| tool.hints.idempotent).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_frozen_lock_must_know_every_skill() {
    let lock = lock(&project(TOML), 1);
    let after = project(&TOML.replace("skills.index]", "skills.catalog]"));
    assert_eq!(
        refusal(choose(&librarian(&after), Some(&lock), LockUse::Frozen)),
        "/x/perstack.lock is stale for expert librarian (it has no skill catalog); run `perstack install` to renew it"
    );
}

#[test]
fn without_a_lock_or_an_entry_skills_are_started_unless_the_lock_must_serve() {
    let project = project(TOML);
    let definition = librarian(&project);
    assert_eq!(warning(choose(&definition, None, LockUse::Auto)), None);
    let empty = Lock::from_experts(Path::new("/x/perstack.toml"), 1, []);
    assert!(warning(choose(&definition, Some(&empty), LockUse::Auto)).unwrap().contains("it has no entry"));
    for how in [LockUse::Locked, LockUse::Frozen] {
        assert_eq!(
            refusal(choose(&definition, None, how)),
            "there is no perstack.lock with the tools of expert librarian; run `perstack install`"
        );
        assert!(refusal(choose(&definition, Some(&empty), how)).contains("it has no entry"));
    }
}

#[test]
fn an_expert_without_servers_gets_no_warning() {
    let project = project(TOML);
    let scribe: &Expert = project.expert("scribe").unwrap();
    let empty = Lock::from_experts(Path::new("/x/perstack.toml"), 1, []);
    assert_eq!(warning(choose(&Definition::new(scribe, None), Some(&empty), LockUse::Auto)), None);
    // A command that replaces the built-in base skill is a server like any other.
    let command = ["base".to_owned()];
    let definition = Definition::new(scribe, Some(&command));
    assert_eq!(definition.servers().collect::<Vec<_>>(), [&SkillSpec::base()]);
    assert!(warning(choose(&definition, Some(&empty), LockUse::Auto)).is_some());
}
