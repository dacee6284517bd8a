"""mitmproxy's requests and responses ⇄ the heads of calls and replies."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

from mitmproxy import http
from mitmproxy.net.http.url import parse_authority
from mitmproxy.proxy import mode_specs
from multidict import CIMultiDict

from shin_gateway import call_keys, dialects
from shin_gateway.call import Call, make_id
from shin_gateway.destinations import is_address
from shin_gateway.errors import NotFound, Refusal, whole_seconds
from shin_gateway.listening import headers as listener
from shin_gateway.listening.cors import Field, Rules, is_preflight
from shin_gateway.policy.match import GATEWAY
from shin_gateway.reply import Reply

_PROXIES = (mode_specs.RegularMode, mode_specs.UpstreamMode)
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_UNREGISTERED = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test")
"""Endings of names that the public DNS does not have (RFC 6761, 6762, 8375; ICANN for `internal`)."""

STREAM_THROUGH = 1_000_000
"""Bytes of a body on mitmproxy's own way from which on it is not gathered first."""


def is_gateway(flow: http.HTTPFlow) -> bool:
    """Whether it came to our own listener."""
    return is_gateway_mode(flow.client_conn.proxy_mode)


def is_gateway_mode(mode: mode_specs.ProxyMode) -> bool:
    return isinstance(mode, mode_specs.ReverseMode) and mode.address[0] == GATEWAY


def is_proxied(flow: http.HTTPFlow) -> bool:
    """Whether it came to a proxy that may want credentials: said on CONNECT, or with a request in absolute form."""
    return isinstance(flow.client_conn.proxy_mode, _PROXIES)


def wrong_port(flow: http.HTTPFlow, gateway_port: Callable[[], int]) -> http.Response | None:
    """What to say where a proxy is asked for itself, or for the gateway beside it, instead of for a provider."""
    host, port = flow.client_conn.sockname[:2]
    if flow.request.host not in (*_THIS_MACHINE, host):
        return None
    if flow.request.port == port:
        return _not_found(
            f"This port is the proxy's, for HTTPS_PROXY. A base URL names the gateway's, which is {gateway_port()}."
        )
    if flow.request.port == gateway_port():
        return _not_found(f"The gateway is asked directly, not through the proxy: add {flow.request.host} to NO_PROXY.")
    return None


def asks_for_websocket(request: http.Request) -> bool:
    """Only GET can (RFC 6455 §4.1): on a POST the header means nothing, and must not lead it past the chain."""
    if request.method != "GET":
        return False
    return "websocket" in [one.strip() for one in request.headers.get("upgrade", "").lower().split(",")]


def is_foreign_page(request: http.Request) -> bool:
    """Whether a web page asks that is not of this machine, in a browser that runs here. Programs send no origin.

    A page may also ask under its own name, if that leads to this machine (DNS rebinding), and be of one origin then.
    """
    origin = _said(request, b"origin")
    here = _is_of_a_network(request.host_header or request.host)
    return not here or (origin is not None and _is_elsewhere(origin))


def _is_elsewhere(origin: str) -> bool:
    """Extensions and programs made of web pages have schemes of their own; `null` is anybody's."""
    try:
        where = urlsplit(origin)
        return where.scheme in ("http", "https", "") and where.hostname not in _THIS_MACHINE
    except ValueError:
        return True


@lru_cache(maxsize=64)
def _is_of_a_network(authority: str) -> bool:
    """Whether it is an address, or a name that nobody can register."""
    name = parse_authority(authority, check=False)[0].lower().rstrip(".")
    return is_address(name) or "." not in name or name.endswith(_UNREGISTERED)


def foreign_page() -> http.Response:
    return http.Response.make(403, b"A gateway without users answers no page of another site, and to no public name.")


def refused(refusal: Refusal) -> http.Response:
    """What a proxy's client is told that has not got as far as a call."""
    headers = {"content-type": "text/plain", **refusal.headers}
    if refusal.retry_after is not None:
        headers["retry-after"] = whole_seconds(refusal.retry_after)
    return http.Response.make(refusal.status, refusal.message, headers)


def preflight(request: http.Request) -> http.Response | None:
    """The answer to a browser that asks what a page may do, before it is dressed. Nobody upstream is asked."""
    if not is_preflight(request.method, request.headers):
        return None
    response = http.Response.make(204)
    response.headers.fields = ()
    return response


def dress(flow: http.HTTPFlow, rules: Rules | None) -> None:
    """Put on a reply of our own listener what is for browsers."""
    if flow.response is not None and flow.response.status_code != 101:
        request, response = flow.request, flow.response
        origin = None if rules is None else _said(request, b"origin")
        response.headers.fields = listener.dressed(response.headers.fields, rules, origin)
        if rules is not None and is_preflight(request.method, request.headers):
            response.headers.fields += tuple(rules.preflight(request.headers))


def failed() -> http.Response:
    return http.Response.make(500, b"The gateway failed to handle this request.")


def no_websocket() -> http.Response:
    """What makes agents fall back to HTTPS at once; after any other status they try again first."""
    headers = {"upgrade": "HTTP/1.1", "sec-websocket-version": "13"}
    return http.Response.make(426, b"Use HTTPS instead of a WebSocket.", headers)


def no_such_path(request: http.Request) -> http.Response:
    if request.path == "/" and request.method in ("GET", "HEAD"):  # some agents knock before they call
        return http.Response.make(200, b"Shin Gateway", {"content-type": "text/plain"})
    return _not_found("Nothing answers to this path and method. A provider's own paths are under /{provider}/.")


def _not_found(message: str) -> http.Response:
    refusal, call_id = NotFound(message), make_id()
    body = dialects.get("plain").error_body(refusal, call_id)
    return http.Response.make(404, body, {"content-type": "application/json", "x-request-id": call_id})


def pass_by(flow: http.HTTPFlow, is_ours: Callable[[str], bool]) -> None:
    """Take mitmproxy's own way, unread, without what is meant for us alone. `is_ours` tells keys of ours."""
    for name in [name for name in flow.request.headers if name.lower().startswith("x-shin-")]:
        del flow.request.headers[name]
    _drop_keys(flow.request, is_ours)
    length = flow.request.headers.get("content-length", "")
    unknown = "chunked" in flow.request.headers.get("transfer-encoding", "").lower()
    unknown = unknown or (not length and not flow.request.http_version.startswith("HTTP/1"))
    flow.request.stream = unknown or (length.isdigit() and int(length) > STREAM_THROUGH)


def _drop_keys(request: http.Request, is_ours: Callable[[str], bool]) -> None:
    headers = headers_in(request)
    path = call_keys.purge(headers, request.path, is_ours)
    if path != request.path:
        request.path = path
    for name in list(request.headers):
        if name not in headers or any(map(call_keys.mentions, headers.getall(name))):
            request.headers.pop(name, None)


def fits(request: http.Request, limit: int) -> bool:
    """Whether a body is known to be within the limit. A file that is not passes by a proxy, rather than not at all."""
    length = request.headers.get("content-length", "0")
    return length.isdigit() and int(length) <= limit and "transfer-encoding" not in request.headers


def _said(request: http.Request, name: bytes) -> str | None:
    """A header's value, as mitmproxy's own `get` has it, which takes five times as long."""
    found = [value for field, value in request.headers.fields if field.lower() == name]
    return b", ".join(found).decode("utf-8", "surrogateescape") if found else None


def without_login(request: http.Request) -> None:
    """What is for a proxy is for nobody beyond it."""
    if _said(request, b"proxy-authorization") is not None:
        request.headers.pop("proxy-authorization", None)


def headers_in(request: http.Request) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in request.headers.fields:
        headers.add(name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
    return headers


def to_response(flow: http.HTTPFlow, call: Call, reply: Reply) -> http.Response:
    """The head of a reply, and its body where it is whole, with our headers after the upstream's."""
    version = flow.request.http_version
    headers = reply.headers
    _add_ours(headers, call)
    bodyless = reply.status in (204, 304) or call.method == "HEAD"
    if reply.takes_events and not bodyless:  # signs of life and an error event may come on top of what was announced
        headers.popall("content-length", None)
    if reply.streamed and version == "HTTP/1.1" and "content-length" not in headers and not bodyless:
        headers["transfer-encoding"] = "chunked"
    body = None if reply.streamed else reply.raw_body
    if body is not None:
        headers["content-length"] = str(len(body))
        body = b"" if flow.request.method == "HEAD" else body
    fields = tuple((name.encode("utf-8", "surrogateescape"), _one_line(value)) for name, value in headers.items())
    reason = reply.reason.encode("utf-8", "replace") or http.status_codes.RESPONSES.get(reply.status, "").encode()
    now = time.time()
    return http.Response(version.encode(), reply.status, reason, _headers_of(fields), body, None, now, now)


def _headers_of(fields: tuple[Field, ...]) -> http.Headers:
    """Of what are bytes already: the original looks at each of them, for longer than all the rest takes."""
    headers = http.Headers.__new__(http.Headers)
    headers.fields = fields
    return headers


def to_switch(response: http.Response, call: Call, reply: Reply, protocol: str | None) -> http.Response:
    """The answer to an upgrade, with the upstream's headers and ours."""
    headers = reply.headers
    _add_ours(headers, call)
    if protocol is not None:
        headers["sec-websocket-protocol"] = protocol
    response.headers.fields += tuple((name.encode(), _one_line(value)) for name, value in headers.items())
    return response


def _one_line(value: str) -> bytes:
    """A header's value. A model's name, which the client chose, must not begin another header."""
    line = value if value.isprintable() else _UNSAFE.sub("?", value)
    return line.encode("utf-8", "surrogateescape")


def _add_ours(headers: CIMultiDict[str], call: Call) -> None:
    outcome = call.outcome
    headers["x-shin-call-id"] = call.id
    headers.setdefault("x-request-id", call.headers.get("x-request-id", call.id))
    if outcome.cost is not None:
        headers["x-shin-cost"] = f"{round(outcome.cost, 12).normalize():f}"
    if call.target is not None:
        headers["x-shin-target"] = call.target.name
    if outcome.attempts > 1:
        headers["x-shin-attempts"] = str(outcome.attempts)
    headers["x-shin-overhead-ms"] = f"{outcome.timings.overhead * 1000:.2f}"
