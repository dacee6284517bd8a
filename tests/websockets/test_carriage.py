"""What a connection holds on to for a client that says much and reads nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from shin_gateway.websockets import carriage as carriages
from shin_gateway.websockets.carriage import POLICY, Carriage
from shin_gateway.websockets.history import History


def carriage(limit: int) -> Carriage:
    return Carriage(
        lambda: None,
        lambda live, body: NotImplemented,
        limit,
        draining=lambda: False,
        upward=lambda: NotImplemented,
    )


def steer(size: int) -> str:
    return json.dumps({"type": "response.steer", "previous_response_id": "x", "input": "y" * size})


def test_notices_that_repeat_what_was_said_have_the_limit_of_a_message() -> None:
    one = carriage(limit=10_000)
    for _ in range(5):
        one.receive(steer(4_000))
    assert one._closing[0] == POLICY
    assert sum(map(len, one._notices)) <= 10_000


def test_one_notice_may_be_as_long_as_a_message() -> None:
    one = carriage(limit=10_000)
    one.receive(steer(9_990))
    assert len(one._notices) == 1


def test_contexts_without_a_byte_are_bounded_too() -> None:
    history = History(limit=1_000_000)
    for at in range(10_100):
        history.keep(f"resp_{at}", ())
    assert len(history._contexts) == 10_000
    assert history.before("resp_10099") == ()


def test_items_count_beside_their_bytes() -> None:
    history = History(limit=8_000)
    history.keep("many", [b"1"] * 1_000)
    assert len(history._contexts) == 0


class Deaf:
    """Takes one message and reads no more."""

    silence = 0.0

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = 0

    def room(self) -> Any:
        return asyncio.Event().wait() if self.sent else None

    async def send(self, messages: Iterable[bytes]) -> None:
        self.sent += messages

    async def ping(self) -> None:
        pass

    async def close(self, code: int, reason: str) -> None:
        self.closed = code


async def test_who_reads_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriages, "STALLED", 0.1)
    one, client = carriage(limit=10_000), Deaf()
    serving = asyncio.create_task(one.serve(client))
    await asyncio.sleep(0)
    await one._send([b"one"])
    await one._send([b"two"])
    async with asyncio.timeout(20):
        await serving
    assert (client.sent, client.closed) == ([b"one"], POLICY)
