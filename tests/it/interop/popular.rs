//! Popular servers, each used for what it is made for; the first two are installed by `.ci/interop`, all by
//! `.ci/interop-popular`, which names their folder in a variable of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{file, path_in, python, servers};
use crate::mcp::{calling, tool_results};
use crate::support::Test;
use crate::support::request::Request;
use crate::support::tool_server::{command_skill, librarian};

/// The folder of the servers that `.ci/interop-popular` installs, if there is one.
fn popular() -> Option<PathBuf> {
    path_in("PERSTACK_INTEROP_POPULAR", ".ci/interop-popular")
}

/// A skill whose server is a package from npm.
fn node(servers: &Path, program: &str) -> String {
    command_skill("popular", "node", &[&file(&servers.join("node/node_modules/.bin").join(program))])
}

/// Makes these calls, each of which must succeed and show its text; the last request. Prints the server's row.
#[track_caller]
#[expect(clippy::print_stdout, reason = "the table is for whoever asks to see what tests print")]
fn used<const N: usize>(server: &str, test: Test, calls: [(&str, Value); N], shows: [&str; N]) -> Request {
    let (_test, mut requests) = calling(test, calls);
    let own = ["attemptCompletion", "todo", "clearTodo"];
    let tools = requests[0].tools().into_iter().filter(|tool| !own.contains(tool)).count();
    let last = requests.pop().unwrap();
    let results = tool_results(&last);
    for ((text, is_error), shown) in results.iter().zip(shows) {
        assert!(!is_error && text.contains(shown), "{server}: no {shown:?}: {results:?}");
    }
    let images = last.body.to_string().matches("\"type\":\"image\"").count();
    println!("| {server} | {tools} tools | {N} calls | {images} images |");
    last
}

#[test]
fn sequential_thinking_counts_thoughts() {
    let Some(servers) = servers() else { return };
    let skill = node(&servers, "mcp-server-sequential-thinking");
    let thought = |number: u8| json!({"thought": "Owls hunt.", "thoughtNumber": number, "totalThoughts": 2, "nextThoughtNeeded": number < 2});
    let calls = [("sequentialthinking", thought(1)), ("sequentialthinking", thought(2))];
    let shows = ["\"thoughtHistoryLength\": 1", "\"thoughtHistoryLength\": 2"];
    used("server-sequential-thinking", librarian(&skill), calls, shows);
}

#[test]
fn fetch_reads_a_page_of_this_machine() {
    let Some(servers) = servers() else { return };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/owls", listener.local_addr().unwrap());
    // Ends with the tests.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let page = "<html><body><h1>Owls</h1><p>The tawny owl hunts at night.</p></body></html>";
            let head = format!("content-type: text/html\r\ncontent-length: {}\r\nconnection: close", page.len());
            if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                // A client that has gone needs no page.
                let _ = write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n\r\n{page}");
            }
        }
    });
    let options = ["--ignore-robots-txt", "--allow-private-ips"];
    let skill = command_skill("popular", &python(&servers, "mcp-server-fetch"), &options);
    used("mcp-server-fetch", librarian(&skill), [("fetch", json!({"url": url}))], ["The tawny owl hunts at night."]);
}

#[test]
fn desktop_commander_runs_a_command_and_reads_a_file() {
    let Some(servers) = popular() else { return };
    let test = librarian(&node(&servers, "desktop-commander")).file("owls.txt", "tawny\n");
    let path = test.workspace().join("owls.txt");
    let calls =
        [("start_process", json!({"command": "echo barn", "timeout_ms": 5000})), ("read_file", json!({"path": path}))];
    used("desktop-commander", test, calls, ["barn", "tawny"]);
}

#[test]
fn echarts_draws_an_image() {
    let Some(servers) = popular() else { return };
    let data = json!([{"category": "owl", "value": 3}, {"category": "bee", "value": 5}]);
    let calls = [("generate_bar_chart", json!({ "data": data }))];
    let last = used("mcp-echarts", librarian(&node(&servers, "mcp-echarts")), calls, [""]);
    assert!(last.contains("iVBORw0KGgo"), "no PNG: {}", last.body);
}

#[test]
fn a_pdf_is_read() {
    let Some(servers) = popular() else { return };
    let test = librarian(&node(&servers, "pdf-reader-mcp")).file("owls.pdf", pdf("Tawny owls hunt at night"));
    let calls = [("read_pdf", json!({"sources": [{"path": "owls.pdf"}], "include_full_text": true}))];
    used("pdf-reader-mcp", test, calls, ["Tawny owls hunt at night"]);
}

#[test]
fn a_workbook_is_written_and_read() {
    let Some(servers) = popular() else { return };
    let test = librarian(&command_skill("popular", &python(&servers, "excel-mcp-server"), &["stdio"]));
    let path = test.workspace().join("owls.xlsx");
    let rows = json!([["owl", "count"], ["tawny", 3]]);
    let calls = [
        ("create_workbook", json!({"path": path})),
        ("write_range", json!({"path": path, "sheet": "Sheet1", "at": "A1", "rows": rows})),
        ("read_range", json!({"path": path, "sheet": "Sheet1"})),
    ];
    used("excel-mcp-server", test, calls, ["owls.xlsx", "", "tawny"]);
}

#[test]
fn a_document_is_written_and_read() {
    let Some(servers) = popular() else { return };
    let skill = command_skill("popular", &python(&servers, "word_mcp_server"), &[]);
    let calls = [
        ("create_document", json!({"filename": "owls.docx", "title": "Owls"})),
        ("add_paragraph", json!({"filename": "owls.docx", "text": "Tawny owls hunt at night."})),
        ("get_document_text", json!({"filename": "owls.docx"})),
    ];
    used("office-word-mcp-server", librarian(&skill), calls, ["created", "added", "Tawny owls hunt at night."]);
}

#[test]
fn a_database_is_made_and_asked() {
    let Some(servers) = popular() else { return };
    let program = file(&servers.join("older/bin/mcp-server-sqlite"));
    let calls = [
        ("create_table", json!({"query": "create table owls (name text)"})),
        ("write_query", json!({"query": "insert into owls values ('tawny')"})),
        ("read_query", json!({"query": "select name from owls"})),
    ];
    let skill = command_skill("popular", &program, &["--db-path", "owls.db"]);
    used("mcp-server-sqlite", librarian(&skill), calls, ["created", "1", "tawny"]);
}

#[test]
fn a_sum_is_calculated() {
    let Some(servers) = popular() else { return };
    let skill = command_skill("popular", &file(&servers.join("older/bin/mcp-server-calculator")), &[]);
    used("mcp-server-calculator", librarian(&skill), [("calculate", json!({"expression": "6 * 7"}))], ["42"]);
}

/// A document of one page with this line.
fn pdf(line: &str) -> String {
    let drawing = format!("BT /F1 24 Tf 72 700 Td ({line}) Tj ET");
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>".to_owned(),
        format!("<</Length {}>>stream\n{drawing}\nendstream", drawing.len()),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>".to_owned(),
    ];
    let (mut text, mut table) = ("%PDF-1.4\n".to_owned(), vec!["0000000000 65535 f \n".to_owned()]);
    for (number, object) in objects.iter().enumerate() {
        table.push(format!("{:010} 00000 n \n", text.len()));
        text = format!("{text}{} 0 obj\n{object}\nendobj\n", number + 1);
    }
    let (start, table) = (text.len(), table.concat());
    format!("{text}xref\n0 6\n{table}trailer<</Size 6/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n")
}
