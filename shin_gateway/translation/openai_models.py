"""What OpenAI's models take, told from their names.

Sources: developers.openai.com/api/docs/guides/reasoning (efforts, what models that think refuse), …/guides/latest-model
(sampling where no effort is spent; verbosity). A name that says nothing (a deployment at Azure, a server of one's own)
is given what the caller asked for.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from shin_gateway.translation.form import Effort


class Model(NamedTuple):
    reasons: bool | None
    """None: not known."""
    efforts: tuple[Effort, ...]
    sampled: tuple[Effort | None, ...] = ()
    """With which efforts it takes temperature, top_p and log probabilities; None: where none is asked for."""
    verbosity: bool = True
    """Whether it may be told how much to say."""
    stop: bool = False
    """Whether one that reasons takes stop sequences."""


SCALE: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_OFF: tuple[Effort | None, ...] = (None, "none")
_THREE: tuple[Effort, ...] = ("low", "medium", "high")
_UNKNOWN = Model(None, SCALE)
_ROWS: tuple[tuple[str, Model], ...] = (
    (r"(gpt-3|gpt-4|chatgpt|davinci|babbage|gpt-5-chat)", Model(False, (), verbosity=False)),
    (r"gpt-[5-9][\d.]*-chat", Model(False, ())),
    (r"gpt-oss", Model(True, _THREE, (None, *_THREE), stop=True)),
    (r"(o\d|codex-mini|computer-use)", Model(True, _THREE, verbosity=False)),
    (r"gpt-5-codex|gpt-5\.1-codex(?!-max)", Model(True, _THREE)),
    (r"gpt-5\.1-codex-max|gpt-5\.[2-9].*-codex", Model(True, (*_THREE, "xhigh"))),
    (r"gpt-5-pro", Model(True, ("high",))),
    (r"gpt-5\.\d+-pro", Model(True, ("medium", "high", "xhigh"))),
    (r"gpt-5(?!\.)", Model(True, ("minimal", *_THREE))),
    (r"gpt-5\.1", Model(True, ("none", *_THREE), _OFF)),
    (r"gpt-5\.[2-5]", Model(True, ("none", *_THREE, "xhigh"), _OFF)),
    (r"gpt-5\.", Model(True, ("none", *_THREE, "xhigh", "max"), _OFF)),
    (r"gpt-", Model(True, ("none", *_THREE, "xhigh", "max"), ("none",))),
)
"""The first row that the name begins with."""


@lru_cache(maxsize=256)
def model_of(name: str) -> Model:
    """`openai/gpt-5`, `ft:gpt-4o:…` and dated names too."""
    word = name.lower().rpartition("/")[2].removeprefix("ft:")
    return next((model for pattern, model in _ROWS if re.match(pattern, word)), _UNKNOWN)


def nearest(effort: Effort, accepted: tuple[Effort, ...]) -> Effort:
    """The accepted effort nearest to the one wished, of two the lower: but thoughts that are asked for are not switched
    off. The wish itself where no effort is accepted."""
    if effort in accepted or not accepted:
        return effort
    place = SCALE.index(effort)
    some = tuple(one for one in accepted if one != "none") or accepted
    return min(some, key=lambda one: (abs(SCALE.index(one) - place), SCALE.index(one)))
