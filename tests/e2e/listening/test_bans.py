"""Addresses that try key after key have to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from shin_gateway.listening.bans import Bans
from shin_gateway.listening.limits import BanSettings
from tests.e2e.listening.limited import APP, CALL, PATH, limited, once, preflight
from tests.e2e.serving import Serving
from tests.e2e.wire import Wire, request
from tests.provider import FakeProvider

pytestmark = pytest.mark.asyncio(loop_scope="module")

BAN = "ban: {after: 3, within: 30s, lasts: 1s, loopback: true}"
USERS = "users: {alice: env:SHIN_TEST_ALICE, bob: env:SHIN_TEST_BOB}\n"


@once()
async def guarded(
    tmp_path_factory: pytest.TempPathFactory, provider: FakeProvider, secure: FakeProvider
) -> AsyncIterator[Serving]:
    async with limited(tmp_path_factory.mktemp("guarded"), provider, secure, BAN, USERS) as one:
        yield one


@pytest.fixture
def strict(guarded: Serving) -> Serving:
    guarded.worker._bridge.bans = Bans(guarded.worker.config.listen.limits.ban)
    return guarded


def with_key(key: str) -> bytes:
    return request(PATH, CALL, f"authorization: Bearer {key}" if key else "")


async def test_an_address_that_tries_key_after_key_has_to_wait(strict: Serving, provider: FakeProvider) -> None:
    gateway = Wire(strict.gateway)
    assert (await gateway.ask(with_key("of-alice"))).status == 200
    assert [(await gateway.ask(with_key(""))).status for _ in range(5)] == [401] * 5  # no guess
    assert [(await gateway.ask(with_key(f"guess-{number}"))).status for number in range(3)] == [401] * 3
    refused = await gateway.ask(with_key("guess-4"))
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert refused.headers["x-should-retry"] == "false"
    assert refused.json["error"]["code"] == "banned"
    assert (await gateway.ask(with_key("of-bob"))).status == 429  # right, and never seen here
    assert (await gateway.ask(with_key("of-alice"))).status == 200
    assert (await gateway.ask(with_key(""))).status == 401
    await asyncio.sleep(1.1)
    assert (await gateway.ask(with_key("of-bob"))).status == 200
    assert len(provider.seen) == 3


async def test_guessing_the_proxys_passwords_too(strict: Serving, secure: FakeProvider) -> None:
    async def status(login: str) -> int:
        async with strict.client(login=login) as client:
            try:
                return (await client.get(f"https://localhost:{secure.port}/telemetry")).status_code
            except Exception as error:
                return int(str(error).split()[0])

    assert await status("alice:of-alice@") == 200
    assert [await status(f"alice:guess-{number}@") for number in range(3)] == [407] * 3
    assert await status("alice:guess-4@") == 429
    assert await status("") == 407
    assert await status("alice:of-alice@") == 200
    assert (await Wire(strict.gateway).ask(with_key("guess"))).status == 429


async def test_this_machine_is_not_banned_by_itself(strict: Serving) -> None:
    strict.worker._bridge.bans = Bans(BanSettings(after=2))
    assert [(await Wire(strict.gateway).ask(with_key("guess"))).status for _ in range(5)] == [401] * 5


async def test_preflights_need_no_key(strict: Serving) -> None:
    answer = await Wire(strict.gateway).ask(preflight(APP))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, APP)
    stranger = await Wire(strict.gateway).ask(preflight("https://evil.example"))
    assert stranger.status == 204
    assert not [name for name in stranger.headers if name.startswith("access-control-")]
