//! What a rough server does wrong, as its arguments say: `start=hang list=pages stderr=3`.

/// How the server meets the first request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// As it should.
    #[default]
    Fine,
    /// Reads for ever, answers nothing.
    Hang,
    /// Says why on standard error, and exits with 7.
    Exit,
    /// A few lines on standard output that are no messages, then as it should.
    Noise,
    /// Lines that are no messages, without end.
    Babble,
    /// One line that does not end.
    Endless,
    /// An error in answer to `initialize`.
    Refuse,
    /// A protocol version that nobody speaks.
    Version,
}

/// Which tools the server says it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum List {
    /// All of them, at once.
    #[default]
    Fine,
    /// On three pages.
    Pages,
    /// On pages that never end.
    Endless,
    /// Some with schemas that are none, and names that no provider accepts, among good ones.
    Odd,
    /// None.
    None,
    /// `grown` too once `grow` was called, of which the client is notified.
    Growing,
    /// An error.
    Refuse,
    /// No answer.
    Hang,
}

#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub start: Start,
    pub list: List,
    /// Lines to write to standard error at the start.
    pub stderr: u32,
    /// Where to write the ids of this process and of a grandchild that sleeps for a thousand seconds.
    pub processes: Option<String>,
    /// Goes on after the end of standard input and SIGTERM.
    pub stubborn: bool,
    /// A file to which each thing of note is appended: `called NAME`, `cancelled`, `listed`.
    pub diary: Option<String>,
    /// A named pipe that is opened for writing when the tools are listed a second time.
    pub relisted: Option<String>,
    /// The address that the older transport tells its clients to write to.
    pub endpoint: Option<String>,
    /// The name of the server's first tool, `echo` unless told.
    pub first_tool: Option<String>,
}

impl Faults {
    pub fn parse(words: &[&str]) -> Self {
        let mut faults = Self::default();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "start" => faults.start = start(value),
                "list" => faults.list = list(value),
                "stderr" => faults.stderr = value.parse().expect("a number of lines"),
                "processes" => faults.processes = Some(value.to_owned()),
                "stubborn" => faults.stubborn = true,
                "diary" => faults.diary = Some(value.to_owned()),
                "relisted" => faults.relisted = Some(value.to_owned()),
                "endpoint" => faults.endpoint = Some(value.to_owned()),
                "first" => faults.first_tool = Some(value.to_owned()),
                _ => panic!("no such fault: {word}"),
            }
        }
        faults
    }
}

fn start(name: &str) -> Start {
    match name {
        "hang" => Start::Hang,
        "exit" => Start::Exit,
        "noise" => Start::Noise,
        "babble" => Start::Babble,
        "endless" => Start::Endless,
        "refuse" => Start::Refuse,
        "version" => Start::Version,
        _ => panic!("no such start: {name}"),
    }
}

fn list(name: &str) -> List {
    match name {
        "pages" => List::Pages,
        "endless" => List::Endless,
        "odd" => List::Odd,
        "none" => List::None,
        "growing" => List::Growing,
        "refuse" => List::Refuse,
        "hang" => List::Hang,
        _ => panic!("no such list: {name}"),
    }
}
