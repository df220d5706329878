//! The log as its writer leaves it and its reader finds it: cut, changed, continued.

use std::fs;

use proptest::prelude::*;
use sha2::Digest as _;

use super::super::LogEntry;
use super::super::tests::{fact, facts};
use super::*;

fn write(path: &Path, facts: &[Fact]) -> LogPosition {
    let mut writer = LogWriter::open(path).unwrap();
    for fact in facts {
        writer.append(fact).unwrap();
    }
    writer.flush().unwrap();
    writer.position()
}

fn read_to(path: &Path, position: &LogPosition) -> Result<Vec<Fact>, StoreError> {
    let mut log = LogReader::open(path)?;
    std::iter::from_fn(|| log.next_before(position).transpose()).collect()
}

const DREAMT: &str = "{\"at\":5,\"seed\":1,\"fact\":\"dreamt\"}";

/// Lines that continue the chain of the log at `path`.
fn chained(path: &Path, objects: &[&str]) -> String {
    let mut chain = LogReader::open(path).unwrap().read_to_end().unwrap();
    let line = |object: &&str| {
        let mut line = object.as_bytes().to_vec();
        chain.seal(&mut line);
        chain.add_sealed(&line);
        String::from_utf8(line).unwrap()
    };
    objects.iter().map(line).collect()
}

fn read(path: &Path) -> Result<Vec<Fact>, StoreError> {
    LogReader::open(path)?.read_all()
}

#[test]
fn a_reader_at_the_end_reads_on_when_there_is_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    fs::write(&path, "").unwrap();
    let mut reader = LogReader::open(&path).unwrap();
    assert_eq!(reader.next_fact().unwrap(), None);
    write(&path, &facts(2));
    reader.read_again().unwrap();
    assert_eq!((reader.next_fact().unwrap(), reader.next_fact().unwrap()), (Some(fact(1)), Some(fact(2))));
    // Half a line, that the next writer cuts off and replaces.
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole[..], b"{\"at\":3,\"se"].concat()).unwrap();
    reader.read_again().unwrap();
    assert_eq!(reader.next_fact().unwrap(), None);
    write(&path, &[fact(7)]);
    reader.read_again().unwrap();
    assert_eq!((reader.next_fact().unwrap(), reader.next_fact().unwrap()), (Some(fact(7)), None));
    assert_eq!(reader.position(), {
        let mut whole = LogReader::open(&path).unwrap();
        while whole.next_fact().unwrap().is_some() {}
        whole.position()
    });
    assert_eq!(reader.line(), 5, "the line that is waited for");
}

#[test]
fn facts_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    write(&path, &facts(3));
    assert_eq!(read(&path).unwrap(), facts(3));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().next(), Some(r#"{"format":"perstack-log","version":2}"#));
}

#[test]
fn a_log_opened_again_goes_on_counting_and_digesting() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let expected = write(&whole, &facts(4));
    write(&parts, &facts(4)[..1]);
    write(&parts, &facts(4)[1..3]);
    assert_eq!(write(&parts, &facts(4)[3..]), expected);
    assert_eq!(expected.facts, 4);
    assert_eq!(expected.bytes, fs::metadata(&whole).unwrap().len());
    assert_eq!(fs::read(&whole).unwrap(), fs::read(&parts).unwrap());
}

#[test]
fn the_chain_begins_with_the_header() {
    let folder = tempfile::tempdir().unwrap();
    let position = write(&folder.path().join("log.jsonl"), &[]);
    // printf '{"format":"perstack-log","version":2}\n' | sha256sum
    let chain = "be1e80fc5ddc99492d6268084bff81eea76432d8d57dad80c5c794041af1d053".to_owned();
    assert_eq!(position, LogPosition { facts: 0, bytes: 38, chain });
}

#[test]
fn a_log_of_the_version_without_chains_is_read_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    let line = |at| serde_json::to_string(&fact(at)).unwrap() + "\n";
    let old = format!("{{\"format\":\"perstack-log\",\"version\":1}}\n{}{}", line(1), line(2));
    fs::write(&path, &old).unwrap();
    // As that version named the point: sha256sum of all bytes.
    let sha256: Vec<String> = sha2::Sha256::digest(&old).iter().map(|byte| format!("{byte:02x}")).collect();
    let at_two = serde_json::json!({"facts": 2, "bytes": old.len(), "sha256": sha256.concat()});
    let at_two = serde_json::from_value(at_two).unwrap();
    let end = write(&path, &facts(3)[2..]);
    assert_eq!(fs::read_to_string(&path).unwrap()[..old.len()], old);
    assert_eq!(read(&path).unwrap(), facts(3));
    assert_eq!(read_to(&path, &at_two).unwrap(), facts(2));
    assert_eq!(read_to(&path, &end).unwrap(), facts(3));
    // The version without chains cannot go on with it any more, and a line between the two is nobody's.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + &line(4) + &line(5)).unwrap();
    assert!(matches!(read(&path), Err(StoreError::Damaged { line: Some(5), .. })));
}

#[test]
fn a_line_that_was_changed_added_or_removed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    write(&path, &facts(4));
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let changed = lines[2].replacen("\"at\":2", "\"at\":9", 1);
    let unchained = serde_json::to_string(&fact(2)).unwrap();
    let cases = [
        ([lines[1], changed.as_str(), lines[3]], 3, "does not fit"),
        ([lines[1], lines[3], lines[4]], 3, "does not fit"),
        ([lines[2], lines[3], lines[4]], 2, "does not fit"),
        ([lines[1], unchained.as_str(), lines[3]], 3, "is missing"),
        // Also as the last line: what a crash tears is no JSON.
        ([lines[1], lines[2], changed.as_str()], 4, "does not fit"),
    ];
    for (facts, at, what) in cases {
        fs::write(&path, format!("{}\n{}\n", lines[0], facts.join("\n"))).unwrap();
        for error in [read(&path).unwrap_err(), LogWriter::open(&path).err().unwrap()] {
            assert!(matches!(&error, StoreError::Damaged { line: Some(line), .. } if *line == at), "{error}");
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}

#[test]
fn a_writer_goes_on_where_the_reader_came_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    write(&path, &facts(2));
    let mut torn = fs::read(&path).unwrap();
    torn.extend(b"{\"at\":3,\"se");
    fs::write(&path, torn).unwrap();
    let end = LogReader::open(&path).unwrap().read_to_end().unwrap();
    let mut writer = LogWriter::open_at(&path, end.clone()).unwrap();
    writer.append(&fact(3)).unwrap();
    assert_eq!(read(&path).unwrap(), facts(3));
    fs::write(&path, &fs::read(&path).unwrap()[..60]).unwrap();
    assert!(LogWriter::open_at(&path, end).err().unwrap().is_damaged());
}

proptest! {
    #[test]
    fn a_log_cut_at_any_byte_keeps_its_whole_lines_and_takes_the_next_fact(
        ats in prop::collection::vec(0..=crate::count::MAX, 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let facts: Vec<Fact> = ats.into_iter().map(fact).collect();
        write(&path, &facts);
        let bytes = fs::read(&path).unwrap();
        let cut = cut.index(bytes.len() + 1);
        let whole_lines = bytes[..cut].split(|byte| *byte == b'\n').count() - 1;
        let mut kept = facts[..whole_lines.saturating_sub(1)].to_vec();
        fs::write(&path, &bytes[..cut]).unwrap();
        prop_assert_eq!(&read(&path).unwrap(), &kept);
        write(&path, &[fact(9)]);
        kept.push(fact(9));
        prop_assert_eq!(&read(&path).unwrap(), &kept);
    }
}

#[test]
fn a_last_line_of_noise_is_passed_over_and_then_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    write(&path, &facts(2));
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b"\0\0\0\n");
    fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&path).unwrap(), facts(2));
    write(&path, &[fact(9)]);
    assert_eq!(read(&path).unwrap(), [facts(2), vec![fact(9)]].concat());
}

#[test]
fn damage_in_the_middle_names_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    write(&path, &facts(3));
    let damaged = fs::read_to_string(&path).unwrap().replacen(r#"{"at":2"#, r#"{"at":"#, 1);
    fs::write(&path, damaged).unwrap();
    for error in [read(&path).unwrap_err(), LogWriter::open(&path).err().unwrap()] {
        let StoreError::Damaged { path: named, line: Some(3), .. } = &error else { panic!("{error}") };
        assert_eq!(named, &path);
        assert!(error.to_string().starts_with(&format!("{}, line 3, is damaged: it is no JSON", path.display())));
    }
}

#[test]
fn an_unknown_kind_of_fact_is_an_error_even_in_the_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    write(&path, &facts(1));
    let text = fs::read_to_string(&path).unwrap() + &chained(&path, &[DREAMT]);
    fs::write(&path, &text).unwrap();
    let error = LogWriter::open(&path).err().unwrap();
    assert!(matches!(&error, StoreError::UnknownFact { line: 3, kind, .. } if kind == "dreamt"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_reader_may_skip_unknown_facts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    write(&path, &facts(1));
    let text = fs::read_to_string(&path).unwrap();
    let known = serde_json::to_string(&fact(1)).unwrap();
    fs::write(&path, text + &chained(&path, &[DREAMT, &known, "{\"fact\":7}"])).unwrap();
    let mut reader = LogReader::open(&path).unwrap();
    assert_eq!(reader.next_entry().unwrap(), Some(LogEntry::Fact(fact(1))));
    assert_eq!(reader.next_entry().unwrap(), Some(LogEntry::Unknown { kind: "dreamt".to_owned(), line: 3 }));
    assert_eq!(reader.next_entry().unwrap(), Some(LogEntry::Fact(fact(1))));
    assert!(matches!(reader.next_entry(), Err(StoreError::Damaged { line: Some(5), .. })));
}

#[test]
fn a_newer_log_and_no_log_are_different_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    fs::write(&path, "{\"format\":\"perstack-log\",\"version\":7}\n{}\n").unwrap();
    assert!(matches!(read(&path).unwrap_err(), StoreError::Newer { version: 7, .. }));
    fs::write(&path, "{\"some\":\"json\"}\n{}\n").unwrap();
    assert!(matches!(read(&path).unwrap_err(), StoreError::Damaged { line: Some(1), .. }));
}

#[test]
fn a_position_gives_the_facts_before_it_whatever_follows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    let position = write(&path, &facts(2));
    write(&path, &facts(3)[2..]);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b"noise\nnoise\n");
    fs::write(&path, bytes).unwrap();
    assert_eq!(read_to(&path, &position).unwrap(), facts(2));
}

#[test]
fn a_position_of_another_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("a"), folder.path().join("b"));
    let position = write(&path, &facts(3));
    write(&other, &[fact(1), fact(3), fact(2)]);
    let refused = read_to(&other, &position).unwrap_err();
    assert!(refused.to_string().ends_with("its first 3 facts are not those a checkpoint builds on"), "{refused}");
    fs::write(&path, &fs::read(&path).unwrap()[..60]).unwrap();
    let short = read_to(&path, &position).unwrap_err();
    assert!(short.to_string().contains("it ends after"), "{short}");
}

#[cfg(unix)]
#[test]
fn a_log_with_a_second_name_is_not_opened_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("log.jsonl"), folder.path().join("other"));
    LogWriter::open(&path).unwrap();
    std::fs::hard_link(&path, &other).unwrap();
    assert!(matches!(LogWriter::open(&path), Err(StoreError::HardLink { .. })));
    std::fs::remove_file(&other).unwrap();
    assert!(LogWriter::open(&path).is_ok());
}

#[test]
fn after_a_failed_write_further_facts_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    write(&path, &facts(1));
    // A file opened for reading refuses writes, as a full disk does.
    let mut writer = LogWriter { file: Arc::new(File::open(&path).unwrap()), ..LogWriter::open(&path).unwrap() };
    let error = writer.append(&fact(2)).unwrap_err();
    assert!(matches!(&error, StoreError::Io { action: "write to", .. }), "{error}");
    writer.file = Arc::new(door::open_to_append(&path).unwrap());
    assert!(matches!(writer.append(&fact(3)).unwrap_err(), StoreError::Poisoned { .. }));
    assert!(matches!(writer.flush().unwrap_err(), StoreError::Poisoned { .. }));
    assert_eq!(read(&path).unwrap(), facts(1));
}
