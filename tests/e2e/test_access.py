"""Who may: real SDKs at the gateway and through the proxy, with keys that work, that do not, and that did."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import pytest_asyncio
import websockets
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from shin_gateway.keys import KeyRecord, Registrar
from tests.e2e.serving import CHAT, MESSAGES, Serving, serve, write_config
from tests.e2e.shin import shin, until
from tests.provider import Answer, FakeProvider, Seen

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRONG = "sk-shin-" + "0" * 43
OURS = "sk-of-the-gateway"
THEIRS = "sk-ant-oat01-subscription"


@dataclass
class Place:
    """A worker, and the provider's address as its clients write it."""

    serving: Serving
    provider: FakeProvider
    """Behind the gateway and behind the proxy alike."""
    registrar: Registrar
    plain: FakeProvider
    """Another one, without TLS."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.provider.port}"

    @property
    def seen(self) -> list[Seen]:
        return self.provider.seen

    async def policy(self, auth: str, more: str = "") -> None:
        """The same addons for the gateway and for the provider's host."""
        host = self.url.removeprefix("https://")
        for name, hosts in (("gateway", "gateway"), ("local", host)):
            self.serving.policy(name, f"hosts: ['{hosts}']\n{more}\naddons:\n  log: on\n  translate: on\n{auth}")
        await self.serving.worker.reload()

    async def key(self, **fields: Any) -> tuple[KeyRecord, str]:
        return await self.registrar.create(**{"user": "ann", "roles": ("user",), **fields})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("access")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHIN_TEST_KEY", OURS)
        async with FakeProvider(tls=True, host="127.0.0.1") as secure, FakeProvider() as plain:
            url = f"https://localhost:{secure.port}"
            urls = {"openai": f"{url}/v1", "anthropic": url, "gemini": url}
            config = write_config(folder, urls, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
            async with serve(folder / "home", config, folder / "policies") as one:
                yield Place(one, secure, Registrar(one.worker.gateway.state), plain)


@pytest_asyncio.fixture(loop_scope="module")
async def place(started: Place) -> Place:
    """The worker with nothing seen and nothing in its log, and the addon auth as it is by default."""
    started.provider.seen.clear()
    await started.serving.worker.gateway.state.run("DEL", "shin:{rows}")
    await started.policy("  auth: on")
    return started


def leaked(seen: list[Seen], *keys: str) -> bool:
    return any(key in f"{one.target} {one.headers}" for one in seen for key in keys)


# ── the SDKs ────────────────────────────────────────────────────────────────────────────────────


async def with_openai(base: str, key: str, http: httpx2.AsyncClient) -> str:
    client = openai.AsyncOpenAI(api_key=key, base_url=f"{base}/v1", http_client=http, max_retries=0)
    done = await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
    return done.choices[0].message.content or ""


async def with_anthropic(base: str, key: str, http: httpx2.AsyncClient) -> str:
    client = anthropic.AsyncAnthropic(api_key=key, base_url=base, http_client=http, max_retries=0)
    done = await client.messages.create(
        model="claude-sonnet-4-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
    )
    return "".join(block.text for block in done.content if block.type == "text")


async def with_gemini(base: str, key: str, http: httpx2.AsyncClient) -> str:
    options = types.HttpOptions(base_url=base, httpx_async_client=http)
    done = await genai.Client(api_key=key, http_options=options).aio.models.generate_content(
        model="gemini-2.5-pro", contents="hi"
    )
    return done.text or ""


Ask = Callable[[str, str, httpx2.AsyncClient], Any]
SDKS: list[Ask] = [with_openai, with_anthropic, with_gemini]
REFUSED = (openai.AuthenticationError, anthropic.AuthenticationError, genai_errors.ClientError)


async def refused_soon(ask: Callable[[], Any]) -> None:
    """For the key's end, and long before it would be looked up again without a word."""
    async with asyncio.timeout(20):
        while True:
            try:
                await ask()
            except (openai.APIStatusError, anthropic.APIStatusError, genai_errors.APIError) as error:
                if "unknown, expired or disabled" in str(error):
                    return
                raise


@pytest.mark.parametrize("ask", SDKS)
async def test_sdks_at_the_gateway(place: Place, ask: Ask) -> None:
    record, key = await place.key()
    async with httpx2.AsyncClient(trust_env=False) as http:
        assert await ask(place.serving.gateway, key, http)
        with pytest.raises(REFUSED, match="unknown, expired or disabled"):
            await ask(place.serving.gateway, WRONG, http)
        with pytest.raises(REFUSED, match="wrong"):
            await ask(place.serving.gateway, "nonsense", http)
        await place.registrar.revoke(record.id)
        await refused_soon(lambda: ask(place.serving.gateway, key, http))  # on the same connection
    assert not leaked(place.seen, key, WRONG)
    rows = await place.serving.rows(4)
    assert (rows[0].caller_kind, rows[0].end) == ("virtual_key", "completed")
    assert {row.cause for row in rows[1:] if row.end == "refused"} == {"unauthenticated"}


@pytest.mark.parametrize("ask", SDKS)
async def test_sdks_through_the_proxy_with_a_login(place: Place, ask: Ask) -> None:
    """The login says who calls; the client's own credential goes on untouched."""
    record, key = await place.key()
    async with place.serving.client(login=f"ann:{key}@") as http:
        assert await ask(place.url, THEIRS, http)
        assert leaked(place.seen, THEIRS)
        assert not leaked(place.seen, key, OURS)
        await place.registrar.revoke(record.id)
        await refused_soon(lambda: ask(place.url, THEIRS, http))  # in the same tunnel
    async with asyncio.timeout(20):  # a refusal's row may come before that of a call whose tokens are still counted
        while not (answered := [row for row in await place.serving.rows() if row.status == 200]):
            await asyncio.sleep(0.02)
    assert answered[0].caller == "ann"


@pytest.mark.parametrize("ask", [with_openai, with_anthropic])
async def test_sdks_through_the_proxy_with_a_key_of_ours(place: Place, ask: Ask) -> None:
    """It is taken off, and the gateway's own credential for that host takes its place."""
    record, key = await place.key()
    async with place.serving.client() as http:
        assert await ask(place.url, key, http)
        assert place.seen[-1].header("authorization") == f"Bearer {OURS}"
        with pytest.raises(REFUSED):
            await ask(place.url, THEIRS, http)
        with pytest.raises(REFUSED):
            await ask(place.url, WRONG, http)
        await place.registrar.revoke(record.id)
        await refused_soon(lambda: ask(place.url, key, http))
    assert not leaked(place.seen, key, WRONG, THEIRS)


# ── the proxy's login ───────────────────────────────────────────────────────────────────────────


async def connect(place: Place, login: str, host: str = "") -> str:
    """What the proxy answers to CONNECT."""
    address = place.serving.proxy().removeprefix("http://")
    reader, writer = await asyncio.open_connection(*address.split(":"))
    said = f"Proxy-Authorization: Basic {base64.b64encode(login.encode()).decode()}\r\n" if login else ""
    host = host or place.url.removeprefix("https://")
    writer.write(f"CONNECT {host} HTTP/1.1\r\n{said}\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    writer.close()
    return head.decode()


async def test_connect(place: Place) -> None:
    _, key = await place.key()
    wrong = await connect(place, f"ann:{WRONG}")
    assert wrong.startswith("HTTP/1.1 407 ")
    assert 'proxy-authenticate: basic realm="shin gateway"' in wrong.lower()
    assert (await connect(place, "ann:guess")).startswith("HTTP/1.1 407 ")
    assert (await connect(place, f"anybody:{key}")).startswith("HTTP/1.1 200 ")
    assert (await connect(place, f"x:{WRONG}", "example.invalid:443")).startswith("HTTP/1.1 407 "), "tunnels too"
    assert (await connect(place, "")).startswith("HTTP/1.1 200 "), "the call may bring a key"


async def test_a_login_can_be_required(place: Place) -> None:
    _, key = await place.key()
    await place.policy("  auth: on", "proxy_auth: required")
    assert (await connect(place, "")).startswith("HTTP/1.1 407 ")
    assert (await connect(place, "ann:")).startswith("HTTP/1.1 407 "), "a name alone will not do"
    assert (await connect(place, f"ann:{key}")).startswith("HTTP/1.1 200 ")


@pytest.mark.parametrize("login", ["ann:@", "ann:-@"])
async def test_a_name_alone_says_nothing(place: Place, login: str) -> None:
    """`shin exec` writes the password of who has none as `-`."""
    async with place.serving.client(login=login) as http:
        reply = await http.post(f"{place.url}/v1/messages", json=MESSAGES, headers={"x-api-key": THEIRS})
    assert reply.status_code == 401
    assert not place.seen


@pytest.mark.parametrize("auth", ["  auth: {keys: client}", "  auth: {keys: hybrid}"])
async def test_a_name_alone_is_enough_for_who_brings_a_key(place: Place, auth: str) -> None:
    await place.policy(auth)
    async with place.serving.client(login="ann:-@") as http:
        reply = await http.post(f"{place.url}/v1/messages", json=MESSAGES, headers={"x-api-key": THEIRS})
    assert reply.status_code == 200
    assert place.seen[0].header("x-api-key") == THEIRS


async def test_requests_in_absolute_form(place: Place) -> None:
    """Calls and what is none: the login of each is looked at."""
    _, key = await place.key()
    plain = place.plain
    host = plain.url.removeprefix("http://")
    place.serving.policy("plain", f"hosts: ['{host}']\nproxy_auth: required\naddons: {{auth: on}}\n")
    await place.serving.worker.reload()

    async def ask(login: str, path: str) -> int:
        async with place.serving.client(login=login) as client:
            return (await client.post(f"{plain.url}{path}", json=CHAT)).status_code

    for path in ("/v1/chat/completions", "/telemetry"):
        assert await ask("", path) == 407
        assert await ask(f"ann:{WRONG}@", path) == 407
        assert not plain.seen
    for path in ("/v1/chat/completions", "/telemetry"):
        assert await ask(f"ann:{key}@", path) == 200
    assert len(plain.seen) == 2
    assert not leaked(plain.seen, key)


# ── no key of ours goes anywhere ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("auth", ["  auth: on", "  auth: {keys: hybrid}", "  auth: {keys: client}", "  meter: on"])
async def test_what_is_no_call_goes_on_without_a_key_of_ours(place: Place, auth: str) -> None:
    _, key = await place.key()
    await place.policy(auth)
    async with place.serving.client() as http:
        headers = {"authorization": f"Bearer {key}", "x-api-key": key, "x-own": "1"}
        await http.post(f"{place.url}/api/telemetry?key={key}&a=1", json={}, headers=headers)
        await http.post(f"{place.url}/v1/messages", json=MESSAGES, headers=headers)
    assert place.seen[0].target == "/api/telemetry?a=1"
    assert place.seen[0].header("x-own") == "1"
    assert not leaked(place.seen, key)


async def test_subscriptions_pass_untouched(place: Place) -> None:
    await place.policy("  auth: {keys: hybrid}")
    async with place.serving.client() as http:
        headers = {"authorization": f"Bearer {THEIRS}", "anthropic-beta": "oauth-2025-04-20"}
        assert (await http.post(f"{place.url}/v1/messages?beta=true", json=MESSAGES, headers=headers)).is_success
        await http.post(f"{place.url}/api/oauth/profile", json={}, headers=headers)
    assert [seen.header("authorization") for seen in place.seen] == [f"Bearer {THEIRS}"] * 2
    async with asyncio.timeout(20):
        while "key" not in {row.caller_kind for row in await place.serving.rows()}:
            await asyncio.sleep(0.05)


async def test_a_host_for_which_we_have_no_key(place: Place) -> None:
    _, key = await place.key()
    async with FakeProvider(tls=True, host="127.0.0.1") as other:
        place.serving.policy("other", f"hosts: ['localhost:{other.port}']\naddons: {{auth: on}}\n")
        await place.serving.worker.reload()
        async with place.serving.client() as http:
            reply = await http.post(
                f"https://localhost:{other.port}/v1/messages", json=MESSAGES, headers={"x-api-key": key}
            )
        assert reply.status_code == 400
        assert "no key for this host" in reply.json()["error"]["message"]
        assert not other.seen


async def test_files_under_our_key_are_not_everybodys(place: Place) -> None:
    """Through the proxy too, where a key of ours was exchanged for the one that all share."""
    _, ann = await place.key()
    _, bob = await place.key(user="bob")
    async with place.serving.client() as http:

        async def files(key: str, method: str, path: str, **more: Any) -> httpx2.Response:
            headers = {"authorization": f"Bearer {key}"}
            return await http.request(method, f"{place.url}/v1/files{path}", headers=headers, **more)

        place.provider.script(Answer(body=b'{"id": "file-1", "object": "file"}'))
        made = await files(ann, "POST", "", files={"file": ("a.txt", b"hi")}, data={"purpose": "batch"})
        assert made.json()["id"] == "file-1"
        before = len(place.seen)
        assert (await files(bob, "GET", "/file-1")).status_code == 404
        assert len(place.seen) == before
        assert (await files(ann, "GET", "/file-1")).is_success


# ── WebSockets ──────────────────────────────────────────────────────────────────────────────────


def frame(text: str = "hi") -> str:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return json.dumps({"type": "response.create", "model": "gpt-4o", "input": [item]})


async def ends_of(socket: Any, count: int = 1) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            event: dict[str, Any] = json.loads(await socket.recv())
            if event["type"] in ("response.completed", "response.failed", "error"):
                return event


@pytest.mark.parametrize("proxied", [False, True])
async def test_each_call_of_a_websocket(place: Place, proxied: bool) -> None:
    record, key = await place.key()
    headers = {"authorization": f"Bearer {key}"}
    if proxied:
        context = ssl.create_default_context(cafile=str(place.serving.ca))
        url = place.url.replace("https:", "wss:") + "/v1/responses"
        opening = websockets.connect(url, proxy=place.serving.proxy(), ssl=context, additional_headers=headers)
    else:
        url = place.serving.gateway.replace("http:", "ws:") + "/v1/responses"
        opening = websockets.connect(url, proxy=None, additional_headers=headers)
    async with opening as socket:
        await socket.send(frame())
        assert (await ends_of(socket))["type"] == "response.completed"
        await place.registrar.revoke(record.id)
        async with asyncio.timeout(20):
            while True:
                await socket.send(frame())
                event = await ends_of(socket)
                if event["type"] == "error":
                    break
        assert event["status"] == 401
    assert not leaked(place.seen, key)
    assert leaked(place.seen, OURS)


@pytest.mark.parametrize("said", ["header", "protocol"])
@pytest.mark.parametrize("proxied", [False, True])
async def test_realtime_with_a_key_of_ours(place: Place, proxied: bool, said: str) -> None:
    _, key = await place.key()
    more: dict[str, Any] = {"additional_headers": {"authorization": f"Bearer {key}"}}
    if said == "protocol":
        more = {"subprotocols": ["realtime", f"openai-insecure-api-key.{key}"]}
    base = place.url.replace("https:", "wss:") if proxied else place.serving.gateway.replace("http:", "ws:")
    if proxied:
        more |= {"ssl": ssl.create_default_context(cafile=str(place.serving.ca))}
    proxy = place.serving.proxy() if proxied else None
    async with websockets.connect(f"{base}/v1/realtime?model=gpt-realtime", proxy=proxy, **more) as socket:
        assert json.loads(await socket.recv())["type"] == "session.created"
    assert place.seen[0].header("authorization") == f"Bearer {OURS}"
    assert not leaked(place.seen, key)
    with pytest.raises(websockets.InvalidStatus, match="401"):
        await websockets.connect(
            f"{base}/v1/realtime?model=gpt-realtime", proxy=proxy, **({"ssl": more["ssl"]} if proxied else {})
        )


# ── roles ───────────────────────────────────────────────────────────────────────────────────────


async def test_roles_decide_and_lists_show_no_more(place: Place) -> None:
    await place.policy("  auth: on\n  access: on")
    _, key = await place.key(models=("openai/*",))
    async with httpx2.AsyncClient(trust_env=False) as http:
        base, headers = place.serving.gateway, {"authorization": f"Bearer {key}"}
        assert (await http.post(f"{base}/v1/chat/completions", json=CHAT, headers=headers)).is_success
        refused = await http.post(f"{base}/v1/messages", json=MESSAGES, headers=headers)
        assert refused.status_code == 400
        assert "Your key may not use the model claude-sonnet-4-5" in refused.json()["error"]["message"]
        assert refused.headers["x-should-retry"] == "false"
        other = await http.post(f"{base}/openai/v1/evals", json={}, headers=headers)
        assert "other paths" in other.text
        listed = await http.get(f"{base}/v1/models", headers=headers)
        assert "claude" not in listed.text


# ── the token endpoint ──────────────────────────────────────────────────────────────────────────


async def test_a_key_is_exchanged_for_a_token(place: Place) -> None:
    record, key = await place.key()
    async with httpx2.AsyncClient(trust_env=False) as http:
        url = f"{place.serving.gateway}/oauth/token"
        given = await http.post(url, data={"grant_type": "client_credentials"}, auth=(record.id, key))
        assert given.status_code == 200, given.text
        token = given.json()["access_token"]
        assert await with_openai(place.serving.gateway, token, http)
        wrong = await http.post(url, data={"grant_type": "client_credentials"}, auth=(record.id, WRONG))
        assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
        large = await http.post(url, content=b"x" * 20_000)
        assert large.status_code == 413
    async with place.serving.client() as http:
        assert await with_openai(place.url, token, http)
        assert place.seen[-1].header("authorization") == f"Bearer {OURS}"
        await http.get(f"{place.url}/api/settings", headers={"authorization": f"Bearer {token}"})
    assert not leaked(place.seen, token, key)


# ── pages of other sites, and strangers ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(("auth", "status"), [("  auth: on", 401), ("  auth: {keys: hybrid}", 403)])
async def test_pages_of_other_sites(place: Place, auth: str, status: int) -> None:
    """They can do nothing where everybody needs a key of ours; elsewhere they are turned away."""
    await place.policy(auth)
    async with httpx2.AsyncClient(trust_env=False) as http:
        headers = {"origin": "https://evil.example", "authorization": "Bearer sk-anything"}
        reply = await http.post(f"{place.serving.gateway}/v1/chat/completions", json=CHAT, headers=headers)
    assert reply.status_code == status


async def test_beyond_loopback_with_keys_alone(tmp_path: Path) -> None:
    """No users: the gateway wants a key, the proxy a login, and no change of policies takes that away."""
    with shin(tmp_path, more="listen: {proxy_auth: required}") as run:
        policy = run.policies / "gateway.yaml"
        policy.write_text("hosts: [gateway]\naddons: {auth: on}\n")
        await run.start("--host", "0.0.0.0")
        proxy = run.running["proxy"].replace("0.0.0.0", "127.0.0.1")
        gateway = run.running["gateway"].replace("0.0.0.0", "127.0.0.1")
        admin = run.running["admin"].replace("0.0.0.0", "127.0.0.1")
        async with httpx2.AsyncClient(trust_env=False) as http:
            assert (await http.post(f"http://{gateway}/v1/chat/completions", json=CHAT)).status_code == 401
            assert (await http.get(f"http://{admin}/api/v1/calls")).status_code == 401
            policy.write_text("hosts: [gateway]\naddons: {auth: {keys: hybrid}}\n")
            run.signal(signal.SIGHUP)
            await until(lambda: "lets others in" in run.err)
            headers = {"authorization": "Bearer sk-anything"}
            reply = await http.post(f"http://{gateway}/v1/chat/completions", json=CHAT, headers=headers)
            assert reply.status_code == 401
        for login in ("", "ann:"):
            async with httpx2.AsyncClient(
                proxy=f"http://{login}{'@' if login else ''}{proxy}", trust_env=False
            ) as http:
                with pytest.raises(httpx2.ProxyError, match="407"):
                    await http.get("https://tunnelled.invalid/")
        assert await run.stop() == 0
