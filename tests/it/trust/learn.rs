//! `install --learn` and `run --learn`: what contained programs are refused becomes lines for the configuration, and secrets and
//! wide folders never do.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;

use serde_json::json;

use super::contained::{SECRET, can_contain};
use super::{attack, neighbour};
use crate::mcp::tool_results;
use crate::support::tool_server::{command_skill, librarian};
use crate::support::{Answer, Call, Ran, Test, call};

/// A server that runs a script of its own before it answers, and the text of each call of its tool `sh` as one.
const SERVER: &str = r#"$| = 1;
my $start = $ENV{OWL_START} // "";
{ system("sh", "-c", "exec >&2; $start") == 0 or die "cannot start\n" }
while (<STDIN>) {
    my ($id) = /"id":\s*("[^"]*"|\d+)/ or next;
    my $result = '{}';
    if (/"initialize"/) {
        $result = '{"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}';
    } elsif (m{"tools/list"}) {
        $result = '{"tools": [{"name": "sh", "inputSchema": {"type": "object", "properties": {"script": {"type": "string"}}}}]}';
    } elsif (m{"tools/call"}) {
        my ($script) = /"script":\s*"([^"]*)"/;
        my $text = `{ $script; } 2>&1`; my $bad = $? == 0 ? "false" : "true"; $text =~ s/[^\w .:-]/ /g;
        $result = qq({"isError": $bad, "content": [{"type": "text", "text": "$text"}]});
    }
    print qq({"jsonrpc": "2.0", "id": $id, "result": $result}\n);
}
"#;

/// A home folder and a server outside of the workspace, none of them in a temporary folder: those are within reach.
struct Place {
    home: tempfile::TempDir,
    installed: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (home, installed) = (folder(), folder());
        for folder in ["notes", ".ssh", "data/deep"] {
            fs::create_dir_all(home.path().join(folder)).unwrap();
        }
        for file in ["notes/a", "data/deep/b", ".ssh/id"] {
            fs::write(home.path().join(file), SECRET).unwrap();
        }
        fs::write(installed.path().join("server.pl"), SERVER).unwrap();
        Self { home, installed }
    }

    /// An expert whose server runs this script before it answers, with these lists.
    fn test(&self, start: &str, lists: &str) -> Test {
        let script = self.installed.path().join("server.pl");
        let skill = command_skill("files", "perl", &[script.to_str().unwrap()]);
        librarian(&format!("{skill}requiredEnv = [\"OWL_START\"]\n{lists}"))
            .env("OWL_START", start)
            .env("HOME", self.home.path().to_str().unwrap())
            .env("PERSTACK_TRUST", "1")
    }

    fn learn(&self, start: &str, lists: &str) -> Ran {
        self.test(start, lists).run(["install", "--learn"])
    }
}

/// The lines of TOML among the proposals.
fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn what_a_server_needs_becomes_lines_that_let_it_start() {
    if !can_contain() {
        return;
    }
    neighbour(
        "a server that needs files of its user's: a step after the other, all are proposed, and with them it works",
    );
    let place = Place::new();
    let start = "cat ~/notes/a && ls ~/data/deep && echo x > ~/data/deep/made";
    let ran = place.learn(start, "").assert_code(0);
    assert_eq!(lines(&ran.stdout), ["reads = [\"~/notes/a\"]", "writes = [\"~/data/deep\"]"], "{}", ran.stdout);
    assert!(
        ran.stdout.starts_with("# expert librarian, skill files: add to [experts.\"librarian\".skills.\"files\"]\n")
    );
    assert!(ran.stderr.contains("lines for 1 skill"), "{}", ran.stderr);
    let lists = lines(&ran.stdout).join("\n") + "\n";
    attack("what was not learned stays refused to the server that was given the lines");
    let calls =
        [call("c1", "sh", json!({"script": "cat ~/.ssh/id"})), call("c2", "sh", json!({"script": "cat ~/notes/a"}))];
    let test = place.test(start, &lists).answers([Answer::calls(calls), Answer::text("Done.")]);
    assert!(!test.workspace().join("perstack.lock").exists());
    test.run(["install"]).assert_code(0);
    test.run(["run", "librarian", "Look."]).assert_code(0);
    let results = tool_results(&test.server().requests()[1]);
    assert!(results[0].1 && !results[0].0.contains(SECRET), "{results:?}");
    assert!(!results[1].1 && results[1].0.contains(SECRET), "{results:?}");
    let again = test.run(["install", "--learn"]).assert_code(0);
    assert_eq!(again.stdout, "# expert librarian, skill files: it needed nothing more\n");
}

#[test]
fn a_server_that_needs_nothing_gets_no_line() {
    if !can_contain() {
        return;
    }
    let ran = Place::new().learn("true", "").assert_code(0);
    assert_eq!(
        ran.stdout,
        "# expert librarian, skill files: it needed nothing more; it is contained with sandbox = \"all\"\n"
    );
    let folder = Place::new();
    let test = folder.test("true", "").file("server.pl", SERVER);
    test.run(["install", "--learn", "--check"]).assert_code(2);
    assert!(!test.workspace().join("perstack.lock").exists(), "nothing is written");
}

#[test]
fn secrets_and_wide_folders_are_never_lines() {
    if !can_contain() {
        return;
    }
    attack("a server that asks for keys, for the whole home folder and for a shell's start file gets no line for them");
    let place = Place::new();
    fs::write(place.home.path().join(".bashrc"), "").unwrap();
    let start = "cat ~/.ssh/id; ls ~ /; echo evil >> ~/.bashrc; ln -s ~/.ssh link; cat link/id; cat ~/notes/a; true";
    let ran = place.learn(start, "").assert_code(0);
    assert_eq!(lines(&ran.stdout), ["reads = [\"~/notes/a\"]"], "{}", ran.stdout);
    for remark in [
        "# not proposed: grants = [\"ssh\"] (ssh (keys and agent of SSH) for ~/.ssh/id)",
        "# not proposed: reads = [\"~/\"] (it is or holds the home folder, with all keys, tokens and histories in it)",
        "# not proposed: reads = [\"/\"] (it is or holds the home folder, with all keys, tokens and histories in it)",
        "# not proposed: writes = [\"~/.bashrc\"] (other programs run or obey what is in it)",
    ] {
        assert!(ran.stdout.contains(remark), "{remark}: {}", ran.stdout);
    }
    assert_eq!(fs::read_to_string(place.home.path().join(".bashrc")).unwrap(), "", "nothing of it was done");
}

#[test]
fn a_server_that_does_not_start_reports_what_it_was_refused() {
    if !can_contain() {
        return;
    }
    let place = Place::new();
    let ran = place.learn("cat ~/notes/a && cat ~/.ssh/id", "").assert_code(2);
    assert_eq!(lines(&ran.stdout), ["reads = [\"~/notes/a\"]"], "{}", ran.stdout);
    assert!(ran.stdout.contains("grants = [\"ssh\"]") && ran.stderr.contains("did not start"), "{}", ran.stderr);
    neighbour("what is not there yet is named with what to do");
    let ran = place.learn("mkdir ~/.owl; true", "").assert_code(0);
    assert_eq!(lines(&ran.stdout), ["writes = [\"~/.owl\"]"], "{}", ran.stdout);
    assert!(ran.stdout.contains("~/.owl is not there yet: make it first"), "{}", ran.stdout);
    attack("a server of a folder that nobody trusts is given nothing that it was refused");
    let test = place.test("cat ~/notes/a && cat ~/data/deep/b", "").env("PERSTACK_TRUST", "");
    let ran = test.run(["install", "--learn"]).assert_code(2);
    assert!(ran.stderr.contains("not trusted") && !ran.stdout.contains("data/deep"), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn hosts_are_learned_from_what_was_reached_and_what_a_list_refused() {
    if !can_contain() {
        return;
    }
    neighbour("a server reaches a host as without containment, and the host is proposed");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"hello\n");
        }
    });
    let start = format!(
        "perl -MIO::Socket::INET -e 'print readline(IO::Socket::INET->new(PeerAddr => \"127.0.0.1:{port}\") or die $!)'"
    );
    let place = Place::new();
    let line = format!("allowedDomains = [\"127.0.0.1:{port}\"]");
    let ran = place.learn(&start, "").assert_code(0);
    assert_eq!(lines(&ran.stdout), [&*line], "{}", ran.stdout);
    let ran = place.learn(&start, &format!("{line}\n")).assert_code(0);
    assert!(ran.stdout.ends_with("it needed nothing more\n"), "{}", ran.stdout);
    let ran = place.learn(&start, "allowedDomains = [\"api.example.com\"]\n").assert_code(0);
    let both = format!("allowedDomains = [\"api.example.com\", \"127.0.0.1:{port}\"]");
    assert_eq!(lines(&ran.stdout), [&*both], "{}", ran.stdout);
}

#[test]
fn without_containment_there_is_nothing_to_learn() {
    let ran = Place::new().test("true", "").run(["install", "--learn", "--sandbox", "off"]).assert_code(2);
    assert!(ran.stderr.contains("there is nothing to learn with sandbox = \"off\""), "{}", ran.stderr);
    assert!(ran.stderr.contains("learn with sandbox = \"auto\""), "{}", ran.stderr);
}

/// The stderr of a run that learns, in which these calls are made, and their results.
fn run_learning(test: Test, calls: impl Into<Vec<Call>>) -> (String, Vec<(String, bool)>) {
    let test = test.answers([Answer::calls(calls), Answer::text("Done.")]);
    let ran = test.run(["run", "librarian", "Look.", "--learn"]).assert_code(0);
    assert_eq!(ran.stdout, "Done.\n", "the result is what it is without learning");
    (ran.stderr, tool_results(&test.server().requests()[1]))
}

#[test]
fn a_run_learns_from_the_calls_of_servers_and_from_commands() {
    if !can_contain() {
        return;
    }
    neighbour("calls of a server and commands that are refused a file show the lines at the run's end");
    let place = Place::new();
    let base = "[experts.librarian.skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \"npx\"\n\
                packageName = \"@perstack/base\"\n";
    let command = json!({"command": "sh", "args": ["-c", "cat ~/data/deep/b; ./tool"]});
    let calls = [call("c1", "sh", json!({"script": "cat ~/notes/a"})), call("c2", "exec", command)];
    let tool = place.home.path().join("data/tool");
    fs::write(&tool, "#!/bin/sh\necho ran\n").unwrap();
    let test = place.test("true", base);
    std::process::Command::new("chmod").args(["+x", tool.to_str().unwrap()]).status().unwrap();
    std::os::unix::fs::symlink(&tool, test.workspace().join("tool")).unwrap();
    let (stderr, results) = run_learning(test, calls);
    assert!(results[0].1 && !results[0].0.contains(SECRET), "contained while it learns: {results:?}");
    assert!(!results[1].0.contains(SECRET), "{results:?}");
    let proposed = "# expert librarian, skill @perstack/base: add to [experts.\"librarian\".skills.\"@perstack/base\"]\n\
                    reads = [\"~/data/deep/b\", \"~/data/tool\"]\n\n\
                    # expert librarian, skill files: add to [experts.\"librarian\".skills.\"files\"]\n\
                    reads = [\"~/notes/a\"]\n";
    assert!(stderr.ends_with(proposed), "{stderr}");
}

#[test]
fn a_program_that_is_out_of_reach_is_a_line_with_the_interpreter_of_its_script() {
    if !can_contain() {
        return;
    }
    neighbour(
        "a server that is installed in the home folder, by a link in the search path, starts by the lines it got",
    );
    let place = Place::new();
    let home = place.home.path();
    for (path, text) in [("owl/run", "exec perl /usr/bin/env >/dev/null"), ("owl/server", "")] {
        fs::create_dir_all(home.join(path).parent().unwrap()).unwrap();
        fs::write(home.join(path), text).unwrap();
    }
    let server = place.installed.path().join("server.pl");
    let interpreter = home.join("tools/sh");
    fs::create_dir_all(interpreter.parent().unwrap()).unwrap();
    fs::copy("/bin/sh", &interpreter).unwrap();
    let script = format!("#!{}\nexec perl {}\n", interpreter.display(), server.display());
    fs::write(home.join("owl/server"), script).unwrap();
    std::process::Command::new("chmod").arg("+x").arg(home.join("owl/server")).status().unwrap();
    let test = || {
        let test = librarian(&(command_skill("files", "./server", &["-"]) + "reads = [\"docs\"]\n"));
        std::os::unix::fs::symlink(home.join("owl/server"), test.workspace().join("server")).unwrap();
        test.env("HOME", home.to_str().unwrap()).env("PERSTACK_TRUST", "1")
    };
    let ran = test().run(["install", "--learn"]).assert_code(0);
    let found = lines(&ran.stdout);
    let [reads] = found.as_slice() else { panic!("{}", ran.stdout) };
    for path in ["docs", "~/owl/server", "~/tools/sh"] {
        assert!(reads.contains(&format!("\"{path}\"")), "{reads}");
    }
    attack("a server that does not start, whatever it is given, is not one that needed nothing");
    let broken = librarian(&(command_skill("files", "false", &["-"]) + "reads = [\"docs\"]\n"));
    let broken = broken.env("HOME", home.to_str().unwrap()).env("PERSTACK_TRUST", "1");
    let ran = broken.run(["install", "--learn"]).assert_code(2);
    assert!(!ran.stdout.contains("needed nothing more"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("skill files: it did not start, and was refused nothing that a line could give"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_socket_of_another_program_is_named_and_never_reached() {
    if !can_contain() {
        return;
    }
    attack("a server connects to a socket of another program while it is learned");
    let place = Place::new();
    let socket = place.home.path().join("notes/agent");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let start = "perl -MIO::Socket::UNIX -e 'for (qw(notes/agent notes/none)) { my $s = IO::Socket::UNIX->new(Peer => \"$ENV{HOME}/$_\") \
                 and print \"REACHED\\n\" } socketpair(A, B, 1, 1, 0) and print \"pair\\n\"; print \"$!\\n\"'";
    for lists in ["", "allowedDomains = [\"api.example.com\"]\n"] {
        let ran = place.learn(start, lists).assert_code(0);
        let remark = "# not proposed: unixSockets = [\"~/notes/agent\"] (a socket of another program, by which it can do what that can)";
        assert!(ran.stdout.contains(remark), "{}", ran.stdout);
        assert!(!ran.stdout.contains("notes/none"), "one that is not there is none: {}", ran.stdout);
        assert!(lines(&ran.stdout).is_empty(), "{}", ran.stdout);
        assert!(listener.accept().is_err(), "nobody came");
    }
}
