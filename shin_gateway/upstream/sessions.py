"""What every session of ours is: no cookies, nothing from the environment, bytes as they come, no time of its own."""

from __future__ import annotations

from typing import Any

import aiohttp


def open_session(connector: aiohttp.BaseConnector, **more: Any) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        **more,
    )
