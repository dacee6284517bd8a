"""Heads of calls that are written so that we read one thing and the provider another."""

from __future__ import annotations

import pytest

from shin_gateway import dialects
from shin_gateway.dialects.heads import model_in_path
from shin_gateway.errors import Invalid

ENVELOPE = b'{"model": "gemini-2.5-pro", "request": {}}'


def test_a_query_names_no_model() -> None:
    path = "/v1internal:generateContent?a=/models/gemini-2.5-flash:generateContent"
    assert model_in_path(path) is None
    assert dialects.get("gemini.generate").peek(ENVELOPE, path).model == "gemini-2.5-pro"
    named = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert model_in_path(named) == "gemini-2.5-flash"


def test_a_model_is_renamed_wherever_it_stands() -> None:
    """Azure goes by the path: a budget's cheaper model in the body alone would change nothing."""
    path = "/openai/deployments/gpt-4o/chat/completions?api-version=1"
    body, path = dialects.get("openai.chat").with_model(b'{"model": "gpt-4o"}', path, "gpt-4o-mini")
    assert body == b'{"model": "gpt-4o-mini"}'
    assert path == "/openai/deployments/gpt-4o-mini/chat/completions?api-version=1"


@pytest.mark.parametrize("query", ["model=a&model=b", "model=a&mod%65l=b", "mod%65l=b", "model=a&deployment=b"])
def test_a_connection_is_about_one_model(query: str) -> None:
    with pytest.raises(Invalid):
        dialects.get("openai.realtime").peek(b"", f"/v1/realtime?{query}")


@pytest.mark.parametrize("query", ["model=a", "x=1&model=a%20b", "deployment=a&api-version=1", "model=a&model=a", ""])
def test_a_connection_about_one_model(query: str) -> None:
    assert dialects.get("openai.realtime").peek(b"", f"/v1/realtime?{query}").model in ("a", "a b", None)


@pytest.mark.parametrize(
    ("name", "path", "body", "most", "answers"),
    [
        ("openai.chat", "/", b'{"model":"m","max_tokens":9,"max_completion_tokens":1,"n":3}', 9, 3),
        ("openai.chat", "/", b'{"model":"m","max_output_tokens":1}', None, 1),
        ("openai.chat", "/", b'{"model":"m","max_tokens":"9","n":"3"}', 9, 3),
        ("openai.chat", "/", b'{"model":"m","max_tokens":-1,"n":-1}', None, 1),
        ("openai.chat", "/", b'{"model":"m","max_tokens":true,"n":false}', None, 1),
        ("openai.completions", "/", b'{"model":"m","prompt":["a","b"],"n":2,"best_of":5}', None, 10),
        ("openai.completions", "/", b'{"model":"m","prompt": [ [1], [2], [3] ]}', None, 3),
        ("openai.completions", "/", b'{"model":"m","prompt":[1,2,3]}', None, 1),
        ("openai.completions", "/", b'{"model":"m","prompt":[]}', None, 1),
        ("openai.images", "/", b'{"model":"m","n":10}', None, 10),
        ("gemini.generate", "/v1/models/m:generateContent", b'{"generationConfig":{"candidateCount":4}}', None, 4),
    ],
)  # fmt: skip
def test_how_much_a_call_asks_for(name: str, path: str, body: bytes, most: int | None, answers: int) -> None:
    peek = dialects.get(name).peek(body, path)
    assert (peek.model, peek.max_output, peek.answers) == ("m", most, answers)
