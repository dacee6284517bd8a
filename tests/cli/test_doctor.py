"""What `shin doctor` says about a machine, with a proxy that shows real certificates."""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cryptography import x509
from mitmproxy.certs import CertStore

from shin_gateway import diagnostics, launch, roots
from shin_gateway.ca import Authority
from shin_gateway.cli import agents, checks
from shin_gateway.cli.checks import Finding, Patient
from shin_gateway.diagnostics import Diagnostics

HOST = "api.openai.com"


class Proxy:
    """Answers CONNECT, then shows mitmproxy's leaf for the host; 407 without credentials when `wants` is set."""

    def __init__(self, authority: Authority, folder: Path, wants: bytes = b"") -> None:
        self.store = CertStore.from_store(authority.folder, "mitmproxy", 2048)
        self.key = authority.key_path.read_bytes().partition(b"-----BEGIN CERT")[0]
        self.folder = folder
        self.wants = wants
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            try:
                self.answer(client)
            except OSError:
                client.close()

    def answer(self, client: socket.socket) -> None:
        head = client.recv(4096)
        if not head:
            return
        if self.wants not in head:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            client.close()
            return
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        host = head.split()[1].decode().partition(":")[0]
        with self.context(host).wrap_socket(client, server_side=True) as stream:
            stream.recv(1)

    def context(self, host: str) -> ssl.SSLContext:
        leaf = self.store.get_cert(host, [x509.DNSName(host)]).cert
        (self.folder / "leaf.pem").write_bytes(self.key + leaf.to_pem())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "leaf.pem")
        return context


@pytest.fixture
def home(tmp_path: Path) -> Path:
    Authority(tmp_path).ensure([HOST, "api.anthropic.com"])
    return tmp_path


@pytest.fixture
def proxy(home: Path) -> Iterator[Proxy]:
    proxy = Proxy(Authority(home), home)
    (home / "run.json").write_text(json.dumps({"pid": os.getpid(), "proxy": proxy.address}))
    yield proxy
    proxy.socket.close()


@pytest.fixture
def well(home: Path, proxy: Proxy) -> dict[str, str]:
    return launch.environment(Authority(home).trust({}), proxy.address, "ada", environ={}).variables


def examine(home: Path, environ: Mapping[str, str] = {}, **more: object) -> list[Finding]:
    return list(checks.examine(Patient(home, environ, **more)))  # type: ignore[arg-type]


def problems(findings: list[Finding]) -> list[str]:
    return [finding.what for finding in findings if finding.level == "problem"]


def the(findings: list[Finding], words: str) -> Finding:
    found = [finding for finding in findings if words in finding.what]
    assert len(found) == 1, findings
    return found[0]


def test_all_well(home, well):
    findings = examine(home, well)
    assert problems(findings) == []
    assert [finding.what.partition(",")[0] for finding in findings if "TLS" in finding.what] == [
        "TLS to api.anthropic.com through the proxy",
        "TLS to api.anthropic.com through the proxy",
    ], "once with the certificate alone, once with the bundle"


def test_nothing_runs(home):
    assert problems(examine(home)) == ["no proxy is running"]
    assert "past the proxy" in the(examine(home), "past the proxy").what


def test_a_process_that_does_not_answer(home):
    (home / "run.json").write_text(json.dumps({"pid": os.getpid(), "proxy": "127.0.0.1:1"}))
    assert "127.0.0.1:1" in the(examine(home), "does not answer").why


def test_no_ca(tmp_path):
    assert "there is no CA" in the(examine(tmp_path), "the CA cannot be used").why


def test_a_ca_that_others_can_read(home):
    (home / "ca").chmod(0o755)
    assert "the CA's key is not private" in problems(examine(home))


def test_a_ca_that_expires(home, monkeypatch):
    monkeypatch.setattr(checks, "RENEWAL", dt.timedelta(days=400))
    assert the(examine(home), "expires in 36").level == "note"


def test_another_proxy(home, well):
    found = the(examine(home, well | {"HTTPS_PROXY": "http://me:secret@other:3128"}), "leads to other:3128")
    assert found.level == "problem" and "secret" not in str(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"NO_PROXY": "*"}, "NO_PROXY=* keeps every program away"),
        ({"NODE_USE_ENV_PROXY": ""}, "NODE_USE_ENV_PROXY=1 is not set"),
        ({"SSL_CERT_DIR": "/etc/ssl/certs"}, "SSL_CERT_DIR is set"),
        ({"CODEX_CA_CERTIFICATE": ""}, "some programs started in this shell do not trust the CA"),
        ({"PIP_CERT": "/nowhere.pem"}, "PIP_CERT names a file that cannot be read"),
    ],
)
def test_a_shell_with_a_flaw(home, well, change, words):
    found = the(examine(home, well | change), words)
    assert found.level == "problem" and found.do


def test_replaced_roots(home, well):
    own = str(Authority(home).cert_path)
    found = the(examine(home, well | {"SSL_CERT_FILE": own}), "SSL_CERT_FILE holds our CA alone")
    assert found.do == f"SSL_CERT_FILE={home}/ca/bundle.pem"


def test_an_older_copy_that_knows_nothing_of_us(home, well, tmp_path):
    other = Authority(tmp_path / "other")
    other.ensure([HOST])
    findings = examine(home, well | {"NODE_EXTRA_CA_CERTS": str(other.cert_path)})
    assert the(findings, "NODE_EXTRA_CA_CERTS does not hold the CA").level == "problem"
    assert the(findings, "a program that trusts NODE_EXTRA_CA_CERTS refuses").level == "problem"


def test_a_handshake_goes_all_the_way(home, proxy):
    checks.handshake(proxy.address, HOST, str(Authority(home).cert_path))
    with pytest.raises(ssl.SSLCertVerificationError):
        checks.handshake(proxy.address, "example.com", str(Authority(home).cert_path))


def test_a_handshake_sends_credentials(home):
    proxy = Proxy(Authority(home), home, wants=b"Proxy-Authorization: Basic YWRhOnM6Mw==")
    checks.handshake(proxy.address, HOST, str(Authority(home).cert_path), "http://ada:s%3A3@x")
    with pytest.raises(checks.LoginWanted, match="407"):
        checks.handshake(proxy.address, HOST, str(Authority(home).cert_path))


@pytest.mark.parametrize(("login", "why"), [("", "this shell has none"), ("ada:old@", "the one in HTTPS_PROXY")])
def test_a_proxy_that_wants_a_login(home, well, proxy, login, why):
    proxy.wants = b"Proxy-Authorization: Basic YWRhOnM6Mw=="
    found = the(examine(home, well | {"HTTPS_PROXY": f"http://{login}{proxy.address}"}), "the proxy wants a login")
    assert why in found.why and "SHIN_USER=NAME:SECRET" in found.do


class TestEvents:
    def test_an_untrusted_ca_names_the_agent_and_its_variable(self, home):
        Diagnostics(home).note("untrusted_ca", host="chatgpt.com", client="127.0.0.1:50000", detail="unknown ca")
        found = the(examine(home), "Codex does not trust the CA: it broke off handshakes with chatgpt.com")
        assert f"CODEX_CA_CERTIFICATE={home}/ca/mitmproxy-ca-cert.pem" in found.do and found.why == "unknown ca"

    def test_a_user_agent_says_more_than_the_host(self, home):
        Diagnostics(home).note("untrusted_ca", host=HOST, client="OpenAI/Python 3.52.0")
        found = the(examine(home), "a Python SDK does not trust the CA")
        assert f"SSL_CERT_FILE={home}/ca/bundle.pem" in found.do

    def test_connections_of_one_client_are_one_finding(self, home, monkeypatch):
        for port in range(5):
            Diagnostics(home).note("untrusted_ca", host="chatgpt.com", client=f"127.0.0.1:{50000 + port}")
        the(examine(home), "does not trust the CA")

    def test_a_later_success_makes_it_history(self, home):
        Diagnostics(home).note("untrusted_ca", host="chatgpt.com")
        Diagnostics(home).note("intercepted", host="chatgpt.com", client="curl/8")
        assert [what for what in problems(examine(home)) if "trust" in what], "another program's success is not Codex's"
        Diagnostics(home).note("intercepted", host="chatgpt.com", client="codex_exec/0.169.0")
        assert not [what for what in problems(examine(home)) if "trust" in what]

    def test_old_events_are_forgotten(self, home):
        Diagnostics(home).note("untrusted_ca", host=HOST)
        assert len(problems(examine(home, within=dt.timedelta(0)))) == 1

    def test_our_own_handshakes_do_not_count(self, home):
        Diagnostics(home).note("untrusted_ca", host=HOST, client=checks.USER_AGENT)
        assert len(problems(examine(home))) == 1

    def test_an_unverifiable_upstream(self, home):
        Diagnostics(home).note("upstream_unverified", host=HOST, detail="self-signed certificate in chain")
        found = the(examine(home), "the certificate of api.openai.com could not be verified")
        assert "upstream: {ca: FILE}" in found.do and "self-signed" in found.why

    def test_missing_credentials(self, home):
        Diagnostics(home).note("proxy_auth_missing", host=HOST, client="curl/8")
        assert "SHIN_USER=NAME:SECRET" in the(examine(home), "turned curl/8 away").do

    def test_nobody_came(self, home, well):
        assert "NODE_USE_ENV_PROXY" in the(examine(home, well), "no client has reached the proxy").why

    def test_only_tunnelled_hosts(self, home, well):
        Diagnostics(home).note("tunnelled", host="lab.example.com")
        assert "lab.example.com" in the(examine(home, well), "only for hosts that are tunnelled").why


class TestRunningAgents:
    def of(self, name: str, environ: dict[str, str] | None) -> list[agents.Process]:
        return [agents.Process(agent, 42, environ) for agent in agents.agents() if agent.name == name]

    def test_well(self, home, well):
        findings = examine(home, well, processes=self.of("Claude Code", well))
        assert the(findings, "Claude Code (pid 42)").level == "ok"

    @pytest.mark.parametrize(
        ("name", "change", "words"),
        [
            ("Claude Code", dict.fromkeys(launch.PROXY_VARIABLES), "goes past the proxy"),
            ("Claude Code", dict.fromkeys(launch.PROXY_VARIABLES, "http://x:1"), "uses another proxy"),
            ("aider", {"SSL_CERT_FILE": "/etc/hosts"}, "does not trust the CA"),
            ("Gemini CLI", {"NODE_EXTRA_CA_CERTS": None}, "does not trust the CA"),
            ("pi", {"NODE_USE_ENV_PROXY": None}, "ignores the proxy"),
        ],
    )
    def test_flaws(self, home, well, name, change, words):
        environ = {key: value for key, value in (well | change).items() if value is not None}
        found = the(examine(home, well, processes=self.of(name, environ)), words)
        assert found.level == "problem" and "shin exec" in found.do

    def test_one_that_we_may_not_look_into(self, home, well):
        assert problems(examine(home, well, processes=self.of("Codex", None))) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_they_are_found_by_name(self, tmp_path):
        script = tmp_path / "codex"
        script.write_text("import time; print('up', flush=True); time.sleep(60)")
        environ = {"HTTPS_PROXY": "http://somewhere:1"}
        process = subprocess.Popen([sys.executable, str(script)], env=environ, stdout=subprocess.PIPE)
        try:
            assert process.stdout and process.stdout.readline()
            (found,) = [one for one in agents.processes() if one.pid == process.pid]
            assert found.agent.name == "Codex" and found.environ == environ
        finally:
            process.kill()
            process.communicate()


class TestAgents:
    def test_every_row_is_usable(self):
        known = {*roots.ADDING, *roots.REPLACING}
        for agent in agents.agents():
            assert set(agent.ca) <= known and set(agent.replaces) <= set(agent.ca) and agent.proxy

    @pytest.mark.parametrize(
        ("user_agent", "name"),
        [
            ("claude-cli/2.1.329 (external, sdk-cli)", "Claude Code"),
            ("codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm-256color", "Codex"),
            ("GeminiCLI-tui/0.61.0/gemini-2.5-pro (linux; x64; terminal)", "Gemini CLI"),
            ("opencode/1.18.33 ai-sdk/provider-utils/4.0.46 runtime/bun/1.3.14", "opencode"),
            ("copilot/1.0.102 (linux v24.20.0) term/unknown", "Copilot CLI"),
            ("QwenCode/0.24.4 (linux; x64)", "qwen-code"),
            ("Anthropic/JS 1.11.0", "a Node SDK"),
            ("google-genai-sdk/3.4.0 gl-python/3.13.0", "a Python SDK"),
            ("OpenAI/Python 3.52.0", "a Python SDK"),
            ("curl/7.88.1", "curl"),
        ],
    )
    def test_known_by_what_they_send(self, user_agent, name):
        agent = agents.by_user_agent(user_agent)
        assert agent and agent.name == name

    def test_unknown(self):
        assert agents.by_user_agent("shin-doctor") is None and agents.by_host("example.com") == []


def run(home: Path, environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shin_gateway.cli", "doctor", "--home", str(home), *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd(), **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command(home, well):
    done = run(home, {})
    assert done.returncode in (0, 1) and "HTTPS_PROXY is not set" in done.stdout and done.stderr == ""
    done = run(home, {**well, "SSL_CERT_DIR": "/x"}, "--json")
    assert done.returncode == 1
    assert "SSL_CERT_DIR is set" in [finding["what"] for finding in json.loads(done.stdout)]
    assert all(finding["level"] in ("ok", "note", "problem") for finding in json.loads(done.stdout))


def test_every_event_is_looked_at():
    source = Path(checks.__file__).read_text()
    ignored = {"tls_failed"}
    assert all(f'"{event}"' in source for event in diagnostics.EVENTS if event not in ignored)
