//! [`spelt`]: text with every character that acts on a terminal, or cannot be seen, shown as an escape. Called by `text`
//! for lines and by `json` output on a terminal.
//!
//! Joiners and selectors that words of some scripts and emoji need stay, where their neighbours are of that kind.

use std::fmt::Write as _;

/// A black flag, which tag characters turn into the flag of a region (Unicode TS #51, emoji tag sequences).
const FLAG: char = '\u{1f3f4}';

/// The character that ends the tags of a flag.
const CANCEL_TAG: char = '\u{e007f}';

/// Most tags of a flag: a region's code has three to six letters or digits.
const FLAG_TAGS: usize = 6;

/// `text` with such characters as escapes: `\x1b`, `\u{202e}`.
pub fn spelt(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut shown = String::with_capacity(text.len());
    let mut flag_end = 0;
    for (at, &c) in characters.iter().enumerate() {
        if c == FLAG {
            flag_end = end_of_flag(&characters, at).unwrap_or(flag_end);
        }
        let before = at.checked_sub(1).and_then(|at| characters.get(at)).copied();
        let after = characters.get(at + 1).copied();
        let stays = at < flag_end || !(acts(c) || is_unseen(c)) || is_needed(c, before, after);
        // Writing to a String does not fail.
        let _ = match c {
            c if stays => shown.write_char(c),
            c if c.is_ascii() => write!(shown, "\\x{:02x}", c as u32),
            c => write!(shown, "\\u{{{:x}}}", c as u32),
        };
    }
    shown
}

/// JSON text in which such characters are JSON's own escapes, so that it means the same. Line breaks of an indented
/// object stay; all other such characters are within strings.
pub fn spelt_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || !(acts(c) || is_unseen(c)) {
            shown.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String does not fail.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

/// Returns true if a character acts on a terminal, or on the order in which text is read.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns true if a character has no width of its own and is no accent: Unicode's `Default_Ignorable_Code_Point`, and
/// the annotation marks.
pub fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Returns true if an unseen character changes the look of its neighbours, as writing needs it.
fn is_needed(c: char, before: Option<char>, after: Option<char>) -> bool {
    let is = |neighbour: Option<char>, kind: fn(char) -> bool| neighbour.is_some_and(kind);
    match c {
        '\u{200d}' if is(before, is_emoji) || before == Some('\u{fe0f}') => is(after, is_emoji),
        '\u{200c}' | '\u{200d}' => is(before, is_joining) && is(after, is_joining),
        // Scripts without spaces between words mark them so.
        '\u{200b}' => is(before, is_unspaced) && is(after, is_unspaced),
        // The form of an emoji, of a digit on a key, or of an ideograph.
        '\u{fe0e}' | '\u{fe0f}' => {
            is(before, is_emoji) || (is(before, |c| matches!(c, '0'..='9' | '#' | '*')) && after == Some('\u{20e3}'))
        }
        '\u{fe00}'..='\u{fe02}' | '\u{e0100}'..='\u{e01ef}' => is(before, is_ideograph),
        '\u{180b}'..='\u{180d}' | '\u{180f}' => is(before, |c| matches!(c, '\u{1820}'..='\u{18aa}')),
        // Old Korean writes syllables without a first or middle letter so.
        '\u{115f}' | '\u{1160}' => {
            let is_jamo = |c: char| matches!(c, '\u{1100}'..='\u{11ff}');
            is(before, is_jamo) || is(after, is_jamo)
        }
        _ => false,
    }
}

/// The position behind the flag that begins at `at`, if tags make it one.
fn end_of_flag(characters: &[char], at: usize) -> Option<usize> {
    let tags = characters.get(at + 1..)?;
    let count = tags.iter().take_while(|c| matches!(c, '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}')).count();
    let is_whole = (3..=FLAG_TAGS).contains(&count) && tags.get(count) == Some(&CANCEL_TAG);
    is_whole.then_some(at + count + 2)
}

/// Pictures: letters of no script, so nothing is hidden in a joiner between two of them.
fn is_emoji(c: char) -> bool {
    matches!(c,
        '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{21ff}'
        | '\u{2300}'..='\u{23ff}' | '\u{24c2}' | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}'
        | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

/// Letters and signs of scripts whose letters join: Arabic, Syriac, Mongolian, N'Ko and the scripts of India, Sri Lanka,
/// Burma and Cambodia.
fn is_joining(c: char) -> bool {
    !is_unseen(c)
        && matches!(c,
            '\u{620}'..='\u{6ff}' | '\u{710}'..='\u{7ff}' | '\u{860}'..='\u{dff}' | '\u{1000}'..='\u{109f}'
            | '\u{1780}'..='\u{18aa}' | '\u{a840}'..='\u{a87f}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}'
            | '\u{11000}'..='\u{11fff}')
}

/// Thai, Lao, Tibetan, Burmese and Khmer.
fn is_unspaced(c: char) -> bool {
    !is_unseen(c) && matches!(c, '\u{e00}'..='\u{fff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}')
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{2fdf}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_cannot_be_seen_are_escapes() {
        let tags: String = "rm".chars().filter_map(|c| char::from_u32(0xe0000 + c as u32)).collect();
        assert_eq!(spelt(&format!("owls{tags}")), r"owls\u{e0072}\u{e006d}");
        assert_eq!(spelt("a\u{2063}b\u{feff}c\u{61c}d\u{ad}e"), r"a\u{2063}b\u{feff}c\u{61c}d\u{ad}e");
        assert_eq!(spelt("a\u{200d}b \u{200c}c \u{200b}"), r"a\u{200d}b \u{200c}c \u{200b}");
        // Selectors carry hidden bytes behind any letter, and in a row behind an emoji.
        assert_eq!(spelt("a\u{fe01}\u{e0101}"), r"a\u{fe01}\u{e0101}");
        assert_eq!(spelt("🦉\u{fe0f}\u{fe0f}\u{e0110}"), "🦉\u{fe0f}\\u{fe0f}\\u{e0110}");
        assert_eq!(spelt("🦉\u{200d}\u{200d}🦉"), r"🦉\u{200d}\u{200d}🦉");
        assert_eq!(spelt("🏴\u{e0072}\u{e006d}"), r"🏴\u{e0072}\u{e006d}");
    }

    #[test]
    fn writing_that_needs_joiners_and_selectors_stays() {
        for text in [
            "café naïve Straße 日本語 e\u{301}",
            "می\u{200c}خواهم",
            "क्\u{200d}ष ශ්\u{200d}රී",
            "👩\u{200d}👩\u{200d}👧 ❤\u{fe0f}\u{200d}🔥 1\u{fe0f}\u{20e3} 👍🏽",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "葛\u{e0100}",
            "ខ្មែរ\u{200b}ភាសា",
        ] {
            assert_eq!(spelt(text), text);
        }
    }

    #[test]
    fn json_means_the_same_when_it_is_escaped() {
        let value = serde_json::json!({"text": "a\u{9b}31m\u{202e}\u{7f}\u{e0041}é🦉"});
        let json = serde_json::to_string_pretty(&value).unwrap();
        let shown = spelt_json(&json);
        assert!(shown.contains(r"a\u009b31m\u202e\u007f\udb40\udc41é🦉"), "{shown}");
        assert_eq!(shown.lines().count(), 3);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
