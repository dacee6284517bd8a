"""What a client names by URL: fetched from public addresses only, bounded, and of the right kind.

No test connects to anything but loopback: refusals are seen before a socket exists.
"""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import gzip
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shin_gateway.addresses import AddressGuard, NotPermitted, literal
from shin_gateway.errors import Invalid, Refusal, TooLarge
from shin_gateway.fetching import Fetched, Fetcher, FetchLimits, Memory
from shin_gateway.translation.form import Media
from shin_gateway.upstream import UpstreamOptions

NO_OPTIONS = UpstreamOptions()
FIELD = "messages[0].content[1].image_url"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
NOT_ALLOWED = f"{FIELD}: the address is not allowed."


class Names(AbstractResolver):
    """A resolver that knows a few names and never asks anybody. Each answer in a list serves one look-up."""

    def __init__(self, names: dict[str, list[list[str]]]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        answers = self.names[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [_row(host, address, port) for address in addresses]

    async def close(self) -> None:
        pass


def _row(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that would leave this machine fails the test."""
    owner = next(cls for cls in asyncio.SelectorEventLoop.__mro__ if "sock_connect" in vars(cls))
    connect = owner.sock_connect  # type: ignore[attr-defined]

    async def only_loopback(self: object, sock: socket.socket, address: tuple[str, int]) -> None:
        if not ipaddress.ip_address(address[0]).is_loopback:
            raise AssertionError(f"a test wanted to connect to {address[0]}")
        await connect(self, sock, address)

    monkeypatch.setattr(owner, "sock_connect", only_loopback)


@asynccontextmanager
async def a_fetcher(
    resolver: Names | None = None, options: UpstreamOptions = NO_OPTIONS, **limits: object
) -> AsyncIterator[Fetcher]:
    names = resolver or Names({})
    fetcher = Fetcher(FetchLimits(**limits), options, resolver=lambda: names)  # type: ignore[arg-type]
    await fetcher.start()
    try:
        yield fetcher
    finally:
        await fetcher.close()


@asynccontextmanager
async def fetching(
    resolver: Names | None = None, options: UpstreamOptions = NO_OPTIONS, **limits: object
) -> AsyncIterator[Callable[..., Awaitable[Fetched]]]:
    async with a_fetcher(resolver, options, **limits) as fetcher:
        yield lambda url, kind="image": fetcher.fetch(url, kind, FIELD)


@asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server on loopback; gives its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def saying(
    body: bytes, content_type: str | None = "image/png", **headers: str
) -> Callable[..., Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        said = {"content-type": content_type} if content_type is not None else {"content-type": ""}
        return web.Response(
            body=body, headers={**said, **{name.replace("_", "-"): text for name, text in headers.items()}}
        )

    return answer


ALLOW = ("127.0.0.1",)

# ── addresses ───────────────────────────────────────────────────────────────────────────────────

CLOSED = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.1.1",
    "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.255", "192.0.0.192", "192.0.0.9", "192.0.2.1",
    "168.63.129.16", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808",
    "64:ff9b:1::7f00:1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1",
    "2001:4860::5efe:7f00:1", "2001:4860::200:5efe:a00:1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1",
    "fe80::1%eth0", "2001:4860:4860::8888%eth0", "fec0::1", "ff02::1", "4000::1",
]  # fmt: skip
OPEN = [
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "2001:4860:4860::8888",
    "2606:4700::1111",
]


@pytest.mark.parametrize("address", CLOSED)
def test_addresses_that_no_client_may_name(address: str) -> None:
    guard = AddressGuard()
    assert not guard.permits(ipaddress.ip_address(address))
    with pytest.raises(NotPermitted):
        guard.socket_for((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 80)))


@pytest.mark.parametrize("address", OPEN)
def test_public_addresses_are_open(address: str) -> None:
    assert AddressGuard().permits(ipaddress.ip_address(address))
    assert not AddressGuard(
        ["8.8.0.0/16", "1.1.1.1", "100.0.0.0/8", "172.32.0.1", "192.0.1.1", "2001:4860::/32", "2606:4700::/32"]
    ).permits(ipaddress.ip_address(address))


def test_addresses_of_this_machine_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[str] = []
    monkeypatch.setattr(
        "shin_gateway.addresses._can_bind", lambda address: bound.append(address) or address == "8.8.4.4"
    )  # type: ignore[func-returns-value]
    assert not AddressGuard().permits(ipaddress.ip_address("8.8.4.4"))
    assert AddressGuard().permits(ipaddress.ip_address("8.8.8.8"))
    assert bound == ["8.8.4.4", "192.0.2.1", "8.8.8.8"]
    monkeypatch.setattr(
        "shin_gateway.addresses._can_bind", lambda address: True
    )  # a kernel that binds anything tells nothing
    assert AddressGuard().permits(ipaddress.ip_address("8.8.4.4"))


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"), ("127.0.0.1.", "127.0.0.1"), ("127.1", "127.0.0.1"), ("0x7f.1", "127.0.0.1"), ("0x7f000001", "127.0.0.1"),
        ("2130706433", "127.0.0.1"), ("0177.0.0.01", "127.0.0.1"), ("017700000001", "127.0.0.1"), ("0", "0.0.0.0"), ("[::1]", "::1"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"), ("fe80::1%25eth0", "fe80::1%25eth0"),
        ("localhost", None), ("example.com", None), ("", None), ("1.2.3.4.5", None), ("256.1.1.1", None), ("ü", None),
    ],
)  # fmt: skip
def test_addresses_in_odd_spellings(host: str, address: str | None) -> None:
    found = literal(host)
    assert found == (ipaddress.ip_address(address) if address else None)


# ── attacks ─────────────────────────────────────────────────────────────────────────────────────

ATTACKS = [
    "http://127.0.0.1/", "http://127.0.0.1:6379/", "http://127.1/", "http://0x7f.1/", "http://0x7f.0x0.0x0.0x1/", "http://0x7f000001/", "http://2130706433/",
    "http://0177.0.0.1/", "http://017700000001/", "http://0/", "http://0.0.0.0:4000/", "http://127.0.0.1./", "http://[::1]/", "http://[::]/",
    "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[0:0:0:0:0:ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
    "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://100.100.100.200/", "http://168.63.129.16/", "http://192.0.0.192/",
    "http://10.0.0.1/", "https://192.168.0.1/", "http://172.16.0.1/", "http://0xA9FEA9FE/", "http://2852039166/", "http://[fe80::1%25eth0]/",
    "http://１２７.０.０.１/", "http://127。0。0。1/", "http://①②⑦.⓪.⓪.①/",
    "http://inside.example/", "http://INSIDE.example./", "http://six.example/", "http://meta.example/", "http://mixed-inside.example/",
    "http://localhost/", "http://gateway/",
]  # fmt: skip
INSIDE = {
    "inside.example": [["127.0.0.1"]], "inside.example.": [["127.0.0.1"]], "INSIDE.example.": [["127.0.0.1"]], "six.example": [["::1", "fe80::1%eth0"]],
    "meta.example": [["169.254.169.254"]], "mixed-inside.example": [["10.0.0.1", "::ffff:10.0.0.1"]], "localhost": [["127.0.0.1", "::1"]],
    "gateway": [["172.17.0.2"]],
}  # fmt: skip


@pytest.mark.parametrize("url", ATTACKS)
async def test_an_address_inside_is_refused_however_it_is_spelt(url: str) -> None:
    async with fetching(resolver=Names(dict(INSIDE))) as fetch:
        with pytest.raises(Invalid) as error:
            await fetch(url)
    assert error.value.message == NOT_ALLOWED
    assert (error.value.status, error.value.code, error.value.param) == (400, "address_not_allowed", FIELD)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.com/a.png", "only http and https"), ("file:///etc/passwd", "only http and https"), ("gs://bucket/a.png", "only http and https"),
        ("gopher://127.0.0.1:6379/_x", "only http and https"), ("unix:/var/run/x.sock", "only http and https"), ("//example.com/a", "only http and https"),
        ("example.com/a.png", "only http and https"), ("", "only http and https"), ("http://", "only http and https"), ("http:///a", "only http and https"),
        ("http://user:pass@127.0.0.1/", "user name or password"), ("http://user@example.com/", "user name or password"), ("http://:@example.com/", "user name or password"),
        ("http://example.com@127.0.0.1/", "user name or password"),
        ("http://example.com:99999/", "not a URL|could not"), ("http://example.com:x/", "not a URL"), ("http://[::1/", "not a URL"), ("http://[zz]/", "not a URL"),
        ("http://example.com/" + "a" * 9000, "longer than 8192"), ("http://nowhere.example/", "host was not found"), ("http://exa\r\nmple.com/", "not a URL|host was not found"),
        ("http://127.0.0.1%2f@example.com/", "user name or password"), ("http://\ud800/", "not a URL|not found"), ("http://a..b/", "not a URL|not found"),
        ("http://" + "a" * 300 + ".example/", "not a URL|not found"), ("http://127%2e0%2e0%2e1/", "not a URL|not found|not allowed"),
    ],
)  # fmt: skip
async def test_other_urls_are_refused_with_a_reason(url: str, why: str) -> None:
    async with fetching() as fetch:
        with pytest.raises(Invalid, match=why) as error:
            await fetch(url)
    assert error.value.param == FIELD
    assert error.value.message.startswith(FIELD)


async def test_a_name_that_changes_its_address_between_look_ups_gains_nothing() -> None:
    names = Names({"rebind.example": [["8.8.8.8"], ["127.0.0.1"]]})
    async with fetching(resolver=names) as fetch:
        with pytest.raises(BaseException, match="wanted to connect to 8.8.8.8"):
            await fetch("http://rebind.example/")  # the address that was checked is the one it would go to
        with pytest.raises(Invalid, match="not allowed"):
            await fetch("http://rebind.example/")
    assert names.asked == ["rebind.example"] * 2


async def test_of_several_addresses_only_public_ones_are_tried() -> None:
    names = Names({"both.example": [["127.0.0.1", "8.8.8.8", "::1"]]})
    async with fetching(resolver=names) as fetch:
        with pytest.raises(BaseException, match="wanted to connect to 8.8.8.8"):
            await fetch("http://both.example/")


async def test_what_slips_past_the_resolver_is_stopped_at_the_socket() -> None:
    guard = AddressGuard()
    for address in ("127.0.0.1", "::1", "fe80::1%eth0"):
        with pytest.raises(NotPermitted):
            guard.socket_for((socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, 80, 0, 0)))
    guard.socket_for((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))).close()


# ── redirects ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/", "http://10.0.0.1/", "//127.0.0.2/", "http://inside.example/", "http://2130706434/", "http://[::1]/",
    ],
)  # fmt: skip
async def test_every_redirect_is_checked_again(location: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"location": location})

    async with serving(answer) as host, fetching(resolver=Names(dict(INSIDE)), allow=ALLOW) as fetch:
        with pytest.raises(Invalid) as error:
            await fetch(f"http://{host}/")
    assert error.value.message == NOT_ALLOWED


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("file:///etc/passwd", "only http"), ("http://a:b@127.0.0.1/", "user name"), ("", "redirects more than 3"), ("/again", "redirects more than 3"),
        ("http://[", "not a URL"), ("http://127.0.0.1:99999/", "not a URL|could not"),
    ],
)  # fmt: skip
async def test_bad_redirects(location: str, why: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"location": location})

    async with serving(answer) as host, fetching(allow=ALLOW) as fetch:
        with pytest.raises(Invalid, match=why):
            await fetch(f"http://{host}/")


@pytest.mark.parametrize(("hops", "arrives"), [(0, True), (1, True), (3, True), (4, False)])
async def test_three_redirects_are_followed(hops: int, arrives: bool) -> None:
    async def answer(ask: web.Request) -> web.Response:
        left = int(ask.match_info["path"])
        assert "?" not in ask.raw_path or ask.raw_path.endswith("?x=%2f%7E")  # signatures depend on it
        if left:
            return web.Response(
                status=[301, 302, 303, 307, 308][left], headers={"location": f"./{left - 1}?x=%2f%7E#part"}
            )
        return web.Response(body=PNG, content_type="image/png")

    async with serving(answer) as host, fetching(allow=ALLOW) as fetch:
        if arrives:
            assert await fetch(f"http://{host}/{hops}") == Fetched("image/png", PNG)
        else:
            with pytest.raises(Invalid, match="more than 3 times"):
                await fetch(f"http://{host}/{hops}")


# ── what is sent, what comes ────────────────────────────────────────────────────────────────────


async def test_nothing_of_ours_or_the_clients_is_sent() -> None:
    seen: list[web.Request] = []

    async def answer(ask: web.Request) -> web.Response:
        seen.append(ask)
        return web.Response(body=PNG, content_type="image/png", headers={"set-cookie": "a=b"})

    async with serving(answer) as host, fetching(allow=ALLOW) as fetch:
        await fetch(f"http://{host}/a%2Fb?sig=x%2By%7E&e=1#fragment")
        await fetch(f"http://{host}/a%2Fb?sig=x%2By%7E&e=1")
    assert len(seen) == 2
    assert {ask.raw_path for ask in seen} == {"/a%2Fb?sig=x%2By%7E&e=1"}
    assert {name.lower() for ask in seen for name in ask.headers} <= {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "connection",
    }
    assert seen[0].headers["user-agent"] == "shin-gateway"


@pytest.mark.parametrize(
    ("kind", "said", "body", "mime"),
    [
        ("image", "image/png", PNG, "image/png"),
        ("image", "image/jpeg", PNG, "image/png"),  # the bytes know better
        ("image", "IMAGE/PNG; charset=binary", PNG, "image/png"),
        ("image", "", PNG, "image/png"),
        ("image", "binary/octet-stream", PNG, "image/png"),
        ("image", "image/webp", b"unknown bytes", "image/webp"),
        ("document", "application/pdf", b"%PDF-1.7", "application/pdf"),
        ("document", "application/octet-stream", b"%PDF-1.7", "application/pdf"),
        ("document", "text/plain; charset=utf-8", b"hello", "text/plain"),
        ("document", "text/csv", b"a,b", "text/csv"),
        ("audio", "audio/wav", b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        ("audio", "audio/x-wav", b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        ("video", "video/mp4", b"\0\0\0\x18ftypisom", "video/mp4"),
    ],
)
async def test_the_type_of_what_came(kind: str, said: str, body: bytes, mime: str) -> None:
    async with serving(saying(body, said)) as host, fetching(allow=ALLOW) as fetch:
        assert await fetch(f"http://{host}/", kind) == Fetched(mime, body)


@pytest.mark.parametrize(
    ("kind", "said", "body", "why"),
    [
        ("image", "text/html", b"<html>log in</html>", "sent text/html, not an image"),
        ("image", "application/pdf", b"%PDF-1.7", "not an image"),
        ("image", "", b"<html>", "content of no known type, not an image"),
        ("image", "application/octet-stream", b"%PDF-1.7", "not an image"),
        ("document", "image/png", PNG, "not a document"),
        ("audio", "image/png", PNG, "not audio"),
        ("image", "image/png", b"", "sent nothing"),
    ],
)
async def test_content_of_another_kind_is_refused(kind: str, said: str, body: bytes, why: str) -> None:
    async with serving(saying(body, said)) as host, fetching(allow=ALLOW) as fetch:
        with pytest.raises(Invalid, match=why):
            await fetch(f"http://{host}/", kind)


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 404, 500, 503])
async def test_another_status_than_200_is_no_image(status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"content-type": "image/png"})

    async with serving(answer) as host, fetching(allow=ALLOW) as fetch:
        with pytest.raises(Invalid, match=f"answered {status}"):
            await fetch(f"http://{host}/")


@pytest.mark.parametrize(
    "spelling",
    ["HTTP://{}/a", "Http://{}", "http://{}/a b?c=d e", "http://{}/grüße.png", "http://{}?x=1", " http://{}/a "],
)
async def test_urls_as_people_write_them(spelling: str) -> None:
    async with serving(saying(PNG)) as host, fetching(allow=ALLOW) as fetch:
        assert (await fetch(spelling.format(host))).data == PNG


async def test_compressed_content() -> None:
    async with serving(saying(gzip.compress(PNG), content_encoding="gzip")) as host, fetching(allow=ALLOW) as fetch:
        assert await fetch(f"http://{host}/") == Fetched("image/png", PNG)


@pytest.mark.parametrize(
    ("body", "coding", "error"),
    [
        (gzip.compress(b"\0" * 50_000_000, mtime=0), "gzip", "more than 1000000 bytes"),
        (b"no gzip", "gzip", "compression"),
        (gzip.compress(PNG, mtime=0)[:-9], "gzip", "compression"),
        (PNG, "secret-coding", "compression"),
    ],
)
async def test_broken_and_bursting_compression(body: bytes, coding: str, error: str) -> None:
    async with (
        serving(saying(body, content_encoding=coding)) as host,
        fetching(allow=ALLOW, max_bytes=1_000_000) as fetch,
    ):
        with pytest.raises(Refusal, match=error) as refusal:
            await fetch(f"http://{host}/")
    assert refusal.value.param == FIELD


@pytest.mark.parametrize("chunked", [True, False])
async def test_too_much_is_refused_before_it_was_read(chunked: bool) -> None:
    sent = 0

    async def answer(ask: web.Request) -> web.StreamResponse:
        nonlocal sent
        reply = web.StreamResponse(headers={"content-type": "image/png"})
        if not chunked:
            reply.content_length = 50_000_000
        await reply.prepare(ask)
        for _ in range(500):
            await reply.write(b"\0" * 100_000)
            sent += 100_000
        return reply

    async with serving(answer) as host, fetching(allow=ALLOW, max_bytes=1_000_000) as fetch:
        with pytest.raises(TooLarge, match="more than 1000000 bytes") as error:
            await fetch(f"http://{host}/")
    assert (error.value.status, error.value.param) == (413, FIELD)
    assert sent < 40_000_000


async def test_a_server_that_dawdles_is_left() -> None:
    async def answer(ask: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"content-type": "image/png"})
        await reply.prepare(ask)
        for _ in range(100):
            await reply.write(b"\0")
            await asyncio.sleep(0.05)
        return reply

    async with serving(answer) as host, fetching(allow=ALLOW, timeout=0.3) as fetch:
        with pytest.raises(Invalid, match="in time"):
            await fetch(f"http://{host}/")


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\ncontent-type: image/png\r\n\r\nabc",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    ],
)
async def test_a_server_that_speaks_nonsense(bytes_sent: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes_sent)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, fetching(allow=ALLOW) as fetch:
        with pytest.raises(Invalid, match="could not be fetched") as error:
            await fetch(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert "127.0.0.1" not in error.value.message


async def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        async with fetching(allow=ALLOW) as fetch:
            with pytest.raises(Invalid, match="could not be fetched"):
                await fetch(f"http://127.0.0.1:{held.getsockname()[1]}/")


async def test_certificates_are_verified(tmp_path: Path) -> None:
    certificate = tmp_path / "cert.pem"
    certificate.write_bytes(self_signed())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with serving(saying(PNG), tls=context) as host:
        url = f"https://{host}/"
        async with fetching(allow=ALLOW) as fetch:
            with pytest.raises(Invalid, match="certificate could not be verified"):
                await fetch(url)
        for options in (UpstreamOptions(trusted_ca=str(certificate)), UpstreamOptions(insecure=True)):
            async with fetching(options=options, allow=ALLOW) as fetch:
                assert (await fetch(url)).data == PNG


def self_signed() -> bytes:
    """Key and certificate of 127.0.0.1, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - dt.timedelta(1), now + dt.timedelta(1))
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


async def test_no_more_run_at_once_than_said() -> None:
    running, most = 0, 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return web.Response(body=PNG, content_type="image/png")

    async with serving(answer) as host, fetching(allow=ALLOW, at_once=3) as fetch:
        await asyncio.gather(*(fetch(f"http://{host}/{at}") for at in range(12)))
    assert most == 3


async def test_one_who_waits_too_long_for_a_place_is_told() -> None:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(0.25)
        return web.Response(body=PNG, content_type="image/png")

    async with serving(answer) as host, fetching(allow=ALLOW, at_once=1, timeout=0.4) as fetch:
        results = await asyncio.gather(*(fetch(f"http://{host}/{at}") for at in range(4)), return_exceptions=True)
    assert sum(isinstance(one, Fetched) for one in results) == 1
    assert sum(isinstance(one, Invalid) for one in results) == 3


async def test_who_leaves_cancels_the_fetch() -> None:
    gone = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, fetching(allow=ALLOW) as fetch:
        task = asyncio.ensure_future(fetch(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 20)


# ── what a policy may allow ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("allow", "host", "reaches"),
    [
        (("files.internal",), "files.internal", True), (("*.internal",), "files.internal", True), (("*",), "files.internal", True),
        (("FILES.internal.",), "files.INTERNAL", True), (("files.internal",), "other.internal", False), (("internal",), "files.internal", False),
        (("files.internal:1",), "files.internal", False), (("127.0.0.1",), "files.internal", False), ((), "files.internal", False),
    ],
)  # fmt: skip
async def test_hosts_that_are_allowed_by_name(allow: tuple[str, ...], host: str, reaches: bool) -> None:
    names = Names({name: [["127.0.0.1"]] for name in ("files.internal", "files.INTERNAL", "other.internal")})
    async with serving(saying(PNG)) as address, fetching(resolver=names, allow=allow) as fetch:
        url = f"http://{host}:{address.rpartition(':')[2]}/"
        if reaches:
            assert (await fetch(url)).data == PNG
        else:
            with pytest.raises(Invalid, match="not allowed"):
                await fetch(url)


@pytest.mark.parametrize("allow", ["http://x", "a b", "x*y.com"])
def test_a_pattern_that_is_none_is_told_at_once(allow: str) -> None:
    with pytest.raises(ValueError):
        Fetcher(FetchLimits(allow=(allow,)), UpstreamOptions())


async def test_behind_a_proxy_only_what_is_allowed_by_name() -> None:
    """The proxy resolves names itself, so the address cannot be checked."""
    asked: list[str] = []

    async def answer(ask: web.Request) -> web.Response:
        asked.append(str(ask.url.host))
        return web.Response(body=PNG, content_type="image/png")

    async with (
        serving(answer) as proxy,
        fetching(options=UpstreamOptions(proxy=f"http://{proxy}"), allow=("files.internal",)) as fetch,
    ):
        # The proxy's own address is an address, which needs no resolving.
        assert (await fetch("http://files.internal/a.png")).data == PNG
        with pytest.raises(Invalid, match="proxy stands between"):
            await fetch("http://example.com/a.png")
        with pytest.raises(Invalid, match="proxy stands between"):
            await fetch("http://8.8.8.8/a.png")
    assert len(asked) == 1


# ── the media of a call ─────────────────────────────────────────────────────────────────────────


async def test_the_media_of_a_call_are_fetched_once_each_and_put_in_place() -> None:
    seen: list[str] = []

    async def answer(ask: web.Request) -> web.Response:
        seen.append(ask.path)
        large = b"\0" * 2_000_000 if "large" in ask.path else b""
        return web.Response(body=PNG + large, content_type="image/png")

    async with serving(answer) as host, a_fetcher(allow=ALLOW) as fetcher:
        media = [Media(kind="image", url=f"http://{host}/{name}.png") for name in ("a", "b", "a", "large")]
        await fetcher.inline(media, {}, "")
    assert sorted(seen) == ["/a.png", "/b.png", "/large.png"]
    assert [(one.url, one.mime, one.name) for one in media[:3]] == [
        ("", "image/png", name) for name in ("a.png", "b.png", "a.png")
    ]
    assert all(base64.b64decode(one.data).startswith(PNG) for one in media)


async def test_an_error_names_the_place_in_the_clients_call() -> None:
    body = {
        "messages": [
            {"content": [{"type": "text"}, {"type": "image_url", "image_url": {"url": "http://10.0.0.1/a.png"}}]}
        ]
    }
    async with a_fetcher(allow=ALLOW) as fetcher:
        with pytest.raises(Invalid) as error:
            await fetcher.inline([Media(kind="image", url="http://10.0.0.1/a.png")], body, "")
        assert error.value.message == "messages[0].content[1].image_url.url: the address is not allowed."
        with pytest.raises(Invalid, match="image: the address is not allowed"):
            await fetcher.inline([Media(kind="image", url="http://10.0.0.1/a.png")], {}, "")
        await fetcher.inline([], body, "")


async def test_the_first_error_cancels_the_other_fetches() -> None:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with serving(answer) as host, a_fetcher(allow=ALLOW) as fetcher:
        media = [Media(kind="image", url=f"http://{host}/slow"), Media(kind="image", url="http://10.0.0.1/")]
        async with asyncio.timeout(20):
            with pytest.raises(Invalid, match="not allowed"):
                await fetcher.inline(media, {}, "")


async def test_a_call_names_only_so_many() -> None:
    async with a_fetcher(of_one_call=2) as fetcher:
        with pytest.raises(Invalid, match="more than 2 URLs"):
            await fetcher.inline([Media(kind="image", url="http://10.0.0.1/")] * 3, {}, "")


@pytest.mark.parametrize("names", ["abcd", "aaaa"])
async def test_all_media_of_a_call_have_a_limit_together(names: str) -> None:
    answer = saying(PNG + b"x" * 300_000)
    limits = {"max_bytes": 400_000, "bytes_of_one_call": 1_000_000}
    async with serving(answer) as host, a_fetcher(allow=ALLOW, **limits) as fetcher:
        for count, fits in ((3, True), (4, False), (3, True)):  # fetched before, it counts as much
            media = [Media(kind="image", url=f"http://{host}/{name}") for name in names[:count]]
            if fits:
                await fetcher.inline(media, {}, "")
                continue
            with pytest.raises(TooLarge, match="more than 1000000 bytes together"):
                await fetcher.inline(media, {}, "")


async def test_one_medium_may_be_as_large_as_its_own_limit() -> None:
    answer, limits = saying(PNG + b"x" * 300_000), {"max_bytes": 400_000, "bytes_of_one_call": 1000}
    async with serving(answer) as host, a_fetcher(allow=ALLOW, **limits) as fetcher:
        await fetcher.inline([Media(kind="image", url=f"http://{host}/")], {}, "")


async def test_names_that_nobody_answers_for_hold_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server of the client's own may take as long as the machine lets it."""
    released, asked = threading.Event(), []

    def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        released.wait(10)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    fetcher = Fetcher(FetchLimits(timeout=2), NO_OPTIONS)
    await fetcher.start()
    media = [Media(kind="image", url=f"http://a{at}.example/") for at in range(60)]
    fetching = asyncio.create_task(fetcher.inline(media, {}, ""))
    try:
        await asyncio.sleep(0.3)
        async with asyncio.timeout(8):  # those would take ten seconds
            assert await asyncio.to_thread(lambda: 1) == 1
        assert 0 < len(asked) < 60
        with pytest.raises(Invalid):
            await fetching
    finally:
        released.set()
        await fetcher.close()


@pytest.mark.parametrize(("cache_control", "asked"), [("", 2), ("max-age=60", 2), ("private, No-Store", 4)])
async def test_what_was_fetched_is_remembered_for_its_tenant(cache_control: str, asked: int) -> None:
    seen: list[str] = []

    async def answer(ask: web.Request) -> web.Response:
        seen.append(ask.path)
        return web.Response(body=PNG, content_type="image/png", headers={"cache-control": cache_control})

    async with serving(answer) as host, a_fetcher(allow=ALLOW) as fetcher:
        for tenant in ("a", "a", "b", "a"):
            assert (await fetcher.fetch(f"http://{host}/", "image", FIELD, tenant)).data == PNG
    assert len(seen) == asked


def test_memory_is_bounded_in_bytes_and_time() -> None:
    memory = Memory(100, 60)
    for at in range(10):
        memory.put(bytes([at]), Fetched("image/png", b"x" * 20))
    assert [at for at in range(10) if memory.get(bytes([at]))] == [5, 6, 7, 8, 9]
    memory.put(b"large", Fetched("image/png", b"x" * 26))
    assert memory.get(b"large") is None
    memory.put(bytes([9]), Fetched("image/png", b"y" * 20))
    assert [at for at in range(10) if memory.get(bytes([at]))] == [5, 6, 7, 8, 9]
    brief = Memory(100, -1)
    brief.put(b"a", Fetched("image/png", b"x"))
    assert brief.get(b"a") is None
