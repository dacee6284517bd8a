"""What a token server answers, as far as one can believe it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import msgspec

LONGEST_LIFE = 86_400.0
"""Seconds that a token is believed to live at most."""
UNSAID = 300.0
"""Seconds that one lives whose server does not say."""

_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
_ERROR = re.compile(r"[a-z_]{1,40}")
_PASSING = frozenset({408, 425, 429})
"""Statuses below 500 that pass by waiting."""


class NoToken(Exception):
    """Why there is none: half a sentence, with nothing in it that came from outside but a known kind of word.

    `final`: it will be no better the next time.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


@dataclass(frozen=True)
class Granted:
    """A token, and how many seconds it lives."""

    token: str = field(repr=False)
    life: float


class _Answer(msgspec.Struct):
    access_token: str
    token_type: str = "bearer"
    expires_in: int | float | str | None = None


class _Error(msgspec.Struct):
    error: str = ""


def granted(status: int, body: bytes) -> Granted:
    """RFC 6749 §5. Raises NoToken."""
    if status != 200:
        final = 300 <= status < 500 and status not in _PASSING
        raise NoToken(f"the token server answered {status}{_word(body)}", final=final)
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (ValueError, RecursionError):
        raise NoToken("the token server answered without a token") from None
    if answer.token_type.lower() != "bearer" or not _TOKEN.fullmatch(answer.access_token):
        raise NoToken("the token server gave a token that cannot be used")
    return Granted(answer.access_token, _life(answer.expires_in))


def _life(said: float | str | None) -> float:
    if said is None:
        return UNSAID
    try:
        life = float(said)
    except (ValueError, OverflowError):
        life = math.nan
    if not life > 0:
        raise NoToken("the token server gave a token that has expired")
    return min(life, LONGEST_LIFE)


def _word(body: bytes) -> str:
    """The kind of error, where the answer names one."""
    try:
        word = msgspec.json.decode(body, type=_Error).error
    except (ValueError, RecursionError):
        return ""
    return f" ({word})" if _ERROR.fullmatch(word) else ""
