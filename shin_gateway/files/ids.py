"""The ids of files and batches, as calls name them and replies give them. Pure code.

An id is its last part, so that Gemini's `files/abc` is the same wherever it is written. Fields: OpenAI's
https://developers.openai.com/api/reference/resources/files and …/batches, Anthropic's
https://platform.claude.com/docs/en/api/messages/batches and …/beta/files, Gemini's https://ai.google.dev/api/files and
…/api/batch-api.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from shin_gateway.errors import Invalid
from shin_gateway.policy.paths import plain

LONGEST = 200_000_000
"""Bytes of a body beyond which nothing is looked for in it."""

_IN_PATH = re.compile(
    r".*/(?:files|batches|uploads)/([^/:]+)(?:/(?:content|results|cancel|complete|parts)|:\w+)?", re.IGNORECASE
)
_ID = re.compile(r"(?:.*/)?([A-Za-z0-9_.-]{1,256})")
_OUTPUT = re.compile(rb'"purpose"\s*:\s*"batch_output"|"source"\s*:\s*"GENERATED"')
_LISTS = ("data", "files", "operations")
"""Where a list has its items."""


_FROM = (
    ("input_file_id",),
    *(("batch", config, file) for config in ("inputConfig", "input_config") for file in ("fileName", "file_name")),
)
"""Where a call for a batch names the file that it is made from."""


def in_path(path: str) -> str:
    """The id of what a call is about; "" where it is about none, as when something is made or listed."""
    found = _IN_PATH.fullmatch(plain(path))
    return found[1] if found else ""


def in_call(body: bytes) -> list[str]:
    """Ids of the files that a batch is to be made from.

    Raises Invalid for what cannot be read: a provider might, and whose files it names must not be guessed.
    """
    found = _decoded(body, dict[str, Any])
    if found is None:
        raise Invalid("The body is not a JSON object.", code="invalid_json")
    return list(_ids(_at(found, way) for way in _FROM))


def in_reply(body: bytes) -> list[str]:
    """Ids of what a reply describes, and of the files that came out of it."""
    found = _decoded(body, dict[str, Any])
    return list(_ids(_named(found))) if isinstance(found, dict) else []


def _named(item: dict[str, Any]) -> Iterator[Any]:
    yield from (item.get("id"), item.get("output_file_id"), item.get("error_file_id"), item.get("batch_id"))
    name = item.get("name")
    if isinstance(name, str) and name.startswith(("files/", "batches/")):
        yield name
    if isinstance(file := item.get("file"), dict):
        yield from (file.get("id"), file.get("name"))
    for way in (("response", "responsesFile"), ("metadata", "output", "responsesFile"), ("dest", "fileName")):
        yield _at(item, way)


def _at(item: Any, way: tuple[str, ...]) -> Any:
    for key in way:
        item = item.get(key) if isinstance(item, dict) else None
    return item


def _ids(named: Any) -> Iterator[str]:
    for one in named:
        if isinstance(one, str) and (found := _ID.fullmatch(one.strip())):
            yield found[1]


def _decoded[T](body: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(body, type=kind) if len(body) <= LONGEST else None
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


class Listing:
    """A list of files or batches, from which items can be taken out."""

    def __init__(self, body: bytes) -> None:
        """Raises ValueError where the body is no list."""
        members = _decoded(body, dict[str, msgspec.Raw]) or {}
        self._members = members
        self._key = next((key for key in _LISTS if key in members), "")
        items = _decoded(bytes(members[self._key]), list[msgspec.Raw]) if self._key else None
        if items is None:
            raise ValueError
        self._items = items
        self.ids = [in_reply(bytes(item)) or [""] for item in items]
        """Of each item, its own first; "" where it has none."""
        self.outputs = {place for place, item in enumerate(items) if _OUTPUT.search(item)}
        """Places of files that came out of batches, which do not say out of which."""

    def without(self, unwanted: set[int]) -> bytes:
        """The list without the items at these places, and with the ends of what is left of it."""
        kept = [place for place in range(len(self._items)) if place not in unwanted]
        members = dict(self._members)
        members[self._key] = msgspec.Raw(b"[" + b",".join(bytes(self._items[place]) for place in kept) + b"]")
        for name, place in (("first_id", 0), ("last_id", -1)):
            if name in members:
                members[name] = msgspec.Raw(msgspec.json.encode(self.ids[kept[place]][0] if kept else None))
        return msgspec.json.encode(members)

    def next_page(self, dialect: str) -> tuple[str, str] | None:
        """The parameter of a query, and its value, with which to ask for the next page; None after the last."""
        if dialect.startswith("gemini."):
            token = self._text("nextPageToken")
            return ("pageToken", token) if token else None
        last = self._text("last_id") or (self.ids[-1][0] if self.ids else "")
        if bytes(self._members.get("has_more", b"")) != b"true" or not last:
            return None
        return ("after_id" if dialect.startswith("anthropic.") else "after", last)

    def _text(self, name: str) -> str:
        value = _decoded(bytes(self._members.get(name, b"null")), str)
        return value or ""
