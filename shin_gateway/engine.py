"""mitmproxy's master with what proxying needs and no more, and an event loop whose ports workers share."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography import x509
from mitmproxy import certs, exceptions, flow, hooks, master, options
from mitmproxy.addonmanager import AddonManager, traverse
from mitmproxy.addons import (
    core,
    disable_h2c,
    dns_resolver,
    errorcheck,
    next_layer,
    proxyserver,
    script,
    tlsconfig,
    upstream_auth,
)
from mitmproxy.proxy import context
from mitmproxy.proxy.commands import StartHook

from shin_gateway.bridge import Bridge

log = logging.getLogger(__name__)


class SharedPortLoop(asyncio.SelectorEventLoop):
    """Listens with SO_REUSEPORT, so that all workers share the ports; mitmproxy has no option for it."""

    async def create_server(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("reuse_port", True)
        return await super().create_server(*args, **kwargs)


@dataclass
class ShinRestHook(StartHook):
    """A hook that was begun here and now, and turned out to have something to wait for."""

    rest: Awaitable[None]


class Addons(AddonManager):
    """mitmproxy's addon manager, which remembers who listens to which hook.

    The original asks every addon at every hook, inside a context manager each time: a fifth of the
    time of a call. Who listens changes only when an addon comes or goes.
    """

    def __init__(self, owner: master.Master) -> None:
        super().__init__(owner)  # type: ignore[no-untyped-call]
        self._listeners: dict[str, list[Callable[..., Any]]] = {}
        self._waiting: dict[str, bool] = {}
        """Whether one of a hook's listeners is a coroutine function."""

    def register(self, addon: Any) -> Any:
        self._listeners = {}
        return super().register(addon)  # type: ignore[no-untyped-call]

    def remove(self, addon: Any) -> None:
        self._listeners = {}
        super().remove(addon)  # type: ignore[no-untyped-call]

    def clear(self) -> None:
        self._listeners = {}
        super().clear()  # type: ignore[no-untyped-call]

    def add(self, *addons: Any) -> None:
        super().add(*addons)  # type: ignore[no-untyped-call]
        self._listeners = {}  # what was asked for while an addon loaded did not see it yet

    async def handle_lifecycle(self, event: hooks.Hook) -> None:
        if isinstance(event, ShinRestHook):
            await event.rest
            return
        await self.trigger_event(event)
        message = _args(event)[0]
        if isinstance(message, flow.Flow) and self._listening("update"):
            await self.trigger_event(hooks.UpdateHook([message]))

    def run_now(self, event: StartHook) -> StartHook | None:
        """Run a hook's listeners here and now; what is returned has yet to be run, because one has to wait.

        Scripts that somebody loads beside the bridge may hold a flow back, so with them every hook takes the long way.
        """
        listeners = self._listening(event.name)
        if self.lookup["scriptloader"].addons or self._waiting[event.name]:
            return event
        for place, listener in enumerate(listeners, 1):
            try:
                result = listener(*_args(event))
            except Exception as error:
                log.error("a mitmproxy addon failed at %s", event.name, exc_info=error)
                continue
            if result is not None and inspect.isawaitable(result):
                return ShinRestHook(self._rest(event, result, listeners[place:]))
        return None

    async def _rest(self, event: StartHook, first: Awaitable[Any], listeners: list[Callable[..., Any]]) -> None:
        """What is left to do of a hook one of whose listeners waits."""
        try:
            await first
            for listener in listeners:
                if inspect.isawaitable(result := listener(*_args(event))):
                    await result
        except Exception as error:
            log.error("a mitmproxy addon failed at %s", event.name, exc_info=error)

    async def trigger_event(self, event: hooks.Hook) -> None:
        for listener in self._listening(event.name):
            try:
                result = listener(*_args(event))
                if result is not None and inspect.isawaitable(result):
                    await result
            except exceptions.AddonHalt:
                return
            except exceptions.OptionsError:
                raise
            except Exception as error:
                log.error("a mitmproxy addon failed at %s", event.name, exc_info=error)

    def _listening(self, name: str) -> list[Callable[..., Any]]:
        listeners = self._listeners.get(name)
        if listeners is None:
            found = (getattr(addon, name, None) for addon in traverse(self.chain))
            listeners = self._listeners[name] = [one for one in found if callable(one)]
            self._waiting[name] = any(map(inspect.iscoroutinefunction, listeners))
        return listeners


def _args(hook: hooks.Hook) -> list[Any]:
    """As the original's, which asks again and again what fields a hook has."""
    return [getattr(hook, name) for name in _fields(type(hook))]  # type: ignore[arg-type]


@cache
def _fields(kind: type[hooks.Hook]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))  # type: ignore[arg-type]


class TlsConfig(tlsconfig.TlsConfig):
    """mitmproxy's, with certificates that hold only names which our CA's constraints permit.

    The original puts an address into the common name too, where OpenSSL takes it for a host's name, and the
    listener's own address beside the host when a client sends no server name.
    """

    def get_cert(self, conn_context: context.Context) -> certs.CertStoreEntry:
        client, server = conn_context.client, conn_context.server
        asked = [client.sni, server.address[0] if server.address else None]
        names = dict.fromkeys(name for name in asked if name) or [client.sockname[0]]
        found = [tlsconfig._ip_or_dns_name(name) for name in names]
        common = next((name.value for name in found if isinstance(name, x509.DNSName)), None)
        return self.certstore.get_cert(common, found)


def make_master(bridge: Bridge, opts: options.Options) -> master.Master:
    """mitmproxy with the bridge. mitmdump's full set of addons costs almost half of the throughput."""
    made = master.Master(opts)
    opts.changed.disconnect(made.addons._configure_all)
    made.addons = Addons(made)
    made.addons.add(
        core.Core(),
        disable_h2c.DisableH2C(),
        bridge,
        script.ScriptLoader(),
        proxyserver.Proxyserver(),
        dns_resolver.DnsResolver(),
        next_layer.NextLayer(),
        TlsConfig(),
        upstream_auth.UpstreamAuth(),
        errorcheck.ErrorCheck(),
    )
    return made
