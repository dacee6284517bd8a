"""Plain mitmdump with `-s addons/gateway.py`: the same gateway and proxy as `shin run`, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import duckdb
import httpx2
import pytest
import websockets

from shin_gateway.admin.parts import all_shipped
from shin_gateway.stores.embedded import EmbeddedState
from shin_gateway.stores.rows import CallRow
from shin_gateway.stores.state import StateStore
from tests.e2e.serving import CHAT, MESSAGES, write_config
from tests.e2e.shin import family, gone, until
from tests.ports import free_port
from tests.provider import Answer, FakeProvider

ROOT = Path(__file__).parents[2]
MITMDUMP = Path(sys.executable).with_name("mitmdump")
CHAT_PATH = "/v1/chat/completions"


class Mitmdump:
    """One mitmdump with our script, on free ports. What it says goes to files in `folder`."""

    def __init__(self, folder: Path, config: Path | None = None) -> None:
        self.folder, self.config = folder, config
        self.home, self.policies = folder / "home", folder / "policies"
        self.policies.mkdir(exist_ok=True)
        self.gateway = f"http://127.0.0.1:{free_port()}"
        self.proxy = f"http://127.0.0.1:{free_port()}"
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self, *arguments: str, policies: str | None = None) -> subprocess.Popen[bytes]:
        options = {
            "shin_home": self.home,
            "shin_config": self.config or "",
            "shin_policies": self.policies if policies is None else policies,
            "shin_gateway": self.gateway.removeprefix("http://"),
            "listen_host": "127.0.0.1",
            "listen_port": self.proxy.rpartition(":")[2],
        }
        settings = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
        command = [str(MITMDUMP), "-s", "addons/gateway.py", *settings, *arguments]
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=os.environ | {"NO_COLOR": "1"}
            )
        return self.process

    async def start(self, *arguments: str, policies: str | None = None) -> None:
        """Return when both ports are open."""
        process = self.spawn(*arguments, policies=policies)
        await until(lambda: process.poll() is not None or self._open(), 60)
        assert process.poll() is None, self.said

    def _open(self) -> bool:
        for url in (self.gateway, self.proxy):
            host, _, port = url.removeprefix("http://").partition(":")
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))):
                    return False
        return True

    async def end(self) -> int:
        """SIGTERM, and the exit code. Nothing of it is left."""
        assert self.process is not None
        others = family(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        await until(lambda: self.process is None or self.process.poll() is not None)
        await until(lambda: gone(others))
        return self.process.returncode

    def destroy(self) -> None:
        if self.process is not None:
            for pid in [*family(self.process.pid), self.process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()

    @property
    def said(self) -> str:
        return (self.folder / "out").read_text() + (self.folder / "err").read_text()

    def client(self) -> httpx2.AsyncClient:
        context = ssl.create_default_context(cafile=str(self.home / "ca" / "mitmproxy-ca-cert.pem"))
        return httpx2.AsyncClient(proxy=self.proxy, verify=context, trust_env=False, timeout=30)

    async def shipped(self) -> None:
        """Return when nothing waits in the state store any more."""
        async with self._state() as state, asyncio.timeout(20):
            while not await all_shipped(state):
                await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def _state(self) -> AsyncIterator[StateStore]:
        state = await StateStore.connect(EmbeddedState(self.home).url)
        try:
            yield state
        finally:
            await state.close()

    async def rows(self, count: int) -> list[CallRow]:
        """What is in the state store, once there are `count`."""
        async with self._state() as state, asyncio.timeout(20):
            while len(entries := await state.run("XRANGE", "shin:{rows}", "-", "+") or []) < count:
                await asyncio.sleep(0.05)
        fields = [fields.values() if isinstance(fields, dict) else fields[1::2] for _, fields in entries]
        return [CallRow.decode(next(iter(values))) for values in fields]


@pytest.fixture
async def dump(tmp_path: Path, provider: FakeProvider, secure: FakeProvider) -> AsyncIterator[Mitmdump]:
    """To be started; its gateway knows `provider`, its proxy intercepts `secure`."""
    urls = {"openai": f"{provider.url}/v1", "anthropic": provider.url}
    one = Mitmdump(tmp_path, write_config(tmp_path, urls, f"upstream: {{ca: {str(secure.ca_file)!r}}}"))
    (one.policies / "local.yaml").write_text(f"hosts: ['localhost:{secure.port}']\nextends: observe\n")
    try:
        yield one
    finally:
        one.destroy()


async def test_gateway_and_proxy_answer_and_rows_are_kept(dump: Mitmdump, secure: FakeProvider) -> None:
    await dump.start()
    async with httpx2.AsyncClient(trust_env=False) as plain, dump.client() as proxied:
        chat = await plain.post(dump.gateway + CHAT_PATH, json=CHAT)
        stream = await plain.post(f"{dump.gateway}/v1/messages", json={**MESSAGES, "stream": True})
        intercepted = await proxied.post(f"https://localhost:{secure.port}/v1/messages", json=MESSAGES)
        passed = await proxied.post(f"https://localhost:{secure.port}/telemetry", json={})
    assert chat.json()["choices"][0]["message"]["content"] == "Hello from the fake provider."
    assert "message_stop" in stream.text
    assert "x-shin-call-id" in intercepted.headers
    assert (passed.status_code, "x-shin-call-id" in passed.headers) == (200, False)
    rows = await dump.rows(3)
    assert [(row.host, row.model, row.end) for row in rows] == [
        ("gateway", "gpt-4o", "completed"),
        ("gateway", "claude-sonnet-4-5", "completed"),
        ("localhost", "claude-sonnet-4-5", "completed"),
    ]
    assert await dump.end() == 0
    assert "Traceback" not in dump.said


async def test_websockets_are_carried_and_passed(dump: Mitmdump, provider: FakeProvider) -> None:
    await dump.start()
    base = dump.gateway.replace("http:", "ws:")
    for path, end in (("/v1/responses", "response.completed"), ("/v1/realtime?model=gpt-realtime", "response.done")):
        async with websockets.connect(base + path, proxy=None) as socket, asyncio.timeout(20):
            await socket.send('{"type":"response.create","model":"gpt-4o","input":"say hello"}')
            while f'"{end}"' not in str(await socket.recv()):
                pass
    rows = await dump.rows(2)
    assert [(row.kind, row.end, row.output_tokens) for row in rows] == [
        ("respond", "completed", 7),
        ("realtime", "completed", 7),
    ]
    assert await dump.end() == 0
    assert "Traceback" not in dump.said


async def test_a_changed_policy_is_taken_up(dump: Mitmdump, secure: FakeProvider) -> None:
    await dump.start()
    policy, before = dump.policies / "local.yaml", f"hosts: ['localhost:{secure.port}']\nextends: observe\n"
    url = f"https://localhost:{secure.port}/v1/messages"
    policy.write_text(before + "limits: {body: 50B}\n")
    async with dump.client() as client:
        async with asyncio.timeout(20):
            while (reply := await client.post(url, json=MESSAGES)).status_code != 413:
                await asyncio.sleep(0.2)
        policy.write_text(before + "limits: {body: 10 apples}\n")
        async with asyncio.timeout(20):
            while "local.yaml:3" not in dump.said:
                await asyncio.sleep(0.2)
        assert (await client.post(url, json=MESSAGES)).status_code == 413, "the last good policy still holds"
    assert reply.json()["error"]["type"] == "request_too_large"


async def test_a_stream_is_not_dropped_by_a_reload(dump: Mitmdump, secure: FakeProvider) -> None:
    await dump.start()
    gate = asyncio.Semaphore(3)
    secure.script(Answer(gate=gate))
    url = f"https://localhost:{secure.port}/v1/messages"
    async with dump.client() as client, client.stream("POST", url, json={**MESSAGES, "stream": True}) as reply:
        parts = reply.aiter_text()
        assert "message_start" in await anext(parts)
        more = "extends: observe\nlimits: {body: 50B}\n"
        (dump.policies / "local.yaml").write_text(f"hosts: ['localhost:{secure.port}']\n{more}")
        async with dump.client() as other, asyncio.timeout(20):
            while (await other.post(url, json=MESSAGES)).status_code != 413:
                gate.release()  # for the calls of this loop that still got through
                await asyncio.sleep(0.2)
        for _ in range(100):
            gate.release()
        assert "message_stop" in "".join([part async for part in parts])


async def test_rows_are_shipped_where_it_is_asked_for(dump: Mitmdump) -> None:
    await dump.start("--set", "shin_ship=true")
    async with httpx2.AsyncClient(trust_env=False) as client:
        for _ in range(3):
            assert (await client.post(dump.gateway + CHAT_PATH, json=CHAT)).status_code == 200
    await dump.rows(3)
    await dump.shipped()
    assert await dump.end() == 0
    with duckdb.connect(str(dump.home / "analytics.duckdb"), read_only=True) as analytics:
        assert analytics.execute("SELECT count(*) FROM calls").fetchone() == (3,)


async def test_rows_that_wait_outlive_the_process(dump: Mitmdump) -> None:
    await dump.start()
    async with httpx2.AsyncClient(trust_env=False) as client:
        await client.post(dump.gateway + CHAT_PATH, json=CHAT)
    assert await dump.end() == 0
    await dump.start()
    assert len(await dump.rows(1)) == 1


async def test_the_projects_own_policies_can_be_named(dump: Mitmdump) -> None:
    """As the README has it: `--set shin_policies=policies`, which are there without being named."""
    await dump.start(policies="policies")
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.post(dump.gateway + CHAT_PATH, json=CHAT)).status_code == 200


async def test_it_starts_with_nothing_set_but_its_ports(tmp_path: Path) -> None:
    dump = Mitmdump(tmp_path)
    try:
        await dump.start(policies="")
        async with httpx2.AsyncClient(trust_env=False) as client:
            reply = await client.post(dump.gateway + CHAT_PATH, json={"model": "no-such-model", "messages": []})
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
        assert await dump.end() == 0
    finally:
        dump.destroy()


WRONG = {
    "an unknown addon": ("hosts: [a.example]\naddons:\n  metre: on\n", 'wrong.yaml:3:3: unknown addon "metre"'),
    "an unknown key": ("hosts: [a.example]\nextnds: observe\n", "wrong.yaml:2:1"),
    "no YAML": ("hosts: [a.example\n", "wrong.yaml:"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_policy_with_a_typo_is_one_line_and_no_start(dump: Mitmdump, wrong: str) -> None:
    text, complaint = WRONG[wrong]
    (dump.policies / "wrong.yaml").write_text(text)
    process = dump.spawn()
    await until(lambda: process.poll() is not None, 40)
    assert process.returncode == 1
    lines = [line for line in dump.said.splitlines() if line.strip()]
    assert len([line for line in lines if complaint in line]) == 1, dump.said
    assert "Traceback" not in dump.said
    assert not family(process.pid)


async def test_a_port_in_use_is_said(dump: Mitmdump) -> None:
    with contextlib.closing(await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)) as taken:
        port = taken.sockets[0].getsockname()[1]
        dump.gateway = f"http://127.0.0.1:{port}"
        process = dump.spawn()
        await until(lambda: process.poll() is not None, 40)
    assert process.returncode == 1
    assert str(port) in dump.said and "Traceback" not in dump.said
