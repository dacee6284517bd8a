"""A generateContent call into the common form: API key, Vertex and Code Assist's envelope `{model, request: {…}}`.

Source: ai.google.dev/api/generate-content, cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from shin_gateway.dialects.heads import model_in_path
from shin_gateway.errors import Invalid
from shin_gateway.translation.form import Chat, Json
from shin_gateway.translation.gemini_generate.config_in import read_config
from shin_gateway.translation.gemini_generate.contents_in import read_contents, read_system
from shin_gateway.translation.gemini_generate.fields import Fields, objects
from shin_gateway.translation.gemini_generate.tools_in import read_choice, read_tools
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_common import Misfit, maybe_flag, maybe_record, maybe_string

_STREAM = re.compile(r":(?:stream|serverStreaming)[A-Z]").search
_ENVELOPE = Fields("model", "project", "userPromptId", "request", "requestId", "requestType", "userAgent",
                   "enabledCreditTypes")  # fmt: skip
_CALL = Fields("model", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings",
               "cachedContent", "labels", "serviceTier", "store", "sessionId")  # fmt: skip
_TIERS = {"flex": "flex", "priority": "priority", "standard": "default"}


def is_envelope(body: Json) -> bool:
    """Whether a call is wrapped, and its reply is to be."""
    return isinstance(body.get("request"), dict) and "contents" not in body


def read_call(body: Json, path: str, losses: Losses) -> Chat:
    """Raises Invalid that names the field."""
    try:
        return _read(body, path, losses)
    except Misfit as wrong:
        raise wrong.invalid() from None
    except RecursionError:
        raise Invalid("The body is nested too deeply.") from None


def _read(body: Json, path: str, losses: Losses) -> Chat:
    if not isinstance(body, dict):
        raise Misfit("must be a JSON object")
    outer: Json = {}
    if is_envelope(body):
        outer = _ENVELOPE.of(body, "", losses)
        body = outer["request"]
    call = _CALL.of(body, "", losses)
    model = model_in_path(path) or maybe_string(outer, "model") or maybe_string(call, "model")
    chat = Chat(model=model.removeprefix("models/"), stream=_STREAM(path) is not None, stream_usage=True)
    chat.messages = _within("systemInstruction", read_system, call, losses)
    chat.messages += _within("contents", read_contents, call, losses)
    chat.tools, chat.builtin_tools = _within("tools", read_tools, call, losses)
    chat.tool_choice = _within("toolConfig", read_choice, call, losses)
    _within("generationConfig", lambda value, losses: read_config(value, chat, losses), call, losses)
    _rest(call, chat)
    return chat


def _within[T](name: str, read: Callable[[Any, Losses], T], call: Json, losses: Losses) -> T:
    try:
        return read(call.get(name), losses)
    except Misfit as wrong:
        raise wrong.within(name) from None


def _rest(call: Json, chat: Chat) -> None:
    if call.get("cachedContent") is not None:
        why = "names context that is kept at Gemini, which the model that serves this call cannot see"
        raise Misfit(why, "cachedContent")
    labels = maybe_record(call, "labels") or {}
    for name, value in labels.items():
        if not isinstance(value, str):
            raise Misfit("must be a string", "labels", name)
    chat.metadata = labels
    chat.store = maybe_flag(call, "store")
    chat.service_tier = _TIERS.get(maybe_string(call, "serviceTier").lower(), "")
    chat.safety_settings = _settings(call)


def _settings(call: Json) -> list[Json]:
    try:
        settings = objects(call.get("safetySettings"))
    except Misfit as wrong:
        raise wrong.within("safetySettings") from None
    for at, one in enumerate(settings):
        if not isinstance(one, dict):
            raise Misfit("must be an object", "safetySettings", at)
    return settings
