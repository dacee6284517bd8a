"""A whole answer as the events of a stream, for a client that asked for one where the target gave none."""

from __future__ import annotations

from collections.abc import Iterator

from shin_gateway.translation.form import (
    Answer,
    AnyPart,
    Began,
    Choice,
    Closed,
    Ended,
    Event,
    Finished,
    Logged,
    Opened,
    UsageTold,
)


def events(answer: Answer) -> Iterator[Event]:
    yield Began(answer.id, answer.model, answer.created, answer.usage, answer.service_tier)
    for number, choice in enumerate(answer.choices):
        yield from _choice(number, choice)
    if not answer.choices and not answer.blocked:  # as the whole replies say it
        yield Finished(0, "filtered")
    if answer.usage is not None:
        yield UsageTold(answer.usage)
    yield Ended(answer.blocked)


def _choice(number: int, choice: Choice) -> Iterator[Event]:
    for at, part in enumerate(choice.parts):
        yield from _part(number, at, part)
    if choice.logprobs:
        yield Logged(number, choice.logprobs)
    yield Finished(number, choice.finish or "stop", choice.stop_sequence)


def _part(number: int, at: int, part: AnyPart) -> Iterator[Event]:
    yield Opened(number, at, part)  # whole: a part may be opened with all that there will be
    yield Closed(number, at)
