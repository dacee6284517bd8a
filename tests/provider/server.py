"""The fake provider itself: listens, hands out answers, remembers what it received."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Literal, Self

from tests.provider.answer import Answer
from tests.provider.certs import Authority
from tests.provider.connection import Connection
from tests.provider.peer import Peer
from tests.provider.seen import Seen

Accepting = Literal["serve", "hang", "fin", "rst"]


class FakeProvider:
    """`default` answers whatever no script answers; `rule`, if set, is asked first and may give None.

    With `mutual` a client needs a certificate (`client_file`).
    """

    def __init__(
        self,
        *,
        tls: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        default: Answer | None = None,
        folder: Path | None = None,
        send_buffer: int = 0,
        keep_seen: bool = True,
        mutual: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self.default = default or Answer()
        self.rule: Callable[[Seen], Answer | None] | None = None
        self.accepting: Accepting = "serve"
        """What happens to new connections, before TLS and before any call is read."""
        self.seen: list[Seen] = []
        self.connections = 0
        self._send_buffer = send_buffer
        self._keep_seen = keep_seen
        self._script: deque[Answer] = deque()
        self._arrived = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._peers: set[Peer] = set()
        self._listener: socket.socket | None = None
        self._temporary = tempfile.TemporaryDirectory() if tls and folder is None else None
        where = folder or Path(self._temporary.name if self._temporary else ".")
        self._authority = Authority(where, mutual=mutual) if tls else None
        self._context = self._authority.server_context() if self._authority else None

    @property
    def url(self) -> str:
        """The origin, without a path."""
        return f"{'https' if self._context else 'http'}://{self.host}:{self.port}"

    @property
    def ca_file(self) -> Path:
        """What a client must trust. Raises ValueError on a provider without TLS."""
        if self._authority is None:
            raise ValueError("a provider without TLS has no CA")
        return self._authority.ca_file

    def client_file(self, name: str = "client") -> Path:
        """A certificate and its key for a client, which `mutual` asks for. Raises ValueError without TLS."""
        if self._authority is None:
            raise ValueError("a provider without TLS has no CA")
        return self._authority.client_file(name)

    def script(self, *answers: Answer) -> None:
        """The next calls get these answers, in order; then `default` again."""
        self._script.extend(answers)

    def unscript(self) -> None:
        """Forget the answers that were not asked for."""
        self._script.clear()

    async def wait_seen(self, count: int = 1, timeout: float = 30) -> list[Seen]:
        """The calls, as soon as there are `count` of them. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(lambda: len(self.seen) >= count)
        return self.seen

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """New connections are refused inside this block; open ones are dropped."""
        self._stop_listening()
        self.drop_all()
        try:
            yield
        finally:
            self._listen()

    def drop_all(self) -> None:
        """Reset every open connection."""
        for peer in list(self._peers):
            peer.reset()

    async def __aenter__(self) -> Self:
        self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_listening()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.drop_all()
        if self._temporary:
            self._temporary.cleanup()

    def _listen(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.listen(1024)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._start(self._accept(listener))

    def _stop_listening(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while True:
                connection, _ = await loop.sock_accept(listener)
                self._start(self._serve(connection, self.connections))
                self.connections += 1

    async def _serve(self, connection: socket.socket, number: int) -> None:
        if self.accepting != "serve":
            await self._turn_away(connection)
            return
        peer = Peer(self._send_buffer)
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: peer, connection, ssl=self._context)
        except OSError:  # the handshake failed: the client does not trust us, or left
            connection.close()
            return
        sni = self._authority.sni(transport.get_extra_info("ssl_object")) if self._authority else ""
        self._peers.add(peer)
        try:
            await Connection(peer, number, sni, self._answer).serve()
        finally:
            self._peers.discard(peer)

    async def _turn_away(self, connection: socket.socket) -> None:
        with connection:
            if self.accepting == "hang":
                await asyncio.get_running_loop().sock_recv(connection, 65536)
                await asyncio.Event().wait()
            if self.accepting == "rst":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _answer(self, seen: Seen) -> Answer:
        if self._keep_seen:
            self.seen.append(seen)
            self._start(self._tell())
        ruled = self.rule(seen) if self.rule else None
        if ruled is not None:
            return ruled
        return self._script.popleft() if self._script else self.default

    async def _tell(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()
