//! [`run`]: the least that an agent's loop can cost. It sends the requests of a script over one connection, each longer
//! than the one before by a call and its result, and stores every step before it goes on.
//!
//! Both floor programs call it, each with a connection of its kind. It understands no more of an answer than whether a
//! tool is called.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};

/// A call of a tool, as an answer of the Messages protocol has it.
const CALL: &[u8] = b"\"tool_use\"";
/// The file that the tool reads.
const TOOL_INPUT: &str = "owls.txt";

/// The way in which a step is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// The whole conversation in a new file a step, flushed once.
    File,
    /// Two lines of a log a step, each flushed: the answer, and the result.
    Log2,
}

/// The parts that every request is made of.
pub struct Script {
    head: Vec<u8>,
    step: Vec<u8>,
    tail: Vec<u8>,
}

impl Script {
    /// Reads `floor.script`: the three lengths on a line, then the three parts.
    pub fn read() -> io::Result<Self> {
        let mut reader = BufReader::new(File::open("floor.script")?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut lengths = line.split_ascii_whitespace().map(|word| word.parse::<usize>().map_err(io::Error::other));
        let mut part = || -> io::Result<Vec<u8>> {
            let length = lengths.next().ok_or_else(|| io::Error::other("floor.script: three lengths are needed"))??;
            let mut bytes = vec![0; length];
            reader.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        Ok(Self { head: part()?, step: part()?, tail: part()? })
    }
}

/// Asks until an answer calls no tool.
pub fn run(connection: impl Read + Write, host: &str, script: &Script, store: Store) -> io::Result<()> {
    let mut connection = BufReader::with_capacity(64 * 1024, connection);
    let mut log =
        (store == Store::Log2).then(|| File::options().create(true).append(true).open("log.jsonl")).transpose()?;
    let mut body = script.head.clone();
    let mut answer = Vec::new();
    for number in 1.. {
        let kept = body.len();
        body.extend_from_slice(&script.tail);
        send(connection.get_mut(), host, &body)?;
        receive(&mut connection, &mut answer)?;
        if !answer.windows(CALL.len()).any(|window| window == CALL) {
            store_step(store, log.as_mut(), number, &body, &answer)?;
            return io::stdout().write_all(b"Tawny owls.\n");
        }
        if let Some(log) = &mut log {
            append(log, &answer)?;
        }
        let result = fs::read(TOOL_INPUT)?;
        store_step(store, log.as_mut(), number, &body, &result)?;
        body.truncate(kept);
        body.extend_from_slice(&script.step);
    }
    Ok(())
}

fn store_step(store: Store, log: Option<&mut File>, number: usize, body: &[u8], line: &[u8]) -> io::Result<()> {
    if let (Store::Log2, Some(log)) = (store, log) {
        return append(log, line);
    }
    let mut file = File::create(format!("step-{number}.json"))?;
    file.write_all(body)?;
    file.sync_all()
}

/// Appends a text as one line, and flushes it.
fn append(log: &mut File, text: &[u8]) -> io::Result<()> {
    let mut line: Vec<u8> = text.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
    line.push(b'\n');
    log.write_all(&line)?;
    log.sync_data()
}

fn send(connection: &mut impl Write, host: &str, body: &[u8]) -> io::Result<()> {
    let mut request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {host}\r\nx-api-key: none needed\r\nanthropic-version: 2023-06-01\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    connection.write_all(&request)?;
    connection.flush()
}

/// Reads one answer's body.
fn receive(connection: &mut impl BufRead, answer: &mut Vec<u8>) -> io::Result<()> {
    let mut line = String::new();
    let mut length = 0;
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    answer.resize(length, 0);
    connection.read_exact(answer)
}
