"""The ways to a state store: one server, a Sentinel's primary, the shards of a Cluster.

Each takes commands and gives one reply or one `StoreError` for each, in order.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, ResponseError

from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.lanes import Lanes, pack, refused
from shin_gateway.stores.url import Address

_KEY_AT = {"EVAL": 3, "EVALSHA": 3, "XGROUP": 2, "XINFO": 2, "OBJECT": 2, "MEMORY": 2}
_AFTER_STREAMS = {"XREAD", "XREADGROUP"}
_NO_KEY = {"PING", "TIME", "INFO", "DBSIZE", "SCRIPT", "CLUSTER", "CONFIG", "COMMAND", "CLIENT", "WAIT"}
_REDIRECTS = 4


class Command(NamedTuple):
    args: tuple[Any, ...]
    packed: bytes


class Link(Protocol):
    async def exchange(self, commands: Sequence[Command], timeout: float | None) -> list[Any]:
        """A reply or a `StoreError` for each command, in order. Raises nothing of its own."""

    async def close(self) -> None: ...


def open_link(address: Address) -> Link:
    """Nothing is connected before the first exchange."""
    return ClusterLink(address) if address.kind == "cluster" else ServerLink(address)


class ServerLink:
    """One server, or the server that the Sentinels call primary at the moment of connecting."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._sentinel = _sentinel(address) if address.kind == "sentinel" else None
        wait = address.timeout * (1 + len(address.hosts) if self._sentinel else 1)
        self._lanes = Lanes(self._make, str(address), connect_timeout=wait)

    async def exchange(self, commands: Sequence[Command], timeout: float | None) -> list[Any]:
        try:
            replies = await self._lanes.exchange([command.packed for command in commands], timeout)
        except StoreError as error:
            return [error] * len(commands)
        for index, reply in enumerate(replies):
            if isinstance(reply, ResponseError):
                replies[index] = refused(reply)
        if self._sentinel and any(getattr(reply, "code", "") == "READONLY" for reply in replies):
            await self._demoted()
        return replies

    async def close(self) -> None:
        await self._lanes.close()
        for client in self._sentinel.sentinels if self._sentinel else ():
            await client.aclose()

    async def _make(self) -> AbstractConnection:
        if self._address.kind == "unix":
            return UnixDomainSocketConnection(path=self._address.path, **_login(self._address))
        if self._sentinel:
            host, port = await self._sentinel.discover_master(self._address.service)
        else:
            host, port = self._address.hosts[0]
        return tcp(self._address, host, port)

    async def _demoted(self) -> None:
        """The primary became a replica: let go of its connections, so that the next one asks the Sentinels."""
        await self._lanes.close()
        self._lanes = Lanes(self._make, str(self._address), connect_timeout=self._address.timeout * 4)


class ClusterLink:
    """Commands go to the shard that holds their key; `MOVED` and `ASK` are followed."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lanes: dict[tuple[str, int], Lanes] = {}
        self._slots: list[tuple[int, int, tuple[str, int]]] = []
        self._lock = asyncio.Lock()

    async def exchange(self, commands: Sequence[Command], timeout: float | None) -> list[Any]:
        try:
            if not self._slots:
                await self._learn()
            places = [self._place(command) for command in commands]
        except StoreError as error:
            return [error] * len(commands)
        replies: list[Any] = [None] * len(commands)
        shards: dict[tuple[str, int], list[int]] = {}
        for index, place in enumerate(places):
            shards.setdefault(place, []).append(index)
        await asyncio.gather(
            *(self._shard(place, indices, commands, replies, timeout) for place, indices in shards.items())
        )
        return replies

    async def close(self) -> None:
        for lanes in self._lanes.values():
            await lanes.close()

    async def _shard(
        self,
        place: tuple[str, int],
        indices: list[int],
        commands: Sequence[Command],
        replies: list[Any],
        timeout: float | None,
    ) -> None:
        try:
            answers = await self._lane(place).exchange([commands[index].packed for index in indices], timeout)
        except StoreError as error:
            self._slots = []  # the shard may have a new primary: ask again before the next batch...
            self._lanes[place] = self._lanes.pop(place)  # ...this one last
            answers = [error] * len(indices)
        for index, answer in zip(indices, answers, strict=True):
            if isinstance(answer, ResponseError):
                answer = await self._follow(commands[index], answer, timeout)
            replies[index] = answer

    async def _follow(self, command: Command, answer: ResponseError, timeout: float | None) -> Any:
        """The reply from where the cluster says that the key lives now. The first shard did nothing."""
        for _ in range(_REDIRECTS):
            if not isinstance(answer, AskError):
                break
            packed = [pack("ASKING"), command.packed]
            if isinstance(answer, MovedError):  # which redis-py derives from AskError
                self._slots = []
                packed = [command.packed]
            try:
                reply = (await self._lane((answer.host, answer.port)).exchange(packed, timeout))[-1]
            except StoreError as error:
                return error
            if not isinstance(reply, ResponseError):
                return reply
            answer = reply
        return refused(answer)

    def _lane(self, place: tuple[str, int]) -> Lanes:
        if place not in self._lanes:

            async def make() -> AbstractConnection:
                return tcp(self._address, *place)

            name = f"{self._address} ({place[0]}:{place[1]})"
            self._lanes[place] = Lanes(make, name, connect_timeout=self._address.timeout)
        return self._lanes[place]

    def _place(self, command: Command) -> tuple[str, int]:
        key = _key(command.args)
        if key is None:
            return self._slots[0][2]
        slot = key_slot(key if isinstance(key, bytes) else str(key).encode())
        for first, last, place in self._slots:
            if first <= slot <= last:
                return place
        raise StoreError(f"state store {self._address}: no shard serves slot {slot}")

    async def _learn(self) -> None:
        """Ask any node that answers which shard serves which slots."""
        async with self._lock:
            if self._slots:
                return
            last: Exception = StoreError(f"state store {self._address}: no node answers")
            for place in dict.fromkeys([*self._lanes, *self._address.hosts]):
                try:
                    (reply,) = await self._lane(place).exchange([pack("CLUSTER", "SLOTS")], self._address.timeout)
                except StoreError as error:
                    last = error
                    continue
                if isinstance(reply, ResponseError):
                    raise refused(reply)
                if reply:
                    self._slots = [_shard_row(row, place) for row in reply]
                    return
                last = StoreError(f"state store {self._address}: the cluster serves no slots yet")
            raise last


def _shard_row(row: list[Any], asked: tuple[str, int]) -> tuple[int, int, tuple[str, int]]:
    first, last, (host, port, *_), *_ = row
    return first, last, (host.decode() if host else asked[0], port)


def _key(args: tuple[Any, ...]) -> Any:
    """The first key of a command, which decides its shard. None where it has none."""
    name = str(args[0]).upper()
    if name in _NO_KEY:
        return None
    if name in _AFTER_STREAMS:
        return next((args[i + 1] for i, arg in enumerate(args) if str(arg).upper() == "STREAMS"), None)
    at = _KEY_AT.get(name, 1)
    if name.startswith("EVAL") and not int(args[2]):
        return None
    return args[at] if len(args) > at else None


def tcp(address: Address, host: str, port: int) -> AbstractConnection:
    if not address.tls:
        return Connection(host=host, port=port, **_login(address))
    return SSLConnection(host=host, port=port, **_tls(address), **_login(address))


def _login(address: Address) -> dict[str, Any]:
    """No timeouts of its own: `Lanes` keeps the time of the whole exchange. No retries either."""
    return {
        "username": address.user,
        "password": address.password,
        "db": address.db,
        "protocol": 3,
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "retry": Retry(NoBackoff(), 0),
    }


def _tls(address: Address) -> dict[str, Any]:
    return {
        "ssl_ca_certs": address.ca,
        "ssl_certfile": address.cert,
        "ssl_keyfile": address.key,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
    }


def _sentinel(address: Address) -> Sentinel:
    login = {"username": address.sentinel_user, "password": address.sentinel_password}
    tls = {"ssl": True, **_tls(address)} if address.tls else {}
    wait = {"socket_timeout": address.timeout, "socket_connect_timeout": address.timeout}
    options = {"retry": Retry(NoBackoff(), 0), "protocol": 3, **login, **tls, **wait}
    return Sentinel(list(address.hosts), sentinel_kwargs=options)
