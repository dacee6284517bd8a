"""Calls of the legacy API: a prompt is a message of the user's."""

from __future__ import annotations

from typing import Any

from shin_gateway.dialects.heads import model_in_path
from shin_gateway.errors import Invalid
from shin_gateway.translation.form import AnyPart, Chat, Json, Message, Text
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_chat.calls_in import read_sampling, read_stream_usage, report_unknown
from shin_gateway.translation.openai_chat.calls_out import write_call as write_chat
from shin_gateway.translation.openai_common import Misfit, maybe_string, maybe_whole
from shin_gateway.translation.translator import Traits

_KNOWN = frozenset(
    {"model", "prompt", "max_tokens", "temperature", "top_p", "top_k", "n", "stream", "stream_options", "logprobs"}
    | {"stop", "presence_penalty", "frequency_penalty", "logit_bias", "user", "seed"}
)
_NOT_HERE = frozenset({"messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "logprobs"})
_NOT_HERE |= {"top_logprobs", "reasoning_effort", "verbosity", "modalities", "audio", "prediction", "metadata", "store"}
_NOT_HERE |= {"service_tier", "safety_identifier", "prompt_cache_key", "web_search_options"}


def read_call(body: Any, path: str, losses: Losses) -> Chat:
    """Raises Invalid, which names the field."""
    try:
        chat = _read(body, losses)
    except Misfit as wrong:
        raise wrong.invalid() from None
    chat.model = chat.model or model_in_path(path) or ""
    return chat


def _read(body: Any, losses: Losses) -> Chat:
    if not isinstance(body, dict):
        raise Misfit("must be a JSON object")
    prompt = Message(role="user", parts=[Text(text=_prompt(body))])
    chat = Chat(model=maybe_string(body, "model"), messages=[prompt])
    read_sampling(body, chat)
    chat.max_tokens = maybe_whole(body, "max_tokens", 1)
    chat.logprobs = maybe_whole(body, "logprobs", 0, 20)
    chat.stream_usage = read_stream_usage(body, losses)
    if body.get("echo") is False or body.get("echo") is None:
        body = {key: value for key, value in body.items() if key != "echo"}
    if body.get("best_of") in (None, 1, chat.n):
        body = {key: value for key, value in body.items() if key != "best_of"}
    report_unknown(body, _KNOWN, losses)
    return chat


def _prompt(body: Json) -> str:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt
    if prompt is None:
        raise Misfit("is missing", "prompt")
    if isinstance(prompt, list) and prompt and all(isinstance(one, str) for one in prompt):
        raise Misfit("must be one text: the model that serves this call takes no several at once", "prompt")
    raise Misfit("must be a text: the model that serves this call takes no tokens", "prompt")


_SPEAKERS = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant"}


def write_call(chat: Chat, traits: Traits, losses: Losses) -> Json:
    body = write_chat(chat, traits, Losses())
    for name in sorted(_NOT_HERE & body.keys()):
        if name != "messages" and name not in ("logprobs", "top_logprobs"):
            losses.drop(name)
        del body[name]
    if "max_completion_tokens" in body:
        body["max_tokens"] = body.pop("max_completion_tokens")
    if chat.logprobs is not None:
        body["logprobs"] = min(chat.logprobs, 5)
    return {"model": chat.model, "prompt": _transcript(chat, losses), **body}


def _transcript(chat: Chat, losses: Losses) -> str:
    """The prompt itself, or who said what; the model goes on as the assistant."""
    turns = [(message.role, _texts(message.parts, losses)) for message in chat.messages]
    if not any(text for _, text in turns):
        raise Invalid("messages: the API of this model takes only text.", param="messages")
    if len(turns) == 1 and turns[0][0] == "user":
        return turns[0][1]
    return "\n\n".join([*(f"{_SPEAKERS[role]}: {text}" for role, text in turns), "Assistant:"])


def _texts(parts: list[AnyPart], losses: Losses) -> str:
    texts = [part.text for part in parts if isinstance(part, Text)]
    if len(texts) < len(parts):
        losses.drop("messages.content")
    return "".join(texts)
