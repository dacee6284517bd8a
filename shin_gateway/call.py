"""A call: what is asked, by whom, under which policy."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
from multidict import CIMultiDict

from shin_gateway import encodings
from shin_gateway.caller import ANONYMOUS, Caller
from shin_gateway.dialects import multipart
from shin_gateway.dialects.base import Peek
from shin_gateway.dialects.multipart import Patch
from shin_gateway.outcome import Outcome

if TYPE_CHECKING:
    from shin_gateway.admission import Claim
    from shin_gateway.arrivals import Arrival
    from shin_gateway.errors import Refusal
    from shin_gateway.identity.logins import Login
    from shin_gateway.policy.resolve import Policy
    from shin_gateway.reply import Reply
    from shin_gateway.targets import Target
    from shin_gateway.texts import Rewriter

OnEnd = Callable[["Call", Outcome], Awaitable[None] | None]
"""Called at a call's end. What it returns to be awaited is done before the callbacks further out are called."""

Detour = Callable[["Call"], Awaitable["Reply | None"]]
"""Asks a call's target another way than over HTTPS; None where it cannot."""

MayUse = Callable[[str, str], bool]
"""Whether the caller may use a model, by the name that it is asked for and by `provider/model`."""

PATIENCE = 10.0
"""Seconds that one such awaitable may take; then the end goes on without it."""

_ending: set[asyncio.Task[None]] = set()


NO_PEEK = Peek()
WITHOUT_TEXTS = ("models", "other")
"""Kinds of calls whose bodies, if they have any, are not understood."""
_WITHOUT_HEAD = (*WITHOUT_TEXTS, "stored")
"""Kinds of calls that name no model in their bodies."""
_DIGESTS = ("content-encoding", "content-digest", "repr-digest", "digest", "content-md5")


def _anything(model: str, target: str) -> bool:
    return True


def make_id() -> str:
    """A call's id: 12 hexadecimal digits of milliseconds, so that ids sort by time, and 16 of chance. No secret."""
    return f"{time.time_ns() // 1_000_000:012x}{random.getrandbits(64):016x}"


class Call:
    """One call on its way through the chain.

    `raw_body` is what came over the wire; `body` the same without its content-encoding. Setting
    `body` drops the encoding; leaving it alone sends the very bytes that came.
    """

    __slots__ = (
        "_body", "_ended", "_on_end", "_peek", "arrival", "arrived", "asked_model", "body_limit", "caller", "claims",
        "detour", "dialect", "facts", "headers", "host", "id", "ip", "kind", "login", "may_use", "method", "outcome",
        "own_key", "patch", "path", "policy", "raw_body", "refusal", "target",
    )  # fmt: skip

    def __init__(
        self,
        *,
        method: str,
        headers: CIMultiDict[str],
        arrival: Arrival,
        host: str,
        policy: Policy,
        raw_body: bytes = b"",
        caller: Caller = ANONYMOUS,
    ) -> None:
        self.id = make_id()
        self.method = method
        self.path = arrival.path
        """As the client wrote it, query included."""
        self.headers = headers
        self.raw_body = raw_body
        self.patch: Patch | None = None
        """A change of `raw_body` that is made as it is sent, so that a large upload is not copied for a name in it."""
        self.arrival = arrival
        self.dialect = arrival.dialect
        self.kind = arrival.kind
        self.host = host
        self.policy = policy
        self.body_limit = policy.limits.body
        self.caller = caller
        self.ip = ""
        """The address that the client's connection comes from."""
        self.login: Login | None = None
        """What the proxy was told on this connection."""
        self.own_key = arrival.origin is not None
        """Whether the client's own credential goes to the provider, untouched; else it gets the target's."""
        self.claims: list[Claim] = []
        """What is asked for on its behalf behind the stage admit, in one step."""
        self.target: Target | None = None
        """Whom to ask; None until the route stage or the gateway has chosen."""
        self.asked_model = ""
        """What the client called the model, where its target knows it by another name."""
        self.detour: Detour | None = None
        """Where the call came over a WebSocket: asks its target over one too."""
        self.may_use: MayUse = _anything
        """Set by an addon that knows what the caller may; lists of models show nothing else."""
        self.refusal: Refusal | None = None
        """What was found wrong before the chain, raised once the observers have seen the call."""
        self.outcome = Outcome()
        self.facts: dict[str, str] = {}
        self.arrived = time.time()
        self._body: bytes | None = None
        self._peek: Peek | None = None
        self._on_end: list[OnEnd] = []
        self._ended = False

    @property
    def body(self) -> bytes:
        """The body without its content-encoding. Raises Invalid or TooLarge."""
        if self._body is None:
            encoding = self.headers.get("content-encoding", "")
            self._body = encodings.decode(self.raw_body, encoding, self.body_limit) if encoding else self.raw_body
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        if body is self._body:
            return
        for name in _DIGESTS:
            self.headers.popall(name, None)
        self.raw_body = self._body = body
        self.patch = self._peek = None

    @property
    def peek(self) -> Peek:
        """Model, stream and the like, read in one pass. Raises Invalid that names the field."""
        if self._peek is None:
            self._peek = NO_PEEK if self.kind in _WITHOUT_HEAD else self._read_head()
        return self._peek

    def _read_head(self) -> Peek:
        mark = self._mark
        if mark is None:
            return self.dialect.peek(self.body, self.path)
        return self.dialect.peek_form(self.body, mark, self.path)

    @property
    def _mark(self) -> bytes | None:
        """What divides the parts of a form; None for any other body. Raises Invalid."""
        content_type = self.headers.get("content-type", "")
        return multipart.boundary(content_type) if content_type[:10].lower() == "multipart/" else None

    @property
    def model(self) -> str:
        """As the client named it, "" where it named none. Raises Invalid."""
        return self.peek.model or self.arrival.model or ""

    @property
    def stream(self) -> bool:
        """Whether the client asked for a stream. Raises Invalid."""
        return self.arrival.stream or self.peek.stream

    def rename_model(self, model: str) -> None:
        """Change the model's name and no other byte."""
        patch = self.dialect.patch_model(self.body, self._mark, model)
        if patch is None:
            self.body, self.path = self.dialect.with_model(self.body, self.path, model)
            self._peek = None
        elif self.body is not self.raw_body:  # it came compressed
            self.body = b"".join(multipart.pieces(self.body, patch))
        else:
            peek = msgspec.structs.replace(self.peek, model=model)
            for name in _DIGESTS:
                self.headers.popall(name, None)
            self.patch, self._peek = patch, peek

    @property
    def size(self) -> int:
        """Bytes of the body that goes out."""
        return len(self.raw_body) if self.patch is None else self.patch.size(self.raw_body)

    def rewrite(self, rewriter: Rewriter) -> None:
        """Apply `rewriter` to every text of the call, leaving all other bytes as they came. Raises Invalid."""
        if self.kind in WITHOUT_TEXTS or (self.kind == "stored" and not self.body):
            return
        self.body = self.dialect.rewrite_call(self.body, rewriter)

    def shadow(self) -> Call:
        """A copy for an addon in shadow mode: it may change it, and nothing comes of that but its facts."""
        copy = object.__new__(Call)
        for name in self.__slots__:
            setattr(copy, name, getattr(self, name))
        copy.headers = self.headers.copy()
        copy.claims = []
        return copy

    def note(self, **facts: object) -> None:
        """Leave facts for the log: `call.note(cache="hit")`."""
        self.facts.update((name, str(value)) for name, value in facts.items())

    def on_end(self, callback: OnEnd) -> None:
        """Have `callback` called once, however the call ends. Inner addons' callbacks come first."""
        self._on_end.append(callback)

    def end(self, on_error: Callable[[BaseException], None]) -> None:
        """Run what waits for the end. Called by the bridge; a second time does nothing."""
        if self._ended:
            return
        self._ended = True
        self.outcome.timings.ended_at = time.perf_counter()
        self._run_callbacks(on_error)

    def _run_callbacks(self, on_error: Callable[[BaseException], None]) -> None:
        while self._on_end:
            callback = self._on_end.pop()
            try:
                work = callback(self, self.outcome)
            except Exception as error:  # one observer's bug must not keep the others from the outcome
                on_error(error)
                continue
            if work is not None:
                task = asyncio.get_running_loop().create_task(self._run_rest(work, on_error))
                _ending.add(task)
                task.add_done_callback(_ending.discard)
                return

    async def _run_rest(self, work: Awaitable[None], on_error: Callable[[BaseException], None]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await work
        except Exception as error:
            on_error(error)
        finally:  # also when the loop is shutting down
            self._run_callbacks(on_error)
