from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.e2e.listening.limited import limited, once
from tests.e2e.serving import Serving
from tests.provider import Answer, FakeProvider


@pytest.fixture(autouse=True)
def nothing_fails(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")], caplog.text
    assert "crashed" not in caplog.text


@pytest.fixture(scope="module", autouse=True)
def secrets() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"KEY": "sk-of-the-gateway", "ALICE": "of-alice", "BOB": "of-bob"}.items():
            patch.setenv(f"SHIN_TEST_{name}", value)
        yield


@once()
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as one:
        yield one


@once()
async def secure() -> AsyncIterator[FakeProvider]:
    async with FakeProvider(tls=True) as one:
        yield one


@pytest.fixture(autouse=True)
def forget(provider: FakeProvider, secure: FakeProvider) -> None:
    for one in (provider, secure):
        one.default = Answer()
        one.seen.clear()


@once()
async def worker(
    tmp_path_factory: pytest.TempPathFactory, provider: FakeProvider, secure: FakeProvider
) -> AsyncIterator[Serving]:
    async with limited(tmp_path_factory.mktemp("worker"), provider, secure) as one:
        yield one
