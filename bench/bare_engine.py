"""The engine alone: mitmproxy in reverse mode with only the addons that reverse proxying needs, and no log.

python -O -m bench.bare_engine --port 8001 --upstream http://127.0.0.1:9001
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal

from mitmproxy import master, options
from mitmproxy.addons import core, next_layer, proxyserver, tlsconfig

ADDONS = (core.Core, proxyserver.Proxyserver, next_layer.NextLayer, tlsconfig.TlsConfig)


class StreamEverything:
    """Replies pass part by part; whole ones would otherwise wait for their end."""

    def responseheaders(self, flow: object) -> None:
        flow.response.stream = True  # type: ignore[attr-defined]


async def run(port: int, upstream: str, confdir: str, streamed: bool) -> None:
    settings = options.Options(confdir=confdir)
    engine = master.Master(settings, event_loop=asyncio.get_running_loop())
    engine.addons.add(*(addon() for addon in ADDONS))  # type: ignore[no-untyped-call]
    if streamed:
        engine.addons.add(StreamEverything())  # type: ignore[no-untyped-call]
    listen = {"mode": [f"reverse:{upstream}"], "listen_host": "127.0.0.1", "listen_port": port}
    settings.update(**listen)  # type: ignore[no-untyped-call]
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, engine.shutdown)
    await engine.run()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--confdir", required=True)
    parser.add_argument("--stream", action="store_true", help="pass replies on part by part")
    given = parser.parse_args()
    logging.disable(logging.INFO)
    asyncio.run(run(given.port, given.upstream, given.confdir, given.stream))


if __name__ == "__main__":
    main()
