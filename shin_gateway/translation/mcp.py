"""Remote MCP servers that the provider calls by itself, as OpenAI and Anthropic have them.

OpenAI asks the client before a tool of such a server runs, unless told `never`; Anthropic runs it at once. So a server
whose safeguards have no counterpart is None here, and its tool goes no further, rather than run unwatched.

Sources: developers.openai.com/api/docs/guides/tools-connectors-mcp,
platform.claude.com/docs/en/agents-and-tools/mcp-connector
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from shin_gateway.translation.losses import Losses

Json = dict[str, Any]

_OPENAI = frozenset(
    {"type", "server_label", "server_url", "authorization", "headers", "allowed_tools", "require_approval"}
)
_ANTHROPIC = frozenset({"type", "name", "url", "authorization_token", "tool_configuration"})
_TOOLSET = frozenset({"type", "mcp_server_name", "default_config", "configs", "tools", "cache_control"})
_HINTS = frozenset({"server_description", "defer_loading"})
"""What makes a server cheaper or better understood."""
_PLAIN = re.compile(r"[a-z][a-z_]{0,47}")


@dataclass(frozen=True)
class Server:
    """One server, whose tools run unasked."""

    name: str
    url: str
    token: str = ""
    allowed: list[str] | None = None
    """The only tools of it that may be called; None: all."""


class _Unsafe(Exception):
    """A safeguard that cannot be read, or that the other API does not have."""


# ── OpenAI's ────────────────────────────────────────────────────────────────────────────────────


def from_openai(raw: Json, losses: Losses) -> Server | None:
    """The server of a tool `{type: mcp, server_label, server_url, …}`."""
    name, url = raw.get("server_label"), raw.get("server_url")
    if not isinstance(name, str) or not isinstance(url, str) or raw.get("require_approval") != "never":
        return None
    try:
        server = Server(name, url, _token(raw), _filter(raw.get("allowed_tools")))
    except _Unsafe:
        return None
    _note_rest(raw, _OPENAI, losses)
    return server


def _filter(value: Any) -> list[str] | None:
    """`allowed_tools`: names, or `{tool_names, read_only}`. Only the server knows which tools are read-only."""
    if isinstance(value, dict):
        if any(one is not None for key, one in value.items() if key != "tool_names"):
            raise _Unsafe
        value = value.get("tool_names")
    return _words(value)


def _words(value: Any) -> list[str] | None:
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    raise _Unsafe


def _token(raw: Json) -> str:
    """The token, from its own field or the header. No other header can be sent on, and some servers do less for one."""
    given, headers = raw.get("authorization"), raw.get("headers")
    token = given if isinstance(given, str) else ""
    for name, value in headers.items() if isinstance(headers, dict) else ():
        kind, _, credential = value.partition(" ") if isinstance(value, str) else ("", "", "")
        if name.lower() == "authorization" and kind.lower() == "bearer" and not token:
            token = credential.strip()
        else:
            raise _Unsafe
    return token


# ── Anthropic's ─────────────────────────────────────────────────────────────────────────────────


def from_anthropic(raw: Json, toolset: Json | None, losses: Losses) -> Server | None:
    """An entry of `mcp_servers`, and the tool `{type: mcp_toolset, mcp_server_name, …}` that says what is used of it.

    Its older form says so itself, in `tool_configuration`.
    """
    name, url, token = (raw.get(key) for key in ("name", "url", "authorization_token"))
    if not isinstance(name, str) or not isinstance(url, str):
        return None
    try:
        allowed = _both(_configured(raw.get("tool_configuration")), _enabled(toolset or {}))
    except _Unsafe:
        return None
    if allowed is not None and not allowed:  # nothing of it may be called
        return None
    _note_rest(raw, _ANTHROPIC, losses)
    _note_rest(toolset or {}, _TOOLSET, losses)
    if toolset and toolset.get("cache_control"):
        losses.soften("cache_control")
    return Server(name, url, token if isinstance(token, str) else "", allowed)


def _configured(value: Any) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or value.get("enabled") is False:
        raise _Unsafe
    return _words(value.get("allowed_tools"))


def _enabled(toolset: Json) -> list[str] | None:
    """The tools that a toolset leaves on. All but some can only be said of a toolset that lists its tools."""
    usually = _is_on(toolset.get("default_config"), True)
    configs = toolset.get("configs") or {}
    if not isinstance(configs, dict):
        raise _Unsafe
    on = {name: _is_on(config, usually) for name, config in configs.items()}
    if toolset.get("tools") is not None:
        return [name for name in _listed(toolset["tools"]) if on.get(name, usually)]
    if not usually:
        return [name for name, is_on in on.items() if is_on]
    if not all(on.values()):
        raise _Unsafe
    return None


def _is_on(config: Any, otherwise: bool) -> bool:
    if config is None:
        return otherwise
    if not isinstance(config, dict) or not isinstance(config.get("enabled"), bool | None):
        raise _Unsafe
    return otherwise if config.get("enabled") is None else bool(config["enabled"])


def _listed(tools: Any) -> list[str]:
    names = [tool.get("name") if isinstance(tool, dict) else None for tool in tools] if isinstance(tools, list) else 0
    return _words(names) or []


def _both(one: list[str] | None, other: list[str] | None) -> list[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return [name for name in one if name in other]


def _note_rest(raw: Json, known: frozenset[str], losses: Losses) -> None:
    for name in raw.keys() - known:
        if raw[name] is None or (name == "allowed_callers" and raw[name] == ["direct"]):
            continue
        note = losses.soften if name in _HINTS else losses.drop
        note(f"tools.{name}" if _PLAIN.fullmatch(name) else "tools")
