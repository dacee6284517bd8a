"""The JSON schema that editors check and complete policies with: `python -m shin_gateway.policy.schema`."""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shin_gateway.addon import Addon, Mode
from shin_gateway.policy.model import PolicyFile
from shin_gateway.registry import Registry

_MODE = {
    "enum": list(get_args(Mode)),
    "default": "enforce",
    "description": "`shadow` decides, notes and counts, and changes nothing.",
}
_SWITCH = {"enum": ["on", "off"]}
_UNITS = {"30s": "s", "32MB": "B"}
"""The unit of the number inside, by the example that its type gives."""


def schema(registry: Registry) -> dict[str, Any]:
    """Everything that a policy or preset may say, with the addons of this registry. JSON schema 2020-12."""
    classes = {name: cls for name in registry if (cls := registry.get(name))}
    settings = {name: cls.settings_type() for name, cls in classes.items()}
    models: set[type[BaseModel]] = {PolicyFile, *settings.values()}
    ordered = sorted(models, key=lambda model: (model.__module__, model.__qualname__))
    names, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template="#/$defs/{model}"
    )
    parts = definitions["$defs"]
    own = {name: _named(parts, names[model, "validation"]) for name, model in settings.items()}
    policy = _named(parts, names[PolicyFile, "validation"])
    policy["properties"]["addons"] |= {
        "properties": {name: _addon(part, _words(classes[name])) for name, part in own.items()},
        "additionalProperties": False,
    }
    policy["required"] = []  # a preset names no hosts; one schema serves both
    policy["properties"]["extends"] = _one_or_many(policy["properties"]["extends"])
    used = {name: part for name, part in parts.items() if f'"#/$defs/{name}"' in json.dumps([policy, parts])}
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **policy, "title": "policy", "$defs": used}
    return _tidy(whole)


def _named(parts: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    return dict(parts[reference["$ref"].rpartition("/")[2]])


def _words(cls: type[Addon[Any]]) -> str:
    """What an addon says of itself: the class, else its file."""
    doc = cls.__doc__ or sys.modules[cls.__module__].__doc__ or ""
    return inspect.cleandoc(doc).partition("\n\n")[0]


def _addon(part: dict[str, Any], doc: str) -> dict[str, Any]:
    mapping = {**part, "properties": {**part.get("properties", {}), "mode": _MODE}}
    return {"description": doc, "anyOf": [_SWITCH, {"type": "null"}, mapping]}


def _one_or_many(part: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {key: part.pop(key) for key in ("description", "default") if key in part}
    return {**kept, "anyOf": [{"type": "string"}, part]}


def _tidy(part: Any) -> Any:
    """Defaults as one would write them, sets in one order, no titles that only repeat the key."""
    if isinstance(part, list):
        return [_tidy(one) for one in part]
    if not isinstance(part, dict):
        return part
    made = {key: _tidy(value) for key, value in part.items() if key != "title" or not isinstance(value, str)}
    unit = _UNITS.get(next(iter(made.get("examples") or []), ""))
    if unit and isinstance(made.get("default"), int | float):
        made["default"] = f"{made['default']:.15g}{unit}"
    if made.get("uniqueItems") and isinstance(made.get("default"), list):
        made["default"] = sorted(made["default"])
    return made


def text(registry: Registry) -> str:
    """The schema as the file in docs/ holds it."""
    return json.dumps(schema(registry), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text(Registry.load()))
