"""The official Python clients at their most demanding: typed parts, parsed answers, loops that call functions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import anthropic
import openai
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials
from pydantic import BaseModel

QUESTION = "What is the weather?"


class Weather(BaseModel):
    city: str
    days: int


@dataclass
class Ran:
    """What came of a loop of tools."""

    text: str = ""
    tools: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


def functions(ran: Ran) -> tuple[Callable[..., str], Callable[..., str]]:
    """Two tools, which note that they ran."""

    def weather(city: str, days: int = 1) -> str:
        """The weather of a city.

        Args:
            city: Which one.
            days: From today on.
        """
        ran.tools.append(("weather", {"city": city, "days": days}))
        return f"weather {len(ran.tools) - 1}"

    def now() -> str:
        """What time it is."""
        ran.tools.append(("now", {}))
        return f"now {len(ran.tools) - 1}"

    return weather, now


class Client(Protocol):
    """One SDK, blocking. Raises what the SDK raises."""

    def structured(self, model: str, stream: bool) -> Any:
        """What the SDK made of the answer's JSON."""
        ...

    def streamed(self, model: str) -> tuple[str, str]:
        """A text as its typed parts told it piece by piece, and as it was in the end."""
        ...

    def loop(self, model: str, stream: bool) -> Ran:
        """The SDK's own loop of tools, or where it has none, ours around its typed parts."""
        ...


class ChatClient:
    def __init__(self, base: str) -> None:
        self._client = openai.OpenAI(api_key="sk", base_url=f"{base}/v1", max_retries=0)

    def structured(self, model: str, stream: bool) -> Any:
        completions = self._client.chat.completions
        call: Any = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "response_format": Weather}
        if not stream:
            return completions.parse(**call).choices[0].message.parsed
        with completions.stream(**call) as parts:
            (done,) = [part for part in parts if part.type == "content.done"]
            assert done.parsed == parts.get_final_completion().choices[0].message.parsed
            return done.parsed

    def streamed(self, model: str) -> tuple[str, str]:
        call: Any = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
        with self._client.chat.completions.stream(**call) as parts:
            told = [part.delta for part in parts if part.type == "content.delta"]
            return "".join(told), str(parts.get_final_completion().choices[0].message.content)

    def loop(self, model: str, stream: bool) -> Ran:
        ran = Ran()
        tools = {function.__name__: function for function in functions(ran)}
        given: Any = [openai.pydantic_function_tool(Weather, name="weather")]
        given.append({"type": "function", "function": {"name": "now", "parameters": NOTHING, "strict": True}})
        messages: list[Any] = [{"role": "user", "content": QUESTION}]
        while True:
            message = self._turn(stream, model=model, messages=messages, tools=given)
            ran.text = message.content or ""
            if not message.tool_calls:
                return ran
            messages.append(message)
            for use in message.tool_calls:
                arguments = use.function.parsed_arguments
                arguments = arguments.model_dump() if isinstance(arguments, Weather) else arguments or {}
                result = tools[use.function.name](**arguments)
                messages.append({"role": "tool", "tool_call_id": use.id, "content": result})

    def _turn(self, stream: bool, **call: Any) -> Any:
        if not stream:
            return self._client.chat.completions.parse(**call).choices[0].message
        with self._client.chat.completions.stream(**call) as parts:
            done = [part for part in parts if part.type == "tool_calls.function.arguments.done"]
            message = parts.get_final_completion().choices[0].message
        assert [part.name for part in done] == [use.function.name for use in message.tool_calls or ()]
        return message


NOTHING = {"type": "object", "properties": {}, "additionalProperties": False, "required": []}


class ResponsesClient:
    def __init__(self, base: str) -> None:
        self._client = openai.OpenAI(api_key="sk", base_url=f"{base}/v1", max_retries=0)

    def structured(self, model: str, stream: bool) -> Any:
        call: Any = {"model": model, "input": QUESTION, "text_format": Weather}
        if not stream:
            return self._client.responses.parse(**call).output_parsed
        with self._client.responses.stream(**call) as parts:
            (done,) = [part for part in parts if part.type == "response.output_text.done"]
            assert done.parsed == parts.get_final_response().output_parsed
            return done.parsed

    def streamed(self, model: str) -> tuple[str, str]:
        with self._client.responses.stream(model=model, input=QUESTION) as parts:
            told = [part.delta for part in parts if part.type == "response.output_text.delta"]
            return "".join(told), parts.get_final_response().output_text

    def loop(self, model: str, stream: bool) -> Ran:
        ran = Ran()
        tools = {function.__name__: function for function in functions(ran)}
        given: Any = [openai.pydantic_function_tool(Weather, name="weather")["function"] | {"type": "function"}]
        given.append({"type": "function", "name": "now", "parameters": NOTHING, "strict": True})
        items: list[Any] = [{"role": "user", "content": QUESTION}]
        while True:
            done = self._turn(stream, model=model, input=items, tools=given, store=False)
            items += done.output
            uses = [item for item in done.output if item.type == "function_call"]
            ran.text = done.output_text
            if not uses:
                return ran
            for use in uses:
                result = tools[use.name](**json.loads(use.arguments))
                items.append({"type": "function_call_output", "call_id": use.call_id, "output": result})

    def _turn(self, stream: bool, **call: Any) -> Any:
        if not stream:
            return self._client.responses.parse(**call)
        with self._client.responses.stream(**call) as parts:
            pieces: dict[int, str] = {}
            for part in parts:
                if part.type == "response.function_call_arguments.delta":
                    pieces[part.output_index] = pieces.get(part.output_index, "") + part.delta
                    assert part.snapshot == pieces[part.output_index]
            return parts.get_final_response()


class AnthropicClient:
    def __init__(self, base: str) -> None:
        self._client = anthropic.Anthropic(api_key="sk", base_url=base, max_retries=0)

    def structured(self, model: str, stream: bool) -> Any:
        call: Any = {"model": model, "max_tokens": 999, "messages": [{"role": "user", "content": QUESTION}]}
        if not stream:
            return self._client.messages.parse(**call, output_format=Weather).parsed_output
        with self._client.messages.stream(**call, output_format=Weather) as parts:
            return parts.get_final_message().parsed_output

    def streamed(self, model: str) -> tuple[str, str]:
        call: Any = {"model": model, "max_tokens": 999, "messages": [{"role": "user", "content": QUESTION}]}
        with self._client.messages.stream(**call) as parts:
            told = [part.text for part in parts if part.type == "text"]
            return "".join(told), parts.get_final_text()

    def loop(self, model: str, stream: bool) -> Ran:
        ran = Ran()
        tools: Any = [anthropic.beta_tool(function) for function in functions(ran)]
        call: Any = {"model": model, "max_tokens": 999, "messages": [{"role": "user", "content": QUESTION}]}
        runner = self._client.beta.messages.tool_runner(**call, tools=tools, stream=stream)
        for turn in runner:
            done: Any = turn.get_final_message() if stream else turn
            ran.text = "".join(block.text for block in done.content if block.type == "text")
        return ran


class GeminiClient:
    def __init__(self, base: str) -> None:
        self._client = genai.Client(api_key="sk", http_options=types.HttpOptions(base_url=base))

    def structured(self, model: str, stream: bool) -> Any:
        wanted = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Weather)
        call: Any = {"model": model, "contents": QUESTION, "config": wanted}
        if not stream:
            return self._client.models.generate_content(**call).parsed
        return Weather.model_validate_json("".join(_texts(self._client.models.generate_content_stream(**call))))

    def streamed(self, model: str) -> tuple[str, str]:
        chat = self._client.chats.create(model=model)
        told = "".join(_texts(chat.send_message_stream(QUESTION)))
        last = chat.get_history()[-1]
        assert last.role == "model"
        return told, "".join(part.text or "" for content in chat.get_history()[1:] for part in content.parts or ())

    def loop(self, model: str, stream: bool) -> Ran:
        ran = Ran()
        chat = self._client.chats.create(model=model, config=types.GenerateContentConfig(tools=[*functions(ran)]))
        if stream:
            ran.text = "".join(_texts(chat.send_message_stream(QUESTION)))
        else:
            ran.text = chat.send_message(QUESTION).text or ""
        return ran


def _texts(chunks: Iterator[types.GenerateContentResponse]) -> Iterator[str]:
    for chunk in chunks:
        yield chunk.text or ""


class AzureClient:
    """The form in which Azure's clients call OpenAI's APIs: deployments in the path, `api-version` in the query."""

    def __init__(self, base: str) -> None:
        version = "2025-04-01-preview"
        self._client = openai.AzureOpenAI(azure_endpoint=base, api_key="k", api_version=version, max_retries=0)

    def text(self, model: str, stream: bool) -> str:
        call: Any = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
        if not stream:
            whole = self._client.responses.create(model=model, input=QUESTION).output_text
            assert whole == self._client.chat.completions.create(**call).choices[0].message.content
            return whole
        with self._client.chat.completions.stream(**call) as parts:
            return str(parts.get_final_completion().choices[0].message.content)


class ClaudeOnVertexClient:
    def __init__(self, base: str) -> None:
        given: Any = {"region": "us-east5", "project_id": "p", "access_token": "token", "max_retries": 0}
        self._client = anthropic.AnthropicVertex(base_url=f"{base}/v1", **given)

    def text(self, model: str, stream: bool) -> str:
        call: Any = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": QUESTION}]}
        if not stream:
            return str(self._client.messages.create(**call).content[0].text)
        with self._client.messages.stream(**call) as parts:
            return parts.get_final_text()


class GeminiOnVertexClient:
    def __init__(self, base: str) -> None:
        options = types.HttpOptions(base_url=base)
        self._client = genai.Client(
            vertexai=True, project="p", location="us-east5", credentials=Credentials("token"), http_options=options
        )

    def text(self, model: str, stream: bool) -> str:
        call: Any = {"model": model, "contents": QUESTION}
        if not stream:
            return str(self._client.models.generate_content(**call).text)
        return "".join(_texts(self._client.models.generate_content_stream(**call)))


CLOUDS: dict[str, Callable[[str], Any]] = {
    "azure": AzureClient,
    "claude on vertex": ClaudeOnVertexClient,
    "gemini on vertex": GeminiOnVertexClient,
}
CLIENTS: dict[str, Callable[[str], Client]] = {
    "chat": ChatClient,
    "responses": ResponsesClient,
    "messages": AnthropicClient,
    "gemini": GeminiClient,
}
