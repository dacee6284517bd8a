"""Images, documents, sound and video as parts of a content.

Sources: ai.google.dev/api/caching#FileData, ai.google.dev/gemini-api/docs/file-input-methods
"""

from __future__ import annotations

import mimetypes

from shin_gateway.errors import Invalid
from shin_gateway.translation.form import Json, Media
from shin_gateway.translation.gemini_generate.fields import NAME
from shin_gateway.translation.gemini_generate.parts_in import is_video_page
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.media import sniff_base64
from shin_gateway.translation.translator import Traits

_DEFAULTS = {"image": "image/jpeg", "document": "application/pdf", "audio": "audio/wav", "video": "video/mp4"}
_FILES = "https://generativelanguage.googleapis.com/v1beta/"
_OWN_FILES = ("files/", "gs://", "https://")
_MIMES = {"audio/mpeg": "audio/mp3", "audio/x-wav": "audio/wav", "audio/wave": "audio/wav", "image/jpg": "image/jpeg"}
"""ai.google.dev/gemini-api/docs/audio names the types in its own words."""


def write_media(part: Media, place: str, traits: Traits, losses: Losses) -> Json | None:
    """None for what another model made, of which there is only the name.

    Raises Invalid where the medium is kept at another provider.
    """
    if part.citations:
        losses.drop("messages.content.citations")
    if part.detail not in ("", "auto"):
        losses.soften("messages.content.detail")
    if part.text and not part.data and part.kind == "document":
        return {"text": f"{part.name}:\n{part.text}" if part.name else part.text}
    if part.name:  # Vertex alone has a place for it
        losses.soften("messages.content.filename")
    if part.data:
        mime = part.mime or sniff_base64(part.data) or _DEFAULTS[part.kind]
        return {"inlineData": {"mimeType": _MIMES.get(mime, mime), "data": part.data}}
    if part.file_id and (part.origin in (NAME, traits.provider) or part.file_id.startswith(_OWN_FILES)):
        return _file(part, _FILES + part.file_id if part.file_id.startswith("files/") else part.file_id)
    if part.url:
        return _file(part, part.url)
    if part.text:
        return {"text": part.text}
    if part.id:
        losses.drop(f"messages.content.{part.kind}")
        return None
    raise Invalid(f"{place}: names a file that the model which serves this call cannot see.", param=place)


def _file(part: Media, uri: str) -> Json:
    mime = part.mime or ("" if is_video_page(uri) else _guessed(uri))
    return {"fileData": {"mimeType": mime, "fileUri": uri} if mime else {"fileUri": uri}}


def _guessed(uri: str) -> str:
    return mimetypes.guess_type(uri.partition("?")[0].partition("#")[0])[0] or ""
