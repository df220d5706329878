//! Requests that the server accepted, kept as files for whoever wants to hold them against other things than ours: the
//! types of the providers' own libraries, say.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::request::Request;

/// Names the folder to keep requests in; without it none are kept.
const FOLDER: &str = "PERSTACK_SAVED_REQUESTS";

/// Keeps `request`, once however often it comes.
pub fn save(request: &Request) {
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the program")]
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let body = request.body.to_string();
    let mut hasher = DefaultHasher::new();
    (request.protocol.name(), &request.path, &body).hash(&mut hasher);
    let headers: serde_json::Map<_, _> = request.headers.iter().map(|(n, v)| (n.clone(), json!(v))).collect();
    let file = json!({
        "protocol": request.protocol.name(),
        "path": request.path,
        "headers": headers,
        "body": request.body,
        // As it was signed, where it was.
        "bytes": STANDARD.encode(&request.bytes),
    });
    let folder = Path::new(&folder);
    let saved = fs::create_dir_all(folder)
        .and_then(|()| fs::write(folder.join(format!("{:016x}.json", hasher.finish())), file.to_string()));
    saved.expect("the folder for saved requests can be written to");
}
