"""How errors speak of words and files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def shown(path: Path) -> str:
    """A path as a person wants to read it: relative where it is below the working directory."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def meant(word: str, known: Iterable[str]) -> str:
    """`did you mean "rate_limit"?`, or nothing when no known word is near."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""


def meant_or_known(word: str, known: Iterable[str]) -> str:
    """What was probably meant, else what there is."""
    words = sorted(known)
    return meant(word, words) or (f"known: {', '.join(words)}" if words else "")
