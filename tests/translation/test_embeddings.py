"""Embeddings from OpenAI's API to Gemini's and back."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

import base64
import copy
import math
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from google.genai import Client
from google.genai.types import EmbedContentResponse, HttpOptions
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI
from openai.types import CreateEmbeddingResponse
from openai.types.embedding_create_params import EmbeddingCreateParams
from pydantic import TypeAdapter

from shin_gateway.errors import Invalid, Refusal, UpstreamFailed
from shin_gateway.translation.embeddings import DIALECTS, Embed, Embedder, Sending, Vectors, embedder, join
from shin_gateway.translation.embeddings.form import batches
from shin_gateway.translation.embeddings.openai import pack, unpack
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits

OPENAI, GEMINI = embedder("openai.embeddings"), embedder("gemini.generate")
BATCH, ONE, PREDICT = (
    f"/v1beta/models/gemini-embedding-001:{verb}" for verb in ("batchEmbedContents", "embedContent", "predict")
)
CONTENT = {"parts": [{"text": "a"}]}
_OPENAI_CALL: TypeAdapter[Any] = TypeAdapter(EmbeddingCreateParams)


def to_gemini(body: dict[str, Any], traits: Traits = Traits()) -> tuple[list[Sending], tuple[str, ...]]:  # noqa: B008
    losses = Losses()
    embed = OPENAI.read_call(body, "/v1/embeddings", losses)
    embed.model = "gemini-embedding-001"
    return GEMINI.write_calls(embed, traits, losses), losses.dropped


def to_openai(body: dict[str, Any], path: str, traits: Traits = Traits()) -> tuple[list[Sending], tuple[str, ...]]:  # noqa: B008
    losses = Losses()
    embed = GEMINI.read_call(body, path, losses)
    embed.model = "text-embedding-3-small"
    return OPENAI.write_calls(embed, traits, losses), losses.dropped


# ── calls ───────────────────────────────────────────────────────────────────────────────────────


def request(text: str, **more: object) -> dict[str, Any]:
    return {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}, **more}


@pytest.mark.parametrize(
    ("body", "requests", "dropped"),
    [
        ({"input": "hello"}, [request("hello")], ()),
        ({"input": ["a", "b"]}, [request("a"), request("b")], ()),
        ({"input": "a", "dimensions": 768}, [request("a", outputDimensionality=768)], ()),
        ({"input": "a", "dimensions": 768.0}, [request("a", outputDimensionality=768)], ()),
        ({"input": "a", "encoding_format": "base64"}, [request("a")], ()),
        ({"input": "a", "dimensions": None, "encoding_format": None, "user": None}, [request("a")], ()),
        ({"input": "a", "user": "u"}, [request("a")], ("user",)),
        ({"input": "a", "input_type": "query", "x y\r\n": 1}, [request("a")], ("input_type", "*")),
    ],
)
def test_calls_from_openai_to_gemini(
    body: dict[str, Any], requests: list[dict[str, Any]], dropped: tuple[str, ...]
) -> None:
    sendings, lost = to_gemini({"model": "m", **body})
    assert sendings == [Sending(BATCH, {"requests": requests}, len(requests))]
    assert lost == dropped


@pytest.mark.parametrize(
    ("path", "body", "wanted", "dropped"),
    [
        (ONE, {"content": CONTENT}, {"input": ["a"]}, ()),
        (ONE, {"model": "models/gemini-embedding-001", "content": CONTENT, "outputDimensionality": 256}, {"input": ["a"], "dimensions": 256}, ()),
        (ONE, {"content": CONTENT, "output_dimensionality": 256, "task_type": "CLUSTERING"}, {"input": ["a"], "dimensions": 256}, ("taskType",)),
        (ONE, {"content": CONTENT, "embedContentConfig": {"outputDimensionality": 8, "title": "t", "autoTruncate": True}}, {"input": ["a"], "dimensions": 8}, ("autoTruncate", "title")),
        (ONE, {"content": {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}}, {"input": ["a\nb"]}, ()),
        (ONE, {"content": {"parts": {"text": "a"}}}, {"input": ["a"]}, ()),
        (ONE, {"content": "a"}, {"input": ["a"]}, ()),
        (BATCH, {"requests": [request("a"), request("b")]}, {"input": ["a", "b"]}, ()),
        (BATCH, {"requests": [request("a", taskType="RETRIEVAL_DOCUMENT", title="t", outputDimensionality=5)] * 2}, {"input": ["a", "a"], "dimensions": 5}, ("requests.taskType", "requests.title")),
        (BATCH, {"requests": [request("a", taskType="CLUSTERING"), request("b", taskType="CLASSIFICATION"), request("c")]}, {"input": ["a", "b", "c"]}, ("requests.taskType",)),
        (BATCH, {"requests": [{"content": CONTENT, "embedContentConfig": {"outputDimensionality": 5, "documentOcr": True}}]}, {"input": ["a"], "dimensions": 5}, ("requests.documentOcr",)),
        (PREDICT, {"instances": [{"content": "a", "task_type": "X"}, {"content": "b", "task_type": "X"}], "parameters": {"outputDimensionality": 4, "autoTruncate": False}}, {"input": ["a", "b"], "dimensions": 4}, ("parameters.autoTruncate", "instances.taskType")),
        ("/v1/x", {"requests": [request("a")]}, {"input": ["a"]}, ()),
    ],
)  # fmt: skip
def test_calls_from_gemini_to_openai(
    path: str, body: dict[str, Any], wanted: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    [sending], lost = to_openai(body, path)
    assert sending.body == {"model": "text-embedding-3-small", "encoding_format": "float", **wanted}
    assert (sending.path, sending.inputs) == ("/v1/embeddings", len(wanted["input"]))
    assert lost == dropped
    _OPENAI_CALL.validate_python(sending.body)


def test_openai_tokens_stay_tokens_among_openais_servers() -> None:
    for asked, wanted in (([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]]), (["a", [2]], ["a", [2]])):
        embed = OPENAI.read_call({"model": "m", "input": asked, "user": "u"}, "", Losses())
        assert OPENAI.write_calls(embed, Traits(), Losses())[0].body["input"] == wanted


def test_a_server_that_takes_less() -> None:
    traits = Traits(
        drop=frozenset({"dimensions", "encoding_format"}), rename={"input": "x"}, words={"embed_batch": "2"}
    )
    sendings, lost = to_openai({"requests": [request(text, outputDimensionality=5) for text in "abc"]}, BATCH, traits)
    assert [sending.body["input"] for sending in sendings] == [["a", "b"], ["c"]]
    assert all(set(sending.body) == {"model", "input"} for sending in sendings)
    assert lost == ("requests.outputDimensionality",)


@pytest.mark.parametrize(("inputs", "sizes"), [(1, [1]), (100, [100]), (101, [100, 1]), (250, [100, 100, 50])])
def test_batches_for_gemini(inputs: int, sizes: list[int]) -> None:
    sendings, _ = to_gemini({"model": "m", "input": [str(at) for at in range(inputs)]})
    assert [sending.inputs for sending in sendings] == [len(sending.body["requests"]) for sending in sendings] == sizes
    texts = [row["content"]["parts"][0]["text"] for sending in sendings for row in sending.body["requests"]]
    assert texts == [str(at) for at in range(inputs)]


def test_batches_are_no_longer_than_the_provider_takes() -> None:
    """OpenAI takes 300,000 tokens at once, Vertex 20,000; rather too many are reckoned than too few."""
    long = "word " * 20_000
    sendings, _ = to_openai({"requests": [request(long)] * 13}, BATCH)
    assert [sending.inputs for sending in sendings] == [6, 6, 1]
    embed = Embed(model="text-embedding-005", inputs=["a" * 39_998, "b", "c", "\u6771" * 13_334, "d"], form="list")
    sendings = GEMINI.write_calls(embed, Traits(words={"embed": "predict"}), Losses())
    assert [sending.inputs for sending in sendings] == [3, 1, 1], "one that is too long goes alone"
    tokens = Embed(model="m", inputs=[[1] * 200_000, [2] * 100_000, [3]], form="list")
    assert [one.inputs for one in OPENAI.write_calls(tokens, Traits(), Losses())] == [2, 1]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=40), st.integers(1, 9), st.integers(1, 60))
def test_batches_lose_nothing(inputs: list[str], most: int, tokens: int) -> None:
    found = list(batches(Embed(model="m", inputs=list(inputs), form="list"), Traits(), most, tokens))
    assert [one for some in found for one in some] == inputs
    assert all(1 <= len(some) <= most for some in found)


def test_batches_for_openai() -> None:
    sendings, _ = to_openai({"requests": [request("a")] * 4097}, BATCH)
    assert [len(sending.body["input"]) for sending in sendings] == [2048, 2048, 1]


@pytest.mark.parametrize(("model", "sizes"), [("text-embedding-005", [250, 1]), ("gemini-embedding-001", [1] * 251)])
def test_batches_for_vertex(model: str, sizes: list[int]) -> None:
    embed = Embed(model=model, inputs=["a"] * 251, form="list", dimensions=5, task="X", title="t")
    sendings = GEMINI.write_calls(embed, Traits(words={"embed": "predict"}), Losses())
    assert [sending.inputs for sending in sendings] == sizes
    assert sendings[-1].body == {
        "instances": [{"content": "a", "task_type": "X", "title": "t"}],
        "parameters": {"outputDimensionality": 5},
    }
    assert sendings[0].path == f"/v1beta/models/{model}:predict"


def test_what_gemini_has_stays_among_geminis() -> None:
    embed = GEMINI.read_call(
        {"requests": [request("a", taskType="X", title="t", outputDimensionality=3)]}, BATCH, Losses()
    )
    [sending] = GEMINI.write_calls(embed, Traits(), Losses())
    assert sending.body == {"requests": [request("a", taskType="X", title="t", outputDimensionality=3)]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "model"), ({"model": 5, "input": "a"}, "model"), ({"model": "", "input": "a"}, "model"), ({"model": "m"}, "input"), ({"model": "m", "input": None}, "input"),
        ({"model": "m", "input": 5}, "input"), ({"model": "m", "input": []}, "input"), ({"model": "m", "input": {}}, "input"), ({"model": "m", "input": [True]}, "input[0]"),
        ({"model": "m", "input": ["a", 5]}, "input[1]"), ({"model": "m", "input": ["a", None]}, "input[1]"), ({"model": "m", "input": [1, "a"]}, "input[1]"),
        ({"model": "m", "input": [[1, -2]]}, "input[0][1]"), ({"model": "m", "input": [[]]}, "input[0]"), ({"model": "m", "input": [[10**400]]}, "input[0][0]"),
        ({"model": "m", "input": [["a"]]}, "input[0][0]"), ({"model": "m", "input": [1.5]}, "input[0]"), ({"model": "m", "input": [[[1]]]}, "input[0][0]"),
        ({"model": "m", "input": "a", "dimensions": 0}, "dimensions"), ({"model": "m", "input": "a", "dimensions": "5"}, "dimensions"),
        ({"model": "m", "input": "a", "dimensions": True}, "dimensions"), ({"model": "m", "input": "a", "dimensions": 10**400}, "dimensions"),
        ({"model": "m", "input": "a", "dimensions": math.inf}, "dimensions"), ({"model": "m", "input": "a", "dimensions": math.nan}, "dimensions"),
        ({"model": "m", "input": "a", "dimensions": 1.5}, "dimensions"), ({"model": "m", "input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"model": "m", "input": "a", "encoding_format": ["float"]}, "encoding_format"), ({"model": "m", "input": "a", "user": 5}, "user"),
    ],
)  # fmt: skip
def test_bad_calls_of_openai_name_the_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as error:
        OPENAI.read_call(body, "/v1/embeddings", Losses())
    assert error.value.param == field
    assert error.value.message.startswith(f"{field}: ")


@pytest.mark.parametrize(("tokens", "field"), [([1, 2], "input"), ([[1], [2]], "input[0]"), (["a", [2]], "input[1]")])
def test_tokens_mean_nothing_to_gemini(tokens: list[Any], field: str) -> None:
    with pytest.raises(Invalid, match="texts, not tokens") as error:
        to_gemini({"model": "m", "input": tokens})
    assert error.value.param == field


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (BATCH, {}, "requests"), (BATCH, {"requests": None}, "requests"), (BATCH, {"requests": {}}, "requests"), (BATCH, {"requests": []}, "requests"),
        (BATCH, {"requests": [5]}, "requests[0]"), (BATCH, {"requests": [{}]}, "requests[0].content"), (BATCH, {"requests": [request("a"), {"content": 5}]}, "requests[1].content"),
        (BATCH, {"requests": [request("a"), request("b", outputDimensionality=5)]}, "requests[1].outputDimensionality"),
        (BATCH, {"requests": [request("a", outputDimensionality="5")]}, "requests[0].outputDimensionality"), (BATCH, {"requests": [request("a", taskType=5)]}, "requests[0].taskType"),
        (BATCH, {"requests": [request("a"), {"model": "models/other", "content": CONTENT}]}, "requests[1].model"), (BATCH, {"requests": [{"model": 5, "content": CONTENT}]}, "requests[0].model"),
        (BATCH, {"requests": [request("a", embedContentConfig=5)]}, "requests[0].embedContentConfig"),
        (ONE, {}, "content"), (ONE, {"content": {}}, "content.parts"), (ONE, {"content": {"parts": []}}, "content.parts"), (ONE, {"content": {"parts": "a"}}, "content.parts"),
        (ONE, {"content": {"parts": [5]}}, "content.parts[0]"), (ONE, {"content": {"parts": [{"text": 5}]}}, "content.parts[0].text"),
        (ONE, {"content": {"parts": [{"text": "a"}, {"inlineData": {}}]}}, "content.parts[1]"), (ONE, {"content": CONTENT, "title": []}, "title"),
        (PREDICT, {}, "instances"), (PREDICT, {"instances": [{}]}, "instances[0].content"), (PREDICT, {"instances": [{"content": "a"}], "parameters": []}, "parameters"),
        (PREDICT, {"instances": [{"content": "a"}], "parameters": {"outputDimensionality": -1}}, "parameters.outputDimensionality"),
        ("/v1/x", {"content": CONTENT}, "model"),
    ],
)  # fmt: skip
def test_bad_calls_of_gemini_name_the_field(path: str, body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as error:
        GEMINI.read_call(body, path, Losses())
    assert error.value.param == field
    assert error.value.message.startswith(f"{field}: ")


def test_a_policy_may_refuse_what_would_be_lost() -> None:
    body = {"content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_QUERY"}
    embed = GEMINI.read_call(body, "/v1beta/models/m:embedContent", Losses())
    with pytest.raises(Invalid) as error:
        OPENAI.write_calls(embed, Traits(), Losses(refuse=True))
    assert error.value.param == "taskType"


def test_the_user_s_id_is_worth_no_refusal() -> None:
    losses = Losses(refuse=True)
    GEMINI.write_calls(OPENAI.read_call({"model": "m", "input": "a", "user": "u"}, "", losses), Traits(), losses)
    assert losses.dropped == ("user",)


# ── replies ─────────────────────────────────────────────────────────────────────────────────────

OPENAI_REPLY = {
    "object": "list",
    "data": [
        {"object": "embedding", "index": 1, "embedding": [0.5, -2]},
        {"object": "embedding", "index": 0, "embedding": [0.25, 1e-9]},
    ],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}
GEMINI_REPLY = {
    "embeddings": [{"values": [0.25, 1e-9]}, {"values": [0.5, -2]}],
    "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7},
}
ROWS = [[0.25, 1e-9], [0.5, -2]]


def embed_of(form: Any, packed: bool = False) -> Embed:
    return Embed(model="m", inputs=["a", "b"], form=form, packed=packed)


@pytest.mark.parametrize(("dialect", "body"), [("openai.embeddings", OPENAI_REPLY), ("gemini.generate", GEMINI_REPLY)])
def test_replies_are_read_in_the_order_of_the_inputs(dialect: str, body: dict[str, Any]) -> None:
    assert embedder(dialect).read_reply(body) == Vectors(rows=ROWS, tokens=7)


@pytest.mark.parametrize(
    ("body", "vectors"),
    [
        ({"embedding": {"values": [1.0]}}, Vectors(rows=[[1.0]])),
        ({"embeddings": []}, Vectors(rows=[])),
        ({"predictions": [{"embeddings": {"values": [1.0], "statistics": {"token_count": 3, "truncated": False}}}] * 2}, Vectors(rows=[[1.0]] * 2, tokens=6)),
        ({"predictions": [{"embeddings": {"values": [1.0]}}]}, Vectors(rows=[[1.0]])),
    ],
)  # fmt: skip
def test_other_replies_of_gemini(body: dict[str, Any], vectors: Vectors) -> None:
    assert GEMINI.read_reply(body) == vectors


@pytest.mark.parametrize("indexes", [[0, 0], [None, None], ["1", "0"], [5, 6], [True, False]])
def test_indexes_that_tell_no_order_are_passed_over(indexes: list[Any]) -> None:
    body = copy.deepcopy(OPENAI_REPLY)
    for row, index in zip(body["data"], indexes, strict=True):  # type: ignore[arg-type]
        row["index"] = index  # type: ignore[index]
    assert OPENAI.read_reply(body).rows == ROWS[::-1]


def test_the_official_openai_client_takes_what_is_written() -> None:
    written = OPENAI.write_reply(GEMINI.read_reply(GEMINI_REPLY), embed_of("list"), "fast")
    reply = CreateEmbeddingResponse.model_validate(written, strict=True)
    assert [row.embedding for row in reply.data] == ROWS
    assert ([row.index for row in reply.data], reply.model, reply.usage.total_tokens) == ([0, 1], "fast", 7)
    assert OPENAI.write_reply(Vectors(rows=ROWS), embed_of("list"), "m")["usage"] == {
        "prompt_tokens": 0,
        "total_tokens": 0,
    }


def test_base64_is_of_little_endian_floats() -> None:
    written = OPENAI.write_reply(Vectors(rows=ROWS), embed_of("list", packed=True), "m")
    packed = [base64.b64decode(row["embedding"]) for row in written["data"]]
    assert packed == [struct.pack("<2f", *row) for row in ROWS]
    assert OPENAI.read_reply(written).rows[1] == [0.5, -2.0]


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        (
            "batch",
            {
                "embeddings": [{"values": row} for row in ROWS],
                "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7},
            },
        ),
        ("predict", {"predictions": [{"embeddings": {"values": row}} for row in ROWS]}),
    ],
)
def test_replies_for_clients_of_gemini(form: Any, wanted: dict[str, Any]) -> None:
    assert GEMINI.write_reply(OPENAI.read_reply(OPENAI_REPLY), embed_of(form), "m") == wanted


def test_one_embedding_for_clients_of_gemini() -> None:
    one = Vectors(rows=[[1.0]], tokens=3)
    assert GEMINI.write_reply(one, embed_of("one"), "m") == {
        "embedding": {"values": [1.0]},
        "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3},
    }
    assert GEMINI.write_reply(one, embed_of("predict"), "m") == {
        "predictions": [{"embeddings": {"values": [1.0], "statistics": {"truncated": False, "token_count": 3}}}]
    }
    assert GEMINI.write_reply(Vectors(rows=[[1.0]]), embed_of("one"), "m") == {"embedding": {"values": [1.0]}}


def test_the_official_gemini_client_takes_what_is_written() -> None:
    written = GEMINI.write_reply(OPENAI.read_reply(OPENAI_REPLY), embed_of("batch"), "m")
    reply = EmbedContentResponse.model_validate(written)
    assert reply.embeddings is not None and [one.values for one in reply.embeddings] == ROWS


@asynccontextmanager
async def gateway(target: Embedder, fake: Callable[[dict[str, Any]], dict[str, Any]]) -> AsyncIterator[str]:
    """A gateway on loopback to a provider who answers `fake(body)`."""

    async def answer(ask: web.Request) -> web.Response:
        client = OPENAI if ask.path.endswith("/embeddings") else GEMINI
        embed = client.read_call(await ask.json(), ask.path, Losses())
        sendings = target.write_calls(embed, Traits(), Losses())
        vectors = join([target.read_reply(fake(sending.body)) for sending in sendings], sendings)
        return web.json_response(client.write_reply(vectors, embed, embed.model))

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def fake_gemini(body: dict[str, Any]) -> dict[str, Any]:
    texts = [row["content"]["parts"][0]["text"] for row in body["requests"]]
    return {"embeddings": [{"values": [float(text), 0.5]} for text in texts]}


def fake_openai(body: dict[str, Any]) -> dict[str, Any]:
    rows = [
        {"index": at, "embedding": [float(text), 0.5], "object": "embedding"} for at, text in enumerate(body["input"])
    ]
    return {"object": "list", "data": rows, "model": "x", "usage": {"prompt_tokens": 4, "total_tokens": 4}}


async def test_the_official_openai_client_in_front_of_gemini() -> None:
    async with gateway(GEMINI, fake_gemini) as url, AsyncOpenAI(base_url=f"{url}/v1", api_key="k") as client:
        many = await client.embeddings.create(model="m", input=[str(at) for at in range(150)])  # as base64, by default
        assert [row.embedding for row in many.data] == [[float(at), 0.5] for at in range(150)]
        one = await client.embeddings.create(model="m", input="7", encoding_format="float", dimensions=2)
        assert (one.data[0].embedding, one.model) == ([7.0, 0.5], "m")


async def test_the_official_gemini_client_in_front_of_openai() -> None:
    async with gateway(OPENAI, fake_openai) as url:
        client = Client(api_key="k", http_options=HttpOptions(base_url=url)).aio
        reply = await client.models.embed_content(
            model="m", contents=["1", "2"], config={"output_dimensionality": 2, "task_type": "CLUSTERING"}
        )
        assert reply.embeddings is not None and [one.values for one in reply.embeddings] == [[1.0, 0.5], [2.0, 0.5]]
        await client.aclose()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "body",
    [
        None, [], "x", 5, {}, {"data": None}, {"data": {}}, {"data": [None]}, {"data": [{}]}, {"data": [{"embedding": None}]}, {"data": [{"embedding": ["a"]}]},
        {"data": [{"embedding": [None]}]}, {"data": [{"embedding": [10**400]}]}, {"data": [{"embedding": [math.inf]}]}, {"data": [{"embedding": "!!"}]}, {"data": [{"embedding": "AAA="}]},
        {"data": [{"embedding": "AAAAfw==ü"}]}, {"data": [{"embedding": "AADAfw=="}]}, {"data": [{"embedding": [[1.0]]}]},
        {"embeddings": None}, {"embeddings": {}}, {"embeddings": [None]}, {"embeddings": [{"values": "x"}]}, {"embeddings": [{"values": [math.nan]}]}, {"embedding": 5},
        {"predictions": [None]}, {"predictions": [{"embeddings": [1]}]}, {"error": {"message": "x"}},
    ],
)  # fmt: skip
def test_nonsense_of_a_provider_is_the_providers_fault(dialect: str, body: Any) -> None:
    with pytest.raises(UpstreamFailed) as error:
        embedder(dialect).read_reply(body)
    assert error.value.status == 502


def test_replies_to_batches_are_joined_in_order() -> None:
    sendings, _ = to_gemini({"model": "m", "input": [str(at) for at in range(201)]})
    replies = [
        Vectors(rows=[[float(row["content"]["parts"][0]["text"])] for row in one.body["requests"]], tokens=one.inputs)
        for one in sendings
    ]
    joined = join(replies, sendings)
    assert joined == Vectors(rows=[[float(at)] for at in range(201)], tokens=201)
    replies[1].tokens = None
    assert join(replies, sendings).tokens is None
    replies[1].rows.pop()
    with pytest.raises(UpstreamFailed, match="99 embeddings for 100 inputs"):
        join(replies, sendings)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_floats_survive_base64(values: list[float]) -> None:
    assert unpack(pack(values)) == values


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.none() | st.integers(1, 4096))
def test_a_call_there_and_back_is_the_same(texts: list[str], dimensions: int | None) -> None:
    [sending], _ = to_gemini({"model": "m", "input": texts, "dimensions": dimensions})
    [back], _ = to_openai(sending.body, sending.path)
    assert (back.body["input"], back.body.get("dimensions")) == (texts, dimensions)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["model", "input", "requests", "content", "parts", "text", "instances", "parameters", "dimensions", "embedContentConfig", "outputDimensionality", "data", "embedding", "embeddings", "predictions", "values", "usage", "usageMetadata"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(_JSON, st.sampled_from(["/v1/embeddings", BATCH, ONE, PREDICT]))
def test_nothing_breaks_the_readers(body: Any, path: str) -> None:
    for one in (OPENAI, GEMINI):
        if isinstance(body, dict):
            try:
                one.write_calls(one.read_call(body, path, Losses()), Traits(), Losses())
            except Refusal:
                pass
        try:
            one.read_reply(body)
        except UpstreamFailed:
            pass
