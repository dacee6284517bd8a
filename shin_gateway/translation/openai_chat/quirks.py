"""The `words:` of a provider's quirks that this dialect's writer honours, and what goes without saying at OpenAI.

- `developer: system`: knows no role `developer`.
- `names: no`: refuses `name` in messages.
- `texts: join`: takes `content` as one string where it is only text.
- `files: no`: takes no `file` parts; `video: yes`: takes `video_url` parts.
- `audio: no`: takes no `input_audio` parts.
- `urls: no`: fetches no URLs of images; they are inlined before.
- `tool_ids: short`: wants ids of nine letters and digits.
- `after_tool: TEXT`: refuses a user's message after a tool's; an assistant's with this text goes between them.
- `required: any`: its word for `tool_choice: required`.
- `allowed_tools: no`: no `allowed_tools` in the choice; the list of tools is shortened instead.
- `strict: no`: refuses `strict` in tools. `custom_tools: no`: no free-form tools; functions instead.
- `json_schema: no`: only `json_object`; the schema goes into the instructions.
- `past_reasoning: FIELD`: past thoughts are returned in `reasoning_content`, `reasoning`, `reasoning_details`,
  `reasoning_text` (with the seal in `reasoning_opaque`), or as `thinking` parts of the content. Without it they stay
  behind.
- `tool_seals: yes`: wants `extra_content.google.thought_signature` on tool calls.
- `effort: FIELD`: how much to think is said in `reasoning_effort` (the default), `reasoning`, `thinking` or `no` where.
- `efforts: ROWS`: the words it takes, `REGEX: WORDS; REGEX: WORDS` where that depends on the model; the first row that
  fits counts, and where none fits none is taken. A model with `none` alone can be told not to think, and no more.
- `fixed_models: REGEX`: models that refuse the fields `fixed: NAMES`; without it, what OpenAI's models refuse goes
  without saying (`openai_models.py`).
- `reasoning_format: REGEX`: models that put thoughts into the text unless asked for another `reasoning_format`.
- `web_search_models: REGEX`: the only models that take `web_search_options`.
- `metadata: stored`: takes `metadata` only together with `store`.
- `top_k: yes`: knows `top_k`. `max_stop: N`: how many stop sequences (4). `max_temperature: N` (2).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from shin_gateway.translation.form import Effort
from shin_gateway.translation.openai_models import SCALE, Model, model_of
from shin_gateway.translation.translator import Traits

FIXED = "temperature top_p presence_penalty frequency_penalty logprobs top_logprobs logit_bias"
"""Fields that OpenAI's models refuse when they think."""


@lru_cache(maxsize=256)
def matches(pattern: str, model: str) -> bool:
    try:
        return re.search(pattern, model) is not None
    except re.error:
        return False


def limit(traits: Traits, name: str, otherwise: float) -> float:
    """A word that is a number; `otherwise` where it is none."""
    try:
        return float(traits.words.get(name, otherwise))
    except ValueError:
        return otherwise


def accepted_efforts(traits: Traits) -> tuple[Effort, ...]:
    rows = traits.words.get("efforts")
    if rows is None:
        return model_of(traits.model).efforts
    for row in rows.split(";"):
        pattern, _, words = row.rpartition(":")
        if matches(pattern.strip(), traits.model):
            return tuple(word for word in SCALE if word in words.split())
    return ()


def refused_fields(effort: Any, traits: Traits) -> frozenset[str]:
    """Fields that the server or this model refuses, where it is asked to think so much."""
    words = traits.words
    if "fixed_models" not in words:
        return traits.drop | _of_openai(model_of(traits.model), effort)
    if matches(words["fixed_models"], traits.model):
        return traits.drop | set(words.get("fixed", FIXED).split())
    return traits.drop


def _of_openai(model: Model, effort: Any) -> set[str]:
    refused: set[str] = set()
    if model.reasons and effort not in model.sampled:
        refused.update(FIXED.split())
    if model.reasons and not model.stop:
        refused.add("stop")
    if not model.verbosity:
        refused.add("verbosity")
    return refused
