"""Names of tools and ids that an API refuses, replaced by ones that it takes; of tools, the way back too.

The stand-in follows from the name alone, so a call and every later turn agree on it without any state. The writer of
the reply finds the client's own name again among the tools that the client declared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

from shin_gateway.translation.form import Tool

LONGEST = 64
"""Characters of a name at OpenAI and, by older models, at Gemini."""
_LONGER = 128
"""At Anthropic."""
_GEMINI = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
"""ai.google.dev/api/caching#FunctionDeclaration: up to 64 characters, since not every model takes the newer 128."""
_OTHERS = re.compile(r"[A-Za-z0-9_-]+")
"""OpenAI's and Anthropic's functions."""
_BAD = re.compile(r"[^A-Za-z0-9_-]")


def for_gemini(name: str) -> str:
    """`name`, or its stand-in where Gemini would refuse it."""
    return name if _GEMINI.fullmatch(name) else _stand_in(name, LONGEST)


def for_others(name: str, longest: int = LONGEST) -> str:
    """`name`, or its stand-in where OpenAI or Anthropic would refuse it: Gemini's names have dots and colons."""
    return name if len(name) <= longest and _OTHERS.fullmatch(name) else _stand_in(name, longest)


def stand_ins(tools: Iterable[Tool]) -> dict[str, str]:
    """The client's own name for every other that a model may have been given for one of its tools."""
    found = {
        other: tool.name
        for tool in tools
        for other in (for_gemini(tool.name), for_others(tool.name), for_others(tool.name, _LONGER))
    }
    return {other: own for other, own in found.items() if other != own}


def restored(name: str, tools: Iterable[Tool]) -> str:
    """The client's own name for a tool that the model calls `name`."""
    return stand_ins(tools).get(name, name)


def shorten(text: str, longest: int = LONGEST, prefix: str = "") -> str:
    """`text` where it is short enough; else always the same stand-in, so that a call and its result still meet."""
    if len(text) <= longest:
        return text
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=24).hexdigest()
    return f"{prefix}{digest}"[:longest]


def _stand_in(name: str, longest: int) -> str:
    mark = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    tidy = _BAD.sub("_", name)
    tidy = tidy if tidy[:1].isalpha() or tidy[:1] == "_" else f"_{tidy}"
    return f"{tidy[: longest - len(mark) - 1]}_{mark}"
