"""The official Python clients of three providers, by base URL through the gateway and unchanged through the proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from shin_gateway.stores.rows import CallRow
from tests.e2e.corporate import CorporateProxy
from tests.e2e.serving import Serving, serve, write_config
from tests.provider import RATE_LIMITED, Answer, FakeProvider, Stop, Tokens, ToolCall

TEXT = "Hello from the fake provider."
SAY = [{"role": "user", "content": "say hello"}]
WEATHER = ToolCall("weather", {"city": "Zürich", "days": 3})
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}


@dataclass
class Reach:
    """How the SDKs get to the provider, and what it is to them."""

    serving: Serving
    provider: FakeProvider
    http: httpx2.AsyncClient
    base: str | None
    """What is put before the SDK's own paths; None: the SDK's own default, a real host."""

    def openai(self, **more: Any) -> openai.AsyncOpenAI:
        url = f"{self.base}/v1" if self.base else None
        return openai.AsyncOpenAI(api_key="sk-client", base_url=url, http_client=self.http, max_retries=0, **more)

    def anthropic(self, **more: Any) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(
            api_key="sk-client", base_url=self.base, http_client=self.http, max_retries=0, **more
        )

    def genai(self) -> genai.Client:
        options = types.HttpOptions(base_url=self.base, httpx_async_client=self.http)
        return genai.Client(api_key="sk-client", http_options=options)

    async def row(self) -> CallRow:
        (row,) = await self.serving.rows()
        return row


@pytest.fixture
async def gateway(tmp_path: Path, provider: FakeProvider) -> AsyncIterator[Reach]:
    urls = {"openai": f"{provider.url}/v1", "anthropic": provider.url, "gemini": provider.url}
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "gateway.yaml").write_text("hosts: [gateway]\nextends: observe\n")  # an error is to reach the SDK
    async with (
        serve(tmp_path / "home", write_config(tmp_path, urls), policies) as serving,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        yield Reach(serving, provider, http, serving.gateway)


@pytest.fixture
async def proxy(tmp_path: Path, secure: FakeProvider) -> AsyncIterator[Reach]:
    config = write_config(tmp_path, {}, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
    async with (
        CorporateProxy(secure) as office,
        serve(tmp_path / "home", config, tmp_path / "policies", modes=[f"upstream:{office.url}"]) as serving,
        serving.client() as http,
    ):
        yield Reach(serving, secure, http, None)


@pytest.fixture(params=["gateway", "proxy"])
def reach(request: pytest.FixtureRequest) -> Reach:
    return request.getfixturevalue(request.param)


@dataclass(frozen=True)
class Expected:
    provider: str
    model: str
    dialect: str
    kind: str = "chat"
    stream: bool = False


def check(row: CallRow, expected: Expected, *, usage: tuple[int, int] = (11, 7)) -> None:
    seen = Expected(row.provider, row.model, row.dialect, row.kind, row.stream)
    assert seen == expected
    assert (row.end, row.status, row.cause) == ("completed", 200, "")
    assert (row.input_tokens, row.output_tokens) == usage
    assert row.usage_source == ("provider" if any(usage) else "")
    assert row.total_ms >= row.first_part_ms > 0


# ── OpenAI ───────────────────────────────────────────────────────────────────────────────────────


async def test_openai_chat(reach: Reach) -> None:
    done = await reach.openai().chat.completions.create(model="gpt-4o", messages=SAY)
    assert done.choices[0].message.content == TEXT
    assert done.usage is not None and done.usage.total_tokens == 18
    row = await reach.row()
    check(row, Expected("openai", "gpt-4o", "openai.chat"))
    assert row.cost == 11 * Decimal("2.5e-6") + 7 * Decimal("10e-6")


async def test_openai_chat_streamed(reach: Reach) -> None:
    texts = []
    async for part in await reach.openai().chat.completions.create(model="gpt-4o", messages=SAY, stream=True):
        texts += [choice.delta.content or "" for choice in part.choices]
        assert part.usage is None, "the client did not ask for it"
    assert "".join(texts) == TEXT
    row = await reach.row()
    assert (row.end, row.stream, row.output_tokens > 0, row.cost is not None) == ("completed", True, True, True)


async def test_openai_chat_streamed_with_usage(reach: Reach) -> None:
    reach.provider.script(Answer(tokens=Tokens(input=100, output=50, cached=40, reasoning=20)))
    stream = await reach.openai().chat.completions.create(
        model="gpt-4o", messages=SAY, stream=True, stream_options={"include_usage": True}
    )
    parts = [part async for part in stream]
    assert parts[-1].usage is not None and parts[-1].usage.completion_tokens == 50
    row = await reach.row()
    check(row, Expected("openai", "gpt-4o", "openai.chat", stream=True), usage=(100, 50))
    assert (row.cached_tokens, row.reasoning_tokens) == (40, 20)
    assert row.cost == 60 * Decimal("2.5e-6") + 40 * Decimal("1.25e-6") + 50 * Decimal("10e-6")


@pytest.mark.parametrize("streamed", [False, True])
async def test_openai_tools(reach: Reach, streamed: bool) -> None:
    reach.provider.script(Answer(tools=(WEATHER, ToolCall("weather", {"city": "東京"}, id="call_2"))))
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
    chat = reach.openai().chat.completions
    if streamed:
        async with chat.stream(model="gpt-4o", messages=SAY, tools=tools) as stream:
            done: Any = await stream.get_final_completion()
    else:
        done = await chat.create(model="gpt-4o", messages=SAY, tools=tools)
    first, second = done.choices[0].message.tool_calls
    assert (first.function.name, first.function.arguments) == ("weather", '{"city":"Zürich","days":3}')
    assert "東京" in second.function.arguments
    assert done.choices[0].finish_reason == "tool_calls"
    assert (await reach.row()).end == "completed"


async def test_openai_responses(reach: Reach) -> None:
    done = await reach.openai().responses.create(model="gpt-5", input="say hello")
    assert done.output_text == TEXT
    check(await reach.row(), Expected("openai", "gpt-5", "openai.responses", "respond"))


async def test_openai_responses_streamed(reach: Reach) -> None:
    async with reach.openai().responses.stream(model="gpt-5", input="say hello") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        done = await stream.get_final_response()
    assert "".join(deltas) == done.output_text == TEXT
    check(await reach.row(), Expected("openai", "gpt-5", "openai.responses", "respond", stream=True))


async def test_openai_completions(reach: Reach) -> None:
    done = await reach.openai().completions.create(model="davinci-002", prompt="say hello")
    assert done.choices[0].text == TEXT
    check(await reach.row(), Expected("openai", "davinci-002", "openai.completions", "complete"))


async def test_openai_embeddings(reach: Reach) -> None:
    done = await reach.openai().embeddings.create(model="text-embedding-3-small", input=["one", "two"])
    assert [len(one.embedding) for one in done.data] == [8, 8]
    row = await reach.row()
    check(row, Expected("openai", "text-embedding-3-small", "openai.embeddings", "embed"), usage=(11, 0))
    assert row.cost == 11 * Decimal("0.02e-6")


async def test_openai_models(reach: Reach) -> None:
    listed = [one.id async for one in reach.openai().models.list()]
    assert "gpt-4o" in listed
    provider = "" if reach.base else "openai"  # the gateway's list is of all providers
    check(await reach.row(), Expected(provider, "", "openai.chat", "models"), usage=(0, 0))


# ── Anthropic ────────────────────────────────────────────────────────────────────────────────────

MESSAGE: dict[str, Any] = {"model": "claude-sonnet-4-5", "max_tokens": 2000, "messages": SAY}
TOOL = {"name": "weather", "input_schema": PARAMETERS}
THINKING = {"type": "enabled", "budget_tokens": 1024}


async def test_anthropic_messages(reach: Reach) -> None:
    reach.provider.script(Answer(tokens=Tokens(input=100, output=10, cached=60, cache_write=30)))
    done = await reach.anthropic().messages.create(**MESSAGE)
    assert done.content[0].text == TEXT
    row = await reach.row()
    check(row, Expected("anthropic", "claude-sonnet-4-5", "anthropic.messages"), usage=(100, 10))
    assert (row.cached_tokens, row.cache_write_tokens) == (60, 30)
    amounts = 10 * Decimal("3e-6") + 60 * Decimal("0.3e-6") + 30 * Decimal("3.75e-6") + 10 * Decimal("15e-6")
    assert row.cost == amounts


@pytest.mark.parametrize("streamed", [False, True])
async def test_anthropic_thinking_and_tools(reach: Reach, streamed: bool) -> None:
    reach.provider.script(Answer(thinking="Which city, I wonder.", tools=(WEATHER,)))
    messages = reach.anthropic().messages
    if streamed:
        async with messages.stream(**MESSAGE, tools=[TOOL], thinking=THINKING) as stream:
            done: Any = await stream.get_final_message()
    else:
        done = await messages.create(**MESSAGE, tools=[TOOL], thinking=THINKING)
    thought, use = done.content
    assert (thought.thinking, bool(thought.signature)) == ("Which city, I wonder.", True)
    assert (use.name, use.input) == ("weather", {"city": "Zürich", "days": 3})
    assert done.stop_reason == "tool_use"
    check(await reach.row(), Expected("anthropic", "claude-sonnet-4-5", "anthropic.messages", stream=streamed))


async def test_anthropic_messages_streamed(reach: Reach) -> None:
    async with reach.anthropic().messages.stream(**MESSAGE) as stream:
        assert "".join([text async for text in stream.text_stream]) == TEXT
        assert (await stream.get_final_message()).usage.output_tokens == 7
    check(await reach.row(), Expected("anthropic", "claude-sonnet-4-5", "anthropic.messages", stream=True))


async def test_anthropic_count_tokens(reach: Reach) -> None:
    done = await reach.anthropic().messages.count_tokens(model="claude-sonnet-4-5", messages=SAY)
    assert done.input_tokens == 11
    row = await reach.row()
    check(row, Expected("anthropic", "claude-sonnet-4-5", "anthropic.messages", "count"), usage=(0, 0))
    assert not row.cost


async def test_anthropic_models(reach: Reach) -> None:
    assert "claude-sonnet-4-5" in [one.id async for one in reach.anthropic().models.list()]
    provider = "" if reach.base else "anthropic"  # the gateway's list is of all providers
    check(await reach.row(), Expected(provider, "", "anthropic.messages", "models"), usage=(0, 0))


# ── Gemini ───────────────────────────────────────────────────────────────────────────────────────

GEMINI: dict[str, Any] = {"model": "gemini-2.5-pro", "contents": "say hello"}


async def test_gemini_generate(reach: Reach) -> None:
    done = await reach.genai().aio.models.generate_content(**GEMINI)
    assert done.text == TEXT
    row = await reach.row()
    check(row, Expected("gemini", "gemini-2.5-pro", "gemini.generate"))
    assert row.cost == 11 * Decimal("1.25e-6") + 7 * Decimal("10e-6")


async def test_gemini_generate_streamed(reach: Reach) -> None:
    stream = await reach.genai().aio.models.generate_content_stream(**GEMINI)
    assert "".join([part.text or "" async for part in stream]) == TEXT
    check(await reach.row(), Expected("gemini", "gemini-2.5-pro", "gemini.generate", stream=True))


async def test_gemini_tools(reach: Reach) -> None:
    reach.provider.script(Answer(tools=(WEATHER,)))
    declared = types.FunctionDeclaration(name="weather", parameters_json_schema=PARAMETERS)
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declared])])
    done = await reach.genai().aio.models.generate_content(**GEMINI, config=config)
    assert done.function_calls is not None
    assert (done.function_calls[0].name, done.function_calls[0].args) == ("weather", {"city": "Zürich", "days": 3})


async def test_gemini_count_tokens(reach: Reach) -> None:
    assert (await reach.genai().aio.models.count_tokens(**GEMINI)).total_tokens == 11
    check(await reach.row(), Expected("gemini", "gemini-2.5-pro", "gemini.generate", "count"), usage=(0, 0))


async def test_gemini_embed(reach: Reach) -> None:
    done = await reach.genai().aio.models.embed_content(model="gemini-embedding-001", contents=["one", "two"])
    assert done.embeddings is not None and [len(one.values or []) for one in done.embeddings] == [8, 8]
    row = await reach.row()
    assert (row.provider, row.kind, row.model, row.end) == ("gemini", "embed", "gemini-embedding-001", "completed")


# ── Errors ───────────────────────────────────────────────────────────────────────────────────────


async def ask_openai(reach: Reach, model: str = "gpt-4o") -> object:
    return await reach.openai().chat.completions.create(model=model, messages=SAY)


async def ask_responses(reach: Reach, model: str = "gpt-5") -> object:
    return await reach.openai().responses.create(model=model, input="say hello")


async def ask_anthropic(reach: Reach, model: str = "claude-sonnet-4-5") -> object:
    return await reach.anthropic().messages.create(**{**MESSAGE, "model": model})


async def ask_gemini(reach: Reach, model: str = "gemini-2.5-pro") -> object:
    return await reach.genai().aio.models.generate_content(model=model, contents="say hello")


SDKS = {"openai": openai, "anthropic": anthropic}
ASK: dict[str, Callable[..., Any]] = {"openai": ask_openai, "anthropic": ask_anthropic}


@pytest.mark.parametrize("sdk", SDKS)
async def test_a_rate_limit_says_when_to_come_back(reach: Reach, sdk: str) -> None:
    reach.provider.script(RATE_LIMITED)
    with pytest.raises(SDKS[sdk].RateLimitError) as raised:
        await ASK[sdk](reach)
    assert raised.value.response.headers["retry-after"] == "1"
    assert "Rate limit reached." in str(raised.value)
    row = await reach.row()
    assert (row.status, row.end, row.attempts) == (429, "completed", 1)  # it has had its reply


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize(
    ("status", "name"),
    [(400, "BadRequestError"), (401, "AuthenticationError"), (403, "PermissionDeniedError"), (404, "NotFoundError"),
     (500, "InternalServerError"), (529, "InternalServerError")],
)  # fmt: skip
async def test_a_providers_error_is_the_sdks_own(reach: Reach, sdk: str, status: int, name: str) -> None:
    reach.provider.script(Answer(status=status))
    with pytest.raises(getattr(SDKS[sdk], "OverloadedError" if (status, sdk) == (529, "anthropic") else name)):
        await ASK[sdk](reach)
    assert (await reach.row()).status == status


async def test_geminis_errors_are_the_sdks_own(reach: Reach) -> None:
    reach.provider.script(RATE_LIMITED, Answer(status=503))
    with pytest.raises(genai_errors.ClientError) as limited:
        await ask_gemini(reach)
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")
    with pytest.raises(genai_errors.ServerError) as failed:
        await ask_gemini(reach)
    assert failed.value.code == 503


async def test_a_stream_that_breaks_raises(reach: Reach) -> None:
    broken = Answer(stop=Stop("rst", after="parts", count=4))
    reach.provider.script(broken, broken, broken, broken)
    with pytest.raises(openai.APIError, match="broke off"):
        async for _ in await reach.openai().chat.completions.create(model="gpt-4o", messages=SAY, stream=True):
            pass
    with pytest.raises(openai.APIError, match="broke off"):
        async for _ in await reach.openai().responses.create(model="gpt-5", input="say hello", stream=True):
            pass
    with pytest.raises(anthropic.APIError, match="broke off"):
        async for _ in await reach.anthropic().messages.create(**MESSAGE, stream=True):
            pass
    with pytest.raises(genai_errors.APIError, match="broke off"):
        async for _ in await reach.genai().aio.models.generate_content_stream(**GEMINI):
            pass
    rows = await reach.serving.rows(4)
    assert [row.end for row in rows] == ["broken"] * 4


async def test_an_upstream_that_is_gone_is_an_internal_server_error(gateway: Reach) -> None:
    with gateway.provider.refusing():
        for ask, error in (
            (ask_openai, openai.InternalServerError),
            (ask_responses, openai.InternalServerError),
            (ask_anthropic, anthropic.InternalServerError),
            (ask_gemini, genai_errors.ServerError),
        ):
            with pytest.raises(error, match="could not be reached"):
                await ask(gateway)


@pytest.mark.parametrize(
    ("ask", "error"),
    [(ask_openai, openai.NotFoundError), (ask_responses, openai.NotFoundError),
     (ask_anthropic, anthropic.NotFoundError), (ask_gemini, genai_errors.ClientError)],
)  # fmt: skip
async def test_an_unknown_model_is_named(gateway: Reach, ask: Callable[..., Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="my-own-model"):
        await ask(gateway, "my-own-model")
    row = await gateway.row()
    assert (row.status, row.end, row.cause, row.model) == (404, "refused", "model_not_found", "my-own-model")
    assert not gateway.provider.seen


async def test_a_malformed_call_is_a_bad_request(gateway: Reach) -> None:
    raw: dict[str, Any] = {"content": b'{"model": "gpt-4o", ', "cast_to": object}
    for client, path in ((gateway.openai(), "/chat/completions"), (gateway.anthropic(), "/v1/messages")):
        sdk: Any = openai if isinstance(client, openai.AsyncOpenAI) else anthropic
        with pytest.raises(sdk.BadRequestError, match="JSON"):
            await client.post(path, **raw, options={"headers": {"content-type": "application/json"}})
    assert [row.status for row in await gateway.serving.rows(2)] == [400, 400]
    assert not gateway.provider.seen


async def test_an_untouched_key_through_the_proxy_and_ours_through_the_gateway(reach: Reach) -> None:
    await ask_openai(reach)
    key = reach.provider.seen[0].header("authorization")
    assert key == ("Bearer sk-of-the-gateway" if reach.base else "Bearer sk-client")


async def test_the_sdk_retries_what_the_gateway_says_may_be_retried(gateway: Reach) -> None:
    gateway.provider.script(RATE_LIMITED, Answer())
    done = await gateway.openai().with_options(max_retries=1).chat.completions.create(model="gpt-4o", messages=SAY)
    assert done.choices[0].message.content == TEXT
    assert [row.status for row in await gateway.serving.rows(2)] == [429, 200]
