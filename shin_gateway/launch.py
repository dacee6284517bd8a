"""Running a program through the proxy: the variables that point it here, and the program itself.

Which variables, and why these, is a matter of experiment with each agent (agents.yaml). `HTTP_PROXY` and `ALL_PROXY`
are left alone: the first would send plain-http calls our way for nothing, the second makes some agents go half direct.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import quote, urlsplit

from shin_gateway import roots
from shin_gateway.caller import NO_SECRET

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy")
BYPASS_VARIABLES = ("NO_PROXY", "no_proxy")


@dataclass(frozen=True)
class Environment:
    """What to change in a program's environment, and what its user should know about it (one line each)."""

    variables: dict[str, str]
    unset: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def applied(self, environ: Mapping[str, str]) -> dict[str, str]:
        """`environ` with the changes made."""
        return {name: value for name, value in environ.items() if name not in self.unset} | self.variables


def environment(
    trust: roots.Trust,
    proxy: str,
    caller: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    rewrites: bool = False,
) -> Environment:
    """The variables for a program that shall use the proxy at `proxy` (`127.0.0.1:8080`).

    `trust` comes from `Authority.trust(environ)`; `caller` is `name` or `name:secret`. With `rewrites` (a policy
    changes bodies) Claude Code is asked to leave out the hash of its body, which a rewrite would make stale.
    """
    url = proxy_url(proxy, caller)
    bypass, warnings = _bypass(environ)
    variables = {
        **dict.fromkeys(PROXY_VARIABLES, url),
        **dict.fromkeys(BYPASS_VARIABLES, bypass),
        "NODE_USE_ENV_PROXY": "1",
        **dict.fromkeys(roots.ADDING, str(trust.extra)),
        **dict.fromkeys(roots.REPLACING, str(trust.bundle)),
    }
    if rewrites:
        variables["CLAUDE_CODE_ATTRIBUTION_HEADER"] = "0"
    # A folder of roots replaces the file's in some runtimes; its certificates are in the bundle now.
    unset = (roots.FOLDER,) if environ.get(roots.FOLDER) else ()
    return Environment(variables, unset, (*trust.warnings, *warnings, *_replaced(environ, proxy)))


def proxy_url(proxy: str, caller: str | None = None) -> str:
    """`http://name:secret@127.0.0.1:8080` for a proxy that listens on `proxy`."""
    if caller is None:
        return f"http://{proxy}"
    name, _, secret = caller.partition(":")
    return f"http://{quote(name, safe='')}:{quote(secret or NO_SECRET, safe='')}@{proxy}"


def _bypass(environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """The user's own exceptions stay, except one that would keep every call away from the proxy."""
    given = [item.strip() for name in BYPASS_VARIABLES for item in environ.get(name, "").split(",")]
    kept = dict.fromkeys([*LOOPBACK, *(item for item in given if item not in ("", "*"))])
    warnings = ["NO_PROXY=* would bypass the proxy; left out"] if "*" in given else []
    return ",".join(kept), warnings


def _replaced(environ: Mapping[str, str], proxy: str) -> list[str]:
    """A proxy that was set already is most often the only way out of a company's network."""
    other = next((environ[name] for name in PROXY_VARIABLES if environ.get(name)), "")
    parts = urlsplit(other if "//" in other else f"http://{other}")
    if not other or parts.netloc.rpartition("@")[2] == proxy:
        return []
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    way = "`upstream: {proxy: env:NAME}` in shin.yaml" if "@" in parts.netloc else f"shin run --mode upstream:{where}"
    return [f"HTTPS_PROXY was {where} and is replaced; to have Shin go out through it: {way}"]


_SHELLS = {
    "sh": ("export {name}={value}", "unset {name}", shlex.quote),
    "fish": ("set -gx {name} {value}", "set -e {name}", lambda value: "'" + _escaped(value, "\\'") + "'"),
    "powershell": (
        "$env:{name} = {value}",
        "Remove-Item Env:{name} -ErrorAction SilentlyContinue",
        lambda value: "'" + value.replace("'", "''") + "'",
    ),
}
_NAMES = {"bash": "sh", "zsh": "sh", "dash": "sh", "ksh": "sh", "sh": "sh", "fish": "fish", "pwsh": "powershell"}
SHELLS = ("bash", "zsh", "sh", "fish", "powershell")


def shell_of(environ: Mapping[str, str] = os.environ) -> str:
    """The user's shell: one that `shell_lines` knows."""
    default = "powershell" if sys.platform == "win32" else "sh"
    return _NAMES.get(Path(environ.get("SHELL", "")).name, default)


def shell_lines(environment: Environment, shell: str) -> list[str]:
    """Lines that a shell (one of `SHELLS`) can evaluate."""
    setting, removing, quoted = _SHELLS[_NAMES.get(shell, shell)]
    lines = [setting.format(name=name, value=quoted(value)) for name, value in environment.variables.items()]
    return lines + [removing.format(name=name) for name in environment.unset]


def _escaped(value: str, characters: str) -> str:
    return "".join("\\" + character if character in characters else character for character in value)


# ── the program ──────────────────────────────────────────────────────────────────────────────────

NOT_FOUND = 127
NOT_EXECUTABLE = 126
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_TYPED = (signal.SIGINT, signal.SIGQUIT)
"""Signals that a terminal sends to the whole foreground group, so the program has them already."""


class CannotRun(Exception):
    """The program cannot be started; `code` is what a shell would exit with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def find(command: str, environ: Mapping[str, str] = os.environ) -> str:
    """The path of a program, as a shell finds it. Raises `CannotRun`."""
    found = shutil.which(command, path=environ.get("PATH"))
    if found:
        return found
    if os.sep in command and Path(command).exists():
        raise CannotRun(f"{command}: not executable", NOT_EXECUTABLE)
    raise CannotRun(f"{command}: command not found", NOT_FOUND)


def execute(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a program to its end, on our terminal; its exit code, or 128 + the signal that ended it.

    The program stays in our process group, so that the terminal is its own: it reads keys, is stopped and continued,
    and hears of a resized window without us. What is sent to us alone is passed on. Raises `CannotRun`.
    """
    path = find(arguments[0], environ)
    with _signals() as attach:
        try:
            child = subprocess.Popen(list(arguments), executable=path, env=dict(environ))
        except OSError as error:
            raise CannotRun(f"{arguments[0]}: {error.strerror}", NOT_EXECUTABLE) from None
        attach(child)
        code = child.wait()
    return 128 - code if code < 0 else code


class _Relay:
    """Hands signals to the child; those that came before it was started are kept for it."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.early: list[int] = []

    def __call__(self, child: subprocess.Popen[bytes]) -> None:
        self.child = child
        for number in self.early:
            child.send_signal(number)

    def forward(self, number: int, _frame: FrameType | None = None) -> None:
        if self.child is None:
            self.early.append(number)
        else:
            self.child.send_signal(number)

    def typed(self, number: int, _frame: FrameType | None = None) -> None:
        if not _in_foreground():
            self.forward(number)


@contextmanager
def _signals() -> Iterator[_Relay]:
    relay = _Relay()
    handlers = {**dict.fromkeys(_FORWARDED, relay.forward), **dict.fromkeys(_TYPED, relay.typed)}
    # What was ignored stays ignored, for the child too: that is how nohup works.
    handlers = {number: act for number, act in handlers.items() if signal.getsignal(number) is not signal.SIG_IGN}
    previous = {number: signal.signal(number, act) for number, act in handlers.items()}
    try:
        yield relay
    finally:
        for number, act in previous.items():
            signal.signal(number, act)


def _in_foreground() -> bool:
    """Whether a key on the terminal reaches the child by itself."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
