//! Traces, received and read by a program that uses OpenTelemetry's own classes (`opentelemetry-proto` from `PyPI`).

use std::io::{BufRead, BufReader, Read as _};
use std::process::{Command, Stdio};

use super::{python, servers};
use crate::telemetry::team;

/// Listens as a collector does; when its standard input ends it prints what it was sent, as a tree.
const COLLECTOR: &str = include_str!("collector.py");

#[test]
#[expect(clippy::print_stdout, reason = "the tree, for whoever asks to see it")]
fn a_collector_reads_a_job_with_a_tool_and_a_delegate() {
    let Some(servers) = servers() else { return };
    for protocol in ["http/protobuf", "http/json"] {
        let mut command = Command::new(python(&servers, "python"));
        command.args(["-c", COLLECTOR]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut collector = command.spawn().expect("Python");
        let mut output = BufReader::new(collector.stdout.take().unwrap());
        let mut address = String::new();
        output.read_line(&mut address).unwrap();
        let test = team()
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", address.trim_end())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_SERVICE_NAME", "owls");
        let ran = test.run(["run", "lead", "Go."]).assert_code(0);
        assert!(!ran.stderr.contains("warning:"), "{}", ran.stderr);
        drop(collector.stdin.take());
        let mut tree = String::new();
        output.read_to_string(&mut tree).unwrap();
        assert!(collector.wait().unwrap().success(), "{tree}");
        println!("{tree}");
        let names: Vec<&str> = tree.lines().map(|line| line.split(" [").next().unwrap()).collect();
        let model = names[3].trim().strip_prefix("chat ").unwrap();
        let chat = |depth: usize| format!("{}chat {model}", "  ".repeat(depth));
        let expected = [
            "owls, trace 0af7651916cd43dd8448eb211c80319c, beneath b7ad6b7169203331",
            "invoke_workflow lead",
            "  invoke_agent lead",
            &chat(2),
            "    execute_tool todo",
            "    invoke_agent worker",
            &chat(3),
            &chat(2),
        ];
        assert_eq!(names, expected, "{tree}");
        let client =
            tree.lines().filter(|line| line.contains("[CLIENT, ") && line.contains("gen_ai.usage.input_tokens=100"));
        assert_eq!(client.count(), 3, "{tree}");
    }
}
