//! Local servers with containment in force: those that a command may have written are contained, whatever starts them.

use std::fs;

use serde_json::json;

use super::contained::SECRET;
use super::{attack, neighbour};
use crate::mcp::{calling, tool_results};
use crate::support::tool_server::{command_skill, librarian};

/// A server with one tool, which reads the file that it is given.
const SERVER: &str = r#"$| = 1;
while (<STDIN>) {
    my ($id) = /"id":\s*("[^"]*"|\d+)/ or next;
    my $result = '{}';
    if (/"initialize"/) {
        $result = '{"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}';
    } elsif (m{"tools/list"}) {
        $result = '{"tools": [{"name": "fetch", "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}}}]}';
    } elsif (m{"tools/call"}) {
        my ($path) = /"path":\s*"([^"]*)"/;
        my ($text, $bad) = ("", "false");
        if (open(my $file, "<", $path)) { $text = <$file> } else { ($text, $bad) = ("$path: $!", "true") }
        $result = qq({"isError": $bad, "content": [{"type": "text", "text": "$text"}]});
    }
    print qq({"jsonrpc": "2.0", "id": $id, "result": $result}\n);
}
"#;

/// A home folder with a secret, which is no temporary one: those are within reach.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::create_dir(home.path().join("notes")).unwrap();
    fs::write(home.path().join("notes/a"), SECRET).unwrap();
    home
}

/// The result of the server's tool, called for the secret, and whether it is marked as an error.
fn result(home: &tempfile::TempDir, command: &str, args: &[&str], lists: &str) -> (String, bool) {
    let test = librarian(&format!("{}{lists}", command_skill("files", command, args)))
        .env("HOME", home.path().to_str().unwrap())
        .env("PERSTACK_TRUST", "1")
        .file("server.pl", SERVER)
        .file("tools/launch.sh", "exec perl server.pl\n")
        .file("Makefile", "serve:\n\t@exec perl server.pl\n");
    let (_test, requests) = calling(test, [("fetch", json!({"path": home.path().join("notes/a")}))]);
    tool_results(&requests[1])[0].clone()
}

#[test]
fn servers_that_are_found_in_the_workspace_are_contained() {
    attack("a server that a command may have written reads a key, started by a launcher, an interpreter or a shell");
    for (command, args) in [
        ("perl", &["server.pl"][..]),
        ("make", &["-s", "serve"]),
        ("sh", &["tools/launch.sh"]),
        ("env", &["A=1", "perl", "./server.pl"]),
        ("timeout", &["1000", "make", "-s", "serve"]),
    ] {
        let home = home();
        let (text, is_error) = result(&home, command, args, "");
        assert!(is_error && !text.contains(SECRET), "{command} {args:?}: {text}");
        let line = "out of reach here; to allow it, add reads = [\"~/notes/a\"] or writes = [\"~/notes/a\"] (skill files in \
                    perstack.toml)";
        assert!(text.contains(line), "{command} {args:?}: {text}");
    }
}

#[test]
fn servers_from_elsewhere_and_those_with_lists_read_what_they_need() {
    neighbour("a server that is installed elsewhere is as free as without containment, and a list gives what it names");
    let home = home();
    let installed = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let script = installed.path().join("server.pl");
    fs::write(&script, SERVER).unwrap();
    for (script, lists) in [(script.to_str().unwrap(), ""), ("server.pl", "reads = [\"~/notes\"]\n")] {
        let (text, is_error) = result(&home, "perl", &[script], lists);
        assert!(!is_error && text.contains(SECRET), "{script}: {text}");
    }
    attack("a server from elsewhere with a list of its own reads what it does not name");
    let (text, is_error) = result(&home, "perl", &[script.to_str().unwrap()], "reads = [\"./docs\"]\n");
    assert!(is_error && !text.contains(SECRET) && text.contains("add reads"), "{text}");
}
