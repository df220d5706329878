//! The catalogue that comes with the program, `models.toml`.

use std::sync::{Arc, LazyLock};

use crate::model::Catalogue;

/// Its tables are found on first use, its models read as they are asked for.
static BUILT_IN: LazyLock<Arc<Catalogue>> =
    LazyLock::new(|| Arc::new(Catalogue::built_in(include_str!("models.toml"))));

/// The catalogue of this version.
pub fn built_in() -> Arc<Catalogue> {
    Arc::clone(&BUILT_IN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expert::ModelTier;
    use crate::model::{Ability, Model};
    use crate::setting::ProviderName;

    const TIERS: [ModelTier; 3] = [ModelTier::Low, ModelTier::Middle, ModelTier::High];

    fn model(provider: ProviderName, id: &str) -> Model {
        built_in().model(provider, id).cloned().unwrap_or_else(|| panic!("{id} is not known"))
    }

    #[test]
    fn the_file_is_a_catalogue_and_read_line_by_line_the_same() {
        let whole = Catalogue::parse(include_str!("models.toml"), "the built-in catalogue").unwrap();
        assert_eq!(*built_in(), whole);
        for provider in ProviderName::ALL {
            assert!(built_in().models(provider).eq(whole.models(provider)), "{provider}: another order");
        }
    }

    #[test]
    fn every_entry_is_plausible() {
        for provider in ProviderName::ALL {
            let models: Vec<Model> = built_in().models(provider).cloned().collect();
            assert!(!models.is_empty(), "{provider}");
            for model in models {
                let what = format!("{provider} {}", model.id);
                let window = model.context_window.unwrap_or_else(|| panic!("{what}: no window"));
                assert!((8_000..=20_000_000).contains(&window), "{what}: {window}");
                assert!(model.max_output_tokens.is_none_or(|most| (1_000..=window).contains(&most)), "{what}");
                assert!(model.source.starts_with("https://") && model.checked.is_some(), "{what}");
                let prices = [model.price, model.later.map(|later| later.price)];
                for price in prices.into_iter().flatten() {
                    let ordinary = price.rates;
                    for rates in [Some(ordinary), price.long_prompts.map(|long| long.rates)].into_iter().flatten() {
                        assert!(rates.cached_input <= rates.input && rates.input <= rates.output, "{what}: {rates:?}");
                        assert!(rates.cache_write.is_none_or(|write| write >= rates.input), "{what}: {rates:?}");
                        assert!(rates.input >= ordinary.input && rates.output >= ordinary.output, "{what}: {rates:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_tier_is_a_known_model_with_a_price_that_takes_tools() {
        for provider in ProviderName::ALL {
            for tier in TIERS {
                match built_in().tier(provider, tier) {
                    Some(id) => {
                        let model = model(provider, id);
                        assert!(model.price.is_some() && model.abilities.contains(&Ability::Tools), "{id}");
                    }
                    None => assert_eq!(provider, ProviderName::AzureOpenAi),
                }
            }
        }
        let tiers = |provider| TIERS.map(|tier| built_in().tier(provider, tier).map(str::to_owned));
        let ids = |ids: [&str; 3]| ids.map(|id| Some(id.to_owned()));
        let anthropic = ["claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-6"];
        assert_eq!(tiers(ProviderName::Anthropic), ids(anthropic));
        assert_eq!(tiers(ProviderName::OpenAi), ids(["gpt-5-nano", "gpt-5-mini", "gpt-5"]));
        let google = ["gemini-2.5-flash-lite", "gemini-2.5-flash", "gemini-2.5-pro"];
        assert_eq!(tiers(ProviderName::Google), ids(google));
    }

    #[test]
    fn the_originals_models_are_known_with_their_windows() {
        use ProviderName::{Anthropic, DeepSeek, Google, Ollama, OpenAi};
        for (provider, window, ids) in [
            (
                Anthropic,
                200_000,
                &[
                    "claude-opus-4-5",
                    "claude-opus-4-1",
                    "claude-opus-4-20250514",
                    "claude-sonnet-4-5",
                    "claude-sonnet-4-20250514",
                    "claude-3-7-sonnet-20250219",
                    "claude-haiku-4-5",
                    "claude-3-5-haiku-latest",
                ][..],
            ),
            (
                Google,
                1_048_576,
                &["gemini-3-pro-preview", "gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite"],
            ),
            (OpenAi, 400_000, &["gpt-5", "gpt-5-mini", "gpt-5-nano"]),
            (OpenAi, 128_000, &["gpt-5-chat-latest"]),
            (OpenAi, 200_000, &["o4-mini", "o3", "o3-mini"]),
            (OpenAi, 1_047_576, &["gpt-4.1"]),
            (DeepSeek, 128_000, &["deepseek-chat", "deepseek-reasoner"]),
            (Ollama, 131_072, &["gpt-oss:20b", "gpt-oss:120b"]),
            (Ollama, 32_000, &["gemma3:1b"]),
            (Ollama, 128_000, &["gemma3:4b", "gemma3:12b", "gemma3:27b"]),
        ] {
            for id in ids {
                assert_eq!(model(provider, id).context_window, Some(window), "{id}");
            }
        }
    }
}
