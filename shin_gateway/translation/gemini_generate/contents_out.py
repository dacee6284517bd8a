"""Messages into `contents` and `systemInstruction`.

Roles alternate: neighbours of one role become one content. Results of tools come right after the calls, in their
order: models that match no ids go by it.

Source: ai.google.dev/gemini-api/docs/function-calling
"""

from __future__ import annotations

from typing import Any

import msgspec

from shin_gateway.errors import Invalid
from shin_gateway.translation.form import (
    AnyPart,
    Chat,
    Json,
    Media,
    Message,
    Reasoning,
    Refused,
    Text,
    ToolResult,
    ToolUse,
)
from shin_gateway.translation.gemini_generate.fields import NAME
from shin_gateway.translation.gemini_generate.media_out import write_media
from shin_gateway.translation.gemini_generate.models import Model
from shin_gateway.translation.gemini_generate.signatures import SKIP
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.names import for_gemini
from shin_gateway.translation.translator import Traits

_SYSTEM = ("system", "developer")


class ContentWriter:
    def __init__(self, model: Model, traits: Traits, losses: Losses) -> None:
        self._model = model
        self._traits = traits
        self._losses = losses
        self._calls: dict[str, str] = {}
        """Names of the tools that were called, by the call's id, in order."""
        self._contents: list[Json] = []
        self._system: list[Json] = []

    def write(self, chat: Chat) -> Json:
        """`contents`, and `systemInstruction` where there is one. Raises Invalid."""
        for at, message in enumerate(chat.messages):
            self._message(message, at)
        if not self._contents and not self._system:
            raise Invalid("messages: nothing is said in them.", param="messages")
        if not self._contents:  # Gemini wants a content; a prompt of the system's alone is one
            return {"contents": [{"role": "user", "parts": self._system}]}
        out: Json = {"contents": self._contents}
        if self._system and self._model.instructs:
            out["systemInstruction"] = {"parts": self._system}
        elif self._system:
            self._begin_with(self._system)
        self._match()
        if self._model.is_third:
            self._require_signatures()
        if self._contents[-1]["role"] == "model" and not self._model.samples:
            self._losses.soften("messages.prefill")  # an answer that is begun, which newer models refuse to go on with
            self._contents.append({"role": "user", "parts": [{"text": "Please go on."}]})
        return out

    def _message(self, message: Message, at: int) -> None:
        if message.name:
            self._losses.drop("messages.name")
        if message.role in _SYSTEM:
            return self._instruct(message, at)
        parts: list[Json] = []
        for place, part in enumerate(message.parts):
            self._part(part, parts, f"messages[{at}].content[{place}]" if isinstance(part, Media) else "", at)
        if not parts:
            return None
        role = "model" if message.role == "assistant" else "user"
        if self._contents and self._contents[-1]["role"] == role:
            self._contents[-1]["parts"] += parts
        else:
            self._contents.append({"role": role, "parts": parts})
        return None

    def _instruct(self, message: Message, at: int) -> None:
        if any(part.cache for part in message.parts):
            self._losses.soften("cache_control")
        texts = [part.text for part in message.parts if isinstance(part, Text) and part.text]
        if len(texts) < sum(not isinstance(part, Text) for part in message.parts):
            self._losses.drop("messages.content")
        if not self._contents:
            self._system += [{"text": text} for text in texts]
            return
        # There is one instruction, before all. A later one keeps its place, marked for what it is.
        parts: list[AnyPart] = [Text(text=f"<system>\n{text}\n</system>") for text in texts]
        self._message(Message(role="user", parts=parts), at)

    def _part(self, part: AnyPart, out: list[Json], place: str, at: int) -> None:
        if part.cache:
            self._losses.soften("cache_control")
        if isinstance(part, Text | Refused):
            if part.text:
                out.append({"text": part.text})
        elif isinstance(part, Media):
            if (written := write_media(part, place, self._traits, self._losses)) is not None:
                out.append(written)
        elif isinstance(part, ToolUse):
            out.append(self._call(part))
        elif isinstance(part, ToolResult):
            out += self._result(part, at)
        elif isinstance(part, Reasoning):
            self._thought(part, out)
        elif part.origin == NAME:
            out += part.raw
        else:
            self._losses.soften("messages.content.server_tools")

    def _thought(self, part: Reasoning, out: list[Json]) -> None:
        if part.origin != NAME:
            self._losses.soften("messages.reasoning")
        elif part.text:
            out.append({"text": part.text, "thought": True, **_signature(part.seal)})
        elif part.seal and out and out[-1].keys() <= {"text", "inlineData"}:
            out[-1]["thoughtSignature"] = part.seal  # it came with that text or image
        elif part.seal:
            out.append({"text": "", "thoughtSignature": part.seal})

    def _call(self, part: ToolUse) -> Json:
        self._calls[part.id] = part.name
        call: Json = {"name": for_gemini(part.name), "args": arguments(part)}
        if part.id:
            call["id"] = part.id
        own = part.seal if part.origin in (NAME, "") else ""
        return {"functionCall": call, **_signature(own)}

    def _result(self, part: ToolResult, at: int) -> list[Json]:
        name = self._calls.get(part.id)
        if name is None:
            field = f"messages[{at}]"
            raise Invalid(f"{field}: the result of a tool answers no call that came before.", param=field)
        texts = [one.text for one in part.parts if isinstance(one, Text)]
        files = [one for one in part.parts if isinstance(one, Media)]
        response: Json = {"error" if part.is_error else "output": "\n".join(texts)}
        answer: Json = {"name": for_gemini(name), "response": response}
        if part.id:
            answer["id"] = part.id
        place = f"messages[{at}].content"
        written = [write_media(one, place, self._traits, self._losses) for one in files]
        media = [one for one in written if one is not None]
        if media and self._model.is_third:
            answer["parts"] = media
            media = []
        return [{"functionResponse": answer}, *media]

    def _begin_with(self, parts: list[Json]) -> None:
        """The instruction as the beginning of what the user says."""
        self._losses.soften("messages.role")
        if self._contents[0]["role"] == "user":
            self._contents[0]["parts"] = parts + self._contents[0]["parts"]
        else:
            self._contents.insert(0, {"role": "user", "parts": parts})

    def _match(self) -> None:
        """Put results first and in the order of their calls, and take the ids out for models that do not match them."""
        places = {id: place for place, id in enumerate(self._calls)}
        for content in self._contents:
            results = [part for part in content["parts"] if "functionResponse" in part]
            if results:
                results.sort(key=lambda part: places.get(part["functionResponse"].get("id", ""), 0))
                content["parts"] = results + [part for part in content["parts"] if "functionResponse" not in part]
            if not self._model.matches_ids:
                for part in content["parts"]:
                    (part.get("functionCall") or part.get("functionResponse") or {}).pop("id", None)

    def _require_signatures(self) -> None:
        """The first function call of each step must have one; those of other models have none of Gemini's."""
        for content in self._contents:
            first = next((part for part in content["parts"] if "functionCall" in part), None)
            if first is not None and "thoughtSignature" not in first:
                first["thoughtSignature"] = SKIP


def _signature(seal: str) -> Json:
    return {"thoughtSignature": seal} if seal else {}


def arguments(part: ToolUse) -> Json:
    """The arguments as an object; free text, and what is no JSON, under `input`."""
    if not part.arguments.strip():
        return {}
    found: Any = part.arguments
    if not part.custom:
        try:
            found = msgspec.json.decode(part.arguments)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            found = part.arguments
    return found if isinstance(found, dict) else {"input": found}
