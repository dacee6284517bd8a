"""Parts of the common form as entries of a message's `content`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from shin_gateway.translation.form import Media, Text
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_chat.content_in import AUDIO
from shin_gateway.translation.translator import Traits

Json = dict[str, Any]

_FORMATS = {mime: name for name, mime in AUDIO.items()} | {
    "audio/mp3": "mp3",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
}
_SIGNS = (("/9j/", "image/jpeg"), ("iVBORw0KGgo", "image/png"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"))
_OPENAI = ("openai.chat", "openai.responses")


class ContentWriter:
    def __init__(self, traits: Traits, losses: Losses) -> None:
        self._losses = losses
        words = traits.words
        self._join = words.get("texts") == "join"
        self._files = words.get("files") != "no"
        self._audio = words.get("audio") != "no"
        self._video = words.get("video") == "yes"

    def content(self, parts: Iterable[Text | Media]) -> str | list[Json]:
        """One string where there is one text, else a list of entries; empty string for nothing."""
        entries = [entry for part in parts if (entry := self.entry(part)) is not None]
        if not entries:
            return ""
        if len(entries) == 1 and entries[0]["type"] == "text":
            return str(entries[0]["text"])
        if self._join and all(entry["type"] == "text" for entry in entries):
            return "\n\n".join([entry["text"] for entry in entries])
        return entries

    def entry(self, part: Text | Media) -> Json | None:
        """None where the API has no way to say it, which is noted."""
        if part.cache:
            self._losses.soften("cache_control")
        if isinstance(part, Text):
            return {"type": "text", "text": part.text}
        entry = self._media(part)
        if entry is None:
            self._losses.drop(f"messages.content.{part.kind}")
        return entry

    def _media(self, part: Media) -> Json | None:
        if part.kind == "image":
            return _image(part)
        if part.kind == "audio":
            return _audio(part) if self._audio else None
        if part.kind == "video":
            return {"type": "video_url", "video_url": {"url": _url(part, "video/mp4")}} if self._video else None
        return self._document(part)

    def _document(self, part: Media) -> Json | None:
        if part.citations:
            self._losses.drop("messages.content.citations")
        text = part.text or ("" if self._files else _plain(part))
        if text:
            return {"type": "text", "text": f"{part.name}\n\n{text}" if part.name else text}
        if not self._files:
            return None
        if part.file_id:
            return {"type": "file", "file": {"file_id": part.file_id}} if part.origin in _OPENAI else None
        mime = part.mime or "application/pdf"
        name = part.name or ("document.pdf" if mime == "application/pdf" else f"document.{mime.rpartition('/')[2]}")
        file = part.url or (f"data:{mime};base64,{part.data}" if part.data else "")
        return {"type": "file", "file": {"filename": name, "file_data": file}} if file else None


def _plain(part: Media) -> str:
    """The text of a document that is one, for servers that take no files."""
    if not part.mime.startswith("text/") and part.mime != "application/json":
        return ""
    try:
        return base64.b64decode(part.data).decode()
    except (binascii.Error, ValueError):
        return ""


def _url(part: Media, mime: str) -> str:
    return part.url or f"data:{part.mime or mime};base64,{part.data}"


def _image(part: Media) -> Json | None:
    if not part.url and not part.data:
        return None
    sniffed = next((mime for sign, mime in _SIGNS if part.data.startswith(sign)), "image/png")
    image = {"url": _url(part, sniffed)}
    if part.detail:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _audio(part: Media) -> Json | None:
    if not part.data:
        return None
    format = _FORMATS.get(part.mime.partition(";")[0].lower()) or part.mime.rpartition("/")[2] or "wav"
    return {"type": "input_audio", "input_audio": {"data": part.data, "format": format}}
