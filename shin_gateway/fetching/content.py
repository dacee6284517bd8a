"""What came: of the kind that was wanted, whole, and within its limits."""

from __future__ import annotations

import aiohttp

from shin_gateway import encodings
from shin_gateway.errors import Invalid, TooLarge
from shin_gateway.fetching.limits import Room
from shin_gateway.fetching.memory import Fetched
from shin_gateway.fetching.refusals import refused, too_large
from shin_gateway.translation.media import sniff

_ACCEPTED: dict[str, tuple[str, ...]] = {
    "image": ("image/",),
    "audio": ("audio/", "application/ogg", "video/mp4", "video/webm", "video/ogg"),
    "video": ("video/", "application/ogg"),
    "document": (
        "application/pdf",
        "application/json",
        "application/xml",
        "application/rtf",
        "application/msword",
        "application/vnd.",
        "application/x-",
        "application/javascript",
        "text/",
    ),
}
"""How the content type of each kind of medium begins."""
_UNSAID = frozenset(["", "application/octet-stream", "binary/octet-stream", "application/x-binary"])
"""Content types by which a server says that it does not know: the bytes decide."""


def accept(kind: str) -> str:
    """The header by which a server is asked for this kind."""
    accepted = ", ".join(f"{start}*" if start.endswith("/") else start for start in _ACCEPTED[kind])
    return f"{accepted}, */*;q=0.1"


async def read(answer: aiohttp.ClientResponse, kind: str, place: str, limit: int, room: Room) -> Fetched:
    """What a server gave that was asked for `kind`, at most `limit` bytes. Raises Invalid and TooLarge that name
    `place`, and TooLarge where there is no more `room`."""
    if answer.status != 200:
        raise refused(place, f"the server answered {answer.status}", "fetch_failed")
    said = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said not in _UNSAID:
        _require_kind(said, kind, place)
    data = await _gather(answer, limit, place, room)
    may_keep = "no-store" not in answer.headers.get("cache-control", "").lower()
    shown = sniff(data)
    if shown and _is_kind(shown, kind):  # servers mislabel, and providers refuse what is mislabelled
        return Fetched(shown, data, may_keep)
    if said in _UNSAID:
        _require_kind(shown, kind, place)
    return Fetched(said, data, may_keep)


async def _gather(answer: aiohttp.ClientResponse, limit: int, place: str, room: Room) -> bytes:
    """The body, decompressed. Raises TooLarge as soon as there is more than `limit`, or no more `room`."""
    if (answer.content_length or 0) > limit:
        raise too_large(place, limit)
    gathered = bytearray()
    try:
        decoder = encodings.Decoder(answer.headers.get("content-encoding", ""), limit)
        async for chunk in answer.content.iter_any():
            try:
                plain = decoder.feed(chunk)
            except TooLarge:
                raise too_large(place, limit) from None
            gathered += plain
            room.take(len(plain))
        decoder.end()
    except Invalid:
        raise refused(place, "the server's compression cannot be read", "fetch_failed") from None
    if not gathered:
        raise refused(place, "the server sent nothing", "fetch_failed")
    return bytes(gathered)


def _is_kind(mime: str, kind: str) -> bool:
    return mime.startswith(_ACCEPTED[kind])


def _require_kind(mime: str, kind: str, place: str) -> None:
    if not _is_kind(mime, kind):
        what = "content of no known type" if not mime else "text/html" if mime == "text/html" else "something else"
        raise refused(place, f"the server sent {what}, not {_NAMES[kind]}", "unsupported_media")


_NAMES = {"image": "an image", "audio": "audio", "video": "a video", "document": "a document"}
