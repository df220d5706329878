//! [`Rows`]: the rows of a file or of standard input, one at a time, as queries. A thread of its own reads them ahead, no
//! further than the jobs that wait for one, so that a file may be longer than the memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::template::{NoRowQuery, QueryTemplate};
use crate::cli::failure::Failure;

/// Most bytes of a row: as of any query.
const MAX_ROW: u64 = 16 * 1024 * 1024;

/// The mark at the beginning of a file that some programs write.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A row: its number from 1 and its query, or the reason for which it has none.
#[derive(Debug, PartialEq)]
pub struct Row {
    pub number: u64,
    pub query: Result<String, String>,
}

/// The form of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// A JSON value a line.
    Jsonl,
    /// Comma-separated values, the first line their names.
    Csv,
}

/// The bytes of the rows: of a file, those that it has now; what is appended meanwhile is for the next time.
///
/// # Errors
/// With the exit code for usage, when the file cannot be read.
pub fn open(path: &Path, shown: &str) -> Result<Box<dyn Read + Send>, Failure> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.with_context(|| format!("cannot read {shown}")).map_err(Failure::usage)?;
    if metadata.is_dir() {
        return Err(Failure::usage(anyhow!("{shown} is a folder")).help("name a file of rows, or - for standard input"));
    }
    Ok(if metadata.is_file() { Box::new(file.take(metadata.len())) } else { Box::new(file) })
}

/// Reads the rows of `input` in a thread. They come through the channel, and the end of it is theirs; a failure is the last
/// that comes.
///
/// # Errors
/// When the system gives no thread.
pub fn read(
    input: Box<dyn Read + Send>,
    format: RowFormat,
    template: QueryTemplate,
    ahead: usize,
) -> Result<mpsc::Receiver<Result<Row, Failure>>, Failure> {
    let (sender, rows) = mpsc::channel(ahead.max(1));
    let read = move || {
        let mut out = |row| sender.blocking_send(row).is_ok();
        let read = match format {
            RowFormat::Jsonl => read_jsonl(input, &template, &mut out),
            RowFormat::Csv => read_csv(input, &template, &mut out),
        };
        if let Err(failure) = read {
            out(Err(failure));
        }
    };
    let thread = std::thread::Builder::new().name("rows".to_owned()).spawn(read);
    thread.context("cannot start a thread that reads the rows").map_err(Failure::other)?;
    Ok(rows)
}

/// Takes a row; false when no more are wanted.
type Taker<'a> = &'a mut dyn FnMut(Result<Row, Failure>) -> bool;

/// A failure to read the input itself.
fn unreadable(error: io::Error) -> Failure {
    Failure::other(anyhow::Error::new(error).context("cannot read the rows"))
}

fn read_jsonl(input: Box<dyn Read + Send>, template: &QueryTemplate, out: Taker<'_>) -> Result<(), Failure> {
    let mut input = BufReader::new(input);
    skip_mark(&mut input).map_err(unreadable)?;
    let mut number = 0;
    let mut line = Vec::new();
    while let Some(is_whole) = read_line(&mut input, &mut line).map_err(unreadable)? {
        if is_whole && line.trim_ascii().is_empty() {
            continue;
        }
        number += 1;
        let value = if is_whole {
            serde_json::from_slice::<Value>(&line).map_err(|error| format!("it is no JSON ({error})"))
        } else {
            Err(format!("it is longer than {} MiB", MAX_ROW >> 20))
        };
        if !send(number, value, template, out)? {
            break;
        }
    }
    Ok(())
}

fn read_csv(input: Box<dyn Read + Send>, template: &QueryTemplate, out: Taker<'_>) -> Result<(), Failure> {
    let mut input = BufReader::new(input);
    skip_mark(&mut input).map_err(unreadable)?;
    let mut reader = csv::ReaderBuilder::new().from_reader(PerRow { input, left: MAX_ROW });
    let broken = |error: csv::Error| Failure::usage(anyhow::Error::new(error).context("cannot read the rows"));
    let names = reader.headers().map_err(broken)?.clone();
    if let Some(twice) = names.iter().enumerate().find_map(|(at, name)| names.iter().take(at).find(|it| *it == name)) {
        return Err(Failure::usage(anyhow!("two columns have the name {twice:?}"))
            .help("the first line names the columns, each by a name of its own"));
    }
    let mut record = csv::StringRecord::new();
    for number in 1.. {
        reader.get_mut().left = MAX_ROW;
        let value = match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {
                let fields = names.iter().zip(&record).map(|(name, field)| (name.to_owned(), Value::from(field)));
                Ok(Value::Object(fields.collect::<Map<_, _>>()))
            }
            // The reader goes on behind a record that is wrong, but not behind a failure of its input.
            Err(error) if error.is_io_error() => return Err(broken(error)),
            Err(error) => Err(error.to_string()),
        };
        if !send(number, value, template, out)? {
            break;
        }
    }
    Ok(())
}

/// Sends a row on. The first one shows whether the template is about these rows at all.
fn send(number: u64, value: Result<Value, String>, template: &QueryTemplate, out: Taker<'_>) -> Result<bool, Failure> {
    let query = value.and_then(|value| match template.query(&value) {
        Err(error @ NoRowQuery::UnknownField { .. }) if number == 1 => Ok(Err(error)),
        query => query.map(Ok).map_err(|error| error.to_string()),
    });
    let query = match query {
        Ok(Err(error)) => {
            let help = "name the fields of the rows in --query, such as --query \"Classify: {text}\"";
            return Err(Failure::usage(anyhow::Error::new(error).context("row 1 has no query")).help(help));
        }
        Ok(Ok(query)) => Ok(query),
        Err(why) => Err(why),
    };
    Ok(out(Ok(Row { number, query })))
}

fn skip_mark(input: &mut impl BufRead) -> io::Result<()> {
    if input.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
        input.consume(BYTE_ORDER_MARK.len());
    }
    Ok(())
}

/// Reads a line without its end into `line`. `None` at the end of the input; false for a line that is too long, of which
/// only the beginning is kept.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let read = input.by_ref().take(MAX_ROW).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(true));
    }
    if u64::try_from(read).is_ok_and(|read| read < MAX_ROW) {
        return Ok(Some(true));
    }
    input.skip_until(b'\n')?;
    Ok(Some(false))
}

/// An input that ends with an error where a row is too long: a quote without its end would take all that follows.
struct PerRow<R> {
    input: R,
    left: u64,
}

impl<R: Read> Read for PerRow<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other(format!(
                "a row is longer than {} MiB: is a quote not closed?",
                MAX_ROW >> 20
            )));
        }
        let read = self.input.read(buffer)?;
        self.left = self.left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8], format: RowFormat, template: Option<&str>) -> Vec<Result<String, String>> {
        let template = QueryTemplate::parse(template).unwrap();
        let mut rows = read(Box::new(io::Cursor::new(text.to_vec())), format, template, 2).unwrap();
        let mut found = Vec::new();
        while let Some(row) = rows.blocking_recv() {
            found.push(match row {
                Ok(row) => {
                    assert_eq!(row.number, found.len() as u64 + 1);
                    row.query
                }
                Err(failure) => Err(format!("end: {}", failure.line())),
            });
        }
        found
    }

    fn jsonl(text: &str) -> Vec<Result<String, String>> {
        rows(text.as_bytes(), RowFormat::Jsonl, Some("<{t}>"))
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is compared with results")]
    fn ok(query: &str) -> Result<String, String> {
        Ok(query.to_owned())
    }

    #[test]
    fn a_row_is_a_line_and_blank_lines_are_none() {
        assert_eq!(
            jsonl("\u{feff}{\"t\": 1}\r\n\n  \n{\"t\": \"a\\nb\"}\n{\"t\": 1}"),
            [ok("<1>"), ok("<a\nb>"), ok("<1>")]
        );
        assert_eq!(jsonl(""), []);
        assert_eq!(jsonl("\n\n"), []);
    }

    #[test]
    fn a_row_that_is_none_is_wrong_alone() {
        let found = rows(b"{\"t\": 1}\n{\"t\": \n{\"u\": 2}\n\xff\xfe\n[1]\n{\"t\": 3}", RowFormat::Jsonl, Some("{t}"));
        assert_eq!((found.len(), &found[0], &found[5]), (6, &ok("1"), &ok("3")));
        assert!(found[1].clone().unwrap_err().starts_with("it is no JSON"), "{found:?}");
        assert_eq!(found[2], Err("there is no field \"t\"".to_owned()));
        assert!(found[3].is_err() && found[4] == Err("it is neither a text nor an object".to_owned()), "{found:?}");
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let text =
            [b"{\"t\": \"".as_slice(), &vec![b'x'; usize::try_from(MAX_ROW).unwrap()], b"\"}\n{\"t\": 2}\n"].concat();
        let found = rows(&text, RowFormat::Jsonl, Some("{t}"));
        assert_eq!(found, [Err("it is longer than 16 MiB".to_owned()), ok("2")]);
        let text = [b"t\n\"".as_slice(), &vec![b'x'; usize::try_from(2 * MAX_ROW).unwrap()]].concat();
        let found = rows(&text, RowFormat::Csv, Some("{t}"));
        assert!(found.len() == 1 && found[0].clone().unwrap_err().contains("is a quote not closed?"), "{found:?}");
    }

    #[test]
    fn columns_are_fields_with_quotes_commas_and_line_ends() {
        let text = "\u{feff}id,text\n1,\"a \"\"night\"\" owl,\nby night\"\n2,bee\n3\n4,ant\n";
        let found = rows(text.as_bytes(), RowFormat::Csv, Some("{id}: {text}"));
        assert_eq!(found[..2], [ok("1: a \"night\" owl,\nby night"), ok("2: bee")]);
        assert!(found[2].clone().unwrap_err().contains("record 3"), "{found:?}");
        assert_eq!(found[3..], [ok("4: ant")]);
        assert_eq!(rows(b"id,text\n", RowFormat::Csv, Some("{text}")), []);
        assert_eq!(rows(b"", RowFormat::Csv, Some("{text}")), []);
        let twice = rows(b"a,a\n1,2\n", RowFormat::Csv, Some("{a}"));
        assert!(twice[0].clone().unwrap_err().starts_with("end: two columns have the name \"a\""), "{twice:?}");
    }

    #[test]
    fn a_template_that_is_about_other_rows_ends_it_at_once() {
        let found = jsonl("{\"text\": 1}\n{\"t\": 2}\n");
        assert!(found.len() == 1 && found[0].clone().unwrap_err().contains("there is no field \"t\""), "{found:?}");
    }
}
