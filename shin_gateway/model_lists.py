"""Lists of models at the gateway: what its providers list, by the names that a caller may ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from msgspec.structs import replace
from multidict import CIMultiDict

from shin_gateway.addon import Forward
from shin_gateway.call import Call
from shin_gateway.config import Config
from shin_gateway.errors import NotFound, Refusal, Unavailable, UpstreamFailed
from shin_gateway.provider_lists import ProviderLists
from shin_gateway.providers import ProviderRow, Providers
from shin_gateway.reply import Reply
from shin_gateway.targets import in_use, led_to, name_of
from shin_gateway.translation import bodies, models
from shin_gateway.translation.form import Json
from shin_gateway.translation.models import Model


class Offer(NamedTuple):
    """One model that a caller may ask for."""

    model: Model
    """By the name that the caller uses."""
    target: str
    """`provider/model`."""


class ModelLists:
    """The lists of all providers that the gateway has a key for. One for a worker; `close` it."""

    def __init__(self, providers: Providers, config: Config, forward: Forward) -> None:
        """`forward` asks a provider: the innermost layer of the chain."""
        self._providers = providers
        self._config = config
        self._lists = ProviderLists(forward)
        self._known: dict[str, tuple[Mapping[str, Model] | None, dict[str, Offer]]] = {}

    @staticmethod
    def takes(call: Call) -> bool:
        """Whether it is for us: a list of the gateway's own, and not of one provider, one host or one client's key."""
        return call.kind == "models" and call.arrival.origin is None and call.arrival.row is None and not call.own_key

    async def answer(self, call: Call) -> Reply:
        """The list, the page or the model that the call asks for. Raises Invalid, NotFound, UpstreamFailed, and
        Unavailable where there is no provider to ask."""
        rows = [row for row in self._providers if in_use(row, self._config)]
        if not rows:
            raise _nobody()
        silent = await self._lists.ask_all(rows, call)
        if silent:
            call.note(unlisted=", ".join(silent))
        everything = self._offers(rows)
        if silent and not everything:
            raise UpstreamFailed("No provider gave its list of models.", code="no_list")
        offers = _shown(call, everything)
        path, _, query = call.path.partition("?")
        id = path.partition("/models/")[2]
        if id:
            return _reply(call, models.write_one(call.dialect.name, await self._one(call, offers, id)))
        listed = models.unique(offer.model for offer in offers)
        return _reply(call, models.write_list(call.dialect.name, listed, _joined(query)))

    async def _one(self, call: Call, offers: list[Offer], id: str) -> Model:
        """The model by the name that lists show, by `provider/model`, or by one that its provider alone knows. Raises
        NotFound, and UpstreamFailed where nobody can say whether there is such a model."""
        named = [offer.model for offer in offers]
        spelled = [replace(offer.model, id=offer.target) for offer in offers]
        try:
            return models.find([*named, *spelled], id)
        except NotFound:
            found = await self._of_its_provider(call, models.bare(id))
            if found is None:
                raise
            return found

    async def _of_its_provider(self, call: Call, name: str) -> Model | None:
        row, there = led_to(name, self._providers, self._config)
        if not in_use(row, self._config) or not call.may_use(name, f"{row.name}/{there}"):
            return None
        try:
            found = await self._lists.one(row, there, call.policy)
        except (Refusal, TimeoutError):
            raise UpstreamFailed(f"The provider {row.name} does not say what models it has.", code="no_list") from None
        return replace(found, id=name, owner=found.owner or row.name) if found else None

    async def close(self) -> None:
        """Stop asking."""
        await self._lists.close()

    def _offers(self, rows: list[ProviderRow]) -> list[Offer]:
        """Aliases first, then what the providers have."""
        kept = {row.name: self._of(row) for row in rows}
        aliases = [offer for alias in self._config.models if (offer := self._alias(alias, kept)) is not None]
        return [*aliases, *(offer for known in kept.values() for offer in known.values())]

    def _of(self, row: ProviderRow) -> dict[str, Offer]:
        """A provider's models by its own names. Made anew when its list is new."""
        found, known = self._known.get(row.name, (None, {}))
        listed = self._lists.of(row)
        if found is not listed:
            models = {**_written(row, self._config), **listed}
            known = {name: self._offer(row, name, model) for name, model in models.items()}
            self._known[row.name] = (listed, known)
        return known

    def _offer(self, row: ProviderRow, name: str, model: Model) -> Offer:
        asked = name_of(name, row, self._providers, self._config)
        return Offer(replace(model, id=asked, owner=model.owner or row.name), f"{row.name}/{name}")

    def _alias(self, alias: str, kept: Mapping[str, Mapping[str, Offer]]) -> Offer | None:
        """None where it leads to no provider that can be asked."""
        try:
            row, name = led_to(alias, self._providers, self._config)
        except NotFound:
            return None
        if row.name not in kept:
            return None
        known = kept[row.name].get(name)
        model = known.model if known else Model(id=name, owner=row.name)
        return Offer(replace(model, id=alias, title=""), f"{row.name}/{name}")


def _written(row: ProviderRow, config: Config) -> dict[str, Model]:
    """Names that shin.yaml gives a provider and that are no patterns: a server may have them and list nothing."""
    settings = config.providers.get(row.name)
    names = settings.models if settings else ()
    return {name: Model(id=name, owner=row.name) for name in names if not any(one in name for one in "*?[")}


def _shown(call: Call, offers: Iterable[Offer]) -> list[Offer]:
    """What this caller may know of: the one place where lists are filtered."""
    return [offer for offer in offers if call.may_use(offer.model.id, offer.target)]


def _reply(call: Call, body: Json) -> Reply:
    headers = CIMultiDict({"content-type": "application/json"})
    return Reply(200, headers, call.dialect, body=bodies.encoded(body))


def _joined(query: str) -> dict[str, str]:
    """A query as a mapping; what comes again is joined by commas."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query[:4096]):
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _nobody() -> Unavailable:
    """A fault of ours that waiting does not mend: 400, since agents retry a 503 and hide what it says."""
    message = "The gateway has no provider's key, and so no models; set one, like OPENAI_API_KEY."
    refusal = Unavailable(message, code="no_credential", status=400)
    refusal.retryable = False
    return refusal
