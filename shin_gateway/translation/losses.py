"""What a translation cannot carry: noted, or refused. Nothing is lost in silence."""

from __future__ import annotations

from shin_gateway.errors import Invalid


class Losses:
    """Collects the names of what was dropped, as the client's dialect calls them: `logprobs`, `messages.name`."""

    def __init__(self, refuse: bool = False) -> None:
        self._refuse = refuse
        self._dropped: dict[str, None] = {}

    def drop(self, field: str, why: str = "") -> None:
        """Note that `field` goes no further. Raises Invalid, which names it, where the policy wants that.

        `field` has no index in it and nothing that the client wrote: it becomes a header and a log's word.
        """
        if self._refuse:
            reason = why or "the model that serves this call has no way to express it"
            raise Invalid(f"{field}: {reason}.", code="unsupported_parameter", param=field)
        self._dropped[field] = None

    def soften(self, field: str) -> None:
        """Note a loss that is never worth a refusal: of a reply, or of what only made things cheaper."""
        self._dropped[field] = None

    @property
    def dropped(self) -> tuple[str, ...]:
        """In the order in which they were met."""
        return tuple(self._dropped)
