"""The common form as calls that Gemini takes; Google's own types are the judge."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.errors import Invalid
from shin_gateway.translation.form import (
    BuiltinTool,
    Chat,
    Media,
    Message,
    OutputFormat,
    Reasoning,
    ReasoningWish,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from shin_gateway.translation.gemini_generate import GeminiGenerate
from shin_gateway.translation.gemini_generate.signatures import SKIP
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.names import for_gemini, restored
from shin_gateway.translation.translator import Traits

Json = dict[str, Any]
PNG = "iVBORw0KGgo="
HELLO = Message(role="user", parts=[Text(text="hello")])


def write(
    messages: list[Message] | None = None, model: str = "gemini-2.5-flash", provider: str = "gemini", **fields: Any
) -> tuple[Json, tuple[str, ...]]:
    losses = Losses()
    chat = Chat(model=model, messages=messages or [HELLO], **fields)
    body = GeminiGenerate().write_call(chat, Traits(provider=provider, model=model), losses)
    check(body)
    return body, losses.dropped


def check(body: Json) -> None:
    """Google's types forbid fields that they do not know."""
    body = json.loads(msgspec.json.encode(body))
    for content in body["contents"]:
        types.Content.model_validate_json(json.dumps(content))
    for tool in body.get("tools", ()):
        types.Tool.model_validate(tool)
    if "toolConfig" in body:
        types.ToolConfig.model_validate(body["toolConfig"])
    types.GenerationConfig.model_validate(body.get("generationConfig", {}))
    roles = [content["role"] for content in body["contents"]]
    assert all(one != other for one, other in pairwise(roles))


def config(**fields: Any) -> Json:
    return write(**fields)[0].get("generationConfig", {})


def test_texts_and_roles() -> None:
    body, dropped = write(
        [
            Message(role="system", parts=[Text(text="be brief")]),
            Message(role="developer", parts=[Text(text="no jokes")]),
            HELLO,
            Message(role="user", parts=[Text(text="again"), Text(text="")]),
            Message(role="assistant", parts=[Text(text="hi")]),
            Message(role="system", parts=[Text(text="now in French")]),
            Message(role="user", parts=[Text(text="and?")]),
        ]
    )
    assert body == {
        "systemInstruction": {"parts": [{"text": "be brief"}, {"text": "no jokes"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "hello"}, {"text": "again"}]},
            {"role": "model", "parts": [{"text": "hi"}]},
            {"role": "user", "parts": [{"text": "<system>\nnow in French\n</system>"}, {"text": "and?"}]},
        ],
    }
    assert dropped == ()


@pytest.mark.parametrize("first", ["user", "assistant"])
def test_an_instruction_for_a_model_that_takes_none(first: Any) -> None:
    said = [Message(role="system", parts=[Text(text="be brief")]), Message(role=first, parts=[Text(text="hello")])]
    body, dropped = write(said, "gemma-3-27b-it")
    parts = [part["text"] for content in body["contents"] for part in content["parts"]]
    assert "systemInstruction" not in body and parts == ["be brief", "hello"] and dropped == ("messages.role",)


def test_a_system_prompt_alone_is_what_the_user_says() -> None:
    assert write([Message(role="system", parts=[Text(text="go")])])[0] == {
        "contents": [{"role": "user", "parts": [{"text": "go"}]}]
    }


def test_nothing_to_say_is_refused() -> None:
    with pytest.raises(Invalid):
        write([Message(role="user", parts=[])])


def dialogue(seal: str = "", origin: str = "") -> list[Message]:
    return [
        HELLO,
        Message(
            role="assistant",
            parts=[
                ToolUse(id="a", name="f", arguments='{"x":1}', seal=seal, origin=origin),
                ToolUse(id="b", name="g", arguments=""),
            ],
        ),
        Message(role="user", parts=[ToolResult(id="a", parts=[Text(text="1")])]),
        Message(role="user", parts=[ToolResult(id="b", parts=[Text(text="no")], is_error=True)]),
    ]


def test_calls_and_results_of_tools() -> None:
    contents = write(dialogue(), "gemini-3.1-flash-lite")[0]["contents"]
    assert contents[1]["parts"][0].pop("thoughtSignature") == SKIP
    assert contents[1]["parts"] == [
        {"functionCall": {"name": "f", "args": {"x": 1}, "id": "a"}},
        {"functionCall": {"name": "g", "args": {}, "id": "b"}},
    ]
    assert contents[2]["parts"] == [
        {"functionResponse": {"name": "f", "response": {"output": "1"}, "id": "a"}},
        {"functionResponse": {"name": "g", "response": {"error": "no"}, "id": "b"}},
    ]


def test_models_without_ids_get_results_in_the_order_of_their_calls() -> None:
    messages = dialogue()
    messages[2].parts, messages[3].parts = messages[3].parts, messages[2].parts
    for model, ids in (("gemini-2.5-flash", [None, None]), ("gemini-3-flash-preview", ["a", "b"])):
        contents = write(messages, model)[0]["contents"]
        assert [part["functionCall"].get("id") for part in contents[1]["parts"]] == ids
        results = [part["functionResponse"] for part in contents[2]["parts"]]
        assert [(one.get("id"), one["name"]) for one in results] == list(zip(ids, "fg", strict=True))


@pytest.mark.parametrize(
    ("model", "goes_on"),
    [
        ("gemini-2.5-pro", True),
        ("gemini-3-pro-preview", True),
        ("gemini-3.1-flash-lite", True),
        ("gemini-3.5-flash", True),
        ("gemini-3.5-flash-lite", False),
        ("gemini-3.6-flash", False),
        ("gemini-flash-latest", False),
        ("gemma-3-27b-it", True),
    ],
)
def test_newest_models_neither_sample_nor_go_on_with_an_answer(model: str, goes_on: bool) -> None:
    messages = [HELLO, Message(role="assistant", parts=[Text(text="Once")])]
    body, dropped = write(messages, model, temperature=0.2, top_p=0.9, top_k=5)
    assert (body["contents"][-1]["role"] == "model") == goes_on
    assert ("generationConfig" in body) == goes_on
    assert dropped == (() if goes_on else ("messages.prefill", "temperature", "top_p", "top_k"))
    assert write(model=model, temperature=1, top_p=1)[1] == ()


@pytest.mark.parametrize(
    ("model", "seal", "origin", "expected"),
    [
        ("gemini-3-pro-preview", "", "", SKIP),
        ("gemini-3-pro-preview", "b3du", "gemini.generate", "b3du"),
        ("gemini-3-pro-preview", "theirs", "openai.responses", SKIP),
        ("gemini-2.5-pro", "b3du", "gemini.generate", "b3du"),
        ("gemini-2.5-pro", "", "", None),
        ("gemini-flash-latest", "", "", SKIP),
        ("publishers/google/models/gemini-3.1-flash-lite", "", "", SKIP),
    ],
)
def test_signatures_of_calls(model: str, seal: str, origin: str, expected: str | None) -> None:
    parts = write(dialogue(seal, origin), model)[0]["contents"][1]["parts"]
    assert parts[0].get("thoughtSignature") == expected
    assert "thoughtSignature" not in parts[1]


def test_own_thoughts_go_back_where_they_were() -> None:
    own = "gemini.generate"
    parts = [
        Reasoning(text="hm", seal="czFz", origin=own),
        Text(text="yes"),
        Reasoning(seal="czJz", origin=own),
        Reasoning(text="theirs", seal="s3", origin="anthropic.messages"),
    ]
    body, dropped = write([HELLO, Message(role="assistant", parts=parts)])
    assert body["contents"][1]["parts"] == [
        {"text": "hm", "thought": True, "thoughtSignature": "czFz"},
        {"text": "yes", "thoughtSignature": "czJz"},
    ]
    assert dropped == ("messages.reasoning",)


def test_an_orphaned_result_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        write([HELLO, Message(role="user", parts=[ToolResult(id="x", parts=[])])])
    assert refused.value.param == "messages[1]"


def test_broken_and_free_arguments_stay_readable() -> None:
    uses = [ToolUse(id="a", name="f", arguments='{"x":'), ToolUse(id="b", name="p", arguments="ls", custom=True)]
    parts = write([HELLO, Message(role="assistant", parts=[*uses])])[0]["contents"][1]["parts"]
    assert [part["functionCall"]["args"] for part in parts] == [{"input": '{"x":'}, {"input": "ls"}]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Media(kind="image", data=PNG), {"inlineData": {"mimeType": "image/png", "data": PNG}}),
        (
            Media(kind="audio", mime="audio/wav", data="AAAA"),
            {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        ),
        (Media(kind="document", mime="text/plain", text="words", name="n"), {"text": "n:\nwords"}),
        (
            Media(kind="image", url="https://a.example/b.png?x=1"),
            {"fileData": {"mimeType": "image/png", "fileUri": "https://a.example/b.png?x=1"}},
        ),
        (Media(kind="video", url="https://youtu.be/x"), {"fileData": {"fileUri": "https://youtu.be/x"}}),
        (
            Media(kind="document", mime="application/pdf", file_id="files/abc", origin="gemini"),
            {
                "fileData": {
                    "mimeType": "application/pdf",
                    "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc",
                }
            },
        ),
    ],
)
def test_media(part: Media, expected: Json) -> None:
    assert write([Message(role="user", parts=[part])])[0]["contents"][0]["parts"] == [expected]


def test_a_file_of_another_provider_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        write([Message(role="user", parts=[Media(kind="document", file_id="file-1", origin="openai.chat")])])
    assert refused.value.param == "messages[0].content[0]"


@pytest.mark.parametrize("model", ["gemini-3-flash-preview", "gemini-2.5-flash"])
def test_images_in_results(model: str) -> None:
    result = ToolResult(id="a", parts=[Text(text="see"), Media(kind="image", mime="image/png", data=PNG)])
    use = Message(role="assistant", parts=[ToolUse(id="a", name="f")])
    parts = write([HELLO, use, Message(role="user", parts=[result])], model)[0]["contents"][2]["parts"]
    image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    if model.startswith("gemini-3"):
        assert parts[0]["functionResponse"]["parts"] == [image] and len(parts) == 1
    else:
        assert parts[1:] == [image]


SCHEMA = {"type": "object", "properties": {"a": {"type": ["string", "null"], "format": "uri"}},
          "additionalProperties": False, "$schema": "x"}  # fmt: skip


def test_tools() -> None:
    tools = [Tool(name="f", description="d", schema=SCHEMA), Tool(name="g"), Tool(name="p", custom=True)]
    body, dropped = write(tools=tools)
    first, second, third = body["tools"][0]["functionDeclarations"]
    assert first["parameters"]["properties"]["a"] == {"type": "STRING", "nullable": True, "description": "Format: uri."}
    assert second == {"name": "g"}
    assert third["parameters"]["required"] == ["input"]
    assert "toolConfig" not in body
    assert dropped == ("tools.parameters.format",)


def test_the_grammar_of_a_free_form_tool_is_told_in_words() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /a+/"}
    body, dropped = write(tools=[Tool(name="p", description="A patch.", custom=True, format=grammar)])
    (function,) = body["tools"][0]["functionDeclarations"]
    assert function["description"].startswith("A patch.")
    assert "lark" in function["description"] and "start: /a+/" in function["description"]
    assert function["parameters"]["type"] == "OBJECT"
    assert dropped == ()


@pytest.mark.parametrize(
    ("choice", "strict", "expected"),
    [
        (None, None, None),
        (None, True, {"mode": "VALIDATED"}),
        (ToolChoice(mode="auto"), None, {"mode": "AUTO"}),
        (ToolChoice(mode="none"), None, {"mode": "NONE"}),
        (ToolChoice(mode="required"), True, {"mode": "ANY"}),
        (ToolChoice(mode="named", name="f"), None, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice(mode="required", allowed=["f"]), None, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice(mode="auto", allowed=["f"]), None, {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, strict: bool | None, expected: Json | None) -> None:
    body, _ = write(tools=[Tool(name="f", strict=strict)], tool_choice=choice)
    assert body.get("toolConfig", {}).get("functionCallingConfig") == expected


def test_builtin_tools() -> None:
    search = BuiltinTool(kind="web_search", raw={"type": "web_search"}, origin="openai.responses", max_uses=3)
    other = BuiltinTool(kind="image_generation", raw={}, origin="openai.responses")
    body, dropped = write(builtin_tools=[search, other])
    assert body["tools"] == [{"googleSearch": {}}]
    assert dropped == ("tools.max_uses", "tools.image_generation")
    body, dropped = write(builtin_tools=[search], tools=[Tool(name="f")])
    assert "googleSearch" not in str(body["tools"]) and "tools.web_search" in dropped
    body, _ = write(builtin_tools=[search], tools=[Tool(name="f")], model="gemini-3-flash-preview")
    assert body["toolConfig"]["includeServerSideToolInvocations"] is True


@pytest.mark.parametrize("name", ["1st", "get weather", "mcp.server/tool", "a" * 90, "-x", "ünï", ""])
def test_names_are_mapped_and_mapped_back(name: str) -> None:
    sent = for_gemini(name)
    assert sent == for_gemini(name) and 0 < len(sent) <= 64
    assert for_gemini(sent) == sent
    assert restored(sent, [Tool(name="other"), Tool(name=name)]) == name
    assert write(tools=[Tool(name=name)])[0]["tools"][0]["functionDeclarations"][0]["name"] == sent


@pytest.mark.parametrize(
    ("model", "wish", "expected"),
    [
        ("gemini-2.5-flash", ReasoningWish(effort="low"), {"thinkingBudget": 1024}),
        ("gemini-2.5-flash", ReasoningWish(effort="none"), {"thinkingBudget": 0}),
        ("gemini-2.5-pro", ReasoningWish(effort="none"), {"thinkingBudget": 128}),
        ("gemini-2.5-pro", ReasoningWish(budget=100_000), {"thinkingBudget": 32768}),
        ("gemini-2.5-flash-lite", ReasoningWish(budget=100), {"thinkingBudget": 512}),
        ("gemini-2.5-flash", ReasoningWish(budget=-1, show=True), {"thinkingBudget": -1, "includeThoughts": True}),
        ("gemini-3-pro-preview", ReasoningWish(effort="none"), {"thinkingLevel": "LOW"}),
        ("gemini-3-pro-preview", ReasoningWish(effort="medium"), {"thinkingLevel": "HIGH"}),
        ("gemini-3.1-pro-preview", ReasoningWish(effort="medium"), {"thinkingLevel": "MEDIUM"}),
        ("gemini-3-flash-preview", ReasoningWish(effort="minimal"), {"thinkingLevel": "MINIMAL"}),
        ("gemini-3-flash-preview", ReasoningWish(budget=20_000), {"thinkingLevel": "HIGH"}),
        ("gemini-3-flash-preview", ReasoningWish(summary="auto"), {"includeThoughts": True}),
        ("gemini-3.6-flash", ReasoningWish(effort="none"), {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.7-flash", ReasoningWish(effort="minimal"), {"thinkingLevel": "LOW"}),
        ("gemini-flash-latest", ReasoningWish(effort="none"), {"thinkingLevel": "LOW"}),
        ("gemini-3.5-flash-lite", ReasoningWish(effort="none"), {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.1-flash-image", ReasoningWish(effort="medium"), {"thinkingLevel": "HIGH"}),
        ("gemini-2.5-flash-image", ReasoningWish(effort="high"), None),
        ("gemini-2.0-flash", ReasoningWish(effort="high"), None),
    ],
)
def test_thinking(model: str, wish: ReasoningWish, expected: Json | None) -> None:
    assert config(model=model, reasoning=wish).get("thinkingConfig") == expected


def test_sampling() -> None:
    found = config(
        temperature=0.5, top_p=0.9, top_k=-1, max_tokens=7, stop=list("abcdefg"), n=12, seed=2**40 + 1, logprobs=3,
        frequency_penalty=0.1, presence_penalty=0.2, model="gemini-2.0-flash",
    )  # fmt: skip
    assert found == {
        "temperature": 0.5, "topP": 0.9, "presencePenalty": 0.2, "frequencyPenalty": 0.1, "maxOutputTokens": 7,
        "seed": 1, "stopSequences": list("abcde"), "candidateCount": 8, "responseLogprobs": True, "logprobs": 3,
    }  # fmt: skip


def test_penalties_are_refused_by_newer_models() -> None:
    assert write(frequency_penalty=0, presence_penalty=0.0) == (
        {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
        (),
    )
    body, dropped = write(frequency_penalty=0.1, presence_penalty=-1)
    assert "generationConfig" not in body and set(dropped) == {"frequency_penalty", "presence_penalty"}


def test_metadata_are_labels_on_vertex() -> None:
    metadata = {"team": "a-1", "Upper": "x", "cost": "has spaces"}
    body, dropped = write(provider="vertex-eu", metadata=metadata)
    assert body["labels"] == {"team": "a-1"} and dropped == ("metadata",)
    assert write(provider="vertex", metadata={"team": "a-1"})[1] == ()
    body, dropped = write(metadata={"team": "a-1"})
    assert "labels" not in body and dropped == ("metadata",)


def test_no_json_where_a_tool_has_to_be_called() -> None:
    wanted = OutputFormat(kind="json")
    fields: Json = {"model": "gemini-3-flash-preview", "output": wanted, "tools": [Tool(name="f")]}
    assert write(**fields)[0]["generationConfig"] == {"responseMimeType": "application/json"}
    body, dropped = write(**fields, tool_choice=ToolChoice(mode="required"))
    assert "generationConfig" not in body and dropped == ("response_format",)


def test_structured_output() -> None:
    wanted = OutputFormat(kind="schema", schema=SCHEMA, name="n")
    found = config(output=wanted)
    assert found["responseMimeType"] == "application/json" and found["responseSchema"]["type"] == "OBJECT"
    assert config(output=OutputFormat(kind="json")) == {"responseMimeType": "application/json"}
    body, dropped = write(output=wanted, tools=[Tool(name="f")])
    assert "generationConfig" not in body and "response_format" in dropped


def test_what_gemini_lacks_is_reported() -> None:
    fields: Json = {"logit_bias": {"1": 1.0}, "user": "u", "metadata": {"a": "b"}, "verbosity": "low", "store": True}
    _, dropped = write(tools=[Tool(name="f")], parallel_tools=False, **fields)
    assert set(dropped) == {"logit_bias", "user", "metadata", "verbosity", "store", "parallel_tool_calls"}


def test_quirks_of_a_server() -> None:
    chat = Chat(model="m", messages=[HELLO], seed=1, max_tokens=99)
    traits, losses = Traits(drop=frozenset(["seed"]), max_output=50), Losses()
    assert GeminiGenerate().write_call(chat, traits, losses)["generationConfig"] == {"maxOutputTokens": 50}
    assert losses.dropped == ("seed",)


def test_paths() -> None:
    translator = GeminiGenerate()
    assert translator.path(Chat(model="a/b")) == "/v1beta/models/a%2Fb:generateContent"
    assert translator.path(Chat(model="m", stream=True)).endswith(":streamGenerateContent?alt=sse")


_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
_said = st.lists(
    st.builds(
        lambda role, texts: Message(role=role, parts=[Text(text=text) for text in texts]),
        st.sampled_from(["user", "assistant"]),
        st.lists(_texts, min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(_said, _texts)
def test_there_and_back_keeps_what_is_said(messages: list[Message], system: str) -> None:
    instruction = Message(role="system", parts=[Text(text=system)])
    body, _ = write([instruction, *messages])
    back = GeminiGenerate().read_call(body, "/v1beta/models/m:generateContent", Losses())

    def said(messages: list[Message]) -> list[tuple[str, str]]:
        return [
            (message.role, char)
            for message in messages
            for part in message.parts
            if isinstance(part, Text)
            for char in part.text
        ]

    assert said(back.messages) == said([instruction, *messages])
