//! [`OpenTables`]: makes one table of the headers and statements of a part of a TOML file that are in the order of their
//! depth, as they are written: whatever is beneath a table follows it, and a table that was left is not gone back to.
//! `definitions` has it make each tool's definition; another order is refused and left to TOML's parser.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::text_reader::{MAX_DEPTH, TextReader};

/// The entries that most tables have at most: room for them is made at once.
const USUAL_ENTRIES: usize = 6;

/// The table being made, and the open ones beneath it, each within the one before.
#[derive(Debug, Default)]
pub(super) struct OpenTables<'a> {
    root: Map<String, Value>,
    beneath: Vec<OpenTable<'a>>,
}

#[derive(Debug)]
struct OpenTable<'a> {
    key: Cow<'a, str>,
    entries: Map<String, Value>,
    /// The tables before it, where it is one of a list of tables.
    earlier: Option<Vec<Value>>,
}

impl<'a> OpenTables<'a> {
    /// Opens the table of the header with this path, which begins with a dot; as one more of a list where `is_list` is set.
    pub fn open(&mut self, path: &'a str, is_list: bool) -> Option<()> {
        let keys = keys(path)?;
        let shared = keys.iter().zip(&self.beneath).take_while(|(key, open)| **key == open.key).count();
        self.close_to(shared)?;
        if shared == keys.len() {
            // A table that is open already: only a list goes on.
            let last = self.beneath.last_mut().filter(|_| is_list)?;
            last.earlier.as_mut()?.push(Value::Object(std::mem::take(&mut last.entries)));
            return Some(());
        }
        let lists = keys.len() - usize::from(is_list);
        for (at, key) in keys.into_iter().enumerate().skip(shared) {
            if self.innermost().contains_key(&*key) {
                return None;
            }
            let earlier = (at >= lists).then(Vec::new);
            self.beneath.push(OpenTable { key, entries: Map::with_capacity(USUAL_ENTRIES), earlier });
        }
        Some(())
    }

    /// Adds an entry to the innermost table.
    pub fn insert(&mut self, key: String, value: Value) -> Option<()> {
        self.innermost().insert(key, value).is_none().then_some(())
    }

    /// The whole table.
    pub fn finish(mut self) -> Option<Map<String, Value>> {
        self.close_to(0)?;
        Some(self.root)
    }

    fn innermost(&mut self) -> &mut Map<String, Value> {
        self.beneath.last_mut().map_or(&mut self.root, |table| &mut table.entries)
    }

    fn close_to(&mut self, depth: usize) -> Option<()> {
        while self.beneath.len() > depth {
            let OpenTable { key, entries, earlier } = self.beneath.pop()?;
            let table = Value::Object(entries);
            let value = match earlier {
                None => table,
                Some(mut list) => {
                    list.push(table);
                    Value::Array(list)
                }
            };
            self.insert(key.into_owned(), value)?;
        }
        Some(())
    }
}

/// The keys of a path, each behind a dot.
fn keys(path: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut reader = TextReader::new(path);
    let mut keys = Vec::with_capacity(8);
    while reader.peek().is_some() {
        reader.expect(".")?;
        keys.push(reader.key()?);
    }
    (keys.len() <= MAX_DEPTH).then_some(keys)
}
