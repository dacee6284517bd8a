"""From files to policies: presets extended, addons ordered, hosts claimed by one policy each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from shin_gateway.listening.cors import Cors
from shin_gateway.policy.files import AddonLine, Off, Source, read_layer
from shin_gateway.policy.match import GATEWAY, HostPattern, HostTable, parse_pattern
from shin_gateway.policy.model import SINGLE_KEYS, Limits, PresetFile, Timeouts
from shin_gateway.policy.paths import PathTable
from shin_gateway.policy.positions import Loc, PolicyError, PolicyErrors
from shin_gateway.registry import Registry, bundled
from shin_gateway.wording import meant_or_known


@dataclass(frozen=True, eq=False)
class Policy:
    """What a call to some hosts goes through. Equal policies of two loads have the same `digest`."""

    name: str
    file: str
    hosts: tuple[HostPattern, ...]
    addons: tuple[AddonLine, ...]
    """In the order of the chain, outermost first."""
    off: tuple[Off, ...]
    """Addons that were taken out, for `shin explain`."""
    websocket: Literal["carry", "decline", "pass"]
    proxy_auth: Literal["optional", "required"]
    timeouts: Timeouts
    limits: Limits
    cors: Cors | None
    provider: str
    paths: PathTable
    origins: Mapping[str, str]
    """Where each single key was set (`timeouts` → `openai.yaml:9:1`); those at their defaults are not in it."""
    digest: str

    @cached_property
    def identifies(self) -> bool:
        """Whether an addon says who is calling."""
        return any(line.cls.identifies for line in self._enforced)

    @cached_property
    def demands_key(self) -> bool:
        """Whether nobody is served without a key or token of ours."""
        return any(line.cls.demands_key(line.settings) for line in self._enforced)

    @property
    def _enforced(self) -> list[AddonLine]:
        return [line for line in self.addons if line.mode == "enforce"]


class PolicySet:
    """All policies of one load, found by host."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies = tuple(sorted(policies, key=lambda policy: policy.name))
        self.gateway: Policy | None = None
        """The policy of our own gateway listener, which no host name reaches."""
        self.table: HostTable[Policy] = HostTable()
        for policy in self.policies:
            self._claim(policy)
        self.hosts = sorted({pattern.name for pattern, _ in self.table.items()})
        """Names, wildcards and addresses for the CA's name constraints, without ports and without the gateway."""
        self.digest = _digest(*(policy.digest for policy in self.policies))

    def find(self, host: str, port: int | None = None) -> Policy | None:
        """The policy whose pattern fits best; what was found is remembered, in bounds. GATEWAY, which has no port,
        is our own listener, and a machine that happens to have this name is not."""
        return self.gateway if host == GATEWAY and port is None else self.table.find(host, port)

    def __iter__(self) -> Iterator[Policy]:
        return iter(self.policies)

    def named(self, name: str) -> Policy | None:
        return next((policy for policy in self.policies if policy.name == name), None)

    def _claim(self, policy: Policy) -> None:
        for pattern in policy.hosts:
            if pattern == HostPattern(GATEWAY):
                self.gateway = policy
            else:
                self.table.put(pattern, policy)


def load_policies(dirs: Sequence[Path], registry: Registry, base: Path | None = None) -> PolicySet:
    """The policies of `dirs` over those that come with the gateway (`base`, for tests). Raises PolicyErrors.

    A file replaces the one of the same name that comes with the gateway, and takes over the hosts it names.
    """
    return _Loader(dirs, registry, base).load()


def check(dirs: Sequence[Path], registry: Registry, base: Path | None = None) -> list[PolicyError]:
    """Everything that is wrong, and warnings; a list without errors means that the policies would load."""
    loader = _Loader(dirs, registry, base)
    try:
        loader.load()
    except PolicyErrors as error:
        return sorted(error.errors + loader.warnings)
    return sorted(loader.warnings)


@dataclass
class _Merged:
    """What a file says together with all that it extends."""

    lines: dict[str, AddonLine | Off] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    whole: bool = True
    """Whether all that it extends was there to be read."""

    def take(self, other: _Merged) -> None:
        self.lines |= other.lines
        self.values |= other.values
        self.origins |= other.origins
        self.whole = self.whole and other.whole


class _Loader:
    def __init__(self, dirs: Sequence[Path], registry: Registry, base: Path | None) -> None:
        base = bundled("policies") if base is None else base
        own = [folder for folder in dict.fromkeys(dirs) if folder.resolve() != base.resolve()]
        self.errors: list[PolicyError] = []
        self.warnings: list[PolicyError] = []
        self._base = read_layer([base], registry, self.errors)
        self._own = read_layer(own, registry, self.errors)
        self._presets = {**self._base.presets, **self._own.presets}
        self._merged: dict[str, _Merged] = {}
        self._open: list[str] = []

    def load(self) -> PolicySet:
        for name in self._presets:
            self._preset(name)
        claims = self._claims()
        policies = [self._policy(source, claims) for source in self._sources()]
        self._warn()
        if self.errors:
            raise PolicyErrors(self.errors)
        return PolicySet(policies)

    def _sources(self) -> Iterator[Source]:
        yield from {**self._base.policies, **self._own.policies}.values()

    def _claims(self) -> dict[HostPattern, Source]:
        """Who serves each pattern: within a layer one file alone, and ours before those that come with us."""
        base = {name: one for name, one in self._base.policies.items() if name not in self._own.policies}
        return self._claimed(base.values()) | self._claimed(self._own.policies.values())

    def _claimed(self, sources: Any) -> dict[HostPattern, Source]:
        claims: dict[HostPattern, Source] = {}
        for source in sources:
            for index, text in enumerate(source.hosts):
                first = claims.setdefault(parse_pattern(text), source)
                if first is not source:
                    loc: Loc = ("hosts", index)
                    self._refuse(source, loc, f'host "{text}" is already claimed by {first.document.file}')
        return claims

    def _policy(self, source: Source, claims: dict[HostPattern, Source]) -> Policy:
        merged = self._merge(source)
        patterns = (parse_pattern(text) for text in source.hosts)
        hosts = tuple(dict.fromkeys(one for one in patterns if claims[one] is source))
        addons = tuple(
            sorted((one for one in merged.lines.values() if isinstance(one, AddonLine)), key=AddonLine.place)
        )
        if merged.whole:  # what it needs may be in what could not be read
            self._complete(source, addons)
        off = tuple(one for one in merged.lines.values() if isinstance(one, Off))
        values = {key: merged.values.get(key, getattr(_DEFAULTS, key)) for key in SINGLE_KEYS}
        digest = _digest(source.name, *map(str, hosts), *map(_written, addons), *map(repr, values.values()))
        paths = PathTable(values.pop("paths"))
        return Policy(
            source.name,
            source.document.file,
            hosts,
            addons,
            off,
            **values,
            paths=paths,
            origins=merged.origins,
            digest=digest,
        )

    def _complete(self, source: Source, addons: tuple[AddonLine, ...]) -> None:
        there = {line.name for line in addons}
        for line in addons:
            for name in line.cls.needs:
                if name not in there:
                    self._refuse(source, ("addons", line.name), f'"{line.name}" needs the addon "{name}" as well')

    def _merge(self, source: Source) -> _Merged:
        merged = _Merged()
        for index, name in enumerate(source.body.extends):
            loc: Loc = ("extends", index)
            if name in self._open:
                way = " → ".join([*self._open[self._open.index(name) :], name])
                self._refuse(source, loc, f'preset "{name}" extends itself: {way}')
            elif name in self._presets:
                merged.take(self._preset(name))
            else:
                merged.whole = False
                if name not in self._base.broken | self._own.broken:
                    self._refuse(source, loc, f'unknown preset "{name}"', meant_or_known(name, self._presets))
        own = {key: getattr(source.body, key) for key in source.keys}
        merged.take(_Merged(dict(source.lines), own, dict(source.keys)))
        return merged

    def _preset(self, name: str) -> _Merged:
        if name not in self._merged:
            self._open.append(name)
            self._merged[name] = self._merge(self._presets[name])
            self._open.pop()
        return self._merged[name]

    def _refuse(self, source: Source, loc: Loc, message: str, hint: str = "") -> None:
        self.errors.append(source.document.error(loc, message, hint))

    def _warn(self) -> None:
        for source in self._own.policies.values():
            if not source.hosts:
                self.warnings.append(source.document.warn(("hosts",), "names no host, so no call comes here"))
            for index, text in enumerate(source.hosts):
                if parse_pattern(text).name == "*":
                    message = "names every host, and our CA signs only for hosts that a policy names"
                    self._refuse(source, ("hosts", index), f'"{text}" {message}', "name the domains")
                elif parse_pattern(text).broad:
                    message = f'"{text}" catches hosts that have nothing to do with models, and decrypts them'
                    self.warnings.append(source.document.warn(("hosts", index), message, "name the domain"))


_DEFAULTS = PresetFile()


def _written(line: AddonLine) -> str:
    return f"{line.name} {line.cls.__module__} {line.mode} {_plain(line.settings.model_dump())}"


def _plain(value: Any) -> str:
    """A value in words that are the same in every process, which the order of a set is not."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_plain(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_plain, value)))}}}"
    return repr(value)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
