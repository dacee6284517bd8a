"""Defaults for parameters that a call leaves out, and caps for those that ask for too much.

What the client says wins over a default, and no cap gives way to anybody. Both are written in the client's own API,
where it has such a thing; nothing else of the call changes.
"""

from __future__ import annotations

from typing import Literal

from shin_gateway.addon import Addon, Forward, Settings, Stage
from shin_gateway.call import Call
from shin_gateway.errors import Invalid
from shin_gateway.parameters import applies, capped, exceeded, filled
from shin_gateway.parameters.settings import Caps, Parameters
from shin_gateway.reply import Reply


class ParametersSettings(Settings):
    defaults: Parameters = Parameters()
    """Parameters for calls that say nothing of them: `{temperature: 0.2}`."""
    caps: Caps = Caps()
    """The most that a call may ask for: `{max_tokens: 4096, n: 1}`."""
    over_cap: Literal["lower", "refuse"] = "lower"
    """A call that asks for more is changed, or refused with 400."""


class ParametersAddon(Addon[ParametersSettings]):
    stage = Stage.SHAPE
    order = 10  # among the last of its stage: what others made of the call is held to the caps too
    changes_calls = True

    async def handle(self, call: Call, forward: Forward) -> Reply:
        if applies(call.kind, call.path):
            self._fill(call)
            self._hold(call)
        return await forward(call)

    def _fill(self, call: Call) -> None:
        if defaults := self.settings.defaults.values:
            version = call.headers.get("anthropic-version", "")
            call.body, names = filled(call.dialect.name, call.kind, call.body, defaults, call.model, version)
            if names:
                call.note(defaults=", ".join(names))

    def _hold(self, call: Call) -> None:
        caps = self.settings.caps.values
        if not caps:
            return
        if self.settings.over_cap == "refuse":
            _refuse(exceeded(call.dialect.name, call.body, caps, call.model))
        call.body, names = capped(call.dialect.name, call.body, caps, call.model)
        if names:
            call.note(capped=", ".join(names))


def _refuse(over: list[tuple[str, object]]) -> None:
    if over:
        field, most = over[0]
        raise Invalid(f"{field}: at most {most} is allowed here.", code="over_cap", param=field)
