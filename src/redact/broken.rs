//! Secrets with line breaks in them, as `base64`, `xxd` and letters wrap what is long: breaks between the characters do
//! not count, whether they are real or written as escapes in a JSON text, and neither does indentation after them.

/// Shortest form that is looked for across breaks, in bytes: shorter ones are not wrapped, and may be words.
const MIN_BROKEN: usize = 12;

/// Returns whether a text has breaks at all.
pub fn has_breaks(text: &str) -> bool {
    text.contains(['\n', '\r']) || text.contains("\\n") || text.contains("\\r")
}

/// `text` with `mask` for every occurrence of `secret` across breaks; `None` if there is none.
pub fn replaced(text: &str, secret: &str, mask: &str) -> Option<String> {
    let found: Vec<(usize, usize)> = occurrences(text, secret).filter_map(|(start, end)| Some((start, end?))).collect();
    if found.is_empty() {
        return None;
    }
    let mut clean = String::new();
    let mut rest = 0;
    for (start, end) in found.into_iter().filter(|(start, _)| text.is_char_boundary(*start)) {
        if start >= rest {
            clean.push_str(text.get(rest..start).unwrap_or_default());
            clean.push_str(mask);
            rest = end;
        }
    }
    clean.push_str(text.get(rest..).unwrap_or_default());
    Some(clean)
}

/// The places where `secret` is in `text`, with breaks: the start, and the end unless the text ends first.
pub fn occurrences<'a>(text: &'a str, secret: &'a str) -> impl Iterator<Item = (usize, Option<usize>)> + 'a {
    let first = secret.chars().next().filter(|_| secret.len() >= MIN_BROKEN);
    let starts = first.into_iter().flat_map(move |first| text.match_indices(first).map(|(start, _)| start));
    starts
        .filter_map(move |start| {
            let mut text = text.as_bytes().iter().enumerate().skip(start).peekable();
            let mut at_break = false;
            for (index, expected) in secret.bytes().enumerate() {
                loop {
                    match text.next() {
                        None => return Some((start, None)),
                        Some((_, byte)) if *byte == expected => break,
                        _ if index == 0 => return None,
                        Some((_, b'\n' | b'\r')) => at_break = true,
                        Some((_, b' ' | b'\t')) if at_break => {}
                        Some((_, b'\\')) => match text.next() {
                            None => return Some((start, None)),
                            Some((_, b'n' | b'r')) => at_break = true,
                            Some(_) => return None,
                        },
                        Some(_) => return None,
                    }
                }
                at_break = false;
            }
            Some((start, Some(text.peek().map_or_else(|| usize::MAX, |(next, _)| *next))))
        })
        .map(move |(start, end)| (start, end.map(|end| end.min(text.len()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaks_within_a_secret_do_not_count() {
        let clean = |text: &str| replaced(text, "c2stdGVzdC0xMjM0", "#").unwrap_or_else(|| text.to_owned());
        assert_eq!(clean("a c2stdGVz\ndC0xMjM0 b"), "a # b");
        assert_eq!(clean("a c2stdGVz\r\n   dC0x\nMjM0\nb"), "a #\nb");
        assert_eq!(clean(r"a c2stdGVz\ndC0xMjM0 b"), "a # b");
        assert_eq!(clean("a c2stdGVz dC0xMjM0 b"), "a c2stdGVz dC0xMjM0 b");
        assert_eq!(clean("c2stdGVz\ndC0x"), "c2stdGVz\ndC0x");
    }
}
