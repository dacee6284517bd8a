"""What a translation cannot carry: noted, or refused. Nothing is lost in silence."""

from __future__ import annotations

import re
from collections.abc import Mapping

from shin_gateway.errors import Invalid

_UNSUPPORTED = "unsupported_parameter"
_INDEX = re.compile(r"\[\d+\]")


class Losses:
    """Collects the names of what was dropped, as the client's dialect calls them: `logprobs`, `messages.name`."""

    def __init__(self, refuse: bool = False) -> None:
        self._refuse = refuse
        self._dropped: dict[str, None] = {}
        self._fields: Mapping[str, str] = {}

    def told_to(self, fields: Mapping[str, str]) -> Losses:
        """The same collection for a writer of calls, who knows the form's fields but no client: `fields` are the
        client's names for them (`Translator.fields`), each for all that begins with it."""
        other = Losses(self._refuse)
        other._dropped, other._fields = self._dropped, fields
        return other

    def drop(self, field: str, why: str = "") -> None:
        """Note that `field` goes no further. Raises Invalid, which names it, where the policy wants that.

        `field` has no index in it and nothing that the client wrote: it becomes a header and a log's word.
        """
        field = self._named(field)
        if self._refuse:
            reason = why or "the model that serves this call has no way to express it"
            words = f"{field}: {reason}, and the policy refuses what would be lost."
            raise Invalid(words, code=_UNSUPPORTED, param=field)
        self._dropped[field] = None

    def soften(self, field: str) -> None:
        """Note a loss that is never worth a refusal: of a reply, or of what only made things cheaper, faster or
        easier to follow."""
        self._dropped[self._named(field)] = None

    def worded(self, wrong: Invalid) -> Invalid:
        """What a writer raised, with the field under the client's name.

        The form counts its own messages. A client that calls them otherwise, or counts others, is told no number.
        """
        field = wrong.param or ""
        plain = _INDEX.sub("", field)
        named = self._named(plain)
        if wrong.code == _UNSUPPORTED or named == (plain if "messages" not in self._fields else field):
            return wrong
        return Invalid(wrong.message.replace(field, named, 1), code=wrong.code, param=named)

    def _named(self, field: str) -> str:
        head, rest = field, ""
        while head:
            if head in self._fields:
                return self._fields[head] + rest
            head, _, last = head.rpartition(".")
            rest = f".{last}{rest}"
        return field

    @property
    def dropped(self) -> tuple[str, ...]:
        """In the order in which they were met."""
        return tuple(self._dropped)
