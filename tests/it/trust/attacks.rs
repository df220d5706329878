//! Further attacks on a machine by a contained command: on what was handed down to it, on sockets, on what runs later.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;

use super::contained::{Contained, SECRET, can_contain, sh};
use super::{attack, neighbour};
use crate::mcp::{calling, tool_results};
use crate::support::{Answer, call, skipped};

#[test]
fn an_open_file_of_the_runner_is_none_of_the_commands() {
    if !can_contain() {
        return;
    }
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
    let (_ran, output) = Contained::new("").works(script);
    assert!(output.contains("own\\nown\\nown\\nx"), "{output}");
}

#[test]
fn secrets_of_the_system_are_out_of_reach() {
    if !can_contain() {
        return;
    }
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
         '* * * * * root true' > /etc/cron.d/owl; crontab -l; cat /var/lib/*/*; true"
    );
    let (_ran, output, _) = Contained::new("").run(&script);
    fs::remove_file(folder.join(&name)).unwrap();
    if !is_there {
        // Another test may have a secret there.
        let _ = fs::remove_dir(folder);
    }
    assert!(!output.contains(SECRET) && !output.contains("root:$") && !output.contains("PRIVATE KEY"), "{output}");
    assert!(!std::path::Path::new("/etc/cron.d/owl").exists());
    neighbour("settings of the system that everybody reads");
    let (_ran, output) =
        Contained::new("").works("cat /etc/passwd /etc/hosts > all; id -un > user; ls /usr/bin > /dev/null; echo done");
    assert!(output.contains("done"), "{output}");
}

#[test]
fn a_terminal_multiplexer_takes_no_orders() {
    if !can_contain() {
        return;
    }
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
    let (ran, output, _) = contained.run(&script);
    let _ = tmux(&["kill-server"]);
    let _ = fs::remove_file(&socket);
    for word in ["typed", "connected", "owl.sock", "SSH_AUTH_SOCK=", "keys\\n"] {
        assert!(!output.contains(word), "{word}: {output}");
    }
    assert!(!ran.home.path().join("planted").exists());
    neighbour("a pair of sockets within a command, as interpreters and compilers make them");
    let script = "perl -MSocket -e 'socketpair(A, B, AF_UNIX, SOCK_STREAM, 0) or die $!; syswrite(A, \"pair\\n\"); print scalar \
                  <B>'; echo jobs | xargs -P 2 -n 1 echo";
    let (_ran, output) = Contained::new("").works(script);
    assert!(output.contains("pair\\njobs"), "{output}");
}

#[test]
fn a_package_script_is_contained_as_its_command_is() {
    if !can_contain() {
        return;
    }
    attack("a package's script, run by its manager or by make, reads a key or plants a start file");
    let steal = "cat $HOME/.ssh/id; echo planted >> $HOME/.bashrc; true";
    let script = format!(
        "printf '{{\"name\":\"p\",\"version\":\"1.0.0\",\"scripts\":{{\"postinstall\":\"{steal}\",\"build\":\"echo built\"}}}}' > package.json; \
         printf 'all:\\n\\t@{make}\\n' > Makefile; npm install --offline --foreground-scripts 2>&1; make; echo done",
        make = steal.replace('$', "$$")
    );
    let (ran, output, _) = Contained::new("").run(&script);
    assert!(!output.contains(SECRET) && output.contains("done"), "{output}");
    assert_eq!(fs::read_to_string(ran.home.path().join(".bashrc")).unwrap(), "# mine\n");
    neighbour("a package's scripts build as ever, with the manager's cache");
    let script = "printf '{\"name\":\"p\",\"version\":\"1.0.0\",\"scripts\":{\"build\":\"echo made > out && cat out\"}}' > package.json; \
                  (command -v npm > /dev/null && npm run build) || echo made";
    let (_ran, output) = Contained::new("").works(script);
    assert!(output.contains("made"), "{output}");
}

#[test]
fn text_from_outside_changes_no_configuration() {
    if !can_contain() {
        return;
    }
    attack(
        "an issue's text has the model write the configuration, its includes or its lock, by a command or a file tool",
    );
    let script = "for file in perstack.toml experts/a.toml perstack.lock; do mkdir -p $(dirname $file); echo 'sandbox = \"off\"' >> \
                  $file; done; mv experts away; ln -s /tmp experts; chmod a-w away .; echo done";
    let before = "include = [\"experts/a.toml\"]\n[experts.librarian]\ninstruction = \"You work.\"\n";
    let test = Contained::new("").test.toml(before).file("experts/a.toml", "[experts.second]\ninstruction = \"i\"\n");
    let write = |path: &str| ("writeTextFile", json!({"path": path, "text": "sandbox = \"off\"\n"}));
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
    if !can_contain() {
        return;
    }
    neighbour("a command makes the .env that its project needs, and the next one reads it");
    attack("a command plants an environment file or a nearer configuration for later runs, and nobody learns of it");
    let make = "echo PORT=1 > .env; echo 'PORT=2' > .env.local; echo made";
    let (test, requests) = calling(Contained::new("").test, [("exec", sh(make)), ("exec", sh("cat .env"))]);
    let results = tool_results(&requests[2]);
    assert!(results[0].0.contains("noticed .env, .env.local"), "{results:?}");
    assert!(results[1].0.contains("PORT=1") && !results[1].0.contains("noticed"), "{results:?}");
    assert_eq!(fs::read_to_string(test.workspace().join(".env")).unwrap(), "PORT=1\n");
}

/// Returns true if contained programs have mounts of their own here, as `info` shows it.
fn has_mounts(contained: &Contained) -> bool {
    let info = contained.test.run(["info", "--json"]).assert_code(0).object();
    info["sandbox"]["mounts"] == true
}

/// A repository as the workspace, with a hook of its user's.
fn repository() -> Contained {
    let contained = Contained::new("");
    let done = Command::new("git").args(["init", "-q", "."]).current_dir(contained.test.workspace()).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let hooks = contained.test.workspace().join(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    fs::write(hooks.join("post-commit"), "mine\n").unwrap();
    contained
}

#[test]
fn what_is_on_record_is_read_only() {
    if !can_contain() {
        return;
    }
    attack("a command rewrites or removes what is on record, through the storage or from within it");
    let script = "echo evil > perstack/planted; mv perstack away; umount perstack; mount -o remount,rw perstack; cd perstack && echo \
                  evil > planted; touch jobs/planted; ls /proc/self/cwd/; ls . jobs";
    let contained = repository();
    if !has_mounts(&contained) {
        skipped("this system lets no program have mounts of its own: the storage is not watched");
        return;
    }
    let inside = json!({"command": "sh", "args": ["-c", "echo evil > jobs/planted; ls jobs"], "cwd": "."});
    let (test, requests) = calling(contained.test, [("exec", sh(script)), ("exec", inside)]);
    let (output, _) = tool_results(&requests[2])[0].clone();
    assert!(output.contains("jobs") && !output.contains("planted\\n"), "{output}");
    assert!(test.workspace().join("perstack/jobs").is_dir() && !test.workspace().join("perstack/planted").exists());
    neighbour(
        "a repository is worked in as ever: commits, branches, work trees, settings, a clone, its owner and modes",
    );
    let work = "set -e; export GIT_AUTHOR_NAME=o GIT_AUTHOR_EMAIL=o@x GIT_COMMITTER_NAME=o GIT_COMMITTER_EMAIL=o@x; \
                echo perstack > .gitignore; git config core.hooksPath none; git add -A .; git commit -qm m; git checkout -qb other; \
                echo x > new; git add new; git stash -q; git stash pop -q; git commit -qm n; git checkout -q -; git merge -q other; git \
                config user.name owl; git tag t; git gc -q; git worktree add -q tree t; git clone -q . copy; git -C copy log --oneline \
                | wc -l; [ \"$(stat -c %u new)\" = \"$(id -u)\" ]; [ \"$(stat -c %U .)\" = \"$(id -un)\" ]; chmod 640 new; mkdir -p \
                a/b; mv a c; ln new c/link; [ -w c/link ]; mv .git there; mv there .git; echo done";
    let (_ran, output) = repository().works(work);
    assert!(output.contains("2\\n") && output.contains("done"), "{output}");
}
