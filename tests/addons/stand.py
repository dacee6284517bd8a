"""A gateway without mitmproxy around it: real policies, chain, upstream and state store, one fake provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multidict import CIMultiDict

from shin_gateway.arrivals import at_gateway
from shin_gateway.call import Call
from shin_gateway.caller import Caller
from shin_gateway.config import Config
from shin_gateway.delivery import Delivery
from shin_gateway.gateway import Gateway
from shin_gateway.outcome import Outcome
from shin_gateway.registry import Registry
from shin_gateway.reply import Reply
from shin_gateway.stores.rows import CallRow
from shin_gateway.stores.state import StateStore
from shin_gateway.upstream import Upstream, UpstreamOptions
from tests.provider import FakeProvider

PROMPT = [{"role": "user", "content": "Say hello to Falcon, please."}]

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
GEMINI = "/v1beta/models/gemini-2.5-pro:generateContent"
GEMINI_STREAM = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"


def chat(text: str = "Say hello, please.", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


def asking(path: str, text: str, stream: bool) -> tuple[str, dict[str, Any]]:
    """A path and body that ask `text` there."""
    if path == GEMINI:
        return GEMINI_STREAM if stream else GEMINI, {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    body: dict[str, Any] = {"model": "gpt-4o", "stream": stream}
    if path == RESPONSES:
        return path, body | {"input": text}
    if path == COMPLETIONS:
        return path, body | {"prompt": text, "model": "gpt-3.5-turbo-instruct"}
    if path == MESSAGES:
        body |= {"model": "claude-sonnet-4-5", "max_tokens": 100}
    return path, body | {"messages": [{"role": "user", "content": text}]}


def _no_wait() -> None:
    """A client that always takes more."""


@dataclass
class Asked:
    """One call and what came of it; `body` is all that the client got."""

    call: Call
    delivery: Delivery
    reply: Reply
    body: bytes = b""

    @property
    def status(self) -> int:
        return self.reply.status

    @property
    def outcome(self) -> Outcome:
        return self.call.outcome

    @property
    def facts(self) -> dict[str, str]:
        return self.call.facts

    def json(self) -> Any:
        return json.loads(self.body)

    async def read(self) -> Asked:
        """Until the end of the reply."""
        if not self.reply.streamed:
            self.body = self.reply.body or b""
        else:
            while await self.next():
                pass
        self.delivery.sent()
        return self

    async def next(self) -> bytes:
        part = await self.delivery.next_part(_no_wait)
        self.body += part
        return part


class Stand:
    """`addons` in a policy file make the chain of the gateway's own listener."""

    def __init__(self, provider: FakeProvider, state: StateStore, folder: Path, addons: list[Path]) -> None:
        self.provider = provider
        self.state = state
        self.policies = folder / "policies"
        self.policies.mkdir(exist_ok=True)
        self._addons = addons
        self.gateway: Gateway
        """The last one that was started."""
        self._started: list[Gateway] = []

    async def start(self, addons: str, more: str = "", **config: Any) -> None:
        """`addons`: lines of YAML. `more`: other keys of the policy. `config`: keys of shin.yaml."""
        lines = "".join(f"  {line}\n" for line in addons.splitlines())
        (self.policies / "gateway.yaml").write_text(f"hosts: [gateway]\naddons:\n{lines}{more}\n")
        keys = {"api_key": "env:SHIN_TEST_KEY"}
        rows = {"openai": "/v1", "anthropic": "", "gemini": "", "openrouter": "/api/v1", "ollama": "/v1"}
        providers = {name: {"base_url": self.provider.url + path, **keys} for name, path in rows.items()}
        self.gateway = Gateway(
            config=Config.model_validate({"providers": providers, **config}),
            registry=Registry.load(self._addons),
            policy_dirs=[self.policies],
            state=self.state,
            upstream=Upstream(UpstreamOptions()),
        )
        self._started.append(self.gateway)
        await self.gateway.start()

    def add(self, file: Path, source: str) -> None:
        """An addon of the test's own, in a folder of its own. Before `start`."""
        file.parent.mkdir(exist_ok=True)
        file.write_text(source)
        self._addons = [*self._addons, file.parent]

    async def stop(self) -> None:
        while self._started:
            await self._started.pop().stop()

    def call(
        self,
        body: Any,
        path: str = CHAT,
        *,
        headers: Mapping[str, str] | None = None,
        caller: str = "ann",
        method: str = "POST",
    ) -> Delivery:
        """A call that is about to be answered; `body` is bytes, or becomes JSON."""
        sent = CIMultiDict({"content-type": "application/json", **(headers or {})})
        arrival = at_gateway(self.gateway.providers, method, path, sent)
        live = self.gateway.find_gateway()
        assert arrival is not None and live is not None
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        call = Call(
            method=method, headers=sent, arrival=arrival, host="gateway", policy=live.policy, raw_body=raw,
            caller=Caller(caller, "user"),
        )  # fmt: skip
        return Delivery(call, live.take(call))

    async def begin(self, body: Any, path: str = CHAT, **how: Any) -> Asked:
        """The call with its head answered, nothing of a stream read yet."""
        delivery = self.call(body, path, **how)
        reply = await delivery.answer()
        assert reply is not None
        return Asked(delivery.call, delivery, reply)

    async def ask(self, body: Any, path: str = CHAT, **how: Any) -> Asked:
        """The call with its whole reply read."""
        return await (await self.begin(body, path, **how)).read()

    async def settled(self) -> None:
        """Until all that runs after the ends of calls has run."""
        live = self.gateway.find_gateway()
        assert live is not None
        await live.drain()

    async def rows(self) -> list[CallRow]:
        await self.settled()
        assert await self.state.rows.flush(10) == 0
        entries = await self.state.run("XRANGE", "shin:{rows}", "-", "+")
        return [CallRow.decode(entry[1][b"r"] if isinstance(entry[1], dict) else entry[1][1]) for entry in entries]

    async def row(self) -> CallRow:
        (row,) = await self.rows()
        return row
