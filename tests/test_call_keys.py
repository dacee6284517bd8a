"""Where keys stand in a call, and how they are taken off."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from shin_gateway.call_keys import (
    CREDENTIAL_HEADERS,
    PROTOCOLS,
    credential,
    credentials,
    mentions,
    purge,
    unmentioned,
    without_keys,
)

KEY = "sk-shin-x"


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


@pytest.mark.parametrize(
    ("headers", "path", "found"),
    [
        ({}, "/", []),
        ({"authorization": "Bearer k"}, "/", ["k"]),
        ({"Authorization": "bearer  k "}, "/", ["k"]),
        ({"authorization": "Token k"}, "/", ["k"]),
        ({"authorization": "k"}, "/", ["k"]),
        ({"authorization": "Bearer"}, "/", ["Bearer"]),
        ({"authorization": "AWS4-HMAC-SHA256 Credential=a, Signature=b"}, "/",
         ["AWS4-HMAC-SHA256 Credential=a, Signature=b"]),
        ({"authorization": basic("user:k:l")}, "/", ["k:l"]),
        ({"authorization": "Basic ???"}, "/", ["???"]),
        ({"x-api-key": "a", "api-key": "b", "x-goog-api-key": "c"}, "/?key=d&api-key=e&other=f", list("abcde")),
        ({"x-api-key": "a", "authorization": "Bearer a"}, "/?key=a", ["a"]),
        ({}, "/?key=sk%2Dshin%2Dx", [KEY]),
        ({}, "/?key=", []),
        ({PROTOCOLS: "realtime, openai-insecure-api-key.k"}, "/", ["k"]),
    ],
)  # fmt: skip
def test_every_key_of_a_call(headers: dict[str, str], path: str, found: list[str]) -> None:
    assert credentials(CIMultiDict(headers), path) == found
    assert credential(CIMultiDict(headers), path) == (found[0] if found else "")


def test_a_header_that_stands_twice() -> None:
    assert credentials(CIMultiDict([("x-api-key", "a"), ("X-Api-Key", "b")]), "/") == ["a", "b"]


def test_ours_are_taken_off_and_others_stay() -> None:
    headers = CIMultiDict({"x-api-key": KEY, "authorization": "Bearer theirs", PROTOCOLS: "realtime", "x-own": KEY})
    assert purge(headers, f"/a%20b?x=%41&key={KEY}&y=", KEY.__eq__) == "/a%20b?x=%41&y="
    assert dict(headers) == {"authorization": "Bearer theirs", PROTOCOLS: "realtime", "x-own": KEY}
    assert purge(CIMultiDict(), "/?key=theirs&x", KEY.__eq__) == "/?key=theirs&x"
    assert purge(CIMultiDict(), f"/?key={KEY}", KEY.__eq__) == "/"


ODD = [f"Bearer Bearer {KEY}", f"Bearer\t{KEY}", f'Bearer "{KEY}"', f"Bearer {KEY}, Bearer x", f"'{KEY}'"]
"""Ways to write it that people and programs find."""


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {KEY}",
        f"Token {KEY}",
        KEY,
        basic(f"anybody:{KEY}"),
        basic(f"{KEY}:"),
        basic(f"a:{KEY}").rstrip("="),
        *ODD,
    ],
)
def test_however_it_is_written(value: str) -> None:
    for name in CREDENTIAL_HEADERS:
        headers = CIMultiDict({name: value})
        purge(headers, "/", KEY.__eq__)
        assert not headers


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_header_and_no_query_does_harm(value: str, query: str) -> None:
    headers = CIMultiDict({"authorization": value, PROTOCOLS: value})
    found = credentials(headers, f"/?{query}")
    assert all(found)
    path = purge(headers, f"/?{query}", lambda key: True)
    assert "authorization" not in headers or not value.strip()
    assert not credentials(CIMultiDict(), path)
    assert without_keys(without_keys(query)) == without_keys(query)


@pytest.mark.parametrize(
    ("path", "left"),
    [
        (f"/a?api_key={KEY}&b=1", "/a?b=1"),
        (f"/a?x=1;key={KEY}", "/a"),
        ("/a?x=%73k%2dshin-x&%41=%2B", "/a?%41=%2B"),
        ("/a?b=sk-other&c", "/a?b=sk-other&c"),
        ("/a", "/a"),
    ],
)
def test_parameters_in_which_a_key_of_ours_stands(path: str, left: str) -> None:
    assert unmentioned(path) == left
    assert mentions(f"a={KEY}; b") and not mentions("sk-shin") and not mentions("sk-ant-api03-x")
