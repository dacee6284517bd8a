"""Let callers do what their roles permit: on which hosts, which kinds of calls, which models. A virtual key may permit
less than its owner's roles do, never more.

A call is permitted when one of the roles permits its host, its kind and its model together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from pydantic import Field

from shin_gateway.addon import Addon, Forward, Settings, Stage
from shin_gateway.call import Call
from shin_gateway.errors import NotAllowed, Refusal
from shin_gateway.files import models as batches
from shin_gateway.files.aside import aside
from shin_gateway.reply import Reply
from shin_gateway.roles import Role, fits
from shin_gateway.targets import PROVIDER

_NAMELESS = frozenset({"models", "stored", "file", "other"})
"""Kinds of calls that ask no model, or one that nobody but the provider knows."""
_JSON = (b"{", b" ", b"\t", b"\r", b"\n")
"""What a body in JSON begins with; forms begin otherwise."""
_SHOWN = 100
"""Characters of a name in a refusal."""


class AccessSettings(Settings):
    default_role: Annotated[str, Field(min_length=1, max_length=64)] = "user"
    """The role of whoever has none. Roles that nobody has described permit nothing."""


class Access(Addon[AccessSettings]):
    stage = Stage.IDENTIFY

    async def start(self) -> None:
        if self.settings.default_role not in self.services.roles:
            known = ", ".join(self.services.roles.names)
            raise ValueError(f'access: no role "{self.settings.default_role}" is described; there are {known}')

    async def handle(self, call: Call, forward: Forward) -> Reply:
        names = call.caller.roles or (self.settings.default_role,)
        whose = _whose(names)
        roles = self._of_kind(call, self._on_host(call, self.services.roles.of(names), whose), whose)
        if not _everything(call, roles):
            for asked in await self._models(call):
                self._check_model(call, roles, asked, whose)
        granted = call.caller.grant.models
        call.may_use = lambda *model: _permits(roles, model) and (not granted or fits(granted, *model))
        return await forward(call)

    def _on_host(self, call: Call, roles: Sequence[Role], whose: str) -> Sequence[Role]:
        hosts = call.caller.grant.hosts
        if hosts and not fits(hosts, call.host.lower()):
            raise NotAllowed(f"Your key may not be used for the host {_short(call.host)}.")
        left = [role for role in roles if role.permits_host(call.host)]
        if not left:
            raise NotAllowed(f"{whose} may not call the host {_short(call.host)}.")
        return left

    def _of_kind(self, call: Call, roles: Sequence[Role], whose: str) -> Sequence[Role]:
        left = [role for role in roles if role.permits_endpoint(call.kind)]
        if not left:
            what = "use a provider's other paths" if call.kind == "other" else f"make calls of the kind `{call.kind}`"
            raise NotAllowed(f"{whose} may not {what}.", code="kind_not_allowed")
        return left

    async def _models(self, call: Call) -> list[tuple[str, ...]]:
        """The models that the call asks, each by all its names. Raises NotAllowed where they cannot be known."""
        if call.kind in _NAMELESS or (call.kind == "batch" and call.method != "POST"):
            return []
        if call.kind == "batch" and not call.model:
            named = await aside(call.body, batches.named) if call.dialect.name == "anthropic.batches" else []
            if not named:
                raise NotAllowed("You may use some models only, and which ones this batch asks is not known here.")
        else:
            named = [call.model, *await self._beside(call)]
        return [self._names(call, one) for one in dict.fromkeys(named)]

    async def _beside(self, call: Call) -> list[str]:
        """Models that a provider might take for the one that is asked: that of the path, where the body names another,
        and other spellings of the field."""
        named = await aside(call.body, _spelled) if call.body[:1] in _JSON else []
        path = call.arrival.model
        return [*named, path] if path and path != call.asked_model else named

    def _names(self, call: Call, model: str) -> tuple[str, ...]:
        """What is asked for, the alias that led to it, and `provider/model`."""
        known = (call.asked_model, self._target(call)) if model == call.model else ("", self._led_to(call, model))
        return tuple(dict.fromkeys(one for one in (known[0], model, known[1]) if one))

    def _target(self, call: Call) -> str:
        """ "" where no provider has it: that is refused where it is due."""
        try:
            target = self.services.target_of(call)
        except Refusal:
            return ""
        if target is None:
            return self._led_to(call, call.model)
        model = target.model or call.model
        return f"{target.provider}/{model}" if model else ""

    def _led_to(self, call: Call, model: str) -> str:
        provider = call.arrival.row.name if call.arrival.row else call.headers.get(PROVIDER, "")
        return f"{provider}/{model}" if provider else self.services.led_to(model)

    def _check_model(self, call: Call, roles: Sequence[Role], names: tuple[str, ...], whose: str) -> None:
        if not names:
            raise NotAllowed("You may use some models only, and this call names none.", param="model")
        granted, name = call.caller.grant.models, _short(names[0])
        if not _permits(roles, names):
            raise NotAllowed(f"{whose} may not use the model {name}.", code="model_not_allowed", param="model")
        if granted and not fits(granted, *names):
            raise NotAllowed(f"Your key may not use the model {name}.", code="model_not_allowed", param="model")


def _spelled(body: bytes) -> list[str]:
    """Models that the body names beside `model`: in `models` (OpenRouter), or in a field that a server which does not
    mind upper and lower case takes for it (Ollama)."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        found = [_texts(raw) for name, raw in fields.items() if name.lower() in ("model", "models") and name != "model"]
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise NotAllowed(
            "You may use some models only, and which ones this call names cannot be read.", param="model"
        ) from None
    return [one for texts in found for one in texts]


def _texts(raw: msgspec.Raw) -> list[str]:
    value = msgspec.json.decode(raw)
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _everything(call: Call, roles: Sequence[Role]) -> bool:
    granted = call.caller.grant.models
    return any("*" in role.models for role in roles) and (not granted or "*" in granted)


def _permits(roles: Sequence[Role], names: Sequence[str]) -> bool:
    return any(role.permits_model(*names) for role in roles)


def _whose(names: Sequence[str]) -> str:
    """`Your role user`, `None of your roles (user, guest)`."""
    if len(names) == 1:
        return f"Your role `{_short(names[0])}`"
    return f"None of your roles ({_short(', '.join(names))})"


def _short(text: str) -> str:
    text = "".join(one if one.isprintable() else "?" for one in text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
