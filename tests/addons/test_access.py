"""What roles and keys permit: hosts, kinds of calls, models by all their names; what is said of what they do not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shin_gateway.caller import Caller, Grant
from shin_gateway.config import Config
from shin_gateway.roles import Role, Roles
from tests.addons.stand import CHAT, EMBEDDINGS, GEMINI, MESSAGES, Asked, Stand, chat

MESSAGE = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


async def start(stand: Stand, more: str = "", **roles: Role) -> None:
    """With these roles, and `fast` for a small model."""
    await stand.start(more or "access: on\ntranslate: on")
    gateway = stand.gateway
    changed = gateway.config.model_copy(update={"models": {"fast": "openai/gpt-4o-mini"}})
    object.__setattr__(gateway.config, "models", changed.models)
    gateway.roles._roles.update(roles)


async def ask(stand: Stand, body: Any, path: str = CHAT, caller: Caller | None = None, **how: Any) -> Asked:
    delivery = stand.call(body, path, **how)
    delivery.call.caller = caller or Caller("ann", "user", user="ann")
    reply = await delivery.answer()
    assert reply is not None
    return await Asked(delivery.call, delivery, reply).read()


def having(*roles: str, **grant: Any) -> Caller:
    return Caller("ann", "virtual_key", user="ann", roles=roles, grant=Grant(**grant))


def said(asked: Asked) -> str:
    error = asked.json()["error"]
    return str(error["message"])


async def test_who_has_no_role_is_a_user(stand: Stand) -> None:
    await start(stand)
    assert (await ask(stand, chat())).status == 200
    asked = await ask(stand, {}, "/openai/v1/evals")
    assert (asked.status, asked.outcome.cause) == (400, "kind_not_allowed")
    assert said(asked) == "Your role `user` may not use a provider's other paths."
    assert (await ask(stand, {}, "/openai/v1/evals", having("admin"))).status != 400


async def test_guests_see_lists_and_nothing_else(stand: Stand) -> None:
    await start(stand)
    guest = Caller(roles=("guest",))
    assert (await ask(stand, b"", "/v1/models", guest, method="GET")).status == 200
    asked = await ask(stand, chat(), caller=guest)
    assert said(asked) == "Your role `guest` may not make calls of the kind `chat`."
    assert asked.reply.headers["x-should-retry"] == "false"
    assert not [seen for seen in stand.provider.seen if seen.method == "POST"]


async def test_a_role_that_nobody_described(stand: Stand) -> None:
    await start(stand)
    asked = await ask(stand, chat(), caller=having("usr", "b`\n"))
    assert asked.status == 400
    assert "None of your roles (usr, b`?)" in said(asked)


@pytest.mark.parametrize(
    ("patterns", "model", "good"),
    [
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("openai/*",), "gpt-4o", True),
        (("openai/*",), "openai/gpt-4o", True),
        (("openai/*",), "anthropic/claude-sonnet-4-5", False),
        (("fast",), "fast", True),
        (("fast",), "gpt-4o-mini", False),
        (("openai/gpt-4o-mini",), "fast", True),
        (("anthropic/*",), "fast", False),
        (("gpt-4o",), "GPT-4o", False),
        ((), "gpt-4o", False),
    ],
)
@pytest.mark.parametrize("by", ["role", "grant"])
async def test_models_by_all_their_names(
    stand: Stand, patterns: tuple[str, ...], model: str, good: bool, by: str
) -> None:
    if by == "grant" and not patterns:
        pytest.skip("a key without models permits what its owner's roles do")
    role = Role(models=patterns if by == "role" else ("*",))
    await start(stand, some=role)
    asked = await ask(stand, chat(model=model), caller=having("some", models=patterns if by == "grant" else ()))
    assert (asked.status == 200) is good, asked.body
    if not good:
        assert f"may not use the model {model}" in said(asked)
        assert asked.outcome.cause == "model_not_allowed"
        assert not stand.provider.seen


async def test_each_dialect_says_it_in_its_own_way(stand: Stand) -> None:
    await start(stand, some=Role(models=("nothing",)))
    for path, body in ((CHAT, chat()), (MESSAGES, MESSAGE), (GEMINI, {"contents": []}), (EMBEDDINGS, chat(input="x"))):
        asked = await ask(stand, body, path, having("some"))
        assert asked.status == 400
        assert "Your role `some` may not use the model" in said(asked)


async def test_one_role_permits_all_of_a_call(stand: Stand) -> None:
    """Not the models of one with the kinds of another."""
    chats = Role(models=("claude-*",), endpoints=("chat",))
    embeds = Role(models=("gpt-*", "text-*"), endpoints=("embed",))
    await start(stand, chats=chats, embeds=embeds)
    both = having("chats", "embeds")
    assert (await ask(stand, chat(), caller=both)).status == 400
    assert (await ask(stand, MESSAGE, MESSAGES, both)).status == 200
    body = {"model": "text-embedding-3-small", "input": "x"}
    assert (await ask(stand, body, EMBEDDINGS, both)).status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat(models=["gpt-4o", "o1"])),
        (CHAT, chat(Model="o1")),
        (CHAT, chat(MODEL=["o1"])),
        ("/openai/deployments/o1/chat/completions?api-version=2024-10-21", chat()),
        ("/v1beta/models/o1:generateContent", {"model": "gpt-4o", "contents": []}),
    ],
)
async def test_no_other_model_comes_along(stand: Stand, path: str, body: Any) -> None:
    await start(stand, some=Role(models=("gpt-4o",)))
    asked = await ask(stand, body, path, having("some"))
    assert asked.status == 400, asked.body
    assert "may not use the model o1" in said(asked)
    assert not stand.provider.seen


async def test_a_call_that_names_no_model(stand: Stand) -> None:
    await start(stand, some=Role(models=("gpt-*",)))
    asked = await ask(stand, {"input": "x"}, "/v1/moderations", having("some"))
    assert said(asked) == "You may use some models only, and this call names none."
    assert (await ask(stand, {"input": "x"}, "/v1/moderations")).status == 200


async def test_batches(stand: Stand) -> None:
    await start(stand, some=Role(models=("anthropic/claude-haiku*",)))

    async def batch(*models: str, **how: Any) -> Asked:
        body = {"requests": [{"custom_id": one, "params": {**MESSAGE, "model": one}} for one in models]}
        return await ask(stand, body, "/v1/messages/batches", having("some"), headers={"x-api-key": "k"}, **how)

    assert "may not use the model claude-opus" in said(await batch("claude-haiku-4-5", "claude-opus-4-1"))
    assert (await batch("claude-haiku-4-5")).status == 200
    openai = await ask(stand, {"input_file_id": "file-1", "endpoint": "/v1/chat/completions"}, "/v1/batches",
                       having("some"))  # fmt: skip
    assert "not known here" in said(openai)
    listed = await ask(stand, b"", "/v1/batches", having("some"), method="GET")
    assert listed.status != 400


async def test_hosts(stand: Stand) -> None:
    await start(stand, some=Role(hosts=("api.openai.com",)))
    assert said(await ask(stand, chat(), caller=having("some"))) == "Your role `some` may not call the host gateway."
    asked = await ask(stand, chat(), caller=having("user", hosts=("api.*",)))
    assert said(asked) == "Your key may not be used for the host gateway."
    assert (await ask(stand, chat(), caller=having("user", hosts=("gate*",)))).status == 200


async def test_lists_show_what_may_be_used(stand: Stand) -> None:
    await start(stand, some=Role(models=("fast", "anthropic/*")))
    asked = await ask(stand, b"", "/v1/models", having("some", models=("fast",)), method="GET")
    assert [one["id"] for one in asked.json()["data"]] == ["fast"]


async def test_shadow(stand: Stand) -> None:
    await start(stand, "access: {mode: shadow}\nlog: on", some=Role(models=()))
    asked = await ask(stand, chat(), caller=having("some"))
    assert (asked.status, asked.facts["shadow.access"]) == (200, "model_not_allowed")


async def test_the_default_role_has_to_be_described(stand: Stand) -> None:
    with pytest.raises(ValueError, match='no role "nobody" is described; there are admin, user, guest'):
        await stand.start("access: {default_role: nobody}")


async def test_bodies_that_cannot_be_read(stand: Stand) -> None:
    await start(stand, some=Role(models=("gpt-4o",)))
    for body in (b"", b"{", b"[]", b'{"model": 1}', b'{"model": "gpt-4o", "models": {', b"{" * 100_000):
        asked = await ask(stand, body, caller=having("some"))
        assert asked.status == 400
        json.loads(asked.body)
    assert not stand.provider.seen


def test_roles_come_from_the_file() -> None:
    assert "lead" in Roles.load(Config.model_validate({"roles": {"lead": {"tier": "gold"}}}))


async def test_batches_by_their_provider(stand: Stand) -> None:
    await start(stand, some=Role(models=("gemini/*",)))
    path = "/v1beta/models/gemini-2.5-pro:batchGenerateContent"
    assert (await ask(stand, {"batch": {}}, path, having("some"))).status == 200
    body = {"requests": [{"custom_id": "1", "params": MESSAGE}]}
    how = {"headers": {"x-api-key": "k", "x-shin-provider": "gemini"}}
    asked = await ask(stand, body, "/v1/messages/batches", having("some"), **how)
    assert asked.outcome.cause != "model_not_allowed", "the header says who is asked"
