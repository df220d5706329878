//! [`other_server`]: the servers of a configuration that is compared with a recording. Neither a lock nor the recording
//! has the tools of one that is new or defined in another way. The opening of tools calls it; the difference is the
//! caller's of the job to show.

use serde_json::Value;

use crate::expert::{Expert, SkillCommon, SkillSpec};
use crate::replay::ReplayDifference;
use crate::runtime::job::backends::{ComparedRecording, JobBackends};
use crate::runtime::job::recorded_addresses::hidden_endpoint;
use crate::runtime::options::Options;
use crate::runtime::tools::servers::server_spec;

/// The first server of `expert` whose recorded tools are not its own, where its options are compared with a recording.
pub fn other_server(expert: &Expert, options: &Options, backends: &JobBackends) -> Option<ReplayDifference> {
    let compared = backends.compared.as_ref()?;
    for (name, spec) in &expert.skills {
        let Some(spec) = server_spec(spec, options.base_skill_command.as_deref()) else { continue };
        let now = hiding_endpoint(compared.paths.hidden(backends.redactor.value(definition(&spec))));
        let recorded = recorded_spec(compared, expert, name);
        let is_same = |recorded: &SkillSpec| {
            hiding_endpoint(definition(recorded)) == now && !admits_more(spec.common(), recorded.common())
        };
        if !recorded.as_ref().is_some_and(is_same) {
            return Some(ReplayDifference::Server {
                expert: expert.key.clone(),
                skill: name.clone(),
                recorded: recorded.as_ref().map(definition).map(hiding_endpoint),
                now,
            });
        }
    }
    None
}

/// The server that was recorded for a skill of `expert`.
fn recorded_spec(compared: &ComparedRecording, expert: &Expert, skill: &str) -> Option<SkillSpec> {
    let field = |name: &str| compared.options.get(name);
    let spec = field("experts")?.get(expert.key.as_str())?.get("skills")?.get(skill)?;
    let spec = serde_json::from_value::<SkillSpec>(spec.clone()).ok()?;
    let command =
        field("baseSkillCommand").and_then(|command| serde_json::from_value::<Vec<String>>(command.clone()).ok());
    server_spec(&spec, command.as_deref())
}

/// The parts of a skill that decide which server it is. What else a skill has is in requests, or in none.
fn definition(spec: &SkillSpec) -> Value {
    let mut spec = spec.clone();
    let SkillCommon { name, roots, .. } = std::mem::take(spec.common_mut());
    *spec.common_mut() = SkillCommon { name, roots, ..SkillCommon::default() };
    match &mut spec {
        SkillSpec::McpStdioSkill { lazy_init, allowed_domains, .. } => (*lazy_init, *allowed_domains) = (false, None),
        SkillSpec::McpSseSkill { allowed_domains, .. } => *allowed_domains = None,
        SkillSpec::InteractiveSkill { .. } => {}
    }
    // Cannot fail: the type has string keys only, and no number that JSON lacks.
    serde_json::to_value(spec).unwrap_or_default()
}

/// The definition with a digest in the place of its server's address, as a recording has it.
fn hiding_endpoint(mut definition: Value) -> Value {
    if let Some(endpoint) = definition.get_mut("endpoint")
        && let Some(address) = endpoint.as_str().map(hidden_endpoint)
    {
        *endpoint = address.into();
    }
    definition
}

/// Returns true if `now` may let tools through that `then` did not: those were not recorded.
fn admits_more(now: &SkillCommon, then: &SkillCommon) -> bool {
    let is_new = |name: &String| now.admits(name) && !then.admits(name);
    (now.pick.is_empty() && !then.pick.is_empty()) || now.pick.iter().chain(&then.omit).any(is_new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_tools_are_known_and_more_are_not() {
        let skill = |pick: &[&str], omit: &[&str]| SkillCommon {
            pick: pick.iter().map(|name| (*name).to_owned()).collect(),
            omit: omit.iter().map(|name| (*name).to_owned()).collect(),
            ..SkillCommon::default()
        };
        for (now, then, expected) in [
            (skill(&[], &[]), skill(&[], &[]), false),
            (skill(&["a"], &[]), skill(&["a", "b"], &[]), false),
            (skill(&["a"], &[]), skill(&[], &[]), false),
            (skill(&[], &["a"]), skill(&[], &[]), false),
            (skill(&["a", "b"], &["b"]), skill(&["a"], &[]), false),
            (skill(&["a", "b"], &[]), skill(&["a"], &[]), true),
            (skill(&[], &[]), skill(&["a"], &[]), true),
            (skill(&[], &[]), skill(&[], &["a"]), true),
            (skill(&["b"], &[]), skill(&[], &["a"]), false),
        ] {
            assert_eq!(admits_more(&now, &then), expected, "{now:?} {then:?}");
        }
    }
}
