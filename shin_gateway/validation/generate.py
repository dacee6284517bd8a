"""Make the schemas from the types of the official SDKs: `python -m shin_gateway.validation.generate`.

For developers, when an SDK was updated; a test tells when. The SDKs are not needed by a gateway that runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from shin_gateway.validation.annotations import Schema, Writer
from shin_gateway.validation.forms import folder

_ANY: Schema = {}
_STRING: Schema = {"type": "string"}
_BOOLEAN: Schema = {"type": "boolean"}
_ARGUMENTS: Schema = {"anyOf": [_STRING, {"type": "object", "additionalProperties": _ANY}]}

_NOT_REQUIRED = {
    # Named by the path, or by a stored prompt; the head of a call says when it is missing.
    "": {"model"},
    # Agents hand items back without what only a reply needs, and OpenAI takes them.
    "openai.responses": {
        "id", "status", "annotations", "logprobs", "top_logprobs", "bytes", "detail", "summary",
        "pending_safety_checks",
    },
    "AdditionalTools": {"role"},
    "ResponseFunctionWebSearchParam": {"action"},
    # Mistral's clients leave it out, and so do its replies, which are handed back.
    "ChatCompletionFunctionToolParam": {"type"},
    "ChatCompletionMessageFunctionToolCallParam": {"type"},
    "ChatCompletionNamedToolChoiceParam": {"type"},
}  # fmt: skip
"""Fields that the types require and providers do not: by "" for bodies, dialect, or type."""
_STILL_REQUIRED = frozenset({"ItemReference", "ResponseConversationParamParam", "ResponsePromptParam"})
_ALSO: dict[tuple[str, str], Schema] = {
    ("openai.chat", "chat"): {"stream": _BOOLEAN},
    ("openai.completions", "complete"): {"stream": _BOOLEAN},
    # A call that comes as a frame of a WebSocket has its type and more beside the body.
    ("openai.responses", "respond"): {
        "stream": _BOOLEAN, "type": _STRING, "event_id": _STRING, "generate": _BOOLEAN, "client_metadata": _ANY,
    },
    ("anthropic.messages", "chat"): {
        "stream": _BOOLEAN, "anthropic_version": _STRING, "anthropic_beta": {"type": "array", "items": _STRING},
    },
    ("anthropic.messages", "count"): {"anthropic_version": _STRING},
    # What replies hold and clients hand back.
    ("openai.chat", "ChatCompletionAssistantMessageParam"): {
        "annotations": _ANY, "reasoning": _ANY, "reasoning_content": _ANY, "reasoning_details": _ANY,
    },
    # Mistral, Ollama and others take a URL alone, and arguments as the object that they are.
    ("openai.chat", "ChatCompletionContentPartImageParam"): {
        "image_url": {"anyOf": [_STRING, {"$ref": "#/$defs/ImageURL"}]},
    },
    ("openai.chat", "Function"): {"arguments": _ARGUMENTS},
    ("openai.chat", "FunctionCall"): {"arguments": _ARGUMENTS},
}  # fmt: skip
"""Fields that the types do not have, or not with all that is taken, by dialect and form or type."""


def _openai_chat() -> dict[str, Any]:
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase

    return {"chat": CompletionCreateParamsBase}


def _openai_completions() -> dict[str, Any]:
    from openai.types.completion_create_params import CompletionCreateParamsBase

    return {"complete": CompletionCreateParamsBase}


def _openai_embeddings() -> dict[str, Any]:
    from openai.types.embedding_create_params import EmbeddingCreateParams

    return {"embed": EmbeddingCreateParams}


def _openai_responses() -> dict[str, Any]:
    from openai.types.responses.input_token_count_params import InputTokenCountParams
    from openai.types.responses.response_compact_params import ResponseCompactParams
    from openai.types.responses.response_create_params import ResponseCreateParamsBase

    return {"respond": ResponseCreateParamsBase, "compact": ResponseCompactParams, "count": InputTokenCountParams}


def _anthropic_messages() -> dict[str, Any]:
    from anthropic.types.beta.message_count_tokens_params import MessageCountTokensParams
    from anthropic.types.beta.message_create_params import MessageCreateParamsBase

    return {"chat": MessageCreateParamsBase, "count": MessageCountTokensParams}


_TYPED_DICTS: dict[str, Callable[[], dict[str, Any]]] = {
    "openai.chat": _openai_chat,
    "openai.completions": _openai_completions,
    "openai.responses": _openai_responses,
    "openai.embeddings": _openai_embeddings,
    "anthropic.messages": _anthropic_messages,
}
_HEADERS = {"betas", "user_profile_id"}
"""Parameters of Anthropic's SDK that leave as headers."""


def schemas() -> dict[str, Schema]:
    """Dialect → its schema, with a definition for each form of call. Needs the SDKs."""
    found = {dialect: _from_typed_dicts(dialect, roots()) for dialect, roots in _TYPED_DICTS.items()}
    return found | {"gemini.generate": _gemini()}


def _from_typed_dicts(dialect: str, roots: dict[str, Any]) -> Schema:
    writer = Writer(models=False)
    forms = {form: writer.typed_dict(kind) for form, kind in roots.items()}
    for form in forms.values():
        form["properties"] = {name: one for name, one in form["properties"].items() if name not in _HEADERS}
    return _adapted(dialect, {"forms": forms, "$defs": writer.definitions})


def _adapted(dialect: str, schema: Schema) -> Schema:
    """With what providers take beyond the types."""
    optional = _NOT_REQUIRED.get(dialect, set())
    for name, one in [*schema["forms"].items(), *schema["$defs"].items()]:
        relaxed = _NOT_REQUIRED.get("" if name in schema["forms"] else name.rpartition(".")[2], set()) | optional
        if "required" in one and name not in _STILL_REQUIRED:
            one["required"] = [field for field in one["required"] if field not in relaxed]
        if (also := _ALSO.get((dialect, name))) is not None:
            one["properties"] |= also
    if dialect == "openai.responses":
        _take_back_texts(schema["$defs"]["EasyInputMessageParam"])
    return schema


def _take_back_texts(message: Schema) -> None:
    """An earlier reply's message may come back without its id, though by the types it then holds no such parts."""
    parts = next(one for one in message["properties"]["content"]["anyOf"] if one.get("type") == "array")
    texts = ("ResponseOutputTextParam", "ResponseOutputRefusalParam")
    parts["items"]["anyOf"] += [{"$ref": f"#/$defs/{name}"} for name in texts]


def _gemini() -> Schema:
    """Google's SDK has types for the parts of a body, but none for the body: it puts fields into other places."""
    from google.genai import types

    writer = Writer(models=True)

    def ref(kind: Any) -> Schema:
        return writer.schema(kind)

    contents: Schema = {"type": "array", "items": ref(types.Content)}
    around = {
        "model": _STRING,
        "contents": contents,
        "systemInstruction": ref(types.Content),
        "tools": {"type": "array", "items": ref(types.Tool)},
        "toolConfig": ref(types.ToolConfig),
        "safetySettings": {"type": "array", "items": ref(types.SafetySetting)},
        "generationConfig": _generation_config(writer, types),
        "cachedContent": _STRING,
        "labels": {"type": "object", "additionalProperties": _STRING},
        "modelArmorConfig": ref(types.ModelArmorConfig),
        "serviceTier": _ANY,
        "store": _BOOLEAN,
        "sessionId": _STRING,
    }
    embed = {
        "model": _STRING, "content": ref(types.Content), "taskType": _STRING, "title": _STRING,
        "outputDimensionality": {"type": "integer"}, "autoTruncate": _BOOLEAN, "embedContentConfig": _ANY,
    }  # fmt: skip
    writer.definitions |= {"Call": _object(around, ["contents"]), "Embed": _object(embed, ["content"])}
    call, count = {"$ref": "#/$defs/Call"}, {"generateContentRequest": {"$ref": "#/$defs/Call"}, "instances": _ANY}
    envelope = {"model": _STRING, "project": _STRING, "userPromptId": _STRING}
    forms = {
        "chat": call,
        "count": _object(around | count, []),
        "embed": {"$ref": "#/$defs/Embed"},
        "embed_batch": _object({"requests": {"type": "array", "items": {"$ref": "#/$defs/Embed"}}}, ["requests"]),
        "envelope": _object(envelope | {"request": call}, ["request"]),
    }
    return {"protobuf": True, "forms": forms, "$defs": writer.definitions}


def _generation_config(writer: Writer, types: Any) -> Schema:
    """Vertex's own type knows fewer fields than the SDK puts there."""
    of_sdk = writer.model(types.GenerateContentConfig)["properties"]
    return _object(of_sdk | writer.model(types.GenerationConfig)["properties"], [])


def _object(properties: dict[str, Schema], required: Iterable[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required)}


def text(schema: Schema) -> str:
    """A schema as its file holds it: one line for each definition, so that a change can be read."""

    def lines(part: Schema) -> str:
        rows = [f"  {json.dumps(name)}: {json.dumps(one, separators=(',', ':'))}" for name, one in part.items()]
        return "{\n" + ",\n".join(rows) + "\n}"

    head = '"protobuf": true,\n' if schema.get("protobuf") else ""
    return f'{{\n{head}"forms": {lines(schema["forms"])},\n"$defs": {lines(schema["$defs"])}\n}}\n'


if __name__ == "__main__":
    for dialect, schema in schemas().items():
        (folder() / f"{dialect}.json").write_text(text(schema), encoding="utf-8")
