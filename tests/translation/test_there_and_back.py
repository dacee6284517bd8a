"""What is translated means the same when it is read again, or the loss is named."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shin_gateway.translation import bodies, media, replay
from shin_gateway.translation.dialects import CHATS, translator
from shin_gateway.translation.effort import budget_of
from shin_gateway.translation.form import Chat, Media, OutputFormat, Reasoning, ReasoningWish, Text, ToolResult, ToolUse
from shin_gateway.translation.losses import Losses
from tests.translation.features import PNG
from tests.translation.kit import (
    CHAT,
    DIRECTIONS,
    GEMINI,
    MESSAGES,
    NAMES,
    PATHS,
    RESPONSES,
    accumulated,
    answer_of,
    asked,
    events_of,
    read_call,
    said,
    whole,
    write_call,
    written,
)
from tests.translation.there_and_back import answers, calls, in_pieces

Json = dict[str, Any]
Fact = tuple[Any, ...]
RANDOM = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
WORD = re.compile(r"w\d+w")


# ── calls ───────────────────────────────────────────────────────────────────────────────────────


def _across(client: str, target: str, body: Json) -> tuple[Chat, Json, Chat, tuple[str, ...]]:
    """What was read, what went out, what that means, and what was noted; URLs are fetched as the gateway does."""
    losses = Losses()
    out = bodies.call_object(write_call(target, _read(client, target, body, losses), losses))
    again = translator(target).read_call(out, PATHS[target], Losses())
    return _read(client, target, body, Losses()), out, again, losses.dropped


def _read(client: str, target: str, body: Json, losses: Losses) -> Chat:
    chat = read_call(client, bodies.encoded(body), losses)
    for one in media.urls_to_inline(chat, translator(target).takes_urls):
        media.inline(one, "image/png", base64.b64decode(PNG))
    return chat


@pytest.mark.parametrize(("client", "target"), DIRECTIONS, ids=NAMES)
def test_a_call_means_the_same_there(client: str, target: str) -> None:
    @given(calls(client))
    @RANDOM
    def check(body: Json) -> None:
        read, out, again, noted = _across(client, target, body)
        assert not list(_lost_words(body, json.dumps(out) + _documents(again), noted))
        assert not list(_lost_facts(read, again, noted))
        assert not list(_lost_settings(read, again, noted))
        assert not list(_changed_texts(read, again))

    check()


OTHER_NAMES = {"summary": "reasoning", "thinking": "reasoning", "user_id": "user", "labels": "metadata"}
"""What a client calls a field, and what notes call it."""


def _documents(chat: Chat) -> str:
    """Those that are texts, which some APIs take as base64."""
    return " ".join(_text_of(one) for one in media.media_of(chat))


def _text_of(one: Media) -> str:
    return base64.b64decode(one.data).decode() if one.mime.startswith("text/") and one.data else one.text


def _lost_words(body: Json, out: str, noted: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Every text of a call is a word of its own: it goes out, or a note names a field on the way to it."""
    there = set(WORD.findall(out))
    for path, text in _texts(body):
        missing = set(WORD.findall(text)) - there
        names = {OTHER_NAMES.get(step, step) for step in path}
        if missing and not any(name in note for name in names for note in noted):
            yield path, text, noted


def _texts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _texts(one, (*path, name))
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, path)
    elif isinstance(value, str):
        yield path, value


FACT_NOTES = {
    "image": "image", "audio": "audio", "document": "document", "thought": "reasoning", "seal": "", "detail": "detail",
    "error": "is_error", "cache": "cache_control", "name": "name",
}  # fmt: skip
"""What a note has in it when such a fact is lost. Seals mean something to their own provider only: no note."""


IN_ORDER = frozenset({"user", "assistant", "use", "result"})
"""Images of results stand after them where results are texts, and all that a system says stands first."""


def _lost_facts(read: Chat, again: Chat, noted: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    before, after = list(_facts(read)), list(_facts(again))
    lost = Counter(before) - Counter(after)
    for fact in lost:
        word = FACT_NOTES.get(fact[0])
        if word is None or not any(word in note for note in (*noted, "")):
            yield fact, noted
    kept = [fact for fact in before if fact in after and fact[0] in IN_ORDER]
    found = [fact for fact in after if fact in kept]
    if Counter(kept) == Counter(found) and kept != found:
        yield "order", kept, found


def _facts(chat: Chat) -> Iterator[Fact]:
    for message in chat.messages:
        role = "system" if message.role in ("system", "developer") else message.role
        for part in message.parts:
            match part:
                case Text():
                    yield from ((role, word) for word in WORD.findall(part.text))
                case Media() if _text_of(part):
                    yield from ((role, word) for word in WORD.findall(_text_of(part)))
                case Media():
                    yield from _media(part)
                case ToolUse():
                    yield "use", part.name, json.dumps(json.loads(part.arguments or "{}"), sort_keys=True)
                case ToolResult():
                    yield from _result(chat, part)
                case Reasoning():
                    yield "thought", part.text
            if part.cache:
                yield "cache", part.cache


def _changed_texts(read: Chat, again: Chat) -> Iterator[str]:
    """Texts of which a character is another: they may have been joined, and nothing else."""
    found = [part.text for message in again.messages for part in message.parts if isinstance(part, Text)]
    for message in read.messages:
        for part in message.parts:
            if isinstance(part, Text) and not any(part.text in text for text in found):
                yield part.text


def _media(part: Media) -> Iterator[Fact]:
    data = part.data or part.url
    yield part.kind, data
    if part.detail not in ("", "auto"):
        yield "detail", part.detail, data


def _result(chat: Chat, part: ToolResult) -> Iterator[Fact]:
    name = chat.tool_name(part.id)
    for inner in part.parts:
        if isinstance(inner, Media):
            yield inner.kind, inner.data or inner.url
        else:
            yield from (("result", name, word) for word in WORD.findall(inner.text))
    text = "".join(inner.text for inner in part.parts if isinstance(inner, Text))
    if part.is_error or text.startswith("Error: "):  # which is how APIs are told that have no field for it
        yield "error", name


SETTING_NOTES: dict[str, tuple[str, ...]] = {
    "builtin_tools": ("web_search", "max_uses"), "cache_key": ("prompt_cache_key",), "logprobs": ("logprobs",),
    "max_tokens": ("max_",), "metadata": ("metadata", "labels"), "n": ("n", "candidateCount"),
    "output": ("response_format", "text.format", "output_config", "schema", "Schema"), "parallel_tools": ("parallel",),
    "reasoning": ("reasoning", "thinking"), "safety_settings": ("safety",), "tools": ("tools",),
    "tool_choice": ("tool_choice",), "store": ("store",), "user": ("user",), "modalities": ("modalities", "audio"),
}  # fmt: skip
"""What a note has in it when a setting is lost, where it is not the setting's own name."""


def _near(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and abs(before - after) < 1e-6


def _same_wish(before: ReasoningWish | None, after: ReasoningWish | None) -> bool:
    """Words and budgets lead to one another; what is not said is the model's own choice."""
    if before is None or after is None:
        return before is None or budget_of(before) in (None, -1, 0)
    if budget_of(before) == 0:
        return after.effort in ("none", "minimal") or after.budget == 0
    return budget_of(before) in (None, budget_of(after), -1) or _word(before) == _word(after)


def _word(wish: ReasoningWish) -> object:
    budget = budget_of(wish) or 0
    return "none" if budget == 0 else "low" if budget <= 2048 else "medium" if budget <= 12288 else "high"


def _same_output(before: OutputFormat | None, after: OutputFormat | None) -> bool:
    if before is None or before.kind == "text":
        return after is None or after.kind == "text"
    if after is None or before.kind != after.kind:
        return False
    return WORD.findall(json.dumps(before.schema)) == WORD.findall(json.dumps(after.schema))


def _tools(chat: Chat) -> list[Any]:
    return [(tool.name, WORD.findall(tool.description), WORD.findall(json.dumps(tool.schema))) for tool in chat.tools]


MAPPED: dict[str, Callable[[Chat, Chat], bool]] = {
    "model": lambda a, b: True,
    "stream": lambda a, b: a.stream == b.stream or not a.stream,  # the path that we read Gemini's with says stream
    "stream_usage": lambda a, b: True,  # every other API tells it anyway
    "builtin_tools": lambda a, b: [one.kind for one in a.builtin_tools] == [one.kind for one in b.builtin_tools],
    "tools": lambda a, b: _tools(a) == _tools(b),
    "output": lambda a, b: _same_output(a.output, b.output),
    "reasoning": lambda a, b: _same_wish(a.reasoning, b.reasoning),
    "max_tokens": lambda a, b: a.max_tokens is None or (b.max_tokens or 0) > a.max_tokens > 0,
    "n": lambda a, b: a.n == 1,
    "store": lambda a, b: not a.store,
    "parallel_tools": lambda a, b: a.parallel_tools is not False or not a.tools or _calls_none(a),
    "tool_choice": lambda a, b: a.tool_choice is None or a.tool_choice.mode == "auto" or not a.tools,
    "service_tier": lambda a, b: a.service_tier in ("", "auto") or b.service_tier in ("auto", "default"),
    "temperature": lambda a, b: _near(a.temperature, b.temperature) or a.temperature == 1 or b.temperature == 1,
    "top_p": lambda a, b: _near(a.top_p, b.top_p) or a.top_p == 1,
    "frequency_penalty": lambda a, b: _near(a.frequency_penalty, b.frequency_penalty) or not a.frequency_penalty,
    "presence_penalty": lambda a, b: _near(a.presence_penalty, b.presence_penalty) or not a.presence_penalty,
    "user": lambda a, b: not a.user or a.user in (b.user, b.safety_identifier),
    "safety_identifier": lambda a, b: not a.safety_identifier or a.safety_identifier in (b.user, b.safety_identifier),
    "modalities": lambda a, b: a.modalities in ([], ["text"]),
}
"""Where another value means as much."""


def _calls_none(chat: Chat) -> bool:
    return chat.tool_choice is not None and chat.tool_choice.mode == "none"


def _lost_settings(read: Chat, again: Chat, noted: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    for name in Chat.__struct_fields__:
        before, after = getattr(read, name), getattr(again, name)
        if name == "messages" or before == after or (name in MAPPED and MAPPED[name](read, again)):
            continue
        words = SETTING_NOTES.get(name, (name,))
        if before and not any(word in note for word in words for note in noted):
            yield name, before, after, noted


@pytest.mark.parametrize(("client", "target"), DIRECTIONS, ids=NAMES)
def test_a_call_that_comes_back_is_the_same_call(client: str, target: str) -> None:
    """There, and from there back: the second way loses nothing that the first did not."""

    @given(calls(client))
    @RANDOM
    def check(body: Json) -> None:
        read, out, _, noted = _across(client, target, body)
        _, _, home, more = _across(target, client, out)
        lost = [*noted, *more]
        assert not list(_lost_facts(read, home, tuple(lost)))

    check()


# ── answers ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("client", "target"), DIRECTIONS, ids=NAMES)
def test_an_answer_is_the_same_whole_in_pieces_and_replayed(client: str, target: str) -> None:
    origin = asked(client)

    @given(st.data())
    @RANDOM
    def check(data: st.DataObject) -> None:
        answer = data.draw(answers(target))
        expected = whole(client, answer, origin)
        again = accumulated(client, written(client, replay.events(answer), origin))
        pieces = accumulated(client, written(client, in_pieces(data.draw, answer), origin))
        assert said(again) == said(expected)
        assert said(pieces) == said(expected)
        assert again.usage == pieces.usage == expected.usage

    check()


@pytest.mark.parametrize("client", CHATS)
def test_our_own_streams_can_be_read(client: str) -> None:
    """What a writer writes, the same dialect's reader reads: gateways stand behind gateways."""
    origin = asked(client)

    @given(st.data())
    @RANDOM
    def check(data: st.DataObject) -> None:
        answer = data.draw(answers(client))
        found = answer_of(events_of(client, written(client, in_pieces(data.draw, answer), origin)))
        assert _texts_of(found) == _texts_of(whole(client, answer, origin))

    check()


def _texts_of(answer: Any) -> list[Any]:
    return [row for row in said(answer)[1][0] if row[0] != "thought"]


@pytest.mark.parametrize("client", CHATS)
def test_an_answer_says_what_it_was_given(client: str) -> None:
    """Texts, tools and the way it ended arrive with every client."""
    origin = asked(client)

    @given(
        st.sampled_from([dialect for dialect in (CHAT, RESPONSES, MESSAGES, GEMINI) if dialect != client]), st.data()
    )
    @RANDOM
    def check(target: str, data: st.DataObject) -> None:
        answer = data.draw(answers(target))
        found = whole(client, answer, origin)
        texts = [part.text for part in answer.choices[0].parts if isinstance(part, Text)]
        uses = [
            (part.name, json.loads(part.arguments)) for part in answer.choices[0].parts if isinstance(part, ToolUse)
        ]
        parts = found.choices[0].parts
        assert "".join(part.text for part in parts if isinstance(part, Text)) == "".join(texts) or not texts
        assert [(part.name, json.loads(part.arguments)) for part in parts if isinstance(part, ToolUse)] == uses
        assert found.usage is not None and answer.usage is not None
        assert (found.usage.input, found.usage.output) == (answer.usage.input, answer.usage.output)
        if answer.choices[0].finish in ("length", "tools"):
            assert found.choices[0].finish == answer.choices[0].finish

    check()
