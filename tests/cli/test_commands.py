"""The commands as a user types them, in processes of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from shin_gateway import roots
from shin_gateway.ca import Authority
from shin_gateway.launch import BYPASS_VARIABLES, PROXY_VARIABLES

Shin = Callable[..., "subprocess.CompletedProcess[str]"]
CLEAN = (*PROXY_VARIABLES, *BYPASS_VARIABLES, *roots.ADDING, *roots.REPLACING, roots.FOLDER, "SHIN_USER")


@pytest.fixture
def shin(tmp_path: Path) -> Shin:
    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name not in CLEAN}
        return subprocess.run(
            [sys.executable, "-m", "shin_gateway.cli", *arguments],
            env={**kept, "PYTHONPATH": os.getcwd(), "SHIN_HOME": str(tmp_path), "COLUMNS": "120", **environ},
            capture_output=True,
            text=True,
            timeout=90,
        )

    return run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    Authority(tmp_path).ensure(["api.openai.com", "*.example.com"])
    return tmp_path


@pytest.fixture
def proxy(home: Path) -> Iterator[str]:
    """Something that listens, and a run file that says so."""
    server = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{server.getsockname()[1]}"
    threading.Thread(target=_accept, args=(server,), daemon=True).start()
    (home / "run.json").write_text(json.dumps({"pid": os.getpid(), "proxy": address}))
    yield address
    server.close()


def _accept(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except OSError:
            return


def test_help_names_every_command(shin):
    done = shin("--help")
    assert done.returncode == 0
    for command in ("run", "admin", "exec", "env", "check", "explain", "schema", "tail", "doctor", "ca"):
        assert f"\n  {command} " in done.stdout


def test_version(shin):
    assert shin("--version").stdout.startswith("shin ")


@pytest.mark.parametrize("arguments", [["--help"], ["env"], ["exec", "true"]])
def test_common_commands_import_nothing_heavy(home, proxy, arguments):
    script = f"""if True:
        import sys
        sys.argv = ["shin", *{arguments!r}]
        from shin_gateway.cli import main
        try:
            main()
        except SystemExit:
            pass
        heavy = ("mitmproxy", "fastapi", "aiohttp", "duckdb", "redis")
        print("heavy:", [name for name in heavy if name in sys.modules], file=sys.stderr)
    """
    environ = {**os.environ, "SHIN_HOME": str(home), "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True)
    assert "heavy: []" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ca", "show"], 1, "there is no CA in"),
        (["ca", "path"], 1, "there is no CA in"),
        (["env", "--shell", "cmd.exe"], 2, "unknown shell 'cmd.exe': use one of bash"),
        (["exec", "--", "no-such-program"], 127, "no-such-program: command not found"),
        (["exec", "--", "/etc/passwd"], 126, "/etc/passwd: not executable"),
        (["tail", "--no-follow"], 1, "is `shin run` running, with --home"),
        (["tail", "--config", "/nowhere/shin.yaml"], 1, "/nowhere/shin.yaml"),
    ],
)
def test_failures_are_one_line(shin, arguments, code, message):
    done = shin(*arguments)
    assert done.returncode == code and done.stdout == ""
    assert done.stderr.startswith("shin: ") and message in done.stderr and done.stderr.count("\n") == 1


def test_a_home_that_is_a_file(shin, tmp_path):
    (tmp_path / "file").write_text("")
    done = shin("exec", "true", SHIN_HOME=str(tmp_path / "file"))
    assert done.returncode == 1 and done.stderr.startswith("shin: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["exec"], ["run", "--proxy-port", "70000"], ["run", "--workers", "0"]]
)
def test_wrong_use_is_2(shin, arguments):
    done = shin(*arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_env_can_be_evaluated(shin, home, proxy):
    lines = shin("env", "--shell", "sh", "--user", "ada").stdout
    shown = 'echo "$HTTPS_PROXY $NODE_EXTRA_CA_CERTS $SSL_CERT_FILE"'
    done = subprocess.run(["sh", "-c", lines + shown], capture_output=True, text=True)
    assert done.stdout == f"http://ada:-@{proxy} {home}/ca/mitmproxy-ca-cert.pem {home}/ca/bundle.pem\n"


def test_env_without_a_proxy_says_so(shin, home):
    done = shin("env")
    assert done.returncode == 0 and "no proxy is running" in done.stderr and "@127.0.0.1:8080" in done.stdout


def test_exec_sets_the_variables_and_passes_the_exit_code_on(shin, home, proxy):
    script = "import os, sys; print(os.environ['https_proxy'], sys.argv[1:]); sys.exit(5)"
    done = shin("exec", "--user", "ada:s3", "--", sys.executable, "-c", script, "--help", "-n", "--", "x")
    assert done.returncode == 5
    assert done.stdout == f"http://ada:s3@{proxy} ['--help', '-n', '--', 'x']\n"


def test_exec_needs_no_dashes(shin, home, proxy):
    done = shin("exec", "sh", "-c", "echo $SSL_CERT_DIR-$HTTPS_PROXY", SSL_CERT_DIR="/etc/ssl", SHIN_USER="bob")
    assert done.stdout == f"-http://bob:-@{proxy}\n"


def test_exec_warns_of_a_corporate_proxy(shin, home, proxy):
    done = shin("exec", "true", HTTPS_PROXY="http://corp:3128")
    assert done.returncode == 0 and "shin: HTTPS_PROXY was http://corp:3128" in done.stderr


def test_ca_commands(shin, home):
    shown = shin("ca", "show").stdout
    assert "api.openai.com" in shown and "example.com" in shown and Authority(home).fingerprint in shown
    assert shin("ca", "path").stdout == f"{home}/ca/mitmproxy-ca-cert.pem\n"
    assert shin("ca", "path", "--bundle").stdout == f"{home}/ca/bundle.pem\n"
    cert = x509.load_pem_x509_certificate(shin("ca", "export").stdout.encode())
    assert cert == Authority(home).cert
    assert shin("ca", "export", "--form", "der", "-o", str(home / "out.cer")).returncode == 0
    assert x509.load_der_x509_certificate((home / "out.cer").read_bytes()) == cert
    assert "PRIVATE" not in shin("ca", "export").stdout


def test_ca_renew_takes_the_policies_hosts(shin, home):
    done = shin("ca", "renew")
    assert done.returncode == 0, done.stderr
    hosts = Authority(home).hosts
    assert "api.anthropic.com" in hosts and "example.com" not in hosts


def test_check(shin, tmp_path):
    (tmp_path / "mine").mkdir()
    policy = tmp_path / "mine" / "lab.yaml"
    policy.write_text("hosts: [lab.example.com]\nextends: observe\n")
    done = shin("check", str(policy.parent))
    assert done.returncode == 0 and "no errors" in done.stdout, done.stderr
    policy.write_text("hosts: [lab.example.com]\naddons:\n  retri: on\n")
    done = shin("check", str(policy.parent))
    assert done.returncode == 1 and "lab.yaml:3:3" in done.stderr and '"retry"' in done.stderr


def test_check_of_what_shin_yaml_says_and_names(shin, tmp_path):
    (tmp_path / "mine").mkdir()
    config, policy = tmp_path / "shin.yaml", tmp_path / "mine" / "lab.yaml"
    config.write_text("policies: [mine]\nrolls: {}\n")
    done = shin("check", "--config", str(config))
    assert done.returncode == 1 and "shin.yaml:2:1" in done.stderr and '"roles"' in done.stderr
    config.write_text(f"policies: [{policy.parent}]\n")
    policy.write_text("hosts: [lab.example.com]\nextends: observe\n")
    assert shin("check", "--config", str(config)).returncode == 0
    assert "lab.yaml" in shin("explain", "lab.example.com", "--config", str(config)).stdout
    policy.write_text("hosts: [lab.example.com]\naddons:\n  retri: on\n")
    done = shin("check", "--config", str(config))
    assert done.returncode == 1 and "lab.yaml:3:3" in done.stderr


def test_explain(shin):
    done = shin("explain", "api.openai.com")
    assert "openai" in done.stdout, done.stderr
    assert "tunnelled" in shin("explain", "example.com").stdout
    done = shin("explain", "https://a/b")
    assert done.returncode == 2 and done.stderr.startswith("shin: ")


def test_schema(shin):
    assert "retry" in shin("schema").stdout and json.loads(shin("schema").stdout)["$schema"]
