"""Events as a stream of this API. platform.claude.com/docs/en/build-with-claude/streaming

One block is open at a time. Of parts that are open at once the first streams, the others wait until it closes.
"""

from __future__ import annotations

import json

import msgspec

from shin_gateway.outcome import Usage
from shin_gateway.translation.anthropic_messages import replies, usage
from shin_gateway.translation.anthropic_messages.blocks_out import citation
from shin_gateway.translation.anthropic_messages.names import TIERS_OUT, Json
from shin_gateway.translation.form import (
    AnyPart,
    Began,
    Builtin,
    Citation,
    Cited,
    Closed,
    Ended,
    Event,
    Finish,
    Finished,
    Grew,
    Media,
    Opened,
    Reasoning,
    Refused,
    Sealed,
    Text,
    ToolUse,
    Transcribed,
    UsageTold,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Origin

_encode = msgspec.json.Encoder().encode
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b:%b}}\n\n'
_TEXT = b'"text_delta","text"'
_THINKING = b'"thinking_delta","thinking"'
_INPUT = b'"input_json_delta","partial_json"'
_SIGNATURE = b'"signature_delta","signature"'
_FREE, _FREE_END = '{"input":"', '"}'
"""What stands around a free-form input, which this API has only as an object."""
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def _event(kind: str, **fields: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _json({"type": kind, **fields}))


def _json(value: object) -> bytes:
    try:
        return _encode(value)
    except UnicodeEncodeError:  # a lone surrogate, which only JSON's escapes can say
        return json.dumps(value, separators=(",", ":")).encode()


class _Block:
    """A part, from when it opens until its block has been written."""

    __slots__ = ("cited", "closed", "in_input", "is_free", "kind", "part", "pieces", "seal", "started")

    def __init__(self, part: AnyPart) -> None:
        self.part = part
        self.kind = _kind_of(part)
        self.is_free = isinstance(part, ToolUse) and part.custom
        self.started = self.closed = self.in_input = False
        self.pieces: list[str] = []
        """What came while another block was open, or before this one could start."""
        self.cited: list[Citation] = list(part.citations) if isinstance(part, Text) else []
        self.seal: list[str] = []

    def delta(self, index: int) -> bytes:
        """What has come, as a piece of the block."""
        text, self.pieces = "".join(self.pieces), []
        if self.is_free:
            head = "" if self.in_input else _FREE
            self.in_input = True
            text = head + _json(text)[1:-1].decode()
        return _DELTA % (index, self.kind, _json(text))

    def rest(self, index: int) -> bytes:
        """What its input still lacks at the end."""
        return _DELTA % (index, self.kind, _json(_FREE_END)) if self.in_input else b""


def _kind_of(part: AnyPart) -> bytes:
    if isinstance(part, ToolUse):
        return _INPUT
    return _THINKING if isinstance(part, Reasoning) else _TEXT


class Writer:
    """Implements StreamWriter."""

    def __init__(self, origin: Origin, losses: Losses) -> None:
        self._origin = origin
        self._losses = losses
        self._blocks: dict[int, _Block] = {}
        """Parts without a complete block, in order; the first is the one that is written."""
        self._thoughts = replies.thoughts_for(origin)
        self._index = 0
        self._began = self._ended = False
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._stop_sequence = ""
        self._seen: list[AnyPart] = []
        """What decides how the message ends: uses of tools, refusals."""

    def write(self, event: Event) -> bytes:
        if isinstance(event, Grew) and self._began:
            return self._grow(event)
        if isinstance(event, Began):
            return self._begin(event)
        head = b"" if self._began else self._begin(Began("", ""))
        return head + self._write(event)

    def _write(self, event: Event) -> bytes:
        if isinstance(event, Opened):
            return self._open(event)
        if isinstance(event, Closed):
            return self._close(event)
        if isinstance(event, Sealed | Cited | Grew | Transcribed):
            return self._add(event)
        if isinstance(event, UsageTold):
            self._usage = event.usage
        elif isinstance(event, Finished) and event.choice == 0:
            self._finish, self._stop_sequence = event.finish, event.stop_sequence
        elif isinstance(event, Ended):
            return self._end(event)
        return b""

    # ── the message ─────────────────────────────────────────────────────────────────────────────

    def _begin(self, event: Began) -> bytes:
        if self._began:
            return b""
        self._began = True
        self._usage = event.usage
        message = replies.opening(event.id, self._origin, event.model)
        message["usage"] = usage.whole(event.usage, TIERS_OUT.get(event.service_tier, ""))
        return _event("message_start", message=message)

    def _end(self, event: Ended) -> bytes:
        if self._ended:
            return b""
        self._ended = True
        for block in self._blocks.values():
            block.closed = True
        rest = self._advance()
        finish = self._finish or ("filtered" if event.blocked else "stop")
        delta = replies.ending(finish, self._seen, self._stop_sequence)
        return rest + _event("message_delta", delta=delta, usage=usage.delta(self._usage)) + _END

    # ── parts ───────────────────────────────────────────────────────────────────────────────────

    def _open(self, event: Opened) -> bytes:
        if event.choice != 0:
            self._losses.soften("n")
            return b""
        block = self._blocks[event.at] = _Block(event.part)
        if isinstance(event.part, ToolUse | Refused):
            self._seen.append(event.part)
        elif isinstance(event.part, Media):
            self._losses.soften(f"content.{event.part.kind}")
        if text := _opening_text(event.part):
            block.pieces.append(text)
        return self._advance() if len(self._blocks) == 1 else b""

    def _grow(self, event: Grew) -> bytes:
        block = self._blocks.get(event.at) if event.choice == 0 else None
        if block is None or block.closed or not event.text:
            return b""
        if isinstance(block.part, Media):
            return b""  # its data, which has no place here
        if block.started and not block.pieces and not block.is_free:  # only the first is started, and nothing waits
            return _DELTA % (self._index, block.kind, _json(event.text))
        block.pieces.append(event.text)
        return self._advance()

    def _add(self, event: Sealed | Cited | Grew | Transcribed) -> bytes:
        block = self._blocks.get(event.at) if event.choice == 0 else None
        if block is None or block.closed:
            return b""
        if isinstance(event, Sealed):
            block.seal.append(event.seal)
        elif isinstance(event, Cited):
            block.cited.append(event.citation)
        else:
            block.pieces.append(event.text)
        return self._advance()

    def _close(self, event: Closed) -> bytes:
        block = self._blocks.get(event.at) if event.choice == 0 else None
        if block is None:
            return b""
        block.closed = True
        return self._advance()

    # ── blocks ──────────────────────────────────────────────────────────────────────────────────

    def _advance(self) -> bytes:
        """What can be written now of the parts that wait."""
        out: list[bytes] = []
        written: list[int] = []
        for at, block in self._blocks.items():  # thousands may wait behind the first
            self._push(block, out)
            if not block.closed:
                break
            self._stop(block, out)
            written.append(at)
        for at in written:
            del self._blocks[at]
        return b"".join(out)

    def _push(self, block: _Block, out: list[bytes]) -> None:
        if not block.started and (block.pieces or _starts_at_once(block)) and not self._is_whole(block.part):
            self._start(block, out)
        if not block.started:
            return
        if block.pieces:
            out.append(block.delta(self._index))
        if block.cited:
            self._cite(block, out)

    def _is_whole(self, part: AnyPart) -> bool:
        """Whether it is written when all of it is there."""
        return isinstance(part, Builtin) or (isinstance(part, Reasoning) and self._thoughts != "shown")

    def _start(self, block: _Block, out: list[bytes]) -> None:
        part = block.part
        if isinstance(part, ToolUse):
            self._carry_seal(block, out)
            self._begin_block({"type": "tool_use", "id": part.id, "name": part.name, "input": {}}, out)
        elif isinstance(part, Reasoning):
            self._begin_block({"type": "thinking", "thinking": "", "signature": ""}, out)
        else:
            self._begin_block({"type": "text", "text": ""}, out)
        block.started = True

    def _begin_block(self, block: Json, out: list[bytes]) -> None:
        out.append(_event("content_block_start", index=self._index, content_block=block))

    def _carry_seal(self, block: _Block, out: list[bytes]) -> None:
        """A tool use's seal goes out as a block of its own, before it or, where it came late, after it."""
        part = block.part
        if not isinstance(part, ToolUse):
            return
        part.seal += "".join(block.seal)
        block.seal = []
        self._write_blocks(replies.tool_seal(part), out)
        part.seal = ""

    def _cite(self, block: _Block, out: list[bytes]) -> None:
        for one in block.cited:
            written = citation(one)
            if written is None:
                self._losses.soften("content.citations")
                continue
            delta = {"type": "citations_delta", "citation": written}
            out.append(_event("content_block_delta", index=self._index, delta=delta))
        block.cited = []

    def _stop(self, block: _Block, out: list[bytes]) -> None:
        part = block.part
        if isinstance(part, Builtin) or (isinstance(part, Media) and not block.started):
            self._whole(part, out)
        elif isinstance(part, Reasoning):
            self._sign(part, block, out)
        elif block.started:
            out.append(block.rest(self._index))
            self._end_block(out)
        if block.seal:
            self._carry_seal(block, out)

    def _end_block(self, out: list[bytes]) -> None:
        out.append(_STOP % self._index)
        self._index += 1

    def _whole(self, part: AnyPart, out: list[bytes]) -> None:
        """Blocks that are not written in pieces."""
        self._write_blocks(replies.write_part(part, self._thoughts, self._losses), out)

    def _write_blocks(self, blocks: list[Json], out: list[bytes]) -> None:
        for block in blocks:
            signature = block.get("signature")
            self._begin_block(block | {"signature": ""} if signature else block, out)
            if signature:
                out.append(_DELTA % (self._index, _SIGNATURE, _json(signature)))
            self._end_block(out)

    def _sign(self, part: Reasoning, block: _Block, out: list[bytes]) -> None:
        part.seal += "".join(block.seal)
        block.seal = []
        if not block.started:  # redacted, hidden, or without a word
            part.text, block.pieces = "".join(block.pieces), []
            self._whole(part, out)
            return
        if signature := replies.signature(part, self._thoughts):
            out.append(_DELTA % (self._index, _SIGNATURE, _json(signature)))
        self._end_block(out)


def _opening_text(part: AnyPart) -> str:
    """What a part is opened with, of what would else come in pieces."""
    if isinstance(part, ToolUse):
        return part.arguments
    return part.text if isinstance(part, Text | Refused | Reasoning | Media) else ""


def _starts_at_once(block: _Block) -> bool:
    """A use of a tool, before its input comes; unless it may bring a seal, which should stand before it."""
    part = block.part
    return isinstance(part, ToolUse) and (block.closed or bool(part.seal or block.seal) or not _seals(part))


def _seals(part: ToolUse) -> bool:
    return part.origin.startswith("gemini")
