//! Programs of a skill with `allowedDomains`: what the list has is reached through the proxy, all else is refused, whatever
//! way is tried.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::{attack, neighbour};
use perstack::skill::process::KernelAbility;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::contained::can_contain;
use crate::mcp::{calling, tool_results, wait_until};
use crate::support::tool_server::{command_skill, librarian, program};
use crate::support::{Answer, Provider, Ran, Test, call};

/// A script of the workspace that connects: `direct HOST PORT`, `connect HOST PORT` and `get HOST PORT` by the proxy,
/// `socks HOST PORT`. It prints what a server sends.
const NET: &str = r#"
use strict; use Socket; use IO::Socket::INET; use MIME::Base64;
my ($way, $host, $port) = @ARGV;
$ENV{HTTPS_PROXY} =~ m{^http://(\w+):x@([\d.]+):(\d+)$} or die "no proxy: $ENV{HTTPS_PROXY}";
my ($token, $at) = ($1, "$2:$3");
my $s = IO::Socket::INET->new(PeerAddr => $way eq "direct" ? "$host:$port" : $at, Timeout => 20) or die "refused: $!\n";
my $auth = "Proxy-Authorization: Basic " . encode_base64("$token:x", "") . "\r\n";
print $s "CONNECT $host:$port HTTP/1.1\r\nHost: $host:$port\r\n$auth\r\n" if $way eq "connect";
print $s "GET http://$host:$port/owls?a=b HTTP/1.1\r\nHost: else.example\r\nX-Owl: 1\r\n$auth\r\n" if $way eq "get";
if ($way eq "socks") {
    my $take = sub { my $b = ""; while (length $b < $_[0]) { sysread($s, $b, $_[0] - length $b, length $b) or die "closed\n" } $b };
    syswrite($s, pack("C*", 5, 1, 2)); $take->(2) eq pack("C*", 5, 2) or die "no method\n";
    syswrite($s, pack("C C/a C/a", 1, $token, "x")); $take->(2) eq pack("C*", 1, 0) or die "no login\n";
    syswrite($s, pack("C4 C/a n", 5, 1, 0, 3, $host, $port)); my @r = unpack("C*", $take->(10));
    $r[1] == 0 or die "socks answer $r[1]\n";
}
print while <$s>;
"#;

/// A server on this machine that sends a line to everybody, and passes on what it reads until the connection's first
/// empty line.
struct Greeter {
    port: u16,
    heads: Receiver<String>,
}

impl Greeter {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, heads) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = sender.send(greet(&stream));
            }
        });
        Self { port, heads }
    }

    /// The requests that came so far, oldest first.
    fn heads(&self) -> Vec<String> {
        self.heads.try_iter().collect()
    }
}

/// Greets, and returns what the client sent before, for those that begin with an HTTP request.
fn greet(mut stream: &TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut head = String::new();
    let mut lines = BufReader::new(stream);
    while lines.read_line(&mut head).is_ok_and(|read| read > 2) {}
    let _ = stream.write_all(b"hello from the server\n");
    let _ = stream.shutdown(std::net::Shutdown::Write);
    head
}

/// An expert whose commands have this list.
fn listed(domains: &str) -> Test {
    let toml = format!(
        "[experts.librarian]\ninstruction = \"You work.\"\n[experts.librarian.skills.\"@perstack/base\"]\n\
         type = \"mcpStdioSkill\"\ncommand = \"npx\"\npackageName = \"@perstack/base\"\nallowedDomains = [{domains}]\n"
    );
    Test::new().toml(&toml).provider(Provider::Anthropic).file("net.pl", NET)
}

fn sh(script: &str) -> Value {
    json!({"command": "sh", "args": ["-c", script]})
}

/// The result of a script, whether it is marked as an error, and the events of its run.
fn run(test: Test, script: &str) -> (String, bool, Vec<Value>) {
    let test = test.answers([Answer::calls([call("c1", "exec", sh(script))]), Answer::text("Done.")]);
    let ran = test.run(["run", "librarian", "Look.", "--output", "jsonl"]).assert_code(0);
    let requests = test.server().requests();
    let (output, is_error) = tool_results(&requests[1])[0].clone();
    (without_command(&output), is_error, accesses(&ran))
}

/// A result without the command that it repeats.
fn without_command(output: &str) -> String {
    let (report, reasons) = output.split_once("}\n").map_or((output, ""), |(report, reasons)| (report, reasons));
    let report = if reasons.is_empty() { report.to_owned() } else { format!("{report}}}") };
    let Ok(report) = serde_json::from_str::<Value>(&report) else { return output.to_owned() };
    let part = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    [part("output"), part("stdout"), part("stderr"), reasons.to_owned()].join("\n")
}

fn accesses(ran: &Ran) -> Vec<Value> {
    let mut events = ran.events();
    events.retain(|event| event["type"] == "proxyAccess");
    let keys = ["action", "domain", "port", "reason", "skillName"];
    let part = |event: &Value| {
        keys.iter().filter(|key| !event[**key].is_null()).map(|key| ((*key).to_owned(), event[*key].clone())).collect()
    };
    events.iter().map(|event| Value::Object(part(event))).collect()
}

fn allowed(domain: &str, port: u16) -> Value {
    json!({"action": "allowed", "domain": domain, "port": port, "skillName": "@perstack/base"})
}

fn blocked(domain: &str, port: u16, reason: &str) -> Value {
    json!({"action": "blocked", "domain": domain, "port": port, "reason": reason, "skillName": "@perstack/base"})
}

#[test]
fn what_is_listed_is_reached_through_the_proxy_and_nothing_else() {
    neighbour("a command reaches a listed host by CONNECT, by a plain request, and by SOCKS5");
    attack("it asks the proxy for a host that is not listed");
    let server = Greeter::start();
    let port = server.port;
    let script = format!(
        "for way in connect get socks; do perl net.pl $way localhost {port}; done; perl net.pl connect owls.example 443; \
         perl net.pl get 127.0.0.1 {port}; perl net.pl socks localhost 22; exit 3"
    );
    let (output, is_error, events) = run(listed(&format!("\"localhost:{port}\"")), &script);
    assert!(is_error);
    assert_eq!(output.matches("hello from the server").count(), 3, "{output}");
    assert_eq!(output.matches("403 Forbidden").count(), 2, "{output}");
    let reason = |target: &str| format!("{target} is not in allowedDomains of skill @perstack/base");
    let literal = format!("127.0.0.1:{port}");
    for target in ["owls.example:443", &literal, "localhost:22"] {
        assert!(output.contains(&format!("network: {}", reason(target))), "{output}");
    }
    let reached = allowed("localhost", port);
    assert_eq!(
        events,
        [
            reached.clone(),
            reached.clone(),
            reached,
            blocked("owls.example", 443, &reason("owls.example:443")),
            blocked("127.0.0.1", port, &reason(&literal)),
            blocked("localhost", 22, &reason("localhost:22")),
        ]
    );
    let heads = server.heads();
    assert_eq!(heads.len(), 3);
    let forwarded =
        format!("GET /owls?a=b HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\nX-Owl: 1\r\n\r\n");
    assert_eq!(heads[1], forwarded);
}

#[test]
fn no_connection_goes_around_the_proxy() {
    attack("a command connects by itself: over IPv4, IPv6 and mapped addresses, in forks, with other kinds of sockets");
    let server = Greeter::start();
    let port = server.port;
    let script = format!(
        r#"perl net.pl direct 127.0.0.1 {port}; perl net.pl direct 127.1.2.3 {port}; perl net.pl direct 0.0.0.0 {port};
        (perl net.pl direct 127.0.0.1 {port} & perl net.pl direct 127.0.0.1 {port} & wait)
        perl -MSocket=:all -e '
          my $to = sockaddr_in({port}, INADDR_LOOPBACK);
          my $mapped = pack_sockaddr_in6({port}, inet_pton(AF_INET6, "::ffff:127.0.0.1"));
          socket(S, PF_INET6, SOCK_STREAM, 0) or die $!; connect(S, $mapped) and print "REACHED mapped\n";
          socket(U, PF_INET, SOCK_DGRAM, 0) and print "REACHED udp\n";
          socket(V, PF_INET6, SOCK_DGRAM, 17) and print "REACHED udp6\n";
          socket(M, PF_INET, SOCK_STREAM, 262) and print "REACHED mptcp\n";
          socket(F, PF_INET, SOCK_STREAM, 0) or die $!; send(F, "x", 0x20000000, $to) and print "REACHED fastopen\n";
          socket(N, PF_INET, SOCK_STREAM, 0) or die $!; setsockopt(N, 6, 30, 1); connect(N, $to) and print "REACHED late\n";
          socket(B, PF_INET, SOCK_STREAM, 0) or die $!; use Fcntl; fcntl(B, F_SETFL, O_NONBLOCK); connect(B, $to) and print "REACHED\n";
          print "again $!\n" if $!{{EINPROGRESS}};
          connect(STDIN, $to) and print "REACHED stdin\n"; print $!{{ENOTSOCK}} ? "no socket\n" : "stdin $!\n";
          print "done\n"'; curl -s -m 5 --noproxy '*' http://127.0.0.1:{port}/ && echo REACHED; exit 3"#
    );
    let (output, _, events) = run(listed("\"owls.example\""), &script);
    assert!(output.contains("done") && output.contains("no socket"), "{output}");
    assert!(!output.contains("REACHED") && !output.contains("again") && !output.contains("hello"), "{output}");
    assert!(output.contains("refused: Permission denied"), "{output}");
    let reason = format!("127.0.0.1:{port} is not in allowedDomains of skill @perstack/base, and no server of its own");
    assert!(output.contains(&format!("network: {reason}")), "{output}");
    assert!(events.contains(&blocked("127.0.0.1", port, &reason)), "{events:?}");
    assert!(events.iter().all(|event| event["action"] == "blocked"), "{events:?}");
    assert_eq!(server.heads(), [""; 0]);
}

#[test]
fn another_address_on_an_allowed_port_is_refused() {
    attack("a command connects to an address outside on the port of a listed host");
    let (output, is_error, events) = run(listed("\"owls.example\""), "perl net.pl direct 192.0.2.1 443");
    assert!(is_error && output.contains("refused: Permission denied"), "{output}");
    let reason = "192.0.2.1:443 was connected to around the proxy in HTTPS_PROXY, the only way to the network for skill \
                  @perstack/base";
    assert_eq!(events, [blocked("192.0.2.1", 443, reason)]);
    attack("a listed name leads inward");
    let (output, _, _) = run(listed("\"*.localhost\""), "perl net.pl connect a.localhost 443; exit 3");
    assert!(!output.contains("established"), "{output}");
}

#[test]
fn own_servers_and_listed_addresses_are_reached_directly() {
    neighbour("a command starts a server and connects to it, and to a listed address that needs no proxy");
    let server = Greeter::start();
    let port = server.port;
    let script = format!(
        r#"set -e
        perl -MIO::Socket::INET -e '
          my $l = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1") or die "listen $!"; my $p = $l->sockport;
          my $child = fork; if (!$child) {{ my $c = $l->accept; print $c "own server\n"; exit 0 }}
          $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$p") or die "own: $!\n"; print <$s>; waitpid $child, 0;'
        perl net.pl direct 127.0.0.1 {port}
        perl -MSocket=:all -e '
          socket(S, PF_INET6, SOCK_STREAM, 0) or die $!; connect(S, pack_sockaddr_in6({port}, inet_pton(AF_INET6, "::ffff:127.0.0.1"))) or die "mapped $!";
          length(getpeername(S)) == 28 or die "family"; print <S>; my $f = fcntl(S, 1, 0); print "closes at exec $f\n";'
        node -e 'const n=require("net"); const s=n.createServer(c=>c.end("node server\n")).listen(0,"127.0.0.1",()=>n.connect(s.address().port,"127.0.0.1").on("data",d=>{{process.stdout.write(d);s.close()}}))' 2>&1 || true"#
    );
    let (output, is_error, events) = run(listed(&format!("\"127.0.0.1:{port}\"")), &script);
    assert!(!is_error, "{output}");
    assert!(output.contains("own server") && output.contains("closes at exec 1"), "{output}");
    assert_eq!(output.matches("hello from the server").count(), 2, "{output}");
    assert_eq!(events, [allowed("127.0.0.1", port), allowed("127.0.0.1", port)]);
}

#[test]
fn an_empty_list_reaches_nothing_and_ten_lists_are_kept_apart() {
    attack("commands of ten experts reach the host of another's list");
    neighbour("each reaches its own");
    let servers: Vec<Greeter> = (0..10).map(|_| Greeter::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let all: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let skills: String = (0..10)
        .map(|at| {
            let lists = format!("allowedDomains = [\"localhost:{}\"]\n", ports[at]);
            command_skill(&format!("web{at}"), program(), &["reaching"]) + &lists
        })
        .collect();
    let test = librarian(&(skills + "[experts.librarian.skills.none]\n" + &none_of("none")));
    let tool = |at: usize| if at == 0 { "reach".to_owned() } else { format!("web{at}_reach") };
    let calls = (0..10).map(|at| call(&format!("c{at}"), &tool(at), json!({"ports": all})));
    let calls = calls.chain([call("c10", "none_reach", json!({"ports": all}))]);
    let test = test.answers([Answer::calls(calls.collect::<Vec<_>>()), Answer::text("Done.")]);
    test.run(["run", "librarian", "Look.", "--trust"]).assert_code(0);
    let results = tool_results(&test.server().requests()[1]);
    for (at, (text, is_error)) in results.iter().enumerate() {
        let expected = ports.get(at).map_or_else(String::new, ToString::to_string);
        assert_eq!(text.lines().next(), Some(format!("reached: {expected}").as_str()), "{at}: {text}");
        assert!(*is_error && text.contains("is not in allowedDomains of skill"), "{at}: {text}");
    }
    drop(servers);
}

/// The rest of a skill's table whose list is empty.
fn none_of(name: &str) -> String {
    let table = command_skill(name, program(), &["reaching"]);
    let (_, keys) = table.split_once('\n').unwrap();
    format!("{keys}allowedDomains = []\n")
}

#[test]
fn the_users_own_proxy_is_on_the_way_and_stays_unknown_to_programs() {
    neighbour("a listed host is reached through the user's proxy, with its password");
    attack("a command reads the proxy's password, or goes to the proxy itself");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, heads) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") && lines.read_line(&mut head).is_ok_and(|read| read > 0) {}
            if head.starts_with("CONNECT") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            }
            let _ = stream.write_all(b"hello from beyond\n");
            sender.send(head).unwrap();
        }
    });
    let proxy = format!("http://owl:hoot-hoot@127.0.0.1:{port}");
    let mut test = listed("\"owls.invalid\"");
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "http_proxy", "https_proxy", "PERSTACK_PROXY_URL"] {
        test = test.env(name, &proxy);
    }
    let test = test.env("NO_PROXY", "127.0.0.1");
    let script = format!(
        "perl net.pl connect owls.invalid 443 && perl net.pl get owls.invalid 80 && perl net.pl socks owls.invalid 443; env | grep -ci hoot; \
         perl net.pl direct 127.0.0.1 {port}; exit 3"
    );
    let (output, _, _) = run(test, &script);
    assert_eq!(output.matches("hello from beyond").count(), 3, "{output}");
    assert!(output.contains("refused: Permission denied") && !output.contains("hoot-hoot"), "{output}");
    let heads: Vec<String> = heads.try_iter().collect();
    let credentials = "Proxy-Authorization: Basic b3dsOmhvb3QtaG9vdA==\r\n";
    let credentials_in = |head: &String| head.to_lowercase().contains(&credentials.to_lowercase());
    assert_eq!(heads.len(), 3, "{heads:?}");
    assert!(heads.iter().all(credentials_in), "{heads:?}");
    assert!(heads[0].starts_with("CONNECT owls.invalid:443 ") && heads[2].starts_with("CONNECT owls.invalid:443 "));
    assert!(
        heads[1].starts_with("GET http://owls.invalid/owls?a=b ")
            || heads[1].starts_with("GET http://owls.invalid:80/owls?a=b "),
        "{heads:?}"
    );
}

#[test]
fn sockets_of_the_file_system_are_those_that_are_listed_and_its_own() {
    attack("a command with one unixSockets entry connects to another program's socket");
    neighbour("it connects to the one that is listed, and to its own in the workspace");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let [secret, given] = ["secret.sock", "given.sock"].map(|name| folder.path().join(name));
    // As an agent of keys or a terminal multiplexer has it.
    let shared = tempfile::tempdir().unwrap();
    let temporary = shared.path().join("agent.sock");
    let _agent = UnixListener::bind(&temporary).unwrap();
    let [secret_listener, given_listener] = [&secret, &given].map(|path| UnixListener::bind(path).unwrap());
    std::thread::spawn(move || {
        for mut stream in given_listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"given\n");
        }
    });
    let lists = format!("\"owls.example\"]\nunixSockets = [\"{}\"", given.display());
    let script = format!(
        r#"ln -s {} link; perl -MSocket -e '
          for my $path ("{}", "link", "/proc/self/root{}", "\0owl", "{}", "{}", "own.sock") {{
            if ($path eq "own.sock") {{ socket(L, PF_UNIX, SOCK_STREAM, 0); bind(L, pack_sockaddr_un($path)) or die $!; listen(L, 1) }}
            socket(S, PF_UNIX, SOCK_STREAM, 0) or die $!;
            print connect(S, pack("S a*", AF_UNIX, "$path\0")) ? "REACHED $path\n" : "refused $path\n";
          }}'"#,
        secret.display(),
        secret.display(),
        secret.display(),
        temporary.display(),
        given.display()
    );
    let (output, is_error, _) = run(listed(&lists).env("PERSTACK_TRUST", "1"), &script);
    assert!(!is_error, "{output}");
    assert!(
        output.contains(&format!("REACHED {}", given.display())) && output.contains("REACHED own.sock"),
        "{output}"
    );
    assert_eq!(output.matches("REACHED").count(), 2, "{output}");
    secret_listener.set_nonblocking(true).unwrap();
    assert!(secret_listener.accept().is_err());
}

#[test]
fn clients_that_misuse_the_proxy_harm_nobody() {
    attack("a command sends garbage, huge heads, wrong tokens and half requests to the proxy, and dies in the middle");
    neighbour("the proxy serves the next one");
    let server = Greeter::start();
    let port = server.port;
    let script = format!(
        r#"perl -MIO::Socket::INET -e '
          $ENV{{HTTPS_PROXY}} =~ m{{@([\d.:]+)$}}; my $at = $1;
          my $open = sub {{ IO::Socket::INET->new(PeerAddr => $at, Timeout => 20) or die "proxy: $!" }};
          my $ask = sub {{ my $s = $open->(); local $SIG{{PIPE}} = "IGNORE"; print $s $_[0]; $s->flush; shutdown($s, 1); my $l = <$s>; $l // "closed\n" }};
          print $ask->("\x00\xff\x16\x03garbage\r\n\r\n"), $ask->("GET / HTTP/1.1\r\n" . ("X-A: " . "b" x 8000 . "\r\n") x 20);
          print $ask->("GET / HTTP/1.1\r\n" . ("X-A: b\r\n" x 500) . "\r\n"), $ask->("CONNECT localhost:{port} HTTP/1.1\r\n\r\n");
          print $ask->("CONNECT localhost:{port} HTTP/1.1\r\nProxy-Authorization: Basic b3dsOng=\r\n\r\n");
          print $ask->("\x05\x01\x00"), "\n", $ask->("\x05\x01\x02\x01\x03owl\x01x"), "\n";
          print $ask->("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
          my @half = map {{ my $s = $open->(); print $s "CONNECT local"; $s->flush; $s }} 1..40;
          for (1..20) {{ my $p = fork; if (!$p) {{ my $s = $open->(); kill 9, $$ }} }}
          1 while wait() > 0; print "done\n"'; perl net.pl connect localhost {port}"#
    );
    let (output, is_error, _) = run(listed(&format!("\"localhost:{port}\"")), &script);
    assert!(!is_error, "{output}");
    for status in ["400 Bad Request", "431 ", "407 "] {
        assert!(output.contains(status), "no {status}: {output}");
    }
    assert!(output.contains("done") && output.contains("hello from the server"), "{output}");
    assert_eq!(output.matches("hello").count(), 1, "{output}");
}

#[test]
fn usual_clients_find_the_proxy() {
    neighbour("curl, Node and Python reach a listed host by the variables alone");
    let server = Greeter::start();
    let port = server.port;
    // The name is one that the clients' own exceptions do not have, and that only the user's proxy knows.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut bytes = [0; 4096];
            let _ = stream.read(&mut bytes);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhoots\n");
        }
    });
    let test = listed("\"owls.invalid\"").env("HTTP_PROXY", &format!("http://127.0.0.1:{upstream}"));
    let script = "curl -s http://owls.invalid/; echo; \
                  python3 -c 'import urllib.request as r; print(r.urlopen(\"http://owls.invalid/\").read())' 2>&1 || true; exit 0";
    let (output, is_error, events) = run(test, script);
    assert!(!is_error && output.contains("hoots"), "{output}");
    assert!(events.contains(&allowed("owls.invalid", 80)), "{events:?}");
    let (output, _, _) = run(listed("\"owls.example\""), &format!("curl -sS http://localhost:{port}/; exit 3"));
    assert!(output.contains("network: ") && !output.contains("hello"), "{output}");
}

#[test]
fn a_servers_failed_call_has_the_reason() {
    attack("a server reaches a host that its list does not have");
    let skill = command_skill("web", program(), &["reaching"]) + "allowedDomains = [\"owls.example\"]\n";
    let server = Greeter::start();
    let arguments = json!({"ports": [server.port.to_string()]});
    let (_, requests) = calling(librarian(&skill).env("PERSTACK_TRUST", "1"), [("reach", arguments)]);
    let (text, is_error) = tool_results(&requests[1])[0].clone();
    let reason = format!("network: localhost:{} is not in allowedDomains of skill web", server.port);
    assert!(is_error && text.contains(&reason), "{text}");
    assert_eq!(server.heads(), [""; 0]);
}

#[test]
fn a_jobs_record_has_what_was_reached_and_refused() {
    if !can_contain() {
        return;
    }
    neighbour("what a command reached, and what it was refused, is counted in the job's log");
    let server = Greeter::start();
    let port = server.port;
    let script = format!(
        "for way in connect get socks; do perl net.pl $way localhost {port}; done; perl net.pl connect owls.example 443; \
         perl net.pl connect owls.example 443; perl net.pl connect 127.0.0.1 {port}"
    );
    let again = call("c2", "exec", sh(&format!("perl net.pl connect localhost {port}")));
    let test = listed(&format!("\"localhost:{port}\"")).answers([
        Answer::calls([call("c1", "exec", sh(&script))]),
        Answer::calls([again]),
        Answer::text("Done."),
    ]);
    test.run(["run", "librarian", "Look."]).assert_code(0);
    let kept = |fact: Value| fact.get("accesses").map(|accesses| (fact["fact"].clone(), accesses.clone()));
    let facts: Vec<(Value, Value)> = test.storage().facts().into_iter().filter_map(kept).collect();
    assert!(facts.iter().all(|(fact, _)| fact == "toolReturned"), "with the result that they belong to: {facts:?}");
    let logged = test.run(["log", "--json", "--type", "proxyAccess"]).assert_code(0).object();
    let keys = ["action", "domain", "port", "rule", "reason", "count", "skillName", "stepNumber"];
    let parts = |event: &Value| keys.map(|key| event[key].clone());
    let events: Vec<_> = logged["events"].as_array().unwrap().iter().map(parts).collect();
    let entry = format!("localhost:{port}");
    let reason = |target: &str| format!("{target} is not in allowedDomains of skill @perstack/base");
    let line = |values: Value| <[Value; 8]>::try_from(values.as_array().unwrap().clone()).unwrap();
    assert_eq!(
        events,
        [
            line(json!(["allowed", "localhost", port, entry, null, 3, "@perstack/base", 1])),
            line(json!(["blocked", "owls.example", 443, null, reason("owls.example:443"), 2, "@perstack/base", 1])),
            line(json!([
                "blocked",
                "127.0.0.1",
                port,
                null,
                reason(&format!("127.0.0.1:{port}")),
                null,
                "@perstack/base",
                1
            ])),
            line(json!(["allowed", "localhost", port, entry, null, null, "@perstack/base", 2])),
        ]
    );
    let shown = test.run(["log", "--events"]).assert_code(0).stdout;
    assert!(shown.contains(&format!("@perstack/base: localhost:{port}, allowed by {entry}, 3 times")), "{shown}");
    let step = test.run(["log", "--step", "1"]).assert_code(0).stdout;
    assert!(step.contains("network: @perstack/base: owls.example:443, refused: "), "{step}");
    let checkpoint = test.run(["log", "--json", "--type", "completeRun"]).assert_code(0).object();
    assert_eq!(checkpoint["events"][0]["text"], "Done.");
}

#[test]
fn a_runner_killed_while_a_program_connects_leaves_nothing() {
    if !can_contain() {
        return;
    }
    attack("a server's connection is under way, held by the runner, when the runner is killed");
    // Its queue is full, so that a further connection waits.
    let listener =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    rustix::net::bind(&listener, &any).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().unwrap();
    let _first = TcpStream::connect(address).unwrap();
    let script = format!("echo $$ > new; mv new pid; exec perl net.pl direct 127.0.0.1 {}", address.port());
    let test = listed(&format!("\"{address}\""))
        .answers([Answer::calls([call("c1", "exec", sh(&script))])])
        .may_leave_answers();
    let running = test.spawn(["run", "librarian", "Look."]);
    wait_until("the program", || test.workspace().join("pid").exists());
    let id = std::fs::read_to_string(test.workspace().join("pid")).unwrap();
    let command = format!("/proc/{}/cmdline", id.trim());
    let is_running = || std::fs::read_to_string(&command).is_ok_and(|words| words.contains("net.pl"));
    // A connection that was asked for and not answered: the state 02 of a line of the kernel's.
    let wanted = format!(":{:04X} 02", address.port());
    let is_under_way = || std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&wanted);
    wait_until("its connection", is_under_way);
    running.signal(rustix::process::Signal::KILL);
    assert_eq!(running.finish().signal, Some(9));
    wait_until("its end", || !is_running());
    wait_until("the end of its connection", || !is_under_way());
}

/// Runs `run` where no system call can be held: the kernel seems not to know it, as an older one, or a container that
/// refuses it.
fn without_held_calls<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let on_that_thread = move || {
        let bit = libc_flags::NEW_LISTENER;
        let asks = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bit), bit).unwrap();
        let rules = [(libc_flags::SECCOMP, vec![SeccompRule::new(vec![asks]).unwrap()])].into_iter().collect();
        let architecture = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(22), architecture).unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        seccompiler::apply_filter(&program).unwrap();
        run()
    };
    // Known to this program as it is without the filter, before the first test asks for it behind one.
    KernelAbility::lacking_for_lists();
    std::thread::spawn(on_that_thread).join().unwrap()
}

/// The kernel's numbers: the call `seccomp`, and its flag that asks for held calls.
mod libc_flags {
    #[cfg(target_arch = "x86_64")]
    pub const SECCOMP: i64 = 317;
    #[cfg(not(target_arch = "x86_64"))]
    pub const SECCOMP: i64 = 277;
    pub const NEW_LISTENER: u64 = 1 << 3;
}

#[test]
fn a_list_that_cannot_be_enforced_is_reported_or_refused() {
    if !can_contain() {
        return;
    }
    attack("where no call can be held, a run that requires containment goes on with a list that is none");
    let required = || listed("\"owls.example\"").env("PERSTACK_SANDBOX", "required");
    let ran = without_held_calls(move || required().run(["run", "librarian", "Look."]).assert_code(2));
    assert!(
        ran.stderr.contains("allowedDomains") && ran.stderr.contains("seccomp's user notification"),
        "{}",
        ran.stderr
    );
    let check = without_held_calls(move || required().run(["check"]).assert_code(2));
    assert!(check.stdout.contains("✗ network: "), "{}", check.stdout);
    neighbour("commands run there as ever, contained, with a warning that the list is not enforced");
    let ran = without_held_calls(|| {
        let test = listed("\"owls.example\"").env("PERSTACK_SANDBOX", "auto");
        let answers = [Answer::calls([call("c1", "exec", sh("echo ran; cat /etc/shadow"))]), Answer::text("Done.")];
        let test = test.answers(answers);
        let ran = test.run(["run", "librarian", "Look."]).assert_code(0);
        let requests = test.server().requests();
        let result = tool_results(&requests[1])[0].0.clone();
        assert!(result.contains("ran"), "{result}");
        ran
    });
    assert!(ran.stderr.contains("not enforced"), "{}", ran.stderr);
    attack("a job learns where nothing can be seen");
    let ran =
        without_held_calls(|| listed("\"owls.example\"").run(["run", "librarian", "q", "--learn"]).assert_code(2));
    assert!(ran.stderr.contains("learn"), "{}", ran.stderr);
}
