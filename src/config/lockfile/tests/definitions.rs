//! Tests of the quick way to read a lock: whatever it reads, TOML's parser reads alike.

use proptest::prelude::*;

use super::*;

/// Reads a text in the quick way, if that knows its form, and compares it with TOML's parser, in the order of all keys.
fn read_quickly(text: &str) -> Option<Lock> {
    let lock = file::parse_written(text)?;
    let whole = file::parse_toml(text, Path::new("")).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(lock, whole, "{text}");
    assert_eq!(json!(lock).to_string(), json!(whole).to_string(), "{text}");
    Some(lock)
}

/// A schema with all that servers use: nested tables, lists of tables, lists of both, texts in each form.
fn rich() -> ToolSpec {
    let input = json!({
        "type": "object",
        "description": "Two lines,\nwith 'both' kinds of \"marks\" and \\.",
        "properties": {
            "plain": {"type": "string", "description": "ends with \"", "pattern": "^\\d{3}$", "default": ""},
            "odd key.with \"dots\"": {"type": "number", "minimum": -1.5, "maximum": 1e300, "multipleOf": 0.1},
            "lists": {"anyOf": [
                {"type": "array", "items": {"enum": ["a", "b\tc", "d\u{7f}"]}},
                {"oneOf": [{"const": 1}, {"const": true, "x": {"y": {}}}, {}]},
            ]},
            "mixed": {"examples": [1, "two", {"three": [4, {"five": 6}]}, [[], {}]]},
            "empty": {},
        },
        "required": ["plain"],
        "additionalProperties": false,
    });
    ToolSpec { description: Some("One.\n\nTwo \u{1f989}.".to_owned()), ..tool("index", "rich", input) }
}

fn lock_of_two_experts() -> Lock {
    let project = project(TOML);
    let scribe = Definition::new(project.expert("scribe").unwrap(), None);
    let found = DiscoveredTools { tools: [vec![rich()], found().tools, vec![rich()]].concat(), ..found() };
    Lock::from_experts(Path::new("/x/perstack.toml"), 1, [(librarian(&project), &found), (scribe, &found)])
}

#[test]
fn a_lock_as_it_is_written_is_read_quickly() {
    for lock in [lock(&project(TOML), 1), lock_of_two_experts()] {
        let read = read_quickly(&text(&lock)).expect("the form is known");
        assert_eq!(Lock { path: lock.path.clone(), ..read }, lock);
    }
}

#[test]
fn other_forms_are_left_to_the_parser() {
    let written = text(&lock_of_two_experts());
    let edited = |from: &str, to: &str| {
        assert!(written.contains(from), "{from}");
        written.replacen(from, to, 1)
    };
    let tools = "[[experts.librarian.toolDefinitions]]";
    let right = [
        format!("# A note.\n{written}"),
        edited("kind = \"mcp\"", "kind = \"mcp\" # of a server"),
        edited("kind = \"mcp\"", "kind=\"mcp\""),
        edited("kind = \"mcp\"", "kind = \"mcp\"\nsince = 2026-01-01"),
        edited("kind = \"mcp\"", "kind = \"mcp\"\nof.a.server = true"),
        edited("maximum = 1", "maximum = +1"),
        edited(tools, "[[ experts . librarian . toolDefinitions ]]"),
        edited(
            "[experts.librarian.toolDefinitions.inputSchema]",
            "[experts.librarian.\"toolDefinitions\".inputSchema]",
        ),
    ];
    for text in right {
        assert_eq!(file::parse_written(&text), None, "{text}");
        file::parse_toml(&text, Path::new("l")).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
    let wrong = [
        edited("kind = \"mcp\"", "kind = \"mcp\"\nkind = \"mcp\""),
        edited("kind = \"mcp\"", "kind = \"none\""),
        edited("type = \"object\"", "type = \"object\"\nproperties = 1"),
        edited("name = \"rich\"\n", ""),
        edited("delegates = [", "toolDefinitions = []\ndelegates = ["),
        edited(tools, "[experts.librarian.toolDefinitions]"),
        edited("minimum = -1.5", "minimum = -01.5"),
        edited("minimum = -1.5", "minimum = -1.5.1"),
        edited("Two \u{1f989}.", "Two \u{1}."),
        edited("[experts.librarian.toolDefinitions.inputSchema]", "[experts.librarian.toolDefinitions.inputSchema"),
    ];
    for text in wrong {
        assert_eq!(file::parse_written(&text), None, "{text}");
        assert!(file::parse_toml(&text, Path::new("l")).is_err(), "{text}");
    }
}

/// The marks that take the place of definitions while the rest is read cannot be written by hand.
#[test]
fn an_empty_definition_stays_what_it_is() {
    let mark = "{ skillName = \"0\", name = \"\", inputSchema = {} }";
    let written = text(&lock_of_two_experts());
    let twice = written.replacen(
        "[experts.scribe]",
        &format!("[experts.other]\ntoolDefinitions = [{mark}]\n[experts.scribe]"),
        1,
    );
    assert_eq!(file::parse_written(&twice), None);
    let (head, _) = written.split_once("[[experts.librarian.toolDefinitions]]").unwrap();
    let alone = head.replacen("tags = [", &format!("toolDefinitions = [{mark}]\ntags = ["), 1);
    assert_eq!(file::parse_written(&alone), None);
    assert_eq!(file::parse(&alone, Path::new("l")).unwrap().experts["librarian"].tools.len(), 1);
}

/// A change of a line or of some bytes.
fn changed(text: &str, at: usize, other: usize, kind: u8, byte: u8) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (at_line, other_line) = (at % lines.len(), other % lines.len());
    match kind {
        0 => _ = lines.remove(at_line),
        1 => lines.insert(other_line, lines[at_line]),
        2 => lines.swap(at_line, other_line),
        _ => {
            let mut bytes = text.as_bytes().to_vec();
            let at = at % bytes.len();
            let marks = b"\"'\\[]{}.=,# \n\r0e-";
            bytes[at] = marks[usize::from(byte) % marks.len()];
            if kind == 4 {
                bytes.truncate(other % bytes.len());
            }
            return String::from_utf8_lossy(&bytes).into_owned();
        }
    }
    lines.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn what_is_read_quickly_after_any_change_is_what_the_parser_reads(
        changes in prop::collection::vec((any::<usize>(), any::<usize>(), 0..5u8, any::<u8>()), 1..4),
    ) {
        let mut text = text(&lock_of_two_experts());
        for (at, other, kind, byte) in changes {
            text = changed(&text, at, other, kind, byte);
            if text.is_empty() {
                break;
            }
        }
        read_quickly(&text);
    }
}
