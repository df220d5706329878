//! The floor over TLS: the system's authorities are loaded, as `SSL_CERT_FILE` or the system names them.
//! `floor-tls ADDRESS file|log2`

mod client;

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use client::{Script, Store};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(store)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: floor-tls ADDRESS file|log2"));
    };
    let store = if store == "log2" { Store::Log2 } else { Store::File };
    let script = Script::read()?;
    let connection = TcpStream::connect(&address)?;
    connection.set_nodelay(true)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    client::run(StreamOwned::new(session, connection), &address, &script, store)
}
