"""What `shin doctor` looks at. Each check is a generator of findings; none changes anything."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import os
import socket
import ssl
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from shin_gateway import roots
from shin_gateway.ca import RENEWAL, Authority, CAError
from shin_gateway.cli import agents
from shin_gateway.cli.tail import past
from shin_gateway.diagnostics import Diagnostics, Event
from shin_gateway.launch import BYPASS_VARIABLES, PROXY_VARIABLES
from shin_gateway.running import Running, answers, find, read

Level = Literal["ok", "note", "problem"]
USER_AGENT = "shin-doctor"
"""Of our own handshakes, which say nothing about anybody's agent."""
EXEC = "`shin exec -- COMMAND`"
EVAL = 'eval "$(shin env)"'
_LOGIN = f"SHIN_USER=NAME:SECRET {EXEC.strip('`')}"


@dataclass(frozen=True)
class Finding:
    """What was found, why it matters, what to do about it."""

    level: Level
    what: str
    why: str = ""
    do: str = ""


@dataclass
class Patient:
    """All that the checks look at, so that a test can set each of it."""

    home: Path
    environ: Mapping[str, str]
    processes: list[agents.Process] = field(default_factory=list)
    within: dt.timedelta = dt.timedelta(hours=1)
    """How far back failures count."""

    def __post_init__(self) -> None:
        self.authority = Authority(self.home)
        self.running: Running | None = find(self.home)
        events = Diagnostics(self.home).recent(self.within)
        self.events: list[Event] = [event for event in events if event.client != USER_AGENT]

    @property
    def own(self) -> str | None:
        """Our certificate, as `roots.certificates` gives it."""
        try:
            return roots.certificates(self.authority.export().decode())[0]
        except CAError:
            return None

    def points_here(self, url: str | None) -> bool:
        proxy = self.running.proxy if self.running else ""
        return bool(url and proxy) and urlsplit(url or "").netloc.rpartition("@")[2] == proxy


def examine(patient: Patient) -> Iterator[Finding]:
    """Every check, in the order in which one cause hides the next."""
    for check in (proxy, certificate, shell, handshakes, running_agents, untrusted, unseen, upstreams, refused):
        yield from check(patient)


# ── the proxy and its CA ─────────────────────────────────────────────────────────────────────────


def proxy(patient: Patient) -> Iterator[Finding]:
    told = read(patient.home / "run.json")
    if patient.running:
        yield Finding("ok", f"the proxy runs: {patient.running.proxy} (pid {patient.running.pid})")
        for name, address in (("gateway", patient.running.gateway), ("admin", patient.running.admin)):
            if address and not answers(address):
                yield Finding(
                    "problem", f"the {name} port {address} does not answer", do="look at the log of `shin run`"
                )
    elif told and told.alive:
        why = f"process {told.pid} lives, but nothing accepts connections at {told.proxy}"
        yield Finding("problem", "the proxy does not answer", why, "restart `shin run`")
    else:
        yield Finding("problem", "no proxy is running", f"{patient.home}/run.json names none", f"`shin run`, or {EXEC}")


def certificate(patient: Patient) -> Iterator[Finding]:
    authority = patient.authority
    try:
        cert, hosts = authority.cert, authority.hosts
        mode = authority.key_path.stat().st_mode | authority.folder.stat().st_mode
    except CAError as error:
        yield Finding("problem", "the CA cannot be used", str(error), "`shin run` makes or repairs it")
        return
    left = cert.not_valid_after_utc - dt.datetime.now(dt.UTC)
    if left < dt.timedelta():
        yield Finding("problem", "the CA has expired", do="restart `shin run`: it is renewed with the same key")
    elif left < RENEWAL:
        yield Finding("note", f"the CA expires in {left.days} days", do="restart `shin run`, then export new copies")
    else:
        yield Finding("ok", f"the CA is valid for {left.days} days, for {len(hosts)} hosts")
    if mode & 0o077:
        why = f"others on this machine can read {authority.folder}"
        yield Finding(
            "problem", "the CA's key is not private", why, "`shin run` corrects it; then renew with a new key"
        )


# ── this shell ───────────────────────────────────────────────────────────────────────────────────


def shell(patient: Patient) -> Iterator[Finding]:
    """Whether programs started here reach the proxy and trust it."""
    named = next((patient.environ[name] for name in PROXY_VARIABLES if patient.environ.get(name)), None)
    if named is None:
        yield Finding("note", "programs started in this shell go past the proxy", "HTTPS_PROXY is not set", _use())
        return
    if patient.running and not patient.points_here(named):
        where = urlsplit(named).netloc.rpartition("@")[2]
        yield Finding("problem", f"HTTPS_PROXY leads to {where}, not to this proxy", _stale(patient), _use())
        return
    yield from _settings(patient.environ)
    yield from _trust(patient)


def _use() -> str:
    return f"{EXEC}, or {EVAL}"


def _stale(patient: Patient) -> str:
    return f"this proxy listens on {patient.running.proxy}" if patient.running else ""


def _settings(environ: Mapping[str, str]) -> Iterator[Finding]:
    for name in BYPASS_VARIABLES:
        if "*" in environ.get(name, "").split(","):
            yield Finding("problem", f"{name}=* keeps every program away from the proxy", do=f"unset {name}")
    if environ.get("NODE_USE_ENV_PROXY") != "1":
        why = "Node's fetch and the Node SDKs look at HTTPS_PROXY only with it"
        yield Finding("problem", "NODE_USE_ENV_PROXY=1 is not set", why, _use())
    if environ.get(roots.FOLDER):
        why = "in opencode, cline, Copilot and Python it replaces the roots, ours included"
        yield Finding("problem", f"{roots.FOLDER} is set", why, f"unset it; {EXEC} takes its certificates over")


def _trust(patient: Patient) -> Iterator[Finding]:
    own = patient.own
    missing = [name for name in (*roots.ADDING, *roots.REPLACING) if not patient.environ.get(name)]
    if missing:
        why = f"not set: {', '.join(missing)}"
        yield Finding("problem", "some programs started in this shell do not trust the CA", why, _use())
    for name in (*roots.ADDING, *roots.REPLACING):
        path = patient.environ.get(name)
        if not path or own is None:
            continue
        try:
            found = roots.certificates(Path(path).read_text("ascii", "replace"))
        except OSError as error:
            yield Finding("problem", f"{name} names a file that cannot be read", f"{path}: {error.strerror}", _use())
            continue
        if own not in found:
            yield Finding("problem", f"{name} does not hold the CA", f"{path} holds another, or an older copy", _use())
        elif name in roots.REPLACING and len(found) == 1:
            why = "it replaces the public roots, so every host that is tunnelled fails"
            yield Finding("problem", f"{name} holds our CA alone", why, f"{name}={patient.authority.bundle_path}")


def handshakes(patient: Patient) -> Iterator[Finding]:
    """The real thing: CONNECT and TLS to a host that a policy names, with each file that the variables name."""
    host = _probe_host(patient)
    if not patient.running or host is None:
        return
    files = {name: patient.environ.get(name) for name in (*roots.ADDING, *roots.REPLACING)}
    files = {name: path for name, path in files.items() if path and Path(path).is_file()}
    paths = list(dict.fromkeys(path for path in files.values() if path)) or [str(patient.authority.cert_path)]
    url = next(
        (patient.environ[name] for name in PROXY_VARIABLES if patient.points_here(patient.environ.get(name))), ""
    )
    for path in paths:
        names = ", ".join(name for name, value in files.items() if value == path) or "the CA's certificate"
        try:
            handshake(patient.running.proxy, host, path, url)
        except ssl.SSLCertVerificationError as error:
            why = f"{host}: {error.verify_message}"
            # A shell that does not use the proxy need not trust it, either.
            level: Level = "problem" if url or not files else "note"
            yield Finding(level, f"a program that trusts {names} refuses the proxy's certificate", why, _use())
        except LoginWanted:
            why = "it does not take the one in HTTPS_PROXY" if urlsplit(url).username else "this shell has none"
            yield Finding("problem", "the proxy wants a login", why, _LOGIN)
            return
        except (OSError, ConnectionError) as error:
            yield Finding("problem", f"no connection to {host} through the proxy", str(error), "see the proxy's log")
        else:
            yield Finding("ok", f"TLS to {host} through the proxy, trusting {names}")


def _probe_host(patient: Patient) -> str | None:
    """A host with a policy; not one from a wildcard, whose bare name may have none."""
    known = {host for agent in agents.agents() for host in agent.hosts}
    try:
        return next((host for host in patient.authority.hosts if host in known), None)
    except CAError:
        return None


class LoginWanted(ConnectionError):
    """407 (RFC 9110 §15.5.8)."""


def handshake(address: str, host: str, cafile: str, url: str = "", timeout: float = 5.0) -> None:
    """CONNECT to `host` through the proxy at `address` and finish TLS.

    Raises LoginWanted, any other OSError, or its ssl subclasses.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile)
    name, _, port = address.rpartition(":")
    head = f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\nUser-Agent: {USER_AGENT}\r\n{_authorization(url)}\r\n"
    with socket.create_connection((name.strip("[]"), int(port)), timeout) as raw:
        raw.sendall(head.encode())
        status = raw.recv(4096).partition(b"\r\n")[0].decode("latin-1")
        if " 407 " in status:
            raise LoginWanted(status)
        if " 200" not in status:
            raise ConnectionError(f"the proxy answered CONNECT with {status!r}")
        with context.wrap_socket(raw, server_hostname=host):
            pass


def _authorization(url: str) -> str:
    parts = urlsplit(url)
    if parts.username is None:
        return ""
    token = base64.b64encode(f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()).decode()
    return f"Proxy-Authorization: Basic {token}\r\n"


# ── agents ───────────────────────────────────────────────────────────────────────────────────────


def running_agents(patient: Patient) -> Iterator[Finding]:
    """Agents that run now, by what they were started with: the shortest way to why one is not seen."""
    for process in patient.processes:
        if process.environ is None:
            continue
        who, agent = f"{process.agent.name} (pid {process.pid})", process.agent
        url = next((process.environ[name] for name in agent.proxy if process.environ.get(name)), None)
        if url is None:
            yield Finding("problem", f"{who} goes past the proxy", f"it was started without {agent.proxy[0]}", _again())
        elif patient.running and not patient.points_here(url):
            where = urlsplit(url).netloc.rpartition("@")[2]
            yield Finding("problem", f"{who} uses another proxy", f"{agent.proxy[0]} leads to {where}", _again())
        elif not any(_holds(process.environ.get(name), patient.own) for name in agent.ca):
            why = f"it was started without a {' or '.join(agent.ca)} that holds the CA"
            yield Finding("problem", f"{who} does not trust the CA", why, _again())
        elif lacking := [name for name, value in agent.needs.items() if process.environ.get(name) != value]:
            yield Finding("problem", f"{who} ignores the proxy", f"it was started without {lacking[0]}=1", _again())
        else:
            yield Finding("ok", f"{who} uses this proxy and trusts the CA")


def _again() -> str:
    return f"start it again with {EXEC}"


def _holds(path: str | None, own: str | None) -> bool:
    with contextlib.suppress(OSError):
        return bool(path) and own in roots.certificates(Path(path or "").read_text("ascii", "replace"))
    return False


def untrusted(patient: Patient) -> Iterator[Finding]:
    """Handshakes that clients broke off. A later success of such an agent on the host makes them history."""
    for (host, client), events in _grouped(patient.events, "untrusted_ca").items():
        last = events[-1]
        suspects = [one] if (one := agents.by_user_agent(client)) else agents.by_host(host)
        since = [seen for seen in _of(patient.events, "intercepted") if seen.host == host and seen.at >= last.at]
        if any(agents.by_user_agent(seen.client) in suspects for seen in since):
            continue
        who = suspects[0].name if len(suspects) == 1 else f"a client ({client or 'unknown'})"
        yield Finding(
            "problem",
            f"{who} does not trust the CA: it broke off handshakes with {host}, the last {_ago(last.at)}",
            last.detail,
            f"start it with {EXEC}{_advice(patient, suspects)}",
        )


def _advice(patient: Patient, suspects: list[agents.Agent]) -> str:
    """The variable for each agent that it may have been."""
    ways: dict[str, list[str]] = {}
    for agent in suspects:
        ways.setdefault(f"{agent.ca[0]}={_file(patient, agent)}", []).append(agent.name)
    return "".join(f", or set {way} ({', '.join(names)})" for way, names in ways.items())


def _file(patient: Patient, agent: agents.Agent) -> Path:
    authority = patient.authority
    return authority.bundle_path if agent.ca[0] in (*roots.REPLACING, *agent.replaces) else authority.cert_path


def unseen(patient: Patient) -> Iterator[Finding]:
    """A proxy that nobody reaches. Only said when nothing else was seen either."""
    if not patient.running or any(event.event in ("intercepted", "untrusted_ca") for event in patient.events):
        return
    calls = [call for call in past(patient.home, 1) if call.at > dt.datetime.now(dt.UTC) - patient.within]
    if calls:
        yield Finding("ok", f"the last call came {_ago(calls[0].at)}, from {calls[0].caller or 'an unnamed caller'}")
        return
    tunnelled = Counter(event.host for event in _of(patient.events, "tunnelled"))
    if tunnelled:
        names = ", ".join(host for host, _ in tunnelled.most_common(5))
        why = f"no policy names them: {names}"
        yield Finding(
            "note", "clients reach the proxy, but only for hosts that are tunnelled", why, "`shin explain HOST`"
        )
    else:
        why = (
            "a program that ignores HTTPS_PROXY goes straight to the provider: Node's fetch without "
            "NODE_USE_ENV_PROXY=1, aiohttp without trust_env, JetBrains and JVM programs, Cursor, "
            "anything started from a desktop"
        )
        yield Finding("note", f"no client has reached the proxy in the last {_span(patient.within)}", why, _again())


def upstreams(patient: Patient) -> Iterator[Finding]:
    for (host, _), events in _grouped(patient.events, "upstream_unverified").items():
        do = "where the network inspects TLS, give its root as `upstream: {ca: FILE}` in shin.yaml"
        yield Finding(
            "problem", f"the certificate of {host} could not be verified, {_ago(events[-1].at)}", events[-1].detail, do
        )
    for (host, _), events in _grouped(patient.events, "upstream_unreachable").items():
        do = "where only a corporate proxy leads out: `upstream: {proxy: URL}` in shin.yaml"
        yield Finding("problem", f"no connection to {host}, {_ago(events[-1].at)}", events[-1].detail, do)


def refused(patient: Patient) -> Iterator[Finding]:
    for (host, client), events in _grouped(patient.events, "proxy_auth_missing").items():
        why = events[-1].detail or "a policy or shin.yaml wants a user name and secret in the proxy's URL"
        what = f"the proxy turned {client or 'a client'} away on {host} ({len(events)} times)"
        yield Finding("problem", what, why, _LOGIN)


def _of(events: list[Event], name: str) -> list[Event]:
    return [event for event in events if event.event == name]


def _grouped(events: list[Event], name: str) -> dict[tuple[str, str], list[Event]]:
    groups: dict[tuple[str, str], list[Event]] = {}
    for event in _of(events, name):
        groups.setdefault((event.host, _kind(event.client)), []).append(event)
    return groups


def _kind(client: str) -> str:
    """A client's address without its port, which is another for each connection."""
    name, _, port = client.rpartition(":")
    return name if name and port.isdigit() else client


def _ago(at: dt.datetime) -> str:
    return f"{_span(dt.datetime.now(dt.UTC) - at)} ago"


def _span(time: dt.timedelta) -> str:
    minutes = max(0, int(time.total_seconds() // 60))
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"


def here(home: Path, within: dt.timedelta) -> Patient:
    """This machine, this shell."""
    return Patient(home, os.environ, list(agents.processes()), within)
