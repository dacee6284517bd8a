"""For all tests."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping

from shin_gateway.stores import url

url.TIMEOUT = 2.0  # a store that shares a machine with all the tests is slow for a moment now and then

for _ignored in (signal.SIGINT, signal.SIGHUP):
    # Who is started in the background, or by nohup, ignores these, and so would all that the tests start and signal.
    if signal.getsignal(_ignored) is signal.SIG_IGN:
        signal.signal(_ignored, signal.default_int_handler if _ignored is signal.SIGINT else signal.SIG_DFL)


def pytest_asyncio_loop_factories(
    config: object, item: object
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tasks begin at once, as they do in mitmproxy's loop: one may have ended before `create_task` returns."""
    return {"eager": _eager_loop}


def _eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop
