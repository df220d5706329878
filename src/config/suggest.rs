//! "Did you mean": [`nearest`] finds the known word that a mistyped one most resembles. Everything that reports an
//! unknown name calls it.

/// Longest word that is compared, in bytes: the cost grows with the square, and no name is longer.
const LONGEST: usize = 128;

/// The word of `known` that is most likely meant by `word`: at most a third of its letters differ, not counting case,
/// `-` and `_`. Of equally near words, the first. `None` when none is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let meant = plain(word);
    let letters = meant.chars().count();
    let tolerance = (letters / 3).max(1);
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (strsim::osa_distance(&meant, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= tolerance && *distance < letters)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["model", "maxSteps", "maxRetries", "timeout", "baseUrl"];
        assert_eq!(nearest("modle", keys), Some("model"));
        assert_eq!(nearest("max_steps", keys), Some("maxSteps"));
        assert_eq!(nearest("base-url", keys), Some("baseUrl"));
        assert_eq!(nearest("maxRetrys", keys), Some("maxRetries"));
        assert_eq!(nearest("temperature", keys), None);
    }

    #[test]
    fn a_word_with_nothing_in_common_has_no_neighbour() {
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("", ["a"]), None);
        assert_eq!(nearest(&"a".repeat(200), [&*"a".repeat(201)]), None);
    }

    #[test]
    fn of_equally_near_words_the_first_wins() {
        assert_eq!(nearest("pick1", ["pick2", "pick3"]), Some("pick2"));
    }
}
