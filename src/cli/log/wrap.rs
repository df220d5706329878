//! [`wrapped`]: text in the width of a terminal, broken between words.

use console::measure_text_width;

use crate::cli::render::visible_lines;

/// The lines of a text, none wider than `width` unless a word is; characters that cannot be seen are escapes.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    visible_lines(text).iter().flat_map(|line| broken(line, width)).collect()
}

/// A line in pieces of at most `width` columns, unless a word is wider. Further pieces are indented as the line is.
pub fn broken(line: &str, width: usize) -> Vec<String> {
    if measure_text_width(line) <= width {
        return vec![line.to_owned()];
    }
    let text = line.trim_start();
    // Half the width at most, so that there is room for words.
    let indent = (line.len() - text.len()).min(width / 2);
    let mut lines = Vec::new();
    let mut current = " ".repeat(indent);
    let mut columns = indent;
    for word in text.split_inclusive(' ') {
        let needed = measure_text_width(word.trim_end());
        if columns > indent && columns + needed > width {
            lines.push(current.trim_end().to_owned());
            current = " ".repeat(indent);
            columns = indent;
        }
        current.push_str(word);
        columns += measure_text_width(word);
    }
    lines.push(current.trim_end().to_owned());
    lines
}

/// The first `most` of some lines, and whether there were more.
pub fn head(mut lines: Vec<String>, most: usize) -> (Vec<String>, bool) {
    let is_cut = lines.len() > most;
    lines.truncate(most);
    (lines, is_cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_keep_their_own_breaks() {
        let text = "The barn owl hunts by ear.\n\n  It is 日本語 white.\x1b";
        let expected = ["The barn owl", "hunts by ear.", "", "  It is 日本語", "  white.\\x1b"];
        assert_eq!(wrapped(text, 14), expected);
        assert_eq!(wrapped("unbreakable-word and", 5), ["unbreakable-word", "and"]);
        assert_eq!(wrapped("", 5), [""; 0]);
    }

    #[test]
    fn a_head_reports_what_it_left_out() {
        let lines = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(head(lines(), 1), (vec!["a".to_owned()], true));
        assert_eq!(head(lines(), 2), (lines(), false));
    }
}
