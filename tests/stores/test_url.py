from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.url import parse_address


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h", "redis://h:6379/0"),
        ("redis://ann:pw@h:7000/3?timeout=0.5", "redis://h:7000/3"),
        ("valkey://h?db=2", "redis://h:6379/2"),
        ("rediss://:pw@h", "rediss://h:6379/0"),
        ("valkeys://[::1]:7", "rediss://[::1]:7/0"),
        ("unix:///run/shin/s?db=1", "unix:///run/shin/s"),
        ("unix://u:pw@/run/a%20b", "unix:///run/a b"),
        ("redis+sentinel://a,b:7/main/2", "redis+sentinel://a:26379,b:7/main/2"),
        ("rediss+cluster://u:pw@a,b:7", "rediss+cluster://a:6379,b:7"),
    ],
)
def test_reads_and_shows_without_credentials(url: str, shown: str) -> None:
    assert str(parse_address(url)) == shown


def test_reads_credentials_and_files() -> None:
    address = parse_address("rediss://us%40er:p%2Fw@h?ca=/a.pem&cert=/c.pem&key=/k.pem&timeout=1")
    assert (address.user, address.password) == ("us@er", "p/w")
    assert (address.ca, address.cert, address.key, address.timeout) == ("/a.pem", "/c.pem", "/k.pem", 1.0)
    assert "p/w" not in repr(address)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://h", "begins with 'http'"),
        ("redis+magic://h", "redis+magic"),
        ("redis://u:hunter2@h/x", "'x'"),
        ("redis://u:hunter2@h:port", "host:port"),
        ("redis://u:hunter2@h?tls=1", "unknown option 'tls'"),
        ("redis://u:hunter2@h?timeout=soon", "number of seconds"),
        ("redis+sentinel://h", "names the service"),
        ("redis+cluster://h/1", "no numbered databases"),
        ("unix://", "no socket"),
    ],
)
def test_says_what_is_wrong_and_keeps_the_password(url: str, says: str) -> None:
    with pytest.raises(StoreError) as caught:
        parse_address(url)
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=40), st.sampled_from(["redis://", "unix://", "redis+sentinel://", "rediss+cluster://", ""]))
def test_any_text_is_an_address_or_a_store_error(text: str, scheme: str) -> None:
    try:
        parse_address(scheme + text)
    except StoreError:
        pass
