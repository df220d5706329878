//! SOCKS5 with a user's name and a password (RFC 1928, RFC 1929): the name is the proxy's token. Connections alone; the
//! proxy calls it for one, and carries the bytes afterwards.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::{in_time, is_token};
use super::dial::{Dialler, Unreached};
use crate::domain_list::NetworkTarget;

const VERSION: u8 = 5;
/// The version of the exchange of name and password.
const LOGIN_VERSION: u8 = 1;
/// The method of name and password, and the answer that none is accepted.
const LOGIN: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;

/// The kinds of address.
const V4: u8 = 1;
const NAME: u8 = 3;
const V6: u8 = 4;

/// The answers to a request.
const DONE: u8 = 0;
const FORBIDDEN: u8 = 2;
const UNREACHABLE: u8 = 4;
const UNKNOWN_COMMAND: u8 = 7;
const UNKNOWN_ADDRESS: u8 = 8;

/// Serves the greeting and the request of a client. Returns the connection that it asks for, none where it is refused.
///
/// # Errors
/// The client is gone, too slow, or sends what is no SOCKS5.
pub(super) async fn open(client: &mut TcpStream, token: &str, dialler: &Dialler) -> io::Result<Option<TcpStream>> {
    let target = match in_time(request(client, token)).await? {
        Ok(target) => target,
        Err(Some(answer)) => {
            reply(client, answer).await?;
            return Ok(None);
        }
        Err(None) => return Ok(None),
    };
    match dialler.connect(&target).await {
        Ok(server) => {
            reply(client, DONE).await?;
            Ok(Some(server))
        }
        Err(Unreached::Refused(_)) => reply(client, FORBIDDEN).await.map(|()| None),
        Err(Unreached::Failed(_)) => reply(client, UNREACHABLE).await.map(|()| None),
    }
}

/// Reads up to the request. The inner error is the answer to one that cannot be served; none where it was sent already.
async fn request<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut S,
    token: &str,
) -> io::Result<Result<NetworkTarget, Option<u8>>> {
    let [version, methods] = read(client).await?;
    let methods = read_text(client, methods).await?;
    if version != VERSION || !methods.contains(&LOGIN) {
        client.write_all(&[VERSION, NO_METHOD]).await?;
        return Ok(Err(None));
    }
    client.write_all(&[VERSION, LOGIN]).await?;
    let [version, length] = read(client).await?;
    let name = read_text(client, length).await?;
    let [length] = read(client).await?;
    read_text(client, length).await?;
    let is_right = version == LOGIN_VERSION && is_token(&name, token);
    client.write_all(&[LOGIN_VERSION, u8::from(!is_right)]).await?;
    if !is_right {
        return Ok(Err(None));
    }
    let [version, command, _, kind] = read(client).await?;
    if version != VERSION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let host = match kind {
        V4 => Ipv4Addr::from(read::<4, _>(client).await?).to_string(),
        V6 => Ipv6Addr::from(read::<16, _>(client).await?).to_string(),
        NAME => {
            let [length] = read(client).await?;
            String::from_utf8_lossy(&read_text(client, length).await?).into_owned()
        }
        _ => return Ok(Err(Some(UNKNOWN_ADDRESS))),
    };
    let port = u16::from_be_bytes(read(client).await?);
    if command != CONNECT {
        return Ok(Err(Some(UNKNOWN_COMMAND)));
    }
    Ok(NetworkTarget::new(&host, port).ok_or(Some(UNKNOWN_ADDRESS)))
}

async fn read<const N: usize, S: AsyncRead + Unpin>(client: &mut S) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn read_text<S: AsyncRead + Unpin>(client: &mut S, length: u8) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(length)];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// The answer to a request. The address that is bound is nobody's concern.
async fn reply(client: &mut TcpStream, answer: u8) -> io::Result<()> {
    client.write_all(&[VERSION, answer, 0, V4, 0, 0, 0, 0, 0, 0]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome of a client's bytes, and the bytes that it is sent.
    async fn asked(bytes: &[u8]) -> (io::Result<Result<NetworkTarget, Option<u8>>>, Vec<u8>) {
        let (mut client, mut server) = tokio::io::duplex(1 << 10);
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let asked = request(&mut server, "owl").await;
        drop(server);
        let mut sent = Vec::new();
        client.read_to_end(&mut sent).await.unwrap();
        (asked, sent)
    }

    const LOGIN_OF_OWL: &[u8] = b"\x05\x02\x00\x02\x01\x03owl\x01x";

    #[tokio::test]
    async fn a_request_is_for_a_name_or_an_address() {
        for (request, host, port) in [
            (&b"\x05\x01\x00\x03\x09a.example\x01\xbb"[..], "a.example", 443),
            (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", "127.0.0.1", 80),
            (b"\x05\x01\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x50", "[::1]", 80),
            // An address as a name is one all the same.
            (b"\x05\x01\x00\x03\x09127.0.0.1\x00\x50", "127.0.0.1", 80),
        ] {
            let (asked, sent) = asked(&[LOGIN_OF_OWL, request].concat()).await;
            let target = asked.unwrap().unwrap();
            assert_eq!((target.host().as_str(), target.port), (host, port));
            assert_eq!(sent, [5, 2, 1, 0]);
        }
    }

    #[tokio::test]
    async fn others_are_answered_or_given_up() {
        for (bytes, answer, sent) in [
            (b"\x05\x01\x00".to_vec(), None, &[5, 0xff][..]),
            (b"\x04\x01\x02".to_vec(), None, &[5, 0xff]),
            (b"\x05\x01\x02\x01\x03owx\x01x".to_vec(), None, &[5, 2, 1, 1]),
            (
                [LOGIN_OF_OWL, b"\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50"].concat(),
                Some(UNKNOWN_COMMAND),
                &[5, 2, 1, 0],
            ),
            (
                [LOGIN_OF_OWL, b"\x05\x03\x00\x01\x7f\x00\x00\x01\x00\x50"].concat(),
                Some(UNKNOWN_COMMAND),
                &[5, 2, 1, 0],
            ),
            ([LOGIN_OF_OWL, b"\x05\x01\x00\x09"].concat(), Some(UNKNOWN_ADDRESS), &[5, 2, 1, 0]),
            ([LOGIN_OF_OWL, b"\x05\x01\x00\x03\x03a/b\x00\x50"].concat(), Some(UNKNOWN_ADDRESS), &[5, 2, 1, 0]),
        ] {
            let (asked, was_sent) = asked(&bytes).await;
            assert_eq!(asked.unwrap().unwrap_err(), answer, "{bytes:?}");
            assert_eq!(was_sent, sent, "{bytes:?}");
        }
        for cut in [&b""[..], b"\x05", b"\x05\x05\x02", LOGIN_OF_OWL] {
            assert!(asked(cut).await.0.is_err());
        }
    }
}
