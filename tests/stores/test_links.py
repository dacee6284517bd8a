"""Sentinel, Cluster and TLS with real servers."""

from __future__ import annotations

import asyncio
import signal
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shin_gateway.stores.errors import CommandError, StoreError
from shin_gateway.stores.state import StateStore
from tests.ports import free_port
from tests.stores.servers import Server, Start, redis_server, row, until


@pytest.fixture
def cluster(start: Start) -> list[Server]:
    """Three shards without replicas."""
    binary = redis_server()
    nodes = [start("--cluster-enabled", "yes", binary=binary) for _ in range(3)]
    for node in nodes:
        node.wait()
    for index, node in enumerate(nodes):
        first, last = index * 5462, min((index + 1) * 5462 - 1, 16383)
        _cli(node, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
        _cli(node, "CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port))
    until(lambda: all("cluster_state:ok" in _cli(node, "CLUSTER", "INFO") for node in nodes))
    until(lambda: all(_cli(node, "CLUSTER", "SLOTS").count("127.0.0.1") == 3 for node in nodes))
    return nodes


def cluster_url(nodes: list[Server]) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


async def test_cluster_sends_each_command_to_its_shard(cluster: list[Server]) -> None:
    store = await StateStore.connect(cluster_url(cluster))
    await asyncio.gather(*(store.run("SET", f"shin:{i}", i) for i in range(200)))
    assert await asyncio.gather(*(store.run("GET", f"shin:{i}") for i in range(200))) == [
        str(i).encode() for i in range(200)
    ]
    assert all(int(_cli(node, "DBSIZE")) > 20 for node in cluster)
    add = store.script("return redis.call('INCR', KEYS[1])")
    assert await asyncio.gather(*(add([f"shin:n{i}"]) for i in range(20))) == [1] * 20
    with pytest.raises(CommandError) as caught:
        await store.run("MGET", "shin:1", "shin:2")
    assert caught.value.code == "CROSSSLOT" or "slot" in str(caught.value)
    store.rows.put(row())
    assert await store.rows.flush(5) == 0
    assert await store.run_alone("XREAD", "COUNT", 1, "STREAMS", "shin:{rows}", "0", timeout=1)
    await store.close()


async def test_cluster_follows_a_slot_that_moves(cluster: list[Server]) -> None:
    store = await StateStore.connect(cluster_url(cluster))
    await store.run("SET", "shin:{move}", "x")
    slot = _cli(cluster[0], "CLUSTER", "KEYSLOT", "shin:{move}").strip()
    source = next(node for node in cluster if _cli(node, "CLUSTER", "COUNTKEYSINSLOT", slot).strip() == "1")
    target = next(node for node in cluster if node is not source)
    ids = {node.port: _cli(node, "CLUSTER", "MYID").strip() for node in cluster}
    _cli(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
    _cli(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
    _cli(source, "MIGRATE", "127.0.0.1", str(target.port), "shin:{move}", "0", "1000")
    assert await store.run("GET", "shin:{move}") == b"x"  # ASK
    for node in (target, source):
        _cli(node, "CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])
    assert await store.run("GET", "shin:{move}") == b"x"  # MOVED
    assert await store.run("APPEND", "shin:{move}", "y") == 2
    await store.close()


async def test_cluster_a_lost_shard_fails_only_its_own_keys(cluster: list[Server]) -> None:
    store = await StateStore.connect(cluster_url(cluster))
    for node in cluster:
        _cli(node, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    keys = [f"shin:{i}" for i in range(60)]
    await asyncio.gather(*(store.run("SET", key, 1) for key in keys))
    cluster[1].process.send_signal(signal.SIGSTOP)
    replies = await asyncio.gather(*(store.run("GET", key) for key in keys), return_exceptions=True)
    cluster[1].process.send_signal(signal.SIGCONT)
    assert sum(reply == b"1" for reply in replies) >= 20
    assert any(isinstance(reply, StoreError) for reply in replies)
    assert await asyncio.gather(*(store.run("GET", key) for key in keys)) == [b"1"] * 60
    await store.close()


async def test_sentinel_follows_the_primary(start: Start, tmp_path: Path) -> None:
    binary = redis_server()
    primary = start(binary=binary).wait()
    replica = start("--replicaof", "127.0.0.1", str(primary.port), binary=binary).wait()
    until(lambda: "master_link_status:up" in _cli(replica, "INFO", "replication"))
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"sentinel monitor main 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
    )
    sentinel = start(binary=binary, sentinel=True, before=(str(config), "--sentinel")).wait()
    until(lambda: str(replica.port) in _cli(sentinel, "SENTINEL", "REPLICAS", "main"))
    store = await StateStore.connect(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/main/0")
    await store.run("SET", "shin:x", "kept")
    until(lambda: _cli(replica, "GET", "shin:x").strip() == "kept")
    primary.kill()
    store.rows.put(row("during"))
    value = None
    for _ in range(400):
        try:
            await store.run("SET", "shin:y", "1")
            value = await store.run("GET", "shin:x")
            break
        except StoreError:
            await asyncio.sleep(0.05)
    assert value == b"kept"
    assert await store.rows.flush(10) == 0
    with pytest.raises(StoreError, match="state store"):
        await StateStore.connect(f"redis+sentinel://127.0.0.1:{sentinel.port}/other/0")
    await store.close()


async def test_tls_verifies_the_server_and_shows_a_certificate(start: Start, tmp_path: Path) -> None:
    ca, cert, key = _certificates(tmp_path)
    options = ("--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "yes")
    port = free_port()
    server = start(*options, "--tls-port", str(port), binary=redis_server()).wait()
    url = f"rediss://127.0.0.1:{port}/0?timeout=2"
    store = await StateStore.connect(f"{url}&ca={ca}&cert={cert}&key={key}")
    assert await store.run("PING") == b"PONG"
    await store.close()
    with pytest.raises(StoreError, match="(?i)certificate"):
        await StateStore.connect(url)
    with pytest.raises(StoreError):
        await StateStore.connect(f"rediss://127.0.0.1:{server.port}/0?ca={ca}")
    assert ssl.OPENSSL_VERSION


def _cli(server: Server, *command: str) -> str:
    """One command, its reply as text."""
    done = subprocess.run(
        ["redis-cli", "-p", str(server.port), *command], capture_output=True, text=True, check=False, timeout=10
    )
    return done.stdout


def _certificates(folder: Path) -> tuple[str, str, str]:
    """A CA and a certificate for 127.0.0.1, made for this test."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test CA")])
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )

    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    cert = (
        builder(name, key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = {"ca.pem": ca.public_bytes(pem), "cert.pem": cert.public_bytes(pem), "key.pem": secret}
    for file, data in files.items():
        (folder / file).write_bytes(data)
    return str(folder / "ca.pem"), str(folder / "cert.pem"), str(folder / "key.pem")
