"""The official Python clients of the four chat APIs, each asked the same things and heard in the same words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import anthropic
import httpx2
import openai
from google import genai
from google.genai import types

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOL = "weather"
QUESTION = "What is the weather?"


@dataclass
class Heard:
    """What a client understood of a reply."""

    text: str = ""
    thought: str = ""
    tools: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    finish: str = ""
    """In the words of the client's API."""
    tokens: tuple[int, int] = (0, 0)
    """Input, output."""
    model: str = ""
    said: Any = None
    """What the client sends back as the model's turn."""


class Client(Protocol):
    """One SDK. `ask` sends one user's text; `again` sends the turn before and the tools' results."""

    path: str
    finishes: tuple[str, str]
    """How it calls a regular end, and a stop for tools."""

    async def ask(self, model: str, stream: bool, *, tools: bool = False) -> Heard: ...

    async def again(self, model: str, heard: Heard, results: Sequence[str]) -> Heard: ...


class ChatClient:
    path = "/chat/completions"
    finishes = ("stop", "tool_calls")

    def __init__(self, base: str, http: httpx2.AsyncClient) -> None:
        self._client = openai.AsyncOpenAI(api_key="sk", base_url=f"{base}/v1", http_client=http, max_retries=0)

    async def ask(self, model: str, stream: bool, *, tools: bool = False, messages: Any = None) -> Heard:
        call: Any = {"model": model, "messages": messages or [{"role": "user", "content": QUESTION}]}
        if tools:
            call["tools"] = [{"type": "function", "function": {"name": TOOL, "parameters": PARAMETERS}}]
        if not stream:
            return self._heard(await self._client.chat.completions.create(**call))
        options: Any = {"stream_options": {"include_usage": True}}
        async with self._client.chat.completions.stream(**call, **options) as parts:
            return self._heard(await parts.get_final_completion())

    async def again(self, model: str, heard: Heard, results: Sequence[str]) -> Heard:
        answered = [
            {"role": "tool", "tool_call_id": use["id"], "content": result}
            for use, result in zip(heard.said["tool_calls"], results, strict=True)
        ]
        messages = [{"role": "user", "content": QUESTION}, heard.said, *answered]
        return await self.ask(model, False, tools=True, messages=messages)

    def _heard(self, done: Any) -> Heard:
        message = done.choices[0].message
        return Heard(
            text=message.content or "",
            thought=getattr(message, "reasoning_content", "") or "",
            tools=[(use.function.name, json.loads(use.function.arguments)) for use in message.tool_calls or ()],
            finish=done.choices[0].finish_reason,
            tokens=(done.usage.prompt_tokens, done.usage.completion_tokens),
            model=done.model,
            said=message.model_dump(exclude_none=True, exclude={"parsed"}),
        )


class ResponsesClient:
    path = "/responses"
    finishes = ("completed", "completed")

    def __init__(self, base: str, http: httpx2.AsyncClient) -> None:
        self._client = openai.AsyncOpenAI(api_key="sk", base_url=f"{base}/v1", http_client=http, max_retries=0)

    async def ask(self, model: str, stream: bool, *, tools: bool = False, items: Any = None) -> Heard:
        call: Any = {"model": model, "input": items or QUESTION, "include": ["reasoning.encrypted_content"]}
        call |= {"store": False}
        if tools:
            call["tools"] = [{"type": "function", "name": TOOL, "parameters": PARAMETERS, "strict": False}]
        if not stream:
            return self._heard(await self._client.responses.create(**call))
        async with self._client.responses.stream(**call) as parts:
            return self._heard(await parts.get_final_response())

    async def again(self, model: str, heard: Heard, results: Sequence[str]) -> Heard:
        uses = [item for item in heard.said if item["type"] == "function_call"]
        answered = [
            {"type": "function_call_output", "call_id": use["call_id"], "output": result}
            for use, result in zip(uses, results, strict=True)
        ]
        items = [{"role": "user", "content": QUESTION}, *heard.said, *answered]
        return await self.ask(model, False, tools=True, items=items)

    def _heard(self, done: Any) -> Heard:
        reasoning = [item for item in done.output if item.type == "reasoning"]
        return Heard(
            text=done.output_text,
            thought="".join(one.text for item in reasoning for one in item.summary),
            tools=[(item.name, json.loads(item.arguments)) for item in done.output if item.type == "function_call"],
            finish=done.status,
            tokens=(done.usage.input_tokens, done.usage.output_tokens),
            model=done.model,
            said=[item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in done.output],
        )


class AnthropicClient:
    path = "/messages"
    finishes = ("end_turn", "tool_use")

    def __init__(self, base: str, http: httpx2.AsyncClient) -> None:
        self._client = anthropic.AsyncAnthropic(api_key="sk", base_url=base, http_client=http, max_retries=0)

    async def ask(self, model: str, stream: bool, *, tools: bool = False, messages: Any = None) -> Heard:
        call: Any = {"model": model, "max_tokens": 2000}
        call["messages"] = messages or [{"role": "user", "content": QUESTION}]
        if tools:
            call["tools"] = [{"name": TOOL, "input_schema": PARAMETERS}]
        if not stream:
            return self._heard(await self._client.messages.create(**call))
        async with self._client.messages.stream(**call) as parts:
            return self._heard(await parts.get_final_message())

    async def again(self, model: str, heard: Heard, results: Sequence[str]) -> Heard:
        uses = [block for block in heard.said if block["type"] == "tool_use"]
        answered = [
            {"type": "tool_result", "tool_use_id": use["id"], "content": result}
            for use, result in zip(uses, results, strict=True)
        ]
        messages = [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": heard.said},
            {"role": "user", "content": answered},
        ]
        return await self.ask(model, False, tools=True, messages=messages)

    def _heard(self, done: Any) -> Heard:
        return Heard(
            text="".join(block.text for block in done.content if block.type == "text"),
            thought="".join(block.thinking for block in done.content if block.type == "thinking"),
            tools=[(block.name, block.input) for block in done.content if block.type == "tool_use"],
            finish=done.stop_reason,
            tokens=(done.usage.input_tokens, done.usage.output_tokens),
            model=done.model,
            said=[block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in done.content],
        )


class GeminiClient:
    path = "enerateContent"
    finishes = ("STOP", "STOP")

    def __init__(self, base: str, http: httpx2.AsyncClient) -> None:
        options = types.HttpOptions(base_url=base, httpx_async_client=http)
        self._client = genai.Client(api_key="sk", http_options=options)

    async def ask(self, model: str, stream: bool, *, tools: bool = False, contents: Any = None) -> Heard:
        declared = types.FunctionDeclaration(name=TOOL, parameters_json_schema=PARAMETERS)
        wanted = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declared])] if tools else None)
        contents = contents or [types.UserContent(QUESTION)]
        if not stream:
            return self._heard(
                [await self._client.aio.models.generate_content(model=model, contents=contents, config=wanted)]
            )
        parts = await self._client.aio.models.generate_content_stream(model=model, contents=contents, config=wanted)
        return self._heard([part async for part in parts])

    async def again(self, model: str, heard: Heard, results: Sequence[str]) -> Heard:
        uses = [part.function_call for part in heard.said if part.function_call]
        answered = [
            types.Part(function_response=types.FunctionResponse(id=use.id, name=use.name, response={"output": result}))
            for use, result in zip(uses, results, strict=True)
        ]
        contents = [
            types.UserContent(QUESTION),
            types.Content(role="model", parts=heard.said),
            types.Content(role="user", parts=answered),
        ]
        return await self.ask(model, False, tools=True, contents=contents)

    def _heard(self, chunks: list[Any]) -> Heard:
        candidates = [chunk.candidates[0] for chunk in chunks if chunk.candidates]
        parts = [part for one in candidates if one.content for part in one.content.parts or ()]
        usage = next(chunk.usage_metadata for chunk in reversed(chunks) if chunk.usage_metadata)
        finish = [one.finish_reason for one in candidates if one.finish_reason]
        made = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        return Heard(
            text="".join(part.text for part in parts if part.text and not part.thought),
            thought="".join(part.text for part in parts if part.text and part.thought),
            tools=[(part.function_call.name, part.function_call.args) for part in parts if part.function_call],
            finish=finish[-1].value,
            tokens=(usage.prompt_token_count, made),
            model=chunks[-1].model_version,
            said=parts,
        )


CLIENTS: dict[str, Any] = {
    "chat": ChatClient,
    "responses": ResponsesClient,
    "messages": AnthropicClient,
    "gemini": GeminiClient,
}
