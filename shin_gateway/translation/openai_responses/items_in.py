"""`input` of a call: items into messages.

What follows one another of the model's (thoughts, texts, tool calls) makes one message, and so do results of tools.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from shin_gateway.translation.form import AnyPart, Media, Message, Text, ToolResult, ToolUse
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_common import Misfit, as_record, each, maybe_list, maybe_string, string
from shin_gateway.translation.openai_responses.content_in import read_content
from shin_gateway.translation.openai_responses.names import ORIGIN, Json, flat_name
from shin_gateway.translation.openai_responses.sealing import opened
from shin_gateway.translation.openai_responses.steps import OF_USER, step
from shin_gateway.translation.openai_responses.tools_in import ToolReader

Role = Literal["system", "developer", "user", "assistant"]
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
}


class ItemReader:
    """Reads the items of one call."""

    def __init__(self, tools: ToolReader, losses: Losses) -> None:
        self._tools = tools
        self._losses = losses
        self._calls: dict[str, ToolUse] = {}
        self._steps: set[str] = set()
        """Ids of calls of OpenAI's own tools that the client runs: Codex gives results of its shell as a function's."""
        self._seals: list[ToolUse] = []
        self.messages: list[Message] = []

    def read(self, body: Json) -> None:
        """`input`. Raises Misfit."""
        value = body.get("input")
        if isinstance(value, str):
            self.messages.append(Message(role="user", parts=[Text(text=value)]))
        elif isinstance(value, list):
            each(value, self._item, "input")
            self._return_seals()
        elif value is not None:
            raise Misfit("must be a string or a list of items", "input")

    def _item(self, value: Any) -> None:
        item = as_record(value)
        kind = maybe_string(item, "type") or ("message" if "role" in item else "")
        if not kind and "id" in item and item.keys() <= {"type", "id"}:
            kind = "item_reference"
        if not kind:
            raise Misfit("is missing", "type")
        read = self._READERS.get(kind)
        if read is not None:
            read(self, item)
        else:
            self._step(item, kind)

    def _step(self, item: Json, kind: str) -> None:
        self._steps.add(maybe_string(item, "call_id"))
        self._add("user" if kind in OF_USER else "assistant", step(item, kind))

    def _add(self, role: Role, part: AnyPart) -> None:
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role == role and (role == "assistant" or isinstance(last.parts[-1], ToolResult)):
            last.parts.append(part)
        else:
            self.messages.append(Message(role=role, parts=[part]))

    def _message(self, item: Json) -> None:
        role = _ROLES.get(string(item, "role"))
        if role is None:
            raise Misfit(f"must be one of {', '.join(_ROLES)}", "role")
        parts = read_content(item, "content", self._losses)
        if item.get("phase") is not None:
            self._losses.soften("input.phase")
        if role == "assistant":
            for part in parts:
                self._add(role, part)
        elif parts:
            self.messages.append(Message(role=role, parts=parts))

    def _reasoning(self, item: Json) -> None:
        summary, content = _texts(item, "summary"), _texts(item, "content")
        text = "\n\n".join([*summary, *content])
        part = opened(maybe_string(item, "encrypted_content"), maybe_string(item, "id"), text, bool(summary))
        if isinstance(part, ToolUse):
            self._seals.append(part)
        elif part.text or part.seal:
            self._add("assistant", part)

    def _call(self, item: Json) -> None:
        custom = item["type"] == "custom_tool_call"
        part = ToolUse(
            id=_id(item),
            name=flat_name(maybe_string(item, "namespace"), string(item, "name")),
            arguments=string(item, "input" if custom else "arguments"),
            custom=custom,
            origin=ORIGIN,
        )
        self._calls[part.id] = part
        self._add("assistant", part)

    def _result(self, item: Json) -> None:
        parts = read_content(item, "output", self._losses)
        kept = [part for part in parts if isinstance(part, Text | Media)]
        if len(kept) < len(parts):
            self._losses.drop("input.output.refusal")
        if item.get("call_id") is None and (name := maybe_string(item, "name")):
            # Of a tool that runs on by itself (`async`), and answers no call.
            self.messages.append(Message(role="user", parts=[Text(text=f"Output of the tool {name}:"), *kept]))
            return
        id = _id(item)
        call = self._calls.get(id)
        if call is None:
            if id not in self._steps:
                raise Misfit("names no tool call of an earlier item", "call_id")
            self._add("user", step(item, item["type"]))
            return
        self._add(
            "user",
            ToolResult(
                id=id,
                parts=kept,
                # The only place that the API has for it; see items_out.
                is_error=item.get("status") == "incomplete",
                name=call.name,
                custom=item["type"] == "custom_tool_call_output",
            ),
        )

    def _image(self, item: Json) -> None:
        data = maybe_string(item, "result")
        format = item.get("output_format")
        mime = f"image/{format}" if format in ("png", "webp", "jpeg", "gif") else "image/png"
        if data:
            id = maybe_string(item, "id")
            self._add("assistant", Media(kind="image", mime=mime, data=data, id=id, origin=ORIGIN))

    def _more_tools(self, item: Json) -> None:
        self._tools.read(item)

    def _found_tools(self, item: Json) -> None:
        """Tools that a search of the model's brought in, which other models have to be told of like any."""
        self._tools.read(item)
        self._add("assistant", step(item, "tool_search_output"))

    def _reference(self, item: Json) -> None:
        id = string(item, "id")
        if not id.startswith("rs_"):  # thoughts alone may be missing
            raise Misfit("names an item that the provider keeps; this model is served elsewhere, send the item", "id")
        self._losses.soften("input.item_reference")

    def _return_seals(self) -> None:
        for seal in self._seals:
            if (call := self._calls.get(seal.id)) is not None:
                call.seal, call.origin = seal.seal, seal.origin

    _READERS: ClassVar[dict[str, Callable[[ItemReader, Json], None]]] = {
        "message": _message,
        "reasoning": _reasoning,
        "function_call": _call,
        "custom_tool_call": _call,
        "function_call_output": _result,
        "custom_tool_call_output": _result,
        "image_generation_call": _image,
        "additional_tools": _more_tools,
        "tool_search_output": _found_tools,
        "item_reference": _reference,
    }


def _id(item: Json) -> str:
    id = string(item, "call_id")
    if not id:
        raise Misfit("must not be empty", "call_id")
    return id


def _texts(item: Json, name: str) -> list[str]:
    return each(maybe_list(item, name), lambda one: string(as_record(one), "text"), name)
