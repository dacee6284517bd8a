"""Embeddings asked of any provider in the client's API: batches, order, sizes, errors, cost."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from tests.e2e.serving import Serving, serve, write_config
from tests.provider import RATE_LIMITED, Answer, FakeProvider, Tokens
from tests.provider.seen import Seen

GEMINI = "gemini-embedding-001"
OPENAI = "text-embedding-3-small"
VERTEX = "vertex/text-embedding-005"


@dataclass
class Clients:
    serving: Serving
    provider: FakeProvider
    http: httpx2.AsyncClient

    async def openai(self, model: str, texts: Any, **more: Any) -> Any:
        base = f"{self.serving.gateway}/v1"
        client = openai.AsyncOpenAI(api_key="sk", base_url=base, http_client=self.http, max_retries=0)
        return await client.embeddings.create(model=model, input=texts, **more)

    async def gemini(self, model: str, texts: Any, **more: Any) -> Any:
        options = types.HttpOptions(base_url=self.serving.gateway, httpx_async_client=self.http)
        client = genai.Client(api_key="sk", http_options=options)
        return await client.aio.models.embed_content(model=model, contents=texts, **more)

    @property
    def asked(self) -> list[int]:
        """How many texts the provider saw in each call."""
        bodies = [seen.json() for seen in self.provider.seen]
        return [len(next(body[name] for name in ("requests", "instances", "input") if name in body)) for body in bodies]


def vector(text: str) -> list[float]:
    """Tells which text it belongs to; exact in 32 bits."""
    return [float(int(text.rpartition(" ")[2])), 0.5, -0.25]


def embedded(seen: Seen) -> Answer:
    """What a provider says to texts that end in a number."""
    call = seen.json()
    if "instances" in call:
        rows = [{"values": vector(one["content"]), "statistics": {"token_count": 3}} for one in call["instances"]]
        return Answer(body=json.dumps({"predictions": [{"embeddings": row} for row in rows]}).encode())
    if "requests" in call:
        rows = [{"values": vector(one["content"]["parts"][0]["text"])} for one in call["requests"]]
        return Answer(body=json.dumps({"embeddings": rows}).encode())
    data = [{"object": "embedding", "index": at, "embedding": vector(one)} for at, one in enumerate(call["input"])]
    data.reverse()  # the index says whose they are
    usage = {"prompt_tokens": 3 * len(data), "total_tokens": 3 * len(data)}
    return Answer(body=json.dumps({"object": "list", "model": call["model"], "data": data, "usage": usage}).encode())


@pytest.fixture
async def clients(tmp_path: Path, provider: FakeProvider) -> AsyncIterator[Clients]:
    urls = {"openai": f"{provider.url}/v1", "gemini": provider.url}
    urls["vertex"] = f"{provider.url}/v1/projects/p/locations/l"
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "gateway.yaml").write_text("hosts: [gateway]\nextends: observe\naddons: {translate: on}\n")
    async with (
        serve(tmp_path / "home", write_config(tmp_path, urls), policies) as serving,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        provider.rule = embedded
        yield Clients(serving, provider, http)


def texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


async def test_openais_client_at_gemini(clients: Clients) -> None:
    done = await clients.openai(GEMINI, texts(250), dimensions=3)  # the client itself asks for base64
    assert [(one.index, one.embedding) for one in done.data] == [(at, vector(f"x {at}")) for at in range(250)]
    assert (done.object, done.model, sorted(clients.asked)) == ("list", GEMINI, [50, 100, 100])
    first = clients.provider.seen[0].json()["requests"][0]
    assert (first["model"], first["outputDimensionality"]) == (f"models/{GEMINI}", 3)
    assert done.usage.prompt_tokens == done.usage.total_tokens == 900, "counted: Gemini does not say"
    (row,) = await clients.serving.rows()
    assert (row.end, row.kind, row.attempts, row.model) == ("completed", "embed", 1, GEMINI)
    assert (row.input_tokens, row.usage_source, row.cost) == (900, "counted", 900 * Decimal("0.15e-6"))


async def test_geminis_client_at_openai(clients: Clients) -> None:
    done = await clients.gemini(OPENAI, texts(5), config={"output_dimensionality": 3, "task_type": "CLUSTERING"})
    assert [one.values for one in done.embeddings] == [vector(f"x {at}") for at in range(5)]
    call = clients.provider.seen[0].json()
    assert (call["input"], call["dimensions"], call["encoding_format"]) == (texts(5), 3, "float")
    (row,) = await clients.serving.rows()
    assert (row.input_tokens, row.usage_source, row.cost) == (15, "provider", 15 * Decimal("0.02e-6"))
    assert row.facts["dropped"] == "requests.taskType"


async def test_openais_client_at_vertex(clients: Clients) -> None:
    done = await clients.openai(VERTEX, texts(251))
    assert [one.embedding[0] for one in done.data] == list(range(251))
    assert sorted(clients.asked) == [1, 250]
    assert clients.provider.seen[0].path.endswith(
        "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict"
    )
    assert (done.model, done.usage.prompt_tokens) == (VERTEX, 753)
    assert [one.embedding[0] for one in (await clients.openai("vertex/gemini-embedding-001", texts(3))).data] == [
        0,
        1,
        2,
    ]
    assert clients.asked[2:] == [1, 1, 1], "it takes one text at a time"


async def test_a_vertex_call_in_its_own_words(clients: Clients) -> None:
    path = "/v1/projects/p/locations/l/publishers/google/models/text-embedding-3-small:predict"
    call = {"instances": [{"content": "text 7"}], "parameters": {"outputDimensionality": 3}}
    answer = (await clients.http.post(f"{clients.serving.gateway}{path}", json=call)).json()
    values = {"values": vector("x 7"), "statistics": {"truncated": False, "token_count": 3}}
    assert answer == {"predictions": [{"embeddings": values}]}


@pytest.mark.parametrize("packed", [False, True])
async def test_how_the_numbers_are_written(clients: Clients, packed: bool) -> None:
    call = {"model": GEMINI, "input": "text 9", "encoding_format": "base64" if packed else "float"}
    answer = await clients.http.post(f"{clients.serving.gateway}/v1/embeddings", json=call)
    (row,) = answer.json()["data"]
    found = row["embedding"]
    assert (struct.unpack("<3f", base64.b64decode(found)) if packed else tuple(found)) == (9, 0.5, -0.25)


async def test_texts_that_are_long_go_in_smaller_batches(clients: Clients) -> None:
    long = [f"{'word ' * 10_000} {at}" for at in range(30)]  # 10,000 tokens each; OpenAI takes 300,000 in all
    done = await clients.gemini(OPENAI, long)
    assert [one.values[0] for one in done.embeddings] == list(range(30))
    assert (len(clients.asked) > 1, sum(clients.asked)) == (True, 30)


async def test_a_batch_that_fails_fails_the_call(clients: Clients) -> None:
    def rule(seen: Seen) -> Answer:
        texts = seen.body.decode()
        return (
            RATE_LIMITED
            if '"text 120"' in texts
            else Answer(wait_head=120)
            if '"text 220"' in texts
            else embedded(seen)
        )

    clients.provider.rule = rule
    started = time.monotonic()
    with pytest.raises(openai.RateLimitError) as raised:
        await clients.openai(GEMINI, texts(900))
    assert time.monotonic() - started < 60, "the others are given up"
    assert raised.value.response.headers["retry-after"] == "1"
    assert len(clients.asked) < 9
    (row,) = await clients.serving.rows()
    assert (row.status, row.attempts) == (429, 1)


async def test_a_client_that_leaves_takes_its_batches_along(clients: Clients) -> None:
    clients.provider.rule = lambda seen: Answer(wait_head=30)
    asking = asyncio.create_task(clients.openai(GEMINI, texts(1000)))
    await clients.provider.wait_seen(4)
    asking.cancel()
    (row,) = await clients.serving.rows()
    assert (row.end, len(clients.asked)) == ("cancelled", 4)
    async with asyncio.timeout(20):
        while clients.provider._peers:
            await asyncio.sleep(0.02)


async def test_errors_are_the_clients_own(clients: Clients) -> None:
    for answer, status in ((Answer(status=401), 502), (Answer(status=400), 400), (Answer(status=503), 503)):
        clients.provider.rule = lambda seen, answer=answer: answer
        with pytest.raises(openai.APIStatusError) as wrong:
            await clients.openai(GEMINI, "text 1")
        assert wrong.value.status_code == status
        with pytest.raises(genai_errors.APIError) as error:
            await clients.gemini(OPENAI, "text 1")
        assert error.value.code == status


async def test_replies_that_are_none(clients: Clients) -> None:
    for body in (
        b"<html>", b"[]", b"{}", b'{"embeddings": []}', b'{"embeddings": [{"values": "x"}]}', b'{"embeddings": [{}]}',
        b'{"embeddings": [{"values": [1e400]}]}', b'{"embeddings": [{"values": [1]}, {"values": [2]}]}',
    ):  # fmt: skip
        clients.provider.rule = lambda seen, body=body: Answer(body=body)
        with pytest.raises(openai.InternalServerError):
            await clients.openai(GEMINI, "text 1")


async def test_calls_that_are_none(clients: Clients) -> None:
    for call in (
        {"input": []}, {"input": [None]}, {"input": [[1, "x"]]}, {"input": "x", "dimensions": "9"}, {},
        {"input": [[1, 2, 3]]}, {"input": ["x"] * 2049}, {"input": "x", "dimensions": 10**400},
    ):  # fmt: skip
        body = json.dumps({"model": GEMINI, **call}).encode()
        answer = await clients.http.post(f"{clients.serving.gateway}/v1/embeddings", content=body)
        assert (answer.status_code, bool(answer.json()["error"]["message"])) == (400, True)
    assert clients.provider.seen == []


async def test_a_large_reply(clients: Clients) -> None:
    values = [number / 4096 for number in range(3072)]
    body = json.dumps({"embeddings": [{"values": values}] * 100}).encode()
    clients.provider.rule = lambda seen: Answer(body=body)
    done = await clients.openai(GEMINI, texts(400))
    assert len(done.data) == 400
    assert done.data[399].embedding == values


async def test_alike_dialects_pass_untouched(clients: Clients) -> None:
    clients.provider.rule = None
    clients.provider.default = Answer(tokens=Tokens(input=5))
    done = await clients.openai(OPENAI, [[1, 2, 3]], dimensions=8)
    assert (done.usage.prompt_tokens, len(done.data[0].embedding)) == (5, 8)
    assert clients.provider.seen[0].json()["encoding_format"] == "base64"
    assert len((await clients.gemini(GEMINI, ["a", "b"])).embeddings) == 2
