"""Run the fake provider by itself, for development: python -m tests.provider --port 9001 [--tls FOLDER]"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from pathlib import Path

from tests.provider.answer import Answer
from tests.provider.server import FakeProvider


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.provider", description="A fake LLM provider.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--tls", type=Path, metavar="FOLDER", help="speak TLS for any server name; the CA goes here")
    parser.add_argument("--text", default="Hello from the fake provider.")
    parser.add_argument("--echo", action="store_true", help="say the prompt's last text instead")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds between two parts of a stream")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds before each reply")
    parser.add_argument("--quiet", action="store_true", help="do not print a line for each call")
    return parser.parse_args()


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM."""
    answer = Answer(text=options.text, echo=options.echo, pace=options.pace, wait_head=options.wait)
    if options.tls:
        options.tls.mkdir(parents=True, exist_ok=True)
    provider = FakeProvider(
        tls=bool(options.tls), host=options.host, port=options.port, default=answer, folder=options.tls, keep_seen=False
    )
    if not options.quiet:
        provider.rule = lambda seen: print(seen.method, seen.sni or seen.host, seen.path, len(seen.body), flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with provider:
        print(provider.url, f"CA: {provider.ca_file}" if options.tls else "", flush=True)
        await stop.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(parse()))
