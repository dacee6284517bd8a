"""Finds addons: one flat file each, in our folder, in folders that people name, and in installed packages."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from shin_gateway.addon import Addon, Stage
from shin_gateway.wording import meant, shown

ENTRY_POINTS = "shin_gateway.addons"
_MODULES = "shin_gateway_addons"
_NOT_ADDONS = {"gateway"}  # what plain mitmproxy loads; it stands in the same folder


class RegistryError(Exception):
    """An addon that cannot be used. Says which file or package and why; nothing is ever skipped silently."""


@dataclass(frozen=True)
class Found:
    """An addon and where it came from: a path, or `package NAME`."""

    cls: type[Addon[Any]]
    source: str


class Registry:
    """All addons that policies may name, by name."""

    def __init__(self, found: Sequence[Found] = ()) -> None:
        self._found: dict[str, Found] = {}
        for one in found:
            self._add(one)

    @classmethod
    def load(cls, folders: Sequence[Path] = ()) -> Registry:
        """Ours, those in `folders`, and those of installed packages. Raises RegistryError."""
        found: list[Found] = []
        for folder in [bundled("addons"), *folders]:
            found += _in_folder(folder)
        return cls(found + _in_packages())

    def get(self, name: str) -> type[Addon[Any]] | None:
        found = self._found.get(name)
        return found.cls if found else None

    def source(self, name: str) -> str:
        """Where an addon came from. Raises KeyError."""
        return self._found[name].source

    def suggest(self, name: str) -> str:
        """`did you mean "rate_limit"?`, or nothing."""
        return meant(name, self._found)

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._found))

    def __len__(self) -> int:
        return len(self._found)

    def _add(self, one: Found) -> None:
        name = one.cls.name
        if name in self._found:
            raise RegistryError(f'two addons are named "{name}": {self._found[name].source} and {one.source}')
        self._found[name] = one


def bundled(folder: str) -> Path:
    """A folder that comes with the gateway: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder


def _in_folder(folder: Path) -> list[Found]:
    if not folder.is_dir():
        raise RegistryError(f"no such folder of addons: {shown(folder)}")
    files = sorted(folder.glob("*.py"))
    return [_from_file(file) for file in files if file.stem not in _NOT_ADDONS and not file.stem.startswith("_")]


def _from_file(file: Path) -> Found:
    source = shown(file)
    module = _import(file, source)
    defined = [one for name, one in vars(module).items() if _is_addon(one, module) and not name.startswith("_")]
    if len(defined) != 1:
        names = ", ".join(one.__name__ for one in defined) or "none"
        raise RegistryError(f"{source}: should define exactly one Addon, not {len(defined)} ({names})")
    return _checked(defined[0], file.stem, source)


def _import(file: Path, source: str) -> ModuleType:
    name = f"{_MODULES}.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise RegistryError(f"{source}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # pydantic looks up annotations by the module's name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        _put_back(name, before)
        raise RegistryError(f"{source}: cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _put_back(name: str, before: ModuleType | None) -> None:
    if before is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = before


def _is_addon(value: object, module: ModuleType) -> bool:
    return isinstance(value, type) and issubclass(value, Addon) and value.__module__ == module.__name__


def _in_packages() -> list[Found]:
    return [_from_package(one) for one in importlib.metadata.entry_points(group=ENTRY_POINTS)]


def _from_package(entry: importlib.metadata.EntryPoint) -> Found:
    source = f"package {entry.dist.name if entry.dist else entry.value}"
    try:
        cls = entry.load()
    except Exception as error:
        message = f'{source}: addon "{entry.name}" cannot be imported: {type(error).__name__}: {error}'
        raise RegistryError(message) from error
    if not (isinstance(cls, type) and issubclass(cls, Addon)):
        raise RegistryError(f'{source}: "{entry.value}" is not an Addon')
    return _checked(cls, entry.name, source)


def _checked(cls: type[Addon[Any]], name: str, source: str) -> Found:
    if not isinstance(getattr(cls, "stage", None), Stage):
        raise RegistryError(f"{source}: {cls.__name__} has no stage; write `stage = Stage.…`")
    if "mode" in cls.settings_type().model_fields:
        raise RegistryError(f"{source}: a setting cannot be named `mode`, which every addon has already")
    cls.name = name
    return Found(cls, source)
