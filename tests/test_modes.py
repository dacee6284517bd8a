"""mitmproxy's modes."""

from __future__ import annotations

import pytest

from shin_gateway.modes import gateway_mode, reverses_to_us_alone


@pytest.mark.parametrize(
    ("others", "alone"),
    [
        ([], True),
        (["regular@127.0.0.1:8080", "upstream:http://office:3128", "wireguard"], True),
        (["reverse:https://api.openai.com@127.0.0.1:9000"], False),
    ],
)
def test_the_only_reverse_proxy_is_ours(others: list[str], alone: bool) -> None:
    assert reverses_to_us_alone([*others, gateway_mode("127.0.0.1:4000")]) is alone
