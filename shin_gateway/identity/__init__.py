"""Who is calling: users of shin.yaml, virtual keys, tokens. One facade for the proxy's logins and for keys in calls."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Protocol

from shin_gateway.call import Call
from shin_gateway.call_keys import OURS, credential, digest
from shin_gateway.caller import ANONYMOUS, Caller
from shin_gateway.errors import Unauthenticated
from shin_gateway.identity.logins import Login, wants_login
from shin_gateway.identity.users import Users

if TYPE_CHECKING:
    from shin_gateway.identity.token_endpoint import TokenEndpoint

_MADE_HERE = b'"iss":"shin-gateway"'
"""In the claims of tokens that we give (`own_tokens.ISSUER`)."""
LONGEST = 16_384
"""Characters of a key or token; nothing longer is looked at."""

MethodName = Literal["virtual_keys", "users", "tokens", "introspection"]
METHODS: frozenset[MethodName] = frozenset({"virtual_keys", "users", "tokens", "introspection"})


class Method(Protocol):
    """One way to know a caller."""

    async def caller_of(self, secret: str) -> Caller | None:
        """None: it is none of ours. Raises Unauthenticated for one of ours that is wrong, expired or disabled, and
        StoreError where that cannot be looked up."""


class Ring(Protocol):
    """What is used of `keys.KeyRing` beside that."""

    async def caller_by_id(self, key_id: str) -> Caller: ...


class Identity:
    """`tokens` are all that have three parts with dots between them; `introspection` is asked about the rest."""

    def __init__(
        self,
        users: Users,
        methods: Mapping[MethodName, Method] | None = None,
        ring: Ring | None = None,
        token_endpoint: TokenEndpoint | None = None,
    ) -> None:
        """`token_endpoint` answers `POST /oauth/token`."""
        self.users = users
        self.token_endpoint = token_endpoint
        self._ring = ring
        self._methods: dict[MethodName, Method] = {**(methods or {}), "users": users}

    async def of_login(self, login: Login, methods: frozenset[MethodName] = METHODS) -> Caller:
        """Who logs in with the proxy. A virtual key or a token is the password, under any name. Raises
        Unauthenticated (407), StoreError."""
        caller = self.users.of_login(login) if "users" in methods else None
        if caller is None:
            try:
                caller = await self.of_secret(login.secret, methods - {"users"}) if login.secret else None
            except Unauthenticated as refusal:
                raise wants_login(refusal.message) from None
        if caller is None:
            raise wants_login("The proxy's user name or password is wrong.")
        return caller

    async def of_secret(self, secret: str, methods: frozenset[MethodName] = METHODS) -> Caller | None:
        """Whose credential it is; None: it is none of ours. Raises Unauthenticated for one of ours that is wrong,
        expired, disabled or not among `methods`, StoreError where that cannot be looked up."""
        if "users" in methods and (caller := self.users.of_secret(secret)) is not None:
            return caller
        if self.owns(secret):
            return await self._of_key(secret, methods)
        if len(secret) > LONGEST:
            return None
        name: MethodName = "tokens" if secret.count(".") == 2 else "introspection"
        method = self._methods.get(name) if name in methods else None
        return None if method is None else await method.caller_of(secret)

    async def _of_key(self, secret: str, methods: frozenset[MethodName]) -> Caller:
        keys = self._methods.get("virtual_keys") if "virtual_keys" in methods else None
        if keys is None:
            raise Unauthenticated("Virtual keys are not taken here.")
        caller = await keys.caller_of(secret) if len(secret) <= LONGEST else None
        if caller is None:
            raise Unauthenticated("The key is wrong.")
        return caller

    async def renewed(self, caller: Caller) -> Caller:
        """The same caller as he is now, where he came with a virtual key. Raises as `of_secret`."""
        if caller.kind != "virtual_key" or self._ring is None:
            return caller
        return await self._ring.caller_by_id(caller.key)

    @staticmethod
    def owns(secret: str) -> bool:
        """Whether it is of our making by its look, whether it works or not."""
        return secret.startswith(OURS)

    def is_ours(self, secret: str) -> bool:
        """Whether no provider may see it: a virtual key or token of our making, or the secret of a user. Tokens of
        identity providers are not told from those that a provider's client brings."""
        return self.owns(secret) or _is_own_token(secret) or self.users.of_secret(secret) is not None

    # Where no policy asks: who is believed

    def believed(self, login: Login) -> Caller:
        """Without users, a name in the proxy's URL is taken at its word: loopback only."""
        return Caller(login.user, "user", user=login.user) if login.user else ANONYMOUS

    def holder(self, call: Call) -> Caller:
        """From the key that came with the call: a user's own, or any, by its hash. Raises Unauthenticated."""
        secret = credential(call.headers, call.path)
        if not self.users:
            return of_key(secret) if secret else ANONYMOUS
        caller = self.users.of_secret(secret)
        if caller is None:
            raise Unauthenticated("The key is missing or wrong.")
        return caller


def _is_own_token(secret: str) -> bool:
    """By its look: whether it is good is no matter."""
    if secret.count(".") != 2 or len(secret) > LONGEST:
        return False
    claims = secret.split(".")[1]
    try:
        return _MADE_HERE in base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
    except ValueError:
        return False


@lru_cache(maxsize=1024)
def of_key(secret: str) -> Caller:
    """Whoever holds a provider's key."""
    known = digest(secret)
    return Caller(f"key-{known[:12]}", "key", key=known)
