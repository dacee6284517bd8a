"""Path classes: which requests on a model host are calls, as rows of data.

A host says where a request goes, the path says whether it is a call: the same hosts serve telemetry, logins and
settings, which pass untouched.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

Kind = Literal[
    "chat", "complete", "respond", "embed", "count", "models", "stored", "image", "speech", "transcript",
    "moderation", "file", "batch", "realtime", "other",
]  # fmt: skip
"""What a call asks for: `stored` something that is kept of earlier ones; `other` passes untouched."""

GENERATING: frozenset[Kind] = frozenset({"chat", "complete", "respond"})
"""Kinds whose answer is a model's own words, which may be streamed, and which another model could write as well."""

Method = Literal["GET", "POST", "DELETE", "WEBSOCKET"]
"""WEBSOCKET is an upgrade to a connection that carries calls, or is one."""


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return pattern


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class PathRow(BaseModel):
    """One line of a path table. The first line that fits decides."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    match: Annotated[str, AfterValidator(_regex)]
    """A regular expression for the whole path, decoded, without query. A group `model` says where the model stands."""
    method: Annotated[tuple[Method, ...], BeforeValidator(_listed)] = ("POST",)
    """GET, POST, DELETE, or WEBSOCKET for an upgrade to a connection that carries calls, or is one; one or a list."""
    kind: Kind
    """chat, complete, respond, embed, count, models, stored, image, speech, transcript, moderation, file, batch
    or realtime; `other` passes untouched."""
    dialect: str = ""
    """How such calls are written: openai.chat, anthropic.messages, …; not for `other`."""
    stream: bool = False
    """Whether this path always answers with a stream."""

    @model_validator(mode="after")
    def _has_dialect(self) -> PathRow:
        if bool(self.dialect) == (self.kind == "other"):
            raise ValueError("a path class needs a dialect, except `kind: other`, which has none")
        return self


@dataclass(frozen=True, slots=True)
class PathClass:
    """What a path says about a call."""

    kind: Kind
    dialect: str
    model: str | None = None
    """The model, where the path names it: Gemini, Vertex, Azure's deployments."""
    stream: bool = False
    """True where the path alone asks for a stream, as Gemini's does."""


class PathTable:
    """Ordered rows, compiled."""

    def __init__(self, rows: Iterable[PathRow] = ()) -> None:
        self.rows = tuple(rows)
        self._compiled = [(re.compile(row.match, re.IGNORECASE), row) for row in self.rows]
        # Paths hold ids of every kind, so what is remembered is bounded.
        self._remembered = functools.lru_cache(maxsize=2048)(self._find)

    def find(self, method: str, path: str) -> PathClass | None:
        """The class of a path, given with or without its query; None when no row says anything about it."""
        path = _END.split(path, 1)[0]
        return (self._remembered if len(path) < 512 else self._find)(method, path)

    def _find(self, method: str, path: str) -> PathClass | None:
        path = plain(path)
        for regex, row in self._compiled:
            match = regex.fullmatch(path) if method in row.method else None
            if match:
                return PathClass(row.kind, row.dialect, match.groupdict().get("model"), row.stream)
        return None


def plain(path: str) -> str:
    """The path that a lenient server would see, so that `/v1//chat/./%63ompletions/` slips past no guard."""
    return _remembered(path) if len(path) < 512 else _plain(path)


def _plain(path: str) -> str:
    path = _END.split(unquote(unquote(path)), 1)[0].replace("\\", "/")
    path = _PARAMETERS.sub("", path).strip(" \t\r\n")
    return "/" + posixpath.normpath(path).lstrip("/")


_remembered = functools.lru_cache(maxsize=2048)(_plain)
_END = re.compile("[?#\0]")
_PARAMETERS = re.compile(";[^/]*")
