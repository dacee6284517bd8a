from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.serving import Serving, serve, write_config
from tests.provider import FakeProvider


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIN_TEST_KEY", "sk-of-the-gateway")


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """The provider behind the gateway, plain HTTP."""
    async with FakeProvider() as one:
        yield one


@pytest.fixture
async def secure() -> AsyncIterator[FakeProvider]:
    """The provider behind the proxy, TLS, at https://localhost:PORT."""
    async with FakeProvider(tls=True, host="127.0.0.1") as one:
        yield one


@pytest.fixture
async def serving(tmp_path: Path, provider: FakeProvider, secure: FakeProvider) -> AsyncIterator[Serving]:
    """A worker whose gateway knows `provider` as openai, anthropic and gemini, and whose proxy intercepts `secure`."""
    urls = {"openai": f"{provider.url}/v1", "anthropic": provider.url, "gemini": provider.url}
    config = write_config(tmp_path, urls, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "local.yaml").write_text(f"hosts: ['localhost:{secure.port}']\nextends: observe\n")
    async with serve(tmp_path / "home", config, policies) as one:
        yield one
