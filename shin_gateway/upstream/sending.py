"""What goes out of a call: its headers and its body."""

from __future__ import annotations

from collections.abc import AsyncIterator

from multidict import CIMultiDict

from shin_gateway.call import Call
from shin_gateway.call_keys import mentions
from shin_gateway.dialects import multipart

HOP_BY_HOP = frozenset(
    ["connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
     "transfer-encoding", "upgrade", "expect"]
)  # fmt: skip
"""Headers that concern one connection only (RFC 9110 §7.6.1)."""


def data_of(call: Call) -> bytes | AsyncIterator[memoryview | bytes] | None:
    """The body; a large one, or one with a change in it, piece by piece, so that no copy of it is made."""
    if call.patch is None and len(call.raw_body) <= multipart.PIECE:
        return call.raw_body or None
    return _pieces(call)


async def _pieces(call: Call) -> AsyncIterator[memoryview | bytes]:
    for piece in multipart.pieces(call.raw_body, call.patch):
        yield piece


def headers_of(call: Call) -> CIMultiDict[str]:
    """The call's headers as they came, less what concerns our own connections and what holds a key of ours, with the
    target's credential."""
    assert call.target is not None
    named = call.headers.get("connection", "").lower().replace(" ", "").split(",")
    out: CIMultiDict[str] = CIMultiDict()
    for name, value in call.headers.items():
        lower = name.lower()
        if lower in HOP_BY_HOP or lower in named or lower == "host" or lower.startswith("x-shin-"):
            continue
        if lower == "cookie" and not call.target.own_key:  # of our own address, which other programs share
            continue
        if mentions(value):  # a key of ours where nobody looks for one
            continue
        out.add(name, str(call.size) if lower == "content-length" else value)
    if call.raw_body and "content-length" not in out:
        out["content-length"] = str(call.size)
    call.target.authorize(out, call.path)
    return out
