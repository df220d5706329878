//! Tests of the light Markdown of a terminal.

use console::strip_ansi_codes;
use proptest::prelude::*;

use super::*;

fn written(form: TextForm, columns: usize, pieces: &[&str]) -> String {
    let mut writer = MarkdownWriter::new(form, columns);
    let mut out: String = pieces.iter().map(|piece| writer.push(piece, columns)).collect();
    out += &writer.finish();
    out
}

/// With the styles as tags.
fn styled(text: &str) -> String {
    let out = written(TextForm::Styled, 60, &[text]);
    [
        ("\x1b[1m", "<b>"),
        ("\x1b[3m", "<i>"),
        ("\x1b[36m", "<c>"),
        ("\x1b[2m", "<d>"),
        ("\x1b[1;3m", "<bi>"),
        ("\x1b[0m", "</>"),
    ]
    .iter()
    .fold(out, |out, (code, tag)| out.replace(code, tag))
}

#[test]
fn bold_code_and_emphasis_are_styles() {
    assert_eq!(
        styled("a **bold word** and `code`, *it* or _is_."),
        "a <b>bold</> <b>word</> and <c>code</>, <i>it</> or <i>is</>."
    );
    assert_eq!(styled("***both*** **a `b`**"), "<bi>both</> <b>a</> \x1b[1;36mb</>");
    assert_eq!(styled("这是**粗体**文字"), "这是<b>粗</><b>体</>文字");
    assert_eq!(styled("``a ` b`` \\*x\\*"), "<c>a</> <c>`</> <c>b</> *x*");
}

#[test]
fn what_only_looks_like_markdown_is_left() {
    for text in [
        "2 * 3 * 4 and 2*3*4",
        "snake_case_name and **kwargs",
        "a `open",
        "** not bold **",
        "#tag",
        "1.5 is",
        "-5",
        "a_b_c",
        "\\d",
    ] {
        assert_eq!(styled(text), text);
    }
}

#[test]
fn headings_lists_quotes_and_rules_are_shown_as_such() {
    assert_eq!(styled("# Owls\n\ntext"), "<b>Owls</>\n\ntext");
    assert_eq!(styled("- one\n  * two\n10. ten"), "• one\n  • two\n10. ten");
    assert_eq!(styled("> it is *so*"), "<d>│ </>it is <i>so</>");
    assert_eq!(styled("---\nend"), format!("<d>{}</>\nend", "─".repeat(40)));
}

#[test]
fn code_and_tables_stay_as_they_are() {
    let code = "```rust\nfn  a() { **x** }\n\n  - b\n```\nend";
    assert_eq!(strip_ansi_codes(&written(TextForm::Styled, 20, &[code])), code);
    assert_eq!(styled("```\na b\n```"), "<d>```</>\n<c>a</> <c>b</>\n<d>```</>");
    let table = "| a | **b** |\n|---|---|\n| 1 | 2 is a very long cell of this table |";
    assert_eq!(written(TextForm::Styled, 20, &[table]), table);
}

#[test]
fn lines_are_broken_between_words_and_items_are_indented() {
    let text = "- the barn owl hunts at night\nand the tawny owl too";
    assert_eq!(written(TextForm::Styled, 17, &[text]), "• the barn owl\n  hunts at night\nand the tawny\nowl too");
    assert_eq!(written(TextForm::Wrapped, 17, &[text]), "- the barn owl\n  hunts at night\nand the tawny\nowl too");
    assert_eq!(written(TextForm::Raw, 17, &[text]), text);
    assert_eq!(written(TextForm::Styled, 9, &["日本語のとても長い文、です"]), "日本語の\nとても長\nい文、で\nす");
    assert_eq!(written(TextForm::Styled, 9, &["abcdefghijkl m"]), "abcdefgh\nijkl m");
    assert_eq!(
        written(TextForm::Styled, 20, &["> the barn owl hunts at night"]),
        "\x1b[2m│ \x1b[0mthe barn owl\n\x1b[2m│ \x1b[0mhunts at night"
    );
}

#[test]
fn characters_that_act_on_a_terminal_are_escapes_in_every_form() {
    for form in [TextForm::Styled, TextForm::Wrapped, TextForm::Raw] {
        let out = written(form, 80, &["a\x1b[2J `b\u{9b}` ```\n```\n\u{202e}c\rd\u{7}"]);
        let plain = strip_ansi_codes(&out);
        assert!(!plain.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{plain:?}");
        assert!(plain.contains("\\x1b[2J") && plain.contains("\\x0dd\\x07"), "{plain}");
    }
    assert_eq!(
        written(TextForm::Styled, 80, &["👩\u{200d}👩\u{200d}👧 می\u{200c}خواهم x\u{200b}"]),
        "👩\u{200d}👩\u{200d}👧 می\u{200c}خواهم x\\u{200b}"
    );
}

#[test]
fn words_are_written_as_soon_as_they_are_whole() {
    let mut writer = MarkdownWriter::new(TextForm::Styled, 80);
    assert_eq!(writer.push("The ba", 80), "The");
    assert_eq!(writer.push("rn owl", 80), " barn");
    assert_eq!((writer.column(), writer.rows()), (8, 0));
    assert_eq!(writer.push(" sees\n\nIt", 80), " owl sees\n\n");
    assert_eq!((writer.column(), writer.rows()), (0, 2));
    assert_eq!(writer.finish(), "It");
}

proptest! {
    #[test]
    fn any_cut_of_a_text_gives_the_same(
        words in prop::collection::vec(prop::sample::select(vec![
            "owl", " ", " ", "\n", "\n\n", "**", "*", "_", "`", "```", "~~~", "# ", "- ", "1. ", "> ", "|", "---", "\\",
            "\t", "\r", "\r\n", "日本", "、", "👩", "\u{200d}", "\u{fe0f}", "🏴", "\x1b[1m", "12", ")", "a_b", "+",
        ]), 0..40),
        cuts in prop::collection::vec(0_usize..200, 0..12),
        columns in 1_usize..40,
        form in prop::sample::select(vec![TextForm::Styled, TextForm::Wrapped, TextForm::Raw]),
    ) {
        let text = words.concat();
        let mut ends: Vec<usize> = cuts.into_iter().map(|cut| text.floor_char_boundary(cut)).collect();
        ends.push(text.len());
        ends.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for end in ends {
            pieces.push(&text[from..end]);
            from = end;
        }
        prop_assert_eq!(written(form, columns, &pieces), written(form, columns, &[&text]));
    }

    #[test]
    fn nothing_but_marks_is_lost(words in prop::collection::vec("[a-z日]{1,9}|[ \n*`_#>-]{1,3}", 0..30)) {
        let text = words.concat();
        let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
        let shown = written(TextForm::Styled, 20, &[&text]);
        prop_assert_eq!(letters(&strip_ansi_codes(&shown)), letters(&text));
        prop_assert_eq!(written(TextForm::Raw, 20, &[&text]), text);
    }
}
