"""Reloading without a restart. Waits for what must come; nothing is asserted on how fast."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shin_gateway.policy import PolicySet, load_policies
from shin_gateway.policy.watch import PolicyWatcher
from shin_gateway.registry import Registry
from tests.policy.conftest import Write

FOLDERS = [Path("policies")]


class Seen:
    def __init__(self) -> None:
        self.sets: asyncio.Queue[PolicySet] = asyncio.Queue()
        self.failure: Exception | None = None

    async def __call__(self, policies: PolicySet) -> None:
        if self.failure:
            raise self.failure
        await self.sets.put(policies)

    async def next(self) -> PolicySet:
        return await asyncio.wait_for(self.sets.get(), 20)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def watcher(write: Write, base: Path, registry: Registry, seen: Seen) -> AsyncIterator[PolicyWatcher]:
    write("policies/a.yaml", "hosts: [a.example]\n")
    watcher = PolicyWatcher(FOLDERS, registry, seen, base=base, every=0.01)
    watcher.start(load_policies(FOLDERS, registry, base))
    yield watcher
    await watcher.stop()


async def until_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(20):
        while text not in caplog.text:
            await asyncio.sleep(0.01)


async def test_a_good_change_arrives(watcher: PolicyWatcher, write: Write, seen: Seen) -> None:
    write("policies/a.yaml", "hosts: [b.example]\n")
    assert (await seen.next()).hosts == ["*.api.openai.com", "api.openai.com", "b.example"]
    write("policies/presets/new.yaml", "addons: {cache: on}\n")
    write("policies/c.yaml", "hosts: [c.example]\nextends: new\n")
    while (found := (await seen.next()).find("c.example")) is None:
        pass
    assert [line.name for line in found.addons] == ["cache"]
    Path("policies/a.yaml").unlink()
    assert (await seen.next()).find("b.example") is None


async def test_a_bad_change_keeps_what_was_and_says_why_once(
    watcher: PolicyWatcher, write: Write, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "shin_gateway.policy.watch"):
        write("policies/a.yaml", "hosts: [b.example]\naddons: {cach: on}\nextra: 1\n")
        await until_logged(caplog, "last good policies stay in force")
        await asyncio.sleep(0.1)
    assert 'policies/a.yaml:2:10: unknown addon "cach"; did you mean "cache"?' in caplog.text
    assert 'policies/a.yaml:3:1: unknown key "extra"' in caplog.text
    assert caplog.text.count("stay in force") == 1
    assert seen.sets.empty()
    write("policies/a.yaml", "hosts: [c.example]\n")
    assert (await seen.next()).find("c.example")


async def test_who_takes_a_bad_change_back_hears_that_all_is_well(
    watcher: PolicyWatcher, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "shin_gateway.policy.watch"):
        write("policies/a.yaml", "hosts: [a.example]\nextra: 1\n")
        await until_logged(caplog, "last good policies stay in force")
        assert "right again" not in caplog.text
        write("policies/a.yaml", "hosts: [a.example]\n")
        await until_logged(caplog, "policies are right again")


async def test_a_change_that_does_not_start_keeps_what_was(
    watcher: PolicyWatcher, write: Write, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    seen.failure = RuntimeError("no store")
    write("policies/a.yaml", "hosts: [b.example]\n")
    await until_logged(caplog, "policies do not start: no store")
    seen.failure = None
    assert await watcher.reload()
    assert (await seen.next()).find("b.example")


@pytest.mark.parametrize("bad", ['["\\ud800"]', "[x]\naddons: {budget: {limit: $1e999999999/day}}"])
async def test_whatever_is_written_the_next_change_is_seen(
    watcher: PolicyWatcher, write: Write, seen: Seen, caplog: pytest.LogCaptureFixture, bad: str
) -> None:
    write("policies/a.yaml", f"hosts: {bad}\n")
    await until_logged(caplog, "last good policies stay in force")
    write("policies/a.yaml", "hosts: [c.example]\n")
    assert (await seen.next()).find("c.example")


async def test_a_touched_file_is_no_change(watcher: PolicyWatcher, seen: Seen) -> None:
    os.utime("policies/a.yaml", (1, 1))
    assert await watcher.reload()
    await asyncio.sleep(0.1)
    assert seen.sets.empty()


async def test_a_folder_that_vanishes_keeps_what_was(
    watcher: PolicyWatcher, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    Path("policies").rename("elsewhere")
    await until_logged(caplog, "policies: no such folder of policies")
    assert not await watcher.reload()
    Path("elsewhere").rename("policies")
    assert await watcher.reload()
    assert seen.sets.empty()


async def test_a_change_between_loading_and_watching_is_not_lost(
    write: Write, base: Path, registry: Registry, seen: Seen
) -> None:
    write("policies/a.yaml", "hosts: [a.example]\n")
    loaded = load_policies(FOLDERS, registry, base)
    write("policies/a.yaml", "hosts: [b.example]\n")
    watcher = PolicyWatcher(FOLDERS, registry, seen, base=base, every=0.01)
    watcher.start(loaded)
    assert (await seen.next()).find("b.example")
    await watcher.stop()


async def test_a_plain_function_may_be_told(write: Write, base: Path, registry: Registry) -> None:
    write("policies/a.yaml", "hosts: [a.example]\n")
    told: list[PolicySet] = []
    watcher = PolicyWatcher(FOLDERS, registry, told.append, base=base)
    assert await watcher.reload()
    assert told[0].find("a.example")
    await watcher.stop()
