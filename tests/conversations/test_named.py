"""Messages of earlier calls, put before those of a new one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shin_gateway.conversations import items, named
from shin_gateway.conversations.body import raw
from shin_gateway.conversations.kinds import KINDS
from shin_gateway.conversations.vault import About, Vault
from shin_gateway.errors import Invalid, TooLarge

GEMINI, CHAT, MESSAGES = KINDS["gemini.generate"], KINDS["openai.chat"], KINDS["anthropic.messages"]


async def keep(vault: Vault, dialect: str, *said: dict[str, Any]) -> None:
    await vault.append("c", items.entries([raw(one) for one in said]), dialect, about=About(1))


async def written(vault: Vault, kind: Any, call: Any, most: int = 10_000) -> Any:
    _, body = await named.take_up(json.dumps(call).encode(), kind, "c", vault, keep=True, most=most)
    return json.loads(body)


def content(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


async def test_the_envelope_of_gemini_cli(vault: Vault) -> None:
    await keep(vault, GEMINI.dialect, content("One?"), content("One.", "model"))
    call = {"model": "m", "project": "p", "request": {"contents": [content("Two?")], "session_id": "s"}}
    sent = await written(vault, GEMINI, call)
    assert sent == {
        "model": "m",
        "project": "p",
        "request": {"contents": [content("One?"), content("One.", "model"), content("Two?")], "session_id": "s"},
    }


async def test_one_content_that_is_no_list(vault: Vault) -> None:
    await keep(vault, GEMINI.dialect, content("One?"))
    assert (await written(vault, GEMINI, {"contents": content("Two?")}))["contents"] == [
        content("One?"),
        content("Two?"),
    ]


async def test_rules_hold_until_others_come(vault: Vault) -> None:
    def said(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": text}

    brief, long, one, two = (
        said("system", "Be brief."),
        said("developer", "Be long."),
        said("user", "1"),
        said("user", "2"),
    )
    await keep(vault, CHAT.dialect, brief, one)
    assert (await written(vault, CHAT, {"messages": [two]}))["messages"] == [brief, one, two]
    await keep(vault, CHAT.dialect, long, two)
    assert (await written(vault, CHAT, {"messages": [two]}))["messages"] == [long, one, two, two]
    assert (await written(vault, CHAT, {"messages": [brief, two]}))["messages"] == [brief, one, two, two]


async def test_cache_marks_do_not_add_up(vault: Vault) -> None:
    """Anthropic takes four in a call."""
    mark = {"cache_control": {"type": "ephemeral"}}
    text = {"type": "text", "text": "x", "citations": None}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [text | mark]}
    call = {"messages": [{"role": "user", "content": [text | mark, result | mark]}]}
    one, body = await named.take_up(json.dumps(call).encode(), MESSAGES, "c", vault, keep=True, most=10_000)
    assert json.loads(body) == call, "the call's own stay"
    await vault.append("c", one.new, MESSAGES.dialect, about=About(1))
    first, second = (await written(vault, MESSAGES, call))["messages"]
    assert first == {"role": "user", "content": [text, result | {"content": [text]}]}
    assert second == call["messages"][0]


@pytest.mark.parametrize("body", [{}, {"messages": None}, {"messages": {}}, {"messages": ["x"]}, {"messages": 3}, []])
async def test_bad_input_is_named(vault: Vault, body: Any) -> None:
    with pytest.raises(Invalid) as raised:
        await written(vault, MESSAGES, body)
    assert "messages" in raised.value.message or "JSON object" in raised.value.message


async def test_what_could_not_be_kept_is_refused_first(vault: Vault) -> None:
    with pytest.raises(TooLarge):
        await written(vault, MESSAGES, {"messages": [{"role": "user", "content": "x" * 500}]}, most=400)
