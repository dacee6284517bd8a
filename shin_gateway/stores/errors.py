"""What a store answers when it cannot do what was asked. Messages never hold a credential."""

from __future__ import annotations


class StoreError(Exception):
    """A store is down, unreachable, or not usable as it is."""


class StoreTimeout(StoreError):
    """A store did not answer in time. Whether it did what was asked is unknown."""


class CommandError(StoreError):
    """The state store understood the connection but refused this one command.

    `code` is the first word of the server's error: `WRONGTYPE`, `OOM`, `NOSCRIPT`.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class RowsRejected(StoreError):
    """Analytics is up but cannot take these rows as they are; trying again changes nothing."""
