"""What a name of `models:` stands for, put into the call that says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shin_gateway.parameters import applies, with_defaults

if TYPE_CHECKING:
    from shin_gateway.call import Call
    from shin_gateway.config import Config


def unfold(call: Call, config: Config) -> None:
    """Give a call of the gateway that names an alias the model and the parameters behind it. Raises Invalid.

    Before the chain sees it: a policy's caps hold for an alias's parameters too, and what an API takes differs from
    model to model. `call.asked_model` keeps the client's name. Calls to a provider of their own have no aliases.
    """
    arrival = call.arrival
    if not config.models or arrival.origin is not None or arrival.row is not None:
        return
    name = call.model
    if name not in config.models:
        return
    model, parameters = config.resolve(name)
    call.asked_model = name
    call.rename_model(model)
    if parameters and applies(call.kind, call.path):
        version = call.headers.get("anthropic-version", "")
        call.body = with_defaults(call.dialect.name, call.kind, call.body, parameters, model, version)
