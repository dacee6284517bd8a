"""Who is at the other end of a connection: what it said when it logged in with the proxy, and with each call."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol
from weakref import WeakKeyDictionary

from mitmproxy import connection, http

from shin_gateway import flows
from shin_gateway.call import Call
from shin_gateway.call_keys import credentials
from shin_gateway.caller import ANONYMOUS, Caller
from shin_gateway.diagnostics import Diagnostics
from shin_gateway.errors import Refusal, Unauthenticated, Unavailable
from shin_gateway.files import tickets
from shin_gateway.gateway import Gateway, LivePolicy
from shin_gateway.identity.logins import Login, read_login, wants_login
from shin_gateway.listening.bans import Bans
from shin_gateway.stores.errors import StoreError


class House(Protocol):
    """What is asked about who comes."""

    gateway: Gateway
    diagnostics: Diagnostics
    bans: Bans


class Introductions:
    """Of all connections that are open."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._callers: WeakKeyDictionary[connection.Client, Caller] = WeakKeyDictionary()
        self._logins: WeakKeyDictionary[connection.Client, Login] = WeakKeyDictionary()
        self._agents: WeakKeyDictionary[connection.Client, str] = WeakKeyDictionary()

    # Its program

    def note_agent(self, client: connection.Client, agent: str) -> None:
        self._agents[client] = agent

    def agent(self, client: connection.Client) -> str:
        """Who is at the other end, as far as it has said: its user agent, else its address."""
        return self._agents.get(client) or "{}:{}".format(*client.peername[:2])

    def meet(self, flow: http.HTTPFlow) -> None:
        """A request that could be read shows that its sender trusts us."""
        client = flow.client_conn
        if not client.tls_established:
            return
        agent = flow.request.headers.get("user-agent", "")
        if self._agents.get(client) != agent:
            self._agents[client] = agent
            self._house.diagnostics.note("intercepted", host=flow.request.host, client=agent)

    # Its login

    def identify(self, flow: http.HTTPFlow, live: LivePolicy | None) -> Awaitable[None] | None:
        """Take the proxy's credentials off the request; answer 407 where there have to be others. What is returned has
        to be awaited first."""
        authorization = flow.request.headers.pop("proxy-authorization", None)
        required = self._house.gateway.config.for_others or (live is not None and live.policy.proxy_auth == "required")
        known = self._callers.get(flow.client_conn)  # from CONNECT, or an earlier request on this connection
        if authorization is None and not (required and known in (None, ANONYMOUS)):
            return None
        try:
            login = read_login(authorization or "")
            if self._is_checked(login, live, required):
                return self._check(flow, login)
            caller = self._house.gateway.identity.believed(login)
            if required and caller is ANONYMOUS:
                raise wants_login("The proxy wants a user name.")
            self._callers[flow.client_conn], self._logins[flow.client_conn] = caller, login
        except Unauthenticated as refusal:
            self._turn_away(flow, refusal)
        return None

    def _is_checked(self, login: Login, live: LivePolicy | None, required: bool) -> bool:
        """Whether who logs in is not taken at his word. A name alone says nothing to the addon that asks who calls."""
        if self._house.gateway.config.for_others or self._house.gateway.identity.owns(login.secret):
            return True
        return live is not None and live.policy.identifies and (required or login.secret != "")

    async def _check(self, flow: http.HTTPFlow, login: Login) -> None:
        ip = flow.client_conn.peername[0]
        try:
            self._house.bans.check(ip, login.secret)
            self._callers[flow.client_conn] = await self._house.gateway.identity.of_login(login)
            self._logins[flow.client_conn] = login
            self._house.bans.note_good_key(ip, login.secret)
        except StoreError:
            self._turn_away(flow, Unavailable("Who you are cannot be looked up now.", retry_after=1.0))
        except Refusal as refusal:
            self._house.bans.note_refusal(ip, login.secret, refusal)
            self._turn_away(flow, refusal)

    def _turn_away(self, flow: http.HTTPFlow, refusal: Refusal) -> None:
        client = self.agent(flow.client_conn)
        self._house.diagnostics.note(
            "proxy_auth_missing", host=flow.request.host, client=client, detail=refusal.message
        )
        flow.response = flows.refused(refusal)

    def is_unknown(self, flow: http.HTTPFlow, live: LivePolicy) -> bool:
        """Whether it is not known who sends what passes by, where the policy wants to know."""
        login = self._logins.get(flow.client_conn)
        return live.policy.identifies and (login is None or not login.secret)

    # Its calls

    def introduce(self, call: Call, client: connection.Client) -> None:
        """Say on a call whom it is from, unless an addon of its policy finds that out."""
        call.ip, call.login = client.peername[0], self._logins.get(client)
        if call.policy.identifies:
            call.caller = tickets.holder(call) or ANONYMOUS
            self._guard(call, client)
            return
        identity = self._house.gateway.identity
        try:
            if call.own_key and any(map(identity.is_ours, credentials(call.headers, call.path))):
                raise Unauthenticated("A key of the gateway's is not for a provider: the policy lacks the addon auth.")
            known = self._callers.get(client) or tickets.holder(call)
            if known is None and call.own_key and self._house.gateway.config.for_others and not identity.users:
                raise Unauthenticated("Nobody is let in without a key, and the policy lacks the addon auth.")
            call.caller = known or identity.holder(call)
        except Refusal as refusal:
            call.refusal = refusal
        self._guard(call, client)

    def _guard(self, call: Call, client: connection.Client) -> None:
        """Count keys that turn out wrong. Who has logged in has shown a right one."""
        if client not in self._callers and (call.policy.identifies or not call.own_key):
            self._house.bans.guard(call, client.peername[0])
