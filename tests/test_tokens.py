"""Counting tokens: offline, off the event loop, and on any text."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys

import pytest

from shin_gateway import tokens

OFFLINE = """
import socket
def refuse(*_): raise SystemExit("something went to the network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import asyncio
from shin_gateway import tokens
from shin_gateway.outcome import Usage
from shin_gateway.pricing import Prices
print(asyncio.run(tokens.count(["hello world"], "gpt-4o")), asyncio.run(tokens.count(["hello world"], "gpt-4")))
print(Prices().cost("openai", "gpt-4o", Usage(input=1_000_000)))
"""


@pytest.mark.parametrize(
    ("text", "model", "count"),
    [
        ("", "gpt-4o", 0),
        ("hello world", "gpt-4o", 2),
        ("hello world", "gpt-4", 2),
        ("吾輩は猫である", "gpt-4o", 7),
        ("吾輩は猫である", "gpt-4", 12),
        ("<|endoftext|>", "gpt-4o", 7),  # as text, never as the token
    ],
)
async def test_known_counts(text: str, model: str, count: int) -> None:
    assert await tokens.count([text], model) == count


async def test_texts_add_up() -> None:
    assert await tokens.count(["hello world", "hello", ""], "gpt-4o") == 3
    assert await tokens.count([], "gpt-4o") == 0


async def test_other_families_are_estimated() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 20
    ours = await tokens.count([text], "gpt-4o")
    for model in ("claude-sonnet-4-5", "anthropic/claude-opus-4.5", "gemini-2.5-pro"):
        assert await tokens.count([text], model) == math.ceil(ours * 1.2)


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("openai/gpt-3.5-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("", "o200k_base"),
        ("llama-4", "o200k_base"),
    ],
)
def test_encodings(model: str, encoding: str) -> None:
    assert tokens.encoding_name(model) == encoding


@pytest.mark.parametrize("text", [" " * 1_000_000, "\n" * 200_000, "a\ud800b", "\x00", "👍" * 50_000])
async def test_no_text_is_too_odd(text: str) -> None:
    assert await tokens.count([text], "gpt-4o") > 0


async def test_long_texts_do_not_hold_the_event_loop() -> None:
    await tokens.count(["warm up"], "gpt-4o")
    counting = asyncio.ensure_future(tokens.count([f"{number} bottles" for number in range(20_000)], "gpt-4o"))
    await asyncio.sleep(0)
    assert not counting.done()
    assert await counting > 20_000


async def test_memory_is_bounded_and_keeps_what_is_used() -> None:
    await tokens.count(["kept"], "gpt-4o")
    kept = next(reversed(tokens._memory))
    for number in range(0, 30_000, 100):
        await tokens.count([str(n) for n in range(number, number + 100)] + ["kept"], "gpt-4o")
    assert len(tokens._memory) <= 10_000
    assert kept in tokens._memory


def test_nothing_is_fetched() -> None:
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["2", "2", "2.5000000"], done.stderr
