"""Calls of Gemini's clients into the common form."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.errors import Refusal
from shin_gateway.translation.form import Builtin, Chat, Media, Reasoning, Text, ToolResult, ToolUse
from shin_gateway.translation.gemini_generate import GeminiGenerate
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.seals import Parcel, pack

Json = dict[str, Any]
LOW = "MEDIA_RESOLUTION_LOW"
PATH = "/v1beta/models/gemini-2.5-flash:generateContent"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n____").decode()


def read(body: Json, path: str = PATH) -> tuple[Chat, tuple[str, ...]]:
    losses = Losses()
    return GeminiGenerate().read_call(body, path, losses), losses.dropped


def chat_of(**body: Any) -> Chat:
    return read({"contents": [{"parts": [{"text": "hi"}]}], **body})[0]


def parts_of(*parts: Json, role: str = "user") -> list[Any]:
    chat, dropped = read({"contents": [{"role": role, "parts": list(parts)}]})
    assert not dropped
    return chat.messages[-1].parts


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        (PATH, False),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", True),
        ("/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash:streamGenerateContent", True),
    ],
)
def test_the_path_says_model_and_stream(path: str, stream: bool) -> None:
    chat, dropped = read({"contents": [{"parts": [{"text": "hi"}]}]}, path)
    assert (chat.model, chat.stream, dropped) == ("gemini-2.5-flash", stream, ())
    assert chat.messages[0].role == "user" and chat.messages[0].parts == [Text(text="hi")]


def test_code_assist_wraps_the_call() -> None:
    body = {"model": "gemini-2.5-pro", "project": "p", "user_prompt_id": "u",
            "request": {"contents": [{"parts": [{"text": "hi"}]}], "session_id": "s"}}  # fmt: skip
    chat, dropped = read(body, "/v1internal:streamGenerateContent?alt=sse")
    assert (chat.model, chat.stream, dropped) == ("gemini-2.5-pro", True, ())


def test_both_spellings_mean_the_same() -> None:
    camel = {"systemInstruction": {"parts": [{"text": "be brief"}]}, "contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}], "generationConfig": {"maxOutputTokens": 5, "topK": 40.0}, "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}}  # fmt: skip # noqa: E501
    snake = {"system_instruction": {"parts": [{"text": "be brief"}]}, "contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": PNG}}]}], "generation_config": {"max_output_tokens": 5, "top_k": 40.0}, "tool_config": {"function_calling_config": {"mode": "any", "allowed_function_names": ["f"]}}}  # fmt: skip # noqa: E501
    assert read(camel) == read(snake)
    chat = read(camel)[0]
    assert (chat.max_tokens, chat.top_k) == (5, 40)
    assert chat.tool_choice is not None and (chat.tool_choice.mode, chat.tool_choice.name) == ("named", "f")
    assert [message.role for message in chat.messages] == ["system", "user"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"text": "a"}, Text(text="a")),
        ({"inlineData": {"mimeType": "image/png", "data": PNG}}, Media(kind="image", mime="image/png", data=PNG)),
        ({"inlineData": {"data": PNG}}, Media(kind="image", mime="image/png", data=PNG)),
        (
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0_", "displayName": "a.pdf"}},
            Media(kind="document", mime="application/pdf", data="JVBERi0/", name="a.pdf"),
        ),
        (
            {"inlineData": {"mimeType": "text/plain", "data": "aMOp"}},
            Media(kind="document", mime="text/plain", text="hé"),
        ),
        (
            {"fileData": {"fileUri": "https://youtu.be/x"}},
            Media(kind="video", url="https://youtu.be/x"),
        ),
        (
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://a.example/b.jpg"}},
            Media(kind="image", mime="image/jpeg", url="https://a.example/b.jpg"),
        ),
        (
            {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/c.pdf"}},
            Media(kind="document", mime="application/pdf", file_id="gs://b/c.pdf", origin="gemini.generate"),
        ),
        (
            {"inlineData": {"mimeType": "image/png", "data": PNG}, "mediaResolution": {"level": LOW}},
            Media(kind="image", mime="image/png", data=PNG, detail="low"),
        ),
    ],
)  # fmt: skip
def test_user_parts(part: Json, expected: Any) -> None:
    assert parts_of(part) == [expected]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"text": "hm", "thought": True, "thoughtSignature": "c2ln"},
            [Reasoning(text="hm", summary=True, seal="c2ln", origin="gemini.generate")],
        ),
        ({"text": "a", "thoughtSignature": "c2ln"}, [Text(text="a"), Reasoning(seal="c2ln", origin="gemini.generate")]),
        (
            {"functionCall": {"id": "i", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
            [ToolUse(id="i", name="f", arguments='{"a":1}', seal="c2ln", origin="gemini.generate")],
        ),
        (
            {"executableCode": {"language": "PYTHON", "code": "1+1"}},
            [
                Builtin(
                    kind="code_execution",
                    raw=[{"executableCode": {"language": "PYTHON", "code": "1+1"}}],
                    text="1+1",
                    origin="gemini.generate",
                )
            ],
        ),
    ],
)
def test_model_parts(part: Json, expected: Any) -> None:
    assert parts_of(part, role="model") == expected


def test_foreign_seals_come_back() -> None:
    packed = pack(Parcel("anthropic.messages", "SEAL", text="long thought"))
    signature = base64.b64encode(packed.encode()).decode()
    thought = Reasoning(text="long thought", seal="SEAL", origin="anthropic.messages")
    call = {"functionCall": {"name": "f"}, "thoughtSignature": signature}
    # A client that strips thoughts still has them with the call; one that keeps them does not get them twice.
    assert parts_of(call, role="model") == [thought, ToolUse(id="call_gemini_0", name="f", arguments="{}")]
    kept = {"text": "long thought", "thought": True, "thoughtSignature": signature}
    assert parts_of(kept, call, role="model") == [thought, ToolUse(id="call_gemini_0", name="f", arguments="{}")]


def test_streamed_pieces_become_one_again() -> None:
    signature = base64.b64encode(pack(Parcel("anthropic.messages", "SEAL")).encode()).decode()
    pieces = [
        {"text": "I th", "thought": True},
        {"text": "ink", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": signature},
        {"text": "He"},
        {"text": "llo"},
        {"text": ""},
    ]
    contents = [{"role": "user", "parts": [{"text": "q"}]}, *({"role": "model", "parts": [one]} for one in pieces)]
    chat, _ = read({"contents": contents})
    assert chat.messages[1].parts == [
        Reasoning(text="I think", seal="SEAL", origin="anthropic.messages", summary=False),
        Text(text="Hello"),
    ]


def test_results_find_their_calls_by_name_and_order() -> None:
    call: Json = {"role": "model", "parts": [{"functionCall": {"name": name}} for name in ("f", "g", "f")]}
    results = [
        {"functionResponse": {"name": "g", "response": {"output": "of g"}}},
        {"functionResponse": {"name": "f", "response": {"result": {"n": 1}}}},
        {"functionResponse": {"name": "f", "response": {"error": "bad"}}},
    ]
    chat, _ = read({"contents": [call, {"role": "function", "parts": results}]})
    ids = [part.id for part in chat.messages[0].parts if isinstance(part, ToolUse)]
    assert len(set(ids)) == 3
    assert chat.messages[1].parts == [
        ToolResult(id=ids[1], name="g", parts=[Text(text="of g")]),
        ToolResult(id=ids[0], name="f", parts=[Text(text='{"n":1}')]),
        ToolResult(id=ids[2], name="f", parts=[Text(text="bad")], is_error=True),
    ]


def test_tools() -> None:
    schema = {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}}
    chat, dropped = read(
        {
            "contents": "hi",
            "tools": [
                {
                    "functionDeclarations": [
                        {"name": "f", "parameters": schema},
                        {"name": "g", "parametersJsonSchema": {"type": "object"}},
                    ]
                },
                {"google_search": {}, "codeExecution": {}},
            ],
        }
    )
    assert [tool.schema for tool in chat.tools] == [
        {"type": "object", "properties": {"a": {"type": ["string", "null"]}}},
        {"type": "object"},
    ]
    assert [tool.kind for tool in chat.builtin_tools] == ["web_search", "code_execution"]
    assert not dropped


def test_generation_config() -> None:
    config = {
        "temperature": 1, "topP": 0.5, "candidateCount": 2, "stopSequences": ["x"], "seed": 3, "presencePenalty": 0.1,
        "responseLogprobs": True, "logprobs": 4, "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT"}, "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
        "responseModalities": ["TEXT", "AUDIO"],
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
    }  # fmt: skip
    chat = chat_of(generationConfig=config, serviceTier="flex", labels={"a": "b"})
    assert (chat.temperature, chat.top_p, chat.n, chat.stop, chat.seed, chat.logprobs) == (1, 0.5, 2, ["x"], 3, 4)
    assert chat.output is not None and (chat.output.kind, chat.output.schema) == ("schema", {"type": "object"})
    assert chat.reasoning is not None and (chat.reasoning.effort, chat.reasoning.show) == ("low", True)
    assert (chat.modalities, chat.audio) == (["text", "audio"], {"voice": "Kore", "format": "wav"})
    assert (chat.service_tier, chat.metadata) == ("flex", {"a": "b"})


def test_what_has_no_place_is_reported() -> None:
    body = {
        "contents": [{"parts": [{"text": "hi", "videoMetadata": {"fps": 1}}]}],
        "generationConfig": {"imageConfig": {"aspectRatio": "1:1"}, "mediaResolution": "MEDIA_RESOLUTION_LOW"},
        "toolConfig": {"retrievalConfig": {"latLng": {}}},
        "x\r\ny": 1,
        "novelty": 1,
    }
    assert set(read(body)[1]) == {
        "generationConfig.imageConfig", "generationConfig.mediaResolution", "toolConfig.retrievalConfig",
        "unknown field", "novelty", "contents.parts.videoMetadata",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": 5}, "contents"),
        ({"contents": [5]}, "contents[0]"),
        ({"contents": [{"role": "narrator", "parts": [{"text": "x"}]}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"text": 5}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"inlineData": {"data": "%%"}}]}]}, "contents[0].parts[0].inlineData.data"),
        ({"contents": [{"parts": [{"inlineData": "x"}]}]}, "contents[0].parts[0].inlineData"),
        ({"contents": [{"parts": [{"functionCall": {"name": "f"}}]}]}, "contents[0].parts[0].functionCall"),
        (
            {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": []}}]}]},
            "contents[0].parts[0].functionCall.args",
        ),
        (
            {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]},
            "contents[0].parts[0].functionResponse",
        ),
        ({"contents": "x", "cachedContent": "cachedContents/1"}, "cachedContent"),
        ({"contents": "x", "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        (
            {"contents": "x", "tools": [{"functionDeclarations": [{"name": "f", "parameters": []}]}]},
            "tools[0].functionDeclarations[0].parameters",
        ),
        ({"contents": "x", "generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({"contents": "x", "generationConfig": {"maxOutputTokens": 10**400}}, "generationConfig.maxOutputTokens"),
        ({"contents": "x", "generationConfig": {"topP": float("inf")}}, "generationConfig.topP"),
        ({"contents": "x", "generationConfig": {"stopSequences": [1]}}, "generationConfig.stopSequences[0]"),
        (
            {"contents": "x", "generationConfig": {"thinkingConfig": {"thinkingBudget": "lots"}}},
            "generationConfig.thinkingConfig.thinkingBudget",
        ),
        ({"contents": "x", "safetySettings": [1]}, "safetySettings[0]"),
        ({"contents": "x", "labels": {"a": 1}}, "labels.a"),
    ],
)
def test_wrong_fields_are_named(body: Json, field: str) -> None:
    with pytest.raises(Refusal) as refused:
        read(body)
    assert refused.value.param == field
    assert refused.value.status == 400


_FIELDS = ["contents", "role", "parts", "text", "thought", "inlineData", "data", "mimeType", "functionCall", "name",
           "args", "functionResponse", "response", "tools", "functionDeclarations", "parameters", "generationConfig",
           "thinkingConfig", "toolConfig", "systemInstruction", "safetySettings", "request", "type"]  # fmt: skip
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["user", "model", "x", "AAAA"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(_FIELDS), _anything, max_size=5))
def test_nonsense_is_refused_and_no_more(body: Json) -> None:
    try:
        read({"contents": [{"role": "model", "parts": [body]}], **body})
    except Refusal as refusal:
        if refusal.status != 400:
            raise


def test_what_only_googles_search_can_be_told_is_named() -> None:
    search = {"exclude_domains": ["a.example", 5], "timeRangeFilter": {"startTime": "2026-01-01T00:00:00Z"}}
    losses = Losses()
    body = {"contents": "Hi", "tools": [{"googleSearch": search}, {"codeExecution": {}}, {"fileSearch": {"topK": 3}}]}
    chat = GeminiGenerate().read_call(body, "/v1beta/models/m:generateContent", losses)
    assert [tool.kind for tool in chat.builtin_tools] == ["web_search", "code_execution", "file_search"]
    assert chat.builtin_tools[0].blocked_domains == ["a.example"]
    assert losses.dropped == ("tools.googleSearch.timeRangeFilter",)


@pytest.mark.parametrize(
    ("response", "text", "is_error"),
    [
        ({"output": "a"}, "a", False),
        ({"result": {"b": 1}}, '{"b":1}', False),
        ({"error": "no"}, "no", True),
        ({"return_value": 42}, '{"return_value":42}', False),
        ({"name": "f", "content": "a"}, "a", False),
        ({"name": "Ada", "content": "a"}, '{"name":"Ada","content":"a"}', False),
        ({"error": "no", "code": 5}, '{"error":"no","code":5}', False),
    ],
)
def test_results_as_clients_write_them(response: Any, text: str, is_error: bool) -> None:
    contents = [
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": response}}]},
    ]
    chat = GeminiGenerate().read_call({"contents": contents}, "/v1beta/models/m:generateContent", Losses())
    found = chat.messages[1].parts[0]
    assert isinstance(found, ToolResult) and (found.parts, found.is_error) == ([Text(text=text)], is_error)
