"""What the gateway listener's replies say to browsers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shin_gateway.listening.cors import PREFIX, Field, Rules

SAFE: Mapping[bytes, bytes] = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
"""On every reply that does not say otherwise: it is no page, and for nobody but who asked."""


def dressed(fields: Iterable[Field], rules: Rules | None, origin: str | None) -> tuple[Field, ...]:
    """A reply's headers with these. What a provider says to browsers about CORS is not ours to say."""
    kept, safe = [], dict(SAFE)
    if rules is not None and rules.permits(origin):
        safe[b"cross-origin-resource-policy"] = b"cross-origin"
    for field in fields:
        name = field[0].lower()
        if not name.startswith(PREFIX):
            kept.append(field)
            safe.pop(name, None)
    kept += safe.items()
    if rules is not None:
        kept += rules.fields(origin)
    return tuple(kept)
