"""How each chat API writes a history, as rows of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shin_gateway.conversations import answers, chat_answers, speech
from shin_gateway.conversations.speech import Gatherer, Said


@dataclass(frozen=True, slots=True)
class Kind:
    """One API whose clients may leave out what was said before."""

    dialect: str
    field: str
    """Where the history stands in a call."""
    gatherer: Callable[[], Gatherer]
    whole: Callable[[bytes | None], Said | None]
    """Reads a whole reply; None where there is no answer in it."""
    heads: frozenset[str] = frozenset()
    """Roles whose messages hold for all of the history: the newest ones count."""


RESPONSES = Kind("openai.responses", "input", speech.Responses, speech.whole_responses)

KINDS = {
    kind.dialect: kind
    for kind in (
        RESPONSES,
        Kind("openai.chat", "messages", chat_answers.Chat, chat_answers.whole_chat, frozenset({"system", "developer"})),
        Kind("anthropic.messages", "messages", answers.Messages, answers.whole_messages),
        Kind("gemini.generate", "contents", answers.Gemini, answers.whole_gemini),
    )
}
