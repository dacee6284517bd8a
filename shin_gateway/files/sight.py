"""What one caller sees of the files and batches that a provider keeps for all callers of the gateway.

What somebody else made is not there: it is answered 404 and left out of lists. What the gateway did not see made (in
the provider's own console, or before) belongs to nobody, and everybody sees it; but lists do not show what came out of
a batch before it is known whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlencode

from shin_gateway.addon import Forward
from shin_gateway.call import Call
from shin_gateway.errors import NotFound, Refusal, Unavailable
from shin_gateway.files import ids
from shin_gateway.files.aside import aside
from shin_gateway.files.owners import Known, Owners, tenant_of
from shin_gateway.reply import Reply
from shin_gateway.stores.errors import StoreError

MOST_PAGES = 10
"""Pages of a list that are passed over because everything on them is others'."""


class Sight:
    """The caller of one call, and what is known of what the call asks about."""

    def __init__(self, call: Call, owners: Owners, asked: list[str], known: Known) -> None:
        self._call = call
        self._owners = owners
        self._asked = asked
        self._known = known
        self._tenant = tenant_of(call.caller)
        self._about = ids.in_path(call.path)

    @classmethod
    async def of(cls, call: Call, owners: Owners, asked: list[str]) -> Sight:
        """Raises Unavailable when the store does not answer: whose something is must not be guessed."""
        with _needed():
            return cls(call, owners, asked, await owners.find(asked))

    @property
    def providers(self) -> list[str]:
        """Where the caller has what it asks about."""
        return [name for of_one in self._known.values() for name, owner in of_one.items() if owner == self._tenant]

    def check(self, provider: str) -> None:
        """Raises NotFound for what is another caller's."""
        for one in self._asked:
            if self._known.get(one, {}).get(provider, self._tenant) != self._tenant:
                raise NotFound(f"No such file or batch: {one[:100]}", param="id")

    async def note(self, reply: Reply) -> None:
        """Remember what was made, and what came out of what is the caller's own; forget what was deleted.

        Where the store does not answer, the reply is the caller's all the same, and belongs to nobody.
        """
        call = self._call
        assert call.target is not None
        provider = call.target.provider
        try:
            if call.method == "DELETE":
                await self._owners.drop(self._about, provider)
            elif made := await self._made(provider, reply):
                await self._owners.keep(made, provider, self._tenant)
        except StoreError:
            call.note(owner="lost")

    async def _made(self, provider: str, reply: Reply) -> list[str]:
        if not self._about:
            return await aside(legible(reply), ids.in_reply)
        if self._known.get(self._about, {}).get(provider) != self._tenant:
            return []
        return [self._about, *await aside(legible(reply), ids.in_reply)]

    # Lists

    async def listed(self, reply: Reply, forward: Forward) -> Reply:
        """A list without what is others'. Where that is all of a page, the next page stands in for it."""
        path = self._call.path
        try:
            for page in range(MOST_PAGES):
                following = await self._filtered(reply, last=page == MOST_PAGES - 1)
                if following is None:
                    break
                self._call.path = _with_query(path, following)
                reply.close()
                reply = await forward(self._call)
                if reply.status >= 300:
                    break
        finally:
            self._call.path = path
        return reply

    async def _filtered(self, reply: Reply, *, last: bool) -> tuple[str, str] | None:
        """Take others' items out; the parameter of a query for what to ask instead, where nothing would be left."""
        assert self._call.target is not None
        provider = self._call.target.provider
        try:
            listing = await aside(legible(reply), ids.Listing)
        except ValueError:
            return None
        with _needed():
            known = await self._owners.find(one for of_item in listing.ids for one in of_item)
        owners = [[known.get(one, {}).get(provider) for one in of_item] for of_item in listing.ids]
        await self._keep_all(listing, owners, provider)
        theirs = {place for place, (owner, *_) in enumerate(owners) if owner not in (None, self._tenant)}
        theirs |= {place for place in listing.outputs if owners[place][0] is None}
        if not theirs:
            return None
        if len(theirs) == len(owners) and not last and (following := listing.next_page(self._call.dialect.name)):
            return following
        reply.body = listing.without(theirs)
        return None

    async def _keep_all(self, listing: ids.Listing, owners: list[list[str | None]], provider: str) -> None:
        """What came out of the caller's own batches is the caller's too."""
        own = [place for place, (owner, *_) in enumerate(owners) if owner == self._tenant]
        new = [one for place in own for one, owner in zip(listing.ids[place], owners[place], strict=True) if not owner]
        try:
            await self._owners.keep(new, provider, self._tenant)
        except StoreError:
            self._call.note(owner="lost")


@contextmanager
def _needed() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise Unavailable("The state store does not answer, which knows whose files and batches these are.") from error


def legible(reply: Reply) -> bytes:
    """A whole reply's body; b"" for one that is passed on as it arrives."""
    try:
        return reply.body or b""
    except Refusal:  # a compression that is broken or unknown is the client's to see
        return b""


def _with_query(path: str, one: tuple[str, str]) -> str:
    path, _, query = path.partition("?")
    others = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] != one[0]]
    return f"{path}?{urlencode([*others, one])}"
