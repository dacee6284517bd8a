"""The form's fields as a client of this API calls them. What is not here has the same name."""

from __future__ import annotations

from collections.abc import Mapping

_CONFIG = {
    "max_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "stop": "stopSequences",
    "n": "candidateCount",
    "seed": "seed",
    "logprobs": "responseLogprobs",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "response_format": "responseMimeType",
    "response_format.schema": "responseSchema",
    "modalities": "responseModalities",
    "audio": "speechConfig",
    "reasoning": "thinkingConfig",
}
_TOOLS = {
    "web_search": "googleSearch",
    "code_execution": "codeExecution",
    "url_context": "urlContext",
    "google_maps": "googleMaps",
    "file_search": "fileSearch",
    "computer": "computerUse",
    "mcp": "mcpServers",
    "parameters": "functionDeclarations.parameters",
    "blocked_domains": "googleSearch.excludeDomains",
}
FIELDS: Mapping[str, str] = {
    **{form: f"generationConfig.{own}" for form, own in _CONFIG.items()},
    **{f"tools.{form}": f"tools.{own}" for form, own in _TOOLS.items()},
    "metadata": "labels",
    "safety_settings": "safetySettings",
    "service_tier": "serviceTier",
    "tool_choice": "toolConfig.functionCallingConfig",
    "messages": "contents",
    "messages.role": "systemInstruction",
    "messages.content": "contents.parts",
    "messages.content.image": "contents.parts.inlineData",
    "messages.content.audio": "contents.parts.inlineData",
    "messages.content.video": "contents.parts.inlineData",
    "messages.content.document": "contents.parts.inlineData",
    "messages.content.image.file_id": "contents.parts.fileData",
    "messages.content.audio.file_id": "contents.parts.fileData",
    "messages.content.video.file_id": "contents.parts.fileData",
    "messages.content.document.file_id": "contents.parts.fileData",
    "messages.content.filename": "contents.parts.inlineData.displayName",
    "messages.content.is_error": "contents.parts.functionResponse.response",
    "messages.reasoning": "contents.parts.thought",
    "messages.tool_calls.signature": "contents.parts.thoughtSignature",
    "messages.tool_calls.function.arguments": "contents.parts.functionCall.args",
}
