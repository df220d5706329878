//! Further attacks on a machine by a contained command: on what was handed down to it, on sockets, on what runs later.

use std::fs;
use std::process::{Command, Stdio};

use super::contained::{Contained, SECRET, sh};
use super::{attack, neighbour};
use crate::mcp::{calling, tool_results};
use crate::support::{Answer, call, skipped};

#[test]
fn an_open_file_of_the_runner_is_none_of_the_commands() {
    attack("a command reads a file that the runner was started with, by its number or by /proc");
    let script = "cat <&9; for descriptor in /proc/self/fd/* /proc/$PPID/fd/*; do [ $descriptor -ef /dev/null ] || timeout 1 cat \
                  $descriptor < /dev/null; done; true";
    let contained = Contained::new("");
    let secret = contained.home.path().join("notes/a");
    let calls = [Answer::calls([call("c1", "exec", sh(script))]), Answer::text("Done.")];
    let test = contained.test.answers(calls);
    let mut command = Command::new("sh");
    command.args(["-c", "exec 9< \"$0\"; exec \"$@\""]).arg(secret).arg(test.binary());
    command.args(["run", "librarian", "Look."]);
    test.start(command).finish().assert_code(0);
    let (output, _) = tool_results(&test.server().requests()[1])[0].clone();
    assert!(!output.contains(SECRET), "{output}");
    neighbour("a command's own open files, also by /proc");
    let script = "echo own > f; exec 9< f; cat /proc/self/fd/9 /dev/fd/9 <&9; cat <&9; echo x | cat /dev/stdin";
    let (_ran, text) = Contained::new("").works(script);
    assert!(text.contains("own\\nown\\nown\\nx"), "{text}");
}

#[test]
fn secrets_of_the_system_are_out_of_reach() {
    attack("a command reads the secrets that a container or the system mounts, or a service's keys");
    let name = format!("owl-{}", std::process::id());
    let folder = std::path::Path::new("/run/secrets");
    let is_there = folder.is_dir();
    if fs::create_dir_all(folder).and_then(|()| fs::write(folder.join(&name), SECRET)).is_err() {
        skipped("only root can make a secret in /run/secrets");
        return;
    }
    let script = format!(
        "cat /run/secrets/{name}; cat /proc/1/environ; cat /etc/shadow; cat /etc/ssh/ssh_host_*_key; ls /var/spool/cron; echo \
         '* * * * * root true' > /etc/cron.d/owl; crontab -l; echo '* * * * * true' | crontab -; cat /var/lib/*/*; true"
    );
    let (_ran, text, _) = Contained::new("").run(&script);
    fs::remove_file(folder.join(&name)).unwrap();
    if !is_there {
        // Another test may have a secret there.
        let _ = fs::remove_dir(folder);
    }
    assert!(!text.contains(SECRET) && !text.contains("root:$") && !text.contains("PRIVATE KEY"), "{text}");
    assert!(!std::path::Path::new("/etc/cron.d/owl").exists());
    neighbour("settings of the system that everybody reads");
    let (_ran, text) =
        Contained::new("").works("cat /etc/passwd /etc/hosts > all; id -un > user; ls /usr/bin > /dev/null; echo done");
    assert!(text.contains("done"), "{text}");
}

#[test]
fn a_terminal_multiplexer_takes_no_orders() {
    attack("a command types into the user's tmux, or asks D-Bus, Docker or an agent of keys to act for it");
    let contained = Contained::new("");
    let socket = std::env::temp_dir().join(format!("owl-{}.tmux", std::process::id()));
    let tmux = |args: &[&str]| {
        let mut command = Command::new("tmux");
        command.env_remove("TMUX").arg("-S").arg(&socket).args(["-f", "/dev/null"]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    let has_tmux = tmux(&["new-session", "-d", "sleep 1000"]).is_ok_and(|status| status.success());
    if !has_tmux {
        skipped("tmux is not there");
    }
    let mark = contained.home.path().join("planted");
    let script = format!(
        "tmux -S {socket} new-window 'touch {mark}' && echo typed; env | grep -E 'SSH_AUTH_SOCK|DBUS|DOCKER_HOST'; ssh-add -l && echo \
         keys; for socket in /run/dbus/system_bus_socket /var/run/docker.sock; do perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, \
         0) && connect(S, sockaddr_un($ARGV[0])) && print \"conn\" . \"ected\"' $socket; done; true",
        socket = socket.display(),
        mark = mark.display()
    );
    let agent = socket.with_extension("agent");
    let contained = contained.env("SSH_AUTH_SOCK", agent.to_str().unwrap()).env("DOCKER_HOST", "unix:///run/owl.sock");
    let (ran, text, _) = contained.run(&script);
    let _ = tmux(&["kill-server"]);
    let _ = fs::remove_file(&socket);
    for word in ["typed", "connected", "owl.sock", "SSH_AUTH_SOCK=", "keys\\n"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    assert!(!ran.home.path().join("planted").exists());
    neighbour("a pair of sockets within a command, as interpreters and compilers make them");
    let script = "perl -MSocket -e 'socketpair(A, B, AF_UNIX, SOCK_STREAM, 0) or die $!; syswrite(A, \"pair\\n\"); print scalar \
                  <B>'; echo jobs | xargs -P 2 -n 1 echo";
    let (_ran, text) = Contained::new("").works(script);
    assert!(text.contains("pair\\njobs"), "{text}");
}

#[test]
fn a_package_script_is_contained_as_its_command_is() {
    attack("a package's script, run by its manager or by make, reads a key or plants a start file");
    let steal = "cat $HOME/.ssh/id; echo planted >> $HOME/.bashrc; true";
    let script = format!(
        "printf '{{\"name\":\"p\",\"version\":\"1.0.0\",\"scripts\":{{\"postinstall\":\"{steal}\",\"build\":\"echo built\"}}}}' > package.json; \
         printf 'all:\\n\\t@{make}\\n' > Makefile; npm install --offline --foreground-scripts 2>&1; make; echo done",
        make = steal.replace('$', "$$")
    );
    let (ran, text, _) = Contained::new("").run(&script);
    assert!(!text.contains(SECRET) && text.contains("done"), "{text}");
    assert_eq!(fs::read_to_string(ran.home.path().join(".bashrc")).unwrap(), "# mine\n");
    neighbour("a package's scripts build as ever, with the manager's cache");
    let script = "printf '{\"name\":\"p\",\"version\":\"1.0.0\",\"scripts\":{\"build\":\"echo made > out && cat out\"}}' > package.json; \
                  (command -v npm > /dev/null && npm run build) || echo made";
    let (_ran, text) = Contained::new("").works(script);
    assert!(text.contains("made"), "{text}");
}

#[test]
fn text_from_outside_changes_no_configuration() {
    attack(
        "an issue's text has the model write the configuration, its includes or its lock, by a command or a file tool",
    );
    let script = "for file in perstack.toml experts/a.toml perstack.lock; do mkdir -p $(dirname $file); echo 'sandbox = \"off\"' >> \
                  $file; done; mv experts away; ln -s /tmp experts; chmod a-w away .; echo done";
    let before = "include = [\"experts/a.toml\"]\n[experts.librarian]\ninstruction = \"You work.\"\n";
    let test = Contained::new("").test.toml(before).file("experts/a.toml", "[experts.second]\ninstruction = \"i\"\n");
    let write = |path: &str| ("writeTextFile", serde_json::json!({"path": path, "text": "sandbox = \"off\"\n"}));
    let (test, requests) = calling(test, [("exec", sh(script)), write("perstack.toml"), write("experts/a.toml")]);
    let results = tool_results(&requests[3]);
    assert!(results[0].0.contains("put back") && !results[0].0.contains("cannot"), "{results:?}");
    assert!(results[1].1 && results[2].1, "{results:?}");
    let read = |path: &str| fs::read_to_string(test.workspace().join(path)).unwrap();
    assert!(read("perstack.toml").starts_with(before));
    assert_eq!(read("experts/a.toml"), "[experts.second]\ninstruction = \"i\"\n");
    assert!(!test.workspace().join("experts").is_symlink() && !test.workspace().join("perstack.lock").exists());
}

#[test]
fn a_new_environment_file_is_noticed_and_stays() {
    neighbour("a command makes the .env that its project needs, and the next one reads it");
    attack("a command plants an environment file or a nearer configuration for later runs, and nobody learns of it");
    let make = "echo PORT=1 > .env; echo 'PORT=2' > .env.local; echo made";
    let (test, requests) = calling(Contained::new("").test, [("exec", sh(make)), ("exec", sh("cat .env"))]);
    let results = tool_results(&requests[2]);
    assert!(results[0].0.contains("noticed .env, .env.local"), "{results:?}");
    assert!(results[1].0.contains("PORT=1") && !results[1].0.contains("noticed"), "{results:?}");
    assert_eq!(fs::read_to_string(test.workspace().join(".env")).unwrap(), "PORT=1\n");
}
