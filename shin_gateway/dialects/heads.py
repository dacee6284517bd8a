"""The head of a call: the few fields that decide where it goes, read in one pass over its body."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

import msgspec

from shin_gateway.errors import Invalid

# Where a path names the model: Gemini and Vertex, Azure's deployments, Bedrock. A bound keeps a long path from costing
# its square.
_MODEL_IN_PATH = re.compile(
    r"/(?:models|tunedModels|endpoints)/(?P<a>[^?]{1,250}?)(?=(?::|%3[aA])\w+(?:$|\?))"
    r"|/deployments/(?P<b>[^/?]+)/|/model/(?P<c>[^/?]+)/(?:invoke|converse)"
)


class Peek(msgspec.Struct, frozen=True, gc=False):
    """What decides where a call goes, without reading the rest of it."""

    model: str | None = None
    stream: bool = False
    max_output: int | None = None
    """The most output tokens the caller asks for, of each answer; None: not said."""
    answers: int = 1
    """How many answers it asks for: each is made, and paid for."""
    background: bool = False
    """Whether its answer goes on being made when nobody waits for it any more."""


def peek_as[T](body: bytes, kind: type[T]) -> T:
    """Decode the few fields that `kind` names. Raises Invalid that names the field at fault."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _wrong_field(str(error)) from None
    except msgspec.DecodeError as error:
        raise Invalid(f"The body is not valid JSON: {error}.") from None
    except (RecursionError, UnicodeDecodeError):
        raise Invalid("The body is not valid JSON: it is nested too deeply or not UTF-8.") from None


def _wrong_field(message: str) -> Invalid:
    what, _, where = message.partition(" - at ")
    field = where.strip("`").removeprefix("$.")
    if not field or field.startswith("$"):
        return Invalid("The body must be a JSON object.")
    return Invalid(f"{field}: {what[:1].lower()}{what[1:].replace('`', '')}.", param=field)


def whole_number(value: object) -> int | None:
    """A positive number of tokens, or None for anything else. Some servers take one in a string too."""
    if isinstance(value, str) and len(value) < 16 and value.isdecimal():
        value = int(value)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e15 else None


def most_of(*values: object) -> int | None:
    """The largest of what may be meant: which of two fields counts, is for the server to say."""
    if not any(values):
        return None
    return max((number for value in values if (number := whole_number(value)) is not None), default=None)


def require_model(model: object, path: str) -> str:
    """The model from the body, else from the path. Raises Invalid."""
    if model is None:
        model = model_in_path(path)
    if model is None:
        raise Invalid("model: the name of a model is missing.", param="model")
    if not isinstance(model, str) or not model.strip():
        raise Invalid("model: must be a string that is not empty.", param="model")
    return model


def model_in_path(path: str) -> str | None:
    found = _find_in_path(path)
    return unquote(found[found.lastgroup or 0]) if found else None


def _find_in_path(path: str) -> re.Match[str] | None:
    """Not in its query, where anybody can write anything."""
    where = path.partition("?")[0]
    return _MODEL_IN_PATH.search(path, 0, len(where))


def rename_in_path(path: str, model: str) -> str:
    """Raises Invalid where the path names no model."""
    found = _find_in_path(path)
    if found is None:
        raise Invalid("model: the name of a model is missing.", param="model")
    start, end = found.span(found.lastgroup or 0)
    return path[:start] + quote(model, safe="@") + path[end:]
