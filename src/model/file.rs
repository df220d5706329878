//! A catalogue's text: a table per provider, read strictly.

use indexmap::IndexMap;
use serde::Deserialize;

use super::{Ability, CatalogueError, LaterPrice, Model, Row, Shelf, Tiers, UnreadModel};
use crate::cost::{LongPrompts, Price, Rates};
use crate::setting::ProviderName;

/// Highest price that a catalogue may have, in USD per million tokens; more is a slip of the pen.
const DEAREST: f64 = 1_000_000.0;

/// The shelves that `text` describes. `origin` is the source of models that name none.
pub(super) fn read(text: &str, origin: &str) -> Result<IndexMap<ProviderName, Shelf>, CatalogueError> {
    let stored: IndexMap<ProviderName, StoredShelf> = toml::from_str(text).map_err(|error| CatalogueError {
        message: error.message().to_owned(),
        span: error.span().unwrap_or_default(),
    })?;
    stored.into_iter().map(|(name, stored)| Ok((name, stored.shelf(origin)?))).collect()
}

/// The shelves of a text with a line for each value and each model, whose models are not read yet.
pub(super) fn cut(text: &'static str) -> IndexMap<ProviderName, Shelf> {
    let mut shelves: IndexMap<ProviderName, Shelf> = IndexMap::new();
    let (mut source, mut checked) = ("", None);
    for (header, lines) in text.split("\n[").filter_map(|table| table.split_once("]\n")) {
        let name = header.strip_suffix(".models");
        let Ok(provider) = name.unwrap_or(header).parse::<ProviderName>() else { continue };
        let shelf = shelves.entry(provider).or_default();
        let lines = lines.lines().filter_map(|line| Some((line, line.split_once(" = ")?)));
        if name.is_some() {
            let row = |text| Row::from(UnreadModel { text, source, checked });
            shelf.models.extend(lines.map(|(line, (id, _))| (id.trim_matches('"').to_owned(), row(line))));
            continue;
        }
        (source, checked) = ("", None);
        for (_, (key, value)) in lines {
            let value = value.trim_matches('"');
            match key {
                "low" => shelf.tiers.low = Some(value.to_owned()),
                "middle" => shelf.tiers.middle = Some(value.to_owned()),
                "high" => shelf.tiers.high = Some(value.to_owned()),
                "like" => shelf.like = value.parse().ok(),
                "source" => source = value,
                "checked" => checked = Some(value),
                _ => {}
            }
        }
    }
    shelves
}

/// The model of one line; `None` for a line that is none.
pub(super) fn read_model(UnreadModel { text, source, checked }: UnreadModel) -> Option<Model> {
    let models: IndexMap<String, StoredModel> = toml::from_str(text).ok()?;
    models.into_iter().next().and_then(|(id, stored)| stored.model(id, source, checked).ok())
}

/// A provider's table, as it is in the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredShelf {
    low: Option<String>,
    middle: Option<String>,
    high: Option<String>,
    like: Option<ProviderName>,
    source: Option<String>,
    checked: Option<String>,
    #[serde(default)]
    models: IndexMap<String, StoredModel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredModel {
    context_window: Option<toml::Spanned<u64>>,
    max_output: Option<toml::Spanned<u64>>,
    price: Option<StoredPrice>,
    later: Option<StoredLater>,
    #[serde(default)]
    can: Vec<Ability>,
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredPrice {
    input: toml::Spanned<f64>,
    cached_input: Option<toml::Spanned<f64>>,
    cache_write: Option<toml::Spanned<f64>>,
    output: toml::Spanned<f64>,
    long_prompts: Option<StoredLongPrompts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredLongPrompts {
    over: u64,
    input: toml::Spanned<f64>,
    cached_input: Option<toml::Spanned<f64>>,
    cache_write: Option<toml::Spanned<f64>>,
    output: toml::Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredLater {
    from: toml::Spanned<String>,
    price: StoredPrice,
}

impl StoredShelf {
    fn shelf(self, origin: &str) -> Result<Shelf, CatalogueError> {
        let (source, checked) = (self.source.as_deref().unwrap_or(origin), self.checked);
        let row = |(id, stored): (String, StoredModel)| {
            let model = stored.model(id.clone(), source, checked.as_deref())?;
            Ok((id, Row::from(model)))
        };
        let models = self.models.into_iter().map(row).collect::<Result<_, CatalogueError>>()?;
        Ok(Shelf { tiers: Tiers { low: self.low, middle: self.middle, high: self.high }, like: self.like, models })
    }
}

impl StoredModel {
    fn model(self, id: String, source: &str, checked: Option<&str>) -> Result<Model, CatalogueError> {
        Ok(Model {
            id,
            context_window: self.context_window.map(tokens).transpose()?,
            max_output_tokens: self.max_output.map(tokens).transpose()?,
            price: self.price.map(StoredPrice::price).transpose()?,
            later: self.later.map(StoredLater::later).transpose()?,
            abilities: self.can,
            note: self.note,
            source: source.to_owned(),
            checked: checked.map(str::to_owned),
        })
    }
}

impl StoredPrice {
    fn price(self) -> Result<Price, CatalogueError> {
        let long_prompts = self.long_prompts.map(|long| {
            let rates = rates(&long.input, long.cached_input.as_ref(), long.cache_write.as_ref(), &long.output)?;
            Ok(LongPrompts { over: long.over, rates })
        });
        Ok(Price {
            rates: rates(&self.input, self.cached_input.as_ref(), self.cache_write.as_ref(), &self.output)?,
            long_prompts: long_prompts.transpose()?,
        })
    }
}

impl StoredLater {
    fn later(self) -> Result<LaterPrice, CatalogueError> {
        let wrong =
            || CatalogueError { message: "expected a day as in \"2027-01-01\"".to_owned(), span: self.from.span() };
        let day: jiff::civil::Date = self.from.get_ref().parse().map_err(|_| wrong())?;
        let start = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong())?;
        let from_ms = u64::try_from(start.timestamp().as_millisecond()).map_err(|_| wrong())?;
        Ok(LaterPrice { from: day.to_string(), from_ms, price: self.price.price()? })
    }
}

type Usd = toml::Spanned<f64>;

fn rates(input: &Usd, cached: Option<&Usd>, write: Option<&Usd>, output: &Usd) -> Result<Rates, CatalogueError> {
    Ok(Rates {
        input: rate(input)?,
        cached_input: rate(cached.unwrap_or(input))?,
        cache_write: write.map(rate).transpose()?,
        output: rate(output)?,
    })
}

/// Picodollars a token, from US dollars per million tokens.
fn rate(usd: &Usd) -> Result<u64, CatalogueError> {
    let value = *usd.get_ref();
    if !(0.0..=DEAREST).contains(&value) {
        let message = format!("expected US dollars per million tokens, 0 to {DEAREST}, received {value}");
        return Err(CatalogueError { message, span: usd.span() });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the range checked above")]
    let rate = (value * 1_000_000.0).round() as u64;
    Ok(rate)
}

fn tokens(count: toml::Spanned<u64>) -> Result<u64, CatalogueError> {
    if *count.get_ref() == 0 {
        let message = "expected a number of tokens, at least 1".to_owned();
        return Err(CatalogueError { message, span: count.span() });
    }
    Ok(count.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Catalogue;

    fn model(text: &str) -> Model {
        let text = format!("[openai.models]\nm = {{ {text} }}\n");
        Catalogue::parse(&text, "here").unwrap().model(ProviderName::OpenAi, "m").unwrap().clone()
    }

    #[test]
    fn prices_are_picodollars_a_token_and_absent_rates_are_those_of_the_input() {
        let stored = "price = { input = 1.25, output = 10, longPrompts = { over = 200_000, input = 2.5, cachedInput = 0.25, \
                    cacheWrite = 3, output = 15 } }";
        let rates = Rates { input: 1_250_000, cached_input: 1_250_000, cache_write: None, output: 10_000_000 };
        let long = Rates { input: 2_500_000, cached_input: 250_000, cache_write: Some(3_000_000), output: 15_000_000 };
        let long_prompts = Some(LongPrompts { over: 200_000, rates: long });
        assert_eq!(model(stored).price, Some(Price { rates, long_prompts }));
        assert_eq!(model("price = { input = 0.0028, output = 0 }").price.map(|p| p.rates.input), Some(2_800));
        assert_eq!(model("can = [\"pdf\"]").price, None);
    }

    #[test]
    fn a_later_price_holds_from_the_beginning_of_its_day() {
        let stored =
            "price = { input = 1, output = 1 }, later = { from = \"2027-01-01\", price = { input = 2, output = 2 } }";
        let model = model(stored);
        // 2027-01-01T00:00:00Z
        let new_year = 1_798_761_600_000;
        let input_at = |at| model.price_at(at).map(|price| price.rates.input);
        assert_eq!(input_at(new_year - 1), Some(1_000_000));
        assert_eq!(input_at(new_year), Some(2_000_000));
    }

    #[test]
    fn mistakes_are_reported_with_their_place() {
        for (text, place, message) in [
            ("[antropic]\n", "antropic", "unknown variant `antropic`"),
            ("[openai]\nlaw = \"m\"\n", "law", "unknown field `law`"),
            ("[openai.models]\nm = { price = { input = 1 } }\n", "{ input = 1 }", "missing field `output`"),
            ("[openai.models]\nm = { price = { input = -1, output = 1 } }\n", "-1", "expected US dollars"),
            ("[openai.models]\nm = { price = { input = nan, output = 1 } }\n", "nan", "expected US dollars"),
            ("[openai.models]\nm = { price = { input = 1, output = 1e7 } }\n", "1e7", "expected US dollars"),
            ("[openai.models]\nm = { contextWindow = 0 }\n", "0", "expected a number of tokens"),
            ("[openai.models]\nm = { can = [\"fly\"] }\n", "\"fly\"", "unknown variant `fly`"),
            (
                "[openai.models]\nm = { later = { from = \"soon\", price = { input = 1, output = 1 } } }\n",
                "\"soon\"",
                "expected a day",
            ),
        ] {
            let error = Catalogue::parse(text, "here").unwrap_err();
            assert!(error.message.starts_with(message), "{text}: {error}");
            assert_eq!(&text[error.span.clone()], place, "{error}");
        }
    }
}
