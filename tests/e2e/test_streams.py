"""What happens to a call when the client leaves, reads slowly, or the upstream fails in every phase."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from h2.events import ResponseReceived, StreamEnded

from tests.e2e.h2client import connect
from tests.e2e.serving import CHAT, MESSAGES, Serving
from tests.provider import BAD_GATEWAY_PAGE, BROKEN_SSE, ENDLESS_LINE, Answer, FakeProvider, Stop

STREAM = {**CHAT, "stream": True}
PHASES = {
    "before the head": (CHAT, Answer(stop=Stop("hang", after="call"))),
    "before the first part": (STREAM, Answer(stop=Stop("hang", after="head"))),
    "in the middle of a stream": (STREAM, Answer(stop=Stop("hang", after="parts", count=2))),
    "in the middle of a whole reply": (CHAT, Answer(stop=Stop("hang", after="bytes", count=50))),
}


PATH = "/v1/chat/completions"


@pytest.mark.parametrize("phase", PHASES)
async def test_a_client_that_leaves_cancels_the_upstream(serving: Serving, secure: FakeProvider, phase: str) -> None:
    body, answer = PHASES[phase]
    secure.script(answer)
    async with serving.client() as client:
        call = asyncio.create_task(_read(client, f"https://localhost:{secure.port}{PATH}", body))
        (seen,) = await secure.wait_seen()
        await asyncio.sleep(0.2)
        assert not seen.left.done()
        call.cancel()
        await asyncio.wait_for(asyncio.shield(seen.left), 20)
    (row,) = await serving.rows()
    assert (row.end, row.cause, row.status) == ("cancelled", "client_left", 499)


@pytest.mark.parametrize("phase", PHASES)
async def test_a_reset_cancels_that_stream_alone(serving: Serving, secure: FakeProvider, phase: str) -> None:
    body, answer = PHASES[phase]
    secure.script(answer)
    async with connect(serving.proxy(), "localhost", secure.port, serving.ca) as client:
        stream = client.post(PATH, body)
        (seen,) = await secure.wait_seen()
        await asyncio.sleep(0.2)
        assert not seen.left.done()
        client.reset(stream)
        await asyncio.wait_for(asyncio.shield(seen.left), 20)
        await client.event(StreamEnded, client.post(PATH, CHAT))
    rows = {(row.end, row.cause, row.status) for row in await serving.rows(2)}  # the tokens of one are still counted
    assert rows == {("cancelled", "client_left", 499), ("completed", "", 200)}


async def _read(client: httpx2.AsyncClient, url: str, body: object) -> None:
    async with client.stream("POST", url, json=body) as reply:
        async for _ in reply.aiter_bytes():
            pass


LONG = Answer(text="x" * 40_000_000, pieces=20_000)


async def test_a_slow_reader_slows_the_upstream(serving: Serving, secure: FakeProvider) -> None:
    secure.default = LONG
    url = f"https://localhost:{secure.port}{PATH}"
    async with serving.client() as client, client.stream("POST", url, json=STREAM) as reply:
        parts = reply.aiter_raw()
        await anext(parts)
        assert await _sent_when_still(secure) < 35_000_000, "everything was read ahead"
        total = sum([len(part) async for part in parts])
    assert total > 40_000_000


async def test_a_closed_window_slows_the_upstream(serving: Serving, secure: FakeProvider) -> None:
    secure.default = LONG
    async with connect(serving.proxy(), "localhost", secure.port, serving.ca) as client:
        stream = client.post(PATH, STREAM)
        await client.event(ResponseReceived, stream)
        assert await _sent_when_still(secure) < 35_000_000, "everything was read ahead"
        client.take(stream, 2**30)
        await client.event(StreamEnded, stream)


async def _sent_when_still(provider: FakeProvider) -> int:
    sent = -1
    while sent != provider.seen[0].sent:
        sent = provider.seen[0].sent
        await asyncio.sleep(0.5)
    return sent


CUTS = {
    "reset": Answer(stop=Stop("rst", after="parts", count=3)),
    "closed": Answer(stop=Stop("fin", after="parts", count=3)),
    "ended without its last events": Answer(stop=Stop("end", after="parts", count=3)),
    "half an event": BROKEN_SSE["half an event"],
    "a line without end": ENDLESS_LINE,
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/v1/chat/completions", STREAM, '"error"'),
        ("/v1/messages", {**MESSAGES, "stream": True}, "event: error"),
        ("/v1/responses", {"model": "gpt-4o", "input": "hi", "stream": True}, "event: error"),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", {"contents": []}, '"error"'),
    ],
    ids=["chat", "messages", "responses", "gemini"],
)
async def test_a_break_ends_in_the_dialects_error_event(
    serving: Serving, provider: FakeProvider, cut: str, path: str, body: object, error: str
) -> None:
    provider.script(CUTS[cut])
    async with httpx2.AsyncClient() as client:
        reply = await client.post(serving.gateway + path, json=body, timeout=60)
    assert reply.status_code == 200
    assert error in reply.text.rstrip().split("\n\n")[-1]
    assert "[DONE]" not in reply.text
    (row,) = await serving.rows()
    assert row.end == "broken"
    assert row.cause


async def test_a_whole_reply_that_is_cut_is_an_error(serving: Serving, provider: FakeProvider) -> None:
    for answer in (
        Answer(stop=Stop("rst", after="bytes", count=50)),
        Answer(stop=Stop("fin", after="call")),
        Answer(framing="length", length_off=50, stop=Stop("fin", after="parts", count=9)),
    ):
        provider.script(answer, answer, answer, answer)
        async with httpx2.AsyncClient() as client:
            reply = await client.post(f"{serving.gateway}/v1/messages", json=MESSAGES, timeout=60)
        assert reply.status_code == 502
        assert reply.json()["error"]["type"] == "api_error"
        provider._script.clear()


async def test_an_upstreams_own_error_reaches_the_client_as_it_is(serving: Serving, provider: FakeProvider) -> None:
    serving.policy("gateway", "hosts: [gateway]\nextends: observe\n")
    await serving.worker.reload()
    provider.script(
        Answer(status=429, headers=(("retry-after", "7"),)), BAD_GATEWAY_PAGE, Answer(status=418, body=b"{}")
    )
    async with httpx2.AsyncClient() as client:
        first, second, third = [await client.post(f"{serving.gateway}/v1/messages", json=MESSAGES) for _ in range(3)]
    assert (first.status_code, first.headers["retry-after"]) == (429, "7")
    assert first.json()["error"]["type"] == "rate_limit_error"
    assert (second.status_code, second.text) == (502, BAD_GATEWAY_PAGE.body.decode())
    assert third.status_code == 418


TIMEOUTS = "timeouts: {connect: 1s, first_part: 400ms, idle: 400ms, total: 30s}\n"


async def test_each_phase_has_its_timeout(serving: Serving, provider: FakeProvider) -> None:
    serving.policy("gateway", "hosts: [gateway]\nextends: observe\n" + TIMEOUTS)
    await serving.worker.reload()
    url = f"{serving.gateway}/v1/chat/completions"
    async with httpx2.AsyncClient(timeout=20) as client:
        provider.script(Answer(stop=Stop("hang", after="call")))
        late = await client.post(url, json=CHAT)
        provider.script(Answer(stop=Stop("hang", after="head")))
        silent = await client.post(url, json=STREAM)
        provider.script(Answer(stop=Stop("hang", after="parts", count=2)))
        stuck = await client.post(url, json=STREAM)
    assert (late.status_code, late.json()["error"]["code"]) == (504, "first_part_timeout")
    assert (silent.status_code, silent.json()["error"]["code"]) == (504, "first_part_timeout")
    assert stuck.status_code == 200
    assert "upstream_idle" in stuck.text.rstrip().split("\n\n")[-1]


async def test_an_upstream_that_cannot_be_reached(serving: Serving, provider: FakeProvider) -> None:
    serving.policy("gateway", "hosts: [gateway]\nextends: observe\n")
    await serving.worker.reload()
    with provider.refusing():
        async with httpx2.AsyncClient() as client:
            reply = await client.post(f"{serving.gateway}/v1/chat/completions", json=CHAT)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (502, "upstream_unreachable")
    assert error["message"] == "The upstream openai could not be reached."
    assert "127.0.0.1" not in reply.text


async def test_an_upstream_without_a_valid_certificate(serving: Serving, tmp_path: Path) -> None:
    async with FakeProvider(tls=True) as stranger:
        serving.policy("local", f"hosts: ['localhost:{stranger.port}']\nextends: observe\n")
        await serving.worker.reload()
        async with serving.client() as client:
            reply = await client.post(f"https://localhost:{stranger.port}/v1/messages", json=MESSAGES)
    assert reply.status_code == 502
    assert "certificate" in reply.json()["error"]["message"]
    assert not stranger.seen


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_compressed_replies_pass_and_are_understood(
    serving: Serving, provider: FakeProvider, encoding: str
) -> None:
    provider.script(Answer(encoding=encoding), Answer(encoding=encoding))
    async with httpx2.AsyncClient(headers={"accept-encoding": encoding}) as client:
        whole = await client.post(f"{serving.gateway}/v1/chat/completions", json=CHAT)
        stream = await client.post(
            f"{serving.gateway}/v1/chat/completions", json={**STREAM, "stream_options": {"include_usage": True}}
        )
    assert json.loads(whole.content)["usage"]["total_tokens"] == 18
    assert stream.text.endswith("data: [DONE]\n\n")
    for row in await serving.rows(2):
        assert (row.input_tokens, row.output_tokens, row.usage_source) == (11, 7, "provider")


@pytest.mark.parametrize("kind", ["whole", "stream"])
def test_a_call_that_has_ended_leaves_nothing_to_be_searched_for(kind: str) -> None:
    """In a cycle, calls and their bodies would wait until somebody looks for garbage."""
    command = [sys.executable, "-O", "-m", "tests.e2e.leftovers", kind]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert int(found.stdout) <= 2  # the last one may still be ending
