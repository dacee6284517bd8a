"""The lists of models that providers have: asked for when a client wants one, all at once, kept for some minutes.

A provider that does not answer is left in peace for a while, and shown as it last was.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from multidict import CIMultiDict

from shin_gateway import dialects
from shin_gateway.addon import Forward
from shin_gateway.arrivals import Arrival
from shin_gateway.call import Call
from shin_gateway.crossing.off_loop import off_loop
from shin_gateway.errors import Refusal, UpstreamFailed
from shin_gateway.outcome import Timings
from shin_gateway.policy.match import GATEWAY
from shin_gateway.policy.resolve import Policy
from shin_gateway.providers import ProviderRow
from shin_gateway.reply import Reply
from shin_gateway.targets import lister
from shin_gateway.translation import bodies, models
from shin_gateway.translation.models import Model, Page

log = logging.getLogger(__name__)

FRESH = 300.0
"""Seconds that a provider's list is kept."""
AGAIN = 30.0
"""Seconds before a provider that gave none is asked again."""
STALE = 86_400.0
"""Seconds that an old list stands in for one that cannot be had."""
PATIENCE = 5.0
"""Seconds that a provider may take for its whole list."""
MOST_PAGES = 20
MOST_MODELS = 5000
"""Of one provider."""
LARGEST = 16_000_000
"""Bytes of one page."""

_BESIDE = {
    "openai.chat": ("/chat/completions", "/models"),
    "openai.completions": ("/completions", "/models"),
    "openai.responses": ("/responses", "/models"),
    "openai.embeddings": ("/embeddings", "/models"),
    "anthropic.messages": ("/messages", "/models"),
    "gemini.generate": ("/{model}", ""),
}
"""How the path of a dialect's calls ends, and what stands there in that of its list."""
_QUERIES = {"anthropic.messages": {"limit": "1000"}, "gemini.generate": {"pageSize": "1000"}}
_HEADERS = {"anthropic.messages": {"anthropic-version": "2023-06-01"}}
_ALWAYS = {"accept": "application/json", "accept-encoding": "gzip", "user-agent": "shin-gateway"}


@dataclass
class _Shelf:
    """What is kept of one provider's list."""

    found: dict[str, Model] = field(default_factory=dict)
    """By the provider's own names."""
    since: float = float("-inf")
    """When it was asked for (monotonic)."""
    again: float = float("-inf")
    """When to ask next."""
    silent: bool = False
    """Whether the last try failed."""
    asking: asyncio.Task[None] | None = None

    def put(self, found: Iterable[Model]) -> None:
        now = time.monotonic()
        self.found = {model.id: model for model in found}
        self.since, self.again, self.silent = now, now + FRESH, False

    def fail(self) -> None:
        now = time.monotonic()
        self.again, self.silent = now + AGAIN, True
        if now - self.since > STALE:
            self.found = {}


class ProviderLists:
    """One for a worker; `close` it."""

    def __init__(self, forward: Forward) -> None:
        """`forward` asks a provider: the innermost layer of the chain."""
        self._forward = forward
        self._shelves: dict[str, _Shelf] = {}

    def of(self, row: ProviderRow) -> Mapping[str, Model]:
        """What is known of a provider's models, by its own names."""
        return self._shelf(row).found

    async def ask_all(self, rows: list[ProviderRow], call: Call) -> list[str]:
        """Have a list of every provider, as far as they answer. Gives the names of those that do not."""
        asked = [(row, found) for row in rows if (found := _place(row)) is not None]
        tasks = [task for row, found in asked if (task := self._task(row, *found, call.policy)) is not None]
        if tasks:
            await _waited(tasks, call.outcome.timings)
        return [row.name for row, _ in asked if self._shelf(row).silent]

    def _task(self, row: ProviderRow, dialect: str, path: str, policy: Policy) -> asyncio.Task[None] | None:
        shelf = self._shelf(row)
        if shelf.asking is None and time.monotonic() >= shelf.again:
            asking = asyncio.create_task(self._fill(shelf, row, dialect, path, policy))
            shelf.asking = None if asking.done() else asking  # tasks are eager: it may have failed already
        return shelf.asking

    async def _fill(self, shelf: _Shelf, row: ProviderRow, dialect: str, path: str, policy: Policy) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                shelf.put(await self._ask(row, dialect, path, policy))
        except (Refusal, TimeoutError) as error:
            why = str(error) or "it took too long"
            log.warning("the provider %s gave no list of models: %s", row.name, why)
            shelf.fail()
        except Exception:
            log.exception("the list of models of the provider %s could not be read", row.name)
            shelf.fail()
        finally:
            shelf.asking = None

    async def _ask(self, row: ProviderRow, dialect: str, path: str, policy: Policy) -> list[Model]:
        found: list[Model] = []
        more: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            query = {**_QUERIES.get(dialect, {}), **more}
            page = await self._page(row, dialect, f"{path}?{urlencode(query)}" if query else path, policy)
            found += page.models
            if not page.next or page.next == more or len(found) >= MOST_MODELS:
                break
            more = page.next
        return found[:MOST_MODELS]

    async def _page(self, row: ProviderRow, dialect: str, path: str, policy: Policy) -> Page:
        body = _whole(await self._get(row, dialect, path, policy))
        return await off_loop(len(body), lambda: models.read_page(dialect, bodies.any_object(body)))

    async def one(self, row: ProviderRow, name: str, policy: Policy) -> Model | None:
        """A model that is in no list, such as one by a shorter name. None: there is none. Raises Refusal."""
        place = _place(row)
        if place is None:
            return None
        dialect, path = place
        async with asyncio.timeout(PATIENCE):
            reply = await self._get(row, dialect, f"{path}/{quote(name, safe='@:')}", policy)
        if reply.status in (400, 404, 405, 501):
            return None
        found = models.read_one(dialect, bodies.any_object(_whole(reply)))
        return found if found is not None and found.id else None

    async def _get(self, row: ProviderRow, dialect: str, path: str, policy: Policy) -> Reply:
        arrival = Arrival("models", dialects.get(dialect), path, row)
        headers = CIMultiDict({**_ALWAYS, **_HEADERS.get(dialect, {})})
        asking = Call(method="GET", headers=headers, arrival=arrival, host=GATEWAY, policy=policy)
        asking.target = lister(row, dialect)
        try:
            return await self._forward(asking)
        finally:
            asking.end(lambda error: None)

    def _shelf(self, row: ProviderRow) -> _Shelf:
        return self._shelves.setdefault(row.name, _Shelf())

    async def close(self) -> None:
        """Stop asking."""
        asking = [shelf.asking for shelf in self._shelves.values() if shelf.asking is not None]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def _waited(tasks: list[asyncio.Task[None]], timings: Timings) -> None:
    """A client that leaves ends no task: others wait for it too."""
    started = time.perf_counter()
    try:
        await asyncio.wait(tasks)
    finally:
        timings.first_part_at = time.perf_counter()
        timings.upstream += timings.first_part_at - started


def _place(row: ProviderRow) -> tuple[str, str] | None:
    """The dialect and the path of a provider's list; None where it has none."""
    for dialect, path in row.dialects.items():
        end, instead = _BESIDE.get(dialect, ("", ""))
        if row.lists is not None:
            return (dialect, row.lists) if row.lists else None
        if end and path.endswith(end):
            return dialect, path.removesuffix(end).replace("{version}", "v1beta") + instead
    return None


def _whole(reply: Reply) -> bytes:
    if reply.streamed:
        reply.close()
        raise UpstreamFailed("it is too long, or a stream")
    if reply.status != 200:
        raise UpstreamFailed(f"status {reply.status}")
    body = reply.body or b""
    if len(body) > LARGEST:
        raise UpstreamFailed("it is too long")
    return body
