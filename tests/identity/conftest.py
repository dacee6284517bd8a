"""What tests of tokens stand on: an identity provider on loopback, and clocks that can be set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from shin_gateway.auth_settings import Issuer
from shin_gateway.fetching.servers import ServerClient
from shin_gateway.identity.issuers import Issuers
from shin_gateway.upstream.options import UpstreamOptions
from tests.provider.idp import Idp

MakeIssuers = Callable[..., Issuers]


class Clock:
    """Goes only when it is told to."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def idp() -> AsyncIterator[Idp]:
    async with Idp() as one:
        yield one


@pytest.fixture
async def client() -> AsyncIterator[ServerClient]:
    one = ServerClient(UpstreamOptions(), timeout=1.0)
    await one.start()
    yield one
    await one.close()


@pytest.fixture
async def make(client: ServerClient, idp: Idp) -> AsyncIterator[MakeIssuers]:
    """make(clock=…, audience=…, …): issuers that believe `idp`, with settings over plain ones."""
    made: list[Issuers] = []

    def begin(clock: Any = None, **settings: Any) -> Issuers:
        issuer = Issuer.model_validate({"issuer": idp.issuer, "audience": "shin"} | settings)
        made.append(Issuers([issuer], client, **({"clock": clock} if clock else {})))
        return made[-1]

    yield begin
    for one in made:
        await one.close()
