"""Everything that serves a call once the carrier has been taken off: policies, chains, upstream, stores.

Knows nothing of mitmproxy; `bridge` brings calls in and takes replies out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shin_gateway import chain, naming
from shin_gateway.addon import Addon, Forward, Services, Stage
from shin_gateway.admission import Admission, gate
from shin_gateway.aliases import unfold
from shin_gateway.call import Call
from shin_gateway.config import Config
from shin_gateway.errors import NotFound
from shin_gateway.fetching import Fetcher
from shin_gateway.files.desk import Desk
from shin_gateway.identity import Identity
from shin_gateway.identity.opening import open_identity
from shin_gateway.listening.cors import Rules
from shin_gateway.model_lists import ModelLists
from shin_gateway.outcome import Outcome
from shin_gateway.policy.resolve import Policy, PolicySet, load_policies
from shin_gateway.pricing import Prices
from shin_gateway.provider_keys import ProviderKeys
from shin_gateway.provider_keys.kept import Kept
from shin_gateway.providers import Providers
from shin_gateway.registry import Registry
from shin_gateway.reply import Reply
from shin_gateway.roles import Roles
from shin_gateway.stores.state import StateStore
from shin_gateway.targets import aim, keeper, led_to, target_of
from shin_gateway.upstream import Upstream

log = logging.getLogger(__name__)


Aim = Callable[[Call], None]
"""Gives a call what it lacks: the model behind an alias, the target that its model leads to. Raises Refusal."""


class Waiter(Protocol):
    """Who waits for the answer to a call."""

    call: Call

    def turn_away(self) -> None:
        """Tell that the gateway is shutting down, unless the answer has begun."""


class LivePolicy:
    """A policy with its addons running. A retired one stops them when its last call has ended."""

    def __init__(
        self,
        policy: Policy,
        addons: list[Addon[Any]],
        unfold: Aim,
        find_target: Aim,
        admission: Admission,
        innermost: Forward,
    ) -> None:
        self.policy = policy
        self.cors = Rules(policy.cors) if policy.cors else None
        self._addons = addons
        self._forward = _onion(addons, unfold, find_target, admission, innermost)
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Raises what keeps an addon from starting; the others are stopped again then."""
        for count, addon in enumerate(self._addons):
            try:
                await addon.start()
            except BaseException:
                await _stop(self._addons[:count])
                raise

    def take(self, call: Call) -> Forward:
        """What will answer a call that has begun to come in. The addons are kept until it has ended."""
        self._in_flight += 1
        self._idle.clear()
        call.on_end(self._ended)  # the first to be registered is the last to be called
        return self._forward

    def _ended(self, _: Call, __: Outcome) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()

    @property
    def busy(self) -> bool:
        return self._in_flight > 0

    async def drain(self) -> None:
        """Until the last call has ended."""
        await self._idle.wait()

    async def retire(self) -> None:
        """Stop the addons when the last call has ended."""
        await self.drain()
        await _stop(self._addons)


async def _stop(addons: list[Addon[Any]]) -> None:
    for addon in addons:
        try:
            await addon.stop()
        except Exception:
            log.exception("addon %s failed to stop", addon.name)


def _onion(
    addons: list[Addon[Any]], unfold: Aim, find_target: Aim, admission: Admission, innermost: Forward
) -> Forward:
    """Observers see every call, also one that was refused on arrival; nothing further in does.

    A call that no addon of the route stage gave a target gets its own before the wire stage, which goes by it.
    """
    observers = [addon for addon in addons if addon.stage is Stage.OBSERVE]
    wire = chain.build([addon for addon in addons if addon.stage is Stage.WIRE], innermost)

    async def aimed(call: Call) -> Reply:
        if call.target is None:
            find_target(call)
        reply = await wire(call)
        if call.asked_model and call.target is not None and call.target.dialect in ("", call.dialect.name):
            naming.set_back(reply, call.asked_model)  # a translated reply has it already
        return reply

    inner = chain.build([addon for addon in addons if Stage.ADMIT < addon.stage < Stage.WIRE], chain.bare(aimed))
    claiming = [addon for addon in addons if Stage.OBSERVE < addon.stage <= Stage.ADMIT]
    inner = chain.build(claiming, gate(admission, inner)) if claiming else inner

    async def admitted(call: Call) -> Reply:
        if call.refusal is not None:
            raise call.refusal
        unfold(call)
        return await inner(call)

    return chain.build(observers, chain.bare(admitted))


@dataclass
class Gateway:
    """One worker's share of the system. `start` it before the first call."""

    config: Config
    registry: Registry
    policy_dirs: list[Path]
    state: StateStore
    upstream: Upstream
    home: Path | None = None
    providers: Providers = field(init=False)
    identity: Identity = field(init=False)
    policies: PolicySet = field(init=False)
    draining: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._keys = ProviderKeys(self.upstream.post_form, Kept(self.state, self.home))
        self.providers = Providers.load(self.config, self._keys)
        self.roles = Roles.load(self.config)
        self._prices = Prices.of(self.config.prices)
        self._open = AsyncExitStack()
        self._lists = ModelLists(self.providers, self.config, self.upstream.forward)
        self._desk = Desk(self.providers, self.config, self.state)
        self._admission = Admission(self.state)
        self._live: dict[str, LivePolicy] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._waiters: set[Waiter] = set()

    @property
    def gives_tokens(self) -> bool:
        """Whether virtual keys can be exchanged for tokens: somebody has to take them."""
        return any(policy.identifies for policy in self.policies)

    async def start(self) -> None:
        """Raises PolicyErrors, or whatever keeps an addon from starting."""
        await self.upstream.start()
        await self._keys.start()
        self._admission.start()
        opening = open_identity(self.config, self.state, self.upstream.options, self.home)
        self.identity = await self._open.enter_async_context(opening)
        await self.use(load_policies(self.policy_dirs, self.registry))

    async def use(self, policies: PolicySet) -> None:
        """Swap in another set of policies; those that did not change go on as they are.

        Calls under way end on the chain that they began on. Raises what keeps an addon from starting: then nothing
        has changed.
        """
        live = {policy.name: self._kept(policy) or self._make(policy) for policy in policies.policies}
        started: list[LivePolicy] = []
        try:
            for one in live.values():
                if one is not self._live.get(one.policy.name):
                    await one.start()
                    started.append(one)
        except BaseException:
            self._retire(started)
            raise
        before, self._live, self.policies = self._live, live, policies
        self._retire(one for one in before.values() if one is not live.get(one.policy.name))

    def _kept(self, policy: Policy) -> LivePolicy | None:
        live = self._live.get(policy.name)
        return live if live is not None and live.policy.digest == policy.digest else None

    def _retire(self, retired: Iterable[LivePolicy]) -> None:
        for live in retired:
            task = asyncio.create_task(live.retire())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    def _make(self, policy: Policy) -> LivePolicy:
        services = Services(
            state=self.state,
            fetcher=lambda limits: Fetcher(limits, self.upstream.options),
            target_of=lambda call: target_of(call, self.providers, self.config),
            led_to=self._led_to,
            keeper=lambda call, name: keeper(call, name, self.providers),
            identity=self.identity,
            roles=self.roles,
            prices=self._prices,
            home=self.home,
        )
        addons = [line.cls(line.settings, services, line.mode) for line in policy.addons]
        return LivePolicy(policy, addons, self._unfold, self._aim, self._admission, chain.bare(self._answer))

    async def _answer(self, call: Call) -> Reply:
        """The innermost layer: one list for all providers, and everything else from one of them."""
        if self._desk.takes(call):
            return await self._desk.answer(call, self.upstream.forward)
        if self._lists.takes(call):
            return await self._lists.answer(call)
        return await self.upstream.forward(call)

    def _led_to(self, name: str) -> str:
        try:
            row, model = led_to(name, self.providers, self.config)
        except NotFound:
            return ""
        return f"{row.name}/{model}"

    def _unfold(self, call: Call) -> None:
        unfold(call, self.config)

    def _aim(self, call: Call) -> None:
        aim(call, self.providers, self.config)

    def demands_key(self, live: LivePolicy) -> bool:
        """Whether a page can do nothing at our own listener without a secret of ours."""
        return live.policy.demands_key if live.policy.identifies else bool(self.identity.users)

    def find(self, host: str, port: int | None = None) -> LivePolicy | None:
        """The policy for calls to `host`; None when no policy names it."""
        policy = self.policies.find(host, port)
        return None if policy is None else self._live[policy.name]

    def find_gateway(self) -> LivePolicy | None:
        """The policy of our own listener."""
        policy = self.policies.gateway
        return None if policy is None else self._live[policy.name]

    def watch(self, waiter: Waiter) -> None:
        """Have `cut` end it too, for as long as its call lasts."""
        self._waiters.add(waiter)
        waiter.call.on_end(lambda *_: self._waiters.discard(waiter))

    def cut(self) -> None:
        """Break off all calls, and begin nothing: clients are told that the gateway is shutting down."""
        self.upstream.cut()
        for waiter in list(self._waiters):
            waiter.turn_away()

    async def drain(self) -> None:
        """Until no call is in flight. From now on replies ask their clients to close the connection."""
        self.draining = True
        while busy := [live for live in self._live.values() if live.busy]:
            await asyncio.gather(*(live.drain() for live in busy))
        if self._retiring:
            await asyncio.wait(self._retiring)  # they go on where nobody waits any longer

    async def stop(self) -> None:
        """Let go of everything; calls still in flight are cut."""
        await self._lists.close()
        await self._keys.close()
        await self.upstream.close()
        retiring = [*self._retiring, *(asyncio.ensure_future(live.retire()) for live in self._live.values())]
        if retiring:
            await asyncio.wait(retiring, timeout=2)
        await self._admission.close()
        await self._open.aclose()
