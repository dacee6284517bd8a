"""Where the keys of one worker's providers come from."""

from __future__ import annotations

from collections.abc import Sequence

from shin_gateway.provider_keys.fetched import Ask, FetchedToken
from shin_gateway.provider_keys.grants import grant_for, secret_of
from shin_gateway.provider_keys.kept import Kept
from shin_gateway.provider_keys.settings import OAuth
from shin_gateway.secret import KeyRef, Secret


class ProviderKeys:
    """Turns what shin.yaml says of a provider's key into what can be read. `start` it, and `close` it."""

    def __init__(self, ask: Ask | None = None, kept: Kept | None = None) -> None:
        """Without `ask` no token can be fetched, and without `kept` nothing that is kept is known: for looking on."""
        self._ask = ask
        self._kept = kept
        self._wanted: set[str] = set()
        self._fetched: list[FetchedToken] = []

    def secrets_of(self, provider: str, api_key: Sequence[KeyRef], oauth: OAuth | None) -> tuple[Secret, ...]:
        """The provider's secrets, the one that is preferred first; none where it wants none."""
        if oauth is None:
            return tuple(map(self._bound, api_key))
        token = FetchedToken(provider, grant_for(oauth, self._bound(secret_of(oauth))), self._ask)
        self._fetched.append(token)
        return (token,)

    def _bound(self, reference: KeyRef) -> KeyRef:
        if not reference.kept or self._kept is None:
            return reference
        self._wanted.add(reference.kept)
        return reference.bound(self._kept)

    async def start(self) -> None:
        """Read what is kept, if any of it is named. Raises Unusable where there is no master key to open it."""
        if self._kept is not None and self._wanted:
            await self._kept.start()

    async def close(self) -> None:
        for token in self._fetched:
            token.close()
        if self._kept is not None:
            await self._kept.close()
