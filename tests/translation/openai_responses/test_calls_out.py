from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.errors import Invalid
from shin_gateway.translation.form import (
    AnyPart,
    Builtin,
    BuiltinTool,
    Chat,
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
from shin_gateway.translation.openai_models import model_of, nearest
from shin_gateway.translation.translator import Traits
from tests.translation.openai_responses.sdk import DIALECT, accepts_call, chat

PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
ORIGIN = "openai.responses"


def body(losses: Losses | None = None, model: str = "gpt-4.1", traits: Traits | None = None, **fields: Any) -> Any:
    fields.setdefault("messages", [Message(role="user", parts=[Text(text="?")])])
    found = DIALECT.write_call(Chat(model=model, **fields), traits or Traits(), losses or Losses())
    accepts_call(found)
    return found


def items(*parts: AnyPart, role: Any = "user", losses: Losses | None = None) -> Any:
    return body(losses, messages=[Message(role=role, parts=list(parts))])["input"]


def content(part: AnyPart, losses: Losses | None = None) -> Any:
    return items(part, losses=losses)[0]["content"][0]


def test_a_plain_call() -> None:
    found = body(
        messages=[
            Message(role="system", parts=[Text(text="Be brief."), Text(text="Be kind.")]),
            Message(role="user", parts=[Text(text="Hi")]),
            Message(role="assistant", parts=[Text(text="Hello")]),
            Message(role="system", parts=[Text(text="Now in German.")]),
        ],
        stream=True,
    )
    assert found == {
        "model": "gpt-4.1",
        "instructions": "Be brief.\n\nBe kind.",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"role": "assistant", "content": "Hello"},
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Now in German."}]},
        ],
        "store": False,
        "stream": True,
    }


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            Media(kind="image", mime="image/png", data=PNG),
            {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PNG}"},
        ),
        (
            Media(kind="image", url="https://a.example", detail="high"),
            {"type": "input_image", "detail": "high", "image_url": "https://a.example"},
        ),
        (
            Media(kind="image", file_id="file-1", origin=ORIGIN),
            {"type": "input_image", "detail": "auto", "file_id": "file-1"},
        ),
        (
            Media(kind="document", mime="application/pdf", data="JVBERi0="),
            {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        ),
        (
            Media(kind="document", mime="text/plain", text="Hi", name="a.txt"),
            {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,SGk="},
        ),
        (
            Media(kind="document", url="https://a.example/a.pdf"),
            {"type": "input_file", "file_url": "https://a.example/a.pdf"},
        ),
    ],
)
def test_media(part: Media, expected: Any) -> None:
    assert content(part) == expected


@pytest.mark.parametrize(
    ("part", "note"),
    [
        (Media(kind="video", data="QQ=="), "messages.content.video"),
        (Media(kind="audio", mime="audio/flac", data="QQ=="), "messages.content.audio"),
        (Media(kind="audio", mime="audio/wav", data="QQ=="), "messages.content.audio"),
        (Media(kind="audio", mime="audio/mpeg", data="QQ=="), "messages.content.audio"),
        (Media(kind="image", file_id="f", origin="anthropic"), "messages.content.image.file_id"),
    ],
)
def test_media_that_it_cannot_take(part: Media, note: str) -> None:
    losses = Losses()
    assert items(Text(text="a"), part, losses=losses)[0]["content"] == [{"type": "input_text", "text": "a"}]
    assert losses.dropped == (note,)
    with pytest.raises(Invalid):
        items(part, losses=Losses(refuse=True))


def test_what_the_model_said() -> None:
    losses = Losses()
    found = items(
        Reasoning(text="Hm", summary=True, seal="gAAA", id="rs_1", origin=ORIGIN),
        Reasoning(text="Hm", seal="sig", origin="anthropic.messages"),
        Text(text="Wait."),
        Text(text=""),
        ToolUse(id="c1", name="f", arguments=""),
        ToolUse(id="c2", name="g", arguments="x", custom=True),
        Builtin(kind="web_search", raw=[{"type": "web_search_call", "id": "ws_1", "status": "completed",
                                         "action": {"type": "search", "query": "a"}}], origin=ORIGIN),
        Builtin(kind="web_search", raw=[{}], origin="anthropic.messages"),
        Text(text="No: ", citations=[Citation(url="u")]),
        Refused(text="I will not."),
        role="assistant",
        losses=losses,
    )  # fmt: skip
    assert [item.get("type", "easy") for item in found] == [
        "reasoning", "easy", "function_call", "custom_tool_call", "web_search_call", "message"
    ]  # fmt: skip
    assert found[0] == {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Hm"}],
        "encrypted_content": "gAAA",
    }
    assert found[2] == {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    assert found[5]["content"][1] == {"type": "refusal", "refusal": "I will not."}
    assert losses.dropped == ("messages.reasoning", "messages.content.server_tools", "messages.content.annotations")


def test_results_of_tools() -> None:
    long = "toolu_" + "x" * 100
    found = body(
        messages=[
            Message(role="assistant", parts=[ToolUse(id=long, name="f"), ToolUse(id="c2", name="g", custom=True)]),
            Message(
                role="user",
                parts=[
                    ToolResult(id=long, parts=[Text(text="1")], is_error=True),
                    ToolResult(id="c2", parts=[Text(text="2"), Media(kind="image", mime="image/png", data=PNG)]),
                    Text(text="And?"),
                ],
            ),
        ]
    )["input"]
    assert found[0]["call_id"] == found[2]["call_id"]
    assert len(found[0]["call_id"]) <= 64
    assert found[2]["output"] == "1"
    assert found[2]["status"] == "incomplete"
    assert found[3]["type"] == "custom_tool_call_output"
    assert [part["type"] for part in found[3]["output"]] == ["input_text", "input_image"]
    assert found[4]["content"] == [{"type": "input_text", "text": "And?"}]


def test_tools_and_choice() -> None:
    search = BuiltinTool(
        kind="web_search", raw={"type": "web_search_20250305"}, origin="anthropic.messages", max_uses=3,
        allowed_domains=["a.example"], location={"city": "Bern"},
    )  # fmt: skip
    found = body(
        tools=[Tool(name="f", description="F.", schema=SCHEMA), Tool(name="g"), Tool(name="h", custom=True)],
        builtin_tools=[search],
        tool_choice=ToolChoice(mode="named", name="h"),
        parallel_tools=False,
    )
    assert found["tools"] == [
        {"type": "function", "name": "f", "description": "F.", "parameters": SCHEMA, "strict": False},
        {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": False},
        {"type": "custom", "name": "h"},
        {
            "type": "web_search",
            "filters": {"allowed_domains": ["a.example"]},
            "user_location": {"type": "approximate", "city": "Bern"},
        },
    ]
    assert found["tool_choice"] == {"type": "custom", "name": "h"}
    assert found["parallel_tool_calls"] is False
    assert found["max_tool_calls"] == 3


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(), "auto"),
        (ToolChoice(mode="none"), "none"),
        (ToolChoice(mode="required"), "required"),
        (ToolChoice(mode="named", name="f"), {"type": "function", "name": "f"}),
        (
            ToolChoice(mode="required", allowed=["f"]),
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        ),
        (ToolChoice(mode="named", name="code_execution"), {"type": "code_interpreter"}),
    ],
)
def test_choices(choice: ToolChoice, expected: Any) -> None:
    code = BuiltinTool(kind="code_execution", raw={"codeExecution": {}}, origin="gemini.generate")
    assert body(tools=[Tool(name="f")], builtin_tools=[code], tool_choice=choice)["tool_choice"] == expected


def test_tools_of_others() -> None:
    losses = Losses()
    tools = [
        BuiltinTool(kind="url_context", raw={"urlContext": {}}, origin="gemini.generate"),
        BuiltinTool(kind="mcp", raw={"name": "x", "url": "https://x.example"}, origin="anthropic.messages"),
        BuiltinTool(kind="file_search", raw={"type": "file_search", "vector_store_ids": ["v"]}, origin=ORIGIN),
    ]
    found = body(losses, builtin_tools=tools, modalities=["text", "image"])["tools"]
    assert [tool["type"] for tool in found] == ["mcp", "file_search", "image_generation"]
    assert losses.dropped == ("tools.url_context",)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (OutputFormat(), {"type": "text"}),
        (OutputFormat(kind="json"), {"type": "json_object"}),
        (OutputFormat(kind="schema", schema=SCHEMA), {"type": "json_schema", "name": "answer", "schema": SCHEMA}),
        (
            OutputFormat(kind="schema", name="my answer", schema=SCHEMA, strict=True, description="D"),
            {"type": "json_schema", "name": "my_answer_f18b4e55", "schema": SCHEMA, "strict": True, "description": "D"},
        ),
    ],
)
def test_the_form_of_the_answer(output: OutputFormat, expected: Any) -> None:
    assert body(model="gpt-5", output=output, verbosity="low")["text"] == {"format": expected, "verbosity": "low"}


def test_json_is_mentioned_once() -> None:
    format = OutputFormat(kind="json")
    assert body(output=format)["input"][0]["content"] == "Answer with JSON."
    said = [Message(role="user", parts=[Text(text="Give me Json")])]
    assert len(body(output=format, messages=said)["input"]) == 1


@pytest.mark.parametrize(
    ("model", "wish", "reasoning", "include"),
    [
        ("gpt-4.1", None, None, None),
        ("gpt-4.1", ReasoningWish(effort="high"), None, None),
        ("gpt-5", None, None, ["reasoning.encrypted_content"]),
        ("gpt-5", ReasoningWish(effort="none"), {"effort": "minimal"}, ["reasoning.encrypted_content"]),
        ("o3", ReasoningWish(effort="xhigh"), {"effort": "high"}, ["reasoning.encrypted_content"]),
        ("o3", ReasoningWish(budget=1024), {"effort": "low"}, ["reasoning.encrypted_content"]),
        ("gpt-5.1", ReasoningWish(budget=0), {"effort": "none"}, ["reasoning.encrypted_content"]),
        ("gpt-5.6-sol", ReasoningWish(effort="max", show=True), {"effort": "max", "summary": "auto"},
         ["reasoning.encrypted_content"]),
        ("gpt-5", ReasoningWish(summary="detailed"), {"summary": "detailed"}, ["reasoning.encrypted_content"]),
        ("my-deployment", None, None, None),
        ("my-deployment", ReasoningWish(effort="low"), {"effort": "low"}, ["reasoning.encrypted_content"]),
    ],
)  # fmt: skip
def test_reasoning(model: str, wish: Any, reasoning: Any, include: Any) -> None:
    found = body(model=model, reasoning=wish)
    assert found.get("reasoning") == reasoning
    assert found.get("include") == include


def test_models_that_reason_take_no_temperature() -> None:
    losses = Losses()
    found = body(losses, "gpt-5-mini", temperature=0.2, top_p=1.0, logprobs=2)
    assert not found.keys() & {"temperature", "top_p", "top_logprobs"}
    assert losses.dropped == ("temperature", "logprobs")
    assert body(model="gpt-5.1", temperature=0.2, reasoning=ReasoningWish(effort="none"))["temperature"] == 0.2
    assert body(model="gpt-5.2", temperature=0.2)["temperature"] == 0.2
    assert "temperature" not in body(model="gpt-5.2", temperature=0.2, reasoning=ReasoningWish(effort="low"))
    plain = body(temperature=0.2, top_p=0.5, logprobs=0)
    assert (plain["temperature"], plain["top_p"], plain["top_logprobs"]) == (0.2, 0.5, 0)
    assert plain["include"] == ["message.output_text.logprobs"]


def test_what_has_no_place() -> None:
    losses = Losses()
    body(
        losses, stop=["x"], n=2, seed=0, logit_bias={"1": 1.0}, frequency_penalty=0.1, presence_penalty=0.1, top_k=3,
        prediction={}, audio={"voice": "x"}, modalities=["audio"], safety_settings=[{}], service_tier="express",
    )  # fmt: skip
    assert set(losses.dropped) == {
        "stop", "n", "seed", "logit_bias", "frequency_penalty", "presence_penalty", "top_k", "audio", "modalities",
        "safety_settings", "service_tier",
    }  # fmt: skip
    quiet = Losses()
    body(quiet, n=1, frequency_penalty=0.0)
    assert quiet.dropped == ()


def test_the_rest() -> None:
    found = body(
        max_tokens=1, user="u" * 100, cache_key="k", safety_identifier="s", metadata={"a": "b"}, service_tier="flex",
        store=True,
    )  # fmt: skip
    assert found["max_output_tokens"] == 16
    assert len(found["user"]) <= 64
    assert (found["prompt_cache_key"], found["safety_identifier"], found["service_tier"]) == ("k", "s", "flex")
    assert found["store"] is True
    losses = Losses()
    assert body(losses, metadata={str(n): "v" for n in range(20)} | {"long": "x" * 600})["metadata"].keys() == {
        str(n) for n in range(16)
    }
    assert losses.dropped == ("metadata",)


def test_quirks_of_a_server() -> None:
    losses = Losses()
    traits = Traits(drop=frozenset({"store", "metadata"}), rename={"max_output_tokens": "max_tokens"}, max_output=50)
    found = DIALECT.write_call(Chat(model="x", max_tokens=100, metadata={"a": "b"}), traits, losses)
    assert found == {"model": "x", "input": [], "max_tokens": 50}
    assert losses.dropped == ("metadata",)


@pytest.mark.parametrize(
    ("name", "reasons"),
    [("gpt-4o", False), ("gpt-5-chat-latest", False), ("openai/o4-mini", True), ("gpt-5.1-codex", True),
     ("ft:gpt-4o:org", False), ("llama-3", None), ("gpt-6-astra", True), ("gpt-oss-120b", True), ("o3-mini", True)],
)  # fmt: skip
def test_models(name: str, reasons: bool | None) -> None:
    assert model_of(name).reasons is reasons
    assert nearest("low", model_of(name).efforts) == "low"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
IDS = st.sampled_from(["a", "b", "call_1"])
ASSISTANT = st.one_of(
    st.builds(Text, text=TEXTS),
    st.builds(Refused, text=TEXTS),
    st.builds(Reasoning, text=TEXTS, summary=st.just(True), seal=TEXTS, id=IDS, origin=st.just(ORIGIN)),
    st.builds(ToolUse, id=IDS, name=IDS, arguments=TEXTS, custom=st.booleans(), origin=st.just(ORIGIN)),
)
MEDIA = st.builds(Media, kind=st.just("image"), mime=st.just("image/png"), data=st.just(PNG), detail=st.just("auto"))
USER = st.one_of(st.builds(Text, text=TEXTS), MEDIA)
MESSAGES = st.lists(
    st.one_of(
        st.builds(lambda parts: Message(role="assistant", parts=parts), st.lists(ASSISTANT, min_size=1, max_size=4)),
        st.builds(lambda parts: Message(role="user", parts=parts), st.lists(USER, min_size=1, max_size=3)),
        st.builds(lambda parts: Message(role="developer", parts=parts), st.lists(USER, min_size=1, max_size=2)),
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(MESSAGES, st.lists(st.builds(Tool, name=IDS, description=TEXTS, schema=st.just(SCHEMA), strict=st.booleans())))
def test_there_and_back(messages: list[Message], tools: list[Tool]) -> None:
    losses = Losses()
    written = DIALECT.write_call(Chat(model="gpt-5", messages=messages, tools=tools), Traits(), losses)
    accepts_call(written)
    back = chat(written)
    assert _parts(back.messages) == _parts(messages)
    assert back.tools == tools
    assert set(losses.dropped) <= {"messages.prefill"}
    again = DIALECT.write_call(back, Traits(), Losses())
    assert _parts(chat(again).messages) == _parts(messages)


def _parts(messages: list[Message]) -> list[Any]:
    return [(message.role, part) for message in messages for part in message.parts]
