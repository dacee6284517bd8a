"""Messages of the common form as this API's turns.

Turns alternate; results of tools come first in the turn after their uses, each exactly once; texts are not empty;
instructions before the first turn are the system prompt (platform.claude.com/docs/en/api/messages,
…/agents-and-tools/tool-use/handle-tool-calls, …/build-with-claude/mid-conversation-system-messages).
"""

from __future__ import annotations

import hashlib
import re

from shin_gateway.errors import Invalid
from shin_gateway.translation.anthropic_messages.blocks_out import Blocks
from shin_gateway.translation.anthropic_messages.names import Json
from shin_gateway.translation.form import (
    AnyPart,
    Builtin,
    Media,
    Message,
    Reasoning,
    Refused,
    Text,
    ToolResult,
    ToolUse,
)
from shin_gateway.translation.names import for_others

LONGEST_NAME = 128
_FITS = re.compile(r"[a-zA-Z0-9_-]+")


class Turns:
    """Collects the messages of one call."""

    def __init__(self, blocks: Blocks, system_messages: bool) -> None:
        self.system: list[Json] = []
        self.messages: list[Json] = []
        self.tools_used: dict[str, None] = {}
        """Names of the tools in the history."""
        self._blocks = blocks
        self._losses = blocks.losses
        self._system_messages = system_messages
        self._ids: set[str] = set()
        self._times: dict[str, int] = {}
        """How often an id was met: thousands of calls may have one."""
        self._waiting: dict[str, tuple[str, str]] = {}
        """Uses of the last turn without a result: the id in the call, and the tool's name."""
        self._said: list[Json] = []
        self._uses: list[Json] = []
        self._results: list[Json] = []
        self._asked: list[Json] = []
        self._told: list[Json] = []
        """Instructions after the last turn of the user's."""

    def add(self, index: int, message: Message) -> None:
        """Raises Invalid for results without a use, and uses without a result."""
        if message.name:
            self._losses.drop("messages.name")
        if message.role == "assistant":
            self._assistant(message.parts)
        elif message.role == "user":
            self._end_assistant()
            self._user(index, message.parts)
        else:
            self._instruct(message.parts)

    def end(self) -> None:
        """No more messages come. Raises Invalid as `add`."""
        self._end_assistant()
        if self._waiting:
            self._miss()
        self._end_user()

    # ── instructions ────────────────────────────────────────────────────────────────────────────

    def _instruct(self, parts: list[AnyPart]) -> None:
        found = [block for part in parts if (block := self._instruction(part)) is not None]
        if not (self.messages or self._said or self._uses or self._results or self._asked):
            self.system.extend(found)
            return
        self._end_assistant()
        if self._system_messages and (self._results or self._asked):
            self._told.extend(found)
        else:
            self._asked.extend(self._as_asked(found))

    def _instruction(self, part: AnyPart) -> Json | None:
        if isinstance(part, Text | Refused):
            return self._blocks.text(part.text, part)
        self._losses.drop("messages.content")
        return None

    def _as_asked(self, found: list[Json]) -> list[Json]:
        """Instructions in the user's turn, marked as what they are."""
        if found:
            self._losses.soften("messages.role")
        return [{**block, "text": f"<system>\n{block['text']}\n</system>"} for block in found]

    # ── the user ────────────────────────────────────────────────────────────────────────────────

    def _user(self, index: int, parts: list[AnyPart]) -> None:
        if self._told:
            self._asked.extend(self._as_asked(self._told))
            self._told = []
        for part in parts:
            if isinstance(part, ToolResult):
                self._results.append(self._result(index, part))
            elif (block := self._input(part)) is not None:
                self._asked.append(block)

    def _input(self, part: AnyPart) -> Json | None:
        if type(part) is Text or isinstance(part, Refused):
            return self._blocks.text(part.text, part)
        if isinstance(part, Media):
            return self._blocks.media(part)
        if isinstance(part, Builtin):
            self._asked.extend(self._blocks.builtin(part))
        else:
            self._losses.drop("messages.content")
        return None

    def _result(self, index: int, part: ToolResult) -> Json:
        found = self._waiting.pop(part.id, None)
        if found is None:
            problem = f'the result for the tool call "{part.id[:80]}" has no such call in the message before it'
            raise Invalid(f"messages[{index}]: {problem}.", param=f"messages[{index}]")
        block: Json = {"type": "tool_result", "tool_use_id": found[0]}
        content = [one for inner in part.parts if (one := self._input(inner)) is not None]
        if content:
            plain = len(content) == 1 and content[0].keys() == {"type", "text"}
            block["content"] = content[0]["text"] if plain else content
        if part.is_error:
            block["is_error"] = True
            block.setdefault("content", "The tool failed.")  # an error without a word is refused
        return self._blocks.marked(block, part)

    def _end_user(self) -> None:
        content = self._results + self._asked
        if content:
            self.messages.append({"role": "user", "content": content})
            if self._told:
                self.messages.append({"role": "system", "content": self._told})
            self._results, self._asked, self._told = [], [], []

    # ── the assistant ───────────────────────────────────────────────────────────────────────────

    def _assistant(self, parts: list[AnyPart]) -> None:
        missed = bool(self._waiting) and not self._uses
        said: list[Json] = []
        uses: list[Json] = []
        for part in parts:
            if isinstance(part, ToolUse):
                uses.append(self._use(part))
            elif isinstance(part, Builtin):
                said.extend(self._blocks.builtin(part))
            elif (block := self._output(part)) is not None:
                said.append(block)
        if not said and not uses:
            return  # and what the user says before it and after it is one turn
        if missed:
            self._miss()
        self._end_user()
        self._said += said
        self._uses += uses

    def _output(self, part: AnyPart) -> Json | None:
        if isinstance(part, Text):
            return self._blocks.said(part)
        if isinstance(part, Refused):
            return self._blocks.text(part.text, part)
        if isinstance(part, Reasoning):
            return self._blocks.reasoning(part)
        if isinstance(part, Media) and part.kind == "audio" and part.text:
            return self._blocks.text(part.text, part)
        self._losses.drop("messages.content")
        return None

    def _use(self, part: ToolUse) -> Json:
        id, name = self._fit_id(part.id), for_others(part.name, LONGEST_NAME)
        self.tools_used[name] = None
        self._waiting[part.id] = (id, part.name)
        return self._blocks.tool_use(part, id, name)

    def _fit_id(self, id: str) -> str:
        """An id as the API takes it, used once in the call. One that fits stays."""
        fit = id
        if not _FITS.fullmatch(id):
            fit = f"toolu_{hashlib.sha256(id.encode('utf-8', 'replace')).hexdigest()[:24]}"
        unique, times = fit, self._times.get(fit, 1)
        while unique in self._ids:
            times += 1
            unique = f"{fit}_{times}"
        self._ids.add(unique)
        self._times[fit] = times
        return unique

    def _end_assistant(self) -> None:
        if not (self._said or self._uses):
            return
        if not self.messages or self.messages[-1]["role"] == "assistant":
            self._merge_assistant()
        else:
            self.messages.append({"role": "assistant", "content": self._said + self._uses})
        self._said, self._uses = [], []

    def _merge_assistant(self) -> None:
        if self.messages:
            self.messages[-1]["content"] += self._said + self._uses
            return
        # A conversation has to begin with the user.
        self._losses.soften("messages")
        self.messages.append({"role": "user", "content": [{"type": "text", "text": "(The conversation begins.)"}]})
        self.messages.append({"role": "assistant", "content": self._said + self._uses})

    def _miss(self) -> None:
        id, (_, name) = next(iter(self._waiting.items()))
        problem = f'the call "{id[:80]}" of the tool "{name[:80]}" has no result in the message after it'
        raise Invalid(f"messages: {problem}.", param="messages")


def joined(blocks: list[Json]) -> str | list[Json]:
    """A prompt of one plain text as a string."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks
