//! [`NativeSupport`]: the tools and skills that a provider runs itself, and warnings about those that it does not.
//!
//! `runtime` shows the warnings before the first request. How a request asks for them is left to the wire protocols.

use serde_json::Value;

use crate::generation::NativeTools;
use crate::provider::Provider;
use crate::setting::ProviderName;

/// The tools and skills that requests in a protocol can ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NativeSupport {
    /// Names in `providerTools`.
    pub tools: &'static [&'static str],
    /// `providerSkills` can be loaded.
    pub skills: bool,
}

impl Provider {
    /// Returns a sentence for each part of `native` that requests will leave out, to be shown once, before the first.
    pub fn native_warnings(&self, native: NativeTools<'_>) -> Vec<String> {
        warnings(self.name(), self.title(), self.protocol.native_support(), native)
    }
}

fn warnings(provider: ProviderName, title: &str, support: NativeSupport, native: NativeTools<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in native.tools {
        if !support.tools.contains(&name.as_str()) {
            warnings.push(format!("provider {provider} does not run the tool {name} here; it is left out"));
        } else if name == "fileSearch" && vector_stores(native.options).is_none() {
            // The original's words.
            warnings.push(format!(
                "{title} fileSearch tool requires vectorStoreIds. Set providerToolOptions.fileSearch.vectorStoreIds to \
                 use this tool.",
            ));
        }
    }
    let skills = native.skills.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !skills.is_empty() && !support.skills {
        warnings.push(format!("provider {provider} does not load providerSkills; they are left out"));
        return warnings;
    }
    for skill in skills {
        warnings.extend(CustomSkill::read(skill).err());
    }
    warnings
}

/// The stores that `fileSearch` is to search; `None` for none.
pub(super) fn vector_stores(options: Option<&Value>) -> Option<&Value> {
    options?.pointer("/fileSearch/vectorStoreIds").filter(|stores| stores.as_array().is_some_and(|ids| !ids.is_empty()))
}

/// A skill that the user made and uploaded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CustomSkill {
    pub(super) id: String,
    pub(super) version: String,
}

impl CustomSkill {
    /// Reads an entry of `providerSkills`; `None` for a skill of the provider's own. The definition is JSON text with
    /// the `skill_id` that the provider gave, and a `version` if it is not to be the latest.
    ///
    /// # Errors
    /// A sentence with the reason why the skill is left out.
    pub(super) fn read(skill: &Value) -> Result<Option<Self>, String> {
        if skill.get("type").and_then(Value::as_str) != Some("custom") {
            return Ok(None);
        }
        let text = |key: &str| skill.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = text("name");
        let definition: Value = serde_json::from_str(text("definition"))
            .map_err(|error| format!("Invalid JSON in custom skill definition for {name:?}: {error}"))?;
        let field = |key: &str| definition.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(id) = field("skill_id").or_else(|| field("skillId")) else {
            return Err(format!(
                "the definition of custom skill {name:?} has no skill_id; the skill is left out. Upload it and give the \
                 id that the provider answers with"
            ));
        };
        Ok(Some(Self { id: id.to_owned(), version: field("version").unwrap_or("latest").to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SUPPORT: NativeSupport = NativeSupport { tools: &["webSearch", "fileSearch"], skills: true };

    fn warned(support: NativeSupport, tools: &[&str], options: &Value, skills: &Value) -> Vec<String> {
        let tools: Vec<String> = tools.iter().map(|name| (*name).to_owned()).collect();
        let native = NativeTools { tools: &tools, options: Some(options), skills: Some(skills) };
        warnings(ProviderName::OpenAi, "OpenAI", support, native)
    }

    #[test]
    fn what_is_left_out_is_warned_of_by_name() {
        let stores = json!({"fileSearch": {"vectorStoreIds": ["vs_1"]}});
        let skills = json!([{"type": "builtin", "skillId": "pdf"}]);
        assert_eq!(warned(SUPPORT, &["webSearch", "fileSearch"], &stores, &skills), Vec::<String>::new());
        let files = "OpenAI fileSearch tool requires vectorStoreIds. Set \
                     providerToolOptions.fileSearch.vectorStoreIds to use this tool.";
        assert_eq!(
            warned(SUPPORT, &["fileSearch"], &json!({"fileSearch": {"vectorStoreIds": []}}), &json!([])),
            [files]
        );
        assert_eq!(
            warned(NativeSupport::default(), &["webSearch"], &json!({}), &skills),
            [
                "provider openai does not run the tool webSearch here; it is left out",
                "provider openai does not load providerSkills; they are left out",
            ]
        );
    }

    #[test]
    fn custom_skills_name_what_was_uploaded() {
        let skill = |definition: &str| json!({"type": "custom", "name": "owls", "definition": definition});
        let read = |definition: &str| CustomSkill::read(&skill(definition));
        let of = |id: &str, version: &str| Ok(Some(CustomSkill { id: id.into(), version: version.into() }));
        assert_eq!(read(r#"{"skill_id":"skill_1"}"#), of("skill_1", "latest"));
        assert_eq!(read(r#"{"skillId":"skill_1","version":"17"}"#), of("skill_1", "17"));
        assert_eq!(CustomSkill::read(&json!({"type": "builtin", "skillId": "pdf"})), Ok(None));
        let bad = warned(SUPPORT, &[], &json!({}), &json!([skill("{"), skill("{}")]));
        assert_eq!(bad.len(), 2);
        assert!(bad[0].starts_with("Invalid JSON in custom skill definition for \"owls\": "), "{bad:?}");
        assert!(bad[1].contains("\"owls\" has no skill_id"), "{bad:?}");
    }
}
