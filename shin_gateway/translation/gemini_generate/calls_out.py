"""The common form as a generateContent call.

Source: ai.google.dev/api/generate-content
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from shin_gateway.errors import Invalid
from shin_gateway.translation.effort import budget_of, effort_of
from shin_gateway.translation.form import Chat, Json, OutputFormat
from shin_gateway.translation.gemini_generate.client_fields import FIELDS
from shin_gateway.translation.gemini_generate.contents_out import ContentWriter
from shin_gateway.translation.gemini_generate.models import Model, model_of
from shin_gateway.translation.gemini_generate.schema_out import answer_for_gemini
from shin_gateway.translation.gemini_generate.tools_out import write_tools
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.schemas import BadSchema
from shin_gateway.translation.translator import Traits
from shin_gateway.translation.usual import drop_sampling

MOST_STOPS = 5
MOST_CANDIDATES = 8
MOST_LOGPROBS = 20

_SOFTENED = (
    ("user", "user"), ("safety_identifier", "safety_identifier"), ("verbosity", "verbosity"),
    ("prediction", "prediction"), ("cache_key", "prompt_cache_key"), ("store", "store"),
)  # fmt: skip
_FORM = {own: form for form, own in FIELDS.items()}
_SAMPLING = (("temperature", "temperature", 1), ("top_p", "topP", 1), ("top_k", "topK", None))
"""Fields of the form, Gemini's, and what need not be said."""
_PENALTIES = (("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty"))
_SAID_IN_WORDS = frozenset(["format", "enum", "const", "type"])
"""Keywords whose meaning the pruned schema still tells the model."""
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABELLED = re.compile(r"[a-z0-9_-]{0,63}")
"""Keys and values of labels: cloud.google.com/vertex-ai/generative-ai/docs/multimodal/add-labels-to-api-calls."""
_TIERS = {"flex": "flex", "priority": "priority", "default": "standard"}


def write_call(chat: Chat, traits: Traits, losses: Losses) -> Json:
    """Raises Invalid."""
    model = model_of(chat.model)
    is_vertex = traits.provider.startswith("vertex")
    body = ContentWriter(model, traits, losses).write(chat)
    body.update(write_tools(chat, model, is_vertex, losses))
    config = _config(chat, model, traits, losses)
    if config:
        body["generationConfig"] = config
    if chat.safety_settings:
        body["safetySettings"] = chat.safety_settings
    if (tier := _TIERS.get(chat.service_tier)) is not None:
        body["serviceTier"] = tier
    elif chat.service_tier not in ("", "auto"):
        losses.soften("service_tier")
    _label(chat, is_vertex, body, losses)
    _report(chat, losses)
    return _fitted(body, traits, losses)


def _label(chat: Chat, is_vertex: bool, body: Json, losses: Losses) -> None:
    """Vertex bills by labels; the API with a key has no place for metadata."""
    fit = {key: value for key, value in chat.metadata.items() if _LABEL.fullmatch(key) and _LABELLED.fullmatch(value)}
    if is_vertex and fit:
        body["labels"] = fit
    if chat.metadata and not (is_vertex and len(fit) == len(chat.metadata)):
        losses.soften("metadata")


def _fitted(body: Json, traits: Traits, losses: Losses) -> Json:
    """Less what this server refuses, at the top or in `generationConfig`, and with its own names for the rest."""
    config = body.get("generationConfig", {})
    for name in traits.drop:
        if body.pop(name, None) is not None:
            losses.drop(_FORM.get(name, name))
        if config.pop(name, None) is not None:
            losses.drop(_FORM.get(f"generationConfig.{name}", name))
    for name, other in traits.rename.items():
        for owner in (body, config):
            if name in owner:
                owner[other] = owner.pop(name)
    return body


def _report(chat: Chat, losses: Losses) -> None:
    if chat.logit_bias:
        losses.drop("logit_bias")
    for field, name in _SOFTENED:
        if getattr(chat, field):
            losses.soften(name)


def _config(chat: Chat, model: Model, traits: Traits, losses: Losses) -> Json:
    out = _sampling(chat, model, losses)
    if chat.max_tokens:
        out["maxOutputTokens"] = min(chat.max_tokens, traits.max_output or chat.max_tokens)
    if chat.seed is not None:  # Gemini's is an int32; another number is another seed, always the same
        out["seed"] = chat.seed if -(2**31) <= chat.seed < 2**31 else chat.seed & 0x7FFFFFFF
    _stops(chat, out, losses)
    _candidates(chat, out, losses)
    _logprobs(chat, out)
    _output(chat, model, out, losses)
    _modalities(chat, out, losses)
    _thinking(chat, model, out, losses)
    return out


def _sampling(chat: Chat, model: Model, losses: Losses) -> Json:
    out: Json = {}
    top_k = chat.top_k if chat.top_k and chat.top_k > 0 else None  # -1 and 0 mean no limit elsewhere
    said = {"temperature": chat.temperature, "top_p": chat.top_p, "top_k": top_k}
    for field, name, usual in _SAMPLING:
        value = said[field]
        if value is not None and model.samples:
            out[name] = value
        elif value not in (None, usual):
            drop_sampling(field, value, losses, "the model ignores it")
    for field, name in _PENALTIES:
        value = getattr(chat, field)
        if value is not None and model.penalizes:
            out[name] = value
        elif value:
            losses.drop(field, "the model has no penalties")
    return out


def _stops(chat: Chat, out: Json, losses: Losses) -> None:
    words = [word for word in chat.stop if word]
    if len(words) > MOST_STOPS:
        losses.drop("stop", f"the model takes at most {MOST_STOPS} stop sequences")
    if words:
        out["stopSequences"] = words[:MOST_STOPS]


def _candidates(chat: Chat, out: Json, losses: Losses) -> None:
    if chat.n is None or chat.n == 1:
        return
    if chat.n > MOST_CANDIDATES:
        losses.drop("n", f"the model gives at most {MOST_CANDIDATES} answers at once")
    out["candidateCount"] = min(chat.n, MOST_CANDIDATES)


def _logprobs(chat: Chat, out: Json) -> None:
    if chat.logprobs is None:
        return
    out["responseLogprobs"] = True
    if chat.logprobs:
        out["logprobs"] = min(chat.logprobs, MOST_LOGPROBS)


def _output(chat: Chat, model: Model, out: Json, losses: Losses) -> None:
    wanted = chat.output
    if wanted is None or wanted.kind == "text":
        return
    if (chat.tools or chat.builtin_tools) and not model.is_third:
        losses.drop("response_format", "the model gives no JSON beside tools")
        return
    if chat.tools and chat.tool_choice is not None and chat.tool_choice.mode in ("required", "named"):
        losses.drop("response_format", "the model gives no JSON where it has to call a tool")
        return
    out["responseMimeType"] = "application/json"
    if wanted.kind == "schema" and wanted.schema is not None:
        out["responseSchema"] = _schema(wanted, losses)


def _schema_losses(losses: Losses) -> Callable[[str], None]:
    """What to tell of the keywords of a schema that Gemini does not know."""

    def lost(keyword: str) -> None:
        (losses.soften if keyword in _SAID_IN_WORDS else losses.drop)(f"response_format.schema.{keyword}")

    return lost


def _schema(wanted: OutputFormat, losses: Losses) -> Json:
    try:
        schema = answer_for_gemini(wanted.schema or {}, _schema_losses(losses))
    except BadSchema as bad:
        raise Invalid(f"response_format.schema: {bad}.", param="response_format.schema") from None
    if wanted.description and "description" not in schema and "anyOf" not in schema:
        schema["description"] = wanted.description
    return schema


def _modalities(chat: Chat, out: Json, losses: Losses) -> None:
    words = [word for word in chat.modalities if word in ("text", "image", "audio")]
    if words and words != ["text"]:
        out["responseModalities"] = [word.upper() for word in words]
    voice: Any = (chat.audio or {}).get("voice")
    if "audio" not in words or not isinstance(voice, str):
        return
    if voice[:1].isupper():  # Gemini's voices are stars and myths: Kore, Puck
        out["speechConfig"] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}}
    else:
        losses.drop("audio.voice")


def _thinking(chat: Chat, model: Model, out: Json, losses: Losses) -> None:
    wish = chat.reasoning
    if wish is None:
        return
    config: Json = {}
    if model.thinking == "level":
        effort = effort_of(wish)
        if effort is not None:
            config["thinkingLevel"] = model.level(effort)
    elif model.thinking == "budget":
        budget = budget_of(wish)
        if budget is not None:
            config["thinkingBudget"] = model.budget(budget)
    else:
        if wish.effort not in (None, "none") or wish.budget:
            losses.soften("reasoning")
        return
    if wish.show or (wish.show is None and wish.summary):
        config["includeThoughts"] = True
    if config:
        out["thinkingConfig"] = config
