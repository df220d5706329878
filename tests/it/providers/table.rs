//! What every provider must do, as a table of providers and rows. The last row to end prints it:
//! `cargo test --test it providers::table -- --nocapture`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use super::rows::{self, Cell};
use super::trouble;
use crate::support::Provider;

/// The cells of the rows that have ended: per row those of all providers, in their order.
static CELLS: Mutex<BTreeMap<usize, Vec<Cell>>> = Mutex::new(BTreeMap::new());

macro_rules! table {
    ($($row:ident: $title:literal, $body:expr;)*) => {
        const ROWS: &[&str] = &[$($title),*];

        $(
            #[test]
            fn $row() {
                row($title, $body);
            }
        )*
    };
}

table! {
    text: "text", rows::text;
    tools: "tools", rows::tools;
    parallel_tools: "parallel tools", rows::parallel_tools;
    long_name: "long name of a tool", rows::long_name;
    image: "image", rows::image;
    pdf: "PDF", rows::pdf;
    reasoning: "reasoning round trip", rows::reasoning;
    hidden_reasoning: "hidden reasoning", rows::hidden_reasoning;
    usage: "usage, cached", rows::usage;
    length: "stop by length", rows::length;
    filter: "stop by filter", rows::filter;
    empty: "empty answer", trouble::empty;
    cut: "cut stream, retried", trouble::cut;
    failed: "failed stream, retried", trouble::failed;
    busy: "429, then OK", trouble::busy;
    overloaded: "503, then OK", trouble::overloaded;
    broken: "500, then OK", trouble::broken;
    refused_key: "401", trouble::refused_key;
    unknown_model: "404", trouble::unknown_model;
    page: "HTML page", trouble::page;
    drip: "slow drip", trouble::drip;
}

/// One row for all providers at once, each with a binary and a server of its own.
#[track_caller]
fn row(title: &str, body: fn(Provider) -> Cell) {
    let cells = Provider::each(body);
    let number = ROWS.iter().position(|row| *row == title).expect("a row of the table");
    let mut all = CELLS.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert(number, cells);
    if all.len() == ROWS.len() {
        show(&drawing(&all));
    }
}

fn drawing(all: &BTreeMap<usize, Vec<Cell>>) -> String {
    let mut text = format!("\n{:<24}", "");
    for provider in Provider::ALL {
        write!(text, "{:<12}", format!("{provider:?}")).expect("writing to a string");
    }
    for (row, cells) in all {
        write!(text, "\n{:<24}", ROWS[*row]).expect("writing to a string");
        for cell in cells {
            write!(text, "{:<12}", cell.word()).expect("writing to a string");
        }
    }
    text + "\n\nyes: does it · told: the model is told that it cannot be shown · -: the provider has no such thing\n"
}

#[expect(clippy::print_stdout, reason = "the table is for whoever asks to see what tests print")]
fn show(table: &str) {
    println!("{table}");
}
