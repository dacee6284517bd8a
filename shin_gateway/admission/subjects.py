"""For whom a limit counts: words of a policy, turned into what finds the one a call is for."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator

from shin_gateway.errors import Refusal

if TYPE_CHECKING:
    from shin_gateway.call import Call

Whom = Literal["user", "key", "team", "project", "ip", "model", "host", "everyone"]

SubjectOf = Callable[["Call"], str]
"""`user alice`, `team red, model gpt-4o`: calls with the same one share a limit."""

_LONGEST = 128
NOBODY = "-"
"""Of a caller that has no team: all of those share one limit."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _distinct(value: Any) -> Any:
    listed = _listed(value)
    if isinstance(listed, list) and ("everyone" in listed and len(listed) > 1):
        raise ValueError("`everyone` stands alone")
    if isinstance(listed, list) and (not listed or len(set(map(str, listed))) < len(listed)):
        raise ValueError("name each once, and at least one")
    return listed


Per = Annotated[tuple[Whom, ...], BeforeValidator(_distinct)]
"""`user`, or a list of which each combination counts apart."""


def subject_of(per: Sequence[Whom], apart: bool = False) -> SubjectOf:
    """What tells for whom a call counts. `apart`: the calls of each policy count apart."""
    finders = [_FINDERS[one] for one in per]
    if apart:
        finders.append(_policy)
    if len(finders) == 1:
        return finders[0]
    return lambda call: ", ".join([find(call) for find in finders])


def whose(subject: str) -> str:
    """A subject as its owner may read it: without the policy."""
    return subject.partition(", policy ")[0]


def _user(call: Call) -> str:
    """A person whichever key he comes with; where there is none, the key."""
    caller = call.caller
    return _clean("", caller.tenant) if caller.user or caller.kind != "anonymous" else "anonymous"


def _key(call: Call) -> str:
    return _clean("key ", call.caller.key) if call.caller.key else _user(call)


def _team(call: Call) -> str:
    return _clean("team ", call.caller.team)


def _project(call: Call) -> str:
    return _clean("project ", call.caller.project)


def _ip(call: Call) -> str:
    return f"ip {network(call.ip)}"


def _model(call: Call) -> str:
    """However it is written: `gpt-4o`, `openai/gpt-4o`, `GPT-4o`. Else each spelling had a limit of its own."""
    try:
        name = call.model.strip()
        return _clean("model ", (name.rpartition("/")[2] or name).casefold())
    except Refusal:  # what is wrong with the call is said elsewhere
        return f"model {NOBODY}"


def _host(call: Call) -> str:
    return _clean("host ", call.host.lower())


def _everyone(call: Call) -> str:
    return "everyone"


def _policy(call: Call) -> str:
    return _clean("policy ", call.policy.name)


_FINDERS: dict[Whom, SubjectOf] = {
    "user": _user,
    "key": _key,
    "team": _team,
    "project": _project,
    "ip": _ip,
    "model": _model,
    "host": _host,
    "everyone": _everyone,
}


def _clean(word: str, value: str) -> str:
    """A name as part of a key: bounded, and never like two names."""
    if len(value) > _LONGEST or not value.isprintable() or "," in value:
        value = _shortened(value)
    return f"{word}{value or NOBODY}"


@lru_cache(maxsize=1024)
def _shortened(value: str) -> str:
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    readable = "".join(one for one in value[:40] if one.isprintable() and one != ",")
    return f"{readable}…{digest}"


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """An address as it is counted: a customer of IPv6 has 2^64 of them, so that the first half alone counts."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return NOBODY
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else f"{ipaddress.ip_network((parsed, 64), strict=False).network_address}/64"
