"""Refusals in each API's own shape, and what the official clients make of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import google.genai
import google.genai.errors
import openai
import pytest

from shin_gateway import dialects
from shin_gateway.errors import Blocked, Invalid, RateLimited, Refusal, UpstreamFailed
from tests.dialects.recorded import load

CUT = UpstreamFailed("The upstream broke off in the middle of its reply.", code="upstream_cut")
LIMITED = RateLimited("Slow down, größer.", retry_after=2.5)
BAD = Invalid("messages[3]: what is this?", param="messages")


@contextmanager
def serving(status: int, content_type: str, body: bytes) -> Iterator[str]:
    """A provider on loopback that gives every call this answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def chat(url: str, stream: bool) -> list[Any]:
    client = openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0)
    reply = client.chat.completions.create(model="m", messages=[], stream=stream)
    return list(reply) if stream else [reply]


def complete(url: str, stream: bool) -> list[Any]:
    client = openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0)
    reply = client.completions.create(model="m", prompt="x", stream=stream)
    return list(reply) if stream else [reply]


def respond(url: str, stream: bool) -> list[Any]:
    client = openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0)
    reply = client.responses.create(model="m", input="x", stream=stream)
    return list(reply) if stream else [reply]


def messages(url: str, stream: bool) -> list[Any]:
    client = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0)
    reply = client.messages.create(model="m", max_tokens=5, messages=[], stream=stream)
    return list(reply) if stream else [reply]


def generate(url: str, stream: bool) -> list[Any]:
    client = google.genai.Client(api_key="k", http_options={"base_url": url})
    if stream:
        return list(client.models.generate_content_stream(model="m", contents="x"))
    return [client.models.generate_content(model="m", contents="x")]


CLIENTS = {
    "openai.chat": (chat, openai.APIError),
    "openai.completions": (complete, openai.APIError),
    "openai.responses": (respond, openai.APIError),
    "anthropic.messages": (messages, anthropic.APIStatusError),
    "gemini.generate": (generate, google.genai.errors.APIError),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_an_error_in_mid_stream_is_an_error_to_the_official_client(name: str) -> None:
    ask, error = CLIENTS[name]
    dialect, source = load(f"{name}/text.sse")
    half = source[: source.index("Grü".encode())]
    half = half[: max(half.rfind(b"\n\n"), half.rfind(b"\n\r\n")) + 3].rstrip() + b"\r\n\r\n"
    body = half + (dialect.keepalive or b"") + dialect.error_part(CUT, "id1", "text/event-stream")
    with serving(200, "text/event-stream", body) as url, pytest.raises(error, match="broke off"):
        ask(url, True)


@pytest.mark.parametrize("name", CLIENTS)
def test_what_is_sent_in_mid_stream_is_a_failure_to_ourselves(name: str) -> None:
    dialect = dialects.get(name)
    framer = dialect.framer("text/event-stream")
    assert framer is not None
    parts = framer.feed(dialect.error_part(CUT, "id1", "text/event-stream"))
    failures = [failure for part in parts if (failure := dialect.failure(part))]
    assert failures and failures[-1].status >= 500 and "broke off" in failures[-1].message


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize(("refusal", "status"), [(BAD, 400), (LIMITED, 429), (CUT, 502), (Blocked("No."), 400)])
def test_a_refusal_is_an_error_of_its_status_to_the_official_client(name: str, refusal: Refusal, status: int) -> None:
    ask, error = CLIENTS[name]
    dialect = dialects.get(name)
    body = dialect.error_body(refusal, "id1")
    with serving(status, dialect.content_type, body) as url, pytest.raises(error) as caught:
        ask(url, False)
    assert getattr(caught.value, "status_code", getattr(caught.value, "code", None)) == status
    assert refusal.message in str(caught.value)
    assert b"id1" in body


@pytest.mark.parametrize("name", CLIENTS)
def test_the_official_client_reads_our_fixtures(name: str) -> None:
    """So that what we test against is what the clients take."""
    ask, _ = CLIENTS[name]
    with serving(200, "text/event-stream", load(f"{name}/text.sse")[1]) as url:
        assert len(ask(url, True)) >= 4
    with serving(200, "application/json", load(f"{name}/reply.json")[1]) as url:
        assert "Alice" in str(ask(url, False)[0])


def test_shapes() -> None:
    assert json.loads(dialects.get("openai.chat").error_body(BAD, "id1")) == {
        "error": {
            "message": "messages[3]: what is this?",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "invalid_request",
        },
        "request_id": "id1",
    }
    assert json.loads(dialects.get("anthropic.messages").error_body(LIMITED, "id1")) == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "Slow down, größer."},
        "request_id": "id1",
    }
    error = json.loads(dialects.get("gemini.generate").error_body(LIMITED, "id1"))["error"]
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.5s"} in error["details"]
    assert json.loads(dialects.get("plain").error_body(CUT, ""))["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("status", "openai_type", "anthropic_type", "gemini_status"),
    [
        (400, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
        (401, "authentication_error", "authentication_error", "UNAUTHENTICATED"),
        (403, "permission_error", "permission_error", "PERMISSION_DENIED"),
        (404, "not_found_error", "not_found_error", "NOT_FOUND"),
        (413, "invalid_request_error", "request_too_large", "INVALID_ARGUMENT"),
        (422, "invalid_request_error", "invalid_request_error", "FAILED_PRECONDITION"),
        (429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
        (500, "server_error", "api_error", "INTERNAL"),
        (501, "server_error", "api_error", "UNIMPLEMENTED"),
        (502, "server_error", "api_error", "UNAVAILABLE"),
        (503, "server_error", "overloaded_error", "UNAVAILABLE"),
        (504, "server_error", "timeout_error", "DEADLINE_EXCEEDED"),
    ],
)
def test_types_by_status(status: int, openai_type: str, anthropic_type: str, gemini_status: str) -> None:
    refusal = Refusal("x", status=status)
    body = {name: json.loads(dialects.get(name).error_body(refusal, "i"))["error"] for name in CLIENTS}
    assert body["openai.chat"]["type"] == body["openai.responses"]["type"] == openai_type
    assert body["anthropic.messages"]["type"] == anthropic_type
    assert body["gemini.generate"]["status"] == gemini_status


def test_gemini_array_streams_end_with_the_error_as_an_element() -> None:
    dialect, source = load("gemini.generate/array.json")
    framer = dialect.framer("application/json")
    assert framer is not None
    parts = framer.feed(source)[:2]
    body = b"".join(part.raw for part in parts) + dialect.error_part(CUT, "id1", "application/json; charset=UTF-8")
    assert json.loads(body)[-1]["error"]["code"] == 502


def test_a_providers_hint_to_wait_is_read() -> None:
    dialect, source = load("gemini.generate/error_quota.json")
    framer = dialect.framer("application/json")
    assert framer is not None
    failure = dialect.failure(framer.feed(source)[0])
    assert failure is not None and failure.retry_after == 34.5 and failure.status == 429


def test_keepalives() -> None:
    assert dialects.get("gemini.generate").keepalive is None
    assert dialects.get("openai.chat").keepalive == b": keep-alive\n\n"
