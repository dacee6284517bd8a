"""`generationConfig` of a call.

Source: ai.google.dev/api/generate-content#generationconfig
"""

from __future__ import annotations

from typing import Any, cast

from shin_gateway.translation.form import Chat, Effort, Json, OutputFormat, ReasoningWish
from shin_gateway.translation.gemini_generate.fields import Fields, drop
from shin_gateway.translation.gemini_generate.tools_in import read_schema
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_common import (
    Misfit,
    maybe_flag,
    maybe_list,
    maybe_number,
    maybe_record,
    maybe_string,
    maybe_whole,
)

_OTHERS = ("routingConfig", "modelSelectionConfig", "mediaResolution", "audioTimestamp", "imageConfig",
           "enableEnhancedCivicAnswers", "enableAffectiveDialog", "translationConfig", "audioTranscriptionConfig",
           "responseFormat", "modelConfig")  # fmt: skip
_CONFIG = Fields(
    "temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "seed", "presencePenalty",
    "frequencyPenalty", "responseMimeType", "responseSchema", "responseJsonSchema", "responseModalities",
    "responseLogprobs", "logprobs", "thinkingConfig", "speechConfig", *_OTHERS,
)  # fmt: skip
_THINKING = Fields("thinkingBudget", "thinkingLevel", "includeThoughts")
_PLACE = "generationConfig."
_LEVELS = ("minimal", "low", "medium", "high", "xhigh")


def read_config(value: Any, chat: Chat, losses: Losses) -> None:
    """Fill in what `generationConfig` says. Raises Misfit."""
    if value is None:
        return
    config = _CONFIG.of(value, _PLACE, losses)
    drop(config, _PLACE, losses, _OTHERS)
    chat.temperature = maybe_number(config, "temperature", 0, 2)
    chat.top_p = maybe_number(config, "topP", 0, 1)
    chat.top_k = maybe_whole(config, "topK", 0)
    chat.n = maybe_whole(config, "candidateCount", 1, 128)
    chat.max_tokens = maybe_whole(config, "maxOutputTokens", 0) or None
    chat.seed = maybe_whole(config, "seed", -(2**63), 2**63)
    chat.presence_penalty = maybe_number(config, "presencePenalty", -2, 2)
    chat.frequency_penalty = maybe_number(config, "frequencyPenalty", -2, 2)
    chat.stop = _words(config, "stopSequences")
    chat.modalities = [word.lower() for word in _words(config, "responseModalities") if word != "MODALITY_UNSPECIFIED"]
    chat.logprobs = _logprobs(config)
    chat.output = _output(config, losses)
    chat.audio = _speech(config, chat.stream, losses)
    chat.reasoning = _reasoning(config, losses)


def _words(config: Json, name: str) -> list[str]:
    words = maybe_list(config, name)
    for at, word in enumerate(words):
        if not isinstance(word, str):
            raise Misfit("must be a string", name, at)
    return list(words)


def _logprobs(config: Json) -> int | None:
    wanted, most = maybe_flag(config, "responseLogprobs"), maybe_whole(config, "logprobs", 0, 100)
    return (most or 0) if wanted else None


def _output(config: Json, losses: Losses) -> OutputFormat | None:
    mime = maybe_string(config, "responseMimeType").lower()
    schema = read_schema(config, "responseSchema")
    if schema is None:
        schema = maybe_record(config, "responseJsonSchema")
    if mime == "application/json" or (schema is not None and not mime):
        return OutputFormat(kind="schema", schema=schema) if schema is not None else OutputFormat(kind="json")
    if mime in ("", "text/plain"):
        return None
    losses.drop(f"{_PLACE}responseMimeType")  # text/x.enum: one of the schema's words, without quotes
    return None


def _speech(config: Json, stream: bool, losses: Losses) -> Json | None:
    speech = maybe_record(config, "speechConfig")
    if not speech:
        return None
    voice = speech.get("voiceConfig", speech.get("voice_config"))
    built = voice.get("prebuiltVoiceConfig", voice.get("prebuilt_voice_config")) if isinstance(voice, dict) else None
    name = built.get("voiceName", built.get("voice_name")) if isinstance(built, dict) else None
    if speech.keys() - {"voiceConfig", "voice_config"} or not isinstance(name, str):
        losses.drop(f"{_PLACE}speechConfig")
    if not isinstance(name, str):
        return None
    # Gemini has one format; elsewhere one must be named, and none but raw samples is streamed.
    return {"voice": name, "format": "pcm16" if stream else "wav"}


def _reasoning(config: Json, losses: Losses) -> ReasoningWish | None:
    if config.get("thinkingConfig") is None:
        return None
    try:
        thinking = _THINKING.of(config["thinkingConfig"], f"{_PLACE}thinkingConfig.", losses)
        return _wish(thinking)
    except Misfit as wrong:
        raise wrong.within("thinkingConfig") from None


def _wish(thinking: Json) -> ReasoningWish:
    level = maybe_string(thinking, "thinkingLevel").lower()
    if level in ("", "thinking_level_unspecified"):
        level = ""
    elif level not in _LEVELS:
        raise Misfit("must be MINIMAL, LOW, MEDIUM or HIGH", "thinkingLevel")
    return ReasoningWish(
        effort=cast(Effort, level) if level else None,
        budget=maybe_whole(thinking, "thinkingBudget", -1),
        show=maybe_flag(thinking, "includeThoughts"),
        sealed=True,
    )
