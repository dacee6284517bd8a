"""Path tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shin_gateway.policy.paths import PathRow, PathTable, plain


def test_the_first_row_that_fits_decides() -> None:
    table = PathTable(
        [
            PathRow(match="/v1/x", method="GET", kind="other"),
            PathRow(match="/v1/(?P<model>[^/]+)", method=("GET", "POST"), kind="chat", dialect="a"),
            PathRow(match="/v1/x", kind="embed", dialect="b"),
        ]
    )
    assert table.find("GET", "/v1/x").kind == "other"
    found = table.find("POST", "/v1/x?model=y")
    assert (found.kind, found.dialect, found.model) == ("chat", "a", "x")
    assert table.find("WEBSOCKET", "/v1/x") is None
    assert table.find("DELETE", "/v1/x") is None


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat", "//v1/chat", "/v1//chat", "/v1/chat/", "/v1/./chat", "/x/../v1/chat", "/v1/%63hat", "/V1/Chat",
        "/v1%2fchat",
    ],
)  # fmt: skip
def test_spellings_of_one_path_are_one_path(path: str) -> None:
    assert PathTable([PathRow(match="/v1/chat", kind="chat", dialect="a")]).find("POST", path)


def test_long_paths_are_classified_and_not_remembered() -> None:
    table = PathTable([PathRow(match=".*/chat", kind="chat", dialect="a")])
    assert table.find("POST", "/x" * 100_000 + "/chat")
    assert table._remembered.cache_info().currsize == 0


@given(st.text(max_size=80))
def test_any_path_can_be_looked_up(path: str) -> None:
    assert plain(path).startswith("/")
    assert PathTable([PathRow(match="(?s:.*)", kind="other")]).find("POST", path) is not None


@pytest.mark.parametrize(
    "row", [{"kind": "chat"}, {"kind": "other", "dialect": "a"}, {"kind": "talk"}, {"match": "["}, {"method": "FETCH"}]
)
def test_wrong_rows(row: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        PathRow.model_validate({"match": "/", "kind": "other", "dialect": ""} | row)
