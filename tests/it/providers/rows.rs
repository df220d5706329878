//! What each provider's answers and requests must carry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Answer, Call, Provider, Request, Stop, Test, Tokens, call};

/// What came of a row for one provider. What failed is no cell but a failed test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    Does,
    /// The provider cannot take it, and the model is sent a note.
    Told,
    /// The provider has no such thing.
    Lacks,
}

impl Cell {
    pub fn word(self) -> &'static str {
        match self {
            Self::Does => "yes",
            Self::Told => "told",
            Self::Lacks => "-",
        }
    }
}

/// The smallest PNG: one transparent pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
const PDF: &[u8] = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n";

/// Runs to a whole answer.
#[track_caller]
pub fn completed(test: &Test) {
    assert_eq!(test.run(["run", "librarian", "Which birds?"]).assert_code(0).stdout, "Owls.\n");
}

fn read(id: &str, tool: &str, path: &str) -> Call {
    call(id, tool, json!({"path": path}))
}

pub fn text(provider: Provider) -> Cell {
    let test = Test::with(provider).answers([Answer::text("Owls.")]);
    completed(&test);
    let requests = test.server().requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].contains("You find things in books.") && requests[0].contains("Which birds?"));
    Cell::Does
}

pub fn tools(provider: Provider) -> Cell {
    let test = Test::with(provider)
        .file("birds.txt", "barn owl")
        .answers([Answer::calls([read("c1", "readTextFile", "birds.txt")]).and_text("I look."), Answer::text("Owls.")]);
    completed(&test);
    let requests = test.server().requests();
    assert!(requests[0].tools().contains(&"readTextFile"));
    let results = requests[1].results();
    assert_eq!((results.len(), results[0].0.as_str()), (1, "c1"), "{results:?}");
    assert!(results[0].1.contains("barn owl"), "{results:?}");
    assert!(requests[1].contains("I look."));
    Cell::Does
}

pub fn parallel_tools(provider: Provider) -> Cell {
    let calls = [
        read("c1", "readTextFile", "a.txt"),
        read("c2", "readTextFile", "missing.txt"),
        read("c3", "readTextFile", "b.txt"),
    ];
    let test = Test::with(provider)
        .file("a.txt", "tawny owl")
        .file("b.txt", "eagle owl")
        .answers([Answer::calls(calls), Answer::text("Owls.")]);
    completed(&test);
    let results = test.server().requests()[1].results();
    let ids: Vec<&str> = results.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["c1", "c2", "c3"], "{results:?}");
    for ((_, text), part) in results.iter().zip(["tawny owl", "missing.txt", "eagle owl"]) {
        assert!(text.contains(part), "{results:?}");
    }
    Cell::Does
}

/// Tools may have longer names than some providers take.
pub fn long_name(provider: Provider) -> Cell {
    let name = "owl-".repeat(25) + "expert";
    let toml = format!(
        "[experts.librarian]\ninstruction = \"You ask others.\"\ndelegates = [\"{name}\"]\n\n\
         [experts.{name}]\ninstruction = \"You know owls.\"\ndescription = \"Knows owls.\"\n"
    );
    let test = Test::new().toml(&toml).provider(provider);
    test.server().answer_by(|request| {
        let delegate = request.tools().into_iter().find(|tool| tool.starts_with("owl-"));
        match delegate.filter(|_| request.results().is_empty()) {
            Some(delegate) => Answer::calls([call("c1", delegate, json!({"query": "Which?"}))]).thinking("Hm.", "c2ln"),
            None => Answer::text("Owls."),
        }
    });
    completed(&test);
    let requests = test.server().requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[1].contains("You know owls.") && requests[1].contains("Which?"));
    let results = requests[2].results();
    assert!(matches!(results.as_slice(), [(id, told)] if id == "c1" && told.contains("Owls.")), "{results:?}");
    Cell::Does
}

pub fn image(provider: Provider) -> Cell {
    let test = Test::with(provider)
        .file("owl.png", STANDARD.decode(PNG).unwrap())
        .answers([Answer::calls([read("c1", "readImageFile", "owl.png")]), Answer::text("Owls.")]);
    completed(&test);
    shown(&test.server().requests()[1], PNG, "image", provider != Provider::DeepSeek)
}

pub fn pdf(provider: Provider) -> Cell {
    let test = Test::with(provider)
        .file("owl.pdf", PDF)
        .answers([Answer::calls([read("c1", "readPdfFile", "owl.pdf")]), Answer::text("Owls.")]);
    completed(&test);
    let takes = [Provider::Anthropic, Provider::OpenAi, Provider::Google, Provider::Bedrock, Provider::Vertex];
    shown(&test.server().requests()[1], &STANDARD.encode(PDF), "PDF", takes.contains(&provider))
}

/// Whether a file went out, in place of which the model must be told of it.
fn shown(request: &Request, data: &str, kind: &str, is_taken: bool) -> Cell {
    assert_eq!(request.contains(data), is_taken);
    if is_taken {
        return Cell::Does;
    }
    assert!(request.contains(kind), "nothing is said of the {kind}: {}", request.body);
    Cell::Told
}

/// A model that thinks, where the one that is used by default does not.
fn thinker(provider: Provider) -> &'static str {
    match provider {
        Provider::Google | Provider::Vertex => "gemini-3-pro-preview",
        Provider::DeepSeek => "deepseek-reasoner",
        Provider::OpenAiChat => "qwen3-30b",
        _ => "",
    }
}

/// Two turns of calls, each with its thoughts, and what the last request holds of them.
fn thought(provider: Provider, first: Answer, second: Answer) -> (String, Request) {
    let test = Test::with(provider).file("a.txt", "tawny owl").answers([first, second, Answer::text("Owls.")]);
    let ran = match thinker(provider) {
        "" => test.run(["run", "librarian", "q", "--reasoning-budget", "medium", "--json"]),
        model => test.run(["run", "librarian", "q", "--reasoning-budget", "medium", "--json", "--model", model]),
    };
    (ran.assert_code(0).stdout, test.server().requests().remove(2))
}

/// Thoughts are shown, and go back as the provider wants them. The server refuses a conversation where it must have
/// them back.
pub fn reasoning(provider: Provider) -> Cell {
    let turn = |id: &str, text: &str, signature: &str| {
        Answer::calls([read(id, "readTextFile", "a.txt"), read(&format!("{id}-2"), "getFileInfo", "a.txt")])
            .thinking(text, signature)
    };
    let (events, request) =
        thought(provider, turn("c1", "Owls hoot.", "Zmlyc3Q="), turn("c2", "Owls fly.", "c2Vjb25k"));
    // Azure's Chat Completions give none; the server does as imitators do.
    assert!(events.contains("Owls hoot."), "{events}");
    let said = |texts: [&str; 2]| texts.map(|text| request.contains(text));
    let (texts, signatures) = (said(["Owls hoot.", "Owls fly."]), said(["Zmlyc3Q=", "c2Vjb25k"]));
    let is_signed = !matches!(provider, Provider::OpenAiChat | Provider::DeepSeek | Provider::Azure | Provider::Ollama);
    assert_eq!(signatures, [is_signed; 2]);
    assert_eq!(texts, [provider != Provider::Azure; 2]);
    if provider == Provider::Azure { Cell::Lacks } else { Cell::Does }
}

/// Thoughts that nobody may read go back as they came.
pub fn hidden_reasoning(provider: Provider) -> Cell {
    let turn = |id: &str, data: &str| Answer::calls([read(id, "readTextFile", "a.txt")]).hidden_thinking(data);
    let has = [Provider::Anthropic, Provider::OpenAi, Provider::Google, Provider::Bedrock, Provider::Vertex];
    if !has.contains(&provider) {
        return Cell::Lacks;
    }
    let (_, request) = thought(provider, turn("c1", "Zmlyc3Q="), turn("c2", "c2Vjb25k"));
    let expected = ["Zmlyc3Q=", "c2Vjb25k"].map(|data| match provider {
        Provider::Bedrock => STANDARD.encode(data),
        _ => data.to_owned(),
    });
    assert!(expected.iter().all(|data| request.contains(data)), "{}", request.body);
    Cell::Does
}

/// The vendors' counts in one form. Anthropic's models count their thoughts as output, Ollama's do not tell what they
/// had read before.
pub fn usage(provider: Provider) -> Cell {
    let tokens = Tokens { input: 900, cached: 300, output: 20, reasoning: 6 };
    let test = Test::with(provider).answers([Answer::text("Owls.").usage(tokens)]);
    let ran = test.run(["run", "librarian", "q", "--output", "json"]).assert_code(0);
    let (input, reasoning) = match provider {
        Provider::Anthropic | Provider::Bedrock => (600, 0),
        Provider::Ollama => (900, 0),
        _ => (900, 6),
    };
    let cached = if provider == Provider::Ollama { 0 } else { 300 };
    let usage = ran.object()["usage"].clone();
    let counts = ["inputTokens", "cachedInputTokens", "outputTokens", "reasoningTokens"];
    assert_eq!(counts.map(|name| usage[name].as_u64()), [input, cached, 20, reasoning].map(Some), "{usage}");
    assert!(usage["totalTokens"].as_u64().is_some_and(|total| [920, 620].contains(&total)), "{usage}");
    if cached == 0 { Cell::Lacks } else { Cell::Does }
}

pub fn length(provider: Provider) -> Cell {
    let cut = Answer::text("Owls are ").stop_reason(Stop::Length);
    let test = Test::with(provider).answers([cut, Answer::text("birds.")]);
    assert_eq!(test.run(["run", "librarian", "q"]).assert_code(0).stdout, "Owls are birds.\n");
    Cell::Does
}

pub fn filter(provider: Provider) -> Cell {
    if !provider.has_filter() {
        return Cell::Lacks;
    }
    // The text is printed, with a warning that it may not be all.
    let test = Test::with(provider).answers([Answer::text("Owls are").stop_reason(Stop::Filtered)]);
    let ran = test.run(["run", "librarian", "q"]).assert_code(0).assert_stderr(["the answer may be incomplete"]);
    assert_eq!(ran.stdout, "Owls are\n");
    Cell::Does
}

/// The events of one type.
pub fn events_of<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}
