//! The floor: the requests of `floor.script` over a plain connection. `floor ADDRESS file|log2`

mod client;

use std::io;
use std::net::TcpStream;

use client::{Script, Store};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(store)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: floor ADDRESS file|log2"));
    };
    let store = if store == "log2" { Store::Log2 } else { Store::File };
    let script = Script::read()?;
    let connection = TcpStream::connect(&address)?;
    connection.set_nodelay(true)?;
    client::run(connection, &address, &script, store)
}
