"""What the official clients for Python and Node make of refusals: typed errors in the provider's words, and waits."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import pytest_asyncio
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from shin_gateway.keys import Registrar
from tests.e2e.programs import FOLDER, program, run
from tests.e2e.serving import Serving, serve, write_config
from tests.provider import Answer, FakeProvider

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "Hello from the fake provider."
SCRIPT = Path(__file__).with_name("refusals.mjs")
ROLES = "roles: {minis: {models: [openai/gpt-4o*]}}"
SDKS = ("openai", "responses", "anthropic", "genai")
POLICY = """
hosts: [gateway]
extends: standard
addons:
  auth: on
  access: on
  rate_limit: on
  budget: on
  concurrency: {calls: 1, per: key, max_wait: 50ms}
"""


@dataclass(frozen=True)
class Expected:
    """What a client should tell of one refusal."""

    status: int
    code: str
    said: str
    param: str | None = None
    again: bool = False
    """Whether it should ask again by itself."""


REFUSALS = {
    "wrong": Expected(401, "unauthenticated", "unknown, expired or disabled"),
    "broke": Expected(400, "over_budget", "10 tokens/day"),
    "hasty": Expected(429, "rate_limited", "1 requests per h"),
    "narrow": Expected(400, "model_not_allowed", "Your key may not use the model", "model"),
    "busy": Expected(429, "queue_timeout", "wait", again=True),
}
OPENAIS = {400: openai.BadRequestError, 401: openai.AuthenticationError, 429: openai.RateLimitError}
ANTHROPICS = {400: anthropic.BadRequestError, 401: anthropic.AuthenticationError, 429: anthropic.RateLimitError}
TYPES = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
"""OpenAI's and Anthropic's words."""
STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED"}
"""Google's (google.rpc.Code)."""


@dataclass
class Place:
    serving: Serving
    provider: FakeProvider
    registrar: Registrar

    async def key(self, **fields: Any) -> str:
        _, key = await self.registrar.create(**{"user": "ann", "roles": ("user",), **fields})
        return key

    @asynccontextmanager
    async def refused(self, why: str) -> AsyncIterator[str]:
        """A key whose next call is refused for this, until the end of the block."""
        async with AsyncExitStack() as stack:
            yield await getattr(self, f"_{why}")(stack)

    async def _wrong(self, stack: AsyncExitStack) -> str:
        return "sk-shin-" + "0" * 43

    async def _broke(self, stack: AsyncExitStack) -> str:
        return await self.key(budget={"limit": "10 tokens/day"})

    async def _narrow(self, stack: AsyncExitStack) -> str:
        return await self.key(models=("groq/*",))

    async def _hasty(self, stack: AsyncExitStack) -> str:
        key = await self.key(limits={"requests": "1/h"})
        assert await CLIENTS["openai"](self, key, 0) == TEXT
        return key

    async def _busy(self, stack: AsyncExitStack) -> str:
        """Its only place is taken by a reply that does not come."""
        key = await self.key()
        before = len(self.provider.seen)
        self.provider.script(Answer(wait_head=30))
        held = asyncio.create_task(CLIENTS["openai"](self, key, 0))
        stack.callback(held.cancel)
        await self.provider.wait_seen(before + 1)
        return key


def http() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(trust_env=False, timeout=20)


def of_openai(place: Place, key: str, retries: int) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key=key, base_url=f"{place.serving.gateway}/v1", max_retries=retries, http_client=http()
    )


def of_anthropic(place: Place, key: str, retries: int) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        api_key=key, base_url=place.serving.gateway, max_retries=retries, http_client=http()
    )


def of_genai(place: Place, key: str, retries: int) -> genai.Client:
    again = types.HttpRetryOptions(attempts=retries + 1, initial_delay=1.0)
    options = types.HttpOptions(base_url=place.serving.gateway, httpx_async_client=http(), retry_options=again)
    return genai.Client(api_key=key, http_options=options)


async def ask_openai(place: Place, key: str, retries: int) -> str | None:
    async with of_openai(place, key, retries) as client:
        done = await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
        return done.choices[0].message.content


async def ask_responses(place: Place, key: str, retries: int) -> str | None:
    async with of_openai(place, key, retries) as client:
        return (await client.responses.create(model="gpt-4o", input="hi")).output_text


async def ask_anthropic(place: Place, key: str, retries: int) -> str | None:
    async with of_anthropic(place, key, retries) as client:
        done = await client.messages.create(
            model="claude-sonnet-4-5", max_tokens=99, messages=[{"role": "user", "content": "hi"}]
        )
        return "".join(block.text for block in done.content if block.type == "text")


async def ask_genai(place: Place, key: str, retries: int) -> str | None:
    done = await of_genai(place, key, retries).aio.models.generate_content(model="gemini-2.5-pro", contents="hi")
    return done.text


Ask = Callable[[Place, str, int], Awaitable[str | None]]
CLIENTS: dict[str, Ask] = {
    "openai": ask_openai,
    "responses": ask_responses,
    "anthropic": ask_anthropic,
    "genai": ask_genai,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("refusals")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHIN_TEST_KEY", "sk-of-the-gateway")
        async with FakeProvider() as provider:
            urls = {"openai": f"{provider.url}/v1", "anthropic": provider.url, "gemini": provider.url}
            (folder / "policies").mkdir()
            (folder / "policies" / "gateway.yaml").write_text(POLICY)
            async with serve(folder / "home", write_config(folder, urls, ROLES), folder / "policies") as one:
                yield Place(one, provider, Registrar(one.worker.gateway.state))


# ── Python ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("why", REFUSALS)
async def test_typed_errors(place: Place, sdk: str, why: str) -> None:
    expected = REFUSALS[why]
    async with place.refused(why) as key:
        before = len(place.provider.seen)
        with pytest.raises((openai.APIStatusError, anthropic.APIStatusError, genai_errors.APIError)) as caught:
            await CLIENTS[sdk](place, key, 0)
    assert len(place.provider.seen) == before, "nothing goes to the provider"
    error = caught.value
    assert expected.said in str(error)
    if isinstance(error, genai_errors.APIError):
        check_google(error, expected)
        return
    kinds: Any = ANTHROPICS if sdk == "anthropic" else OPENAIS
    assert type(error) is kinds[expected.status]
    assert error.request_id == error.response.headers["x-shin-call-id"]
    check_waiting(error.response.headers, expected)
    assert error.type == type_of(sdk, expected)
    if isinstance(error, openai.APIStatusError):
        assert (error.code, error.param) == (expected.code, expected.param)
    else:
        assert error.body["type"] == "error"  # type: ignore[index,call-overload]


def type_of(sdk: str, expected: Expected) -> str:
    if sdk == "anthropic" and expected.code == "over_budget":
        return "billing_error"
    return TYPES[expected.status]


def check_google(error: genai_errors.APIError, expected: Expected) -> None:
    assert type(error) is genai_errors.ClientError
    assert (error.code, error.status) == (expected.status, STATUSES[expected.status])
    details = {one["@type"].rpartition(".")[2]: one for one in error.details["error"]["details"]}
    assert details["ErrorInfo"]["reason"] == expected.code.upper()
    assert ("RetryInfo" in details) == (expected.status == 429)


def check_waiting(headers: httpx2.Headers, expected: Expected) -> None:
    assert headers["x-should-retry"] == ("true" if expected.again else "false")
    assert ("retry-after" in headers) == ("retry-after-ms" in headers) == (expected.status == 429)


@pytest.mark.parametrize("sdk", SDKS)
async def test_nobody_sleeps_for_an_hour(place: Place, sdk: str) -> None:
    async with place.refused("hasty") as key, asyncio.timeout(30):
        with pytest.raises((openai.RateLimitError, anthropic.RateLimitError, genai_errors.ClientError)) as caught:
            await CLIENTS[sdk](place, key, 0 if sdk == "genai" else 2)  # Google's reads no header
    assert "Try again in 1 h" in str(caught.value)


@pytest.mark.parametrize("sdk", SDKS)
async def test_it_waits_as_told_and_succeeds(place: Place, sdk: str) -> None:
    key = await place.key(limits={"requests": "1/1s"})
    begun = time.monotonic()
    for _ in range(2):
        assert await CLIENTS[sdk](place, key, 2) == TEXT
    assert time.monotonic() - begun > 0.9


# ── Node ────────────────────────────────────────────────────────────────────────────────────────


async def in_node(place: Place, folder: Path, step: str, *keys: str, retries: int = 0) -> list[dict[str, Any]]:
    """What each client told of the step, for each key."""
    for name in ("openai", "@anthropic-ai/sdk", "@google/genai"):
        if not (FOLDER / "node_modules" / name).is_dir():
            pytest.skip(f"no {name} in {FOLDER}; scripts/install-agents installs it where npm can")
    ran = await run(folder, program("node"), SCRIPT, FOLDER, place.serving.gateway, str(retries), step, *keys)
    assert ran.code == 0, ran.err
    return [json.loads(line) for line in ran.out.splitlines()]


RAISED = {400: "BadRequestError", 401: "AuthenticationError", 429: "RateLimitError"}


async def test_typed_errors_in_node(place: Place, tmp_path: Path) -> None:
    """One process, with a key for each refusal."""
    async with AsyncExitStack() as stack:
        keys = [await stack.enter_async_context(place.refused(why)) for why in REFUSALS]
        before = len(place.provider.seen)
        came = await in_node(place, tmp_path, "ask", *keys)
    assert len(place.provider.seen) == before
    for expected, told in zip(REFUSALS.values(), came, strict=True):
        for sdk in SDKS:
            check_node(sdk, told[sdk], expected)


def check_node(sdk: str, told: dict[str, Any], expected: Expected) -> None:
    assert (told["status"], expected.said in told["message"]) == (expected.status, True), told
    if sdk == "genai":  # its message is the whole body
        error = json.loads(told["message"])["error"]
        assert (told["raised"], error["status"]) == ("ApiError", STATUSES[expected.status])
        return
    assert (told["raised"], told["type"]) == (RAISED[expected.status], type_of(sdk, expected))
    assert told["id"], "which call it was"
    assert bool(told["retryAfter"]) == (expected.status == 429)
    if sdk != "anthropic":
        assert (told["code"], told["param"]) == (expected.code, expected.param)


async def test_nobody_sleeps_for_an_hour_in_node(place: Place, tmp_path: Path) -> None:
    async with place.refused("hasty") as key, asyncio.timeout(20):
        (came,) = await in_node(place, tmp_path, "ask", key, retries=1)
    assert [came[sdk]["status"] for sdk in SDKS] == [429] * 4


async def test_it_waits_as_told_in_node(place: Place, tmp_path: Path) -> None:
    """Each client after the one before, with a key that may ask once in a second. Google's does not read how long."""
    key = await place.key(limits={"requests": "1/1s"})
    (came,) = await in_node(place, tmp_path, "ask", key, retries=2)
    assert came == {sdk: {"got": TEXT} for sdk in SDKS}


# ── lists of models ─────────────────────────────────────────────────────────────────────────────


async def shown(place: Place, key: str) -> dict[str, set[str]]:
    """What the official clients for Python list."""
    async with of_openai(place, key, 0) as one:
        openais = {model.id async for model in await one.models.list()}
    async with of_anthropic(place, key, 0) as other:
        anthropics = {model.id async for model in other.models.list()}
    pages = await of_genai(place, key, 0).aio.models.list()
    googles = {str(model.name).removeprefix("models/") async for model in pages}
    return {"openai": openais, "anthropic": anthropics, "genai": googles}


@pytest.mark.parametrize(
    ("grant", "only"),
    [({"models": ("anthropic/*",)}, "claude"), ({"roles": ("minis",)}, "gpt"), ({"models": ("nobody/*",)}, None)],
    ids=["a key's models", "a role's models", "none"],
)
async def test_lists_show_what_the_key_may_use(place: Place, tmp_path: Path, grant: Any, only: str | None) -> None:
    key = await place.key(**grant)
    names = (await shown(place, key)).values()
    whole = await place.key()
    for seen in names:
        assert all(only and only in name for name in seen)
        assert bool(seen) == (only is not None)
    every = set.union(*(await shown(place, whole)).values())
    assert {"claude", "gpt", "gemini"} <= {name.partition("-")[0] for name in every}
    assert len(set(map(frozenset, names))) == 1, "all three dialects show the same"


async def test_lists_in_node(place: Place, tmp_path: Path) -> None:
    key = await place.key(models=("anthropic/*",))
    (came,) = await in_node(place, tmp_path, "models", key)
    for sdk in ("openai", "anthropic", "genai"):
        names = [name.removeprefix("models/") for name in came[sdk]["got"]]
        assert names
        assert all(name.startswith("claude-") for name in names)
