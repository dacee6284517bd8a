"""What went wrong between a client, the proxy and a provider, kept for `shin doctor`.

A bounded file of JSON lines under home, appended by every worker: `{"at", "event", "host", "client", "detail"}`. It
holds no bodies and no credentials. Noting never fails and never blocks on another process.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

EventName = Literal[
    "intercepted",  # a client's TLS handshake on an intercepted host succeeded: it trusts the CA
    "untrusted_ca",  # it failed, and the client's alert or hang-up says that it does not trust the CA
    "tls_failed",  # it failed for another reason
    "tunnelled",  # a CONNECT to a host that no policy names
    "proxy_auth_missing",  # a policy wants credentials in the proxy's URL, and there were none or wrong ones
    "upstream_unverified",  # the provider's certificate could not be verified
    "upstream_unreachable",  # no connection to the provider: name, route or port
]
EVENTS: tuple[str, ...] = get_args(EventName)

LIMIT = 1_000_000
"""Bytes after which a new file is begun; the one before it is kept."""
INTERVAL = 10.0
"""Seconds in which the same event of the same host and client is noted once."""
_REMEMBERED = 1000
_DETAIL = 300


@dataclass(frozen=True)
class Event:
    """One line. `client` is the user agent of the CONNECT where there was one, else its address."""

    at: dt.datetime
    event: str
    host: str = ""
    client: str = ""
    detail: str = ""


class Diagnostics:
    """The file under `home`. One for each worker."""

    def __init__(self, home: Path) -> None:
        self.path = home / "diagnostics.jsonl"
        self._noted: dict[tuple[str, str, str], float] = {}

    def note(self, event: EventName, *, host: str = "", client: str = "", detail: str = "") -> None:
        """Append an event, unless the same was noted within `INTERVAL`."""
        if not self._due((event, host, client)):
            return
        now = dt.datetime.now(dt.UTC)
        line = asdict(Event(now, event, host[:_DETAIL], client[:_DETAIL], detail[:_DETAIL]))
        with contextlib.suppress(OSError):
            self._append(json.dumps({**line, "at": now.isoformat(timespec="milliseconds")}).encode() + b"\n")

    def recent(self, within: dt.timedelta = dt.timedelta(days=1)) -> list[Event]:
        """Events of the last time, oldest first. Lines that cannot be read are passed over."""
        since = dt.datetime.now(dt.UTC) - within
        found = [event for path in (self._old, self.path) for event in _events(path)]
        return sorted((event for event in found if event.at >= since), key=lambda event: event.at)

    @property
    def _old(self) -> Path:
        return self.path.with_suffix(".1.jsonl")

    def _due(self, key: tuple[str, str, str]) -> bool:
        now = time.monotonic()
        if now - self._noted.get(key, -INTERVAL) < INTERVAL:
            return False
        if len(self._noted) >= _REMEMBERED:
            self._noted = {known: at for known, at in self._noted.items() if now - at < INTERVAL}
        if len(self._noted) < _REMEMBERED:
            self._noted[key] = now
        return True

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size + len(line) > LIMIT:
                self._rotate(descriptor)
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def _rotate(self, descriptor: int) -> None:
        """Put the full file aside. Of several workers one does; the others' last line goes with the old file."""
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(self.path).st_ino == os.fstat(descriptor).st_ino:
                os.replace(self.path, self._old)


def _events(path: Path) -> list[Event]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    return [event for line in lines if (event := _event(line))]


def _event(line: bytes) -> Event | None:
    try:
        data = json.loads(line)
        at = dt.datetime.fromisoformat(data["at"])
        texts = {name: str(data.get(name, "")) for name in ("event", "host", "client", "detail")}
        return Event(at if at.tzinfo else at.replace(tzinfo=dt.UTC), **texts)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
