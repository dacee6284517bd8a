"""A small identity provider on loopback, in the test's own event loop: OpenID Connect's discovery, keys that rotate,
tokens for clients, introspection; and all that such a server does wrong.

async with Idp() as idp:
    token = idp.token(sub="ann", groups=["llm"])
    idp.rotate()
    idp.fault = "hang"
    assert idp.seen["/keys"] == 1
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import hmac
import json
import secrets
import time
from collections import Counter
from typing import Any, Self
from urllib.parse import unquote_plus

from aiohttp import web
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64encode

DISCOVERY, KEYS, TOKEN, INTROSPECT = "/.well-known/openid-configuration", "/keys", "/token", "/introspect"
FAULTS = ("refuse", "hang", "drip", "error", "huge", "redirect", "nonsense", "list", "cut", "gzip")
"""What can be wrong with every answer. `refuse` closes the connection, `drip` sends a byte now and then."""


class Idp:
    """`issuer` is its URL. Faults hold for all of it until they are taken back."""

    def __init__(self, *, path: str = "", algorithm: str = "RS256") -> None:
        self._path = path
        self.algorithm = algorithm
        self.keys = [_first_key(algorithm)]
        """The last one signs; all are published."""
        self.fault = ""
        self.slow = 0.0
        """Seconds before each answer."""
        self.cache_control = "public, max-age=3600"
        self.description: dict[str, Any] = {}
        """Over what it truly says of itself."""
        self.published: object = None
        """Instead of its keys."""
        self.client = ("shin", "idp-secret-%+&")
        self.introspected: dict[str, dict[str, Any]] = {}
        self.seen: Counter[str] = Counter()
        self.port = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def down(self) -> None:
        """Nothing listens any more."""
        await self._site.stop()

    async def up(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()
        self.port = self._site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}{self._path}"

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    # What it makes

    def claims(self, **more: Any) -> dict[str, Any]:
        now = int(time.time())
        plain = {"iss": self.issuer, "aud": "shin", "sub": "ann", "iat": now, "nbf": now, "exp": now + 300}
        return {name: value for name, value in (plain | more).items() if value is not None}

    def token(self, *, header: dict[str, Any] | None = None, key: Key | None = None, **claims: Any) -> str:
        """A token signed with the newest key; a claim or field of the header that is None is left out."""
        key = key or self.keys[-1]
        said = {"alg": self.algorithm, "typ": "at+jwt", "kid": key.kid} | (header or {})
        return sign({name: value for name, value in said.items() if value is not None}, self.claims(**claims), key)

    def opaque(self, **claims: Any) -> str:
        """A token that only `introspect` understands."""
        token = secrets.token_urlsafe(24)
        self.introspected[token] = {"active": True, **self.claims(**claims)}
        return token

    def rotate(self, *, keep: bool = True) -> None:
        """Sign with a new key. `keep`: the old ones stay published."""
        self.keys = [*(self.keys if keep else []), make_key(self.algorithm)]

    # What it answers

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.seen[request.path] += 1
        await asyncio.sleep(self.slow)
        if self.fault:
            return await self._fail(request)
        at = request.path.removeprefix(self._path)
        if at == DISCOVERY:
            return self._json(self._describe())
        if at == KEYS:
            return self._json(self._published(), self.cache_control)
        if at == TOKEN and request.method == "POST":
            return self._grant(await request.post())
        if at == INTROSPECT and request.method == "POST":
            return self._introspect(request, await request.post())
        return web.Response(status=404)

    def _describe(self) -> dict[str, Any]:
        ends = {"jwks_uri": KEYS, "token_endpoint": TOKEN, "introspection_endpoint": INTROSPECT}
        return {"issuer": self.issuer, **{name: self.issuer + path for name, path in ends.items()}, **self.description}

    def _published(self) -> object:
        if self.published is not None:
            return self.published
        return {"keys": [{**key.as_dict(private=False), "use": "sig"} for key in self.keys]}

    def _grant(self, form: Any) -> web.Response:
        if (form.get("client_id"), form.get("client_secret")) != self.client:
            return web.json_response({"error": "invalid_client"}, status=401)
        token = self.token(sub=form["client_id"], aud=form.get("audience", "shin"))
        return self._json({"access_token": token, "token_type": "Bearer", "expires_in": 300}, "no-store")

    def _introspect(self, request: web.Request, form: Any) -> web.Response:
        _, _, pair = request.headers.get("authorization", "").partition(" ")
        id, _, secret = base64.b64decode(pair or "Og==").decode().partition(":")
        if (unquote_plus(id), unquote_plus(secret)) != self.client:
            return web.json_response({"error": "invalid_client"}, status=401)
        return self._json(self.introspected.get(form["token"], {"active": False}), "no-store")

    def _json(self, said: object, cache_control: str = "max-age=3600") -> web.Response:
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        headers = {"cache-control": cache_control} if cache_control else {}
        return web.Response(body=body, content_type="application/json", headers=headers)

    async def _fail(self, request: web.Request) -> web.StreamResponse:
        match self.fault:
            case "refuse":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case "hang":
                await asyncio.sleep(3600)
            case "error":
                return web.Response(status=500, text="<html>oops")
            case "huge":
                return web.Response(body=b'{"keys": [' + b" " * 5_000_000 + b"]}", content_type="application/json")
            case "redirect":
                raise web.HTTPFound("http://169.254.169.254/latest/meta-data/")
            case "nonsense":
                return web.Response(body=b'{"keys": [NaN, \xff', content_type="application/json")
            case "list":
                return web.Response(body=b"[" * 100_000, content_type="application/json")
            case "gzip":
                return web.Response(body=b"\x1f\x8b", headers={"content-encoding": "gzip"})
        return await self._trickle(request)

    async def _trickle(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "1000"})
        await response.prepare(request)
        await response.write(b'{"keys": [')
        while self.fault == "drip":
            await asyncio.sleep(0.05)
            await response.write(b" ")
        assert request.transport is not None
        request.transport.abort()  # cut
        return response


def make_key(algorithm: str) -> Key:
    kid = {"kid": secrets.token_hex(6), "alg": algorithm}
    if algorithm.startswith("ES"):
        return ECKey.generate_key({"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm], kid)
    if algorithm in ("EdDSA", "Ed25519"):
        return OKPKey.generate_key("Ed25519", kid)
    return RSAKey.generate_key(2048, kid)


_first_key = functools.cache(make_key)  # an RSA key takes a tenth of a second


def sign(header: dict[str, Any], claims: object, key: Any, algorithm: str = "") -> str:
    """A JWS of whatever is asked for. `claims` may be bytes; a `key` of bytes is a shared secret, whatever it looks
    like."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = urlsafe_b64encode(json.dumps(header).encode()) + b"." + urlsafe_b64encode(payload)
    algorithm = algorithm or header["alg"]
    if isinstance(key, bytes):
        signature = hmac.new(key, signed, {"HS256": hashlib.sha256, "HS512": hashlib.sha512}[algorithm]).digest()
    else:
        signature = JWSRegistry.algorithms[algorithm].sign(signed, key)
    return (signed + b"." + urlsafe_b64encode(signature)).decode()
