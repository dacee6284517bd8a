"""`shin tail`: calls as they end, one line each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shin_gateway.cli.options import ConfigOption, Failed, HomeOption, folder, warn
from shin_gateway.running import DEFAULT_HOME

if TYPE_CHECKING:
    from rich.text import Text

    from shin_gateway.stores.rows import CallRow
    from shin_gateway.stores.state import StateStore

_WIDTHS = {
    "time": 8,
    "caller": -12,
    "model": -28,
    "status": 6,
    "in": 8,
    "cached": 8,
    "out": 7,
    "cost": 10,
    "first": 7,
    "total": 7,
}
"""Columns and their widths; a negative one is aligned to the left."""
_NUMBERS = ("in", "cached", "out", "cost", "first")
_NARROW = 14
"""What a model's name keeps on a terminal that is not wide enough."""
_WAITED = 100.0
"""Milliseconds in the queue that are worth a word."""
_PAUSE = 1.0
_PATIENCE = 5
_OVERLAP = 10.0
"""Seconds that are read again after the store was gone."""
_REMEMBERED = 2000
_FREE = ("models", "count", "stored", "file", "batch")
"""Kinds of calls that have no price."""


def register(app: typer.Typer) -> None:
    app.command()(tail)


def tail(
    count: Annotated[int, typer.Option("-n", "--lines", min=0, help="Calls of the past to begin with.")] = 10,
    follow: Annotated[bool, typer.Option(help="Wait for more, until interrupted.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, with every field.")] = False,
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
) -> None:
    """Show calls live, with tokens and cost."""
    asyncio.run(_show(folder(home), config, count, follow, as_json))


async def _show(home: Path, config: Path | None, count: int, follow: bool, as_json: bool) -> None:
    from shin_gateway.config import load_config
    from shin_gateway.stores.embedded import EmbeddedState
    from shin_gateway.stores.errors import StoreError
    from shin_gateway.stores.state import StateStore

    server = load_config(config).stores.state
    try:
        store = await StateStore.connect(_patient(server.read() if server else EmbeddedState(home).url))
    except StoreError as error:
        raise Failed(f"no calls to see: is `shin run` running, with --home {home}? ({error})") from None
    try:
        show = _json_line if as_json else _table()
        shown: deque[str] = deque(maxlen=_REMEMBERED)
        async for row in _rows(store, home, count, follow):
            if row.id not in shown:
                shown.append(row.id)
                show(row)
    finally:
        await store.close()


def _patient(url: str) -> str:
    """Nobody's call waits for us, so a busy store may take its time."""
    return url if "timeout=" in url else f"{url}{'&' if '?' in url else '?'}timeout={_PATIENCE}"


async def _rows(store: StateStore, home: Path, count: int, follow: bool) -> AsyncIterator[CallRow]:
    """The last calls from analytics and what the stream still holds, then those that end from now on."""
    newest, waiting = await _latest(store, count)
    shipped = await asyncio.to_thread(past, home, count)
    known = {row.id: row for row in [*shipped, *waiting]}
    for row in sorted(known.values(), key=lambda row: row.at)[-count:] if count else ():
        yield row
    if follow:
        async for row in _stream(store, newest):
            yield row


def past(home: Path, count: int) -> list[CallRow]:
    """Rows that have left the stream, from the admin server that runs, if one does."""
    import urllib.request

    import msgspec

    from shin_gateway.running import ADMIN_TOKEN, find
    from shin_gateway.stores.rows import CallRow

    running = find(home)
    if not running or not running.admin or not count:
        return []
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    token = home / ADMIN_TOKEN
    with contextlib.suppress(OSError, ValueError, msgspec.ValidationError):
        asking = urllib.request.Request(f"http://{running.admin}/api/v1/calls?limit={count}")
        if token.exists():
            asking.add_header("authorization", f"Bearer {token.read_text()}")
        with opener.open(asking, timeout=5) as answer:
            data = json.load(answer)
        return msgspec.convert(data["calls"] if isinstance(data, dict) else data, list[CallRow], strict=False)
    return []


async def _latest(store: StateStore, count: int) -> tuple[str, list[CallRow]]:
    """The stream's newest id, and up to `count` rows that analytics may not have yet."""
    from shin_gateway.stores.row_queue import STREAM

    entries = await store.run("XREVRANGE", STREAM, "+", "-", "COUNT", max(count, 1))
    newest = entries[0][0].decode() if entries else "0-0"
    return newest, [row for entry in entries[:count] if (row := _row(entry))]


async def _stream(store: StateStore, start: str) -> AsyncIterator[CallRow]:
    """Rows as they are appended. A store that is gone for a while is waited for."""
    from shin_gateway.stores.errors import StoreError
    from shin_gateway.stores.shipper import tail

    seen = time.time()
    while True:
        try:
            async for row in tail(store, start):
                seen = time.time()
                yield row
        except StoreError as error:
            warn(f"{error}; waiting for it")
        while not await _answers(store):
            await asyncio.sleep(_PAUSE)
        # An entry's id is its time in milliseconds. Rows that are read twice are not shown twice.
        start = str(int((seen - _OVERLAP) * 1000))


async def _answers(store: StateStore) -> bool:
    from shin_gateway.stores.errors import StoreError

    try:
        await store.ping()
    except StoreError:
        return False
    return True


def _row(entry: Any) -> CallRow | None:
    from shin_gateway.stores.errors import StoreError
    from shin_gateway.stores.rows import CallRow

    with contextlib.suppress(StoreError, ValueError):
        _, (_, data) = entry
        return CallRow.decode(data)
    return None


# ── output ───────────────────────────────────────────────────────────────────────────────────────


def _json_line(row: CallRow) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.encode(msgspec.structs.asdict(row)).decode() + "\n")
    sys.stdout.flush()


def _table() -> Callable[[CallRow], None]:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    widths = _fitting(console.width)
    console.print(" ".join(_cell(name, widths[name]) for name in widths), style="dim")

    def show(row: CallRow) -> None:
        console.print(line(row, widths))
        console.file.flush()

    return show


def _fitting(width: int) -> dict[str, int]:
    """The columns' widths, with less of the model's name where the terminal is narrow."""
    over = sum(abs(one) + 1 for one in _WIDTHS.values()) - 1 - width
    return _WIDTHS | {"model": -max(_NARROW, -_WIDTHS["model"] - max(0, over))}


def line(row: CallRow, widths: dict[str, int] = _WIDTHS) -> Text:
    """One call as one line, with what is remarkable behind it, or in the place of numbers that it has not."""
    from rich.text import Text

    usage = bool(row.usage_source)
    cells = {
        "time": f"{row.at.astimezone():%H:%M:%S}",
        "caller": row.caller,
        "model": row.model or row.host,
        "status": str(row.status or "-"),
        "in": _tokens(row.input_tokens, usage),
        "cached": _tokens(row.cached_tokens, usage),
        "out": _tokens(row.output_tokens, usage),
        "cost": _money(row.cost) if _is_priced(row) else "-",
        "first": _time(row.first_part_ms),
        "total": _time(row.total_ms),
    }
    told = {name: _cell(value, widths[name]) for name, value in cells.items()}
    remarks = [*_remarks(row)]
    if row.end != "completed" and not usage:
        told = {name: cell for name, cell in told.items() if name not in _NUMBERS}
        room = sum(widths[name] + 1 for name in _NUMBERS) - 1
        told["total"] = f" {remarks.pop(0):<{room - 1}} {told['total']}"
    return Text("  ".join([" ".join(told.values()), *remarks]), style=_style(row))


def _remarks(row: CallRow) -> Iterator[str]:
    if row.end != "completed":
        where = f" by {row.addon}" if row.addon else ""
        yield f"{row.end}{where}" + (f": {row.cause}" if row.cause else "")
    if row.queue_ms >= _WAITED:
        yield f"queued {_time(row.queue_ms)}"
    for name, value in row.facts.items():
        if name.startswith("shadow."):
            yield _printable(f"{name.removeprefix('shadow.')} in shadow: {value}")


def _is_priced(row: CallRow) -> bool:
    if row.cost is not None or row.usage_source:
        return True
    return row.end == "completed" and row.kind not in _FREE


def _style(row: CallRow) -> str:
    if row.end in ("failed", "broken") or row.status >= 500:
        return "red"
    return "yellow" if row.end != "completed" or row.status >= 400 else ""


def _cell(value: str, width: int) -> str:
    value = _printable(value)
    cut = value if len(value) <= abs(width) else value[: abs(width) - 1] + "…"
    return cut.ljust(-width) if width < 0 else cut.rjust(width)


def _printable(text: str) -> str:
    """A name from outside does not move the cursor of the terminal that shows it."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _tokens(number: int, known: bool) -> str:
    return f"{number:,}" if known else "-"


def _money(cost: Decimal | None) -> str:
    """Unknown is not nothing. Small sums keep the digits that say something."""
    if cost is None:
        return "?"
    return f"${cost:.2f}" if cost >= 10 else f"${cost:.6f}"


def _time(milliseconds: float) -> str:
    if not milliseconds:
        return "-"
    return f"{milliseconds:.0f}ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f}s"
