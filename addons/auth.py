"""Find out who is calling, by a key or token of ours, or by the provider's key that he brings himself.

A key of ours never reaches a provider: through the proxy the gateway's own credential for that host takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from shin_gateway.addon import Addon, Forward, Mode, Services, Settings, Stage
from shin_gateway.call import Call
from shin_gateway.call_keys import credentials
from shin_gateway.caller import ANONYMOUS, Caller
from shin_gateway.errors import Unauthenticated, Unavailable
from shin_gateway.identity import MethodName, of_key
from shin_gateway.identity.jwt import ForOthers
from shin_gateway.reply import Reply
from shin_gateway.stores.errors import StoreError

_MOST = 8
"""Keys that one call may bring."""
_ASKING: frozenset[MethodName] = frozenset({"introspection"})
_GUEST = replace(ANONYMOUS, roles=("guest",))


class AuthSettings(Settings):
    keys: Literal["gateway", "client", "hybrid"] = "gateway"
    """Whose keys are taken. `gateway`: ours alone. `client`: the provider's own key, which passes through and by its
    hash says who calls. `hybrid`: either."""
    methods: Annotated[frozenset[Literal["virtual_keys", "users", "tokens"]], Field(min_length=1)] = frozenset(
        {"virtual_keys", "users", "tokens"}
    )
    """What shows who somebody is: virtual keys, secrets of the users of shin.yaml, tokens (JWT, introspection, our
    own)."""
    guests: Literal["refuse", "allow"] = "refuse"
    """Who shows nothing at all is refused, or let in with the role `guest`. A wrong key never makes a guest."""
    on_store_error: Literal["refuse", "allow"] = "refuse"
    """Keys seen lately work on while the store is away. Others are refused (503), or let in with the role `guest`."""


class Auth(Addon[AuthSettings]):
    stage = Stage.IDENTIFY
    order = -10
    identifies = True

    def __init__(self, settings: AuthSettings, services: Services, mode: Mode = "enforce") -> None:
        super().__init__(settings, services, mode)
        self._unasked: frozenset[MethodName] = frozenset(settings.methods)
        """Those for keys in calls through the proxy: a provider's token is not shown to a server of somebody else."""
        self._methods = self._unasked | _ASKING if "tokens" in settings.methods else self._unasked

    @classmethod
    def demands_key(cls, settings: AuthSettings) -> bool:
        strict = settings.on_store_error == "refuse"
        return settings.keys == "gateway" and settings.guests == "refuse" and strict

    async def handle(self, call: Call, forward: Forward) -> Reply:
        try:
            call.caller = await self._caller(call)
        except StoreError as error:
            if self.settings.on_store_error == "refuse":
                raise Unavailable("The key cannot be looked up now.", code="store_unavailable") from error
            call.note(auth="unchecked")
            call.caller = _GUEST
        return await forward(call)

    async def _caller(self, call: Call) -> Caller:
        """Raises Unauthenticated, Unavailable, StoreError."""
        if call.caller.kind != "anonymous" and self.mode == "enforce":  # the ticket of an upload says who goes on
            return await self.services.identity.renewed(call.caller)
        given = credentials(call.headers, call.path)
        if len(given) > _MOST:
            raise Unauthenticated("The call brings too many keys.")
        proxied = call.own_key
        try:
            ours, theirs = await self._sorted(given, proxied)
        except StoreError:
            call.own_key = False  # what cannot be looked up may be ours
            raise
        known = await self._logged_in(call)
        if ours is not None:
            self._check_ours(call)
            return known or ours
        if theirs:
            return known or self._stranger(call, theirs, proxied)
        return known or self._guest()

    async def _logged_in(self, call: Call) -> Caller | None:
        """Who has logged in with the proxy, as he is now. Raises Unauthenticated (407), but 401 inside of a tunnel,
        where clients take a 407 for a fault of the connection."""
        login = call.login
        if login is None or not login.secret:
            return None
        try:
            return await self.services.identity.of_login(login, self._methods)
        except Unauthenticated as refusal:
            if (call.arrival.origin or "").startswith("https:"):
                raise Unauthenticated(refusal.message) from None
            raise

    async def _sorted(self, given: Sequence[str], proxied: bool) -> tuple[Caller | None, str]:
        """Who calls by a key of ours, and a key that is none."""
        ours, theirs = None, ""
        for secret in given:
            caller = await self._caller_by(secret, proxied)
            ours = ours or caller
            theirs = theirs or ("" if caller else secret)
        return ours, theirs

    async def _caller_by(self, secret: str, proxied: bool) -> Caller | None:
        """None: it is none of ours. Through the proxy that goes for a token of our issuer for a provider, too."""
        try:
            return await self.services.identity.of_secret(secret, self._unasked if proxied else self._methods)
        except ForOthers:
            if not proxied:
                raise
            return None

    def _check_ours(self, call: Call) -> None:
        if self.settings.keys == "client":
            raise Unauthenticated("This takes no keys of the gateway; call it with the provider's own key.")
        call.own_key = False

    def _stranger(self, call: Call, secret: str, proxied: bool) -> Caller:
        """Who calls with a key that is none of ours."""
        if self.settings.keys == "gateway":
            if proxied:
                return self._guest()
            raise Unauthenticated("The key is wrong.")
        if not secret.isprintable():
            raise Unauthenticated("The key holds what no key can hold.")
        call.own_key = True
        return of_key(secret)

    def _guest(self) -> Caller:
        if self.settings.guests == "allow":
            return _GUEST
        raise Unauthenticated(_MISSING[self.settings.keys])


_MISSING = {
    "gateway": "A key of the gateway is missing.",
    "client": "The provider's key is missing.",
    "hybrid": "A key is missing: the gateway's or the provider's own.",
}
