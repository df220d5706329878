//! The recipes in `examples/fleet/`, judged by the schemas of the systems that they are for.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::{python, servers};
use crate::support::skipped;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fleet");

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn kubernetes_takes_the_manifests() {
    let Some(servers) = servers() else { return };
    let judged =
        |path: &Path| Command::new(python(&servers, "kubernetes-validate")).arg("--strict").arg(path).output().unwrap();
    for name in ["kubernetes-job.yaml", "kubernetes-workers.yaml"] {
        let path = Path::new(FOLDER).join(name);
        let output = judged(&path);
        assert!(output.status.success(), "{}", text(&output));
        // A key that nobody knows is found.
        let folder = tempfile::tempdir().unwrap();
        let wrong = folder.path().join(name);
        fs::write(&wrong, fs::read_to_string(&path).unwrap().replacen("spec:", "spec:\n  owls: 2", 1)).unwrap();
        assert!(!judged(&wrong).status.success(), "{name}");
    }
}

#[test]
fn systemd_takes_the_unit() {
    if servers().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("perstack-worker.service");
    let text_of_unit = fs::read_to_string(Path::new(FOLDER).join("perstack-worker.service")).unwrap();
    // The program has to be there, and the user.
    let program = env!("CARGO_BIN_EXE_perstack");
    let here = text_of_unit.replace("/usr/local/bin/perstack", program).replace("User=perstack", "User=root");
    fs::write(&unit, here).unwrap();
    match Command::new("systemd-analyze").arg("verify").arg(&unit).output() {
        Ok(output) => {
            let said = text(&output);
            assert!(!said.contains("perstack-worker.service"), "{said}");
        }
        Err(error) => skipped(&format!("systemd-analyze: {error}")),
    }
}
