"""What a call will probably use, known before it goes upstream, and what it came to, known when it has ended.

Cheap on purpose: the body's length says how long the input is, what the caller allows says how long the output may be.
What the estimate is off by is settled at the end.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from shin_gateway.errors import Refusal
from shin_gateway.policy.paths import GENERATING

if TYPE_CHECKING:
    from shin_gateway.call import Call
    from shin_gateway.outcome import Outcome, Usage

BY_TOKEN = GENERATING | {"embed", "image", "speech", "transcript", "moderation", "realtime"}
"""Kinds of calls that use tokens. All others are requests and nothing more."""
_WITHOUT_OUTPUT = frozenset({"embed", "moderation"})

BYTES_A_TOKEN = 3
"""Of a call as JSON. English prose has 4 and a little more, code 3, Chinese 3."""
_MEDIA = 4096
"""Bytes without a space from which on a string is taken for a picture or a recording..."""
BYTES_A_MEDIA_TOKEN = 100
"""...of which so many bytes are a token."""
_SHORT = 16_384

TYPICAL = 1000
"""Output tokens of a model of which nothing is known yet."""
_MODELS = 1000
_WEIGHT = 0.1
_MOST = 2**50


class Estimate(NamedTuple):
    """Tokens."""

    input: int = 0
    output: int = 0

    @property
    def tokens(self) -> int:
        return self.input + self.output


NOTHING = Estimate()


class Outputs:
    """How long the replies of each model usually are: a running mean of those that this worker saw."""

    def __init__(self, otherwise: int = TYPICAL) -> None:
        """`otherwise`: of a model of which nothing is known yet."""
        self._means: OrderedDict[str, float] = OrderedDict()
        self._otherwise = otherwise

    def typical(self, model: str) -> int:
        return round(self._means.get(_bare(model), self._otherwise))

    def learn(self, model: str, output: int) -> None:
        model = _bare(model)
        before = self._means.pop(model, None)
        self._means[model] = output if before is None else before + (output - before) * _WEIGHT
        if len(self._means) > _MODELS:
            self._means.popitem(last=False)


def _bare(model: str) -> str:
    """A model's name before and after its target was found."""
    return model[-200:].rpartition("/")[2]


OUTPUTS = Outputs()
"""One for the worker: what one policy's calls teach serves all."""
THOUGHTS = Outputs(0)
"""How much models usually think before they answer, where the provider bills that and does not show it."""


def learn(call: Call, model: str, usage: Usage) -> None:
    """What the provider says that a call of ours used."""
    OUTPUTS.learn(model, usage.output // _answers(call))
    THOUGHTS.learn(model, usage.reasoning)


def _answers(call: Call) -> int:
    try:
        return call.peek.answers
    except Refusal:
        return 1


def estimate(call: Call) -> Estimate:
    """What the call may use: its input by length, and the most output that it allows, else what is usual."""
    global _latest
    if call.kind not in BY_TOKEN:
        return NOTHING
    key = call.id, len(call.raw_body)
    if _latest[0] != key:
        _latest = key, _estimated(call)
    return _latest[1]


_latest: tuple[object, Estimate] = None, NOTHING
"""Of the call that was looked at last: one addon asks for it right after the other."""


def _estimated(call: Call) -> Estimate:
    try:
        given = input_tokens(call)
        if call.kind in _WITHOUT_OUTPUT:
            return Estimate(given)
        most = call.peek.max_output
        each = OUTPUTS.typical(call.model) if most is None else most
        return Estimate(given, min(each * call.peek.answers, _MOST))
    except Refusal:  # a call that cannot be read goes nowhere, or is the provider's to refuse
        return NOTHING


def input_tokens(call: Call) -> int:
    """Raises Refusal for a body that cannot be read."""
    if call.kind == "transcript" or call.headers.get("content-type", "")[:10].lower() == "multipart/":
        return -(-call.size // BYTES_A_MEDIA_TOKEN)
    body = call.body
    size = len(body)
    media = _media(body) if size > _SHORT else 0
    return -(-(size - media) // BYTES_A_TOKEN) + -(-media // BYTES_A_MEDIA_TOKEN)


def _media(body: bytes) -> int:
    """Bytes of pictures and recordings that stand in the body as base64."""
    if b"base64" not in body and b'"data"' not in body:
        return 0
    pieces = body.split(b'"')
    return sum([len(piece) for piece in pieces if len(piece) > _MEDIA and b" " not in piece[:_MEDIA]])


@dataclass(frozen=True, slots=True)
class CameTo:
    """What a call used. `sure`: the meter said so."""

    tokens: Estimate
    sure: bool


NOTHING_USED = CameTo(NOTHING, True)


def came_to(call: Call, outcome: Outcome) -> CameTo:
    """Tokens that have to be paid for.

    Nothing for a call that no provider saw (refused, or answered from a cache), or that one refused. What the meter
    says for the rest. Where it says nothing, the estimate; its input alone for a client that left before a stream.
    Who leaves saves nothing of what is made whether he waits or not: a whole reply, one in the background, thoughts.
    """
    if not outcome.attempts:
        return NOTHING_USED
    usage = outcome.usage
    if usage is not None:
        return CameTo(Estimate(usage.input, usage.output), True) if _is_all(outcome) else _unseen(call, usage)
    if outcome.end == "cancelled":
        guess = estimate(call)
        made = outcome.timings.first_part_at or not _streams(call)
        return CameTo(guess if made else Estimate(guess.input), False)
    if outcome.end in ("refused", "failed") or outcome.status >= 400:
        return NOTHING_USED
    return CameTo(estimate(call), False)


def _is_all(outcome: Outcome) -> bool:
    """Whether the provider itself said what was used; else it was counted of what could be seen."""
    return outcome.usage_source == "provider"


def _unseen(call: Call, usage: Usage) -> CameTo:
    """What was counted, and what a provider makes beside that."""
    seen = Estimate(usage.input, usage.output)
    if _in_background(call):
        guess = estimate(call)
        return CameTo(Estimate(max(seen.input, guess.input), max(seen.output, guess.output)), False)
    thoughts = 0 if usage.reasoning else THOUGHTS.typical(_model(call))
    return CameTo(Estimate(seen.input, seen.output + thoughts), not thoughts)


def _in_background(call: Call) -> bool:
    try:
        return call.peek.background
    except Refusal:
        return False


def _streams(call: Call) -> bool:
    try:
        return call.stream
    except Refusal:
        return False


def _model(call: Call) -> str:
    try:
        return (call.target.model if call.target else "") or call.model
    except Refusal:
        return ""
