from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shin_gateway.listening.cors import Cors, Rules, is_preflight
from shin_gateway.listening.headers import dressed

APP = "https://app.example.com"


def told(rules: Rules, origin: str | None) -> dict[bytes, bytes]:
    return dict(rules.fields(origin))


def test_an_origin_is_named_whole() -> None:
    rules = Rules(Cors(origins=[APP, "http://localhost:3000", "https://b.example:443"]))
    for origin in (APP, "http://localhost:3000", "https://b.example"):
        assert told(rules, origin)[b"access-control-allow-origin"] == origin.encode()
    for other in (None, "", "null", f"{APP}.evil", f"{APP}:444", "http://app.example.com", APP.upper(), "*"):
        assert told(rules, other) == {b"vary": b"origin"}


def test_every_page() -> None:
    rules = Rules(Cors(origins="*"))
    for origin in (APP, "null", "https://\r\nx: y"):
        assert told(rules, origin)[b"access-control-allow-origin"] == b"*"
    assert told(rules, None) == {}


@pytest.mark.parametrize("origin", ["*", "null"])
def test_strangers_have_no_credentials(origin: str) -> None:
    with pytest.raises(ValidationError, match="name the origins"):
        Cors(origins=[origin], credentials=True)
    rules = Rules(Cors(origins=[APP], credentials=True, expose=["*", "x-a"]))
    assert told(rules, APP)[b"access-control-allow-credentials"] == b"true"
    assert told(rules, APP)[b"access-control-expose-headers"] == b"x-a"  # * is a name there (Fetch §3.3.3)


@pytest.mark.parametrize(
    "origin", ["app.example.com", f"{APP}/", f"{APP}/x", "https://*.example.com", "https://", "", "https://u@x.example"]
)
def test_what_is_no_origin(origin: str) -> None:
    with pytest.raises(ValidationError):
        Cors(origins=[origin])


def test_a_preflight_is_told_what_it_asks_for_and_no_more() -> None:
    rules = Rules(Cors(origins=[APP], max_age=60.0))
    asked = {"origin": APP, "access-control-request-method": "POST"}
    wanted = asked | {"access-control-request-headers": "authorization, x-a,b c,\r\nx: y,\xff"}
    assert is_preflight("OPTIONS", asked)
    assert not is_preflight("POST", asked)
    assert not is_preflight("OPTIONS", {"origin": APP})
    assert dict(rules.preflight(wanted)) == {
        b"access-control-allow-methods": b"GET, POST, DELETE",
        b"access-control-max-age": b"60",
        b"access-control-allow-headers": b"authorization, x-a",
    }
    assert rules.preflight(wanted | {"origin": "https://evil.example"}) == []


def test_named_headers_stay_as_named() -> None:
    rules = Rules(Cors(origins=[APP], headers=["content-type"]))
    asked = {"origin": APP, "access-control-request-method": "POST", "access-control-request-headers": "x-evil"}
    assert dict(rules.preflight(asked))[b"access-control-allow-headers"] == b"content-type"


@given(st.text(), st.text())
def test_what_a_page_says_makes_no_header(origin: str, headers: str) -> None:
    rules = Rules(Cors(origins=[APP, "null"]))
    fields = rules.fields(origin) + rules.preflight({"origin": APP, "access-control-request-headers": headers})
    for name, value in fields:
        assert value.decode("ascii").isprintable(), name


def test_a_providers_cors_is_not_ours_to_say() -> None:
    fields = [(b"Access-Control-Allow-Origin", b"*"), (b"X-Content-Type-Options", b"x"), (b"vary", b"accept")]
    assert dressed(fields, None, None) == (
        (b"X-Content-Type-Options", b"x"),
        (b"vary", b"accept"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cache-control", b"no-store"),
    )
