"""The schemas are as new as the SDKs, and take what the SDKs send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from shin_gateway.errors import Invalid
from shin_gateway.validation import generate
from shin_gateway.validation.forms import folder, form_of
from shin_gateway.validation.schema import DIALECTS, load

FRESH = "python -m shin_gateway.validation.generate"


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return generate.schemas()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_schemas_are_as_new_as_the_sdks(dialect: str, made: dict[str, Any]) -> None:
    committed = json.loads((folder() / f"{dialect}.json").read_text(encoding="utf-8"))
    assert in_order(committed) == in_order(json.loads(generate.text(made[dialect]))), FRESH


def in_order(part: Any) -> Any:
    """Without the order of a union's branches, which `typing` may take from an equal union that it met before."""
    if isinstance(part, list):
        return sorted(map(in_order, part), key=json.dumps)
    return {name: in_order(one) for name, one in part.items()} if isinstance(part, dict) else part


def test_every_schema_is_made(made: dict[str, Any]) -> None:
    assert set(made) == set(DIALECTS) == {path.stem for path in folder().glob("*.json")}


class Caught(HTTPServer):
    """Takes a call and refuses it."""

    path = ""
    body = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def check(self, dialect: str, kind: str, **strict: bool) -> None:
        assert self.body
        try:
            load(dialect, **strict).check(self.body, form_of(dialect, kind, self.path))
        except Invalid as refusal:
            pytest.fail(f"{refusal.message} in {json.loads(self.body)}")


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Caught)
        self.server.path = self.path
        self.server.body = self.rfile.read(int(self.headers["content-length"]))
        answer = json.dumps({"error": {"message": "seen", "code": 400, "status": "SEEN"}}).encode()
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def caught() -> Iterator[Caught]:
    with Caught(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


STRICT = {"refuse_fields": True, "refuse_values": True}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def test_openai_sends_what_passes(caught: Caught) -> None:
    client = openai.OpenAI(api_key="k", base_url=f"{caught.url}/v1", max_retries=0)
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}
    reply = openai.types.chat.ChatCompletionMessage.model_validate(
        {"role": "assistant", "content": None, "refusal": None, "annotations": [], "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ]}
    )  # fmt: skip
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model="gpt-5",
            messages=[
                {"role": "user", "content": [{"type": "text", "text": "x"}]},
                reply,  # type: ignore[list-item]  # as everybody does
                {"role": "tool", "tool_call_id": "c", "content": "y"},
            ],
            tools=[tool], stream=True, temperature=0, metadata={"a": "b"}, logit_bias={"1": 2},
        )  # fmt: skip
    caught.check("openai.chat", "chat", **STRICT)
    with pytest.raises(openai.BadRequestError):
        client.responses.create(
            model="gpt-5", input=[{"role": "user", "content": "x"}], reasoning={"effort": "low", "summary": "auto"},
            tools=[{"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}, {"type": "web_search"}],
            text={"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}, store=False, stream=True,
            include=["reasoning.encrypted_content"], previous_response_id="resp_1",
        )  # fmt: skip
    caught.check("openai.responses", "respond", **STRICT)
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    caught.check("openai.embeddings", "embed", **STRICT)


def test_output_of_responses_is_taken_back() -> None:
    output: list[dict[str, Any]] = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "x"}], "content": None,
         "encrypted_content": "y", "status": None},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "x", "annotations": [], "logprobs": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
    ]  # fmt: skip
    body = json.dumps({"model": "x", "input": [*output, {"role": "user", "content": "x"}]}).encode()
    load("openai.responses").check(body, "respond")
    load("openai.responses", **STRICT).check(body, "respond")


def test_anthropic_sends_what_passes(caught: Caught) -> None:
    client = anthropic.Anthropic(api_key="k", base_url=caught.url, max_retries=0)
    content = [
        anthropic.types.ThinkingBlock(type="thinking", thinking="x", signature="y"),
        anthropic.types.TextBlock(type="text", text="x"),
        anthropic.types.ToolUseBlock(type="tool_use", id="t", name="f", input={"a": 1}, caller={"type": "direct"}),  # type: ignore[arg-type]
    ]
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(
            model="claude-x", max_tokens=2000, system=[{"type": "text", "text": "x"}], stream=True,
            thinking={"type": "enabled", "budget_tokens": 1024}, metadata={"user_id": "u"}, stop_sequences=["x"],
            tools=[{"name": "f", "input_schema": SCHEMA}, {"type": "web_search_20250305", "name": "web_search"}],
            messages=[
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": content},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "y"}]},
            ],
        )  # fmt: skip
    caught.check("anthropic.messages", "chat", **STRICT)
    with pytest.raises(anthropic.BadRequestError):
        client.beta.messages.count_tokens(
            model="claude-sonnet-4-5", messages=[{"role": "user", "content": "x"}], betas=["b"]
        )
    caught.check("anthropic.messages", "count", **STRICT)


def test_genai_sends_what_passes(caught: Caught) -> None:
    options = types.HttpOptions(base_url=caught.url)
    client = genai.Client(api_key="k", http_options=options)
    parts = [types.Part(text="x", thought_signature=b"s"), types.Part.from_bytes(data=b"x", mime_type="image/png")]
    declaration = types.FunctionDeclaration(name="f", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(
        system_instruction="x", temperature=1, max_output_tokens=9, stop_sequences=["x"],
        response_schema={"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
        response_mime_type="application/json",
        thinking_config=types.ThinkingConfig(thinking_budget=-1, include_thoughts=True),
        tools=[types.Tool(function_declarations=[declaration]), types.Tool(google_search=types.GoogleSearch())],
        tool_config=types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY")),  # type: ignore[arg-type]
        safety_settings=[types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE")],  # type: ignore[arg-type]
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )  # fmt: skip
    with pytest.raises(genai.errors.ClientError):
        client.models.generate_content(model="gemini-2.5-pro", contents=[types.UserContent(parts)], config=config)
    caught.check("gemini.generate", "chat", **STRICT)
    with pytest.raises(genai.errors.ClientError):
        client.models.count_tokens(model="gemini-2.5-pro", contents="x")
    caught.check("gemini.generate", "count", **STRICT)
    with pytest.raises(genai.errors.ClientError):
        client.models.embed_content(
            model="gemini-embedding-001", contents=["x", "y"], config={"output_dimensionality": 9}
        )
    caught.check("gemini.generate", "embed", **STRICT)
