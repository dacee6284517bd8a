"""What reading calls of OpenAI's APIs has in common: fields of the right type, and errors that name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from shin_gateway.dialects.base import Failure, is_retryable
from shin_gateway.dialects.openai import failure_of, words_in
from shin_gateway.errors import Invalid
from shin_gateway.translation.losses import Losses

_MOST = 10**15
"""No count in a call is larger; what is cannot be meant."""

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class Misfit(Exception):
    """A field of the wrong type. Its place is put together on the way out, so that right fields cost nothing."""

    def __init__(self, problem: str, *path: str | int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: tuple[str | int, ...] = path

    def within(self, *path: str | int) -> Misfit:
        self.path = (*path, *self.path)
        return self

    def invalid(self) -> Invalid:
        field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path).lstrip(".")
        return Invalid(f"{field or 'body'}: {self.problem}.", param=field or None)


def string(owner: dict[str, Any], name: str) -> str:
    """A string that has to be there."""
    value = owner.get(name)
    if isinstance(value, str):
        return value
    raise Misfit("is missing" if value is None else "must be a string", name)


def maybe_string(owner: dict[str, Any], name: str) -> str:
    """A string, or empty where nothing is said."""
    value = owner.get(name)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise Misfit("must be a string", name)


def maybe_flag(owner: dict[str, Any], name: str) -> bool | None:
    value = owner.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise Misfit("must be true or false", name)


def maybe_number(owner: dict[str, Any], name: str, low: float, high: float) -> float | None:
    value = owner.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Misfit("must be a number", name)
    if not low <= value <= high:  # NaN is neither
        raise Misfit(f"must be from {low:g} to {high:g}", name)
    return value


def maybe_whole(owner: dict[str, Any], name: str, low: int, high: int = _MOST) -> int | None:
    value = owner.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misfit("must be a whole number", name)
    if not low <= value <= high:
        raise Misfit(f"must be from {low} to {high}" if high < _MOST else f"must be at least {low}", name)
    if value != int(value):
        raise Misfit("must be a whole number", name)
    return int(value)


def record(owner: dict[str, Any], name: str) -> dict[str, Any]:
    """An object that has to be there."""
    value = owner.get(name)
    if isinstance(value, dict):
        return value
    raise Misfit("is missing" if value is None else "must be an object", name)


def as_record(item: Any) -> dict[str, Any]:
    """An entry of a list that has to be an object."""
    if isinstance(item, dict):
        return item
    raise Misfit("must be an object")


def maybe_record(owner: dict[str, Any], name: str) -> dict[str, Any] | None:
    return None if owner.get(name) is None else record(owner, name)


def maybe_list(owner: dict[str, Any], name: str) -> list[Any]:
    """A list, or an empty one where nothing is said."""
    value = owner.get(name)
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise Misfit("must be a list", name)


def one_of(owner: dict[str, Any], name: str, words: Iterable[str]) -> str:
    """One of some words, or empty where nothing is said."""
    value = maybe_string(owner, name)
    if value and value not in words:
        raise Misfit(f"must be one of {', '.join(words)}", name)
    return value


_PAIRS, _KEY, _VALUE = 16, 64, 512
"""Of metadata at OpenAI: how many, and how long."""


def fitting_metadata(metadata: dict[str, str], losses: Losses) -> dict[str, str]:
    """What OpenAI takes of it."""
    fits = {key: value for key, value in metadata.items() if len(key) <= _KEY and len(value) <= _VALUE}
    if len(fits) < len(metadata) or len(fits) > _PAIRS:
        losses.soften("metadata")
    return dict(list(fits.items())[:_PAIRS])


def each[T](items: list[Any], read: Callable[[Any], T], name: str) -> list[T]:
    """Every entry of the list `name`, read; what goes wrong names the entry."""
    done: list[T] = []
    for index, item in enumerate(items):
        try:
            done.append(read(item))
        except Misfit as wrong:
            raise wrong.within(name, index) from None
    return done


def data_url(url: str) -> tuple[str, str] | None:
    """MIME type and base64 of a data URL; None for any other. Raises Misfit where it is broken."""
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    mime, *rest = head.split(";")
    if not comma or "base64" not in (word.strip().lower() for word in rest):
        raise Misfit("must be a data URL with base64 in it")
    return mime.strip().lower(), data


def read_error(body: Any, status: int) -> Failure:
    """The error in a whole reply of one of OpenAI's APIs, or of a server that is compatible. Never raises.

    Known shapes: `{"error": {message, type, param, code}}`, the same inside a list (Gemini's compatible API),
    `{"error": {message, metadata: {raw}}}` (OpenRouter), `{"error": "…"}` (Ollama, xAI), `{"detail": …}` (FastAPI),
    `{"object": "error", message}` (vLLM; with Mistral's message an object), `{"message": …}`, `{"errors": […]}`.
    """
    if isinstance(body, list) and body:
        body = body[0]
    found = failure_of(body) if isinstance(body, dict) else None
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    retryable = is_retryable(status)
    if found is not None:
        kind = kind if found.type == "server_error" or found.type.isdigit() else found.type
        retryable = retryable and found.retryable
    return Failure(status, kind, words_in(body) or f"The provider answered with status {status}.", retryable)
