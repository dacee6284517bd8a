"""Content blocks of a call into the parts of the common form.

platform.claude.com/docs/en/api/messages: `messages[].content[]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from shin_gateway.dialects.numbers import word_of
from shin_gateway.errors import Invalid
from shin_gateway.translation import seals
from shin_gateway.translation.anthropic_messages.names import ORIGIN, TOOL_SEAL, Json, dumps, plain
from shin_gateway.translation.anthropic_messages.server_tools import builtin
from shin_gateway.translation.form import AnyPart, Citation, Media, Part, Reasoning, Text, ToolResult, ToolUse
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.media import checked_base64
from shin_gateway.translation.openai_common import (
    Misfit,
    as_record,
    maybe_flag,
    maybe_list,
    maybe_record,
    maybe_string,
    record,
    string,
)

Cache = Literal["", "5m", "1h"]


def read_content(owner: Json, losses: Losses) -> list[AnyPart]:
    """`content`: a string or a list of blocks. Raises Misfit."""
    parts: list[AnyPart] = []
    content = owner.get("content")
    if isinstance(content, str):
        return [Text(text=content)]
    if content is None:
        raise Misfit("is missing", "content")
    _blocks(content, parts, losses, _KINDS)
    return _with_tool_seals(parts)


def _blocks(content: Any, parts: list[AnyPart], losses: Losses, kinds: dict[str, Any]) -> None:
    if not isinstance(content, list):
        raise Misfit("must be a string or a list of blocks", "content")
    for index, item in enumerate(content):
        try:
            _block(as_record(item), parts, losses, kinds)
        except Misfit as wrong:
            raise wrong.within("content", index) from None


def _block(item: Json, parts: list[AnyPart], losses: Losses, kinds: dict[str, Any]) -> None:
    kind = item.get("type")
    found = kinds.get(kind) if isinstance(kind, str) else None
    if found is None and kinds is _KINDS and isinstance(kind, str) and kind.endswith(_NEWER):
        found = _SERVER_KIND
    if found is None:
        raise Misfit(_no_kind(kind, kinds), "type")
    read, known = found
    if known is not None and len(item) > 2 and not item.keys() <= known:
        for name in item.keys() - known:
            if item[name] is not None:
                losses.drop(f"messages.content.{plain(name)}")
    read(item, parts, losses)
    if "cache_control" in item and parts:
        parts[-1].cache = read_cache(item)


def _no_kind(kind: Any, kinds: dict[str, Any]) -> str:
    return "is missing" if kind is None else f"must be one of {', '.join(kinds)}"


def read_cache(item: Json) -> Cache:
    """`cache_control`. Raises Misfit."""
    mark = maybe_record(item, "cache_control")
    if mark is None:
        return ""
    return "1h" if mark.get("ttl") == "1h" else "5m"


# ── text ────────────────────────────────────────────────────────────────────────────────────────


def _text(item: Json, parts: list[AnyPart], losses: Losses) -> None:
    citations = item.get("citations")
    parts.append(Text(text=string(item, "text"), citations=read_citations(citations) if citations else []))


def read_citations(found: Any) -> list[Citation]:
    """Citations of a text block, with those skipped that are none."""
    if not isinstance(found, list):
        return []
    return [read_citation(one) for one in found if isinstance(one, dict)]


def read_citation(raw: Json) -> Citation:
    """One location, of whatever kind. The places in it are of the source, not of the text that cites it."""
    citation = Citation(
        url=word_of(raw, "url", "source"),
        title=word_of(raw, "title", "document_title"),
        quote=word_of(raw, "cited_text"),
        file_id=word_of(raw, "file_id"),
    )
    if seals.unpack(word_of(raw, "encrypted_index")) is None:  # else we made it, of another dialect's
        citation.raw, citation.origin = raw, ORIGIN
    return citation


# ── media ───────────────────────────────────────────────────────────────────────────────────────


def _image(item: Json, parts: list[AnyPart], losses: Losses) -> None:
    media = Media(kind="image")
    _fill(media, record(item, "source"), ("base64", "url", "file"))
    parts.append(media)


def _document(item: Json, parts: list[AnyPart], losses: Losses) -> None:
    source = record(item, "source")
    wanted = maybe_record(item, "citations") or {}
    media = Media(kind="document", name=maybe_string(item, "title"), citations=bool(maybe_flag(wanted, "enabled")))
    if context := maybe_string(item, "context"):
        parts.append(Text(text=context))
        losses.soften("messages.content.context")
    if source.get("type") == "content":
        _made_of_blocks(media, source, parts, losses)
    else:
        _fill(media, source, ("base64", "text", "content", "url", "file"))
        parts.append(media)


def _fill(media: Media, source: Json, kinds: tuple[str, ...]) -> None:
    try:
        kind = string(source, "type")
        if kind not in kinds:
            raise Misfit(f"must be one of {', '.join(kinds)}", "type")
        _SOURCES[kind](media, source)
    except Misfit as wrong:
        raise wrong.within("source") from None


def _base64(media: Media, source: Json) -> None:
    media.mime = string(source, "media_type").lower()
    media.data = _checked(string(source, "data"))


def _checked(data: str) -> str:
    try:
        return checked_base64(data, "data")
    except Invalid:
        raise Misfit("is not valid base64", "data") from None


def _plain_text(media: Media, source: Json) -> None:
    media.mime, media.text = "text/plain", string(source, "data")


def _url(media: Media, source: Json) -> None:
    media.url = string(source, "url")
    if not media.url[:8].lower().startswith(("https://", "http://")):
        raise Misfit("must be a URL that begins with https://", "url")


def _file(media: Media, source: Json) -> None:
    media.file_id, media.origin = string(source, "file_id"), ORIGIN


_SOURCES: dict[str, Callable[[Media, Json], None]] = {
    "base64": _base64,
    "text": _plain_text,
    "url": _url,
    "file": _file,
}


def _made_of_blocks(media: Media, source: Json, parts: list[AnyPart], losses: Losses) -> None:
    """A document put together by the client: its texts are one text, its images stand after it."""
    inner = source.get("content")
    found: list[AnyPart] = [Text(text=inner)] if isinstance(inner, str) else []
    if not found:
        try:
            _blocks(inner, found, losses, _IN_DOCUMENT)
        except Misfit as wrong:
            raise wrong.within("source") from None
    media.mime, media.text = "text/plain", "\n".join([part.text for part in found if isinstance(part, Text)])
    parts.append(media)
    parts.extend(part for part in found if isinstance(part, Media))


def _search_result(item: Json, parts: list[AnyPart], losses: Losses) -> None:
    """What a search of the client's own found, as text: no other dialect has a block for it."""
    found: list[AnyPart] = []
    _blocks(item.get("content"), found, losses, _IN_SEARCH)
    lines = [string(item, "title"), string(item, "source"), *(part.text for part in found if isinstance(part, Text))]
    parts.append(Text(text="\n".join(lines)))
    if (maybe_record(item, "citations") or {}).get("enabled"):
        losses.drop("messages.content.citations")


# ── thinking ────────────────────────────────────────────────────────────────────────────────────


def _thinking(item: Json, parts: list[AnyPart], losses: Losses) -> None:
    parts.append(read_reasoning(string(item, "thinking"), maybe_string(item, "signature")))


def _redacted(item: Json, parts: list[AnyPart], losses: Losses) -> None:
    part = read_reasoning("", string(item, "data"))
    part.redacted = part.redacted or part.origin == ORIGIN
    parts.append(part)


def read_reasoning(text: str, signature: str) -> Reasoning:
    """A thinking block; if we put another provider's seal into it, as that provider made it."""
    parcel = seals.unpack(signature)
    if parcel is None:
        return Reasoning(text=text, seal=signature, origin=ORIGIN)
    return Reasoning(
        text=text or parcel.text,
        seal=parcel.seal,
        id=parcel.id,
        redacted=parcel.redacted,
        origin=parcel.origin,
    )


def _with_tool_seals(parts: list[AnyPart]) -> list[AnyPart]:
    """Seals of tool uses, which travelled in thinking blocks, back where they belong."""
    carried = {
        part.id.removeprefix(TOOL_SEAL): part
        for part in parts
        if isinstance(part, Reasoning) and part.id.startswith(TOOL_SEAL)
    }
    if not carried:
        return parts
    for part in parts:
        if isinstance(part, ToolUse) and part.id in carried:
            part.seal, part.origin = carried[part.id].seal, carried[part.id].origin
    return [part for part in parts if not (isinstance(part, Reasoning) and part.id.startswith(TOOL_SEAL))]


# ── tools ───────────────────────────────────────────────────────────────────────────────────────


def _tool_use(item: Json, parts: list[AnyPart], losses: Losses) -> None:
    caller = item.get("caller")
    if isinstance(caller, dict) and caller.get("type") != "direct":  # code that runs at Anthropic
        losses.soften("messages.content.caller")
    given = item.get("input")
    if given is not None and not isinstance(given, dict):
        raise Misfit("must be an object", "input")
    parts.append(
        ToolUse(id=_name(item, "id"), name=_name(item, "name"), arguments=_arguments(given or {}), origin=ORIGIN)
    )


def _arguments(given: Json) -> str:
    try:
        return dumps(given)
    except (RecursionError, UnicodeEncodeError, OverflowError, TypeError):
        raise Misfit("is nested too deeply or holds text that is no Unicode", "input") from None


def _name(item: Json, name: str) -> str:
    found = string(item, name)
    if not found:
        raise Misfit("must not be empty", name)
    return found


def _tool_result(item: Json, parts: list[AnyPart], losses: Losses) -> None:
    found: list[AnyPart] = []
    content = item.get("content")
    if isinstance(content, str):
        found.append(Text(text=content))
    elif content is not None:
        _blocks(content, found, losses, _IN_RESULT)
    parts.append(
        ToolResult(
            id=_name(item, "tool_use_id"),
            parts=[part for part in found if isinstance(part, Text | Media)],
            is_error=bool(maybe_flag(item, "is_error")),
        )
    )


def _reference(item: Json, parts: list[AnyPart], losses: Losses) -> None:
    """A tool that a search for tools found: its name."""
    parts.append(Text(text=string(item, "tool_name")))


def _state(item: Json, parts: list[AnyPart], losses: Losses) -> None:
    losses.drop("messages.content.browser_state")


def _server_tool(item: Json, parts: list[AnyPart], losses: Losses) -> None:
    parts.append(builtin(item))


def _compaction(item: Json, parts: list[AnyPart], losses: Losses) -> None:
    """What the provider made of the conversation before it, in a few words."""
    for block in maybe_list(item, "content") if not isinstance(item.get("content"), str) else [item]:
        text = block.get("content") or block.get("text") if isinstance(block, dict) else None
        if isinstance(text, str):
            parts.append(Text(text=text))


_MARKED = {"type", "cache_control"}
_TEXT_KIND = (_text, frozenset(_MARKED | {"text", "citations"}))
_IMAGE_KIND = (_image, frozenset(_MARKED | {"source"}))
_DOCUMENT_KIND = (_document, frozenset(_MARKED | {"source", "title", "context", "citations"}))
_SEARCH_KIND = (_search_result, frozenset(_MARKED | {"source", "title", "content", "citations"}))
_SERVER_KIND = (_server_tool, None)
_NEWER = ("_tool_use", "_tool_result")
"""How the types of blocks end that came from a tool at the provider which is not known here."""

_IN_SEARCH: dict[str, Any] = {"text": _TEXT_KIND}
_IN_DOCUMENT: dict[str, Any] = {"text": _TEXT_KIND, "image": _IMAGE_KIND}
_IN_RESULT: dict[str, Any] = {
    "text": _TEXT_KIND,
    "image": _IMAGE_KIND,
    "document": _DOCUMENT_KIND,
    "search_result": _SEARCH_KIND,
    "tool_reference": (_reference, None),
    "browser_state": (_state, None),
}
_KINDS: dict[str, Any] = {
    "text": _TEXT_KIND,
    "image": _IMAGE_KIND,
    "document": _DOCUMENT_KIND,
    "search_result": _SEARCH_KIND,
    "thinking": (_thinking, frozenset({"type", "thinking", "signature"})),
    "redacted_thinking": (_redacted, frozenset({"type", "data"})),
    "tool_use": (_tool_use, frozenset(_MARKED | {"id", "name", "input", "caller", "toolset_name"})),
    "tool_result": (_tool_result, frozenset(_MARKED | {"tool_use_id", "content", "is_error", "toolset_name"})),
    "compaction": (_compaction, None),
    **dict.fromkeys(
        (
            "server_tool_use",
            "mcp_tool_use",
            "web_search_tool_result",
            "web_fetch_tool_result",
            "code_execution_tool_result",
            "bash_code_execution_tool_result",
            "text_editor_code_execution_tool_result",
            "tool_search_tool_result",
            "mcp_tool_result",
            "advisor_tool_result",
            "container_upload",
            "mcp_tool_listing",
            "tool_addition",
            "tool_removal",
            "fallback",
        ),
        _SERVER_KIND,
    ),
}


def text_blocks(owner: Json, name: str, losses: Losses) -> list[Part]:
    """A prompt that is a string or a list of text blocks. Raises Misfit."""
    value = owner.get(name)
    if value is None:
        return []
    if isinstance(value, str):
        return [Text(text=value)] if value else []
    found: list[AnyPart] = []
    try:
        _blocks(value, found, losses, _IN_SEARCH)
    except Misfit as wrong:
        raise Misfit(wrong.problem, name, *wrong.path[1:]) from None
    return list(found)
