"""The parts of a message's or a tool output's content, as the Responses API writes them, into the common form."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from shin_gateway.errors import Refusal
from shin_gateway.translation.form import AnyPart, Citation, Media, Refused, Text
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.media import checked_base64, kind_of, parse_data_url
from shin_gateway.translation.openai_common import (
    Misfit,
    as_record,
    each,
    maybe_list,
    maybe_string,
    one_of,
    record,
    string,
)
from shin_gateway.translation.openai_responses.names import ORIGIN, Json, plain

_SOUND = {"wav": "audio/wav", "mp3": "audio/mpeg"}
_DETAILS = ("low", "high", "auto", "original")
_MIMES = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
}
_TEXT_KEYS = frozenset({"type", "text", "annotations", "logprobs", "prompt_cache_breakpoint"})
_MEDIA_KEYS = frozenset(
    {"type", "image_url", "file_id", "detail", "file_data", "file_url", "filename", "input_audio", "refusal"}
    | {"prompt_cache_breakpoint"}
)


def read_content(owner: Json, name: str, losses: Losses) -> list[AnyPart]:
    """A string, or a list of parts. Raises Misfit."""
    content = owner.get(name)
    if isinstance(content, str):
        return [Text(text=content)]
    if content is None:
        raise Misfit("is missing", name)
    if not isinstance(content, list):
        raise Misfit("must be a string or a list of parts", name)
    return each(content, lambda item: _part(item, losses), name)


def _part(item: Any, losses: Losses) -> AnyPart:
    kind = as_record(item).get("type")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise Misfit("is missing" if kind is None else f"must be one of {', '.join(_READERS)}", "type")
    part = read(item)
    if len(item) > 2:
        known = _TEXT_KEYS if isinstance(part, Text) else _MEDIA_KEYS
        for key in item.keys() - known:
            if item[key] is not None:
                losses.drop(f"input.content.{plain(key)}")
        part.cache = _cache(item.get("prompt_cache_breakpoint"))
    return part


def _cache(mark: Any) -> Any:
    """`{mode: explicit, ttl: 30m | 12h}`: the nearest of what the form knows."""
    if not isinstance(mark, dict):
        return ""
    return "1h" if mark.get("ttl") == "12h" else "5m"


def _text(item: Json) -> AnyPart:
    text = string(item, "text")
    if "annotations" not in item:
        return Text(text=text)
    notes = each(maybe_list(item, "annotations"), as_record, "annotations")
    return Text(text=text, citations=[citation(note) for note in notes])


def citation(note: Json) -> Citation:
    """An annotation: `url_citation`, `file_citation`, `container_file_citation`, `file_path`. Never raises."""
    return Citation(
        url=_word(note, "url"),
        title=_word(note, "title") or _word(note, "filename"),
        file_id=_word(note, "file_id"),
        start=_place(note, "start_index"),
        end=_place(note, "end_index"),
        raw=note,
        origin=ORIGIN,
    )


def _word(note: Json, name: str) -> str:
    value = note.get(name)
    return value if isinstance(value, str) else ""


def _place(note: Json, name: str) -> int:
    value = note.get(name, note.get("index"))
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else -1


def _refusal(item: Json) -> AnyPart:
    return Refused(text=string(item, "refusal"))


def _image(item: Json) -> AnyPart:
    part = Media(kind="image", detail=one_of(item, "detail", _DETAILS))
    if (id := maybe_string(item, "file_id")) and not item.get("image_url"):
        part.file_id, part.origin = id, ORIGIN
        return part
    return _located(string(item, "image_url"), "image_url", part)


def _located(url: str, field: str, part: Media) -> Media:
    found = _media(lambda: parse_data_url(url, ""), field)
    if found is not None:
        part.mime, part.data = found
        if part.kind == "document":
            return _typed(part)
    elif url[:8].lower().startswith(("http://", "https://", "gs://")):
        part.url = url
    else:
        raise Misfit("must be a URL that begins with https:// or data:", field)
    return part


def _media[T](read: Callable[[], T], field: str) -> T:
    """What goes wrong in a medium, with its field's place put to it on the way out."""
    try:
        return read()
    except Refusal as wrong:
        raise Misfit(wrong.message.removeprefix(": ").rstrip("."), field) from None


def _file(item: Json) -> AnyPart:
    part = Media(kind="document", name=maybe_string(item, "filename"), detail=maybe_string(item, "detail"))
    if id := maybe_string(item, "file_id"):
        part.file_id, part.origin = id, ORIGIN
        return part
    if url := maybe_string(item, "file_url"):
        return _located(url, "file_url", part)
    data = string(item, "file_data")
    if data[:5].lower() == "data:":
        return _located(data, "file_data", part)
    part.mime = _MIMES.get(part.name.rpartition(".")[2].lower(), "application/pdf")
    part.data = _media(lambda: checked_base64(data, ""), "file_data")
    return _typed(part)


def _typed(part: Media) -> Media:
    """Sound and pictures may come as files too; a document that is text is better as text."""
    kind: Any = kind_of(part.mime)
    part.kind = kind
    if part.mime.startswith("text/"):
        part.text, part.data = base64.b64decode(part.data).decode("utf-8", "replace"), ""
    return part


def _audio(item: Json) -> AnyPart:
    inner = record(item, "input_audio")
    try:
        mime = _SOUND.get(one_of(inner, "format", _SOUND), "")
        text = string(inner, "data")
        return Media(kind="audio", mime=mime, data=_media(lambda: checked_base64(text, ""), "data"))
    except Misfit as wrong:
        raise wrong.within("input_audio") from None


_READERS: dict[str, Callable[[Json], AnyPart]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
    "refusal": _refusal,
}
