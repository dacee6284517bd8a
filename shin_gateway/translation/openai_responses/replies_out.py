"""Whole replies from the common form, as a client of the Responses API gets them."""

from __future__ import annotations

from shin_gateway.translation.form import (
    Answer,
    AnyPart,
    Builtin,
    Choice,
    Json,
    Media,
    Reasoning,
    Refused,
    Text,
    ToolUse,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_responses import items
from shin_gateway.translation.openai_responses.envelope import envelope, item_status, settle
from shin_gateway.translation.openai_responses.names import ORIGIN, namespaced
from shin_gateway.translation.openai_responses.sealing import carried, sealed
from shin_gateway.translation.translator import Origin


def write_reply(answer: Answer, origin: Origin, losses: Losses) -> Json:
    reply = envelope(origin)
    reply["created_at"] = answer.created or origin.created
    choice = answer.choices[0] if answer.choices else Choice(finish="filtered")
    if len(answer.choices) > 1:
        losses.soften("n")
    writer = _Writer(origin, choice, losses)
    for part in choice.parts:
        writer.part(part)
    writer.end_message()
    reply["output"] = writer.output
    refused = any(isinstance(part, Refused) for part in choice.parts)
    settle(reply, choice.finish, refused, answer.usage, answer.service_tier)
    if choice.finish == "paused":
        losses.soften("output.paused")
    return reply


class _Writer:
    def __init__(self, origin: Origin, choice: Choice, losses: Losses) -> None:
        self._call_id = origin.call_id
        self._spaces = namespaced(origin.body)
        self._losses = losses
        self._status = item_status(choice.finish)
        self._content: list[Json] = []
        self._logprobs = items.tokens(choice.logprobs or ()) if origin.chat.logprobs is not None else []
        self.output: list[Json] = []

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._call_id}_{len(self.output)}"

    def part(self, part: AnyPart) -> None:
        if isinstance(part, Text):
            self._text(part)
        elif isinstance(part, Refused):
            self._content.append(items.refusal(part.text))
        elif isinstance(part, Media) and part.kind != "image":
            self._media(part)
        else:
            self.end_message()
            self._item(part)

    def _text(self, part: Text) -> None:
        notes = [items.annotation(one, len(part.text), self._losses) for one in part.citations]
        logprobs, self._logprobs = self._logprobs, []
        self._content.append(items.output_text(part.text, [note for note in notes if note is not None], logprobs))

    def _media(self, part: Media) -> None:
        """Of sound this API can give only what was said."""
        self._losses.soften(f"output.{part.kind}")
        if part.text:
            self._text(Text(text=part.text))

    def end_message(self) -> None:
        if self._content:
            self.output.append(items.message(self._id("msg"), self._content, self._status))
            self._content = []

    def _item(self, part: AnyPart) -> None:
        if isinstance(part, ToolUse):
            if part.seal:
                self.output.append(items.reasoning(self._id("rs"), "", encrypted=carried(part)))
            id = self._id("ctc" if part.custom else "fc")
            arguments = part.arguments or ("" if part.custom else "{}")
            self.output.append(items.call(id, part, self._spaces, arguments, "completed"))
        elif isinstance(part, Reasoning):
            self._reasoning(part)
        elif isinstance(part, Builtin):
            self.output += items.step(part, self._id("ws"), self._losses)
        elif isinstance(part, Media):
            self.output.append(items.image(part.id or self._id("ig"), part.data, part.mime, "completed"))

    def _reasoning(self, part: Reasoning) -> None:
        ours = part.origin == ORIGIN
        id = part.id if ours and part.id else self._id("rs")
        raw = ours and not part.summary
        summary, content = ("", part.text) if raw else (part.text, "")
        self.output.append(items.reasoning(id, summary, content, sealed(part)))
