"""A stream in the state store that tells of changes, read by whoever has to hear of them."""

from __future__ import annotations

from collections.abc import Sequence

from shin_gateway.stores.errors import CommandError
from shin_gateway.stores.state import StateStore

NONE = b"0-0"
"""Before the first change."""

Change = tuple[bytes, Sequence[bytes]]
"""Its id; names and values in turn."""


class Changes:
    """One stream, read on a connection of its own: never on the way of a call. Every method raises StoreError."""

    def __init__(self, state: StateStore, stream: str, patience: float) -> None:
        """`patience`: seconds that the store may take, where it is not told to wait."""
        self._state = state
        self._stream = stream
        self._patience = patience

    async def newest(self) -> bytes:
        """The id of the last change so far."""
        try:
            info = await self._state.run_alone("XINFO", "STREAM", self._stream, timeout=self._patience)
        except CommandError as error:
            if "no such key" not in str(error):
                raise
            return NONE
        newest: bytes = info[b"last-generated-id"]
        return newest

    async def after(self, last: bytes, most: int, block: float, timeout: float) -> Sequence[Change]:
        """Up to `most` changes after `last`, the oldest first; waits `block` seconds for one.

        Raises StoreError at the latest after `timeout` seconds more.
        """
        command = ("XREAD", "COUNT", most, "BLOCK", round(block * 1000), "STREAMS", self._stream, last)
        reply = await self._state.run_alone(*command, timeout=block + timeout)
        found: Sequence[Change] = next(iter(reply.values())) if reply else []
        return found
