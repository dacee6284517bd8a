from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.rows import CallRow
from tests.stores.servers import row


@given(
    id=st.text(min_size=1),
    cost=st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=0, max_value=10**6),
    tokens=st.integers(0, 2**63 - 1),
    ms=st.floats(0, 1e9),
    facts=st.dictionaries(st.text(), st.text(), max_size=3),
    at=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - hypothesis adds the zone
)
def test_a_row_survives_packing(
    id: str, cost: Decimal | None, tokens: int, ms: float, facts: dict[str, str], at: datetime
) -> None:
    before = CallRow(id=id, at=at.replace(tzinfo=UTC), cost=cost, input_tokens=tokens, total_ms=ms, facts=facts)
    assert CallRow.decode(before.encode()) == before


def test_money_stays_exact() -> None:
    assert CallRow.decode(row(cost=Decimal("0.000000125")).encode()).cost == Decimal("0.000000125")


def test_a_row_of_another_version_still_reads() -> None:
    packed = msgspec.msgpack.encode({"id": "c9", "at": datetime(2026, 1, 1, tzinfo=UTC), "invented_later": [1, 2]})
    assert CallRow.decode(packed).id == "c9"
    assert CallRow.decode(packed).model == ""


@pytest.mark.parametrize("data", [b"", b"\x00", b"nonsense", b"\x81\xa2id\xa1x", b"\x81\xa2id\xa1\xff"])
def test_nonsense_is_one_clear_error(data: bytes) -> None:
    with pytest.raises(StoreError, match="not a call row"):
        CallRow.decode(data)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        CallRow.decode(data)
    except StoreError:
        pass
