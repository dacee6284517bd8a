"""Images, documents, sound and video inside calls: data URLs, base64, what bytes are, what has to be fetched.

Pure. Whoever fetches asks `urls_to_inline` what the target cannot take, and puts it in place with `inline`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from shin_gateway.errors import Invalid, TooLarge
from shin_gateway.translation.form import Chat, Media, Text, ToolResult

LARGEST = 64 * 1024 * 1024
"""Bytes of one inline medium. Providers take 20 to 50 MB."""

_URLSAFE = str.maketrans("-_", "+/")
_SPACE = re.compile(r"\s+")
_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_HEAD = 4096
"""Characters of base64 that are decoded to see what it is."""


class Inline(NamedTuple):
    """What a data URL holds."""

    mime: str
    """In lower case, without parameters; `text/plain` where the URL does not say (RFC 2397)."""
    data: str
    """Base64 in the standard alphabet, padded, without white space."""


def parse_data_url(url: str, field: str, limit: int = LARGEST) -> Inline | None:
    """What `url` holds; None where it is no data URL (RFC 2397).

    Raises Invalid, naming `field`, for one that is broken, and TooLarge for more than `limit` bytes.
    """
    if url[:5].lower() != "data:":
        return None
    # A prompt may hold megabytes: nothing here copies them more often than it must.
    comma = url.find(",", 5)
    if comma < 0:
        raise _invalid(field, "the data URL has no comma")
    mime, *parameters = url[5:comma].lower().split(";")
    mime = mime.strip() or "text/plain"
    if not _TYPE.fullmatch(mime):
        raise _invalid(field, "the data URL has no media type that can be read")
    if parameters and parameters[-1].strip() == "base64":
        return Inline(mime, checked_base64(_unescaped(url[comma + 1 :]), field, limit))
    data = unquote_to_bytes(url[comma + 1 :])
    _require_size(len(data), field, limit)
    return Inline(mime, base64.b64encode(data).decode())


def checked_base64(text: str, field: str, limit: int = LARGEST) -> str:
    """`text` as every provider takes it: standard alphabet, padded, no white space; the identical object where it
    was so already. Raises Invalid, naming `field`, where it is no base64, and TooLarge over `limit` bytes."""
    _require_size(len(text) * 3 // 4, field, limit)
    try:
        if len(text) % 4 == 0 and _is_strict(text):
            return text
        tidy = _SPACE.sub("", text).translate(_URLSAFE).rstrip("=")
        tidy += "=" * (-len(tidy) % 4)
    except ValueError:  # not ASCII
        raise _invalid(field, "the base64 is broken") from None
    if not _is_strict(tidy):
        raise _invalid(field, "the base64 is broken")
    return tidy


def _is_strict(text: str) -> bool:
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # not ASCII, too
        return False
    return True


def _unescaped(text: str) -> str:
    return unquote_to_bytes(text).decode("latin-1") if "%" in text else text


def _require_size(size: int, field: str, limit: int) -> None:
    if size > limit + 2:  # base64 does not tell its size to the byte
        raise TooLarge(f"{field}: has more than {limit} bytes.", param=field)


def _invalid(field: str, why: str) -> Invalid:
    return Invalid(f"{field}: {why}.", code="invalid_media", param=field)


# ── what bytes are ──────────────────────────────────────────────────────────────────────────────

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (8, b"AVI ", "video/x-msvideo"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"FLV\x01", "video/x-flv"),
    (0, b"\x00\x00\x01\xba", "video/mpeg"),
    (0, b"\x00\x00\x01\xb3", "video/mpeg"),
)
"""Place, bytes, type: WHATWG's MIME sniffing standard (mimesniff.spec.whatwg.org) and the formats' own documents."""

_RIFF = frozenset(["image/webp", "audio/wav", "video/x-msvideo"])
_BRANDS: tuple[tuple[bytes, str], ...] = (
    (b"avif", "image/avif"),
    (b"avis", "image/avif"),
    (b"heic", "image/heic"),
    (b"heix", "image/heic"),
    (b"mif1", "image/heif"),
    (b"M4A", "audio/mp4"),
    (b"M4B", "audio/mp4"),
    (b"qt", "video/quicktime"),
    (b"3gp", "video/3gpp"),
)
"""The brand that follows `ftyp` (ISO/IEC 14496-12); any other is video/mp4."""


def sniff(data: bytes) -> str:
    """The type that the first bytes show, of those that models take; empty where they show none."""
    for at, magic, mime in _MAGIC:
        if data.startswith(magic, at) and (mime not in _RIFF or data.startswith(b"RIFF")):
            return mime
    if data[4:8] == b"ftyp":
        return next((mime for brand, mime in _BRANDS if data.startswith(brand, 8)), "video/mp4")
    return _sniff_frame(data)


def _sniff_frame(data: bytes) -> str:
    """MPEG sound without a tag begins with eleven bits of sync; layer 0 is ADTS."""
    if len(data) < 2 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return ""
    layer, version = data[1] >> 1 & 3, data[1] >> 3 & 3
    if data[1] & 0xF6 == 0xF0:
        return "audio/aac"
    return "audio/mpeg" if layer and version != 1 else ""


def sniff_base64(text: str) -> str:
    """As `sniff`, of base64; empty where it is none."""
    head = text[:_HEAD]
    try:
        return sniff(base64.b64decode(head[: len(head) // 4 * 4]))
    except (binascii.Error, ValueError):
        return ""


def kind_of(mime: str) -> str:
    """`image`, `audio`, `video`, else `document`."""
    family = mime.partition("/")[0]
    return family if family in ("image", "audio", "video") else "document"


# ── what has to be fetched ──────────────────────────────────────────────────────────────────────


def urls_to_inline(chat: Chat, takes: frozenset[str]) -> list[Media]:
    """The media of `chat`, also inside results of tools, whose URL a target that fetches only `takes` cannot take."""
    return [one for one in media_of(chat) if one.url and one.kind not in takes]


def media_of(chat: Chat) -> Iterator[Media]:
    """All media of a chat, in order."""
    for message in chat.messages:
        for part in message.parts:
            if type(part) is Text:  # nearly all are
                continue
            if isinstance(part, Media):
                yield part
            elif isinstance(part, ToolResult):
                yield from (inner for inner in part.parts if isinstance(inner, Media))


def inline(media: Media, mime: str, data: bytes) -> None:
    """Put what was fetched in the place of the URL. A document that is text becomes `text`."""
    media.name = media.name or _name_in(media.url)
    media.url, media.mime = "", mime
    if media.kind == "document" and mime.startswith("text/"):
        media.text = data.decode("utf-8", "replace")
    else:
        media.data = base64.b64encode(data).decode()


def _name_in(url: str) -> str:
    try:
        return urlsplit(url).path.rpartition("/")[2][:255]
    except ValueError:
        return ""


def place_of(body: Any, url: str) -> str:
    """Where the client's own call says `url`, for an error: `messages[0].content[1].image_url.url`; else empty."""
    return places_of(body, [url]).get(url, "")


def places_of(body: Any, urls: Collection[str]) -> dict[str, str]:
    """`place_of` for each of `urls` that the call says, in one walk: an agent's history names many."""
    found: dict[str, str] = {}
    wanted = set(urls)
    longest = max(map(len, wanted), default=0)  # files in the call, which may be long, are not looked at
    waiting: list[tuple[str, Any]] = [("", body)]
    while waiting and len(found) < len(wanted):
        place, value = waiting.pop()
        if isinstance(value, str):
            if len(value) <= longest and value in wanted:
                found.setdefault(value, place)
        elif isinstance(value, dict):
            waiting += [(f"{place}.{key}" if place else str(key), value[key]) for key in reversed(value)]
        elif isinstance(value, list):
            waiting += _numbered(place, value)
    return found


def _numbered(place: str, values: Sequence[Any]) -> list[tuple[str, Any]]:
    return [(f"{place}[{at}]", values[at]) for at in reversed(range(len(values)))]
