"""A client that sends only what is new, a provider that keeps nothing, and a real store between them."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from shin_gateway.caller import Caller
from shin_gateway.conversations import keeping
from shin_gateway.stores.embedded import find_server
from shin_gateway.stores.state import StateStore
from tests.addons.stand import CHAT, GEMINI, GEMINI_STREAM, MESSAGES, RESPONSES, Asked, Stand, chat
from tests.ports import free_port
from tests.provider import Answer, FakeProvider, Seen, Stop, ToolCall
from tests.stores.servers import Server

CONVERSATIONS = "/v1/conversations"
MODEL = "ollama/llama3"
"""A provider that speaks the Responses API and keeps nothing."""

both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def talk(stand: Stand, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> Talk:
    monkeypatch.setenv("SHIN_MASTER_KEY", "a master key for tests, long enough")
    return Talk(stand, provider)


class Talk:
    """A client of the Responses API."""

    def __init__(self, stand: Stand, provider: FakeProvider) -> None:
        self.stand = stand
        self.provider = provider
        numbers = count(1)
        provider.rule = lambda seen: self.answer(seen, next(numbers))
        self.more: dict[str, Any] = {}

    def answer(self, seen: Seen, number: int) -> Answer:
        """Replies with ids of their own, as every provider gives."""
        if not seen.path.endswith("/responses"):
            return Answer(text=f"Answer {number}.", **self.more)
        message = {
            "type": "message", "id": f"msg_{number}", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": f"Answer {number}.", "annotations": []}],
        }  # fmt: skip
        reply = {"id": f"resp_{number}", "object": "response", "status": "completed", "model": "llama3",
                 "output": [message], "previous_response_id": None, "store": False}  # fmt: skip
        if not seen.json().get("stream"):
            return Answer(body=json.dumps(reply).encode(), **self.more)
        events = [
            {"type": "response.created", "response": reply | {"status": "in_progress", "output": []}},
            {"type": "response.output_item.done", "output_index": 0, "item": message},
            {"type": "response.completed", "response": reply},
        ]
        body = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
        return Answer(body=body.encode(), body_type="text/event-stream", **self.more)

    async def start(self, settings: str = "on", more: str = "") -> None:
        await self.stand.start(f"conversation: {settings}\n{more}".strip())

    async def ask(self, text: Any, previous: str | None = None, *, stream: bool = False, **more: Any) -> Asked:
        caller = more.pop("caller", "ann")
        headers = more.pop("headers", None)
        body = {"model": MODEL, "input": text, "stream": stream, **more}
        if previous:
            body["previous_response_id"] = previous
        return await self.stand.ask(body, RESPONSES, caller=caller, headers=headers)

    async def get(self, path: str, method: str = "GET", body: Any = b"", caller: str = "ann") -> Asked:
        return await self.stand.ask(body, path, method=method, caller=caller)

    @property
    def sent(self) -> dict[str, Any]:
        """The last call that reached the provider."""
        body: dict[str, Any] = self.provider.seen[-1].json()
        return body


def texts(items: list[dict[str, Any]]) -> list[str]:
    """What is said, in any dialect."""
    said = [item.get("content", item.get("parts")) for item in items]
    return [one if isinstance(one, str) else "".join(part.get("text", "") for part in one or ()) for one in said]


def reply_of(asked: Asked) -> dict[str, Any]:
    """The reply, whole or as the last event of a stream repeats it."""
    assert asked.status == 200, asked.body
    if not asked.body.startswith(b"event:"):
        return asked.json()  # type: ignore[no-any-return]
    last = asked.body.decode().strip().split("\n\n")[-1]
    return json.loads(last.partition("data: ")[2])["response"]  # type: ignore[no-any-return]


# ── chains of replies ────────────────────────────────────────────────────────────────────────────


@both_ways
async def test_a_reply_is_gone_on_from(talk: Talk, stream: bool) -> None:
    await talk.start()
    first = reply_of(await talk.ask("One?", stream=stream))
    assert (first["id"], first["store"], first["previous_response_id"]) == ("resp_1", True, None)
    assert talk.sent == {"model": "llama3", "input": "One?", "stream": stream}
    second = reply_of(await talk.ask([{"role": "user", "content": "Two?"}], first["id"], stream=stream))
    assert second["previous_response_id"] == "resp_1"
    assert texts(talk.sent["input"]) == ["One?", "Answer 1.", "Two?"]
    assert "previous_response_id" not in talk.sent and "store" not in talk.sent
    await talk.ask("Three?", second["id"], stream=stream)
    assert texts(talk.sent["input"]) == ["One?", "Answer 1.", "Two?", "Answer 2.", "Three?"]
    await talk.ask("Or?", first["id"], stream=stream)  # another branch
    assert texts(talk.sent["input"]) == ["One?", "Answer 1.", "Or?"]


@both_ways
async def test_replies_whose_ids_repeat_do_no_harm(talk: Talk, provider: FakeProvider, stream: bool) -> None:
    provider.rule = None
    await talk.start()
    previous = None
    for text in ("One?", "Two?", "Three?"):
        previous = reply_of(await talk.ask(text, previous, stream=stream))["id"]
    hello = "Hello from the fake provider."
    assert texts(talk.sent["input"]) == ["One?", hello, "Two?", hello, "Three?"]


async def test_tools_are_gone_on_from(talk: Talk, provider: FakeProvider) -> None:
    provider.rule = lambda seen: Answer(tools=(ToolCall("f", {"a": 1}),), thinking="Hm.")
    await talk.start()
    first = reply_of(await talk.ask("Call.", stream=True))
    call_id = next(item["call_id"] for item in first["output"] if item["type"] == "function_call")
    await talk.ask([{"type": "function_call_output", "call_id": call_id, "output": "4"}], first["id"])
    kinds = [item.get("type") for item in talk.sent["input"]]
    assert kinds == ["message", *(item["type"] for item in first["output"]), "function_call_output"]


async def test_what_is_not_to_be_stored_is_not(talk: Talk) -> None:
    await talk.start()
    raw = json.dumps({"model": MODEL, "input": "One?", "store": False}, indent=2).encode()
    asked = await talk.stand.ask(raw, RESPONSES)
    assert talk.provider.seen[-1].json()["input"] == "One?"
    refused = await talk.ask("Two?", reply_of(asked)["id"])
    assert refused.status == 400
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")
    assert await talk.stand.state.run("KEYS", "shin:{conv*") == []


async def test_another_caller_finds_nothing(talk: Talk) -> None:
    await talk.start()
    reply_id = reply_of(await talk.ask("A secret."))["id"]
    conversation = (await talk.get(CONVERSATIONS, "POST", {})).json()["id"]
    refused = await talk.ask("What was it?", reply_id, caller="bob")
    assert (refused.status, refused.json()["error"]["code"]) == (400, "previous_response_not_found")
    for path in (f"{RESPONSES}/{reply_id}", f"{RESPONSES}/{reply_id}/input_items", f"{CONVERSATIONS}/{conversation}"):
        assert (await talk.get(path, caller="bob")).status == 404
        assert (await talk.get(path)).status == 200
    assert (await talk.get(f"{RESPONSES}/{reply_id}", "DELETE", caller="bob")).status == 404
    refused = await talk.ask("Hi.", conversation=conversation, caller="bob")
    assert (refused.status, refused.json()["error"]["code"]) == (404, "conversation_not_found")
    assert len(talk.provider.seen) == 1


@pytest.mark.parametrize(
    ("half", "end"),
    [
        (Answer(stop=Stop("rst", after="parts", count=5)), "broken"),
        (Answer(ending=False), "broken"),
        (Answer(error_after=2), "failed"),
    ],
    ids=["reset", "no end", "error event"],
)
@pytest.mark.parametrize("path", [RESPONSES, CHAT, MESSAGES, GEMINI])
async def test_half_a_reply_is_not_kept(talk: Talk, path: str, half: Answer, end: str) -> None:
    if path in (CHAT, GEMINI) and not half.ending:
        pytest.skip("a finish reason is an end too")
    await talk.start()
    talk.provider.rule = lambda _: half
    where, body = saying(path, "One?", True)
    asked = await talk.stand.ask(body, where, headers=NAMED)
    assert asked.outcome.end == end
    await talk.stand.settled()
    assert await talk.stand.state.run("KEYS", "shin:{conv*") == []


@pytest.mark.parametrize("path", [RESPONSES, CHAT, MESSAGES, GEMINI])
async def test_what_a_client_left_is_not_kept(talk: Talk, path: str) -> None:
    await talk.start()
    gate = asyncio.Semaphore(4)
    talk.provider.rule = lambda _: Answer(gate=gate)
    where, body = (
        (path, {"model": MODEL, "input": "x", "stream": True}) if path == RESPONSES else saying(path, "x", True)
    )
    asked = await talk.stand.begin(body, where, headers=NAMED)
    assert await asked.next()
    asked.delivery.client_left()
    gate.release()
    await talk.stand.settled()
    assert asked.outcome.end == "cancelled"
    assert await talk.stand.state.run("KEYS", "shin:{conv*") == []


async def test_a_failed_reply_is_not_kept(talk: Talk, provider: FakeProvider) -> None:
    await talk.start()
    failed = {"id": "resp_x", "object": "response", "status": "failed", "output": [], "error": {"code": "x"}}
    for answer in (Answer(status=500), Answer(body=json.dumps(failed).encode()), Answer(body=b"<html>")):
        provider.rule = lambda _, answer=answer: answer  # type: ignore[misc]
        await talk.ask("One?")
    assert await talk.stand.state.run("KEYS", "shin:{conv*") == []


async def test_what_is_kept_is_sealed_and_passes(talk: Talk) -> None:
    await talk.start("{ttl: 100s}")
    first = reply_of(await talk.ask("A word that nobody reads."))["id"]
    await talk.get(CONVERSATIONS, "POST", {"items": [{"role": "user", "content": "A word that nobody reads."}]})
    state = talk.stand.state
    keys = await state.run("KEYS", "shin:{conv*")
    assert len(keys) == 4
    for key in keys:
        assert b"ann" not in key and 0 < await state.run("TTL", key) <= 100
        dump = await state.run("DUMP", key)
        assert b"nobody" not in dump and b"message" not in dump
    for key in keys:
        await state.run("EXPIRE", key, 5)
    await talk.ask("Two?", first)
    kept = [await state.run("TTL", key) for key in await state.run("KEYS", "*:t:*")]
    assert kept == [100, 100], "what is used is kept longer"


async def test_with_another_key_nothing_is_found(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    await talk.start()
    first = reply_of(await talk.ask("One?"))["id"]
    await talk.stand.stop()
    monkeypatch.setenv("SHIN_MASTER_KEY", "another master key for tests, long enough")
    await talk.start()
    assert (await talk.ask("Two?", first)).status == 400


@both_ways
async def test_what_an_older_key_has_sealed_goes_on(talk: Talk, monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    old, new = "a master key for tests; long enough", "another master key for tests; long enough"
    monkeypatch.setenv("SHIN_MASTER_KEY", old)
    await talk.start()
    first = reply_of(await talk.ask("One?", stream=stream))["id"]
    name = (await talk.get(CONVERSATIONS, "POST", {"items": [{"role": "user", "content": "Before."}]})).json()["id"]
    await talk.stand.stop()
    monkeypatch.setenv("SHIN_MASTER_KEY", new)
    monkeypatch.setenv("SHIN_MASTER_KEY_OLD", old)
    await talk.start()
    second = reply_of(await talk.ask("Two?", first, stream=stream))["id"]
    await talk.ask("Three?", second, stream=stream)
    assert texts(talk.sent["input"]) == ["One?", "Answer 1.", "Two?", "Answer 2.", "Three?"]
    assert (await talk.get(f"{RESPONSES}/{first}")).json()["id"] == first
    await talk.ask("And now?", conversation=name, stream=stream)
    assert texts(talk.sent["input"]) == ["Before.", "And now?"]
    assert len((await talk.get(f"{CONVERSATIONS}/{name}/items")).json()["data"]) == 3
    assert (await talk.get(f"{CONVERSATIONS}/{name}", "DELETE")).status == 200
    assert (await talk.get(f"{CONVERSATIONS}/{name}")).status == 404
    assert (await talk.ask("Two?", first, caller="bob")).status == 400
    third = reply_of(await talk.ask("Anew?", stream=stream))["id"]
    await talk.stand.stop()
    monkeypatch.delenv("SHIN_MASTER_KEY_OLD")
    await talk.start()
    assert (await talk.ask("Two?", first)).status == 400
    await talk.ask("Still?", third)
    assert texts(talk.sent["input"]) == ["Anew?", "Answer 5.", "Still?"]


async def test_a_history_that_is_too_long(talk: Talk) -> None:
    await talk.start("{limit: 1kB, items: 3}")
    first = reply_of(await talk.ask("x" * 700))["id"]
    second = reply_of(await talk.ask("y" * 500, first))["id"]
    refused = await talk.ask("Three?", second)
    assert (refused.status, refused.json()["error"]["code"]) == (400, "conversation_too_long")
    refused = await talk.ask("z" * 1200)
    assert (refused.status, refused.json()["error"]["code"]) == (400, "conversation_too_long")
    name = (await talk.get(CONVERSATIONS, "POST", {})).json()["id"]
    items = {"items": [{"role": "user", "content": "x"}] * 2}
    assert (await talk.get(f"{CONVERSATIONS}/{name}/items", "POST", items)).status == 200
    full = await talk.get(f"{CONVERSATIONS}/{name}/items", "POST", items)
    assert (full.status, full.json()["error"]["code"]) == (400, "conversation_full")


async def test_references_and_counts(talk: Talk) -> None:
    await talk.start()
    first = reply_of(await talk.ask("One?"))
    await talk.ask([{"type": "item_reference", "id": first["output"][0]["id"]}], first["id"])
    assert texts(talk.sent["input"]) == ["One?", "Answer 1.", "Answer 1."]
    body = {"model": MODEL, "previous_response_id": first["id"], "input": "Two?"}
    await talk.stand.ask(body, "/v1/responses/input_tokens")
    assert "previous_response_id" not in talk.sent
    assert texts(talk.sent["input"]) == ["One?", "Answer 1.", "Two?"]


# ── asking about what is kept ────────────────────────────────────────────────────────────────────


async def test_a_reply_is_looked_up_and_deleted(talk: Talk) -> None:
    await talk.start()
    first = reply_of(await talk.ask("One?"))
    second = reply_of(await talk.ask("Two?", first["id"]))
    assert (await talk.get(f"{RESPONSES}/{second['id']}")).json() == second
    listed = (await talk.get(f"{RESPONSES}/{second['id']}/input_items?order=asc")).json()
    assert texts(listed["data"]) == ["One?", "Answer 1.", "Two?"]
    assert (listed["object"], listed["has_more"], listed["first_id"]) == ("list", False, listed["data"][0]["id"])
    gone = (await talk.get(f"{RESPONSES}/{first['id']}", "DELETE")).json()
    assert gone == {"id": first["id"], "object": "response.deleted", "deleted": True}
    assert (await talk.get(f"{RESPONSES}/{first['id']}")).json()["error"]["code"] == "response_not_found"
    assert (await talk.ask("Three?", second["id"])).status == 400, "what was deleted is not sent again"


async def test_conversations(talk: Talk) -> None:
    await talk.start()
    made = (await talk.get(CONVERSATIONS, "POST", {"metadata": {"a": "b"}, "items": [
        {"type": "message", "role": "developer", "content": "Be brief."}]})).json()  # fmt: skip
    assert made["object"] == "conversation" and made["metadata"] == {"a": "b"}
    where = f"{CONVERSATIONS}/{made['id']}"
    assert (await talk.get(where)).json() == made
    assert (await talk.get(where, "POST", {"metadata": {"c": "d"}})).json()["metadata"] == {"c": "d"}
    asked = await talk.ask("One?", conversation=made["id"])
    assert reply_of(asked)["conversation"] == {"id": made["id"]}
    await talk.ask("Two?", conversation={"id": made["id"]}, stream=True)
    assert texts(talk.sent["input"]) == ["Be brief.", "One?", "Answer 1.", "Two?"]
    page = (await talk.get(f"{where}/items?limit=2")).json()
    assert (texts(page["data"]), page["has_more"]) == (["Answer 2.", "Two?"], True)
    page = (await talk.get(f"{where}/items?order=asc&after={page['last_id']}")).json()
    assert texts(page["data"]) == ["Answer 2."]
    item = page["data"][0]
    assert (await talk.get(f"{where}/items/{item['id']}")).json() == item
    assert (await talk.get(f"{where}/items/{item['id']}", "DELETE")).json()["id"] == made["id"]
    assert (await talk.get(f"{where}/items/{item['id']}")).status == 404
    assert (await talk.get(where, "DELETE")).json()["deleted"] is True
    assert (await talk.get(where)).status == 404
    assert (await talk.ask("Three?", conversation=made["id"])).status == 404


async def test_a_reply_of_a_conversation_is_gone_on_from(talk: Talk) -> None:
    await talk.start()
    name = (await talk.get(CONVERSATIONS, "POST", {})).json()["id"]
    await talk.ask("One?", conversation=name)
    second = reply_of(await talk.ask("Two?", conversation=name))["id"]
    await talk.ask("Three?", conversation=name)
    await talk.ask("Or?", second)
    assert texts(talk.sent["input"]) == ["One?", "Answer 1.", "Two?", "Answer 2.", "Or?"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CONVERSATIONS, {"items": 3}, "items"),
        (CONVERSATIONS, {"items": ["x", 3]}, "items[0]"),
        (CONVERSATIONS, {"metadata": []}, "metadata"),
        (CONVERSATIONS, b"{", None),
        (RESPONSES, {"model": MODEL, "previous_response_id": 3}, "previous_response_id"),
        (RESPONSES, {"model": MODEL, "conversation": []}, "conversation"),
        (RESPONSES, {"model": MODEL, "conversation": "c", "previous_response_id": "r"}, "previous_response_id"),
        (RESPONSES, {"model": MODEL, "input": [3]}, "input[0]"),
        (RESPONSES, b"[]", None),
    ],
)
async def test_bad_input_is_named(talk: Talk, path: str, body: Any, param: str | None) -> None:
    await talk.start()
    asked = await talk.stand.ask(body, path)
    assert (asked.status, asked.json()["error"]["param"]) == (400, param)


async def test_the_sdk_reads_what_is_answered(talk: Talk) -> None:
    from openai.types.conversations import Conversation, ConversationItemList

    await talk.start()
    made = (await talk.get(CONVERSATIONS, "POST", {"items": [{"role": "user", "content": "x"}]})).json()
    Conversation.model_validate(made, strict=True)
    await talk.ask("One?", conversation=made["id"])
    listed = (await talk.get(f"{CONVERSATIONS}/{made['id']}/items")).json()
    assert len(ConversationItemList.model_validate(listed).data) == 3


# ── who keeps it ─────────────────────────────────────────────────────────────────────────────────


async def test_openai_keeps_its_own(talk: Talk) -> None:
    await talk.start()
    raw = json.dumps({"model": "gpt-4o", "input": "One?"}, indent=2).encode()
    theirs = reply_of(await talk.stand.ask(raw, RESPONSES))
    assert talk.provider.seen[-1].body == raw
    assert theirs["store"] is False, "nothing of the reply is changed"
    raw = json.dumps({"model": "gpt-4o", "input": "Two?", "previous_response_id": theirs["id"]}, indent=2).encode()
    reply_of(await talk.stand.ask(raw, RESPONSES))
    assert talk.provider.seen[-1].body == raw
    assert await talk.stand.state.run("KEYS", "shin:{conv*:t:*") == []
    assert (await talk.get(f"{RESPONSES}/{theirs['id']}", caller="bob")).status == 404
    assert (await talk.stand.ask(raw, RESPONSES, caller="bob")).status == 400
    assert (await talk.ask("Two?", theirs["id"])).status == 400, "of a model that is not OpenAI's"
    assert len(talk.provider.seen) == 2
    await talk.get(f"{RESPONSES}/{theirs['id']}?include=x")
    assert talk.provider.seen[-1].target == f"/v1/responses/{theirs['id']}?include=x"


async def test_a_conversation_that_openai_keeps(talk: Talk) -> None:
    await talk.start(more="swap_words: {words: {Falcon: Sparrow}}")
    listed = (
        b'{"object": "list", "data": [{"type": "message", "content": [{"type": "output_text", "text": "Sparrow"}]}]}'
    )
    made = b'{"id": "conv_theirs", "object": "conversation", "created_at": 1, "metadata": {}}'
    talk.provider.rule = lambda seen: Answer(body=listed if seen.method == "GET" else made)
    items = {"items": [{"role": "user", "content": "Falcon?"}]}
    assert (await talk.get(f"/openai{CONVERSATIONS}", "POST", items)).json()["id"] == "conv_theirs"
    assert b"Sparrow?" in talk.provider.seen[-1].body, "guards see what is put into it"
    for path in (f"/openai{CONVERSATIONS}/conv_theirs/items?limit=9", f"{CONVERSATIONS}/conv_theirs/items?limit=9"):
        assert b"Falcon" in (await talk.get(path)).body
        assert talk.provider.seen[-1].target == "/v1/conversations/conv_theirs/items?limit=9"
        assert (await talk.get(path, caller="bob")).status == 404
    talk.provider.rule = lambda seen: talk.answer(seen, 5)
    raw = json.dumps({"model": "gpt-4o", "input": "One?", "conversation": "conv_theirs"}, indent=2).encode()
    reply_of(await talk.stand.ask(raw, RESPONSES))
    assert talk.provider.seen[-1].body == raw
    assert (await talk.stand.ask(raw, RESPONSES, caller="bob")).status == 404
    assert (await talk.ask("One?", conversation="conv_theirs")).status == 404, "it is not ours to send elsewhere"


async def test_a_conversation_moves_to_openai(talk: Talk) -> None:
    await talk.start()
    ours = reply_of(await talk.ask("One?"))["id"]
    await talk.ask("Two?", ours, model="gpt-4o")  # a conversation may move to OpenAI
    assert texts(talk.sent["input"]) == ["One?", "Answer 1.", "Two?"]


async def test_openai_is_told_to_keep_nothing(talk: Talk) -> None:
    await talk.start("{own: always}")
    await talk.ask("One?", model="gpt-4o")
    assert "include" not in talk.sent, "it is refused by models that do not reason"
    first = reply_of(await talk.ask("One?", model="gpt-5", include=["x"]))["id"]
    assert talk.sent["store"] is False
    assert talk.sent["include"] == ["x", "reasoning.encrypted_content"]
    thought = [{"type": "reasoning", "summary": []}, {"role": "user", "content": "Two?"}]
    await talk.ask(thought, first, model="gpt-5")
    assert texts(talk.sent["input"]) == ["One?", "Answer 2.", "Two?"], "it could not take bare reasoning back"
    assert not any("id" in item for item in talk.sent["input"]), "nor what it does not keep"


async def test_guards_see_the_whole_context(talk: Talk) -> None:
    await talk.start(more="swap_words: {words: {Falcon: Sparrow}}")
    first = reply_of(await talk.ask("Falcon?"))["id"]
    await talk.ask("And?", first)
    assert texts(talk.sent["input"]) == ["Sparrow?", "Answer 1.", "And?"]
    listed = (await talk.get(f"{RESPONSES}/{first}/input_items")).json()
    assert texts(listed["data"]) == ["Falcon?"], "kept is what the client said"


# ── other dialects ───────────────────────────────────────────────────────────────────────────────

NAMED = {"x-shin-conversation": "trip-7"}


def saying(path: str, text: str, stream: bool) -> tuple[str, dict[str, Any]]:
    message = {"role": "user", "content": text}
    if path == RESPONSES:
        return path, {"model": MODEL, "stream": stream, "input": text}
    if path == GEMINI:
        return GEMINI_STREAM if stream else GEMINI, {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    if path == MESSAGES:
        return path, {"model": "claude-sonnet-4-5", "max_tokens": 9, "stream": stream, "messages": [message]}
    return path, {"model": "gpt-4o", "stream": stream, "messages": [message]}


@both_ways
@pytest.mark.parametrize("path", [CHAT, MESSAGES, GEMINI])
async def test_a_named_conversation(talk: Talk, path: str, stream: bool) -> None:
    await talk.start()
    for text in ("One?", "Two?", "Three?"):
        where, body = saying(path, text, stream)
        assert (await talk.stand.ask(body, where, headers=NAMED)).status == 200
        await talk.stand.settled()
    field = "contents" if path == GEMINI else "messages"
    assert texts(talk.sent[field]) == ["One?", "Answer 1.", "Two?", "Answer 2.", "Three?"]
    assert [one["role"] for one in talk.sent[field]][1] == ("model" if path == GEMINI else "assistant")
    assert "x-shin-conversation" not in {name.lower() for name, _ in talk.provider.seen[-1].headers}
    where, body = saying(path, "Mine?", stream)
    await talk.stand.ask(body, where, headers=NAMED, caller="bob")
    assert texts(talk.sent[field]) == ["Mine?"]
    await talk.get(f"{CONVERSATIONS}/trip-7", "DELETE")
    await talk.stand.ask(body, where, headers=NAMED)
    assert texts(talk.sent[field]) == ["Mine?"]


@both_ways
@pytest.mark.parametrize("path", [CHAT, MESSAGES, GEMINI])
async def test_tool_calls_of_a_named_conversation(talk: Talk, path: str, stream: bool) -> None:
    talk.provider.rule = lambda _: Answer(tools=(ToolCall("f", {"a": [1, "x"]}),))
    await talk.start()
    for text in ("One?", "Two?"):
        where, body = saying(path, text, stream)
        await talk.stand.ask(body, where, headers=NAMED)
        await talk.stand.settled()
    said = talk.sent["contents" if path == GEMINI else "messages"][1]
    if path == CHAT:
        assert json.loads(said["tool_calls"][0]["function"]["arguments"]) == {"a": [1, "x"]}
        assert said["tool_calls"][0]["id"] == "call_fake0001"
    elif path == MESSAGES:
        called = said["content"][-1]
        assert (called["type"], called["name"], called["input"]) == ("tool_use", "f", {"a": [1, "x"]})
    else:
        assert said["parts"][-1]["functionCall"]["args"] == {"a": [1, "x"]}


async def test_the_newest_instructions_hold(talk: Talk) -> None:
    await talk.start()
    for rule, text in (("Be brief.", "One?"), (None, "Two?"), ("Be long.", "Three?")):
        system = [{"role": "system", "content": rule}] if rule else []
        await talk.stand.ask(chat() | {"messages": [*system, {"role": "user", "content": text}]}, headers=NAMED)
        sent = texts(talk.sent["messages"])
        assert sent[0] == (rule or "Be brief.")
        assert sent.count("Be brief.") + sent.count("Be long.") == 1


async def test_a_conversation_stays_in_its_dialect(talk: Talk) -> None:
    await talk.start()
    await talk.stand.ask(chat(), headers=NAMED)
    where, body = saying(MESSAGES, "x", False)
    refused = await talk.stand.ask(body, where, headers=NAMED)
    assert refused.status == 400 and "openai.chat" in refused.json()["error"]["message"]
    wrong = await talk.stand.ask(chat(), headers={"x-shin-conversation": "../x y"})
    assert wrong.status == 400


@both_ways
async def test_a_named_conversation_of_responses(talk: Talk, stream: bool) -> None:
    await talk.start()
    await talk.ask("One?", headers=NAMED, stream=stream, store=False)
    await talk.ask("Two?", headers=NAMED, stream=stream)
    assert texts(talk.sent["input"]) == ["One?", "Answer 1.", "Two?"]


# ── the store ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def broken(talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """A store of one's own, to be stopped."""
    monkeypatch.setattr(keeping, "PAUSES", (0.05,))
    server = Server(str(find_server()), tmp_path / "own", free_port()).wait()
    shared, talk.stand.state = talk.stand.state, await StateStore.connect(f"unix://{server.socket}?timeout=0.5")
    yield server
    await talk.stand.stop()
    await talk.stand.state.close()
    talk.stand.state = shared
    server.kill()


@both_ways
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["down", "stalled"])
@pytest.mark.parametrize(("setting", "status"), [("refuse", 503), ("allow", 200)])
async def test_without_the_store(
    talk: Talk, broken: Server, stream: bool, how: signal.Signals, setting: str, status: int
) -> None:
    await talk.start(f"{{on_store_error: {setting}}}")
    first = reply_of(await talk.ask("One?"))["id"]
    theirs = reply_of(await talk.ask("One?", model="gpt-4o"))["id"]
    broken.process.send_signal(how)
    async with asyncio.timeout(20):
        asked = await talk.ask("Two?", first, stream=stream)
        assert asked.status == status
        if status == 200:
            assert talk.sent["input"] == "Two?"
            assert (asked.reply.headers["x-shin-conversation-lost"], asked.facts["conversation"]) == (
                "unread",
                "unread",
            )
        assert (await talk.ask("Two?", theirs, stream=stream, model="gpt-4o")).status == 503, (
            "whose it is, nobody knows"
        )
        fresh = await talk.ask("One?", stream=stream)
        await talk.stand.settled()
    assert (fresh.status, fresh.facts["conversation_lost"]) == (200, "store_unavailable")
    asked = await talk.get(f"{RESPONSES}/resp_1")
    assert (asked.status, asked.json()["error"]["code"]) == (503, "store_unavailable")


async def test_shadow_keeps_nothing(talk: Talk) -> None:
    await talk.start("{mode: shadow}")
    for stream in (False, True):
        await talk.ask("One?", stream=stream)
        await talk.stand.ask(chat(), headers=NAMED)
        await talk.stand.settled()
    assert await talk.stand.state.run("KEYS", "shin:{conv*") == []


# ── attacks, and two things at once ──────────────────────────────────────────────────────────────


@both_ways
async def test_two_calls_at_once(talk: Talk, stream: bool) -> None:
    await talk.start()
    name = (await talk.get(CONVERSATIONS, "POST", {})).json()["id"]
    await asyncio.gather(*(talk.ask(f"Question {n}?", conversation=name, stream=stream) for n in range(8)))
    await talk.stand.settled()
    page = (await talk.get(f"{CONVERSATIONS}/{name}/items?limit=100&order=asc")).json()
    said = texts(page["data"])
    assert sorted(said[0::2]) == [f"Question {n}?" for n in range(8)]
    assert sorted(said[1::2]) == [f"Answer {n}." for n in range(1, 9)]


async def test_a_conversation_that_is_deleted_meanwhile_stays_deleted(talk: Talk) -> None:
    await talk.start()
    where, body = saying(CHAT, "One?", False)
    await talk.stand.ask(body, where, headers=NAMED)
    gate = asyncio.Semaphore(2)
    talk.provider.rule = lambda _: Answer(gate=gate)
    where, body = saying(CHAT, "Two?", True)
    asked = await talk.stand.begin(body, where, headers=NAMED)
    assert (await talk.get(f"{CONVERSATIONS}/trip-7", "DELETE")).json()["deleted"]
    for _ in range(50):
        gate.release()
    await asked.read()
    await talk.stand.settled()
    assert asked.facts["conversation_lost"] == "conversation_deleted"
    assert await talk.stand.state.run("KEYS", "shin:{conv*") == []


@both_ways
async def test_an_answer_that_is_too_long_ends_the_conversation(talk: Talk, stream: bool) -> None:
    await talk.start("{limit: 2kB}")
    where, body = saying(CHAT, "One?", stream)
    await talk.stand.ask(body, where, headers=NAMED)
    talk.provider.rule = lambda _: Answer(text="x" * 3000)
    asked = await talk.stand.ask(body, where, headers=NAMED)
    await talk.stand.settled()
    assert (asked.status, asked.facts["conversation_lost"]) == (200, "turn_too_long")
    assert b"xxx" in asked.body
    if not stream:
        assert asked.reply.headers["x-shin-conversation-lost"] == "turn_too_long"
    refused = await talk.stand.ask(body, where, headers=NAMED)
    assert (refused.status, refused.json()["error"]["code"]) == (400, "conversation_too_long")
    assert len(talk.provider.seen) == 2


async def test_a_hundred_thousand_items(talk: Talk) -> None:
    await talk.start()
    many = {"items": [{"role": "user", "content": "x"}] * 100_000}
    async with asyncio.timeout(20):
        refused = await talk.get(CONVERSATIONS, "POST", many)
        assert (refused.status, refused.json()["error"]["code"]) == (400, "conversation_full")
        many["items"] = many["items"][:10_000]
        name = (await talk.get(CONVERSATIONS, "POST", many)).json()["id"]
        page = (await talk.get(f"{CONVERSATIONS}/{name}/items?limit=100")).json()
        assert len(page["data"]) == 100 and page["has_more"]
        await talk.ask("And?", conversation=name)
        assert len(talk.sent["input"]) == 10_001
        refused = await talk.ask("And?", conversation=name)
        assert (refused.status, refused.json()["error"]["code"]) == (400, "conversation_full")


@pytest.mark.parametrize(
    "name",
    ["x" * 5000, "..%2f..%2fconversations", "a%20b", "%ff%fe", "conv_%F0%9F%98%80", "*", "{x}", "resp_1;x"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_ids_that_are_none(talk: Talk, name: str, method: str) -> None:
    await talk.start()
    for path in (f"{CONVERSATIONS}/{name}", f"{CONVERSATIONS}/{name}/items", f"{CONVERSATIONS}/{name}/items/{name}"):
        try:
            asked = await talk.get(path, method, {} if method == "POST" else b"")
        except AssertionError:  # no path of ours at all
            continue
        assert asked.status == 404 and "error" in asked.json()
        assert len(asked.body) < 400
    asked = await talk.ask("x", name)
    assert asked.status == 400
    asked = await talk.ask("x", conversation=name)
    assert asked.status == 404
    assert not talk.provider.seen
    assert await talk.stand.state.run("KEYS", "shin:{conv*") == []


@pytest.mark.parametrize("header", ["x" * 129, "a b", "", "ü", "{x}", "*"])
async def test_names_that_are_none(talk: Talk, header: str) -> None:
    await talk.start()
    where, body = saying(MESSAGES, "x", False)
    asked = await talk.stand.ask(body, where, headers={"x-shin-conversation": header})
    if header:
        assert (asked.status, asked.json()["type"]) == (400, "error")
    else:
        assert asked.status == 200
        assert await talk.stand.state.run("KEYS", "shin:{conv*") == []


async def test_holders_of_keys_are_told_apart_by_the_whole_key(talk: Talk) -> None:
    """The name that a key has in the log is a short digest, and another key may have the same."""
    await talk.start()

    async def listed(key: str) -> int:
        delivery = talk.stand.call(b"", f"{CONVERSATIONS}/{name}", method="GET")
        delivery.call.caller = Caller("key-0123456789ab", "key", key=key)
        reply = await delivery.answer()
        assert reply is not None
        delivery.sent()
        return reply.status

    made = talk.stand.call({}, CONVERSATIONS)
    made.call.caller = Caller("key-0123456789ab", "key", key="one")
    reply = await made.answer()
    assert reply is not None
    name = json.loads(reply.raw_body)["id"]
    made.sent()
    assert [await listed("one"), await listed("two")] == [200, 404]


async def test_what_a_provider_sends_back_in_pieces_is_kept_as_the_client_got_it(talk: Talk) -> None:
    """Cut at every place of the stream: either the client has its end and the turn is kept, or neither."""
    await talk.start()
    whole = reply_of(await talk.ask("One?", stream=True))
    stream = talk.answer(Seen("POST", RESPONSES, [], b'{"stream": true}', "", 0), 7).body or b""
    assert whole["id"] == "resp_1"
    for length in range(1, len(stream), 37):
        cut = stream[:length]
        talk.provider.rule = lambda _, cut=cut: Answer(body=cut, body_type="text/event-stream")  # type: ignore[misc]
        asked = await talk.ask("One?", stream=True)
        await talk.stand.settled()
        ended = b'"status":"completed"' in asked.body.replace(b" ", b"") and asked.outcome.end == "completed"
        kept = await talk.get(f"{RESPONSES}/resp_7")
        assert (kept.status == 200) == ended, (length, asked.body)
        assert not ended or length > stream.index(b"response.completed")


async def test_a_policy_without_the_addon_says_so(talk: Talk) -> None:
    await talk.stand.start("meter: on")
    for path, method in ((CONVERSATIONS, "POST"), (f"{RESPONSES}/resp_1", "GET")):
        asked = await talk.get(path, method, {} if method == "POST" else b"")
        assert asked.status == 404 and "conversation" in asked.json()["error"]["message"]


async def test_a_call_that_refers_to_nothing_is_not_touched(talk: Talk) -> None:
    await talk.start()
    raw = json.dumps({"model": "llama3", "input": "One?"}, indent=3).encode()
    assert (await talk.stand.ask(raw, f"/ollama{RESPONSES}")).status == 200
    assert talk.provider.seen[-1].body == raw
    raw = json.dumps({"messages": [{"role": "user", "content": "x"}], "model": "gpt-4o"}, indent=3).encode()
    assert (await talk.stand.ask(raw)).status == 200
    assert talk.provider.seen[-1].body == raw


@pytest.mark.parametrize("what", ["chain", "conversation", "named", "new"])
async def test_the_store_is_asked_once_before_the_model_is(talk: Talk, what: str) -> None:
    await talk.start()
    state = talk.stand.state
    name = (await talk.get(CONVERSATIONS, "POST", {})).json()["id"]
    first = reply_of(await talk.ask("One?", conversation=name))["id"]
    second = reply_of(await talk.ask("Two?", first))["id"]
    await talk.ask("One?", headers=NAMED)
    gate, before = asyncio.Semaphore(0), len(talk.provider.seen)
    talk.more = {"gate": gate}
    await state.run("CONFIG", "RESETSTAT")
    more: dict[str, Any] = {"conversation": {"conversation": name}, "named": {"headers": NAMED}}.get(what, {})
    asking = asyncio.create_task(talk.ask("Three?", second if what == "chain" else None, **more))
    while len(talk.provider.seen) == before:
        await asyncio.sleep(0.01)
    stats = (await state.run("INFO", "commandstats")).decode()
    gate.release()
    assert (await asking).status == 200
    assert ("cmdstat_evalsha:calls=1," in stats) == (what != "new")
    assert not any(f"cmdstat_{one}:" in stats for one in ("get", "mget", "eval"))
