"""The strictest that official Python clients do with a reply, for models that speak another dialect than they."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import anthropic
import pytest
import pytest_asyncio
from anthropic.types import ThreadUnsupportedRequestError

from tests.e2e.crossing import MODELS, WAYS, Behind, behind, told
from tests.e2e.sync_clients import CLIENTS, CLOUDS, Client, Ran, Weather
from tests.provider import Answer, Stop, ToolCall

pytestmark = pytest.mark.asyncio(loop_scope="module")
whole_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])

TEXT = "Hello from the fake provider."
USES = (
    ToolCall("weather", {"city": "Zürich", "days": 3}),
    ToolCall("weather", {"city": "東京", "days": 1}, id="call_2"),
    ToolCall("now", {}, id="call_3"),
)
RAN = Ran(TEXT, [(use.name, dict(use.arguments)) for use in USES])


@dataclass
class Way:
    """From one client to one target's dialect."""

    client: Client
    model: str
    target: str
    behind: Behind

    async def ask[T](self, step: Callable[..., T], *answers: Answer, stream: bool | None = None) -> T:
        """In a thread: the gateway and its provider are in this one."""
        self.behind.provider.script(*answers)
        given = (self.model,) if stream is None else (self.model, stream)
        return await asyncio.wait_for(asyncio.to_thread(step, *given), 10)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    async with behind(tmp_path_factory.mktemp("behind")) as one:
        yield one


@pytest.fixture(scope="module")
def clients(gateway: Behind) -> dict[str, Client]:
    return {name: make(gateway.serving.gateway) for name, make in CLIENTS.items()}


@pytest.fixture(scope="module")
def clouds(gateway: Behind) -> dict[str, Any]:
    return {name: make(gateway.serving.gateway) for name, make in CLOUDS.items()}


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-to-{way[1]}")
def way(request: pytest.FixtureRequest, gateway: Behind, clients: dict[str, Client]) -> Way:
    client, target = request.param
    gateway.forget()
    return Way(clients[client], MODELS[target], target, gateway)


@whole_and_streamed
async def test_an_answer_parsed_into_a_class(way: Way, stream: bool) -> None:
    answer = Answer(text='{"city":"fake","days":10}')
    assert await way.ask(way.client.structured, answer, stream=stream) == Weather(city="fake", days=10)


async def test_a_text_in_typed_parts(way: Way) -> None:
    assert await way.ask(way.client.streamed, Answer(pieces=3)) == (TEXT, TEXT)


@whole_and_streamed
async def test_a_loop_of_tools(way: Way, stream: bool) -> None:
    answers: tuple[Any, ...] = (Answer(thinking="Which?", tools=USES), Answer())
    assert await way.ask(way.client.loop, *answers, stream=stream) == RAN
    results = [(use.name, dict(use.arguments), f"{use.name} {n}") for n, use in enumerate(USES)]
    assert told(way.target, way.behind.sent) == results


async def test_a_thread_is_refused_in_the_way_that_clients_know(gateway: Behind) -> None:
    """The loop of tools above goes on without one; who asks for a thread by name is told."""
    client = anthropic.AsyncAnthropic(api_key="sk", base_url=gateway.serving.gateway, max_retries=0)
    thread = client.beta.messages.thread(model=MODELS["gemini"], max_tokens=99)
    with pytest.raises(ThreadUnsupportedRequestError):
        await thread.send("hello")
    await client.close()


@pytest.mark.parametrize("wrong", [Answer(error_after=2), Answer(stop=Stop("rst", after="parts", count=4))])
async def test_a_broken_stream_raises(way: Way, wrong: Answer) -> None:
    with pytest.raises(Exception):  # noqa: B017
        await way.ask(way.client.streamed, wrong)


@whole_and_streamed
@pytest.mark.parametrize("target", MODELS)
@pytest.mark.parametrize("cloud", CLOUDS)
async def test_a_client_of_a_cloud(
    gateway: Behind, clouds: dict[str, Any], cloud: str, target: str, stream: bool
) -> None:
    """Their paths and bodies are forms of the dialects."""
    gateway.forget()
    assert await asyncio.wait_for(asyncio.to_thread(clouds[cloud].text, MODELS[target], stream), 10) == TEXT
    assert gateway.sent.get("model", MODELS[target]) == MODELS[target]
