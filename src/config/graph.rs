//! The graph of delegates: resolves every key to an expert, when the files are read ([`connect`]) and when a run starts
//! ([`Project::expert`]).

use indexmap::IndexMap;

use super::diagnostics::SourceSpan;
use super::error::{other_version, quoted, unpublished};
use super::reader::Diagnostics;
use super::suggest::nearest;
use super::{ConfigError, Project};
use crate::expert::{Expert, ExpertKey, SkillSpec};
use crate::expert_map::{ExpertError, ExpertMap};
use crate::tool::{BASE_SKILL, BASE_TOOLS, CONVERSATION_TOOLS};

/// The tag that every defined version has, as each expert is defined once.
const LATEST: &str = "latest";

impl Project {
    /// The expert that `key` names: by its name alone, with the version that is defined (`name@1.2.3`), or with the tag
    /// `latest`.
    ///
    /// Only experts of these files are found; the error suggests the nearest and lists those that are defined.
    pub fn expert(&self, key: &str) -> Result<&Expert, ConfigError> {
        let parsed: Option<ExpertKey> = key.parse().ok();
        let named = parsed.and_then(|key| match self.experts.get(&key.without_version()) {
            Err(ExpertError::Unknown(_)) => None,
            found => Some((found, key)),
        });
        if let Some((expert, key)) = named {
            let expert = expert?;
            if is_asked_for(&expert.version, &key) {
                // The whole run is refused before it costs anything, not when the delegate is called.
                self.experts.reachable(&expert.key)?;
                return Ok(expert);
            }
            return Err(ConfigError::OtherVersion { key, path: self.path.clone(), version: expert.version.clone() });
        }
        let keys = || self.experts.keys().map(ExpertKey::as_str);
        Err(ConfigError::UnknownExpert {
            key: key.to_owned(),
            path: self.path.clone(),
            included: self.included.len(),
            nearest: nearest_key(key, keys).map(str::to_owned),
            known: keys().map(str::to_owned).collect(),
        })
    }
}

/// Returns whether `key` asks for an expert of its name at `version`.
fn is_asked_for(version: &str, key: &ExpertKey) -> bool {
    key.version_or_tag().is_none_or(|asked| asked == LATEST || asked == version)
}

/// The likely intended key for a mistyped one: one that differs in a few letters, in its version, or in its scope.
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

/// An expert as a file declares it.
pub(super) struct Declaration {
    pub name: String,
    /// The place of its key.
    pub spot: SourceSpan,
    /// `None`: it has mistakes, which are reported already.
    pub expert: Option<Expert>,
    /// The entries of `delegates`, each with its place.
    pub delegates: Vec<(SourceSpan, ExpertKey)>,
}

/// Merges the experts of all files and connects each to its delegates. Reports experts that are declared twice, and
/// delegates that are not declared, that newer runtimes refuse, or whose tool would be hidden by another.
pub(super) fn connect(declarations: Vec<Declaration>, diagnostics: &mut Diagnostics) -> ExpertMap {
    let known = Known::collect(&declarations, diagnostics);
    let delegates = declarations.iter().map(|declaration| {
        diagnostics.set_expert(Some(&declaration.name));
        known.delegates(declaration, diagnostics)
    });
    let delegates: Vec<Vec<ExpertKey>> = delegates.collect();
    diagnostics.set_expert(None);
    let experts = declarations.into_iter().zip(delegates).filter_map(|(declaration, delegates)| {
        let expert = declaration.expert?;
        Some(Expert { delegates, ..expert })
    });
    experts.collect()
}

/// The declarations by name.
struct Known<'a>(IndexMap<&'a str, &'a Declaration>);

impl<'a> Known<'a> {
    fn collect(declarations: &'a [Declaration], diagnostics: &mut Diagnostics) -> Self {
        let mut known: IndexMap<&str, &Declaration> = IndexMap::new();
        for declaration in declarations {
            let first = *known.entry(&declaration.name).or_insert(declaration);
            if !std::ptr::eq(first, declaration) {
                let place = diagnostics.place(&first.spot);
                diagnostics.set_expert(Some(&declaration.name));
                diagnostics.problem(
                    declaration.spot.clone(),
                    format!("already defined at {place}: rename one of them, or leave one out"),
                );
            }
        }
        Self(known)
    }

    /// The keys of the experts that one delegates to, each once.
    fn delegates(&self, from: &Declaration, diagnostics: &mut Diagnostics) -> Vec<ExpertKey> {
        // By the name of the tool that will call each: two delegates of one tool name could not both be called.
        let mut delegates: IndexMap<String, ExpertKey> = IndexMap::new();
        for (spot, asked) in &from.delegates {
            if let Some(reason) = refusal(&from.name, asked.name()) {
                diagnostics.warning(spot.clone(), reason);
            }
            let Some(key) = self.find(asked, spot, diagnostics) else { continue };
            let tool = key.tool_name();
            match delegates.get(tool) {
                Some(other) if *other == key => diagnostics.warning(spot.clone(), "listed twice, ignored"),
                Some(other) => {
                    let (one, two, tool) = (quoted(other.as_str()), quoted(key.as_str()), quoted(tool));
                    let message =
                        format!("{one} and {two} would both be the tool {tool}: rename one, or leave one out");
                    diagnostics.problem(spot.clone(), message);
                }
                None => {
                    if let Some(skill) = from.expert.as_ref().and_then(|expert| skill_with(tool, expert)) {
                        let (tool, skill) = (quoted(tool), quoted(skill));
                        let message = format!(
                            "{skill} has a tool {tool} too, so one of them is offered by a longer name: rename the expert, or omit the tool"
                        );
                        diagnostics.warning(spot.clone(), message);
                    }
                    delegates.insert(tool.to_owned(), key);
                }
            }
        }
        delegates.into_values().collect()
    }

    /// The key of the expert that `asked` names.
    fn find(&self, asked: &ExpertKey, spot: &SourceSpan, diagnostics: &mut Diagnostics) -> Option<ExpertKey> {
        let quoted_key = quoted(asked.as_str());
        let Some(declaration) = self.0.get(asked.name()) else {
            let hint = diagnostics.hint_with(|| nearest_key(asked.as_str(), || self.0.keys().copied()));
            let reason = if hint.is_empty() { unpublished(asked.as_str()) } else { &hint };
            diagnostics.problem(spot.clone(), format!("expert {quoted_key} is not defined{reason}"));
            return None;
        };
        // An expert with mistakes has no version to compare; its own problems are reported already.
        if let Some(expert) = declaration.expert.as_ref().filter(|expert| !is_asked_for(&expert.version, asked)) {
            let hint = other_version(asked, &expert.version);
            diagnostics.problem(spot.clone(), format!("expert {quoted_key} is not defined: {hint}"));
            return None;
        }
        Some(asked.without_version())
    }
}

/// The skill of `expert` that certainly has a tool called `tool`. Servers are not started here, so theirs are unknown.
fn skill_with<'a>(tool: &str, expert: &'a Expert) -> Option<&'a str> {
    let found = expert.skills.iter().find(|(_, skill)| match skill {
        SkillSpec::InteractiveSkill { tools, .. } => tools.contains_key(tool) && skill.common().admits(tool),
        skill => skill.is_built_in_base() && BASE_TOOLS.contains(&tool) && skill.common().admits(tool),
    });
    let has_base = || expert.skills.values().any(SkillSpec::is_built_in_base);
    // Without the base skill, an expert has the loop's own tools all the same.
    let from_loop = || (CONVERSATION_TOOLS.contains(&tool) && !has_base()).then_some(BASE_SKILL);
    found.map(|(name, _)| name.as_str()).or_else(from_loop)
}

/// The reason why newer versions of the original refuse this delegation, if they do. An expert without a scope
/// coordinates those whose scope is its name.
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
    use crate::hint::ErrorHint as _;

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
    fn experts_are_found_by_name_version_and_latest() {
        let team = team(&[("plan", &["@plan/write"]), ("@plan/write", &[])]);
        let project = project(&format!("{team}version = \"1.3.0\"\n")).unwrap();
        for key in ["@plan/write", "@plan/write@1.3.0", "@plan/write@latest"] {
            assert_eq!(project.expert(key).unwrap().name, "@plan/write", "{key}");
        }
    }

    #[test]
    fn other_experts_and_versions_are_refused_with_what_there_is() {
        let project = project(&team(&[("plan", &["@plan/write"]), ("@plan/write", &[])])).unwrap();
        let error = |key: &str| project.expert(key).unwrap_err().with_hint();
        let known = "(defined: plan, @plan/write)";
        let unpublished = "; published experts are not looked up, as this version does not ask the Perstack API";
        for (key, reason, hint) in [
            ("plann", "", "; did you mean \"plan\"?"),
            ("plann@1.0.0", "", "; did you mean \"plan\"?"),
            ("write", "", "; did you mean \"@plan/write\"?"),
            ("zebra", "", ""),
            ("@away/zebra", unpublished, ""),
            ("zebra@latest", unpublished, ""),
            ("plan@", "", "; did you mean \"plan\"?"),
        ] {
            assert_eq!(error(key), format!("expert {key:?} is not defined in p.toml{reason} {known}{hint}"));
        }
        for key in ["plan@2.0.0", "plan@beta"] {
            let expected = format!(
                "expert {key:?} is not defined in p.toml: \"plan\" is defined as version 1.0.0; write \"plan\" or \
                 \"plan@1.0.0\" (this version does not ask the Perstack API for other versions and tags)"
            );
            assert_eq!(error(key), expected);
        }
    }

    #[test]
    fn delegates_must_exist() {
        let delegates = ["@plan/wrte", "other", "@away/y", "@plan/write@2.0.0", "@plan/write@beta"];
        let error = project(&team(&[("plan", &delegates), ("@plan/write", &[])])).unwrap_err();
        let other_version = "\"@plan/write\" is defined as version 1.0.0; write \"@plan/write\" or \"@plan/write@1.0.0\" \
                             (this version does not ask the Perstack API for other versions and tags)";
        assert_eq!(
            error.to_string().lines().collect::<Vec<_>>(),
            [
                "p.toml:3:14: experts.plan.delegates.0: expert \"@plan/wrte\" is not defined; did you mean \
                 \"@plan/write\"?",
                "p.toml:3:28: experts.plan.delegates.1: expert \"other\" is not defined",
                "p.toml:3:37: experts.plan.delegates.2: expert \"@away/y\" is not defined; published experts are not \
                 looked up, as this version does not ask the Perstack API",
                &format!(
                    "p.toml:3:48: experts.plan.delegates.3: expert \"@plan/write@2.0.0\" is not defined: {other_version}"
                ),
                &format!(
                    "p.toml:3:69: experts.plan.delegates.4: expert \"@plan/write@beta\" is not defined: {other_version}"
                ),
            ]
        );
    }

    #[test]
    fn delegates_become_the_keys_that_are_defined() {
        let delegates = ["@plan/write@1.0.0", "plan-b@latest", "@plan/write", "plan"];
        let project = project(&team(&[("plan", &delegates), ("@plan/write", &["plan"]), ("plan-b", &[])])).unwrap();
        let keys: Vec<&str> = project.expert("plan").unwrap().delegates.iter().map(ExpertKey::as_str).collect();
        assert_eq!(keys, ["@plan/write", "plan-b", "plan"]);
        assert_eq!(
            project.warnings,
            [
                "p.toml:3:52: experts.plan.delegates.2: listed twice, ignored",
                "p.toml:3:67: experts.plan.delegates.3: an expert that delegates to itself; newer runtimes refuse this",
                "p.toml:6:14: experts.@plan/write.delegates.0: an expert that delegates to its own coordinator; newer \
                 runtimes refuse this",
            ]
        );
        assert_eq!(project.unknown_keys, Vec::<String>::new());
    }

    #[test]
    fn a_broken_delegate_is_not_reported_as_missing() {
        let text = "[experts.a]\ninstruction = \"i\"\ndelegates = [\"b@2.0.0\"]\n[experts.b]\n";
        assert_eq!(
            project(text).unwrap_err().to_string(),
            "p.toml:4:10: experts.b.instruction: missing, expected string"
        );
    }

    #[test]
    fn two_delegates_cannot_be_one_tool() {
        let text =
            team(&[("a", &["write", "@a/write", "@b/write"]), ("write", &[]), ("@a/write", &[]), ("@b/write", &[])]);
        let both = |two: &str| {
            format!("\"write\" and \"{two}\" would both be the tool \"write\": rename one, or leave one out")
        };
        assert_eq!(
            project(&text).unwrap_err().to_string().lines().collect::<Vec<_>>(),
            [
                format!("p.toml:3:23: experts.a.delegates.1: {}", both("@a/write")),
                format!("p.toml:3:35: experts.a.delegates.2: {}", both("@b/write")),
            ]
        );
    }

    #[test]
    fn delegates_with_the_name_of_an_own_tool_are_reported() {
        let warnings = |skills: &str| {
            let experts = team(&[("todo", &[]), ("exec", &[]), ("ask", &[])]);
            let a = "[experts.a]\ninstruction = \"i\"\ndelegates = [\"todo\", \"exec\", \"ask\"]\n";
            project(&format!("{experts}{a}{skills}")).unwrap().warnings
        };
        let hidden = |place: &str, tool: &str, skill: &str| {
            format!(
                "p.toml:12:{place}: {skill:?} has a tool {tool:?} too, so one of them is offered by a longer name: rename the expert, or omit the tool"
            )
        };
        let todo = hidden("14: experts.a.delegates.0", "todo", BASE_SKILL);
        let exec = hidden("22: experts.a.delegates.1", "exec", BASE_SKILL);
        assert_eq!(warnings(""), [todo.clone(), exec.clone()]);
        assert_eq!(warnings("skills = {}"), std::slice::from_ref(&todo));
        let base = "[experts.a.skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \"npx\"\n\
                    packageName = \"@perstack/base\"\n";
        assert_eq!(warnings(&format!("{base}omit = [\"todo\"]\n")), [exec]);
        let person = "[experts.a.skills.person]\ntype = \"interactiveSkill\"\n\
                      tools.ask.inputJsonSchema = '{\"type\":\"object\"}'\n";
        assert_eq!(warnings(person), [todo, hidden("30: experts.a.delegates.2", "ask", "person")]);
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
