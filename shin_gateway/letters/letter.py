"""What is kept of a call that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shin_gateway.call_keys import without_keys
from shin_gateway.policy.match import GATEWAY
from shin_gateway.targets import PROVIDER

if TYPE_CHECKING:
    from shin_gateway.call import Call
    from shin_gateway.outcome import Outcome

KINDS = frozenset({"chat", "respond", "complete", "embed"})
"""Of calls that can be made again without harm."""
_HEADERS = (
    "content-type", "accept", "user-agent", "anthropic-version", "anthropic-beta", "openai-beta", PROVIDER,
    "x-shin-priority",
)  # fmt: skip
"""Those that are kept. No other can be known not to hold a credential."""
REPLAY = "x-shin-replay"
"""The header of a call that was made from a letter: if it fails, the letter is there already."""
_LONGEST = 256


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What is said about it. Nothing that the client wrote but the model's name and the path."""

    id: str
    """The call's."""
    at: float
    """Unix seconds."""
    caller: str
    tenant: str
    policy: str
    host: str
    method: str
    path: str
    kind: str
    model: str
    target: str
    status: int
    end: str
    cause: str
    attempts: int
    size: int
    """Bytes of the body."""
    unsent: str = ""
    """Why it cannot be sent again; empty: it can."""


class Content(msgspec.Struct, frozen=True):
    """What is sealed."""

    headers: dict[str, str]
    body: bytes


def is_dead(call: Call, outcome: Outcome) -> bool:
    """Whether it failed, and not through what the client wrote."""
    if call.kind not in KINDS:
        return False
    if outcome.end in ("failed", "broken"):
        return True
    return outcome.end == "completed" and (outcome.status == 429 or outcome.status >= 500)


def letter(call: Call, outcome: Outcome, path: str, size: int, whole: bool) -> Letter:
    return Letter(
        id=call.id,
        at=call.arrived,
        caller=call.caller.name[:_LONGEST],
        tenant=call.caller.tenant[:_LONGEST],
        policy=call.policy.name,
        host=call.host[:_LONGEST],
        method=call.method,
        path=_addressed(call, path),
        kind=call.kind,
        model=_model(call)[:_LONGEST],
        target=call.target.name[:_LONGEST] if call.target else "",
        status=outcome.status,
        end=outcome.end,
        cause=(outcome.cause or f"status_{outcome.status}")[:_LONGEST],
        attempts=outcome.attempts,
        size=size,
        unsent=_unsent(call, whole),
    )


def headers_of(call: Call) -> dict[str, str]:
    return {name: value for name in _HEADERS if (value := call.headers.get(name, ""))}


def _unsent(call: Call, whole: bool) -> str:
    if call.own_key or call.host != GATEWAY:
        return "it came with the client's own key, which is not kept"
    if call.method != "POST":
        return "it came over a WebSocket"
    return "" if whole else "its body is larger than what is kept"


def _addressed(call: Call, path: str) -> str:
    """As the client wrote it, without a key."""
    row = call.arrival.row
    prefix = f"/{row.name}" if row is not None and call.arrival.origin is None else ""
    before, mark, query = path.partition("?")
    kept = without_keys(query)
    return prefix + before + (f"{mark}{kept}" if kept else "")


def _model(call: Call) -> str:
    if call.asked_model:
        return call.asked_model
    try:
        return call.model
    except Exception:  # its body could not be read, which may be why it failed
        return ""
