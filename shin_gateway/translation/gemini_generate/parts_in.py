"""One part of a content, of a call or of a reply.

Source: ai.google.dev/api/caching#Part
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, cast

import msgspec

from shin_gateway.errors import Invalid
from shin_gateway.translation import media
from shin_gateway.translation.form import AnyPart, Builtin, Json, Media, Reasoning, Text, ToolResult, ToolUse
from shin_gateway.translation.gemini_generate.fields import NAME, Fields, drop
from shin_gateway.translation.gemini_generate.signatures import unsealed
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_common import Misfit, maybe_flag, maybe_list, maybe_string, string

_PLACE = "contents.parts."
_DATA = (
    "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult",
    "toolCall", "toolResponse",
)  # fmt: skip
_BESIDE = ("videoMetadata", "partMetadata", "mediaProcessing", "audioTranscription", "speechMetadata",
           "documentMetadata", "spreadsheetMetadata", "audioMetadata")  # fmt: skip
_PART = Fields(*_DATA, *_BESIDE, "thought", "thoughtSignature", "mediaResolution")
_BLOB = Fields("mimeType", "data", "displayName")
_FILE = Fields("mimeType", "fileUri", "displayName")
_CALL = Fields("id", "name", "args", "partialArgs", "willContinue")
_RESPONSE = Fields("id", "name", "response", "parts", "willContinue", "scheduling")
_INNER = Fields("inlineData", "fileData", "mediaResolution", *_BESIDE)
_DETAILS = {"MEDIA_RESOLUTION_LOW": "low", "MEDIA_RESOLUTION_MEDIUM": "auto", "MEDIA_RESOLUTION_HIGH": "high",
            "MEDIA_RESOLUTION_ULTRA_HIGH": "high"}  # fmt: skip
_RAW_SOUND = ("audio/l16", "audio/pcm")
"""Samples without a head: the rate stands in the type."""
_FETCHED = ("https://", "http://")
_FILES_API = "generativelanguage.googleapis.com/"


class PartReader:
    """Reads parts one after the other. What the form has no place for is reported."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._readers: dict[str, Callable[[Json, str], AnyPart]] = {
            "inlineData": self._inline,
            "fileData": self._file,
            "functionCall": self._call,
            "functionResponse": self._response,
        }

    def read(self, row: Any, place: str, found: list[AnyPart]) -> None:
        """Add what a part says to `found`. Raises Misfit, which names the field below the part."""
        if isinstance(row, str):
            row = {"text": row}
        part = _PART.of(row, _PLACE, self._losses)
        signature = maybe_string(part, "thoughtSignature") if "thoughtSignature" in part else ""
        kind = next((name for name in _DATA if part.get(name) is not None), "")
        if len(part) > 1 or not kind:
            drop(part, _PLACE, self._losses, _BESIDE)
        if kind == "text" or (not kind and signature):
            return self._text(part, signature, found)
        if not kind:
            return None
        if kind not in self._readers:
            found.append(_builtin(kind, part))  # its signature stands in it
            return None
        new = self._readers[kind](part, place)
        if isinstance(new, ToolUse):
            _sign(new, signature, found)
            found.append(new)
        else:
            found.append(new)
            _seal(signature, found)
        return None

    def _text(self, part: Json, signature: str, found: list[AnyPart]) -> None:
        text = maybe_string(part, "text")
        if maybe_flag(part, "thought"):
            thought = Reasoning(text=text, summary=True, origin=NAME)
            if signature:
                _unseal(thought, signature)
            if text or thought.seal:
                found.append(thought)
            return
        if text:
            found.append(Text(text=text))
        if signature:
            _seal(signature, found)

    def _inline(self, part: Json, place: str) -> AnyPart:
        blob = _in("inlineData", _BLOB, part, self._losses)
        try:
            data = string(blob, "data")
            mime = _type(maybe_string(blob, "mimeType").lower())
            name = maybe_string(blob, "displayName")
        except Misfit as wrong:
            raise wrong.within("inlineData") from None
        data = _base64(data, f"{place}.inlineData.data")
        mime = mime or media.sniff_base64(data)
        new = Media(kind=cast(Any, media.kind_of(mime)), mime=mime, data=data, name=name, detail=_detail(part))
        if mime.startswith("text/"):
            _as_text(new)
        return new

    def _file(self, part: Json, place: str) -> AnyPart:
        file = _in("fileData", _FILE, part, self._losses)
        try:
            uri, mime = string(file, "fileUri"), maybe_string(file, "mimeType").lower()
            name = maybe_string(file, "displayName")
        except Misfit as wrong:
            raise wrong.within("fileData") from None
        new = Media(kind=cast(Any, media.kind_of(mime)), mime=mime, name=name, detail=_detail(part))
        if is_video_page(uri):
            new.kind = "video"
        if uri.startswith(_FETCHED) and _FILES_API not in uri:
            new.url = uri
        else:  # a file of Google's: the Files API, a bucket
            new.file_id, new.origin = uri, NAME
        return new

    def _call(self, part: Json, place: str) -> AnyPart:
        call = _in("functionCall", _CALL, part, self._losses)
        drop(call, "contents.parts.functionCall.", self._losses, ("partialArgs",))
        try:
            args = call.get("args")
            if args is not None and not isinstance(args, dict):
                raise Misfit("must be an object", "args")
            return ToolUse(
                id=maybe_string(call, "id"), name=string(call, "name"), arguments=json_text(args or {}), origin=NAME
            )
        except Misfit as wrong:
            raise wrong.within("functionCall") from None

    def _response(self, part: Json, place: str) -> AnyPart:
        answer = _in("functionResponse", _RESPONSE, part, self._losses)
        drop(answer, "contents.parts.functionResponse.", self._losses, ("willContinue", "scheduling"))
        try:
            result = _result(answer)
            for at, row in enumerate(maybe_list(answer, "parts")):
                inner = _INNER.of(row, "contents.parts.functionResponse.parts.", self._losses)
                drop(inner, "contents.parts.functionResponse.parts.", self._losses, _BESIDE)
                read = self._inline if inner.get("inlineData") is not None else self._file
                result.parts.append(cast(Media, read(inner, f"{place}.functionResponse.parts[{at}]")))
            return result
        except Misfit as wrong:
            raise wrong.within("functionResponse") from None


def _in(name: str, fields: Fields, part: Json, losses: Losses) -> Json:
    try:
        return fields.of(part.get(name), f"{_PLACE}{name}.", losses)
    except Misfit as wrong:
        raise wrong.within(name) from None


def _result(answer: Json) -> ToolResult:
    result = ToolResult(id=maybe_string(answer, "id"), name=string(answer, "name"), parts=[])
    response = answer.get("response")
    if response is not None and not isinstance(response, dict):
        raise Misfit("must be an object", "response")
    if response:
        value = _said(response, result.name)
        result.is_error = response.keys() == {"error"}
        result.parts.append(Text(text=value if isinstance(value, str) else json_text(value)))
    return result


def _said(response: Json, tool: str) -> Any:
    """`{output: …}` and `{error: …}` are the API's own words, `{result: …}` is what its SDKs write, and
    `{name, content}` what Vercel's does."""
    if len(response) == 1:
        key = next(iter(response))
        return response[key] if key in ("output", "result", "error") else response
    if response.keys() == {"name", "content"} and response["name"] == tool:
        return response["content"]
    return response


def json_text(value: Any) -> str:
    """A value as JSON text. Raises Misfit for what is no valid Unicode."""
    try:
        return msgspec.json.encode(value).decode()
    except (msgspec.MsgspecError, UnicodeEncodeError, OverflowError, RecursionError):
        raise Misfit("holds text that is no valid Unicode, or is nested too deeply") from None


def _base64(data: str, place: str) -> str:
    try:
        return media.checked_base64(data, place)
    except Invalid:
        raise Misfit("is broken base64", "inlineData", "data") from None


def _type(mime: str) -> str:
    """Without parameters, unless they alone say how to hear it."""
    plain = mime.partition(";")[0].strip()
    return mime if plain in _RAW_SOUND else plain


def _as_text(new: Media) -> None:
    try:
        new.text = base64.b64decode(new.data).decode()
    except ValueError:
        return
    new.data = "" if new.text else new.data


def _detail(part: Json) -> str:
    level = part.get("mediaResolution")
    word = level.get("level") if isinstance(level, dict) else level
    return _DETAILS.get(word, "") if isinstance(word, str) else ""


def is_video_page(uri: str) -> bool:
    """YouTube, which Gemini watches by itself."""
    host = uri.partition("://")[2].partition("/")[0].lower()
    return host in ("www.youtube.com", "youtube.com", "youtu.be", "m.youtube.com")


def _builtin(kind: str, part: Json) -> Builtin:
    """A step of code execution, or of another tool that runs at Google."""
    inner = part[kind]
    if not isinstance(inner, dict):
        return Builtin(kind=kind, raw=[part], origin=NAME)
    if kind == "toolCall":
        return Builtin(kind=_tool_of(inner), raw=[part], text=_asked(inner.get("args")), origin=NAME)
    text = next((inner[name] for name in ("code", "output") if isinstance(inner.get(name), str)), "")
    common = "code_execution" if kind in ("executableCode", "codeExecutionResult") else kind
    return Builtin(kind=common, raw=[part], text=text, origin=NAME)


_TOOLS = {"GOOGLE_SEARCH_WEB": "web_search", "URL_CONTEXT": "url_context", "FILE_SEARCH": "file_search"}


def _tool_of(call: Json) -> str:
    kind = call.get("toolType")
    return _TOOLS.get(kind, "toolCall") if isinstance(kind, str) else "toolCall"


def _asked(args: Any) -> str:
    """What a tool at Google was asked: its queries or addresses."""
    for asked in args.values() if isinstance(args, dict) else ():
        words = asked if isinstance(asked, list) else [asked]
        if words and all(isinstance(word, str) for word in words):
            return "\n".join(words)
    return ""


def _sign(call: ToolUse, signature: str, found: list[AnyPart]) -> None:
    """The signature of a function call: Gemini's own, or the thoughts of another provider that led to the call."""
    thoughts = unsealed(signature) if signature else []
    if not thoughts:
        call.seal = signature
        return
    call.origin = ""
    found += thoughts


def _unseal(thought: Reasoning, signature: str) -> None:
    foreign = next(iter(unsealed(signature)), None)
    if foreign is None:
        thought.seal = signature
        return
    thought.seal, thought.id, thought.origin = foreign.seal, foreign.id, foreign.origin
    thought.redacted, thought.summary = foreign.redacted, False


def _seal(signature: str, found: list[AnyPart]) -> None:
    """The signature of a text or an image. The form keeps it as thoughts without words that follow."""
    if signature:
        found += unsealed(signature) or [Reasoning(seal=signature, origin=NAME)]
