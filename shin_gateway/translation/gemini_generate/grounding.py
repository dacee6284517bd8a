"""Citations: `groundingMetadata` and `citationMetadata`. Gemini counts in bytes of UTF-8, the form in characters.

Sources: ai.google.dev/api/generate-content#GroundingMetadata, …#CitationMetadata
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from shin_gateway.dialects.numbers import word_of
from shin_gateway.translation.form import Citation, Json
from shin_gateway.translation.gemini_generate.fields import NAME

_SOURCES = ("web", "retrievedContext", "maps", "image")


def citations_of(candidate: Json) -> Iterator[tuple[int | None, Citation]]:
    """The citations of a candidate, places still in bytes, each with the number of its part where that is said."""
    found = candidate.get("groundingMetadata")
    if isinstance(found, dict):
        yield from _grounded(found)
    found = candidate.get("citationMetadata")
    rows = found.get("citations", found.get("citationSources")) if isinstance(found, dict) else None
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            yield None, _citation(row, _place(row, "startIndex", 0), _place(row, "endIndex", -1), row)


def _grounded(metadata: Json) -> Iterator[tuple[int | None, Citation]]:
    chunks, supports = metadata.get("groundingChunks"), metadata.get("groundingSupports")
    if not isinstance(chunks, list):
        return
    cited = False
    for support in supports if isinstance(supports, list) else ():
        segment = support.get("segment") if isinstance(support, dict) else None
        numbers = support.get("groundingChunkIndices") if isinstance(support, dict) else None
        if not isinstance(segment, dict) or not isinstance(numbers, list):
            continue
        start, end = _place(segment, "startIndex", 0), _place(segment, "endIndex", -1)
        for number in numbers:
            source = _source(chunks, number)
            if source is not None:
                cited = True
                yield _place(segment, "partIndex", 0), _citation(source, start, end, support)
    if not cited:  # sources without a place in the text
        for at in range(len(chunks)):
            if (source := _source(chunks, at)) is not None:
                yield None, _citation(source, -1, -1, source)


def _source(chunks: list[Any], number: Any) -> Json | None:
    if not isinstance(number, int) or not 0 <= number < len(chunks) or not isinstance(chunks[number], dict):
        return None
    return next((chunks[number][kind] for kind in _SOURCES if isinstance(chunks[number].get(kind), dict)), None)


def _citation(source: Json, start: int, end: int, raw: Json) -> Citation:
    return Citation(
        url=word_of(source, "uri", "sourceUri"),
        title=word_of(source, "title"),
        quote=word_of(source, "text"),
        start=start,
        end=end,
        raw=raw,
        origin=NAME,
    )


def _place(owner: Json, name: str, otherwise: int) -> int:
    value = owner.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else otherwise


def in_characters(citations: Sequence[Citation], text: str) -> None:
    """Turn places in bytes into places in characters of `text`."""
    data = b"" if text.isascii() else text.encode("utf-8", "replace")
    for citation in citations:
        if data:
            citation.start = _counted(data, citation.start)
            citation.end = _counted(data, citation.end)
        citation.start, citation.end = min(citation.start, len(text)), min(citation.end, len(text))


def _counted(data: bytes, place: int) -> int:
    return place if place <= 0 else len(data[:place].decode("utf-8", "ignore"))


class Sources:
    """Collects citations and gives them back as `groundingMetadata`."""

    def __init__(self) -> None:
        self._chunks: list[Json] = []
        self._numbers: dict[tuple[str, str], int] = {}
        self._supports: list[Json] = []
        self._queries: list[str] = []

    def search(self, query: str) -> None:
        if query:
            self._queries.append(query)

    def add(self, citation: Citation, text: str, part: int, before: int = 0) -> None:
        """`text` is the cited part's, `before` its place in bytes within the part that the client sees."""
        start = max(citation.start, 0)
        end = citation.end if start < citation.end <= len(text) else len(text)
        segment: Json = {"endIndex": before + _bytes(text[:end]), "text": text[start:end]}
        if first := before + _bytes(text[:start]):
            segment["startIndex"] = first
        if part:
            segment["partIndex"] = part
        self._supports.append({"segment": segment, "groundingChunkIndices": [self._chunk(citation)]})

    def _chunk(self, citation: Citation) -> int:
        key = (citation.url or citation.file_id, citation.title)
        if key not in self._numbers:
            self._numbers[key] = len(self._chunks)
            self._chunks.append(_chunk(citation))
        return self._numbers[key]

    @property
    def metadata(self) -> Json | None:
        out: Json = {}
        if self._queries:
            out["webSearchQueries"] = self._queries
        if self._chunks:
            out["groundingChunks"] = self._chunks
            out["groundingSupports"] = self._supports
        return out or None


def _chunk(citation: Citation) -> Json:
    if citation.url:
        return {"web": {"uri": citation.url, "title": citation.title or citation.url}}
    return {"retrievedContext": {"title": citation.title or citation.file_id, "text": citation.quote}}


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
