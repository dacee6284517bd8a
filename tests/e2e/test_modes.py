"""Through a company's proxy, at the hosts that we know, in the other modes, and with mitmproxy's own TLS options."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import websockets

from tests.e2e.corporate import CorporateProxy
from tests.e2e.serving import CHAT, MESSAGES, Serving, serve, write_config
from tests.provider import FakeProvider

LOGIN = "erika:s3cr:et ü"
RESPONSE = {"model": "gpt-5", "input": "say hello"}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "say hello"}]}]}


@contextlib.asynccontextmanager
async def behind(office: CorporateProxy, secure: FakeProvider, folder: Path, **more: Any) -> AsyncIterator[Serving]:
    """A worker that goes out through the company's proxy."""
    config = write_config(folder, {}, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
    async with serve(folder / "home", config, folder / "policies", modes=[f"upstream:{office.url}"], **more) as one:
        yield one


@pytest.fixture
async def office(secure: FakeProvider) -> AsyncIterator[CorporateProxy]:
    async with CorporateProxy(secure) as one:
        yield one


@pytest.fixture
async def worker(office: CorporateProxy, secure: FakeProvider, tmp_path: Path) -> AsyncIterator[Serving]:
    async with behind(office, secure, tmp_path) as one:
        yield one


# ── A company's proxy ────────────────────────────────────────────────────────────────────────────

TELEMETRY = "https://api.anthropic.com/api/event_logging/v2/batch"
CALL = "https://api.anthropic.com/v1/messages"


async def test_the_upstream_proxys_credentials_are_sent_by_both_ways_out(secure: FakeProvider, tmp_path: Path) -> None:
    async with (
        CorporateProxy(secure, LOGIN) as office,
        behind(office, secure, tmp_path, upstream_auth=LOGIN) as worker,
        worker.client() as client,
    ):
        call = await client.post(CALL, json=MESSAGES)
        passed = await client.post(TELEMETRY, json={})
        async with worker.client(trust=secure.ca_file) as stranger:
            tunnelled = await stranger.get("https://example.com/")
    assert [call.status_code, passed.status_code, tunnelled.status_code] == [200, 200, 200]
    assert "x-shin-call-id" in call.headers
    assert "x-shin-call-id" not in passed.headers
    assert office.asked == ["api.anthropic.com:443"] * 2 + ["example.com:443"]
    assert office.denied == 0
    for seen in secure.seen:
        assert "proxy-authorization" not in {name.lower() for name in seen.header_names()}


@pytest.mark.parametrize("login", ["erika:wrong", None])
async def test_wrong_credentials_for_the_upstream_proxy(
    secure: FakeProvider, tmp_path: Path, login: str | None
) -> None:
    async with (
        CorporateProxy(secure, LOGIN) as office,
        behind(office, secure, tmp_path, upstream_auth=login) as worker,
        worker.client() as client,
    ):
        call = await client.post(CALL, json=MESSAGES)
        passed = await client.post(TELEMETRY, json={})
        row, *_ = await worker.rows()
    assert call.status_code == 502
    assert call.json()["error"]["type"] == "api_error"
    assert "proxy" in call.json()["error"]["message"] and "credentials" in call.json()["error"]["message"]
    assert call.headers["x-should-retry"] == "false"
    assert (row.status, row.end, row.cause) == (502, "failed", "upstream_proxy_refused")
    assert passed.status_code == 502
    assert "407" in passed.text
    for text in (call.text, passed.text):
        assert "erika" not in text and "wrong" not in text
    assert not secure.seen


async def test_shin_yaml_names_the_upstream_proxy(
    secure: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`modes.proxy_modes` makes the mode of it, as `shin run` does; the credentials come from the URL."""
    from shin_gateway.config import load_config
    from shin_gateway.modes import upstream_login

    async with CorporateProxy(secure, "erika:a b@c") as office:
        monkeypatch.setenv("OFFICE", office.url.replace("//", "//erika:a%20b%40c@"))
        more = f"upstream: {{proxy: env:OFFICE, ca: {str(secure.ca_file)!r}}}"
        config = write_config(tmp_path, {}, more)
        login = upstream_login(load_config(config))
        async with (
            serve(tmp_path / "home", config, tmp_path / "policies", upstream_auth=login) as worker,
            worker.client() as client,
        ):
            assert (await client.post(CALL, json=MESSAGES)).status_code == 200
            assert (await client.post(TELEMETRY, json={})).status_code == 200


async def test_an_upstream_proxy_that_is_away(worker: Serving, office: CorporateProxy) -> None:
    await office.__aexit__()
    async with worker.client() as client:
        reply = await client.post(CALL, json=MESSAGES)
    assert (reply.status_code, reply.json()["error"]["type"]) == (502, "api_error")
    assert "127.0.0.1" not in reply.text


# ── The hosts that we know ───────────────────────────────────────────────────────────────────────

KNOWN = [
    ("api.openai.com", "/v1/chat/completions", CHAT, "openai"),
    ("eu.api.openai.com", "/v1/responses", RESPONSE, "openai"),
    ("acme.openai.azure.com", "/openai/deployments/gpt-4o/chat/completions?api-version=1", CHAT, "azure_openai"),
    ("acme.services.ai.azure.com", "/openai/v1/chat/completions", CHAT, "azure_openai"),
    ("api.anthropic.com", "/v1/messages?beta=true", MESSAGES, "anthropic"),
    ("generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-pro:generateContent", CONTENTS, "gemini"),
    ("generativelanguage.googleapis.com", "/v1/models/gemini-2.5-pro:generateContent", CONTENTS, "gemini"),
    ("us-central1-aiplatform.googleapis.com",
     "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent", CONTENTS, "vertex"),
    ("openrouter.ai", "/api/v1/chat/completions", CHAT, "openrouter"),
    ("api.mistral.ai", "/v1/chat/completions", CHAT, "mistral"),
    ("api.groq.com", "/openai/v1/chat/completions", CHAT, "groq"),
    ("api.deepseek.com", "/chat/completions", CHAT, "deepseek"),
    ("api.x.ai", "/v1/chat/completions", CHAT, "xai"),
    ("api.individual.githubcopilot.com", "/chat/completions", CHAT, "github_copilot"),
    ("api.githubcopilot.com", "/responses", RESPONSE, "github_copilot"),
    ("chatgpt.com", "/backend-api/codex/responses", RESPONSE, "chatgpt"),
    ("cloudcode-pa.googleapis.com", "/v1internal:generateContent", {"model": "gemini-2.5-pro", "request": CONTENTS},
     "code_assist"),
]  # fmt: skip


async def test_every_known_host_is_intercepted(worker: Serving, secure: FakeProvider) -> None:
    async with worker.client() as client:
        for host, path, body, _ in KNOWN:
            reply = await client.post(f"https://{host}{path}", json=body)
            assert (reply.status_code, host) == (200, host), reply.text
            assert "x-shin-call-id" in reply.headers, host
    rows = await worker.rows(len(KNOWN))
    assert [(row.host, row.provider) for row in rows] == [(host, provider) for host, _, _, provider in KNOWN]
    assert [(seen.host, seen.target) for seen in secure.seen] == [(host, path) for host, path, _, _ in KNOWN]
    assert {row.end for row in rows} == {"completed"}


NO_CALLS = [
    ("POST", "api.anthropic.com", "/api/event_logging/v2/batch"),
    ("GET", "api.anthropic.com", "/api/claude_code/settings"),
    ("GET", "api.anthropic.com", "/api/claude_code/policy_limits"),
    ("POST", "api.anthropic.com", "/api/eval/sdk-x"),
    ("POST", "api.openai.com", "/v1/vector_stores"),
    ("GET", "api.openai.com", "/v1/organization/usage/completions"),
    ("POST", "chatgpt.com", "/backend-api/codex/analytics-events/events"),
    ("GET", "chatgpt.com", "/backend-api/wham/accounts/check"),
    ("GET", "chatgpt.com", "/backend-api/codex/models"),
    ("POST", "cloudcode-pa.googleapis.com", "/v1internal:loadCodeAssist"),
    ("POST", "api.individual.githubcopilot.com", "/mcp/readonly"),
    ("GET", "openrouter.ai", "/docs"),
]


async def test_what_is_no_call_passes_untouched_on_known_hosts(worker: Serving, secure: FakeProvider) -> None:
    body = b'{"events": [' + b" " * 700_000 + b"]}"
    async with worker.client(headers={"X-Order": "1", "accept-encoding": "gzip"}) as client:
        for method, host, path in NO_CALLS:
            sent = client.build_request(method, f"https://{host}{path}", content=body if method == "POST" else None)
            reply = await client.send(sent)
            assert (reply.status_code, "x-shin-call-id" in reply.headers, host) == (200, False, host), reply.text
            seen = secure.seen[-1]
            assert (seen.method, seen.host, seen.target) == (method, host, path)
            assert seen.body == sent.content
            ours = [(name.decode(), value.decode()) for name, value in sent.headers.raw]
            assert [(name.lower(), value) for name, value in seen.headers] == [(n.lower(), v) for n, v in ours]
        await client.post(CALL, json=MESSAGES)
    (row,) = await worker.rows()
    assert row.host == "api.anthropic.com"


TUNNELLED = [
    "example.com", "play.googleapis.com", "ab.chatgpt.com", "auth.openai.com", "claude.ai", "notapi.anthropic.com",
    "telemetry.individual.githubcopilot.com", "api.openai.com.example.com",
]  # fmt: skip


async def test_other_hosts_are_tunnelled_with_their_own_certificate(worker: Serving, secure: FakeProvider) -> None:
    async with worker.client(trust=secure.ca_file) as client:
        for host in TUNNELLED:
            reply = await client.post(f"https://{host}/v1/chat/completions", json=CHAT)
            assert (reply.status_code, "x-shin-call-id" in reply.headers, host) == (200, False, host)
    async with worker.client() as client:
        with pytest.raises(httpx2.ConnectError, match="certificate"):
            await client.get("https://example.com/")
    assert [seen.sni for seen in secure.seen] == TUNNELLED


# ── mitmproxy's options for upstream TLS ─────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def direct(provider: FakeProvider, folder: Path, **options: Any) -> AsyncIterator[tuple[int, int]]:
    """The status of a call, which our client takes out, and of a request that mitmproxy takes out itself."""
    (folder / "policies").mkdir()
    (folder / "policies" / "local.yaml").write_text(f"hosts: ['localhost:{provider.port}']\nextends: observe\n")
    async with (
        serve(folder / "home", write_config(folder, {}), folder / "policies", **options) as worker,
        worker.client() as client,
    ):
        url = f"https://localhost:{provider.port}"
        called = await client.post(f"{url}/v1/chat/completions", json=CHAT)
        passed = await client.post(f"{url}/telemetry", json={})
        yield called.status_code, passed.status_code


async def test_an_unknown_ca_is_not_trusted(secure: FakeProvider, tmp_path: Path) -> None:
    async with direct(secure, tmp_path) as statuses:
        assert statuses == (502, 502)
    assert not secure.seen


OPTIONS: dict[str, Callable[[FakeProvider], dict[str, Any]]] = {
    "ssl_insecure": lambda _: {"ssl_insecure": True},
    "trusted_ca": lambda provider: {"ssl_verify_upstream_trusted_ca": str(provider.ca_file)},
    "trusted_confdir": lambda provider: {"ssl_verify_upstream_trusted_confdir": hashed(provider.ca_file)},
}


def hashed(ca: Path) -> str:
    """A folder as OpenSSL reads it."""
    folder = ca.parent / "roots"
    folder.mkdir()
    shutil.copy(ca, folder)
    subprocess.run(["openssl", "rehash", str(folder)], check=True)
    return str(folder)


@pytest.mark.parametrize("option", OPTIONS)
async def test_trust_is_set_for_both_ways_out(secure: FakeProvider, tmp_path: Path, option: str) -> None:
    if option == "trusted_confdir" and not shutil.which("openssl"):
        pytest.skip("there is no openssl to make such a folder")
    async with direct(secure, tmp_path, **OPTIONS[option](secure)) as statuses:
        assert statuses == (200, 200)


@pytest.fixture
async def mutual() -> AsyncIterator[FakeProvider]:
    """A provider that wants a certificate from its clients."""
    async with FakeProvider(tls=True, mutual=True) as one:
        yield one


@pytest.mark.parametrize("as_folder", [False, True])
async def test_client_certificates_are_shown_by_both_ways_out(
    mutual: FakeProvider, tmp_path: Path, as_folder: bool
) -> None:
    certificate = mutual.client_file("localhost")
    if as_folder:
        (tmp_path / "certs").mkdir()
        shutil.copy(certificate, tmp_path / "certs" / "localhost.pem")
    given = tmp_path / "certs" if as_folder else certificate
    trust = {"ssl_verify_upstream_trusted_ca": str(mutual.ca_file)}
    async with direct(mutual, tmp_path, **trust, client_certs=str(given)) as statuses:
        assert statuses == (200, 200)


async def test_without_a_client_certificate(mutual: FakeProvider, tmp_path: Path) -> None:
    async with direct(mutual, tmp_path, ssl_verify_upstream_trusted_ca=str(mutual.ca_file)) as statuses:
        assert statuses == (502, 502)
    assert not mutual.seen


# ── Other modes ──────────────────────────────────────────────────────────────────────────────────


async def test_a_reverse_proxy_for_one_provider(secure: FakeProvider, tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "local.yaml").write_text(f"hosts: ['localhost:{secure.port}']\nextends: observe\n")
    config = write_config(tmp_path, {}, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
    mode = f"reverse:https://localhost:{secure.port}"
    async with (
        serve(tmp_path / "home", config, tmp_path / "policies", modes=[mode]) as worker,
        httpx2.AsyncClient(base_url=worker.proxy(), trust_env=False) as client,
    ):
        called = await client.post("/v1/messages", json=MESSAGES, headers={"x-api-key": "sk-client"})
        async with client.stream("POST", "/v1/messages", json={**MESSAGES, "stream": True}) as stream:
            text = (await stream.aread()).decode()
        passed = await client.post("/telemetry", json={})
        rows = await worker.rows(2)
    assert called.json()["content"][0]["text"] == "Hello from the fake provider."
    assert "message_stop" in text
    assert (passed.status_code, "x-shin-call-id" in passed.headers) == (200, False)
    assert [(row.host, row.end) for row in rows] == [("localhost", "completed")] * 2
    assert secure.seen[0].header("x-api-key") == "sk-client"
    assert secure.seen[0].host == f"localhost:{secure.port}"


def _cannot_redirect() -> str:
    """Why there can be no transparent mode here, or nothing."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    missing = [name for name in ("unshare", "ip", "iptables", "mount") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} cannot be found"
    if os.geteuid() != 0:
        return "only root may make a network namespace and redirect in it"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "REDIRECT"],
        capture_output=True,
        text=True,
    )
    return "" if tried.returncode == 0 else f"iptables cannot redirect here: {tried.stderr.strip()}"


async def test_transparent_mode_in_a_network_of_its_own(tmp_path: Path) -> None:
    if reason := _cannot_redirect():
        pytest.skip(reason)
    stand = await asyncio.create_subprocess_exec(
        *("unshare", "--net", "--mount", sys.executable, "-W", "ignore", "-m", "tests.e2e.transparent", str(tmp_path)),
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(stand.communicate(), 90)
    assert stand.returncode == 0, err.decode()
    told = json.loads(out)
    assert told["call"]["status"] == told["stream"]["status"] == told["h2"]["status"] == 200
    assert told["call"]["ours"] and told["stream"]["ours"] and told["h2"]["ours"]
    assert "message_stop" in told["stream"]["text"]
    assert (told["telemetry"]["status"], told["telemetry"]["ours"]) == (200, False)
    assert (told["plain"]["status"], told["plain"]["ours"]) == (200, True)
    assert (told["tunnelled"]["status"], told["tunnelled"]["ours"]) == (200, False)
    assert "certificate" in told["tunnelled with our CA"]["error"]
    assert told["rows"] == [
        ["api.openai.com", "openai", "completed"],
        ["api.anthropic.com", "anthropic", "completed"],
        ["api.openai.com", "openai", "completed"],
        ["models.example.com", "generic", "completed"],
    ]


# ── WebSockets ───────────────────────────────────────────────────────────────────────────────────


async def echo(worker: Serving, url: str, **more: Any) -> list[str | bytes]:
    """What comes back: a text, bytes, and something that is longer than a frame of the compression's window."""
    context = httpx2.create_ssl_context(verify=str(worker.ca))
    said: list[str | bytes] = ["grüezi", b"\x00\xff", "x" * 100_000]
    async with websockets.connect(url, proxy=worker.proxy(), ssl=context, **more) as socket:
        back = []
        for one in said:
            await socket.send(one)
            back.append(await socket.recv())
    assert back == said
    return back


CALL_SOCKETS = [
    "wss://api.openai.com/v1/responses",
    "wss://chatgpt.com/backend-api/codex/responses",
    "wss://api.individual.githubcopilot.com/responses",
]


async def test_websockets_with_calls_are_carried_at_known_hosts(worker: Serving, secure: FakeProvider) -> None:
    context = httpx2.create_ssl_context(verify=str(worker.ca))
    for url in CALL_SOCKETS:
        async with websockets.connect(url, proxy=worker.proxy(), ssl=context) as socket:
            await socket.send('{"type":"response.create","model":"gpt-4o","input":"say hello"}')
            async with asyncio.timeout(20):
                while '"response.completed"' not in await socket.recv():
                    pass
    assert {seen.method for seen in secure.seen} == {"GET", "WEBSOCKET"}, "they go on as they came"
    rows = await worker.rows(3)
    assert {row.host for row in rows} == {urlsplit(url).hostname for url in CALL_SOCKETS}
    assert {(row.facts["carrier"], row.status, row.output_tokens) for row in rows} == {("websocket", 200, 7)}


async def test_a_policy_declines_websockets_with_calls(worker: Serving, secure: FakeProvider) -> None:
    for name, host in (
        ("openai", "api.openai.com"),
        ("chatgpt", "chatgpt.com"),
        ("copilot", "api.individual.githubcopilot.com"),
    ):
        worker.policy(name, f"hosts: ['{host}']\nextends: observe\nwebsocket: decline\n")
    await worker.worker.reload()
    for url in CALL_SOCKETS:
        with pytest.raises(websockets.InvalidStatus) as raised:
            await echo(worker, url)
        assert raised.value.response.status_code == 426
    assert not secure.seen


async def test_other_websockets_are_declined_at_the_gateway(serving: Serving, provider: FakeProvider) -> None:
    for path in ("/openai/v1/x", "/openai/v1/realtime/x"):
        with pytest.raises(websockets.InvalidStatus) as raised:
            await websockets.connect(serving.gateway.replace("http:", "ws:") + path, proxy=None)
        assert raised.value.response.status_code == 426
    assert not provider.seen


async def test_a_policy_lets_websockets_with_calls_through(worker: Serving, secure: FakeProvider) -> None:
    worker.policy("openai", "hosts: [api.openai.com]\nextends: observe\nwebsocket: pass\n")
    worker.policy("chatgpt", "hosts: [chatgpt.com]\nextends: observe\nwebsocket: pass\n")
    await worker.worker.reload()
    for url in CALL_SOCKETS[:2]:
        await echo(worker, url, additional_headers={"openai-beta": "responses_websockets=2026-02-06"})
    assert [len(seen.messages) for seen in secure.seen] == [3, 3]
    assert secure.seen[0].header("openai-beta") == "responses_websockets=2026-02-06"


@pytest.mark.parametrize("url", ["wss://api.openai.com/v1/x", "wss://chatgpt.com/ws", "wss://api.anthropic.com/api/ws"])
async def test_other_websockets_pass(worker: Serving, secure: FakeProvider, url: str) -> None:
    await echo(worker, url)
    assert len(secure.seen[0].messages) == 3
