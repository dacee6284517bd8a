"""The official OpenAI client keeps a conversation with models whose providers keep nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import websockets
from openai.types.conversations import ConversationItemList
from openai.types.responses import Response, ResponseItemList

from tests.e2e.sdk_clients import PARAMETERS, AnthropicClient, ChatClient, GeminiClient
from tests.e2e.serving import Serving, serve, write_config
from tests.provider import Answer, FakeProvider, Seen, ToolCall

MODELS = {"openai": "gpt-5", "messages": "claude-sonnet-4-5", "gemini": "gemini-2.5-pro", "chat": "chat-1"}
"""A model for each dialect that a target speaks. `gpt-5` is OpenAI's, which would keep state itself."""
CHATS = "{base_url: %r, api_key: env:SHIN_TEST_KEY, models: ['chat-*'], dialects: {openai.chat: /chat/completions}}"
ALWAYS = "{own: always}"
USERS = "users: {ann: env:SHIN_ANN, bob: env:SHIN_BOB, sdk: env:SHIN_SDK}"


@dataclass
class Desk:
    """A gateway, and clients of it."""

    serving: Serving
    http: httpx2.AsyncClient
    provider: FakeProvider

    def client(self, who: str = "ann") -> openai.AsyncOpenAI:
        base = f"{self.serving.gateway}/v1"
        return openai.AsyncOpenAI(api_key=f"{who}s-secret", base_url=base, http_client=self.http, max_retries=0)

    @property
    def sent(self) -> str:
        """The last call that the provider saw."""
        return self.provider.seen[-1].body.decode()

    def said(self, *texts: str) -> bool:
        """Whether the last call has these texts, each once and in this order, and no other answer or question."""
        found = [self.sent.find(text) for text in texts]
        once = all(self.sent.count(text) == 1 for text in texts)
        return once and -1 not in found and found == sorted(found)


@pytest.fixture
async def desk(
    tmp_path: Path, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Desk]:
    for who in ("ann", "bob"):
        monkeypatch.setenv(f"SHIN_{who.upper()}", f"{who}s-secret")
    monkeypatch.setenv("SHIN_SDK", "sk")
    monkeypatch.delenv("SHIN_MASTER_KEY", raising=False)
    urls = {"openai": f"{provider.url}/v1", "anthropic": provider.url, "gemini": provider.url}
    config = write_config(tmp_path, urls)
    config.write_text(f"{config.read_text()}  chats: {CHATS % (provider.url + '/v1')}\n{USERS}\n")
    policies = tmp_path / "policies"
    policies.mkdir()
    settings = getattr(request, "param", ALWAYS)
    (policies / "gateway.yaml").write_text(
        f"hosts: [gateway]\nextends: observe\naddons: {{translate: on, validate: on, conversation: {settings}}}\n"
    )
    numbers = count(1)
    provider.rule = lambda seen: Answer(text=f"Answer {next(numbers)}.")
    async with serve(tmp_path / "home", config, policies) as serving, httpx2.AsyncClient(trust_env=False) as http:
        yield Desk(serving, http, provider)


async def ask(client: openai.AsyncOpenAI, stream: bool, **call: Any) -> Response:
    if not stream:
        return await client.responses.create(**call)
    async with client.responses.stream(**call) as events:
        async for _ in events:
            pass
        return await events.get_final_response()


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
async def test_a_chain_of_replies(desk: Desk, model: str) -> None:
    client = desk.client()
    first = await ask(client, True, model=model, input="Question 1?", store=True)
    assert first.output_text == "Answer 1."
    second = await ask(client, False, model=model, input="Question 2?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert desk.said("Question 1?", "Answer 1.", "Question 2?"), desk.sent
    last = await ask(client, True, model=model, input="Question 3?", previous_response_id=second.id)
    assert desk.said("Question 1?", "Answer 1.", "Question 2?", "Answer 2.", "Question 3?"), desk.sent

    got = await client.responses.retrieve(last.id)
    assert (got.id, got.output_text, got.status) == (last.id, "Answer 3.", "completed")
    listed = await client.responses.input_items.list(last.id, order="asc")
    texts = [part.text for item in listed.data for part in item.content]  # type: ignore[union-attr]
    assert texts == ["Question 1?", "Answer 1.", "Question 2?", "Answer 2.", "Question 3?"]
    raw = await client.responses.input_items.with_raw_response.list(last.id)
    ResponseItemList.model_validate(json.loads(raw.text), strict=True)
    await client.responses.delete(last.id)
    for work in (
        client.responses.retrieve(last.id),
        client.responses.input_items.list(last.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await work
    with pytest.raises(openai.BadRequestError, match="previous_response_not_found|Previous response"):
        await client.responses.create(model=model, input="x", previous_response_id=last.id)
    if model != MODELS["openai"]:  # whose ids are all alike here
        assert (await client.responses.retrieve(first.id)).id == first.id


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
async def test_a_conversation(desk: Desk, model: str) -> None:
    client = desk.client()
    rule: Any = {"type": "message", "role": "developer", "content": "Be brief."}
    made = await client.conversations.create(metadata={"topic": "tests"}, items=[rule])
    assert made.id.startswith("conv_") and made.metadata == {"topic": "tests"}
    one = await ask(client, False, model=model, input="Question 1?", conversation=made.id)
    assert one.conversation is not None and one.conversation.id == made.id
    await ask(client, True, model=model, input="Question 2?", conversation={"id": made.id})
    assert desk.said("Question 1?", "Answer 1.", "Question 2?"), desk.sent
    assert desk.sent.count("Be brief.") == 1

    items = [item async for item in client.conversations.items.list(made.id, order="asc", limit=2)]
    texts = [item.content[0].text for item in items]  # type: ignore[union-attr]
    assert texts == ["Be brief.", "Question 1?", "Answer 1.", "Question 2?", "Answer 2."]
    raw = await client.conversations.items.with_raw_response.list(made.id)
    ConversationItemList.model_validate(json.loads(raw.text), strict=True)
    added = await client.conversations.items.create(made.id, items=[{"role": "user", "content": "By the way."}])
    assert (await client.conversations.items.retrieve(added.data[0].id, conversation_id=made.id)).id == added.data[0].id
    await client.conversations.items.delete(items[1].id, conversation_id=made.id)
    await ask(client, False, model=model, input="Question 3?", conversation=made.id)
    assert desk.said("Answer 1.", "Question 2?", "Answer 2.", "By the way.", "Question 3?")
    assert "Question 1?" not in desk.sent

    changed = await client.conversations.update(made.id, metadata={"topic": "other"})
    assert (await client.conversations.retrieve(made.id)) == changed
    assert (await client.conversations.delete(made.id)).deleted
    for work in (client.conversations.retrieve(made.id), client.conversations.items.retrieve("x", conversation_id="y")):
        with pytest.raises(openai.NotFoundError):
            await work


@pytest.mark.parametrize("model", [MODELS["messages"], MODELS["gemini"], MODELS["chat"]])
async def test_tools(desk: Desk, model: str) -> None:
    client = desk.client()
    tools: Any = [{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}]
    answers = iter([Answer(tools=(ToolCall("weather", {"city": "Zürich"}),), thinking="Which city?"), Answer()])
    desk.provider.rule = lambda _: next(answers)
    first = await ask(client, True, model=model, input="Weather?", tools=tools)
    call = next(item for item in first.output if item.type == "function_call")
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    second = await ask(client, False, model=model, input=[result], previous_response_id=first.id, tools=tools)
    assert second.output_text == "Hello from the fake provider."
    assert desk.sent.index("Weather?") < desk.sent.index("Zürich") < desk.sent.index("sunny")
    assert len((await client.responses.input_items.list(second.id)).data) == len(first.output) + 2


async def test_another_caller(desk: Desk) -> None:
    ann, bob = desk.client("ann"), desk.client("bob")
    model = MODELS["messages"]
    first = await ask(ann, False, model=model, input="A secret.")
    made = await ann.conversations.create(items=[{"role": "user", "content": "A secret."}])
    calls = len(desk.provider.seen)
    for work in (
        bob.responses.retrieve(first.id),
        bob.responses.delete(first.id),
        bob.responses.cancel(first.id),
        bob.responses.input_items.list(first.id),
        bob.responses.create(model=model, input="What?", conversation=made.id),
        bob.conversations.retrieve(made.id),
        bob.conversations.update(made.id, metadata={"mine": "yes"}),
        bob.conversations.items.list(made.id),
        bob.conversations.items.create(made.id, items=[{"role": "user", "content": "x"}]),
        bob.conversations.delete(made.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await work
    with pytest.raises(openai.BadRequestError):
        await bob.responses.create(model=model, input="What?", previous_response_id=first.id)
    assert len(desk.provider.seen) == calls
    assert (await ann.responses.retrieve(first.id)).id == first.id
    assert (await ann.conversations.retrieve(made.id)).metadata == {}


@pytest.mark.parametrize("client", [ChatClient, AnthropicClient, GeminiClient])
async def test_a_named_conversation(desk: Desk, client: Any) -> None:
    desk.provider.rule = lambda seen: Answer(text=f"Answer {seen.body.count(b'weather')}.")
    for stream, target in product([False, True], ["messages", "gemini", "chat"]):
        headers = {"x-shin-conversation": f"trip-{target}-{stream}"}
        async with httpx2.AsyncClient(trust_env=False, headers=headers) as http:
            one = client(desk.serving.gateway, http)
            for _ in range(3):
                await one.ask(MODELS[target], stream)
        assert desk.sent.count("What is the weather?") == 3
        assert desk.sent.count("Answer 1.") == desk.sent.count("Answer 2.") == 1
        assert not [name for name, _ in desk.provider.seen[-1].headers if name.lower().startswith("x-shin")]


@pytest.mark.parametrize("desk", ["on"], indirect=True)
async def test_openai_keeps_its_own(desk: Desk) -> None:
    ann, bob = desk.client("ann"), desk.client("bob")

    def rule(seen: Seen) -> Answer:
        if seen.method == "POST":
            return Answer(text="Theirs.")
        body = {"id": "resp_theirs", "object": "response", "output": [], "status": "completed"}
        return Answer(body=json.dumps(body).encode())

    desk.provider.rule = rule
    first = await ask(ann, True, model="gpt-5", input="Question 1?")
    await ask(ann, False, model="gpt-5", input="Question 2?", previous_response_id=first.id)
    assert json.loads(desk.sent) == {"model": "gpt-5", "input": "Question 2?", "previous_response_id": first.id}
    assert (await ann.responses.retrieve(first.id)).id == "resp_theirs"
    assert desk.provider.seen[-1].target == f"/v1/responses/{first.id}"
    with pytest.raises(openai.NotFoundError):
        await bob.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError):
        await bob.responses.create(model="gpt-5", input="x", previous_response_id=first.id)


async def test_over_a_websocket(desk: Desk) -> None:
    """What one connection knows by itself, another finds in the store."""
    url = desk.serving.gateway.replace("http:", "ws:") + "/v1/responses"
    headers = {"authorization": "Bearer anns-secret"}
    replies: list[str] = []
    for text in ("Question 1?", "Question 2?"):
        async with websockets.connect(url, proxy=None, additional_headers=headers) as socket:
            previous = {"previous_response_id": replies[-1]} if replies else {}
            call = {"type": "response.create", "model": MODELS["messages"], "input": text, **previous}
            await socket.send(json.dumps(call))
            event: dict[str, Any] = {}
            while event.get("type") not in ("response.completed", "error"):
                event = json.loads(await socket.recv())
            assert event["type"] == "response.completed", event
            replies.append(event["response"]["id"])
    assert desk.said("Question 1?", "Answer 1.", "Question 2?"), desk.sent
    assert (await desk.client().responses.retrieve(replies[-1])).previous_response_id == replies[0]


# Through the proxy, where the host says who is asked, and the key is the client's own.


@pytest.fixture
async def behind(
    tmp_path: Path, secure: FakeProvider, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Serving, openai.AsyncOpenAI]]:
    monkeypatch.delenv("SHIN_MASTER_KEY", raising=False)
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "local.yaml").write_text(
        f"hosts: ['localhost:{secure.port}']\nprovider: openai\nextends: observe\n"
        f"addons: {{conversation: {request.param}}}\n"
    )
    config = write_config(tmp_path, {}, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
    async with serve(tmp_path / "home", config, policies) as serving, serving.client() as http:
        base = f"https://localhost:{secure.port}/v1"
        yield serving, openai.AsyncOpenAI(api_key="sk-own", base_url=base, http_client=http, max_retries=0)


@pytest.mark.parametrize("behind", [ALWAYS], indirect=True)
async def test_through_the_proxy(behind: tuple[Serving, openai.AsyncOpenAI], secure: FakeProvider) -> None:
    serving, client = behind
    first = await ask(client, True, model="gpt-5", input="Question 1?")
    assert first.store is True
    assert json.loads(secure.seen[-1].body)["store"] is False
    assert (await client.responses.retrieve(first.id)).id == first.id
    await ask(client, False, model="gpt-5", input="Question 2?", previous_response_id=first.id)
    assert secure.seen[-1].body.count(b"Question") == 2
    made = await client.conversations.create()
    await ask(client, False, model="gpt-5", input="Question 3?", conversation=made.id)
    assert len((await client.conversations.items.list(made.id)).data) == 2
    assert len(secure.seen) == 3
    stranger = client.with_options(api_key="sk-of-another")
    before = len(secure.seen)
    secure.rule = lambda _: Answer(status=404)
    with pytest.raises(openai.NotFoundError):  # the provider's own: it is asked with the stranger's own key
        await stranger.responses.retrieve(first.id)
    assert len(secure.seen) == before + 1
    assert (serving.home / "master.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("behind", ["on"], indirect=True)
async def test_through_the_proxy_openai_is_left_alone(
    behind: tuple[Serving, openai.AsyncOpenAI], secure: FakeProvider
) -> None:
    _, client = behind
    await ask(client, False, model="gpt-5", input="Question 1?", previous_response_id="resp_theirs")
    assert json.loads(secure.seen[-1].body)["previous_response_id"] == "resp_theirs"
    secure.rule = lambda seen: Answer(body=b'{"id": "conv_theirs", "object": "conversation", "created_at": 1}')
    for header in ({}, {"x-shin-conversation": "trip-7"}):
        assert (await client.conversations.create(extra_headers=header)).id == "conv_theirs"
        assert (await client.conversations.retrieve("conv_theirs", extra_headers=header)).id == "conv_theirs"
        await client.get("/somewhere/else", cast_to=object, options={"headers": header})
    for seen in secure.seen:
        assert not [name for name, _ in seen.headers if name.lower().startswith("x-shin")]
