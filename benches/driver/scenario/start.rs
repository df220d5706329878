//! Starts: of the bare program, and up to the first request in several surroundings.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Figures, millis};
use crate::lab::{Client, Lab, Surroundings};
use crate::process;
use crate::server::{Options, Script, Server};

/// Steps over which the cost of a step with many tools is averaged.
const STEPS: usize = 20;
/// Skills of either kind of lock.
const SKILLS: usize = 10;
/// A certificate of the tests, and its key.
const CERTIFICATE: &[u8] = include_bytes!("../../../tests/data/auth/throwaway_certificate.pem");
const KEY: &[u8] = include_bytes!("../../../tests/data/auth/throwaway_key.pem");

/// `--version`, beside an empty program.
pub fn version(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    let folder = lab.folder(&Surroundings::default())?;
    let mut command = match client {
        Client::Floor => lab.program("empty"),
        Client::Log2 => return Ok(None),
        Client::Ours => lab.ours(),
        Client::Peer(peer) => peer.command(folder.path()),
    };
    let ended = process::run(command.arg("--version"), folder.path(), |_| Ok(()))?;
    Ok(Some(Figures::from([("wall_ms", ended.wall().as_secs_f64() * 1e3)])))
}

/// A job whose expert has ten skills of this many tools each, all of them locked, beside one without skills.
pub fn locked_skills(lab: &Lab, client: &Client, tools: usize) -> Result<Option<Figures>> {
    if let Client::Peer(_) = client {
        return Ok(None);
    }
    let bare = few_steps(lab, client, &Surroundings::default())?;
    let full = few_steps(lab, client, &Surroundings { skills: SKILLS, tools, ..Surroundings::default() })?;
    Ok(Some(Figures::from([("start_extra_ms", full.0 - bare.0), ("step_extra_ms", full.1 - bare.1)])))
}

/// Milliseconds up to the first request, and of a step.
fn few_steps(lab: &Lab, client: &Client, around: &Surroundings) -> Result<(f64, f64)> {
    let folder = lab.folder(around)?;
    let server = Server::start(Script::reading(STEPS), Options::default())?;
    let ended = process::run(&mut lab.job(client, folder.path(), &server, around)?, folder.path(), |_| Ok(()))?;
    let arrivals = server.arrivals();
    let (first, last) = (arrivals.first().context("no request")?, arrivals.last().context("no request")?);
    Ok((millis(ended.started, first.at), millis(first.at, last.at) / (STEPS - 1) as f64))
}

/// The first request over TLS, with an authority of the user's own beside the system's.
pub fn tls(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    if matches!(client, Client::Log2 | Client::Peer(_)) {
        return Ok(None);
    }
    let around = Surroundings::default();
    let folder = lab.folder(&around)?;
    let roots = folder.path().join("roots.pem");
    write_roots(&roots)?;
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::from_pem_slice(KEY)?)?;
    let server = Server::start(Script::reading(1), Options { tls: Some(Arc::new(config)), ..Options::default() })?;
    let mut command = lab.job(client, folder.path(), &server, &around)?;
    if *client == Client::Floor {
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = lab.program("floor-tls");
        command.args(arguments);
    } else {
        command.env("ANTHROPIC_BASE_URL", format!("https://{}/v1", server.address()));
    }
    let ended = process::run(command.env("SSL_CERT_FILE", &roots), folder.path(), |_| Ok(()))?;
    let first = server.arrivals().first().context("no request")?.at;
    Ok(Some(Figures::from([("first_request_ms", millis(ended.started, first))])))
}

/// The system's authorities and our own, in one file.
fn write_roots(path: &Path) -> Result<()> {
    const SYSTEM: [&str; 3] =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    let mut roots =
        SYSTEM.iter().find_map(|path| fs::read(path).ok()).context("no file of the system's authorities")?;
    roots.extend_from_slice(CERTIFICATE);
    Ok(fs::write(path, roots)?)
}

/// The binary's size.
pub fn binary(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    if *client != Client::Ours {
        return Ok(None);
    }
    let bytes = fs::metadata(&lab.binary)?.len();
    Ok(Some(Figures::from([("size_mb", bytes as f64 / 1e6)])))
}
