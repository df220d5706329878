//! A Run's line cut to the terminal's width, so that the most useful part is what stays.

use console::{measure_text_width, truncate_str};

/// Between the parts of a line.
const GAP: &str = "  ";

/// Fewest columns of an activity that are worth more than the figures behind it: a tool's name and a bit.
const LEAST_ACTIVITY: usize = 16;

/// Puts `head`, `activity` with its `addition`, and `figures` together in at most `width` columns. The activity is shortened
/// first, then the figures go, the last one first, then the addition.
pub fn fitted(head: &str, (activity, addition): (&str, &str), figures: &[String], width: usize) -> String {
    let joined = |activity: &str, figures: &[String]| {
        let parts = [head, activity].into_iter().chain(figures.iter().map(String::as_str));
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(GAP)
    };
    let with_addition = |activity: &str| match addition {
        "" => activity.to_owned(),
        addition => format!("{activity} {addition}"),
    };
    let wanted = measure_text_width(activity);
    let added = measure_text_width(&with_addition(""));
    for kept in (0..=figures.len()).rev() {
        let figures = figures.get(..kept).unwrap_or_default();
        let others = measure_text_width(&joined("", figures)) + added;
        let room = width.saturating_sub(others + if activity.is_empty() { 0 } else { GAP.len() });
        if others <= width && (room >= wanted || room >= LEAST_ACTIVITY) {
            return joined(&with_addition(&truncate_str(activity, room, "…")), figures);
        }
    }
    truncate_str(&joined(activity, &[]), width, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(width: usize) -> String {
        fitted(
            "t  step 1/100",
            ("exec sleep, readTextFile 日本語.txt", ""),
            &["1.2k tokens".to_owned(), "context 3%".to_owned()],
            width,
        )
    }

    #[test]
    fn what_fits_is_whole() {
        assert_eq!(line(120), "t  step 1/100  exec sleep, readTextFile 日本語.txt  1.2k tokens  context 3%");
        assert_eq!(fitted("t", ("", ""), &["5 tokens".to_owned()], 20), "t  5 tokens");
    }

    #[test]
    fn the_activity_is_shortened_then_the_figures_go() {
        assert_eq!(line(70), "t  step 1/100  exec sleep, readTextFile 日本…  1.2k tokens  context 3%");
        assert_eq!(line(50), "t  step 1/100  exec sleep, readTextF…  1.2k tokens");
        assert_eq!(line(34), "t  step 1/100  exec sleep, readTe…");
        assert_eq!(line(8), "t  step…");
    }

    #[test]
    fn how_long_it_has_lasted_is_kept_longer_than_the_rest_of_an_activity() {
        let line = |width| fitted("t", ("starting skill web: npx -y something", "14 s"), &["14s".to_owned()], width);
        assert_eq!(line(60), "t  starting skill web: npx -y something 14 s  14s");
        assert_eq!(line(45), "t  starting skill web: npx -y some… 14 s  14s");
        assert_eq!(line(26), "t  starting skill we… 14 s");
        assert_eq!(line(20), "t  starting skill w…");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 1..100 {
            assert!(measure_text_width(&line(width)) <= width, "{width}");
        }
    }
}
