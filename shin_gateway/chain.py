"""The chain: one onion of addons around the upstream, built once when a policy loads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from shin_gateway.addon import Addon, Forward
from shin_gateway.errors import Refusal

if TYPE_CHECKING:
    from shin_gateway.call import Call
    from shin_gateway.reply import Reply

log = logging.getLogger(__name__)


def build(addons: Iterable[Addon[Any]], innermost: Forward) -> Forward:
    """One coroutine function that takes a call through `addons`, given outermost first, to `innermost`."""
    forward = innermost
    for addon in reversed(list(addons)):
        forward = _layer(addon, forward)
    return forward


def _layer(addon: Addon[Any], forward: Forward) -> Forward:
    if addon.mode == "shadow" and not addon.claims:
        return _shadow_layer(addon, forward)
    if addon.observer:
        return _observer_layer(addon, forward)
    return _enforcing_layer(addon, forward)


def _enforcing_layer(addon: Addon[Any], forward: Forward) -> Forward:
    handle, name = addon.handle, addon.name

    async def layer(call: Call) -> Reply:
        try:
            return await handle(call, forward)
        except Refusal as refusal:
            if refusal.addon is None:
                refusal.addon = name
            raise
        except Exception as error:
            raise failed_closed(name, call, error) from error

    return layer


def bare(forward: Forward) -> Forward:
    """`forward` as no addon's layer: what it refuses, no addon has refused."""

    async def layer(call: Call) -> Reply:
        try:
            return await forward(call)
        except Refusal as refusal:
            if refusal.addon is None:
                refusal.addon = ""
            raise

    return layer


def failed_closed(name: str, call: Call, error: Exception) -> Refusal:
    """An addon's bug ends the call: nothing may slip past a guard because the guard fell over."""
    log.error("addon %s failed on call %s", name, call.id, exc_info=error)
    refusal = Refusal("The gateway failed to handle this call.", code="addon_failed")
    refusal.addon = name
    return refusal


def _observer_layer(addon: Addon[Any], forward: Forward) -> Forward:
    async def layer(call: Call) -> Reply:
        inner = _Once(forward)
        try:
            return await addon.handle(call, inner)
        except Exception as error:
            if error is inner.error:
                raise
            log.error("addon %s failed on call %s, which goes on without it", addon.name, call.id, exc_info=error)
            return await inner(call)

    return layer


def _shadow_layer(addon: Addon[Any], forward: Forward) -> Forward:
    """The addon decides on a copy, beside the call, which waits for nothing that it does."""

    async def layer(call: Call) -> Reply:
        real: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        deciding = asyncio.create_task(_decide(addon, call, call.shadow(), real))
        call.on_end(lambda _, __: _discard(deciding))
        try:
            reply = await forward(call)
        except Exception as error:
            real.set_exception(error)
            real.exception()  # whether the addon asks for it or not
            raise
        real.set_result(reply)
        await asyncio.sleep(0)  # so that its filters are there before the first part
        return reply

    return layer


def _discard(task: asyncio.Task[None]) -> None:
    task.cancel()


async def _decide(addon: Addon[Any], call: Call, copy: Call, real: asyncio.Future[Reply]) -> None:
    """Note what the addon would have done instead of what was done."""
    asked = False

    async def observed(_: Call) -> Reply:
        nonlocal asked
        if asked:
            raise _Enough
        asked = True
        return (await asyncio.shield(real)).shadow()

    verdict = ""
    try:
        await addon.handle(copy, observed)
        verdict = "" if asked else "answered"
    except _Enough:
        verdict = "again"
    except Refusal as refusal:
        verdict = "" if real.done() and refusal is real.exception() else refusal.code
    except Exception as error:
        if not (real.done() and error is real.exception()):
            log.error("addon %s failed in shadow on call %s", addon.name, call.id, exc_info=error)
    if verdict:
        call.note(**{f"shadow.{addon.name}": verdict})


class _Enough(Exception):
    """An addon in shadow wants to go upstream once more, which would not be nothing."""


class _Once:
    """Goes down the chain the first time; repeats the same reply or error after that."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self.reply: Reply | None = None
        self.error: Exception | None = None

    async def __call__(self, call: Call) -> Reply:
        if self.error is not None:
            raise self.error
        if self.reply is None:
            try:
                self.reply = await self._forward(call)
            except Exception as error:
                self.error = error
                raise
        return self.reply
