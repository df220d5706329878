//! A program that does nothing: the least that a start and an end can take.

fn main() {}
