"""Holds answers against the types of the providers' own SDKs: the recorded ones of tests/data, and those that the
tests' mock server gave (PERSTACK_SAVED_REQUESTS).

Usage: wire_answers.py tests/data [FOLDER of saved requests, whose answers are in FOLDER/answers]
Exits 1 when an answer is refused, or when a protocol of the list below had none.
"""

import base64
import collections.abc
import json
import pathlib
import sys
import typing
from collections import Counter

import anthropic.types.beta as anthropic
import botocore.eventstream
import botocore.loaders
import botocore.model
import ollama
import openai.types.chat as openai_chat
import openai.types.responses as openai_responses
import pydantic
from google.genai import types as google

SHOWN = 5
# Characters.
LONGEST = 600

# Broken on purpose: what servers send that their makers never meant to, or will send some day.
BROKEN = {
    "anthropic-messages/imitator.sse",
    "anthropic-messages/unknown-events.sse",
    "bedrock/foreign.jsonl",
    "bedrock/malformed-call.jsonl",
    "google/future.sse",
    "openai-responses/announced-only.sse",
    "openai-responses/changing-ids.sse",
    "openai-responses/duplicate-calls.sse",
    "openai-responses/no-ids.sse",
    "openai-responses/only-completed.sse",
    "openai-responses/only-item-ends.sse",
}
# Sent by real servers, and unknown to OpenAI's SDK: chunks about a filter alone, another reason to stop, a search that
# is announced before anybody knows what it looks for.
OTHERS = {
    "openai-chat/azure-filtered.sse",
    "openai-chat/deepseek-broken-off.sse",
    "openai-responses/web-search.sse",
}
# The protocols of the folders in tests/data.
FOLDERS = {
    "anthropic-messages": "anthropic-messages",
    "openai-responses": "openai-responses",
    "openai-chat": "openai-chat",
    "google": "google-gemini",
    "ollama-chat": "ollama-chat",
    "bedrock": "bedrock-converse",
}



def by_type(union: object) -> dict[str, type[pydantic.BaseModel]]:
    """The members of a union by their `type`, which says more of a fault than the union as a whole."""
    members = [member for member in typing.get_args(union) if isinstance(member, type)]
    if not members:
        return by_type(typing.get_args(union)[0])
    return {name: member for member in members for name in typing.get_args(member.model_fields["type"].annotation)}


MESSAGES = by_type(anthropic.BetaRawMessageStreamEvent)
RESPONSES = by_type(openai_responses.ResponseStreamEvent)
CHAT = pydantic.TypeAdapter(openai_chat.ChatCompletionChunk)
LOADED = botocore.loaders.Loader().load_service_model("bedrock-runtime", "service-2")
EVENTS = botocore.model.ServiceModel(LOADED).operation_model("ConverseStream").output_shape.members["stream"].members


def check_messages(event: dict) -> None:
    # The SDK drops pings and raises errors.
    if event.get("type") not in ("ping", "error"):
        MESSAGES[event["type"]].model_validate(event)


def check_responses(event: dict) -> None:
    RESPONSES[event["type"]].model_validate(event)


def check_chat(event: dict) -> None:
    if "error" not in event:
        # Azure's first chunk has an empty one where others have the word.
        CHAT.validate_python(event | {"object": event.get("object") or "chat.completion.chunk"})


def check_gemini(event: dict) -> None:
    if "error" not in event:
        google.GenerateContentResponse.model_validate(event)


def check_ollama(line: dict) -> None:
    if "error" not in line:
        ollama.ChatResponse.model_validate(line)


def check_shape(shape: botocore.model.Shape, value: object) -> None:
    """A value of the service's model; `p` is what every event is filled up with."""
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        members = {key: member for key, member in value.items() if key != "p"}
        if unknown := set(members) - set(shape.members):
            raise ValueError(f"{shape.name} has no member {sorted(unknown)}")
        if missing := set(shape.required_members) - set(members):
            raise ValueError(f"{shape.name} lacks {sorted(missing)}")
        for key, member in members.items():
            check_shape(shape.members[key], member)
    elif shape.type_name == "string":
        if not isinstance(value, str) or (shape.enum and value not in shape.enum):
            raise ValueError(f"{value!r} is no {shape.name}")
    elif shape.type_name in ("integer", "long"):
        if not isinstance(value, int):
            raise ValueError(f"{value!r} is no {shape.name}")
    elif shape.type_name == "blob":
        base64.b64decode(value, validate=True)


def check_converse(event: dict) -> None:
    name = event.get("event") or event.get("exception")
    if name is None:
        # An error that the model does not name.
        return
    if name not in EVENTS:
        raise ValueError(f"there is no event {name!r}")
    check_shape(EVENTS[name], event["payload"])


CHECKS = {
    "anthropic-messages": check_messages,
    "openai-responses": check_responses,
    "openai-chat": check_chat,
    "google-gemini": check_gemini,
    "bedrock-converse": check_converse,
    "ollama-chat": check_ollama,
}


def events(protocol: str, name: str, data: bytes) -> collections.abc.Iterator[dict]:
    """The events of an answer that are whole; one that is cut off is the test's matter."""
    if protocol == "bedrock-converse" and not name.endswith(".jsonl"):
        buffer = botocore.eventstream.EventStreamBuffer()
        buffer.add_data(data)
        for event in buffer:
            headers = event.headers
            kind = "event" if headers[":message-type"] == "event" else "exception"
            yield {kind: headers[f":{kind}-type"], "payload": json.loads(event.payload)}
        return
    text = data.decode()
    if protocol in ("bedrock-converse", "ollama-chat"):
        pieces = text.splitlines(keepends=True)
        lines = [piece for piece in pieces if piece.endswith("\n") and piece.strip()]
    else:
        blocks = text.replace("\r\n", "\n").split("\n\n")[:-1]
        fields = [[line[5:].strip() for line in block.split("\n") if line.startswith("data:")] for block in blocks]
        lines = ["\n".join(data) for data in fields if data]
    for line in lines:
        if line != "[DONE]":
            yield json.loads(line)


def answers(recorded: str, saved: str | None) -> collections.abc.Iterator[tuple[str, str, bytes]]:
    for folder, protocol in FOLDERS.items():
        for file in sorted(pathlib.Path(recorded, folder).iterdir()):
            if f"{folder}/{file.name}" not in BROKEN | OTHERS:
                yield protocol, str(file), file.read_bytes()
    for file in sorted(pathlib.Path(saved, "answers").glob("*.json")) if saved else []:
        answer = json.loads(file.read_text())
        yield answer["protocol"], str(file), base64.b64decode(answer["bytes"])


def main(recorded: str, saved: str | None = None) -> int:
    accepted: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for protocol, name, data in answers(recorded, saved):
        try:
            for event in events(protocol, name, data):
                CHECKS[protocol](event)
            accepted[protocol] += 1
        except (pydantic.ValidationError, ValueError, KeyError) as error:
            refused[protocol] += 1
            if refused[protocol] <= SHOWN:
                print(f"{name}: no answer in {protocol}: {str(error)[:LONGEST]}", file=sys.stderr)
    print(f"{'answers in':<26}{'accepted':>9}{'refused':>9}")
    for protocol in CHECKS:
        print(f"{protocol:<26}{accepted[protocol]:>9}{refused[protocol]:>9}")
    missing = [protocol for protocol in CHECKS if not accepted[protocol]]
    return 1 if missing or refused.total() else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
