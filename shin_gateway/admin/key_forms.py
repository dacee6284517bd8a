"""Virtual keys as the admin API takes and shows them."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from shin_gateway.admin.calls import Moment
from shin_gateway.admission.budgets import check_budget
from shin_gateway.admission.rates import check_limits
from shin_gateway.keys import KeyRecord
from shin_gateway.keys.records import Status
from shin_gateway.keys.registrar import GRACE

LONGEST = 200
"""Characters of a name."""
MOST = 50
"""Entries of a list."""
SETTINGS = 4000
"""Bytes of `limits` and of `budget`."""
MONTH = 30 * 86400


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("should be printable characters")
    return text


def _short(settings: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(json.dumps(settings, allow_nan=False))
    except (ValueError, RecursionError):
        raise ValueError("should be plain JSON") from None
    if size > SETTINGS:
        raise ValueError(f"should be {SETTINGS:,} bytes of JSON at most")
    return settings


def _limits(settings: dict[str, Any]) -> dict[str, Any]:
    check_limits(settings)
    return settings


def _budget(settings: dict[str, Any]) -> dict[str, Any]:
    check_budget(settings)
    return settings


def _ahead(moment: datetime) -> datetime:
    if moment.timestamp() <= time.time():
        raise ValueError("should be in the future")
    return moment


Text = Annotated[
    str, StringConstraints(strict=True, strip_whitespace=True, max_length=LONGEST), AfterValidator(_printable)
]
Texts = Annotated[list[Annotated[Text, Field(min_length=1)]], Field(max_length=MOST)]
Settings = Annotated[dict[str, Any], AfterValidator(_short)]
Name = Annotated[str, Field(max_length=LONGEST)]


class _Asked(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")


class _Shown(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class KeyWanted(_Asked):
    """A key as it shall be. Where a key is changed, what is left out stays as it is."""

    name: Text = ""
    """For people."""
    user: Text = ""
    """Whose it is: limits, budgets, caches and files of this user hold for it."""
    team: Text = ""
    project: Text = ""
    tags: Texts = []
    roles: Texts = ["user"]
    """What it may: names of roles."""
    models: Texts = []
    """Patterns of the models that it may use, of those that its roles permit; empty: all of these."""
    hosts: Annotated[Texts, AfterValidator(lambda hosts: [host.lower() for host in hosts])] = []
    """Patterns of hosts, likewise; `gateway` is our own listener."""
    limits: Annotated[Settings, AfterValidator(_limits)] = {}
    """Limits of its own: settings of the addon rate_limit."""
    budget: Annotated[Settings, AfterValidator(_budget)] = {}
    """A budget of its own: settings of the addon budget."""
    expires: Annotated[Moment, AfterValidator(_ahead)] | None = None
    """When it ends; ISO 8601, UTC where it names no offset. Null: never."""

    def fields(self) -> dict[str, Any]:
        """What was said, as the record has it."""
        said = self.model_dump(exclude_unset=True)
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
        return fields | ({"expires": self.expires and self.expires.timestamp()} if "expires" in said else {})


class Rotation(_Asked):
    grace: Annotated[float, Field(ge=0, le=MONTH, allow_inf_nan=False)] = GRACE
    """Seconds for which the old secret works; 0: it stops at once, and with it all older ones."""


class KeysWanted(_Asked):
    user: Name | None = None
    team: Name | None = None
    project: Name | None = None
    tag: Name | None = None
    status: Status | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    before: Name | None = None
    """The `next` of the page before."""

    def fits(self, record: KeyRecord) -> bool:
        same = all(
            asked is None or asked == getattr(record, name)
            for name, asked in (("user", self.user), ("team", self.team), ("project", self.project))
        )
        tagged = self.tag is None or self.tag in record.tags
        return same and tagged and self.status in (None, record.status(time.time()))


class KeyShown(_Shown):
    """A virtual key without its secret, which nobody has but its owner."""

    id: str
    status: Status
    name: str
    user: str
    team: str
    project: str
    tags: list[str]
    roles: list[str]
    models: list[str]
    hosts: list[str]
    limits: dict[str, Any]
    budget: dict[str, Any]
    created: datetime
    expires: datetime | None
    rotated: datetime | None
    """When it got its newest secret, unless that was its first."""
    old_secret_until: datetime | None
    """Until when a secret from before that works; null: none does."""
    revoked: datetime | None


class KeyMade(KeyShown):
    secret: str
    """The key itself. It is shown this once."""


class KeysShown(_Shown):
    """The newest first. Revoked ones are here for 30 days, the last 1,000 of them."""

    keys: list[KeyShown]
    next: str | None
    """`before` for the page after this one; null on the last page."""


def recorded(record: KeyRecord) -> dict[str, Any]:
    """What the list of actions tells of a key."""
    return shown(record).model_dump(mode="json", exclude={"id", "created"})


def shown(record: KeyRecord) -> KeyShown:
    now = time.time()
    old = [one.until for one in record.secrets if one.until is not None and one.works(now)]
    return KeyShown(
        id=record.id,
        status=record.status(now),
        name=record.name,
        user=record.user,
        team=record.team,
        project=record.project,
        tags=list(record.tags),
        roles=list(record.roles),
        models=list(record.models),
        hosts=list(record.hosts),
        limits=record.limits,
        budget=record.budget,
        created=_moment(record.created),
        expires=record.expires and _moment(record.expires),
        rotated=record.rotated and _moment(record.rotated),
        old_secret_until=_moment(max(old)) if old else None,
        revoked=record.revoked and _moment(record.revoked),
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
