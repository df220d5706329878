"""Holds requests that the tests' mock server accepted against the types of the providers' own SDKs.

Usage: wire_types.py FOLDER.., with one JSON file per request: {"protocol", "path", "body"}.
Exits 1 when a request is refused, or when a protocol of the list below had no request at all.
"""

import base64
import json
import pathlib
import sys
import typing
import urllib.parse
from collections import Counter

import pydantic

# Pydantic checks an Iterable only when somebody walks through it; a list it checks at once.
typing.Iterable = typing.List

import anthropic.types.beta.message_create_params as anthropic_beta  # noqa: E402
import anthropic.types.message_create_params as anthropic_messages  # noqa: E402
import botocore.auth  # noqa: E402
import botocore.awsrequest  # noqa: E402
import botocore.credentials  # noqa: E402
import botocore.loaders  # noqa: E402
import botocore.model  # noqa: E402
import botocore.validate  # noqa: E402
import ollama._types  # noqa: E402
import openai.types.chat.completion_create_params as openai_chat  # noqa: E402
import openai.types.responses.response_create_params as openai_responses  # noqa: E402
from google.genai import types as google  # noqa: E402

STRICT = pydantic.ConfigDict(extra="forbid", strict=True)
SHOWN = 5
# The tests' own, which opens nothing.
SECRET = "test-key-4f1d9c27b0"
# Characters.
LONGEST = 200


def forbid_unknown_keys(*packages: str) -> None:
    """The SDKs' TypedDicts say nothing of unknown keys; here they are refused."""
    for name, module in list(sys.modules.items()):
        if any(name == package or name.startswith(package + ".") for package in packages):
            for value in vars(module).values():
                if isinstance(value, type) and typing.is_typeddict(value):
                    value.__pydantic_config__ = STRICT


forbid_unknown_keys("anthropic.types", "openai.types")
MESSAGES = pydantic.TypeAdapter(anthropic_messages.MessageCreateParamsStreaming)
BETA_MESSAGES = pydantic.TypeAdapter(anthropic_beta.MessageCreateParamsStreaming)
RESPONSES = pydantic.TypeAdapter(openai_responses.ResponseCreateParamsStreaming)
CHAT = pydantic.TypeAdapter(openai_chat.CompletionCreateParamsStreaming)


class GeminiBody(pydantic.BaseModel):
    """The body of generateContent; the SDK has types for its parts alone."""

    model_config = pydantic.ConfigDict(extra="forbid", alias_generator=pydantic.alias_generators.to_camel)
    contents: list[google.Content]
    system_instruction: google.Content | None = None
    generation_config: google.GenerationConfig | None = None
    tools: list[google.Tool] | None = None
    tool_config: google.ToolConfig | None = None
    safety_settings: list[google.SafetySetting] | None = None
    cached_content: str | None = None


class OllamaBody(ollama._types.ChatRequest):
    """With what the server takes and its SDK has no fields for."""

    model_config = pydantic.ConfigDict(extra="forbid")
    truncate: bool | None = None
    shift: bool | None = None


def bedrock() -> botocore.model.ServiceModel:
    return botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("bedrock-runtime", "service-2"))


BEDROCK = bedrock().operation_model("ConverseStream").input_shape


def with_blobs(shape: botocore.model.Shape, value: object) -> object:
    """JSON has blobs as Base64, the service model's validator wants bytes, and unknown members are refused."""
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        if not isinstance(value, dict):
            raise ValueError(f"{shape.name} is no object: {value!r}")
        if unknown := set(value) - set(shape.members):
            raise ValueError(f"{shape.name} has no member {sorted(unknown)}")
        return {key: with_blobs(shape.members[key], member) for key, member in value.items()}
    if shape.type_name == "list":
        return [with_blobs(shape.member, item) for item in value]
    if shape.type_name == "map":
        return {key: with_blobs(shape.value, item) for key, item in value.items()}
    if shape.type_name == "blob":
        return base64.b64decode(value, validate=True)
    if shape.type_name == "string" and shape.enum and value not in shape.enum:
        raise ValueError(f"{value!r} is no {shape.name}: {shape.enum}")
    return value


def check_bedrock(request: dict) -> None:
    model = urllib.parse.unquote(request["path"].split("/model/", 1)[1].rsplit("/", 1)[0])
    parameters = with_blobs(BEDROCK, request["body"] | {"modelId": model})
    report = botocore.validate.ParamValidator().validate(parameters, BEDROCK)
    if report.has_errors():
        raise ValueError(report.generate_report())
    # Kept samples are of bodies alone, and a key needs no signature.
    if request["headers"].get("authorization", "").startswith("AWS4"):
        check_signature(request)


def check_signature(request: dict) -> None:
    """Signs the request anew with the test's credentials, from the bytes and headers that came."""
    headers = request["headers"]
    credential, signed, signature = (
        field.split("=", 1)[1] for field in headers["authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(", ")
    )
    access_key, _, region, service, _ = credential.split("/")
    signer = botocore.auth.SigV4Auth(botocore.credentials.Credentials(access_key, SECRET), service, region)
    aws = botocore.awsrequest.AWSRequest(
        "POST",
        f"http://{headers['host']}{request['path']}",
        headers={name: headers[name] for name in signed.split(";")},
        data=base64.b64decode(request["bytes"]),
    )
    aws.context["timestamp"] = headers["x-amz-date"]
    ours = signer.signature(signer.string_to_sign(aws, signer.canonical_request(aws)), aws)
    if ours != signature:
        raise ValueError(f"the signature is {signature}, not {ours}")


def check_messages(request: dict) -> None:
    """Betas have types of their own, which know all that the others know."""
    adapter = BETA_MESSAGES if "anthropic-beta" in request["headers"] else MESSAGES
    adapter.validate_python(request["body"])


CHECKS = {
    "anthropic-messages": check_messages,
    "openai-responses": lambda request: RESPONSES.validate_python(request["body"]),
    "openai-chat": lambda request: CHAT.validate_python(request["body"]),
    "google-gemini": lambda request: GeminiBody.model_validate_json(json.dumps(request["body"])),
    "bedrock-converse": check_bedrock,
    "ollama-chat": lambda request: OllamaBody.model_validate_json(json.dumps(request["body"])),
}


def told(error: Exception) -> str:
    """Few lines of an error that may have thousands: a union's deepest findings are about what was meant."""
    if not isinstance(error, pydantic.ValidationError):
        return str(error)[:LONGEST]
    findings = sorted(error.errors(include_url=False), key=lambda finding: -len(finding["loc"]))
    return "\n".join(
        f"  {'.'.join(map(str, finding['loc']))[-LONGEST:]}: {finding['msg']}, not {finding['input']!r}"[: 2 * LONGEST]
        for finding in findings[:SHOWN]
    )


def main(folders: list[str]) -> int:
    accepted: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for file in sorted(file for folder in folders for file in pathlib.Path(folder).glob("*.json")):
        request = json.loads(file.read_text())
        protocol = request["protocol"]
        try:
            CHECKS[protocol](request)
            accepted[protocol] += 1
        except (pydantic.ValidationError, ValueError) as error:
            refused[protocol] += 1
            if refused[protocol] <= SHOWN:
                print(f"{file}: {protocol} refuses it:\n{told(error)}", file=sys.stderr)
    print(f"{'protocol':<26}{'accepted':>9}{'refused':>9}")
    for protocol in CHECKS:
        print(f"{protocol:<26}{accepted[protocol]:>9}{refused[protocol]:>9}")
    missing = [protocol for protocol in CHECKS if not accepted[protocol]]
    if missing:
        print(f"no request to hold against: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing or refused.total() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
