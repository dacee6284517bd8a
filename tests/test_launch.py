"""Programs run through a proxy: their variables, their signals, their exit codes, and the proxy's own life."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shin_gateway import launch, roots, running

TRUST = roots.Trust(Path("/home/ca.pem"), Path("/home/bundle.pem"))
PROXY = "127.0.0.1:8080"


def made(environ: dict[str, str], **options: object) -> launch.Environment:
    return launch.environment(TRUST, PROXY, "ada:s e/c", environ=environ, **options)  # type: ignore[arg-type]


class TestEnvironment:
    def test_exactly_the_variables_that_agents_were_tried_with(self):
        url, bundle = "http://ada:s%20e%2Fc@127.0.0.1:8080", "/home/bundle.pem"
        assert made({}).variables == {
            "HTTPS_PROXY": url,
            "https_proxy": url,
            "NO_PROXY": "localhost,127.0.0.1,::1",
            "no_proxy": "localhost,127.0.0.1,::1",
            "NODE_USE_ENV_PROXY": "1",
            "NODE_EXTRA_CA_CERTS": "/home/ca.pem",
            "CODEX_CA_CERTIFICATE": "/home/ca.pem",
            "SSL_CERT_FILE": bundle,
            "REQUESTS_CA_BUNDLE": bundle,
            "CURL_CA_BUNDLE": bundle,
            "GIT_SSL_CAINFO": bundle,
            "CARGO_HTTP_CAINFO": bundle,
            "PIP_CERT": bundle,
            "AWS_CA_BUNDLE": bundle,
            "DENO_CERT": bundle,
        }
        assert made({}).warnings == () and made({}).unset == ()

    def test_claude_codes_hash_is_left_out_where_a_policy_rewrites(self):
        assert made({}, rewrites=True).variables["CLAUDE_CODE_ATTRIBUTION_HEADER"] == "0"

    def test_other_proxy_variables_stay_as_they_are(self):
        environ = {"HTTP_PROXY": "http://a", "ALL_PROXY": "socks5://b", "PATH": "/bin"}
        assert made(environ).applied(environ).items() >= environ.items()

    def test_exceptions_of_the_user_stay(self):
        variables = made({"NO_PROXY": "corp.example, .lab,localhost", "no_proxy": "10.0.0.0/8"}).variables
        assert variables["NO_PROXY"] == "localhost,127.0.0.1,::1,corp.example,.lab,10.0.0.0/8"
        assert variables["no_proxy"] == variables["NO_PROXY"]

    def test_an_exception_for_everything_is_left_out_and_said(self):
        environment = made({"no_proxy": "*"})
        assert environment.variables["NO_PROXY"] == "localhost,127.0.0.1,::1"
        assert environment.warnings == ("NO_PROXY=* would bypass the proxy; left out",)

    @pytest.mark.parametrize("url", ["http://corp:3128", "corp:3128"])
    def test_a_corporate_proxy_is_said(self, url):
        (warning,) = made({"https_proxy": url}).warnings
        assert "HTTPS_PROXY was http://corp:3128" in warning and "shin run --mode upstream:http://corp:3128" in warning

    def test_a_corporate_proxys_password_is_not_repeated(self):
        (warning,) = made({"HTTPS_PROXY": "http://me:hunter2@corp:3128"}).warnings
        assert "hunter2" not in warning and "upstream: {proxy: env:NAME}" in warning

    def test_our_own_proxy_is_no_corporate_one(self):
        assert made({"HTTPS_PROXY": f"http://bob:-@{PROXY}"}).warnings == ()

    def test_a_folder_of_roots_is_unset(self):
        environ = {"SSL_CERT_DIR": "/etc/ssl/certs", "A": "b"}
        environment = made(environ)
        assert environment.unset == ("SSL_CERT_DIR",)
        assert "SSL_CERT_DIR" not in environment.applied(environ) and environment.applied(environ)["A"] == "b"

    def test_a_caller_without_secret_still_sends_one(self):
        assert launch.proxy_url(PROXY, "ada") == "http://ada:-@127.0.0.1:8080"
        assert launch.proxy_url(PROXY) == "http://127.0.0.1:8080"


class TestShellLines:
    environment = launch.Environment({"A": "it's $HOME \\ `x`"}, ("SSL_CERT_DIR",))

    @pytest.mark.parametrize("shell", ["bash", "sh", "zsh", "fish", "pwsh"])
    def test_shells_evaluate_them(self, shell):
        if not shutil.which(shell):
            pytest.skip(f"{shell} is not installed")
        lines = launch.shell_lines(self.environment, shell)
        show = 'echo "$env:A|$env:SSL_CERT_DIR|"' if shell == "pwsh" else 'echo "$A|$SSL_CERT_DIR|"'
        show = 'printf "%s\\n" "$A|$SSL_CERT_DIR|"' if shell != "pwsh" else show
        environ = {**os.environ, "SSL_CERT_DIR": "/old"}
        done = subprocess.run([shell, "-c", "\n".join([*lines, show])], env=environ, capture_output=True, text=True)
        assert done.stdout == f"{self.environment.variables['A']}||\n", done.stderr

    def test_every_dialect(self):
        environment = launch.Environment({"A": "it's"}, ("B",))
        assert launch.shell_lines(environment, "bash") == ["export A='it'\"'\"'s'", "unset B"]
        assert launch.shell_lines(environment, "fish") == ["set -gx A 'it\\'s'", "set -e B"]
        powershell = ["$env:A = 'it''s'", "Remove-Item Env:B -ErrorAction SilentlyContinue"]
        assert launch.shell_lines(environment, "powershell") == powershell

    def test_the_users_shell(self):
        assert launch.shell_of({"SHELL": "/usr/bin/fish"}) == "fish"
        assert launch.shell_of({"SHELL": "/bin/zsh"}) == "sh"
        assert launch.shell_of({}) == "sh"


class TestExecute:
    @pytest.mark.parametrize(
        ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
    )
    def test_the_exit_code_is_passed_on(self, script, code):
        assert launch.execute(["sh", "-c", script], os.environ) == code

    def test_a_missing_program(self):
        with pytest.raises(launch.CannotRun, match="nosuch: command not found") as caught:
            launch.execute(["nosuch"], os.environ)
        assert caught.value.code == 127

    def test_a_file_that_is_no_program(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(launch.CannotRun, match="not executable") as caught:
            launch.execute([str(tmp_path / "file")], os.environ)
        assert caught.value.code == 126

    def test_handlers_are_put_back(self):
        before = signal.getsignal(signal.SIGTERM)
        launch.execute(["true"], os.environ)
        assert signal.getsignal(signal.SIGTERM) is before

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    def test_a_signal_to_us_reaches_the_program(self, number, tmp_path):
        program = f"trap 'echo got; exit 9' {number.name[3:]}; touch {tmp_path}/up; while :; do sleep 0.05; done"
        outer = _outer(["sh", "-c", program], stdout=subprocess.PIPE, start_new_session=True)
        _until((tmp_path / "up").exists)
        outer.send_signal(number)
        out, _ = outer.communicate(timeout=20)
        assert (outer.returncode, out) == (9, b"got\n")

    def test_on_a_terminal_a_key_reaches_the_program_once(self, tmp_path):
        program = (
            "import signal, sys, time, os\n"
            "got = []\n"
            "signal.signal(signal.SIGINT, lambda *_: got.append(1))\n"
            "assert os.tcgetpgrp(0) == os.getpgrp()\n"
            f"open({str(tmp_path / 'up')!r}, 'w')\n"
            "while not got: time.sleep(0.02)\n"
            "time.sleep(0.5)\n"
            "sys.exit(40 + len(got))\n"
        )
        terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
        command = [sys.executable, "-c", terminal, *_outer_command([sys.executable, "-c", program])]
        outer = subprocess.Popen(command, env=_outer_environ(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        _until((tmp_path / "up").exists)
        outer.communicate(b"\x03", timeout=20)
        assert outer.returncode == 41


def _outer_command(command: list[str]) -> list[str]:
    script = "import os, sys; from shin_gateway import launch; sys.exit(launch.execute(sys.argv[1:], os.environ))"
    return [sys.executable, "-c", script, *command]


def _outer_environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.getcwd()}


def _outer(command: list[str], **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(_outer_command(command), env=_outer_environ(), **options)  # type: ignore[call-overload,no-any-return]


def _until(condition: object, timeout: float = 20.0) -> None:
    end = time.monotonic() + timeout
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.02)


# A program in the place of `shin run`: the same arguments, the same files.
STAND_IN = """
import json, os, signal, socket, sys
from pathlib import Path
if "--fail" in sys.argv:
    print("Traceback (most recent call last):"); sys.exit("shin: port 8080 is in use")
value = lambda name: sys.argv[sys.argv.index(name) + 1]
home, ready = Path(value("--home")), Path(value("--ready-file"))
server = socket.create_server(("127.0.0.1", int(value("--proxy-port"))))
text = json.dumps({"pid": os.getpid(), "proxy": "0.0.0.0:%d" % server.getsockname()[1], "gateway": "", "admin": None})
(home / "run.json").write_text(text); ready.write_text(text)
def stop(*_):
    (home / "run.json").unlink(); sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if "--deaf" in sys.argv else stop)
while True:
    server.accept()[0].close()
"""


class TestLease:
    program = (sys.executable, "-c", STAND_IN)

    def test_a_proxy_lives_as_long_as_somebody_needs_it(self, tmp_path):
        with running.lease(tmp_path, program=self.program) as first:
            assert first.alive and first.answers(first.proxy) and first.proxy.startswith("127.0.0.1:")
            with running.lease(tmp_path, program=self.program) as second:
                assert second.pid == first.pid
            time.sleep(0.2)
            assert first.alive
        _until(lambda: not first.alive)
        assert running.find(tmp_path) is None
        with running.lease(tmp_path, program=self.program) as third:
            assert third.pid != first.pid

    def test_a_running_proxy_is_used_and_left_running(self, tmp_path):
        ready = tmp_path / "ready.json"
        command = [*self.program, "--proxy-port", "0", "--home", str(tmp_path), "--ready-file", str(ready)]
        proxy = subprocess.Popen(command)
        try:
            _until(lambda: running.find(tmp_path))
            with running.lease(tmp_path, program=["false"]) as found:
                assert found.pid == proxy.pid
            assert proxy.poll() is None
        finally:
            proxy.kill()
            proxy.wait()

    def test_a_killed_user_leaves_nothing_behind(self, tmp_path):
        script = (
            "import sys, time; from pathlib import Path; from shin_gateway import running\n"
            "with running.lease(Path(sys.argv[1]), program=sys.argv[2:]): print('up', flush=True); time.sleep(60)"
        )
        user = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), *self.program], env=_outer_environ(), stdout=subprocess.PIPE
        )
        assert user.stdout is not None and user.stdout.readline() == b"up\n"
        proxy = running.find(tmp_path)
        assert proxy
        user.kill()
        user.communicate()
        _until(lambda: not proxy.alive)

    def test_a_proxy_that_does_not_start_says_why(self, tmp_path):
        with (
            pytest.raises(running.NotStarted, match=r"did not start: shin: port 8080 is in use \(more in .*exec.log\)"),
            running.lease(tmp_path, ["--fail"], self.program),
        ):
            pass
        assert not list(tmp_path.glob("ready-*"))

    def test_a_deaf_proxy_is_killed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(running, "STOP_TIMEOUT", 0.2)
        proxy = subprocess.Popen(["sh", "-c", f"trap '' TERM; touch {tmp_path}/up; while :; do sleep 0.1; done"])
        _until((tmp_path / "up").exists)
        running._stop(proxy)
        assert proxy.returncode == -signal.SIGKILL

    @pytest.mark.parametrize(
        "text", ["", "{}", "[]", '{"pid": 1}', '{"pid": "x", "proxy": "a:1"}', '{"pid": 1, "proxy": 5}']
    )
    def test_nonsense_in_the_run_file_is_no_proxy(self, tmp_path, text):
        (tmp_path / "run.json").write_text(text)
        assert running.read(tmp_path / "run.json") is None and running.find(tmp_path) is None

    def test_a_dead_process_is_no_proxy(self, tmp_path):
        gone = subprocess.Popen(["true"])
        gone.wait()
        (tmp_path / "run.json").write_text(json.dumps({"pid": gone.pid, "proxy": "127.0.0.1:1"}))
        assert running.read(tmp_path / "run.json") and running.find(tmp_path) is None


@pytest.mark.parametrize(
    ("listens", "connects"),
    [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.0.0.1:80", "10.0.0.1:80"), ("", "")],
)
def test_where_to_connect(listens, connects):
    assert running.reachable(listens) == connects
