//! [`wrapped`]: the commands that well-known programs are handed by their arguments: shells, interpreters, and programs
//! that start others.

use super::shell_word::ShellWord;

/// The commands that a program is handed.
pub(super) enum Wrapped {
    Nothing,
    /// Programs with their arguments, one of which at least is meant.
    Commands(Vec<Vec<ShellWord>>),
    /// The text of a shell.
    ShellText {
        option: Option<String>,
        text: ShellWord,
    },
    /// Code in another language.
    Code {
        option: Option<String>,
    },
}

/// A program that starts another with the rest of its arguments.
struct Wrapper {
    name: &'static str,
    /// Its options that take the next word.
    values: &'static [&'static str],
    /// The words of its own before the command.
    own: usize,
}

const fn wrapper(name: &'static str, values: &'static [&'static str], own: usize) -> Wrapper {
    Wrapper { name, values, own }
}

const WRAPPERS: [Wrapper; 32] = [
    wrapper("env", &["-u", "--unset", "-C", "--chdir"], 0),
    wrapper("nice", &["-n", "--adjustment"], 0),
    wrapper("nohup", &[], 0),
    wrapper("setsid", &[], 0),
    wrapper("timeout", &["-k", "--kill-after", "-s", "--signal"], 1),
    wrapper("gtimeout", &["-k", "--kill-after", "-s", "--signal"], 1),
    wrapper("time", &["-f", "--format", "-o", "--output"], 0),
    wrapper("stdbuf", &["-i", "--input", "-o", "--output", "-e", "--error"], 0),
    wrapper("ionice", &["-c", "--class", "-n", "--classdata"], 0),
    wrapper("chrt", &["-T", "-P", "-D"], 1),
    wrapper("taskset", &[], 1),
    wrapper(
        "xargs",
        &["-I", "-n", "--max-args", "-P", "--max-procs", "-L", "-s", "--max-chars", "-d", "--delimiter", "-E", "-a"],
        0,
    ),
    wrapper("sudo", &["-u", "-g", "-h", "-p", "-C", "-r", "-t", "-T", "-U", "-D", "-R"], 0),
    wrapper("doas", &["-u", "-C"], 0),
    wrapper("chroot", &["--userspec", "--groups"], 1),
    wrapper("unshare", &[], 0),
    wrapper("nsenter", &["-t", "--target"], 0),
    wrapper("command", &[], 0),
    wrapper("builtin", &[], 0),
    wrapper("exec", &["-a"], 0),
    wrapper("busybox", &[], 0),
    wrapper("toybox", &[], 0),
    wrapper("strace", &["-e", "-o", "-p", "-s", "-u", "-E"], 0),
    wrapper("ltrace", &["-e", "-o", "-p", "-s", "-u"], 0),
    wrapper("watch", &["-n", "--interval"], 0),
    wrapper("parallel", &["-j", "--jobs", "-a", "-n", "-N"], 0),
    wrapper("flock", &["-w", "--timeout", "-E"], 1),
    wrapper("ssh", &["-p", "-i", "-l", "-o", "-F", "-J", "-L", "-R", "-D", "-b", "-c", "-E", "-m", "-S", "-W"], 1),
    wrapper("setarch", &[], 0),
    wrapper("caffeinate", &["-t", "-w"], 0),
    wrapper("xvfb-run", &["-n", "-s", "-e", "-f", "-p", "-w"], 0),
    wrapper("fakeroot", &["-l", "-s", "-i"], 0),
];

/// Shells with POSIX syntax.
const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "rbash"];
/// Options of shells that take the next word.
const SHELL_VALUES: [&str; 6] = ["-o", "+o", "-O", "+O", "--rcfile", "--init-file"];

/// A program that runs code which it is handed by an option.
struct Interpreter {
    name: &'static str,
    /// The letters of its options that take code.
    letters: &'static str,
    /// Their long forms.
    long: &'static [&'static str],
    /// Its short options that take the next word.
    values: &'static [&'static str],
}

const fn interpreter(
    name: &'static str,
    letters: &'static str,
    long: &'static [&'static str],
    values: &'static [&'static str],
) -> Interpreter {
    Interpreter { name, letters, long, values }
}

const INTERPRETERS: [Interpreter; 15] = [
    interpreter("python", "c", &[], &["-W", "-X"]),
    interpreter("pypy", "c", &[], &["-W", "-X"]),
    interpreter("node", "ep", &["--eval", "--print"], &["-r", "-C"]),
    interpreter("nodejs", "ep", &["--eval", "--print"], &["-r", "-C"]),
    interpreter("bun", "ep", &["--eval", "--print"], &["-r"]),
    interpreter("deno", "", &["eval"], &["-c", "-L"]),
    interpreter("ruby", "e", &[], &["-I", "-r", "-C", "-E"]),
    interpreter("perl", "eE", &[], &["-I", "-C"]),
    interpreter("php", "rBRE", &["--run"], &["-d", "-c", "-z"]),
    interpreter("lua", "e", &[], &["-l"]),
    interpreter("rscript", "e", &[], &[]),
    interpreter("osascript", "e", &[], &["-l"]),
    interpreter("fish", "cC", &["--command", "--init-command"], &["-d", "-o", "-p"]),
    interpreter("tcsh", "c", &[], &[]),
    interpreter("csh", "c", &[], &[]),
];

/// The commands that `program` is handed by its arguments.
pub(super) fn wrapped(program: &str, args: &[ShellWord]) -> Wrapped {
    let name = program.rsplit(['/', '\\']).next().unwrap_or(program).to_lowercase();
    let name = name.strip_suffix(".exe").unwrap_or(&name);
    if SHELLS.contains(&name) {
        return of_shell(args);
    }
    if matches!(name, "powershell" | "pwsh" | "cmd") {
        return Wrapped::Code { option: args.first().and_then(ShellWord::known).map(str::to_owned) };
    }
    if matches!(name, "awk" | "gawk" | "mawk" | "nawk") {
        return of_awk(args);
    }
    if matches!(name, "find" | "fd" | "fdfind") {
        return of_find(args);
    }
    // `python3.12` is `python`.
    let family = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if let Some(interpreter) = INTERPRETERS.iter().find(|known| known.name == family || known.name == name) {
        return of_interpreter(interpreter, args);
    }
    if name == "su" {
        return of_su(args);
    }
    match WRAPPERS.iter().find(|wrapper| wrapper.name == name) {
        Some(wrapper) => of_wrapper(wrapper, args),
        None => Wrapped::Nothing,
    }
}

/// The text behind a shell's `-c`. A shell that is handed a script is a program like any other.
fn of_shell(args: &[ShellWord]) -> Wrapped {
    let mut option = None;
    let mut args = args.iter();
    while let Some(word) = args.next() {
        let Some(text) = word.known() else { return Wrapped::Code { option: None } };
        if SHELL_VALUES.contains(&text) {
            args.next();
        } else if text == "--" || text == "-" {
        } else if let Some(letters) = text.strip_prefix(['-', '+']).filter(|rest| !rest.starts_with('-')) {
            if letters.contains('c') && text.starts_with('-') {
                option = Some(text.to_owned());
            }
            // `-euo pipefail`: the name of an option follows.
            if letters.contains(['o', 'O']) {
                args.next();
            }
        } else if !text.starts_with(['-', '+']) {
            return if option.is_some() { Wrapped::ShellText { option, text: word.clone() } } else { Wrapped::Nothing };
        }
    }
    Wrapped::Nothing
}

/// The code that an interpreter is handed. Behind a script everything is the script's own. A long option that is not known may
/// take the next word or not; that word then is taken for its value, as code may follow.
fn of_interpreter(interpreter: &Interpreter, args: &[ShellWord]) -> Wrapped {
    let mut args = args.iter();
    let mut may_be_value = false;
    while let Some(word) = args.next() {
        let Some(text) = word.known() else { return Wrapped::Code { option: None } };
        if is_code_option(text, interpreter.letters, interpreter.long) {
            return Wrapped::Code { option: Some(text.to_owned()) };
        }
        if interpreter.values.contains(&text) {
            args.next();
        } else if !text.starts_with('-') && !std::mem::take(&mut may_be_value) {
            return Wrapped::Nothing;
        }
        may_be_value |= text.starts_with("--") && text.len() > 2 && !text.contains('=');
    }
    Wrapped::Nothing
}

/// Returns true for an option that takes code, by one of these letters, in a group of them too, or by its long form.
fn is_code_option(text: &str, letters: &str, long: &[&str]) -> bool {
    let short = text.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
    short.is_some_and(|short| short.contains(|c| letters.contains(c)))
        || long.iter().any(|long| text == *long || text.strip_prefix(long).is_some_and(|t| t.starts_with('=')))
}

/// The code that `su` is handed, before the user's name or behind it.
fn of_su(args: &[ShellWord]) -> Wrapped {
    let option = args.iter().find(|word| word.known().is_none_or(|text| is_code_option(text, "c", &["--command"])));
    option.map_or(Wrapped::Nothing, |word| Wrapped::Code { option: word.known().map(str::to_owned) })
}

/// A text of awk that starts programs.
fn of_awk(args: &[ShellWord]) -> Wrapped {
    let starts = |word: &ShellWord| word.known().is_none_or(|text| text.contains("system") || text.contains('|'));
    if args.iter().any(starts) { Wrapped::Code { option: None } } else { Wrapped::Nothing }
}

/// The commands behind `-exec` and its like, up to `;` or `+`.
fn of_find(args: &[ShellWord]) -> Wrapped {
    const STARTS: [&str; 8] = ["-exec", "-execdir", "-ok", "-okdir", "-x", "-X", "--exec", "--exec-batch"];
    let mut commands = Vec::new();
    let mut rest = args.iter();
    while let Some(word) = rest.next() {
        if word.known().is_none_or(|text| STARTS.contains(&text)) {
            let command = rest.by_ref().take_while(|word| !matches!(word.known(), Some(";" | "+"))).cloned();
            commands.push(command.collect());
        }
    }
    if commands.is_empty() { Wrapped::Nothing } else { Wrapped::Commands(commands) }
}

/// The command behind a wrapper's own options and words. An option that is not known may take the next word or not: then
/// both readings count.
fn of_wrapper(wrapper: &Wrapper, args: &[ShellWord]) -> Wrapped {
    let mut commands = Vec::new();
    let mut own = wrapper.own;
    let mut may_be_value = false;
    let mut at = 0;
    while let Some(word) = args.get(at) {
        let Some(text) = word.known() else { return Wrapped::Code { option: None } };
        at += 1;
        if text == "--" {
            may_be_value = false;
        } else if wrapper.name == "env" && is_split(text) {
            return of_split(text, args.get(at..).unwrap_or_default());
        } else if wrapper.values.contains(&text) {
            at += 1;
        } else if text.starts_with('-') && text.len() > 1 {
            may_be_value = !text.contains('=') && !is_attached(wrapper, text);
        } else if (wrapper.name == "env" || wrapper.name == "sudo") && text.contains('=') {
        } else if own > 0 {
            own -= 1;
            may_be_value = false;
        } else {
            commands.push(args.get(at - 1..).unwrap_or_default().to_vec());
            let next = args.get(at..).unwrap_or_default();
            if may_be_value && !next.is_empty() {
                commands.push(next.to_vec());
            }
            break;
        }
    }
    if matches!(wrapper.name, "watch" | "ssh" | "flock" | "parallel") && !commands.is_empty() {
        // They hand the words, joined, to a shell.
        let [command] = commands.as_slice() else { return Wrapped::Code { option: None } };
        let words: Option<Vec<&str>> = command.iter().map(ShellWord::known).collect();
        let text = words.map_or_else(ShellWord::unknown, |words| ShellWord::new(words.join(" ")));
        return Wrapped::ShellText { option: None, text };
    }
    if commands.is_empty() { Wrapped::Nothing } else { Wrapped::Commands(commands) }
}

/// Returns true for an option of `env` that cuts a text into words.
fn is_split(text: &str) -> bool {
    let flags = text.strip_prefix('-').map(|rest| rest.trim_start_matches(['i', 'v', '0']));
    flags.is_some_and(|rest| rest.starts_with('S')) || text.starts_with("--split-string")
}

/// The command behind an option of `env` that cuts a text into words. Words behind the text are added to its own, and then
/// what is started cannot be read off the text.
fn of_split(option: &str, rest: &[ShellWord]) -> Wrapped {
    let attached = option.strip_prefix("-S").or_else(|| option.strip_prefix("--split-string="));
    match (attached.filter(|text| !text.is_empty()), rest) {
        (Some(text), []) => Wrapped::ShellText { option: None, text: ShellWord::new(text) },
        (None, [text]) if matches!(option, "-S" | "--split-string") => {
            Wrapped::ShellText { option: None, text: text.clone() }
        }
        _ => Wrapped::Code { option: None },
    }
}

/// Returns true for an option with its value attached, as `-n5`.
fn is_attached(wrapper: &Wrapper, text: &str) -> bool {
    text.chars().count() > 2 && wrapper.values.iter().any(|option| text.starts_with(option) && option.len() == 2)
}
