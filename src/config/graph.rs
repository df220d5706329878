//! Who delegates to whom: checked when a file is read, and asked when a run starts.

use indexmap::IndexSet;

use super::error::quoted;
use super::nearest::nearest;
use super::reader::{Findings, Node};
use super::{ConfigError, Project};
use crate::expert::{Expert, ExpertKey};

impl Project {
    /// The expert that `key` names.
    ///
    /// Only experts of this file are found; the error suggests the nearest and lists what there is.
    pub fn expert(&self, key: &str) -> Result<&Expert, ConfigError> {
        if let Some(expert) = key.parse().ok().and_then(|key: ExpertKey| self.experts.get(&key)) {
            return Ok(expert);
        }
        let keys = || self.experts.keys().map(ExpertKey::as_str);
        Err(ConfigError::UnknownExpert {
            key: key.to_owned(),
            path: self.path.clone(),
            nearest: nearest_key(key, keys).map(str::to_owned),
            known: keys().map(str::to_owned).collect(),
        })
    }
}

/// The key that `key` was probably meant to be: one that differs in a few letters, in its version, or in its scope.
fn nearest_key<'a, I: Iterator<Item = &'a str>>(key: &str, keys: impl Fn() -> I) -> Option<&'a str> {
    let name = match key.rfind('@') {
        Some(at) if at > 0 => key.get(..at).unwrap_or(key),
        _ => key,
    };
    let bare = unscoped(name);
    nearest(name, keys())
        .or_else(|| keys().find(|known| *known == name))
        .or_else(|| keys().find(|known| unscoped(known) == bare))
}

fn unscoped(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, bare)| bare)
}

/// The scope of a key: `handbook` of `@handbook/writer`.
fn scope(name: &str) -> Option<&str> {
    name.strip_prefix('@').and_then(|rest| rest.split_once('/')).map(|(scope, _)| scope)
}

/// One entry of an expert's `delegates`.
pub(super) struct Delegation<'a> {
    /// The key of the expert that delegates.
    pub from: &'a str,
    pub to: ExpertKey,
    pub node: Node<'a>,
}

/// Notes delegates that do not exist, and such as newer runtimes refuse. `declared`: all keys of the file.
pub(super) fn check_delegations(declared: &IndexSet<&str>, delegations: &[Delegation<'_>], findings: &mut Findings) {
    let scopes: IndexSet<&str> = declared.iter().map(|key| scope(key).unwrap_or(key)).collect();
    for Delegation { from, to, node } in delegations {
        if let Some(reason) = refusal(from, to.name()) {
            node.warning(reason, findings);
        }
        if declared.contains(to.as_str()) {
            continue;
        }
        let is_foreign = to.version_or_tag().is_some() || scope(to.name()).is_some_and(|scope| !scopes.contains(scope));
        if is_foreign {
            let text = "not defined in this file, and published experts are not resolved; calls to it will fail";
            node.warning(text, findings);
        } else {
            let hint = findings.hint_with(|| nearest_key(to.as_str(), || declared.iter().copied()));
            node.problem(format!("expert {} is not defined in this file{hint}", quoted(to.as_str())), findings);
        }
    }
}

/// Why newer versions of the original refuse this delegation, if they do. An expert without scope coordinates those
/// whose scope is its name.
fn refusal(from: &str, to: &str) -> Option<&'static str> {
    if from == to {
        return Some("an expert that delegates to itself; newer runtimes refuse this");
    }
    match (scope(from), scope(to)) {
        (None, Some(theirs)) if theirs != from => {
            Some("a coordinator that delegates into another scope; newer runtimes refuse this")
        }
        (Some(own), None) if own == to => {
            Some("an expert that delegates to its own coordinator; newer runtimes refuse this")
        }
        (Some(own), Some(theirs)) if own != theirs => {
            Some("an expert that delegates into another scope; newer runtimes refuse this")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;
    use super::*;

    fn project(text: &str) -> Result<Project, ConfigError> {
        parse(text, Path::new("p.toml"))
    }

    /// Experts `key -> delegates`, each with an instruction.
    fn team(experts: &[(&str, &[&str])]) -> String {
        let expert = |(key, delegates): &(&str, &[&str])| {
            format!("[experts.{key:?}]\ninstruction = \"i\"\ndelegates = {delegates:?}\n")
        };
        experts.iter().map(expert).collect()
    }

    #[test]
    fn experts_are_found_by_their_whole_key() {
        let project = project(&team(&[("plan", &["@plan/write"]), ("@plan/write", &[])])).unwrap();
        assert_eq!(project.expert("@plan/write").unwrap().name, "@plan/write");
        let error = |key: &str| project.expert(key).unwrap_err().to_string();
        let known = "(it defines plan, @plan/write)";
        assert_eq!(
            error("plann"),
            format!("expert \"plann\" is not defined in p.toml; did you mean \"plan\"? {known}")
        );
        assert_eq!(
            error("write"),
            format!("expert \"write\" is not defined in p.toml; did you mean \"@plan/write\"? {known}")
        );
        assert_eq!(
            error("plan@2.0.0"),
            format!("expert \"plan@2.0.0\" is not defined in p.toml; did you mean \"plan\"? {known}")
        );
        assert_eq!(error("zebra"), format!("expert \"zebra\" is not defined in p.toml {known}"));
    }

    #[test]
    fn delegates_of_this_file_must_exist() {
        let error = project(&team(&[("plan", &["@plan/wrte", "other"]), ("@plan/write", &[])])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "p.toml:3:14: experts.plan.delegates.0: expert \"@plan/wrte\" is not defined in this file; \
             did you mean \"@plan/write\"?\n\
             p.toml:3:28: experts.plan.delegates.1: expert \"other\" is not defined in this file"
        );
    }

    #[test]
    fn delegates_of_elsewhere_are_warned_of() {
        let project = project(&team(&[("plan", &["plan-b@1.0.0"]), ("@org/x", &["@away/y"])])).unwrap();
        let unresolved = "not defined in this file, and published experts are not resolved; calls to it will fail";
        assert_eq!(
            project.warnings,
            [
                format!("p.toml:3:14: experts.plan.delegates.0: {unresolved}"),
                "p.toml:6:14: experts.@org/x.delegates.0: an expert that delegates into another scope; newer runtimes \
                 refuse this"
                    .to_owned(),
                format!("p.toml:6:14: experts.@org/x.delegates.0: {unresolved}"),
            ]
        );
        assert_eq!(project.unknown_keys, Vec::<String>::new());
    }

    #[test]
    fn newer_rules_of_delegation_are_known() {
        for (from, to, allowed) in [
            ("a", "@a/x", true),
            ("a", "b", true),
            ("@a/x", "@a/y", true),
            ("@a/x", "b", true),
            ("a", "a", false),
            ("@a/x", "@a/x", false),
            ("a", "@b/x", false),
            ("@a/x", "a", false),
            ("@a/x", "@b/x", false),
        ] {
            assert_eq!(refusal(from, to).is_none(), allowed, "{from} -> {to}");
        }
    }
}
