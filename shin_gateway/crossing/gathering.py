"""Several calls for embeddings as one, and its reply as the replies to each. Pure code, no I/O.

OpenAI's API (developers.openai.com/api/reference/resources/embeddings): `input` is a text, texts, the tokens of one, or
of several. Vectors and unknown fields pass as the bytes that came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from decimal import Decimal
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec

from shin_gateway.errors import UpstreamFailed
from shin_gateway.outcome import Usage

_CENT = Decimal("1e-12")
"""Of a dollar: what shares of a cost are whole multiples of."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_rest = msgspec.json.Encoder(order="deterministic").encode
_top = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_rows = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_usage = msgspec.json.Decoder(dict[str, Any]).decode


class Asked(NamedTuple):
    """What one call asks."""

    rest: bytes
    """Everything but the inputs, and whether those are texts or tokens: calls that are alike in it may be joined."""
    inputs: list[Any]
    weight: int
    """Characters, or tokens: what the call's share is measured by."""


def read(body: bytes) -> Asked | None:
    """None for what is better left to the provider as it is."""
    try:
        call = _decode(body)
        inputs = _inputs(call.pop("input", None))
        if inputs is None:
            return None
        kind = b"texts " if isinstance(inputs[0], str) else b"tokens "
        return Asked(kind + _rest(call), inputs, sum(map(len, inputs)))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _inputs(value: object) -> list[Any] | None:
    if isinstance(value, str):
        return [value] if value else None
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(one, int) for one in value):
        return [value]
    kind = type(value[0])
    fine = kind in (str, list) and all(type(one) is kind and one for one in value)
    return value if fine else None


def joined(calls: Sequence[Asked]) -> bytes:
    """One body that asks for all of them."""
    body = _decode(calls[0].rest.partition(b" ")[2])
    body["input"] = [one for call in calls for one in call.inputs]
    return msgspec.json.encode(body)


def split(body: bytes, calls: Sequence[Asked]) -> list[bytes]:
    """The reply to each. Raises UpstreamFailed for one that does not fit what was asked."""
    try:
        top = _top(body)
        rows = _ordered(_rows(top["data"]))
        usage = _usage(top["usage"]) if "usage" in top else {}
    except (msgspec.MsgspecError, KeyError, ValueError, RecursionError):
        raise _malformed("it is no list of embeddings") from None
    if len(rows) != sum(len(call.inputs) for call in calls):
        raise _malformed(f"{len(rows)} embeddings for {sum(len(call.inputs) for call in calls)} inputs")
    usages = _usages(usage, [call.weight for call in calls])
    replies, start = [], 0
    for call, share in zip(calls, usages, strict=True):
        mine = rows[start : start + len(call.inputs)]
        data = [{**row, "index": at} for at, row in enumerate(mine)]
        replies.append(msgspec.json.encode({**top, "data": data, **({"usage": share} if usage else {})}))
        start += len(call.inputs)
    return replies


def _ordered(rows: list[dict[str, msgspec.Raw]]) -> list[dict[str, msgspec.Raw]]:
    """By their index, where that says a place for each."""
    places = [int(bytes(row["index"])) for row in rows if "index" in row]
    if sorted(places) != list(range(len(rows))):
        if places:
            raise ValueError("indices")
        return rows
    return [rows[at] for at in sorted(range(len(rows)), key=places.__getitem__)]


def _usages(usage: dict[str, Any], weights: Sequence[int]) -> list[dict[str, Any]]:
    counted = {name: list(shares(value, weights)) for name, value in usage.items() if type(value) is int}
    return [{**usage, **{name: found[at] for name, found in counted.items()}} for at in range(len(weights))]


def shares(whole: int, weights: Sequence[int]) -> Iterator[int]:
    """`whole` in parts that add up to it, as near to the weights as whole numbers can be."""
    total, given = sum(weights), 0
    for reached in accumulate(weights):
        upto = whole * reached // total if total else whole
        yield upto - given
        given = upto


def shares_of_usage(usage: Usage, weights: Sequence[int]) -> list[Usage]:
    parts = [Usage() for _ in weights]
    for field in fields(Usage):
        value = getattr(usage, field.name)
        if type(value) is int and value:
            for part, share in zip(parts, shares(value, weights), strict=True):
                setattr(part, field.name, share)
    return parts


def shares_of_cost(cost: Decimal, weights: Sequence[int]) -> list[Decimal]:
    """They add up to the cost exactly; the last one takes what is less than a share's smallest unit."""
    units = int(cost / _CENT)
    found = [share * _CENT for share in shares(units, weights)]
    found[-1] += cost - sum(found)
    return found


def _malformed(what: str) -> UpstreamFailed:
    return UpstreamFailed(f"The provider's reply is malformed: {what}.", code="upstream_malformed")
