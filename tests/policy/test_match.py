"""Hosts and patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.policy.match import HostPattern, HostTable, normalise, parse_pattern


def table(*patterns: str) -> HostTable[str]:
    made: HostTable[str] = HostTable()
    for pattern in patterns:
        made.put(parse_pattern(pattern), pattern)
    return made


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("api.openai.com", "api.openai.com", None),
        ("API.OpenAI.com.", "api.openai.com", None),
        ("*.openai.azure.com", "*.openai.azure.com", None),
        ("localhost:11434", "localhost", 11434),
        ("[::1]:11434", "::1", 11434),
        ("::1", "::1", None),
        ("[0:0::1]", "::1", None),
        ("10.0.0.5:8000", "10.0.0.5", 8000),
        ("*", "*", None),
        ("gateway", "gateway", None),
        ("bücher.example", "xn--bcher-kva.example", None),
        ("*.BÜCHER.example", "*.xn--bcher-kva.example", None),
    ],
)
def test_patterns(text: str, name: str, port: int | None) -> None:
    pattern = parse_pattern(text)
    assert pattern == HostPattern(name, port)
    assert parse_pattern(str(pattern)) == pattern


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "a..b", "*a.example", "a.*", "*.*.example", "-a.example", "host:0", "host:65536", "host:", "a b",
        "a/b", "http://", "a\nb",
    ],
)  # fmt: skip
def test_no_patterns(text: str) -> None:
    with pytest.raises(ValueError):
        parse_pattern(text)


@given(st.text(max_size=60))
def test_any_text_is_a_pattern_or_a_value_error(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except ValueError:
        return
    assert parse_pattern(str(pattern)) == pattern


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(host: str) -> None:
    assert normalise(normalise(host)) == normalise(host)


@pytest.mark.parametrize(
    ("host", "port", "found"),
    [
        ("a.b.example", 443, "a.b.example"),
        ("A.B.EXAMPLE.", None, "a.b.example"),
        ("a.b.example", 8443, "a.b.example:8443"),
        ("x.b.example", 443, "*.b.example"),
        ("y.x.b.example", 443, "*.b.example"),
        ("x.b.example", 8443, "*.b.example:8443"),
        ("b.example", 443, "*.example"),
        ("example", 443, None),
        ("other.test", 443, None),
        ("bücher.test", 443, "bücher.test"),
        ("xn--bcher-kva.test", 443, "bücher.test"),
        ("10.0.0.5", 443, "10.0.0.5"),
        ("0:0::1", 80, "[::1]:80"),
        ("[::1]", 81, None),
        ("evil-a.b.example.test", 443, None),
        ("", 443, None),
    ],
)
def test_the_most_specific_wins(host: str, port: int | None, found: str | None) -> None:
    hosts = table(
        "*.example", "*.b.example", "*.b.example:8443", "a.b.example", "a.b.example:8443", "bücher.test", "10.0.0.5",
        "[::1]:80",
    )  # fmt: skip
    assert hosts.find(host, port) == found


def test_a_star_alone_catches_what_nothing_else_does() -> None:
    hosts = table("*", "*.example")
    assert hosts.find("10.0.0.9", 443) == "*"
    assert hosts.find("a.example") == "*.example"
    assert [str(pattern) for pattern, _ in hosts.matches("a.example", 443)] == ["*.example", "*"]


def test_an_address_fits_no_wildcard_of_names() -> None:
    assert table("*.0.0.5").find("10.0.0.5") is None


def test_putting_a_pattern_forgets_what_was_remembered() -> None:
    hosts = table("*.example")
    assert hosts.find("a.example") == "*.example"
    hosts.put(parse_pattern("a.example"), "a")
    assert hosts.find("a.example") == "a"
