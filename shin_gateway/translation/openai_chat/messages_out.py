"""Messages of the common form as Chat Completions has them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from shin_gateway.translation.custom_tools import wrap
from shin_gateway.translation.form import (
    AnyPart,
    Builtin,
    Media,
    Message,
    Reasoning,
    Refused,
    Text,
    ToolResult,
    ToolUse,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.names import for_others, shorten
from shin_gateway.translation.openai_chat.content_out import ContentWriter
from shin_gateway.translation.openai_chat.reasoning import (
    FIELDS,
    OPAQUE,
    ORIGIN,
    opaque_of,
    write_detail,
    write_tool_seal,
)
from shin_gateway.translation.translator import Traits

Json = dict[str, Any]

_SHORT, _LONGEST = 9, 40
_SAID = ("content", "refusal", "tool_calls", "audio", "reasoning_details", *FIELDS)
"""What a message of the model's may be made of."""


class MessageWriter:
    """Writes the messages of one call, in order."""

    def __init__(self, traits: Traits, losses: Losses) -> None:
        words = traits.words
        self._losses = losses
        self._content = ContentWriter(traits, losses)
        self._names = words.get("names") != "no"
        self._developer = words.get("developer", "developer")
        self._id: Callable[[str], str] = _short if words.get("tool_ids") == "short" else _id
        self._custom = words.get("custom_tools") != "no"
        self._after_tool = words.get("after_tool", "")
        self._thoughts = words.get("past_reasoning", "")
        self._seals = words.get("tool_seals") == "yes"
        self._done: list[Json] = []

    def write(self, messages: list[Message]) -> list[Json]:
        for message in messages:
            if message.role == "assistant":
                self._of_model(message)
            elif message.role == "user":
                self._user(message)
            else:
                self._system(message)
        return self._done

    def _put(self, written: Json, message: Message) -> None:
        if message.name:
            if self._names:
                written["name"] = message.name
            else:
                self._losses.drop("messages.name")
        self._done.append(written)

    def _system(self, message: Message) -> None:
        texts: list[Text | Media] = [part for part in message.parts if isinstance(part, Text)]
        if len(texts) < len(message.parts):
            self._losses.drop("messages.content")
        role = self._developer if message.role == "developer" else "system"
        self._put({"role": role, "content": self._content.content(texts)}, message)

    # A user's message: results of tools stand alone, and directly after the call.

    def _user(self, message: Message) -> None:
        if not any(isinstance(part, ToolResult) for part in message.parts):
            content = self._content.content(self._shown(message.parts))
            if content or not _is_lost(message):
                self._put({"role": "user", "content": content}, message)
            return
        rest: list[Text | Media] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                rest += self._result(part)
        rest += self._shown([part for part in message.parts if not isinstance(part, ToolResult)])
        if not rest:
            return
        if self._after_tool:
            self._done.append({"role": "assistant", "content": self._after_tool})
        self._put({"role": "user", "content": self._content.content(rest)}, message)

    def _shown(self, parts: list[AnyPart]) -> list[Text | Media]:
        shown: list[Text | Media] = []
        for part in parts:
            if isinstance(part, Text | Media):
                shown.append(part)
            elif isinstance(part, Refused):
                shown.append(Text(text=part.text))
            else:
                self._losses.drop("messages.content")
        return shown

    def _result(self, part: ToolResult) -> list[Text | Media]:
        """Puts the tool's message; gives back what is no text, which only a user's message can hold."""
        if part.cache:
            self._losses.soften("cache_control")
        text = "\n".join([one.text for one in part.parts if isinstance(one, Text)])
        if part.is_error and not text[:40].lower().lstrip("<").startswith(("error", "tool_use_error")):
            text = f"Error: {text}"
        media: list[Text | Media] = [one for one in part.parts if isinstance(one, Media)]
        id = self._id(part.id)
        self._done.append({"role": "tool", "tool_call_id": id, "content": text})
        return [Text(text=f"Attached to the result of tool call {id}:"), *media] if media else []

    # An assistant's message

    def _of_model(self, message: Message) -> None:
        written = self._assistant(message)
        if any(written.get(name) for name in _SAID) or not _is_lost(message):
            self._put(written, message)

    def _assistant(self, message: Message) -> Json:
        written: Json = {"role": "assistant", "content": None}
        texts: list[str] = []
        calls: list[Json] = []
        thoughts: list[Reasoning] = []
        for part in message.parts:
            if part.cache:
                self._losses.soften("cache_control")
            if isinstance(part, Text):
                texts.append(part.text)
            elif isinstance(part, ToolUse):
                calls.append(self._call(part))
            elif isinstance(part, Reasoning):
                thoughts.append(part)
            elif isinstance(part, Refused):
                written["refusal"] = f"{written.get('refusal', '')}{part.text}"
            else:
                self._other(part, written, texts)
        written["content"] = "".join(texts) if texts else None
        if calls:
            written["tool_calls"] = calls
        if thoughts:
            self._think(thoughts, written)
        if written["content"] is None and not written.keys() & {"tool_calls", "refusal", "audio"}:
            written["content"] = ""
        return written

    def _other(self, part: Media | Builtin | ToolResult, written: Json, texts: list[str]) -> None:
        if isinstance(part, Media) and part.kind == "audio" and part.id and part.origin == ORIGIN:
            written["audio"] = {"id": part.id}
        elif isinstance(part, Media) and part.text:
            texts.append(part.text)
        elif isinstance(part, Builtin):
            self._losses.drop("messages.content.server_tools")
        else:
            self._losses.drop("messages.content")

    def _call(self, part: ToolUse) -> Json:
        name = for_others(part.name)
        call: Json = {"id": self._id(part.id), "type": "function"}
        if not part.custom:
            call["function"] = {"name": name, "arguments": part.arguments or "{}"}
        elif self._custom:
            call |= {"type": "custom", "custom": {"name": name, "input": part.arguments}}
        else:
            call["function"] = {"name": name, "arguments": wrap(part.arguments)}
        if part.seal and self._seals:
            call["extra_content"] = write_tool_seal(part)
        return call

    def _think(self, thoughts: list[Reasoning], written: Json) -> None:
        text = "\n\n".join([part.text for part in thoughts if part.text])
        if self._thoughts in FIELDS and text:
            written[self._thoughts] = text
            if self._thoughts == "reasoning_text" and (seal := opaque_of(thoughts)):
                written[OPAQUE] = seal
        elif self._thoughts == "thinking" and text:
            written["content"] = _thinking(text, written["content"])
        elif self._thoughts == "reasoning_details" and (text or any(part.seal for part in thoughts)):
            self._details(thoughts, text, written)
        else:
            self._losses.soften("messages.reasoning")

    def _details(self, thoughts: list[Reasoning], text: str, written: Json) -> None:
        own = [part for part in thoughts if part.seal and part.origin == ORIGIN]
        if own:
            written["reasoning_details"] = [write_detail(part, index) for index, part in enumerate(own)]
        elif text:
            written["reasoning"] = text


def _is_lost(message: Message) -> bool:
    """Whether it was of parts that this API has no way to say; what says nothing at all, servers refuse."""
    return bool(message.parts) and not any(isinstance(part, Text | Refused) for part in message.parts)


def _thinking(text: str, content: Any) -> list[Json]:
    entries: list[Json] = [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]
    return [*entries, {"type": "text", "text": content}] if content else entries


def _id(id: str) -> str:
    """As OpenAI takes it: up to 40 characters."""
    return shorten(id, _LONGEST, "call_")


def _short(id: str) -> str:
    """Nine letters and digits, the same for the same id; one that fits stays."""
    if len(id) == _SHORT and id.isascii() and id.isalnum():
        return id
    digest = hashlib.sha256(id.encode("utf-8", "replace")).digest()
    return base64.b32encode(digest).decode()[:_SHORT].lower()
