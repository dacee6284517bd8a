"""Lists of models: read from any of the three APIs, written for any, page by page."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from anthropic import AsyncAnthropic
from anthropic.types import ModelInfo
from google.genai import Client
from google.genai import types as genai
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from openai import AsyncOpenAI
from openai.types import Model as OpenAIModel

from shin_gateway.errors import Invalid, NotFound, Refusal, UpstreamFailed
from shin_gateway.translation.models import Model, find, form_of, read_page, unique, write_list, write_one

MODELS = [
    Model(id="fast", created=1_700_000_000, owner="openai", title="Fast", max_input=128_000, max_output=4096),
    Model(id="openai/gpt-4o"),
    Model(
        id="gemini-2.5-pro", owner="google", methods=["generateContent"], thinks=True, version="2.5", description="Big"
    ),
    Model(id="text-embedding-3-small", owner="openai"),
    Model(id="claude-sonnet-4-5", created=1_759_104_000, owner="anthropic", title="Claude Sonnet 4.5"),
]
NAMES = [model.id for model in MODELS]
DIALECTS = ("openai.chat", "openai.responses", "anthropic.messages", "gemini.generate")


@pytest.mark.parametrize(
    ("path", "headers", "dialect"),
    [
        ("/v1/models", {}, "openai.chat"), ("/v1/models", {"authorization": "Bearer x"}, "openai.chat"),
        ("/v1/models?limit=1000", {"anthropic-version": "2023-06-01", "x-api-key": "k"}, "anthropic.messages"), ("/v1beta/models", {}, "gemini.generate"),
        ("/v1beta/models?pageSize=5", {"x-goog-api-key": "k"}, "gemini.generate"), ("/v1alpha/models", {}, "gemini.generate"), ("/v1/models", {"x-goog-api-key": "k"}, "gemini.generate"),
        ("/v1/models/claude-x", {"anthropic-version": "2026-10-21"}, "anthropic.messages"), ("/v1/models", {"x-api-key": "k"}, "anthropic.messages"),
        ("/v1/models?key=k", {}, "gemini.generate"), ("/v1/models/v1beta", {}, "openai.chat"),
    ],
)  # fmt: skip
def test_whose_api_a_client_speaks(path: str, headers: dict[str, str], dialect: str) -> None:
    assert form_of(path, headers) == dialect


# ── written ─────────────────────────────────────────────────────────────────────────────────────


def test_openais_list() -> None:
    written = write_list("openai.chat", MODELS, {})
    assert written["object"] == "list"
    assert written["data"][0] == {"id": "fast", "object": "model", "created": 1_700_000_000, "owned_by": "openai"}
    assert [OpenAIModel.model_validate(row, strict=True).id for row in written["data"]] == NAMES


def test_anthropics_list() -> None:
    written = write_list("anthropic.messages", MODELS, {})
    assert [ModelInfo.model_validate(row).id for row in written["data"]] == NAMES
    assert (written["has_more"], written["first_id"], written["last_id"]) == (False, NAMES[0], NAMES[-1])
    assert written["data"][0]["created_at"] == "2023-11-14T22:13:20Z"
    assert written["data"][1]["created_at"] == "1970-01-01T00:00:00Z"
    info = ModelInfo.model_validate(written["data"][0])
    assert (info.display_name, info.max_input_tokens, info.max_tokens, info.lifecycle) == (
        "Fast",
        128_000,
        4096,
        "active",
    )


def _said(row: dict[str, Any]) -> dict[str, Any]:
    """As the official client renames what it read."""
    names = {
        "displayName": "display_name",
        "inputTokenLimit": "input_token_limit",
        "outputTokenLimit": "output_token_limit",
        "supportedGenerationMethods": "supported_actions",
    }
    return {names.get(name, name): value for name, value in row.items()}


def test_geminis_list() -> None:
    written = write_list("gemini.generate", MODELS, {})
    read = [genai.Model._from_response(response=_said(row), kwargs={}) for row in written["models"]]
    assert [model.name for model in read] == [f"models/{name}" for name in NAMES]
    assert "nextPageToken" not in written
    assert (read[0].display_name, read[0].input_token_limit, read[0].output_token_limit) == ("Fast", 128_000, 4096)
    assert (read[2].supported_actions, read[2].thinking, read[2].version) == (["generateContent"], True, "2.5")
    assert read[1].supported_actions == ["generateContent", "countTokens"]
    assert read[3].supported_actions == ["embedContent"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_models_are_a_list_too(dialect: str) -> None:
    written = write_list(dialect, [], {})
    assert written.get("data", written.get("models")) == []
    assert read_page(dialect, written).models == []


def test_one_model() -> None:
    model = find(MODELS, "openai%2Fgpt-4o")
    assert find(MODELS, "models/fast").id == "fast"
    assert OpenAIModel.model_validate(write_one("openai.responses", model), strict=True).id == "openai/gpt-4o"
    assert ModelInfo.model_validate(write_one("anthropic.messages", model)).display_name == "openai/gpt-4o"
    assert write_one("gemini.generate", model)["name"] == "models/openai/gpt-4o"


@pytest.mark.parametrize("id", ["", "none", "FAST", "x" * 5000, "%ff", "models/"])
def test_a_model_that_is_none(id: str) -> None:
    with pytest.raises(NotFound) as error:
        find(MODELS, id)
    assert (error.value.status, error.value.code) == (404, "model_not_found")
    assert len(error.value.message) < 500


def test_names_are_unique() -> None:
    twice = [Model(id="a", owner="x"), Model(id="b"), Model(id="a", owner="y")]
    assert [(model.id, model.owner) for model in unique(twice)] == [("a", "x"), ("b", "")]


# ── pages ───────────────────────────────────────────────────────────────────────────────────────


def many(count: int) -> list[Model]:
    return [Model(id=f"m{at}") for at in range(count)]


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ({}, range(20), True), ({"limit": "1000"}, range(45), False), ({"limit": "5000"}, range(45), False), ({"limit": "3"}, range(3), True), ({"limit": "45"}, range(45), False),
        ({"after_id": "m2", "limit": "2"}, range(3, 5), True), ({"after_id": "m42", "limit": "2"}, range(43, 45), False), ({"after_id": "m44"}, range(0), False),
        ({"before_id": "m10", "limit": "3"}, range(7, 10), True), ({"before_id": "m2", "limit": "3"}, range(2), False), ({"before_id": "m0"}, range(0), False),
    ],
)  # fmt: skip
def test_anthropics_pages(query: dict[str, str], ids: range, more: bool) -> None:
    page = write_list("anthropic.messages", many(45), query)
    names = [f"m{at}" for at in ids]
    assert [row["id"] for row in page["data"]] == names
    assert page["has_more"] is more
    assert (page["first_id"], page["last_id"]) == ((names[0], names[-1]) if names else (None, None))


@pytest.mark.parametrize(
    ("dialect", "size", "pages"),
    [("anthropic.messages", {"limit": "7"}, 7), ("gemini.generate", {"pageSize": "7"}, 7), ("gemini.generate", {}, 1), ("gemini.generate", {"pageSize": "0"}, 1), ("openai.chat", {}, 1)],
)  # fmt: skip
def test_pages_follow_one_another(dialect: str, size: dict[str, str], pages: int) -> None:
    found, query, read = [], dict(size), 0
    while True:
        page = read_page(dialect, write_list(dialect, many(45), query))
        found += page.models
        read += 1
        if not page.next:
            break
        query = {**size, **page.next}
    assert [model.id for model in found] == [f"m{at}" for at in range(45)]
    assert read == pages


@pytest.mark.parametrize(
    ("dialect", "query", "field"),
    [
        ("anthropic.messages", {"limit": "x"}, "limit"), ("anthropic.messages", {"limit": "-1"}, "limit"), ("anthropic.messages", {"limit": "1.5"}, "limit"), ("anthropic.messages", {"limit": "²"}, "limit"),
        ("anthropic.messages", {"after_id": "none"}, "after_id"), ("anthropic.messages", {"before_id": "none"}, "before_id"), ("anthropic.messages", {"after_id": "m1", "before_id": "m2"}, "before_id"),
        ("gemini.generate", {"pageSize": "x"}, "pageSize"), ("gemini.generate", {"pageToken": "!!!"}, "pageToken"), ("gemini.generate", {"pageToken": "LTU="}, "pageToken"), ("gemini.generate", {"pageToken": "a"}, "pageToken"),
        ("gemini.generate", {"pageToken": "\ud800"}, "pageToken"), ("gemini.generate", {"pageToken": "/w=="}, "pageToken"),
    ],
)  # fmt: skip
def test_pages_that_are_none(dialect: str, query: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as error:
        write_list(dialect, many(5), query)
    assert error.value.param == field


def test_numbers_beyond_all_reason() -> None:
    assert len(write_list("anthropic.messages", many(5), {"limit": "9" * 10_000})["data"]) == 5
    assert write_list("gemini.generate", many(5), {"pageToken": "OTk5OTk5OTk5OTk5"})["models"] == []
    assert write_one("anthropic.messages", Model(id="m", created=10**14))["created_at"] == "9999-12-31T23:59:59Z"


@asynccontextmanager
async def gateway() -> AsyncIterator[str]:
    """A server on loopback that lists MODELS as the library writes them."""

    async def answer(ask: web.Request) -> web.Response:
        dialect = form_of(ask.path, ask.headers)
        id = ask.match_info.get("id")
        body = write_one(dialect, find(MODELS, id)) if id else write_list(dialect, MODELS, ask.query)
        return web.json_response(body)

    app = web.Application()
    app.router.add_get("/{version}/models", answer)
    app.router.add_get("/{version}/models/{id:.+}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_the_official_clients_page_through_it() -> None:
    async with gateway() as url:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="k") as openai:
            assert [model.id async for model in openai.models.list()] == NAMES
            assert (await openai.models.retrieve("openai/gpt-4o")).id == "openai/gpt-4o"
        async with AsyncAnthropic(base_url=url, api_key="k") as anthropic:
            assert [model.id async for model in anthropic.models.list(limit=2)] == NAMES
            assert [model.id async for model in anthropic.models.list(limit=2, before_id=NAMES[2])] == NAMES[:2]
            assert (await anthropic.models.retrieve("fast")).display_name == "Fast"
        gemini = Client(api_key="k", http_options=genai.HttpOptions(base_url=url)).aio
        found = await gemini.models.list(config={"page_size": 2})
        assert [model.name async for model in found] == [f"models/{name}" for name in NAMES]
        one = await gemini.models.get(model="fast")
        assert (one.name, one.input_token_limit) == ("models/fast", 128_000)
        await gemini.aclose()


# ── read ────────────────────────────────────────────────────────────────────────────────────────

OPENAI = {"object": "list", "data": [{"id": "gpt-4o", "object": "model", "created": 1715367049, "owned_by": "system"}]}
OPENROUTER = {
    "data": [
        {
            "id": "openai/gpt-4o",
            "name": "OpenAI: GPT-4o",
            "created": 1715558400,
            "context_length": 128000,
            "top_provider": {"max_completion_tokens": 16384},
            "pricing": {"prompt": "0.0000025"},
        }
    ]
}
GROQ = {
    "object": "list",
    "data": [
        {
            "id": "llama-3.3-70b-versatile",
            "object": "model",
            "created": 1733447754,
            "owned_by": "Meta",
            "active": True,
            "context_window": 131072,
            "max_completion_tokens": 32768,
        }
    ],
}
ANTHROPIC = {
    "data": [
        {"type": "model", "id": "claude-sonnet-4-5", "display_name": "Claude Sonnet 4.5", "created_at": "2025-09-29T00:00:00Z", "lifecycle": "active", "max_input_tokens": 200000, "max_tokens": 64000},
        {"type": "model", "id": "claude-2", "display_name": "Claude 2", "created_at": "2023-07-11T00:00:00Z", "lifecycle": "retired"},
    ],
    "has_more": True, "first_id": "claude-sonnet-4-5", "last_id": "claude-2",
}  # fmt: skip
GEMINI = {
    "models": [{"name": "models/gemini-2.5-flash", "version": "001", "displayName": "Gemini 2.5 Flash", "description": "Fast", "inputTokenLimit": 1048576, "outputTokenLimit": 65536, "supportedGenerationMethods": ["generateContent", "countTokens"], "temperature": 1, "topP": 0.95, "topK": 64, "thinking": True}],
    "nextPageToken": "abc",
}  # fmt: skip


@pytest.mark.parametrize(
    ("dialect", "body", "models", "more"),
    [
        ("openai.chat", OPENAI, [Model(id="gpt-4o", created=1715367049, owner="system")], {}),
        ("openai.chat", OPENROUTER, [Model(id="openai/gpt-4o", created=1715558400, title="OpenAI: GPT-4o", max_input=128000, max_output=16384)], {}),
        ("openai.chat", GROQ, [Model(id="llama-3.3-70b-versatile", created=1733447754, owner="Meta", max_input=131072, max_output=32768)], {}),
        ("openai.chat", [{"id": "a"}], [Model(id="a")], {}),
        ("openai.chat", {"object": "list", "data": None}, [], {}),
        ("anthropic.messages", ANTHROPIC, [Model(id="claude-sonnet-4-5", created=1759104000, owner="anthropic", title="Claude Sonnet 4.5", max_input=200000, max_output=64000)], {"after_id": "claude-2"}),
        ("gemini.generate", GEMINI, [Model(id="gemini-2.5-flash", owner="google", title="Gemini 2.5 Flash", description="Fast", version="001", max_input=1048576, max_output=65536, methods=["generateContent", "countTokens"], thinks=True)], {"pageToken": "abc"}),
        ("gemini.generate", {"publisherModels": [{"name": "publishers/google/models/gemini-2.5-pro", "versionId": "1"}]}, [Model(id="gemini-2.5-pro", owner="google", version="1")], {}),
        ("gemini.generate", {"tunedModels": [{"name": "tunedModels/x-1"}]}, [Model(id="tunedModels/x-1", owner="google")], {}),
        ("gemini.generate", {}, [], {}),
    ],
)  # fmt: skip
def test_providers_lists(dialect: str, body: Any, models: list[Model], more: dict[str, str]) -> None:
    page = read_page(dialect, body)
    assert [replace(model, raw={}, family="") for model in page.models] == models
    assert page.next == more


def test_a_client_of_the_same_api_loses_nothing_of_a_row() -> None:
    rows: dict[str, Any] = {
        "openai.chat": {"id": "o", "created": 5, "object": "model", "owned_by": "x", "pricing": {"prompt": "1"}},
        "anthropic.messages": {
            "id": "c",
            "type": "model",
            "display_name": "C",
            "created_at": "2026-01-02T00:00:00Z",
            "lifecycle": "deprecated",
            "capabilities": {"batch": {"supported": True}},
            "max_tokens": 5,
            "max_input_tokens": 9,
        },
        "gemini.generate": {
            "name": "models/g",
            "version": "1",
            "displayName": "G",
            "temperature": 1,
            "topK": 64,
            "supportedGenerationMethods": ["x"],
        },
    }
    for dialect, row in rows.items():
        (model,) = read_page(dialect, {"models": [row], "data": [row]}).models
        assert write_one(dialect, model) == row
        renamed = write_one(dialect, replace(model, id="lab/x"))
        assert "lab/x" in (renamed.get("id"), renamed.get("name", "").removeprefix("models/"))
        for other in rows.keys() - {dialect}:
            written = write_one(other, model)
            assert not any(written.get(name) for name in ("pricing", "capabilities", "temperature"))


def test_anthropics_stages() -> None:
    rows = [{"id": stage, "lifecycle": stage} for stage in ("active", "deprecated", "retired")]
    models = [*read_page("anthropic.messages", {"data": rows}).models, Model(id="other")]
    for query, names in (
        ({}, ["active", "deprecated", "other"]), ({"lifecycle": "active"}, ["active", "other"]),
        ({"lifecycle[]": "deprecated,retired"}, ["deprecated"]), ({"lifecycle": "retired"}, []),
    ):  # fmt: skip
        assert [row["id"] for row in write_list("anthropic.messages", models, query)["data"]] == names


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize(
    ("dialect", "body"), [("openai.chat", OPENAI), ("anthropic.messages", ANTHROPIC), ("gemini.generate", GEMINI)]
)
def test_any_list_for_any_client(client: str, dialect: str, body: Any) -> None:
    models = read_page(dialect, body).models
    again = read_page(client, write_list(client, models, {})).models
    assert [model.id for model in again] == [model.id for model in models]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("body", [None, "x", 5, {"error": {"message": "x"}}, {"data": {}}, {"models": "x"}, {"x": 1}])
def test_what_is_no_list(dialect: str, body: Any) -> None:
    with pytest.raises(UpstreamFailed):
        read_page(dialect, body)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_rows_that_are_none_are_passed_over(dialect: str) -> None:
    odd = [None, 5, [], {}, {"id": 5, "name": 5}, {"id": "", "name": ""}, {"id": None, "name": None}]
    wild = {
        "id": "m",
        "name": "m",
        "created": 10**400,
        "created_at": "soon",
        "context_length": math.inf,
        "top_provider": 5,
        "supportedGenerationMethods": [5, None, "x"],
        "thinking": "yes",
    }
    page = read_page(dialect, {"data": [*odd, wild], "models": [*odd, wild]})
    assert [model.id for model in page.models] == ["m"]
    write_list(dialect, page.models, {})


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("2025-09-29T00:00:00Z", 1759104000), ("2025-09-29T02:00:00+02:00", 1759104000), ("2025-09-29", 1759104000), ("1969-01-01T00:00:00Z", 0), ("0001-01-01T00:00:00+14:00", 0), ("x", 0), (5, 0), (None, 0)],
)  # fmt: skip
def test_times(written: Any, seconds: int) -> None:
    assert read_page("anthropic.messages", {"data": [{"id": "m", "created_at": written}]}).models[0].created == seconds


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["data", "models", "id", "name", "created", "created_at", "has_more", "last_id", "nextPageToken", "lifecycle"]), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@given(
    _JSON,
    st.sampled_from(DIALECTS),
    st.dictionaries(
        st.sampled_from(["limit", "after_id", "before_id", "pageSize", "pageToken"]), st.text(max_size=4), max_size=2
    ),
)
def test_nothing_breaks_the_readers(body: Any, dialect: str, query: dict[str, str]) -> None:
    try:
        write_list(dialect, read_page(dialect, body).models, query)
    except Refusal as error:
        assert error.status in (400, 502)  # noqa: PT017 - either is right
