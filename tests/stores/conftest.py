"""The fixtures of this folder; what they start is in `servers` and `clickhouse_fixture`."""

from __future__ import annotations

from tests.stores.clickhouse_fixture import clickhouse
from tests.stores.servers import local, server, start, state

__all__ = ["clickhouse", "local", "server", "start", "state"]
