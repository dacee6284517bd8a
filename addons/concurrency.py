"""At most so many calls at once; the others wait in classes of priority, fairly among callers.

The place is claimed with everything else that a call claims, in one step of the state store, and is held until the
call has ended: through retries, to the end of a stream, for the life of a realtime connection. What failed for good
may be kept, to be looked at and sent again (`shin dlq`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from shin_gateway.addon import Addon, Forward, Mode, Services, Settings, Stage
from shin_gateway.admission.claims import Claim, ClaimMode, Limit
from shin_gateway.admission.places import CLASSES, Class, Line, PlaceClaim, places
from shin_gateway.admission.subjects import SubjectOf, Whom, subject_of
from shin_gateway.call import Call
from shin_gateway.caller import Caller
from shin_gateway.errors import Invalid, RateLimited, Refusal
from shin_gateway.letters import Letters, LetterSettings
from shin_gateway.outcome import Outcome
from shin_gateway.reply import Reply
from shin_gateway.units import Duration

PRIORITY = "x-shin-priority"
"""The header by which a call says its class."""
PLACE = "x-shin-queue-place"
QUEUED = "x-shin-queue-ms"
SOONEST, LATEST = 1.0, 60.0
"""Seconds that a refused call is asked to wait."""

FREE = frozenset({"models", "count", "stored", "file", "batch"})
"""Kinds of calls that keep no model busy."""
_OWN: dict[str, Class] = {f"priority:{name}": name for name in CLASSES}
_MAX: dict[str, Class] = {f"max_priority:{name}": name for name in CLASSES}
"""Tags of a key that say what class its calls are of, and the highest that they may ask for."""

_MAX_CALLS = 100_000
_LONGEST_NAME = 160

PerWord = Whom | Literal["target", "policy"]
_NARROW: tuple[PerWord, ...] = ("key", "user", "ip", "project", "team")
"""Whose places are few people's, the fewest first. They are taken before those that all share, or whoever waits for
his own keeps everybody else waiting for what he holds meanwhile."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Per = Annotated[tuple[PerWord, ...], BeforeValidator(_listed), Field(min_length=1, max_length=4)]
"""`user`, or a list of which each combination has places of its own."""
Calls = Annotated[int, Field(ge=1, le=_MAX_CALLS, strict=True)]
Depth = Annotated[int, Field(ge=0, le=_MAX_CALLS, strict=True)]
Wait = Annotated[Duration, Field(gt=0, le=3600)]


class ClassSettings(Settings):
    weight: Annotated[int, Field(ge=1, le=1000, strict=True)]
    """Its share of the places that become free, where several classes wait."""
    max_wait: Wait | None = None
    """The longest that its calls wait; as the policy's `max_wait` where it is not said."""
    depth: Depth | None = None
    """Calls of this class that may wait; as many as the queue holds where it is not said."""
    idle_only: bool = False
    """Its calls get a place only while no call of another class waits."""
    keep_free: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A share of the places that its calls leave free, for what may come."""


_DEFAULTS: dict[Class, ClassSettings] = {
    "critical": ClassSettings(weight=16),
    "high": ClassSettings(weight=8),
    "normal": ClassSettings(weight=4),
    "low": ClassSettings(weight=2),
    "batch": ClassSettings(weight=1, idle_only=True),
}


def _filled(value: Any) -> Any:
    """A number is a weight; what is left out is as it is by default."""
    if not isinstance(value, Mapping):
        return value
    given = {name: {"weight": one} if isinstance(one, int) else one for name, one in value.items()}
    known: dict[Any, Any] = dict(_DEFAULTS)
    for name, one in given.items():
        before = _DEFAULTS[name].model_dump() if name in _DEFAULTS else {}
        known[name] = {**before, **one} if isinstance(one, Mapping) else one
    return known


class PlaceSettings(Settings):
    calls: Calls
    """Calls at once."""
    per: Per
    """Who or what has so many."""


class ConcurrencySettings(Settings):
    calls: Calls = 8
    """Calls at once; 1: strictly one after the other."""
    per: Per = ("policy",)
    """Who or what has so many: target, key, user, team, project, ip, model, host, policy, everyone; or several of them,
    of which each combination counts apart."""
    also: Annotated[tuple[PlaceSettings, ...], Field(max_length=4)] = ()
    """Further places that a call needs at the same time: `[{calls: 2, per: user}]`."""
    queue: Depth = 100
    """Calls that may wait for the places of one; those of `idle_only` classes are not counted."""
    max_wait: Wait = 30.0
    """The longest that a call waits."""
    priority: Class = "normal"
    """The class of calls that say nothing else, and whose keys do not."""
    priority_header: Literal["allow", "ignore"] = "allow"
    """Whether a call may say its class in the header x-shin-priority."""
    max: Class | None = None
    """The highest class that the header may say; where it is not set, the call's own, so that it can only step back."""
    classes: Annotated[dict[Class, ClassSettings], BeforeValidator(_filled)] = _DEFAULTS
    """The classes, by name; a number is a weight. Those left out stay as they are."""
    on_store_error: Literal["allow", "refuse"] = "allow"
    """What happens while the state store is away: `allow` goes on with as many places in each worker alone, first come,
    first served; `refuse` answers 503."""
    dead_letters: Literal["on", "off"] | LetterSettings = "off"
    """Keep what failed for good, bodies included, sealed."""


class Concurrency(Addon[ConcurrencySettings]):
    stage = Stage.ADMIT
    order = 10
    claims = True

    def __init__(self, settings: ConcurrencySettings, services: Services, mode: Mode = "enforce") -> None:
        super().__init__(settings, services, mode)
        self._mode = ClaimMode.SHADOW if mode == "shadow" else ClaimMode.ENFORCE
        wanted = [(settings.calls, settings.per), *((one.calls, one.per) for one in settings.also)]
        self._places = [_Places(calls, per, settings, services) for calls, per in wanted]
        self._tenant = subject_of(("user",))
        kept = LetterSettings() if settings.dead_letters == "on" else settings.dead_letters
        self._letters: Letters | None = None
        if isinstance(kept, LetterSettings) and mode == "enforce":
            self._letters = Letters(services.state, services.home, kept)

    async def start(self) -> None:
        if self._letters is not None:
            await self._letters.start()

    async def handle(self, call: Call, forward: Forward) -> Reply:
        if call.kind in FREE:
            return await forward(call)
        name = self._class_of(call)
        tenant = self._tenant(call)
        call.claims.extend(claim for one in self._places if (claim := self._claim(one, call, name, tenant)))
        if name != self.settings.priority:
            call.note(priority=name)
        if self._letters is not None:
            self._letters.watch(call)
        reply = await forward(call)
        if queued := call.outcome.timings.queued:
            reply.headers[QUEUED] = f"{queued * 1000:.0f}"
        return reply

    def _claim(self, one: _Places, call: Call, name: Class, tenant: str) -> PlaceClaim | None:
        subject = one.subject(call)
        if subject is None:
            return None
        return PlaceClaim(
            self.name,
            one.limit,
            subject,
            1,
            _refuse,
            _nothing,
            mode=self._mode,
            on_store_error=self.settings.on_store_error,
            line=one.lines[name],
            tenant=tenant,
        )

    def _class_of(self, call: Call) -> Class:
        """From the header where it may say so, else from the key, else the policy's. Raises Invalid."""
        settings = self.settings
        granted = _tagged(call.caller, _MAX)
        own = _lower(_tagged(call.caller, _OWN) or settings.priority, granted)
        said = call.headers.get(PRIORITY, "").strip().lower() if settings.priority_header == "allow" else ""
        if not said:
            return own
        for name in CLASSES:
            if name == said:
                highest = granted or settings.max or own
                return _lower(name, min(own, highest, key=CLASSES.index))
        if self.mode == "shadow":
            return own
        raise Invalid(f"{PRIORITY}: should be one of {', '.join(CLASSES)}.", param=PRIORITY)


def _lower(one: Class, other: Class | None) -> Class:
    return one if other is None else max(one, other, key=CLASSES.index)


class _Places:
    """One number of places, made when the policy loads."""

    def __init__(self, calls: int, per: Per, settings: ConcurrencySettings, services: Services) -> None:
        self._target_of = services.target_of if "target" in per else None
        self._subject = _subject_of(per)
        self.limit: Limit = places(_ranked(per), calls, settings.queue)
        self.lines = {name: _line(name, one, calls, settings) for name, one in settings.classes.items()}

    def subject(self, call: Call) -> str | None:
        """None where a call's target is not known yet, or there is none: nothing is kept busy then."""
        subject = self._subject(call)
        if self._target_of is None:
            return subject
        try:
            target = call.target or self._target_of(call)
        except Refusal:  # what is wrong with the call is said further in
            return None
        return f"{subject}target {_bounded(target.name)}" if target is not None else None


def _ranked(per: Per) -> str:
    """An id by whose order places are taken: digits come before letters."""
    rank = next((str(at) for at, word in enumerate(_NARROW) if word in per), "")
    return rank + "+".join(per)


def _bounded(name: str) -> str:
    """A target's name, which holds the model's as the client wrote it."""
    return name if len(name) <= _LONGEST_NAME else hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _subject_of(per: Per) -> SubjectOf:
    rest: list[Whom] = [one for one in per if one != "target" and one != "policy"]
    whom = subject_of(rest, "policy" in per) if rest else _policy if "policy" in per else _nobody
    return (lambda call: f"{whom(call)}, ") if "target" in per and whom is not _nobody else whom


def _policy(call: Call) -> str:
    return f"policy {call.policy.name}"


def _nobody(call: Call) -> str:
    return ""


def _line(name: Class, one: ClassSettings, calls: int, settings: ConcurrencySettings) -> Line:
    depth = settings.queue if one.depth is None else one.depth
    most = max(1, calls - int(calls * one.keep_free))
    return Line(name, one.weight, depth, most, one.idle_only, one.max_wait or settings.max_wait)


def _tagged(caller: Caller, known: Mapping[str, Class]) -> Class | None:
    return next((known[tag] for tag in caller.tags if tag in known), None)


def _nothing(call: Call, outcome: Outcome) -> int:
    return 0


def _refuse(call: Call, claim: Claim) -> Refusal:
    assert isinstance(claim, PlaceClaim)
    line, standing = claim.line, claim.standing
    waiting = max(0, standing.used - standing.limit) if standing else 0
    place = claim.place or waiting + 1
    soon = standing.reset if standing else 0.0
    code = "queue_timeout" if claim.place else "queue_full"
    if claim.mode is ClaimMode.SHADOW and waiting < min(claim.queue, line.depth):
        code = "queued"
    refusal = RateLimited(_words(claim, place), code=code, retry_after=min(LATEST, max(SOONEST, soon)))
    refusal.headers[PLACE] = str(place)
    return refusal


def _words(claim: PlaceClaim, place: int) -> str:
    line = claim.line
    what = f"{claim.calls} call{'s' if claim.calls > 1 else ''} at once for {claim.subject}"
    if claim.place:
        return (
            f"There may be {what}. This one waited {line.max_wait:g} s and was number {place} in the queue "
            f"of the class {line.name}."
        )
    return f"There may be {what}, and the queue is full: this would be number {place} of the class {line.name}."
