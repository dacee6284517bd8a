"""A reply as bytes: the head, and the body's parts framed as HTTP/1.1 has them (or wrongly, when asked)."""

from __future__ import annotations

import email.utils
import http
from collections.abc import Iterator
from dataclasses import dataclass

from tests.provider.answer import Answer, Framing
from tests.provider.encoders import encode
from tests.provider.routes import Written
from tests.provider.seen import Seen


@dataclass(frozen=True, slots=True)
class Framed:
    """`parts` go out one by one; `end` is the framing's own end; the connection lives on when `keep`."""

    head: bytes
    parts: list[bytes]
    end: bytes
    keep: bool


def frame(seen: Seen, answer: Answer, written: Written) -> Framed:
    """Encode, inject, frame."""
    parts = [part for part in encode(_with_injected(written.parts, answer), answer.encoding) if part]
    framing: Framing = answer.framing or ("chunked" if written.streamed else "length")
    headers = _headers(answer, written, framing, sum(map(len, parts)))
    keep = framing != "close" and seen.header("connection").lower() != "close"
    if not keep:
        headers.append(("connection", "close"))
    head = _head(answer, written, headers)
    if seen.method == "HEAD" or written.status in (204, 304):
        return Framed(head, [], b"", keep)
    if framing == "chunked":
        return Framed(head, [b"%x\r\n%b\r\n" % (len(part), part) for part in parts], b"0\r\n\r\n", keep)
    return Framed(head, parts, b"", keep and not answer.length_off)


def _with_injected(parts: list[bytes], answer: Answer) -> Iterator[bytes]:
    for index, part in enumerate(parts):
        yield answer.inject.get(index, b"")
        yield part
    yield b"".join(extra for index, extra in answer.inject.items() if index >= len(parts))


def _headers(answer: Answer, written: Written, framing: Framing, length: int) -> list[tuple[str, str]]:
    own = [
        ("date", email.utils.formatdate(usegmt=True)),
        ("content-type", written.content_type),
        ("x-request-id", "req_fake0001"),
        ("request-id", "req_fake0001"),
        *([("cache-control", "no-cache")] if written.streamed else []),
        *([("content-encoding", answer.encoding)] if answer.encoding else []),
    ]
    given = {name.lower() for name, _ in answer.headers} | {name.lower() for name in answer.without}
    headers = [(name, value) for name, value in own if name not in given] + list(answer.headers)
    if framing == "chunked":
        headers.append(("transfer-encoding", "chunked"))
    if framing == "length":
        headers.append(("content-length", str(length + answer.length_off)))
    return headers


def _head(answer: Answer, written: Written, headers: list[tuple[str, str]]) -> bytes:
    known = written.status in http.HTTPStatus.__members__.values()
    reason = http.HTTPStatus(written.status).phrase if known else "Overloaded"
    lines = [f"HTTP/1.1 {written.status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")
