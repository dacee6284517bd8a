"""Which provider a call about files goes to, and what each caller sees, with a real state store."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from multidict import CIMultiDict

from shin_gateway.arrivals import at_gateway
from shin_gateway.call import Call
from shin_gateway.caller import Caller
from shin_gateway.config import Config
from shin_gateway.errors import Invalid, NotFound, Refusal, Unavailable, Unsupported
from shin_gateway.files import tickets
from shin_gateway.files.desk import Desk
from shin_gateway.files.owners import TTL, Owners, tenant_of
from shin_gateway.policy import Policy
from shin_gateway.providers import Providers
from shin_gateway.reply import Reply
from shin_gateway.secret import SecretRef
from shin_gateway.stores.state import StateStore
from shin_gateway.targets import aim

ANNA, BEN = Caller("anna", "user"), Caller("ben", "user")
KEYS = ("OPENAI_API_KEY", "GROQ_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")
CONFIG = Config.model_validate({"models": {"opus": "anthropic/claude-opus-4-1"}})
PROVIDERS = Providers.load(CONFIG)

Asks = Callable[..., Any]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, f"of-{name}")
    for name in ("MISTRAL_API_KEY", "XAI_API_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def made(policy: Policy, method: str, path: str, body: Any = b"", caller: Caller = ANNA, **headers: str) -> Call:
    said: CIMultiDict[str] = CIMultiDict((name.replace("_", "-"), value) for name, value in headers.items())
    arrival = at_gateway(PROVIDERS, method, path, said)
    assert arrival is not None
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(
        method=method, headers=said, arrival=arrival, host="gateway", policy=policy, raw_body=raw, caller=caller
    )  # fmt: skip


async def answered(desk: Desk, call: Call, said: Any = None, status: int = 200, **headers: str) -> Reply:
    assert desk.takes(call)

    async def forward(call: Call) -> Reply:
        kind = {"content-type": "application/json"} | {key.replace("_", "-"): value for key, value in headers.items()}
        return Reply(status, CIMultiDict(kind), call.dialect, body=json.dumps(said or {}).encode())

    return await desk.answer(call, forward)


async def went(desk: Desk, call: Call, said: Any = None) -> str:
    await answered(desk, call, said)
    assert call.target is not None
    return call.target.url(call.path)


@pytest.fixture
def desk(state: StateStore) -> Desk:
    return Desk(PROVIDERS, CONFIG, state)


@pytest.mark.parametrize(
    ("method", "path", "headers", "url"),
    [
        ("POST", "/v1/files", {}, "https://api.openai.com/v1/files"),
        ("GET", "/v1/files/file-1/content?a=b", {}, "https://api.openai.com/v1/files/file-1/content?a=b"),
        ("GET", "/v1/files", {"x_shin_provider": "groq"}, "https://api.groq.com/openai/v1/files"),
        ("GET", "/groq/v1/files", {}, "https://api.groq.com/openai/v1/files"),
        ("POST", "/v1/batches", {}, "https://api.openai.com/v1/batches"),
        ("POST", "/v1/uploads/u/parts", {}, "https://api.openai.com/v1/uploads/u/parts"),
        ("GET", "/v1/files", {"anthropic_version": "2023-06-01"}, "https://api.anthropic.com/v1/files"),
        ("GET", "/v1/messages/batches/m/results", {}, "https://api.anthropic.com/v1/messages/batches/m/results"),
        ("GET", "/v1/files/a", {"x_goog_api_key": "k"}, "https://generativelanguage.googleapis.com/v1/files/a"),
        ("GET", "/v1/batches?key=k", {}, "https://generativelanguage.googleapis.com/v1/batches"),
        ("GET", "/v1beta/files/a", {}, "https://generativelanguage.googleapis.com/v1beta/files/a"),
        ("POST", "/upload/v1beta/files?upload_id=u", {}, "https://generativelanguage.googleapis.com/upload/v1beta/files?upload_id=u"),
        ("POST", "/v1beta/models/gemini-2.5-pro:batchGenerateContent", {}, "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:batchGenerateContent"),
        ("GET", "/v1beta/openai/batches/b", {"x_shin_provider": "gemini"}, "https://generativelanguage.googleapis.com/v1beta/openai/batches/b"),
    ],
)  # fmt: skip
async def test_where_a_call_goes(
    desk: Desk, policy: Policy, method: str, path: str, headers: dict[str, str], url: str
) -> None:
    assert await went(desk, made(policy, method, path, {}, **headers)) == url


async def test_the_owner_is_asked(desk: Desk, policy: Policy) -> None:
    groq = {"x_shin_provider": "groq"}
    await answered(desk, made(policy, "POST", "/v1/files", b"x", **groq), {"id": "file-g"})
    assert "groq" in await went(desk, made(policy, "GET", "/v1/files/file-g"))
    batch = made(policy, "POST", "/v1/batches", {"input_file_id": "file-g"})
    assert "groq" in await went(desk, batch, {"id": "batch_g", "output_file_id": None})
    assert "groq" in await went(
        desk, made(policy, "GET", "/v1/batches/batch_g"), {"id": "batch_g", "output_file_id": "file-o"}
    )
    assert "groq" in await went(desk, made(policy, "GET", "/v1/files/file-o/content"))
    assert "groq" in await went(desk, made(policy, "DELETE", "/v1/files/file-g"))
    assert "openai" in (await went(desk, made(policy, "GET", "/v1/files/file-g"))).split("/")[2]


async def test_a_gemini_file_in_a_batch_of_openais_client(desk: Desk, policy: Policy) -> None:
    await answered(desk, made(policy, "POST", "/upload/v1beta/files"), {"file": {"name": "files/abc"}})
    call = made(policy, "POST", "/v1/batches", {"input_file_id": "files/abc"})
    assert await went(desk, call) == "https://generativelanguage.googleapis.com/v1beta/openai/batches"


async def test_what_another_made_is_not_there(desk: Desk, policy: Policy) -> None:
    await answered(desk, made(policy, "POST", "/v1/files"), {"id": "file-1"})
    ways = [
        made(policy, method, path, caller=BEN, **headers)
        for method in ("GET", "DELETE")
        for path in ("/v1/files/file-1", "/openai/v1/files/file-1", "/openai/files/file-1", "/v1//files/%66ile-1/", "/v1/x/../files/file-1")
        for headers in ({}, {"x_shin_provider": "openai"})
        if not (path.startswith("/openai") and headers)
    ]  # fmt: skip
    ways.append(made(policy, "POST", "/v1/batches", {"input_file_id": "file-1"}, caller=BEN))
    ways.append(made(policy, "GET", "/v1/files/file-1", caller=Caller("anna", "key")))
    for call in ways:
        with pytest.raises(NotFound):
            await answered(desk, call)
    assert (await answered(desk, made(policy, "GET", "/v1/files/file-1"))).status == 200


async def test_a_failed_call_owns_nothing(desk: Desk, policy: Policy, state: StateStore) -> None:
    await answered(desk, made(policy, "POST", "/v1/files"), {"id": "file-1"}, status=400)
    await answered(desk, made(policy, "GET", "/v1/files/file-2"), {"id": "file-2"})
    await answered(desk, made(policy, "POST", "/v1/batches/batch_2/cancel"), {"id": "batch_2"})
    assert await Owners(state).find(["file-1", "file-2", "batch_2"]) == {}


async def test_lists_hold_what_is_ones_own_or_nobodys(desk: Desk, policy: Policy) -> None:
    for caller, name in ((ANNA, "batch_a"), (BEN, "batch_b")):
        await answered(desk, made(policy, "POST", "/v1/batches", {}, caller=caller), {"id": name})
    rows = [
        {"id": "batch_a", "output_file_id": "file-a"},
        {"id": "batch_b", "output_file_id": "file-b"},
        {"id": "batch_c"},
    ]
    whole = {"object": "list", "data": rows, "first_id": "batch_a", "last_id": "batch_c", "has_more": False}
    reply = await answered(desk, made(policy, "GET", "/v1/batches", caller=BEN), whole)
    assert reply.body is not None
    said = json.loads(reply.body)
    assert ([one["id"] for one in said["data"]], said["first_id"]) == (["batch_b", "batch_c"], "batch_b")
    with pytest.raises(NotFound):  # it came out of his batch
        await answered(desk, made(policy, "GET", "/v1/files/file-b"))
    nothing = await answered(desk, made(policy, "GET", "/v1/batches", caller=ANNA), {**whole, "data": rows[::2]})
    assert nothing.body == json.dumps({**whole, "data": rows[::2]}).encode(), "not a byte is changed"


async def test_the_output_of_a_batch_is_nobodys_until_it_is_known_whose(desk: Desk, policy: Policy) -> None:
    rows = [{"id": "file-1", "purpose": "batch"}, {"id": "file-o", "purpose": "batch_output"}]
    page = {"object": "list", "data": rows, "first_id": "file-1", "last_id": "file-o", "has_more": False}
    await answered(desk, made(policy, "POST", "/v1/batches", {}), {"id": "batch_1"})

    async def listed(caller: Caller) -> list[str]:
        reply = await answered(desk, made(policy, "GET", "/v1/files", caller=caller), page)
        return [one["id"] for one in json.loads(reply.body or b"")["data"]]

    assert await listed(ANNA) == await listed(BEN) == ["file-1"]
    await answered(desk, made(policy, "GET", "/v1/batches/batch_1"), {"id": "batch_1", "output_file_id": "file-o"})
    assert (await listed(ANNA), await listed(BEN)) == (["file-1", "file-o"], ["file-1"])


async def test_the_models_of_a_batch_lead_to_its_provider(desk: Desk, policy: Policy) -> None:
    def batch(*names: str) -> Call:
        said = {"requests": [{"custom_id": "x", "params": {"model": name}} for name in names]}
        return made(policy, "POST", "/v1/messages/batches", said, anthropic_version="2023-06-01")

    call = batch("opus", "claude-sonnet-4-5")
    assert "anthropic" in await went(desk, call)
    assert json.loads(call.body)["requests"][0]["params"]["model"] == "claude-opus-4-1"
    with pytest.raises(Invalid):
        await answered(desk, batch("opus", "gpt-4o"))
    with pytest.raises(Unsupported):
        await answered(desk, batch("gpt-4o"))
    with pytest.raises(NotFound):
        await answered(desk, batch("nobody-1"))


@pytest.mark.parametrize(
    ("path", "headers", "error", "code"),
    [
        ("/v1/files", {"x_shin_provider": "nobody"}, Invalid, "invalid_request"),
        ("/v1/files", {"x_shin_provider": "deepseek"}, Unsupported, "unsupported"),
        ("/v1/files", {"x_shin_provider": "mistral"}, Unavailable, "no_credential"),
    ],
)
async def test_refusals(
    desk: Desk, policy: Policy, path: str, headers: dict[str, str], error: type[Refusal], code: str
) -> None:
    with pytest.raises(error) as refused:
        await answered(desk, made(policy, "GET", path, **headers))
    assert refused.value.code == code


async def test_nobody_has_a_key(desk: Desk, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    with pytest.raises(Unavailable) as refused:
        await answered(desk, made(policy, "GET", "/v1/files"))
    assert (refused.value.status, refused.value.code, refused.value.retryable) == (400, "no_credential", False)


async def test_a_store_that_is_gone(desk: Desk, policy: Policy, state: StateStore) -> None:
    """Whose something is must not be guessed; what was made is given, and belongs to nobody."""
    await state.close()
    with pytest.raises(Unavailable):
        await answered(desk, made(policy, "GET", "/v1/files/file-1"))
    call = made(policy, "POST", "/v1/files")
    assert (await answered(desk, call, {"id": "file-1"})).status == 200
    assert call.facts["owner"] == "lost"


async def test_owners_are_forgotten_in_time(state: StateStore) -> None:
    owners = Owners(state)
    await owners.keep(["file-1", ""], "openai", tenant_of(ANNA))
    await owners.keep(["file-1"], "groq", tenant_of(BEN))
    assert await owners.find(["file-1", "file-2", ""]) == {
        "file-1": {"openai": tenant_of(ANNA), "groq": tenant_of(BEN)}
    }
    assert TTL - 5 <= await state.run("TTL", "shin:{own:file-1}") <= TTL
    await owners.drop("file-1", "openai")
    assert list((await owners.find(["file-1"]))["file-1"]) == ["groq"]
    assert "anna" not in str(await state.run("HGETALL", "shin:{own:file-1}"))


# ── Uploads that go on elsewhere ─────────────────────────────────────────────────────────────────

UPLOAD = "https://generativelanguage.googleapis.com/upload/v1beta/files?upload_id=u&upload_protocol=resumable"


async def test_an_upload_goes_on_here_without_a_key(desk: Desk, policy: Policy) -> None:
    begun = made(policy, "POST", "/upload/v1beta/files", host="shin.example:4000", x_forwarded_proto="https")
    reply = await answered(desk, begun, x_goog_upload_url=UPLOAD)
    url = reply.headers["x-goog-upload-url"]
    assert url.startswith("https://shin.example:4000/gemini/upload/v1beta/files?upload_id=u&")
    path = url.removeprefix("https://shin.example:4000")
    on = made(policy, "POST", path, b"hello", caller=BEN)
    assert tickets.holder(on) == ANNA
    assert on.path == "/upload/v1beta/files?upload_id=u&upload_protocol=resumable"
    for forged in (
        path.replace("upload_id=u", "upload_id=v"),
        path[:-1] + "0",
        path.replace("/gemini/", "/groq/"),
        path + "&x=1",
    ):
        if forged != path:
            assert tickets.holder(made(policy, "POST", forged)) is None


@pytest.mark.parametrize("ticket", ["", "1", "..", "1.2.3", "x.y.é", "9999999999.YW5uYQ." + "0" * 64])
def test_tickets_that_are_none(policy: Policy, ticket: str) -> None:
    assert tickets.holder(made(policy, "POST", f"/gemini/upload/v1beta/files?shin_ticket={ticket}")) is None


def test_a_ticket_is_over_after_a_day(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "LIFE", -1)
    path = tickets.with_ticket("/upload/v1beta/files", ANNA, SecretRef("env:GEMINI_API_KEY"))
    assert tickets.holder(made(policy, "POST", f"/gemini{path}")) is None


async def test_a_url_elsewhere_stays(desk: Desk, policy: Policy) -> None:
    for host, url in (("shin.example", "https://elsewhere.example/upload"), ("gateway", UPLOAD), ("a b", UPLOAD)):
        reply = await answered(desk, made(policy, "POST", "/upload/v1beta/files", host=host), x_goog_upload_url=url)
        assert reply.headers["x-goog-upload-url"] == url


async def test_results_of_a_batch_are_fetched_here(desk: Desk, policy: Policy) -> None:
    said = {"id": "msgbatch_1", "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"}
    reply = await answered(desk, made(policy, "GET", "/v1/messages/batches/msgbatch_1", host="localhost:4000"), said)
    assert reply.body is not None
    assert (
        json.loads(reply.body)["results_url"]
        == "http://localhost:4000/anthropic/v1/messages/batches/msgbatch_1/results"
    )


# ── What names a model ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "body", "url"),
    [
        ("/v1/images/generations", {"prompt": "a"}, "https://api.openai.com/v1/images/generations"),
        ("/v1/images/edits", {"model": "dall-e-2"}, "https://api.openai.com/v1/images/edits"),
        ("/v1/images/generations", {"model": "imagen-4"}, "https://generativelanguage.googleapis.com/v1beta/openai/images/generations"),
        ("/v1/audio/translations", {"model": "groq/whisper-large-v3"}, "https://api.groq.com/openai/v1/audio/translations"),
        ("/v1/audio/speech", {"model": "tts-1"}, "https://api.openai.com/v1/audio/speech"),
        ("/v1/moderations", {"input": "a"}, "https://api.openai.com/v1/moderations"),
        ("/v1beta/models/imagen-4:predict", {}, "https://generativelanguage.googleapis.com/v1beta/models/imagen-4:predict"),
    ],
)  # fmt: skip
def test_where_media_go(policy: Policy, path: str, body: Any, url: str) -> None:
    call = made(policy, "POST", path, body)
    aim(call, PROVIDERS, CONFIG)
    assert call.target is not None
    assert call.target.url(call.path) == url


def test_a_name_in_a_form_is_changed_as_it_is_sent(policy: Policy) -> None:
    body = b'--B\r\ncontent-disposition: form-data; name="model"\r\n\r\ngroq/w\r\n--B--\r\n'
    call = made(policy, "POST", "/v1/audio/transcriptions", body, content_type="multipart/form-data; boundary=B")
    aim(call, PROVIDERS, CONFIG)
    assert call.raw_body is body
    assert call.patch is not None
    assert (call.model, call.asked_model, call.size) == ("w", "groq/w", len(body) - len("groq/"))
    call.rename_model("other")
    assert body[call.patch.start : call.patch.end] == b"groq/w"
    call.body = b"{}"
    assert (call.patch, call.size) == (None, 2)


def test_a_form_that_came_compressed(policy: Policy) -> None:
    body = b'--B\r\ncontent-disposition: form-data; name="model"\r\n\r\ngroq/w\r\n--B--\r\n'
    headers = {"content_type": "multipart/form-data; boundary=B", "content_encoding": "gzip"}
    call = made(policy, "POST", "/v1/audio/transcriptions", gzip.compress(body), **headers)
    aim(call, PROVIDERS, CONFIG)
    assert call.raw_body == body.replace(b"groq/w", b"w")
    assert (call.model, call.patch, "content-encoding" in call.headers) == ("w", None, False)
