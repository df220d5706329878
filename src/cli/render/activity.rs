//! [`Activity`]: what a Run is at and since when, in the words of its line.
//!
//! Pure: `view` hands in the time. A wait that is over is not shown as one: the line of a retry counts down and then is
//! that of a request.

use super::text::{shortened, visible};

/// Most characters of a skill's command.
const COMMAND_WIDTH: usize = 40;

/// The wait from which its limit is named, in milliseconds: most waits are over by then.
const NAMES_LIMIT_MS: u64 = 10_000;

/// The first wait that is reported where no line is drawn, in milliseconds.
const FIRST_REPORT_MS: u64 = 10_000;

/// The work of a Run right now.
#[derive(Debug, Clone, Default)]
pub struct Activity {
    doing: Doing,
    /// Milliseconds, as all times here: from any moment on, the same for all.
    since: u64,
    /// The length of the wait at which it is reported next.
    report_at: u64,
}

/// The kinds of work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Doing {
    #[default]
    Nothing,
    /// Gets ready; skills that are not up yet, with their commands.
    Starting(Vec<(String, String)>),
    /// The model is asked, and nothing came so far; not 0 if it failed that often before.
    Asking {
        retries: u32,
        limit_ms: u64,
    },
    /// The model is asked again at this time.
    AskingAgain {
        retries: u32,
        at: u64,
        limit_ms: u64,
    },
    Reasoning,
    Answering,
    /// The command runs that verifies the answer.
    Verifying(String),
    /// Calls are made, in these words; the limit of the only one, and what raises it.
    Calling {
        calls: String,
        limit: Option<(Option<u64>, &'static str)>,
    },
}

impl Activity {
    /// Begins to do something else.
    pub fn begin(&mut self, doing: Doing, now: u64) {
        *self = Self { doing, since: now, report_at: FIRST_REPORT_MS };
    }

    /// Ends it; nothing else begins yet.
    pub fn end(&mut self) {
        *self = Self::default();
    }

    /// A skill begins to start.
    pub fn skill_starts(&mut self, name: &str, command: &str, now: u64) {
        let command = visible(command);
        // A program is known by its name.
        let program = command.split(' ').next().unwrap_or_default();
        let name_at = program.rfind('/').map_or(0, |at| at + 1);
        let command = shortened(command.get(name_at..).unwrap_or_default(), COMMAND_WIDTH);
        // A server that is started again in the middle of the work is no wait of its own.
        if let Doing::Starting(skills) = &mut self.doing {
            skills.push((visible(name), command));
            // It is this that is waited for from here on.
            if skills.len() == 1 {
                (self.since, self.report_at) = (now, FIRST_REPORT_MS);
            }
        }
    }

    /// A skill is up.
    pub fn skill_is_up(&mut self, name: &str) {
        if let Doing::Starting(skills) = &mut self.doing {
            let name = visible(name);
            skills.retain(|(other, _)| *other != name);
        }
    }

    /// The calls that are made have got on.
    pub fn calls_got_on(&mut self, words: String) {
        if let Doing::Calling { calls, .. } = &mut self.doing {
            *calls = words;
        }
    }

    /// The activity in words, and how long it has lasted with the limit of that; both empty if there is none.
    pub fn text(&self, now: u64) -> (String, String) {
        match &self.doing {
            Doing::Nothing => (String::new(), String::new()),
            Doing::Starting(skills) => {
                let words = match skills.as_slice() {
                    [] => "getting ready".to_owned(),
                    [(name, command)] if command.is_empty() => format!("starting skill {name}"),
                    [(name, command)] => format!("starting skill {name}: {command}"),
                    many => {
                        let names = many.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
                        format!("starting skills {names}")
                    }
                };
                let limit = (!skills.is_empty()).then_some((None, "startTimeout"));
                (words, waited(self.since, now, limit))
            }
            Doing::Asking { retries, limit_ms } => asking(*retries, self.since, *limit_ms, now),
            Doing::AskingAgain { retries, at, limit_ms } if now >= *at => asking(*retries, *at, *limit_ms, now),
            Doing::AskingAgain { retries, at, .. } => {
                // The last second counts as one.
                let left = seconds(at.saturating_sub(now).saturating_add(999));
                (format!("retry {retries} in {left}"), String::new())
            }
            Doing::Reasoning => ("reasoning".to_owned(), waited(self.since, now, None)),
            Doing::Answering => ("answering".to_owned(), waited(self.since, now, None)),
            Doing::Verifying(command) => {
                (format!("verifying: {}", shortened(&visible(command), COMMAND_WIDTH)), waited(self.since, now, None))
            }
            Doing::Calling { calls, limit } => (calls.clone(), waited(self.since, now, *limit)),
        }
    }

    /// Its length so far, in milliseconds.
    pub fn lasted_ms(&self, now: u64) -> u64 {
        let since = match self.doing {
            Doing::AskingAgain { at, .. } if now >= at => at,
            _ => self.since,
        };
        now.saturating_sub(since)
    }

    /// The activity in words, if it lasts so long that it is to be reported now where no line shows it; each further
    /// report comes after twice the time.
    pub fn overdue(&mut self, now: u64) -> Option<String> {
        if self.doing == Doing::Nothing || self.report_at == 0 || self.lasted_ms(now) < self.report_at {
            return None;
        }
        self.report_at = self.report_at.saturating_mul(2);
        let (words, waited) = self.text(now);
        Some(format!("{words} {waited}").trim_end().to_owned())
    }
}

fn asking(retries: u32, since: u64, limit_ms: u64, now: u64) -> (String, String) {
    let again = if retries > 0 { format!(" again (retry {retries})") } else { String::new() };
    let limit = (limit_ms > 0).then_some((Some(limit_ms), "--timeout"));
    (format!("asking the model{again}"), waited(since, now, limit))
}

/// The time of a wait; of a long one with its limit, as far as that is known, and the key that raises it.
fn waited(since: u64, now: u64, limit: Option<(Option<u64>, &str)>) -> String {
    let waited = now.saturating_sub(since);
    match limit {
        _ if waited < 1_000 => String::new(),
        Some((Some(ms), key)) if waited >= NAMES_LIMIT_MS => format!("{} of {} ({key})", seconds(waited), seconds(ms)),
        Some((None, key)) if waited >= NAMES_LIMIT_MS => format!("{} ({key})", seconds(waited)),
        _ => seconds(waited),
    }
}

/// Milliseconds as whole seconds: `4 s`, `2 min 5 s`, `1 h 12 min`.
pub fn seconds(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 3_600.. => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        seconds => match (seconds / 60, seconds % 60) {
            (minutes, 0) => format!("{minutes} min"),
            (minutes, seconds) => format!("{minutes} min {seconds} s"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doing(doing: Doing) -> Activity {
        let mut activity = Activity::default();
        activity.begin(doing, 5_000);
        activity
    }

    fn text(activity: &Activity, now: u64) -> String {
        let (words, waited) = activity.text(now);
        format!("{words} {waited}").trim_end().to_owned()
    }

    #[test]
    fn a_retry_counts_down_and_then_is_a_request() {
        let activity = doing(Doing::AskingAgain { retries: 2, at: 8_200, limit_ms: 300_000 });
        let texts = [5_000, 6_000, 8_100, 8_200, 12_300, 30_000].map(|now| text(&activity, now));
        assert_eq!(
            texts,
            [
                "retry 2 in 4 s",
                "retry 2 in 3 s",
                "retry 2 in 1 s",
                "asking the model again (retry 2)",
                "asking the model again (retry 2) 4 s",
                "asking the model again (retry 2) 21 s of 5 min (--timeout)",
            ]
        );
    }

    #[test]
    fn skills_that_start_are_named_until_they_are_up() {
        let mut activity = doing(Doing::Starting(Vec::new()));
        assert_eq!(text(&activity, 5_500), "getting ready");
        activity.skill_starts("web", "/usr/bin/npx -y web\x1b[2J", 6_000);
        assert_eq!(text(&activity, 10_000), r"starting skill web: npx -y web\x1b[2J 4 s");
        activity.skill_starts("files", "", 6_000);
        assert_eq!(text(&activity, 10_000), "starting skills web, files 4 s");
        activity.skill_is_up("web");
        assert_eq!(text(&activity, 20_000), "starting skill files 14 s (startTimeout)");
        activity.skill_is_up("files");
        assert_eq!(text(&activity, 6_500), "getting ready");
    }

    #[test]
    fn a_long_wait_is_reported_after_10_20_and_40_seconds() {
        let mut activity =
            doing(Doing::Calling { calls: "exec make".to_owned(), limit: Some((Some(60_000), "timeout")) });
        let due: Vec<u64> = (5..60).filter(|second| activity.overdue(second * 1_000).is_some()).collect();
        assert_eq!(due, [15, 25, 45]);
        assert_eq!(text(&activity, 20_000), "exec make 15 s of 1 min (timeout)");
        activity.end();
        assert_eq!(activity.overdue(1_000_000), None);
        let mut retry = doing(Doing::AskingAgain { retries: 1, at: 17_000, limit_ms: 0 });
        assert_eq!(retry.overdue(15_000).as_deref(), Some("retry 1 in 2 s"));
        assert_eq!(retry.overdue(30_000), None);
        assert_eq!(retry.overdue(37_000).as_deref(), Some("asking the model again (retry 1) 20 s"));
    }
}
