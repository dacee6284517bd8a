"""The fixtures: calls, replies and streams that we wrote from the providers' documents. Alice is in all of them."""

from __future__ import annotations

from pathlib import Path

from shin_gateway import dialects
from shin_gateway.dialects import Dialect
from shin_gateway.dialects.parts import Part

FOLDER = Path(__file__).parent / "fixtures"


def names(pattern: str) -> list[str]:
    return sorted(f"{path.parent.name}/{path.name}" for path in FOLDER.glob(f"*/{pattern}"))


STREAMS = [*names("*.sse"), "gemini.generate/array.json"]
CALLS = names("call*.json")
REPLIES = names("reply*.json")


def load(name: str) -> tuple[Dialect, bytes]:
    return dialects.get(name.partition("/")[0]), (FOLDER / name).read_bytes()


def parts_of(name: str, size: int = 1 << 30) -> tuple[Dialect, list[Part]]:
    """A stream's parts, having come in pieces of `size` bytes."""
    dialect, source = load(name)
    return dialect, cut(dialect, source, name, size)


def cut(dialect: Dialect, source: bytes, name: str, size: int = 1 << 30) -> list[Part]:
    framer = dialect.framer("application/json" if name.endswith(".json") else "text/event-stream; charset=utf-8")
    assert framer is not None
    parts = [part for i in range(0, len(source), size) for part in framer.feed(source[i : i + size])]
    return parts + framer.end()


def channels(dialect: Dialect, parts: list[Part]) -> dict[object, str]:
    """The text of each channel, pieces joined; whole copies are under None, one a line."""
    texts: dict[object, str] = {}
    for part in parts:
        for slot in dialect.slots(part):
            end = "\n" if slot.channel is None else ""
            texts[slot.channel] = texts.get(slot.channel, "") + slot.text + end
    return texts
