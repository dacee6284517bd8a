"""What OpenAI's models take, told from their names.

Sources: developers.openai.com/api/docs/guides/reasoning (efforts), …/guides/latest-model (sampling where no effort is
spent). A name that says nothing (a deployment at Azure, a server of one's own) is given what the caller asked for.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from shin_gateway.translation.form import Effort


class Model(NamedTuple):
    reasons: bool | None
    """None: not known."""
    efforts: tuple[Effort, ...]
    sampled: tuple[Effort | None, ...] = ()
    """With which efforts it takes temperature, top_p and log probabilities; None: where none is asked for."""


_SCALE: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_PLAIN = Model(False, ())
_UNKNOWN = Model(None, _SCALE)
_OFF: tuple[Effort | None, ...] = (None, "none")
_ROWS: tuple[tuple[str, Model], ...] = (
    (r"(gpt-3|gpt-4|chatgpt|davinci|babbage|gpt-[5-9][\d.]*-chat)", _PLAIN),
    (r"(o\d|codex-mini|computer-use|gpt-oss)", Model(True, ("low", "medium", "high"))),
    (r"gpt-5-codex|gpt-5\.1-codex(?!-max)", Model(True, ("low", "medium", "high"))),
    (r"gpt-5\.1-codex-max|gpt-5\.[2-9].*-codex", Model(True, ("low", "medium", "high", "xhigh"))),
    (r"gpt-5(\.\d+)?-pro", Model(True, ("medium", "high", "xhigh"))),
    (r"gpt-5(?!\.)", Model(True, ("minimal", "low", "medium", "high"))),
    (r"gpt-5\.1", Model(True, ("none", "low", "medium", "high"), _OFF)),
    (r"gpt-5\.[2-5]", Model(True, ("none", "low", "medium", "high", "xhigh"), _OFF)),
    (r"gpt-5\.", Model(True, ("none", "low", "medium", "high", "xhigh", "max"), _OFF)),
    (r"gpt-", Model(True, ("none", "low", "medium", "high", "xhigh", "max"), ("none",))),
)
"""The first row that the name begins with."""


def model_of(name: str) -> Model:
    """`openai/gpt-5`, `ft:gpt-4o:…` and dated names too."""
    word = name.lower().rpartition("/")[2].removeprefix("ft:")
    return next((model for pattern, model in _ROWS if re.match(pattern, word)), _UNKNOWN)


def nearest(effort: Effort, model: Model) -> Effort:
    """The effort that the model has, nearest to the one wished; of two the lower."""
    if effort in model.efforts or not model.efforts:
        return effort
    place = _SCALE.index(effort)
    return min(model.efforts, key=lambda one: (abs(_SCALE.index(one) - place), _SCALE.index(one)))
