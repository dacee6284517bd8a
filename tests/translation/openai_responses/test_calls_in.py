from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.errors import Invalid, Refusal
from shin_gateway.translation.form import (
    Builtin,
    BuiltinTool,
    Citation,
    Media,
    Message,
    OutputFormat,
    Reasoning,
    ReasoningWish,
    Refused,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.seals import Parcel, pack
from tests.translation.openai_responses.sdk import chat

ORIGIN = "openai.responses"
PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def user(*content: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": list(content)}]}


def parts(*content: Any) -> list[Any]:
    return chat(user(*content)).messages[0].parts


def test_a_string() -> None:
    found = chat({"model": "gpt-5", "instructions": "Be brief.", "input": "Hi", "stream": True})
    assert found.model == "gpt-5"
    assert found.stream and found.stream_usage
    assert found.messages == [
        Message(role="system", parts=[Text(text="Be brief.")]),
        Message(role="user", parts=[Text(text="Hi")]),
    ]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"type": "input_text", "text": "a"}, Text(text="a")),
        (
            {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
            Text(text="a", cache="1h"),
        ),
        ({"type": "output_text", "text": "a", "annotations": [], "logprobs": []}, Text(text="a")),
        ({"type": "refusal", "refusal": "No."}, Refused(text="No.")),
        (
            {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "low"},
            Media(kind="image", mime="image/png", data=PNG, detail="low"),
        ),
        (
            {"type": "input_image", "image_url": "https://a.example/a.png", "detail": "auto", "file_id": None},
            Media(kind="image", url="https://a.example/a.png", detail="auto"),
        ),
        ({"type": "input_image", "file_id": "file-1"}, Media(kind="image", file_id="file-1", origin=ORIGIN)),
        (
            {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"},
            Media(kind="document", mime="application/pdf", data="JVBERi0=", name="a.pdf"),
        ),
        (
            {"type": "input_file", "file_data": "JVBERi0=", "filename": "a.pdf"},
            Media(kind="document", mime="application/pdf", data="JVBERi0=", name="a.pdf"),
        ),
        (
            {"type": "input_file", "file_data": "data:text/plain;base64,R3LDvMOfZQ==", "filename": "a.txt"},
            Media(kind="document", mime="text/plain", text="Grüße", name="a.txt"),
        ),
        (
            {"type": "input_file", "file_url": "https://a.example/a.pdf"},
            Media(kind="document", url="https://a.example/a.pdf"),
        ),
        ({"type": "input_file", "file_id": "file-1"}, Media(kind="document", file_id="file-1", origin=ORIGIN)),
        (
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "mp3"}},
            Media(kind="audio", mime="audio/mpeg", data="UklGRg=="),
        ),
    ],
)
def test_contents(content: Any, part: Any) -> None:
    assert parts(content) == [part]


def test_annotations() -> None:
    note = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 1, "end_index": 3}
    text = parts({"type": "output_text", "text": "abcd", "annotations": [note]})[0]
    expected = Citation(url="https://a.example", title="A", start=1, end=3, raw=note, origin=ORIGIN)
    assert text.citations == [expected]


def test_a_turn_with_tools() -> None:
    found = chat(
        {
            "input": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": "?"},
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}],
                 "encrypted_content": "gAAA", "status": None},
                {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
                 "content": [{"type": "output_text", "text": "Wait.", "annotations": []}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "id": "fc_1"},
                {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
                {"type": "function_call_output", "call_id": "c1", "output": "1"},
                {"type": "custom_tool_call_output", "call_id": "c2", "output": [
                    {"type": "input_text", "text": "2"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}]},
                {"role": "user", "content": "And?"},
            ]
        }
    )  # fmt: skip
    assert found.messages == [
        Message(role="developer", parts=[Text(text="Be brief.")]),
        Message(role="user", parts=[Text(text="?")]),
        Message(
            role="assistant",
            parts=[
                Reasoning(text="Hm", summary=True, seal="gAAA", id="rs_1", origin=ORIGIN),
                Text(text="Wait."),
                ToolUse(id="c1", name="f", arguments="{}", origin=ORIGIN),
                ToolUse(id="c2", name="g", arguments="x", custom=True, origin=ORIGIN),
            ],
        ),
        Message(
            role="user",
            parts=[
                ToolResult(id="c1", name="f", parts=[Text(text="1")]),
                ToolResult(
                    id="c2",
                    name="g",
                    custom=True,
                    parts=[Text(text="2"), Media(kind="image", mime="image/png", data=PNG)],
                ),
            ],
        ),
        Message(role="user", parts=[Text(text="And?")]),
    ]
    assert found.tool_name("c2") == "g"


def test_thoughts_of_another_provider() -> None:
    sealed = pack(Parcel(origin="anthropic.messages", seal="sig", redacted=True))
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed}
    part = chat({"input": [item]}).messages[0].parts[0]
    assert part == Reasoning(seal="sig", redacted=True, origin="anthropic.messages")


@pytest.mark.parametrize(
    ("item", "role", "kind", "text"),
    [
        ({"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": "search", "query": "Bern"}},
         "assistant", "web_search", "Bern"),
        ({"type": "file_search_call", "id": "fs", "queries": ["a", "b"]}, "assistant", "file_search", "a\nb"),
        ({"type": "code_interpreter_call", "id": "ci", "code": "1+1"}, "assistant", "code_execution", "1+1"),
        ({"type": "mcp_call", "id": "m", "name": "x", "arguments": "{}", "output": "y"}, "assistant", "mcp", "y"),
        ({"type": "local_shell_call", "id": "l", "action": {"command": ["ls", "-l"]}},
         "assistant", "local_shell_call", "ls\n-l"),
        ({"type": "shell_call_output", "call_id": "s", "output": []}, "user", "shell_call_output", ""),
        ({"type": "compaction", "encrypted_content": "gAAA"}, "assistant", "compaction", ""),
        ({"type": "computer_call_output", "output": {"type": "computer_screenshot"}}, "user", "computer", ""),
        ({"type": "something_new", "x": 1}, "assistant", "something_new", ""),
    ],
)  # fmt: skip
def test_items_of_openai_alone(item: Any, role: str, kind: str, text: str) -> None:
    message = chat({"input": [item]}).messages[0]
    assert message.role == role
    assert message.parts == [Builtin(kind=kind, raw=[item], text=text, origin=ORIGIN)]


def test_an_image_that_was_made() -> None:
    item = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PNG}
    part = chat({"input": [item]}).messages[0].parts[0]
    assert part == Media(kind="image", mime="image/png", data=PNG, id="ig_1", origin=ORIGIN)


def test_tools() -> None:
    function = {"type": "function", "name": "f", "description": "F.", "parameters": SCHEMA, "strict": True}
    search = {
        "type": "web_search_preview",
        "filters": {"allowed_domains": ["a.example"]},
        "user_location": {"type": "approximate", "city": "Bern", "country": None},
        "search_context_size": "low",
    }
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: x"}
    losses = Losses()
    found = chat(
        {
            "tools": [
                {**function, "defer_loading": True, "async": False},
                {"type": "custom", "name": "g", "format": grammar},
                search,
                {"type": "namespace", "name": "mcp__git__", "description": "G", "tools": [{**function, "name": "log"}]},
                {"type": "code_interpreter", "container": {"type": "auto"}},
            ],
            "input": [{"type": "additional_tools", "role": "developer", "tools": [{**function, "name": "shell"}]}],
            "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
            "parallel_tool_calls": False,
        },
        losses,
    )
    assert found.tools[0] == Tool(name="f", description="F.", schema=SCHEMA, strict=True)
    assert found.tools[1] == Tool(name="g", custom=True, format=grammar)
    assert [tool.name for tool in found.tools] == ["f", "g", "mcp__git__log", "shell"]
    assert [tool.kind for tool in found.builtin_tools] == ["web_search", "code_execution"]
    assert found.builtin_tools[0] == BuiltinTool(
        kind="web_search",
        raw=search,
        origin=ORIGIN,
        allowed_domains=["a.example"],
        location={"city": "Bern"},
        context_size="low",
    )
    assert found.tool_choice == ToolChoice(mode="required", allowed=["f"])
    assert found.parallel_tools is False
    assert losses.dropped == ("tools.defer_loading", "tools.namespace.description")
    assert found.messages == []


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice()),
        ("none", ToolChoice(mode="none")),
        ("required", ToolChoice(mode="required")),
        ({"type": "function", "name": "f"}, ToolChoice(mode="named", name="f")),
        ({"type": "custom", "name": "g"}, ToolChoice(mode="named", name="g")),
        ({"type": "web_search_preview"}, ToolChoice(mode="named", name="web_search")),
        ({"type": "mcp", "server_label": "x"}, None),
    ],
)
def test_tool_choice(choice: Any, expected: Any) -> None:
    assert chat({"input": "?", "tool_choice": choice}).tool_choice == expected


def test_everything_else() -> None:
    losses = Losses()
    found = chat(
        {
            "input": "?",
            "max_output_tokens": 100,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_logprobs": 3,
            "text": {
                "format": {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True},
                "verbosity": "low",
            },
            "reasoning": {"effort": "high", "summary": "detailed", "context": "auto"},
            "include": ["reasoning.encrypted_content", "message.output_text.logprobs", "file_search_call.results"],
            "metadata": {"a": "b"},
            "user": "u",
            "safety_identifier": "s",
            "prompt_cache_key": "k",
            "prompt_cache_retention": "24h",
            "service_tier": "flex",
            "store": False,
            "truncation": "auto",
            "stream_options": {"include_obfuscation": False},
            "moderation": {"model": "m"},
            "new thing\r\n": 1,
            "background": False,
            "previous_response_id": None,
        },
        losses,
    )
    assert (found.max_tokens, found.temperature, found.top_p, found.logprobs) == (100, 0.5, 0.9, 3)
    assert found.output == OutputFormat(kind="schema", name="a", schema=SCHEMA, strict=True)
    assert found.verbosity == "low"
    assert found.reasoning == ReasoningWish(effort="high", summary="detailed", show=True, sealed=True)
    assert (found.metadata, found.user, found.safety_identifier, found.cache_key) == ({"a": "b"}, "u", "s", "k")
    assert (found.service_tier, found.store) == ("flex", False)
    assert set(losses.dropped) == {
        "include.file_search_call.results", "reasoning.context", "truncation", "prompt_cache_retention",
        "stream_options.include_obfuscation", "moderation", "unknown field",
    }  # fmt: skip


def test_a_frame_of_the_websocket() -> None:
    losses = Losses()
    chat({"type": "response.create", "generate": False, "input": "?", "client_metadata": {"a": "b"}}, losses)
    assert losses.dropped == ("client_metadata",)


def test_one_step_limit_for_one_tool() -> None:
    search = {"type": "web_search"}
    assert chat({"input": "?", "tools": [search], "max_tool_calls": 3}).builtin_tools[0].max_uses == 3
    losses = Losses()
    chat(
        {"input": "?", "tools": [search, {"type": "file_search", "vector_store_ids": []}], "max_tool_calls": 3}, losses
    )
    assert losses.dropped == ("max_tool_calls",)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": 3}, "input"),
        ({"input": [3]}, "input[0]"),
        ({"input": [{}]}, "input[0].type"),
        ({"input": [{"type": 3}]}, "input[0].type"),
        ({"input": [{"role": "alien", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        (user({"type": "hologram"}), "input[0].content[0].type"),
        (user({"type": "input_text"}), "input[0].content[0].text"),
        (user({"type": "input_image"}), "input[0].content[0].image_url"),
        (user({"type": "input_image", "image_url": "ftp://a"}), "input[0].content[0].image_url"),
        (user({"type": "input_image", "image_url": "data:image/png;base64,%%%"}), "input[0].content[0].image_url"),
        (user({"type": "input_image", "image_url": "data:image/png"}), "input[0].content[0].image_url"),
        (user({"type": "input_image", "image_url": "x", "detail": "best"}), "input[0].content[0].detail"),
        (user({"type": "input_file", "filename": "a"}), "input[0].content[0].file_data"),
        (user({"type": "input_file", "file_data": "!"}), "input[0].content[0].file_data"),
        (user({"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}),
         "input[0].content[0].input_audio.data"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]}, "input[0].name"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"input": [{"type": "reasoning", "summary": [3]}]}, "input[0].summary[0]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].id"),
        ({"instructions": 3}, "instructions"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": 3}]}, "tools[0].parameters"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]}, "tools[0].tools[0].name"),
        ({"tool_choice": 3}, "tool_choice"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 10**400}, "max_output_tokens"),
        ({"max_output_tokens": True}, "max_output_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"include": "x"}, "include"),
        ({"include": [3]}, "include[0]"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"stream": "yes"}, "stream"),
        ({"truncation": "maybe"}, "truncation"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(body: Any, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        chat(body)
    assert caught.value.message.startswith(f"{field}: ")
    assert caught.value.param == field


def test_an_unknown_reply_is_named_as_openai_does() -> None:
    with pytest.raises(Invalid) as caught:
        chat({"model": "m", "input": "hi", "previous_response_id": "resp_1"})
    assert caught.value.code == "previous_response_not_found"


def test_a_result_of_no_call_is_refused() -> None:
    orphan = {"type": "function_call_output", "call_id": "c9", "output": "x"}
    with pytest.raises(Invalid) as caught:
        chat({"model": "m", "input": [{"role": "user", "content": "hi"}, orphan]})
    assert caught.value.param == "input[1].call_id"


def test_what_answers_no_call() -> None:
    """An asynchronous tool's output, and Codex's results of the shell that is OpenAI's tool."""
    late = {"type": "function_call_output", "name": "watch", "output": "it rains"}
    shell = {"type": "local_shell_call", "call_id": "c1", "action": {"type": "exec", "command": ["ls"]}}
    result = {"type": "function_call_output", "call_id": "c1", "output": "a.txt"}
    found = chat({"model": "m", "input": [late, shell, result, {"role": "user", "content": "hi"}]}).messages
    assert found[0].parts == [Text(text="Output of the tool watch:"), Text(text="it rains")]
    assert [[type(part) for part in one.parts] for one in found[1:]] == [[Builtin], [Builtin], [Text]]
    assert isinstance(found[2].parts[0], Builtin) and found[2].parts[0].text == "a.txt"


def test_what_only_made_things_cheaper_and_what_did_not() -> None:
    losses = Losses(refuse=True)
    tool = {"type": "function", "name": "f", "parameters": {}, "strict": None, "defer_loading": True}
    search = {"type": "web_search", "external_web_access": True, "search_content_types": ["text"]}
    chat({"model": "m", "input": "hi", "tools": [tool, search]}, losses)
    assert losses.dropped == ("tools.defer_loading",)
    losses = Losses()
    chat({"model": "m", "input": "hi", "tools": [{**search, "external_web_access": False}]}, losses)
    assert losses.dropped == ("tools.external_web_access",)


def test_a_reference_to_thoughts_may_be_left_out() -> None:
    losses = Losses()
    assert chat({"input": [{"type": "item_reference", "id": "rs_1"}]}, losses).messages == []
    assert losses.dropped == ("input.item_reference",)


def test_a_strict_policy_refuses() -> None:
    with pytest.raises(Invalid, match="truncation"):
        chat({"input": "?", "truncation": "auto"}, Losses(refuse=True))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([10**400, -1, 0, 1, 1e308, float("inf"), float("nan"), "", "auto", "user", "\ud800"])
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "id", "call_id", "name", "tools", "summary", "output"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
FIELDS = [
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "text",
    "reasoning",
    "include",
    "metadata",
    "temperature",
    "max_output_tokens",
    "stream",
    "truncation",
    "stream_options",
    "prompt",
    "service_tier",
    "max_tool_calls",
    "top_logprobs",
    "store",
    "user",
]
TYPES = [
    "message",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "reasoning",
    "image_generation_call",
    "item_reference",
    "additional_tools",
    "web_search_call",
    "input_text",
    "input_image",
    "input_file",
    "input_audio",
    "function",
    "namespace",
    "web_search",
]
TYPED = st.builds(
    lambda kind, rest: {**rest, "type": kind},
    st.sampled_from(TYPES),
    st.dictionaries(
        st.sampled_from(
            [
                "role",
                "content",
                "text",
                "call_id",
                "name",
                "arguments",
                "output",
                "tools",
                "image_url",
                "file_data",
                "input_audio",
                "filters",
                "action",
                "summary",
                "encrypted_content",
                "annotations",
                "id",
                "input",
                "detail",
                "user_location",
            ]
        ),
        JSON,
        max_size=5,
    ),
)


@settings(max_examples=250, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON | TYPED | st.lists(TYPED, max_size=3), max_size=5))
def test_nonsense_is_invalid_and_nothing_worse(body: Any) -> None:
    status = 400
    try:
        chat(body)
    except Refusal as wrong:
        status = wrong.status
    assert status == 400


def test_nested_deeply() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    for body in ({"input": deep}, {"input": [{"role": "user", "content": deep}]}, {"metadata": deep}, {"tools": deep}):
        with pytest.raises(Invalid):
            chat(body)
    chat({"input": "?", "tools": [{"type": "function", "name": "f", "parameters": {"a": deep}}]})


def test_secrets_are_in_no_error() -> None:
    with pytest.raises(Invalid) as caught:
        chat(user({"type": "input_image", "image_url": "data:image/png;base64,c2VjcmV0!"}))
    assert "c2VjcmV0" not in json.dumps(caught.value.message)
