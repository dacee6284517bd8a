"""Rates, sums, periods and subjects as people write and read them."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.admission.estimates import BYTES_A_MEDIA_TOKEN, OUTPUTS, TYPICAL, Outputs, _media
from shin_gateway.admission.periods import Calendar, Period, bounds, in_words, rfc3339
from shin_gateway.admission.subjects import network, subject_of, whose
from shin_gateway.caller import ANONYMOUS, Caller
from shin_gateway.units import BILLION, Rate, dollars, parse_money, parse_rate

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]
AMOUNTS = st.integers(1, 10**12)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60/min", Rate(60, 60)), ("10/s", Rate(10, 1)), ("200k/min", Rate(200_000, 60)),
        ("1.5M/h", Rate(1_500_000, 3600)), ("1000/day", Rate(1000, 86400)), ("500/30s", Rate(500, 30)),
        (" 5 / 2h ", Rate(5, 7200)),
    ],
)  # fmt: skip
def test_rates(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate
    assert parse_rate(str(rate)) == rate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "60",
        "-1/s",
        "0/s",
        "1/0s",
        "1/ms",
        "1/week",
        "1e5/s",
        "١/s",
        "1/s/s",
        "nan/s",
        "9" * 40 + "/s",
        None,
        5,
    ],
)
def test_no_rates(text: object) -> None:
    for one in (text, 5, None, "9" * 40 + "/s"):
        with pytest.raises(ValueError, match=r".+"):
            parse_rate(one)


@given(st.text(max_size=20))
def test_any_text_is_a_rate_or_a_value_error(text: str) -> None:
    try:
        rate = parse_rate(text)
    except ValueError:
        return
    assert rate.amount >= 1
    assert 1 <= rate.seconds <= 86400


@given(AMOUNTS)
def test_sums_are_exact_to_a_billionth(amount: int) -> None:
    text = f"${amount // BILLION}.{amount % BILLION:09d}"
    assert parse_money(text) == amount


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "$0.00"), (1, "$0.000000001"), (450_000, "$0.00045"), (19_870_000_000, "$19.87")]
)
def test_sums_as_they_are_read(amount: int, text: str) -> None:
    assert dollars(amount) == text


@given(st.floats(1.5e9, 4e9), st.sampled_from(ZONES), st.sampled_from(["day", "week", "month"]))
def test_every_moment_is_in_one_period_that_begins_where_the_last_ends(now: float, name: str, kind: Calendar) -> None:
    zone = zoneinfo.ZoneInfo(name)
    start, end = bounds(kind, zone, now)
    assert start <= now < end
    assert bounds(kind, zone, end)[0] == end
    assert bounds(kind, zone, start - 1)[1] == start
    first = datetime.fromtimestamp(start, UTC).astimezone(zone)
    assert kind != "month" or first.day == 1
    assert kind != "week" or first.weekday() == 0


def test_the_days_on_which_clocks_change() -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    for day, hours in ((29, 23), (28, 24)):
        start, end = bounds("day", berlin, datetime(2026, 3, day, 12, tzinfo=berlin).timestamp())
        assert (end - start) / 3600 == hours
    start, end = bounds("day", berlin, datetime(2026, 10, 25, 12, tzinfo=berlin).timestamp())
    assert (end - start) / 3600 == 25
    assert rfc3339(end, berlin) == "2026-10-26T00:00:00+01:00"


def test_a_clock_that_jumps_finds_its_period() -> None:
    period = Period("day", zoneinfo.ZoneInfo("UTC"))
    day = 86400.0
    for now in (10.5 * day, 10.6 * day, 30.1 * day, 3.2 * day, 10.5 * day):
        assert period.ends(now) == (now // day + 1) * day


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (59.5, "1 min"), (15000, "4 h 10 min"), (90061, "1 d 1 h")]
)
def test_waits_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def call(caller: Caller = ANONYMOUS, **more: Any) -> Any:
    known = {
        "caller": caller,
        "ip": "192.0.2.7",
        "model": "gpt-4o",
        "host": "Gateway",
        "policy": SimpleNamespace(name="p"),
    }
    return cast(Any, SimpleNamespace(**known | more))


def test_subjects() -> None:
    ann = Caller("ann", "virtual_key", user="ann", team="red", project="web", key="key_1")
    found = {
        per: subject_of([per])(call(ann))
        for per in ("user", "key", "team", "project", "ip", "model", "host", "everyone")
    }  # type: ignore[list-item]
    assert found == {
        "user": "user ann", "key": "key key_1", "team": "team red", "project": "project web", "ip": "ip 192.0.2.7",
        "model": "model gpt-4o", "host": "host gateway", "everyone": "everyone",
    }  # fmt: skip
    assert subject_of(["team", "model"], apart=True)(call(ann)) == "team red, model gpt-4o, policy p"
    assert whose("team red, model gpt-4o, policy p") == "team red, model gpt-4o"
    assert subject_of(["user"])(call()) == "anonymous"
    assert subject_of(["team"])(call()) == "team -"


def test_no_name_passes_for_another() -> None:
    """What callers and models are called is up to others."""
    find = subject_of(["user", "model"])
    tricky = [
        ("ann, model x", "y"),
        ("ann", "x, model y"),
        ("ann", "x"),
        ("ann\n", "x"),
        ("a" * 500, "x"),
        ("a" * 501, "x"),
    ]
    found = [find(call(Caller(user, "user", user=user), model=model)) for user, model in tricky]
    assert len(set(found)) == len(found)
    assert all(len(one) < 400 and one.isprintable() for one in found)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8::5", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"), ("", "-"), ("nonsense", "-"),
    ],
)  # fmt: skip
def test_addresses(address: str, counted: str) -> None:
    assert network(address) == counted


def test_pictures_are_no_text() -> None:
    picture = b"A" * 300_000
    assert _media(b'{"url": "data:image/png;base64,' + picture + b'"}') == len(picture) + len("data:image/png;base64,")
    assert _media(b'{"type": "base64", "data": "' + picture + b'"}') == len(picture)
    assert _media(b'{"text": "base64 ' + b"word " * 60_000 + b'"}') == 0
    assert BYTES_A_MEDIA_TOKEN > 3


def test_what_is_learned_is_bounded() -> None:
    outputs = Outputs()
    assert outputs.typical("m") == TYPICAL
    for number in range(3000):
        outputs.learn(f"openai/m{number}", number)
    assert len(outputs._means) == 1000
    assert outputs.typical("m2999") == outputs.typical("openai/m2999") == 2999
    outputs.learn("m2999", 1999)
    assert outputs.typical("m2999") == 2899
    assert isinstance(OUTPUTS, Outputs)
