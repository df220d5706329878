//! [`html`] and its like: text of models and tools in the forms in which it can do nothing but be read.

use std::fmt::Write as _;

/// Text for HTML, within elements and within attributes in double quotes. Characters that are not seen, or that turn the
/// direction of a line, are escapes.
pub fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            '\r' if rest.peek() == Some(&'\n') => {}
            '\u{feff}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                // Writing to a string does not fail.
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
            }
            c if c.is_control() => {
                let _ = write!(escaped, "\\x{:02x}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// One line of text for a cell of a Markdown table, as code: nothing in it is markup, a link or a mention. What would make
/// a link of an address without a scheme, or of a name, is taken apart by a joiner that is not seen.
pub fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut escaped = String::from("<code>");
    for c in html(&line).chars() {
        match c {
            '&' | ';' | '#' => escaped.push(c),
            '.' => escaped.push_str(".&#8288;"),
            '@' => escaped.push_str("&#64;&#8288;"),
            c if c.is_ascii_punctuation() && !matches!(c, ',' | '-') => {
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped + "</code>"
}

/// Text as a block of Markdown code that it cannot end.
pub fn fenced(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    let text: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    format!("{fence}text\n{}\n{fence}\n", text.trim_end_matches('\n'))
}

/// The beginning of a text, at most `most` bytes of it, and the number of bytes that are left out.
pub fn cut(text: &str, most: usize) -> (&str, usize) {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (text.get(..end).unwrap_or_default(), text.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_an_element_or_an_attribute() {
        let text = "</pre><script>alert('1')</script><img src=x onerror=\"a()\">&amp;\u{202e}\u{0}\r\n";
        let escaped = html(text);
        assert!(!escaped.contains(['<', '>', '"', '\'', '\u{202e}', '\u{0}', '\r']), "{escaped}");
        assert_eq!(html("{\r\n\treturn\r"), "{\n\treturn\\x0d");
        assert!(escaped.starts_with("&lt;/pre&gt;&lt;script&gt;"), "{escaped}");
        assert_eq!(html("a b\nc"), "a b\nc");
    }

    #[test]
    fn nothing_ends_a_cell_or_a_fence() {
        let text = "a|b\n`x` [l](http://e) @you <b> *s* #1 \\";
        let escaped = cell(text);
        let inner = escaped.strip_prefix("<code>").unwrap().strip_suffix("</code>").unwrap();
        assert!(!inner.contains(['|', '`', '[', '(', '@', '<', '*', '\\', '\n', ':', '/']), "{inner}");
        assert_eq!(cell("www.e.de a@b"), "<code>www.&#8288;e.&#8288;de a&#64;&#8288;b</code>");
        let block = fenced("```\n````text\n# not a heading\n");
        assert!(block.starts_with("`````text\n") && block.ends_with("\n`````\n"), "{block}");
        assert_eq!(fenced("owl"), "```text\nowl\n```\n");
    }

    #[test]
    fn a_cut_is_between_characters() {
        assert_eq!(cut("aé", 2), ("a", 2));
        assert_eq!(cut("aé", 3), ("aé", 0));
        assert_eq!(cut("", 5), ("", 0));
    }
}
