"""One policy file at a time: read, checked against its model and against the addons that exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from shin_gateway.addon import Addon, Mode, Settings
from shin_gateway.policy.model import SINGLE_KEYS, PolicyFile, PresetFile
from shin_gateway.policy.positions import Document, PolicyError, PolicyErrors, read, validate
from shin_gateway.registry import Registry
from shin_gateway.wording import meant, meant_or_known, shown

PRESETS = "presets"


@dataclass(frozen=True, eq=False)
class AddonLine:
    """An addon as one line of YAML sets it."""

    name: str
    cls: type[Addon[Any]]
    settings: Settings
    mode: Mode
    origin: str
    """`presets/standard.yaml:4:3`, below its folder of policies."""

    def place(self) -> tuple[int, int, str]:
        """Where it stands in the chain, outermost first; how files order their lines is no matter."""
        return self.cls.stage, self.cls.order, self.name


@dataclass(frozen=True, eq=False)
class Off:
    """An addon that a line takes out."""

    name: str
    origin: str


@dataclass(frozen=True, eq=False)
class Source:
    """A file that could be read, with what it says itself; what it extends is not in it yet."""

    name: str
    document: Document
    body: PresetFile
    lines: Mapping[str, AddonLine | Off]
    keys: Mapping[str, str]
    """The origin of each single key that the file sets."""

    @property
    def hosts(self) -> tuple[str, ...]:
        return self.body.hosts if isinstance(self.body, PolicyFile) else ()


@dataclass(frozen=True)
class Layer:
    """What one or several folders of equal rank hold."""

    policies: Mapping[str, Source]
    presets: Mapping[str, Source]
    broken: frozenset[str]
    """Presets whose file has errors of its own, so that who extends them is not blamed."""


def read_layer(folders: Sequence[Path], registry: Registry, errors: list[PolicyError]) -> Layer:
    """All files of these folders; what is wrong goes into `errors`."""
    policies: dict[str, Source] = {}
    presets: dict[str, Source] = {}
    broken: set[str] = set()
    for folder in folders:
        if not folder.is_dir():
            wrong = "is a file: name the folder that it is in" if folder.is_file() else "no such folder of policies"
            errors.append(PolicyError(shown(folder), 0, 0, wrong))
            continue
        _read_folder(folder, folder, PolicyFile, registry, policies, errors)
        broken |= _read_folder(folder, folder / PRESETS, PresetFile, registry, presets, errors)
    return Layer(policies, presets, frozenset(broken))


def yaml_files(folder: Path) -> list[Path]:
    """The YAML files that stand directly in a folder, without hidden ones (editors' copies)."""
    return sorted(
        path for path in folder.glob("*") if path.suffix in (".yaml", ".yml") and not path.name.startswith(".")
    )


def _read_folder(
    root: Path,
    folder: Path,
    model: type[PresetFile],
    registry: Registry,
    into: dict[str, Source],
    errors: list[PolicyError],
) -> set[str]:
    broken = set()
    for path in yaml_files(folder):
        try:
            source = _read(path, root, model, registry)
        except PolicyErrors as error:
            errors += error.errors
            broken.add(path.stem)
            continue
        if source.name in into:
            other = into[source.name].document.file
            errors.append(PolicyError(source.document.file, 0, 0, f"has the same name as {other}"))
        into.setdefault(source.name, source)
    return broken


def _read(path: Path, root: Path, model: type[PresetFile], registry: Registry) -> Source:
    document = read(path)
    errors: list[PolicyError] = []
    body: PresetFile | None = None
    try:
        body = validate(document, model)
    except PolicyErrors as error:
        errors += error.errors
    origins = _Origins(document, str(path.relative_to(root)))
    lines = dict(_lines(document, origins, registry, errors))
    if errors or body is None:
        raise PolicyErrors(errors)
    keys = {key: origins.of(key) for key in SINGLE_KEYS if key in document.data}
    return Source(path.stem, document, body, lines, keys)


@dataclass(frozen=True)
class _Origins:
    document: Document
    file: str

    def of(self, *loc: str | int) -> str:
        line, column = self.document.place(loc, key=True)
        return f"{self.file}:{line}:{column}"


def _lines(
    document: Document, origins: _Origins, registry: Registry, errors: list[PolicyError]
) -> Iterator[tuple[str, AddonLine | Off]]:
    written = document.data.get("addons")
    for name, value in written.items() if isinstance(written, dict) else ():
        try:
            yield name, _line(document, name, value, origins.of("addons", name), registry)
        except PolicyErrors as error:
            errors += error.errors


def _line(document: Document, name: str, value: Any, origin: str, registry: Registry) -> AddonLine | Off:
    loc = ("addons", name)
    cls = registry.get(name)
    if cls is None:
        hint = registry.suggest(name) or meant_or_known(name, registry)
        raise PolicyErrors([document.error(loc, f'unknown addon "{name}"', hint, key=True)])
    if value == "off":
        return Off(name, origin)
    written = _settings(document, name, value)
    mode = written.pop("mode", "enforce")
    if mode not in get_args(Mode):
        hint = meant(str(mode), get_args(Mode))
        raise PolicyErrors([document.error((*loc, "mode"), '"mode" should be "enforce" or "shadow"', hint)])
    settings = validate(document, cls.settings_type(), written, loc)
    return AddonLine(name, cls, settings, mode, origin)


def _settings(document: Document, name: str, value: Any) -> dict[str, Any]:
    if value is None or value == "on":
        return {}
    if isinstance(value, dict):
        return dict(value)
    hint = f'write "{name}: on" or "{name}: off"' if isinstance(value, bool) else ""
    raise PolicyErrors([document.error(("addons", name), f'"{name}" should be settings, on or off', hint)])
