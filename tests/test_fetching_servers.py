"""Servers that shin.yaml names: asked in bounded time and size, and never where clouds keep credentials."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from shin_gateway.addresses import ServerGuard, is_loopback
from shin_gateway.fetching.servers import ServerClient, ServerFailed
from shin_gateway.upstream.options import UpstreamOptions
from tests.provider.idp import FAULTS, KEYS, Idp


class Names(AbstractResolver):
    """Every name is at one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=self._address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None: ...


@pytest.fixture
async def idp() -> AsyncIterator[Idp]:
    async with Idp() as one:
        yield one


Open = Callable[..., Any]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    clients: list[ServerClient] = []

    async def begin(options: UpstreamOptions | None = None, **more: Any) -> ServerClient:
        clients.append(ServerClient(options or UpstreamOptions(), **more))
        await clients[-1].start()
        return clients[-1]

    yield begin
    for one in clients:
        await one.close()


async def test_what_a_server_says(idp: Idp, opened: Open) -> None:
    client = await opened()
    answer = await client.get(idp.url(KEYS))
    assert answer.status == 200 and b'"keys"' in answer.body and answer.headers["cache-control"]
    assert "keys" not in repr(answer)
    denied = await client.post(idp.url("/token"), {"client_id": "a&b", "x": "é"})
    assert denied.status == 401


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("error", "redirect", "nonsense", "list")])
async def test_a_server_that_fails(idp: Idp, opened: Open, fault: str) -> None:
    idp.fault = fault
    client, started = await opened(timeout=0.5, limit=1000), time.monotonic()
    with pytest.raises(ServerFailed) as caught:
        await client.get(idp.url(KEYS) + "?token=very-secret")
    assert time.monotonic() - started < 30, "or for good"
    assert "very-secret" not in str(caught.value) and caught.value.__cause__ is None


async def test_redirects_are_not_followed(idp: Idp, opened: Open) -> None:
    idp.fault = "redirect"
    assert (await (await opened()).get(idp.url(KEYS))).status == 302


async def test_a_server_that_is_gone(idp: Idp, opened: Open) -> None:
    await idp.down()
    with pytest.raises(ServerFailed, match="cannot be reached"):
        await (await opened()).get(idp.url(KEYS))


@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200", "0.0.0.0", "224.0.0.1"])
async def test_a_name_that_leads_to_credentials(opened: Open, address: str) -> None:
    client = await opened(resolver=lambda: Names(address))
    with pytest.raises(ServerFailed, match="never asked"):
        await client.get("https://idp.example.com/keys")


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "2852039166"])
async def test_credentials_by_their_address(opened: Open, host: str) -> None:
    """Also where a proxy would connect for us."""
    for options in (UpstreamOptions(), UpstreamOptions(proxy="http://127.0.0.1:9")):
        with pytest.raises(ServerFailed, match="never asked"):
            await (await opened(options)).get(f"https://{host}/keys")


async def test_this_machine_is_not_asked_through_a_proxy(idp: Idp, opened: Open) -> None:
    client = await opened(UpstreamOptions(proxy="http://127.0.0.1:9"))
    assert (await client.get(idp.url(KEYS))).status == 200
    with pytest.raises(ServerFailed):
        await client.get("http://idp.example.com/keys")


async def test_certificates_are_always_checked(opened: Open) -> None:
    assert not ServerClient(UpstreamOptions(insecure=True))._options.insecure


async def test_connections_are_kept_and_bounded(idp: Idp, opened: Open) -> None:
    client = await opened()
    answers = await asyncio.gather(*(client.get(idp.url(KEYS)) for _ in range(100)))
    assert {answer.status for answer in answers} == {200}


@pytest.mark.parametrize(
    ("address", "permitted"),
    [
        ("127.0.0.1", True),
        ("10.0.0.5", True),
        ("93.184.216.34", True),
        ("::1", True),
        ("fd12::1", True),
        ("169.254.1.1", False),
        ("168.63.129.16", False),
        ("192.0.0.192", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("fd20:ce::254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a9fe:a9fe::", False),
        ("::ffff:a9fe:a9fe", False),
        ("::", False),
        ("ff02::1", False),
    ],
)
def test_addresses_of_servers(address: str, permitted: bool) -> None:
    assert ServerGuard().permits(ipaddress.ip_address(address)) is permitted


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "127.9.9.9", "::1", "[::1]", "0x7f000001"])
def test_what_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.example.com", "notlocalhost", "10.0.0.1", "0.0.0.0"])
def test_what_is_not(host: str) -> None:
    assert not is_loopback(host)
