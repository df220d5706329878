//! Habits of servers of Chat Completions, as a table: what each was seen to send, and the answer that it means.
//!
//! The servers were not asked: the chunks are written after public reports.

use serde_json::{Value, json};

use super::ChatCompletions;
use crate::generation::{Arguments, GeneratedPart, Generation, GenerationFailure};
use crate::provider::assemble::Assembler;
use crate::provider::{Frame, Protocol};

/// A cell: the server, its habit, the chunks that it sends, and the answer in short.
type Cell = (&'static str, &'static str, Vec<Value>, &'static str);

fn delta(delta: &Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn end(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn call(fields: &Value, name: &str, arguments: &Value) -> Value {
    let mut call = fields.clone();
    call["type"] = json!("function");
    call["function"] = json!({"name": name, "arguments": arguments});
    delta(&json!({"tool_calls": [call]}))
}

fn cells() -> Vec<Cell> {
    let text = || delta(&json!({"content": "Owls."}));
    let see = |fields: Value| call(&fields, "see", &json!("{\"a\":1}"));
    vec![
        (
            "OpenAI",
            "content is null at first",
            vec![delta(&json!({"role": "assistant", "content": null})), text(), end("stop")],
            "text Owls.; stop",
        ),
        ("OpenAI", "a refusal of its own", vec![delta(&json!({"refusal": "No."})), end("stop")], "text No.; stop"),
        (
            "Azure",
            "a first chunk about the prompt",
            vec![json!({"choices": [], "prompt_filter_results": []}), text(), end("stop")],
            "text Owls.; stop",
        ),
        ("Azure", "the filter ends the answer", vec![text(), end("content_filter")], "text Owls.; content-filter"),
        (
            "Mistral",
            "content is a list of chunks",
            vec![
                delta(&json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]})),
                delta(&json!({"content": [{"type": "text", "text": "Owls."}]})),
                end("stop"),
            ],
            "thinking Hm.; text Owls.; stop",
        ),
        (
            "Mistral",
            "a call without a number",
            vec![see(json!({"id": "aB3456789"})), end("tool_calls")],
            "call see {\"a\":1} aB3456789; tool-calls",
        ),
        ("Mistral", "the model's own limit", vec![text(), end("model_length")], "text Owls.; length"),
        (
            "xAI",
            "a call in one chunk",
            vec![see(json!({"index": 0, "id": "i"})), end("tool_calls")],
            "call see {\"a\":1} i; tool-calls",
        ),
        (
            "Groq",
            "reasoning in a field of another name",
            vec![delta(&json!({"reasoning": "Hm."})), text(), end("stop")],
            "thinking Hm.; text Owls.; stop",
        ),
        (
            "Groq",
            "a call that it could not read, in mid-stream",
            vec![json!({"error": {"message": "Failed to call a function.", "code": "tool_use_failed"}})],
            "retry",
        ),
        (
            "OpenRouter",
            "details of reasoning",
            vec![
                delta(&json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "E", "index": 0}]})),
                see(json!({"index": 0, "id": "i"})),
                end("tool_calls"),
            ],
            "attached; call see {\"a\":1} i; tool-calls",
        ),
        (
            "OpenRouter",
            "an error in mid-stream",
            vec![
                text(),
                json!({"error": {"code": 502, "message": "Upstream."}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]}),
            ],
            "retry",
        ),
        (
            "OpenRouter",
            "comments and the reason of its upstream",
            vec![
                text(),
                json!({"choices": [{"delta": {}, "finish_reason": "stop", "native_finish_reason": "end_turn"}]}),
            ],
            "text Owls.; stop",
        ),
        ("Together", "the end of the text by its name", vec![text(), end("eos")], "text Owls.; stop"),
        (
            "Fireworks",
            "null in place of arguments",
            vec![call(&json!({"index": 0, "id": "i"}), "see", &Value::Null), end("tool_calls")],
            "call see {} i; tool-calls",
        ),
        (
            "DeepSeek",
            "reasoning beside the text",
            vec![delta(&json!({"content": null, "reasoning_content": "Hm."})), text(), end("stop")],
            "thinking Hm.; text Owls.; stop",
        ),
        ("DeepSeek", "no machines left", vec![text(), end("insufficient_system_resource")], "retry"),
        (
            "vLLM",
            "arguments that are null as a text",
            vec![call(&json!({"index": 0, "id": "i"}), "see", &json!("null")), end("tool_calls")],
            "call see {} i; tool-calls",
        ),
        ("vLLM", "an answer that is aborted", vec![text(), end("abort")], "retry"),
        (
            "vLLM",
            "stop although there are calls",
            vec![see(json!({"index": 0, "id": "i"})), end("stop")],
            "call see {\"a\":1} i; tool-calls",
        ),
        (
            "SGLang",
            "arguments that are an object",
            vec![call(&json!({"index": 0, "id": "i"}), "see", &json!({"a": 1})), end("tool_calls")],
            "call see {\"a\":1} i; tool-calls",
        ),
        (
            "llama.cpp",
            "id and name in every chunk",
            vec![
                call(&json!({"index": 0, "id": "i"}), "see", &json!("{\"a\"")),
                call(&json!({"index": 0, "id": "i"}), "see", &json!(":1}")),
                end("tool_calls"),
            ],
            "call see {\"a\":1} i; tool-calls",
        ),
        (
            "LM Studio",
            "arguments quoted twice",
            vec![call(&json!({"index": 0, "id": "i"}), "see", &json!("\"{\\\"a\\\":1}\"")), end("tool_calls")],
            "call see {\"a\":1} i; tool-calls",
        ),
        (
            "LiteLLM",
            "fields of its own on a call",
            vec![
                see(json!({"index": 0, "id": "i", "provider_specific_fields": {"thought_signature": "S"}})),
                end("tool_calls"),
            ],
            "call see {\"a\":1} i; attached; tool-calls",
        ),
        (
            "Gemini",
            "a signature of a call",
            vec![
                see(json!({"index": 0, "id": "i", "extra_content": {"google": {"thought_signature": "S"}}})),
                end("tool_calls"),
            ],
            "call see {\"a\":1} i; attached; tool-calls",
        ),
        (
            "Gemini",
            "parallel calls of one number without ids",
            vec![see(json!({"index": 0, "id": ""})), see(json!({"index": 0, "id": ""})), end("tool_calls")],
            "call see {\"a\":1} ; call see {\"a\":1} ; tool-calls",
        ),
        (
            "Ollama",
            "a call without a number and whole",
            vec![see(json!({"id": "call_1"})), end("stop")],
            "call see {\"a\":1} call_1; tool-calls",
        ),
        ("Z.ai", "a network error as the end", vec![text(), end("network_error")], "retry"),
        ("Z.ai", "a refusal in its own word", vec![text(), end("sensitive")], "text Owls.; content-filter"),
    ]
}

fn answer(chunks: &[Value]) -> Result<Generation, GenerationFailure> {
    let protocol = ChatCompletions::default();
    let (mut decoder, mut assembler) = (protocol.decoder(), Assembler::new(protocol.name()));
    for chunk in chunks {
        decoder.frame(&Frame::event(None, chunk.to_string()))?.into_iter().for_each(|delta| assembler.push(delta));
    }
    assembler.finish()
}

fn in_short(answer: Result<Generation, GenerationFailure>) -> String {
    let generation = match answer {
        Ok(generation) => generation,
        Err(failure) => return if failure.is_retryable { "retry" } else { "fails" }.to_owned(),
    };
    let part = |part: GeneratedPart| match part {
        GeneratedPart::Text { text } => format!("text {text}; "),
        GeneratedPart::Thinking { thinking } if thinking.opaque.is_some() => "attached; ".to_owned(),
        GeneratedPart::Thinking { thinking } => format!("thinking {}; ", thinking.thinking),
        GeneratedPart::Opaque { .. } => "opaque; ".to_owned(),
        GeneratedPart::ToolCall { id, name, arguments: Arguments::Valid(arguments) } => {
            format!("call {name} {} {id}; ", Value::Object(arguments))
        }
        GeneratedPart::ToolCall { name, .. } => format!("call {name} unreadable; "),
    };
    let parts: String = generation.parts.into_iter().map(part).collect();
    format!("{parts}{}", generation.finish)
}

#[test]
fn every_habit_of_every_server_is_understood() {
    for (server, habit, chunks, expected) in cells() {
        assert_eq!(in_short(answer(&chunks)), expected, "{server}: {habit}");
    }
}
