"""The authority as clients meet it: real handshakes with Python, curl and Node, and leaves made by mitmproxy."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from mitmproxy.certs import CertStore

from shin_gateway import ca, roots
from shin_gateway.ca import Authority, CAError, subtrees

HOSTS = ["api.openai.com", "*.openai.azure.com", "gateway"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path)
    assert authority.ensure(HOSTS)
    return authority


class Server:
    """A TLS server on loopback that shows the leaf which mitmproxy would make for `host`."""

    def __init__(self, authority: Authority, host: str, folder: Path) -> None:
        store = CertStore.from_store(authority.folder, "mitmproxy", 2048)
        entry = store.get_cert(host, [x509.DNSName(host)])
        chain = folder / f"{host}.pem"
        chain.write_bytes(
            authority.key_path.read_bytes().partition(b"-----BEGIN CERT")[0]
            + entry.cert.to_pem()
            + b"".join(cert.to_pem() for cert in entry.chain_certs)
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(client, server_side=True) as stream:
                    stream.recv(4096)
                    stream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            except OSError:
                continue


@pytest.fixture
def serve(authority: Authority, tmp_path: Path) -> Iterator[object]:
    servers: list[Server] = []

    def start(host: str) -> Server:
        servers.append(Server(authority, host, tmp_path))
        return servers[-1]

    yield start
    for server in servers:
        server.socket.close()


def python(port: int, host: str, cafile: Path) -> bool:
    context = ssl.create_default_context(cafile=str(cafile))
    try:
        with socket.create_connection(("127.0.0.1", port)) as raw, context.wrap_socket(raw, server_hostname=host):
            return True
    except ssl.SSLCertVerificationError:
        return False


def curl(port: int, host: str, cafile: Path) -> bool:
    command = ["curl", "-sS", "--noproxy", "*", "--cacert", str(cafile), "--connect-to", f"::127.0.0.1:{port}"]
    done = subprocess.run([*command, f"https://{host}/"], capture_output=True, text=True, timeout=20)
    assert done.returncode in (0, 60), done.stderr
    return done.stdout == "ok"


def node(port: int, host: str, cafile: Path) -> bool:
    script = f"""require("tls").connect({{host: "127.0.0.1", port: {port}, servername: "{host}"}},
      function () {{ console.log("ok"); this.destroy() }}).on("error", e => console.log(e.code))"""
    environ = {**os.environ, "NODE_EXTRA_CA_CERTS": str(cafile)}
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=20, env=environ)
    return done.stdout.strip() == "ok"


CLIENTS = [
    python,
    pytest.param(curl, marks=pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")),
    pytest.param(node, marks=pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")),
]


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_accept_permitted_hosts_and_no_other(client, authority, serve):
    for host in ("api.openai.com", "lab.openai.azure.com"):
        assert client(serve(host).port, host, authority.cert_path), host
    for host in ("api.anthropic.com", "openai.com", "notapi.openai.com", "127.0.0.1"):
        assert not client(serve(host).port, host, authority.cert_path), host


@pytest.mark.parametrize("client", CLIENTS)
def test_an_older_copy_serves_the_older_hosts(client, authority, serve, tmp_path):
    copy = tmp_path / "copy.pem"
    copy.write_bytes(authority.export())
    assert authority.ensure([*HOSTS, "api.anthropic.com"])
    assert client(serve("api.openai.com").port, "api.openai.com", copy)
    assert not client(serve("api.anthropic.com").port, "api.anthropic.com", copy)
    assert client(serve("api.anthropic.com").port, "api.anthropic.com", authority.cert_path)


@pytest.mark.parametrize("form", [ssl.PEM_cert_to_DER_cert])
def test_constraints_exclude_every_address(form, authority):
    cert = authority.cert
    constraints = cert.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert {str(item.value) for item in constraints.value.excluded_subtrees} == {"0.0.0.0/0", "::/0"}
    assert {item.value for item in constraints.value.permitted_subtrees} == {"api.openai.com", "openai.azure.com"}
    assert cert.not_valid_after_utc - cert.not_valid_before_utc <= dt.timedelta(days=365)
    assert cert.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert form(authority.export("pem").decode()) == authority.export("der")


def test_an_address_that_a_policy_names_is_permitted_alone(tmp_path):
    authority = Authority(tmp_path)
    authority.ensure(["10.1.2.3:8443", "[::1]"])
    constraints = authority.cert.extensions.get_extension_for_class(x509.NameConstraints).value
    assert {str(item.value) for item in constraints.permitted_subtrees} == {
        "10.1.2.3/32",
        "::1/128",
        "shin-gateway.invalid",
    }
    assert constraints.excluded_subtrees is None
    assert authority.hosts == ["10.1.2.3", "::1"]


def test_no_hosts_permit_nothing(tmp_path):
    authority = Authority(tmp_path)
    authority.ensure(["gateway"])
    assert authority.hosts == []
    assert ca.permitted(authority.cert) == {"shin-gateway.invalid"}
    assert authority.ensure(["api.openai.com"]) and authority.hosts == ["api.openai.com"]


def test_it_changes_only_when_it_must(authority):
    before = authority.fingerprint
    assert not authority.ensure(["api.openai.com"]), "hosts that a policy drops stay until the renewal"
    assert not authority.ensure(["x.openai.azure.com"]), "covered already"
    assert authority.fingerprint == before
    key = authority.cert.public_key()
    assert authority.ensure(["api.anthropic.com"])
    assert authority.hosts == ["api.anthropic.com", "api.openai.com", "openai.azure.com"]
    assert authority.cert.public_key() == key and authority.fingerprint != before
    authority.renew(["api.openai.com"])
    assert authority.hosts == ["api.openai.com"] and authority.cert.public_key() == key


def test_it_is_renewed_before_it_expires(authority, monkeypatch):
    key, subject = authority.cert.public_key(), authority.cert.subject
    later = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=340)
    monkeypatch.setattr(ca, "_now", lambda: later)
    assert authority.ensure(["api.openai.com"])
    assert authority.cert.not_valid_after_utc > later + dt.timedelta(days=300)
    assert (authority.cert.public_key(), authority.cert.subject) == (key, subject)
    assert authority.hosts == ["api.openai.com"], "a renewal forgets hosts that no policy names"


def test_files_are_private_and_repaired(authority):
    authority.folder.chmod(0o755)
    authority.key_path.chmod(0o644)
    authority.cert_path.unlink()
    assert not authority.ensure(HOSTS)
    assert authority.folder.stat().st_mode & 0o777 == 0o700
    assert authority.key_path.stat().st_mode & 0o777 == 0o600
    assert authority.cert_path.read_bytes() == authority.export()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is damaged"), (b"nonsense\n", "is damaged")],
)
def test_a_damaged_authority_is_not_replaced_silently(authority, content, message):
    authority.key_path.write_bytes(content)
    with pytest.raises(CAError, match=message):
        authority.ensure(HOSTS)
    assert authority.key_path.read_bytes() == content


def test_an_authority_without_constraints_is_refused(tmp_path):
    CertStore.create_store(tmp_path / "ca", "mitmproxy", 2048)
    with pytest.raises(CAError, match="was not made by Shin"):
        Authority(tmp_path).ensure(HOSTS)


def test_key_and_certificate_must_belong_together(authority):
    other = ca.certificate(ec.generate_private_key(ec.SECP256R1()), {"api.openai.com"})
    key = authority.key_path.read_bytes().partition(b"-----BEGIN CERT")[0]
    authority.key_path.write_bytes(key + other.public_bytes(ca.serialization.Encoding.PEM))
    with pytest.raises(CAError, match="do not belong together"):
        authority.ensure(HOSTS)


def test_an_unusable_folder_is_one_clear_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CAError, match="cannot use the CA folder: .*file.*Not a directory.*choose another --home"):
        Authority(tmp_path / "file").ensure(HOSTS)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_folder_of_somebody_else_is_one_clear_message(authority, tmp_path):
    authority.folder.chmod(0o700)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    script = """if True:
        import os, sys
        from pathlib import Path
        from shin_gateway.ca import Authority
        "".encode("idna"), "".encode("ascii")  # what it needs must be loaded while it can be read
        os.setgid(65534)
        os.setuid(65534)
        Authority(Path(sys.argv[1])).ensure(["a.com"])
    """
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert "CAError: cannot use the CA folder" in done.stderr and "mode 0700" in done.stderr


@pytest.mark.parametrize("host", ["*", "*.*", "", "..", "api.openai.*", "a..b"])
def test_a_pattern_that_would_permit_everything_is_refused(host):
    with pytest.raises(CAError, match="name a domain"):
        subtrees([host])


def test_patterns_become_the_least_set_of_names():
    assert subtrees(["*.example.com", "api.example.com", "API.Other.com.", "*.internal"]) == {
        "example.com",
        "api.other.com",
        "internal",
    }


def test_many_makers_make_one_authority(tmp_path):
    results: list[bool] = []
    makers = [threading.Thread(target=lambda: results.append(Authority(tmp_path).ensure(HOSTS))) for _ in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert results.count(True) == 1


class TestRoots:
    """The bundle keeps what the user's environment trusts."""

    @pytest.fixture
    def corporate(self, tmp_path: Path) -> Path:
        other = Authority(tmp_path / "corporate")
        other.ensure(["corp.example"])
        return other.cert_path

    def test_the_default_holds_public_roots_and_ours(self, authority):
        found = roots.certificates(authority.bundle_path.read_text())
        assert len(found) > 100 and roots.certificates(authority.export().decode())[0] == found[0]
        trust = authority.trust({})
        assert (trust.bundle, trust.extra) == (authority.bundle_path, authority.cert_path)
        ssl.create_default_context(cafile=str(trust.bundle))

    def test_a_users_file_replaces_public_roots(self, authority, corporate):
        trust = authority.trust({"SSL_CERT_FILE": str(corporate)})
        assert len(roots.certificates(trust.bundle.read_text())) == 2

    @pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CODEX_CA_CERTIFICATE"])
    def test_other_files_are_added(self, authority, corporate, variable):
        trust = authority.trust({variable: str(corporate)})
        theirs = roots.certificates(corporate.read_text())[0]
        assert theirs in roots.certificates(trust.bundle.read_text())
        assert len(roots.certificates(trust.bundle.read_text())) > 100
        assert (theirs in roots.certificates(trust.extra.read_text())) == (variable in roots.ADDING)

    def test_a_folder_is_added(self, authority, corporate):
        trust = authority.trust({"SSL_CERT_DIR": str(corporate.parent)})
        assert roots.certificates(corporate.read_text())[0] in roots.certificates(trust.bundle.read_text())

    def test_nested_environments_keep_their_roots(self, authority, corporate):
        outer = authority.trust({"SSL_CERT_FILE": str(corporate), "NODE_EXTRA_CA_CERTS": str(corporate)})
        environ = {"SSL_CERT_FILE": str(outer.bundle), "NODE_EXTRA_CA_CERTS": str(outer.extra)}
        assert authority.trust(environ) == outer
        plain = authority.trust({})
        environ = {"SSL_CERT_FILE": str(plain.bundle), "NODE_EXTRA_CA_CERTS": str(plain.extra)}
        assert authority.trust(environ) == plain

    def test_every_file_follows_the_certificate(self, authority, corporate):
        trust = authority.trust({"NODE_EXTRA_CA_CERTS": str(corporate)})
        authority.ensure(["api.anthropic.com"])
        ours = roots.certificates(authority.export().decode())[0]
        for path in (trust.bundle, trust.extra, authority.bundle_path):
            assert ours in roots.certificates(path.read_text())

    def test_an_unreadable_file_is_named(self, authority, tmp_path):
        trust = authority.trust({"SSL_CERT_FILE": "/nowhere/roots.pem"})
        assert trust.warnings == ("SSL_CERT_FILE=/nowhere/roots.pem cannot be read; left out",)
        assert trust.bundle == authority.bundle_path
