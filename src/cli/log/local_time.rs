//! [`LocalTime`]: times as a person reads them: in the zone of the system, and by their age. [`since`] reads them back.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use perstack::fact::Clock;
use perstack::runtime::SystemClock;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The zone in which times are shown, and the present.
#[derive(Debug, Clone)]
pub struct LocalTime {
    zone: TimeZone,
    /// Milliseconds since the epoch.
    now: u64,
}

impl LocalTime {
    /// The system's zone; UTC where it has none.
    pub fn system() -> Self {
        Self { zone: TimeZone::system(), now: SystemClock.stamp().at }
    }

    /// UTC, at this time.
    #[cfg(test)]
    pub fn utc(now: u64) -> Self {
        Self { zone: TimeZone::UTC, now }
    }

    /// The present, in milliseconds since the epoch.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// `2026-02-13 16:26:40`.
    pub fn date(&self, at: u64) -> String {
        self.formatted(at, "%Y-%m-%d %H:%M:%S")
    }

    /// `16:26:40`.
    pub fn time(&self, at: u64) -> String {
        self.formatted(at, "%H:%M:%S")
    }

    /// `5 min ago`, from a day on `Feb 13 16:26`, and of another year `2025-02-13`; `-` of a time that is not known.
    pub fn age(&self, at: u64) -> String {
        match self.now.saturating_sub(at) {
            _ if at == 0 => "-".to_owned(),
            0..MINUTE => "just now".to_owned(),
            age @ MINUTE..HOUR => format!("{} min ago", age / MINUTE),
            age @ HOUR..DAY => format!("{} h ago", age / HOUR),
            _ if self.year(at) == self.year(self.now) => self.formatted(at, "%b %-d %H:%M"),
            _ => self.formatted(at, "%Y-%m-%d"),
        }
    }

    /// The same in few columns: `now`, `5 min`, `3 h`, `Feb 13`, `2025-02`.
    pub fn short_age(&self, at: u64) -> String {
        match self.now.saturating_sub(at) {
            _ if at == 0 => "-".to_owned(),
            0..MINUTE => "now".to_owned(),
            age @ MINUTE..HOUR => format!("{} min", age / MINUTE),
            age @ HOUR..DAY => format!("{} h", age / HOUR),
            _ if self.year(at) == self.year(self.now) => self.formatted(at, "%b %-d"),
            _ => self.formatted(at, "%Y-%m"),
        }
    }

    fn year(&self, at: u64) -> Option<i16> {
        self.zoned(at).map(|moment| moment.year())
    }

    fn formatted(&self, at: u64, format: &str) -> String {
        // A number that is no time of the calendar is shown as it is.
        self.zoned(at).map_or_else(|| at.to_string(), |moment| moment.strftime(format).to_string())
    }

    fn zoned(&self, at: u64) -> Option<Zoned> {
        let moment = i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok())?;
        Some(moment.to_zoned(self.zone.clone()))
    }

    /// The moment that a text means, in milliseconds since the epoch: a time ago (`2d`, `1h30m`), a day or a time of this
    /// zone (`2026-02-13`, `2026-02-13 16:26`).
    ///
    /// # Errors
    /// [`InvalidTime`].
    pub fn moment(&self, text: &str) -> Result<u64, InvalidTime> {
        if let Some(ago) = ago(text) {
            return Ok(self.now.saturating_sub(ago));
        }
        // A day without a time begins at midnight.
        let moment = text.parse::<DateTime>().ok().and_then(|civil| civil.to_zoned(self.zone.clone()).ok());
        let moment = moment.and_then(|moment| u64::try_from(moment.timestamp().as_millisecond()).ok());
        moment.ok_or_else(|| InvalidTime { text: text.to_owned() })
    }
}

/// A text that means no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no time: use 90s, 30m, 12h, 2d or 3w, or a date such as 2026-02-13 or 2026-02-13T16:30")]
pub struct InvalidTime {
    text: String,
}

/// The milliseconds of `2d`, `1h30m` and the like: numbers, each with its unit.
pub fn ago(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut sum = 0_u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let unit = match rest.chars().next()? {
            's' => SECOND,
            'm' => MINUTE,
            'h' => HOUR,
            'd' => DAY,
            'w' => 7 * DAY,
            _ => return None,
        };
        rest = rest.get(1..)?;
        sum = sum.checked_add(number.checked_mul(unit)?)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-02-13 16:26:40 UTC.
    const NOON: u64 = 1_771_000_000_000;

    #[test]
    fn ages_are_short_and_old_ones_are_dates() {
        let local = LocalTime::utc(NOON);
        let both = |ago: u64| (local.age(NOON - ago), local.short_age(NOON - ago));
        let expect = |age: &str, short: &str| (age.to_owned(), short.to_owned());
        assert_eq!(both(0), expect("just now", "now"));
        assert_eq!(both(MINUTE - 1), expect("just now", "now"));
        assert_eq!(both(59 * MINUTE), expect("59 min ago", "59 min"));
        assert_eq!(both(23 * HOUR), expect("23 h ago", "23 h"));
        assert_eq!(both(DAY), expect("Feb 12 16:26", "Feb 12"));
        assert_eq!(both(60 * DAY), expect("2025-12-15", "2025-12"));
        assert_eq!((local.age(0), local.age(NOON + HOUR)), ("-".to_owned(), "just now".to_owned()));
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let local = LocalTime { zone, now: NOON };
        assert_eq!((local.date(NOON).as_str(), local.time(NOON).as_str()), ("2026-02-13 18:26:40", "18:26:40"));
        assert_eq!(local.date(u64::MAX), u64::MAX.to_string());
        assert_eq!(local.moment("2026-02-13T18:26:40"), Ok(NOON));
        assert_eq!(local.moment("2026-02-13"), Ok(NOON - 18 * HOUR - 26 * MINUTE - 40 * SECOND));
    }

    #[test]
    fn a_time_ago_has_units() {
        let local = LocalTime::utc(NOON);
        for (text, milliseconds) in [("90s", 90 * SECOND), ("1h30m", 90 * MINUTE), ("2d", 2 * DAY), ("1w", 7 * DAY)] {
            assert_eq!(local.moment(text), Ok(NOON - milliseconds), "{text}");
        }
        for text in ["", "2", "d", "2x", "yesterday", "2d 3", "99999999999999w", "2026-13-01"] {
            assert!(local.moment(text).is_err(), "{text}");
        }
    }
}
