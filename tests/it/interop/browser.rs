//! The page of a job in a real browser. `.ci/interop` finds or installs one.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::path_in;
use crate::report::attacked_by;

/// The variable that names a Chromium.
const BROWSER: &str = "PERSTACK_INTEROP_BROWSER";

/// A server that counts who connects.
fn beacon() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connected = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connected);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            drop(connection);
        }
    });
    (port, connected)
}

/// The document that a file has become once its scripts have run.
fn opened(browser: &Path, page: &Path) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    let output = command.arg(format!("file://{}", page.display())).output().expect("a browser");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn hostile_text_does_nothing_in_a_page_and_its_own_script_runs() {
    let Some(browser) = path_in(BROWSER, ".ci/interop") else { return };
    let (port, connected) = beacon();
    let take = "document.title='taken'";
    let hostile = format!(
        "</pre></details><script>{take}</script><img src=\"http://127.0.0.1:{port}/i\" onerror=\"{take}\">\"><svg onload=\"{take}\">\
         </style><link rel=\"stylesheet\" href=\"http://127.0.0.1:{port}/s\"><iframe src=\"http://127.0.0.1:{port}/f\"></iframe>\
         <a href=\"javascript:{take}\" autofocus onfocus=\"{take}\">x</a><base href=\"http://127.0.0.1:{port}/\">\
         <form action=\"http://127.0.0.1:{port}/\"><input autofocus onfocus=\"{take}\"></form>"
    );
    let test = attacked_by(&hostile);
    test.run(["log", "nest", "--html", "job.html"]).assert_code(0);
    let document = opened(&browser, &test.workspace().join("job.html"));
    assert!(document.contains("<title>Job nest</title>"), "{document}");
    assert!(document.contains("2 of 2 steps"), "its own script did not run\n{document}");
    assert_eq!(connected.load(Ordering::SeqCst), 0, "the page loads something");
    // Unescaped, the same text takes the page over: the browser would have done what it is kept from.
    let bare = test.workspace().join("bare.html");
    std::fs::write(&bare, format!("<title>Bare</title><pre>{hostile}")).unwrap();
    let document = opened(&browser, &bare);
    assert!(document.contains("<title>taken</title>") && connected.load(Ordering::SeqCst) > 0, "{document}");
}
