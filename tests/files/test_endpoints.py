"""docs/endpoints.md says what the path classes and the rows of providers say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shin_gateway.arrivals import at_gateway
from shin_gateway.providers import Providers

PAGE = (Path(__file__).parents[2] / "docs" / "endpoints.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([A-Z, ]+) \| `(/[^`]+)` \| `(\w+)` \| `([\w.]+)`", PAGE, re.M)
PROVIDERS = Providers.load()
HEADERS = {"anthropic.files": {"anthropic-version": "2023-06-01"}}
ABLE = re.findall(r"^\| `(?:like: )?(\w+)` \|(.*)\|$", PAGE, re.M)
COLUMNS = ("images", "speech", "transcriptions", "moderations", "files", "batches")


@pytest.mark.parametrize(("methods", "path", "kind", "dialect"), ROWS, ids=[f"{row[0]} {row[1]}" for row in ROWS])
def test_every_path(methods: str, path: str, kind: str, dialect: str) -> None:
    path = path.replace("{id}", "x-1").replace("{model}", "m-1")
    for method in methods.split(", "):
        arrival = at_gateway(PROVIDERS, method, path, HEADERS.get(dialect, {}))
        assert arrival is not None
        assert (arrival.kind, arrival.dialect.name) == (kind, dialect)


def test_every_provider() -> None:
    said = {name: {column for column, cell in zip(COLUMNS, cells.split("|"), strict=True) if cell.strip()}
            for name, cells in ABLE}  # fmt: skip
    found = {
        row.name: {dialect.partition(".")[2] for dialect in row.dialects} & set(COLUMNS)
        for row in PROVIDERS
        if {dialect.partition(".")[2] for dialect in row.dialects} & set(COLUMNS)
    }
    assert said == found
    assert len(ROWS) > 35
