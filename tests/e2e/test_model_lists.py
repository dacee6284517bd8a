"""Lists of models: made from all providers at the gateway, untouched through the proxy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from shin_gateway import provider_lists
from tests.e2e.serving import Serving, serve, write_config
from tests.ports import free_port
from tests.provider import Answer, FakeProvider
from tests.provider.seen import Seen

LAB = "{like: openai, base_url: %r, models: ['lab-*', big-1], api_key: env:SHIN_TEST_KEY}"
ALIASES = "models: {fast: gpt-4o-mini, calm: {model: claude-sonnet-4-5, temperature: 0}, lost: nobody/x, far: groq/x}"
OPENAIS = ["gpt-4o", "gpt-4o-mini", "gpt-5", "text-embedding-3-small"]
OTHERS = ["claude-sonnet-4-5", "claude-haiku-4-5", "gemini-2.5-pro", "gemini-2.5-flash"]
NAMES = ["fast", "calm", *OPENAIS, *OTHERS, "big-1", *[f"lab/{name}" for name in OPENAIS]]
ONLY_CLAUDE = """
from shin_gateway.addon import Addon, Settings, Stage

class Rights(Addon[Settings]):
    stage = Stage.IDENTIFY

    async def handle(self, call, forward):
        call.may_use = lambda model, target: target.startswith("anthropic/")
        return await forward(call)
"""


@dataclass
class Reach:
    serving: Serving
    provider: FakeProvider
    http: httpx2.AsyncClient

    @property
    def openai(self) -> openai.AsyncOpenAI:
        base = f"{self.serving.gateway}/v1"
        return openai.AsyncOpenAI(api_key="sk", base_url=base, http_client=self.http, max_retries=0)

    @property
    def anthropic(self) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(
            api_key="sk", base_url=self.serving.gateway, http_client=self.http, max_retries=0
        )

    def genai(self, version: str = "v1beta") -> genai.Client:
        options = types.HttpOptions(base_url=self.serving.gateway, httpx_async_client=self.http, api_version=version)
        return genai.Client(api_key="sk", http_options=options)

    async def ids(self) -> list[str]:
        return [one.id async for one in self.openai.models.list()]


@pytest.fixture
async def reach(request: pytest.FixtureRequest, tmp_path: Path, provider: FakeProvider) -> AsyncIterator[Reach]:
    """Four providers behind one address: openai, anthropic, gemini, and a server of one's own like openai's."""
    more = getattr(request, "param", "{}")
    urls = {"openai": f"{provider.url}/v1", "anthropic": provider.url, "gemini": provider.url}
    config = write_config(tmp_path, urls, f"  lab: {LAB % (provider.url + '/lab/v1')}\n{ALIASES}\n")
    policies, addons = tmp_path / "policies", tmp_path / "addons"
    for folder in (policies, addons):
        folder.mkdir()
    (addons / "rights.py").write_text(ONLY_CLAUDE)
    (policies / "gateway.yaml").write_text(f"hosts: [gateway]\nextends: standard\naddons: {more}\n")
    async with (
        serve(tmp_path / "home", config, policies, addons=[addons]) as serving,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        yield Reach(serving, provider, http)


async def test_every_client_lists_every_model(reach: Reach) -> None:
    assert await reach.ids() == NAMES
    assert [one.id async for one in reach.anthropic.models.list(limit=3)] == NAMES
    for version in ("v1beta", "v1"):
        pages = await reach.genai(version).aio.models.list(config={"page_size": 4})
        assert [one.name async for one in pages] == [f"models/{name}" for name in NAMES]
    assert len(reach.provider.seen) == 4, "what was asked once is kept"
    for seen in reach.provider.seen:
        assert "sk-of-the-gateway" in str(seen.headers)
        assert "'sk'" not in str(seen.headers)
    row = (await reach.serving.rows())[0]
    assert (row.kind, row.provider, row.end, row.status, row.cost) == ("models", "", "completed", 200, None)


async def test_every_client_gets_one_model(reach: Reach) -> None:
    assert (await reach.openai.models.retrieve("lab/gpt-5")).owned_by == "fake"
    assert (await reach.openai.models.retrieve("anthropic/claude-haiku-4-5")).id == "anthropic/claude-haiku-4-5"
    found = await reach.anthropic.models.retrieve("gemini-2.5-pro")
    assert (found.id, found.display_name, found.lifecycle) == ("gemini-2.5-pro", "gemini-2.5-pro", "active")
    one = await reach.genai().aio.models.get(model="calm")
    assert (one.name, one.supported_actions) == ("models/calm", ["generateContent", "countTokens"])
    assert (await reach.anthropic.models.retrieve("claude-latest")).id == "claude-latest", "its provider knows it"
    assert reach.provider.seen[-1].target == "/v1/models/claude-latest"
    reach.provider.rule = lambda seen: Answer(status=404)
    for name in ("gpt-none", "mystery", "far", "nobody/x", "openai/none"):
        with pytest.raises(openai.NotFoundError) as missing:
            await reach.openai.models.retrieve(name)
        assert missing.value.code == "model_not_found"
    with pytest.raises(anthropic.NotFoundError):
        await reach.anthropic.models.retrieve("claude-none")
    with pytest.raises(genai_errors.ClientError) as none:
        await reach.genai("v1").aio.models.get(model="gemini-none")
    assert (none.value.code, none.value.status) == (404, "NOT_FOUND")


async def test_a_page_that_is_none_is_the_clients_mistake(reach: Reach) -> None:
    with pytest.raises(anthropic.BadRequestError, match="after_id"):
        await reach.anthropic.models.list(after_id="none")
    with pytest.raises(genai_errors.ClientError, match="pageToken"):
        await reach.genai().aio.models.list(config={"page_token": "????"})


FAILURES = {
    "401": Answer(status=401),
    "html": Answer(body=b"<html>", body_type="text/html"),
    "502": Answer(status=502, body=b"<html>", body_type="text/html"),
    "no list": Answer(body=b'{"error": {"message": "sk-secret"}}'),
    "a stream": Answer(body=b"data: {}\n\n", body_type="text/event-stream"),
    "elsewhere": Answer(status=302, headers=(("location", "http://127.0.0.1:1/"),), body=b""),
    "silence": Answer(wait_head=30),
}


async def test_a_provider_that_fails_is_left_out(
    tmp_path: Path, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_lists, "PATIENCE", 0.5)
    rows = [
        f"  bad{at}: {{like: generic, base_url: '{provider.url}/bad{at}', api_key: env:SHIN_TEST_KEY}}"
        for at in range(len(FAILURES))
    ]
    gone = f"  gone: {{like: generic, base_url: 'http://127.0.0.1:{free_port()}'}}"
    failures = {f"bad{at}": answer for at, answer in enumerate(FAILURES.values())}
    provider.rule = lambda seen: failures.get(seen.path.split("/")[1])
    config = write_config(tmp_path, {"openai": f"{provider.url}/v1"}, "\n".join([*rows, gone]))
    async with (
        serve(tmp_path / "home", config, tmp_path / "policies") as serving,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        reach = Reach(serving, provider, http)
        assert await reach.ids() == OPENAIS
        assert await reach.ids() == OPENAIS
        assert len(provider.seen) == 1 + len(FAILURES), "they are left in peace for a while"
        row = (await serving.rows(2))[0]
        silent = [f"bad{at}" for at in range(len(FAILURES))] + ["gone"]
        assert (row.end, row.facts["unlisted"]) == ("completed", ", ".join(silent))
        with pytest.raises(openai.InternalServerError, match="bad0 does not say"):
            await reach.openai.models.retrieve("bad0/gpt-5")


async def test_an_old_list_is_better_than_none(reach: Reach, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_lists, "FRESH", 0)
    assert await reach.ids() == NAMES
    reach.provider.rule = lambda seen: Answer(status=503)
    assert await reach.ids() == NAMES
    assert (await reach.serving.rows(2))[1].facts["unlisted"] == "openai, anthropic, gemini, lab"


async def test_many_clients_ask_once(reach: Reach) -> None:
    reach.provider.rule = lambda seen: Answer(wait_head=0.2) if seen.path.startswith("/lab") else None
    leaving = asyncio.create_task(reach.ids())
    await reach.provider.wait_seen(4)
    others = [asyncio.create_task(reach.ids()) for _ in range(8)]
    leaving.cancel()
    assert await asyncio.gather(*others) == [NAMES] * 8
    assert len(reach.provider.seen) == 4


@pytest.mark.parametrize("reach", ["{rights: on}"], indirect=True)
async def test_only_what_the_caller_may_use(reach: Reach) -> None:
    assert await reach.ids() == ["calm", "claude-sonnet-4-5", "claude-haiku-4-5"]
    assert (await reach.openai.models.retrieve("calm")).id == "calm"
    for hidden in ("gpt-4o", "fast", "lab/gpt-4o"):
        with pytest.raises(openai.NotFoundError):
            await reach.openai.models.retrieve(hidden)


async def test_gemini_clients_ask_by_the_names_that_they_see(reach: Reach) -> None:
    for name in ("lab/gpt-4o", "lab/llama3:8b", "claude-haiku-4-5", "calm"):
        done = await reach.genai().aio.models.generate_content(model=name, contents="hi")
        assert (done.text, done.model_version) == ("Hello from the fake provider.", name)
    assert [seen.json()["model"] for seen in reach.provider.seen[:2]] == ["gpt-4o", "llama3:8b"]


async def test_a_providers_own_list_is_untouched(reach: Reach) -> None:
    body = b'{ "object":"list",\n"data":[], "more" : 1}'
    reach.provider.default = Answer(body=body)
    for path in ("/openai/v1/models", "/openai/v1/models/gpt-4o", "/gemini/v1beta/models?pageSize=3"):
        assert (await reach.http.get(f"{reach.serving.gateway}{path}")).content == body
    assert [seen.target for seen in reach.provider.seen] == [
        "/v1/models",
        "/v1/models/gpt-4o",
        "/v1beta/models?pageSize=3",
    ]


async def test_long_lists_come_in_pages(reach: Reach) -> None:
    def page(seen: Seen) -> Answer | None:
        if not seen.header("x-goog-api-key"):
            return None
        first = "pageToken" not in seen.query
        rows = [{"name": f"models/gemini-{number + (0 if first else 1000)}"} for number in range(1000)]
        return Answer(body=json.dumps({"models": rows, **({"nextPageToken": "x"} if first else {})}).encode())

    reach.provider.rule = page
    found = [name for name in await reach.ids() if name.startswith("gemini-")]
    assert found == [f"gemini-{number}" for number in range(2000)]


async def test_through_the_proxy_lists_are_untouched(serving: Serving, secure: FakeProvider) -> None:
    body = b'{ "object":"list",\n"data":[], "more" : 1}'
    secure.default = Answer(body=body)
    async with serving.client() as http:
        for path in ("/v1/models", "/v1/models/x", "/v1beta/models", "/v1beta/models/x"):
            for headers in ({}, {"anthropic-version": "2023-06-01"}, {"x-goog-api-key": "k"}):
                assert (
                    await http.get(f"{secure.url.replace('127.0.0.1', 'localhost')}{path}", headers=headers)
                ).content == body


async def test_a_gateway_without_a_key_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    async with (
        serve(tmp_path / "home", write_config(tmp_path, {}), tmp_path / "policies") as serving,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        answer = await http.get(f"{serving.gateway}/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_credential")
