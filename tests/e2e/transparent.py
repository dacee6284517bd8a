"""Transparent mode where a redirect can be made: a network and a mount namespace of one's own.

`unshare --net --mount python -m tests.e2e.transparent FOLDER` prints what came of some requests, as JSON. Who marks its
packets is redirected to the proxy; the worker and the provider, in the same process, are not.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import h2.events

from tests.e2e.h2client import H2Client
from tests.e2e.serving import CHAT, MESSAGES, serve, write_config
from tests.ports import free_port
from tests.provider import FakeProvider

MARK = 7
ADDRESS = "127.0.0.2"
NAMES = ("api.openai.com", "api.anthropic.com", "example.com", "models.example.com")


def arrange(folder: Path, port: int) -> None:
    """Loopback up, marked connections to `port`, and the names that we ask for in a hosts file of our own."""
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{ADDRESS} {' '.join(NAMES)}\n")
    redirect = f"iptables -t nat -A OUTPUT -p tcp -m mark --mark {MARK} -j REDIRECT --to-ports {port}"
    for command in ("ip link set lo up", redirect, f"mount --bind {hosts} /etc/hosts"):
        subprocess.run(command.split(), check=True)


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To where the provider is; the redirect makes it the proxy."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
    one.setblocking(False)
    await asyncio.get_running_loop().sock_connect(one, (ADDRESS, port))
    return await asyncio.open_connection(sock=one)


def trusting(ca: Path, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(list(protocols or ["http/1.1"]))
    return context


async def ask(name: str, path: str, body: object, ca: Path | None) -> dict[str, Any]:
    """One request over HTTP/1.1; over TLS where there is a CA to trust."""
    reader, writer = await connect(443 if ca else 80)
    try:
        if ca:
            await writer.start_tls(trusting(ca), server_hostname=name)
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        reply = (await reader.read()).decode()
    except ssl.SSLError as error:
        return {"error": str(error)}
    finally:
        writer.close()
    return {"status": int(reply.split()[1]), "ours": "x-shin-call-id" in reply, "text": reply.partition("\r\n\r\n")[2]}


async def ask_h2(name: str, path: str, body: object, ca: Path) -> dict[str, Any]:
    reader, writer = await connect(443)
    await writer.start_tls(trusting(ca, "h2"), server_hostname=name)
    client = H2Client(reader, writer, name)
    head = await client.event(h2.events.ResponseReceived, client.post(path, body))
    writer.close()
    headers = dict(head.headers)
    return {"status": int(headers[":status"]), "ours": "x-shin-call-id" in headers}


async def main(folder: Path) -> dict[str, Any]:
    port = free_port()
    arrange(folder, port)
    (folder / "policies").mkdir()
    (folder / "policies" / "own.yaml").write_text("hosts: ['models.example.com:80']\nextends: observe\n")
    async with (
        FakeProvider(tls=True, host=ADDRESS, port=443) as provider,
        FakeProvider(host=ADDRESS, port=80),
    ):
        config = write_config(folder, {}, f"upstream: {{ca: {str(provider.ca_file)!r}}}")
        modes = [f"transparent@127.0.0.1:{port}"]
        async with serve(folder / "home", config, folder / "policies", modes=modes) as worker:
            streamed = {**MESSAGES, "stream": True}
            return {
                "call": await ask("api.openai.com", "/v1/chat/completions", CHAT, worker.ca),
                "stream": await ask("api.anthropic.com", "/v1/messages", streamed, worker.ca),
                "h2": await ask_h2("api.openai.com", "/v1/chat/completions", CHAT, worker.ca),
                "telemetry": await ask("api.anthropic.com", "/api/event_logging/v2/batch", {}, worker.ca),
                "plain": await ask("models.example.com", "/v1/chat/completions", CHAT, None),
                "tunnelled": await ask("example.com", "/v1/chat/completions", CHAT, provider.ca_file),
                "tunnelled with our CA": await ask("example.com", "/v1/chat/completions", CHAT, worker.ca),
                "rows": [[row.host, row.provider, row.end] for row in await worker.rows(4)],
            }


if __name__ == "__main__":
    os.environ.setdefault("SHIN_TEST_KEY", "sk-of-the-gateway")
    print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
