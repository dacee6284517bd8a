"""Ask a model in the dialect that it speaks, and answer in the client's.

Innermost of all but the meter, which reads the provider's own usage. A call whose target speaks the
client's dialect passes untouched.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shin_gateway.addon import Addon, Forward, Mode, Services, Settings, Stage
from shin_gateway.call import Call
from shin_gateway.crossing import chat, counts, embeddings, forms
from shin_gateway.fetching import FetchLimits
from shin_gateway.reply import Reply
from shin_gateway.targets import Target
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits
from shin_gateway.units import Duration, Size


class FetchSettings(Settings):
    """How images, documents and sound are fetched that a call names by URL, for a model that takes no URLs."""

    enabled: bool = True
    """Off: such a call is refused."""
    limit: Size = 20_000_000
    """The largest file."""
    timeout: Duration = 15.0
    """The longest that one may take."""
    most: Annotated[int, Field(ge=1, le=100)] = 20
    """Files in one call."""
    allow: tuple[str, ...] = ()
    """Hosts that may be asked although their addresses are private: [files.corp.example]."""


class TranslateSettings(Settings):
    unsupported: Literal["drop", "refuse"] = "drop"
    """What the model's API cannot express is left out and named (x-shin-dropped), or the call is refused with 400."""
    fetch: FetchSettings = FetchSettings()
    """Files that calls name by URL."""


class Translate(Addon[TranslateSettings]):
    stage = Stage.WIRE
    order = -10

    def __init__(self, settings: TranslateSettings, services: Services, mode: Mode = "enforce") -> None:
        super().__init__(settings, services, mode)
        fetch = settings.fetch
        limits = FetchLimits(max_bytes=fetch.limit, timeout=fetch.timeout, allow=fetch.allow, of_one_call=fetch.most)
        self._fetcher = services.fetcher(limits) if fetch.enabled else None

    async def start(self) -> None:
        if self._fetcher is not None:
            await self._fetcher.start()

    async def stop(self) -> None:
        if self._fetcher is not None:
            await self._fetcher.close()

    async def handle(self, call: Call, forward: Forward) -> Reply:
        target = call.target
        if target is None or target.dialect == "":
            return await forward(call)
        if target.dialect != call.dialect.name or forms.is_foreign(call):
            return await self._translated(call, forward)
        if call.kind == "count":
            return await counts.native(call, _traits(target), forward)
        return await forward(call)

    async def _translated(self, call: Call, forward: Forward) -> Reply:
        assert call.target is not None
        losses = Losses(refuse=self.settings.unsupported == "refuse")
        traits = _traits(call.target)
        reply = await self._take(call, traits, losses, forward)
        if losses.dropped:
            dropped = ", ".join(losses.dropped)
            reply.headers["x-shin-dropped"] = dropped
            call.note(dropped=dropped)
        return reply

    async def _take(self, call: Call, traits: Traits, losses: Losses, forward: Forward) -> Reply:
        if call.kind == "embed":
            return await embeddings.take(call, traits, losses, forward)
        if call.kind == "count":
            return await counts.take(call, traits, losses, forward)
        return await chat.crossing(call, traits, losses, self._fetcher).take(forward)


def _traits(target: Target) -> Traits:
    quirks = target.quirks
    return Traits(
        provider=target.provider, model=target.model, drop=quirks.drop, rename=quirks.rename, words=quirks.words
    )
