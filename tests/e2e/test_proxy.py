"""The forward proxy: what it intercepts, what it tunnels, what it leaves alone."""

from __future__ import annotations

import asyncio
import json
import ssl

import httpx2
import openai
import pytest

from tests.e2e.serving import CHAT, MESSAGES, Serving
from tests.provider import Answer, FakeProvider


async def test_a_call_to_a_named_host_takes_the_chain(serving: Serving, secure: FakeProvider) -> None:
    async with serving.client() as client:
        reply = await client.post(f"https://localhost:{secure.port}/v1/chat/completions", json=CHAT)
    assert reply.status_code == 200
    assert reply.json()["choices"][0]["message"]["content"] == "Hello from the fake provider."
    assert reply.headers["x-shin-call-id"]
    (row,) = await serving.rows()
    assert (row.host, row.model, row.end, row.status) == ("localhost", "gpt-4o", "completed", 200)


async def test_the_bytes_that_leave_are_the_bytes_that_came(serving: Serving, secure: FakeProvider) -> None:
    text = '{ "model":"gpt-4o",\t"messages" : [{"role":"user","content":"é \\u00e9"}], "big": 12345678901234567890123 }'
    body = text.encode()
    headers = {"X-Own": "1", "authorization": "Bearer sk-of-the-client", "Content-Type": "application/json"}
    async with serving.client() as client:
        await client.post(
            f"https://localhost:{secure.port}/v1/chat/completions?a=%2F%7e", content=body, headers=headers
        )
    seen = secure.seen[0]
    assert seen.body == body
    assert seen.target == "/v1/chat/completions?a=%2F%7e"
    assert seen.header("authorization") == "Bearer sk-of-the-client"
    assert "X-Own" in seen.header_names()
    assert not [name for name in seen.header_names() if name.lower().startswith(("x-shin", "proxy"))]


async def test_another_host_is_tunnelled_with_its_own_certificate(serving: Serving) -> None:
    async with FakeProvider(tls=True) as other:
        async with serving.client(trust=other.ca_file) as client:
            reply = await client.post(f"https://localhost:{other.port}/v1/chat/completions", json=CHAT)
        assert reply.status_code == 200
        assert "x-shin-call-id" not in reply.headers
        with pytest.raises(httpx2.ConnectError):
            async with serving.client() as client:
                await client.post(f"https://localhost:{other.port}/v1/chat/completions", json=CHAT)


async def test_what_is_no_call_passes_untouched(serving: Serving, secure: FakeProvider) -> None:
    async with serving.client() as client:
        reply = await client.post(f"https://localhost:{secure.port}/api/event_logging/v2/batch", json={"events": []})
    assert reply.status_code == 200
    assert "x-shin-call-id" not in reply.headers
    assert secure.seen[0].path == "/api/event_logging/v2/batch"


async def test_http2_whole_and_streamed(serving: Serving, secure: FakeProvider) -> None:
    async with serving.client(http2=True) as client:
        url = f"https://localhost:{secure.port}/v1/chat/completions"
        whole, streamed = await asyncio.gather(
            client.post(url, json=CHAT), client.post(url, json={**CHAT, "stream": True})
        )
    assert whole.http_version == streamed.http_version == "HTTP/2"
    assert whole.json()["usage"]["total_tokens"] == 18
    assert streamed.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("http2", [False, True])
async def test_parts_arrive_as_they_are_made(serving: Serving, secure: FakeProvider, http2: bool) -> None:
    gate = asyncio.Semaphore(0)
    secure.script(Answer(gate=gate))
    async with serving.client(http2=http2) as client:
        gate.release()
        request = client.stream(
            "POST", f"https://localhost:{secure.port}/v1/messages", json={**MESSAGES, "stream": True}
        )
        async with request as reply:
            parts = reply.aiter_text()
            assert "message_start" in await anext(parts)
            for _ in range(40):
                gate.release()
            rest = "".join([part async for part in parts])
    assert "message_stop" in rest


async def test_a_websocket_with_calls_is_declined_where_the_policy_says_so(
    serving: Serving, secure: FakeProvider
) -> None:
    serving.policy("local", f"hosts: ['localhost:{secure.port}']\nextends: observe\nwebsocket: decline\n")
    await serving.worker.reload()
    headers = {
        "upgrade": "websocket",
        "connection": "upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": "x" * 22 + "==",
    }
    async with serving.client() as client:
        reply = await client.get(f"https://localhost:{secure.port}/v1/responses", headers=headers)
    assert reply.status_code == 426
    assert not secure.seen


async def test_the_caller_is_named_in_the_proxys_url(serving: Serving, secure: FakeProvider) -> None:
    async with serving.client(login="alice:x@") as client:
        await client.post(
            f"https://localhost:{secure.port}/v1/messages", json=MESSAGES, headers={"x-api-key": "sk-secret"}
        )
    (row,) = await serving.rows()
    assert (row.caller, row.caller_kind) == ("alice", "user")
    assert "proxy-authorization" not in {name.lower() for name in secure.seen[0].header_names()}


async def test_a_policy_can_require_credentials(serving: Serving, secure: FakeProvider) -> None:
    serving.policy("local", f"hosts: ['localhost:{secure.port}']\nextends: observe\nproxy_auth: required\n")
    await serving.worker.reload()
    with pytest.raises(httpx2.ProxyError, match="407"):
        async with serving.client() as client:
            await client.post(f"https://localhost:{secure.port}/v1/messages", json=MESSAGES)
    async with serving.client(login="bob:@") as client:
        reply = await client.post(f"https://localhost:{secure.port}/v1/messages", json=MESSAGES)
    assert reply.status_code == 200


async def test_a_name_of_ours_is_not_served_from_elsewhere(serving: Serving, secure: FakeProvider) -> None:
    """CONNECT to one host and a server name of ours in the handshake: the name decides where the call goes."""
    async with FakeProvider(tls=True) as decoy:
        serving.policy("local", "hosts: [localhost]\nextends: observe\n")
        await serving.worker.reload()
        context = ssl.create_default_context(cafile=str(serving.ca))
        host, port = serving.proxy().removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"CONNECT 127.0.0.1:{secure.port} HTTP/1.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await writer.start_tls(context, server_hostname="localhost")
        body = json.dumps(CHAT).encode()
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: elsewhere\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"x-shin-call-id" in head
        assert secure.seen[0].sni == "localhost"
        assert not decoy.seen
        writer.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_who_takes_the_proxy_for_the_gateway_is_told(serving: Serving, host: str) -> None:
    base = serving.proxy().replace("127.0.0.1", host)
    async with openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="sk", max_retries=5) as client:
        with pytest.raises(openai.NotFoundError, match=f"the gateway's, which is {_port(serving.gateway)}"):
            await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])


async def test_who_asks_the_gateway_through_the_proxy_is_told(serving: Serving) -> None:
    async with httpx2.AsyncClient(proxy=serving.proxy(), trust_env=False) as http:
        answer = await http.post(f"{serving.gateway}/v1/chat/completions", json=CHAT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "add 127.0.0.1 to NO_PROXY" in answer.json()["error"]["message"]


def _port(address: str) -> str:
    return address.rpartition(":")[2]
