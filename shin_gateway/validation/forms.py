"""Which schema a call is checked against, by its dialect, kind and path."""

from __future__ import annotations

import re
from pathlib import Path

_BY_PATH = {
    "openai.responses": ((re.compile(r"/compact(?:$|\?)"), "compact"),),
    "gemini.generate": (
        (re.compile(r"/v1internal:(?!countTokens)"), "envelope"),
        (re.compile(r"/v1internal:countTokens"), ""),
        (re.compile(r":batchEmbedContents"), "embed_batch"),
        (re.compile(r":predict"), ""),
    ),
}
"""Forms that the kind alone does not tell; "": nobody says what they hold."""


def folder() -> Path:
    """Where the schemas are, one file for each dialect."""
    return Path(__file__).parent / "schemas"


def form_of(dialect: str, kind: str, path: str) -> str:
    """The form of a call's body; "" for one that has no schema."""
    for pattern, form in _BY_PATH.get(dialect, ()):
        if pattern.search(path):
            return form
    return kind
