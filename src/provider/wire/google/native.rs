//! Tools that Google runs itself, and how they go together with functions.

use serde_json::{Value, json};

use super::Service;
use crate::generation::NativeTools;
use crate::provider::NativeSupport;

/// The tools that the Gemini API runs.
pub(super) const GEMINI_API: NativeSupport = NativeSupport {
    tools: &["googleSearch", "codeExecution", "urlContext", "googleMaps", "fileSearch"],
    skills: false,
};

/// The tools that Vertex AI runs.
pub(super) const VERTEX_AI: NativeSupport = NativeSupport {
    tools: &["googleSearch", "codeExecution", "urlContext", "googleMaps", "enterpriseWebSearch"],
    skills: false,
};

/// The tools asked for that this service runs; others are another provider's. `fileSearch` needs stores
/// (`vectorStoreIds`) to search in and is left out without them.
pub(super) fn tools(native: NativeTools<'_>, service: Service) -> Vec<Value> {
    native.tools.iter().filter_map(|name| tool(name, native.options, service)).collect()
}

fn tool(name: &str, options: Option<&Value>, service: Service) -> Option<Value> {
    match (name, service) {
        ("googleSearch" | "codeExecution" | "urlContext" | "googleMaps", _)
        | ("enterpriseWebSearch", Service::VertexAi) => Some(json!({name: {}})),
        ("fileSearch", Service::GeminiApi) => file_search(options?.get("fileSearch")?),
        _ => None,
    }
}

fn file_search(options: &Value) -> Option<Value> {
    let stores = options.get("vectorStoreIds")?.as_array().filter(|stores| !stores.is_empty())?;
    let mut search = json!({"fileSearchStoreNames": stores});
    if let (Some(count), Value::Object(search)) = (options.get("maxNumResults"), &mut search) {
        search.insert("topK".into(), count.clone());
    }
    Some(json!({"fileSearch": search}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(names: &[&str], options: &Value, service: Service) -> Vec<Value> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        tools(NativeTools { tools: &names, options: Some(options), skills: None }, service)
    }

    #[test]
    fn each_service_is_asked_for_what_it_runs() {
        let all = ["googleSearch", "codeExecution", "urlContext", "googleMaps", "enterpriseWebSearch", "webSearch"];
        let common = [
            json!({"googleSearch": {}}),
            json!({"codeExecution": {}}),
            json!({"urlContext": {}}),
            json!({"googleMaps": {}}),
        ];
        assert_eq!(asked(&all, &json!({}), Service::GeminiApi), common);
        let of_vertex = asked(&all, &json!({}), Service::VertexAi);
        assert_eq!(of_vertex[..4], common);
        assert_eq!(of_vertex[4..], [json!({"enterpriseWebSearch": {}})]);
    }

    #[test]
    fn what_is_supported_is_asked_for() {
        let options = json!({"fileSearch": {"vectorStoreIds": ["fileSearchStores/owls"]}});
        for (support, service) in [(GEMINI_API, Service::GeminiApi), (VERTEX_AI, Service::VertexAi)] {
            assert_eq!(asked(support.tools, &options, service).len(), support.tools.len());
        }
    }

    #[test]
    fn files_are_searched_in_the_stores_named() {
        let search = |options| asked(&["fileSearch"], &json!({"fileSearch": options}), Service::GeminiApi);
        let stores = json!({"vectorStoreIds": ["fileSearchStores/owls"], "maxNumResults": 3});
        let expected = json!({"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/owls"], "topK": 3}});
        assert_eq!(search(stores.clone()), [expected]);
        assert!(search(json!({"vectorStoreIds": []})).is_empty());
        assert!(search(json!({})).is_empty());
        assert!(asked(&["fileSearch"], &json!({"fileSearch": stores}), Service::VertexAi).is_empty());
    }
}
