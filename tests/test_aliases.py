"""An alias in a call becomes the model and the parameters behind it."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from shin_gateway.aliases import unfold
from shin_gateway.arrivals import at_gateway
from shin_gateway.call import Call
from shin_gateway.config import Config
from shin_gateway.errors import Invalid
from shin_gateway.policy import Policy, load_policies
from shin_gateway.providers import Providers
from shin_gateway.registry import Registry

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
CONFIG = Config.model_validate({
    "models": {
        "plain": "openai/gpt-4o-mini",
        "fast": {"model": "gemini/gemini-2.5-flash", "temperature": 0.2, "max_tokens": 500},
        "deep": {"model": "fast", "temperature": 0.9, "reasoning_effort": "high"},
        "five": {"model": "openai/gpt-5", "max_tokens": 500},
        "claude": {"model": "anthropic/claude-opus-4-6", "temperature": 0.2},
    }
})  # fmt: skip


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    folder = tmp_path_factory.mktemp("policies")
    (folder / "gateway.yaml").write_text("hosts: [gateway]\n")
    gateway = load_policies([], Registry(), folder).gateway
    assert gateway is not None
    return gateway


def unfolded(policy: Policy, path: str, body: str, config: Config = CONFIG, **headers: str) -> Call:
    given = CIMultiDict({"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()})
    arrival = at_gateway(Providers.load(), "POST", path, given)
    assert arrival is not None
    call = Call(method="POST", headers=given, arrival=arrival, host="gateway", policy=policy, raw_body=body.encode())
    unfold(call, config)
    return call


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (CHAT, '{"model": "plain"}', '{"model": "openai/gpt-4o-mini"}'),
        (CHAT, '{"model":"fast"}', '{"model":"gemini/gemini-2.5-flash","max_tokens":500,"temperature":0.2}'),
        (CHAT, '{"model":"fast","temperature":1}', '{"model":"gemini/gemini-2.5-flash","temperature":1,"max_tokens":500}'),
        (CHAT, '{"model":"deep"}', '{"model":"gemini/gemini-2.5-flash","max_tokens":500,"reasoning_effort":"high","temperature":0.9}'),
        (CHAT, '{"model":"five"}', '{"model":"openai/gpt-5","max_completion_tokens":500}'),
        ("/v1/embeddings", '{"model":"fast","input":"x"}', '{"model":"gemini/gemini-2.5-flash","input":"x"}'),
        ("/v1/messages/count_tokens", '{"model":"claude"}', '{"model":"anthropic/claude-opus-4-6"}'),
        ("/v1/responses/compact", '{"model":"five"}', '{"model":"openai/gpt-5"}'),
        (MESSAGES, '{"model":"claude"}', '{"model":"anthropic/claude-opus-4-6","temperature":0.2}'),
    ],
)  # fmt: skip
def test_aliases(policy: Policy, path: str, body: str, expected: str) -> None:
    call = unfolded(policy, path, body)
    assert call.body.decode() == expected
    assert call.asked_model in CONFIG.models


def test_an_alias_in_a_path(policy: Policy) -> None:
    call = unfolded(policy, "/v1beta/models/fast:generateContent", '{"contents":[]}')
    assert call.path == "/v1beta/models/gemini%2Fgemini-2.5-flash:generateContent"
    assert call.body == b'{"contents":[],"generationConfig":{"maxOutputTokens":500,"temperature":0.2}}'
    assert (call.model, call.asked_model) == ("gemini/gemini-2.5-flash", "fast")


def test_a_version_that_refuses_sampling(policy: Policy) -> None:
    call = unfolded(policy, MESSAGES, '{"model":"claude"}', anthropic_version="2026-10-21")
    assert call.body == b'{"model":"anthropic/claude-opus-4-6"}'


@pytest.mark.parametrize(
    ("path", "body", "config"),
    [
        (CHAT, '{"model":"gpt-4o"}', CONFIG),
        (CHAT, '{"model":"openai/gpt-4o"}', CONFIG),
        (CHAT, '{"model":"fast"}', Config()),
        (CHAT, "no json", Config()),
        ("/openai/v1/chat/completions", '{"model":"fast"}', CONFIG),
        ("/openai/v1/files", "no json", CONFIG),
    ],
)
def test_calls_without_an_alias_stay(policy: Policy, path: str, body: str, config: Config) -> None:
    call = unfolded(policy, path, body, config)
    assert (call.body, call.asked_model) == (body.encode(), "")


def test_a_malformed_call(policy: Policy) -> None:
    with pytest.raises(Invalid):
        unfolded(policy, CHAT, "[]")
