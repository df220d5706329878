//! The rows of the table of servers and habits: what a server sends, and what must come of it.

use serde_json::{Value, json};

use super::servers::{
    asked_again, attached, continued, nine_letters, no_usage, one_call, owls, refused, text, two_calls, usage,
};
use crate::support::{Answer, Ran, Request};

/// A way in which servers answer.
pub struct Habit {
    pub name: &'static str,
    /// The servers that were seen to do so.
    pub servers: &'static [&'static str],
    pub answers: fn() -> Vec<Answer>,
    pub check: fn(&Ran, &[Request]),
}

macro_rules! habits {
    ($($name:literal, [$($server:literal),*], $check:ident, $answers:expr;)*) => {
        pub const HABITS: &[Habit] =
            &[$(Habit { name: $name, servers: &[$($server),*], answers: || $answers, check: $check }),*];
    };
}

habits! {
    "content that is null at first", ["OpenAI", "Azure", "DeepSeek"], text,
        vec![stream(&[delta(json!({"role": "assistant", "content": null})), content("Owls."), end("stop")])];
    "a first chunk about the prompt", ["Azure"], text,
        vec![stream(&[json!({"choices": [], "prompt_filter_results": []}), content("Owls."), end("stop")])];
    "content as a list of chunks", ["Mistral"], text,
        vec![stream(&[
            delta(json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]})),
            delta(json!({"content": [{"type": "text", "text": "Owls."}]})),
            end("stop"),
        ])];
    "a refusal beside content that is null", ["OpenAI", "Azure"], text,
        vec![stream(&[delta(json!({"content": null, "refusal": "Owls."})), end("stop")])];
    "reasoning_content", ["DeepSeek", "Moonshot", "Z.ai", "vLLM", "SGLang", "llama.cpp", "xAI", "LiteLLM"], text,
        vec![stream(&[delta(json!({"content": null, "reasoning_content": "Hm."})), content("Owls."), end("stop")])];
    "reasoning", ["Groq", "OpenRouter", "Together", "vLLM", "LM Studio", "Ollama"], text,
        vec![stream(&[delta(json!({"content": "", "reasoning": "Hm."})), content("Owls."), end("stop")])];
    "reasoning under two names", ["OpenRouter", "LiteLLM"], text,
        vec![stream(&[delta(json!({"reasoning": "Hm.", "reasoning_content": "Hm."})), content("Owls."), end("stop")])];
    "the end of the text by its token", ["Together"], text, vec![stream(&[content("Owls."), end("eos")])];
    "an end that is empty at first", ["Fireworks", "LM Studio"], text,
        vec![stream(&[json!({"choices": [{"delta": {"content": "Owls."}, "finish_reason": ""}]}), end("stop")])];
    "no reason for the end", ["llama.cpp", "LM Studio"], text, vec![stream(&[content("Owls.")])];
    "no mark of the end", ["LiteLLM", "Gemini"], text,
        vec![Answer::raw_sse(events(&[content("Owls."), end("stop")]))];
    "no blank line behind the last event", ["LM Studio", "LiteLLM"], text,
        vec![Answer::raw_sse(events(&[content("Owls."), end("stop")]).trim_end().to_owned())];
    "no blank lines between events", ["LM Studio", "Z.ai"], text,
        vec![Answer::raw_sse(stream_text(&[content("Owls."), end("stop")]).replace("\n\n", "\n"))];
    "comments between events", ["OpenRouter"], text,
        vec![Answer::raw_sse(format!(
            ": OPENROUTER PROCESSING\n\n{}: x\n\n{}data: [DONE]\n\n", events(&[content("Owls.")]), events(&[end("stop")])
        ))];
    "no space behind data:", ["Z.ai", "Moonshot"], text,
        vec![Answer::raw_sse(stream_text(&[content("Owls."), end("stop")]).replace("data: ", "data:"))];
    "lines that end by carriage return", ["LiteLLM", "LM Studio"], text,
        vec![Answer::raw_sse(stream_text(&[content("Owls."), end("stop")]).replace('\n', "\r"))];
    "events with names and numbers", ["LiteLLM"], text,
        vec![Answer::raw_sse(stream_text(&[content("Owls."), end("stop")]).replace("data: ", "id: 7\nevent: message\ndata: "))];
    "pieces that split a character", ["OpenAI", "vLLM"], text,
        vec![stream(&[delta(json!({"reasoning_content": "Eulen 🦉, höchst"})), content("Owls."), end("stop")]).in_chunks_of(1)];
    "an answer in one event", ["LiteLLM"], text,
        vec![stream(&[json!({"choices": [{"message": {"content": "Owls."}, "finish_reason": "stop"}]})])];
    "a stream labelled as JSON", ["LiteLLM", "llama.cpp"], text,
        vec![json_body(&stream_text(&[content("Owls."), end("stop")]))];
    "one document in place of a stream", ["LiteLLM", "Together", "Azure"], text,
        vec![json_body(&json!({"object": "chat.completion", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Owls."}, "finish_reason": "stop"}]}).to_string())];
    "a list in place of a stream", ["Gemini"], text,
        vec![json_body(&json!([content("Owls."), end("stop")]).to_string())];
    "lines of JSON in place of a stream", ["Ollama"], text,
        vec![json_body(&format!("{}\n{}\n", content("Owls."), end("stop")))];
    "the model's own limit as the end", ["Mistral"], continued,
        vec![stream(&[content("Ow"), end("model_length")]), Answer::text("ls.")];

    "a call in one chunk", ["xAI", "Groq", "Mistral", "Gemini", "Ollama"], one_call,
        vec![stream(&[call(json!({"index": 0, "id": "aB3456789"}), arguments()), end("tool_calls")]), owls()];
    "a call without a number", ["Mistral", "Ollama"], one_call,
        vec![stream(&[call(json!({"id": "aB3456789"}), arguments()), end("tool_calls")]), owls()];
    "a number that is a text", ["LM Studio"], one_call,
        vec![stream(&[call(json!({"index": "0", "id": "i"}), arguments()), end("tool_calls")]), owls()];
    "id and name in every chunk", ["llama.cpp", "SGLang"], one_call,
        vec![stream(&[
            call(json!({"index": 0, "id": "i"}), json!("{\"path\"")),
            call(json!({"index": 0, "id": "i"}), json!(":\"a.txt\"}")),
            end("tool_calls"),
        ]), owls()];
    "the name alone in every chunk", ["LM Studio", "Ollama"], one_call,
        vec![stream(&[call(json!({}), json!("{\"path\"")), call(json!({}), json!(":\"a.txt\"}")), end("tool_calls")]), owls()];
    "all arguments once more at the end", ["vLLM"], one_call,
        vec![stream(&[
            call(json!({"index": 0, "id": "i"}), arguments()),
            delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": arguments()}}]})),
            end("tool_calls"),
        ]), owls()];
    "parallel calls of one number without ids", ["Gemini"], two_calls,
        vec![stream(&[call(json!({"index": 0, "id": ""}), arguments()), call(json!({"index": 0, "id": ""}), arguments()), end("tool_calls")]), owls()];
    "parallel calls of one number", ["Gemini", "LiteLLM"], two_calls,
        vec![stream(&[call(json!({"index": 0, "id": "a"}), arguments()), call(json!({"index": 0, "id": "b"}), arguments()), end("tool_calls")]), owls()];
    "arguments that are an object", ["SGLang", "Ollama"], one_call,
        vec![stream(&[call(json!({"index": 0, "id": "i"}), json!({"path": "a.txt"})), end("tool_calls")]), owls()];
    "arguments quoted twice", ["LM Studio", "vLLM"], one_call,
        vec![stream(&[call(json!({"index": 0, "id": "i"}), json!("\"{\\\"path\\\":\\\"a.txt\\\"}\"")), end("tool_calls")]), owls()];
    "null in place of arguments", ["Fireworks", "vLLM"], text_after_a_call,
        vec![stream(&[named_call(json!({"index": 0, "id": "i"}), "healthCheck", Value::Null), end("tool_calls")]), owls()];
    "arguments that are null as a text", ["vLLM"], text_after_a_call,
        vec![stream(&[named_call(json!({"index": 0, "id": "i"}), "healthCheck", json!("null")), end("tool_calls")]), owls()];
    "stop although there are calls", ["vLLM", "Ollama", "llama.cpp"], one_call,
        vec![stream(&[call(json!({"index": 0, "id": "i"}), arguments()), end("stop")]), owls()];
    "the older form of a call", ["LM Studio"], one_call,
        vec![stream(&[
            delta(json!({"function_call": {"name": "readTextFile", "arguments": ""}})),
            delta(json!({"function_call": {"arguments": arguments()}})),
            end("function_call"),
        ]), owls()];
    "pieces of calls with nothing in them", ["Together", "LiteLLM"], one_call,
        vec![stream(&[
            delta(json!({"tool_calls": [{}]})),
            call(json!({"index": 0, "id": "i"}), arguments()),
            delta(json!({"content": "", "tool_calls": [{"index": 1, "function": {"name": null, "arguments": ""}}]})),
            end("tool_calls"),
        ]), owls()];
    "a signature of a call", ["Gemini"], attached,
        vec![stream(&[
            call(json!({"index": 0, "id": "i", "extra_content": {"google": {"thought_signature": "U0lHTkVE"}}}), arguments()),
            end("tool_calls"),
        ]), owls()];
    "details of reasoning", ["OpenRouter"], attached,
        vec![stream(&[
            delta(json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "U0lHTkVE", "index": 0}]})),
            call(json!({"index": 0, "id": "i"}), arguments()),
            end("tool_calls"),
        ]), owls()];
    "fields of its own on a call", ["LiteLLM"], attached,
        vec![stream(&[
            call(json!({"index": 0, "id": "i", "provider_specific_fields": {"thought_signature": "U0lHTkVE"}}), arguments()),
            end("tool_calls"),
        ]), owls()];
    "reasoning that goes back with its call", ["Moonshot", "Z.ai", "vLLM", "Fireworks"], attached,
        vec![stream(&[delta(json!({"reasoning_content": "U0lHTkVE"})), call(json!({"index": 0, "id": "i"}), arguments()), end("tool_calls")]), owls()];
    "ids of nine letters", ["Mistral"], nine_letters,
        vec![stream(&[call(json!({"index": 0, "id": "chatcmpl-tool-0123456789abcdef"}), arguments()), end("tool_calls")]), owls()];
    "ids of nine letters by its refusal", ["vLLM", "SGLang", "llama.cpp", "LiteLLM", "OpenRouter"], nine_letters,
        vec![
            stream(&[call(json!({"index": 0, "id": "call_1"}), arguments()), end("tool_calls")]),
            Answer::status(400).message("Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9."),
            owls(),
        ];

    "usage behind the choices", ["OpenAI", "Mistral", "vLLM", "OpenRouter"], usage,
        vec![stream(&[content("Owls."), end("stop"), json!({"choices": [], "usage": counts()})])];
    "usage in every chunk", ["xAI", "vLLM", "Fireworks"], usage,
        vec![stream(&[
            json!({"choices": [{"delta": {"content": "Owls."}}], "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}}),
            json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": counts()}),
            json!({"choices": [], "usage": counts()}),
        ])];
    "usage that is zero behind the counts", ["LiteLLM", "SGLang"], usage,
        vec![stream(&[
            content("Owls."), end("stop"), json!({"choices": [], "usage": counts()}),
            json!({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}),
        ])];
    "usage in a place of its own", ["Groq"], usage,
        vec![stream(&[content("Owls."), json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "x_groq": {"usage": counts()}})])];
    "usage in the choice", ["Moonshot"], usage,
        vec![stream(&[content("Owls."), json!({"choices": [{"delta": {}, "finish_reason": "stop", "usage": counts()}]})])];
    "no usage", ["LM Studio", "Ollama", "llama.cpp"], no_usage, vec![stream(&[content("Owls."), end("stop")])];
    "usage of zeros alone", ["LiteLLM", "LM Studio"], no_usage,
        vec![stream(&[content("Owls."), end("stop"), json!({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}})])];

    "a call that it could not read", ["Groq"], asked_again,
        vec![stream(&[json!({"error": {"message": "Failed to call a function.", "code": "tool_use_failed"}})]), owls()];
    "a call that it could not read, as a 400", ["Groq"], asked_again,
        vec![json_status(400, &json!({"error": {"message": "Failed to call a function.", "code": "tool_use_failed"}})), owls()];
    "an error in mid-stream", ["OpenRouter", "vLLM", "SGLang", "LiteLLM"], asked_again,
        vec![stream(&[content("Ow"), json!({"error": {"code": 502, "message": "Upstream."}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]})]), owls()];
    "an error without a name in mid-stream", ["Together", "SGLang"], asked_again,
        vec![stream(&[content("Ow"), json!({"message": "Worker died.", "code": 500})]), owls()];
    "an error under 200", ["OpenRouter", "Z.ai", "LiteLLM"], asked_again,
        vec![json_body(&json!({"error": {"code": 503, "message": "No instance available."}}).to_string()), owls()];
    "an answer that is aborted", ["vLLM", "SGLang"], asked_again, vec![stream(&[content("Ow"), end("abort")]), owls()];
    "no machines left", ["DeepSeek"], asked_again,
        vec![stream(&[content("Ow"), end("insufficient_system_resource")]), owls()];
    "a network error as the end", ["Z.ai"], asked_again, vec![stream(&[content("Ow"), end("network_error")]), owls()];
    "a stream that is cut", ["Together", "Fireworks", "LM Studio"], asked_again,
        vec![Answer::raw_sse(events(&[content("Ow")])), owls()];
    "a 400 that means to slow down", ["Together", "Azure"], asked_again,
        vec![json_status(400, &json!({"error": {"message": "Rate limit exceeded.", "code": "rate_limit_exceeded"}})).header("retry-after", "0"), owls()];
    "a 403 that means to slow down", ["Fireworks"], asked_again,
        vec![json_status(403, &json!({"error": {"message": "Too many requests", "code": "TooManyRequests"}})).header("retry-after", "0"), owls()];
    "a 429 with milliseconds", ["Azure", "OpenAI"], asked_again,
        vec![Answer::status(429).header("retry-after-ms", "3").header("retry-after", "60"), owls()];
    "a 429 in a list", ["Gemini"], asked_again,
        vec![json_status(429, &json!([{"error": {"code": 429, "message": "Quota.", "status": "UNAVAILABLE"}}])), owls()];
    "a 529", ["Z.ai", "Moonshot"], asked_again, vec![Answer::status(529), owls()];
    "x-should-retry", ["OpenAI"], asked_again, vec![Answer::status(400).header("x-should-retry", "true"), owls()];
    "the words of the server behind it", ["OpenRouter"], refused,
        vec![json_status(400, &json!({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": "{\"error\":{\"message\":\"No such owls.\"}}"}}}))];
    "a refusal as a list of details", ["vLLM", "SGLang"], refused,
        vec![json_status(422, &json!({"detail": [{"loc": ["body"], "msg": "No such owls."}]}))];
    "a refusal as a bare object", ["Mistral", "vLLM"], refused,
        vec![json_status(400, &json!({"object": "error", "message": "No such owls.", "type": "invalid_request_error", "code": null}))];
}

/// A call without arguments of a tool that needs none.
fn text_after_a_call(ran: &Ran, requests: &[Request]) {
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!((requests.len(), requests[1].results().len()), (2, 1));
    let arguments = requests[1].body.pointer("/messages/2/tool_calls/0/function/arguments");
    assert_eq!(arguments, Some(&json!("{}")), "{}", requests[1].body);
}

#[expect(clippy::needless_pass_by_value, reason = "rows are written with literals")]
fn delta(delta: Value) -> Value {
    json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn content(text: &str) -> Value {
    delta(json!({"content": text}))
}

fn end(reason: &str) -> Value {
    json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

/// The arguments of a call that reads the file, as text.
fn arguments() -> Value {
    json!("{\"path\":\"a.txt\"}")
}

fn call(fields: Value, arguments: Value) -> Value {
    named_call(fields, "readTextFile", arguments)
}

#[expect(clippy::needless_pass_by_value, reason = "rows are written with literals")]
fn named_call(mut fields: Value, name: &str, arguments: Value) -> Value {
    fields["type"] = json!("function");
    fields["function"] = json!({"name": name, "arguments": arguments});
    delta(json!({"tool_calls": [fields]}))
}

fn counts() -> Value {
    json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120})
}

fn events(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<Vec<_>>().concat()
}

fn stream_text(chunks: &[Value]) -> String {
    events(chunks) + "data: [DONE]\n\n"
}

fn stream(chunks: &[Value]) -> Answer {
    Answer::raw_sse(stream_text(chunks))
}

/// A body that is labelled as JSON.
fn json_body(text: &str) -> Answer {
    Answer::status(200).body("application/json", text)
}

fn json_status(status: u16, body: &Value) -> Answer {
    Answer::status(status).body("application/json", &body.to_string())
}
