"""Messages of the common form into `instructions` and `input` of a Responses call."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from shin_gateway.translation.form import (
    AnyPart,
    Builtin,
    Chat,
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
from shin_gateway.translation.openai_responses.names import ORIGIN, Json

_EXTENSIONS = {"application/pdf": "pdf", "text/plain": "txt", "text/markdown": "md", "text/csv": "csv"}
_DETAILS = ("low", "high", "auto", "original")


def write_instructions(messages: list[Message]) -> tuple[str, list[Message]]:
    """The system's words that come first, and the messages that are left: what never changes stands at the start,
    where OpenAI's prompt cache wants it."""
    count = 0
    while count < len(messages) and messages[count].role == "system" and _is_text(messages[count]):
        count += 1
    texts = [part.text for message in messages[:count] for part in message.parts if isinstance(part, Text)]
    return "\n\n".join(texts), messages[count:]


def _is_text(message: Message) -> bool:
    return all(isinstance(part, Text) for part in message.parts)


class ItemWriter:
    """Writes the messages of one call."""

    def __init__(self, provider: str, losses: Losses) -> None:
        self._provider = provider
        self._losses = losses
        self._custom: set[str] = set()
        self._replies = 0
        self.items: list[Json] = []

    def write(self, messages: Iterable[Message]) -> list[Json]:
        for message in messages:
            if message.name:
                self._losses.drop("messages.name")
            if message.role == "assistant":
                self._of_model(message.parts)
            else:
                self._of_user(message)
        return self.items

    # What the caller says

    def _of_user(self, message: Message) -> None:
        content: list[Json] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                self.items.append(self._result(part))
            elif isinstance(part, Builtin):
                self._builtin(part)
            elif (written := self._content(part)) is not None:
                content.append(written)
        if content:
            self.items.append({"type": "message", "role": message.role, "content": content})

    def _content(self, part: AnyPart) -> Json | None:
        if part.cache:
            self._losses.soften("cache_control")
        if isinstance(part, Text):
            return {"type": "input_text", "text": part.text}
        if isinstance(part, Refused):
            return {"type": "input_text", "text": part.text}
        if isinstance(part, Media):
            return self._media(part)
        return None

    def _media(self, part: Media) -> Json | None:
        if part.file_id and not self._knows(part):
            self._losses.drop(f"messages.content.{part.kind}.file_id")
            return None
        if part.kind == "image":
            return _image(part)
        if part.kind == "document":
            return self._document(part)
        self._losses.drop(f"messages.content.{part.kind}")
        return None

    def _knows(self, part: Media) -> bool:
        return not part.origin or part.origin.startswith("openai") or part.origin == self._provider

    def _document(self, part: Media) -> Json:
        if part.citations:
            self._losses.drop("messages.content.citations")
        if part.file_id:
            return {"type": "input_file", "file_id": part.file_id}
        if part.url:
            return {"type": "input_file", "file_url": part.url}
        mime = part.mime or ("text/plain" if part.text else "application/pdf")
        data = part.data or base64.b64encode(part.text.encode("utf-8", "replace")).decode()
        return {
            "type": "input_file",
            "filename": part.name or f"document.{_EXTENSIONS.get(mime, 'bin')}",
            "file_data": f"data:{mime};base64,{data}",
        }

    def _result(self, part: ToolResult) -> Json:
        custom = part.custom or part.id in self._custom
        content = [written for one in part.parts if (written := self._content(one)) is not None]
        item: Json = {
            "type": "custom_tool_call_output" if custom else "function_call_output",
            "call_id": shorten(part.id, prefix="call_"),
            "output": _plainly(content),
        }
        if part.is_error:  # the API has no field for it; what the tool said has to speak for itself
            self._losses.soften("messages.content.is_error")
            if not custom:
                item["status"] = "incomplete"
        return item

    # What the model said

    def _of_model(self, parts: Iterable[AnyPart]) -> None:
        content: list[AnyPart] = []
        for part in parts:
            if isinstance(part, Text | Refused):
                content.append(part)
                continue
            self._reply(content)
            content = []
            self._other(part)
        self._reply(content)

    def _other(self, part: AnyPart) -> None:
        if isinstance(part, ToolUse):
            self.items.append(self._call(part))
        elif isinstance(part, Reasoning):
            self._reasoning(part)
        elif isinstance(part, Builtin):
            self._builtin(part)
        elif isinstance(part, Media):
            self._made(part)

    def _reply(self, content: list[AnyPart]) -> None:
        # An empty text says nothing, and some servers refuse it.
        said = [_said(part) for part in content if isinstance(part, Text | Refused) and part.text]
        if any(isinstance(part, Text) and part.citations and not _notes(part) for part in content):
            self._losses.soften("messages.content.annotations")
        if all(one["type"] == "output_text" and not one["annotations"] for one in said):
            self.items += [{"role": "assistant", "content": one["text"]} for one in said]
            return
        self._replies += 1
        self.items.append(
            {
                "type": "message",
                "role": "assistant",
                # Required in this form; the same on every turn, so that the prefix stays the same.
                "id": f"msg_{self._replies:032x}",
                "status": "completed",
                "content": said,
            }
        )

    def _call(self, part: ToolUse) -> Json:
        if part.seal:
            self._losses.soften("messages.tool_calls.signature")
        id, name = shorten(part.id, prefix="call_"), for_others(part.name)
        if part.custom:
            self._custom.add(part.id)
            return {"type": "custom_tool_call", "call_id": id, "name": name, "input": part.arguments}
        return {"type": "function_call", "call_id": id, "name": name, "arguments": part.arguments or "{}"}

    def _reasoning(self, part: Reasoning) -> None:
        if part.origin != ORIGIN or not part.seal:
            self._losses.soften("messages.reasoning")
            return
        item: Json = {"type": "reasoning", "id": part.id, "summary": [], "encrypted_content": part.seal}
        if part.text:
            item["summary"] = [{"type": "summary_text", "text": part.text}]
        self.items.append(item)

    def _builtin(self, part: Builtin) -> None:
        if part.origin == ORIGIN:
            self.items += part.raw
        else:
            self._losses.soften("messages.content.server_tools")

    def _made(self, part: Media) -> None:
        if part.kind == "image" and part.origin == ORIGIN and part.id and part.data:
            item = {"type": "image_generation_call", "id": part.id, "status": "completed", "result": part.data}
            self.items.append(item)
        elif part.text:  # of sound, what was said
            self._losses.soften("messages.content.audio")
            self._reply([Text(text=part.text)])
        else:
            self._losses.drop(f"messages.content.{part.kind}")


def _image(part: Media) -> Json:
    item: Json = {"type": "input_image", "detail": part.detail if part.detail in _DETAILS else "auto"}
    if part.file_id:
        return item | {"file_id": part.file_id}
    return item | {"image_url": part.url or f"data:{part.mime or 'image/png'};base64,{part.data}"}


def _plainly(content: list[Json]) -> Any:
    """One text is written as a string, as every server takes it."""
    if not content:
        return ""
    if len(content) == 1 and content[0]["type"] == "input_text":
        return content[0]["text"]
    return content


def _said(part: Text | Refused) -> Json:
    if isinstance(part, Refused):
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text, "annotations": _notes(part)}


def _notes(part: Text) -> list[Json]:
    return [one.raw for one in part.citations if one.origin == ORIGIN and one.raw]


def mentions_json(chat: Chat) -> bool:
    """OpenAI refuses `json_object` where no message says the word."""
    return any(
        "json" in part.text.casefold()
        for message in chat.messages
        if message.role != "system"
        for part in message.parts
        if isinstance(part, Text)
    )
