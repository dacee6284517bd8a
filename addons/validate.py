"""Refuse calls that are not what their API takes, and say which field is wrong, before anything is spent on them.

The schemas are made from the official SDKs' own types. A provider may take more than those know, so that by default
only what they do know is checked.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from shin_gateway.addon import Addon, Forward, Settings, Stage
from shin_gateway.call import Call
from shin_gateway.policy.paths import GENERATING
from shin_gateway.reply import Reply
from shin_gateway.validation import schema
from shin_gateway.validation.forms import form_of

CHECKED = GENERATING | {"embed", "count"}
"""Kinds of calls whose bodies are known. Lists of models have none."""

AT_ONCE = 128_000
"""Bytes of a body that are checked on the event loop, in 2 ms; a longer one is checked in a thread."""

Passing = Literal["allow", "refuse"]


class ValidateSettings(Settings):
    unknown: Passing = "allow"
    """Fields that the schema does not know. `refuse` finds slips of the keyboard, and refuses what is newer than the
    schema or another server's own."""
    values: Passing = "allow"
    """Values and types of parts that the schema does not list, where it lists some. Providers add to them. Roles are
    always checked."""


class Validate(Addon[ValidateSettings]):
    stage = Stage.SHAPE
    order = -20  # before anything changes the call: what is refused is what the client wrote

    async def start(self) -> None:
        await asyncio.to_thread(lambda: [self._schema(dialect) for dialect in schema.DIALECTS])

    async def handle(self, call: Call, forward: Forward) -> Reply:
        if call.kind in CHECKED and call.dialect.name in schema.DIALECTS:
            await self._check(call)
        return await forward(call)

    async def _check(self, call: Call) -> None:
        found, form = self._schema(call.dialect.name), form_of(call.dialect.name, call.kind, call.path)
        body = call.body
        if len(body) <= AT_ONCE:
            found.check(body, form)
        else:
            await asyncio.to_thread(found.check, body, form)

    def _schema(self, dialect: str) -> schema.Schema:
        settings = self.settings
        return schema.load(
            dialect, refuse_fields=settings.unknown == "refuse", refuse_values=settings.values == "refuse"
        )
