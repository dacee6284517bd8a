"""URLs of the provider's own that a reply tells its client to go to next, made to lead through the gateway.

- Gemini's resumable uploads go on at a URL in a header: https://ai.google.dev/gemini-api/docs/files (REST)
- Anthropic's clients fetch a batch's results from its `results_url`:
  https://platform.claude.com/docs/en/api/messages/batches/retrieve
"""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import urlsplit

from shin_gateway.call import Call
from shin_gateway.files.sight import legible
from shin_gateway.files.tickets import with_ticket
from shin_gateway.policy.match import GATEWAY
from shin_gateway.reply import Reply
from shin_gateway.secret import SecretMissing
from shin_gateway.targets import Target

_HEADERS = ("x-goog-upload-url", "x-goog-upload-control-url")
_HOST = re.compile(r"[A-Za-z0-9_.:\[\]-]+")
_RESULTS = re.compile(rb'("results_url"\s*:\s*")https?://[^/"\\]+(?=/)')


def bring_home(call: Call, target: Target, reply: Reply) -> None:
    """Have such URLs name the gateway, as the client calls it, and the same provider."""
    home = _home(call, target)
    if not home or call.arrival.origin is not None:
        return
    for name in _HEADERS:
        if url := reply.headers.get(name):
            reply.headers[name] = _upload_url(url, home, call, target)
    if call.dialect.name == "anthropic.batches" and (body := legible(reply)):
        reply.body = _RESULTS.sub(lambda found: found[1] + home.encode(), body) if _RESULTS.search(body) else body


def _home(call: Call, target: Target) -> str:
    """The URL under which this client reaches the provider; "" where that is not known."""
    host = call.headers.get("host", "")
    if host == GATEWAY or not _HOST.fullmatch(host):  # mitmproxy has put in the name of our listener
        return ""
    scheme = "https" if call.headers.get("x-forwarded-proto", "").lower() == "https" else "http"
    return f"{scheme}://{host}/{target.provider}"


def _upload_url(url: str, home: str, call: Call, target: Target) -> str:
    parts = urlsplit(url)
    if parts.netloc != urlsplit(target.base_url).netloc or call.own_key:  # nobody else could vouch for the client
        return url
    below = parts.path + (f"?{parts.query}" if parts.query else "")
    with suppress(SecretMissing):
        return home + (with_ticket(below, call.caller, target.secret) if target.secret else below)
    return url
