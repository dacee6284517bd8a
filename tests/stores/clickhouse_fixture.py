"""ClickHouse's engine (chDB) behind its HTTP protocol, in a process of its own because of its size.

What clickhouse-connect's real client needs: inserts in Native format with compression, settings,
bound parameters, error codes. Real SQL, real tables, real deduplication; no replication, no users.
`Fake.fail(...)` makes it behave badly.

    python clickhouse_fixture.py FOLDER     prints the port, serves until its stdin ends
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

USER, PASSWORD = "shin", "s3cret/pw"
_TRANSPORT = {
    "database", "query", "query_id", "session_id", "session_timeout", "session_check", "wait_end_of_query",
    "client_protocol_version", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
    "enable_http_compression", "compress", "decompress", "buffer_size", "quota_key", "role", "default_format",
}  # fmt: skip
_AUTHORIZATION = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
_INSERT = re.compile(rb"\s*(insert\s+into\s.*?)\bformat\s+(\w+)[ \t]*\n", re.IGNORECASE | re.DOTALL)
_FORMAT = re.compile(r"\s+format\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)")


class Fake:
    """The test's side: where it is and how it should misbehave."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def url(self, database: str | None = None) -> str:
        password = PASSWORD.replace("/", "%2F")
        return f"clickhouse://{USER}:{password}@127.0.0.1:{self.port}/{database or 'db_' + uuid.uuid4().hex[:8]}"

    def fail(self, how: str, inserts: int = 1) -> None:
        """The next inserts: `before` (500, nothing done), `after` (done, then the connection is cut), `hang`."""
        body = json.dumps({"how": how, "inserts": inserts}).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/fail", data=body, timeout=10).close()


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[Fake]:
    """A running engine; every test takes a database of its own by `url()`."""
    for package in ("chdb", "clickhouse_connect"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (test group of pyproject.toml)")
    with tempfile.TemporaryDirectory(prefix="shin-chdb-") as folder:
        command = [sys.executable, __file__, folder]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout and process.stdin
        line = process.stdout.readline()
        assert line, "the engine did not start"
        yield Fake(process, int(line))
        process.stdin.close()
        process.wait(20)


class Server:
    def __init__(self, folder: str) -> None:
        from chdb import session

        self.session = session.Session(folder)
        self.how, self.inserts = "", 0
        self.lock = asyncio.Lock()

    async def fail(self, request: Any) -> Any:
        from aiohttp import web

        wanted = await request.json()
        self.how, self.inserts = wanted["how"], wanted["inserts"]
        return web.Response()

    async def ping(self, request: Any) -> Any:
        from aiohttp import web

        return web.Response(text="Ok.\n")

    async def handle(self, request: Any) -> Any:
        if request.headers.get("Authorization") != _AUTHORIZATION:
            return _answer(b"Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)", 403, "516")
        body = _inflated(await request.read(), request.headers.get("Content-Encoding", ""))
        insert = _INSERT.match(body)
        how = self._misbehave() if insert and b"schema_version" not in body else ""
        if how == "before":
            return _answer(b"Code: 999. DB::Exception: told to fail. (KEEPER_EXCEPTION)", 500, "999")
        if how == "hang":
            await asyncio.sleep(3600)
        async with self.lock:
            try:
                data = await asyncio.to_thread(self._run, dict(request.query), body, insert)
            except Exception as error:
                code = _CODE.search(str(error))
                return _answer(str(error).encode(), 500, code[1] if code else "1")
        if how == "after":
            from aiohttp import web

            request.transport.abort()
            return web.Response()
        return _answer(data, 200, "")

    def _misbehave(self) -> str:
        if self.inserts <= 0:
            return ""
        self.inserts -= 1
        return self.how

    def _run(self, query: dict[str, str], body: bytes, insert: re.Match[bytes] | None) -> bytes:
        self.session.query(f"USE `{query.get('database', 'default')}`")
        settings = {name: value for name, value in query.items() if name not in _TRANSPORT and name[:6] != "param_"}
        for name, value in settings.items():
            self.session.query(f"SET {name} = '{value}'")
        try:
            if insert:
                return self._insert(insert, body)
            sql = query.get("query", "") + body.decode()
            wanted = _FORMAT.search(sql)
            bound = {name[6:]: value for name, value in query.items() if name.startswith("param_")}
            sql, shape = (sql[: wanted.start()], wanted[1]) if wanted else (sql, "TabSeparated")
            return bytes(self.session.query(sql, shape, params=bound or None).bytes())
        finally:
            for name in settings:
                self.session.query(f"SET {name} = DEFAULT")

    def _insert(self, insert: re.Match[bytes], body: bytes) -> bytes:
        head, shape = insert[1].decode(), insert[2].decode()
        with tempfile.NamedTemporaryFile(suffix=".native") as file:
            file.write(body[insert.end() :])
            file.flush()
            self.session.query(f"{head} FROM INFILE '{file.name}' FORMAT {shape}")
        return b""


def _inflated(body: bytes, encoding: str) -> bytes:
    if encoding == "lz4":
        import lz4.frame

        return bytes(lz4.frame.decompress(body))
    if encoding == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return body


def _answer(body: bytes, status: int, code: str) -> Any:
    from aiohttp import web

    headers = {"X-ClickHouse-Timezone": "UTC", "X-ClickHouse-Summary": "{}", "X-ClickHouse-Query-Id": uuid.uuid4().hex}
    if code:
        headers["X-ClickHouse-Exception-Code"] = code
    return web.Response(body=body, status=status, headers=headers)


async def serve(folder: str) -> None:
    from aiohttp import web

    server = Server(folder)
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/fail", server.fail)
    app.router.add_get("/ping", server.ping)
    app.router.add_route("*", "/", server.handle)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(runner.cleanup(), 2)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
