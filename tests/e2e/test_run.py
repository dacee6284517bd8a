"""`shin run`: starts, says why it does not, restarts what dies, drains and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import duckdb
import httpx2
import pytest

from shin_gateway.stores.embedded import EmbeddedState
from shin_gateway.stores.state import StateStore
from tests.e2e.serving import CHAT, MESSAGES
from tests.e2e.shin import Shin, family, gone, occupied, shin, until
from tests.provider import Answer, FakeProvider, Stop

STREAM = {**CHAT, "stream": True}
CHAT_PATH = "/v1/chat/completions"


@pytest.fixture
def run(tmp_path: Path, provider: FakeProvider) -> Iterator[Shin]:
    with shin(tmp_path, provider) as one:
        yield one


async def call(one: Shin, body: object = CHAT, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        return await client.post(one.gateway + CHAT_PATH, json=body, headers=headers)


async def calls(one: Shin, count: int) -> list[str]:
    """The ids of the calls in analytics, once there are `count`."""
    async with asyncio.timeout(20):
        while len(found := await one.ids()) < count:
            await asyncio.sleep(0.1)
    return found


async def test_it_serves_and_says_what_and_where(run: Shin) -> None:
    await run.start("--workers", "2")
    said = json.loads((run.home / "run.json").read_text())
    assert said == run.running
    assert said["pid"] == run.process.pid
    assert f"runs (2 workers, state in {run.home})" in run.out
    for kind in ("proxy", "gateway", "admin"):
        assert f"  {kind:8} http://{said[kind]} " in run.out
    exec, tail = f"shin exec --home {run.home} -- claude", f"shin tail --home {run.home}"
    for line in (exec, f"OPENAI_BASE_URL=http://{said['gateway']}/v1", tail):
        assert line in run.out
    await until_ready(run, workers=2)
    # New connections are spread over the workers: of forty, both get some.
    replies = await asyncio.gather(*(call(run) for _ in range(40)))
    assert {reply.status_code for reply in replies} == {200}
    assert sorted(await calls(run, 40)) == sorted(reply.headers["x-shin-call-id"] for reply in replies)
    proxied = await through_proxy(run)
    assert "x-shin-call-id" in proxied.headers
    assert not run.err

    # SIGHUP reaches both: a policy of before it is in force in each, without a wait for the watcher.
    (run.policies / "gateway.yaml").write_text("hosts: [gateway]\nlimits: {body: 1KB}\n")
    run.signal(signal.SIGHUP)
    await until(lambda: run.err.count("policies reloaded") == 2)
    large = {**CHAT, "user": "x" * 2000}
    assert {(await call(run, large)).status_code for _ in range(16)} == {413}

    descendants = family(run.process.pid)
    assert await run.stop() == 0
    assert gone(descendants)
    assert not (run.home / "run.json").exists()


async def until_ready(one: Shin, workers: int = 1) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(httpx2.TransportError):  # it may have been killed a moment ago
                found = await one.admin("/health/ready")
                if found.status_code == 200 and found.json()["workers"] == workers:
                    return
            await asyncio.sleep(0.1)


async def through_proxy(one: Shin, login: str = "") -> httpx2.Response:
    """A call of plain HTTP through the proxy, to a host that nobody listens at: our own 502."""
    proxy = f"http://{login}{one.running['proxy']}"
    async with httpx2.AsyncClient(proxy=proxy, trust_env=False) as client:
        return await client.post("http://api.anthropic.com:1/v1/messages", json=MESSAGES)


# ── why it does not start ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("which", ["proxy", "gateway", "admin"])
async def test_a_port_in_use(run: Shin, which: str) -> None:
    with occupied() as other:
        port = other.getsockname()[1]
        said = run.refused(f"--{which}-port", str(port))
    assert said == (
        f"shin: cannot listen on 127.0.0.1:{port}: Address already in use; another program has it? Try --{which}-port"
    )
    assert not (run.home / "run.json").exists()


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--set", "nosuch=1", "shin: Unknown option(s): nosuch"),
        ("--mode", "nosuch", "shin: Invalid proxy mode specification: nosuch"),
    ],
)
def test_an_option_of_mitmproxys_that_is_wrong(run: Shin, option: str, value: str, why: str) -> None:
    assert run.refused(option, value).startswith(why)


async def test_one_for_each_home(run: Shin) -> None:
    await run.start()
    second = Shin(run.folder, run.config, run.home)
    second.ready_file = run.folder / "second.json"
    assert second.refused() == (
        f"shin: another shin run (process {run.process.pid}, proxy on {run.running['proxy']}) uses {run.home}: "
        "end it, or take another --home"
    )
    assert (await call(run)).status_code == 200
    assert json.loads((run.home / "run.json").read_text()) == run.running
    assert await run.stop() == 0


def test_a_home_that_cannot_be_used(run: Shin) -> None:
    run.home.write_text("not a folder")
    assert run.refused() == f"shin: File exists: {run.home}"
    run.home = run.home / "below"
    assert run.refused() == f"shin: Not a directory: {run.home}"


def test_a_ca_that_cannot_be_used(run: Shin) -> None:
    run.home.mkdir()
    (run.home / "ca").write_text("not a folder")
    said = run.refused()
    assert said.startswith("shin: ")
    assert str(run.home / "ca") in said
    assert "\n" not in said

    (run.home / "ca").unlink()
    (run.home / "ca").mkdir(0o700)
    (run.home / "ca" / "mitmproxy-ca.pem").write_text("broken")
    said = run.refused()
    assert str(run.home / "ca" / "mitmproxy-ca.pem") in said
    assert "\n" not in said


def test_a_policy_with_a_typo(run: Shin) -> None:
    (run.policies / "mine.yaml").write_text("hosts: [api.example.com]\naddons:\n  retri: {attempts: 3}\n")
    said = run.refused()
    assert f'{run.policies / "mine.yaml"}:3:3: unknown addon "retri"' in said
    assert "retry" in said


def test_a_configuration_with_a_typo(run: Shin) -> None:
    assert run.config is not None
    run.config.write_text("listen: {proxy_prt: 8080}\n")
    assert f'{run.config}:1:10: unknown key "proxy_prt"' in run.refused()


async def test_a_state_of_another_version(run: Shin) -> None:
    state = EmbeddedState(run.home)
    await state.ensure()
    store = await StateStore.connect(state.url)
    await store.run("SET", "shin:version", "99")
    await store.close()
    await state.stop()
    said = run.refused()
    assert "holds data of version '99'" in said
    assert "\n" not in said


def test_analytics_of_another_version(run: Shin) -> None:
    run.home.mkdir()
    with duckdb.connect(str(run.home / "analytics.duckdb")) as db:
        db.execute('CREATE TABLE schema_version ("version" INTEGER, "at" TIMESTAMP)')
        db.execute("INSERT INTO schema_version VALUES (99, now())")
    said = run.refused()
    assert "has schema version 99" in said
    assert "Traceback" not in said


def test_a_state_store_that_cannot_be_reached(tmp_path: Path) -> None:
    with occupied() as refusing:
        port = refusing.getsockname()[1]
    with shin(tmp_path, more=f"stores: {{state: 'redis://127.0.0.1:{port}'}}") as run:
        said = run.refused()
    assert said.startswith("shin: ")
    assert f"127.0.0.1:{port}" in said
    assert "\n" not in said


def test_an_upstream_proxy_whose_secret_is_missing(tmp_path: Path) -> None:
    with shin(tmp_path, more="upstream: {proxy: env:NO_SUCH_PROXY}") as run:
        assert "env:NO_SUCH_PROXY is not set" in run.refused()


# ── beyond loopback ─────────────────────────────────────────────────────────────────────────────


def test_strangers_need_users(run: Shin) -> None:
    assert run.refused("--host", "0.0.0.0") == (
        "shin: listening on 0.0.0.0 lets others in: name users in shin.yaml, or have everybody show a key (`auth: on` "
        "in the policy of the gateway and `listen: {proxy_auth: required}` in shin.yaml), or listen on 127.0.0.1"
    )


async def test_with_users_everybody_says_who_he_is(tmp_path: Path, provider: FakeProvider) -> None:
    with shin(tmp_path, provider, "users: {ann: env:ANNS_SECRET, cid: env:CIDS_SECRET}") as run:
        await run.start("--host", "0.0.0.0", ANNS_SECRET="sk-shin-ann")
        assert run.err.count("user cid cannot be let in: env:CIDS_SECRET is not set") == 1
        assert run.running["gateway"].startswith("0.0.0.0:")
        assert "0.0.0.0" not in run.out, "nobody connects to that address"
        run.running = {
            name: value.replace("0.0.0.0", "127.0.0.1") if isinstance(value, str) else value
            for name, value in run.running.items()
        }
        nobody, wrong = await call(run), await call(run, authorization="Bearer sk-shin-bob")
        ann = await call(run, authorization="Bearer sk-shin-ann")
        async with httpx2.AsyncClient(trust_env=False) as client:
            other = await client.post(f"{run.gateway}/v1/messages", json=MESSAGES, headers={"x-api-key": "sk-shin-bob"})
        proxied, as_ann = await through_proxy(run), await through_proxy(run, "ann:sk-shin-ann@")
        admin = await run.admin("/api/v1/calls")
        live = await run.admin("/health/live")
        await run.stop()
        logs = run.err + run.out
    assert (nobody.status_code, wrong.status_code, ann.status_code) == (401, 401, 200)
    assert wrong.json()["error"]["code"] == "unauthenticated"
    assert (other.status_code, other.json()["type"], other.json()["error"]["type"]) == (
        401, "error", "authentication_error",
    )  # fmt: skip
    assert provider.seen[0].header("authorization") == "Bearer sk-of-the-gateway", "ann's own key is ours alone"
    assert (proxied.status_code, as_ann.status_code) == (407, 502)
    assert "realm=" in proxied.headers["proxy-authenticate"]
    assert (admin.status_code, live.status_code) == (401, 200)
    assert "sk-shin" not in logs


# ── how it ends ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def gate(provider: FakeProvider) -> asyncio.Semaphore:
    """Holds each part of a stream but the first."""
    gate = asyncio.Semaphore(1)
    provider.rule = lambda seen: Answer(gate=gate) if seen.json().get("stream") else None
    return gate


class Streaming:
    """A client in the middle of a stream: its head is there, and so is its first part."""

    def __init__(self, one: Shin) -> None:
        self._client = httpx2.AsyncClient(trust_env=False, timeout=40)
        self._request = self._client.stream("POST", one.gateway + CHAT_PATH, json=STREAM)
        self.text = ""

    async def __aenter__(self) -> Streaming:
        self.reply = await self._request.__aenter__()
        self._parts = self.reply.aiter_text()
        self.text = await anext(self._parts)
        return self

    async def rest(self) -> str:
        async for part in self._parts:
            self.text += part
        return self.text

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_a_stream_end(run: Shin, gate: asyncio.Semaphore, number: int) -> None:
    await run.start()
    descendants = family(run.process.pid)
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as other:
        await other.post(run.gateway + CHAT_PATH, json=CHAT)  # keeps its connection
        async with Streaming(run) as streaming:
            run.signal(number)
            await until(lambda: refuses(run.running["gateway"]))
            last = await other.post(run.gateway + CHAT_PATH, json=CHAT)
            assert last.headers["connection"] == "close"
            for _ in range(40):
                gate.release()
            text = await streaming.rest()
    assert text.endswith("data: [DONE]\n\n")
    assert await run.ended() == 0
    assert gone(descendants)
    assert sorted(kept(run.home)) == [("completed", 200)] * 3


def refuses(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def kept(home: Path) -> list[tuple[str, int]]:
    """How the calls in analytics ended; their counts agree with the daily sums."""
    with duckdb.connect(str(home / "analytics.duckdb"), read_only=True) as db:
        rows = db.execute('SELECT "end", status FROM calls').fetchall()
        assert db.execute("SELECT COALESCE(SUM(calls), 0) FROM daily").fetchone() == (len(rows),)
    return rows


async def test_a_stream_that_hangs_does_not_hold_the_end(run: Shin, provider: FakeProvider) -> None:
    in_stream, silent = Answer(stop=Stop("hang", after="parts", count=2)), Answer(stop=Stop("hang", after="call"))
    provider.rule = lambda seen: in_stream if seen.json().get("stream") else silent
    await run.start("--drain", "1")
    descendants = family(run.process.pid)
    async with Streaming(run) as streaming:
        waiting = asyncio.create_task(call(run))
        await provider.wait_seen(2)
        run.signal(signal.SIGTERM)
        text, refused = await streaming.rest(), await waiting
    told = text.rstrip().split("\n\n")[-1]
    assert "shutting_down" in told and "The gateway is shutting down." in told
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
    assert refused.headers["retry-after"]
    assert await run.ended() == 0
    assert gone(descendants)
    assert sorted(kept(run.home)) == [("broken", 200), ("failed", 503)]
    assert "killed" not in run.err


async def test_a_second_signal_does_not_wait(run: Shin, provider: FakeProvider) -> None:
    provider.rule = lambda seen: Answer(stop=Stop("hang", after="parts", count=2))
    await run.start("--drain", "600")
    descendants = family(run.process.pid)
    async with Streaming(run) as streaming:
        run.signal(signal.SIGINT)
        await until(lambda: refuses(run.running["gateway"]))
        assert "calls under way get up to 600 s" in run.err
        run.signal(signal.SIGINT)
        text = await streaming.rest()
    assert "shutting_down" in text.rstrip().split("\n\n")[-1]
    assert await run.ended() == 0
    assert gone(descendants)
    assert kept(run.home) == [("broken", 200)]
    assert "killed" not in run.err


async def test_a_slow_reader_gets_the_last_byte(run: Shin, provider: FakeProvider) -> None:
    """The whole reply is out of our hands long before the client has it: in buffers that must not go with us."""
    provider.default = Answer(text="x" * 20_000_000)
    await run.start()
    url = run.gateway + CHAT_PATH
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=40) as client,
        client.stream("POST", url, json=CHAT) as reply,
    ):
        run.signal(signal.SIGTERM)
        await until(lambda: refuses(run.running["gateway"]))
        await asyncio.sleep(0.5)
        body = await reply.aread()
    assert len(body) == int(reply.headers["content-length"]) > 20_000_000
    assert await run.ended() == 0


async def test_a_killed_supervisor_takes_its_children_along(run: Shin) -> None:
    await run.start()
    reply = await call(run)
    descendants = family(run.process.pid)
    assert len(descendants) == 3
    run.signal(signal.SIGKILL)
    # At once, as a service manager does it: the ports and analytics are free in time.
    again = Shin(run.folder, run.config, run.home)
    ports = {f"--{kind}-port": run.running[kind].rpartition(":")[2] for kind in ("proxy", "gateway", "admin")}
    await run.ended()
    try:
        await again.start(*(word for pair in ports.items() for word in pair), ports=False)
        await until(lambda: gone(descendants))
        assert await calls(again, 1) == [reply.headers["x-shin-call-id"]]
        assert await again.stop() == 0
    finally:
        again.destroy()


# ── what dies is started again ──────────────────────────────────────────────────────────────────


class Load:
    """Calls one after the other on several lanes, each on a new connection: so all workers get some."""

    def __init__(self, one: Shin, lanes: int = 2) -> None:
        self._one = one
        self._lanes = lanes
        self.ids: list[str] = []
        self.failed: list[str] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._lane()) for _ in range(self._lanes)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _lane(self) -> None:
        while True:
            try:
                reply = await call(self._one)
                self.ids.append(reply.headers["x-shin-call-id"])
                assert reply.status_code == 200
            except (httpx2.TransportError, AssertionError) as error:
                self.failed.append(repr(error))
            await asyncio.sleep(0.02)

    async def more(self, count: int = 10) -> None:
        """Return when so many more calls have been answered."""
        wanted = len(self.ids) + count
        await until(lambda: len(self.ids) >= wanted)


async def test_what_is_killed_comes_back(run: Shin) -> None:
    await run.start("--workers", "2")
    async with Load(run) as load:
        await load.more()

        # A worker: the other serves on.
        os.kill(run.found("shin_gateway.runner")[0], signal.SIGKILL)
        await load.more()
        await until(lambda: len(run.found("shin_gateway.runner")) == 2)
        await load.more()
        assert "the worker 1 ended with status -9; starting it again" in run.err
        broken = len(load.failed)
        assert broken <= 2, load.failed  # what it had in its hands

        # The admin process: rows wait in the state store.
        os.kill(run.child("shin_gateway.admin"), signal.SIGKILL)
        await load.more()
        await until(lambda: run.found("shin_gateway.admin"))

        # The embedded store, twice: calls are answered without it.
        for _ in range(2):
            store = [run.child("valkey.sock")]
            os.kill(store[0], signal.SIGKILL)
            await load.more()
            await until(lambda: run.found("valkey.sock") not in ([], store))  # noqa: B023
            await load.more()
        assert len(load.failed) == broken, load.failed
    await until_ready(run, workers=2)
    assert set(await calls(run, len(set(load.ids)))) >= set(load.ids)
    assert await run.stop() == 0
    with duckdb.connect(str(run.home / "analytics.duckdb"), read_only=True) as db:
        assert db.execute("SELECT COUNT(*) = COUNT(DISTINCT id) FROM calls").fetchone() == (True,)
