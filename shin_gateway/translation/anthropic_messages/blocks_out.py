"""Parts of the common form as content blocks of this API."""

from __future__ import annotations

import base64

import msgspec

from shin_gateway.translation import seals
from shin_gateway.translation.anthropic_messages.names import ORIGIN, Json
from shin_gateway.translation.custom_tools import FIELD
from shin_gateway.translation.form import Builtin, Citation, Media, Part, Reasoning, Text, Tool, ToolUse
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.media import sniff_base64

_MOST_MARKS = 4
"""Of `cache_control` in one call; more are refused (platform.claude.com/docs/en/build-with-claude/prompt-caching)."""
FOREIGN = seals.pack(seals.Parcel(origin="", seal=""))
"""In the place of Anthropic's `encrypted_index`, by which a citation of another provider's is known when it returns."""
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


class Blocks:
    """Writes blocks for one call."""

    def __init__(self, provider: str, losses: Losses) -> None:
        self.losses = losses
        self._owners = (ORIGIN, provider)
        self._marks = 0

    def marked(self, block: Json, part: Part | Tool) -> Json:
        """The block with the part's cache mark."""
        if not part.cache:
            return block
        self._marks += 1
        if self._marks > _MOST_MARKS:
            self.losses.soften("cache_control")
            return block
        block["cache_control"] = cache_control(part)
        return block

    def text(self, text: str, part: Part) -> Json | None:
        """None for one of nothing but white space, which the API refuses."""
        if not text or text.isspace():
            return None
        return self.marked({"type": "text", "text": text}, part)

    def said(self, part: Text) -> Json | None:
        """A text of the assistant's, with the citations that the API itself gave."""
        block = self.text(part.text, part)
        if block is not None and part.citations:
            own = [one.raw for one in part.citations if one.raw and one.origin == ORIGIN]
            if own:
                block["citations"] = own
            if len(own) < len(part.citations):
                self.losses.soften("messages.content.annotations")
        return block

    def reasoning(self, part: Reasoning) -> Json | None:
        """Only what this API signed itself may be returned to it."""
        if part.origin != ORIGIN or not part.seal:
            self.losses.soften("messages.reasoning")
            return None
        if part.redacted:
            return {"type": "redacted_thinking", "data": part.seal}
        return {"type": "thinking", "thinking": part.text, "signature": part.seal}

    def tool_use(self, part: ToolUse, id: str, name: str) -> Json:
        given = {FIELD: part.arguments} if part.custom else self._arguments(part.arguments)
        return self.marked({"type": "tool_use", "id": id, "name": name, "input": given}, part)

    def _arguments(self, text: str) -> Json:
        if not text or text.isspace():
            return {}
        try:
            found = msgspec.json.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            found = text
        if isinstance(found, dict):
            return found
        # The model wrote no object. It may see that, and the turn stays whole.
        self.losses.soften("messages.tool_calls.function.arguments")
        return {FIELD: found}

    def builtin(self, part: Builtin) -> list[Json]:
        if part.origin == ORIGIN:
            return part.raw
        self.losses.soften("messages.content.server_tools")
        return []

    # ── media ───────────────────────────────────────────────────────────────────────────────────

    def media(self, part: Media) -> Json:
        """The block; a short text in its place for what the API cannot take, and a note."""
        if part.detail not in ("", "auto"):
            self.losses.soften("messages.content.detail")
        block = self._image(part) if part.kind == "image" else self._document(part)
        if block is not None:
            return self.marked(block, part)
        self.losses.drop(f"messages.content.{part.kind}")
        return {"type": "text", "text": f"[Here stood {_ARTICLES[part.kind]} that this model cannot be given.]"}

    def _image(self, part: Media) -> Json | None:
        mime = sniff_base64(part.data) or part.mime
        mime = "image/jpeg" if mime == "image/jpg" else mime
        if part.data and mime in _IMAGES:
            return {"type": "image", "source": {"type": "base64", "media_type": mime, "data": part.data}}
        source = self._source(part)
        return {"type": "image", "source": source} if source else None

    def _document(self, part: Media) -> Json | None:
        if part.kind != "document":
            return None
        source = self._document_source(part)
        if source is None:
            return None
        block: Json = {"type": "document", "source": source}
        if part.name:
            block["title"] = part.name[:500]
        if part.citations:
            block["citations"] = {"enabled": True}
        return block

    def _document_source(self, part: Media) -> Json | None:
        if part.text:
            return {"type": "text", "media_type": "text/plain", "data": part.text}
        if not part.data:
            return self._source(part)
        mime = part.mime or sniff_base64(part.data)
        if mime == "application/pdf":
            return {"type": "base64", "media_type": mime, "data": part.data}
        text = _decoded(part.data) if mime.startswith("text/") or mime in _TEXTS else ""
        return {"type": "text", "media_type": "text/plain", "data": text} if text else None

    def _source(self, part: Media) -> Json | None:
        if part.url:
            return {"type": "url", "url": part.url}
        if part.file_id and part.origin in self._owners:
            return {"type": "file", "file_id": part.file_id}
        return None


_ARTICLES = {"image": "an image", "document": "a document", "audio": "a sound", "video": "a video"}
_TEXTS = frozenset({"application/json", "application/xml", "application/javascript", "application/yaml"})


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data).decode("utf-8", "replace")
    except ValueError:
        return ""


def cache_control(part: Part | Tool) -> Json:
    return {"type": "ephemeral", "ttl": "1h"} if part.cache == "1h" else {"type": "ephemeral"}


def citation(found: Citation) -> Json | None:
    """A citation as a reply shows it; another dialect's as one of the web, if it has an address."""
    if found.origin == ORIGIN and found.raw:
        return found.raw
    if not found.url:
        return None
    return {
        "type": "web_search_result_location",
        "url": found.url,
        "title": found.title or None,
        "cited_text": found.quote,
        "encrypted_index": FOREIGN,
    }
