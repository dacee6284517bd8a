"""Refresh tokens are good once (RFC 9700 §4.14.2): which one of a family is next stands in the state store.

Whoever comes with one that was used before, or its thief, ends the family: they cannot be told apart.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from shin_gateway.identity.own_tokens import Refresh
from shin_gateway.stores.state import StateStore

log = logging.getLogger(__name__)

MOST = 100
"""Families of one virtual key; with one more the one that would end first ends."""

_BEGIN = """
local serials, ends = KEYS[1], KEYS[2]
local family, serial, till, now, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local function drop(families)
  for _, one in ipairs(families) do
    redis.call('HDEL', serials, one)
    redis.call('ZREM', ends, one)
  end
end
drop(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, most))
redis.call('HSET', serials, family, serial)
redis.call('ZADD', ends, till, family)
local over = redis.call('ZCARD', ends) - most
if over > 0 then drop(redis.call('ZRANGE', ends, 0, over - 1)) end
local last = redis.call('ZRANGE', ends, -1, -1, 'WITHSCORES')[2]
if type(last) == 'table' then last = last.double end
redis.call('EXPIREAT', serials, string.format('%.0f', last))
redis.call('EXPIREAT', ends, string.format('%.0f', last))
return 1
"""
_TURN = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known then return 'gone' end
if known ~= ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 'used'
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 'good'
"""


class Families:
    """Every method raises StoreError, and changes nothing then that anybody could rely on."""

    def __init__(self, state: StateStore, clock: Callable[[], float] = time.time) -> None:
        self._begin = state.script(_BEGIN)
        self._turn = state.script(_TURN)
        self._clock = clock

    async def begin(self, key_id: str, refresh: Refresh) -> None:
        now = int(self._clock())
        await self._begin(_places(key_id), (refresh.family, refresh.serial, refresh.until, now, MOST))

    async def turn(self, key_id: str, used: Refresh, following: Refresh) -> bool:
        """Whether `used` was the one that is good. Then `following` is."""
        said = await self._turn(_places(key_id), (used.family, used.serial, following.serial))
        if said == b"used":
            log.warning("a refresh token of %s was used twice; nothing that came from it works any more", key_id)
        return bool(said == b"good")


def _places(key_id: str) -> tuple[str, str]:
    return f"shin:tokens:{{{key_id}}}:serials", f"shin:tokens:{{{key_id}}}:ends"
