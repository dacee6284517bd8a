"""Policies change while calls run: none is dropped, each ends on the chain that it began on."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from shin_gateway.ca import Authority
from tests.e2e.serving import CHAT, Serving, serve, write_config
from tests.e2e.shin import until
from tests.provider import Answer, FakeProvider, certs

STREAM = {**CHAT, "stream": True}
PATH = "/v1/chat/completions"

MARK = '''
from pathlib import Path

from shin_gateway.addon import Addon, Settings, Stage


class MarkSettings(Settings):
    word: str
    diary: str
    fails: bool = False


class Mark(Addon[MarkSettings]):
    """Writes down when it starts, when a call ends and when it stops; marks each reply."""

    stage = Stage.SHAPE

    def write(self, what):
        with Path(self.settings.diary).open("a") as diary:
            diary.write(f"{what} {self.settings.word}\\n")

    async def start(self):
        if self.settings.fails:
            raise RuntimeError("no such thing")
        self.write("start")

    async def handle(self, call, forward):
        call.on_end(lambda *_: self.write("ended"))
        reply = await forward(call)
        reply.headers["x-mark"] = self.settings.word
        return reply

    async def stop(self):
        self.write("stop")
'''


class Marked:
    """A worker whose gateway's policy has the addon above."""

    def __init__(self, serving: Serving, diary: Path) -> None:
        self.serving = serving
        self._diary = diary

    @property
    def diary(self) -> list[str]:
        return self._diary.read_text().splitlines() if self._diary.exists() else []

    def mark(self, word: str, more: str = "", file: str = "gateway", hosts: str = "gateway") -> None:
        text = f"hosts: [{hosts}]\nextends: observe\naddons:\n  mark: {{word: {word}, diary: '{self._diary}'{more}}}\n"
        self.serving.policy(file, text)

    async def reload(self) -> bool:
        return await self.serving.worker._watcher.reload()

    async def marks(self) -> str:
        async with httpx2.AsyncClient(trust_env=False) as client:
            reply = await client.post(self.serving.gateway + PATH, json=CHAT)
        assert reply.status_code == 200
        return str(reply.headers.get("x-mark"))

    async def shows(self, word: str) -> None:
        """Until a new call takes the new chain: the watcher has seen the file."""
        async with asyncio.timeout(20):
            while await self.marks() != word:
                await asyncio.sleep(0.1)


NEW = "127.0.0.2"
"""An address of this machine that no policy of ours names."""


@pytest.fixture
async def secure(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeProvider]:
    """Good for that address too."""
    monkeypatch.setattr(certs, "OWN_NAMES", (*certs.OWN_NAMES, NEW))
    async with FakeProvider(tls=True, host="0.0.0.0") as one:
        yield one


@pytest.fixture
async def marked(tmp_path: Path, provider: FakeProvider, secure: FakeProvider) -> AsyncIterator[Marked]:
    config = write_config(tmp_path, {"openai": f"{provider.url}/v1"}, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
    for folder in ("addons", "policies"):
        (tmp_path / folder).mkdir()
    (tmp_path / "addons" / "mark.py").write_text(MARK)
    (tmp_path / "policies" / "local.yaml").write_text(f"hosts: ['localhost:{secure.port}']\nextends: observe\n")
    async with serve(tmp_path / "home", config, tmp_path / "policies", addons=[tmp_path / "addons"]) as serving:
        one = Marked(serving, tmp_path / "diary")
        one.mark("old")
        assert await one.reload()
        yield one


async def test_a_stream_ends_on_the_chain_that_it_began_on(marked: Marked, provider: FakeProvider) -> None:
    gate = asyncio.Semaphore(1)
    provider.rule = lambda seen: Answer(gate=gate) if seen.json().get("stream") else None
    url = marked.serving.gateway + PATH
    async with httpx2.AsyncClient(trust_env=False) as client, client.stream("POST", url, json=STREAM) as reply:
        parts = reply.aiter_text()
        text = await anext(parts)
        marked.mark("new")
        await marked.shows("new")
        assert marked.diary.count("start new") == 1
        assert "stop old" not in marked.diary
        for _ in range(40):
            gate.release()
        text += "".join([part async for part in parts])
    assert reply.headers["x-mark"] == "old"
    assert text.endswith("data: [DONE]\n\n")
    await until(lambda: "stop old" in marked.diary)
    assert marked.diary.index("stop old") > max(at for at, line in enumerate(marked.diary) if line == "ended old")
    assert "stop new" not in marked.diary


async def test_a_policy_that_did_not_change_goes_on_as_it_is(marked: Marked, secure: FakeProvider) -> None:
    gateway = marked.serving.worker.gateway
    before = gateway.find_gateway(), gateway.find("localhost", secure.port)
    marked.serving.policy("local", f"hosts: ['localhost:{secure.port}']\nextends: standard\n")
    assert await marked.reload()
    assert gateway.find_gateway() is before[0]
    assert gateway.find("localhost", secure.port) is not before[1]
    assert marked.diary == ["start old"]


async def test_a_bad_change_keeps_the_last_good_policies(marked: Marked, caplog: pytest.LogCaptureFixture) -> None:
    marked.serving.policy("gateway", "hosts: [gateway]\nextends: observ\n")
    await until(lambda: "the last good policies stay in force" in caplog.text)
    assert f'{marked.serving.policies / "gateway.yaml"}:2:10: unknown preset "observ"' in caplog.text
    assert await marked.marks() == "old"

    # The first policy starts, the second does not: neither stays.
    caplog.clear()
    marked.mark("good", file="a", hosts="a.example.com")
    marked.mark("bad", ", fails: true")
    assert not await marked.reload()
    assert "policies do not start: no such thing" in caplog.text
    assert await marked.marks() == "old"
    assert marked.serving.worker.gateway.find("a.example.com") is None
    await until(lambda: "stop good" in marked.diary)
    assert "stop old" not in marked.diary
    assert "start bad" not in marked.diary

    marked.mark("good")
    await marked.shows("good")


def trusting(certificate: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=certificate)


async def test_a_new_host_is_intercepted_with_the_same_key(marked: Marked, secure: FakeProvider) -> None:
    serving = marked.serving
    authority = Authority(serving.home)
    before, old = authority.cert, serving.ca.read_text()
    url = f"https://{NEW}:{secure.port}{PATH}"
    async with serving.client(trust=secure.ca_file) as client:
        assert "x-shin-call-id" not in (await client.post(url, json=CHAT)).headers

    serving.policy("more", f"hosts: ['{NEW}:{secure.port}']\nextends: observe\n")
    assert await marked.reload()
    async with serving.client() as client:
        reply = await client.post(url, json=CHAT)
    assert reply.status_code == 200
    assert reply.headers["x-shin-call-id"]
    after = authority.cert
    assert NEW in authority.hosts
    assert after.serial_number != before.serial_number
    assert after.public_key() == before.public_key()

    # Who trusts the old copy still reaches the hosts of that time, and only those.
    async with httpx2.AsyncClient(proxy=serving.proxy(), verify=trusting(old), trust_env=False) as client:
        assert (await client.post(f"https://localhost:{secure.port}{PATH}", json=CHAT)).status_code == 200
        with pytest.raises(httpx2.ConnectError):
            await client.post(url, json=CHAT)


async def test_a_removed_host_is_tunnelled(marked: Marked, secure: FakeProvider) -> None:
    serving = marked.serving
    url = f"https://localhost:{secure.port}{PATH}"
    async with serving.client() as client:
        assert "x-shin-call-id" in (await client.post(url, json=CHAT)).headers
        (serving.policies / "local.yaml").unlink()
        assert await marked.reload()
        # On a connection that was intercepted before it passes, and is no call of ours any more.
        assert "x-shin-call-id" not in (await client.post(url, json=CHAT)).headers
    async with serving.client(trust=secure.ca_file) as client:
        reply = await client.post(url, json=CHAT)
    assert reply.status_code == 200
    assert "x-shin-call-id" not in reply.headers
    assert len(await serving.rows(1)) == 1


async def test_no_call_is_lost_while_policies_come_and_go(marked: Marked, provider: FakeProvider) -> None:
    provider.default = Answer(pace=0.01)
    done = asyncio.Event()
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:

        async def lane(body: object) -> list[httpx2.Response]:
            replies = []
            while not done.is_set():
                replies.append(await client.post(marked.serving.gateway + PATH, json=body))
            return replies

        lanes = [asyncio.create_task(lane(body)) for body in [CHAT, STREAM] * 4]
        for turn in range(8):
            await asyncio.sleep(0.2)
            marked.mark(f"turn-{turn}")
            assert await marked.reload()
        done.set()
        replies = [reply for replies in await asyncio.gather(*lanes) for reply in replies]
    assert len(replies) > 40
    assert {reply.status_code for reply in replies} == {200}
    assert all(reply.text.rstrip().endswith(("[DONE]", "}")) for reply in replies)
    assert len({reply.headers["x-mark"] for reply in replies}) > 4
    rows = await marked.serving.rows(len(replies))
    assert sorted(row.id for row in rows) == sorted(reply.headers["x-shin-call-id"] for reply in replies)
    assert {row.end for row in rows} == {"completed"}
    await until(lambda: sum(line.startswith("stop") for line in marked.diary) == 8)
    assert "stop turn-7" not in marked.diary
