"""The token endpoint: a virtual key for a short-lived token (OAuth 2.0, RFC 6749 §4.4), and that for the next (§6).

For whoever wires it in: `POST /oauth/token` (`PATH`) at the gateway listener goes to `TokenEndpoint.answer` with its
headers and at most `LONGEST_BODY` bytes of body; other methods are 405. It never raises for what a client sends. A 401
is a bad key, and counts for a ban like one. `TokenEndpoint.tokens` is a method of `Identity` for the tokens given here.

`client_id` is the key's id; any other name is taken as the user's name in the proxy's URL is, since the key says whose
it is. `client_secret` is the key. They come by Basic or in the form, not both.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_plus

from shin_gateway.auth_settings import TokenSettings
from shin_gateway.caller import Caller
from shin_gateway.errors import Refusal, Unauthenticated, Unavailable
from shin_gateway.identity.families import Families
from shin_gateway.identity.own_tokens import Keys, OwnTokens, Refresh, RefreshTokens
from shin_gateway.sealing import Master
from shin_gateway.stores.state import StateStore, StoreError

log = logging.getLogger(__name__)

PATH = "/oauth/token"
LONGEST_BODY = 16 * 1024
REALM = "Shin Gateway"
Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""

_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 20
_KEY_ID = "key_"
_RETRY_AFTER = 1.0


class _Wrong(Exception):
    """What the client is told (RFC 6749 §5.2). Nothing of what it sent is in it."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.error, self.description, self.status = error, description, status


@dataclass(frozen=True, slots=True)
class _Client:
    id: str
    secret: str = field(repr=False)


class TokenEndpoint:
    """Gives tokens for virtual keys. `clock` is the time of day."""

    def __init__(
        self,
        settings: TokenSettings,
        master: Master,
        keys: Keys,
        state: StateStore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._clock = clock
        self.tokens = OwnTokens(master, keys, clock)
        self._refresh = RefreshTokens(master)
        self._families = Families(state, clock)

    async def answer(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """What to answer to a POST with these headers, in any case, and this body."""
        try:
            return _reply(200, await self._grant(_credentials(headers), _form(headers, body)))
        except _Wrong as wrong:
            return _refused(wrong.status, wrong.error, wrong.description)
        except (Unavailable, StoreError):
            return _refused(503, "temporarily_unavailable", "Keys cannot be looked up now.")
        except Refusal as refusal:
            return _refused(refusal.status, "invalid_request", "The request was refused.")

    async def _grant(self, basic: _Client | None, form: Mapping[str, str]) -> dict[str, object]:
        client = _client(basic, form)
        if form.get("scope"):
            raise _Wrong("invalid_scope", "A token may do what its key may; there are no scopes.")
        match form.get("grant_type"):
            case "client_credentials":
                return await self._exchange(client)
            case "refresh_token":
                return await self._renew(client, form.get("refresh_token", ""))
            case None:
                raise _Wrong("invalid_request", "grant_type is missing.")
        raise _Wrong("unsupported_grant_type", "grant_type should be client_credentials or refresh_token.")

    async def _exchange(self, client: _Client | None) -> dict[str, object]:
        if client is None:
            raise _unknown_client()
        caller = await self._caller(client)
        refresh = None
        if self._settings.refresh_ttl > 0:
            refresh = self._refresh.begin(client.secret, self._clock() + self._settings.refresh_ttl)
            try:
                await self._families.begin(caller.key, refresh)
            except StoreError:  # the key itself was known; who has it can come again
                refresh = None
        return self._tokens(caller, refresh)

    async def _renew(self, client: _Client | None, token: str) -> dict[str, object]:
        if not token:
            raise _Wrong("invalid_request", "refresh_token is missing.")
        used = self._refresh.open(token)
        if used is None or used.until <= self._clock():
            raise _spent()
        holder = await self._holder(used)
        if client is not None and (await self._caller(client)).key != holder.key:
            raise _spent()
        following = used.next()
        if not await self._families.turn(holder.key, used, following):
            raise _spent()
        return self._tokens(holder, following)

    async def _caller(self, client: _Client) -> Caller:
        try:
            caller = await self._keys.caller_of(client.secret)
        except Unauthenticated:
            caller = None
        if caller is None or (client.id.startswith(_KEY_ID) and client.id != caller.key):
            raise _unknown_client()
        return caller

    async def _holder(self, used: Refresh) -> Caller:
        """Whose key a refresh token stands for, as long as that key works."""
        try:
            caller = await self._keys.caller_of(used.secret)
        except Unauthenticated:
            caller = None
        if caller is None:
            raise _spent()
        return caller

    def _tokens(self, caller: Caller, refresh: Refresh | None) -> dict[str, object]:
        ttl = int(self._settings.ttl) or 1
        given: dict[str, object] = {
            "access_token": self.tokens.make(caller.key, ttl), "token_type": "Bearer", "expires_in": ttl
        }  # fmt: skip
        if refresh is not None:
            given["refresh_token"] = self._refresh.seal(refresh)
        return given


def _form(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """The form's fields; empty ones count as left out (RFC 6749 §3.2)."""
    if _header(headers, "content-type").partition(";")[0].strip().lower() != _FORM:
        raise _Wrong("invalid_request", f"The body should be a form, {_FORM}.")
    if len(body) > LONGEST_BODY:
        raise _Wrong("invalid_request", "The body is too large.", 413)
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise _Wrong("invalid_request", "The form cannot be read.") from None
    form = dict(fields)
    if len(form) < len(fields):
        raise _Wrong("invalid_request", "A field of the form stands twice.")
    return {name: value for name, value in form.items() if value}


def _credentials(headers: Mapping[str, str]) -> _Client | None:
    """From `Authorization: Basic`, where both parts are form-encoded (RFC 6749 §2.3.1)."""
    said = _header(headers, "authorization")
    if not said:
        return None
    scheme, _, pair = said.partition(" ")
    try:
        id, colon, secret = base64.b64decode(pair.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise _unknown_client() from None
    if scheme.lower() != "basic" or not colon:
        raise _unknown_client()
    return _Client(unquote_plus(id), unquote_plus(secret))


def _client(basic: _Client | None, form: Mapping[str, str]) -> _Client | None:
    id, secret = form.get("client_id", ""), form.get("client_secret", "")
    if basic is None:
        if secret and not id:
            raise _Wrong("invalid_request", "client_id is missing.")
        return _Client(id, secret) if secret else None
    if secret or (id and id != basic.id):
        raise _Wrong("invalid_request", "The client should say who it is once, by Basic or in the form.")
    return basic


def _header(headers: Mapping[str, str], name: str) -> str:
    """Its one value, "" where there is none."""
    found = [value for key, value in headers.items() if key.lower() == name]
    if len(found) > 1:
        raise _Wrong("invalid_request", f"The header {name} stands twice.")
    return found[0] if found else ""


def _unknown_client() -> _Wrong:
    return _Wrong("invalid_client", "The key is missing, unknown, expired or disabled.", 401)


def _spent() -> _Wrong:
    return _Wrong("invalid_grant", "The refresh token is wrong, expired, used already, or its key does not work.")


def _refused(status: int, error: str, description: str) -> Answer:
    reply = _reply(status, {"error": error, "error_description": description})
    if status == 401:
        reply[1]["www-authenticate"] = f'Basic realm="{REALM}"'
    if status == 503:
        reply[1]["retry-after"] = f"{_RETRY_AFTER:.0f}"
    return reply


def _reply(status: int, said: Mapping[str, object]) -> Answer:
    headers = {"content-type": "application/json", "cache-control": "no-store", "pragma": "no-cache"}
    return status, headers, json.dumps(said).encode()
