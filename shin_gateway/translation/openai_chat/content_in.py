"""The parts of a message's `content`, as Chat Completions writes them, into the common form."""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any

from shin_gateway.translation.form import AnyPart, Media, Part, Reasoning, Refused, Text
from shin_gateway.translation.openai_chat.reasoning import ORIGIN
from shin_gateway.translation.openai_common import (
    Misfit,
    as_record,
    data_url,
    each,
    maybe_list,
    maybe_string,
    record,
    string,
)

Json = dict[str, Any]

AUDIO = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "m4a": "audio/mp4",
    "pcm16": "audio/pcm",
}
"""`format` of sound, and its MIME type."""


def read_content(owner: Json, losses_of: Callable[[str], None]) -> list[AnyPart]:
    """`content`: a string, a list of parts, or null. `losses_of` is told what an entry has beyond the form."""
    content = owner.get("content")
    if isinstance(content, str):
        return [Text(text=content)]
    if content is None:
        return []
    if not isinstance(content, list):
        raise Misfit("must be a string or a list of parts", "content")
    return each(content, lambda item: _part(item, losses_of), "content")


def _part(item: Any, losses_of: Callable[[str], None]) -> AnyPart:
    kind = as_record(item).get("type")
    read = _KINDS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise Misfit("is missing" if kind is None else f"must be one of {', '.join(_KINDS)}", "type")
    part: AnyPart = read(item)
    for key in item.keys() - _KNOWN if len(item) > 2 else ():
        if item[key] is not None:
            losses_of(key)
    part.cache = cache_of(item) if len(item) > 2 else ""
    return part


_KNOWN = frozenset(
    {"type", "text", "image_url", "input_audio", "file", "refusal", "thinking", "closed", "id"}
    | {"video_url", "audio_url", "document_url", "document_name"}
    | {"annotations", "cache_control", "prompt_cache_breakpoint", "copilot_cache_control"}
)


CACHE_MARKS = ("cache_control", "prompt_cache_breakpoint", "copilot_cache_control")
"""OpenRouter's, as Anthropic has it, OpenAI's, and Copilot's."""


def cache_of(item: Json) -> Any:
    """How long the caller wants what ends here to be cached; empty where nothing is said."""
    mark = next((item[name] for name in CACHE_MARKS if item.get(name)), None)
    if not isinstance(mark, dict):
        return ""
    return "1h" if mark.get("ttl") in ("1h", "12h") else "5m"


def _text(item: Json) -> Part:
    return Text(text=string(item, "text"))


def _refusal(item: Json) -> Part:
    return Refused(text=string(item, "refusal"))


def _image(item: Json) -> Part:
    value = item.get("image_url")
    if isinstance(value, str):  # Ollama and Mistral take it so
        return _located(value, "image_url", Media(kind="image"))
    inner = record(item, "image_url")
    try:
        return _located(string(inner, "url"), "url", Media(kind="image", detail=maybe_string(inner, "detail")))
    except Misfit as wrong:
        raise wrong.within("image_url") from None


def _video(item: Json) -> Part:
    return _by_url(item, "video_url", Media(kind="video"))


def _sound(item: Json) -> Part:
    return _by_url(item, "audio_url", Media(kind="audio"))


def _page(item: Json) -> Part:
    return _by_url(item, "document_url", Media(kind="document", name=maybe_string(item, "document_name")))


def _by_url(item: Json, name: str, part: Media) -> Part:
    """What vLLM and Mistral have besides: `{url}`, or the URL itself."""
    value = item.get(name)
    if isinstance(value, str):
        return _located(value, name, part)
    inner = record(item, name)
    try:
        return _located(string(inner, "url"), "url", part)
    except Misfit as wrong:
        raise wrong.within(name) from None


def _located(url: str, field: str, part: Media) -> Media:
    try:
        found = data_url(url)
    except Misfit as wrong:
        raise wrong.within(field) from None
    if found is not None:
        part.mime, part.data = found[0], checked(found[1], field)
    elif url[:8].lower().startswith(("http://", "https://", "gs://")):
        part.url = url
    else:
        raise Misfit("must be a URL that begins with https:// or data:", field)
    return part


def _audio(item: Json) -> Part:
    inner = record(item, "input_audio")
    try:
        kind = string(inner, "format").lower()
        mime = AUDIO.get(kind, f"audio/{kind}" if kind.isalnum() else "")
        return Media(kind="audio", mime=mime, data=checked(string(inner, "data"), "data"))
    except Misfit as wrong:
        raise wrong.within("input_audio") from None


def _file(item: Json) -> Part:
    inner = record(item, "file")
    try:
        return _document(inner)
    except Misfit as wrong:
        raise wrong.within("file") from None


def _document(inner: Json) -> Media:
    part = Media(kind="document", name=maybe_string(inner, "filename"), file_id=maybe_string(inner, "file_id"))
    if part.file_id:
        part.origin = ORIGIN
        return part
    data = string(inner, "file_data")
    if data[:8].lower().startswith(("http://", "https://")):  # OpenRouter fetches documents
        part.url = data
        return part
    try:
        found = data_url(data)
    except Misfit as wrong:
        raise wrong.within("file_data") from None
    part.mime, base64 = found or (_mime_of(part.name), data)
    part.data = checked(base64, "file_data")
    part.kind = _kind_of(part.mime)
    return part


def _kind_of(mime: str) -> Any:
    kind = mime.partition("/")[0]
    return kind if kind in ("image", "audio", "video") else "document"


_MIMES = {"pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "csv": "text/csv", "html": "text/html"}


def _mime_of(name: str) -> str:
    """OpenAI takes bare base64 too, of a PDF unless the name says otherwise."""
    return _MIMES.get(name.rpartition(".")[2].lower(), "application/pdf")


def _thinking(item: Json) -> Part:
    """Mistral's thoughts: `{thinking: [{type: text, text}]}` (docs.mistral.ai/capabilities/reasoning)."""
    value = item.get("thinking")
    if isinstance(value, str):
        return Reasoning(text=value, origin=ORIGIN)
    texts = [one.get("text") for one in maybe_list(item, "thinking") if isinstance(one, dict)]
    return Reasoning(text="".join(text for text in texts if isinstance(text, str)), origin=ORIGIN)


_KINDS: dict[str, Callable[[Json], Any]] = {
    "text": _text,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "refusal": _refusal,
    "video_url": _video,
    "audio_url": _sound,
    "document_url": _page,
    "thinking": _thinking,
}


def checked(data: str, field: str) -> str:
    """Base64 that is sound; white space in it is taken out. Raises Misfit."""
    if not data:
        raise Misfit("is empty", field)
    try:
        binascii.a2b_base64(data, strict_mode=True)
        return data
    except (binascii.Error, ValueError):
        pass
    data = "".join(data.split())
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError):
        raise Misfit("is not valid base64", field) from None
    return data
