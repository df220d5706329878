//! Commands with containment in force: each attack fails, and beside it daily work goes on.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use perstack::skill::process::KernelAbility;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use serde_json::{Value, json};

use super::{attack, neighbour};
use crate::mcp::{calling, tool_results};
use crate::support::{Answer, Provider, Test, skipped};

/// The text of a secret file, which no result may hold.
pub const SECRET: &str = "owl-secret-4711";

/// An expert with the base skill, and a home folder with secrets.
pub struct Contained {
    pub test: Test,
    pub home: tempfile::TempDir,
}

impl Contained {
    /// With these lines in the base skill's table.
    pub fn new(lists: &str) -> Self {
        Self::at_home_in(Path::new(env!("CARGO_TARGET_TMPDIR")), lists)
    }

    /// The same with a home folder beneath `folder`.
    fn at_home_in(folder: &Path, lists: &str) -> Self {
        let home = tempfile::tempdir_in(folder).unwrap();
        for (path, text) in [
            (".ssh/id", SECRET),
            (".bashrc", "# mine\n"),
            (".config/gh/hosts.yml", SECRET),
            (".aws/credentials", SECRET),
            (".kube/config", SECRET),
            (".netrc", SECRET),
            ("notes/a", SECRET),
        ] {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let toml = format!(
            "[experts.librarian]\ninstruction = \"You work.\"\n[experts.librarian.skills.\"@perstack/base\"]\n\
             type = \"mcpStdioSkill\"\ncommand = \"npx\"\npackageName = \"@perstack/base\"\n{lists}\n"
        );
        let test = Test::new().toml(&toml).provider(Provider::Anthropic).env("HOME", home.path().to_str().unwrap());
        Self { test, home }
    }

    pub fn env(self, name: &str, value: &str) -> Self {
        Self { test: self.test.env(name, value), ..self }
    }

    pub fn home(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    /// The result of a script that `exec` runs, and whether it is marked as an error.
    pub fn run(self, script: &str) -> (Ran, String, bool) {
        let (test, requests) = calling(self.test, [("exec", sh(script))]);
        let (output, is_error) = tool_results(&requests[1])[0].clone();
        (Ran { _test: test, home: self.home }, output, is_error)
    }

    /// The output of a script that succeeds.
    #[track_caller]
    pub fn works(self, script: &str) -> (Ran, String) {
        let (ran, text, is_error) = self.run(script);
        assert!(!is_error, "{text}");
        (ran, text)
    }
}

pub struct Ran {
    _test: Test,
    pub home: tempfile::TempDir,
}

pub fn sh(script: &str) -> Value {
    json!({"command": "sh", "args": ["-c", script]})
}

/// Returns false, and reports it, where the kernel lacks the means of containment. Attacks are made only behind the wall:
/// without it they would do what they say.
pub fn can_contain() -> bool {
    let lacking = KernelAbility::lacking();
    if let Some(lacking) = lacking {
        skipped(&format!("programs cannot be contained here, as this system lacks {lacking}"));
    }
    lacking.is_none()
}

/// Another process of the user's with a secret in its environment, as a shell or an editor is.
struct Bystander(std::process::Child);

impl Bystander {
    fn start() -> Self {
        let mut child = Command::new("sh")
            .args(["-c", "echo up; exec sleep 600"])
            .env("OWL_TOKEN", SECRET)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        Self(child)
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As for users without a name in containers.
#[test]
fn a_home_folder_among_temporary_files_is_out_of_reach_and_there_is_another_place_for_them() {
    if !can_contain() {
        return;
    }
    attack("secrets of a home folder in /tmp");
    neighbour("temporary files beside a home folder in /tmp");
    let contained = || Contained::at_home_in(Path::new("/tmp"), "");
    for script in ["cat ~/.ssh/id", "ls ~", "cat ~/notes/a", "echo x > ~/.bashrc"] {
        let (ran, text, is_error) = contained().run(script);
        assert!(is_error && !text.contains(SECRET), "{script}: {text}");
        assert_eq!(fs::read_to_string(ran.home.path().join(".bashrc")).unwrap(), "# mine\n");
    }
    let (_ran, text) = contained().works("f=$(mktemp) && echo owl > $f && cat $f && rm $f");
    assert!(text.contains("owl"), "{text}");
}

#[test]
fn secret_files_are_out_of_reach_by_every_path() {
    if !can_contain() {
        return;
    }
    attack("a command reads a key in the home folder, by its path, links, a second name or another root");
    for script in [
        "cat ~/.ssh/id",
        "cat link",
        "ln ~/.ssh/id stolen; cat stolen",
        "mv ~/.ssh/id stolen; cat stolen",
        "cp -r ~/.ssh stolen; cat stolen/id",
        "cat /proc/self/root$HOME/.ssh/id",
        "cat /proc/$PPID/root$HOME/.ssh/id",
        "cd ~/.ssh; cat id; cat /proc/self/cwd/id",
        "ls ~/.ssh",
        "cat ~/.config/gh/hosts.yml",
        "cat ~/.aws/credentials; cat ~/.kube/config; cat ~/.netrc",
        "cat ~/notes/a",
        "exec 3<>~/.ssh/id; cat <&3",
        "tar c -C ~ .ssh",
        "perl -e 'open(F, \"<\", \"$ENV{HOME}/.ssh/id\") or die $!; print <F>'",
    ] {
        let contained = Contained::new("");
        symlink(contained.home(".ssh/id"), contained.test.workspace().join("link")).unwrap();
        let (ran, text, _) = contained.run(script);
        assert!(!text.contains(SECRET) && !text.contains("\"id\\n"), "{script}: {text}");
        assert_eq!(fs::read_to_string(ran.home.path().join(".ssh/id")).unwrap(), SECRET, "{script}");
    }
}

#[test]
fn a_refusal_names_the_line_that_allows_it_and_the_line_does() {
    if !can_contain() {
        return;
    }
    neighbour("a key that the configuration grants is read, once the folder is trusted");
    let (_ran, text, is_error) = Contained::new("").run("cat ~/.ssh/id");
    let line = "contained: ~/.ssh/id is out of reach here; to allow it, add grants = [\"ssh\"] (skill @perstack/base in \
                perstack.toml)";
    assert!(is_error && text.contains(line), "{text}");
    let (_ran, text) = Contained::new("grants = [\"ssh\"]").env("PERSTACK_TRUST", "1").works("cat ~/.ssh/id");
    assert!(text.contains(SECRET), "{text}");
    let reads = "reads = [\"~/notes\"]";
    let (_ran, text) =
        Contained::new(reads).env("PERSTACK_TRUST", "1").works("cat ~/notes/a; echo x > ~/notes/a || echo no");
    assert!(text.contains(SECRET) && text.contains("no"), "{text}");
    let writes = "writes = [\"~/notes\"]";
    let (ran, _) = Contained::new(writes).env("PERSTACK_TRUST", "1").works("echo x > ~/notes/a; mkdir ~/notes/b");
    assert_eq!(fs::read_to_string(ran.home.path().join("notes/a")).unwrap(), "x\n");
}

#[test]
fn lists_that_lead_out_of_the_project_need_trust() {
    if !can_contain() {
        return;
    }
    attack("a folder grants its own commands the user's keys, or lifts their containment");
    let refused = |contained: Contained, word: &str| {
        let ran = contained.test.run(["run", "librarian", "Look."]).assert_code(2);
        assert!(ran.stderr.contains(word) && ran.stderr.contains("PERSTACK_TRUST="), "{}", ran.stderr);
    };
    refused(Contained::new("grants = [\"ssh\"]"), "skill @perstack/base may use ssh (keys and agent of SSH)");
    refused(Contained::new("writes = [\"~\"]"), "skill @perstack/base may write ~");
    let mut off = Contained::new("");
    off.test = off.test.toml("sandbox = \"off\"\n[experts.librarian]\ninstruction = \"You work.\"\n");
    refused(off, "sandbox = \"off\" lifts the containment");
}

#[test]
fn what_is_lifted_by_the_user_is_lifted() {
    if !can_contain() {
        return;
    }
    neighbour("a user who lifts the containment has commands as in a shell");
    let script = "cat ~/.ssh/id; grep NoNewPrivs /proc/self/status";
    let (_ran, text) = Contained::new("").env("PERSTACK_SANDBOX", "off").works(script);
    // As this test's own, which may have been started without.
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("NoNewPrivs")).unwrap().replace('\t', "\\t");
    assert!(text.contains(SECRET) && text.contains(&own), "{text}");
}

#[test]
fn nothing_is_planted_outside_of_the_workspace() {
    if !can_contain() {
        return;
    }
    attack("a command plants what runs later: in a shell's start, on the search path, in another project");
    let script = "for file in ~/.bashrc ~/.profile ~/.config/autostart/x ~/.config/systemd/user/x.service ~/.local/bin/ls ~/.cargo/bin/cargo ~/.gitconfig; do \
                  mkdir -p $(dirname $file); echo planted >> $file; done; mkdir ~/.ssh/new; rm -rf ~/notes; \
                  truncate -s 0 ~/.bashrc; (: > ~/.bashrc); cp /bin/true ~/.bashrc; echo x > /etc/owl; echo x > /usr/owl; \
                  pattern=$(cat /proc/sys/kernel/core_pattern); echo \"$pattern\" > /proc/sys/kernel/core_pattern && echo chan''ged; true";
    let (ran, text, _) = Contained::new("").run(script);
    assert!(!text.contains("changed"), "{text}");
    let home = ran.home.path();
    assert_eq!(fs::read_to_string(home.join(".bashrc")).unwrap(), "# mine\n");
    assert_eq!(fs::read_to_string(home.join("notes/a")).unwrap(), SECRET);
    for path in [".profile", ".local", ".gitconfig", ".config/autostart", ".config/systemd", ".ssh/new"] {
        assert!(!home.join(path).exists(), "{path}");
    }
    assert!(!Path::new("/etc/owl").exists() && !Path::new("/usr/owl").exists());
}

#[test]
fn daily_work_goes_on() {
    if !can_contain() {
        return;
    }
    neighbour(
        "files of the workspace, temporary files, devices, a repository, a compiler's tools, a pipe, a background job",
    );
    let script = "set -e; echo a > a; mkdir -p b/c; mv a b/c/a; ln b/c/a d; ln -s d e; cat e; chmod 600 d; rm -r b; \
                  t=$(mktemp); echo x > $t; rm $t; echo x > /dev/shm/owl$$; rm /dev/shm/owl$$; \
                  echo x > /dev/null; head -c 3 /dev/urandom | wc -c; cat /etc/passwd > /dev/null; \
                  git init -q .; git -c user.name=o -c user.email=o@x commit -q --allow-empty -m m; git log --oneline | wc -l; \
                  git worktree add -q ../w$$ 2>/dev/null || git worktree add -q w; git status --short > /dev/null; \
                  (sleep 0.1; echo late) & mkfifo p; (echo fifo > p &); cat p; wait; date > /dev/null; ls / > /dev/null 2>&1 || \
                  true; printf 'all:\\n\\t@echo made\\n' > Makefile; make 2>/dev/null || echo made; echo done";
    let (_ran, text) = Contained::new("").works(script);
    for word in ["late", "fifo", "made", "done"] {
        assert!(text.contains(word), "no {word}: {text}");
    }
}

#[test]
fn other_processes_show_no_environment_and_take_no_harm() {
    if !can_contain() {
        return;
    }
    attack("a command reads, traces, signals or slows another process of the user's");
    let mut bystander = Bystander::start();
    let id = bystander.id();
    let script = format!(
        "cat /proc/{id}/environ; cat /proc/{id}/maps; cat /proc/{id}/mem; ls -l /proc/{id}/fd; ls /proc/{id}/cwd/; \
         cat /proc/{id}/root$HOME/notes/a; kill -9 {id}; kill -STOP {id}; kill -0 {id} && echo signalled; \
         perl -e 'require \"syscall.ph\" if 0; print \"traced\\n\" if {attach} == 0'",
        attach = if cfg!(target_arch = "x86_64") { format!("syscall(101, 16, {id}, 0, 0)") } else { "1".to_owned() }
    );
    let (_ran, text, _) = Contained::new("").run(&script);
    assert!(!text.contains(SECRET) && !text.contains("signalled") && !text.contains("traced"), "{text}");
    assert!(bystander.lives());
}

#[test]
fn own_processes_can_be_looked_at_and_ended() {
    if !can_contain() {
        return;
    }
    neighbour("a command sees and ends what it has started, and reads what the system shows of all");
    let script = "OWN=own-4711 sleep 600 & until tr '\\0' '\\n' < /proc/$!/environ | grep OWN; do :; done; kill $!; wait $!; \
                  cat /proc/meminfo /proc/cpuinfo > /dev/null && ls /proc/self/fd | wc -l; ps > /dev/null 2>&1; nproc > /dev/null && \
                  echo done";
    let (_ran, text) = Contained::new("").works(script);
    assert!(text.contains("OWN=own-4711") && text.contains("done"), "{text}");
}

#[test]
fn sockets_of_other_programs_are_out_of_reach() {
    if !can_contain() {
        return;
    }
    attack("a command connects to a socket of another program, with a name in the file system or without");
    for lists in ["", "unixSockets = [\"here.sock\"]"] {
        let contained = Contained::new(lists).env("PERSTACK_TRUST", "1");
        let name = format!("owl-{}", std::process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        let named = UnixListener::bind(contained.home("agent.sock")).unwrap();
        named.set_nonblocking(true).unwrap();
        let script = format!(
            "perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0) or die \"socket $!\"; \
             connect(S, pack(\"S a*\", AF_UNIX, \"\\0{name}\")) and print \"rea\" . \"ched\"; print $!'"
        );
        let (_ran, text, _) = contained.run(&script);
        assert!(!text.contains("reached"), "{text}");
        assert!(listener.accept().is_err() && named.accept().is_err());
    }
    let kinds = "for kind in 'PF_INET, SOCK_RAW, 1' 'PF_INET, SOCK_STREAM, 262' '17, SOCK_RAW, 0' '16, SOCK_RAW, 15' \
                 '38, 5, 0' 'PF_UNIX, SOCK_DGRAM, 0' 'PF_UNIX, SOCK_SEQPACKET, 0' 'PF_INET, SOCK_DGRAM, 1'; do \
                 perl -MSocket -e \"socket(S, $kind) and print 'made $kind'\"; done; echo done";
    let (_ran, text) = Contained::new("").works(kinds);
    assert!(!text.contains("made") && text.contains("done"), "{text}");
}

#[test]
fn the_network_stays_open_with_name_resolution() {
    if !can_contain() {
        return;
    }
    neighbour("a command reaches a server over TCP and UDP, listens itself, and lists the machine's addresses");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let names = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (tcp, udp) = (server.local_addr().unwrap().port(), names.local_addr().unwrap().port());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        stream.write_all(b"hello").unwrap();
        let mut datagram = [0; 16];
        let (length, _) = names.recv_from(&mut datagram).unwrap();
        String::from_utf8_lossy(&datagram[..length]).into_owned()
    });
    let script = format!(
        "perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 6) or die $!; connect(S, sockaddr_in({tcp}, INADDR_LOOPBACK)) or die \
         $!; sysread(S, $b, 5); print \"$b\\n\"; socket(U, PF_INET, SOCK_DGRAM, 17) or die $!; send(U, \"query\", 0, \
         sockaddr_in({udp}, INADDR_LOOPBACK)) or die $!; socket(L, PF_INET, SOCK_STREAM, 0) or die $!; bind(L, sockaddr_in(0, \
         INADDR_LOOPBACK)) or die $!; listen(L, 1) or die $!; socket(N, 16, SOCK_RAW, 0) or die $!; \
         socketpair(A, B, AF_UNIX, SOCK_STREAM, 0) or die $!; print \"done\\n\"' && getent hosts localhost"
    );
    let (_ran, text) = Contained::new("").works(&script);
    assert!(text.contains("hello") && text.contains("done") && text.contains("localhost"), "{text}");
    assert_eq!(answering.join().unwrap(), "query");
}

#[test]
fn the_kernel_offers_no_way_around() {
    if !can_contain() {
        return;
    }
    attack("a command makes namespaces, opens io_uring, loads programs, or asks for keys of the kernel");
    let mut calls =
        BTreeMap::from([("io_uring_setup", 425), ("clone3", 435), ("setns", 308), ("keyctl", 250), ("bpf", 321)]);
    if cfg!(target_arch = "aarch64") {
        calls.extend([("setns", 268), ("keyctl", 219), ("bpf", 280)]);
    }
    let numbers: Vec<String> = calls.values().map(ToString::to_string).collect();
    let script = format!(
        "for call in {}; do perl -e \"\\$r = syscall($call, 0, 0, 0, 0, 0); print \\$! + 0, qq( )\"; done; \
         unshare -r true && echo user; unshare -m true && echo mounts; unshare -n true && echo network; \
         perl -e 'print \"compat\\n\" if syscall(0x40000000 + 39) > 0'; echo done",
        numbers.join(" ")
    );
    let (_ran, text) = Contained::new("").works(&script);
    // In the order of the names: bpf, clone3, io_uring_setup, keyctl, setns.
    assert!(text.contains("1 38 38 38 1 "), "{text}");
    for word in ["user", "mounts", "network", "compat"] {
        assert!(!text.contains(&format!("\\n{word}")) && !text.contains(&format!(" {word}\\n")), "{word}: {text}");
    }
}

#[test]
fn threads_and_processes_are_made_as_ever() {
    if !can_contain() {
        return;
    }
    neighbour("threads, forks and pseudo-terminals");
    let script = "perl -MPOSIX -e 'for (1..20) { my $p = fork; exit 0 if !$p; waitpid $p, 0 } print \"forked\\n\"; \
                  open(P, \"+<\", \"/dev/ptmx\") or die \"ptmx $!\"; print \"terminal\\n\"' && sh -c 'sh -c \"sh -c echo\"'; \
                  node -e 'new (require(\"worker_threads\").Worker)(\"console.log(1)\", {eval: true})' 2>/dev/null; echo done";
    let (_ran, text) = Contained::new("").works(script);
    for word in ["forked", "terminal", "done"] {
        assert!(text.contains(word), "no {word}: {text}");
    }
}

#[test]
fn root_cannot_change_the_machine() {
    if !can_contain() {
        return;
    }
    attack("a command of root's sets the clock, loads a module, makes a device, or mounts");
    let script = "date -s @$(date +%s) && echo clock; mknod d b 8 0 && echo device; mount -t tmpfs t . && echo mounted; \
                  head -c 1 /dev/mem && echo memory; cat /etc/shadow && echo shadow; echo done";
    let (_ran, text, _) = Contained::new("").run(script);
    for word in ["clock", "device", "mounted", "memory", "shadow"] {
        assert!(!text.contains(&format!("{word}\\n")), "{word}: {text}");
    }
}

#[test]
fn a_workspace_that_is_the_home_folder_is_refused_with_the_way_on() {
    if !can_contain() {
        return;
    }
    attack("a command works in the home folder itself");
    let contained = Contained::new("");
    let home = contained.home.path().to_str().unwrap().to_owned();
    let work = contained.test.workspace();
    let test = contained.test.env("HOME", work.to_str().unwrap());
    let (_test, requests) = calling(test, [("exec", sh("echo ran"))]);
    let (output, is_error) = tool_results(&requests[1])[0].clone();
    assert!(is_error && !output.contains("ran\\n") && output.contains("--sandbox off"), "{output}");
    neighbour("a workspace beneath it, or with containment lifted");
    let below = Contained::new("").env("PERSTACK_SANDBOX", "off").env("HOME", work.to_str().unwrap());
    assert!(below.works("echo ran").1.contains("ran"));
    drop(home);
}

/// Runs `run` where the kernel seems to have no Landlock.
fn without_landlock<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let on_that_thread = move || {
        let calls = [444, 445, 446].map(|call| (call, Vec::new())).into_iter().collect();
        let architecture = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let refusal = SeccompAction::Errno(38);
        let filter = SeccompFilter::new(calls, SeccompAction::Allow, refusal, architecture).unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        seccompiler::apply_filter(&program).unwrap();
        run()
    };
    // Known to this program as it is without the filter, before the first test asks for it behind one.
    KernelAbility::lacking();
    std::thread::spawn(on_that_thread).join().unwrap()
}

#[test]
fn a_kernel_without_the_means_is_reported_once_or_refused() {
    attack("a kernel without Landlock lets a run go on that requires containment");
    let ran = without_landlock(|| {
        let test = Contained::new("").test.env("PERSTACK_SANDBOX", "required");
        test.run(["run", "librarian", "Look."]).assert_code(2)
    });
    assert!(ran.stderr.contains("the sandbox is required, and this system lacks Landlock"), "{}", ran.stderr);
    neighbour("a kernel without Landlock runs commands as before, with a warning");
    let ran = without_landlock(|| {
        let test = Contained::new("")
            .test
            .env("PERSTACK_SANDBOX", "auto")
            .answers([Answer::calls([crate::support::call("c1", "exec", sh("echo ran"))]), Answer::text("Done.")]);
        test.run(["run", "librarian", "Look.", "--output", "jsonl"]).assert_code(0)
    });
    let events = ran.events();
    assert_eq!(
        events[0]["sandbox"],
        json!({"setting": "auto", "inForce": false, "lacking": "Landlock of Linux 6.2 or later"})
    );
    let warnings = events.iter().filter(|event| {
        event["type"] == "runtimeWarning" && event["message"].as_str().unwrap().contains("not contained")
    });
    assert_eq!(warnings.count(), 1);
}

#[test]
fn what_is_in_force_is_shown() {
    if !can_contain() {
        return;
    }
    neighbour("a run's first event, its first line with -v, info and check show the containment");
    let test = Contained::new("").test.answers([Answer::text("Done."), Answer::text("Done.")]);
    let events =
        test.run(["run", "librarian", "Look.", "--output", "jsonl", "--sandbox", "required"]).assert_code(0).events();
    assert_eq!(events[0]["sandbox"], json!({"setting": "required", "inForce": true}));
    let ran = test.run(["run", "librarian", "Look.", "-v"]).assert_code(0);
    assert!(ran.stderr.contains("sandbox auto"), "{}", ran.stderr);
    let info = test.run(["info"]).assert_code(0).stdout;
    assert!(info.contains("auto: files of commands are contained"), "{info}");
    let check = test.run(["check", "--sandbox", "off"]).stdout;
    assert!(check.contains("! sandbox: off: nothing is contained"), "{check}");
}

#[test]
fn a_hook_or_a_setting_planted_in_the_repository_does_not_stay() {
    if !can_contain() {
        return;
    }
    attack("a command plants a hook or a setting that starts programs in the repository, or writes the configuration");
    let script = "git init -q . && mkdir -p .git/hooks && echo 'touch /tmp/x' > .git/hooks/pre-commit && \
                  chmod +x .git/hooks/pre-commit && git config core.fsmonitor ./evil && git config user.name owl && \
                  echo 'maxSteps = 9' > perstack.toml && echo done";
    let (test, requests) = calling(Contained::new("").test, [("exec", sh(script))]);
    let (output, _) = tool_results(&requests[1])[0].clone();
    assert!(output.contains("done") && output.contains("put back"), "{output}");
    let read = |path: &str| fs::read_to_string(test.workspace().join(path));
    assert!(read(".git/hooks/pre-commit").is_err());
    let settings = read(".git/config").unwrap();
    assert!(settings.contains("owl") && !settings.contains("fsmonitor"), "{settings}");
    assert!(read("perstack.toml").unwrap().contains("[experts.librarian]"));
    assert_eq!(read("perstack.toml.changed").unwrap(), "maxSteps = 9\n");
}

#[test]
fn the_file_tools_write_no_hook_and_no_setting_of_git() {
    attack("a file tool writes a hook");
    neighbour("a file tool writes a file beside the repository, of a name like git's");
    let write = |path: &str| ("writeTextFile", json!({"path": path, "text": "x"}));
    let test =
        Contained::new("").test.file(".git/hooks/a.sample", "x").file(".git/HEAD", "x").file(".github/hooks/a", "x");
    let calls = [write(".git/hooks/pre-commit"), write(".git/config"), write(".github/hooks/config")];
    let (test, requests) = calling(test, calls);
    let errors: Vec<bool> = tool_results(&requests[3]).into_iter().map(|(_, is_error)| is_error).collect();
    assert_eq!(errors, [true, true, false]);
    assert!(!test.workspace().join(".git/hooks/pre-commit").exists());
}
