"""What a worker remembers of virtual keys, bounded: those seen lately, and what was lately found to be none."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from shin_gateway.caller import Caller
from shin_gateway.keys.records import KeyRecord

KEYS = 10_000
UNKNOWN = 10_000
UNKNOWN_FOR = 3.0
"""Seconds for which something that is no key is not looked up again."""


@dataclass(slots=True, eq=False)
class Entry:
    record: KeyRecord
    caller: Caller
    seen: float
    """When it was looked up, in the loop's time."""
    epoch: int
    """Which time of listening it belongs to."""


class Memory:
    """Keys by their ids and by the digests of their secrets. Those used longest ago go first."""

    def __init__(self, most: int = KEYS) -> None:
        self._most = most
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._ids: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, name: str) -> Entry | None:
        """`name` is an id or a digest."""
        entry = self._entries.get(self._ids.get(name, name))
        if entry is not None:
            self._entries.move_to_end(entry.record.id)
        return entry

    def keep(self, entry: Entry) -> None:
        self.forget(entry.record.id)
        while len(self._entries) >= self._most:
            self.forget(next(iter(self._entries)))
        self._entries[entry.record.id] = entry
        self._ids.update(dict.fromkeys(entry.record.digests, entry.record.id))

    def forget(self, name: str) -> None:
        entry = self._entries.pop(self._ids.get(name, name), None)
        for digest in entry.record.digests if entry else ():
            self._ids.pop(digest, None)

    def confirm(self, epoch: int, at: float) -> None:
        """Until then nothing had changed about what was known in this epoch."""
        for entry in self._entries.values():
            if entry.epoch == epoch:
                entry.seen = max(entry.seen, at)


class Unknown:
    """Digests and ids that are no key's."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def holds(self, name: str, now: float) -> bool:
        return self._until.get(name, now) > now

    def add(self, name: str, now: float) -> None:
        self._until.pop(name, None)
        while len(self._until) >= UNKNOWN:
            self._until.popitem(last=False)
        self._until[name] = now + UNKNOWN_FOR

    def clear(self) -> None:
        self._until.clear()
