//! AWS Signature Version 4, computed anew to see whether a request's is right:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::KEY;
use super::endpoint::{Endpoint, Service};
use super::http::RawRequest;
use super::request::{Protocol, Request};

/// The access key that the server knows; its secret is [`KEY`].
pub const ACCESS_KEY: &str = "AKIDOWLSNEST0EXAMPLE";
/// Where the server pretends to be.
pub const REGION: &str = "eu-central-1";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Bytes that SHA-256 takes at a time, to which HMAC fills a key up.
const BLOCK: usize = 64;

/// What is wrong with a request's signature.
pub fn check(request: &Request) -> Option<String> {
    match Signed::read(request.header("authorization").unwrap_or_default()) {
        Some(signed) => signed.check(request),
        None => Some("the header authorization holds no signature of version 4".to_owned()),
    }
}

/// The `authorization` header in its parts.
struct Signed<'a> {
    access_key: &'a str,
    /// Day, region, service and the closing word.
    scope: &'a str,
    headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Signed<'a> {
    fn read(header: &'a str) -> Option<Self> {
        let fields = header.strip_prefix(ALGORITHM)?.trim_start();
        let field = |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
        let (access_key, scope) = field("Credential")?.split_once('/')?;
        let headers = field("SignedHeaders")?.split(';').collect();
        Some(Self { access_key, scope, headers, signature: field("Signature")? })
    }

    fn check(&self, request: &Request) -> Option<String> {
        let date = request.header("x-amz-date").unwrap_or_default();
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{REGION}/bedrock/aws4_request");
        if (self.access_key, self.scope) != (ACCESS_KEY, &scope) {
            return Some(format!("the credential is {}/{}, not {ACCESS_KEY}/{scope}", self.access_key, self.scope));
        }
        if !self.headers.is_sorted() {
            return Some(format!("the signed headers are not in order: {:?}", self.headers));
        }
        let must_be_signed = |name: &str| name == "host" || name.starts_with("x-amz-");
        let names = request.headers.iter().map(|(name, _)| name.as_str());
        if let Some(name) = names.filter(|name| must_be_signed(name)).find(|name| !self.headers.contains(name)) {
            return Some(format!("the header {name} is not signed"));
        }
        let expected = signature(&self.string_to_sign(request, date), day);
        (self.signature != expected).then(|| format!("the signature is {}, not {expected}", self.signature))
    }

    fn string_to_sign(&self, request: &Request, date: &str) -> String {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let mut canonical = format!("POST\n{}\n{query}\n", encoded_again(path));
        for name in &self.headers {
            let value = request.header(name).unwrap_or_default();
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            writeln!(canonical, "{name}:{value}").expect("writing to a string");
        }
        write!(canonical, "\n{}\n{}", self.headers.join(";"), hex(&Sha256::digest(&request.bytes)))
            .expect("writing to a string");
        format!("{ALGORITHM}\n{date}\n{}\n{}", self.scope, hex(&Sha256::digest(canonical)))
    }
}

fn signature(string_to_sign: &str, day: &str) -> String {
    let secret = format!("AWS4{KEY}");
    let key = [day, REGION, "bedrock", "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, word| hmac(&key, word.as_bytes()).to_vec());
    hex(&hmac(&key, string_to_sign.as_bytes()))
}

/// A path with its segments encoded once more, as every service but S3 has it.
fn encoded_again(path: &str) -> String {
    path.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("writing to a string");
        }
        text
    })
}

/// RFC 2104.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string");
        text
    })
}

/// A signature for a request with these headers, for clients of the tests.
pub fn authorization(path: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
    let mut headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    headers.sort();
    let raw = RawRequest { method: "POST".to_owned(), path: path.to_owned(), headers, body: body.to_vec() };
    let endpoint = Endpoint { service: Service::Bedrock, protocol: Protocol::Converse, model: None };
    let request = Request::new(endpoint, raw).expect("a body of JSON");
    let date = request.header("x-amz-date").expect("a date");
    let day = &date[..8];
    let scope = format!("{day}/{REGION}/bedrock/aws4_request");
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    let signed = Signed { access_key: ACCESS_KEY, scope: &scope, headers: names.clone(), signature: "" };
    let signature = signature(&signed.string_to_sign(&request, date), day);
    format!("{ALGORITHM} Credential={ACCESS_KEY}/{scope}, SignedHeaders={}, Signature={signature}", names.join(";"))
}

#[test]
fn the_parts_are_those_of_the_standards() {
    // RFC 4231, test cases 2 and 6.
    let short = hmac(b"Jefe", b"what do ya want for nothing?");
    assert_eq!(hex(&short), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    let long = hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
    assert_eq!(hex(&long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    assert_eq!(encoded_again("/model/a%3A0/converse-stream"), "/model/a%253A0/converse-stream");
}
