//! Requests that the server accepted and what it answered, kept as files for whoever wants to hold them against other
//! things than ours: the types of the providers' own libraries, say.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::request::{Protocol, Request};

/// Names the folder to keep requests in, and answers in its folder `answers`; without it none are kept.
const FOLDER: &str = "PERSTACK_SAVED_REQUESTS";

/// Keeps `request`, once however often it comes.
pub fn save(request: &Request) {
    let Some(folder) = folder() else { return };
    let headers: serde_json::Map<_, _> = request.headers.iter().map(|(n, v)| (n.clone(), json!(v))).collect();
    let file = json!({
        "protocol": request.protocol.name(),
        "path": request.path,
        "headers": headers,
        "body": request.body,
        // As it was signed, where it was.
        "bytes": STANDARD.encode(&request.bytes),
    });
    keep(&folder, &file, &(request.protocol.name(), &request.path, request.body.to_string()));
}

/// Keeps a turn of the model as it was rendered.
pub fn save_answer(protocol: Protocol, bytes: &[u8]) {
    let Some(folder) = folder() else { return };
    let file = json!({"protocol": protocol.name(), "bytes": STANDARD.encode(bytes)});
    keep(&folder.join("answers"), &file, &(protocol.name(), bytes));
}

fn folder() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the program")]
    std::env::var_os(FOLDER).map(PathBuf::from)
}

fn keep(folder: &Path, file: &Value, what: &impl Hash) {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    let saved = fs::create_dir_all(folder)
        .and_then(|()| fs::write(folder.join(format!("{:016x}.json", hasher.finish())), file.to_string()));
    saved.expect("the folder for saved requests can be written to");
}
