"""Calls that say nearly all that their API can say, and the ways in which each of their fields can be wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from tests.translation.features import PDF, PNG, SCHEMA, STRICT, WAV
from tests.translation.kit import CHAT, GEMINI, MESSAGES, RESPONSES

Json = dict[str, Any]
Path = tuple[str | int, ...]
IMAGE = f"data:image/png;base64,{PNG}"

FULL: dict[str, Json] = {
    CHAT: {
        "model": "gpt-5", "stream": True, "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "Be brief.", "name": "sys"},
            {"role": "developer", "content": [{"type": "text", "text": "In German."}]},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "Look."},
                {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}]},
            {"role": "assistant", "content": None, "refusal": None, "reasoning_content": "Hm.",
             "tool_calls": [
                 {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}},
                 {"id": "call_2", "type": "custom", "custom": {"name": "patch", "input": "*** begin"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "done"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Sun."}, {"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": "And now?"}],
        "tools": [
            {"type": "function", "function": {
                "name": "weather", "description": "It says.", "parameters": STRICT, "strict": True}},
            {"type": "custom", "custom": {"name": "patch", "description": "A patch.", "format": {
                "type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}}}],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [{"type": "function", "function": {"name": "weather"}}]}},
        "parallel_tool_calls": False, "max_completion_tokens": 4000, "temperature": 0.5, "top_p": 0.9, "n": 1,
        "frequency_penalty": 0.1, "presence_penalty": 0.1, "seed": 7, "stop": ["END", "FIN"], "logprobs": True,
        "top_logprobs": 2, "logit_bias": {"12": 3}, "verbosity": "low", "reasoning_effort": "low", "user": "u",
        "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "modalities": ["text"],
        "audio": {"voice": "alloy", "format": "wav"}, "prediction": {"type": "content", "content": "Sun"},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": STRICT, "strict": True}},
        "web_search_options": {"search_context_size": "low", "user_location": {
            "type": "approximate", "approximate": {"city": "Bern", "country": "CH"}}},
        "prompt_cache_key": "k", "safety_identifier": "s",
    },
    RESPONSES: {
        "model": "gpt-5", "stream": True, "instructions": "Be brief.",
        "input": [
            {"role": "developer", "content": "In German."},
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "Look."},
                {"type": "input_image", "image_url": IMAGE, "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}],
             "content": [{"type": "reasoning_text", "text": "Hmm."}], "encrypted_content": "gAAA"},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather",
             "arguments": '{"city":"Bern"}', "status": "completed"},
            {"type": "function_call_output", "call_id": "call_1", "output": [
                {"type": "input_text", "text": "sunny"}, {"type": "input_image", "image_url": IMAGE}]},
            {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "patch", "input": "*** begin"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed",
             "action": {"type": "search", "query": "weather"}},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": "Sun.", "annotations": [
                    {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0,
                     "end_index": 3}]},
                {"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": "And now?"}],
        "tools": [
            {"type": "function", "name": "weather", "description": "It says.", "parameters": STRICT, "strict": True},
            {"type": "custom", "name": "patch", "description": "A patch.",
             "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}},
            {"type": "web_search", "search_context_size": "low", "filters": {"allowed_domains": ["a.example"]},
             "user_location": {"type": "approximate", "city": "Bern", "country": "CH"}}],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [
            {"type": "function", "name": "weather"}]},
        "parallel_tool_calls": False, "max_output_tokens": 4000, "temperature": 0.5, "top_p": 0.9, "top_logprobs": 2,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "a", "schema": STRICT, "strict": True}},
        "user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "truncation": "disabled",
        "prompt_cache_key": "k", "safety_identifier": "s", "max_tool_calls": 3, "background": False,
    },
    MESSAGES: {
        "model": "claude-sonnet-4-5", "max_tokens": 8000, "stream": True,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Look."},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                {"type": "image", "source": {"type": "url", "url": "https://a.example/a.png"}},
                {"type": "document", "title": "A", "context": "C", "citations": {"enabled": True},
                 "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A text."}},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "C."}]}},
                {"type": "search_result", "source": "https://a.example", "title": "A",
                 "content": [{"type": "text", "text": "found"}], "citations": {"enabled": True}}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "cmVk"},
                {"type": "text", "text": "Sun.", "citations": [
                    {"type": "char_location", "cited_text": "A", "document_index": 0, "document_title": "A",
                     "start_char_index": 0, "end_char_index": 1}]},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "weather"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [
                    {"type": "web_search_result", "url": "https://a.example", "title": "A",
                     "encrypted_content": "ZW5j", "page_age": "1 day"}]},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bern"}},
                {"type": "tool_use", "id": "call_2", "name": "weather", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "is_error": True, "content": "no"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [
                    {"type": "text", "text": "sunny"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}]},
                {"type": "text", "text": "And now?"}]}],
        "tools": [
            {"name": "weather", "description": "It says.", "input_schema": SCHEMA,
             "cache_control": {"type": "ephemeral"}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2, "allowed_domains": ["a.example"],
             "user_location": {"type": "approximate", "city": "Bern", "country": "CH"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2048}, "temperature": 1.0, "top_p": 0.95, "top_k": 5,
        "stop_sequences": ["END"], "metadata": {"user_id": "u"}, "service_tier": "auto",
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": STRICT}},
    },
    GEMINI: {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": "Look."}, {"inlineData": {"mimeType": "image/png", "data": PNG}},
                {"fileData": {"mimeType": "image/png", "fileUri": "https://a.example/a.png"},
                 "videoMetadata": {"startOffset": "1s", "endOffset": "2s", "fps": 1.0}}]},
            {"role": "model", "parts": [
                {"text": "Hm.", "thought": True}, {"text": "Sun.", "thoughtSignature": "c2ln"},
                {"functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Bern"}},
                 "thoughtSignature": "c2ln"},
                {"executableCode": {"language": "PYTHON", "code": "1"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "call_1", "name": "weather", "response": {"output": "sunny"}, "parts": [
                    {"inlineData": {"mimeType": "image/png", "data": PNG}}]}},
                {"text": "And now?"}]}],
        "tools": [
            {"functionDeclarations": [
                {"name": "weather", "description": "It says.", "parameters": {
                    "type": "OBJECT", "properties": {"city": {"type": "STRING", "nullable": True}},
                    "required": ["city"], "propertyOrdering": ["city"]},
                 "response": {"type": "STRING"}, "behavior": "BLOCKING"},
                {"name": "time", "parametersJsonSchema": SCHEMA}]},
            {"googleSearch": {}}, {"codeExecution": {}}, {"urlContext": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "generationConfig": {
            "temperature": 0.5, "topP": 0.9, "topK": 5, "candidateCount": 1, "maxOutputTokens": 4000,
            "stopSequences": ["END"], "seed": 7, "presencePenalty": 0.1, "frequencyPenalty": 0.1,
            "responseLogprobs": True, "logprobs": 2, "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}},
            "responseModalities": ["TEXT"], "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
            "mediaResolution": "MEDIA_RESOLUTION_LOW"},
        "labels": {"a": "b"},
    },
}  # fmt: skip

HOLE = "a hole to be filled"
DEEP = 10_000
WRONG = {
    "null": "null", "true": "true", "number": "5", "negative": "-1", "fraction": "0.5", "huge": str(10**400),
    "empty text": '""', "text": '"x"', "a NUL": '"\\u0000"', "empty list": "[]",
    "empty object": "{}", "list": '[1, "x", null, {}, []]', "object": '{"a": {"b": [null]}, "": 1}',
    "deeper than a schema": '{"items":' * 100 + "{}" + "}" * 100,
}  # fmt: skip
"""JSON that is put in place of a value."""
NO_JSON = {
    "infinite": "1e400", "NaN": "NaN", "Infinity": "-Infinity", "half a string": '"x',
    "half a character": '"\\ud83d"',
    "deep lists": "[" * DEEP + "]" * DEEP, "deep objects": '{"a":' * DEEP + "1" + "}" * DEEP,
}  # fmt: skip
"""What is none, or none that we read."""


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every value within."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from places(one, (*path, key))


def with_hole(body: Json, path: Path) -> str:
    """The call as JSON, in which `"HOLE"` stands in this place."""
    changed = copy.deepcopy(body)
    owner: Any = changed
    for step in path[:-1]:
        owner = owner[step]
    owner[path[-1]] = HOLE
    return json.dumps(changed)


def filled(text: str, value: str) -> bytes:
    return text.replace(f'"{HOLE}"', value).encode()


def without(body: Json, path: Path) -> bytes:
    changed = copy.deepcopy(body)
    owner: Any = changed
    for step in path[:-1]:
        owner = owner[step]
    del owner[path[-1]]
    return json.dumps(changed).encode()
