"""Ways to what one may not have: keys that travel on, models by other names, spending that nobody counts, places."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from shin_gateway.admission.scripts import PREFIX
from shin_gateway.keys import KeyRecord, Registrar
from tests.e2e.serving import CHAT, Serving, serve, write_config
from tests.e2e.wire import Wire, request
from tests.provider import Answer, FakeProvider, Seen, Tokens

pytestmark = pytest.mark.asyncio(loop_scope="module")

OURS = "sk-of-the-gateway"
THEIRS = "sk-of-the-client"
CHATS = "/v1/chat/completions"
ROLES = "roles: {cheap: {models: [gpt-4o-mini, 'gemini-2.5-flash*']}}"
GEMINI = b'{"contents": [{"parts": [{"text": "hi"}]}]}'


@dataclass
class Place:
    """A worker whose gateway and proxy lead to one provider, under the same addons."""

    serving: Serving
    provider: FakeProvider
    registrar: Registrar
    addons: str = ""
    """Of the policies that are in force."""

    @property
    def host(self) -> str:
        return f"localhost:{self.provider.port}"

    @property
    def url(self) -> str:
        return f"https://{self.host}"

    @property
    def seen(self) -> list[Seen]:
        return self.provider.seen

    async def policy(self, addons: str) -> None:
        if addons == self.addons:
            return
        self.addons = addons
        for name, host in (("gateway", "gateway"), ("local", self.host)):
            text = f"hosts: ['{host}']\nextends: standard\naddons:\n  auth: on\n  access: on\n  {addons}\n"
            self.serving.policy(name, text)
        await self.serving.worker.reload()

    async def key(self, **fields: Any) -> tuple[KeyRecord, str]:
        return await self.registrar.create(**{"user": "ann", "roles": ("user",), **fields})

    async def ask(self, key: str, path: str = CHATS, body: Any = CHAT) -> httpx2.Response:
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
            return await http.post(self.serving.gateway + path, json=body, headers={"authorization": f"Bearer {key}"})

    async def state(self, *command: Any) -> Any:
        return await self.serving.worker.gateway.state.run(*command)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("attacks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHIN_TEST_KEY", OURS)
        async with FakeProvider(tls=True, host="127.0.0.1") as secure:
            url = f"https://localhost:{secure.port}"
            urls = {"openai": f"{url}/v1", "anthropic": url, "gemini": url}
            config = write_config(folder, urls, f"upstream: {{ca: {str(secure.ca_file)!r}}}\n{ROLES}")
            async with serve(folder / "home", config, folder / "policies") as one:
                yield Place(one, secure, Registrar(one.worker.gateway.state))


@pytest_asyncio.fixture(loop_scope="module")
async def place(started: Place) -> Place:
    started.provider.seen.clear()
    started.provider.default = Answer()
    await started.policy("meter: on")
    return started


# ── keys of ours ────────────────────────────────────────────────────────────────────────────────


def encoded(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


def holds(seen: Seen, key: str) -> bool:
    """Also where it is in base64."""
    signs = [key, *(encoded(f"{before}{key}")[4:40] for before in ("", "u", "u:"))]
    return any(sign in f"{seen.target} {seen.headers}" for sign in signs)


ODD = ["Bearer Bearer {}", "Bearer\t{}", 'Bearer "{}"', "Bearer {}, Bearer x", "Token token {}", "{};"]


@pytest.mark.parametrize("path", [CHATS, "/telemetry"])
@pytest.mark.parametrize("form", [*ODD, "Basic u:{}", "Basic {}:", "Basic {}:x"])
async def test_a_key_that_is_written_oddly_stays_here(place: Place, form: str, path: str) -> None:
    """Where people and programs err: the client's own credential would go on untouched."""
    _, key = await place.key()
    value = form.format(key)
    if value.startswith("Basic"):
        value = "Basic " + encoded(value[6:]).rstrip("=")
    async with place.serving.client(login=f"ann:{key}@") as http:
        reply = await http.post(f"{place.url}{path}", json=CHAT, headers={"authorization": value})
    assert reply.status_code in (200, 401) and not any(holds(seen, key) for seen in place.seen)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"cookie": "a={}"}, ""),
        ({"ocp-apim-subscription-key": "{}"}, ""),
        ({}, "?api_key={}"),
        ({}, "?Key={}&b=1"),
        ({}, "?a=1;key={}"),
        ({}, "?key=+{}"),
        ({}, "?x=%73k-{}"),
    ],
)
async def test_a_key_where_nobody_looks_for_one_stays_here(place: Place, headers: dict[str, str], query: str) -> None:
    _, key = await place.key()
    query = query.format(key.removeprefix("sk-") if "%73k-" in query else key)
    said = {name: value.format(key) for name, value in headers.items()}
    async with place.serving.client(login=f"ann:{key}@") as http:
        reply = await http.post(
            f"{place.url}{CHATS}{query}", json=CHAT, headers={"authorization": f"Bearer {THEIRS}"} | said
        )
    assert reply.is_success and key[3:] not in f"{place.seen[0].target} {place.seen[0].headers}"


async def test_keys_of_several_owners(place: Place) -> None:
    """The first in a fixed order of places says who calls; none that is wrong beside it is overlooked."""
    _, ann = await place.key()
    _, bob = await place.key(user="bob", roles=("cheap",))
    gone, revoked = await place.key(user="eve")
    await place.registrar.revoke(gone.id)

    async def ask(*headers: str) -> int:
        body = json.dumps(CHAT).encode()
        wire = Wire(place.serving.gateway)
        return (await wire.ask(request(CHATS, body, "content-type: application/json", *headers))).status

    assert await ask(f"authorization: Bearer {bob}", f"x-api-key: {ann}") == 400
    assert await ask(f"authorization: Bearer {bob}", f"authorization: Bearer {ann}") == 400
    assert await ask(f"authorization: Bearer {ann}", f"x-api-key: {revoked}") == 401
    assert await ask(*(f"x-api-key: k{number}" for number in range(9))) == 401
    assert await ask(f"cookie: key={ann}") == 401
    assert not place.seen


# ── models ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("trick", ["%3F/../", "%23/../", "%253F/../", "%00/../"])
async def test_the_model_that_was_looked_at_is_the_one_that_is_asked(place: Place, trick: str) -> None:
    """A server that resolves dots before it decodes would be asked another one."""
    _, key = await place.key(roles=("cheap",))
    flash = "/v1beta/models/gemini-2.5-flash:generateContent"
    wire = Wire(place.serving.proxy(), place.host, place.serving.ca)
    said = request(
        f"{flash}{trick}gemini-2.5-pro:generateContent?a=1",
        GEMINI,
        f"x-goog-api-key: {key}",
        host=f"host: {place.host}",
    )
    answer = await wire.ask(said)
    assert [seen.target for seen in place.seen] == ([f"{flash}?a=1"] if answer.status == 200 else [])
    assert answer.status in (200, 400)


async def test_a_limit_of_a_model_holds_for_all_its_names(place: Place) -> None:
    await place.policy("rate_limit: {requests: 1/h, per: [user, model]}")
    _, key = await place.key(user="speller")
    got = [await place.ask(key, path, CHAT | {"model": model}) for path, model in [
        (CHATS, "gpt-4o"), (CHATS, "openai/gpt-4o"), (f"/openai{CHATS}", "gpt-4o"), (CHATS, "openai/GPT-4o"),
    ]]  # fmt: skip
    assert [one.status_code for one in got] == [200, 429, 429, 429]


# ── money ───────────────────────────────────────────────────────────────────────────────────────


async def books(place: Place) -> dict[str, int]:
    """Of the one budget in use: spent and reserved."""
    (key,) = await place.state("KEYS", f"{PREFIX}a:*")
    spent, reserved = await place.state("HMGET", key, "s", "r")
    return {"spent": int(spent or 0), "reserved": int(reserved or 0)}


async def settled(place: Place, least: int = 1) -> int:
    """What is spent, once it is at least so much and nothing is reserved any more."""
    async with asyncio.timeout(20):
        while (found := await books(place))["reserved"] or found["spent"] < least:
            await asyncio.sleep(0.02)
    return found["spent"]


@pytest_asyncio.fixture(loop_scope="module")
async def budget(place: Place) -> Place:
    for key in await place.state("KEYS", f"{PREFIX}*"):
        await place.state("DEL", key)
    await place.policy("budget: {limit: 1M tokens/day, per: everyone}")
    return place


@pytest.mark.parametrize(
    ("path", "more", "least"),
    [
        (CHATS, {"max_tokens": 1000, "n": 100}, 100_000),
        (CHATS, {"max_tokens": 9999, "max_completion_tokens": 1}, 9999),
        (CHATS, {"max_tokens": "9999"}, 9999),
        ("/v1/completions", {"prompt": ["a"] * 50, "max_tokens": 1000, "best_of": 4}, 200_000),
        ("/v1/completions", {"prompt": [[1, 2], [3]], "max_tokens": 1000}, 2000),
        (
            "/v1beta/models/gemini-2.5-pro:generateContent",
            {"generationConfig": {"maxOutputTokens": 1000, "candidateCount": 8}},
            8000,
        ),
    ],
)
async def test_all_that_a_call_asks_for_is_held(budget: Place, path: str, more: dict[str, Any], least: int) -> None:
    _, key = await budget.key()
    budget.provider.script(Answer(wait_head=1.5))
    body = json.loads(GEMINI) if "gemini" in path else {**CHAT, "model": "gpt-4o"}
    asking = asyncio.create_task(budget.ask(key, path, body | more))
    await budget.provider.wait_seen()
    assert (await books(budget))["reserved"] >= least
    assert (await asking).is_success


@pytest.mark.parametrize("stream", [False, True])
async def test_a_reply_in_the_background_is_spent_though_nobody_saw_it(budget: Place, stream: bool) -> None:
    _, key = await budget.key()
    queued = {"id": "resp_1", "object": "response", "status": "queued", "background": True, "output": [], "usage": None}
    event = b"event: response.queued\ndata: " + json.dumps({"type": "response.queued", "response": queued}).encode()
    body, kind = (event + b"\n\n", "text/event-stream") if stream else (json.dumps(queued).encode(), "application/json")
    budget.provider.script(Answer(body=body, body_type=kind))
    call = {"model": "gpt-4o", "input": "hi", "background": True, "stream": stream, "max_output_tokens": 50_000}
    assert (await budget.ask(key, "/v1/responses", call)).status_code == 200
    await settled(budget, 50_000)


async def test_who_does_not_wait_for_a_whole_reply_pays_for_it(budget: Place) -> None:
    _, key = await budget.key()
    budget.provider.script(Answer(wait_head=5))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await budget.ask(key, body=CHAT | {"max_tokens": 5000})
    await settled(budget, 5000)


@pytest.mark.parametrize(("period", "books"), [("day", "a"), ("24h rolling", "w")])
async def test_names_of_models_do_not_fill_the_store(budget: Place, period: str, books: str) -> None:
    """A budget of which nothing was spent is forgotten soon: callers can make up as many subjects as they like."""
    await budget.policy(f"budget: {{limit: 1M tokens/{period}, per: [model]}}")
    _, key = await budget.key()
    budget.provider.script(Answer(status=404))
    assert (await budget.ask(key, body=CHAT | {"model": "openai/made-up"})).status_code == 404
    (book,) = await budget.state("KEYS", f"{PREFIX}{books}:*made-up*")
    async with asyncio.timeout(20):
        while not 0 < await budget.state("PTTL", book) <= 600_000:
            await asyncio.sleep(0.02)
    assert (await budget.ask(key, body=CHAT | {"model": "openai/made-up"})).status_code == 200
    async with asyncio.timeout(20):
        while await budget.state("PTTL", book) <= 86_400_000 * 0.99:
            await asyncio.sleep(0.02)


async def test_thoughts_of_a_stream_that_was_left_are_spent(budget: Place) -> None:
    """Who hangs up between the last word and the usage has had the thoughts all the same."""
    _, key = await budget.key()
    call = CHAT | {"model": "o3", "stream": True}
    budget.provider.script(Answer(tokens=Tokens(input=10, output=4010, reasoning=4000)))
    assert (await budget.ask(key, body=call)).status_code == 200
    before = await settled(budget)
    budget.provider.script(Answer(text="a b c d e f g h", pace=0.2))
    headers = {"authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=30) as http,
        http.stream("POST", budget.serving.gateway + CHATS, json=call, headers=headers) as reply,
    ):
        async for _ in reply.aiter_bytes():
            break
    await settled(budget, before + 4000)


# ── places ──────────────────────────────────────────────────────────────────────────────────────


async def test_who_waits_for_a_place_of_his_own_holds_no_place_of_others(place: Place) -> None:
    await place.policy("concurrency: {calls: 2, per: target, also: [{calls: 1, per: user}]}")
    _, ann = await place.key(user="greedy")
    _, bob = await place.key(user="modest")
    place.provider.default = Answer(wait_head=1.5)
    greedy = [asyncio.create_task(place.ask(ann)) for _ in range(3)]
    await asyncio.sleep(0.3)
    assert (await place.ask(bob, body=CHAT | {"user": "bob"})).is_success
    await asyncio.gather(*greedy)
    users = [seen.json().get("user") for seen in place.provider.seen]
    assert users == [None, "bob", None, None], "one place was free all the time"


_REST = b'"messages":[{"role":"user","content":"x"}]}'


@pytest.mark.parametrize(
    "body",
    [
        b' {"model":"gpt-4o-mini","Model":"gpt-4o",' + _REST,  # Ollama, any Go server: the later field
        b'\n{"model":"gpt-4o-mini","models":["gpt-4o"],' + _REST,  # OpenRouter's fallbacks
        b'{"model":"gpt-4o-mini","Model":"gpt-4o","MODEL":1e999,' + _REST,
        b'{"model":"gpt-4o-mini","models":["gpt-4o"],"Models":"\xff",' + _REST,
    ],
)
async def test_another_model_beside_the_one_that_is_asked(place: Place, body: bytes) -> None:
    _, key = await place.key(roles=("cheap",))
    async with httpx2.AsyncClient(trust_env=False) as http:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        reply = await http.post(place.serving.gateway + CHATS, content=body, headers=headers)
    assert reply.status_code == 400
    assert not place.seen


@pytest.mark.parametrize(("headers", "query"), [({"cookie": "a={}"}, ""), ({"x-other": "{}"}, ""), ({}, "?api_key={}")])
async def test_a_key_in_a_request_that_passes_by(place: Place, headers: dict[str, str], query: str) -> None:
    _, key = await place.key()
    said = {name: value.format(key) for name, value in headers.items()}
    async with place.serving.client(login=f"ann:{key}@") as http:
        await http.post(f"{place.url}/telemetry{query.format(key)}", json={}, headers=said)
    assert place.seen
    assert key not in f"{place.seen[0].target} {place.seen[0].headers}"
