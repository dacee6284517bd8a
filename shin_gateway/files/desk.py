"""Calls about files and batches at the gateway, each passed to the provider that has what it is about.

Which one, in this order: the path (`/{provider}/…`), the header `x-shin-provider`, the provider of what the call names
(a file, a batch, the file that a batch is made from), the models of the calls in the batch, else the first provider
that speaks the client's API and has a key.
"""

from __future__ import annotations

from shin_gateway.addon import Forward
from shin_gateway.call import Call
from shin_gateway.config import Config
from shin_gateway.errors import Invalid
from shin_gateway.files import ids, models
from shin_gateway.files.aside import aside
from shin_gateway.files.homeward import bring_home
from shin_gateway.files.owners import Owners
from shin_gateway.files.sight import Sight
from shin_gateway.providers import Providers
from shin_gateway.reply import Reply
from shin_gateway.stores.state import StateStore
from shin_gateway.targets import (
    PROVIDER,
    Target,
    aim,
    find_target,
    led_to,
    own_secret,
    target_at,
    target_by_default,
)

KINDS = ("file", "batch")


class Desk:
    """Takes the calls of KINDS that are asked with a key of ours, and all that came to the gateway."""

    def __init__(self, providers: Providers, config: Config, state: StateStore) -> None:
        self._providers = providers
        self._config = config
        self._owners = Owners(state)

    @staticmethod
    def takes(call: Call) -> bool:
        return call.kind in KINDS and (call.arrival.origin is None or not call.own_key)

    async def answer(self, call: Call, forward: Forward) -> Reply:
        """Raises Refusal."""
        sight = await Sight.of(call, self._owners, await _asked(call))
        if call.target is None:
            call.target = await self._target(call, sight)
        if not call.own_key:  # else it is an account of the client's
            sight.check(call.target.provider)
        reply = await forward(call)
        if reply.status >= 300:
            return reply
        bring_home(call, call.target, reply)
        if call.method == "GET" and not ids.in_path(call.path) and not call.own_key:
            return await sight.listed(reply, forward)
        await sight.note(reply)
        return reply

    async def _target(self, call: Call, sight: Sight) -> Target:
        if call.arrival.row is not None:
            aim(call, self._providers, self._config)
            assert call.target is not None
            return call.target
        if call.headers.get(PROVIDER):
            return target_by_default(call, self._providers, self._config)
        row = next((row for name in sight.providers if (row := self._providers.get(name)) is not None), None)
        if row is not None:
            return target_at(row, call.dialect.name, own_secret(call))
        return await self._by_model(call) or target_by_default(call, self._providers, self._config)

    async def _by_model(self, call: Call) -> Target | None:
        """The provider of the models that a batch is for, which get the names that it knows. None: it names none."""
        if call.kind != "batch" or call.method != "POST":
            return None
        if call.model:  # in the path, as Gemini has it
            return self._of_one_model(call, call.model)
        named = await aside(call.body, models.named) if call.dialect.name == "anthropic.batches" else []
        return await self._of_models(call, named) if named else None

    def _of_one_model(self, call: Call, model: str) -> Target:
        own = own_secret(call)
        target = find_target(model, call.dialect.name, call.kind, self._providers, self._config, own)
        if target.model != model:
            call.asked_model = call.asked_model or model
            call.rename_model(target.model)
        return target

    async def _of_models(self, call: Call, named: list[str]) -> Target:
        found = {one: led_to(one, self._providers, self._config) for one in named}
        rows = {row for row, _ in found.values()}
        if len(rows) > 1:
            raise Invalid("The models of one batch have to be of one provider.", param="requests.params.model")
        target = target_at(rows.pop(), call.dialect.name, own_secret(call))
        names = {one: name for one, (_, name) in found.items() if name != one}
        if names:
            call.body = await aside(call.body, lambda body: models.renamed(body, names))
        return target


async def _asked(call: Call) -> list[str]:
    """What the call is about, or the files that a batch is to be made from."""
    about = ids.in_path(call.path)
    if about:
        return [about]
    if call.kind != "batch" or call.method != "POST" or call.dialect.name == "anthropic.batches":
        return []
    return await aside(call.body, ids.in_call)
