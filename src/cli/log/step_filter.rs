//! `--step`: which steps are meant.

use std::str::FromStr;

/// Steps by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepFilter {
    Exactly(u64),
    Above(u64),
    From(u64),
    Below(u64),
    UpTo(u64),
    /// Both ends included.
    Between(u64, u64),
}

/// The reason why a text is no step filter, in the original's wording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStepFilter {
    #[error("Invalid step filter: {0} (use 5, >5, >=5, <5, <=5 or 1-10)")]
    Form(String),
    #[error("Invalid step range: {text} (min {min} > max {max})")]
    Range { text: String, min: u64, max: u64 },
}

impl StepFilter {
    /// Returns true if the filter selects the step.
    pub fn fits(self, step: u64) -> bool {
        match self {
            Self::Exactly(number) => step == number,
            Self::Above(number) => step > number,
            Self::From(number) => step >= number,
            Self::Below(number) => step < number,
            Self::UpTo(number) => step <= number,
            Self::Between(min, max) => (min..=max).contains(&step),
        }
    }
}

impl FromStr for StepFilter {
    type Err = InvalidStepFilter;

    fn from_str(text: &str) -> Result<Self, InvalidStepFilter> {
        let trimmed = text.trim();
        let wrong = || InvalidStepFilter::Form(text.to_owned());
        let number = |digits: &str| {
            let digits = digits.trim();
            // `+5` parses as a number too, but is refused like the original does.
            digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(wrong)
        };
        // The longer signs first: the others begin them.
        if let Some(rest) = trimmed.strip_prefix(">=") {
            return number(rest).map(Self::From);
        }
        if let Some(rest) = trimmed.strip_prefix("<=") {
            return number(rest).map(Self::UpTo);
        }
        if let Some(rest) = trimmed.strip_prefix('>') {
            return number(rest).map(Self::Above);
        }
        if let Some(rest) = trimmed.strip_prefix('<') {
            return number(rest).map(Self::Below);
        }
        match trimmed.split_once('-') {
            None => number(trimmed).map(Self::Exactly),
            Some((min, max)) => {
                let (min, max) = (number(min)?, number(max)?);
                if min > max {
                    return Err(InvalidStepFilter::Range { text: trimmed.to_owned(), min, max });
                }
                Ok(Self::Between(min, max))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_means_its_steps() {
        let meant = |text: &str| {
            let filter: StepFilter = text.parse().unwrap();
            (1..=6).filter(|step| filter.fits(*step)).collect::<Vec<u64>>()
        };
        assert_eq!(meant("5"), [5]);
        assert_eq!(meant(">5"), [6]);
        assert_eq!(meant(">=5"), [5, 6]);
        assert_eq!(meant("<3"), [1, 2]);
        assert_eq!(meant("<= 3"), [1, 2, 3]);
        assert_eq!(meant("2-4"), [2, 3, 4]);
        assert_eq!(meant(" 2 - 2 "), [2]);
    }

    #[test]
    fn anything_else_is_refused_in_the_originals_words() {
        let error = |text: &str| text.parse::<StepFilter>().unwrap_err().to_string();
        for text in ["", "x", "5x", "-5", "5-", "=5", "> >5", "1-2-3", "+5", "99999999999999999999"] {
            assert!(error(text).starts_with(&format!("Invalid step filter: {text} ")), "{}", error(text));
        }
        assert_eq!(error("9-3"), "Invalid step range: 9-3 (min 9 > max 3)");
    }
}
