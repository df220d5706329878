//! `perstack models`: the models that are known, with their limits and prices.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::Args;
use perstack::cost::{LongPrompts, Price, Rates};
use perstack::expert::ModelTier;
use perstack::fact::Clock;
use perstack::model::{Ability, Catalogue, Model};
use perstack::runtime::SystemClock;
use perstack::setting::ProviderName;
use serde::Serialize;

use super::failure::Failure;
use super::options::provider_parser;
use super::render::{json_for, visible};
use super::user_folder::{catalogue, models_file};
use super::{Exit, Process};

const TIERS: [(ModelTier, &str); 3] =
    [(ModelTier::Low, "low"), (ModelTier::Middle, "middle"), (ModelTier::High, "high")];

/// Columns between cells.
const GAP: &str = "  ";

const AFTER_HELP: &str = "\
Any other model can be used as well, without limits and prices. Your own
models.toml, beside config.toml in the folder of your defaults, adds models and replaces entries:

  [openai]
  low = \"my-model\"
  [openai.models]
  my-model = { contextWindow = 128_000, maxOutput = 16_000, price = { input = 0.5, output = 2 } }";

/// Lists the known models: context, output, prices, abilities, tiers
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ModelsArgs {
    /// Only this provider's
    #[arg(value_parser = provider_parser())]
    provider: Option<ProviderName>,
    /// An array of JSON objects, with all prices and the sources of the numbers
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &ModelsArgs, process: &Process) -> Result<Exit, Failure> {
    let catalogue = catalogue(process)?;
    let providers: Vec<ProviderName> = args.provider.map_or_else(|| ProviderName::ALL.to_vec(), |only| vec![only]);
    let text = if args.json {
        json_for(&json(&catalogue, &providers)?, io::stdout().is_terminal()).into_owned()
    } else {
        let now = SystemClock.stamp().at;
        let users = models_file(process);
        let is_one = args.provider.is_some();
        tables(&catalogue, &providers, is_one, now) + &legend(users.as_deref())
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(Exit::Completed),
    }
}

/// A table per provider. One with the models of another gets a line that refers to it, unless it is asked for by name.
fn tables(catalogue: &Catalogue, providers: &[ProviderName], is_one: bool, now: u64) -> String {
    let part = |provider: &ProviderName| {
        if let Some(like) = catalogue.like(*provider).filter(|_| !is_one) {
            return format!("{provider}: has the models of {like} (perstack models {provider})\n\n");
        }
        let models: Vec<&Model> = catalogue.models(*provider).collect();
        format!("{provider}{}\n{}\n", sources(&models), table(catalogue, *provider, &models, now))
    };
    providers.iter().map(part).collect()
}

/// The sources of the numbers.
fn sources(models: &[&Model]) -> String {
    let mut sources: Vec<String> = Vec::new();
    for model in models {
        let checked = model.checked.as_ref().map(|day| format!(", {day}")).unwrap_or_default();
        let source = visible(&format!("{}{checked}", model.source));
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    if sources.is_empty() { ": no models are known".to_owned() } else { format!(" ({})", sources.join("; ")) }
}

fn table(catalogue: &Catalogue, provider: ProviderName, models: &[&Model], now: u64) -> String {
    // The prices with their unit: a legend below a long list is not seen.
    let head =
        ["MODEL", "CONTEXT", "OUTPUT", "IN $/M", "CACHED $/M", "OUT $/M", "CAN", "TIER", "NOTES"].map(str::to_owned);
    let rows = models.iter().map(|model| row(catalogue, provider, model, now));
    let cells: Vec<[String; 9]> = std::iter::once(head).filter(|_| !models.is_empty()).chain(rows).collect();
    let mut widths = [0; 9];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 9]| {
        let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("  {}\n", padded.collect::<Vec<_>>().join(GAP).trim_end())
    };
    cells.iter().map(line).collect()
}

fn row(catalogue: &Catalogue, provider: ProviderName, model: &Model, now: u64) -> [String; 9] {
    let unknown = || "-".to_owned();
    let tokens = |tokens: Option<u64>| tokens.map_or_else(unknown, in_short);
    let rates = model.price_at(now).map(|price| price.rates);
    let rate = |rate: fn(&Rates) -> u64| rates.as_ref().map_or_else(unknown, |rates| usd(rate(rates)).to_string());
    let can: Vec<&str> = model.abilities.iter().map(|ability| ability_in_words(*ability)).collect();
    [
        visible(&model.id),
        tokens(model.context_window),
        tokens(model.max_output_tokens),
        rate(|rates| rates.input),
        rate(|rates| rates.cached_input),
        rate(|rates| rates.output),
        can.join(","),
        tiers(catalogue, provider, model).join(","),
        visible(&notes(model, now).join("; ")),
    ]
}

fn notes(model: &Model, now: u64) -> Vec<String> {
    let in_words = |rates: &Rates| format!("${}/{}/{}", usd(rates.input), usd(rates.cached_input), usd(rates.output));
    let long = model.price_at(now).and_then(|price| price.long_prompts);
    let long = long.map(|long| format!("prompts over {}: {}", in_short(long.over), in_words(&long.rates)));
    let later = model.later.as_ref().filter(|later| later.from_ms > now);
    let later = later.map(|later| format!("from {}: {}", later.from, in_words(&later.price.rates)));
    [long, later, model.note.clone()].into_iter().flatten().collect()
}

fn legend(users: Option<&Path>) -> String {
    let prices =
        "$/M: US dollars per million tokens; three prices are those of in/cached/out; - where nothing is known.\n";
    let own = users.map(|path| {
        let is_there = if path.exists() { "" } else { " (not there)" };
        format!("Your own models: {}{is_there}\n", visible(&path.display().to_string()))
    });
    prices.to_owned() + &own.unwrap_or_default()
}

/// A number of tokens in a few characters: `400k`, `65.5k`, `1.05M`.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn in_short(tokens: u64) -> String {
    let rounded = |unit: f64, digits: f64| (tokens as f64 / unit * digits).round() / digits;
    match tokens {
        0..1_000 => tokens.to_string(),
        1_000..1_000_000 => format!("{}k", rounded(1e3, 10.0)),
        _ => format!("{}M", rounded(1e6, 100.0)),
    }
}

fn tiers(catalogue: &Catalogue, provider: ProviderName, model: &Model) -> Vec<&'static str> {
    let has_tier = |tier: ModelTier| catalogue.tier(provider, tier) == Some(model.id.as_str());
    TIERS.iter().filter(|(tier, _)| has_tier(*tier)).map(|(_, name)| *name).collect()
}

fn ability_in_words(ability: Ability) -> &'static str {
    match ability {
        Ability::Tools => "tools",
        Ability::Images => "images",
        Ability::Pdf => "pdf",
        Ability::Reasoning => "reasoning",
    }
}

/// Picodollars a token as US dollars per million tokens.
#[expect(clippy::cast_precision_loss, reason = "a catalogue's rates are far below 2^53")]
fn usd(rate: u64) -> f64 {
    rate as f64 / 1_000_000.0
}

/// A model in the JSON form. Unknown values are null.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    provider: ProviderName,
    id: &'a str,
    context_window: Option<u64>,
    max_output_tokens: Option<u64>,
    /// Unless `later` holds already.
    price: Option<PriceRow>,
    later: Option<LaterRow<'a>>,
    can: &'a [Ability],
    tiers: Vec<&'static str>,
    note: Option<&'a str>,
    source: &'a str,
    checked: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LaterRow<'a> {
    from: &'a str,
    price: PriceRow,
}

/// US dollars per million tokens.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PriceRow {
    input: f64,
    cached_input: f64,
    cache_write: f64,
    output: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    long_prompts: Option<LongPromptsRow>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LongPromptsRow {
    over: u64,
    input: f64,
    cached_input: f64,
    cache_write: f64,
    output: f64,
}

impl From<Price> for PriceRow {
    fn from(price: Price) -> Self {
        let rates = price.rates;
        Self {
            input: usd(rates.input),
            cached_input: usd(rates.cached_input),
            cache_write: usd(rates.cache_write.unwrap_or(rates.input)),
            output: usd(rates.output),
            long_prompts: price.long_prompts.map(|LongPrompts { over, rates }| LongPromptsRow {
                over,
                input: usd(rates.input),
                cached_input: usd(rates.cached_input),
                cache_write: usd(rates.cache_write.unwrap_or(rates.input)),
                output: usd(rates.output),
            }),
        }
    }
}

fn json(catalogue: &Catalogue, providers: &[ProviderName]) -> Result<String, Failure> {
    let rows = providers.iter().flat_map(|provider| {
        catalogue.models(*provider).map(|model| Row {
            provider: *provider,
            id: &model.id,
            context_window: model.context_window,
            max_output_tokens: model.max_output_tokens,
            price: model.price.map(PriceRow::from),
            later: model.later.as_ref().map(|later| LaterRow { from: &later.from, price: later.price.into() }),
            can: &model.abilities,
            tiers: tiers(catalogue, *provider, model),
            note: model.note.as_deref(),
            source: &model.source,
            checked: model.checked.as_deref(),
        })
    });
    let rows: Vec<Row<'_>> = rows.collect();
    serde_json::to_string_pretty(&rows).map(|text| text + "\n").map_err(Failure::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
[google]
middle = "g-pro"
high = "g-pro"
source = "https://prices.example"
checked = "2026-11-22"
[google.models]
g-pro = { contextWindow = 1_000_000, maxOutput = 64_000, price = { input = 1.25, cachedInput = 0.125, output = 10, longPrompts = { over = 200_000, input = 2.5, output = 15 } }, can = ["tools", "pdf"] }
g-new = { price = { input = 1, output = 2 }, later = { from = "2027-01-01", price = { input = 3, output = 4 } }, note = "a \u001b[31mnote" }
[google-vertex]
like = "google"
"#;
    /// 2026-11-22 and 2027-01-01.
    const BEFORE: u64 = 1_795_305_600_000;
    const AFTER: u64 = 1_798_761_600_000;

    fn catalogue() -> Catalogue {
        Catalogue::parse(TEXT, "here").unwrap()
    }

    #[test]
    fn the_table_has_limits_prices_tiers_and_where_they_are_from() {
        let providers = [ProviderName::Google, ProviderName::GoogleVertex];
        insta::assert_snapshot!(tables(&catalogue(), &providers, false, BEFORE), @r#"
        google (https://prices.example, 2026-11-22)
          MODEL  CONTEXT  OUTPUT  IN $/M  CACHED $/M  OUT $/M  CAN        TIER             NOTES
          g-pro  1M       64k     1.25    0.125       10       tools,pdf  low,middle,high  prompts over 200k: $2.5/2.5/15
          g-new  -        -       1       1           2                                    from 2027-01-01: $3/3/4; a \x1b[31mnote

        google-vertex: has the models of google (perstack models google-vertex)
        "#);
    }

    #[test]
    fn numbers_of_tokens_are_short() {
        let short = [999, 4_096, 65_536, 200_000, 1_048_576, 10_000_000].map(in_short);
        assert_eq!(short, ["999", "4.1k", "65.5k", "200k", "1.05M", "10M"]);
    }

    #[test]
    fn a_later_price_is_the_price_once_it_holds() {
        let table = tables(&catalogue(), &[ProviderName::Google], true, AFTER);
        let line = table.lines().find(|line| line.contains("g-new")).unwrap();
        assert_eq!(line.split_whitespace().take(6).collect::<Vec<_>>(), ["g-new", "-", "-", "3", "3", "4"]);
    }

    #[test]
    fn json_has_a_row_per_model_with_all_its_prices() {
        let text = json(&catalogue(), &[ProviderName::GoogleVertex]).unwrap();
        let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(rows.as_array().map(Vec::len), Some(2));
        insta::assert_json_snapshot!(rows[0], @r#"
        {
          "provider": "google-vertex",
          "id": "g-pro",
          "contextWindow": 1000000,
          "maxOutputTokens": 64000,
          "price": {
            "input": 1.25,
            "cachedInput": 0.125,
            "cacheWrite": 1.25,
            "output": 10.0,
            "longPrompts": {
              "over": 200000,
              "input": 2.5,
              "cachedInput": 2.5,
              "cacheWrite": 2.5,
              "output": 15.0
            }
          },
          "later": null,
          "can": [
            "tools",
            "pdf"
          ],
          "tiers": [
            "low",
            "middle",
            "high"
          ],
          "note": null,
          "source": "https://prices.example",
          "checked": "2026-11-22"
        }
        "#);
    }
}
