"""All ways to know a caller, put together from shin.yaml: the same for a worker and for the admin process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from shin_gateway.caller import Caller
from shin_gateway.fetching.servers import ServerClient
from shin_gateway.identity import Identity, Method, MethodName
from shin_gateway.identity.introspection import Introspection
from shin_gateway.identity.issuers import Issuers
from shin_gateway.identity.token_endpoint import TokenEndpoint
from shin_gateway.identity.users import Users
from shin_gateway.keys import KeyRing
from shin_gateway.sealing import master_key
from shin_gateway.stores.state import StateStore
from shin_gateway.upstream.options import UpstreamOptions

if TYPE_CHECKING:
    from shin_gateway.config import Config


class _Tokens:
    """Our own first, which cost no question."""

    def __init__(self, *methods: Method) -> None:
        self._methods = methods

    async def caller_of(self, secret: str) -> Caller | None:
        for method in self._methods:
            if (caller := await method.caller_of(secret)) is not None:
                return caller
        return None


@asynccontextmanager
async def open_identity(
    config: Config, state: StateStore, options: UpstreamOptions, home: Path | None
) -> AsyncIterator[Identity]:
    """Open until the block ends. Raises SecretMissing where there is no usable master key."""
    master = await asyncio.to_thread(master_key, home)
    ring, client = KeyRing(state), ServerClient(options)
    ring.start()
    await client.start()
    issuers = Issuers(config.auth.issuers, client)
    endpoint = TokenEndpoint(config.auth.tokens, master, ring, state)
    methods: dict[MethodName, Method] = {"virtual_keys": ring, "tokens": _Tokens(endpoint.tokens, issuers)}
    introspection = Introspection(config.auth.introspection, client) if config.auth.introspection else None
    if introspection is not None:
        methods["introspection"] = introspection
    try:
        yield Identity(Users(config.users), methods, ring, endpoint)
    finally:
        if introspection is not None:
            await introspection.close()
        await issuers.close()
        await client.close()
        await ring.close()
